//! docs/how-to/learn-from-views-and-searches.md, followed from top to bottom in a copy of the demo's project.
//!
//! In: the page's blocks.  Out: assertions on what is trained, measured, published and given as a reason.
//! Never here: the ratios themselves (see the tests of `recommend`), lists over HTTP (`served`).
//! Start at [`the_page_is_followed`].

use std::fs;
use std::process::Command;

use crate::support::{csv, demo, montauk, repository, run};

#[test]
fn the_page_is_followed() {
    let temp = tempfile::tempdir().unwrap();
    let project = temp.path().join("project");
    run(Command::new("cp").arg("-a").arg(demo()).arg(&project));
    let command = |arguments: &[&str]| {
        let mut command = montauk();
        command.arg("-C").arg(&project).arg("--json").args(arguments);
        command
    };
    let page = fs::read_to_string(repository().join("docs/how-to/learn-from-views-and-searches.md")).unwrap();
    let mut lines = page.lines();
    let mut reports = Vec::new();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let code: String = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        let first = code.lines().next().unwrap();
        let file = first.strip_prefix("-- ").or(first.strip_prefix("# ")).filter(|name| name.contains('/'));
        match (language, file) {
            ("sql" | "toml", Some(file)) => fs::write(project.join(file), code).unwrap(),
            ("sql", None) => assert_eq!(csv(&project, &code).lines().count(), 6),
            ("sh", _) => {
                let arguments = |line: &str| line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>();
                for line in code.lines().map(arguments) {
                    let line: Vec<&str> = line.iter().map(String::as_str).collect();
                    reports.push(run(&mut command(&line)));
                }
            }
            ("json", None) => assert!(serde_json::from_str::<serde_json::Value>(&code).is_ok()),
            (other, _) => panic!("the page has a block of `{other}`, which nobody tests"),
        }
    }
    let [_, trained, evaluated, _] = reports.as_slice() else { panic!("four commands") };
    assert_eq!(trained["trained"][1]["kind"], "cco");
    let names: Vec<&str> = evaluated["evaluation"]["recommenders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|recommender| recommender["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["popularity", "cco"]);
    assert_eq!(evaluated["promotion"]["recommender"], "cco", "{}", evaluated["promotion"]);
    // Nothing has changed, so nothing is trained.
    assert_eq!(run(&mut command(&["train", "cco"]))["trained"][0]["status"], "unchanged");

    let list = run(&mut command(&["recommend", "17850", "--rec", "cco", "-n", "20"]));
    let because = list["items"].as_array().unwrap().iter().flat_map(|item| item["because"].as_array().unwrap());
    let (things, items): (Vec<_>, Vec<_>) = because.partition(|reason| reason.get("indicator").is_some());
    assert!(!things.is_empty() && !items.is_empty(), "{list}");
    assert!(things.iter().all(|reason| reason["indicator"] == "word" && reason["thing"].is_string()));
}
