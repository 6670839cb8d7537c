//! Which value a unit gets of a feature, and why.
//!
//! In: a [`Compiled`] payload and the [`Context`] of a unit.  Out: a [`FeatureResult`]; exposures and sticky documents in a [`Log`].
//! Never here: reading payloads (see `payload`), sending exposures.
//! Start at [`Compiled::evaluate`].

use super::condition::{Evaluation, Subject};
use super::hash::{self, HashVersion};
use super::javascript;
use super::payload::{
    Action, Compiled, Experiment, Filter, Force, Leaf, Prerequisite, Rollout, Share, Status, UnitAttribute,
};
use super::result::{ExperimentResult, Exposure, FeatureResult, Log, Source};
use super::sticky::{Earlier, StickyDocuments, View};
use super::targeting;
use super::value::{NULL, Object, Value};

/// A unit, and how it asks.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// What is known of the unit.
    pub attributes: &'a Object,
    /// The address of the page; empty if there is none.
    pub url: &'a str,
    /// Variations by experiment, for tests and previews; forced ones are not exposures.
    pub forced_variations: Option<&'a Object>,
    /// Values by feature, which come before everything else.
    pub forced_features: Option<&'a Object>,
    /// Earlier assignments; `None` switches sticky buckets off.
    pub sticky: Option<&'a StickyDocuments>,
    /// Nobody enters an experiment, except by force.
    pub qa_mode: bool,
    /// Whether experiments run at all.
    pub enabled: bool,
}

impl<'a> Context<'a> {
    /// A unit with nothing but attributes.
    pub fn new(attributes: &'a Object) -> Self {
        Self {
            attributes,
            url: "",
            forced_variations: None,
            forced_features: None,
            sticky: None,
            qa_mode: false,
            enabled: true,
        }
    }

    /// The attribute that is hashed: its name, and its value if there is one.
    pub(super) fn unit(&self, attribute: &'a UnitAttribute) -> (&'a str, Option<&'a Value>) {
        let own = self.attribute(&attribute.name);
        if own.is_none()
            && self.sticky.is_some()
            && let Some(fallback) = &attribute.fallback
            && let Some(value) = self.attribute(fallback)
        {
            return (fallback, Some(value));
        }
        (&attribute.name, own)
    }

    fn attribute(&self, name: &str) -> Option<&'a Value> {
        self.attributes.get(name).filter(|value| javascript::is_truthy(value))
    }
}

/// Prerequisites of prerequisites. A person builds three; a payload that goes deeper counts as a cycle.
const MAX_DEPTH: u32 = 100;

/// Features that are being evaluated, to stop cycles.
pub(super) struct Visited<'v> {
    pub(super) id: &'v str,
    pub(super) depth: u32,
    pub(super) before: Option<&'v Visited<'v>>,
}

impl Visited<'_> {
    fn holds(&self, id: &str) -> bool {
        std::iter::successors(Some(self), |visited| visited.before).any(|visited| visited.id == id)
    }
}

/// One evaluation.
pub(super) struct Run<'a, 'l> {
    pub(super) payload: &'a Compiled,
    pub(super) context: &'l Context<'a>,
    pub(super) log: &'l mut Log<'a>,
    pub(super) conditions: Evaluation<'a>,
}

/// What prerequisites say.
pub(super) enum Gate {
    Open,
    Skip,
    Closed,
    Cycle,
}

impl Compiled {
    /// The value of a feature for a unit. Exposures and changed sticky documents are added to `log`.
    pub fn evaluate<'a>(&'a self, feature: &'a str, context: &Context<'a>, log: &mut Log<'a>) -> FeatureResult<'a> {
        let mut run = Run { payload: self, context, log, conditions: Evaluation::new(&self.groups) };
        run.feature(feature, self.by_id.get(feature).copied(), None)
    }

    /// The result of one of the payload's own experiments.
    pub fn run<'a>(
        &'a self,
        experiment: &'a Experiment,
        context: &Context<'a>,
        log: &mut Log<'a>,
    ) -> ExperimentResult<'a> {
        let mut run = Run { payload: self, context, log, conditions: Evaluation::new(&self.groups) };
        run.experiment(experiment, None).0
    }

    /// Where the unit is redirected: by the first of the payload's own experiments that it is in and that redirects. The experiment's result comes with it;
    /// no address means that the variation stays on the page.
    pub fn redirect<'a>(
        &'a self,
        context: &Context<'a>,
        log: &mut Log<'a>,
    ) -> Option<(ExperimentResult<'a>, Option<String>)> {
        let redirects = |experiment: &&Experiment| {
            let has_address = |value: &Value| value.as_object().is_some_and(|value| value.get("urlRedirect").is_some());
            experiment.targets.is_some() && experiment.variations.iter().any(|variation| has_address(&variation.value))
        };
        for experiment in self.experiments.iter().filter(redirects) {
            let result = self.run(experiment, context, log);
            if !result.in_experiment {
                continue;
            }
            let address = result.value.as_object().and_then(|value| value.get("urlRedirect")).and_then(Value::as_str);
            let address =
                address.filter(|address| !address.is_empty()).map(|address| match experiment.persist_query_string {
                    true => targeting::merge_query(context.url, address),
                    false => address.to_owned(),
                });
            // A redirect to where the experiment runs would lead in circles.
            let leads_away = |address: &String| {
                !experiment.targets.as_ref().is_some_and(|targets| targeting::is_targeted(address, targets))
            };
            return Some((result, address.filter(leads_away)));
        }
        None
    }
}

