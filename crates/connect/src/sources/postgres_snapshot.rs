//! One consistent view of a PostgreSQL database on several connections, with its place in the write-ahead log.
//!
//! In: an address, how many connections.  Out: connections whose transactions all see the same moment.
//! The first transaction exports its snapshot and the others enter it (PostgreSQL documentation, "Snapshot Synchronization
//! Functions"). A standby that cannot export one gets a single connection.
//! Never here: reading tables.
//! Start at [`Snapshot::open`].

use domain::LogPosition;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};

use super::postgres_log_read::RunLog;
use crate::ConnectError;
use crate::dial::postgres::{PostgresAddress, statement};

/// The session of every read: what is sent as text reads the same whatever the server's defaults, and no limit cuts a long read.
pub(crate) const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'hex'; \
     SET extra_float_digits = 3; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
     SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 30; SET tcp_keepalives_count = 6";
/// All rows of one moment, whatever others write meanwhile.
const START: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Where the log stands.
const POSITION: &str =
    "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text";
/// Marks the point to which a transaction returns after each table: that gives back its locks and keeps the snapshot.
const MARK: &str = "SAVEPOINT montauk";
const RELEASE: &str = "ROLLBACK TO SAVEPOINT montauk";

/// Connections that see one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) connections: Vec<PgConnection>,
    pub(crate) position: Option<LogPosition>,
    /// What has changed before it, once a table has asked.
    pub(crate) log: Option<RunLog>,
}

impl Snapshot {
    /// Opens `count` connections in one snapshot; one when the server cannot export it.
    pub(crate) async fn open(address: &PostgresAddress, count: usize) -> Result<Self, ConnectError> {
        let problem = |error| address.problem(error, "starting a snapshot", "");
        let mut first = address.connect(SESSION).await?;
        // Before the transaction, whose first statement takes the snapshot: a stream that starts here may repeat a change that the snapshot
        // has. (A commit that is logged and waits for its standby may still be missed; only a replication slot can promise more.)
        let position = first.fetch_one(POSITION).await.map_err(problem)?.try_get::<Option<String>, _>(0);
        let position = position.map_err(problem)?.map(|lsn| LogPosition::Wal { lsn });
        first.execute(START).await.map_err(problem)?;
        let mut connections = Vec::with_capacity(count.max(1));
        if count > 1 {
            match first.fetch_one("SELECT pg_export_snapshot()").await {
                Ok(row) => {
                    let name: String = row.try_get(0).map_err(problem)?;
                    for _ in 1..count {
                        let mut other = match address.connect(SESSION).await {
                            Ok(other) => other,
                            // The server gives this user no more of them: fewer read, and as exactly.
                            Err(error) => {
                                tracing::warn!(%error, server = address.server, "fewer connections than asked for");
                                break;
                            }
                        };
                        other.execute(START).await.map_err(problem)?;
                        // A name that the server made: hexadecimal digits and dashes.
                        let enter = format!("SET TRANSACTION SNAPSHOT '{}'", name.replace('\'', "''"));
                        other.execute(statement(enter)).await.map_err(problem)?;
                        connections.push(other);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, server = address.server, "no snapshot for several connections, one reads alone");
                    first.execute("ROLLBACK").await.map_err(problem)?;
                    first.execute(START).await.map_err(problem)?;
                }
            }
        }
        connections.insert(0, first);
        for connection in &mut connections {
            connection.execute(MARK).await.map_err(problem)?;
        }
        Ok(Self { connections, position, log: None })
    }

    /// Gives back what the last table has locked.
    pub(crate) async fn release(&mut self) {
        let mut kept = Vec::with_capacity(self.connections.len());
        for mut connection in self.connections.drain(..) {
            // One that cannot release the table is lost, and others remain or the next table says so.
            if connection.execute(RELEASE).await.is_ok() {
                kept.push(connection);
            }
        }
        self.connections = kept;
    }

    /// Ends the transactions.
    pub(crate) async fn close(self, server: &str) {
        for connection in self.connections {
            close(connection, server).await;
        }
    }
}

/// Says goodbye; a server that does not hear it notices anyway.
pub(crate) async fn close(connection: PgConnection, server: &str) {
    if let Err(error) = connection.close().await {
        tracing::debug!(server, %error, "the connection did not close cleanly");
    }
}
