//! Trials of a search for settings, one line each, so that a killed search goes on where it was.
//!
//! In: trials.  Out: `<name>.ndjson`, synced after every line. A line that a crash tore is no line.
//! Never here: what a trial is (`recommend`), which file belongs to which search (`steps::tune`).
//! Start at [`Journal::open`].

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use recommend::Trial;

use crate::PipelineError;
use crate::feed::sync_directory;

/// An open journal; new lines go to its end.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens or makes the file, and reads what it holds. What follows the last line end is cut off.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Trial>), PipelineError> {
        let io = |error: std::io::Error| PipelineError::io(path, &error);
        let parent = path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(parent).map_err(io)?;
        let file = OpenOptions::new().append(true).read(true).create(true).open(path).map_err(io)?;
        sync_directory(parent)?;
        let bytes = fs::read(path).map_err(io)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(io)?;
        }
        // A line that is no trial is of another version or damaged: that trial is measured again.
        let trials = bytes[..whole].split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        Ok((Self { path: path.to_owned(), file }, trials.collect()))
    }

    /// Adds one trial; when this returns, a power cut does not lose it.
    pub(crate) fn add(&mut self, trial: &Trial) -> Result<(), PipelineError> {
        let mut line = serde_json::to_vec(trial).map_err(|error| PipelineError::json("trial", &error))?;
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|error| PipelineError::io(&self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use recommend::Rung;

    use super::*;

    fn trial(number: usize) -> Trial {
        let parameters = [("lambda".to_owned(), serde_json::json!(0.00512))].into_iter().collect();
        Trial { number, rung: Rung::Full, parameters, users: 2, ndcg: Some(0.123456789), values: vec![0.1, 0.146914] }
    }

    #[test]
    fn a_torn_last_line_is_ignored_and_what_follows_is_whole() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("ease/0123.ndjson");
        let (mut journal, trials) = Journal::open(&path).unwrap();
        assert!(trials.is_empty());
        journal.add(&trial(1)).unwrap();
        journal.add(&trial(2)).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, trials) = Journal::open(&path).unwrap();
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(trials, [trial(1), trial(2)][..lines]);
            journal.add(&trial(3)).unwrap();
            assert_eq!(Journal::open(&path).unwrap().1.last(), Some(&trial(3)), "{cut}");
        }
        fs::write(&path, [b"not a trial\n".as_slice(), &whole].concat()).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1, [trial(1), trial(2)]);
    }
}
