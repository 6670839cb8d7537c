//! One flag's evaluation as OpenFeature's remote evaluation protocol writes it.
//!
//! In: a set, a flag's key, a context.  Out: a success or a failure, as JSON.
//! Never here: HTTP.
//! Start at [`evaluate`]. Source: OFREP 0.3.0, schemas `serverEvaluationSuccess`, `evaluationFailure`.

use experiment::assign::{Compiled, Context, Exposure, FeatureResult, Log, RuleKind, Source, Value};
use serde::Serialize;

use super::context::OfrepContext;
use super::set::FlagSet;

/// What came of one flag.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Evaluation<'a> {
    Success(Box<Success<'a>>),
    Failure(Failure<'a>),
}

/// `value` is left out to say "use the default in code".
#[derive(Debug, Serialize)]
pub(crate) struct Success<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Value>,
    reason: &'static str,
    /// Always there: OpenFeature's Python provider stops with an exception without it.
    variant: &'a str,
    metadata: Metadata<'a>,
}

/// What an exposure needs, flat, because OpenFeature's metadata has texts, numbers and truths only.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    revision: u64,
    source: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    experiment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_attribute: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_value: Option<&'a Value>,
    /// The probability of this variation, where a contextual bandit gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    propensity: Option<f64>,
    /// The value is on an allow-list: no exposure.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    forced: bool,
    /// A holdout that the unit passed on its way here; a unit that one holds out has it as its experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    holdout: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holdout_variation_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure<'a> {
    key: &'a str,
    error_code: ErrorCode,
    error_details: &'static str,
}

/// The protocol's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ErrorCode {
    ParseError,
    TargetingKeyMissing,
    InvalidContext,
    FlagNotFound,
    General,
}

impl Evaluation<'_> {
    /// The code of a failure.
    pub(crate) fn error(&self) -> Option<ErrorCode> {
        match self {
            Self::Success(_) => None,
            Self::Failure(failure) => Some(failure.error_code),
        }
    }
}

/// Evaluates one flag.
pub(crate) fn evaluate<'a>(set: &'a FlagSet, key: &'a str, context: &'a OfrepContext) -> Evaluation<'a> {
    let failure = |error_code, error_details| Evaluation::Failure(Failure { key, error_code, error_details });
    if !context.has_targeting_key && lacks_unit(&set.compiled, key, context) {
        return failure(
            ErrorCode::TargetingKeyMissing,
            "the flag is divided among units: set a targeting key in the evaluation context",
        );
    }
    let mut log = Log::new();
    let result = set.compiled.evaluate(key, &Context::new(&context.attributes), &mut log);
    match result.source {
        Source::UnknownFeature => {
            failure(ErrorCode::FlagNotFound, "there is no flag with this key: check its spelling")
        }
        Source::CyclicPrerequisite => failure(
            ErrorCode::General,
            "prerequisites of the flag depend on each other: change one of them so that they end",
        ),
        Source::DefaultValue | Source::Force | Source::Override | Source::Experiment | Source::Prerequisite => {
            Evaluation::Success(Box::new(success(set, key, &result, &log)))
        }
    }
}

/// Whether the flag hashes attributes of which the context has none.
fn lacks_unit(compiled: &Compiled, key: &str, context: &OfrepContext) -> bool {
    let hashed = compiled.hashed_attributes(key);
    let has = |attribute: &&str| context.attributes.get(attribute).is_some_and(|value| !value.is_null());
    !hashed.is_empty() && !hashed.iter().any(has)
}

fn success<'a>(set: &'a FlagSet, key: &'a str, result: &FeatureResult<'a>, log: &Log<'a>) -> Success<'a> {
    let mut metadata = Metadata {
        revision: set.revision,
        source: result.source.as_str(),
        rule_id: result.rule,
        forced: result.rule.ends_with("/allow_list"),
        ..Metadata::default()
    };
    let mut variant = match result.source {
        Source::DefaultValue => "default",
        Source::Force if !result.rule.is_empty() => result.rule,
        Source::Force | Source::Override | Source::Experiment => "forced",
        Source::Prerequisite | Source::UnknownFeature | Source::CyclicPrerequisite => "none",
    };
    if let (Some(experiment), Some(assigned)) = (result.experiment, &result.result) {
        variant = assigned.key;
        metadata.experiment = Some(experiment.key());
        metadata.variation_id = Some(assigned.key);
        metadata.bucket = assigned.bucket;
        metadata.hash_attribute = Some(assigned.hash_attribute);
        metadata.hash_value = assigned.hash_value.filter(|value| !matches!(value, Value::Array(_) | Value::Object(_)));
        let weights = assigned.leaf.and_then(|leaf| leaf.weights.as_deref());
        metadata.propensity = weights.and_then(|weights| weights.get(assigned.variation).copied());
    }
    for exposure in log.exposures() {
        if let Exposure::Evaluated { experiment, result: passed, .. } = exposure
            && passed.passthrough
        {
            metadata.holdout = Some(experiment.key());
            metadata.holdout_variation_id = Some(passed.key);
        }
    }
    let value = Some(result.value).filter(|value| !value.is_null());
    Success { key, value, reason: reason(set, key, result), variant, metadata }
}

/// `STATIC`: everybody gets it. `TARGETING_MATCH`: a condition holds. `SPLIT`: a hash decided. `DISABLED`: its experiments are paused, or a prerequisite
/// does not hold. `UNKNOWN`: the flag has rules, and none applied.
fn reason(set: &FlagSet, key: &str, result: &FeatureResult<'_>) -> &'static str {
    match result.source {
        Source::Experiment => "SPLIT",
        Source::Force => match result.position.and_then(|position| set.compiled.rule_kind(key, position)) {
            Some(RuleKind::Split) => "SPLIT",
            Some(RuleKind::Targeted) => "TARGETING_MATCH",
            Some(RuleKind::Everybody) | None => "STATIC",
        },
        Source::Prerequisite => "DISABLED",
        Source::DefaultValue if set.paused.contains(key) => "DISABLED",
        Source::DefaultValue if set.compiled.rules(key) == 0 => "STATIC",
        Source::DefaultValue | Source::Override | Source::UnknownFeature | Source::CyclicPrerequisite => "UNKNOWN",
    }
}
