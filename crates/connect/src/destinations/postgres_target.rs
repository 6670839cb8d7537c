//! The PostgreSQL table that rows are written to: what it takes, whether the rows fit, and how it is made when it is missing.
//!
//! In: the system catalog and an Arrow schema.  Out: a [`PostgresTarget`], or why it does not fit and what to do.
//! Never here: writing rows (`postgres`).
//! Start at [`read_target`] and [`PostgresTarget::check`].

use arrow::datatypes::Schema;
use domain::{Dialect, quote_identifier};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::cells::Shape;
use crate::ConnectError;
use crate::dial::postgres::PostgresAddress;

/// Digits that a numeric column can declare.
const MAX_NUMERIC_DIGITS: u8 = 76;

const TARGET_COLUMNS: &str = "
    SELECT a.attname::text AS column_name, format_type(a.atttypid, a.atttypmod) AS column_type,
           (CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END)::regtype::text AS base_type, t.typtype::text AS type_type,
           CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS type_modifier,
           a.attnotnull AS is_not_null, (a.atthasdef OR a.attidentity <> '') AS has_default,
           (a.attgenerated <> '' OR a.attidentity = 'a') AS is_generated
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";
/// Unique indexes that `ON CONFLICT` can use: whole, immediate, over plain columns.
const TARGET_KEYS: &str = "
    SELECT array_agg(a.attname::text ORDER BY a.attname::text) AS columns
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
    WHERE n.nspname = $1 AND c.relname = $2 AND i.indisunique AND i.indimmediate AND i.indisvalid
      AND i.indpred IS NULL AND i.indexprs IS NULL
    GROUP BY i.indexrelid";

/// A column that rows are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetColumn {
    pub(crate) name: String,
    /// As a cast takes it, such as `numeric(12,2)`.
    pub(crate) column_type: String,
    base_type: String,
    is_enum: bool,
    modifier: i32,
    is_not_null: bool,
    has_default: bool,
    is_generated: bool,
}

/// A table that rows are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PostgresTarget {
    /// `schema.table`, to show.
    table: String,
    columns: Vec<TargetColumn>,
    /// Sorted columns of each unique index.
    unique: Vec<Vec<String>>,
}

/// Reads the target, or `None` when there is no such table.
pub(crate) async fn read_target(
    connection: &mut PgConnection,
    address: &PostgresAddress,
    (schema, table): (&str, &str),
) -> Result<Option<PostgresTarget>, ConnectError> {
    let shown = format!("{schema}.{table}");
    let problem = |error| address.problem(error, "reading the target's columns", &shown);
    let rows =
        sqlx::query(TARGET_COLUMNS).bind(schema).bind(table).fetch_all(&mut *connection).await.map_err(problem)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let columns = rows
        .iter()
        .map(|row| {
            Ok(TargetColumn {
                name: row.try_get("column_name")?,
                column_type: row.try_get("column_type")?,
                base_type: row.try_get("base_type")?,
                is_enum: row.try_get::<String, _>("type_type")? == "e",
                modifier: row.try_get("type_modifier")?,
                is_not_null: row.try_get("is_not_null")?,
                has_default: row.try_get("has_default")?,
                is_generated: row.try_get("is_generated")?,
            })
        })
        .collect::<Result<Vec<_>, sqlx::Error>>();
    let keys = sqlx::query(TARGET_KEYS).bind(schema).bind(table).fetch_all(connection).await.map_err(problem)?;
    let unique = keys.iter().map(|row| row.try_get("columns")).collect::<Result<Vec<Vec<String>>, _>>();
    Ok(Some(PostgresTarget {
        columns: columns.map_err(problem)?,
        unique: unique.map_err(problem)?,
        table: shown.clone(),
    }))
}

impl PostgresTarget {
    pub(crate) fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn mismatch(&self, reason: String, next: String) -> ConnectError {
        ConnectError::TargetMismatch { table: self.table.clone(), reason, next }
    }

