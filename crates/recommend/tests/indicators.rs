//! Several kinds of behaviour, from outside: what they add, what they must not know, and that an artefact keeps them.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise: the panic is the report")]

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{FeedItem, ItemId, NoProgress, Provenance};
use recommend::{
    Artefact, BlendParameters, BlendPart, CcoParameters, Evaluation, Evaluator, IndicatorParameters, IndicatorRow,
    Indicators, InteractionRow, Interactions, ItemSource, NoMeter, Parameters, Protocol, ProtocolKind, RankRequest,
    Ranker, RecommenderKind, RecommenderSpec, Repeats, Thing, Window, evaluate, train,
};
use serde_json::json;

const DAY: i64 = 86_400;
const TASTES: u64 = 6;

/// A repeatable number below `limit` (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// 400 users of six tastes buy four things of 60, mostly of their taste, and look at eight of their taste and at
/// anything besides. What they buy says little, because it is so little.
fn shop() -> (Interactions, BTreeMap<String, Vec<IndicatorRow>>) {
    let mut dice = Dice(5);
    let (mut bought, mut views, mut noise) = (Vec::new(), Vec::new(), Vec::new());
    for user in 0..400 {
        let name = format!("u{user:03}");
        let of_taste = |dice: &mut Dice| format!("i{:02}", dice.below(10) * TASTES + user % TASTES);
        for purchase in 0..4i64 {
            let item = if dice.below(10) < 6 { of_taste(&mut dice) } else { format!("i{:02}", dice.below(60)) };
            let at = purchase * 20 * DAY + (user * 997 % 80_000) as i64;
            bought.push(InteractionRow { user: name.clone(), item, at, weight: 1.0, basket: None });
        }
        for step in 0..8i64 {
            let at = step * 7 * DAY;
            let row = |thing: String| IndicatorRow { user: name.clone(), thing, at, weight: 1.0 };
            views.push(row(of_taste(&mut dice)));
            noise.push(row(format!("term {}", dice.below(200))));
        }
    }
    let rows = BTreeMap::from([("view".to_owned(), views), ("noise".to_owned(), noise)]);
    (Interactions::from_rows(bought).0, rows)
}

fn with(interactions: Interactions, rows: BTreeMap<String, Vec<IndicatorRow>>) -> Interactions {
    let (indicators, rejected) = Indicators::from_rows(rows);
    assert!(rejected.is_empty());
    interactions.with_indicators(indicators)
}

fn indicator(name: &str) -> IndicatorParameters {
    IndicatorParameters { name: name.to_owned(), weight: 1.0, neighbours: None, min_llr: None }
}

fn cco(names: &[&str]) -> Parameters {
    Parameters::Cco(CcoParameters {
        indicators: names.iter().map(|name| indicator(name)).collect(),
        ..Default::default()
    })
}

fn measured(interactions: &Interactions, kind: ProtocolKind) -> Evaluation {
    let spec = |name: &str, parameters| RecommenderSpec {
        name: name.to_owned(),
        parameters,
        filter_seen: false,
        rerank: Default::default(),
    };
    let specs = [
        spec("popularity", Parameters::defaults(RecommenderKind::Popularity)),
        spec("alone", cco(&[])),
        spec("view", cco(&["view"])),
        spec("noise", cco(&["noise"])),
        spec("both", cco(&["view", "noise"])),
    ];
    let protocol = Protocol { kind, cutoffs: vec![10], resamples: 200, ..Protocol::default() };
    evaluate(interactions, &specs, "popularity", &protocol, &NoProgress).unwrap()
}

#[test]
fn an_indicator_with_a_signal_helps_and_noise_does_no_harm() {
    let (interactions, rows) = shop();
    let evaluation = measured(&with(interactions, rows), ProtocolKind::Time);
    let window = evaluation.report.window(Window::Test, Repeats::Included).unwrap();
    let recall: BTreeMap<&str, f64> =
        window.recommenders.iter().map(|result| (result.name.as_str(), result.metrics["recall@10"].value)).collect();
    // A user is found in ten of sixty by chance with .17; all of the taste would be .6 + .4 · .17.
    assert!(recall["view"] > recall["alone"] + 0.1, "{recall:?}");
    let deviation = |name: &str| {
        let result = window.recommenders.iter().find(|result| result.name == name).unwrap();
        let interval = &result.metrics["recall@10"];
        (interval.high - interval.low) / 3.92
    };
    for (with, without) in [("noise", "alone"), ("both", "view")] {
        // Unpaired, so wider than the truth: noise costs no more than two of these.
        assert!(recall[with] > recall[without] - 2.0 * deviation(without), "{recall:?}");
    }
}

