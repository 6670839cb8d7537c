//! What `extract` hands to `copy`: one manifest beside the staged files of one table.
//!
//! In: nothing.  Out: serde structs.  A manifest is written last, so that a killed run leaves no half file visible.
//! Never here: reading or writing the stage (`connect`), parsing rows (`warehouse`).
//! Start at [`StageManifest`].

use crate::{LogPosition, Provenance, SourceProof, TableName};

/// Version of [`StageManifest`]; raise it when a reader of the old version would misread.
pub const STAGE_FORMAT_VERSION: u32 = 1;

/// The staged files of one extraction of one source table.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageManifest {
    pub format_version: u32,
    /// Its place among the manifests of its source table: 1, 2, 3, … without gaps. 0 in those written before numbers were kept here.
    #[serde(default)]
    pub number: u64,
    /// Name of the source, as in `sources/<source>.toml`.
    pub source: String,
    /// Name of the table in that file.
    pub table: String,
    /// Where COPY loads it.
    pub target: TableName,
    pub mode: StageMode,
    pub extracted_at: chrono::DateTime<chrono::Utc>,
    /// In the order in which they are loaded.
    pub files: Vec<StagedFile>,
    /// The snapshot that the rows are from, for sources that have a log of changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<LogPosition>,
    /// What the source says its rows are; COPY compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<SourceProof>,
    /// Where the table was cut into files. The next extraction cuts at the same places, so that unchanged rows give unchanged files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<KeyCut>,
    /// How the rows are applied; always there in mode [`StageMode::Changes`]. In mode [`StageMode::Full`] it says that the files may hold a
    /// row several times, or rows that are gone: they are to be applied to a table without rows. Never there in mode `Append`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangeRules>,
    /// Columns and their types, in the table's order, where the files do not say them themselves but the source does. Other fields of
    /// the files are no columns; a field that is missing is null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub column_types: Vec<DeclaredColumn>,
    /// From where the next extraction goes on, when it does not read everything again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
    pub provenance: Provenance,
}

/// Column of a staged file of changes: true where the row of that key is gone, and only the key is there.
pub const DELETED_COLUMN: &str = "_montauk_deleted";

/// How the rows of a manifest of changes are applied to the table as the manifest before it left it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRules {
    /// Columns that say which row a change is of, by their names in the files. Never empty, never null.
    pub key: Vec<String>,
    /// Column that is set (neither null nor false) in a change that takes its row away. [`DELETED_COLUMN`] is not a column of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
    /// Column whose largest value is the newest of several changes of one row, and of the row that is there. Without it, the last
    /// change in the order of files and rows is the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Columns in which a cell was rejected since the table was last read whole: the source's checksum holds it, the table does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unproven: Vec<String>,
}

/// What an extraction has to know to go on where the one before it ended.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Resume {
    /// The largest value of a column, as the source writes it, at its full precision; `None` while the table is empty.
    Cursor { column: String, value: Option<String> },
    /// The manifest's `position` in the log, and a hash of the columns whose rows are in it.
    Log { columns: String },
    /// What an Airbyte connector wants to be told: the text of its last state message, unread, byte for byte. `None` when it sent none.
    /// The generation rises whenever the table is read whole again.
    Airbyte { state: Option<String>, generation: u64 },
}

/// A column of staged text whose type the source declares.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredColumn {
    /// Its name in the files.
    pub name: String,
    /// A type as in `[copy] columns` of a source file, such as `bigint` or `timestamptz`.
    #[serde(rename = "type")]
    pub type_name: String,
}

/// Borders between the files of a table, in its primary key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCut {
    /// The key's columns with their types and order; borders of another key mean nothing.
    pub key: Vec<String>,
    /// In the key's order, each as SQL literals of its columns.
    pub borders: Vec<Vec<String>>,
}

/// What the files are to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageMode {
    /// Each file adds rows; a file is loaded once.
    Append,
    /// Together the files are the whole table; a load replaces what was there.
    Full,
    /// The rows change the table as the manifest before this one left it: they replace rows of the same key, or take them away.
    Changes,
}

/// One staged file.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedFile {
    /// The name the source knows it by, such as `2010-12.csv.gz`; unique in a table, and the key of the load ledger.
    pub name: String,
    /// Path under the root of the stage.
    pub path: String,
    /// Size in bytes, as staged.
    pub bytes: u64,
    /// SHA-256 of the staged bytes, in hex.
    pub sha256: String,
    /// What the bucket that it came from calls its content, so that an unchanged object is not read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    pub format: FileFormat,
    pub compression: Compression,
    /// Rows, when extraction knows them (databases do, text files do not).
    pub rows: Option<u64>,
    /// Cells that the extraction could not carry over (a zero date), to be put into quarantine by COPY.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejects: Vec<ExtractReject>,
}

/// A cell that could not be carried over by the extraction: it is null in the staged file, and its original text is here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtractReject {
    /// 1-based row in the staged file.
    pub row: u64,
    pub column: String,
    pub reason: String,
    /// The value as the source showed it.
    pub original: String,
}

/// How the bytes of a staged file are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    Csv,
    /// One JSON object per line.
    JsonLines,
    Parquet,
}

/// How a staged file is compressed as a whole (Parquet compresses inside and is `None` here).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}
