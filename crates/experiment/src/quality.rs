//! How well an experiment is made, in one number: what to look at first among many.
//!
//! In: what was observed, the health of the data, the power of each arm.  Out: a [`Quality`].
//! Never here: verdicts (`decision`): a score decides nothing, and no score makes up for a fault.
//! Start at [`quality`].
//!
//! The weights are ours, by what a fault costs: without power nothing is learned (Cohen 1988), and of a wrong split nothing can be believed
//! (Fabijan et al., KDD 2019); plan and looks can be made good in the next experiment.

use serde::Serialize;

use crate::decision::{Health, Role};
use crate::plan::Sequential;
use crate::results::{Observed, TARGET_POWER};

/// 0 to 100, and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quality {
    pub score: f64,
    pub parts: Vec<QualityPart>,
}

/// One part: how many of its points were earned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QualityPart {
    pub name: &'static str,
    pub most: f64,
    pub points: f64,
}

/// Points that each part can earn; together 100.
const POWER: f64 = 30.0;
const BALANCE: f64 = 25.0;
const PLAN: f64 = 20.0;
const FRESHNESS: f64 = 15.0;
const LOOKS: f64 = 10.0;
/// Shares of the plan's points: an end, a guardrail, a whole week.
const PLANNED: [f64; 3] = [0.4, 0.3, 0.3];
/// Weekdays differ.
const WEEK: f64 = 7.0;
/// Below it a check of the data has failed, from there to the second it is in doubt, as `decision` and `sample_ratio` have it.
const FAILED: f64 = 0.001;
const DOUBT: f64 = 0.01;
/// Above it units in several variants are a fault (C4).
const MOST_MULTIPLE: f64 = 0.01;

/// Adds up: power for the smallest effect worth finding (of the arm with the least, over 0.8), balance (split, leaks, units in several variants,
/// covariates: the worst of them), the plan, freshness (whole up to the limit, none from twice as old on), and whether looks are paid for.
pub fn quality(observed: &Observed, health: &Health, powers: &[Option<f64>]) -> Quality {
    let least = powers.iter().map(|power| power.unwrap_or(0.0)).fold(f64::INFINITY, f64::min);
    let power = if least.is_finite() { (least / TARGET_POWER).min(1.0) } else { 0.0 };
    let parts = [
        ("power", POWER, power),
        ("balance", BALANCE, balance(health)),
        ("plan", PLAN, plan(observed)),
        ("freshness", FRESHNESS, freshness(health)),
        ("looks", LOOKS, looks(observed)),
    ]
    .map(|(name, most, share)| QualityPart { name, most, points: most * share });
    Quality { score: parts.iter().map(|part| part.points).sum(), parts: parts.to_vec() }
}

fn balance(health: &Health) -> f64 {
    let of_p = |p: f64| -> f64 {
        match p {
            p if p < FAILED => 0.0,
            p if p < DOUBT => 0.5,
            _ => 1.0,
        }
    };
    if health.leaked_units > 0 || health.multiple_exposure_share > MOST_MULTIPLE {
        return 0.0;
    }
    let sequential = if health.sequential_sample_ratio_p < FAILED { 0.0 } else { 1.0 };
    // Covariates are many: one in a hundred is in doubt by chance.
    let before = health.pre_exposure.iter().any(|(_, p)| *p < FAILED);
    of_p(health.sample_ratio_p).min(sequential).min(if before { 0.0 } else { 1.0 })
}

fn plan(observed: &Observed) -> f64 {
    let has_end = observed.planned_units.is_some() || observed.clock.planned_days.is_some();
    let has_guardrail = observed.metrics.iter().any(|metric| matches!(metric.role, Role::Guardrail { .. }));
    let is_a_week = observed.clock.least_days >= WEEK;
    let kept = [has_end, has_guardrail, is_a_week].into_iter().zip(PLANNED).filter(|(is, _)| *is);
    kept.map(|(_, share)| share).sum()
}

fn freshness(health: &Health) -> f64 {
    if health.join_rate < health.least_join_rate {
        return 0.0;
    }
    (2.0 - health.data_age_hours / health.most_data_age_hours.max(1.0)).clamp(0.0, 1.0)
}

/// A plan with one look at the end pays for none before it: half, as long as it is looked at all the same.
fn looks(observed: &Observed) -> f64 {
    match observed.sequential {
        Sequential::Hybrid | Sequential::AlwaysValid | Sequential::Group => 1.0,
        Sequential::None if observed.has_ended => 1.0,
        Sequential::None => 0.5,
    }
}
