//! What a policy would have earned, from what another one logged: actions, rewards, and the propensities they were chosen with.
//!
//! In: a [`Log`].  Out: a [`PolicyValue`] with its standard error, and the figures that tell whether to believe it.
//! Sources: Horvitz & Thompson 1952; Swaminathan & Joachims 2015; Dudík et al. 2011; Wang et al. 2017; Su et al. 2020; Li et al. 2011.
//! Never here: lists of items (see `slates`); the model of rewards.
//! Start at [`Log::new`] and [`Log::value`].

use crate::stats::StatsError;
use crate::stats::error::{enough, positive, row_allowed, same_length};

/// With fewer effective rows no verdict is given.
pub const LEAST_EFFECTIVE_ROWS: f64 = 100.0;
/// More of the policy's choices than this outside what was logged is missing overlap.
pub const MOST_UNSUPPORTED_SHARE: f64 = 0.01;
/// Probabilities of a row may miss one by rounding of what was logged.
const SUM_WITHIN: f64 = 1e-6;

/// How a value is taken from a log. w = π_e / π_b of the logged action, r the reward, q̂ the modelled reward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Estimator {
    /// mean(w r): unbiased, noisy.
    Ips,
    /// Σ w r / Σ w: little bias, much less noise.
    Snips,
    /// mean of q̂ under the policy: as good as the model.
    DirectMethod,
    /// The direct method plus mean(w (r − q̂)): unbiased when either is right.
    DoublyRobust,
    /// The same, normalised by Σ w.
    SelfNormalizedDoublyRobust,
    /// Doubly robust, but rows with w > `tau` rely on the model alone.
    SwitchDoublyRobust { tau: f64 },
    /// Doubly robust with w shrunk to λ w / (w² + λ).
    ShrunkDoublyRobust { lambda: f64 },
}

/// Logged decisions, checked. Rows × actions, row-major.
#[derive(Debug, Clone)]
pub struct Log<'a> {
    actions: &'a [usize],
    rewards: &'a [f64],
    propensities: &'a [f64],
    policy: &'a [f64],
    modelled: Option<&'a [f64]>,
    count: usize,
}

/// Why a value is not to be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Fewer than [`LEAST_EFFECTIVE_ROWS`] effective rows.
    FewEffectiveRows,
    /// The policy chooses what was never, or hardly ever, logged.
    NoOverlap,
}

/// The value of a policy, and how far the log carries.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct PolicyValue {
    pub value: f64,
    /// From the influence values of the rows.
    pub standard_error: f64,
    pub rows: usize,
    /// (Σ w)² / Σ w²: how many rows of an A/B test these rows are worth.
    pub effective_rows: f64,
    pub largest_weight: f64,
    /// 1 on average when the propensities are right and everything the policy does was logged.
    pub mean_weight: f64,
    /// Rows whose weight was cut off at the clip, or left to the model by the switch.
    pub clipped_share: f64,
    /// The part of the policy's choices that no row ever logged.
    pub unsupported_share: f64,
    /// With a refusal the value is shown, and decides nothing.
    pub refusal: Option<Refusal>,
}

impl<'a> Log<'a> {
    /// Checks a log of n rows over `count` actions. `propensities`: of the logged action, in (0, 1]. `policy`: n × `count`
    /// probabilities of the policy to be judged, each row sums to 1. `modelled`: n × `count` rewards, where there is a model.
    ///
    /// Errors name the first row that is wrong: an action that does not exist, a propensity of 0, a reward that is no number.
    pub fn new(
        actions: &'a [usize],
        rewards: &'a [f64],
        propensities: &'a [f64],
        policy: &'a [f64],
        modelled: Option<&'a [f64]>,
        count: usize,
    ) -> Result<Self, StatsError> {
        let n = actions.len();
        enough("logged decisions", n, 1)?;
        enough("actions", count, 1)?;
        let lengths = [
            ("rewards", rewards.len(), n),
            ("propensities", propensities.len(), n),
            ("policy", policy.len(), n * count),
            ("modelled rewards", modelled.map_or(n * count, <[f64]>::len), n * count),
        ];
        for (other, second, first) in lengths {
            same_length(other, second, first)?;
        }
        for row in 0..n {
            row_allowed(row, "action", actions[row] as f64, actions[row] < count, "one of the actions")?;
            row_allowed(row, "reward", rewards[row], rewards[row].is_finite(), "a finite number")?;
            check_propensity(row, propensities[row])?;
            let chosen = &policy[row * count..(row + 1) * count];
            for &p in chosen {
                row_allowed(row, "policy probability", p, (0.0..=1.0).contains(&p), "between 0 and 1")?;
            }
            let sum: f64 = chosen.iter().sum();
            row_allowed(row, "sum of policy probabilities", sum, (sum - 1.0).abs() <= SUM_WITHIN, "1")?;
            for &q in modelled.map(|q| &q[row * count..(row + 1) * count]).unwrap_or_default() {
                row_allowed(row, "modelled reward", q, q.is_finite(), "a finite number")?;
            }
        }
        Ok(Self { actions, rewards, propensities, policy, modelled, count })
    }

