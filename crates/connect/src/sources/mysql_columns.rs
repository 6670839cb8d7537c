//! What the columns of a MySQL or MariaDB table are, and which Arrow type carries each exactly.
//!
//! In: rows of `information_schema`.  Out: [`MySqlColumn`]s, and the schema of the staged file.
//! | MySQL | staged as |
//! |---|---|
//! | TINYINT … BIGINT, with UNSIGNED | Int8 … Int64, UInt8 … UInt64 (TINYINT(1) too: it can hold 2) |
//! | BIT(1), BIT(n) | Boolean, the smallest UInt8 … UInt64 |
//! | DECIMAL(p,s) | Decimal128(p,s) to 38 digits, Decimal256(p,s) beyond; never rescaled |
//! | FLOAT, DOUBLE | Float32, Float64, bit for bit |
//! | DATE, DATETIME, TIMESTAMP | Date32, Timestamp(µs), Timestamp(µs, UTC) |
//! | TIME | Duration(µs): it goes to ±838 hours, past a time of day. Parquet keeps INT64, the Arrow schema the unit |
//! | YEAR | Int16 |
//! | CHAR … LONGTEXT, ENUM, SET, JSON, UUID, INET4, INET6 | Utf8; JSON byte for byte |
//! | BINARY … LONGBLOB | Binary |
//! | GEOMETRY and its kinds | Binary: WKB without the four bytes of the SRID in front |
//! Never here: values (`mysql_rows`).
//! Start at [`read_tables`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

use super::query::Query;
use crate::dial::mysql::MySqlAddress;
use crate::{ConnectError, InvalidDates};

/// Key under which a field of a staged file keeps the source's own type. One key a field: the order of several is not fixed.
pub(crate) const SOURCE_TYPE: &str = "source_type";
/// Most digits that 128 bits hold.
pub(crate) const MAX_DIGITS_128: u8 = 38;

const COLUMNS: &str = "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, NUMERIC_PRECISION, \
     NUMERIC_SCALE, DATETIME_PRECISION, EXTRA, COLLATION_NAME FROM information_schema.COLUMNS \
     WHERE TABLE_SCHEMA = ? AND (? = '' OR TABLE_NAME = ?) ORDER BY TABLE_NAME, ORDINAL_POSITION";
const KEYS: &str = "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
     WHERE TABLE_SCHEMA = ? AND (? = '' OR TABLE_NAME = ?) AND INDEX_NAME = 'PRIMARY' ORDER BY TABLE_NAME, SEQ_IN_INDEX";
/// MariaDB keeps JSON as LONGTEXT with this check, and only MariaDB has TABLE_NAME here.
const JSON_CHECKS: &str = "SELECT TABLE_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS \
     WHERE CONSTRAINT_SCHEMA = ? AND (? = '' OR TABLE_NAME = ?) AND CHECK_CLAUSE LIKE 'json\\_valid(%'";
const TABLES: &str = "SELECT TABLE_NAME, TABLE_ROWS, TABLE_TYPE <> 'VIEW' FROM information_schema.TABLES \
     WHERE TABLE_SCHEMA = ? AND (? = '' OR TABLE_NAME = ?) AND TABLE_TYPE IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') \
     ORDER BY TABLE_NAME";

/// How the values of a column are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MySqlKind {
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Bool,
    /// BIT of at most 8, 16, 32 or 64 bits.
    Bits(u8),
    Decimal {
        digits: u8,
        scale: i8,
    },
    Float,
    Double,
    Date,
    /// DATETIME with this many digits of a second.
    DateTime {
        digits: u8,
    },
    /// TIMESTAMP with this many digits of a second.
    Timestamp {
        digits: u8,
    },
    /// A date or timestamp to be staged as text.
    DateText {
        digits: u8,
        has_time: bool,
    },
    Time,
    Text,
    Binary,
    Geometry,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MySqlColumn {
    pub(crate) name: String,
    /// Such as `decimal(12,2) unsigned`; `json` also where MariaDB says `longtext`.
    pub(crate) source_type: String,
    pub(crate) kind: MySqlKind,
    pub(crate) is_nullable: bool,
    /// Computed by the server; never written back.
    pub(crate) is_generated: bool,
    /// How its text is ordered and compared.
    pub(crate) collation: Option<String>,
}

