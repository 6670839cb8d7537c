//! The real `montauk-edge` on a free port, over a temporary project whose snapshots are published here.
//!
//! In: options of the program.  Out: its address, and what the evaluator of the crate `experiment` says.
//! Start at [`Edge::start`].

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value, json};

pub struct Edge {
    child: Child,
    project: PathBuf,
    payload: Value,
    revision: u64,
    pub url: String,
}

fn program(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test-sdks.sh"))
}

impl Edge {
    pub fn start(options: &[&str]) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let project = std::env::temp_dir().join(format!("montauk-flags-{}-{nth}", std::process::id()));
        let (revision, payload) = (1, publish(&project, 1));
        let mut command = Command::new(program("EDGE"));
        command.args(["--listen", "127.0.0.1:0", "-C"]).arg(&project).args(options);
        let mut child = command.env("MONTAUK_LOG", "error").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("`{line}`")).to_owned();
        Self { child, project, payload, revision, url }
    }

    /// Publishes the next revision and returns what `motd` says then.
    pub fn publish(&mut self) -> String {
        self.revision += 1;
        self.payload = publish(&self.project, self.revision);
        format!("revision {}", self.revision)
    }

    /// One map of answers for each unit.
    pub fn expected(&self, units: &[Value]) -> Vec<Map<String, Value>> {
        let mut child = Command::new(program("EVALUATE")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let lines = units.iter().map(|unit| format!("{}\n", json!({ "payload": self.payload, "attributes": unit })));
        let lines: String = lines.collect();
        let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let features =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["features"].as_object().unwrap().clone();
        text.lines().map(features).collect()
    }
}

fn publish(project: &PathBuf, revision: u64) -> Value {
    let output = Command::new(program("SNAPSHOT")).arg(project).arg(revision.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Drop for Edge {
    fn drop(&mut self) {
        // It may have ended already, which is all we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.project);
    }
}

/// Units whose attributes reach every kind of rule; every seventh has a name beyond ASCII.
pub fn units(count: usize) -> Vec<Value> {
    let unit = |i: usize| {
        let id = if i % 7 == 3 { format!("사용자-é-{i}") } else { format!("unit-{i}") };
        json!({ "id": id, "country": (["DE", "FR", "US"][i % 3]), "age": 15 + i % 50, "company": format!("company-{}", i % 40) })
    };
    (0..count).map(unit).collect()
}
