//! Interleaving whose lists are drawn so that a user who clicks at random prefers neither ranker, at any depth.
//!
//! In: two rankings.  Out: every list they allow, the credit of each place, and the probability of each list.
//! Source: Radlinski & Craswell, WSDM 2013: allowed lists, credit by inverse rank, and the condition of no bias (their eq. 4 and 5).
//! They pick one solution by linear programming; here it is the one nearest (in relative entropy) to weights that favour
//! sensitive lists, because that one is unique, smooth, and needs a few Newton steps in as many dimensions as there are places.
//! Never here: team draft (see `interleave`).
//! Start at [`optimized`].

use std::collections::BTreeSet;
use std::hash::Hash;

use crate::coin::Coin;
use crate::stats::StatsError;
use crate::stats::error::{allowed, enough};

/// Two rankings allow up to 2^length lists.
pub const LONGEST: usize = 10;
/// A bias below it is rounding.
const UNBIASED: f64 = 1e-10;

/// One list that two rankings allow.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedList<T> {
    pub items: Vec<T>,
    /// Credit of a click on each place: above 0 for the first ranker, below 0 for the second.
    pub credits: Vec<f64>,
    /// How often this list is to be shown; all together 1.
    pub probability: f64,
}

/// All lists in which each item is the best unseen one of either ranker, with probabilities under which clicks at random
/// have no expected credit among the first k places, for every k.
///
/// `length` ≤ 10. The credit of an item is 1/rank in the first ranking minus 1/rank in the second; one past the end where it
/// does not occur. Errors: an empty ranking, too long a list, or no probabilities without bias.
pub fn optimized<T: Clone + Eq + Hash>(a: &[T], b: &[T], length: usize) -> Result<Vec<WeightedList<T>>, StatsError> {
    enough("items of the first ranker", a.len(), 1)?;
    enough("items of the second ranker", b.len(), 1)?;
    allowed("length", length as f64, (1..=LONGEST).contains(&length), "between 1 and 10")?;
    // Items by number, so that lists can be told apart without ordering `T`.
    let mut known: Vec<&T> = Vec::new();
    let mut number = |item| {
        known.iter().position(|other| *other == item).unwrap_or_else(|| {
            known.push(item);
            known.len() - 1
        })
    };
    let a: Vec<usize> = a.iter().map(&mut number).collect();
    let b: Vec<usize> = b.iter().map(&mut number).collect();
    let mut found = BTreeSet::new();
    extend(&a, &b, length, &mut Vec::new(), &mut found);
    let inverse_rank = |ranking: &[usize], item: usize| {
        1.0 / (ranking.iter().position(|other| *other == item).unwrap_or(ranking.len()) + 1) as f64
    };
    let credit = |item: &usize| inverse_rank(&a, *item) - inverse_rank(&b, *item);
    let mut lists: Vec<WeightedList<T>> = found
        .into_iter()
        .map(|list| WeightedList {
            credits: list.iter().map(credit).collect(),
            items: list.into_iter().map(|item| known[item].clone()).collect(),
            probability: 0.0,
        })
        .collect();
    let credits: Vec<&[f64]> = lists.iter().map(|list| list.credits.as_slice()).collect();
    let probabilities = unbiased(&credits)?;
    lists.iter_mut().zip(probabilities).for_each(|(list, probability)| list.probability = probability);
    Ok(lists)
}

/// Draws one list by its probability. `None` without lists.
pub fn draw<T>(lists: &[WeightedList<T>], seed: u64) -> Option<&WeightedList<T>> {
    let mut left = Coin::new(seed).unit();
    lists
        .iter()
        .find(|list| {
            left -= list.probability;
            left < 0.0
        })
        .or(lists.last())
}

fn extend(a: &[usize], b: &[usize], length: usize, list: &mut Vec<usize>, found: &mut BTreeSet<Vec<usize>>) {
    let best = |ranking: &[usize]| ranking.iter().find(|item| !list.contains(item)).copied();
    let (of_a, of_b) = (best(a), best(b));
    if list.len() == length || (of_a.is_none() && of_b.is_none()) {
        found.insert(list.clone());
        return;
    }
    for item in [of_a, of_b.filter(|item| Some(*item) != of_a)].into_iter().flatten() {
        list.push(item);
        extend(a, b, length, list, found);
        list.pop();
    }
}

