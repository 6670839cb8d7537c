//! Adapters from cases of the oracle to the library: health checks, planning, several looks and tests, ranks and shares.
//!
//! In: a case.  Out: its outputs under the oracle's own field names.
//! Never here: formulas; an adapter reads options and names results.
//! Start at [`compute`].

#![expect(clippy::unwrap_used, reason = "tests may stop at the first surprise: the panic is the report")]

use experiment::stats::Interval;
use experiment::stats::distributions::{normal_quantile, t_sf};
use experiment::stats::group_sequential::{self, Sides, Spending};
use experiment::stats::multiple::{self, Correction};
use experiment::stats::non_inferiority::{Preference, test_equivalence, test_non_inferiority};
use experiment::stats::power::{self, Baseline, Law, Plan};
use experiment::stats::proportions::{self, Share};
use experiment::stats::rank::mann_whitney;
use experiment::stats::sample_ratio::{SequentialSampleRatio, check_sample_ratio, two_arm_p};
use experiment::stats::winsorise::{CapOver, pooled_cap, winsorise_upper};
use serde_json::{Value, json};

use crate::case::{Case, dataset, json_number, number};

/// Computes a case, or says with `None` that its method is not among ours.
pub fn compute(case: &Case) -> Option<Value> {
    Some(match case.method.as_str() {
        "srm" => sample_ratio(case),
        "sequential_srm" | "sequential_srm_path" | "sequential_srm_posterior" => sequential_sample_ratio(case),
        "multiple_testing" => multiple_testing(case),
        "group_sequential_bounds" => group_sequential_bounds(case),
        "spending_functions" => spending_functions(case),
        "peeking_probability" => peeking(case),
        "power" => power_of(case),
        "tost" => equivalence(case),
        "non_inferiority_z_test" => non_inferiority(case),
        "two_proportions" => two_proportions(case),
        "chi_square_two_proportions" => chi_square(case),
        "mann_whitney" => ranks(case),
        "winsorise_upper" => winsorised(case),
        _ => return crate::ranking::compute(case),
    })
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list of numbers").iter().map(number).collect()
}

pub fn counts(value: &Value) -> Vec<u64> {
    value.as_array().expect("a list of counts").iter().map(|n| n.as_u64().expect("a count")).collect()
}

pub fn ends(interval: Interval) -> [f64; 2] {
    [interval.lower, interval.upper]
}

/// A column of the rows, split into control and treatment.
fn split(case: &Case, position: usize) -> (Vec<f64>, Vec<f64>) {
    let variation = &dataset("rows")["variation"];
    let of =
        |arm: f64| case.column(position).iter().zip(variation).filter(|(_, v)| **v == arm).map(|(x, _)| *x).collect();
    (of(0.0), of(1.0))
}

/// Units, mean and sample variance of one or two columns, with their covariance.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

fn covariance(xs: &[f64], ys: &[f64]) -> f64 {
    let (mean_x, mean_y) = (moments(xs).0, moments(ys).0);
    xs.iter().zip(ys).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / (xs.len() as f64 - 1.0)
}

/// Effect, standard error and Welch's degrees of freedom of two arms.
fn welch(control: &[f64], treatment: &[f64]) -> (f64, f64, f64) {
    let ((m_c, v_c), (m_t, v_t)) = (moments(control), moments(treatment));
    let (n_c, n_t) = (control.len() as f64, treatment.len() as f64);
    let (a, b) = (v_t / n_t, v_c / n_c);
    (m_t - m_c, (a + b).sqrt(), (a + b).powi(2) / (a * a / (n_t - 1.0) + b * b / (n_c - 1.0)))
}

fn sample_ratio(case: &Case) -> Value {
    if case.inputs["dataset"].is_string() {
        assert_eq!(case.column(0), dataset("rows")["variation"]);
        let (control, treatment) = split(case, 0);
        let (control, treatment) = (control.len() as u64, treatment.len() as u64);
        let ratio = case.option("ratio");
        let p = two_arm_p(control, treatment, ratio / (1.0 + ratio)).unwrap();
        return json!({ "control": control, "treatment": treatment, "pvalue": p });
    }
    let units = counts(&case.inputs["users"]);
    let weights = case.inputs.get("weights").map_or_else(|| vec![1.0; units.len()], numbers);
    let found = check_sample_ratio(&units, &weights).unwrap();
    json!({
        "leak": found.has_leak(), "chi2": found.chi_square, "df": found.df, "p_value": found.p, "p": found.p,
        "published": found.p,
    })
}

