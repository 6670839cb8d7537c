//! What is known of users and items beside interactions, as training and evaluation take it, and what of it an artefact depends on.
//!
//! In: a catalog, recommender files.  Out: [`Profiles`]: rows of the items and users tables; a hash of the columns that count.
//! Never here: the meaning of a column (`recommend`), interactions (`marts`).
//! Start at [`Profiles::read`].

use std::collections::BTreeMap;

use domain::{FeedItem, FeedUser, Hasher, Profile, TableName, UserId};
use recommend::{Attributes, Parameters, RecommenderFile};
use serde_json::Value;
use warehouse::{Catalog, Warehouse};

use crate::rows::Columns;
use crate::{PipelineError, marts};

/// The rows of one items table and one users table; empty where nobody asks for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Profiles {
    pub(crate) items: Vec<FeedItem>,
    pub(crate) users: Vec<FeedUser>,
}

impl Profiles {
    /// Reads of a recommender's tables those that its training looks at.
    ///
    /// Errors: `NoTable` when its parameters want attributes and the file names no table.
    pub(crate) async fn read(
        warehouse: &Warehouse,
        catalog: &Catalog,
        name: &str,
        file: &RecommenderFile,
    ) -> Result<Self, PipelineError> {
        let parameters = file.parameters()?;
        let wanted = |key: &'static str, columns: &[String], table: &Option<TableName>| match table {
            _ if columns.is_empty() => Ok(None),
            Some(table) => Ok(Some(table.clone())),
            None => Err(PipelineError::NoAttributes { recommender: name.to_owned(), key, column: columns[0].clone() }),
        };
        let items = match wanted("items", &parameters.item_columns(), &file.items)? {
            Some(table) => marts::items(warehouse, catalog, &table).await?,
            None => Vec::new(),
        };
        let users = match wanted("users", &parameters.user_columns(), &file.users)? {
            Some(table) => users(warehouse, catalog, &table).await?,
            None => Vec::new(),
        };
        Ok(Self { items, users })
    }

    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Attributes { items: &self.items, users: &self.users }
    }

    /// What training with these parameters depends on: `<table>` → hash of the columns that it looks at. Another column may change
    /// without another artefact.
    pub(crate) fn inputs(&self, file: &RecommenderFile, parameters: &Parameters) -> BTreeMap<String, String> {
        let items = self.items.iter().map(|item| (item.id.as_str(), &item.attributes, item.title.as_deref()));
        let users = self.users.iter().map(|user| (user.id.as_str(), &user.attributes, None));
        let items = (&file.items, parameters.item_columns(), hash(items, &parameters.item_columns()));
        let users = (&file.users, parameters.user_columns(), hash(users, &parameters.user_columns()));
        let named = [items, users].into_iter().filter(|(_, columns, _)| !columns.is_empty());
        named
            .filter_map(|(table, columns, hash)| Some((format!("{}: {}", table.as_ref()?, columns.join(", ")), hash)))
            .collect()
    }
}

/// SHA-256 over ids and the values of these columns.
fn hash<'a>(rows: impl Iterator<Item = (&'a str, &'a Profile, Option<&'a str>)>, columns: &[String]) -> String {
    let mut hasher = Hasher::default();
    for (id, attributes, title) in rows {
        hasher.update(id.as_bytes());
        for column in columns {
            let value = match attributes.get(column) {
                None if column == "title" => title.map_or(Value::Null, Value::from),
                value => value.cloned().unwrap_or_default(),
            };
            // No JSON text holds a line end outside its escapes, so values cannot run into each other.
            hasher.update(b"\n");
            hasher.update(value.to_string().as_bytes());
        }
        hasher.update(b"\n\n");
    }
    hasher.finish()
}

/// Reads `user_id`; every other column becomes an attribute. Rows whose id is null or no id are left out; of a repeated one the
/// first in the order of attributes counts.
pub(crate) async fn users(
    warehouse: &Warehouse,
    catalog: &Catalog,
    table: &TableName,
) -> Result<Vec<FeedUser>, PipelineError> {
    let result = marts::read(warehouse, catalog, table).await?;
    let name = table.to_string();
    let columns = Columns::new(&name, &result);
    let ids = columns.text("user_id")?;
    let mut attributes: Vec<Profile> = vec![Profile::new(); ids.len()];
    for column in columns.names().into_iter().filter(|column| column != "user_id") {
        for (row, value) in columns.json(&column)?.into_iter().enumerate() {
            if !value.is_null() {
                attributes[row].insert(column.clone(), value);
            }
        }
    }
    let rows = ids.into_iter().zip(attributes);
    let mut users: Vec<FeedUser> =
        rows.filter_map(|(id, attributes)| Some(FeedUser { id: id?.parse::<UserId>().ok()?, attributes })).collect();
    users.sort_by_cached_key(|user| (user.id.clone(), format!("{:?}", user.attributes)));
    users.dedup_by(|later, first| later.id == first.id);
    Ok(users)
}
