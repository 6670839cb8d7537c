//! One Delta table: a snapshot of it, its files, and the next commit.
//!
//! In: a [`TableName`] and the store.  Out: [`Table`], frozen at one version; [`Commit`]s that succeed exactly once.
//! Never here: catalogs, SQL, parsing; the commit JSON holds nothing that is needed later, because it expires.
//! Start at [`Table::commit`].
//!
//! The Delta library reads logs and writes checkpoints. Commits are its put-if-absent of one log entry at *exactly* the next
//! version, without its conflict resolution: a number read and a commit made on one snapshot is the base of exactly-once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use deltalake::DeltaTableError;
use deltalake::kernel::contains_timestampntz;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::TransactionError;
use deltalake::kernel::{Action, Add, CommitInfo, EagerSnapshot, Metadata, Protocol, Remove, StructType, Transaction};
use deltalake::logstore::{CommitOrBytes, LogStore, LogStoreRef};
use domain::TableName;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Result, WarehouseError, innermost};
use crate::store::Store;
use crate::table_root::log_store;

/// App id of the transactions of builds; its version is the number of the build.
pub(crate) const BUILD_APP: &str = "montauk";
/// App id of the transactions of COPY; its version is the number of the load.
pub(crate) const COPY_APP: &str = "montauk.copy";

/// Commits between two checkpoints: a snapshot then reads at most this many small files.
const CHECKPOINT_INTERVAL: u64 = 20;

/// Times a log is listed again that does not read as one; it lasts only as long as another writer's commit.
const MAX_TRIES: u32 = 5;

/// A Delta table at one version.
#[derive(Clone)]
pub(crate) struct Table {
    name: TableName,
    store: Store,
    log: LogStoreRef,
    snapshot: EagerSnapshot,
    schema: SchemaRef,
    files: Arc<Vec<DataFile>>,
    transactions: BTreeMap<&'static str, i64>,
}

/// A Parquet file of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataFile {
    /// Relative to the directory of the table, decoded.
    pub path: String,
    pub bytes: u64,
    pub rows: u64,
    /// Delta's statistics as JSON text: numRecords, minValues, maxValues, nullCount.
    pub stats: Option<String>,
}

/// What the next version changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commit {
    pub adds: Vec<DataFile>,
    pub removes: Vec<DataFile>,
    /// App id and number; recorded in the table's log for ever.
    pub txn: Option<(String, i64)>,
    /// The new schema as [`delta_schema`] writes it, when it changes with this version.
    pub schema: Option<String>,
    /// What readers of the history see, such as `COPY` or `BUILD`.
    pub operation: String,
    /// Unix milliseconds, for the history and the file times.
    pub at_ms: i64,
}

/// Id of a table and the time it was made: fixed by whoever makes it first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableIdentity {
    pub id: String,
    pub created_ms: i64,
}

impl Table {
    /// The table at `version`, or at its newest one. `None`: no such table.
    pub(crate) async fn load(store: &Store, name: &TableName, version: Option<u64>) -> Result<Option<Self>> {
        let log = log_store(store, name)?;
        let mut tries = 0;
        let snapshot = loop {
            let error = match EagerSnapshot::try_new(log.as_ref(), version).await {
                Ok(snapshot) => break snapshot,
                Err(error) => error,
            };
            let exists = log.is_delta_table_location().await.map_err(|error| WarehouseError::delta(name, error))?;
            tries += 1;
            match (exists, tries) {
                (false, _) => return Ok(None),
                (true, MAX_TRIES) => return Err(WarehouseError::delta(name, error)),
                // Made or extended while it was listed: a local directory may then show a later entry without an earlier one.
                (true, _) => {}
            }
        };
        Self::from_snapshot(store.clone(), name.clone(), log, snapshot).await.map(Some)
    }

    async fn from_snapshot(store: Store, name: TableName, log: LogStoreRef, snapshot: EagerSnapshot) -> Result<Self> {
        let mut transactions = BTreeMap::new();
        for app in [BUILD_APP, COPY_APP] {
            let found = snapshot.transaction_version(log.as_ref(), app).await;
            if let Some(number) = found.map_err(|error| WarehouseError::delta(&name, error))? {
                transactions.insert(app, number);
            }
        }
        let schema = snapshot.arrow_schema();
        let files = Arc::new(files_of(&name, &snapshot)?);
        Ok(Self { name, store, log, snapshot, schema, files, transactions })
    }

    /// Makes the table without rows as version 0; if somebody else made it meanwhile, loads theirs.
    pub(crate) async fn create(
        store: &Store,
        name: &TableName,
        schema: &str,
        identity: &TableIdentity,
    ) -> Result<Self> {
        let commit = Commit { operation: "CREATE TABLE".into(), at_ms: identity.created_ms, ..Commit::default() };
        let actions = first_actions(name, schema, identity, &commit)?;
        put_commit(store, name, &log_store(store, name)?, 0, &actions).await?;
        match Self::load(store, name, None).await? {
            Some(table) => Ok(table),
            None => Err(WarehouseError::internal(format!("table `{name}` was made and is gone"))),
        }
    }

