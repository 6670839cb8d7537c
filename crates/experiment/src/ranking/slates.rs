//! What a policy would have earned with whole lists, from lists that another one logged.
//!
//! In: per slot of every list the reward and both policies' probabilities.  Out: a value per list, its error, its reliability.
//! Lists are too many to be logged twice, so estimators assume how slots act on each other; the fewer they assume, the noisier.
//! Sources: Swaminathan et al., NeurIPS 2017; McInerney et al., KDD 2020 (reward interaction).
//! Never here: single actions (see `off_policy`).
//! Start at [`SlateLog::new`] and [`SlateLog::value`].

use super::off_policy::{Refusal, check_propensity, effective_rows, falls_short, refusal};
use crate::stats::StatsError;
use crate::stats::error::{enough, row_allowed, same_length};

/// What the reward of a slot may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlateEstimator {
    /// On the whole list: one weight for it, the product over all slots.
    Standard,
    /// On the item in the slot alone: each slot has its own weight.
    Independent,
    /// On the slot and those above it, as for a reader who goes down the list: the product so far.
    RewardInteraction,
}

/// Logged lists, checked. Lists × slots, row-major.
#[derive(Debug, Clone)]
pub struct SlateLog<'a> {
    rewards: &'a [f64],
    logged: &'a [f64],
    policy: &'a [f64],
    slots: usize,
}

/// The value of a policy per list.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct SlateValue {
    pub value: f64,
    pub standard_error: f64,
    pub lists: usize,
    /// (Σ w)² / Σ w² of the slot that carries least.
    pub effective_lists: f64,
    pub largest_weight: f64,
    pub refusal: Option<Refusal>,
}

impl<'a> SlateLog<'a> {
    /// Checks a log of lists with `slots` each.
    ///
    /// `rewards`: of each slot. `logged` and `policy`: probability of the shown item in its slot. For
    /// [`SlateEstimator::Independent`] the marginal ones; for the others those given the items above, so that their product is
    /// the probability of the list. Errors name the list: a logged probability of 0, a policy's outside [0, 1], no number.
    pub fn new(rewards: &'a [f64], logged: &'a [f64], policy: &'a [f64], slots: usize) -> Result<Self, StatsError> {
        enough("slots", slots, 1)?;
        enough("logged slots", rewards.len(), slots)?;
        let whole = rewards.len() / slots * slots;
        for (other, second) in [("logged", logged.len()), ("policy", policy.len()), ("whole lists", whole)] {
            same_length(other, second, rewards.len())?;
        }
        for place in 0..rewards.len() {
            let row = place / slots;
            row_allowed(row, "reward", rewards[place], rewards[place].is_finite(), "a finite number")?;
            check_propensity(row, logged[place])?;
            let p = policy[place];
            row_allowed(row, "policy probability", p, (0.0..=1.0).contains(&p), "between 0 and 1")?;
        }
        Ok(Self { rewards, logged, policy, slots })
    }

