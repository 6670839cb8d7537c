//! Designs beyond two arms of independent units, each against a second way to the same figure.
//!
//! In: drawn rows with fixed seeds; published and hand-computed cases.  Out: pass.
//! Never here: cases of the oracle (see `oracle`).
//! Start at [`several_covariates_give_the_coefficients_of_the_regression`].

mod draws;

use draws::Draws;
use experiment::a_a::{Past, trust};
use experiment::stats::cluster::{ClusterTotal, SwitchbackPlan, SwitchbackRow, cluster_ratio, switchback};
use experiment::stats::covariates::{CovariateMoments, compare_ratio_with_covariates, compare_with_covariates};
use experiment::stats::heterogeneity::{
    CrossedCell, SliceEffect, fit_prior, heterogeneity, independence_p, interaction,
};
use experiment::stats::moments::{Cuped, Mean, Proportion};
use experiment::stats::post_stratify::post_stratify;
use experiment::stats::regression::{Reference, Slopes, adjusted_effect, clustered_effect};
use experiment::stats::trust::{novelty, uniformity};
use experiment::stats::{Alternative, Estimate, Scale, Statistic, StatsError, compare};

fn close_to(actual: f64, expected: f64, share: f64) {
    assert!((actual - expected).abs() <= share * expected.abs(), "expected {expected:e}, got {actual:e}");
}

/// Rows of outcome and two covariates per arm.
fn rows(draws: &mut Draws, n: usize, shift: f64) -> Vec<[f64; 3]> {
    (0..n)
        .map(|_| {
            let (x, z) = (draws.normal(), draws.normal());
            [5.0 + shift + 2.0 * x - z + draws.normal(), 1e3 + x, z + 0.5 * x]
        })
        .collect()
}

fn moments(rows: &[[f64; 3]], width: usize) -> CovariateMoments {
    CovariateMoments::from_rows(width, rows.iter().map(|row| &row[..width])).expect("finite rows")
}

#[test]
fn several_covariates_give_the_coefficients_of_the_regression() {
    let mut draws = Draws::new(7);
    let (c, t) = (rows(&mut draws, 4000, 0.0), rows(&mut draws, 4000, 0.3));
    let found = compare_with_covariates(&moments(&c, 3), &moments(&t, 3), 0.0).expect("an effect");
    let estimate = found.comparison.estimate(Scale::Absolute).expect("an estimate");
    let all: Vec<[f64; 3]> = c.iter().chain(&t).copied().collect();
    let column = |at: usize| all.iter().map(|row| row[at]).collect::<Vec<f64>>();
    let is_treated: Vec<bool> = (0..all.len()).map(|at| at >= c.len()).collect();
    let (x, z) = (column(1), column(2));
    let regression = adjusted_effect(&column(0), &is_treated, &[&x, &z], Slopes::Common, 0.05).expect("an effect");
    // θ of pooled rows and of the regression differ by the chance imbalance of the arms alone.
    close_to(found.theta[0], regression.theta[0], 5e-3);
    close_to(found.theta[1], regression.theta[1], 5e-3);
    close_to(estimate.effect, regression.difference.effect, 5e-3);
    close_to(estimate.se, regression.difference.se, 5e-3);
    // All of the signal is explained: the noise of the units that is left has variance 1.
    close_to(estimate.se, (2.0 / 4000.0_f64).sqrt(), 0.02);
}

