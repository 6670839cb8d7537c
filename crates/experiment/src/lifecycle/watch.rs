//! What is due for an experiment without anybody at the keyboard: a start, a step of its ramp, a stop.
//!
//! In: a [`Course`], what its results say, the policy, a moment.  Out: [`Due`], at most one.
//! A stop never decides: it pauses, with a proposed verdict.  Harm comes before the clock, and the clock before growth.
//! Never here: computing results, doing what is due, telling anybody (see `alerts`).
//! Start at [`watch`].

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::approval::traffic_share;
use super::evidence::{Evidence, Harm};
use super::{By, Course, Proposal, State, Step};
use crate::decision::{Code, Reason, Verdict};

/// A step of a ramp rests on results of the last hour: every few minutes would read the same days again.
const FRESH: TimeDelta = TimeDelta::hours(1);

/// What is due.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "due", rename_all = "snake_case")]
pub enum Due {
    Start,
    /// Raise the coverage.
    Ramp {
        coverage: f64,
    },
    /// Pause, with a proposal.
    Stop {
        because: Vec<Cause>,
        proposal: Option<Proposal>,
    },
    /// The moment has come, and something stands in the way.
    Hold {
        /// `start` or `ramp`.
        verb: &'static str,
        because: Vec<Obstacle>,
    },
}

/// Why an experiment stops.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Cause {
    /// A guardrail is worse than its margin.
    Guardrail { metric: String, arm: String },
    /// Arms have other numbers of units than planned.
    SampleRatio { p: f64 },
    /// The planned end has come.
    PlannedEnd { end: DateTime<Utc> },
    /// As many units as were planned have come, and the least runtime has passed.
    PlannedUnits { units: u64, planned: u64 },
    /// It has run for as long as it may.
    LongestRuntime { days: f64, most: u32 },
}

/// What stands in the way of a start or a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Obstacle {
    /// Somebody has to approve of so much traffic.
    NotApproved { share: f64 },
    /// The results were not computed just now.
    NoResults,
    /// Nobody was exposed: nothing is known of the step before.
    NoExposure,
    /// The metrics' tables know nothing of the time since the last step.
    NoDataSince { since: DateTime<Utc> },
    /// Something has to be mended first.
    Health { reason: Reason },
    /// The plan cannot be decided by.
    Undecidable,
    /// A guardrail is worse than its margin.
    Guardrail { metric: String, arm: String },
    /// The primary metric is worse.
    Goal { metric: String },
    /// Too few units to say anything of a guardrail.
    TooFewUnits { metric: String },
}

/// What is due. `evidence`: of results that were computed just now; `None` where that was not to be, or failed: then time alone decides, and
/// nothing grows.
/// `by`: who lets the rules look, when, under which policy, and what the groups hold.
pub fn watch(course: &Course, evidence: Option<&Evidence>, by: By<'_>) -> Option<Due> {
    match course.state {
        State::Review => start(course, by),
        State::Running => stop(course, evidence, by.at).or_else(|| ramp(course, evidence, by)),
        State::Draft | State::Paused | State::Decided | State::Archived => None,
    }
}

/// Whether results have to be computed before [`watch`] is asked. `last`: when that was done last for this phase, with what was due then done.
pub fn wants_results(course: &Course, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    if course.state != State::Running {
        return false;
    }
    let is_stale = last.is_none_or(|last| now - last >= FRESH || last > now);
    course.schedule.refresh.is_due(last, now)
        || is_over(course, now).next().is_some()
        || (is_stale && step_due(course, now).is_some())
}

fn start(course: &Course, by: By<'_>) -> Option<Due> {
    course.schedule.start.filter(|start| *start <= by.at)?;
    Some(match unapproved(course, course.planned_coverage(), by) {
        Some(obstacle) => Due::Hold { verb: "start", because: vec![obstacle] },
        None => Due::Start,
    })
}

fn unapproved(course: &Course, coverage: f64, by: By<'_>) -> Option<Obstacle> {
    let share = traffic_share(&course.assignment, coverage);
    // Without a hash there is no approval that could cover it.
    let is_approved = course.is_approved(share, by).unwrap_or_default();
    (by.policy.asks(share) && !is_approved).then_some(Obstacle::NotApproved { share })
}