/// Probabilities p ∝ base·exp(−λ·bias) with λ such that Σ p·bias is zero at every depth: the minimum of a convex function.
fn unbiased(credits: &[&[f64]]) -> Result<Vec<f64>, StatsError> {
    let depth = credits.iter().map(|credits| credits.len()).max().unwrap_or(0);
    // Credit of all places up to each depth.
    let biases: Vec<Vec<f64>> = credits
        .iter()
        .map(|credits| {
            let mut sum = 0.0;
            (0..depth)
                .map(|place| {
                    sum += credits.get(place).copied().unwrap_or(0.0);
                    sum
                })
                .collect()
        })
        .collect();
    // A list is sensitive when its places carry much credit; 0.1 keeps lists of equal rankings possible.
    let base: Vec<f64> = credits.iter().map(|c| 0.1 + c.iter().map(|credit| credit * credit).sum::<f64>()).collect();
    let mut lambda = vec![0.0; depth];
    let (mut p, mut potential) = tilt(&biases, &base, &lambda);
    for _ in 0..200 {
        let mean: Vec<f64> = (0..depth).map(|k| p.iter().zip(&biases).map(|(p, bias)| p * bias[k]).sum()).collect();
        if mean.iter().all(|mean: &f64| mean.abs() < UNBIASED) {
            return Ok(p);
        }
        let step = newton_step(&p, &biases, &mean);
        // The Newton step is halved until the convex function falls.
        let mut size = 1.0;
        loop {
            let tried: Vec<f64> = lambda.iter().zip(&step).map(|(lambda, step)| lambda + size * step).collect();
            let (tried_p, tried_potential) = tilt(&biases, &base, &tried);
            if tried_potential <= potential || size < 1e-6 {
                (p, potential, lambda) = (tried_p, tried_potential, tried);
                break;
            }
            size *= 0.5;
        }
    }
    let most = (0..depth).map(|k| p.iter().zip(&biases).map(|(p, bias)| p * bias[k]).sum::<f64>().abs());
    let most = most.fold(0.0, f64::max);
    Err(StatsError::OutOfRange {
        name: "bias of interleaved lists",
        value: most,
        allowed: "0 for some probabilities of the lists; use team draft for these rankings",
    })
}

/// p ∝ base·exp(−λ·bias) and the logarithm of its sum.
fn tilt(biases: &[Vec<f64>], base: &[f64], lambda: &[f64]) -> (Vec<f64>, f64) {
    let dot = |bias: &[f64]| bias.iter().zip(lambda).map(|(bias, lambda)| bias * lambda).sum::<f64>();
    let logs: Vec<f64> = biases.iter().zip(base).map(|(bias, base)| base.ln() - dot(bias)).collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut p: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
    let sum: f64 = p.iter().sum();
    p.iter_mut().for_each(|p| *p /= sum);
    (p, most + sum.ln())
}

/// Solves covariance · step = mean, with a ridge where depths say the same.
fn newton_step(p: &[f64], biases: &[Vec<f64>], mean: &[f64]) -> Vec<f64> {
    let depth = mean.len();
    let mut rows: Vec<Vec<f64>> = (0..depth)
        .map(|i| {
            let mut row: Vec<f64> = (0..depth)
                .map(|j| p.iter().zip(biases).map(|(p, bias)| p * (bias[i] - mean[i]) * (bias[j] - mean[j])).sum())
                .collect();
            row[i] += 1e-12;
            row.push(mean[i]);
            row
        })
        .collect();
    // Gauss & Jordan; a covariance with a ridge has positive pivots.
    for pivot in 0..depth {
        let scale = rows[pivot][pivot];
        let pivot_row: Vec<f64> = rows[pivot].iter().map(|value| value / scale).collect();
        for (index, row) in rows.iter_mut().enumerate().filter(|(index, _)| *index != pivot) {
            let _ = index;
            let factor = row[pivot];
            row.iter_mut().zip(&pivot_row).for_each(|(value, other)| *value -= factor * other);
        }
        rows[pivot] = pivot_row;
    }
    rows.into_iter().map(|row| row[depth]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bias_at(lists: &[WeightedList<usize>], depth: usize) -> f64 {
        lists.iter().map(|list| list.probability * list.credits.iter().take(depth).sum::<f64>()).sum()
    }

    #[test]
    fn a_user_who_clicks_at_random_prefers_neither() {
        let mut coin = Coin::new(5);
        for round in 0..60 {
            let length = 1 + round % 8;
            let mut a: Vec<usize> = (0..12).collect();
            let mut b = a.clone();
            coin.shuffle(&mut a);
            coin.shuffle(&mut b);
            let lists = optimized(&a[..10], &b[..10], length).unwrap();
            assert!((lists.iter().map(|list| list.probability).sum::<f64>() - 1.0).abs() < 1e-12);
            for depth in 1..=length {
                assert!(bias_at(&lists, depth).abs() < 1e-9, "{a:?} {b:?} {depth}");
            }
        }
    }

    #[test]
    fn a_shifted_ranking_does_not_win_by_its_shift() {
        // The case that biases balanced interleaving: B is A with its first item moved to the end.
        let lists = optimized(&[1, 2, 3, 4], &[2, 3, 4, 1], 4).unwrap();
        assert!(lists.len() > 2 && (1..=4).all(|depth| bias_at(&lists, depth).abs() < 1e-9), "{lists:?}");
    }

    #[test]
    fn equal_rankings_allow_one_list_without_credit() {
        let lists = optimized(&[1, 2, 3], &[1, 2, 3], 3).unwrap();
        assert_eq!(lists, [WeightedList { items: vec![1, 2, 3], credits: vec![0.0; 3], probability: 1.0 }]);
        assert_eq!(draw(&lists, 1), Some(&lists[0]));
        assert_eq!(draw::<usize>(&[], 1), None);
    }

    #[test]
    fn lists_are_drawn_as_often_as_they_should() {
        let lists = optimized(&[1, 2], &[2, 1], 1).unwrap();
        let first = (0..4_000).filter(|seed| draw(&lists, *seed).unwrap().items == [1]).count();
        // By symmetry half of 4,000, standard deviation 32.
        assert!((1_860..2_140).contains(&first), "{first}");
    }

    #[test]
    fn too_long_or_empty_is_an_error() {
        assert!(optimized(&[1], &[2], 11).is_err() && optimized(&[1], &[2], 0).is_err());
        assert!(optimized(&[], &[2], 1).is_err());
    }
}