#[test]
fn one_covariate_is_cuped_and_constant_ones_change_nothing() {
    let mut draws = Draws::new(3);
    let arms = [rows(&mut draws, 70, 0.0), rows(&mut draws, 50, 0.3)];
    let [c, t] = arms.each_ref().map(|rows| moments(rows, 2));
    let several = compare_with_covariates(&c, &t, 0.0).expect("an effect").comparison;
    let [c, t] = arms.each_ref().map(|rows| {
        let column = |at: usize| rows.iter().map(|row| row[at]).collect::<Vec<f64>>();
        let (y, x) = (column(0), column(1));
        Statistic::Cuped(Cuped {
            n: rows.len() as u64,
            post_statistic: Mean::from_values(&y),
            pre_statistic: Mean::from_values(&x),
            post_pre_sum_of_products: y.iter().zip(&x).map(|(y, x)| y * x).sum(),
        })
    });
    let one = compare(&c, &t).expect("an effect");
    for scale in [Scale::Absolute, Scale::Relative] {
        let (a, b) = (several.estimate(scale).expect("one"), one.estimate(scale).expect("one"));
        close_to(a.effect, b.effect, 1e-7);
        close_to(a.se, b.se, 1e-7);
    }
    let constant = |rows: &[[f64; 3]]| {
        let rows: Vec<[f64; 3]> = rows.iter().map(|row| [row[0], row[1], 0.1]).collect();
        moments(&rows, 3)
    };
    let found = compare_with_covariates(&constant(&arms[0]), &constant(&arms[1]), 0.0).expect("an effect");
    assert_eq!(found.theta[1], 0.0);
    close_to(found.comparison.difference(), one.difference(), 1e-7);
    let twice = |rows: &[[f64; 3]]| {
        let rows: Vec<[f64; 3]> = rows.iter().map(|row| [row[0], row[1], 2.0 * row[1]]).collect();
        moments(&rows, 3)
    };
    let (c, t) = (twice(&arms[0]), twice(&arms[1]));
    // The same twice says it once.
    let found = compare_with_covariates(&c, &t, 0.0).expect("an effect");
    assert_eq!(found.theta[1], 0.0);
    close_to(found.comparison.difference(), one.difference(), 1e-7);
    assert!(compare_with_covariates(&c, &t, 1e-3).is_ok());
}

#[test]
fn a_ratio_with_covariates_is_cuped_over_a_constant_denominator_and_the_plain_ratio_without() {
    let mut draws = Draws::new(13);
    let arms = [rows(&mut draws, 70, 0.0), rows(&mut draws, 50, 0.3)];
    let over = |rows: &[[f64; 3]], d: f64| {
        let rows: Vec<[f64; 3]> = rows.iter().map(|row| [d * row[0], d, row[1]]).collect();
        moments(&rows, 3)
    };
    let [c, t] = arms.each_ref().map(|rows| over(rows, 2.0));
    let ratio = compare_ratio_with_covariates(&c, &t, 0.0).expect("an effect");
    let [c, t] = arms.each_ref().map(|rows| moments(rows, 2));
    let mean = compare_with_covariates(&c, &t, 0.0).expect("an effect");
    close_to(ratio.theta[0], mean.theta[0], 1e-7);
    let (a, b) = (ratio.comparison.estimate(Scale::Absolute), mean.comparison.estimate(Scale::Absolute));
    close_to(a.as_ref().expect("one").effect, b.as_ref().expect("one").effect, 1e-7);
    close_to(a.expect("one").se, b.expect("one").se, 1e-7);
    // Without covariates: the delta method on M and D.
    let pair = |rows: &[[f64; 3]]| -> Vec<[f64; 3]> { rows.iter().map(|r| [r[0], 9.0 + r[2], 0.0]).collect() };
    let [c, t] = arms.each_ref().map(|rows| moments(&pair(rows), 2));
    let none = compare_ratio_with_covariates(&c, &t, 0.0).expect("an effect").comparison;
    let [c, t] = arms.each_ref().map(|rows| {
        let totals: Vec<ClusterTotal> = pair(rows).iter().map(|r| ClusterTotal { sum: r[0], size: r[1] }).collect();
        cluster_ratio(&totals)
    });
    let plain = compare(&c, &t).expect("comparable");
    for scale in [Scale::Absolute, Scale::Relative] {
        let (a, b) = (none.estimate(scale).expect("one"), plain.estimate(scale).expect("one"));
        close_to(a.effect, b.effect, 1e-9);
        close_to(a.se, b.se, 1e-9);
    }
    let [c, t] = arms.each_ref().map(|rows| over(rows, 0.0));
    assert_eq!(compare_ratio_with_covariates(&c, &t, 0.0).unwrap_err(), StatsError::ZeroDenominator);
}

