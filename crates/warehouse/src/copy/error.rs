//! What can go wrong while copying staged files into a table.
//!
//! In: nothing.  Out: [`CopyError`]; a file that cannot be loaded is one too, kept in the report unless COPY aborts.
//! Never here: bad rows; they are rejects, not errors.
//! Start at [`CopyError`].

use domain::{ErrorKind, Problem, StageManifest, StageMode};

/// What can go wrong while copying staged files into a table.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CopyError {
    #[error("staged file `{file}` changed after it was loaded")]
    ChangedAfterLoad { table: String, file: String },
    #[error("`{file}`, {}{}: {message}{}", place(*line, *row), of(column.as_deref()), and_more(*rows))]
    Aborted { file: String, line: u64, row: u64, column: Option<String>, message: String, rows: u64 },
    #[error("`{file}` cannot be read: {message}")]
    Unreadable { file: String, message: String },
    #[error("`{file}` is not UTF-8: {what}")]
    NotUtf8 { file: String, what: String },
    #[error("`{file}` has none of the columns of table `{table}`")]
    NoCommonColumn { table: String, file: String },
    #[error("the files of table `{table}` hold no rows, so the types of its columns are not known: {columns}")]
    NothingToInfer { table: String, columns: String },
    #[error("the columns of table `{table}` are no longer those of its source: {difference}")]
    ColumnsChanged { table: String, difference: String },
    #[error("the rows of `{file}` cannot be told from others in table `{table}`: another program has rewritten it")]
    Rewritten { table: String, file: String },
    #[error("`{file}` is empty")]
    EmptyFile { file: String },
    #[error("`{file}` has one column, `{header}`, which holds `{delimiter}`: its delimiter is not the declared one")]
    WrongDelimiter { file: String, header: String, delimiter: char },
    #[error("`{file}` names column `{column}` twice")]
    DuplicateColumn { file: String, column: String },
    #[error("`{file}` has no column `{column}`, which table `{table}` has")]
    ColumnDisappeared { table: String, file: String, column: String, renamed_to: Option<String> },
    #[error("`{file}` has a column `{column}`, which table `{table}` does not have")]
    NewColumn { table: String, file: String, column: String },
    #[error("column `{column}` of table `{table}` is gone and `{renamed_to}` is new: it looks renamed")]
    ProbablyRenamed { table: String, column: String, renamed_to: String },
    #[error("{count} columns are new to table `{table}`, and one load adds {limit} at most")]
    TooManyColumns { table: String, count: usize, limit: usize },
    #[error("column `{column}` is {found} in `{file}` and {expected} in table `{table}`")]
    TypeChanged { table: String, file: String, column: String, found: String, expected: String },
    #[error("`columns` declares `{column}`, and no file of table `{table}` has it")]
    NoDeclaredColumn { table: String, column: String, available: Vec<String> },
    #[error("column `{column}` of table `{table}` is {found}, and text cannot be converted to it")]
    NotConvertible { table: String, column: String, found: String },
    #[error("table `{table}` is not what its source holds: {difference}")]
    NotProven { table: String, difference: String, follows: Option<String> },
    #[error("the changes are those of column `{column}`, which table `{table}` does not have")]
    NoKeyColumn { table: String, column: String },
    #[error("{rows} changes of table `{table}` have no key ({key}), so that nobody can say which row they change")]
    NullKey { table: String, key: String, rows: u64 },
    #[error("the changes follow extraction {before} of `{source_table}`, and table `{table}` holds {held}")]
    NotNext { table: String, source_table: String, before: u64, held: String },
    #[error("the files of table `{table}` are one table only together, so that none can be chosen")]
    NotSelectable { table: String },
    #[error("{count} files are named for table `{table}`, and {limit} can be")]
    TooManyFiles { table: String, count: usize, limit: usize },
    #[error("no staged file of table `{table}` is named `{file}`")]
    NoSuchFile { table: String, file: String, available: Vec<String> },
    #[error("column `{column}` of table `{table}` is {found}, and the metadata for it is {expected}")]
    MetadataMisfit { table: String, column: String, found: String, expected: String },
    #[error("table `{table}` keeps changing: other runs load it at the same time")]
    Busy { table: String },
}