    fn rows(&self) -> usize {
        self.actions.len()
    }

    fn weight(&self, row: usize) -> f64 {
        self.policy[row * self.count + self.actions[row]] / self.propensities[row]
    }

    /// The value of the policy by `estimator`. `clip`: weights above it are cut to it (more bias, less noise); `None` for none.
    ///
    /// Errors: an estimator that needs modelled rewards without them; τ, λ or clip that are not above 0; all weights zero where
    /// their sum is divided by.
    pub fn value(&self, estimator: Estimator, clip: Option<f64>) -> Result<PolicyValue, StatsError> {
        let most = clip.map_or(Ok(f64::INFINITY), |clip| positive("clip", clip))?;
        let raw: Vec<f64> = (0..self.rows()).map(|row| self.weight(row)).collect();
        let weights: Vec<f64> = raw.iter().map(|weight| weight.min(most)).collect();
        let (influence, value) = self.influence(estimator, &weights)?;
        let switched = |weight: f64| matches!(estimator, Estimator::SwitchDoublyRobust { tau } if weight > tau);
        let clipped = raw.iter().filter(|weight| **weight > most || switched(weight.min(most))).count();
        let n = self.rows() as f64;
        let unsupported_share = self.unsupported_share();
        let (effective_rows, mean_weight) = (effective_rows(&weights), raw.iter().sum::<f64>() / n);
        let overlaps = unsupported_share <= MOST_UNSUPPORTED_SHARE && !falls_short(&raw);
        Ok(PolicyValue {
            value,
            standard_error: (influence.iter().map(|x| x * x).sum::<f64>() / n / (n - 1.0).max(1.0)).sqrt(),
            rows: self.rows(),
            effective_rows,
            largest_weight: raw.iter().copied().fold(0.0, f64::max),
            mean_weight,
            clipped_share: clipped as f64 / n,
            unsupported_share,
            refusal: refusal(effective_rows, overlaps),
        })
    }

    /// How far each row pulls the value up or down, and the value.
    fn influence(&self, estimator: Estimator, weights: &[f64]) -> Result<(Vec<f64>, f64), StatsError> {
        let rewards = self.rewards.iter();
        match estimator {
            Estimator::Ips => Ok(around_mean(rewards.zip(weights).map(|(r, w)| r * w).collect())),
            Estimator::Snips => {
                let value = weighted_mean(self.rewards, weights)?;
                let mean = weights.iter().sum::<f64>() / weights.len() as f64;
                Ok((rewards.zip(weights).map(|(r, w)| w * (r - value) / mean).collect(), value))
            }
            Estimator::DirectMethod => Ok(around_mean(self.model()?.0)),
            Estimator::DoublyRobust => self.doubly_robust(weights.to_vec()),
            Estimator::SwitchDoublyRobust { tau } => {
                let tau = positive("tau", tau)?;
                self.doubly_robust(weights.iter().map(|w| if *w > tau { 0.0 } else { *w }).collect())
            }
            Estimator::ShrunkDoublyRobust { lambda } => {
                let lambda = positive("lambda", lambda)?;
                self.doubly_robust(weights.iter().map(|w| lambda * w / (w * w + lambda)).collect())
            }
            Estimator::SelfNormalizedDoublyRobust => {
                let (direct, residuals) = self.model()?;
                let correction = weighted_mean(&residuals, weights)?;
                let mean = weights.iter().sum::<f64>() / weights.len() as f64;
                let (mut influence, value) = around_mean(direct);
                for ((one, residual), weight) in influence.iter_mut().zip(&residuals).zip(weights) {
                    *one += weight * (residual - correction) / mean;
                }
                Ok((influence, value + correction))
            }
        }
    }

