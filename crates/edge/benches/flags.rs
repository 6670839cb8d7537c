//! What flags cost, printed: requests per second, processor time of the server per request and per flag, and how long a swap takes.
//!
//! In: the experiments of the tests with 13, 250 and 10,000 flags, the real binary.  Out: a table on stdout.
//! Closed loop over 8 kept connections from this process: trust the processor time per request, not the rate.
//! Run with `cargo bench -p edge --bench flags`.  Start at [`main`].
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "it shares the experiments with the tests")]
#![allow(dead_code, reason = "it does not use all of them")]

#[path = "../tests/it/experiments.rs"]
mod experiments;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

const CONNECTIONS: u64 = 8;
const WARM_UP: Duration = Duration::from_millis(500);
const RUN: Duration = Duration::from_secs(3);
/// Ticks per second of `/proc/<pid>/stat`: 100 on every Linux that we serve on.
const TICKS: f64 = 100.0;

struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is all we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() {
    for more in [0, 237, 9_987] {
        let directory = tempfile::tempdir().unwrap();
        let mut snapshot = experiments::snapshot(1);
        let features = snapshot.payload["features"].as_object_mut().unwrap();
        features.extend((0..more).map(|nth| {
            let rule = json!([{ "id": "x", "key": format!("x-{nth}"), "hashVersion": 2, "variations": [false, true],
                "condition": { "country": { "$in": ["DE", "FR"] } }, "meta": [{ "key": "control" }, { "key": "treatment" }] }]);
            (format!("flag-{nth}"), json!({ "defaultValue": false, "rules": rule }))
        }));
        let flags = features.len();
        experiments::publish(&directory.path().join(".montauk"), &snapshot);
        let began = Instant::now();
        let server = start(directory.path());
        println!("\n{flags} flags: ready after {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
        let body = r#"{"context":{"targetingKey":"unit-{}","country":"DE","age":33,"company":"acme"}}"#;
        let remote = body.replace("context", "attributes").replace("targetingKey", "id");
        let ofrep = "Authorization: Bearer sdk-plain\r\n";
        press(&server, "definitions", 1, &request("GET", "/api/features/sdk-plain", "", ""));
        press(&server, "one flag", 1, &request("POST", "/ofrep/v1/evaluate/flags/checkout", ofrep, body));
        press(&server, "all flags", flags, &request("POST", "/ofrep/v1/evaluate/flags", ofrep, body));
        press(&server, "remote evaluation", flags, &request("POST", "/api/eval/sdk-remote", "", &remote));
        press(&server, "assignments", 8, &request("GET", "/v1/assignments/unit-{}?attribute.country=DE", "", ""));
    }
}

/// `{}` becomes four digits.
fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.replace("{}", "1000").len();
    format!("{method} {path} HTTP/1.1\r\nHost: edge\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

fn start(project: &std::path::Path) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_montauk-edge"));
    command.args(["--listen", "127.0.0.1:0", "--flags-per-second", "80000000", "-C"]).arg(project);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().trim_start_matches("listening on http://").to_owned();
    Server { child, address }
}

fn press(server: &Server, what: &str, flags: usize, request: &str) {
    let answers = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + WARM_UP + RUN;
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|nth| {
            let (address, request, answers) = (server.address.clone(), request.to_owned(), Arc::clone(&answers));
            std::thread::spawn(move || client(&address, &request, nth, until, &answers))
        })
        .collect();
    std::thread::sleep(WARM_UP);
    let (before, cpu_before, measured) = (answers.load(Ordering::Relaxed), cpu_seconds(server), Instant::now());
    clients.into_iter().for_each(|client| client.join().unwrap());
    let (count, cpu) = ((answers.load(Ordering::Relaxed) - before) as f64, cpu_seconds(server) - cpu_before);
    let per_request = cpu / count * 1e6;
    println!(
        "  {what:<18} {:>8.0} requests/s {per_request:>10.1} µs of a processor each {:>8.2} per flag",
        count / measured.elapsed().as_secs_f64(),
        per_request / flags as f64
    );
}

fn client(address: &str, request: &str, nth: u64, until: Instant, answers: &AtomicU64) {
    let mut stream = TcpStream::connect(address).unwrap();
    let (mut read, mut bytes, mut number) = (Vec::new(), vec![0_u8; 256 * 1024], nth * 1_000);
    while Instant::now() < until {
        number += 1;
        let unit = (1_000 + number % 9_000).to_string();
        stream.write_all(request.replace("{}", &unit).as_bytes()).unwrap();
        loop {
            if let Some(total) = answer_length(&read)
                && read.len() >= total
            {
                assert!(read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&read));
                read.drain(..total);
                break;
            }
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "closed");
            read.extend_from_slice(&bytes[..count]);
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

fn answer_length(read: &[u8]) -> Option<usize> {
    let end = read.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
    let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?;
    Some(end + length)
}

fn cpu_seconds(server: &Server) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", server.child.id())).unwrap();
    // Fields 14 and 15 of proc(5), counted behind the name, which may hold spaces.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}
