//! `tune` as a person runs it: a diff to agree to, a file that changes as the diff says and no further, a search that goes on.
//!
//! In: a copy of the demo's project.  Out: assertions on what is printed, on the file and on the journal.
//! Never here: whether the search is a good one (see the tests of `recommend`).
//! Start at [`project`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{demo, montauk, run};

const FILE: &str = "recommenders/item_knn.toml";

/// The demo's project with a neighbourhood that anything beats.
const BAD: &str = "# Ours.\nkind = \"item_knn\"\ninteractions = \"marts.interactions\" # one row per purchase\n\n[parameters]\n# Far too few.\nneighbours = 1\n\n[evaluate]\nresamples = 200\n";

fn project() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let project = temp.path().join("project");
    run(Command::new("cp").arg("-a").arg(demo()).arg(&project));
    fs::write(project.join(FILE), BAD).unwrap();
    (temp, project)
}

fn tune(project: &Path, arguments: &[&str]) -> Command {
    let mut command = montauk();
    command.arg("-C").arg(project).args(["tune", "item_knn", "--trials", "4"]).args(arguments);
    command
}

fn journal(project: &Path) -> PathBuf {
    let mut files = fs::read_dir(project.join(".montauk/tuning/item_knn")).unwrap();
    let path = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none(), "one identity, one journal");
    path
}

#[test]
fn a_diff_is_proposed_and_apply_changes_what_it_says() {
    let (_temp, project) = project();
    let output = tune(&project, &[]).output().unwrap();
    let (shown, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{said}");
    assert!(shown.starts_with("--- a/recommenders/item_knn.toml\n+++ b/recommenders/item_knn.toml\n@@ "), "{shown}");
    assert!(shown.contains("\n-neighbours = 1\n") && shown.contains("\n # Far too few.\n"), "{shown}");
    assert!(said.contains("is better: ndcg@100") && said.contains("validation users"), "{said}");
    assert!(said.contains("`montauk tune item_knn --trials 4 --apply`"), "{said}");
    assert_eq!(fs::read_to_string(project.join(FILE)).unwrap(), BAD, "nothing is written without a yes");

    // Seven measurements are kept; a crash in the middle of a line loses that one.
    let path = journal(&project);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let report = run(tune(&project, &["--json"]).arg("--apply"));
    let tuned = &report["recommenders"][0];
    let lines = whole.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!((&tuned["resumed"], &tuned["measured"]), (&(lines - 1).into(), &1.into()), "{tuned}");
    assert_eq!((&tuned["applied"], &tuned["diff"]), (&true.into(), &shown.as_str().into()));
    assert_eq!(fs::read(&path).unwrap(), whole, "the same trial gives the same line");

    let after = fs::read_to_string(project.join(FILE)).unwrap();
    let changed = |line: &&str| !BAD.lines().any(|before| before == *line);
    let added: Vec<&str> = after.lines().filter(changed).collect();
    let promised: Vec<&str> = shown.lines().skip(2).filter_map(|line| line.strip_prefix('+')).collect();
    assert_eq!(added, promised);
    assert!(BAD.lines().filter(|line| *line != "neighbours = 1").all(|line| after.contains(line)), "{after}");

    let again = run(&mut tune(&project, &["--json"]));
    let tuned = &again["recommenders"][0];
    assert_eq!(tuned["resumed"], 0, "other settings are another search");
    assert_eq!(
        tuned["current"]["ndcg"], report["recommenders"][0]["best"]["ndcg"],
        "what was measured is what was written"
    );
}

#[test]
fn no_time_measures_the_current_settings_and_a_later_run_goes_on() {
    let (_temp, project) = project();
    let report = run(&mut tune(&project, &["--json", "--minutes", "0.000001"]));
    let tuned = &report["recommenders"][0];
    assert_eq!((&tuned["is_complete"], &tuned["measured"]), (&false.into(), &1.into()));
    assert!(tuned["verdict"].as_str().unwrap().contains("run the same command again"), "{tuned}");
    let report = run(&mut tune(&project, &["--json"]));
    assert_eq!(
        (&report["recommenders"][0]["resumed"], &report["recommenders"][0]["is_complete"]),
        (&1.into(), &true.into())
    );
}

#[test]
fn a_first_recommender_is_suggested_with_its_reason() {
    let output = montauk().arg("-C").arg(demo()).args(["tune", "--suggest"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("# `ease`, because its matrix of ") && text.contains("\nkind = \"blend\"\n"), "{text}");
    let (_temp, project) = project();
    fs::write(project.join("recommenders/suggested.toml"), &text).unwrap();
    run(montauk().arg("-C").arg(&project).args(["status", "--json"]));
}
