//! Results as a whole: what stays an alarm, what is not yet a fault, and what may not be shipped.
//!
//! In: what was seen of an experiment.  Out: its results.
//! Never here: single figures (see `differences`), single rules (see `decision`).
//! Start at [`seen`].
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise: the panic is the report")]

mod draws;

use draws::Draws;
use experiment::decision::{Clock, Code, Reason, Role};
use experiment::looks::Looks;
use experiment::plan::Sequential;
use experiment::results::{Observed, ObservedMetric, Sample, results};
use experiment::slices::{ObservedDimension, ObservedSlice};
use experiment::stats::covariates::CovariateMoments;
use experiment::stats::group_sequential::Spending;
use experiment::stats::moments::{Cuped, Mean};
use experiment::stats::non_inferiority::Preference;
use experiment::stats::post_stratify::post_stratify;
use experiment::stats::quantile::{Quantile, QuantileClustered};
use experiment::stats::{Scale, Statistic, StatsError};

/// 2,000 units an arm whose values alternate around a mean: variance 1 or so, no covariate.
fn sample(mean: f64) -> Option<Sample> {
    let rows: Vec<[f64; 1]> = (0..2_000).map(|row| [mean + if row % 2 == 0 { 1.0 } else { -1.0 }]).collect();
    Some(Sample::Mean(CovariateMoments::from_rows(1, rows.iter().map(|row| &row[..])).unwrap()))
}

fn metric(name: &str, role: Role, samples: [Option<Sample>; 2]) -> ObservedMetric {
    ObservedMetric {
        name: name.to_owned(),
        role,
        weight: 1.0,
        preference: Preference::Increase,
        is_proportion: false,
        samples: samples.to_vec(),
        min_effect: 0.05,
        cap: None,
        bad_values: 0,
        is_post_hoc: false,
    }
}

/// A clear success at its end, in perfect health.
fn seen() -> Observed {
    Observed {
        variants: vec![("control".to_owned(), 0.5), ("short".to_owned(), 0.5)],
        daily_units: vec![vec![1_000, 1_000], vec![1_000, 1_000]],
        unknown_units: 0,
        multiple_units: 0,
        seen_units: 4_000,
        exposures: 4_000,
        join_rate: 1.0,
        data_age_hours: 0.0,
        metrics: vec![metric("revenue", Role::Primary, [sample(10.0), sample(11.0)])],
        dimensions: Vec::new(),
        post_stratify: None,
        clock: Clock {
            days_running: 14.0,
            least_days: 7.0,
            most_days: 56.0,
            planned_days: Some(14.0),
            has_planned_units: false,
        },
        has_ended: true,
        alpha: 0.05,
        running_alpha: 0.01,
        sequential: Sequential::Hybrid,
        looks: Looks::default(),
        spending: Spending::default(),
        planned_units: None,
        least_join_rate: 0.0,
        most_data_age_hours: 48.0,
    }
}

fn code(observed: &Observed) -> Code {
    results(observed).unwrap().decision.unwrap().verdict.code
}

#[test]
fn a_success_is_shipped() {
    let found = results(&seen()).unwrap();
    let decision = found.decision.unwrap();
    assert_eq!((decision.verdict.code, decision.proposal.as_deref()), (Code::Ship, Some("short")));
    let lift = found.rows[0].relative.unwrap().figures.estimate.effect;
    assert!((lift - 0.1).abs() < 1e-12, "{lift}");
}

/// Weights by hand: power 30, balance 25, plan 20 (an end 8, a guardrail 6, a week 6), freshness 15, looks 10.
#[test]
fn quality_loses_what_is_missing() {
    let mut observed = seen();
    let score = |observed: &Observed| results(observed).unwrap().quality;
    let points = |observed: &Observed, name: &str| {
        score(observed).parts.iter().find(|part| part.name == name).map(|part| part.points).unwrap()
    };
    let whole: f64 = score(&observed).parts.iter().map(|part| part.most).sum();
    assert!((whole - 100.0).abs() < 1e-12);
    // All but a guardrail.
    assert!((points(&observed, "plan") - 14.0).abs() < 1e-12);
    let power = results(&observed).unwrap().rows[0].relative.unwrap().figures.outlooks.unwrap().fixed.power_now;
    assert!((points(&observed, "power") - 30.0 * (power / 0.8).min(1.0)).abs() < 1e-9);
    observed.metrics.push(metric("returns", Role::Guardrail { margin: 0.02 }, [sample(3.0), sample(3.0)]));
    observed.data_age_hours = 72.0;
    assert!((points(&observed, "plan") - 20.0).abs() < 1e-12 && (points(&observed, "freshness") - 7.5).abs() < 1e-12);
    observed.data_age_hours = f64::MAX;
    observed.unknown_units = 1;
    assert!(points(&observed, "freshness") == 0.0 && points(&observed, "balance") == 0.0);
    observed.sequential = Sequential::None;
    assert_eq!(points(&observed, "looks"), 10.0);
    observed.has_ended = false;
    assert_eq!(points(&observed, "looks"), 5.0);
    let total: f64 = score(&observed).parts.iter().map(|part| part.points).sum();
    assert!((score(&observed).score - total).abs() < 1e-12);
}

