//! PostgreSQL as a source: whole tables as typed Parquet, all tables of a run from one snapshot.
//!
//! In: a URL and `schema.table`.  Out: staged Parquet files, one per range of the primary key, each in the key's order, so that
//! unchanged data gives the same bytes; a table without a key is one file in the server's order. Beside them in the manifest:
//! the snapshot's place in the log, and what the server says its columns add up to.
//! Rows stream over binary COPY; each connection holds a few megabytes of them (plus the largest row a few times).
//! Never here: the snapshot (`postgres_snapshot`), where to cut (`postgres_ranges`), types (`postgres_columns`), values
//! (`postgres_rows`), the proof (`postgres_proof`), retries (`parts`).
//! Start at [`PostgresSource::extract`].

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Dialect, KeyCut, Progress, ProofHash, SourceProof, StageManifest, quote_identifier};
use futures::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row};
use tokio::sync::Mutex;

use super::copy_binary::CopyReader;
use super::postgres_columns::{PostgresTable, read_tables};
use super::postgres_proof::{COLUMNS_AT_ONCE, read_proof, select_proof};
use super::postgres_ranges::{borders, full_name};
use super::postgres_rows::RowBatcher;
use super::postgres_snapshot::{RELEASE, SESSION, Snapshot, close};
use crate::dial::nearest;
use crate::dial::postgres::{PostgresAddress, statement};
use crate::key_range::{KeyRange, ranges_between};
use crate::parts::{
    Part, PartProof, PartReader, Parts, RowCount, Told, Wanted, borders_to_keep, read_parts, wanted_parts,
};
use crate::table_writer::TableWriter;
use crate::{
    ConnectError, DiscoveredColumn, DiscoveredTable, ExtractMode, ExtractOutcome, ExtractRequest, Finding,
    InvalidDates, Source, Stage,
};

/// The schema of a location that names none.
const DEFAULT_SCHEMA: &str = "public";
/// Connections beside the workers': one stands by for one that is lost.
const RESERVE: usize = 1;
/// Tables among `$1` and its partitions that have been rewritten (TRUNCATE, ALTER) since the snapshot, which would see them empty: the
/// catalog row is the snapshot's, the function looks at the present.
const REWRITTEN: &str = "SELECT count(*) FROM pg_class WHERE relfilenode IS DISTINCT FROM COALESCE(pg_relation_filenode(oid), 0) \
     AND relfilenode <> 0 AND oid IN (SELECT to_regclass($1) UNION SELECT relid FROM pg_partition_tree(to_regclass($1)))";

/// Whether the user may read a table, of those that are there.
const MAY_READ: &str = "SELECT has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT') FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";

/// A PostgreSQL database as a source.
#[derive(Debug)]
pub struct PostgresSource {
    address: PostgresAddress,
    /// Opened by the first table, shared by all of a run: `None` before, and after [`Source::close`].
    snapshot: Mutex<Option<Snapshot>>,
}

impl PostgresSource {
    /// Reads `url`, such as `postgres://user:password@host:5432/database`; connects to nothing yet.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        Ok(Self { address: PostgresAddress::parse(url)?, snapshot: Mutex::new(None) })
    }

    async fn table(
        &self,
        connection: &mut PgConnection,
        location: &str,
        dates: InvalidDates,
    ) -> Result<PostgresTable, ConnectError> {
        let (schema, table) = location.split_once('.').unwrap_or((DEFAULT_SCHEMA, location));
        let mut found = read_tables(connection, &self.address, (schema, table), dates).await?;
        if let Some(table) = found.pop() {
            return Ok(table);
        }
        let others = read_tables(connection, &self.address, ("", ""), dates).await?;
        let names = others.into_iter().map(|other| format!("{}.{}", other.schema, other.name));
        Err(ConnectError::NoSuchTable {
            server: self.address.server.clone(),
            table: format!("{schema}.{table}"),
            nearest: nearest(&format!("{schema}.{table}"), names),
        })
    }

    /// Keeps the table from being altered until it is released, and makes sure that it has not been since the snapshot.
    async fn hold(&self, connection: &mut PgConnection, table: &PostgresTable) -> Result<(), ConnectError> {
        let name = full_name(table);
        let problem = |error| self.address.problem(error, "holding the table", &name);
        if table.can_be_locked {
            let lock = format!("LOCK TABLE {name} IN ACCESS SHARE MODE");
            connection.execute(statement(lock)).await.map_err(problem)?;
        }
        let rewritten = sqlx::query(REWRITTEN).bind(&name).fetch_one(connection).await.map_err(problem)?;
        if rewritten.try_get::<i64, _>(0).map_err(problem)? > 0 {
            return Err(ConnectError::TableChanged { table: format!("{}.{}", table.schema, table.name) });
        }
        Ok(())
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
        let table = self.table(first, &request.location, request.invalid_dates).await?;
        self.hold(first, &table).await?;
        let wanted = Wanted { proof: wanted.proof && table.is_stored, ..wanted };
        let key = key_of(&table);
        let borders = match borders_to_keep(latest, &key, table.approximate_rows) {
            Some(borders) => borders,
            None => {
                let found = borders(first, &table, wanted_parts(table.approximate_rows, request.workers)).await;
                found.map_err(|error| self.address.problem(error, "looking for parts", &request.location))?
            }
        };
        progress.begin(&format!("extract {}.{}", request.source, request.table), table.approximate_rows);
        let shared = Arc::new(TableRead {
            address: self.address.clone(),
            stage: stage.clone(),
            request: request.clone(),
            name: full_name(&table),
            shown: format!("{}.{}", table.schema, table.name),
            table,
        });
        // The one that holds the table reads as well: its transaction, and with it the lock, goes on.
        let readers = snapshot.connections.drain(..);
        let readers = readers.map(|connection| PostgresReader { connection, shared: Arc::clone(&shared) }).collect();
        let (readers, result) = read_parts(readers, request.workers, ranges_between(&borders), wanted, progress).await;
        snapshot.connections = readers.into_iter().map(|reader| reader.connection).collect();
        Ok((result?, KeyCut { key, borders }))
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
            if connection.execute(RELEASE).await.is_ok() {
                kept.push(connection);
            }
        }
        snapshot.connections = kept;
        *held = Some(snapshot);
        let (parts, cut) = result?;
        let cut = (!cut.borders.is_empty()).then_some(cut);
        Ok((parts, Told { position, cut, hash: wanted.proof.then_some(ProofHash::Md5), resume: None }))
    }
}

