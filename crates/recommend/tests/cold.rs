//! Who and what is new, as callers see it: lists of segments, new items, users without a history.
//!
//! In: a market of two tastes whose items and users say which taste they have.  Out: assertions.
//! Never here: private functions, the closed form (see `cold::ridge`).
//! Start at [`market`].

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise: the panic is the report")]

use std::sync::Arc;

use domain::{FeedItem, FeedUser, NoProgress, Profile, Provenance};
use recommend::{
    Artefact, Attributes, BprParameters, ContentParameters, Evaluation, Evaluator, FallbackReason, HistoryItem,
    IalsParameters, InteractionRow, Interactions, ItemSource, ListSource, NoMeter, Parameters, PopularityParameters,
    Protocol, RankRequest, Ranker, RecommenderKind, RecommenderSpec, Repeats, Slice, Window, train, train_with,
};
use serde_json::{Value, json};

const ITEMS: u64 = 60;

struct Market {
    interactions: Interactions,
    items: Vec<FeedItem>,
    users: Vec<FeedUser>,
}

impl Market {
    fn attributes(&self) -> Attributes<'_> {
        Attributes { items: &self.items, users: &self.users }
    }
}

fn taste(number: u64) -> &'static str {
    if number.is_multiple_of(2) { "sweet" } else { "salty" }
}

fn profile(name: &str, value: Value) -> Profile {
    [(name.to_owned(), value)].into()
}

/// 160 users buy mostly from the half of the catalogue that is their taste. Every tenth item appears in the last basket only; items 60 and
/// 61 are on the shelf and nobody has bought them. The users table has two who have not bought anything.
fn market() -> Market {
    let mut state = 1u64;
    let mut next = move |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut rows = Vec::new();
    for user in 0..160 {
        // A few come for the first time when it is late.
        for basket in if user % 20 == 19 { 9..10 } else { 0..10 } {
            for _ in 0..4 {
                let half = if next(10) < 9 { user % 2 } else { next(2) };
                let mut item = next(ITEMS / 2) * 2 + half;
                if item % 20 < 2 && basket < 9 {
                    item += 2;
                }
                rows.push(InteractionRow {
                    user: format!("user-{user:03}"),
                    item: format!("item-{item:02}"),
                    at: (basket * 10 + user % 7) as i64 * 86_400 + next(600) as i64,
                    weight: 1.0,
                    basket: Some(format!("{user}-{basket}")),
                });
            }
        }
    }
    let item = |number: u64| FeedItem {
        id: format!("item-{number:02}").parse().unwrap(),
        title: Some(format!("A {} thing", taste(number))),
        available: true,
        attributes: profile("taste", taste(number).into()),
    };
    let user = |number: u64| FeedUser {
        id: format!("user-{number:03}").parse().unwrap(),
        attributes: profile("taste", taste(number).into()),
    };
    Market {
        interactions: Interactions::from_rows(rows).0,
        items: (0..ITEMS + 2).map(item).collect(),
        users: (0..162).map(user).collect(),
    }
}

fn content(attributes: &[&str], words: &[&str]) -> Option<ContentParameters> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Some(ContentParameters { attributes: owned(attributes), words: owned(words), ..Default::default() })
}

fn ials(cold_items: Option<ContentParameters>, cold_users: Option<ContentParameters>) -> Parameters {
    let ials = IalsParameters { factors: 8, epochs: 6, lambda: 0.1, alpha: 0.5, ..Default::default() };
    Parameters::Ials(IalsParameters { cold_items, cold_users, ..ials })
}

fn bpr(cold_items: Option<ContentParameters>, cold_users: Option<ContentParameters>) -> Parameters {
    Parameters::Bpr(BprParameters { factors: 8, epochs: 20, cold_items, cold_users, ..Default::default() })
}

fn by_segment() -> Parameters {
    Parameters::Popularity(PopularityParameters { segment: Some("taste".into()), ..Default::default() })
}

fn fit(market: &Market, parameters: &Parameters) -> Artefact {
    train_with(&market.interactions, &market.attributes(), parameters, 7, Provenance::default()).unwrap()
}

