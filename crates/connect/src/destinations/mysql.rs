//! MySQL and MariaDB as a destination: rows by key, with a receipt in the same transaction.
//!
//! In: changes.  Out: accepted and rejected rows. Rows go in prepared multi-row statements under strict SQL mode; a statement that
//! fails or warns is undone and halved until the bad rows are alone. `montauk_receipts` lies in the target's database.
//! Never here: what fits (`mysql_target`), single values (`mysql_values`).
//! Start at [`MySqlDestination::apply`].

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use domain::{Dialect, quote_identifier};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Value};

use super::cells::Rows;
use super::halving::Halving;
use super::mysql_target::{MySqlTarget, TargetColumn, create_statement, read_target};
use super::mysql_values::{Bound, bind_row};
use crate::destination::check_deletes;
use crate::dial::mysql::MySqlAddress;
use crate::{
    Applied, ApplyReport, Changes, ConnectError, Destination, NullPolicy, OpenTransaction, Prepared, Receipt, RowReject,
};

/// Strict, so that nothing is cut or shifted; UTC and UTF-8 whatever the server's defaults.
const SESSION: &[&str] = &[
    "SET NAMES utf8mb4",
    "SET SESSION time_zone = '+00:00', \
     sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
];
/// Rows of one statement: more brought nothing when measured (data reference, write path).
const STATEMENT_ROWS: usize = 1000;
/// Placeholders of one prepared statement, the protocol's limit.
const MAX_PLACEHOLDERS: usize = 65_535;
/// Bytes of one statement: well under the smallest common `max_allowed_packet` of 16 MiB.
const STATEMENT_BYTES: usize = 4 * 1024 * 1024;
/// Rows that the server itself may refuse in one batch, before the batch counts as a mistake of the whole.
const MAX_REFUSED: usize = 10_000;
/// Tries of a batch that lost a deadlock; the server asks for it by error 1213.
const DEADLOCK_TRIES: u32 = 5;
/// `VALUES()` in `ON DUPLICATE KEY UPDATE` is deprecated in MySQL 8, and nothing else works in MariaDB.
const DEPRECATED_SYNTAX: u16 = 1287;

const CREATE_RECEIPTS: &str = "`montauk_receipts` (`sync` VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, \
     `number` BIGINT UNSIGNED NOT NULL, `state_hash` VARCHAR(128) NOT NULL, `committed_at` DATETIME(6) NOT NULL) ENGINE=InnoDB";

/// A table of a MySQL or MariaDB server.
#[derive(Debug, Clone)]
pub struct MySqlDestination {
    address: MySqlAddress,
    database: String,
    table: String,
    nulls: NullPolicy,
}

impl MySqlDestination {
    /// `table` is `database.table`, or `table` in the database of the URL; connects to nothing yet.
    pub fn new(url: &str, table: &str, nulls: NullPolicy) -> Result<Self, ConnectError> {
        let address = MySqlAddress::parse(url)?;
        let (database, table) = address.split(table)?;
        Ok(Self { database: database.to_owned(), table: table.to_owned(), address: address.clone(), nulls })
    }

    fn shown(&self) -> String {
        format!("{}.{}", self.database, self.table)
    }

    /// A name of the target's database, quoted.
    fn quoted(&self, table: &str) -> String {
        format!("{}.{}", quote_identifier(Dialect::MySql, &self.database), quote_identifier(Dialect::MySql, table))
    }

    fn problem(&self, error: Error, action: &str) -> ConnectError {
        self.address.problem(error, action, &self.shown())
    }

    async fn target(&self, connection: &mut Conn) -> Result<MySqlTarget, ConnectError> {
        read_target(connection, &self.address, &self.database, &self.table).await?.ok_or_else(|| {
            ConnectError::NoSuchTable { server: self.address.server.clone(), table: self.shown(), nearest: None }
        })
    }

    async fn create(&self, connection: &mut Conn, schema: &SchemaRef, key: &[String]) -> Result<(), ConnectError> {
        let version: Option<String> = connection
            .query_first("SELECT VERSION()")
            .await
            .map_err(|error| self.problem(error, "asking its version"))?;
        // Byte by byte and without padding, so that `a`, `A` and `a ` stay three keys.
        let collation = match version {
            Some(version) if version.to_lowercase().contains("mariadb") => "utf8mb4_nopad_bin",
            Some(version) if version.starts_with("5.") => "utf8mb4_bin",
            Some(_) | None => "utf8mb4_0900_bin",
        };
        let statement = create_statement((&self.database, &self.table), schema, key, collation)?;
        connection.query_drop(statement).await.map_err(|error| self.problem(error, "creating the target"))
    }

