//! Applies changes to a table: the newest change of each key replaces the row of that key, or takes it away.
//!
//! In: the changes as they were loaded aside, in order; the files of the table.  Out: files that come and files that go, for one commit.
//! Copy on write: a file with a changed row is written anew without it, one without stays as it is. Small files are taken along, so
//! that frequent runs do not leave a file each.
//! Memory: the distinct keys of the changes, and a bit for each change; rows stream.
//! Never here: reading what is staged (`load`), the commit (`copy`).
//! Start at [`merge`].

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, BooleanBufferBuilder, Int64Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::catalog::MemTable;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use domain::{ChangeRules, DELETED_COLUMN, Dialect, TableName, quote_identifier};
use futures::StreamExt;

use super::error::CopyError;
use super::parquet::source_name;
use crate::engine::{Engine, Scope};
use crate::error::{Result, WarehouseError};
use crate::sql_error::engine_error;
use crate::table::DataFile;
use crate::widen::widen_batch;
use crate::write::{Aside, AsideWriter};

/// Column of changes written aside: their order, from 0.
const ROW_COLUMN: &str = "_montauk_row";
/// The row number that stands for what the table holds.
const HELD: i64 = -1;
/// Below this many bytes a file of the table is small; so many small ones are written together.
const SMALL_FILE_BYTES: u64 = 8 << 20;
pub(crate) const SMALL_FILES: usize = 8;

/// What the next version of the table changes.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) adds: Vec<DataFile>,
    pub(crate) removes: Vec<DataFile>,
    /// Rows of the table that were replaced or taken away.
    pub(crate) rows_replaced: u64,
}

/// The schema under which changes are written aside.
pub(crate) fn change_schema(schema: &SchemaRef, rules: &ChangeRules) -> SchemaRef {
    // A change that takes a row away has nothing but the key.
    let columns = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let deleted = has_own_mark(rules).then(|| Field::new(DELETED_COLUMN, DataType::Boolean, true));
    let row = Field::new(ROW_COLUMN, DataType::Int64, false);
    Arc::new(Schema::new(columns.chain(deleted).chain([row]).collect::<Vec<_>>()))
}

/// The schema under which staged Parquet files of changes are read: that of [`change_schema`] without its row numbers.
pub(crate) fn read_schema(schema: &SchemaRef, rules: &ChangeRules) -> SchemaRef {
    let written = change_schema(schema, rules);
    let fields: Vec<Arc<Field>> = written.fields().iter().take(written.fields().len() - 1).cloned().collect();
    Arc::new(Schema::new(fields))
}

/// Whether the mark of a deletion is a column beside those of the table.
fn has_own_mark(rules: &ChangeRules) -> bool {
    rules.deleted.as_deref() == Some(DELETED_COLUMN)
}

/// Adds its row numbers to a batch of changes, whose first is `first`.
pub(crate) fn numbered(batch: &RecordBatch, first: u64, schema: &SchemaRef) -> Result<RecordBatch> {
    let first = i64::try_from(first).map_err(|error| WarehouseError::internal(error.to_string()))?;
    let rows = Int64Array::from_iter_values(first..first + batch.num_rows() as i64);
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(rows));
    RecordBatch::try_new(schema.clone(), columns).map_err(|error| WarehouseError::internal(error.to_string()))
}

/// What is merged into what.
pub(crate) struct Merge<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) table: &'a TableName,
    pub(crate) schema: &'a SchemaRef,
    pub(crate) rules: &'a ChangeRules,
    /// Written aside under [`change_schema`], in order.
    pub(crate) changes: &'a [DataFile],
    /// Files of the table.
    pub(crate) held: &'a [DataFile],
}

