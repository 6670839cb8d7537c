//! The weights of a blend: each part scores each user once, and many weights are tried on those scores.
//!
//! In: a ranker whose artefact is a blend, users.  Out: the weights with the best mean ndcg@100, and that for each user.
//! Never here: training the parts (see `trial`).
//! Start at [`best_weights`].

use rayon::prelude::*;

use super::space::rounded;
use crate::metrics::{Metric, measure_list};
use crate::promotion::GUARD_CUTOFF;
use crate::random::Random;
use crate::scorer::blended;
use crate::{Case, ItemSet, RankRequest, Ranker};

/// Steps of a share between two parts: finer ones differ by less than any validation can tell.
const STEPS: usize = 20;

/// Draws where there are more than two parts.
const DRAWS: usize = 60;

/// Stream of the draws; trials have the small numbers.
const STREAM: u64 = u64::MAX - 1;

/// Weights to try; each row sums to 1, for only their ratio counts.
fn candidates(parts: usize, seed: u64) -> Vec<Vec<f64>> {
    if parts == 2 {
        return (1..STEPS).map(|step| step as f64 / STEPS as f64).map(|share| shares(&[share, 1.0 - share])).collect();
    }
    let mut random = Random::new(seed, STREAM);
    let mut rows = vec![shares(&vec![1.0; parts])];
    // Exponential variates over their sum are uniform over all shares (Dirichlet with parameters 1).
    rows.extend((0..DRAWS).map(|_| shares(&(0..parts).map(|_| 1e-3 - random.unit().ln()).collect::<Vec<_>>())));
    rows
}

fn shares(weights: &[f64]) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| rounded(weight / sum)).collect()
}

/// Weights and the ndcg@100 of each case under them.
pub(super) fn best_weights(
    ranker: &Ranker,
    parts: usize,
    cases: &[Case],
    exclude_seen: bool,
    seed: u64,
) -> (Vec<f64>, Vec<f64>) {
    let candidates = candidates(parts, seed);
    let request =
        RankRequest { limit: GUARD_CUTOFF, exclude_seen, hidden: None, reasons: 0, profile: None, seed: None };
    let measured: Vec<Vec<f64>> = cases.par_iter().map(|case| measure(ranker, case, &candidates, &request)).collect();
    let column = |candidate: usize| -> Vec<f64> { measured.iter().map(|row| row[candidate]).collect() };
    let mut best: Option<(f64, usize)> = None;
    for candidate in 0..candidates.len() {
        let sum: f64 = column(candidate).iter().sum();
        if best.is_none_or(|(largest, _)| sum > largest) {
            best = Some((sum, candidate));
        }
    }
    let best = best.map_or(0, |(_, candidate)| candidate);
    (candidates[best].clone(), column(best))
}

/// ndcg@100 of one user's list under each candidate.
fn measure(ranker: &Ranker, case: &Case, candidates: &[Vec<f64>], request: &RankRequest<'_>) -> Vec<f64> {
    let weighed = ranker.weigh(&case.history);
    let scorer = ranker.artefact().scorer();
    let parts = if weighed.is_empty() { Vec::new() } else { scorer.part_scores(&weighed) };
    let ndcg = |weights: &Vec<f64>| {
        let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
        let scores = blended(&parts, &weights);
        let ranked = |hidden: &ItemSet| Some(ranker.best_of(scores.as_deref()?, hidden, request.limit));
        let list = ranker.list(&case.history, &weighed, ranked, request);
        let list: Vec<u32> = list.items.iter().map(|entry| entry.item).collect();
        let place = Metric::ALL.iter().position(|metric| *metric == Metric::Ndcg).unwrap_or_default();
        measure_list(&list, &case.held_out, &[GUARD_CUTOFF])[place]
    };
    candidates.iter().map(ndcg).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_shares() {
        let two = candidates(2, 1);
        assert_eq!((two.len(), &two[0][..], &two[9][..]), (19, &[0.05, 0.95][..], &[0.5, 0.5][..]));
        for row in candidates(3, 1) {
            assert!(row.iter().all(|weight| *weight > 0.0) && (row.iter().sum::<f64>() - 1.0).abs() < 0.01, "{row:?}");
        }
        assert_eq!(candidates(3, 1), candidates(3, 1));
    }
}
