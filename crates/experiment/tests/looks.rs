//! How often each way of looking finds something where there is nothing, through the results as they are shown.
//!
//! In: experiments without effect, looked at every day.  Out: shares of them with a false claim, held against α.
//! Never here: the bounds themselves (`long_runs`), single figures (`differences`).
//! Start at [`false_claims`].
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise: the panic is the report")]

mod draws;

use chrono::{DateTime, TimeDelta, Utc};
use draws::Draws;
use experiment::decision::{Clock, Code, Role};
use experiment::looks::{Looks, PlannedLook, looks};
use experiment::plan::Sequential;
use experiment::results::{Observed, ObservedMetric, Row, Sample, results};
use experiment::stats::Alternative;
use experiment::stats::covariates::CovariateMoments;
use experiment::stats::group_sequential::Spending;
use experiment::stats::non_inferiority::Preference;

const DAYS: u32 = 14;
const PER_DAY: u32 = 40;
const MARGIN: f64 = 0.05;
const ALPHA: f64 = 0.05;

fn start() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-03-01T00:00:00Z").unwrap().to_utc()
}

fn metric(name: &str, role: Role, weight: f64) -> ObservedMetric {
    let nothing = Some(Sample::Mean(CovariateMoments { n: 0, means: vec![0.0], comoments: vec![0.0] }));
    ObservedMetric {
        name: name.to_owned(),
        role,
        weight,
        preference: Preference::Increase,
        is_proportion: false,
        samples: vec![nothing.clone(), nothing],
        min_effect: 0.05,
        cap: None,
        bad_values: 0,
        is_post_hoc: false,
    }
}

/// Two goals with weights 2 and 1, and a guardrail; nobody was seen yet.
fn begun(sequential: Sequential) -> Observed {
    let guardrail = Role::Guardrail { margin: MARGIN };
    Observed {
        variants: vec![("control".to_owned(), 0.5), ("short".to_owned(), 0.5)],
        daily_units: Vec::new(),
        unknown_units: 0,
        multiple_units: 0,
        seen_units: 0,
        exposures: 1,
        join_rate: 1.0,
        data_age_hours: 0.0,
        metrics: vec![
            metric("revenue", Role::Primary, 2.0),
            metric("orders", Role::Success, 1.0),
            metric("visits", guardrail, 1.0),
        ],
        dimensions: Vec::new(),
        post_stratify: None,
        clock: Clock {
            days_running: 0.0,
            least_days: 7.0,
            most_days: 56.0,
            planned_days: Some(f64::from(DAYS)),
            has_planned_units: false,
        },
        has_ended: false,
        alpha: ALPHA,
        running_alpha: 0.01,
        sequential,
        looks: Looks::default(),
        spending: Spending::default(),
        planned_units: Some(u64::from(2 * DAYS * PER_DAY)),
        least_join_rate: 0.0,
        most_data_age_hours: 48.0,
    }
}

/// One day more: values around 10 with a standard deviation of 3; the treatment's are `lifts` more, as a share.
fn go_on(observed: &mut Observed, draws: &mut Draws, lifts: [f64; 3], planned: &[PlannedLook]) {
    for (metric, lift) in observed.metrics.iter_mut().zip(lifts) {
        for (arm, sample) in metric.samples.iter_mut().enumerate() {
            let mean = 10.0 * (1.0 + lift * arm as f64);
            let rows: Vec<[f64; 1]> = (0..PER_DAY).map(|_| [mean + 3.0 * draws.normal()]).collect();
            let today = CovariateMoments::from_rows(1, rows.iter().map(|row| &row[..])).unwrap();
            let Some(Sample::Mean(before)) = sample else { continue };
            *sample = Some(Sample::Mean(before.merged(&today).unwrap()));
        }
    }
    observed.daily_units.push(vec![u64::from(PER_DAY); 2]);
    observed.seen_units += u64::from(2 * PER_DAY);
    let day = observed.daily_units.len() as u32;
    observed.clock.days_running = f64::from(day);
    observed.has_ended = day >= DAYS;
    let moment = |day: u32| start() + TimeDelta::days(i64::from(day));
    let days: Vec<(DateTime<Utc>, u64)> = (0..day).map(|day| (moment(day), u64::from(2 * PER_DAY))).collect();
    observed.looks = looks(planned, observed.planned_units.unwrap(), &days, moment(day));
}

