//! What all lists of one recommender are like together: how much of the shop they show, how evenly, how new, how varied.
//!
//! In: the lists, the histories behind them, who had which item in training.  Out: one number per measure and cut-off.
//! Formulas (reference 3.2), with n_i training users of item i, U training users, I items, e_i times that i was shown:
//! coverage@k = items shown / I;  gini@k = Σ_j (2j − I − 1) · e_(j) / (I · Σ e), e ascending;  novelty@k = mean −log2(n_i / U)
//! (Vargas & Castells 2011);  intra_list_diversity@k = mean pairwise 1 − cosine of the items' user vectors (Ziegler et al. 2005);
//! popularity_lift@k = mean n_i of lists over mean n_i of histories (after Abdollahpouri et al. 2019).
//! Never here: whether anything shown was right.
//! Start at [`ListMeasure`].

use std::fmt;

use rayon::prelude::*;

use crate::{HistoryItem, Interactions};

/// What is measured of all lists together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListMetric {
    Coverage,
    Gini,
    Novelty,
    IntraListDiversity,
    PopularityLift,
}

impl ListMetric {
    /// Every measure, in the order of reports.
    pub const ALL: [Self; 5] =
        [Self::Coverage, Self::Gini, Self::Novelty, Self::IntraListDiversity, Self::PopularityLift];

    /// The name at a cut-off, such as `gini@10`.
    pub fn at(self, k: usize) -> String {
        format!("{self}@{k}")
    }
}

impl fmt::Display for ListMetric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Coverage => "coverage",
            Self::Gini => "gini",
            Self::Novelty => "novelty",
            Self::IntraListDiversity => "intra_list_diversity",
            Self::PopularityLift => "popularity_lift",
        })
    }
}

/// Up to this cut-off diversity is measured on every list.
const DEEP: usize = 20;

/// Beyond it, on at most so many lists, evenly spaced: a mean over 2,000 users is known to a few per cent of its spread,
/// and a long list of popular items visits most users' rows.
const DEEP_LISTS: usize = 2_000;

/// Who had which item in training, ready to measure any recommender's lists.
#[derive(Debug)]
pub(crate) struct ListMeasure {
    users: usize,
    /// Users of item i: `users_of[offsets[i]..offsets[i + 1]]`.
    offsets: Vec<usize>,
    users_of: Vec<u32>,
}

