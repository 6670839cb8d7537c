//! A secret of the settings reaches the connector, and nothing else.
//!
//! In: connectors that shout their settings.  Out: verdicts.  Never here: how secrets are found in a text (a unit test beside the code).
//! Start at the first test.

use std::io::Write;
use std::sync::{Arc, Mutex};

use connect::Source;
use connect::sources::airbyte::{StreamChoice, StreamMode};
use serde_json::json;

use super::play::{Play, SECRET, complete, state, table, user};

/// A log that a test can read.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Forms of the secret, and of a part of it that no mask leaves behind.
fn shows_secret(text: &str) -> bool {
    text.contains("canary-7f3") || text.contains("quoted")
}

#[tokio::test]
async fn settings_go_through_private_files_that_are_gone_afterwards() {
    let play = Play::new();
    play.reads(&[&user(r#"{"id":1}"#), &complete("users")]);
    play.extract(table("users", StreamMode::Full)).await;
    for verb in ["check", "discover", "read"] {
        let config: serde_json::Value = serde_json::from_str(&play.got(&format!("{verb}.config")).unwrap()).unwrap();
        assert_eq!(config, json!({"count": 3, "api_key": SECRET}));
        assert_eq!(play.got(&format!("{verb}.config.rights")).unwrap().trim(), "600 700");
    }
    assert_eq!(play.got("read.catalog.rights").unwrap().trim(), "600 700");
    assert_eq!(play.got("do_not_track").unwrap().trim(), "1");
    let calls = play.got("calls").unwrap();
    let verbs: Vec<&str> = calls.lines().filter_map(|call| call.split(' ').next()).collect();
    assert_eq!(verbs, ["check", "discover", "read"]);
    assert!(!shows_secret(&calls), "{calls}");
    for word in calls.split_whitespace().filter(|word| word.starts_with('/')) {
        let directory = std::path::Path::new(word).parent().unwrap();
        assert!(!directory.exists(), "{word}");
    }
}

#[tokio::test]
async fn a_container_can_be_given_the_directory_and_its_owner() {
    let mut play = Play::new();
    let words = play.settings.command.clone();
    let script =
        format!("printf '%s ' \"$@\" >{}; shift 2; exec {} \"$@\"", play.path("given").display(), words.join(" "));
    play.settings.command = ["sh", "-c", &script, "-", "{dir}:{dir}", "{user}"].map(str::to_owned).to_vec();
    play.reads(&[&complete("users")]);
    play.extract(table("users", StreamMode::Full)).await;
    let given = std::fs::read_to_string(play.path("given")).unwrap();
    let given: Vec<&str> = given.split(' ').collect();
    let directory = std::path::Path::new(given[4]).parent().unwrap().display().to_string();
    assert_eq!((given[0], given[3]), (format!("{directory}:{directory}").as_str(), "--config"));
    let id = |flag: &str| {
        let output = std::process::Command::new("id").arg(flag).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(given[1], format!("{}:{}", id("-u"), id("-g")));
}

#[tokio::test]
async fn a_connector_that_shouts_its_settings_is_not_heard_by_anybody() {
    let log = Captured::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // Threads of the runtime and of the connector log as well, so that the subscriber is everybody's.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let escaped = SECRET.replace('"', "\\\"");
    let trace = format!(
        r#"{{"type":"TRACE","trace":{{"type":"ERROR","emitted_at":1,"error":{{"message":"key {escaped} refused","failure_type":"config_error"}}}}}}"#
    );
    let said = format!(r#"{{"type":"LOG","log":{{"level":"ERROR","message":"my key is {escaped}"}}}}"#);
    let row = user(r#"{"id":1}"#);
    let covered = state("{}", "1");
    for end in [trace.as_str(), "#exit 1", "#exit 0"] {
        let play = Play::new();
        play.reads(&["#config", &said, &row, &covered, "#config", end]);
        let error = play.run(&[table("users", StreamMode::Changes)]).await.remove(0).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shows_secret(&shown), "{shown}");
        let manifest = play.latest("users").await.unwrap();
        assert!(!shows_secret(&format!("{manifest:?}")), "{manifest:?}");
    }
    let refusal = format!(
        r#"{{"type":"CONNECTION_STATUS","connectionStatus":{{"status":"FAILED","message":"bad key {escaped}"}}}}"#
    );
    let play = Play::new();
    play.says("check", &refusal);
    let error = play.run(&[table("users", StreamMode::Full)]).await.remove(0).unwrap_err();
    assert!(error.to_string().ends_with("bad key ***"), "{error}");
    let source = play.source(&[table("users", StreamMode::Full)]);
    assert!(!shows_secret(&format!("{source:?}")), "{source:?}");

    let text = log.text();
    assert!(text.contains("my key is ***"), "{text}");
    assert!(!shows_secret(&text), "{text}");
}

#[tokio::test]
async fn changed_settings_are_kept_for_the_run_and_nowhere_else() {
    let play = Play::new();
    let check = std::fs::read_to_string(play.path("check.jsonl")).unwrap();
    let control = r#"{"type":"CONTROL","control":{"type":"CONNECTOR_CONFIG","emitted_at":1,"connectorConfig":{"config":{"count":3,"api_key":"a-refreshed-token"}}}}"#;
    play.says("check", &format!("{control}\n{check}"));
    play.reads(&["#stderr a-refreshed-token", "#exit 1"]);
    let error = play.run(&[table("users", StreamMode::Full)]).await.remove(0).unwrap_err();
    assert!(play.got("read.config").unwrap().contains("a-refreshed-token"));
    assert!(error.to_string().contains("exit code 1: ***"), "{error}");
    play.run(&[table("users", StreamMode::Full)]).await.remove(0).unwrap_err();
    assert!(!play.got("check.config").unwrap().contains("a-refreshed-token"));
}

#[tokio::test]
async fn doctor_asks_for_the_specification_and_sees_bare_secrets() {
    let mut play = Play::new();
    play.settings.config = json!({"count": 3, "api_key": "${CRM_KEY}", "token": "in the open"});
    play.says(
        "spec",
        r#"{"type":"SPEC","spec":{"connectionSpecification":{"title":"CRM","properties":{"count":{"type":"integer"},"api_key":{"airbyte_secret":true},"token":{"airbyte_secret":true}}}}}"#,
    );
    let findings = play.source(&[]).examine(&[]).await.unwrap();
    let shown: Vec<String> = findings.iter().map(|finding| format!("{}: {}", finding.what, finding.detail)).collect();
    assert_eq!(
        shown[1..],
        ["secrets: token stand in the source file for everybody to read", "check: the connector accepts its settings"]
    );
    assert!(shown[0].ends_with("answers: CRM"), "{}", shown[0]);
    assert!(!shown.join("\n").contains("in the open"));
    assert!(play.got("spec.config").is_none());
}

#[test]
fn a_location_names_the_namespace() {
    let choice =
        StreamChoice { stream: "a".to_owned(), namespace: Some("n".to_owned()), mode: StreamMode::Full, cursor: None };
    assert_eq!(choice.location(), "n.a");
}
