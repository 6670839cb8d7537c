//! Turns the keys that the log names into rows: as the run's snapshot has them, or gone.
//!
//! In: keys, a connection in the snapshot.  Out: one file of changes, in which each row is what the snapshot says of its key.
//! The log says which rows have changed, and the snapshot what they are now. So a chain of changes ends exactly at its snapshot by
//! construction: every value is read by the same expression as in a whole read, whatever the log leaves out of it (large values that were
//! not touched, generated columns), and a row that changed a hundred times is read once.
//! Never here: the log (`postgres_log_read`), values (`postgres_rows`).
//! Start at [`look_up`].

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use domain::{Dialect, Progress, quote_identifier};
use futures::TryStreamExt;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Error, Row};

use super::postgres_columns::PostgresColumn;
use super::postgres_log_read::Keys;
use super::postgres_reader::TableRead;
use super::postgres_rows::RowBatcher;
use crate::ConnectError;
use crate::changes::{mark_deleted, with_deleted};
use crate::dial::postgres::statement;
use crate::parts::Part;
use crate::table_writer::TableWriter;

/// Keys of one statement: enough that its way to the server and back is nothing beside its work.
const KEYS_AT_ONCE: usize = 5_000;

/// Reads the rows of `keys` into a file; `None` when there are no keys.
///
/// Errors: those of the connection, of the stage and of the temporary file with the keys.
pub(crate) async fn look_up(
    connection: &mut PgConnection,
    read: &TableRead,
    keys: &mut Keys<'_>,
    progress: &dyn Progress,
) -> Result<Option<Part>, ConnectError> {
    let problem = |error| read.address.problem(error, "reading changed rows", &read.shown);
    let select = Select::of(read, keys.key)?;
    let mut next =
        || keys.next(KEYS_AT_ONCE).map_err(|error| ConnectError::internal("read the keys of changes", error));
    let mut some = next()?;
    if some.is_empty() {
        return Ok(None);
    }
    let mut changes = Changes::new(read);
    let mut writer = TableWriter::begin(&read.stage, &read.request, changes.schema.clone());
    while !some.is_empty() {
        let mut query = sqlx::query(statement(select.text.clone()));
        for place in 0..select.key.len() {
            query = query.bind(some.iter().map(|key| key[place].clone()).collect::<Vec<_>>());
        }
        let mut rows = query.fetch(&mut *connection);
        while let Some(row) = rows.try_next().await.map_err(problem)? {
            progress.advance(1);
            for (batch, bytes) in changes.take(&select, &row)? {
                writer.write(batch, bytes).await?;
            }
        }
        drop(rows);
        some = next()?;
    }
    if let Some((batch, bytes)) = changes.rest()? {
        writer.write(batch, bytes).await?;
    }
    Ok(Some(Part { written: writer.finish().await?, rejects: changes.batcher.into_rejects() }))
}

/// The statement that says of each key what the snapshot has.
struct Select {
    text: String,
    /// Where the key's columns stand among the table's.
    key: Vec<usize>,
}

impl Select {
    /// Answers, per key: the key as it is staged, whether its row is there, and that row. The keys are arrays of text, `$1`, `$2`, …: the
    /// server reads them as it wrote them into the log.
    fn of(read: &TableRead, names: &[String]) -> Result<Self, ConnectError> {
        let columns = &read.table.columns;
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        let key: Option<Vec<usize>> = names.iter().map(place).collect();
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Err(ConnectError::TableChanged { table: read.shown.clone() });
        };
        let of_key = |to_sql: &dyn Fn(usize, &PostgresColumn) -> String| -> Vec<String> {
            key.iter().enumerate().map(|(at, place)| to_sql(at, &columns[*place])).collect()
        };
        let quoted = |column: &PostgresColumn| quote_identifier(Dialect::Standard, &column.name);
        let arrays = of_key(&|at, _| format!("${}::text[]", at + 1)).join(", ");
        let texts = of_key(&|at, _| format!("k{at}")).join(", ");
        let typed = of_key(&|at, column| format!("u.k{at}::{} AS {}", column.source_type, quoted(column))).join(", ");
        let same = of_key(&|_, column| format!("t.{0} = k.{0}", quoted(column))).join(" AND ");
        let keys = of_key(&|_, column| column.expression_of("k")).join(", ");
        let is_there = of_key(&|_, column| format!("t.{} IS NOT NULL", quoted(column))).swap_remove(0);
        let row: Vec<String> = columns.iter().map(|column| column.expression_of("t")).collect();
        let text = format!(
            "SELECT {keys}, {is_there}, {} FROM unnest({arrays}) AS u({texts}) CROSS JOIN LATERAL (SELECT {typed}) AS k \
             LEFT JOIN {} AS t ON {same}",
            row.join(", "),
            read.name
        );
        Ok(Self { text, key })
    }
}

/// Batches of changes.
struct Changes {
    batcher: RowBatcher,
    /// For each row in the batch being filled, whether it is gone.
    deleted: Vec<bool>,
    schema: SchemaRef,
    width: usize,
}

/// A batch and its bytes.
type Batch = (RecordBatch, usize);

impl Changes {
    fn new(read: &TableRead) -> Self {
        let batcher = RowBatcher::new(&read.shown, read.table.columns.clone(), read.request.invalid_dates);
        let schema = with_deleted(&batcher.schema());
        Self { batcher, deleted: Vec::new(), schema, width: read.table.columns.len() }
    }

    /// Adds what the snapshot says of one key; answers batches that are full.
    fn take(&mut self, select: &Select, row: &PgRow) -> Result<Vec<Batch>, ConnectError> {
        let fault = |error: Error| ConnectError::internal("read changed rows", error);
        let mut cells = Vec::with_capacity(row.len());
        for place in 0..row.len() {
            let cell = row.try_get_raw(place).map_err(fault)?;
            let bytes = if sqlx::ValueRef::is_null(&cell) { None } else { Some(cell.as_bytes()) };
            cells.push(bytes.transpose().map_err(|error| ConnectError::internal("read changed rows", error))?);
        }
        let (key, rest) = cells.split_at(select.key.len());
        let Some((is_there, found)) = rest.split_first() else { return Ok(Vec::new()) };
        let is_there = *is_there == Some(&[1]);
        let mut full = Vec::new();
        // Equal by the server's rules is not always the same: 1.0 and 1.00 are one key, and the table was told of either.
        if !is_there || select.key.iter().zip(key).any(|(place, cell)| found[*place] != *cell) {
            let mut gone = vec![None; self.width];
            for (place, cell) in select.key.iter().zip(key) {
                gone[*place] = *cell;
            }
            full.extend(self.push(&gone, true)?);
        }
        if is_there {
            full.extend(self.push(found, false)?);
        }
        Ok(full)
    }

    fn push(&mut self, cells: &[Option<&[u8]>], is_deleted: bool) -> Result<Option<Batch>, ConnectError> {
        self.deleted.push(is_deleted);
        let full = self.batcher.push(cells)?;
        self.marked(full)
    }

    fn rest(&mut self) -> Result<Option<Batch>, ConnectError> {
        let rest = self.batcher.take_batch()?;
        self.marked(rest)
    }

    fn marked(&mut self, batch: Option<Batch>) -> Result<Option<Batch>, ConnectError> {
        let Some((batch, bytes)) = batch else { return Ok(None) };
        Ok(Some((mark_deleted(&batch, &self.schema, std::mem::take(&mut self.deleted))?, bytes)))
    }
}
