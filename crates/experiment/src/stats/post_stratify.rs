//! Post-stratification: strata known before exposure take their share of the noise away.
//!
//! In: two arms per stratum.  Out: an [`Estimate`] of the effect over all strata.
//! Never here: which strata to take; strata that the treatment can change bias the effect.
//! Start at [`post_stratify`].

use serde::Serialize;

use super::compare::{Estimate, Scale, Statistic, compare};
use super::error::StatsError;
use super::linear::{dot, inverse, times};
use super::moments::{Cuped, CupedRatio, Ratio, bilinear};

/// One stratum: control and treatment.
pub type Stratum = (Statistic, Statistic);

/// The effect over all strata.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PostStratified {
    pub estimate: Estimate,
    /// Strata after those too small or without noise have joined the largest. With one, the estimate is that of [`compare`].
    pub strata: usize,
    /// Whether the covariate was used; it is dropped where it depends on the stratum alone.
    pub is_covariate_used: bool,
}

/// The estimates α_k of one stratum (control, effect; for ratios of numerator, then of denominator) and n_k times their covariance.
struct Cell<const K: usize> {
    n: f64,
    estimates: [f64; K],
    covariance: [[f64; K]; K],
}

/// R7.  The degrees of freedom are those of the unstratified comparison.
///
/// Source: Miratrix, Sekhon & Yu, JRSS B 75 (2013); Xie & Aurisset, KDD 2016; with covariates by least squares within each stratum.
/// Errors: as [`compare`] and [`super::Comparison::estimate`]; `Unsupported` for quantiles; `TooFewUnits` without strata.
pub fn post_stratify(strata: &[Stratum], scale: Scale) -> Result<PostStratified, StatsError> {
    let whole = merge_all(strata)?;
    let plain = compare(&whole.0, &whole.1)?.estimate(scale)?;
    let joined = join_weak(strata)?;
    if joined.len() < 2 {
        let is_covariate_used = whole.0.unadjusted() != whole.0;
        return Ok(PostStratified { estimate: plain, strata: joined.len(), is_covariate_used });
    }
    let (effect, variance, is_covariate_used) = match summarise(&joined, scale) {
        Err(StatsError::Singular) => {
            let without: Vec<Stratum> = joined.iter().map(|(c, t)| (c.unadjusted(), t.unadjusted())).collect();
            let (effect, variance) = summarise(&without, scale)?;
            (effect, variance, false)
        }
        other => {
            let (effect, variance) = other?;
            (effect, variance, whole.0.unadjusted() != whole.0)
        }
    };
    if variance.is_nan() || variance <= 0.0 {
        return Err(StatsError::NoVariance);
    }
    let estimate = Estimate { effect, se: variance.sqrt(), ..plain };
    Ok(PostStratified { estimate, strata: joined.len(), is_covariate_used })
}

fn merge_all(strata: &[Stratum]) -> Result<Stratum, StatsError> {
    let (first, rest) = strata.split_first().ok_or(StatsError::TooFewUnits { n: 0, least: 2 })?;
    rest.iter().try_fold(*first, |sum, next| Ok((sum.0.merged(&next.0)?, sum.1.merged(&next.1)?)))
}

/// Whether a stratum can stand alone: noise in both arms, and more units than the regression of a ratio has parameters.
fn is_weak(stratum: &Stratum) -> bool {
    let least = if matches!(stratum.0, Statistic::CupedRatio(_)) { 7 } else { 2 };
    let units = stratum.0.units() + stratum.1.units();
    units < least
        || compare(&stratum.0, &stratum.1).map_or(true, |c| c.control.variance == 0.0 || c.treatment.variance == 0.0)
}

/// Weak strata join the largest one.
fn join_weak(strata: &[Stratum]) -> Result<Vec<Stratum>, StatsError> {
    let units = |s: &Stratum| s.0.units() + s.1.units();
    let (weak, mut strong): (Vec<Stratum>, Vec<Stratum>) = strata.iter().partition(|s| is_weak(s));
    let Some(largest) = (0..strong.len()).max_by_key(|at| units(&strong[*at])) else {
        return Ok(vec![merge_all(&weak)?]);
    };
    for (c, t) in weak {
        strong[largest] = (strong[largest].0.merged(&c)?, strong[largest].1.merged(&t)?);
    }
    Ok(strong)
}

/// Effect and variance over the strata.
fn summarise(strata: &[Stratum], scale: Scale) -> Result<(f64, f64), StatsError> {
    match &strata[0].0 {
        Statistic::Mean(_) | Statistic::Proportion(_) => {
            let cells = strata.iter().map(mean_cell).collect::<Result<Vec<_>, _>>()?;
            mean_effect(&cells, scale)
        }
        Statistic::Cuped(_) => {
            let cells = strata.iter().map(cuped_cell).collect::<Result<Vec<_>, _>>()?;
            mean_effect(&cells, scale)
        }
        Statistic::Ratio(_) => {
            let cells = strata.iter().map(ratio_cell).collect::<Result<Vec<_>, _>>()?;
            ratio_effect(&cells, scale)
        }
        Statistic::CupedRatio(_) => {
            let cells = strata.iter().map(cuped_ratio_cell).collect::<Result<Vec<_>, _>>()?;
            ratio_effect(&cells, scale)
        }
        other @ (Statistic::Quantile(_) | Statistic::QuantileClustered(_)) => {
            Err(StatsError::Unsupported { kind: other.kind(), what: "post-stratified" })
        }
    }
}

