//! What the tests share: the real binary, the example project, the Python of the test environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// The binary under test. No colour, no terminal, nothing of the developer's own environment that could change an answer.
pub fn montauk() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_montauk"));
    command.env_remove("MONTAUK_LOG").env("NO_COLOR", "1");
    command
}

/// Park–Miller "minimal standard" generator (CACM 31(10), 1988): enough to pick moments, and repeatable by its seed.
pub struct Dice(u64);

impl Dice {
    /// `seed` from 1.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0 * 48_271 % 2_147_483_647;
        self.0 % bound
    }
}

/// Runs to success; the JSON it printed, or null.
pub fn run(command: &mut Command) -> serde_json::Value {
    let output = command.output().unwrap();
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    assert!(output.status.success(), "{command:?}: {:?}\n{}", output.status, said.join("\n"));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// A project in which the demo has run, shared by the tests of this process: they only read it.
pub fn demo() -> &'static Path {
    static DEMO: OnceLock<TempDir> = OnceLock::new();
    let dir = DEMO.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        run(montauk().arg("-C").arg(dir.path()).args(["demo", "--once"]));
        dir
    });
    dir.path()
}

/// The answer to a query, as CSV.
pub fn csv(project: &Path, sql: &str) -> String {
    let output = montauk().arg("-C").arg(project).args(["query", sql, "--format", "csv"]).output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Copies the shipped example to `target`, without the folders in `except`.
pub fn example(target: &Path, except: &[&str]) {
    copy_folder(&repository().join("examples/retail"), target, except);
}

/// Copies the shipped example of two logged policies to `target`.
pub fn open_bandit(target: &Path) {
    copy_folder(&repository().join("examples/open-bandit"), target, &[]);
}

fn copy_folder(from: &Path, to: &Path, except: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == ".montauk" || except.contains(&name.as_str()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to.join(name), &[]);
        } else {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Python with the packages that the tests read tables with; `make test` installs them.
pub fn python() -> PathBuf {
    // `.ci/run` keeps the environment in its cache, outside the clone.
    let venv = std::env::var_os("MONTAUK_TEST_VENV").map_or_else(|| repository().join(".venv-test"), PathBuf::from);
    let python = venv.join("bin/python");
    assert!(python.exists(), "{} is missing: run `make test`, which installs it", python.display());
    python
}

/// The blocks of a page of documentation, each with its language, in their order.
pub fn page(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).unwrap();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        blocks.push((language.to_owned(), block));
    }
    blocks
}
