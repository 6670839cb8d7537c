//! A user's project: the directory with `montauk.toml`, read into typed values or refused with one clear error.
//!
//! In: a directory.  Out: a [`Project`]; each room owns the struct of its part, here they are put together.
//! Never here: the environment's secrets (resolved late, by the step that needs them), opening stores or databases.
//! Start at [`Project::open`].

mod airbyte;
mod document;
pub(crate) mod edit;
mod experiments;
mod lock;
mod off_policy;
mod read;
pub(crate) mod secret;
mod settings;
mod source;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::TableName;
use experiment::metric::MetricFile;
use experiment::plan::ExperimentFile;
use experiment::ranking::policy_evaluation::PolicyFile;
use recommend::RecommenderFile;
use warehouse::{Check, Model};

pub use lock::ProjectLock;
pub use settings::{PlaceSettings, ProjectSettings, PublishSettings, QuerySettings, ServeSettings, Settings};
pub use source::{SourceFile, SourceKind, SourceTable};
pub use sync::{DestinationKind, SyncFile, SyncMode};

use crate::error::PipelineError;

/// The file that makes a directory a project.
pub const PROJECT_FILE: &str = "montauk.toml";
/// The mart that `recommend` fills with everybody's list; no model makes it.
pub const RECOMMENDATIONS: &str = "marts.recommendations";
/// Where Montauk keeps what it makes.
const STATE_DIR: &str = ".montauk";

/// A project, read and checked.
#[derive(Debug, Clone)]
pub struct Project {
    dir: PathBuf,
    pub settings: Settings,
    /// By the name of the file without `.toml`, as are recommenders and syncs.
    pub sources: BTreeMap<String, SourceFile>,
    pub models: Vec<Model>,
    /// Of `checks/*.toml`; those in the header of a model are in the model.
    pub checks: Vec<Check>,
    pub recommenders: BTreeMap<String, RecommenderFile>,
    pub syncs: BTreeMap<String, SyncFile>,
    pub metrics: BTreeMap<String, MetricFile>,
    pub experiments: BTreeMap<String, ExperimentFile>,
    /// Policies to be judged from logs.
    pub policies: BTreeMap<String, PolicyFile>,
}

impl Project {
    /// The nearest directory with a `montauk.toml`: `start` or one above it.
    pub fn discover(start: &Path) -> Result<PathBuf, PipelineError> {
        let start = std::path::absolute(start).map_err(|error| PipelineError::io(start, &error))?;
        start
            .ancestors()
            .find(|dir| dir.join(PROJECT_FILE).is_file())
            .map(Path::to_owned)
            .ok_or(PipelineError::NoProject { start: start.clone() })
    }

    /// Reads every project file of `dir`. The first mistake is the error.
    pub fn open(dir: &Path) -> Result<Self, PipelineError> {
        read::read_project(dir)
    }

    /// The project directory, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The project's name in `montauk.toml`.
    pub fn name(&self) -> &str {
        &self.settings.project.name
    }

