//! What real results say to whoever watches: harm exactly where the always-valid bound lies, and what is not known.
//!
//! In: made-up units of two arms, through [`results`].  Out: nothing.
//! Never here: what is done about it (see `watch`).
//! Start at `harm_begins_where_the_one_sided_bound_passes_the_margin`.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use chrono::{DateTime, TimeDelta, Utc};
use experiment::decision::{Clock, Code, Role};
use experiment::lifecycle::evidence::{Evidence, Harm, Significant};
use experiment::looks::Looks;
use experiment::plan::{AnalysisPlan, ExperimentFile, Sequential};
use experiment::results::{Observed, ObservedMetric, Sample, results};
use experiment::stats::covariates::CovariateMoments;
use experiment::stats::non_inferiority::Preference;

const UNITS: usize = 2_000;

/// Values that alternate around a mean: variance n/(n−1).
fn sample(mean: f64) -> Option<Sample> {
    let rows: Vec<[f64; 1]> = (0..UNITS).map(|row| [mean + if row % 2 == 0 { 1.0 } else { -1.0 }]).collect();
    Some(Sample::Mean(CovariateMoments::from_rows(1, rows.iter().map(|row| &row[..])).unwrap()))
}

fn metric(name: &str, role: Role, preference: Preference, samples: [Option<Sample>; 2]) -> ObservedMetric {
    ObservedMetric {
        name: name.to_owned(),
        role,
        weight: 1.0,
        preference,
        is_proportion: false,
        samples: samples.to_vec(),
        min_effect: 0.05,
        cap: None,
        bad_values: 0,
        is_post_hoc: false,
    }
}

fn until() -> DateTime<Utc> {
    "2026-11-05T00:00:00Z".parse().unwrap()
}

fn plan(more: &str) -> AnalysisPlan {
    let text = format!(
        "[assignment]\nkey = 'checkout'\nvariants = []\n[analysis]\nexposures = 'marts.exposures'\n\
         start = '2026-11-01T00:00:00Z'\ngoals = ['revenue']\nguardrails = [{{ metric = 'returns', margin = 0.02 }}]\n{more}\n"
    );
    toml::from_str::<ExperimentFile>(&text).unwrap().analysis
}

/// Four days of an experiment that runs, a guardrail beside its goal.
fn seen(sequential: Sequential, preference: Preference, guardrail: [Option<Sample>; 2]) -> Observed {
    Observed {
        variants: vec![("old".to_owned(), 0.5), ("new".to_owned(), 0.5)],
        daily_units: vec![vec![1_000, 990], vec![1_000, 1_010]],
        unknown_units: 0,
        multiple_units: 0,
        seen_units: 4_000,
        exposures: 4_100,
        join_rate: 1.0,
        data_age_hours: 30.0,
        metrics: vec![
            metric("revenue", Role::Primary, Preference::Increase, [sample(10.0), sample(10.0)]),
            metric("returns", Role::Guardrail { margin: 0.02 }, preference, guardrail),
        ],
        spending: experiment::stats::group_sequential::Spending::ObrienFleming,
        dimensions: Vec::new(),
        post_stratify: None,
        clock: Clock {
            days_running: 4.0,
            least_days: 7.0,
            most_days: 56.0,
            planned_days: Some(14.0),
            has_planned_units: false,
        },
        has_ended: false,
        alpha: 0.05,
        running_alpha: 0.01,
        sequential,
        looks: Looks::default(),
        planned_units: None,
        least_join_rate: 0.0,
        most_data_age_hours: 48.0,
    }
}

fn evidence(observed: &Observed, plan: &AnalysisPlan) -> Evidence {
    Evidence::of(&results(observed).unwrap(), plan, until()).unwrap()
}

/// S3 as the paper writes it (arXiv 2103.06476, eq. 134; tuned by eq. 161 with 2α), once more by hand: how far beyond the margin the effect of
/// a mean of 10 against one of 10 + d has to lie, in units of the relative lift.
fn half_width(alpha: f64, lift: f64) -> f64 {
    let (n, total) = (UNITS as f64, 2.0 * UNITS as f64);
    let variance = n / (n - 1.0) / n;
    // D2: Var(L) = a/m_c² + b·m_t²/m_c⁴ with m_c = 10.
    let se = (variance / 100.0 + variance * (10.0 * (1.0 + lift)).powi(2) / 1e4).sqrt();
    let minus_log = -2.0 * (2.0 * alpha).ln();
    let rho = 5_000.0 / (minus_log + (1.0 + minus_log).ln());
    let growth = (total + rho) / rho;
    se * (2.0 * (total + rho) / total * (growth.sqrt() / (2.0 * alpha)).ln_1p()).sqrt()
}

