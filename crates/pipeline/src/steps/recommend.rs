//! `recommend`: lists from the promoted artefact, through the ranking code that serving runs: one user's for a person to
//! read, or everybody's as the mart `marts.recommendations`.
//!
//! In: a user, or all.  Out: items with titles and reasons beside what the user did; or a checked table.
//! Never here: scoring (`recommend` the crate), HTTP (`serving`).
//! Start at [`run`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, RecordBatch, StringArray};
use domain::{FeedItem, ItemId, Profile, Promotion, Provenance, TableName, UserId};
use recommend::{Artefact, Catalogue, ItemSet, RankRequest, RankedList, Ranker, Reranker};
use warehouse::{Catalog, Check, Materialized};

use super::Context;
use super::train::{MartCache, off_the_async_threads};
use crate::marts::InteractionsMart;
use crate::project::{Project, RECOMMENDATIONS};
use crate::{PipelineError, indicators, marts, profiles, promotions};

/// History items that are named per recommended item.
const REASONS: usize = 3;

/// Version of the table's layout; raise it when its columns change.
const TABLE_FORMAT_VERSION: u32 = 1;

/// Whose list, and how long.
#[derive(Debug, Clone)]
pub struct Request {
    pub users: Users,
    /// Which recommender; the one promoted last when absent.
    pub recommender: Option<String>,
    /// Items in a list; the recommender's own limit when absent.
    pub limit: Option<usize>,
}

/// Whose lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Users {
    One(String),
    All,
}

/// One user's list, or what was written for everybody.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(untagged)]
pub enum Report {
    One(UserReport),
    All(TableReport),
}

/// Everybody's lists, as a table.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableReport {
    pub table: TableName,
    pub recommender: String,
    pub artefact: String,
    pub users: usize,
    pub rows: u64,
    pub catalog: u64,
    /// True when the table already held the lists of this artefact for these interactions.
    pub unchanged: bool,
}

/// A list that a person can read.
#[derive(Debug, Clone, serde::Serialize)]
pub struct UserReport {
    pub user: String,
    pub recommender: String,
    pub artefact: String,
    /// `personal`, `profile`, `segment` or `popularity`.
    pub source: String,
    /// Why the list is not personal, when it is not.
    pub reason: Option<String>,
    /// Newest first.
    pub history: Vec<HistoryItem>,
    pub items: Vec<Item>,
}

/// Something the user did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct HistoryItem {
    pub item_id: String,
    pub title: Option<String>,
    pub at: chrono::DateTime<chrono::Utc>,
}

/// One recommended item.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Item {
    pub rank: usize,
    pub item_id: String,
    pub title: Option<String>,
    pub score: f32,
    pub because: Vec<Because>,
}

/// What of the history speaks for a recommended item: an item, or a thing of an indicator.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Because {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_id: Option<String>,
    /// Of the item, also where the thing is one.
    pub title: Option<String>,
    /// Such as `view`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indicator: Option<String>,
    /// What was viewed, or searched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thing: Option<String>,
    /// Share of the score, 0.0–1.0.
    pub share: f32,
}

/// One user's list, or everybody's.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let catalog = context.warehouse.catalog().await?;
    let serving = Serving::load(context, &catalog, request.recommender.as_deref()).await?;
    let limit = request.limit.unwrap_or(serving.limit);
    match request.users {
        Users::One(user) => serving.list_of(&user, limit).map(Report::One),
        Users::All => write_all(context, serving, limit).await.map(Report::All),
    }
}

/// Lists of several users, from one reading of the marts.
pub(super) async fn lists(
    context: &Context,
    catalog: &Catalog,
    users: &[String],
    limit: usize,
) -> Result<Vec<UserReport>, PipelineError> {
    let serving = Serving::load(context, catalog, None).await?;
    users.iter().map(|user| serving.list_of(user, limit)).collect()
}

/// What serving works with, put together from the newest catalog instead of a feed.
struct Serving {
    promotion: Promotion,
    mart: Arc<InteractionsMart>,
    items: HashMap<ItemId, FeedItem>,
    items_version: String,
    hidden: ItemSet,
    ranker: Ranker,
    /// What is known of each user; empty without a users table.
    profiles: HashMap<UserId, Profile>,
    /// Version of that table; empty without it.
    users_version: String,
    limit: usize,
}

