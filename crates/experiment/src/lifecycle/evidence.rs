//! What the results of an experiment say to whoever watches it: what may not wait, and what is known at all.
//!
//! In: [`Results`] and the plan.  Out: [`Evidence`].
//! Never here: what is done about it (see `watch`), who is told (see `alerts`).
//! Start at [`Evidence::of`].

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::decision::{Code, Reason, Role, Verdict};
use crate::plan::{AnalysisPlan, Sequential};
use crate::results::{Results, Row};
use crate::stats::always_valid::{DEFAULT_TUNING_N, always_valid};
use crate::stats::non_inferiority::Preference;
use crate::stats::sample_ratio::SAMPLE_RATIO_ALPHA;
use crate::stats::{Alternative, StatsError};

/// What is known of an experiment that runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// `None` where the plan cannot be decided by.
    pub verdict: Option<Verdict>,
    /// The arm that the verdict would have everybody get.
    pub arm: Option<String>,
    /// Of all variants.
    pub units: u64,
    /// Of the variant with the fewest.
    pub fewest_units: u64,
    pub exposures: u64,
    /// Until when the metrics' tables know something; `None` where they know nothing.
    pub data_until: Option<DateTime<Utc>>,
    /// What has to be mended before any effect is read.
    pub ailments: Vec<Reason>,
    /// Guardrails that are worse than their margin.
    pub harmed: Vec<Harm>,
    /// Of the sequential test, where that is an alarm. The other one is not made to be looked at every hour.
    pub sample_ratio_p: Option<f64>,
    /// Planned guardrails of which too few units are known to say anything.
    pub unknown: Vec<String>,
    /// Goals whose interval, as it may be shown now, does not hold 0.
    pub significant: Vec<Significant>,
}

/// A guardrail that is worse than its margin in an arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Harm {
    pub metric: String,
    pub arm: String,
}

/// A goal that is better or worse in an arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Significant {
    pub metric: String,
    pub arm: String,
    /// Relative to control.
    pub effect: f64,
    pub is_better: bool,
}

impl Evidence {
    /// `until`: the moment up to which the results count.  Errors: a plan whose α is no error rate.
    pub fn of(results: &Results, plan: &AnalysisPlan, until: DateTime<Utc>) -> Result<Self, StatsError> {
        let planned = || results.rows.iter().filter(|row| !row.post_hoc);
        let (mut harmed, mut unknown) = (Vec::new(), Vec::new());
        for row in planned() {
            let Role::Guardrail { margin } = row.role else { continue };
            match is_harmed(row, margin, plan)? {
                Some(true) => harmed.push(Harm { metric: row.metric.clone(), arm: row.arm.clone() }),
                Some(false) => {}
                None => unknown.push(row.metric.clone()),
            }
        }
        unknown.dedup();
        let health = &results.health.facts;
        let verdict = results.decision.as_ref().map(|decision| decision.verdict.clone());
        let control = || results.variants.first().map(|(key, _)| key.clone());
        let arm = match verdict.as_ref().map(|verdict| verdict.code) {
            Some(Code::Ship) => results.decision.as_ref().and_then(|decision| decision.proposal.clone()),
            Some(Code::RollBack | Code::NoDifference) => control(),
            Some(Code::FixFirst | Code::KeepRunning) | None => None,
        };
        let ailments = verdict.iter().filter(|verdict| verdict.code == Code::FixFirst);
        let p = health.sequential_sample_ratio_p;
        Ok(Self {
            arm,
            units: results.variants.iter().map(|(_, units)| units).sum(),
            fewest_units: results.variants.iter().map(|(_, units)| *units).min().unwrap_or(0),
            exposures: health.exposures,
            data_until: age(health.data_age_hours).and_then(|age| until.checked_sub_signed(age)),
            ailments: ailments.flat_map(|verdict| verdict.reasons.clone()).collect(),
            harmed,
            sample_ratio_p: (p < SAMPLE_RATIO_ALPHA).then_some(p),
            unknown,
            significant: planned().filter_map(significant).collect(),
            verdict,
        })
    }
}

/// Tables that know nothing are as old as can be.
fn age(hours: f64) -> Option<TimeDelta> {
    /// A century: whatever is older is nothing.
    const MOST_HOURS: f64 = 876_600.0;
    (hours < MOST_HOURS).then(|| TimeDelta::seconds((hours * 3_600.0) as i64))
}

/// The error rate of the guard of one guardrail over the whole runtime: what a hybrid spends while it runs, all of α otherwise. It claims
/// nothing of goals, so that a plan that is only looked at at its end, or at planned looks, is guarded as well.
fn guard_alpha(plan: &AnalysisPlan) -> f64 {
    match plan.sequential {
        Sequential::Hybrid => plan.running_alpha,
        Sequential::AlwaysValid | Sequential::Group | Sequential::None => plan.alpha,
    }
}

/// S3 (Waudby-Smith et al., arXiv 2103.06476, eq. 134): whether the one-sided interval, valid however often it is looked at, lies wholly
/// beyond the margin on the bad side. `None` without figures.
fn is_harmed(row: &Row, margin: f64, plan: &AnalysisPlan) -> Result<Option<bool>, StatsError> {
    let Some(view) = &row.relative else { return Ok(None) };
    let tuning_n = plan.planned_units.map_or(DEFAULT_TUNING_N, |units| units as f64);
    let test = |alternative| always_valid(&view.figures.estimate, alternative, guard_alpha(plan), tuning_n);
    Ok(Some(match row.preference {
        Preference::Increase => test(Alternative::Less)?.ci.upper < -margin,
        Preference::Decrease => test(Alternative::Greater)?.ci.lower > margin,
    }))
}

fn significant(row: &Row) -> Option<Significant> {
    let is_goal = matches!(row.role, Role::Primary | Role::Success);
    let shown = row.shown.filter(|shown| is_goal && !shown.contains(0.0))?;
    let effect = row.relative.as_ref()?.figures.estimate.effect;
    let is_better = row.preference.sign() * shown.lower > 0.0 && row.preference.sign() * shown.upper > 0.0;
    Some(Significant { metric: row.metric.clone(), arm: row.arm.clone(), effect, is_better })
}