/// As it is after it was written and read.
fn kept(artefact: &Artefact) -> Artefact {
    let temp = tempfile::tempdir().unwrap();
    Artefact::read(&artefact.write(temp.path()).unwrap()).unwrap()
}

fn ranker(market: &Market, parameters: &Parameters) -> Ranker {
    Ranker::new(Arc::new(kept(&fit(market, parameters))), &kept(&fit(market, &by_segment()))).unwrap()
}

fn tastes(ranker: &Ranker, list: &recommend::RankedList) -> Vec<&'static str> {
    let number = |item: u32| ranker.items()[item as usize].as_str()[5..].parse().unwrap();
    list.items.iter().map(|entry| taste(number(entry.item))).collect()
}

#[test]
fn a_user_without_a_history_gets_the_list_of_the_segment_and_is_told_so() {
    let market = market();
    let ranker = ranker(&market, &Parameters::defaults(RecommenderKind::Ease));
    assert_eq!(ranker.profile_columns(), ["taste"]);
    let list = |value: Value| {
        let profile = profile("taste", value);
        ranker.recommend(&[], &RankRequest { profile: Some(&profile), ..RankRequest::new(10) })
    };
    for half in ["sweet", "salty"] {
        let list = list(half.into());
        assert_eq!((list.source, list.fallback), (ListSource::Segment, Some(FallbackReason::NoHistory)));
        assert!(list.items.iter().all(|entry| entry.source == ItemSource::Segment));
        assert_eq!(tastes(&ranker, &list), [half; 10]);
    }
    let nobody = ranker.recommend(&[], &RankRequest::new(10));
    assert_eq!((nobody.source, nobody.fallback), (ListSource::Popularity, Some(FallbackReason::NoHistory)));
    let unknown = list("bitter".into());
    assert_eq!((unknown.source, unknown.fallback), (ListSource::Popularity, Some(FallbackReason::UnknownSegment)));
    assert_eq!(unknown.items, nobody.items);
    assert_eq!(list(Value::Null).fallback, Some(FallbackReason::NoHistory));
}

#[test]
fn new_items_are_recommended_and_like_others_and_known_users_stay_as_they_are() {
    let market = market();
    for (plain, with) in [
        (ials(None, None), ials(content(&["taste"], &[]), None)),
        (bpr(None, None), bpr(content(&[], &["title"]), None)),
    ] {
        let (plain, grown) = (ranker(&market, &plain), ranker(&market, &with));
        assert_eq!((plain.items().len(), grown.items().len()), (60, 62), "{:?}", plain.artefact().kind());
        let figures = &grown.artefact().header().metrics;
        assert_eq!(figures["cold_items.items"], 2.0);
        assert!(figures["cold_items.explained"] > 0.3, "{figures:?}");
        // item-60 is sweet: so is all that it is like, and it stands before what is salty.
        let new = grown.ordinal(&"item-60".parse().unwrap()).unwrap();
        let alike = grown.similar(new, &RankRequest::new(10));
        assert_eq!((alike.source, tastes(&grown, &alike)), (ListSource::Personal, vec!["sweet"; 10]));
        for user in [0, 1, 2, 3] {
            let history = |ranker: &Ranker| -> Vec<HistoryItem> {
                let ids = market.interactions.item_ids();
                let events = market.interactions.history(user).iter();
                ranker.history(events.map(|event| (&ids[event.item as usize], event.weight, event.at)))
            };
            let everything = RankRequest { exclude_seen: false, reasons: 0, ..RankRequest::new(100) };
            let (before, after) =
                (plain.recommend(&history(&plain), &everything), grown.recommend(&history(&grown), &everything));
            let scores = |ranker: &Ranker, list: &recommend::RankedList| -> Vec<(String, f32)> {
                let named = |item: u32| ranker.items()[item as usize].to_string();
                list.items.iter().map(|entry| (named(entry.item), entry.score)).collect()
            };
            let after = scores(&grown, &after);
            let place = after.iter().position(|(id, _)| id == "item-60").unwrap();
            assert_eq!(place < 31, user % 2 == 0, "user {user}: place {place}");
            let known: Vec<_> = after.into_iter().filter(|(id, _)| id.as_str() < "item-60").collect();
            assert_eq!(known, scores(&plain, &before), "user {user}: known items have the scores that they had");
        }
    }
}

