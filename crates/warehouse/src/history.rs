//! What COPY has done, as tables that `query` reads: `montauk.copy_history` and `montauk.load_rejects`.
//!
//! In: the ledgers and quarantines of all raw tables of a catalog.  Out: tables in memory, made anew for each statement that names them.
//! `copy_history` has a row per load and file, also for loads that were aborted and for replays; with the snapshot of the source that
//! the rows are from, and what became of the file in the stage. `load_rejects` has a row per reject with its state, and leads back to file, line and byte.
//! Never here: models may not read them, for what they hold has no version.
//! Start at [`Warehouse::history_table`].

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{Field, Schema};
use chrono::{DateTime, Utc};
use datafusion::catalog::{MemTable, TableProvider};
use domain::TableName;

use crate::Warehouse;
use crate::catalog::{Catalog, TableKind};
use crate::copy::{FileReport, Purge};
use crate::error::{Result, WarehouseError};
use crate::ledger;
use crate::purges;
use crate::quarantine::{Quarantined, RejectFilter};
use crate::sql_error::engine_error;

/// Schema of the tables that Montauk makes of its own records.
const SCHEMA: &str = "montauk";
/// Their names, for messages that list tables.
pub(crate) const HISTORY_TABLES: [&str; 2] = ["montauk.copy_history", "montauk.load_rejects"];

/// One file of one load, or what a replay brought of it.
#[derive(Default)]
struct Loaded {
    table: String,
    load: Option<u64>,
    action: &'static str,
    at: DateTime<Utc>,
    run_id: String,
    file: Option<String>,
    status: Option<String>,
    rows: [Option<u64>; 3],
    error: [Option<String>; 2],
    error_line: Option<u64>,
    position: Option<String>,
    is_proven: bool,
    purge: Option<Purge>,
}

impl Warehouse {
    /// The table behind one of [`HISTORY_TABLES`]; `None` for every other name.
    pub(crate) async fn history_table(
        &self,
        catalog: &Catalog,
        name: &TableName,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let batch = match (name.schema(), name.name()) {
            (SCHEMA, "copy_history") => history_batch(&self.history(catalog).await?),
            (SCHEMA, "load_rejects") => rejects_batch(&self.all_rejects(catalog).await?),
            _ => return Ok(None),
        };
        let batch = batch.map_err(|error| WarehouseError::internal(error.to_string()))?;
        let provider = MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(|error| engine_error(error, ""))?;
        Ok(Some(Arc::new(provider)))
    }

    async fn history(&self, catalog: &Catalog) -> Result<Vec<Loaded>> {
        let mut rows = Vec::new();
        for table in &self.loaded_tables(catalog).await? {
            let purges = purges::known(self.store(), table).await?;
            for record in self.loads(table).await? {
                let about = |action| Loaded {
                    table: table.to_string(),
                    load: Some(record.load),
                    action,
                    at: record.at,
                    run_id: record.run_id.clone(),
                    position: record.position.as_ref().map(ToString::to_string),
                    is_proven: record.proof.is_some(),
                    ..Loaded::default()
                };
                rows.extend(record.files.iter().map(|file| Loaded {
                    purge: purges.get(&(record.load, file.report.file.clone())).copied(),
                    ..about("copy").of_file(&file.report)
                }));
                rows.extend(record.replays.iter().map(|replayed| Loaded {
                    file: Some(replayed.file.clone()),
                    status: Some("loaded".to_owned()),
                    rows: [Some(replayed.rejects.len() as u64), Some(replayed.rejects.len() as u64), Some(0)],
                    ..about("replay")
                }));
            }
            for aborted in self.aborted_loads(table).await? {
                let about = || Loaded {
                    table: table.to_string(),
                    action: "copy",
                    at: aborted.at,
                    run_id: aborted.run_id.clone(),
                    ..Loaded::default()
                };
                let error = [Some(aborted.code.clone()), Some(aborted.message.clone())];
                rows.push(Loaded { status: Some("aborted".to_owned()), error, ..about() });
                rows.extend(aborted.files.iter().map(|file| about().of_file(file)));
            }
        }
        Ok(rows)
    }

    async fn all_rejects(&self, catalog: &Catalog) -> Result<Vec<(String, Quarantined)>> {
        let mut rows = Vec::new();
        for table in &self.loaded_tables(catalog).await? {
            let found = self.quarantine(table, &RejectFilter::default(), usize::MAX).await?;
            rows.extend(found.into_iter().map(|found| (table.to_string(), found)));
        }
        Ok(rows)
    }
}

