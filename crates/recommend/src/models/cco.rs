//! Correlated cross-occurrence: an item is recommended because those who took it viewed, searched for or took the things of a
//! history more often than chance explains.
//!
//! In: users × items, and for each indicator the same users × things.  Out: [`Cco`], [`Neighbours`] over items and things.
//! Over N users with interactions: k11 = users with both, k12 = users with the thing and without the item, k21 the other way
//! round, k22 = users with neither; the log-likelihood ratio of the table (Dunning 1993, see `llr`) is both the weight and the
//! filter, as in Mahout's `spark-itemsimilarity` and the Universal Recommender (Ferrel 2014), which keep it as a filter only.
//! Counts come from the same drawn events as the pairs, so that k11 never exceeds them (reference 2.6 and 6).
//! The primary indicator is the interactions themselves; in the others a thing may be the item it speaks for: viewed, not bought.
//! Never here: marts, times; how a history is weighed but for one thing: each indicator is weighed by itself.
//! Start at [`Cco::train`].

use super::llr::{log_likelihood_ratio, neighbours_of};
use super::neighbours::{Neighbours, strongest_across};
use crate::random::{Random, shuffle};
use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::WeightedItem;
use crate::{CcoParameters, Csr, HistoryItem, Interactions, RecommendError, RecommenderKind, Weighting};

/// What speaks for each item: other items, and things whose ordinals follow those of the items.
#[derive(Debug, Clone, PartialEq)]
pub struct Cco {
    /// Ordinals at which items, each indicator's things, and nothing more begin.
    bounds: Vec<u32>,
    neighbours: Neighbours,
}

impl Cco {
    /// Errors: `NoSuchIndicator`, `TooManyItems` beyond 2³² neighbours.
    ///
    /// Cost: for each indicator Σ_u n_u·m_u ≤ users · `max_events_per_user`² additions; memory: 8 bytes for each event drawn and
    /// each neighbour kept, and a row of things for each thread. Nothing is dense in items × things.
    pub(crate) fn train(
        interactions: &Interactions,
        parameters: &CcoParameters,
        seed: u64,
    ) -> Result<Self, RecommendError> {
        let (items, indicators) = (interactions.item_ids().len(), interactions.indicators());
        let things = indicators.bounds();
        let users = interactions.user_ids().len();
        let lot = |matrix| Lot { most: parameters.max_events_per_user, seed, matrix };
        let of_user = |user: usize| interactions.history(user as u32).iter().map(|event| event.item).collect();
        let primary = lot(0).draw(users, items, of_user);
        let by_item = primary.transposed();
        let mut rows = neighbours_of(&primary, parameters.neighbours, parameters.min_llr);
        scale(&mut rows, 0, parameters.weight);
        for wanted in &parameters.indicators {
            let Some(place) = indicators.names().iter().position(|name| *name == wanted.name) else {
                return Err(RecommendError::NoSuchIndicator { kind: RecommenderKind::Cco, name: wanted.name.clone() });
            };
            let (from, to) = (things[place], things[place + 1]);
            let of_user = |user: usize| {
                let events = indicators.history(&interactions.user_ids()[user]).iter().map(|event| event.thing);
                events.filter(|thing| (from..to).contains(thing)).map(|thing| thing - from).collect()
            };
            let matrix = lot(1 + place as u64).draw(users, (to - from) as usize, of_user);
            let min_llr = wanted.min_llr.unwrap_or(parameters.min_llr);
            let keep = wanted.neighbours.unwrap_or(parameters.neighbours);
            let mut of_indicator = cross_occurrences(&matrix, &by_item, keep, min_llr);
            scale(&mut of_indicator, items as u32 + from, wanted.weight);
            rows.iter_mut().zip(of_indicator).for_each(|(row, more)| row.extend(more));
        }
        // Indicators come in the order of the parameters, ordinals must rise.
        rows.iter_mut().for_each(|row| row.sort_unstable_by_key(|(ordinal, _)| *ordinal));
        let ordinals = items + things.last().copied().unwrap_or_default() as usize;
        let by_history = Csr::from_rows(ordinals, rows).transposed();
        let neighbours = Neighbours::from_history(&by_history, RecommenderKind::Cco)?;
        let bounds = [0].into_iter().chain(things.into_iter().map(|bound| items as u32 + bound)).collect();
        Ok(Self { bounds, neighbours })
    }

    /// Number of items; ordinals from here on are things.
    pub(crate) fn items(&self) -> usize {
        self.bounds.get(1).map_or(0, |items| *items as usize)
    }

    /// Number of items and things.
    pub(crate) fn ordinals(&self) -> usize {
        self.bounds.last().map_or(0, |ordinals| *ordinals as usize)
    }

    /// Ordinals at which items, each indicator's things, and nothing more begin.
    pub(crate) fn bounds(&self) -> &[u32] {
        &self.bounds
    }

