//! The marts of indicators (views, searches, carts), joined to the interactions that recommenders are trained on.
//!
//! In: a catalog, an [`InteractionsMart`], which indicators.  Out: the same mart, its interactions with their indicators.
//! Within a project a name means one mart (`project::read` sees to it), so several recommenders share a feed.
//! Never here: what is done with them (`recommend`); the SQL that makes them (the user's models).
//! Start at [`wanted`], then [`join`].

use std::collections::BTreeMap;

use domain::{FeedHistory, FeedThing, Hasher, TableName, UserId};
use recommend::{HistoryItem, IndicatorRow, Indicators, Interactions, Ranker, RecommenderFile};
use warehouse::{Catalog, Warehouse};

use crate::PipelineError;
use crate::marts::{self, InteractionsMart};
use crate::rows::Columns;

/// Name of the indicator → its mart.
pub(crate) type Wanted = BTreeMap<String, TableName>;

/// The indicators of some recommenders.
pub(crate) fn wanted<'a>(files: impl IntoIterator<Item = &'a RecommenderFile>) -> Wanted {
    let all = files.into_iter().flat_map(|file| &file.indicators);
    all.map(|indicator| (indicator.name.clone(), indicator.mart.clone())).collect()
}

/// What a provenance calls an indicator: `marts.views as view`.
pub(crate) fn input(name: &str, mart: &TableName) -> String {
    format!("{mart} as {name}")
}

/// Reads `user_id`, `thing`, `occurred_at` and, where a mart has it, `weight`. A row with a null is rejected like any other bad row.
pub(crate) async fn join(
    warehouse: &Warehouse,
    catalog: &Catalog,
    mart: &InteractionsMart,
    wanted: &Wanted,
) -> Result<InteractionsMart, PipelineError> {
    let mut rejected = mart.rejected.clone();
    let mut rows = BTreeMap::new();
    for (name, table) in wanted {
        rows.insert(name.clone(), read(warehouse, catalog, table, &mut rejected).await?);
    }
    let (indicators, refused) = Indicators::from_rows(rows);
    for row in refused {
        *rejected.entry(row.reason.describe()).or_default() += 1;
    }
    let contents = wanted.iter().map(|(name, table)| (input(name, table), content_hash(&indicators, name)));
    Ok(InteractionsMart {
        indicators: contents.collect(),
        interactions: mart.interactions.clone().with_indicators(indicators),
        rejected,
        content: mart.content.clone(),
    })
}

async fn read(
    warehouse: &Warehouse,
    catalog: &Catalog,
    table: &TableName,
    rejected: &mut BTreeMap<&'static str, usize>,
) -> Result<Vec<IndicatorRow>, PipelineError> {
    let result = marts::read(warehouse, catalog, table).await?;
    let name = table.to_string();
    let columns = Columns::new(&name, &result);
    let (users, things, times) = (columns.text("user_id")?, columns.text("thing")?, columns.seconds("occurred_at")?);
    let weights = if columns.has("weight") { columns.number("weight")? } else { vec![Some(1.0); users.len()] };
    let mut rows = Vec::with_capacity(users.len());
    for (((user, thing), at), weight) in users.into_iter().zip(things).zip(times).zip(weights) {
        let (Some(user), Some(thing), Some(at)) = (user, thing, at) else {
            *rejected.entry("user_id, thing or occurred_at of an indicator is null").or_default() += 1;
            continue;
        };
        // A null weight is not a number above zero; `recommend` says so.
        rows.push(IndicatorRow { user, thing, at, weight: weight.map_or(f32::NAN, |weight| weight as f32) });
    }
    Ok(rows)
}

/// SHA-256 over the events of one indicator. `recommend` puts them into one order, so row order does not matter.
fn content_hash(indicators: &Indicators, name: &str) -> String {
    let mut hasher = Hasher::default();
    for user in indicators.user_ids() {
        for event in indicators.history(user) {
            let thing = &indicators.things()[event.thing as usize];
            if thing.indicator != name {
                continue;
            }
            hasher.update(user.as_str().as_bytes());
            // No id holds a line end; the length keeps a thing from running into what follows.
            hasher.update(b"\n");
            hasher.update(&(thing.thing.len() as u64).to_le_bytes());
            hasher.update(thing.thing.as_bytes());
            hasher.update(&event.weight.to_le_bytes());
            hasher.update(&event.at.to_le_bytes());
        }
    }
    hasher.finish()
}

/// Everybody of whom anything is known, rising.
pub(crate) fn users(interactions: &Interactions) -> Vec<UserId> {
    let mut users: Vec<UserId> =
        interactions.user_ids().iter().chain(interactions.indicators().user_ids()).cloned().collect();
    users.sort_unstable();
    users.dedup();
    users
}

/// What is known of a user, in a ranker's ordinals.
pub(crate) fn history(ranker: &Ranker, interactions: &Interactions, user: &UserId) -> Vec<HistoryItem> {
    let (ids, all) = (interactions.item_ids(), interactions.indicators());
    let events = interactions.user_ordinal(user).map(|user| interactions.history(user)).unwrap_or_default();
    let mut history = ranker.history(events.iter().map(|event| (&ids[event.item as usize], event.weight, event.at)));
    history.extend(all.history(user).iter().filter_map(|event| {
        let item = ranker.thing(&all.things()[event.thing as usize])?;
        Some(HistoryItem { item, weight: event.weight, at: event.at })
    }));
    history
}

/// What every user did, oldest first, for the feed.
pub(crate) fn histories(interactions: &Interactions) -> Vec<FeedHistory> {
    let indicators = interactions.indicators();
    let of_user = |user: UserId| {
        let mut history = marts::history_of(interactions, user);
        for event in indicators.history(&history.user) {
            let thing = &indicators.things()[event.thing as usize];
            let things = history.things.entry(thing.indicator.clone()).or_default();
            things.push(FeedThing(thing.thing.clone(), event.weight, event.at));
        }
        history
    };
    users(interactions).into_iter().map(of_user).collect()
}
