//! Data that nobody would choose to train on: every kind of recommender gives a defined result or an error that says what to do.
//!
//! In: the smallest, the largest and the oddest interactions.  Out: assertions.  Never here: private functions.
//! Start at [`lists_are_sound`].

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise: the panic is the report")]

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::{Problem, Provenance};
use recommend::{
    Artefact, BprParameters, EaseParameters, HistoryItem, IalsParameters, InteractionRow, Interactions, ItemSource,
    Parameters, PopularityParameters, RankRequest, Ranker, RecommendError, RecommenderKind, train,
};

fn row(user: &str, item: &str, at: i64) -> InteractionRow {
    InteractionRow { user: user.into(), item: item.into(), at, weight: 1.0, basket: None }
}

/// Defaults, but few passes for the kinds that learn by passes: the tests are not about quality.
fn parameters(kind: RecommenderKind) -> Parameters {
    match kind {
        RecommenderKind::Ials => Parameters::Ials(IalsParameters { factors: 8, epochs: 2, ..Default::default() }),
        RecommenderKind::Bpr => Parameters::Bpr(BprParameters { factors: 8, epochs: 2, ..Default::default() }),
        RecommenderKind::Popularity
        | RecommenderKind::ItemKnn
        | RecommenderKind::Ease
        | RecommenderKind::Llr
        | RecommenderKind::Cco
        | RecommenderKind::Rp3beta
        | RecommenderKind::Sequence
        | RecommenderKind::Blend => Parameters::defaults(kind),
    }
}

fn fit(interactions: &Interactions, kind: RecommenderKind) -> Artefact {
    train(interactions, &parameters(kind), 7, Provenance::default()).unwrap()
}

fn ranker(interactions: &Interactions, kind: RecommenderKind) -> Ranker {
    Ranker::new(Arc::new(fit(interactions, kind)), &fit(interactions, RecommenderKind::Popularity)).unwrap()
}

fn history(interactions: &Interactions, user: u32) -> Vec<HistoryItem> {
    interactions.history(user).iter().map(HistoryItem::from).collect()
}

/// For every kind and the first users: finite scores, nothing twice, nothing seen, as long as can be.
fn lists_are_sound(interactions: &Interactions) {
    for kind in RecommenderKind::ALL {
        let ranker = ranker(interactions, kind);
        for user in 0..interactions.user_ids().len().min(3) as u32 {
            let history = history(interactions, user);
            let list = ranker.recommend(&history, &RankRequest::new(50)).items;
            assert!(list.iter().all(|entry| entry.score.is_finite()), "{kind}");
            let items: BTreeSet<u32> = list.iter().map(|entry| entry.item).collect();
            let seen: BTreeSet<u32> = history.iter().map(|event| event.item).collect();
            assert!(items.is_disjoint(&seen) && items.len() == list.len(), "{kind}");
            assert_eq!(items.len(), (ranker.items().len() - seen.len()).min(50), "{kind}");
        }
        for item in 0..ranker.items().len().min(3) as u32 {
            let list = ranker.similar(item, &RankRequest::new(5)).items;
            assert!(list.iter().all(|entry| entry.score.is_finite() && entry.item != item), "{kind}");
        }
    }
}

#[test]
fn nothing_to_learn_from_is_an_error_with_a_next_step() {
    let (empty, _) = Interactions::from_rows([]);
    for kind in RecommenderKind::ALL {
        let error = train(&empty, &parameters(kind), 7, Provenance::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("there are no interactions to train `{kind}` from"));
        assert!(error.help().is_some_and(|help| help.contains("montauk query")));
    }
}

#[test]
fn the_smallest_interactions_train() {
    lists_are_sound(&Interactions::from_rows([row("u", "a", 1)]).0);
    lists_are_sound(&Interactions::from_rows((0..9).map(|n| row("u", &format!("i{n}"), n))).0);
    lists_are_sound(&Interactions::from_rows((0..9).map(|n| row(&format!("u{n}"), "a", n))).0);
}

#[test]
fn one_moment_for_everything_is_no_order() {
    let rows = (0..60).map(|n| row(&format!("u{}", n % 12), &format!("i{}", n * 7 % 20), 5));
    let (interactions, _) = Interactions::from_rows(rows);
    lists_are_sound(&interactions);
    let ranker = ranker(&interactions, RecommenderKind::Sequence);
    let list = ranker.recommend(&history(&interactions, 0), &RankRequest::new(5));
    assert!(list.fallback.is_some(), "nothing follows anything: popularity stands in, and the list says so");
}

