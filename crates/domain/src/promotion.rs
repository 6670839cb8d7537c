//! Which artefact of a recommender serves: the file `promoted/<recommender>/<n:020>.json`, put if absent.
//!
//! In: the decision of `train` or of a person.  Out: a pointer that `serving` follows; the highest number wins.
//! Never here: reading or writing the files, or the artefacts themselves.
//! Start at [`Promotion`].

use crate::{Provenance, RerankRules};

/// Version of [`Promotion`]; raise it when a reader of the old version would misread.
pub const PROMOTION_FORMAT_VERSION: u32 = 1;

/// One promotion: from this number on, `artefact` answers for `recommender`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    pub format_version: u32,
    /// Number of the promotion; a higher one is newer. Equals the number in the file's name.
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
    /// Why, in one line, such as `trained` or `rolled back: recall fell`.
    pub reason: String,
    pub provenance: Provenance,
}