impl Serving {
    async fn load(context: &Context, catalog: &Catalog, recommender: Option<&str>) -> Result<Self, PipelineError> {
        let promotion = promotion(&context.project, recommender)?.ok_or(PipelineError::NothingPromoted)?;
        let file = context.project.recommender(&promotion.recommender)?;
        let mart = MartCache::default().read(context, catalog, &file.interactions, &indicators::wanted([file])).await?;
        let (items, items_version) = match &file.items {
            Some(table) => (marts::items(&context.warehouse, catalog, table).await?, marts::version(catalog, table)),
            None => (marts::items_of(&mart.interactions), String::new()),
        };
        let root = context.project.artefacts_dir();
        let artefact = Arc::new(Artefact::read(&root.join(&promotion.artefact))?);
        let fallback = match &promotion.fallback_artefact {
            Some(name) => Arc::new(Artefact::read(&root.join(name))?),
            None => artefact.clone(),
        };
        let mut ranker = Ranker::new(artefact, &fallback)?;
        if !promotion.rerank.is_empty() {
            let catalogue = Catalogue::of_feed(ranker.items(), &items);
            let rules = Reranker::join(&promotion.rerank, &catalogue, context.now.timestamp());
            ranker = ranker.with_rules(rules.map_err(recommend::RecommendError::from)?);
        }
        let items: HashMap<ItemId, FeedItem> = items.into_iter().map(|item| (item.id.clone(), item)).collect();
        // As serving does: what is unavailable, and what the items mart does not list, is never shown.
        let is_hidden = |id: &&ItemId| items.get(*id).map_or(!items.is_empty(), |item| !item.available);
        let hidden = ranker.item_set(ranker.items().iter().filter(is_hidden));
        let users = context.project.recommenders.values().find_map(|file| file.users.as_ref());
        let (profiles, users_version) = match users.filter(|_| !ranker.profile_columns().is_empty()) {
            Some(table) => (profiles::users(&context.warehouse, catalog, table).await?, marts::version(catalog, table)),
            None => (Vec::new(), String::new()),
        };
        let profiles = profiles.into_iter().map(|user| (user.id, user.attributes)).collect();
        Ok(Self { promotion, mart, items, items_version, hidden, ranker, profiles, users_version, limit: file.limit })
    }

    fn list_of(&self, user: &str, limit: usize) -> Result<UserReport, PipelineError> {
        let unknown = || PipelineError::NoUser { user: user.to_owned() };
        let id: UserId = user.parse().map_err(|_| unknown())?;
        let interactions = &self.mart.interactions;
        let ordinal = interactions.user_ordinal(&id);
        let is_known = ordinal.is_some() || self.profiles.contains_key(&id);
        if !is_known && interactions.indicators().history(&id).is_empty() {
            return Err(unknown());
        }
        let list = self.rank(&id, limit, REASONS);
        let ids = interactions.item_ids();
        let mut history: Vec<HistoryItem> = ordinal
            .map(|ordinal| interactions.history(ordinal))
            .unwrap_or_default()
            .iter()
            .rev()
            .map(|event| {
                let id = &ids[event.item as usize];
                let at = chrono::DateTime::from_timestamp(event.at, 0).unwrap_or_default();
                HistoryItem { item_id: id.to_string(), title: self.title(id), at }
            })
            .collect();
        history.dedup_by(|older, newer| older.item_id == newer.item_id && older.at == newer.at);
        Ok(UserReport {
            user: user.to_owned(),
            recommender: self.promotion.recommender.clone(),
            artefact: self.promotion.artefact.clone(),
            source: word(&list.source)?,
            reason: list.fallback.as_ref().map(word).transpose()?,
            history,
            items: self.items(&list),
        })
    }

    fn rank(&self, user: &UserId, limit: usize, reasons: usize) -> RankedList {
        let history = indicators::history(&self.ranker, &self.mart.interactions, user);
        let (exclude_seen, profile) = (self.promotion.filter_seen, self.profiles.get(user));
        let request = RankRequest { limit, exclude_seen, hidden: Some(&self.hidden), reasons, profile, seed: None };
        self.ranker.recommend(&history, &request)
    }

    fn items(&self, list: &RankedList) -> Vec<Item> {
        let ids = self.ranker.items();
        let named = |ordinal: u32| &ids[ordinal as usize];
        (1..)
            .zip(&list.items)
            .map(|(rank, item)| Item {
                rank,
                item_id: named(item.item).to_string(),
                title: self.title(named(item.item)),
                score: item.score,
                because: item
                    .because
                    .iter()
                    .map(|reason| match self.ranker.thing_at(reason.item) {
                        Some(thing) => Because {
                            item_id: None,
                            title: thing.thing.parse().ok().and_then(|id| self.title(&id)),
                            indicator: Some(thing.indicator.clone()),
                            thing: Some(thing.thing.clone()),
                            share: reason.share,
                        },
                        None => Because {
                            item_id: Some(named(reason.item).to_string()),
                            title: self.title(named(reason.item)),
                            indicator: None,
                            thing: None,
                            share: reason.share,
                        },
                    })
                    .collect(),
            })
            .collect()
    }

