//! One experiment from its draft to its archive: what verbs and edits make of it.
//!
//! In: a [`Course`], a [`Step`] or a file, and who does it when.  Out: the next [`Course`].
//! Never here: the store, roles, other experiments.
//! Start at [`Course::step`] and [`Course::edit`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::approval::{Approval, ApprovalPolicy, traffic_share};
use super::clock::{Span, days_assigned};
use super::fields::{Field, Rule, changes};
use super::step::Step;
use super::{LifecycleError, State, Verb};
use crate::decision::{Code, Verdict};
use crate::definition::Experiment;
use crate::metric::MetricFile;
use crate::plan::{About, AnalysisPlan, ExperimentFile};
use crate::schedule::Schedule;

/// An experiment with everything that happened to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Course {
    pub state: State,
    pub about: About,
    /// Weights are shares that sum to 1.
    pub assignment: Experiment,
    pub analysis: AnalysisPlan,
    /// What may happen to it by itself.
    #[serde(default, skip_serializing_if = "Schedule::is_default")]
    pub schedule: Schedule,
    /// When its coverage was last raised since this phase started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_at: Option<DateTime<Utc>>,
    /// Names of secondary metrics that were added after the start: marked in results, never part of a verdict.
    pub post_hoc: Vec<String>,
    /// Who made it.
    pub author: String,
    /// Who last changed what an approval is bound to.
    pub edited_by: String,
    /// Everybody who changed some of it, beside words, since it was made or since the last approval: each wrote a part of what is approved next.
    #[serde(default)]
    pub editors: Vec<String>,
    pub approval: Option<Approval>,
    /// What was proposed when it was stopped.
    pub proposal: Option<Proposal>,
    pub decision: Option<Decision>,
    /// When units were assigned, in this phase.
    pub spans: Vec<Span>,
    /// Of what was planned, fixed at the start: see [`Course::plan_hash`].
    pub plan_hash: Option<String>,
    /// Phases that are over, oldest first.
    pub earlier: Vec<Phase>,
}

/// A verdict that somebody, or a rule, proposes when an experiment is stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Proposal {
    pub verdict: Verdict,
    /// The arm to serve, where the verdict has one.
    #[serde(default)]
    pub arm: Option<String>,
}

/// What was decided, and on what ground.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Decision {
    /// What the rules proposed.
    pub proposed: Option<Verdict>,
    /// What was chosen: `ship`, `roll_back` or `no_difference`.
    pub chosen: Code,
    /// The arm that is served.
    pub arm: String,
    pub reason: String,
    /// The results as they stood, as JSON.
    pub results: serde_json::Value,
    pub plan_hash: Option<String>,
    pub by: String,
    pub at: DateTime<Utc>,
}

/// A phase that is over, kept readable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Phase {
    pub assignment: Experiment,
    pub analysis: AnalysisPlan,
    pub post_hoc: Vec<String>,
    pub approval: Option<Approval>,
    pub proposal: Option<Proposal>,
    pub decision: Option<Decision>,
    pub spans: Vec<Span>,
    pub plan_hash: Option<String>,
}

/// Who does it, when, and under which policy.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub person: &'a str,
    pub at: DateTime<Utc>,
    pub policy: ApprovalPolicy,
    /// Whether this person may approve experiments of others in this project.
    pub is_approver: bool,
    /// A hash of what the saved groups hold that the audience names; empty where it names none.
    pub groups: &'a str,
}

/// What an edit made of a course.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    pub course: Course,
    /// What differs; nothing when the file says what is there.
    pub fields: Vec<Field>,
}

impl Course {
    /// A draft. Weights become shares. Errors: what is wrong on its own; a draft may lack arms and metrics.
    pub fn draft(file: ExperimentFile, by: By<'_>) -> Result<Self, LifecycleError> {
        for (is_set, field, verb) in [
            (file.assignment.winner.is_some(), "assignment.winner", "decide"),
            (file.assignment.paused, "assignment.paused", "pause"),
        ] {
            if is_set {
                return Err(LifecycleError::SetByVerb { key: file.assignment.key, field, verb });
            }
        }
        let file = normalised(file)?;
        Ok(Self {
            state: State::Draft,
            about: file.about,
            assignment: file.assignment,
            analysis: file.analysis,
            schedule: file.schedule,
            raised_at: None,
            post_hoc: Vec::new(),
            author: by.person.to_owned(),
            edited_by: by.person.to_owned(),
            editors: vec![by.person.to_owned()],
            approval: None,
            proposal: None,
            decision: None,
            spans: Vec::new(),
            plan_hash: None,
            earlier: Vec::new(),
        })
    }

