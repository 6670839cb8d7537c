//! Following PostgreSQL's log: a publication that names the tables, and a replication slot that keeps their changes.
//!
//! In: an address, the name of a source.  Out: a [`LogSession`] whose slot holds every change since any manifest's position.
//! One publication and one slot serve all tables of a source, since a server has few slots (`max_replication_slots`). A slot moves on
//! only as far as every table's newest manifest reaches, and only after that is durable.
//!
//! What a table's first snapshot does not see must be in the log. Changes of a transaction that was open when the table was added, or
//! the slot made, are in it in part: so these are waited for, and the snapshot is opened afterwards ([`LogSession::prepare`]).
//! Never here: reading the log (`postgres_log_read`), what the server must be like for it (`postgres_log_check`).
//! Start at [`LogSession::open`].

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Dialect, LogPosition, Resume, StageManifest, quote_identifier};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Error, Executor, Row};

use super::postgres_log_check::{Followed, Unusable, check_server, look};
use super::postgres_log_messages::Lsn;
use super::postgres_snapshot::{SESSION, close};
use crate::dial::postgres::{PostgresAddress, statement};
use crate::{ConnectError, Stage};

/// Longest name of a server's object in bytes.
const MAX_NAME_BYTES: usize = 63;
/// Transactions that are open when a table is added are waited for so long; one that stays longer has been forgotten.
const SETTLE: Duration = Duration::from_secs(300);
/// How often is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(50);
/// A table whose newest manifest is that old is not extracted any more, and the server keeps nothing for it: its disk would fill.
const ABANDONED: TimeDelta = TimeDelta::days(7);

const SLOT: &str = "SELECT confirmed_flush_lsn::text, COALESCE(wal_status, '') = 'lost' AS is_lost, plugin::text, \
     database = current_database() AS is_ours, database::text FROM pg_replication_slots WHERE slot_name = $1";
const PUBLICATION: &str = "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AS publishes_all, pubviaroot \
     FROM pg_publication WHERE pubname = $1";
const MEMBERS: &str = "SELECT c.oid::int8 FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname \
     JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename WHERE p.pubname = $1";

/// The slot of a source.
#[derive(Debug)]
struct Slot {
    /// Every commit that stands here or later is still in it.
    confirmed: Lsn,
    /// The server has thrown away what it kept.
    is_lost: bool,
}

/// A connection that is in no snapshot: it makes slot and publication, reads the log, and moves the slot on.
#[derive(Debug)]
pub(crate) struct LogSession {
    pub(super) connection: PgConnection,
    pub(super) address: PostgresAddress,
    /// Of the slot and of the publication.
    pub(super) name: String,
    /// The number that a server gets when it is made, and that its copies keep.
    pub(super) system: String,
    /// Tables whose every change is in the log from before any snapshot that is opened from now on.
    settled: HashSet<u32>,
    /// Whose manifests say how far the slot may move on.
    done: Option<(Stage, String, DateTime<Utc>)>,
}

impl LogSession {
    /// Connects, and makes sure that the server can be followed.
    ///
    /// Errors: `LogUnusable` when it keeps no log of rows, is too old or a standby.
    pub(crate) async fn open(address: &PostgresAddress, source: &str) -> Result<Self, ConnectError> {
        let mut connection = address.connect(SESSION).await?;
        let problem = |error| address.problem(error, "setting up the session", "");
        // What is written here is of no use to a standby that would have to confirm it; and some users only read by default.
        let setup = "SET synchronous_commit = local; SET default_transaction_read_only = off";
        connection.execute(setup).await.map_err(problem)?;
        let system = check_server(&mut connection, address).await?;
        let (address, name) = (address.clone(), log_name(source));
        Ok(Self { connection, address, name, system, settled: HashSet::new(), done: None })
    }

    pub(crate) async fn is_alive(&mut self) -> bool {
        self.connection.ping().await.is_ok()
    }

    /// The table as the log knows it.
    ///
    /// Errors: `NoSuchTable`, `NoKey`, `LogUnusable` when its changes cannot be told apart.
    pub(crate) async fn look(&mut self, full_name: &str, shown: &str) -> Result<Followed, ConnectError> {
        look(&mut self.connection, &self.address, &self.name, (full_name, shown)).await
    }