#[test]
fn repeated_rows_are_one_pair() {
    let once: Vec<InteractionRow> =
        (0..40).map(|n| row(&format!("u{}", n % 9), &format!("i{}", n * 5 % 11), n)).collect();
    let (single, _) = Interactions::from_rows(once.clone());
    let (repeated, _) = Interactions::from_rows(once.iter().chain(&once).chain(&once).cloned());
    for kind in [RecommenderKind::Ease, RecommenderKind::ItemKnn, RecommenderKind::Llr, RecommenderKind::Sequence] {
        let request = RankRequest::new(10);
        // What popularity fills up counts events, and so it should.
        let of = |interactions: &Interactions| {
            let mut list = ranker(interactions, kind).recommend(&history(interactions, 1), &request).items;
            list.retain(|entry| entry.source == ItemSource::Recommender);
            list
        };
        assert_eq!(of(&single), of(&repeated), "{kind}");
    }
}

#[test]
fn weights_that_are_no_weights_come_back_with_their_reason() {
    let bad = [f32::NAN, f32::INFINITY, -1.0, 0.0, 1e30].map(|weight| InteractionRow { weight, ..row("u", "a", 1) });
    let (interactions, rejected) = Interactions::from_rows(bad.into_iter().chain([row("u", "a", 1), row("v", "b", 2)]));
    assert_eq!((interactions.events().len(), rejected.len()), (2, 5));
    lists_are_sound(&interactions);
}

#[test]
fn long_and_foreign_ids_survive_the_disk() {
    let long = "가나다".repeat(21) + "é";
    assert!(long.len() >= 64);
    let ids = [long.as_str(), "Ω≈ç√∫", "emoji-🛒", "-1", "0", "'; drop table--"];
    let rows = (0..30).map(|n| row(&format!("ü{}", n % 7), ids[n % 5], n as i64));
    let (interactions, rejected) = Interactions::from_rows(rows.chain([row("u", ids[5], 1)]));
    assert_eq!(rejected.len(), 1, "an id has no spaces");
    let root = tempfile::tempdir().unwrap();
    for kind in RecommenderKind::ALL {
        let path = fit(&interactions, kind).write(root.path()).unwrap();
        assert_eq!(Artefact::read(&path).unwrap().items(), interactions.item_ids());
    }
}

#[test]
fn a_user_with_a_hundred_thousand_events_is_one_user() {
    let heavy = (0..100_000).map(|n| row("heavy", &format!("i{}", n % 700), n));
    let others = (0..600).map(|n| row(&format!("u{}", n % 40), &format!("i{}", n * 13 % 690), n));
    lists_are_sound(&Interactions::from_rows(heavy.chain(others)).0);
}

#[test]
fn an_item_that_no_history_reaches_is_never_scored_wrongly() {
    // The heavy user's oldest items fall out of the 500 that count, and nobody else has them.
    let heavy = (0..900).map(|n| row("heavy", &format!("i{n:03}"), n));
    let others = (0..400).map(|n| row(&format!("u{}", n % 40), &format!("i{}", 500 + n * 13 % 390), n));
    lists_are_sound(&Interactions::from_rows(heavy.chain(others)).0);
}

#[test]
fn parameters_that_break_training_are_named() {
    // Items that everybody has together are one column many times: without a ridge that f32 can see, no inverse exists.
    let rows = (0..3_000).flat_map(|user| (0..8).map(move |item| row(&format!("u{user}"), &format!("i{item}"), user)));
    let (interactions, _) = Interactions::from_rows(rows);
    let tiny = Parameters::Ease(EaseParameters { lambda: 1e-30, ..Default::default() });
    let error = train(&interactions, &tiny, 7, Provenance::default()).unwrap_err();
    assert!(matches!(error, RecommendError::Diverged { .. }), "{error}");
    assert!(error.help().is_some_and(|help| help.contains("lambda")));
    let zero = Parameters::Popularity(PopularityParameters { half_life_days: Some(0.0), ..Default::default() });
    let error = train(&interactions, &zero, 7, Provenance::default()).unwrap_err();
    assert!(error.to_string().contains("`half_life_days`"), "{error}");
}
