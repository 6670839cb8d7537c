//! `recommenders/<name>.toml`: what the user writes to get a recommender.
//!
//! In: text, parsed by whoever owns the project directory (plain serde, so that errors carry a position).
//! Out: [`RecommenderFile`]; [`RecommenderFile::parameters`] types the parameters of the kind in a second step.
//! Never here: reading files, the meaning of tables.
//! Start at [`RecommenderFile`].

use std::collections::BTreeMap;

use domain::{RerankRules, TableName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{IndicatorParameters, Parameters, Protocol, ProtocolKind, RecommendError, RecommenderKind};

/// One recommender as the user declares it.
///
/// ```toml
/// kind = "ease"                          # see `RecommenderKind`
/// interactions = "marts.interactions"    # columns user_id, item_id, occurred_at, and optionally weight, basket_id
/// items = "marts.items"                  # optional: item_id, title, available, further attributes
/// users = "marts.customers"              # optional: user_id, attributes
/// filter_seen = true
/// limit = 10
/// baseline = "popularity"
///
/// [parameters]                           # of the kind; see `EaseParameters` and its neighbours
/// lambda = 200
///
/// [[indicators]]                         # of `cco`: what else the users did
/// name = "view"
/// mart = "marts.views"                   # columns user_id, thing, occurred_at, and optionally weight
///
/// [rerank]
/// diversity = 0.85
/// hide = "category = 'gift cards'"
///
/// [evaluate]
/// protocol = "time"                      # time | strong | last
/// cutoffs = [10, 20, 50, 100]
/// segments = { table = "marts.customers", column = "country" }
/// categories = "category"                # a column of items
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecommenderFile {
    pub kind: RecommenderKind,
    /// Values as typed; [`RecommenderFile::parameters`] checks names, types and ranges.
    #[serde(default)]
    pub parameters: BTreeMap<String, Value>,
    /// Table or view with `user_id`, `item_id`, `occurred_at`, and optionally `weight`, `basket_id`.
    pub interactions: TableName,
    /// Table or view with `item_id`, and optionally `title`, `available` and further attributes.
    #[serde(default)]
    pub items: Option<TableName>,
    /// Table or view with `user_id` and attributes: for lists of segments and users without a history.
    #[serde(default)]
    pub users: Option<TableName>,
    /// What else the users did; only `cco` learns from it, alone or in a blend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indicators: Vec<IndicatorOptions>,
    /// Leave out what the user already had. Default true; false where people buy the same again.
    #[serde(default = "yes")]
    pub filter_seen: bool,
    /// Items per list, if the request does not say. Default 10.
    #[serde(default = "default_limit")]
    pub limit: usize,
    /// Name of the recommender of kind `popularity` that it is compared with and falls back to.
    #[serde(default = "default_baseline")]
    pub baseline: String,
    /// Seed of everything random. Default 42.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// What is done with lists after scoring; conditions are on the columns of `items`.
    #[serde(default)]
    pub rerank: RerankRules,
    #[serde(default)]
    pub evaluate: EvaluateOptions,
}

/// One of the `[[indicators]]`: where it stands, and how it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndicatorOptions {
    /// What it is called in explanations, such as `view`.
    pub name: String,
    /// Table or view with `user_id`, `thing`, `occurred_at`, and optionally `weight`.
    pub mart: TableName,
    /// As [`IndicatorParameters::weight`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// As [`IndicatorParameters::neighbours`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<usize>,
    /// As [`IndicatorParameters::min_llr`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_llr: Option<f64>,
}

/// The `[evaluate]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateOptions {
    /// What is held out. Default `time`.
    pub protocol: ProtocolKind,
    /// Lengths k of the lists that are measured.
    pub cutoffs: Vec<usize>,
    /// Bootstrap resamples behind each interval. Default 1,000.
    pub resamples: usize,
    /// Share of events before the first cut, or of users that are trained on (`strong`). Default 0.8.
    pub train_share: f64,
    /// Share of events before the second cut, or of users that are not the test's (`strong`). Default 0.9.
    pub validation_share: f64,
    /// Also measure the users of each value of this column.
    pub segments: Option<SegmentOptions>,
    /// Also measure what was chosen of each value of this column of `items`: the largest ten, everything else together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<String>,
}

/// Where the segments of users stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentOptions {
    /// Table or view with `user_id` and the column.
    pub table: TableName,
    /// The largest ten of its values get a slice each, everybody else shares one.
    pub column: String,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        let protocol = Protocol::default();
        Self {
            protocol: protocol.kind,
            cutoffs: protocol.cutoffs,
            resamples: protocol.resamples,
            train_share: protocol.train_share,
            validation_share: protocol.validation_share,
            segments: None,
            categories: None,
        }
    }
}

