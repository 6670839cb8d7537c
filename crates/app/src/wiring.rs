//! Puts the rooms together for one run: stores opened, warehouse and stage on top of them.
//!
//! In: a project and this run's clock reading.  Out: the [`Context`] of the verbs.
//! Never here: logic; nothing is read or written yet.
//! Start at [`context`].

use std::sync::Arc;

use chrono::{DateTime, Utc};
use connect::{Stage, open_store};
use domain::Progress;
use pipeline::PipelineError;
use pipeline::project::Project;
use pipeline::steps::Context;
use warehouse::Warehouse;

/// Opens what the verbs of one run work with.
pub async fn context(
    project: Project,
    progress: Arc<dyn Progress>,
    now: DateTime<Utc>,
    run_id: String,
) -> Result<Context, PipelineError> {
    let stage = open_store(&project.settings.stage.location, project.dir())?;
    stage.probe().await?;
    let tables = open_store(&project.settings.warehouse.location, project.dir())?;
    tables.probe().await?;
    let warehouse = Warehouse::open(tables.object_store, tables.url)?;
    Ok(Context { project: Arc::new(project), warehouse, stage: Arc::new(Stage::new(stage)), progress, now, run_id })
}
