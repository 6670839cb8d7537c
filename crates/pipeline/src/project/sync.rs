//! `publish/<name>.toml`: one mart, where it goes, and how much one run may change there.
//!
//! In: a project file.  Out: a [`SyncFile`].
//! Never here: the difference (`publish`), the protocol of the database (`connect`).
//! Start at [`SyncFile::read`].

use connect::{NullPolicy, SecretText};

use super::document::Document;
use super::secret;
use super::settings::Settings;
use crate::error::PipelineError;

/// Name that `publish` keeps for the feed of serving.
const FEED: &str = "feed";

/// One sync: rows of a mart into one table of one database.
#[derive(Debug, Clone)]
pub struct SyncFile {
    /// Name of the file without `.toml`.
    pub name: String,
    /// `publish/<name>.toml`, for messages.
    pub path: String,
    /// A table of the warehouse, or a `select`.
    pub from: String,
    pub kind: DestinationKind,
    pub url: SecretText,
    /// The destination's table.
    pub table: String,
    /// Columns that identify a row.
    pub key: Vec<String>,
    pub mode: SyncMode,
    /// Whether a null overwrites what the destination holds.
    pub nulls: NullPolicy,
    /// Largest share of the accepted rows that one run may change or delete, 0.0–1.0.
    pub max_change: f64,
}

/// What stands behind a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKind {
    #[serde(alias = "mariadb")]
    Mysql,
    Postgres,
}

/// What happens to rows that the mart does not hold any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// They stay.
    #[default]
    Upsert,
    /// They are deleted.
    Mirror,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    from: String,
    kind: DestinationKind,
    url: SecretText,
    table: String,
    key: Vec<String>,
    #[serde(default)]
    mode: SyncMode,
    #[serde(default)]
    nulls: NullPolicy,
    max_change: Option<f64>,
}

impl SyncFile {
    /// Reads one sync; `name` is the file's name without `.toml`.
    pub(crate) fn read(name: &str, document: &Document, settings: &Settings) -> Result<Self, PipelineError> {
        let written: Written = document.parse()?;
        if name == FEED {
            let problem = document.problem(0..0, "bad_name", "`feed` names the feed of serving".to_owned());
            return Err(problem.with_help("give this file another name".to_owned()).into());
        }
        if written.key.is_empty() {
            let problem = document.problem_at(&["key"], "bad_value", "`key` names no column".to_owned());
            return Err(problem
                .with_help("name the columns that identify a row: `key = [\"user_id\"]`".to_owned())
                .into());
        }
        for text in ["from", "table"] {
            let value = if text == "from" { &written.from } else { &written.table };
            if value.trim().is_empty() {
                return Err(document.problem_at(&[text], "bad_value", format!("`{text}` is empty")).into());
            }
        }
        let max_change = written.max_change.unwrap_or(settings.publish.max_change);
        if !(0.0..=1.0).contains(&max_change) {
            let problem = document.problem_at(&["max_change"], "bad_value", format!("`{max_change}` is not a share"));
            return Err(problem.with_note(Some("expected a number from 0.0 to 1.0".to_owned())).into());
        }
        Ok(Self {
            name: name.to_owned(),
            path: document.path.clone(),
            from: written.from,
            kind: written.kind,
            url: written.url,
            table: written.table,
            key: written.key,
            mode: written.mode,
            nulls: written.nulls,
            max_change,
        })
    }

    /// The database address with its `${NAME}` parts filled in.
    pub fn resolve_url(&self) -> Result<String, PipelineError> {
        secret::resolve(&self.url, &self.path)
    }

    /// The table it reads, when `from` is a table's name and not a `select`.
    pub fn from_table(&self) -> Option<domain::TableName> {
        self.from.trim().parse().ok()
    }
}
