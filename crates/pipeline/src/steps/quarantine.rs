//! `quarantine`: what COPY set aside, and what becomes of it: seen, mended, loaded after all, or dismissed with a reason.
//!
//! In: a table, which of its rejects, and what to do.  Out: counts that add up, rejects, or what was done.
//! Never here: parsing and loading (`warehouse`).
//! Start at [`run`].

use domain::TableName;
use warehouse::{CopyOptions, FixReport, QuarantineCounts, Quarantined, RejectFilter, RejectId, ReplayReport};

use super::Context;
use crate::PipelineError;

/// What to do.
#[derive(Debug, Clone)]
pub enum Request {
    /// Count, and list up to `limit` rejects of each table that was named.
    List {
        /// `raw.table`, `source` or `source.table`; empty means every table that COPY fills.
        selection: Vec<String>,
        filter: RejectFilter,
        limit: usize,
    },
    Show {
        table: String,
        id: RejectId,
    },
    Fix {
        table: String,
        filter: RejectFilter,
        sql: String,
    },
    Replay {
        table: String,
        filter: RejectFilter,
    },
    Dismiss {
        table: String,
        filter: RejectFilter,
        reason: String,
    },
}

/// What came of it.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Report {
    List {
        tables: Vec<TableReport>,
    },
    Show {
        table: TableName,
        reject: Quarantined,
    },
    Fix {
        table: TableName,
        #[serde(flatten)]
        fix: FixReport,
    },
    Replay {
        table: TableName,
        #[serde(flatten)]
        replay: ReplayReport,
        counts: QuarantineCounts,
    },
    Dismiss {
        table: TableName,
        dismissed: usize,
        counts: QuarantineCounts,
    },
}

/// What one table has in quarantine.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableReport {
    pub table: TableName,
    pub counts: QuarantineCounts,
    /// Those of the newest load first.
    pub rejects: Vec<Quarantined>,
}

/// Does what is asked for.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let warehouse = &context.warehouse;
    Ok(match request {
        Request::List { selection, filter, limit } => {
            Report::List { tables: list(context, selection, filter, limit).await? }
        }
        Request::Show { table, id } => {
            let (table, _) = the_table(context, &table)?;
            let filter = RejectFilter { ids: vec![id], ..RejectFilter::default() };
            let found = warehouse.quarantine(&table, &filter, 1).await?.pop();
            let reject =
                found.ok_or_else(|| PipelineError::NoSuchReject { table: table.to_string(), id: id.to_string() })?;
            Report::Show { table, reject }
        }
        Request::Fix { table, filter, sql } => {
            let (table, options) = the_table(context, &table)?;
            let fix = warehouse.fix(&table, &filter, &sql, &options, &context.run()).await?;
            Report::Fix { table, fix }
        }
        Request::Replay { table, filter } => {
            let (table, options) = the_table(context, &table)?;
            let run = context.run();
            let replay = warehouse.replay(&table, &filter, &options, &run, context.progress.as_ref()).await?;
            let counts = warehouse.quarantine_counts(&table).await?;
            Report::Replay { table, replay, counts }
        }
        Request::Dismiss { table, filter, reason } => {
            let (table, _) = the_table(context, &table)?;
            let dismissed = warehouse.dismiss(&table, &filter, &reason, &context.run()).await?;
            let counts = warehouse.quarantine_counts(&table).await?;
            Report::Dismiss { table, dismissed, counts }
        }
    })
}

async fn list(
    context: &Context,
    selection: Vec<String>,
    filter: RejectFilter,
    limit: usize,
) -> Result<Vec<TableReport>, PipelineError> {
    let mut tables: Vec<TableReport> = Vec::new();
    for (_, table) in context.project.select_tables(&selection)? {
        // Two tables of sources may go into one.
        if tables.iter().any(|known| known.table == table.target) {
            continue;
        }
        let counts = context.warehouse.quarantine_counts(&table.target).await?;
        let rejects = match (selection.is_empty(), limit) {
            (true, _) | (_, 0) => Vec::new(),
            (false, limit) => context.warehouse.quarantine(&table.target, &filter, limit).await?,
        };
        tables.push(TableReport { table: table.target.clone(), counts, rejects });
    }
    Ok(tables)
}

/// The one table that a word means, and how its text is read.
fn the_table(context: &Context, word: &str) -> Result<(TableName, CopyOptions), PipelineError> {
    let found = context.project.select_tables(std::slice::from_ref(&word.to_owned()))?;
    let mut targets: Vec<&TableName> = found.iter().map(|(_, table)| &table.target).collect();
    targets.dedup();
    match (found.first(), targets.as_slice()) {
        (Some((_, table)), [_]) => Ok((table.target.clone(), table.copy.clone())),
        _ => {
            let tables = targets.iter().map(ToString::to_string).collect();
            Err(PipelineError::ManyTables { word: word.to_owned(), tables })
        }
    }
}
