//! Item-to-item neighbours: an item is recommended because the same people chose it and items of the history.
//!
//! In: users × items, sparse.  Out: for each history item the scored items it is a neighbour of.
//! Similarity (reference 2.5): S_ij = g_ij / (d_i^a · d_j^(1−a) + shrink), g_ij = Σ_u x_ui·x_uj, d_i = g_ii, i in the
//! history, j scored. The best K are kept per *scored* item j: keeping them per history item costs a quarter of recall.
//! Never here: a dense items × items matrix.
//! Start at [`ItemKnn::train`].

use rayon::prelude::*;

use crate::tensors::{NamedTensor, TensorFile};
use crate::top_k::by_rank;
use crate::weighting::WeightedItem;
use crate::{Csr, ItemKnnParameters, RecommendError, RecommenderKind};

/// Neighbours as compressed rows: history item → (scored item, similarity), scored items rising. 8 bytes per neighbour.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemKnn {
    offsets: Vec<u32>,
    targets: Vec<u32>,
    similarities: Vec<f32>,
}

impl ItemKnn {
    /// Counts pairs target by target. Errors: `TooManyItems` beyond 2³² neighbours. Cost: Σ_u n_u² multiply-adds; scratch is one row of items per thread.
    pub(crate) fn train(matrix: &Csr, parameters: &ItemKnnParameters) -> Result<Self, RecommendError> {
        let by_item = matrix.transposed();
        let items = matrix.columns();
        let norms: Vec<f32> = (0..items).map(|item| by_item.row_norm_squared(item)).collect();
        let history_norms: Vec<f32> = norms.iter().map(|norm| norm.powf(parameters.exponent as f32)).collect();
        let target_norms: Vec<f32> = norms.iter().map(|norm| norm.powf(1.0 - parameters.exponent as f32)).collect();
        let shrink = parameters.shrink as f32;
        let neighbours: Vec<Vec<(u32, f32)>> = (0..items)
            .into_par_iter()
            .map_init(
                || PairCounter::new(items),
                |counter, target| {
                    let mut pairs = counter.count(matrix, &by_item, target);
                    for (item, value) in &mut pairs {
                        *value /= history_norms[*item as usize] * target_norms[target] + shrink;
                    }
                    keep_best(&mut pairs, parameters.neighbours);
                    pairs
                },
            )
            .collect();
        // Rows so far are targets; requests walk history items, so turn the matrix round.
        Self::from_rows(&Csr::from_rows(items, neighbours).transposed()).ok_or(RecommendError::TooManyItems {
            kind: RecommenderKind::ItemKnn,
            items,
            limit: u32::MAX as usize / parameters.neighbours.max(1),
        })
    }

    /// `None` if there are more neighbours than offsets of 32 bits can count.
    fn from_rows(by_history: &Csr) -> Option<Self> {
        let mut model = Self { offsets: vec![0], targets: Vec::new(), similarities: Vec::new() };
        for item in 0..by_history.rows() {
            let (targets, similarities) = by_history.row(item);
            model.targets.extend_from_slice(targets);
            model.similarities.extend_from_slice(similarities);
            model.offsets.push(u32::try_from(model.targets.len()).ok()?);
        }
        Some(model)
    }

    /// Number of neighbours stored.
    pub fn neighbours(&self) -> usize {
        self.targets.len()
    }

    fn row(&self, item: u32) -> (&[u32], &[f32]) {
        let range = self.offsets[item as usize] as usize..self.offsets[item as usize + 1] as usize;
        (&self.targets[range.clone()], &self.similarities[range])
    }

    /// s_j = Σ_i x_i·S_ij; NaN for items that are neighbours of nothing in the history.
    pub(crate) fn scores(&self, history: &[WeightedItem]) -> Vec<f32> {
        let mut scores = vec![0f32; self.offsets.len() - 1];
        for entry in history {
            let (targets, similarities) = self.row(entry.item);
            for (&target, similarity) in targets.iter().zip(similarities) {
                scores[target as usize] += entry.weight * similarity;
            }
        }
        // Similarities are above zero, so zero means untouched.
        scores.iter_mut().filter(|score| **score == 0.0).for_each(|score| *score = f32::NAN);
        scores
    }

