//! `copy`: staged files → rows of raw tables, each file once.
//!
//! In: which tables.  Out: warehouse's report per table.
//! Never here: parsing, the load ledger, quarantine (all `warehouse`).
//! Start at [`run`].

use domain::{StageManifest, TableName};
use warehouse::{CopyReport, InferReport, OnError};

use super::Context;
use crate::PipelineError;

/// Which tables to load.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `raw.table`, `source` or `source.table`; empty means every staged table.
    pub selection: Vec<String>,
    /// Load a file again that changed after it was loaded; its earlier rows are replaced.
    pub force: bool,
    /// Instead of what the source file says.
    pub on_error: Option<OnError>,
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
    for (file, table) in context.project.select_tables(&request.selection)? {
        let pending = pending(context, (&file.name, &table.name), &table.target).await?;
        if pending.is_empty() {
            missing = missing.or(Some((file.name.clone(), table.name.clone())));
            if request.selection.is_empty() {
                continue;
            }
            return Err(PipelineError::NothingStaged { source_name: file.name.clone(), table: table.name.clone() });
        }
        let mut options = table.copy.clone();
        options.force = request.force;
        options.on_error = request.on_error.unwrap_or(options.on_error);
        for manifest in pending {
            let stage = context.stage.store().object_store.clone();
            let (run, progress) = (context.run(), context.progress.as_ref());
            let copy = context.warehouse.copy(stage, &manifest, &options, &run, progress).await?;
            tables.push(TableReport { table: table.target.clone(), copy });
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
    let loaded = loaded.as_ref().map(|manifest| (manifest.number, manifest.run_id.as_str()));
    let pending = context.stage.pending(source, table, loaded).await?;
    if !pending.is_empty() {
        return Ok(pending);
    }
    Ok(context.stage.latest(source, table).await?.into_iter().collect())
}

/// The columns of one table that is not made yet.
#[derive(Debug, Clone, serde::Serialize)]
pub struct InferredTable {
    pub table: TableName,
    #[serde(flatten)]
    pub infer: InferReport,
}

/// What the selected tables would look like; nothing is loaded.
pub async fn infer(context: &Context, selection: &[String]) -> Result<Vec<InferredTable>, PipelineError> {
    let mut tables = Vec::new();
    for (file, table) in context.project.select_tables(selection)? {
        // Of changes, what they are changes of has the columns.
        let Some(manifest) = context.stage.pending(&file.name, &table.name, None).await?.into_iter().next() else {
            return Err(PipelineError::NothingStaged { source_name: file.name.clone(), table: table.name.clone() });
        };
        let stage = context.stage.store().object_store.clone();
        let (run, progress) = (context.run(), context.progress.as_ref());
        let infer = context.warehouse.infer(stage, &manifest, &table.copy, &run, progress).await?;
        tables.push(InferredTable { table: table.target.clone(), infer });
    }
    Ok(tables)
}
