//! What lies in the state directory of a project, as far as serving looks at it.
//!
//! In: the directory (`.montauk`).  Out: numbers that exist, newest first, and the files behind them, parsed.
//! Never here: writing; artefacts and feeds (see `load`, `feed`).
//! Start at [`StateDir`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use domain::{
    ExperimentSnapshot, FEED_FORMAT_VERSION, FeedHeader, PROMOTION_FORMAT_VERSION, Promotion, SNAPSHOT_FORMAT_VERSION,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ServingError;

/// A pointer or a header is a page of text; a larger file is not ours.
const MAX_DOCUMENT_BYTES: u64 = 16 << 20;

/// 10,000 flags of 6 kB each; a snapshot is held several times while it is compiled.
const MAX_SNAPSHOT_BYTES: u64 = 64 << 20;

/// The state directory.
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn artefact(&self, name: &str) -> PathBuf {
        self.0.join("artefacts").join(name)
    }

    pub(crate) fn feeds(&self) -> PathBuf {
        self.0.join("feed")
    }

    pub(crate) fn feed(&self, number: u64) -> PathBuf {
        self.feeds().join(format!("{number:020}"))
    }

    pub(crate) fn promoted(&self) -> PathBuf {
        self.0.join("promoted")
    }

    fn promotions(&self, recommender: &str) -> PathBuf {
        self.promoted().join(recommender)
    }

    /// Numbers of the promotions of a recommender, or of all of them, each with its recommender's name; newest first.
    ///
    /// Numbers count the promotions of all recommenders; where two have one number (two programs wrote by themselves), names decide.
    pub(crate) fn promotion_numbers(&self, recommender: Option<&str>) -> Result<Vec<(u64, String)>, ServingError> {
        let names: Vec<String> = match recommender {
            Some(name) => vec![name.to_owned()],
            None => {
                let folders = list(&self.promoted())?;
                let names = folders.iter().filter_map(|path| path.file_name()?.to_str());
                names.filter(|name| is_directory_name(name)).map(str::to_owned).collect()
            }
        };
        let mut promotions = Vec::new();
        for name in names {
            let numbers = numbers(&self.promotions(&name), ".json", |_| true)?;
            promotions.extend(numbers.into_iter().map(|number| (number, name.clone())));
        }
        promotions.sort_unstable_by(|left, right| right.cmp(left));
        Ok(promotions)
    }

    /// Revisions of the experiments, highest first.
    pub(crate) fn experiment_revisions(&self) -> Result<Vec<u64>, ServingError> {
        numbers(&self.0.join("experiments"), ".json", |_| true)
    }

    pub(crate) fn experiments_file(&self, revision: u64) -> PathBuf {
        self.0.join("experiments").join(format!("{revision:020}.json"))
    }

    pub(crate) fn experiments(&self, revision: u64) -> Result<ExperimentSnapshot, ServingError> {
        let path = self.experiments_file(revision);
        let snapshot: ExperimentSnapshot = read_document(&path, SNAPSHOT_FORMAT_VERSION, MAX_SNAPSHOT_BYTES)?;
        if snapshot.revision != revision {
            return Err(ServingError::corrupt(&path, format!("it is revision {}", snapshot.revision)));
        }
        Ok(snapshot)
    }

    /// Numbers of the complete feeds, newest first. A feed without `header.json` is still being written, or never will be.
    pub(crate) fn feed_numbers(&self) -> Result<Vec<u64>, ServingError> {
        numbers(&self.feeds(), "", |directory| directory.join("header.json").exists())
    }

    pub(crate) fn promotion(&self, recommender: &str, number: u64) -> Result<Promotion, ServingError> {
        let path = self.promotions(recommender).join(format!("{number:020}.json"));
        let promotion: Promotion = read_document(&path, PROMOTION_FORMAT_VERSION, MAX_DOCUMENT_BYTES)?;
        if promotion.number != number || promotion.recommender != recommender {
            return Err(ServingError::corrupt(&path, "its name and its content name different promotions"));
        }
        let names = [Some(&promotion.artefact), promotion.fallback_artefact.as_ref()];
        if names.into_iter().flatten().any(|name| !is_directory_name(name)) {
            return Err(ServingError::corrupt(&path, "an artefact is not named by a plain directory name"));
        }
        Ok(promotion)
    }

    pub(crate) fn feed_header(&self, number: u64) -> Result<FeedHeader, ServingError> {
        let path = self.feed(number).join("header.json");
        let header: FeedHeader = read_document(&path, FEED_FORMAT_VERSION, MAX_DOCUMENT_BYTES)?;
        if header.feed != number {
            return Err(ServingError::corrupt(&path, format!("it is the header of feed {}", header.feed)));
        }
        if [&header.items.name, &header.histories.name].into_iter().any(|name| !is_directory_name(name)) {
            return Err(ServingError::corrupt(&path, "a file is not named by a plain file name"));
        }
        Ok(header)
    }
}

