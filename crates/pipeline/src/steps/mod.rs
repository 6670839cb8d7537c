//! The verbs: one file each, each a plain `Request → Report`.
//!
//! In: a [`Context`] (project, warehouse, stage, clock reading) and the verb's own `Request`.
//! Out: the verb's `Report`, which is what the command line prints and what `--json` shows.
//! Never here: terminals, exit codes, or reading the clock.
//! Start at [`extract`], the first verb on the line of data.

pub mod analyze;
pub mod build;
pub mod check;
pub mod copy;
pub mod demo;
pub mod doctor;
pub mod evaluate;
pub mod extract;
pub mod init;
pub mod launch;
pub mod off_policy;
pub mod power;
pub mod publish;
pub mod quarantine;
pub mod query;
mod query_output;
pub mod rec;
pub mod recommend;
pub mod status;
pub mod train;
pub mod trust;
pub mod tune;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use connect::Stage;
use domain::Progress;
use warehouse::{RunContext, Warehouse};

use crate::project::Project;

/// What every verb works with. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub project: Arc<Project>,
    pub warehouse: Warehouse,
    pub stage: Arc<Stage>,
    pub progress: Arc<dyn Progress>,
    /// The one reading of the clock that the whole run uses.
    pub now: DateTime<Utc>,
    /// Names the run in every record it leaves.
    pub run_id: String,
}

impl Context {
    /// What the warehouse needs to know of this run.
    pub fn run(&self) -> RunContext {
        RunContext { run_id: self.run_id.clone(), now: self.now }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Context").field("now", &self.now).field("run_id", &self.run_id).finish_non_exhaustive()
    }
}
