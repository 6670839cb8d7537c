//! iALS: factors of users and items by alternating least squares on implicit feedback.
//!
//! Minimises Σ c_ui (1 − w_u·h_i)² + α0 Σ_all (w_u·h_i)² + λ [Σ_u (|I_u| + α0·I)^ν ‖w_u‖² + Σ_i (|U_i| + α0·U)^ν ‖h_i‖²]
//! (Hu, Koren & Volinsky, ICDM 2008; Rendle et al. 2021, "Revisiting the performance of iALS").
//! In: users × items, sparse.  Out: item factors; a user's factor is solved at request time (fold-in, reference 2.11).
//! Never here: stored user factors, randomness that is not seeded.
//! Start at [`Ials::train`], then [`Ials::fold_in`].

use rayon::prelude::*;

use crate::kernels::{self, BLOCK, Gather, padded};
use crate::linalg::{NotPositiveDefinite, dot, gram};
use crate::random::Random;
use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::WeightedItem;
use crate::{Csr, IalsParameters, RecommendError, RecommenderKind};

/// Factor rows gathered before their outer products are added: 16 KiB of them, a third of a core's first cache.
const GATHER_FLOATS: usize = 4_096;

/// Rows solved by one task; small enough to share the work out, large enough to keep its scratch warm.
const ROWS_PER_TASK: usize = 32;

/// Standard deviation of the first factors, times 1/√d (Rendle et al. 2021).
const INITIAL_SPREAD: f64 = 0.1;

/// Added to the diagonal, relative to its mean, if a pivot fails once (reference 2.3).
const JITTER: f32 = 1e-6;

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
}

/// λ (n + α0·others)^ν: regularisation scaled by frequency.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ridge {
    lambda: f64,
    nu: f64,
    alpha_others: f64,
}

impl Ridge {
    fn new(parameters: &IalsParameters, others: usize) -> Self {
        Self { lambda: parameters.lambda, nu: parameters.nu, alpha_others: parameters.alpha * others as f64 }
    }

    fn of(&self, count: usize) -> f32 {
        (self.lambda * (count as f64 + self.alpha_others).powf(self.nu)) as f32
    }
}

/// One side held fixed while the other is solved.
struct HalfStep<'a> {
    d: usize,
    fixed: &'a [f32],
    /// α0·(fixedᵀ·fixed), lower triangle.
    gram: &'a [f32],
    ridge: Ridge,
}

/// What a thread uses again for every row: the padded system, its right side, and the gathered rows.
struct Scratch {
    order: usize,
    system: Vec<f32>,
    right: Vec<f32>,
    panel: Vec<f32>,
}

impl Scratch {
    fn new(d: usize) -> Self {
        let order = padded(d);
        let panel_rows = (GATHER_FLOATS / order).max(BLOCK);
        Self { order, system: vec![0.0; order * order], right: vec![0.0; order], panel: vec![0.0; panel_rows * order] }
    }

    /// Rows that are gathered at once.
    fn panel_rows(&self) -> usize {
        self.panel.len() / self.order
    }
}

