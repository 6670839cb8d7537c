//! The table that rows are written to: what it takes, whether the rows fit, and how it is made when it is missing.
//!
//! In: `information_schema` and an Arrow schema.  Out: a [`MySqlTarget`], or why it does not fit and what to do.
//! Never here: writing rows (`mysql`), the limits of single values (`mysql_values`).
//! Start at [`read_target`] and [`MySqlTarget::check`].

use std::collections::BTreeMap;

use arrow::datatypes::Schema;
use domain::{Dialect, quote_identifier};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::cells::Shape;
use crate::ConnectError;
use crate::dial::mysql::MySqlAddress;

/// Longest index entry of InnoDB in bytes (DYNAMIC row format), shared by the columns of a key.
const MAX_KEY_BYTES: usize = 3072;
/// Characters of a text column in a key: as long as an id may be, while a key of three columns still fits.
const KEY_CHARACTERS: usize = 255;
/// Bytes of one character in utf8mb4.
const CHARACTER_BYTES: usize = 4;
/// Digits and scale that a DECIMAL column holds (MySQL; MariaDB allows a scale of 38).
const MAX_DECIMAL: (u8, i8) = (65, 30);

const TARGET_TABLE: &str = "SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND TABLE_TYPE = 'BASE TABLE'";
const TARGET_COLUMNS: &str = "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT IS NOT NULL, \
     CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH, COALESCE(COLLATION_NAME, ''), EXTRA, COALESCE(NUMERIC_SCALE, 0), \
     COALESCE(DATETIME_PRECISION, 0) \
     FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";
const TARGET_KEYS: &str = "SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
     WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX";

/// A column that rows are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetColumn {
    pub(crate) name: String,
    /// In small letters, such as `varchar`.
    pub(crate) data_type: String,
    pub(crate) column_type: String,
    is_nullable: bool,
    has_default: bool,
    pub(crate) max_characters: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    collation: String,
    is_generated: bool,
    is_auto: bool,
    scale: i64,
    second_digits: u64,
}

/// A table that rows are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MySqlTarget {
    /// `database.table`, to show.
    table: String,
    engine: String,
    columns: Vec<TargetColumn>,
    /// Columns of each unique index by its name.
    unique: BTreeMap<String, Vec<String>>,
}

/// Reads the target, or `None` when there is no such table.
pub(crate) async fn read_target(
    connection: &mut Conn,
    address: &MySqlAddress,
    database: &str,
    table: &str,
) -> Result<Option<MySqlTarget>, ConnectError> {
    let shown = format!("{database}.{table}");
    let problem = |error| address.problem(error, "reading the target's columns", &shown);
    let filter = (database, table);
    let engine: Option<Option<String>> = connection.exec_first(TARGET_TABLE, filter).await.map_err(problem)?;
    let Some(engine) = engine else { return Ok(None) };
    let rows: Vec<Row> = connection.exec(TARGET_COLUMNS, filter).await.map_err(problem)?;
    let indexes: Vec<(String, String)> = connection.exec(TARGET_KEYS, filter).await.map_err(problem)?;
    let columns = rows.into_iter().map(target_column).collect::<Option<Vec<_>>>();
    let columns = columns.ok_or_else(|| ConnectError::internal("read a target", "an unexpected row"))?;
    let mut unique: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (index, column) in indexes {
        unique.entry(index).or_default().push(column);
    }
    Ok(Some(MySqlTarget { table: shown, engine: engine.unwrap_or_default(), columns, unique }))
}

fn target_column(mut row: Row) -> Option<TargetColumn> {
    let extra = row.take::<String, _>(8)?.to_uppercase();
    Some(TargetColumn {
        name: row.take(0)?,
        data_type: row.take::<String, _>(1)?.to_lowercase(),
        column_type: row.take(2)?,
        is_nullable: row.take::<String, _>(3)? == "YES",
        has_default: row.take::<u8, _>(4)? != 0 || extra.contains("DEFAULT_GENERATED"),
        max_characters: row.take(5)?,
        max_bytes: row.take(6)?,
        collation: row.take(7)?,
        is_generated: extra.contains("GENERATED") && !extra.contains("DEFAULT_GENERATED"),
        is_auto: extra.contains("AUTO_INCREMENT"),
        scale: row.take(9)?,
        second_digits: row.take(10)?,
    })
}

impl MySqlTarget {
    pub(crate) fn column(&self, name: &str) -> Option<&TargetColumn> {
        // Column names are compared without case by the server, in every version.
        self.columns.iter().find(|column| column.name.to_lowercase() == name.to_lowercase())
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
        if !self.engine.is_empty() && !["innodb", "xtradb", "rocksdb"].contains(&self.engine.to_lowercase().as_str()) {
            let next = format!("run `ALTER TABLE {} ENGINE=InnoDB`", self.table);
            return Err(self.mismatch(format!("its engine {} has no transactions", self.engine), next));
        }
        let mut warnings = Vec::new();
        for field in schema.fields() {
            let shape = Shape::of(field.data_type()).ok_or_else(|| ConnectError::UnsupportedType {
                table: self.table.clone(),
                column: field.name().clone(),
                found: field.data_type().to_string(),
            })?;
            let column = self.column(field.name()).ok_or_else(|| {
                let next = format!("add the column to the table, or remove `{}` from the model", field.name());
                self.mismatch(format!("it has no column `{}`", field.name()), next)
            })?;
            self.check_column(column, &shape, &mut warnings)?;
        }
        self.check_others(schema)?;
        self.check_key(schema, key, &mut warnings)?;
        Ok(warnings)
    }

