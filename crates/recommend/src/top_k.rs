//! The best k of many scores, exactly: ties go to the smaller ordinal, so that lists are stable.
//!
//! In: a score per item.  Out: ordinals, best first.
//! Never here: where scores come from (see `retrieval` for scores that are not computed at all).
//! Start at [`top_k`].

use std::cmp::Ordering;

/// Best first: higher score, then smaller ordinal. `-0.0` equals `0.0`.
pub(crate) fn by_rank(left: (u32, f32), right: (u32, f32)) -> Ordering {
    // Adding zero turns -0.0 into 0.0, which `total_cmp` would otherwise tell apart.
    (right.1 + 0.0).total_cmp(&(left.1 + 0.0)).then(left.0.cmp(&right.0))
}

/// The best `k` items that `is_candidate` accepts, best first; scores that are not numbers are never candidates.
///
/// Cost: one comparison per item, plus a selection per 3k survivors.
pub(crate) fn top_k(scores: &[f32], k: usize, is_candidate: impl Fn(u32) -> bool) -> Vec<(u32, f32)> {
    let mut best = Best::new(k);
    for entry in (0u32..).zip(scores.iter().copied()) {
        if best.would_take(entry) && is_candidate(entry.0) {
            best.take(entry);
        }
    }
    best.finish()
}

/// Keeps a buffer of at most 4k survivors: whoever does not beat the k-th entry seen so far is not stored.
///
/// What is kept in the end does not depend on the order in which entries come.
#[derive(Debug, Clone)]
pub(crate) struct Best {
    k: usize,
    limit: usize,
    kept: Vec<(u32, f32)>,
    threshold: Option<(u32, f32)>,
}

impl Best {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, limit: k.saturating_mul(4).max(64), kept: Vec::new(), threshold: None }
    }

    /// Whether the entry may be among the best.
    pub(crate) fn would_take(&self, entry: (u32, f32)) -> bool {
        self.threshold.is_none_or(|worst| by_rank(entry, worst) == Ordering::Less) && !entry.1.is_nan() && self.k > 0
    }

    /// Stores an entry that [`Best::would_take`].
    pub(crate) fn take(&mut self, entry: (u32, f32)) {
        self.kept.push(entry);
        if self.kept.len() == self.limit {
            self.kept.select_nth_unstable_by(self.k - 1, |left, right| by_rank(*left, *right));
            self.kept.truncate(self.k);
            self.threshold = self.kept.last().copied();
        }
    }

    /// The best, best first.
    pub(crate) fn finish(mut self) -> Vec<(u32, f32)> {
        self.kept.sort_unstable_by(|left, right| by_rank(*left, *right));
        self.kept.truncate(self.k);
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn ties_go_to_the_smaller_ordinal_and_nan_is_left_out() {
        let scores = [1.0, f32::NAN, 2.0, 1.0, 0.0, -0.0];
        let items = |k| top_k(&scores, k, |_| true).into_iter().map(|(item, _)| item).collect::<Vec<_>>();
        assert_eq!(items(9), [2, 0, 3, 4, 5]);
        assert_eq!(items(2), [2, 0]);
        assert!(items(0).is_empty());
    }

    #[test]
    fn top_k_equals_a_full_sort_on_random_scores_with_many_ties() {
        let mut random = Random::new(3, 0);
        for k in [1, 7, 50, 400] {
            let scores: Vec<f32> = (0..3_000).map(|_| random.below(40) as f32).collect();
            let allowed = |item: u32| !item.is_multiple_of(3);
            let mut sorted: Vec<_> = (0u32..).zip(scores.iter().copied()).filter(|entry| allowed(entry.0)).collect();
            sorted.sort_by(|left, right| by_rank(*left, *right));
            sorted.truncate(k);
            assert_eq!(top_k(&scores, k, allowed), sorted);
        }
    }
}
