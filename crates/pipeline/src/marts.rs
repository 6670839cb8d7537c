//! The marts that recommenders read, as the plain values that room `recommend` and the feed take.
//!
//! In: a catalog and a table's name.  Out: [`recommend::Interactions`], [`domain::FeedItem`]s.
//! Never here: what is done with them; the SQL that makes them (the user's models).
//! Start at [`interactions`].

use std::collections::BTreeMap;

use domain::{Dialect, FeedHistory, FeedInteraction, FeedItem, Hasher, ItemId, TableName, UserId, quote_identifier};
use recommend::{InteractionRow, Interactions, SegmentOptions, Segments};
use warehouse::{Catalog, QueryResult, Warehouse};

use crate::PipelineError;
use crate::rows::Columns;

/// Interactions of one mart, and how many of its rows could not be used, by reason.
#[derive(Debug)]
pub(crate) struct InteractionsMart {
    pub(crate) interactions: Interactions,
    pub(crate) rejected: BTreeMap<&'static str, usize>,
    /// Hash of the usable rows, whatever their order: the same rows in another warehouse give the same artefact.
    pub(crate) content: String,
    /// The same of each indicator, by the name that a provenance gives it.
    pub(crate) indicators: BTreeMap<String, String>,
}

impl InteractionsMart {
    pub(crate) fn rejected_rows(&self) -> usize {
        self.rejected.values().sum()
    }
}

/// Reads `user_id`, `item_id`, `occurred_at` and, where the mart has them, `weight` and `basket_id`.
///
/// A row with a null id or time is rejected like any other bad row.
pub(crate) async fn interactions(
    warehouse: &Warehouse,
    catalog: &Catalog,
    table: &TableName,
) -> Result<InteractionsMart, PipelineError> {
    let result = read(warehouse, catalog, table).await?;
    let name = table.to_string();
    let columns = Columns::new(&name, &result);
    let users = columns.text("user_id")?;
    let items = columns.text("item_id")?;
    let times = columns.seconds("occurred_at")?;
    let weights = if columns.has("weight") { columns.number("weight")? } else { vec![Some(1.0); users.len()] };
    let baskets = if columns.has("basket_id") { columns.text("basket_id")? } else { vec![None; users.len()] };

    let mut rejected: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut rows = Vec::with_capacity(users.len());
    for ((((user, item), at), weight), basket) in users.into_iter().zip(items).zip(times).zip(weights).zip(baskets) {
        let (Some(user), Some(item), Some(at)) = (user, item, at) else {
            *rejected.entry("user_id, item_id or occurred_at is null").or_default() += 1;
            continue;
        };
        // A null weight is not a number above zero; `recommend` says so.
        let weight = weight.map_or(f32::NAN, |weight| weight as f32);
        rows.push(InteractionRow { user, item, at, weight, basket });
    }
    let (interactions, refused) = Interactions::from_rows(rows);
    for row in refused {
        *rejected.entry(row.reason.describe()).or_default() += 1;
    }
    let content = content_hash(&interactions);
    Ok(InteractionsMart { interactions, rejected, content, indicators: BTreeMap::new() })
}

/// SHA-256 over ids and events. `recommend` puts both into one order, so row order does not matter.
fn content_hash(interactions: &Interactions) -> String {
    let mut hasher = Hasher::default();
    let ids =
        interactions.user_ids().iter().map(UserId::as_str).chain(interactions.item_ids().iter().map(ItemId::as_str));
    for id in ids {
        hasher.update(id.as_bytes());
        // No id holds a line end, so the ids cannot run into each other.
        hasher.update(b"\n");
    }
    for event in interactions.events() {
        hasher.update(&event.user.to_le_bytes());
        hasher.update(&event.item.to_le_bytes());
        hasher.update(&event.weight.to_le_bytes());
        hasher.update(&event.at.to_le_bytes());
        hasher.update(&event.basket.to_le_bytes());
    }
    hasher.finish()
}

