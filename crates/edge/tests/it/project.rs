//! A project's state directory as `train` and `publish` leave it, generated from a fixed seed.
//!
//! In: numbers of users and items.  Out: artefacts, promotions and feeds under a temporary directory.
//! Start at [`Project`].

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use domain::{
    FEED_FORMAT_VERSION, FeedFile, FeedHeader, FeedHistory, FeedInteraction, FeedItem, ItemId,
    PROMOTION_FORMAT_VERSION, Promotion, Provenance, RerankRules, hash_bytes,
};
use edge::EdgeConfig;
use recommend::{Artefact, InteractionRow, Interactions, Parameters, RecommenderKind, train};

/// 2026-01-01, in seconds since 1970.
const START: i64 = 1_767_225_600;

pub struct Project {
    directory: tempfile::TempDir,
    pub interactions: Interactions,
}

/// Numbers that look random and are the same every time (Vigna's splitmix64).
pub fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Users of one of ten tastes, who buy mostly what their taste likes.
fn rows(users: u64, items: u64) -> Vec<InteractionRow> {
    let mut rows = Vec::new();
    for user in 0..users {
        for nth in 0..5 + scramble(user) % 30 {
            let dice = scramble(user * 1_000 + nth);
            let item = if dice.is_multiple_of(4) {
                dice / 4 % items
            } else {
                (dice / 4 % (items / 10).max(1)) * 10 + user % 10
            };
            rows.push(InteractionRow {
                user: format!("u{user}"),
                item: format!("i{:05}", item.min(items - 1)),
                at: START + (user * 100 + nth) as i64,
                weight: 1.0,
                basket: None,
            });
        }
    }
    rows
}

impl Project {
    pub fn new(users: u64, items: u64) -> Self {
        let (interactions, rejected) = Interactions::from_rows(rows(users, items));
        assert!(rejected.is_empty());
        Self { directory: tempfile::tempdir().unwrap(), interactions }
    }

    /// An EASE recommender with popularity behind it as promotion 1, and everything published as feed 1.
    pub fn ready(users: u64, items: u64) -> Self {
        let project = Self::new(users, items);
        let ease = project.train(RecommenderKind::Ease, "100");
        let popularity = project.train(RecommenderKind::Popularity, "");
        project.promote("ease", 1, &ease, Some(&popularity));
        project.publish(1, |_| true);
        project
    }

    pub fn config(&self) -> EdgeConfig {
        EdgeConfig::new(self.directory.path())
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join(".montauk")
    }

    pub fn artefact(&self, name: &str) -> PathBuf {
        self.state().join("artefacts").join(name)
    }

    pub fn feed(&self, number: u64) -> PathBuf {
        self.state().join(format!("feed/{number:020}"))
    }

    /// Trains and writes; returns the directory's name. `value` is lambda for EASE, factors for iALS, else unused.
    pub fn train(&self, kind: RecommenderKind, value: &str) -> String {
        let mut parameters = Parameters::defaults(kind).to_map();
        match kind {
            RecommenderKind::Ease => parameters.insert("lambda".into(), value.parse::<f64>().unwrap().into()),
            RecommenderKind::Ials => parameters.insert("factors".into(), value.parse::<u64>().unwrap().into()),
            RecommenderKind::Popularity
            | RecommenderKind::ItemKnn
            | RecommenderKind::Llr
            | RecommenderKind::Cco
            | RecommenderKind::Rp3beta
            | RecommenderKind::Sequence
            | RecommenderKind::Bpr
            | RecommenderKind::Blend => None,
        };
        let parameters = Parameters::resolve(kind, &parameters).unwrap();
        let artefact = train(&self.interactions, &parameters, 42, Provenance::default()).unwrap();
        let path = artefact.write(&self.state().join("artefacts")).unwrap();
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    pub fn read_artefact(&self, name: &str) -> Artefact {
        Artefact::read(&self.artefact(name)).unwrap()
    }

    pub fn promote(&self, recommender: &str, number: u64, artefact: &str, fallback: Option<&str>) {
        self.promote_with(recommender, number, artefact, fallback, RerankRules::default());
    }

    pub fn promote_with(
        &self,
        recommender: &str,
        number: u64,
        artefact: &str,
        fallback: Option<&str>,
        rerank: RerankRules,
    ) {
        let promotion = Promotion {
            format_version: PROMOTION_FORMAT_VERSION,
            number,
            recommender: recommender.to_owned(),
            artefact: artefact.to_owned(),
            fallback_artefact: fallback.map(str::to_owned),
            filter_seen: true,
            rerank,
            promoted_at: chrono::DateTime::from_timestamp(START, 0).unwrap(),
            reason: "test".to_owned(),
            metrics: Default::default(),
            provenance: Provenance::default(),
        };
        self.write_promotion(recommender, number, &serde_json::to_string(&promotion).unwrap());
    }

    /// Under its name at once, as the real writer does.
    pub fn write_promotion(&self, recommender: &str, number: u64, text: &str) {
        let directory = self.state().join("promoted").join(recommender);
        fs::create_dir_all(&directory).unwrap();
        let aside = directory.join(".aside");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, directory.join(format!("{number:020}.json"))).unwrap();
    }

