//! Two artefacts side by side: which parameters and data differ, and what the newest evaluation that measured both says.
//!
//! In: two names.  Out: [`Comparison`].
//! Never here: measuring anything anew (`steps::evaluate`).
//! Start at [`run`].

use std::collections::BTreeSet;

use recommend::{ArtefactHeader, Estimate, ProtocolKind, Repeats, Window, WindowReport};
use serde_json::{Value, json};

use super::list::{ArtefactEntry, entry};
use super::resolve;
use crate::evaluations::{self, Measured};
use crate::project::Project;
use crate::{PipelineError, promotions};

/// How two artefacts differ.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Comparison {
    pub one: ArtefactEntry,
    pub other: ArtefactEntry,
    /// `kind`, `seed` and parameters of the recommender.
    pub parameters: Vec<Difference>,
    /// Contents of the tables that were read, numbers of users, items and events, oldest and newest event.
    pub data: Vec<Difference>,
    /// None when no evaluation measured both.
    pub evaluation: Option<EvaluatedBoth>,
}

/// Something that is not the same; null where one does not have it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Difference {
    pub name: String,
    pub one: Value,
    pub other: Value,
}

/// What one evaluation found of both.
#[derive(Debug, Clone, serde::Serialize)]
pub struct EvaluatedBoth {
    /// The run that measured.
    pub run_id: String,
    pub protocol: ProtocolKind,
    pub window: Window,
    pub users: usize,
    /// Whether it was made on the data that each was trained from.
    pub on_data_of: [bool; 2],
    /// Per user, with intervals; then those of all lists together, such as `coverage@10`, without.
    pub metrics: Vec<MetricOfBoth>,
}

/// One metric of both.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct MetricOfBoth {
    pub metric: String,
    pub one: Measure,
    pub other: Measure,
    /// Mean of `one` − `other` over the same users, where the evaluation has compared them.
    pub difference: Option<Estimate>,
    pub p: Option<f64>,
    /// After Holm, over all pairs of the evaluation.
    pub p_adjusted: Option<f64>,
}

/// A value with its interval, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Measure {
    Estimate(Estimate),
    Plain(f64),
}

/// Compares two.
pub(super) fn run(project: &Project, one: &str, other: &str) -> Result<Comparison, PipelineError> {
    let (one, other) = (resolve(project, one)?, resolve(project, other)?);
    let promotions = promotions::all(&project.promoted_dir())?;
    let evaluations = evaluations::newest_first(&project.reports_dir())?;
    let evaluation = evaluations.iter().find_map(|measured| {
        let names =
            (measured.name_of(&one.header, &one.recommender)?, measured.name_of(&other.header, &other.recommender)?);
        // Two trainings of one recommender are the same to an evaluation, which trains by itself.
        if names.0 == names.1 { None } else { both(measured, names, [&one.header, &other.header]) }
    });
    Ok(Comparison {
        parameters: differences(parameters(&one.header), parameters(&other.header)),
        data: differences(data(&one.header), data(&other.header)),
        one: entry(project, one.artefact, &one.header, &promotions, &evaluations)?,
        other: entry(project, other.artefact, &other.header, &promotions, &evaluations)?,
        evaluation,
    })
}

type Facts = Vec<(String, Value)>;

fn parameters(header: &ArtefactHeader) -> Facts {
    let own = header.parameters.iter().map(|(name, value)| (name.clone(), value.clone()));
    [("kind".to_owned(), json!(header.kind)), ("seed".to_owned(), json!(header.seed))].into_iter().chain(own).collect()
}

fn data(header: &ArtefactHeader) -> Facts {
    let time = |seconds: i64| json!(chrono::DateTime::from_timestamp(seconds, 0));
    let inputs = header.provenance.inputs.iter().map(|(table, content)| (table.clone(), json!(content)));
    let counts = [
        ("users", json!(header.users)),
        ("items", json!(header.items)),
        ("events", json!(header.events)),
        ("from", time(header.first_at)),
        ("until", time(header.last_at)),
    ];
    inputs.chain(counts.map(|(name, value)| (name.to_owned(), value))).collect()
}

/// What is not the same, in the order of the first, then what only the second has.
fn differences(one: Facts, other: Facts) -> Vec<Difference> {
    let find = |facts: &Facts, name: &str| {
        facts.iter().find(|(known, _)| known == name).map_or(Value::Null, |(_, value)| value.clone())
    };
    let mut seen = BTreeSet::new();
    let names = one.iter().chain(&other).map(|(name, _)| name).filter(|name| seen.insert((*name).clone()));
    names
        .map(|name| Difference { name: name.clone(), one: find(&one, name), other: find(&other, name) })
        .filter(|difference| difference.one != difference.other)
        .collect()
}

/// The test window, by the lists that the first makes.
fn both(measured: &Measured, names: (&str, &str), headers: [&ArtefactHeader; 2]) -> Option<EvaluatedBoth> {
    let evaluation = &measured.evaluation;
    let first = evaluation.recommenders.iter().find(|recommender| recommender.name == names.0)?;
    let window = evaluation.window(Window::Test, Repeats::of(first.filter_seen))?;
    Some(EvaluatedBoth {
        run_id: measured.provenance.run_id.clone(),
        protocol: evaluation.protocol.kind,
        window: Window::Test,
        users: window.users,
        on_data_of: headers.map(|header| measured.is_on_data_of(header)),
        metrics: metrics(window, names)?,
    })
}

fn metrics(window: &WindowReport, (one, other): (&str, &str)) -> Option<Vec<MetricOfBoth>> {
    let (ours, theirs) = (window.recommender(one)?, window.recommender(other)?);
    let per_user = ours.metrics.iter().filter_map(|(metric, estimate)| {
        let pair = window.pair(metric, one, other);
        Some(MetricOfBoth {
            metric: metric.clone(),
            one: Measure::Estimate(*estimate),
            other: Measure::Estimate(*theirs.metrics.get(metric)?),
            p: pair.as_ref().map(|pair| pair.p),
            p_adjusted: pair.as_ref().map(|pair| pair.p_adjusted),
            difference: pair.map(|pair| pair.difference),
        })
    });
    let of_lists = ours.list_metrics.iter().filter_map(|(metric, value)| {
        let other = Measure::Plain(*theirs.list_metrics.get(metric)?);
        let one = Measure::Plain(*value);
        Some(MetricOfBoth { metric: metric.clone(), one, other, difference: None, p: None, p_adjusted: None })
    });
    Some(per_user.chain(of_lists).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_left_out_and_what_one_lacks_is_null() {
        let facts =
            |facts: &[(&str, u64)]| facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let found =
            differences(facts(&[("seed", 1), ("lambda", 2)]), facts(&[("seed", 1), ("lambda", 3), ("epochs", 4)]));
        let expected = [("lambda", json!(2), json!(3)), ("epochs", Value::Null, json!(4))];
        let expected = expected.map(|(name, one, other)| Difference { name: name.to_owned(), one, other });
        assert_eq!(found, expected);
    }
}
