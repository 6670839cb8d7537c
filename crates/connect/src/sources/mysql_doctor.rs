//! What a MySQL or MariaDB server lets an extraction do: `montauk doctor` shows it before a run finds out.
//!
//! In: a connection, the wanted tables.  Out: [`Finding`]s.
//! Never here: reading rows, changing anything.
//! Start at [`examine`].

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use super::mysql_snapshot::logs_everything;
use crate::Finding;

/// A packet is one row at most; the default of MariaDB is as large, and texts of a shop rarely are.
const COMMON_PACKET_BYTES: u64 = 16 << 20;
/// Engines whose rows a consistent snapshot covers.
const SNAPSHOT_ENGINES: [&str; 2] = ["InnoDB", "RocksDB"];

/// Looks at the server, and at `tables` as (database, table).
pub(crate) async fn examine(connection: &mut Conn, user: &str, tables: &[(&str, &str)]) -> Result<Vec<Finding>, Error> {
    let mut findings = vec![snapshot(connection, user).await?, packet(connection).await?];
    let mut outside = Vec::new();
    for (database, table) in tables {
        let engine: Option<Option<String>> = connection
            .exec_first(
                "SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
                (database, table),
            )
            .await?;
        if let Some(engine) = engine.flatten().filter(|engine| !SNAPSHOT_ENGINES.contains(&engine.as_str())) {
            outside.push(format!("`{database}.{table}` ({engine})"));
        }
    }
    if let Some(first) = outside.first() {
        let detail = format!("{} of the wanted tables are in no snapshot, such as {first}", outside.len());
        let next =
            "convert them with `ALTER TABLE … ENGINE = InnoDB`, or extract while nobody writes to them".to_owned();
        findings.push(Finding::mend("engines", detail, next));
    }
    Ok(findings)
}

/// In which way several connections can see one moment.
async fn snapshot(connection: &mut Conn, user: &str) -> Result<Finding, Error> {
    if logs_everything(std::slice::from_mut(connection)).await? {
        return Ok(Finding::fine(
            "snapshot",
            "several connections, agreed through the binlog without a lock".to_owned(),
        ));
    }
    let grants: Vec<String> = connection.query("SHOW GRANTS").await?;
    let may_lock = grants.iter().any(|grant| {
        let words = grant.to_uppercase();
        words.contains(" ON *.*") && (words.contains("ALL PRIVILEGES") || words.contains("RELOAD"))
    });
    if may_lock {
        let detail = "several connections, begun under a short global read lock".to_owned();
        return Ok(Finding::fine("snapshot", detail));
    }
    let next = format!(
        "to read in parallel: `GRANT BINLOG MONITOR ON *.* TO {user}` (MariaDB with a binlog), or `GRANT RELOAD, REPLICATION CLIENT ON *.* TO {user}`"
    );
    Ok(Finding::mend(
        "snapshot",
        "one connection reads alone: this user may neither see the binlog nor lock".to_owned(),
        next,
    ))
}

/// How large a row may be.
async fn packet(connection: &mut Conn) -> Result<Finding, Error> {
    let bytes: u64 = connection.query_first("SELECT @@max_allowed_packet").await?.unwrap_or(0);
    let detail = format!("max_allowed_packet is {} MB", bytes >> 20);
    if bytes >= COMMON_PACKET_BYTES {
        return Ok(Finding::fine("largest row", detail));
    }
    let next = "rows beyond it fail: `SET GLOBAL max_allowed_packet = 67108864`".to_owned();
    Ok(Finding::mend("largest row", detail, next))
}
