//! Lists for cases, measured: the one place where an evaluation asks a ranker.
//!
//! In: a ranker and cases.  Out: [`CaseResults`], a row of metrics and the list itself per case.
//! Never here: which cases there are, what the numbers mean together.
//! Start at [`run_cases`].

use rayon::prelude::*;

use super::results::Repeats;
use crate::metrics::{measure_list, metric_names};
use crate::{Case, RankRequest, Ranker};

/// What came of running a ranker over cases.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseResults {
    /// Names of the columns of `values`.
    pub names: Vec<String>,
    /// cases × names, row-major.
    pub values: Vec<f64>,
    /// The lists that were measured, in the order of the cases; ordinals of the artefact.
    pub lists: Vec<Vec<u32>>,
}

impl CaseResults {
    /// Mean of one column; `None` without cases or for an unknown name.
    pub fn mean(&self, name: &str) -> Option<f64> {
        let column = self.column(name)?;
        (!column.is_empty()).then(|| column.iter().sum::<f64>() / column.len() as f64)
    }

    /// One value per case.
    pub fn column(&self, name: &str) -> Option<Vec<f64>> {
        let place = self.names.iter().position(|known| known == name)?;
        Some(self.values.iter().skip(place).step_by(self.names.len()).copied().collect())
    }

    /// Share of `items` that is among the first k of any list.
    pub fn coverage(&self, k: usize, items: usize) -> f64 {
        let mut shown: Vec<u32> = self.lists.iter().flat_map(|list| list.iter().take(k)).copied().collect();
        shown.sort_unstable();
        shown.dedup();
        shown.len() as f64 / items.max(1) as f64
    }

    /// The values of one case.
    pub(super) fn row(&self, case: usize) -> &[f64] {
        &self.values[case * self.names.len()..(case + 1) * self.names.len()]
    }
}

impl Case {
    /// The same user with only what counts under this rule held out.
    pub(crate) fn under(&self, repeats: Repeats) -> Self {
        match repeats {
            Repeats::Included => self.clone(),
            Repeats::Excluded => {
                let is_new = |item: &u32| !self.history.iter().any(|event| event.item == *item);
                Self { held_out: self.held_out.iter().copied().filter(is_new).collect(), ..self.clone() }
            }
        }
    }
}

/// Runs `ranker` over the cases and measures every list. The order of results is that of the cases.
pub fn run_cases(ranker: &Ranker, cases: &[Case], cutoffs: &[usize], exclude_seen: bool) -> CaseResults {
    let limit = cutoffs.iter().copied().max().unwrap_or_default();
    let request = RankRequest { limit, exclude_seen, hidden: None, reasons: 0, seed: None };
    let measured: Vec<(Vec<u32>, Vec<f64>)> = cases
        .par_iter()
        .map(|case| {
            let list: Vec<u32> =
                ranker.recommend(&case.history, &request).items.iter().map(|entry| entry.item).collect();
            let values = measure_list(&list, &case.held_out, cutoffs);
            (list, values)
        })
        .collect();
    let mut results = CaseResults { names: metric_names(cutoffs), values: Vec::new(), lists: Vec::new() };
    for (list, values) in measured {
        results.lists.push(list);
        results.values.extend(values);
    }
    results
}
