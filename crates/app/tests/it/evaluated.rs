//! `evaluate` as a person runs it: another protocol, segments of a mart, a page to pass on.
//!
//! In: a copy of the demo's project.  Out: assertions on JSON and on the page's file.
//! Never here: whether the numbers are right (see the tests of `recommend`).
//! Start at [`project`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{demo, montauk, run};

/// A copy of the demo's project, state and all, whose recommenders tell countries apart.
fn project(segments: &str) -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let project = temp.path().join("project");
    run(Command::new("cp").arg("-a").arg(demo()).arg(&project));
    for name in ["popularity", "item_knn"] {
        let path = project.join(format!("recommenders/{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}\n[evaluate]\nresamples = 100\nsegments = {segments}\n")).unwrap();
    }
    (temp, project)
}

fn evaluate(project: &Path) -> Command {
    let mut command = montauk();
    command.arg("-C").arg(project).args(["--json", "evaluate", "item_knn"]);
    command
}

fn slices(report: &Value) -> Vec<&str> {
    let window = &report["evaluation"]["windows"][2];
    assert_eq!((window["window"].as_str(), window["repeats"].as_str()), (Some("test"), Some("excluded")));
    window["recommenders"][0]["slices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|slice| slice["name"].as_str().unwrap())
        .collect()
}

#[test]
fn another_protocol_measures_and_leaves_what_is_served_alone() {
    let (temp, project) = project("{ table = \"marts.customers\", column = \"country\" }");
    let promoted = || fs::read_dir(project.join(".montauk/promoted")).unwrap().count();
    let before = promoted();
    let page = temp.path().join("page.html");
    fs::write(&page, "an older page").unwrap();
    let report = run(evaluate(&project).args(["--protocol", "last", "--report"]).arg(&page));
    assert_eq!((report["promotion"].clone(), promoted()), (Value::Null, before));
    assert_eq!(report["evaluation"]["protocol"]["kind"], "last");
    assert!(report["evaluation"]["explanation"].as_str().unwrap().contains("leaks"));
    assert_eq!(slices(&report)[4], "segment:United Kingdom");
    let cost = &report["evaluation"]["recommenders"][0]["cost"];
    assert!(cost["train_cpu_seconds"].is_f64() && cost["lists"].as_u64().unwrap() > 1_000, "{cost}");

    let text = fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!doctype html>") && text.ends_with("</html>\n"));
    assert!(
        text.contains("Evaluation of retail") && text.contains("marts.customers.country") && text.contains("Germany")
    );
    assert_eq!(report["report"], page.to_str().unwrap());
    let left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "only the project and the page: {left:?}");

    let again = run(evaluate(&project).args(["--protocol", "last"]));
    assert_eq!((again["unchanged"].clone(), again["report"].clone()), (true.into(), Value::Null));
    assert_eq!(again["evaluation"], report["evaluation"]);
    let own = run(&mut evaluate(&project));
    assert_eq!(
        (own["unchanged"].clone(), own["evaluation"]["protocol"]["kind"].clone()),
        (false.into(), "time".into())
    );
    assert!(own["promotion"].is_object(), "the project's own protocol decides what is served");
}

#[test]
fn a_segment_or_a_page_that_cannot_be_is_refused_before_the_work() {
    let (temp, project) = project("{ table = \"marts.customers\", column = \"planet\" }");
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        error["error"]["message"].as_str().unwrap().to_owned()
    };
    let message = refused(&mut evaluate(&project));
    assert!(message.contains("planet") && message.contains("marts.customers"), "{message}");
    let message = refused(evaluate(&project).arg("--report").arg(temp.path().join("nowhere/page.html")));
    assert!(message.contains("nowhere"), "{message}");
    let message = refused(evaluate(&project).arg("--report").arg(temp.path()));
    assert!(message.contains("directory"), "{message}");
}
