//! How far metrics are to be trusted, as it was last found: for whoever asks without computing.
//!
//! In: what `metric trust` found.  Out: the same, by the metric's name; scores of all.
//! Layout: `reports/metrics/<name>.json`, replaced whole.
//! Never here: finding it (`steps::trust`), what follows from a low score (`experiment::lifecycle`).
//! Start at [`scores`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use experiment::a_a::TrustReport;
use experiment::metric::MetricFile;
use serde::{Deserialize, Serialize};

use crate::PipelineError;
use crate::project::Project;
use crate::results::{file_name, put, read};

/// What was found of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricTrust {
    pub metric: String,
    /// Of the metric's definition that was tried (`domain::hash_json`); of another one nothing is known.
    #[serde(default)]
    pub metric_hash: String,
    /// The catalog number that the past was read at, and when.
    pub catalog: u64,
    pub at: DateTime<Utc>,
    /// Units that came from here until there.
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub seed: u64,
    /// `None` where nothing could be tried; `problem` says why.
    pub trust: Option<TrustReport>,
    pub problem: Option<String>,
}

fn path(project: &Project, metric: &str) -> PathBuf {
    project.reports_dir().join("metrics").join(format!("{}.json", file_name(metric)))
}

pub(crate) fn keep(project: &Project, found: &MetricTrust) -> Result<(), PipelineError> {
    put(&path(project, &found.metric), found)
}

/// What was last found of a metric; `None` where nobody asked since it became what it is.
pub fn latest(project: &Project, metric: &str) -> Result<Option<MetricTrust>, PipelineError> {
    let Some(definition) = project.metrics.get(metric) else { return Ok(None) };
    let hash = hash_of(definition)?;
    let found: Option<MetricTrust> = read(&path(project, metric))?;
    Ok(found.filter(|found| found.metric_hash == hash))
}

/// By which a definition is known again.
pub(crate) fn hash_of(metric: &MetricFile) -> Result<String, PipelineError> {
    domain::hash_json(metric).map_err(|error| PipelineError::json("metric", &error))
}

/// The newest score, 0.0–1.0, of every metric of the project that has one: what a launch's checklist wants to know.
pub fn scores(project: &Project) -> Result<BTreeMap<String, f64>, PipelineError> {
    let mut scores = BTreeMap::new();
    for metric in project.metrics.keys() {
        let found = latest(project, metric)?.and_then(|found| found.trust);
        scores.extend(found.map(|trust| (metric.clone(), trust.score)));
    }
    Ok(scores)
}
