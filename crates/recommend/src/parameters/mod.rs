//! The parameters of each kind of recommender: typed, within range, with errors that name the nearest valid word.
//!
//! In: a kind and a table of values as the user typed them.  Out: [`Parameters`].
//! Never here: training.
//! Start at [`Parameters::resolve`]; the structs and their defaults are in `kinds`.

mod content;
mod kind;
mod kinds;
mod ranges;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use content::ContentParameters;
pub use kind::RecommenderKind;
pub use kinds::{
    BlendParameters, BlendPart, BprParameters, CcoParameters, EaseParameters, HistoryParameters, IalsParameters,
    IndicatorParameters, ItemKnnParameters, LlrParameters, PopularityParameters, Rp3betaParameters, SequenceParameters,
    UserWeighting,
};

use crate::RecommendError;
use kinds::WrittenPart;

/// The parameters of one recommender, typed.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameters {
    Popularity(PopularityParameters),
    ItemKnn(ItemKnnParameters),
    Ease(EaseParameters),
    Ials(IalsParameters),
    Llr(LlrParameters),
    Cco(CcoParameters),
    Rp3beta(Rp3betaParameters),
    Sequence(SequenceParameters),
    Bpr(BprParameters),
    Blend(BlendParameters),
}

impl Parameters {
    /// Types the values a user gave; what is absent takes its default.
    ///
    /// Errors: [`RecommendError::UnknownParameter`] with the nearest valid name, [`RecommendError::BadParameter`].
    pub fn resolve(kind: RecommenderKind, given: &BTreeMap<String, Value>) -> Result<Self, RecommendError> {
        check_names(kind, given)?;
        let parameters = match kind {
            RecommenderKind::Popularity => Self::Popularity(typed(kind, given)?),
            RecommenderKind::ItemKnn => Self::ItemKnn(typed(kind, given)?),
            RecommenderKind::Ease => Self::Ease(typed(kind, given)?),
            RecommenderKind::Ials => Self::Ials(typed(kind, given)?),
            RecommenderKind::Llr => Self::Llr(typed(kind, given)?),
            RecommenderKind::Cco => Self::Cco(typed(kind, given)?),
            RecommenderKind::Rp3beta => Self::Rp3beta(typed(kind, given)?),
            RecommenderKind::Sequence => Self::Sequence(typed(kind, given)?),
            RecommenderKind::Bpr => Self::Bpr(typed(kind, given)?),
            RecommenderKind::Blend => Self::Blend(blend(given)?),
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
            RecommenderKind::Llr => Self::Llr(LlrParameters::default()),
            RecommenderKind::Cco => Self::Cco(CcoParameters::default()),
            RecommenderKind::Rp3beta => Self::Rp3beta(Rp3betaParameters::default()),
            RecommenderKind::Sequence => Self::Sequence(SequenceParameters::default()),
            RecommenderKind::Bpr => Self::Bpr(BprParameters::default()),
            RecommenderKind::Blend => Self::Blend(BlendParameters::default()),
        }
    }

    /// Whose parameters these are.
    pub fn kind(&self) -> RecommenderKind {
        match self {
            Self::Popularity(_) => RecommenderKind::Popularity,
            Self::ItemKnn(_) => RecommenderKind::ItemKnn,
            Self::Ease(_) => RecommenderKind::Ease,
            Self::Ials(_) => RecommenderKind::Ials,
            Self::Llr(_) => RecommenderKind::Llr,
            Self::Cco(_) => RecommenderKind::Cco,
            Self::Rp3beta(_) => RecommenderKind::Rp3beta,
            Self::Sequence(_) => RecommenderKind::Sequence,
            Self::Bpr(_) => RecommenderKind::Bpr,
            Self::Blend(_) => RecommenderKind::Blend,
        }
    }

    /// The recommenders it is made of, with their weights: itself, unless it is a blend.
    pub(crate) fn parts(&self) -> Vec<(f64, &Self)> {
        if let Self::Blend(blend) = self {
            blend.parts.iter().map(|part| (part.weight, &part.parameters)).collect()
        } else {
            vec![(1.0, self)]
        }
    }

