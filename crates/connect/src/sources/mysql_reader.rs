//! One connection of a snapshot at work on one table.
//!
//! In: a range of the primary key, or a `SELECT` instead of it.  Out: a finished file; count and checksums of a range.
//! Never here: the snapshot (`mysql_snapshot`), who reads which range (`parts`).
//! Start at [`MySqlReader`].

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Dialect, quote_identifier};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Value};

use super::mysql_columns::MySqlTable;
use super::mysql_proof::{read_proof, select_proof};
use super::mysql_query::{self, have_changed, with_all_digits};
use super::mysql_rows::RowBatcher;
use crate::dial::mysql::MySqlAddress;
use crate::key_range::KeyRange;
use crate::parts::{Part, PartProof, PartReader, RowCount};
use crate::table_writer::TableWriter;
use crate::{ConnectError, ExtractRequest, Stage};

/// What the readers of one table share.
pub(crate) struct TableRead {
    pub(crate) address: MySqlAddress,
    pub(crate) stage: Stage,
    pub(crate) request: ExtractRequest,
    /// Quoted, for SQL.
    pub(crate) name: String,
    /// As people write it.
    pub(crate) shown: String,
    pub(crate) table: Arc<MySqlTable>,
    /// Which rows are new, and the column they are read along; all rows along the primary key without it.
    pub(crate) new: Option<NewRows>,
}

/// Rows after a cursor.
pub(crate) struct NewRows {
    /// ` WHERE …`, or empty.
    pub(crate) condition: String,
    /// Quoted.
    pub(crate) column: String,
}

/// One connection at work on one table.
pub(crate) struct MySqlReader {
    pub(crate) connection: Conn,
    pub(crate) shared: Arc<TableRead>,
}

#[async_trait]
impl PartReader for MySqlReader {
    /// All connections of the driver take the buffer of each packet from one pool, and four that did so on two threads spent 0.15 of
    /// 2.36 seconds on waiting for its counters. By the profile one thread could take two million rows a second, more than four connections bring.
    const TOGETHER: usize = 4;

    async fn read(&mut self, range: &KeyRange, rows: &RowCount<'_>) -> Result<Part, ConnectError> {
        let TableRead { stage, request, shown, table, .. } = self.shared.as_ref();
        let problem = |error| self.shared.problem(error, "reading rows");
        let mut batcher = RowBatcher::new(shown, table.columns.clone(), request.invalid_dates);
        let select = self.shared.select(range);
        let mut result = self.connection.exec_iter(select, ()).await.map_err(problem)?;
        if table.query.is_some() && have_changed(result.columns_ref(), table, request.invalid_dates) {
            return Err(ConnectError::TableChanged { table: shown.clone() });
        }
        let mut writer = TableWriter::begin(stage, request, batcher.schema());
        while let Some(row) = result.next().await.map_err(problem)? {
            rows.add();
            let batch = if table.query.is_some() {
                let mut values = row.unwrap();
                with_all_digits(&mut values, &table.columns)?;
                batcher.push(values.iter())?
            } else {
                let batch = batcher.push((0..row.len()).map(|at| row.as_ref(at).unwrap_or(&Value::NULL)))?;
                // It may be 64 MB, and waits for the writer otherwise.
                drop(row);
                batch
            };
            if let Some((batch, bytes)) = batch {
                writer.write(batch, bytes).await?;
            }
        }
        if let Some((batch, bytes)) = batcher.take_batch()? {
            writer.write(batch, bytes).await?;
        }
        Ok(Part { written: writer.finish().await?, rejects: batcher.into_rejects() })
    }

    async fn prove(&mut self, range: &KeyRange) -> Result<PartProof, ConnectError> {
        let TableRead { table, name, .. } = self.shared.as_ref();
        let statement = format!("{}{}", select_proof(name, &table.columns), self.shared.condition(range));
        let found = self.connection.query_first(statement).await;
        let row = found.map_err(|error| self.shared.problem(error, "adding up its columns"))?;
        let proof = row.and_then(|row| read_proof(row, &table.columns));
        proof.ok_or_else(|| ConnectError::internal("read a proof", "an unexpected row"))
    }

    async fn count(&mut self) -> Result<u64, ConnectError> {
        let TableRead { address, shown, name, .. } = self.shared.as_ref();
        let found: Result<Option<u64>, _> = self.connection.query_first(format!("SELECT COUNT(*) FROM {name}")).await;
        Ok(found.map_err(|error| address.problem(error, "counting rows", shown))?.unwrap_or(0))
    }
}

impl TableRead {
    fn problem(&self, error: Error, action: &str) -> ConnectError {
        match &self.table.query {
            Some(query) => mysql_query::problem(&self.address, error, query),
            None => self.address.problem(error, action, &self.shown),
        }
    }

    /// `SELECT` of every column by name, in the order of the primary key. Names are quoted; values stand only in the range. A query is
    /// sent as it was written, for its order.
    fn select(&self, range: &KeyRange) -> String {
        if let Some(query) = &self.table.query {
            return query.text.clone();
        }
        let quote = |name: &String| quote_identifier(Dialect::MySql, name);
        let columns: Vec<String> = self.table.columns.iter().map(|column| quote(&column.name)).collect();
        let key: Vec<String> = self.table.primary_key.iter().map(quote).collect();
        if let Some(NewRows { condition, column }) = &self.new {
            let (columns, key, name) = (columns.join(", "), key.join(", "), &self.name);
            return format!("SELECT {columns} FROM {name}{condition} ORDER BY {column}, {key}");
        }
        // The ranges are cut along this index; another one would read the whole table for each.
        let index = if range == &KeyRange::default() { "" } else { " FORCE INDEX (PRIMARY)" };
        let mut select = format!("SELECT {} FROM {}{index}{}", columns.join(", "), self.name, self.condition(range));
        if !key.is_empty() {
            select.push_str(" ORDER BY ");
            select.push_str(&key.join(", "));
        }
        select
    }

    fn condition(&self, range: &KeyRange) -> String {
        let key: Vec<String> =
            self.table.primary_key.iter().map(|column| quote_identifier(Dialect::MySql, column)).collect();
        range.condition(&key)
    }
}
