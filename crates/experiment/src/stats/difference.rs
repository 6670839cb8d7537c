//! Tests and intervals for a difference at a fixed time.
//!
//! In: an [`Estimate`] or a [`Comparison`].  Out: a [`Difference`]; Fieller's set; the lift on the log scale.
//! Never here: looking more than once (see `always_valid`).
//! Start at [`Estimate::test`].

use serde::{Deserialize, Serialize};

use super::compare::{Comparison, Estimate, Scale, welch_df};
use super::distributions::{t_quantile, t_sf};
use super::error::{StatsError, open_share};

/// Which differences count as evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alternative {
    TwoSided,
    /// Treatment above control.
    Greater,
    /// Treatment below control.
    Less,
}

/// A range; one-sided ones reach to an infinity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub lower: f64,
    pub upper: f64,
}

impl Interval {
    /// The interval around `center` that the alternative asks for.
    pub fn around(center: f64, half_width: f64, alternative: Alternative) -> Self {
        let (lower, upper) = (center - half_width, center + half_width);
        match alternative {
            Alternative::TwoSided => Self { lower, upper },
            Alternative::Greater => Self { lower, upper: f64::INFINITY },
            Alternative::Less => Self { lower: f64::NEG_INFINITY, upper },
        }
    }

    pub fn contains(&self, x: f64) -> bool {
        self.lower <= x && x <= self.upper
    }
}

/// The answer of a test: the effect, how sure we are of it, and how surprising it would be if there were none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub effect: f64,
    pub se: f64,
    /// Infinite where the normal is the reference.
    pub df: f64,
    pub p_value: f64,
    pub ci: Interval,
}

/// The tail that the alternative asks about, for a statistic `t` under Student's t (the normal at infinite `df`).
pub(super) fn p_value(t: f64, df: f64, alternative: Alternative) -> f64 {
    match alternative {
        Alternative::TwoSided => 2.0 * t_sf(t.abs(), df),
        Alternative::Greater => t_sf(t, df),
        Alternative::Less => t_sf(-t, df),
    }
}

/// The multiple of the standard error that the interval of level 1 − `alpha` takes.
pub(super) fn critical_value(alpha: f64, df: f64, alternative: Alternative) -> f64 {
    let tail = match alternative {
        Alternative::TwoSided => 0.5 * alpha,
        Alternative::Greater | Alternative::Less => alpha,
    };
    -t_quantile(tail, df)
}

impl Estimate {
    /// D1, D2: Welch's t test and its interval.  Source: Welch, Biometrika 34 (1947).
    ///
    /// On the relative scale the degrees of freedom of the absolute difference are used.
    /// Errors: `OutOfRange` for an `alpha` outside (0, 1).
    pub fn test(&self, alternative: Alternative, alpha: f64) -> Result<Difference, StatsError> {
        self.test_with(self.df, alternative, alpha)
    }

    /// The same with the normal as the reference.
    pub fn z_test(&self, alternative: Alternative, alpha: f64) -> Result<Difference, StatsError> {
        self.test_with(f64::INFINITY, alternative, alpha)
    }

    fn test_with(&self, df: f64, alternative: Alternative, alpha: f64) -> Result<Difference, StatsError> {
        open_share("alpha", alpha)?;
        let half_width = critical_value(alpha, df, alternative) * self.se;
        Ok(Difference {
            effect: self.effect,
            se: self.se,
            df,
            p_value: p_value(self.effect / self.se, df, alternative),
            ci: Interval::around(self.effect, half_width, alternative),
        })
    }
}

/// The lifts that a test at level α does not reject.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FiellerSet {
    Bounded(Interval),
    /// All but the open range within: the control mean may be zero.
    Outside(Interval),
    Everything,
}

/// A baseline of fewer standard errors than this is weak: the delta method is not to be trusted, Fieller's set is shown.
pub const WEAK_BASELINE: f64 = 10.0;

impl Comparison {
    /// |m_c|/√b: how many standard errors the control mean is away from zero.
    pub fn baseline_strength(&self) -> f64 {
        self.control.unadjusted_mean.abs() / self.baseline_variance.sqrt()
    }

    pub fn has_weak_baseline(&self) -> bool {
        // A NaN (0/0) is weak, too.
        !matches!(
            self.baseline_strength().partial_cmp(&WEAK_BASELINE),
            Some(std::cmp::Ordering::Greater | std::cmp::Ordering::Equal)
        )
    }

    /// Fieller's two-sided set for the lift at level 1 − `alpha`: all L with (Δ − L|m_c|)² ≤ q²·Var(Δ − L|m_c|).
    /// Source: Fieller, JRSS B 16 (1954).  Errors: as [`Comparison::estimate`], except that the control mean may be zero.
    pub fn fieller(&self, alpha: f64) -> Result<FiellerSet, StatsError> {
        open_share("alpha", alpha)?;
        let absolute = self.estimate(Scale::Absolute)?;
        let q = critical_value(alpha, absolute.df, Alternative::TwoSided);
        let baseline = self.control.unadjusted_mean;
        let sign = if baseline < 0.0 { -1.0 } else { 1.0 };
        let a = baseline * baseline - q * q * self.baseline_variance;
        let b = self.difference() * baseline.abs() - q * q * self.baseline_covariance * sign;
        let c = self.difference() * self.difference() - q * q * self.variance();
        let discriminant = b * b - a * c;
        if a > 0.0 {
            // A positive `a` and Var > 0 make the discriminant positive but for rounding.
            let root = discriminant.max(0.0).sqrt();
            return Ok(FiellerSet::Bounded(Interval { lower: (b - root) / a, upper: (b + root) / a }));
        }
        if discriminant <= 0.0 || a == 0.0 {
            return Ok(FiellerSet::Everything);
        }
        let root = discriminant.sqrt();
        Ok(FiellerSet::Outside(Interval { lower: (b + root) / a, upper: (b - root) / a }))
    }

    /// The lift with an interval that is symmetric in logarithms: exp(ln(m_t/m_c) ± t·√(a/m_t² + b/m_c²)) − 1, both means adjusted.
    /// For comparison with tea-tasting; results show [`Estimate::test`].  Errors: `NotPositive` unless both means are above zero.
    pub fn log_lift(&self, alternative: Alternative, alpha: f64) -> Result<Difference, StatsError> {
        open_share("alpha", alpha)?;
        let absolute = self.estimate(Scale::Absolute)?;
        let (c, t) = (self.control.mean, self.treatment.mean);
        if !(c > 0.0 && t > 0.0) {
            return Err(StatsError::NotPositive { mean: c.min(t) });
        }
        let a = self.treatment.variance / self.treatment.n as f64 / (t * t);
        let b = self.control.variance / self.control.n as f64 / (c * c);
        let (se, df) = ((a + b).sqrt(), welch_df(a, self.treatment.n, b, self.control.n));
        let ci = Interval::around((t / c).ln(), critical_value(alpha, df, alternative) * se, alternative);
        Ok(Difference {
            effect: t / c - 1.0,
            se,
            df,
            p_value: p_value(absolute.effect / absolute.se, absolute.df, alternative),
            ci: Interval { lower: ci.lower.exp_m1(), upper: ci.upper.exp_m1() },
        })
    }
}
