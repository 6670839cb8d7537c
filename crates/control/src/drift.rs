//! Experiments as files: what differs from the store, and making the store say the same.
//!
//! In: the experiments' files of a project, parsed.  Out: a [`DriftPlan`]; applied, an [`ApplyReport`].
//! Never here: reading files; states (a file says what an experiment is, verbs say where it stands).
//! Start at [`Control::plan`].

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use experiment::lifecycle::{LifecycleError, State, Step, changes, normalised};
use experiment::plan::ExperimentFile;
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::error::ControlError;
use crate::experiments::{
    ExperimentRecord, ManagedBy, Origin, Standing, check_file, check_move, check_reach, field_of, leave, project_of,
};
use crate::people::{Actor, Permission};
use crate::store::{Change, View, snapshot};
use crate::surroundings::Surroundings;
use crate::things::Kind;

/// One experiment's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExperimentSource {
    /// Inside the project, such as `experiments/checkout.toml`.
    pub path: String,
    pub file: ExperimentFile,
}

/// What has to become of one experiment so that the store says what the files say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum DriftChange {
    Unchanged,
    /// A new draft.
    Create,
    /// Fields that may change as it stands.
    Update {
        fields: Vec<String>,
    },
    /// Fields that units have seen: only a new phase can change them, with results from zero.
    NewPhase {
        fields: Vec<String>,
    },
    /// A draft without a file.
    Delete,
    /// Cannot be done; what the field is and why not.
    Blocked {
        field: String,
        reason: String,
    },
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Drift {
    pub key: String,
    /// `null` where there is no file.
    pub path: Option<String>,
    /// `null` where there is no record.
    pub state: Option<State>,
    #[serde(flatten)]
    pub change: DriftChange,
}

/// What [`Control::apply`] would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DriftPlan {
    /// The number of the store's newest change when it was made.
    pub store: u64,
    /// By key.
    pub drifts: Vec<Drift>,
    pub sources: Vec<ExperimentSource>,
}

impl DriftPlan {
    /// Whether the store says what the files say.
    pub fn is_empty(&self) -> bool {
        self.drifts.iter().all(|drift| drift.change == DriftChange::Unchanged)
    }
}

/// What may be done that somebody has to want.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApplyOptions {
    /// Begin new phases where the files need them: running experiments end and become drafts.
    pub new_phases: bool,
    /// Do everything else when something is blocked.
    pub skip_blocked: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ApplyReport {
    /// Records that were made or changed, by key.
    pub written: Vec<ExperimentRecord>,
    pub deleted: Vec<String>,
    /// Lines of the plan that were left, see [`ApplyOptions::skip_blocked`].
    pub skipped: Vec<Drift>,
}

fn hash(source: &ExperimentSource) -> Result<String, ControlError> {
    let value = snapshot(Kind::Experiment, &source.file.assignment.key, &source.file)?;
    Ok(domain::hash_bytes(value.to_string().as_bytes()))
}

/// The file with what only verbs set, as it stands in the store. A file may ask for a later phase, never for an earlier one.
fn with_verbs(file: &ExperimentFile, record: &ExperimentRecord) -> ExperimentFile {
    let mut file = file.clone();
    let stands = &record.course.assignment;
    file.assignment.phase = stands.phase;
    file.assignment.winner.clone_from(&stands.winner);
    file.assignment.paused = stands.paused;
    // A file with a ramp says where it began; it has come further by itself since.
    if !file.schedule.ramp.is_empty() && matches!(record.course.state, State::Running | State::Paused) {
        file.assignment.coverage = file.assignment.coverage.max(stands.coverage);
    }
    // Nothing said is said of the default: a record keeps its project and its owner.
    file
}

fn blocked(field: impl Into<String>, reason: impl Into<String>) -> DriftChange {
    DriftChange::Blocked { field: field.into(), reason: reason.into() }
}

fn of_error(error: &ControlError) -> DriftChange {
    let field = match error {
        ControlError::Lifecycle(error) => field_of(error),
        ControlError::Invalid { field, .. } => (*field).to_owned(),
        ControlError::OtherProject { .. } | ControlError::NotEverywhere { .. } | ControlError::Forbidden { .. } => {
            "about.project".to_owned()
        }
        ControlError::Program(_) => "assignment.audience".to_owned(),
        ControlError::Unreadable { .. }
        | ControlError::Analysis { .. }
        | ControlError::NotFound { .. }
        | ControlError::Exists { .. }
        | ControlError::Stale { .. }
        | ControlError::GroupChanged { .. }
        | ControlError::StalePlan { .. }
        | ControlError::Busy { .. }
        | ControlError::Unauthenticated
        | ControlError::NotReady { .. }
        | ControlError::InUse { .. }
        | ControlError::StillServed { .. }
        | ControlError::ManagedByCode { .. }
        | ControlError::Blocked { .. }
        | ControlError::NewerSchema { .. }
        | ControlError::Store(_)
        | ControlError::Io { .. }
        | ControlError::Document { .. }
        | ControlError::Random(_) => "assignment".to_owned(),
    };
    blocked(field, error.to_string())
}