    /// One try of a batch; a lost deadlock comes back as `None`, its transaction already undone.
    async fn try_apply(&self, batch: &Batch) -> Result<Option<(Conn, ApplyReport)>, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        connection
            .query_drop("START TRANSACTION")
            .await
            .map_err(|error| self.problem(error, "starting a transaction"))?;
        let mut report = ApplyReport {
            rejects: batch.rejects.clone(),
            delete_rejects: batch.delete_rejects.clone(),
            ..ApplyReport::default()
        };
        let deleted = self.write(&mut connection, &batch.delete, &batch.deletes).await?;
        let Some((count, rejects)) = deleted else { return Ok(None) };
        report.deleted = count;
        report.delete_rejects.extend(rejects);
        let upserted = self.write(&mut connection, &batch.upsert, &batch.upserts).await?;
        let Some((count, rejects)) = upserted else { return Ok(None) };
        report.upserted = count;
        report.rejects.extend(rejects);
        report.rejects.sort_by_key(|reject| reject.row);
        report.delete_rejects.sort_by_key(|reject| reject.row);
        Ok(Some((connection, report)))
    }

    /// Writes bound rows, halving what fails. Answers the rows taken and the rejects, or `None` after a lost deadlock.
    async fn write(
        &self,
        connection: &mut Conn,
        statement: &Statement,
        rows: &[(usize, Bound)],
    ) -> Result<Option<(u64, Vec<RowReject>)>, ConnectError> {
        let (mut taken, mut rejects) = (0, Vec::new());
        let mut halving = Halving::new(rows.len(), statement.step(rows));
        while let Some(range) = halving.next() {
            let refusal = match self.write_once(connection, statement, &rows[range.clone()]).await? {
                Outcome::Taken => {
                    taken += range.len() as u64;
                    continue;
                }
                Outcome::Deadlock => return Ok(None),
                Outcome::Refused { code, reason } => (code, reason),
            };
            if let Some(position) = halving.failed(range) {
                rejects.push(RowReject { row: rows[position].0, code: refusal.0, reason: refusal.1 });
                if rejects.len() > MAX_REFUSED {
                    return Err(ConnectError::TargetMismatch {
                        table: self.shown(),
                        reason: format!("it refuses more than {MAX_REFUSED} rows, the first: {}", rejects[0].reason),
                        next: "mend the model or the table, then run again".to_owned(),
                    });
                }
            }
        }
        Ok(Some((taken, rejects)))
    }

    async fn write_once(
        &self,
        connection: &mut Conn,
        statement: &Statement,
        rows: &[(usize, Bound)],
    ) -> Result<Outcome, ConnectError> {
        let problem = |error| self.problem(error, "writing rows");
        connection.query_drop("SAVEPOINT montauk").await.map_err(problem)?;
        let values: Vec<Value> = rows.iter().flat_map(|(_, bound)| bound.values.iter().cloned()).collect();
        let refused = match connection.exec_drop(statement.text(rows.len()), values).await {
            Ok(()) if connection.get_warnings() == 0 => return Ok(Outcome::Taken),
            Ok(()) => {
                let warnings: Vec<(String, u16, String)> = connection.query("SHOW WARNINGS").await.map_err(problem)?;
                let warning =
                    warnings.into_iter().find(|(level, code, _)| level != "Note" && *code != DEPRECATED_SYNTAX);
                match warning {
                    Some((_, code, reason)) => {
                        Outcome::Refused { code: "warning", reason: format!("{reason} ({code})") }
                    }
                    None => return Ok(Outcome::Taken),
                }
            }
            Err(Error::Server(error)) if error.code == 1213 => return Ok(Outcome::Deadlock),
            Err(Error::Server(error)) if is_about_data(error.code, &error.state) => {
                Outcome::Refused { code: "refused", reason: format!("{} ({})", error.message, error.code) }
            }
            Err(error) => return Err(problem(error)),
        };
        connection.query_drop("ROLLBACK TO SAVEPOINT montauk").await.map_err(problem)?;
        Ok(refused)
    }

    async fn max_bytes(&self, connection: &mut Conn) -> Result<usize, ConnectError> {
        let packet: Option<usize> = connection
            .query_first("SELECT @@max_allowed_packet")
            .await
            .map_err(|error| self.problem(error, "asking its limits"))?;
        // The statement's own bytes, types and null bitmap take some of the packet.
        Ok(packet.unwrap_or(STATEMENT_BYTES).saturating_sub(64 * 1024))
    }
}

