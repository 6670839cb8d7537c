//! PostgreSQL as a destination: rows by key, with a receipt in the same transaction.
//!
//! In: changes.  Out: accepted and rejected rows. Rows go as one text array per column, cast by the server, into
//! `INSERT … ON CONFLICT DO UPDATE`; a statement that fails is undone and halved until the bad rows are alone.
//! `montauk_receipts` lies in the target's schema.
//! Never here: what fits (`postgres_target`), single values (`postgres_values`).
//! Start at [`PostgresDestination::apply`].

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use domain::{Dialect, quote_identifier};
use sqlx::postgres::PgConnection;
use sqlx::{Error, Executor};

use super::cells::Rows;
use super::halving::Halving;
use super::postgres_target::{PostgresTarget, create_statement, read_target};
use super::postgres_values::bind_row;
use crate::destination::check_deletes;
use crate::dial::postgres::{PostgresAddress, statement};
use crate::{
    Applied, ApplyReport, Changes, ConnectError, Destination, NullPolicy, OpenTransaction, Prepared, Receipt, RowReject,
};

/// UTC and ISO whatever the server's defaults, so that text is read as it was meant.
const SESSION: &str =
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET statement_timeout = 0; SET client_min_messages = warning";
/// Rows of one statement; arrays have no limit of placeholders, so bytes usually end it first.
const STATEMENT_ROWS: usize = 5000;
/// Bytes of one statement: what client and server hold twice or thrice while it runs.
const STATEMENT_BYTES: usize = 8 * 1024 * 1024;
/// Rows that the server itself may refuse in one batch, before the batch counts as a mistake of the whole.
const MAX_REFUSED: usize = 10_000;
/// Tries of a batch that lost a deadlock.
const DEADLOCK_TRIES: u32 = 5;
/// The schema of a target that names none.
const DEFAULT_SCHEMA: &str = "public";

/// A table of a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresDestination {
    address: PostgresAddress,
    schema: String,
    table: String,
    nulls: NullPolicy,
}

impl PostgresDestination {
    /// `table` is `schema.table`, or `table` in `public`; connects to nothing yet.
    pub fn new(url: &str, table: &str, nulls: NullPolicy) -> Result<Self, ConnectError> {
        let (schema, table) = table.split_once('.').unwrap_or((DEFAULT_SCHEMA, table));
        Ok(Self { address: PostgresAddress::parse(url)?, schema: schema.to_owned(), table: table.to_owned(), nulls })
    }

    fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// A name of the target's schema, quoted.
    fn quoted(&self, table: &str) -> String {
        format!("{}.{}", quote_identifier(Dialect::Standard, &self.schema), quote_identifier(Dialect::Standard, table))
    }

    fn problem(&self, error: Error, action: &str) -> ConnectError {
        self.address.problem(error, action, &self.shown())
    }

    async fn run(&self, connection: &mut PgConnection, text: String, action: &str) -> Result<(), ConnectError> {
        connection.execute(statement(text)).await.map(drop).map_err(|error| self.problem(error, action))
    }

    async fn target(&self, connection: &mut PgConnection) -> Result<PostgresTarget, ConnectError> {
        read_target(connection, &self.address, (&self.schema, &self.table)).await?.ok_or_else(|| {
            ConnectError::NoSuchTable { server: self.address.server.clone(), table: self.shown(), nearest: None }
        })
    }