/// A table as `information_schema` shows it, or the result of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MySqlTable {
    pub(crate) name: String,
    pub(crate) columns: Vec<MySqlColumn>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) approximate_rows: Option<u64>,
    /// Rows that lie there; those of a view may differ from one statement to the next (`NOW()`), and so cannot be proven.
    pub(crate) is_stored: bool,
    /// The statement whose rows it is; none for a table of the server's.
    pub(crate) query: Option<Query>,
}

/// Reads the tables of a database (`table` empty) or one of them, sorted by name; none when it does not exist.
pub(crate) async fn read_tables(
    connection: &mut Conn,
    address: &MySqlAddress,
    database: &str,
    table: &str,
    dates: InvalidDates,
) -> Result<Vec<MySqlTable>, ConnectError> {
    let problem = |error| address.problem(error, "reading the list of columns", table);
    let filter = (database, table, table);
    let names: Vec<(String, Option<u64>, bool)> = connection.exec(TABLES, filter).await.map_err(problem)?;
    let columns: Vec<Row> = connection.exec(COLUMNS, filter).await.map_err(problem)?;
    let keys: Vec<(String, String)> = connection.exec(KEYS, filter).await.map_err(problem)?;
    let version: Option<String> = connection.query_first("SELECT VERSION()").await.map_err(problem)?;
    let is_mariadb = version.is_some_and(|version| version.to_lowercase().contains("mariadb"));
    let checks: Vec<(String, String)> =
        if is_mariadb { connection.exec(JSON_CHECKS, filter).await.map_err(problem)? } else { Vec::new() };
    let json: HashSet<(String, String)> =
        checks.into_iter().filter_map(|(table, clause)| Some((table, checked_column(&clause)?))).collect();
    let mut tables: Vec<MySqlTable> = names
        .into_iter()
        .map(|(name, approximate_rows, is_stored)| MySqlTable {
            name,
            approximate_rows,
            is_stored,
            ..MySqlTable::default()
        })
        .collect();
    let positions: HashMap<String, usize> =
        tables.iter().enumerate().map(|(position, table)| (table.name.clone(), position)).collect();
    for row in columns {
        let described =
            Described::read(row).ok_or_else(|| ConnectError::internal("read columns", "an unexpected row"))?;
        if let Some(position) = positions.get(&described.table) {
            let is_json = json.contains(&(described.table.clone(), described.name.clone()));
            tables[*position].columns.push(described.into_column(is_json, dates));
        }
    }
    for (table, column) in keys {
        if let Some(position) = positions.get(&table) {
            tables[*position].primary_key.push(column);
        }
    }
    Ok(tables)
}

/// The column of ``json_valid(`column`)``.
fn checked_column(clause: &str) -> Option<String> {
    let inside = clause.strip_prefix("json_valid(")?.strip_suffix(')')?;
    Some(inside.strip_prefix('`')?.strip_suffix('`')?.replace("``", "`"))
}

/// One row of `information_schema.COLUMNS`, or what a result says of a column in the same words.
pub(super) struct Described {
    pub(super) table: String,
    pub(super) name: String,
    pub(super) data_type: String,
    pub(super) column_type: String,
    pub(super) is_nullable: bool,
    pub(super) is_text: bool,
    pub(super) precision: u64,
    pub(super) scale: u64,
    pub(super) digits: u64,
    pub(super) is_generated: bool,
    pub(super) collation: Option<String>,
}

impl Described {
    fn read(row: Row) -> Option<Self> {
        let mut values = row.unwrap().into_iter();
        let mut text = || values.next().map(text_of);
        let (table, name, data_type, column_type) = (text()??, text()??, text()??, text()??);
        let (is_nullable, charset) = (text()??, text()?);
        let mut number = || text().flatten().and_then(|text| text.parse().ok()).unwrap_or(0);
        let (precision, scale, digits) = (number(), number(), number());
        let extra = text()?.unwrap_or_default().to_uppercase();
        let collation = text()?;
        Some(Self {
            table,
            name,
            data_type: data_type.to_lowercase(),
            column_type,
            is_nullable: is_nullable == "YES",
            is_text: charset.is_some_and(|charset| charset != "binary"),
            precision,
            scale,
            digits,
            is_generated: extra.contains("GENERATED") && !extra.contains("DEFAULT_GENERATED"),
            collation,
        })
    }

