//! An Airbyte connector through the real program: staged, loaded, merged, cast failures set aside; and no secret in whatever is said or kept.
//!
//! In: a scripted connector.  Out: tables, files, outputs.
//! Never here: the protocol itself (`connect`), real connectors (`make test-connectors`).

use std::fs;
use std::path::{Path, PathBuf};

use testbed::MariaDb;

use crate::support::{csv, montauk, repository, run};

const SECRET: &str = "s3cr3t-c4n4ry-9f8e7d";

const CATALOG: &str = r#"{"type":"CATALOG","catalog":{"streams":[{"name":"users","json_schema":{"type":"object","properties":{
"id":{"type":"integer"},"updated_at":{"type":["null","string"],"format":"date-time"},"name":{"type":"string"},"score":{"type":["null","number"]},
"any":{"oneOf":[{"type":"string"},{"type":"object"}]},"_ab_cdc_deleted_at":{"type":["null","string"]}EXTRA}},
"supported_sync_modes":["full_refresh","incremental"],"source_defined_cursor":true,"default_cursor_field":["updated_at"],"source_defined_primary_key":[["id"]]}]}}"#;

struct Connector {
    dir: tempfile::TempDir,
}

impl Connector {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let play = dir.path().join("play");
        fs::create_dir_all(&play).unwrap();
        fs::create_dir_all(dir.path().join("sources")).unwrap();
        fs::write(dir.path().join("montauk.toml"), "[project]\nname = \"crm\"\n").unwrap();
        let script = repository().join("crates/connect/tests/fixtures/airbyte/connector.sh");
        let source = format!(
            "kind = \"airbyte\"\ncommand = [\"sh\", \"{}\", \"{}\"]\n[config]\napi_key = \"${{CRM_KEY}}\"\n\
             [tables.users]\nmode = \"changes\"\ninto = \"raw.users\"\n",
            script.display(),
            play.display()
        );
        fs::write(dir.path().join("sources/crm.toml"), source).unwrap();
        let connector = Self { dir };
        connector.says("check", r#"{"type":"CONNECTION_STATUS","connectionStatus":{"status":"SUCCEEDED"}}"#);
        connector.discovers("");
        connector
    }

    fn says(&self, verb: &str, lines: &str) {
        fs::write(self.dir.path().join("play").join(format!("{verb}.jsonl")), lines).unwrap();
    }

    /// The stream, with further properties.
    fn discovers(&self, extra: &str) {
        self.says("discover", &CATALOG.replace("EXTRA", extra).replace('\n', ""));
    }