    /// From where the log must be read to go on after `before`.
    ///
    /// Errors: `LogGone` when it does not reach back that far.
    pub(crate) async fn reaches(
        &mut self,
        followed: &Followed,
        before: &StageManifest,
    ) -> Result<(Lsn, String), ConnectError> {
        let Some((lsn, columns)) = place_of(before) else {
            return Err(ConnectError::internal("go on in a log", "the manifest has no place in it"));
        };
        let (system, shape) = columns.split_once(':').unwrap_or_default();
        let slot = self.slot().await?;
        let publication = self.publication().await?;
        // What it leaves out now, it may have left out since.
        let left_out = publication.and_then(|found| self.check_publication(found, followed).err());
        let reason = match slot {
            _ if system != self.system => "it is another server than the one that was read".to_owned(),
            None => format!("its replication slot `{}` does not exist", self.name),
            Some(slot) if slot.is_lost => {
                format!("it has removed what slot `{}` was to keep (max_slot_wal_keep_size)", self.name)
            }
            Some(slot) if slot.confirmed > lsn => format!("slot `{}` begins at {}", self.name, slot.confirmed),
            Some(_) if !followed.is_member => format!("publication `{}` does not contain the table", self.name),
            Some(_) => match left_out {
                Some(ConnectError::LogUnusable { reason, .. }) => reason,
                Some(error) => return Err(error),
                None => return Ok((lsn, shape.to_owned())),
            },
        };
        Err(ConnectError::LogGone {
            server: self.address.server.clone(),
            source_table: format!("{}.{}", before.source, before.table),
            table: followed.shown.clone(),
            position: lsn.to_string(),
            reason,
        })
    }

    /// Sees to it that every change of the table is in the log that a snapshot opened from now on does not see. Answers whether one that is
    /// open already is too old for that.
    pub(crate) async fn prepare(&mut self, followed: &Followed) -> Result<bool, ConnectError> {
        let mut slot = self.slot().await?;
        let publication = self.publication().await?;
        let mut was_added = false;
        match publication {
            None => {
                let table = &followed.full_name;
                let create = format!(
                    "CREATE PUBLICATION {} FOR TABLE {table} WITH (publish_via_partition_root = true)",
                    self.quoted()
                );
                self.alter_publication(&create).await?;
                was_added = true;
            }
            Some(publication) => {
                self.check_publication(publication, followed)?;
                if !followed.is_member {
                    let add = format!("ALTER PUBLICATION {} ADD TABLE {}", self.quoted(), followed.full_name);
                    self.alter_publication(&add).await?;
                    was_added = true;
                }
            }
        }
        // A slot from before its publication cannot be read: the server looks for the publication at each change's own moment.
        if slot.as_ref().is_some_and(|slot| slot.is_lost || publication.is_none()) {
            self.on_slot("SELECT pg_drop_replication_slot($1)", "dropping its replication slot").await?;
            slot = None;
        }
        let is_new = slot.is_none();
        if is_new {
            self.create_slot().await?;
        }
        if !was_added && !is_new && self.settled.contains(&followed.relation) {
            return Ok(false);
        }
        let members = self.members().await?;
        self.wait_for_open_transactions().await?;
        let touch = format!("ALTER PUBLICATION {} SET (publish_via_partition_root = true)", self.quoted());
        if was_added {
            // Servers before 15.13 (and 14.18, 16.9) may go on to leave a table out that was added while one of these wrote to it, until
            // the publication is touched again.
            self.alter_publication(&touch).await?;
        } else if let Err(error) = self.alter_publication(&touch).await {
            // Added by somebody else, or by a run that did not come so far; whoever may not touch it has a server that does not need it, or
            // somebody who added the table while nobody wrote.
            tracing::debug!(%error, "the publication stays as it is");
        }
        self.settled.extend(members);
        Ok(true)
    }

    fn quoted(&self) -> String {
        quote_identifier(Dialect::Standard, &self.name)
    }

    fn check_publication(
        &self,
        (publishes_all, via_root): (bool, bool),
        followed: &Followed,
    ) -> Result<(), ConnectError> {
        let name = self.quoted();
        if !publishes_all {
            let set = format!("`ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')`");
            return Err(self.unusable(format!("publication {name} leaves out some kinds of changes"), set));
        }
        if followed.is_partitioned && !via_root {
            let set = format!("`ALTER PUBLICATION {name} SET (publish_via_partition_root = true)`");
            return Err(
                self.unusable(format!("publication {name} knows the partitions of `{}` only", followed.shown), set)
            );
        }
        if followed.is_filtered {
            let next =
                format!("`ALTER PUBLICATION {name} DROP TABLE {0}`, and add it without WHERE", followed.full_name);
            return Err(self.unusable(format!("publication {name} leaves out rows of `{}`", followed.shown), next));
        }
        Ok(())
    }

    fn unusable(&self, reason: String, next: String) -> ConnectError {
        ConnectError::LogUnusable { server: self.address.server.clone(), reason, next }
    }