impl EvaluateOptions {
    /// The protocol with this seed.
    pub fn protocol(&self, seed: u64) -> Protocol {
        Protocol {
            kind: self.protocol,
            cutoffs: self.cutoffs.clone(),
            resamples: self.resamples,
            train_share: self.train_share,
            validation_share: self.validation_share,
            seed,
        }
    }
}

impl IndicatorOptions {
    fn parameters(&self) -> IndicatorParameters {
        IndicatorParameters {
            name: self.name.clone(),
            weight: self.weight.unwrap_or(1.0),
            neighbours: self.neighbours,
            min_llr: self.min_llr,
        }
    }
}

impl RecommenderFile {
    /// The parameters of the kind, typed and within range.
    ///
    /// `[[indicators]]` are parameters of every `cco` in it that does not name its own.
    /// Errors: as [`Parameters::resolve`]; `BadParameter` for indicators that nothing learns from, `NoSuchIndicator` for one without a mart.
    pub fn parameters(&self) -> Result<Parameters, RecommendError> {
        let mut parameters = Parameters::resolve(self.kind, &self.parameters)?;
        let given: Vec<IndicatorParameters> = self.indicators.iter().map(IndicatorOptions::parameters).collect();
        let mut is_used = given.is_empty();
        for cco in parameters.cco_mut() {
            is_used = true;
            if cco.indicators.is_empty() {
                cco.indicators.clone_from(&given);
            }
            if let Some(missing) = cco.indicators.iter().find(|used| given.iter().all(|known| known.name != used.name))
            {
                return Err(RecommendError::NoSuchIndicator { kind: RecommenderKind::Cco, name: missing.name.clone() });
            }
        }
        if !is_used {
            return Err(RecommendError::BadParameter {
                kind: self.kind,
                name: "indicators".to_owned(),
                value: given.iter().map(|indicator| indicator.name.as_str()).collect::<Vec<_>>().join(", "),
                expected: "absent: only `cco` learns from indicators, alone or in a blend".to_owned(),
            });
        }
        parameters.validate()?;
        Ok(parameters)
    }
}

fn yes() -> bool {
    true
}

fn default_limit() -> usize {
    10
}

fn default_baseline() -> String {
    RecommenderKind::Popularity.as_str().to_owned()
}

fn default_seed() -> u64 {
    42
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_parses_and_its_mistakes_carry_a_position() {
        let text = "kind = \"ease\"\ninteractions = \"marts.interactions\"\n[parameters]\nlambda = 100\n";
        let file: RecommenderFile = toml::from_str(text).unwrap();
        assert!(file.filter_seen && file.limit == 10 && file.baseline == "popularity");
        let Parameters::Ease(parameters) = file.parameters().unwrap() else { panic!("not ease") };
        assert_eq!(parameters.lambda, 100.0);

        let options =
            "[evaluate]\nprotocol = \"last\"\nsegments = { table = \"marts.customers\", column = \"country\" }\n";
        let file: RecommenderFile = toml::from_str(&(text.to_owned() + options)).unwrap();
        assert_eq!((file.evaluate.protocol, file.evaluate.protocol(7).kind), (ProtocolKind::Last, ProtocolKind::Last));
        assert_eq!(file.evaluate.segments.unwrap().column, "country");

        let view = "[[indicators]]\nname = \"view\"\nmart = \"marts.views\"\nweight = 0.5\n";
        let cco = text.replace("ease", "cco").replace("lambda = 100", "min_llr = 6.63");
        let parameters = |text: String| toml::from_str::<RecommenderFile>(&text).unwrap().parameters();
        let Ok(Parameters::Cco(cco)) = parameters(cco + view) else { panic!("not cco") };
        assert_eq!((cco.min_llr, cco.indicators.len(), cco.indicators[0].weight), (6.63, 1, 0.5));
        let unused = parameters(text.to_owned() + view).unwrap_err().to_string();
        assert!(unused.starts_with("parameter `indicators` of `ease` is `view`, but must be absent"), "{unused}");
        let named =
            "kind = \"cco\"\ninteractions = \"marts.interactions\"\n[[parameters.indicators]]\nname = \"view\"\n";
        let unknown = parameters(named.to_owned()).unwrap_err().to_string();
        assert_eq!(unknown, "`cco` learns from indicator `view`, and the interactions come without it");

        let error = toml::from_str::<RecommenderFile>(&text.replace("ease", "eese")).unwrap_err();
        assert!(error.message().contains("did you mean `ease`?"), "{error}");
        assert_eq!(error.span().map(|span| span.start), Some(7), "{error}");
        let error = toml::from_str::<RecommenderFile>(&text.replace("[parameters]", "limt = 3")).unwrap_err();
        assert!(error.message().contains("unknown field `limt`"), "{error}");
    }
}
