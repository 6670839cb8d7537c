//! Parts of the users: without history, by length of history, by segment; and of what they chose: new items, categories. A mean can
//! hide whom a recommender fails, and with what.
//!
//! In: cases and their results.  Out: [`Slice`]s, the guard's metric with an interval.
//! Never here: differences between recommenders; in a small slice most of them are chance.
//! Start at [`slices`].

use super::cases::CaseResults;
use super::results::Slice;
use super::segments::Largest;
use crate::bootstrap::estimate_columns;
use crate::metrics::{measure_list, metric_names};
use crate::promotion::guard_metric;
use crate::{Case, ItemSet, Protocol};

/// A length of history, and whether it belongs to the slice.
type Length = (&'static str, fn(usize) -> bool);

const LENGTHS: [Length; 4] = [
    ("cold_users", |length| length == 0),
    ("history_1_to_4", |length| (1..5).contains(&length)),
    ("history_5_to_19", |length| (5..20).contains(&length)),
    ("history_20_up", |length| length >= 20),
];

/// `results` are in the order of `cases`, warm and cold.
pub(super) fn slices(
    cases: &[&Case],
    results: &CaseResults,
    segments: Option<&Largest<'_>>,
    protocol: &Protocol,
) -> Vec<Slice> {
    let chosen = |is_inside: &dyn Fn(&Case) -> bool| -> Vec<usize> {
        cases.iter().enumerate().filter(|(_, case)| is_inside(case)).map(|(place, _)| place).collect()
    };
    let by_length = LENGTHS.iter().map(|(name, is_inside)| {
        let rows = chosen(&|case| is_inside(case.history.len()));
        slice((*name).to_owned(), &rows, results, protocol)
    });
    let by_segment = segments.into_iter().flat_map(|segments| {
        segments.names().into_iter().enumerate().map(|(segment, name)| {
            // Cold users have a slice of their own: beside warm ones they would pull every segment down.
            let rows = chosen(&|case| !case.history.is_empty() && segments.place(&case.user) == segment);
            slice(name, &rows, results, protocol)
        })
    });
    by_length.chain(by_segment).collect()
}

/// The users with a history who went on to choose any of these items, and what of their choices among these was found.
pub(super) fn of_items(
    name: String,
    items: &ItemSet,
    (cases, lists): (&[Case], &[Vec<u32>]),
    cutoffs: &[usize],
    protocol: &Protocol,
) -> Slice {
    let mut results = CaseResults { names: metric_names(cutoffs), values: Vec::new(), lists: Vec::new() };
    let mut users = 0;
    for (case, list) in cases.iter().zip(lists) {
        let wanted: Vec<u32> = case.held_out.iter().copied().filter(|item| items.contains(*item)).collect();
        if !wanted.is_empty() {
            results.values.extend(measure_list(list, &wanted, cutoffs));
            users += 1;
        }
    }
    slice(name, &(0..users).collect::<Vec<_>>(), &results, protocol)
}

fn slice(name: String, rows: &[usize], results: &CaseResults, protocol: &Protocol) -> Slice {
    let mean = |column: usize| rows.iter().map(|row| results.row(*row)[column]).sum::<f64>() / rows.len() as f64;
    let means = results.names.iter().enumerate().map(|(column, name)| (name.clone(), mean(column)));
    let guard = results.names.iter().position(|name| *name == guard_metric()).map(|column| {
        let values: Vec<f64> = rows.iter().map(|row| results.row(*row)[column]).collect();
        estimate_columns(&values, 1, protocol.resamples, protocol.seed)
    });
    Slice {
        name,
        users: rows.len(),
        metrics: if rows.is_empty() { Default::default() } else { means.collect() },
        guard: guard.and_then(|estimates| estimates.first().copied()),
    }
}