    /// Makes the table with the rows of `commit` as version 0. False: somebody else's version 0 was there first.
    pub(crate) async fn create_with(
        store: &Store,
        name: &TableName,
        schema: &str,
        identity: &TableIdentity,
        commit: &Commit,
    ) -> Result<bool> {
        let actions = first_actions(name, schema, identity, commit)?;
        put_commit(store, name, &log_store(store, name)?, 0, &actions).await
    }

    /// Commits exactly version + 1 of this snapshot and returns that number.
    ///
    /// Errors: [`WarehouseError::Conflict`] when somebody else was first; load the table again, look at [`Self::txn`], decide.
    pub(crate) async fn commit(&self, commit: &Commit) -> Result<u64> {
        let version = self.version() + 1;
        let mut actions = vec![commit_info(commit, Some(self.version()))];
        if let Some(schema) = &commit.schema {
            actions.extend(self.schema_actions(schema)?);
        }
        actions.extend(commit.removes.iter().map(|file| remove_action(file, commit.at_ms)));
        actions.extend(commit.adds.iter().map(|file| add_action(file, commit.at_ms)));
        actions.extend(commit.txn.iter().map(|(app, number)| txn_action(app, *number, commit.at_ms)));
        if !put_commit(&self.store, &self.name, &self.log, version, &actions).await? {
            return Err(WarehouseError::Conflict { what: format!("table `{}`", self.name) });
        }
        if version.is_multiple_of(CHECKPOINT_INTERVAL) {
            self.checkpoint(version).await;
        }
        Ok(version)
    }

    /// A checkpoint only makes reading quicker, so a failed one is logged and the commit stands.
    async fn checkpoint(&self, version: u64) {
        let mut table = deltalake::DeltaTable::new(Arc::clone(&self.log));
        let written = match table.load_version(version).await {
            Ok(()) => deltalake::checkpoints::create_checkpoint(&table, None).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(table = %self.name, version, error = innermost(&error), "no checkpoint written");
        }
    }

    /// Protocol and metadata of the same table with another schema.
    fn schema_actions(&self, schema: &str) -> Result<Vec<Action>> {
        let identity = TableIdentity {
            id: self.id().to_owned(),
            created_ms: self.snapshot.metadata().created_time().unwrap_or_default(),
        };
        definition_actions(&self.name, schema, &identity)
    }

    pub(crate) fn name(&self) -> &TableName {
        &self.name
    }

    /// The Delta version of this snapshot.
    pub(crate) fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// Delta's id of the table: another one under the same name is another table.
    pub(crate) fn id(&self) -> &str {
        self.snapshot.metadata().id()
    }

    /// Columns in order; column metadata as field metadata.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The last number committed under `app` ([`BUILD_APP`] or [`COPY_APP`]), as of this snapshot.
    pub(crate) fn txn(&self, app: &str) -> Option<i64> {
        self.transactions.get(app).copied()
    }

