//! The parameters of each kind of recommender: names, defaults, ranges, and errors that name the nearest valid word.
//!
//! In: a kind and a table of values as the user typed them.  Out: [`Parameters`], typed and within range.
//! Never here: training. Defaults cite where they were measured.
//! Start at [`Parameters::resolve`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{RecommendError, WeightScheme};

/// Which recommender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RecommenderKind {
    /// What most people choose, recent choices counting more.
    Popularity,
    /// Items bought by the same people as those in the history.
    ItemKnn,
    /// A linear model of items on items in closed form (Steck 2019).
    Ease,
    /// Factors of users and items by alternating least squares (Hu et al. 2008; Rendle et al. 2021).
    Ials,
}

impl RecommenderKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Popularity, Self::ItemKnn, Self::Ease, Self::Ials];

    /// The word in files, on the command line and in artefact names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Popularity => "popularity",
            Self::ItemKnn => "item_knn",
            Self::Ease => "ease",
            Self::Ials => "ials",
        }
    }
}

impl fmt::Display for RecommenderKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for RecommenderKind {
    type Err = RecommendError;
    fn from_str(text: &str) -> Result<Self, RecommendError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| RecommendError::UnknownKind {
            value: text.to_owned(),
            nearest: nearest(text, Self::ALL.map(Self::as_str)),
        })
    }
}

impl TryFrom<String> for RecommenderKind {
    type Error = RecommendError;
    fn try_from(text: String) -> Result<Self, RecommendError> {
        text.parse()
    }
}

impl From<RecommenderKind> for String {
    fn from(kind: RecommenderKind) -> Self {
        kind.as_str().to_owned()
    }
}

/// Parameters of `popularity`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PopularityParameters {
    /// Days after which an event counts half. Absent: every event counts the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<f64>,
}

/// Parameters of `item_knn`. Similarity: g_ij / (d_i^a · d_j^(1−a) + shrink), i in the history, j scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ItemKnnParameters {
    /// Neighbours kept per scored item. Default 200 (reference 2.5).
    pub neighbours: usize,
    /// Exponent `a` of the history item's norm, 0 to 1. Default 0.5: cosine.
    pub exponent: f64,
    /// Added to the denominator: damps pairs seen together seldom. Default 0; 0 to 50 is usual.
    pub shrink: f64,
    /// How events become weights. Default `binary`.
    pub weights: WeightScheme,
    /// Days after which an event counts half; only with `weights = "summed"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<f64>,
    /// Most recent items of a user that count. Default 500 (reference 2.2).
    pub max_history: usize,
}

impl Default for ItemKnnParameters {
    fn default() -> Self {
        Self {
            neighbours: 200,
            exponent: 0.5,
            shrink: 0.0,
            weights: WeightScheme::default(),
            half_life_days: None,
            max_history: DEFAULT_MAX_HISTORY,
        }
    }
}

/// Parameters of `ease`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EaseParameters {
    /// Ridge added to the diagonal of XᵀX. Default 200 (best on Online Retail); search 100 to 1,000 on a log grid.
    pub lambda: f64,
    /// How events become weights. Default `binary`.
    pub weights: WeightScheme,
    /// Days after which an event counts half; only with `weights = "summed"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<f64>,
    /// Most recent items of a user that count. Default 500.
    pub max_history: usize,
    /// More items than this are refused: the matrix takes 4 · items² bytes. Default 20,000 (1.6 GB).
    pub max_items: usize,
}

impl Default for EaseParameters {
    fn default() -> Self {
        Self {
            lambda: 200.0,
            weights: WeightScheme::default(),
            half_life_days: None,
            max_history: DEFAULT_MAX_HISTORY,
            max_items: 20_000,
        }
    }
}

/// Parameters of `ials`. Names as in Rendle et al. 2021.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
    /// How events become weights. Default `binary`.
    pub weights: WeightScheme,
    /// Days after which an event counts half; only with `weights = "summed"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<f64>,
    /// Most recent items of a user that count. Default 500.
    pub max_history: usize,
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
            weights: WeightScheme::default(),
            half_life_days: None,
            max_history: DEFAULT_MAX_HISTORY,
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

/// From here on blocks take less time than an exact solution (reference 2.3).
const FIRST_FACTORS_IN_BLOCKS: usize = 256;

const DEFAULT_BLOCK: usize = 64;

/// Pair counting costs the square of it, and a request its product with the number of items.
const DEFAULT_MAX_HISTORY: usize = 500;

/// Beyond it, the exact fold-in of a user (d³/6) is the wrong algorithm.
const MAX_FACTORS: usize = 1_024;

