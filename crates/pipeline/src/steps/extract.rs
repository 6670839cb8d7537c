//! `extract`: what the sources hold → staged files with a manifest.
//!
//! In: which sources or tables.  Out: per table what was staged, or that nothing changed.
//! Never here: parsing text (that is `copy`'s), the protocols of the sources (`connect`).
//! Start at [`run`].

use std::path::Path;

use connect::sources::file::FileSource;
use connect::sources::mysql::MySqlSource;
use connect::sources::postgres::PostgresSource;
use connect::{ExtractRequest, Source};
use domain::TableName;

use super::Context;
use crate::PipelineError;
use crate::project::{SourceFile, SourceKind, SourceTable};

/// Which tables to extract.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `source` or `source.table`; empty means every table of every source.
    pub selection: Vec<String>,
}

/// What was staged.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub tables: Vec<TableReport>,
}

/// What was staged for one table.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableReport {
    pub source: String,
    pub table: String,
    pub target: TableName,
    pub status: Status,
    pub files: usize,
    /// Known for databases; text files are counted by `copy`.
    pub rows: Option<u64>,
    pub bytes: u64,
    /// Cells that could not be carried over; they are null in the stage and go to quarantine in `copy`.
    pub rejected_cells: usize,
}

/// Whether extraction did anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Staged,
    Unchanged,
}

/// Stages the selected tables, one after the other.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let mut tables = Vec::new();
    for (file, table) in context.project.select_tables(&request.selection)? {
        let source = open_source(file, table, context.project.dir())?;
        let wanted = ExtractRequest {
            source: file.name.clone(),
            table: table.name.clone(),
            target: table.target.clone(),
            location: table.location.clone(),
            now: context.now,
            run_id: context.run_id.clone(),
            config_hash: table.config_hash.clone(),
        };
        let outcome = source.extract(&wanted, &context.stage, context.progress.as_ref()).await?;
        let files = &outcome.manifest.files;
        tables.push(TableReport {
            source: file.name.clone(),
            table: table.name.clone(),
            target: table.target.clone(),
            status: if outcome.unchanged { Status::Unchanged } else { Status::Staged },
            files: files.len(),
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            rejected_cells: files.iter().map(|file| file.rejects.len()).sum(),
        });
    }
    Ok(Report { tables })
}

/// The system behind a source; its URL is resolved here, when it is needed.
pub(crate) fn open_source(
    file: &SourceFile,
    table: &SourceTable,
    project_dir: &Path,
) -> Result<Box<dyn Source>, PipelineError> {
    let url = file.resolve_url()?.unwrap_or_default();
    Ok(match &file.kind {
        SourceKind::File => Box::new(FileSource { project_dir: project_dir.to_owned() }),
        SourceKind::MySql { .. } => Box::new(MySqlSource::new(&url)?.with_invalid_dates(table.invalid_dates)),
        SourceKind::Postgres { .. } => Box::new(PostgresSource::new(&url)?.with_invalid_dates(table.invalid_dates)),
    })
}
