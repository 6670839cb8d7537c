//! Lists for cases, measured: the one place where an evaluation asks a ranker.
//!
//! In: a ranker and cases.  Out: [`CaseResults`], a row of metrics and the list itself per case.
//! Never here: which cases there are, what the numbers mean together.
//! Start at [`run_cases`].

use std::borrow::Cow;

use domain::ItemId;
use rayon::prelude::*;

use super::results::Repeats;
use crate::metrics::{measure_list, metric_names};
use crate::{Case, HistoryItem, RankRequest, RankedList, Ranker, TOGETHER};

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

/// From the ordinals of the cases to those of a ranker and back: recommenders of one evaluation may know different items.
#[derive(Debug)]
pub(super) struct Translation {
    to_ranker: Vec<u32>,
    from_ranker: Vec<u32>,
}

impl Translation {
    /// `None` where both are the same. `items` are those of the cases, and hold all of the ranker's.
    pub(super) fn between(items: &[ItemId], ranker: &Ranker) -> Option<Self> {
        if items.len() == ranker.items().len() {
            return None;
        }
        let to_ranker = items.iter().map(|id| ranker.ordinal(id).unwrap_or(Ranker::UNKNOWN_ITEM)).collect();
        let place = |id: &ItemId| items.binary_search(id).map_or(Ranker::UNKNOWN_ITEM, |place| place as u32);
        Some(Self { to_ranker, from_ranker: ranker.items().iter().map(place).collect() })
    }

    fn history(&self, history: &[HistoryItem]) -> Vec<HistoryItem> {
        // Things of indicators follow the items, there as here.
        let (items, known) = (self.to_ranker.len(), self.from_ranker.len());
        let to_ranker = |item: u32| match self.to_ranker.get(item as usize) {
            Some(item) => *item,
            None => u32::try_from(item as usize - items + known).unwrap_or(Ranker::UNKNOWN_ITEM),
        };
        history.iter().map(|event| HistoryItem { item: to_ranker(event.item), ..*event }).collect()
    }
}

/// Runs `ranker` over the cases and measures every list. The order of results is that of the cases, whose ordinals are the ranker's.
pub fn run_cases(ranker: &Ranker, cases: &[Case], cutoffs: &[usize], exclude_seen: bool) -> CaseResults {
    run_translated(ranker, None, cases, cutoffs, exclude_seen)
}

/// The same where the cases may have ordinals of their own; lists come back in those of the cases.
pub(super) fn run_translated(
    ranker: &Ranker,
    translation: Option<&Translation>,
    cases: &[Case],
    cutoffs: &[usize],
    exclude_seen: bool,
) -> CaseResults {
    let limit = cutoffs.iter().copied().max().unwrap_or_default();
    let measured: Vec<(Vec<u32>, Vec<f64>)> = cases
        .par_chunks(TOGETHER)
        .flat_map_iter(|cases| {
            let histories: Vec<Cow<'_, [HistoryItem]>> = cases
                .iter()
                .map(|case| {
                    translation.map_or(Cow::Borrowed(case.history.as_slice()), |to| to.history(&case.history).into())
                })
                .collect();
            let asked: Vec<(&[HistoryItem], RankRequest<'_>)> = histories
                .iter()
                .zip(cases)
                .map(|(history, case)| {
                    let profile = case.profile.as_deref();
                    let request = RankRequest { limit, exclude_seen, hidden: None, reasons: 0, profile, seed: None };
                    (history.as_ref(), request)
                })
                .collect();
            let named = |item: u32| translation.map_or(item, |from| from.from_ranker[item as usize]);
            let lists = ranker.recommend_each(&asked).into_iter();
            let measure = |(list, case): (RankedList, &Case)| {
                let list: Vec<u32> = list.items.iter().map(|entry| named(entry.item)).collect();
                let values = measure_list(&list, &case.held_out, cutoffs);
                (list, values)
            };
            lists.zip(cases).map(measure).collect::<Vec<_>>()
        })
        .collect();
    let mut results = CaseResults { names: metric_names(cutoffs), values: Vec::new(), lists: Vec::new() };
    for (list, values) in measured {
        results.lists.push(list);
        results.values.extend(values);
    }
    results
}
