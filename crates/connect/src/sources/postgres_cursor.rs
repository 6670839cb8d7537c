//! Which rows of a PostgreSQL table are new, by a column that only grows.
//!
//! In: a table, the column, the largest value that was seen.  Out: the SQL that reads what is at least as large, and the next largest.
//! The server compares, so that every type is ordered as its index is: the largest value is kept as the text the server writes, at full
//! precision, and rows that are equal to it are read again. What is no place in that order (null, infinity, NaN) never becomes the
//! largest value, and rows that have it are read each time.
//! Never here: reading the rows (`postgres_reader`), deletions (only the proof notices them).
//! Start at [`Cursor::of`].

use domain::{Dialect, quote_identifier};
use sqlx::postgres::PgConnection;
use sqlx::{Error, Row};

use super::postgres_columns::{PostgresColumn, PostgresTable};
use crate::dial::nearest;
use crate::dial::postgres::statement;
use crate::{ConnectError, LookBack};

/// Collations that order by bytes, on every machine and in every version.
const BYTE_ORDERS: [&str; 2] = ["C", "POSIX"];
/// From here on a numeric can be infinite; older servers do not even read the word.
const HAS_INFINITE_NUMERIC: i32 = 140_000;

/// How the column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Integer,
    Numeric,
    Date,
    Timestamp,
    TimestampUtc,
    Uuid,
    /// By its bytes.
    Text,
}

/// A column that rows are followed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    name: String,
    order: Order,
    look_back: LookBack,
}

impl Cursor {
    /// Errors: `NoKey` without a primary key, `BadCursor` when the column is not there, cannot be compared exactly, or cannot be looked
    /// back in by `look_back`.
    pub(crate) fn of(
        table: &PostgresTable,
        shown: &str,
        wanted: &str,
        look_back: LookBack,
    ) -> Result<Self, ConnectError> {
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
            let rules = column.collation.as_ref().map(|name| format!(" under collation `{name}`")).unwrap_or_default();
            let reason = format!("values of type {}{rules} are not in an exact order", column.source_type);
            return Err(bad(reason, others(table)));
        };
        let (lack, next) = match (look_back, order) {
            (LookBack::None, _)
            | (LookBack::Seconds(_), Order::Date | Order::Timestamp | Order::TimestampUtc)
            | (LookBack::Units(_), Order::Integer | Order::Numeric) => {
                return Ok(Self { name: wanted.to_owned(), order, look_back });
            }
            (LookBack::Seconds(_) | LookBack::Units(_), Order::Text | Order::Uuid) => {
                ("neither a time nor a number", "remove `look_back`, or go by a column of times or numbers")
            }
            (LookBack::Seconds(_), Order::Integer | Order::Numeric) => {
                ("no time", "write `look_back = 1000`, in the column's own units")
            }
            (LookBack::Units(_), Order::Date | Order::Timestamp | Order::TimestampUtc) => {
                ("no number", "write `look_back = \"15m\"`")
            }
        };
        Err(bad(format!("it is {lack}, so that it cannot be looked back in like that"), next.to_owned()))
    }

    /// The largest value in the table, or `before` when that is larger; `None` while there is none.
    pub(crate) async fn largest(
        &self,
        connection: &mut PgConnection,
        full_name: &str,
        before: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let (column, kind) = (self.column(), self.order.sql_type());
        let finite = match self.order {
            Order::Date | Order::Timestamp | Order::TimestampUtc => format!(" AND isfinite({column})"),
            Order::Numeric => format!(" AND {column}::text NOT IN ('NaN', 'Infinity', '-Infinity')"),
            Order::Integer | Order::Uuid | Order::Text => String::new(),
        };
        // Ordered, since `max` is not there for every type; the index of the column answers either.
        let select = format!(
            "SELECT greatest((SELECT {column} FROM {full_name} WHERE {column} IS NOT NULL{finite} ORDER BY {column} DESC LIMIT 1)::{kind}, \
             $1::text::{kind})::text"
        );
        sqlx::query(statement(select)).bind(before).fetch_one(connection).await?.try_get(0)
    }

    /// The condition of rows that are new after `before`, and of those that are read each time; empty when all are new.
    pub(crate) async fn condition(&self, connection: &mut PgConnection, before: Option<&str>) -> Result<String, Error> {
        let Some(before) = before else { return Ok(String::new()) };
        let (column, kind) = (self.column(), self.order.sql_type());
        let (from, back) = match (self.order, self.look_back) {
            (_, LookBack::None) => (format!("$1::text::{kind}"), 0),
            (Order::Integer, LookBack::Units(units)) => {
                (format!("greatest($1::text::numeric - $2::text::numeric, {})", i64::MIN), units)
            }
            (_, LookBack::Units(units)) => ("$1::text::numeric - $2::text::numeric".to_owned(), units),
            (_, LookBack::Seconds(seconds)) => {
                (format!("($1::text::{kind} - make_interval(secs => $2::text::float8))::{kind}"), seconds)
            }
        };
        // The server quotes the value: the manifest that it stands in can be written by others.
        let select =
            format!("SELECT quote_literal(({from})::text), current_setting('server_version_num')::int, $2::text");
        let row = sqlx::query(statement(select)).bind(before).bind(back.to_string()).fetch_one(connection).await?;
        let literal: String = row.try_get(0)?;
        let version: i32 = row.try_get(1)?;
        let each_time = match self.order {
            Order::Date | Order::Timestamp | Order::TimestampUtc => format!(" OR {column} = '-infinity'"),
            Order::Numeric if version >= HAS_INFINITE_NUMERIC => format!(" OR {column} = '-Infinity'"),
            // The other values without a place are larger than all: they are read each time as they are.
            Order::Numeric | Order::Integer | Order::Uuid | Order::Text => String::new(),
        };
        Ok(format!(" WHERE ({column} >= {literal}::{kind} OR {column} IS NULL{each_time})"))
    }

    /// The column, quoted.
    pub(crate) fn column(&self) -> String {
        quote_identifier(Dialect::Standard, &self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Order {
    fn sql_type(self) -> &'static str {
        match self {
            Self::Integer => "bigint",
            Self::Numeric => "numeric",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::TimestampUtc => "timestamptz",
            Self::Uuid => "uuid",
            Self::Text => "text",
        }
    }
}

/// Which order the column is in; none when it is not exact (floating point), not one of all values (json), or a matter of a library's
/// version (text under the rules of a language).
fn order_of(column: &PostgresColumn) -> Option<Order> {
    // Type numbers are fixed: PostgreSQL source, `pg_type.dat`.
    match column.type_id {
        20 | 21 | 23 => Some(Order::Integer),
        1700 => Some(Order::Numeric),
        1082 => Some(Order::Date),
        1114 => Some(Order::Timestamp),
        1184 => Some(Order::TimestampUtc),
        2950 => Some(Order::Uuid),
        25 | 1043 if column.collation.as_deref().is_some_and(|name| BYTE_ORDERS.contains(&name)) => Some(Order::Text),
        _ => None,
    }
}

/// What to do when a column does not fit: the columns that would.
fn others(table: &PostgresTable) -> String {
    let fit = table.columns.iter().filter(|column| order_of(column).is_some());
    let fit: Vec<String> = fit.map(|column| format!("`{}`", column.name)).collect();
    if fit.is_empty() {
        return "no column of the table can be a cursor: set `mode = \"changes\"` or `mode = \"full\"`".to_owned();
    }
    format!("choose one that only grows among {}", fit.join(", "))
}
