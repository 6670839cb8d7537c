//! What can go wrong in a run: in the project's files, between the steps, and in the rooms below.
//!
//! In: errors of `connect`, `warehouse`, `recommend`, and of reading project files.  Out: [`PipelineError`].
//! Never here: exit codes, colours (`app`).
//! Start at [`PipelineError`]; an error in a project file carries a [`FileProblem`].

use std::path::{Path, PathBuf};

use connect::ConnectError;
use domain::{ErrorKind, Problem};
use recommend::RecommendError;
use warehouse::WarehouseError;

use crate::nearest::{list_names, nearest};
use crate::steps::rec::RegistryError;

/// What can go wrong in a run.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error("{0}")]
    ProjectFile(Box<FileProblem>),
    #[error("there is no project in `{}` or above it: no `montauk.toml`", start.display())]
    NoProject { start: PathBuf },
    #[error("another run is active in this project: {}", holder(*pid, command))]
    RunActive { pid: u32, command: String },
    #[error("environment variable `{name}` is not set, and `{file}` needs it")]
    UnsetVariable { name: String, file: String },

    #[error("there is no {what} `{name}`")]
    UnknownName { what: &'static str, name: String, available: Vec<String> },
    #[error("table `{table}` has no column `{column}`")]
    MissingColumn { table: String, column: String, available: Vec<String> },
    #[error("column `{column}` of `{table}` is {found}, and must be {expected}")]
    WrongColumnType { table: String, column: String, found: String, expected: String },
    #[error("nothing is known of user `{user}`")]
    NoUser { user: String },
    #[error("no recommender has been promoted yet")]
    NothingPromoted,
    #[error("`{file}` has changed since the search began")]
    FileChanged { file: String },
    #[error("this project has no experiment")]
    NoExperiments,
    #[error("experiment `{experiment}` cannot be analyzed: {}{reason}", at_table(table))]
    Unanalyzable { experiment: String, table: String, reason: String },
    #[error("this project has no policy to evaluate")]
    NoPolicies,
    #[error("policy `{policy}` cannot be evaluated: {reason}")]
    Unjudgeable { policy: String, reason: String },
    #[error("this project has no recommender")]
    NoRecommenders,
    #[error("recommender `{recommender}` has no artefact for the data as it is now")]
    NotTrained { recommender: String },
    #[error("recommender `{recommender}` looks at the column `{column}`, but its file names no `{key}` table")]
    NoAttributes { recommender: String, key: &'static str, column: String },
    #[error(
        "recommenders `{one}` and `{other}` cannot be compared: they differ in `interactions`, `baseline`, `filter_seen`, `[evaluate]`, or in the `items` that their `[rerank]` is about"
    )]
    NotComparable { one: String, other: String },
    #[error("nothing is staged of table `{table}` of source `{source_name}`")]
    NothingStaged { source_name: String, table: String },
    #[error("the database has no tables that this user may read")]
    EmptyDatabase,
    #[error("`{id}` is no reject of table `{table}`")]
    NoSuchReject { table: String, id: String },
    #[error("`{word}` means more than one table")]
    ManyTables { word: String, tables: Vec<String> },

    #[error("{failed} {} failed: {}", plural(*failed, "check"), list_names(tables.iter().map(String::as_str)))]
    ChecksFailed { failed: usize, tables: Vec<String> },
    #[error("sync `{sync}` would change {changed} of {accepted} accepted rows ({:.0} %), and its guard allows {:.0} %",
        100.0 * share(*changed, *accepted), 100.0 * limit)]
    TooLargeChange { sync: String, changed: u64, accepted: u64, limit: f64 },
    #[error("sync `{sync}` cannot be published: {reason}")]
    Unpublishable { sync: String, reason: String },

    #[error("no space left on the device while writing `{}`", path.display())]
    DiskFull { path: PathBuf },
    #[error("cannot use `{}`: {reason}", path.display())]
    Io { path: PathBuf, kind: std::io::ErrorKind, reason: String },
    #[error("{what} is not valid JSON: {reason}")]
    Json { what: String, reason: String },
    #[error("{what}: {reason}")]
    Internal { what: String, reason: String },

    // Boxed: an error is rare, and every `Result` of this room would otherwise carry the size of the largest one.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    #[error(transparent)]
    Warehouse(Box<WarehouseError>),
    #[error(transparent)]
    Recommend(#[from] RecommendError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// One mistake in one project file, with everything that a person needs to mend it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FileProblem {
    /// Stable code in snake case.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// Relative to the project.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The text of the line.
    pub source: String,
    /// What was expected, and other facts.
    pub notes: Vec<String>,
    /// The next step.
    pub help: Option<String>,
}

