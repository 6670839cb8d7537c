//! `montauk rec` as a person uses it: see what there is, compare, be refused, insist, and go back; and an artefact read in Python
//! as the documentation says.
//!
//! In: a copy of the demo's project.  Out: assertions on JSON, exit codes and what is recommended then.
//! Never here: the guard's rule, retention (see the tests of `recommend` and `pipeline`).
//! Start at [`project`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use recommend::{Artefact, RankRequest, Ranker};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{demo, montauk, python, repository, run};

/// A copy of the demo's project, state and all.
fn project() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let project = temp.path().join("project");
    run(Command::new("cp").arg("-a").arg(demo()).arg(&project));
    (temp, project)
}

fn command(project: &Path, arguments: &[&str]) -> Command {
    let mut command = montauk();
    command.arg("-C").arg(project).arg("--json").args(arguments);
    command
}

fn rec(project: &Path, arguments: &[&str]) -> Value {
    run(command(project, &["rec"]).args(arguments))
}

/// The error's exit code, code, message and help.
fn refused(project: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = command(project, &["rec"]).args(arguments).output().unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = &shown["error"];
    let text = format!("{} {}", error["message"].as_str().unwrap(), error["help"].as_str().unwrap_or_default());
    (output.status.code().unwrap(), error["code"].as_str().unwrap().to_owned(), text)
}

fn recommends(project: &Path) -> String {
    let list = run(&mut command(project, &["recommend", "17850"]));
    list["recommender"].as_str().unwrap().to_owned()
}

/// Every artefact of one recommender, newest first.
fn artefacts(project: &Path, recommender: &str) -> Vec<Value> {
    let list = rec(project, &["list"]);
    let all = list["artefacts"].as_array().unwrap();
    all.iter().filter(|entry| entry["recommender"] == recommender).cloned().collect()
}

#[test]
fn the_worse_one_is_refused_then_forced_then_rolled_back() {
    let (_temp, project) = project();
    let list = rec(&project, &["list"]);
    let all = list["artefacts"].as_array().unwrap();
    assert!(all.len() >= 4, "{list}");
    let serving: Vec<&Value> = all.iter().filter(|entry| entry["state"] == "serving").collect();
    let [serving] = serving.as_slice() else { panic!("one serves: {list}") };
    assert!(serving["metrics"]["test.recall@20"].as_f64().unwrap() > 0.05, "{serving}");
    assert!(serving["bytes"].as_u64().unwrap() > 10_000 && serving["trained_at"].is_string(), "{serving}");
    let (better, first) = (serving["recommender"].as_str().unwrap(), serving["promotions"][0].as_u64().unwrap());
    assert_eq!(artefacts(&project, "popularity")[0]["state"], "fallback");
    assert_eq!(recommends(&project), better);

    let compared = rec(&project, &["compare", better, "popularity"]);
    assert!(compared["parameters"].as_array().unwrap().iter().any(|entry| entry["name"] == "kind"), "{compared}");
    assert_eq!(compared["data"], serde_json::json!([]));
    let metrics = compared["evaluation"]["metrics"].as_array().unwrap();
    let ndcg = metrics.iter().find(|metric| metric["metric"] == "ndcg@100").unwrap();
    assert!(ndcg["difference"]["low"].as_f64().unwrap() > 0.0 && ndcg["p"].as_f64().unwrap() < 0.01, "{ndcg}");
    assert!(metrics.iter().any(|metric| metric["metric"] == "coverage@10" && metric["one"].is_f64()), "{compared}");

    let (exit, code, text) = refused(&project, &["promote", "popularity"]);
    assert_eq!((exit, code.as_str()), (6, "promotion_refused"));
    assert!(text.contains("ndcg@100 of `popularity` is below") && text.contains("coverage@10 falls"), "{text}");
    assert_eq!(recommends(&project), better, "nothing has changed");

    let forced = rec(&project, &["promote", "popularity", "--force", "--reason", "an experiment"]);
    assert_eq!((&forced["number"], &forced["forced"]), (&(first + 1).into(), &true.into()));
    let reason = forced["reason"].as_str().unwrap();
    assert!(reason.starts_with("an experiment (forced past the guard") && reason.contains("ndcg@100"), "{reason}");
    assert_eq!(forced["replaced"]["recommender"], better);
    assert_eq!(recommends(&project), "popularity");

    let back = rec(&project, &["rollback", "--reason", "it was worse"]);
    assert_eq!(back["number"], first + 2);
    assert_eq!(back["reason"], format!("rolled back to promotion {first}: it was worse"));
    assert_eq!(recommends(&project), better);
    assert_eq!(artefacts(&project, better)[0]["promotions"], serde_json::json!([first, first + 2]));
    let again = rec(&project, &["promote", better]);
    assert_eq!((&again["changed"], &again["number"]), (&false.into(), &(first + 2).into()));

    let text = montauk().arg("-C").arg(&project).arg("rec").output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains(&format!("now ({first}, {})", first + 2)) && text.contains("behind it"), "{text}");
}

