//! Whether a metric's own p-values can be trusted (A/A), and whether an effect wears off (novelty).
//!
//! In: outcomes of past exposures; effects by day since exposure.  Out: an [`AaReport`]; a band per day and a trend.
//! Never here: checks of one running experiment's traffic.
//! Start at [`a_a_check`] and [`novelty`].

use serde::Serialize;

use super::always_valid::always_valid;
use super::compare::{Estimate, Scale, Statistic, compare};
use super::difference::{Alternative, Difference, Interval, critical_value, p_value};
use super::error::{StatsError, finite, open_share};
use super::moments::{Cuped, Mean};
use crate::coin::Coin;

/// The largest distance of sorted p-values from the uniform distribution, and how surprising it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Uniformity {
    pub distance: f64,
    pub p_value: f64,
}

/// One-sample Kolmogorov–Smirnov test against the uniform distribution on (0, 1); `None` for no values.
/// Source: Kolmogorov 1933; p by the limit with Stephens' factor √n + .12 + .11/√n, JRSS B 32 (1970).
pub fn uniformity(values: &[f64]) -> Option<Uniformity> {
    if values.is_empty() || values.iter().any(|p| p.is_nan()) {
        return None;
    }
    let mut ascending = values.to_vec();
    ascending.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distance = ascending
        .iter()
        .enumerate()
        .map(|(rank, p)| (p - rank as f64 / n).max((rank as f64 + 1.0) / n - p))
        .fold(0.0, f64::max);
    let scaled = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * distance;
    Some(Uniformity { distance, p_value: kolmogorov_tail(scaled) })
}

/// 2·Σ(−1)^(k−1)·exp(−2k²x²); below .2 the tail is 1 to double precision and the series is slow.
fn kolmogorov_tail(x: f64) -> f64 {
    if x < 0.2 {
        return 1.0;
    }
    let mut sum = 0.0;
    for k in 1..=100 {
        let term = (-2.0 * f64::from(k * k) * x * x).exp();
        sum += if k % 2 == 1 { term } else { -term };
        if term < 1e-18 {
            break;
        }
    }
    (2.0 * sum).clamp(0.0, 1.0)
}

/// What re-randomised past exposures say of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AaReport {
    pub p_values: Vec<f64>,
    pub uniformity: Uniformity,
    /// The share of p-values at or below α; a trusted metric has about α.
    pub false_positive_rate: f64,
    /// √(α(1 − α)/draws): how far the rate may be from α by chance.
    pub rate_se: f64,
    /// The relative lift that would be found with 80 % power at this many units, from the median standard error.
    pub sensitivity: Option<f64>,
}

/// A1: splits past units into halves `draws` times at random and tests the difference each time.
///
/// `pre`: the same units' values before, for a metric with CUPED.  Needs four units.
/// Source: Kohavi, Tang & Xu 2020, ch. 19; Deng & Shi, KDD 2016.  Errors: `TooFewUnits`, `UnequalLengths`, `NotFinite`, `NoVariance`, `OutOfRange`.
pub fn a_a_check(
    outcomes: &[f64],
    pre: Option<&[f64]>,
    draws: u32,
    seed: u64,
    alpha: f64,
) -> Result<AaReport, StatsError> {
    open_share("alpha", alpha)?;
    if draws == 0 {
        return Err(StatsError::OutOfRange { name: "draws", value: 0.0, allowed: "at least 1" });
    }
    if outcomes.len() < 4 {
        return Err(StatsError::TooFewUnits { n: outcomes.len() as u64, least: 4 });
    }
    if let Some(pre) = pre.filter(|pre| pre.len() != outcomes.len()) {
        return Err(StatsError::UnequalLengths { name: "pre", expected: outcomes.len(), found: pre.len() });
    }
    for value in outcomes.iter().chain(pre.unwrap_or_default()) {
        finite("outcome", *value)?;
    }
    let mut random = Coin::new(seed);
    let mut order: Vec<usize> = (0..outcomes.len()).collect();
    let half = outcomes.len() / 2;
    let mut p_values = Vec::with_capacity(draws as usize);
    let mut errors = Vec::with_capacity(draws as usize);
    for _ in 0..draws {
        random.choose_front(&mut order, half);
        let arm = |units: &[usize]| half_statistic(outcomes, pre, units);
        let comparison = compare(&arm(&order[half..]), &arm(&order[..half]))?;
        p_values.push(comparison.estimate(Scale::Absolute)?.test(Alternative::TwoSided, alpha)?.p_value);
        errors.extend(comparison.estimate(Scale::Relative).map(|e| e.se).ok());
    }
    let Some(uniformity) = uniformity(&p_values) else { return Err(StatsError::NoVariance) };
    let rate = p_values.iter().filter(|p| **p <= alpha).count() as f64 / f64::from(draws);
    errors.sort_by(f64::total_cmp);
    let reach = critical_value(alpha, f64::INFINITY, Alternative::TwoSided)
        + critical_value(0.2, f64::INFINITY, Alternative::Greater);
    Ok(AaReport {
        uniformity,
        false_positive_rate: rate,
        rate_se: (alpha * (1.0 - alpha) / f64::from(draws)).sqrt(),
        sensitivity: errors.get(errors.len() / 2).map(|se| se * reach),
        p_values,
    })
}

