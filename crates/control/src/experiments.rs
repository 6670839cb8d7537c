//! Experiments in the store: making, editing, verbs, the launch checklist.
//!
//! In: files and steps of `experiment::lifecycle`.  Out: an [`ExperimentRecord`].
//! Never here: which verb is allowed when (see `experiment::lifecycle`), files of a project (see `drift`).
//! Start at [`Control::step`].

use chrono::{DateTime, Utc};
use experiment::lifecycle::{
    ApprovalPolicy, By, Checklist, Course, LaunchFacts, LifecycleError, Rule, State, Step, Verb,
};
use experiment::plan::ExperimentFile;
use experiment::program::{Flag, ValueType};
use serde::{Deserialize, Serialize};

use crate::control::{Control, check_key, check_size};
use crate::error::ControlError;
use crate::people::{Actor, Permission};
use crate::power::with_power;
use crate::store::{Change, Document, Entry, View, snapshot};
use crate::surroundings::{Surroundings, records};
use crate::things::{Kind, ProjectPolicy, Stored, Thing, audit, check_seen, require_of, stored};

/// The project of what names none.
pub(crate) const DEFAULT_PROJECT: &str = "default";
/// The project that means all others, in a policy.
const ANY_PROJECT: &str = "*";

/// Where the truth of an experiment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ManagedBy {
    /// In a file of the project: edits go there.
    Code,
    /// In the store.
    Ui,
}

/// The file that an experiment comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Origin {
    /// Inside the project, such as `experiments/checkout.toml`.
    pub path: String,
    /// Of its content when it was last applied.
    pub hash: String,
}

/// An experiment as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExperimentRecord {
    pub key: String,
    /// The number of the change that made it so; what a change has to have seen.
    #[serde(default)]
    pub revision: u64,
    /// The number of the change that made it: the order of experiments on one feature.
    pub created: u64,
    pub project: String,
    /// Whom to ask.
    pub owner: String,
    pub managed_by: ManagedBy,
    /// `null` unless `managed_by` is `code`.
    pub origin: Option<Origin>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// State, texts, assignment, analysis, approval, decision, earlier phases.
    #[serde(flatten)]
    pub course: Course,
}

/// Which experiments; all where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExperimentFilter {
    pub state: Option<State>,
    pub project: Option<String>,
    pub owner: Option<String>,
    pub feature: Option<String>,
    /// Any of these.
    pub tag: Option<String>,
}

impl ExperimentFilter {
    fn takes(&self, record: &ExperimentRecord) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        self.state.is_none_or(|state| state == record.course.state)
            && is(&self.project, &record.project)
            && is(&self.owner, &record.owner)
            && is(&self.feature, record.course.assignment.feature())
            && self.tag.as_ref().is_none_or(|tag| record.course.about.tags.contains(tag))
    }
}

impl ExperimentRecord {
    pub(crate) fn of(document: &Document) -> Result<Self, ControlError> {
        Ok(Self { revision: document.revision, ..document.read(Kind::Experiment)? })
    }

    /// Errors: `NotFound`.
    pub(crate) async fn find(change: &mut View, key: &str) -> Result<Self, ControlError> {
        match change.find(Kind::Experiment, key).await? {
            Some(document) => Self::of(&document),
            None => Err(ControlError::NotFound { kind: Kind::Experiment.name(), key: key.to_owned() }),
        }
    }

    /// A new draft that is not written yet.
    pub(crate) fn draft(
        actor: &Actor,
        file: ExperimentFile,
        origin: Option<Origin>,
        now: DateTime<Utc>,
    ) -> Result<Self, ControlError> {
        check_file(&file)?;
        // No policy, role or group has a say in a draft.
        let standing = Standing { policy: ApprovalPolicy::default(), groups: String::new(), is_approver: false };
        let course = Course::draft(file, standing.by(actor, now))?;
        Ok(Self {
            key: course.key().to_owned(),
            revision: 0,
            created: 0,
            project: project_of(&course.file()),
            owner: course.about.owner.clone().unwrap_or_else(|| actor.person.clone()),
            managed_by: if origin.is_some() { ManagedBy::Code } else { ManagedBy::Ui },
            origin,
            created_at: now,
            updated_at: now,
            course,
        })
    }

    /// The record with another course; texts say who owns it and where it belongs.
    pub(crate) fn with(&self, course: Course, now: DateTime<Utc>) -> Self {
        Self {
            project: course.about.project.clone().unwrap_or_else(|| self.project.clone()),
            owner: course.about.owner.clone().unwrap_or_else(|| self.owner.clone()),
            updated_at: now,
            course,
            ..self.clone()
        }
    }

