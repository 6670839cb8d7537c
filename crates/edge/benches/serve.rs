//! What serving costs, printed: size, ready time, memory, requests per second and per CPU second of the server process.
//!
//! In: a generated project of 4,000 users × 4,000 items, the real binary.  Out: a table on stdout.
//! Closed loop over 32 kept connections from this process: trust requests per CPU second and ratios, not latencies.
//! Run with `cargo bench -p edge`.  Start at [`main`].
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "it shares the project with the tests")]
#![allow(dead_code, reason = "it does not use all of the project")]

#[path = "../tests/it/project.rs"]
mod project;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use project::{Project, scramble};
use recommend::{HistoryItem, RankRequest, Ranker, RecommenderKind};

const USERS: u64 = 4_000;
const ITEMS: u64 = 4_000;
const CONNECTIONS: usize = 32;
const WARM_UP: Duration = Duration::from_secs(1);
const RUN: Duration = Duration::from_secs(5);
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
    let binary = env!("CARGO_BIN_EXE_montauk-edge");
    let bytes = std::fs::metadata(binary).map_or(0, |metadata| metadata.len());
    println!("montauk-edge: {:.1} MB", bytes as f64 / 1e6);
    let project = Project::new(USERS, ITEMS);
    let popularity = project.train(RecommenderKind::Popularity, "");
    project.publish(1, |_| true);
    println!(
        "project: {USERS} users, {} items, {} events",
        project.interactions.item_ids().len(),
        project.interactions.events().len()
    );
    println!("handing over to a blocking thread and back: {:.1} µs", handover_us());
    for (kind, value) in [(RecommenderKind::Ease, "200"), (RecommenderKind::ItemKnn, ""), (RecommenderKind::Ials, "64")]
    {
        let began = Instant::now();
        let name = project.train(kind, value);
        println!("\n{kind}: trained in {:.1} s", began.elapsed().as_secs_f64());
        project.promote(kind.as_str(), 1, &name, Some(&popularity));
        rank_alone(&project, &name, &popularity);
        serve(binary, &project, kind);
    }
}

/// A round trip through `spawn_blocking`, measured one after the other: the median of the price of leaving the thread.
fn handover_us() -> f64 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut rounds: Vec<f64> = runtime.block_on(async {
        let mut rounds = Vec::new();
        for _ in 0..20_000 {
            let began = Instant::now();
            tokio::task::spawn_blocking(|| ()).await.expect("an empty task");
            rounds.push(began.elapsed().as_secs_f64() * 1e6);
        }
        rounds
    });
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

/// Lists by history length, without HTTP: what decides where they are computed.
fn rank_alone(project: &Project, name: &str, popularity: &str) {
    let ranker =
        Ranker::new(Arc::new(project.read_artefact(name)), &project.read_artefact(popularity)).expect("a ranker");
    for length in [1_u64, 20, 100, 250, 1_000] {
        let history: Vec<HistoryItem> = (0..length)
            .map(|nth| HistoryItem {
                item: (scramble(nth) % ranker.items().len() as u64) as u32,
                weight: 1.0,
                at: nth as i64,
            })
            .collect();
        let mut figures = Vec::new();
        for reasons in [0, 3] {
            let request = RankRequest { reasons, ..RankRequest::new(10) };
            let began = Instant::now();
            let rounds = 200;
            for _ in 0..rounds {
                std::hint::black_box(ranker.recommend(&history, &request));
            }
            figures.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
        }
        println!("  history of {length:>5}: {:>8.1} µs a list, {:>8.1} µs with reasons", figures[0], figures[1]);
    }
}

fn serve(binary: &str, project: &Project, kind: RecommenderKind) {
    let began = Instant::now();
    let mut child = Command::new(binary)
        .args(["--listen", "127.0.0.1:0", "--recommender", kind.as_str(), "-C"])
        .arg(project.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("montauk-edge starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
    let ready = began.elapsed();
    let address = line.trim().trim_start_matches("listening on http://").to_owned();
    let server = Server { child, address };
    println!("  ready after {:.0} ms, {:.0} MB resident", ready.as_secs_f64() * 1e3, resident_mb(&server));
    for (what, path) in [
        ("livez", "/livez"),
        ("unknown user, 10 items", "/v1/users/nobody-{}/recommendations"),
        ("user, 10 items with reasons", "/v1/users/u{}/recommendations"),
        ("user, 20 items", "/v1/users/u{}/recommendations?limit=20&explain=false"),
        ("similar, 10 items", "/v1/items/i0{}/similar"),
    ] {
        press(&server, what, path);
    }
    println!("  {:.0} MB resident after the load", resident_mb(&server));
}

/// `{}` in the path becomes a number from 1000 to 3999.
fn press(server: &Server, what: &str, path: &str) {
    let answers = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS as u64)
        .map(|nth| {
            let (address, path, answers) = (server.address.clone(), path.to_owned(), Arc::clone(&answers));
            std::thread::spawn(move || client(&address, &path, nth, began, &answers))
        })
        .collect();
    std::thread::sleep(WARM_UP);
    let (answers_before, cpu_before, measured) = (answers.load(Ordering::Relaxed), cpu_seconds(server), Instant::now());
    std::thread::sleep(RUN);
    let (answers_after, cpu_after, seconds) =
        (answers.load(Ordering::Relaxed), cpu_seconds(server), measured.elapsed().as_secs_f64());
    let mut latencies: Vec<u32> = clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or(0);
    let requests = (answers_after - answers_before) as f64;
    println!(
        "  {what:<28} {:>8.0} req/s {:>8.0} req/CPU-s   p50 {} µs, p99 {} µs",
        requests / seconds,
        requests / (cpu_after - cpu_before),
        at(0.5),
        at(0.99)
    );
}

/// One kept connection, one request at a time, until warm-up and run are over. Returns latencies in µs.
fn client(address: &str, path: &str, nth: u64, began: Instant, answers: &AtomicU64) -> Vec<u32> {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let (mut dice, mut latencies, mut read) = (nth, Vec::new(), vec![0_u8; 64 * 1024]);
    while began.elapsed() < WARM_UP + RUN + Duration::from_millis(200) {
        dice = scramble(dice);
        let path = path.replace("{}", &(1_000 + dice % 3_000).to_string());
        let sent = Instant::now();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("a request");
        let (mut filled, mut total) = (0, usize::MAX);
        while filled < total {
            let count = stream.read(&mut read[filled..]).expect("an answer");
            assert!(count > 0, "the server closed");
            filled += count;
            if total == usize::MAX {
                total = answer_length(&read[..filled]).unwrap_or(usize::MAX);
            }
        }
        assert!(read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&read[..filled]));
        latencies.push(sent.elapsed().as_micros() as u32);
        answers.fetch_add(1, Ordering::Relaxed);
    }
    latencies
}

fn answer_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length: usize = text.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    Some(head + length)
}

/// User and system time of the server so far.
fn cpu_seconds(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.child.id())).expect("a running server");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |nth: usize| fields.get(nth).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

fn resident_mb(server: &Server) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).expect("a running server");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<f64>().ok()).unwrap_or(0.0) / 1e3
}
