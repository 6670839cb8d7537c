//! Parts of an experiment through the real program: slices of units, and what was known on each day.
//!
//! In: the shop of `analyzed`, with countries on its exposures and tiers in a table of customers.  Out: `montauk analyze`'s figures, equal to
//! sums over the events of those units, and of those days, themselves.
//! Never here: figures of the whole experiment (`analyzed`), what a figure means (`experiment`).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use experiment::stats::always_valid::always_valid;
use experiment::stats::heterogeneity::{SliceEffect, heterogeneity};
use experiment::stats::{Alternative, Scale};
use serde_json::Value;

use crate::analyzed::{
    UNTIL, analyze, analyze_with, close, compared, country, expected, load, project, revenue_since, shop, tier, write,
};

fn slice<'a>(dimension: &'a Value, value: &str) -> &'a Value {
    let slices = dimension["slices"].as_array().unwrap();
    slices.iter().find(|slice| slice["value"] == value).unwrap_or_else(|| panic!("no {value}: {dimension}"))
}

#[test]
fn slices_are_those_of_their_units_events() {
    let shop = shop();
    let dir = project(&shop);
    let project = dir.path();
    let mut customers = "customer,tier\n".to_owned();
    (0..1_200).for_each(|unit| writeln!(customers, "u{unit},{}", tier(&format!("u{unit}"))).unwrap());
    write(project, "data/customers/all.csv", &customers);
    let source = fs::read_to_string(project.join("sources/shop.toml")).unwrap();
    let table = "[tables.customers]\npath = \"data/customers/*\"\ninto = \"raw.customers\"\n";
    write(project, "sources/shop.toml", &format!("{source}{table}"));
    load(project);
    let plan = fs::read_to_string(project.join("experiments/checkout.toml")).unwrap();
    let dimensions =
        "dimensions = [\"country\", { column = \"tier\", table = \"raw.customers\", unit = \"customer\" }]\n";
    write(project, "experiments/checkout.toml", &format!("{plan}{dimensions}dimension_values = 2\n"));
    let report = analyze(project, UNTIL);
    let found = report["results"]["dimensions"].as_array().unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    let is_other = |user: &str| ["FR", ""].contains(&country(user));
    check(&found[0], "KR", &|user| country(user) == "KR");
    check(&found[0], "DE", &|user| country(user) == "DE");
    check(&found[0], "other", &is_other);
    check(&found[1], "gold", &|user| tier(user) == "gold");
    check(&found[1], "plain", &|user| tier(user) == "plain");
    // The same Q as of the effects that were checked above.
    for dimension in found {
        let difference =
            dimension["differences"].as_array().unwrap().iter().find(|it| it["metric"] == "revenue").unwrap();
        let effects: Vec<SliceEffect> =
            (dimension["slices"].as_array().unwrap().iter())
                .map(|slice| {
                    &slice["rows"].as_array().unwrap().iter().find(|row| row["metric"] == "revenue").unwrap()["effect"]
                })
                .map(|it| SliceEffect { effect: it["effect"].as_f64().unwrap(), se: it["se"].as_f64().unwrap() })
                .collect();
        close(&difference["heterogeneity"]["q"], heterogeneity(&effects).unwrap().q, "q");
        assert!(difference["adjusted_p"].as_f64() >= difference["heterogeneity"]["p_value"].as_f64());
    }
    // With room for all, who has no country is unknown, and nobody is another.
    write(project, "experiments/checkout.toml", &format!("{plan}dimensions = [\"country\"]\n"));
    let report = analyze(project, UNTIL);
    let dimension = &report["results"]["dimensions"][0];
    check(dimension, "unknown", &|user| country(user).is_empty());
    check(dimension, "FR", &|user| country(user) == "FR");
    assert_eq!(dimension["slices"].as_array().unwrap().len(), 4, "{dimension}");
}

