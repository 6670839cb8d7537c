//! What `control` hands to whoever answers "who sees what": the file `experiments/<revision:020>.json`, put if absent.
//!
//! In: experiments, flags and connections as people have decided them.  Out: one document that `serving` evaluates; the highest revision wins.
//! Never here: reading or writing the files; evaluation (`experiment::assign`); tokens and people.
//! Start at [`ExperimentSnapshot`].

use serde_json::{Map, Value};

/// Version of [`ExperimentSnapshot`]; raise it when a reader of the old version would misread.
pub const SNAPSHOT_FORMAT_VERSION: u32 = 1;

/// Everything that decides who sees what, at one moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentSnapshot {
    pub format_version: u32,
    /// Rises with every publication. A reader keeps the last good one and never goes back. Equals the number in the file's name.
    pub revision: u64,
    pub published_at: chrono::DateTime<chrono::Utc>,
    /// The payload as GrowthBook's SDKs read it: `features`, and where there are any `savedGroups`, `experiments`, `contextualBandits`.
    pub payload: Map<String, Value>,
    /// What is known of the experiments in the payload beside their rules, in the order of their rules.
    #[serde(default)]
    pub experiments: Vec<SnapshotExperiment>,
    /// Who may read. Without any, only our own services are answered.
    #[serde(default)]
    pub connections: Vec<SdkConnection>,
}

/// One experiment of a snapshot: what names its exposures, and what its forced units are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotExperiment {
    pub key: String,
    /// The feature whose value it decides.
    pub feature: String,
    /// The attribute that names a unit.
    pub hash_attribute: String,
    /// Counts from 0; a new one assigns every unit anew.
    pub phase: u32,
    /// `draft`, `review`, `running`, `paused` or `decided`.
    pub state: String,
    /// Keys of its variants, the control first.
    pub variants: Vec<String>,
}

/// One application that asks, with the key that its SDK sends.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SdkConnection {
    /// `sdk-…`; in the URL of GrowthBook's SDKs, and the bearer token of OpenFeature's. It is seen by browsers and no secret.
    pub client_key: String,
    /// What people call it, such as `web shop`.
    pub name: String,
    /// Base64 of 16 bytes: the payload is given out encrypted with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<String>,
    /// Only results for given attributes are given out, never the rules.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remote_evaluation: bool,
}

impl std::fmt::Debug for SdkConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SdkConnection")
            .field("client_key", &self.client_key)
            .field("name", &self.name)
            .field("encryption_key", &self.encryption_key.as_ref().map(|_| "…"))
            .field("remote_evaluation", &self.remote_evaluation)
            .finish()
    }
}
