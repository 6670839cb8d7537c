//! `sources/<name>.toml`: one system that data comes from, its tables, and where they go.
//!
//! In: a project file.  Out: a [`SourceFile`].
//! Never here: reaching the system (`connect`), how text is parsed (`warehouse`).
//! Start at [`SourceFile::read`].

use std::collections::BTreeMap;

use connect::sources::airbyte::{AirbyteSettings, StreamChoice};
use connect::{DEFAULT_WORKERS, ExtractMode, InvalidDates, LookBack, MAX_WORKERS, SecretText};
use domain::TableName;
use serde::de::IgnoredAny;
use warehouse::CopyOptions;

use super::document::Document;
use super::{airbyte, secret};
use crate::error::PipelineError;

/// Schema of a target table when a source table does not say `into`.
const RAW_SCHEMA: &str = "raw";

/// One source and its tables.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Name of the file without `.toml`.
    pub name: String,
    /// `sources/<name>.toml`, for messages.
    pub path: String,
    pub kind: SourceKind,
    /// Connections that read one table at a time; only databases have them.
    pub workers: usize,
    /// Whether the source adds up its columns, so that each load can be compared with it.
    pub proof: bool,
    pub tables: BTreeMap<String, SourceTable>,
}

/// What stands behind a source.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// Files in the project directory.
    File,
    /// MySQL or MariaDB.
    MySql {
        url: SecretText,
    },
    Postgres {
        url: SecretText,
    },
    /// A program that speaks the Airbyte protocol.
    Airbyte(AirbyteSettings),
}

/// One table of a source.
#[derive(Debug, Clone)]
pub struct SourceTable {
    /// Name in the source file.
    pub name: String,
    /// Pattern of files, the table's name in the database, or the stream's name.
    pub location: String,
    /// A statement whose rows are the table, instead of `location`; only databases have them.
    pub query: Option<String>,
    /// Where COPY loads it.
    pub target: TableName,
    /// Which stream of a connector it is; only connectors have them.
    pub stream: Option<StreamChoice>,
    /// How COPY reads it.
    pub copy: CopyOptions,
    /// What happens to dates that do not exist; only databases have them.
    pub invalid_dates: InvalidDates,
    /// How much of it each extraction reads; only databases have a choice.
    pub mode: ExtractMode,
    /// Hash of what shapes the staged bytes. The URL is left out: a new password or host is not new data.
    pub config_hash: String,
}