    /// Writes the record and its audit row.
    pub(crate) async fn save(
        &mut self,
        change: &mut Change,
        actor: &Actor,
        now: DateTime<Utc>,
        (verb, reason): (&str, &str),
        before: Option<&Self>,
    ) -> Result<(), ControlError> {
        self.revision = change.newest + 1;
        if before.is_none() {
            self.created = self.revision;
        }
        change.write(Kind::Experiment, &self.key, self).await?;
        let json = |record: &Self| snapshot(Kind::Experiment, &record.key, record);
        let (old, new) = (before.map(json).transpose()?, json(self)?);
        let entry = Entry { verb, kind: Kind::Experiment, key: &self.key, project: &self.project, reason };
        change.record(actor, now, entry, old.as_ref(), Some(&new)).await?;
        Ok(())
    }

    /// Removes a draft. Errors: it is no draft.
    pub(crate) async fn delete(
        &self,
        change: &mut Change,
        actor: &Actor,
        now: DateTime<Utc>,
        reason: &str,
    ) -> Result<(), ControlError> {
        if self.course.state != State::Draft || !self.course.earlier.is_empty() {
            let (key, state) = (self.key.clone(), self.course.state);
            let by = format!("its history (it is {}); archive it", state.name());
            return Err(ControlError::InUse { kind: "experiment", key, by });
        }
        change.remove(Kind::Experiment, &self.key).await?;
        change.remove(Kind::Power, &self.key).await?;
        let before = snapshot(Kind::Experiment, &self.key, self)?;
        let entry = Entry { verb: "delete", kind: Kind::Experiment, key: &self.key, project: &self.project, reason };
        change.record(actor, now, entry, Some(&before), None).await?;
        Ok(())
    }
}

/// The project whose people may change it.
pub(crate) fn project_of(file: &ExperimentFile) -> String {
    file.about.project.clone().unwrap_or_else(|| DEFAULT_PROJECT.to_owned())
}

/// Errors: keys that cannot stand in URLs; a file beyond all reason.
pub(crate) fn check_file(file: &ExperimentFile) -> Result<(), ControlError> {
    check_key("assignment.key", &file.assignment.key)?;
    check_key("assignment.feature", file.assignment.feature())?;
    check_key("about.project", &project_of(file))?;
    check_size("assignment", &file.assignment.key, file)
}

/// The policy of a project: its own, that of all, or the default.
pub(crate) async fn policy(change: &mut View, project: &str) -> Result<ApprovalPolicy, ControlError> {
    for key in [project, ANY_PROJECT] {
        if let Some(document) = change.find(Kind::Policy, key).await?
            && let Thing::Policy(ProjectPolicy { approval, .. }) = stored(Kind::Policy, &document)?.thing
        {
            return Ok(approval);
        }
    }
    Ok(ApprovalPolicy::default())
}

/// Under what somebody acts on an experiment as it stands.
#[derive(Debug, Clone)]
pub struct Standing {
    policy: ApprovalPolicy,
    groups: String,
    is_approver: bool,
}

impl Standing {
    pub(crate) async fn of(
        view: &mut View,
        actor: &Actor,
        record: &ExperimentRecord,
        around: &Surroundings,
    ) -> Result<Self, ControlError> {
        Ok(Self {
            policy: policy(view, &record.project).await?,
            groups: around.groups_of(&record.course.assignment)?,
            is_approver: actor.require(Permission::ApproveExperiment, Some(&record.project)).is_ok(),
        })
    }

    /// The same for the state machine, at a moment.
    pub fn by<'a>(&'a self, actor: &'a Actor, now: DateTime<Utc>) -> By<'a> {
        let Self { policy, groups, is_approver } = self;
        By { person: &actor.person, at: now, policy: *policy, is_approver: *is_approver, groups }
    }
}

/// What an experiment decides, and where it takes its units from, may belong to other people.
///
/// Errors: `OtherProject`: its flag or one of its layers is another project's.
pub(crate) async fn check_reach(
    change: &mut View,
    actor: &Actor,
    record: &ExperimentRecord,
) -> Result<(), ControlError> {
    let assignment = &record.course.assignment;
    let layers = assignment.slots.iter().map(|slot| (Kind::Layer, slot.layer.as_str(), Permission::EditLayer));
    for (kind, key, permission) in layers.chain([(Kind::Flag, assignment.feature(), Permission::EditFlag)]) {
        let Some(document) = change.find(kind, key).await? else { continue };
        if let Some(project) = stored(kind, &document)?.project {
            actor.require(permission, Some(&project))?;
        }
    }
    Ok(())
}

