//! Quantiles of events and of slices, and what crossed experiments do to ratios and quantiles, through the real program.
//!
//! In: the shop of `analyzed`, with a median of all amounts as a metric.  Out: `montauk analyze`'s figures, equal to those of the events, and
//! noise near what drawing units again and again (the bootstrap) says.
//! Never here: quantiles of one value per unit (`analyzed`), formulas (`experiment`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::analyzed::{
    UNTIL, amounts_of_events, analyze, analyze_with, close, country, expected, project, shop, write,
};
use crate::analyzed_parts::{arm, cross};
use crate::support::Dice;

/// Amounts of events, by unit.
type Units = Vec<Vec<f64>>;

fn with_median(project: &Path) {
    let metric = "kind = \"quantile\"\nquantile = 0.5\nquantile_of = \"events\"\n[fact]\ntable = \"marts.events\"\nvalue = \"amount\"\n";
    write(project, "metrics/price.toml", metric);
    let plan = fs::read_to_string(project.join("experiments/checkout.toml")).unwrap();
    let plan = plan.replace("secondary = [", "dimensions = [\"country\"]\nsecondary = [\"price\", ");
    write(project, "experiments/checkout.toml", &plan);
}

fn sorted(units: &Units) -> Vec<f64> {
    let mut all: Vec<f64> = units.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    all
}

/// Half of the events are at most this; between the two in the middle half way.
fn median(units: &Units) -> f64 {
    let all = sorted(units);
    let (below, above) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    0.5 * (below + above)
}

/// The variance of the median: that of independent events by order statistics 1.96 standard errors of a share to either side, times what
/// the share of events below it varies more between units than between independent events (Deng, Knoblich & Lu, KDD 2018, § 4).
fn variance(units: &Units) -> f64 {
    let (all, middle) = (sorted(units), median(units));
    let n = all.len() as f64;
    let half = 1.959_963_984_540_054 * (0.25 / n).sqrt();
    let at = |share: f64| all[(share * n).ceil() as usize - 1];
    let independent = ((at(0.5 + half) - at(0.5 - half)) / (2.0 * 1.959_963_984_540_054)).powi(2) * (n - 1.0) / n;
    let clusters = units.len() as f64;
    let below = |unit: &Vec<f64>| unit.iter().filter(|amount| **amount <= middle).count() as f64;
    let share = units.iter().map(below).sum::<f64>() / n;
    let residuals: f64 = units.iter().map(|unit| (below(unit) - share * unit.len() as f64).powi(2)).sum();
    let of_share = residuals / (clusters - 1.0) / clusters / (n / clusters).powi(2);
    independent * of_share / (0.25 / n)
}

/// The standard deviation of the median over 400 draws of as many units, with replacement.
fn bootstrapped(units: &Units, dice: &mut Dice) -> f64 {
    let draw = |dice: &mut Dice| -> f64 {
        let drawn: Units = (0..units.len()).map(|_| units[dice.below(units.len() as u64) as usize].clone()).collect();
        median(&drawn)
    };
    let medians: Vec<f64> = (0..400).map(|_| draw(dice)).collect();
    let mean = medians.iter().sum::<f64>() / 400.0;
    (medians.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / 399.0).sqrt()
}

fn row<'a>(rows: &'a Value, metric: &str) -> &'a Value {
    rows.as_array().unwrap().iter().find(|row| row["metric"] == metric).unwrap()
}

