//! A payload as GrowthBook's SDKs read it, compiled once so that each evaluation is short.
//!
//! In: JSON with `features`, `experiments`, `savedGroups`, `contextualBandits`.  Out: a [`Compiled`] payload.
//! Never here: evaluation (see `evaluate`), reading conditions (see `condition_parser`).
//! Start at [`Payload::compile`].

use std::collections::HashMap;

use super::condition::{Condition, SavedGroup};
use super::condition_parser::Warning;
use super::error::AssignError;
use super::hash::{HashVersion, Namespace, Range};
use super::payload_parser;
use super::targeting::Target;
use super::value::{Object, Value};

/// Reads payloads.
#[derive(Debug, Clone, Copy)]
pub struct Payload;

impl Payload {
    /// Compiles a payload. Unknown fields are left alone, as the SDKs do.
    ///
    /// Errors: no JSON; a field of the wrong type; a form on which the JavaScript SDK stops with an exception.
    /// What an SDK takes and never matches is among [`Compiled::warnings`].
    pub fn compile(json: &str) -> Result<Compiled, AssignError> {
        Self::compile_object(&serde_json::from_str(json)?)
    }

    /// Compiles a payload that has been read already.
    pub fn compile_object(payload: &Object) -> Result<Compiled, AssignError> {
        payload_parser::payload(payload)
    }

    /// Compiles a payload that is to be saved: what would never match is an error as well, such as a pattern with look-ahead.
    pub fn validate(json: &str) -> Result<Compiled, AssignError> {
        let mut compiled = Self::compile(json)?;
        if compiled.warnings.is_empty() {
            return Ok(compiled);
        }
        let Warning { at, problem } = compiled.warnings.swap_remove(0);
        Err(AssignError::Payload { at, problem })
    }
}

/// A compiled payload.
#[derive(Debug)]
pub struct Compiled {
    pub(crate) features: Vec<Feature>,
    pub(crate) by_id: HashMap<Box<str>, usize>,
    pub(crate) experiments: Vec<Experiment>,
    pub(crate) groups: Vec<SavedGroup>,
    pub(crate) warnings: Vec<Warning>,
}

impl Compiled {
    /// What in the payload can never match.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The keys of all features, in the payload's order.
    pub fn features(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|feature| &*feature.id)
    }

    /// The payload's own experiments (visual changes and redirects), in order.
    pub fn experiments(&self) -> &[Experiment] {
        &self.experiments
    }
}

#[derive(Debug)]
pub(crate) struct Feature {
    pub(crate) id: Box<str>,
    pub(crate) default: Value,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: Box<str>,
    pub(crate) prerequisites: Vec<Prerequisite>,
    pub(crate) filters: Option<Vec<Filter>>,
    pub(crate) action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    Force(Force),
    Experiment(Box<Experiment>),
    /// Neither a value nor variations: the rule is passed over.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Force {
    pub(crate) value: Value,
    pub(crate) condition: Option<Condition>,
    pub(crate) rollout: Option<Rollout>,
    /// Exposures of experiments that a server has evaluated already.
    pub(crate) tracks: Vec<Track>,
}

/// An experiment and its result, as a server sent them.
#[derive(Debug)]
pub struct Track {
    pub(crate) experiment: Value,
    pub(crate) result: Value,
}

#[derive(Debug)]
pub(crate) struct Rollout {
    pub(crate) seed: Box<str>,
    pub(crate) unit: UnitAttribute,
    pub(crate) share: Share,
    pub(crate) version: HashVersion,
}

#[derive(Debug)]
pub(crate) enum Share {
    Range(Range),
    /// Inclusive at its end, except that 0 is nobody.
    Coverage(f64),
}

/// Where the value that is hashed stands.
#[derive(Debug)]
pub(crate) struct UnitAttribute {
    pub(crate) name: Box<str>,
    /// Asked for when `name` is empty, with sticky buckets only.
    pub(crate) fallback: Option<Box<str>>,
}

#[derive(Debug)]
pub(crate) struct Prerequisite {
    pub(crate) feature: Box<str>,
    /// Position of the feature; `None` if the payload does not hold it.
    pub(crate) position: Option<usize>,
    pub(crate) condition: Condition,
    /// Whether the feature ends with it, rather than the rule.
    pub(crate) gate: bool,
}

#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) seed: Box<str>,
    pub(crate) attribute: Box<str>,
    pub(crate) version: HashVersion,
    pub(crate) ranges: Vec<Range>,
}

/// A compiled experiment: of a rule, or one of the payload's own.
#[derive(Debug)]
pub struct Experiment {
    pub(crate) key: Box<str>,
    pub(crate) variations: Vec<Variation>,
    pub(crate) unit: UnitAttribute,
    pub(crate) version: HashVersion,
    pub(crate) seed: Box<str>,
    pub(crate) ranges: Vec<Range>,
    /// Whether `ranges` come from the payload, so that weights do not count.
    pub(crate) fixed_ranges: bool,
    pub(crate) filters: Option<Vec<Filter>>,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) condition: Option<Condition>,
    pub(crate) prerequisites: Vec<Prerequisite>,
    pub(crate) targets: Option<Vec<Target>>,
    pub(crate) status: Status,
    /// The variation that everybody in the experiment gets; `Some(None)` is none of them.
    pub(crate) forced: Option<Option<f64>>,
    pub(crate) sticky: bool,
    pub(crate) bucket_version: f64,
    pub(crate) min_bucket_version: f64,
    pub(crate) bandit: Option<Bandit>,
    pub(crate) persist_query_string: bool,
    /// What the SDKs hand to a tracking callback.
    pub(crate) definition: Object,
}

impl Experiment {
    /// The key under which exposures are counted.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The definition as the payload has it.
    pub fn definition(&self) -> &Object {
        &self.definition
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    /// A draft, or not active.
    Inactive,
    Stopped,
}

#[derive(Debug)]
pub(crate) struct Variation {
    pub(crate) value: Value,
    /// From `meta`, or the variation's position.
    pub(crate) key: Box<str>,
    /// The key in `meta` alone, by which sticky documents name a variation.
    pub(crate) sticky_key: Option<Box<str>>,
    pub(crate) name: Option<Box<str>>,
    pub(crate) passthrough: bool,
}

/// Weights that depend on the unit's context.
#[derive(Debug)]
pub(crate) struct Bandit {
    pub(crate) leaves: Vec<(Condition, Leaf)>,
    pub(crate) fallback: Leaf,
}

/// A leaf of a contextual bandit's tree.
#[derive(Debug)]
pub struct Leaf {
    /// Its id; −1 when no leaf's condition held.
    pub id: f64,
    /// The probability of each variation, which off-policy evaluation needs.
    pub weights: Option<Vec<f64>>,
    /// The version of the tree.
    pub version: Option<Value>,
    pub(crate) ranges: Vec<Range>,
}
