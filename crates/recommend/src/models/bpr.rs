//! BPR: factors that rank what a user took above what they did not (Rendle et al., UAI 2009).
//!
//! In: users × items, sparse.  Out: item factors and biases; a user's factor is learnt at request time from the history.
//! For a sample (u, i taken, j not taken): x = w_u·(h_i − h_j) + b_i − b_j, g = σ(−x), and every parameter θ of the sample
//! steps by η (g·∂x/∂θ − λθ). One thread draws all samples: the published form without locks is faster on many cores and gives
//! another result every time.
//! Never here: the default of anything. On every set we measured EASE and iALS are better and cheaper.
//! Start at [`Bpr::train`].

use crate::cold::encoder::Encoder;
use crate::cold::{self, Growth, UserPrior};
use crate::linalg::{add_scaled, cosines, dot};
use crate::random::Random;
use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::WeightedItem;
use crate::{BprParameters, Csr, FactorRows, RecommendError, RecommenderKind};

/// Standard deviation of the first factors, times 1/√d.
const INITIAL_SPREAD: f64 = 0.1;

/// Passes over a history while a user's factor is learnt; more did not change lists on ML-1M.
const FOLD_IN_PASSES: usize = 20;

/// Draws of an item not taken before a sample is given up: only a user who took nearly everything needs more.
const NEGATIVE_DRAWS: usize = 16;

/// Item factors and biases, and the steps by which a user's factor is learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct Bpr {
    items: usize,
    factors: usize,
    /// items × factors, row-major.
    item_factors: Vec<f32>,
    biases: Vec<f32>,
    learning_rate: f32,
    lambda: f32,
    /// Events behind each item; none where every item has been trained on.
    events: Option<Vec<u32>>,
    /// The items that have been trained on: what a history is told apart from. Empty: all.
    trained: Vec<u32>,
    /// What a user without a history begins with.
    pub(crate) users: Option<UserPrior>,
}

impl Bpr {
    /// Cost: epochs · nnz samples of about 10·d flops. Errors: `Diverged` if a factor is not finite.
    pub(crate) fn train(matrix: &Csr, parameters: &BprParameters, seed: u64) -> Result<Self, RecommendError> {
        let (d, items) = (parameters.factors, matrix.columns());
        let mut random = Random::new(seed, 0);
        let spread = INITIAL_SPREAD / (d as f64).sqrt();
        let mut start =
            |count: usize| -> Vec<f32> { (0..count * d).map(|_| (random.normal() * spread) as f32).collect() };
        let mut model = Self {
            items,
            factors: d,
            item_factors: start(items),
            biases: vec![0.0; items],
            learning_rate: parameters.learning_rate as f32,
            lambda: parameters.lambda as f32,
            events: None,
            trained: Vec::new(),
            users: None,
        };
        let mut user_factors = start(matrix.rows());
        let users: Vec<u32> = (0..matrix.rows()).flat_map(|user| vec![user as u32; matrix.row_len(user)]).collect();
        for _ in 0..parameters.epochs * users.len() {
            let user = users[random.below(users.len())];
            let (taken, _) = matrix.row(user as usize);
            let positive = taken[random.below(taken.len())];
            let Some(negative) = draw_negative(&mut random, items, |item| taken.binary_search(&item).is_ok()) else {
                continue;
            };
            let factor = &mut user_factors[user as usize * d..(user as usize + 1) * d];
            model.step(factor, positive, negative);
        }
        if model.item_factors.iter().chain(&model.biases).all(|value| value.is_finite()) {
            Ok(model)
        } else {
            let detail = "a factor is not finite; lower `learning_rate`".into();
            Err(RecommendError::Diverged { kind: RecommenderKind::Bpr, detail })
        }
    }

    /// Multiply-adds of one list: learning the user's factor, then one product per item.
    pub(crate) fn cost(&self, history: usize) -> usize {
        self.factors.saturating_mul(self.items + 4 * FOLD_IN_PASSES * history)
    }

    fn factor(&self, item: u32) -> &[f32] {
        &self.item_factors[item as usize * self.factors..(item as usize + 1) * self.factors]
    }

    /// Factor and bias of one item.
    pub(crate) fn row(&self, item: u32) -> Vec<f32> {
        self.factor(item).iter().copied().chain([self.biases[item as usize]]).collect()
    }

    /// More items, or other factors for some. Histories go on being told apart from trained items alone, so new ones do not move
    /// known users.
    pub(crate) fn grow(&mut self, growth: &Growth) {
        self.item_factors = growth.factors(&self.item_factors, self.factors, 0);
        self.biases = growth.factors(&self.biases, 1, self.factors);
        self.items = growth.before.len();
        self.trained = trained(&growth.events);
        self.events = Some(growth.events.clone());
    }

    /// σ(−x) of one sample.
    fn slope(&self, user: &[f32], positive: u32, negative: u32) -> f32 {
        let x = dot(user, self.factor(positive)) + self.biases[positive as usize]
            - dot(user, self.factor(negative))
            - self.biases[negative as usize];
        1.0 / (1.0 + x.exp())
    }

    /// Moves user, both items and both biases.
    fn step(&mut self, user: &mut [f32], positive: u32, negative: u32) {
        let slope = self.slope(user, positive, negative);
        let (rate, lambda, d) = (self.learning_rate, self.lambda, self.factors);
        let (p, n) = (positive as usize * d, negative as usize * d);
        for (k, value) in user.iter_mut().enumerate() {
            let (w, h_i, h_j) = (*value, self.item_factors[p + k], self.item_factors[n + k]);
            *value += rate * (slope * (h_i - h_j) - lambda * w);
            self.item_factors[p + k] += rate * (slope * w - lambda * h_i);
            self.item_factors[n + k] += rate * (-slope * w - lambda * h_j);
        }
        let (b_i, b_j) = (self.biases[positive as usize], self.biases[negative as usize]);
        self.biases[positive as usize] += rate * (slope - lambda * b_i);
        self.biases[negative as usize] += rate * (-slope - lambda * b_j);
    }

