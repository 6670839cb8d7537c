//! Runs a connector's command for one verb and hands over its output line by line.
//!
//! In: a [`Connector`], a verb, its files.  Out: what a [`Listener`] made of the lines, and how the command [`Ended`].
//! Settings, catalog and state go through files in a directory that only this user can read, and that is gone afterwards; never
//! through arguments. The command runs in a process group of its own, which is ended when it is silent for too long, when the
//! listener fails, and when the run is given up.
//! Never here: what the lines mean (`messages`).
//! Start at [`Connector::run`].

use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::log;
use super::problem::{ConnectorProblem, Fault};
use super::secrets::{HiddenConfig, Secrets};
use crate::ConnectError;

/// Longest line in bytes: a row that COPY still takes, which stops at 64 MiB.
const MAX_LINE_BYTES: u64 = 60 << 20;
/// Bytes that are taken from the pipe at once, and room that is kept for a line.
const PIPE_BYTES: usize = 256 * 1024;
/// How often somebody looks whether the connector still speaks, and at its rows.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// From the polite signal to the other one: a container needs a moment to stop.
const GRACE: Duration = Duration::from_secs(5);

/// A connector's command with its settings.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) command: Vec<String>,
    /// Relative programs are looked for here.
    pub(super) directory: PathBuf,
    /// How long it may say nothing.
    pub(super) stall: Duration,
    pub(super) secrets: Secrets,
    /// Shared, because a connector may change them in the course of a run.
    pub(super) config: HiddenConfig,
    /// How messages name it.
    pub(super) name: String,
}

/// What a connector is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Spec,
    Check,
    Discover,
    Read,
}

impl Verb {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Check => "check",
            Self::Discover => "discover",
            Self::Read => "read",
        }
    }
}

/// What `read` is told beside its settings.
#[derive(Debug, Clone, Default)]
pub(super) struct Input {
    pub(super) catalog: Option<String>,
    pub(super) state: Option<String>,
}

/// Takes the lines of a connector, on a thread that may block.
pub(super) trait Listener: Send + 'static {
    /// Takes one line without its end. False ends the connector, because nothing that it says can matter any more; so does an error.
    fn take(&mut self, line: &[u8]) -> Result<bool, ConnectError>;
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    status: ExitStatus,
    /// The last lines of its standard error, without secrets.
    last_words: String,
    /// Why it was ended before it ended.
    cut_short: Option<ConnectorProblem>,
}

impl Ended {
    /// Why the command is no success; `None` when it is one.
    pub(super) fn failure(&self, connector: &Connector, verb: Verb) -> Option<ConnectorProblem> {
        let how = self.how();
        let told =
            |how: String| connector.problem(Fault::Failed, &format!("was asked to {} and ended {how}", verb.as_str()));
        self.cut_short.clone().or_else(|| how.map(told))
    }

    fn how(&self) -> Option<String> {
        use std::os::unix::process::ExitStatusExt;
        if self.status.success() {
            return None;
        }
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("with exit code {code}"),
            (None, Some(signal)) => format!("by signal {signal}"),
            (None, None) => "in an unknown way".to_owned(),
        };
        let words = log::tail(&self.last_words);
        let words = if words.is_empty() { String::new() } else { format!(": {words}") };
        Some(format!("{how}{words}"))
    }
}

impl Connector {
    /// A problem of this connector; secrets are taken out of `what`.
    pub(super) fn problem(&self, fault: Fault, what: &str) -> ConnectorProblem {
        ConnectorProblem::new(&self.name, fault, self.secrets.redact(what))
    }