    /// One try of a batch; a lost deadlock comes back as `None`.
    async fn try_apply(&self, batch: &Batch) -> Result<Option<(PgConnection, ApplyReport)>, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        self.run(&mut connection, "BEGIN".to_owned(), "starting a transaction").await?;
        let Some((deleted, delete_rejects)) = self.write(&mut connection, &batch.deletes).await? else {
            return Ok(None);
        };
        let Some((upserted, rejects)) = self.write(&mut connection, &batch.upserts).await? else { return Ok(None) };
        Ok(Some((connection, ApplyReport { upserted, deleted, rejects, delete_rejects })))
    }

    /// Writes bound rows, halving what fails. Answers the rows taken and the rejects, or `None` after a lost deadlock.
    async fn write(
        &self,
        connection: &mut PgConnection,
        part: &Part,
    ) -> Result<Option<(u64, Vec<RowReject>)>, ConnectError> {
        let (mut taken, mut rejects) = (0, part.rejects.clone());
        let mut refused = 0;
        let mut halving = Halving::new(part.rows.len(), part.step());
        while let Some(range) = halving.next() {
            let reason = match self.write_once(connection, part, range.clone()).await? {
                Outcome::Taken => {
                    taken += range.len() as u64;
                    continue;
                }
                Outcome::Deadlock => return Ok(None),
                Outcome::Refused(reason) => reason,
            };
            let Some(position) = halving.failed(range) else { continue };
            refused += 1;
            if refused > MAX_REFUSED {
                return Err(ConnectError::TargetMismatch {
                    table: self.shown(),
                    reason: format!("it refuses more than {MAX_REFUSED} rows, the last: {reason}"),
                    next: "mend the model or the table, then run again".to_owned(),
                });
            }
            rejects.push(RowReject { row: part.rows[position].0, code: "refused", reason });
        }
        rejects.sort_by_key(|reject| reject.row);
        Ok(Some((taken, rejects)))
    }

    async fn write_once(
        &self,
        connection: &mut PgConnection,
        part: &Part,
        range: std::ops::Range<usize>,
    ) -> Result<Outcome, ConnectError> {
        self.run(connection, "SAVEPOINT montauk".to_owned(), "writing rows").await?;
        let mut query = sqlx::query(statement(part.statement.clone()));
        for column in 0..part.width {
            let values: Vec<Option<&str>> =
                part.rows[range.clone()].iter().map(|(_, texts)| texts[column].as_deref()).collect();
            query = query.bind(values);
        }
        let error = match query.execute(&mut *connection).await {
            Ok(_) => {
                self.run(connection, "RELEASE SAVEPOINT montauk".to_owned(), "writing rows").await?;
                return Ok(Outcome::Taken);
            }
            Err(error) => error,
        };
        let state = error
            .as_database_error()
            .and_then(|error| error.code().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        if state == "40P01" {
            return Ok(Outcome::Deadlock);
        }
        // SQLSTATE classes: 21 the same key twice, 22 data, 23 constraint, 44 view check, P0 a trigger's own.
        if !["21", "22", "23", "44", "P0"].iter().any(|class| state.starts_with(class)) {
            return Err(self.problem(error, "writing rows"));
        }
        let reason =
            error.as_database_error().map(|error| format!("{} ({state})", error.message())).unwrap_or_default();
        self.run(connection, "ROLLBACK TO SAVEPOINT montauk".to_owned(), "writing rows").await?;
        Ok(Outcome::Refused(reason))
    }
}

#[async_trait]
impl Destination for PostgresDestination {
    async fn prepare(&self, schema: &SchemaRef, key: &[String]) -> Result<Prepared, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        let created = read_target(&mut connection, &self.address, (&self.schema, &self.table)).await?.is_none();
        if created {
            let create_schema =
                format!("CREATE SCHEMA IF NOT EXISTS {}", quote_identifier(Dialect::Standard, &self.schema));
            self.run(&mut connection, create_schema, "creating the schema").await?;
            let create = create_statement((&self.schema, &self.table), schema, key)?;
            self.run(&mut connection, create, "creating the target").await?;
        }
        let warnings = self.target(&mut connection).await?.check(schema, key)?;
        let receipts = format!(
            "CREATE TABLE IF NOT EXISTS {} (sync text COLLATE \"C\" PRIMARY KEY, number bigint NOT NULL, state_hash text NOT NULL, \
             committed_at timestamptz NOT NULL)",
            self.quoted("montauk_receipts")
        );
        self.run(&mut connection, receipts, "creating `montauk_receipts`").await?;
        Ok(Prepared { created, warnings })
    }

    async fn last_receipt(&self, sync: &str) -> Result<Option<Receipt>, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        let select = format!("SELECT number, state_hash FROM {} WHERE sync = $1", self.quoted("montauk_receipts"));
        let found =
            sqlx::query_as::<_, (i64, String)>(statement(select)).bind(sync).fetch_optional(&mut connection).await;
        match found {
            Ok(found) => Ok(found.map(|(number, state_hash)| Receipt {
                sync: sync.to_owned(),
                number: number.cast_unsigned(),
                state_hash,
            })),
            Err(error) if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01")) => {
                Ok(None)
            }
            Err(error) => Err(self.problem(error, "reading `montauk_receipts`")),
        }
    }

    async fn apply(&self, changes: &Changes) -> Result<Applied, ConnectError> {
        let mut connection = self.address.connect(SESSION).await?;
        let target = self.target(&mut connection).await?;
        drop(connection);
        let batch = Batch::bind(self, changes, &target)?;
        for _ in 0..DEADLOCK_TRIES {
            if let Some((connection, report)) = self.try_apply(&batch).await? {
                let transaction = PostgresTransaction { destination: self.clone(), connection };
                return Ok(Applied::new(report, Box::new(transaction)));
            }
        }
        Err(ConnectError::Database {
            server: self.address.server.clone(),
            number: "40P01".to_owned(),
            action: "writing rows".to_owned(),
            reason: format!("{DEADLOCK_TRIES} deadlocks in a row with other writers"),
        })
    }
}

