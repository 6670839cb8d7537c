//! Several covariates at once: centred moments that can be merged, and the adjusted comparison of two arms.
//!
//! In: per arm the means and co-moments of an outcome and its covariates.  Out: a [`CovariateComparison`].
//! Never here: which covariates to take; rows, except in [`CovariateMoments::from_rows`].
//! Start at [`compare_with_covariates`].

use serde::{Deserialize, Serialize};

use super::compare::{Arm, Comparison};
use super::error::{StatsError, finite};
use super::linear::{dot, inverse, quadratic, times};

/// Means and centred co-moments of one arm: entry 0 is the outcome, the others are covariates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CovariateMoments {
    pub n: u64,
    /// k + 1 means.
    pub means: Vec<f64>,
    /// (k + 1)² sums Σ(v_i − v̄_i)(v_j − v̄_j), row-major.
    pub comoments: Vec<f64>,
}

impl CovariateMoments {
    /// Moments of rows of width k + 1, outcome first.  Errors: `UnequalLengths`, `NotFinite`.
    pub fn from_rows<'a>(width: usize, rows: impl IntoIterator<Item = &'a [f64]>) -> Result<Self, StatsError> {
        let mut moments = Self { n: 0, means: vec![0.0; width], comoments: vec![0.0; width * width] };
        let mut before = vec![0.0; width];
        for row in rows {
            if row.len() != width {
                return Err(StatsError::UnequalLengths { name: "row", expected: width, found: row.len() });
            }
            moments.n += 1;
            for (i, value) in row.iter().enumerate() {
                before[i] = finite("row", *value)? - moments.means[i];
                moments.means[i] += before[i] / moments.n as f64;
            }
            // Welford's update: the deviation before times the deviation after.
            let after = row.iter().zip(&moments.means).map(|(value, mean)| value - mean).collect::<Vec<f64>>();
            for (at, sum) in moments.comoments.iter_mut().enumerate() {
                *sum += before[at / width] * after[at % width];
            }
        }
        Ok(moments)
    }

    /// Some of the entries, in the order given.
    #[must_use]
    pub fn part(&self, entries: &[usize]) -> Self {
        let width = self.means.len();
        let pairs = entries.iter().flat_map(|i| entries.iter().map(move |j| self.comoments[i * width + j]));
        Self { n: self.n, means: entries.iter().map(|i| self.means[*i]).collect(), comoments: pairs.collect() }
    }

    /// The moments of two disjoint parts together.  Source: Chan, Golub & LeVeque, Technical report STAN-CS-79-773 (1979), eq. 2.1.
    /// Errors: `UnequalLengths` where the parts have different covariates.
    pub fn merged(&self, other: &Self) -> Result<Self, StatsError> {
        let width = self.means.len();
        if other.means.len() != width {
            return Err(StatsError::UnequalLengths { name: "means", expected: width, found: other.means.len() });
        }
        if self.n == 0 || other.n == 0 {
            return Ok(if self.n == 0 { other.clone() } else { self.clone() });
        }
        let (a, b) = (self.n as f64, other.n as f64);
        let apart: Vec<f64> = other.means.iter().zip(&self.means).map(|(y, x)| y - x).collect();
        let means = self.means.iter().zip(&apart).map(|(x, d)| x + d * b / (a + b)).collect();
        let comoments = (0..width * width)
            .map(|at| {
                self.comoments[at] + other.comoments[at] + apart[at / width] * apart[at % width] * a * b / (a + b)
            })
            .collect();
        Ok(Self { n: self.n + other.n, means, comoments })
    }

    fn covariance(&self, i: usize, j: usize) -> f64 {
        self.comoments[i * self.means.len() + j] / (self.n as f64 - 1.0)
    }

    /// s²_y − 2θᵀs_xy + θᵀS_xx θ.
    fn adjusted_variance(&self, theta: &[f64]) -> f64 {
        let mut direction = vec![1.0];
        direction.extend(theta.iter().map(|t| -t));
        (quadratic(&self.comoments, &direction) / (self.n as f64 - 1.0)).max(0.0)
    }

    /// (M, D, x…) becomes (z, x…) with z = (M − R·D)/D̄; the mean of z is given as R, the value of the arm.
    fn linearised(&self) -> Result<Self, StatsError> {
        let width = self.means.len();
        let [m, d, ..] = self.means[..] else {
            return Err(StatsError::UnequalLengths { name: "means", expected: 2, found: width });
        };
        if d == 0.0 {
            return Err(StatsError::ZeroDenominator);
        }
        let ratio = m / d;
        let mut means = vec![ratio];
        means.extend(&self.means[2..]);
        // Rows of the map from the old entries to the new ones, all but z unchanged.
        let project = |row: &[f64]| {
            let mut image = vec![(row[0] - ratio * row[1]) / d];
            image.extend(&row[2..]);
            image
        };
        let half: Vec<Vec<f64>> = self.comoments.chunks_exact(width).map(project).collect();
        let mut comoments = Vec::with_capacity((width - 1) * (width - 1));
        for column in 0..width - 1 {
            let entries: Vec<f64> = half.iter().map(|row| row[column]).collect();
            comoments.extend(project(&entries));
        }
        Ok(Self { n: self.n, means, comoments })
    }

    fn check(&self) -> Result<(), StatsError> {
        let width = self.means.len();
        if width == 0 || self.comoments.len() != width * width {
            return Err(StatsError::UnequalLengths {
                name: "comoments",
                expected: width * width,
                found: self.comoments.len(),
            });
        }
        for value in self.means.iter().chain(&self.comoments) {
            finite("moments", *value)?;
        }
        if self.n < 2 { Err(StatsError::TooFewUnits { n: self.n, least: 2 }) } else { Ok(()) }
    }
}

