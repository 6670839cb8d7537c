//! Sparse items × items: what four kinds of recommender (item_knn, llr, rp3beta, sequence) are once they are trained.
//! In `cco` rows go on with things that are no items.
//!
//! In: for each item its strongest partners.  Out: scores, contributions, tensors.
//! Never here: where the strengths come from; a dense items × items matrix.
//! Start at [`Neighbours`]; training counts pairs with [`strongest_partners`], or with `pairs`.

use rayon::prelude::*;

use crate::tensors::{NamedTensor, TensorFile};
use crate::top_k::by_rank;
use crate::weighting::WeightedItem;
use crate::{Csr, RecommendError, RecommenderKind};

/// Compressed rows: history item → (scored item, similarity above zero), scored items rising. 8 bytes per neighbour.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// Items that are scored; history items may be more.
    items: usize,
    offsets: Vec<u32>,
    targets: Vec<u32>,
    similarities: Vec<f32>,
}

impl Neighbours {
    /// From rows by history item. Errors: `TooManyItems` if there are more neighbours than 32 bits can count.
    pub(crate) fn from_history(by_history: &Csr, kind: RecommenderKind) -> Result<Self, RecommendError> {
        let items = by_history.rows();
        let too_many = RecommendError::TooManyItems {
            kind,
            items,
            limit: u32::MAX as usize / (by_history.stored() / items.max(1)).max(1),
        };
        if u32::try_from(by_history.stored()).is_err() {
            return Err(too_many);
        }
        let mut model =
            Self { items: by_history.columns(), offsets: vec![0], targets: Vec::new(), similarities: Vec::new() };
        for item in 0..items {
            let (targets, similarities) = by_history.row(item);
            model.targets.extend_from_slice(targets);
            model.similarities.extend_from_slice(similarities);
            model.offsets.push(model.targets.len() as u32);
        }
        Ok(model)
    }

    /// From rows by scored item: requests walk history items, so the matrix is turned round.
    pub(crate) fn from_targets(rows: Vec<Vec<(u32, f32)>>, kind: RecommenderKind) -> Result<Self, RecommendError> {
        Self::from_history(&Csr::from_rows(rows.len(), rows).transposed(), kind)
    }

    /// Number of neighbours stored.
    pub fn stored(&self) -> usize {
        self.targets.len()
    }

    fn row(&self, item: u32) -> (&[u32], &[f32]) {
        let range = self.offsets[item as usize] as usize..self.offsets[item as usize + 1] as usize;
        (&self.targets[range.clone()], &self.similarities[range])
    }

    /// s_j = Σ_i x_i·S_ij; NaN for items that are neighbours of nothing in the history.
    pub(crate) fn scores(&self, history: &[WeightedItem]) -> Vec<f32> {
        let mut scores = vec![0f32; self.items];
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

    /// `rows`: history items; `items`: items that are scored.
    pub(crate) fn from_tensors(rows: usize, items: usize, tensors: &TensorFile<'_>) -> Result<Self, String> {
        let offsets = tensors.u32("offsets", &[rows + 1])?;
        let stored = offsets[rows] as usize;
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
        Ok(Self { items, offsets, targets, similarities })
    }
}

/// The strongest `keep` partners of every item, in parallel, whether or not a pair counts the same from both sides (if it
/// does, `strongest_pairs` is three times as fast); `strength` turns the sum over users of one pair into what is
/// ranked, and pairs without strength are left out. Cost: Σ_u n_u² multiply-adds; scratch is one row of items per thread.
pub(crate) fn strongest_partners(
    by_user: &Csr,
    by_item: &Csr,
    keep: usize,
    strength: impl Fn(u32, u32, f32) -> f32 + Sync,
) -> Vec<Vec<(u32, f32)>> {
    strongest_across(
        by_user,
        by_item,
        keep,
        |item, other, sum| if item == other { 0.0 } else { strength(item, other, sum) },
    )
}

/// The strongest `keep` things of every item, in parallel: `by_user` is users × things, `by_item` items × the same users.
///
/// As [`strongest_partners`], but a thing is no item, so none is left out for having the item's ordinal.
pub(crate) fn strongest_across(
    by_user: &Csr,
    by_item: &Csr,
    keep: usize,
    strength: impl Fn(u32, u32, f32) -> f32 + Sync,
) -> Vec<Vec<(u32, f32)>> {
    (0..by_item.rows() as u32)
        .into_par_iter()
        .map_init(
            || PairCounter::new(by_user.columns()),
            |counter, item| {
                let mut pairs = counter.count(by_user, by_item, item);
                pairs.iter_mut().for_each(|(other, value)| *value = strength(item, *other, *value));
                pairs.retain(|(_, value)| *value > 0.0);
                keep_best(&mut pairs, keep);
                pairs.shrink_to_fit();
                pairs
            },
        )
        .collect()
}

/// Accumulates the pairs of one target; the dense row is used again for the next.
struct PairCounter {
    sums: Vec<f32>,
    touched: Vec<u32>,
}

impl PairCounter {
    fn new(things: usize) -> Self {
        Self { sums: vec![0.0; things], touched: Vec::new() }
    }

    /// Σ_u by_item[target, u] · by_user[u, i] for every i seen with the target.
    fn count(&mut self, matrix: &Csr, by_item: &Csr, target: u32) -> Vec<(u32, f32)> {
        let (users, weights) = by_item.row(target as usize);
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
            pairs.push((item, std::mem::take(&mut self.sums[item as usize])));
        }
        pairs
    }
}

/// Keeps the best `k` by (value, smaller ordinal), then orders them by ordinal.
pub(crate) fn keep_best(pairs: &mut Vec<(u32, f32)>, k: usize) {
    if pairs.len() > k {
        pairs.select_nth_unstable_by(k - 1, |left, right| by_rank(*left, *right));
        pairs.truncate(k);
    }
    pairs.sort_unstable_by_key(|(item, _)| *item);
}