    /// Which kinds of changes are published, and whether partitions count as their table.
    async fn publication(&mut self) -> Result<Option<(bool, bool)>, ConnectError> {
        let found = sqlx::query(PUBLICATION).bind(&self.name).fetch_optional(&mut self.connection).await;
        let read = |row: PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
        let found = found.and_then(|row| row.map(read).transpose());
        found.map_err(|error| self.address.problem(error, "looking at its publication", ""))
    }

    async fn members(&mut self) -> Result<Vec<u32>, ConnectError> {
        let found = sqlx::query(MEMBERS).bind(&self.name).fetch_all(&mut self.connection).await;
        let read = |row: &PgRow| row.try_get::<i64, _>(0).map(|oid| u32::try_from(oid).unwrap_or(0));
        let found = found.and_then(|rows| rows.iter().map(read).collect());
        found.map_err(|error| self.address.problem(error, "looking at its publication", ""))
    }

    async fn alter_publication(&mut self, change: &str) -> Result<(), ConnectError> {
        match self.connection.execute(statement(change.to_owned())).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.not_done(error, "changing its publication", |reason| Unusable {
                reason: format!("its publication cannot be changed: {reason}"),
                next: format!("let the owner of the table run `{change}`"),
            })),
        }
    }

    /// The slot, when there is one.
    ///
    /// Errors: `LogUnusable` when one of that name is somebody else's.
    async fn slot(&mut self) -> Result<Option<Slot>, ConnectError> {
        let found = sqlx::query(SLOT).bind(&self.name).fetch_optional(&mut self.connection).await;
        let problem = |error| self.address.problem(error, "looking at its replication slot", "");
        let Some(row) = found.map_err(problem)? else { return Ok(None) };
        let plugin: Option<String> = row.try_get("plugin").map_err(problem)?;
        let is_ours: Option<bool> = row.try_get("is_ours").map_err(problem)?;
        if plugin.as_deref() != Some("pgoutput") || is_ours != Some(true) {
            let database: Option<String> = row.try_get("database").map_err(problem)?;
            let whose = database.map_or_else(|| "a standby".to_owned(), |name| format!("database `{name}`"));
            let reason = format!("replication slot `{}` belongs to {whose}", self.name);
            return Err(self.unusable(reason, "name the source otherwise, or drop the slot".to_owned()));
        }
        let confirmed: Option<String> = row.try_get("confirmed_flush_lsn").map_err(problem)?;
        let is_lost: bool = row.try_get("is_lost").map_err(problem)?;
        let confirmed = match confirmed {
            Some(text) => text.parse().map_err(|reason| ConnectError::internal("read a replication slot", reason))?,
            None => Lsn(u64::MAX),
        };
        Ok(Some(Slot { confirmed, is_lost }))
    }

    /// The server waits until every transaction has ended that is open now.
    async fn create_slot(&mut self) -> Result<(), ConnectError> {
        let limit = format!("SET statement_timeout = {}", SETTLE.as_millis());
        let problem = |error| self.address.problem(error, "setting up the session", "");
        self.connection.execute(statement(limit)).await.map_err(problem)?;
        let made = self
            .on_slot("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", "making a replication slot")
            .await;
        let problem = |error| self.address.problem(error, "setting up the session", "");
        self.connection.execute("SET statement_timeout = 0").await.map_err(problem)?;
        made
    }

    /// Runs a function on the slot, whose name is `$1`.
    async fn on_slot(&mut self, call: &'static str, action: &str) -> Result<(), ConnectError> {
        let done = sqlx::query(call).bind(&self.name).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| self.slot_problem(error, action))
    }

    /// What stands in the way of using the slot, by what can be done about it.
    pub(super) fn slot_problem(&self, error: Error, action: &str) -> ConnectError {
        let (name, user) = (self.name.clone(), self.address.user.clone());
        let state = error.as_database_error().and_then(|found| found.code()).unwrap_or_default().into_owned();
        // SQLSTATE: PostgreSQL documentation, appendix A.
        let next = match state.as_str() {
            "42501" => format!("`ALTER ROLE {user} REPLICATION` (`GRANT rds_replication TO {user}` on Amazon RDS)"),
            "53400" => "raise `max_replication_slots` and restart the server, or drop a slot that is in the way: \
                 `SELECT slot_name, active FROM pg_replication_slots`"
                .to_owned(),
            "55006" => "another run reads it: let that end, then run again".to_owned(),
            "55000" | "42704" => {
                format!("`SELECT pg_drop_replication_slot('{name}')`, then extract with `--anew`")
            }
            "57014" => OPEN_TRANSACTIONS.to_owned(),
            _ => return self.address.problem(error, action, ""),
        };
        self.not_done(error, action, |reason| Unusable { reason: format!("replication slot `{name}`: {reason}"), next })
    }

    /// A lost connection stays one; what the server refuses becomes `LogUnusable`.
    fn not_done(&self, error: Error, action: &str, told: impl FnOnce(&str) -> Unusable) -> ConnectError {
        match error.as_database_error().map(|found| found.message().to_owned()) {
            Some(reason) => {
                let Unusable { reason, next } = told(&reason);
                self.unusable(reason, next)
            }
            None => self.address.problem(error, action, ""),
        }
    }

    /// Waits until the transactions have ended that are open now.
    async fn wait_for_open_transactions(&mut self) -> Result<(), ConnectError> {
        let problem = |error| self.address.problem(error, "waiting for open transactions", "");
        let newest = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
        let newest: String = self.connection.fetch_one(newest).await.and_then(|row| row.try_get(0)).map_err(problem)?;
        let since = Instant::now();
        while since.elapsed() < SETTLE {
            let ended = sqlx::query("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8").bind(&newest);
            let ended = ended.fetch_one(&mut self.connection).await.and_then(|row| row.try_get(0));
            if ended.map_err(problem)? {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        let reason =
            format!("a transaction has been open for over {} s, and what it writes is not all in it", SETTLE.as_secs());
        Err(self.unusable(reason, OPEN_TRANSACTIONS.to_owned()))
    }

    /// Remembers whose manifests decide how far the slot moves on at the end of the run.
    pub(crate) fn will_advance(&mut self, stage: &Stage, source: &str, now: DateTime<Utc>) {
        self.done = Some((stage.clone(), source.to_owned(), now));
    }

    /// Moves the slot on to where the table begins that is behind all others, and ends the session.
    pub(crate) async fn close(mut self) {
        if let Some((stage, source, now)) = self.done.take()
            && let Err(error) = self.advance(&stage, &source, now).await
        {
            // Nothing is wrong but that the server keeps its log for longer; the next run tries again.
            tracing::warn!(%error, slot = self.name, "the replication slot was not moved on");
        }
        close(self.connection, &self.address.server).await;
    }

    async fn advance(&mut self, stage: &Stage, source: &str, now: DateTime<Utc>) -> Result<(), ConnectError> {
        let Some(slot) = self.slot().await? else { return Ok(()) };
        let mut least: Option<Lsn> = None;
        for manifest in stage.latest_of(source).await? {
            let Some((lsn, _)) = place_of(&manifest) else { continue };
            if now - manifest.extracted_at > ABANDONED {
                tracing::warn!(table = manifest.table, extracted_at = %manifest.extracted_at, "its changes are not kept any more");
            } else if lsn >= slot.confirmed {
                least = Some(least.map_or(lsn, |least| least.min(lsn)));
            }
        }
        let Some(least) = least.filter(|least| *least > slot.confirmed) else { return Ok(()) };
        let call = sqlx::query("SELECT pg_replication_slot_advance($1, $2::text::pg_lsn)");
        let done = call.bind(&self.name).bind(least.to_string()).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| self.slot_problem(error, "moving its replication slot on"))
    }
}

