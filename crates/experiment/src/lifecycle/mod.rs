//! From draft to archive: what may happen to an experiment next, and what may still be changed in it.
//!
//! In: a [`Course`], and a [`Step`] or an edited file.  Out: the course after it, or why not. Pure: the caller stores it.
//! Never here: roles of people, other experiments (their facts come in through `checklist`), storage.
//! Start at [`Course::step`] for verbs, at [`Course::edit`] for changes, at [`checklist`](checklist::checklist) for what a launch needs, at
//! [`watch`](watch::watch) for what happens without anybody.

pub mod alerts;
pub mod approval;
pub mod checklist;
mod clock;
mod course;
mod error;
pub mod evidence;
mod fields;
mod step;
pub mod watch;

pub use alerts::{Alert, alerts};
pub use approval::{Approval, ApprovalPolicy, traffic_share};
pub use checklist::{Blocker, Checklist, ExposureSeen, LaunchFacts, PowerGap, Warning};
pub use clock::{Span, clock, days_assigned, days_between};
pub use course::{By, Course, Decision, Edit, Phase, Proposal, normalised, plan_hash};
pub use error::LifecycleError;
pub use evidence::Evidence;
pub use fields::{Field, Rule, changes};
pub use step::Step;
pub use watch::{Due, wants_results, watch};

use serde::{Deserialize, Serialize};

/// Where an experiment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum State {
    /// Being written. Only its allow-list is served.
    Draft,
    /// Waits for its start, and where the policy asks for it, for an approval. Only its allow-list is served.
    Review,
    /// Units are assigned.
    Running,
    /// Nobody is assigned; the default value is served.
    Paused,
    /// The chosen arm is served to the whole audience, without being counted.
    Decided,
    /// Gone from what is served.
    Archived,
}

/// What people do with an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Verb {
    /// Ask for review.
    Submit,
    /// Let it start, or let it ramp further.
    Approve,
    /// Back to the author.
    Reject,
    Start,
    /// Raise the coverage.
    Ramp,
    Pause,
    Resume,
    /// Pause, with a proposed verdict.
    Stop,
    Decide,
    /// Begin a new phase, as a draft: every unit is assigned anew, results start from zero.
    Reopen,
    Archive,
}

impl State {
    /// Every state, in order.
    pub const ALL: [Self; 6] = [Self::Draft, Self::Review, Self::Running, Self::Paused, Self::Decided, Self::Archived];

    /// The state after a verb; `None` where it makes no sense.
    pub fn after(self, verb: Verb) -> Option<Self> {
        match (self, verb) {
            (Self::Draft, Verb::Submit) => Some(Self::Review),
            (Self::Review, Verb::Approve) => Some(Self::Review),
            (Self::Review, Verb::Reject) => Some(Self::Draft),
            (Self::Review, Verb::Start) => Some(Self::Running),
            // An approval of a running experiment is one of a further ramp.
            (Self::Running | Self::Paused, Verb::Approve | Verb::Ramp) => Some(self),
            (Self::Running, Verb::Pause) => Some(Self::Paused),
            (Self::Paused, Verb::Resume) => Some(Self::Running),
            (Self::Running | Self::Paused, Verb::Stop) => Some(Self::Paused),
            (Self::Running | Self::Paused, Verb::Decide) => Some(Self::Decided),
            (Self::Running | Self::Paused | Self::Decided, Verb::Reopen) => Some(Self::Draft),
            (Self::Draft | Self::Review | Self::Paused | Self::Decided, Verb::Archive) => Some(Self::Archived),
            _ => None,
        }
    }

    /// The word in JSON, in the snapshot and on screens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Review => "review",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Decided => "decided",
            Self::Archived => "archived",
        }
    }
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 11] = [
        Self::Submit,
        Self::Approve,
        Self::Reject,
        Self::Start,
        Self::Ramp,
        Self::Pause,
        Self::Resume,
        Self::Stop,
        Self::Decide,
        Self::Reopen,
        Self::Archive,
    ];

    /// The word in JSON, in the audit log and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Start => "start",
            Self::Ramp => "ramp",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Decide => "decide",
            Self::Reopen => "reopen",
            Self::Archive => "archive",
        }
    }
}
