//! A warehouse to test with, and a small loader in the place of COPY.
//!
//! In: rows.  Out: raw tables in the catalog.  Never here: parsing text.  Start at [`World`].

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{NoProgress, Provenance, TableName};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use url::Url;

use crate::builds::CatalogChange;
use crate::table::{COPY_APP, Commit};
use crate::write::Aside;
use crate::{
    BuildOptions, BuildReport, Catalog, Check, EngineLimits, Model, RunContext, Warehouse, table_schema, widen_batch,
};

/// A store and the time of its next run.
pub(super) struct World {
    pub store: Arc<dyn ObjectStore>,
    pub url: Url,
}

impl World {
    pub fn in_memory() -> Self {
        Self { store: Arc::new(InMemory::new()), url: Url::parse("memory:///").unwrap() }
    }

    pub fn in_directory(directory: &std::path::Path) -> Self {
        let store = object_store::local::LocalFileSystem::new_with_prefix(directory).unwrap();
        Self { store: Arc::new(store), url: Url::from_directory_path(directory).unwrap() }
    }

    /// A store that answers with longer paths than asked for, as a prefix of a bucket does.
    pub fn in_prefix() -> Self {
        let bucket = object_store::prefix::PrefixStore::new(InMemory::new(), "a lake/of ours");
        Self { store: Arc::new(bucket), url: Url::parse("s3://bucket/a%20lake/of%20ours").unwrap() }
    }

    /// A warehouse as a new process would open it.
    pub fn open(&self) -> Warehouse {
        let limits = EngineLimits { partitions: 2, ..EngineLimits::default() };
        Warehouse::with_limits(Arc::clone(&self.store), &self.url, &limits).unwrap()
    }
}

pub(super) fn run(id: &str) -> RunContext {
    RunContext { run_id: id.to_owned(), now: DateTime::UNIX_EPOCH + TimeDelta::days(20_000) }
}

pub(super) fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

/// Sales: an id, an amount in cents, and the day they happened on (2010-12-01 + days), at noon.
pub(super) fn sales(rows: &[(i64, i64, i64)]) -> RecordBatch {
    let first: DateTime<Utc> = "2010-12-01T12:00:00Z".parse().unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let amounts: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
    let at = rows.iter().map(|row| (first + TimeDelta::days(row.2)).timestamp_micros());
    let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(at));
    let kinds: ArrayRef =
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| if row.1 < 0 { "return" } else { "sale" })));
    RecordBatch::try_from_iter([("Id", ids), ("amount", amounts), ("SoldAt", at), ("kind", kinds)]).unwrap()
}

/// Appends rows to a raw table and enters it into the catalog.
pub(super) async fn load(warehouse: &Warehouse, table: &str, batch: RecordBatch) -> u64 {
    let (name, run) = (name(table), run("load"));
    let schema = table_schema(&batch.schema()).unwrap();
    let current = match warehouse.table(&name).await.unwrap() {
        Some(current) => current,
        None => warehouse.create_table(&name, &schema, &run).await.unwrap(),
    };
    let aside = Aside::begin(warehouse.store(), &name, &run).await.unwrap();
    let mut writer = aside.writer(Arc::clone(&schema), "");
    writer.write(&widen_batch(&batch, &schema).unwrap()).await.unwrap();
    let number = current.txn(COPY_APP).unwrap_or(0) + 1;
    let commit = Commit {
        adds: writer.finish().await.unwrap(),
        txn: Some((COPY_APP.to_owned(), number)),
        operation: "COPY".into(),
        ..Commit::default()
    };
    let version = current.commit(&commit).await.unwrap();
    aside.settle().await;
    let provenance = Provenance { inputs: [("file".to_owned(), number.to_string())].into(), ..Provenance::default() };
    warehouse.publish(vec![CatalogChange { table: name, version, provenance }], &run).await.unwrap()
}

/// Replaces the rows of a raw table.
pub(super) async fn reload(warehouse: &Warehouse, table: &str, batch: RecordBatch) -> u64 {
    let (name, run) = (name(table), run("load"));
    let current = warehouse.table(&name).await.unwrap().unwrap();
    let aside = Aside::begin(warehouse.store(), &name, &run).await.unwrap();
    let mut writer = aside.writer(current.schema(), "");
    writer.write(&widen_batch(&batch, &current.schema()).unwrap()).await.unwrap();
    let commit =
        Commit { adds: writer.finish().await.unwrap(), removes: current.files().to_vec(), ..Commit::default() };
    let version = current.commit(&commit).await.unwrap();
    warehouse
        .publish(vec![CatalogChange { table: name, version, provenance: Provenance::default() }], &run)
        .await
        .unwrap()
}

pub(super) fn model(name: &str, text: &str) -> Model {
    let (schema, table) = name.split_once('.').unwrap();
    Model::parse(schema, table, &format!("models/{schema}/{table}.sql"), text).unwrap()
}

pub(super) async fn build(warehouse: &Warehouse, models: &[Model], checks: &[Check]) -> BuildReport {
    warehouse.build(models, checks, &run("build"), &BuildOptions::default(), &NoProgress).await.unwrap()
}

/// `table status` per model, in order.
pub(super) fn statuses(report: &BuildReport) -> String {
    let one = |model: &crate::ModelReport| {
        format!("{} {}", model.table, serde_json::to_value(model.status).unwrap().as_str().unwrap())
    };
    report.models.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The rows of a query, one per line, cells apart by a space.
pub(super) async fn rows(warehouse: &Warehouse, catalog: &Catalog, sql: &str) -> String {
    let result = warehouse.query(catalog, sql).await.unwrap();
    let mut lines = Vec::new();
    for batch in &result.batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayRef| arrow::util::display::array_value_to_string(column, row).unwrap();
            lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join(" "));
        }
    }
    lines.join("\n")
}

/// [`rows`] of the newest catalog.
pub(super) async fn newest(warehouse: &Warehouse, sql: &str) -> String {
    let catalog = warehouse.catalog().await.unwrap();
    rows(warehouse, &catalog, sql).await
}