fn half_statistic(outcomes: &[f64], pre: Option<&[f64]>, units: &[usize]) -> Statistic {
    let mean_of = |values: &[f64]| Mean {
        n: units.len() as u64,
        sum: units.iter().map(|at| values[*at]).sum(),
        sum_squares: units.iter().map(|at| values[*at] * values[*at]).sum(),
    };
    match pre {
        None => Statistic::Mean(mean_of(outcomes)),
        Some(pre) => Statistic::Cuped(Cuped {
            n: units.len() as u64,
            post_statistic: mean_of(outcomes),
            pre_statistic: mean_of(pre),
            post_pre_sum_of_products: units.iter().map(|at| outcomes[*at] * pre[*at]).sum(),
        }),
    }
}

/// An effect by days since a unit's first exposure, and whether it moves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Novelty {
    /// The always-valid band, one entry per day given.
    pub band: Vec<Difference>,
    /// The change of the effect per day, by least squares weighted with 1/SE²; the days are taken as independent.
    pub trend: Difference,
}

/// A2: the band S1 around the lift of each day since exposure, and a weighted straight line through the lifts.
///
/// `days`: (day since exposure, estimate), at least three.  Errors: `TooFewUnits`; `Singular` where all days are one; `OutOfRange`.
pub fn novelty(days: &[(f64, Estimate)], alpha: f64, tuning_n: f64) -> Result<Novelty, StatsError> {
    if days.len() < 3 {
        return Err(StatsError::TooFewUnits { n: days.len() as u64, least: 3 });
    }
    let band = days
        .iter()
        .map(|(_, estimate)| always_valid(estimate, Alternative::TwoSided, alpha, tuning_n))
        .collect::<Result<Vec<_>, _>>()?;
    let weight = |e: &Estimate| 1.0 / (e.se * e.se);
    let total: f64 = days.iter().map(|(_, e)| weight(e)).sum();
    let center = days.iter().map(|(day, e)| weight(e) * day).sum::<f64>() / total;
    let spread: f64 = days.iter().map(|(day, e)| weight(e) * (day - center).powi(2)).sum();
    if spread.is_nan() || spread <= 0.0 {
        return Err(StatsError::Singular);
    }
    let effect = days.iter().map(|(day, e)| weight(e) * (day - center) * e.effect).sum::<f64>() / spread;
    let se = spread.sqrt().recip();
    let half_width = critical_value(alpha, f64::INFINITY, Alternative::TwoSided) * se;
    let trend = Difference {
        effect,
        se,
        df: f64::INFINITY,
        p_value: p_value(effect / se, f64::INFINITY, Alternative::TwoSided),
        ci: Interval::around(effect, half_width, Alternative::TwoSided),
    };
    Ok(Novelty { band, trend })
}
