//! The store: SQLite in one file, or PostgreSQL. One writer at a time; every change writes its audit row in the same transaction.
//!
//! In: documents.  Out: documents with the number of the change that made them.
//! Never here: what documents mean; permissions.
//! Start at [`Change`]. Why one driver for both: `docs/decisions/0012-control-writes-one-change-at-a-time.md`.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor, Row, Transaction};

use crate::error::ControlError;
use crate::people::Actor;
use crate::things::Kind;

/// Each schema in the language of both databases; the number of the last is the schema's version.
const MIGRATIONS: &[(&str, &str)] = &[
    (include_str!("../migrations/0001_sqlite.sql"), include_str!("../migrations/0001_postgres.sql")),
    (include_str!("../migrations/0002_power.sql"), include_str!("../migrations/0002_power.sql")),
];
/// Makes starters of one PostgreSQL database wait for each other: `montauk` in ASCII. An advisory lock, because there is no table yet.
const START_LOCK: &str = "SELECT pg_advisory_xact_lock(30803276066091371)";
/// People decide seldom; four connections let reads go on beside the one writer.
const CONNECTIONS: u32 = 4;
/// A change takes milliseconds; whoever waits so long waits for something that hangs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a database file is tried that another starter is just changing to a write-ahead log.
const OPEN_ATTEMPTS: u32 = 50;

/// The store.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: AnyPool,
    is_sqlite: bool,
}

/// A document, and the change that made it.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) key: String,
    pub(crate) revision: u64,
    pub(crate) text: String,
}

impl Document {
    pub(crate) fn read<T: DeserializeOwned>(&self, kind: Kind) -> Result<T, ControlError> {
        serde_json::from_str(&self.text).map_err(|source| ControlError::Document {
            kind: kind.name(),
            key: self.key.clone(),
            source,
        })
    }
}

fn document(row: &sqlx::any::AnyRow) -> Result<Document, sqlx::Error> {
    Ok(Document { key: row.try_get(0)?, revision: row.try_get::<i64, _>(1)?.unsigned_abs(), text: row.try_get(2)? })
}

/// Characters that would end the path in a URL.
fn url_of(path: &Path) -> String {
    let text = path.to_string_lossy();
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '%' => "%25".to_owned(),
            '?' => "%3F".to_owned(),
            '#' => "%23".to_owned(),
            other => other.to_string(),
        })
        .collect();
    format!("sqlite://{escaped}?mode=rwc")
}

impl Store {
    /// Opens a database file; makes it and its directory if they are not there.
    pub(crate) async fn open_file(path: &Path) -> Result<Self, ControlError> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .map_err(|source| ControlError::Io { path: directory.display().to_string(), source })?;
        }
        Self::open(&url_of(path)).await
    }

    /// Opens `postgres://…` or `sqlite://…`, and brings the schema up to date.
    pub(crate) async fn open(url: &str) -> Result<Self, ControlError> {
        sqlx::any::install_default_drivers();
        let is_sqlite = url.starts_with("sqlite:");
        let options = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(BUSY_TIMEOUT).after_connect(
            move |connection, _| {
                Box::pin(async move {
                    if is_sqlite {
                        // FULL: a decision that was answered survives a power cut. Recursive triggers: `REPLACE` on the audit log is refused as well.
                        let settings = "PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; \
                             PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL";
                        connection.execute(settings).await?;
                    }
                    Ok(())
                })
            },
        );
        let mut attempt = 0;
        let pool = loop {
            match options.clone().connect(url).await {
                // SQLite does not wait for the lock when it changes to a write-ahead log: another starter is doing just that.
                Err(sqlx::Error::Database(error))
                    if is_sqlite && attempt < OPEN_ATTEMPTS && error.message().contains("locked") =>
                {
                    attempt += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => break other?,
            }
        };
        let store = Self { pool, is_sqlite };
        store.migrate().await?;
        Ok(store)
    }

    async fn migrate(&self) -> Result<(), ControlError> {
        let mut transaction = self.begin_transaction().await?;
        if !self.is_sqlite {
            transaction.execute(START_LOCK).await?;
        }
        transaction.execute("CREATE TABLE IF NOT EXISTS schema_version (version bigint PRIMARY KEY)").await?;
        let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_version")
            .fetch_one(&mut *transaction)
            .await?;
        let known = MIGRATIONS.len() as i64;
        if found > known {
            return Err(ControlError::NewerSchema { found, known });
        }
        for (version, (sqlite, postgres)) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
            sqlx::raw_sql(if self.is_sqlite { *sqlite } else { *postgres }).execute(&mut *transaction).await?;
            sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
                .bind(version)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn begin_transaction(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        // IMMEDIATE: the lock to write is taken before anything is read, so that what was read is still so when it is written.
        if self.is_sqlite { self.pool.begin_with("BEGIN IMMEDIATE").await } else { self.pool.begin().await }
    }

    /// Begins a change; waits for one that is going on.
    pub(crate) async fn begin(&self) -> Result<Change, ControlError> {
        let mut transaction = self.begin_transaction().await?;
        if !self.is_sqlite {
            // One writer at a time, as SQLite has it; readers go on.
            transaction.execute("LOCK TABLE audit IN EXCLUSIVE MODE").await?;
        }
        Ok(Change { view: View::of(transaction).await? })
    }

    /// Looks at everything as of one moment, beside any writer.
    pub(crate) async fn view(&self) -> Result<View, ControlError> {
        let mut transaction = self.pool.begin().await?;
        if !self.is_sqlite {
            // SQLite has it so by itself: a reader sees the write-ahead log as it was at its first look.
            transaction.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
        }
        View::of(transaction).await
    }

    /// The number of the newest change.
    pub(crate) async fn newest(&self) -> Result<u64, ControlError> {
        let newest: i64 =
            sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM audit").fetch_one(&self.pool).await?;
        Ok(newest.unsigned_abs())
    }

    pub(crate) async fn find(&self, kind: Kind, key: &str) -> Result<Option<Document>, ControlError> {
        let row = sqlx::query(kind.find_sql()).bind(key).fetch_optional(&self.pool).await?;
        Ok(row.as_ref().map(document).transpose()?)
    }

    pub(crate) async fn list(&self, kind: Kind) -> Result<Vec<Document>, ControlError> {
        let rows = sqlx::query(kind.list_sql()).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(document).collect::<Result<_, _>>()?)
    }

    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }
}