    /// `.montauk/`: everything Montauk makes, unless `montauk.toml` says otherwise.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join(STATE_DIR)
    }

    /// Trained recommenders, one directory each.
    pub fn artefacts_dir(&self) -> PathBuf {
        self.state_dir().join("artefacts")
    }

    /// Which artefact serves: `<recommender>/<number>.json`.
    pub fn promoted_dir(&self) -> PathBuf {
        self.state_dir().join("promoted")
    }

    /// What serving loads beside an artefact: `<number>/`.
    pub fn feed_dir(&self) -> PathBuf {
        self.state_dir().join("feed")
    }

    /// What destinations have accepted: `<sync>/`.
    pub fn publish_dir(&self) -> PathBuf {
        self.state_dir().join("publish")
    }

    /// One record per run.
    pub fn runs_dir(&self) -> PathBuf {
        self.state_dir().join("runs")
    }

    /// Evaluation reports.
    pub fn reports_dir(&self) -> PathBuf {
        self.state_dir().join("reports")
    }

    /// Trials of searches for settings: `<recommender>/<identity>.ndjson`.
    pub fn tuning_dir(&self) -> PathBuf {
        self.state_dir().join("tuning")
    }

    /// Keeps other runs out of this project until the guard is dropped. `command` is what they are told.
    pub fn lock(&self, command: &str) -> Result<ProjectLock, PipelineError> {
        ProjectLock::take(&self.state_dir(), command)
    }

    /// The source `name`, or an error with the nearest name.
    pub fn source(&self, name: &str) -> Result<&SourceFile, PipelineError> {
        look_up(&self.sources, "source", name)
    }

    /// The recommender `name`, or an error with the nearest name.
    pub fn recommender(&self, name: &str) -> Result<&RecommenderFile, PipelineError> {
        look_up(&self.recommenders, "recommender", name)
    }

    /// The experiment `name`, or an error with the nearest name.
    pub fn experiment(&self, name: &str) -> Result<&ExperimentFile, PipelineError> {
        look_up(&self.experiments, "experiment", name)
    }

    /// The policy `name`, or an error with the nearest name.
    pub fn policy(&self, name: &str) -> Result<&PolicyFile, PipelineError> {
        look_up(&self.policies, "policy", name)
    }

    /// The metric `name`, or an error with the nearest name.
    pub fn metric(&self, name: &str) -> Result<&MetricFile, PipelineError> {
        look_up(&self.metrics, "metric", name)
    }

    /// The sync `name`, or an error with the nearest name.
    pub fn sync(&self, name: &str) -> Result<&SyncFile, PipelineError> {
        look_up(&self.syncs, "sync", name)
    }

    /// The source tables that `selection` names as `source`, `source.table` or `schema.target`; all of them when it is empty.
    /// Each table comes once, in the order of the project.
    pub fn select_tables(&self, selection: &[String]) -> Result<Vec<(&SourceFile, &SourceTable)>, PipelineError> {
        let all: Vec<(&SourceFile, &SourceTable)> =
            self.sources.values().flat_map(|source| source.tables.values().map(move |table| (source, table))).collect();
        let means = |word: &str, source: &SourceFile, table: &SourceTable| {
            let in_source = word.strip_prefix(source.name.as_str());
            word == source.name
                || in_source.and_then(|rest| rest.strip_prefix('.')) == Some(table.name.as_str())
                || table.target.to_string() == word
        };
        for word in selection {
            if !all.iter().any(|(source, table)| means(word, source, table)) {
                let mut available: Vec<String> = self.sources.keys().cloned().collect();
                available.extend(all.iter().map(|(source, table)| format!("{}.{}", source.name, table.name)));
                available.extend(all.iter().map(|(_, table)| table.target.to_string()));
                return Err(PipelineError::UnknownName { what: "source or table", name: word.clone(), available });
            }
        }
        let is_wanted = |source: &SourceFile, table: &SourceTable| {
            selection.is_empty() || selection.iter().any(|word| means(word, source, table))
        };
        Ok(all.into_iter().filter(|(source, table)| is_wanted(source, table)).collect())
    }

    /// Whether COPY fills this table.
    pub fn is_target(&self, table: &TableName) -> bool {
        self.sources
            .values()
            .flat_map(|source| source.tables.values())
            .any(|source_table| source_table.target == *table)
    }

    /// Tables that exist once everything has run: the targets of sources, the models, and everybody's list.
    pub fn table_names(&self) -> Vec<TableName> {
        let targets = self.sources.values().flat_map(|source| source.tables.values()).map(|table| table.target.clone());
        let mut names: Vec<TableName> = targets.chain(self.models.iter().map(|model| model.table.clone())).collect();
        if !self.recommenders.is_empty() {
            names.extend(RECOMMENDATIONS.parse().ok());
        }
        names.sort();
        names.dedup();
        names
    }
}

fn look_up<'a, T>(all: &'a BTreeMap<String, T>, what: &'static str, name: &str) -> Result<&'a T, PipelineError> {
    all.get(name).ok_or_else(|| PipelineError::UnknownName {
        what,
        name: name.to_owned(),
        available: all.keys().cloned().collect(),
    })
}
