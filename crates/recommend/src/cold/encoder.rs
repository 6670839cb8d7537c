//! Attributes of items or users → yes-or-no features, the same in training and when somebody new asks.
//!
//! In: profiles (column → value), the names of the columns that count.  Out: an [`Encoder`]; ordinals of the features of a profile.
//! A text, truth or list entry is one feature; a number falls into one of ten ranges that hold equally many; a text that is to be
//! read by words has one feature per word. What fewer than two profiles have says nothing of others and is left out.
//! Never here: what a feature is worth (see `ridge`).
//! Start at [`Encoder::fit`], then [`Encoder::encode`].

use std::collections::{BTreeMap, HashMap};

use domain::Profile;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Profiles that must share a feature.
const LEAST_SUPPORT: usize = 2;

/// The normal equations take features² floats and features³/3 multiply-adds: a fraction of a second here.
pub(crate) const MAX_FEATURES: usize = 1_000;

/// Ranges of a number.
const RANGES: usize = 10;

/// One feature: an attribute and what must hold of it. In JSON `{"attribute": "country", "is": "Germany"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Feature {
    pub(crate) attribute: String,
    #[serde(flatten)]
    pub(crate) test: Test,
}

/// What must hold of an attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Test {
    /// It is this value, or a list that has it.
    Is(String),
    /// It has this word, in lower case.
    Word(String),
    /// It is a number from the first (absent: from anywhere) and below the second.
    Range(Option<f64>, Option<f64>),
}

/// The features of one kind of profile.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Encoder {
    features: Vec<Feature>,
    /// Attribute → its features.
    by_attribute: BTreeMap<String, Lookup>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Lookup {
    values: HashMap<String, u32>,
    words: HashMap<String, u32>,
    ranges: Vec<(f64, f64, u32)>,
}

impl From<Vec<Feature>> for Encoder {
    fn from(features: Vec<Feature>) -> Self {
        let mut by_attribute: BTreeMap<String, Lookup> = BTreeMap::new();
        for (place, feature) in (0u32..).zip(&features) {
            let lookup = by_attribute.entry(feature.attribute.clone()).or_default();
            match &feature.test {
                Test::Is(value) => drop(lookup.values.insert(value.clone(), place)),
                Test::Word(word) => drop(lookup.words.insert(word.clone(), place)),
                Test::Range(from, below) => {
                    let (from, below) = (from.unwrap_or(f64::NEG_INFINITY), below.unwrap_or(f64::INFINITY));
                    lookup.ranges.push((from, below, place));
                }
            }
        }
        Self { features, by_attribute }
    }
}

impl Encoder {
    /// Finds the features of these profiles; `most` of them at most, those that most profiles have.
    pub(crate) fn fit(profiles: &[&Profile], attributes: &[String], words: &[String], most: usize) -> Self {
        let mut found: Vec<(usize, Feature)> = Vec::new();
        for attribute in attributes {
            let values: Vec<&Value> = profiles.iter().filter_map(|profile| profile.get(attribute)).collect();
            let numbers: Vec<f64> = values.iter().filter_map(|value| value.as_f64()).collect();
            let feature = |test| Feature { attribute: attribute.clone(), test };
            found.extend(ranges(numbers).into_iter().map(|(count, test)| (count, feature(test))));
            let counts = counted(values.iter().flat_map(|value| texts(value)));
            found.extend(counts.into_iter().map(|(text, count)| (count, feature(Test::Is(text)))));
        }
        for attribute in words {
            let values = profiles.iter().filter_map(|profile| profile.get(attribute)).filter_map(Value::as_str);
            let counts = counted(values.flat_map(words_of));
            let feature = |word| Feature { attribute: attribute.clone(), test: Test::Word(word) };
            found.extend(counts.into_iter().map(|(word, count)| (count, feature(word))));
        }
        found.retain(|(count, _)| *count >= LEAST_SUPPORT);
        // Stable: equally frequent ones stay in the order of columns and texts.
        found.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        found.truncate(most);
        found.into_iter().map(|(_, feature)| feature).collect::<Vec<_>>().into()
    }

    /// The features, by ordinal.
    pub(crate) fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Number of features.
    pub(crate) fn len(&self) -> usize {
        self.features.len()
    }

    /// The attributes that it looks at, rising.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &str> {
        self.by_attribute.keys().map(String::as_str)
    }

    /// The features of a profile, rising; empty if nothing of it is known.
    pub(crate) fn encode(&self, profile: &Profile) -> Vec<u32> {
        let mut features = Vec::new();
        for (attribute, lookup) in &self.by_attribute {
            let Some(value) = profile.get(attribute) else { continue };
            if !lookup.values.is_empty() {
                features.extend(texts(value).iter().filter_map(|text| lookup.values.get(text)));
            }
            if let Some(text) = value.as_str().filter(|_| !lookup.words.is_empty()) {
                features.extend(words_of(text).iter().filter_map(|word| lookup.words.get(word)));
            }
            // A number that came as text, as in a request, is the same number.
            let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
            if let Some(number) = number {
                let within = |(from, below, _): &&(f64, f64, u32)| (*from..*below).contains(&number);
                features.extend(lookup.ranges.iter().filter(within).map(|(_, _, place)| *place));
            }
        }
        features.sort_unstable();
        features.dedup();
        features
    }
}

