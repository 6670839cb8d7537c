//! How good a list is, given what the user went on to choose; how wide and how plain all lists together are.
//!
//! In: a list (best first) and the held-out items.  Out: one number per metric and cut-off.
//! Formulas (reference 3.2): R@k = hits / min(k, held); N@k = Σ hit_r / log2(r+1) over its best possible value;
//! HR@k = any hit; MAP@k = Σ hit_r · P@r / min(k, held); MRR@k = 1 / rank of the first hit.
//! A list is measured in the order in which it is shown, which breaks ties by item id: never the optimistic rank.
//! Never here: intervals (see `bootstrap`), which users count (see `split`).
//! Start at [`measure_list`]; for all lists together, [`lists::ListMeasure`].

pub(crate) mod lists;

use std::fmt;

/// What is measured per user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    Recall,
    Ndcg,
    HitRate,
    Map,
    Mrr,
}

impl Metric {
    /// Every metric, in the order of [`measure_list`].
    pub const ALL: [Self; 5] = [Self::Recall, Self::Ndcg, Self::HitRate, Self::Map, Self::Mrr];

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
            Self::Map => "map",
            Self::Mrr => "mrr",
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
    // Ranks from 0, rising.
    let hits: Vec<usize> = (0..list.len()).filter(|rank| held_out.binary_search(&list[*rank]).is_ok()).collect();
    let within = |k: usize| &hits[..hits.partition_point(|rank| *rank < k)];
    let possible = |k: usize| k.min(held_out.len()).max(1);
    let one = |metric: Metric, k: usize| match metric {
        Metric::Recall => within(k).len() as f64 / possible(k) as f64,
        Metric::Ndcg => {
            let gained: f64 = within(k).iter().map(|rank| discount(*rank)).sum();
            gained / (0..possible(k)).map(discount).sum::<f64>()
        }
        Metric::HitRate => f64::from(!within(k).is_empty()),
        Metric::Map => {
            let precisions = within(k).iter().enumerate().map(|(before, rank)| (before + 1) as f64 / (rank + 1) as f64);
            precisions.sum::<f64>() / possible(k) as f64
        }
        Metric::Mrr => within(k).first().map_or(0.0, |rank| 1.0 / (rank + 1) as f64),
    };
    Metric::ALL.iter().flat_map(|metric| cutoffs.iter().map(|k| one(*metric, *k))).collect()
}

/// 1 / log2(rank + 2), rank from 0.
fn discount(rank: usize) -> f64 {
    1.0 / ((rank + 2) as f64).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_equal_hand_computed_values() {
        // Held out {1, 2, 9}; hits at ranks 1 and 3.  R@2 = 1/2, R@4 = 2/3.
        // N@2 = 1 / (1 + 1/log2 3) = 1/1.63093;  N@4 = (1 + 1/2) / (1 + 1/log2 3 + 1/2) = 1.5/2.13093.
        // MAP@2 = (1/1) / 2;  MAP@4 = (1/1 + 2/3) / 3 = 5/9.
        let values = measure_list(&[2, 5, 1, 7], &[1, 2, 9], &[2, 4]);
        let expected = [0.5, 2.0 / 3.0, 0.613_147, 0.703_918, 1.0, 1.0, 0.5, 5.0 / 9.0, 1.0, 1.0];
        assert!(values.iter().zip(expected).all(|(got, want)| (got - want).abs() < 1e-6), "{values:?}");
        assert_eq!(metric_names(&[2, 4])[..3], ["recall@2", "recall@4", "ndcg@2"]);
        assert_eq!(metric_names(&[2, 4])[6..], ["map@2", "map@4", "mrr@2", "mrr@4"]);
    }

    #[test]
    fn the_first_hit_decides_mrr_and_every_hit_map() {
        // Hits at ranks 2 and 4 of held out {3, 4}: MRR = 1/2, MAP@4 = (1/2 + 2/4) / 2 = 1/2; nothing within rank 1.
        let values = measure_list(&[9, 3, 8, 4], &[3, 4], &[1, 4]);
        assert_eq!(values[6..], [0.0, 0.5, 0.0, 0.5]);
    }

    #[test]
    fn a_short_list_is_followed_by_misses_and_nothing_held_out_is_zero() {
        assert_eq!(measure_list(&[3], &[3, 4], &[10])[0], 0.5);
        assert!(measure_list(&[3], &[], &[10]).iter().all(|value| *value == 0.0));
        assert!(measure_list(&[], &[1], &[10]).iter().all(|value| *value == 0.0));
    }
}
