//! States: a run goes on where the one before ended, and says why when it does not.
//!
//! In: transcripts of several runs.  Out: verdicts.  Never here: failures within a run (`endings`).  Start at the first test.

use connect::sources::airbyte::{AirbyteTable, StreamMode};
use domain::{Resume, StageMode};
use serde_json::json;

use super::play::{Play, complete, order, state, state_text, table, user};

fn resume(state: &str, generation: u64) -> Option<Resume> {
    Some(Resume::Airbyte { state: Some(state.to_owned()), generation })
}

#[tokio::test]
async fn the_state_goes_back_byte_for_byte_and_the_next_rows_are_changes() {
    let play = Play::new();
    let odd = r#"{ "z" : 1.0, "a":12345678901234567890123, "é":"\u00e9", "big":1e400 }"#;
    play.reads(&[
        &user(r#"{"id":1}"#),
        &state(r#"{"early":1}"#, "1"),
        &user(r#"{"id":2}"#),
        &state(odd, "1.0"),
        &complete("users"),
    ]);
    let first = play.extract(table("users", StreamMode::Changes)).await.manifest;
    assert_eq!((first.mode, &first.resume), (StageMode::Full, &resume(&state_text(odd, "1.0"), 1)));

    play.reads(&[&user(r#"{"id":2,"name":"new"}"#), &state(r#"{"next":1}"#, "1"), &complete("users")]);
    let outcome = play.extract(table("users", StreamMode::Changes)).await;
    assert_eq!(play.got("read.state").unwrap(), format!("[{}]", state_text(odd, "1.0")));
    assert_eq!((outcome.manifest.mode, outcome.manifest.number), (StageMode::Changes, 2));
    assert_eq!((outcome.read_anew, outcome.unchanged), (None, false));
    assert_eq!(play.rows(&outcome.manifest).await, [r#"{"id":2,"name":"new"}"#]);
    assert_eq!(play.configured("users")["minimum_generation_id"], 0);
    assert_eq!(outcome.manifest.resume, resume(&state_text(r#"{"next":1}"#, "1"), 1));

    // Nothing new, and a state that only looks newer: nothing is published.
    play.reads(&[&state(r#"{"next":2}"#, "0"), &complete("users")]);
    let quiet = play.extract(table("users", StreamMode::Changes)).await;
    assert!(quiet.unchanged);
    assert_eq!(quiet.manifest.number, 2);
}

#[tokio::test]
async fn appended_rows_are_changes_of_rows_that_are_all_different() {
    let play = Play::new();
    for number in 1..=3 {
        let text = state(&format!("{{\"at\":{number}}}"), "1.0");
        play.reads(&[&user(r#"{"id":1}"#), &text, &complete("users")]);
        let manifest = play.extract(table("users", StreamMode::Append)).await.manifest;
        assert_eq!(manifest.number, number);
        let key = manifest.changes.as_ref().map(|changes| changes.key.join(","));
        assert_eq!(key, (number > 1).then(|| "_airbyte_raw_id".to_owned()));
        assert_eq!(play.configured("users")["destination_sync_mode"], "append");
    }
    let mut ids = Vec::new();
    for number in 1..=3 {
        let manifest = play.stage().manifest("shop", "users", number).await.unwrap().unwrap();
        ids.extend(
            play.lines(&manifest).await.iter().map(|line| line.split("raw_id\":").nth(1).unwrap()[..38].to_owned()),
        );
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn anew_raises_the_generation_and_replaces_the_table() {
    let play = Play::new();
    play.reads(&[&user(r#"{"id":1}"#), &state("{}", "1"), &complete("users")]);
    play.extract(table("users", StreamMode::Changes)).await;
    let manifest = play.run_with(&[table("users", StreamMode::Changes)], true).await.remove(0).unwrap().manifest;
    assert_eq!((manifest.mode, manifest.number), (StageMode::Full, 2));
    assert_eq!(manifest.resume, resume(&state_text("{}", "1"), 2));
    let entry = play.configured("users");
    assert_eq!((&entry["generation_id"], &entry["minimum_generation_id"]), (&json!(2), &json!(2)));
    assert_eq!(play.got("read.state"), None);
    assert!(play.lines(&manifest).await[0].contains("\"_airbyte_generation_id\":2"));

    // Half of a new generation replaces nothing, whatever its states cover.
    play.reads(&[&user(r#"{"id":9}"#), &state("{}", "1"), "#exit 1"]);
    let failed = play.run_with(&[table("users", StreamMode::Changes)], true).await.remove(0);
    assert!(failed.is_err());
    assert_eq!(play.latest("users").await, Some(manifest));
}

#[tokio::test]
async fn other_settings_and_missing_states_are_read_anew_and_said() {
    let play = Play::new();
    let wanted = || table("users", StreamMode::Changes);
    play.reads(&[&user(r#"{"id":1}"#), &complete("users")]);
    play.extract(wanted()).await;
    play.reads(&[&user(r#"{"id":1}"#), &state("{}", "1"), &complete("users")]);
    let stateless = play.extract(wanted()).await;
    assert_eq!(stateless.read_anew.as_deref(), Some("the connector gave no state to go on from"));
    assert_eq!(stateless.manifest.mode, StageMode::Full);
    let other = play.extract(AirbyteTable { config_hash: "other".to_owned(), ..wanted() }).await;
    assert_eq!(other.read_anew.as_deref(), Some("the settings of the source have changed"));
    assert_eq!((other.manifest.mode, play.got("read.state")), (StageMode::Full, None));
}

#[tokio::test]
async fn a_state_before_there_were_types_is_the_connectors_own_data() {
    let play = Play::new();
    play.reads(&[&user(r#"{"id":1}"#), r#"{"type":"STATE","state":{"data":{ "b":1.0, "a":2 }}}"#, &complete("users")]);
    play.extract(table("users", StreamMode::Changes)).await;
    let next = play.extract(table("users", StreamMode::Changes)).await;
    assert_eq!(next.manifest.mode, StageMode::Changes);
    assert_eq!(play.got("read.state").unwrap(), r#"{ "b":1.0, "a":2 }"#);
}

/// A state that `users` and `orders` share.
fn global(lsn: u64) -> String {
    format!(
        r#"{{"type":"GLOBAL","global":{{"shared_state":{{"lsn":{lsn}}},"stream_states":[{{"stream_descriptor":{{"name":"users"}},"stream_state":{{"u":1}}}},{{"stream_descriptor":{{"name":"orders","namespace":"shop"}},"stream_state":{{"o":1}}}}]}},"sourceStats":{{"recordCount":1.0}}}}"#
    )
}

fn reads_global(play: &Play, lsn: u64) {
    let text = format!(r#"{{"type":"STATE","state":{}}}"#, global(lsn));
    play.reads(&[&user(&format!(r#"{{"id":{lsn}}}"#)), &text, &complete("users"), &complete("orders")]);
}

#[tokio::test]
async fn a_shared_state_is_kept_with_every_stream_and_given_back_once() {
    let play = Play::new();
    let both = [table("users", StreamMode::Changes), table("orders", StreamMode::Changes)];
    reads_global(&play, 1);
    play.run(&both).await.into_iter().for_each(|result| drop(result.unwrap()));
    reads_global(&play, 2);
    let outcomes: Vec<_> = play.run(&both).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(play.got("read.state").unwrap(), format!("[{}]", global(1)));
    // `orders` has no rows; it takes the state all the same, or the two would not agree any more.
    for outcome in &outcomes {
        assert_eq!((outcome.manifest.number, outcome.manifest.mode), (2, StageMode::Changes));
        assert_eq!(outcome.manifest.resume, resume(&global(2), 1));
    }
    assert!(outcomes[1].manifest.files.is_empty());

    // Whoever asks for one of them reads both.
    reads_global(&play, 3);
    let one = [both[0].clone(), AirbyteTable { is_selected: false, ..both[1].clone() }];
    play.run(&one).await.remove(0).unwrap();
    assert_eq!(play.latest("orders").await.unwrap().resume, resume(&global(3), 1));
}

#[tokio::test]
async fn a_stream_that_begins_anew_is_left_out_of_the_shared_state() {
    let play = Play::new();
    let users = table("users", StreamMode::Changes);
    let both = [users.clone(), table("orders", StreamMode::Changes)];
    reads_global(&play, 1);
    play.run(&both).await.into_iter().for_each(|result| drop(result.unwrap()));
    reads_global(&play, 2);
    let changed = [users.clone(), AirbyteTable { config_hash: "other".to_owned(), ..both[1].clone() }];
    let outcomes: Vec<_> = play.run(&changed).await.into_iter().map(Result::unwrap).collect();
    assert_eq!((outcomes[0].manifest.mode, outcomes[1].manifest.mode), (StageMode::Changes, StageMode::Full));
    assert_eq!(
        play.got("read.state").unwrap(),
        r#"[{"type":"GLOBAL","global":{"shared_state":{"lsn":1},"stream_states":[{"stream_descriptor":{"name":"users"},"stream_state":{"u":1}}]}}]"#
    );

    // A table whose manifests went lost holds no state; one that was kept back holds an older one, and begins anew as well.
    std::fs::remove_file(play.path("../stage/shop/orders/00000000000000000002.json")).unwrap();
    reads_global(&play, 3);
    let outcomes: Vec<_> = play.run(&both).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        outcomes[1].read_anew.as_deref(),
        Some("the streams of the source share one state, and not all hold the same")
    );
    assert_eq!(outcomes[0].manifest.mode, StageMode::Changes);
}

#[tokio::test]
async fn streams_with_states_of_their_own_go_on_by_themselves() {
    let play = Play::new();
    let own = r#"{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"orders","namespace":"shop"},"stream_state":{"o":1}}}}"#;
    let both = [table("users", StreamMode::Changes), table("orders", StreamMode::Append)];
    let lines =
        [&user(r#"{"id":1}"#), &state("{}", "1"), &complete("users"), &order(r#"{"id":1}"#), own, &complete("orders")];
    play.reads(&lines);
    play.run(&both).await.into_iter().for_each(|result| drop(result.unwrap()));
    // Only the one that is asked for is read, and only its state is told.
    let one = [AirbyteTable { is_selected: false, ..both[0].clone() }, both[1].clone()];
    play.run(&one).await.remove(0).unwrap();
    assert_eq!(play.configured("users"), serde_json::Value::Null);
    let told = play.got("read.state").unwrap();
    assert!(told.contains("orders") && !told.contains("users"), "{told}");
    play.run(&both).await.into_iter().for_each(|result| drop(result.unwrap()));
    let told = play.got("read.state").unwrap();
    assert!(told.contains("orders") && told.contains("users"), "{told}");
}