#[test]
fn a_user_without_a_history_begins_at_the_profile_and_a_history_wins() {
    let market = market();
    for parameters in [ials(None, content(&["taste"], &[])), bpr(None, content(&["taste"], &[]))] {
        let ranker = ranker(&market, &parameters);
        let sweet = profile("taste", "sweet".into());
        let request = RankRequest { profile: Some(&sweet), ..RankRequest::new(10) };
        let list = ranker.recommend(&[], &request);
        assert_eq!((list.source, list.fallback), (ListSource::Profile, Some(FallbackReason::NoHistory)));
        assert_eq!(tastes(&ranker, &list), ["sweet"; 10], "{:?}", ranker.artefact().kind());
        assert!(list.items.iter().all(|entry| entry.source == ItemSource::Recommender && entry.because.is_empty()));
        let why = ranker.why_not(&[], &request, list.items[2].item);
        assert_eq!((why.stage, why.rank), (recommend::Stage::Listed, Some(3)));
        // One event: the profile says nothing any more.
        let history: Vec<HistoryItem> = market.interactions.history(1)[..1].iter().map(HistoryItem::from).collect();
        let plain = RankRequest { profile: None, ..request };
        assert_eq!(ranker.recommend(&history, &request), ranker.recommend(&history, &plain));
        // Nothing of the profile is known: the fallback.
        let bitter = profile("taste", "bitter".into());
        let unknown = ranker.recommend(&[], &RankRequest { profile: Some(&bitter), ..RankRequest::new(5) });
        assert_eq!(unknown.source, ListSource::Popularity);
    }
}

fn evaluate(market: &Market, specs: &[(&str, Parameters)]) -> Evaluation {
    let spec = |(name, parameters): &(&str, Parameters)| RecommenderSpec {
        name: (*name).to_owned(),
        parameters: parameters.clone(),
        filter_seen: true,
        rerank: Default::default(),
    };
    let specs: Vec<RecommenderSpec> = specs.iter().map(spec).collect();
    let protocol = Protocol { resamples: 50, ..Protocol::default() };
    let evaluator = Evaluator {
        interactions: &market.interactions,
        specs: &specs,
        baseline: "popularity",
        protocol: &protocol,
        items: &market.items,
        users: &market.users,
        category: Some("taste"),
        segments: None,
        progress: &NoProgress,
        meter: &NoMeter,
    };
    evaluator.run().unwrap()
}