    /// What of a history speaks: each indicator has its own most recent events and its own ranks of recency, so that a hundred
    /// views do not push the last purchase out.
    pub(crate) fn weigh(&self, weighting: &Weighting, history: &[HistoryItem]) -> Vec<WeightedItem> {
        let one = |bounds: &[u32]| {
            let of_one = history.iter().filter(|event| (bounds[0]..bounds[1]).contains(&event.item));
            weighting.for_request(&of_one.copied().collect::<Vec<_>>())
        };
        self.bounds.windows(2).flat_map(one).collect()
    }

    /// The ratios that it scores with.
    pub(crate) fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        let mut tensors = self.neighbours.tensors();
        tensors.push(NamedTensor::u32("bounds", vec![self.bounds.len()], &self.bounds));
        tensors
    }

    pub(crate) fn from_tensors(
        parameters: &CcoParameters,
        items: usize,
        tensors: &TensorFile<'_>,
    ) -> Result<Self, String> {
        let bounds = tensors.u32_of_any_length("bounds")?;
        let is_rising = bounds.windows(2).all(|pair| pair[0] <= pair[1]);
        if bounds.len() < 2 || bounds[0] != 0 || bounds[1] as usize != items || !is_rising {
            return Err("tensor `bounds` does not begin with the items, or does not rise".into());
        }
        if bounds.len() < 2 + parameters.indicators.len() {
            return Err("tensor `bounds` has fewer indicators than the parameters".into());
        }
        let ordinals = bounds.last().copied().unwrap_or_default() as usize;
        Ok(Self { neighbours: Neighbours::from_tensors(ordinals, items, tensors)?, bounds })
    }
}

/// For each item the things that its users have more often than chance explains, the strongest `keep` of them.
fn cross_occurrences(by_user: &Csr, by_item: &Csr, keep: usize, min_llr: f64) -> Vec<Vec<(u32, f32)>> {
    let users = by_user.rows() as f64;
    let mut of_thing = vec![0f64; by_user.columns()];
    (0..by_user.rows()).flat_map(|user| by_user.row(user).0).for_each(|&thing| of_thing[thing as usize] += 1.0);
    strongest_across(by_user, by_item, keep, |item, thing, both| {
        let (both, with_thing) = (f64::from(both), of_thing[thing as usize]);
        let with_item = by_item.row_len(item as usize) as f64;
        // Less often together than by chance is as significant, but speaks against the pair.
        if both * users <= with_thing * with_item {
            return 0.0;
        }
        let ratio =
            log_likelihood_ratio(both, with_thing - both, with_item - both, users - with_thing - with_item + both);
        if ratio < min_llr { 0.0 } else { ratio as f32 }
    })
}

/// Gives ratios the weight of their indicator and things the ordinals of theirs.
fn scale(rows: &mut [Vec<(u32, f32)>], first: u32, weight: f64) {
    for row in rows {
        row.iter_mut().for_each(|(thing, ratio)| (*thing, *ratio) = (*thing + first, *ratio * weight as f32));
        row.retain(|(_, ratio)| *ratio > 0.0);
    }
}

/// Draws events of users who have too many.
struct Lot {
    most: usize,
    seed: u64,
    /// 0 for the interactions: each matrix has streams of its own.
    matrix: u64,
}

