//! The whole result document of another engine, rebuilt from our figures under its field names.
//!
//! In: the case of method `pipeline`.  Out: one document per metric with three analyses.
//! Never here: formulas.
//! Start at [`compute`].

use experiment::stats::analysis::{Settings, View, analyze};
use experiment::stats::distributions::chi_square_sf;
use experiment::stats::mid_experiment::Outlook;
use experiment::stats::moments::{Cuped, Mean};
use experiment::stats::{Scale, Statistic};
use serde_json::{Value, json};

use crate::case::{Case, number};
use crate::comparisons::pair;

fn arm(row: &Value) -> Cuped {
    let of = |name: &str| number(&row[format!("m0_{name}")]);
    let n = row["users"].as_u64().expect("units");
    let mean =
        |part: &str| Mean { n, sum: of(&format!("{part}_sum")), sum_squares: of(&format!("{part}_sum_squares")) };
    Cuped {
        n,
        post_statistic: mean("main"),
        pre_statistic: mean("covariate"),
        post_pre_sum_of_products: of("main_covariate_sum_product"),
    }
}

/// Counts, mean and spread of one arm.
fn arm_document(arm: &Cuped, sd: f64) -> Value {
    let mean = arm.post_statistic.mean();
    json!({
        "cr": mean, "value": arm.post_statistic.sum, "users": arm.n as f64, "denominator": 0.0,
        "stats": {"users": arm.n, "count": arm.n, "stddev": sd, "mean": mean},
    })
}

fn effect_document(view: &View, analysis: &Value, mde: f64) -> Value {
    let is_sequential = analysis["sequential_testing_enabled"] == true;
    let is_bayesian = analysis["stats_engine"] == "bayesian";
    let outlooks = view.figures.outlooks.expect("an mde was given");
    let outlook: Outlook = if is_sequential { outlooks.always_valid } else { outlooks.fixed };
    let e = &view.figures.estimate;
    let mut document = json!({
        "expected": e.effect, "errorMessage": null,
        "uplift": {"dist": "normal", "mean": e.effect, "stddev": e.se},
        "realizedSettings": {"postStratificationApplied": false},
        "power": {"status": "successful", "errorMessage": null, "firstPeriodPairwiseSampleSize": e.units, "targetMDE": mde,
            "sigmahat2Delta": e.se * e.se, "upperBoundAchieved": false, "scalingFactor": outlook.growth,
            "priorProper": null, "priorLiftMean": null, "priorLiftVariance": null},
    });
    if is_bayesian {
        let p = &view.figures.posterior;
        document["ci"] = pair(p.ci);
        document["chanceToWin"] = p.chance_to_win.into();
        document["risk"] = json!([p.risk_control, p.risk_treatment]);
        document["riskType"] = "relative".into();
        // The flat prior of the source, as it writes it.
        document["power"]["priorProper"] = false.into();
        document["power"]["priorLiftMean"] = 0.0.into();
        document["power"]["priorLiftVariance"] = 0.01.into();
    } else {
        let d = if is_sequential { &view.figures.always_valid } else { &view.figures.fixed };
        document["ci"] = pair(d.ci);
        document["pValue"] = d.p_value.into();
        document["pValueErrorMessage"] = Value::Null;
    }
    document
}

fn joined(mut a: Value, b: Value) -> Value {
    let fields = a.as_object_mut().expect("an object");
    fields.extend(b.as_object().expect("an object").clone());
    a
}

pub fn compute(case: &Case) -> Value {
    let metric = &case.inputs["metrics"]["m_rev"];
    let mde = number(&metric["target_mde"]);
    let rows = &case.inputs["query_results"][0]["rows"];
    let (control, treatment) = (arm(&rows[0]), arm(&rows[1]));
    let units = (control.n + treatment.n) as f64;
    let srm: f64 = [control.n, treatment.n].map(|n| (n as f64 - 0.5 * units).powi(2) / (0.5 * units)).iter().sum();
    let analyses: Vec<Value> = case.inputs["analyses"]
        .as_array()
        .expect("analyses")
        .iter()
        .map(|analysis| {
            assert_eq!((&analysis["difference_type"], &analysis["weights"]), (&json!("relative"), &json!([0.5, 0.5])));
            let settings = Settings { scale: Scale::Relative, prior: None, mde: Some(mde), ..Settings::default() };
            let found = analyze(&Statistic::Cuped(control), &Statistic::Cuped(treatment), &settings).expect("figures");
            let plain = found.unadjusted.expect("a covariate");
            let none = json!({"uncapped": null, "flatPrior": null, "unstratified": null, "noVarianceReduction": null});
            let with_plain = |document: Value, unadjusted: Value| {
                let supplemental = joined(none.clone(), json!({"cupedUnadjusted": unadjusted}));
                joined(document, json!({"supplementalResults": supplemental}))
            };
            let sd = |view: &View| [view.comparison.control.variance.sqrt(), view.comparison.treatment.variance.sqrt()];
            let (shown_sd, plain_sd) = (sd(&found.shown), sd(&plain));
            let treated =
                |view: &View, sd: f64| joined(arm_document(&treatment, sd), effect_document(view, analysis, mde));
            json!({"unknownVariations": [], "multipleExposures": 0.0, "dimensions": [{
            "dimension": "All", "srm": chi_square_sf(srm, 1.0), "variations": [
                with_plain(arm_document(&control, shown_sd[0]), arm_document(&control, plain_sd[0])),
                with_plain(treated(&found.shown, shown_sd[1]), treated(&plain, plain_sd[1])),
            ]}]})
        })
        .collect();
    json!([{"metric": metric["id"], "analyses": analyses}])
}
