//! What is known of items, by column, so that a condition on all of them is a pass over one column.
//!
//! In: attributes by item, as the items mart holds them (text, numbers, truths, lists of text; moments as ISO 8601 text).
//! Out: the [`ItemSet`] that a [`Condition`] selects; the value of an attribute as a group.
//! Never here: the language (see `condition`), scores.
//! Start at [`Catalogue::new`] and [`Catalogue::select`].

use std::collections::{BTreeMap, BTreeSet};

use domain::{FeedItem, ItemId};
use serde_json::Value as Json;

use super::condition::{Comparison, Condition, Value};
use super::{ConditionError, ItemSet};
use crate::parameters::nearest;

/// Stands for null among the codes of texts.
const NO_TEXT: u32 = u32::MAX;

/// The attributes of an artefact's items.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    items: usize,
    columns: BTreeMap<String, Column>,
}

/// One attribute of all items.
#[derive(Debug, Clone, PartialEq)]
enum Column {
    /// NaN is null.
    Numbers(Vec<f64>),
    /// Distinct texts rising, and for each item the place of its own.
    Texts {
        distinct: Vec<String>,
        codes: Vec<u32>,
    },
    Truths {
        yes: ItemSet,
        known: ItemSet,
    },
    /// Distinct texts rising, for each of them its items, and the items that have a list at all.
    Lists {
        distinct: Vec<String>,
        members: Vec<ItemSet>,
        known: ItemSet,
    },
}

/// Items of which a condition is true, and of which it is false; of the rest it is unknown.
struct Answer {
    yes: ItemSet,
    no: ItemSet,
}

impl Catalogue {
    /// `attributes[item]` holds what is known of the item with this ordinal; `item_id` is an attribute of every item.
    pub fn new(ids: &[ItemId], attributes: &[BTreeMap<String, Json>]) -> Self {
        let items = ids.len();
        let names: BTreeSet<&String> = attributes.iter().flat_map(BTreeMap::keys).collect();
        let mut columns: BTreeMap<String, Column> = names
            .into_iter()
            .map(|name| {
                let values: Vec<&Json> = (0..items)
                    .map(|item| attributes.get(item).and_then(|all| all.get(name)).unwrap_or(&Json::Null))
                    .collect();
                (name.clone(), Column::new(&values))
            })
            .collect();
        let ids = ids.iter().map(|id| Some(id.as_str().to_owned())).collect();
        columns.insert("item_id".to_owned(), Column::texts(ids));
        Self { items, columns }
    }

    /// The attributes that a feed has of these items, ids rising.
    pub fn of_feed(ids: &[ItemId], items: &[FeedItem]) -> Self {
        let mut attributes = vec![BTreeMap::new(); ids.len()];
        for item in items {
            if let Ok(ordinal) = ids.binary_search(&item.id) {
                attributes[ordinal].clone_from(&item.attributes);
            }
        }
        Self::new(ids, &attributes)
    }

    /// The items of which the condition is true; `now` is seconds since 1970 UTC.
    ///
    /// Errors: `UnknownAttribute` with the nearest name, `WrongType`.
    pub fn select(&self, condition: &Condition, now: i64) -> Result<ItemSet, ConditionError> {
        self.answer(condition, now).map(|answer| answer.yes)
    }

    /// For each item the group that an attribute's text, number or truth puts it into; `None` without a value.
    ///
    /// Errors: `UnknownAttribute`; `WrongType` for lists.
    pub fn groups(&self, name: &str) -> Result<Vec<Option<u32>>, ConditionError> {
        match self.column(name)? {
            Column::Texts { codes, .. } => Ok(codes.iter().map(|code| (*code != NO_TEXT).then_some(*code)).collect()),
            Column::Numbers(numbers) => {
                let mut distinct: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
                distinct.sort_unstable_by(f64::total_cmp);
                distinct.dedup();
                let place = |number: &f64| distinct.partition_point(|other| other < number) as u32;
                Ok(numbers.iter().map(|number| (!number.is_nan()).then(|| place(number))).collect())
            }
            Column::Truths { yes, known } => Ok((0..self.items as u32)
                .map(|item| known.contains(item).then(|| u32::from(yes.contains(item))))
                .collect()),
            column @ Column::Lists { .. } => Err(column.wrong_type(name, "one value per item")),
        }
    }

