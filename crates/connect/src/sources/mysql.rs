//! MySQL and MariaDB as a source: whole tables as typed Parquet, all tables of a run from one snapshot.
//!
//! In: a URL and `database.table`.  Out: staged Parquet files, one per range of the primary key, each in the key's order, so that
//! unchanged data gives the same bytes; a table without a key is one file in the server's order. Beside them in the manifest:
//! the snapshot's place in the binlog, and what the server says its columns add up to.
//! Rows stream over the binary protocol; each connection holds a few megabytes of them (plus the largest row a few times).
//! Checked on MariaDB; MySQL speaks the same protocol but has not been run here.
//! Never here: the snapshot (`mysql_snapshot`), where to cut (`mysql_ranges`), types (`mysql_columns`), values (`mysql_rows`), the
//! proof (`mysql_proof`), retries (`parts`).
//! Start at [`MySqlSource::extract`].

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Dialect, KeyCut, Progress, ProofHash, SourceProof, StageManifest, quote_identifier};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::Mutex;

use super::mysql_columns::{MySqlTable, read_tables};
use super::mysql_doctor;
use super::mysql_proof::{read_proof, select_proof};
use super::mysql_ranges::{borders, full_name};
use super::mysql_rows::RowBatcher;
use super::mysql_snapshot::{RELEASE, SESSION, Snapshot, close};
use crate::dial::mysql::MySqlAddress;
use crate::dial::nearest;
use crate::key_range::{KeyRange, ranges_between};
use crate::parts::{
    Part, PartProof, PartReader, Parts, RowCount, Told, Wanted, borders_to_keep, read_parts, wanted_parts,
};
use crate::table_writer::TableWriter;
use crate::{
    ConnectError, DiscoveredColumn, DiscoveredTable, ExtractMode, ExtractOutcome, ExtractRequest, Finding,
    InvalidDates, Source, Stage,
};

/// Connections beside the workers': one stands by for one that is lost.
const RESERVE: usize = 1;

/// A MySQL or MariaDB server as a source.
#[derive(Debug)]
pub struct MySqlSource {
    address: MySqlAddress,
    /// Opened by the first table, shared by all of a run: `None` before, and after [`Source::close`].
    snapshot: Mutex<Option<Snapshot>>,
}

/// What is known of a table once it has been looked at in the snapshot.
struct Looked {
    database: String,
    table: Arc<MySqlTable>,
    cut: KeyCut,
}

