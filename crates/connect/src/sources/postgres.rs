//! PostgreSQL as a source: whole tables as typed Parquet, or what is new in them, all tables of a run from one snapshot.
//!
//! In: a URL and `schema.table`, or a query.  Out: staged Parquet files, one per range of the primary key, each in the key's order, so that
//! unchanged data gives the same bytes; a table without a key is one file in the server's order. Or one file of the rows that a cursor
//! or the log finds changed. Beside them in the manifest: the snapshot's place in the log, what the next run goes on from, and what the
//! server says its columns add up to.
//! Never here: the snapshot (`postgres_snapshot`), where to cut (`postgres_ranges`), reading rows (`postgres_reader`), types
//! (`postgres_columns`), queries (`postgres_query`), values (`postgres_rows`), the proof (`postgres_proof`), retries (`parts`), which rows are new by a column
//! (`postgres_cursor`) or by the log (`postgres_follow`), what `doctor` shows (`postgres_doctor`).
//! Start at [`PostgresSource::extract`].

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Dialect, KeyCut, LogPosition, Progress, ProofHash, Resume, SourceProof, StageManifest};
use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row};
use tokio::sync::{Mutex, MutexGuard};

use super::postgres_columns::{PostgresTable, read_tables, schema_of};
use super::postgres_cursor::Cursor;
use super::postgres_doctor;
use super::postgres_log::LogSession;
use super::postgres_query::{describe, examine, hold};
use super::postgres_ranges::{borders, full_name};
use super::postgres_reader::{NewRows, PostgresReader, TableRead};
use super::postgres_snapshot::{SESSION, Snapshot, close};
use super::query::Query;
use crate::changes::{self, Start};
use crate::dial::nearest;
use crate::dial::postgres::{PostgresAddress, statement};
use crate::key_range::ranges_between;
use crate::parts::{Parts, Told, Wanted, borders_to_keep, read_parts, wanted_parts};
use crate::{
    ConnectError, DiscoveredColumn, DiscoveredTable, Examined, ExtractMode, ExtractOutcome, ExtractRequest, Finding,
    InvalidDates, Source, Stage,
};

/// What is to be extracted, where to, and who watches.
pub(super) type Job<'a> = (&'a ExtractRequest, &'a Stage, &'a dyn Progress);
/// A table that is not cut.
const ALL_IN_ONE: KeyCut = KeyCut { key: Vec::new(), borders: Vec::new() };
/// Only what the source says of its own rows.
const PROOF: Wanted = Wanted { rows: false, proof: true };
/// The schema of a location that names none.
const DEFAULT_SCHEMA: &str = "public";
/// Connections beside the workers': one stands by for one that is lost.
const RESERVE: usize = 1;
/// Tables among `$1` and its partitions that have been rewritten (TRUNCATE, ALTER) or made since the snapshot, which would see them empty:
/// the catalog row is the snapshot's, the functions look at the present.
const REWRITTEN: &str = "SELECT (NOT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1)))::int + count(*) FROM pg_class WHERE relfilenode IS DISTINCT FROM COALESCE(pg_relation_filenode(oid), 0) \
     AND relfilenode <> 0 AND oid IN (SELECT to_regclass($1) UNION SELECT relid FROM pg_partition_tree(to_regclass($1)))";

/// A PostgreSQL database as a source.
#[derive(Debug)]
pub struct PostgresSource {
    pub(super) address: PostgresAddress,
    /// Opened by the first table, shared by all of a run: `None` before, and after [`Source::close`].
    snapshot: Mutex<Option<Snapshot>>,
    /// The same for the log, opened by the first table that is followed in it. Whoever holds both has locked this one first.
    pub(super) log: Mutex<Option<LogSession>>,
}