impl Merge<'_> {
    /// Writes the rows of the next version aside.
    ///
    /// Errors: a change without a key; the store's and the engine's own.
    pub(crate) async fn run(&self, aside: &Aside) -> Result<Merged> {
        if self.changes.is_empty() {
            return Ok(Merged::default());
        }
        let changes = change_schema(self.schema, self.rules);
        let session = self.engine.session(&Scope::new())?;
        self.register(&session, "changes", self.changes, &changes)?;
        self.register(&session, "held", self.held, self.schema)?;
        let keys = self.keys()?;
        self.refuse_missing_keys(&session, &keys).await?;
        let (winners, newest) = self.winners(&session, &keys).await?;
        let provider = MemTable::try_new(winners[0].schema(), vec![winners]).map_err(failed)?;
        session.register_table("winners", Arc::new(provider)).map_err(failed)?;
        let mut writer = aside.writer(self.schema.clone(), "m");
        let mut merged = Merged::default();
        let small = self.held.iter().filter(|file| file.bytes < SMALL_FILE_BYTES).count();
        for file in self.held {
            session.deregister_table("old").map_err(failed)?;
            self.register(&session, "old", std::slice::from_ref(file), self.schema)?;
            let on = joined("old", "winners", &keys);
            let count = format!("SELECT count(*) FROM old LEFT SEMI JOIN winners ON {on}");
            let changed = count_of(session.sql(&count).await.map_err(failed)?).await?;
            if changed == 0 && !(file.bytes < SMALL_FILE_BYTES && small >= SMALL_FILES) {
                continue;
            }
            let columns = self.columns("old");
            let rest = format!("SELECT {columns} FROM old LEFT ANTI JOIN winners ON {on}");
            write_all(session.sql(&rest).await.map_err(failed)?, &mut writer, self.schema).await?;
            merged.rows_replaced += changed;
            merged.removes.push(file.clone());
        }
        self.write_newest(&newest, &mut writer).await?;
        merged.adds = writer.finish().await?;
        Ok(merged)
    }

    fn register(&self, session: &SessionContext, name: &str, files: &[DataFile], schema: &SchemaRef) -> Result<()> {
        let provider = self.engine.files(self.table, files, schema.clone())?;
        session.register_table(name, provider).map(drop).map_err(failed)
    }

    /// The columns of the key as the table names them, quoted.
    fn keys(&self) -> Result<Vec<String>> {
        self.rules.key.iter().map(|name| self.quoted(name)).collect()
    }

    /// A column by its name in the files, as the table names it, quoted.
    fn quoted(&self, name: &str) -> Result<String> {
        let field = self.schema.fields().iter().find(|field| source_name(field) == name);
        let missing = || CopyError::NoKeyColumn { table: self.table.to_string(), column: name.to_owned() };
        Ok(quote_identifier(Dialect::Standard, field.ok_or_else(missing)?.name()))
    }

    fn columns(&self, of: &str) -> String {
        let quoted = |field: &Arc<Field>| format!("{of}.{}", quote_identifier(Dialect::Standard, field.name()));
        self.schema.fields().iter().map(quoted).collect::<Vec<_>>().join(", ")
    }

    async fn refuse_missing_keys(&self, session: &SessionContext, keys: &[String]) -> Result<()> {
        let missing = keys.iter().map(|key| format!("{key} IS NULL")).collect::<Vec<_>>().join(" OR ");
        let count = format!("SELECT count(*) FROM changes WHERE {missing}");
        match count_of(session.sql(&count).await.map_err(failed)?).await? {
            0 => Ok(()),
            rows => {
                Err(CopyError::NullKey { table: self.table.to_string(), key: self.rules.key.join(", "), rows }.into())
            }
        }
    }

    /// The keys whose newest version is a change, and a bit for each change that is such a version.
    async fn winners(&self, session: &SessionContext, keys: &[String]) -> Result<(Vec<RecordBatch>, BooleanBuffer)> {
        let keys_text = keys.join(", ");
        let newest = match &self.rules.version {
            None => format!("SELECT {keys_text}, max({ROW_COLUMN}) AS {ROW_COLUMN} FROM changes GROUP BY {keys_text}"),
            Some(version) => {
                let version = self.quoted(version)?;
                let touched = joined("held", "touched", keys);
                let of_held = keys.iter().map(|key| format!("held.{key}")).collect::<Vec<_>>().join(", ");
                format!(
                    "SELECT {keys_text}, first_value({ROW_COLUMN} ORDER BY {version} DESC NULLS LAST, {ROW_COLUMN} DESC) AS {ROW_COLUMN} \
                     FROM (SELECT {keys_text}, {version}, {ROW_COLUMN} FROM changes UNION ALL \
                     SELECT {of_held}, held.{version}, CAST({HELD} AS BIGINT) FROM held LEFT SEMI JOIN \
                     (SELECT DISTINCT {keys_text} FROM changes) AS touched ON {touched}) GROUP BY {keys_text}"
                )
            }
        };
        let rows: u64 = self.changes.iter().map(|file| file.rows).sum();
        let mut bits = BooleanBufferBuilder::new(0);
        bits.append_n(usize::try_from(rows).unwrap_or_default(), false);
        let frame = session.sql(&newest).await.map_err(failed)?;
        let plain = Arc::new(frame.schema().as_arrow().clone());
        let mut winners = vec![RecordBatch::new_empty(plain)];
        let mut stream = frame.execute_stream().await.map_err(failed)?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(failed)?;
            let numbers = batch.column(keys.len()).as_primitive::<Int64Type>();
            for number in numbers.values().iter().filter(|number| **number != HELD) {
                bits.set_bit(usize::try_from(*number).unwrap_or_default(), true);
            }
            let are_changes: BooleanArray = numbers.values().iter().map(|number| Some(*number != HELD)).collect();
            winners.push(filter_record_batch(&batch, &are_changes).map_err(|error| failed(error.into()))?);
        }
        Ok((winners, bits.finish()))
    }

    /// Writes the newest version of each row that is not taken away.
    async fn write_newest(&self, newest: &BooleanBuffer, writer: &mut AsideWriter) -> Result<()> {
        let mark = match &self.rules.deleted {
            Some(_) if has_own_mark(self.rules) => Some(self.schema.fields().len()),
            Some(column) => {
                let place = self.schema.fields().iter().position(|field| source_name(field) == column);
                let missing = || CopyError::NoKeyColumn { table: self.table.to_string(), column: column.clone() };
                Some(place.ok_or_else(missing)?)
            }
            None => None,
        };
        // File by file: a plan over several would be free to mix their rows.
        for file in self.changes {
            let session = self.engine.session(&Scope::new())?;
            self.register(&session, "changes", std::slice::from_ref(file), &change_schema(self.schema, self.rules))?;
            let frame = session.table("changes").await.map_err(failed)?;
            let mut stream = frame.execute_stream().await.map_err(failed)?;
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(failed)?;
                let numbers = batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>();
                let kept: BooleanArray = (0..batch.num_rows())
                    .map(|at| {
                        let number = usize::try_from(numbers.value(at)).unwrap_or_default();
                        Some(newest.value(number) && !mark.is_some_and(|mark| is_set(batch.column(mark), at)))
                    })
                    .collect();
                let kept = filter_record_batch(&batch, &kept).map_err(|error| failed(error.into()))?;
                let columns: Vec<usize> = (0..self.schema.fields().len()).collect();
                let kept = kept.project(&columns).map_err(|error| failed(error.into()))?;
                writer.write(&widen_batch(&kept, self.schema)?).await?;
            }
        }
        Ok(())
    }
}

