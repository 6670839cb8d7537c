//! One model made: its files written aside, or its view planned.
//!
//! In: a model and the tables it reads.  Out: [`Made`]: readable, not visible to anybody else.
//! Never here: checks, the switch.
//! Start at [`make_table`].

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::dataframe::DataFrame;
use domain::{Progress, Provenance, TableName};
use futures::StreamExt;

use crate::builds::PlannedCommit;
use crate::catalog::{CatalogEntry, CatalogInterval, Pin, TableKind, catalog_columns};
use crate::engine::{Engine, Scope};
use crate::error::Result;
use crate::model::Model;
use crate::sql_error::engine_error;
use crate::table::{DataFile, Table, TableIdentity, delta_schema, table_path};
use crate::widen::{table_schema, widen_batch};
use crate::write::{Aside, AsideWriter};
use crate::{RunContext, Warehouse};

use super::report::IntervalReport;

/// A table's next version, readable before it is visible.
pub(super) struct Made {
    pub entry: CatalogEntry,
    pub commit: Option<PlannedCommit>,
    pub provider: Arc<dyn TableProvider>,
    pub aside: Option<Aside>,
    pub intervals: Option<IntervalReport>,
}

/// What a table is to hold after a commit.
pub(super) struct NextVersion {
    pub schema: SchemaRef,
    pub adds: Vec<DataFile>,
    /// Files of the current version that stay.
    pub kept: Vec<DataFile>,
    pub intervals: BTreeMap<DateTime<Utc>, CatalogInterval>,
}

/// Runs the SQL of a model and writes all of its rows aside.
pub(super) async fn make_table(
    warehouse: &Warehouse,
    model: &Model,
    scope: &Scope,
    provenance: Provenance,
    run: &RunContext,
    progress: &dyn Progress,
) -> Result<Made> {
    let session = warehouse.engine.session(scope)?;
    let plan = warehouse.engine.plan(&session, &model.sql, &model.path).await?;
    let frame = DataFrame::new(session.state(), plan);
    let schema = table_schema(frame.schema().as_arrow())?;
    let aside = Aside::begin(&warehouse.store, &model.table, run).await?;
    let mut writer = aside.writer(Arc::clone(&schema), "");
    write_rows(frame, &mut writer, &schema, &model.path, progress).await?;
    let adds = writer.finish().await?;
    let next = NextVersion { schema, adds, kept: Vec::new(), intervals: BTreeMap::new() };
    let mut made = next_version(warehouse, &model.table, TableKind::Table, next, provenance, run).await?;
    made.entry.sql = Some(model.sql.clone());
    made.aside = Some(aside);
    Ok(made)
}

/// Plans a view; its rows are computed whenever it is read.
pub(super) async fn make_view(
    engine: &Engine,
    model: &Model,
    scope: &Scope,
    pins: BTreeMap<TableName, Pin>,
    provenance: Provenance,
    run: &RunContext,
) -> Result<Made> {
    let provider = engine.view(scope, &model.sql, &model.path).await?;
    let entry = CatalogEntry {
        kind: TableKind::View,
        id: None,
        version: None,
        path: None,
        sql: Some(model.sql.clone()),
        pins,
        rows: None,
        bytes: None,
        columns: catalog_columns(&provider.schema()),
        changed_in: 0,
        changed_at: run.now,
        provenance,
        intervals: BTreeMap::new(),
        checked: String::new(),
    };
    Ok(Made { entry, commit: None, provider, aside: None, intervals: None })
}

/// Streams the rows of a plan into a writer.
async fn write_rows(
    frame: DataFrame,
    writer: &mut AsideWriter,
    schema: &SchemaRef,
    at: &str,
    progress: &dyn Progress,
) -> Result<()> {
    let mut stream = frame.execute_stream().await.map_err(|error| engine_error(error, at))?;
    while let Some(batch) = stream.next().await {
        let batch = widen_batch(&batch.map_err(|error| engine_error(error, at))?, schema)?;
        writer.write(&batch).await?;
        progress.advance(batch.num_rows() as u64);
    }
    Ok(())
}

/// The commit and the catalog entry of a table's next version.
pub(super) async fn next_version(
    warehouse: &Warehouse,
    name: &TableName,
    kind: TableKind,
    next: NextVersion,
    provenance: Provenance,
    run: &RunContext,
) -> Result<Made> {
    let current = warehouse.table(name).await?;
    let fresh = TableIdentity { id: uuid::Uuid::new_v4().to_string(), created_ms: run.now.timestamp_millis() };
    let id = current.as_ref().map_or_else(|| fresh.id.clone(), |table| table.id().to_owned());
    let base = current.as_ref().map(Table::version);
    let stays = |file: &DataFile| next.kept.iter().any(|kept| kept.path == file.path);
    let removes = current.iter().flat_map(Table::files).filter(|file| !stays(file)).cloned().collect();
    let files: Vec<DataFile> = next.kept.iter().chain(&next.adds).cloned().collect();
    let provider = warehouse.engine.files(name, &files, Arc::clone(&next.schema))?;
    let entry = CatalogEntry {
        kind,
        id: Some(id),
        version: Some(base.map_or(0, |base| base + 1)),
        path: Some(table_path(name).to_string()),
        sql: None,
        pins: BTreeMap::new(),
        rows: Some(files.iter().map(|file| file.rows).sum()),
        bytes: Some(files.iter().map(|file| file.bytes).sum()),
        columns: catalog_columns(&next.schema),
        changed_in: 0,
        changed_at: run.now,
        provenance,
        intervals: next.intervals,
        checked: String::new(),
    };
    let commit = PlannedCommit {
        table: name.clone(),
        identity: fresh,
        base,
        schema: delta_schema(&next.schema)?,
        adds: next.adds,
        removes,
    };
    Ok(Made { entry, commit: Some(commit), provider, aside: None, intervals: None })
}
