//! What clients are answered: lists, reasons, fallbacks, problems.
//!
//! Start at [`every_list_is_exactly_that_of_the_ranker`].

use std::sync::Arc;

use domain::{Cap, ItemId, RerankRules, UserId};
use recommend::{Catalogue, RankRequest, Ranker, RecommenderKind, Reranker};

use crate::client::{Client, Running};
use crate::project::{Project, attributes};

fn check_problem(answer: &crate::client::Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}{}", answer.head, answer.body);
    assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    let json = answer.json();
    assert_eq!(json["code"], code, "{json}");
    for key in ["type", "title", "detail", "next", "request_id"] {
        assert!(json[key].is_string(), "{key}: {json}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_is_exactly_that_of_the_ranker() {
    let project = Project::new(1_000, 300);
    let popularity = project.train(RecommenderKind::Popularity, "");
    let is_available = |id: &ItemId| !id.as_str().ends_with('7');
    project.publish(1, is_available);
    for (kind, value) in [
        (RecommenderKind::Ease, "100"),
        (RecommenderKind::ItemKnn, ""),
        (RecommenderKind::Ials, "16"),
        (RecommenderKind::Llr, ""),
        (RecommenderKind::Rp3beta, ""),
        (RecommenderKind::Sequence, ""),
        (RecommenderKind::Blend, ""),
        (RecommenderKind::Popularity, ""),
    ] {
        let name = project.train(kind, value);
        let fallback = (kind != RecommenderKind::Popularity).then_some(popularity.as_str());
        project.promote(kind.as_str(), 1, &name, fallback);
        let mut config = project.config();
        config.service.recommender = Some(kind.as_str().to_owned());
        let running = Running::start(config).await.unwrap();
        let mut client = Client::connect(running.address).await;

        let ranker = Ranker::new(Arc::new(project.read_artefact(&name)), &project.read_artefact(&popularity)).unwrap();
        let hidden = ranker.item_set(project.interactions.item_ids().iter().filter(|id| !is_available(id)));
        for (user, ordinal) in project.interactions.user_ids().iter().zip(0u32..) {
            let history: Vec<_> = project.interactions.history(ordinal).iter().map(Into::into).collect();
            let request = RankRequest { hidden: Some(&hidden), ..RankRequest::new(20) };
            let expected = ranker.recommend(&history, &request);
            let path = format!("/v1/users/{user}/recommendations?limit=20");
            let served = client.try_get(&path).await.unwrap().json();
            let entries = served["items"].as_array().unwrap();
            assert_eq!(entries.len(), expected.items.len());
            for (entry, item) in entries.iter().zip(&expected.items) {
                assert_eq!(entry["item_id"], ranker.items()[item.item as usize].as_str(), "{kind} {user}");
                assert_eq!(entry["score"].as_f64().unwrap() as f32, item.score);
                let because: Vec<_> =
                    entry["because"].as_array().unwrap().iter().map(|part| &part["item_id"]).collect();
                let reasons: Vec<_> =
                    item.because.iter().map(|part| ranker.items()[part.item as usize].as_str()).collect();
                assert_eq!(because, reasons);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_filters_are_obeyed_and_why_not_names_the_stage() {
    let project = Project::new(200, 100);
    let (ease, popularity) =
        (project.train(RecommenderKind::Ease, "100"), project.train(RecommenderKind::Popularity, ""));
    let rules = RerankRules {
        hide: Some("shelf = 'shelf-4'".to_owned()),
        caps: vec![Cap { attribute: "shelf".to_owned(), most: 3, of: 10 }],
        ..RerankRules::default()
    };
    project.promote_with("ease", 1, &ease, Some(&popularity), rules.clone());
    project.publish(1, |_| true);
    let running = Running::start(project.config()).await.unwrap();

    let ranker = Ranker::new(Arc::new(project.read_artefact(&ease)), &project.read_artefact(&popularity)).unwrap();
    let known: Vec<_> = ranker.items().iter().map(attributes).collect();
    let catalogue = Catalogue::new(ranker.items(), &known);
    let by_score = ranker.clone();
    let ranker = ranker.with_rules(Reranker::join(&rules, &catalogue, 0).unwrap());
    let history: Vec<_> = project.interactions.history(3).iter().map(Into::into).collect();
    let expected: Vec<String> = ranker
        .recommend(&history, &RankRequest::new(10))
        .items
        .iter()
        .map(|entry| ranker.items()[entry.item as usize].to_string())
        .collect();
    let user = &project.interactions.user_ids()[3];
    let served = running.get(&format!("/v1/users/{user}/recommendations")).await;
    assert_eq!(served.item_ids(), expected, "evaluated = served, with rules");
    let shelves = |items: &[String], shelf: &str| {
        items.iter().filter(|id| attributes(&id.parse().unwrap())["shelf"] == shelf).count()
    };
    assert!((0..4).all(|shelf| shelves(&expected, &format!("shelf-{shelf}")) <= 3), "{expected:?}");
    assert_eq!(shelves(&expected, "shelf-4"), 0);

    let filtered = running
        .get(&format!("/v1/users/{user}/recommendations?filter=price%20%3C%202%20and%20shelf%20in%20('shelf-1')"))
        .await;
    let items = filtered.item_ids();
    assert!(!items.is_empty() && shelves(&items, "shelf-1") == items.len(), "{items:?}");

    let stage = async |item: &str| {
        let answer = running.get(&format!("/v1/users/{user}/why-not/{item}")).await.json();
        (answer["stage"].as_str().unwrap().to_owned(), answer["rank"].as_u64())
    };
    let plain = by_score.recommend(&history, &RankRequest::new(10)).items;
    let id = |item: u32| by_score.items()[item as usize].to_string();
    assert_eq!(stage(&expected[0]).await.0, "listed");
    assert_eq!(stage(&id(history[0].item)).await.0, "seen");
    let shelved = |id: &String| shelves(std::slice::from_ref(id), "shelf-4") == 1;
    for entry in plain.iter().map(|entry| id(entry.item)).filter(|id| !expected.contains(id)) {
        let wanted = if shelved(&entry) { "hidden_by_rule" } else { "capped" };
        assert_eq!(stage(&entry).await.0, wanted, "{entry}");
    }
    let far = by_score.recommend(&history, &RankRequest::new(100)).items.last().map(|entry| id(entry.item)).unwrap();
    assert!(shelved(&far) || stage(&far).await.1.is_some_and(|rank| rank > 10));
    check_problem(&running.get("/v1/users/u3/recommendations?filter=colour%20=%20'red'").await, 400, "bad_filter");
    check_problem(&running.get("/v1/users/u3/why-not/nothing").await, 404, "no_such_item");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_work_leaves_the_async_threads_and_gives_the_same_lists() {
    let project = Project::new(60, 50);
    let popularity = project.train(RecommenderKind::Popularity, "");
    // 128 factors: above the cost that is computed in place.
    let name = project.train(RecommenderKind::Ials, "128");
    project.promote("ials", 1, &name, Some(&popularity));
    project.publish(1, |_| true);
    let running = Running::start(project.config()).await.unwrap();
    let ranker = Ranker::new(Arc::new(project.read_artefact(&name)), &project.read_artefact(&popularity)).unwrap();
    let mut asking = Vec::new();
    for (user, ordinal) in project.interactions.user_ids().iter().cloned().zip(0u32..) {
        let history: Vec<_> = project.interactions.history(ordinal).iter().map(Into::into).collect();
        let list = ranker.recommend(&history, &RankRequest::new(10));
        let expected: Vec<_> = list.items.iter().map(|item| ranker.items()[item.item as usize].to_string()).collect();
        let address = running.address;
        asking.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let answer = client.try_get(&format!("/v1/users/{user}/recommendations")).await.unwrap();
            assert_eq!(answer.item_ids(), expected, "{user}");
        }));
    }
    for asked in asking {
        asked.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_personal_list_names_its_origin_its_titles_and_its_reasons() {
    let project = Project::ready(200, 100);
    let running = Running::start(project.config()).await.unwrap();
    let answer = running.get("/v1/users/u3/recommendations?limit=4").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    let json = answer.json();
    assert_eq!(json["user_id"], "u3");
    assert_eq!(json["recommender"], "ease");
    assert!(json["artefact"].as_str().unwrap().starts_with("ease-"));
    assert_eq!((json["catalog"].as_u64(), json["feed"].as_u64()), (Some(101), Some(1)));
    assert_eq!(json["source"], "personal");
    assert!(json["reason"].is_null(), "{json}");
    let items = json["items"].as_array().unwrap();
    assert_eq!(items.len(), 4);
    for (position, item) in items.iter().enumerate() {
        assert_eq!(item["rank"], position + 1);
        assert_eq!(item["title"], format!("Title of \"{}\" 제목", item["item_id"].as_str().unwrap()));
        assert!(item["because"][0]["title"].is_string(), "{item}");
    }
    let seen =
        project.interactions.history(project.interactions.user_ordinal(&"u3".parse::<UserId>().unwrap()).unwrap());
    for event in seen {
        let id = project.interactions.item_ids()[event.item as usize].to_string();
        assert!(!answer.item_ids().contains(&id), "{id} was seen");
    }
    let plain = running.get("/v1/users/u3/recommendations?limit=4&explain=false").await;
    assert!(!plain.body.contains("because"));
    assert_eq!(plain.item_ids(), answer.item_ids());
    assert_eq!(running.get("/v1/users/u3/recommendations").await.item_ids().len(), 10);
    assert_eq!(running.get("/v1/users/odd%2F%C3%BC/recommendations").await.json()["source"], "personal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn popularity_stands_in_and_says_why() {
    let project = Project::ready(200, 100);
    let running = Running::start(project.config()).await.unwrap();
    let expected = running.get("/v1/users/nobody/recommendations").await.item_ids();
    assert_eq!(expected.len(), 10);
    for (user, reason) in [("nobody", "unknown_user"), ("empty", "empty_history"), ("stranger", "empty_history")] {
        let answer = running.get(&format!("/v1/users/{user}/recommendations")).await;
        let json = answer.json();
        assert_eq!((&json["source"], &json["reason"]), (&"popularity".into(), &reason.into()), "{user}");
        assert_eq!(answer.item_ids(), expected);
    }
    let text = running.get("/metrics").await.body;
    assert!(
        text.contains(r#"montauk_lists_total{list="recommendations",source="popularity",reason="empty_history"} 2"#),
        "{text}"
    );
    assert!(text.contains(r#"route="/v1/users/{user_id}/recommendations""#) && !text.contains("nobody"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn similar_items_are_listed_and_unknown_items_are_not_found() {
    let project = Project::ready(200, 100);
    let running = Running::start(project.config()).await.unwrap();
    let answer = running.get("/v1/items/i00010/similar?limit=5").await;
    let json = answer.json();
    assert_eq!((&json["item_id"], &json["source"]), (&"i00010".into(), &"recommender".into()));
    assert_eq!(answer.item_ids().len(), 5);
    assert!(!answer.item_ids().contains(&"i00010".to_owned()));
    let json = running.get("/v1/items/brand-new/similar").await.json();
    assert_eq!((&json["source"], &json["reason"]), (&"popularity".into(), &"item_not_in_artefact".into()));
    check_problem(&running.get("/v1/items/i99999/similar").await, 404, "no_such_item");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_problems_that_say_what_to_do() {
    let project = Project::ready(50, 50);
    let running = Running::start(project.config()).await.unwrap();
    for limit in ["0", "101", "-1", "ten", ""] {
        let path = format!("/v1/users/u1/recommendations?limit={limit}");
        check_problem(&running.get(&path).await, 400, "bad_limit");
    }
    check_problem(&running.get("/v1/users/u1/recommendations?limt=3").await, 400, "unknown_parameter");
    check_problem(&running.get("/v1/items/i00010/similar?explain=perhaps").await, 400, "bad_explain");
    check_problem(&running.get("/v1/users/a%20b/recommendations").await, 400, "bad_id");
    check_problem(&running.get(&format!("/v1/users/{}/recommendations", "x".repeat(257))).await, 400, "bad_id");
    check_problem(&running.get("/v1/users/u1").await, 404, "no_such_route");
    assert_eq!(running.get("/v1/users/%FF/recommendations").await.status, 400);
    assert_eq!(running.get("/v1/users/u1/recommendations?limit=%FF").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_and_unlisted_items_are_never_served() {
    let project = Project::ready(100, 60);
    let items: Vec<_> = project.interactions.item_ids().iter().filter(|id| !id.as_str().ends_with('2')).collect();
    let facts = items.iter().map(|id| domain::FeedItem {
        id: (*id).clone(),
        title: None,
        available: !id.as_str().ends_with('1'),
        attributes: Default::default(),
    });
    project.write_feed(2, &facts.collect::<Vec<_>>(), &project.histories());
    let is_allowed = |id: &String| !id.ends_with('1') && !id.ends_with('2');
    let running = Running::start(project.config()).await.unwrap();
    for user in project.interactions.user_ids() {
        let answer = running.get(&format!("/v1/users/{user}/recommendations?limit=100")).await;
        assert!(answer.item_ids().iter().all(is_allowed), "{}", answer.body);
        assert_eq!(answer.json()["source"], "personal");
    }
    for item in ["i00001", "i00002", "i00003"] {
        let similar = running.get(&format!("/v1/items/{item}/similar?limit=100")).await;
        assert!(similar.item_ids().iter().all(is_allowed), "{}", similar.body);
    }
}
