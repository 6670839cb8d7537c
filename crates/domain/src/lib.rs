//! The shared nouns of Montauk and every format that two rooms exchange by file.
//!
//! In: nothing.  Out: ids, error kinds, stage manifest, provenance, feed records, experiment snapshot, identifier quoting, progress.
//! Never here: I/O, async, a clock, randomness, or anything that only one room needs.
//! Start at [`StageManifest`], the first versioned thing on the line of data, and [`Provenance`], which every one carries.

mod error;
mod feed;
mod hash;
mod id;
mod manifest;
mod position;
mod progress;
mod promotion;
mod proof;
mod provenance;
mod quote;
mod rerank;
mod snapshot;

pub use error::{ErrorKind, Problem};
pub use feed::{
    FEED_FORMAT_VERSION, FeedFile, FeedHeader, FeedHistory, FeedInteraction, FeedItem, FeedThing, FeedUser, Profile,
};
pub use hash::{Hasher, hash_bytes, hash_json};
pub use id::{IdError, ItemId, TableName, UserId};
pub use manifest::{
    ChangeRules, Compression, DELETED_COLUMN, DeclaredColumn, ExtractReject, FileFormat, KeyCut, Resume,
    STAGE_FORMAT_VERSION, StageManifest, StageMode, StagedFile,
};
pub use position::LogPosition;
pub use progress::{NoProgress, Progress};
pub use promotion::{PROMOTION_FORMAT_VERSION, Promotion};
pub use proof::{CellForm, Checksum, ColumnProof, ProofHash, SourceProof, date_text, mantissa_and_exponent, time_text};
pub use provenance::Provenance;
pub use quote::{Dialect, quote_identifier};
pub use rerank::{Boost, Cap, Explore, Quota, RerankRules};
pub use snapshot::{ExperimentSnapshot, SNAPSHOT_FORMAT_VERSION, SdkConnection, SnapshotExperiment};
