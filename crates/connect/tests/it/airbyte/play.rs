//! A connector that plays a transcript, and what came of it.
//!
//! In: lines per verb.  Out: outcomes, staged rows, the files that the connector was given.  Never here: assertions about a case.
//! Start at [`Play::new`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use connect::sources::airbyte::{AirbyteSettings, AirbyteSource, AirbyteTable, StreamChoice, StreamMode};
use connect::{ConnectError, ExtractOutcome, Source, Stage};
use domain::{NoProgress, StageManifest};
use object_store::ObjectStoreExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{request, stage_in};

/// What most tests discover: a stream with everything, one in a namespace, and one that cannot be read incrementally.
const CATALOG: &str = r#"{"type":"CATALOG","catalog":{"streams":[
{"name":"users","json_schema":{"type":"object","properties":{"id":{"type":"integer"},"updated_at":{"type":["null","string"],"format":"date-time"},"name":{"type":"string"}}},"supported_sync_modes":["full_refresh","incremental"],"source_defined_cursor":true,"default_cursor_field":["updated_at"],"source_defined_primary_key":[["id"]]},
{"name":"orders","namespace":"shop","json_schema":{"properties":{"id":{"type":"integer"},"_ab_cdc_lsn":{"type":"number"},"_ab_cdc_deleted_at":{"type":["null","string"]}}},"supported_sync_modes":["full_refresh","incremental"],"source_defined_cursor":true,"default_cursor_field":["_ab_cdc_lsn"],"source_defined_primary_key":[["id"]]},
{"name":"plain","json_schema":{"properties":{"x":{"type":"string"}}},"supported_sync_modes":["full_refresh"]}]}}"#;

/// A transcript, its connector, and a stage.
pub struct Play {
    directory: TempDir,
    /// Runs so far: each is a minute after the one before.
    runs: AtomicU32,
    pub settings: AirbyteSettings,
}

impl Play {
    /// A connector that accepts its settings and has the usual streams.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/airbyte/connector.sh");
        let words = ["sh", &script.display().to_string(), &directory.path().join("play").display().to_string()];
        let settings = AirbyteSettings {
            command: words.map(str::to_owned).to_vec(),
            config: json!({"count": 3, "api_key": "${CRM_KEY}"}),
            stall: Duration::from_secs(60),
        };
        std::fs::create_dir(directory.path().join("play")).unwrap();
        let play = Self { directory, runs: AtomicU32::new(0), settings };
        play.says("check", r#"{"type":"CONNECTION_STATUS","connectionStatus":{"status":"SUCCEEDED"}}"#);
        play.says("discover", &CATALOG.replace('\n', ""));
        play.says("read", "");
        play
    }

    /// Sets what the connector says for a verb.
    pub fn says(&self, verb: &str, lines: &str) {
        std::fs::write(self.path(&format!("{verb}.jsonl")), lines).unwrap();
    }

    /// Sets what it says for `read`: a start of each stream, the lines, and nothing else.
    pub fn reads(&self, lines: &[&str]) {
        self.says("read", &lines.join("\n"));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("play").join(name)
    }