    /// What people write of it, as in its file.
    pub fn file(&self) -> ExperimentFile {
        ExperimentFile {
            about: self.about.clone(),
            assignment: self.assignment.clone(),
            analysis: self.analysis.clone(),
            schedule: self.schedule.clone(),
        }
    }

    /// From when on exposures count: in a later phase, those of the one before do not.
    pub fn counts_from(&self) -> DateTime<Utc> {
        let started = self.started_at().filter(|_| !self.earlier.is_empty());
        started.unwrap_or(self.analysis.start)
    }

    /// The experiment's key.
    pub fn key(&self) -> &str {
        &self.assignment.key
    }

    /// The share of all units, 0.0–1.0, that takes part.
    pub fn traffic_share(&self) -> f64 {
        traffic_share(&self.assignment, self.assignment.coverage)
    }

    /// Since when this phase's exposures count: its first start, but not before the planned one.
    pub fn started_at(&self) -> Option<DateTime<Utc>> {
        self.spans.first().map(|span| span.from.max(self.analysis.start))
    }

    /// Days in which units were assigned and counted, in this phase, as verdicts have them: see [`days_assigned`].
    pub fn days_running(&self, now: DateTime<Utc>) -> f64 {
        days_assigned(&self.spans, self.analysis.start, now)
    }

    /// What an approval is bound to, beside saved groups: everything that an edit may change in a draft only. Words, the schedule, the
    /// allow-list and the coverage (see [`Approval::up_to`]) are apart.
    pub fn approval_hash(&self) -> Result<String, LifecycleError> {
        plan_hash(&self.file(), &self.post_hoc, &BTreeMap::new())
    }

    /// See [`plan_hash`].
    pub fn plan_hash(&self, metrics: &BTreeMap<String, MetricFile>) -> Result<String, LifecycleError> {
        plan_hash(&self.file(), &self.post_hoc, metrics)
    }

    /// Whether somebody else has agreed to this content and so much traffic.
    pub(super) fn is_approved(&self, share: f64, by: By<'_>) -> Result<bool, LifecycleError> {
        let hash = self.approval_hash()?;
        Ok(self.approval.as_ref().is_some_and(|approval| approval.covers(&hash, by.groups, share)))
    }

    fn needs_approval(&self, coverage: f64, by: By<'_>) -> Result<(), LifecycleError> {
        let share = traffic_share(&self.assignment, coverage);
        if by.policy.asks(share) && !self.is_approved(share, by)? {
            return Err(LifecycleError::NeedsApproval { key: self.key().to_owned(), share });
        }
        Ok(())
    }

    /// The course after a verb. `metrics` are what the planned metrics mean; only a start reads them.
    pub fn step(
        &self,
        step: &Step,
        by: By<'_>,
        metrics: &BTreeMap<String, MetricFile>,
    ) -> Result<Self, LifecycleError> {
        let verb = step.verb();
        let state = self.state.after(verb).ok_or_else(|| self.not_now(verb))?;
        let mut next = Self { state, ..self.clone() };
        match step {
            Step::Submit => {
                self.assignment.check()?;
                self.check_plan()?;
            }
            Step::Approve { up_to } => {
                next.approval = Some(self.approve(*up_to, by)?);
                next.editors.clear();
            }
            Step::Reject { reason } => {
                self.needs_reason(reason, "reject", "the author has to know what to change")?;
                next.editors = self.all_editors();
                next.approval = None;
            }
            Step::Start => {
                self.needs_approval(self.planned_coverage(), by)?;
                next.plan_hash = Some(self.plan_hash(metrics)?);
                next.spans.push(Span { from: by.at, to: None });
            }
            Step::Ramp { coverage } => {
                self.check_ramp(*coverage, by)?;
                next.assignment.coverage = *coverage;
                next.note_raise(self.assignment.coverage, by.at);
            }
            Step::Pause { .. } => next.end_span(by.at),
            Step::Resume => {
                next.proposal = None;
                next.spans.push(Span { from: by.at, to: None });
            }
            Step::Stop { proposal, .. } => {
                if let Some(arm) = proposal.as_ref().and_then(|proposal| proposal.arm.as_deref()) {
                    self.check_arm(arm, None)?;
                }
                next.end_span(by.at);
                next.proposal.clone_from(proposal);
            }
            Step::Decide { .. } => next.decide(step, by)?,
            Step::Reopen { .. } => next.reopen(by)?,
            Step::Archive { .. } => {}
        }
        Ok(next)
    }