impl Warehouse {
    /// Every table that COPY has loaded, or has tried to: an aborted first load leaves a record and no table.
    async fn loaded_tables(&self, catalog: &Catalog) -> Result<BTreeSet<TableName>> {
        let raw = catalog.tables.iter().filter(|(_, entry)| entry.kind == TableKind::Raw).map(|(name, _)| name.clone());
        let mut tables: BTreeSet<TableName> = raw.collect();
        for record in self.store().list(&ledger::all_tables()).await? {
            let folder = record.location.parts().nth(ledger::all_tables().parts().count());
            tables.extend(folder.and_then(|folder| folder.as_ref().parse::<TableName>().ok()));
        }
        Ok(tables)
    }
}

impl Loaded {
    fn of_file(self, report: &FileReport) -> Self {
        let first = report.first_error.as_ref();
        Self {
            file: Some(report.file.clone()),
            status: Some(report.status.as_str().to_owned()),
            rows: [Some(report.rows_parsed), Some(report.rows_loaded), Some(report.rows_rejected)],
            error: [
                first.and_then(|first| first.column.clone()),
                report.reason.clone().or_else(|| first.map(|first| first.message.clone())),
            ],
            error_line: first.map(|first| first.line),
            ..self
        }
    }
}

type Batch = Result<RecordBatch, arrow::error::ArrowError>;

fn history_batch(rows: &[Loaded]) -> Batch {
    let text =
        |value: fn(&Loaded) -> Option<&str>| -> ArrayRef { Arc::new(rows.iter().map(value).collect::<StringArray>()) };
    let number =
        |value: fn(&Loaded) -> Option<u64>| -> ArrayRef { Arc::new(rows.iter().map(value).collect::<UInt64Array>()) };
    let at = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.at.timestamp_micros()));
    batch(vec![
        ("table", text(|row| Some(&row.table))),
        ("load", number(|row| row.load)),
        ("action", text(|row| Some(row.action))),
        ("at", Arc::new(at.with_timezone("UTC"))),
        ("run_id", text(|row| Some(&row.run_id))),
        ("file", text(|row| row.file.as_deref())),
        ("status", text(|row| row.status.as_deref())),
        ("rows_parsed", number(|row| row.rows[0])),
        ("rows_loaded", number(|row| row.rows[1])),
        ("rows_rejected", number(|row| row.rows[2])),
        ("first_error_line", number(|row| row.error_line)),
        (
            "first_error_column",
            text(|row| row.error[0].as_deref().filter(|_| row.status.as_deref() != Some("aborted"))),
        ),
        ("error_code", text(|row| row.error[0].as_deref().filter(|_| row.status.as_deref() == Some("aborted")))),
        ("first_error", text(|row| row.error[1].as_deref())),
        ("source_position", text(|row| row.position.as_deref())),
        ("purge", text(|row| row.purge.map(Purge::as_str))),
        ("proven", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.is_proven))))),
    ])
}

fn rejects_batch(rows: &[(String, Quarantined)]) -> Batch {
    let text = |value: fn(&Quarantined) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(|(_, found)| value(found)).collect::<StringArray>())
    };
    let number = |value: fn(&Quarantined) -> Option<u64>| -> ArrayRef {
        Arc::new(rows.iter().map(|(_, found)| value(found)).collect::<UInt64Array>())
    };
    let ids: StringArray = rows.iter().map(|(_, found)| Some(found.id.to_string())).collect();
    batch(vec![
        ("table", Arc::new(rows.iter().map(|(table, _)| Some(table.as_str())).collect::<StringArray>())),
        ("id", Arc::new(ids)),
        ("load", number(|found| Some(found.id.load))),
        ("state", text(|found| Some(found.state.as_str()))),
        ("kind", text(|found| Some(found.reject.kind.as_str()))),
        ("file", text(|found| Some(&found.reject.file))),
        ("row", number(|found| Some(found.reject.row))),
        ("line", number(|found| Some(found.reject.line).filter(|line| *line > 0))),
        ("byte_offset", number(|found| Some(found.reject.byte_offset).filter(|_| found.reject.line > 0))),
        ("column", text(|found| found.reject.column.as_deref())),
        ("code", text(|found| Some(&found.reject.code))),
        ("message", text(|found| Some(&found.reject.message))),
        ("original", text(|found| Some(&found.reject.original))),
        ("fixed", text(|found| found.fixed.as_deref())),
        ("reason", text(|found| found.reason.as_deref())),
        ("replayed_in", number(|found| found.replayed_in)),
    ])
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Batch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
}