#[test]
fn merged_moments_are_those_of_the_whole() {
    let all = rows(&mut Draws::new(11), 300, 0.0);
    let whole = moments(&all, 3);
    let parts = moments(&all[..17], 3).merged(&moments(&all[17..], 3)).expect("one width");
    assert_eq!(parts.n, 300);
    for (a, b) in parts.means.iter().chain(&parts.comoments).zip(whole.means.iter().chain(&whole.comoments)) {
        close_to(*a, *b, 1e-10);
    }
    let none = moments(&[], 3);
    assert_eq!(none.merged(&whole).expect("one width"), whole);
    assert!(matches!(whole.merged(&moments(&[], 2)), Err(StatsError::UnequalLengths { .. })));
    assert!(matches!(compare_with_covariates(&none, &whole, 0.0), Err(StatsError::TooFewUnits { n: 0, .. })));
    let bad = CovariateMoments::from_rows(1, [&[f64::NAN][..]]);
    assert!(matches!(bad, Err(StatsError::NotFinite { .. })));
}

#[test]
fn strata_without_noise_join_the_largest_and_one_stratum_is_the_plain_comparison() {
    let stratum = |n: u64, c: f64, t: f64| {
        (Statistic::Proportion(Proportion { n, sum: c }), Statistic::Proportion(Proportion { n, sum: t }))
    };
    let one = post_stratify(&[stratum(100, 20.0, 30.0)], Scale::Relative).expect("an effect");
    let plain = compare(&stratum(100, 20.0, 30.0).0, &stratum(100, 20.0, 30.0).1).expect("comparable");
    assert_eq!((one.strata, one.estimate), (1, plain.estimate(Scale::Relative).expect("an estimate")));
    let silent = post_stratify(&[stratum(100, 20.0, 30.0), stratum(5, 0.0, 0.0)], Scale::Absolute).expect("an effect");
    let joined = compare(&stratum(105, 20.0, 30.0).0, &stratum(105, 20.0, 30.0).1).expect("comparable");
    assert_eq!((silent.strata, silent.estimate), (1, joined.estimate(Scale::Absolute).expect("an estimate")));
    assert!(post_stratify(&[], Scale::Absolute).is_err());
    // Equal strata: the mean of their effects, with 1/2 of the error of one (four times the units) plus nothing between.
    let two = post_stratify(&[stratum(100, 20.0, 30.0), stratum(100, 20.0, 30.0)], Scale::Absolute).expect("an effect");
    close_to(two.estimate.effect, 0.1, 1e-12);
    close_to(two.estimate.se, ((0.16 + 0.21) / 200.0_f64).sqrt(), 1e-12);
}

#[test]
fn totals_of_clusters_and_the_sandwich_agree_on_the_noise_of_clusters() {
    let mut draws = Draws::new(5);
    let (mut y, mut is_treated, mut label) = (Vec::new(), Vec::new(), Vec::new());
    let mut totals = [Vec::new(), Vec::new()];
    for cluster in 0..400_u64 {
        let shared = draws.normal();
        let treated = cluster % 2 == 1;
        let size = 5 + (10.0 * draws.uniform()) as usize;
        let values: Vec<f64> = (0..size).map(|_| 3.0 + shared + draws.normal()).collect();
        totals[usize::from(treated)].push(ClusterTotal { sum: values.iter().sum(), size: size as f64 });
        is_treated.extend(values.iter().map(|_| treated));
        label.extend(values.iter().map(|_| cluster));
        y.extend(values);
    }
    let sandwich = clustered_effect(&y, &is_treated, &label, Reference::StudentT, 0.05).expect("an effect");
    assert_eq!(sandwich.df, 399.0);
    let [c, t] = totals.each_ref().map(|arm| cluster_ratio(arm));
    let ratio = compare(&c, &t).and_then(|c| c.estimate(Scale::Absolute)).expect("an estimate");
    close_to(ratio.effect, sandwich.effect, 1e-9);
    close_to(ratio.se, sandwich.se, 5e-3);
    // As if rows had been randomised, the error would be half as large.
    let naive = adjusted_effect(&y, &is_treated, &[], Slopes::Common, 0.05).expect("an effect");
    assert!(naive.difference.se < 0.6 * sandwich.se);
    assert!(clustered_effect(&y, &is_treated, &vec![1; y.len()], Reference::Normal, 0.05).is_err());
    assert!(matches!(
        clustered_effect(&y, &vec![true; y.len()], &label, Reference::Normal, 0.05),
        Err(StatsError::Singular)
    ));
    assert!(matches!(
        clustered_effect(&y, &is_treated[1..], &label, Reference::Normal, 0.05),
        Err(StatsError::UnequalLengths { name: "is_treated", .. })
    ));
}