impl HalfStep<'_> {
    /// A = α0·G + Σ c·h·hᵀ + ridge·E, factored in `scratch.system`; `scratch.right` = Σ c·h.
    fn factor_system(
        &self,
        columns: &[u32],
        values: &[f32],
        jitter: f32,
        scratch: &mut Scratch,
    ) -> Result<(), NotPositiveDefinite> {
        let (d, order, panel_rows) = (self.d, scratch.order, scratch.panel_rows());
        for (out, column) in scratch.system.chunks_exact_mut(order).zip(self.gram.chunks_exact(d)) {
            out[..d].copy_from_slice(column);
            out[d..].fill(0.0);
        }
        scratch.system[d * order..].fill(0.0);
        scratch.right.fill(0.0);
        for (columns, values) in columns.chunks(panel_rows).zip(values.chunks(panel_rows)) {
            let panel = &mut scratch.panel[..columns.len() * order];
            let sums = &mut scratch.right;
            Gather { from: self.fixed, d, rows: columns, weights: values, panel, sums }.run();
            kernels::add_gram(&mut scratch.system, panel, order);
        }
        let diagonal = (0..d).map(|i| scratch.system[i * order + i]).sum::<f32>() / d as f32;
        let ridge = self.ridge.of(columns.len()) + jitter * diagonal;
        (0..d).for_each(|i| scratch.system[i * order + i] += ridge);
        (d..order).for_each(|i| scratch.system[i * order + i] = 1.0);
        kernels::factor(&mut scratch.system, order)
    }

    /// Factors the system, once more with jitter if a pivot fails.
    fn factor_or_jitter(
        &self,
        columns: &[u32],
        values: &[f32],
        scratch: &mut Scratch,
    ) -> Result<(), NotPositiveDefinite> {
        self.factor_system(columns, values, 0.0, scratch)
            .or_else(|_| self.factor_system(columns, values, JITTER, scratch))
    }

    /// out = A⁻¹ Σ c·h. A row without events keeps the zero vector.
    fn solve(
        &self,
        columns: &[u32],
        values: &[f32],
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), NotPositiveDefinite> {
        if columns.is_empty() {
            out.fill(0.0);
            return Ok(());
        }
        self.factor_or_jitter(columns, values, scratch)?;
        kernels::solve(&scratch.system, scratch.order, &mut scratch.right);
        out.copy_from_slice(&scratch.right[..self.d]);
        if out.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(NotPositiveDefinite) }
    }

    /// Solves every row of `matrix`; result rows × d. Rows are independent, so threads change nothing.
    fn solve_all(&self, matrix: &Csr) -> Result<Vec<f32>, NotPositiveDefinite> {
        let mut solved = vec![0f32; matrix.rows() * self.d];
        solved
            .par_chunks_mut(ROWS_PER_TASK * self.d)
            .enumerate()
            .map_init(
                || Scratch::new(self.d),
                |scratch, (task, rows)| {
                    rows.chunks_mut(self.d).enumerate().try_for_each(|(offset, out)| {
                        let (columns, values) = matrix.row(task * ROWS_PER_TASK + offset);
                        self.solve(columns, values, out, scratch)
                    })
                },
            )
            .collect::<Result<(), _>>()?;
        Ok(solved)
    }
}

/// α0·(xᵀx), lower triangle.
fn scaled_gram(x: &[f32], d: usize, alpha: f64) -> Vec<f32> {
    let mut gram = gram(x, d);
    gram.iter_mut().for_each(|value| *value *= alpha as f32);
    gram
}

impl Ials {
    /// Alternates from seeded normal item factors. Cost per epoch: 2·nnz·d² + (users + items)·d³/3 flop.
    ///
    /// Errors: `Diverged` if a system has no positive pivot or a factor is not finite.
    pub fn train(matrix: &Csr, parameters: &IalsParameters, seed: u64) -> Result<Self, RecommendError> {
        let (d, users, items) = (parameters.factors, matrix.rows(), matrix.columns());
        let by_item = matrix.transposed();
        let mut random = Random::new(seed, 0);
        let spread = INITIAL_SPREAD / (d as f64).sqrt();
        let mut item_factors: Vec<f32> = (0..items * d).map(|_| (random.normal() * spread) as f32).collect();
        let diverged = |epoch: usize| RecommendError::Diverged {
            kind: RecommenderKind::Ials,
            detail: format!("a least-squares system of epoch {epoch} has no finite solution"),
        };
        for epoch in 1..=parameters.epochs {
            let gram = scaled_gram(&item_factors, d, parameters.alpha);
            let step = HalfStep { d, fixed: &item_factors, gram: &gram, ridge: Ridge::new(parameters, items) };
            let user_factors = step.solve_all(matrix).map_err(|_| diverged(epoch))?;
            let gram = scaled_gram(&user_factors, d, parameters.alpha);
            let step = HalfStep { d, fixed: &user_factors, gram: &gram, ridge: Ridge::new(parameters, users) };
            item_factors = step.solve_all(&by_item).map_err(|_| diverged(epoch))?;
        }
        let gram = scaled_gram(&item_factors, d, parameters.alpha);
        Ok(Self { items, factors: d, item_factors, gram, ridge: Ridge::new(parameters, items) })
    }