/// The project says which policy a launch is under: it is chosen in a draft. Errors: `Invalid`.
pub(crate) fn check_move(before: &ExperimentRecord, after: &ExperimentRecord) -> Result<(), ControlError> {
    if before.project == after.project || before.course.state == State::Draft {
        return Ok(());
    }
    let problem = format!("it can be moved as a draft only, and is {}", before.course.state.name());
    Err(ControlError::Invalid { field: "about.project", value: after.project.clone(), problem })
}

/// Who may do a verb.
fn permission(verb: Verb) -> Permission {
    match verb {
        Verb::Approve | Verb::Reject => Permission::ApproveExperiment,
        Verb::Decide => Permission::DecideExperiment,
        Verb::Submit
        | Verb::Start
        | Verb::Ramp
        | Verb::Pause
        | Verb::Resume
        | Verb::Stop
        | Verb::Reopen
        | Verb::Archive => Permission::RunExperiment,
    }
}

impl Control {
    /// Experiments of the actor's projects, in the order in which they were made.
    pub async fn experiments(
        &self,
        actor: &Actor,
        filter: &ExperimentFilter,
    ) -> Result<Vec<ExperimentRecord>, ControlError> {
        actor.require(Permission::Read, filter.project.as_deref())?;
        let mut found = records(&self.store.list(Kind::Experiment).await?)?;
        found.retain(|record| actor.projects.hold(&record.project) && filter.takes(record));
        Ok(found)
    }

    /// One experiment. Errors: `NotFound`, also for one of another project.
    pub async fn experiment(&self, actor: &Actor, key: &str) -> Result<ExperimentRecord, ControlError> {
        actor.require(Permission::Read, None)?;
        let absent = || ControlError::NotFound { kind: Kind::Experiment.name(), key: key.to_owned() };
        let document = self.store.find(Kind::Experiment, key).await?.ok_or_else(absent)?;
        let record = ExperimentRecord::of(&document)?;
        if actor.projects.hold(&record.project) { Ok(record) } else { Err(absent()) }
    }

    /// Makes a draft. It may lack arms and metrics; what is there must be right.
    ///
    /// Errors: `Exists`; `Invalid`, `Lifecycle`, `Program`: a wrong key, weight, audience or pattern, with the reason.
    pub async fn create_experiment(
        &self,
        actor: &Actor,
        file: ExperimentFile,
        now: DateTime<Utc>,
    ) -> Result<ExperimentRecord, ControlError> {
        actor.require(Permission::EditExperiment, Some(&project_of(&file)))?;
        let mut record = ExperimentRecord::draft(actor, file, None, now)?;
        let mut change = self.store.begin().await?;
        if change.find(Kind::Experiment, &record.key).await?.is_some() {
            return Err(ControlError::Exists { kind: Kind::Experiment.name(), key: record.key });
        }
        check_reach(&mut change, actor, &record).await?;
        record.save(&mut change, actor, now, ("create", ""), None).await?;
        let around = Surroundings::load(&mut change).await?;
        around.check_audience(&record.course.assignment)?;
        around.check(now)?;
        change.commit().await?;
        Ok(record)
    }

