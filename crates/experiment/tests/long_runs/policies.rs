//! Values of policies from logs, against values that are known because the world is simulated.
//!
//! In: a world of contexts, actions and reward probabilities.  Out: mean error of each estimator, and how often intervals hold.
//! Never here: formulas.
//! Start at [`World`].

use experiment::bandit::thompson::{AdaptiveRow, Belief, Weighting, adaptive_mean, allocate};
use experiment::ranking::off_policy::{Estimator, Log, replay};
use experiment::ranking::slates::{SlateEstimator, SlateLog};

use crate::{Draws, deviation, mean};

const CONTEXTS: usize = 4;
const ACTIONS: usize = 3;

/// Probabilities of reward and of both policies, by context.
struct World {
    reward: [[f64; ACTIONS]; CONTEXTS],
    logging: [[f64; ACTIONS]; CONTEXTS],
    policy: [[f64; ACTIONS]; CONTEXTS],
}

const WORLD: World = World {
    reward: [[0.1, 0.3, 0.6], [0.5, 0.2, 0.2], [0.05, 0.1, 0.02], [0.4, 0.45, 0.5]],
    logging: [[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2], [0.1, 0.5, 0.4]],
    policy: [[0.1, 0.2, 0.7], [0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4]],
};

impl World {
    fn value(&self) -> f64 {
        let of = |x: usize| self.policy[x].iter().zip(self.reward[x]).map(|(p, r)| p * r).sum::<f64>();
        (0..CONTEXTS).map(of).sum::<f64>() / CONTEXTS as f64
    }
}

/// Values and standard errors of one estimator over many logs.
fn estimate(estimator: Estimator, model_error: f64, seed: u64) -> (Vec<f64>, Vec<f64>) {
    const LOGS: usize = 600;
    const ROWS: usize = 800;
    let mut draws = Draws::new(seed);
    let mut found = (Vec::with_capacity(LOGS), Vec::with_capacity(LOGS));
    let mut refused = 0;
    for _ in 0..LOGS {
        let (mut actions, mut rewards, mut propensities) = (Vec::new(), Vec::new(), Vec::new());
        let (mut policy, mut modelled) = (Vec::new(), Vec::new());
        for _ in 0..ROWS {
            let x = draws.place(&[0.25; CONTEXTS]);
            let action = draws.place(&WORLD.logging[x]);
            actions.push(action);
            rewards.push(f64::from(draws.is(WORLD.reward[x][action])));
            propensities.push(WORLD.logging[x][action]);
            policy.extend(WORLD.policy[x]);
            // A wrong model is wrong by action and context, so that no average hides it.
            modelled.extend((0..ACTIONS).map(|a| WORLD.reward[x][a] + model_error * (a as f64 - x as f64)));
        }
        let log = Log::new(&actions, &rewards, &propensities, &policy, Some(&modelled), ACTIONS).unwrap();
        let value = log.value(estimator, None).unwrap();
        refused += usize::from(value.refusal.is_some());
        found.0.push(value.value);
        found.1.push(value.standard_error);
    }
    // Overlap is full and there are rows enough.
    assert!(refused <= LOGS / 200, "{estimator:?}: {refused}");
    found
}

#[test]
fn estimators_hit_the_true_value_and_know_their_error() {
    let truth = WORLD.value();
    let cases = [
        (Estimator::Ips, 0.3),
        (Estimator::Snips, 0.3),
        (Estimator::DoublyRobust, 0.3),
        (Estimator::SelfNormalizedDoublyRobust, 0.3),
        (Estimator::DirectMethod, 0.0),
        (Estimator::SwitchDoublyRobust { tau: 3.0 }, 0.0),
        (Estimator::ShrunkDoublyRobust { lambda: 5.0 }, 0.0),
    ];
    for (seed, (estimator, model_error)) in cases.into_iter().enumerate() {
        let (values, errors) = estimate(estimator, model_error, 21 + seed as u64);
        let three = 3.0 * deviation(&values) / (values.len() as f64).sqrt();
        assert!((mean(&values) - truth).abs() <= three, "{estimator:?}: {} for {truth}", mean(&values));
        let holds = values.iter().zip(&errors).filter(|(value, error)| (**value - truth).abs() <= 1.96 * **error);
        let share = holds.count() as f64 / values.len() as f64;
        // .95 with a standard error of .009.
        assert!((0.923..0.977).contains(&share), "{estimator:?}: {share}");
    }
}

#[test]
fn a_wrong_model_misleads_the_direct_method_alone() {
    let truth = WORLD.value();
    let (values, _) = estimate(Estimator::DirectMethod, 0.3, 31);
    assert!((mean(&values) - truth).abs() > 0.05, "{} for {truth}", mean(&values));
}

