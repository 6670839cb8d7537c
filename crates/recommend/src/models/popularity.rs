//! What most people choose, recent choices counting more: the baseline, and the fallback when nothing is known of a user.
//!
//! In: events.  Out: one score per item.  Source: reference 2.9, p_i = Σ_e weight_e · 0.5^(age_e / half-life).
//! Never here: segments (later), the user's own history.
//! Start at [`Popularity::train`].

use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::decay;
use crate::{Interactions, PopularityParameters};

/// One score per item.
#[derive(Debug, Clone, PartialEq)]
pub struct Popularity {
    scores: Vec<f32>,
}

impl Popularity {
    /// Sums decayed event weights per item; ages are counted back from the newest event. Cost: one pass.
    pub(crate) fn train(interactions: &Interactions, parameters: &PopularityParameters) -> Self {
        let as_of = interactions.last_at().unwrap_or_default();
        // f64, because a best-seller sums many small weights; the order of events is fixed.
        let mut sums = vec![0f64; interactions.item_ids().len()];
        for event in interactions.events() {
            sums[event.item as usize] += f64::from(event.weight * decay(parameters.half_life_days, as_of, event.at));
        }
        Self { scores: sums.into_iter().map(|sum| sum as f32).collect() }
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
        let decayed = Popularity::train(&interactions, &PopularityParameters { half_life_days: Some(2.0) });
        assert_eq!(decayed.scores(), [1.0, 2.0]);
    }
}