/// A recommender that foretells new items knows more of them, so that ordinals differ from one ranker to the next. Things must be
/// found all the same.
#[test]
fn a_neighbour_with_new_items_changes_nothing_for_indicators() {
    let (interactions, rows) = shop();
    let interactions = with(interactions, rows);
    let new = (0..5).map(|place| format!("i{place:02}-new").parse::<ItemId>().unwrap());
    let items: Vec<FeedItem> = interactions
        .item_ids()
        .iter()
        .cloned()
        .chain(new)
        .map(|id| {
            let taste = json!(id.as_str()[1..3].parse::<u64>().unwrap() % TASTES);
            FeedItem { id, title: None, available: true, attributes: BTreeMap::from([("taste".to_owned(), taste)]) }
        })
        .collect();
    let spec = |name: &str, parameters| RecommenderSpec {
        name: name.to_owned(),
        parameters,
        filter_seen: false,
        rerank: Default::default(),
    };
    let new_items = json!({"factors": 4, "epochs": 2, "cold_items": {"attributes": ["taste"]}});
    let new_items = Parameters::resolve(RecommenderKind::Ials, &serde_json::from_value(new_items).unwrap()).unwrap();
    let specs = [
        spec("popularity", Parameters::defaults(RecommenderKind::Popularity)),
        spec("view", cco(&["view"])),
        spec("new", new_items),
    ];
    let protocol = Protocol { cutoffs: vec![10], resamples: 200, ..Protocol::default() };
    let recall = |specs: &[RecommenderSpec]| {
        let evaluator = Evaluator {
            interactions: &interactions,
            specs,
            baseline: "popularity",
            protocol: &protocol,
            items: &items,
            users: &[],
            category: None,
            segments: None,
            progress: &NoProgress,
            meter: &NoMeter,
        };
        let report = evaluator.run().unwrap().report;
        let window = report.window(Window::Test, Repeats::Included).unwrap();
        window.recommenders.iter().find(|result| result.name == "view").unwrap().metrics["recall@10"].value
    };
    assert_eq!(recall(&specs), recall(&specs[..2]));
}

/// The indicators, and beside them views of what each user takes from a moment on, then and ever after.
fn leaking(
    interactions: &Interactions,
    mut rows: BTreeMap<String, Vec<IndicatorRow>>,
    from: impl Fn(u32) -> i64,
) -> Interactions {
    let views = rows.get_mut("view").unwrap();
    for (ordinal, user) in (0u32..).zip(interactions.user_ids()) {
        for event in interactions.history(ordinal).iter().filter(|event| event.at >= from(ordinal)) {
            let item = interactions.item_ids()[event.item as usize].to_string();
            for (thing, at) in [(item.clone(), event.at), (item, event.at + DAY), ("new".to_owned(), event.at)] {
                views.push(IndicatorRow { user: user.to_string(), thing, at, weight: 9.0 });
            }
        }
    }
    with(interactions.clone(), rows)
}

fn assert_nothing_changed(honest: &Evaluation, leaked: &Evaluation) {
    for (one, other) in honest.fitted.iter().zip(&leaked.fitted) {
        assert_eq!(one.lists, other.lists, "{}", one.name);
        assert_eq!(one.artefact, other.artefact, "{}", one.name);
    }
}

#[test]
fn views_of_what_is_to_be_found_change_nothing() {
    let (interactions, rows) = shop();
    let honest = measured(&with(interactions.clone(), rows.clone()), ProtocolKind::Time);
    let cuts = honest.report.cuts.unwrap();
    let leaked = measured(&leaking(&interactions, rows.clone(), |_| cuts.test_from), ProtocolKind::Time);
    assert_nothing_changed(&honest, &leaked);
    let leaked = measured(&leaking(&interactions, rows.clone(), |_| cuts.validation_from), ProtocolKind::Time);
    let window = |evaluation: &Evaluation| {
        format!("{:?}", evaluation.report.window(Window::Validation, Repeats::Included).unwrap().recommenders)
    };
    assert_eq!(window(&honest), window(&leaked));

    // The fourth purchase is the last one, which is to be found.
    let honest = measured(&with(interactions.clone(), rows.clone()), ProtocolKind::Last);
    let last = |user| interactions.history(user)[3].at;
    assert_nothing_changed(&honest, &measured(&leaking(&interactions, rows, last), ProtocolKind::Last));
}

