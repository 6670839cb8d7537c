//! All experiments together, written as a payload that every GrowthBook SDK evaluates.
//!
//! In: experiments, layers, holdouts, saved groups.  Out: a payload.
//! Never here: evaluation (see `assign`), what one experiment may say (see `definition`).
//! Start at [`Program::payload`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::assign::{AssignError, Object, Payload, Value};
use crate::definition::{Experiment, Slot, Sticky};
use crate::layer::Layer;

/// Units that are kept out of experiments, and out of what experiments decided, to measure what all of them do together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Holdout {
    /// Its name; exposures are counted under it.
    pub key: String,
    /// The share that is kept out, 0.0–1.0.
    pub share: f64,
    /// The attribute that names a unit.
    #[serde(default = "default_attribute")]
    pub hash_attribute: String,
    /// What is hashed with the unit; the key if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
}

fn default_attribute() -> String {
    "id".to_owned()
}

/// A feature with a value that everybody gets whom no experiment gives another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Flag {
    /// The feature's name.
    pub key: String,
    /// Of the default, and of every variant of every experiment on it.
    pub value_type: ValueType,
    pub default: Value,
    /// What it switches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What applications expect of a flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ValueType {
    Boolean,
    String,
    Number,
    /// Any JSON.
    Json,
}

impl ValueType {
    /// The narrowest type of a value.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Bool(_) => Self::Boolean,
            Value::String(_) => Self::String,
            Value::Number(_) => Self::Number,
            Value::Null | Value::Array(_) | Value::Object(_) => Self::Json,
        }
    }

    /// Whether a value is of this type.
    pub fn holds(self, value: &Value) -> bool {
        self == Self::Json || self == Self::of(value)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Number => "number",
            Self::Json => "json",
        }
    }
}

/// The key of the units that a holdout keeps out.
pub const HELD_OUT: &str = "held_out";
/// The key of the others.
pub const INCLUDED: &str = "included";

/// The attribute whose value, a token of a preview link, shows whoever has it a variant. An application takes it from its own URL.
pub const PREVIEW_ATTRIBUTE: &str = "montauk_preview";

/// A link that shows a variant of an experiment, whatever else holds, without being counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The experiment's key.
    pub experiment: String,
    /// The value of [`PREVIEW_ATTRIBUTE`].
    pub token: String,
    /// The variant's key.
    pub variant: String,
}

/// An address with the token of a preview; `None` where it is no address.
pub fn preview_link(address: &str, token: &str) -> Option<String> {
    let mut link = url::Url::parse(address).ok().filter(url::Url::has_host)?;
    link.query_pairs_mut().append_pair(PREVIEW_ATTRIBUTE, token);
    Some(link.into())
}

/// Everything that decides who sees what.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Experiments; the rules of those on one feature apply in this order.
    pub experiments: Vec<Experiment>,
    /// Layers that experiments name.
    pub layers: Vec<Layer>,
    /// Holdouts that experiments name.
    pub holdouts: Vec<Holdout>,
    /// Saved groups that audiences name, as the payload has them.
    pub saved_groups: Object,
    /// Features that are there without an experiment as well. A feature that stands only in an experiment has the control's value.
    pub flags: Vec<Flag>,
    /// Links that show variants.
    pub previews: Vec<Preview>,
}

