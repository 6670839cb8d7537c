//! The distributions that tests rest on, with tails that do not underflow.
//!
//! In: a point or a probability.  Out: the other.  Tails are computed as tails, never as one minus the rest.
//! Never here: what is tested with them.
//! Start at [`normal_sf`].

use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

use libm::erfc;
use statrs::function::erf::erfc_inv;

use super::special::{Point, beta_regularized, beta_regularized_at, gamma_upper_regularized, ln_beta};

/// Φ(z): the share of a standard normal below `z`.
pub fn normal_cdf(z: f64) -> f64 {
    normal_sf(-z)
}

/// 1 − Φ(z), computed as a tail: right to a relative error even where it is 1e-300.
pub fn normal_sf(z: f64) -> f64 {
    0.5 * erfc(z * FRAC_1_SQRT_2)
}

/// φ(z), the density of a standard normal.
pub fn normal_density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * PI).sqrt()
}

/// The z below which the share `p` of a standard normal lies: ±∞ at 0 and 1, NaN outside.
pub fn normal_quantile(p: f64) -> f64 {
    if p.is_nan() || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    let z = -SQRT_2 * erfc_inv(2.0 * p);
    // A step of Newton's method: the start has ten to twelve digits.
    let (share, tail) = if z < 0.0 { (normal_cdf(z), p) } else { (normal_sf(z), 1.0 - p) };
    let step = z.signum() * (share - tail) / normal_density(z);
    if step.is_finite() { z + step } else { z }
}

/// The share of Student's t with `df` > 0 degrees of freedom above `t`. NaN where `df` is not positive.
/// Source: DLMF 8.17 and Abramowitz & Stegun 26.7.1: half of I_x(df/2, ½) at x = df/(df + t²).
pub fn t_sf(t: f64, df: f64) -> f64 {
    if df.is_nan() || df <= 0.0 || t.is_nan() {
        return f64::NAN;
    }
    if df.is_infinite() {
        return normal_sf(t);
    }
    if t < 0.0 {
        return 1.0 - t_sf(-t, df);
    }
    if t == 0.0 {
        return 0.5;
    }
    if t.is_infinite() {
        return 0.0;
    }
    match equivalent_normal(t, df) {
        Some(z) => normal_sf(z),
        None => t_tail_by_beta(t, df),
    }
}

/// The tail of t > 0 as an incomplete beta.
fn t_tail_by_beta(t: f64, df: f64) -> f64 {
    let ratio = t / df.sqrt();
    // Beyond 1e150 the square would overflow; its logarithm does not.
    let (ln_x, x, y) = if ratio > 1e150 {
        (-2.0 * ratio.ln(), 0.0, 1.0)
    } else {
        let square = ratio * ratio;
        (-square.ln_1p(), 1.0 / (1.0 + square), square / (1.0 + square))
    };
    let ln_y = if y < 0.5 { y.ln() } else { (-x).ln_1p() };
    0.5 * beta_regularized_at(0.5 * df, 0.5, Point { x, y, ln_x, ln_y })
}

/// From here on the fraction for the incomplete beta loses digits to the rounding of x near 1, and Hill's expansion has them all.
const LARGE_DF: f64 = 1e5;

/// The z whose normal tail is the tail of `t` > 0, where Hill's expansion has all digits: its first neglected term, estimated
/// by the ratio of the two before it, moves the tail by less than 1e-14.  It takes a tenth of the time of the fraction.
/// Source: Hill, Communications of the ACM 13 (1970), algorithm 395.
fn equivalent_normal(t: f64, df: f64) -> Option<f64> {
    if df < 100.0 {
        return None;
    }
    let a = df - 0.5;
    let b = 48.0 * a * a;
    let y = a * (t * t / df).ln_1p();
    let second = (((-0.4 * y - 3.3) * y - 24.0) * y - 85.5) / (0.8 * y * y + 100.0 + b);
    let neglected = (second / b).abs() * (0.8 * y * y + 100.0) / b * y.max(1.0);
    let has_all_digits = df >= LARGE_DF || neglected < 1e-14;
    has_all_digits.then(|| (1.0 + ((second + y) + 3.0) / b) * y.sqrt())
}

/// ln of t times the density at t > 0.
fn ln_t_times_density(t: f64, df: f64) -> f64 {
    let ratio = t / df.sqrt();
    // ln(1 + ratio²) without the square where that would overflow.
    let log = if ratio > 1e150 { 2.0 * ratio.ln() } else { (ratio * ratio).ln_1p() };
    -0.5 * (df + 1.0) * log - ln_beta(0.5 * df, 0.5) + ratio.ln()
}

/// The expansion of the quantile of t in 1/df around that of the normal.  Source: Abramowitz & Stegun 26.7.5.
fn quantile_from_normal(z: f64, df: f64) -> f64 {
    let y = z * z;
    let terms = [
        z * (y + 1.0) / 4.0,
        z * ((5.0 * y + 16.0) * y + 3.0) / 96.0,
        z * (((3.0 * y + 19.0) * y + 17.0) * y - 15.0) / 384.0,
        z * ((((79.0 * y + 776.0) * y + 1482.0) * y - 1920.0) * y - 945.0) / 92_160.0,
    ];
    z + terms.iter().rev().fold(0.0, |sum, term| (sum + term) / df)
}

