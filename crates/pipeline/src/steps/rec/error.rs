//! What `rec` refuses, and why.
//!
//! In: nothing.  Out: [`RegistryError`] with kind, code and next step.
//! Never here: faults of files (`PipelineError`) or inside an artefact (`recommend`).
//! Start at [`RegistryError`].

use domain::{ErrorKind, Problem};

use crate::retain::KEPT_PROMOTIONS;

/// Why an artefact does not serve.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("`{word}` is the beginning of more than one artefact")]
    ManyArtefacts { word: String, names: Vec<String> },
    #[error("artefact `{artefact}` would be worse than what serves: {reason}")]
    PromotionRefused { artefact: String, reason: String },
    #[error("artefact `{artefact}` is not measured against what serves: {reason}")]
    NotEvaluated { artefact: String, reason: String },
    #[error("artefact `{artefact}` cannot serve: {reason}")]
    CannotServe { artefact: String, reason: String },
    #[error(
        "artefact `{artefact}` of promotion {number} is no longer there: those of the last {KEPT_PROMOTIONS} promotions are kept"
    )]
    ArtefactRemoved { number: u64, artefact: String },
    #[error("nothing else served before promotion {number}, which serves now")]
    NothingBefore { number: u64 },
    #[error("there is no promotion {number}")]
    NoSuchPromotion { number: u64, numbers: Vec<u64> },
}

impl Problem for RegistryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ManyArtefacts { .. } => ErrorKind::Invalid,
            Self::PromotionRefused { .. } | Self::NotEvaluated { .. } | Self::CannotServe { .. } => ErrorKind::Refused,
            Self::ArtefactRemoved { .. } | Self::NothingBefore { .. } | Self::NoSuchPromotion { .. } => {
                ErrorKind::NotFound
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ManyArtefacts { .. } => "many_artefacts",
            Self::PromotionRefused { .. } => "promotion_refused",
            Self::NotEvaluated { .. } => "not_evaluated",
            Self::CannotServe { .. } => "cannot_serve",
            Self::ArtefactRemoved { .. } => "artefact_removed",
            Self::NothingBefore { .. } => "nothing_before",
            Self::NoSuchPromotion { .. } => "no_such_promotion",
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::ManyArtefacts { names, .. } => format!("name one: {}", names.join(", ")),
            Self::PromotionRefused { artefact, .. } => format!(
                "look at both with `montauk rec compare {artefact} OTHER`; promote it all the same with `--force`, which is recorded"
            ),
            Self::NotEvaluated { .. } => {
                "run `montauk evaluate --no-promote` first; parameters that serve and stand in no file any more need a recommender of \
                 their own to be measured; `--force` promotes without, and is recorded"
                    .to_owned()
            }
            Self::CannotServe { .. } => "train again: `montauk train`; what serves now is left alone".to_owned(),
            Self::ArtefactRemoved { .. } => {
                "train it again, or go back to another: `montauk rec list` shows the promotions of each".to_owned()
            }
            Self::NothingBefore { .. } => "promote another: `montauk rec list`".to_owned(),
            Self::NoSuchPromotion { numbers, .. } => {
                let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                format!("there are: {}", numbers.join(", "))
            }
        })
    }
}
