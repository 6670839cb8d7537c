//! Mode `changes` of PostgreSQL: a table from where its last extraction ended, by the log; or whole, when that cannot be.
//!
//! In: a request, the newest manifest of its table.  Out: a manifest of changes, or of the whole table with a place in the log.
//! All tables of a run end at one snapshot and one place in the log. Only a table that is new to the log makes the run open a snapshot of
//! its own, since the one that is open may be older than what the log holds of it.
//! Never here: the log (`postgres_log`, `postgres_log_read`), rows (`postgres_lookup`, `postgres_reader`).
//! Start at [`PostgresSource::extract_changes`].

use domain::{DELETED_COLUMN, LogPosition, Resume, StageManifest};
use sqlx::postgres::PgConnection;
use sqlx::{Error, Row};

use super::postgres::{Job, PostgresSource};
use super::postgres_columns::PostgresTable;
use super::postgres_log::LogSession;
use super::postgres_log_check::Followed;
use super::postgres_log_messages::Lsn;
use super::postgres_log_read::read_log;
use super::postgres_lookup::look_up;
use super::postgres_ranges::full_name;
use super::postgres_reader::TableRead;
use super::postgres_snapshot::Snapshot;
use crate::changes::{self, Start};
use crate::parts::Part;
use crate::{ConnectError, ExtractOutcome};

/// What makes rows differ without a word in the log when it changes. A column's catalog row is another one after any `ALTER` of it, also
/// after one that computes all its values anew; a partition is another file after it was emptied, and another number after it was swapped.
const SHAPE: &str = "SELECT
      (SELECT string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, a.xmin), ',' ORDER BY a.attnum)
       FROM pg_attribute a WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped),
      (SELECT string_agg(concat_ws(' ', x.oid, x.relfilenode), ',' ORDER BY x.oid)
       FROM pg_partition_tree($1::int8::oid::regclass) p JOIN pg_class x ON x.oid = p.relid WHERE p.level > 0)";

/// A table that goes on, and from where.
struct Before {
    manifest: StageManifest,
    from: Lsn,
    shape: String,
}

impl PostgresSource {
    /// Stages what has changed in a table, or all of it.
    pub(super) async fn extract_changes(
        &self,
        job: Job<'_>,
        latest: Option<StageManifest>,
    ) -> Result<ExtractOutcome, ConnectError> {
        let (request, stage, _) = job;
        let mut log = self.log.lock().await;
        let mut held = log.take();
        // One that was silent while a large table was read may have been cut off by somebody on the way.
        if let Some(session) = &mut held
            && !session.is_alive().await
        {
            held = None;
        }
        let mut session = match held {
            Some(session) => session,
            None => LogSession::open(&self.address, &request.source).await?,
        };
        session.will_advance(stage, &request.source, request.now);
        let outcome = self.follow(&mut session, job, latest).await;
        // One that is lost is opened anew by the next table.
        if !matches!(outcome, Err(ConnectError::ConnectionLost { .. })) {
            *log = Some(session);
        }
        outcome
    }

    async fn follow(
        &self,
        session: &mut LogSession,
        job: Job<'_>,
        latest: Option<StageManifest>,
    ) -> Result<ExtractOutcome, ConnectError> {
        let request = job.0;
        let table = self.table(&mut session.connection, &request.location, request.invalid_dates).await?;
        let (name, shown) = (full_name(&table), table.shown());
        let mut followed = session.look(&name, &shown).await?;
        let start = match changes::start(latest.as_ref(), request) {
            Start::From(manifest) => {
                let (from, shape) = session.reaches(&followed, &manifest).await?;
                if shape.starts_with(&identity_of(&followed)) {
                    Ok(Before { manifest: *manifest, from, shape })
                } else {
                    // Another table of the name, or published anew: the log may lack what transactions under way have written to it.
                    Err(Some("it was made or published anew".to_owned()))
                }
            }
            Start::Whole(why) => Err(why),
        };
        let start = match start {
            Ok(before) => Ok(before),
            Err(why) => {
                if session.prepare(&followed).await? {
                    self.close_snapshot().await;
                }
                followed = session.look(&name, &shown).await?;
                Err(why)
            }
        };
        let (held, mut snapshot) = self.take_snapshot(request).await?;
        let outcome = self.follow_in((session, &mut snapshot), job, &followed, (latest, start)).await;
        Self::give_back(held, snapshot).await;
        outcome
    }

