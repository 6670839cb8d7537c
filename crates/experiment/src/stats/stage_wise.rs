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

use std::collections::BTreeMap;

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

/// Beyond so many standard errors digits of the normal law are lost, and nobody needs an estimate to see the effect.
const MOST_Z: f64 = 1e9;
/// So many doublings lead from any z to any effect that its looks can mean.
const DOUBLINGS: usize = 64;

/// The outcome `z` at the last of the looks at `fractions`; `bounds` are those of the looks before it, two-sided, at which |z| was within.
///
/// Estimate and interval are in units of the effect whose z has mean 1 at full information: times SE·√t of the last look they are effects.
/// A p below 1e-16 is right in its order of magnitude only.
/// Cost: some five times [`super::group_sequential::bounds`].
/// Errors: fractions that do not rise, as many bounds as looks or more, |z| above 1e9.
pub fn stage_wise(fractions: &[f64], bounds: &[f64], z: f64, alpha: f64) -> Result<StageWise, StatsError> {
    check_fractions(fractions)?;
    open_share("alpha", alpha)?;
    allowed("z", finite("z", z)?, z.abs() <= MOST_Z, "from -1e9 to 1e9")?;
    let (&last, before) = fractions.split_last().ok_or(StatsError::TooFewUnits { n: 0, least: 1 })?;
    same_length("bounds", bounds.len(), before.len())?;
    for &bound in bounds {
        allowed("bound", bound, bound > 0.0, "above 0")?;
    }
    let mut order = Order { fractions, bounds, walks: BTreeMap::new() };
    let root = last.sqrt();
    let mut solve = |z: f64, target: f64| {
        // Without looks before, the effect is z/√t, and its standard error 1/√t.
        let found = solve(z / root, root.recip(), target, |theta| order.at_least(z, theta));
        found.ok_or(StatsError::OutOfRange { name: "z", value: z, allowed: "one that an effect can have at this look" })
    };
    // At least as low is at least as high with the sides exchanged. By the side whose tail is small, or its digits would be lost.
    let lower = solve(z, 0.5 * alpha)?;
    let upper = -solve(-z, 0.5 * alpha)?;
    let estimate = if z >= 0.0 { solve(z, 0.5)? } else { -solve(-z, 0.5)? };
    let p_value = (2.0 * order.at_least(z, 0.0).min(order.at_least(-z, 0.0))).min(1.0);
    Ok(StageWise { p_value, estimate, ci: Interval { lower, upper } })
}

/// Where the rising `share` is `target`: bracketed from `start` on by steps that double, then halved; `None` where no bracket is found.
fn solve(start: f64, step: f64, target: f64, mut share: impl FnMut(f64) -> f64) -> Option<f64> {
    let is_below = share(start) < target;
    let (mut near, mut step) = (start, if is_below { step } else { -step });
    for _ in 0..DOUBLINGS {
        let far = near + step;
        if (share(far) < target) != is_below {
            let (mut low, mut high) = (near.min(far), near.max(far));
            // Until no double lies between, or to 1e-13 of the effect.
            while high - low > 1e-13 * low.abs().max(high.abs()).max(1.0) {
                let middle = 0.5 * (low + high);
                if share(middle) < target { low = middle } else { high = middle }
            }
            return Some(0.5 * (low + high));
        }
        (near, step) = (far, 2.0 * step);
    }
    None
}

/// The stage-wise order of outcomes of these looks, under any effect.
struct Order<'a> {
    fractions: &'a [f64],
    /// Of all looks but the last.
    bounds: &'a [f64],
    /// The walks to each look, by their drift in twice the standard error of the last look but one.
    walks: BTreeMap<i64, Vec<Walk>>,
}

impl Order<'_> {
    /// The chance of an outcome at least as high as one that ends with `z`, rising with `theta`.
    fn at_least(&mut self, z: f64, theta: f64) -> f64 {
        let (fractions, bounds) = (self.fractions, self.bounds);
        // A walk serves all effects within a standard error of its drift, by weights: less than 1e-15 of them is beyond its edges, then.
        let scale = match fractions {
            [.., before, _] => 0.5 * before.sqrt(),
            _ => 1.0,
        };
        let nearest = (theta * scale).round();
        let walks = self.walks.entry(nearest as i64).or_insert_with(|| walks(fractions, bounds, nearest / scale));
        let edges = bounds.iter().copied().chain([z]);
        let crossed =
            walks.iter().zip(fractions.iter().zip(edges)).map(|(walk, (t, edge))| walk.tail_with(*t, edge, theta));
        crossed.sum::<f64>().clamp(0.0, 1.0)
    }
}