/// The key as a [`KeyCut`] names it.
fn key_of(table: &PostgresTable) -> Vec<String> {
    let described = |name: &String| {
        let column = table.columns.iter().find(|column| column.name == *name)?;
        Some(format!("{name} {} {}", column.source_type, column.collation.as_deref().unwrap_or_default()))
    };
    table.primary_key.iter().filter_map(described).collect()
}

fn lost(address: &PostgresAddress) -> ConnectError {
    let reason = "every connection of the snapshot is gone".to_owned();
    ConnectError::ConnectionLost { server: address.server.clone(), reason }
}

/// What the readers of one table share.
struct TableRead {
    address: PostgresAddress,
    stage: Stage,
    request: ExtractRequest,
    /// Quoted, for SQL.
    name: String,
    /// As people write it.
    shown: String,
    table: PostgresTable,
}

/// One connection at work on one table.
struct PostgresReader {
    connection: PgConnection,
    shared: Arc<TableRead>,
}

#[async_trait]
impl PartReader for PostgresReader {
    async fn read(&mut self, range: &KeyRange, rows: &RowCount<'_>) -> Result<Part, ConnectError> {
        let TableRead { address, stage, request, shown, table, .. } = self.shared.as_ref();
        let problem = |error| address.problem(error, "reading rows", shown);
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
        let TableRead { address, shown, table, name, .. } = self.shared.as_ref();
        let problem = |error| address.problem(error, "adding up its columns", shown);
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
    /// `COPY` of every column by name, in the order of the primary key. Names are quoted; values stand only in the range.
    fn copy(&self, range: &KeyRange) -> String {
        let columns: Vec<String> = self.table.columns.iter().map(|column| column.expression()).collect();
        let mut select = format!("SELECT {} FROM {}{}", columns.join(", "), self.name, self.condition(range));
        if !self.table.primary_key.is_empty() {
            select.push_str(" ORDER BY ");
            select.push_str(&self.key().join(", "));
        }
        format!("COPY ({select}) TO STDOUT (FORMAT binary)")
    }

    fn condition(&self, range: &KeyRange) -> String {
        range.row_condition(&self.key())
    }

    fn key(&self) -> Vec<String> {
        self.table.primary_key.iter().map(|column| quote_identifier(Dialect::Standard, column)).collect()
    }
}

#[async_trait]
impl Source for PostgresSource {
    /// Tables and views of all schemas but the system's; partitions count as their parent.
    async fn discover(&self) -> Result<Vec<DiscoveredTable>, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        let tables = read_tables(&mut connection, &self.address, ("", ""), InvalidDates::default()).await?;
        close(connection, &self.address.server).await;
        Ok(tables.into_iter().map(discovered).collect())
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
        let proof = parts.source_proof(ProofHash::Md5);
        progress.finish(&format!("{} rows added up", proof.as_ref().map_or(0, |proof| proof.rows)));
        Ok(proof)
    }

    async fn examine(&self, tables: &[(&str, &ExtractMode)]) -> Result<Vec<Finding>, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        let mut unreadable = Vec::new();
        for (location, _) in tables {
            let (schema, table) = location.split_once('.').unwrap_or((DEFAULT_SCHEMA, location));
            let found = sqlx::query(MAY_READ).bind(schema).bind(table).fetch_optional(&mut connection).await;
            let problem = |error| self.address.problem(error, "looking at rights", location);
            if let Some(row) = found.map_err(problem)?
                && !row.try_get::<bool, _>(0).map_err(problem)?
            {
                unreadable.push(format!("{schema}.{table}"));
            }
        }
        close(connection, &self.address.server).await;
        let Some(first) = unreadable.first() else {
            return Ok(vec![Finding::fine("rights", "every wanted table may be read".to_owned())]);
        };
        let detail = format!("{} of the wanted tables may not be read, such as `{first}`", unreadable.len());
        let next = format!("`GRANT SELECT ON {first} TO {}`, and USAGE on its schema", self.address.user);
        Ok(vec![Finding::mend("rights", detail, next)])
    }

    async fn close(&self) {
        if let Some(snapshot) = self.snapshot.lock().await.take() {
            snapshot.close(&self.address.server).await;
        }
    }
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
