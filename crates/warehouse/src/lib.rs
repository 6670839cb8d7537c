//! The warehouse: COPY, Delta tables, the catalog switch, the SQL engine, models and checks.
//!
//! In: staged files, SQL models, checks.  Out: tables that become visible together, once checked; query results.
//! Never here: HTTP, recommender words. No other crate names DataFusion or Delta.
//! Start at [`Warehouse::build`] for the line from SQL to a new catalog number, at `builds` for the switch itself.

mod build;
mod builds;
mod catalog;
mod check;
mod copy;
mod encode;
mod engine;
mod engine_store;
mod error;
mod history;
mod infer;
mod ledger;
mod machine;
mod model;
mod purges;
mod quarantine;
mod query;
mod sql_error;
mod stats;
mod store;
mod table;
mod table_root;
#[cfg(test)]
mod tests;
mod udf;
mod widen;
mod write;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::TableName;
use object_store::ObjectStore;
use url::Url;

pub use build::{BuildOptions, BuildReport, IntervalReport, Materialized, ModelReport, ModelStatus, Written};
pub use builds::{RecoverReport, SweepReport};
pub use catalog::{CATALOG_FORMAT_VERSION, Catalog, CatalogColumn, CatalogEntry, CatalogInterval, Pin, TableKind};
pub use check::{
    AcceptedEntry, Check, CheckEntry, CheckFile, CheckKind, CheckResult, CheckStatus, RangeEntry, RelationshipEntry,
    Severity,
};
pub use copy::{
    AsciiChar, BadCells, ColumnType, CopyError, CopyOptions, CopyReport, CopyStatement, CsvOptions, Encoding,
    FileReport, FileStatus, FirstError, InferReport, InferReportColumn, InferredColumn, MAX_FILES, MatchByColumnName,
    Metadata, MissingColumns, NewColumns, OnError, OptionMap, Pattern, ProofReport, Purge, ReplayReport, TimeFormat,
    Validation, ValidationError, ValidationMode, lay_over, parse_options,
};
pub use engine::EngineLimits;
pub use error::{Result, WarehouseError};
pub use infer::Evidence;
pub use ledger::{AbortedLoad, LoadRecord, LoadedFile, LoadedManifest, ReplayedFile};
pub use machine::memory_bytes;
pub use model::{Interval, Materialization, Model};
pub use quarantine::{
    FixReport, QuarantineCounts, Quarantined, Reject, RejectFilter, RejectId, RejectKind, RejectState,
};
pub use query::{QueryResult, QueryStream};
pub use widen::{SOURCE_NAME, SOURCE_TYPE, column_names, table_schema, widen_batch};

use crate::engine::Engine;
use crate::store::Store;
use crate::table::{Table, TableIdentity, delta_schema};

/// Which run does something, and when it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunContext {
    pub run_id: String,
    pub now: DateTime<Utc>,
}

/// The tables below one root, and everything that may change them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Warehouse {
    store: Store,
    /// Highest catalog number this process has seen; listings start here.
    newest: Arc<std::sync::atomic::AtomicU64>,
    engine: Engine,
}

impl Warehouse {
    /// Opens the warehouse at the root of `store`. `url` says where that is; a `file` URL makes writes sync to disk.
    ///
    /// Nothing is read or written yet: call [`Self::recover`] once before writing, to finish what a crash left.
    pub fn open(store: Arc<dyn ObjectStore>, url: Url) -> Result<Self> {
        Self::with_limits(store, &url, &EngineLimits::default())
    }

    /// [`Self::open`] with other limits than the default ones.
    pub fn with_limits(store: Arc<dyn ObjectStore>, url: &Url, limits: &EngineLimits) -> Result<Self> {
        let store = Store::new(store, url);
        let engine = Engine::new(store.clone(), limits)?;
        Ok(Self { store, newest: Arc::default(), engine })
    }

    /// The newest snapshot of a table, `None` if there is none. It may be ahead of the catalog.
    pub(crate) async fn table(&self, name: &TableName) -> Result<Option<Table>> {
        Table::load(&self.store, name, None).await
    }

    /// The table as it was at `version`.
    pub(crate) async fn table_at(&self, name: &TableName, version: u64) -> Result<Table> {
        match Table::load(&self.store, name, Some(version)).await? {
            Some(table) => Ok(table),
            None => Err(WarehouseError::NoSuchTable { table: name.to_string(), nearest: None, at: String::new() }),
        }
    }

    /// Makes a table without rows (Delta version 0), or loads the one that somebody else made meanwhile.
    ///
    /// `schema` is what [`table_schema`] returns, nullable or not; its field metadata becomes column metadata.
    pub(crate) async fn create_table(
        &self,
        name: &TableName,
        schema: &arrow::datatypes::Schema,
        run: &RunContext,
    ) -> Result<Table> {
        let identity = TableIdentity { id: uuid::Uuid::new_v4().to_string(), created_ms: run.now.timestamp_millis() };
        Table::create(&self.store, name, &delta_schema(schema)?, &identity).await
    }

    /// The store, rooted at the warehouse: for the ledger and the quarantine.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}
