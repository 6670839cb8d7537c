//! Whether p-values are uniform, as without an effect they should be, and whether an effect wears off (novelty).
//!
//! In: p-values; effects by day since exposure.  Out: a [`Uniformity`]; a band per day and a trend.
//! Never here: where the p-values come from (`a_a` splits the past); checks of one running experiment's traffic.
//! Start at [`uniformity`] and [`novelty`].

use serde::Serialize;

use super::always_valid::always_valid;
use super::compare::Estimate;
use super::difference::{Alternative, Difference, Interval, critical_value, p_value};
use super::error::StatsError;

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
