//! One connection in a PostgreSQL snapshot, reading rows of one table into a file, or adding up its columns.
//!
//! In: a table, a range of its key or a selection of its rows.  Out: a finished part, or its proof.
//! Rows stream over binary COPY; each connection holds a few megabytes of them (plus the largest row a few times).
//! Never here: which parts there are (`parts`, `postgres_ranges`), values (`postgres_rows`).
//! Start at [`PostgresReader`].

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Dialect, quote_identifier};
use futures::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{Error, Executor, Row};

use super::copy_binary::CopyReader;
use super::postgres_columns::PostgresTable;
use super::postgres_proof::{COLUMNS_AT_ONCE, read_proof, select_proof};
use super::postgres_query;
use super::postgres_rows::RowBatcher;
use crate::dial::postgres::{PostgresAddress, statement};
use crate::key_range::KeyRange;
use crate::parts::{Part, PartProof, PartReader, RowCount};
use crate::table_writer::TableWriter;
use crate::{ConnectError, ExtractRequest, Stage};

/// What the readers of one table share.
pub(crate) struct TableRead {
    pub(crate) address: PostgresAddress,
    pub(crate) stage: Stage,
    pub(crate) request: ExtractRequest,
    /// Quoted, for SQL.
    pub(crate) name: String,
    /// As people write it.
    pub(crate) shown: String,
    pub(crate) table: PostgresTable,
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
pub(crate) struct PostgresReader {
    pub(crate) connection: PgConnection,
    pub(crate) shared: Arc<TableRead>,
}

#[async_trait]
impl PartReader for PostgresReader {
    async fn read(&mut self, range: &KeyRange, rows: &RowCount<'_>) -> Result<Part, ConnectError> {
        let TableRead { address, stage, request, shown, table, .. } = self.shared.as_ref();
        let problem = |error| self.shared.problem(error, "reading rows");
        let mut batcher = RowBatcher::new(shown, table.columns.clone(), request.invalid_dates);
        let mut reader = CopyReader::default();
        let copy = self.shared.copy(range);
        let mut pieces = self.connection.copy_out_raw(&copy).await.map_err(problem)?;
        let mut writer = TableWriter::begin(stage, request, batcher.schema());
        while let Some(piece) = pieces.try_next().await.map_err(problem)? {
            reader.push(&piece);
            while let Some(row) =
                reader.next_row().map_err(|reason| ConnectError::internal("read a COPY stream", reason))?
            {
                rows.add();
                if let Some((batch, bytes)) = batcher.push(&row)? {
                    writer.write(batch, bytes).await?;
                }
            }
        }
        if !reader.is_over() {
            let reason = "the COPY stream ended early".to_owned();
            return Err(ConnectError::ConnectionLost { server: address.server.clone(), reason });
        }
        if let Some((batch, bytes)) = batcher.take_batch()? {
            writer.write(batch, bytes).await?;
        }
        Ok(Part { written: writer.finish().await?, rejects: batcher.into_rejects() })
    }

    async fn prove(&mut self, range: &KeyRange) -> Result<PartProof, ConnectError> {
        let TableRead { table, name, .. } = self.shared.as_ref();
        let problem = |error| self.shared.problem(error, "adding up its columns");
        let mut proof = PartProof::default();
        for columns in table.columns.chunks(COLUMNS_AT_ONCE) {
            let select = format!("{}{}", select_proof(name, columns), self.shared.condition(range));
            let row = self.connection.fetch_one(statement(select)).await.map_err(problem)?;
            let found = read_proof(&row, columns).map_err(problem)?;
            proof.rows = found.rows;
            proof.columns.extend(found.columns);
        }
        Ok(proof)
    }

    async fn count(&mut self) -> Result<u64, ConnectError> {
        let TableRead { address, shown, name, .. } = self.shared.as_ref();
        let problem = |error| address.problem(error, "counting rows", shown);
        let row =
            self.connection.fetch_one(statement(format!("SELECT count(*) FROM {name}"))).await.map_err(problem)?;
        row.try_get::<i64, _>(0).map(|count| u64::try_from(count).unwrap_or(0)).map_err(problem)
    }
}

impl TableRead {
    fn problem(&self, error: Error, action: &str) -> ConnectError {
        match &self.table.query {
            Some(query) => postgres_query::problem(&self.address, error, query),
            None => self.address.problem(error, action, &self.shown),
        }
    }

    /// `COPY` of every column by name, in the order of the primary key. Names are quoted; values stand only in the range.
    fn copy(&self, range: &KeyRange) -> String {
        let (condition, mut order) = match &self.new {
            Some(new) => (new.condition.clone(), vec![new.column.clone()]),
            None => (self.condition(range), Vec::new()),
        };
        order.extend(self.key());
        let mut select = format!("SELECT {} FROM {}{condition}", self.expressions(), self.name);
        if !order.is_empty() {
            select.push_str(" ORDER BY ");
            select.push_str(&order.join(", "));
        }
        format!("COPY ({select}) TO STDOUT (FORMAT binary)")
    }

    fn expressions(&self) -> String {
        let columns: Vec<String> = self.table.columns.iter().map(|column| column.expression()).collect();
        columns.join(", ")
    }

    fn condition(&self, range: &KeyRange) -> String {
        range.row_condition(&self.key())
    }

    fn key(&self) -> Vec<String> {
        self.table.primary_key.iter().map(|column| quote_identifier(Dialect::Standard, column)).collect()
    }
}