    fn not_now(&self, verb: Verb) -> LifecycleError {
        let possible: Vec<String> = Verb::ALL
            .into_iter()
            .filter(|verb| self.state.after(*verb).is_some())
            .map(|verb| format!("`{}`", verb.name()))
            .collect();
        let possible = if possible.is_empty() { "nothing, make a new one".to_owned() } else { possible.join(", ") };
        LifecycleError::NotNow { key: self.key().to_owned(), state: self.state, verb, possible }
    }

    fn needs_reason(&self, reason: &str, verb: &'static str, why: &'static str) -> Result<(), LifecycleError> {
        if reason.trim().is_empty() {
            return Err(LifecycleError::NoReason { key: self.key().to_owned(), verb, why });
        }
        Ok(())
    }

    fn approve(&self, up_to: Option<f64>, by: By<'_>) -> Result<Approval, LifecycleError> {
        let wrote = |person: &String| person == by.person;
        if wrote(&self.author) || wrote(&self.edited_by) || self.all_editors().iter().any(wrote) {
            return Err(LifecycleError::OwnApproval { key: self.key().to_owned(), person: by.person.to_owned() });
        }
        let least = self.traffic_share();
        let up_to = up_to.unwrap_or_else(|| traffic_share(&self.assignment, self.planned_coverage()));
        if !up_to.is_finite() || !(0.0..=1.0).contains(&up_to) {
            return Err(self.plan_error("up_to", format!("`{up_to}` is no share; write one from {least} to 1.0")));
        }
        Ok(Approval {
            by: by.person.to_owned(),
            at: by.at,
            hash: self.approval_hash()?,
            groups: by.groups.to_owned(),
            editors: self.all_editors(),
            up_to: up_to.max(least),
        })
    }

    fn check_ramp(&self, coverage: f64, by: By<'_>) -> Result<(), LifecycleError> {
        let from = self.assignment.coverage;
        if !(0.0..=1.0).contains(&coverage) {
            return Err(self
                .plan_error("assignment.coverage", format!("`{coverage}` is no share; write one from {from} to 1.0")));
        }
        if coverage < from {
            return Err(LifecycleError::CoverageShrinks { key: self.key().to_owned(), from, to: coverage });
        }
        if coverage > from {
            self.needs_approval(coverage, by)?;
        }
        Ok(())
    }

    fn check_arm(&self, arm: &str, chosen: Option<Code>) -> Result<(), LifecycleError> {
        let place = self.assignment.variants.iter().position(|variant| variant.key == arm);
        let next = match (place, chosen) {
            (None, _) => "name one of its variants",
            (Some(0), Some(Code::Ship)) => "ship a treatment, or choose `roll_back` or `no_difference`",
            (Some(1..), Some(Code::RollBack)) => "rolling back serves the control, the first variant",
            (Some(_), Some(Code::FixFirst | Code::KeepRunning)) => {
                "a decision is `ship`, `roll_back` or `no_difference`"
            }
            (Some(_), None | Some(Code::Ship | Code::RollBack | Code::NoDifference)) => return Ok(()),
        };
        let verdict = chosen.map_or("proposed", |code| match code {
            Code::FixFirst => "fix_first",
            Code::RollBack => "roll_back",
            Code::Ship => "ship",
            Code::NoDifference => "no_difference",
            Code::KeepRunning => "keep_running",
        });
        let (key, arm, verdict) = (self.key().to_owned(), arm.to_owned(), verdict.to_owned());
        Err(LifecycleError::WrongArm { key, arm, verdict, next })
    }

    fn decide(&mut self, step: &Step, by: By<'_>) -> Result<(), LifecycleError> {
        let Step::Decide { chosen, arm, reason, proposed, results, plan_hash } = step else { return Ok(()) };
        self.check_arm(arm, Some(*chosen))?;
        if !results.is_null() && *plan_hash != self.plan_hash {
            let show = |hash: &Option<String>| hash.clone().unwrap_or_else(|| "unknown".to_owned());
            let (stands, found) = (show(&self.plan_hash), show(plan_hash));
            return Err(LifecycleError::OtherPlan { key: self.key().to_owned(), stands, found });
        }
        self.may_serve(arm, by)?;
        if proposed.as_ref().is_none_or(|verdict| verdict.code != *chosen) {
            self.needs_reason(reason, "decide", "it is not what the rules proposed")?;
        }
        self.end_span(by.at);
        self.assignment.winner = Some(arm.clone());
        self.decision = Some(Decision {
            proposed: proposed.clone(),
            chosen: *chosen,
            arm: arm.clone(),
            reason: reason.clone(),
            results: results.clone(),
            plan_hash: self.plan_hash.clone(),
            by: by.person.to_owned(),
            at: by.at,
        });
        Ok(())
    }