#[test]
fn a_mismatch_of_one_day_stays_an_alarm_when_the_totals_are_even_again() {
    let mut observed = seen();
    observed.daily_units = vec![vec![1_300, 700], vec![700, 1_300]];
    let found = results(&observed).unwrap();
    assert!(found.health.sample_ratio.p > 0.99);
    let verdict = found.decision.unwrap().verdict;
    assert_eq!(verdict.code, Code::FixFirst);
    assert!(matches!(verdict.reasons[..], [Reason::SequentialSampleRatio { p }] if p < 1e-6), "{verdict:?}");
}

#[test]
fn a_guardrail_that_cannot_speak_yet_keeps_a_success_from_being_shipped_and_is_no_fault() {
    let mut observed = seen();
    let guardrail = |samples| metric("returns", Role::Guardrail { margin: 0.02 }, samples);
    observed.metrics.push(guardrail([None, None]));
    let found = results(&observed).unwrap();
    assert!(found.rows[1].is_pending && found.health.facts.missing_metrics.is_empty());
    assert_eq!(found.decision.unwrap().verdict.code, Code::NoDifference);
    observed.metrics[1] = guardrail([sample(3.0), sample(3.0)]);
    assert_eq!(code(&observed), Code::Ship);
    // A guardrail whose figures do not exist for another reason is a fault, by name.
    let constant = || {
        let rows = [[4.0], [4.0], [4.0]];
        Some(Sample::Mean(CovariateMoments::from_rows(1, rows.iter().map(|row| &row[..])).unwrap()))
    };
    observed.metrics[1] = guardrail([constant(), constant()]);
    let verdict = results(&observed).unwrap().decision.unwrap().verdict;
    assert_eq!(verdict.reasons, [Reason::MissingMetric { metric: "returns".to_owned() }]);
}

#[test]
fn a_primary_metric_that_cannot_speak_yet_keeps_the_experiment_running() {
    let mut observed = seen();
    observed.metrics[0].samples = vec![None, None];
    observed.has_ended = false;
    observed.clock = Clock { days_running: 3.0, planned_days: None, ..observed.clock };
    assert_eq!(code(&observed), Code::KeepRunning);
}

#[test]
fn metrics_that_decide_nothing_are_corrected_together() {
    let mut observed = seen();
    for place in 0..4 {
        let treatment = sample(10.0 + 0.05 * f64::from(place));
        observed.metrics.push(metric(&format!("m{place}"), Role::Watched, [sample(10.0), treatment]));
    }
    let found = results(&observed).unwrap();
    let adjusted: Vec<f64> = found.rows[1..].iter().filter_map(|row| row.adjusted_p).collect();
    let plain: Vec<f64> = found.rows[1..].iter().map(|row| row.relative.unwrap().figures.fixed.p_value).collect();
    assert_eq!(adjusted.len(), 4);
    assert!(adjusted.iter().zip(&plain).all(|(adjusted, plain)| adjusted >= plain));
    // Benjamini & Hochberg: the smallest of four is multiplied by four.
    let least = plain.iter().copied().fold(1.0, f64::min);
    let least_adjusted = adjusted.iter().copied().fold(1.0, f64::min);
    assert!((least_adjusted - (4.0 * least).min(1.0)).abs() <= 1e-12 + 4.0 * least * 1e-9, "{least} {least_adjusted}");
}