    fn half_step(&self) -> HalfStep<'_> {
        HalfStep { d: self.factors, fixed: &self.item_factors, gram: &self.gram, ridge: self.ridge }
    }

    fn factor(&self, item: u32) -> &[f32] {
        &self.item_factors[item as usize * self.factors..(item as usize + 1) * self.factors]
    }

    /// A user's factor from a history: the same half-step as in training. `None` if it has no finite solution.
    pub fn fold_in(&self, history: &[WeightedItem]) -> Option<Vec<f32>> {
        let (columns, values) = columns_and_values(history);
        let mut factor = vec![0f32; self.factors];
        let mut scratch = Scratch::new(self.factors);
        self.half_step().solve(&columns, &values, &mut factor, &mut scratch).ok().map(|()| factor)
    }

    /// s_j = w·h_j.
    pub(crate) fn scores(&self, history: &[WeightedItem]) -> Option<Vec<f32>> {
        let user = self.fold_in(history)?;
        Some(self.item_factors.chunks_exact(self.factors).map(|item| dot(&user, item)).collect())
    }

    /// The score is linear in the history: s_j = Σ_i c_i · (h_j·A⁻¹·h_i), so each term is an item's contribution.
    pub(crate) fn contributions(&self, history: &[WeightedItem], targets: &[u32]) -> Vec<Vec<f32>> {
        let (columns, values) = columns_and_values(history);
        let mut scratch = Scratch::new(self.factors);
        if self.half_step().factor_or_jitter(&columns, &values, &mut scratch).is_err() {
            return vec![Vec::new(); targets.len()];
        }
        let contributions_to = |&target: &u32| {
            let mut direction = vec![0f32; scratch.order];
            direction[..self.factors].copy_from_slice(self.factor(target));
            kernels::solve(&scratch.system, scratch.order, &mut direction);
            direction.truncate(self.factors);
            history.iter().map(|entry| entry.weight * dot(&direction, self.factor(entry.item))).collect()
        };
        targets.iter().map(contributions_to).collect()
    }

    /// Cosine of each item's factor with that of `item`; NaN where a factor is zero.
    pub(crate) fn cosines(&self, item: u32) -> Vec<f32> {
        let of = self.factor(item);
        let length = dot(of, of).sqrt();
        self.item_factors
            .chunks_exact(self.factors)
            .map(|other| dot(of, other) / (length * dot(other, other).sqrt()))
            .collect()
    }

    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        vec![
            NamedTensor::f32("item_factors", vec![self.items, self.factors], &self.item_factors),
            NamedTensor::f32("gram", vec![self.factors, self.factors], &self.gram),
        ]
    }

    pub(crate) fn from_tensors(
        parameters: &IalsParameters,
        items: usize,
        tensors: &TensorFile<'_>,
    ) -> Result<Self, String> {
        let d = parameters.factors;
        Ok(Self {
            items,
            factors: d,
            item_factors: tensors.f32("item_factors", &[items, d])?,
            gram: tensors.f32("gram", &[d, d])?,
            ridge: Ridge::new(parameters, items),
        })
    }
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
        let model = Ials { items: 2, factors: 1, item_factors, gram, ridge: Ridge::new(&parameters, 2) };
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
        let model = Ials::train(&matrix, &parameters, 1).unwrap();
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
        let model = Ials::train(&matrix, &IalsParameters::default(), 0).unwrap();
        assert!(model.scores(&[WeightedItem { item: 0, weight: 1.0 }]).unwrap()[0].is_finite());
    }
}
