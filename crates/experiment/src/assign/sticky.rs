//! Sticky buckets: what a unit was assigned before.
//!
//! In: documents of earlier assignments.  Out: the earlier variation; documents to be saved.
//! Never here: where documents are kept.
//! Start at [`StickyDocuments`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::javascript::{self, NumberText};
use super::payload::Experiment;
use super::value::Value;

/// What one unit was assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StickyDocument {
    /// The attribute that names the unit, such as `id`.
    pub attribute_name: String,
    /// Its value, as text.
    pub attribute_value: String,
    /// Variation keys by `<experiment>__<bucket version>`.
    #[serde(default)]
    pub assignments: BTreeMap<String, String>,
}

impl StickyDocument {
    /// Under which the document is kept: `<attribute>||<value>`.
    pub fn key(&self) -> String {
        document_key(&self.attribute_name, &self.attribute_value)
    }
}

/// Documents by their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StickyDocuments(pub BTreeMap<String, StickyDocument>);

impl FromIterator<StickyDocument> for StickyDocuments {
    fn from_iter<I: IntoIterator<Item = StickyDocument>>(documents: I) -> Self {
        Self(documents.into_iter().map(|document| (document.key(), document)).collect())
    }
}

fn document_key(attribute: &str, value: &str) -> String {
    format!("{attribute}||{value}")
}

/// The key of an assignment.
fn assignment_key(experiment: &str, version: f64) -> String {
    format!("{experiment}__{}", NumberText::new(version).as_str())
}

/// What the documents say of a unit and an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Earlier {
    Nothing,
    Variation(usize),
    /// The unit was assigned under a version that is excluded by now.
    Blocked,
}

/// Documents as they were, and those that this evaluation changed, which come first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) before: &'a StickyDocuments,
    pub(crate) changed: &'a [StickyDocument],
}

impl<'a> View<'a> {
    fn get(self, attribute: &str, value: &Value) -> Option<&'a StickyDocument> {
        let key = document_key(attribute, &javascript::document_text(value));
        self.changed.iter().find(|document| document.key() == key).or_else(|| self.before.0.get(&key))
    }

    /// The earlier assignment; that of the unit's own attribute comes before that of the fallback.
    pub(crate) fn earlier(
        self,
        experiment: &Experiment,
        own: (&str, &Value),
        fallback: Option<(&str, &Value)>,
    ) -> Earlier {
        let own = self.get(own.0, own.1);
        let fallback = fallback.and_then(|(attribute, value)| self.get(attribute, value));
        let documents = || own.into_iter().chain(fallback);
        let blocked = |key: &String| {
            let version = key
                .strip_prefix(&*experiment.key)
                .and_then(|rest| rest.strip_prefix("__"))
                .and_then(javascript::array_index);
            version.is_some_and(|version| f64::from(version) < experiment.min_bucket_version)
        };
        if documents().any(|document| document.assignments.keys().any(blocked)) {
            return Earlier::Blocked;
        }
        let key = assignment_key(&experiment.key, experiment.bucket_version);
        let Some(assigned) = documents().find_map(|document| document.assignments.get(&key)) else {
            return Earlier::Nothing;
        };
        let is_it = |key: &Option<Box<str>>| key.as_deref() == Some(assigned);
        experiment
            .variations
            .iter()
            .position(|variation| is_it(&variation.sticky_key))
            .map_or(Earlier::Nothing, Earlier::Variation)
    }

    /// The document with a new assignment, if that changes it.
    pub(crate) fn assign(
        self,
        experiment: &Experiment,
        attribute: &str,
        value: &Value,
        variation: &str,
    ) -> Option<StickyDocument> {
        let mut document = self.get(attribute, value).cloned().unwrap_or_else(|| StickyDocument {
            attribute_name: attribute.to_owned(),
            attribute_value: javascript::document_text(value).into_owned(),
            assignments: BTreeMap::new(),
        });
        let key = assignment_key(&experiment.key, experiment.bucket_version);
        let before = document.assignments.insert(key, variation.to_owned());
        (before.as_deref() != Some(variation)).then_some(document)
    }
}