    pub(super) fn into_column(self, is_json: bool, dates: InvalidDates) -> MySqlColumn {
        let kind = self.kind(dates);
        let source_type = if is_json { "json".to_owned() } else { self.column_type };
        MySqlColumn {
            name: self.name,
            source_type,
            kind,
            is_nullable: self.is_nullable,
            is_generated: self.is_generated,
            collation: self.collation,
        }
    }

    fn kind(&self, dates: InvalidDates) -> MySqlKind {
        let is_unsigned = self.column_type.to_lowercase().contains("unsigned");
        let digits = u8::try_from(self.digits).unwrap_or(6).min(6);
        let is_date_text = dates == InvalidDates::Text;
        match (self.data_type.as_str(), is_unsigned) {
            ("tinyint", false) => MySqlKind::Int8,
            ("tinyint", true) => MySqlKind::UInt8,
            ("smallint", false) => MySqlKind::Int16,
            ("smallint", true) => MySqlKind::UInt16,
            ("mediumint" | "int", false) => MySqlKind::Int32,
            ("mediumint" | "int", true) => MySqlKind::UInt32,
            ("bigint", false) => MySqlKind::Int64,
            ("bigint", true) => MySqlKind::UInt64,
            ("bit", _) if self.precision == 1 => MySqlKind::Bool,
            ("bit", _) => MySqlKind::Bits(u8::try_from(self.precision).unwrap_or(64)),
            ("decimal", _) => MySqlKind::Decimal {
                digits: u8::try_from(self.precision).unwrap_or(u8::MAX),
                scale: i8::try_from(self.scale).unwrap_or(i8::MAX),
            },
            ("float", _) => MySqlKind::Float,
            ("double", _) => MySqlKind::Double,
            ("date", _) if is_date_text => MySqlKind::DateText { digits: 0, has_time: false },
            ("datetime" | "timestamp", _) if is_date_text => MySqlKind::DateText { digits, has_time: true },
            ("date", _) => MySqlKind::Date,
            ("datetime", _) => MySqlKind::DateTime { digits },
            ("timestamp", _) => MySqlKind::Timestamp { digits },
            ("time", _) => MySqlKind::Time,
            ("year", _) => MySqlKind::Int16,
            ("json" | "enum" | "set" | "uuid" | "inet4" | "inet6", _) => MySqlKind::Text,
            (
                "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
                | "geometrycollection" | "geomcollection",
                _,
            ) => MySqlKind::Geometry,
            // Text types, and types of servers to come: text when the server says so, bytes otherwise. Nothing is lost either way.
            _ if self.is_text => MySqlKind::Text,
            _ => MySqlKind::Binary,
        }
    }
}

/// A value of `information_schema` as text; null is `None`.
fn text_of(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(_) | Value::Double(_) | Value::Date(..) | Value::Time(..) => None,
    }
}

impl MySqlKind {
    /// The Arrow type that carries every value of the kind.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt8 | Self::Bits(0..=8) => DataType::UInt8,
            Self::UInt16 | Self::Bits(9..=16) => DataType::UInt16,
            Self::UInt32 | Self::Bits(17..=32) => DataType::UInt32,
            Self::UInt64 | Self::Bits(_) => DataType::UInt64,
            Self::Bool => DataType::Boolean,
            Self::Decimal { digits, scale } if digits <= MAX_DIGITS_128 => DataType::Decimal128(digits, scale),
            Self::Decimal { digits, scale } => DataType::Decimal256(digits, scale),
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::DateTime { .. } => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamp { .. } => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Time => DataType::Duration(TimeUnit::Microsecond),
            Self::Text | Self::DateText { .. } => DataType::Utf8,
            Self::Binary | Self::Geometry => DataType::Binary,
        }
    }
}

/// The schema of the staged file. Every column is nullable: a value that no type carries becomes null and a reject.
pub(crate) fn schema_of(columns: &[MySqlColumn]) -> SchemaRef {
    let field = |column: &MySqlColumn| {
        let metadata = HashMap::from([(SOURCE_TYPE.to_owned(), column.source_type.clone())]);
        Field::new(&column.name, column.kind.data_type(), true).with_metadata(metadata)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_checks_name_their_column() {
        assert_eq!(checked_column("json_valid(`js`)").as_deref(), Some("js"));
        assert_eq!(checked_column("json_valid(`a``b`)").as_deref(), Some("a`b"));
        assert_eq!(checked_column("json_valid(`a`) and `b` > 0"), None);
    }
}