fn sequential_sample_ratio(case: &Case) -> Value {
    let shares = numbers(&case.options["theta_0"]);
    let mut test = SequentialSampleRatio::new(&shares, case.option("concentration")).unwrap();
    let batches = case.inputs.get("batches").map(|batches| batches.as_array().unwrap().clone());
    let (mut e, mut p) = (Vec::new(), Vec::new());
    for batch in batches.unwrap_or_else(|| vec![case.inputs["counts"].clone()]) {
        test.add(&counts(&batch)).unwrap();
        e.push(test.e_value());
        p.push(test.p());
    }
    json!({
        "e_value": test.e_value(), "p_value": test.p(), "e_values": e, "p_running_min": p,
        "posterior_prob_srm": test.posterior(),
    })
}

fn multiple_testing(case: &Case) -> Value {
    let correction = match case.option_text("correction") {
        "bonferroni" => Correction::Bonferroni,
        "sidak" => Correction::Sidak,
        "holm" => Correction::Holm,
        "holm-sidak" => Correction::HolmSidak,
        "simes-hochberg" => Correction::Hochberg,
        "hommel" => Correction::Hommel,
        "fdr_bh" => Correction::BenjaminiHochberg,
        "fdr_by" => Correction::BenjaminiYekutieli,
        "fdr_tsbh" => Correction::TwoStageBenjaminiHochberg,
        other => panic!("unknown correction `{other}`"),
    };
    let tests = multiple::adjust(&numbers(&case.inputs["p"]), correction, case.option("alpha")).unwrap();
    json!({
        "reject": tests.iter().map(|test| test.is_rejected).collect::<Vec<_>>(),
        "p_adj": tests.iter().map(|test| test.p).collect::<Vec<_>>(),
    })
}

fn group_sequential_bounds(case: &Case) -> Value {
    if case.inputs["information_fractions"].is_array() {
        return spending_bounds(case);
    }
    let computed: Vec<f64> = if case.inputs["t"].is_array() {
        let fractions = numbers(&case.inputs["t"]);
        let looks = group_sequential::bounds(&fractions, Spending::ObrienFleming, 0.05, Sides::Two, true).unwrap();
        looks.iter().map(|look| look.bound).collect()
    } else {
        let looks = counts(&case.inputs["K"]);
        let constant = match case.name.as_str() {
            "pub/pocock_1977" => group_sequential::pocock_constant,
            "pub/obrien_fleming_1979" => group_sequential::obrien_fleming_constant,
            other => panic!("unknown constants `{other}`"),
        };
        looks.iter().map(|k| constant(*k as usize, 0.05).unwrap()).collect()
    };
    json!({ "computed": computed, "published": computed })
}

fn spending_bounds(case: &Case) -> Value {
    assert_eq!(case.option_text("spending"), "alpha * t^rho");
    let fractions = numbers(&case.inputs["information_fractions"]);
    let sides = match case.option("sides") {
        1.0 => Sides::One,
        2.0 => Sides::Two,
        other => panic!("{other} sides"),
    };
    let spending = Spending::Power(case.option("rho"));
    let looks = group_sequential::bounds(&fractions, spending, case.option("alpha"), sides, true).unwrap();
    let of = |field: &dyn Fn(&group_sequential::Look) -> f64| looks.iter().map(field).collect::<Vec<f64>>();
    json!({
        "za": vec![-case.option("truncation_z"); looks.len()],
        "zb": of(&|look| look.bound),
        "pe": of(&|look| look.spent),
        "pd": of(&|look| look.spent_now),
        "information_ratio": of(&|look| look.fraction),
    })
}

fn spending_functions(case: &Case) -> Value {
    let spent = |spending: Spending| -> Vec<f64> {
        numbers(&case.inputs["t"]).into_iter().map(|t| spending.spent(case.option("alpha"), t)).collect()
    };
    json!({ "cum_alpha": spent(Spending::ObrienFleming), "pocock_type": spent(Spending::Pocock) })
}

fn peeking(case: &Case) -> Value {
    // The case says 1.96 and means the two-sided 5 % point: one look gives .05 to 1e-6.
    let critical = normal_quantile(0.975);
    let looks = counts(&case.inputs["K"]);
    let computed: Vec<f64> =
        looks.iter().map(|k| group_sequential::peeking_probability(critical, *k as usize).unwrap()).collect();
    json!({ "computed": computed, "published": computed })
}

