//! What is evaluated is what is served: the lists that the evaluation measured for 1,000 customers come back over HTTP,
//! item by item, when its artefact serves with the histories that the evaluation knew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

use domain::{
    FeedHistory, FeedInteraction, FeedItem, FeedThing, FeedUser, ItemId, NoProgress, PROMOTION_FORMAT_VERSION,
    Promotion, Provenance,
};
use pipeline::feed;
use recommend::{
    CcoParameters, Evaluation, IndicatorParameters, IndicatorRow, Indicators, InteractionRow, Interactions, Parameters,
    RecommenderKind, RecommenderSpec,
};

use crate::support::{csv, demo, montauk};

const USERS: usize = 1_000;
const LIMIT: usize = 20;

#[test]
fn the_served_list_is_the_evaluated_list() {
    let evaluation = evaluate(&interactions(), Parameters::defaults(RecommenderKind::Ease));
    served_as_evaluated(&evaluation);
}

/// Everybody looks at things weeks before they buy them, and at the groups that these belong to: some have only looked when the
/// test window begins, and their lists come from that alone.
#[test]
fn so_is_the_list_from_views_and_groups() {
    let interactions = interactions();
    let mut rows: BTreeMap<String, Vec<IndicatorRow>> = BTreeMap::new();
    for event in interactions.events() {
        let user = interactions.user_ids()[event.user as usize].to_string();
        let item = interactions.item_ids()[event.item as usize].as_str();
        let group = format!("group of {}", &item[..item.len().min(3)]);
        for (name, thing, days) in [("view", item.to_owned(), 20), ("group", group, 0)] {
            let at = event.at - days * 86_400;
            let row = IndicatorRow { user: user.clone(), thing, at, weight: 1.0 };
            rows.entry(name.to_owned()).or_default().push(row);
        }
    }
    let (indicators, rejected) = Indicators::from_rows(rows);
    assert!(rejected.is_empty());
    let named = |name: &str| IndicatorParameters { name: name.into(), weight: 0.5, neighbours: None, min_llr: None };
    let cco = CcoParameters { indicators: vec![named("view"), named("group")], ..Default::default() };
    let evaluation = evaluate(&interactions.with_indicators(indicators), Parameters::Cco(cco));
    let known = &evaluation.known;
    let only_looked =
        evaluation.fitted[1].lists.iter().take(USERS).filter(|(user, _)| known.user_ordinal(user).is_none());
    assert!(only_looked.count() > 20);
    served_as_evaluated(&evaluation);
}

fn served_as_evaluated(evaluation: &Evaluation) {
    let temp = tempfile::tempdir().unwrap();
    promote(temp.path(), evaluation);
    write_feed(temp.path(), &evaluation.known, &plain_items(&evaluation.known), &[]);

    let server = Server::start(temp.path());
    let lists = &evaluation.fitted[1].lists;
    assert!(lists.len() >= USERS, "only {} users were evaluated", lists.len());
    let mut connection = server.connect();
    for (user, expected) in lists.iter().take(USERS) {
        let answer = get(&mut connection, &format!("/v1/users/{user}/recommendations?limit={LIMIT}"));
        let served: Vec<&str> =
            answer["items"].as_array().unwrap().iter().map(|item| item["item_id"].as_str().unwrap()).collect();
        let expected: Vec<&str> = expected.iter().take(LIMIT).map(domain::ItemId::as_str).collect();
        assert_eq!(served, expected, "user {user}");
    }
}

/// The mart of the demo, through its own query command.
pub(super) fn interactions() -> Interactions {
    let text = csv(
        demo(),
        "select user_id, item_id, cast(extract(epoch from occurred_at) as bigint), basket_id from marts.interactions",
    );
    let rows = text.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        InteractionRow {
            user: cells[0].to_owned(),
            item: cells[1].to_owned(),
            at: cells[2].parse().unwrap(),
            weight: 1.0,
            basket: Some(cells[3].to_owned()),
        }
    });
    let (interactions, rejected) = Interactions::from_rows(rows);
    assert!(rejected.is_empty());
    interactions
}

