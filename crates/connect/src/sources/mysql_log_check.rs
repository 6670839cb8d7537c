//! Whether the log of a MySQL or MariaDB server can be followed for a table, before anything is read.
//!
//! In: a connection, a table.  Out: what following needs to know, or what has to be set, granted or read anew.
//! Never here: the stream (`mysql_log`).
//! Start at [`check_server`] and [`check_table`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use domain::{DELETED_COLUMN, Dialect, LogPosition, quote_identifier};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};

use super::mysql_charset::Charset;
use super::mysql_columns::{MySqlKind, MySqlTable};
use super::mysql_log_values::{Charsets, charset_of};
use super::mysql_log_words::Names;
use super::mysql_ranges::full_name;
use super::mysql_snapshot::text;
use crate::ConnectError;
use crate::dial::mysql::MySqlAddress;

/// Settings without which rows are not in the log, or cannot be told; each with what to write into the server's configuration.
const SETTINGS: [(&str, &[&str], &str); 4] = [
    (
        "log_bin",
        &["ON", "1"],
        "write `log_bin = binlog` and a `server_id` into the server's configuration, and restart it",
    ),
    ("binlog_format", &["ROW"], "`SET GLOBAL binlog_format = ROW`, and the same in the server's configuration"),
    ("binlog_row_image", &["FULL"], "`SET GLOBAL binlog_row_image = FULL`, and the same in the server's configuration"),
    (
        "binlog_row_metadata",
        &["FULL"],
        "`SET GLOBAL binlog_row_metadata = FULL`, and the same in the server's configuration",
    ),
];
/// Since when the log can name columns.
const TOO_OLD: &str =
    "MariaDB 10.5, MySQL 8.0 and newer servers name columns in their log; use mode \"cursor\" or \"full\"";
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'log_bin', 'binlog_format', 'binlog_row_image', \
     'binlog_row_metadata', 'binlog_transaction_compression', 'lower_case_table_names', 'log_slave_updates', 'log_replica_updates')";
/// The only engine whose rows are both in a snapshot and in the log in one order.
const ENGINES: [&str; 2] = ["InnoDB", "RocksDB"];

/// What following has to know about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogServer {
    pub(super) is_mariadb: bool,
    /// Whether names of tables are compared without case.
    pub(super) ignores_case: bool,
}

/// A table whose changes in a parent change this one without being logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) names: Names,
    /// The columns that are referred to.
    pub(super) columns: Vec<String>,
    /// What takes rows away from the parent changes rows here.
    pub(super) on_delete: bool,
    /// What changes those columns changes rows here.
    pub(super) on_update: bool,
}

/// What following has to know about a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogTable {
    pub(super) server: LogServer,
    pub(super) names: Names,
    pub(super) parents: Vec<Parent>,
    pub(super) charsets: Charsets,
}

/// Checks the server's settings.
///
/// Errors: `LogUnusable` with the setting that is missing, or the right.
pub(super) async fn check_server(connection: &mut Conn, address: &MySqlAddress) -> Result<LogServer, ConnectError> {
    let problem = |error| address.problem(error, "looking at its log", "");
    let found: Vec<(String, String)> = connection.query(VARIABLES).await.map_err(problem)?;
    let found: HashMap<String, String> = found.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    let value = |name: &str| found.get(name).map(String::as_str);
    for (name, wanted, next) in SETTINGS {
        match value(name) {
            Some(value) if wanted.iter().any(|wanted| value.eq_ignore_ascii_case(wanted)) => {}
            Some(value) => return Err(unusable(address, format!("`{name}` is {value}"), next.to_owned())),
            // A server that logs in no other way has no such setting any more.
            None if name == "binlog_format" => {}
            None => return Err(unusable(address, format!("the server has no `{name}`"), TOO_OLD.to_owned())),
        }
    }
    if value("binlog_transaction_compression").is_some_and(|value| value.eq_ignore_ascii_case("ON")) {
        let next = "`SET GLOBAL binlog_transaction_compression = OFF`, and the same in the server's configuration";
        return Err(unusable(address, "`binlog_transaction_compression` is ON".to_owned(), next.to_owned()));
    }
    let is_mariadb = value("version").is_some_and(|version| version.to_lowercase().contains("mariadb"));
    let logs_replicated = value("log_slave_updates").or(value("log_replica_updates"));
    check_whole(connection, address, (is_mariadb, logs_replicated)).await?;
    Ok(LogServer { is_mariadb, ignores_case: value("lower_case_table_names").is_some_and(|value| value != "0") })
}

