//! The room as its callers see it: rows → train → write → read → rank → evaluate, and the properties that must hold.
//!
//! In: generated interactions of two tastes.  Out: assertions.  Never here: private functions.
//! Start at [`market`].

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise: the panic is the report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{ErrorKind, ItemId, NoProgress, Problem, Provenance};
use recommend::{
    Artefact, BprParameters, FallbackReason, HistoryItem, IalsParameters, InteractionRow, Interactions, ItemSource,
    ListSource, Parameters, PopularityParameters, Protocol, RankRequest, Ranker, RecommendError, RecommenderKind,
    RecommenderSpec, Repeats, Window, evaluate, train, train_from,
};

/// Users of two tastes: each buys baskets of items mostly from their half of the catalogue, on rising days.
fn market(users: u64, items: u64, baskets: u64) -> Vec<InteractionRow> {
    let mut state = 1u64;
    let mut next = move |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut rows = Vec::new();
    for user in 0..users {
        for basket in 0..baskets {
            let at = (user % 7 + basket * 10) as i64 * 86_400;
            for _ in 0..3 {
                let half = if next(10) < 8 { user % 2 } else { next(2) };
                // The square makes some items popular.
                let rank = next(items / 2) * next(items / 2) / (items / 2);
                rows.push(InteractionRow {
                    user: format!("user-{user}"),
                    item: format!("item-{:03}", rank * 2 + half),
                    at: at + next(600) as i64,
                    weight: 1.0 + next(3) as f32,
                    basket: Some(format!("{user}-{basket}")),
                });
            }
        }
    }
    rows
}

fn interactions() -> Interactions {
    Interactions::from_rows(market(120, 60, 6)).0
}

fn parameters(kind: RecommenderKind) -> Parameters {
    match kind {
        RecommenderKind::Ials => {
            Parameters::Ials(IalsParameters { factors: 8, epochs: 4, lambda: 0.1, alpha: 0.5, ..Default::default() })
        }
        RecommenderKind::Bpr => Parameters::Bpr(BprParameters { factors: 8, epochs: 10, ..Default::default() }),
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

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn seen_and_hidden_items_are_never_returned_and_no_item_twice() {
    let interactions = interactions();
    for kind in RecommenderKind::ALL {
        let ranker = ranker(&interactions, kind);
        let hidden = ranker.item_set(ranker.items().iter().step_by(5));
        for user in 0..interactions.user_ids().len() as u32 {
            let history = history(&interactions, user);
            for limit in [1, 10, 1_000] {
                let request = RankRequest { hidden: Some(&hidden), ..RankRequest::new(limit) };
                let list = ranker.recommend(&history, &request);
                let items: BTreeSet<u32> = list.items.iter().map(|entry| entry.item).collect();
                assert_eq!(items.len(), list.items.len(), "{kind}: an item stands twice");
                assert!(history.iter().all(|event| !items.contains(&event.item)), "{kind}: a seen item is back");
                assert!(items.iter().all(|item| !hidden.contains(*item)), "{kind}: a hidden item is shown");
                let seen: BTreeSet<u32> = history.iter().map(|event| event.item).collect();
                let total = ranker.items().len() as u32;
                let allowed = (0..total).filter(|item| !seen.contains(item) && !hidden.contains(*item)).count();
                assert_eq!(items.len(), limit.min(allowed), "{kind}: the list is short");
            }
        }
    }
}

#[test]
fn a_shorter_list_is_the_beginning_of_a_longer_one() {
    let interactions = interactions();
    for kind in RecommenderKind::ALL {
        let ranker = ranker(&interactions, kind);
        let history = history(&interactions, 3);
        let long = ranker.recommend(&history, &RankRequest::new(60)).items;
        for limit in 0..60 {
            let short = ranker.recommend(&history, &RankRequest::new(limit)).items;
            assert_eq!(short[..], long[..limit.min(long.len())], "{kind} {limit}");
        }
    }
}

#[test]
fn thread_count_and_row_order_do_not_change_a_byte() {
    let rows = market(120, 60, 6);
    let train_on = |threads: usize, rows: Vec<InteractionRow>, kind| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let root = tempfile::tempdir().unwrap();
        let path = pool.install(|| fit(&Interactions::from_rows(rows).0, kind).write(root.path()).unwrap());
        (path.file_name().unwrap().to_owned(), files(&path))
    };
    for kind in RecommenderKind::ALL {
        let one = train_on(1, rows.clone(), kind);
        let reversed: Vec<InteractionRow> = rows.iter().rev().cloned().collect();
        assert_eq!(one, train_on(3, reversed, kind), "{kind}");
        assert!(one.0.to_string_lossy().starts_with(&format!("{kind}-")));
    }
}

#[test]
fn an_artefact_reads_back_equal_and_is_written_once() {
    let root = tempfile::tempdir().unwrap();
    for kind in RecommenderKind::ALL {
        let mut artefact = fit(&interactions(), kind);
        artefact.add_metric("validation.ndcg@100", 0.25);
        let path = artefact.write(root.path()).unwrap();
        let back = Artefact::read(&path).unwrap();
        assert_eq!((back.scorer(), back.items()), (artefact.scorer(), artefact.items()));
        assert_eq!(back.header().metrics["validation.ndcg@100"], 0.25);
        assert_eq!(artefact.write(root.path()).unwrap(), path, "a second write finds the first");
        assert_eq!(back.write(root.path()).unwrap(), path);
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), RecommenderKind::ALL.len(), "nothing is left aside");
}