/// What has to be done for one file.
async fn compare(
    view: &mut View,
    actor: &Actor,
    source: &ExperimentSource,
    around: &Surroundings,
    now: DateTime<Utc>,
) -> Result<DriftChange, ControlError> {
    let checked = check_file(&source.file)
        .and_then(|()| actor.require(Permission::EditExperiment, Some(&project_of(&source.file))))
        .and_then(|()| around.check_audience(&source.file.assignment));
    if let Err(error) = checked {
        return Ok(of_error(&error));
    }
    let Some(record) = around.records.iter().find(|record| record.key == source.file.assignment.key) else {
        let origin = Origin { path: source.path.clone(), hash: hash(source)? };
        let draft = ExperimentRecord::draft(actor, source.file.clone(), Some(origin), now);
        return Ok(draft.map_or_else(|error| of_error(&error), |_| DriftChange::Create));
    };
    if record.managed_by == ManagedBy::Ui {
        return Ok(blocked("managed_by", "it was made in the console; give the file another key"));
    }
    if record.origin.as_ref().map(|origin| &origin.hash) == Some(&hash(source)?) {
        // What differs, verbs did: a ramp, a decision.
        return Ok(DriftChange::Unchanged);
    }
    if let Err(error) = actor.require(Permission::EditExperiment, Some(&record.project)) {
        return Ok(of_error(&error));
    }
    let standing = Standing::of(view, actor, record, around).await?;
    let file = match normalised(with_verbs(&source.file, record)) {
        Ok(file) => file,
        Err(error) => return Ok(of_error(&error.into())),
    };
    let is_later = source.file.assignment.phase > record.course.assignment.phase;
    let by = standing.by(actor, now);
    let has_phases = matches!(record.course.state, State::Running | State::Paused | State::Decided);
    let paths = || changes(&record.course.file(), &file).into_iter().map(|field| field.path).collect::<Vec<_>>();
    if is_later && has_phases {
        let fields = std::iter::once("assignment.phase".to_owned()).chain(paths()).collect();
        return Ok(DriftChange::NewPhase { fields });
    }
    Ok(match record.course.edit(file.clone(), by) {
        Ok(edit) if edit.fields.is_empty() => DriftChange::Update { fields: Vec::new() },
        Ok(edit) => DriftChange::Update { fields: edit.fields.into_iter().map(|field| field.path).collect() },
        Err(LifecycleError::Immutable { .. }) if has_phases => DriftChange::NewPhase { fields: paths() },
        Err(error) => of_error(&error.into()),
    })
}

/// What has to be done for a record without a file.
fn orphan(record: &ExperimentRecord) -> DriftChange {
    match record.course.state {
        State::Draft if record.course.earlier.is_empty() => DriftChange::Delete,
        State::Archived => DriftChange::Unchanged,
        State::Draft | State::Review | State::Running | State::Paused | State::Decided => {
            blocked("state", format!("its file is gone while it is {}; archive it first", record.course.state.name()))
        }
    }
}

async fn drifts(
    view: &mut View,
    actor: &Actor,
    sources: &[ExperimentSource],
    now: DateTime<Utc>,
) -> Result<Vec<Drift>, ControlError> {
    let around = Surroundings::load(view).await?;
    let mut drifts = Vec::new();
    let mut keys = BTreeSet::new();
    for source in sources {
        let key = &source.file.assignment.key;
        let drift = if keys.insert(key) {
            compare(view, actor, source, &around, now).await?
        } else {
            blocked("assignment.key", "another file has the same key; give each experiment its own")
        };
        let state = around.records.iter().find(|record| record.key == *key).map(|record| record.course.state);
        drifts.push(Drift { key: key.clone(), path: Some(source.path.clone()), state, change: drift });
    }
    let orphans = around.records.iter().filter(|record| {
        record.managed_by == ManagedBy::Code && !keys.contains(&record.key) && actor.projects.hold(&record.project)
    });
    drifts.extend(orphans.map(|record| Drift {
        key: record.key.clone(),
        path: None,
        state: Some(record.course.state),
        change: orphan(record),
    }));
    drifts.sort_by(|one, other| (&one.key, &one.path).cmp(&(&other.key, &other.path)));
    Ok(drifts)
}

