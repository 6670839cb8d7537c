//! The parameters of each kind, one struct each: names as in the recommender's file, defaults, and where these were measured.
//!
//! In: nothing.  Out: plain structs that serde reads and writes.
//! Never here: ranges (see `ranges`), which names a kind knows (see `mod`).
//! Start at [`HistoryParameters`], which most kinds share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content::ContentParameters;
use super::{Parameters, RecommenderKind};
use crate::WeightScheme;

/// Pair counting costs the square of it, and a request its product with the number of items.
const DEFAULT_MAX_HISTORY: usize = 500;

/// From here on blocks take less time than an exact solution (reference 2.3).
const FIRST_FACTORS_IN_BLOCKS: usize = 256;

const DEFAULT_BLOCK: usize = 64;

/// How a history speaks; the same names in every kind that looks at histories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryParameters {
    /// How events become weights. Default `binary`.
    pub weights: WeightScheme,
    /// Days after which an event counts half; only with `weights = "summed"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<f64>,
    /// Most recent items of a user that count. Default 500 (reference 2.2).
    pub max_history: usize,
    /// τ: when a list is asked for, an item of the history counts exp(−rank/τ), rank 0 being the newest (reference 2.10).
    /// Absent: old and new count the same. Training never looks at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recency: Option<f64>,
}

impl Default for HistoryParameters {
    fn default() -> Self {
        Self { weights: WeightScheme::default(), half_life_days: None, max_history: DEFAULT_MAX_HISTORY, recency: None }
    }
}

impl HistoryParameters {
    /// Their names in the recommender's file.
    pub(super) const NAMES: [&'static str; 4] = ["weights", "half_life_days", "max_history", "recency"];
}

/// Parameters of `popularity`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PopularityParameters {
    /// Days after which an event counts half. Absent: every event counts the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<f64>,
    /// Rank what rises instead of what is large: the events of so many last days against what the time before lets expect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trending_days: Option<f64>,
    /// A column of the users table: who has no history gets the list of the users with the same value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Events of everybody that are added to each segment's own. Absent: 50 (reference 2.9). Only with `segment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior_events: Option<f64>,
}

/// How much a user's long history takes from the weight of its pairs, before items are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserWeighting {
    /// Every user's pairs count the same.
    #[default]
    None,
    /// Times ln(1 + items / n_u): who takes everything says little about what goes together.
    Idf,
    /// Okapi BM25 (Robertson & Zaragoza 2009) with k1 = 1.2 and b = 0.75, the history being the document.
    Bm25,
}

/// Parameters of `item_knn`. Similarity: g_ij / (d_i^a · d_j^(1−a) + shrink), i in the history, j scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemKnnParameters {
    /// Neighbours kept per scored item. Default 200 (reference 2.5).
    pub neighbours: usize,
    /// Exponent `a` of the history item's norm, 0 to 1. Default 0.5: cosine.
    pub exponent: f64,
    /// Added to the denominator: damps pairs seen together seldom. Default 0; 0 to 50 is usual.
    pub shrink: f64,
    /// What a long history takes from the weight of its pairs. Default `none`.
    pub user_weighting: UserWeighting,
    #[serde(flatten)]
    pub history: HistoryParameters,
}

impl Default for ItemKnnParameters {
    fn default() -> Self {
        Self {
            neighbours: 200,
            exponent: 0.5,
            shrink: 0.0,
            user_weighting: UserWeighting::None,
            history: HistoryParameters::default(),
        }
    }
}

/// Parameters of `llr`: log-likelihood ratios of items chosen by the same users (Dunning 1993).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LlrParameters {
    /// Neighbours kept per scored item. Default 50 (reference 2.6).
    pub neighbours: usize,
    /// Pairs below it are left out. Default 3.84: the 95 % point of χ² with one degree of freedom.
    pub min_llr: f64,
    #[serde(flatten)]
    pub history: HistoryParameters,
}

impl Default for LlrParameters {
    fn default() -> Self {
        Self { neighbours: 50, min_llr: 3.84, history: HistoryParameters::default() }
    }
}