impl PostgresSource {
    /// Reads `url`, such as `postgres://user:password@host:5432/database`; connects to nothing yet.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        Ok(Self { address: PostgresAddress::parse(url)?, snapshot: Mutex::new(None), log: Mutex::new(None) })
    }

    pub(super) async fn table(
        &self,
        connection: &mut PgConnection,
        location: &str,
        dates: InvalidDates,
    ) -> Result<PostgresTable, ConnectError> {
        let (schema, table) = split(location);
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
            return Err(ConnectError::TableChanged { table: table.shown() });
        }
        Ok(())
    }

    /// The snapshot of this run, which the first call opens; to be given back with [`Self::give_back`].
    pub(super) async fn take_snapshot(
        &self,
        request: &ExtractRequest,
    ) -> Result<(MutexGuard<'_, Option<Snapshot>>, Snapshot), ConnectError> {
        let mut held = self.snapshot.lock().await;
        let snapshot = match held.take() {
            Some(snapshot) => snapshot,
            None => Snapshot::open(&self.address, request.workers + RESERVE).await?,
        };
        Ok((held, snapshot))
    }

    /// Keeps the snapshot for the next table, and releases the one that has been read.
    pub(super) async fn give_back(mut held: MutexGuard<'_, Option<Snapshot>>, mut snapshot: Snapshot) {
        snapshot.release().await;
        *held = Some(snapshot);
    }

    /// Ends the snapshot, so that the next table opens another one.
    pub(super) async fn close_snapshot(&self) {
        if let Some(snapshot) = self.snapshot.lock().await.take() {
            snapshot.close(&self.address.server).await;
        }
    }

    /// The first connection of the snapshot, for what is asked once.
    pub(super) fn first<'a>(&self, snapshot: &'a mut Snapshot) -> Result<&'a mut PgConnection, ConnectError> {
        let reason = "every connection of the snapshot is gone".to_owned();
        let lost = || ConnectError::ConnectionLost { server: self.address.server.clone(), reason };
        snapshot.connections.first_mut().ok_or_else(lost)
    }

    /// Looks at the table, and holds it.
    pub(super) async fn look(
        &self,
        snapshot: &mut Snapshot,
        request: &ExtractRequest,
    ) -> Result<PostgresTable, ConnectError> {
        let first = self.first(snapshot)?;
        if let Some(query) = Query::of(request, Dialect::Standard) {
            let table = describe(first, &self.address, query.clone(), request.invalid_dates).await?;
            hold(first, &self.address, &query).await?;
            return Ok(table);
        }
        let table = self.table(first, &request.location, request.invalid_dates).await?;
        self.hold(first, &table).await?;
        Ok(table)
    }

    /// Where to cut the table, as the first connection of the snapshot sees it.
    async fn cut(
        &self,
        snapshot: &mut Snapshot,
        (request, table): (&ExtractRequest, &PostgresTable),
        latest: Option<&StageManifest>,
    ) -> Result<KeyCut, ConnectError> {
        let key = key_of(table);
        let borders = match borders_to_keep(latest, &key, table.approximate_rows) {
            Some(borders) => borders,
            None => {
                let parts = wanted_parts(table.approximate_rows, request.workers);
                let found = borders(self.first(snapshot)?, table, parts).await;
                found.map_err(|error| self.address.problem(error, "looking for parts", &request.location))?
            }
        };
        Ok(KeyCut { key, borders })
    }

    /// Reads a table, proves it, or both, on the connections of `snapshot`.
    async fn read(
        &self,
        snapshot: &mut Snapshot,
        (request, stage, progress): Job<'_>,
        table: &PostgresTable,
        (cut, new): (&KeyCut, Option<NewRows>),
        wanted: Wanted,
    ) -> Result<Parts, ConnectError> {
        let wanted = Wanted { proof: wanted.proof && table.is_stored, ..wanted };
        let expected = if new.is_some() { None } else { table.approximate_rows };
        progress.begin(&format!("extract {}.{}", request.source, request.table), expected);
        let shared = Arc::new(TableRead {
            address: self.address.clone(),
            stage: stage.clone(),
            request: request.clone(),
            name: full_name(table),
            shown: table.shown(),
            table: table.clone(),
            new,
        });
        // The one that holds the table reads as well: its transaction, and with it the lock, goes on.
        let readers = snapshot.connections.drain(..);
        let readers = readers.map(|connection| PostgresReader { connection, shared: Arc::clone(&shared) }).collect();
        let ranges = ranges_between(&cut.borders);
        let (readers, result) = read_parts(readers, request.workers, ranges, wanted, progress).await;
        snapshot.connections = readers.into_iter().map(|reader| reader.connection).collect();
        result
    }

    /// Cuts the table as the last extraction did, where that is still right, and reads it.
    async fn read_cut(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        table: &PostgresTable,
        latest: Option<&StageManifest>,
        wanted: Wanted,
    ) -> Result<(Parts, KeyCut), ConnectError> {
        let cut = self.cut(snapshot, (job.0, table), latest).await?;
        match self.read(snapshot, job, table, (&cut, None), wanted).await {
            // The borders of the last extraction are not in the key's order any more: another collation, or version of it.
            Err(ConnectError::BadCut { .. }) if latest.is_some_and(|latest| latest.cut.is_some()) => {
                let cut = self.cut(snapshot, (job.0, table), None).await?;
                let parts = self.read(snapshot, job, table, (&cut, None), wanted).await?;
                Ok((parts, cut))
            }
            read => read.map(|parts| (parts, cut)),
        }
    }

    /// Stages the whole table, or what is new in it by its cursor.
    async fn extract_in(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        latest: Option<StageManifest>,
    ) -> Result<ExtractOutcome, ConnectError> {
        let table = self.look(snapshot, job.0).await?;
        let cursor = match &job.0.mode {
            ExtractMode::Cursor { column, look_back } => Some(Cursor::of(&table, &table.shown(), column, *look_back)?),
            ExtractMode::Full | ExtractMode::Changes => None,
        };
        let why = match (changes::start(latest.as_ref(), job.0), &cursor) {
            (Start::From(before), Some(cursor)) => match changes::staged_columns(job.1, &before).await? {
                Some(columns) if columns.fields() == schema_of(&table.columns).fields() => {
                    return self.extract_new(snapshot, job, (&table, cursor), *before).await;
                }
                _ => Some("its columns have changed".to_owned()),
            },
            (Start::From(_), None) => None,
            (Start::Whole(why), _) => why,
        };
        let resume = match &cursor {
            Some(cursor) => Some(self.resume_after(snapshot, (&table, cursor), None).await?),
            None => None,
        };
        let position = snapshot.position.clone();
        let outcome = self.extract_whole(snapshot, job, &table, (latest, position, resume)).await?;
        Ok(ExtractOutcome { read_anew: why, ..outcome })
    }

    /// Stages every row. The next extraction goes on from `resume`.
    pub(super) async fn extract_whole(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        table: &PostgresTable,
        (latest, position, resume): (Option<StageManifest>, Option<LogPosition>, Option<Resume>),
    ) -> Result<ExtractOutcome, ConnectError> {
        let (request, stage, progress) = job;
        let wanted = Wanted { rows: true, proof: request.with_proof };
        let (parts, cut) = self.read_cut(snapshot, job, table, latest.as_ref(), wanted).await?;
        let cut = (!cut.borders.is_empty()).then_some(cut);
        let told = Told { position, cut, hash: request.with_proof.then_some(ProofHash::Md5), resume };
        let rows: u64 = parts.parts.iter().map(|part| part.written.rows()).sum();
        let outcome = parts.publish(request, stage, latest, told).await?;
        progress.finish(&format!("{rows} rows"));
        Ok(outcome)
    }

    /// The largest value of the cursor's column in the snapshot, or `before` when that is larger.
    async fn resume_after(
        &self,
        snapshot: &mut Snapshot,
        (table, cursor): (&PostgresTable, &Cursor),
        before: Option<&str>,
    ) -> Result<Resume, ConnectError> {
        let largest = cursor.largest(self.first(snapshot)?, &full_name(table), before).await;
        let value =
            largest.map_err(|error| self.address.problem(error, "looking for the newest row", &table.shown()))?;
        Ok(Resume::Cursor { column: cursor.name().to_owned(), value })
    }

    /// Stages the rows that are new since `before`.
    async fn extract_new(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        (table, cursor): (&PostgresTable, &Cursor),
        before: StageManifest,
    ) -> Result<ExtractOutcome, ConnectError> {
        let (request, stage, progress) = job;
        let value = match &before.resume {
            Some(Resume::Cursor { value, .. }) => value.as_deref(),
            Some(Resume::Log { .. } | Resume::Airbyte { .. }) | None => None,
        };
        let resume = self.resume_after(snapshot, (table, cursor), value).await?;
        let condition = cursor.condition(self.first(snapshot)?, value).await;
        let condition = condition
            .map_err(|error| self.address.problem(error, "looking back from the newest row", &table.shown()))?;
        let new = NewRows { condition, column: cursor.column() };
        let rows = Wanted { rows: true, proof: false };
        let mut parts = self.read(snapshot, job, table, (&ALL_IN_ONE, Some(new)), rows).await?;
        let (proof, proof_milliseconds) = self.prove_in(snapshot, job, table, &before).await?;
        let part = parts.parts.pop();
        progress.finish(&format!("{} rows", part.as_ref().map_or(0, |part| part.written.rows())));
        let (key, position) = (table.primary_key.clone(), snapshot.position.clone());
        let new = changes::NewRows { part, key, position, proof, resume };
        let outcome = changes::publish_new((request, stage), before, new).await?;
        Ok(ExtractOutcome { proof_milliseconds, ..outcome })
    }

    /// The proof of the whole table, when one is wanted, and the time it took the connections.
    pub(super) async fn prove_in(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        table: &PostgresTable,
        latest: &StageManifest,
    ) -> Result<(Option<SourceProof>, u64), ConnectError> {
        if !job.0.with_proof {
            return Ok((None, 0));
        }
        let (parts, _) = self.read_cut(snapshot, job, table, Some(latest), PROOF).await?;
        let milliseconds = u64::try_from(parts.proof_time.as_millis()).unwrap_or(u64::MAX);
        Ok((parts.source_proof(ProofHash::Md5), milliseconds))
    }
}

