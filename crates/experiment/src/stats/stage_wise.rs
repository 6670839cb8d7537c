//! What is told of an effect at the look at which an experiment stops: p, estimate and interval that know of the looks before.
//!
//! In: information fractions and bounds of the looks so far, z at the last of them.  Out: a [`StageWise`].
//! Sources: Fairbanks & Madsen, Biometrika 69 (1982) (p); Tsiatis, Rosner & Mehta, Biometrics 40 (1984) (estimate and interval); Jennison & Turnbull
//! 2000, ch. 8.4–8.5.
//! Never here: whether it stops (`group_sequential`); repeated intervals, which hold whether it stops or not.
//! Start at [`stage_wise`].
//!
//! Stopping early for a large effect makes the plain estimate too large and its p too small. Outcomes are ordered by the look at which they
//! stop, upwards crossings of earlier looks being the most extreme and downwards ones the least; among those of one look by z.

use serde::Serialize;

use super::difference::Interval;
use super::error::{StatsError, allowed, finite, open_share, same_length};
use super::group_sequential::{Sides, Walk, check_fractions};

/// An effect in the stage-wise order of outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StageWise {
    /// Two-sided: twice the smaller of the chances, without effect, of an outcome at least as high and at least as low.
    pub p_value: f64,
    /// Of the effect that the outcome is as likely to be above as below: half of all such estimates are too high.
    pub estimate: f64,
    /// Of the effects that are not rejected at the level.
    pub ci: Interval,
}

/// Beyond so many standard errors at full information nobody looks for an effect.
const FURTHEST: f64 = 60.0;