    /// How histories speak to this kind.
    pub(crate) fn history(&self) -> HistoryParameters {
        match self {
            // Popularity weighs events by itself and never looks at a history; a blend's parts have their own.
            Self::Popularity(_) | Self::Blend(_) => {
                HistoryParameters { max_history: usize::MAX, ..HistoryParameters::default() }
            }
            Self::ItemKnn(p) => p.history.clone(),
            Self::Ease(p) => p.history.clone(),
            Self::Ials(p) => p.history.clone(),
            Self::Llr(p) => p.history.clone(),
            Self::Cco(p) => p.history.clone(),
            Self::Rp3beta(p) => p.history.clone(),
            Self::Sequence(p) => HistoryParameters {
                max_history: p.max_history,
                recency: Some(p.recency),
                ..HistoryParameters::default()
            },
            Self::Bpr(p) => p.history.clone(),
        }
    }

    /// Every `cco` in it.
    pub(crate) fn cco_mut(&mut self) -> Vec<&mut CcoParameters> {
        match self {
            Self::Cco(cco) => vec![cco],
            Self::Blend(blend) => blend.parts.iter_mut().flat_map(|part| part.parameters.cco_mut()).collect(),
            Self::Popularity(_)
            | Self::ItemKnn(_)
            | Self::Ease(_)
            | Self::Ials(_)
            | Self::Llr(_)
            | Self::Rp3beta(_)
            | Self::Sequence(_)
            | Self::Bpr(_) => Vec::new(),
        }
    }

    /// What to say where a blend stands inside a blend.
    pub(crate) fn nested_blend(&self) -> RecommendError {
        let expected = "recommenders that are not blends themselves".to_owned();
        RecommendError::BadParameter {
            kind: self.kind(),
            name: "parts".to_owned(),
            value: "blend".to_owned(),
            expected,
        }
    }

    /// Every parameter by name, defaults included: what the artefact records and what its identity hashes.
    pub fn to_map(&self) -> BTreeMap<String, Value> {
        match self {
            Self::Popularity(parameters) => map_of(parameters),
            Self::ItemKnn(parameters) => map_of(parameters),
            Self::Ease(parameters) => map_of(parameters),
            Self::Ials(parameters) => map_of(parameters),
            Self::Llr(parameters) => map_of(parameters),
            Self::Cco(parameters) => map_of(parameters),
            Self::Rp3beta(parameters) => map_of(parameters),
            Self::Sequence(parameters) => map_of(parameters),
            Self::Bpr(parameters) => map_of(parameters),
            Self::Blend(blend) => {
                let written = |part: &BlendPart| WrittenPart {
                    kind: part.parameters.kind(),
                    weight: part.weight,
                    parameters: part.parameters.to_map(),
                };
                let parts: Vec<WrittenPart> = blend.parts.iter().map(written).collect();
                serde_json::to_value(parts).map(|parts| ("parts".to_owned(), parts)).into_iter().collect()
            }
        }
    }
}

/// Plain structs of numbers and words always have an object form.
fn map_of(parameters: &impl Serialize) -> BTreeMap<String, Value> {
    match serde_json::to_value(parameters) {
        Ok(Value::Object(map)) => map.into_iter().collect(),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) | Err(_) => {
            BTreeMap::new()
        }
    }
}

/// The names that a kind's table may hold.
fn names(kind: RecommenderKind) -> Vec<&'static str> {
    let (own, looks_at_histories): (&[&str], bool) = match kind {
        RecommenderKind::Popularity => (&["half_life_days", "trending_days", "segment", "prior_events"], false),
        RecommenderKind::ItemKnn => (&["neighbours", "exponent", "shrink", "user_weighting"], true),
        RecommenderKind::Ease => (&["lambda", "max_items"], true),
        RecommenderKind::Ials => {
            (&["factors", "epochs", "lambda", "alpha", "nu", "block", "cold_items", "cold_users"], true)
        }
        RecommenderKind::Llr => (&["neighbours", "min_llr"], true),
        RecommenderKind::Cco => (&["neighbours", "min_llr", "weight", "max_events_per_user", "indicators"], true),
        RecommenderKind::Rp3beta => (&["neighbours", "alpha", "beta"], true),
        RecommenderKind::Sequence => (
            &[
                "window",
                "history_exponent",
                "target_exponent",
                "same_step",
                "half_life_days",
                "neighbours",
                "max_history",
                "recency",
            ],
            false,
        ),
        RecommenderKind::Bpr => (&["factors", "epochs", "learning_rate", "lambda", "cold_items", "cold_users"], true),
        RecommenderKind::Blend => (&["parts"], false),
    };
    let shared: &[&str] = if looks_at_histories { &HistoryParameters::NAMES } else { &[] };
    own.iter().chain(shared).copied().collect()
}