    /// Everybody in the audience gets the arm. Control is what they have already; of anything else somebody who may approve has to know.
    fn may_serve(&self, arm: &str, by: By<'_>) -> Result<(), LifecycleError> {
        let is_control = self.assignment.variants.first().is_some_and(|control| control.key == arm);
        if is_control || by.is_approver || !by.policy.asks(1.0) {
            return Ok(());
        }
        // Whoever agreed to all units has agreed to this: it leaves its slots, so that more than those of a ramp get it.
        let is_second = self.approval.as_ref().is_some_and(|approval| approval.by != by.person);
        if is_second && self.is_approved(1.0, by)? {
            return Ok(());
        }
        Err(LifecycleError::ServingNeedsApproval { key: self.key().to_owned(), arm: arm.to_owned() })
    }

    fn end_span(&mut self, at: DateTime<Utc>) {
        if let Some(span) = self.spans.last_mut().filter(|span| span.to.is_none()) {
            span.to = Some(at.max(span.from));
        }
    }

    /// A new phase: another seed, another version of the buckets, nothing of the old one but its record. Moments of its start and ramp are past, and
    /// would start and raise the new one at once.
    fn reopen(&mut self, by: By<'_>) -> Result<(), LifecycleError> {
        self.end_span(by.at);
        self.editors = self.editors_with(by)?;
        self.earlier.push(Phase {
            assignment: self.assignment.clone(),
            analysis: self.analysis.clone(),
            post_hoc: std::mem::take(&mut self.post_hoc),
            approval: self.approval.take(),
            proposal: self.proposal.take(),
            decision: self.decision.take(),
            spans: std::mem::take(&mut self.spans),
            plan_hash: self.plan_hash.take(),
        });
        self.raised_at = None;
        self.schedule.start = None;
        self.schedule.ramp.clear();
        self.assignment.winner = None;
        self.assignment.phase = self.assignment.phase.saturating_add(1);
        by.person.clone_into(&mut self.edited_by);
        Ok(())
    }

    /// Who wrote a part of it, what was approved included.
    fn all_editors(&self) -> Vec<String> {
        let mut editors = self.approval.as_ref().map(|approval| approval.editors.clone()).unwrap_or_default();
        editors.extend(self.editors.iter().filter(|editor| !editors.contains(editor)).cloned().collect::<Vec<_>>());
        editors
    }

    /// Who will have written a part of what is approved next, after a change. What was approved before it, others have read.
    fn editors_with(&self, by: By<'_>) -> Result<Vec<String>, LifecycleError> {
        let mut editors = if self.is_approved(0.0, by)? { self.editors.clone() } else { self.all_editors() };
        if !editors.iter().any(|editor| editor == by.person) {
            editors.push(by.person.to_owned());
        }
        Ok(editors)
    }

    fn plan_error(&self, field: &str, problem: String) -> LifecycleError {
        LifecycleError::Plan { key: self.key().to_owned(), field: field.to_owned(), problem }
    }

    fn check_plan(&self) -> Result<(), LifecycleError> {
        if let Some((field, problem)) = self.analysis.problem() {
            return Err(self.plan_error(&format!("analysis.{field}"), problem));
        }
        match self.schedule_problem() {
            Some((field, problem)) => Err(self.plan_error(&field, problem)),
            None => Ok(()),
        }
    }

    /// The course with another file. Saying what is there already changes nothing. An edit in review goes back to draft and voids the approval.
    ///
    /// Errors: a field that may not change in this state; what is wrong on its own.
    pub fn edit(&self, file: ExperimentFile, by: By<'_>) -> Result<Edit, LifecycleError> {
        let file = normalised(file)?;
        let fields = changes(&self.file(), &file);
        if fields.is_empty() {
            return Ok(Edit { course: self.clone(), fields });
        }
        for field in &fields {
            self.may_change(field, &file, by)?;
        }
        let mut next = self.clone();
        let is_started = matches!(self.state, State::Running | State::Paused);
        if is_started {
            let new = file.analysis.secondary.iter().filter(|metric| !self.analysis.secondary.contains(metric));
            next.post_hoc.extend(new.cloned());
        }
        next.about = file.about;
        next.assignment = file.assignment;
        next.analysis = file.analysis;
        next.schedule = file.schedule;
        if is_started {
            next.note_raise(self.assignment.coverage, by.at);
            self.check_still_planned(&next, by)?;
        }
        let is_written = |field: &Field| match field.rule {
            Rule::Text => false,
            Rule::Ramp | Rule::Schedule => true,
            Rule::Exploratory | Rule::Fixed | Rule::Verb => !is_started,
        };
        // Coverage, schedule and allow-list are approved with the rest, whether or not they are part of the hash.
        if fields.iter().any(is_written) {
            next.editors = self.editors_with(by)?;
            by.person.clone_into(&mut next.edited_by);
        }
        if self.state == State::Review && fields.iter().any(|field| field.rule != Rule::Text) {
            next.state = State::Draft;
            next.approval = None;
        }
        Ok(Edit { course: next, fields })
    }

