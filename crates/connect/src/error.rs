//! What can go wrong at the border to other systems, split by what the caller can do.
//!
//! In: errors of drivers and stores.  Out: [`ConnectError`] with kind, stable code and next step.
//! Never here: a password or a full URL; targets are named by host, database and table only.
//! Start at [`ConnectError`].

use domain::{ErrorKind, Problem};

use crate::sources::airbyte::ConnectorProblem;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("`{location}` is not a location: {reason}")]
    BadLocation { location: String, reason: String },
    #[error("`{url}` is not a database address: {reason}")]
    BadUrl { url: String, reason: String },
    #[error("a `${{` in a secret has no closing `}}`")]
    BadSecret,
    #[error("environment variable `{name}` is not set")]
    MissingVariable { name: String },

    #[error("bucket `{bucket}` does not exist at {endpoint}")]
    NoSuchBucket { bucket: String, endpoint: String },
    #[error("{location} refuses access: {reason}")]
    StoreRefused { location: String, reason: String },
    #[error("{location} does not answer: {reason}")]
    StoreUnreachable { location: String, reason: String },
    #[error("`{path}` in {location} does not exist")]
    NoSuchObject { location: String, path: String },
    #[error("no space left while writing to {location}")]
    StoreFull { location: String },
    #[error("{location} fails: {reason}")]
    Store { location: String, reason: String },
    #[error("manifest `{path}` cannot be read: {reason}")]
    BadManifest { path: String, reason: String },
    #[error("another run published {attempts} manifests for `{source_table}` while this one tried")]
    PublishRace { source_table: String, attempts: u32 },

    #[error("no file matches `{pattern}` in `{directory}`")]
    NoFiles { pattern: String, directory: String },
    #[error("`{path}` (from `{pattern}`) is empty")]
    EmptyFile { path: String, pattern: String },
    #[error("`{path}` (from `{pattern}`) cannot be read: {reason}")]
    UnreadableFile { path: String, pattern: String, reason: String },
    #[error("`{path}` (from `{pattern}`) is not a file that COPY can read: {reason}")]
    UnknownFormat { path: String, pattern: String, reason: String },
    #[error("`{path}` changed while it was being staged")]
    FileChanged { path: String },

    #[error("{server} does not answer: {reason}")]
    DatabaseUnreachable { server: String, reason: String },
    #[error("{server} refuses user `{user}`: {reason}")]
    LoginRefused { server: String, user: String, reason: String },
    #[error("database `{database}` does not exist on {server}")]
    NoSuchDatabase { server: String, database: String },
    #[error("table `{table}` does not exist on {server}")]
    NoSuchTable { server: String, table: String, nearest: Option<String> },
    #[error("user `{user}` may not {action} `{table}` on {server}: {reason}")]
    NotAllowed { server: String, user: String, action: String, table: String, reason: String },
    #[error("the connection to {server} was lost: {reason}")]
    ConnectionLost { server: String, reason: String },
    #[error(
        "the parts of a table hold {parts} rows, and the whole {whole}: the borders between them are not in the order of its key"
    )]
    BadCut { parts: u64, whole: u64 },
    #[error("table `{table}` changed its columns while it was being read")]
    TableChanged { table: String },
    #[error(
        "column `{column}` of `{table}` holds more than {limit} values that no column type can carry (first: `{first}`)"
    )]
    TooManyRejects { table: String, column: String, limit: usize, first: String },
    #[error("column `{column}` of `{table}` holds `{value}`: {reason}")]
    BadValue { table: String, column: String, value: String, reason: String },
    #[error("the log of {server} does not reach back to {position}, where `{table}` was read last: {reason}")]
    LogGone { server: String, source_table: String, table: String, position: String, reason: String },
    #[error("the log of {server} cannot be followed: {reason}")]
    LogUnusable { server: String, reason: String, next: String },
    #[error("`{table}` has no primary key, so that mode \"{mode}\" cannot tell which row a change is of")]
    NoKey { table: String, mode: &'static str },
    #[error("column `{column}` of `{table}` cannot be a cursor: {reason}")]
    BadCursor { table: String, column: String, reason: String, next: String },
    #[error("the query of `{table}` cannot be read from {server}: {reason}")]
    BadQuery { table: String, server: String, reason: String, next: String },
    #[error("{server} answers with error {number} while {action}: {reason}")]
    Database { server: String, number: String, action: String, reason: String },

    #[error(transparent)]
    Connector(#[from] ConnectorProblem),

    #[error("target `{table}` does not fit: {reason}")]
    TargetMismatch { table: String, reason: String, next: String },
    #[error("column `{column}` has type {found}, which `{table}` cannot take")]
    UnsupportedType { table: String, column: String, found: String },
    #[error("receipt {found} of sync `{sync}` is already there, so {wanted} cannot follow")]
    StaleReceipt { sync: String, found: u64, wanted: u64 },

    #[error("{what}: {reason}")]
    Internal { what: String, reason: String },
}

impl ConnectError {
    /// The same without the value, when it is one of these columns.
    pub fn masked(mut self, columns: &[String]) -> Self {
        if let Self::BadValue { column, value, .. } | Self::TooManyRejects { column, first: value, .. } = &mut self
            && columns.contains(column)
        {
            *value = "***".to_owned();
        }
        self
    }

    /// The same of a file that was looked at in another place than it has for the user.
    pub(crate) fn at(mut self, shown: String) -> Self {
        if let Self::EmptyFile { path, .. } | Self::UnreadableFile { path, .. } | Self::UnknownFormat { path, .. } =
            &mut self
        {
            *path = shown;
        }
        self
    }

    /// A fault of ours, or of a library used wrongly.
    pub(crate) fn internal(what: &str, reason: impl std::fmt::Display) -> Self {
        Self::Internal { what: what.to_owned(), reason: reason.to_string() }
    }
}

impl Problem for ConnectError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::BadLocation { .. }
            | Self::BadUrl { .. }
            | Self::BadSecret
            | Self::MissingVariable { .. }
            | Self::EmptyFile { .. }
            | Self::UnknownFormat { .. }
            | Self::BadManifest { .. }
            | Self::TargetMismatch { .. }
            | Self::NoKey { .. }
            | Self::BadCursor { .. }
            | Self::BadQuery { .. }
            | Self::UnsupportedType { .. } => ErrorKind::Invalid,
            Self::NoSuchBucket { .. }
            | Self::NoSuchObject { .. }
            | Self::NoFiles { .. }
            | Self::NoSuchDatabase { .. }
            | Self::NoSuchTable { .. } => ErrorKind::NotFound,
            Self::PublishRace { .. }
            | Self::FileChanged { .. }
            | Self::TableChanged { .. }
            | Self::StaleReceipt { .. } => ErrorKind::Conflict,
            Self::StoreRefused { .. }
            | Self::StoreUnreachable { .. }
            | Self::StoreFull { .. }
            | Self::Store { .. }
            | Self::UnreadableFile { .. }
            | Self::DatabaseUnreachable { .. }
            | Self::LoginRefused { .. }
            | Self::NotAllowed { .. }
            | Self::ConnectionLost { .. }
            | Self::LogUnusable { .. }
            | Self::Database { .. } => ErrorKind::Unavailable,
            Self::LogGone { .. } | Self::TooManyRejects { .. } | Self::BadValue { .. } => ErrorKind::Refused,
            Self::BadCut { .. } | Self::Internal { .. } => ErrorKind::Internal,
            Self::Connector(problem) => problem.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadLocation { .. } => "bad_location",
            Self::BadUrl { .. } => "bad_url",
            Self::BadSecret => "bad_secret",
            Self::MissingVariable { .. } => "missing_variable",
            Self::NoSuchBucket { .. } => "no_such_bucket",
            Self::StoreRefused { .. } => "store_refused",
            Self::StoreUnreachable { .. } => "store_unreachable",
            Self::NoSuchObject { .. } => "no_such_object",
            Self::StoreFull { .. } => "store_full",
            Self::Store { .. } => "store_failed",
            Self::BadManifest { .. } => "bad_manifest",
            Self::PublishRace { .. } => "publish_race",
            Self::NoFiles { .. } => "no_files",
            Self::EmptyFile { .. } => "empty_file",
            Self::UnreadableFile { .. } => "unreadable_file",
            Self::UnknownFormat { .. } => "unknown_format",
            Self::FileChanged { .. } => "file_changed",
            Self::DatabaseUnreachable { .. } => "database_unreachable",
            Self::LoginRefused { .. } => "login_refused",
            Self::NoSuchDatabase { .. } => "no_such_database",
            Self::NoSuchTable { .. } => "no_such_source_table",
            Self::NotAllowed { .. } => "not_allowed",
            Self::ConnectionLost { .. } => "connection_lost",
            Self::BadCut { .. } => "bad_cut",
            Self::TableChanged { .. } => "table_changed",
            Self::TooManyRejects { .. } => "too_many_rejects",
            Self::BadValue { .. } => "bad_value",
            Self::LogGone { .. } => "log_gone",
            Self::LogUnusable { .. } => "log_unusable",
            Self::NoKey { .. } => "no_key",
            Self::BadCursor { .. } => "bad_cursor",
            Self::BadQuery { .. } => "bad_query",
            Self::Database { .. } => "database_failed",
            Self::TargetMismatch { .. } => "target_mismatch",
            Self::UnsupportedType { .. } => "unsupported_type",
            Self::StaleReceipt { .. } => "stale_receipt",
            Self::Internal { .. } => "connect_internal",
            Self::Connector(problem) => problem.code(),
        }
    }

    fn help(&self) -> Option<String> {
        let step = match self {
            Self::BadLocation { .. } => "write a directory or `s3://bucket/prefix`".to_owned(),
            Self::BadUrl { .. } => {
                "write `mysql://user:password@host:3306/database` or `postgres://user:password@host:5432/database`; \
                 percent-encode special characters of the password"
                    .to_owned()
            }
            Self::BadSecret => "write `${NAME}`".to_owned(),
            Self::MissingVariable { name } => format!("set it: `export {name}=…`"),
            Self::NoSuchBucket { bucket, .. } => format!("create bucket `{bucket}`, or correct its name and AWS_REGION"),
            Self::StoreRefused { .. } => {
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and that the user may read and write there"
                    .to_owned()
            }
            Self::StoreUnreachable { .. } => {
                "check the network, AWS_ENDPOINT (and AWS_ALLOW_HTTP=true for http), then run again".to_owned()
            }
            Self::NoSuchObject { .. } => "run `montauk extract` again: it stages what is missing".to_owned(),
            Self::StoreFull { .. } => "free space there, then run again: nothing half-written is visible".to_owned(),
            Self::Store { .. } | Self::PublishRace { .. } | Self::ConnectionLost { .. } | Self::TableChanged { .. } => {
                "run again: nothing half-written is visible".to_owned()
            }
            Self::BadCut { .. } => {
                "nothing was staged; report it with the types and collations of the table's primary key".to_owned()
            }
            Self::BadManifest { path, .. } => {
                format!("it was written by a newer Montauk or damaged: upgrade, or delete `{path}` and extract again")
            }
            Self::NoFiles { .. } => "correct `path` in the source file; it is relative to the project, or `s3://bucket/…`".to_owned(),
            Self::EmptyFile { .. } => "fill or remove the file, or narrow the pattern".to_owned(),
            Self::UnreadableFile { .. } => "check that the file exists and may be read by this user".to_owned(),
            Self::UnknownFormat { .. } => {
                "use .csv, .tsv, .txt, .json, .jsonl, .ndjson (also .gz or .zst) or .parquet, or narrow the pattern".to_owned()
            }
            Self::FileChanged { .. } => "let the writer finish, then run again".to_owned(),
            Self::DatabaseUnreachable { .. } => "check host, port and that the server is running".to_owned(),
            Self::LoginRefused { .. } => "check user name and password in the environment variable of `url`".to_owned(),
            Self::NoSuchDatabase { .. } => "correct the database name at the end of `url`".to_owned(),
            Self::NoSuchTable { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::NoSuchTable { nearest: None, .. } => "correct `table` in the source file".to_owned(),
            Self::NotAllowed { action, table, user, .. } => format!("grant it: the user `{user}` must be able to {action} `{table}`"),
            Self::TooManyRejects { .. } => {
                "mend the column in the source, or read it as text with `invalid_dates = \"text\"` in the source file".to_owned()
            }
            Self::BadValue { .. } => "mend the value in the source, or set `invalid_dates = \"reject\"`".to_owned(),
            Self::LogGone { source_table, .. } => format!(
                "`montauk extract {source_table} --anew` reads the table whole and follows the log from there; let the server keep its log \
                 for longer than the longest pause between two runs"
            ),
            Self::LogUnusable { next, .. } | Self::BadCursor { next, .. } | Self::BadQuery { next, .. } => next.clone(),
            Self::NoKey { .. } => "give it a primary key, or set `mode = \"full\"` in the source file".to_owned(),
            Self::Database { .. } => "look at the server's message, then run again".to_owned(),
            Self::TargetMismatch { next, .. } => next.clone(),
            Self::UnsupportedType { column, .. } => format!("cast `{column}` to text or a number in the model"),
            Self::StaleReceipt { .. } => "another run published meanwhile: run again".to_owned(),
            Self::Connector(problem) => problem.help(),
            Self::Internal { .. } => return None,
        };
        Some(step)
    }
}