/// Whether the log holds the changes of all databases, and of the server's own primary.
async fn check_whole(
    connection: &mut Conn,
    address: &MySqlAddress,
    (is_mariadb, logs_replicated): (bool, Option<&str>),
) -> Result<(), ConnectError> {
    let state = log_state(connection).await.map_err(|error| refused(address, is_mariadb, error))?;
    let Some(state) = state else {
        return Err(unusable(address, "the server has no log".to_owned(), SETTINGS[0].2.to_owned()));
    };
    if !(text(&state, 2).is_empty() && text(&state, 3).is_empty()) {
        let next = "remove `binlog_do_db` and `binlog_ignore_db` from the server's configuration".to_owned();
        return Err(unusable(address, "it leaves out databases".to_owned(), next));
    }
    let problem = |error| address.problem(error, "looking at its log", "");
    let running: Option<(String, String)> =
        connection.query_first("SHOW STATUS LIKE 'Slaves_running'").await.map_err(problem)?;
    let is_replica = running.is_some_and(|(_, count)| count != "0");
    if is_replica && logs_replicated.is_none_or(|value| value.eq_ignore_ascii_case("OFF")) {
        let next = "set `log_slave_updates = ON` on this replica, or read from its primary".to_owned();
        return Err(unusable(address, "what this replica takes over is not logged".to_owned(), next));
    }
    Ok(())
}

/// Where the log ends.
pub(super) async fn log_end(
    connection: &mut Conn,
    address: &MySqlAddress,
    server: LogServer,
) -> Result<(String, u64), ConnectError> {
    let state = log_state(connection).await.map_err(|error| refused(address, server.is_mariadb, error))?;
    let end = state.and_then(|state| Some((text(&state, 0), text(&state, 1).parse().ok()?)));
    end.ok_or_else(|| unusable(address, "the server has no log".to_owned(), SETTINGS[0].2.to_owned()))
}

/// File, offset, databases that are logged alone, and left out; MySQL 8.4 has a new word for it.
async fn log_state(connection: &mut Conn) -> Result<Option<Row>, Error> {
    match connection.query_first("SHOW MASTER STATUS").await {
        Err(Error::Server(error)) if error.code == 1064 => connection.query_first("SHOW BINARY LOG STATUS").await,
        state => state,
    }
}

/// A missing right, with the statement that gives it.
pub(super) fn refused(address: &MySqlAddress, is_mariadb: bool, error: Error) -> ConnectError {
    let code = server_code(&error);
    if !matches!(code, Some(1044 | 1045 | 1142 | 1227)) {
        return address.problem(error, "looking at its log", "");
    }
    let rights = if is_mariadb { "BINLOG MONITOR" } else { "REPLICATION CLIENT" };
    let next = format!("`GRANT REPLICATION SLAVE, {rights} ON *.* TO {}`", address.user);
    unusable(address, format!("user `{}` may not read it ({error})", address.user), next)
}

/// The number of a server's error.
pub(super) fn server_code(error: &Error) -> Option<u16> {
    if let Error::Server(error) = error { Some(error.code) } else { None }
}

pub(super) fn unusable(address: &MySqlAddress, reason: String, next: String) -> ConnectError {
    ConnectError::LogUnusable { server: address.server.clone(), reason, next }
}

/// Checks that the changes of a table can be told from the log, and gathers what following needs.
///
/// Errors: `NoKey`; `LogUnusable` for tables of engines outside of snapshots, views, and columns that the log holds in a form not known here.
pub(super) async fn check_table(
    connection: &mut Conn,
    address: &MySqlAddress,
    server: LogServer,
    (database, table): (&str, &MySqlTable),
) -> Result<LogTable, ConnectError> {
    let shown = format!("{database}.{}", table.name);
    if table.primary_key.is_empty() {
        return Err(ConnectError::NoKey { table: shown, mode: "changes" });
    }
    let problem = |error| address.problem(error, "looking at the table", &shown);
    let select = "SELECT TABLE_SCHEMA, TABLE_TYPE, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let found: Option<(String, String, Option<String>)> =
        connection.exec_first(select, (database, &table.name)).await.map_err(problem)?;
    let Some((database, table_type, engine)) = found else {
        return Err(ConnectError::NoSuchTable { server: address.server.clone(), table: shown, nearest: None });
    };
    let other_mode = || "set another `mode` for it in the source file: \"cursor\" or \"full\"".to_owned();
    if table_type != "BASE TABLE" {
        return Err(unusable(address, format!("`{shown}` is a {}", table_type.to_lowercase()), other_mode()));
    }
    let engine = engine.unwrap_or_default();
    if !ENGINES.contains(&engine.as_str()) {
        let next = format!("`ALTER TABLE {shown} ENGINE = InnoDB`, or {}", other_mode());
        return Err(unusable(address, format!("`{shown}` is kept by {engine}, which has no snapshots"), next));
    }
    check_columns(address, server, &shown, table)?;
    check_computed(connection, address, (&database, &shown, table)).await?;
    let charsets = charsets(connection, address, &shown, table).await?;
    let names = Names { database, table: table.name.clone() };
    let parents = parents(connection, address, &names).await?;
    Ok(LogTable { server, names, parents, charsets })
}

