//! Slices: the split in each, whether effects differ, by hand.
//!
//! In: slices with known means.  Out: Q, corrected p, shrunken effects, alarms.
//! Never here: heterogeneity itself (see `designs`).
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise: the panic is the report")]

use experiment::decision::{Clock, Role};
use experiment::looks::Looks;
use experiment::plan::Sequential;
use experiment::results::{Observed, ObservedMetric, Sample, results};
use experiment::slices::{DimensionResults, ObservedDimension, ObservedSlice};
use experiment::stats::covariates::CovariateMoments;
use experiment::stats::group_sequential::Spending;
use experiment::stats::non_inferiority::Preference;

/// `units` values of variance 1 around a mean.
fn sample(units: u64, mean: f64) -> Option<Sample> {
    let (n, comoments) = (units, vec![units as f64 - 1.0]);
    Some(Sample::Mean(CovariateMoments { n, means: vec![mean], comoments }))
}

/// A slice with a control mean of 10 and these units.
fn slice(value: &str, units: [u64; 2], treatment: f64) -> ObservedSlice {
    let samples = vec![vec![sample(units[0], 10.0), sample(units[1], treatment)]];
    ObservedSlice { value: value.to_owned(), units: units.to_vec(), samples }
}

fn found(dimensions: Vec<Vec<ObservedSlice>>) -> Vec<DimensionResults> {
    let metric = ObservedMetric {
        name: "revenue".to_owned(),
        role: Role::Primary,
        weight: 1.0,
        preference: Preference::Increase,
        is_proportion: false,
        samples: vec![sample(2_000, 10.0), sample(2_000, 10.5)],
        min_effect: 0.05,
        cap: None,
        bad_values: 0,
        is_post_hoc: false,
    };
    let dimension = |(place, slices)| ObservedDimension { name: format!("d{place}"), slices };
    let observed = Observed {
        variants: vec![("control".to_owned(), 0.5), ("short".to_owned(), 0.5)],
        daily_units: vec![vec![2_000, 2_000]],
        unknown_units: 0,
        multiple_units: 0,
        seen_units: 4_000,
        exposures: 4_000,
        join_rate: 1.0,
        data_age_hours: 0.0,
        metrics: vec![metric],
        dimensions: dimensions.into_iter().enumerate().map(dimension).collect(),
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
    };
    results(&observed).unwrap().dimensions
}

#[test]
fn effects_that_differ_are_told_from_those_that_do_not_over_all_dimensions() {
    let apart = vec![slice("a", [1_000, 1_000], 10.0), slice("b", [1_000, 1_000], 11.0)];
    let alike = vec![slice("c", [1_000, 1_000], 10.5), slice("d", [1_000, 1_000], 10.5)];
    let found = found(vec![apart, alike]);
    let (apart, alike) = (&found[0].differences[0], &found[1].differences[0]);
    // Lifts 0 and .1; D2: variance (1/1000 + (m/10)²/1000)/100 = 2e-5 and 2.21e-5. Q of two is their distance squared over both.
    let q = 0.01 / (2.0e-5 + 2.21e-5);
    assert!((apart.heterogeneity.q - q).abs() < 1e-6 * q, "{apart:?}");
    assert!(alike.heterogeneity.q < 1e-9 && alike.adjusted_p == 1.0, "{alike:?}");
    // Two tests: the smaller p is doubled.
    assert!((apart.adjusted_p - 2.0 * apart.heterogeneity.p_value).abs() < 1e-12 * apart.adjusted_p);
    // Alike as they are, slices are pulled together wholly; apart as they are, hardly.
    let shrunken = |dimension: usize, place: usize| found[dimension].slices[place].rows[0].shrunken.unwrap().effect;
    assert!((shrunken(1, 0) - 0.05).abs() < 1e-12);
    assert!(shrunken(0, 0) > 0.0 && shrunken(0, 0) < 0.001 && shrunken(0, 1) < 0.1 && shrunken(0, 1) > 0.099);
}

#[test]
fn a_split_is_wrong_only_below_a_level_that_all_slices_share() {
    // χ² of 1000 to 1150 is 10.47, p .0012; of 1000 to 1160 11.85, p .00058: below .001, but not below .001 / 2.
    let found = found(vec![vec![slice("a", [1_000, 1_160], 10.0), slice("b", [1_000, 1_000], 10.0)]]);
    let slice = &found[0].slices[0];
    assert!((slice.sample_ratio_p.unwrap() - 0.000_576).abs() < 2e-6, "{slice:?}");
    assert!(!slice.has_mismatch);
    let found = self::found(vec![vec![slice_of_one(1_160)]]);
    assert!(found[0].slices[0].has_mismatch);
    // One slice has nothing to differ from.
    assert!(found[0].differences.is_empty());
}

fn slice_of_one(treatment: u64) -> ObservedSlice {
    slice("all", [1_000, treatment], 10.0)
}