    fn check_column(
        &self,
        column: &TargetColumn,
        shape: &Shape,
        warnings: &mut Vec<String>,
    ) -> Result<(), ConnectError> {
        let name = &column.name;
        if column.is_generated {
            let next = format!("remove `{name}` from the model: the server computes it");
            return Err(self.mismatch(format!("column `{name}` is generated"), next));
        }
        match fit(column, shape) {
            Fit::Exact => Ok(()),
            Fit::Lossy(what) => {
                warnings.push(format!("`{name}` of `{}` is {}: {what}", self.table, column.column_type));
                Ok(())
            }
            Fit::No => {
                let next = format!("cast `{name}` in the model, or change the column's type");
                Err(self
                    .mismatch(format!("column `{name}` is {}, which cannot hold {shape:?}", column.column_type), next))
            }
        }
    }

    /// Columns that no row fills must be able to fill themselves.
    fn check_others(&self, schema: &Schema) -> Result<(), ConnectError> {
        let is_filled = |column: &TargetColumn| {
            schema.fields().iter().any(|field| field.name().to_lowercase() == column.name.to_lowercase())
        };
        let needs = |column: &&TargetColumn| {
            !column.is_nullable && !column.has_default && !column.is_generated && !column.is_auto && !is_filled(column)
        };
        match self.columns.iter().find(needs) {
            Some(column) => Err(self.mismatch(
                format!("column `{}` must have a value and gets none", column.name),
                format!("give `{}` a default, or fill it in the model", column.name),
            )),
            None => Ok(()),
        }
    }

    /// The key must be a unique index, and no other unique index may be reachable: `ON DUPLICATE KEY` would update a row found
    /// through it, which is another row than the one meant.
    fn check_key(&self, schema: &Schema, key: &[String], warnings: &mut Vec<String>) -> Result<(), ConnectError> {
        let lower = |names: &[String]| {
            let mut names: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
            names.sort();
            names
        };
        let wanted = lower(key);
        if !self.unique.values().any(|columns| lower(columns) == wanted) {
            let quoted: Vec<String> = key.iter().map(|name| quote_identifier(Dialect::MySql, name)).collect();
            let next = format!("run `ALTER TABLE {} ADD UNIQUE KEY ({})`", self.table, quoted.join(", "));
            return Err(self.mismatch(format!("no unique index has exactly the key ({})", key.join(", ")), next));
        }
        let filled: Vec<String> = schema.fields().iter().map(|field| field.name().to_lowercase()).collect();
        let other = self.unique.iter().find(|(_, columns)| {
            let columns = lower(columns);
            columns != wanted && columns.iter().all(|column| filled.contains(column))
        });
        if let Some((index, columns)) = other {
            return Err(self.mismatch(
                format!("unique index `{index}` ({}) could make a row overwrite another", columns.join(", ")),
                format!("drop index `{index}`, or use its columns as the key"),
            ));
        }
        for name in key {
            let collation = self.column(name).map_or("", |column| column.collation.as_str());
            if !collation.is_empty() && !collation.ends_with("_bin") {
                warnings.push(format!(
                    "key `{name}` of `{}` compares by {collation}: keys that differ only in case or accents are one row there",
                    self.table
                ));
            }
        }
        Ok(())
    }
}

