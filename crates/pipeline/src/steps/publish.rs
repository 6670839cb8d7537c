//! `publish`: marts → databases by diff, and marts → the feed that serving loads.
//!
//! In: which syncs.  Out: rows inserted, updated, deleted, rejected per sync, and the feed's number.
//! Never here: the protocols of the databases (`connect`).
//! Start at [`run`].

use std::collections::{HashMap, HashSet};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::util::display::array_value_to_string;
use connect::destinations::mysql::MySqlDestination;
use connect::destinations::postgres::PostgresDestination;
use connect::{Changes, Destination, Prepared, RowReject};
use domain::{FEED_FORMAT_VERSION, Provenance};
use warehouse::Catalog;

use super::Context;
use super::train::MartCache;
use crate::project::{DestinationKind, SyncFile, SyncMode};
use crate::publish::accepted::Accepted;
use crate::publish::diff::{Difference, Fingerprints, compare, fingerprint, key_columns, null_keys};
use crate::{PipelineError, feed, indicators, marts, profiles};

/// What to publish.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Names of `publish/<name>.toml`; `feed` is the feed. Empty means the feed and every sync.
    pub syncs: Vec<String>,
    /// Show the difference, change nothing.
    pub plan: bool,
    /// Allow a change larger than the guard's share.
    pub yes: bool,
}

/// What was published.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub catalog: u64,
    pub feed: Option<FeedReport>,
    pub syncs: Vec<SyncReport>,
}

/// The feed directory that serving loads.
#[derive(Debug, Clone, serde::Serialize)]
pub struct FeedReport {
    pub number: u64,
    pub items: u64,
    pub users: u64,
    /// False when the newest feed already holds the same.
    pub changed: bool,
}

/// One sync to a destination.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SyncReport {
    pub sync: String,
    pub destination: String,
    /// True when nothing was sent because only the plan was asked for.
    pub planned: bool,
    pub wanted: u64,
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
    pub unchanged: u64,
    pub rejected: Vec<Reject>,
    /// What somebody should know although it worked, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A row that the destination did not take.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Reject {
    pub key: String,
    pub reason: String,
}

/// Name under which the feed is asked for.
pub(super) const FEED: &str = "feed";
/// Characters of a sync's name in a receipt: what an indexed column of MySQL takes in four-byte characters.
const MAX_RECEIPT_NAME: usize = 191;
/// Rows per transaction: large enough to hide the round trip, small enough that a halving search for a bad row is quick.
const ROWS_PER_TRANSACTION: usize = 50_000;

/// Writes the feed and runs the selected syncs, on one catalog number.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let catalog = context.warehouse.catalog().await?;
    let wants = |name: &str| request.syncs.is_empty() || request.syncs.iter().any(|wanted| wanted == name);
    for name in request.syncs.iter().filter(|name| *name != FEED) {
        context.project.sync(name)?;
    }
    let feed = if wants(FEED) && !request.plan { write_feed(context, &catalog).await? } else { None };
    let mut syncs = Vec::new();
    for sync in context.project.syncs.values().filter(|sync| wants(&sync.name)) {
        syncs.push(run_sync(context, &catalog, sync, &request).await?);
    }
    Ok(Report { catalog: catalog.number, feed, syncs })
}

/// Writes items and histories of the recommenders' marts for serving. `None` when the project has no recommender.
async fn write_feed(context: &Context, catalog: &Catalog) -> Result<Option<FeedReport>, PipelineError> {
    // One feed serves every recommender of the project, so they share the marts; the first one names them.
    let Some(recommender) = context.project.recommenders.values().next() else { return Ok(None) };
    let wanted = indicators::wanted(context.project.recommenders.values());
    let mart = MartCache::default().read(context, catalog, &recommender.interactions, &wanted).await?;
    let mut inputs = mart.indicators.clone();
    inputs.insert(recommender.interactions.to_string(), mart.content.clone());
    let items = match &recommender.items {
        Some(table) => {
            inputs.insert(table.to_string(), marts::version(catalog, table));
            marts::items(&context.warehouse, catalog, table).await?
        }
        None => marts::items_of(&mart.interactions),
    };
    let users = match context.project.recommenders.values().find_map(|recommender| recommender.users.as_ref()) {
        Some(table) => {
            inputs.insert(table.to_string(), marts::version(catalog, table));
            profiles::users(&context.warehouse, catalog, table).await?
        }
        None => Vec::new(),
    };
    let histories = indicators::histories(&mart.interactions);
    let content = feed::Content {
        items: &items,
        histories: &histories,
        users: &users,
        catalog: catalog.number,
        created_at: context.now,
        provenance: Provenance {
            inputs,
            format_version: FEED_FORMAT_VERSION,
            run_id: context.run_id.clone(),
            ..Provenance::default()
        },
    };
    let (number, changed) = feed::write(&context.project.feed_dir(), &content)?;
    Ok(Some(FeedReport { number, items: items.len() as u64, users: histories.len() as u64, changed }))
}