/// Refuses columns that are logged in a form not known here.
fn check_columns(
    address: &MySqlAddress,
    server: LogServer,
    shown: &str,
    table: &MySqlTable,
) -> Result<(), ConnectError> {
    let next = |what: &str| format!("{what}, or set another `mode` for the table: \"cursor\" or \"full\"");
    for column in &table.columns {
        let source_type = column.source_type.to_lowercase();
        let reason = if column.name == DELETED_COLUMN {
            "has the name under which deletions are staged"
        } else if source_type == "json" && !server.is_mariadb {
            "is JSON, which MySQL logs in a binary form that does not show the document as it is"
        } else if source_type.contains("compressed") {
            "is compressed, in the log as well"
        } else if source_type.contains("/*") {
            "has a type of an older server"
        } else {
            continue;
        };
        return Err(unusable(
            address,
            format!("column `{}` of `{shown}` {reason}", column.name),
            next("change the column"),
        ));
    }
    Ok(())
}

/// Refuses columns that MariaDB computes from the AUTO_INCREMENT column when a row is read: in the log, they were computed before the
/// row had its number.
async fn check_computed(
    connection: &mut Conn,
    address: &MySqlAddress,
    (database, shown, table): (&str, &str, &MySqlTable),
) -> Result<(), ConnectError> {
    let select = "SELECT COLUMN_NAME, EXTRA, COALESCE(GENERATION_EXPRESSION, '') FROM information_schema.COLUMNS \
                  WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";
    let found: Result<Vec<(String, String, String)>, Error> = connection.exec(select, (database, &table.name)).await;
    let columns = found.map_err(|error| address.problem(error, "looking at the table", shown))?;
    let is = |extra: &str, word: &str| extra.to_lowercase().contains(word);
    let numbered = columns.iter().find(|(_, extra, _)| is(extra, "auto_increment"));
    let Some(number) = numbered.map(|(name, ..)| quote_identifier(Dialect::MySql, name)) else { return Ok(()) };
    let computed = columns.iter().find(|(_, extra, from)| is(extra, "virtual") && from.contains(&number));
    let Some((name, ..)) = computed else { return Ok(()) };
    let reason = format!(
        "column `{name}` of `{shown}` is computed from {number}, which has no value yet when the log computes it"
    );
    let next = "drop the column and compute it in a model, or set another `mode` for the table".to_owned();
    Err(unusable(address, reason, next))
}

/// The character sets of the table's texts.
async fn charsets(
    connection: &mut Conn,
    address: &MySqlAddress,
    shown: &str,
    table: &MySqlTable,
) -> Result<Charsets, ConnectError> {
    let mut charsets = Charsets::new();
    for column in table.columns.iter().filter(|column| column.kind == MySqlKind::Text) {
        let Some(name) = charset_of(column) else { continue };
        if charsets.contains_key(name) {
            continue;
        }
        let loaded = Charset::load(connection, name).await;
        let loaded = loaded.map_err(|error| address.problem(error, "asking about a character set", shown))?;
        let Some(charset) = loaded else {
            let reason = format!(
                "column `{}` of `{shown}` has character set `{name}`, which cannot be read from it",
                column.name
            );
            let next =
                format!("`ALTER TABLE {shown} CONVERT TO CHARACTER SET utf8mb4`, or set another `mode` for the table");
            return Err(unusable(address, reason, next));
        };
        charsets.insert(name.to_owned(), Arc::new(charset));
    }
    Ok(charsets)
}

/// The tables from which foreign keys pass deletions and new keys on to this one, also through others: the storage engine does that,
/// and the log holds nothing of it.
async fn parents(connection: &mut Conn, address: &MySqlAddress, names: &Names) -> Result<Vec<Parent>, ConnectError> {
    let mut seen = HashSet::from([(names.database.clone(), names.table.clone())]);
    let mut to_look_at = vec![names.clone()];
    let mut parents = Vec::new();
    while let Some(child) = to_look_at.pop() {
        let statement = format!("SHOW CREATE TABLE {}", full_name(&child.database, &child.table));
        let shown = format!("{}.{}", child.database, child.table);
        let row: Result<Option<Row>, Error> = connection.query_first(statement).await;
        let row = row.map_err(|error| address.problem(error, "looking for foreign keys", &shown))?;
        let created = row.map(|row| text(&row, 1)).unwrap_or_default();
        for parent in created.lines().filter_map(|line| foreign_key(line, &child.database)) {
            if !parent.on_delete && !parent.on_update {
                continue;
            }
            if seen.insert((parent.names.database.clone(), parent.names.table.clone())) {
                to_look_at.push(parent.names.clone());
            }
            parents.push(parent);
        }
    }
    Ok(parents)
}