#[test]
fn a_damaged_artefact_is_an_error_and_never_a_panic() {
    let root = tempfile::tempdir().unwrap();
    for kind in RecommenderKind::ALL {
        let path = fit(&interactions(), kind).write(root.path()).unwrap();
        for (name, bytes) in files(&path) {
            let file = path.join(&name);
            for place in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1;
                fs::write(&file, &flipped).unwrap();
                assert!(Artefact::read(&path).is_err(), "{kind} {name}: byte {place} flipped");
                fs::write(&file, &bytes[..place]).unwrap();
                assert!(Artefact::read(&path).is_err(), "{kind} {name}: cut at {place}");
            }
            fs::remove_file(&file).unwrap();
            assert!(Artefact::read(&path).is_err(), "{kind} {name}: missing");
            fs::write(&file, &bytes).unwrap();
        }
        assert!(Artefact::read(&path).is_ok());
    }
    let error = Artefact::read(&root.path().join("nothing")).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "no_such_artefact"));
}

/// Copies an artefact to a name that is not its hash, with one text in its header replaced.
fn forged(path: &Path, from: &str, to: &str) -> PathBuf {
    let copy = path.with_file_name("forged");
    fs::create_dir_all(&copy).unwrap();
    for (name, bytes) in files(path) {
        fs::write(copy.join(name), bytes).unwrap();
    }
    let header = fs::read_to_string(copy.join("artefact.json")).unwrap();
    assert!(header.contains(from), "{header}");
    fs::write(copy.join("artefact.json"), header.replace(from, to)).unwrap();
    copy
}

#[test]
fn a_header_that_does_not_fit_its_files_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let artefact = fit(&interactions(), RecommenderKind::Ials);
    let (path, items) = (artefact.write(root.path()).unwrap(), artefact.items().len());
    let verdict = |from: &str, to: &str| Artefact::read(&forged(&path, from, to)).unwrap_err().to_string();
    assert!(verdict("\"factors\": 8", "\"factors\": 9").contains(&format!("expected F32 [{items}, 9]")));
    assert!(verdict("\"kind\": \"ials\"", "\"kind\": \"ease\"").contains("is not a parameter of `ease`"));
    assert!(verdict(&format!("\"items\": {items}"), "\"items\": 7").contains("ids are missing"));
    assert!(verdict("\"format_version\": 4", "\"format_version\": 99").contains("format version 99"));
    assert!(verdict("\"epochs\": 4", "\"epochs\": -4").contains("`epochs`"));
    // Bytes and shapes are right, and yet it would recommend something else than what was evaluated.
    let said = verdict("\"lambda\": 0.1", "\"lambda\": 9.1");
    assert!(said.contains("golden query 1: item `") && said.contains("scored"), "{said}");
}

