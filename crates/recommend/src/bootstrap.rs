//! How sure a mean over users is: percentile bootstrap, paired where two recommenders saw the same users.
//!
//! In: one row of values per user.  Out: [`Estimate`]s with 95 % intervals (Efron & Tibshirani 1993, ch. 13).
//! Users are drawn, not events: a user's events are not independent. Drawing whole rows pairs every column.
//! Never here: what the columns mean; how unlikely a difference is by chance (see `permutation`).
//! Start at [`Resampled::new`].

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// A mean with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// Quantiles that bound 95 % of the resampled means.
const LOW: f64 = 0.025;
const HIGH: f64 = 0.975;

/// Means of the columns of a table, as measured and in every resample.
#[derive(Debug, Clone)]
pub(crate) struct Resampled {
    values: Vec<f64>,
    /// resamples × columns.
    means: Vec<Vec<f64>>,
}

impl Resampled {
    /// Draws users with their whole row; `None` without users. `rows` is users × columns, row-major.
    ///
    /// Each resample has its own stream of randomness, so threads change nothing.
    /// Cost: resamples · users · columns additions.
    pub(crate) fn new(rows: &[f64], columns: usize, resamples: usize, seed: u64) -> Option<Self> {
        let users = rows.len() / columns.max(1);
        if users == 0 {
            return None;
        }
        let row = |user: usize| &rows[user * columns..(user + 1) * columns];
        let means = (0..resamples)
            .into_par_iter()
            .map(|resample| {
                let mut random = Random::new(seed, resample as u64);
                mean_of((0..users).map(|_| row(random.below(users))), columns, users)
            })
            .collect();
        Some(Self { values: mean_of((0..users).map(row), columns, users), means })
    }

    /// The mean of one column.
    pub(crate) fn estimate(&self, column: usize) -> Estimate {
        interval(self.values[column], self.means.iter().map(|mean| mean[column]).collect())
    }

    /// The mean of `column` − `other`, user by user.
    pub(crate) fn difference(&self, column: usize, other: usize) -> Estimate {
        let value = self.values[column] - self.values[other];
        interval(value, self.means.iter().map(|mean| mean[column] - mean[other]).collect())
    }
}

/// The mean of each column of `rows` with its interval; none without users.
pub(crate) fn estimate_columns(rows: &[f64], columns: usize, resamples: usize, seed: u64) -> Vec<Estimate> {
    let resampled = Resampled::new(rows, columns, resamples, seed);
    resampled.map_or_else(Vec::new, |resampled| (0..columns).map(|column| resampled.estimate(column)).collect())
}

fn interval(value: f64, mut resampled: Vec<f64>) -> Estimate {
    resampled.sort_unstable_by(f64::total_cmp);
    let (low, high) = (quantile(&resampled, LOW), quantile(&resampled, HIGH));
    Estimate { value, low: low.unwrap_or(value), high: high.unwrap_or(value) }
}

fn mean_of<'a>(rows: impl Iterator<Item = &'a [f64]>, columns: usize, count: usize) -> Vec<f64> {
    let mut sums = vec![0f64; columns];
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    sums.into_iter().map(|sum| sum / count as f64).collect()
}

/// Linear interpolation between order statistics (Hyndman & Fan 1996, type 7); `sorted` rises.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let position = share * (sorted.len().checked_sub(1)? as f64);
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    Some(sorted[below] + (sorted[above] - sorted[below]) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[5.0], 0.025), Some(5.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_interval_matches_the_normal_approximation() {
        // 400 users, half 0 and half 1: standard error .025, so 95 % is ±.049.
        let rows: Vec<f64> = (0..400).map(|user| f64::from(user % 2)).collect();
        let estimate = estimate_columns(&rows, 1, 2_000, 5)[0];
        assert_eq!(estimate.value, 0.5);
        assert!((estimate.low - 0.451).abs() < 0.006 && (estimate.high - 0.549).abs() < 0.006, "{estimate:?}");
    }

    #[test]
    fn a_difference_is_paired() {
        // The second column is the first plus .1 for everybody: the difference has no spread, though the columns have.
        let rows: Vec<f64> = (0..100).flat_map(|user| [f64::from(user % 2), f64::from(user % 2) + 0.1]).collect();
        let difference = Resampled::new(&rows, 2, 500, 5).unwrap().difference(1, 0);
        assert!((difference.high - difference.low).abs() < 1e-12 && (difference.value - 0.1).abs() < 1e-12);
    }

    #[test]
    fn equal_seeds_give_equal_intervals_and_no_user_gives_none() {
        let rows: Vec<f64> = (0..90).map(f64::from).collect();
        assert_eq!(estimate_columns(&rows, 3, 50, 9), estimate_columns(&rows, 3, 50, 9));
        assert_ne!(estimate_columns(&rows, 3, 50, 9), estimate_columns(&rows, 3, 50, 8));
        assert!(estimate_columns(&[], 3, 50, 9).is_empty());
    }
}
