//! COPY without a load: what would be rejected, or what the first rows would be.
//!
//! In: what a COPY takes, and a [`ValidationMode`].  Out: a [`Validation`]; nothing is loaded, and nothing stays behind.
//! Never here: another way of reading files: the rows go the way of a load, and are thrown away at its end.
//! Start at [`Warehouse::validate`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use domain::{Progress, StageManifest};
use object_store::ObjectStore;

use super::load::Loader;
use super::options::{CopyOptions, OnError};
use super::plan::Plan;
use super::report::FileReport;
use super::{Job, config_hash, last_load};
use crate::engine::Scope;
use crate::error::Result;
use crate::quarantine::{Reject, RejectKind, file};
use crate::sql_error::engine_error;
use crate::table::{DataFile, plain_path};
use crate::{RunContext, Warehouse};

/// Most errors that are shown; they are counted beyond.
const MAX_ERRORS: usize = 10_000;

/// What is asked of files that are not loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValidationMode {
    /// The first rows, or the first error.
    ReturnRows(usize),
    /// Every error of the files that a COPY would load now.
    ReturnErrors,
    /// Every error of all files, those that were loaded in part included.
    ReturnAllErrors,
}

impl FromStr for ValidationMode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.to_ascii_lowercase();
        let rows = || word.strip_prefix("return_")?.strip_suffix("_rows")?.parse().ok().filter(|rows| *rows > 0);
        match word.as_str() {
            "return_errors" => Ok(Self::ReturnErrors),
            "return_all_errors" => Ok(Self::ReturnAllErrors),
            _ => rows().map(Self::ReturnRows).ok_or_else(|| {
                format!("`{text}` is no validation mode; write return_10_rows, return_errors or return_all_errors")
            }),
        }
    }
}

impl fmt::Display for ValidationMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReturnRows(rows) => write!(formatter, "return_{rows}_rows"),
            Self::ReturnErrors => formatter.write_str("return_errors"),
            Self::ReturnAllErrors => formatter.write_str("return_all_errors"),
        }
    }
}

/// What a COPY would do.
#[derive(Debug, Default)]
pub struct Validation {
    pub files: Vec<FileReport>,
    /// At most 10,000; the counts of `files` are complete.
    pub errors: Vec<ValidationError>,
    /// The first rows, when they were asked for and there is no error.
    pub rows: Vec<RecordBatch>,
}

/// Why a row or a cell would be rejected, in the words of Snowflake's result.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ValidationError {
    pub error: String,
    pub file: String,
    /// 1-based; 0 in files without lines.
    pub line: u64,
    pub byte_offset: u64,
    /// `row` or `cell`.
    pub category: RejectKind,
    pub code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column_name: Option<String>,
    pub row_number: u64,
    pub original: String,
}

impl From<Reject> for ValidationError {
    fn from(reject: Reject) -> Self {
        Self {
            error: reject.message,
            file: reject.file,
            line: reject.line,
            byte_offset: reject.byte_offset,
            category: reject.kind,
            code: reject.code,
            column_name: reject.column,
            row_number: reject.row,
            original: reject.original,
        }
    }
}

impl Warehouse {
    /// Reads what a COPY would load, and says what it found. Nothing is loaded, no record is kept.
    ///
    /// Errors: those of a COPY that has nothing to do with single rows.
    pub async fn validate(
        &self,
        stage: Arc<dyn ObjectStore>,
        manifest: &StageManifest,
        options: &CopyOptions,
        mode: ValidationMode,
        (run, progress): (&RunContext, &dyn Progress),
    ) -> Result<Validation> {
        let manifest = &*options.chosen(manifest)?;
        let options = &CopyOptions { on_error: OnError::Continue, ..options.clone() };
        let job = Job { stage: &stage, manifest, options, run, progress };
        progress.begin(&format!("validate {}", manifest.target), manifest.files.iter().map(|file| file.rows).sum());
        let target = &manifest.target;
        let table = self.table(target).await?;
        let plan = match mode {
            ValidationMode::ReturnAllErrors => Plan::all(manifest),
            ValidationMode::ReturnRows(_) | ValidationMode::ReturnErrors => {
                let records = self.records(target, table.as_ref()).await?;
                Plan::new(manifest, &records, options.force, &config_hash(options)?)?
            }
        };
        let mut validation = Validation { files: plan.skipped.clone(), ..Validation::default() };
        if !plan.files.is_empty() {
            let loaded = Loader::new(self, &job).load(table.as_ref(), &plan, last_load(table.as_ref()) + 1).await?;
            let written: Vec<DataFile> = loaded.files.iter().flat_map(|file| file.data_files.clone()).collect();
            if let Some(path) = loaded.rejects.finish(self.store(), target).await? {
                let kept = file::read(self.store(), &path, MAX_ERRORS).await?;
                validation.errors = kept.into_iter().map(|kept| kept.reject.into()).collect();
                if !options.mask.is_empty() {
                    validation.errors.iter_mut().for_each(|error| error.original = "***".to_owned());
                }
                self.store().delete(&plain_path(&path)).await?;
            }
            if let ValidationMode::ReturnRows(rows) = mode
                && validation.errors.is_empty()
            {
                let provider = self.engine.files(target, &written, loaded.schema.clone())?;
                let session = self.engine.session(&Scope::new())?;
                let frame = session.read_table(provider).and_then(|frame| frame.limit(0, Some(rows)));
                let frame = frame.map_err(|error| engine_error(error, ""))?;
                validation.rows = frame.collect().await.map_err(|error| engine_error(error, ""))?;
            }
            self.discard(target, written).await;
            loaded.aside.settle().await;
            if let Some(error) = loaded.stopped {
                return Err(error.into());
            }
            validation.files.extend(loaded.files.into_iter().map(|file| file.report));
        }
        if matches!(mode, ValidationMode::ReturnRows(_)) {
            validation.errors.truncate(1);
        }
        let rows: u64 = validation.files.iter().map(|file| file.rows_parsed).sum();
        progress.finish(&format!("{rows} rows read"));
        Ok(validation)
    }
}