    /// The values of a text or truth with the most items, largest first and equally large ones by name, and `other` for all other items
    /// if there are any; of a list each entry is a value, so an item may be in several sets.
    ///
    /// Errors: `UnknownAttribute`; `WrongType` for numbers.
    pub(crate) fn largest(&self, name: &str, most: usize) -> Result<Vec<(String, ItemSet)>, ConditionError> {
        let mut groups: Vec<(String, ItemSet)> = match self.column(name)? {
            Column::Texts { distinct, codes } => {
                let mut sets = vec![ItemSet::new(self.items); distinct.len()];
                let known = (0u32..).zip(codes).filter(|(_, code)| **code != NO_TEXT);
                known.for_each(|(item, code)| sets[*code as usize].insert(item));
                distinct.iter().cloned().zip(sets).collect()
            }
            Column::Truths { yes, known } => {
                let mut no = yes.complement();
                no.intersect_with(known);
                vec![("true".to_owned(), yes.clone()), ("false".to_owned(), no)]
            }
            Column::Lists { distinct, members, .. } => distinct.iter().cloned().zip(members.iter().cloned()).collect(),
            column @ Column::Numbers(_) => return Err(column.wrong_type(name, "a text")),
        };
        groups.sort_by(|one, other| other.1.len().cmp(&one.1.len()).then_with(|| one.0.cmp(&other.0)));
        groups.truncate(most);
        let mut rest = ItemSet::new(self.items).complement();
        groups.iter().for_each(|(_, items)| rest.intersect_with(&items.complement()));
        if !rest.is_empty() {
            groups.push(("other".to_owned(), rest));
        }
        Ok(groups)
    }

    fn column(&self, name: &str) -> Result<&Column, ConditionError> {
        self.columns.get(name).ok_or_else(|| ConditionError::UnknownAttribute {
            name: name.to_owned(),
            nearest: nearest(name, self.columns.keys().map(String::as_str)),
            known: self.columns.keys().cloned().collect(),
        })
    }

    fn answer(&self, condition: &Condition, now: i64) -> Result<Answer, ConditionError> {
        match condition {
            Condition::And(left, right) => {
                let (mut left, right) = (self.answer(left, now)?, self.answer(right, now)?);
                left.yes.intersect_with(&right.yes);
                left.no.union_with(&right.no);
                Ok(left)
            }
            Condition::Or(left, right) => {
                let (mut left, right) = (self.answer(left, now)?, self.answer(right, now)?);
                left.yes.union_with(&right.yes);
                left.no.intersect_with(&right.no);
                Ok(left)
            }
            Condition::Not(inner) => {
                let Answer { yes, no } = self.answer(inner, now)?;
                Ok(Answer { yes: no, no: yes })
            }
            Condition::IsNull { name } => {
                let known = self.column(name)?.known(self.items);
                Ok(Answer { yes: known.complement(), no: known })
            }
            Condition::Compare { name, comparison, value } => {
                let column = self.column(name)?;
                Ok(self.known_answer(column, column.compare(name, *comparison, value, now)?))
            }
            Condition::In { name, values } => {
                let column = self.column(name)?;
                let mut yes = ItemSet::new(self.items);
                for value in values {
                    yes.union_with(&column.compare(name, Comparison::Equal, value, now)?);
                }
                Ok(self.known_answer(column, yes))
            }
            Condition::Contains { name, value } => {
                let column = self.column(name)?;
                Ok(self.known_answer(column, column.contains(name, value)?))
            }
        }
    }

    fn known_answer(&self, column: &Column, yes: ItemSet) -> Answer {
        let mut no = yes.complement();
        no.intersect_with(&column.known(self.items));
        Answer { yes, no }
    }
}