/// Weighted Holm by hand: at the end 0.04 is there to be spent; weights of 1 and 3 make 0.01 and 0.03 of it.
#[test]
fn goals_share_alpha_by_weight_and_hand_on_what_they_have_spent() {
    let found_with = |first: f64, second: f64, has_ended: bool| {
        let mut observed = seen();
        observed.has_ended = has_ended;
        observed.metrics = vec![
            metric("revenue", Role::Primary, [sample(10.0), sample(10.0 + first)]),
            ObservedMetric { weight: 3.0, ..metric("orders", Role::Success, [sample(10.0), sample(10.0 + second)]) },
        ];
        results(&observed).unwrap().rows
    };
    let levels = |rows: &[experiment::results::Row]| rows.iter().map(|row| row.shown_alpha).collect::<Vec<f64>>();
    let close = |found: Vec<f64>, wanted: [f64; 2]| {
        assert!(found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-12), "{found:?} {wanted:?}");
    };
    let holds_zero = |row: &experiment::results::Row| row.shown.is_some_and(|it| it.lower <= 0.0 && it.upper >= 0.0);
    // Nothing found: everybody keeps the own share.
    close(levels(&found_with(0.01, 0.01, true)), [0.01, 0.03]);
    // z is 31.6 a unit of difference: 0.5 is found by all. What it had goes to the other, which has all 0.04 then.
    let rows = found_with(0.07, 0.5, true);
    close(levels(&rows), [0.04, 0.03]);
    let p = rows[0].relative.unwrap().figures.fixed.p_value;
    assert!(p > 0.01 && p < 0.04 && !holds_zero(&rows[0]) && !holds_zero(&rows[1]), "{rows:?}");
    assert!((rows[0].adjusted_p.unwrap() - p).abs() < 1e-15);
    // While it runs there is 0.01 to be spent, and intervals and corrected p agree there as well.
    close(levels(&found_with(0.0, 0.5, false)), [0.01, 0.0075]);
    for place in 0..40 {
        let rows = found_with(0.1 + 0.002 * f64::from(place), 0.12, false);
        for row in &rows {
            assert_eq!(row.adjusted_p.unwrap() <= 0.01, !holds_zero(row), "{row:?}");
        }
    }
}

#[test]
fn a_metric_that_came_later_says_so_and_changes_nothing_that_was_planned() {
    let mut observed = seen();
    for place in 0..3 {
        let treatment = sample(10.0 + 0.05 * f64::from(place));
        observed.metrics.push(metric(&format!("m{place}"), Role::Watched, [sample(10.0), treatment]));
    }
    let before = results(&observed).unwrap();
    for place in 0..2 {
        let late = metric(&format!("late{place}"), Role::Watched, [sample(10.0), sample(10.06)]);
        observed.metrics.push(ObservedMetric { is_post_hoc: true, ..late });
    }
    let after = results(&observed).unwrap();
    assert_eq!(after.rows[..4], before.rows[..]);
    assert_eq!(after.decision, before.decision);
    assert!(after.rows[4..].iter().all(|row| row.post_hoc) && after.rows[..4].iter().all(|row| !row.post_hoc));
    // Two of the same p: Benjamini & Hochberg leave it as it is, over the two and nothing else.
    let late = &after.rows[4];
    let (adjusted, plain) = (late.adjusted_p.unwrap(), late.relative.unwrap().figures.fixed.p_value);
    assert!((adjusted - plain).abs() < 1e-15, "{adjusted} {plain}");
}

/// Strata by hand: outcome and what it was before; units of the second stratum buy three times as much.
fn stratum(seed: u64, units: u32, level: f64, lift: f64) -> Vec<[f64; 2]> {
    let mut draws = Draws::new(seed);
    let row = |_| {
        let before = level + draws.normal();
        [before * (1.0 + lift) + draws.normal(), before]
    };
    (0..units).map(row).collect()
}