/// Parameters of `cco`: log-likelihood ratios of items with the things of several indicators (correlated cross-occurrence).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CcoParameters {
    /// Things kept per scored item and indicator. Default 50 (reference 2.6).
    pub neighbours: usize,
    /// Pairs below it are left out. Default 3.84: the 95 % point of χ² with one degree of freedom.
    pub min_llr: f64,
    /// How much the interactions themselves count beside the indicators. Default 1.
    pub weight: f64,
    /// Of users with more things in one matrix so many are drawn by lot before pairs are counted, whose number grows with the
    /// square: the interaction cut of Schelter, Boden & Markl (RecSys 2012), 500 as in Mahout's `maxInteractionsPerUserOrItem`.
    pub max_events_per_user: usize,
    /// What else speaks for an item; the recommender's file says where each stands.
    pub indicators: Vec<IndicatorParameters>,
    #[serde(flatten)]
    pub history: HistoryParameters,
}

impl Default for CcoParameters {
    fn default() -> Self {
        Self {
            neighbours: 50,
            min_llr: 3.84,
            weight: 1.0,
            max_events_per_user: 500,
            indicators: Vec::new(),
            history: HistoryParameters::default(),
        }
    }
}

/// How one indicator counts in `cco`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndicatorParameters {
    /// Name of the indicator, such as `view`.
    pub name: String,
    /// Multiplies its ratios. Default 1; 0 switches it off.
    #[serde(default = "one")]
    pub weight: f64,
    /// In the place of the recommender's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<usize>,
    /// In the place of the recommender's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_llr: Option<f64>,
}

/// Parameters of `rp3beta`: a walk item → user → item, popular ends damped (Paudel et al. 2017).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rp3betaParameters {
    /// Neighbours kept per item of the history. Default 200 (reference 2.7).
    pub neighbours: usize,
    /// Exponent of each step's probability. Default 1.
    pub alpha: f64,
    /// Exponent of the end's popularity that it is divided by. Default 0.7; a sharp optimum, search 0.4 to 0.8.
    pub beta: f64,
    #[serde(flatten)]
    pub history: HistoryParameters,
}

impl Default for Rp3betaParameters {
    fn default() -> Self {
        Self { neighbours: 200, alpha: 1.0, beta: 0.7, history: HistoryParameters::default() }
    }
}

/// Parameters of `ease`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EaseParameters {
    /// Ridge added to the diagonal of XᵀX. Default 200 (best on Online Retail); search 100 to 1,000 on a log grid.
    pub lambda: f64,
    /// More items than this are refused: the matrix takes 4 · items² bytes. Default 20,000 (1.6 GB).
    pub max_items: usize,
    #[serde(flatten)]
    pub history: HistoryParameters,
}

impl Default for EaseParameters {
    fn default() -> Self {
        Self { lambda: 200.0, max_items: 20_000, history: HistoryParameters::default() }
    }
}

/// Parameters of `ials`. Names as in Rendle et al. 2021.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IalsParameters {
    /// Length d of a factor. Default 64.
    pub factors: usize,
    /// Sweeps over users and items. Default 10.
    pub epochs: usize,
    /// Regularisation λ. Default 0.005 (Online Retail); search 5e-4 to 2e-2.
    pub lambda: f64,
    /// Weight α0 of cells without an event. Default 0.2 (chosen on Online Retail's validation users); denser data want
    /// more, up to 1.
    pub alpha: f64,
    /// Exponent ν of the frequency in the regularisation. Default 1.
    pub nu: f64,
    /// Factors solved together (Rendle et al. 2021, iALS++). Absent: all of them, which is exact, below 256; else 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// Factors of new items from what is known of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_items: Option<ContentParameters>,
    /// Factors of users without a history from what is known of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_users: Option<ContentParameters>,
    #[serde(flatten)]
    pub history: HistoryParameters,
}