    /// What `read` says: records, and a state after them.
    fn reads(&self, records: &[&str], state: u32) {
        let record = |data: &&str| {
            format!(r#"{{"type":"RECORD","record":{{"stream":"users","emitted_at":1767225600000,"data":{data}}}}}"#)
        };
        let mut lines: Vec<String> = records.iter().map(record).collect();
        lines.push(format!(
            r#"{{"type":"STATE","state":{{"type":"STREAM","stream":{{"stream_descriptor":{{"name":"users"}},"stream_state":{{"n":{state}}}}}}}}}"#
        ));
        lines.push(r#"{"type":"TRACE","trace":{"type":"STREAM_STATUS","emitted_at":1,"stream_status":{"stream_descriptor":{"name":"users"},"status":"COMPLETE"}}}"#.to_owned());
        self.says("read", &lines.join("\n"));
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = montauk();
        command.arg("-C").arg(self.dir.path()).arg("--json").env("CRM_KEY", SECRET).args(arguments);
        command
    }

    fn sync(&self) -> serde_json::Value {
        run(&mut self.command(&["extract"]));
        run(&mut self.command(&["copy"]))
    }

    fn rows(&self, columns: &str) -> String {
        csv(self.dir.path(), &format!("select {columns} from raw.users order by id"))
    }
}

#[test]
fn a_stream_is_merged_and_never_stopped_by_what_it_holds() {
    let connector = Connector::new();
    connector.reads(
        &[
            r#"{"id":1,"updated_at":"2026-01-01T00:00:00Z","name":"ann","score":1.50,"any":{"x":[1]},"unknown":true}"#,
            r#"{"id":2,"updated_at":"2026-01-01T00:00:00Z","name":7,"score":"high","any":"text"}"#,
            r#"{"id":1,"updated_at":"2026-01-02T00:00:00Z","name":"anna","score":1.797e308}"#,
        ],
        1,
    );
    let report = connector.sync();
    assert_eq!(report["tables"][0]["cells_rejected"], 1, "{report}");
    assert_eq!(connector.rows("id, name, score, \"any\""), "id,name,score,any\n1,anna,1.797e308,\n2,7,,text\n");
    connector.reads(
        &[
            r#"{"id":2,"updated_at":"2026-01-03T00:00:00Z","_ab_cdc_deleted_at":"2026-01-03"}"#,
            r#"{"id":3,"updated_at":"2026-01-03T00:00:00Z","name":"cyd","score":null}"#,
        ],
        2,
    );
    connector.sync();
    assert_eq!(connector.rows("id, name"), "id,name\n1,anna\n3,cyd\n");
    // The same again brings nothing, and the stream may get a field.
    connector.discovers(r#","city":{"type":"string"}"#);
    connector.reads(&[r#"{"id":4,"updated_at":"2026-01-04T00:00:00Z","name":"dan","city":"Busan"}"#], 3);
    connector.sync();
    assert_eq!(connector.rows("id, name, city"), "id,name,city\n1,anna,\n3,cyd,\n4,dan,Busan\n");
    assert_eq!(run(&mut connector.command(&["copy"]))["tables"][0]["rows_loaded"], 0);
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// What a verb says, on both outputs and as loud as it can.
fn said(mut command: std::process::Command, arguments: &[&str]) -> Vec<u8> {
    let output = command.args(arguments).arg("-vv").env("MONTAUK_LOG", "trace").output().unwrap();
    [output.stdout, output.stderr].concat()
}

#[test]
fn no_secret_is_said_or_kept() {
    let connector = Connector::new();
    let play = connector.dir.path().join("play");
    connector.says("read", "#config\n#stderr still here\n{\"type\":\"TRACE\",\"trace\":{\"type\":\"ERROR\",\"emitted_at\":1,\"error\":{\"message\":\"bad key s3cr3t-c4n4ry-9f8e7d\",\"failure_type\":\"config_error\"}}}\n#exit 1");
    for verb in [&["extract"][..], &["doctor"], &["copy"], &["status"]] {
        let text = said(connector.command(&[]), verb);
        assert!(!holds(&text, SECRET), "{verb:?}: {}", String::from_utf8_lossy(&text));
    }
    let kept = files(connector.dir.path()).into_iter().filter(|path| !path.starts_with(&play));
    kept.for_each(|path| assert!(!holds(&fs::read(&path).unwrap(), SECRET), "{}", path.display()));

    let server = MariaDb::shared();
    server.create_database("canary");
    server.sql("canary", "CREATE TABLE t (id INT PRIMARY KEY)");
    let project = tempfile::tempdir().unwrap();
    fs::create_dir(project.path().join("sources")).unwrap();
    fs::write(project.path().join("montauk.toml"), "[project]\nname = \"shop\"\n").unwrap();
    let source = "kind = \"mariadb\"\nurl = \"${SHOP_DB_URL}\"\n[tables.t]\n";
    fs::write(project.path().join("sources/shop.toml"), source).unwrap();
    let good = server.url("canary");
    let encoded = good.split(['/', '@']).find_map(|part| part.strip_prefix("montauk:")).unwrap().to_owned();
    let wrong = good.replace(&encoded, SECRET);
    for (url, secret) in [(&good, server.password()), (&good, encoded.as_str()), (&wrong, SECRET)] {
        for verb in [&["extract"][..], &["copy"], &["doctor"], &["extract", "--verify"]] {
            let mut command = montauk();
            command.arg("-C").arg(project.path()).env("SHOP_DB_URL", url);
            let text = said(command, verb);
            assert!(!holds(&text, secret), "{verb:?}: {}", String::from_utf8_lossy(&text));
        }
        files(project.path()).into_iter().for_each(|path| {
            assert!(!holds(&fs::read(&path).unwrap(), secret), "{}", path.display());
        });
    }
}
