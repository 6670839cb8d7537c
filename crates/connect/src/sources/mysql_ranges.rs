//! Where to cut a MySQL or MariaDB table so that its parts hold about as many rows each, however its keys are spread.
//!
//! In: a table, how many parts.  Out: borders in the primary key, as SQL literals.
//! A key of one whole-number column is cut by asking the optimizer how many rows lie in a range (InnoDB dives into the index, and
//! reads a few pages): cheap at any size, and skew does no harm. Other keys are cut at quantiles of a random sample of the index.
//! Never here: reading the rows.
//! Start at [`borders`].

use domain::{Dialect, quote_identifier};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row, Value};

use super::mysql_columns::{MySqlKind, MySqlTable};
use super::mysql_rows::date_text;
use crate::key_range::{Border, quantiles};

/// Samples for each part: quantiles of 200 are off by a tenth or so, and a sample of that size is a page of answers.
const SAMPLES_PER_PART: u64 = 200;
/// Pieces that are measured for each part. Estimates run to twice the rows, so about eight come of it; parts are made of whole pieces.
const PIECES_PER_PART: f64 = 4.0;
/// A piece may be so much larger than it should be: estimates are no better than that.
const SLACK: f64 = 1.5;

/// Borders for `parts` parts; none when the key cannot be cut.
pub(crate) async fn borders(
    connection: &mut Conn,
    database: &str,
    table: &MySqlTable,
    parts: usize,
) -> Result<Vec<Border>, Error> {
    if parts < 2 {
        return Ok(Vec::new());
    }
    let kinds: Option<Vec<MySqlKind>> = table.primary_key.iter().map(|name| kind_of(table, name)).collect();
    let Some(kinds) = kinds.filter(|kinds| !kinds.is_empty() && kinds.iter().all(|kind| can_be_cut(*kind))) else {
        return Ok(Vec::new());
    };
    let name = full_name(database, &table.name);
    match (table.primary_key.as_slice(), kinds.as_slice()) {
        ([column], [kind]) if is_whole_number(*kind) => {
            let column = quote_identifier(Dialect::MySql, column);
            let table_rows = table.approximate_rows.unwrap_or(0) as f64;
            Dives { connection, name, column, table_rows }.borders(parts).await
        }
        _ => sampled(connection, &name, table, &kinds, parts).await,
    }
}

pub(crate) fn full_name(database: &str, table: &str) -> String {
    format!("{}.{}", quote_identifier(Dialect::MySql, database), quote_identifier(Dialect::MySql, table))
}

/// The kind of a key column, unless the server orders it in another way than its literal (ENUM and SET by number).
fn kind_of(table: &MySqlTable, name: &str) -> Option<MySqlKind> {
    let column = table.columns.iter().find(|column| column.name == name)?;
    let source_type = column.source_type.to_lowercase();
    let is_numbered = source_type.starts_with("enum") || source_type.starts_with("set");
    (!is_numbered).then_some(column.kind)
}

pub(super) fn is_whole_number(kind: MySqlKind) -> bool {
    matches!(
        kind,
        MySqlKind::Int8
            | MySqlKind::Int16
            | MySqlKind::Int32
            | MySqlKind::Int64
            | MySqlKind::UInt8
            | MySqlKind::UInt16
            | MySqlKind::UInt32
            | MySqlKind::UInt64
    )
}

/// Kinds whose literal compares in SQL exactly as the index does. Floating point does not.
fn can_be_cut(kind: MySqlKind) -> bool {
    is_whole_number(kind)
        || matches!(
            kind,
            MySqlKind::Decimal { .. }
                | MySqlKind::Date
                | MySqlKind::DateTime { .. }
                | MySqlKind::Timestamp { .. }
                | MySqlKind::DateText { .. }
                | MySqlKind::Text
                | MySqlKind::Binary
        )
}

/// Finds borders of a whole-number key by the optimizer's estimates.
///
/// InnoDB answers about twice the rows of a range that it has not read whole, and never more than half the table
/// (`btr_estimate_n_rows_in_range` in its source). So the table is walked in small pieces that look equally large, and cut into parts of
/// as many pieces each: how far off all estimates are does not matter.
struct Dives<'a> {
    connection: &'a mut Conn,
    name: String,
    column: String,
    /// As the server's statistics have it.
    table_rows: f64,
}

