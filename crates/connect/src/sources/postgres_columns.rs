//! What the columns of a PostgreSQL table are, and which Arrow type carries each exactly.
//!
//! In: rows of the system catalog.  Out: [`PostgresColumn`]s, and the schema of the staged file.
//! | PostgreSQL | staged as |
//! |---|---|
//! | smallint, integer, bigint, oid | Int16, Int32, Int64, UInt32 |
//! | numeric(p,s), 0 ≤ s ≤ p ≤ 76 | Decimal128(p,s) to 38 digits, Decimal256(p,s) beyond |
//! | numeric without precision, or beyond 76 digits; money | Utf8, every digit |
//! | real, double precision, boolean | Float32, Float64, Boolean, bit for bit |
//! | text, varchar, char(n), name, json, jsonb, enums | Utf8; char(n) with its padding |
//! | bytea, uuid | Binary, Utf8 |
//! | date, timestamp, timestamptz | Date32, Timestamp(µs), Timestamp(µs, UTC) |
//! | time | Duration(µs): `24:00:00` is past a time of day |
//! | arrays, composites | Utf8 as JSON |
//! | all others (interval in ISO 8601, inet, ranges, geometry …) | Utf8 as the server writes them |
//! Never here: values (`postgres_rows`).
//! Start at [`read_tables`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use domain::{Dialect, quote_identifier};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::mysql_columns::SOURCE_TYPE;
use super::query::Query;
use crate::dial::postgres::PostgresAddress;
use crate::{ConnectError, InvalidDates};

/// Most digits that 128 and 256 bits hold.
const MAX_DIGITS: (u16, u16) = (38, 76);

/// `$1` schema (empty: all but the system's), `$2` table (empty: all). Domains are read as what they are made of.
const COLUMNS: &str = "
    SELECT n.nspname::text AS schema_name, c.relname::text AS table_name, 
           (CASE WHEN c.reltuples < 0 AND c.relkind IN ('r', 'm') THEN COALESCE(pg_relation_size(c.oid), 0) / 100.0
                 WHEN c.reltuples < 0 AND c.relkind = 'p' THEN
                   (SELECT COALESCE(SUM(GREATEST(x.reltuples, 0)), -1) FROM pg_partition_tree(c.oid) t JOIN pg_class x ON x.oid = t.relid WHERE t.isleaf)
                 ELSE c.reltuples END)::float8
             AS approximate_rows,
           c.relkind IN ('r', 'p') AS can_be_locked,
           c.relkind IN ('r', 'p', 'm') AS is_stored,
           (SELECT l.collname || COALESCE(' ' || l.collversion, '') FROM pg_collation l WHERE l.oid = a.attcollation)::text AS collation,
           a.attname::text AS column_name, format_type(a.atttypid, a.atttypmod) AS source_type, a.attnotnull AS is_not_null,
           (CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END)::int8 AS type_id,
           CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS type_modifier,
           t.typcategory::text AS category,
           COALESCE(array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum), -1) AS key_position
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND (CASE WHEN $1 = '' THEN n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
                ELSE n.nspname = $1 END)
      AND ($2 = '' OR c.relname = $2) AND NOT c.relispartition
    ORDER BY 1, 2, a.attnum";

/// How the values of a column are read from the binary stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostgresKind {
    Bool,
    Int16,
    Int32,
    Int64,
    Oid,
    Float,
    Double,
    Decimal { digits: u8, scale: i8 },
    Text,
    Jsonb,
    Bytes,
    Uuid,
    Date,
    Timestamp,
    TimestampUtc,
    Time,
}

/// How a column is written in the `SELECT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// char(n): as plain, but a cast to text would cut its padding.
    Padded,
    AsText,
    AsNumericText,
    AsJson,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PostgresColumn {
    pub(crate) name: String,
    pub(crate) source_type: String,
    pub(crate) kind: PostgresKind,
    pub(crate) is_nullable: bool,
    /// How its text is ordered, with the version of the rules.
    pub(crate) collation: Option<String>,
    /// The number of its type, or of the type that its domain is made of.
    pub(crate) type_id: i64,
    form: Form,
}