#[test]
fn a_switchback_drops_the_burn_in_and_its_two_tests_agree() {
    let mut draws = Draws::new(21);
    let mut data = Vec::new();
    for region in 0..4 {
        for block in 0..20 {
            let is_treated = (region + block) % 2 == 0;
            let shared = 0.5 * draws.normal();
            for minute in [0.0, 30.0, 60.0, 90.0, 120.0] {
                // The first hour still shows the other arm, and would hide the effect.
                let effect = if is_treated == (minute >= 60.0) { 0.4 } else { 0.0 };
                let outcome = 10.0 + shared + effect + 0.2 * draws.normal();
                data.push(SwitchbackRow { region, block, minutes_into_block: minute, is_treated, outcome });
            }
        }
    }
    let plan = SwitchbackPlan { burn_in_minutes: 60.0, draws: 4000, seed: 1, alpha: 0.05 };
    let found = switchback(&data, &plan).expect("an effect");
    assert_eq!((found.cells, found.rows_in_burn_in, found.difference.df), (80, 160, 79.0));
    assert!(found.difference.ci.contains(0.4) && found.difference.p_value < 0.01, "{found:?}");
    close_to(found.randomisation_p + 0.001, found.difference.p_value + 0.001, 1.0);
    assert_eq!(switchback(&data, &plan).expect("an effect"), found);
    let all = switchback(&data, &SwitchbackPlan { burn_in_minutes: 0.0, ..plan }).expect("an effect");
    assert!(all.difference.effect < 0.5 * found.difference.effect);
    data[0].is_treated = !data[0].is_treated;
    let split = switchback(&data, &SwitchbackPlan { burn_in_minutes: 0.0, ..plan });
    assert!(matches!(split, Err(StatsError::OutOfRange { name: "block", .. })));
}

#[test]
fn slices_of_one_effect_shrink_to_it_and_different_slices_stay_apart() {
    let slice = |effect, se| SliceEffect { effect, se };
    // By hand: weights 1, 1/4: mean .6; Q = .4² + .6²·... = (1 − .6)² + (−1 − .6)²/4 = .8.
    let hand = heterogeneity(&[slice(1.0, 1.0), slice(-1.0, 2.0)]).expect("two slices");
    close_to(hand.q, 0.16 + 2.56 / 4.0, 1e-12);
    assert_eq!((hand.df, hand.between_variance), (1.0, 0.0));
    close_to(hand.mean, 0.6, 1e-12);
    assert!(hand.shrunken.iter().all(|s| (s.effect - 0.6).abs() < 1e-12 && s.se == 0.0));
    let apart = heterogeneity(&[slice(-1.0, 0.1), slice(1.0, 0.1), slice(0.2, 0.1)]).expect("three slices");
    assert!(apart.p_value < 1e-20);
    // Equal errors: the between variance is the sample variance less SE².
    close_to(apart.between_variance, 1.013333333333333 - 0.01, 1e-9);
    assert!(apart.shrunken[1].effect < 1.0 && apart.shrunken[1].effect > 0.98);
    let prior = fit_prior(&[slice(-1.0, 0.1), slice(1.0, 0.1), slice(0.2, 0.1)]).expect("a prior");
    assert_eq!((prior.mean, prior.variance), (apart.mean, apart.between_variance));
    assert_eq!(fit_prior(&[slice(1.0, 1.0), slice(1.0, 2.0)]).unwrap_err(), StatsError::NoVariance);
    assert!(heterogeneity(&[slice(1.0, 1.0)]).is_err() && heterogeneity(&[slice(1.0, 0.0); 2]).is_err());
}

