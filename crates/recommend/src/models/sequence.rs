//! What follows what: an item is recommended because others took it soon after the last items of the history.
//!
//! In: events with their times.  Out: [`Neighbours`].
//! M_ij = Σ 1/gap over pairs where i comes `gap` ≤ window steps before j in one history; r and c its row and column sums;
//! N_ij = M_ij / (max(1, r_i)^a · max(1, c_j)^b); the best K are kept per scored item j (reference 2.10).
//! A step is everything that a user did at one moment: a basket has no order inside, and reading one into it, by item id
//! say, is what makes sequence models look twice as good as they are (reference 3.3, trap 1).
//! Never here: the weight of recency at request time (see `weighting`).
//! Start at [`train`].

use rayon::prelude::*;

use super::neighbours::{Neighbours, keep_best};
use crate::weighting::decay;
use crate::{Interactions, RecommendError, RecommenderKind, SequenceParameters};

/// Counts what comes before each item, item by item. Errors: `TooManyItems` beyond 2³² neighbours.
///
/// Cost: per event the events of the `window` steps before it, at most `max_history`.
pub(crate) fn train(
    interactions: &Interactions,
    parameters: &SequenceParameters,
) -> Result<Neighbours, RecommendError> {
    let sequences = Sequences::new(interactions, parameters);
    let (outgoing, incoming) = sequences.sums();
    let damped = |sums: &[f64], exponent: f64| -> Vec<f32> {
        sums.iter().map(|sum| sum.max(1.0).powf(exponent) as f32).collect()
    };
    let history_norms = damped(&outgoing, parameters.history_exponent);
    let target_norms = damped(&incoming, parameters.target_exponent);
    let items = interactions.item_ids().len();
    let rows: Vec<Vec<(u32, f32)>> = (0..items as u32)
        .into_par_iter()
        .map_init(
            || (vec![0f32; items], Vec::new()),
            |(sums, touched), target| {
                sequences.for_each_before(target, |item, weight| {
                    if sums[item as usize] == 0.0 {
                        touched.push(item);
                    }
                    sums[item as usize] += weight;
                });
                let mut pairs: Vec<(u32, f32)> = touched
                    .drain(..)
                    .map(|item: u32| (item, std::mem::take(&mut sums[item as usize])))
                    .filter(|(item, _)| *item != target)
                    .map(|(item, sum)| (item, sum / (history_norms[item as usize] * target_norms[target as usize])))
                    .collect();
                keep_best(&mut pairs, parameters.neighbours);
                pairs
            },
        )
        .collect();
    Neighbours::from_targets(rows, RecommenderKind::Sequence)
}

/// An item at a step of one user's history.
#[derive(Debug, Clone, Copy)]
struct Place {
    user: u32,
    item: u32,
    /// Steps of this user before it.
    step: u32,
    /// Of the pairs that end here.
    weight: f32,
}

/// All histories, one after the other and oldest first, and where each item stands in them.
struct Sequences {
    places: Vec<Place>,
    /// item → its places, rising.
    offsets: Vec<usize>,
    of_item: Vec<u32>,
    window: u32,
    same_step: f32,
    max_history: usize,
}

impl Sequences {
    fn new(interactions: &Interactions, parameters: &SequenceParameters) -> Self {
        let as_of = interactions.last_at().unwrap_or_default();
        let mut places: Vec<Place> = Vec::with_capacity(interactions.events().len());
        for user in 0..interactions.user_ids().len() as u32 {
            let history = interactions.history(user);
            let recent = &history[history.len().saturating_sub(parameters.max_history)..];
            for (step, moment) in (0u32..).zip(recent.chunk_by(|a, b| a.at == b.at)) {
                let mut items: Vec<u32> = moment.iter().map(|event| event.item).collect();
                items.sort_unstable();
                items.dedup();
                let weight = decay(parameters.half_life_days, as_of, moment[0].at);
                places.extend(items.into_iter().map(|item| Place { user, item, step, weight }));
            }
        }
        let mut offsets = vec![0usize; interactions.item_ids().len() + 1];
        places.iter().for_each(|place| offsets[place.item as usize + 1] += 1);
        for item in 1..offsets.len() {
            offsets[item] += offsets[item - 1];
        }
        let mut next = offsets.clone();
        let mut of_item = vec![0u32; places.len()];
        for (index, place) in (0u32..).zip(&places) {
            of_item[next[place.item as usize]] = index;
            next[place.item as usize] += 1;
        }
        Self {
            places,
            offsets,
            of_item,
            window: parameters.window as u32,
            same_step: parameters.same_step as f32,
            max_history: parameters.max_history,
        }
    }