#[test]
fn fallback_says_why_and_fills_short_lists() {
    let interactions = interactions();
    let ranker_of = |kind| ranker(&interactions, kind);
    let ease = ranker_of(RecommenderKind::Ease);
    let popular = ranker_of(RecommenderKind::Popularity).recommend(&[], &RankRequest::new(5));
    assert_eq!(popular.fallback, Some(FallbackReason::RecommenderIsPopularity));

    let nobody = ease.recommend(&[], &RankRequest::new(5));
    assert_eq!((nobody.source, nobody.fallback), (ListSource::Popularity, Some(FallbackReason::NoHistory)));
    assert_eq!(nobody.items, popular.items);
    let stranger: ItemId = "of-another-shop".parse().unwrap();
    let unknown = ease.recommend(&ease.history([(&stranger, 1.0, 0)]), &RankRequest::new(5));
    assert_eq!((unknown.source, unknown.fallback), (ListSource::Popularity, Some(FallbackReason::NoKnownItem)));

    let personal = ease.recommend(&history(&interactions, 0), &RankRequest::new(5));
    assert_eq!((personal.source, personal.fallback), (ListSource::Personal, None));
    assert!(personal.items.iter().all(|entry| entry.source == ItemSource::Recommender && !entry.because.is_empty()));

    // One neighbour per item, and a history of one: the recommender runs out of candidates.
    let narrow =
        Parameters::resolve(RecommenderKind::ItemKnn, &[("neighbours".to_owned(), 1.into())].into_iter().collect());
    let artefact = train(&interactions, &narrow.unwrap(), 0, Provenance::default()).unwrap();
    let knn = Ranker::new(Arc::new(artefact), &fit(&interactions, RecommenderKind::Popularity)).unwrap();
    let list = knn.recommend(&history(&interactions, 0)[..4], &RankRequest::new(20));
    let recommended = list.items.iter().take_while(|entry| entry.source == ItemSource::Recommender).count();
    assert!(recommended > 0 && recommended < 20, "{recommended}");
    assert!(list.items[recommended..].iter().all(|entry| entry.source == ItemSource::Popularity));
    assert_eq!((list.items.len(), list.fallback), (20, Some(FallbackReason::TooFewCandidates)));
}

#[test]
fn only_a_popularity_artefact_is_a_fallback() {
    let ease = fit(&interactions(), RecommenderKind::Ease);
    let error = Ranker::new(Arc::new(ease.clone()), &ease).unwrap_err();
    assert!(matches!(error, RecommendError::NotAFallback { kind: RecommenderKind::Ease }));
}

#[test]
fn reasons_name_items_of_the_history_and_shares_stay_below_one() {
    let interactions = interactions();
    for kind in [RecommenderKind::ItemKnn, RecommenderKind::Ease, RecommenderKind::Ials] {
        let ranker = ranker(&interactions, kind);
        for user in 0..20 {
            let history = history(&interactions, user);
            for entry in ranker.recommend(&history, &RankRequest::new(5)).items {
                assert!(entry.because.len() <= 3 && !entry.because.is_empty(), "{kind}");
                assert!(entry.because.iter().all(|reason| history.iter().any(|event| event.item == reason.item)));
                assert!(entry.because.windows(2).all(|pair| pair[0].share >= pair[1].share));
                assert!(entry.because.iter().map(|reason| reason.share).sum::<f32>() <= 1.0001, "{kind}");
            }
        }
    }
}

#[test]
fn similar_items_are_of_the_same_taste_and_never_the_item_itself() {
    let interactions = interactions();
    for kind in [RecommenderKind::ItemKnn, RecommenderKind::Ease, RecommenderKind::Ials] {
        let ranker = ranker(&interactions, kind);
        let list = ranker.similar(0, &RankRequest::new(5));
        assert_eq!(list.source, ListSource::Personal, "{kind}");
        let taste = |item: u32| ranker.items()[item as usize].as_str().bytes().last().map(|digit| digit % 2);
        let same_taste = list.items.iter().filter(|entry| taste(entry.item) == taste(0)).count();
        assert!(same_taste >= 4 && list.items.iter().all(|entry| entry.item != 0), "{kind}: {list:?}");
        assert_eq!(ranker.similar(u32::MAX, &RankRequest::new(5)).source, ListSource::Popularity);
    }
    let popular = ranker(&interactions, RecommenderKind::Popularity).similar(0, &RankRequest::new(5));
    assert_eq!(popular.fallback, Some(FallbackReason::RecommenderIsPopularity));
}

