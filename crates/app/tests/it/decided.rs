//! Decisions through the real binary: the API over HTTP and the command line share one store, and what they decide is served.
//!
//! In: a small project with an experiment.  Out: nothing.
//! Never here: rules and routes one by one (`control`).
//! Start at `what_is_decided_over_http_is_served`.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::montauk;

fn project() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut init = montauk();
    assert!(init.args(["init", "--template", "minimal"]).arg(dir.path()).output().unwrap().status.success());
    for (path, text) in [
        (
            "sources/shop.toml",
            "kind = \"file\"\n[tables.events]\npath = \"events.csv\"\ninto = \"raw.events\"\n[tables.events.copy]\n\
             columns = { user_id = \"text\", occurred_at = \"timestamp\" }\n\
             [tables.seen]\npath = \"seen.csv\"\ninto = \"raw.seen\"\n[tables.seen.copy]\n\
             columns = { unit_id = \"text\", experiment = \"text\", variant = \"text\", occurred_at = \"timestamp\" }\n",
        ),
        ("metrics/bought.toml", "kind = \"count\"\n[fact]\ntable = \"raw.events\"\n"),
        (
            "experiments/checkout.toml",
            "[assignment]\nkey = \"checkout\"\n\
             variants = [{ key = \"control\", value = false }, { key = \"short\", value = true }]\n\
             [analysis]\nexposures = \"raw.seen\"\nstart = \"2026-11-01T00:00:00Z\"\nend = \"2026-11-29T00:00:00Z\"\n\
             goals = [\"bought\"]\n",
        ),
    ] {
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        fs::write(dir.path().join(path), text).unwrap();
    }
    dir
}

/// Loads events of the last weeks, and exposures.
fn load(project: &Path, exposures: &[(&str, i64)]) {
    let ago = |days: i64| (Utc::now() - TimeDelta::days(days)).format("%Y-%m-%d %H:%M:%S");
    let mut events = "user_id,occurred_at\n".to_owned();
    for unit in 0..90 {
        for day in 0..=unit % 3 {
            writeln!(events, "u{unit},{}", ago(8 + unit % 20 - day)).unwrap();
        }
    }
    let mut seen = "unit_id,experiment,variant,occurred_at\n".to_owned();
    for (experiment, days) in exposures {
        writeln!(seen, "tester,{experiment},control,{}", ago(*days)).unwrap();
    }
    fs::write(project.join("events.csv"), events).unwrap();
    fs::write(project.join("seen.csv"), seen).unwrap();
    // Forced: these files take the place of those before.
    for arguments in [&["extract"][..], &["copy", "--force"]] {
        let (code, said) = decide(project, arguments);
        assert_eq!(code, 0, "{said}");
    }
}

/// A server of ours, killed with the test.
pub(crate) struct Running {
    child: Child,
    address: String,
    /// What it printed before its address.
    said: Vec<String>,
}

impl Running {
    pub(crate) fn start(project: &Path, arguments: &[&str]) -> Self {
        let mut command = montauk();
        command.arg("-C").arg(project).args(arguments).env("USER", "mina");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // Made first, so that the process ends with it whatever happens.
        let mut running = Self { child, address: String::new(), said: Vec::new() };
        let mut lines = BufReader::new(running.child.stdout.take().unwrap()).lines();
        while running.address.is_empty() {
            let line = lines.next().expect("the server ended").unwrap();
            match line.strip_prefix("listening on http://") {
                Some(address) => running.address = address.to_owned(),
                None => running.said.push(line),
            }
        }
        running
    }