    /// Calls `visit(item, weight)` for everything that stands within the window before one of the target's places.
    fn for_each_before(&self, target: u32, mut visit: impl FnMut(u32, f32)) {
        for &index in &self.of_item[self.offsets[target as usize]..self.offsets[target as usize + 1]] {
            let (index, end) = (index as usize, self.places[index as usize]);
            for place in self.places[index.saturating_sub(self.max_history)..index].iter().rev() {
                let gap = end.step.saturating_sub(place.step);
                if place.user != end.user || gap > self.window {
                    break;
                }
                if gap > 0 {
                    visit(place.item, end.weight / gap as f32);
                } else if self.same_step > 0.0 {
                    visit(place.item, end.weight * self.same_step);
                }
            }
            if self.same_step > 0.0 {
                // The rest of the step stands behind, by the order of item ids.
                let rest = self.places[index + 1..].iter();
                rest.take_while(|place| place.user == end.user && place.step == end.step)
                    .for_each(|place| visit(place.item, end.weight * self.same_step));
            }
        }
    }

    /// Row and column sums of M, in one thread: in f64, the order of additions fixed.
    fn sums(&self) -> (Vec<f64>, Vec<f64>) {
        let items = self.offsets.len() - 1;
        let (mut outgoing, mut incoming) = (vec![0f64; items], vec![0f64; items]);
        for target in 0..items as u32 {
            self.for_each_before(target, |item, weight| {
                outgoing[item as usize] += f64::from(weight);
                incoming[target as usize] += f64::from(weight);
            });
        }
        (outgoing, incoming)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InteractionRow;
    use crate::weighting::WeightedItem;

    fn interactions(rows: &[(&str, &str, i64)]) -> Interactions {
        let row = |(user, item, at): &(&str, &str, i64)| InteractionRow {
            user: (*user).into(),
            item: (*item).into(),
            at: *at,
            weight: 1.0,
            basket: None,
        };
        Interactions::from_rows(rows.iter().map(row)).0
    }

    fn after(model: &Neighbours, item: u32) -> Vec<f32> {
        model.scores(&[WeightedItem { item, weight: 1.0 }])
    }

    /// Exponents 1: M_ij / (r_i · c_j), both sums at least 1.
    fn plain() -> SequenceParameters {
        SequenceParameters { history_exponent: 1.0, target_exponent: 1.0, ..Default::default() }
    }

    #[test]
    fn what_follows_counts_by_the_steps_between() {
        // u: a, then b and c at once, then d.  M_ab = M_ac = 1, M_ad = ½, M_bd = M_cd = 1; r = 2½, 1, 1, 0; c = 0, 1, 1, 2½.
        let events = interactions(&[("u", "a", 1), ("u", "b", 2), ("u", "c", 2), ("u", "d", 9)]);
        let model = train(&events, &plain()).unwrap();
        let of_a = after(&model, 0);
        assert!(of_a[0].is_nan());
        assert!((of_a[1] - 0.4).abs() < 1e-6 && (of_a[2] - 0.4).abs() < 1e-6 && (of_a[3] - 0.08).abs() < 1e-6);
        let of_b = after(&model, 1);
        assert!(of_b[0].is_nan() && of_b[2].is_nan(), "nothing tells whether b came before c");
        assert!((of_b[3] - 0.4).abs() < 1e-6, "{of_b:?}");
        let window = SequenceParameters { window: 1, ..plain() };
        assert!(after(&train(&events, &window).unwrap(), 0)[3].is_nan());
    }

    #[test]
    fn what_is_taken_together_counts_both_ways_if_asked_for() {
        let events = interactions(&[("u", "a", 1), ("u", "b", 1), ("u", "c", 1)]);
        let model = train(&events, &SequenceParameters { same_step: 0.25, ..plain() }).unwrap();
        // r = c = ½ each, which counts as 1.
        for item in 0..3 {
            let others: Vec<f32> = after(&model, item).into_iter().filter(|score| !score.is_nan()).collect();
            assert_eq!(others, [0.25, 0.25]);
        }
    }

    #[test]
    fn users_do_not_follow_each_other_and_old_pairs_fade() {
        let day = 86_400;
        let events = interactions(&[("u", "a", 0), ("u", "b", day), ("v", "c", 2 * day), ("v", "d", 3 * day)]);
        let model = train(&events, &SequenceParameters { half_life_days: Some(2.0), ..plain() }).unwrap();
        assert!((after(&model, 0)[1] - 0.5).abs() < 1e-6, "two days old at half-life two days");
        assert!((after(&model, 2)[3] - 1.0).abs() < 1e-6);
        assert!(after(&model, 1)[2].is_nan());
    }
}