fn plan_of(case: &Case) -> Plan {
    let read = |name: &str, default: f64| case.options.get(name).map_or(default, number);
    let one_sided = case.options.get("sides").is_some_and(|sides| number(sides) == 1.0);
    assert!(case.options.get("alternative").is_none_or(|alternative| alternative == "two-sided"));
    Plan {
        alpha: read("alpha", 0.05),
        sides: if one_sided { Sides::One } else { Sides::Two },
        power: read("power", 0.8),
        ratio: read("ratio", 1.0),
    }
}

fn power_of(case: &Case) -> Value {
    let plan = plan_of(case);
    if case.inputs["dataset"].is_string() {
        return power_from_rows(case, &plan);
    }
    if let Some(d) = case.options.get("effect_size_d").map(number) {
        let per_arm = |law| plan.total_units((1.0, 1.0), d, law).unwrap() / (1.0 + plan.ratio);
        return json!({ "n_per_arm_t": per_arm(Law::T), "n_per_arm_z": per_arm(Law::Normal) });
    }
    if case.options.get("p0").is_some() {
        let (p0, p1) = (case.option("p0"), case.option("p1"));
        let h = power::cohen_h(p0, p1).unwrap();
        return json!({
            "cohen_h": h,
            "n_per_arm": plan.total_units((1.0, 1.0), h, Law::Normal).unwrap() / 2.0,
            "power_n10000": power::proportion_power(p0, p1, case.option("power_at_n_per_arm"), &plan).unwrap(),
        });
    }
    let units = |d: f64| plan.units_per_arm((1.0, 1.0), d).unwrap();
    if let Some(d) = case.inputs.get("d") {
        let d = numbers(d);
        let exact: Vec<f64> = d.iter().map(|d| units(*d)).collect();
        let printed: Vec<f64> =
            d.iter().map(|d| (plan.total_units((1.0, 1.0), *d, Law::T).unwrap() / 2.0).ceil()).collect();
        return json!({ "exact": exact, "published": printed });
    }
    json!({ "exact": units(1.0), "published": units(1.0) })
}

/// Plans from the pooled rows: a mean, a mean with a covariate, or a ratio.
fn power_from_rows(case: &Case, plan: &Plan) -> Value {
    assert_eq!(case.inputs["pooled"], json!(true));
    let values = case.column(0);
    let plain = Baseline::mean(moments(values).0, moments(values).1).unwrap();
    let baseline = match case.inputs["columns"].as_array().unwrap().len() {
        1 => plain,
        _ if case.options.get("metric").is_some() => {
            let other = case.column(1);
            Baseline::ratio(moments(values), moments(other), covariance(values, other)).unwrap()
        }
        _ => {
            let other = case.column(1);
            let correlation = covariance(values, other) / (moments(values).1 * moments(other).1).sqrt();
            plain.with_covariate(correlation).unwrap()
        }
    };
    let variances = (baseline.variance, baseline.variance);
    if case.options.get("relative_effects").is_some() {
        let effects = numbers(&case.options["relative_effects"]);
        let units = effects.iter().map(|effect| plan.units_per_arm(variances, effect * baseline.mean).unwrap().ceil());
        return json!({ "n_per_arm": units.collect::<Vec<_>>() });
    }
    let law = match case.option_text("distribution") {
        "t" => Law::T,
        "normal" => Law::Normal,
        other => panic!("unknown distribution `{other}`"),
    };
    assert_eq!(case.options["equal_var"], json!(false));
    let effect = case.option("relative_effect") * baseline.mean;
    let (units, reached) = match case.option_text("solve_for") {
        "n_obs" => (plan.total_units(variances, effect, law).unwrap().ceil(), plan.power),
        "power" => (values.len() as f64, plan.power_at(variances, effect, values.len() as f64, law).unwrap()),
        other => panic!("cannot solve for `{other}`"),
    };
    json!({
        "power": reached, "effect_size": effect, "rel_effect_size": case.option("relative_effect"), "n_obs": units,
    })
}

fn equivalence(case: &Case) -> Value {
    assert_eq!(case.option_text("variance"), "unequal");
    let (control, treatment) = split(case, 0);
    let (effect, standard_error, df) = welch(&control, &treatment);
    let test = test_equivalence(effect, standard_error, df, case.option("margin")).unwrap();
    json!({
        "p": test.p,
        "lower_t_p_df": [test.lower_t, test.lower_p, df],
        "upper_t_p_df": [test.upper_t, test.upper_p, df],
    })
}

