//! `build`: models → checked tables that become visible together.
//!
//! In: which models.  Out: warehouse's report per model.
//! Never here: SQL execution, commits (both `warehouse`).
//! Start at [`run`].

use warehouse::{BuildOptions, BuildReport};

use super::Context;
use crate::PipelineError;

/// Which models to build.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Selectors: `model`, `+model` (with everything before it), `model+` (with everything after it); empty means all.
    pub selection: Vec<String>,
    /// Build also what has not changed.
    pub full_refresh: bool,
}

/// What was built.
pub type Report = BuildReport;

/// Builds the selected models; what failed its checks keeps its old version, and what depends on it waits.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let options = BuildOptions { selection: request.selection, full_refresh: request.full_refresh };
    let project = &context.project;
    Ok(context
        .warehouse
        .build(&project.models, &project.checks, &context.run(), &options, context.progress.as_ref())
        .await?)
}