enum Outcome {
    Taken,
    Deadlock,
    Refused(String),
}

/// Rows for one statement, as texts, with their positions in the batch.
struct Part {
    statement: String,
    width: usize,
    rows: Vec<(usize, Vec<Option<String>>)>,
    rejects: Vec<RowReject>,
}

impl Part {
    /// Rows of one statement, by their largest.
    fn step(&self) -> usize {
        let size = |texts: &Vec<Option<String>>| texts.iter().flatten().map(|text| text.len() + 8).sum::<usize>();
        let largest = self.rows.iter().map(|(_, texts)| size(texts)).max().unwrap_or(1).max(1);
        (STATEMENT_BYTES / largest).clamp(1, STATEMENT_ROWS)
    }
}

/// The rows of one [`Changes`], bound and checked.
struct Batch {
    upserts: Part,
    deletes: Part,
}

impl Batch {
    fn bind(
        destination: &PostgresDestination,
        changes: &Changes,
        target: &PostgresTarget,
    ) -> Result<Self, ConnectError> {
        let schema = changes.upserts.schema();
        target.check(&schema, &changes.key)?;
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let is_key: Vec<bool> = names.iter().map(|name| changes.key.contains(name)).collect();
        check_deletes(changes)?;
        let types = types_of(target, &names)?;
        let table = destination.quoted(&destination.table);
        let (rows, rejects) = bind_all(&changes.upserts, &names, &is_key)?;
        let statement = upsert_statement(&table, &names, &types, &is_key, destination.nulls);
        let upserts = Part { statement, width: names.len(), rows, rejects };
        let deletes = match &changes.deletes {
            Some(batch) => {
                let key: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
                let (rows, rejects) = bind_all(batch, &key, &vec![true; key.len()])?;
                Part {
                    statement: delete_statement(&table, &key, &types_of(target, &key)?),
                    width: key.len(),
                    rows,
                    rejects,
                }
            }
            None => Part { statement: String::new(), width: 0, rows: Vec::new(), rejects: Vec::new() },
        };
        Ok(Self { upserts, deletes })
    }
}

fn types_of(target: &PostgresTarget, names: &[String]) -> Result<Vec<String>, ConnectError> {
    let found: Option<Vec<String>> = names.iter().map(|name| Some(target.column(name)?.column_type.clone())).collect();
    found.ok_or_else(|| ConnectError::internal("bind rows", "a column is not in the target"))
}

type BoundRows = (Vec<(usize, Vec<Option<String>>)>, Vec<RowReject>);

fn bind_all(
    batch: &arrow::record_batch::RecordBatch,
    names: &[String],
    is_key: &[bool],
) -> Result<BoundRows, ConnectError> {
    let rows = Rows::new(batch, &names.join(", "))?;
    let (mut bound, mut rejects) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in 0..rows.len() {
        match bind_row(&rows, row, names, is_key) {
            Ok(texts) => bound.push((row, texts)),
            Err(reject) => rejects.push(reject),
        }
    }
    Ok((bound, rejects))
}

