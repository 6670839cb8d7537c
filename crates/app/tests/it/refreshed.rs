//! Experiments that nobody looks after, through the real binary: docs/how-to/keep-tests-running.md as it stands, and what goes wrong beside it.
//!
//! In: the page, whose files and commands make the project of every test here.  Out: nothing.
//! Never here: what is due when (`experiment`), rights of rules (`control`).
//! Start at `tests_keep_running_as_the_page_says`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::decided::{Running, decide};
use crate::first_test::{shell, without_moments};
use crate::support::{Dice, csv, montauk, page, repository};

const PAGE: &str = "docs/how-to/keep-tests-running.md";
const DAYS: [&str; 3] = ["2026-11-02T09:05:00Z", "2026-11-03T09:05:00Z", "2026-11-04T09:10:00Z"];

/// Walks the page up to the first block that `is_end` takes; how many outputs were compared.
fn walk(home: &Path, is_end: impl Fn(&str) -> bool) -> usize {
    let project = home.join("shop");
    let (mut printed, mut compared) = (String::new(), 0);
    for (language, block) in page(&repository().join(PAGE)) {
        if is_end(&block) {
            break;
        }
        let file = block.lines().next().and_then(|line| line.strip_prefix("# "));
        match (language.as_str(), file) {
            ("sh", _) if block.starts_with("montauk init") => printed = shell(home, &block),
            ("sh", _) => printed = shell(&project, &block),
            ("toml", Some(file)) => {
                let path = project.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, &block).unwrap();
            }
            ("", _) => {
                assert_eq!(comparable(&printed), comparable(&block), "{PAGE} prints something else");
                compared += 1;
            }
            ("crontab", _) => {
                let words: Vec<&str> = block.split_whitespace().collect();
                assert_eq!(
                    (words[5], words[8], &words[9..]),
                    ("cd", "montauk", &["experiment", "refresh", "--quiet"][..])
                );
            }
            // For another program: that the server understands the attribute is tested below.
            ("js", _) => assert!(block.contains("montauk_preview"), "{block}"),
            (other, file) => panic!("the page has a block of `{other}` ({file:?}), which nobody tests"),
        }
    }
    compared
}

