//! Adapters from cases of the oracle to the library: differences, sequential and Bayesian views, variance reduction.
//!
//! In: a case.  Out: its outputs under the oracle's own field names.
//! Never here: formulas; an adapter reads options and names results.
//! Start at [`compute`].

use experiment::stats::always_valid::{always_valid, multiplier, rho};
use experiment::stats::bayes::{Beta, Prior, chance_b_beats_a, chance_by_quadrature, chance_by_sum, posterior};
use experiment::stats::distributions;
use experiment::stats::mid_experiment::{Judgement, Progress, outlook, scaled_impact};
use experiment::stats::moments::Mean;
use experiment::stats::post_stratify::post_stratify;
use experiment::stats::quantile::{QuantileMethod, sample_quantile};
use experiment::stats::regression::{Reference, Slopes, adjusted_effect, clustered_effect};
use experiment::stats::{Alternative, Comparison, Difference, Interval, Scale, Statistic, compare};
use serde_json::{Value, json};

use crate::case::{Case, json_number, number};

/// Computes a case, or says with `None` that its method is not among ours.
pub fn compute(case: &Case) -> Option<Value> {
    Some(match case.method.as_str() {
        "special_functions" => special_functions(case),
        "moments" => moments(case),
        "difference_test" => difference_test(case),
        "welch" => welch(case),
        "t_test" | "z_test" => test_of_sums(case),
        "difference_test_log_relative" => log_relative(case),
        "always_valid" => sequential(case),
        "always_valid_rho" => {
            let source_rho = |alternative| {
                1.0 / rho(case.option("alpha"), case.option("tuning_n"), alternative).expect("a valid α").sqrt()
            };
            json!({"rho_two_sided": source_rho(Alternative::TwoSided), "rho_one_sided": source_rho(Alternative::Greater)})
        }
        "always_valid_halfwidth" => {
            let multiple =
                multiplier(case.input("n"), case.option("alpha"), case.option("tuning_n"), Alternative::TwoSided);
            json!({"halfwidth": multiple.expect("valid options") * (case.input("s2") / case.input("n")).sqrt()})
        }
        "bayesian_gaussian" => gaussian(case),
        "bayesian_beta" => beta(case),
        "beta_binomial_p_b_beats_a" => beta_binomial(case),
        "mid_experiment_power" => mid_experiment(case),
        "quantile" => quantile(case),
        "cuped_transform" => cuped_transform(case),
        "post_stratification" => post_stratification(case),
        "pipeline" => crate::pipeline::compute(case),
        "regression_adjustment" => regression_adjustment(case),
        "cluster_robust" => cluster_robust(case),
        _ => return None,
    })
}

fn special_functions(case: &Case) -> Value {
    use distributions as d;
    let row = |name: &str, f: &dyn Fn(&[f64]) -> f64| -> Value {
        let rows = case.outputs[name].as_array().expect("rows of arguments and value");
        rows.iter()
            .map(|row| {
                let mut row: Vec<f64> = row.as_array().expect("a row").iter().map(number).collect();
                let value = row.len() - 1;
                row[value] = f(&row[..value]);
                Value::Array(row.into_iter().map(json_number).collect())
            })
            .collect()
    };
    json!({
        "t_cdf": row("t_cdf", &|a| d::t_sf(-a[0], a[1])),
        "t_ppf": row("t_ppf", &|a| d::t_quantile(a[0], a[1])),
        "norm_ppf": row("norm_ppf", &|a| d::normal_quantile(a[0])),
        "norm_sf": row("norm_sf", &|a| d::normal_sf(a[0])),
        "chi2_sf": row("chi2_sf", &|a| d::chi_square_sf(a[0], a[1])),
        "beta_cdf": row("beta_cdf", &|a| d::beta_cdf(a[0], a[1], a[2])),
        "binom_two_sided": row("binom_two_sided", &|a| d::fair_coin_two_sided(a[0] as u64, a[1] as u64)),
    })
}

