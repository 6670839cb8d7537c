//! What became in the stage of files whose rows are loaded: `_montauk/loads/<table>/purge-<time>-<id>.json`, one record per COPY that
//! has news of it.
//!
//! In: what COPY has removed, or could not.  Out: what is known of each file of each load.
//! A record is written after the removal, so that no file is called removed that is not; a crash in between leaves a file of which nothing
//! is known, until the next COPY finds it gone. That one is removed outweighs that it once was not, so the order of records does not matter.
//! Never here: removing (`copy::selection`).
//! Start at [`known`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::TableName;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::copy::Purge;
use crate::error::Result;
use crate::ledger::folder;
use crate::store::Store;

/// Version of [`PurgeRecord`]; raise it when a reader of the old version would misread.
pub(crate) const PURGE_FORMAT_VERSION: u32 = 1;
/// How the names of records begin.
const PREFIX: &str = "purge-";

/// What one COPY has done to files of the stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurgeRecord {
    pub(crate) format_version: u32,
    pub(crate) table: TableName,
    pub(crate) run_id: String,
    pub(crate) at: DateTime<Utc>,
    pub(crate) files: Vec<PurgedFile>,
}

/// A file of a load, and what became of it in the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurgedFile {
    /// The load that brought its rows.
    pub(crate) load: u64,
    pub(crate) file: String,
    pub(crate) purge: Purge,
}

/// What is known, by load and file.
pub(crate) type KnownPurges = BTreeMap<(u64, String), Purge>;

/// What the records of a table say.
pub(crate) async fn known(store: &Store, table: &TableName) -> Result<KnownPurges> {
    let mut known = KnownPurges::new();
    for meta in store.list(&folder(table)).await? {
        if !meta.location.filename().is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        let record: Option<PurgeRecord> = store.get_json(&meta.location).await?;
        for found in record.into_iter().flat_map(|record| record.files) {
            let purge = known.entry((found.load, found.file)).or_insert(found.purge);
            if found.purge == Purge::Purged {
                *purge = Purge::Purged;
            }
        }
    }
    Ok(known)
}

/// Writes what is new in `record`, if anything is: a COPY without news leaves nothing behind.
pub(crate) async fn record_news(store: &Store, mut record: PurgeRecord) -> Result<()> {
    let known = known(store, &record.table).await?;
    let is_news = |found: &PurgedFile| match known.get(&(found.load, found.file.clone())) {
        Some(Purge::Purged) => false,
        Some(Purge::PurgeFailed) => found.purge == Purge::Purged,
        None => true,
    };
    record.files.retain(is_news);
    if record.files.is_empty() {
        return Ok(());
    }
    let path = path_of(&record);
    // The id in its name is of this attempt alone: what is there already is our own, of a request whose answer was lost.
    store.put_json_if_absent(&path, &record).await.map(drop)
}

/// Sorts by time; the id keeps two of one moment apart.
fn path_of(record: &PurgeRecord) -> Path {
    let name = format!("{PREFIX}{:020}-{}.json", record.at.timestamp_millis(), uuid::Uuid::new_v4().simple());
    folder(&record.table).join(name)
}
