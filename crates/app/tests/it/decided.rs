//! Decisions through the real binary: the API over HTTP and the command line share one store, and what they decide is served.
//!
//! In: a small project with an experiment.  Out: nothing.
//! Never here: rules and routes one by one (`control`).
//! Start at `what_is_decided_over_http_is_served`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::montauk;

fn project() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut init = montauk();
    assert!(init.args(["init", "--template", "minimal"]).arg(dir.path()).output().unwrap().status.success());
    for (path, text) in [
        ("sources/shop.toml", "kind = \"file\"\n[tables.events]\npath = \"events.csv\"\ninto = \"raw.events\"\n"),
        ("metrics/bought.toml", "kind = \"proportion\"\n[fact]\ntable = \"raw.events\"\n"),
        (
            "experiments/checkout.toml",
            "[assignment]\nkey = \"checkout\"\n\
             variants = [{ key = \"control\", value = false }, { key = \"short\", value = true }]\n\
             [analysis]\nexposures = \"raw.events\"\nstart = \"2026-11-01T00:00:00Z\"\nend = \"2026-11-29T00:00:00Z\"\n\
             goals = [\"bought\"]\n",
        ),
    ] {
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        fs::write(dir.path().join(path), text).unwrap();
    }
    dir
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
