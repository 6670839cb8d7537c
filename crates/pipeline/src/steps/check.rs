//! `check`: the checks of the project, run over the tables that are visible now.
//!
//! In: which tables.  Out: one result per check, with failing rows.
//! Never here: how a check is computed (`warehouse`).
//! Start at [`run`].

use warehouse::{Check, CheckResult};

use super::Context;
use crate::PipelineError;

/// Which checks to run.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Tables whose checks run; empty means all.
    pub tables: Vec<String>,
    /// How many failing rows to list per check.
    pub rows: usize,
}

/// What the checks found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// The catalog number whose tables were checked.
    pub catalog: u64,
    pub checks: Vec<CheckResult>,
}

/// Runs the checks of the models' headers and of `checks/*.toml` over one catalog number.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let catalog = context.warehouse.catalog().await?;
    let project = &context.project;
    let mut checks: Vec<Check> = project.models.iter().flat_map(|model| model.checks.clone()).collect();
    checks.extend(project.checks.iter().cloned());
    if !request.tables.is_empty() {
        let available = || checks.iter().map(|check| check.table.to_string()).collect();
        for name in &request.tables {
            if !checks.iter().any(|check| check.table.to_string() == *name) {
                return Err(PipelineError::UnknownName {
                    what: "checked table",
                    name: name.clone(),
                    available: available(),
                });
            }
        }
        checks.retain(|check| request.tables.contains(&check.table.to_string()));
    }
    let checks = context.warehouse.check(&catalog, &checks, request.rows).await?;
    Ok(Report { catalog: catalog.number, checks })
}