impl<'a> Run<'a, '_> {
    fn feature(&mut self, id: &'a str, position: Option<usize>, before: Option<&Visited<'_>>) -> FeatureResult<'a> {
        let depth = before.map_or(0, |visited| visited.depth + 1);
        if before.is_some_and(|visited| visited.holds(id)) || depth > MAX_DEPTH || self.conditions.steps == 0 {
            return FeatureResult::new(&NULL, Source::CyclicPrerequisite);
        }
        self.conditions.steps -= 1;
        if let Some(value) = self.context.forced_features.and_then(|features| features.get(id)) {
            return FeatureResult::new(value, Source::Override);
        }
        let Some(position) = position else { return FeatureResult::new(&NULL, Source::UnknownFeature) };
        let feature = &self.payload.features[position];
        let visited = Visited { id, depth, before };
        for (position, rule) in feature.rules.iter().enumerate() {
            match self.prerequisites(&rule.prerequisites, Some(&visited)) {
                Gate::Open => {}
                Gate::Skip => continue,
                Gate::Closed => return FeatureResult::new(&NULL, Source::Prerequisite),
                Gate::Cycle => return FeatureResult::new(&NULL, Source::CyclicPrerequisite),
            }
            if rule.filters.as_deref().is_some_and(|filters| self.is_filtered_out(filters)) {
                continue;
            }
            match &rule.action {
                Action::Nothing => {}
                Action::Force(force) => {
                    if self.is_forced(force) {
                        force.tracks.iter().for_each(|track| self.log.expose(Exposure::Tracked(track)));
                        return FeatureResult {
                            rule: &rule.id,
                            position: Some(position),
                            ..FeatureResult::new(&force.value, Source::Force)
                        };
                    }
                }
                Action::Experiment(experiment) => {
                    let (result, leaf) = self.experiment(experiment, Some(id));
                    if result.in_experiment && !result.passthrough {
                        let assigned = FeatureResult::new(result.value, Source::Experiment);
                        return FeatureResult {
                            rule: &rule.id,
                            position: Some(position),
                            experiment: Some(experiment),
                            leaf,
                            result: Some(result),
                            ..assigned
                        };
                    }
                }
            }
        }
        FeatureResult::new(&feature.default, Source::DefaultValue)
    }

    pub(super) fn prerequisites(&mut self, prerequisites: &'a [Prerequisite], before: Option<&Visited<'_>>) -> Gate {
        for prerequisite in prerequisites {
            let result = self.feature(&prerequisite.feature, prerequisite.position, before);
            if result.source == Source::CyclicPrerequisite {
                return Gate::Cycle;
            }
            if !self.conditions.holds(&prerequisite.condition, Subject::Prerequisite(result.value)) {
                return if prerequisite.gate { Gate::Closed } else { Gate::Skip };
            }
        }
        Gate::Open
    }

    pub(super) fn is_filtered_out(&self, filters: &[Filter]) -> bool {
        filters.iter().any(|filter| {
            let bucket = self
                .context
                .attribute(&filter.attribute)
                .and_then(|value| hash::bucket(&filter.seed, value, filter.version));
            !bucket.is_some_and(|bucket| filter.ranges.iter().any(|range| range.contains(bucket)))
        })
    }

    pub(super) fn is_forced(&mut self, force: &'a Force) -> bool {
        let subject = Subject::Attributes(self.context.attributes);
        force.condition.as_ref().is_none_or(|condition| self.conditions.holds(condition, subject))
            && force.rollout.as_ref().is_none_or(|rollout| self.is_in_rollout(rollout))
    }

    fn is_in_rollout(&self, rollout: &'a Rollout) -> bool {
        let bucket = || hash::bucket(&rollout.seed, self.context.unit(&rollout.unit).1?, rollout.version);
        match rollout.share {
            Share::Range(range) => bucket().is_some_and(|bucket| range.contains(bucket)),
            Share::Coverage(coverage) => coverage != 0.0 && bucket().is_some_and(|bucket| bucket <= coverage),
        }
    }

    /// The result of an experiment, and the leaf of its bandit. In a rule, `feature` is the feature, whose filters have been passed.
    pub(super) fn experiment(
        &mut self,
        experiment: &'a Experiment,
        feature: Option<&'a str>,
    ) -> (ExperimentResult<'a>, Option<&'a Leaf>) {
        let leaf = experiment.bandit.as_ref().map(|bandit| {
            let subject = Subject::Attributes(self.context.attributes);
            let found = bandit.leaves.iter().find(|(condition, _)| self.conditions.holds(condition, subject));
            found.map_or(&bandit.fallback, |(_, leaf)| leaf)
        });
        let assignment = self.assign(experiment, feature, leaf);
        let (attribute, value) = self.context.unit(&experiment.unit);
        let result = ExperimentResult::new(experiment, feature, (attribute, value), &assignment, leaf);
        if assignment.by_hash {
            self.enroll(experiment, &result, (attribute, value), leaf);
        }
        (result, leaf)
    }

    /// Saves the assignment and notes the exposure.
    fn enroll(
        &mut self,
        experiment: &'a Experiment,
        result: &ExperimentResult<'a>,
        unit: (&str, Option<&Value>),
        leaf: Option<&'a Leaf>,
    ) {
        if let (Some(before), Some(value), true) = (self.context.sticky, unit.1, experiment.sticky) {
            let view = View { before, changed: &self.log.changed };
            if let Some(document) = view.assign(experiment, unit.0, value, result.key) {
                self.log.save(document);
            }
        }
        self.log.expose(Exposure::Evaluated { experiment, leaf, result: result.clone() });
    }

    /// The steps of an experiment, in the order of the SDKs.
    fn assign(&mut self, experiment: &'a Experiment, feature: Option<&str>, leaf: Option<&'a Leaf>) -> Assignment {
        let variations = experiment.variations.len();
        if variations < 2 || !self.context.enabled {
            return Assignment::OUT;
        }
        if experiment.targets.as_ref().is_some_and(|targets| !targeting::is_targeted(self.context.url, targets)) {
            return Assignment::OUT;
        }
        if let Some(variation) = targeting::query_override(&experiment.key, self.context.url, variations) {
            return Assignment::forced(variation as f64);
        }
        if let Some(variation) = self.context.forced_variations.and_then(|forced| forced.get(&experiment.key)) {
            return variation.as_number().map_or(Assignment::OUT, Assignment::forced);
        }
        if experiment.status == Status::Inactive {
            return Assignment::OUT;
        }
        let Some(value) = self.context.unit(&experiment.unit).1 else { return Assignment::OUT };
        let earlier = self.earlier(experiment);
        if !matches!(earlier, Earlier::Variation(_)) && !self.may_enter(experiment, feature, value) {
            return Assignment::OUT;
        }
        if experiment.version == HashVersion::Unknown {
            return Assignment::OUT;
        }
        let Some(bucket) = hash::bucket(&experiment.seed, value, experiment.version) else { return Assignment::OUT };
        let (variation, sticky) = match earlier {
            Earlier::Variation(variation) => (Some(variation), true),
            Earlier::Nothing => (hash::choose(bucket, leaf.map_or(&experiment.ranges, |leaf| &leaf.ranges)), false),
            Earlier::Blocked => return Assignment { sticky: true, ..Assignment::OUT },
        };
        let Some(variation) = variation else { return Assignment::OUT };
        if let Some(forced) = experiment.forced {
            return forced.map_or(Assignment::OUT, Assignment::forced);
        }
        if self.context.qa_mode || experiment.status == Status::Stopped {
            return Assignment::OUT;
        }
        Assignment { variation: Some(variation), by_hash: true, bucket: Some(bucket), sticky }
    }

    pub(super) fn earlier(&self, experiment: &'a Experiment) -> Earlier {
        let Some(before) = self.context.sticky.filter(|_| experiment.sticky) else { return Earlier::Nothing };
        let empty = Value::String(Box::default());
        let own = self.context.attribute(&experiment.unit.name).unwrap_or(&empty);
        // Without a fallback the SDKs look under `id`.
        let fallback = experiment.unit.fallback.as_deref().unwrap_or(super::field::DEFAULT_ATTRIBUTE);
        let fallback = self.context.attribute(fallback).map(|value| (fallback, value));
        View { before, changed: &self.log.changed }.earlier(experiment, (&experiment.unit.name, own), fallback)
    }

    /// What is asked of a unit that has no sticky bucket.
    fn may_enter(&mut self, experiment: &'a Experiment, feature: Option<&str>, value: &Value) -> bool {
        match (&experiment.filters, &experiment.namespace) {
            // The rule has asked already.
            (Some(_), _) if feature.is_some() => {}
            (Some(filters), _) if self.is_filtered_out(filters) => return false,
            (None, Some(namespace)) if !namespace.contains(value) => return false,
            (Some(_) | None, _) => {}
        }
        let subject = Subject::Attributes(self.context.attributes);
        experiment.condition.as_ref().is_none_or(|condition| self.conditions.holds(condition, subject))
            && matches!(self.prerequisites(&experiment.prerequisites, None), Gate::Open)
    }
}

/// What came of an experiment's steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assignment {
    /// May lie beyond the last variation; then the unit is not in the experiment.
    pub(crate) variation: Option<usize>,
    pub(crate) by_hash: bool,
    pub(crate) bucket: Option<f64>,
    pub(crate) sticky: bool,
}

impl Assignment {
    const OUT: Self = Self { variation: None, by_hash: false, bucket: None, sticky: false };

    fn forced(variation: f64) -> Self {
        let is_position = variation >= 0.0 && variation.fract() == 0.0;
        Self { variation: is_position.then_some(variation as usize), ..Self::OUT }
    }
}
