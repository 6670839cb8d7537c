//! The report of an evaluation: what is printed, drawn and kept. Plain values, the same names in JSON and on screen.
//!
//! In: nothing.  Out: [`EvaluationReport`] and its parts.
//! Never here: how a number comes about (see `metrics`, `bootstrap`, `permutation`), how it looks (see `report`).
//! Start at [`EvaluationReport`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Cuts, Estimate, Protocol, RecommenderKind, Window};

/// What happens to items that the user already had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeats {
    /// Neither recommended nor counted.
    Excluded,
    /// Recommended and counted like any other.
    Included,
}

impl Repeats {
    pub(crate) const ALL: [Self; 2] = [Self::Excluded, Self::Included];

    /// What a recommender with this setting is judged by.
    pub fn of(filter_seen: bool) -> Self {
        if filter_seen { Self::Excluded } else { Self::Included }
    }
}

/// The report: what is printed and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationReport {
    pub protocol: Protocol,
    /// One sentence: what the protocol does, and what it cannot tell.
    pub explanation: String,
    /// Only a split in time has cuts.
    pub cuts: Option<Cuts>,
    pub baseline: String,
    pub data: DataSummary,
    /// Events trained on in both windows; those of validation (held out, or told about its users); those of the test.
    pub train_events: usize,
    pub validation_events: usize,
    pub test_events: usize,
    /// In the order of the specs.
    pub recommenders: Vec<RecommenderSummary>,
    pub windows: Vec<WindowReport>,
}

/// What was evaluated on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSummary {
    pub users: usize,
    pub items: usize,
    pub events: usize,
    /// Oldest and newest event, seconds since 1970 UTC.
    pub first_at: i64,
    pub last_at: i64,
}

/// What was evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecommenderSummary {
    pub name: String,
    pub kind: RecommenderKind,
    pub parameters: BTreeMap<String, Value>,
    pub filter_seen: bool,
    pub cost: Cost,
}

/// What one training and the lists of the test window took; none where nobody measured it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    pub train_cpu_seconds: Option<f64>,
    pub rank_cpu_seconds: Option<f64>,
    /// Lists behind `rank_cpu_seconds`: with and without repeats.
    pub lists: usize,
    /// The most that the whole process held meanwhile.
    pub peak_memory_bytes: Option<u64>,
}

/// One window, with or without repeats; all recommenders saw the same users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowReport {
    pub window: Window,
    pub repeats: Repeats,
    /// What was trained on.
    pub train_users: usize,
    pub train_items: usize,
    /// Users with a history and something held out that could be found: the means are over them.
    pub users: usize,
    /// Their held-out items.
    pub held_out: usize,
    /// Users without history; see the slice `cold_users`.
    pub cold_users: usize,
    /// Held-out items of all users that no recommender here knows, so none can find them.
    pub cold_items: usize,
    pub recommenders: Vec<RecommenderResult>,
    /// Every pair of recommenders, in the order of the specs, for the guard's metric and the main ones.
    pub pairs: Vec<PairedTest>,
}

/// One recommender in one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecommenderResult {
    pub name: String,
    pub kind: RecommenderKind,
    /// `recall@10`, `ndcg@100`, `hit_rate@20`, `map@10`, `mrr@10` … → mean over users with interval.
    pub metrics: BTreeMap<String, Estimate>,
    /// The same names → paired difference from the baseline; empty for the baseline itself.
    pub differences: BTreeMap<String, Estimate>,
    /// `coverage@10`, `gini@10`, `novelty@10`, `intra_list_diversity@10`, `popularity_lift@10` … of all lists together.
    pub list_metrics: BTreeMap<String, f64>,
    pub slices: Vec<Slice>,
}

/// A part of the users, or of what they chose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// `cold_users`, `history_1_to_4`, `history_5_to_19`, `history_20_up`; `segment:<value>`, `segment:other`. By what was chosen, among
    /// users with a history: `new_items` (training has not seen them), `category:<value>`, `category:other`.
    pub name: String,
    pub users: usize,
    /// Means without intervals; empty without users.
    pub metrics: BTreeMap<String, f64>,
    /// The guard's metric with its interval; none without users.
    pub guard: Option<Estimate>,
}

/// Two recommenders beside each other, user by user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairedTest {
    pub metric: String,
    pub one: String,
    pub other: String,
    /// Mean of `one` − `other` with the interval of the paired bootstrap.
    pub difference: Estimate,
    /// Two-sided, by flipping signs at random.
    pub p: f64,
    /// The same after Holm, over all pairs of this metric.
    pub p_adjusted: f64,
}

impl EvaluationReport {
    /// What this recommender would be judged by in operation: the test window, repeats as it treats them.
    pub fn window(&self, window: Window, repeats: Repeats) -> Option<&WindowReport> {
        self.windows.iter().find(|report| (report.window, report.repeats) == (window, repeats))
    }
}

impl WindowReport {
    /// What was found of one recommender.
    pub fn recommender(&self, name: &str) -> Option<&RecommenderResult> {
        self.recommenders.iter().find(|result| result.name == name)
    }

    /// `one` beside `other` in a metric, whichever way round the report has them.
    pub fn pair(&self, metric: &str, one: &str, other: &str) -> Option<PairedTest> {
        let of_metric = || self.pairs.iter().filter(|pair| pair.metric == metric);
        if let Some(pair) = of_metric().find(|pair| (pair.one.as_str(), pair.other.as_str()) == (one, other)) {
            return Some(pair.clone());
        }
        let pair = of_metric().find(|pair| (pair.one.as_str(), pair.other.as_str()) == (other, one))?;
        let Estimate { value, low, high } = pair.difference;
        let difference = Estimate { value: -value, low: -high, high: -low };
        Some(PairedTest { one: one.to_owned(), other: other.to_owned(), difference, ..pair.clone() })
    }
}