/// Units, mean and sample variance of `inputs.arms[position]`.
fn arm(case: &Case, position: usize) -> (f64, f64, f64) {
    let arm = &case.inputs["arms"][position];
    let (n, sum, squares) = (number(&arm["n"]), number(&arm["sum"]), number(&arm["sum_squares"]));
    (n, sum / n, (squares - sum * sum / n) / (n - 1.0))
}

fn non_inferiority(case: &Case) -> Value {
    assert_eq!(case.option_text("margin_scale"), "relative to the control mean");
    let preference = match case.option_text("preferred_direction") {
        "increase" => Preference::Increase,
        "decrease" => Preference::Decrease,
        other => panic!("unknown direction `{other}`"),
    };
    let ((n_c, mean_c, variance_c), (n_t, mean_t, variance_t)) = (arm(case, 0), arm(case, 1));
    let (margin, alpha) = (case.option("margin") * mean_c, case.option("alpha"));
    let (effect, standard_error) = (mean_t - mean_c, (variance_c / n_c + variance_t / n_t).sqrt());
    let test = test_non_inferiority(effect, standard_error, margin, preference, alpha).unwrap();
    // The source plans with the control's variance in both arms and no effect.
    let plan = Plan { alpha, sides: Sides::One, power: 0.8, ratio: n_t / n_c };
    let variances = (variance_c, variance_c);
    let total = plan.units_per_arm(variances, margin).unwrap() * (1.0 + plan.ratio);
    json!({
        "difference": effect, "null_hypothesis": test.null, "p_value": test.p, "significant": test.is_passed,
        "ci": [json_number(test.interval.lower), json_number(test.interval.upper)],
        "powered_effect": plan.detectable_difference(variances, n_c).unwrap(),
        "required_sample_size": total.ceil(),
    })
}

fn two_proportions(case: &Case) -> Value {
    let expected = [("z", "pooled"), ("interval_difference", "Newcombe"), ("interval_arm", "Wilson")];
    expected.iter().for_each(|(option, value)| assert_eq!(case.option_text(option), *value));
    let (successes, units) = (counts(&case.inputs["successes"]), counts(&case.inputs["n"]));
    let share = |arm: usize| Share::new(successes[arm], units[arm]).unwrap();
    let compared = proportions::compare_proportions(share(0), share(1), 0.05).unwrap();
    json!({
        "z": compared.z, "p": compared.p, "newcomb_ci": ends(compared.newcombe),
        "wilson_treat": ends(compared.wilson_treatment), "fisher_p": compared.fisher_p,
    })
}

fn chi_square(case: &Case) -> Value {
    let share = |arm: usize| {
        let arm = &case.inputs["arms"][arm];
        Share::new(number(&arm["sum"]) as u64, number(&arm["n"]) as u64).unwrap()
    };
    let is_relative = match case.option_text("difference_type") {
        "relative" => true,
        "absolute" => false,
        other => panic!("unknown type `{other}`"),
    };
    let alpha = 1.0 - case.option("confidence");
    let found = proportions::chi_square_difference(share(0), share(1), alpha, is_relative).unwrap();
    json!({
        "difference": found.difference, "ci_lower": found.interval.lower, "ci_upper": found.interval.upper, "p_value": found.p,
    })
}

fn ranks(case: &Case) -> Value {
    assert_eq!(case.option_text("order"), "U of treatment");
    let (control, treatment) = split(case, 0);
    let test = mann_whitney(&control, &treatment).unwrap();
    json!({ "U": test.u, "p": test.p })
}

fn winsorised(case: &Case) -> Value {
    assert_eq!((case.option_text("quantile"), &case.options["pooled"]), ("linear", &json!(true)));
    let (control, treatment) = split(case, 0);
    let cap = pooled_cap(&[&control, &treatment], case.option("q"), CapOver::Everyone).unwrap();
    let (control, treatment) = (winsorise_upper(&control, cap), winsorise_upper(&treatment, cap));
    let (effect, standard_error, df) = welch(&control, &treatment);
    let t = effect / standard_error;
    let of = |values: &[f64]| json!({ "n": values.len(), "mean": moments(values).0, "var": moments(values).1 });
    json!({ "cap": cap, "a": of(&control), "b": of(&treatment), "t": t, "p": 2.0 * t_sf(t.abs(), df) })
}
