//! iALS: factors of users and items by alternating least squares on implicit feedback.
//!
//! Minimises Σ c_ui (1 − w_u·h_i)² + α0 Σ_all (w_u·h_i)² + λ [Σ_u (|I_u| + α0·I)^ν ‖w_u‖² + Σ_i (|U_i| + α0·U)^ν ‖h_i‖²]
//! (Hu, Koren & Volinsky, ICDM 2008; Rendle et al. 2021, "Revisiting the performance of iALS").
//! In: users × items, sparse.  Out: item factors; a user's factor is solved at request time (fold-in, reference 2.11).
//! Never here: stored user factors, randomness that is not seeded.
//! Start at [`Ials::train`], then [`Ials::fold_in`].

mod half_step;

use half_step::{HalfStep, Ridge, Row, Scratch, scaled_gram};

use crate::cold::encoder::Encoder;
use crate::cold::{self, Growth, UserPrior};
use crate::kernels::{self, padded};
use crate::linalg::{cosines, dot};
use crate::random::Random;
use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::WeightedItem;
use crate::{Csr, FactorRows, IalsParameters, RecommendError, RecommenderKind};

/// Standard deviation of the first factors, times 1/√d (Rendle et al. 2021).
const INITIAL_SPREAD: f64 = 0.1;

/// Item factors and what fold-in needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Ials {
    items: usize,
    factors: usize,
    /// items × factors, row-major.
    item_factors: Vec<f32>,
    /// α0·HᵀH: factors × factors, column-major, lower triangle.
    gram: Vec<f32>,
    ridge: Ridge,
    /// Events behind each item; none where every item has been trained on.
    events: Option<Vec<u32>>,
    /// What a user without a history begins with.
    pub(crate) users: Option<UserPrior>,
}

impl Ials {
    /// Alternates from seeded normal item factors, or from those of an earlier model.
    ///
    /// `start` gives each item's first factor, `None` for an item the earlier model did not know; its length must be
    /// that of `parameters.factors`. The user side needs no start: it is solved first.
    /// Cost per epoch: nnz·d² + (users + items)·d³/6 multiply-adds, 1.3 s of one processor at 10 million interactions
    /// and d = 64; by blocks of b factors nnz·d·(b + 6) + (users + items)(2·d² + d·b²/6).
    /// Memory: the matrix transposed (8 bytes per interaction) and the factors of both sides.
    /// Errors: `Diverged` if a system has no positive pivot or a factor is not finite.
    pub fn train(
        matrix: &Csr,
        parameters: &IalsParameters,
        seed: u64,
        start: impl Fn(u32) -> Option<Vec<f32>>,
    ) -> Result<Self, RecommendError> {
        let (d, users, items) = (parameters.factors, matrix.rows(), matrix.columns());
        let width = parameters.block_width();
        let by_item = matrix.transposed();
        let mut item_factors = initial_factors(items, d, seed);
        for (item, factor) in (0u32..).zip(item_factors.chunks_exact_mut(d)) {
            if let Some(known) = start(item).filter(|known| known.len() == d) {
                factor.copy_from_slice(&known);
            }
        }
        // The users' first factors are zero: by blocks the first pass starts there.
        let mut user_factors = vec![0f32; users * d];
        let diverged = |epoch: usize| RecommendError::Diverged {
            kind: RecommenderKind::Ials,
            detail: format!("a least-squares system of epoch {epoch} has no finite solution"),
        };
        for epoch in 1..=parameters.epochs {
            let gram = scaled_gram(&item_factors, d, parameters.alpha);
            let step = HalfStep { d, fixed: &item_factors, gram: &gram, ridge: Ridge::new(parameters, items) };
            step.solve_all(matrix, width, &mut user_factors).map_err(|_| diverged(epoch))?;
            let gram = scaled_gram(&user_factors, d, parameters.alpha);
            let step = HalfStep { d, fixed: &user_factors, gram: &gram, ridge: Ridge::new(parameters, users) };
            step.solve_all(&by_item, width, &mut item_factors).map_err(|_| diverged(epoch))?;
        }
        let gram = scaled_gram(&item_factors, d, parameters.alpha);
        let ridge = Ridge::new(parameters, items);
        Ok(Self { items, factors: d, item_factors, gram, ridge, events: None, users: None })
    }