    fn doubly_robust(&self, weights: Vec<f64>) -> Result<(Vec<f64>, f64), StatsError> {
        let (direct, residuals) = self.model()?;
        let rows = direct.iter().zip(&residuals).zip(&weights);
        Ok(around_mean(rows.map(|((direct, residual), weight)| direct + weight * residual).collect()))
    }

    /// Per row the modelled value of the policy, and the reward beyond the modelled one of the logged action.
    fn model(&self) -> Result<(Vec<f64>, Vec<f64>), StatsError> {
        let Some(modelled) = self.modelled else {
            return Err(StatsError::Missing { name: "modelled rewards" });
        };
        let rows = self.policy.chunks(self.count).zip(modelled.chunks(self.count));
        let direct = rows.map(|(policy, q)| policy.iter().zip(q).map(|(p, q)| p * q).sum()).collect();
        let residual = |row: usize| self.rewards[row] - modelled[row * self.count + self.actions[row]];
        Ok((direct, (0..self.rows()).map(residual).collect()))
    }

    fn unsupported_share(&self) -> f64 {
        let mut is_logged = vec![false; self.count];
        self.actions.iter().for_each(|action| is_logged[*action] = true);
        let choices = self.policy.iter().zip(is_logged.iter().cycle());
        let outside = choices.fold(0.0, |sum, (p, is_logged)| if *is_logged { sum } else { sum + p });
        outside / self.rows() as f64
    }
}

/// (Σ w)² / Σ w²; zero without any weight.
pub fn effective_rows(weights: &[f64]) -> f64 {
    let (sum, squares) = weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

pub(crate) fn refusal(effective_rows: f64, overlaps: bool) -> Option<Refusal> {
    if !overlaps {
        Some(Refusal::NoOverlap)
    } else if effective_rows < LEAST_EFFECTIVE_ROWS {
        Some(Refusal::FewEffectiveRows)
    } else {
        None
    }
}

/// Weights average one less the share of the policy that the log cannot show; is that share large beyond chance?
///
/// Four standard errors, because weights are skewed: where few large ones were drawn, mean and error are both too small.
pub(crate) fn falls_short(weights: &[f64]) -> bool {
    let n = weights.len() as f64;
    let mean = weights.iter().sum::<f64>() / n;
    let variance = weights.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    1.0 - mean > MOST_UNSUPPORTED_SHARE + 4.0 * (variance / n).sqrt()
}

pub(crate) fn check_propensity(row: usize, value: f64) -> Result<(), StatsError> {
    row_allowed(row, "propensity", value, value > 0.0 && value <= 1.0, "above 0 and at most 1")
}

fn around_mean(mut values: Vec<f64>) -> (Vec<f64>, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|value| *value -= mean);
    (values, mean)
}

fn weighted_mean(values: &[f64], weights: &[f64]) -> Result<f64, StatsError> {
    let sum = positive("sum of weights", weights.iter().sum())?;
    Ok(values.iter().zip(weights).map(|(value, weight)| value * weight).sum::<f64>() / sum)
}

/// The value of a policy that always picks one action, replayed on a log of uniformly drawn actions.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Replay {
    pub value: f64,
    pub standard_error: f64,
    /// Rows in which the log happened to do what the policy wants.
    pub matches: usize,
    pub refusal: Option<Refusal>,
}

