//! Incremental models: only the intervals whose input changed are made again, whole.
//!
//! In: a model whose inputs are cut by `$from` and `$to`, what filled its intervals last time.  Out: the next version.
//! Never here: which columns cut the inputs (`model::slice`).
//! Start at [`make_incremental`].
//!
//! Each interval has a fingerprint of its input rows: count, xor and sum of their hashes, independent of order. Late, changed
//! and deleted rows all change it. A change of an input that is not cut, of the SQL or of the engine opens every interval.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use datafusion::dataframe::DataFrame;
use domain::{Dialect, Progress, Provenance, TableName, quote_identifier};

use crate::catalog::{CatalogEntry, CatalogInterval, TableKind, catalog_columns};
use crate::engine::Scope;
use crate::error::{Result, WarehouseError};
use crate::model::{Interval, Materialization, Model};
use crate::sql_error::engine_error;
use crate::table::{DataFile, Table};
use crate::widen::table_schema;
use crate::write::Aside;
use crate::{RunContext, Warehouse};

use super::fill::{Fill, batches};
use super::made::{Made, NextVersion, next_version};
use super::report::IntervalReport;

/// Most intervals of one model: 20 years of hours. A smaller interval than meant would otherwise make millions of files.
const MAX_INTERVALS: usize = 200_000;

/// What is to be done.
struct Work {
    /// Interval → fingerprint of its input, as it is now.
    wanted: BTreeMap<DateTime<Utc>, String>,
    /// Of these, the ones to make.
    open: Vec<DateTime<Utc>>,
    /// Filled intervals that stay.
    kept: BTreeMap<DateTime<Utc>, CatalogInterval>,
    emptied: usize,
}

/// Makes the next version, or `None` when no interval changed.
pub(super) async fn make_incremental(
    warehouse: &Warehouse,
    model: &Model,
    scope: &Scope,
    previous: Option<&CatalogEntry>,
    provenance: Provenance,
    run: &RunContext,
    progress: &dyn Progress,
) -> Result<Option<Made>> {
    let Materialization::Incremental { time, interval, batch, .. } = &model.materialization else {
        return Err(WarehouseError::internal("a model that is not incremental was made as one"));
    };
    let session = warehouse.engine.session(scope)?;
    let plan = warehouse.engine.plan(&session, &model.sql, &model.path).await?;
    let schema = table_schema(plan.schema().as_arrow())?;
    let time_index = time_column(model, &schema, time)?;
    let wanted = fingerprints(warehouse, model, scope).await?;
    let current = warehouse.table(&model.table).await?;
    let reusable = previous.filter(|entry| is_reusable(entry, current.as_ref(), model, &schema, &provenance));
    let work = work(wanted, reusable);
    let report = IntervalReport { filled: work.open.len(), emptied: work.emptied, kept: work.kept.len() };
    if reusable.is_some() && work.open.is_empty() && work.emptied == 0 {
        return Ok(None);
    }
    let aside = Aside::begin(&warehouse.store, &model.table, run).await?;
    let mut adds = Vec::new();
    let mut intervals = work.kept.clone();
    let fill =
        Fill { model, session: &session, plan: &plan, aside: &aside, schema: &schema, time: time_index, progress };
    for batch in batches(&work.open, *interval, *batch) {
        for (start, files) in fill.fill(&batch).await? {
            let filled = CatalogInterval {
                fingerprint: work.wanted.get(&start).cloned().unwrap_or_default(),
                rows: files.iter().map(|file| file.rows).sum(),
                files: files.iter().map(|file| file.path.clone()).collect(),
            };
            intervals.insert(start, filled);
            adds.extend(files);
        }
    }
    let stays: BTreeSet<&String> = work.kept.values().flat_map(|interval| &interval.files).collect();
    let kept: Vec<DataFile> =
        current.iter().flat_map(Table::files).filter(|file| stays.contains(&file.path)).cloned().collect();
    let next = NextVersion { schema, adds, kept, intervals };
    let mut made = next_version(warehouse, &model.table, TableKind::Incremental, next, provenance, run).await?;
    made.entry.sql = Some(model.sql.clone());
    made.aside = Some(aside);
    made.intervals = Some(report);
    Ok(Some(made))
}

fn time_column(model: &Model, schema: &SchemaRef, time: &str) -> Result<usize> {
    schema.index_of(time).map_err(|_| WarehouseError::Model {
        message: format!("the result has no column `{time}`, which `time` names"),
        at: model.path.clone(),
        help: crate::catalog::nearest(time, schema.fields().iter().map(|field| field.name().clone()))
            .map(|name| format!("did you mean `{name}`?")),
    })
}