/// What an audit row says beside who and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) verb: &'a str,
    pub(crate) kind: Kind,
    pub(crate) key: &'a str,
    /// Empty for what belongs to no project.
    pub(crate) project: &'a str,
    pub(crate) reason: &'a str,
}

/// What stands in the store at one moment. Waits for nobody, and nobody waits for it.
pub(crate) struct View {
    pub(crate) transaction: Transaction<'static, Any>,
    /// The number of the newest change; in a [`Change`], with its own.
    pub(crate) newest: u64,
}

/// One change that is going on, which sees what it has done. Dropped without [`Change::commit`], it never was.
pub(crate) struct Change {
    view: View,
}

impl Deref for Change {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl DerefMut for Change {
    fn deref_mut(&mut self) -> &mut View {
        &mut self.view
    }
}

impl View {
    async fn of(mut transaction: Transaction<'static, Any>) -> Result<Self, ControlError> {
        let newest: i64 =
            sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM audit").fetch_one(&mut *transaction).await?;
        Ok(Self { transaction, newest: newest.unsigned_abs() })
    }

    pub(crate) async fn find(&mut self, kind: Kind, key: &str) -> Result<Option<Document>, ControlError> {
        let row = sqlx::query(kind.find_sql()).bind(key).fetch_optional(&mut *self.transaction).await?;
        Ok(row.as_ref().map(document).transpose()?)
    }

    pub(crate) async fn list(&mut self, kind: Kind) -> Result<Vec<Document>, ControlError> {
        let rows = sqlx::query(kind.list_sql()).fetch_all(&mut *self.transaction).await?;
        Ok(rows.iter().map(document).collect::<Result<_, _>>()?)
    }
}

impl Change {
    pub(crate) async fn commit(self) -> Result<(), ControlError> {
        Ok(self.view.transaction.commit().await?)
    }

    /// Writes a document under the number of the next change; [`Change::record`] has to follow.
    pub(crate) async fn write(
        &mut self,
        kind: Kind,
        key: &str,
        document: &impl Serialize,
    ) -> Result<u64, ControlError> {
        let revision = self.newest + 1;
        let table = kind.table();
        let statement = format!(
            "INSERT INTO {table} (key, revision, document) VALUES ($1, $2, $3) \
             ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, document = excluded.document"
        );
        sqlx::query(AssertSqlSafe(statement))
            .bind(key)
            .bind(number(revision))
            .bind(json(kind, key, document)?)
            .execute(&mut *self.transaction)
            .await?;
        Ok(revision)
    }

    /// Removes a document; [`Change::record`] has to follow.
    pub(crate) async fn remove(&mut self, kind: Kind, key: &str) -> Result<(), ControlError> {
        let statement = format!("DELETE FROM {} WHERE key = $1", kind.table());
        sqlx::query(AssertSqlSafe(statement)).bind(key).execute(&mut *self.transaction).await?;
        Ok(())
    }

    /// Writes the audit row of what was just changed, and gives its number.
    pub(crate) async fn record(
        &mut self,
        actor: &Actor,
        now: DateTime<Utc>,
        entry: Entry<'_>,
        before: Option<&serde_json::Value>,
        after: Option<&serde_json::Value>,
    ) -> Result<u64, ControlError> {
        self.newest += 1;
        let text = |value: Option<&serde_json::Value>| value.map_or_else(String::new, ToString::to_string);
        sqlx::query(
            "INSERT INTO audit (sequence, at, person, via, verb, kind, key, project, before, after, reason) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(number(self.newest))
        .bind(now.timestamp_micros())
        .bind(actor.person.as_str())
        .bind(actor.via.name())
        .bind(entry.verb)
        .bind(entry.kind.name())
        .bind(entry.key)
        .bind(entry.project)
        .bind(text(before))
        .bind(text(after))
        .bind(entry.reason)
        .execute(&mut *self.transaction)
        .await?;
        Ok(self.newest)
    }
}

/// A number as databases have it. Numbers of changes do not reach 2^63.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn json(kind: Kind, key: &str, value: &impl Serialize) -> Result<String, ControlError> {
    serde_json::to_string(value).map_err(|source| ControlError::Document {
        kind: kind.name(),
        key: key.to_owned(),
        source,
    })
}

/// A value as the audit log keeps it.
pub(crate) fn snapshot(kind: Kind, key: &str, value: &impl Serialize) -> Result<serde_json::Value, ControlError> {
    serde_json::to_value(value).map_err(|source| ControlError::Document {
        kind: kind.name(),
        key: key.to_owned(),
        source,
    })
}