impl MySqlSource {
    /// Reads `url`, such as `mysql://user:password@host:3306/database`; connects to nothing yet.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        Ok(Self { address: MySqlAddress::parse(url)?, snapshot: Mutex::new(None) })
    }

    async fn table(
        &self,
        connection: &mut Conn,
        (database, table): (&str, &str),
        dates: InvalidDates,
    ) -> Result<MySqlTable, ConnectError> {
        let mut found = read_tables(connection, &self.address, database, table, dates).await?;
        // The server may compare names without case; the first that is exactly the wanted one wins.
        let exact = found.iter().position(|found| found.name == table).or((found.len() == 1).then_some(0));
        if let Some(position) = exact {
            return Ok(found.swap_remove(position));
        }
        let others = read_tables(connection, &self.address, database, "", dates).await?;
        Err(ConnectError::NoSuchTable {
            server: self.address.server.clone(),
            table: format!("{database}.{table}"),
            nearest: nearest(table, others.into_iter().map(|other| other.name))
                .map(|name| format!("{database}.{name}")),
        })
    }

    /// Columns and borders, seen by the first connection of the snapshot.
    async fn look(
        &self,
        connection: &mut Conn,
        request: &ExtractRequest,
        latest: Option<&StageManifest>,
    ) -> Result<Looked, ConnectError> {
        let (database, name) = self.address.split(&request.location)?;
        let table = self.table(connection, (database, name), request.invalid_dates).await?;
        let key = key_of(&table);
        let borders = match borders_to_keep(latest, &key, table.approximate_rows) {
            Some(borders) => borders,
            None => {
                let parts = wanted_parts(table.approximate_rows, request.workers);
                let found = borders(connection, database, &table, parts).await;
                found.map_err(|error| self.address.problem(error, "looking for parts", &request.location))?
            }
        };
        Ok(Looked { database: database.to_owned(), table: Arc::new(table), cut: KeyCut { key, borders } })
    }

    /// Reads a table, proves it, or both, on the connections of `snapshot`.
    async fn read(
        &self,
        snapshot: &mut Snapshot,
        (request, stage): (&ExtractRequest, &Stage),
        latest: Option<&StageManifest>,
        wanted: Wanted,
        progress: &dyn Progress,
    ) -> Result<(Parts, KeyCut), ConnectError> {
        let first = snapshot.connections.first_mut().ok_or_else(|| lost(&self.address))?;
        let looked = self.look(first, request, latest).await?;
        let wanted = Wanted { proof: wanted.proof && looked.table.is_stored, ..wanted };
        progress.begin(&format!("extract {}.{}", request.source, request.table), looked.table.approximate_rows);
        let shared = Arc::new(TableRead {
            address: self.address.clone(),
            stage: stage.clone(),
            request: request.clone(),
            name: full_name(&looked.database, &looked.table.name),
            shown: format!("{}.{}", looked.database, looked.table.name),
            table: Arc::clone(&looked.table),
        });
        let readers = snapshot.connections.drain(..);
        let readers = readers.map(|connection| MySqlReader { connection, shared: Arc::clone(&shared) }).collect();
        let ranges = ranges_between(&looked.cut.borders);
        let (readers, result) = read_parts(readers, request.workers, ranges, wanted, progress).await;
        snapshot.connections = readers.into_iter().map(|reader| reader.connection).collect();
        let parts = result?;
        let first = snapshot.connections.first_mut().ok_or_else(|| lost(&self.address))?;
        // A column that changed while rows were read would be staged under its old type.
        let names = (looked.database.as_str(), looked.table.name.as_str());
        let after = self.table(first, names, request.invalid_dates).await?;
        if after.columns != looked.table.columns {
            return Err(ConnectError::TableChanged { table: shared.shown.clone() });
        }
        Ok((parts, looked.cut))
    }

    /// Does `work` in the snapshot of this run, which the first call opens, and releases the table afterwards.
    async fn in_snapshot(
        &self,
        (request, stage): (&ExtractRequest, &Stage),
        latest: Option<&StageManifest>,
        wanted: Wanted,
        progress: &dyn Progress,
    ) -> Result<(Parts, Told), ConnectError> {
        let mut held = self.snapshot.lock().await;
        let mut snapshot = match held.take() {
            Some(snapshot) => snapshot,
            None => Snapshot::open(&self.address, request.workers + RESERVE).await?,
        };
        let result = self.read(&mut snapshot, (request, stage), latest, wanted, progress).await;
        let position = snapshot.position.clone();
        let mut kept = Vec::with_capacity(snapshot.connections.len());
        for mut connection in snapshot.connections.drain(..) {
            // One that cannot release the table is lost, and others remain or the next table says so.
            if connection.query_drop(RELEASE).await.is_ok() {
                kept.push(connection);
            }
        }
        snapshot.connections = kept;
        *held = Some(snapshot);
        let (parts, cut) = result?;
        let cut = (!cut.borders.is_empty()).then_some(cut);
        Ok((parts, Told { position, cut, hash: wanted.proof.then_some(ProofHash::Crc32), resume: None }))
    }
}

/// The key as a [`KeyCut`] names it.
fn key_of(table: &MySqlTable) -> Vec<String> {
    let described = |name: &String| {
        let column = table.columns.iter().find(|column| column.name == *name)?;
        Some(format!("{name} {} {}", column.source_type, column.collation.as_deref().unwrap_or_default()))
    };
    table.primary_key.iter().filter_map(described).collect()
}

fn lost(address: &MySqlAddress) -> ConnectError {
    let reason = "every connection of the snapshot is gone".to_owned();
    ConnectError::ConnectionLost { server: address.server.clone(), reason }
}

/// What the readers of one table share.
struct TableRead {
    address: MySqlAddress,
    stage: Stage,
    request: ExtractRequest,
    /// Quoted, for SQL.
    name: String,
    /// As people write it.
    shown: String,
    table: Arc<MySqlTable>,
}

/// One connection at work on one table.
struct MySqlReader {
    connection: Conn,
    shared: Arc<TableRead>,
}

