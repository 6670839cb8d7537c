//! The Bayesian view: what to believe of an effect after the data.
//!
//! In: an [`Estimate`] and a prior; or successes and trials.  Out: a posterior with chance to win and risks.
//! Never here: control of error under repeated looks; a posterior has none.
//! Start at [`posterior`].

use serde::{Deserialize, Serialize};

use super::compare::{Estimate, Scale};
use super::difference::{Alternative, Interval};
use super::distributions::{beta_cdf, beta_quantile, normal_cdf, normal_density, normal_quantile, normal_sf};
use super::error::{StatsError, finite, open_share, positive};
use super::special::ln_beta;

/// What was believed of the relative lift before: N(mean, variance).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prior {
    pub mean: f64,
    pub variance: f64,
}

impl Prior {
    /// N(0, .3²): the wide end of sensible defaults; see `heterogeneity::fit_prior` for one learnt from past experiments.
    pub const WIDE: Self = Self { mean: 0.0, variance: 0.09 };
}

/// N(mean, sd²) for the effect, and what follows for the choice of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Posterior {
    pub mean: f64,
    pub sd: f64,
    pub ci: Interval,
    /// The chance that treatment is the better arm.
    pub chance_to_win: f64,
    /// Expected loss, in units of the effect, of keeping control.
    pub risk_control: f64,
    /// Expected loss of shipping treatment.
    pub risk_treatment: f64,
}

/// B1: a normal prior on the relative lift, or none (flat).
///
/// For an absolute effect the prior is scaled by the control mean.  `alpha` in (0, 1) sets the level of the credible interval.
/// Source: normal conjugacy; Deng, WWW 2015; expected losses E(−Δ)⁺, E(Δ)⁺ of a normal.  Errors: `OutOfRange`, `NotFinite`; `ZeroBaseline` where there is nothing to scale by.
pub fn posterior(
    estimate: &Estimate,
    prior: Option<Prior>,
    is_lower_better: bool,
    alpha: f64,
) -> Result<Posterior, StatsError> {
    open_share("alpha", alpha)?;
    let data_precision = 1.0 / (estimate.se * estimate.se);
    let (mean, sd) = match prior {
        None => (estimate.effect, estimate.se),
        Some(prior) => {
            let scale = match estimate.scale {
                Scale::Relative => 1.0,
                Scale::Absolute if estimate.baseline == 0.0 => return Err(StatsError::ZeroBaseline),
                Scale::Absolute => estimate.baseline.abs(),
            };
            let precision = 1.0 / (positive("prior.variance", prior.variance)? * scale * scale);
            let sum = precision + data_precision;
            let prior_mean = finite("prior.mean", prior.mean)? * scale;
            ((prior_mean * precision + estimate.effect * data_precision) / sum, 1.0 / sum.sqrt())
        }
    };
    let z = mean / sd;
    let loss_if_shipped = (sd * (normal_density(z) - z * normal_sf(z))).max(0.0);
    let loss_if_kept = (sd * (normal_density(z) + z * normal_cdf(z))).max(0.0);
    let half_width = normal_quantile(1.0 - 0.5 * alpha) * sd;
    let ci = Interval::around(mean, half_width, Alternative::TwoSided);
    Ok(if is_lower_better {
        let chance_to_win = normal_sf(z);
        Posterior { mean, sd, ci, chance_to_win, risk_control: loss_if_shipped, risk_treatment: loss_if_kept }
    } else {
        let chance_to_win = normal_cdf(z);
        Posterior { mean, sd, ci, chance_to_win, risk_control: loss_if_kept, risk_treatment: loss_if_shipped }
    })
}

/// A Beta(a, b) belief about a proportion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beta {
    pub a: f64,
    pub b: f64,
}

impl Beta {
    /// The belief after `successes` of `trials` from the flat Beta(1, 1).  Errors: `OutOfRange` for more successes than trials.
    pub fn after(successes: u64, trials: u64) -> Result<Self, StatsError> {
        let failures = trials.checked_sub(successes).ok_or(StatsError::OutOfRange {
            name: "successes",
            value: successes as f64,
            allowed: "at most the trials",
        })?;
        Ok(Self { a: 1.0 + successes as f64, b: 1.0 + failures as f64 })
    }

    /// The central credible interval of level 1 − `alpha`.
    pub fn interval(&self, alpha: f64) -> Result<Interval, StatsError> {
        open_share("alpha", alpha)?;
        Ok(Interval {
            lower: beta_quantile(0.5 * alpha, self.a, self.b),
            upper: beta_quantile(1.0 - 0.5 * alpha, self.a, self.b),
        })
    }
}

/// The longest closed sum that is worth its time: 10,000 terms take about a millisecond; the quadrature takes less beyond.
const LONGEST_SUM: f64 = 10_000.0;

/// B2: P(B > A) for two independent beliefs: the closed sum where `b.a` is a whole number up to 10,000, else the quadrature.
pub fn chance_b_beats_a(a: Beta, b: Beta) -> f64 {
    if b.a.fract() == 0.0 && b.a <= LONGEST_SUM { chance_by_sum(a, b) } else { chance_by_quadrature(a, b) }
}

/// Σ_{i<α_B} B(α_A+i, β_A+β_B)/((β_B+i)·B(1+i, β_B)·B(α_A, β_A)), `b.a` a whole number.
/// Source: Miller, "Formulas for Bayesian A/B testing", 2014.
pub fn chance_by_sum(a: Beta, b: Beta) -> f64 {
    let constant = ln_beta(a.a, a.b);
    let sum: f64 = (0..b.a as u64)
        .map(|i| {
            let i = i as f64;
            (ln_beta(a.a + i, a.b + b.b) - (b.b + i).ln() - ln_beta(1.0 + i, b.b) - constant).exp()
        })
        .sum();
    sum.min(1.0)
}

/// ∫ f_B(x)·F_A(x) dx by the trapezoidal rule in the logit of x, where the integrand is smooth and falls off exponentially.
pub fn chance_by_quadrature(a: Beta, b: Beta) -> f64 {
    let center = (b.a / b.b).ln();
    let sd = (1.0 / b.a + 1.0 / b.b).sqrt();
    // Gaussian in the middle, e^(−a|u|) and e^(−b|u|) in the tails.
    let (low, high) = (center - 12.0 * sd - 40.0 / b.a, center + 12.0 * sd + 40.0 / b.b);
    let steps = ((high - low) / (0.05 * sd)).ceil().clamp(200.0, 20_000.0);
    let step = (high - low) / steps;
    let constant = ln_beta(b.a, b.b);
    let sum: f64 = (0..=steps as u64)
        .map(|i| {
            let u = low + step * i as f64;
            let (ln_x, ln_y) = (-(-u).exp().ln_1p(), -u.exp().ln_1p());
            (b.a * ln_x + b.b * ln_y - constant).exp() * beta_cdf(ln_x.exp(), a.a, a.b)
        })
        .sum();
    (sum * step).min(1.0)
}
