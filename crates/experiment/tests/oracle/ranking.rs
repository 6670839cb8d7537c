//! Adapters from cases of the oracle to the library: interleaving, values of policies, bandits.
//!
//! In: a case.  Out: its outputs under the oracle's own field names.
//! Never here: formulas; an adapter reads options and names results.
//! Start at [`compute`].

#![expect(clippy::unwrap_used, reason = "tests may stop at the first surprise: the panic is the report")]

use experiment::bandit::thompson::{Belief, GaussianPrior, allocate};
use experiment::ranking::interleave::preference;
use experiment::ranking::off_policy::{Estimator, Log};
use serde_json::{Value, json};

use crate::case::{Case, dataset, number};
use crate::procedures::ends;

/// Computes a case, or says with `None` that its method is not among ours.
pub fn compute(case: &Case) -> Option<Value> {
    Some(match case.method.as_str() {
        "interleaving_sign_test" => sign_test(case),
        "off_policy_value" => policy_value(case),
        "bandit_thompson" => thompson(case),
        _ => return None,
    })
}

fn sign_test(case: &Case) -> Value {
    assert_eq!((case.option("p0"), case.option("sides"), case.option_text("ties")), (0.5, 2.0, "dropped"));
    let found = preference(case.input("wins") as u64, case.input("losses") as u64, 0, 0.05).unwrap();
    json!({
        "p": found.p, "ci95_exact": ends(found.exact), "ci95_wilson": ends(found.wilson),
    })
}

fn policy_value(case: &Case) -> Value {
    let table = dataset("ope_rows");
    let (n, count) = (case.input("n") as usize, case.input("actions") as usize);
    let wide = |name: &str| -> Vec<f64> {
        (0..n).flat_map(|row| (0..count).map(move |k| table[&format!("{name}_{k}")][row])).collect()
    };
    let actions: Vec<usize> = table["action"].iter().map(|action| *action as usize).collect();
    let (policy, modelled) = (wide("pi_e"), wide("q_hat"));
    let log = Log::new(&actions, &table["reward"], &table["pscore"], &policy, Some(&modelled), count).unwrap();
    let estimator = match case.option_text("estimator") {
        "IPW" => Estimator::Ips,
        "SNIPW" => Estimator::Snips,
        "DM" => Estimator::DirectMethod,
        "DR" => Estimator::DoublyRobust,
        "SNDR" => Estimator::SelfNormalizedDoublyRobust,
        "SwitchDR" => Estimator::SwitchDoublyRobust { tau: case.option("tau") },
        "DRos" => Estimator::ShrunkDoublyRobust { lambda: case.option("lambda") },
        other => panic!("unknown estimator `{other}`"),
    };
    json!({ "value": log.value(estimator, None).unwrap().value })
}

fn thompson(case: &Case) -> Value {
    let prior = &case.options["prior"];
    let prior = GaussianPrior { mean: number(&prior["mean"]), variance: number(&prior["variance"]) };
    let (mut units, mut means, mut beliefs) = (Vec::new(), Vec::new(), Vec::new());
    for arm in case.inputs["arms"].as_array().unwrap() {
        let (n, sum, squares) = (number(&arm["n"]), number(&arm["sum"]), number(&arm["sum_squares"]));
        units.push(n as u64);
        means.push(sum / n);
        beliefs.push(Belief::gaussian(n as u64, sum / n, (squares - sum * sum / n) / (n - 1.0), Some(prior)).unwrap());
    }
    let is_lower_better = case.options["lower_is_better"].as_bool().unwrap();
    let found = allocate(&beliefs, &units, is_lower_better, case.option("weight_floor")).unwrap();
    // The source puts the posterior's width around the observed mean; ours is around the posterior's, 3e-7 away.
    let intervals = beliefs.iter().zip(&means).map(|(belief, mean)| {
        let Belief::Gaussian { deviation, .. } = *belief else { panic!("a normal belief") };
        Belief::Gaussian { mean: *mean, deviation }.interval(0.05).unwrap()
    });
    json!({
        "cr": means,
        "ci": intervals.map(ends).collect::<Vec<_>>(),
        "bandit_weights": found.shares,
        "best_arm_probabilities": found.best_arm_probabilities,
        "enough_units": found.has_enough_units,
    })
}