    /// A schedule that is changed while it runs must still be one.
    fn check_still_planned(&self, next: &Self, by: By<'_>) -> Result<(), LifecycleError> {
        next.assignment.check()?;
        // A ramp that reaches further than before is more than was approved.
        if next.planned_coverage() > self.planned_coverage() {
            next.needs_approval(next.planned_coverage(), by)?;
        }
        next.check_plan()
    }

    fn may_change(&self, field: &Field, file: &ExperimentFile, by: By<'_>) -> Result<(), LifecycleError> {
        let key = || self.key().to_owned();
        let immutable = || LifecycleError::Immutable { key: key(), field: field.path.clone(), state: self.state };
        let is_started = matches!(self.state, State::Running | State::Paused);
        let is_draft = matches!(self.state, State::Draft | State::Review);
        match field.rule {
            Rule::Verb => {
                let (field, verb) = match field.path.as_str() {
                    "assignment.winner" => ("assignment.winner", "decide"),
                    "assignment.phase" => ("assignment.phase", "reopen"),
                    "assignment.paused" => ("assignment.paused", "pause"),
                    _ => ("assignment.key", "create"),
                };
                Err(LifecycleError::SetByVerb { key: key(), field, verb })
            }
            Rule::Text if self.state != State::Archived => Ok(()),
            Rule::Ramp if is_started => self.check_ramp(file.assignment.coverage, by),
            Rule::Schedule | Rule::Exploratory if is_started || is_draft => Ok(()),
            Rule::Ramp | Rule::Fixed if is_draft => Ok(()),
            Rule::Text | Rule::Ramp | Rule::Schedule | Rule::Exploratory | Rule::Fixed => Err(immutable()),
        }
    }
}

/// What was planned, with the meaning of the planned metrics. Results that carry another hash answer another question. Words, the schedule, the
/// allow-list, the coverage, the winner, dimensions that only show results apart, and metrics that came after the start (`post_hoc`) are no part
/// of it.
pub fn plan_hash(
    file: &ExperimentFile,
    post_hoc: &[String],
    metrics: &BTreeMap<String, MetricFile>,
) -> Result<String, LifecycleError> {
    let named = file.analysis.metrics();
    let is_planned = |name: &&String| named.contains(&name.as_str()) && !post_hoc.contains(name);
    let metrics: BTreeMap<&String, &MetricFile> = metrics.iter().filter(|(name, _)| is_planned(name)).collect();
    let mut file = file.clone();
    file.about = About::default();
    file.assignment.coverage = 1.0;
    file.assignment.allow_list.clear();
    file.assignment.winner = None;
    file.analysis.end = None;
    file.analysis.max_days = 0;
    file.schedule = Schedule::default();
    file.analysis = file.analysis.without_shown_dimensions();
    file.analysis.secondary.retain(|metric| !post_hoc.contains(metric));
    // Metrics to look at are a set: naming one twice while it runs plans nothing else.
    file.analysis.secondary.sort();
    file.analysis.secondary.dedup();
    domain::hash_json(&(&file, metrics)).map_err(|_| LifecycleError::Hash(file.assignment.key.clone()))
}

/// Checks what stands in a file, and writes weights as shares that sum to 1: as it is kept.
pub fn normalised(mut file: ExperimentFile) -> Result<ExperimentFile, LifecycleError> {
    file.assignment.check_draft()?;
    let total: f64 = file.assignment.variants.iter().map(|variant| variant.weight).sum();
    // What sums to 1 already stays as it is to the last bit: it may be what we gave out.
    if !file.assignment.variants.is_empty() && (total - 1.0).abs() > 1e-9 {
        let shares = file.assignment.shares();
        for (variant, share) in file.assignment.variants.iter_mut().zip(shares) {
            variant.weight = share;
        }
    }
    Ok(file)
}
