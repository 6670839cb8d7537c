//! Two arms of one metric become a difference with its variance, whatever kind the metric is.
//!
//! In: a [`Statistic`] per arm.  Out: a [`Comparison`], and from it an [`Estimate`] on the absolute or relative scale.
//! Never here: p-values and intervals (see `difference`, `always_valid`, `bayes`).
//! Start at [`compare`].

use serde::{Deserialize, Serialize};

use super::error::StatsError;
use super::moments::{Cuped, CupedRatio, Mean, Proportion, Ratio, bilinear};
use super::quantile::{Quantile, QuantileClustered};

/// The sufficient statistics of one arm; the kind of metric decides which.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "statistic", rename_all = "snake_case")]
pub enum Statistic {
    Mean(Mean),
    Proportion(Proportion),
    Ratio(Ratio),
    Cuped(Cuped),
    CupedRatio(CupedRatio),
    Quantile(Quantile),
    QuantileClustered(QuantileClustered),
}

/// Whether a difference is in units of the metric or a share of the control mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    Absolute,
    Relative,
}

/// What one arm contributes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Arm {
    pub n: u64,
    /// Adjusted by the covariate where there is one: y − θ(x − x̄).
    pub mean: f64,
    /// Per unit, adjusted: the variance of the mean is variance/n.
    pub variance: f64,
    pub unadjusted_mean: f64,
}

/// Both arms, and how their difference varies with the control mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    pub control: Arm,
    pub treatment: Arm,
    /// The coefficient of the (first) covariate; `None` for metrics without one, 0 where the covariate says nothing.
    pub theta: Option<f64>,
    /// The (first) covariate's pooled mean, at which both arms are adjusted.
    pub covariate_mean: f64,
    /// Variance of the unadjusted control mean.
    pub(super) baseline_variance: f64,
    /// Covariance of the adjusted difference with the unadjusted control mean.
    pub(super) baseline_covariance: f64,
    /// The lift at which the gradient of the relative effect is taken.
    pub(super) gradient_lift: f64,
}

/// A difference on one scale with its standard error: what every test and interval starts from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub scale: Scale,
    /// Treatment minus control; on the relative scale a share of |control mean|.
    pub effect: f64,
    /// Above zero.
    pub se: f64,
    /// Degrees of freedom by Welch and Satterthwaite.
    pub df: f64,
    /// Units (rows for quantiles) of both arms.
    pub units: f64,
    /// The unadjusted control mean.
    pub baseline: f64,
}

impl Statistic {
    /// The name of the kind, as in files.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Mean(_) => "mean",
            Self::Proportion(_) => "proportion",
            Self::Ratio(_) => "ratio",
            Self::Cuped(_) => "cuped",
            Self::CupedRatio(_) => "cuped_ratio",
            Self::Quantile(_) => "quantile",
            Self::QuantileClustered(_) => "quantile_clustered",
        }
    }

    pub fn units(&self) -> u64 {
        match self {
            Self::Mean(s) => s.n,
            Self::Proportion(s) => s.n,
            Self::Ratio(s) => s.n,
            Self::Cuped(s) => s.n,
            Self::CupedRatio(s) => s.n,
            Self::Quantile(s) => s.n,
            Self::QuantileClustered(s) => s.quantile.n,
        }
    }

    /// The same metric without its covariate: the row that is always shown beside the adjusted one.
    #[must_use]
    pub fn unadjusted(&self) -> Self {
        match self {
            Self::Cuped(s) => Self::Mean(s.post_statistic),
            Self::CupedRatio(s) => Self::Ratio(s.post()),
            Self::Mean(_) | Self::Proportion(_) | Self::Ratio(_) | Self::Quantile(_) | Self::QuantileClustered(_) => {
                *self
            }
        }
    }

    /// The statistics of two disjoint sets of units together.
    /// Errors: `MixedStatistics`; `Unsupported` for quantiles, which cannot be put together from their parts.
    pub fn merged(&self, other: &Self) -> Result<Self, StatsError> {
        match (self, other) {
            (Self::Mean(a), Self::Mean(b)) => Ok(Self::Mean(a.merged(b))),
            (Self::Proportion(a), Self::Proportion(b)) => Ok(Self::Proportion(a.merged(b))),
            (Self::Ratio(a), Self::Ratio(b)) => Ok(Self::Ratio(a.merged(b))),
            (Self::Cuped(a), Self::Cuped(b)) => Ok(Self::Cuped(a.merged(b))),
            (Self::CupedRatio(a), Self::CupedRatio(b)) => Ok(Self::CupedRatio(a.merged(b))),
            (Self::Quantile(_), Self::Quantile(_)) | (Self::QuantileClustered(_), Self::QuantileClustered(_)) => {
                Err(StatsError::Unsupported { kind: self.kind(), what: "merged" })
            }
            _ => Err(StatsError::MixedStatistics { control: self.kind(), treatment: other.kind() }),
        }
    }

    /// Errors: a number that is not finite or cannot be (`NotFinite`, `OutOfRange`), a ratio without denominator, fewer than two units.
    pub fn check(&self) -> Result<(), StatsError> {
        match self {
            Self::Mean(s) => s.check(),
            Self::Proportion(s) => s.check(),
            Self::Ratio(s) => require_units(s.n).and_then(|()| s.check()),
            Self::Cuped(s) => s.check(),
            Self::CupedRatio(s) => require_units(s.n).and_then(|()| s.check()),
            Self::Quantile(s) => s.check(),
            Self::QuantileClustered(s) => s.check(),
        }?;
        require_units(self.units())
    }
}

