//! Who has to agree before traffic is given away.
//!
//! In: an experiment and a policy.  Out: the share of traffic that it takes; whether that needs an approval.
//! Never here: who may approve (roles are decided elsewhere).
//! Start at [`ApprovalPolicy`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::definition::Experiment;

/// When a start or a ramp needs the approval of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "approval", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ApprovalPolicy {
    Never,
    /// When more than `share` of all units (0.0–1.0) take part.
    Above {
        share: f64,
    },
    Always,
}

/// A tenth of the traffic can be lost without losing the business; more needs a second pair of eyes.
pub const DEFAULT_SHARE: f64 = 0.1;
/// Shares are products of ten-thousandths: what differs by less is equal.
const ROUNDING: f64 = 1e-9;

impl Default for ApprovalPolicy {
    fn default() -> Self {
        Self::Above { share: DEFAULT_SHARE }
    }
}

impl ApprovalPolicy {
    /// Whether so much traffic needs an approval.
    pub fn asks(self, share: f64) -> bool {
        match self {
            Self::Never => false,
            Self::Above { share: most } => share > most + ROUNDING,
            Self::Always => true,
        }
    }
}

/// Somebody else has read this very revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Approval {
    /// Who.
    pub by: String,
    pub at: DateTime<Utc>,
    /// Of what was read; another hash is another experiment. Coverage is apart, in `up_to`.
    pub hash: String,
    /// Of what the saved groups held that the audience names; empty without any. A group that grows is another audience.
    #[serde(default)]
    pub groups: String,
    /// Who wrote a part of it: nobody of them approves of more.
    #[serde(default)]
    pub editors: Vec<String>,
    /// The share of all units, 0.0–1.0, up to which it may be ramped without asking again; up to 1.0, a treatment may be served to all.
    pub up_to: f64,
}

impl Approval {
    /// Whether it holds for this content, these groups and so much traffic.
    pub fn covers(&self, hash: &str, groups: &str, share: f64) -> bool {
        self.hash == hash && self.groups == groups && share <= self.up_to + ROUNDING
    }
}

/// The share of all units that can take part, 0.0–1.0: coverage × the width of its slots, layer by layer. An audience is not counted: how
/// many it holds, only the warehouse knows.
pub fn traffic_share(experiment: &Experiment, coverage: f64) -> f64 {
    let mut widths: BTreeMap<&str, f64> = BTreeMap::new();
    for slot in &experiment.slots {
        *widths.entry(&slot.layer).or_default() += slot.end - slot.start;
    }
    widths.values().fold(coverage, |share, width| share * width.min(1.0))
}