#[async_trait]
impl Destination for MySqlDestination {
    async fn prepare(&self, schema: &SchemaRef, key: &[String]) -> Result<Prepared, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        let found = read_target(&mut connection, &self.address, &self.database, &self.table).await?;
        let created = found.is_none();
        if created {
            self.create(&mut connection, schema, key).await?;
        }
        let warnings = self.target(&mut connection).await?.check(schema, key)?;
        let receipts = format!(
            "CREATE TABLE IF NOT EXISTS {}.{CREATE_RECEIPTS}",
            quote_identifier(Dialect::MySql, &self.database)
        );
        connection.query_drop(receipts).await.map_err(|error| self.problem(error, "creating `montauk_receipts`"))?;
        Ok(Prepared { created, warnings })
    }

    async fn last_receipt(&self, sync: &str) -> Result<Option<Receipt>, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        let select = format!("SELECT `number`, `state_hash` FROM {} WHERE `sync` = ?", self.quoted("montauk_receipts"));
        let found: Result<Option<(u64, String)>, Error> = connection.exec_first(select, (sync,)).await;
        match found {
            Ok(found) => Ok(found.map(|(number, state_hash)| Receipt { sync: sync.to_owned(), number, state_hash })),
            Err(Error::Server(error)) if error.code == 1146 => Ok(None),
            Err(error) => Err(self.problem(error, "reading `montauk_receipts`")),
        }
    }

    async fn apply(&self, changes: &Changes) -> Result<Applied, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        let target = self.target(&mut connection).await?;
        let max_bytes = self.max_bytes(&mut connection).await?;
        drop(connection);
        let batch = Batch::bind(self, changes, &target, max_bytes)?;
        for _ in 0..DEADLOCK_TRIES {
            if let Some((connection, report)) = self.try_apply(&batch).await? {
                let transaction = MySqlTransaction { destination: self.clone(), connection };
                return Ok(Applied::new(report, Box::new(transaction)));
            }
        }
        Err(ConnectError::Database {
            server: self.address.server.clone(),
            number: "1213".to_owned(),
            action: "writing rows".to_owned(),
            reason: format!("{DEADLOCK_TRIES} deadlocks in a row with other writers"),
        })
    }
}

enum Outcome {
    Taken,
    Deadlock,
    Refused { code: &'static str, reason: String },
}

/// Whether an error is about the values of the rows, not about the statement or the server.
/// SQLSTATE classes: 22 data, 23 constraint, 44 view check, 45 a trigger's own; the codes are those that hide behind `HY000`.
fn is_about_data(code: u16, state: &str) -> bool {
    ["22", "23", "44", "45"].iter().any(|class| state.starts_with(class))
        || [1265, 1292, 1364, 1366, 1369, 3819, 4025].contains(&code)
}

/// A statement for any number of rows.
struct Statement {
    head: String,
    row: String,
    tail: String,
    width: usize,
}

impl Statement {
    fn text(&self, rows: usize) -> String {
        let mut text = String::with_capacity(self.head.len() + rows * (self.row.len() + 1) + self.tail.len());
        text.push_str(&self.head);
        for row in 0..rows {
            if row > 0 {
                text.push(',');
            }
            text.push_str(&self.row);
        }
        text.push_str(&self.tail);
        text
    }