impl CopyError {
    /// A load of `manifest` that is not what its source holds.
    pub(crate) fn not_proven(manifest: &StageManifest, difference: String) -> Self {
        let follows = (manifest.mode == StageMode::Changes).then(|| format!("{}.{}", manifest.source, manifest.table));
        Self::NotProven { table: manifest.target.to_string(), difference, follows }
    }

    /// Whether another file of the same table may still tell its columns.
    pub(crate) fn is_of_one_file(&self) -> bool {
        matches!(
            self,
            Self::Unreadable { .. }
                | Self::NotUtf8 { .. }
                | Self::EmptyFile { .. }
                | Self::WrongDelimiter { .. }
                | Self::DuplicateColumn { .. }
        )
    }
}

/// Text files have lines; Parquet files only rows.
fn place(line: u64, row: u64) -> String {
    if line == 0 { format!("row {row}") } else { format!("line {line}") }
}

fn and_more(rows: u64) -> String {
    match rows {
        0 | 1 => String::new(),
        2 => " (and 1 more row)".to_owned(),
        rows => format!(" (and {} more rows)", rows - 1),
    }
}

fn of(column: Option<&str>) -> String {
    column.map_or(String::new(), |column| format!(", column `{column}`"))
}

impl Problem for CopyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ChangedAfterLoad { .. }
            | Self::Aborted { .. }
            | Self::ColumnDisappeared { .. }
            | Self::NewColumn { .. }
            | Self::NoCommonColumn { .. }
            | Self::ColumnsChanged { .. }
            | Self::Rewritten { .. }
            | Self::NotProven { .. }
            | Self::NullKey { .. }
            | Self::ProbablyRenamed { .. }
            | Self::TooManyColumns { .. }
            | Self::NotNext { .. }
            | Self::TypeChanged { .. } => ErrorKind::Refused,
            Self::Unreadable { .. }
            | Self::NotUtf8 { .. }
            | Self::NothingToInfer { .. }
            | Self::EmptyFile { .. }
            | Self::WrongDelimiter { .. }
            | Self::DuplicateColumn { .. }
            | Self::NoDeclaredColumn { .. }
            | Self::NoKeyColumn { .. }
            | Self::NotSelectable { .. }
            | Self::TooManyFiles { .. }
            | Self::MetadataMisfit { .. }
            | Self::NotConvertible { .. } => ErrorKind::Invalid,
            Self::NoSuchFile { .. } => ErrorKind::NotFound,
            Self::Busy { .. } => ErrorKind::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ChangedAfterLoad { .. } => "changed_after_load",
            Self::Aborted { .. } => "copy_aborted",
            Self::Unreadable { .. } => "unreadable_file",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::NoCommonColumn { .. } => "no_common_column",
            Self::NothingToInfer { .. } => "nothing_to_infer",
            Self::ColumnsChanged { .. } => "columns_changed",
            Self::Rewritten { .. } => "rewritten",
            Self::EmptyFile { .. } => "empty_file",
            Self::WrongDelimiter { .. } => "wrong_delimiter",
            Self::DuplicateColumn { .. } => "duplicate_column",
            Self::ColumnDisappeared { .. } => "column_disappeared",
            Self::NewColumn { .. } => "new_column",
            Self::TypeChanged { .. } => "type_changed",
            Self::NoDeclaredColumn { .. } => "no_declared_column",
            Self::NotConvertible { .. } => "not_convertible",
            Self::NotProven { .. } => "not_proven",
            Self::NoKeyColumn { .. } => "no_key_column",
            Self::NullKey { .. } => "null_key",
            Self::ProbablyRenamed { .. } => "probably_renamed",
            Self::TooManyColumns { .. } => "too_many_columns",
            Self::NotNext { .. } => "not_next",
            Self::NotSelectable { .. } => "not_selectable",
            Self::TooManyFiles { .. } => "too_many_files",
            Self::NoSuchFile { .. } => "no_such_file",
            Self::MetadataMisfit { .. } => "metadata_misfit",
            Self::Busy { .. } => "conflict",
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::ChangedAfterLoad { table, .. } => format!(
                "give the new content a new name, or replace the rows that the earlier content brought: `montauk copy {table} --force`"
            ),
            Self::Aborted { .. } => MEND_ROW.to_owned(),
            Self::Unreadable { .. } => "get the file again from its source, then `montauk extract`".to_owned(),
            Self::NotUtf8 { .. } => "declare its encoding, as in `csv = { encoding = \"windows-1252\" }`".to_owned(),
            Self::NoCommonColumn { table, .. } => {
                format!("load it into a table of its own (`into`), not into `{table}`")
            }
            Self::NothingToInfer { .. } => "stage a file with rows, or declare all types in `columns`".to_owned(),
            Self::ColumnsChanged { table, .. } => {
                format!("look at what depends on them, then let the table change: `montauk copy {table} --force`")
            }
            Self::Rewritten { .. } => "load everything into a new target (`into`)".to_owned(),
            Self::EmptyFile { .. } => "remove it from the source, or get it again".to_owned(),
            Self::WrongDelimiter { delimiter, .. } => {
                format!("set `csv = {{ delimiter = \"{}\" }}`", delimiter.escape_default())
            }
            Self::DuplicateColumn { .. } => "rename one of them at the source".to_owned(),
            Self::ColumnDisappeared { renamed_to: Some(name), .. } => format!(
                "was it renamed to `{name}`? then rename it back at the source: what depends on it would be null"
            ),
            Self::ColumnDisappeared { .. } => {
                "put it back at the source, or set `missing_columns = \"null\"` to load null there".to_owned()
            }
            Self::NewColumn { table, .. } => format!(
                "set `new_columns = \"add\"` to give it to `{table}`, or `new_columns = \"ignore\"` to leave it out"
            ),
            Self::TypeChanged { column, .. } => {
                format!("change the type of `{column}` back at the source, or use a new target (`into`)")
            }
            Self::NoDeclaredColumn { column, available, .. } => {
                meant(column, available).unwrap_or_else(|| format!("the files have: {}", available.join(", ")))
            }
            Self::NotConvertible { .. } => "load this table from a database or from Parquet files".to_owned(),
            Self::NotProven { follows: None, .. } => EXTRACT_AGAIN.to_owned(),
            Self::NotProven { follows: Some(source_table), table, .. } => format!(
                "rows may have changed that the extraction does not see, such as deletions under a cursor: read the table \
                 whole, `montauk extract {source_table} --anew`, then `montauk copy {table}`"
            ),
            Self::NoKeyColumn { column, .. } => {
                format!("load the column as well: `{column}` says which row a change is of")
            }
            Self::ProbablyRenamed { table, column, .. } => format!(
                "rename it back at the source, since `{column}` would be null from now on; if they are two columns, `montauk copy {table} --force`"
            ),
            Self::TooManyColumns { .. } => "look at the header of the files: are there data in it?".to_owned(),
            Self::NullKey { .. } => "mend the rows at the source; nothing was loaded".to_owned(),
            Self::NotNext { source_table, table, .. } => format!(
                "read the whole table again: `montauk extract {source_table} --anew`, then `montauk copy {table}`"
            ),
            Self::NotSelectable { .. } => "leave out `files`, `pattern` and `prefix`".to_owned(),
            Self::TooManyFiles { .. } => "choose them with `pattern` or `prefix`".to_owned(),
            Self::NoSuchFile { file, available, .. } => {
                meant(file, available).unwrap_or_else(|| "stage it first: `montauk extract`".to_owned())
            }
            Self::MetadataMisfit { .. } => "name another column in `include_metadata`".to_owned(),
            Self::Busy { .. } => "run again when they have ended".to_owned(),
        })
    }
}

const MEND_ROW: &str = "mend the row, or set `on_error = \"continue\"` to load the others and keep the bad ones in quarantine; nothing was loaded";
const EXTRACT_AGAIN: &str = "run `montauk extract` and `montauk copy` again; if it stays, keep the staged files and report it: this must not \
    happen unless the source has changed since, or is a query that does not answer the same twice";

/// The name that was probably meant.
fn meant(name: &str, available: &[String]) -> Option<String> {
    crate::catalog::nearest(name, available.iter().cloned()).map(|meant| format!("did you mean `{meant}`?"))
}
