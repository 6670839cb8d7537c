//! Hot swaps and drains under load: newer promotions and feeds come into service without one failed or mixed answer.
//!
//! Start at [`swaps_under_load_lose_and_mix_nothing`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use recommend::{RankRequest, Ranker, RecommenderKind};

use crate::client::{Client, Running};
use crate::project::{Project, scramble};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_lose_and_mix_nothing() {
    let project = Project::ready(300, 200);
    let popularity = project.train(RecommenderKind::Popularity, "");
    let artefacts = [
        project.train(RecommenderKind::Ease, "50"),
        project.train(RecommenderKind::ItemKnn, ""),
        project.train(RecommenderKind::Ease, "100"),
    ];
    // What each artefact answers, by user: an answer that mixed two versions would match neither.
    let fallback = project.read_artefact(&popularity);
    let mut expected: HashMap<String, Vec<Vec<String>>> = HashMap::new();
    for name in &artefacts {
        let ranker = Ranker::new(Arc::new(project.read_artefact(name)), &fallback).unwrap();
        let lists = (0..300u32).map(|user| {
            let id = format!("u{user}").parse().unwrap();
            let ordinal = project.interactions.user_ordinal(&id).unwrap();
            let history: Vec<_> = project.interactions.history(ordinal).iter().map(Into::into).collect();
            let list = ranker.recommend(&history, &RankRequest::new(10));
            list.items.iter().map(|item| ranker.items()[item.item as usize].to_string()).collect()
        });
        expected.insert(name.clone(), lists.collect());
    }
    let expected = Arc::new(expected);

    let running = Running::start(project.config()).await.unwrap();
    let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = Vec::new();
    for nth in 0..4u64 {
        let (address, expected) = (running.address, Arc::clone(&expected));
        let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
        clients.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let mut dice = nth;
            while !is_over.load(Ordering::Relaxed) {
                dice = scramble(dice);
                let user = dice as usize % 300;
                let answer = client.try_get(&format!("/v1/users/u{user}/recommendations")).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.body);
                let json = answer.json();
                assert_eq!(answer.item_ids(), expected[json["artefact"].as_str().unwrap()][user], "{json}");
                assert_eq!(json["catalog"].as_u64().unwrap(), json["feed"].as_u64().unwrap() + 100);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for number in 2..=40u64 {
        if number % 3 == 0 {
            project.publish(number, |_| true);
        } else {
            project.promote("ease", number, &artefacts[number as usize % 3], Some(&popularity));
        }
        let metric = if number % 3 == 0 { "montauk_serving_feed" } else { "montauk_serving_promotion" };
        running.wait_until("/metrics", |answer| answer.body.contains(&format!("\n{metric} {number}\n"))).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(answered.load(Ordering::Relaxed) > 100, "{answered:?} answers");
    let text = running.get("/metrics").await.body;
    assert!(text.contains("\nmontauk_serving_swaps_total 40\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_feed_changes_who_is_known_and_what_is_seen() {
    let project = Project::ready(60, 50);
    let running = Running::start(project.config()).await.unwrap();
    let before = running.get("/v1/users/u5/recommendations?limit=3").await;
    let bought = before.item_ids()[0].clone();
    let line = |user: &str| domain::FeedHistory {
        user: user.parse().unwrap(),
        interactions: vec![domain::FeedInteraction(bought.parse().unwrap(), 1.0, 1)],
        things: Default::default(),
    };
    let items: Vec<_> = project
        .interactions
        .item_ids()
        .iter()
        .map(|id| domain::FeedItem { id: id.clone(), title: None, available: true, attributes: Default::default() })
        .collect();
    project.write_feed(2, &items, &[line("u5"), line("newcomer")]);
    let after =
        running.wait_until("/v1/users/newcomer/recommendations", |answer| answer.json()["source"] == "personal").await;
    assert_eq!(after.json()["feed"], 2);
    assert!(after.json()["items"][0]["title"].is_null());
    let after = running.get("/v1/users/u5/recommendations?limit=50").await;
    assert!(!after.item_ids().contains(&bought), "{bought} is still there: {}", after.body);
    assert_eq!(running.get("/v1/users/u6/recommendations").await.json()["reason"], "unknown_user");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_cuts_no_answer() {
    let project = Project::ready(300, 200);
    let running = Running::start(project.config()).await.unwrap();
    let mut clients = Vec::new();
    for nth in 0..8u64 {
        let address = running.address;
        clients.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let mut answered = 0;
            loop {
                let user = scramble(nth + answered) % 300;
                match client.try_get(&format!("/v1/users/u{user}/recommendations")).await {
                    Ok(answer) => assert_eq!(answer.status, 200, "{}", answer.body),
                    // Between two answers the server may close; within one it may not.
                    Err(error) => {
                        let is_clean =
                            error == "closed after 0 bytes" || error.contains("reset") || error.contains("pipe");
                        assert!(is_clean, "{error}");
                        return answered;
                    }
                }
                answered += 1;
            }
        }));
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    running.trigger.drain();
    let report = tokio::time::timeout(crate::client::PATIENCE, running.server).await.unwrap().unwrap();
    assert_eq!(report.cut, 0);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}
