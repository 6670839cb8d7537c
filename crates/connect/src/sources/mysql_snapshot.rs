//! One consistent view of a MySQL or MariaDB server on several connections, with its place in the binlog.
//!
//! In: an address, how many connections.  Out: connections whose transactions all see the same moment.
//! The server has no way to share a snapshot, so agreement is proven: on MariaDB each transaction says where in the binlog it
//! stands, and the connections begin together again until all say the same. Where that cannot be had (MySQL, no binlog, a binlog
//! that leaves databases out, a server too busy), a global read lock stops commits for the milliseconds in which they begin.
//! Without the right to that as well, one connection reads alone: slower, and as exact.
//! Never here: reading tables.
//! Start at [`Snapshot::open`].

use std::time::Duration;

use domain::LogPosition;
use futures::future::{join_all, try_join_all};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};

use crate::ConnectError;
use crate::dial::mysql::MySqlAddress;

/// The session of every read: times in UTC, text in UTF-8, and no limit that would cut a long read. The comments are read by
/// MariaDB and MySQL respectively, each of which has its own name for the limit.
pub(crate) const SESSION: &[&str] = &[
    "SET NAMES utf8mb4",
    "SET SESSION time_zone = '+00:00', sql_mode = '', net_write_timeout = 3600, wait_timeout = 28800 \
     /*M!100100 , max_statement_time = 0 */ /*!50708 , max_execution_time = 0 */",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
];
/// All rows of one moment, whatever others write meanwhile (InnoDB).
const START: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
/// Attempts to begin on all connections between two commits of others; each takes about as long as one round trip.
const ATTEMPTS: usize = 100;
/// How long the read lock may wait for statements that are under way, in seconds: while it waits, nobody else can commit. And how long the
/// server keeps the lock when it does not hear from us.
const LOCK_WAIT: &str = "SET SESSION lock_wait_timeout = 5, wait_timeout = 10";
/// Beginning under the lock takes milliseconds; whatever takes so long must not hold up a whole server.
const LOCKED_LIMIT: Duration = Duration::from_secs(10);
/// Marks the point to which a transaction returns after each table: that releases the table for ALTER and keeps the snapshot.
pub(crate) const MARK: &str = "SAVEPOINT montauk";
pub(crate) const RELEASE: &str = "ROLLBACK TO SAVEPOINT montauk";

/// The driver takes 8 KiB at a time from the network until a packet was larger, and as much as that from then on. One such packet saves
/// three of four calls to the kernel, and a twentieth of the processor time of a read.
const WIDEN: &str = "SELECT REPEAT(' ', 33000)";

/// Connections that see one moment.
pub(crate) struct Snapshot {
    pub(crate) connections: Vec<Conn>,
    pub(crate) position: Option<LogPosition>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.connections.len();
        formatter.debug_struct("Snapshot").field("connections", &count).field("position", &self.position).finish()
    }
}

/// A place in the binlog: file, byte offset.
type Place = (String, u64);

impl Snapshot {
    /// Opens `count` connections in one snapshot; fewer when the server cannot give that, one at least.
    pub(crate) async fn open(address: &MySqlAddress, count: usize) -> Result<Self, ConnectError> {
        let mut connections = vec![address.connect(SESSION).await?];
        for dialled in join_all((1..count).map(|_| address.connect(SESSION))).await {
            match dialled {
                Ok(connection) => connections.push(connection),
                // The server gives this user no more of them: fewer read, and as exactly.
                Err(error) => tracing::warn!(%error, server = address.server, "one connection fewer"),
            }
        }
        let problem = |error| address.problem(error, "starting a snapshot", "");
        let mut place = agree(&mut connections).await.map_err(problem)?;
        if place.is_none() && connections.len() > 1 {
            place = match locked(address, &mut connections).await {
                Ok(place) => Some(place),
                Err(error) => {
                    tracing::warn!(
                        %error,
                        server = address.server,
                        "no snapshot for several connections, one reads alone; BINLOG MONITOR or RELOAD would allow more"
                    );
                    let mut only: Vec<Conn> = connections.drain(..1).collect();
                    for connection in connections.drain(..) {
                        close(connection, &address.server).await;
                    }
                    let place = begin(&mut only).await.map_err(problem)?.pop().flatten();
                    connections = only;
                    Some(place)
                }
            };
        }
        let place = place.flatten();
        for connection in &mut connections {
            connection.query_drop(MARK).await.map_err(problem)?;
            connection.query_drop(WIDEN).await.map_err(problem)?;
        }
        let position = match (place, connections.first_mut()) {
            (Some((file, position)), Some(first)) => {
                let gtid = gtid_of(first, &file, position).await;
                Some(LogPosition::Binlog { file, position, gtid })
            }
            _ => None,
        };
        Ok(Self { connections, position })
    }

    /// Ends the transactions.
    pub(crate) async fn close(self, server: &str) {
        for connection in self.connections {
            close(connection, server).await;
        }
    }
}

/// Says goodbye; a server that does not hear it notices anyway.
pub(crate) async fn close(connection: Conn, server: &str) {
    if let Err(error) = connection.disconnect().await {
        tracing::debug!(server, %error, "the connection did not close cleanly");
    }
}