impl Default for IalsParameters {
    fn default() -> Self {
        Self {
            factors: 64,
            epochs: 10,
            lambda: 0.005,
            alpha: 0.2,
            nu: 1.0,
            block: None,
            cold_items: None,
            cold_users: None,
            history: HistoryParameters::default(),
        }
    }
}

impl IalsParameters {
    /// How many factors are solved together: `factors` itself means exactly.
    pub(crate) fn block_width(&self) -> usize {
        let default = if self.factors < FIRST_FACTORS_IN_BLOCKS { self.factors } else { DEFAULT_BLOCK };
        self.block.unwrap_or(default).min(self.factors)
    }
}

/// Parameters of `sequence`: what follows what (reference 2.10).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SequenceParameters {
    /// Steps of a history over which a pair counts, with weight 1/gap. Default 10.
    pub window: usize,
    /// Exponent of what goes out of the item of the history. Default 0.5.
    pub history_exponent: f64,
    /// Exponent of what comes into the scored item. Default 0.3.
    pub target_exponent: f64,
    /// Weight of a pair inside one step (the same basket or second), which says nothing about order. Default 0.
    pub same_step: f64,
    /// Days after which a pair counts half, by its later event. Absent: every pair counts the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<f64>,
    /// Predecessors kept per scored item. Default 200.
    pub neighbours: usize,
    /// Most recent items of a user that count. Default 500.
    pub max_history: usize,
    /// As in the other kinds. Default 3: the last few items decide.
    pub recency: f64,
}

impl Default for SequenceParameters {
    fn default() -> Self {
        Self {
            window: 10,
            history_exponent: 0.5,
            target_exponent: 0.3,
            same_step: 0.0,
            half_life_days: None,
            neighbours: 200,
            max_history: DEFAULT_MAX_HISTORY,
            recency: 3.0,
        }
    }
}

/// Parameters of `bpr`: pairwise ranking by stochastic gradients (Rendle et al. 2009). For parity; seldom the best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BprParameters {
    /// Length d of a factor. Default 64.
    pub factors: usize,
    /// Passes of as many samples as there are pairs. Default 100.
    pub epochs: usize,
    /// Step η. Default 0.05.
    pub learning_rate: f64,
    /// Regularisation λ of each step. Default 0.01.
    pub lambda: f64,
    /// Factors of new items from what is known of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_items: Option<ContentParameters>,
    /// Factors of users without a history from what is known of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_users: Option<ContentParameters>,
    #[serde(flatten)]
    pub history: HistoryParameters,
}

impl Default for BprParameters {
    fn default() -> Self {
        Self {
            factors: 64,
            epochs: 100,
            learning_rate: 0.05,
            lambda: 0.01,
            cold_items: None,
            cold_users: None,
            history: HistoryParameters::default(),
        }
    }
}

/// Parameters of `blend`: the weighted sum of other recommenders' scores, each made comparable first.
#[derive(Debug, Clone, PartialEq)]
pub struct BlendParameters {
    /// At least one; none is a blend itself.
    pub parts: Vec<BlendPart>,
}

/// One recommender in a blend.
#[derive(Debug, Clone, PartialEq)]
pub struct BlendPart {
    /// How much its scores count beside the others', after both have mean 0 and deviation 1.
    pub weight: f64,
    pub parameters: Parameters,
}

impl Default for BlendParameters {
    /// EASE with recency beside what follows what: the cheapest large gain that reference 4.4 measured.
    fn default() -> Self {
        let history = HistoryParameters { recency: Some(15.0), ..HistoryParameters::default() };
        let ease = EaseParameters { lambda: 300.0, history, ..EaseParameters::default() };
        let part = |parameters| BlendPart { weight: 0.5, parameters };
        Self { parts: vec![part(Parameters::Ease(ease)), part(Parameters::Sequence(SequenceParameters::default()))] }
    }
}

/// A part as it stands in a file: its parameters are typed in a second step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenPart {
    pub(super) kind: RecommenderKind,
    #[serde(default = "one")]
    pub(super) weight: f64,
    #[serde(default)]
    pub(super) parameters: BTreeMap<String, Value>,
}

fn one() -> f64 {
    1.0
}
