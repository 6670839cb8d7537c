//! What a destination is to `publish`: one table elsewhere that takes rows by key, and remembers what it took.
//!
//! In: rows to write and keys to delete, as Arrow batches.  Out: which rows were accepted; a receipt saved with them.
//! Never here: which rows differ from last time (`pipeline`), one system's words (`destinations`).
//! Start at [`Destination`].

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;

use crate::ConnectError;

/// One table of one database that rows are written to.
///
/// The order of calls: [`prepare`](Self::prepare) once, [`last_receipt`](Self::last_receipt) to find the state to compare with, then
/// per batch [`apply`](Self::apply) → save the new state aside → [`Applied::commit`] with its hash. A kill at any point leaves
/// the target and its receipt agreeing: rows and receipt are one transaction.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Makes the table when it is missing, and checks that columns and key fit.
    async fn prepare(&self, schema: &SchemaRef, key: &[String]) -> Result<Prepared, ConnectError>;

    /// The receipt last committed for `sync`, or `None` before the first.
    async fn last_receipt(&self, sync: &str) -> Result<Option<Receipt>, ConnectError>;

    /// Writes rows and deletes keys in an open transaction; nobody else sees them before [`Applied::commit`].
    async fn apply(&self, changes: &Changes) -> Result<Applied, ConnectError>;
}

/// What [`Destination::prepare`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// The table was missing and has been made.
    pub created: bool,
    /// What will work but may surprise, one sentence each.
    pub warnings: Vec<String>,
}

/// Rows to bring into the target. Both batches are small enough to hold in memory; the caller cuts larger sets.
#[derive(Debug, Clone)]
pub struct Changes {
    /// Rows to insert, or to update where the key exists. Key columns are not null.
    pub upserts: RecordBatch,
    /// Keys to delete: the key columns only. `None` deletes nothing.
    pub deletes: Option<RecordBatch>,
    /// Names of the key columns.
    pub key: Vec<String>,
}

/// Whether a null in a row overwrites what the target holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NullPolicy {
    /// A null leaves the target's value.
    #[default]
    Keep,
    /// A null is written.
    Overwrite,
}

/// Deletes by part of a key would delete other rows, so that their columns must be exactly the key.
pub(crate) fn check_deletes(changes: &Changes) -> Result<(), ConnectError> {
    let Some(deletes) = &changes.deletes else { return Ok(()) };
    let mut found: Vec<String> = deletes.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut wanted = changes.key.clone();
    found.sort();
    wanted.sort();
    if found == wanted { Ok(()) } else { Err(ConnectError::internal("delete rows", "the columns are not the key")) }
}

/// What became of the rows of one [`Changes`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// Rows of `upserts` that the target took.
    pub upserted: u64,
    /// Keys of `deletes` that are gone, also those that were gone before.
    pub deleted: u64,
    /// Rows of `upserts` that were not written.
    pub rejects: Vec<RowReject>,
    /// Keys of `deletes` that could not be deleted (another table refers to them).
    pub delete_rejects: Vec<RowReject>,
}

/// A row that the target did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowReject {
    /// 0-based row of the batch.
    pub row: usize,
    /// A stable word: `not_finite`, `too_long`, `out_of_range`, `null_key`, `warning`, `refused`, `unsupported_value`.
    pub code: &'static str,
    /// One sentence, with the target's own message when it gave one.
    pub reason: String,
}

/// What a target last took for one sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Name of the sync.
    pub sync: String,
    /// Counts up; a commit needs a higher number than the one stored.
    pub number: u64,
    /// Hash of the state of accepted rows that the caller saved aside before the commit.
    pub state_hash: String,
}

/// The open transaction behind an [`Applied`].
#[async_trait]
pub trait OpenTransaction: Send {
    /// Saves the receipt in the transaction and commits it.
    async fn commit(self: Box<Self>, receipt: &Receipt) -> Result<(), ConnectError>;
}

/// Rows written but not yet visible. Dropped uncommitted, they are rolled back.
#[must_use = "rows are rolled back unless they are committed"]
pub struct Applied {
    pub report: ApplyReport,
    transaction: Box<dyn OpenTransaction>,
}

impl Applied {
    /// Pairs a report with the transaction that holds its rows.
    pub fn new(report: ApplyReport, transaction: Box<dyn OpenTransaction>) -> Self {
        Self { report, transaction }
    }

    /// Makes the rows and the receipt visible together.
    ///
    /// Errors: `StaleReceipt` when another run committed the same or a higher number meanwhile; nothing is written then.
    pub async fn commit(self, receipt: &Receipt) -> Result<(), ConnectError> {
        self.transaction.commit(receipt).await
    }
}

impl std::fmt::Debug for Applied {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Applied").field("report", &self.report).finish_non_exhaustive()
    }
}
