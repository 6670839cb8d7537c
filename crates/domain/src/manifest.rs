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
    pub provenance: Provenance,
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
