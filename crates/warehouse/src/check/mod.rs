//! Checks: what must hold of a table before anybody sees it.
//!
//! In: the one-liners of a model's header, `checks/*.toml`.  Out: [`Check`]s; run over tables, [`CheckResult`]s.
//! Never here: what a failed check leads to (`build`).
//! Start at [`Check`]; a new kind is one arm of [`CheckKind`], one function in `kinds`, and its words in `line` and `file`.

mod file;
mod kinds;
mod line;
mod run;

use std::collections::BTreeSet;

use domain::TableName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use file::{AcceptedEntry, CheckEntry, CheckFile, RangeEntry, RelationshipEntry};
pub(crate) use line::is_call;
pub(crate) use run::run_checks;

use crate::error::Result;
use crate::model::{one_query, references};

/// One thing that must hold of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    pub table: TableName,
    /// What people call it; unique in a table only when they chose so.
    pub name: String,
    pub kind: CheckKind,
    pub severity: Severity,
    /// Where it was written, such as `checks/sales.toml` or `models/marts/items.sql:3`.
    pub at: String,
}

/// What is checked. Nulls pass every kind but `not_null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CheckKind {
    /// None of the columns holds null.
    NotNull { columns: Vec<String> },
    /// No two rows agree in all of the columns. Rows with a null among them are not compared.
    Unique { columns: Vec<String> },
    /// The column holds nothing but these values.
    Accepted { column: String, values: Vec<Value> },
    /// Every value of the column is in the other one.
    Relationship { column: String, to: TableName, to_column: String },
    /// `min <= column <= max`; either may be missing. NaN counts as greater than every number.
    Range { column: String, min: Option<Value>, max: Option<Value> },
    /// A query for bad rows returns at most `max_rows`.
    Sql { sql: String, max_rows: u64 },
}

/// What a failed check does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The table keeps its old version and what depends on it waits.
    #[default]
    Block,
    /// It is reported.
    Warn,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    Passed,
    Failed,
    /// It could not be computed, for example because a column is missing.
    Error,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckResult {
    pub table: TableName,
    pub name: String,
    /// The same for the same check in every run; names the file of failing rows.
    pub id: String,
    pub kind: &'static str,
    pub severity: Severity,
    pub at: String,
    pub status: CheckStatus,
    /// Bad rows in all.
    pub failing: u64,
    /// Some of them as JSON objects.
    pub rows: Vec<Value>,
    /// Why it could not be computed.
    pub error: Option<String>,
}

impl Check {
    /// Reads the checks of a header line: `unique(a, b)  not_null(a)  range(b, 0, 10) warn`.
    pub(crate) fn parse_line(table: &TableName, text: &str, at: &str) -> Result<Vec<Self>> {
        line::parse(table, text, at)
    }

    /// No null in these columns.
    pub fn not_null(table: &TableName, columns: &[&str]) -> Self {
        Self::made(table, CheckKind::NotNull { columns: owned(columns) })
    }

    /// No two rows with the same values in these columns.
    pub fn unique(table: &TableName, columns: &[&str]) -> Self {
        Self::made(table, CheckKind::Unique { columns: owned(columns) })
    }

    fn made(table: &TableName, kind: CheckKind) -> Self {
        Self { table: table.clone(), name: kind.describe(), kind, severity: Severity::Block, at: String::new() }
    }

    /// Short and stable: the first 12 hex digits of the hash of table, name and kind.
    pub fn id(&self) -> String {
        let mut hash = domain::hash_json(&(&self.table, &self.name, &self.kind)).unwrap_or_default();
        hash.truncate(12);
        hash
    }

    /// Tables other than its own that the check reads.
    pub(crate) fn other_tables(&self) -> Result<BTreeSet<TableName>> {
        let mut tables = match &self.kind {
            CheckKind::Relationship { to, .. } => BTreeSet::from([to.clone()]),
            CheckKind::Sql { sql, .. } => references(&self.at, &one_query(&self.at, sql)?)?,
            CheckKind::NotNull { .. }
            | CheckKind::Unique { .. }
            | CheckKind::Accepted { .. }
            | CheckKind::Range { .. } => BTreeSet::new(),
        };
        tables.remove(&self.table);
        Ok(tables)
    }
}

impl CheckResult {
    /// A result before anything was found.
    pub(crate) fn unrun(check: &Check) -> Self {
        Self {
            table: check.table.clone(),
            name: check.name.clone(),
            id: check.id(),
            kind: check.kind.word(),
            severity: check.severity,
            at: check.at.clone(),
            status: CheckStatus::Passed,
            failing: 0,
            rows: Vec::new(),
            error: None,
        }
    }

    /// Whether the table must not be shown.
    pub fn blocks(&self) -> bool {
        self.status != CheckStatus::Passed && self.severity == Severity::Block
    }
}

impl CheckKind {
    /// The word for the kind.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotNull { .. } => "not_null",
            Self::Unique { .. } => "unique",
            Self::Accepted { .. } => "accepted",
            Self::Relationship { .. } => "relationship",
            Self::Range { .. } => "range",
            Self::Sql { .. } => "sql",
        }
    }

    /// A name for a check without one, in the words of the header.
    fn describe(&self) -> String {
        let shown = |value: &Option<Value>| {
            value.as_ref().map_or("".to_owned(), |value| value.as_str().map_or(value.to_string(), str::to_owned))
        };
        match self {
            Self::NotNull { columns } => format!("not_null({})", columns.join(", ")),
            Self::Unique { columns } => format!("unique({})", columns.join(", ")),
            Self::Accepted { column, values } => format!("accepted({column}, {} values)", values.len()),
            Self::Relationship { column, to, to_column } => format!("relationship({column}, {to}.{to_column})"),
            Self::Range { column, min, max } => format!("range({column}, {}, {})", shown(min), shown(max)),
            Self::Sql { .. } => "sql".to_owned(),
        }
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
