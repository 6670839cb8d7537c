//! What power found, kept for the launch: computing it takes seconds, and a checklist is looked at often.
//!
//! In: figures with the hash of what they depend on.  Out: facts of a launch; figures of other content are none.
//! A report belongs to an experiment's key, whether or not the experiment is in the store yet: people plan by a file before they apply it. It leaves the
//! experiment's revision as it is, so that looking at power makes nobody's edit stale.
//! Never here: computing power (`pipeline`), formulas (`experiment::planning`).
//! Start at [`Control::keep_power`].

use chrono::{DateTime, Utc};
use experiment::lifecycle::{LaunchFacts, PowerGap};
use experiment::plan::ExperimentFile;
use experiment::planning::power_hash;
use serde::{Deserialize, Serialize};

use crate::control::{Control, check_key};
use crate::error::ControlError;
use crate::experiments::{ExperimentRecord, project_of};
use crate::people::{Actor, Permission};
use crate::store::{Entry, View, snapshot};
use crate::things::Kind;

/// What whoever asks the warehouse has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PowerFound {
    /// Of the arms, weights, coverage, plan and metrics that it was computed of.
    pub hash: String,
    /// Of the decision at the planned end, 0.0–1.0; `null` without an end, or where a metric that decides has no figures.
    pub power: Option<f64>,
    /// Days until the planned units have come; `null` where none are planned.
    pub planned_days: Option<f64>,
    /// The whole report, as `montauk experiment power --json` prints it.
    #[schema(value_type = Object)]
    pub report: serde_json::Value,
}

/// The same with who computed it when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeptPower {
    pub by: String,
    pub at: DateTime<Utc>,
    #[serde(flatten)]
    pub found: PowerFound,
}

async fn kept(view: &mut View, key: &str) -> Result<Option<KeptPower>, ControlError> {
    view.find(Kind::Power, key).await?.map(|document| document.read(Kind::Power)).transpose()
}

/// The facts of a launch with what was computed of just this content; whoever gives a power has computed it himself.
pub(crate) async fn with_power(
    view: &mut View,
    record: &ExperimentRecord,
    facts: &LaunchFacts,
) -> Result<LaunchFacts, ControlError> {
    let mut facts = facts.clone();
    if facts.power.is_some() {
        return Ok(facts);
    }
    let Some(KeptPower { found, .. }) = kept(view, &record.key).await? else { return Ok(facts) };
    if found.hash != power_hash(&record.course.file(), &facts.metrics)? {
        facts.power_gap = PowerGap::Edited;
        return Ok(facts);
    }
    facts.power = found.power;
    facts.power_gap = PowerGap::NoFigures;
    facts.planned_days = facts.planned_days.or(found.planned_days);
    Ok(facts)
}

impl Control {
    /// Whether the actor may have power computed, before it is. Errors: `Forbidden`, `OtherProject`.
    pub async fn may_compute_power(&self, actor: &Actor, file: &ExperimentFile) -> Result<(), ControlError> {
        let known = self.store.find(Kind::Experiment, &file.assignment.key).await?;
        let record = known.as_ref().map(ExperimentRecord::of).transpose()?;
        let project = record.map_or_else(|| project_of(file), |record| record.project);
        actor.require(Permission::AddExploratoryMetric, Some(&project))
    }

    /// Keeps what was found in the place of what was known. `file`: what it was computed of, in the store or not.
    pub async fn keep_power(
        &self,
        actor: &Actor,
        file: &ExperimentFile,
        found: PowerFound,
        now: DateTime<Utc>,
    ) -> Result<KeptPower, ControlError> {
        let key = &file.assignment.key;
        check_key("assignment.key", key)?;
        self.may_compute_power(actor, file).await?;
        let new = KeptPower { by: actor.person.clone(), at: now, found };
        let mut change = self.store.begin().await?;
        let before = kept(&mut change, key).await?.map(|before| snapshot(Kind::Power, key, &before)).transpose()?;
        let known = change.find(Kind::Experiment, key).await?;
        let project = match &known {
            Some(document) => ExperimentRecord::of(document)?.project,
            None => project_of(file),
        };
        change.write(Kind::Power, key, &new).await?;
        let after = snapshot(Kind::Power, key, &new)?;
        let entry = Entry { verb: "compute", kind: Kind::Power, key, project: &project, reason: "" };
        change.record(actor, now, entry, before.as_ref(), Some(&after)).await?;
        change.commit().await?;
        Ok(new)
    }

    /// What was found last of an experiment that the actor may read. Whether it is of the content as it stands, the checklist says.
    pub async fn power(&self, actor: &Actor, key: &str) -> Result<Option<KeptPower>, ControlError> {
        self.experiment(actor, key).await?;
        self.store.find(Kind::Power, key).await?.map(|document| document.read(Kind::Power)).transpose()
    }
}
