//! What one unit sees of every experiment, and why: for our own services, and for people who ask.
//!
//! In: a unit and its attributes.  Out: for each experiment of the snapshot the variant, the value, and the reason for being in or out.
//! Never here: how a rule is evaluated (`experiment::assign::Compiled::trace`).
//! Start at [`list_assignments`].

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::SnapshotExperiment;
use experiment::assign::{Context, Log, Object, RuleOutcome, RuleTrace, Value};
use experiment::program::HELD_OUT;
use http_server::ProblemResponse;
use serde::Serialize;

use super::current::Flags;
use super::figures::Protocol;
use super::set::FlagSet;
use crate::ServingError;

/// Before the name of an attribute.
const ATTRIBUTE: &str = "attribute.";

/// Longest name of a unit: three times a UUID.
const MAX_UNIT_BYTES: usize = 256;

#[derive(Serialize)]
struct Answer<'a> {
    unit: &'a str,
    revision: u64,
    published_at: &'a str,
    attributes: &'a Object,
    assignments: Vec<Assignment<'a>>,
}

/// One experiment.
#[derive(Serialize)]
struct Assignment<'a> {
    experiment: &'a str,
    feature: &'a str,
    state: &'a str,
    phase: u32,
    /// Whether the unit counts.
    in_experiment: bool,
    /// The key of the variant; null where the value is not one of this experiment's.
    variant: Option<&'a str>,
    /// What the feature is for the unit, whichever rule gave it.
    value: Value,
    reason: Reason,
    /// The same in a sentence.
    detail: String,
    /// The rule that was reached last; null if the feature has none.
    rule: Option<&'a str>,
    hash_attribute: &'a str,
    /// Null where the unit is not hashed.
    bucket: Option<f64>,
    forced: bool,
}

/// Why a unit is in an experiment, or out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    Assigned,
    Forced,
    Winner,
    Paused,
    NotRunning,
    Holdout,
    Audience,
    LayerSlot,
    Coverage,
    Prerequisite,
    NoUnit,
    EarlierPhase,
    EarlierRule,
    Off,
}

/// `GET /v1/assignments/{unit}?attribute.country=DE` — every experiment, as the unit meets it.
pub(crate) fn list_assignments(
    State(flags): State<Arc<Flags>>,
    Path(unit): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Ready<Result<Response, ProblemResponse>> {
    ready(list(&flags, &unit, &pairs).map_err(Into::into))
}

fn list(flags: &Flags, unit: &str, pairs: &[(String, String)]) -> Result<Response, ServingError> {
    if unit.len() > MAX_UNIT_BYTES {
        return Err(ServingError::LongUnit);
    }
    let known = pairs.iter().map(|(name, value)| match name.strip_prefix(ATTRIBUTE) {
        Some(attribute) if !attribute.is_empty() => Ok((attribute.to_owned(), attribute_value(value))),
        Some(_) | None => Err(ServingError::UnknownAttribute { name: name.chars().take(100).collect() }),
    });
    let known = known.collect::<Result<Vec<_>, _>>()?;
    let set = flags.current().ok_or(ServingError::NoExperiments)?;
    let attributes = set.with_unit(known, unit);
    let assignments: Vec<_> =
        set.experiments.iter().map(|experiment| assignment(&set, experiment, &attributes)).collect();
    flags.figures.count(Protocol::Assignments, assignments.len());
    let answer = Answer { unit, revision: set.revision, published_at: &set.date, attributes: &attributes, assignments };
    let body = serde_json::to_vec(&answer).map_err(|error| ServingError::Thread { detail: error.to_string() })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// JSON where it is some, else text: `30`, `true`, `["a"]`, `"30"`, `Germany`.
fn attribute_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

fn assignment<'a>(set: &'a FlagSet, experiment: &'a SnapshotExperiment, attributes: &'a Object) -> Assignment<'a> {
    let context = Context::new(attributes);
    let served = set.compiled.evaluate(&experiment.feature, &context, &mut Log::new());
    let traces = set.compiled.trace(&experiment.feature, &context);
    let found = find(experiment, &traces);
    let own = traces.iter().find(|trace| is_own(trace, experiment));
    let in_experiment = found.reason == Reason::Assigned;
    let result = own.filter(|_| in_experiment).and_then(|trace| trace.result.as_ref());
    let variant = result.map(|result| result.key);
    Assignment {
        experiment: &experiment.key,
        feature: &experiment.feature,
        state: &experiment.state,
        phase: experiment.phase,
        in_experiment,
        variant,
        value: served.value.clone(),
        reason: found.reason,
        detail: found.detail,
        rule: found.rule,
        hash_attribute: &experiment.hash_attribute,
        bucket: own.and_then(|trace| trace.bucket),
        forced: found.reason == Reason::Forced,
    }
}

