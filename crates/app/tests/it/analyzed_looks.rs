//! Looks that were planned, through the real program: bounds of the tables, nothing in between, and what is told at the end.
//!
//! In: 200 new units on each of five days, with a pause.  Out: published bounds in `montauk analyze`.
//! Never here: error rates of looking (`experiment`'s tests), bounds for other shares (there as well).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use experiment::stats::stage_wise::stage_wise;
use serde_json::Value;

use crate::analyzed::{analyze, close, load, write};
use crate::support::{Dice, montauk};

/// New units come on the first four days and on the sixth.
const DAYS: [u32; 5] = [1, 2, 3, 4, 6];

fn project(project: &Path) {
    write(project, "montauk.toml", "[project]\nname = \"shop\"\n");
    let source = "kind = \"file\"\n[tables.exposures]\npath = \"data/exposures.csv\"\ninto = \"raw.exposures\"\n[tables.orders]\npath = \"data/orders.csv\"\ninto = \"raw.orders\"\n";
    write(project, "sources/shop.toml", source);
    let metric = "kind = \"mean\"\nwindow_days = 1\ncovariate_days = 0\ncap = false\n[fact]\ntable = \"raw.orders\"\nvalue = \"amount\"\n";
    write(project, "metrics/revenue.toml", metric);
    let (mut exposures, mut orders) =
        ("unit_id,experiment,variant,occurred_at\n".to_owned(), "user_id,amount,occurred_at\n".to_owned());
    let mut dice = Dice::new(31);
    for day in DAYS {
        for unit in 0..200 {
            let (user, variant) = (format!("u{day}-{unit}"), ["control", "short"][unit % 2]);
            let amount = 20 + dice.below(30) + 4 * (unit as u64 % 2);
            writeln!(exposures, "{user},checkout,{variant},2026-03-{day:02} 01:00:00").unwrap();
            writeln!(orders, "{user},{amount},2026-03-{day:02} 02:00:00").unwrap();
        }
    }
    write(project, "data/exposures.csv", &exposures);
    write(project, "data/orders.csv", &orders);
    plan(project, "");
    load(project);
}

fn plan(project: &Path, more: &str) {
    let text = "[assignment]\nkey = \"checkout\"\nvariants = [{ key = \"control\", value = false }, { key = \"short\", value = true }]\n\
                [analysis]\nexposures = \"raw.exposures\"\nstart = \"2026-03-01T00:00:00Z\"\ngoals = [\"revenue\"]\n\
                sequential = \"group\"\nplanned_units = 1000\nlooks = [0.2, 0.4, 0.6, 0.8]\nmax_data_age_hours = 200\n";
    write(project, "experiments/checkout.toml", &format!("{text}{more}"));
}

fn row(project: &Path, until: &str) -> Value {
    analyze(project, until)["results"]["rows"][0].take()
}

/// The bound, seen in the interval that decides.
fn bound(row: &Value) -> f64 {
    let estimate = &row["relative"]["figures"]["estimate"];
    let number = |value: &Value| value.as_f64().unwrap();
    let bound = (number(&row["shown"]["upper"]) - number(&estimate["effect"])) / number(&estimate["se"]);
    close(&row["look"]["bound"], bound, "bound");
    bound
}

#[test]
fn looks_have_the_bounds_of_the_tables_and_nothing_is_claimed_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    project(dir);
    // Lan & DeMets, O'Brien & Fleming type, five looks, two-sided .05: 4.877 3.357 2.680 2.290 2.031.
    for (until, published) in [("2026-03-02", 4.877), ("2026-03-03", 3.357), ("2026-03-07", 2.031)] {
        let found = bound(&row(dir, until));
        assert!((found - published).abs() < 6e-4, "{until}: {found}");
    }
    // The fifth of March: nobody new since the look before.
    let between = row(dir, "2026-03-06");
    assert!(between["shown"].is_null() && between["look"].is_null() && between["relative"].is_object(), "{between}");
    // At the end everything is told in the order of looks, as of the bounds that were passed.
    let end = row(dir, "2026-03-07");
    let estimate = &end["relative"]["figures"]["estimate"];
    let (effect, se) = (estimate["effect"].as_f64().unwrap(), estimate["se"].as_f64().unwrap());
    let bounds = [4.876_88, 3.357_01, 2.680_28, 2.289_82];
    let wanted = stage_wise(&[0.2, 0.4, 0.6, 0.8, 1.0], &bounds, effect / se, 0.05).unwrap();
    let stopped = &end["look"]["stopped"];
    assert!((stopped["p_value"].as_f64().unwrap() - wanted.p_value).abs() < 1e-6, "{stopped}");
    assert!((stopped["estimate"].as_f64().unwrap() - wanted.estimate * se).abs() < 1e-5, "{stopped}");
    let shown = montauk().arg("-C").arg(dir).args(["analyze", "--until", "2026-03-03"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("look at 40.0 % of the planned units") && shown.contains("bound 3.357"), "{shown}");
    // The Pocock type at the same looks: 2.438 2.427 2.410 2.397 2.386.
    plan(dir, "spending = \"pocock\"\n");
    for (until, published) in [("2026-03-03", 2.427), ("2026-03-07", 2.386)] {
        let found = bound(&row(dir, until));
        assert!((found - published).abs() < 6e-4, "{until}: {found}");
    }
    // Three looks by γ = −4, each side at .025: gsDesign's default design, 3.01 2.55 2.00.
    plan(dir, "spending = { hwang_shih_decani = -4 }\n");
    let thirds = fs::read_to_string(dir.join("experiments/checkout.toml")).unwrap();
    let thirds =
        thirds.replace("planned_units = 1000", "planned_units = 600").replace("0.2, 0.4, 0.6, 0.8", "0.33, 0.66");
    write(dir, "experiments/checkout.toml", &thirds);
    for (until, published) in [("2026-03-02", 3.0107), ("2026-03-03", 2.5465), ("2026-03-04", 1.9992)] {
        let found = bound(&row(dir, until));
        assert!((found - published).abs() < 6e-4, "{until}: {found}");
    }
}

#[test]
fn spending_that_cannot_be_followed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path());
    for (more, said) in [
        ("spending = \"haybittle\"\n", "`haybittle` is not a value of this key"),
        ("spending = { power = 0 }\n", "`rho` is `0`"),
        ("spending = { hwang_shih_decani = 99 }\n", "`gamma` is `99`"),
    ] {
        plan(dir.path(), more);
        let output = montauk().arg("-C").arg(dir.path()).arg("analyze").output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(3) && text.contains(said), "{more}: {text}");
    }
    plan(dir.path(), "spending = \"pocock\"\n");
    let text = fs::read_to_string(dir.path().join("experiments/checkout.toml")).unwrap();
    let text = text.replace("sequential = \"group\"\n", "").replace("looks = [0.2, 0.4, 0.6, 0.8]\n", "");
    write(dir.path(), "experiments/checkout.toml", &text);
    let output = montauk().arg("-C").arg(dir.path()).arg("analyze").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("spends at looks"), "{said}");
}