/// `UNNEST($1::text[], …) AS rows(c0, …)` and each column's cast to its type.
fn unnest(types: &[String]) -> (String, Vec<String>) {
    let arrays: Vec<String> = (1..=types.len()).map(|number| format!("${number}::text[]")).collect();
    let columns: Vec<String> = (0..types.len()).map(|number| format!("c{number}")).collect();
    // `varchar(5)` as a cast would cut silently; without its length the assignment to the column refuses what is too long.
    let plain = |sql_type: &String| match sql_type.split_once('(') {
        Some((name, _)) if name.starts_with("character") => "text".to_owned(),
        Some(_) | None => sql_type.clone(),
    };
    let casts =
        columns.iter().zip(types).map(|(column, sql_type)| format!("rows.{column}::{}", plain(sql_type))).collect();
    (format!("UNNEST({}) AS rows({})", arrays.join(", "), columns.join(", ")), casts)
}

fn upsert_statement(table: &str, names: &[String], types: &[String], is_key: &[bool], nulls: NullPolicy) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quote_identifier(Dialect::Standard, name)).collect();
    let (source, casts) = unnest(types);
    let key: Vec<&str> =
        quoted.iter().zip(is_key).filter(|(_, is_key)| **is_key).map(|(name, _)| name.as_str()).collect();
    let updates: Vec<String> = quoted
        .iter()
        .zip(is_key)
        .filter(|(_, is_key)| !**is_key)
        .map(|(name, _)| match nulls {
            NullPolicy::Keep => format!("{name} = COALESCE(EXCLUDED.{name}, target.{name})"),
            NullPolicy::Overwrite => format!("{name} = EXCLUDED.{name}"),
        })
        .collect();
    let action = if updates.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", updates.join(", ")) };
    format!(
        "INSERT INTO {table} AS target ({}) SELECT {} FROM {source} ON CONFLICT ({}) DO {action}",
        quoted.join(", "),
        casts.join(", "),
        key.join(", ")
    )
}

fn delete_statement(table: &str, key: &[String], types: &[String]) -> String {
    let (source, casts) = unnest(types);
    let matches: Vec<String> = key
        .iter()
        .zip(&casts)
        .map(|(name, cast)| format!("target.{} = {cast}", quote_identifier(Dialect::Standard, name)))
        .collect();
    format!("DELETE FROM {table} AS target USING {source} WHERE {}", matches.join(" AND "))
}

/// Rows written and not yet committed; dropping it closes the connection, and the server rolls back.
struct PostgresTransaction {
    destination: PostgresDestination,
    connection: PgConnection,
}

#[async_trait]
impl OpenTransaction for PostgresTransaction {
    async fn commit(mut self: Box<Self>, receipt: &Receipt) -> Result<(), ConnectError> {
        let receipts = self.destination.quoted("montauk_receipts");
        let destination = self.destination.clone();
        let problem = |error| destination.problem(error, "committing rows and receipt");
        // Counts as one statement: the row is written only when the number is higher, so that of two runs one loses.
        let upsert = format!(
            "INSERT INTO {receipts} AS target (sync, number, state_hash, committed_at) VALUES ($1, $2, $3, now()) \
             ON CONFLICT (sync) DO UPDATE SET number = EXCLUDED.number, state_hash = EXCLUDED.state_hash, \
             committed_at = EXCLUDED.committed_at WHERE target.number < EXCLUDED.number"
        );
        let number = receipt.number.cast_signed();
        let done = sqlx::query(statement(upsert)).bind(&receipt.sync).bind(number).bind(&receipt.state_hash);
        let done = done.execute(&mut self.connection).await.map_err(problem)?;
        if done.rows_affected() == 0 {
            let select = format!("SELECT number FROM {receipts} WHERE sync = $1");
            let found = sqlx::query_scalar::<_, i64>(statement(select))
                .bind(&receipt.sync)
                .fetch_one(&mut self.connection)
                .await;
            let found = found.map_err(problem)?.cast_unsigned();
            return Err(ConnectError::StaleReceipt { sync: receipt.sync.clone(), found, wanted: receipt.number });
        }
        self.connection.execute("COMMIT").await.map(drop).map_err(problem)
    }
}