/// The causes that the clock alone gives.
fn is_over(course: &Course, now: DateTime<Utc>) -> impl Iterator<Item = Cause> {
    let end = course.analysis.end.filter(|end| *end <= now).map(|end| Cause::PlannedEnd { end });
    let (days, most) = (course.days_running(now), course.analysis.max_days);
    let longest = (days >= f64::from(most)).then_some(Cause::LongestRuntime { days, most });
    end.into_iter().chain(longest)
}

fn stop(course: &Course, evidence: Option<&Evidence>, now: DateTime<Utc>) -> Option<Due> {
    let mut because = Vec::new();
    let guarded = evidence.filter(|_| course.schedule.rolls_back());
    if let Some(found) = guarded {
        because.extend(found.harmed.iter().map(|harm| {
            let Harm { metric, arm } = harm.clone();
            Cause::Guardrail { metric, arm }
        }));
        because.extend(found.sample_ratio_p.map(|p| Cause::SampleRatio { p }));
    }
    let proposal = if because.is_empty() { evidence.and_then(proposed) } else { Some(rolled_back(course, &because)) };
    because.extend(is_over(course, now));
    let planned = course.analysis.planned_units.zip(evidence).filter(|(planned, found)| found.units >= *planned);
    // Not before the least runtime, as in verdicts: weekdays differ, however many come on one of them.
    if let Some((planned, found)) = planned.filter(|_| course.days_running(now) >= f64::from(course.analysis.min_days))
    {
        because.push(Cause::PlannedUnits { units: found.units, planned });
    }
    (!because.is_empty()).then_some(Due::Stop { because, proposal })
}

/// What the rules say of the results.
fn proposed(found: &Evidence) -> Option<Proposal> {
    Some(Proposal { verdict: found.verdict.clone()?, arm: found.arm.clone() })
}

/// Harm is rolled back. Where only the sample ratio is wrong, no effect can be read, and nothing is to be served.
fn rolled_back(course: &Course, because: &[Cause]) -> Proposal {
    let mut reasons: Vec<Reason> = because.iter().filter_map(guardrail).collect();
    reasons.dedup();
    let is_harm = !reasons.is_empty();
    if !is_harm {
        reasons.extend(because.iter().filter_map(|cause| match cause {
            Cause::SampleRatio { p } => Some(Reason::SequentialSampleRatio { p: *p }),
            Cause::Guardrail { .. }
            | Cause::PlannedEnd { .. }
            | Cause::PlannedUnits { .. }
            | Cause::LongestRuntime { .. } => None,
        }));
    }
    let code = if is_harm { Code::RollBack } else { Code::FixFirst };
    let control = course.assignment.variants.first().map(|variant| variant.key.clone());
    Proposal { verdict: Verdict { code, reasons, days_left: None }, arm: control.filter(|_| is_harm) }
}

fn guardrail(cause: &Cause) -> Option<Reason> {
    match cause {
        Cause::Guardrail { metric, .. } => Some(Reason::Guardrail { metric: metric.clone() }),
        Cause::SampleRatio { .. }
        | Cause::PlannedEnd { .. }
        | Cause::PlannedUnits { .. }
        | Cause::LongestRuntime { .. } => None,
    }
}

/// The coverage of the step whose moment has come: the planned one, and so long after the step before as was planned, pauses not counted. Who
/// starts late, or was not looked at for a week, does not get two steps at once.
fn step_due(course: &Course, now: DateTime<Utc>) -> Option<f64> {
    let (step, gap) = course.schedule.next_step(course.assignment.coverage, course.counts_from())?;
    let since = course.raised_at.or(course.started_at())?;
    let ran = |from: DateTime<Utc>, to: DateTime<Utc>| (to.min(now) - from.max(since)).max(TimeDelta::zero());
    let running: TimeDelta = course.spans.iter().map(|span| ran(span.from, span.to.unwrap_or(now))).sum();
    (step.at <= now && running >= gap).then_some(step.coverage)
}

