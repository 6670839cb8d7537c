//! What a project wants done with lists after scoring: written in a recommender's file, kept in the promotion, obeyed by serving.
//!
//! In: nothing.  Out: plain structs; conditions are text here, `recommend` understands them.
//! Never here: ranges, items.
//! Start at [`RerankRules`].

use serde::{Deserialize, Serialize};

/// The `[rerank]` table of a recommender's file. Without it lists stay as they were scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RerankRules {
    /// Items that are looked at, from the best score down; at least as many as are asked for. Default 100 (reference 2.13).
    pub candidates: usize,
    /// λ of MMR, 0 to 1. Default 1: relevance alone. 0.85 is a mild start.
    pub diversity: f64,
    /// Condition on items that are never shown, such as `category = 'gift cards'`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hide: Option<String>,
    pub boosts: Vec<Boost>,
    pub caps: Vec<Cap>,
    pub quotas: Vec<Quota>,
    /// Places that are given to items further down by lot, in lists that are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explore: Option<Explore>,
}

impl Default for RerankRules {
    fn default() -> Self {
        Self {
            candidates: 100,
            diversity: 1.0,
            hide: None,
            boosts: Vec::new(),
            caps: Vec::new(),
            quotas: Vec::new(),
            explore: None,
        }
    }
}

/// Multiplies the relevance (0 to 1 within the candidates) of some items: above 1 lifts, below 1 buries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boost {
    #[serde(rename = "where")]
    pub condition: String,
    pub factor: f64,
}

/// At most so many items with one value of an attribute among the first of a list; items without a value are not capped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    pub attribute: String,
    pub most: usize,
    pub of: usize,
}

/// A share of the slots that is kept for some items, such as new ones: `where = "since >= now - 14 days"`.
///
/// Among the first p items of a list are at least ⌊p · share⌋ of them, while there are any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    #[serde(rename = "where")]
    pub condition: String,
    pub share: f64,
}

/// A share of the places for items that a ranking alone would not show, so that something is learnt of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explore {
    /// Of all places, on average; 0 is off. 0.02 is a mild start.
    pub share: f64,
    /// First places that are never given away. Default 3.
    #[serde(default = "three")]
    pub protect: usize,
    /// How many items after the end of the list take part, each with the same chance. Default 20.
    #[serde(default = "twenty")]
    pub from: usize,
}

fn three() -> usize {
    3
}

fn twenty() -> usize {
    20
}

impl RerankRules {
    /// Whether lists stay as they were scored.
    pub fn is_empty(&self) -> bool {
        *self == Self { candidates: self.candidates, ..Self::default() }
    }
}
