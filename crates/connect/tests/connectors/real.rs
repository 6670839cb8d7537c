//! Connectors as they are published, each in a Python environment of its own.
//!
//! In: `MONTAUK_CONNECTORS`, a directory with `faker` and `smoke-test`.  Out: verdicts.  Never here: their installation
//! (`scripts/test-connectors.sh`).  Start at [`play_of`].

use std::path::PathBuf;
use std::time::Duration;

use connect::Source;
use connect::sources::airbyte::{AirbyteSettings, StreamMode};
use domain::{Resume, StageMode};
use serde_json::{Value, json};

use crate::play::{Play, table};
use crate::smoke;

/// A connector of Python's index, with settings.
fn play_of(environment: &str, program: &str, config: Value) -> Play {
    let directory = PathBuf::from(std::env::var("MONTAUK_CONNECTORS").expect("make test-connectors sets it"));
    let program = directory.join(environment).join("bin").join(program);
    let mut play = Play::new();
    let command = vec![program.display().to_string()];
    play.settings = AirbyteSettings { command, config, stall: Duration::from_secs(300) };
    play
}

#[tokio::test]
async fn real_faker_goes_on_from_its_state() {
    let play =
        play_of("faker", "source-faker", json!({"count": 20, "seed": 42, "parallelism": 1, "always_updated": false}));
    let source = play.source(&[]);
    let names: Vec<String> = source.discover().await.unwrap().into_iter().map(|table| table.name).collect();
    assert_eq!(names, ["products", "purchases", "users"]);
    let findings = source.examine(&[]).await.unwrap();
    assert!(findings.iter().all(|finding| finding.next.is_none()), "{findings:?}");

    let tables = [
        table("products", StreamMode::Full),
        table("purchases", StreamMode::Append),
        table("users", StreamMode::Changes),
    ];
    let first: Vec<_> = play.run(&tables).await.into_iter().map(|result| result.unwrap().manifest).collect();
    let rows = |place: usize| first[place].files[0].rows.unwrap();
    assert!(rows(0) >= 20 && rows(1) >= 1 && rows(2) == 20, "{} {} {}", rows(0), rows(1), rows(2));
    assert!(first.iter().all(|manifest| manifest.mode == StageMode::Full));
    let Some(Resume::Airbyte { state: Some(state), .. }) = &first[2].resume else { panic!("{:?}", first[2].resume) };
    assert!(state.contains("\"recordCount\":20.0"), "{state}");

    let second: Vec<_> = play.run(&tables).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(second[0].manifest.mode, StageMode::Full);
    // Everybody was read before, so that either nothing is new or it comes as a change.
    for outcome in &second[1..] {
        assert!(outcome.unchanged || outcome.manifest.mode == StageMode::Changes, "{:?}", outcome.manifest);
        assert_eq!(outcome.read_anew, None);
    }
}

#[tokio::test]
async fn real_faker_refuses_wrong_settings() {
    let play = play_of("faker", "source-faker", json!({"count": "many"}));
    let error = play.run(&[table("users", StreamMode::Full)]).await.remove(0).unwrap_err();
    assert!(error.to_string().contains("source-faker"), "{error}");
    assert_eq!(domain::Problem::code(&error), "connector_config", "{error}");
}

#[tokio::test]
async fn real_test_cases() {
    let config = json!({"all_slow_streams": true, "large_batch_record_count": 2000});
    smoke::check(&play_of("smoke-test", "source-smoke-test", config)).await;
}
