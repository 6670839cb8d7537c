//! MySQL and MariaDB as a source: whole tables as typed Parquet, each from one consistent snapshot.
//!
//! In: a URL and `database.table`.  Out: one staged Parquet file, in the order of the primary key when there is one, so that
//! unchanged data gives the same bytes; a table without a key comes in the server's order.
//! Rows stream over the binary protocol, and memory holds a few megabytes of them (plus the largest row a few times).
//! Checked on MariaDB; MySQL speaks the same protocol but has not been run here.
//! Never here: types (`mysql_columns`), values (`mysql_rows`), writing (`table_writer`).
//! Start at [`MySqlSource::extract`].

use async_trait::async_trait;
use domain::{Dialect, Progress, quote_identifier};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::mysql_columns::{MySqlTable, read_tables};
use super::mysql_rows::RowBatcher;
use crate::dial::mysql::MySqlAddress;
use crate::dial::nearest;
use crate::table_writer::TableWriter;
use crate::{
    ConnectError, DiscoveredColumn, DiscoveredTable, ExtractOutcome, ExtractRequest, InvalidDates, Source, Stage,
};

/// The session of every read: times in UTC, text in UTF-8, and no limit that would cut a long read. The comments are read by
/// MariaDB and MySQL respectively, each of which has its own name for the limit.
const SESSION: &[&str] = &[
    "SET NAMES utf8mb4",
    "SET SESSION time_zone = '+00:00', sql_mode = '', net_write_timeout = 3600 \
     /*M!100100 , max_statement_time = 0 */ /*!50708 , max_execution_time = 0 */",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
];
/// All rows of one moment, whatever others write meanwhile (InnoDB).
const SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
/// Rows between two reports of progress.
const PROGRESS_ROWS: u64 = 10_000;

/// A MySQL or MariaDB server as a source.
#[derive(Debug, Clone)]
pub struct MySqlSource {
    address: MySqlAddress,
    dates: InvalidDates,
}

impl MySqlSource {
    /// Reads `url`, such as `mysql://user:password@host:3306/database`; connects to nothing yet.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        Ok(Self { address: MySqlAddress::parse(url)?, dates: InvalidDates::default() })
    }

    /// Says what to do with dates that do not exist.
    #[must_use]
    pub fn with_invalid_dates(mut self, dates: InvalidDates) -> Self {
        self.dates = dates;
        self
    }

    async fn table(&self, connection: &mut Conn, database: &str, table: &str) -> Result<MySqlTable, ConnectError> {
        let mut found = read_tables(connection, &self.address, database, table, self.dates).await?;
        // The server may compare names without case; the first that is exactly the wanted one wins.
        let exact = found.iter().position(|found| found.name == table).or((found.len() == 1).then_some(0));
        if let Some(position) = exact {
            return Ok(found.swap_remove(position));
        }
        let others = read_tables(connection, &self.address, database, "", self.dates).await?;
        Err(ConnectError::NoSuchTable {
            server: self.address.server.clone(),
            table: format!("{database}.{table}"),
            nearest: nearest(table, others.into_iter().map(|other| other.name))
                .map(|name| format!("{database}.{name}")),
        })
    }

    /// Streams the rows of `select` into a file; answers it with the rejects.
    async fn stream(
        &self,
        connection: &mut Conn,
        table: &MySqlTable,
        database: &str,
        (request, stage): (&ExtractRequest, &Stage),
        progress: &dyn Progress,
    ) -> Result<(crate::table_writer::Written, RowBatcher), ConnectError> {
        let select = select_all(database, table);
        let full_name = format!("{database}.{}", table.name);
        let problem = |error| self.address.problem(error, "reading rows", &full_name);
        let mut batcher = RowBatcher::new(&full_name, table.columns.clone(), self.dates);
        let mut result = connection.exec_iter(select, ()).await.map_err(problem)?;
        let mut writer = TableWriter::begin(stage, request, batcher.schema());
        while let Some(row) = result.next().await.map_err(problem)? {
            if let Some((batch, bytes)) = batcher.push(row.unwrap())? {
                writer.write(batch, bytes).await?;
            }
            if batcher.rows().is_multiple_of(PROGRESS_ROWS) {
                progress.advance(PROGRESS_ROWS);
            }
        }
        if let Some((batch, bytes)) = batcher.take_batch()? {
            writer.write(batch, bytes).await?;
        }
        progress.advance(batcher.rows() % PROGRESS_ROWS);
        Ok((writer.finish().await?, batcher))
    }
}

#[async_trait]
impl Source for MySqlSource {
    /// Tables and views of the URL's database.
    async fn discover(&self) -> Result<Vec<DiscoveredTable>, ConnectError> {
        let database = self.address.database()?.to_owned();
        let mut connection = self.address.connect(SESSION).await?;
        let tables = read_tables(&mut connection, &self.address, &database, "", self.dates).await?;
        self.close(connection).await;
        Ok(tables.into_iter().map(|table| discovered(&database, table)).collect())
    }

    async fn extract(
        &self,
        request: &ExtractRequest,
        stage: &Stage,
        progress: &dyn Progress,
    ) -> Result<ExtractOutcome, ConnectError> {
        let (database, table_name) = self.address.split(&request.location)?;
        let mut connection = self.address.connect(SESSION).await?;
        let snapshot = connection.query_drop(SNAPSHOT).await;
        snapshot.map_err(|error| self.address.problem(error, "starting a snapshot", &request.location))?;
        let table = self.table(&mut connection, database, table_name).await?;
        progress.begin(&format!("extract {}.{}", request.source, request.table), table.approximate_rows);
        let (written, batcher) = self.stream(&mut connection, &table, database, (request, stage), progress).await?;
        // A column that changed while rows were read would be staged under its old type.
        let after = self.table(&mut connection, database, table_name).await?;
        if after.columns != table.columns {
            return Err(ConnectError::TableChanged { table: format!("{database}.{table_name}") });
        }
        self.close(connection).await;
        let rows = batcher.rows();
        let outcome = written.publish(request, stage, batcher.into_rejects()).await?;
        progress.finish(&format!("{rows} rows"));
        Ok(outcome)
    }
}

impl MySqlSource {
    /// Says goodbye; a server that does not hear it notices anyway.
    async fn close(&self, connection: Conn) {
        if let Err(error) = connection.disconnect().await {
            tracing::debug!(server = self.address.server, %error, "the connection did not close cleanly");
        }
    }
}

/// `SELECT` of every column by name, in the order of the primary key. Names are quoted; there are no values.
fn select_all(database: &str, table: &MySqlTable) -> String {
    let quote = |name: &str| quote_identifier(Dialect::MySql, name);
    let columns: Vec<String> = table.columns.iter().map(|column| quote(&column.name)).collect();
    let mut select = format!("SELECT {} FROM {}.{}", columns.join(", "), quote(database), quote(&table.name));
    if !table.primary_key.is_empty() {
        let key: Vec<String> = table.primary_key.iter().map(|column| quote(column)).collect();
        select.push_str(" ORDER BY ");
        select.push_str(&key.join(", "));
    }
    select
}

fn discovered(database: &str, table: MySqlTable) -> DiscoveredTable {
    let columns = table.columns.into_iter().map(|column| DiscoveredColumn {
        staged_type: column.kind.data_type().to_string(),
        name: column.name,
        source_type: column.source_type,
        is_nullable: column.is_nullable,
    });
    DiscoveredTable {
        name: format!("{database}.{}", table.name),
        columns: columns.collect(),
        primary_key: table.primary_key,
        approximate_rows: table.approximate_rows,
    }
}
