//! What a launch has to know of project and warehouse: what metrics mean, and whether exposures come in.
//!
//! In: an experiment.  Out: [`LaunchFacts`] without power, which takes seconds (see `power`) and is kept by whoever asks for it.
//! Never here: what follows from them (`experiment::lifecycle::checklist`).
//! Start at [`run`].

use experiment::lifecycle::LaunchFacts;
use experiment::plan::ExperimentFile;

use super::Context;
use crate::PipelineError;
use crate::analyze::read_exposure_seen;

/// Looks at the newest catalog; writes nothing.
pub async fn run(context: &Context, experiment: &ExperimentFile) -> Result<LaunchFacts, PipelineError> {
    let catalog = context.warehouse.catalog().await?;
    let (table, key) = (&experiment.analysis.exposures, &experiment.assignment.key);
    let exposure_seen = read_exposure_seen(&context.warehouse, &catalog, table, key, context.now).await?;
    Ok(LaunchFacts {
        metrics: context.project.metrics.clone(),
        exposure_seen: Some(exposure_seen),
        metric_trust: crate::metric_trust::scores(&context.project)?,
        ..LaunchFacts::default()
    })
}
