//! JSON values as JavaScript reads them: numbers are doubles, and an object's keys keep JavaScript's order, because the SDKs compare objects by their text.
//!
//! In: JSON text.  Out: [`Value`] and [`Object`].
//! Never here: conversions between types (see `javascript`).
//! Start at [`Value`].

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::javascript;

/// A JSON value. There is no `undefined`: what is missing reads as `Null`, as in the SDKs' conditions.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, and whatever is missing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A double: JavaScript has no other numbers.
    Number(f64),
    /// Text.
    String(Box<str>),
    /// A list.
    Array(Vec<Value>),
    /// Named values.
    Object(Object),
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for Value {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, SchemaType};
        ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some("Any JSON.")).into()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for Value {}

/// What is missing.
pub static NULL: Value = Value::Null;

/// Up to this many keys a scan is faster than a search by halves.
const SCANNED_KEYS: usize = 8;

/// Named values in JavaScript's order: keys that are array indices first, ascending, then the others as they came; the last of equal keys wins.
///
/// Attributes of a unit are one: `Object::parse(r#"{"id":"u1"}"#)`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object {
    entries: Vec<(Box<str>, Value)>,
    /// Positions in `entries`, ordered by key; empty for few keys.
    sorted: Vec<u32>,
}

impl Object {
    /// Reads attributes. Errors: what is not a JSON object, is nested deeper than 127 levels, or holds a number beyond a double.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    fn new(mut entries: Vec<(Box<str>, Value)>) -> Self {
        if entries.len() > 1 {
            remove_repeated(&mut entries);
            // Stable: names that are no index keep their order.
            entries.sort_by_key(|(key, _)| javascript::array_index(key).map_or(u64::MAX, u64::from));
        }
        let mut sorted = Vec::new();
        if entries.len() > SCANNED_KEYS {
            sorted = (0..entries.len() as u32).collect();
            sorted.sort_by(|&a, &b| entries[a as usize].0.cmp(&entries[b as usize].0));
        }
        Self { entries, sorted }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        if self.sorted.is_empty() {
            return self.entries.iter().find(|(name, _)| **name == *key).map(|(_, value)| value);
        }
        let place = self.sorted.binary_search_by(|&at| (*self.entries[at as usize].0).cmp(key)).ok()?;
        Some(&self.entries[self.sorted[place] as usize].1)
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl FromIterator<(String, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Self {
        Self::new(entries.into_iter().map(|(key, value)| (key.into_boxed_str(), value)).collect())
    }
}

/// The last value of a repeated key takes the place of the first.
fn remove_repeated(entries: &mut Vec<(Box<str>, Value)>) {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by(|&a, &b| entries[a].0.cmp(&entries[b].0).then(a.cmp(&b)));
    let mut removed = Vec::new();
    for run in order.chunk_by(|&a, &b| entries[a].0 == entries[b].0).filter(|run| run.len() > 1) {
        removed.push((run[0], run[1..].to_vec()));
    }
    if removed.is_empty() {
        return;
    }
    let mut gone = vec![false; entries.len()];
    for (first, others) in removed {
        let last = others[others.len() - 1];
        entries[first].1 = std::mem::replace(&mut entries[last].1, Value::Null);
        others.iter().for_each(|&at| gone[at] = true);
    }
    let mut gone = gone.into_iter();
    entries.retain(|_| !gone.next().unwrap_or(false));
}

impl Value {
    /// The text, if this is text.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The number, if this is one.
    pub fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The list, if this is one.
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Self::Array(values) = self { Some(values) } else { None }
    }

    /// The object, if this is one.
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// Whether this is `null`, or missing.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            // JSON.stringify writes whole numbers without a point, and −0 as 0.
            Self::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                serializer.serialize_i64(*number as i64)
            }
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(values) => serializer.collect_seq(values),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        ObjectVisitor.visit_map(map).map(Value::Object)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            entries.push((key.into_boxed_str(), value));
        }
        Ok(Object::new(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_of_javascript() {
        let object = Object::parse(r#"{"b":1,"10":2,"a":3,"9":4,"b":5,"01":6,"4294967295":7}"#).unwrap();
        let text = serde_json::to_string(&object).unwrap();
        // node -e 'console.log(JSON.stringify(JSON.parse(…)))'
        assert_eq!(text, r#"{"9":4,"10":2,"b":5,"a":3,"01":6,"4294967295":7}"#);
    }

    #[test]
    fn many_keys_are_all_found() {
        let object: Object = (0..1000).map(|i| (format!("k{i}"), Value::Number(f64::from(i)))).collect();
        assert!((0..1000).all(|i| object.get(&format!("k{i}")) == Some(&Value::Number(f64::from(i)))));
        assert_eq!(object.get("k1000"), None);
    }

    #[test]
    fn a_tower_of_brackets_is_an_error() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert!(Object::parse(&deep).unwrap_err().to_string().contains("recursion limit"));
    }
}
