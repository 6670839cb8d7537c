//! The page of an evaluation: whatever users call their things, it is one well-formed file that loads nothing and runs nothing.
//!
//! In: an evaluation of made-up purchases.  Out: assertions on the HTML.  Never here: how it looks; eyes see that.
//! Start at [`page`].

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise: the panic is the report")]

use domain::{NoProgress, Provenance};
use recommend::report::{ReportFacts, render};
use recommend::{
    Evaluator, InteractionRow, Interactions, NoMeter, Parameters, Protocol, ProtocolKind, RecommenderKind,
    RecommenderSpec, Segments,
};

/// What no page may be changed by.
const NASTY: &str = "<script>alert('1')</script> & \"x\"";

/// A page with so many recommenders beside the baseline, under nasty names.
fn page(recommenders: usize, kind: ProtocolKind, cutoffs: &[usize]) -> String {
    let rows = (0..60).flat_map(|user: usize| {
        (0..5).flat_map(move |basket: usize| {
            (0..2).map(move |item: usize| InteractionRow {
                user: format!("u{user:02}"),
                item: format!("i{}", (user * basket + item * 7 + user % 3) % 25),
                at: (basket * 86_400 + user * 60) as i64,
                weight: 1.0,
                basket: Some(format!("{user}-{basket}")),
            })
        })
    });
    let interactions = Interactions::from_rows(rows).0;
    let segments = interactions.user_ids().iter().enumerate();
    let segments = Segments::new(segments.map(|(place, user)| (user.clone(), format!("{NASTY}{}", place % 3))));
    let mut specs = vec![RecommenderSpec {
        name: "popularity".into(),
        parameters: Parameters::defaults(RecommenderKind::Popularity),
        filter_seen: true,
        rerank: Default::default(),
    }];
    specs.extend((0..recommenders).map(|number| RecommenderSpec {
        name: format!("{NASTY} {number}"),
        parameters: Parameters::defaults(RecommenderKind::ItemKnn),
        filter_seen: true,
        rerank: Default::default(),
    }));
    let protocol = Protocol { kind, resamples: 30, cutoffs: cutoffs.to_vec(), ..Protocol::default() };
    let evaluation = Evaluator {
        items: &[],
        users: &[],
        category: None,
        interactions: &interactions,
        specs: &specs,
        baseline: "popularity",
        protocol: &protocol,
        segments: Some(&segments),
        progress: &NoProgress,
        meter: &NoMeter,
    }
    .run()
    .unwrap();
    let decision = evaluation.promotion(&specs[recommenders.min(1)].name, &["popularity"]).unwrap();
    let provenance = Provenance { run_id: NASTY.into(), ..Provenance::default() };
    let facts = ReportFacts {
        project: NASTY,
        made_at: "2011-12-09 12:50:00 UTC",
        catalog: 3,
        choice: Some((NASTY, &decision)),
        segments: Some(NASTY),
        provenance: &provenance,
    };
    render(&evaluation.report, &facts)
}

/// Every tag that opens closes, in order; attributes are quoted.
fn check_well_formed(page: &str) {
    const EMPTY: [&str; 4] = ["meta", "line", "circle", "polygon"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>").unwrap();
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "{tag}");
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap();
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "before {}", &rest[end..rest.len().min(end + 80)]),
            None if EMPTY.contains(&name) => {}
            None => open.push(name),
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_page_is_one_file_and_names_cannot_change_it() {
    for (recommenders, kind) in [(0, ProtocolKind::Time), (1, ProtocolKind::Strong), (9, ProtocolKind::Last)] {
        let page = page(recommenders, kind, &[10, 20, 100]);
        check_well_formed(&page);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{kind}");
        for outside in ["://", "src=", "@import", "url(", "onload"] {
            assert!(!page.contains(outside), "{kind}: {outside}");
        }
        assert!(page.contains("cannot tell") && page.contains("prefers-color-scheme: dark"));
        assert_eq!(page.matches("<svg").count(), page.matches("<desc").count(), "every picture is described");
        for text in ["NaN", "inf<", "Infinity", "-0.0000"] {
            assert!(!page.contains(text), "{kind}: {text}");
        }
    }
}

#[test]
fn a_page_has_what_was_measured_even_at_unusual_cutoffs() {
    let page = page(1, ProtocolKind::Time, &[3]);
    check_well_formed(&page);
    for expected in ["recall@3", "ndcg@100", "coverage@3", "ranked", "Holm", "no history", "2011-12-09 12:50:00 UTC"] {
        assert!(page.contains(expected), "{expected}");
    }
}