    /// A file that the connector was given, such as `read.state`; `None` when it was not.
    pub fn got(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path("got").join(name)).ok()
    }

    /// The entry of a stream in the catalog that `read` was given.
    pub fn configured(&self, stream: &str) -> Value {
        let catalog: Value = serde_json::from_str(&self.got("read.catalog").unwrap()).unwrap();
        let streams = catalog["streams"].as_array().unwrap();
        streams.iter().find(|entry| entry["stream"]["name"] == stream).cloned().unwrap_or(Value::Null)
    }

    pub fn stage(&self) -> Stage {
        stage_in(self.directory.path())
    }

    pub fn source(&self, tables: &[AirbyteTable]) -> AirbyteSource {
        // What an earlier run was given must not be taken for this run's.
        drop(std::fs::remove_dir_all(self.path("got")));
        let lookup = |name: &str| (name == "CRM_KEY").then(|| SECRET.to_owned());
        let directory = self.directory.path().to_owned();
        AirbyteSource::with_environment(self.settings.clone(), tables.to_vec(), directory, lookup).unwrap()
    }

    /// One run over all of `tables`: what became of each.
    pub async fn run(&self, tables: &[AirbyteTable]) -> Vec<Result<ExtractOutcome, ConnectError>> {
        self.run_with(tables, false).await
    }

    pub async fn run_with(&self, tables: &[AirbyteTable], anew: bool) -> Vec<Result<ExtractOutcome, ConnectError>> {
        let source = self.source(tables);
        let minutes = self.runs.fetch_add(1, Ordering::Relaxed);
        let mut results = Vec::new();
        for table in tables.iter().filter(|table| table.is_selected) {
            let mut wanted = request(&table.name, &table.choice.location());
            wanted.config_hash = table.config_hash.clone();
            wanted.anew = anew;
            wanted.now += chrono::TimeDelta::minutes(minutes.into());
            results.push(source.extract(&wanted, &self.stage(), &NoProgress).await);
        }
        results
    }

    /// One run of one table that must succeed.
    pub async fn extract(&self, table: AirbyteTable) -> ExtractOutcome {
        self.run(&[table]).await.remove(0).unwrap()
    }

    /// The newest manifest of a table.
    pub async fn latest(&self, table: &str) -> Option<StageManifest> {
        self.stage().latest("shop", table).await.unwrap()
    }

    /// The lines of a manifest's files.
    pub async fn lines(&self, manifest: &StageManifest) -> Vec<String> {
        let mut lines = Vec::new();
        for file in &manifest.files {
            let path = object_store::path::Path::from(file.path.as_str());
            let bytes = self.stage().store().object_store.get(&path).await.unwrap().bytes().await.unwrap();
            assert_eq!((domain::hash_bytes(&bytes), bytes.len() as u64), (file.sha256.clone(), file.bytes));
            let text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap();
            assert_eq!(text.lines().count() as u64, file.rows.unwrap());
            lines.extend(text.lines().map(str::to_owned));
        }
        lines
    }

    /// The rows of a manifest without what was added to them.
    pub async fn rows(&self, manifest: &StageManifest) -> Vec<String> {
        let lines = self.lines(manifest).await;
        lines.iter().map(|line| line.split(",\"_airbyte_raw_id").next().unwrap().to_owned() + "}").collect()
    }
}

/// Stands in the settings, and nowhere else.
pub const SECRET: &str = "canary-7f3 \"quoted\" & more";

/// A wanted table of the same name as its stream.
pub fn table(stream: &str, mode: StreamMode) -> AirbyteTable {
    AirbyteTable {
        name: stream.to_owned(),
        target: format!("raw.{}", stream.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "_")).parse().unwrap(),
        config_hash: "c".to_owned(),
        choice: StreamChoice { stream: stream.to_owned(), namespace: None, mode, cursor: None },
        is_selected: true,
    }
}

/// A RECORD of the stream `users`.
pub fn user(data: &str) -> String {
    format!(r#"{{"type":"RECORD","record":{{"stream":"users","data":{data},"emitted_at":1795330184867}}}}"#)
}

/// A RECORD of the stream `orders`.
pub fn order(data: &str) -> String {
    format!(
        r#"{{"type":"RECORD","record":{{"stream":"orders","namespace":"shop","data":{data},"emitted_at":1795330184867}}}}"#
    )
}

/// A STATE of the stream `users` with its content and count.
pub fn state(content: &str, count: &str) -> String {
    format!(r#"{{"type":"STATE","state":{}}}"#, state_text(content, count))
}

/// The body of [`state`].
pub fn state_text(content: &str, count: &str) -> String {
    format!(
        r#"{{"type":"STREAM","stream":{{"stream_descriptor":{{"name":"users"}},"stream_state":{content}}},"sourceStats":{{"recordCount":{count}}}}}"#
    )
}

/// A status of a stream.
pub fn status(stream: &str, status: &str) -> String {
    let namespace = if stream == "orders" { r#","namespace":"shop""# } else { "" };
    format!(
        r#"{{"type":"TRACE","trace":{{"type":"STREAM_STATUS","emitted_at":1795330184865.643,"stream_status":{{"stream_descriptor":{{"name":"{stream}"{namespace}}},"status":"{status}"}}}}}}"#
    )
}

pub fn complete(stream: &str) -> String {
    status(stream, "COMPLETE")
}