#[test]
fn an_interaction_is_the_difference_of_differences() {
    let cell = |mean| CrossedCell { n: 100, mean, variance: 25.0 };
    let found = interaction(&[[cell(1.0), cell(2.0)], [cell(1.5), cell(4.5)]], 0.05).expect("an effect");
    close_to(found.effect, 2.0, 1e-12);
    close_to(found.se, 1.0, 1e-12);
    close_to(found.p_value, 0.04550026389635842, 1e-9);
    assert_eq!(independence_p(&[[100; 2]; 2]), 1.0);
    // Pearson by hand: 50, 100 / 100, 100: χ² = 350·(50·100 − 100·100)²/(150·200·150·200).
    let chi_square = 350.0 * 5000.0_f64.powi(2) / (150.0 * 200.0 * 150.0 * 200.0);
    close_to(
        independence_p(&[[50, 100], [100, 100]]),
        experiment::stats::distributions::chi_square_sf(chi_square, 1.0),
        1e-9,
    );
    let empty = CrossedCell { n: 0, ..cell(1.0) };
    assert!(interaction(&[[empty, cell(1.0)], [cell(1.0), cell(1.0)]], 0.05).is_err());
}

#[test]
fn a_sound_metric_passes_splits_of_its_past_and_a_covariate_gains_what_it_explains() {
    let (mut uneven, mut rate, mut gain) = (0, 0.0, 0.0);
    let past = |width: usize, rows: &[[f64; 2]]| {
        let rows = rows.iter().flat_map(|row| row[..width].to_vec()).collect();
        Past::Moments { width, rows, is_ratio: false }
    };
    for seed in 0..20 {
        let mut draws = Draws::new(seed);
        let row = |_| {
            let before = draws.normal();
            [20.0 + 3.0 * before + draws.normal(), before]
        };
        let rows: Vec<[f64; 2]> = (0..300).map(row).collect();
        let plain = trust(past(1, &rows), 500, seed, 0.05).expect("a report");
        let adjusted = trust(past(2, &rows), 500, seed, 0.05).expect("a report");
        for report in [&plain, &adjusted] {
            uneven += usize::from(report.uniformity_p < 0.05);
            rate += report.rate / 40.0;
        }
        gain += adjusted.sensitivity / plain.sensitivity / 20.0;
    }
    // 40 reports of 500 draws: 2 below .05 are to be expected, more than 6 with a chance of .003.
    assert!(uneven <= 6, "{uneven}");
    assert!((rate - 0.05).abs() < 3.0 * (0.05 * 0.95 / 20_000.0_f64).sqrt(), "{rate}");
    // 1 of 10 parts of the variance is left.
    close_to(gain, 0.1_f64.sqrt(), 0.02);
}

#[test]
fn uneven_p_values_are_told_from_uniform_ones() {
    let squared: Vec<f64> = (0..500).map(|i| ((f64::from(i) + 0.5) / 500.0).powi(2)).collect();
    assert!(uniformity(&squared).expect("values").p_value < 1e-10);
    // Table of the limit: 1.358 is the 5 % point.
    let n = 10_000.0_f64;
    let shift = 1.358 / n.sqrt();
    let shifted: Vec<f64> = (0..10_000).map(|i| (f64::from(i) / n + shift).min(1.0)).collect();
    close_to(uniformity(&shifted).expect("values").p_value, 0.05, 0.03);
    assert_eq!(uniformity(&[]), None);
}

#[test]
fn an_effect_that_wears_off_has_a_falling_trend() {
    let day = |day: f64, effect| {
        let scale = Scale::Relative;
        (day, Estimate { scale, effect, se: 0.01, df: 1000.0, units: 4000.0, baseline: 10.0 })
    };
    let days = [day(0.0, 0.10), day(1.0, 0.08), day(2.0, 0.06), day(3.0, 0.04)];
    let found = novelty(&days, 0.05, 5000.0).expect("a trend");
    close_to(found.trend.effect, -0.02, 1e-9);
    // SE = se/√Σ(day − mean)² = .01/√5.
    close_to(found.trend.se, 0.01 / 5.0_f64.sqrt(), 1e-9);
    let alone = experiment::stats::always_valid::always_valid(&days[2].1, Alternative::TwoSided, 0.05, 5000.0);
    assert_eq!(found.band[2], alone.expect("a test"));
    assert!(novelty(&days[..2], 0.05, 5000.0).is_err());
    assert_eq!(novelty(&[days[0]; 3], 0.05, 5000.0).unwrap_err(), StatsError::Singular);
}