    /// Changes what people write of an experiment: a draft anywhere, a running one where nothing that counts moves. A change in review goes
    /// back to draft and voids the approval. Saying what is there already changes nothing.
    ///
    /// Errors: `Stale`; `ManagedByCode`; `Lifecycle` names the field that may not change.
    pub async fn edit_experiment(
        &self,
        actor: &Actor,
        key: &str,
        seen: u64,
        file: ExperimentFile,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<ExperimentRecord, ControlError> {
        check_file(&file)?;
        let mut change = self.store.begin().await?;
        let found = change.find(Kind::Experiment, key).await?;
        check_seen(Kind::Experiment, key, found.as_ref(), seen)?;
        let before = ExperimentRecord::find(&mut change, key).await?;
        actor.require(Permission::AddExploratoryMetric, Some(&before.project))?;
        if let Some(origin) = &before.origin {
            return Err(ControlError::ManagedByCode { key: key.to_owned(), path: origin.path.clone() });
        }
        let around = Surroundings::load(&mut change).await?;
        let standing = Standing::of(&mut change, actor, &before, &around).await?;
        let edit = before.course.edit(file, standing.by(actor, now))?;
        if edit.fields.is_empty() {
            return Ok(before);
        }
        let is_exploratory = edit.fields.iter().all(|field| field.rule == Rule::Exploratory);
        let needed = if is_exploratory { Permission::AddExploratoryMetric } else { Permission::EditExperiment };
        let mut after = before.with(edit.course, now);
        for project in [&before.project, &after.project] {
            actor.require(needed, Some(project))?;
        }
        check_move(&before, &after)?;
        if needed == Permission::EditExperiment {
            check_reach(&mut change, actor, &after).await?;
        }
        after.save(&mut change, actor, now, ("edit", reason), Some(&before)).await?;
        let around = Surroundings::load(&mut change).await?;
        around.check_audience(&after.course.assignment)?;
        around.check(now)?;
        change.commit().await?;
        Ok(after)
    }

    /// Removes a draft that never started. Errors: `Stale`; `InUse`: it has a history, and can only be archived.
    pub async fn delete_experiment(
        &self,
        actor: &Actor,
        key: &str,
        seen: u64,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), ControlError> {
        let mut change = self.store.begin().await?;
        let found = change.find(Kind::Experiment, key).await?;
        check_seen(Kind::Experiment, key, found.as_ref(), seen)?;
        let record = ExperimentRecord::find(&mut change, key).await?;
        let is_own = record.course.author == actor.person;
        let permission = if is_own { Permission::DeleteOwnExperiment } else { Permission::DeleteExperiment };
        actor.require(permission, Some(&record.project))?;
        if let Some(origin) = &record.origin {
            return Err(ControlError::ManagedByCode { key: key.to_owned(), path: origin.path.clone() });
        }
        record.delete(&mut change, actor, now, reason).await?;
        change.commit().await
    }

    /// Does a verb. `facts` are read by a start only; [`LaunchFacts::default`] does for all others. Power is known here: see `keep_power`.
    ///
    /// Errors: `Stale`; `GroupChanged`: an approval of a group that was changed since; `Lifecycle`: not in this state, not without an approval, not one's own; `NotReady`: blockers of a start;
    /// `StillServed`: an archive or a reopening would change what is served.
    pub async fn step(
        &self,
        actor: &Actor,
        key: &str,
        seen: u64,
        step: &Step,
        facts: &LaunchFacts,
        now: DateTime<Utc>,
    ) -> Result<ExperimentRecord, ControlError> {
        self.step_because(actor, key, seen, (step, step.reason()), facts, now).await
    }

    /// As [`Self::step`], with a reason of its own for the audit log.
    pub(crate) async fn step_because(
        &self,
        actor: &Actor,
        key: &str,
        seen: u64,
        (step, reason): (&Step, &str),
        facts: &LaunchFacts,
        now: DateTime<Utc>,
    ) -> Result<ExperimentRecord, ControlError> {
        let mut change = self.store.begin().await?;
        let found = change.find(Kind::Experiment, key).await?;
        check_seen(Kind::Experiment, key, found.as_ref(), seen)?;
        let before = ExperimentRecord::find(&mut change, key).await?;
        let verb = step.verb();
        actor.require(permission(verb), Some(&before.project))?;
        let around = Surroundings::load(&mut change).await?;
        let standing = Standing::of(&mut change, actor, &before, &around).await?;
        let course = before.course.step(step, standing.by(actor, now), &facts.metrics)?;
        if verb == Verb::Approve {
            around.check_groups_seen(&before, seen)?;
        }
        if matches!(verb, Verb::Start | Verb::Decide) {
            check_reach(&mut change, actor, &before).await?;
        }
        if verb == Verb::Start {
            let facts = with_power(&mut change, &before, facts).await?;
            let blockers = around.checklist(&before, &facts).blockers;
            if !blockers.is_empty() {
                return Err(ControlError::NotReady { key: key.to_owned(), blockers });
            }
        }
        if let Step::Archive { make_default, .. } | Step::Reopen { make_default, .. } = step {
            leave(&mut change, actor, &before, &around, *make_default, now).await?;
        }
        let mut after = before.with(course, now);
        after.save(&mut change, actor, now, (verb.name(), reason), Some(&before)).await?;
        Surroundings::load(&mut change).await?.check(now)?;
        change.commit().await?;
        Ok(after)
    }

    /// What a start still needs, and what it should know.
    pub async fn checklist(&self, actor: &Actor, key: &str, facts: &LaunchFacts) -> Result<Checklist, ControlError> {
        self.experiment(actor, key).await?;
        let mut view = self.store.view().await?;
        let record = ExperimentRecord::find(&mut view, key).await?;
        let facts = with_power(&mut view, &record, facts).await?;
        Ok(Surroundings::load(&mut view).await?.checklist(&record, &facts))
    }

    /// Under what somebody acts on an experiment as it stands.
    pub async fn standing(&self, actor: &Actor, record: &ExperimentRecord) -> Result<Standing, ControlError> {
        actor.require(Permission::Read, Some(&record.project))?;
        let mut view = self.store.view().await?;
        let around = Surroundings::load(&mut view).await?;
        Standing::of(&mut view, actor, record, &around).await
    }

    /// The policy under which an experiment of a project is launched.
    pub async fn approval_policy(&self, actor: &Actor, project: &str) -> Result<ApprovalPolicy, ControlError> {
        actor.require(Permission::Read, Some(project))?;
        policy(&mut self.store.view().await?, project).await
    }
}

/// A decided experiment stops serving its winner: refused while that is the only source of what is served, unless it becomes the default.
pub(crate) async fn leave(
    change: &mut Change,
    actor: &Actor,
    record: &ExperimentRecord,
    around: &Surroundings,
    make_default: bool,
    now: DateTime<Utc>,
) -> Result<(), ControlError> {
    let assignment = &record.course.assignment;
    let Some(winner) = assignment.winner.as_deref().and_then(|winner| assignment.variant(winner)) else {
        return Ok(());
    };
    let Some(control) = assignment.variants.first() else { return Ok(()) };
    let flag = around.flag(assignment.feature());
    if flag.is_some_and(|flag| flag.default == winner.value || flag.default != control.value) {
        return Ok(());
    }
    if !make_default {
        let (key, arm, flag) = (record.key.clone(), winner.key.clone(), assignment.feature().to_owned());
        return Err(ControlError::StillServed { key, arm, flag });
    }
    let key = assignment.feature();
    let before = change.find(Kind::Flag, key).await?.map(|document| stored(Kind::Flag, &document)).transpose()?;
    // A flag that is there is changed by those who may; a new one is the experiment's project's.
    let project = before.as_ref().map_or(Some(record.project.as_str()), |before| before.project.as_deref());
    require_of(actor, Permission::EditFlag, project)?;
    check_reach(change, actor, record).await?;
    let flag = Flag {
        key: key.to_owned(),
        value_type: flag.map_or_else(|| ValueType::of(&winner.value), |flag| flag.value_type),
        default: winner.value.clone(),
        description: flag.and_then(|flag| flag.description.clone()),
    };
    let project = before.as_ref().map_or_else(|| Some(record.project.clone()), |before| before.project.clone());
    let mut after = Stored { revision: 0, project, updated_at: now, thing: Thing::Flag(flag) };
    after.revision = change.write(Kind::Flag, key, &after).await?;
    let reason = format!("`{}` of experiment `{}` becomes the default", winner.key, record.key);
    let verb = if before.is_some() { "edit" } else { "create" };
    let project = after.project.clone().unwrap_or_default();
    let entry = Entry { verb, kind: Kind::Flag, key, project: &project, reason: &reason };
    audit(change, actor, now, entry, (before.as_ref(), Some(&after))).await?;
    Ok(())
}

/// The field that an error of the lifecycle is about.
pub(crate) fn field_of(error: &LifecycleError) -> String {
    match error {
        LifecycleError::Immutable { field, .. } | LifecycleError::Plan { field, .. } => field.clone(),
        LifecycleError::SetByVerb { field, .. } => (*field).to_owned(),
        LifecycleError::CoverageShrinks { .. } | LifecycleError::NeedsApproval { .. } => {
            "assignment.coverage".to_owned()
        }
        LifecycleError::Assignment(_) | LifecycleError::Hash(_) => "assignment".to_owned(),
        LifecycleError::OtherPlan { .. } => "analysis".to_owned(),
        LifecycleError::NotNow { .. } | LifecycleError::OwnApproval { .. } | LifecycleError::NoReason { .. } => {
            "state".to_owned()
        }
        LifecycleError::WrongArm { .. } | LifecycleError::ServingNeedsApproval { .. } => "assignment.winner".to_owned(),
    }
}