    pub(crate) fn contributions(&self, history: &[WeightedItem], target: u32) -> Vec<f32> {
        let similarity = |item| {
            let (targets, similarities) = self.row(item);
            targets.binary_search(&target).map_or(0.0, |place| similarities[place])
        };
        history.iter().map(|entry| entry.weight * similarity(entry.item)).collect()
    }

    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        vec![
            NamedTensor::u32("offsets", vec![self.offsets.len()], &self.offsets),
            NamedTensor::u32("targets", vec![self.targets.len()], &self.targets),
            NamedTensor::f32("similarities", vec![self.similarities.len()], &self.similarities),
        ]
    }

    pub(crate) fn from_tensors(items: usize, tensors: &TensorFile<'_>) -> Result<Self, String> {
        let offsets = tensors.u32("offsets", &[items + 1])?;
        let stored = offsets[items] as usize;
        let targets = tensors.u32("targets", &[stored])?;
        let similarities = tensors.f32("similarities", &[stored])?;
        if offsets[0] != 0 || offsets.windows(2).any(|pair| pair[0] > pair[1]) {
            return Err("tensor `offsets` does not rise".into());
        }
        let rows = offsets.windows(2).map(|pair| &targets[pair[0] as usize..pair[1] as usize]);
        let is_good = |row: &[u32]| {
            row.windows(2).all(|pair| pair[0] < pair[1]) && row.iter().all(|&item| (item as usize) < items)
        };
        if !rows.into_iter().all(is_good) {
            return Err("tensor `targets` names items that do not exist or do not rise".into());
        }
        Ok(Self { offsets, targets, similarities })
    }
}

/// Accumulates the pairs of one target; the dense row is used again for the next.
struct PairCounter {
    sums: Vec<f32>,
    touched: Vec<u32>,
}

impl PairCounter {
    fn new(items: usize) -> Self {
        Self { sums: vec![0.0; items], touched: Vec::new() }
    }

    /// g_ij for the target j and every other item i seen with it.
    fn count(&mut self, matrix: &Csr, by_item: &Csr, target: usize) -> Vec<(u32, f32)> {
        let (users, weights) = by_item.row(target);
        for (&user, weight) in users.iter().zip(weights) {
            let (items, values) = matrix.row(user as usize);
            for (&item, value) in items.iter().zip(values) {
                let sum = &mut self.sums[item as usize];
                if *sum == 0.0 {
                    self.touched.push(item);
                }
                *sum += weight * value;
            }
        }
        let mut pairs = Vec::with_capacity(self.touched.len());
        for item in self.touched.drain(..) {
            let value = std::mem::take(&mut self.sums[item as usize]);
            if item as usize != target {
                pairs.push((item, value));
            }
        }
        pairs
    }
}

/// Keeps the best `k` by (value, smaller ordinal), then orders them by ordinal.
fn keep_best(pairs: &mut Vec<(u32, f32)>, k: usize) {
    if pairs.len() > k {
        pairs.select_nth_unstable_by(k - 1, |left, right| by_rank(*left, *right));
        pairs.truncate(k);
    }
    pairs.sort_unstable_by_key(|(item, _)| *item);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users: {0, 1}, {0, 1, 2}, {0}, {2}.  g_01 = 2, g_02 = 1, g_12 = 1; d = 3, 2, 2.
    fn matrix() -> Csr {
        let rows: [&[u32]; 4] = [&[0, 1], &[0, 1, 2], &[0], &[2]];
        Csr::from_rows(3, rows.map(|items| items.iter().map(|&item| (item, 1.0)).collect::<Vec<_>>()))
    }

    fn alone(item: u32) -> [WeightedItem; 1] {
        [WeightedItem { item, weight: 1.0 }]
    }

    #[test]
    fn similarities_are_cosines() {
        let model = ItemKnn::train(&matrix(), &ItemKnnParameters::default()).unwrap();
        let scores = model.scores(&alone(0));
        assert!(scores[0].is_nan());
        assert!((scores[1] - 2.0 / 6f32.sqrt()).abs() < 1e-6);
        assert!((scores[2] - 1.0 / 6f32.sqrt()).abs() < 1e-6);
        assert_eq!(model.contributions(&alone(0), 2), [scores[2]]);
    }

    #[test]
    fn the_best_neighbours_are_kept_per_scored_item() {
        // K = 1: target 0 keeps 1 (.82 against .41); target 1 keeps 0; target 2 keeps 1 (1/2 against 1/√6).
        let model = ItemKnn::train(&matrix(), &ItemKnnParameters { neighbours: 1, ..Default::default() }).unwrap();
        let of_one = model.scores(&alone(1));
        assert!((of_one[0] - 2.0 / 6f32.sqrt()).abs() < 1e-6 && (of_one[2] - 0.5).abs() < 1e-6);
        assert!(model.scores(&alone(2)).iter().all(|score| score.is_nan()));
        assert_eq!(model.neighbours(), 3);
    }

    #[test]
    fn one_item_has_no_neighbour() {
        let model = ItemKnn::train(&Csr::from_rows(1, [[(0, 1.0)]]), &ItemKnnParameters::default()).unwrap();
        assert!(model.scores(&alone(0))[0].is_nan());
    }
}