#[test]
fn lists_are_judged_without_bias_where_the_assumption_holds() {
    const SLOTS: usize = 3;
    let logging = [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]];
    let policy = [[0.3, 0.3, 0.4], [0.4, 0.4, 0.2], [0.5, 0.3, 0.2]];
    let reward = [0.1, 0.4, 0.7];
    let truth: f64 = policy.iter().flatten().zip(reward.iter().cycle()).map(|(p, r)| p * r).sum();
    let mut draws = Draws::new(41);
    let mut found = vec![Vec::new(); 3];
    for _ in 0..400 {
        let (mut rewards, mut logged, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        for place in 0..400 * SLOTS {
            let slot = place % SLOTS;
            let item = draws.place(&logging[slot]);
            // The reward of a slot depends on its item alone: all three estimators are right.
            rewards.push(f64::from(draws.is(reward[item])));
            logged.push(logging[slot][item]);
            wanted.push(policy[slot][item]);
        }
        let log = SlateLog::new(&rewards, &logged, &wanted, SLOTS).unwrap();
        let estimators = [SlateEstimator::Standard, SlateEstimator::RewardInteraction, SlateEstimator::Independent];
        for (values, estimator) in found.iter_mut().zip(estimators) {
            values.push(log.value(estimator, None).unwrap().value);
        }
    }
    for values in &found {
        let three = 3.0 * deviation(values) / (values.len() as f64).sqrt();
        assert!((mean(values) - truth).abs() <= three, "{} for {truth}", mean(values));
    }
    // What is assumed more is noisier less.
    assert!(deviation(&found[0]) > deviation(&found[1]) && deviation(&found[1]) > deviation(&found[2]));
}

#[test]
fn replay_of_uniform_logs_is_unbiased() {
    let best: Vec<usize> = vec![2, 0, 1, 2];
    let truth = best.iter().zip(WORLD.reward).map(|(action, reward)| reward[*action]).sum::<f64>() / CONTEXTS as f64;
    let mut draws = Draws::new(42);
    let values: Vec<f64> = (0..400)
        .map(|_| {
            let (mut actions, mut rewards, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..500 {
                let x = draws.place(&[0.25; CONTEXTS]);
                let action = draws.place(&[1.0 / 3.0; ACTIONS]);
                actions.push(action);
                rewards.push(f64::from(draws.is(WORLD.reward[x][action])));
                chosen.push(best[x]);
            }
            replay(&actions, &rewards, &chosen).unwrap().value
        })
        .collect();
    let three = 3.0 * deviation(&values) / (values.len() as f64).sqrt();
    assert!((mean(&values) - truth).abs() <= three, "{} for {truth}", mean(&values));
}

/// A bandit over three arms of equal mean, with shares renewed after each batch; rows as the first arm sees them.
fn bandit(draws: &mut Draws) -> Vec<AdaptiveRow> {
    const BATCH: usize = 150;
    let mut rows = Vec::new();
    let (mut n, mut sums) = ([0u64; 3], [0.0; 3]);
    let mut shares = vec![1.0 / 3.0; 3];
    for batch in 0..8 {
        if batch > 0 {
            let beliefs: Vec<Belief> =
                (0..3).map(|arm| Belief::gaussian(n[arm], sums[arm] / n[arm] as f64, 1.0, None).unwrap()).collect();
            // Units are few on purpose: chance moves the shares, and plain means with them.
            shares = allocate(&beliefs, &[1_000; 3], false, 0.05).unwrap().shares;
        }
        for _ in 0..BATCH {
            let arm = draws.place(&shares);
            let reward = 1.0 + draws.normal();
            n[arm] += 1;
            sums[arm] += reward;
            rows.push(AdaptiveRow { arm, reward, propensity: shares[0] });
        }
    }
    rows
}

#[test]
fn inference_from_a_bandit_s_log_is_right_where_the_plain_mean_is_not() {
    let mut draws = Draws::new(43);
    let (mut uniform, mut stable, mut plain, mut holds) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..1_000 {
        let rows = bandit(&mut draws);
        uniform.push(adaptive_mean(&rows, 0, Weighting::Uniform).unwrap().mean);
        let found = adaptive_mean(&rows, 0, Weighting::VarianceStabilizing).unwrap();
        holds += usize::from((found.mean - 1.0).abs() <= 1.96 * found.standard_error);
        stable.push(found.mean);
        let own: Vec<f64> = rows.iter().filter(|row| row.arm == 0).map(|row| row.reward).collect();
        plain.push(mean(&own));
    }
    let three = |values: &[f64]| 3.0 * deviation(values) / (values.len() as f64).sqrt();
    assert!((mean(&uniform) - 1.0).abs() <= three(&uniform), "{}", mean(&uniform));
    let bias = |values: &[f64]| mean(values) - 1.0;
    assert!(bias(&plain) < -2.0 * three(&plain), "{}", bias(&plain));
    assert!(bias(&stable).abs() < 0.6 * bias(&plain).abs(), "{} {}", bias(&stable), bias(&plain));
    let share = holds as f64 / 1_000.0;
    assert!((0.93..0.97).contains(&share), "{share}");
}
