//! EASE: a linear model of items on items, solved in closed form (Steck, WWW 2019).
//!
//! In: users × items, sparse.  Out: B, items × items.  P = (XᵀX + λE)⁻¹, B_ij = −P_ij / P_jj, B_jj = 0, s = x_u·B.
//! Memory: one buffer of 4 · items² bytes and two panels of items × 256 (4 k items 64 MB, 20 k items 1.6 GB).
//! Never here: a second items × items matrix.
//! Start at [`Ease::train`].

use rayon::prelude::*;

use crate::linalg::{add_scaled, negated_inverse_in_place};
use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::WeightedItem;
use crate::{Csr, EaseParameters, RecommendError, RecommenderKind};

/// Edge of the square tiles in which a matrix is mirrored: two tiles of floats fit the first-level cache.
const TILE: usize = 64;

/// The weights B, items × items, row-major: row i holds what item i of a history adds to every score.
#[derive(Debug, Clone, PartialEq)]
pub struct Ease {
    items: usize,
    weights: Vec<f32>,
}

impl Ease {
    /// Cost: Σ_u n_u²/2 additions for XᵀX and items³ flops for the inverse.
    ///
    /// Errors: `TooManyItems` beyond `max_items`; `Diverged` if `lambda` is too small for f32.
    pub(crate) fn train(matrix: &Csr, parameters: &EaseParameters) -> Result<Self, RecommendError> {
        let items = matrix.columns();
        if items > parameters.max_items {
            let limit = parameters.max_items;
            return Err(RecommendError::TooManyItems { kind: RecommenderKind::Ease, items, limit });
        }
        let mut weights = gram_lower(matrix, parameters.lambda as f32);
        negated_inverse_in_place(&mut weights, items).map_err(|_| RecommendError::Diverged {
            kind: RecommenderKind::Ease,
            detail: format!("XᵀX + {}·E is not positive definite in f32", parameters.lambda),
        })?;
        mirror(&mut weights, items);
        scale_columns(&mut weights, items);
        Ok(Self { items, weights })
    }

    fn row(&self, item: u32) -> &[f32] {
        &self.weights[item as usize * self.items..(item as usize + 1) * self.items]
    }

    /// s_j = Σ_i x_i·B_ij.
    pub(crate) fn scores(&self, history: &[WeightedItem]) -> Vec<f32> {
        let mut scores = vec![0f32; self.items];
        for entry in history {
            add_scaled(&mut scores, entry.weight, self.row(entry.item));
        }
        scores
    }

    pub(crate) fn contributions(&self, history: &[WeightedItem], target: u32) -> Vec<f32> {
        history.iter().map(|entry| entry.weight * self.row(entry.item)[target as usize]).collect()
    }

    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        vec![NamedTensor::f32("weights", vec![self.items, self.items], &self.weights)]
    }

    pub(crate) fn from_tensors(items: usize, tensors: &TensorFile<'_>) -> Result<Self, String> {
        Ok(Self { items, weights: tensors.f32("weights", &[items, items])? })
    }
}

/// Lower triangle of XᵀX + λE, column-major: each column is one item, filled by one thread.
fn gram_lower(matrix: &Csr, lambda: f32) -> Vec<f32> {
    let items = matrix.columns();
    let by_item = matrix.transposed();
    let mut gram = vec![0f32; items * items];
    gram.par_chunks_mut(items.max(1)).enumerate().for_each(|(item, column)| {
        let (users, weights) = by_item.row(item);
        for (&user, weight) in users.iter().zip(weights) {
            let (others, values) = matrix.row(user as usize);
            let from = others.partition_point(|&other| (other as usize) < item);
            for (&other, value) in others[from..].iter().zip(&values[from..]) {
                column[other as usize] += weight * value;
            }
        }
        column[item] += lambda;
    });
    gram
}

/// Copies the lower triangle (column-major) to the upper one.
fn mirror(a: &mut [f32], n: usize) {
    for block_row in (0..n).step_by(TILE) {
        for block_column in (0..=block_row).step_by(TILE) {
            for row in block_row..(block_row + TILE).min(n) {
                for column in block_column..(block_column + TILE).min(row) {
                    a[row * n + column] = a[column * n + row];
                }
            }
        }
    }
}

/// From N = −P to B: divides column j by P_jj = −N_jj and clears the diagonal. Row-major.
fn scale_columns(negated: &mut [f32], n: usize) {
    let scales: Vec<f32> = (0..n).map(|j| -1.0 / negated[j * n + j]).collect();
    negated.par_chunks_mut(n.max(1)).enumerate().for_each(|(i, row)| {
        row.iter_mut().zip(&scales).for_each(|(value, scale)| *value *= scale);
        row[i] = 0.0;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_items_by_hand() {
        // Users {0, 1}, {0}.  XᵀX + 1·E = [[3, 1], [1, 2]], determinant 5, P = [[2, −1], [−1, 3]] / 5.
        // B_01 = −P_01 / P_11 = 1/3, B_10 = −P_10 / P_00 = 1/2.
        let matrix = Csr::from_rows(2, [vec![(0, 1.0), (1, 1.0)], vec![(0, 1.0)]]);
        let model = Ease::train(&matrix, &EaseParameters { lambda: 1.0, ..Default::default() }).unwrap();
        let expected = [0.0, 1.0 / 3.0, 0.5, 0.0];
        assert!(model.weights.iter().zip(expected).all(|(got, want)| (got - want).abs() < 1e-6), "{:?}", model.weights);
        let history = [WeightedItem { item: 1, weight: 2.0 }];
        assert!((model.scores(&history)[0] - 1.0).abs() < 1e-6);
        assert_eq!(model.contributions(&history, 0), [model.scores(&history)[0]]);
    }

    #[test]
    fn one_item_has_no_weight_and_too_many_are_refused() {
        let one = Csr::from_rows(1, [[(0, 1.0)]]);
        assert_eq!(Ease::train(&one, &EaseParameters::default()).unwrap().weights, [0.0]);
        let refused =
            Ease::train(&Csr::from_rows(5, [[(0, 1.0)]]), &EaseParameters { max_items: 4, ..Default::default() });
        assert!(matches!(refused, Err(RecommendError::TooManyItems { items: 5, limit: 4, .. })));
    }
}
