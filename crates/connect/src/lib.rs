//! The world's systems: sources → stage, rows → destinations; dialling, TLS, types, quoting.
//!
//! In: a project's source and destination settings.  Out: staged files with a manifest; accepted and rejected rows.
//! Never here: parsing text (COPY in `warehouse` does), DataFusion, Delta, recommender words, a clock.
//! Start at [`Source`] for data on its way in, [`Destination`] for rows on their way out, [`Stage`] for what lies between.

mod changes;
mod destination;
pub mod destinations;
mod dial;
mod durable_local;
mod error;
mod glob;
mod key_range;
mod parts;
mod rejects;
mod secret;
mod source;
pub mod sources;
mod spool;
mod stage;
mod store;
mod table_writer;

pub use destination::{
    Applied, ApplyReport, Changes, Destination, NullPolicy, OpenTransaction, Prepared, Receipt, RowReject,
};
pub use error::ConnectError;
pub use secret::SecretText;
pub use source::{
    DEFAULT_WORKERS, DiscoveredColumn, DiscoveredTable, Examined, ExtractMode, ExtractOutcome, ExtractRequest, Finding,
    InvalidDates, LookBack, MAX_WORKERS, Source,
};
pub use stage::{Stage, StagedWriter, SweepReport};
pub use store::{Store, open_store};
