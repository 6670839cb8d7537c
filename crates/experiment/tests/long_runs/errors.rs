//! False alarms: of looks, of the sample ratio read after every unit, of many tests at once.
//!
//! In: experiments without any effect, or with a known share of effects.  Out: how often something is found all the same.
//! Never here: power, except to see that a test finds what is there.
//! Start at the tests.

use experiment::stats::distributions::normal_sf;
use experiment::stats::group_sequential::{Sides, Spending, bounds};
use experiment::stats::multiple::{benjamini_hochberg, e_benjamini_hochberg, weighted_holm};
use experiment::stats::sample_ratio::{SequentialSampleRatio, check_sample_ratio};

use crate::{Draws, three_errors};

const ALPHA: f64 = 0.05;

/// z at each look of a two-arm experiment with a drift per unit of information.
fn walk(draws: &mut Draws, fractions: &[f64], drift: f64) -> Vec<f64> {
    let (mut s, mut before) = (0.0, 0.0);
    let mut z = Vec::with_capacity(fractions.len());
    for &t in fractions {
        s += drift * (t - before) + (t - before).sqrt() * draws.normal();
        before = t;
        z.push(s / t.sqrt());
    }
    z
}

#[test]
fn planned_looks_keep_alpha_and_careless_ones_do_not() {
    const RUNS: usize = 40_000;
    let fractions = [0.1, 0.3, 0.5, 0.75, 1.0];
    let mut draws = Draws::new(11);
    for spending in [Spending::ObrienFleming, Spending::Pocock, Spending::Power(2.0)] {
        for sides in [Sides::One, Sides::Two] {
            let looks = bounds(&fractions, spending, ALPHA, sides, true).unwrap();
            let (mut found, mut careless) = (0, 0);
            for _ in 0..RUNS {
                let z = walk(&mut draws, &fractions, 0.0);
                let side = |z: f64| if sides == Sides::One { z } else { z.abs() };
                found += usize::from(z.iter().zip(&looks).any(|(z, look)| side(*z) > look.bound));
                careless += usize::from(z.iter().any(|z| sides.count() * normal_sf(side(*z)) < ALPHA));
            }
            let share = found as f64 / RUNS as f64;
            // The alpha is spent, not merely kept.
            assert!((share - ALPHA).abs() <= three_errors(ALPHA, RUNS), "{spending:?} {sides:?}: {share}");
            assert!(careless as f64 / RUNS as f64 > 2.0 * ALPHA);
        }
    }
}

#[test]
fn an_overrun_keeps_alpha() {
    const RUNS: usize = 40_000;
    let fractions = [0.5, 0.9, 1.3];
    let looks = bounds(&fractions, Spending::ObrienFleming, ALPHA, Sides::Two, true).unwrap();
    let mut draws = Draws::new(12);
    let is_found = |z: Vec<f64>| z.iter().zip(&looks).any(|(z, look)| z.abs() > look.bound);
    let found = (0..RUNS).filter(|_| is_found(walk(&mut draws, &fractions, 0.0))).count();
    let share = found as f64 / RUNS as f64;
    assert!((share - ALPHA).abs() <= three_errors(ALPHA, RUNS), "{share}");
}

#[test]
fn the_sample_ratio_may_be_read_after_every_unit() {
    const RUNS: usize = 1_000;
    const UNITS: u64 = 3_000;
    let mut draws = Draws::new(13);
    for weights in [[0.5, 0.5], [0.9, 0.1]] {
        let (mut alarms, mut careless) = (0, 0);
        for _ in 0..RUNS {
            let mut test = SequentialSampleRatio::new(&weights, 100.0).unwrap();
            let (mut units, mut is_careless) = ([0u64; 2], false);
            for unit in 1..=UNITS {
                let place = draws.place(&weights);
                units[place] += 1;
                test.add(&[u64::from(place == 0), u64::from(place == 1)]).unwrap();
                is_careless |= unit % 50 == 0 && check_sample_ratio(&units, &weights).unwrap().p < ALPHA;
            }
            alarms += usize::from(test.is_alarm(ALPHA));
            careless += usize::from(is_careless);
        }
        let share = alarms as f64 / RUNS as f64;
        assert!(share <= ALPHA + three_errors(ALPHA, RUNS), "{weights:?}: {share}");
        // The same data, read 60 times with the chi-square.
        assert!(careless as f64 / RUNS as f64 > 4.0 * ALPHA, "{careless}");
    }
}