#[test]
fn equal_scores_are_ordered_by_id() {
    let rows = ["c", "a", "d", "b"].map(|item| InteractionRow {
        user: format!("u-{item}"),
        item: item.into(),
        at: 0,
        weight: 1.0,
        basket: None,
    });
    let ranker = ranker(&Interactions::from_rows(rows).0, RecommenderKind::Popularity);
    let list = ranker.recommend(&[], &RankRequest::new(9));
    let ids: Vec<&str> = list.items.iter().map(|entry| ranker.items()[entry.item as usize].as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
}

#[test]
fn nothing_to_train_from_is_an_error_and_one_row_is_enough() {
    let row = InteractionRow { user: "u".into(), item: "i".into(), at: 1, weight: 1.0, basket: None };
    let one = Interactions::from_rows([row]).0;
    let none = Interactions::from_rows([]).0;
    for kind in RecommenderKind::ALL {
        let error = train(&none, &parameters(kind), 0, Provenance::default()).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "no_interactions"), "{kind}");
        let ranker = ranker(&one, kind);
        assert!(ranker.recommend(&history(&one, 0), &RankRequest::new(3)).items.is_empty(), "{kind}: all is seen");
        assert_eq!(ranker.recommend(&[], &RankRequest::new(3)).items.len(), 1, "{kind}");
    }
}

fn specs() -> Vec<RecommenderSpec> {
    RecommenderKind::ALL
        .map(|kind| RecommenderSpec {
            name: kind.to_string(),
            parameters: parameters(kind),
            filter_seen: true,
            rerank: Default::default(),
        })
        .into()
}

#[test]
fn what_is_evaluated_is_what_an_artefact_read_from_disk_serves() {
    let interactions = interactions();
    let protocol = Protocol { resamples: 50, ..Protocol::default() };
    let evaluation = evaluate(&interactions, &specs(), "popularity", &protocol, &NoProgress).unwrap();
    let root = tempfile::tempdir().unwrap();
    let kept = |place: usize| Artefact::read(&evaluation.fitted[place].artefact.write(root.path()).unwrap()).unwrap();
    let fallback = kept(0);
    for (place, fitted) in evaluation.fitted.iter().enumerate() {
        let served = Ranker::new(Arc::new(kept(place)), &fallback).unwrap();
        assert!(!fitted.lists.is_empty());
        for (user, evaluated) in &fitted.lists {
            let history = history(&evaluation.known, evaluation.known.user_ordinal(user).unwrap());
            let list = served.recommend(&history, &RankRequest::new(10));
            let ids: Vec<ItemId> = list.items.iter().map(|entry| served.items()[entry.item as usize].clone()).collect();
            assert_eq!(ids[..], evaluated[..ids.len()], "{} {user}", fitted.name);
        }
    }
}

#[test]
fn an_evaluation_reports_both_windows_beside_the_baseline_and_repeats_itself() {
    let interactions = interactions();
    let protocol = Protocol { cutoffs: vec![5, 10], resamples: 100, ..Protocol::default() };
    let evaluation = evaluate(&interactions, &specs(), "popularity", &protocol, &NoProgress).unwrap();
    let report = &evaluation.report;
    let events = interactions.events().len();
    assert_eq!(report.train_events + report.validation_events + report.test_events, events);
    let windows: Vec<_> = report.windows.iter().map(|window| (window.window, window.repeats)).collect();
    let expected =
        [Window::Validation, Window::Test].map(|window| [(window, Repeats::Excluded), (window, Repeats::Included)]);
    assert_eq!(windows, expected.concat());
    for window in &report.windows {
        let [popularity, others @ ..] = &window.recommenders[..] else { panic!("no recommenders") };
        assert!(popularity.differences.is_empty() && window.users > 0);
        for result in others {
            let (own, base) = (result.metrics["ndcg@10"], popularity.metrics["ndcg@10"]);
            let difference = result.differences["ndcg@10"];
            assert!((own.value - base.value - difference.value).abs() < 1e-12, "{}", result.name);
            assert!(own.low <= own.value && own.value <= own.high);
            assert!(result.list_metrics["coverage@10"] >= popularity.list_metrics["coverage@10"], "{}", result.name);
        }
    }
    let text = serde_json::to_string(report).unwrap();
    let again = evaluate(&interactions, &specs(), "popularity", &protocol, &NoProgress).unwrap();
    assert_eq!(serde_json::to_string(&again.report).unwrap(), text);
    assert!(serde_json::from_str::<recommend::EvaluationReport>(&text).is_ok());

    let decision = evaluation.promotion("ease", &["popularity", "item_knn"]).unwrap();
    assert!(decision.guard.is_some() && decision.reason.contains("ndcg@100"), "{}", decision.reason);
    assert!(evaluation.promotion("popularity", &["popularity"]).unwrap().promote);
    assert!(evaluation.promotion("svd", &[]).is_err());
}