/// The walk as it comes to each of the looks.
fn walks(fractions: &[f64], bounds: &[f64], drift: f64) -> Vec<Walk> {
    let mut walks = vec![Walk::drifting(Sides::Two, drift)];
    for (at, (pair, &bound)) in fractions.windows(2).zip(bounds).enumerate() {
        let mut ahead = walks[at].clone();
        ahead.go_on(pair[0], bound, pair[1]);
        walks.push(ahead);
    }
    walks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coin::Coin;
    use crate::stats::distributions::{normal_quantile, normal_sf};
    use crate::stats::group_sequential::{Spending, bounds, drifted_crossing};

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

    /// With O'Brien & Fleming's early bounds, above 9 below some 6 % of the information, and effects beyond 60. At a first look they are z/√t with
    /// 1.96/√t to either side; the others by Simpson's rule over z at the first look and bisection, apart from this program. At z = 40 the looks
    /// contradict each other: within 9.96 before, and the estimate is what the first look leaves possible.
    #[test]
    fn strong_effects_at_early_looks_have_their_estimates() {
        for (fractions, z, [lower, estimate, upper]) in [
            (vec![0.05], 20.0, [80.677_493_69, 89.442_719_10, 98.207_944_51]),
            (vec![0.03, 0.1], 14.0, [38.073_936_92, 44.271_887_24, 50.469_837_57]),
            (vec![0.05, 0.1], 12.0, [31.707_926_35, 37.927_429_47, 44.132_759_02]),
            (vec![0.05, 0.1], 40.0, [35.755_539_07, 44.520_764_47, 53.285_989_88]),
            (vec![0.002, 0.1], 25.0, [72.858_991_18, 79.056_941_50, 85.254_891_83]),
        ] {
            let looks = bounds(&fractions, Spending::ObrienFleming, 0.05, Sides::Two, false).unwrap();
            let before: Vec<f64> = looks[..looks.len() - 1].iter().map(|look| look.bound).collect();
            let found = stage_wise(&fractions, &before, z, 0.05).unwrap();
            check(found.estimate, estimate, 1e-6);
            check(found.ci.lower, lower, 1e-6);
            check(found.ci.upper, upper, 1e-6);
            let mirrored = stage_wise(&fractions, &before, -z, 0.05).unwrap();
            check(mirrored.estimate, -estimate, 1e-6);
            check(mirrored.ci.upper, -lower, 1e-6);
        }
    }

    /// Under the effects at the ends and in the middle the outcome has its chances by the power of the looks, which walks under just that effect.
    #[test]
    fn over_many_early_looks_the_power_agrees() {
        let fractions = [0.005, 0.01, 0.03, 0.06, 0.1];
        let planned = bounds(&fractions, Spending::ObrienFleming, 0.05, Sides::Two, false).unwrap();
        let before: Vec<f64> = planned[..4].iter().map(|look| look.bound).collect();
        for z in [4.0, 8.0, 11.0, 15.0] {
            let found = stage_wise(&fractions, &before, z, 0.05).unwrap();
            for (effect, share) in [(found.ci.lower, 0.025), (found.estimate, 0.5), (found.ci.upper, 0.975)] {
                let mut looks = planned.clone();
                looks[4].bound = z;
                let shift = effect * 0.1_f64.sqrt();
                check(drifted_crossing(&looks, shift, Sides::Two).unwrap(), share, 1e-9);
            }
        }
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
        assert!(stage_wise(&[0.5, 1.0], &[-1.0], 1.0, 0.05).is_err() && stage_wise(&[0.5], &[], 1e300, 0.05).is_err());
        assert!(solve(0.0, 1.0, 0.5, |_| 0.1).is_none() && solve(0.0, 1.0, 0.5, |_| f64::NAN).is_none());
    }
}
