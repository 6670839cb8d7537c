//! Intervals and p-values that stay valid however often one looks.
//!
//! In: an [`Estimate`] at some moment and a tuning sample size.  Out: a [`Difference`] valid at all moments together.
//! Never here: looks planned in advance (group sequential bounds).
//! Start at [`always_valid`]; results use [`hybrid`].

use serde::Serialize;

use super::compare::Estimate;
use super::difference::{Alternative, Difference, Interval};
use super::distributions::normal_quantile;
use super::error::{StatsError, open_share, positive};

/// N* where the plan names none: the sample size (units of both arms) at which the interval is tightest.
pub const DEFAULT_TUNING_N: f64 = 5000.0;

/// α that the hybrid spends while the experiment runs; the rest is left for its end.  Source: Eppo's documentation of hybrid analyses.
pub const HYBRID_RUNNING_ALPHA: f64 = 0.01;

/// The α in the two-sided boundary that spends `alpha` on the alternative.
fn boundary_alpha(alpha: f64, alternative: Alternative) -> Result<f64, StatsError> {
    open_share("alpha", alpha)?;
    match alternative {
        Alternative::TwoSided => Ok(alpha),
        Alternative::Greater | Alternative::Less if alpha < 0.5 => Ok(2.0 * alpha),
        Alternative::Greater | Alternative::Less => {
            Err(StatsError::OutOfRange { name: "alpha", value: alpha, allowed: "below 0.5 for one side" })
        }
    }
}

/// ρ = N*/(−2 ln α + ln(1 − 2 ln α)), the mixture's weight in units; one-sided with 2α.
/// Source: Waudby-Smith et al., arXiv 2103.06476, eq. 161 (ρ there is 1/√ρ of ours).  Errors: `OutOfRange`.
pub fn rho(alpha: f64, tuning_n: f64, alternative: Alternative) -> Result<f64, StatsError> {
    let alpha = boundary_alpha(alpha, alternative)?;
    positive("tuning_n", tuning_n)?;
    let minus_log = -2.0 * alpha.ln();
    Ok(tuning_n / (minus_log + (1.0 + minus_log).ln()))
}

/// The multiple of the standard error that the interval takes at `units` units of both arms.
///
/// Two-sided (S1): √[((N+ρ)/N)·ln((N+ρ)/(ρα²))].  Source: Robbins 1970; Howard et al. 2021, eq. 14; arXiv 2103.06476, eq. 9.
/// One-sided (S3): √[2((N+ρ)/N)·ln(1 + √((N+ρ)/ρ)/(2α))].  Source: arXiv 2103.06476, eq. 134.
pub fn multiplier(units: f64, alpha: f64, tuning_n: f64, alternative: Alternative) -> Result<f64, StatsError> {
    positive("units", units)?;
    let rho = rho(alpha, tuning_n, alternative)?;
    let growth = (units + rho) / units;
    Ok(match alternative {
        Alternative::TwoSided => (growth * (((units + rho) / rho).ln() - 2.0 * alpha.ln())).sqrt(),
        Alternative::Greater | Alternative::Less => {
            (2.0 * growth * (((units + rho) / rho).sqrt() / (2.0 * alpha)).ln_1p()).sqrt()
        }
    })
}

/// S2 and, one-sided, the inverse of S3: the smallest α at which the effect would be found, ρ held as planned.
fn sequential_p(z: f64, units: f64, rho: f64, alternative: Alternative) -> f64 {
    let exponent = |z: f64| 0.5 * z * z * units / (units + rho);
    let mixture = ((units + rho) / rho).sqrt();
    let one_sided = |z: f64| if z <= 0.0 { 1.0 } else { (0.5 * mixture / exponent(z).exp_m1()).min(1.0) };
    match alternative {
        Alternative::TwoSided => (mixture * (-exponent(z)).exp()).min(1.0),
        Alternative::Greater => one_sided(z),
        Alternative::Less => one_sided(-z),
    }
}

/// S1–S3: the test of `estimate` that may be repeated at every look.
///
/// `tuning_n`: the planned units of both arms, above 0; [`DEFAULT_TUNING_N`] without a plan.  Report the running minimum of the p-values.
/// Errors: `OutOfRange` for `alpha` or `tuning_n`.
pub fn always_valid(
    estimate: &Estimate,
    alternative: Alternative,
    alpha: f64,
    tuning_n: f64,
) -> Result<Difference, StatsError> {
    let rho = rho(alpha, tuning_n, alternative)?;
    let half_width = multiplier(estimate.units, alpha, tuning_n, alternative)? * estimate.se;
    Ok(Difference {
        effect: estimate.effect,
        se: estimate.se,
        df: f64::INFINITY,
        p_value: sequential_p(estimate.effect / estimate.se, estimate.units, rho, alternative),
        ci: Interval::around(estimate.effect, half_width, alternative),
    })
}

/// The smallest p-value so far at each look.
pub fn running_minimum(p_values: &[f64]) -> Vec<f64> {
    let mut least = 1.0_f64;
    p_values
        .iter()
        .map(|p| {
            least = least.min(*p);
            least
        })
        .collect()
}

/// S6: an experiment that may be stopped early for a large effect, with most of α kept for its planned end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Hybrid {
    /// The interval to show now: always-valid at α₁ while running, fixed at α − α₁ from the planned end on.
    pub shown: Difference,
    /// The share of α that `shown` was computed at.
    pub alpha: f64,
    /// Found by now: in this look or, by `least_p_before`, in an earlier one.
    pub is_significant: bool,
}

/// S6.  `least_p_before`: the running minimum of the always-valid p-values of earlier looks, 1 before the first.
/// Errors: `OutOfRange` unless 0 < `running_alpha` < `alpha` < 1.
pub fn hybrid(
    estimate: &Estimate,
    alternative: Alternative,
    alpha: f64,
    running_alpha: f64,
    tuning_n: f64,
    has_ended: bool,
    least_p_before: f64,
) -> Result<Hybrid, StatsError> {
    open_share("alpha", alpha)?;
    open_share("running_alpha", running_alpha)?;
    if running_alpha >= alpha {
        return Err(StatsError::OutOfRange { name: "running_alpha", value: running_alpha, allowed: "below alpha" });
    }
    let running = always_valid(estimate, alternative, running_alpha, tuning_n)?;
    let is_found_early = running.p_value.min(least_p_before) <= running_alpha;
    if !has_ended {
        return Ok(Hybrid { shown: running, alpha: running_alpha, is_significant: is_found_early });
    }
    let rest = alpha - running_alpha;
    let fixed = estimate.test(alternative, rest)?;
    Ok(Hybrid { shown: fixed, alpha: rest, is_significant: is_found_early || fixed.p_value <= rest })
}

/// S7: the multiple of the standard error in Statsig's mixture SPRT, for comparison only.
/// `variance_sum` = s²_t + s²_c per unit.  Source: Zhao et al., arXiv 1905.10493.  Errors: `OutOfRange`.
pub fn msprt_multiplier(se: f64, variance_sum: f64, units: f64, alpha: f64) -> Result<f64, StatsError> {
    open_share("alpha", alpha)?;
    let v = positive("se", se)? * se;
    let z = normal_quantile(1.0 - 0.5 * alpha);
    let tau = z * z * positive("variance_sum", variance_sum)? / positive("units", units)?;
    Ok((((v + tau) / tau) * (-2.0 * (0.5 * alpha).ln() - (v / (v + tau)).ln())).sqrt())
}