/// Begins on all connections until all stand at one place in the binlog. `None` when that proves nothing or does not happen;
/// `Some(None)` when there is one connection, which agrees with itself, and no binlog.
async fn agree(connections: &mut [Conn]) -> Result<Option<Option<Place>>, Error> {
    if connections.len() == 1 {
        return Ok(Some(begin(connections).await?.pop().flatten()));
    }
    if !logs_everything(connections).await? {
        return Ok(None);
    }
    for _ in 0..ATTEMPTS {
        let places = begin(connections).await?;
        let Some(Some(first)) = places.first() else { return Ok(None) };
        if places.iter().all(|place| place.as_ref() == Some(first)) {
            return Ok(Some(Some(first.clone())));
        }
    }
    Ok(None)
}

/// Begins a transaction on each connection at the same time; answers where each stands, as far as the server says.
async fn begin(connections: &mut [Conn]) -> Result<Vec<Option<Place>>, Error> {
    let started = connections.iter_mut().map(|connection| connection.query_drop(START));
    try_join_all(started).await?;
    snapshot_places(connections).await
}

/// Where each connection stands, asked one after the other: the server collects the answer in memory that all sessions share
/// (`binlog_status_vars` in MariaDB's `log.cc`), so that those who ask at the same time hear each other's.
async fn snapshot_places(connections: &mut [Conn]) -> Result<Vec<Option<Place>>, Error> {
    let mut places = Vec::with_capacity(connections.len());
    for connection in connections {
        places.push(snapshot_place(connection).await?);
    }
    Ok(places)
}

/// MariaDB: "binlog_snapshot_file" and "binlog_snapshot_position" belong to the session's snapshot. Absent in MySQL. A place counts when
/// it has been said twice: a monitor that asks at the same moment can be heard instead.
async fn snapshot_place(connection: &mut Conn) -> Result<Option<Place>, Error> {
    let mut before = None;
    loop {
        let status: Vec<(String, String)> = connection.query("SHOW STATUS LIKE 'binlog\\_snapshot\\_%'").await?;
        let value =
            |wanted: &str| status.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value);
        let file = value("binlog_snapshot_file").filter(|file| !file.is_empty());
        let position = value("binlog_snapshot_position").and_then(|position| position.parse().ok());
        let place = file.cloned().zip(position);
        if before.as_ref() == Some(&place) {
            return Ok(place);
        }
        before = Some(place);
    }
}

/// Whether every commit moves the binlog, so that equal places mean equal data.
pub(super) async fn logs_everything(connections: &mut [Conn]) -> Result<bool, Error> {
    let Some(first) = connections.first_mut() else { return Ok(false) };
    if snapshot_place(first).await?.is_none() {
        return Ok(false);
    }
    // What a replica takes over from its primary moves its own binlog only when it is told to log that as well.
    let logs_replicated: Option<u8> = first.query_first("SELECT @@log_slave_updates").await?;
    let running: Option<(String, String)> = first.query_first("SHOW STATUS LIKE 'Slaves_running'").await?;
    let is_replica = running.is_none_or(|(_, count)| count != "0");
    if is_replica && logs_replicated != Some(1) {
        return Ok(false);
    }
    // Filters are shown only to who may see the binlog's state; whoever may not takes the other way.
    match first.query_first::<Row, _>("SHOW MASTER STATUS").await {
        Ok(Some(row)) => Ok(text(&row, 2).is_empty() && text(&row, 3).is_empty()),
        Ok(None) | Err(Error::Server(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Begins on all connections while nobody can commit.
async fn locked(address: &MySqlAddress, connections: &mut [Conn]) -> Result<Option<Place>, ConnectError> {
    let mut guard = address.connect(SESSION).await?;
    let begun = async {
        guard.query_drop(LOCK_WAIT).await?;
        guard.query_drop("FLUSH TABLES WITH READ LOCK").await?;
        let places = begin(connections).await?;
        let place = match places.into_iter().next().flatten() {
            Some(place) => Some(place),
            None => binlog_end(&mut guard).await,
        };
        guard.query_drop("UNLOCK TABLES").await?;
        Ok(place)
    };
    let result = tokio::time::timeout(LOCKED_LIMIT, begun).await;
    let Ok(result) = result else {
        // Dropping the connection gives the lock back.
        drop(guard);
        let reason = format!("no snapshot under the read lock within {} s", LOCKED_LIMIT.as_secs());
        return Err(ConnectError::ConnectionLost { server: address.server.clone(), reason });
    };
    close(guard, &address.server).await;
    result.map_err(|error| address.problem(error, "taking the read lock", ""))
}

/// Where the binlog ends now: MySQL 8.4 has a new word for it. `None` without a binlog, or without the right to see it.
async fn binlog_end(connection: &mut Conn) -> Option<Place> {
    for statement in ["SHOW MASTER STATUS", "SHOW BINARY LOG STATUS"] {
        if let Ok(Some(row)) = connection.query_first::<Row, _>(statement).await {
            return Some((text(&row, 0), text(&row, 1).parse().ok()?));
        }
    }
    None
}

/// The GTID of a place: a function of MariaDB; on MySQL what has been executed, which is the same while the lock is held.
async fn gtid_of(connection: &mut Conn, file: &str, position: u64) -> Option<String> {
    let found: Result<Option<Option<String>>, Error> =
        connection.exec_first("SELECT BINLOG_GTID_POS(?, ?)", (file, position)).await;
    found.ok().flatten().flatten().filter(|gtid| !gtid.is_empty())
}

pub(super) fn text(row: &Row, column: usize) -> String {
    row.get_opt::<Option<String>, _>(column).and_then(Result::ok).flatten().unwrap_or_default()
}
