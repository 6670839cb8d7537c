//! What a launch still needs, and what it should know: codes with figures, no prose.
//!
//! In: a [`Course`], the experiments beside it, and [`LaunchFacts`] of those who know metrics and traffic.  Out: a [`Checklist`].
//! Never here: words for people; statistics (power comes in as a number); approvals (see `approval`).
//! Start at [`checklist`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Course, State, days_between};
use crate::assign::Value;
use crate::layer::Layer;
use crate::metric::MetricFile;
use crate::plan::AnalysisPlan;
use crate::program::{Flag, ValueType};

/// Below this chance of finding the planned effect, an experiment is likely to end with nothing learned (Cohen 1988, ch. 2.4: .8).
pub const LEAST_POWER: f64 = 0.8;
/// Weekdays differ: less than a whole week is not representative.
pub const LEAST_DAYS: f64 = 7.0;
/// A metric that found so many of its A/A tests different is not to be trusted; the score is 0.0–1.0.
pub const LEAST_TRUST: f64 = 0.5;

/// What only others know: project files, warehouse, SDKs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaunchFacts {
    /// Every metric that exists, by name.
    pub metrics: BTreeMap<String, MetricFile>,
    /// Power of the decision at the planned end, 0.0–1.0, where it was computed of the content as it stands.
    pub power: Option<f64>,
    /// Why there is none.
    pub power_gap: PowerGap,
    /// Days until the planned units have come, by the units that come a day; a planned end goes before it.
    pub planned_days: Option<f64>,
    /// What the table of exposures holds; `None` where nobody asked.
    pub exposure_seen: Option<ExposureSeen>,
    /// Trust in metrics by their A/A tests, 0.0–1.0, where there were any.
    pub metric_trust: BTreeMap<String, f64>,
}

/// What the table that the plan names as its exposures holds, forced and bots' ones included: a forced exposure of somebody who tries the
/// experiment has come the whole way, and shows that the others will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ExposureSeen {
    /// Any exposure of this experiment, or of any in the last 30 days.
    Seen,
    /// The table is there and has never held a row: no experiment has run yet, and nothing can be told from that.
    NoneYet,
    /// There were exposures, but none of these: what worked once works no more.
    Silent,
    /// The table is not there, or lacks one of the columns that an analysis reads. Nothing could be analyzed, and while it runs the plan
    /// cannot name another.
    NoTable,
}

/// For so many days an exposure of another experiment shows that exposures come in.
pub const EXPOSURE_DAYS: u32 = 30;

/// Why the power of a launch is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum PowerGap {
    #[default]
    NeverComputed,
    /// It was computed of other arms, weights, metrics, coverage or another plan.
    Edited,
    /// It was computed, and a metric that decides has no figures, or the plan no end.
    NoFigures,
}

/// What stands in the way of a launch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Blocker {
    /// At least two arms.
    TooFewArms { arms: usize },
    /// Weights, coverage, audience, or anything else of the assignment that is wrong on its own; the sentence of the error.
    Assignment { problem: String },
    /// No metric decides.
    NoPrimaryMetric,
    /// A guardrail's margin is no share in [0, 1).
    GuardrailMargin { metric: String },
    /// Another key of the plan.
    Plan { field: String, problem: String },
    /// Neither a number of units nor an end.
    NoPlannedEnd,
    /// The slot meets another's, or has no layer.
    Slot { layer: String, problem: String },
    /// The values of the arms, or the flag, are of different types.
    ValueType { variant: String, expected: ValueType, found: ValueType },
    /// The control does not serve the flag's default.
    ControlIsNotDefault { flag: String },
    /// A metric of the plan that nobody has defined.
    NoSuchMetric { metric: String },
    /// The holdout is not there.
    NoSuchHoldout { holdout: String },
    /// Exposures do not come in. Force a variant on yourself, look at it, and load what was reported.
    ExposureNotSeen { table: String, found: ExposureSeen },
}

/// What a launch should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Warning {
    LowPower {
        power: f64,
        least: f64,
    },
    ShortRuntime {
        days: f64,
        least: f64,
    },
    /// A running experiment on the same audience with the same primary metric.
    Overlap {
        experiment: String,
        metric: String,
    },
    LowTrust {
        metric: String,
        trust: f64,
    },
    /// `next`: the command that computes it.
    PowerUnknown {
        why: PowerGap,
        next: String,
    },
    /// No experiment has ever had an exposure: whether they come in, nobody has seen.
    NoExposureYet {
        table: String,
    },
}

/// What a launch needs and should know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Checklist {
    /// None of these may be left.
    pub blockers: Vec<Blocker>,
    pub warnings: Vec<Warning>,
}

/// What is around an experiment.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// All other experiments.
    pub others: &'a [Course],
    pub layers: &'a [Layer],
    /// Keys of holdouts.
    pub holdouts: &'a [String],
    pub flags: &'a [Flag],
}

/// Looks at everything at once, so that people mend it in one go.
pub fn checklist(course: &Course, around: Surroundings<'_>, facts: &LaunchFacts) -> Checklist {
    let mut blockers = Vec::new();
    let arms = course.assignment.variants.len();
    if arms < 2 {
        blockers.push(Blocker::TooFewArms { arms });
    } else if let Err(error) = course.assignment.check() {
        blockers.push(Blocker::Assignment { problem: error.to_string() });
    }
    plan(&course.analysis, facts, &mut blockers);
    blockers.extend(course.schedule_problem().map(|(field, problem)| Blocker::Plan { field, problem }));
    slots(course, around, &mut blockers);
    values(course, around.flags, &mut blockers);
    if let Some(holdout) = course.assignment.holdout.as_ref().filter(|key| !around.holdouts.contains(key)) {
        blockers.push(Blocker::NoSuchHoldout { holdout: holdout.clone() });
    }
    if let Some(found @ (ExposureSeen::Silent | ExposureSeen::NoTable)) = facts.exposure_seen {
        blockers.push(Blocker::ExposureNotSeen { table: course.analysis.exposures.to_string(), found });
    }
    Checklist { blockers, warnings: warnings(course, around.others, facts) }
}