/// A line of `SHOW CREATE TABLE`, when it is a foreign key.
fn foreign_key(line: &str, database: &str) -> Option<Parent> {
    let line = line.trim_start();
    let line = match line.strip_prefix("CONSTRAINT ") {
        Some(named) => quoted(named)?.1.trim_start(),
        None => line,
    };
    let (_, after) = quoted_list(line.strip_prefix("FOREIGN KEY ")?)?;
    let (first, after) = quoted(after.trim_start().strip_prefix("REFERENCES ")?)?;
    let (database, table, after) = match after.strip_prefix('.') {
        Some(after) => {
            let (second, after) = quoted(after)?;
            (first, second, after)
        }
        None => (database.to_owned(), first, after),
    };
    let (columns, after) = quoted_list(after.trim_start())?;
    let passes_on = |what: &str| {
        ["CASCADE", "SET NULL", "SET DEFAULT"].iter().any(|action| after.contains(&format!("{what} {action}")))
    };
    let (on_delete, on_update) = (passes_on("ON DELETE"), passes_on("ON UPDATE"));
    Some(Parent { names: Names { database, table }, columns, on_delete, on_update })
}

/// A name in backquotes, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('`')?;
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('`')?;
        name.push_str(part);
        match after.strip_prefix('`') {
            Some(after) => {
                name.push('`');
                rest = after;
            }
            None => return Some((name, after)),
        }
    }
}

/// Names in parentheses, and what follows.
fn quoted_list(text: &str) -> Option<(Vec<String>, &str)> {
    let mut rest = text.strip_prefix('(')?;
    let mut names = Vec::new();
    loop {
        let (name, after) = quoted(rest)?;
        names.push(name);
        match after.strip_prefix(", ").or_else(|| after.strip_prefix(',')) {
            Some(after) => rest = after,
            None => return Some((names, after.strip_prefix(')')?)),
        }
    }
}

/// Why the log does not reach back to `before`, or is not the one that `before` is from; `None` when it can be followed from there.
///
/// Errors: `LogUnusable` without the right to look.
pub(super) async fn check_position(
    connection: &mut Conn,
    address: &MySqlAddress,
    server: LogServer,
    before: &LogPosition,
) -> Result<Option<String>, ConnectError> {
    let LogPosition::Binlog { file, position, gtid } = before else {
        return Ok(Some("it is of another kind of server".to_owned()));
    };
    let logs: Result<Vec<Row>, Error> = connection.query("SHOW BINARY LOGS").await;
    let logs = logs.map_err(|error| refused(address, server.is_mariadb, error))?;
    let Some(log) = logs.iter().find(|log| text(log, 0) == *file) else {
        let oldest = logs.first().map(|log| text(log, 0)).unwrap_or_default();
        return Ok(Some(format!("the oldest file is `{oldest}`")));
    };
    let size: u64 = text(log, 1).parse().unwrap_or(0);
    if *position > size {
        return Ok(Some(format!(
            "`{file}` is only {size} bytes long: it is the log of another server, or was begun anew"
        )));
    }
    let Some(gtid) = gtid.as_ref().filter(|_| server.is_mariadb) else { return Ok(None) };
    let now: Result<Option<Option<String>>, Error> =
        connection.exec_first("SELECT BINLOG_GTID_POS(?, ?)", (file, position)).await;
    let now = now.map_err(|error| address.problem(error, "looking at its log", ""))?.flatten().unwrap_or_default();
    let parts = |text: &str| text.split(',').map(|part| part.trim().to_owned()).collect::<HashSet<_>>();
    Ok((parts(&now) != parts(gtid)).then(|| {
        let now = if now.is_empty() { "none".to_owned() } else { format!("`{now}`") };
        format!("the GTID there is {now}: it is the log of another server, or was begun anew")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_keys_are_read_as_the_server_writes_them() {
        let line = "  CONSTRAINT `c``1` FOREIGN KEY (`a`, `b`) REFERENCES `other`.`p q` (`x`, `y`) ON DELETE SET NULL ON UPDATE NO ACTION,";
        let parent = foreign_key(line, "shop").unwrap();
        assert_eq!((parent.names.database.as_str(), parent.names.table.as_str()), ("other", "p q"));
        assert_eq!((parent.columns, parent.on_delete, parent.on_update), (vec!["x".into(), "y".into()], true, false));
        let plain = foreign_key("  CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `p` (`id`)", "shop").unwrap();
        assert_eq!((plain.names.database.as_str(), plain.on_delete, plain.on_update), ("shop", false, false));
        for other in
            ["  `a` int COMMENT 'FOREIGN KEY (`a`) REFERENCES `p` (`id`)',", "  KEY `c` (`a`)", ") ENGINE=InnoDB"]
        {
            assert_eq!(foreign_key(other, "shop"), None, "{other}");
        }
    }
}
