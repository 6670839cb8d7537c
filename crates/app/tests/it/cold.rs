//! Who and what is new, through the real program: evaluated lists are served ones for users without a history and with items that
//! nobody has bought yet, and docs/how-to/recommend-to-new-users-and-new-items.md does what it says.
//!
//! In: the demo's marts.  Out: assertions over HTTP and on the program's reports.
//! Never here: whether the regression is right (see `recommend`).
//! Start at [`lists_for_new_users_and_with_new_items_are_served_as_evaluated`].

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use domain::{FeedItem, FeedUser, ItemId, NoProgress};
use recommend::{
    ContentParameters, Evaluation, Evaluator, IalsParameters, Interactions, NoMeter, Parameters, PopularityParameters,
    Protocol, RecommenderSpec,
};
use serde_json::{Value, json};

use crate::served::{Server, get, interactions, promote, write_feed};
use crate::support::{csv, demo, montauk, python, repository, run};

const PAGE: &str = "docs/how-to/recommend-to-new-users-and-new-items.md";

const LIMIT: usize = 100;

/// Rows of two columns, of which the second holds no comma.
fn pairs(sql: &str) -> Vec<(String, String)> {
    let text = csv(demo(), sql);
    text.lines().skip(1).filter_map(|line| line.split_once(',')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn items() -> Vec<FeedItem> {
    let rows =
        pairs("select item_id, regexp_replace(title, '[^A-Za-z0-9]+', ' ', 'g') from marts.items order by item_id");
    let item = |(id, title): (String, String)| FeedItem {
        id: id.parse().unwrap(),
        title: Some(title),
        available: true,
        attributes: BTreeMap::new(),
    };
    rows.into_iter().map(item).collect()
}

fn users() -> Vec<FeedUser> {
    let user = |(id, country): (String, String)| FeedUser {
        id: id.parse().unwrap(),
        attributes: [("country".to_owned(), country.into())].into(),
    };
    pairs("select user_id, country from marts.customers").into_iter().map(user).collect()
}

fn evaluate(interactions: &Interactions, items: &[FeedItem], users: &[FeedUser]) -> Evaluation {
    let content = |attributes: &[&str], words: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Some(ContentParameters { attributes: owned(attributes), words: owned(words), ..Default::default() })
    };
    let popularity = PopularityParameters { segment: Some("country".into()), ..Default::default() };
    let ials = IalsParameters {
        factors: 16,
        epochs: 4,
        cold_items: content(&[], &["title"]),
        cold_users: content(&["country"], &[]),
        ..Default::default()
    };
    let specs = [("popularity", Parameters::Popularity(popularity)), ("ease", Parameters::Ials(ials))];
    let specs = specs.map(|(name, parameters)| RecommenderSpec {
        name: name.to_owned(),
        parameters,
        filter_seen: true,
        rerank: Default::default(),
    });
    let protocol = Protocol { train_share: 0.5, validation_share: 0.6, resamples: 20, ..Protocol::default() };
    let evaluator = Evaluator {
        interactions,
        specs: &specs,
        baseline: "popularity",
        protocol: &protocol,
        items,
        users,
        category: None,
        segments: None,
        progress: &NoProgress,
        meter: &NoMeter,
    };
    evaluator.run().unwrap()
}

fn listed(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|item| item["item_id"].as_str().unwrap()).collect()
}

#[test]
fn lists_for_new_users_and_with_new_items_are_served_as_evaluated() {
    let (items, users) = (items(), users());
    let evaluation = evaluate(&interactions(), &items, &users);
    let known = &evaluation.known;
    let mut events = vec![0; known.item_ids().len()];
    known.events().iter().for_each(|event| events[event.item as usize] += 1);
    let is_new = |id: &ItemId| known.item_ordinal(id).is_some_and(|item| events[item as usize] == 0);
    let temp = tempfile::tempdir().unwrap();
    promote(temp.path(), &evaluation);
    // Histories are those that the evaluation knew; users and items are everybody's and everything.
    write_feed(temp.path(), known, &items, &users);
    let server = Server::start(temp.path());
    let mut connection = server.connect();
    let fitted = &evaluation.fitted[1];
    let country = |id: &domain::UserId| {
        let user = users.iter().find(|user| user.id == *id).unwrap();
        user.attributes["country"].as_str().unwrap().replace(' ', "%20")
    };
    let (mut with_new, mut cold) = (0, 0);
    for (user, expected) in fitted.lists.iter().take(300).chain(fitted.cold_lists.iter().take(300)) {
        let expected: Vec<&str> = expected.iter().map(ItemId::as_str).collect();
        let answer = get(&mut connection, &format!("/v1/users/{user}/recommendations?limit={LIMIT}"));
        assert_eq!(listed(&answer), expected, "user {user}");
        with_new += usize::from(expected.iter().any(|id| is_new(&id.parse().unwrap())));
        if known.user_ordinal(user).is_none() {
            cold += 1;
            let path = format!("/v1/users/in-no-feed/recommendations?limit={LIMIT}&profile.country={}", country(user));
            let stranger = get(&mut connection, &path);
            // A country of fewer than two customers so far has no list, and no coefficient.
            let reason = if stranger["source"] == "popularity" { "unknown_segment" } else { "unknown_user" };
            assert_eq!((listed(&stranger), &stranger["reason"]), (expected, &json!(reason)), "{path}");
            assert_eq!(stranger["source"], answer["source"]);
        }
    }
    assert!(with_new > 30 && cold > 100, "{with_new} lists with new items, {cold} users without a history");
    let germany = get(&mut connection, "/v1/users/in-no-feed/recommendations?profile.country=Germany");
    assert_eq!((germany["source"].as_str(), germany["reason"].as_str()), (Some("profile"), Some("unknown_user")));
    let atlantis = get(&mut connection, "/v1/users/in-no-feed/recommendations?profile.country=Atlantis");
    assert_eq!(
        (atlantis["source"].as_str(), atlantis["reason"].as_str()),
        (Some("popularity"), Some("unknown_segment"))
    );
    let new = known.item_ids().iter().find(|id| is_new(id)).unwrap();
    let alike = get(&mut connection, &format!("/v1/items/{new}/similar"));
    assert_eq!((alike["source"].as_str(), listed(&alike).len()), (Some("recommender"), 10), "{new}");
}