fn mixed(stratum: &Stratum) -> StatsError {
    StatsError::MixedStatistics { control: stratum.0.kind(), treatment: stratum.1.kind() }
}

fn mean_cell(stratum: &Stratum) -> Result<Cell<2>, StatsError> {
    let c = compare(&stratum.0, &stratum.1)?;
    let b = c.control.variance / c.control.n as f64;
    let n = c.units();
    Ok(Cell {
        n,
        estimates: [c.control.mean, c.difference()],
        covariance: [[n * b, -n * b], [-n * b, n * c.variance()]],
    })
}

fn ratio_cell(stratum: &Stratum) -> Result<Cell<4>, StatsError> {
    let (Statistic::Ratio(c), Statistic::Ratio(t)) = stratum else { return Err(mixed(stratum)) };
    let matrix = |s: &Ratio| [[s.m_statistic.variance(), s.covariance()], [s.covariance(), s.d_statistic.variance()]];
    let means = |s: &Ratio| [s.m_statistic.mean(), s.d_statistic.mean()];
    let (matrix_c, matrix_t, mean_c, mean_t) = (matrix(c), matrix(t), means(c), means(t));
    let (n_c, n_t) = (c.n as f64, t.n as f64);
    let n = n_c + n_t;
    let mut cell = Cell { n, estimates: [0.0; 4], covariance: [[0.0; 4]; 4] };
    for o in 0..2 {
        cell.estimates[2 * o] = mean_c[o];
        cell.estimates[2 * o + 1] = mean_t[o] - mean_c[o];
        for p in 0..2 {
            let b = n * matrix_c[o][p] / n_c;
            let a = n * matrix_t[o][p] / n_t;
            cell.covariance[2 * o][2 * p] = b;
            cell.covariance[2 * o][2 * p + 1] = -b;
            cell.covariance[2 * o + 1][2 * p] = -b;
            cell.covariance[2 * o + 1][2 * p + 1] = a + b;
        }
    }
    Ok(cell)
}

/// Means and sample covariances of one arm: outcomes first, then covariates.
struct ArmTable {
    n: f64,
    means: Vec<f64>,
    covariance: Vec<Vec<f64>>,
}

fn cuped_cell(stratum: &Stratum) -> Result<Cell<2>, StatsError> {
    let (Statistic::Cuped(c), Statistic::Cuped(t)) = stratum else { return Err(mixed(stratum)) };
    let table = |s: &Cuped| ArmTable {
        n: s.n as f64,
        means: vec![s.post_statistic.mean(), s.pre_statistic.mean()],
        covariance: vec![
            vec![s.post_statistic.variance(), s.covariance()],
            vec![s.covariance(), s.pre_statistic.variance()],
        ],
    };
    // Intercept, treatment and slope are fitted.
    regression_cell(&table(c), &table(t), 1, 3.0)
}

fn cuped_ratio_cell(stratum: &Stratum) -> Result<Cell<4>, StatsError> {
    let (Statistic::CupedRatio(c), Statistic::CupedRatio(t)) = stratum else { return Err(mixed(stratum)) };
    let table = |s: &CupedRatio| ArmTable {
        n: s.n as f64,
        means: [&s.m_statistic_post, &s.d_statistic_post, &s.m_statistic_pre, &s.d_statistic_pre]
            .map(|m| m.mean())
            .to_vec(),
        covariance: s.covariance_matrix().iter().map(|row| row.to_vec()).collect(),
    };
    regression_cell(&table(c), &table(t), 2, 6.0)
}

