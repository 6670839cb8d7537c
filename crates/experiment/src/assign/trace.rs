//! What became of a unit at each rule of a feature, and what kind of rule each is: for people who ask why.
//!
//! In: a [`Compiled`] payload, the [`Context`] of a unit.  Out: one [`RuleTrace`] per rule, up to the one that gives the value.
//! Never here: steps of its own. Whether a rule applies is asked of `evaluate`; only the reason for a "no" is looked for here.
//! Start at [`Compiled::trace`].

use std::collections::BTreeSet;

use super::condition::{Evaluation, Subject};
use super::evaluate::{Context, Gate, Run, Visited};
use super::hash;
use super::payload::{Action, Compiled, Experiment, Rule, Status};
use super::result::{ExperimentResult, Log};
use super::sticky::Earlier;
use super::targeting;

/// What became of a unit at a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOutcome {
    /// The rule gives the value.
    Applied,
    /// The unit is counted and goes on to the next rule, as those whom a holdout includes do.
    PassedThrough,
    /// A feature that this one depends on has another value.
    Prerequisite,
    /// The unit lies in no slot that the rule has in its layers.
    Layer,
    /// The condition does not hold.
    Audience,
    /// The unit's bucket lies outside the share that takes part.
    Coverage,
    /// The attribute that is hashed is missing.
    NoUnit,
    /// An earlier assignment belongs to a phase that is excluded by now.
    EarlierPhase,
    /// The page's address is another.
    Address,
    /// The rule is switched off, or does nothing.
    Off,
}

/// One rule, as a unit met it.
#[derive(Debug, Clone)]
pub struct RuleTrace<'a> {
    /// The rule's id; empty if it has none.
    pub rule: &'a str,
    /// The experiment, if the rule is one.
    pub experiment: Option<&'a Experiment>,
    /// What came of it.
    pub outcome: RuleOutcome,
    /// Where the unit lies in [0, 1) for this rule, also if it takes no part; `None` where nothing is hashed.
    pub bucket: Option<f64>,
    /// The experiment's result.
    pub result: Option<ExperimentResult<'a>>,
}

/// Whom a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// Everybody gets the same.
    Everybody,
    /// Those of whom a condition holds.
    Targeted,
    /// A hash decides.
    Split,
}

impl Compiled {
    /// The feature's rules in order, each with what became of the unit, up to the one that gives the value. Empty for a feature that is not there.
    pub fn trace<'a>(&'a self, feature: &'a str, context: &Context<'a>) -> Vec<RuleTrace<'a>> {
        let mut log = Log::new();
        let mut run = Run { payload: self, context, log: &mut log, conditions: Evaluation::new(&self.groups) };
        let Some(&position) = self.by_id.get(feature) else { return Vec::new() };
        let visited = Visited { id: feature, depth: 0, before: None };
        let mut traces = Vec::new();
        for rule in &self.features[position].rules {
            let (trace, is_end) = run.trace_rule(rule, feature, &visited);
            traces.push(trace);
            if is_end {
                break;
            }
        }
        traces
    }

    /// What kind of rule stands at a position; `None` if there is none.
    pub fn rule_kind(&self, feature: &str, position: usize) -> Option<RuleKind> {
        let rule = self.features[*self.by_id.get(feature)?].rules.get(position)?;
        Some(match &rule.action {
            Action::Experiment(_) => RuleKind::Split,
            Action::Force(force) if force.rollout.is_some() || rule.filters.is_some() => RuleKind::Split,
            Action::Force(force) if force.condition.is_some() || !rule.prerequisites.is_empty() => RuleKind::Targeted,
            Action::Force(_) | Action::Nothing => RuleKind::Everybody,
        })
    }

    /// How many rules a feature has; 0 if it is not there.
    pub fn rules(&self, feature: &str) -> usize {
        self.by_id.get(feature).map_or(0, |&position| self.features[position].rules.len())
    }

    /// The attributes whose values a feature's rules hash, without those of its prerequisites.
    pub fn hashed_attributes(&self, feature: &str) -> BTreeSet<&str> {
        let Some(&position) = self.by_id.get(feature) else { return BTreeSet::new() };
        let mut attributes = BTreeSet::new();
        for rule in &self.features[position].rules {
            attributes.extend(rule.filters.iter().flatten().map(|filter| &*filter.attribute));
            let unit = match &rule.action {
                Action::Experiment(experiment) => Some(&experiment.unit),
                Action::Force(force) => force.rollout.as_ref().map(|rollout| &rollout.unit),
                Action::Nothing => None,
            };
            attributes.extend(unit.map(|unit| &*unit.name));
        }
        attributes
    }
}