    fn title(&self, id: &ItemId) -> Option<String> {
        self.items.get(id).and_then(|item| item.title.clone())
    }

    /// Everybody of whom anything is known, rising: by what they did, or by a profile alone.
    fn everybody(&self) -> Vec<UserId> {
        let mut users = indicators::users(&self.mart.interactions);
        users.extend(self.profiles.keys().cloned());
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Everybody's list as one batch: `user_id`, `rank`, `item_id`, `score`, `source`.
    fn all(&self, limit: usize) -> Result<RecordBatch, PipelineError> {
        let (mut users, mut ranks, mut items, mut scores, mut sources) = (vec![], vec![], vec![], vec![], vec![]);
        let everybody = self.everybody();
        for user in &everybody {
            let list = self.rank(user, limit, 0);
            for (rank, item) in (1i32..).zip(&list.items) {
                users.push(user.as_str());
                ranks.push(rank);
                items.push(self.ranker.items()[item.item as usize].as_str());
                scores.push(item.score);
                sources.push(word(&item.source)?);
            }
        }
        let columns: [(&str, ArrayRef); 5] = [
            ("user_id", Arc::new(StringArray::from(users))),
            ("rank", Arc::new(Int32Array::from(ranks))),
            ("item_id", Arc::new(StringArray::from(items))),
            ("score", Arc::new(Float32Array::from(scores))),
            ("source", Arc::new(StringArray::from(sources))),
        ];
        RecordBatch::try_from_iter(columns).map_err(|error| PipelineError::internal("recommendations", error))
    }
}

/// Ranks for everybody and writes the mart through the same gate as any model: aside, checked, committed, published.
async fn write_all(context: &Context, serving: Serving, limit: usize) -> Result<TableReport, PipelineError> {
    let table: TableName =
        RECOMMENDATIONS.parse().map_err(|error| PipelineError::internal("the name of the mart", error))?;
    let mut inputs = serving.mart.indicators.clone();
    inputs.insert("interactions".to_owned(), serving.mart.content.clone());
    inputs.insert("items".to_owned(), serving.items_version.clone());
    inputs.insert("users".to_owned(), serving.users_version.clone());
    inputs.insert("artefact".to_owned(), serving.promotion.artefact.clone());
    inputs.insert("fallback".to_owned(), serving.promotion.fallback_artefact.clone().unwrap_or_default());
    let config = (limit, serving.promotion.filter_seen, &serving.promotion.rerank);
    let provenance = Provenance {
        inputs,
        config_hash: domain::hash_json(&config).map_err(|error| PipelineError::json("limit", &error))?,
        engine: concat!("recommend-", env!("CARGO_PKG_VERSION")).to_owned(),
        format_version: TABLE_FORMAT_VERSION,
        run_id: context.run_id.clone(),
        ..Provenance::default()
    };
    let (recommender, artefact) = (serving.promotion.recommender.clone(), serving.promotion.artefact.clone());
    let users = serving.everybody().len();
    context.progress.begin("recommend", Some(users as u64));
    let (serving, batch) = off_the_async_threads(move || {
        let batch = serving.all(limit)?;
        Ok((serving, batch))
    })
    .await?;
    drop(serving);
    let rows = batch.num_rows() as u64;
    let checks = vec![
        Check::unique(&table, &["user_id", "rank"]),
        Check::unique(&table, &["user_id", "item_id"]),
        Check::not_null(&table, &["user_id", "rank", "item_id", "score", "source"]),
    ];
    let written = context
        .warehouse
        .materialize(Materialized { table: table.clone(), batches: vec![batch], checks, provenance }, &context.run())
        .await?;
    context.progress.finish(&format!("{users} users, {rows} rows"));
    Ok(TableReport {
        table,
        recommender,
        artefact,
        users,
        rows,
        catalog: written.catalog,
        unchanged: written.unchanged,
    })
}

/// The promotion to follow.
fn promotion(project: &Project, recommender: Option<&str>) -> Result<Option<Promotion>, PipelineError> {
    match recommender {
        Some(name) => {
            project.recommender(name)?;
            promotions::promoted(&project.promoted_dir(), name)
        }
        None => promotions::promoted_last(&project.promoted_dir()),
    }
}

/// The word that JSON uses for a plain enum, such as `no_history`.
fn word<T: serde::Serialize>(value: &T) -> Result<String, PipelineError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(other) => Err(PipelineError::internal("a word", other)),
        Err(error) => Err(PipelineError::json("a word", &error)),
    }
}
