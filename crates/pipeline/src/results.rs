//! Results of experiments as they were last computed: for whoever asks without computing.
//!
//! In: a report of `analyze`.  Out: the same as JSON, by the experiment's key.
//! Layout: `reports/experiments/e_<key>.json`, replaced whole.
//! Never here: computing them.
//! Start at [`keep`].

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::PipelineError;
use crate::project::Project;
use crate::steps::analyze::ExperimentReport;

/// Keys are texts of people: what cannot stand in a file's name is written as its number.
pub(crate) fn file(project: &Project, prefix: &str, key: &str) -> PathBuf {
    /// Names end at 255 bytes.
    const MOST: usize = 200;
    let is_plain = |c: char| c.is_alphanumeric() || "-_".contains(c);
    let part = |c: char| if is_plain(c) { c.to_string() } else { format!("%{:x}", u32::from(c)) };
    let name: String = key.chars().map(part).collect();
    let name = if name.len() > MOST { domain::hash_bytes(key.as_bytes()) } else { name };
    project.reports_dir().join("experiments").join(format!("{prefix}_{name}.json"))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> PipelineError + '_ {
    move |error| PipelineError::io(path, &error)
}

/// Keeps a report in the place of the one before: written aside, synced, renamed.
pub(crate) fn keep(project: &Project, report: &ExperimentReport) -> Result<(), PipelineError> {
    let path = file(project, "e", &report.key);
    let aside = path.with_extension("aside");
    let text = serde_json::to_string(report)
        .map_err(|error| PipelineError::Internal { what: "write results".to_owned(), reason: error.to_string() })?;
    let write = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut file = File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, &path)
    };
    write().map_err(failed(&path))
}

/// The newest results of an experiment; `None` when there are none.
pub fn latest(project: &Project, key: &str) -> Result<Option<Value>, PipelineError> {
    let path = file(project, "e", key);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| PipelineError::Internal {
            what: format!("read `{}`", path.display()),
            reason: error.to_string(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&path)(error)),
    }
}
