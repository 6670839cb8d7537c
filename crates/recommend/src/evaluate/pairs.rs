//! Every recommender beside every other: how large the difference is, and whether it can be chance.
//!
//! In: results of all recommenders for the same users.  Out: [`PairedTest`]s for the guard's metric and the main ones.
//! Never here: deciding anything; promotion has its own guard (see `promotion`).
//! Start at [`paired_tests`].

use super::cases::CaseResults;
use super::results::PairedTest;
use crate::Protocol;
use crate::bootstrap::Resampled;
use crate::metrics::Metric;
use crate::permutation::{DRAWS, holm, sign_flip};
use crate::promotion::guard_metric;

/// The guard's metric first, then those that papers and people compare by.
fn tested_metrics(measured: &[String]) -> Vec<String> {
    let wanted = [guard_metric(), Metric::Recall.at(20), Metric::Ndcg.at(10), Metric::HitRate.at(10)];
    wanted.into_iter().filter(|name| measured.contains(name)).collect()
}

/// Tests all pairs on the first `users` rows of the results. `resampled` holds their columns side by side, recommender by
/// recommender; without it there were no users and nothing to compare.
pub(super) fn paired_tests(
    names: &[&str],
    results: &[&CaseResults],
    users: usize,
    resampled: Option<&Resampled>,
    protocol: &Protocol,
) -> Vec<PairedTest> {
    let (Some(resampled), Some(first)) = (resampled, results.first()) else { return Vec::new() };
    let width = first.names.len();
    let metrics = tested_metrics(&first.names);
    let columns: Vec<usize> =
        metrics.iter().filter_map(|metric| first.names.iter().position(|name| name == metric)).collect();
    // users × (recommenders × tested metrics).
    let mut table = Vec::with_capacity(users * results.len() * columns.len());
    for user in 0..users {
        for results in results {
            table.extend(columns.iter().map(|column| results.row(user)[*column]));
        }
    }
    let pairs: Vec<(usize, usize)> =
        (0..names.len()).flat_map(|one| (one + 1..names.len()).map(move |other| (one, other))).collect();
    let tested: Vec<(usize, usize)> = (0..columns.len())
        .flat_map(|metric| pairs.iter().map(move |pair| (metric, pair)))
        .map(|(metric, (one, other))| (one * columns.len() + metric, other * columns.len() + metric))
        .collect();
    let p = sign_flip(&table, columns.len() * results.len(), &tested, DRAWS, protocol.seed);
    let mut tests = Vec::with_capacity(tested.len());
    for (place, metric) in metrics.iter().enumerate() {
        let p = &p[place * pairs.len()..(place + 1) * pairs.len()];
        for ((&(one, other), &p), p_adjusted) in pairs.iter().zip(p).zip(holm(p)) {
            let column = columns[place];
            tests.push(PairedTest {
                metric: metric.clone(),
                one: names[one].to_owned(),
                other: names[other].to_owned(),
                difference: resampled.difference(one * width + column, other * width + column),
                p,
                p_adjusted,
            });
        }
    }
    tests
}