fn ranker(interactions: &Interactions, artefact: Artefact) -> Ranker {
    let popularity =
        train(interactions, &Parameters::defaults(RecommenderKind::Popularity), 1, Provenance::default()).unwrap();
    Ranker::new(Arc::new(artefact), &popularity).unwrap()
}

#[test]
fn an_artefact_keeps_its_things_and_a_reason_names_them() {
    let (interactions, rows) = shop();
    let interactions = with(interactions, rows);
    let artefact = train(&interactions, &cco(&["view", "noise"]), 1, Provenance::default()).unwrap();
    let root = tempfile::tempdir().unwrap();
    let path = artefact.write(root.path()).unwrap();
    let read = Artefact::read(&path).unwrap();
    assert_eq!((read.things(), read.scorer()), (interactions.indicators().things(), artefact.scorer()));
    assert_eq!(read.write(root.path()).unwrap(), path);

    let ranker = ranker(&interactions, read);
    // Somebody who has bought nothing, and looked at three things.
    let views = ["i00", "i06", "i12"].map(|thing| Thing { indicator: "view".into(), thing: thing.into() });
    let history: Vec<recommend::HistoryItem> = views
        .iter()
        .map(|thing| recommend::HistoryItem { item: ranker.thing(thing).unwrap(), weight: 1.0, at: 1 })
        .collect();
    let list = ranker.recommend(&history, &RankRequest::new(8));
    let of_taste = list.items.iter().filter(|entry| u64::from(entry.item).is_multiple_of(TASTES)).count();
    assert!(of_taste >= 7, "{list:?}");
    assert!(list.items.iter().any(|entry| entry.item == 0), "what was only viewed may be recommended");
    for entry in list.items.iter().filter(|entry| entry.source == ItemSource::Recommender) {
        assert!(entry.because.iter().all(|reason| views.contains(ranker.thing_at(reason.item).unwrap())), "{entry:?}");
        assert!(!entry.because.is_empty());
    }
    assert_eq!(ranker.thing(&Thing { indicator: "view".into(), thing: "i99".into() }), None);

    // A file that tells of other things than the model has ratios for.
    let mut things = read_things(&path);
    things.swap(0, 1);
    assert!(changed(&path, &things).contains("out of order"));
    things.swap(0, 1);
    things.pop();
    assert!(changed(&path, &things).contains("missing"));
}

fn read_things(path: &std::path::Path) -> Vec<Thing> {
    serde_json::from_slice(&std::fs::read(path.join("things.json")).unwrap()).unwrap()
}

/// What reading says when `things.json` is another, with a checksum that fits.
fn changed(path: &std::path::Path, things: &[Thing]) -> String {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let bytes = serde_json::to_vec(things).unwrap();
    std::fs::write(copy.path().join("things.json"), &bytes).unwrap();
    let header = copy.path().join("artefact.json");
    let mut said: serde_json::Value = serde_json::from_slice(&std::fs::read(&header).unwrap()).unwrap();
    said["files"]["things.json"] = serde_json::json!({"bytes": bytes.len(), "sha256": domain::hash_bytes(&bytes)});
    std::fs::write(&header, serde_json::to_vec(&said).unwrap()).unwrap();
    Artefact::read(copy.path()).unwrap_err().to_string()
}

#[test]
fn in_a_blend_the_others_do_not_see_what_they_cannot_know() {
    let (interactions, rows) = shop();
    let interactions = with(interactions, rows);
    let part = |parameters| BlendPart { weight: 0.5, parameters };
    let parts = vec![
        part(cco(&["view"])),
        part(Parameters::defaults(RecommenderKind::Ease)),
        part(Parameters::defaults(RecommenderKind::Sequence)),
        part(Parameters::defaults(RecommenderKind::Ials)),
    ];
    let artefact =
        train(&interactions, &Parameters::Blend(BlendParameters { parts }), 1, Provenance::default()).unwrap();
    let root = tempfile::tempdir().unwrap();
    let artefact = Artefact::read(&artefact.write(root.path()).unwrap()).unwrap();
    let ranker = ranker(&interactions, artefact);
    for user in interactions.user_ids().iter().take(20) {
        let history = interactions.known_of(user);
        assert!(history.iter().any(|event| event.item as usize >= ranker.items().len()));
        let list = ranker.recommend(&history, &RankRequest::new(10));
        assert!(list.items.iter().all(|entry| entry.score.is_finite()));
    }
}
