//! The kinds of recommender behind one closed enum: train, score, explain, compare items, store.
//!
//! In: interactions, or tensors read back.  Out: scores for every item, given a weighted history.
//! Never here: filters, top-k, fallback (see `stages`); blends (see `scorer`), which are made of these.
//! Start at [`Model`]. A new kind is one file here, one arm per `match`, and its parameters.

pub(crate) mod bpr;
pub(crate) mod cco;
pub(crate) mod ease;
pub(crate) mod ials;
pub(crate) mod item_knn;
pub(crate) mod llr;
pub(crate) mod neighbours;
pub(crate) mod pairs;
pub(crate) mod popularity;
pub(crate) mod rp3beta;
pub(crate) mod sequence;

use std::path::Path;

use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::WeightedItem;
use crate::{Csr, FactorRows, Interactions, Parameters, RecommendError};

/// A trained recommender without its ids.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    Popularity(popularity::Popularity),
    /// item_knn, llr, rp3beta and sequence differ only in how their neighbours are found.
    Neighbours(neighbours::Neighbours),
    /// Neighbours among which are things that are no items.
    Cco(cco::Cco),
    Ease(ease::Ease),
    Ials(ials::Ials),
    Bpr(bpr::Bpr),
}

impl Model {
    /// Trains one kind; `matrix` is users × items under the kind's weighting; `start` gives the factor that iALS begins with.
    ///
    /// Only popularity, sequence and cco look at `interactions`; [`crate::train`] brings them and the matrix together.
    /// Errors: `TooManyItems`, `Diverged`; `BadParameter` for a blend, which is trained part by part.
    pub fn train(
        interactions: &Interactions,
        matrix: &Csr,
        parameters: &Parameters,
        seed: u64,
        start: impl Fn(u32) -> Option<Vec<f32>>,
    ) -> Result<Self, RecommendError> {
        match parameters {
            Parameters::Popularity(p) => Ok(Self::Popularity(popularity::Popularity::train(interactions, p))),
            Parameters::ItemKnn(p) => item_knn::train(matrix, p).map(Self::Neighbours),
            Parameters::Llr(p) => llr::train(matrix, p).map(Self::Neighbours),
            Parameters::Cco(p) => cco::Cco::train(interactions, p, seed).map(Self::Cco),
            Parameters::Rp3beta(p) => rp3beta::train(matrix, p).map(Self::Neighbours),
            Parameters::Sequence(p) => sequence::train(interactions, p).map(Self::Neighbours),
            Parameters::Ease(p) => ease::Ease::train(matrix, p).map(Self::Ease),
            Parameters::Ials(p) => ials::Ials::train(matrix, p, seed, start).map(Self::Ials),
            Parameters::Bpr(p) => bpr::Bpr::train(matrix, p, seed).map(Self::Bpr),
            Parameters::Blend(_) => Err(parameters.nested_blend()),
        }
    }

    /// One score per item for a history (items rising); NaN where the model has nothing to say.
    ///
    /// `None` when no score can be given at all: for popularity, which does not look at histories.
    pub fn scores(&self, history: &[WeightedItem]) -> Option<Vec<f32>> {
        match self {
            Self::Popularity(_) => None,
            Self::Neighbours(model) => Some(model.scores(history)),
            Self::Cco(model) => Some(model.neighbours().scores(history)),
            Self::Ease(model) => Some(model.scores(history)),
            Self::Ials(model) => model.scores(history),
            Self::Bpr(model) => Some(model.scores(history)),
        }
    }