/// Li et al., WSDM 2011: the mean reward of rows whose logged action is the policy's. Right only for uniform logging.
///
/// `chosen`: the policy's action per row. Errors: unequal lengths, a reward that is no number, fewer than two matches.
pub fn replay(actions: &[usize], rewards: &[f64], chosen: &[usize]) -> Result<Replay, StatsError> {
    for (other, second) in [("rewards", rewards.len()), ("chosen actions", chosen.len())] {
        same_length(other, second, actions.len())?;
    }
    let mut matched = Vec::new();
    for row in 0..actions.len() {
        row_allowed(row, "reward", rewards[row], rewards[row].is_finite(), "a finite number")?;
        if actions[row] == chosen[row] {
            matched.push(rewards[row]);
        }
    }
    enough("rows in which the log did what the policy wants", matched.len(), 2)?;
    let matches = matched.len();
    let (influence, value) = around_mean(matched);
    let n = matches as f64;
    let variance = influence.iter().map(|x| x * x).sum::<f64>() / (n - 1.0);
    Ok(Replay { value, standard_error: (variance / n).sqrt(), matches, refusal: refusal(n, true) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows over two actions: weights 2 and ½, rewards 1 and 0.
    const ACTIONS: [usize; 2] = [0, 1];
    const REWARDS: [f64; 2] = [1.0, 0.0];
    const PROPENSITIES: [f64; 2] = [0.25, 0.5];
    const POLICY: [f64; 4] = [0.5, 0.5, 0.75, 0.25];
    const MODELLED: [f64; 4] = [0.5, 0.25, 0.5, 0.25];

    fn value(estimator: Estimator, clip: Option<f64>) -> PolicyValue {
        let log = Log::new(&ACTIONS, &REWARDS, &PROPENSITIES, &POLICY, Some(&MODELLED), 2).unwrap();
        log.value(estimator, clip).unwrap()
    }

    fn check(estimator: Estimator, clip: Option<f64>, expected: f64) {
        let found = value(estimator, clip).value;
        assert!((found - expected).abs() < 1e-15, "{estimator:?}: {found} is not {expected}");
    }

    #[test]
    fn two_rows_by_hand() {
        check(Estimator::Ips, None, 1.0);
        check(Estimator::Ips, Some(1.0), 0.5);
        check(Estimator::Snips, None, 0.8);
        // Direct: .375 and .4375. Residuals ½ and −¼, weighted 1 and −⅛.
        check(Estimator::DirectMethod, None, 0.40625);
        check(Estimator::DoublyRobust, None, 0.40625 + 0.4375);
        check(Estimator::SelfNormalizedDoublyRobust, None, 0.40625 + 0.875 / 2.5);
        check(Estimator::SwitchDoublyRobust { tau: 1.0 }, None, 0.40625 - 0.0625);
        // Shrunk with λ = 4: 8/8 = 1 and 2/4.25.
        check(Estimator::ShrunkDoublyRobust { lambda: 4.0 }, None, 0.40625 + 0.5 * (0.5 - 0.25 * 2.0 / 4.25));
    }

    #[test]
    fn the_log_says_how_far_it_carries() {
        let found = value(Estimator::Ips, Some(1.0));
        assert_eq!((found.largest_weight, found.mean_weight, found.clipped_share), (2.0, 1.25, 0.5));
        assert!((found.effective_rows - 2.25 / 1.25).abs() < 1e-15);
        assert_eq!(found.refusal, Some(Refusal::FewEffectiveRows));
        assert_eq!(value(Estimator::SwitchDoublyRobust { tau: 1.0 }, None).clipped_share, 0.5);
        // Influence of IPS: 2 − 1 and 0 − 1, so SE = √(1 / 1) by n (n − 1) = 2.
        assert!((value(Estimator::Ips, None).standard_error - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_limits_of_switch_and_shrinkage_are_their_relatives() {
        let robust = value(Estimator::DoublyRobust, None);
        assert_eq!(value(Estimator::SwitchDoublyRobust { tau: 9.0 }, None).value, robust.value);
        assert!((value(Estimator::ShrunkDoublyRobust { lambda: 1e15 }, None).value - robust.value).abs() < 1e-12);
    }

    #[test]
    fn a_policy_that_does_what_was_never_logged_is_refused() {
        let (actions, rewards, propensities) = ([0; 400], [1.0; 400], [0.5; 400]);
        let policy = [0.5, 0.5].repeat(400);
        let found = Log::new(&actions, &rewards, &propensities, &policy, None, 2).unwrap();
        let found = found.value(Estimator::Ips, None).unwrap();
        assert_eq!((found.unsupported_share, found.refusal), (0.5, Some(Refusal::NoOverlap)));
        // The same where the action exists in the log, but not where the policy takes it: weights average .5.
        let actions: Vec<usize> = (0..400).map(|row| row % 2).collect();
        let policy: Vec<f64> = (0..400).flat_map(|row| if row % 4 < 2 { [0.75, 0.25] } else { [0.25, 0.75] }).collect();
        let log = Log::new(&actions, &rewards, &[1.0; 400], &policy, None, 2).unwrap();
        let found = log.value(Estimator::Snips, None).unwrap();
        assert_eq!((found.unsupported_share, found.mean_weight), (0.0, 0.5));
        assert_eq!(found.refusal, Some(Refusal::NoOverlap));
    }

    #[test]
    fn a_wrong_row_is_named() {
        let error = |actions: &[usize], rewards: &[f64], propensities: &[f64], policy: &[f64]| {
            Log::new(actions, rewards, propensities, policy, None, 2).unwrap_err().to_string()
        };
        let found = error(&ACTIONS, &REWARDS, &[0.25, 0.0], &POLICY);
        assert_eq!(found, "`propensity` of row 1 is `0`; it must be above 0 and at most 1");
        assert!(error(&[0, 2], &REWARDS, &PROPENSITIES, &POLICY).contains("`action` of row 1"));
        assert!(error(&ACTIONS, &[f64::NAN, 0.0], &PROPENSITIES, &POLICY).contains("`reward` of row 0"));
        assert!(error(&ACTIONS, &REWARDS, &PROPENSITIES, &[0.5, 0.4, 0.75, 0.25]).contains("of row 0 is `0.9`"));
        assert!(error(&ACTIONS, &REWARDS, &PROPENSITIES, &[1.5, -0.5, 0.75, 0.25]).contains("policy probability"));
        assert!(error(&ACTIONS, &REWARDS, &PROPENSITIES, &[1.0]).contains("`policy` has `1` entries"));
        assert!(error(&[], &[], &[], &[]).contains("there are 0 logged decisions"));
    }

    #[test]
    fn what_an_estimator_lacks_is_an_error() {
        let log = Log::new(&ACTIONS, &REWARDS, &PROPENSITIES, &POLICY, None, 2).unwrap();
        assert!(log.value(Estimator::DoublyRobust, None).is_err() && log.value(Estimator::Ips, Some(0.0)).is_err());
        let log = Log::new(&ACTIONS, &REWARDS, &PROPENSITIES, &POLICY, Some(&MODELLED), 2).unwrap();
        assert!(log.value(Estimator::SwitchDoublyRobust { tau: f64::NAN }, None).is_err());
        assert!(log.value(Estimator::ShrunkDoublyRobust { lambda: 0.0 }, None).is_err());
        let never = [0.0, 1.0, 1.0, 0.0];
        let log = Log::new(&ACTIONS, &REWARDS, &PROPENSITIES, &never, None, 2).unwrap();
        assert!(log.value(Estimator::Snips, None).is_err() && log.value(Estimator::Ips, None).unwrap().value == 0.0);
        assert_eq!(log.value(Estimator::Ips, None).unwrap().effective_rows, 0.0);
    }

    #[test]
    fn replay_keeps_what_the_log_did_as_the_policy_wants() {
        let found = replay(&[0, 1, 0, 1], &[1.0, 9.0, 0.0, 1.0], &[0, 0, 0, 1]).unwrap();
        assert!((found.value - 2.0 / 3.0).abs() < 1e-15 && found.matches == 3);
        assert_eq!(found.refusal, Some(Refusal::FewEffectiveRows));
        assert!(replay(&[0, 0], &[1.0, 1.0], &[1, 0]).is_err() && replay(&[0], &[1.0], &[]).is_err());
        assert!(replay(&[0], &[f64::NAN], &[0]).is_err());
    }
}
