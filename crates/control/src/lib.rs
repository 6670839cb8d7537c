//! What people decide: experiments, flags, layers, holdouts, people, tokens, approvals, and who decided what when.
//!
//! In: an [`Actor`], what he wants, and the time.  Out: records as the API shows them; a [`domain::ExperimentSnapshot`] for whoever answers flags.
//! Never here: statistics, the data engine, data files, HTTP, a clock. What a metric means and what power is comes in as
//! [`experiment::lifecycle::LaunchFacts`].
//! Start at [`Control`].

pub mod api;
mod audit;
mod control;
mod drift;
mod error;
mod experiments;
mod people;
mod power;
mod publish;
mod qa;
mod rehearsal;
mod secret;
mod store;
mod surroundings;
mod things;
mod tokens;
mod watch;

pub use audit::{AuditEntry, AuditExport, AuditFilter, AuditFormat};
pub use control::Control;
pub use drift::{ApplyOptions, ApplyReport, Drift, DriftChange, DriftPlan, ExperimentSource};
pub use error::ControlError;
pub use experiments::{ExperimentFilter, ExperimentRecord, ManagedBy, Origin, Standing};
pub use people::{Actor, Permission, Person, Projects, Role, Via};
pub use power::{KeptPower, PowerFound};
pub use publish::{LeftOut, Published};
pub use qa::{PreviewRequest, QaEntry, QaRequest};
pub use things::{Kind, ProjectPolicy, SavedGroup, Stored, Thing, ThingEdit};
pub use tokens::{IssuedToken, TokenRecord, TokenRequest};
pub use watch::{RULES, RuleAct};
