//! Replay: rejected rows are read again, as they stood in the file or as somebody mended them, and loaded if they fit now.
//!
//! In: a table, which rejects.  Out: a [`ReplayReport`]. A replay is a load like any other: rows aside, a record under a fresh number, one
//! commit that carries it. The record names the rejects, so that a row is in the table and its reject replayed in the same moment; a
//! crash or a second replay at the same time loads each row once.
//! Never here: mending (`quarantine::fix`).
//! Start at [`Warehouse::replay`].

use std::collections::BTreeMap;

use domain::{FileFormat, Progress, StageMode, TableName};

use super::error::CopyError;
use super::load::{blocking, target_of};
use super::options::{AsciiChar, CopyOptions};
use super::text::{self, Again, Origin, Piece};
use super::{ATTEMPTS, content, last_load, plan};
use crate::builds::CatalogChange;
use crate::error::{Result, WarehouseError};
use crate::ledger::{self, LEDGER_FORMAT_VERSION, LoadRecord, ReplayedFile};
use crate::quarantine::file::{self, MAX_ORIGINAL_BYTES};
use crate::quarantine::{Quarantined, RejectFilter, RejectId, RejectKind, holdings, no_reject, quarantined};
use crate::table::{COPY_APP, Commit, DataFile, Table};
use crate::write::Aside;
use crate::{RunContext, Warehouse};

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct ReplayReport {
    /// Number of the load; none when no row fits.
    pub load: Option<u64>,
    /// The newest catalog number that holds the table as it is now.
    pub catalog: u64,
    pub rows_replayed: u64,
    /// Those that still do not fit, with the reason of now.
    pub still_rejected: Vec<Quarantined>,
    /// Those that cannot be replayed at all, and why.
    pub not_replayable: Vec<NotReplayable>,
}

/// A reject that cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NotReplayable {
    pub id: RejectId,
    pub reason: String,
}

/// The rows of one staged file that are to be read again.
#[derive(Default)]
struct Rows {
    sha256: String,
    format: Option<FileFormat>,
    delimiter: Option<AsciiChar>,
    header: Vec<String>,
    rejects: Vec<Quarantined>,
}

impl Warehouse {
    /// Loads the open and fixed rejects that `filter` means, as far as they fit now. `options` are those of the table.
    ///
    /// Errors: no reject is meant; the table is gone; the store's own.
    pub async fn replay(
        &self,
        table: &TableName,
        filter: &RejectFilter,
        options: &CopyOptions,
        run: &RunContext,
        progress: &dyn Progress,
    ) -> Result<ReplayReport> {
        progress.begin(&format!("replay {table}"), None);
        let filter = RejectFilter { only_open: true, ..filter.clone() };
        for _ in 0..ATTEMPTS {
            match self.replay_once(table, &filter, options, run).await {
                Err(WarehouseError::Conflict { .. }) => {}
                Ok(report) => {
                    progress.finish(&format!("{} rows replayed", report.rows_replayed));
                    return Ok(report);
                }
                Err(error) => return Err(error),
            }
        }
        Err(CopyError::Busy { table: table.to_string() }.into())
    }

    async fn replay_once(
        &self,
        name: &TableName,
        filter: &RejectFilter,
        options: &CopyOptions,
        run: &RunContext,
    ) -> Result<ReplayReport> {
        let table = self.table(name).await?.ok_or_else(|| no_reject(name))?;
        let records = self.records(name, Some(&table)).await?;
        // A replay that died after its commit left the table ahead of the catalog.
        let catalog = self.enter(name, Some(&table), records.first(), run).await?;
        let mut report = ReplayReport { catalog, ..ReplayReport::default() };
        let files = self.rows_to_replay(name, &records, filter, &mut report).await?;
        if files.is_empty() && report.not_replayable.is_empty() {
            return Err(no_reject(name));
        }
        let aside = Aside::begin(self.store(), name, run).await?;
        let mut replays = Vec::new();
        for (part, (file, rows)) in files.into_iter().enumerate() {
            let pieces = read_again(name, &table, (options, run.now), &file, &rows).await?;
            let mut writer = aside.writer(table.schema(), &format!("r{part}"));
            for batch in pieces.iter().filter_map(|piece| piece.batch.as_ref()) {
                writer.write(batch).await?;
            }
            let data_files = writer.finish().await?;
            let rejects = sort_out(rows.rejects, pieces, &mut report);
            if !rejects.is_empty() {
                replays.push(ReplayedFile { file, sha256: rows.sha256, rejects, data_files });
            }
        }
        report.rows_replayed = replays.iter().map(|replayed| replayed.rejects.len() as u64).sum();
        if replays.is_empty() {
            aside.settle().await;
            return Ok(report);
        }
        let (load, catalog) = self.commit_replay(name, table, records, replays, (options, run), aside).await?;
        (report.load, report.catalog) = (Some(load), catalog);
        Ok(report)
    }