fn evaluate(interactions: &Interactions, candidate: Parameters) -> Evaluation {
    let spec = |name: &str, parameters: Parameters| RecommenderSpec {
        name: name.to_owned(),
        parameters,
        filter_seen: true,
        rerank: Default::default(),
    };
    let specs = [spec("popularity", Parameters::defaults(RecommenderKind::Popularity)), spec("candidate", candidate)];
    // Earlier cuts than by default, so that more customers than the test needs come back in the test window.
    let protocol = recommend::Protocol { train_share: 0.5, validation_share: 0.6, ..recommend::Protocol::default() };
    recommend::evaluate(interactions, &specs, "popularity", &protocol, &NoProgress).unwrap()
}

pub(super) fn promote(project: &Path, evaluation: &Evaluation) {
    let artefacts = project.join(".montauk/artefacts");
    fs::create_dir_all(&artefacts).unwrap();
    let names: Vec<String> = evaluation
        .fitted
        .iter()
        .map(|fitted| fitted.artefact.write(&artefacts).unwrap().file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let promotion = Promotion {
        format_version: PROMOTION_FORMAT_VERSION,
        number: 1,
        recommender: "candidate".to_owned(),
        artefact: names[1].clone(),
        fallback_artefact: Some(names[0].clone()),
        filter_seen: true,
        rerank: domain::RerankRules::default(),
        promoted_at: chrono::DateTime::UNIX_EPOCH,
        reason: "test".to_owned(),
        metrics: Default::default(),
        provenance: Provenance::default(),
    };
    let dir = project.join(".montauk/promoted/candidate");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(format!("{:020}.json", 1)), serde_json::to_vec(&promotion).unwrap()).unwrap();
    fs::write(project.join("montauk.toml"), "[project]\nname = \"served\"\n").unwrap();
}

/// Items of which nothing is known.
fn plain_items(known: &Interactions) -> Vec<FeedItem> {
    let plain = |id: &ItemId| FeedItem { id: id.clone(), title: None, available: true, attributes: BTreeMap::new() };
    known.item_ids().iter().map(plain).collect()
}

pub(super) fn write_feed(project: &Path, known: &Interactions, items: &[FeedItem], users: &[FeedUser]) {
    let ids = known.item_ids();
    let indicators = known.indicators();
    let everybody: BTreeSet<_> = known.user_ids().iter().chain(indicators.user_ids()).collect();
    let of_user = |user: &domain::UserId| {
        let events = known.user_ordinal(user).map(|user| known.history(user)).unwrap_or_default();
        let interaction =
            |event: &recommend::Event| FeedInteraction(ids[event.item as usize].clone(), event.weight, event.at);
        let mut things: BTreeMap<String, Vec<FeedThing>> = BTreeMap::new();
        for event in indicators.history(user) {
            let thing = &indicators.things()[event.thing as usize];
            let of_indicator = things.entry(thing.indicator.clone()).or_default();
            of_indicator.push(FeedThing(thing.thing.clone(), event.weight, event.at));
        }
        FeedHistory { user: user.clone(), interactions: events.iter().map(interaction).collect(), things }
    };
    let histories: Vec<FeedHistory> = everybody.into_iter().map(of_user).collect();
    let content = feed::Content {
        items,
        histories: &histories,
        users,
        catalog: 1,
        created_at: chrono::DateTime::UNIX_EPOCH,
        provenance: Provenance { run_id: "served".to_owned(), ..Provenance::default() },
    };
    feed::write(&project.join(".montauk/feed"), &content).unwrap();
}

/// `montauk serve` on a free port.
pub(super) struct Server {
    process: Child,
    address: String,
}

impl Server {
    pub(super) fn start(project: &Path) -> Self {
        let mut process = montauk()
            .arg("-C")
            .arg(project)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut talk = BufReader::new(process.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(talk.read_line(&mut line).unwrap() > 0, "the server ended: {said}");
            said += &line;
            if let Some(rest) = line.split("http://").nth(1) {
                break rest.split(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).next().unwrap().to_owned();
            }
        };
        // Somebody has to read what it says from now on, or it would block on a full pipe.
        std::thread::spawn(move || std::io::copy(&mut talk, &mut std::io::sink()));
        Self { process, address }
    }

    pub(super) fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(&self.address).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One GET on a connection that stays open.
pub(super) fn get(connection: &mut BufReader<TcpStream>, path: &str) -> serde_json::Value {
    write!(connection.get_mut(), "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let mut length = 0;
    let mut status = String::new();
    connection.read_line(&mut status).unwrap();
    assert!(status.contains(" 200 "), "{path}: {status}");
    loop {
        let mut header = String::new();
        connection.read_line(&mut header).unwrap();
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}
