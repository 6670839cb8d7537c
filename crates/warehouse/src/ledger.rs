//! Which files a table has loaded: `_montauk/loads/<table>/<n:020>.json`, one record per load.
//!
//! In: what a COPY is about to commit.  Out: the records that count.
//! A record is written before the Delta commit and names the load before it. The commit carries the number as its `txn`. So
//! a record counts iff it is on the chain from the table's `txn` back to the first load; what a crash or a lost race left
//! beside the chain never counts. Commit JSON is not needed for it: that expires.
//! Never here: deciding what to load (`copy`).
//! Start at [`chain`].

use chrono::{DateTime, Utc};
use domain::{FileFormat, LogPosition, Provenance, SourceProof, StageManifest, StageMode, TableName};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::copy::AsciiChar;
use crate::copy::report::FileReport;
use crate::error::{Result, WarehouseError};
use crate::quarantine::RejectId;
use crate::store::{Store, numbered};
use crate::table::DataFile;

/// Version of [`LoadRecord`]; raise it when a reader of the old version would misread.
pub(crate) const LEDGER_FORMAT_VERSION: u32 = 1;

/// One load of one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRecord {
    pub format_version: u32,
    /// Number of the load: the `txn` version of its commit.
    pub load: u64,
    /// The load before it; 0 for the first.
    pub previous: u64,
    pub table: TableName,
    pub run_id: String,
    pub at: DateTime<Utc>,
    pub mode: StageMode,
    /// The manifest that was loaded; none for a replay, and for loads of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<LoadedManifest>,
    pub files: Vec<LoadedFile>,
    /// Rows that earlier loads had rejected and this one brought, per staged file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replays: Vec<ReplayedFile>,
    /// Files of the table that hold the rows of this load among others: those that a load of changes wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) merged: Vec<DataFile>,
    /// File with this load's rejects, when there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    /// The snapshot of the source that the rows are from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<LogPosition>,
    /// What the source said about its rows; the load was compared with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<SourceProof>,
    pub provenance: Provenance,
}

impl LoadRecord {
    /// The files that it brought into the table.
    pub(crate) fn data_files(&self) -> impl Iterator<Item = &DataFile> {
        let replayed = self.replays.iter().flat_map(|rows| &rows.data_files);
        self.files.iter().flat_map(|file| &file.data_files).chain(&self.merged).chain(replayed)
    }
}

/// Which manifest a load was of: its number, and the run that published it, since a stage that was emptied counts from 1 again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadedManifest {
    pub source: String,
    pub table: String,
    pub number: u64,
    pub run_id: String,
}

impl LoadedManifest {
    /// Whether it is a manifest of the same source table.
    pub(crate) fn is_of(&self, manifest: &StageManifest) -> bool {
        self.source == manifest.source && self.table == manifest.table
    }

    /// Of a manifest that has a number.
    pub(crate) fn of(manifest: &StageManifest) -> Option<Self> {
        let run_id = manifest.provenance.run_id.clone();
        let (source, table) = (manifest.source.clone(), manifest.table.clone());
        (manifest.number > 0).then_some(Self { source, table, number: manifest.number, run_id })
    }
}

/// One staged file of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadedFile {
    pub sha256: String,
    pub bytes: u64,
    pub report: FileReport,
    /// How its text is cut into fields.
    #[serde(default = "csv")]
    pub(crate) format: FileFormat,
    /// What stands between its fields, when it has rejected rows and is CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delimiter: Option<AsciiChar>,
    /// Columns of a text file in its own order, when it has rejected rows: what they are read by when they are replayed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) header: Vec<String>,
    /// The files of the table that hold its rows and nothing else.
    pub(crate) data_files: Vec<DataFile>,
}

/// The one text format there was before records named it.
fn csv() -> FileFormat {
    FileFormat::Csv
}