    /// Rows of one statement, so that neither placeholders nor bytes go over their limit.
    fn step(&self, rows: &[(usize, Bound)]) -> usize {
        let largest = rows.iter().map(|(_, bound)| bound.bytes).max().unwrap_or(1).max(1);
        STATEMENT_ROWS.min(MAX_PLACEHOLDERS / self.width.max(1)).min(STATEMENT_BYTES / largest).max(1)
    }
}

/// The rows of one [`Changes`], bound and checked.
struct Batch {
    upsert: Statement,
    delete: Statement,
    upserts: Vec<(usize, Bound)>,
    deletes: Vec<(usize, Bound)>,
    rejects: Vec<RowReject>,
    delete_rejects: Vec<RowReject>,
}

impl Batch {
    fn bind(
        destination: &MySqlDestination,
        changes: &Changes,
        target: &MySqlTarget,
        max_bytes: usize,
    ) -> Result<Self, ConnectError> {
        let schema = changes.upserts.schema();
        target.check(&schema, &changes.key)?;
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let is_key: Vec<bool> = names.iter().map(|name| changes.key.contains(name)).collect();
        let table = destination.quoted(&destination.table);
        let (upserts, rejects) = bind_all(&changes.upserts, &names, &is_key, target, max_bytes)?;
        check_deletes(changes)?;
        let key_names: Vec<String> = match &changes.deletes {
            Some(deletes) => deletes.schema().fields().iter().map(|field| field.name().clone()).collect(),
            None => changes.key.clone(),
        };
        let (deletes, delete_rejects) = match &changes.deletes {
            Some(batch) => bind_all(batch, &key_names, &vec![true; key_names.len()], target, max_bytes)?,
            None => (Vec::new(), Vec::new()),
        };
        Ok(Self {
            upsert: upsert_statement(&table, &names, &is_key, destination.nulls),
            delete: delete_statement(&table, &key_names),
            upserts,
            deletes,
            rejects,
            delete_rejects,
        })
    }
}

type BoundRows = (Vec<(usize, Bound)>, Vec<RowReject>);

fn bind_all(
    batch: &arrow::record_batch::RecordBatch,
    names: &[String],
    is_key: &[bool],
    target: &MySqlTarget,
    max_bytes: usize,
) -> Result<BoundRows, ConnectError> {
    let columns: Option<Vec<&TargetColumn>> = names.iter().map(|name| target.column(name)).collect();
    let columns = columns.ok_or_else(|| ConnectError::internal("bind rows", "a column is not in the target"))?;
    let rows = Rows::new(batch, &names.join(", "))?;
    let (mut bound, mut rejects) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in 0..rows.len() {
        match bind_row(&rows, row, &columns, is_key, max_bytes) {
            Ok(values) => bound.push((row, values)),
            Err(reject) => rejects.push(reject),
        }
    }
    Ok((bound, rejects))
}

fn placeholders(width: usize) -> String {
    format!("({})", vec!["?"; width].join(","))
}

fn upsert_statement(table: &str, names: &[String], is_key: &[bool], nulls: NullPolicy) -> Statement {
    let quoted: Vec<String> = names.iter().map(|name| quote_identifier(Dialect::MySql, name)).collect();
    let others = quoted.iter().zip(is_key).filter(|(_, is_key)| !**is_key);
    let mut updates: Vec<String> = others
        .map(|(name, _)| match nulls {
            NullPolicy::Keep => format!("{name} = COALESCE(VALUES({name}), {name})"),
            NullPolicy::Overwrite => format!("{name} = VALUES({name})"),
        })
        .collect();
    if updates.is_empty() {
        // A row that is nothing but its key: found again, it stays as it is.
        updates.extend(quoted.first().map(|name| format!("{name} = {name}")));
    }
    Statement {
        head: format!("INSERT INTO {table} ({}) VALUES ", quoted.join(",")),
        row: placeholders(names.len()),
        tail: format!(" ON DUPLICATE KEY UPDATE {}", updates.join(", ")),
        width: names.len(),
    }
}

fn delete_statement(table: &str, key: &[String]) -> Statement {
    let quoted: Vec<String> = key.iter().map(|name| quote_identifier(Dialect::MySql, name)).collect();
    Statement {
        head: format!("DELETE FROM {table} WHERE ({}) IN (", quoted.join(",")),
        row: placeholders(key.len()),
        tail: ")".to_owned(),
        width: key.len(),
    }
}

/// Rows written and not yet committed; dropping it closes the connection, and the server rolls back.
struct MySqlTransaction {
    destination: MySqlDestination,
    connection: Conn,
}

#[async_trait]
impl OpenTransaction for MySqlTransaction {
    async fn commit(mut self: Box<Self>, receipt: &Receipt) -> Result<(), ConnectError> {
        let receipts = self.destination.quoted("montauk_receipts");
        let destination = self.destination.clone();
        let problem = |error| destination.problem(error, "committing rows and receipt");
        let select = format!("SELECT `number` FROM {receipts} WHERE `sync` = ? FOR UPDATE");
        let found: Option<u64> = self.connection.exec_first(select, (receipt.sync.as_str(),)).await.map_err(problem)?;
        if let Some(found) = found.filter(|found| *found >= receipt.number) {
            return Err(ConnectError::StaleReceipt { sync: receipt.sync.clone(), found, wanted: receipt.number });
        }
        let insert = format!(
            "INSERT INTO {receipts} (`sync`, `number`, `state_hash`, `committed_at`) VALUES (?, ?, ?, UTC_TIMESTAMP(6)) \
             ON DUPLICATE KEY UPDATE `number` = VALUES(`number`), `state_hash` = VALUES(`state_hash`), \
             `committed_at` = VALUES(`committed_at`)"
        );
        let values = (receipt.sync.as_str(), receipt.number, receipt.state_hash.as_str());
        self.connection.exec_drop(insert, values).await.map_err(problem)?;
        self.connection.query_drop("COMMIT").await.map_err(problem)
    }
}
