//! Which artefact serves: the file `promoted/<recommender>/<n:020>.json`, put if absent.
//!
//! In: the decision of `evaluate` or of a person.  Out: a pointer that `serving` follows; the highest number wins.
//! Never here: reading or writing the files, or the artefacts themselves.
//! Start at [`Promotion`].

use std::collections::BTreeMap;

use crate::{Provenance, RerankRules};

/// Version of [`Promotion`]; raise it when a reader of the old version would misread.
pub const PROMOTION_FORMAT_VERSION: u32 = 1;

/// One promotion: from this number on, `artefact` answers for `recommender`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    pub format_version: u32,
    /// Number of the promotion among those of all recommenders; a higher one is newer. Equals the number in the file's name.
    pub number: u64,
    /// Name of the recommender, as in `recommenders/<recommender>.toml`.
    pub recommender: String,
    /// Directory name under `artefacts/`.
    pub artefact: String,
    /// Directory name under `artefacts/` of the popularity artefact for users whom `artefact` cannot answer;
    /// none when the artefact knows popularity itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_artefact: Option<String>,
    /// Leave out what the user already had, as `filter_seen` of the recommender's file says.
    pub filter_seen: bool,
    /// What is done with lists after scoring, as `[rerank]` of the recommender's file says.
    #[serde(default, skip_serializing_if = "RerankRules::is_empty")]
    pub rerank: RerankRules,
    pub promoted_at: chrono::DateTime<chrono::Utc>,
    /// Why, in one line, such as `rolled back to promotion 3: complaints`.
    pub reason: String,
    /// What the newest evaluation had found of it, such as `test.recall@20`; empty when none had measured it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    pub provenance: Provenance,
}