impl Control {
    /// What differs between files and store. Changes nothing.
    pub async fn plan(
        &self,
        actor: &Actor,
        sources: Vec<ExperimentSource>,
        now: DateTime<Utc>,
    ) -> Result<DriftPlan, ControlError> {
        actor.require(Permission::Read, None)?;
        let mut view = self.store.view().await?;
        let drifts = drifts(&mut view, actor, &sources, now).await?;
        Ok(DriftPlan { store: view.newest, drifts, sources })
    }

    /// Makes the store say what the files of a plan say: all of it or nothing.
    ///
    /// Errors: `StalePlan`: the store has changed since; `Blocked`, unless the options let it pass.
    pub async fn apply(
        &self,
        actor: &Actor,
        plan: &DriftPlan,
        options: ApplyOptions,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<ApplyReport, ControlError> {
        actor.require(Permission::EditExperiment, None)?;
        let mut change = self.store.begin().await?;
        if change.newest != plan.store {
            return Err(ControlError::StalePlan { planned: plan.store, current: change.newest });
        }
        let mut report = ApplyReport { written: Vec::new(), deleted: Vec::new(), skipped: Vec::new() };
        // Planned again: a plan comes from outside, and what it may do is decided here.
        for drift in drifts(&mut change, actor, &plan.sources, now).await? {
            let problem = match &drift.change {
                DriftChange::Blocked { field, reason } => Some((field.clone(), reason.clone())),
                DriftChange::NewPhase { fields } if !options.new_phases => Some((
                    fields.join("`, `"),
                    "only a new phase can change it, with results from zero; allow new phases".to_owned(),
                )),
                DriftChange::NewPhase { .. }
                | DriftChange::Unchanged
                | DriftChange::Create
                | DriftChange::Update { .. }
                | DriftChange::Delete => None,
            };
            match problem {
                Some(_) if options.skip_blocked => report.skipped.push(drift),
                Some((field, reason)) => return Err(ControlError::Blocked { key: drift.key, field, reason }),
                None => apply_one(&mut change, actor, (&drift, plan), &mut report, (reason, now)).await?,
            }
        }
        if !(report.written.is_empty() && report.deleted.is_empty()) {
            Surroundings::load(&mut change).await?.check(now)?;
            change.commit().await?;
        }
        Ok(report)
    }
}

async fn apply_one(
    change: &mut Change,
    actor: &Actor,
    (drift, plan): (&Drift, &DriftPlan),
    report: &mut ApplyReport,
    (reason, now): (&str, DateTime<Utc>),
) -> Result<(), ControlError> {
    let source = plan.sources.iter().find(|source| source.file.assignment.key == drift.key);
    let (is_new, is_new_phase) = match &drift.change {
        DriftChange::Unchanged | DriftChange::Blocked { .. } => return Ok(()),
        DriftChange::Delete => {
            let record = ExperimentRecord::find(change, &drift.key).await?;
            let is_own = record.course.author == actor.person;
            let permission = if is_own { Permission::DeleteOwnExperiment } else { Permission::DeleteExperiment };
            actor.require(permission, Some(&record.project))?;
            record.delete(change, actor, now, reason).await?;
            report.deleted.push(drift.key.clone());
            return Ok(());
        }
        DriftChange::Create => (true, false),
        DriftChange::Update { .. } => (false, false),
        DriftChange::NewPhase { .. } => (false, true),
    };
    let Some(source) = source else { return Ok(()) };
    let origin = Origin { path: source.path.clone(), hash: hash(source)? };
    if is_new {
        let mut record = ExperimentRecord::draft(actor, source.file.clone(), Some(origin), now)?;
        check_reach(change, actor, &record).await?;
        record.save(change, actor, now, ("create", reason), None).await?;
        report.written.push(record);
        return Ok(());
    }
    let before = ExperimentRecord::find(change, &drift.key).await?;
    let around = Surroundings::load(change).await?;
    let standing = Standing::of(change, actor, &before, &around).await?;
    let by = standing.by(actor, now);
    let mut middle = before.clone();
    if is_new_phase {
        leave(change, actor, &before, &around, false, now).await?;
        let step = Step::Reopen { reason: reason.to_owned(), make_default: false };
        middle = before.with(before.course.step(&step, by, &std::collections::BTreeMap::new())?, now);
        // A file may skip numbers: several projects may share them.
        middle.course.assignment.phase = middle.course.assignment.phase.max(source.file.assignment.phase);
        middle.save(change, actor, now, ("reopen", reason), Some(&before)).await?;
    }
    let edit = middle.course.edit(with_verbs(&source.file, &middle), by)?;
    let mut after = ExperimentRecord { origin: Some(origin), ..middle.with(edit.course, now) };
    actor.require(Permission::EditExperiment, Some(&after.project))?;
    check_move(&before, &after)?;
    check_reach(change, actor, &after).await?;
    after.save(change, actor, now, ("edit", reason), Some(&middle)).await?;
    report.written.push(after);
    Ok(())
}