enum Fit {
    Exact,
    Lossy(&'static str),
    No,
}

/// Whether a column takes a shape. Whole numbers of another width are checked value by value by the server.
fn fit(column: &TargetColumn, shape: &Shape) -> Fit {
    let kind = column.data_type.as_str();
    let is_integer = matches!(kind, "tinyint" | "smallint" | "mediumint" | "int" | "bigint");
    let is_text = matches!(kind, "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext");
    match shape {
        Shape::Null => Fit::Exact,
        Shape::Bool if is_integer || kind == "bit" => Fit::Exact,
        Shape::Int(_) | Shape::UInt(_) if is_integer || matches!(kind, "decimal" | "bit" | "year") => Fit::Exact,
        Shape::Int(64) | Shape::UInt(64) if kind == "double" => Fit::Lossy("whole numbers over 2^53 are rounded"),
        Shape::Int(8..=32) | Shape::UInt(8..=32) if kind == "double" => Fit::Exact,
        Shape::Float if kind == "float" || kind == "double" => Fit::Exact,
        Shape::Double if kind == "double" => Fit::Exact,
        Shape::Double if kind == "float" => Fit::Lossy("values are rounded to 24 bits"),
        Shape::Float | Shape::Double if kind == "decimal" => Fit::Lossy("values are rounded to its scale"),
        Shape::Decimal { scale, .. } if kind == "decimal" && i64::from(*scale) <= column.scale => Fit::Exact,
        Shape::Decimal { .. } if kind == "decimal" => Fit::Lossy("values are rounded to its scale"),
        Shape::Decimal { scale, .. } if *scale <= 0 && is_integer => Fit::Exact,
        Shape::Text if is_text || matches!(kind, "enum" | "set" | "json" | "uuid" | "inet4" | "inet6") => Fit::Exact,
        Shape::Bytes if matches!(kind, "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob") => {
            Fit::Exact
        }
        Shape::Date if matches!(kind, "date" | "datetime") => Fit::Exact,
        Shape::Moment { .. } if matches!(kind, "datetime" | "timestamp") && column.second_digits >= 6 => Fit::Exact,
        Shape::Moment { .. } if matches!(kind, "datetime" | "timestamp") => {
            Fit::Lossy("fractions of a second are rounded")
        }
        Shape::Duration | Shape::TimeOfDay if kind == "time" && column.second_digits >= 6 => Fit::Exact,
        Shape::Duration | Shape::TimeOfDay if kind == "time" => Fit::Lossy("fractions of a second are rounded"),
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

/// The statement that makes the target. `collation` compares keys byte by byte.
///
/// Errors: `UnsupportedType`, and `TargetMismatch` when the key is empty, unknown or too long for an index.
pub(crate) fn create_statement(
    (database, table): (&str, &str),
    schema: &Schema,
    key: &[String],
    collation: &str,
) -> Result<String, ConnectError> {
    let quote = |name: &str| quote_identifier(Dialect::MySql, name);
    let shown = format!("{database}.{table}");
    let mismatch = |reason: String, next: &str| ConnectError::TargetMismatch {
        table: shown.clone(),
        reason,
        next: next.to_owned(),
    };
    if key.is_empty() || key.iter().any(|name| schema.field_with_name(name).is_err()) {
        return Err(mismatch(
            format!("the key ({}) names no columns of the rows", key.join(", ")),
            "name the key columns",
        ));
    }
    let (mut columns, mut key_bytes) = (Vec::new(), 0);
    for field in schema.fields() {
        let is_key = key.contains(field.name());
        let unsupported = || ConnectError::UnsupportedType {
            table: shown.clone(),
            column: field.name().clone(),
            found: field.data_type().to_string(),
        };
        let shape = Shape::of(field.data_type()).ok_or_else(unsupported)?;
        let sql_type = column_type(&shape, is_key).ok_or_else(unsupported)?;
        if is_key {
            key_bytes += if matches!(shape, Shape::Text | Shape::Bytes) { KEY_CHARACTERS * CHARACTER_BYTES } else { 8 };
        }
        columns.push(format!("{} {sql_type} {}", quote(field.name()), if is_key { "NOT NULL" } else { "NULL" }));
    }
    if key_bytes > MAX_KEY_BYTES {
        let next = "use fewer text columns in the key, or create the table by hand with shorter ones";
        return Err(mismatch(format!("a key of {key_bytes} bytes is over the index limit of {MAX_KEY_BYTES}"), next));
    }
    let key: Vec<String> = key.iter().map(|name| quote(name)).collect();
    Ok(format!(
        "CREATE TABLE IF NOT EXISTS {}.{} ({}, PRIMARY KEY ({})) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation}",
        quote(database),
        quote(table),
        columns.join(", "),
        key.join(", ")
    ))
}

fn column_type(shape: &Shape, is_key: bool) -> Option<String> {
    let fixed = match shape {
        Shape::Null => return None,
        Shape::Bool => "BOOLEAN",
        Shape::Int(8) => "TINYINT",
        Shape::Int(16) => "SMALLINT",
        Shape::Int(32) => "INT",
        Shape::Int(_) => "BIGINT",
        Shape::UInt(8) => "TINYINT UNSIGNED",
        Shape::UInt(16) => "SMALLINT UNSIGNED",
        Shape::UInt(32) => "INT UNSIGNED",
        Shape::UInt(_) => "BIGINT UNSIGNED",
        Shape::Float => "FLOAT",
        Shape::Double => "DOUBLE",
        Shape::Decimal { digits, scale } => {
            let is_supported = *digits <= MAX_DECIMAL.0 && (0..=MAX_DECIMAL.1).contains(scale);
            return is_supported.then(|| format!("DECIMAL({digits},{scale})"));
        }
        Shape::Text if is_key => return Some(format!("VARCHAR({KEY_CHARACTERS})")),
        Shape::Text => "LONGTEXT",
        Shape::Bytes if is_key => return Some(format!("VARBINARY({KEY_CHARACTERS})")),
        Shape::Bytes => "LONGBLOB",
        Shape::Date => "DATE",
        // TIMESTAMP ends in 2038 on many servers; DATETIME holds the same instant in UTC until 9999.
        Shape::Moment { .. } => "DATETIME(6)",
        Shape::Duration | Shape::TimeOfDay => "TIME(6)",
    };
    Some(fixed.to_owned())
}