fn require_units(n: u64) -> Result<(), StatsError> {
    if n < 2 { Err(StatsError::TooFewUnits { n, least: 2 }) } else { Ok(()) }
}

/// Compares two arms of one metric.
///
/// Ratio metrics and quantiles are compared as they are; with a covariate both arms share one θ (R1, R6).
/// Errors: see [`Statistic::check`]; `MixedStatistics` where the arms hold different kinds.
pub fn compare(control: &Statistic, treatment: &Statistic) -> Result<Comparison, StatsError> {
    control.check()?;
    treatment.check()?;
    match (control, treatment) {
        (Statistic::Mean(c), Statistic::Mean(t)) => {
            Ok(independent(plain(c.n, c.mean(), c.variance()), plain(t.n, t.mean(), t.variance())))
        }
        (Statistic::Proportion(c), Statistic::Proportion(t)) => {
            Ok(independent(plain(c.n, c.mean(), c.variance()), plain(t.n, t.mean(), t.variance())))
        }
        (Statistic::Ratio(c), Statistic::Ratio(t)) => {
            Ok(independent(plain(c.n, c.mean(), c.variance()), plain(t.n, t.mean(), t.variance())))
        }
        (Statistic::Quantile(c), Statistic::Quantile(t)) => {
            Ok(independent(plain(c.n, c.quantile_hat, c.variance()), plain(t.n, t.quantile_hat, t.variance())))
        }
        (Statistic::QuantileClustered(c), Statistic::QuantileClustered(t)) => Ok(independent(
            plain(c.quantile.n, c.quantile.quantile_hat, c.variance()),
            plain(t.quantile.n, t.quantile.quantile_hat, t.variance()),
        )),
        (Statistic::Cuped(c), Statistic::Cuped(t)) => Ok(compare_cuped(c, t)),
        (Statistic::CupedRatio(c), Statistic::CupedRatio(t)) => Ok(compare_cuped_ratio(c, t)),
        _ => Err(StatsError::MixedStatistics { control: control.kind(), treatment: treatment.kind() }),
    }
}

fn plain(n: u64, mean: f64, variance: f64) -> Arm {
    Arm { n, mean, variance, unadjusted_mean: mean }
}

fn lift(control: f64, treatment: f64) -> f64 {
    (treatment - control) / control.abs()
}

fn independent(control: Arm, treatment: Arm) -> Comparison {
    let variance = control.variance / control.n as f64;
    Comparison {
        control,
        treatment,
        theta: None,
        covariate_mean: 0.0,
        baseline_variance: variance,
        baseline_covariance: -variance,
        gradient_lift: lift(control.mean, treatment.mean),
    }
}

/// R1, R2. Source: Deng, Xu, Kohavi & Walker, WSDM 2013.
fn compare_cuped(control: &Cuped, treatment: &Cuped) -> Comparison {
    let pooled = control.merged(treatment);
    let theta = pooled.theta();
    let covariate_mean = pooled.pre_statistic.mean();
    let arm = |s: &Cuped| Arm {
        n: s.n,
        mean: s.post_statistic.mean() - theta * (s.pre_statistic.mean() - covariate_mean),
        variance: s.adjusted_variance(theta),
        unadjusted_mean: s.post_statistic.mean(),
    };
    let (c, t) = (arm(control), arm(treatment));
    let units = c.n as f64;
    Comparison {
        theta: Some(theta),
        covariate_mean,
        baseline_variance: control.post_statistic.variance() / units,
        baseline_covariance: -(control.post_statistic.variance() - theta * control.covariance()) / units,
        gradient_lift: lift(c.unadjusted_mean, t.unadjusted_mean),
        control: c,
        treatment: t,
    }
}

/// The gradients of M/D and of M′/D′ at the means of (M, D, M′, D′); zero where a denominator is.
fn ratio_gradients(s: &CupedRatio) -> ([f64; 4], [f64; 4]) {
    let half = |m: f64, d: f64| if d == 0.0 { (0.0, 0.0) } else { (1.0 / d, -m / (d * d)) };
    let post = half(s.m_statistic_post.mean(), s.d_statistic_post.mean());
    let pre = half(s.m_statistic_pre.mean(), s.d_statistic_pre.mean());
    ([post.0, post.1, 0.0, 0.0], [0.0, 0.0, pre.0, pre.1])
}

