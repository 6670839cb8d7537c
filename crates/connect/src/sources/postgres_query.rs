//! A statement whose rows are a table, as PostgreSQL describes it.
//!
//! In: a connection in a snapshot, a [`Query`].  Out: a [`PostgresTable`] with the columns of its result, which is read and proven as any
//! other; and the tables that it reads, held as they are.
//! The driver tells a column's type, not how it was declared, and the table that it comes from. So a `numeric(12,2)` that is handed through
//! keeps its digits, and one that is computed is text with every digit, as `numeric` without a precision is.
//! Never here: what a type becomes (`postgres_columns`), reading rows (`postgres_reader`).
//! Start at [`describe`].

use sqlx::postgres::PgConnection;
use sqlx::{Column as _, Connection, Either, Error, Executor, Row, SqlSafeStr, Statement as _};

use super::postgres_columns::{PostgresTable, read_column};
use super::query::Query;
use crate::dial::postgres::{PostgresAddress, statement};
use crate::{ConnectError, InvalidDates};

/// What the server calls a column that nobody has named.
const UNNAMED: &str = "?column?";

/// Columns by name, type, and the column of a table that they come from (0: none), in the words of the catalog. Domains arrive as what they
/// are made of; how that was declared stands with the domain.
const COLUMNS: &str = "
    SELECT w.name AS column_name, format_type(t.oid, w.modifier) AS source_type, false AS is_not_null, NULL::text AS collation,
           t.oid::int8 AS type_id, w.modifier AS type_modifier, t.typcategory::text AS category
    FROM (SELECT c.name, c.type_id, c.position, COALESCE((
             SELECT CASE WHEN d.typtype = 'd' THEN d.typtypmod ELSE a.atttypmod END
             FROM pg_attribute a JOIN pg_type d ON d.oid = a.atttypid
             WHERE a.attrelid = c.relation::oid AND a.attnum = c.attribute
               AND CASE WHEN d.typtype = 'd' THEN d.typbasetype ELSE d.oid END = c.type_id::oid), -1) AS modifier
          FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int4[]) WITH ORDINALITY
            AS c(name, type_id, relation, attribute, position)) w
    JOIN pg_type t ON t.oid = w.type_id::oid ORDER BY w.position";
/// Tables that this transaction has locked, with their partitions, that were rewritten (TRUNCATE, ALTER) or made since its snapshot, which
/// would see them empty: the catalog rows are the snapshot's, the functions and locks are of the present.
const REWRITTEN: &str = "
    SELECT count(*) FROM (
      SELECT COALESCE(p.relid, l.relation)::oid AS relation
      FROM pg_locks l LEFT JOIN LATERAL pg_partition_tree(l.relation::oid::regclass) p ON true
      WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.relation::oid >= 16384) r
    LEFT JOIN pg_class c ON c.oid = r.relation
    WHERE c.oid IS NULL OR (c.relfilenode IS DISTINCT FROM COALESCE(pg_relation_filenode(c.oid), 0) AND c.relfilenode <> 0)";

/// The table that the rows of a query are.
///
/// Errors: `BadQuery` unless it is one statement that answers with rows, in columns that can be told apart.
pub(crate) async fn describe(
    connection: &mut PgConnection,
    address: &PostgresAddress,
    query: Query,
    dates: InvalidDates,
) -> Result<PostgresTable, ConnectError> {
    let problem = |error| problem(address, error, &query);
    // What was prepared for another table of the run may describe tables as they were then.
    connection.clear_cached_statements().await.map_err(problem)?;
    let prepared = connection.prepare(statement(query.text.clone()).into_sql_str()).await.map_err(problem)?;
    if let Some(Either::Left([_, ..]) | Either::Right(1..)) = prepared.parameters() {
        return Err(query.refuse_values(&address.server, "$1"));
    }
    let columns = prepared.columns();
    let names: Vec<(&str, bool)> = columns.iter().map(|column| (column.name(), column.name() != UNNAMED)).collect();
    query.check_names(&address.server, &names)?;
    let type_of = |column: &sqlx::postgres::PgColumn| column.type_info().oid().map_or(0, |oid| i64::from(oid.0));
    let relation_of = |column: &sqlx::postgres::PgColumn| column.relation_id().map_or(0, |oid| i64::from(oid.0));
    let attribute_of = |column: &sqlx::postgres::PgColumn| i32::from(column.relation_attribute_no().unwrap_or(0));
    let described = sqlx::query(COLUMNS)
        .bind(columns.iter().map(|column| column.name().to_owned()).collect::<Vec<String>>())
        .bind(columns.iter().map(type_of).collect::<Vec<i64>>())
        .bind(columns.iter().map(relation_of).collect::<Vec<i64>>())
        .bind(columns.iter().map(attribute_of).collect::<Vec<i32>>())
        .fetch_all(&mut *connection)
        .await
        .map_err(problem)?;
    if described.len() != columns.len() {
        return Err(ConnectError::internal("describe a query", "a column has a type that the catalog does not know"));
    }
    let found: Result<Vec<_>, Error> = described.iter().map(|row| read_column(row, dates)).collect();
    let (columns, name) = (found.map_err(problem)?, query.shown.clone());
    Ok(PostgresTable { name, columns, is_stored: true, query: Some(query), ..PostgresTable::default() })
}

/// Keeps the tables of a query from being altered until they are released, and makes sure that they have not been since the snapshot.
///
/// Errors: `BadQuery` when the statement is not one that may stand inside another, such as one that writes.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    address: &PostgresAddress,
    query: &Query,
) -> Result<(), ConnectError> {
    let problem = |error| problem(address, error, query);
    // Planning locks every table that it reads, also those behind views; no row is asked for.
    let select = format!("SELECT FROM {} LIMIT 0", query.as_table());
    connection.execute(statement(select)).await.map_err(problem)?;
    let rewritten = connection.fetch_one(REWRITTEN).await.map_err(problem)?;
    if rewritten.try_get::<i64, _>(0).map_err(problem)? > 0 {
        return Err(ConnectError::TableChanged { table: query.shown.clone() });
    }
    Ok(())
}

/// Whether the server takes a query: how many columns it has. Reads no rows.
pub(crate) async fn examine(
    connection: &mut PgConnection,
    address: &PostgresAddress,
    query: Query,
) -> Result<usize, ConnectError> {
    let problem = |error| address.problem(error, "looking at a query", "");
    connection.execute("BEGIN READ ONLY").await.map_err(problem)?;
    let table = describe(connection, address, query.clone(), InvalidDates::default()).await;
    let found = match table {
        Ok(table) => hold(connection, address, &query).await.map(|()| table.columns.len()),
        Err(error) => Err(error),
    };
    connection.execute("ROLLBACK").await.map_err(problem)?;
    found
}

/// An error of the server about a query, or of the way to it.
pub(crate) fn problem(address: &PostgresAddress, error: Error, query: &Query) -> ConnectError {
    let state =
        error.as_database_error().and_then(|found| Some((found.code()?.into_owned(), found.message().to_owned())));
    match state {
        // Features, cardinality, data, transactions, syntax and rights: PostgreSQL documentation, appendix A.
        Some((state, message)) if ["0A", "21", "22", "25", "42"].iter().any(|class| state.starts_with(class)) => {
            query.refused(&address.server, format!("error {state}: {message}"))
        }
        _ => address.problem(error, &format!("answering the query of `{}`", query.shown), &query.shown),
    }
}