    /// The files whose rows are the table.
    pub(crate) fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// Rows of all files.
    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Paths of files that were removed and are still remembered.
    pub(crate) async fn removed_files(&self) -> Result<Vec<String>> {
        use futures::TryStreamExt;
        let state = deltalake::table::state::DeltaTableState::new(self.snapshot.clone());
        let paths = state
            .all_tombstones(self.log.as_ref())
            .map_ok(|tombstone| tombstone.path().to_string())
            .try_collect()
            .await;
        paths.map_err(|error| WarehouseError::delta(&self.name, error))
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Table")
            .field("name", &self.name)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// The directory of a table, relative to the root of the warehouse.
pub(crate) fn table_path(name: &TableName) -> Path {
    plain_path(&format!("{}/{}", name.schema(), name.name()))
}

/// The path of one file of a table, relative to the root of the warehouse.
pub(crate) fn file_path(name: &TableName, file: &str) -> Path {
    plain_path(&format!("{}/{file}", table_path(name)))
}

/// The path as it is, letters of any script included; `Path::from` would write them as `%EC%9A%94`, and no other tool does.
pub(crate) fn plain_path(text: &str) -> Path {
    Path::parse(text).unwrap_or_else(|_| Path::from(text))
}

/// True: the entry at `version` is ours. False: somebody else's was there first.
async fn put_commit(
    store: &Store,
    name: &TableName,
    log: &LogStoreRef,
    version: u64,
    actions: &[Action],
) -> Result<bool> {
    let mut lines = Vec::with_capacity(actions.len());
    for action in actions {
        let line = serde_json::to_string(action);
        lines.push(line.map_err(|error| WarehouseError::internal(format!("a log entry has no JSON form: {error}")))?);
    }
    let entry = CommitOrBytes::LogBytes(lines.join("\n").into());
    match log.write_commit_entry(version, entry, uuid::Uuid::nil()).await {
        Ok(()) => {
            store.sync(&table_path(name).join("_delta_log").join(format!("{version:020}.json"))).await?;
            Ok(true)
        }
        Err(TransactionError::VersionAlreadyExists(_)) => Ok(false),
        Err(error) => Err(WarehouseError::delta(name, DeltaTableError::from(error))),
    }
}

fn first_actions(name: &TableName, schema: &str, identity: &TableIdentity, commit: &Commit) -> Result<Vec<Action>> {
    let mut actions = vec![commit_info(commit, None)];
    actions.extend(definition_actions(name, schema, identity)?);
    actions.extend(commit.adds.iter().map(|file| add_action(file, commit.at_ms)));
    actions.extend(commit.txn.iter().map(|(app, number)| txn_action(app, *number, commit.at_ms)));
    Ok(actions)
}

/// A schema in Delta's JSON form; Arrow field metadata becomes column metadata.
pub(crate) fn delta_schema(schema: &Schema) -> Result<String> {
    let kernel: Result<StructType, arrow::error::ArrowError> = schema.try_into_kernel();
    let text = match kernel {
        Ok(kernel) => serde_json::to_string(&kernel).map_err(|error| error.to_string()),
        Err(error) => Err(innermost(&error)),
    };
    text.map_err(|message| WarehouseError::internal(format!("a schema has no delta form: {message}")))
}

/// Reader 1 / writer 2, or 3 / 7 with `timestampNtz` for tables that hold times without a zone.
fn definition_actions(name: &TableName, schema: &str, identity: &TableIdentity) -> Result<Vec<Action>> {
    let fail = |message: String| WarehouseError::internal(format!("table `{name}`: {message}"));
    let kernel: StructType = serde_json::from_str(schema).map_err(|error| fail(error.to_string()))?;
    let protocol = if contains_timestampntz(kernel.fields()) {
        json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz"] })
    } else {
        json!({ "minReaderVersion": 1, "minWriterVersion": 2 })
    };
    let metadata = json!({
        "id": identity.id,
        "name": name.to_string(),
        "format": { "provider": "parquet", "options": {} },
        "schemaString": schema,
        "partitionColumns": [],
        // Old versions are pinned by catalogs: neither the log nor removed files may go before our own retention says so.
        "configuration": {
            "delta.checkpointInterval": CHECKPOINT_INTERVAL.to_string(),
            "delta.enableExpiredLogCleanup": "false",
            "delta.deletedFileRetentionDuration": "interval 365 days",
        },
        "createdTime": identity.created_ms,
    });
    let protocol: Protocol = serde_json::from_value(protocol).map_err(|error| fail(error.to_string()))?;
    let metadata: Metadata = serde_json::from_value(metadata).map_err(|error| fail(error.to_string()))?;
    Ok(vec![Action::Protocol(protocol), Action::Metadata(metadata)])
}

fn commit_info(commit: &Commit, read_version: Option<u64>) -> Action {
    Action::CommitInfo(CommitInfo {
        timestamp: Some(commit.at_ms),
        operation: Some(commit.operation.clone()),
        operation_parameters: Some(HashMap::new()),
        read_version,
        engine_info: Some(concat!("montauk/", env!("CARGO_PKG_VERSION")).to_owned()),
        ..CommitInfo::default()
    })
}

fn txn_action(app: &str, number: i64, at_ms: i64) -> Action {
    Action::Txn(Transaction::new_with_last_update(app, number, Some(at_ms)))
}

fn add_action(file: &DataFile, at_ms: i64) -> Action {
    Action::Add(Add {
        path: file.path.clone(),
        size: signed(file.bytes),
        modification_time: at_ms,
        data_change: true,
        stats: file.stats.clone(),
        ..Add::default()
    })
}

fn remove_action(file: &DataFile, at_ms: i64) -> Action {
    Action::Remove(Remove {
        path: file.path.clone(),
        data_change: true,
        deletion_timestamp: Some(at_ms),
        extended_file_metadata: Some(true),
        partition_values: Some(HashMap::new()),
        size: Some(signed(file.bytes)),
        ..Remove::default()
    })
}

/// Delta's sizes are signed; no file comes near the limit.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The files of a snapshot. Errors: features that a plain reader of the file list would misread.
fn files_of(name: &TableName, snapshot: &EagerSnapshot) -> Result<Vec<DataFile>> {
    let foreign =
        |feature: &str| WarehouseError::ForeignFeature { table: name.to_string(), feature: feature.to_owned() };
    if snapshot.metadata().configuration().contains_key("delta.columnMapping.mode") {
        return Err(foreign("column mapping"));
    }
    if !snapshot.metadata().partition_columns().is_empty() {
        return Err(foreign("partition columns"));
    }
    let log = snapshot.try_log_data().map_err(|error| WarehouseError::delta(name, error))?;
    let mut files = Vec::with_capacity(log.num_files());
    for view in log.iter() {
        if view.deletion_vector_descriptor().is_some() {
            return Err(foreign("deletion vectors"));
        }
        let stats = view.stats();
        files.push(DataFile {
            path: view.path().into_owned(),
            bytes: u64::try_from(view.size()).unwrap_or_default(),
            rows: view.num_records().unwrap_or_default() as u64,
            stats,
        });
    }
    // The log comes newest first; a stable order makes plans and tests repeatable.
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