/// Sizes of files depend on compression, tokens on chance.
fn comparable(text: &str) -> String {
    let is_size = |word: &str| word.len() > 3 && word.contains('.') && word.parse::<f64>().is_ok();
    let line = |line: &str| {
        let words = line.split(' ').map(|word| if is_size(word) && line.contains(" kB") { "0.0" } else { word });
        // A longer size makes a longer rule.
        let words = words.map(|word| if word.starts_with('─') { "─" } else { word });
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    without_moments(text).lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The shop of the page, its experiment approved and not started.
fn approved() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    walk(home.path(), |block| block.starts_with("montauk experiment refresh"));
    let project = home.path().join("shop");
    (home, project)
}

fn refresh(project: &Path, arguments: &[&str]) -> (i32, Value) {
    decide(project, &[&["experiment", "refresh"], arguments].concat())
}

fn alerts(project: &Path) -> Vec<Value> {
    let text = fs::read_to_string(project.join(".montauk/reports/experiments/alerts.ndjson")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What rules did: verb and reason.
fn acts(project: &Path) -> Vec<(String, String)> {
    let (_, entries) = decide(project, &["experiment", "audit", "checkout"]);
    let by_rule = entries.as_array().unwrap().iter().rev().filter(|entry| entry["via"] == "rule");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    by_rule.map(|entry| (text(&entry["verb"]), text(&entry["reason"]))).collect()
}

#[test]
fn tests_keep_running_as_the_page_says() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(walk(home.path(), |_| false), 6);
    let project = home.path().join("shop");
    // Nothing is left to do, and nothing is told twice.
    let told = alerts(&project).len();
    let (code, report) = refresh(&project, &["--at", "2026-11-04T10:10:00Z"]);
    assert_eq!((code, &report["experiments"]), (0, &json!([])), "{report}");
    assert_eq!(alerts(&project).len(), told);
}

#[test]
fn a_refresh_does_what_is_due_once_and_says_it_as_json() {
    let (_home, project) = approved();
    let (code, started) = refresh(&project, &["--at", DAYS[0]]);
    let one = &started["experiments"][0];
    assert_eq!(
        (code, &one["due"]["due"], &one["done"], &one["results"]),
        (0, &json!("start"), &json!(true), &json!("not_due"))
    );
    // Once it runs, results are due; and a second refresh has nothing to do.
    let again = ["computed", "not due"].map(|_| refresh(&project, &["--at", DAYS[0]]).1["experiments"][0].clone());
    assert_eq!([&again[0]["results"], &again[1]["results"]], [&json!("done"), &json!("not_due")]);
    assert_eq!([&again[0]["due"], &again[1]["due"]], [&Value::Null, &Value::Null]);
    assert_eq!(again[0]["revision"], one["revision"], "looking is no change");

    let (_, dry) = refresh(&project, &["--at", DAYS[1], "--dry-run"]);
    let scan = &dry["experiments"][0]["scan"];
    let rows: u64 = ["raw.exposures", "raw.events"]
        .map(|table| {
            csv(&project, &format!("select count(*) from {table}")).lines().nth(1).unwrap().parse::<u64>().unwrap()
        })
        .iter()
        .sum();
    assert_eq!(scan["rows"], json!(rows));
    assert!(scan["bytes"].as_u64().unwrap() > 1_000 && scan["tables"].as_array().unwrap().len() == 2, "{scan}");
    assert_eq!(acts(&project).len(), 1, "a dry run changes nothing");

    let (_, ramped) = refresh(&project, &["checkout", "--at", DAYS[1]]);
    assert_eq!(ramped["experiments"][0]["due"], json!({ "due": "ramp", "coverage": 0.25 }));
    let (_, well) = refresh(&project, &["--at", "2026-11-03T23:10:00Z"]);
    let one = &well["experiments"][0];
    assert_eq!((&one["results"], &one["due"], &one["alerts"]), (&json!("done"), &Value::Null, &json!([])), "{well}");
    let (code, stopped) = refresh(&project, &["--at", DAYS[2]]);
    let one = &stopped["experiments"][0];
    assert_eq!((code, &one["state"]), (0, &json!("paused")), "{stopped}");
    assert_eq!(one["due"]["because"][0]["code"], "guardrail");
    assert_eq!(one["due"]["proposal"]["verdict"]["code"], "roll_back");
    assert_eq!(one["due"]["proposal"]["arm"], "control");
    let kinds: Vec<String> =
        alerts(&project).iter().map(|alert| format!("{} {}", alert["alert"], alert["verb"])).collect();
    assert_eq!(kinds, [r#""done" "start""#, r#""done" "ramp""#, r#""done" "stop""#]);
    // Killed after it had acted and before it could say so: the next one says it.
    let told = alerts(&project);
    fs::remove_file(project.join(".montauk/reports/experiments/alerts.ndjson")).unwrap();
    let (_, late) = refresh(&project, &["--at", "2026-11-04T09:15:00Z"]);
    assert_eq!(late["experiments"][0]["due"], Value::Null, "{late}");
    let revisions = |alerts: &[Value]| alerts.iter().map(|alert| alert["revision"].clone()).collect::<Vec<_>>();
    assert_eq!(revisions(&alerts(&project)), revisions(&told));
    let (code, unknown) = refresh(&project, &["cehckout"]);
    assert_eq!((code, &unknown["error"]["code"]), (3, &json!("not_found")), "{unknown}");
}

#[test]
fn a_schedule_that_cannot_be_followed_is_one_error_with_its_place() {
    let (_home, project) = approved();
    let path = project.join("experiments/checkout.toml");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to, key) in [
        ("refresh = \"hourly\"", "refresh = \"never\"", "refresh = "),
        ("coverage = 0.25", "coverage = 2.5", "ramp = ["),
        ("start = \"2026-11-02T09", "start = \"2026-10-02T09", "start = \"2026-10"),
    ] {
        let wrong = text.replace(from, to);
        let line = wrong.lines().position(|line| line.starts_with(key)).unwrap() + 1;
        fs::write(&path, &wrong).unwrap();
        let (code, report) = decide(&project, &["experiment", "plan"]);
        let error = &report["error"];
        assert_eq!((code, &error["code"], &error["line"]), (3, &json!("bad_schedule"), &json!(line)), "{report}");
    }
}

#[test]
fn one_that_cannot_be_analyzed_keeps_nobody_else_from_being_watched() {
    let (_home, project) = approved();
    let page = fs::read_to_string(project.join("experiments/checkout.toml")).unwrap();
    fs::create_dir_all(project.join("models/marts")).unwrap();
    fs::write(project.join("models/marts/later.sql"), "-- materialized: view\nselect * from raw.exposures\n").unwrap();
    // Never built; by its key it comes first. Its exposures come in, so that it starts.
    fs::write(
        project.join("metrics/later.toml"),
        "kind = \"count\"\n[fact]\ntable = \"marts.later\"\nunit = \"unit_id\"\n",
    )
    .unwrap();
    let broken = page.replace("\"checkout\"", "\"basket\"").replace("\"ordered\"", "\"later\"").replace("0.05", "0.04");
    fs::write(project.join("experiments/basket.toml"), broken.replace("2026-11-30", "2026-11-20")).unwrap();
    shell(
        &project,
        "montauk experiment apply\nmontauk experiment submit basket\n\
         MONTAUK_TOKEN=$(montauk token create yuna) montauk experiment approve basket",
    );
    assert_eq!(refresh(&project, &["--at", DAYS[0]]).0, 0);
    let (code, report) = refresh(&project, &["--at", DAYS[1]]);
    let of = |report: &Value, key: &str| -> Value {
        let all = report["experiments"].as_array().unwrap();
        all.iter().find(|one| one["key"] == key).unwrap().clone()
    };
    assert_eq!((code, &report["failed"]), (4, &json!(1)), "{report}");
    let (basket, checkout) = (of(&report, "basket"), of(&report, "checkout"));
    assert_eq!((&basket["results"], &basket["due"]["due"]), (&json!("failed"), &json!("hold")), "{basket}");
    assert!(basket["failure"]["detail"].as_str().unwrap().contains("marts.later"), "{basket}");
    assert_eq!(basket["alerts"][0]["alert"], "failed");
    assert_eq!((&checkout["due"]["due"], &checkout["done"]), (&json!("ramp"), &json!(true)), "{checkout}");
    // It still ends when it was to end, with nothing to propose.
    let (code, ended) = refresh(&project, &["basket", "--at", "2026-11-20T00:05:00Z"]);
    let basket = of(&ended, "basket");
    assert_eq!((code, &basket["state"], &basket["due"]["proposal"]), (4, &json!("paused"), &Value::Null), "{ended}");
}

#[test]
fn a_start_whose_exposures_cannot_be_read_keeps_nobody_else_from_starting() {
    let (_home, project) = approved();
    let page = fs::read_to_string(project.join("experiments/checkout.toml")).unwrap();
    fs::create_dir_all(project.join("models/marts")).unwrap();
    let view = "-- materialized: view\nselect unit_id, experiment, variant, 'soon' as occurred_at from raw.exposures\n";
    fs::write(project.join("models/marts/broken.sql"), view).unwrap();
    let broken =
        page.replace("\"checkout\"", "\"basket\"").replace("raw.exposures", "marts.broken").replace("0.05", "0.04");
    fs::write(project.join("experiments/basket.toml"), broken).unwrap();
    shell(
        &project,
        "montauk build\nmontauk experiment apply\nmontauk experiment submit basket\n\
         MONTAUK_TOKEN=$(montauk token create yuna) montauk experiment approve basket",
    );
    let (code, report) = refresh(&project, &["--at", DAYS[0]]);
    let all = report["experiments"].as_array().unwrap();
    let of = |key: &str| all.iter().find(|one| one["key"] == key).unwrap();
    assert_eq!((code, &report["failed"]), (4, &json!(1)), "{report}");
    assert_eq!((&of("basket")["state"], &of("basket")["done"]), (&json!("review"), &json!(false)), "{report}");
    assert!(of("basket")["failure"]["detail"].is_string(), "{report}");
    assert_eq!(of("basket")["alerts"][0]["alert"], "failed", "{report}");
    assert_eq!((&of("checkout")["state"], &of("checkout")["done"]), (&json!("running"), &json!(true)), "{report}");
}

#[test]
fn killed_refreshes_are_completed_and_nothing_is_done_or_told_twice() {
    let (_home, project) = approved();
    let mut dice = Dice::new(41);
    let mut killed = 0;
    for day in DAYS {
        for life in 0..6 {
            let mut command: Command = montauk();
            command.arg("-C").arg(&project).args(["experiment", "refresh", "--at", day]).env("USER", "mina");
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(5 + dice.below(80 * (1 + life))));
            if child.try_wait().unwrap().is_none() {
                killed += 1;
            }
            let _ = child.kill();
            child.wait().unwrap();
        }
        // What starts or ramps makes results due anew: one more look sees nothing left.
        for _ in 0..2 {
            let (code, report) = refresh(&project, &["--at", day]);
            assert_eq!(code, 0, "{report}");
        }
    }
    assert!(killed > 0, "every life had come to its end");
    let expected = ["start", "ramp", "stop"];
    assert_eq!(acts(&project).iter().map(|(verb, _)| verb.as_str()).collect::<Vec<_>>(), expected);
    let told: Vec<Value> = alerts(&project).into_iter().filter(|alert| alert["alert"] == "done").collect();
    assert_eq!(told.iter().map(|alert| alert["verb"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    let (_, record) = decide(&project, &["experiment", "show", "checkout"]);
    assert_eq!((&record["state"], &record["assignment"]["coverage"]), (&json!("paused"), &json!(0.25)));
    assert_eq!(record["proposal"]["verdict"]["code"], "roll_back");
    let mut snapshots: Vec<PathBuf> =
        fs::read_dir(project.join(".montauk/experiments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    snapshots.sort();
    let newest: Value = serde_json::from_slice(&fs::read(snapshots.last().unwrap()).unwrap()).unwrap();
    assert_eq!(newest["experiments"][0]["state"], "paused");
}

#[test]
fn a_preview_link_forces_a_variant_of_a_draft_until_it_ends() {
    let home = tempfile::tempdir().unwrap();
    walk(home.path(), |block| block.starts_with("montauk extract"));
    let project = home.path().join("shop");
    assert_eq!(decide(&project, &["experiment", "apply"]).0, 0);
    let connection = r#"{"kind": "connection", "client_key": "", "name": "web shop"}"#;
    let (_, connection) = decide(&project, &["thing", "put", connection]);
    let key = connection["thing"]["client_key"].as_str().unwrap().to_owned();
    let (code, made) =
        decide(&project, &["experiment", "preview", "checkout", "short", "--url", "https://shop.example/a?b=c"]);
    let token = made["unit"].as_str().unwrap();
    assert_eq!((code, &made["link"]), (0, &json!(format!("https://shop.example/a?b=c&montauk_preview={token}"))));
    let serve = Running::start(&project, &["serve", "--listen", "127.0.0.1:0"]);
    let ofrep = |token: &str| {
        let context = json!({ "context": { "targetingKey": "u1", "montauk_preview": token } });
        serve.send(&key, "POST", "/ofrep/v1/evaluate/flags/checkout", &context).1
    };
    let shown = ofrep(token);
    assert_eq!((&shown["value"], &shown["metadata"]["forced"]), (&json!(true), &json!(true)), "{shown}");
    let other = ofrep("0000000000000000");
    assert_eq!((&other["value"], &other["metadata"]["forced"]), (&json!(false), &Value::Null), "{other}");
    // GrowthBook's remote evaluation gives the value without an exposure to track.
    let body = json!({ "attributes": { "id": "u1", "montauk_preview": token } });
    let (_, evaluated) = serve.send("", "POST", &format!("/api/eval/{key}"), &body);
    let feature = &evaluated["features"]["checkout"];
    assert_eq!((&feature["defaultValue"], &feature["rules"]), (&json!(true), &Value::Null), "{evaluated}");
    let path = format!("/v1/assignments/u1?attribute.montauk_preview={token}");
    let (_, assigned) = serve.send("", "GET", &path, &Value::Null);
    assert_eq!(assigned["assignments"][0]["reason"], "forced", "{assigned}");
    drop(serve);
    // Who looks fifteen days ahead takes it from nobody: what is served goes by the clock.
    let later = (chrono::Utc::now() + chrono::TimeDelta::days(15)).to_rfc3339();
    assert_eq!(refresh(&project, &["--at", &later]).0, 0);
    let mut snapshots: Vec<PathBuf> =
        fs::read_dir(project.join(".montauk/experiments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    snapshots.sort();
    let texts: Vec<String> = snapshots.iter().rev().take(1).map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(texts[0].contains(token));
    let (code, wrong) = decide(&project, &["experiment", "preview", "checkout", "short", "--url", "shop.example"]);
    assert_eq!((code, &wrong["error"]["code"]), (2, &json!("usage")), "{wrong}");
}