fn check(dimension: &Value, value: &str, is_meant: &dyn Fn(&str) -> bool) {
    let slice = slice(dimension, value);
    let expected = expected(&shop(), UNTIL, is_meant);
    let rows = slice["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 10, "{slice}");
    for row in rows {
        let metric = row["metric"].as_str().unwrap();
        // Of a rare thing a small slice can have none in control, and a lift over nothing is none.
        let Ok(estimate) = compared(metric, &expected[metric]).estimate(Scale::Relative) else {
            assert!(row["effect"].is_null() && row["problem"].is_string(), "{row}");
            continue;
        };
        close(&row["effect"]["effect"], estimate.effect, &format!("{value} {metric}"));
        close(&row["effect"]["se"], estimate.se, &format!("{value} {metric}"));
    }
    let units = |variant: &str| expected["revenue"][variant].len() as u64;
    assert_eq!(slice["units"], serde_json::json!([units("control"), units("short")]), "{value}");
}

#[test]
fn each_day_says_what_was_known_on_it() {
    let shop = shop();
    let dir = project(&shop);
    let report = analyze_with(dir.path(), &["--until", UNTIL, "--by-day"]);
    let days = report["days"].as_array().unwrap();
    // From the second of March, when the first day is over, to the twentieth.
    assert_eq!(days.len(), 19, "{days:?}");
    let mut least = f64::INFINITY;
    for day in days {
        let until = &day["until"].as_str().unwrap()[..10];
        let expected = expected(&shop, until, |_| true);
        for row in day["rows"].as_array().unwrap() {
            let metric = row["metric"].as_str().unwrap();
            let Some(wanted) = expected.get(metric).filter(|of| of.len() == 2) else { continue };
            if metric == "high" || row["effect"].is_null() {
                continue;
            }
            let estimate = compared(metric, wanted).estimate(Scale::Relative).unwrap();
            close(&row["effect"], estimate.effect, &format!("{until} {metric}"));
        }
        let primary = day["rows"].as_array().unwrap().iter().find(|row| row["metric"] == "revenue").unwrap();
        assert!(primary["effect"].is_number(), "{day}");
        least = least.min(primary["always_valid_p"].as_f64().unwrap());
        assert_eq!(primary["least_p"].as_f64(), Some(least));
    }
    // The last day is today, and before the planned end the running level is shown.
    let rows = |of: &Value| of["rows"].as_array().unwrap()[0].clone();
    let (first, last, today) = (rows(&days[0]), rows(&days[18]), rows(&report["results"]));
    assert_eq!(last["shown_alpha"], today["shown_alpha"]);
    close(&last["shown"]["upper"], today["shown"]["upper"].as_f64().unwrap(), "today");
    assert_eq!(first["shown_alpha"], 0.01);
    let without = analyze(dir.path(), UNTIL);
    assert!(without["days"].as_array().unwrap().is_empty() && without["novelty"].as_array().unwrap().is_empty());
}

#[test]
fn the_lift_of_each_day_since_exposure_is_that_of_its_events() {
    let shop = shop();
    let dir = project(&shop);
    // Every exposure lies before it, and the units exposed last have not had all their days by then.
    let until = "2026-03-15";
    let report = analyze_with(dir.path(), &["--until", until, "--by-day"]);
    let rows = report["novelty"].as_array().unwrap();
    let of = |metric: &str| rows.iter().find(|row| row["metric"] == metric);
    let days = of("revenue").unwrap()["days"].as_array().unwrap();
    let cap = report["results"]["rows"][0]["cap"].as_f64().unwrap();
    // The day of exposure, six whole ones, and what is left of the seventh times 24 hours.
    assert_eq!(days.len(), 8, "{days:?}");
    for (place, day) in days.iter().enumerate() {
        let values = revenue_since(&shop, until, place as i64, cap);
        let estimate = compared("revenue", &values).estimate(Scale::Relative).unwrap();
        close(&day["effect"], estimate.effect, &format!("day {place}"));
        let band = always_valid(&estimate, Alternative::TwoSided, 0.05, 5_000.0).unwrap().ci;
        close(&day["band"]["lower"], band.lower, &format!("day {place}"));
        assert_eq!(day["units"], serde_json::json!([values["short"].len(), values["control"].len()]), "day {place}");
    }
    assert!(of("revenue").unwrap()["trend"]["se"].as_f64().unwrap() > 0.0);
    // Who comes back four days later has no day before that; a funnel and a quantile have none at all.
    assert_eq!(of("back").unwrap()["days"][0]["day"], 4, "{rows:?}");
    assert!(of("path").is_none() && of("high").is_none());
}

/// The half of a second experiment that a unit is in.
pub(crate) fn arm(user: &str) -> &'static str {
    if user.ends_with(['0', '1', '2', '3', '4']) { "old" } else { "new" }
}

/// A second experiment, `banner`, with the same units.
pub(crate) fn cross(project: &Path) {
    // Every unit is in a second experiment as well, by the last digit of its name.
    let exposures = fs::read_to_string(project.join("data/exposures/all.csv")).unwrap();
    let mut more = "unit_id,experiment,variant,occurred_at,forced,country\n".to_owned();
    for line in exposures.lines().filter(|line| line.contains(",checkout,")) {
        let user = line.split(',').next().unwrap();
        let at = line.split(',').nth(3).unwrap();
        writeln!(more, "{user},banner,{},{at},false,KR", arm(user)).unwrap();
    }
    write(project, "data/exposures/more.csv", &more);
    let plan = fs::read_to_string(project.join("experiments/checkout.toml")).unwrap();
    let plan = plan.replace("key = \"checkout\"", "key = \"banner\"");
    let plan = plan.replace("key = \"control\"", "key = \"old\"").replace("key = \"short\"", "key = \"new\"");
    // The first of the pair, in the order of the names, is the one whose metric is looked at.
    write(project, "experiments/later.toml", &plan);
    load(project);
}

#[test]
fn experiments_that_share_units_are_crossed() {
    let shop = shop();
    let dir = project(&shop);
    cross(dir.path());
    let report = analyze_with(dir.path(), &["later", "--until", UNTIL, "--interactions"]);
    let rows = report["interactions"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{report}");
    let of = |is_new: bool| expected(&shop, UNTIL, move |user| (arm(user) == "new") == is_new);
    let (old, new) = (of(false), of(true));
    let moments = |values: &crate::analyzed::Values, variant: &str| {
        let of = &values[variant];
        let mean = of.iter().map(|row| row[0]).sum::<f64>() / of.len() as f64;
        let squares = of.iter().map(|row| (row[0] - mean).powi(2)).sum::<f64>();
        (mean, squares / (of.len() as f64 - 1.0) / of.len() as f64)
    };
    let cells =
        ["control", "short"].map(|variant| (moments(&old["revenue"], variant), moments(&new["revenue"], variant)));
    let [((cc, a), (ct, b)), ((tc, c), (tt, d))] = cells;
    close(&rows[0]["interaction"]["difference"]["effect"], (tt - tc) - (ct - cc), "interaction");
    close(&rows[0]["interaction"]["difference"]["se"], (a + b + c + d).sqrt(), "interaction");
    assert_eq!((&rows[0]["first"], &rows[0]["second"]), (&"checkout".into(), &"banner".into()));
}