fn plan(plan: &AnalysisPlan, facts: &LaunchFacts, blockers: &mut Vec<Blocker>) {
    if plan.goals.is_empty() {
        blockers.push(Blocker::NoPrimaryMetric);
    }
    let bad = plan.guardrails.iter().filter(|guardrail| !(0.0..1.0).contains(&guardrail.margin));
    blockers.extend(bad.map(|guardrail| Blocker::GuardrailMargin { metric: guardrail.metric.clone() }));
    if let Some((field, problem)) = plan.problem().filter(|_| blockers.is_empty()) {
        blockers.push(Blocker::Plan { field: field.to_owned(), problem });
    }
    if plan.end.is_none() && plan.planned_units.is_none() {
        blockers.push(Blocker::NoPlannedEnd);
    }
    let unknown = plan.metrics().into_iter().filter(|metric| !facts.metrics.contains_key(*metric));
    blockers.extend(unknown.map(|metric| Blocker::NoSuchMetric { metric: metric.to_owned() }));
}

/// Slots that running and paused experiments have not taken.
fn slots(course: &Course, around: Surroundings<'_>, blockers: &mut Vec<Blocker>) {
    let taken = around.others.iter().filter(|other| matches!(other.state, State::Running | State::Paused));
    let taken: Vec<&Course> = taken.collect();
    let mut names: Vec<&str> = course.assignment.slots.iter().map(|slot| slot.layer.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let Some(layer) = around.layers.iter().find(|layer| layer.name == name) else {
            let problem = "is not there: define it, or name another".to_owned();
            blockers.push(Blocker::Slot { layer: name.to_owned(), problem });
            continue;
        };
        let all: Vec<_> = taken
            .iter()
            .copied()
            .chain([course])
            .flat_map(|other| other.assignment.slots.iter().map(|slot| (other.key(), slot)))
            .filter(|(_, slot)| slot.layer == name)
            .collect();
        if let Err(error) = layer.check(&all) {
            blockers.push(Blocker::Slot { layer: name.to_owned(), problem: error.to_string() });
        }
    }
}

fn values(course: &Course, flags: &[Flag], blockers: &mut Vec<Blocker>) {
    let Some(control) = course.assignment.variants.first() else { return };
    let flag = flags.iter().find(|flag| flag.key == course.assignment.feature());
    if let Some(flag) = flag.filter(|flag| flag.default != control.value) {
        blockers.push(Blocker::ControlIsNotDefault { flag: flag.key.clone() });
    }
    let expected = flag.map_or_else(|| ValueType::of(&control.value), |flag| flag.value_type);
    let other = course.assignment.variants.iter().find(|variant| !expected.holds(&variant.value));
    blockers.extend(other.map(|variant| Blocker::ValueType {
        variant: variant.key.clone(),
        expected,
        found: ValueType::of(&variant.value),
    }));
}

fn warnings(course: &Course, others: &[Course], facts: &LaunchFacts) -> Vec<Warning> {
    let mut warnings = Vec::new();
    match facts.power {
        Some(power) if power < LEAST_POWER => warnings.push(Warning::LowPower { power, least: LEAST_POWER }),
        Some(_) => {}
        None => {
            let next = format!("montauk experiment power {}", course.key());
            warnings.push(Warning::PowerUnknown { why: facts.power_gap, next });
        }
    }
    if facts.exposure_seen == Some(ExposureSeen::NoneYet) {
        warnings.push(Warning::NoExposureYet { table: course.analysis.exposures.to_string() });
    }
    if let Some(days) = planned_days(course, facts).filter(|days| *days < LEAST_DAYS) {
        warnings.push(Warning::ShortRuntime { days, least: LEAST_DAYS });
    }
    if let Some(primary) = course.analysis.goals.first() {
        let beside = others.iter().filter(|other| {
            other.state == State::Running
                && other.analysis.goals.first().is_some_and(|goal| goal.metric == primary.metric)
                && meets(course, other)
        });
        warnings.extend(
            beside.map(|other| Warning::Overlap { experiment: other.key().to_owned(), metric: primary.metric.clone() }),
        );
    }
    for metric in course.analysis.metrics() {
        if let Some(trust) = facts.metric_trust.get(metric).copied().filter(|trust| *trust < LEAST_TRUST) {
            warnings.push(Warning::LowTrust { metric: metric.to_owned(), trust });
        }
    }
    warnings
}

/// Days until the first end that is planned: by the calendar, else by the units that come.
pub fn planned_days(course: &Course, facts: &LaunchFacts) -> Option<f64> {
    let plan = &course.analysis;
    plan.end.map(|end| days_between(course.schedule.begins(plan), end)).or(facts.planned_days)
}

/// Same audience, and no layer keeps them apart. Audiences are compared as written: whether two conditions hold for the same units is not
/// decidable from their text.
fn meets(one: &Course, other: &Course) -> bool {
    let shares_layer =
        one.assignment.slots.iter().any(|slot| other.assignment.slots.iter().any(|taken| taken.layer == slot.layer));
    let audience = |course: &Course| course.assignment.audience.clone().unwrap_or(Value::Null);
    !shares_layer && audience(one) == audience(other)
}