/// Rows of one sync, with what the comparison needs.
struct Wanted {
    rows: RecordBatch,
    key: Vec<ArrayRef>,
    prints: Fingerprints,
}

async fn run_sync(
    context: &Context,
    catalog: &Catalog,
    sync: &SyncFile,
    request: &Request,
) -> Result<SyncReport, PipelineError> {
    let sql = match sync.from_table() {
        Some(table) => format!("select * from {table}"),
        None => sync.from.clone(),
    };
    let result = context.warehouse.query(catalog, &sql).await?;
    let rows = concat_batches(&result.schema, &result.batches)
        .map_err(|error| PipelineError::Unpublishable { sync: sync.name.clone(), reason: error.to_string() })?;
    let wanted = Wanted {
        key: key_columns(&sync.name, &rows, &sync.key)?,
        prints: fingerprint(&sync.name, &rows, &sync.key)?,
        rows,
    };
    let destination = open_destination(sync)?;
    let prepared =
        if request.plan { Prepared::default() } else { destination.prepare(&result.schema, &sync.key).await? };
    // A target of its own for each table: rows that one has taken say nothing of another.
    let name = receipt_name(sync);
    let receipt = destination.last_receipt(&name).await?;
    let dir = context.project.publish_dir().join(&sync.name);
    let mut accepted = Accepted::load(&name, &dir, receipt.as_ref(), &wanted.key)?;
    let mut warnings = prepared.warnings;
    if prepared.created && receipt.is_some() {
        // Somebody has dropped the table since: it holds nothing of what its receipt says.
        accepted.forget_all();
        warnings.push(format!("`{}` was gone and has been made anew: everything is sent again", sync.table));
    } else if !accepted.is_known {
        warnings.push(not_known(sync));
    }
    let nulls = null_keys(&wanted.key, wanted.rows.num_rows());
    let mut difference = compare(&wanted.prints, &nulls, accepted.entries());
    if sync.mode == SyncMode::Upsert || !accepted.is_known {
        difference.deletes.clear();
    }
    guard(sync, &wanted, &accepted, &difference, request)?;
    let mut report = SyncReport {
        sync: sync.name.clone(),
        destination: sync.table.clone(),
        planned: request.plan,
        wanted: wanted.rows.num_rows() as u64,
        inserted: difference.inserts.len() as u64,
        updated: difference.updates.len() as u64,
        deleted: difference.deletes.len() as u64,
        unchanged: difference.unchanged as u64,
        rejected: Vec::new(),
        warnings,
    };
    for (row, reason) in &difference.unusable {
        report.rejected.push(Reject { key: describe_key(&wanted.key, *row), reason: (*reason).to_owned() });
    }
    if !request.plan {
        context.progress.begin(&format!("publish {}", sync.name), Some(difference.changes() as u64));
        send(context, sync, destination.as_ref(), &wanted, accepted, &difference, &mut report).await?;
        context.progress.finish(&format!("{} rows sent", difference.changes()));
    }
    Ok(report)
}

/// Under which name the destination keeps its receipt; the column there holds [`MAX_RECEIPT_NAME`] characters.
fn receipt_name(sync: &SyncFile) -> String {
    let name = format!("{} to {}", sync.name, sync.table);
    if name.chars().count() <= MAX_RECEIPT_NAME { name } else { domain::hash_bytes(name.as_bytes()) }
}

/// Why everything is sent, and what stays behind.
fn not_known(sync: &SyncFile) -> String {
    let what = "the record of what the destination has accepted is not here, so everything is sent again";
    match sync.mode {
        SyncMode::Mirror => format!("{what}; rows of the target that `{}` no longer has stay there", sync.from),
        SyncMode::Upsert => what.to_owned(),
    }
}