    /// Checks that rows of `schema` can be written by `key`; answers what may surprise.
    pub(crate) fn check(&self, schema: &Schema, key: &[String]) -> Result<Vec<String>, ConnectError> {
        if key.is_empty() || key.iter().any(|name| schema.field_with_name(name).is_err()) {
            let reason = format!("the key ({}) names no columns of the rows", key.join(", "));
            return Err(self.mismatch(reason, "name the key columns".to_owned()));
        }
        let mut warnings = Vec::new();
        for field in schema.fields() {
            let name = field.name();
            let shape = Shape::of(field.data_type()).ok_or_else(|| ConnectError::UnsupportedType {
                table: self.table.clone(),
                column: name.clone(),
                found: field.data_type().to_string(),
            })?;
            let column = self.column(name).ok_or_else(|| {
                let next = format!("add the column to the table, or remove `{name}` from the model");
                self.mismatch(format!("it has no column `{name}`"), next)
            })?;
            if column.is_generated {
                let next = format!("remove `{name}` from the model: the server computes it");
                return Err(self.mismatch(format!("column `{name}` is generated"), next));
            }
            match fit(column, &shape) {
                Fit::Exact => {}
                Fit::Lossy(what) => {
                    warnings.push(format!("`{name}` of `{}` is {}: {what}", self.table, column.column_type))
                }
                Fit::No => {
                    let next = format!("cast `{name}` in the model, or change the column's type");
                    return Err(self.mismatch(
                        format!("column `{name}` is {}, which cannot hold {shape:?}", column.column_type),
                        next,
                    ));
                }
            }
        }
        self.check_others(schema)?;
        self.check_key(key)?;
        Ok(warnings)
    }

    /// Columns that no row fills must be able to fill themselves.
    fn check_others(&self, schema: &Schema) -> Result<(), ConnectError> {
        let needs = |column: &&TargetColumn| {
            column.is_not_null
                && !column.has_default
                && !column.is_generated
                && schema.field_with_name(&column.name).is_err()
        };
        match self.columns.iter().find(needs) {
            Some(column) => Err(self.mismatch(
                format!("column `{}` must have a value and gets none", column.name),
                format!("give `{}` a default, or fill it in the model", column.name),
            )),
            None => Ok(()),
        }
    }

    /// `ON CONFLICT` needs a unique index over exactly the key. A conflict with another index is an error of that row there,
    /// not an update of another row, so that other indexes do no harm.
    fn check_key(&self, key: &[String]) -> Result<(), ConnectError> {
        let mut wanted = key.to_vec();
        wanted.sort();
        if self.unique.contains(&wanted) {
            return Ok(());
        }
        let quoted: Vec<String> = key.iter().map(|name| quote_identifier(Dialect::Standard, name)).collect();
        let next = format!("run `ALTER TABLE {} ADD UNIQUE ({})`", self.table, quoted.join(", "));
        Err(self.mismatch(format!("no unique index has exactly the key ({})", key.join(", ")), next))
    }
}