/// Schema and table.
fn split(location: &str) -> (&str, &str) {
    location.split_once('.').unwrap_or((DEFAULT_SCHEMA, location))
}

/// The key as a [`KeyCut`] names it.
fn key_of(table: &PostgresTable) -> Vec<String> {
    let described = |name: &String| {
        let column = table.columns.iter().find(|column| column.name == *name)?;
        Some(format!("{name} {} {}", column.source_type, column.collation.as_deref().unwrap_or_default()))
    };
    table.primary_key.iter().filter_map(described).collect()
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
        if request.mode == ExtractMode::Changes {
            return self.extract_changes((request, stage, progress), latest).await;
        }
        let (held, mut snapshot) = self.take_snapshot(request).await?;
        let outcome = self.extract_in(&mut snapshot, (request, stage, progress), latest).await;
        Self::give_back(held, snapshot).await;
        outcome
    }

    async fn prove(
        &self,
        request: &ExtractRequest,
        stage: &Stage,
        progress: &dyn Progress,
    ) -> Result<Option<SourceProof>, ConnectError> {
        let (held, mut snapshot) = self.take_snapshot(request).await?;
        let proved = match self.look(&mut snapshot, request).await {
            Ok(table) => self.read_cut(&mut snapshot, (request, stage, progress), &table, None, PROOF).await,
            Err(error) => Err(error),
        };
        Self::give_back(held, snapshot).await;
        let proof = proved?.0.source_proof(ProofHash::Md5);
        progress.finish(&format!("{} rows added up", proof.as_ref().map_or(0, |proof| proof.rows)));
        Ok(proof)
    }

    async fn examine(&self, tables: &[Examined<'_>]) -> Result<Vec<Finding>, ConnectError> {
        let wanted = tables.iter().filter(|table| table.query.is_none()).map(|table| {
            let (schema, name) = split(table.location);
            let is_followed = *table.mode == ExtractMode::Changes;
            postgres_doctor::Wanted { schema: schema.to_owned(), name: name.to_owned(), is_followed }
        });
        let wanted: Vec<_> = wanted.collect();
        let mut connection = self.address.connect(SESSION).await?;
        let mut findings = postgres_doctor::examine(&mut connection, &self.address, &wanted).await?;
        for table in tables {
            let Some(text) = table.query else { continue };
            let query = Query::new(table.name.to_owned(), text, Dialect::Standard);
            findings.push(Finding::of_query(table.name, examine(&mut connection, &self.address, query).await));
        }
        close(connection, &self.address.server).await;
        Ok(findings)
    }

    async fn close(&self) {
        self.close_snapshot().await;
        if let Some(session) = self.log.lock().await.take() {
            session.close().await;
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
