//! Why a verb or a change is refused.
//!
//! In: nothing.  Out: [`LifecycleError`].
//! Never here: what a launch still needs (see `checklist`).
//! Start at [`LifecycleError`].

use domain::{ErrorKind, Problem};

use super::{State, Verb};
use crate::assign::AssignError;

/// Why a verb or a change is refused.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The verb makes no sense in this state.
    #[error("`{key}` is {}, so that it cannot be {}; possible are: {possible}", state.name(), participle(*verb))]
    NotNow { key: String, state: State, verb: Verb, possible: String },
    /// The field decides who sees what or how it is judged, and units have seen it.
    #[error("`{field}` of `{key}` cannot change while the experiment is {}; `reopen` it to begin a new phase", state.name())]
    Immutable { key: String, field: String, state: State },
    /// Lowering a coverage would evict units that have seen a variant.
    #[error("the coverage of `{key}` is {from} and may only grow, not become {to}; `reopen` it to begin a new phase")]
    CoverageShrinks { key: String, from: f64, to: f64 },
    /// The field is set by a verb.
    #[error("`{field}` of `{key}` is set by the verb `{verb}`, not by an edit; leave it as it is")]
    SetByVerb { key: String, field: &'static str, verb: &'static str },
    /// Nobody approves what he wrote.
    #[error("`{person}` wrote this revision of `{key}` and cannot approve it; ask somebody else")]
    OwnApproval { key: String, person: String },
    /// The policy asks for an approval of so much traffic.
    #[error("`{key}` would reach {share} of all units, for which somebody else has to approve it first")]
    NeedsApproval { key: String, share: f64 },
    /// A decision would serve an arm to everybody, and the policy asks for an approval of so much traffic.
    #[error(
        "everybody in the audience of `{key}` would get `{arm}`; let an approver decide, or `approve` all of it first"
    )]
    ServingNeedsApproval { key: String, arm: String },
    /// The results of a decision answer another question than the experiment asked.
    #[error(
        "the results of `{key}` have the plan hash `{found}` and the experiment has `{stands}`: a metric or the plan is another one; compute \
         them again, or restore the metric's file, or `reopen` it"
    )]
    OtherPlan { key: String, stands: String, found: String },
    /// The arm is none of the experiment's, or not one that the verdict can serve.
    #[error("`{arm}` of `{key}` cannot be served by the verdict `{verdict}`; {next}")]
    WrongArm { key: String, arm: String, verdict: String, next: &'static str },
    /// A step without a reason where people will ask for one.
    #[error("`{verb}` of `{key}` needs a reason: {why}")]
    NoReason { key: String, verb: &'static str, why: &'static str },
    /// What is written is wrong on its own.
    #[error(transparent)]
    Assignment(#[from] AssignError),
    /// How it is to be judged is wrong on its own.
    #[error("`{field}` of `{key}` cannot be: {problem}")]
    Plan { key: String, field: String, problem: String },
    /// The content has no hash.
    #[error("`{0}` cannot be written as JSON")]
    Hash(String),
}

fn participle(verb: Verb) -> &'static str {
    match verb {
        Verb::Submit => "submitted",
        Verb::Approve => "approved",
        Verb::Reject => "rejected",
        Verb::Start => "started",
        Verb::Ramp => "ramped",
        Verb::Pause => "paused",
        Verb::Resume => "resumed",
        Verb::Stop => "stopped",
        Verb::Decide => "decided",
        Verb::Reopen => "reopened",
        Verb::Archive => "archived",
    }
}

impl Problem for LifecycleError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotNow { .. } | Self::Immutable { .. } | Self::CoverageShrinks { .. } | Self::OtherPlan { .. } => {
                ErrorKind::Conflict
            }
            Self::OwnApproval { .. } | Self::NeedsApproval { .. } | Self::ServingNeedsApproval { .. } => {
                ErrorKind::Refused
            }
            Self::SetByVerb { .. } | Self::WrongArm { .. } | Self::NoReason { .. } | Self::Plan { .. } => {
                ErrorKind::Invalid
            }
            Self::Assignment(error) => error.kind(),
            Self::Hash(_) => ErrorKind::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotNow { .. } => "not_in_this_state",
            Self::Immutable { .. } => "immutable_field",
            Self::CoverageShrinks { .. } => "coverage_shrinks",
            Self::SetByVerb { .. } => "set_by_verb",
            Self::OwnApproval { .. } => "own_approval",
            Self::NeedsApproval { .. } | Self::ServingNeedsApproval { .. } => "needs_approval",
            Self::OtherPlan { .. } => "other_plan",
            Self::WrongArm { .. } => "wrong_arm",
            Self::NoReason { .. } => "no_reason",
            Self::Assignment(error) => error.code(),
            Self::Plan { .. } => "invalid_plan",
            Self::Hash(_) => "no_hash",
        }
    }
}
