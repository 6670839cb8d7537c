//! What can go wrong in the warehouse, split by what the caller can do.
//!
//! In: errors of the engine, the Delta library and the object store.  Out: [`WarehouseError`], one clear sentence each.
//! Never here: exit codes, HTTP.
//! Start at [`WarehouseError`].

use domain::{ErrorKind, Problem};

/// Shorthand for results of this room.
pub type Result<T, E = WarehouseError> = std::result::Result<T, E>;

/// What can go wrong in the warehouse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WarehouseError {
    /// A query or a model names a table that the catalog does not hold.
    #[error("table `{table}` does not exist{}", place(at))]
    NoSuchTable { table: String, nearest: Option<String>, at: String },
    /// The engine does not accept the SQL, or it failed while running on this data.
    #[error("{message}{}", place(at))]
    Sql { message: String, at: String, help: Option<String> },
    /// A query that would change something.
    #[error("`{statement}` changes data; `query` only reads")]
    NotReadOnly { statement: String },
    /// The header of a model, or its name, is wrong.
    #[error("{message}{}", place(at))]
    Model { message: String, at: String, help: Option<String> },
    /// Models that need each other.
    #[error("the models {cycle} need each other in a circle")]
    Cycle { cycle: String },
    /// A check names something that does not exist or has a bad value.
    #[error("{message}{}", place(at))]
    Check { message: String, at: String, help: Option<String> },
    /// Rows that were to be written did not pass; nothing was written.
    #[error("{failed} of the checks of `{table}` failed: {first}")]
    ChecksFailed { table: String, failed: usize, first: String },
    /// A type that a table cannot hold.
    #[error("column `{column}` has the type {data_type}, which a table cannot hold")]
    UnsupportedType { column: String, data_type: String },
    /// A value does not fit into the type of its column.
    #[error("column `{column}` holds a value that does not fit into {data_type}: {message}")]
    ValueOutOfRange { column: String, data_type: String, message: String },
    /// A table uses a Delta feature that our readers do not have.
    #[error("table `{table}` uses {feature}, which montauk does not read")]
    ForeignFeature { table: String, feature: String },
    /// The quarantine holds nothing of what was asked for.
    #[error("no open reject of table `{table}` is meant")]
    NoReject { table: String },
    /// Somebody else changed it meanwhile.
    #[error("another run changed {what} meanwhile")]
    Conflict { what: String },
    /// The store does not answer, refuses, or is full.
    #[error("cannot {what}: {message}")]
    Store { what: String, message: String, missing: bool },
    /// A file that Montauk wrote cannot be read.
    #[error("`{path}` is damaged: {message}")]
    Damaged { path: String, message: String },
    /// A query needs more memory or disk than it may have.
    #[error("the query needs more than it may have: {message}{}", place(at))]
    Exhausted { message: String, at: String },
    /// COPY could not load anything.
    #[error(transparent)]
    Copy(#[from] crate::copy::CopyError),
    /// A fault of Montauk or of its engine.
    #[error("{message}")]
    Internal { message: String },
}

/// ` at models/marts/a.sql:3`, or nothing.
fn place(at: &str) -> String {
    if at.is_empty() { String::new() } else { format!(" at {at}") }
}

/// The libraries in between turn the system's error into text; this much of it stays (errno 28 and 122).
fn is_full(message: &str) -> bool {
    message.contains("o space left") || message.contains("quota exceeded")
}

