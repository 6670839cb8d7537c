//! The files of the repository as the rules see them.
//!
//! In: a directory, or pairs of path and text.  Out: paths and texts.
//! Never here: judgement.
//! Start at [`Repository::load`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Built, downloaded or written by running the program: not the repository's.
const SKIPPED_DIRECTORIES: &[&str] = &[
    ".git",
    "target",
    ".montauk",
    ".venv-test",
    ".venv-bench",
    ".venv-connectors",
    ".venv-sdks",
    ".venv-fuzz",
    "node_modules",
    "__pycache__",
    "montauk-demo",
];
/// Longest text that is read: 2 MiB is ten times the largest file a person edits here (`Cargo.lock`).
const MAX_TEXT_BYTES: u64 = 2 * 1024 * 1024;

/// Paths and texts, by path from the top with `/` between parts.
#[derive(Debug, Default)]
pub struct Repository {
    texts: BTreeMap<String, String>,
    /// Every file and directory, also those that are not text.
    paths: BTreeSet<String>,
}

impl Repository {
    /// Reads the files under `top`.
    ///
    /// Errors: when a directory or a file cannot be read.
    pub fn load(top: &Path) -> std::io::Result<Self> {
        let mut repository = Self::default();
        repository.walk(top, "")?;
        Ok(repository)
    }

    /// A repository that holds just these files.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut repository = Self::default();
        for (path, text) in files {
            repository.add_path(path);
            repository.texts.insert((*path).to_owned(), (*text).to_owned());
        }
        repository
    }

    /// Text files whose path ends with `suffix`.
    pub fn ending_with<'a>(&'a self, suffix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts().filter(move |(path, _)| path.ends_with(suffix))
    }

    /// Every text file.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The text of one file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Whether a file or directory is there.
    pub fn holds(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Names of the directories in `crates/`.
    pub fn crates(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().filter_map(|path| path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"))
    }

    fn add_path(&mut self, path: &str) {
        let mut end = 0;
        while let Some(slash) = path[end..].find('/') {
            self.paths.insert(path[..end + slash].to_owned());
            end += slash + 1;
        }
        self.paths.insert(path.to_owned());
    }

    fn walk(&mut self, directory: &Path, prefix: &str) -> std::io::Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let is_cache = entry.path().join("CACHEDIR.TAG").exists();
                if !is_cache && !SKIPPED_DIRECTORIES.contains(&name.as_str()) {
                    self.add_path(&path);
                    self.walk(&entry.path(), &path)?;
                }
            } else if kind.is_file() {
                self.add_path(&path);
                if entry.metadata()?.len() <= MAX_TEXT_BYTES
                    && let Ok(text) = String::from_utf8(std::fs::read(entry.path())?)
                {
                    self.texts.insert(path, text);
                }
            }
        }
        Ok(())
    }
}
