//! What people say of rejects: `_montauk/quarantine/<table>/changes/<n:020>.json`, put if absent, one after the other.
//!
//! In: a [`Change`].  Out: all of them, oldest first; a later one wins.
//! Never here: replays, which the ledger records with their rows.
//! Start at [`append`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::TableName;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::RejectId;
use crate::RunContext;
use crate::error::{Result, WarehouseError};
use crate::store::{Store, numbered};

/// Version of [`Change`]; raise it when a reader of the old version would misread.
const FORMAT_VERSION: u32 = 1;
/// Lost races for a number after which something else is wrong.
const ATTEMPTS: usize = 20;

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    format_version: u32,
    run_id: String,
    at: DateTime<Utc>,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum What {
    /// The text of these rows is now this one, as `sql` made it.
    Fixed { sql: String, rows: BTreeMap<RejectId, String> },
    /// These are not wanted.
    Dismissed { reason: String, rejects: Vec<RejectId> },
}

impl Change {
    pub(crate) fn new(what: What, run: &RunContext) -> Self {
        Self { format_version: FORMAT_VERSION, run_id: run.run_id.clone(), at: run.now, what }
    }
}

fn folder(table: &TableName) -> Path {
    Path::from_iter(["_montauk", "quarantine", table.to_string().as_str(), "changes"])
}

/// Everything that was said of a table's rejects, oldest first.
pub(crate) async fn read_all(store: &Store, table: &TableName) -> Result<Vec<Change>> {
    let folder = folder(table);
    let mut changes = Vec::new();
    for number in store.numbers_after(&folder, 0).await? {
        let path = numbered(&folder, number);
        let change: Option<Change> = store.get_json(&path).await?;
        let change = change.filter(|change| change.format_version == FORMAT_VERSION);
        let message = "it is missing, or of another version".to_owned();
        changes.push(change.ok_or(WarehouseError::Damaged { path: path.to_string(), message })?);
    }
    Ok(changes)
}

/// Says one more thing.
pub(crate) async fn append(store: &Store, table: &TableName, change: Change) -> Result<()> {
    let folder = folder(table);
    for _ in 0..ATTEMPTS {
        let number = store.numbers_after(&folder, 0).await?.last().copied().unwrap_or(0) + 1;
        let path = numbered(&folder, number);
        // A retried request may find its own first attempt.
        if store.put_json_if_absent(&path, &change).await? || store.get_json(&path).await?.as_ref() == Some(&change) {
            return Ok(());
        }
    }
    Err(WarehouseError::Conflict { what: format!("the quarantine of table `{table}`") })
}
