//! One record per run of a verb, for `status` and for whoever asks later what happened.
//!
//! In: verb, times, outcome.  Out: `.montauk/runs/<run_id>.json`, written aside and renamed.
//! Never here: anything that decides; a lost record loses no data.
//! Start at [`record`].

use std::fs;
use std::path::Path;

use crate::PipelineError;
use crate::feed::{sync_directory, write_durably};

/// One finished run.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct RunRecord {
    pub run_id: String,
    pub verb: String,
    pub started_at: chrono::DateTime<chrono::Utc>,
    pub seconds: f64,
    pub outcome: Outcome,
    /// The error's sentence, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Failed,
}

/// Keeps one record. Run ids sort by time, so the names do too.
pub fn record(runs_dir: &Path, run: &RunRecord) -> Result<(), PipelineError> {
    fs::create_dir_all(runs_dir).map_err(|error| PipelineError::io(runs_dir, &error))?;
    let text = serde_json::to_vec_pretty(run).map_err(|error| PipelineError::json("run record", &error))?;
    let aside = runs_dir.join(format!(".{}.tmp", run.run_id));
    write_durably(&aside, &text)?;
    let target = runs_dir.join(format!("{}-{}.json", run.run_id, run.verb));
    fs::rename(&aside, &target).map_err(|error| PipelineError::io(&target, &error))?;
    sync_directory(runs_dir)
}

/// The newest `limit` records, newest first; a record that cannot be read is left out.
pub fn newest(runs_dir: &Path, limit: usize) -> Vec<RunRecord> {
    let Ok(entries) = fs::read_dir(runs_dir) else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    paths.iter().rev().filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).take(limit).collect()
}