/// Reads `user_id` and the column that tells segments apart, and hashes both. Users without an id or a value are left out.
pub(crate) async fn segments(
    warehouse: &Warehouse,
    catalog: &Catalog,
    options: &SegmentOptions,
) -> Result<(Segments, String), PipelineError> {
    let result = read(warehouse, catalog, &options.table).await?;
    let name = options.table.to_string();
    let columns = Columns::new(&name, &result);
    let (users, values) = (columns.text("user_id")?, columns.text(&options.column)?);
    let pairs = users.into_iter().zip(values).filter_map(|(user, value)| Some((user?.parse::<UserId>().ok()?, value?)));
    let segments = Segments::new(pairs);
    let mut hasher = Hasher::default();
    for (user, value) in segments.pairs() {
        hasher.update(user.as_str().as_bytes());
        // No id holds a line end; the length keeps values from running into the next id.
        hasher.update(b"\n");
        hasher.update(&(value.len() as u64).to_le_bytes());
        hasher.update(value.as_bytes());
    }
    Ok((segments, hasher.finish()))
}

/// Reads `item_id` and, where the mart has them, `title` and `available`; every other column becomes an attribute.
///
/// Rows whose id is null or no id are left out: nothing can be recommended under them.
pub(crate) async fn items(
    warehouse: &Warehouse,
    catalog: &Catalog,
    table: &TableName,
) -> Result<Vec<FeedItem>, PipelineError> {
    let result = read(warehouse, catalog, table).await?;
    let name = table.to_string();
    let columns = Columns::new(&name, &result);
    let ids = columns.text("item_id")?;
    let titles = if columns.has("title") { columns.text("title")? } else { vec![None; ids.len()] };
    let available = if columns.has("available") { columns.truth("available")? } else { vec![Some(true); ids.len()] };
    let mut attributes: Vec<BTreeMap<String, serde_json::Value>> = vec![BTreeMap::new(); ids.len()];
    for column in columns.names() {
        if ["item_id", "title", "available"].contains(&column.as_str()) {
            continue;
        }
        for (row, value) in columns.json(&column)?.into_iter().enumerate() {
            if !value.is_null() {
                attributes[row].insert(column.clone(), value);
            }
        }
    }
    let mut items: Vec<FeedItem> = ids
        .into_iter()
        .zip(titles)
        .zip(available)
        .zip(attributes)
        .filter_map(|(((id, title), available), attributes)| {
            let id: ItemId = id?.parse().ok()?;
            // An item whose availability nobody knows is not offered.
            Some(FeedItem { id, title, available: available.unwrap_or(false), attributes })
        })
        .collect();
    items.sort_by(|left, right| left.id.cmp(&right.id));
    items.dedup_by(|later, first| later.id == first.id);
    Ok(items)
}

/// Every row of a table or view of the catalog.
pub(crate) async fn read(
    warehouse: &Warehouse,
    catalog: &Catalog,
    table: &TableName,
) -> Result<QueryResult, PipelineError> {
    let sql = format!(
        "select * from {}.{}",
        quote_identifier(Dialect::Standard, table.schema()),
        quote_identifier(Dialect::Standard, table.name())
    );
    Ok(warehouse.query(catalog, &sql).await?)
}

/// Identity of the version of a table in a catalog; empty when the catalog does not hold it.
pub(crate) fn version(catalog: &Catalog, table: &TableName) -> String {
    catalog.tables.get(table).map(|entry| entry.identity()).unwrap_or_default()
}

/// The items that interactions name, for projects without an items mart: no title, all available.
pub(crate) fn items_of(interactions: &Interactions) -> Vec<FeedItem> {
    let plain = |id: &ItemId| FeedItem { id: id.clone(), title: None, available: true, attributes: BTreeMap::new() };
    interactions.item_ids().iter().map(plain).collect()
}

/// The interactions of a user, oldest first.
pub(crate) fn history_of(interactions: &Interactions, user: UserId) -> FeedHistory {
    let events = interactions.user_ordinal(&user).map(|user| interactions.history(user)).unwrap_or_default();
    let interaction = |event: &recommend::Event| {
        FeedInteraction(interactions.item_ids()[event.item as usize].clone(), event.weight, event.at)
    };
    FeedHistory { user, interactions: events.iter().map(interaction).collect(), things: BTreeMap::new() }
}
