//! Rules that act by themselves: what [`experiment::lifecycle::watch`] finds due is done here, in their own name.
//!
//! In: what is due, and who let the rules look.  Out: the record after it; what rules have done since a moment.
//! Never here: what is due (`experiment`), results.
//! Start at [`Control::act`].

use chrono::{DateTime, Utc};
use experiment::lifecycle::{Due, LaunchFacts, Verb};
use serde_json::Value;

use crate::audit::AuditFilter;
use crate::control::Control;
use crate::error::ControlError;
use crate::experiments::ExperimentRecord;
use crate::people::{Actor, Role, Via};
use crate::things::Kind;

/// The name of rules in the audit log, beside `via: rule`.
pub const RULES: &str = "montauk";

/// Something that a rule has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleAct {
    pub verb: Verb,
    pub reason: String,
    /// Its number in the audit log.
    pub revision: u64,
}

impl Actor {
    /// The rules, let loose by somebody: they do what an experimenter may, and no more than that person may.
    pub fn rules(of: &Self) -> Self {
        Self {
            person: RULES.to_owned(),
            role: of.role.min(Role::Experimenter),
            projects: of.projects.clone(),
            via: Via::Rule,
            expires_at: of.expires_at,
        }
    }
}

impl Control {
    /// Does what is due, at the revision that was seen, and says why in the audit log; `None` where there is nothing to do but wait.
    ///
    /// Errors: those of [`Control::step`]. `Stale`: somebody else was first; what is due then is asked anew.
    pub async fn act(
        &self,
        actor: &Actor,
        seen: &ExperimentRecord,
        due: &Due,
        facts: &LaunchFacts,
        now: DateTime<Utc>,
    ) -> Result<Option<ExperimentRecord>, ControlError> {
        let Some(step) = due.step() else { return Ok(None) };
        let reason = due.reason();
        self.step_because(actor, &seen.key, seen.revision, (&step, &reason), facts, now).await.map(Some)
    }

    /// What rules have done with an experiment since a moment, oldest first.
    pub async fn acts(&self, actor: &Actor, key: &str, since: DateTime<Utc>) -> Result<Vec<RuleAct>, ControlError> {
        let filter = AuditFilter {
            kind: Some(Kind::Experiment),
            key: Some(key.to_owned()),
            person: Some(RULES.to_owned()),
            from: Some(since),
            ..AuditFilter::default()
        };
        let entries = self.audit(actor, &filter).await?.into_iter().rev().filter(|entry| entry.via == Via::Rule.name());
        let act = |verb: String| serde_json::from_value::<Verb>(Value::String(verb)).ok();
        Ok(entries
            .filter_map(|entry| {
                Some(RuleAct { verb: act(entry.verb)?, reason: entry.reason, revision: entry.sequence })
            })
            .collect())
    }
}
