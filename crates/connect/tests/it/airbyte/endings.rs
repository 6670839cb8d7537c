//! How a read can end badly, and what is staged all the same.
//!
//! In: transcripts that break off, lie or fall silent.  Out: verdicts.  Never here: runs that succeed (`rows`, `states`).
//! Start at the first test.

use std::time::{Duration, Instant};

use connect::Source;
use connect::sources::airbyte::StreamMode;
use domain::{NoProgress, Problem, StageMode};

use super::play::{Play, complete, order, state, status, table, user};
use crate::support::{code_of, request};

/// Runs the lines once over a table of changes; the error's code and text, and the rows that are staged all the same.
async fn after(lines: &[&str]) -> (String, String, Option<Vec<String>>) {
    let play = Play::new();
    play.reads(lines);
    let error = play.run(&[table("users", StreamMode::Changes)]).await.remove(0).unwrap_err();
    assert!(error.help().is_some_and(|help| !help.is_empty()), "{error}");
    let staged = match play.latest("users").await {
        Some(manifest) => Some(play.rows(&manifest).await),
        None => None,
    };
    (error.code().to_owned(), error.to_string(), staged)
}

#[tokio::test]
async fn what_a_state_covers_is_staged_and_the_run_fails_all_the_same() {
    let (one, two, three) = (user(r#"{"id":1}"#), user(r#"{"id":2}"#), user(r#"{"id":3}"#));
    let (covered, done) = (state(r#"{"at":2}"#, "2"), complete("users"));
    let incomplete = status("users", "INCOMPLETE");
    let trace = |kind: &str, stream: &str| {
        format!(
            r#"{{"type":"TRACE","trace":{{"type":"ERROR","emitted_at":1,"error":{{"message":"no luck","failure_type":"{kind}"{stream}}}}}}}"#
        )
    };
    let of_stream = trace("config_error", r#","stream_descriptor":{"name":"users"}"#);
    for (end, code, text) in [
        (vec![], "stream_incomplete", "ended without saying that stream `users` is complete"),
        (vec!["#exit 0"], "stream_incomplete", "ended without saying"),
        (
            vec!["#stderr it hurts", "#exit 3"],
            "connector_failed",
            "was asked to read and ended with exit code 3: it hurts",
        ),
        (vec!["#kill"], "connector_failed", "by signal 9"),
        (vec![incomplete.as_str()], "stream_incomplete", "says that stream `users` is incomplete"),
        (vec![incomplete.as_str(), done.as_str()], "stream_incomplete", "says that stream `users` is incomplete"),
        (vec![&trace("config_error", ""), &incomplete, "#exit 1"], "connector_config", "fails: no luck"),
        (vec![&trace("transient_error", ""), "#exit 1"], "connector_transient", "fails: no luck"),
        (vec![&trace("system_error", "")], "connector_failed", "fails: no luck"),
        (vec![&of_stream, &incomplete], "connector_config", "fails on stream `users`: no luck"),
    ] {
        let mut lines = vec![one.as_str(), &two, &covered, &three];
        lines.extend(end);
        let (found, shown, staged) = after(&lines).await;
        assert_eq!(found, code, "{shown}");
        assert!(shown.contains(text), "{shown}");
        assert_eq!(staged.unwrap(), [r#"{"id":1}"#, r#"{"id":2}"#], "{shown}");
    }
    // Without a state nothing is covered.
    assert_eq!(after(&[&one, &two]).await.2, None);
}

#[tokio::test]
async fn the_last_words_of_a_connector_are_in_the_error() {
    let (_, shown, _) = after(&["#stderr Traceback", "#stderr KeyError: 'x'", "#exit 1"]).await;
    assert!(shown.ends_with("Traceback\nKeyError: 'x'"), "{shown}");
}

#[tokio::test]
async fn a_run_that_fails_after_its_last_stream_fails() {
    let (_, shown, staged) = after(&[&user(r#"{"id":1}"#), &complete("users"), "#exit 2"]).await;
    assert!(shown.contains("exit code 2"), "{shown}");
    assert_eq!(staged.unwrap().len(), 1);
}

#[tokio::test]
async fn a_failed_stream_leaves_the_others_alone() {
    let play = Play::new();
    play.reads(&[
        &user(r#"{"id":1}"#),
        r#"{"type":"TRACE","trace":{"type":"ERROR","emitted_at":1,"error":{"message":"no","failure_type":"transient_error","stream_descriptor":{"name":"users"}}}}"#,
        &order(r#"{"id":1}"#),
        &complete("orders"),
        "#exit 1",
    ]);
    let mut results = play.run(&[table("users", StreamMode::Full), table("orders", StreamMode::Full)]).await;
    assert_eq!(results.remove(1).unwrap().manifest.files[0].rows, Some(1));
    assert_eq!(code_of(results.remove(0), ""), "connector_transient");
    assert_eq!(play.latest("users").await, None);
}

#[tokio::test]
async fn a_full_read_replaces_nothing_before_it_is_whole() {
    let play = Play::new();
    play.reads(&[&user(r#"{"id":1}"#), &complete("users")]);
    let whole = play.extract(table("users", StreamMode::Full)).await.manifest;
    play.reads(&[&user(r#"{"id":2}"#), &state("{}", "1")]);
    assert!(play.run(&[table("users", StreamMode::Full)]).await.remove(0).is_err());
    assert_eq!(play.latest("users").await, Some(whole));
}

#[tokio::test]
async fn a_run_that_broke_off_goes_on_from_what_was_covered() {
    let play = Play::new();
    let wanted = || [table("users", StreamMode::Changes)];
    play.reads(&[&user(r#"{"id":1}"#), &state(r#"{"at":1}"#, "1"), &user(r#"{"id":2}"#), "#exit 1"]);
    assert!(play.run(&wanted()).await.remove(0).is_err());
    play.reads(&[&user(r#"{"id":2}"#), &state(r#"{"at":2}"#, "1"), &user(r#"{"id":3}"#), "#exit 1"]);
    assert!(play.run(&wanted()).await.remove(0).is_err());
    assert!(play.got("read.state").unwrap().contains(r#"{"at":1}"#));
    let second = play.latest("users").await.unwrap();
    assert_eq!((second.number, second.mode), (2, StageMode::Changes));
    assert_eq!(play.rows(&second).await, [r#"{"id":2}"#]);
    // Nothing covered this time: the chain stays as it is.
    play.reads(&[&user(r#"{"id":3}"#), "#exit 1"]);
    assert!(play.run(&wanted()).await.remove(0).is_err());
    assert_eq!(play.latest("users").await, Some(second));
}

#[tokio::test]
async fn a_state_that_counts_other_rows_than_came_does_not_count() {
    let good = state(r#"{"at":1}"#, "1.0");
    let (code, shown, staged) =
        after(&[&user(r#"{"id":1}"#), &good, &user(r#"{"id":2}"#), &state("{}", "2.0"), &complete("users")]).await;
    assert_eq!(code, "connector_protocol");
    assert!(shown.contains("2 records since the one before, and 1 arrived"), "{shown}");
    assert_eq!(staged.unwrap(), [r#"{"id":1}"#]);
    let global =
        r#"{"type":"STATE","state":{"type":"GLOBAL","global":{"stream_states":[]},"sourceStats":{"recordCount":5.0}}}"#;
    let (code, shown, staged) = after(&[&user(r#"{"id":1}"#), global, &complete("users")]).await;
    assert_eq!((code.as_str(), staged), ("connector_protocol", None), "{shown}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_never_skipped() {
    let bad = r#"{"type":"RECORD","record":{"stream":"users","data":{"x":NaN,"y":"private"},"emitted_at":1}}"#;
    let (code, shown, staged) =
        after(&[&user(r#"{"id":1}"#), &state("{}", "1"), bad, &state("{}", "0"), &complete("users")]).await;
    assert_eq!(code, "connector_protocol");
    assert!(shown.contains("in line 3 of its output: it is not JSON") && !shown.contains("private"), "{shown}");
    assert_eq!(staged.unwrap(), [r#"{"id":1}"#]);
}

#[tokio::test]
async fn refused_settings_and_missing_answers_are_told_before_anything_is_read() {
    let failed = r#"{"type":"CONNECTION_STATUS","connectionStatus":{"status":"FAILED","message":"wrong key"}}"#;
    let trace = r#"{"type":"TRACE","trace":{"type":"ERROR","emitted_at":1,"error":{"message":"no luck","failure_type":"config_error"}}}"#;
    for (verb, lines, code, text) in [
        ("check", failed, "connector_config", "refuses its settings: wrong key"),
        ("check", trace, "connector_config", "fails: no luck"),
        ("check", "", "connector_failed", "was asked to check and gave no answer"),
        ("check", "#stderr oh no\n#exit 4", "connector_failed", "was asked to check and ended with exit code 4: oh no"),
        ("discover", "", "connector_failed", "was asked to discover and gave no answer"),
        ("discover", r#"{"type":"CATALOG","catalog":{"streams":[{}]}}"#, "connector_protocol", "cannot be read"),
    ] {
        let play = Play::new();
        play.says(verb, lines);
        let result = play.run(&[table("users", StreamMode::Full)]).await.remove(0);
        let shown = result.as_ref().unwrap_err().to_string();
        assert!(shown.contains(text), "{shown}");
        assert_eq!(code_of(result, ""), code);
        assert_eq!(play.got("read.catalog"), None);
    }
}

#[tokio::test]
async fn a_silent_connector_is_ended_with_what_it_started() {
    let mut play = Play::new();
    play.settings.stall = Duration::from_secs(15);
    play.reads(&[&user(r#"{"id":1}"#), &state("{}", "1"), "#child 300", "#sleep 300"]);
    let began = Instant::now();
    let result = play.run(&[table("users", StreamMode::Changes)]).await.remove(0);
    assert!(result.as_ref().unwrap_err().to_string().ends_with("was asked to read and said nothing for 15 s"));
    assert_eq!(code_of(result, ""), "connector_stalled");
    // What its last state covers is staged all the same.
    assert_eq!(play.rows(&play.latest("users").await.unwrap()).await, [r#"{"id":1}"#]);
    assert!(began.elapsed() < Duration::from_secs(250), "it waited for the child");
    assert_gone(&play).await;
}

#[tokio::test]
async fn a_run_that_is_given_up_ends_its_connector_and_leaves_no_files() {
    let play = Play::new();
    play.reads(&[&user(r#"{"id":1}"#), "#child 300", "#sleep 300"]);
    let source = play.source(&[table("users", StreamMode::Full)]);
    let stage = play.stage();
    let wanted = request("users", "users");
    {
        let run = source.extract(&wanted, &stage, &NoProgress);
        let is_reading = async {
            while !play.got("calls").is_some_and(|calls| calls.contains("read --config")) || play.got("pid").is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            result = run => panic!("it ended by itself: {result:?}"),
            () = is_reading => {}
        }
    }
    assert_gone(&play).await;
    let calls = play.got("calls").unwrap();
    let config = calls.lines().last().unwrap().split(' ').nth(2).unwrap().to_owned();
    assert!(config.ends_with("config.json") && !std::path::Path::new(&config).exists(), "{config}");
    assert!(play.stage().latest("shop", "users").await.unwrap().is_none());
}

#[tokio::test]
async fn a_line_without_end_is_not_waited_for() {
    let play = Play::new();
    std::fs::File::create(play.path("endless")).unwrap().set_len(100 << 20).unwrap();
    play.reads(&[&user(r#"{"id":1}"#), &state("{}", "1"), "#print endless", &complete("users")]);
    let result = play.run(&[table("users", StreamMode::Changes)]).await.remove(0);
    assert!(result.as_ref().unwrap_err().to_string().ends_with("a line of it is longer than 60 MiB"));
    assert_eq!(code_of(result, ""), "connector_protocol");
    assert_eq!(play.rows(&play.latest("users").await.unwrap()).await, [r#"{"id":1}"#]);
    assert_gone(&play).await;
}

/// Waits until no process of the connector's group is left.
async fn assert_gone(play: &Play) {
    let group = play.got("pid").unwrap().trim().to_owned();
    let is_there = || {
        let processes = std::process::Command::new("ps").args(["-eo", "pgid=,stat="]).output().unwrap();
        let processes = String::from_utf8(processes.stdout).unwrap();
        processes.lines().any(|line| line.split_whitespace().next() == Some(&group) && !line.contains('Z'))
    };
    let began = Instant::now();
    while is_there() {
        assert!(began.elapsed() < Duration::from_secs(20), "group {group} is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