/// A table as the catalog shows it, or the result of a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PostgresTable {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<PostgresColumn>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) approximate_rows: Option<u64>,
    /// A table, also of partitions; not a view, whose lock would ask for rights on what is behind it.
    pub(crate) can_be_locked: bool,
    /// Rows that lie there; those of a view may differ from one statement to the next, and so cannot be proven.
    pub(crate) is_stored: bool,
    /// The statement whose rows it is; none for a table of the server's.
    pub(crate) query: Option<Query>,
}

impl PostgresTable {
    /// As people write it.
    pub(crate) fn shown(&self) -> String {
        match &self.query {
            Some(query) => query.shown.clone(),
            None => format!("{}.{}", self.schema, self.name),
        }
    }
}

/// Reads the tables of `schema` (empty: all), or one of them, sorted by schema and name.
pub(crate) async fn read_tables(
    connection: &mut PgConnection,
    address: &PostgresAddress,
    (schema, table): (&str, &str),
    dates: InvalidDates,
) -> Result<Vec<PostgresTable>, ConnectError> {
    let found = sqlx::query(COLUMNS).bind(schema).bind(table).fetch_all(connection).await;
    let rows = found.map_err(|error| address.problem(error, "reading the list of columns", table))?;
    let mut tables: Vec<(PostgresTable, Vec<(i32, String)>)> = Vec::new();
    for row in rows {
        let problem = |error| address.problem(error, "reading the list of columns", table);
        let schema: String = row.try_get("schema_name").map_err(problem)?;
        let name: String = row.try_get("table_name").map_err(problem)?;
        let column = read_column(&row, dates).map_err(problem)?;
        let key_position: i32 = row.try_get("key_position").map_err(problem)?;
        if tables.last().is_none_or(|(last, _)| last.schema != schema || last.name != name) {
            let rows: f64 = row.try_get("approximate_rows").map_err(problem)?;
            // -1: a view, of which nothing is known. For a table never analysed, 100 bytes a row; for a parent, what its partitions say.
            let approximate_rows = (rows >= 0.0).then_some(rows as u64);
            let can_be_locked: bool = row.try_get("can_be_locked").map_err(problem)?;
            let primary_key = Vec::new();
            let columns = Vec::new();
            let is_stored: bool = row.try_get("is_stored").map_err(problem)?;
            let query = None;
            let table =
                PostgresTable { schema, name, columns, primary_key, approximate_rows, can_be_locked, is_stored, query };
            tables.push((table, Vec::new()));
        }
        if let Some((table, key)) = tables.last_mut() {
            if key_position >= 0 {
                key.push((key_position, column.name.clone()));
            }
            table.columns.push(column);
        }
    }
    Ok(tables.into_iter().map(|(table, key)| with_key(table, key)).collect())
}

fn with_key(mut table: PostgresTable, mut key: Vec<(i32, String)>) -> PostgresTable {
    key.sort();
    table.primary_key = key.into_iter().map(|(_, name)| name).collect();
    table
}

pub(super) fn read_column(row: &PgRow, dates: InvalidDates) -> Result<PostgresColumn, sqlx::Error> {
    let type_id: i64 = row.try_get("type_id")?;
    let modifier: i32 = row.try_get("type_modifier")?;
    let category: String = row.try_get("category")?;
    let (kind, form) = kind_of(type_id, modifier, &category, dates);
    Ok(PostgresColumn {
        name: row.try_get("column_name")?,
        source_type: row.try_get("source_type")?,
        is_nullable: !row.try_get::<bool, _>("is_not_null")?,
        collation: row.try_get("collation")?,
        type_id,
        kind,
        form,
    })
}