/// What to do about transactions that do not end.
const OPEN_TRANSACTIONS: &str = "let them end, then run again: `SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL \
     ORDER BY xact_start` shows them";

/// The place in the log of a manifest that is followed by one, and what [`Resume::Log`] says of its columns.
fn place_of(manifest: &StageManifest) -> Option<(Lsn, &str)> {
    let (Some(Resume::Log { columns }), Some(LogPosition::Wal { lsn })) = (&manifest.resume, &manifest.position) else {
        return None;
    };
    Some((lsn.parse().ok()?, columns))
}

/// `montauk_<source>`, of what a slot's name may be made of; two sources never get the same one.
pub(crate) fn log_name(source: &str) -> String {
    let plain: String =
        source.chars().map(|c| if c.is_ascii_digit() || c.is_ascii_lowercase() { c } else { '_' }).collect();
    let name = format!("montauk_{plain}");
    if plain == source && name.len() <= MAX_NAME_BYTES {
        return name;
    }
    let hash = domain::hash_bytes(source.as_bytes());
    let cut: String = name.chars().take(MAX_NAME_BYTES - 9).collect();
    format!("{cut}_{}", &hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_a_slot_and_stay_apart() {
        assert_eq!(log_name("shop2"), "montauk_shop2");
        assert!(log_name("Shop-2").starts_with("montauk__hop_2_"));
        assert_ne!(log_name("shop-2"), log_name("shop_2"));
        let long = log_name(&"x".repeat(200));
        assert_eq!(long.len(), MAX_NAME_BYTES);
        assert!(log_name("가게").chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit()));
    }
}
