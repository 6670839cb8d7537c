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

use domain::Profile;

use crate::cold::encoder::{Encoder, Feature};
use crate::cold::{Attributes, Growth, UserPrior};
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
    /// Only popularity, sequence and cco look at `interactions`, only popularity at `attributes`; [`crate::train`] brings them and the matrix together.
    /// Errors: `TooManyItems`, `Diverged`; `BadParameter` for a blend, which is trained part by part.
    pub fn train(
        interactions: &Interactions,
        matrix: &Csr,
        parameters: &Parameters,
        attributes: &Attributes<'_>,
        seed: u64,
        start: impl Fn(u32) -> Option<Vec<f32>>,
    ) -> Result<Self, RecommendError> {
        match parameters {
            Parameters::Popularity(p) => {
                popularity::Popularity::train(interactions, p, attributes).map(Self::Popularity)
            }
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

    /// Of a factor model that was taught so, the factor of a user of whom only a profile is known.
    pub(crate) fn prior(&self, profile: &Profile) -> Option<Vec<f32>> {
        self.user_prior()?.factor(profile)
    }

    fn user_prior(&self) -> Option<&UserPrior> {
        match self {
            Self::Ials(model) => model.users.as_ref(),
            Self::Bpr(model) => model.users.as_ref(),
            Self::Popularity(_) | Self::Neighbours(_) | Self::Cco(_) | Self::Ease(_) => None,
        }
    }

    /// Only factor models have a place for it.
    pub(crate) fn set_user_prior(&mut self, prior: UserPrior) {
        match self {
            Self::Ials(model) => model.users = Some(prior),
            Self::Bpr(model) => model.users = Some(prior),
            Self::Popularity(_) | Self::Neighbours(_) | Self::Cco(_) | Self::Ease(_) => {}
        }
    }

    /// Of a factor model, all that belongs to one item; empty for the others.
    pub(crate) fn item_row(&self, item: u32) -> Vec<f32> {
        match self {
            Self::Ials(model) => model.factor(item).to_vec(),
            Self::Bpr(model) => model.row(item),
            Self::Popularity(_) | Self::Neighbours(_) | Self::Cco(_) | Self::Ease(_) => Vec::new(),
        }
    }

    /// Gives a factor model more items; the others stay as they are.
    pub(crate) fn grow(&mut self, growth: &Growth) {
        match self {
            Self::Ials(model) => model.grow(growth),
            Self::Bpr(model) => model.grow(growth),
            Self::Popularity(_) | Self::Neighbours(_) | Self::Cco(_) | Self::Ease(_) => {}
        }
    }

    /// What the rows of `segment_scores` or `user_coefficients` stand for.
    pub(crate) fn features(&self) -> Option<&[Feature]> {
        if let Self::Popularity(model) = self {
            return model.segments().map(|segments| segments.encoder.features());
        }
        self.user_prior().map(|prior| prior.encoder.features())
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
        features: Vec<Feature>,
        tensors: &TensorFile<'_>,
        path: &Path,
    ) -> Result<Self, RecommendError> {
        let encoder = Encoder::from(features);
        let model = match parameters {
            Parameters::Popularity(parameters) => {
                popularity::Popularity::from_tensors(parameters, items, encoder, tensors).map(Self::Popularity)
            }
            Parameters::ItemKnn(_) | Parameters::Llr(_) | Parameters::Rp3beta(_) | Parameters::Sequence(_) => {
                neighbours::Neighbours::from_tensors(items, items, tensors).map(Self::Neighbours)
            }
            Parameters::Cco(parameters) => cco::Cco::from_tensors(parameters, items, tensors).map(Self::Cco),
            Parameters::Ease(_) => ease::Ease::from_tensors(items, tensors).map(Self::Ease),
            Parameters::Ials(parameters) => {
                ials::Ials::from_tensors(parameters, items, encoder, tensors).map(Self::Ials)
            }
            Parameters::Bpr(parameters) => bpr::Bpr::from_tensors(parameters, items, encoder, tensors).map(Self::Bpr),
            Parameters::Blend(_) => return Err(parameters.nested_blend()),
        };
        model.map_err(|detail| RecommendError::corrupt(path, detail))
    }
}
