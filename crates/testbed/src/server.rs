//! A server process that cannot outlive the test: start, wait until ready, stop.
//!
//! In: a command.  Out: a [`Server`].  The process is watched over by a shell whose standard input is a pipe that only the test
//! process holds: when the test ends, however it ends, the pipe closes, and the shell stops the server and removes its directory.
//! (A parent-death signal alone would not do: it fires when the *thread* ends that started the child, and each test has its own.)
//! Never here: one server's options.
//! Start at [`Server::start`].

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a server to answer; a busy machine with two cores takes up to half of it.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause between two looks at a starting server.
const POLL: Duration = Duration::from_millis(50);

/// `$1` is the signal that stops the server fast, `$2` its directory, the rest its command.
/// The shell ignores the terminal's signals: closing the pipe is the one way to end it.
const WATCH: &str = r#"
trap '' INT HUP TERM
signal=$1; directory=$2; shift 2
"$@" < /dev/null &
server=$!
echo "$server" > watched
cat > /dev/null
kill -"$signal" "$server" 2> /dev/null
( sleep 10; kill -KILL "$server" ) 2> /dev/null &
killer=$!
wait "$server"
kill "$killer" 2> /dev/null
rm -rf "$directory"
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    watcher: Child,
    directory: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Runs `command` (program and arguments) with its output in `directory/server.log`; `directory` is removed at the end.
    pub(crate) fn start(signal: &str, directory: &Path, command: &[OsString]) -> Self {
        let log = directory.join("server.log");
        let output = std::fs::File::create(&log).unwrap_or_else(|error| panic!("create {}: {error}", log.display()));
        let errors = output.try_clone().unwrap_or_else(|error| panic!("open {}: {error}", log.display()));
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "watch", signal])
            .arg(directory)
            .args(command)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        Self { watcher, directory: directory.to_path_buf(), log }
    }

    /// Waits until `is_ready` says yes; panics with the server's log when it never does.
    pub(crate) fn wait_until(&self, what: &str, mut is_ready: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_ready() {
            if start.elapsed() > READY_TIMEOUT || self.has_ended() {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{what} did not become ready (ended or silent for {READY_TIMEOUT:?}); its log:\n{log}");
            }
            std::thread::sleep(POLL);
        }
    }

    /// Whether the process is gone already: it could not take its port, or its options are wrong.
    fn has_ended(&self) -> bool {
        let number = std::fs::read_to_string(self.directory.join("watched")).unwrap_or_default();
        let number = number.trim();
        // A process that has ended stays as a zombie until the shell waits for it.
        let state = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        !number.is_empty() && (state.is_empty() || state.contains(") Z "))
    }

    /// The directory that lives as long as the server.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        drop(self.watcher.wait());
    }
}

/// A new directory under the system's temporary one, readable by any user; [`Server`] removes it.
pub(crate) fn new_directory(prefix: &str) -> PathBuf {
    let directory = tempfile::Builder::new().prefix(prefix).tempdir();
    directory.unwrap_or_else(|error| panic!("make a temporary directory: {error}")).keep()
}

/// A TCP port of 127.0.0.1 that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap_or_else(|error| panic!("find a free port: {error}"));
    listener.local_addr().unwrap_or_else(|error| panic!("find a free port: {error}")).port()
}

/// Whether something accepts connections on the port.
pub(crate) fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(1)).is_ok()
}

/// The first of `candidates` that exists, or that `PATH` finds; panics with the way to install it.
pub(crate) fn find_program(candidates: &[&str], package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for candidate in candidates {
        let direct = Path::new(candidate);
        if direct.is_absolute() && direct.exists() {
            return direct.to_path_buf();
        }
        if let Some(found) =
            std::env::split_paths(&path).map(|directory| directory.join(candidate)).find(|file| file.is_file())
        {
            return found;
        }
    }
    panic!("`{}` is not installed: run `make test` as root on Debian, or `apt-get install {package}`", candidates[0])
}

/// Runs a command to its end; panics with what it said when it fails.
pub(crate) fn run(command: &mut Command, input: &str) -> String {
    use std::io::Write;
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("run {shown}: {error}"));
    let mut stdin = child.stdin.take().unwrap_or_else(|| panic!("run {shown}: no standard input"));
    let text = input.to_owned();
    // Written from its own thread: a program that answers while it reads would fill its pipe and wait for us.
    let writer = std::thread::spawn(move || match stdin.write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("write to a program: {error}"),
        Ok(()) | Err(_) => {}
    });
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("run {shown}: {error}"));
    if writer.join().is_err() {
        panic!("run {shown}: its input could not be written");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown} failed: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether this process runs as root, which PostgreSQL refuses to.
pub(crate) fn is_root() -> bool {
    run(Command::new("id").arg("-u"), "").trim() == "0"
}