impl Dives<'_> {
    async fn borders(&mut self, parts: usize) -> Result<Vec<Border>, Error> {
        let statement = format!("SELECT MIN({0}), MAX({0}) FROM {1}", self.column, self.name);
        let Some(row) = self.connection.query_first::<Row, _>(statement).await? else { return Ok(Vec::new()) };
        let mut ends = row.unwrap().into_iter().map(whole_number);
        let (Some(Some(low)), Some(Some(high))) = (ends.next(), ends.next()) else { return Ok(Vec::new()) };
        let wanted = (self.table_rows / (PIECES_PER_PART * parts as f64)).max(1.0);
        let mut pieces = Vec::new();
        let (mut from, mut width) = (low, 1.max((high - low) / (8 * parts as i128)));
        while let Some(to) = self.piece((from, high + 1), width, wanted).await? {
            pieces.push(vec![to.to_string()]);
            (from, width) = (to, to - from);
        }
        Ok(quantiles(&pieces, parts))
    }

    /// The end of a piece that begins at `from` and looks like `wanted` rows or a little more; `None` when fewer are left before `end`.
    /// `width` is where to look first: neighbouring pieces are often as wide.
    async fn piece(&mut self, (from, end): (i128, i128), mut width: i128, wanted: f64) -> Result<Option<i128>, Error> {
        let is_fit = |rows: f64| rows <= wanted * SLACK;
        let mut below = from;
        let mut above = loop {
            let to = end.min(from + width);
            let rows = self.rows(from, to).await?;
            if rows >= wanted && is_fit(rows) {
                return Ok(Some(to));
            }
            if rows >= wanted {
                break to;
            }
            if to == end {
                return Ok(None);
            }
            below = to;
            width *= 2;
        };
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            let rows = self.rows(from, middle).await?;
            if rows < wanted {
                below = middle;
                continue;
            }
            above = middle;
            if is_fit(rows) {
                break;
            }
        }
        Ok(Some(above))
    }

    /// Rows of the range as the optimizer estimates them. Source: MariaDB, EXPLAIN, column `rows`.
    async fn rows(&mut self, low: i128, high: i128) -> Result<f64, Error> {
        let (column, name) = (&self.column, &self.name);
        let statement = format!(
            "EXPLAIN SELECT {column} FROM {name} FORCE INDEX (PRIMARY) WHERE {column} >= {low} AND {column} < {high}"
        );
        let Some(row) = self.connection.query_first::<Row, _>(statement).await? else { return Ok(0.0) };
        let at = row.columns_ref().iter().position(|column| column.name_str() == "rows");
        let value = at.and_then(|at| row.get_opt::<Option<u64>, _>(at)).and_then(Result::ok).flatten();
        Ok(value.unwrap_or(0) as f64)
    }
}

fn whole_number(value: Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some(i128::from(number)),
        Value::UInt(number) => Some(i128::from(number)),
        // A query without parameters answers in text.
        Value::Bytes(digits) => std::str::from_utf8(&digits).ok()?.parse().ok(),
        Value::NULL | Value::Float(_) | Value::Double(_) | Value::Date(..) | Value::Time(..) => None,
    }
}

/// Borders at quantiles of a random sample. The server sorts, so that the order is that of the key's collation.
async fn sampled(
    connection: &mut Conn,
    name: &str,
    table: &MySqlTable,
    kinds: &[MySqlKind],
    parts: usize,
) -> Result<Vec<Border>, Error> {
    let rows = table.approximate_rows.unwrap_or(0).max(1);
    let share = (SAMPLES_PER_PART * parts as u64) as f64 / rows as f64;
    let key: Vec<String> = table.primary_key.iter().map(|column| quote_identifier(Dialect::MySql, column)).collect();
    let key = key.join(", ");
    let statement = format!("SELECT {key} FROM {name} WHERE RAND() < ? ORDER BY {key}");
    let found: Vec<Row> = connection.exec(statement, (share.min(1.0),)).await?;
    let samples: Option<Vec<Border>> = found
        .into_iter()
        .map(|row| row.unwrap().iter().zip(kinds).map(|(value, kind)| literal(value, *kind)).collect())
        .collect();
    Ok(samples.map_or_else(Vec::new, |samples| quantiles(&samples, parts)))
}

/// A value as a literal that means exactly it, whatever the session's modes.
fn literal(value: &Value, kind: MySqlKind) -> Option<String> {
    match (value, kind) {
        (Value::Int(number), _) => Some(number.to_string()),
        (Value::UInt(number), _) => Some(number.to_string()),
        (Value::Bytes(digits), MySqlKind::Decimal { .. }) => {
            let text = std::str::from_utf8(digits).ok()?;
            text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-').then(|| text.to_owned())
        }
        (Value::Bytes(bytes), MySqlKind::Text) => Some(format!("_utf8mb4 x'{}'", hex(bytes))),
        (Value::Bytes(bytes), _) => Some(format!("x'{}'", hex(bytes))),
        (Value::Date(..), MySqlKind::Date | MySqlKind::DateText { has_time: false, .. }) => {
            date_text(value, None).map(|text| format!("'{text}'"))
        }
        (Value::Date(..), _) => date_text(value, Some(6)).map(|text| format!("'{text}'")),
        (Value::NULL | Value::Float(_) | Value::Double(_) | Value::Time(..), _) => None,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_cannot_be_anything_but_values() {
        let text = Value::Bytes(b"a' OR 1=1 --\0".to_vec());
        assert_eq!(literal(&text, MySqlKind::Text).as_deref(), Some("_utf8mb4 x'6127204f5220313d31202d2d00'"));
        assert_eq!(literal(&text, MySqlKind::Decimal { digits: 5, scale: 2 }), None);
        assert_eq!(literal(&Value::UInt(u64::MAX), MySqlKind::UInt64).as_deref(), Some("18446744073709551615"));
        let date = Value::Date(2024, 2, 31, 1, 2, 3, 4);
        let kind = MySqlKind::DateTime { digits: 6 };
        assert_eq!(literal(&date, kind).as_deref(), Some("'2024-02-31 01:02:03.000004'"));
        assert_eq!(literal(&date, MySqlKind::Date).as_deref(), Some("'2024-02-31'"));
    }
}
