//! A policy judged by every estimator at once: the file that says how, and the figures beside those of the policy itself.
//!
//! In: a [`PolicyFile`], [`Decisions`].  Out: a [`PolicyEvaluation`].
//! Never here: where rows come from (`pipeline`), the estimators (see `off_policy`).
//! Start at [`evaluate`].

use std::collections::BTreeMap;

use domain::TableName;
use serde::{Deserialize, Serialize};

use super::cells::cross_fitted;
use super::off_policy::{Estimator, Log, PolicyValue};
use crate::stats::distributions::{normal_quantile, normal_sf};
use crate::stats::{Interval, StatsError};

/// `off_policy/<name>.toml`: a log, a policy to be judged by it, and, where it has run, what it really earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    pub log: LogTable,
    pub policy: Policy,
    /// Absent: no estimator that needs modelled rewards.
    #[serde(default)]
    pub model: Option<Model>,
    /// Rows of the policy's own traffic.
    #[serde(default)]
    pub observed: Option<Observed>,
    /// Weights above it are cut to it; none if absent.
    #[serde(default)]
    pub clip: Option<f64>,
    /// Switch-DR trusts the model alone where a weight is above it. Default 10.
    #[serde(default = "tau")]
    pub tau: f64,
    /// Intervals hold with 1 − alpha. Default 0.05.
    #[serde(default = "alpha")]
    pub alpha: f64,
}

/// One row per decision that was logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogTable {
    pub table: TableName,
    /// Column that names who or what the decision was about; its rows are left out together when rewards are modelled.
    pub unit: String,
    pub action: String,
    /// A number, or true and false.
    pub reward: String,
    /// With which probability the action was chosen, above 0.
    pub propensity: String,
    /// Columns that the policy and the model may look at, such as the position in a list.
    #[serde(default)]
    pub context: Vec<String>,
    /// A condition in the warehouse's language; all rows if absent.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
}

/// What the policy would do: a table with a row per context and action, or a column of the log per action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Has the columns of the log's `context`, its `action`, and `probability`. Pairs that are not there have probability 0.
    #[serde(default)]
    pub table: Option<TableName>,
    /// Column of `table`. Default `probability`.
    #[serde(default = "probability")]
    pub probability: String,
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// Action → column of the log with its probability.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

/// Where modelled rewards come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Model {
    /// Cross-fitted means per context and action.
    Cells,
    /// Action → column of the log with its modelled reward. They must not be learned from these very rows.
    Columns { columns: BTreeMap<String, String> },
}

/// What the policy earned itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    pub table: TableName,
    pub reward: String,
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
}

fn tau() -> f64 {
    10.0
}

fn alpha() -> f64 {
    0.05
}

fn probability() -> String {
    "probability".to_owned()
}

impl PolicyFile {
    /// The first key that says what cannot be, and why.
    pub fn problem(&self) -> Option<(&'static [&'static str], String)> {
        let above_zero = |value: f64| value.is_finite() && value > 0.0;
        match (&self.policy.table, self.policy.columns.is_empty()) {
            (None, true) => return Some((&["policy"], "says neither `table` nor `columns`: give one".to_owned())),
            (Some(_), false) => {
                return Some((&["policy"], "says both `table` and `columns`: take one away".to_owned()));
            }
            (Some(_), true) | (None, false) => {}
        }
        if let Some(clip) = self.clip.filter(|clip| !above_zero(*clip)) {
            return Some((&["clip"], format!("`{clip}` must be above 0: a weight of 1 is a row as it was logged")));
        }
        if !above_zero(self.tau) {
            return Some((
                &["tau"],
                format!("`{}` must be above 0: a weight of 1 is a row as it was logged", self.tau),
            ));
        }
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            return Some((&["alpha"], format!("`{}` must be above 0 and below 1: 0.05 is usual", self.alpha)));
        }
        None
    }
}

/// Decisions as numbers. One entry per row; `policy` and `modelled` rows × `action_count`, row-major.
#[derive(Debug, Clone, Default)]
pub struct Decisions {
    pub actions: Vec<usize>,
    pub rewards: Vec<f64>,
    pub propensities: Vec<f64>,
    pub policy: Vec<f64>,
    pub modelled: Option<Vec<f64>>,
    pub action_count: usize,
}

