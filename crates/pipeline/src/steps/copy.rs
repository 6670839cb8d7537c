//! `copy`: staged files → rows of raw tables, each file once.
//!
//! In: which tables.  Out: warehouse's report per table.
//! Never here: parsing, the load ledger, quarantine (all `warehouse`).
//! Start at [`run`].

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use domain::{StageManifest, TableName};
use warehouse::{
    CopyOptions, CopyReport, CopyStatement, FileStatus, InferReport, OptionMap, QueryResult, Validation, ValidationMode,
};

use super::Context;
use crate::PipelineError;
use crate::project::{SourceFile, SourceTable};

/// Which tables to load.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `raw.table`, `source` or `source.table`; empty means every staged table.
    pub selection: Vec<String>,
    /// Load a file again that changed after it was loaded; its earlier rows are replaced.
    pub force: bool,
    /// Options over those of the source file.
    pub options: OptionMap,
    /// Instead of the target in the source file; only with one table.
    pub into: Option<TableName>,
    /// Leave files out of the report that are loaded without an error.
    pub return_failed_only: bool,
}

impl From<CopyStatement> for Request {
    fn from(statement: CopyStatement) -> Self {
        Self {
            selection: vec![statement.stage],
            force: statement.force,
            options: statement.options,
            into: Some(statement.table),
            return_failed_only: statement.return_failed_only,
        }
    }
}

impl Request {
    /// The selected tables; one at most when they go into another table than their own.
    fn tables<'a>(&self, context: &'a Context) -> Result<Vec<(&'a SourceFile, &'a SourceTable)>, PipelineError> {
        let tables = context.project.select_tables(&self.selection)?;
        if self.into.is_some() && tables.len() > 1 {
            let available = tables.iter().map(|(file, table)| format!("{}.{}", file.name, table.name)).collect();
            return Err(PipelineError::UnknownName { what: "stage", name: self.selection.join(", "), available });
        }
        Ok(tables)
    }

    /// The options of one table, with those of the request over them.
    fn options_of(&self, table: &CopyOptions) -> Result<CopyOptions, PipelineError> {
        let mut options = table.overlaid(&self.options)?;
        options.force = self.force;
        Ok(options)
    }
}

/// What was loaded.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub tables: Vec<TableReport>,
}

/// What was loaded into one table.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableReport {
    pub table: TableName,
    #[serde(flatten)]
    pub copy: CopyReport,
}

/// Loads what is staged for the selected tables, one table after the other. Without a selection that is everything staged.
///
/// Errors: nothing is staged for a selected table, or for none at all.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let mut tables = Vec::new();
    let mut missing = None;
    for (file, table) in request.tables(context)? {
        let target = request.into.as_ref().unwrap_or(&table.target);
        let pending = pending(context, (&file.name, &table.name), target).await?;
        if pending.is_empty() {
            missing = missing.or(Some((file.name.clone(), table.name.clone())));
            if request.selection.is_empty() {
                continue;
            }
            return Err(PipelineError::NothingStaged { source_name: file.name.clone(), table: table.name.clone() });
        }
        let options = request.options_of(&table.copy)?;
        for manifest in pending {
            let manifest = StageManifest { target: target.clone(), ..manifest };
            let stage = context.stage.store().object_store.clone();
            let (run, progress) = (context.run(), context.progress.as_ref());
            let mut copy = context.warehouse.copy(stage, &manifest, &options, &run, progress).await?;
            if request.return_failed_only {
                copy.files.retain(|file| !matches!(file.status, FileStatus::Loaded | FileStatus::LoadSkipped));
            }
            tables.push(TableReport { table: target.clone(), copy });
        }
    }
    match missing {
        Some((source_name, table)) if tables.is_empty() => Err(PipelineError::NothingStaged { source_name, table }),
        _ => Ok(Report { tables }),
    }
}

/// The manifests that a table lacks, oldest first: one, unless it follows the changes of its source. When it has all, the newest, so that
/// the report says so; empty when nothing is staged.
async fn pending(
    context: &Context,
    (source, table): (&str, &str),
    target: &TableName,
) -> Result<Vec<StageManifest>, PipelineError> {
    let loaded = context.warehouse.loaded_manifest(target).await?;
    let loaded = loaded.as_ref().filter(|loaded| loaded.source == source && loaded.table == table);
    let loaded = loaded.map(|manifest| (manifest.number, manifest.run_id.as_str()));
    let pending = context.stage.pending(source, table, loaded).await?;
    if !pending.is_empty() {
        return Ok(pending);
    }
    Ok(context.stage.latest(source, table).await?.into_iter().collect())
}

/// What a COPY of one table would do.
#[derive(Debug)]
pub struct ValidatedTable {
    pub table: TableName,
    pub validation: Validation,
}

impl ValidatedTable {
    /// The first rows, as the result of a query.
    pub fn rows(&self) -> Result<super::query::Report, PipelineError> {
        let batches = self.validation.rows.clone();
        let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        Ok(super::query::Report { catalog: 0, result: QueryResult { schema, batches }, truncated: false })
    }
}

/// Reads what the selected tables would load, and loads nothing.
pub async fn validate(
    context: &Context,
    request: Request,
    mode: ValidationMode,
) -> Result<Vec<ValidatedTable>, PipelineError> {
    let mut tables = Vec::new();
    for (file, table) in request.tables(context)? {
        let target = request.into.as_ref().unwrap_or(&table.target);
        // Of changes, the oldest that is not loaded: those after it have nothing to be applied to.
        let Some(manifest) = pending(context, (&file.name, &table.name), target).await?.into_iter().next() else {
            return Err(PipelineError::NothingStaged { source_name: file.name.clone(), table: table.name.clone() });
        };
        let manifest = StageManifest { target: target.clone(), ..manifest };
        let options = request.options_of(&table.copy)?;
        let stage = context.stage.store().object_store.clone();
        let run = (&context.run(), context.progress.as_ref());
        let validation = context.warehouse.validate(stage, &manifest, &options, mode, run).await?;
        tables.push(ValidatedTable { table: target.clone(), validation });
    }
    Ok(tables)
}

/// The columns of one table that is not made yet.
#[derive(Debug, Clone, serde::Serialize)]
pub struct InferredTable {
    pub table: TableName,
    #[serde(flatten)]
    pub infer: InferReport,
}

/// What the selected tables would look like; nothing is loaded.
pub async fn infer(context: &Context, request: &Request) -> Result<Vec<InferredTable>, PipelineError> {
    let mut tables = Vec::new();
    for (file, table) in context.project.select_tables(&request.selection)? {
        // Of changes, what they are changes of has the columns.
        let Some(manifest) = context.stage.pending(&file.name, &table.name, None).await?.into_iter().next() else {
            return Err(PipelineError::NothingStaged { source_name: file.name.clone(), table: table.name.clone() });
        };
        let stage = context.stage.store().object_store.clone();
        let (run, progress) = (context.run(), context.progress.as_ref());
        let options = request.options_of(&table.copy)?;
        let infer = context.warehouse.infer(stage, &manifest, &options, &run, progress).await?;
        tables.push(InferredTable { table: table.target.clone(), infer });
    }
    Ok(tables)
}