/// The parameters of one recommender, typed.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameters {
    Popularity(PopularityParameters),
    ItemKnn(ItemKnnParameters),
    Ease(EaseParameters),
    Ials(IalsParameters),
}

impl Parameters {
    /// Types the values a user gave; what is absent takes its default.
    ///
    /// Errors: [`RecommendError::UnknownParameter`] with the nearest valid name, [`RecommendError::BadParameter`].
    pub fn resolve(kind: RecommenderKind, given: &BTreeMap<String, Value>) -> Result<Self, RecommendError> {
        let parameters = match kind {
            RecommenderKind::Popularity => Self::Popularity(typed(kind, given, &["half_life_days"])?),
            RecommenderKind::ItemKnn => Self::ItemKnn(typed(
                kind,
                given,
                &["neighbours", "exponent", "shrink", "weights", "half_life_days", "max_history"],
            )?),
            RecommenderKind::Ease => {
                Self::Ease(typed(kind, given, &["lambda", "weights", "half_life_days", "max_history", "max_items"])?)
            }
            RecommenderKind::Ials => Self::Ials(typed(
                kind,
                given,
                &["factors", "epochs", "lambda", "alpha", "nu", "block", "weights", "half_life_days", "max_history"],
            )?),
        };
        parameters.validate()?;
        Ok(parameters)
    }

    /// The defaults of a kind.
    pub fn defaults(kind: RecommenderKind) -> Self {
        match kind {
            RecommenderKind::Popularity => Self::Popularity(PopularityParameters::default()),
            RecommenderKind::ItemKnn => Self::ItemKnn(ItemKnnParameters::default()),
            RecommenderKind::Ease => Self::Ease(EaseParameters::default()),
            RecommenderKind::Ials => Self::Ials(IalsParameters::default()),
        }
    }

    /// Whose parameters these are.
    pub fn kind(&self) -> RecommenderKind {
        match self {
            Self::Popularity(_) => RecommenderKind::Popularity,
            Self::ItemKnn(_) => RecommenderKind::ItemKnn,
            Self::Ease(_) => RecommenderKind::Ease,
            Self::Ials(_) => RecommenderKind::Ials,
        }
    }

    /// Every parameter by name, defaults included: what the artefact records and what its identity hashes.
    pub fn to_map(&self) -> BTreeMap<String, Value> {
        let value = match self {
            Self::Popularity(parameters) => serde_json::to_value(parameters),
            Self::ItemKnn(parameters) => serde_json::to_value(parameters),
            Self::Ease(parameters) => serde_json::to_value(parameters),
            Self::Ials(parameters) => serde_json::to_value(parameters),
        };
        match value {
            Ok(Value::Object(map)) => map.into_iter().collect(),
            // Plain structs of numbers and words always have an object form.
            Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) | Err(_) => {
                BTreeMap::new()
            }
        }
    }

    /// Checks ranges; called by [`Parameters::resolve`] and again by `train`, because the fields are public.
    pub fn validate(&self) -> Result<(), RecommendError> {
        let check = Check { kind: self.kind() };
        match self {
            Self::Popularity(p) => check.half_life(p.half_life_days, WeightScheme::Summed),
            Self::ItemKnn(p) => {
                check.number("exponent", p.exponent, (0.0..=1.0).contains(&p.exponent), "between 0 and 1")?;
                check.number("shrink", p.shrink, p.shrink.is_finite() && p.shrink >= 0.0, "0 or more")?;
                check.count("neighbours", p.neighbours, 1, 100_000)?;
                check.count("max_history", p.max_history, 1, u32::MAX as usize)?;
                check.half_life(p.half_life_days, p.weights)
            }
            Self::Ease(p) => {
                check.number("lambda", p.lambda, p.lambda.is_finite() && p.lambda > 0.0, "a number above 0")?;
                check.count("max_history", p.max_history, 1, u32::MAX as usize)?;
                check.count("max_items", p.max_items, 1, u32::MAX as usize)?;
                check.half_life(p.half_life_days, p.weights)
            }
            Self::Ials(p) => {
                check.count("factors", p.factors, 1, MAX_FACTORS)?;
                check.count("epochs", p.epochs, 1, 1_000)?;
                check.number("lambda", p.lambda, p.lambda.is_finite() && p.lambda > 0.0, "a number above 0")?;
                check.number("alpha", p.alpha, p.alpha.is_finite() && p.alpha > 0.0, "a number above 0")?;
                check.number("nu", p.nu, (0.0..=2.0).contains(&p.nu), "between 0 and 2")?;
                p.block.map_or(Ok(()), |block| check.count("block", block, 1, MAX_FACTORS))?;
                check.count("max_history", p.max_history, 1, u32::MAX as usize)?;
                check.half_life(p.half_life_days, p.weights)
            }
        }
    }
}