    /// Every item (those for which `is_available` is false marked so), every user, and three odd ones: `empty` without
    /// history, `stranger` with items that no artefact knows, `odd/ü` with a name that needs escaping.
    pub fn publish(&self, number: u64, is_available: impl Fn(&ItemId) -> bool) {
        let mut items: Vec<FeedItem> = self
            .interactions
            .item_ids()
            .iter()
            .map(|id| FeedItem {
                id: id.clone(),
                title: Some(format!("Title of \"{id}\" 제목")),
                available: is_available(id),
                attributes: attributes(id),
            })
            .collect();
        items.push(FeedItem {
            id: "brand-new".parse().unwrap(),
            title: None,
            available: true,
            attributes: Default::default(),
        });
        let mut histories = self.histories();
        let first = histories[0].interactions.clone();
        let outside = vec![FeedInteraction("brand-new".parse().unwrap(), 1.0, START)];
        for (user, interactions) in [("empty", Vec::new()), ("stranger", outside), ("odd/ü", first)] {
            let user = user.parse().unwrap();
            histories.push(FeedHistory { user, interactions, things: Default::default() });
        }
        self.write_feed(number, &items, &histories);
    }

    /// What every user did, oldest first.
    pub fn histories(&self) -> Vec<FeedHistory> {
        let known = self.interactions.user_ids().iter().zip(0u32..);
        known
            .map(|(user, ordinal)| {
                let events = self.interactions.history(ordinal).iter();
                let interaction = |event: &recommend::Event| {
                    FeedInteraction(self.interactions.item_ids()[event.item as usize].clone(), event.weight, event.at)
                };
                let interactions = events.map(interaction).collect();
                FeedHistory { user: user.clone(), interactions, things: Default::default() }
            })
            .collect()
    }

    pub fn write_feed(&self, number: u64, items: &[FeedItem], histories: &[FeedHistory]) {
        let directory = self.feed(number);
        fs::create_dir_all(&directory).unwrap();
        let header = FeedHeader {
            format_version: FEED_FORMAT_VERSION,
            feed: number,
            catalog: 100 + number,
            event_seq: 0,
            created_at: chrono::DateTime::from_timestamp(START, 0).unwrap(),
            items: write_lines(&directory, "items.ndjson.zst", items),
            histories: write_lines(&directory, "histories.ndjson.zst", histories),
            users: None,
            provenance: Provenance::default(),
        };
        let aside = directory.join(".header");
        fs::write(&aside, serde_json::to_string(&header).unwrap()).unwrap();
        fs::rename(aside, directory.join("header.json")).unwrap();
    }
}

/// Every item has a shelf, 0 to 4, and a price.
pub fn attributes(id: &ItemId) -> BTreeMap<String, serde_json::Value> {
    let number: u64 =
        id.as_str().bytes().filter(u8::is_ascii_digit).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    BTreeMap::from([
        ("shelf".to_owned(), format!("shelf-{}", number % 5).into()),
        ("price".to_owned(), (number as f64 / 10.0).into()),
    ])
}

fn write_lines<T: serde::Serialize>(directory: &Path, name: &str, lines: &[T]) -> FeedFile {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    for line in lines {
        serde_json::to_writer(&mut encoder, line).unwrap();
        encoder.write_all(b"\n").unwrap();
    }
    let bytes = encoder.finish().unwrap();
    fs::write(directory.join(name), &bytes).unwrap();
    FeedFile { name: name.to_owned(), rows: lines.len() as u64, bytes: bytes.len() as u64, sha256: hash_bytes(&bytes) }
}