/// Whether the mark of a deletion is set: neither null nor false.
fn is_set(column: &dyn Array, at: usize) -> bool {
    column.is_valid(at) && column.as_boolean_opt().is_none_or(|flags| flags.value(at))
}

/// The condition that two tables agree in all columns of the key.
fn joined(one: &str, other: &str, keys: &[String]) -> String {
    keys.iter().map(|key| format!("{one}.{key} = {other}.{key}")).collect::<Vec<_>>().join(" AND ")
}

async fn count_of(frame: DataFrame) -> Result<u64> {
    let batches = frame.collect().await.map_err(failed)?;
    let count = batches.first().filter(|batch| batch.num_rows() > 0);
    let count = count.and_then(|batch| batch.column(0).as_primitive_opt::<Int64Type>().map(|count| count.value(0)));
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default())
}

async fn write_all(frame: DataFrame, writer: &mut AsideWriter, schema: &SchemaRef) -> Result<()> {
    let mut stream = frame.execute_stream().await.map_err(failed)?;
    while let Some(batch) = stream.next().await {
        writer.write(&widen_batch(&batch.map_err(failed)?, schema)?).await?;
    }
    Ok(())
}

fn failed(error: datafusion::error::DataFusionError) -> WarehouseError {
    engine_error(error, "")
}
