//! `checks/*.toml`: `[[check]]` tables.
//!
//! In: what a TOML reader gives.  Out: [`Check`]s; one entry may hold several kinds, each becomes a check.
//! Never here: reading files.
//! Start at [`CheckFile`].

use domain::TableName;
use serde::Deserialize;
use serde_json::Value;

use super::line::relationship;
use super::{Check, CheckKind, Severity};
use crate::error::{Result, WarehouseError};
use crate::model::one_query;

/// A file of checks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckFile {
    #[serde(default, rename = "check")]
    pub checks: Vec<CheckEntry>,
}

/// One `[[check]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckEntry {
    pub table: TableName,
    pub name: Option<String>,
    #[serde(default)]
    pub severity: Severity,
    #[serde(default)]
    pub not_null: Vec<String>,
    #[serde(default)]
    pub unique: Vec<String>,
    pub accepted: Option<AcceptedEntry>,
    pub relationship: Option<RelationshipEntry>,
    pub range: Option<RangeEntry>,
    /// A query for bad rows.
    pub sql: Option<String>,
    /// Bad rows that `sql` may return; 0 when not given.
    pub max_rows: Option<u64>,
}

/// `accepted = { column = "kind", values = ["a", "b"] }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedEntry {
    pub column: String,
    pub values: Vec<Value>,
}

/// `relationship = { column = "item_id", to = "marts.items.item_id" }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelationshipEntry {
    pub column: String,
    pub to: String,
}

/// `range = { column = "weight", min = 0, max = 1000 }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeEntry {
    pub column: String,
    pub min: Option<Value>,
    pub max: Option<Value>,
}

impl CheckFile {
    /// The checks of the file at `path`.
    pub fn into_checks(self, path: &str) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        for entry in self.checks {
            checks.extend(entry.into_checks(path)?);
        }
        Ok(checks)
    }
}

impl CheckEntry {
    fn into_checks(self, path: &str) -> Result<Vec<Check>> {
        let table = self.table;
        let bad = |message: String, help: &str| WarehouseError::Check {
            message,
            at: path.to_owned(),
            help: Some(help.to_owned()),
        };
        let mut kinds = Vec::new();
        if !self.not_null.is_empty() {
            kinds.push(CheckKind::NotNull { columns: self.not_null });
        }
        if !self.unique.is_empty() {
            kinds.push(CheckKind::Unique { columns: self.unique });
        }
        if let Some(accepted) = self.accepted {
            kinds.push(CheckKind::Accepted { column: accepted.column, values: accepted.values });
        }
        if let Some(entry) = self.relationship {
            let kind = relationship(&entry.column, &entry.to);
            kinds.push(kind.ok_or_else(|| {
                bad(format!("`{}` is not a column of a table", entry.to), "write to = \"schema.table.column\"")
            })?);
        }
        if let Some(range) = self.range {
            if range.min.is_none() && range.max.is_none() {
                return Err(bad(format!("the range of `{}` has no bound", range.column), "give min, max or both"));
            }
            kinds.push(CheckKind::Range { column: range.column, min: range.min, max: range.max });
        }
        if let Some(sql) = self.sql {
            one_query(path, &sql)?;
            kinds.push(CheckKind::Sql { sql, max_rows: self.max_rows.unwrap_or(0) });
        } else if self.max_rows.is_some() {
            return Err(bad(format!("a check of `{table}` has max_rows without sql"), "add the query for bad rows"));
        }
        if kinds.is_empty() {
            return Err(bad(
                format!("a check of `{table}` checks nothing"),
                "add not_null, unique, accepted, relationship, range or sql",
            ));
        }
        let named = |kind: CheckKind| {
            let name = self.name.clone().unwrap_or_else(|| kind.describe());
            Check { table: table.clone(), name, kind, severity: self.severity, at: path.to_owned() }
        };
        Ok(kinds.into_iter().map(named).collect())
    }
}
