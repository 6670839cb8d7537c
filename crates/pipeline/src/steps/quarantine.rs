//! `quarantine`: what COPY set aside, and why.
//!
//! In: a table, or none.  Out: how many rows each table has in quarantine, and the rows of the one that was named.
//! Never here: mending or replaying them; nothing is changed.
//! Start at [`run`].

use domain::TableName;
use warehouse::Reject;

use super::Context;
use crate::PipelineError;

/// What to show.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `raw.table`, `source` or `source.table`; empty means every table that COPY fills.
    pub selection: Vec<String>,
    /// Rejects to list per table; 0 only counts them.
    pub limit: usize,
}

/// What is there.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub tables: Vec<TableReport>,
}

/// What one table has in quarantine.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableReport {
    pub table: TableName,
    pub loads: usize,
    pub rows_loaded: u64,
    pub rows_rejected: u64,
    /// Those of the newest load first.
    pub rejects: Vec<Reject>,
}

/// Reads the load ledger and the quarantine of the selected tables.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let mut tables = Vec::new();
    for (_, table) in context.project.select_tables(&request.selection)? {
        let loads = context.warehouse.loads(&table.target).await?;
        let files = || loads.iter().flat_map(|load| load.files.iter().map(|file| &file.report));
        let rejects = match request.limit {
            0 => Vec::new(),
            limit => context.warehouse.rejects(&table.target, limit).await?,
        };
        tables.push(TableReport {
            table: table.target.clone(),
            loads: loads.len(),
            rows_loaded: files().map(|file| file.rows_loaded).sum(),
            rows_rejected: files().map(|file| file.rows_rejected).sum(),
            rejects,
        });
    }
    Ok(Report { tables })
}
