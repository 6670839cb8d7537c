//! What an evaluation says, and how the SDKs write it.
//!
//! In: an assignment.  Out: [`FeatureResult`], [`ExperimentResult`], [`Exposure`], also as JSON.
//! Never here: how it came about (see `evaluate`).
//! Start at [`FeatureResult`].

use std::borrow::Cow;

use super::evaluate::Assignment;
use super::javascript;
use super::payload::{Experiment, Leaf, Track};
use super::sticky::StickyDocument;
use super::value::{NULL, Object, Value};

/// Where a value comes from; the names are the SDKs'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The payload does not hold the feature.
    UnknownFeature,
    /// No rule applied.
    DefaultValue,
    /// A rule forces the value.
    Force,
    /// The caller forces the value.
    Override,
    /// An experiment.
    Experiment,
    /// A prerequisite that gates the feature does not hold.
    Prerequisite,
    /// Prerequisites depend on each other, or are nested too deeply.
    CyclicPrerequisite,
}

impl Source {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownFeature => "unknownFeature",
            Self::DefaultValue => "defaultValue",
            Self::Force => "force",
            Self::Override => "override",
            Self::Experiment => "experiment",
            Self::Prerequisite => "prerequisite",
            Self::CyclicPrerequisite => "cyclicPrerequisite",
        }
    }
}

/// The value of a feature, and why.
#[derive(Debug, Clone)]
pub struct FeatureResult<'a> {
    /// The value; null where there is none.
    pub value: &'a Value,
    /// Where it comes from.
    pub source: Source,
    /// The id of the rule; empty if it has none.
    pub rule: &'a str,
    /// The position of the rule that gave the value, from 0; `None` where none did.
    pub position: Option<usize>,
    /// The experiment, if one gave the value.
    pub experiment: Option<&'a Experiment>,
    /// The leaf of the experiment's contextual bandit.
    pub leaf: Option<&'a Leaf>,
    /// The experiment's result.
    pub result: Option<ExperimentResult<'a>>,
}

impl<'a> FeatureResult<'a> {
    pub(crate) fn new(value: &'a Value, source: Source) -> Self {
        Self { value, source, rule: "", position: None, experiment: None, leaf: None, result: None }
    }

    /// Whether the value is one that JavaScript takes for true.
    pub fn is_on(&self) -> bool {
        javascript::is_truthy(self.value)
    }

    /// The result as the JavaScript SDK returns it.
    pub fn to_json(&self) -> Value {
        let mut fields = vec![
            ("value", self.value.clone()),
            ("on", Value::Bool(self.is_on())),
            ("off", Value::Bool(!self.is_on())),
            ("source", Value::from(self.source.as_str())),
            ("ruleId", Value::from(self.rule)),
        ];
        if let (Some(experiment), Some(result)) = (self.experiment, &self.result) {
            fields.push(("experiment", experiment_json(experiment, self.leaf, result)));
            fields.push(("experimentResult", result.to_json()));
        }
        object(fields)
    }
}

/// The result of an experiment.
#[derive(Debug, Clone)]
pub struct ExperimentResult<'a> {
    /// Whether the unit counts.
    pub in_experiment: bool,
    /// Whether the hash or a sticky bucket decided, rather than force.
    pub hash_used: bool,
    /// The attribute that names the unit.
    pub hash_attribute: &'a str,
    /// Its value; `None` where it is missing, which the SDKs write as empty text.
    pub hash_value: Option<&'a Value>,
    /// The position of the variation; 0 outside the experiment.
    pub variation: usize,
    /// The variation's key.
    pub key: &'a str,
    /// The variation's name.
    pub name: Option<&'a str>,
    /// The variation's value.
    pub value: &'a Value,
    /// The unit's bucket in [0, 1).
    pub bucket: Option<f64>,
    /// Whether the unit is counted but goes on to the next rule, as holdouts do.
    pub passthrough: bool,
    /// Whether an earlier assignment decided.
    pub sticky_bucket_used: bool,
    /// The feature whose rule this is.
    pub feature: Option<&'a str>,
    /// The leaf of a contextual bandit, with the probabilities that off-policy evaluation needs.
    pub leaf: Option<&'a Leaf>,
}

impl<'a> ExperimentResult<'a> {
    pub(crate) fn new(
        experiment: &'a Experiment,
        feature: Option<&'a str>,
        unit: (&'a str, Option<&'a Value>),
        assignment: &Assignment,
        leaf: Option<&'a Leaf>,
    ) -> Self {
        let assigned = assignment.variation.filter(|&variation| variation < experiment.variations.len());
        let position = assigned.unwrap_or(0);
        let variation = experiment.variations.get(position);
        Self {
            in_experiment: assigned.is_some(),
            hash_used: assignment.by_hash,
            hash_attribute: unit.0,
            hash_value: unit.1,
            variation: position,
            key: variation.map_or("0", |variation| &variation.key),
            name: variation.and_then(|variation| variation.name.as_deref()),
            value: variation.map_or(&NULL, |variation| &variation.value),
            bucket: assignment.bucket,
            passthrough: variation.is_some_and(|variation| variation.passthrough),
            sticky_bucket_used: assignment.sticky,
            feature,
            leaf: leaf.filter(|_| assigned.is_some() && assignment.by_hash),
        }
    }

