//! An experiment as a person defines it: the part of `experiments/*.toml` that decides who sees what.
//!
//! In: TOML or JSON.  Out: an [`Experiment`] that has been checked on its own.
//! Never here: owner, hypothesis, metrics and states; other experiments (see `program`).
//! Start at [`Experiment`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::assign::hash::Range;
use crate::assign::{AssignError, Value};

/// Who sees which variant of one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Experiment {
    /// Its name; exposures are counted under it.
    pub key: String,
    /// The feature whose value it decides; the experiment's key if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// The attribute that names a unit.
    #[serde(default = "default_attribute")]
    pub hash_attribute: String,
    /// At least two; the first is the control, whose value everybody else gets.
    pub variants: Vec<Variant>,
    /// The share of the audience that takes part, 0.0–1.0. Raising it moves nobody.
    #[serde(default = "everybody")]
    pub coverage: f64,
    /// Slots in layers; a unit takes part that lies in one slot of each layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<Slot>,
    /// A condition on attributes; everybody if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Value>,
    /// The holdout whose units never take part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout: Option<String>,
    /// Decides, with the phase, which unit gets which variant; the key if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// Counts from 0; a new one assigns every unit anew.
    #[serde(default)]
    pub phase: u32,
    /// Keeps units in their variants; off if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Units that see a variant whatever else holds, without being counted: the unit, and the variant's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub allow_list: BTreeMap<String, String>,
    /// The key of the variant that the whole audience gets once the experiment is decided, without being counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<String>,
    /// While true nobody is assigned; the allow-list still works.
    #[serde(default)]
    pub paused: bool,
}

/// One variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Variant {
    /// Its name in results.
    pub key: String,
    /// Relative to the others: 1 and 1 is half and half.
    #[serde(default = "one")]
    pub weight: f64,
    /// The feature's value.
    pub value: Value,
}

/// A place in a layer: the half-open range [start, end) of its buckets, in ten-thousandths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Slot {
    /// The layer's name.
    pub layer: String,
    /// 0.0–1.0, a multiple of 0.0001.
    pub start: f64,
    /// 0.0–1.0, a multiple of 0.0001, beyond `start`.
    pub end: f64,
}

/// How units are kept in their variants. The phase is the version of the buckets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Sticky {
    /// Names the unit when `hash_attribute` is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_attribute: Option<String>,
    /// Units that were assigned in an earlier phase than this take no part any more.
    #[serde(default)]
    pub first_phase: u32,
}

fn default_attribute() -> String {
    "id".to_owned()
}

fn everybody() -> f64 {
    1.0
}

fn one() -> f64 {
    1.0
}

impl Experiment {
    /// The feature whose value the experiment decides.
    pub fn feature(&self) -> &str {
        self.feature.as_deref().unwrap_or(&self.key)
    }

    /// What is hashed with the unit: a phase assigns independently of the one before.
    pub fn hash_seed(&self) -> String {
        format!("{}/{}", self.seed.as_deref().unwrap_or(&self.key), self.phase)
    }

    /// The variant of a key.
    pub fn variant(&self, key: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.key == key)
    }

    /// The weights as shares that sum to 1.
    pub fn shares(&self) -> Vec<f64> {
        let total: f64 = self.variants.iter().map(|variant| variant.weight).sum();
        self.variants.iter().map(|variant| variant.weight / total).collect()
    }

    /// The buckets of each variant: they start where they start at full coverage, so that raising the coverage only adds units.
    pub fn ranges(&self) -> Vec<Range> {
        crate::assign::hash::bucket_ranges(self.variants.len(), self.coverage, Some(&self.shares()))
    }

    pub(crate) fn error(&self, problem: impl Into<String>) -> AssignError {
        AssignError::Experiment { experiment: self.key.clone(), problem: problem.into() }
    }

    /// Checks what can be checked without other experiments.
    pub fn check(&self) -> Result<(), AssignError> {
        if self.variants.len() < 2 {
            return Err(self.error("has fewer than two variants: add a control and something to compare with it"));
        }
        self.check_draft()
    }

    /// Checks what stands there already: a draft may lack variants.
    pub fn check_draft(&self) -> Result<(), AssignError> {
        let named = [("key", &self.key), ("hash_attribute", &self.hash_attribute)];
        if let Some((field, _)) = named.into_iter().find(|(_, value)| value.is_empty()) {
            return Err(self.error(format!("has an empty `{field}`: give it a name")));
        }
        if self.hash_attribute.contains('.') {
            return Err(self.error(format!(
                "hashes `{}`: SDKs hash attributes at the top only, so give it one without a dot",
                self.hash_attribute
            )));
        }
        if !(0.0..=1.0).contains(&self.coverage) {
            return Err(self.error(format!("has the coverage `{}`: write a share from 0.0 to 1.0", self.coverage)));
        }
        self.check_variants()?;
        for (unit, key) in &self.allow_list {
            if self.variant(key).is_none() {
                return Err(self.error(format!(
                    "lets `{unit}` see the variant `{key}`, which it does not have: use one of its keys"
                )));
            }
        }
        if let Some(winner) = self.winner.as_deref().filter(|winner| self.variant(winner).is_none()) {
            return Err(
                self.error(format!("has the winner `{winner}`, which is none of its variants: use one of their keys"))
            );
        }
        if self.sticky.as_ref().is_some_and(|sticky| sticky.first_phase > self.phase) {
            return Err(self
                .error("has sticky units of a phase that is still to come: set `first_phase` to its phase or below"));
        }
        Ok(())
    }

    fn check_variants(&self) -> Result<(), AssignError> {
        let mut keys = BTreeSet::new();
        for Variant { key, weight, .. } in &self.variants {
            if key.is_empty() {
                return Err(self.error("has a variant without a key: give it one"));
            }
            if !keys.insert(key) {
                return Err(self.error(format!("has two variants with the key `{key}`: give each its own")));
            }
            if !weight.is_finite() || *weight < 0.0 {
                return Err(self.error(format!("gives the variant `{key}` the weight `{weight}`: write 0 or more")));
            }
        }
        let total: f64 = self.variants.iter().map(|variant| variant.weight).sum();
        if !self.variants.is_empty() && !total.is_normal() {
            return Err(self.error(format!("has weights that sum to `{total}`: give at least one variant more than 0")));
        }
        Ok(())
    }
}
