//! The command line from outside: help, exit codes, JSON, colours, and what a broken project is told. No data is touched.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::montauk;

const COMMANDS: [&str; 17] = [
    "demo",
    "init",
    "extract",
    "copy",
    "build",
    "check",
    "quarantine",
    "train",
    "evaluate",
    "rec",
    "recommend",
    "publish",
    "serve",
    "query",
    "status",
    "doctor",
    "completions",
];

fn run(arguments: &[&str]) -> Output {
    montauk().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A project with these files, and a `montauk.toml` unless one is among them.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let plain = [("montauk.toml", "[project]\nname = \"shop\"\n")];
    for (name, text) in plain.iter().chain(files) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn status(dir: &Path, more: &[&str]) -> Output {
    montauk().arg("-C").arg(dir).arg("status").args(more).output().unwrap()
}

#[test]
fn every_help_ends_in_an_example() {
    let whole = run(&["--help"]);
    assert!(whole.status.success());
    for command in COMMANDS {
        assert!(text(&whole.stdout).contains(&format!("  {command} ")), "{command} is not in the help");
        let help = run(&[command, "--help"]);
        assert_eq!((help.status.code(), text(&help.stderr)), (Some(0), String::new()), "{command}");
        let help = text(&help.stdout);
        let (_, example) =
            help.rsplit_once("Example:\n").unwrap_or_else(|| panic!("{command} has no example:\n{help}"));
        assert!(
            example.lines().count() == 1 && example.contains(&format!("montauk {command}")),
            "{command}: {example}"
        );
    }
}

#[test]
fn usage_errors_exit_2_and_name_what_was_meant() {
    let cases: [(&[&str], &str); 5] = [
        (&["extrat"], "extract"),
        (&["extract", "--jsn"], "--json"),
        (&["query"], "<SQL"),
        (&["query", "select 1", "--format", "xml"], "csv"),
        (&["train", "--seed", "x"], "--seed"),
    ];
    for (arguments, hint) in cases {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(hint), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let output = run(&["extrat", "--json"]);
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &error["error"]["code"]), (Some(2), &Value::from("usage")));
    assert!(error["error"]["help"].as_str().unwrap().contains("extract"), "{error}");
}

#[test]
fn without_a_project_the_first_commands_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let bare = montauk().current_dir(dir.path()).output().unwrap();
    assert_eq!(bare.status.code(), Some(0));
    assert_eq!(text(&bare.stdout).matches("montauk ").count(), 3, "{}", text(&bare.stdout));
    let asked = status(dir.path(), &[]);
    assert_eq!(asked.status.code(), Some(3));
    assert!(text(&asked.stderr).contains("error[no_project]"), "{}", text(&asked.stderr));
}

#[test]
fn a_wrong_key_is_shown_where_it_is() {
    let dir = project(&[("sources/shop.toml", "kind = \"file\"\n\n[tables.lines]\npaht = \"data/*.csv\"\n")]);
    let output = status(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        text(&output.stderr),
        "error[unknown_key]: unknown key `paht`\n  --> sources/shop.toml:4:1\n  |\n4 | paht = \"data/*.csv\"\n  | ^\n  \
         = expected one of `path`, `into`, `copy`\nhelp: did you mean `path`?\n"
    );
    let output = status(dir.path(), &["--json"]);
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stderr.is_empty());
    let expected = serde_json::json!({
        "code": "unknown_key", "kind": "invalid", "message": "unknown key `paht`", "help": "did you mean `path`?",
        "file": "sources/shop.toml", "line": 4, "column": 1, "exit_code": 3,
    });
    assert_eq!(error["error"], expected);
}

#[test]
fn each_broken_file_has_its_place_and_its_way_out() {
    let recommender = "kind = \"ease\"\ninteractions = \"raw.shop_lines\"\n";
    let source = ("sources/shop.toml", "kind = \"file\"\n[tables.lines]\npath = \"data/*.csv\"\n");
    let cases: [(&str, String, &[&str]); 7] = [
        ("montauk.toml", "[project\nname = 1".into(), &["error[bad_toml]", "montauk.toml:1:"]),
        (
            "montauk.toml",
            "[project]\nname = \"x\"\nrequires = \">=9\"\n".into(),
            &["error[wrong_version]", "montauk.toml:3:12", ">=9"],
        ),
        (
            "recommenders/a.toml",
            recommender.replace("ease", "eese"),
            &["recommenders/a.toml:1:8", "did you mean `ease`?"],
        ),
        (
            "recommenders/a.toml",
            format!("{recommender}[parameters]\nlamda = 3\n"),
            &["recommenders/a.toml:4:", "did you mean `lambda`?"],
        ),
        (
            "recommenders/a.toml",
            recommender.replace("shop_lines", "shop_line"),
            &["error[no_such_table]", "a.toml:2:16", "raw.shop_lines"],
        ),
        (
            "checks/a.toml",
            "[[check]]\ntable = \"raw.shop_lines\"\nnot_nul = [\"id\"]\n".into(),
            &["checks/a.toml:3:1", "did you mean `not_null`?"],
        ),
        ("models/marts/a.sql", "-- materialized: tabel\nselect 1 as one\n".into(), &["models/marts/a.sql:1"]),
    ];
    for (file, content, wanted) in cases {
        let dir = project(&[source, (file, &content)]);
        let output = status(dir.path(), &[]);
        let talk = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{file}: {talk}");
        for part in wanted {
            assert!(talk.contains(part), "{file}: `{part}` is not in\n{talk}");
        }
    }
}