/// Refuses a change that is too large to be meant: a person confirms it with `--yes`. An empty mart never deletes everything.
fn guard(
    sync: &SyncFile,
    wanted: &Wanted,
    accepted: &Accepted,
    difference: &Difference,
    request: &Request,
) -> Result<(), PipelineError> {
    if wanted.rows.num_rows() == 0 && !difference.deletes.is_empty() {
        return Err(PipelineError::Unpublishable {
            sync: sync.name.clone(),
            reason: format!("`{}` has no rows, and an empty source never deletes everything", sync.from),
        });
    }
    let changed = (difference.updates.len() + difference.deletes.len()) as u64;
    let held = accepted.len() as u64;
    if changed as f64 > sync.max_change * held as f64 && !request.yes && !request.plan {
        let (sync, limit) = (sync.name.clone(), sync.max_change);
        return Err(PipelineError::TooLargeChange { sync, changed, accepted: held, limit });
    }
    Ok(())
}

/// Sends the difference in transactions; the accepted state is durable aside before each commit.
async fn send(
    context: &Context,
    sync: &SyncFile,
    destination: &dyn Destination,
    wanted: &Wanted,
    mut accepted: Accepted,
    difference: &Difference,
    report: &mut SyncReport,
) -> Result<(), PipelineError> {
    let mut upserts: Vec<usize> = difference.inserts.iter().chain(&difference.updates).copied().collect();
    upserts.sort_unstable();
    let inserts: HashSet<usize> = difference.inserts.iter().copied().collect();
    let mut parts: Vec<(&[usize], &[usize])> =
        upserts.chunks(ROWS_PER_TRANSACTION).map(|rows| (rows, &[] as &[usize])).collect();
    parts.extend(difference.deletes.chunks(ROWS_PER_TRANSACTION).map(|rows| (&[] as &[usize], rows)));
    for (upserts, deletes) in parts {
        let numbers: UInt64Array = upserts.iter().map(|row| *row as u64).collect();
        let rows = take_record_batch(&wanted.rows, &numbers)
            .map_err(|error| PipelineError::Unpublishable { sync: sync.name.clone(), reason: error.to_string() })?;
        let deleted_keys = if deletes.is_empty() { None } else { accepted.keys_before(deletes)? };
        let changes = Changes { upserts: rows, deletes: deleted_keys, key: sync.key.clone() };
        let applied = destination.apply(&changes).await?;
        let refused: HashMap<usize, &RowReject> =
            applied.report.rejects.iter().map(|reject| (reject.row, reject)).collect();
        for (place, row) in upserts.iter().enumerate() {
            match refused.get(&place) {
                Some(reject) => {
                    let counter = if inserts.contains(row) { &mut report.inserted } else { &mut report.updated };
                    *counter -= 1;
                    let key = describe_key(&wanted.key, *row);
                    report.rejected.push(Reject { key, reason: reject.reason.clone() });
                }
                None => accepted.accept(&wanted.prints.keys[*row], wanted.prints.hashes[*row], *row),
            }
        }
        let kept: HashSet<usize> = applied.report.delete_rejects.iter().map(|reject| reject.row).collect();
        let gone: HashSet<usize> =
            deletes.iter().enumerate().filter(|(place, _)| !kept.contains(place)).map(|(_, row)| *row).collect();
        report.deleted -= kept.len() as u64;
        accepted.forget(&gone);
        let pending = accepted.prepare(&sync.key, &wanted.key)?;
        applied.commit(&pending.receipt).await?;
        accepted.confirm(&pending)?;
        context.progress.advance((upserts.len() + deletes.len()) as u64);
    }
    Ok(())
}

fn open_destination(sync: &SyncFile) -> Result<Box<dyn Destination>, PipelineError> {
    let url = sync.resolve_url()?;
    Ok(match sync.kind {
        DestinationKind::Mysql => Box::new(MySqlDestination::new(&url, &sync.table, sync.nulls)?),
        DestinationKind::Postgres => Box::new(PostgresDestination::new(&url, &sync.table, sync.nulls)?),
    })
}

/// The key of a row as a person reads it, such as `17850, 3`.
fn describe_key(key: &[ArrayRef], row: usize) -> String {
    let values: Vec<String> =
        key.iter().map(|column| array_value_to_string(column, row).unwrap_or_else(|_| "?".to_owned())).collect();
    values.join(", ")
}