    /// A user's factor: the same steps with the items held fixed. The same history gives the same factor.
    pub(crate) fn fold_in(&self, history: &[WeightedItem]) -> Vec<f32> {
        let mut random = Random::new(0, 1);
        let mut user = vec![0f32; self.factors];
        let named = |place: u32| self.trained.get(place as usize).copied().unwrap_or(place);
        let items = if self.trained.is_empty() { self.items } else { self.trained.len() };
        let is_taken = |place: u32| history.binary_search_by_key(&named(place), |entry| entry.item).is_ok();
        for _ in 0..FOLD_IN_PASSES {
            for entry in history {
                let Some(negative) = draw_negative(&mut random, items, is_taken).map(named) else {
                    continue;
                };
                let slope = self.learning_rate * entry.weight * self.slope(&user, entry.item, negative);
                user.iter_mut().for_each(|value| *value *= 1.0 - self.learning_rate * self.lambda);
                add_scaled(&mut user, slope, self.factor(entry.item));
                add_scaled(&mut user, -slope, self.factor(negative));
            }
        }
        user
    }

    /// What a user's factor is multiplied with, and the biases.
    pub(crate) fn rows(&self) -> FactorRows<'_> {
        FactorRows::new(self.factors, &self.item_factors, &self.biases)
    }

    /// s_j = w·h_j + b_j.
    pub(crate) fn scores(&self, history: &[WeightedItem]) -> Vec<f32> {
        self.rows().scores(&self.fold_in(history))
    }

    /// Likeness to each history item, times its weight: the learnt factor is no exact sum over the history.
    pub(crate) fn contributions(&self, history: &[WeightedItem], target: u32) -> Vec<f32> {
        history.iter().map(|entry| entry.weight * dot(self.factor(entry.item), self.factor(target))).collect()
    }

    /// Cosine of each item's factor with that of `item`; NaN where a factor is zero.
    pub(crate) fn cosines(&self, item: u32) -> Vec<f32> {
        cosines(&self.item_factors, self.factor(item))
    }

    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        let mut tensors = vec![
            NamedTensor::f32("item_factors", vec![self.items, self.factors], &self.item_factors),
            NamedTensor::f32("biases", vec![self.items], &self.biases),
        ];
        tensors.extend(cold::tensors(self.events.as_deref(), self.users.as_ref()));
        tensors
    }

    pub(crate) fn from_tensors(
        parameters: &BprParameters,
        items: usize,
        encoder: Encoder,
        tensors: &TensorFile<'_>,
    ) -> Result<Self, String> {
        let events = cold::read_events(parameters.cold_items.is_some(), items, tensors)?;
        Ok(Self {
            items,
            factors: parameters.factors,
            item_factors: tensors.f32("item_factors", &[items, parameters.factors])?,
            biases: tensors.f32("biases", &[items])?,
            learning_rate: parameters.learning_rate as f32,
            lambda: parameters.lambda as f32,
            trained: events.as_deref().map(trained).unwrap_or_default(),
            events,
            users: cold::read_prior(parameters.cold_users.is_some(), encoder, parameters.factors, tensors)?,
        })
    }
}

/// The items with events.
fn trained(events: &[u32]) -> Vec<u32> {
    (0u32..).zip(events).filter(|(_, count)| **count > 0).map(|(item, _)| item).collect()
}

/// An item that was not taken, uniformly; `None` when none is found.
fn draw_negative(random: &mut Random, items: usize, is_taken: impl Fn(u32) -> bool) -> Option<u32> {
    (0..NEGATIVE_DRAWS).map(|_| random.below(items) as u32).find(|item| !is_taken(*item))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tastes: users of the first take items 0–4, users of the second 5–9, three of five each.
    fn tastes() -> Csr {
        let rows = (0..40u32).map(|user| {
            let base = user % 2 * 5;
            let mut items: Vec<u32> = (0..3).map(|k| base + (user / 2 + 2 * k) % 5).collect();
            items.sort_unstable();
            items.into_iter().map(|item| (item, 1.0)).collect::<Vec<_>>()
        });
        Csr::from_rows(10, rows)
    }

    #[test]
    fn a_folded_in_user_prefers_their_own_taste() {
        let parameters = BprParameters { factors: 8, epochs: 50, ..Default::default() };
        let model = Bpr::train(&tastes(), &parameters, 3).unwrap();
        let scores = model.scores(&[WeightedItem { item: 5, weight: 1.0 }, WeightedItem { item: 6, weight: 1.0 }]);
        let worst_of_own = scores[7..].iter().copied().fold(f32::INFINITY, f32::min);
        assert!(scores[..5].iter().all(|score| *score < worst_of_own), "{scores:?}");
        assert_eq!(model, Bpr::train(&tastes(), &parameters, 3).unwrap());
    }

    #[test]
    fn a_user_who_took_everything_teaches_nothing_and_breaks_nothing() {
        let matrix = Csr::from_rows(1, [[(0, 1.0)]]);
        let model = Bpr::train(&matrix, &BprParameters::default(), 0).unwrap();
        assert!(model.scores(&[WeightedItem { item: 0, weight: 1.0 }])[0].is_finite());
    }

    #[test]
    fn a_step_too_long_is_an_error_that_says_so() {
        let parameters = BprParameters { learning_rate: 1e30, epochs: 20, ..Default::default() };
        let error = Bpr::train(&tastes(), &parameters, 0).unwrap_err();
        assert!(error.to_string().contains("lower `learning_rate`"), "{error}");
    }
}
