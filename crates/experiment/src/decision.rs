//! What to do about an experiment: one of five verdicts, by fixed rules, from facts that others computed.
//!
//! In: [`Facts`]: health, clock, and per treatment arm the intervals of the planned metrics.  Out: a [`Decision`]: a verdict per
//! arm, one for the experiment, and the arm to ship.  Health comes before effects, harm before benefit.
//! Source of the rules: Schultzberg, Ankargren & Frånberg, arXiv 2402.11609 (success and guardrail metrics decided together).
//! Never here: statistics, words for people, what a person decides against the verdict.
//! Start at [`decide`].

use serde::{Deserialize, Serialize};

use crate::stats::error::{allowed, enough, finite};
use crate::stats::non_inferiority::Preference;
use crate::stats::sample_ratio::SAMPLE_RATIO_ALPHA;
use crate::stats::{Interval, StatsError};

/// More units than this share seen in several arms: arms are mixed up.
pub const MOST_MULTIPLE_EXPOSURE: f64 = 0.01;
/// A covariate from before exposure that differs with a smaller p: assignment is not random.
pub const PRE_EXPOSURE_ALPHA: f64 = 0.001;
/// An experiment that shows nobody anything for so long after its start is not connected.
pub const SILENT_HOURS: f64 = 24.0;
/// Before it, and below [`LEAST_CONVERSIONS`] in any arm, effects are not to be read.
pub const LEAST_DAYS_TO_READ: f64 = 1.0;
/// See [`LEAST_DAYS_TO_READ`].
pub const LEAST_CONVERSIONS: u64 = 100;
/// Whole weeks, because weekdays differ; the first is the least.
pub const DEFAULT_LEAST_DAYS: f64 = 7.0;
/// Eight weeks: later, cookies and novelty say more than the treatment.
pub const DEFAULT_MOST_DAYS: f64 = 56.0;

/// The five verdicts, in the order in which their rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Code {
    FixFirst,
    RollBack,
    Ship,
    NoDifference,
    KeepRunning,
}

/// Why, with the figures that decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Reason {
    // fix_first
    SampleRatio { p: f64 },
    SequentialSampleRatio { p: f64 },
    Leak { units: u64 },
    MultipleExposure { share: f64 },
    PreExposureBias { covariate: String, p: f64 },
    JoinRate { share: f64, least: f64 },
    Stale { hours: f64, most: f64 },
    NoExposure { hours: f64 },
    MissingMetric { metric: String },
    // roll_back
    Guardrail { metric: String },
    Goal { metric: String },
    // no_difference
    Flat,
    InsideMde { mde: f64 },
    GuardrailInconclusive { metric: String },
    Underpowered { power: f64, target: f64 },
    // keep_running
    TooEarly,
}

/// What to do, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Verdict {
    pub code: Code,
    pub reasons: Vec<Reason>,
    /// While it runs, days until it can be decided; when it ended inconclusive, days by which to extend. Where known.
    pub days_left: Option<f64>,
}

/// Whether data and assignment can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    pub sample_ratio_p: f64,
    /// The running minimum, valid at any time.
    pub sequential_sample_ratio_p: f64,
    pub leaked_units: u64,
    pub multiple_exposure_share: f64,
    /// Covariates known before exposure, each with its p.
    pub pre_exposure: Vec<(String, f64)>,
    /// Share of exposed units that the metrics' tables know, and the least accepted.
    pub join_rate: f64,
    pub least_join_rate: f64,
    /// Age of the metrics' data, and the most accepted.
    pub data_age_hours: f64,
    pub most_data_age_hours: f64,
    pub exposures: u64,
    pub missing_metrics: Vec<String>,
}

/// Where the experiment stands in its plan. Days in which it was paused do not count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    pub days_running: f64,
    pub least_days: f64,
    pub most_days: f64,
    /// The planned end, if it is a day.
    pub planned_days: Option<f64>,
    /// The planned end, if it is a number of units, is reached.
    pub has_planned_units: bool,
}