fn quarters() -> Vec<PlannedLook> {
    [0.25, 0.5, 0.75].map(PlannedLook::Share).to_vec()
}

/// Shares of `runs` experiments in which on some day a goal without effect was found, and in which a guardrail that loses exactly its
/// margin was passed, or found to lose more.
fn false_claims(sequential: Sequential, runs: u32, seed: u64) -> [f64; 3] {
    let planned = if sequential == Sequential::Group { quarters() } else { Vec::new() };
    let mut draws = Draws::new(seed);
    let mut found = [0_u32; 3];
    for _ in 0..runs {
        let mut observed = begun(sequential);
        let mut is_found = [false; 3];
        for _ in 0..DAYS {
            go_on(&mut observed, &mut draws, [0.0, 0.0, -MARGIN], &planned);
            let results = results(&observed).unwrap();
            let shown = |row: &Row| row.shown.map(|it| (it.lower, it.upper));
            let goals = results.rows.iter().take(2).filter_map(shown);
            is_found[0] |= goals.into_iter().any(|(lower, upper)| lower > 0.0 || upper < 0.0);
            let guardrail = shown(&results.rows[2]);
            is_found[1] |= guardrail.is_some_and(|(lower, _)| lower > -MARGIN);
            is_found[2] |= guardrail.is_some_and(|(_, upper)| upper < -MARGIN);
        }
        found.iter_mut().zip(is_found).for_each(|(count, is)| *count += u32::from(is));
    }
    found.map(|count| f64::from(count) / f64::from(runs))
}

/// Every share at most α and three standard errors; those at least `least` where α has to be spent.
fn check(sequential: Sequential, runs: u32, least: f64) {
    let shares = false_claims(sequential, runs, 41);
    let most = ALPHA + 3.0 * (ALPHA * (1.0 - ALPHA) / f64::from(runs)).sqrt();
    assert!(shares.iter().all(|share| (least..=most).contains(share)), "{sequential:?}: {shares:?}, most {most}");
}

#[test]
fn a_hybrid_keeps_alpha() {
    check(Sequential::Hybrid, 2_000, 0.02);
}

#[test]
fn always_valid_intervals_keep_alpha() {
    check(Sequential::AlwaysValid, 2_000, 0.0);
}

#[test]
fn one_look_at_the_end_spends_alpha() {
    check(Sequential::None, 2_000, 0.03);
}

#[test]
fn planned_looks_spend_alpha() {
    check(Sequential::Group, 400, 0.01);
}

#[test]
fn between_planned_looks_nothing_is_claimed_and_at_them_what_is_found_is_handed_on() {
    let mut draws = Draws::new(5);
    let mut observed = begun(Sequential::Group);
    let mut days_with_claims = Vec::new();
    let mut last = Vec::new();
    for day in 1..=DAYS {
        go_on(&mut observed, &mut draws, [0.2, 0.2, 0.0], &quarters());
        let found = results(&observed).unwrap();
        assert!(found.rows.iter().all(|row| row.relative.is_some()) && found.health.facts.missing_metrics.is_empty());
        if found.rows.iter().any(|row| row.shown.is_some()) {
            days_with_claims.push(day);
        } else {
            assert_eq!(found.decision.unwrap().verdict.code, Code::KeepRunning);
        }
        last = found.rows;
    }
    // A quarter of the units is there on the fourth day, half on the seventh, three quarters on the eleventh.
    assert_eq!(days_with_claims, [4, 7, 11, 14]);
    // Two thirds of α; the other is found at all of it.
    let levels: Vec<f64> = last.iter().take(2).map(|row| row.shown_alpha).collect();
    assert!((levels[0] - ALPHA * 2.0 / 3.0).abs() < 1e-15 && (levels[1] - ALPHA).abs() < 1e-15, "{levels:?}");
}