/// Read first: the rest of the file depends on it.
#[derive(serde::Deserialize)]
struct Head {
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    File,
    Mysql,
    Mariadb,
    Postgres,
    Airbyte,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    tables: BTreeMap<String, FileTable>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    path: String,
    into: Option<TableName>,
    #[serde(default)]
    copy: CopyOptions,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Database {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    url: SecretText,
    workers: Option<usize>,
    proof: Option<bool>,
    tables: BTreeMap<String, DatabaseTable>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseTable {
    /// `database.table` (`schema.table` for PostgreSQL); the key of the table when absent.
    table: Option<String>,
    /// A statement whose rows are the table, instead of `table`.
    query: Option<String>,
    into: Option<TableName>,
    #[serde(default)]
    copy: CopyOptions,
    #[serde(default)]
    invalid_dates: InvalidDates,
    #[serde(default)]
    mode: ModeWord,
    /// The column that mode `cursor` goes by.
    cursor: Option<String>,
    #[serde(default)]
    look_back: LookBack,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModeWord {
    #[default]
    Full,
    Cursor,
    Changes,
}

/// A table of any kind, before its names are settled.
pub(super) struct Written {
    pub(super) location: String,
    pub(super) query: Option<String>,
    pub(super) into: Option<TableName>,
    pub(super) copy: CopyOptions,
    pub(super) invalid_dates: InvalidDates,
    pub(super) mode: ExtractMode,
    pub(super) stream: Option<StreamChoice>,
}

impl SourceFile {
    /// Reads one source file; `name` is the file's name without `.toml`.
    pub(crate) fn read(name: &str, document: &Document) -> Result<Self, PipelineError> {
        let head: Head = document.parse()?;
        let (kind, (workers, proof), tables) = match head.kind {
            Kind::File => {
                let file: Files = document.parse()?;
                let tables = file.tables.into_iter().map(|(name, table)| (name, Written::from(table))).collect();
                (SourceKind::File, (1, false), tables)
            }
            Kind::Mysql | Kind::Mariadb => {
                let (url, settings, tables) = read_database(document)?;
                (SourceKind::MySql { url }, settings, tables)
            }
            Kind::Postgres => {
                let (url, settings, tables) = read_database(document)?;
                (SourceKind::Postgres { url }, settings, tables)
            }
            Kind::Airbyte => {
                let (settings, tables) = airbyte::read(document)?;
                (SourceKind::Airbyte(settings), (1, false), tables)
            }
        };
        if tables.is_empty() {
            let problem = document.problem_at(&["tables"], "no_tables", "this source has no tables".to_owned());
            return Err(problem.with_help("add one: `[tables.orders]`".to_owned()).into());
        }
        let mut settled = BTreeMap::new();
        for (table, written) in tables {
            let ready = settle(name, &table, written, &kind, document)?;
            settled.insert(table, ready);
        }
        Ok(Self { name: name.to_owned(), path: document.path.clone(), kind, workers, proof, tables: settled })
    }

    /// The database address with its `${NAME}` parts filled in; `None` for files and connectors.
    ///
    /// Errors: [`PipelineError::UnsetVariable`], which names the variable and this file.
    pub fn resolve_url(&self) -> Result<Option<String>, PipelineError> {
        match &self.kind {
            SourceKind::File | SourceKind::Airbyte(_) => Ok(None),
            SourceKind::MySql { url } | SourceKind::Postgres { url } => secret::resolve(url, &self.path).map(Some),
        }
    }
}

impl SourceKind {
    /// The word for it in a source file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::MySql { .. } => "mysql",
            Self::Postgres { .. } => "postgres",
            Self::Airbyte(_) => "airbyte",
        }
    }
}

impl From<FileTable> for Written {
    fn from(table: FileTable) -> Self {
        Self {
            location: table.path,
            query: None,
            into: table.into,
            copy: table.copy,
            invalid_dates: InvalidDates::default(),
            mode: ExtractMode::Full,
            stream: None,
        }
    }
}

/// Address, connections and whether to prove, tables.
type DatabaseParts = (SecretText, (usize, bool), BTreeMap<String, Written>);

fn read_database(document: &Document) -> Result<DatabaseParts, PipelineError> {
    let file: Database = document.parse()?;
    let workers = file.workers.unwrap_or(DEFAULT_WORKERS);
    if !(1..=MAX_WORKERS).contains(&workers) {
        let message = format!("`workers` is {workers}, and must be 1 to {MAX_WORKERS}");
        return Err(document.problem_at(&["workers"], "bad_value", message).into());
    }
    let mut tables = BTreeMap::new();
    for (name, table) in file.tables {
        let mode = mode_of(&name, &table, document)?;
        check_query(&name, &table, &mode, document)?;
        let location = table.table.unwrap_or_else(|| name.clone());
        let (query, into, copy, invalid_dates) = (table.query, table.into, table.copy, table.invalid_dates);
        tables.insert(name, Written { location, query, into, copy, invalid_dates, mode, stream: None });
    }
    Ok((file.url, (workers, file.proof.unwrap_or(true)), tables))
}

/// A query stands for a table, and is read whole each time: which of its rows have changed, nothing tells.
fn check_query(
    name: &str,
    table: &DatabaseTable,
    mode: &ExtractMode,
    document: &Document,
) -> Result<(), PipelineError> {
    let Some(query) = &table.query else { return Ok(()) };
    let bad = |key: &str, message: &str, help: &str| {
        let problem = document.problem_at(&["tables", name, key], "bad_value", message.to_owned());
        Err(problem.with_help(help.to_owned()).into())
    };
    if table.table.is_some() {
        return bad("query", "`query` and `table` both say what is read", "remove one of them");
    }
    if query.trim().is_empty() {
        return bad("query", "`query` is empty", "write a statement: `query = \"select …\"`");
    }
    match mode {
        ExtractMode::Full => Ok(()),
        ExtractMode::Cursor { .. } => bad(
            "mode",
            "mode \"cursor\" needs a table: the rows of a query have no primary key by which new ones replace old ones",
            "remove `mode`, or name the table and put the query into a model",
        ),
        ExtractMode::Changes => bad(
            "mode",
            "mode \"changes\" needs a table: the server's log does not say which rows of a query have changed",
            "remove `mode`, or name the table and put the query into a model",
        ),
    }
}

/// The mode of a table, with what belongs to it and nothing else.
fn mode_of(name: &str, table: &DatabaseTable, document: &Document) -> Result<ExtractMode, PipelineError> {
    let bad = |key: &str, message: &str, help: &str| {
        let problem = document.problem_at(&["tables", name, key], "bad_value", message.to_owned());
        Err(problem.with_help(help.to_owned()).into())
    };
    match (table.mode, &table.cursor) {
        (ModeWord::Cursor, None) => {
            bad("mode", "mode \"cursor\" needs a column to go by", "add one that only grows: `cursor = \"updated_at\"`")
        }
        (ModeWord::Cursor, Some(column)) => {
            Ok(ExtractMode::Cursor { column: column.clone(), look_back: table.look_back })
        }
        (_, Some(_)) => bad("cursor", "`cursor` belongs to mode \"cursor\"", "add `mode = \"cursor\"`, or remove it"),
        _ if table.look_back != LookBack::None => {
            bad("look_back", "`look_back` belongs to mode \"cursor\"", "add `mode = \"cursor\"`, or remove it")
        }
        (ModeWord::Full, None) => Ok(ExtractMode::Full),
        (ModeWord::Changes, None) => Ok(ExtractMode::Changes),
    }
}

/// Gives a table its target and checks its name, which becomes a directory of the stage.
fn settle(
    source: &str,
    table: &str,
    written: Written,
    kind: &SourceKind,
    document: &Document,
) -> Result<SourceTable, PipelineError> {
    let is_directory = !table.is_empty() && !table.starts_with('.') && !table.contains(['/', '\\']);
    if !is_directory || table.chars().any(char::is_control) {
        let message = format!("`{table}` cannot name a table of a source");
        let problem = document.problem_at(&["tables", table], "bad_value", message);
        return Err(problem.with_help("use letters, digits, `_`, `-` and `.`".to_owned()).into());
    }
    let target = match written.into {
        Some(target) => target,
        None => default_target(source, table).map_err(|error| {
            let problem = document.problem_at(&["tables", table], "bad_value", error.to_string());
            problem.with_help("name the target: `into = \"raw.orders\"`".to_owned())
        })?,
    };
    if written.location.trim().is_empty() {
        let key = match kind {
            SourceKind::File => "path",
            SourceKind::MySql { .. } | SourceKind::Postgres { .. } => "table",
            SourceKind::Airbyte(_) => "stream",
        };
        let message = format!("`{key}` is empty");
        return Err(document.problem_at(&["tables", table, key], "bad_value", message).into());
    }
    let shape = (kind.as_str(), &written.location, &target, written.invalid_dates);
    let hash = match (kind, &written.mode) {
        (SourceKind::MySql { .. } | SourceKind::Postgres { .. }, ExtractMode::Full) if written.query.is_some() => {
            domain::hash_json(&(shape, &written.query))
        }
        // Another account or start is other data; another version of the connector, in its command, is not.
        (SourceKind::Airbyte(settings), _) => domain::hash_json(&(shape, &written.stream, &settings.config)),
        // As it was before there were modes, so that an upgrade does not make unchanged tables look new.
        (_, ExtractMode::Full) => domain::hash_json(&shape),
        (_, mode @ (ExtractMode::Cursor { .. } | ExtractMode::Changes)) => domain::hash_json(&(shape, mode)),
    };
    let config_hash = hash.map_err(|error| PipelineError::json(&document.path, &error))?;
    Ok(SourceTable {
        name: table.to_owned(),
        location: written.location,
        query: written.query,
        target,
        copy: written.copy,
        invalid_dates: written.invalid_dates,
        mode: written.mode,
        stream: written.stream,
        config_hash,
    })
}

/// `raw.<source>_<table>` in lower case, with `_` for whatever a table name cannot hold.
fn default_target(source: &str, table: &str) -> Result<TableName, domain::IdError> {
    let name: String = format!("{source}_{table}")
        .to_lowercase()
        .chars()
        .map(|character| if character.is_alphanumeric() { character } else { '_' })
        .collect();
    TableName::new(RAW_SCHEMA, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_name_even_when_nobody_gave_one() {
        assert_eq!(
            default_target("Shop-EU", "public.Order Lines").unwrap().to_string(),
            "raw.shop_eu_public_order_lines"
        );
        assert!(default_target("1shop", "a").is_err());
    }
}
