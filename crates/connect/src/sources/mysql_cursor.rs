//! Which rows of a MySQL or MariaDB table are new, by a column that only grows.
//!
//! In: a table, the column, the largest value that was seen.  Out: the SQL that reads what is at least as large, and the next largest.
//! The server compares, so that every type is ordered as its index is: the largest value is kept as the text the server writes, at full
//! precision, and rows that are equal to it are read again. A row whose value is null would never be seen, so it is read each time.
//! Never here: running the SQL (`mysql`), deletions (only the proof notices them).
//! Start at [`Cursor::of`].

use domain::{Dialect, quote_identifier};

use super::mysql_columns::{MySqlColumn, MySqlKind, MySqlTable};
use super::mysql_ranges::{hex, is_whole_number};
use crate::dial::nearest;
use crate::{ConnectError, LookBack};

/// What is the zero of all times: before every one of them.
const FIRST_TIME: &str = "CAST('0000-00-00 00:00:00' AS DATETIME(6))";

/// How the column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Number { is_unsigned: bool },
    Time,
    Text,
}

/// A column that rows are followed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Quoted.
    column: String,
    order: Order,
    look_back: LookBack,
}

impl Cursor {
    /// Errors: `NoKey` without a primary key, `BadCursor` when the column is not there, cannot be compared exactly, or cannot be looked
    /// back in by `look_back`.
    pub(crate) fn of(table: &MySqlTable, shown: &str, wanted: &str, look_back: LookBack) -> Result<Self, ConnectError> {
        if table.primary_key.is_empty() {
            return Err(ConnectError::NoKey { table: shown.to_owned(), mode: "cursor" });
        }
        let bad = |reason: String, next: String| ConnectError::BadCursor {
            table: shown.to_owned(),
            column: wanted.to_owned(),
            reason,
            next,
        };
        let Some(column) = table.columns.iter().find(|column| column.name == wanted) else {
            let near = nearest(wanted, table.columns.iter().map(|column| column.name.clone()));
            let next = near.map_or_else(|| others(table), |name| format!("did you mean `{name}`?"));
            return Err(bad("there is no such column".to_owned(), next));
        };
        let Some(order) = order_of(column) else {
            return Err(bad(format!("values of type {} are not in an exact order", column.source_type), others(table)));
        };
        let unit = match (look_back, order) {
            (LookBack::Seconds(_), Order::Number { .. } | Order::Text) => Some(("seconds", "no time")),
            (LookBack::Units(_), Order::Time | Order::Text) => Some(("units", "no number")),
            (LookBack::None, _) | (LookBack::Seconds(_), Order::Time) | (LookBack::Units(_), Order::Number { .. }) => {
                None
            }
        };
        if let Some((unit, lack)) = unit {
            let next = match order {
                Order::Number { .. } => "write `look_back = 1000`, in the column's own units",
                Order::Time => "write `look_back = \"15m\"`",
                Order::Text => "remove `look_back`, or go by a column of times or numbers",
            };
            return Err(bad(format!("it is {lack}, so that it cannot be looked back in by {unit}"), next.to_owned()));
        }
        Ok(Self { column: quote_identifier(Dialect::MySql, wanted), order, look_back })
    }

    /// `SELECT` of the largest value as text; among those that are at least `before`, when there was one.
    pub(crate) fn select_largest(&self, full_name: &str, before: Option<&str>) -> Result<String, ConnectError> {
        let column = &self.column;
        let from = match before {
            Some(before) => format!(" WHERE {column} >= {}", self.literal(before)?),
            None => String::new(),
        };
        Ok(format!("SELECT CAST(MAX({column}) AS CHAR CHARACTER SET utf8mb4) FROM {full_name}{from}"))
    }

    /// The condition of rows that are new after `before`, and of those that are read each time; empty when all are new.
    pub(crate) fn condition(&self, before: Option<&str>) -> Result<String, ConnectError> {
        let Some(before) = before else { return Ok(String::new()) };
        let column = &self.column;
        Ok(format!(" WHERE ({column} >= {} OR {column} IS NULL)", self.from(before)?))
    }

    /// The column, for `ORDER BY`.
    pub(crate) fn column(&self) -> &str {
        &self.column
    }

