//! PostgreSQL as a source: whole tables as typed Parquet, each from one consistent snapshot.
//!
//! In: a URL and `schema.table`.  Out: one staged Parquet file, in the order of the primary key when there is one, so that
//! unchanged data gives the same bytes; a table without a key comes in the server's order.
//! Rows stream over binary COPY, and memory holds a few megabytes of them (plus the largest row a few times).
//! Never here: types (`postgres_columns`), values (`postgres_rows`), writing (`table_writer`).
//! Start at [`PostgresSource::extract`].

use async_trait::async_trait;
use domain::{Dialect, Progress, quote_identifier};
use futures::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use super::copy_binary::CopyReader;
use super::postgres_columns::{PostgresTable, read_tables};
use super::postgres_rows::RowBatcher;
use crate::dial::nearest;
use crate::dial::postgres::PostgresAddress;
use crate::table_writer::{TableWriter, Written};
use crate::{
    ConnectError, DiscoveredColumn, DiscoveredTable, ExtractOutcome, ExtractRequest, InvalidDates, Source, Stage,
};

/// The session of every read: what is sent as text reads the same whatever the server's defaults, and no limit cuts a long read.
const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'hex'; \
     SET extra_float_digits = 3; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";
/// All rows of one moment, whatever others write meanwhile.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The schema of a location that names none.
const DEFAULT_SCHEMA: &str = "public";
/// Rows between two reports of progress.
const PROGRESS_ROWS: u64 = 10_000;

/// A PostgreSQL database as a source.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    address: PostgresAddress,
    dates: InvalidDates,
}

impl PostgresSource {
    /// Reads `url`, such as `postgres://user:password@host:5432/database`; connects to nothing yet.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        Ok(Self { address: PostgresAddress::parse(url)?, dates: InvalidDates::default() })
    }

    /// Says what to do with dates that no type can carry (`infinity`).
    #[must_use]
    pub fn with_invalid_dates(mut self, dates: InvalidDates) -> Self {
        self.dates = dates;
        self
    }

    async fn table(&self, connection: &mut PgConnection, location: &str) -> Result<PostgresTable, ConnectError> {
        let (schema, table) = location.split_once('.').unwrap_or((DEFAULT_SCHEMA, location));
        let mut found = read_tables(connection, &self.address, (schema, table), self.dates).await?;
        if let Some(table) = found.pop() {
            return Ok(table);
        }
        let others = read_tables(connection, &self.address, ("", ""), self.dates).await?;
        let names = others.into_iter().map(|other| format!("{}.{}", other.schema, other.name));
        Err(ConnectError::NoSuchTable {
            server: self.address.server.clone(),
            table: format!("{schema}.{table}"),
            nearest: nearest(&format!("{schema}.{table}"), names),
        })
    }

    /// Streams the rows into a file; answers it with the rejects.
    async fn stream(
        &self,
        connection: &mut PgConnection,
        table: &PostgresTable,
        (request, stage): (&ExtractRequest, &Stage),
        progress: &dyn Progress,
    ) -> Result<(Written, RowBatcher), ConnectError> {
        let full_name = format!("{}.{}", table.schema, table.name);
        let problem = |error| self.address.problem(error, "reading rows", &full_name);
        let mut batcher = RowBatcher::new(&full_name, table.columns.clone(), self.dates);
        let mut reader = CopyReader::default();
        let statement = copy_all(table);
        let mut pieces = connection.copy_out_raw(&statement).await.map_err(problem)?;
        let mut writer = TableWriter::begin(stage, request, batcher.schema());
        while let Some(piece) = pieces.try_next().await.map_err(problem)? {
            reader.push(&piece);
            while let Some(row) =
                reader.next_row().map_err(|reason| ConnectError::internal("read a COPY stream", reason))?
            {
                if let Some((batch, bytes)) = batcher.push(&row)? {
                    writer.write(batch, bytes).await?;
                }
                if batcher.rows().is_multiple_of(PROGRESS_ROWS) {
                    progress.advance(PROGRESS_ROWS);
                }
            }
        }
        if !reader.is_over() {
            return Err(ConnectError::ConnectionLost {
                server: self.address.server.clone(),
                reason: "the COPY stream ended early".to_owned(),
            });
        }
        if let Some((batch, bytes)) = batcher.take_batch()? {
            writer.write(batch, bytes).await?;
        }
        progress.advance(batcher.rows() % PROGRESS_ROWS);
        Ok((writer.finish().await?, batcher))
    }

    /// Says goodbye; a server that does not hear it notices anyway.
    async fn close(&self, connection: PgConnection) {
        if let Err(error) = connection.close().await {
            tracing::debug!(server = self.address.server, %error, "the connection did not close cleanly");
        }
    }
}

#[async_trait]
impl Source for PostgresSource {
    /// Tables and views of all schemas but the system's; partitions count as their parent.
    async fn discover(&self) -> Result<Vec<DiscoveredTable>, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        let tables = read_tables(&mut connection, &self.address, ("", ""), self.dates).await?;
        self.close(connection).await;
        Ok(tables.into_iter().map(discovered).collect())
    }

    async fn extract(
        &self,
        request: &ExtractRequest,
        stage: &Stage,
        progress: &dyn Progress,
    ) -> Result<ExtractOutcome, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        let snapshot = connection.execute(SNAPSHOT).await;
        snapshot.map_err(|error| self.address.problem(error, "starting a snapshot", &request.location))?;
        let table = self.table(&mut connection, &request.location).await?;
        progress.begin(&format!("extract {}.{}", request.source, request.table), table.approximate_rows);
        // COPY holds a lock that keeps the columns as they are until the transaction ends; before it, they may have changed.
        let (written, batcher) = self.stream(&mut connection, &table, (request, stage), progress).await?;
        let after = self.table(&mut connection, &request.location).await?;
        if after.columns != table.columns {
            return Err(ConnectError::TableChanged { table: request.location.clone() });
        }
        self.close(connection).await;
        let rows = batcher.rows();
        let outcome = written.publish(request, stage, batcher.into_rejects()).await?;
        progress.finish(&format!("{rows} rows"));
        Ok(outcome)
    }
}

/// `COPY` of every column by name, in the order of the primary key. Names are quoted; there are no values.
fn copy_all(table: &PostgresTable) -> String {
    let quote = |name: &str| quote_identifier(Dialect::Standard, name);
    let columns: Vec<String> = table.columns.iter().map(|column| column.expression()).collect();
    let mut select = format!("SELECT {} FROM {}.{}", columns.join(", "), quote(&table.schema), quote(&table.name));
    if !table.primary_key.is_empty() {
        let key: Vec<String> = table.primary_key.iter().map(|column| quote(column)).collect();
        select.push_str(" ORDER BY ");
        select.push_str(&key.join(", "));
    }
    format!("COPY ({select}) TO STDOUT (FORMAT binary)")
}

fn discovered(table: PostgresTable) -> DiscoveredTable {
    let columns = table.columns.into_iter().map(|column| DiscoveredColumn {
        staged_type: column.kind.data_type().to_string(),
        name: column.name,
        source_type: column.source_type,
        is_nullable: column.is_nullable,
    });
    DiscoveredTable {
        name: format!("{}.{}", table.schema, table.name),
        columns: columns.collect(),
        primary_key: table.primary_key,
        approximate_rows: table.approximate_rows,
    }
}
