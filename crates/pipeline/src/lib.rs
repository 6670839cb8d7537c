//! The verbs of Montauk over one project: extract, copy, build, check, train, evaluate, recommend, publish, query.
//!
//! In: a project directory.  Out: one [`steps`] module per verb, each a plain `Request → Report`.
//! Never here: DataFusion or Delta (`warehouse`), statistics and kernels (`recommend`), terminals (`app`).
//! Start at [`steps::demo`], which walks the whole line.

mod analyze;
mod artefacts;
mod diff;
mod error;
mod evaluations;
pub mod feed;
mod indicators;
mod journal;
mod marts;
mod meter;
pub mod metric_trust;
mod nearest;
mod profiles;
pub mod project;
mod promotions;
mod proposal;
mod publish;
pub mod results;
pub mod retain;
mod rows;
pub mod runs;
pub mod scan;
pub mod steps;
mod template;
pub mod watching;

pub use connect::MAX_WORKERS;
pub use error::{FileProblem, PipelineError};
pub use nearest::{list_names, nearest};