#[async_trait]
impl PartReader for MySqlReader {
    async fn read(&mut self, range: &KeyRange, rows: &RowCount<'_>) -> Result<Part, ConnectError> {
        let TableRead { address, stage, request, shown, table, .. } = self.shared.as_ref();
        let problem = |error| address.problem(error, "reading rows", shown);
        let mut batcher = RowBatcher::new(shown, table.columns.clone(), request.invalid_dates);
        let select = self.shared.select(range);
        let mut result = self.connection.exec_iter(select, ()).await.map_err(problem)?;
        let mut writer = TableWriter::begin(stage, request, batcher.schema());
        while let Some(row) = result.next().await.map_err(problem)? {
            rows.add();
            if let Some((batch, bytes)) = batcher.push(row.unwrap())? {
                writer.write(batch, bytes).await?;
            }
        }
        if let Some((batch, bytes)) = batcher.take_batch()? {
            writer.write(batch, bytes).await?;
        }
        Ok(Part { written: writer.finish().await?, rejects: batcher.into_rejects() })
    }

    async fn prove(&mut self, range: &KeyRange) -> Result<PartProof, ConnectError> {
        let TableRead { address, shown, table, name, .. } = self.shared.as_ref();
        let statement = format!("{}{}", select_proof(name, &table.columns), self.shared.condition(range));
        let found = self.connection.query_first(statement).await;
        let row = found.map_err(|error| address.problem(error, "adding up its columns", shown))?;
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
    /// `SELECT` of every column by name, in the order of the primary key. Names are quoted; values stand only in the range.
    fn select(&self, range: &KeyRange) -> String {
        let quote = |name: &String| quote_identifier(Dialect::MySql, name);
        let columns: Vec<String> = self.table.columns.iter().map(|column| quote(&column.name)).collect();
        // The ranges are cut along this index; another one would read the whole table for each.
        let index = if range == &KeyRange::default() { "" } else { " FORCE INDEX (PRIMARY)" };
        let mut select = format!("SELECT {} FROM {}{index}{}", columns.join(", "), self.name, self.condition(range));
        if !self.table.primary_key.is_empty() {
            let key: Vec<String> = self.table.primary_key.iter().map(quote).collect();
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

#[async_trait]
impl Source for MySqlSource {
    /// Tables and views of the URL's database.
    async fn discover(&self) -> Result<Vec<DiscoveredTable>, ConnectError> {
        let database = self.address.database()?.to_owned();
        let mut connection = self.address.connect(SESSION).await?;
        let tables = read_tables(&mut connection, &self.address, &database, "", InvalidDates::default()).await?;
        close(connection, &self.address.server).await;
        Ok(tables.into_iter().map(|table| discovered(&database, table)).collect())
    }

    async fn extract(
        &self,
        request: &ExtractRequest,
        stage: &Stage,
        progress: &dyn Progress,
    ) -> Result<ExtractOutcome, ConnectError> {
        let latest = stage.latest(&request.source, &request.table).await?;
        let wanted = Wanted { rows: true, proof: request.with_proof };
        let read = self.in_snapshot((request, stage), latest.as_ref(), wanted, progress).await;
        let (parts, told) = match read {
            // The borders of the last extraction are not in the key's order any more: another collation, or version of it.
            Err(ConnectError::BadCut { .. }) if latest.as_ref().is_some_and(|latest| latest.cut.is_some()) => {
                self.in_snapshot((request, stage), None, wanted, progress).await?
            }
            read => read?,
        };
        let rows: u64 = parts.parts.iter().map(|part| part.written.rows()).sum();
        let outcome = parts.publish(request, stage, latest, told).await?;
        progress.finish(&format!("{rows} rows"));
        Ok(outcome)
    }

    async fn prove(
        &self,
        request: &ExtractRequest,
        stage: &Stage,
        progress: &dyn Progress,
    ) -> Result<Option<SourceProof>, ConnectError> {
        let wanted = Wanted { rows: false, proof: true };
        let (parts, _) = self.in_snapshot((request, stage), None, wanted, progress).await?;
        let proof = parts.source_proof(ProofHash::Crc32);
        progress.finish(&format!("{} rows added up", proof.as_ref().map_or(0, |proof| proof.rows)));
        Ok(proof)
    }

    async fn examine(&self, tables: &[(&str, &ExtractMode)]) -> Result<Vec<Finding>, ConnectError> {
        let tables: Vec<_> =
            tables.iter().map(|(location, _)| self.address.split(location)).collect::<Result<_, _>>()?;
        let mut connection = self.address.connect(SESSION).await?;
        let findings = mysql_doctor::examine(&mut connection, &self.address.user, &tables).await;
        close(connection, &self.address.server).await;
        findings.map_err(|error| self.address.problem(error, "looking at its settings", ""))
    }

    async fn close(&self) {
        if let Some(snapshot) = self.snapshot.lock().await.take() {
            snapshot.close(&self.address.server).await;
        }
    }
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