/// Names from files never lead out of their directory.
fn is_directory_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// Entries of a directory; none if it does not exist, or is none.
fn list(directory: &Path) -> Result<Vec<PathBuf>, ServingError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(ServingError::io(directory)(error)),
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(ServingError::io(directory))).collect()
}

/// Numbers of entries named by exactly 20 digits and `suffix`.
fn numbers(directory: &Path, suffix: &str, is_complete: impl Fn(&Path) -> bool) -> Result<Vec<u64>, ServingError> {
    let mut numbers = Vec::new();
    for path in list(directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(suffix));
        let digits = name.filter(|digits| digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(number) = digits.and_then(|digits| digits.parse::<u64>().ok()).filter(|_| is_complete(&path)) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable_by(|left, right| right.cmp(left));
    Ok(numbers)
}

/// Reads a JSON document; its `format_version` is looked at first, for a newer format may not even deserialise.
fn read_document<T: DeserializeOwned>(path: &Path, supported: u32, max_bytes: u64) -> Result<T, ServingError> {
    let size = fs::metadata(path).map_err(ServingError::io(path))?.len();
    if size > max_bytes {
        return Err(ServingError::corrupt(path, format!("{size} bytes are too many")));
    }
    let bytes = fs::read(path).map_err(ServingError::io(path))?;
    let corrupt = |error: serde_json::Error| ServingError::corrupt(path, error.to_string());
    let value: Value = serde_json::from_slice(&bytes).map_err(corrupt)?;
    match value.get("format_version").and_then(Value::as_u64) {
        Some(found) if found == u64::from(supported) => serde_json::from_value(value).map_err(corrupt),
        Some(found) => Err(ServingError::FormatVersion { path: path.to_owned(), found, supported }),
        None => Err(ServingError::corrupt(path, "`format_version` is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_complete_and_newest_first() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::new(directory.path());
        assert_eq!(state.feed_numbers().unwrap(), Vec::<u64>::new());
        for (number, is_complete) in [(1, true), (10, true), (11, false), (2, true)] {
            fs::create_dir_all(state.feed(number)).unwrap();
            if is_complete {
                fs::write(state.feed(number).join("header.json"), "{}").unwrap();
            }
        }
        fs::create_dir_all(state.feeds().join("7")).unwrap();
        fs::create_dir_all(state.feeds().join(".writing-3")).unwrap();
        assert_eq!(state.feed_numbers().unwrap(), [10, 2, 1]);
    }

    #[test]
    fn promotions_of_all_recommenders_stand_in_one_row() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::new(directory.path());
        for (recommender, numbers) in [("ease", &[1, 3][..]), ("ials", &[2, 4])] {
            fs::create_dir_all(state.promotions(recommender)).unwrap();
            for number in numbers {
                fs::write(state.promotions(recommender).join(format!("{number:020}.json")), "{}").unwrap();
            }
        }
        // What whoever promotes keeps beside them is no recommender.
        fs::create_dir_all(state.promotions(".numbers")).unwrap();
        fs::write(state.promotions(".numbers").join(format!("{:020}.json", 9)), "").unwrap();
        fs::write(state.promoted().join("README"), "").unwrap();
        let check = |recommender: Option<&str>, expected: &[(u64, &str)]| {
            let found = state.promotion_numbers(recommender).unwrap();
            assert!(
                found.iter().map(|(number, name)| (*number, name.as_str())).eq(expected.iter().copied()),
                "{found:?}"
            );
        };
        check(None, &[(4, "ials"), (3, "ease"), (2, "ials"), (1, "ease")]);
        check(Some("ease"), &[(3, "ease"), (1, "ease")]);
        check(Some("bpr"), &[]);
    }

    #[test]
    fn names_from_files_stay_in_their_directory() {
        assert!(is_directory_name("ease-0123"));
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", ".writing-1", "a\0b"] {
            assert!(!is_directory_name(bad), "{bad}");
        }
    }
}