#[test]
fn a_quantile_of_events_has_the_noise_of_units() {
    let shop = shop();
    let dir = project(&shop);
    with_median(dir.path());
    let report = analyze_with(dir.path(), &["--until", UNTIL, "--by-day"]);
    let found = &row(&report["results"]["rows"], "price")["absolute"];
    let units = amounts_of_events(&shop, UNTIL, |_| true);
    let mut dice = Dice::new(12);
    for (place, variant) in [("control", "control"), ("treatment", "short")] {
        let (arm, of_arm) = (&found["comparison"][place], &units[variant]);
        assert_eq!(arm["n"], of_arm.len(), "{arm}");
        close(&arm["mean"], median(of_arm), variant);
        let variance_of_mean = arm["variance"].as_f64().unwrap() / of_arm.len() as f64;
        close(&variance_of_mean.into(), variance(of_arm), variant);
        // The bootstrap itself is good to about 1/√800; order statistics are rougher.
        let ratio = variance_of_mean.sqrt() / bootstrapped(of_arm, &mut dice);
        assert!((0.8..1.25).contains(&ratio), "{variant}: {ratio}");
    }
    // A slice is the same for its units.
    let slices = report["results"]["dimensions"][0]["slices"].as_array().unwrap();
    let of_slice = slices.iter().find(|slice| slice["value"] == "KR").unwrap();
    let units = amounts_of_events(&shop, UNTIL, |user| country(user) == "KR");
    let effect = &row(&of_slice["rows"], "price")["effect"];
    let (control, short) = (median(&units["control"]), median(&units["short"]));
    close(&effect["effect"], short / control - 1.0, "KR");
    let relative =
        (variance(&units["short"]) + variance(&units["control"]) * (short / control).powi(2)) / control.powi(2);
    close(&effect["se"], relative.sqrt(), "KR");
    // A day is the same with what was known then.
    let day = &report["days"][9];
    let units = amounts_of_events(&shop, &day["until"].as_str().unwrap()[..10], |_| true);
    close(&row(&day["rows"], "price")["effect"], median(&units["short"]) / median(&units["control"]) - 1.0, "day");
}

#[test]
fn ratios_and_quantiles_are_crossed_too() {
    let shop = shop();
    let dir = project(&shop);
    let project = dir.path();
    with_median(project);
    cross(project);
    let plan = fs::read_to_string(project.join("experiments/checkout.toml")).unwrap();
    let crossed = |primary: &str| {
        let mut text = plan.replace(&format!("\"{primary}\", "), "");
        text = text.replace("goals = [\"revenue\"]", &format!("goals = [\"{primary}\"]"));
        write(project, "experiments/checkout.toml", &text);
        let mut report = analyze_with(project, &["later", "--until", UNTIL, "--interactions"]);
        report["interactions"][0]["interaction"]["difference"].take()
    };
    let contrast = |of: &dyn Fn(&str, bool) -> (f64, f64)| {
        let [(cc, a), (ct, b), (tc, c), (tt, d)] =
            [of("control", false), of("control", true), of("short", false), of("short", true)];
        ((tt - tc) - (ct - cc), (a + b + c + d).sqrt())
    };
    let ratio = |variant: &str, is_new: bool| {
        let rows = &expected(&shop, UNTIL, |user| (arm(user) == "new") == is_new)["basket"][variant];
        let n = rows.len() as f64;
        let mean = |at: usize| rows.iter().map(|row| row[at]).sum::<f64>() / n;
        let (value, denominator) = (mean(0) / mean(1), mean(1));
        let residuals: f64 = rows.iter().map(|row| (row[0] - value * row[1]).powi(2)).sum();
        (value, residuals / (n - 1.0) / n / denominator.powi(2))
    };
    let (found, wanted) = (crossed("basket"), contrast(&ratio));
    close(&found["effect"], wanted.0, "ratio");
    close(&found["se"], wanted.1, "ratio");
    let by_arm: BTreeMap<bool, _> = [false, true]
        .map(|is_new| (is_new, amounts_of_events(&shop, UNTIL, |user| (arm(user) == "new") == is_new)))
        .into();
    let of_events = |variant: &str, is_new: bool| {
        let units = &by_arm[&is_new][variant];
        (median(units), variance(units))
    };
    let (found, wanted) = (crossed("price"), contrast(&of_events));
    close(&found["effect"], wanted.0, "quantile");
    close(&found["se"], wanted.1, "quantile");
    // Of the same rows without a window: what has none of its events is in no table.
    assert!(
        analyze(project, "2026-03-01")["results"]["rows"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["relative"].is_null())
    );
}