    /// Multiply-adds of one list: one f × f sum per history item, its solution, then one product per item.
    pub(crate) fn cost(&self, history: usize) -> usize {
        self.factors.saturating_mul(self.items + self.factors.saturating_mul(history + self.factors))
    }

    /// More items, or other factors for some. A history is solved against the sums of what was trained, so new items do not move
    /// known users.
    pub(crate) fn grow(&mut self, growth: &Growth) {
        self.item_factors = growth.factors(&self.item_factors, self.factors, 0);
        self.items = growth.before.len();
        self.events = Some(growth.events.clone());
    }

    fn half_step(&self) -> HalfStep<'_> {
        HalfStep { d: self.factors, fixed: &self.item_factors, gram: &self.gram, ridge: self.ridge }
    }

    /// The factor of one item.
    pub(crate) fn factor(&self, item: u32) -> &[f32] {
        &self.item_factors[item as usize * self.factors..(item as usize + 1) * self.factors]
    }

    /// A user's factor from a history (items rising): the exact half-step of training. `None` if it has no finite solution.
    ///
    /// Cost: n·d²/2 + d³/6 multiply-adds; 5 µs at d = 64 and 100 events with AVX-512.
    pub fn fold_in(&self, history: &[WeightedItem]) -> Option<Vec<f32>> {
        let (columns, values) = columns_and_values(history);
        let mut factor = vec![0f32; self.factors];
        let mut scratch = Scratch::new(self.factors);
        self.half_step().solve(Row::new(&columns, &values), &mut factor, &mut scratch).ok().map(|()| factor)
    }

    /// What a user's factor is multiplied with.
    pub(crate) fn rows(&self) -> FactorRows<'_> {
        FactorRows::new(self.factors, &self.item_factors, &[])
    }

    /// s_j = w·h_j.
    pub(crate) fn scores(&self, history: &[WeightedItem]) -> Option<Vec<f32>> {
        Some(self.rows().scores(&self.fold_in(history)?))
    }

    /// The score is linear in the history: s_j = Σ_i c_i · (h_j·A⁻¹·h_i), so each term is an item's contribution.
    pub(crate) fn contributions(&self, history: &[WeightedItem], targets: &[u32]) -> Vec<Vec<f32>> {
        let (columns, values) = columns_and_values(history);
        let mut scratch = Scratch::new(self.factors);
        if self.half_step().factor(Row::new(&columns, &values), &mut scratch).is_err() {
            return vec![Vec::new(); targets.len()];
        }
        let contributions_to = |&target: &u32| {
            let mut direction = vec![0f32; padded(self.factors)];
            direction[..self.factors].copy_from_slice(self.factor(target));
            kernels::solve(&scratch.system, padded(self.factors), &mut direction);
            direction.truncate(self.factors);
            history.iter().map(|entry| entry.weight * dot(&direction, self.factor(entry.item))).collect()
        };
        targets.iter().map(contributions_to).collect()
    }

    /// Cosine of each item's factor with that of `item`; NaN where a factor is zero.
    pub(crate) fn cosines(&self, item: u32) -> Vec<f32> {
        cosines(&self.item_factors, self.factor(item))
    }

    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        let mut tensors = vec![
            NamedTensor::f32("item_factors", vec![self.items, self.factors], &self.item_factors),
            NamedTensor::f32("gram", vec![self.factors, self.factors], &self.gram),
        ];
        tensors.extend(cold::tensors(self.events.as_deref(), self.users.as_ref()));
        tensors
    }

    pub(crate) fn from_tensors(
        parameters: &IalsParameters,
        items: usize,
        encoder: Encoder,
        tensors: &TensorFile<'_>,
    ) -> Result<Self, String> {
        let d = parameters.factors;
        let events = cold::read_events(parameters.cold_items.is_some(), items, tensors)?;
        let trained = events.as_ref().map_or(items, |events| events.iter().filter(|count| **count > 0).count());
        Ok(Self {
            items,
            factors: d,
            item_factors: tensors.f32("item_factors", &[items, d])?,
            gram: tensors.f32("gram", &[d, d])?,
            ridge: Ridge::new(parameters, trained),
            events,
            users: cold::read_prior(parameters.cold_users.is_some(), encoder, d, tensors)?,
        })
    }
}

