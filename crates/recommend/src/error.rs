//! What can go wrong in this room, split by what the caller can do about it.
//!
//! In: nothing.  Out: [`RecommendError`] with kind, code and next step.
//! Never here: bad rows (see `interactions::Rejected`: data that is wrong is kept and counted, it is not an error).
//! Start at [`RecommendError`].

use std::path::{Path, PathBuf};

use domain::{ErrorKind, Problem};

use crate::{RecommenderKind, RuleError};

/// What can go wrong while training, ranking, evaluating, or keeping artefacts.
#[derive(Debug, thiserror::Error)]
pub enum RecommendError {
    #[error("`{value}` is not a kind of recommender{}", suggestion(nearest.as_deref()))]
    UnknownKind { value: String, nearest: Option<String> },
    #[error("`{name}` is not a parameter of `{kind}`{}", suggestion(nearest.as_deref()))]
    UnknownParameter { kind: RecommenderKind, name: String, nearest: Option<String>, known: Vec<String> },
    #[error("parameter `{name}` of `{kind}` is `{value}`, but must be {expected}")]
    BadParameter { kind: RecommenderKind, name: String, value: String, expected: String },
    #[error("`{kind}` learns from indicator `{name}`, and the interactions come without it")]
    NoSuchIndicator { kind: RecommenderKind, name: String },
    #[error("there are no interactions to train `{kind}` from")]
    NoInteractions { kind: RecommenderKind },
    #[error("`{kind}` is limited to {limit} items and the interactions hold {items}")]
    TooManyItems { kind: RecommenderKind, items: usize, limit: usize },
    #[error("training of `{kind}` broke down: {detail}")]
    Diverged { kind: RecommenderKind, detail: String },
    #[error("a `{kind}` artefact cannot be the fallback; it must be `popularity`")]
    NotAFallback { kind: RecommenderKind },
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error("there is nothing to evaluate: {detail}")]
    NothingToEvaluate { detail: String },
    #[error("no recommender is named `{name}` in this evaluation")]
    NoSuchRecommender { name: String },
    #[error("two recommenders are named `{name}`")]
    DuplicateRecommender { name: String },
    #[error("evaluation option `{name}` is `{value}`, but must be {expected}")]
    BadProtocol { name: &'static str, value: String, expected: &'static str },
    #[error("there is no artefact at `{}`", path.display())]
    NoSuchArtefact { path: PathBuf },
    #[error("artefact file `{}` is damaged: {detail}", path.display())]
    Corrupt { path: PathBuf, detail: String },
    #[error("artefact `{}` has format version {found}, and this program reads {supported}", path.display())]
    FormatVersion { path: PathBuf, found: u64, supported: u32 },
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

impl RecommendError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn corrupt(path: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), detail: detail.into() }
    }
}

impl Problem for RecommendError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownKind { .. }
            | Self::UnknownParameter { .. }
            | Self::BadParameter { .. }
            | Self::NoInteractions { .. }
            | Self::NoSuchIndicator { .. }
            | Self::NotAFallback { .. }
            | Self::NothingToEvaluate { .. }
            | Self::DuplicateRecommender { .. }
            | Self::BadProtocol { .. }
            | Self::Rule(_)
            | Self::Corrupt { .. }
            | Self::FormatVersion { .. } => ErrorKind::Invalid,
            Self::TooManyItems { .. } | Self::Diverged { .. } => ErrorKind::Refused,
            Self::NoSuchRecommender { .. } | Self::NoSuchArtefact { .. } => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownKind { .. } => "unknown_recommender_kind",
            Self::UnknownParameter { .. } => "unknown_recommender_parameter",
            Self::BadParameter { .. } => "bad_recommender_parameter",
            Self::NoInteractions { .. } => "no_interactions",
            Self::NoSuchIndicator { .. } => "no_such_indicator",
            Self::TooManyItems { .. } => "too_many_items",
            Self::Diverged { .. } => "training_diverged",
            Self::NotAFallback { .. } => "not_a_fallback",
            Self::Rule(_) => "bad_rule",
            Self::NothingToEvaluate { .. } => "nothing_to_evaluate",
            Self::NoSuchRecommender { .. } => "no_such_recommender",
            Self::DuplicateRecommender { .. } => "duplicate_recommender",
            Self::BadProtocol { .. } => "bad_evaluation_option",
            Self::NoSuchArtefact { .. } => "no_such_artefact",
            Self::Corrupt { .. } => "artefact_damaged",
            Self::FormatVersion { .. } => "artefact_format_version",
            Self::Io { .. } => "artefact_io",
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::UnknownKind { .. } => {
                Some(format!("write one of: {}", RecommenderKind::ALL.map(|kind| kind.as_str()).join(", ")))
            }
            Self::UnknownParameter { known, .. } => Some(format!("write one of: {}", known.join(", "))),
            Self::BadParameter { name, .. } => Some(format!("change `{name}` in the recommender's file")),
            Self::NoSuchIndicator { .. } => Some("name its mart under `[[indicators]]` in the recommender's file".into()),
            Self::NoInteractions { .. } => {
                Some("look at the rows of the interactions mart: `montauk query \"select count(*) from marts.interactions\"`".into())
            }
            Self::TooManyItems { .. } => Some("use `kind = \"ials\"`, or raise `max_items` if memory allows".into()),
            Self::Diverged { .. } => Some("raise `lambda` in the recommender's file".into()),
            Self::Rule(_) => {
                Some("change `[rerank]` in the recommender's file; conditions are on the columns of its `items` table".into())
            }
            Self::NotAFallback { .. } => Some("train a recommender of kind `popularity` and name it as baseline".into()),
            Self::NothingToEvaluate { .. } => {
                Some("load more history, or hold out something else: `montauk evaluate --protocol time|strong|last`".into())
            }
            Self::Corrupt { .. } | Self::FormatVersion { .. } => Some("train again: `montauk train`".into()),
            Self::NoSuchArtefact { .. } => Some("train first: `montauk train`".into()),
            Self::NoSuchRecommender { .. }
            | Self::DuplicateRecommender { .. }
            | Self::BadProtocol { .. }
            | Self::Io { .. } => None,
        }
    }
}
