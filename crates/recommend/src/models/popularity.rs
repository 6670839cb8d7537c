//! What most people choose, recent choices counting more: the baseline, and the fallback when nothing is known of a user.
//!
//! In: events.  Out: one score per item.  Source: reference 2.9, p_i = Σ_e weight_e · 0.5^(age_e / half-life).
//! With `trending_days` the score is what rises instead: t_i = (r_i − e_i) / √(e_i + 1), r the weight of the last days, e what
//! the time before lets expect of as many days, scaled to the same total (a Poisson count's distance from its mean, damped).
//! Never here: segments (later), the user's own history.
//! Start at [`Popularity::train`].

use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::{SECONDS_PER_DAY, decay};
use crate::{Interactions, PopularityParameters};

/// One score per item.
#[derive(Debug, Clone, PartialEq)]
pub struct Popularity {
    scores: Vec<f32>,
}

impl Popularity {
    /// Sums decayed event weights per item; ages are counted back from the newest event. Cost: one pass.
    pub(crate) fn train(interactions: &Interactions, parameters: &PopularityParameters) -> Self {
        if let Some(days) = parameters.trending_days {
            return Self::trending(interactions, parameters, days);
        }
        let as_of = interactions.last_at().unwrap_or_default();
        // f64, because a best-seller sums many small weights; the order of events is fixed.
        let mut sums = vec![0f64; interactions.item_ids().len()];
        for event in interactions.events() {
            sums[event.item as usize] += f64::from(event.weight * decay(parameters.half_life_days, as_of, event.at));
        }
        Self { scores: sums.into_iter().map(|sum| sum as f32).collect() }
    }

    /// What rises: the last days against the rest. Items that fall have scores below zero.
    fn trending(interactions: &Interactions, parameters: &PopularityParameters, days: f64) -> Self {
        let as_of = interactions.last_at().unwrap_or_default();
        let from = as_of.saturating_sub((days * SECONDS_PER_DAY) as i64);
        let items = interactions.item_ids().len();
        let (mut recent, mut before) = (vec![0f64; items], vec![0f64; items]);
        for event in interactions.events() {
            let weight = f64::from(event.weight * decay(parameters.half_life_days, as_of, event.at));
            let sums = if event.at > from { &mut recent } else { &mut before };
            sums[event.item as usize] += weight;
        }
        let total = |sums: &[f64]| sums.iter().sum::<f64>();
        // Without a time before, everything is expected to be as rare as everything else: plain popularity.
        let scale = if total(&before) > 0.0 { total(&recent) / total(&before) } else { 0.0 };
        let risen = recent.iter().zip(&before).map(|(recent, before)| {
            let expected = before * scale;
            ((recent - expected) / (expected + 1.0).sqrt()) as f32
        });
        Self { scores: risen.collect() }
    }

    /// One score per item, by ordinal.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        vec![NamedTensor::f32("scores", vec![self.scores.len()], &self.scores)]
    }

    pub(crate) fn from_tensors(items: usize, tensors: &TensorFile<'_>) -> Result<Self, String> {
        Ok(Self { scores: tensors.f32("scores", &[items])? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InteractionRow;

    #[test]
    fn recent_events_count_more() {
        let row = |item: &str, day: i64| InteractionRow {
            user: format!("u{day}"),
            item: item.into(),
            at: day * 86_400,
            weight: 1.0,
            basket: None,
        };
        let (interactions, _) =
            Interactions::from_rows([row("a", 0), row("a", 0), row("a", 2), row("b", 4), row("b", 4)]);
        let plain = Popularity::train(&interactions, &PopularityParameters::default());
        assert_eq!(plain.scores(), [3.0, 2.0]);
        // Half-life 2 days, as of day 4: a = ¼ + ¼ + ½, b = 1 + 1.
        let decayed =
            Popularity::train(&interactions, &PopularityParameters { half_life_days: Some(2.0), ..Default::default() });
        assert_eq!(decayed.scores(), [1.0, 2.0]);
    }

    #[test]
    fn trending_is_what_rises_against_expectation() {
        let row = |item: &str, day: i64, n: i64| InteractionRow {
            user: format!("u{n}"),
            item: item.into(),
            at: day * 86_400,
            weight: 1.0,
            basket: None,
        };
        // Days 1–8: a 6 times, b twice.  Day 10: a twice, b twice.  Expected: a 4 · 6/8 = 3, b 1.
        let before = (1..=8).map(|day| row(if day <= 6 { "a" } else { "b" }, day, day));
        let recent = [("a", 1), ("a", 2), ("b", 3), ("b", 4)].map(|(item, n)| row(item, 10, n));
        let (interactions, _) = Interactions::from_rows(before.chain(recent));
        let parameters = PopularityParameters { trending_days: Some(1.0), ..Default::default() };
        let scores = Popularity::train(&interactions, &parameters).scores;
        assert!(
            (scores[0] - (2.0 - 3.0) / 2.0).abs() < 1e-6 && (scores[1] - 1.0 / 2f32.sqrt()).abs() < 1e-6,
            "{scores:?}"
        );
    }
}