    /// The rejects that are meant and can be read again, by staged file.
    async fn rows_to_replay(
        &self,
        name: &TableName,
        records: &[LoadRecord],
        filter: &RejectFilter,
        report: &mut ReplayReport,
    ) -> Result<BTreeMap<String, Rows>> {
        let states = self.states(name, records).await?;
        let whole = records.iter().position(|record| record.mode == StageMode::Full);
        let recent = records.iter().take(whole.map_or(records.len(), |place| place + 1));
        let follows_changes =
            recent.clone().any(|record| record.mode == StageMode::Changes || !record.merged.is_empty());
        let mut files: BTreeMap<String, Rows> = BTreeMap::new();
        for holding in holdings(records) {
            let Some(path) = &holding.record.quarantine else { continue };
            let load = holding.record.load;
            for (place, kept) in file::read(self.store(), path, usize::MAX).await?.into_iter().enumerate() {
                let id = RejectId { load, place: place as u64 + 1 };
                let found = quarantined(&states, id, kept);
                let name = found.reject.file.as_str();
                if !holding.files.contains(name) || !filter.takes(id, found.state, &found.reject) {
                    continue;
                }
                let Some(brought) = holding.record.files.iter().find(|file| file.report.file == name) else { continue };
                let reason = if found.reject.kind == RejectKind::Cell {
                    "its row is loaded, with null in that cell: mend the value at the source and extract again"
                } else if !brought.report.is_loaded() {
                    "its file was left out whole: load it with `on_error = \"continue\"` first"
                } else if follows_changes {
                    "its table follows the changes of its source, which may have changed this row since: mend it there"
                } else if brought.header.is_empty() {
                    "its file is not text, or was loaded before replays were known: load it again with `--force`"
                } else if found.fixed.is_none() && found.bytes.len() >= MAX_ORIGINAL_BYTES {
                    "it is longer than what the quarantine keeps: mend the file, and load it again with `--force`"
                } else {
                    let rows = files.entry(name.to_owned()).or_default();
                    (rows.sha256, rows.header) = (brought.sha256.clone(), brought.header.clone());
                    rows.format = Some(brought.format);
                    rows.delimiter = brought.delimiter;
                    rows.rejects.push(found);
                    continue;
                };
                report.not_replayable.push(NotReplayable { id, reason: reason.to_owned() });
            }
        }
        Ok(files)
    }

    /// Record, commit, catalog; answers the load's number and the catalog's.
    async fn commit_replay(
        &self,
        name: &TableName,
        table: Table,
        records: Vec<LoadRecord>,
        replays: Vec<ReplayedFile>,
        (options, run): (&CopyOptions, &RunContext),
        aside: Aside,
    ) -> Result<(u64, u64)> {
        let number = ledger::free_number(self.store(), name, last_load(Some(&table))).await?;
        let adds: Vec<DataFile> = replays.iter().flat_map(|replayed| replayed.data_files.clone()).collect();
        let held = plan::held(StageMode::Append, &records, &[]);
        let all: Vec<&ReplayedFile> = plan::held_replays(&records).into_iter().chain(&replays).collect();
        let record = LoadRecord {
            format_version: LEDGER_FORMAT_VERSION,
            load: number,
            previous: last_load(Some(&table)),
            table: name.clone(),
            run_id: run.run_id.clone(),
            at: run.now,
            mode: StageMode::Append,
            manifest: None,
            merged: Vec::new(),
            files: Vec::new(),
            quarantine: None,
            position: None,
            proof: None,
            provenance: content(held, &all, options, run)?,
            replays,
        };
        if !aside.is_there().await? {
            return Err(WarehouseError::Conflict { what: format!("the files of this replay of `{name}`") });
        }
        ledger::claim(self.store(), &record).await?;
        let txn = i64::try_from(number).map_err(|error| WarehouseError::internal(error.to_string()))?;
        let commit = Commit {
            adds,
            removes: Vec::new(),
            txn: Some((COPY_APP.to_owned(), txn)),
            schema: None,
            operation: "REPLAY".to_owned(),
            at_ms: run.now.timestamp_millis(),
        };
        let version = table.commit(&commit).await?;
        aside.settle().await;
        let change = CatalogChange { table: name.clone(), version, provenance: record.provenance };
        Ok((number, self.publish(vec![change], run).await?))
    }
}

/// Reads rows of one file again, on a thread that may compute.
async fn read_again(
    name: &TableName,
    table: &Table,
    (options, now): (&CopyOptions, chrono::DateTime<chrono::Utc>),
    file: &str,
    rows: &Rows,
) -> Result<Vec<Piece>> {
    let target = target_of(name, &table.schema())?;
    let again: Vec<Again> = rows
        .rejects
        .iter()
        .map(|found| Again {
            number: found.reject.row,
            line: found.reject.line,
            bytes: found.fixed.as_ref().map_or_else(|| found.bytes.clone(), |text| text.clone().into_bytes()),
        })
        .collect();
    let (file, sha256, header) = (file.to_owned(), rows.sha256.clone(), rows.header.clone());
    let mut options = options.clone();
    options.csv.delimiter = rows.delimiter.or(options.csv.delimiter);
    let (format, at) = (rows.format.unwrap_or(FileFormat::Csv), now.timestamp_micros());
    blocking(move || {
        Ok(text::read_again(Origin { name: &file, sha256: &sha256, at }, (format, &header), &again, &target, &options)?)
    })
    .await
}

/// Parts those that fit, whose ids are the answer in the order of their rows, from those that still do not.
fn sort_out(rejects: Vec<Quarantined>, pieces: Vec<Piece>, report: &mut ReplayReport) -> Vec<RejectId> {
    // A row of the file is rejected once at most, so its number says which it is.
    let mut again: BTreeMap<u64, crate::quarantine::Reject> =
        pieces.into_iter().flat_map(|piece| piece.rejects).map(|(reject, _)| (reject.row, reject)).collect();
    let mut replayed = Vec::with_capacity(rejects.len());
    for mut found in rejects {
        match again.remove(&found.reject.row) {
            None => replayed.push(found.id),
            Some(now) => {
                (found.reject.column, found.reject.code, found.reject.message) = (now.column, now.code, now.message);
                report.still_rejected.push(found);
            }
        }
    }
    replayed
}