#[test]
fn without_a_terminal_there_is_no_escape_byte() {
    let dir = project(&[("sources/shop.toml", "kind = \"fil\u{1b}[31me\"\n")]);
    for arguments in [vec!["status"], vec!["doctor"], vec!["extract"], vec!["--help"], vec!["nonsense"]] {
        let mut command = montauk();
        // Nothing but the missing terminal may keep colours away.
        let output = command
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .arg("-C")
            .arg(dir.path())
            .args(&arguments)
            .output()
            .unwrap();
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{arguments:?}");
    }
    let forced = montauk()
        .env_remove("NO_COLOR")
        .env("CLICOLOR_FORCE", "1")
        .arg("-C")
        .arg(dir.path())
        .arg("status")
        .output()
        .unwrap();
    assert!(forced.stderr.contains(&0x1b));
    let plain = montauk()
        .env("NO_COLOR", "1")
        .env("CLICOLOR_FORCE", "1")
        .arg("-C")
        .arg(dir.path())
        .arg("status")
        .output()
        .unwrap();
    assert!(!plain.stderr.contains(&0x1b));
}

#[test]
fn the_demo_leaves_the_projects_of_others_alone() {
    let mine = project(&[("montauk.toml", "[project]\nname = \"mine\"\n")]);
    let output = montauk().arg("-C").arg(mine.path()).args(["demo", "--once", "--fresh"]).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stderr).contains("not_the_demo"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_dir(mine.path()).unwrap().count(), 1, "nothing was written");
}

#[test]
fn a_project_in_use_refuses_a_second_run() {
    let dir = project(&[("sources/shop.toml", "kind = \"file\"\n[tables.lines]\npath = \"data/*.csv\"\n")]);
    fs::create_dir_all(dir.path().join(".montauk")).unwrap();
    let held = fs::File::create(dir.path().join(".montauk/lock")).unwrap();
    held.lock().unwrap();
    fs::write(dir.path().join(".montauk/lock"), "{\"pid\":4711,\"command\":\"build\"}").unwrap();
    let output = montauk().arg("-C").arg(dir.path()).arg("extract").output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("error[run_active]") && text(&output.stderr).contains("process 4711"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn names_that_do_not_exist_are_answered_with_the_nearest() {
    let dir = project(&[("sources/shop.toml", "kind = \"file\"\n[tables.lines]\npath = \"data/*.csv\"\n")]);
    let output = montauk().arg("-C").arg(dir.path()).args(["extract", "shop.line"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("did you mean `shop.lines`?"), "{}", text(&output.stderr));
}

#[test]
fn doctor_looks_at_everything_and_says_what_to_do() {
    let dir = project(&[
        ("sources/shop.toml", "kind = \"mysql\"\nurl = \"${MONTAUK_TEST_UNSET}\"\n[tables.lines]\n"),
        ("data/a.csv", "a\n1\n"),
        ("sources/files.toml", "kind = \"file\"\n[tables.a]\npath = \"data/*.csv\"\n"),
    ]);
    let output = montauk().arg("-C").arg(dir.path()).args(["doctor", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = |what: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("no {what}: {report}"))
    };
    for what in ["project", "stage", "warehouse", "clock (stage)", "source files"] {
        assert_eq!(verdict(what)["verdict"], "ok", "{report}");
    }
    let shop = verdict("source shop");
    assert_eq!(shop["verdict"], "fail");
    assert!(shop["next"].as_str().unwrap().contains("export MONTAUK_TEST_UNSET="), "{shop}");
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success());
        let script = text(&output.stdout);
        assert!(COMMANDS.iter().all(|command| script.contains(command)), "{shell}");
    }
}
