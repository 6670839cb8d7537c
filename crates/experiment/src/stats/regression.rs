//! Effects by least squares on rows: covariate adjustment with robust errors, and randomised clusters.
//!
//! In: an outcome, a treatment indicator, covariates, cluster labels; one entry per row.  Out: coefficients with standard errors.
//! Never here: sufficient statistics (see `compare`, `covariates`).
//! Start at [`adjusted_effect`] and [`clustered_effect`].

use std::collections::BTreeMap;

use serde::Serialize;

use super::difference::{Alternative, Difference, Interval, critical_value, p_value};
use super::error::{StatsError, finite, open_share};
use super::linear::{dot, inverse, quadratic, times};

/// Ordinary least squares: k coefficients and what is needed for their errors.
#[derive(Debug, Clone)]
struct Fit {
    k: usize,
    coefficients: Vec<f64>,
    /// (XᵀX)⁻¹, k×k.
    bread: Vec<f64>,
    residuals: Vec<f64>,
}

/// Least squares of `y` on the rows of `design` (n×k, row-major).
fn fit(design: &[f64], k: usize, y: &[f64]) -> Result<Fit, StatsError> {
    let mut gram = vec![0.0; k * k];
    let mut moment = vec![0.0; k];
    for (row, outcome) in design.chunks_exact(k).zip(y) {
        for i in 0..k {
            moment[i] += row[i] * outcome;
            for j in 0..k {
                gram[i * k + j] += row[i] * row[j];
            }
        }
    }
    let bread = inverse(&gram, k)?;
    let coefficients = times(&bread, &moment);
    let residuals = design.chunks_exact(k).zip(y).map(|(row, outcome)| outcome - dot(row, &coefficients)).collect();
    Ok(Fit { k, coefficients, bread, residuals })
}

impl Fit {
    /// The variance of coefficient `at` from the scores whose sum of outer products is the meat: B·(Σ s sᵀ)·B.
    fn sandwich(&self, at: usize, scores: impl Iterator<Item = Vec<f64>>) -> f64 {
        let row = &self.bread[at * self.k..(at + 1) * self.k];
        scores.map(|score| dot(row, &score).powi(2)).sum()
    }

    /// HC2: residuals scaled by 1/√(1 − leverage).  Source: MacKinnon & White, J. Econometrics 29 (1985).
    fn hc2_variance(&self, at: usize, design: &[f64]) -> f64 {
        let scores = design.chunks_exact(self.k).zip(&self.residuals).map(|(row, residual)| {
            let left = (1.0 - quadratic(&self.bread, row)).max(f64::EPSILON);
            row.iter().map(|x| x * residual / left.sqrt()).collect()
        });
        self.sandwich(at, scores)
    }
}

fn check_lengths(y: &[f64], others: &[(&'static str, usize)]) -> Result<(), StatsError> {
    for (name, found) in others {
        if *found != y.len() {
            return Err(StatsError::UnequalLengths { name, expected: y.len(), found: *found });
        }
    }
    Ok(())
}

fn indicator(is_treated: bool) -> f64 {
    if is_treated { 1.0 } else { 0.0 }
}

/// Whether the slope on a covariate may differ between the arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slopes {
    /// y ~ 1 + T + (x − x̄).
    Common,
    /// y ~ 1 + T + (x − x̄) + T·(x − x̄): never less precise in large samples.
    ByArm,
}

/// The effect by regression, with the coefficients of the covariates in control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdjustedEffect {
    pub difference: Difference,
    pub theta: Vec<f64>,
}

