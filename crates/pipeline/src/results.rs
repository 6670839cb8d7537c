//! Results of experiments as they were last computed: for whoever asks without computing.
//!
//! In: a report of `analyze`.  Out: the same as JSON, by the experiment's key.
//! Layout: `reports/experiments/e_<key>.json`, replaced whole. That of metrics is in `metric_trust`.
//! Never here: computing them.
//! Start at [`keep`].

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::PipelineError;
use crate::project::Project;
use crate::steps::analyze::ExperimentReport;

/// Where something of an experiment is kept.
pub(crate) fn file(project: &Project, prefix: &str, key: &str) -> PathBuf {
    project.reports_dir().join("experiments").join(format!("{prefix}_{}.json", file_name(key)))
}

/// Keys are texts of people: what cannot stand in a file's name is written as its number.
pub(crate) fn file_name(key: &str) -> String {
    /// Names end at 255 bytes.
    const MOST: usize = 200;
    let is_plain = |c: char| c.is_alphanumeric() || "-_".contains(c);
    let part = |c: char| if is_plain(c) { c.to_string() } else { format!("%{:x}", u32::from(c)) };
    let name: String = key.chars().map(part).collect();
    if name.len() > MOST { domain::hash_bytes(key.as_bytes()) } else { name }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> PipelineError + '_ {
    move |error| PipelineError::io(path, &error)
}

/// Keeps a report in the place of the one before.
pub(crate) fn keep(project: &Project, report: &ExperimentReport) -> Result<(), PipelineError> {
    put(&file(project, "e", &report.key), report)
}

/// Writes a report aside, syncs it, and renames it.
pub(crate) fn put(path: &Path, report: &impl serde::Serialize) -> Result<(), PipelineError> {
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
        fs::rename(&aside, path)
    };
    write().map_err(failed(path))
}

/// The newest results of an experiment; `None` when there are none.
pub fn latest(project: &Project, key: &str) -> Result<Option<Value>, PipelineError> {
    read(&file(project, "e", key))
}

/// A report that was put; `None` when there is none.
pub(crate) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, PipelineError> {
    match fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| PipelineError::Internal {
            what: format!("read `{}`", path.display()),
            reason: error.to_string(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}