impl Column {
    /// Numbers, truths or lists if every value is one; anything else is text.
    fn new(values: &[&Json]) -> Self {
        let all = |is_it: fn(&Json) -> bool| values.iter().all(|value| value.is_null() || is_it(value));
        if all(Json::is_boolean) {
            let is = |item: usize, wanted: bool| values[item].as_bool().is_some_and(|truth| !wanted || truth);
            return Self::Truths {
                yes: ItemSet::of(values.len(), |i| is(i, true)),
                known: ItemSet::of(values.len(), |i| is(i, false)),
            };
        }
        if all(Json::is_number) {
            return Self::Numbers(values.iter().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect());
        }
        if all(Json::is_array) {
            return Self::lists(values);
        }
        Self::texts(values.iter().map(|value| (!value.is_null()).then(|| plain(value))).collect())
    }

    fn texts(values: Vec<Option<String>>) -> Self {
        let distinct: Vec<String> = values.iter().flatten().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        let code = |value: &Option<String>| {
            value.as_ref().map_or(NO_TEXT, |text| distinct.partition_point(|other| other < text) as u32)
        };
        Self::Texts { codes: values.iter().map(code).collect(), distinct }
    }

    fn lists(values: &[&Json]) -> Self {
        let mut members: BTreeMap<String, ItemSet> = BTreeMap::new();
        for (item, value) in values.iter().enumerate() {
            for entry in value.as_array().into_iter().flatten() {
                members.entry(plain(entry)).or_insert_with(|| ItemSet::new(values.len())).insert(item as u32);
            }
        }
        let (distinct, members) = members.into_iter().unzip();
        Self::Lists { distinct, members, known: ItemSet::of(values.len(), |item| values[item].is_array()) }
    }

    /// Items that have a value.
    fn known(&self, items: usize) -> ItemSet {
        match self {
            Self::Numbers(numbers) => ItemSet::of(items, |item| !numbers[item].is_nan()),
            Self::Texts { codes, .. } => ItemSet::of(items, |item| codes[item] != NO_TEXT),
            Self::Truths { known, .. } | Self::Lists { known, .. } => known.clone(),
        }
    }

    fn compare(&self, name: &str, how: Comparison, value: &Value, now: i64) -> Result<ItemSet, ConditionError> {
        match (self, value) {
            (Self::Numbers(numbers), Value::Number(other)) => Ok(ItemSet::of(numbers.len(), |item| {
                numbers[item].partial_cmp(other).is_some_and(|order| how.holds(order))
            })),
            (Self::Texts { distinct, codes }, Value::Text(_) | Value::Ago { .. }) => {
                let other = match value {
                    Value::Ago { days } => moment(now, *days),
                    Value::Text(text) => text.clone(),
                    Value::Number(_) | Value::Truth(_) => return Err(self.wrong_type(name, &value.shown())),
                };
                let holds: Vec<bool> = distinct.iter().map(|text| how.holds(text.as_str().cmp(&other))).collect();
                Ok(ItemSet::of(codes.len(), |item| codes[item] != NO_TEXT && holds[codes[item] as usize]))
            }
            (Self::Truths { yes, known }, Value::Truth(other)) => {
                let order = |item: usize| yes.contains(item as u32).cmp(other);
                Ok(ItemSet::of(known.capacity(), |item| known.contains(item as u32) && how.holds(order(item))))
            }
            (_, _) => Err(self.wrong_type(name, &value.shown())),
        }
    }

    fn contains(&self, name: &str, value: &Value) -> Result<ItemSet, ConditionError> {
        match (self, value) {
            (Self::Lists { distinct, members, known }, Value::Text(text)) => {
                let place = distinct.binary_search(text).ok();
                Ok(place.map_or_else(|| ItemSet::new(known.capacity()), |place| members[place].clone()))
            }
            (Self::Texts { distinct, codes }, Value::Text(part)) => {
                let holds: Vec<bool> = distinct.iter().map(|text| text.contains(part.as_str())).collect();
                Ok(ItemSet::of(codes.len(), |item| codes[item] != NO_TEXT && holds[codes[item] as usize]))
            }
            (_, _) => Err(self.wrong_type(name, &value.shown())),
        }
    }

