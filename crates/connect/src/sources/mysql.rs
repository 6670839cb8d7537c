//! MySQL and MariaDB as a source: tables as typed Parquet, whole or what has changed, all tables of a run from one snapshot.
//!
//! In: a URL and `database.table`, or a query.  Out: staged Parquet files, one per range of the primary key, each in the key's order, so that
//! unchanged data gives the same bytes; a table without a key is one file in the server's order. Beside them in the manifest:
//! the snapshot's place in the binlog, and what the server says its columns add up to.
//! What has changed is one file: the rows after a cursor, or the changes in the log between the last snapshot and this one. The proof is
//! always of the whole table.
//! Rows stream over the binary protocol; each connection holds a few megabytes of them (plus the largest row a few times).
//! Checked on MariaDB; MySQL speaks the same protocol but has not been run here.
//! Never here: the snapshot (`mysql_snapshot`), where to cut (`mysql_ranges`), types (`mysql_columns`), queries (`mysql_query`),
//! values (`mysql_rows`), the
//! proof (`mysql_proof`), which rows are new by a column (`mysql_cursor`) or by the log
//! (`mysql_follow`), retries (`parts`).
//! Start at [`MySqlSource::extract`].

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Dialect, KeyCut, Problem as _, Progress, ProofHash, Resume, SourceProof, StageManifest};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::{Mutex, MutexGuard};

use super::mysql_columns::{MySqlTable, read_tables, schema_of};
use super::mysql_cursor::Cursor;
use super::mysql_doctor;
use super::mysql_log::hash_columns;
use super::mysql_log_check::{LogTable, check_server, check_table};
use super::mysql_query::describe;
use super::mysql_ranges::{borders, full_name};
use super::mysql_reader::{MySqlReader, NewRows, TableRead};
use super::mysql_snapshot::{RELEASE, SESSION, Snapshot, close};
use super::query::Query;
use crate::changes::{self, Start};
use crate::dial::mysql::MySqlAddress;
use crate::dial::nearest;
use crate::key_range::ranges_between;
use crate::parts::{Parts, Told, Wanted, borders_to_keep, read_parts, wanted_parts};
use crate::{
    ConnectError, DiscoveredColumn, DiscoveredTable, Examined, ExtractMode, ExtractOutcome, ExtractRequest, Finding,
    InvalidDates, Source, Stage,
};

/// Connections beside the workers': one stands by for one that is lost.
const RESERVE: usize = 1;
const ALL: Wanted = Wanted { rows: true, proof: true };
const PROOF: Wanted = Wanted { rows: false, proof: true };
const ROWS: Wanted = Wanted { rows: true, proof: false };

/// A MySQL or MariaDB server as a source.
#[derive(Debug)]
pub struct MySqlSource {
    pub(super) address: MySqlAddress,
    /// Opened by the first table, shared by all of a run: `None` before, and after [`Source::close`].
    snapshot: Mutex<Option<Snapshot>>,
}

/// What is known of a table once it has been looked at in the snapshot.
pub(super) struct Looked {
    database: String,
    pub(super) table: Arc<MySqlTable>,
}

impl Looked {
    /// For SQL.
    fn full_name(&self) -> String {
        match &self.table.query {
            Some(query) => query.as_table(),
            None => full_name(&self.database, &self.table.name),
        }
    }

    /// As people write it.
    pub(super) fn shown(&self) -> String {
        match &self.table.query {
            Some(query) => query.shown.clone(),
            None => format!("{}.{}", self.database, self.table.name),
        }
    }
}

/// How what is new is told.
enum By {
    /// It is not: all is read.
    Nothing,
    Cursor(Cursor),
    Log(LogTable),
}

/// What is extracted, and to where.
pub(super) type Job<'a> = (&'a ExtractRequest, &'a Stage, &'a dyn Progress);