    /// Runs one verb to its end. `look` is called now and then meanwhile.
    ///
    /// Errors: `Missing` when it does not start, the listener's, and those of the temporary files. One that was silent for too long has
    /// [`Ended`] all the same: what it said before still counts.
    pub(super) async fn run<L: Listener>(
        &self,
        verb: Verb,
        input: &Input,
        listener: L,
        mut look: impl FnMut(),
    ) -> Result<(L, Ended), ConnectError> {
        let files = self
            .files(verb, input)
            .map_err(|error| crate::store::io_problem(&std::env::temp_dir().display().to_string(), &error))?;
        let mut child = self.start(verb, input, files.path())?;
        let leash = Leash(Group { id: child.id(), is_over: Arc::default() });
        let clock = Clock::default();
        let errors = child.stderr.take().map(|stderr| self.hear_errors(stderr, clock.clone()));
        let ear = Ear { connector: self.clone(), group: leash.0.clone(), clock: clock.clone(), errors };
        let mut job = tokio::task::spawn_blocking(move || ear.hear(child, listener));
        let mut ended_at: Option<Instant> = None;
        let done = loop {
            tokio::select! {
                done = &mut job => break done,
                () = tokio::time::sleep(LOOK_EVERY) => look(),
            }
            if ended_at.is_none() && clock.silence() > self.stall {
                ended_at = Some(Instant::now());
                leash.0.end();
            }
            // Whoever has left the group may hold the pipe open; nobody waits for that.
            if ended_at.is_some_and(|at| at.elapsed() > 2 * GRACE) {
                return Err(self.stalled(verb).into());
            }
        };
        look();
        drop(files);
        let (listener, mut ended) = done.map_err(|error| ConnectError::internal("hear a connector", error))??;
        if ended_at.is_some() {
            ended.cut_short = Some(self.stalled(verb));
        }
        Ok((listener, ended))
    }

    fn stalled(&self, verb: Verb) -> ConnectorProblem {
        let what = format!("was asked to {} and said nothing for {} s", verb.as_str(), self.stall.as_secs());
        self.problem(Fault::Stalled, &what)
    }

    /// Writes what the verb needs into a new directory.
    fn files(&self, verb: Verb, input: &Input) -> io::Result<TempDir> {
        let private = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("montauk-").permissions(private).tempdir()?;
        if verb != Verb::Spec {
            let config = self.config.lock().to_string();
            write_private(&directory.path().join("config.json"), &config)?;
        }
        for (name, content) in [("catalog.json", &input.catalog), ("state.json", &input.state)] {
            if let Some(content) = content {
                write_private(&directory.path().join(name), content)?;
            }
        }
        Ok(directory)
    }

    fn start(&self, verb: Verb, input: &Input, files: &Path) -> Result<Child, ConnectError> {
        let user = files.metadata().map(|found| format!("{}:{}", found.uid(), found.gid())).unwrap_or_default();
        let place = |word: &String| word.replace("{dir}", &files.display().to_string()).replace("{user}", &user);
        let mut words = self.command.iter().map(place);
        let program = words.next().unwrap_or_default();
        // A path is relative to the project, a name is looked for as a shell does.
        let found = if program.contains('/') { self.directory.join(&program) } else { PathBuf::from(&program) };
        let mut command = Command::new(found);
        command.args(words).arg(verb.as_str());
        if verb != Verb::Spec {
            command.arg("--config").arg(files.join("config.json"));
        }
        if input.catalog.is_some() {
            command.arg("--catalog").arg(files.join("catalog.json"));
        }
        if input.state.is_some() {
            command.arg("--state").arg(files.join("state.json"));
        }
        // Connectors wait for the answers of a telemetry service otherwise.
        command.env("DO_NOT_TRACK", "1").current_dir(&self.directory).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|error| {
            let what = format!("cannot be started: `{program}`: {error}");
            self.problem(Fault::Missing, &what).into()
        })
    }

    /// Reads standard error on a thread of its own: a full pipe would stop the connector.
    fn hear_errors(&self, stderr: ChildStderr, clock: Clock) -> std::thread::JoinHandle<log::LastLines> {
        let secrets = self.secrets.clone();
        std::thread::spawn(move || {
            let mut last = log::LastLines::default();
            let mut reader = BufReader::new(stderr);
            let mut line = Vec::new();
            while let Ok(true) = next_line(&mut reader, &mut line) {
                clock.heard();
                last.add(log::error_line(&secrets, &String::from_utf8_lossy(&line)));
            }
            last
        })
    }
}