    fn wrong_type(&self, name: &str, value: &str) -> ConditionError {
        let holds = match self {
            Self::Numbers(_) => "numbers",
            Self::Texts { .. } => "text",
            Self::Truths { .. } => "true or false",
            Self::Lists { .. } => "lists",
        };
        ConditionError::WrongType { name: name.to_owned(), holds, value: value.to_owned() }
    }
}

impl Comparison {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Value {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("text `'{text}'`"),
            Self::Number(number) => format!("number `{number}`"),
            Self::Truth(truth) => format!("`{truth}`"),
            Self::Ago { days } => format!("a moment (`now - {days} days`)"),
        }
    }
}

/// Text as it is; anything else as JSON.
fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `2011-12-09T12:50:00`: begins as the mart's moments do, with a blank or a `T`, so that order of text is order of time down to the day.
fn moment(now: i64, days: f64) -> String {
    let at = now.saturating_sub((days * 86_400.0) as i64);
    chrono::DateTime::from_timestamp(at, 0).map(|at| at.format("%Y-%m-%dT%H:%M:%S").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn catalogue() -> Catalogue {
        let attributes = [
            json!({"category": "mugs", "price": 3.5, "sale": true, "tags": ["red", "gift"], "since": "2011-12-01T10:00:00"}),
            json!({"category": "plates", "price": 12, "sale": false, "tags": ["blue"], "since": "2011-10-01T10:00:00"}),
            json!({"category": "mugs", "price": 9.0, "since": "2011-12-08T00:00:00"}),
            json!({"price": -1, "tags": []}),
        ];
        let ids: Vec<ItemId> = ["a", "b", "c", "d"].map(|id| id.parse().unwrap()).into();
        let attributes: Vec<BTreeMap<String, Json>> =
            attributes.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect();
        Catalogue::new(&ids, &attributes)
    }

    /// 2011-12-09T12:50:00Z.
    const NOW: i64 = 1_323_435_000;

    fn selected(text: &str) -> String {
        match Condition::parse(text).and_then(|condition| catalogue().select(&condition, NOW)) {
            Ok(set) => set.iter().map(|item| char::from(b'a' + item as u8)).collect(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn conditions_select_what_sql_would() {
        let cases = [
            ("category = 'mugs'", "ac"),
            ("category != 'mugs'", "b"),
            ("not category = 'mugs'", "b"),
            ("category is null", "d"),
            ("category is not null and price < 10", "ac"),
            ("category = 'mugs' or price > 10", "abc"),
            ("not (category = 'mugs' or price > 10)", ""),
            ("not (category = 'mugs' and price > 5)", "abd"),
            ("price >= -1 and price <= 3.5", "ad"),
            ("sale", "a"),
            ("not sale", "b"),
            ("sale is null", "cd"),
            ("tags contains 'gift'", "a"),
            ("not tags contains 'gift'", "bd"),
            ("category contains 'late'", "b"),
            ("category in ('plates', 'nothing')", "b"),
            ("category not in ('plates')", "ac"),
            ("item_id not in ('a', 'c')", "bd"),
            ("since >= now - 7 days", "c"),
            ("since < '2011-11'", "b"),
        ];
        for (text, expected) in cases {
            assert_eq!(selected(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_an_error_that_names_it() {
        assert_eq!(selected("categry = 'x'"), "items have no attribute `categry`; did you mean `category`?");
        assert_eq!(selected("price = 'x'"), "attribute `price` holds numbers and cannot be compared with text `'x'`");
        assert_eq!(selected("tags = 'red'"), "attribute `tags` holds lists and cannot be compared with text `'red'`");
        assert_eq!(selected("price"), "attribute `price` holds numbers and cannot be compared with `true`");
    }

    #[test]
    fn groups_are_equal_for_equal_values() {
        assert_eq!(catalogue().groups("category").unwrap(), [Some(0), Some(1), Some(0), None]);
        assert_eq!(catalogue().groups("price").unwrap(), [Some(1), Some(3), Some(2), Some(0)]);
        assert_eq!(catalogue().groups("sale").unwrap(), [Some(1), Some(0), None, None]);
        assert!(catalogue().groups("tags").is_err());
    }
}
