//! How strongly a history speaks: events of one user and item become one weight, in training and at request time alike.
//!
//! In: events (item, weight, time).  Out: one (item, weight) pair per item, items rising.
//! Training and request differ in one thing only: at request time what is newest may count most (`recency`).
//! Never here: which model uses it. Source: reference 2.2 and 2.10; Hu, Koren & Volinsky 2008 for confidence weights.
//! Start at [`Weighting::apply`] (training) and [`Weighting::for_request`].

use crate::{Csr, HistoryItem, HistoryParameters, Interactions};

pub(crate) const SECONDS_PER_DAY: f64 = 86_400.0;

/// One bot or one bulk buyer must not outweigh everybody: a pair counts at most this many times the median pair.
const CAP_OVER_MEDIAN: f32 = 10.0;

/// Pairs that decayed below this no longer speak: the product of two of them must not vanish in `f32`.
const MIN_WEIGHT: f32 = 1e-18;

/// Items that recency leaves less than this share of their weight are not worth a pass over the catalogue.
const MIN_RECENCY: f32 = 1e-3;

/// How the events of one (user, item) pair become its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightScheme {
    /// 1 if there is any event. The default: the published figures of EASE, item-kNN and iALS are made with it.
    #[default]
    Binary,
    /// The sum of the events' weights, decayed by age if a half-life is given, capped at 10 times the median pair.
    Summed,
}

/// A weighting fitted to a training set; kept in the artefact, so that fold-in weighs as training did.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighting {
    pub scheme: WeightScheme,
    pub half_life_days: Option<f64>,
    /// The most that one pair may weigh; none for `binary`.
    pub cap: Option<f32>,
    /// Ages are counted back from here, seconds since 1970 UTC: the newest event of the training set.
    pub as_of: i64,
    /// Only so many of a user's most recent items speak: a bound on training pairs and on request time.
    pub max_history: usize,
    /// τ of exp(−rank/τ) at request time; none: old and new count the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recency: Option<f32>,
}

/// An item of a history with its aggregated weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightedItem {
    pub item: u32,
    pub weight: f32,
}

impl Weighting {
    /// Learns cap and reference time from the interactions.
    pub fn fit(interactions: &Interactions, parameters: &HistoryParameters) -> Self {
        let mut weighting = Self {
            scheme: parameters.weights,
            half_life_days: parameters.half_life_days,
            cap: None,
            as_of: interactions.last_at().unwrap_or_default(),
            max_history: parameters.max_history,
            recency: parameters.recency.map(|recency| recency as f32),
        };
        if weighting.scheme == WeightScheme::Summed {
            let mut weights: Vec<f32> =
                users(interactions).flat_map(|history| weighting.apply(&history)).map(|pair| pair.weight).collect();
            if !weights.is_empty() {
                let middle = weights.len() / 2;
                let (_, median, _) = weights.select_nth_unstable_by(middle, f32::total_cmp);
                weighting.cap = Some(*median * CAP_OVER_MEDIAN);
            }
        }
        weighting
    }

    /// One weight per item of the history, items rising, as training sees it. Events may come in any order.
    pub fn apply(&self, history: &[HistoryItem]) -> Vec<WeightedItem> {
        self.pairs(history).into_iter().map(|(pair, _)| pair).collect()
    }

    /// The same for a list that is asked for now: the newest items count most if `recency` is set.
    ///
    /// Ranks are steps in time: items of one basket or one second share theirs, for nothing tells which came first.
    pub fn for_request(&self, history: &[HistoryItem]) -> Vec<WeightedItem> {
        let pairs = self.pairs(history);
        let Some(recency) = self.recency else {
            return pairs.into_iter().map(|(pair, _)| pair).collect();
        };
        let mut moments: Vec<i64> = pairs.iter().map(|(_, last_at)| *last_at).collect();
        moments.sort_unstable();
        moments.dedup();
        let factor = |last_at: i64| {
            let rank = moments.len() - moments.partition_point(|moment| *moment <= last_at);
            (-(rank as f32) / recency).exp()
        };
        pairs
            .into_iter()
            .map(|(pair, last_at)| (pair, factor(last_at)))
            .filter(|(_, factor)| *factor >= MIN_RECENCY)
            .map(|(pair, factor)| WeightedItem { weight: pair.weight * factor, ..pair })
            .collect()
    }