impl ListMeasure {
    /// The binary columns of the training matrix.
    pub(crate) fn new(known: &Interactions) -> Self {
        let items = known.item_ids().len();
        let mut pairs: Vec<(u32, u32)> = known.events().iter().map(|event| (event.item, event.user)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut offsets = vec![0usize; items + 1];
        for (item, _) in &pairs {
            offsets[*item as usize + 1] += 1;
        }
        for item in 0..items {
            offsets[item + 1] += offsets[item];
        }
        Self { users: known.user_ids().len(), offsets, users_of: pairs.into_iter().map(|(_, user)| user).collect() }
    }

    fn items(&self) -> usize {
        self.offsets.len() - 1
    }

    fn users_of(&self, item: u32) -> &[u32] {
        &self.users_of[self.offsets[item as usize]..self.offsets[item as usize + 1]]
    }

    /// Share of all users who had the item.
    fn popularity(&self, item: u32) -> f64 {
        self.users_of(item).len() as f64 / self.users as f64
    }

    /// Every measure of [`ListMetric::ALL`] at every cut-off; those that lists cannot answer (no list, no pair) are left out.
    pub(crate) fn measure(
        &self,
        lists: &[&[u32]],
        histories: &[&[HistoryItem]],
        cutoffs: &[usize],
    ) -> Vec<(ListMetric, usize, f64)> {
        let diversity = self.diversity(lists, cutoffs);
        let usual = self.mean_of_means(histories.iter().map(|history| self.known_items(history)), Self::popularity);
        let mut measured = Vec::new();
        for metric in ListMetric::ALL {
            for (place, &k) in cutoffs.iter().enumerate() {
                let shown = || lists.iter().map(|list| list.iter().take(k).copied().collect::<Vec<u32>>());
                let value = match metric {
                    ListMetric::Coverage => {
                        let shown = self.exposure(lists, k).iter().filter(|times| **times > 0).count();
                        Some(shown as f64 / self.items().max(1) as f64)
                    }
                    ListMetric::Gini => gini(self.exposure(lists, k)),
                    // At least one user had every item of training; an item of nobody has no finite surprise, and counts as one
                    // that a single user had.
                    ListMetric::Novelty => self
                        .mean_of_means(shown(), |own, item| -own.popularity(item).max(1.0 / own.users as f64).log2()),
                    ListMetric::IntraListDiversity => diversity[place],
                    ListMetric::PopularityLift => {
                        self.mean_of_means(shown(), Self::popularity).zip(usual).map(|(lists, usual)| lists / usual)
                    }
                };
                measured.extend(value.map(|value| (metric, k, value)));
            }
        }
        measured
    }

    /// The distinct items of a history that training knows.
    fn known_items(&self, history: &[HistoryItem]) -> Vec<u32> {
        let mut items: Vec<u32> =
            history.iter().map(|event| event.item).filter(|item| (*item as usize) < self.items()).collect();
        items.sort_unstable();
        items.dedup();
        items
    }

    /// Mean over lists of the mean over items; lists without items do not count.
    fn mean_of_means(&self, lists: impl Iterator<Item = Vec<u32>>, value: impl Fn(&Self, u32) -> f64) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0usize);
        for list in lists.filter(|list| !list.is_empty()) {
            sum += list.iter().map(|item| value(self, *item)).sum::<f64>() / list.len() as f64;
            count += 1;
        }
        (count > 0).then(|| sum / count as f64)
    }

    /// How often each item is among the first `k`.
    fn exposure(&self, lists: &[&[u32]], k: usize) -> Vec<u64> {
        let mut exposure = vec![0u64; self.items()];
        lists.iter().flat_map(|list| list.iter().take(k)).for_each(|item| exposure[*item as usize] += 1);
        exposure
    }

    /// Mean diversity per cut-off over the lists with at least two items among the first k.
    fn diversity(&self, lists: &[&[u32]], cutoffs: &[usize]) -> Vec<Option<f64>> {
        let every = lists.len().div_ceil(DEEP_LISTS).max(1);
        let deepest = cutoffs.iter().copied().max().unwrap_or_default();
        let per_list: Vec<Vec<Option<f64>>> = lists
            .par_iter()
            .enumerate()
            .map_init(
                || vec![0f64; self.users],
                |sums, (place, list)| {
                    let depth = if place.is_multiple_of(every) { deepest } else { DEEP };
                    let alike = self.likeness(&list[..list.len().min(depth)], sums);
                    cutoffs.iter().map(|&k| prefix_diversity(&alike, k, depth)).collect()
                },
            )
            .collect();
        (0..cutoffs.len())
            .map(|place| {
                let values: Vec<f64> = per_list.iter().filter_map(|list| list[place]).collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            })
            .collect()
    }

    /// For each prefix of the list, the sum of the cosines of all its pairs.
    ///
    /// With v_i the item's user vector at length 1, Σ_{i<j} v_i·v_j grows by v_new · Σ v_before: one visit of the users of each
    /// item instead of one merge per pair. `sums` holds zeros before and after. Cost: 3 · Σ n_i additions.
    fn likeness(&self, list: &[u32], sums: &mut [f64]) -> Vec<f64> {
        let mut total = 0.0;
        let alike = list
            .iter()
            .map(|&item| {
                let users = self.users_of(item);
                let unit = 1.0 / (users.len() as f64).sqrt();
                for &user in users {
                    total += unit * sums[user as usize];
                    sums[user as usize] += unit;
                }
                total
            })
            .collect();
        list.iter().flat_map(|item| self.users_of(*item)).for_each(|user| sums[*user as usize] = 0.0);
        alike
    }
}

/// 1 − mean cosine of the pairs among the first `k`; none where the list was not looked at so deep, or has no pair.
fn prefix_diversity(alike: &[f64], k: usize, depth: usize) -> Option<f64> {
    let items = alike.len().min(k);
    if k > depth || items < 2 {
        return None;
    }
    let pairs = (items * (items - 1) / 2) as f64;
    Some(1.0 - alike[items - 1] / pairs)
}

