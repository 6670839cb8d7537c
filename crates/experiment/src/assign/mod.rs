//! Who sees which variant: GrowthBook's payloads, evaluated as its JavaScript SDK 1.8.0 evaluates them.
//!
//! In: a payload as JSON; attributes of a unit.  Out: a value, the reason for it, exposures, sticky documents.
//! Never here: sending exposures, keeping documents, the clock.
//! Start at [`Payload::compile`], then [`Compiled::evaluate`].
//!
//! Where the JavaScript SDK stops with an exception, or takes a wrong type by accident, the payload is refused. Look-around, back-references and patterns
//! of more than 1 MiB never match. Names that every JavaScript object inherits, such as `constructor`, are no attributes here.

mod cipher;
mod condition;
mod condition_parser;
mod error;
mod evaluate;
mod experiment_parser;
mod field;
pub mod hash;
mod javascript;
mod pattern;
mod pattern_class;
mod pattern_parser;
mod payload;
mod payload_parser;
mod result;
mod sticky;
mod targeting;
mod trace;
mod value;

pub use cipher::{decrypt, encrypt};
pub use condition_parser::Warning;
pub use error::AssignError;
pub use evaluate::Context;
pub use payload::{Compiled, Experiment, Leaf, Payload, Track};
pub use result::{ExperimentResult, Exposure, FeatureResult, Log, Source};
pub use sticky::{StickyDocument, StickyDocuments};
pub use targeting::{merge_query, query_override};
pub use trace::{RuleKind, RuleOutcome, RuleTrace};
pub use value::{Object, Value};