impl FileProblem {
    /// A problem of the file as a whole.
    pub(crate) fn at_start(file: &str, code: &'static str, message: String) -> Self {
        Self {
            code,
            message,
            file: file.to_owned(),
            line: 1,
            column: 1,
            source: String::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// Adds the next step.
    pub(crate) fn with_help(mut self, help: String) -> Self {
        self.help = Some(help);
        self
    }

    /// Adds a fact, if there is one.
    pub(crate) fn with_note(mut self, note: Option<String>) -> Self {
        self.notes.extend(note);
        self
    }

    /// Says what was meant, from the names that exist.
    pub(crate) fn with_nearest<'a>(self, name: &str, available: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        match nearest(name, available.clone()) {
            Some(meant) => self.with_help(format!("did you mean `{meant}`?")),
            None => self.with_note(Some(format!("available: {}", list_names(available)))),
        }
    }
}

impl std::fmt::Display for FileProblem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl From<FileProblem> for PipelineError {
    fn from(problem: FileProblem) -> Self {
        Self::ProjectFile(Box::new(problem))
    }
}

impl From<ConnectError> for PipelineError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Box::new(error))
    }
}

impl From<WarehouseError> for PipelineError {
    fn from(error: WarehouseError) -> Self {
        Self::Warehouse(Box::new(error))
    }
}

impl PipelineError {
    /// An error of the file system; a full disk is told apart, because another step mends it.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        let path = path.to_owned();
        let kind = error.kind();
        if matches!(kind, std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
            Self::DiskFull { path }
        } else {
            Self::Io { path, kind, reason: error.to_string() }
        }
    }

    /// Text of ours that is not the JSON it should be, or a value that has no JSON form.
    pub fn json(what: &str, error: &serde_json::Error) -> Self {
        Self::Json { what: what.to_owned(), reason: error.to_string() }
    }

    /// A fault of ours.
    pub fn internal(what: &str, reason: impl std::fmt::Display) -> Self {
        Self::Internal { what: what.to_owned(), reason: reason.to_string() }
    }

    /// The place in a project file, when that is where the mistake is.
    pub fn file_problem(&self) -> Option<&FileProblem> {
        if let Self::ProjectFile(problem) = self { Some(problem) } else { None }
    }
}