impl Decisions {
    /// Fills `modelled` with the cross-fitted means of cells.
    pub fn model_cells(&mut self, contexts: &[usize], folds: &[usize]) {
        self.modelled = Some(cross_fitted(contexts, &self.actions, &self.rewards, folds, self.action_count));
    }
}

/// A mean with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Earned {
    pub rows: usize,
    pub value: f64,
    pub standard_error: f64,
    pub lower: f64,
    pub upper: f64,
}

/// The value of the policy by one estimator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimated {
    /// `ips`, `snips`, `direct_method`, `doubly_robust`, `self_normalized_doubly_robust`, `switch_doubly_robust`.
    pub estimator: &'static str,
    #[serde(flatten)]
    pub value: PolicyValue,
    /// Absent for the direct method: the rows do not show how far its model is off, and an interval without that would be far too short.
    pub interval: Option<Interval>,
    /// Beside what the policy earned itself; absent without such rows, and without an interval.
    pub difference: Option<Gap>,
}

/// Estimate minus what was observed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gap {
    pub value: f64,
    pub lower: f64,
    pub upper: f64,
    /// Two-sided, of two independent samples.
    pub p_value: f64,
    /// Whether the interval holds 0. It says that no disagreement was found, not that there is none: see how wide it is.
    pub holds_zero: bool,
}

/// Everything there is to say of a policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyEvaluation {
    /// Of the policy that logged.
    pub logged: Earned,
    /// Of the policy's own traffic.
    pub observed: Option<Earned>,
    pub estimates: Vec<Estimated>,
}

/// Mean and normal interval. Errors: fewer than two rewards, or one that is no number.
fn earned(rewards: &[f64], alpha: f64) -> Result<Earned, StatsError> {
    let propensities = vec![1.0; rewards.len()];
    let policy = vec![1.0; rewards.len()];
    let log = Log::new(&vec![0; rewards.len()], rewards, &propensities, &policy, None, 1)
        .map(|log| log.value(Estimator::Ips, None))??;
    let half = normal_quantile(1.0 - alpha / 2.0) * log.standard_error;
    let (value, standard_error) = (log.value, log.standard_error);
    Ok(Earned { rows: rewards.len(), value, standard_error, lower: value - half, upper: value + half })
}

/// Judges the policy by every estimator that the decisions allow.  `observed`: rewards of its own traffic.
///
/// Errors: whatever [`Log::new`] and [`Log::value`] find.
pub fn evaluate(
    file: &PolicyFile,
    decisions: &Decisions,
    observed: Option<&[f64]>,
) -> Result<PolicyEvaluation, StatsError> {
    let Decisions { actions, rewards, propensities, policy, modelled, action_count } = decisions;
    let log = Log::new(actions, rewards, propensities, policy, modelled.as_deref(), *action_count)?;
    let observed = observed.map(|rewards| earned(rewards, file.alpha)).transpose()?;
    let mut estimators = vec![("ips", Estimator::Ips), ("snips", Estimator::Snips)];
    if modelled.is_some() {
        estimators.extend([
            ("direct_method", Estimator::DirectMethod),
            ("doubly_robust", Estimator::DoublyRobust),
            ("self_normalized_doubly_robust", Estimator::SelfNormalizedDoublyRobust),
            ("switch_doubly_robust", Estimator::SwitchDoublyRobust { tau: file.tau }),
        ]);
    }
    let estimates = estimators
        .into_iter()
        .map(|(estimator, kind)| {
            let value = log.value(kind, file.clip)?;
            let half = normal_quantile(1.0 - file.alpha / 2.0) * value.standard_error;
            let interval = Interval { lower: value.value - half, upper: value.value + half };
            let interval = (kind != Estimator::DirectMethod).then_some(interval);
            let difference = observed.filter(|_| interval.is_some()).map(|observed| gap(&value, &observed, file.alpha));
            Ok(Estimated { estimator, value, interval, difference })
        })
        .collect::<Result<_, StatsError>>()?;
    Ok(PolicyEvaluation { logged: earned(rewards, file.alpha)?, observed, estimates })
}