    /// The same in the snapshot of the run.
    async fn follow_in(
        &self,
        (session, snapshot): (&mut LogSession, &mut Snapshot),
        job: Job<'_>,
        followed: &Followed,
        (latest, start): (Option<StageManifest>, Result<Before, Option<String>>),
    ) -> Result<ExtractOutcome, ConnectError> {
        let log = match snapshot.log.take() {
            Some(log) => log,
            None => read_log(session, self.first(snapshot)?).await?,
        };
        let log = snapshot.log.insert(log);
        let position = LogPosition::Wal { lsn: log.position.to_string() };
        let whole = start.as_ref().ok().and_then(|before| log.whole(followed.relation, before.from));
        let table = self.look(snapshot, job.0).await?;
        let shape = shape_of(self.first(snapshot)?, followed).await;
        let shape = shape.map_err(|error| self.address.problem(error, "looking at its columns", &followed.shown))?;
        let resume = Resume::Log { columns: format!("{}:{shape}", session.system) };
        let why = match (start, whole) {
            (Err(why), _) => why,
            (Ok(_), Some(why)) => Some(why.to_owned()),
            (Ok(before), None) if before.shape != shape => {
                Some("its columns, its key or its partitions have changed".to_owned())
            }
            (Ok(before), None) => {
                return self.extract_changed(snapshot, job, (&table, followed), (before, position, resume)).await;
            }
        };
        let outcome = self.extract_whole(snapshot, job, &table, (latest, Some(position), Some(resume))).await?;
        Ok(ExtractOutcome { read_anew: why, ..outcome })
    }

    /// Stages the rows whose keys the log names.
    async fn extract_changed(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        (table, followed): (&PostgresTable, &Followed),
        (before, position, resume): (Before, LogPosition, Resume),
    ) -> Result<ExtractOutcome, ConnectError> {
        let (request, stage, progress) = job;
        progress.begin(&format!("extract {}.{}", request.source, request.table), None);
        let part = self.changed_rows(snapshot, job, (table, followed), before.from).await?;
        progress.finish(&format!("{} changed rows", part.as_ref().map_or(0, |part| part.written.rows())));
        let (proof, proof_milliseconds) = self.prove_in(snapshot, job, table, &before.manifest).await?;
        let mut files = Vec::new();
        if let Some(part) = part {
            let name = changes::file_name(request, &before.manifest);
            files.push(part.written.keep(request, stage, name, part.rejects).await?);
        }
        let rules = (followed.key.clone(), Some(DELETED_COLUMN));
        let mut manifest = changes::manifest(request, &before.manifest, files, rules)?;
        manifest.position = Some(position);
        manifest.proof = proof;
        manifest.resume = Some(resume);
        let outcome = request.publish_changes(stage, before.manifest, manifest).await?;
        Ok(ExtractOutcome { proof_milliseconds, ..outcome })
    }

    /// Looks up what has changed, on another connection of the snapshot when one is lost.
    async fn changed_rows(
        &self,
        snapshot: &mut Snapshot,
        (request, stage, progress): Job<'_>,
        (table, followed): (&PostgresTable, &Followed),
        from: Lsn,
    ) -> Result<Option<Part>, ConnectError> {
        let read = TableRead {
            address: self.address.clone(),
            stage: stage.clone(),
            request: request.clone(),
            name: followed.full_name.clone(),
            shown: followed.shown.clone(),
            table: table.clone(),
            new: None,
        };
        let spool = |error| ConnectError::internal("read the keys of changes", error);
        loop {
            let Snapshot { connections, log, .. } = &mut *snapshot;
            let (Some(log), Some(first)) = (log.as_mut(), connections.first_mut()) else {
                return Err(ConnectError::internal("read changed rows", "there is no snapshot"));
            };
            // Published when the log was looked at, with the key it has now: else somebody has changed that just now.
            let keys = log.keys(followed.relation, from).map_err(spool)?.filter(|keys| keys.key == followed.key);
            let Some(mut keys) = keys else {
                return Err(ConnectError::TableChanged { table: followed.shown.clone() });
            };
            match look_up(first, &read, &mut keys, progress).await {
                Err(error @ ConnectError::ConnectionLost { .. }) if snapshot.connections.len() > 1 => {
                    tracing::warn!(%error, "another connection takes over");
                    snapshot.connections.remove(0);
                }
                part => return part,
            }
        }
    }
}

/// Differs from what it was before when the table must be read whole.
async fn shape_of(inside: &mut PgConnection, followed: &Followed) -> Result<String, Error> {
    let found = sqlx::query(SHAPE).bind(i64::from(followed.relation)).fetch_one(inside).await?;
    let (columns, partitions): (Option<String>, Option<String>) = (found.try_get(0)?, found.try_get(1)?);
    let all = (&followed.key, columns, partitions);
    Ok(identity_of(followed) + &domain::hash_bytes(format!("{all:?}").as_bytes()))
}

/// Which table it is, and in which stay in the publication: what every shape begins with.
fn identity_of(followed: &Followed) -> String {
    let membership = domain::hash_bytes(followed.membership.as_bytes());
    format!("{}-{}-", followed.relation, membership.get(..16).unwrap_or(&membership))
}
