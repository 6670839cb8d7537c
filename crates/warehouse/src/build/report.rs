//! What a build did, model by model.
//!
//! In: nothing.  Out: serialisable structs; doors draw them.
//! Never here: building.
//! Start at [`BuildReport`].

use domain::TableName;
use serde::Serialize;

use crate::catalog::TableKind;
use crate::check::CheckResult;

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// `marts.items`, `+marts.items` (and what it reads), `marts.items+` (and what reads it); empty: everything.
    pub selection: Vec<String>,
    /// Make everything again, changed or not.
    pub full_refresh: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BuildReport {
    /// The catalog number that shows the result; the old one when nothing changed.
    pub catalog: u64,
    /// Whether this build made that number.
    pub changed: bool,
    /// How often it was begun again because another run changed what it used.
    pub restarts: u32,
    /// In the order in which they were built; raw tables appear when they have checks.
    pub models: Vec<ModelReport>,
}

/// What happened to one table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelReport {
    pub table: TableName,
    pub kind: TableKind,
    pub status: ModelStatus,
    /// Why it failed or is blocked.
    pub reason: Option<String>,
    /// Rows that the table holds now; `None` for a view and for one that was not made.
    pub rows: Option<u64>,
    /// Wall time.
    pub seconds: f64,
    /// Incremental models only.
    pub intervals: Option<IntervalReport>,
    pub checks: Vec<CheckResult>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelStatus {
    /// Made and passed.
    Built,
    /// Same rows as before; its checks ran again, because they or what they compare with changed.
    Checked,
    /// Nothing it depends on changed: nothing was done.
    Unchanged,
    /// The SQL or a check failed: the old version stays visible.
    Failed,
    /// Something it reads failed: the old version stays visible.
    Blocked,
}

/// Intervals of an incremental model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct IntervalReport {
    /// Made in this build.
    pub filled: usize,
    /// Had no input any more.
    pub emptied: usize,
    /// Left as they were.
    pub kept: usize,
}

impl BuildReport {
    /// Whether something failed or was blocked: exit code 4.
    pub fn has_failures(&self) -> bool {
        self.models.iter().any(|model| matches!(model.status, ModelStatus::Failed | ModelStatus::Blocked))
    }

    /// Rows of the tables that were made.
    pub fn rows_built(&self) -> u64 {
        self.models.iter().filter(|model| model.status == ModelStatus::Built).filter_map(|model| model.rows).sum()
    }
}