/// The estimate and the observation come from different traffic, so that their variances add.
fn gap(estimate: &PolicyValue, observed: &Earned, alpha: f64) -> Gap {
    let value = estimate.value - observed.value;
    let standard_error = estimate.standard_error.hypot(observed.standard_error);
    let half = normal_quantile(1.0 - alpha / 2.0) * standard_error;
    let p_value = match (standard_error > 0.0, value == 0.0) {
        (true, _) => 2.0 * normal_sf(value.abs() / standard_error),
        (false, is_equal) => f64::from(u8::from(is_equal)),
    };
    Gap { value, lower: value - half, upper: value + half, p_value, holds_zero: value.abs() <= half }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> PolicyFile {
        toml::from_str(&format!(
            "{text}\n[log]\ntable = \"marts.l\"\nunit = \"id\"\naction = \"a\"\nreward = \"r\"\npropensity = \"p\"\n[policy]\ntable = \"marts.p\"\n"
        ))
        .unwrap()
    }

    /// Two actions, four rows of each, logged evenly; the policy always takes the second, whose mean reward is ¾ and the first's ¼.
    fn decisions() -> Decisions {
        Decisions {
            actions: vec![0, 0, 0, 0, 1, 1, 1, 1],
            rewards: vec![1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0],
            propensities: vec![0.5; 8],
            policy: [0.0, 1.0].repeat(8),
            modelled: None,
            action_count: 2,
        }
    }

    #[test]
    fn a_policy_of_one_action_earns_what_that_action_earns() {
        let found = evaluate(&file(""), &decisions(), Some(&[1.0, 0.0, 1.0, 1.0])).unwrap();
        assert_eq!((found.logged.value, found.logged.rows), (0.5, 8));
        let names: Vec<&str> = found.estimates.iter().map(|one| one.estimator).collect();
        assert_eq!(names, ["ips", "snips"]);
        for one in &found.estimates {
            assert_eq!(
                (one.value.value, one.difference.unwrap().value, one.difference.unwrap().p_value),
                (0.75, 0.0, 1.0)
            );
        }
        // SE of the observed mean: √(3 · ¼² + ¾²) / √(4 · 3) = ¼.
        let observed = found.observed.unwrap();
        assert!((observed.standard_error - 0.25).abs() < 1e-15 && (observed.upper - 0.75 - 1.96 * 0.25).abs() < 1e-4);
    }

    #[test]
    fn a_model_brings_its_estimators() {
        let mut decisions = decisions();
        decisions.model_cells(&[0; 8], &[0, 1, 2, 3, 0, 1, 2, 3]);
        let found = evaluate(&file("tau = 1.0"), &decisions, None).unwrap();
        assert_eq!(found.estimates.len(), 6);
        // Second action without its own fold: ⅔, ⅔, ⅔, 1 for the folds 0 to 3, twice each: the mean is ¾.
        assert!((found.estimates[2].value.value - 0.75).abs() < 1e-15);
        // Every row that counts weighs 2, beyond τ: only the model is left.
        assert_eq!(found.estimates[5].value.value, found.estimates[2].value.value);
        assert_eq!(found.estimates[5].value.clipped_share, 0.5);
        assert!(found.observed.is_none() && found.estimates[0].difference.is_none());
        // Nobody knows how far the model is off: no interval, and no comparison.
        let observed = evaluate(&file(""), &decisions, Some(&[1.0, 0.0])).unwrap();
        let bare: Vec<&str> = observed
            .estimates
            .iter()
            .filter(|one| one.interval.is_none() || one.difference.is_none())
            .map(|one| one.estimator)
            .collect();
        assert_eq!(bare, ["direct_method"]);
    }

    #[test]
    fn what_a_file_cannot_mean_is_named() {
        assert_eq!(file("").problem(), None);
        for (text, key) in
            [("clip = 0.0", "clip"), ("tau = -1.0", "tau"), ("alpha = 1.0", "alpha"), ("alpha = nan", "alpha")]
        {
            assert_eq!(file(text).problem().unwrap().0, [key], "{text}");
        }
        let mut both = file("");
        both.policy.columns.insert("a".to_owned(), "p_a".to_owned());
        assert!(both.problem().unwrap().1.contains("both"));
        both.policy.table = None;
        assert_eq!(both.problem(), None);
        both.policy.columns.clear();
        assert!(both.problem().unwrap().1.contains("neither"));
        assert!(evaluate(&file(""), &decisions(), Some(&[f64::NAN, 1.0])).is_err());
    }
}