/// Type numbers are fixed: PostgreSQL source, `pg_type.dat`.
fn kind_of(type_id: i64, modifier: i32, category: &str, dates: InvalidDates) -> (PostgresKind, Form) {
    let is_date_text = dates == InvalidDates::Text;
    let kind = match type_id {
        16 => PostgresKind::Bool,
        21 => PostgresKind::Int16,
        23 => PostgresKind::Int32,
        20 => PostgresKind::Int64,
        26 => PostgresKind::Oid,
        700 => PostgresKind::Float,
        701 => PostgresKind::Double,
        1700 => match decimal_of(modifier) {
            Some((digits, scale)) => PostgresKind::Decimal { digits, scale },
            None => return (PostgresKind::Text, Form::AsText),
        },
        790 => return (PostgresKind::Text, Form::AsNumericText),
        // char(n)
        1042 => return (PostgresKind::Text, Form::Padded),
        // text, varchar, name, json
        25 | 1043 | 19 | 114 => PostgresKind::Text,
        3802 => PostgresKind::Jsonb,
        17 => PostgresKind::Bytes,
        2950 => PostgresKind::Uuid,
        1082 | 1114 | 1184 if is_date_text => return (PostgresKind::Text, Form::AsText),
        1082 => PostgresKind::Date,
        1114 => PostgresKind::Timestamp,
        1184 => PostgresKind::TimestampUtc,
        1083 => PostgresKind::Time,
        _ if category == "A" || category == "C" => return (PostgresKind::Text, Form::AsJson),
        _ => return (PostgresKind::Text, Form::AsText),
    };
    (kind, Form::Plain)
}

/// Precision and scale from a type modifier (PostgreSQL source, `numeric.c`), when a decimal type can hold them.
fn decimal_of(modifier: i32) -> Option<(u8, i8)> {
    let packed = u32::try_from(modifier.checked_sub(4)?).ok()?;
    let digits = u16::try_from(packed >> 16).ok()?;
    // Eleven bits with a sign.
    let scale = i16::try_from(packed & 0x7ff).ok()?;
    let scale = if scale >= 1024 { scale - 2048 } else { scale };
    let is_plain = digits <= MAX_DIGITS.1 && scale >= 0 && u16::try_from(scale).is_ok_and(|scale| scale <= digits);
    is_plain.then(|| Some((u8::try_from(digits).ok()?, i8::try_from(scale).ok()?))).flatten()
}

impl PostgresColumn {
    /// The column as it stands in the `SELECT`.
    pub(crate) fn expression(&self) -> String {
        self.sent_as(quote_identifier(Dialect::Standard, &self.name))
    }

    /// The same of `table`, where another one has a column of that name.
    pub(crate) fn expression_of(&self, table: &str) -> String {
        self.sent_as(format!("{table}.{}", quote_identifier(Dialect::Standard, &self.name)))
    }

    fn sent_as(&self, name: String) -> String {
        match self.form {
            Form::Plain | Form::Padded => name,
            Form::AsText => format!("{name}::text"),
            Form::AsNumericText => format!("{name}::numeric::text"),
            Form::AsJson => format!("to_json({name})::text"),
        }
    }

    /// The same as an expression of type text.
    pub(crate) fn text_expression(&self) -> String {
        match self.form {
            Form::Plain | Form::Padded => format!("{}::text", self.expression()),
            Form::AsText | Form::AsNumericText | Form::AsJson => self.expression(),
        }
    }

    /// Whether it is sent with spaces behind it that a cast to text would cut.
    pub(crate) fn is_padded(&self) -> bool {
        self.form == Form::Padded
    }
}

impl PostgresKind {
    /// The Arrow type that carries every value of the kind.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Oid => DataType::UInt32,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { digits, scale } if u16::from(digits) <= MAX_DIGITS.0 => DataType::Decimal128(digits, scale),
            Self::Decimal { digits, scale } => DataType::Decimal256(digits, scale),
            Self::Text | Self::Jsonb | Self::Uuid => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampUtc => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Time => DataType::Duration(TimeUnit::Microsecond),
        }
    }
}

/// The schema of the staged file. Every column is nullable: a value that no type carries becomes null and a reject.
pub(crate) fn schema_of(columns: &[PostgresColumn]) -> SchemaRef {
    let field = |column: &PostgresColumn| {
        let metadata = HashMap::from([(SOURCE_TYPE.to_owned(), column.source_type.clone())]);
        Field::new(&column.name, column.kind.data_type(), true).with_metadata(metadata)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_give_precision_and_scale() {
        let modifier = |digits: i32, scale: i32| ((digits << 16) | (scale & 0x7ff)) + 4;
        assert_eq!(decimal_of(modifier(12, 2)), Some((12, 2)));
        assert_eq!(decimal_of(modifier(76, 40)), Some((76, 40)));
        for text in [-1, modifier(77, 0), modifier(5, -2), modifier(3, 5), modifier(1000, 0)] {
            assert_eq!(decimal_of(text), None, "{text}");
        }
    }
}