#[test]
fn strata_take_the_noise_between_them_away() {
    let parts = [
        [stratum(1, 300, 10.0, 0.0), stratum(2, 340, 10.0, 0.05)],
        [stratum(3, 500, 30.0, 0.0), stratum(4, 420, 30.0, 0.05)],
    ];
    let moments = |rows: &[[f64; 2]]| CovariateMoments::from_rows(2, rows.iter().map(|row| &row[..])).unwrap();
    let whole = |arm: usize| moments(&[parts[0][arm].clone(), parts[1][arm].clone()].concat());
    // With and without a covariate.
    for entries in [&[0][..], &[0, 1]] {
        let sample = |of: CovariateMoments| Some(Sample::Mean(of.part(entries)));
        let mut observed = seen();
        observed.metrics[0].samples = vec![sample(whole(0)), sample(whole(1))];
        let slice = |(place, part): (usize, &[Vec<[f64; 2]>; 2])| ObservedSlice {
            value: format!("v{place}"),
            units: part.iter().map(|rows| rows.len() as u64).collect(),
            samples: vec![part.iter().map(|rows| sample(moments(rows))).collect()],
        };
        let slices = parts.iter().enumerate().map(slice).collect();
        observed.dimensions = vec![ObservedDimension { name: "country".to_owned(), slices }];
        let plain = results(&observed).unwrap().rows.remove(0);
        assert!(plain.post_stratified.is_none() && plain.unstratified.is_none());
        observed.post_stratify = Some("country".to_owned());
        let row = results(&observed).unwrap().rows.remove(0);
        let sums = |rows: &[[f64; 2]]| {
            let sum = |of: &dyn Fn(&[f64; 2]) -> f64| rows.iter().map(of).sum::<f64>();
            let mean = |i: usize| Mean {
                n: rows.len() as u64,
                sum: sum(&|row| row[i]),
                sum_squares: sum(&|row| row[i] * row[i]),
            };
            let cuped = Cuped {
                n: rows.len() as u64,
                post_statistic: mean(0),
                pre_statistic: mean(1),
                post_pre_sum_of_products: sum(&|row| row[0] * row[1]),
            };
            if entries.len() == 1 { Statistic::Mean(mean(0)) } else { Statistic::Cuped(cuped) }
        };
        let strata = parts.each_ref().map(|part| (sums(&part[0]), sums(&part[1])));
        let wanted = post_stratify(&strata, Scale::Relative).unwrap().estimate;
        let found = row.relative.unwrap().figures.estimate;
        assert!((found.effect - wanted.effect).abs() < 1e-9 * wanted.effect.abs(), "{found:?} {wanted:?}");
        assert!((found.se - wanted.se).abs() < 1e-9 * wanted.se, "{found:?} {wanted:?}");
        assert_eq!((row.post_stratified.unwrap().strata, row.unstratified), (2, Some(plain.relative.unwrap().figures)));
        // What is judged is the effect over the strata.
        let shown = row.shown.unwrap();
        assert!((0.5 * (shown.lower + shown.upper) - found.effect).abs() < 1e-12);
        assert!(entries.len() > 1 || found.se < 0.5 * plain.relative.unwrap().figures.estimate.se);
    }
}

/// A median of 1,000 rows with its bounds: of units, or of the events of so many.
fn median(lower: f64, upper: f64, clusters: Option<u64>) -> Option<Sample> {
    let bounds =
        Quantile { n: 1_000, n_star: 1_000, nu: 0.5, quantile_hat: 5.0, quantile_lower: lower, quantile_upper: upper };
    let Some(n_clusters) = clusters else { return Some(Sample::Quantile(bounds)) };
    let each = 1_000.0 / n_clusters as f64;
    // Every other unit has all its events below the median.
    Some(Sample::QuantileOfEvents(QuantileClustered {
        quantile: bounds,
        main_sum: 500.0,
        main_sum_squares: 500.0 * each,
        denominator_sum: 1_000.0,
        denominator_sum_squares: 1_000.0 * each,
        main_denominator_sum_product: 500.0 * each,
        n_clusters,
    }))
}

#[test]
fn a_quantile_without_noise_in_an_arm_has_no_figures_and_says_why() {
    let row = |control: Option<Sample>, treatment: Option<Sample>| {
        let mut observed = seen();
        observed.metrics.push(metric("p50", Role::Watched, [control, treatment]));
        results(&observed).unwrap().rows.remove(1)
    };
    for clusters in [None, Some(100)] {
        let (wide, tied) = (median(4.0, 6.0, clusters), median(5.0, 5.0, clusters));
        let good = row(wide.clone(), wide.clone());
        assert!(good.problem.is_none() && good.relative.unwrap().figures.estimate.df.is_finite());
        for (control, treatment) in [(&wide, &tied), (&tied, &wide), (&tied, &tied)] {
            let found = row(control.clone(), treatment.clone());
            assert!(found.relative.is_none() && found.shown.is_none() && !found.is_pending, "{found:?}");
            assert_eq!(found.problem, Some(StatsError::NoQuantileNoise.to_string()));
        }
    }
    // A thousand events of one customer are one customer.
    for (control, treatment) in [(1, 100), (100, 1), (1, 1)] {
        let found = row(median(4.0, 6.0, Some(control)), median(4.0, 6.0, Some(treatment)));
        assert!(found.relative.is_none() && found.is_pending, "{found:?}");
        assert_eq!(found.problem, Some(StatsError::TooFewUnits { n: 1, least: 2 }.to_string()));
    }
}
