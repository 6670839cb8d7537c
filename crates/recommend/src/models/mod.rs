//! The kinds of recommender behind one closed enum: train, score, explain, compare items, store.
//!
//! In: a training matrix, or tensors read back.  Out: scores for every item, given a weighted history.
//! Never here: filters, top-k, fallback (see `stages`).
//! Start at [`Model`]. A new kind is one file here, one arm per `match`, and its parameters.

pub(crate) mod ease;
pub(crate) mod ials;
pub(crate) mod item_knn;
pub(crate) mod popularity;

use std::path::Path;

use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::WeightedItem;
use crate::{Parameters, RecommendError, RecommenderKind};

/// A trained recommender without its ids.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    Popularity(popularity::Popularity),
    ItemKnn(item_knn::ItemKnn),
    Ease(ease::Ease),
    Ials(ials::Ials),
}

impl Model {
    /// Which recommender.
    pub fn kind(&self) -> RecommenderKind {
        match self {
            Self::Popularity(_) => RecommenderKind::Popularity,
            Self::ItemKnn(_) => RecommenderKind::ItemKnn,
            Self::Ease(_) => RecommenderKind::Ease,
            Self::Ials(_) => RecommenderKind::Ials,
        }
    }

    /// One score per item for a history (items rising); NaN where the model has nothing to say.
    ///
    /// `None` when no score can be given at all: for popularity, which does not look at histories.
    pub(crate) fn scores(&self, history: &[WeightedItem]) -> Option<Vec<f32>> {
        match self {
            Self::Popularity(_) => None,
            Self::ItemKnn(model) => Some(model.scores(history)),
            Self::Ease(model) => Some(model.scores(history)),
            Self::Ials(model) => model.scores(history),
        }
    }

    /// How much each history item adds to the score of each target: one row per target, in the order of the history.
    pub(crate) fn contributions(&self, history: &[WeightedItem], targets: &[u32]) -> Vec<Vec<f32>> {
        match self {
            Self::Popularity(_) => vec![Vec::new(); targets.len()],
            Self::ItemKnn(model) => targets.iter().map(|&target| model.contributions(history, target)).collect(),
            Self::Ease(model) => targets.iter().map(|&target| model.contributions(history, target)).collect(),
            Self::Ials(model) => model.contributions(history, targets),
        }
    }

    /// One score per item for likeness to `item`; NaN where the model has nothing to say, `None` for popularity.
    pub(crate) fn similar(&self, item: u32) -> Option<Vec<f32>> {
        let alone = [WeightedItem { item, weight: 1.0 }];
        match self {
            Self::Popularity(_) => None,
            // "Who bought this also bought": the scores of a history of this one item.
            Self::ItemKnn(model) => Some(model.scores(&alone)),
            Self::Ease(model) => Some(model.scores(&alone)),
            Self::Ials(model) => Some(model.cosines(item)),
        }
    }

    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        match self {
            Self::Popularity(model) => model.tensors(),
            Self::ItemKnn(model) => model.tensors(),
            Self::Ease(model) => model.tensors(),
            Self::Ials(model) => model.tensors(),
        }
    }

    /// Reads a model back; every shape and index is checked against the number of items.
    pub(crate) fn from_tensors(
        parameters: &Parameters,
        items: usize,
        tensors: &TensorFile<'_>,
        path: &Path,
    ) -> Result<Self, RecommendError> {
        let model = match parameters {
            Parameters::Popularity(_) => popularity::Popularity::from_tensors(items, tensors).map(Self::Popularity),
            Parameters::ItemKnn(_) => item_knn::ItemKnn::from_tensors(items, tensors).map(Self::ItemKnn),
            Parameters::Ease(_) => ease::Ease::from_tensors(items, tensors).map(Self::Ease),
            Parameters::Ials(parameters) => ials::Ials::from_tensors(parameters, items, tensors).map(Self::Ials),
        };
        model.map_err(|detail| RecommendError::corrupt(path, detail))
    }
}
