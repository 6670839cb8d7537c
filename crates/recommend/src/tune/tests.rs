//! The search as its callers see it, on planted data.
//!
//! In: generated interactions.  Out: assertions.  Never here: the figures of real data.
//! Start at [`tune`].

use domain::{NoProgress, RerankRules};

use super::*;
use crate::split::tests::{row, shop};
use crate::{
    EaseParameters, IalsParameters, InteractionRow, Protocol, ProtocolKind, RecommenderSpec, Repeats, Window, evaluate,
};

fn protocol(kind: ProtocolKind) -> Protocol {
    Protocol { kind, resamples: 200, ..Protocol::default() }
}

fn window(interactions: &Interactions) -> ValidationWindow {
    ValidationWindow::new(interactions, &protocol(ProtocolKind::Time), true).unwrap()
}

use crate::Interactions;

/// Runs a search to its end; the result and what was kept.
fn tune(window: &ValidationWindow, current: &Parameters, trials: usize, done: Vec<Trial>) -> (Tuned, Vec<Trial>) {
    go_on(window, current, trials, done, &|| true)
}

fn go_on(
    window: &ValidationWindow,
    current: &Parameters,
    trials: usize,
    done: Vec<Trial>,
    may_go_on: &dyn Fn() -> bool,
) -> (Tuned, Vec<Trial>) {
    let baseline = Parameters::defaults(RecommenderKind::Popularity);
    let rules = RerankRules::default();
    let tuner =
        Tuner { window, current, baseline: &baseline, rules: &rules, items: &[], trials, progress: &NoProgress };
    let mut kept = Vec::new();
    let mut keep = |trial: &Trial| {
        kept.push(trial.clone());
        Ok::<(), RecommendError>(())
    };
    let tuned = tuner.run(done, &mut keep, may_go_on).unwrap();
    (tuned, kept)
}

fn ease(lambda: f64) -> Parameters {
    Parameters::Ease(EaseParameters { lambda, ..EaseParameters::default() })
}

/// Users walk along a ring of items, one step a day: the newest item alone tells the next one.
fn ring(users: usize, days: usize) -> Interactions {
    let mut rows: Vec<InteractionRow> = Vec::new();
    for user in 0..users {
        for day in 0..days {
            let item = format!("i{:03}", (user * 11 + day) % 150);
            rows.push(row(&format!("u{user:03}"), &item, (day * 86_400 + user) as i64, None));
        }
    }
    Interactions::from_rows(rows).0
}

#[test]
fn halving_finds_the_planted_best() {
    // Only settings with a short memory rank the next item first; the current ones have none.
    let (tuned, kept) = tune(&window(&ring(240, 40)), &ease(500.0), 9, Vec::new());
    assert!(tuned.is_complete && tuned.is_better, "{tuned:?}");
    assert!(tuned.best.parameters["recency"].as_f64().unwrap() < 60.0 && tuned.best.ndcg > tuned.current.ndcg);
    assert!(tuned.difference.unwrap().low > 0.0);
    let rungs = |rung| kept.iter().filter(|trial| trial.rung == rung).count();
    assert_eq!([Rung::Ninth, Rung::Third, Rung::Full].map(rungs), [8, 3, 1 + 1]);
    assert_eq!((tuned.tried, tuned.measured, tuned.resumed), (9, 13, 0));
    let best_at_first = kept
        .iter()
        .filter(|trial| trial.rung == Rung::Ninth)
        .max_by(|a, b| a.ndcg.unwrap().total_cmp(&b.ndcg.unwrap()));
    assert!(kept.iter().any(|trial| trial.rung == Rung::Third && trial.number == best_at_first.unwrap().number));
}

#[test]
fn the_current_settings_come_first_and_stand_if_nothing_is_surely_better() {
    let (tuned, kept) = tune(&window(&shop(&[8; 60])), &ease(200.0), 6, Vec::new());
    assert_eq!((kept[0].number, kept[0].rung), (1, Rung::Full));
    assert_eq!(kept[0].parameters, ease(200.0).to_map());
    assert!(tuned.best.ndcg >= tuned.current.ndcg);
    let (alone, _) = tune(&window(&shop(&[8; 60])), &ease(200.0), 1, Vec::new());
    assert_eq!((alone.best.trial, alone.difference, alone.is_better), (1, None, false));
}