#[test]
fn harm_begins_where_the_one_sided_bound_passes_the_margin() {
    for (sequential, alpha, more) in [
        (Sequential::Hybrid, 0.01, ""),
        (Sequential::AlwaysValid, 0.05, "sequential = 'always_valid'"),
        // Nothing is claimed of goals now, and guardrails are guarded all the same.
        (Sequential::None, 0.05, "sequential = 'none'"),
    ] {
        let plan = plan(more);
        for (preference, sign) in [(Preference::Increase, -1.0), (Preference::Decrease, 1.0)] {
            // The lift at which the bound touches the margin, by bisection.
            let (mut inside, mut beyond) = (0.0, 0.9);
            for _ in 0..60 {
                let middle = (inside + beyond) / 2.0;
                if middle - half_width(alpha, sign * middle) > 0.02 { beyond = middle } else { inside = middle }
            }
            let harmed = |lift: f64| {
                let samples = [sample(10.0), sample(10.0 * (1.0 + sign * lift))];
                evidence(&seen(sequential, preference, samples), &plan).harmed
            };
            assert_eq!(harmed(inside - 1e-6), [], "{sequential:?} {preference:?} {inside}");
            let expected = Harm { metric: "returns".to_owned(), arm: "new".to_owned() };
            assert_eq!(harmed(inside + 1e-6), [expected], "{sequential:?} {preference:?} {inside}");
            // As far to the good side is no harm.
            assert_eq!(harmed(-3.0 * inside), []);
        }
    }
}

#[test]
fn harm_is_seen_beside_a_sample_ratio_that_hides_it_from_the_verdict() {
    let mut observed = seen(Sequential::Hybrid, Preference::Increase, [sample(10.0), sample(5.0)]);
    let healthy = evidence(&observed, &plan(""));
    assert_eq!(healthy.verdict.as_ref().unwrap().code, Code::RollBack);
    assert_eq!((healthy.arm.as_deref(), healthy.ailments.len(), healthy.sample_ratio_p), (Some("old"), 0, None));
    observed.daily_units = vec![vec![1_400, 600], vec![1_400, 600]];
    let ill = evidence(&observed, &plan(""));
    assert_eq!(ill.verdict.unwrap().code, Code::FixFirst);
    assert_eq!((ill.harmed.len(), ill.arm, ill.ailments.len()), (1, None, 2));
    assert!(ill.sample_ratio_p.unwrap() < 1e-9);
    assert_eq!((ill.units, ill.fewest_units, ill.exposures), (4_000, 1_200, 4_100));
}

#[test]
fn what_is_not_known_is_said() {
    let known = evidence(&seen(Sequential::Hybrid, Preference::Increase, [sample(10.0), sample(10.0)]), &plan(""));
    assert_eq!((known.unknown.len(), known.data_until), (0, Some(until() - TimeDelta::hours(30))));
    let mut observed = seen(Sequential::Hybrid, Preference::Increase, [sample(10.0), None]);
    observed.data_age_hours = f64::MAX;
    let found = evidence(&observed, &plan(""));
    assert_eq!((found.unknown, found.data_until), (vec!["returns".to_owned()], None));
    // What was added after the start guards nothing.
    let mut late = seen(Sequential::Hybrid, Preference::Increase, [sample(10.0), sample(1.0)]);
    late.metrics[1].is_post_hoc = true;
    assert_eq!(evidence(&late, &plan("")).harmed, []);
}

#[test]
fn goals_are_significant_where_their_shown_interval_does_not_hold_zero() {
    let mut observed = seen(Sequential::Hybrid, Preference::Increase, [sample(10.0), sample(10.0)]);
    assert_eq!(evidence(&observed, &plan("")).significant, []);
    let mut goal = |preference, mean: f64| {
        observed.metrics[0] = metric("revenue", Role::Primary, preference, [sample(10.0), sample(mean)]);
        evidence(&observed, &plan("")).significant.pop().unwrap()
    };
    let found = goal(Preference::Increase, 11.0);
    let (metric, arm) = ("revenue".to_owned(), "new".to_owned());
    assert!((found.effect - 0.1).abs() < 1e-12);
    assert_eq!(found, Significant { metric, arm, effect: found.effect, is_better: true });
    assert!(!goal(Preference::Increase, 9.0).is_better);
    assert!(goal(Preference::Decrease, 9.0).is_better);
    assert!(!goal(Preference::Decrease, 11.0).is_better);
}