#[test]
fn an_evaluation_finds_new_items_by_content_alone_and_new_users_by_segment() {
    let market = market();
    let evaluation = evaluate(
        &market,
        &[
            ("popularity", Parameters::defaults(RecommenderKind::Popularity)),
            ("segments", by_segment()),
            ("plain", ials(None, None)),
            ("content", ials(content(&["taste"], &[]), content(&["taste"], &[]))),
        ],
    );
    let window = evaluation.report.window(Window::Test, Repeats::Excluded).unwrap();
    let slice = |recommender: &str, name: &str| -> Slice {
        let slices = &window.recommender(recommender).unwrap().slices;
        slices.iter().find(|slice| slice.name == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    let found = |recommender: &str, name: &str| slice(recommender, name).metrics["recall@20"];
    assert!(slice("content", "new_items").users > 20 && window.cold_items == 0);
    assert_eq!(found("plain", "new_items"), 0.0, "no recommender finds what it does not know");
    // 6 of the 20 best of 30 sweet items by chance: 0.67 of them without popularity, less with it.
    assert!(found("content", "new_items") > 0.2, "{:?}", slice("content", "new_items"));
    assert!(window.train_items < window_items(&evaluation));
    assert!(slice("plain", "cold_users").users > 0);
    // The segment of the baseline's own users: `segments` is no baseline here, so its own lists are everybody's … and `content` knows.
    assert!(found("content", "cold_users") > found("popularity", "cold_users"));
    assert!(slice("plain", "category:sweet").users > 20 && slice("plain", "category:salty").users > 20);
    // Every held-out item of a warm user is in exactly one category, so no user is in neither.
    let (sweet, salty) = (slice("plain", "category:sweet").users, slice("plain", "category:salty").users);
    assert!(sweet.max(salty) <= window.users && sweet + salty >= window.users);
}

fn window_items(evaluation: &Evaluation) -> usize {
    evaluation.known.item_ids().len()
}

#[test]
fn what_is_evaluated_is_what_the_written_artefact_lists() {
    let market = market();
    let (items, users) = (content(&["taste"], &["title"]), content(&["taste"], &[]));
    let evaluation = evaluate(&market, &[("popularity", by_segment()), ("content", ials(items, users))]);
    let popularity = kept(&evaluation.fitted[0].artefact);
    let fitted = &evaluation.fitted[1];
    let ranker = Ranker::new(Arc::new(kept(&fitted.artefact)), &popularity).unwrap();
    let known = &evaluation.known;
    let (mut new, mut cold) = (0, 0);
    for (user, expected) in fitted.lists.iter().chain(&fitted.cold_lists) {
        let ordinal = known.user_ordinal(user);
        let events = ordinal.map(|ordinal| known.history(ordinal)).unwrap_or_default();
        let ids = known.item_ids();
        let history = ranker.history(events.iter().map(|event| (&ids[event.item as usize], event.weight, event.at)));
        let profile = market.users.iter().find(|other| other.id == *user).map(|user| &user.attributes);
        let list = ranker.recommend(&history, &RankRequest { profile, ..RankRequest::new(100) });
        let list: Vec<_> = list.items.iter().map(|entry| ranker.items()[entry.item as usize].clone()).collect();
        assert_eq!(list, *expected, "{user}");
        let counts = ranker.artefact().items();
        new += usize::from(
            expected.iter().take(20).any(|id| known.events().iter().all(|e| counts[e.item as usize] != *id)),
        );
        cold += usize::from(history.is_empty());
    }
    assert!(new > 20 && cold > 2, "{new} lists with new items, {cold} users without a history");
}

#[test]
fn a_column_that_says_nothing_is_refused_by_name() {
    let market = market();
    let refused = |parameters: Parameters| {
        let attributes = market.attributes();
        let outcome = parameters
            .validate()
            .and_then(|()| train_with(&market.interactions, &attributes, &parameters, 7, Provenance::default()));
        outcome.unwrap_err().to_string()
    };
    assert_eq!(
        refused(ials(content(&["colour"], &[]), None)),
        "parameter `cold_items` of `ials` is `colour`, but must be a column with values in the `items` table of the file"
    );
    assert!(refused(bpr(None, content(&["age"], &[]))).contains("`cold_users` of `bpr` is `age`"));
    assert!(refused(ials(content(&[], &[]), None)).contains("a table with `attributes` or `words`"));
    let few = ContentParameters { min_events: Some(3), ..content(&["taste"], &[]).unwrap() };
    assert!(refused(ials(None, Some(few))).contains("`min_events`"));
    let wanted = json!({"prior_events": 5});
    let given = serde_json::from_value(wanted).unwrap();
    let error = Parameters::resolve(RecommenderKind::Popularity, &given).unwrap_err().to_string();
    assert!(error.contains("absent unless `segment` is set"), "{error}");
    let parts = json!({"parts": [{"kind": "ials", "parameters": {"cold_items": {"attributes": ["taste"]}}}]});
    let error = Parameters::resolve(RecommenderKind::Blend, &serde_json::from_value(parts).unwrap()).unwrap_err();
    assert!(error.to_string().contains("without `cold_items`"), "{error}");
    // Without attributes nothing is asked of them.
    assert!(train(&market.interactions, &by_segment(), 7, Provenance::default()).is_err());
}
