//! Recordings of real connectors, which lie beside the repository and not in it.
//!
//! In: `MONTAUK_RECORDINGS`, a directory with `faker.*.jsonl` and `smoke.*.jsonl`.  Out: verdicts.  Never here: the connectors themselves.
//! Start at [`play_of`].

use std::path::PathBuf;

use connect::Source;
use connect::sources::airbyte::StreamMode;
use domain::{Resume, StageMode};

use crate::play::{Play, table};
use crate::smoke;

/// A connector that says again what was recorded.
fn play_of(recording: &str) -> Play {
    let directory = PathBuf::from(std::env::var("MONTAUK_RECORDINGS").expect("make test-connectors sets it"));
    let play = Play::new();
    for verb in ["discover", "read"] {
        std::fs::copy(directory.join(format!("{recording}.{verb}.jsonl")), play.path("recorded")).unwrap();
        std::fs::rename(play.path("recorded"), play.path(&format!("recorded.{verb}"))).unwrap();
        play.says(verb, &format!("#print recorded.{verb}"));
    }
    play
}

#[tokio::test]
async fn recorded_test_cases() {
    let play = play_of("smoke");
    assert_eq!(play.source(&[]).discover().await.unwrap().len(), 22);
    smoke::check(&play).await;
}

#[tokio::test]
async fn recorded_states_and_estimates() {
    let play = play_of("faker");
    let tables = ["products", "purchases", "users"].map(|stream| table(stream, StreamMode::Changes));
    for (table, result) in tables.iter().zip(play.run(&tables).await) {
        let manifest = result.unwrap().manifest;
        assert_eq!((manifest.mode, manifest.files[0].rows), (StageMode::Full, Some(3)), "{}", table.name);
        let rules = manifest.changes.unwrap();
        assert_eq!((rules.key, rules.version.as_deref()), (vec!["id".to_owned()], Some("updated_at")));
        let Some(Resume::Airbyte { state: Some(state), generation: 1 }) = manifest.resume else {
            panic!("{}", table.name)
        };
        assert!(state.contains("\"recordCount\":3.0") && state.contains(&table.name), "{state}");
    }
    for result in play.run(&tables).await {
        assert_eq!(result.unwrap().manifest.mode, StageMode::Changes);
    }
    assert_eq!(play.got("read.state").unwrap().matches("\"seed\":42").count(), 3);
}