struct Found<'a> {
    reason: Reason,
    detail: String,
    rule: Option<&'a str>,
}

fn is_own(trace: &RuleTrace<'_>, experiment: &SnapshotExperiment) -> bool {
    trace.experiment.is_some_and(|own| own.key() == experiment.key)
}

/// The reason, from the rules that the unit met on its way.
fn find<'a>(experiment: &SnapshotExperiment, traces: &[RuleTrace<'a>]) -> Found<'a> {
    let key = &experiment.key;
    let last = traces.last().map(|trace| trace.rule);
    let found = |reason, detail: String, rule| Found { reason, detail, rule };
    let applied = traces.iter().find(|trace| trace.outcome == RuleOutcome::Applied);
    let allow_list = format!("{key}/allow_list");
    if let Some(trace) = applied.filter(|trace| trace.rule == allow_list) {
        return found(
            Reason::Forced,
            "the unit is on the experiment's allow-list, or has opened a preview link".to_owned(),
            Some(trace.rule),
        );
    }
    match experiment.state.as_str() {
        "paused" => return found(Reason::Paused, "the experiment is paused; nobody is assigned".to_owned(), last),
        "draft" | "review" => {
            return found(Reason::NotRunning, format!("the experiment is in `{}`", experiment.state), last);
        }
        _ => {}
    }
    let winner = format!("{key}/winner");
    if let Some(trace) = traces.iter().find(|trace| trace.rule == winner || is_own(trace, experiment)) {
        return reached(trace);
    }
    match applied {
        Some(trace) if trace.result.as_ref().is_some_and(|result| result.key == HELD_OUT) => {
            let detail = format!("the holdout `{}` keeps the unit out of experiments", trace.rule);
            found(Reason::Holdout, detail, Some(trace.rule))
        }
        Some(trace) => found(
            Reason::EarlierRule,
            format!("the rule `{}` of the same feature gave the value before", trace.rule),
            Some(trace.rule),
        ),
        None => found(Reason::NotRunning, "the payload has no rule of this experiment".to_owned(), last),
    }
}

/// What came of the experiment's own rule, or of that of its winner.
fn reached<'a>(trace: &RuleTrace<'a>) -> Found<'a> {
    let bucket = trace.bucket.map_or("none".to_owned(), |bucket| bucket.to_string());
    let (reason, detail) = match trace.outcome {
        RuleOutcome::Applied if trace.experiment.is_none() => {
            (Reason::Winner, "the experiment is decided; its winner is served".to_owned())
        }
        RuleOutcome::Applied | RuleOutcome::PassedThrough => {
            (Reason::Assigned, format!("the unit's bucket {bucket} lies in the variant's share"))
        }
        RuleOutcome::Prerequisite => {
            (Reason::Prerequisite, "a feature that it depends on has another value".to_owned())
        }
        RuleOutcome::Layer => {
            (Reason::LayerSlot, "the unit lies outside the experiment's slots in its layers".to_owned())
        }
        RuleOutcome::Audience => (Reason::Audience, "the unit's attributes do not fit the audience".to_owned()),
        RuleOutcome::Coverage => {
            (Reason::Coverage, format!("the unit's bucket {bucket} lies outside the share that takes part"))
        }
        RuleOutcome::NoUnit => (Reason::NoUnit, "the attribute that names units is missing or empty".to_owned()),
        RuleOutcome::EarlierPhase => {
            (Reason::EarlierPhase, "the unit was assigned in a phase that is excluded by now".to_owned())
        }
        RuleOutcome::Address | RuleOutcome::Off => (Reason::Off, "the rule is switched off".to_owned()),
    };
    Found { reason, detail, rule: Some(trace.rule) }
}
