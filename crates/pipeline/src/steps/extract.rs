//! `extract`: what the sources hold → staged files with a manifest; or, to verify, what they hold against what is loaded.
//!
//! In: which sources or tables.  Out: per table what was staged, that nothing changed, or that the loaded table is the source's.
//! Never here: parsing text (that is `copy`'s), the protocols of the sources (`connect`), comparing (`warehouse`).
//! Start at [`run`].

use std::collections::BTreeMap;
use std::path::Path;

use connect::sources::airbyte::{AirbyteSource, AirbyteTable};
use connect::sources::file::FileSource;
use connect::sources::mysql::MySqlSource;
use connect::sources::postgres::PostgresSource;
use connect::{ExtractRequest, Source};
use domain::{LogPosition, TableName};
use warehouse::ProofReport;

use super::Context;
use crate::PipelineError;
use crate::project::{SourceFile, SourceKind, SourceTable, secret};

/// Which tables to extract, and how.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `source` or `source.table`; empty means every table of every source.
    pub selection: Vec<String>,
    /// Connections per table instead of what the source file says.
    pub workers: Option<usize>,
    /// Stage nothing: compare what is loaded with what the source holds now.
    pub verify: bool,
    /// Leave out the checksums of the source's columns, whatever the source file says.
    pub without_proof: bool,
    /// Read tables whole that would be gone on with.
    pub anew: bool,
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
    /// The snapshot of the source that the rows are from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<LogPosition>,
    /// Why the whole table was read, although its mode reads what is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_anew: Option<String>,
    /// Time that the source's connections spent on adding up their columns, all together.
    pub proof_milliseconds: u64,
    /// What was compared, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<ProofReport>,
}

/// Whether extraction did anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Staged,
    Unchanged,
    /// What is loaded is what the source holds.
    Verified,
    /// Files hold nothing but what was staged; a view may differ from one statement to the next.
    NotVerifiable,
}

/// Stages or verifies the selected tables, one after the other; the tables of a database come from one snapshot.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let mut sources: BTreeMap<String, Box<dyn Source>> = BTreeMap::new();
    let result = read(context, &request, &mut sources).await;
    // Also after an error: what was staged is durable, and a source may have been told to keep its log until somebody says so.
    for source in sources.into_values() {
        source.close().await;
    }
    Ok(Report { tables: result? })
}

/// Reads the selected tables; `sources` are those that were opened for it.
async fn read(
    context: &Context,
    request: &Request,
    sources: &mut BTreeMap<String, Box<dyn Source>>,
) -> Result<Vec<TableReport>, PipelineError> {
    let mut tables = Vec::new();
    let selected = context.project.select_tables(&request.selection)?;
    for (file, table) in &selected {
        if !sources.contains_key(&file.name) {
            let of_file = selected.iter().filter(|(other, _)| other.name == file.name);
            let names: Vec<&str> = of_file.map(|(_, table)| table.name.as_str()).collect();
            sources.insert(file.name.clone(), open_source(file, &names, context.project.dir())?);
        }
        let Some(source) = sources.get(&file.name) else { continue };
        let wanted = ExtractRequest {
            source: file.name.clone(),
            table: table.name.clone(),
            target: table.target.clone(),
            location: table.location.clone(),
            query: table.query.clone(),
            now: context.now,
            run_id: context.run_id.clone(),
            config_hash: table.config_hash.clone(),
            invalid_dates: table.invalid_dates,
            workers: request.workers.unwrap_or(file.workers),
            with_proof: file.proof && !request.without_proof,
            mode: table.mode.clone(),
            anew: request.anew,
            is_purged: table.copy.purge,
        };
        let report = if request.verify {
            verify(context, source.as_ref(), &wanted).await?
        } else {
            stage(context, source.as_ref(), &wanted, &table.copy.mask).await?
        };
        tables.push(report);
    }
    Ok(tables)
}

/// `mask` are columns whose values no message shows.
async fn stage(
    context: &Context,
    source: &dyn Source,
    wanted: &ExtractRequest,
    mask: &[String],
) -> Result<TableReport, PipelineError> {
    let outcome = source.extract(wanted, &context.stage, context.progress.as_ref()).await;
    let outcome = outcome.map_err(|error| error.masked(mask))?;
    let files = &outcome.manifest.files;
    Ok(TableReport {
        status: if outcome.unchanged { Status::Unchanged } else { Status::Staged },
        files: files.len(),
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        rejected_cells: files.iter().map(|file| file.rejects.len()).sum(),
        position: outcome.manifest.position.clone(),
        proof_milliseconds: outcome.proof_milliseconds,
        read_anew: outcome.read_anew,
        ..TableReport::begun(wanted)
    })
}

/// Errors: `not_proven` when they differ, and when nothing was staged or loaded yet.
async fn verify(context: &Context, source: &dyn Source, wanted: &ExtractRequest) -> Result<TableReport, PipelineError> {
    let Some(manifest) = context.stage.latest(&wanted.source, &wanted.table).await? else {
        return Err(PipelineError::NothingStaged { source_name: wanted.source.clone(), table: wanted.table.clone() });
    };
    let Some(proof) = source.prove(wanted, &context.stage, context.progress.as_ref()).await? else {
        return Ok(TableReport::begun(wanted));
    };
    let verified = context.warehouse.verify(&proof, &manifest).await?;
    Ok(TableReport {
        status: Status::Verified,
        rows: Some(verified.rows),
        verified: Some(verified),
        ..TableReport::begun(wanted)
    })
}

impl TableReport {
    fn begun(wanted: &ExtractRequest) -> Self {
        Self {
            source: wanted.source.clone(),
            table: wanted.table.clone(),
            target: wanted.target.clone(),
            status: Status::NotVerifiable,
            files: 0,
            rows: None,
            bytes: 0,
            rejected_cells: 0,
            position: None,
            read_anew: None,
            proof_milliseconds: 0,
            verified: None,
        }
    }
}

/// The system behind a source; its URL is resolved here, when it is needed. `selected` are the tables that this run reads.
pub(crate) fn open_source(
    file: &SourceFile,
    selected: &[&str],
    project_dir: &Path,
) -> Result<Box<dyn Source>, PipelineError> {
    let url = file.resolve_url()?.unwrap_or_default();
    Ok(match &file.kind {
        SourceKind::File => Box::new(FileSource { project_dir: project_dir.to_owned() }),
        SourceKind::MySql { .. } => Box::new(MySqlSource::new(&url)?),
        SourceKind::Postgres { .. } => Box::new(PostgresSource::new(&url)?),
        SourceKind::Airbyte(settings) => {
            let tables = streams(file, selected);
            let opened = AirbyteSource::new(settings.clone(), tables, project_dir.to_owned());
            Box::new(opened.map_err(|error| secret::wanted_by(error, &file.path))?)
        }
    })
}

/// The tables of a connector: it reads all of a run in one go.
fn streams(file: &SourceFile, selected: &[&str]) -> Vec<AirbyteTable> {
    let wanted = |table: &SourceTable| {
        table.stream.clone().map(|choice| AirbyteTable {
            name: table.name.clone(),
            target: table.target.clone(),
            config_hash: table.config_hash.clone(),
            choice,
            is_selected: selected.contains(&table.name.as_str()),
        })
    };
    file.tables.values().filter_map(wanted).collect()
}