/// Rows of one staged file that were rejected when it was loaded, and are in the table since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayedFile {
    pub file: String,
    /// Of the content that the rows came from.
    pub sha256: String,
    /// In the order of the rows of `data_files`.
    pub rejects: Vec<RejectId>,
    /// The files of the table that hold their rows and nothing else.
    pub(crate) data_files: Vec<DataFile>,
}

/// Folder of the folders of all tables.
pub(crate) fn all_tables() -> Path {
    Path::from_iter(["_montauk", "loads"])
}

/// Folder of the records of a table.
pub(crate) fn folder(table: &TableName) -> Path {
    all_tables().join(table.to_string())
}

/// The records that count, newest first, up to the first that is the last wanted one. `txn` is the load number that the table's snapshot
/// carries.
pub(crate) async fn chain(
    store: &Store,
    table: &TableName,
    txn: Option<i64>,
    is_last: impl Fn(&LoadRecord) -> bool,
) -> Result<Vec<LoadRecord>> {
    let mut records = Vec::new();
    let mut number = txn.and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
    while number > 0 {
        let path = numbered(&folder(table), number);
        let record: Option<LoadRecord> = store.get_json(&path).await?;
        let Some(record) = record else {
            let message = "the table's log names this load, and its record is missing".to_owned();
            return Err(WarehouseError::Damaged { path: path.to_string(), message });
        };
        if record.previous >= number {
            let message = "it names itself or a later load as the one before it".to_owned();
            return Err(WarehouseError::Damaged { path: path.to_string(), message });
        }
        number = if is_last(&record) { 0 } else { record.previous };
        records.push(record);
    }
    Ok(records)
}

/// A number that no record has yet, after the load that the table's snapshot carries.
pub(crate) async fn free_number(store: &Store, table: &TableName, previous: u64) -> Result<u64> {
    Ok(store.numbers_after(&folder(table), previous).await?.last().copied().unwrap_or(previous) + 1)
}

/// Writes the record under its number. Errors: [`WarehouseError::Conflict`] when another load took the number.
pub(crate) async fn claim(store: &Store, record: &LoadRecord) -> Result<()> {
    let path = numbered(&folder(&record.table), record.load);
    // A retried request may find its own first attempt; names of data files are new in each attempt, so equal means ours.
    if store.put_json_if_absent(&path, record).await? || store.get_json(&path).await?.as_ref() == Some(record) {
        return Ok(());
    }
    Err(WarehouseError::Conflict { what: format!("the ledger of table `{}`", record.table) })
}

/// A COPY that loaded nothing, and why. It needs no place on the chain: there is nothing that it could load twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbortedLoad {
    pub format_version: u32,
    pub table: TableName,
    pub run_id: String,
    pub at: DateTime<Utc>,
    /// Stable, in snake case, such as `copy_aborted`.
    pub code: String,
    pub message: String,
    /// What was found in the files up to the one that stopped it.
    pub files: Vec<FileReport>,
    /// File with the rejects, when there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
}

/// Keeps the record of an aborted COPY.
pub(crate) async fn record_abort(store: &Store, aborted: &AbortedLoad) -> Result<()> {
    // Sorts by time; the id keeps two of one moment apart.
    let name = format!("aborted-{:020}-{}.json", aborted.at.timestamp_millis(), uuid::Uuid::new_v4().simple());
    store.put_json(&folder(&aborted.table).join(name), aborted).await
}

/// The aborted COPYs of a table, newest first.
pub(crate) async fn aborted(store: &Store, table: &TableName) -> Result<Vec<AbortedLoad>> {
    let found = store.list(&folder(table)).await?;
    let mut paths: Vec<Path> = found.into_iter().map(|meta| meta.location).collect();
    paths.retain(|path| path.filename().is_some_and(|name| name.starts_with("aborted-")));
    paths.sort_unstable_by(|a, b| b.cmp(a));
    let mut aborted = Vec::with_capacity(paths.len());
    for path in paths {
        aborted.extend(store.get_json::<AbortedLoad>(&path).await?);
    }
    Ok(aborted)
}