    /// Weight and time of the last event per item, items rising.
    fn pairs(&self, history: &[HistoryItem]) -> Vec<(WeightedItem, i64)> {
        let mut events: Vec<HistoryItem> = history.to_vec();
        events.sort_unstable_by(|a, b| (a.item, a.at).cmp(&(b.item, b.at)).then(a.weight.total_cmp(&b.weight)));
        let mut pairs: Vec<(WeightedItem, i64)> = Vec::with_capacity(events.len());
        for event in events {
            let weight = self.decayed(event);
            match pairs.last_mut() {
                Some((pair, last_at)) if pair.item == event.item => {
                    pair.weight += weight;
                    *last_at = event.at;
                }
                Some(_) | None => pairs.push((WeightedItem { item: event.item, weight }, event.at)),
            }
        }
        pairs.retain(|(pair, _)| pair.weight >= MIN_WEIGHT);
        if pairs.len() > self.max_history {
            pairs.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.item.cmp(&b.0.item)));
            pairs.truncate(self.max_history);
            pairs.sort_unstable_by_key(|(pair, _)| pair.item);
        }
        pairs.iter_mut().for_each(|(pair, _)| pair.weight = self.finish(pair.weight));
        pairs
    }

    /// The training matrix, users × items.
    pub(crate) fn matrix(&self, interactions: &Interactions) -> Csr {
        let rows = users(interactions)
            .map(|history| self.apply(&history).into_iter().map(|pair| (pair.item, pair.weight)).collect::<Vec<_>>());
        Csr::from_rows(interactions.item_ids().len(), rows)
    }

    fn decayed(&self, event: HistoryItem) -> f32 {
        event.weight * decay(self.half_life_days, self.as_of, event.at)
    }

    fn finish(&self, weight: f32) -> f32 {
        match self.scheme {
            WeightScheme::Binary => 1.0,
            WeightScheme::Summed => self.cap.map_or(weight, |cap| weight.min(cap)),
        }
    }
}

/// 0.5^(age / half-life); 1 without a half-life, and 1 for events newer than `as_of`.
pub(crate) fn decay(half_life_days: Option<f64>, as_of: i64, at: i64) -> f32 {
    half_life_days.map_or(1.0, |half_life| {
        let age_days = as_of.saturating_sub(at).max(0) as f64 / SECONDS_PER_DAY;
        0.5f64.powf(age_days / half_life) as f32
    })
}

fn users(interactions: &Interactions) -> impl Iterator<Item = Vec<HistoryItem>> {
    (0..interactions.user_ids().len() as u32)
        .map(|user| interactions.history(user).iter().map(HistoryItem::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn weighting(scheme: WeightScheme) -> Weighting {
        Weighting { scheme, half_life_days: Some(1.0), cap: Some(3.0), as_of: 2 * DAY, max_history: 2, recency: None }
    }

    fn item(item: u32, weight: f32, at: i64) -> HistoryItem {
        HistoryItem { item, weight, at }
    }

    #[test]
    fn sums_decay_with_age_and_stop_at_the_cap() {
        // Item 5: 2 · ½ (one day old) + 1 = 2.  Item 1: 9, capped at 3.  An event of tomorrow is not boosted.
        let history = [item(5, 2.0, DAY), item(1, 9.0, 3 * DAY), item(5, 1.0, 2 * DAY)];
        let pairs = weighting(WeightScheme::Summed).apply(&history);
        assert_eq!(pairs, [WeightedItem { item: 1, weight: 3.0 }, WeightedItem { item: 5, weight: 2.0 }]);
    }

    #[test]
    fn the_newest_count_most_when_a_list_is_asked_for() {
        // Moments 9 > 5 > 1, two items at 5.  τ = 1: e⁰, e⁻¹ twice, e⁻².
        let weighting = Weighting { recency: Some(1.0), max_history: 9, ..weighting(WeightScheme::Binary) };
        let history = [item(1, 1.0, 1), item(1, 1.0, 5), item(2, 1.0, 9), item(3, 1.0, 5), item(4, 1.0, 1)];
        let weights: Vec<f32> = weighting.for_request(&history).iter().map(|pair| pair.weight).collect();
        let expected = [(-1f32).exp(), 1.0, (-1f32).exp(), (-2f32).exp()];
        assert!(weights.iter().zip(expected).all(|(got, want)| (got - want).abs() < 1e-6), "{weights:?}");
        assert!(weighting.apply(&history).iter().all(|pair| pair.weight == 1.0), "training never looks at it");
        let long: Vec<HistoryItem> = (0..50).map(|at| item(at as u32, 1.0, at)).collect();
        let long_weighting = Weighting { max_history: 50, ..weighting };
        assert_eq!(long_weighting.for_request(&long).len(), 7, "e⁻⁷ is below a thousandth");
    }

    #[test]
    fn only_the_most_recent_items_speak() {
        let history = [item(1, 1.0, 1), item(2, 1.0, 9), item(3, 1.0, 5)];
        let items: Vec<u32> = weighting(WeightScheme::Binary).apply(&history).iter().map(|pair| pair.item).collect();
        assert_eq!(items, [2, 3]);
        let ancient = [item(7, 1.0, -1_000 * DAY)];
        assert!(weighting(WeightScheme::Summed).apply(&ancient).is_empty(), "half-life 1 day, 1,002 days old");
    }
}
