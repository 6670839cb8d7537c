//! The real `montauk-edge`: words, exit codes, signals, kill -9.
//!
//! Start at [`sigterm_drains_and_exits_with_zero`].

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::project::Project;

struct Process {
    child: Child,
    address: SocketAddr,
    ready_after: Duration,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is all we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(project: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_montauk-edge"));
    command.args(["--listen", "127.0.0.1:0", "-C"]).arg(project).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(project: &Path) -> Process {
    let began = Instant::now();
    let mut child = command(project).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("`{line}`"));
    Process { address: address.parse().unwrap(), child, ready_after: began.elapsed() }
}

fn signal(process: &Process, name: &str) {
    let status = Command::new("kill").args([name, &process.child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn exit_code(process: &mut Process) -> Option<i32> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        if let Some(status) = process.child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not end");
}

fn check_usage(arguments: &[&str], code: i32, expected: &str) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_montauk-edge")).args(arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{text}");
    assert!(text.contains(expected), "{text}");
}

#[test]
fn words_and_exit_codes() {
    let empty = tempfile::tempdir().unwrap();
    check_usage(&["--help"], 0, "Example:\n  montauk-edge -C");
    check_usage(&["--version"], 0, "montauk-edge 0.");
    check_usage(&["--lisen", "x"], 2, "error[usage]: `--lisen` is not an option\nhelp: ");
    let directory = empty.path().to_str().unwrap();
    check_usage(&["-C", directory, "--listen", "127.0.0.1:0"], 3, "error[nothing_promoted]");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check_usage(&["-C", directory, "--listen", &address], 3, "error[cannot_listen]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_and_exits_with_zero() {
    let project = Project::ready(500, 200);
    for name in ["-TERM", "-INT"] {
        let mut process = start(project.path());
        // Not a figure to boast with: only a guard against a start that waits for something.
        assert!(process.ready_after < Duration::from_secs(10), "{:?}", process.ready_after);
        let mut client = Client::connect(process.address).await;
        assert_eq!(client.try_get("/v1/users/u1/recommendations").await.unwrap().status, 200);
        signal(&process, name);
        assert_eq!(exit_code(&mut process), Some(0));
        assert!(client.try_get("/livez").await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_minus_nine_leaves_nothing_that_hinders_the_next_start() {
    let project = Project::ready(500, 200);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut process = start(project.path());
        let mut client = Client::connect(process.address).await;
        answers.push(client.try_get("/v1/users/u1/recommendations").await.unwrap().body);
        signal(&process, "-KILL");
        assert_eq!(exit_code(&mut process), None);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_tells_what_serves_and_how_it_ended_without_colours() {
    let project = Project::ready(100, 100);
    let mut process = start(project.path());
    signal(&process, "-TERM");
    assert_eq!(exit_code(&mut process), Some(0));
    let mut log = String::new();
    process.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    for word in ["now serving", "recommender=\"ease\"", "feed=1", "draining", "stopped"] {
        assert!(log.contains(word), "`{word}` is not in {log}");
    }
    assert!(!log.contains('\u{1b}'), "{log}");
}
