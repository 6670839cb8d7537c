//! What a COPY did, file by file.
//!
//! In: nothing.  Out: [`CopyReport`]; it always holds that rows parsed = rows loaded + rows rejected.
//! Never here: drawing it.
//! Start at [`CopyReport`].

use super::proof::ProofReport;
use crate::infer::Evidence;

/// What one COPY did to one table.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct CopyReport {
    /// Number of the load; none when there was nothing to load.
    pub load: Option<u64>,
    /// The newest catalog number that holds the table as it is now.
    pub catalog: u64,
    pub rows_parsed: u64,
    pub rows_loaded: u64,
    pub rows_rejected: u64,
    /// Cells that are null in a loaded row because their value could not be carried over.
    pub cells_rejected: u64,
    /// Rows of earlier loads that this one replaced.
    pub rows_replaced: u64,
    pub files: Vec<FileReport>,
    /// Columns whose type was inferred, on a first load.
    pub inferred: Vec<InferredColumn>,
    /// What was compared with the source before the load became visible; none when the source does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofReport>,
}

/// What became of one staged file.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileReport {
    pub file: String,
    pub status: FileStatus,
    pub rows_parsed: u64,
    pub rows_loaded: u64,
    pub rows_rejected: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_error: Option<FirstError>,
    /// Why it was skipped or failed, when that is not the first error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What became of it in the stage, when it was to be removed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge: Option<Purge>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileStatus {
    Loaded,
    /// Some of its rows are in quarantine.
    PartiallyLoaded,
    /// Nothing of it was loaded.
    LoadFailed,
    /// It was loaded before, or another file has the same content.
    LoadSkipped,
}

/// What became of a loaded file in the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    Purged,
    /// It is still there. The load stands, and the next COPY tries again.
    PurgeFailed,
}

impl Purge {
    /// The word for it in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Purged => "purged",
            Self::PurgeFailed => "purge_failed",
        }
    }
}

impl FileStatus {
    /// The word for it in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::PartiallyLoaded => "partially_loaded",
            Self::LoadFailed => "load_failed",
            Self::LoadSkipped => "load_skipped",
        }
    }
}

/// Where a file first went wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstError {
    pub line: u64,
    pub row: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    pub message: String,
}

/// A type and the row that forced it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InferredColumn {
    pub column: String,
    #[serde(rename = "type")]
    pub column_type: String,
    /// The `strftime` format of a date or a time that is not ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Rows without a value, of all rows of all files: the column may hold null iff there is one.
    pub nulls: u64,
    /// The row that made the type what it is: narrower ones hold every row before it.
    pub evidence: Option<Evidence>,
}

/// The columns that a table would have, before it is made.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct InferReport {
    pub files: usize,
    pub columns: Vec<InferReportColumn>,
}

/// One column of a table that is not made yet.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct InferReportColumn {
    pub column: String,
    #[serde(rename = "type")]
    pub column_type: String,
    /// `declared` in the source file, `inferred` from every row, or `typed` by the staged file itself.
    pub origin: &'static str,
    /// For an inferred one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inferred: Option<InferredColumn>,
}

impl FileReport {
    /// A file that was not read.
    pub(crate) fn skipped(file: &str, reason: String) -> Self {
        Self { status: FileStatus::LoadSkipped, reason: Some(reason), ..Self::unread(file) }
    }

    /// None of its rows is loaded, so all of them count as rejected; quarantine holds those that are at fault.
    pub(crate) fn fail(&mut self, reason: String) {
        self.status = FileStatus::LoadFailed;
        self.reason = Some(reason);
        self.rows_rejected = self.rows_parsed;
        self.rows_loaded = 0;
    }

    /// A file that is being loaded.
    pub(crate) fn begun(file: &str) -> Self {
        Self { status: FileStatus::Loaded, ..Self::unread(file) }
    }

    fn unread(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            status: FileStatus::LoadFailed,
            rows_parsed: 0,
            rows_loaded: 0,
            rows_rejected: 0,
            first_error: None,
            reason: None,
            purge: None,
        }
    }
}

impl CopyReport {
    /// Files of which nothing was loaded although it should have been.
    pub fn failed_files(&self) -> impl Iterator<Item = &FileReport> {
        self.files.iter().filter(|file| file.status == FileStatus::LoadFailed)
    }

    /// A file that was not read now: its rows were counted when they were.
    pub(crate) fn skip(&mut self, file: FileReport) {
        self.files.push(file);
    }

    pub(crate) fn add(&mut self, file: FileReport) {
        self.rows_parsed += file.rows_parsed;
        self.rows_loaded += file.rows_loaded;
        self.rows_rejected += file.rows_rejected;
        self.files.push(file);
    }
}