#[test]
fn equal_seeds_give_equal_results_on_any_number_of_threads() {
    let interactions = ring(120, 30);
    let window = window(&interactions);
    let ials = Parameters::Ials(IalsParameters { factors: 8, epochs: 4, ..IalsParameters::default() });
    for current in [ials, Parameters::defaults(RecommenderKind::Blend)] {
        let many = tune(&window, &current, 4, Vec::new());
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| tune(&window, &current, 4, Vec::new())), many);
    }
}

#[test]
fn what_happened_after_the_test_cut_makes_no_difference() {
    let clean = ring(120, 30);
    let split = crate::Split::new(&clean, &protocol(ProtocolKind::Time)).unwrap();
    let test_from = split.cuts().unwrap().test_from;
    let rows = |poison: bool| {
        let rows = clean.events().iter().map(|event| {
            let is_poisoned = poison && event.at >= test_from;
            let item =
                if is_poisoned { "poison".to_owned() } else { clean.item_ids()[event.item as usize].to_string() };
            row(clean.user_ids()[event.user as usize].as_str(), &item, event.at, None)
        });
        Interactions::from_rows(rows.collect::<Vec<_>>()).0
    };
    let current = ease(500.0);
    let untouched = tune(&window(&rows(false)), &current, 5, Vec::new());
    assert_eq!(tune(&window(&rows(true)), &current, 5, Vec::new()), untouched);
    for kind in ProtocolKind::ALL {
        let interactions = shop(&[5; 60]);
        let window = ValidationWindow::new(&interactions, &protocol(kind), false).unwrap();
        let split = crate::Split::new(&interactions, &protocol(kind)).unwrap();
        assert_eq!(window.known(), &split.known(Window::Validation), "{kind}");
    }
}

#[test]
fn a_resumed_search_equals_an_uninterrupted_one() {
    let interactions = ring(120, 30);
    let window = window(&interactions);
    for current in [ease(500.0), Parameters::defaults(RecommenderKind::Blend)] {
        let (whole, kept) = tune(&window, &current, 9, Vec::new());
        for cut in [0, 1, 5, kept.len() - 1, kept.len()] {
            // As the journal would give them back.
            let text: Vec<String> = kept[..cut].iter().map(|trial| serde_json::to_string(trial).unwrap()).collect();
            let done = text.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            let (resumed, rest) = tune(&window, &current, 9, done);
            assert_eq!((resumed.measured, resumed.resumed), (kept.len() - cut, cut));
            assert_eq!(rest, kept[cut..], "{cut}");
            assert_eq!(Tuned { measured: whole.measured, resumed: 0, ..resumed }, whole);
        }
    }
}

#[test]
fn when_time_is_up_the_best_so_far_is_measured_and_nothing_else() {
    let window = window(&ring(240, 40));
    let left = std::sync::atomic::AtomicUsize::new(4);
    let may_go_on = || {
        left.fetch_update(std::sync::atomic::Ordering::SeqCst, std::sync::atomic::Ordering::SeqCst, |n| {
            n.checked_sub(1)
        })
        .is_ok()
    };
    let (tuned, kept) = go_on(&window, &ease(500.0), 9, Vec::new(), &may_go_on);
    let rungs: Vec<Rung> = kept.iter().map(|trial| trial.rung).collect();
    assert_eq!(rungs, [Rung::Full, Rung::Ninth, Rung::Ninth, Rung::Ninth, Rung::Ninth, Rung::Full]);
    assert!(!tuned.is_complete);
    let (nothing, kept) = go_on(&window, &ease(500.0), 9, Vec::new(), &|| false);
    assert_eq!((kept.len(), nothing.best.trial, nothing.is_complete), (1, 1, false));
}

#[test]
fn what_is_chosen_is_what_an_evaluation_measures() {
    let interactions = ring(120, 30);
    let current = Parameters::defaults(RecommenderKind::Blend);
    let (tuned, _) = tune(&window(&interactions), &current, 4, Vec::new());
    let best = Parameters::resolve(RecommenderKind::Blend, &tuned.best.parameters).unwrap();
    let spec = |name: &str, parameters| RecommenderSpec {
        name: name.into(),
        parameters,
        filter_seen: true,
        rerank: RerankRules::default(),
    };
    let specs = [spec("popularity", Parameters::defaults(RecommenderKind::Popularity)), spec("blend", best)];
    let evaluation = evaluate(&interactions, &specs, "popularity", &protocol(ProtocolKind::Time), &NoProgress).unwrap();
    let measured = evaluation.report.window(Window::Validation, Repeats::Excluded).unwrap();
    assert_eq!(measured.users, tuned.users);
    assert!((measured.recommenders[1].metrics["ndcg@100"].value - tuned.best.ndcg).abs() < 1e-6);
}