    /// Of a factor model, what a user's factor is multiplied with to give scores.
    pub(crate) fn rows(&self) -> Option<FactorRows<'_>> {
        match self {
            Self::Ials(model) => Some(model.rows()),
            Self::Bpr(model) => Some(model.rows()),
            Self::Popularity(_) | Self::Neighbours(_) | Self::Cco(_) | Self::Ease(_) => None,
        }
    }

    /// Of a factor model, the user's factor for a history. `None` also where it has no finite solution.
    pub(crate) fn fold_in(&self, history: &[WeightedItem]) -> Option<Vec<f32>> {
        match self {
            Self::Ials(model) => model.fold_in(history),
            Self::Bpr(model) => Some(model.fold_in(history)),
            Self::Popularity(_) | Self::Neighbours(_) | Self::Cco(_) | Self::Ease(_) => None,
        }
    }

    /// How much each history item adds to the score of each target: one row per target, in the order of the history.
    pub(crate) fn contributions(&self, history: &[WeightedItem], targets: &[u32]) -> Vec<Vec<f32>> {
        let each = |of: &dyn Fn(u32) -> Vec<f32>| targets.iter().map(|&target| of(target)).collect();
        match self {
            Self::Popularity(_) => vec![vec![0.0; history.len()]; targets.len()],
            Self::Neighbours(model) => each(&|target| model.contributions(history, target)),
            Self::Cco(model) => each(&|target| model.neighbours().contributions(history, target)),
            Self::Ease(model) => each(&|target| model.contributions(history, target)),
            Self::Ials(model) => model.contributions(history, targets),
            Self::Bpr(model) => each(&|target| model.contributions(history, target)),
        }
    }

    /// One score per item for likeness to `item`; NaN where the model has nothing to say, `None` for popularity.
    pub(crate) fn similar(&self, item: u32) -> Option<Vec<f32>> {
        let alone = [WeightedItem { item, weight: 1.0 }];
        match self {
            Self::Popularity(_) => None,
            // "Who bought this also bought": the scores of a history of this one item.
            Self::Neighbours(model) => Some(model.scores(&alone)),
            Self::Cco(model) => Some(model.neighbours().scores(&alone)),
            Self::Ease(model) => Some(model.scores(&alone)),
            Self::Ials(model) => Some(model.cosines(item)),
            Self::Bpr(model) => Some(model.cosines(item)),
        }
    }

    /// Multiply-adds of one call of [`Model::scores`] over so long a history, roughly and at most.
    pub(crate) fn cost(&self, items: usize, history: usize) -> usize {
        match self {
            Self::Popularity(_) => items,
            Self::Neighbours(_) | Self::Cco(_) | Self::Ease(_) => items.saturating_mul(history.max(1)),
            Self::Ials(model) => model.cost(history),
            Self::Bpr(model) => model.cost(history),
        }
    }

    /// The same for [`Model::similar`].
    pub(crate) fn similar_cost(&self, items: usize) -> usize {
        match self {
            Self::Popularity(_) | Self::Neighbours(_) | Self::Cco(_) | Self::Ease(_) => items,
            Self::Ials(_) | Self::Bpr(_) => self.cost(items, 0),
        }
    }

    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        match self {
            Self::Popularity(model) => model.tensors(),
            Self::Neighbours(model) => model.tensors(),
            Self::Cco(model) => model.tensors(),
            Self::Ease(model) => model.tensors(),
            Self::Ials(model) => model.tensors(),
            Self::Bpr(model) => model.tensors(),
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
            Parameters::ItemKnn(_) | Parameters::Llr(_) | Parameters::Rp3beta(_) | Parameters::Sequence(_) => {
                neighbours::Neighbours::from_tensors(items, items, tensors).map(Self::Neighbours)
            }
            Parameters::Cco(parameters) => cco::Cco::from_tensors(parameters, items, tensors).map(Self::Cco),
            Parameters::Ease(_) => ease::Ease::from_tensors(items, tensors).map(Self::Ease),
            Parameters::Ials(parameters) => ials::Ials::from_tensors(parameters, items, tensors).map(Self::Ials),
            Parameters::Bpr(parameters) => bpr::Bpr::from_tensors(parameters, items, tensors).map(Self::Bpr),
            Parameters::Blend(_) => return Err(parameters.nested_blend()),
        };
        model.map_err(|detail| RecommendError::corrupt(path, detail))
    }
}