#[test]
fn what_is_not_measured_or_damaged_or_gone_is_refused_with_the_next_step() {
    let (_temp, project) = project();
    let file = project.join("recommenders/item_knn.toml");
    let text = fs::read_to_string(&file).unwrap();
    let changed = text.replace("neighbours = 400", "neighbours = 50");
    assert_ne!(changed, text);
    fs::write(&file, changed).unwrap();
    run(&mut command(&project, &["train", "item_knn"]));
    let (exit, code, text) = refused(&project, &["promote", "item_knn"]);
    assert_eq!((exit, code.as_str()), (6, "not_evaluated"));
    assert!(text.contains("`item_knn`") && text.contains("montauk evaluate"), "{text}");
    let compared = rec(&project, &["compare", "item_knn", "popularity"]);
    assert_eq!(compared["evaluation"], Value::Null);

    let both = artefacts(&project, "item_knn");
    let [newer, older] = both.as_slice() else { panic!("two trainings: {both:?}") };
    let (exit, code, text) = refused(&project, &["promote", "item_knn-"]);
    assert_eq!((exit, code.as_str()), (3, "many_artefacts"));
    assert!(text.contains(newer["artefact"].as_str().unwrap()), "{text}");
    let older = older["artefact"].as_str().unwrap();
    let compared = rec(&project, &["compare", "item_knn", &older[..older.len() - 1]]);
    let neighbours = serde_json::json!([{ "name": "neighbours", "one": 50, "other": 400 }]);
    assert_eq!((&compared["parameters"], &compared["other"]["artefact"]), (&neighbours, &older.into()));

    rec(&project, &["promote", "item_knn", "--force"]);
    let directory = project.join(".montauk/artefacts").join(older);
    let model = directory.join("model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    let (exit, code, text) = refused(&project, &["promote", older, "--force"]);
    assert_eq!((exit, code.as_str()), (6, "cannot_serve"));
    assert!(text.contains("checksum") && text.contains("montauk train"), "{text}");

    let serving_before = rec(&project, &["list"])["artefacts"].as_array().unwrap().clone();
    let before = serving_before.iter().find(|entry| entry["state"] == "served_before").unwrap();
    fs::remove_dir_all(project.join(".montauk/artefacts").join(before["artefact"].as_str().unwrap())).unwrap();
    let (exit, code, text) = refused(&project, &["rollback"]);
    assert_eq!((exit, code.as_str()), (3, "artefact_removed"));
    assert!(text.contains("last 5 promotions") && text.contains("montauk rec list"), "{text}");
    assert_eq!(refused(&project, &["rollback", "--to", "99"]).1, "no_such_promotion");
    assert_eq!(recommends(&project), "item_knn");
}

#[test]
fn python_reads_an_artefact_in_the_five_lines_of_the_documentation() {
    let project = demo();
    let entry = &artefacts(project, "ease")[0];
    let directory = project.join(".montauk/artefacts").join(entry["artefact"].as_str().unwrap());
    let page = fs::read_to_string(repository().join("docs/how-to/read-an-artefact-in-python.md")).unwrap();
    let block = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(block.lines().count(), 5, "{block}");

    let artefact = Arc::new(Artefact::read(&directory).unwrap());
    let popularity = &artefacts(project, "popularity")[0];
    let popularity = project.join(".montauk/artefacts").join(popularity["artefact"].as_str().unwrap());
    let ranker = Ranker::new(artefact, &Artefact::read(&popularity).unwrap()).unwrap();
    let ids = [7, 300, 1_200].map(|ordinal| ranker.items()[ordinal].clone());
    let history = ranker.history(ids.iter().map(|id| (id, 1.0, 0)));
    let expected = ranker.recommend(&history, &RankRequest::new(10)).items;

    let names: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    let before = format!(
        "artefact = {}\nhistory = {}\n",
        serde_json::json!(directory.to_str().unwrap()),
        serde_json::json!(names)
    );
    let found = run(Command::new(python()).arg("-c").arg(before + block + "print(json.dumps(best))\n"));
    let found: Vec<(String, f32)> = serde_json::from_value(found).unwrap();
    assert_eq!(found.len(), expected.len());
    for ((id, score), expected) in found.iter().zip(&expected) {
        assert_eq!(id, ranker.items()[expected.item as usize].as_str());
        assert!((score - expected.score).abs() <= 1e-5 * expected.score.abs(), "{id}: {score} {}", expected.score);
    }
}