impl Clock {
    /// The end is reached: never before the least runtime, always at the longest.
    fn is_over(&self) -> bool {
        let is_planned = self.has_planned_units || self.planned_days.is_some_and(|days| self.days_running >= days);
        (is_planned && self.has_least_days()) || self.days_running >= self.most_days
    }

    fn has_least_days(&self) -> bool {
        self.days_running >= self.least_days
    }

    /// Days until `wanted` more have passed, but not before the least runtime and not after the end.
    fn days_left(&self, wanted: Option<f64>) -> f64 {
        let least = (self.least_days - self.days_running).max(0.0);
        let end = self.planned_days.unwrap_or(self.most_days).max(self.least_days).min(self.most_days);
        let most = (end - self.days_running).max(0.0);
        wanted.unwrap_or(most).max(least).min(most)
    }
}

/// What a metric means for the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The goal: a success metric, and the one whose harm rolls back.
    Primary,
    /// Another success metric.
    Success,
    /// Must not be worse than by `margin` ≥ 0, on the interval's scale.
    Guardrail { margin: f64 },
    /// Shown, decides nothing.
    Watched,
}

/// A metric in one arm, against control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricFact {
    pub key: String,
    pub role: Role,
    pub preference: Preference,
    pub estimate: f64,
    /// Valid at this look (always-valid while running, fixed at the end). Of success metrics at α by their number; of guardrails
    /// the good end belongs to the one-sided test for harm, the bad end to that for non-inferiority.
    pub interval: Interval,
    /// Added after the start: never part of the verdict.
    pub is_post_hoc: bool,
}

impl MetricFact {
    /// The interval turned so that more is better.
    fn wanted(&self) -> (f64, f64) {
        match self.preference {
            Preference::Increase => (self.interval.lower, self.interval.upper),
            Preference::Decrease => (-self.interval.upper, -self.interval.lower),
        }
    }

    fn is_success(&self) -> bool {
        match self.role {
            Role::Primary | Role::Success => true,
            Role::Guardrail { .. } | Role::Watched => false,
        }
    }

    fn margin(&self) -> Option<f64> {
        match self.role {
            Role::Guardrail { margin } => Some(margin),
            Role::Primary | Role::Success | Role::Watched => None,
        }
    }

    fn is_better(&self) -> bool {
        self.wanted().0 > 0.0
    }

    fn is_worse(&self) -> bool {
        self.wanted().1 < 0.0
    }
}

/// One treatment arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmFacts {
    pub arm: String,
    /// Conversions of the primary metric, here and in control.
    pub conversions: u64,
    pub control_conversions: u64,
    pub metrics: Vec<MetricFact>,
    /// The smallest effect worth finding, on the scale of the primary's interval.
    pub mde: Option<f64>,
    /// Power for it by now, and as planned.
    pub power: Option<f64>,
    pub target_power: f64,
    /// Days until the planned power is reached, from the units per day so far.
    pub days_to_power: Option<f64>,
}

/// Everything that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub health: Health,
    pub clock: Clock,
    pub arms: Vec<ArmFacts>,
}

/// The verdict of one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmVerdict {
    pub arm: String,
    pub verdict: Verdict,
}

/// The verdicts of all arms, and what they come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// That of the arm proposed; without one: keep running while any arm should, no difference when any arm shows none, else
    /// roll back.
    pub verdict: Verdict,
    pub arms: Vec<ArmVerdict>,
    /// The arm to ship: the shippable one with the best primary estimate.
    pub proposal: Option<String>,
}

