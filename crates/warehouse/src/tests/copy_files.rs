//! A stage to copy from, made of bytes.
//!
//! In: names and contents.  Out: a stage manifest and what COPY made of it, as one text.
//! Never here: what is expected.  Start at [`Files`].

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use chrono::DateTime;
use domain::{Compression, FileFormat, NoProgress, Problem, Provenance, StageManifest, StageMode, StagedFile};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;

use super::world::{name, run};
use crate::{CopyOptions, CopyReport, FileStatus, RejectFilter, Result, Warehouse, WarehouseError};

/// Where every test loads.
pub(super) const TABLE: &str = "raw.lines";

/// Staged files of one table.
#[derive(Clone)]
pub(super) struct Files {
    pub stage: Arc<dyn ObjectStore>,
    pub manifest: StageManifest,
}

impl Files {
    pub fn new() -> Self {
        let manifest = StageManifest {
            format_version: domain::STAGE_FORMAT_VERSION,
            source: "shop".into(),
            table: "lines".into(),
            target: name(TABLE),
            mode: StageMode::Append,
            position: None,
            proof: None,
            cut: None,
            changes: None,
            column_types: Vec::new(),
            resume: None,
            number: 0,
            extracted_at: DateTime::UNIX_EPOCH,
            files: Vec::new(),
            provenance: Provenance::default(),
        };
        Self { stage: Arc::new(InMemory::new()), manifest }
    }

    /// The same files as the whole table.
    pub fn full(mut self) -> Self {
        self.manifest.mode = StageMode::Full;
        self
    }

    pub async fn csv(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.file(name, content.as_ref(), FileFormat::Csv, Compression::None).await
    }

    pub async fn json(self, name: &str, lines: &str) -> Self {
        self.file(name, lines.as_bytes(), FileFormat::JsonLines, Compression::None).await
    }

    pub async fn parquet(self, name: &str, batch: &RecordBatch) -> Self {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        self.file(name, &bytes, FileFormat::Parquet, Compression::None).await
    }

    pub async fn file(mut self, name: &str, bytes: &[u8], format: FileFormat, compression: Compression) -> Self {
        let sha256 = domain::hash_bytes(bytes);
        let path = format!("shop/lines/files/{}-{name}", &sha256[..16]);
        self.stage.put(&Path::from(path.as_str()), Bytes::copy_from_slice(bytes).into()).await.unwrap();
        let file = StagedFile {
            name: name.into(),
            path,
            bytes: bytes.len() as u64,
            sha256,
            etag: None,
            format,
            compression,
            rows: None,
            rejects: Vec::new(),
        };
        self.manifest.files.retain(|before| before.name != name);
        self.manifest.files.push(file);
        self
    }

    /// Loads as the project file `toml` says.
    pub async fn copy(&self, warehouse: &Warehouse, toml: &str) -> Result<CopyReport> {
        self.copy_with(warehouse, &options(toml)).await
    }

    pub async fn force(&self, warehouse: &Warehouse, toml: &str) -> Result<CopyReport> {
        self.copy_with(warehouse, &CopyOptions { force: true, ..options(toml) }).await
    }

    async fn copy_with(&self, warehouse: &Warehouse, options: &CopyOptions) -> Result<CopyReport> {
        let stage = Arc::clone(&self.stage);
        let report = warehouse.copy(stage, &self.manifest, options, &run("copy"), &NoProgress).await?;
        for file in report.files.iter().filter(|file| file.status != FileStatus::LoadSkipped) {
            assert_eq!(file.rows_parsed, file.rows_loaded + file.rows_rejected, "{file:?}");
        }
        Ok(report)
    }
}

pub(super) fn options(toml: &str) -> CopyOptions {
    toml::from_str(toml).unwrap()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `file status loaded/parsed reason` per file, or the code, the message and the next step of the error.
pub(super) fn outcome(result: &Result<CopyReport>) -> String {
    match result {
        Ok(report) => {
            let files = report.files.iter().map(|file| {
                let status = serde_json::to_value(file.status).unwrap();
                let reason = file.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
                let file_name = &file.file;
                format!("{file_name} {} {}/{}{reason}", status.as_str().unwrap(), file.rows_loaded, file.rows_parsed)
            });
            files.collect::<Vec<_>>().join("\n")
        }
        Err(error) => error_text(error),
    }
}

pub(super) fn error_text(error: &WarehouseError) -> String {
    format!("{}: {error}; {}", error.code(), error.help().unwrap_or_default())
}

/// `line @offset row kind column code: message <- original` per reject.
pub(super) async fn rejects(warehouse: &Warehouse) -> String {
    let found = warehouse.quarantine(&name(TABLE), &RejectFilter::default(), usize::MAX).await.unwrap();
    let lines = found.iter().map(|found| &found.reject).map(|reject| {
        let kind = serde_json::to_value(reject.kind).unwrap();
        let column = reject.column.as_deref().unwrap_or("-");
        let place = format!("{}:{} @{} row {}", reject.file, reject.line, reject.byte_offset, reject.row);
        let reason = format!("{} {column} {}: {}", kind.as_str().unwrap(), reject.code, reject.message);
        format!("{place} {reason} <- {}", reject.original.escape_debug())
    });
    lines.collect::<Vec<_>>().join("\n")
}
