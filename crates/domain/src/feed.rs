//! What `publish` hands to `serving`: the facts that no artefact holds. A versioned directory without Arrow.
//!
//! Layout of `feed/<n>/`: `header.json` (written last), `items.ndjson.zst` ([`FeedItem`] per line),
//! `histories.ndjson.zst` ([`FeedHistory`] per line) and, where a recommender names a users table, `users.ndjson.zst`
//! ([`FeedUser`] per line).
//! Never here: scores (artefacts hold them), reading or writing files.
//! Start at [`FeedHeader`].

use std::collections::BTreeMap;

use crate::{ItemId, Provenance, UserId};

/// Version of the feed directory; raise it when a reader of the old version would misread.
pub const FEED_FORMAT_VERSION: u32 = 2;

/// `header.json` of a feed directory.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedHeader {
    pub format_version: u32,
    /// Number of the feed; a higher one is newer.
    pub feed: u64,
    /// The catalog number whose tables it was read from.
    pub catalog: u64,
    /// Last event that the histories hold; events after it are replayed on top.
    pub event_seq: u64,
    pub created_at: chrono::DateTime<chrono::Utc>,
    pub items: FeedFile,
    pub histories: FeedFile,
    /// Absent without a users table. A program that does not know the field refuses the feed, so the version stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<FeedFile>,
    pub provenance: Provenance,
}

/// One file of a feed directory.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedFile {
    pub name: String,
    pub rows: u64,
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

/// One line of `items.ndjson.zst`: an item and what is known of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedItem {
    pub id: ItemId,
    /// What a person reads, such as `WHITE HANGING HEART T-LIGHT HOLDER`.
    pub title: Option<String>,
    /// False: never recommended, whatever its score.
    pub available: bool,
    /// Everything else the items mart holds: column name → value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, serde_json::Value>,
}

/// What is known of a user or an item beside interactions: column name → value.
pub type Profile = BTreeMap<String, serde_json::Value>;

/// One line of `users.ndjson.zst`: a user, with or without a history, and what is known of them.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedUser {
    pub id: UserId,
    /// Everything that the users mart holds beside the id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Profile,
}

/// One line of `histories.ndjson.zst`: a user and what they did, oldest first.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedHistory {
    pub user: UserId,
    pub interactions: Vec<FeedInteraction>,
    /// What they did besides, oldest first: name of the indicator → its events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub things: BTreeMap<String, Vec<FeedThing>>,
}

/// One interaction of a [`FeedHistory`]: item, strength, seconds since 1970 UTC. A tuple, because there are many.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FeedInteraction(pub ItemId, pub f32, pub i64);

/// One event of an indicator: thing, strength, seconds since 1970 UTC.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FeedThing(pub String, pub f32, pub i64);