/// Deserialises a parameter struct, telling which name or value is wrong.
fn typed<T: DeserializeOwned>(
    kind: RecommenderKind,
    given: &BTreeMap<String, Value>,
    known: &[&str],
) -> Result<T, RecommendError> {
    for (name, value) in given {
        if !known.contains(&name.as_str()) {
            return Err(RecommendError::UnknownParameter {
                kind,
                name: name.clone(),
                nearest: nearest(name, known.iter().copied()),
                known: known.iter().map(|name| (*name).to_owned()).collect(),
            });
        }
        // Every field has a default, so a table of this one value alone shows whether it is the faulty one.
        let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
        serde_json::from_value::<T>(alone).map_err(|error| bad(kind, name, value, error.to_string()))?;
    }
    let all = Value::Object(given.clone().into_iter().collect());
    serde_json::from_value(all).map_err(|error| bad(kind, "parameters", &Value::Null, error.to_string()))
}

fn bad(kind: RecommenderKind, name: &str, value: &Value, expected: String) -> RecommendError {
    // serde says `invalid type: string "x", expected f64`; only what is expected is of use after our own words.
    let expected = match expected.split_once("expected ") {
        Some((_, rest)) => rest.to_owned(),
        None => expected,
    };
    RecommendError::BadParameter { kind, name: name.to_owned(), value: value.to_string(), expected }
}

struct Check {
    kind: RecommenderKind,
}

impl Check {
    fn number(&self, name: &str, value: f64, is_good: bool, expected: &str) -> Result<(), RecommendError> {
        if is_good {
            return Ok(());
        }
        Err(RecommendError::BadParameter {
            kind: self.kind,
            name: name.to_owned(),
            value: value.to_string(),
            expected: expected.to_owned(),
        })
    }

    fn count(&self, name: &str, value: usize, from: usize, to: usize) -> Result<(), RecommendError> {
        self.number(name, value as f64, (from..=to).contains(&value), &format!("between {from} and {to}"))
    }

    fn half_life(&self, half_life_days: Option<f64>, weights: WeightScheme) -> Result<(), RecommendError> {
        let Some(days) = half_life_days else {
            return Ok(());
        };
        self.number("half_life_days", days, days.is_finite() && days > 0.0, "a number of days above 0")?;
        let is_used = weights == WeightScheme::Summed;
        self.number("half_life_days", days, is_used, "absent unless `weights = \"summed\"`")
    }
}

/// The known word most like `typed`, if any is like it at all (Damerau-Levenshtein; at most a third of it wrong).
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(typed, word), word))
        .min()
        .filter(|(distance, word)| *distance * 3 <= word.len().max(3))
        .map(|(_, word)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kind: &str, parameters: &str) -> String {
        let given: BTreeMap<String, Value> = serde_json::from_str(parameters).unwrap();
        match kind.parse().and_then(|kind| Parameters::resolve(kind, &given)) {
            Ok(parameters) => format!("{parameters:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_wrong_word_or_value_is_named_with_the_nearest_right_one() {
        assert_eq!(verdict("eas", "{}"), "`eas` is not a kind of recommender; did you mean `ease`?");
        assert_eq!(verdict("svd", "{}"), "`svd` is not a kind of recommender");
        assert_eq!(verdict("ease", r#"{"lamda": 5}"#), "`lamda` is not a parameter of `ease`; did you mean `lambda`?");
        assert_eq!(
            verdict("ease", r#"{"lambda": "big"}"#),
            "parameter `lambda` of `ease` is `\"big\"`, but must be f64"
        );
        assert_eq!(
            verdict("ease", r#"{"lambda": 0}"#),
            "parameter `lambda` of `ease` is `0`, but must be a number above 0"
        );
        assert_eq!(
            verdict("ials", r#"{"half_life_days": 90}"#),
            "parameter `half_life_days` of `ials` is `90`, but must be absent unless `weights = \"summed\"`"
        );
    }

    #[test]
    fn what_is_recorded_resolves_to_the_same_parameters() {
        for kind in RecommenderKind::ALL {
            let defaults = Parameters::defaults(kind);
            assert_eq!(Parameters::resolve(kind, &defaults.to_map()).unwrap(), defaults);
        }
    }
}