/// Least squares of each outcome on 1, T and the covariates within one stratum, control mean taken at the stratum's mean covariates.
///
/// By the theorem of Frisch, Waugh & Lovell the slopes are those of the sums of squares within the arms. The last term of the
/// covariance is the noise of the mean covariates themselves.
fn regression_cell<const K: usize>(
    c: &ArmTable,
    t: &ArmTable,
    outcomes: usize,
    parameters: f64,
) -> Result<Cell<K>, StatsError> {
    let n = c.n + t.n;
    if n <= parameters {
        return Err(StatsError::Singular);
    }
    let covariates = c.means.len() - outcomes;
    let within = |i: usize, j: usize| (c.n - 1.0) * c.covariance[i][j] + (t.n - 1.0) * t.covariance[i][j];
    let apart: Vec<f64> = (0..c.means.len()).map(|i| t.means[i] - c.means[i]).collect();
    // Covariance of the covariates over the whole stratum.
    let spread = |i: usize, j: usize| (within(i, j) + apart[i] * apart[j] * c.n * t.n / n) / (n - 1.0);
    let index = |at: usize| (outcomes + at / covariates, outcomes + at % covariates);
    let gram: Vec<f64> = (0..covariates * covariates).map(|at| within(index(at).0, index(at).1)).collect();
    let noise: Vec<f64> = (0..covariates * covariates).map(|at| spread(index(at).0, index(at).1)).collect();
    let bread = inverse(&gram, covariates)?;
    let with_outcome: Vec<Vec<f64>> =
        (0..outcomes).map(|o| (outcomes..c.means.len()).map(|x| within(x, o)).collect()).collect();
    let slopes: Vec<Vec<f64>> = with_outcome.iter().map(|moments| times(&bread, moments)).collect();
    let effect_gap = &apart[outcomes..];
    // Control's covariates are this far from the stratum's.
    let control_gap: Vec<f64> = effect_gap.iter().map(|d| -d * t.n / n).collect();
    let factors = [
        [
            1.0 / c.n + dot(&control_gap, &times(&bread, &control_gap)),
            -1.0 / c.n + dot(&control_gap, &times(&bread, effect_gap)),
        ],
        [0.0, 1.0 / c.n + 1.0 / t.n + dot(effect_gap, &times(&bread, effect_gap))],
    ];
    let trace = dot(&bread, &noise);
    let mut cell = Cell { n, estimates: [0.0; K], covariance: [[0.0; K]; K] };
    for o in 0..outcomes {
        cell.estimates[2 * o] = c.means[o] - dot(&slopes[o], &control_gap);
        cell.estimates[2 * o + 1] = apart[o] - dot(&slopes[o], effect_gap);
        for p in 0..outcomes {
            let sigma = (within(o, p) - dot(&slopes[o], &with_outcome[p])) / (n - parameters);
            let of_means = (sigma * trace + dot(&slopes[o], &times(&noise, &slopes[p]))) / n;
            cell.covariance[2 * o][2 * p] = n * (sigma * factors[0][0] + of_means);
            cell.covariance[2 * o][2 * p + 1] = n * sigma * factors[0][1];
            cell.covariance[2 * o + 1][2 * p] = n * sigma * factors[0][1];
            cell.covariance[2 * o + 1][2 * p + 1] = n * sigma * factors[1][1];
        }
    }
    Ok(cell)
}

/// Σν_kα_k and [A(diag ν − ννᵀ)Aᵀ + Σν_kV_k]/N.
fn combine<const K: usize>(cells: &[Cell<K>]) -> ([f64; K], [[f64; K]; K]) {
    let total: f64 = cells.iter().map(|cell| cell.n).sum();
    let mut mean = [0.0; K];
    for cell in cells {
        for (sum, value) in mean.iter_mut().zip(cell.estimates) {
            *sum += cell.n / total * value;
        }
    }
    let mut covariance = [[0.0; K]; K];
    for cell in cells {
        let share = cell.n / total;
        for i in 0..K {
            for j in 0..K {
                let between = (cell.estimates[i] - mean[i]) * (cell.estimates[j] - mean[j]);
                covariance[i][j] += share * (between + cell.covariance[i][j]) / total;
            }
        }
    }
    (mean, covariance)
}

fn mean_effect(cells: &[Cell<2>], scale: Scale) -> Result<(f64, f64), StatsError> {
    let ([baseline, effect], covariance) = combine(cells);
    let (value, gradient) = match scale {
        Scale::Absolute => (effect, [0.0, 1.0]),
        Scale::Relative if baseline == 0.0 => return Err(StatsError::ZeroBaseline),
        Scale::Relative => (effect / baseline.abs(), [-effect / (baseline * baseline.abs()), 1.0 / baseline.abs()]),
    };
    Ok((value, bilinear(&gradient, &covariance, &gradient)))
}

fn ratio_effect(cells: &[Cell<4>], scale: Scale) -> Result<(f64, f64), StatsError> {
    let ([m, m_effect, d, d_effect], covariance) = combine(cells);
    let (m_t, d_t) = (m + m_effect, d + d_effect);
    if d == 0.0 || d_t == 0.0 {
        return Err(StatsError::ZeroDenominator);
    }
    let (control, treatment) = (m / d, m_t / d_t);
    let of_control = [1.0 / d, 0.0, -m / (d * d), 0.0];
    let of_treatment = [1.0 / d_t, 1.0 / d_t, -m_t / (d_t * d_t), -m_t / (d_t * d_t)];
    let (value, slope_t, slope_c) = match scale {
        Scale::Absolute => (treatment - control, 1.0, -1.0),
        Scale::Relative if control == 0.0 => return Err(StatsError::ZeroBaseline),
        Scale::Relative => {
            let size = control.abs();
            ((treatment - control) / size, 1.0 / size, -treatment / (control * size))
        }
    };
    let gradient: [f64; 4] = std::array::from_fn(|i| slope_t * of_treatment[i] + slope_c * of_control[i]);
    Ok((value, bilinear(&gradient, &covariance, &gradient)))
}