enum Fit {
    Exact,
    Lossy(&'static str),
    No,
}

/// Whether a column takes a shape. Whole numbers of another width are checked value by value by the server.
fn fit(column: &TargetColumn, shape: &Shape) -> Fit {
    let kind = column.base_type.as_str();
    let is_integer = matches!(kind, "smallint" | "integer" | "bigint");
    let is_text = column.is_enum
        || matches!(
            kind,
            "text" | "character varying" | "character" | "name" | "json" | "jsonb" | "uuid" | "citext" | "inet"
        );
    let scale = (column.modifier >= 4).then(|| (column.modifier - 4) & 0x7ff);
    match shape {
        Shape::Null => Fit::Exact,
        Shape::Bool if kind == "boolean" => Fit::Exact,
        Shape::Int(_) | Shape::UInt(_) if is_integer || kind == "numeric" => Fit::Exact,
        Shape::Int(8..=32) | Shape::UInt(8..=32) if kind == "double precision" => Fit::Exact,
        Shape::Int(_) | Shape::UInt(_) if kind == "double precision" => {
            Fit::Lossy("whole numbers over 2^53 are rounded")
        }
        Shape::Float if matches!(kind, "real" | "double precision") => Fit::Exact,
        Shape::Double if kind == "double precision" => Fit::Exact,
        Shape::Double if kind == "real" => Fit::Lossy("values are rounded to 24 bits"),
        Shape::Float | Shape::Double if kind == "numeric" && scale.is_none() => Fit::Exact,
        Shape::Float | Shape::Double if kind == "numeric" => Fit::Lossy("values are rounded to its scale"),
        Shape::Decimal { scale: ours, .. } if kind == "numeric" => {
            if scale.is_none_or(|theirs| i32::from(*ours) <= theirs) {
                Fit::Exact
            } else {
                Fit::Lossy("values are rounded to its scale")
            }
        }
        Shape::Decimal { scale, .. } if *scale <= 0 && is_integer => Fit::Exact,
        Shape::Text if is_text => Fit::Exact,
        Shape::Bytes if kind == "bytea" => Fit::Exact,
        Shape::Date if kind == "date" || kind.starts_with("timestamp") => Fit::Exact,
        // The modifier of a timestamp is its number of digits behind the second, -1 when all six.
        Shape::Moment { .. } | Shape::TimeOfDay if kind.starts_with("time") && (0..6).contains(&column.modifier) => {
            Fit::Lossy("fractions of a second are rounded")
        }
        Shape::Moment { is_utc: true } if kind == "timestamp with time zone" => Fit::Exact,
        Shape::Moment { .. } if kind == "timestamp without time zone" => Fit::Exact,
        Shape::Moment { is_utc: false } if kind == "timestamp with time zone" => {
            Fit::Lossy("times without zone are taken as UTC")
        }
        Shape::Duration if kind == "interval" => Fit::Exact,
        Shape::TimeOfDay if kind == "time without time zone" => Fit::Exact,
        Shape::Bool
        | Shape::Int(_)
        | Shape::UInt(_)
        | Shape::Float
        | Shape::Double
        | Shape::Decimal { .. }
        | Shape::Text
        | Shape::Bytes
        | Shape::Date
        | Shape::Moment { .. }
        | Shape::Duration
        | Shape::TimeOfDay => Fit::No,
    }
}

/// The statement that makes the target.
///
/// Errors: `UnsupportedType`, and `TargetMismatch` when the key is empty or unknown.
pub(crate) fn create_statement(
    (schema_name, table): (&str, &str),
    schema: &Schema,
    key: &[String],
) -> Result<String, ConnectError> {
    let quote = |name: &str| quote_identifier(Dialect::Standard, name);
    let shown = format!("{schema_name}.{table}");
    if key.is_empty() || key.iter().any(|name| schema.field_with_name(name).is_err()) {
        return Err(ConnectError::TargetMismatch {
            table: shown,
            reason: format!("the key ({}) names no columns of the rows", key.join(", ")),
            next: "name the key columns".to_owned(),
        });
    }
    let mut columns = Vec::new();
    for field in schema.fields() {
        let sql_type = Shape::of(field.data_type()).and_then(|shape| column_type(&shape));
        let sql_type = sql_type.ok_or_else(|| ConnectError::UnsupportedType {
            table: shown.clone(),
            column: field.name().clone(),
            found: field.data_type().to_string(),
        })?;
        // "C" compares keys byte by byte, whatever the database's locale.
        let collation = if sql_type == "text" && key.contains(field.name()) { " COLLATE \"C\"" } else { "" };
        columns.push(format!("{} {sql_type}{collation}", quote(field.name())));
    }
    let key: Vec<String> = key.iter().map(|name| quote(name)).collect();
    Ok(format!(
        "CREATE TABLE IF NOT EXISTS {}.{} ({}, PRIMARY KEY ({}))",
        quote(schema_name),
        quote(table),
        columns.join(", "),
        key.join(", ")
    ))
}

fn column_type(shape: &Shape) -> Option<String> {
    let fixed = match shape {
        Shape::Null => return None,
        Shape::Bool => "boolean",
        Shape::Int(8 | 16) | Shape::UInt(8) => "smallint",
        Shape::Int(32) | Shape::UInt(16) => "integer",
        Shape::Int(_) | Shape::UInt(32) => "bigint",
        Shape::UInt(_) => "numeric(20,0)",
        Shape::Float => "real",
        Shape::Double => "double precision",
        Shape::Decimal { digits, scale } => {
            let is_supported = *digits <= MAX_NUMERIC_DIGITS && *scale >= 0;
            return is_supported.then(|| format!("numeric({digits},{scale})"));
        }
        Shape::Text => "text",
        Shape::Bytes => "bytea",
        Shape::Date => "date",
        Shape::Moment { is_utc: true } => "timestamp with time zone",
        Shape::Moment { is_utc: false } => "timestamp without time zone",
        Shape::Duration => "interval",
        Shape::TimeOfDay => "time without time zone",
    };
    Some(fixed.to_owned())
}