/// Applies the rules. Same facts, same decision.
///
/// Errors: no arm, an arm without exactly one planned primary metric, a figure that is not a number, a negative margin or MDE.
pub fn decide(facts: &Facts) -> Result<Decision, StatsError> {
    check(facts)?;
    let ailments = ailments(&facts.health, &facts.clock);
    let mut arms = Vec::with_capacity(facts.arms.len());
    let mut best: Option<(f64, usize)> = None;
    for (index, arm) in facts.arms.iter().enumerate() {
        let planned: Vec<&MetricFact> = arm.metrics.iter().filter(|metric| !metric.is_post_hoc).collect();
        let primary = primary_of(&planned)?;
        let verdict = if ailments.is_empty() {
            judge(arm, &planned, primary, &facts.clock)
        } else {
            Verdict { code: Code::FixFirst, reasons: ailments.clone(), days_left: None }
        };
        let gain = primary.preference.sign() * primary.estimate;
        if verdict.code == Code::Ship && best.is_none_or(|(most, _)| gain > most) {
            best = Some((gain, index));
        }
        arms.push(ArmVerdict { arm: arm.arm.clone(), verdict });
    }
    let first = |code: Code| arms.iter().position(|arm| arm.verdict.code == code);
    let proposed = best.map(|(_, index)| index);
    let leading = proposed.or_else(|| first(Code::KeepRunning)).or_else(|| first(Code::NoDifference)).unwrap_or(0);
    let proposal = proposed.map(|index| arms[index].arm.clone());
    Ok(Decision { verdict: arms[leading].verdict.clone(), proposal, arms })
}

fn primary_of<'a>(planned: &[&'a MetricFact]) -> Result<&'a MetricFact, StatsError> {
    let primaries: Vec<&MetricFact> = planned.iter().copied().filter(|metric| metric.role == Role::Primary).collect();
    match primaries[..] {
        [primary] => Ok(primary),
        _ => {
            let (name, value) = ("planned primary metrics of an arm", primaries.len() as f64);
            Err(StatsError::OutOfRange { name, value, allowed: "1" })
        }
    }
}

/// Rule 1: what has to be mended before any effect is read.
fn ailments(health: &Health, clock: &Clock) -> Vec<Reason> {
    let mut found = Vec::new();
    let mut report = |is_ill: bool, reason: Reason| {
        if is_ill {
            found.push(reason);
        }
    };
    let p = health.sample_ratio_p;
    report(p < SAMPLE_RATIO_ALPHA, Reason::SampleRatio { p });
    let p = health.sequential_sample_ratio_p;
    report(p < SAMPLE_RATIO_ALPHA, Reason::SequentialSampleRatio { p });
    report(health.leaked_units > 0, Reason::Leak { units: health.leaked_units });
    let share = health.multiple_exposure_share;
    report(share > MOST_MULTIPLE_EXPOSURE, Reason::MultipleExposure { share });
    for (covariate, p) in &health.pre_exposure {
        report(*p < PRE_EXPOSURE_ALPHA, Reason::PreExposureBias { covariate: covariate.clone(), p: *p });
    }
    let hours = clock.days_running * 24.0;
    let is_silent = health.exposures == 0;
    report(is_silent && hours >= SILENT_HOURS, Reason::NoExposure { hours });
    // Where nobody was exposed there is nothing to join and nothing to be fresh.
    let (share, least) = (health.join_rate, health.least_join_rate);
    report(!is_silent && share < least, Reason::JoinRate { share, least });
    let (hours, most) = (health.data_age_hours, health.most_data_age_hours);
    report(!is_silent && hours > most, Reason::Stale { hours, most });
    for metric in &health.missing_metrics {
        report(true, Reason::MissingMetric { metric: metric.clone() });
    }
    found
}

