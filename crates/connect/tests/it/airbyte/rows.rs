//! Rows: how they are staged, with which columns and in which mode.
//!
//! In: transcripts.  Out: verdicts.  Never here: states across runs (`states`), failures (`endings`).  Start at the first test.

use connect::Source;
use connect::sources::airbyte::{AirbyteSettings, StreamMode};
use domain::{Compression, FileFormat, Resume, StageMode};
use serde_json::{Value, json};

use super::play::{Play, complete, order, state, status, table, user};
use crate::support::code_of;

#[tokio::test]
async fn a_stream_without_any_state_is_whole_when_the_connector_says_so() {
    let play = Play::new();
    play.reads(&[&status("users", "STARTED"), &user(r#"{"id":1}"#), &user(r#"{"id":2}"#), &complete("users")]);
    let outcome = play.extract(table("users", StreamMode::Full)).await;
    let manifest = outcome.manifest;
    assert_eq!((manifest.mode, manifest.number, outcome.unchanged), (StageMode::Full, 1, false));
    assert_eq!((manifest.changes.as_ref(), manifest.proof.as_ref()), (None, None));
    assert_eq!(manifest.resume, Some(Resume::Airbyte { state: None, generation: 1 }));
    let file = &manifest.files[0];
    assert_eq!((file.format, file.compression, file.rows), (FileFormat::JsonLines, Compression::Zstd, Some(2)));
    assert!(file.name.starts_with("20261123T120000Z-") && file.name.ends_with(".jsonl.zst"), "{}", file.name);
    assert_eq!(play.rows(&manifest).await, [r#"{"id":1}"#, r#"{"id":2}"#]);
    assert_eq!(play.latest("users").await, Some(manifest));
    let entry = play.configured("users");
    assert_eq!(entry["sync_mode"], "full_refresh");
    assert_eq!(entry["destination_sync_mode"], "overwrite");
    assert_eq!((&entry["generation_id"], &entry["minimum_generation_id"]), (&json!(1), &json!(0)));
    assert_eq!(play.got("read.state"), None);
}

#[tokio::test]
async fn an_empty_stream_is_a_table_without_rows() {
    let play = Play::new();
    play.reads(&[&status("users", "STARTED"), &complete("users")]);
    let manifest = play.extract(table("users", StreamMode::Full)).await.manifest;
    assert_eq!(manifest.files[0].rows, Some(0));
    assert!(play.rows(&manifest).await.is_empty());
    let declared: Vec<_> =
        manifest.column_types.iter().map(|column| (column.name.as_str(), column.type_name.as_str())).collect();
    assert_eq!(
        declared,
        [
            ("id", "bigint"),
            ("updated_at", "timestamptz"),
            ("name", "text"),
            ("_airbyte_raw_id", "text"),
            ("_airbyte_extracted_at", "timestamptz"),
            ("_airbyte_generation_id", "bigint"),
            ("_airbyte_meta", "text"),
        ]
    );
}

#[tokio::test]
async fn values_arrive_as_they_were_written() {
    let play = Play::new();
    let rows = [
        r#"{"z":1.7976931348623157e308,"a":-5e-324,"n":12345678901234567890,"m":-98765432109876543210,"d":1.10}"#,
        r#"{"id":9223372036854775807,"unknown":{"deep":[1,"x",{"y":null}]},"union":"5"}"#,
        r#"{"union":5,"mixed":[1,"a",true,null,{"k":1.0}],"o":{ "b" : 1 , "a" : 2 }}"#,
        r#"{"e":"","zero":0,"no":false,"nothing":null,"empty":{},"list":[]}"#,
        r#"{"text":"Grüße 你好 \u0000 \" \\ line\nbreak","column.with.dots":1,"select":2,"Id":3,"ID":4}"#,
    ];
    let lines: Vec<String> = rows.iter().map(|row| user(row)).chain([complete("users")]).collect();
    play.says("read", &lines.join("\r\n"));
    let manifest = play.extract(table("users", StreamMode::Full)).await.manifest;
    assert_eq!(play.rows(&manifest).await, rows);
}

#[tokio::test]
async fn each_row_says_where_it_is_from_the_same_in_a_repetition() {
    let play = Play::new();
    let changed = r#"{"type":"RECORD","record":{"stream":"users","data":{"id":2},"emitted_at":1795330184867.9,"meta":{"changes":[{"field":"name","change":"NULLED","reason":"SOURCE_FIELD_SIZE_LIMITATION"}]}}}"#;
    play.reads(&[&user(r#"{"id":1}"#), changed, &complete("users")]);
    let mut ids = Vec::new();
    for _ in 0..2 {
        // The stage of another machine: the run begins from the same place.
        drop(std::fs::remove_dir_all(play.path("../stage")));
        let manifest = play.extract(table("users", StreamMode::Full)).await.manifest;
        let lines = play.lines(&manifest).await;
        let parsed: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parsed[1]["_airbyte_extracted_at"], "2026-11-22T06:49:44.867Z");
        assert_eq!(parsed[1]["_airbyte_generation_id"], 1);
        assert_eq!(parsed[0]["_airbyte_meta"]["changes"], json!([]));
        assert_eq!(parsed[1]["_airbyte_meta"]["changes"][0]["change"], "NULLED");
        assert_eq!(parsed[1]["_airbyte_meta"]["sync_id"], play.configured("users")["sync_id"]);
        ids.push(parsed.iter().map(|row| row["_airbyte_raw_id"].clone()).collect::<Vec<_>>());
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0][0], ids[0][1]);
}

#[tokio::test]
async fn a_line_of_eight_megabytes_is_a_row_like_others() {
    let play = Play::new();
    let long = "x".repeat(8 << 20);
    std::fs::write(play.path("long"), user(&format!(r#"{{"id":1,"name":"{long}"}}"#)) + "\n").unwrap();
    play.reads(&["#print long", &user(r#"{"id":2}"#), &complete("users")]);
    let manifest = play.extract(table("users", StreamMode::Full)).await.manifest;
    let rows = play.rows(&manifest).await;
    assert_eq!((rows.len(), rows[0].len()), (2, long.len() + 18));
}

#[tokio::test]
async fn noise_and_messages_of_other_kinds_pass() {
    let play = Play::new();
    let banner = "  ____  welcome to the connector\n{\"level\":\"INFO\",\"msg\":\"structured log\"}\n{half a json";
    play.says("check", &format!("{banner}\n{}", std::fs::read_to_string(play.path("check.jsonl")).unwrap()));
    play.reads(&[
        banner,
        "",
        r#"{"type":"LOG","log":{"level":"FATAL","message":"not so bad","stack_trace":"x"},"new":1}"#,
        r#"{"type":"SOMETHING_NEW","something_new":{"a":[]}}"#,
        r#"{"type":"TRACE","trace":{"type":"ANALYTICS","emitted_at":1.5,"analytics":{"type":"x"}}}"#,
        r#"{"type":"TRACE","trace":{"type":"ESTIMATE","emitted_at":1,"estimate":{"name":"users","type":"STREAM","row_estimate":100,"byte_estimate":1}}}"#,
        r#"{"type":"RECORD","record":{"stream":"never asked for","data":{"id":7},"emitted_at":1}}"#,
        &user(r#"{"id":1}"#),
        "#stderr a warning",
        &complete("users"),
    ]);
    let manifest = play.extract(table("users", StreamMode::Full)).await.manifest;
    assert_eq!(play.rows(&manifest).await, [r#"{"id":1}"#]);
}

#[tokio::test]
async fn changes_carry_key_version_and_deletions_from_the_first_run_on() {
    let play = Play::new();
    let wanted = [table("users", StreamMode::Changes), table("orders", StreamMode::Changes)];
    play.reads(&[
        &user(r#"{"id":1,"updated_at":"2026-01-01T00:00:00Z"}"#),
        &state(r#"{"at":1}"#, "1.0"),
        &complete("users"),
        &order(r#"{"id":7,"_ab_cdc_lsn":5,"_ab_cdc_deleted_at":"2026-01-01"}"#),
        &complete("orders"),
    ]);
    let manifests: Vec<_> = play.run(&wanted).await.into_iter().map(|result| result.unwrap().manifest).collect();
    let rules = |place: usize| {
        let rules = manifests[place].changes.clone().unwrap();
        (rules.key.join(","), rules.version, rules.deleted)
    };
    // The base may hold a row several times: its rules say which of them is the row.
    assert_eq!(manifests[0].mode, StageMode::Full);
    assert_eq!(rules(0), ("id".to_owned(), Some("updated_at".to_owned()), None));
    let (lsn, deleted) = ("_ab_cdc_lsn".to_owned(), "_ab_cdc_deleted_at".to_owned());
    assert_eq!(rules(1), ("id".to_owned(), Some(lsn), Some(deleted)));
    let entry = play.configured("users");
    assert_eq!((&entry["sync_mode"], &entry["destination_sync_mode"]), (&json!("incremental"), &json!("append_dedup")));
    assert_eq!((&entry["cursor_field"], &entry["primary_key"]), (&json!(["updated_at"]), &json!([["id"]])));
    assert_eq!(play.configured("orders")["stream"]["namespace"], "shop");
}

#[tokio::test]
async fn streams_that_cannot_be_read_as_wanted_are_refused_before_anything_is_read() {
    let play = Play::new();
    let stream = |name: &str, rest: &str| {
        format!(
            r#"{{"name":"{name}","json_schema":{{"properties":{{"id":{{"type":"integer"}},"o":{{"type":"object"}}}}}},"supported_sync_modes":["full_refresh","incremental"]{rest}}}"#
        )
    };
    let streams = [
        stream("nested", r#","source_defined_cursor":true,"source_defined_primary_key":[["o","id"]]"#),
        stream("keyless", r#","source_defined_cursor":true"#),
        stream("open", r#","source_defined_primary_key":[["id"]]"#),
        stream("twin", r#","namespace":"a""#),
        stream("twin", r#","namespace":"b""#),
        r#"{"name":"plain","json_schema":{},"supported_sync_modes":["full_refresh"]}"#.to_owned(),
    ];
    play.says("discover", &format!(r#"{{"type":"CATALOG","catalog":{{"streams":[{}]}}}}"#, streams.join(",")));
    let with_cursor = |stream: &str, cursor: &str| {
        let mut wanted = table(stream, StreamMode::Append);
        wanted.choice.cursor = Some(cursor.to_owned());
        wanted
    };
    for (wanted, code, hint) in [
        (table("nested", StreamMode::Changes), "stream_unusable", "inside a value of `nested`: `o.id`"),
        (table("keyless", StreamMode::Changes), "no_key", "`keyless` has no primary key"),
        (table("open", StreamMode::Changes), "stream_unusable", "leaves it open which column `open` goes by"),
        (with_cursor("open", "nope"), "bad_cursor", "there is no such column"),
        (with_cursor("keyless", "id"), "bad_cursor", "the connector goes by its own"),
        (table("plain", StreamMode::Append), "stream_unusable", "cannot read `plain` incrementally"),
        (table("twin", StreamMode::Full), "stream_unusable", "has 2 streams `twin`"),
        (table("keyles", StreamMode::Full), "no_such_stream", "has no stream `keyles` among its 6"),
    ] {
        let result = play.run(std::slice::from_ref(&wanted)).await.remove(0);
        let shown = result.as_ref().unwrap_err().to_string();
        assert!(shown.contains(hint), "{shown}");
        assert_eq!(code_of(result, ""), code);
        assert_eq!(play.got("read.catalog"), None, "{}", wanted.name);
    }
    play.reads(&[&status("open", "STARTED"), &complete("open")]);
    play.extract(with_cursor("open", "id")).await;
    assert_eq!(play.configured("open")["cursor_field"], json!(["id"]));
    play.reads(&[r#"{"type":"TRACE","trace":{"type":"STREAM_STATUS","emitted_at":1,"stream_status":{"stream_descriptor":{"name":"twin","namespace":"b"},"status":"COMPLETE"}}}"#]);
    let mut twin = table("twin", StreamMode::Full);
    twin.choice.namespace = Some("b".to_owned());
    play.extract(twin).await;
    assert_eq!(play.configured("twin")["stream"]["namespace"], "b");
}

#[tokio::test]
async fn a_stream_without_a_full_refresh_is_read_whole_without_a_state() {
    let play = Play::new();
    play.says(
        "discover",
        r#"{"type":"CATALOG","catalog":{"streams":[{"name":"log","json_schema":{"properties":{"at":{"type":"integer"}}},"supported_sync_modes":["incremental"],"source_defined_cursor":true,"default_cursor_field":["at"]}]}}"#,
    );
    let done = r#"{"type":"TRACE","trace":{"type":"STREAM_STATUS","emitted_at":1,"stream_status":{"stream_descriptor":{"name":"log","namespace":""},"status":"COMPLETE"}}}"#;
    let row = |number: u64| {
        format!(
            r#"{{"type":"RECORD","record":{{"stream":"log","namespace":"","data":{{"at":{number}}},"emitted_at":1}}}}"#
        )
    };
    let state =
        r#"{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"log"},"stream_state":{}}}}"#;
    for number in 1..=2 {
        play.reads(&[&row(number), state, done]);
        let manifest = play.extract(table("log", StreamMode::Full)).await.manifest;
        assert_eq!((manifest.number, manifest.mode, play.got("read.state")), (number, StageMode::Full, None));
        assert_eq!(play.rows(&manifest).await, [format!("{{\"at\":{number}}}")]);
        let entry = play.configured("log");
        assert_eq!(
            (&entry["sync_mode"], &entry["destination_sync_mode"]),
            (&json!("incremental"), &json!("overwrite"))
        );
        assert_eq!((&entry["cursor_field"], &entry["generation_id"]), (&json!(["at"]), &json!(number)));
    }
}

#[tokio::test]
async fn discover_tells_names_types_and_keys() {
    let play = Play::new();
    let tables = play.source(&[]).discover().await.unwrap();
    let shown: Vec<String> = tables
        .iter()
        .map(|table| {
            let columns = table.columns.iter().map(|column| format!("{} {}", column.name, column.staged_type));
            format!("{} [{}] {}", table.name, table.primary_key.join(","), columns.collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "plain [] x text",
            "shop.orders [id] id bigint, _ab_cdc_lsn double, _ab_cdc_deleted_at text",
            "users [id] id bigint, updated_at timestamptz, name text",
        ]
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let mut play = Play::new();
    play.settings = AirbyteSettings { command: vec!["./no-such-connector".to_owned()], ..play.settings };
    let result = play.run(&[table("users", StreamMode::Full)]).await.remove(0);
    assert!(result.as_ref().unwrap_err().to_string().contains("`./no-such-connector`"));
    assert_eq!(code_of(result, ""), "no_such_connector");
}
