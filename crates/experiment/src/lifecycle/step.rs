//! What people do with an experiment, with what each verb needs to know.
//!
//! In: JSON or a command.  Out: a [`Step`].
//! Never here: what it makes of an experiment (see `course`).
//! Start at [`Step`].

use serde::{Deserialize, Serialize};

use super::{Proposal, Verb};
use crate::decision::{Code, Verdict};

/// A verb with what it needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Step {
    Submit,
    /// `up_to`: the share of all units, 0.0–1.0, up to which it may ramp, and with 1.0 be decided for a treatment; what it takes
    /// now, or by its ramp, if it is not given.
    Approve {
        #[serde(default)]
        up_to: Option<f64>,
    },
    Reject {
        reason: String,
    },
    Start,
    Ramp {
        coverage: f64,
    },
    Pause {
        #[serde(default)]
        reason: String,
    },
    Resume,
    Stop {
        #[serde(default)]
        reason: String,
        #[serde(default)]
        proposal: Option<Proposal>,
    },
    /// `arm`: what is served. `proposed`: the verdict by the rules; choosing another needs a reason. `plan_hash`: of the plan that `results`
    /// were computed by; with results it has to be that of the experiment.
    Decide {
        chosen: Code,
        arm: String,
        #[serde(default)]
        reason: String,
        #[serde(default)]
        proposed: Option<Verdict>,
        #[serde(default)]
        results: serde_json::Value,
        #[serde(default)]
        plan_hash: Option<String>,
    },
    /// `make_default`: the flag's default becomes what a decided experiment serves; without it that must be so already.
    Reopen {
        #[serde(default)]
        reason: String,
        #[serde(default)]
        make_default: bool,
    },
    /// See `Reopen`.
    Archive {
        #[serde(default)]
        reason: String,
        #[serde(default)]
        make_default: bool,
    },
}

impl Step {
    pub fn verb(&self) -> Verb {
        match self {
            Self::Submit => Verb::Submit,
            Self::Approve { .. } => Verb::Approve,
            Self::Reject { .. } => Verb::Reject,
            Self::Start => Verb::Start,
            Self::Ramp { .. } => Verb::Ramp,
            Self::Pause { .. } => Verb::Pause,
            Self::Resume => Verb::Resume,
            Self::Stop { .. } => Verb::Stop,
            Self::Decide { .. } => Verb::Decide,
            Self::Reopen { .. } => Verb::Reopen,
            Self::Archive { .. } => Verb::Archive,
        }
    }

    /// Why, in people's words; empty where none was given.
    pub fn reason(&self) -> &str {
        match self {
            Self::Submit | Self::Approve { .. } | Self::Start | Self::Ramp { .. } | Self::Resume => "",
            Self::Reject { reason }
            | Self::Pause { reason }
            | Self::Stop { reason, .. }
            | Self::Decide { reason, .. }
            | Self::Reopen { reason, .. }
            | Self::Archive { reason, .. } => reason,
        }
    }
}