fn ramp(course: &Course, evidence: Option<&Evidence>, by: By<'_>) -> Option<Due> {
    let coverage = step_due(course, by.at)?;
    let mut because: Vec<Obstacle> = unapproved(course, coverage, by).into_iter().collect();
    match evidence {
        None => because.push(Obstacle::NoResults),
        Some(found) => because.extend(obstacles(course, found)),
    }
    Some(if because.is_empty() { Due::Ramp { coverage } } else { Due::Hold { verb: "ramp", because } })
}

/// What of the results speaks against more traffic.
fn obstacles(course: &Course, found: &Evidence) -> Vec<Obstacle> {
    let mut because = Vec::new();
    if found.exposures == 0 {
        because.push(Obstacle::NoExposure);
    }
    let since = course.raised_at.or(course.started_at());
    because.extend(
        since
            .filter(|since| found.data_until.is_none_or(|until| until <= *since))
            .map(|since| Obstacle::NoDataSince { since }),
    );
    because.extend(found.ailments.iter().map(|reason| Obstacle::Health { reason: reason.clone() }));
    if let Some(p) = found.sample_ratio_p.filter(|_| found.ailments.is_empty()) {
        because.push(Obstacle::Health { reason: Reason::SequentialSampleRatio { p } });
    }
    because.extend(
        found.harmed.iter().map(|harm| Obstacle::Guardrail { metric: harm.metric.clone(), arm: harm.arm.clone() }),
    );
    because.extend(found.unknown.iter().map(|metric| Obstacle::TooFewUnits { metric: metric.clone() }));
    because.extend(
        found
            .significant
            .iter()
            .filter(|goal| !goal.is_better)
            .map(|goal| Obstacle::Goal { metric: goal.metric.clone() }),
    );
    if found.verdict.is_none() {
        because.push(Obstacle::Undecidable);
    }
    because
}

impl Course {
    /// The coverage that it has or, by its ramp, will have, 0.0–1.0: what an approval has to cover.
    pub fn planned_coverage(&self) -> f64 {
        self.schedule.highest(self.assignment.coverage)
    }

    /// The key of the schedule that is wrong, and why. What has started has grown into its ramp.
    pub(super) fn schedule_problem(&self) -> Option<(String, String)> {
        let is_new = matches!(self.state, State::Draft | State::Review);
        let found = self.schedule.problem(&self.analysis, is_new.then_some(self.assignment.coverage));
        found.map(|(field, problem)| (format!("schedule.{field}"), problem))
    }

    /// Keeps when a coverage grew: steps of a ramp keep their distance from it.
    pub(super) fn note_raise(&mut self, before: f64, at: DateTime<Utc>) {
        if self.assignment.coverage > before {
            self.raised_at = Some(at);
        }
    }
}

impl Due {
    /// The step that does it; `None` for what is held.
    pub fn step(&self) -> Option<Step> {
        match self {
            Self::Start => Some(Step::Start),
            Self::Ramp { coverage } => Some(Step::Ramp { coverage: *coverage }),
            Self::Stop { proposal, .. } => Some(Step::Stop { reason: self.reason(), proposal: proposal.clone() }),
            Self::Hold { .. } => None,
        }
    }

    /// Why, for the audit log: codes with figures.
    pub fn reason(&self) -> String {
        match self {
            Self::Start => "scheduled start".to_owned(),
            Self::Ramp { coverage } => format!("step of the ramp to {coverage}"),
            Self::Stop { because, .. } => {
                let causes: Vec<String> = because.iter().map(Cause::words).collect();
                causes.join("; ")
            }
            Self::Hold { .. } => String::new(),
        }
    }
}

impl Cause {
    fn words(&self) -> String {
        match self {
            Self::Guardrail { metric, arm } => format!("guardrail `{metric}` is harmed in `{arm}`"),
            Self::SampleRatio { p } => format!("sample ratio, p {p:.2e}"),
            Self::PlannedEnd { end } => format!("planned end {}", end.to_rfc3339()),
            Self::PlannedUnits { units, planned } => format!("{units} of {planned} planned units"),
            Self::LongestRuntime { days, most } => format!("{days:.1} of at most {most} days"),
        }
    }
}
