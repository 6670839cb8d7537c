//! Quantiles: of a sample, and as a metric with order-statistic bounds.
//!
//! In: values, or the estimate with its bounds per arm.  Out: quantiles; a variance per unit of count.
//! Never here: the query that finds the bounds.
//! Start at [`Quantile`].

use serde::{Deserialize, Serialize};

use super::distributions::normal_quantile;
use super::error::{StatsError, finite, open_share};

/// z_.975: the bounds of the metric are always those of a 95 % interval, whatever α the analysis uses.
const BOUND_Z: f64 = 1.959_963_984_540_054;

/// A quantile over independent rows, with the order statistics at ν ± z_.975·√(ν(1−ν)/n*).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// Rows in the arm.
    pub n: u64,
    /// Rows for which the bounds were placed (n when the query could know it).
    pub n_star: u64,
    /// Which quantile, 0 to 1.
    pub nu: f64,
    pub quantile_hat: f64,
    pub quantile_lower: f64,
    pub quantile_upper: f64,
}

impl Quantile {
    /// Per-row variance such that SE² = variance/n; 0 where the bounds coincide.  Source: Deng, Knoblich & Lu, KDD 2018, § 4.
    pub fn variance(&self) -> f64 {
        if self.n < 2 {
            return 0.0;
        }
        let n = self.n as f64;
        let sd = (self.quantile_upper - self.quantile_lower) / (2.0 * BOUND_Z);
        self.n_star as f64 / n * (n - 1.0) * sd * sd
    }

    /// Whether both bounds lie within the sample; else they are its extremes and say nothing.
    fn bounds_lie_within(&self) -> bool {
        let n = self.n as f64;
        let odds = self.nu / (1.0 - self.nu);
        n > BOUND_Z * BOUND_Z * odds.max(1.0 / odds)
    }

    pub(super) fn check(&self) -> Result<(), StatsError> {
        open_share("nu", self.nu)?;
        finite("quantile_hat", self.quantile_hat)?;
        finite("quantile_lower", self.quantile_lower)?;
        finite("quantile_upper", self.quantile_upper)?;
        if !self.bounds_lie_within() {
            let odds = self.nu / (1.0 - self.nu);
            let least = (BOUND_Z * BOUND_Z * odds.max(1.0 / odds)).floor() as u64 + 1;
            return Err(StatsError::TooFewUnits { n: self.n, least });
        }
        Ok(())
    }
}

/// A quantile over events of which a unit has several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QuantileClustered {
    #[serde(flatten)]
    pub quantile: Quantile,
    /// Σ over units of how many of their events are at most the quantile, and its square.
    pub main_sum: f64,
    pub main_sum_squares: f64,
    /// Σ over units of their events, and its square.
    pub denominator_sum: f64,
    pub denominator_sum_squares: f64,
    pub main_denominator_sum_product: f64,
    /// Units.
    pub n_clusters: u64,
}

impl QuantileClustered {
    /// The variance of [`Quantile`] times V/(ν(1−ν)/n), V the delta-method variance of the share of events below the quantile.
    /// Source: Deng, Knoblich & Lu, KDD 2018, § 4.2.
    pub fn variance(&self) -> f64 {
        let share = super::moments::Ratio {
            n: self.n_clusters,
            m_statistic: super::moments::Mean {
                n: self.n_clusters,
                sum: self.main_sum,
                sum_squares: self.main_sum_squares,
            },
            d_statistic: super::moments::Mean {
                n: self.n_clusters,
                sum: self.denominator_sum,
                sum_squares: self.denominator_sum_squares,
            },
            m_d_sum_of_products: self.main_denominator_sum_product,
        };
        if self.n_clusters < 2 || self.denominator_sum <= 0.0 {
            return 0.0;
        }
        let nu = self.quantile.nu;
        let independent = nu * (1.0 - nu) / self.quantile.n as f64;
        self.quantile.variance() * share.variance() / self.n_clusters as f64 / independent
    }

    pub(super) fn check(&self) -> Result<(), StatsError> {
        self.quantile.check()?;
        for (name, value) in [
            ("main_sum", self.main_sum),
            ("main_sum_squares", self.main_sum_squares),
            ("denominator_sum", self.denominator_sum),
            ("denominator_sum_squares", self.denominator_sum_squares),
            ("main_denominator_sum_product", self.main_denominator_sum_product),
        ] {
            finite(name, value)?;
        }
        if self.denominator_sum == 0.0 { Err(StatsError::ZeroDenominator) } else { Ok(()) }
    }
}

/// How a sample quantile is read between two order statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantileMethod {
    /// Linear between the neighbours of (n − 1)·q (Hyndman & Fan 1996, type 7).
    Linear,
    /// The smallest value that at least the share q of the sample does not exceed (type 1).
    InvertedCdf,
}

/// The quantile `q` of values in ascending order; `None` for an empty sample or a `q` outside 0 to 1.
pub fn sample_quantile(ascending: &[f64], q: f64, method: QuantileMethod) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    if !(0.0..=1.0).contains(&q) {
        return None;
    }
    let value = match method {
        QuantileMethod::Linear => {
            let position = last as f64 * q;
            let below = (position.floor() as usize).min(last);
            let above = (below + 1).min(last);
            ascending[below] + (ascending[above] - ascending[below]) * (position - below as f64)
        }
        QuantileMethod::InvertedCdf => {
            let rank = (ascending.len() as f64 * q).ceil() as usize;
            ascending[rank.saturating_sub(1).min(last)]
        }
    };
    Some(value)
}

/// The ranks (1-based, within 1..=n) whose values are the bounds of [`Quantile`] in a sample of `n`.
pub fn bound_ranks(n: u64, nu: f64) -> (u64, u64) {
    let half = normal_quantile(0.975) * (nu * (1.0 - nu) / n.max(1) as f64).sqrt();
    let rank = |share: f64| ((share * n as f64).ceil().max(1.0) as u64).min(n.max(1));
    (rank(nu - half), rank(nu + half))
}