/// The blocks of one language on the page.
fn blocks(language: &str) -> Vec<String> {
    let page = fs::read_to_string(repository().join(PAGE)).unwrap();
    let mark = format!("```{language}\n");
    let blocks = page.split(&mark).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_page_about_new_users_and_items_does_what_it_says() {
    let temp = tempfile::tempdir().unwrap();
    let project = temp.path().join("project");
    run(Command::new("cp").arg("-a").arg(demo()).arg(&project));
    for block in blocks("toml") {
        let file = block.lines().next().unwrap().trim_start_matches("# ");
        // The debug build would take a minute for as many factors as the page has.
        fs::write(project.join(file), block.replace("factors = 64", "factors = 8\nepochs = 3")).unwrap();
    }
    let montauk = |arguments: &[&str]| run(montauk().arg("-C").arg(&project).arg("--json").args(arguments));
    let names = ["popular_by_country", "new_items"];
    let trained = montauk(&["train", names[0], names[1]]);
    let again = montauk(&["train", names[0], names[1]]);
    let statuses =
        |report: &Value| [&report["trained"][0]["status"], &report["trained"][1]["status"]].map(Value::to_string);
    assert_eq!(statuses(&trained), ["\"trained\"", "\"trained\""]);
    assert_eq!(statuses(&again), ["\"unchanged\"", "\"unchanged\""]);
    let measured = montauk(&["evaluate", names[0], names[1]]);
    let window = &measured["evaluation"]["windows"][2];
    let slice = |place: usize| {
        let slices = window["recommenders"][place]["slices"].as_array().unwrap();
        slices.iter().find(|slice| slice["name"] == "new_items").unwrap().clone()
    };
    assert_eq!(slice(0)["metrics"]["recall@100"], 0.0);
    assert!(slice(1)["users"].as_u64().unwrap() > 10, "{}", slice(1));
    assert_eq!(montauk(&["publish", "feed"])["feed"]["changed"], true, "users stand in the feed now");

    let directory = project.join(".montauk/artefacts").join(trained["trained"][1]["artefact"].as_str().unwrap());
    let header: Value = serde_json::from_slice(&fs::read(directory.join("artefact.json")).unwrap()).unwrap();
    let explained = &header["metrics"]["cold_items.explained"];
    assert!(explained.as_f64().is_some_and(|share| (0.0..1.0).contains(&share)), "{header}");
    let block = &blocks("python")[0];
    assert_eq!(block.lines().count(), 5, "{block}");
    let before = format!("artefact = {}\nprofile = {{\"country\": \"Germany\"}}\n", json!(directory.to_str().unwrap()));
    let found = run(Command::new(python()).arg("-c").arg(before + block + "print(json.dumps(scores.tolist()))\n"));
    let artefact = std::sync::Arc::new(recommend::Artefact::read(&directory).unwrap());
    let popularity = project.join(".montauk/artefacts").join(trained["trained"][0]["artefact"].as_str().unwrap());
    let ranker = recommend::Ranker::new(artefact, &recommend::Artefact::read(&popularity).unwrap()).unwrap();
    let germany = [("country".to_owned(), json!("Germany"))].into();
    let list =
        ranker.recommend(&[], &recommend::RankRequest { profile: Some(&germany), ..recommend::RankRequest::new(20) });
    for entry in &list.items {
        let score = found[entry.item as usize].as_f64().unwrap();
        assert!((score - f64::from(entry.score)).abs() < 1e-5, "{score} {}", entry.score);
    }
}