/// Least squares of column 0 on 1, x, m by Cramer's rule on the centred sums: by hand, and by another way than the library's.
fn two_slopes(rows: &[[f64; 3]]) -> [f64; 2] {
    let n = rows.len() as f64;
    let mean = |i: usize| rows.iter().map(|row| row[i]).sum::<f64>() / n;
    let means = [mean(0), mean(1), mean(2)];
    let sum = |i: usize, j: usize| rows.iter().map(|row| (row[i] - means[i]) * (row[j] - means[j])).sum::<f64>();
    let determinant = sum(1, 1) * sum(2, 2) - sum(1, 2) * sum(1, 2);
    [
        (sum(0, 1) * sum(2, 2) - sum(0, 2) * sum(1, 2)) / determinant,
        (sum(0, 2) * sum(1, 1) - sum(0, 1) * sum(1, 2)) / determinant,
    ]
}

fn moments_of(rows: &[[f64; 3]]) -> CovariateMoments {
    CovariateMoments::from_rows(3, rows.iter().map(|row| &row[..])).expect("numbers")
}

/// Outcome, what it was before, and whether nothing is known of before; a third of the units is new and buys like nobody else.
fn with_newcomers(seed: u64, lift: f64) -> Vec<[f64; 3]> {
    let mut draws = Draws::new(seed);
    let row = |_| {
        let is_new = draws.uniform() < 1.0 / 3.0;
        let before = if is_new { 0.0 } else { 5.0 + draws.normal() };
        let expected = if is_new { 6.0 } else { before };
        [expected + lift + draws.normal(), before, f64::from(u8::from(is_new))]
    };
    (0..500).map(row).collect()
}

#[test]
fn who_has_no_history_is_told_from_who_did_nothing() {
    let (control, treatment) = (with_newcomers(31, 0.0), with_newcomers(32, 0.3));
    let all: Vec<[f64; 3]> = control.iter().chain(&treatment).copied().collect();
    let slopes = two_slopes(&all);
    let found = compare_with_covariates(&moments_of(&control), &moments_of(&treatment), 0.0).expect("an effect");
    close_to(found.theta[0], slopes[0], 1e-9);
    close_to(found.theta[1], slopes[1], 1e-9);
    let adjusted = |rows: &[[f64; 3]]| {
        let of = |row: &[f64; 3]| row[0] - slopes[0] * row[1] - slopes[1] * row[2];
        rows.iter().map(of).sum::<f64>() / rows.len() as f64
    };
    close_to(found.comparison.difference(), adjusted(&treatment) - adjusted(&control), 1e-9);
    // With the zeros alone newcomers look like the poorest customers, and most of the noise stays: 1 is what was drawn.
    let zeros = |rows: &[[f64; 3]]| moments_of(rows).part(&[0, 1]);
    let plain = compare_with_covariates(&zeros(&control), &zeros(&treatment), 0.0).expect("an effect");
    assert!(found.comparison.control.variance < 1.2 && plain.comparison.control.variance > 1.3);
}

type Change<'a> = &'a dyn Fn(&mut [f64; 3]);

#[test]
fn an_indicator_that_says_nothing_new_is_left_out() {
    let (control, treatment) = (with_newcomers(33, 0.0), with_newcomers(34, 0.3));
    let without = |rows: &[[f64; 3]], change: Change<'_>| {
        let mut rows = rows.to_vec();
        rows.iter_mut().for_each(change);
        (moments_of(&rows), moments_of(&rows).part(&[0, 1]))
    };
    // Nobody lacks history; everybody does; and what was before is itself a yes or no.
    let changes: [Change<'_>; 3] = [&|row| row[2] = 0.0, &|row| row[2] = 1.0, &|row| row[1] = 1.0 - row[2]];
    for change in changes {
        let ((c, c_plain), (t, t_plain)) = (without(&control, change), without(&treatment, change));
        let found = compare_with_covariates(&c, &t, 0.0).expect("an effect");
        let plain = compare_with_covariates(&c_plain, &t_plain, 0.0).expect("an effect");
        assert_eq!(found.theta[1], 0.0);
        close_to(found.comparison.difference(), plain.comparison.difference(), 1e-12);
        close_to(found.comparison.variance(), plain.comparison.variance(), 1e-12);
    }
}