fn check_names(kind: RecommenderKind, given: &BTreeMap<String, Value>) -> Result<(), RecommendError> {
    let known = names(kind);
    match given.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(RecommendError::UnknownParameter {
            kind,
            name: name.clone(),
            nearest: nearest(name, known.iter().copied()),
            known: known.into_iter().map(str::to_owned).collect(),
        }),
    }
}

/// Deserialises a parameter struct, telling which value is wrong.
fn typed<T: DeserializeOwned>(kind: RecommenderKind, given: &BTreeMap<String, Value>) -> Result<T, RecommendError> {
    // One value at a time first, so that the message can name it.
    for (name, value) in given {
        let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
        serde_json::from_value::<T>(alone).map_err(|error| bad(kind, name, value, error.to_string()))?;
    }
    let all = Value::Object(given.clone().into_iter().collect());
    serde_json::from_value(all).map_err(|error| bad(kind, "parameters", &Value::Null, error.to_string()))
}

fn blend(given: &BTreeMap<String, Value>) -> Result<BlendParameters, RecommendError> {
    let Some(value) = given.get("parts") else {
        return Ok(BlendParameters::default());
    };
    let written: Vec<WrittenPart> = serde_json::from_value(value.clone())
        .map_err(|error| bad(RecommenderKind::Blend, "parts", value, error.to_string()))?;
    let resolved = |part: WrittenPart| {
        Parameters::resolve(part.kind, &part.parameters).map(|parameters| BlendPart { weight: part.weight, parameters })
    };
    Ok(BlendParameters { parts: written.into_iter().map(resolved).collect::<Result<_, _>>()? })
}

fn bad(kind: RecommenderKind, name: &str, value: &Value, expected: String) -> RecommendError {
    // serde says `invalid type: string "x", expected f64`; only what is expected is of use after our own words.
    let expected = match expected.split_once("expected ") {
        Some((_, rest)) => rest.to_owned(),
        None => expected,
    };
    RecommendError::BadParameter { kind, name: name.to_owned(), value: value.to_string(), expected }
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
    fn a_blend_names_its_parts_and_their_mistakes() {
        let parts =
            r#"{"parts": [{"kind": "ease", "weight": 0.3, "parameters": {"recency": 8}}, {"kind": "sequence"}]}"#;
        let given: BTreeMap<String, Value> = serde_json::from_str(parts).unwrap();
        let Parameters::Blend(blend) = Parameters::resolve(RecommenderKind::Blend, &given).unwrap() else {
            panic!("not a blend")
        };
        assert_eq!(blend.parts.iter().map(|part| part.weight).collect::<Vec<_>>(), [0.3, 1.0]);
        assert_eq!(blend.parts[0].parameters.history().recency, Some(8.0));
        assert_eq!(
            verdict("blend", r#"{"parts": [{"kind": "ease", "parameters": {"lamda": 1}}]}"#),
            "`lamda` is not a parameter of `ease`; did you mean `lambda`?"
        );
        assert_eq!(
            verdict("blend", r#"{"parts": [{"kind": "blend"}]}"#),
            "parameter `parts` of `blend` is `blend`, but must be recommenders that are not blends themselves"
        );
        assert_eq!(
            verdict("blend", r#"{"parts": []}"#),
            "parameter `parts` of `blend` is `0`, but must be between 1 and 8"
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