/// The t below which the share `p` lies, with `df` > 0 degrees of freedom: ±∞ at 0 and 1. NaN outside or where `df` is not positive.
///
/// Newton's method on ln(tail) against ln t. That curve falls and is concave, so that from the second step on the
/// iterates come down to the root from one side; the start is the quantile of the normal with four corrections
/// (Abramowitz & Stegun 26.7.5), already right to 12 digits at a thousand degrees of freedom.
pub fn t_quantile(p: f64, df: f64) -> f64 {
    if df.is_nan() || df <= 0.0 || p.is_nan() || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    let z = normal_quantile(p);
    if df.is_infinite() || !z.is_finite() || p == 0.5 {
        return z;
    }
    let (tail, sign) = if p < 0.5 { (p, -1.0) } else { (1.0 - p, 1.0) };
    let z = z.abs();
    let mut t = if df > 3.0 { quantile_from_normal(z, df) } else { z };
    for _ in 0..60 {
        let share = t_sf(t, df);
        if share == 0.0 {
            // Only after a step too far to the right: half of the way back in ln t.
            t = t.sqrt();
            continue;
        }
        let slope = (ln_t_times_density(t, df) - share.ln()).exp();
        let next = (t * ((share / tail).ln() / slope).clamp(-50.0, 700.0).exp()).min(f64::MAX);
        let is_settled = (next - t).abs() <= 1e-15 * t;
        t = next;
        if is_settled {
            break;
        }
    }
    // Few degrees of freedom put the quantile beyond all numbers.
    if t == f64::MAX {
        return sign * f64::INFINITY;
    }
    sign * t
}

/// The share of a chi-square with `df` > 0 degrees of freedom above `x`. NaN where `df` is not positive.
pub fn chi_square_sf(x: f64, df: f64) -> f64 {
    gamma_upper_regularized(0.5 * df, 0.5 * x)
}

/// The share of a Beta(a, b) variable below `x`; a, b > 0. NaN where they are not.
pub fn beta_cdf(x: f64, a: f64, b: f64) -> f64 {
    beta_regularized(a, b, x)
}

/// The x below which the share `p` of a Beta(a, b) variable lies. NaN where `p` is no share or a parameter is not positive.
/// Bisection in the logit of x, which keeps its relative accuracy at both ends, then Newton's method.
pub fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    if !(a > 0.0 && b > 0.0) || p.is_nan() || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.0 || p == 1.0 {
        return p;
    }
    let logistic = |u: f64| 1.0 / (1.0 + (-u).exp());
    let (mut low, mut high) = (-700.0, 700.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if beta_cdf(logistic(middle), a, b) < p { low = middle } else { high = middle }
    }
    let mut x = logistic(0.5 * (low + high));
    for _ in 0..3 {
        let density = ((a - 1.0) * x.ln() + (b - 1.0) * (-x).ln_1p() - ln_beta(a, b)).exp();
        let next = x - (beta_cdf(x, a, b) - p) / density;
        if next > 0.0 && next < 1.0 {
            x = next;
        }
    }
    x
}

/// The exact two-sided p-value of `successes` of `trials` against a fair coin: twice the smaller tail, at most 1.
/// Source: P(X ≤ k) = I_½(n − k, k + 1), DLMF 8.17.5.
pub fn fair_coin_two_sided(successes: u64, trials: u64) -> f64 {
    let fewer = successes.min(trials.saturating_sub(successes)) as f64;
    let tail = beta_regularized(trials as f64 - fewer, fewer + 1.0, 0.5);
    if trials == 0 { 1.0 } else { (2.0 * tail).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_the_normal_is_half_of_that_of_chi_square() {
        for step in 1..3700 {
            let z = 0.01 * f64::from(step);
            let (one, other) = (normal_sf(z), 0.5 * chi_square_sf(z * z, 1.0));
            assert!((one / other - 1.0).abs() < 1e-12, "z {z}: {one:e} {other:e}");
            let back = normal_quantile(one);
            assert!((back / -z - 1.0).abs() < 1e-12, "z {z}: {back}");
        }
    }

    #[test]
    fn both_ways_to_the_tail_of_t_agree_where_the_faster_one_is_taken() {
        let mut taken = 0;
        for df in [100.0, 150.0, 300.0, 1e3, 3e3, 1e4, 5e4, 9e4] {
            for step in 1..400 {
                let t = 0.08 * f64::from(step);
                let Some(z) = equivalent_normal(t, df) else { continue };
                taken += 1;
                let (fast, slow) = (normal_sf(z), t_tail_by_beta(t, df));
                assert!((fast / slow - 1.0).abs() < 1e-11, "t {t}, df {df}: {fast:e} {slow:e}");
            }
        }
        assert!(taken > 1000, "{taken}");
    }
}
