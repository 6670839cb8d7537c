//! `montauk metric trust` through the real program: metrics that find what chance finds, and one that a single customer decides.
//!
//! In: the shop of `analyzed`, whose days of March are the past of April.  Out: scores, kept for the launch checklist.
//! Never here: splits and scores of made-up numbers (`experiment::a_a`).

use std::fs;
use std::path::Path;

use chrono::Utc;
use pipeline::metric_trust::{latest, scores};
use pipeline::project::Project;
use serde_json::Value;

use crate::analyzed::{load, project, shop, write};
use crate::support::{montauk, run};

fn trust(project: &Path, arguments: &[&str]) -> Value {
    let mut command = montauk();
    command.arg("-C").arg(project).args(["--json", "metric", "trust", "--until", "2026-03-20", "--history-days", "20"]);
    run(command.args(arguments))
}

fn of<'a>(found: &'a Value, metric: &str) -> &'a Value {
    let found = found.as_array().unwrap().iter().find(|found| found["metric"] == metric);
    found.unwrap_or_else(|| panic!("no {metric}"))
}

#[test]
fn metrics_are_tried_on_the_past_and_the_newest_result_is_kept() {
    let dir = project(&shop());
    let project = dir.path();
    let median = "kind = \"quantile\"\nquantile = 0.5\nquantile_of = \"events\"\n[fact]\ntable = \"marts.events\"\nvalue = \"amount\"\n";
    write(project, "metrics/price.toml", median);
    let uncapped = "kind = \"mean\"\ncap = false\ncovariate_days = 0\n[fact]\ntable = \"marts.events\"\nvalue = \"amount\"\nwhere = \"kind = 'buy'\"\n";
    write(project, "metrics/uncapped.toml", uncapped);
    let found = trust(project, &["revenue", "basket", "price", "--draws", "300"]);
    for metric in ["revenue", "basket", "price"] {
        let trust = &of(&found, metric)["trust"];
        let (rate, interval) = (trust["rate"].as_f64().unwrap(), &trust["rate_interval"]);
        assert!(trust["units"].as_u64().unwrap() > 500 && trust["failed"] == 0, "{metric}: {trust}");
        assert!(rate < 0.1 && interval[0].as_f64().unwrap() <= rate && rate <= interval[1].as_f64().unwrap());
        assert!(trust["score"].as_f64().unwrap() > 0.5, "{metric}: {trust}");
    }
    // The same seed, the same splits; and another one, others.
    let again = trust(project, &["revenue", "--draws", "300"]);
    assert_eq!(of(&again, "revenue")["trust"]["tenths"], of(&found, "revenue")["trust"]["tenths"]);
    let other = trust(project, &["revenue", "--draws", "300", "--seed", "2"]);
    assert_ne!(of(&other, "revenue")["trust"]["tenths"], of(&found, "revenue")["trust"]["tenths"]);
    // One customer spends a thousand times what all others do together, and nobody caps it.
    let whale = "user_id,kind,item,amount,occurred_at\nwhale,buy,1,90000000,2026-03-10 10:00:00\n";
    write(project, "data/events/whale.csv", whale);
    load(project);
    let spoilt = trust(project, &["uncapped", "--draws", "300"]);
    assert!(of(&spoilt, "uncapped")["trust"]["score"].as_f64().unwrap() < 0.1, "{spoilt}");
    let kept = fs::read_to_string(project.join(".montauk/reports/metrics/revenue.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), other[0]);
    let read = Project::open(project).unwrap();
    let scores = scores(&read).unwrap();
    assert_eq!(scores.keys().map(String::as_str).collect::<Vec<_>>(), ["basket", "price", "revenue", "uncapped"]);
    let revenue = latest(&read, "revenue").unwrap().unwrap();
    assert_eq!((revenue.seed, revenue.trust.unwrap().score), (2, scores["revenue"]));
    assert!(revenue.at <= Utc::now());
}

#[test]
fn who_names_no_metric_and_who_has_no_past_is_told() {
    let dir = project(&shop());
    let output = montauk().arg("-C").arg(dir.path()).args(["metric", "trust"]).output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("METRIC"));
    let output = montauk().arg("-C").arg(dir.path()).args(["metric", "trust", "revenu"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `revenue`?"));
    let found =
        run(montauk().arg("-C").arg(dir.path()).args(["--json", "metric", "trust", "--all", "--until", "2020-01-01"]));
    assert!(found.as_array().unwrap().iter().all(|it| it["trust"].is_null() && it["problem"].is_string()), "{found}");
}
