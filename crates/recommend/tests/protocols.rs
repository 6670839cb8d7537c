//! The three protocols on real purchases: four months of Online Retail (Chen 2015), the example's own data.
//!
//! In: `examples/retail/data`.  Out: assertions on whole evaluations.  Never here: private functions.
//! Start at [`purchases`].

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise: the panic is the report")]

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use domain::{NoProgress, UserId};
use recommend::{
    Evaluation, EvaluationReport, Evaluator, InteractionRow, Interactions, Meter, NoMeter, Parameters, Protocol,
    ProtocolKind, RecommenderKind, RecommenderSpec, Repeats, Segments, Usage, Window, WindowReport,
};

/// Sold lines with a customer, September to December 2011: user, item, second, invoice; and each user's country.
fn purchases() -> &'static (Interactions, Segments) {
    static PURCHASES: OnceLock<(Interactions, Segments)> = OnceLock::new();
    PURCHASES.get_or_init(|| {
        let (mut rows, mut countries) = (Vec::new(), Vec::new());
        for month in ["2011-09", "2011-10", "2011-11", "2011-12"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../examples/retail/data/{month}.csv.gz"));
            let mut text = String::new();
            flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
            for line in text.lines().skip(1) {
                // Only the description, in the middle, may hold commas.
                let (front, back) = (line.splitn(3, ',').collect::<Vec<_>>(), line.rsplitn(6, ',').collect::<Vec<_>>());
                let ([invoice, item, _], [country, user, _, time, quantity, _]) = (&front[..], &back[..]) else {
                    panic!("{line}");
                };
                // Without a customer, cancelled, taken back, or no product (`BANK CHARGES`).
                if user.is_empty() || invoice.starts_with('C') || quantity.starts_with('-') || item.contains(' ') {
                    continue;
                }
                countries.push((user.parse::<UserId>().unwrap(), (*country).to_owned()));
                rows.push(InteractionRow {
                    user: (*user).to_owned(),
                    item: (*item).to_owned(),
                    at: seconds(time),
                    weight: 1.0,
                    basket: Some((*invoice).to_owned()),
                });
            }
        }
        let (interactions, rejected) = Interactions::from_rows(rows);
        assert!(rejected.is_empty());
        (interactions, Segments::new(countries))
    })
}

/// `2011-11-01 08:16:00` in seconds that rise with time; months are all counted as 31 days, which keeps the order.
fn seconds(time: &str) -> i64 {
    let numbers: Vec<i64> = time.split(['-', ' ', ':']).map(|number| number.parse().unwrap()).collect();
    let [year, month, day, hour, minute, second] = numbers[..] else { panic!("{time}") };
    ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60 + second
}

fn evaluation(kind: ProtocolKind, meter: &dyn Meter) -> Evaluation {
    let spec = |kind: RecommenderKind| RecommenderSpec {
        name: kind.to_string(),
        parameters: Parameters::defaults(kind),
        filter_seen: true,
        rerank: Default::default(),
    };
    let specs = [RecommenderKind::Popularity, RecommenderKind::ItemKnn].map(spec);
    let protocol = Protocol { kind, resamples: 200, cutoffs: vec![10, 20], ..Protocol::default() };
    let (interactions, segments) = purchases();
    Evaluator {
        items: &[],
        users: &[],
        category: None,
        interactions,
        specs: &specs,
        baseline: "popularity",
        protocol: &protocol,
        segments: Some(segments),
        progress: &NoProgress,
        meter,
    }
    .run()
    .unwrap()
}

fn test_window(report: &EvaluationReport) -> &WindowReport {
    report.window(Window::Test, Repeats::Excluded).unwrap()
}

#[test]
fn every_protocol_finds_neighbours_better_than_popularity_and_is_sure_of_it() {
    for kind in ProtocolKind::ALL {
        let evaluation = evaluation(kind, &NoMeter);
        let report = &evaluation.report;
        assert_eq!(report.explanation, kind.explanation());
        assert_eq!(report.cuts.is_some(), kind == ProtocolKind::Time);
        let events = report.train_events + report.validation_events + report.test_events;
        assert_eq!((events, report.data.events), (purchases().0.events().len(), events), "{kind}");
        for window in &report.windows {
            assert!(window.users > 100, "{kind} {:?}: {} users", window.window, window.users);
            assert_eq!(window.cold_users > 0, kind == ProtocolKind::Time, "{kind}");
        }
        let window = test_window(report);
        let metrics: Vec<&str> = window.pairs.iter().map(|pair| pair.metric.as_str()).collect();
        assert_eq!(metrics, ["ndcg@100", "recall@20", "ndcg@10", "hit_rate@10"]);
        for pair in &window.pairs {
            assert_eq!((pair.one.as_str(), pair.other.as_str()), ("popularity", "item_knn"));
            assert!(pair.difference.high < 0.0, "{kind} {pair:?}");
            assert!(pair.p < 0.01 && pair.p_adjusted == pair.p, "{kind}: one pair has nothing to adjust: {pair:?}");
            let difference = window.recommenders[1].differences[&pair.metric];
            assert!((difference.value + pair.difference.value).abs() < 1e-12, "{kind}: seen from the other side");
        }
    }
}