impl<'a> Run<'a, '_> {
    /// The second value says whether the feature ends here.
    fn trace_rule(&mut self, rule: &'a Rule, feature: &'a str, visited: &Visited<'_>) -> (RuleTrace<'a>, bool) {
        let mut trace =
            RuleTrace { rule: &rule.id, experiment: None, outcome: RuleOutcome::Off, bucket: None, result: None };
        if let Action::Experiment(experiment) = &rule.action {
            trace.experiment = Some(experiment);
            let (_, value) = self.context.unit(&experiment.unit);
            trace.bucket = value.and_then(|value| hash::bucket(&experiment.seed, value, experiment.version));
        }
        match self.prerequisites(&rule.prerequisites, Some(visited)) {
            Gate::Open => {}
            Gate::Skip => return (RuleTrace { outcome: RuleOutcome::Prerequisite, ..trace }, false),
            Gate::Closed | Gate::Cycle => return (RuleTrace { outcome: RuleOutcome::Prerequisite, ..trace }, true),
        }
        if rule.filters.as_deref().is_some_and(|filters| self.is_filtered_out(filters)) {
            return (RuleTrace { outcome: RuleOutcome::Layer, ..trace }, false);
        }
        match &rule.action {
            Action::Nothing => (trace, false),
            Action::Force(force) => {
                if let Some(rollout) = &force.rollout {
                    let value = self.context.unit(&rollout.unit).1;
                    trace.bucket = value.and_then(|value| hash::bucket(&rollout.seed, value, rollout.version));
                }
                let subject = Subject::Attributes(self.context.attributes);
                trace.outcome = if self.is_forced(force) {
                    RuleOutcome::Applied
                } else if force.condition.as_ref().is_some_and(|condition| !self.conditions.holds(condition, subject)) {
                    RuleOutcome::Audience
                } else if trace.bucket.is_none() {
                    RuleOutcome::NoUnit
                } else {
                    RuleOutcome::Coverage
                };
                let is_end = trace.outcome == RuleOutcome::Applied;
                (trace, is_end)
            }
            Action::Experiment(experiment) => {
                let result = self.experiment(experiment, Some(feature)).0;
                trace.outcome = match (result.in_experiment, result.passthrough) {
                    (true, false) => RuleOutcome::Applied,
                    (true, true) => RuleOutcome::PassedThrough,
                    (false, _) => self.why_out(experiment),
                };
                trace.result = Some(result);
                let is_end = trace.outcome == RuleOutcome::Applied;
                (trace, is_end)
            }
        }
    }

    /// In the order of `assign`. The rule's filters have been passed.
    fn why_out(&mut self, experiment: &'a Experiment) -> RuleOutcome {
        if experiment.variations.len() < 2 || !self.context.enabled || experiment.status == Status::Inactive {
            return RuleOutcome::Off;
        }
        if experiment.targets.as_ref().is_some_and(|targets| !targeting::is_targeted(self.context.url, targets)) {
            return RuleOutcome::Address;
        }
        let Some(value) = self.context.unit(&experiment.unit).1 else { return RuleOutcome::NoUnit };
        let earlier = self.earlier(experiment);
        if !matches!(earlier, Earlier::Variation(_)) {
            let subject = Subject::Attributes(self.context.attributes);
            let is_elsewhere = experiment.namespace.as_ref().is_some_and(|namespace| !namespace.contains(value));
            if experiment.filters.is_none() && is_elsewhere {
                return RuleOutcome::Layer;
            }
            if experiment.condition.as_ref().is_some_and(|condition| !self.conditions.holds(condition, subject)) {
                return RuleOutcome::Audience;
            }
            if !matches!(self.prerequisites(&experiment.prerequisites, None), Gate::Open) {
                return RuleOutcome::Prerequisite;
            }
        }
        if matches!(earlier, Earlier::Blocked) {
            return RuleOutcome::EarlierPhase;
        }
        if self.context.qa_mode || experiment.status == Status::Stopped {
            return RuleOutcome::Off;
        }
        RuleOutcome::Coverage
    }
}
