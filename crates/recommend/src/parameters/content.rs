//! The settings of what is new: which attributes stand for an item or a user of whom nothing was seen.
//!
//! In: `[parameters.cold_items]` and `[parameters.cold_users]` of a factor model.  Out: [`ContentParameters`]; which attributes a
//! recommender needs.
//! Never here: how attributes become factors (see `cold`).
//! Start at [`ContentParameters`].

use serde::{Deserialize, Serialize};

use super::Parameters;

/// From which attributes factors are foretold, and for whom.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentParameters {
    /// Columns whose value counts: text, truth, each entry of a list, the range that a number falls into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Columns of text of which each word counts, such as `title`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// ρ of the regression. Absent: chosen by what it foretells of rows that were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regularization: Option<f64>,
    /// Items with fewer events lean on their attributes. Absent: 1, so only items without any. Not for users: a history of any
    /// length wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_events: Option<usize>,
}

impl ContentParameters {
    /// Items with fewer events lean on their attributes.
    pub(crate) fn least_events(&self) -> usize {
        self.min_events.unwrap_or(1)
    }

    /// Every column that it looks at.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &String> {
        self.attributes.iter().chain(&self.words)
    }
}

impl Parameters {
    /// How new items are scored; only factor models can.
    pub(crate) fn cold_items(&self) -> Option<&ContentParameters> {
        self.cold().0
    }

    /// How users without a history are scored; only factor models can.
    pub(crate) fn cold_users(&self) -> Option<&ContentParameters> {
        self.cold().1
    }

    fn cold(&self) -> (Option<&ContentParameters>, Option<&ContentParameters>) {
        match self {
            Self::Ials(p) => (p.cold_items.as_ref(), p.cold_users.as_ref()),
            Self::Bpr(p) => (p.cold_items.as_ref(), p.cold_users.as_ref()),
            Self::Popularity(_)
            | Self::ItemKnn(_)
            | Self::Ease(_)
            | Self::Llr(_)
            | Self::Cco(_)
            | Self::Rp3beta(_)
            | Self::Sequence(_)
            | Self::Blend(_) => (None, None),
        }
    }

    /// The column of the users table whose values have lists of their own.
    pub(crate) fn segment(&self) -> Option<&String> {
        if let Self::Popularity(p) = self { p.segment.as_ref() } else { None }
    }

    /// Columns of the items table that training reads, rising; `title` is one of them if it is named.
    pub fn item_columns(&self) -> Vec<String> {
        distinct(self.cold_items().into_iter().flat_map(ContentParameters::columns))
    }

    /// Columns of the users table that training reads, rising.
    pub fn user_columns(&self) -> Vec<String> {
        distinct(self.cold_users().into_iter().flat_map(ContentParameters::columns).chain(self.segment()))
    }

    /// The same recommender for known users and items alone: their lists do not change by it.
    pub(crate) fn for_the_known(&self) -> Self {
        let mut plain = self.clone();
        match &mut plain {
            Self::Ials(p) => (p.cold_items, p.cold_users) = (None, None),
            Self::Bpr(p) => (p.cold_items, p.cold_users) = (None, None),
            Self::Popularity(p) => (p.segment, p.prior_events) = (None, None),
            Self::ItemKnn(_)
            | Self::Ease(_)
            | Self::Llr(_)
            | Self::Cco(_)
            | Self::Rp3beta(_)
            | Self::Sequence(_)
            | Self::Blend(_) => {}
        }
        plain
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names.collect::<std::collections::BTreeSet<_>>().into_iter().cloned().collect()
}