/// Rules 2 to 5 for one healthy arm.
fn judge(arm: &ArmFacts, planned: &[&MetricFact], primary: &MetricFact, clock: &Clock) -> Verdict {
    let verdict = |code, reasons, days_left| Verdict { code, reasons, days_left };
    let harmed = harms(planned, primary);
    if !harmed.is_empty() {
        return verdict(Code::RollBack, harmed, None);
    }
    let has_success = planned.iter().any(|metric| metric.is_success() && metric.is_better());
    let undecided: Vec<Reason> = planned
        .iter()
        .filter(|metric| metric.margin().is_some_and(|margin| metric.wanted().0 <= -margin))
        .map(|metric| Reason::GuardrailInconclusive { metric: metric.key.clone() })
        .collect();
    if has_success && undecided.is_empty() && clock.has_least_days() {
        return verdict(Code::Ship, Vec::new(), None);
    }
    let inside = arm.mde.filter(|mde| primary.interval.lower > -mde && primary.interval.upper < *mde);
    if clock.is_over() {
        // Guardrails only stand in the way of something: without a success they are not the reason.
        if has_success {
            return verdict(Code::NoDifference, undecided, arm.days_to_power);
        }
        if let Some(mde) = inside {
            return verdict(Code::NoDifference, vec![Reason::InsideMde { mde }], None);
        }
        if let Some(power) = arm.power.filter(|power| *power < arm.target_power) {
            let reason = Reason::Underpowered { power, target: arm.target_power };
            return verdict(Code::NoDifference, vec![reason], arm.days_to_power);
        }
        return verdict(Code::NoDifference, vec![Reason::Flat], None);
    }
    // A success that only waits for its runtime or a guardrail is a difference, however small.
    if let Some(mde) = inside.filter(|_| !has_success) {
        return verdict(Code::NoDifference, vec![Reason::InsideMde { mde }], None);
    }
    let is_early =
        clock.days_running < LEAST_DAYS_TO_READ || arm.conversions.min(arm.control_conversions) < LEAST_CONVERSIONS;
    let reasons = if is_early { vec![Reason::TooEarly] } else { Vec::new() };
    // With a success and sound guardrails only the least runtime is missing.
    let wanted = if has_success && undecided.is_empty() { Some(0.0) } else { arm.days_to_power };
    verdict(Code::KeepRunning, reasons, Some(clock.days_left(wanted)))
}

/// Rule 2: guardrails wholly beyond their margin, and a primary metric that is worse.
fn harms(planned: &[&MetricFact], primary: &MetricFact) -> Vec<Reason> {
    let is_harmed = |metric: &&&MetricFact| metric.margin().is_some_and(|margin| metric.wanted().1 < -margin);
    let mut harmed: Vec<Reason> =
        planned.iter().filter(is_harmed).map(|metric| Reason::Guardrail { metric: metric.key.clone() }).collect();
    if primary.is_worse() {
        harmed.push(Reason::Goal { metric: primary.key.clone() });
    }
    harmed
}

fn check(facts: &Facts) -> Result<(), StatsError> {
    enough("treatment arms", facts.arms.len(), 1)?;
    let (health, clock) = (&facts.health, &facts.clock);
    let shares = [
        ("sample ratio p", health.sample_ratio_p),
        ("sequential sample ratio p", health.sequential_sample_ratio_p),
        ("multiple exposure share", health.multiple_exposure_share),
        ("join rate", health.join_rate),
        ("least join rate", health.least_join_rate),
    ];
    let pre_exposure = health.pre_exposure.iter().map(|(_, p)| ("pre-exposure p", *p));
    for (name, value) in shares.into_iter().chain(pre_exposure) {
        allowed(name, value, (0.0..=1.0).contains(&value), "between 0 and 1")?;
    }
    let spans = [
        ("data age", health.data_age_hours),
        ("most data age", health.most_data_age_hours),
        ("days running", clock.days_running),
        ("least days", clock.least_days),
        ("most days", clock.most_days),
        ("planned days", clock.planned_days.unwrap_or(0.0)),
    ];
    for (name, value) in spans {
        allowed(name, value, value >= 0.0, "at least 0")?;
    }
    allowed("most days", clock.most_days, clock.most_days >= clock.least_days, "at least the least days")?;
    for arm in &facts.arms {
        for (name, value) in [("mde", arm.mde), ("days to power", arm.days_to_power), ("power", arm.power)] {
            let value = value.unwrap_or(0.0);
            allowed(name, value, value >= 0.0, "at least 0")?;
        }
        for metric in &arm.metrics {
            finite("estimate", metric.estimate)?;
            let width = metric.interval.upper - metric.interval.lower;
            allowed("width of an interval", width, width >= 0.0, "at least 0, its ends being numbers")?;
            let margin = metric.margin().unwrap_or(0.0);
            allowed("margin", margin, margin >= 0.0, "at least 0")?;
        }
    }
    Ok(())
}