#[test]
fn an_interim_bound_is_that_of_lan_and_demets() {
    let mut draws = Draws::new(6);
    let mut observed = begun(Sequential::Group);
    observed.metrics.truncate(1);
    // Looks at 2/5, 4/5 and 1 of the planned units; 5 days of 80.
    observed.planned_units = Some(400);
    for _ in 0..2 {
        go_on(&mut observed, &mut draws, [0.0; 3], &[PlannedLook::Share(0.2), PlannedLook::Share(0.4)]);
    }
    let row = &results(&observed).unwrap().rows[0];
    let (shown, estimate) = (row.shown.unwrap(), row.relative.unwrap().figures.estimate);
    // Published for looks at .2 and .4: 3.357 (Lan & DeMets, five looks, two-sided .05).
    let bound = (shown.upper - estimate.effect) / estimate.se;
    assert!((bound - 3.35701).abs() < 5e-6, "{bound}");
    assert_eq!(row.look.unwrap().bound.map(|it| (it * 1e6).round()), Some((bound * 1e6).round()));
    assert!(row.look.unwrap().stopped.is_none() && !row.look.unwrap().is_beyond, "{row:?}");
    // The Pocock type at the same looks: 2.427 (DeMets & Lan, Statistics in Medicine 13, 1994, to the digits of the programs after it).
    observed.spending = Spending::Pocock;
    let bound = results(&observed).unwrap().rows[0].look.unwrap().bound.unwrap();
    assert!((bound - 2.427).abs() < 6e-4, "{bound}");
}

#[test]
fn what_is_told_of_an_effect_that_stops_early_is_pulled_towards_nothing() {
    let mut draws = Draws::new(8);
    let mut observed = begun(Sequential::Group);
    observed.metrics.truncate(1);
    observed.spending = Spending::Pocock;
    let mut stopped = None;
    for _ in 0..DAYS {
        go_on(&mut observed, &mut draws, [0.065; 3], &quarters());
        let row = results(&observed).unwrap().rows.swap_remove(0);
        let Some(look) = row.look else { continue };
        if look.is_beyond && look.fraction > 0.3 {
            stopped = Some((row.relative.unwrap().figures.estimate, look.stopped.unwrap()));
            break;
        }
    }
    let (plain, stopped) = stopped.unwrap();
    assert!(stopped.estimate < plain.effect && stopped.estimate > 0.0, "{plain:?} {stopped:?}");
    assert!(stopped.ci.lower > 0.0 && stopped.ci.lower < plain.effect - 1.96 * plain.se, "{plain:?} {stopped:?}");
    assert!(stopped.p_value < ALPHA && stopped.p_value > plain.test(Alternative::TwoSided, ALPHA).unwrap().p_value);
}

#[test]
fn before_its_only_look_an_experiment_neither_ships_nor_rolls_back() {
    let mut draws = Draws::new(7);
    for lift in [-0.5, 0.5] {
        let mut observed = begun(Sequential::None);
        for _ in 0..DAYS - 1 {
            go_on(&mut observed, &mut draws, [lift, lift, lift], &[]);
            let found = results(&observed).unwrap();
            assert_eq!(found.decision.unwrap().verdict.code, Code::KeepRunning);
        }
        go_on(&mut observed, &mut draws, [lift, lift, lift], &[]);
        let wanted = if lift > 0.0 { Code::Ship } else { Code::RollBack };
        assert_eq!(results(&observed).unwrap().decision.unwrap().verdict.code, wanted);
    }
}

#[test]
fn a_goal_with_next_to_no_noise_costs_nobody_the_figures() {
    let (mut observed, mut draws, planned) = (begun(Sequential::Group), Draws::new(8), quarters());
    // The first of the quarters is on day 4.
    (0..4).for_each(|_| go_on(&mut observed, &mut draws, [0.5, 0.0, 0.0], &planned));
    let stopped = results(&observed).unwrap().rows[0].look.unwrap();
    assert!(stopped.is_beyond && stopped.stopped.is_some(), "{stopped:?}");
    for sample in observed.metrics[0].samples.iter_mut().flatten() {
        let Sample::Mean(moments) = sample else { panic!("means") };
        moments.comoments[0] = 1e-20;
    }
    // z is some 1e13, and what its looks say of it is beyond the digits of the normal law.
    let rows = results(&observed).unwrap().rows;
    let look = rows[0].look.unwrap();
    assert!(look.is_beyond && look.stopped.is_none(), "{look:?}");
    assert!(rows.iter().all(|row| row.problem.is_none() && row.shown.is_some()), "{rows:?}");
}