/// R6: the covariate of a ratio is the same units' earlier ratio. Source: delta method on (M, D, M′, D′) as in Deng et al., KDD 2018.
fn compare_cuped_ratio(control: &CupedRatio, treatment: &CupedRatio) -> Comparison {
    let (mut shared, mut before) = (0.0, 0.0);
    for s in [control, treatment] {
        let matrix = s.covariance_matrix();
        let (post, pre) = ratio_gradients(s);
        shared += bilinear(&post, &matrix, &pre);
        before += bilinear(&pre, &matrix, &pre);
    }
    let theta = if before > 0.0 { shared / before } else { 0.0 };
    let covariate_mean = control.pre().merged(&treatment.pre()).mean();
    let arm = |s: &CupedRatio| {
        let matrix = s.covariance_matrix();
        let (post, pre) = ratio_gradients(s);
        let gradient: [f64; 4] = std::array::from_fn(|i| post[i] - theta * pre[i]);
        let ratio = s.post().mean();
        // An arm without history stays at the pooled earlier ratio.
        let earlier = if s.d_statistic_pre.sum == 0.0 { covariate_mean } else { s.pre().mean() };
        let adjusted = Arm {
            n: s.n,
            mean: ratio - theta * (earlier - covariate_mean),
            variance: bilinear(&gradient, &matrix, &gradient).max(0.0),
            unadjusted_mean: ratio,
        };
        (adjusted, bilinear(&post, &matrix, &post), bilinear(&gradient, &matrix, &post))
    };
    let (c, unadjusted, mixed) = arm(control);
    let (t, _, _) = arm(treatment);
    let units = c.n as f64;
    Comparison {
        theta: Some(theta),
        covariate_mean,
        baseline_variance: unadjusted / units,
        baseline_covariance: -mixed / units,
        gradient_lift: (t.mean - c.mean) / c.unadjusted_mean.abs(),
        control: c,
        treatment: t,
    }
}

/// Degrees of freedom for the sum of two variances of means, each from its own n.  Source: Welch, Biometrika 34 (1947).
pub(super) fn welch_df(a: f64, n_a: u64, b: f64, n_b: u64) -> f64 {
    (a + b) * (a + b) / (a * a / (n_a as f64 - 1.0) + b * b / (n_b as f64 - 1.0))
}

impl Comparison {
    /// Treatment minus control, adjusted.
    pub fn difference(&self) -> f64 {
        self.treatment.mean - self.control.mean
    }

    /// Variance of [`Self::difference`].
    pub fn variance(&self) -> f64 {
        self.treatment.variance / self.treatment.n as f64 + self.control.variance / self.control.n as f64
    }

    /// Units of both arms.
    pub fn units(&self) -> f64 {
        self.control.n as f64 + self.treatment.n as f64
    }

    /// Degrees of freedom of [`Self::difference`].
    pub fn df(&self) -> f64 {
        let (t, c) = (&self.treatment, &self.control);
        welch_df(t.variance / t.n as f64, t.n, c.variance / c.n as f64, c.n)
    }

    /// The difference on `scale`.  Relative: L = Δ/|m_c| with the unadjusted control mean, its variance by the delta method
    /// (D2, R2, R6).  Source: Deng, Knoblich & Lu, KDD 2018, § 3.1.
    ///
    /// Errors: `NoVariance` where both arms are constant; `ZeroBaseline` for a lift over zero.
    pub fn estimate(&self, scale: Scale) -> Result<Estimate, StatsError> {
        let variance = self.variance();
        if variance.is_nan() || variance <= 0.0 {
            return Err(StatsError::NoVariance);
        }
        let baseline = self.control.unadjusted_mean;
        let (effect, variance) = match scale {
            Scale::Absolute => (self.difference(), variance),
            Scale::Relative => {
                if baseline == 0.0 {
                    return Err(StatsError::ZeroBaseline);
                }
                (self.difference() / baseline.abs(), self.relative_variance())
            }
        };
        if variance.is_nan() || variance <= 0.0 {
            return Err(StatsError::NoVariance);
        }
        Ok(Estimate { scale, effect, se: variance.sqrt(), df: self.df(), units: self.units(), baseline })
    }

    fn relative_variance(&self) -> f64 {
        let (baseline, lift) = (self.control.unadjusted_mean, self.gradient_lift);
        let covariance = self.baseline_covariance * baseline.signum();
        (self.variance() - 2.0 * lift * covariance + lift * lift * self.baseline_variance) / (baseline * baseline)
    }
}