impl Lot {
    /// A row of ones for each user, with at most `most` of the distinct `things_of` the user.
    fn draw(&self, users: usize, things: usize, things_of: impl Fn(usize) -> Vec<u32>) -> Csr {
        let row = |user: usize| {
            let mut things = things_of(user);
            things.sort_unstable();
            things.dedup();
            if things.len() > self.most {
                shuffle(&mut things, &mut Random::new(self.seed, self.matrix << 32 | user as u64));
                things.truncate(self.most);
                things.sort_unstable();
            }
            things.into_iter().map(|thing| (thing, 1.0))
        };
        Csr::from_rows(things, (0..users).map(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::tests::indicators;
    use crate::{IndicatorParameters, InteractionRow, LlrParameters, WeightScheme};

    fn interactions(rows: &[(&str, &str)]) -> Interactions {
        let row = |(user, item): &(&str, &str)| InteractionRow {
            user: (*user).into(),
            item: (*item).into(),
            at: 1,
            weight: 1.0,
            basket: None,
        };
        Interactions::from_rows(rows.iter().map(row)).0
    }

    fn view(weight: f64) -> CcoParameters {
        let view = IndicatorParameters { name: "view".into(), weight, neighbours: None, min_llr: None };
        CcoParameters { indicators: vec![view], ..Default::default() }
    }

    fn weighting() -> Weighting {
        Weighting {
            scheme: WeightScheme::Binary,
            half_life_days: None,
            cap: None,
            as_of: 0,
            max_history: 2,
            recency: None,
        }
    }

    fn score(model: &Cco, ordinals: &[u32]) -> Vec<f32> {
        let history: Vec<HistoryItem> =
            ordinals.iter().map(|&item| HistoryItem { item, weight: 1.0, at: i64::from(item) }).collect();
        model.neighbours.scores(&model.weigh(&weighting(), &history))
    }

    /// Ten buyers of `a` looked at `q`, ten buyers of `b` at something that only they know; a viewer who bought nothing is nobody.
    fn shop() -> Interactions {
        let names: Vec<String> = (0..20).map(|user| format!("u{user:02}")).collect();
        let bought: Vec<(&str, &str)> =
            names.iter().enumerate().map(|(user, name)| (name.as_str(), if user < 10 { "a" } else { "b" })).collect();
        let alone: Vec<String> = (10..20).map(|user| format!("only {user}")).collect();
        let mut viewed: Vec<(&str, &str, &str, i64)> = vec![("view", "nobody", "q", 1), ("cart", "u00", "a", 1)];
        viewed.extend(names[..10].iter().map(|name| ("view", name.as_str(), "q", 1)));
        viewed.extend(names[10..].iter().zip(&alone).map(|(name, thing)| ("view", name.as_str(), thing.as_str(), 1)));
        interactions(&bought).with_indicators(indicators(&viewed))
    }

    #[test]
    fn cross_occurrence_by_hand() {
        let shop = shop();
        let model = Cco::train(&shop, &view(0.5), 1).unwrap();
        // Ordinals: items a, b; cart: a; view: ten that one user knows, then q.
        assert_eq!(model.bounds, [0, 2, 3, 14]);
        // q and a: k11 = 10, k12 = k21 = 0, k22 = 10: 2 (20 ln 20 − 20 ln 10) = 40 ln 2, at half weight.
        let scores = score(&model, &[13]);
        assert!((scores[0] - 20.0 * 2f32.ln()).abs() < 1e-4 && scores[1].is_nan(), "{scores:?}");
        // One user of twenty: k11 = 1, k21 = 9, k22 = 10: 2 (9 ln 1 … ) = 1.44, below 3.84.
        let (with, without) = (log_likelihood_ratio(1.0, 0.0, 9.0, 10.0), score(&model, &[3]));
        assert!((with - 1.439).abs() < 1e-3 && without[1].is_nan(), "{with}");
        let all = CcoParameters { min_llr: 0.0, ..view(1.0) };
        assert!((f64::from(score(&Cco::train(&shop, &all, 1).unwrap(), &[3])[1]) - with).abs() < 1e-5);
        // Not asked for: the cart is there, with nothing to say.
        assert!(score(&model, &[2]).iter().all(|score| score.is_nan()));
        let missing = Cco::train(&interactions(&[("u", "a")]), &view(1.0), 1).unwrap_err().to_string();
        assert_eq!(missing, "`cco` learns from indicator `view`, and the interactions come without it");
    }

    #[test]
    fn without_indicators_it_is_llr() {
        let rows: Vec<(String, String)> = (0..60)
            .flat_map(|user| [1, 2, 3].map(|step| (format!("u{user}"), format!("i{}", user * step % 14))))
            .collect();
        let rows: Vec<(&str, &str)> = rows.iter().map(|(user, item)| (user.as_str(), item.as_str())).collect();
        let interactions = interactions(&rows);
        let matrix = Weighting { max_history: 99, ..weighting() }.matrix(&interactions);
        let llr = super::super::llr::train(&matrix, &LlrParameters { min_llr: 0.5, ..Default::default() }).unwrap();
        let cco = Cco::train(&interactions, &CcoParameters { min_llr: 0.5, ..Default::default() }, 1).unwrap();
        assert!(llr.stored() > 0);
        assert_eq!(cco.neighbours, llr);
    }

    #[test]
    fn each_indicator_has_its_own_most_recent_events() {
        let model = Cco::train(&shop(), &view(1.0), 1).unwrap();
        let history = [0, 3, 4, 5].map(|item| HistoryItem { item, weight: 1.0, at: i64::from(item) });
        let items: Vec<u32> = model.weigh(&weighting(), &history).iter().map(|entry| entry.item).collect();
        assert_eq!(items, [0, 4, 5], "two of each; the views do not push the purchase out");
    }

    #[test]
    fn heavy_users_are_drawn_by_lot_the_same_for_the_same_seed() {
        let lot = |seed| Lot { most: 50, seed, matrix: 1 };
        let draw = |seed| lot(seed).draw(3, 1_000, |user| (0..[1_000, 50, 0][user]).rev().collect());
        let drawn = draw(1);
        assert_eq!([0, 1, 2].map(|user| drawn.row_len(user)), [50, 50, 0]);
        assert!(drawn.row(0).0.windows(2).all(|pair| pair[0] < pair[1]) && drawn.is_binary());
        assert_eq!(drawn, draw(1));
        assert_ne!(drawn, draw(2));
        // Uniform: the mean of 50 of 1,000 numbers has a standard error of 40.
        let mean = drawn.row(0).0.iter().sum::<u32>() as f64 / 50.0;
        assert!((mean - 499.5).abs() < 120.0, "{mean}");
    }
}