#[test]
fn a_lost_twelfth_of_one_arm_is_found_early() {
    let mut draws = Draws::new(14);
    let mut needed: Vec<u64> = (0..300)
        .map(|_| {
            let mut test = SequentialSampleRatio::new(&[0.5, 0.5], 100.0).unwrap();
            // A twelfth of the second arm is not logged.
            (1..=100_000)
                .find(|_| {
                    let is_first = draws.is(12.0 / 23.0);
                    test.add(&[u64::from(is_first), u64::from(!is_first)]).unwrap();
                    test.is_alarm(0.001)
                })
                .unwrap_or(u64::MAX)
        })
        .collect();
    needed.sort_unstable();
    // The fixed test with power .8 at .001 needs (3.29 + .84)² / (4 · .0217²) = 9,000 units; looking all the time costs some.
    assert!(needed[150] < 14_000 && needed[290] < 40_000, "{} {}", needed[150], needed[290]);
}

/// Ten metrics, the first half without effect: two-sided p and one-sided e-values.
fn family(draws: &mut Draws) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    const EFFECT: f64 = 3.0;
    let z: Vec<f64> = (0..10).map(|k| draws.normal() + if k < 5 { 0.0 } else { EFFECT }).collect();
    let p = z.iter().map(|z| 2.0 * normal_sf(z.abs())).collect();
    // The likelihood ratio of the effect: its mean is 1 without one.
    let e = z.iter().map(|z| (EFFECT * z - 0.5 * EFFECT * EFFECT).exp()).collect();
    (z, p, e)
}

#[test]
fn families_keep_their_error_rates() {
    const RUNS: usize = 20_000;
    let mut draws = Draws::new(15);
    let weights = [5.0, 1.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0];
    let (mut family_errors, mut missed_shares, mut found) = (0, 0.0, 0);
    let (mut false_shares, mut false_e_shares, mut careless) = (0.0, 0.0, 0);
    for _ in 0..RUNS {
        let (z, p, e) = family(&mut draws);
        let holm = weighted_holm(&p, &weights, ALPHA).unwrap();
        family_errors += usize::from(holm[..5].iter().any(|test| test.is_rejected));
        found += holm[5..].iter().filter(|test| test.is_rejected).count();
        careless += usize::from(p[..5].iter().any(|p| *p < ALPHA));
        let share = |rejected: &[bool]| {
            let of = |part: &[bool]| part.iter().filter(|is| **is).count() as f64;
            of(&rejected[..5]) / of(rejected).max(1.0)
        };
        let tests = benjamini_hochberg(&p, ALPHA).unwrap();
        false_shares += share(&tests.iter().map(|test| test.is_rejected).collect::<Vec<_>>());
        false_e_shares += share(&e_benjamini_hochberg(&e, ALPHA).unwrap());
        // Intervals of the selected, of which at most alpha may miss: |z − effect| is inside iff its p is above the level.
        let selected: Vec<usize> = (0..10).filter(|k| tests[*k].is_rejected).collect();
        let misses = |k: &&usize| {
            let effect = if **k < 5 { 0.0 } else { 3.0 };
            2.0 * normal_sf((z[**k] - effect).abs()) < tests[**k].interval_alpha
        };
        missed_shares += selected.iter().filter(misses).count() as f64 / selected.len().max(1) as f64;
    }
    let rate = |sum: f64| sum / RUNS as f64;
    let limit = ALPHA + three_errors(ALPHA, RUNS);
    assert!(rate(family_errors as f64) <= limit, "Holm {}", rate(family_errors as f64));
    // Half of the tests are without effect, so that BH spends half of its alpha.
    let half = 0.5 * ALPHA;
    assert!((rate(false_shares) - half).abs() <= three_errors(half, RUNS), "BH {}", rate(false_shares));
    assert!(rate(false_e_shares) <= half + three_errors(half, RUNS), "e-BH {}", rate(false_e_shares));
    assert!(rate(missed_shares) <= limit, "intervals {}", rate(missed_shares));
    assert!(rate(careless as f64) > 4.0 * ALPHA && rate(found as f64) > 2.5, "{careless} {found}");
}
