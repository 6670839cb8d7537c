//! What may happen to an experiment by itself: its start, its ramp, and how often it is looked at.
//!
//! In: the `[schedule]` of an experiment's file.  Out: a [`Schedule`]; what of it cannot be followed.
//! The planned end and the longest runtime stand in the plan (`analysis.end`, `analysis.max_days`), because verdicts rest on them.
//! Never here: what is due (see `lifecycle::watch`).
//! Start at [`Schedule`].

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use serde::{Deserialize, Serialize};

use crate::plan::AnalysisPlan;

/// Nobody reads more steps than these, and each one needs data of its own.
const MOST_STEPS: usize = 50;

/// What may happen to an experiment by itself.
///
/// ```toml
/// [schedule]
/// start = "2026-11-02T09:00:00Z"
/// refresh = "hourly"
/// ramp = [
///   { at = "2026-11-03T09:00:00Z", coverage = 0.05 },
///   { at = "2026-11-04T09:00:00Z", coverage = 0.5 },
/// ]
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Schedule {
    /// When it starts, once it is in review and approved; by hand if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<DateTime<Utc>>,
    /// How its coverage grows, in the order of time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ramp: Vec<RampStep>,
    /// Whether it is stopped when a guardrail is harmed or the sample ratio is wrong; if it is not given, when it has a ramp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_rollback: Option<bool>,
    /// How often its results are computed.
    #[serde(skip_serializing_if = "Refresh::is_daily")]
    pub refresh: Refresh,
}

/// One step of a ramp.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RampStep {
    /// Not sooner than this; later by as much as the step before was later, and by pauses.
    pub at: DateTime<Utc>,
    /// Share of the audience from then on, 0.0–1.0.
    pub coverage: f64,
}

/// How often results are computed: once in each hour, day or week of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Refresh {
    Hourly,
    #[default]
    Daily,
    Weekly,
    /// By people only.
    Never,
}

impl Refresh {
    fn is_daily(&self) -> bool {
        *self == Self::Daily
    }

    /// Whether another hour, day or week has begun since. A period of the calendar, so that a run which comes a second early skips none.
    /// A moment to come, left by a clock that was put back, is as good as none.
    pub fn is_due(self, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
        let Some(last) = last.filter(|last| *last <= now) else { return self != Self::Never };
        let (then, today) = (last.date_naive(), now.date_naive());
        match self {
            Self::Hourly => (then, last.hour()) != (today, now.hour()),
            Self::Daily => then != today,
            Self::Weekly => then.iso_week() != today.iso_week(),
            Self::Never => false,
        }
    }
}

impl Schedule {
    /// Nothing is planned, and the defaults hold.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// When it begins by plan: at its start, but not before exposures count.
    pub fn begins(&self, plan: &AnalysisPlan) -> DateTime<Utc> {
        self.start.map_or(plan.start, |start| start.max(plan.start))
    }

    /// Whether harm stops it by itself. A ramp is a promise to look; without one, people do. It holds beyond the last step, whose harm
    /// shows only after it.
    pub fn rolls_back(&self) -> bool {
        self.auto_rollback.unwrap_or(!self.ramp.is_empty())
    }

    /// The highest coverage that the ramp reaches, 0.0–1.0; `coverage` without one.
    pub fn highest(&self, coverage: f64) -> f64 {
        self.ramp.iter().map(|step| step.coverage).fold(coverage, f64::max)
    }

    /// The next step beyond a coverage, and how long the step before it has to have run. `begun`: where no start is planned, from when on exposures
    /// count.
    pub fn next_step(&self, coverage: f64, begun: DateTime<Utc>) -> Option<(RampStep, TimeDelta)> {
        let place = self.ramp.iter().position(|step| step.coverage > coverage)?;
        let before = if place == 0 { self.start.unwrap_or(begun) } else { self.ramp[place - 1].at };
        Some((self.ramp[place], (self.ramp[place].at - before).max(TimeDelta::zero())))
    }

    /// The key that is wrong, and why; `None` for a schedule that can be followed. `coverage`: what the experiment starts with; `None` once
    /// it has started and grown.
    pub fn problem(&self, plan: &AnalysisPlan, coverage: Option<f64>) -> Option<(&'static str, String)> {
        if let Some(start) = self.start {
            if start < plan.start {
                let from = plan.start;
                return Some((
                    "start",
                    format!("`{start}` lies before `analysis.start`, and exposures count from {from} on"),
                ));
            }
            if plan.end.is_some_and(|end| start >= end) {
                return Some(("start", format!("`{start}` does not lie before `analysis.end`")));
            }
        }
        if let Some(problem) = self.problem_of_ramp(plan, coverage) {
            return Some(("ramp", problem));
        }
        if self.refresh == Refresh::Never && (self.rolls_back() || !self.ramp.is_empty()) {
            let problem = "a ramp and `auto_rollback` need results: write `hourly`, `daily` or `weekly`";
            return Some(("refresh", problem.to_owned()));
        }
        None
    }

    fn problem_of_ramp(&self, plan: &AnalysisPlan, coverage: Option<f64>) -> Option<String> {
        if self.ramp.len() > MOST_STEPS {
            return Some(format!("it has {} steps: write {MOST_STEPS} at most", self.ramp.len()));
        }
        let (mut moment, mut share) = (self.start.unwrap_or(plan.start), coverage.unwrap_or(0.0));
        for step in &self.ramp {
            if !(step.coverage > 0.0 && step.coverage <= 1.0) {
                return Some(format!("`{}` is no coverage: write a share above 0.0 and up to 1.0", step.coverage));
            }
            if step.coverage <= share {
                return Some(format!("the step to `{}` does not go beyond `{share}`: coverages rise", step.coverage));
            }
            if step.at <= moment {
                return Some(format!("the step at `{}` does not come after `{moment}`: moments rise", step.at));
            }
            if plan.end.is_some_and(|end| step.at >= end) {
                return Some(format!("the step at `{}` does not lie before `analysis.end`", step.at));
            }
            (moment, share) = (step.at, step.coverage);
        }
        None
    }
}