/// The thread that hears a connector.
struct Ear {
    connector: Connector,
    group: Group,
    clock: Clock,
    errors: Option<std::thread::JoinHandle<log::LastLines>>,
}

impl Ear {
    /// Hears standard output to its end, then waits for the command.
    fn hear<L: Listener>(self, mut child: Child, mut listener: L) -> Result<(L, Ended), ConnectError> {
        let heard = self.hear_lines(&mut child, &mut listener);
        if !matches!(heard, Ok(Heard::All)) {
            self.group.end();
        }
        let status = child.wait();
        // From here on the number may be another process's.
        self.group.is_over.store(true, Ordering::Release);
        let last = self.errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
        let cut_short = match heard? {
            Heard::Broken(error) => Some(self.connector.problem(Fault::Protocol, &format!("cannot be heard: {error}"))),
            Heard::All | Heard::Enough => None,
        };
        let status = status.map_err(|error| ConnectError::internal("wait for a connector", error))?;
        Ok((listener, Ended { status, last_words: last.text(), cut_short }))
    }

    fn hear_lines<L: Listener>(&self, child: &mut Child, listener: &mut L) -> Result<Heard, ConnectError> {
        let Some(stdout) = child.stdout.take() else { return Ok(Heard::All) };
        let mut reader = BufReader::with_capacity(PIPE_BYTES, stdout);
        let mut line = Vec::new();
        loop {
            match next_line(&mut reader, &mut line) {
                Ok(true) => {}
                Ok(false) => return Ok(Heard::All),
                Err(error) => return Ok(Heard::Broken(error)),
            }
            self.clock.heard();
            if !listener.take(&line)? {
                return Ok(Heard::Enough);
            }
            // Disks and buckets may be slow; that is not the connector's silence.
            self.clock.heard();
        }
    }
}

/// How the hearing of a connector ended.
enum Heard {
    All,
    /// The listener wants no more.
    Enough,
    /// The pipe broke, or a line is too long.
    Broken(io::Error),
}

/// Reads one line without its end; false when there is none left.
///
/// Errors: `InvalidData` for a line over [`MAX_LINE_BYTES`].
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    // One very long line does not keep its room for the rest of the run.
    line.shrink_to(PIPE_BYTES);
    if reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 >= MAX_LINE_BYTES {
        let message = format!("a line of it is longer than {} MiB", MAX_LINE_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(true)
}

fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}

/// When a connector was heard last.
#[derive(Debug, Clone)]
struct Clock(Arc<Mutex<Instant>>);

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Clock {
    fn heard(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Ends a group when the run is given up.
#[derive(Debug)]
struct Leash(Group);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A command and whatever it started.
#[derive(Debug, Clone)]
struct Group {
    /// Of the command, which leads the group.
    id: u32,
    is_over: Arc<AtomicBool>,
}

impl Group {
    /// Asks the group to end, and a little later does not ask. Nobody waits for it here.
    fn end(&self) {
        if self.is_over.load(Ordering::Acquire) {
            return;
        }
        signal(self.id, "TERM");
        let (id, is_over) = (self.id, Arc::clone(&self.is_over));
        std::thread::spawn(move || {
            std::thread::sleep(GRACE);
            if !is_over.load(Ordering::Acquire) {
                signal(id, "KILL");
            }
        });
    }
}

/// Sends a signal to a process group. Rust's library can only kill a single process, so the shell does it.
fn signal(group: u32, name: &str) {
    let mut kill = Command::new("/bin/sh");
    kill.args(["-c", &format!("kill -{name} -{group}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Err(error) = kill.status() {
        tracing::warn!(group, %error, "a connector could not be told to end");
    }
}
