//! SQL models: plain SQL with a header of comments, and what follows from both.
//!
//! In: the text of `models/<schema>/<name>.sql`.  Out: [`Model`], with what it reads and how it is made.
//! Never here: running SQL, whether tables exist (see `order`).
//! Start at [`Model::parse`].

mod header;
mod interval;
mod order;
mod slice;

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use domain::TableName;

pub use interval::Interval;
pub(crate) use order::{in_order, unknown_tables, with_neighbours};

use crate::check::Check;
use crate::error::{Result, WarehouseError};
use crate::sql_error::engine_error;

/// One model of a project.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub table: TableName,
    /// Where it stands in the project, such as `models/marts/items.sql`.
    pub path: String,
    /// The statement as written, header included, so that lines count from the top of the file.
    pub sql: String,
    pub materialization: Materialization,
    /// The lines of the header that are not keys.
    pub description: String,
    /// Columns that together name a row, as documentation; `unique` in the checks enforces it.
    pub grain: Vec<String>,
    pub tags: Vec<String>,
    pub owner: Option<String>,
    /// The checks of the header.
    pub checks: Vec<Check>,
    /// Tables that the SQL names.
    pub inputs: BTreeSet<TableName>,
    /// Hash of the statement without comments and spacing.
    pub code_hash: String,
}

/// How a model becomes a table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Materialization {
    /// Made whole, whenever an input or the SQL changed.
    Table,
    /// Computed when it is read.
    View,
    /// Made interval by interval: the SQL reads `$from` and `$to`.
    Incremental {
        /// Column of the result that says to which interval a row belongs.
        time: String,
        interval: Interval,
        /// How many adjacent intervals the SQL may fill at once; each row says by its `time` to which it belongs. No part of what
        /// they hold, so that another number opens none.
        #[serde(skip)]
        batch: usize,
        /// Rows before this are not built.
        start: Option<chrono::DateTime<chrono::Utc>>,
        /// Inputs that the SQL filters by `column >= $from and column < $to`: only what changed in an interval reopens it.
        /// A change of any other input reopens all.
        sliced: BTreeMap<TableName, String>,
    },
}

impl Model {
    /// Reads a model. `schema` and `name` come from its path; `path` is for messages.
    pub fn parse(schema: &str, name: &str, path: &str, text: &str) -> Result<Self> {
        let table = TableName::new(schema, name).map_err(|error| WarehouseError::Model {
            message: error.to_string(),
            at: path.to_owned(),
            help: Some("rename the file or its folder".into()),
        })?;
        let header = header::read(path, text)?;
        let statement = one_query(path, text)?;
        let inputs = references(path, &statement)?;
        let fail = |message: String, help: &str| WarehouseError::Model {
            message,
            at: path.to_owned(),
            help: Some(help.to_owned()),
        };
        if inputs.contains(&table) {
            return Err(fail(format!("model `{table}` reads itself"), "read the tables it is made from"));
        }
        let bounds = slice::placeholders(&statement);
        if let Some(odd) = bounds.iter().find(|name| !["$from", "$to"].contains(&name.as_str())) {
            return Err(fail(format!("`{odd}` is not known"), "a model may use $from and $to"));
        }
        let materialization = match header.materialized.as_str() {
            "table" => Materialization::Table,
            "view" => Materialization::View,
            _ => incremental(&header, &statement, path)?,
        };
        let is_incremental = matches!(materialization, Materialization::Incremental { .. });
        if !is_incremental && !bounds.is_empty() {
            return Err(fail(
                "`$from` and `$to` belong to incremental models".into(),
                "write `-- materialized: incremental  time: …  interval: 1 day`",
            ));
        }
        let checks =
            header.checks.iter().map(|(line, text)| Check::parse_line(&table, text, &format!("{path}:{line}")));
        let checks = checks.collect::<Result<Vec<Vec<_>>>>()?.into_iter().flatten().collect();
        Ok(Self {
            table,
            path: path.to_owned(),
            sql: text.trim_end().trim_end_matches(';').to_owned(),
            materialization,
            description: header.description,
            grain: header.grain,
            tags: header.tags,
            owner: header.owner,
            checks,
            inputs,
            code_hash: domain::hash_bytes(statement.to_string().as_bytes()),
        })
    }
}

fn incremental(header: &header::Header, statement: &Statement, path: &str) -> Result<Materialization> {
    let fail = |message: &str, help: &str| WarehouseError::Model {
        message: message.to_owned(),
        at: format!("{path}:{}", header.materialized_line),
        help: Some(help.to_owned()),
    };
    let example = "write `-- materialized: incremental   time: day   interval: 1 day`";
    let time = header.time.clone().ok_or_else(|| {
        fail("an incremental model needs `time`: the column of the result that holds the interval", example)
    })?;
    let interval = header.interval.ok_or_else(|| fail("an incremental model needs `interval`", example))?;
    let sliced = slice::sliced_inputs(statement);
    if sliced.is_empty() {
        return Err(fail(
            "no input is filtered by `$from` and `$to`",
            "filter the fact table: `where at >= $from and at < $to`",
        ));
    }
    Ok(Materialization::Incremental { time, interval, batch: header.batch.unwrap_or(1), start: header.start, sliced })
}

/// The one query of a text.
pub(crate) fn one_query(at: &str, text: &str) -> Result<Statement> {
    let mut statements = DFParser::parse_sql(text).map_err(|error| engine_error(error, at))?;
    let fail = |message: &str| WarehouseError::Sql {
        message: message.to_owned(),
        at: at.to_owned(),
        help: Some("write one `select`".into()),
    };
    if statements.len() > 1 {
        return Err(fail("there is more than one statement"));
    }
    match statements.pop_front() {
        Some(Statement::Statement(statement)) if matches!(*statement, SqlStatement::Query(_)) => {
            Ok(Statement::Statement(statement))
        }
        Some(_) => Err(fail("this is not a query")),
        None => Err(fail("there is no statement")),
    }
}

/// Tables that a statement names; names of common table expressions are not among them.
pub(crate) fn references(at: &str, statement: &Statement) -> Result<BTreeSet<TableName>> {
    let (tables, _) = resolve_table_references(statement, false).map_err(|error| engine_error(error, at))?;
    let mut names = BTreeSet::new();
    for table in tables {
        let Some(schema) = table.schema() else {
            return Err(WarehouseError::NoSuchTable {
                table: table.table().to_owned(),
                nearest: None,
                at: at.to_owned(),
            });
        };
        let name = TableName::new(schema, table.table()).map_err(|_| WarehouseError::NoSuchTable {
            table: format!("{schema}.{}", table.table()),
            nearest: TableName::new(&schema.to_lowercase(), &table.table().to_lowercase())
                .ok()
                .map(|name| name.to_string()),
            at: at.to_owned(),
        })?;
        names.insert(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