impl Problem for PipelineError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ProjectFile(_)
            | Self::UnsetVariable { .. }
            | Self::MissingColumn { .. }
            | Self::WrongColumnType { .. } => ErrorKind::Invalid,
            Self::NoProject { .. } | Self::UnknownName { .. } | Self::NoUser { .. } | Self::NothingPromoted => {
                ErrorKind::NotFound
            }
            Self::NoRecommenders
            | Self::NoExperiments
            | Self::NoPolicies
            | Self::NotTrained { .. }
            | Self::NothingStaged { .. }
            | Self::EmptyDatabase => ErrorKind::NotFound,
            Self::NoSuchReject { .. } => ErrorKind::NotFound,
            Self::NotComparable { .. }
            | Self::ManyTables { .. }
            | Self::NoAttributes { .. }
            | Self::Unanalyzable { .. }
            | Self::Unjudgeable { .. } => ErrorKind::Invalid,
            Self::FileChanged { .. } => ErrorKind::Conflict,
            Self::RunActive { .. }
            | Self::ChecksFailed { .. }
            | Self::TooLargeChange { .. }
            | Self::Unpublishable { .. } => ErrorKind::Refused,
            Self::Io { kind: std::io::ErrorKind::NotFound, .. } => ErrorKind::NotFound,
            Self::DiskFull { .. } | Self::Io { .. } => ErrorKind::Unavailable,
            Self::Json { .. } | Self::Internal { .. } => ErrorKind::Internal,
            Self::Connect(error) => error.kind(),
            Self::Warehouse(error) => error.kind(),
            Self::Recommend(error) => error.kind(),
            Self::Registry(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ProjectFile(problem) => problem.code,
            Self::NoProject { .. } => "no_project",
            Self::RunActive { .. } => "run_active",
            Self::UnsetVariable { .. } => "missing_variable",
            Self::UnknownName { .. } => "unknown_name",
            Self::MissingColumn { .. } => "missing_column",
            Self::WrongColumnType { .. } => "wrong_column_type",
            Self::NoUser { .. } => "no_such_user",
            Self::NothingPromoted => "nothing_promoted",
            Self::FileChanged { .. } => "file_changed",
            Self::NoRecommenders => "no_recommenders",
            Self::NoExperiments => "no_experiments",
            Self::Unanalyzable { .. } => "unanalyzable",
            Self::NoPolicies => "no_policies",
            Self::Unjudgeable { .. } => "unjudgeable",
            Self::NotTrained { .. } => "not_trained",
            Self::NoAttributes { .. } => "no_attributes",
            Self::NotComparable { .. } => "not_comparable",
            Self::NothingStaged { .. } => "nothing_staged",
            Self::EmptyDatabase => "empty_database",
            Self::NoSuchReject { .. } => "no_such_reject",
            Self::ManyTables { .. } => "many_tables",
            Self::ChecksFailed { .. } => "checks_failed",
            Self::TooLargeChange { .. } => "change_too_large",
            Self::Unpublishable { .. } => "unpublishable",
            Self::DiskFull { .. } => "disk_full",
            Self::Io { .. } => "io_failed",
            Self::Json { .. } => "bad_json",
            Self::Internal { .. } => "internal",
            Self::Connect(error) => error.code(),
            Self::Warehouse(error) => error.code(),
            Self::Recommend(error) => error.code(),
            Self::Registry(error) => error.code(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::ProjectFile(problem) => problem.help.clone(),
            Self::NoProject { .. } => Some(
                "go to a project, name one with `-C DIR`, or make one: `montauk init my-project --template retail`"
                    .to_owned(),
            ),
            Self::RunActive { .. } => {
                Some("wait until it ends, then run again; reading (`query`, `status`) works meanwhile".to_owned())
            }
            Self::UnsetVariable { name, .. } => Some(format!("set it before the run: `export {name}=…`")),
            Self::UnknownName { name, available, .. } | Self::MissingColumn { column: name, available, .. } => {
                Some(match nearest(name, available.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("available: {}", list_names(available.iter().map(String::as_str))),
                })
            }
            Self::WrongColumnType { column, expected, .. } => {
                Some(format!("cast `{column}` to {expected} in the model"))
            }
            Self::NoUser { .. } => Some(
                "take one of `montauk query \"select distinct user_id from marts.interactions limit 5\"`".to_owned(),
            ),
            Self::NothingPromoted => {
                Some("run `montauk train`, then `montauk evaluate`, which promotes the best".to_owned())
            }
            Self::FileChanged { .. } => {
                Some("run `montauk tune` again: it begins from the file as it is now".to_owned())
            }
            Self::NoRecommenders => Some(
                "add one: `recommenders/ease.toml` with `kind = \"ease\"` and `interactions = \"marts.interactions\"`"
                    .to_owned(),
            ),
            Self::NoAttributes { key, .. } => Some(format!("add a line such as `{key} = \"marts.{key}\"` to the file")),
            Self::NoExperiments => Some("add one: `experiments/checkout.toml` with `[assignment]` and `[analysis]`".to_owned()),
            Self::NoPolicies => Some("add one: `off_policy/new.toml` with `[log]` and `[policy]`".to_owned()),
            Self::Unanalyzable { .. } => Some(
                "mend the metric's `value` or `where`, or the columns of the exposures: `unit_id`, `experiment`, `variant`, `occurred_at`"
                    .to_owned(),
            ),
            Self::NotTrained { recommender } => {
                Some(format!("run `montauk train {recommender}`, then `montauk evaluate`"))
            }
            Self::NotComparable { .. } => {
                Some("make these the same, or evaluate them one at a time: `montauk evaluate NAME`".to_owned())
            }
            Self::NothingStaged { source_name, table } => Some(format!("run `montauk extract {source_name}.{table}`")),
            Self::NoSuchReject { table, .. } => Some(format!("see what there is: `montauk quarantine list {table}`")),
            Self::ManyTables { tables, .. } => Some(format!("name one: {}", tables.join(", "))),
            Self::EmptyDatabase => {
                Some("name the database in the URL, and grant this user `select` on its tables".to_owned())
            }
            Self::ChecksFailed { .. } => {
                Some("look at the failing rows: `montauk check --rows 20`; then fix the source or the model".to_owned())
            }
            Self::TooLargeChange { sync, .. } => Some(format!(
                "look at the difference with `montauk publish {sync} --plan`; allow it once with `--yes`, or raise `max_change` in publish/{sync}.toml"
            )),
            Self::Unpublishable { .. } | Self::Unjudgeable { .. } => None,
            Self::DiskFull { .. } => Some("free some space and run again: nothing half-written is visible".to_owned()),
            Self::Io { .. } => Some("check that the path exists and that this user may read and write it".to_owned()),
            Self::Json { .. } => {
                Some("if a person edited it, undo that; otherwise restore the file from a backup".to_owned())
            }
            Self::Internal { .. } => None,
            Self::Connect(error) => error.help(),
            Self::Warehouse(error) => error.help(),
            Self::Recommend(error) => error.help(),
            Self::Registry(error) => error.help(),
        }
    }
}

fn holder(pid: u32, command: &str) -> String {
    if pid == 0 { "it is just starting".to_owned() } else { format!("`montauk {command}`, process {pid}") }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

fn at_table(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!("table `{table}`: ") }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}