/// What a value is compared by: text, truth, or each entry of a list. Numbers have ranges instead.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Bool(truth) => vec![truth.to_string()],
        Value::Array(entries) => entries.iter().flat_map(|entry| entry.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// Distinct words in lower case; what is no letter and no digit divides them.
fn words_of(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let mut words: Vec<String> = lower
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn counted(texts: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    texts.for_each(|text| *counts.entry(text).or_default() += 1);
    counts
}

/// Ranges between the deciles, each with how many numbers it holds; equal deciles are one.
fn ranges(mut numbers: Vec<f64>) -> Vec<(usize, Test)> {
    numbers.retain(|number| number.is_finite());
    numbers.sort_unstable_by(f64::total_cmp);
    if numbers.is_empty() {
        return Vec::new();
    }
    let mut edges: Vec<f64> = (1..RANGES).map(|place| numbers[place * numbers.len() / RANGES]).collect();
    edges.dedup();
    edges.retain(|edge| *edge > numbers[0]);
    let from = std::iter::once(None).chain(edges.iter().copied().map(Some));
    let below = edges.iter().copied().map(Some).chain(std::iter::once(None));
    let place = |edge: Option<f64>, outside: usize| {
        edge.map_or(outside, |edge| numbers.partition_point(|number| *number < edge))
    };
    from.zip(below)
        .map(|(from, below)| (place(below, numbers.len()) - place(from, 0), Test::Range(from, below)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn profiles(values: &[Value]) -> Vec<Profile> {
        values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
    }

    #[test]
    fn texts_lists_words_and_numbers_become_features() {
        let known = profiles(&[
            json!({"category": "mugs", "tags": ["red", "gift"], "title": "RED mug, large", "price": 1}),
            json!({"category": "mugs", "tags": ["gift"], "title": "Blue Mug", "price": 2}),
            json!({"category": "plates", "title": "red plate", "price": 3, "sale": true}),
            json!({"category": "plates", "price": 40, "sale": true}),
        ]);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let encoder = Encoder::fit(
            &known.iter().collect::<Vec<_>>(),
            &names(&["category", "tags", "price", "sale"]),
            &names(&["title"]),
            MAX_FEATURES,
        );
        let of = |profile: Value| -> String {
            let profile: Profile = serde_json::from_value(profile).unwrap();
            let shown =
                encoder.encode(&profile).into_iter().map(|place| match &encoder.features()[place as usize].test {
                    Test::Is(text) => text.clone(),
                    Test::Word(word) => format!("~{word}"),
                    Test::Range(..) => "range".to_owned(),
                });
            let mut shown: Vec<String> = shown.collect();
            shown.sort();
            shown.join(" ")
        };
        // Only one profile has `red` among its tags, and each price is alone in its range.
        assert_eq!(
            of(json!({"category": "mugs", "tags": ["red", "gift"], "title": "a red MUG"})),
            "gift mugs ~mug ~red"
        );
        assert_eq!(of(json!({"category": "vases", "sale": true})), "true");
        assert_eq!(of(json!({"category": null, "price": "x", "unknown": 1})), "");
        let back: Vec<Feature> = serde_json::from_str(&serde_json::to_string(encoder.features()).unwrap()).unwrap();
        assert_eq!(Encoder::from(back), encoder);
    }

    #[test]
    fn ranges_hold_equally_many_and_cover_every_number() {
        let found = ranges((0..100).map(f64::from).collect());
        assert_eq!(found.len(), 10);
        assert!(found.iter().all(|(count, _)| *count == 10), "{found:?}");
        assert_eq!(found[0].1, Test::Range(None, Some(10.0)));
        assert_eq!(found[9].1, Test::Range(Some(90.0), None));
        assert_eq!(ranges(vec![7.0; 5]), [(5, Test::Range(None, None))]);
        assert!(ranges(vec![f64::NAN]).is_empty());
        let encoder: Encoder =
            found.into_iter().map(|(_, test)| Feature { attribute: "age".into(), test }).collect::<Vec<_>>().into();
        for (value, expected) in [(json!(-5), 0), (json!(10), 1), (json!("95"), 9), (json!(1e9), 9)] {
            assert_eq!(encoder.encode(&Profile::from([("age".to_owned(), value)])), [expected]);
        }
    }
}