/// Normal with standard deviation 0.1/√d.
fn initial_factors(items: usize, d: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, 0);
    let spread = INITIAL_SPREAD / (d as f64).sqrt();
    (0..items * d).map(|_| (random.normal() * spread) as f32).collect()
}

fn columns_and_values(history: &[WeightedItem]) -> (Vec<u32>, Vec<f32>) {
    history.iter().map(|entry| (entry.item, entry.weight)).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_factor_half_step_by_hand() {
        // d = 1, item factors h = (1, 2), α0 = ½, λ = 1, ν = 1; a user with item 1 of weight 1.
        // G = 1 + 4 = 5;  A = ½·5 + 1·2² + 1·(1 + ½·2) = 8.5;  b = 2;  w = 2 / 8.5.
        let parameters = IalsParameters { factors: 1, alpha: 0.5, lambda: 1.0, nu: 1.0, ..Default::default() };
        let item_factors = vec![1.0, 2.0];
        let gram = scaled_gram(&item_factors, 1, parameters.alpha);
        let ridge = Ridge::new(&parameters, 2);
        let model = Ials { items: 2, factors: 1, item_factors, gram, ridge, events: None, users: None };
        let history = [WeightedItem { item: 1, weight: 1.0 }];
        assert!((model.fold_in(&history).unwrap()[0] - 2.0 / 8.5).abs() < 1e-6);
        let scores = model.scores(&history).unwrap();
        assert!((scores[0] - 2.0 / 8.5).abs() < 1e-6 && (scores[1] - 4.0 / 8.5).abs() < 1e-6);
        assert!(model.cosines(0).iter().all(|cosine| (cosine - 1.0).abs() < 1e-6));
    }

    #[test]
    fn contributions_add_up_to_the_score() {
        let rows: [&[u32]; 4] = [&[0, 1, 2], &[1, 2, 3], &[0, 3], &[0, 1, 3]];
        let matrix = Csr::from_rows(4, rows.map(|items| items.iter().map(|&item| (item, 1.0)).collect::<Vec<_>>()));
        let parameters = IalsParameters { factors: 3, epochs: 5, ..Default::default() };
        let model = Ials::train(&matrix, &parameters, 1, |_| None).unwrap();
        let history = [WeightedItem { item: 0, weight: 1.0 }, WeightedItem { item: 2, weight: 2.0 }];
        let scores = model.scores(&history).unwrap();
        for (target, parts) in (0u32..).zip(model.contributions(&history, &[0, 1, 2, 3])) {
            let sum: f32 = parts.iter().sum();
            assert!((sum - scores[target as usize]).abs() < 1e-4, "{target}: {sum} {}", scores[target as usize]);
        }
    }

    #[test]
    fn one_user_and_one_item_train() {
        let matrix = Csr::from_rows(1, [[(0, 1.0)]]);
        let model = Ials::train(&matrix, &IalsParameters::default(), 0, |_| None).unwrap();
        assert!(model.scores(&[WeightedItem { item: 0, weight: 1.0 }]).unwrap()[0].is_finite());
    }

    /// Users of two tastes with a little noise.
    fn two_tastes(users: usize, items: u32) -> Csr {
        let mut random = Random::new(3, 0);
        Csr::from_rows(
            items as usize,
            (0..users).map(|user| {
                let mut of_user: Vec<u32> = (0..12)
                    .map(|_| {
                        let half = if random.below(10) < 8 { user % 2 } else { random.below(2) };
                        (random.below(items as usize / 2) * 2 + half) as u32
                    })
                    .collect();
                of_user.sort_unstable();
                of_user.dedup();
                of_user.into_iter().map(|item| (item, 1.0))
            }),
        )
    }

    /// The loss that training descends on, divided by the number of users: users folded in, all cells.
    fn loss(model: &Ials, matrix: &Csr, parameters: &IalsParameters) -> f64 {
        let mut loss = 0.0;
        for user in 0..matrix.rows() {
            let (columns, values) = matrix.row(user);
            let history: Vec<WeightedItem> =
                columns.iter().zip(values).map(|(&item, &weight)| WeightedItem { item, weight }).collect();
            let factor = model.fold_in(&history).unwrap();
            let scores = model.scores(&history).unwrap();
            loss += scores.iter().map(|score| parameters.alpha * f64::from(score * score)).sum::<f64>();
            loss += history.iter().map(|entry| f64::from(1.0 - scores[entry.item as usize]).powi(2)).sum::<f64>();
            let ridge = Ridge::new(parameters, matrix.columns()).of(columns.len());
            loss += f64::from(ridge * dot(&factor, &factor));
        }
        let by_item = matrix.transposed();
        for item in 0..matrix.columns() {
            let factor = model.factor(item as u32);
            let ridge = Ridge::new(parameters, matrix.rows()).of(by_item.row_len(item));
            loss += f64::from(ridge * dot(factor, factor));
        }
        loss / matrix.rows() as f64
    }

    #[test]
    fn one_block_of_all_factors_is_the_exact_solution() {
        let matrix = two_tastes(150, 40);
        for d in [5, 16, 40] {
            let exact = IalsParameters { factors: d, epochs: 1, lambda: 0.05, ..Default::default() };
            let gram = scaled_gram(&initial_factors(40, d, 9), d, exact.alpha);
            let fixed = initial_factors(40, d, 9);
            let step = HalfStep { d, fixed: &fixed, gram: &gram, ridge: Ridge::new(&exact, 40) };
            let (mut solved, mut improved) = (vec![0f32; 150 * d], vec![0.1f32; 150 * d]);
            step.solve_all(&matrix, d, &mut solved).unwrap();
            step.improve_all(&matrix, d, &mut improved).unwrap();
            let most = solved.iter().zip(&improved).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            let largest = solved.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            assert!(most < 1e-4 * largest, "{d} factors: {most} of {largest}");
        }
    }

    #[test]
    fn small_blocks_reach_the_loss_of_exact_solutions() {
        let matrix = two_tastes(150, 40);
        let exact = IalsParameters { factors: 24, epochs: 12, lambda: 0.02, ..Default::default() };
        let expected = loss(&Ials::train(&matrix, &exact, 1, |_| None).unwrap(), &matrix, &exact);
        for block in [1, 7, 16] {
            let parameters = IalsParameters { block: Some(block), ..exact.clone() };
            let reached = loss(&Ials::train(&matrix, &parameters, 1, |_| None).unwrap(), &matrix, &parameters);
            assert!((reached / expected - 1.0).abs() < 0.01, "blocks of {block}: {reached}, exact {expected}");
        }
    }

    #[test]
    fn a_start_from_an_earlier_model_saves_epochs() {
        let (matrix, later) = (two_tastes(150, 40), two_tastes(200, 44));
        let parameters = |epochs| IalsParameters { factors: 16, epochs, lambda: 0.02, ..Default::default() };
        let loss_after = |model: &Ials| loss(model, &later, &parameters(1));
        let earlier = Ials::train(&matrix, &parameters(15), 1, |_| None).unwrap();
        let start = |item: u32| (item < 40).then(|| earlier.factor(item).to_vec());
        let warm = loss_after(&Ials::train(&later, &parameters(2), 1, start).unwrap());
        let cold = [2, 3].map(|epochs| loss_after(&Ials::train(&later, &parameters(epochs), 1, |_| None).unwrap()));
        assert!(warm < cold[0] && warm < cold[1], "2 epochs warm {warm}, 2 and 3 epochs cold {cold:?}");
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let matrix = two_tastes(300, 40);
        for block in [None, Some(16)] {
            let parameters = IalsParameters { factors: 40, epochs: 2, block, ..Default::default() };
            let models = [1, 3].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| Ials::train(&matrix, &parameters, 1, |_| None)).unwrap()
            });
            assert_eq!(models[0], models[1]);
        }
    }
}