/// The comparison and the coefficient of each covariate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CovariateComparison {
    pub comparison: Comparison,
    /// 0 for a covariate that is constant, or depends on those before it.
    pub theta: Vec<f64>,
}

/// R3: θ = (Σ_xx + λI)⁻¹Σ_xy on the co-moments within the arms and between them (pooled arms), shared by both arms.
///
/// `ridge` λ ≥ 0 is a share: the covariates are brought to unit variance first, so that λ has no unit.  Constant covariates, and those that depend on the ones before
/// them, get θ = 0;
/// with one covariate and λ = 0 the result is that of CUPED (R1, R2).
/// Source: Guo et al., NeurIPS 2021 (MLRATE); Deng et al., WSDM 2013, § 4.  Errors: `TooFewUnits`, `NotFinite`, `UnequalLengths`.
pub fn compare_with_covariates(
    control: &CovariateMoments,
    treatment: &CovariateMoments,
    ridge: f64,
) -> Result<CovariateComparison, StatsError> {
    control.check()?;
    treatment.check()?;
    check_ridge(ridge)?;
    let pooled = control.merged(treatment)?;
    let theta = solve_theta(&pooled, ridge)?;
    let mut comparison = adjust(control, treatment, &pooled, &theta);
    let (c, t) = (comparison.control.unadjusted_mean, comparison.treatment.unadjusted_mean);
    comparison.gradient_lift = (t - c) / c.abs();
    Ok(CovariateComparison { comparison, theta })
}

/// R5: a ratio metric with covariates per unit: entries 0 and 1 are the numerator M and the denominator D, the others covariates.
///
/// z = (M − R·D)/D̄ takes the place of the outcome: θ from pooled arms, each arm's variance from its own z − θx, its value R − θ(x̄_arm − x̄).
/// Source: Deng, Knoblich & Lu, KDD 2018, § 3 and 5; Deng et al., WSDM 2013.  Errors: as [`compare_with_covariates`]; `ZeroDenominator`.
pub fn compare_ratio_with_covariates(
    control: &CovariateMoments,
    treatment: &CovariateMoments,
    ridge: f64,
) -> Result<CovariateComparison, StatsError> {
    control.check()?;
    treatment.check()?;
    check_ridge(ridge)?;
    let pooled = control.merged(treatment)?.linearised()?;
    let theta = solve_theta(&pooled, ridge)?;
    let (c, t) = (control.linearised()?, treatment.linearised()?);
    let mut comparison = adjust(&c, &t, &pooled, &theta);
    comparison.gradient_lift = comparison.difference() / comparison.control.unadjusted_mean.abs();
    Ok(CovariateComparison { comparison, theta })
}

fn check_ridge(ridge: f64) -> Result<(), StatsError> {
    if ridge.is_nan() || ridge < 0.0 {
        return Err(StatsError::OutOfRange { name: "ridge", value: ridge, allowed: "at least 0" });
    }
    Ok(())
}

/// Both arms at the pooled covariates; the caller sets the lift of the gradient.
fn adjust(
    control: &CovariateMoments,
    treatment: &CovariateMoments,
    pooled: &CovariateMoments,
    theta: &[f64],
) -> Comparison {
    let arm = |m: &CovariateMoments| {
        let away: Vec<f64> = m.means[1..].iter().zip(&pooled.means[1..]).map(|(x, mean)| x - mean).collect();
        Arm {
            n: m.n,
            mean: m.means[0] - dot(theta, &away),
            variance: m.adjusted_variance(theta),
            unadjusted_mean: m.means[0],
        }
    };
    let with_outcome: f64 = theta.iter().enumerate().map(|(i, value)| value * control.covariance(0, i + 1)).sum();
    let units = control.n as f64;
    Comparison {
        theta: theta.first().copied(),
        covariate_mean: pooled.means.get(1).copied().unwrap_or(0.0),
        baseline_variance: control.covariance(0, 0) / units,
        baseline_covariance: -(control.covariance(0, 0) - with_outcome) / units,
        gradient_lift: 0.0,
        control: arm(control),
        treatment: arm(treatment),
    }
}

fn solve_theta(pooled: &CovariateMoments, ridge: f64) -> Result<Vec<f64>, StatsError> {
    let covariates = pooled.means.len() - 1;
    let varying: Vec<usize> = (1..=covariates)
        .filter(|i| {
            let mean_square = pooled.means[*i].powi(2) + pooled.covariance(*i, *i);
            // Constant but for rounding, as in `moments::ROUNDING_SHARE`.
            pooled.covariance(*i, *i) > 1e-12 * mean_square
        })
        .collect();
    let sd = |i: usize| pooled.covariance(i, i).sqrt();
    let correlations = |of: &[usize]| {
        let pairs = of.iter().flat_map(|i| of.iter().map(move |j| (*i, *j)));
        let correlation = |(i, j)| pooled.covariance(i, j) / (sd(i) * sd(j)) + if i == j { ridge } else { 0.0 };
        pairs.map(correlation).collect::<Vec<f64>>()
    };
    // What depends on the columns before it adds nothing: who has no history, where the covariate itself is whether there was any.
    let mut kept: Vec<usize> = Vec::with_capacity(varying.len());
    for i in varying {
        kept.push(i);
        if inverse(&correlations(&kept), kept.len()).is_err() {
            kept.pop();
        }
    }
    let mut theta = vec![0.0; covariates];
    if !kept.is_empty() {
        let against: Vec<f64> = kept.iter().map(|i| pooled.covariance(0, *i) / sd(*i)).collect();
        let standardised = times(&inverse(&correlations(&kept), kept.len())?, &against);
        kept.iter().zip(standardised).for_each(|(i, value)| theta[i - 1] = value / sd(*i));
    }
    Ok(theta)
}