    /// mean over lists of Σ α_slot · w_slot · r_slot. `slot_weights` α, one per slot, e.g. a discount; `None` for 1.
    pub fn value(&self, estimator: SlateEstimator, slot_weights: Option<&[f64]>) -> Result<SlateValue, StatsError> {
        let ones = vec![1.0; self.slots];
        let alphas = slot_weights.unwrap_or(&ones);
        same_length("slot weights", alphas.len(), self.slots)?;
        let lists = self.rewards.len() / self.slots;
        let mut by_slot = vec![Vec::with_capacity(lists); self.slots];
        let mut values = Vec::with_capacity(lists);
        for list in 0..lists {
            let weights = self.weights_of(list, estimator);
            let rewards = &self.rewards[list * self.slots..];
            values.push(weights.iter().zip(rewards).zip(alphas).map(|((w, r), alpha)| w * r * alpha).sum::<f64>());
            by_slot.iter_mut().zip(weights).for_each(|(slot, weight)| slot.push(weight));
        }
        let n = lists as f64;
        let value = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - value).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let effective_lists = by_slot.iter().map(|weights| effective_rows(weights)).fold(f64::INFINITY, f64::min);
        let overlaps = !by_slot.iter().any(|weights| falls_short(weights));
        Ok(SlateValue {
            value,
            standard_error: (variance / n).sqrt(),
            lists,
            effective_lists,
            largest_weight: by_slot.iter().flatten().copied().fold(0.0, f64::max),
            refusal: refusal(effective_lists, overlaps),
        })
    }

    fn weights_of(&self, list: usize, estimator: SlateEstimator) -> Vec<f64> {
        let places = list * self.slots..(list + 1) * self.slots;
        let mut weights: Vec<f64> = places.map(|place| self.policy[place] / self.logged[place]).collect();
        if estimator != SlateEstimator::Independent {
            let mut product = 1.0;
            for weight in &mut weights {
                product *= *weight;
                *weight = product;
            }
        }
        if estimator == SlateEstimator::Standard
            && let Some(&whole) = weights.last()
        {
            weights.fill(whole);
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lists_by_hand() {
        // Weights of slots: 2, ½ and 1, 3.
        let rewards = [1.0, 1.0, 0.0, 1.0];
        let (logged, policy) = ([0.25, 0.5, 0.5, 0.25], [0.5, 0.25, 0.5, 0.75]);
        let log = SlateLog::new(&rewards, &logged, &policy, 2).unwrap();
        let value = |estimator| log.value(estimator, None).unwrap().value;
        assert_eq!(value(SlateEstimator::Independent), (2.0 + 0.5 + 3.0) / 2.0);
        assert_eq!(value(SlateEstimator::RewardInteraction), (2.0 + 1.0 + 3.0) / 2.0);
        assert_eq!(value(SlateEstimator::Standard), (1.0 + 1.0 + 3.0) / 2.0);
        let discounted = log.value(SlateEstimator::Independent, Some(&[1.0, 0.5])).unwrap();
        assert_eq!((discounted.value, discounted.largest_weight), ((2.0 + 0.25 + 1.5) / 2.0, 3.0));
        // Slots: (2, 1): 9/5; (½, 3): 12.25/9.25.
        assert!((discounted.effective_lists - 12.25 / 9.25).abs() < 1e-15);
        assert_eq!(discounted.refusal, Some(Refusal::FewEffectiveRows));
    }

    #[test]
    fn the_same_policy_is_worth_what_was_earned() {
        let rewards = [1.0, 0.0, 1.0, 1.0];
        let logged = [0.5, 0.2, 0.3, 1.0];
        let log = SlateLog::new(&rewards, &logged, &logged, 2).unwrap();
        for estimator in [SlateEstimator::Standard, SlateEstimator::Independent, SlateEstimator::RewardInteraction] {
            let found = log.value(estimator, None).unwrap();
            assert_eq!((found.value, found.effective_lists), (1.5, 2.0));
        }
    }

    #[test]
    fn a_wrong_list_is_named() {
        let error = SlateLog::new(&[0.0; 4], &[0.5, 0.5, 0.0, 0.5], &[0.5; 4], 2).unwrap_err().to_string();
        assert_eq!(error, "`propensity` of row 1 is `0`; it must be above 0 and at most 1");
        assert!(SlateLog::new(&[0.0; 3], &[0.5; 3], &[0.5; 3], 2).is_err());
        assert!(SlateLog::new(&[], &[], &[], 2).is_err() && SlateLog::new(&[0.0], &[0.5], &[0.5], 0).is_err());
        assert!(SlateLog::new(&[0.0], &[0.5], &[1.5], 1).is_err());
        let log = SlateLog::new(&[0.0], &[0.5], &[0.5], 1).unwrap();
        assert!(log.value(SlateEstimator::Standard, Some(&[])).is_err());
    }
}