    /// The value that reading begins at.
    fn from(&self, before: &str) -> Result<String, ConnectError> {
        let literal = self.literal(before)?;
        Ok(match (self.look_back, self.order) {
            // A time too early to look back from, or that does not exist, makes null: then everything is read.
            (LookBack::Seconds(seconds), Order::Time) => {
                let from =
                    format!("COALESCE(CAST({literal} AS DATETIME(6)) - INTERVAL {seconds} SECOND, {FIRST_TIME})");
                // Days have no time of day: the whole day counts that the moment lies in.
                if before.contains(':') { from } else { format!("CAST({from} AS DATE)") }
            }
            (LookBack::Units(units), Order::Number { is_unsigned }) => match before.parse::<i128>() {
                // In SQL, the difference of two unsigned numbers must not be negative.
                Ok(number) => {
                    let from = number.saturating_sub(i128::from(units));
                    if is_unsigned { from.max(0).to_string() } else { from.to_string() }
                }
                Err(_) => format!("({literal} - {units})"),
            },
            (LookBack::None | LookBack::Seconds(_) | LookBack::Units(_), _) => literal,
        })
    }

    /// A value as this source wrote it, as a literal that means exactly it. The manifest it stands in can be written by others.
    fn literal(&self, value: &str) -> Result<String, ConnectError> {
        let is_made_of = |allowed: &str| value.chars().all(|c| c.is_ascii_digit() || allowed.contains(c));
        match self.order {
            Order::Number { .. } if is_made_of("-.") && !value.is_empty() => Ok(value.to_owned()),
            Order::Time if is_made_of("-.: ") => Ok(format!("'{value}'")),
            Order::Text => Ok(format!("_utf8mb4 x'{}'", hex(value.as_bytes()))),
            Order::Number { .. } | Order::Time => {
                Err(ConnectError::internal("go on from a cursor", format!("`{value}` is no value of {}", self.column)))
            }
        }
    }
}

/// Which order the column is in; none when it is not exact (floating point), or not that of what it shows (ENUM, JSON).
fn order_of(column: &MySqlColumn) -> Option<Order> {
    let source_type = column.source_type.to_lowercase();
    match column.kind {
        MySqlKind::Decimal { .. } => Some(Order::Number { is_unsigned: source_type.contains("unsigned") }),
        MySqlKind::Date | MySqlKind::DateTime { .. } | MySqlKind::Timestamp { .. } | MySqlKind::DateText { .. } => {
            Some(Order::Time)
        }
        MySqlKind::Text if source_type.starts_with("char") || source_type.starts_with("varchar") => Some(Order::Text),
        kind if is_whole_number(kind) => Some(Order::Number { is_unsigned: source_type.contains("unsigned") }),
        MySqlKind::Int8
        | MySqlKind::Int16
        | MySqlKind::Int32
        | MySqlKind::Int64
        | MySqlKind::UInt8
        | MySqlKind::UInt16
        | MySqlKind::UInt32
        | MySqlKind::UInt64
        | MySqlKind::Bool
        | MySqlKind::Bits(_)
        | MySqlKind::Float
        | MySqlKind::Double
        | MySqlKind::Time
        | MySqlKind::Text
        | MySqlKind::Binary
        | MySqlKind::Geometry => None,
    }
}

/// What to do when a column does not fit: the columns that would.
fn others(table: &MySqlTable) -> String {
    let fit: Vec<String> = table
        .columns
        .iter()
        .filter(|column| order_of(column).is_some())
        .map(|column| format!("`{}`", column.name))
        .collect();
    if fit.is_empty() {
        return "no column of the table can be a cursor: set `mode = \"changes\"` or `mode = \"full\"`".to_owned();
    }
    format!("choose one that only grows among {}", fit.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(order: Order, look_back: LookBack) -> Cursor {
        Cursor { column: "`c`".to_owned(), order, look_back }
    }

    #[test]
    fn looking_back_never_goes_below_what_the_server_can_compare() {
        let number = cursor(Order::Number { is_unsigned: true }, LookBack::Units(10));
        assert_eq!(number.from("4").unwrap(), "0");
        assert_eq!(number.from("18446744073709551615").unwrap(), "18446744073709551605");
        let signed = cursor(Order::Number { is_unsigned: false }, LookBack::Units(10));
        assert_eq!(signed.from("-9223372036854775808").unwrap(), "-9223372036854775818");
        assert_eq!(signed.from("4.50").unwrap(), "(4.50 - 10)");
    }

    #[test]
    fn a_value_cannot_be_anything_but_a_value() {
        let quote = "1' OR 1=1 --";
        assert!(cursor(Order::Number { is_unsigned: false }, LookBack::None).condition(Some(quote)).is_err());
        assert!(cursor(Order::Time, LookBack::None).condition(Some(quote)).is_err());
        let text = cursor(Order::Text, LookBack::None).condition(Some("a'")).unwrap();
        assert_eq!(text, " WHERE (`c` >= _utf8mb4 x'6127' OR `c` IS NULL)");
        assert_eq!(cursor(Order::Text, LookBack::None).condition(None).unwrap(), "");
    }
}