impl MySqlSource {
    /// Reads `url`, such as `mysql://user:password@host:3306/database`; connects to nothing yet.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        Ok(Self { address: MySqlAddress::parse(url)?, snapshot: Mutex::new(None) })
    }

    pub(super) async fn table(
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

    /// The snapshot of this run, which the first call opens; to be given back with [`Self::give_back`].
    async fn take_snapshot(
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
    async fn give_back(mut held: MutexGuard<'_, Option<Snapshot>>, mut snapshot: Snapshot) {
        let mut kept = Vec::with_capacity(snapshot.connections.len());
        for mut connection in snapshot.connections.drain(..) {
            // One that cannot release the table is lost, and others remain or the next table says so.
            if connection.query_drop(RELEASE).await.is_ok() {
                kept.push(connection);
            }
        }
        snapshot.connections = kept;
        *held = Some(snapshot);
    }

    /// The first connection of the snapshot, for what is asked once.
    pub(super) fn first<'a>(&self, snapshot: &'a mut Snapshot) -> Result<&'a mut Conn, ConnectError> {
        snapshot.connections.first_mut().ok_or_else(|| lost(&self.address))
    }

    async fn look(&self, snapshot: &mut Snapshot, request: &ExtractRequest) -> Result<Looked, ConnectError> {
        let (first, dates) = (self.first(snapshot)?, request.invalid_dates);
        if let Some(query) = Query::of(request, Dialect::MySql) {
            let table = describe(first, &self.address, query, dates).await?;
            return Ok(Looked { database: String::new(), table: Arc::new(table) });
        }
        let (database, name) = self.address.split(&request.location)?;
        let table = self.table(first, (database, name), dates).await?;
        Ok(Looked { database: database.to_owned(), table: Arc::new(table) })
    }

    /// Where to cut the table, as the first connection of the snapshot sees it.
    async fn cut(
        &self,
        snapshot: &mut Snapshot,
        (request, looked): (&ExtractRequest, &Looked),
        latest: Option<&StageManifest>,
    ) -> Result<KeyCut, ConnectError> {
        let table = &looked.table;
        let key = key_of(table);
        let borders = match borders_to_keep(latest, &key, table.approximate_rows) {
            Some(borders) => borders,
            None => {
                let parts = wanted_parts(table.approximate_rows, request.workers);
                let found = borders(self.first(snapshot)?, &looked.database, table, parts).await;
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
        looked: &Looked,
        (cut, new): (&KeyCut, Option<NewRows>),
        wanted: Wanted,
    ) -> Result<Parts, ConnectError> {
        let wanted = Wanted { proof: wanted.proof && looked.table.is_stored, ..wanted };
        let expected = if new.is_some() { None } else { looked.table.approximate_rows };
        progress.begin(&format!("extract {}.{}", request.source, request.table), expected);
        let shared = Arc::new(TableRead {
            address: self.address.clone(),
            stage: stage.clone(),
            request: request.clone(),
            name: looked.full_name(),
            shown: looked.shown(),
            table: Arc::clone(&looked.table),
            new,
        });
        let readers = snapshot.connections.drain(..);
        let readers = readers.map(|connection| MySqlReader { connection, shared: Arc::clone(&shared) }).collect();
        let ranges = ranges_between(&cut.borders);
        let (readers, result) = read_parts(readers, request.workers, ranges, wanted, progress).await;
        snapshot.connections = readers.into_iter().map(|reader| reader.connection).collect();
        let parts = result?;
        // A column that changed while rows were read would be staged under its old type.
        let after = self.look(snapshot, request).await?;
        if after.table.columns != looked.table.columns {
            return Err(ConnectError::TableChanged { table: shared.shown.clone() });
        }
        Ok(parts)
    }

    /// Cuts the table as the last extraction did, where that is still right, and reads it.
    async fn read_cut(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        looked: &Looked,
        latest: Option<&StageManifest>,
        wanted: Wanted,
    ) -> Result<(Parts, KeyCut), ConnectError> {
        let cut = self.cut(snapshot, (job.0, looked), latest).await?;
        match self.read(snapshot, job, looked, (&cut, None), wanted).await {
            // The borders of the last extraction are not in the key's order any more: another collation, or version of it.
            Err(ConnectError::BadCut { .. }) if latest.is_some_and(|latest| latest.cut.is_some()) => {
                let cut = self.cut(snapshot, (job.0, looked), None).await?;
                let parts = self.read(snapshot, job, looked, (&cut, None), wanted).await?;
                Ok((parts, cut))
            }
            read => read.map(|parts| (parts, cut)),
        }
    }

    /// Stages the table from where its last extraction ended, or whole.
    async fn extract_in(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        latest: Option<StageManifest>,
    ) -> Result<ExtractOutcome, ConnectError> {
        let looked = self.look(snapshot, job.0).await?;
        let by = self.check_mode(snapshot, job.0, &looked).await?;
        let why = match (changes::start(latest.as_ref(), job.0), &by) {
            (Start::From(before), By::Cursor(cursor)) => match changes::staged_columns(job.1, &before).await? {
                Some(columns) if columns.fields() == schema_of(&looked.table.columns).fields() => {
                    return self.extract_new(snapshot, job, (&looked, cursor), *before).await;
                }
                _ => Some("its columns have changed".to_owned()),
            },
            (Start::From(before), By::Log(log)) => {
                match self.extract_changes(snapshot, job, (&looked, log), *before).await? {
                    Ok(outcome) => return Ok(outcome),
                    Err(why) => Some(why),
                }
            }
            (Start::From(_), By::Nothing) => None,
            (Start::Whole(why), _) => why,
        };
        let outcome = self.extract_whole(snapshot, job, (&looked, &by), latest).await?;
        Ok(ExtractOutcome { read_anew: why, ..outcome })
    }

    /// Whether the table can be read in the wanted mode, before anything is read.
    async fn check_mode(
        &self,
        snapshot: &mut Snapshot,
        request: &ExtractRequest,
        looked: &Looked,
    ) -> Result<By, ConnectError> {
        Ok(match &request.mode {
            ExtractMode::Full => By::Nothing,
            ExtractMode::Cursor { column, look_back } => {
                By::Cursor(Cursor::of(&looked.table, &looked.shown(), column, *look_back)?)
            }
            ExtractMode::Changes => {
                let connection = self.first(snapshot)?;
                let server = check_server(connection, &self.address).await?;
                By::Log(check_table(connection, &self.address, server, (&looked.database, &looked.table)).await?)
            }
        })
    }

    async fn extract_whole(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        (looked, by): (&Looked, &By),
        latest: Option<StageManifest>,
    ) -> Result<ExtractOutcome, ConnectError> {
        if let By::Log(log) = by {
            self.check_log(snapshot, job.0, (looked, log)).await?;
        }
        let wanted = Wanted { proof: job.0.with_proof, ..ALL };
        // Before the rows: tables that are in no snapshot may get more of them meanwhile, and those must be new next time.
        let resume = match by {
            By::Nothing => None,
            By::Cursor(cursor) => Some(self.resume_after(snapshot, job.0, (looked, cursor), None).await?),
            By::Log(_) => Some(Resume::Log { columns: hash_columns(&looked.table) }),
        };
        let (parts, cut) = self.read_cut(snapshot, job, looked, latest.as_ref(), wanted).await?;
        let told = Told {
            position: snapshot.position.clone(),
            cut: (!cut.borders.is_empty()).then_some(cut),
            hash: job.0.with_proof.then_some(ProofHash::Crc32),
            resume,
        };
        let rows: u64 = parts.parts.iter().map(|part| part.written.rows()).sum();
        let outcome = parts.publish(job.0, job.1, latest, told).await?;
        job.2.finish(&format!("{rows} rows"));
        Ok(outcome)
    }

    /// The largest value of the cursor's column in the snapshot, or the one `before` when the rows that had it are gone.
    async fn resume_after(
        &self,
        snapshot: &mut Snapshot,
        request: &ExtractRequest,
        (looked, cursor): (&Looked, &Cursor),
        before: Option<&str>,
    ) -> Result<Resume, ConnectError> {
        let ExtractMode::Cursor { column, .. } = &request.mode else {
            return Err(ConnectError::internal("go on from a cursor", "the mode is another one"));
        };
        let select = cursor.select_largest(&looked.full_name(), before)?;
        let found: Result<Option<Option<String>>, _> = self.first(snapshot)?.query_first(select).await;
        let found =
            found.map_err(|error| self.address.problem(error, "looking for the newest row", &looked.shown()))?;
        let value = found.flatten().or_else(|| before.map(str::to_owned));
        Ok(Resume::Cursor { column: column.clone(), value })
    }

    /// Stages the rows that are new since `before`.
    async fn extract_new(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        (looked, cursor): (&Looked, &Cursor),
        before: StageManifest,
    ) -> Result<ExtractOutcome, ConnectError> {
        let (request, stage, progress) = job;
        let value = match &before.resume {
            Some(Resume::Cursor { value, .. }) => value.as_deref(),
            Some(Resume::Log { .. } | Resume::Airbyte { .. }) | None => None,
        };
        let whole = KeyCut { key: Vec::new(), borders: Vec::new() };
        let new = NewRows { condition: cursor.condition(value)?, column: cursor.column().to_owned() };
        let resume = self.resume_after(snapshot, request, (looked, cursor), value).await?;
        let mut parts = self.read(snapshot, job, looked, (&whole, Some(new)), ROWS).await?;
        let (proof, proof_milliseconds) = self.prove_in(snapshot, job, looked, &before).await?;
        let part = parts.parts.pop();
        progress.finish(&format!("{} rows", part.as_ref().map_or(0, |part| part.written.rows())));
        let (key, position) = (looked.table.primary_key.clone(), snapshot.position.clone());
        let new = changes::NewRows { part, key, position, proof, resume };
        let outcome = changes::publish_new((request, stage), before, new).await?;
        Ok(ExtractOutcome { proof_milliseconds, ..outcome })
    }

    /// The proof of the whole table, when one is wanted, and the time it took the connections.
    pub(super) async fn prove_in(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        looked: &Looked,
        latest: &StageManifest,
    ) -> Result<(Option<SourceProof>, u64), ConnectError> {
        if !job.0.with_proof {
            return Ok((None, 0));
        }
        let (parts, _) = self.read_cut(snapshot, job, looked, Some(latest), PROOF).await?;
        let milliseconds = u64::try_from(parts.proof_time.as_millis()).unwrap_or(u64::MAX);
        Ok((parts.source_proof(ProofHash::Crc32), milliseconds))
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
            Ok(looked) => self.read_cut(&mut snapshot, (request, stage, progress), &looked, None, PROOF).await,
            Err(error) => Err(error),
        };
        Self::give_back(held, snapshot).await;
        let proof = proved?.0.source_proof(ProofHash::Crc32);
        progress.finish(&format!("{} rows added up", proof.as_ref().map_or(0, |proof| proof.rows)));
        Ok(proof)
    }

    async fn examine(&self, tables: &[Examined<'_>]) -> Result<Vec<Finding>, ConnectError> {
        let (mut all, mut followed, mut queries) = (Vec::new(), Vec::new(), Vec::new());
        for table in tables {
            if let Some(text) = table.query {
                queries.push(Query::new(table.name.to_owned(), text, Dialect::MySql));
                continue;
            }
            let names = self.address.split(table.location)?;
            all.push(names);
            if *table.mode == ExtractMode::Changes {
                followed.push(names);
            }
        }
        let mut connection = self.address.connect(SESSION).await?;
        let findings = mysql_doctor::examine(&mut connection, &self.address.user, &all).await;
        let mut findings = findings.map_err(|error| self.address.problem(error, "looking at its settings", ""))?;
        if !followed.is_empty() {
            findings.push(match self.try_log(&mut connection, &followed).await {
                Ok(detail) => Finding::fine("log", detail),
                Err(error) => Finding::mend("log", error.to_string(), error.help().unwrap_or_default()),
            });
        }
        for query in queries {
            let name = query.shown.clone();
            let found = describe(&mut connection, &self.address, query, InvalidDates::default()).await;
            findings.push(Finding::of_query(&name, found.map(|table| table.columns.len())));
        }
        close(connection, &self.address.server).await;
        Ok(findings)
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
