//! How good a list is, given what the user went on to choose.
//!
//! In: a list (best first) and the held-out items.  Out: one number per metric and cut-off.
//! Formulas (reference 3.2): R@k = hits / min(k, held); N@k = Σ hit_r / log2(r+1) over its best possible value;
//! HR@k = any hit; coverage@k = distinct items shown / items.
//! Never here: intervals (see `bootstrap`), which users count (see `split`).
//! Start at [`measure_list`].

use std::collections::BTreeSet;
use std::fmt;

/// What is measured per user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    Recall,
    Ndcg,
    HitRate,
}

impl Metric {
    /// Every metric, in the order of [`measure_list`].
    pub const ALL: [Self; 3] = [Self::Recall, Self::Ndcg, Self::HitRate];

    /// The name at a cut-off, such as `ndcg@100`.
    pub fn at(self, k: usize) -> String {
        format!("{self}@{k}")
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Recall => "recall",
            Self::Ndcg => "ndcg",
            Self::HitRate => "hit_rate",
        })
    }
}

/// Names in the order of [`measure_list`].
pub(crate) fn metric_names(cutoffs: &[usize]) -> Vec<String> {
    Metric::ALL.iter().flat_map(|metric| cutoffs.iter().map(|&k| metric.at(k))).collect()
}

/// All metrics of one list: for each metric of [`Metric::ALL`], one value per cut-off.
///
/// `held_out` is sorted, without repeats and not empty (an empty one gives zeros). A list shorter than k is
/// measured as if misses followed.
pub fn measure_list(list: &[u32], held_out: &[u32], cutoffs: &[usize]) -> Vec<f64> {
    let is_hit: Vec<bool> = list.iter().map(|item| held_out.binary_search(item).is_ok()).collect();
    let hits = |k: usize| is_hit.iter().take(k).filter(|hit| **hit).count();
    let possible = |k: usize| k.min(held_out.len()).max(1);
    let recall = cutoffs.iter().map(|&k| hits(k) as f64 / possible(k) as f64);
    let ndcg = cutoffs.iter().map(|&k| {
        let gained: f64 =
            (0..).zip(is_hit.iter().take(k)).filter(|(_, hit)| **hit).map(|(rank, _)| discount(rank)).sum();
        gained / (0..possible(k)).map(discount).sum::<f64>()
    });
    let hit_rate = cutoffs.iter().map(|&k| f64::from(hits(k) > 0));
    recall.chain(ndcg).chain(hit_rate).collect()
}

/// 1 / log2(rank + 2), rank from 0.
fn discount(rank: usize) -> f64 {
    1.0 / ((rank + 2) as f64).log2()
}

/// Distinct items among the first `k` of all lists, over the number of items.
pub(crate) fn coverage<'a>(lists: impl Iterator<Item = &'a [u32]>, k: usize, items: usize) -> f64 {
    let shown: BTreeSet<u32> = lists.flat_map(|list| list.iter().take(k)).copied().collect();
    shown.len() as f64 / items.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_equal_hand_computed_values() {
        // Held out {1, 2, 9}; hits at ranks 1 and 3.  R@2 = 1/2, R@4 = 2/3.
        // N@2 = 1 / (1 + 1/log2 3) = 1/1.63093;  N@4 = (1 + 1/2) / (1 + 1/log2 3 + 1/2) = 1.5/2.13093.
        let values = measure_list(&[2, 5, 1, 7], &[1, 2, 9], &[2, 4]);
        let expected = [0.5, 2.0 / 3.0, 0.613_147, 0.703_918, 1.0, 1.0];
        assert!(values.iter().zip(expected).all(|(got, want)| (got - want).abs() < 1e-6), "{values:?}");
        assert_eq!(metric_names(&[2, 4])[..3], ["recall@2", "recall@4", "ndcg@2"]);
    }

    #[test]
    fn a_short_list_is_followed_by_misses_and_nothing_held_out_is_zero() {
        assert_eq!(measure_list(&[3], &[3, 4], &[10])[0], 0.5);
        assert!(measure_list(&[3], &[], &[10]).iter().all(|value| *value == 0.0));
        assert!(measure_list(&[], &[1], &[10]).iter().all(|value| *value == 0.0));
    }

    #[test]
    fn coverage_counts_distinct_items_of_the_first_k() {
        let lists: [&[u32]; 2] = [&[1, 2, 3], &[1, 4]];
        assert_eq!(coverage(lists.into_iter(), 2, 6), 0.5);
    }
}
