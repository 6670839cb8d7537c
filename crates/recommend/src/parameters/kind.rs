//! The kinds of recommender by the words that files, the command line and artefact names use.
//!
//! In: a word.  Out: [`RecommenderKind`], or an error that names the nearest valid word.
//! Never here: parameters.
//! Start at [`RecommenderKind`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::nearest;
use crate::RecommendError;

/// Which recommender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RecommenderKind {
    /// What most people choose, recent choices counting more.
    Popularity,
    /// Items bought by the same people as those in the history.
    ItemKnn,
    /// A linear model of items on items in closed form (Steck 2019).
    Ease,
    /// Factors of users and items by alternating least squares (Hu et al. 2008; Rendle et al. 2021).
    Ials,
    /// Items that go with those of the history more often than chance explains (Dunning 1993).
    Llr,
    /// The same from several kinds of behaviour: views, searches, carts beside purchases (correlated cross-occurrence).
    Cco,
    /// A walk over items and users that ends more often at what is little known (Paudel et al. 2017).
    Rp3beta,
    /// What follows what, the last items of the history deciding.
    Sequence,
    /// Factors by pairwise ranking (Rendle et al. 2009).
    Bpr,
    /// The weighted sum of several others.
    Blend,
}

impl RecommenderKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Popularity,
        Self::ItemKnn,
        Self::Ease,
        Self::Ials,
        Self::Llr,
        Self::Cco,
        Self::Rp3beta,
        Self::Sequence,
        Self::Bpr,
        Self::Blend,
    ];

    /// The word in files, on the command line and in artefact names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Popularity => "popularity",
            Self::ItemKnn => "item_knn",
            Self::Ease => "ease",
            Self::Ials => "ials",
            Self::Llr => "llr",
            Self::Cco => "cco",
            Self::Rp3beta => "rp3beta",
            Self::Sequence => "sequence",
            Self::Bpr => "bpr",
            Self::Blend => "blend",
        }
    }
}

impl fmt::Display for RecommenderKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for RecommenderKind {
    type Err = RecommendError;
    fn from_str(text: &str) -> Result<Self, RecommendError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| RecommendError::UnknownKind {
            value: text.to_owned(),
            nearest: nearest(text, Self::ALL.map(Self::as_str)),
        })
    }
}

impl TryFrom<String> for RecommenderKind {
    type Error = RecommendError;
    fn try_from(text: String) -> Result<Self, RecommendError> {
        text.parse()
    }
}

impl From<RecommenderKind> for String {
    fn from(kind: RecommenderKind) -> Self {
        kind.as_str().to_owned()
    }
}