/// Sufficient statistics of one arm, of the kind that `inputs.statistic` names.
pub fn statistic(case: &Case, fields: &Value) -> Statistic {
    let mut fields = fields.clone();
    fields["statistic"] = case.inputs["statistic"].clone();
    serde_json::from_value(fields).unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

pub fn comparison(case: &Case) -> Comparison {
    let arm = |name: &str| statistic(case, &case.inputs[name]);
    compare(&arm("control"), &arm("treatment")).expect("comparable arms")
}

/// The values of a column in one arm.
pub fn in_arm(case: &Case, position: usize, arm: f64) -> Vec<f64> {
    let variation = &crate::case::dataset("rows")["variation"];
    case.column(position).iter().zip(variation).filter(|(_, v)| **v == arm).map(|(x, _)| *x).collect()
}

pub fn scale(case: &Case) -> Scale {
    match case.option_text("difference_type") {
        "absolute" => Scale::Absolute,
        "relative" => Scale::Relative,
        other => panic!("unknown difference type `{other}`"),
    }
}

pub fn alternative(case: &Case) -> Alternative {
    match case.option_text("alternative") {
        "two_sided" | "two-sided" => Alternative::TwoSided,
        "treatment_greater" | "greater" => Alternative::Greater,
        "treatment_lesser" | "less" => Alternative::Less,
        other => panic!("unknown alternative `{other}`"),
    }
}

pub fn pair(ci: Interval) -> Value {
    json!([json_number(ci.lower), json_number(ci.upper)])
}

pub fn figures(d: &Difference) -> Value {
    json!({"effect": d.effect, "se": d.se, "df": json_number(d.df), "p_value": d.p_value, "ci": pair(d.ci)})
}

fn moments(case: &Case) -> Value {
    let c = comparison(case);
    // The source does not centre the covariate: y − θx where ours is y − θ(x − x̄).
    let theta = c.theta.unwrap_or(0.0);
    let shift = theta * c.covariate_mean;
    json!({
        "mean_a": c.control.mean - shift,
        "mean_b": c.treatment.mean - shift,
        "var_a": c.control.variance,
        "var_b": c.treatment.variance,
        "unadjusted_mean_a": c.control.unadjusted_mean,
        "theta": theta,
    })
}

fn difference_test(case: &Case) -> Value {
    if case.option_text("difference_type") == "scaled" {
        let absolute = comparison(case).estimate(Scale::Absolute).expect("an estimate");
        let test = absolute.test(alternative(case), case.option("alpha")).expect("a test");
        let (units, days) = (case.option("total_users"), case.option("phase_length_days"));
        return figures(&scaled_impact(&test, units, case.option("traffic_percentage"), days).expect("valid options"));
    }
    let estimate = comparison(case).estimate(scale(case)).expect("an estimate");
    assert_eq!(case.option_text("df"), "Welch-Satterthwaite of the absolute difference");
    figures(&estimate.test(alternative(case), case.option("alpha")).expect("a test"))
}

fn mean_of(values: &[f64]) -> Statistic {
    Statistic::Mean(Mean::from_values(values))
}

fn welch(case: &Case) -> Value {
    // t.test of R takes the first group minus the second; the scipy cases take b − a.
    let (first, second) = if case.inputs["group1"].is_array() {
        let group =
            |name: &str| -> Vec<f64> { case.inputs[name].as_array().expect("values").iter().map(number).collect() };
        (group("group1"), group("group2"))
    } else {
        (in_arm(case, 0, 1.0), in_arm(case, 0, 0.0))
    };
    if case.options["alternative"].is_string() {
        assert_eq!(alternative(case), Alternative::TwoSided);
        assert_eq!(case.option("confidence"), 0.95);
    }
    let c = compare(&mean_of(&second), &mean_of(&first)).expect("comparable arms");
    let d = c.estimate(Scale::Absolute).and_then(|e| e.test(Alternative::TwoSided, 0.05)).expect("a test");
    let (t, ci) = (d.effect / d.se, pair(d.ci));
    json!({"t": t, "df": d.df, "p": d.p_value, "ci": ci, "ci95": ci,
        "published": {"t": t, "df": d.df, "p": d.p_value, "ci": ci}})
}

fn test_of_sums(case: &Case) -> Value {
    let arm = |i: usize| Statistic::Mean(serde_json::from_value(case.inputs["arms"][i].clone()).expect("a mean"));
    let absolute = compare(&arm(0), &arm(1)).and_then(|c| c.estimate(Scale::Absolute)).expect("an estimate");
    let alpha = 1.0 - case.option("confidence");
    let test = match case.method.as_str() {
        "t_test" => absolute.test(Alternative::TwoSided, alpha),
        _ => absolute.z_test(Alternative::TwoSided, alpha),
    };
    let d = test.expect("a test");
    // The source takes the control mean as known when it divides by it.
    let by = match scale(case) {
        Scale::Absolute => 1.0,
        Scale::Relative => absolute.baseline,
    };
    json!({"difference": d.effect / by, "ci_lower": d.ci.lower / by, "ci_upper": d.ci.upper / by, "p_value": d.p_value})
}

fn log_relative(case: &Case) -> Value {
    use experiment::stats::moments::{Cuped, Ratio};
    assert_eq!(case.options["equal_var"], false);
    assert_eq!(case.option_text("distribution"), "t");
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum();
    let arm = |arm: f64| {
        let first = in_arm(case, 0, arm);
        if case.options["metric"].is_string() {
            let second = in_arm(case, 1, arm);
            let n = first.len() as u64;
            let (m_statistic, d_statistic) = (Mean::from_values(&first), Mean::from_values(&second));
            Statistic::Ratio(Ratio { n, m_statistic, d_statistic, m_d_sum_of_products: product(&first, &second) })
        } else if case.options["covariate"].is_string() {
            let second = in_arm(case, 1, arm);
            Statistic::Cuped(Cuped {
                n: first.len() as u64,
                post_statistic: Mean::from_values(&first),
                pre_statistic: Mean::from_values(&second),
                post_pre_sum_of_products: product(&first, &second),
            })
        } else {
            mean_of(&first)
        }
    };
    let c = compare(&arm(0.0), &arm(1.0)).expect("comparable arms");
    let alpha = 1.0 - case.option("confidence");
    let absolute = c.estimate(Scale::Absolute).and_then(|e| e.test(alternative(case), alpha)).expect("a test");
    let relative = c.log_lift(alternative(case), alpha).expect("positive means");
    json!({
        "control": c.control.mean,
        "treatment": c.treatment.mean,
        "effect_size": absolute.effect,
        "effect_size_ci_lower": json_number(absolute.ci.lower),
        "effect_size_ci_upper": json_number(absolute.ci.upper),
        "rel_effect_size": relative.effect,
        "rel_effect_size_ci_lower": json_number(relative.ci.lower),
        "rel_effect_size_ci_upper": json_number(relative.ci.upper),
        "pvalue": relative.p_value,
        "statistic": absolute.effect / absolute.se,
    })
}

fn sequential(case: &Case) -> Value {
    let estimate = comparison(case).estimate(scale(case)).expect("an estimate");
    let mut d =
        always_valid(&estimate, alternative(case), case.option("alpha"), case.option("tuning_n")).expect("a test");
    if case.options["p_clip"].is_array() {
        d.p_value = d.p_value.clamp(number(&case.options["p_clip"][0]), number(&case.options["p_clip"][1]));
    }
    figures(&d)
}

fn gaussian(case: &Case) -> Value {
    let estimate = comparison(case).estimate(scale(case)).expect("an estimate");
    assert_eq!(case.option_text("prior_scale"), "relative");
    let prior = &case.options["prior"];
    let prior =
        (prior["proper"] == true).then(|| Prior { mean: number(&prior["mean"]), variance: number(&prior["variance"]) });
    let p = posterior(&estimate, prior, case.options["lower_is_better"] == true, case.option("alpha"))
        .expect("a posterior");
    json!({"posterior_mean": p.mean, "posterior_sd": p.sd, "ci": pair(p.ci), "chance_to_win": p.chance_to_win,
        "risk_control": p.risk_control, "risk_treatment": p.risk_treatment})
}

fn beta(case: &Case) -> Value {
    let belief = |arm: &str| {
        let of = |i: usize| case.inputs[arm][i].as_u64().expect("a count");
        Beta::after(of(0), of(1)).expect("successes within trials")
    };
    let (control, test) = (belief("control"), belief("test"));
    let figures = json!({
        "ci_control": pair(control.interval(0.05).expect("an interval")),
        "ci_test": pair(test.interval(0.05).expect("an interval")),
        "p_test_better": chance_b_beats_a(control, test),
    });
    let mut outputs = figures.clone();
    outputs["published"] = figures;
    outputs
}

fn beta_binomial(case: &Case) -> Value {
    assert_eq!(case.option_text("prior"), "Beta(1,1) on both arms");
    let belief =
        |s: &str, n: &str| Beta::after(case.input(s) as u64, case.input(n) as u64).expect("successes within trials");
    let (a, b) = (belief("sa", "na"), belief("sb", "nb"));
    json!({"closed_form": chance_by_sum(a, b), "quadrature": chance_by_quadrature(a, b)})
}

fn mid_experiment(case: &Case) -> Value {
    let judgement = match case.option_text("test") {
        "fixed" => Judgement::Fixed,
        "always_valid" => Judgement::AlwaysValid { tuning_n: case.option("tuning_n") },
        other => panic!("unknown test `{other}`"),
    };
    let progress = Progress {
        se: case.input("se"),
        units: case.input("n_pair"),
        mde: case.option("mde"),
        alpha: case.option("alpha"),
        judgement,
    };
    let found = outlook(&progress, case.option("target_power")).expect("an outlook");
    json!({"power_now": found.power_now, "scaling_factor": found.growth, "additional_units": found.additional_units})
}

fn quantile(case: &Case) -> Value {
    let q = case.option("q");
    assert_eq!((case.option_text("a"), case.option_text("b")), ("control", "treatment"));
    let of = |arm: f64, method: QuantileMethod| {
        let mut values = in_arm(case, 0, arm);
        values.sort_by(f64::total_cmp);
        sample_quantile(&values, q, method).expect("a quantile")
    };
    json!({
        "a_linear": of(0.0, QuantileMethod::Linear),
        "b_linear": of(1.0, QuantileMethod::Linear),
        "a_inverted_cdf": of(0.0, QuantileMethod::InvertedCdf),
        "b_inverted_cdf": of(1.0, QuantileMethod::InvertedCdf),
    })
}

fn cuped_transform(case: &Case) -> Value {
    use experiment::stats::moments::Cuped;
    assert_eq!(case.option("ddof"), 1.0);
    let arm = |post: &[f64], pre: &[f64]| Cuped {
        n: post.len() as u64,
        post_statistic: Mean::from_values(post),
        pre_statistic: Mean::from_values(pre),
        post_pre_sum_of_products: post.iter().zip(pre).map(|(x, y)| x * y).sum(),
    };
    let all = arm(case.column(0), case.column(1));
    let of = |v: f64| Statistic::Cuped(arm(&in_arm(case, 0, v), &in_arm(case, 1, v)));
    let c = compare(&of(0.0), &of(1.0)).expect("comparable arms");
    let theta = all.theta();
    json!({"theta": theta, "var_y": all.post_statistic.variance(), "var_yc": all.adjusted_variance(theta),
        "mean_yc_0": c.control.mean, "mean_yc_1": c.treatment.mean})
}

fn regression_adjustment(case: &Case) -> Value {
    let slopes = match case.option_text("model") {
        "y ~ 1 + T + (x - mean x)" => Slopes::Common,
        "y ~ 1 + T + (x - mean x) + T*(x - mean x)" => Slopes::ByArm,
        other => panic!("unknown model `{other}`"),
    };
    assert_eq!((case.option_text("covariance"), case.option_text("reference")), ("HC2", "normal"));
    let is_treated: Vec<bool> = case.column(0).iter().map(|v| *v == 1.0).collect();
    let found = adjusted_effect(case.column(1), &is_treated, &[case.column(2)], slopes, 0.05).expect("an effect");
    let d = found.difference;
    json!({"coef": d.effect, "se": d.se, "z": d.effect / d.se, "p": d.p_value, "theta": found.theta[0]})
}

fn cluster_robust(case: &Case) -> Value {
    assert_eq!(case.option_text("treatment"), "cluster mod 2");
    assert!(case.option_text("covariance").starts_with("cluster CR1"));
    assert_eq!(case.option_text("reference"), "normal");
    let cluster: Vec<u64> = case.column(1).iter().map(|label| *label as u64).collect();
    let is_treated: Vec<bool> = cluster.iter().map(|label| label % 2 == 1).collect();
    let d = clustered_effect(case.column(0), &is_treated, &cluster, Reference::Normal, 0.05).expect("an effect");
    json!({"coef": d.effect, "se": d.se, "z": d.effect / d.se, "p": d.p_value})
}

fn post_stratification(case: &Case) -> Value {
    let strata: Vec<(Statistic, Statistic)> = case.inputs["strata"]
        .as_array()
        .expect("strata")
        .iter()
        .map(|s| (statistic(case, &s["control"]), statistic(case, &s["treatment"])))
        .collect();
    assert_eq!(case.option_text("df"), "Welch-Satterthwaite of the unstratified absolute difference");
    let found = post_stratify(&strata, scale(case)).expect("an estimate");
    let mut outputs = figures(&found.estimate.test(alternative(case), case.option("alpha")).expect("a test"));
    outputs["applied"] = (found.strata > 1).into();
    outputs
}