impl Problem for WarehouseError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchTable { .. } => ErrorKind::NotFound,
            Self::Sql { .. }
            | Self::NotReadOnly { .. }
            | Self::Model { .. }
            | Self::Cycle { .. }
            | Self::Check { .. }
            | Self::UnsupportedType { .. }
            | Self::ValueOutOfRange { .. } => ErrorKind::Invalid,
            Self::ForeignFeature { .. } | Self::ChecksFailed { .. } => ErrorKind::Refused,
            Self::NoReject { .. } => ErrorKind::NotFound,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Store { missing: true, .. } => ErrorKind::NotFound,
            Self::Store { .. } | Self::Exhausted { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } | Self::Internal { .. } => ErrorKind::Internal,
            Self::Copy(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoSuchTable { .. } => "no_such_table",
            Self::Sql { .. } => "sql_error",
            Self::NotReadOnly { .. } => "not_read_only",
            Self::Model { .. } => "model_invalid",
            Self::Cycle { .. } => "model_cycle",
            Self::Check { .. } => "check_invalid",
            Self::ChecksFailed { .. } => "checks_failed",
            Self::UnsupportedType { .. } => "unsupported_type",
            Self::ValueOutOfRange { .. } => "value_out_of_range",
            Self::ForeignFeature { .. } => "foreign_feature",
            Self::NoReject { .. } => "no_reject",
            Self::Conflict { .. } => "conflict",
            Self::Store { missing: true, .. } => "not_found",
            Self::Store { message, .. } if is_full(message) => "store_full",
            Self::Store { .. } => "store_unavailable",
            Self::Damaged { .. } => "damaged",
            Self::Exhausted { .. } => "exhausted",
            Self::Internal { .. } => "internal",
            Self::Copy(error) => error.code(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NoSuchTable { nearest, .. } => Some(match nearest {
                Some(name) => format!("did you mean `{name}`?"),
                None => "run `montauk status` to list the tables".to_owned(),
            }),
            Self::Sql { help, .. } | Self::Model { help, .. } | Self::Check { help, .. } => help.clone(),
            Self::NotReadOnly { .. } => Some("write a model under models/ and run `montauk build`".to_owned()),
            Self::Cycle { .. } => {
                Some("take one of the references out, or put the shared part into a third model".to_owned())
            }
            Self::ChecksFailed { .. } => Some("mend the rows it is made from".to_owned()),
            Self::UnsupportedType { .. } => Some("cast the column to another type in the SQL".to_owned()),
            Self::ValueOutOfRange { .. } => Some("cast the column to a wider type, or filter the value".to_owned()),
            Self::ForeignFeature { .. } => Some("rewrite the table without that feature".to_owned()),
            Self::NoReject { table } => Some(format!("see what there is: `montauk quarantine list {table}`")),
            Self::Conflict { .. } => Some("run the command again".to_owned()),
            Self::Store { missing: true, .. } => Some("`montauk status` names what there is".to_owned()),
            Self::Store { message, .. } if is_full(message) => {
                Some("free space there, then run again: nothing half-written is visible".to_owned())
            }
            Self::Store { .. } => {
                Some("check the path or bucket, its rights and its free space, then run the command again".to_owned())
            }
            Self::Exhausted { .. } => {
                Some("filter or aggregate earlier, or raise the limits under [engine] in montauk.toml".to_owned())
            }
            Self::Damaged { .. } => Some("restore the file from a backup".to_owned()),
            Self::Internal { .. } => None,
            Self::Copy(error) => error.help(),
        }
    }
}

impl WarehouseError {
    /// A failure of the object store while doing `what`, such as `read `x.json``.
    pub(crate) fn store(what: impl Into<String>, source: object_store::Error) -> Self {
        let missing = matches!(source, object_store::Error::NotFound { .. });
        Self::Store { what: what.into(), message: innermost(&source), missing }
    }

    /// A fault with a plain message.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::Internal { message: message.into() }
    }

    /// A failure of the Delta library on one table.
    #[expect(clippy::wildcard_enum_match_arm, reason = "another crate's enum: every other case is one for us")]
    pub(crate) fn delta(table: &domain::TableName, source: deltalake::DeltaTableError) -> Self {
        match source {
            deltalake::DeltaTableError::ObjectStore { source } => {
                Self::store(format!("read the log of `{table}`"), source)
            }
            // The library has thirty variants and adds more; those we cannot act on are one sentence.
            other => Self::Damaged { path: format!("{table}/_delta_log"), message: innermost(&other) },
        }
    }
}

/// The message of the last error in the chain: the one that names the cause without wrappers.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    one_sentence(&last.to_string())
}

/// First line, lower-case start, no full stop: the form of every message of Montauk.
pub(crate) fn one_sentence(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim();
    let line = line.strip_suffix('.').unwrap_or(line);
    let mut characters = line.chars();
    match (characters.next(), characters.clone().next()) {
        // `SQL error` keeps its capitals, `Cannot …` loses one.
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().collect::<String>() + characters.as_str()
        }
        _ => line.to_owned(),
    }
}