/// The outcome `z` at the last of the looks at `fractions`; `bounds` are those of the looks before it, two-sided, at which |z| was within.
///
/// Estimate and interval are in units of the effect whose z has mean 1 at full information: times SE·√t of the last look they are effects.
/// Cost: as [`super::group_sequential::bounds`], and some fifty sums over its points.
/// Errors: fractions that do not rise, as many bounds as looks or more, an infinite z.
pub fn stage_wise(fractions: &[f64], bounds: &[f64], z: f64, alpha: f64) -> Result<StageWise, StatsError> {
    check_fractions(fractions)?;
    open_share("alpha", alpha)?;
    finite("z", z)?;
    let (&last, before) = fractions.split_last().ok_or(StatsError::TooFewUnits { n: 0, least: 1 })?;
    same_length("bounds", bounds.len(), before.len())?;
    for &bound in bounds {
        allowed("bound", bound, bound > 0.0, "above 0")?;
    }
    let mut walk = Walk::new(Sides::Two);
    let mut stages = Vec::with_capacity(before.len());
    for (at, (&fraction, &bound)) in before.iter().zip(bounds).enumerate() {
        let next = fractions[at + 1];
        let mut ahead = walk.clone();
        ahead.go_on(fraction, bound, next);
        stages.push((std::mem::replace(&mut walk, ahead), fraction, bound));
    }
    // The chance of an outcome at least as high as one that ends with z, rising with θ.
    let at_least = |z: f64, theta: f64| -> f64 {
        let crossed: f64 = stages.iter().map(|(walk, t, bound)| walk.tail_with(*t, *bound, theta)).sum();
        (crossed + walk.tail_with(last, z, theta)).clamp(0.0, 1.0)
    };
    let above = |theta: f64| at_least(z, theta);
    // At least as low is at least as high with the sides exchanged.
    let mirrored = |theta: f64| at_least(-z, theta);
    let solve = |target: f64, share: &dyn Fn(f64) -> f64| {
        let (mut low, mut high) = (-FURTHEST, FURTHEST);
        // To 4e-12 of an effect.
        for _ in 0..45 {
            let middle = 0.5 * (low + high);
            if share(middle) < target { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    };
    // By the side whose tail is small, or its digits would be lost.
    let lower = solve(0.5 * alpha, &above);
    let upper = -solve(0.5 * alpha, &mirrored);
    let estimate = if z >= 0.0 { solve(0.5, &above) } else { -solve(0.5, &mirrored) };
    let p_value = (2.0 * above(0.0).min(mirrored(0.0))).min(1.0);
    Ok(StageWise { p_value, estimate, ci: Interval { lower, upper } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coin::Coin;
    use crate::stats::distributions::{normal_quantile, normal_sf};
    use crate::stats::group_sequential::{Spending, bounds};

    fn check(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found} is not {expected}");
    }

    #[test]
    fn at_the_first_look_it_is_the_plain_test() {
        let found = stage_wise(&[0.25], &[], 3.0, 0.05).unwrap();
        check(found.p_value, 2.0 * normal_sf(3.0), 1e-12);
        // Mean 1 at full information is ½ at a quarter of it.
        check(found.estimate, 6.0, 1e-9);
        check(found.ci.lower, 2.0 * (3.0 - 1.959_963_984_540_054), 1e-8);
        check(found.ci.upper, 2.0 * (3.0 + 1.959_963_984_540_054), 1e-8);
        let mirrored = stage_wise(&[0.25], &[], -3.0, 0.05).unwrap();
        check(mirrored.estimate, -found.estimate, 1e-9);
        check(mirrored.ci.upper, -found.ci.lower, 1e-9);
    }

    /// Who stops exactly at the bound has spent exactly what was to be spent by then.
    #[test]
    fn at_the_bound_p_is_the_alpha_spent_by_then() {
        let fractions = [0.2, 0.5, 0.8, 1.0];
        for spending in [Spending::ObrienFleming, Spending::Pocock, Spending::HwangShihDecani(-2.0)] {
            let looks = bounds(&fractions, spending, 0.05, Sides::Two, true).unwrap();
            for (at, look) in looks.iter().enumerate() {
                let before: Vec<f64> = looks[..at].iter().map(|look| look.bound).collect();
                let found = stage_wise(&fractions[..=at], &before, look.bound, 0.05).unwrap();
                check(found.p_value, 2.0 * look.spent, 1e-9);
                // The interval that is dual to it: 0 is its end where all of α is spent.
                if at == 3 {
                    check(found.ci.lower, 0.0, 1e-7);
                }
            }
        }
    }

    /// By integrals of the multivariate normal law (scipy 1.17, `multivariate_normal.cdf`) and root finding there.
    #[test]
    fn figures_are_those_of_the_multivariate_normal_law() {
        let found = stage_wise(&[0.4, 0.7, 1.0], &[2.5, 2.4], 2.2, 0.05).unwrap();
        check(found.p_value, 0.042_233_364, 1e-8);
        check(found.estimate, 2.125_122_903, 1e-7);
        check(found.ci.lower, 0.077_443_947, 1e-7);
        check(found.ci.upper, 4.113_642_447, 1e-7);
    }

    /// 20,000 experiments with an effect and early stopping: half of the estimates are too high, 95 of 100 intervals hold the truth.
    #[test]
    fn the_estimate_is_median_unbiased_and_the_interval_covers() {
        let fractions = [0.3, 0.6, 1.0];
        let looks = bounds(&fractions, Spending::Pocock, 0.05, Sides::Two, true).unwrap();
        let all: Vec<f64> = looks.iter().map(|look| look.bound).collect();
        let (theta, runs, mut coin) = (2.5, 20_000, Coin::new(5));
        let (mut high, mut plain_high, mut held) = (0.0, 0.0, 0.0);
        // z at which the outcome's p is a half or 2.5 %: solved once per look, then compared, for the order is by z.
        let edges: Vec<[f64; 3]> = (0..3)
            .map(|at| {
                let of = |z: f64| stage_wise(&fractions[..=at], &all[..at], z, 0.05).unwrap();
                let edge = |is_above: &dyn Fn(f64) -> bool| {
                    let (mut low, mut up) = (-6.0, 9.0);
                    for _ in 0..30 {
                        let z = 0.5 * (low + up);
                        if is_above(z) { up = z } else { low = z }
                    }
                    up
                };
                [
                    edge(&|z| of(z).estimate > theta),
                    edge(&|z| of(z).ci.lower > theta),
                    edge(&|z| of(z).ci.upper > theta),
                ]
            })
            .collect();
        for _ in 0..runs {
            let (mut s, mut t) = (0.0, 0.0);
            for at in 0..3 {
                let step: f64 = fractions[at] - t;
                t = fractions[at];
                s += theta * step + step.sqrt() * normal_quantile(coin.unit().max(1e-12));
                let z = s / t.sqrt();
                if z.abs() > all[at] || at == 2 {
                    let [middle, lower, upper] = edges[at];
                    high += f64::from(u8::from(z > middle));
                    plain_high += f64::from(u8::from(s / t > theta));
                    held += f64::from(u8::from(z <= lower && z > upper));
                    break;
                }
            }
        }
        let runs = f64::from(runs);
        // Three standard errors.
        check(high / runs, 0.5, 0.0107);
        check(held / runs, 0.95, 0.0047);
        assert!(plain_high / runs > 0.52, "{}", plain_high / runs);
    }

    #[test]
    fn what_is_no_look_is_an_error() {
        assert!(stage_wise(&[], &[], 1.0, 0.05).is_err() && stage_wise(&[0.5, 1.0], &[], 1.0, 0.05).is_err());
        assert!(stage_wise(&[0.5], &[], f64::NAN, 0.05).is_err() && stage_wise(&[0.5], &[], 1.0, 0.0).is_err());
        assert!(stage_wise(&[0.5, 1.0], &[-1.0], 1.0, 0.05).is_err());
    }
}
