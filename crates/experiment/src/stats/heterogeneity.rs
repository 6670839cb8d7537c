//! Whether an effect differs: between slices, between past experiments, and between the arms of another experiment.
//!
//! In: effects with standard errors; cell means of two crossed experiments.  Out: tests of sameness, shrunken effects, a prior.
//! Never here: corrections over many dimensions or pairs (Benjamini–Hochberg takes the p-values).
//! Start at [`heterogeneity`] and [`interaction`].

use serde::Serialize;

use super::bayes::Prior;
use super::difference::{Alternative, Difference, Interval, critical_value, p_value};
use super::distributions::chi_square_sf;
use super::error::{StatsError, finite, open_share, positive};

/// An effect of one slice or one experiment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SliceEffect {
    pub effect: f64,
    /// Above 0.
    pub se: f64,
}

/// What is known about the differences between slices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heterogeneity {
    /// Cochran's Q = Σ(e_i − ē)²/SE_i², ē weighted by 1/SE².
    pub q: f64,
    /// Slices − 1.
    pub df: f64,
    /// The chance of such a Q if all slices had one effect.
    pub p_value: f64,
    /// Variance of the true effects between slices, at least 0.
    pub between_variance: f64,
    /// The mean effect, weighted by 1/(SE² + between).
    pub mean: f64,
    pub mean_se: f64,
    /// Each slice's effect pulled to the mean by SE²/(SE² + between); its se is that of the posterior given the mean.
    pub shrunken: Vec<SliceEffect>,
}

/// H1: Cochran's Q, the moment estimate of the variance between slices, and empirical-Bayes shrinkage.
///
/// Slices must not share units.  Source: Cochran, Biometrics 10 (1954); DerSimonian & Laird, Controlled Clinical Trials 7 (1986); Efron & Morris, JASA 70 (1975).
/// Errors: `TooFewUnits` below two slices; `NotFinite`, `OutOfRange`.
pub fn heterogeneity(slices: &[SliceEffect]) -> Result<Heterogeneity, StatsError> {
    if slices.len() < 2 {
        return Err(StatsError::TooFewUnits { n: slices.len() as u64, least: 2 });
    }
    let mut weights = Vec::with_capacity(slices.len());
    for slice in slices {
        finite("effect", slice.effect)?;
        let se = positive("se", slice.se)?;
        weights.push(1.0 / (se * se));
    }
    let sum: f64 = weights.iter().sum();
    let fixed_mean = slices.iter().zip(&weights).map(|(s, w)| s.effect * w).sum::<f64>() / sum;
    let q: f64 = slices.iter().zip(&weights).map(|(s, w)| w * (s.effect - fixed_mean).powi(2)).sum();
    let df = slices.len() as f64 - 1.0;
    let scale = sum - weights.iter().map(|w| w * w).sum::<f64>() / sum;
    let between = ((q - df) / scale).max(0.0);
    let random: Vec<f64> = weights.iter().map(|w| 1.0 / (1.0 / w + between)).collect();
    let random_sum: f64 = random.iter().sum();
    let mean = slices.iter().zip(&random).map(|(s, w)| s.effect * w).sum::<f64>() / random_sum;
    let shrunken = slices
        .iter()
        .map(|s| {
            let kept = between / (between + s.se * s.se);
            SliceEffect { effect: mean + kept * (s.effect - mean), se: s.se * kept.sqrt() }
        })
        .collect();
    let p_value = chi_square_sf(q, df);
    Ok(Heterogeneity { q, df, p_value, between_variance: between, mean, mean_se: random_sum.sqrt().recip(), shrunken })
}

/// A prior for relative lifts from past experiments with one metric: N(mean, variance between experiments).
///
/// Source: as [`heterogeneity`]; Deng, WWW 2015.  Errors: as [`heterogeneity`]; `NoVariance` where the past shows no differences between experiments.
pub fn fit_prior(past: &[SliceEffect]) -> Result<Prior, StatsError> {
    let found = heterogeneity(past)?;
    if found.between_variance == 0.0 {
        return Err(StatsError::NoVariance);
    }
    Ok(Prior { mean: found.mean, variance: found.between_variance })
}

/// Units, mean and sample variance of the units in one arm of each of two experiments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossedCell {
    pub n: u64,
    pub mean: f64,
    pub variance: f64,
}

/// H2: the difference of differences over `cells[arm of the first][arm of the second]`, control first: (ȳ_tt − ȳ_tc) − (ȳ_ct − ȳ_cc).
///
/// Var = Σs²/n, the normal as reference.  Source: Kohavi, Tang & Xu 2020, ch. 8.
/// Errors: `TooFewUnits` below two units in a cell; `NotFinite`, `OutOfRange`, `NoVariance`.
pub fn interaction(cells: &[[CrossedCell; 2]; 2], alpha: f64) -> Result<Difference, StatsError> {
    open_share("alpha", alpha)?;
    let mut variance = 0.0;
    for cell in cells.iter().flatten() {
        if cell.n < 2 {
            return Err(StatsError::TooFewUnits { n: cell.n, least: 2 });
        }
        finite("mean", cell.mean)?;
        variance += finite("variance", cell.variance)? / cell.n as f64;
    }
    if variance <= 0.0 {
        return Err(StatsError::NoVariance);
    }
    let [[cc, ct], [tc, tt]] = cells;
    let effect = (tt.mean - tc.mean) - (ct.mean - cc.mean);
    let se = variance.sqrt();
    let half_width = critical_value(alpha, f64::INFINITY, Alternative::TwoSided) * se;
    Ok(Difference {
        effect,
        se,
        df: f64::INFINITY,
        p_value: p_value(effect / se, f64::INFINITY, Alternative::TwoSided),
        ci: Interval::around(effect, half_width, Alternative::TwoSided),
    })
}

/// χ² with one degree of freedom: the chance of such counts if the two assignments were independent; 1 where an arm has nobody.
/// Source: Pearson 1900.
pub fn independence_p(counts: &[[u64; 2]; 2]) -> f64 {
    let [[cc, ct], [tc, tt]] = counts.map(|row| row.map(|count| count as f64));
    let (rows, columns) = ([cc + ct, tc + tt], [cc + tc, ct + tt]);
    if rows.iter().chain(&columns).any(|total| *total == 0.0) {
        return 1.0;
    }
    let mut chi_square = 0.0;
    for (row, row_total) in [[cc, ct], [tc, tt]].iter().zip(rows) {
        for (count, column_total) in row.iter().zip(columns) {
            let expected = row_total * column_total / (cc + ct + tc + tt);
            chi_square += (count - expected).powi(2) / expected;
        }
    }
    chi_square_sf(chi_square, 1.0)
}