/// Whether the filled intervals may stay: same SQL, same columns, same other inputs, and the files are all still there.
fn is_reusable(
    entry: &CatalogEntry,
    current: Option<&Table>,
    model: &Model,
    schema: &SchemaRef,
    provenance: &Provenance,
) -> bool {
    let Materialization::Incremental { sliced, .. } = &model.materialization else { return false };
    let before = &entry.provenance;
    let same_code = before.code_hash == provenance.code_hash
        && before.config_hash == provenance.config_hash
        && before.engine == provenance.engine
        && before.format_version == provenance.format_version;
    let is_sliced = |name: &String| name.parse::<TableName>().is_ok_and(|name| sliced.contains_key(&name));
    let same_whole_inputs = provenance
        .inputs
        .iter()
        .filter(|(name, _)| !is_sliced(name))
        .all(|(name, version)| before.inputs.get(name) == Some(version));
    let files: BTreeSet<&str> =
        entry.intervals.values().flat_map(|interval| &interval.files).map(String::as_str).collect();
    let same_files = current.is_some_and(|table| {
        let present: BTreeSet<&str> = table.files().iter().map(|file| file.path.as_str()).collect();
        present == files && entry.id.as_deref() == Some(table.id())
    });
    entry.kind == TableKind::Incremental
        && same_code
        && same_whole_inputs
        && same_files
        && entry.columns == catalog_columns(schema)
}

fn work(wanted: BTreeMap<DateTime<Utc>, String>, reusable: Option<&CatalogEntry>) -> Work {
    let filled = reusable.map(|entry| entry.intervals.clone()).unwrap_or_default();
    let is_open = |(start, fingerprint): &(&DateTime<Utc>, &String)| {
        filled.get(*start).is_none_or(|interval| interval.fingerprint != **fingerprint)
    };
    let open: Vec<_> = wanted.iter().filter(is_open).map(|(start, _)| *start).collect();
    let emptied = filled.keys().filter(|start| !wanted.contains_key(start)).count();
    let kept = filled.into_iter().filter(|(start, _)| wanted.contains_key(start) && !open.contains(start)).collect();
    Work { wanted, open, kept, emptied }
}

/// Interval → fingerprint of the input rows in it, over all inputs that are cut.
async fn fingerprints(warehouse: &Warehouse, model: &Model, scope: &Scope) -> Result<BTreeMap<DateTime<Utc>, String>> {
    let Materialization::Incremental { interval, start, sliced, .. } = &model.materialization else {
        return Ok(BTreeMap::new());
    };
    let mut parts: BTreeMap<DateTime<Utc>, Vec<String>> = BTreeMap::new();
    for (table, column) in sliced {
        let Some(provider) = scope.get(table) else { continue };
        let sql = fingerprint_sql(table, column, &provider.schema(), *interval);
        let session = warehouse.engine.session(scope)?;
        let plan = warehouse.engine.plan(&session, &sql, &model.path).await?;
        let batches =
            DataFrame::new(session.state(), plan).collect().await.map_err(|error| engine_error(error, &model.path))?;
        for batch in &batches {
            for (at, text) in read_fingerprints(batch)? {
                if start.is_none_or(|start| at >= start) {
                    parts.entry(at).or_default().push(format!("{table}:{text}"));
                }
            }
        }
    }
    if parts.len() > MAX_INTERVALS {
        return Err(WarehouseError::Model {
            message: format!("the input spans {} intervals, and {MAX_INTERVALS} are the most", parts.len()),
            at: model.path.clone(),
            help: Some("choose a longer `interval`, or a later `start`".into()),
        });
    }
    Ok(parts.into_iter().map(|(at, parts)| (at, domain::hash_bytes(parts.join("\n").as_bytes()))).collect())
}

/// Identifiers are quoted; the only other variable parts are numbers of our own.
fn fingerprint_sql(table: &TableName, column: &str, schema: &SchemaRef, interval: Interval) -> String {
    let quote = |name: &str| quote_identifier(Dialect::Standard, name);
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .filter(|field| !matches!(field.data_type(), DataType::Map(..)))
        .map(|field| quote(field.name()))
        .collect();
    let (stride, origin) = match interval {
        Interval::Hours(count) => (format!("{count} hours"), "1970-01-05T00:00:00"),
        Interval::Days(count) => (format!("{count} days"), "1970-01-05T00:00:00"),
        Interval::Months(count) => (format!("{count} months"), "1970-01-01T00:00:00"),
    };
    format!(
        "select date_bin(interval '{stride}', at, arrow_cast('{origin}', 'Timestamp(Microsecond, None)')) as start, \
         count(*) as row_count, bit_xor(hash) as hash_xor, sum(hash / 4294967296) as hash_sum \
         from (select arrow_cast({at}, 'Timestamp(Microsecond, None)') as at, row_hash({columns}) as hash from {schema}.{table}) \
         where at is not null group by 1",
        at = quote(column),
        columns = columns.join(", "),
        schema = quote(table.schema()),
        table = quote(table.name()),
    )
}

fn read_fingerprints(batch: &RecordBatch) -> Result<Vec<(DateTime<Utc>, String)>> {
    let odd = || WarehouseError::internal("the fingerprints of intervals have an unexpected form");
    let starts = cast(batch.column(0), &DataType::Timestamp(TimeUnit::Microsecond, None)).map_err(|_| odd())?;
    let starts = starts.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(odd)?;
    let numbers = (1..4)
        .map(|index| batch.column(index).as_primitive_opt::<Int64Type>().ok_or_else(odd))
        .collect::<Result<Vec<_>>>()?;
    let row = |index: usize| {
        let at = DateTime::from_timestamp_micros(starts.value(index)).ok_or_else(odd)?;
        let text: Vec<String> = numbers.iter().map(|column| column.value(index).to_string()).collect();
        Ok((at, text.join("/")))
    };
    (0..batch.num_rows()).map(row).collect()
}