/// R4: the coefficient of treatment with HC2 errors and the normal as reference.
///
/// `covariates`: any number of columns, each with one value per row of `y`.
/// Source: Lin, Annals of Applied Statistics 7 (2013).  Errors: `UnequalLengths`, `NotFinite`, `Singular` (an empty arm or dependent covariates), `NoVariance`.
pub fn adjusted_effect(
    y: &[f64],
    is_treated: &[bool],
    covariates: &[&[f64]],
    slopes: Slopes,
    alpha: f64,
) -> Result<AdjustedEffect, StatsError> {
    open_share("alpha", alpha)?;
    check_lengths(y, &[("is_treated", is_treated.len())])?;
    for column in covariates {
        check_lengths(y, &[("covariate", column.len())])?;
    }
    let means: Vec<f64> = covariates.iter().map(|x| x.iter().sum::<f64>() / x.len().max(1) as f64).collect();
    let k = 2 + covariates.len() * if slopes == Slopes::ByArm { 2 } else { 1 };
    let mut design = Vec::with_capacity(y.len() * k);
    for (row, treated) in is_treated.iter().enumerate() {
        finite("y", y[row])?;
        design.extend([1.0, indicator(*treated)]);
        for (x, mean) in covariates.iter().zip(&means) {
            design.push(finite("covariate", x[row])? - mean);
        }
        if slopes == Slopes::ByArm {
            design.extend(covariates.iter().zip(&means).map(|(x, mean)| indicator(*treated) * (x[row] - mean)));
        }
    }
    let fit = fit(&design, k, y)?;
    let difference = from_variance(fit.coefficients[1], fit.hc2_variance(1, &design), f64::INFINITY, alpha)?;
    Ok(AdjustedEffect { difference, theta: fit.coefficients[2..2 + covariates.len()].to_vec() })
}

fn from_variance(effect: f64, variance: f64, df: f64, alpha: f64) -> Result<Difference, StatsError> {
    if variance.is_nan() || variance <= 0.0 {
        return Err(StatsError::NoVariance);
    }
    let se = variance.sqrt();
    let half_width = critical_value(alpha, df, Alternative::TwoSided) * se;
    Ok(Difference {
        effect,
        se,
        df,
        p_value: p_value(effect / se, df, Alternative::TwoSided),
        ci: Interval::around(effect, half_width, Alternative::TwoSided),
    })
}

/// What a clustered effect is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// Student's t with clusters − 1 degrees of freedom: the default, honest with few clusters.
    StudentT,
    Normal,
}

/// K1: the difference of row means when whole clusters were randomised: CR1, factor G/(G−1)·(n−1)/(n−k).
///
/// `cluster`: a label per row; all rows of a cluster should share an arm.
/// Source: Cameron & Miller, Journal of Human Resources 50 (2015), eq. 11 and § VI.  Errors: `UnequalLengths`, `NotFinite`, `TooFewUnits` below 3 clusters, `Singular` (an empty arm), `NoVariance`.
pub fn clustered_effect(
    y: &[f64],
    is_treated: &[bool],
    cluster: &[u64],
    reference: Reference,
    alpha: f64,
) -> Result<Difference, StatsError> {
    open_share("alpha", alpha)?;
    check_lengths(y, &[("is_treated", is_treated.len()), ("cluster", cluster.len())])?;
    let mut design = Vec::with_capacity(y.len() * 2);
    for (value, treated) in y.iter().zip(is_treated) {
        finite("y", *value)?;
        design.extend([1.0, indicator(*treated)]);
    }
    let fit = fit(&design, 2, y)?;
    let mut scores: BTreeMap<u64, [f64; 2]> = BTreeMap::new();
    for ((treated, label), residual) in is_treated.iter().zip(cluster).zip(&fit.residuals) {
        let score = scores.entry(*label).or_default();
        score[0] += residual;
        score[1] += indicator(*treated) * residual;
    }
    if scores.len() < 3 {
        return Err(StatsError::TooFewUnits { n: scores.len() as u64, least: 3 });
    }
    let (groups, n, k) = (scores.len() as f64, y.len() as f64, 2.0);
    let factor = groups / (groups - 1.0) * (n - 1.0) / (n - k);
    let variance = factor * fit.sandwich(1, scores.values().map(|score| score.to_vec()));
    let df = match reference {
        Reference::StudentT => groups - 1.0,
        Reference::Normal => f64::INFINITY,
    };
    from_variance(fit.coefficients[1], variance, df, alpha)
}