    /// The result as the JavaScript SDK returns it.
    pub fn to_json(&self) -> Value {
        let mut fields = vec![
            ("key", Value::from(self.key)),
            ("featureId", self.feature.map_or(Value::Null, Value::from)),
            ("inExperiment", Value::Bool(self.in_experiment)),
            ("hashUsed", Value::Bool(self.hash_used)),
            ("variationId", Value::Number(self.variation as f64)),
            ("value", self.value.clone()),
            ("hashAttribute", Value::from(self.hash_attribute)),
            ("hashValue", self.hash_value.cloned().unwrap_or(Value::from(""))),
            ("stickyBucketUsed", Value::Bool(self.sticky_bucket_used)),
        ];
        fields.extend(self.name.map(|name| ("name", Value::from(name))));
        fields.extend(self.bucket.map(|bucket| ("bucket", Value::Number(bucket))));
        fields.extend(self.passthrough.then_some(("passthrough", Value::Bool(true))));
        if let Some(leaf) = self.leaf {
            fields.extend(leaf_fields(leaf));
        }
        object(fields)
    }
}

fn object(fields: Vec<(&str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn numbers(numbers: &[f64]) -> Value {
    Value::Array(numbers.iter().map(|&number| Value::Number(number)).collect())
}

fn leaf_fields(leaf: &Leaf) -> Vec<(&'static str, Value)> {
    let mut fields = vec![("leafId", Value::Number(leaf.id))];
    fields.extend(leaf.weights.as_deref().map(|weights| ("variationWeights", numbers(weights))));
    fields.extend(leaf.version.clone().map(|version| ("banditVersion", version)));
    fields
}

/// The definition with the weights of the leaf, and the leaf if the hash decided.
fn experiment_json(experiment: &Experiment, leaf: Option<&Leaf>, result: &ExperimentResult<'_>) -> Value {
    let Some(leaf) = leaf else { return Value::Object(experiment.definition.clone()) };
    let mut fields: Vec<(String, Value)> =
        experiment.definition.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    // The fallback leaf leaves the weights as they are.
    if leaf.id != -1.0 {
        fields.retain(|(name, _)| name != "weights");
        fields.extend(leaf.weights.as_deref().map(|weights| ("weights".to_owned(), numbers(weights))));
    }
    if result.leaf.is_some() {
        fields.push(("contextualBandit".to_owned(), object(leaf_fields(leaf))));
    }
    Value::Object(fields.into_iter().collect())
}

/// A unit that saw a variation, for the analysis.
#[derive(Debug, Clone)]
pub enum Exposure<'a> {
    /// Found here.
    Evaluated {
        /// The experiment.
        experiment: &'a Experiment,
        /// The leaf of its contextual bandit.
        leaf: Option<&'a Leaf>,
        /// Its result.
        result: ExperimentResult<'a>,
    },
    /// Found by a server, which sent it with the rule.
    Tracked(&'a Track),
}

impl Exposure<'_> {
    /// What the SDKs take for the same exposure: attribute, value, experiment and variation.
    fn identity(&self) -> (Cow<'_, str>, Cow<'_, str>, Cow<'_, str>, Cow<'_, str>) {
        match self {
            Self::Evaluated { experiment, result, .. } => (
                Cow::Borrowed(result.hash_attribute),
                result.hash_value.map_or(Cow::Borrowed(""), javascript::text_of),
                Cow::Borrowed(&experiment.key),
                Cow::Owned(result.variation.to_string()),
            ),
            Self::Tracked(track) => {
                let field = |value: &'_ Value, name| value.as_object().and_then(|object| object.get(name)).cloned();
                let text = |value: Option<Value>| {
                    value.map_or("undefined".to_owned(), |value| javascript::text_of(&value).into_owned())
                };
                let of_result = |name| Cow::Owned(text(field(&track.result, name)));
                let key = Cow::Owned(text(field(&track.experiment, "key")));
                (of_result("hashAttribute"), of_result("hashValue"), key, of_result("variationId"))
            }
        }
    }

    /// Experiment and result, as the JavaScript SDK hands them to a tracking callback.
    pub fn to_json(&self) -> (Value, Value) {
        match self {
            Self::Evaluated { experiment, leaf, result } => {
                (experiment_json(experiment, *leaf, result), result.to_json())
            }
            Self::Tracked(track) => (track.experiment.clone(), track.result.clone()),
        }
    }
}

/// What evaluations leave behind.
#[derive(Debug, Default)]
pub struct Log<'a> {
    /// Most evaluations have one exposure or none, and should not allocate for it.
    first: Option<Exposure<'a>>,
    more: Vec<Exposure<'a>>,
    pub(crate) changed: Vec<StickyDocument>,
}

impl<'a> Log<'a> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn expose(&mut self, exposure: Exposure<'a>) {
        match &self.first {
            None => self.first = Some(exposure),
            Some(_) if self.exposures().any(|known| known.identity() == exposure.identity()) => {}
            Some(_) => self.more.push(exposure),
        }
    }

    pub(crate) fn save(&mut self, document: StickyDocument) {
        let key = document.key();
        self.changed.retain(|known| known.key() != key);
        self.changed.push(document);
    }

    /// Exposures in order, each once.
    pub fn exposures(&self) -> impl Iterator<Item = &Exposure<'a>> {
        self.first.iter().chain(&self.more)
    }

    /// Sticky documents to be saved, each in its last state.
    pub fn sticky_documents(&self) -> &[StickyDocument] {
        &self.changed
    }
}

impl Track {
    /// The key of the experiment, if it has one.
    pub fn experiment_key(&self) -> Option<&str> {
        self.experiment.as_object().and_then(|experiment: &Object| experiment.get("key")).and_then(Value::as_str)
    }
}