#[test]
fn an_evaluation_that_cannot_be_done_says_why() {
    let verdict = |interactions: &Interactions, specs: &[RecommenderSpec], baseline: &str, protocol: &Protocol| {
        evaluate(interactions, specs, baseline, protocol, &NoProgress).unwrap_err().code()
    };
    let (all, protocol) = (interactions(), Protocol::default());
    let none = Interactions::from_rows([]).0;
    assert_eq!(verdict(&none, &specs(), "popularity", &protocol), "nothing_to_evaluate");
    assert_eq!(verdict(&all, &specs(), "best", &protocol), "no_such_recommender");
    assert_eq!(verdict(&all, &specs(), "ease", &protocol), "not_a_fallback");
    assert_eq!(verdict(&all, &[specs(), specs()].concat(), "popularity", &protocol), "duplicate_recommender");
    let bad = Protocol { cutoffs: vec![0], ..Protocol::default() };
    assert_eq!(verdict(&all, &specs(), "popularity", &bad), "bad_evaluation_option");
    // Everybody comes once: nobody is known before the test window.
    let once = (0..50).map(|user| InteractionRow {
        user: format!("u{user}"),
        item: "i".into(),
        at: user,
        weight: 1.0,
        basket: None,
    });
    assert_eq!(verdict(&Interactions::from_rows(once).0, &specs(), "popularity", &protocol), "nothing_to_evaluate");
}

#[test]
fn recommenders_learn_the_two_tastes_better_than_popularity() {
    let interactions = Interactions::from_rows(market(400, 60, 6)).0;
    let mut specs = specs();
    specs[0].parameters =
        Parameters::Popularity(PopularityParameters { half_life_days: Some(30.0), ..Default::default() });
    let protocol = Protocol { resamples: 200, ..Protocol::default() };
    let evaluation = evaluate(&interactions, &specs, "popularity", &protocol, &NoProgress).unwrap();
    let test = evaluation
        .report
        .windows
        .iter()
        .find(|window| (window.window, window.repeats) == (Window::Test, Repeats::Included))
        .unwrap();
    for result in &test.recommenders[1..] {
        assert!(result.differences["ndcg@20"].low > 0.0, "{}: {:?}", result.name, result.differences["ndcg@20"]);
    }
}

#[test]
fn training_goes_on_from_an_earlier_artefact_by_the_ids_of_items() {
    let earlier_data = interactions();
    let parameters =
        |epochs| Parameters::Ials(IalsParameters { factors: 8, epochs, lambda: 0.1, alpha: 0.5, ..Default::default() });
    let earlier = train(&earlier_data, &parameters(40), 7, Provenance::default()).unwrap();
    // A new item whose id comes first: every ordinal moves by one.
    let mut rows = market(120, 60, 6);
    let newest = InteractionRow { item: "a-new-item".into(), ..rows[0].clone() };
    rows.push(newest);
    let later = Interactions::from_rows(rows).0;
    let popularity = fit(&later, RecommenderKind::Popularity);
    let lists = |artefact: Artefact, data: &Interactions, fallback: &Artefact| -> Vec<BTreeSet<ItemId>> {
        let ranker = Ranker::new(Arc::new(artefact), fallback).unwrap();
        (0..100)
            .map(|user| {
                let list = ranker.recommend(&history(data, user), &RankRequest::new(10));
                list.items.iter().map(|entry| ranker.items()[entry.item as usize].clone()).collect()
            })
            .collect()
    };
    let before = lists(earlier.clone(), &earlier_data, &fit(&earlier_data, RecommenderKind::Popularity));
    let kept = |artefact: Artefact| {
        let after = lists(artefact, &later, &popularity);
        before.iter().zip(&after).map(|(before, after)| before.intersection(after).count()).sum::<usize>()
    };
    let warm = |earlier: &Artefact, seed| {
        train_from(&later, &parameters(1), seed, Provenance::default(), Some(earlier)).unwrap()
    };
    let (warm_kept, cold_kept) =
        (kept(warm(&earlier, 1)), kept(train(&later, &parameters(1), 1, Provenance::default()).unwrap()));
    assert!(warm_kept > 970 && warm_kept > cold_kept, "of 1,000 recommended items {warm_kept} stay, cold {cold_kept}");
    let other_kind = warm(&popularity, 1);
    assert_eq!(other_kind, train(&later, &parameters(1), 1, Provenance::default()).unwrap(), "of no use, not used");
}