/// Gini of exposure over all items: 0 when each is shown as often, near 1 when one is shown always. None when nothing is shown.
fn gini(mut exposure: Vec<u64>) -> Option<f64> {
    exposure.sort_unstable();
    let total: u64 = exposure.iter().sum();
    let items = exposure.len() as f64;
    let weighted: f64 =
        (1u32..).zip(&exposure).map(|(place, times)| (2.0 * f64::from(place) - items - 1.0) * *times as f64).sum();
    (total > 0).then(|| weighted / (items * total as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InteractionRow;
    use crate::random::Random;

    /// Items 0, 1, 2, 3 with users {a, b, c, d}, {a, b}, {c}, {d}.
    fn measure() -> ListMeasure {
        let row = |(user, item): (&str, &str)| InteractionRow {
            user: user.into(),
            item: item.into(),
            at: 0,
            weight: 1.0,
            basket: None,
        };
        let pairs = [
            ("a", "0"),
            ("a", "0"),
            ("b", "0"),
            ("c", "0"),
            ("d", "0"),
            ("a", "1"),
            ("b", "1"),
            ("c", "2"),
            ("d", "3"),
        ];
        ListMeasure::new(&Interactions::from_rows(pairs.map(row)).0)
    }

    fn value(measured: &[(ListMetric, usize, f64)], metric: ListMetric, k: usize) -> f64 {
        measured.iter().find(|(found, at, _)| (*found, *at) == (metric, k)).map_or(f64::NAN, |(_, _, value)| *value)
    }

    #[test]
    fn list_measures_equal_hand_computed_values() {
        let history = [0, 0, 1, u32::MAX].map(|item| HistoryItem { item, weight: 1.0, at: 0 });
        let lists: [&[u32]; 2] = [&[0, 1], &[0, 2]];
        let measured = measure().measure(&lists, &[&history, &[]], &[1, 2]);
        let expected = [
            // Shown at 1: item 0 twice. At 2: item 0 twice, 1 and 2 once, 3 never.
            (ListMetric::Coverage, 1, 0.25),
            (ListMetric::Coverage, 2, 0.75),
            // e = 0, 0, 0, 2: (4·2 − 5) · 2 / (4 · 2) = 6/8.  e = 0, 1, 1, 2: (−1 + 1 + 3 · 2) / (4 · 4) = 6/16.
            (ListMetric::Gini, 1, 0.75),
            (ListMetric::Gini, 2, 0.375),
            // −log2 of 4/4, 2/4, 1/4: 0, 1, 2.  Lists: (0 + 1)/2 and (0 + 2)/2.
            (ListMetric::Novelty, 1, 0.0),
            (ListMetric::Novelty, 2, 0.75),
            // cos(0, 1) = 2/√8, cos(0, 2) = 1/√4: mean of .292893 and .5.
            (ListMetric::IntraListDiversity, 2, 0.396_447),
            // Lists: 1, then (1 + .5)/2 and (1 + .25)/2.  History: items 0 and 1, (1 + .5)/2.
            (ListMetric::PopularityLift, 1, 1.0 / 0.75),
            (ListMetric::PopularityLift, 2, 0.6875 / 0.75),
        ];
        for (metric, k, want) in expected {
            let got = value(&measured, metric, k);
            assert!((got - want).abs() < 1e-6, "{} {got}", metric.at(k));
        }
        assert_eq!(measured.len(), 9, "one item makes no pair: {measured:?}");
    }

    #[test]
    fn without_lists_only_coverage_is_known() {
        let measured = measure().measure(&[], &[], &[5]);
        assert_eq!(measured, [(ListMetric::Coverage, 5, 0.0)]);
    }

    #[test]
    fn diversity_equals_the_cosine_of_every_pair() {
        let mut random = Random::new(4, 0);
        let rows = (0..600).map(|_| InteractionRow {
            user: format!("u{}", random.below(30)),
            item: format!("i{:02}", random.below(40)),
            at: 0,
            weight: 1.0,
            basket: None,
        });
        let measure = ListMeasure::new(&Interactions::from_rows(rows.collect::<Vec<_>>()).0);
        let list: Vec<u32> = (0..25).collect();
        let cosine = |one: u32, other: u32| {
            let (one, other) = (measure.users_of(one), measure.users_of(other));
            let both = one.iter().filter(|user| other.contains(user)).count();
            both as f64 / ((one.len() * other.len()) as f64).sqrt()
        };
        for k in [2, 10, 20, 25] {
            let pairs: Vec<f64> =
                (0..k).flat_map(|one| (0..one).map(move |other| (one, other))).map(|(i, j)| cosine(i, j)).collect();
            let by_hand = 1.0 - pairs.iter().sum::<f64>() / pairs.len() as f64;
            let got = measure.diversity(&[&list, &list], &[k as usize])[0].unwrap();
            assert!((got - by_hand).abs() < 1e-12, "{k}: {got} {by_hand}");
        }
    }

    #[test]
    fn gini_is_zero_when_all_are_shown_alike() {
        assert_eq!(gini(vec![3, 3, 3]), Some(0.0));
        assert_eq!(gini(vec![0, 0]), None);
    }
}
