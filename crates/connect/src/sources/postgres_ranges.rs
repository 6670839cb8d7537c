//! Where to cut a PostgreSQL table so that its parts hold about as many rows each, however its keys are spread.
//!
//! In: a table, how many parts.  Out: borders in the primary key, as SQL literals.
//! The server samples some of the table's pages at random (`TABLESAMPLE SYSTEM`) and sorts their keys, so that the order is the index's.
//! Never here: reading the rows.
//! Start at [`borders`].

use domain::{Dialect, quote_identifier};
use sqlx::postgres::PgConnection;
use sqlx::{Error, Executor, Row};

use super::postgres_columns::{PostgresKind, PostgresTable};
use crate::dial::postgres::statement;
use crate::key_range::{Border, quantiles};

/// Rows of the sample for each part. Whole pages come, and rows of one page lie together, so it takes many.
const SAMPLES_PER_PART: f64 = 2_000.0;

/// Borders for `parts` parts; none when the key cannot be cut.
pub(crate) async fn borders(
    connection: &mut PgConnection,
    table: &PostgresTable,
    parts: usize,
) -> Result<Vec<Border>, Error> {
    let can_be_cut = |name: &String| table.columns.iter().any(|column| column.name == *name && is_exact(column.kind));
    if parts < 2 || table.primary_key.is_empty() || !table.primary_key.iter().all(can_be_cut) {
        return Ok(Vec::new());
    }
    let quote = |name: &String| quote_identifier(Dialect::Standard, name);
    let key: Vec<String> = table.primary_key.iter().map(quote).collect();
    let literals: Vec<String> = key.iter().map(|column| format!("quote_literal({column}::text)")).collect();
    let rows = table.approximate_rows.unwrap_or(0).max(1) as f64;
    let percent = (SAMPLES_PER_PART * parts as f64 / rows * 100.0).clamp(0.01, 100.0);
    let select = format!(
        "SELECT {} FROM {} TABLESAMPLE SYSTEM ({percent:.6}) ORDER BY {}",
        literals.join(", "),
        full_name(table),
        key.join(", ")
    );
    let mut samples: Vec<Border> = Vec::new();
    for row in connection.fetch_all(statement(select)).await? {
        samples.push((0..key.len()).map(|at| row.try_get(at)).collect::<Result<_, _>>()?);
    }
    Ok(quantiles(&samples, parts))
}

/// For SQL.
pub(crate) fn full_name(table: &PostgresTable) -> String {
    if let Some(query) = &table.query {
        return query.as_table();
    }
    let quote = |name: &str| quote_identifier(Dialect::Standard, name);
    format!("{}.{}", quote(&table.schema), quote(&table.name))
}

/// Kinds that come back the same from their text.
fn is_exact(kind: PostgresKind) -> bool {
    match kind {
        PostgresKind::Float | PostgresKind::Double | PostgresKind::Jsonb => false,
        PostgresKind::Bool
        | PostgresKind::Int16
        | PostgresKind::Int32
        | PostgresKind::Int64
        | PostgresKind::Oid
        | PostgresKind::Decimal { .. }
        | PostgresKind::Text
        | PostgresKind::Bytes
        | PostgresKind::Uuid
        | PostgresKind::Date
        | PostgresKind::Timestamp
        | PostgresKind::TimestampUtc
        | PostgresKind::Time => true,
    }
}