fn object(fields: Vec<(&str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn pair(start: f64, end: f64) -> Value {
    Value::Array(vec![Value::Number(start), Value::Number(end)])
}

impl Program {
    /// The payload. Errors: whatever [`Experiment::check`] finds; keys that two have; layers and holdouts that are not there; slots that meet;
    /// an audience that no SDK could match.
    pub fn payload(&self) -> Result<Object, AssignError> {
        self.check()?;
        let mut on: BTreeMap<&str, Vec<&Experiment>> = BTreeMap::new();
        for experiment in &self.experiments {
            on.entry(experiment.feature()).or_default().push(experiment);
        }
        let flags: BTreeMap<&str, &Flag> = self.flags.iter().map(|flag| (flag.key.as_str(), flag)).collect();
        let mut features: Vec<(String, Value)> = Vec::new();
        for experiment in &self.experiments {
            if let Some(experiments) = on.remove(experiment.feature()) {
                let flag = flags.get(experiment.feature()).copied();
                features.push((experiment.feature().to_owned(), self.feature(&experiments, flag)?));
            }
        }
        let named: BTreeSet<&str> = self.experiments.iter().map(Experiment::feature).collect();
        let alone = self.flags.iter().filter(|flag| !named.contains(flag.key.as_str()));
        features.extend(alone.map(|flag| (flag.key.clone(), object(vec![("defaultValue", flag.default.clone())]))));
        let fields = [
            ("features".to_owned(), Value::Object(features.into_iter().collect())),
            ("savedGroups".to_owned(), Value::Object(self.saved_groups.clone())),
        ];
        Ok(fields.into_iter().collect())
    }

    fn check(&self) -> Result<(), AssignError> {
        let mut keys = BTreeSet::new();
        for experiment in &self.experiments {
            experiment.check()?;
            if !keys.insert(&experiment.key) {
                return Err(experiment.error("stands here twice: give each experiment its own key"));
            }
            check_audience(&self.saved_groups, experiment)?;
            if let Some(slot) =
                experiment.slots.iter().find(|slot| self.layers.iter().all(|layer| layer.name != slot.layer))
            {
                return Err(experiment.error(format!(
                    "has a slot in the layer `{}`, which is not there: define it, or name another",
                    slot.layer
                )));
            }
        }
        for holdout in &self.holdouts {
            let named = || AssignError::Experiment {
                experiment: holdout.key.clone(),
                problem: "is a holdout and an experiment: rename one of them".to_owned(),
            };
            if !keys.insert(&holdout.key) {
                return Err(named());
            }
            if !(0.0..=1.0).contains(&holdout.share) {
                let problem = format!("holds out the share `{}`: write one from 0.0 to 1.0", holdout.share);
                return Err(AssignError::Experiment { experiment: holdout.key.clone(), problem });
            }
        }
        self.check_flags()?;
        self.layers.iter().try_for_each(|layer| layer.check(&self.slots(&layer.name)))
    }

    fn check_flags(&self) -> Result<(), AssignError> {
        let mut keys = BTreeSet::new();
        for flag in &self.flags {
            let error = |problem: String| AssignError::Flag { flag: flag.key.clone(), problem };
            if flag.key.is_empty() {
                return Err(error("has an empty key: give it a name".to_owned()));
            }
            if !keys.insert(&flag.key) {
                return Err(error("stands here twice: give each flag its own key".to_owned()));
            }
            if !flag.value_type.holds(&flag.default) {
                let (expected, found) = (flag.value_type.name(), ValueType::of(&flag.default).name());
                return Err(error(format!("is a {expected} and has a {found} as its default: make them agree")));
            }
        }
        Ok(())
    }

    /// The slots that are taken in a layer. A decided experiment has left its own.
    pub fn slots(&self, layer: &str) -> Vec<(&str, &Slot)> {
        let undecided = self.experiments.iter().filter(|experiment| experiment.winner.is_none());
        undecided
            .flat_map(|experiment| experiment.slots.iter().map(|slot| (experiment.key.as_str(), slot)))
            .filter(|(_, slot)| slot.layer == layer)
            .collect()
    }

    /// A feature: allow-lists first; then, for each experiment, its holdout and its own rule.
    fn feature(&self, experiments: &[&Experiment], flag: Option<&Flag>) -> Result<Value, AssignError> {
        let default = flag.map_or(&experiments[0].variants[0].value, |flag| &flag.default);
        check_values(experiments, flag)?;
        if let Some(other) = experiments.iter().find(|experiment| experiment.variants[0].value != *default) {
            let neighbour = match flag {
                Some(flag) => format!("the default of its flag `{}`", flag.key),
                None => format!("`{}` on the same feature", experiments[0].key),
            };
            let problem = format!("gives its control another value than {neighbour}: make them equal");
            return Err(other.error(problem));
        }
        // Who opens a link wants to see what it shows, also when he is on a list.
        let previews = experiments.iter().flat_map(|experiment| self.previews(experiment));
        let mut rules: Vec<Value> =
            previews.chain(experiments.iter().flat_map(|experiment| allow_list(experiment))).collect();
        let mut held_out = BTreeSet::new();
        for experiment in experiments.iter().filter(|experiment| !experiment.paused) {
            if let Some(key) = &experiment.holdout {
                let Some(holdout) = self.holdouts.iter().find(|holdout| holdout.key == *key) else {
                    return Err(experiment
                        .error(format!("has the holdout `{key}`, which is not there: define it, or name another")));
                };
                if held_out.insert(key) {
                    rules.push(holdout_rule(holdout, default));
                }
            }
            rules.push(match experiment.winner.as_deref().and_then(|winner| experiment.variant(winner)) {
                Some(winner) => winner_rule(experiment, &winner.value),
                None => self.experiment_rule(experiment),
            });
        }
        Ok(object(vec![("defaultValue", default.clone()), ("rules", Value::Array(rules))]))
    }

    fn experiment_rule(&self, experiment: &Experiment) -> Value {
        let values = experiment.variants.iter().map(|variant| variant.value.clone());
        let meta = experiment.variants.iter().map(|variant| object(vec![("key", Value::from(variant.key.as_str()))]));
        let ranges = experiment.ranges().into_iter().map(|range| pair(range.start, range.end));
        let weights = experiment.shares().into_iter().map(Value::Number);
        let mut fields = vec![
            ("id", Value::from(experiment.key.as_str())),
            ("key", Value::from(experiment.key.as_str())),
            ("seed", Value::from(experiment.hash_seed().as_str())),
            ("hashAttribute", Value::from(experiment.hash_attribute.as_str())),
            ("hashVersion", Value::Number(2.0)),
            ("variations", Value::Array(values.collect())),
            ("weights", Value::Array(weights.collect())),
            ("coverage", Value::Number(experiment.coverage)),
            ("ranges", Value::Array(ranges.collect())),
            ("meta", Value::Array(meta.collect())),
            ("phase", Value::from(experiment.phase.to_string().as_str())),
            ("bucketVersion", Value::Number(experiment.phase.into())),
        ];
        match &experiment.sticky {
            None => fields.push(("disableStickyBucketing", Value::Bool(true))),
            Some(Sticky { fallback_attribute, first_phase }) => {
                fields.push(("minBucketVersion", Value::Number((*first_phase).into())));
                fields.extend(
                    fallback_attribute.as_deref().map(|attribute| ("fallbackAttribute", Value::from(attribute))),
                );
            }
        }
        fields.extend(experiment.audience.clone().map(|audience| ("condition", audience)));
        let filters = self.filters(experiment);
        if !filters.is_empty() {
            fields.push(("filters", Value::Array(filters)));
        }
        object(fields)
    }

    /// A rule per link.
    fn previews(&self, experiment: &Experiment) -> Vec<Value> {
        let mine = self.previews.iter().filter(|preview| preview.experiment == experiment.key);
        mine.filter_map(|preview| forced(experiment, PREVIEW_ATTRIBUTE, &preview.token, &preview.variant)).collect()
    }

    /// One filter per layer: a unit must pass them all.
    fn filters(&self, experiment: &Experiment) -> Vec<Value> {
        let filter = |layer: &Layer| {
            let slots: Vec<Value> = experiment
                .slots
                .iter()
                .filter(|slot| slot.layer == layer.name)
                .map(|slot| pair(slot.start, slot.end))
                .collect();
            (!slots.is_empty()).then(|| {
                object(vec![
                    ("seed", Value::from(layer.hash_seed().as_str())),
                    ("attribute", Value::from(layer.hash_attribute.as_str())),
                    ("hashVersion", Value::Number(2.0)),
                    ("ranges", Value::Array(slots)),
                ])
            })
        };
        self.layers.iter().filter_map(filter).collect()
    }
}

/// A condition is valid if a payload with nothing else is. Errors: the audience cannot be read, or would never match.
pub fn check_audience(saved_groups: &Object, experiment: &Experiment) -> Result<(), AssignError> {
    let Some(audience) = &experiment.audience else { return Ok(()) };
    let rule = object(vec![("force", Value::Null), ("condition", audience.clone())]);
    let feature = object(vec![("rules", Value::Array(vec![rule]))]);
    let payload = [
        ("features".to_owned(), object(vec![("x", feature)])),
        ("savedGroups".to_owned(), Value::Object(groups_to_check(saved_groups, audience))),
    ];
    let place = |at: &str| at.replace("features.x.rules.0.condition", "audience");
    match Payload::compile_object(&payload.into_iter().collect()) {
        Err(AssignError::Payload { at, problem }) => {
            Err(experiment.error(format!("has an audience that cannot be read: `{}` {problem}", place(&at))))
        }
        Err(other) => Err(other),
        Ok(compiled) => match compiled.warnings().iter().find(|warning| warning.at.starts_with("features.")) {
            Some(warning) => Err(experiment.error(format!(
                "has an audience that would not match: `{}` {}",
                place(&warning.at),
                warning.problem
            ))),
            None => Ok(()),
        },
    }
}

/// The groups that a condition names. Of lists, only that they are there: who is in them makes no condition right or wrong, and they may be long.
fn groups_to_check(saved_groups: &Object, condition: &Value) -> Object {
    let named = named_groups(condition);
    let empty = |group: &Value| if group.as_array().is_some() { Value::Array(Vec::new()) } else { group.clone() };
    let known = saved_groups.iter().filter(|(key, _)| named.contains(*key));
    known.map(|(key, group)| (key.to_owned(), empty(group))).collect()
}

/// Keys of the saved groups that a condition names, by `$inGroup`, `$notInGroup` or `$savedGroup`. Depth is bounded, because the parser's is.
pub fn named_groups(condition: &Value) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    name_groups(condition, &mut found);
    found
}

fn name_groups<'a>(condition: &'a Value, found: &mut BTreeSet<&'a str>) {
    match condition {
        Value::Object(fields) => {
            for (name, value) in fields.iter() {
                match name {
                    "$inGroup" | "$notInGroup" => found.extend(value.as_str()),
                    "$savedGroup" => {
                        found.extend(value.as_object().and_then(|group| group.get("id")).and_then(Value::as_str));
                    }
                    _ => name_groups(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| name_groups(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Variants of a flag have its type. Without a flag nobody has said one.
fn check_values(experiments: &[&Experiment], flag: Option<&Flag>) -> Result<(), AssignError> {
    let Some(flag) = flag else { return Ok(()) };
    let expected = flag.value_type;
    for experiment in experiments {
        if let Some(other) = experiment.variants.iter().find(|variant| !expected.holds(&variant.value)) {
            let (found, expected) = (ValueType::of(&other.value).name(), expected.name());
            return Err(experiment.error(format!(
                "gives the variant `{}` a {found}, and its flag `{}` is a {expected}: make them agree",
                other.key, flag.key
            )));
        }
    }
    Ok(())
}

/// A rule per unit's variant. Text compares with numbers as well, as `$in` would not.
fn allow_list(experiment: &Experiment) -> Vec<Value> {
    let rule = |(unit, variant): (&String, &String)| forced(experiment, &experiment.hash_attribute, unit, variant);
    experiment.allow_list.iter().filter_map(rule).collect()
}

/// A variant for whoever has this value of an attribute. Its rule's name tells readers that nobody is to be counted by it.
fn forced(experiment: &Experiment, attribute: &str, value: &str, variant: &str) -> Option<Value> {
    let shown = experiment.variant(variant)?.value.clone();
    Some(object(vec![
        ("id", Value::from(format!("{}/allow_list", experiment.key).as_str())),
        ("condition", object(vec![(attribute, Value::from(value))])),
        ("force", shown),
    ]))
}

/// Those held out keep the default; the others are counted and go on to the next rule.
fn holdout_rule(holdout: &Holdout, default: &Value) -> Value {
    let meta = vec![
        object(vec![("key", Value::from(HELD_OUT))]),
        object(vec![("key", Value::from(INCLUDED)), ("passthrough", Value::Bool(true))]),
    ];
    let seed = format!("holdout/{}", holdout.seed.as_deref().unwrap_or(&holdout.key));
    object(vec![
        ("id", Value::from(holdout.key.as_str())),
        ("key", Value::from(holdout.key.as_str())),
        ("seed", Value::from(seed.as_str())),
        ("hashAttribute", Value::from(holdout.hash_attribute.as_str())),
        ("hashVersion", Value::Number(2.0)),
        ("variations", Value::Array(vec![default.clone(), default.clone()])),
        ("weights", pair(holdout.share, 1.0 - holdout.share)),
        ("ranges", Value::Array(vec![pair(0.0, holdout.share), pair(holdout.share, 1.0)])),
        ("meta", Value::Array(meta)),
        ("disableStickyBucketing", Value::Bool(true)),
    ])
}

/// A decided experiment: its whole audience gets the winner and is not counted.
fn winner_rule(experiment: &Experiment, value: &Value) -> Value {
    let mut fields = vec![("id", Value::from(format!("{}/winner", experiment.key).as_str())), ("force", value.clone())];
    fields.extend(experiment.audience.clone().map(|audience| ("condition", audience)));
    object(fields)
}