#[test]
fn threads_do_not_change_a_digit() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| serde_json::to_string(&evaluation(ProtocolKind::Strong, &NoMeter).report).unwrap())
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn strong_trains_once_without_the_users_it_measures() {
    let evaluation = evaluation(ProtocolKind::Strong, &NoMeter);
    let windows = &evaluation.report.windows;
    assert!(windows.iter().all(|window| window.train_users == windows[0].train_users));
    for (user, _) in &evaluation.fitted[1].lists {
        assert!(evaluation.known.user_ordinal(user).is_none(), "{user} was trained on");
    }
}

#[test]
fn lists_of_popularity_are_plain_and_those_of_neighbours_wide() {
    let evaluation = evaluation(ProtocolKind::Last, &NoMeter);
    let [popularity, neighbours] = &test_window(&evaluation.report).recommenders[..] else { panic!("two") };
    let of = |name: &str| (popularity.list_metrics[name], neighbours.list_metrics[name]);
    for k in [10, 20] {
        let (plain, wide) = of(&format!("coverage@{k}"));
        assert!(plain < wide && wide <= 1.0, "coverage: {plain} {wide}");
        let (plain, wide) = of(&format!("gini@{k}"));
        assert!(plain > wide && plain < 1.0 && wide > 0.0, "gini: {plain} {wide}");
        let (plain, wide) = of(&format!("novelty@{k}"));
        assert!(plain < wide && plain > 0.0, "novelty: {plain} {wide}");
        let (plain, wide) = of(&format!("popularity_lift@{k}"));
        assert!(plain > wide && wide > 1.0, "popularity lift: {plain} {wide}");
        let (plain, wide) = of(&format!("intra_list_diversity@{k}"));
        assert!((0.0..=1.0).contains(&plain) && (0.0..=1.0).contains(&wide), "diversity: {plain} {wide}");
    }
}

#[test]
fn segments_share_out_the_users_with_a_history() {
    let evaluation = evaluation(ProtocolKind::Time, &NoMeter);
    let window = test_window(&evaluation.report);
    let result = &window.recommenders[1];
    let segments: Vec<_> = result.slices.iter().filter(|slice| slice.name.starts_with("segment:")).collect();
    assert_eq!((segments.len(), segments[0].name.as_str()), (11, "segment:United Kingdom"));
    assert_eq!(segments[10].name, "segment:other");
    assert_eq!(segments.iter().map(|slice| slice.users).sum::<usize>(), window.users);
    for slice in &result.slices {
        assert_eq!((slice.guard.is_some(), slice.metrics.is_empty()), (slice.users > 0, slice.users == 0));
        if let Some(guard) = slice.guard {
            assert_eq!(guard.value, slice.metrics["ndcg@100"], "{}", slice.name);
            assert!(guard.low <= guard.value && guard.value <= guard.high, "{}", slice.name);
        }
    }
}

#[test]
fn what_it_costs_is_asked_of_the_meter() {
    struct Plain;
    impl Meter for Plain {
        fn begin(&self) {}

        fn used(&self) -> Usage {
            Usage { cpu_seconds: Some(1.5), peak_memory_bytes: Some(7) }
        }
    }
    let of = |meter: &dyn Meter| evaluation(ProtocolKind::Last, meter).report.recommenders[0].cost;
    let (measured, unknown) = (of(&Plain), of(&NoMeter));
    assert_eq!((measured.train_cpu_seconds, measured.rank_cpu_seconds), (Some(1.5), Some(1.5)));
    assert_eq!((measured.peak_memory_bytes, unknown.peak_memory_bytes), (Some(7), None));
    assert!(measured.lists == unknown.lists && measured.lists > 500);
}
