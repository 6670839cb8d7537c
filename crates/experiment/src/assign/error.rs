//! What can be wrong with a payload, an experiment or a cipher text.
//!
//! In: nothing.  Out: [`AssignError`].
//! Never here: what is wrong with data (see `stats`).
//! Start at [`AssignError`].

use domain::{ErrorKind, Problem};

/// Why a payload or an experiment is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// The text is no JSON, is nested deeper than 127 levels, or holds a number beyond a double.
    #[error("the payload is no JSON that can be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A value has the wrong form.
    #[error("`{at}` {problem}")]
    Payload {
        /// Where, such as `features.home.rules.0.weights`.
        at: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// A cipher text or its key cannot be used.
    #[error("the payload cannot be decrypted: {0}")]
    Cipher(&'static str),
    /// An experiment's definition breaks a rule.
    #[error("experiment `{experiment}` {problem}")]
    Experiment {
        /// Its key.
        experiment: String,
        /// What is wrong, and the next step.
        problem: String,
    },
    /// A layer cannot hold a slot.
    #[error("layer `{layer}` {problem}")]
    Layer {
        /// Its name.
        layer: String,
        /// What is wrong, and the next step.
        problem: String,
    },
    /// A flag breaks a rule.
    #[error("flag `{flag}` {problem}")]
    Flag {
        /// Its key.
        flag: String,
        /// What is wrong, and the next step.
        problem: String,
    },
}

impl AssignError {
    pub(crate) fn payload(at: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Payload { at: at.into(), problem: problem.into() }
    }
}

/// Whatever is wrong was written by somebody, who can write it otherwise.
impl Problem for AssignError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::Payload { .. } | Self::Cipher(_) => "invalid_payload",
            Self::Experiment { .. } | Self::Layer { .. } | Self::Flag { .. } => "invalid_assignment",
        }
    }
}