    /// Status and body.
    pub(crate) fn send(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            self.address
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// At the command line of a project: standard output as JSON, and the exit code.
pub(crate) fn decide(project: &Path, arguments: &[&str]) -> (i32, Value) {
    let mut command: Command = montauk();
    command.arg("-C").arg(project).arg("--json").args(arguments).env("USER", "mina").env_remove("MONTAUK_TOKEN");
    let output = command.output().unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

#[test]
fn what_is_decided_over_http_is_served() {
    let project = project();
    let dir = project.path();
    load(dir, &[("checkout", 0)]);
    let api = Running::start(dir, &["api", "serve", "--listen", "127.0.0.1:0"]);
    let token = api.said[0].strip_prefix("token ").unwrap();
    assert_eq!(api.send(token, "GET", "/api/v1/me", &Value::Null).1["person"], "mina");
    assert_eq!(api.send("mtk_0_0", "GET", "/api/v1/me", &Value::Null).0, 401);

    // Written at the command line, launched over HTTP by two people.
    assert_eq!(decide(dir, &["experiment", "apply"]).0, 0);
    let (code, refused) = decide(dir, &["experiment", "start", "checkout"]);
    assert_eq!((code, &refused["error"]["code"]), (6, &json!("not_in_this_state")), "{refused}");
    let yuna = json!({ "thing": { "kind": "person", "name": "yuna", "role": "approver" } });
    assert_eq!(api.send(token, "PUT", "/api/v1/things", &yuna).0, 200);
    let (_, issued) = api.send(token, "POST", "/api/v1/tokens", &json!({ "person": "yuna", "name": "test" }));
    let step = |token: &str, step: Value| {
        let (_, record) = api.send(token, "GET", "/api/v1/experiments/checkout", &Value::Null);
        let body = json!({ "revision": record["revision"], "step": step });
        api.send(token, "POST", "/api/v1/experiments/checkout/steps", &body)
    };
    assert_eq!(step(token, json!({ "verb": "submit" })).0, 200);
    let (status, refused) = step(token, json!({ "verb": "start" }));
    assert_eq!((status, &refused["code"]), (403, &json!("needs_approval")), "{refused}");
    assert_eq!(step(issued["token"].as_str().unwrap(), json!({ "verb": "approve" })).0, 200);
    let (status, running) = step(token, json!({ "verb": "start" }));
    assert_eq!((status, &running["state"]), (200, &json!("running")), "{running}");
    assert_eq!(running["managed_by"], "code");

    // The server of flags sees what was decided, and says the same as the command line.
    let serve = Running::start(dir, &["serve", "--listen", "127.0.0.1:0"]);
    for unit in ["u1", "u2", "u3", "u4", "u5"] {
        let (_, served) = serve.send("", "GET", &format!("/v1/assignments/{unit}"), &Value::Null);
        let (_, printed) = decide(dir, &["experiment", "assign", "checkout", unit]);
        assert_eq!(served["assignments"][0]["variant"], printed[0]["variant"], "{served} {printed}");
        assert_eq!(served["assignments"][0]["reason"], "assigned");
    }

    // A running experiment's file may not change what units see; the plan names the field.
    let path = dir.join("experiments/checkout.toml");
    let changed = fs::read_to_string(&path).unwrap().replace("value = true", "value = \"short\"");
    fs::write(&path, changed).unwrap();
    let (_, plan) = decide(dir, &["experiment", "plan"]);
    assert_eq!(plan["drifts"][0]["change"], "new_phase", "{plan}");
    let (code, blocked) = decide(dir, &["experiment", "apply"]);
    assert_eq!((code, &blocked["error"]["code"]), (6, &json!("plan_blocked")), "{blocked}");
}

/// The first item of a checklist's list that has a code.
fn item(shown: &Value, list: &str, code: &str) -> Value {
    let items = shown["checklist"][list].as_array().unwrap();
    items.iter().find(|item| item["code"] == code).cloned().unwrap_or(Value::Null)
}

/// Power is computed once, at either door, and known at both until something that it depends on is another.
#[test]
fn a_launch_knows_the_power_that_was_computed() {
    let project = project();
    let dir = project.path();
    load(dir, &[]);
    let show = || decide(dir, &["experiment", "show", "checkout"]).1;
    assert_eq!(decide(dir, &["experiment", "apply"]).0, 0);
    let unknown = item(&show(), "warnings", "power_unknown");
    assert_eq!(
        (&unknown["why"], &unknown["next"]),
        (&json!("never_computed"), &json!("montauk experiment power checkout"))
    );
    let (code, report) = decide(dir, &["experiment", "power", "checkout"]);
    assert_eq!(code, 0, "{report}");
    let planned = report["power"]["metrics"][0]["planned_power"].as_f64().unwrap();
    let shown = show();
    let low = item(&shown, "warnings", "low_power");
    assert!((low["power"].as_f64().unwrap() - planned).abs() < 1e-12, "{shown}");
    assert_eq!(shown["power"]["by"], "mina");
    // Other weights are another experiment.
    let path = dir.join("experiments/checkout.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("value = true", "value = true, weight = 3")).unwrap();
    assert_eq!(decide(dir, &["experiment", "apply"]).0, 0);
    assert_eq!(item(&show(), "warnings", "power_unknown")["why"], "edited");
    // Over HTTP, the same.
    let api = Running::start(dir, &["api", "serve", "--listen", "127.0.0.1:0"]);
    let token = api.said[0].strip_prefix("token ").unwrap();
    let at = |what: &str| format!("/api/v1/experiments/checkout/{what}");
    let (status, found) = api.send(token, "POST", &at("power"), &json!({}));
    assert_eq!((status, &found["report"]["key"]), (200, &json!("checkout")), "{found}");
    let shown = show();
    assert_eq!(item(&shown, "warnings", "low_power")["power"], found["power"], "{shown}");
    let (_, checklist) = api.send(token, "GET", &at("checklist"), &Value::Null);
    assert_eq!(checklist, shown["checklist"]);
    // A metric that means something else as well.
    fs::write(dir.join("metrics/bought.toml"), "kind = \"proportion\"\n[fact]\ntable = \"raw.events\"\n").unwrap();
    assert_eq!(item(&show(), "warnings", "power_unknown")["why"], "edited");
}

#[test]
fn a_launch_asks_whether_exposures_come_in() {
    let project = project();
    let dir = project.path();
    let (code, said) = decide(dir, &["experiment", "apply"]);
    assert_eq!(code, 0, "{said}");
    let show = || decide(dir, &["experiment", "show", "checkout"]).1;
    let blocked = || item(&show(), "blockers", "exposure_not_seen");
    assert_eq!(blocked(), json!({ "code": "exposure_not_seen", "table": "raw.seen", "found": "no_table" }));
    // Before the first experiment of all nobody can have seen one.
    load(dir, &[]);
    assert_eq!(blocked(), Value::Null);
    assert_eq!(item(&show(), "warnings", "no_exposure_yet")["table"], "raw.seen");
    // What worked once works no more.
    load(dir, &[("search", 40)]);
    assert_eq!(blocked()["found"], "silent");
    assert_eq!(decide(dir, &["experiment", "submit", "checkout"]).0, 0);
    let policy = json!({ "kind": "policy", "project": "*", "approval": { "approval": "never" } });
    assert_eq!(decide(dir, &["thing", "put", &policy.to_string()]).0, 0);
    let (code, refused) = decide(dir, &["experiment", "start", "checkout"]);
    assert_eq!((code, &refused["error"]["code"]), (6, &json!("not_ready")), "{refused}");
    // Of another experiment lately, or of this one ever.
    for exposures in [[("search", 40), ("search", 3)], [("search", 40), ("checkout", 40)]] {
        load(dir, &exposures);
        let shown = show();
        assert_eq!(
            (item(&shown, "blockers", "exposure_not_seen"), item(&shown, "warnings", "no_exposure_yet")),
            Default::default()
        );
    }
    assert_eq!(decide(dir, &["experiment", "start", "checkout"]).0, 0);
}

/// The limits of flags are options of this server as they are of `montauk-edge`.
#[test]
fn streams_of_flags_have_the_limit_that_was_asked_for() {
    let project = project();
    let dir = project.path();
    let connection = r#"{ "kind": "connection", "client_key": "sdk-shop", "name": "shop" }"#;
    assert_eq!(decide(dir, &["thing", "put", connection]).0, 0);
    let serve = Running::start(dir, &["serve", "--listen", "127.0.0.1:0", "--max-streams", "1"]);
    let open = || {
        let mut stream = TcpStream::connect(&serve.address).unwrap();
        write!(stream, "GET /sub/sdk-shop HTTP/1.1\r\nHost: {}\r\n\r\n", serve.address).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        (line.split(' ').nth(1).unwrap().to_owned(), stream)
    };
    let first = open();
    assert_eq!((first.0.as_str(), open().0.as_str()), ("200", "503"));
}

/// What was seen is what is changed, or nothing is.
#[test]
fn a_change_at_the_command_line_may_name_the_revision_that_was_seen() {
    let project = project();
    let dir = project.path();
    let toml = fs::read_to_string(dir.join("experiments/checkout.toml")).unwrap();
    let check = |arguments: &[&str], expected: &Value| {
        let (_, said) = decide(dir, arguments);
        assert_eq!(&said["error"]["code"], expected, "{arguments:?}: {said}");
        said
    };
    let file = dir.join("mine.toml");
    fs::write(&file, toml.replace("key = \"checkout\"", "key = \"mine\"")).unwrap();
    let path = file.to_str().unwrap();
    let made = check(&["experiment", "create", path], &Value::Null)["revision"].to_string();
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("value = true", "value = true, weight = 2")).unwrap();
    check(&["experiment", "update", path, "--revision", &made], &Value::Null);
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("weight = 2", "weight = 3")).unwrap();
    let stale = json!("stale_revision");
    check(&["experiment", "update", path, "--revision", &made], &stale);
    check(&["experiment", "submit", "mine", "--revision", &made], &stale);
    check(&["experiment", "submit", "mine"], &Value::Null);
    check(&["experiment", "approve", "mine", "--revision", &made], &stale);
    let layer = r#"{ "kind": "layer", "name": "page" }"#;
    let seen = check(&["thing", "put", layer], &Value::Null)["revision"].to_string();
    check(&["thing", "put", layer, "--revision", &seen], &Value::Null);
    check(&["thing", "put", layer, "--revision", &seen], &stale);
    let text = montauk().arg("-C").arg(dir).args(["experiment", "show", "mine"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    let (_, shown) = decide(dir, &["experiment", "show", "mine"]);
    assert!(text.contains(&format!("\nrevision: {}\n", shown["revision"])), "{text}");
}

/// Everything that the API shows, and nothing that it does not have: the document of the binary is that of the room.
#[test]
fn the_program_prints_the_document_that_it_serves() {
    let project = project();
    let api = Running::start(project.path(), &["api", "serve", "--listen", "127.0.0.1:0"]);
    let (_, served) = api.send("", "GET", "/api/v1/openapi.json", &Value::Null);
    let (_, printed) = decide(project.path(), &["api", "spec"]);
    assert_eq!(served, printed);
    assert!(served["paths"].as_object().unwrap().len() > 15);
}
