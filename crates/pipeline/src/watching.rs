//! What a refresh of experiments leaves for the next one, and for people: alerts, and when each experiment was last watched.
//!
//! In: alerts; a key and a moment.  Out: the same, read again.
//! Layout: `reports/experiments/alerts.ndjson`, only ever added to; `reports/experiments/w_<key>.json`, replaced whole.
//! Never here: what is an alert (`experiment::lifecycle::alerts`), sending them.
//! Start at [`add_alerts`].

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use experiment::lifecycle::Alert;
use serde::{Deserialize, Serialize};

use crate::PipelineError;
use crate::feed::{sync_directory, write_durably};
use crate::project::Project;
use crate::results;

/// Read of the alerts at most, from their end: about ten thousand of them, of which those of the last week matter.
const MOST_BYTES: u64 = 4 * 1_024 * 1_024;

/// When results were last computed and everything due was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Watched {
    phase: u32,
    at: DateTime<Utc>,
}

/// Where alerts are.
pub fn alerts_path(project: &Project) -> PathBuf {
    project.reports_dir().join("experiments").join("alerts.ndjson")
}

/// Adds alerts; when this returns, a power cut does not lose them. Two processes may add at once. A line that a killed one tore stays, and is no
/// alert.
pub fn add_alerts(project: &Project, alerts: &[Alert]) -> Result<(), PipelineError> {
    if alerts.is_empty() {
        return Ok(());
    }
    let path = alerts_path(project);
    let io = |error: std::io::Error| PipelineError::io(&path, &error);
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent).map_err(io)?;
    let mut file = OpenOptions::new().append(true).read(true).create(true).open(&path).map_err(io)?;
    let mut text = if ends_whole(&mut file).map_err(io)? { String::new() } else { "\n".to_owned() };
    for alert in alerts {
        text.push_str(&serde_json::to_string(alert).map_err(|error| PipelineError::json("alert", &error))?);
        text.push('\n');
    }
    // One write, so that lines of two processes do not mix.
    file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(io)?;
    sync_directory(parent)
}

fn ends_whole(file: &mut fs::File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The newest alerts, oldest first; what is no alert is left out.
pub fn alerts(project: &Project) -> Result<Vec<Alert>, PipelineError> {
    let path = alerts_path(project);
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(&path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MOST_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => {
            Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(PipelineError::io(&path, &error)),
    }
}

/// When this phase of an experiment was last watched; `None` also where the note cannot be read: then it is watched once more.
pub fn watched_at(project: &Project, key: &str, phase: u32) -> Option<DateTime<Utc>> {
    let bytes = fs::read(results::file(project, "w", key)).ok()?;
    let watched: Watched = serde_json::from_slice(&bytes).ok()?;
    (watched.phase == phase).then_some(watched.at)
}

/// Notes that it was. Only after everything due was done: whoever is killed before begins again.
pub fn keep_watched(project: &Project, key: &str, phase: u32, at: DateTime<Utc>) -> Result<(), PipelineError> {
    let path = results::file(project, "w", key);
    let aside = path.with_extension(format!("{}.aside", std::process::id()));
    let text = serde_json::to_vec(&Watched { phase, at }).map_err(|error| PipelineError::json("note", &error))?;
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent).map_err(|error| PipelineError::io(parent, &error))?;
    write_durably(&aside, &text)?;
    fs::rename(&aside, &path).map_err(|error| PipelineError::io(&path, &error))?;
    sync_directory(parent)
}

#[cfg(test)]
mod tests {
    use experiment::lifecycle::Verb;
    use experiment::lifecycle::alerts::What;

    use super::*;

    fn project(dir: &Path) -> Project {
        fs::write(dir.join("montauk.toml"), "[project]\nname = \"shop\"\n").unwrap();
        Project::open(dir).unwrap()
    }

    fn at(hour: u32) -> DateTime<Utc> {
        format!("2026-11-01T{hour:02}:00:00Z").parse().unwrap()
    }

    fn alert(revision: u64) -> Alert {
        let what = What::Done { verb: Verb::Ramp, reason: "step of the ramp to 0.5".to_owned(), revision };
        Alert { at: at(1), experiment: "checkout".to_owned(), phase: 0, what }
    }

    #[test]
    fn a_torn_line_is_no_alert_and_what_follows_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let project = project(dir.path());
        assert_eq!(alerts(&project).unwrap(), []);
        add_alerts(&project, &[]).unwrap();
        assert!(!alerts_path(&project).exists());
        add_alerts(&project, &[alert(1), alert(2)]).unwrap();
        let whole = fs::read(alerts_path(&project)).unwrap();
        for cut in 0..=whole.len() {
            fs::write(alerts_path(&project), &whole[..cut]).unwrap();
            add_alerts(&project, &[alert(3)]).unwrap();
            let found = alerts(&project).unwrap();
            let mut expected = vec![alert(1), alert(2)];
            // A line without its end is whole all the same when only the end was torn off.
            expected.truncate(usize::from(cut >= whole.len() / 2 - 1) + usize::from(cut >= whole.len() - 1));
            expected.push(alert(3));
            assert_eq!(found, expected, "{cut}");
        }
    }

    #[test]
    fn only_the_end_of_a_long_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let project = project(dir.path());
        add_alerts(&project, &[alert(1)]).unwrap();
        let line = fs::read(alerts_path(&project)).unwrap();
        let times = usize::try_from(MOST_BYTES).unwrap() / line.len() + 10;
        fs::write(alerts_path(&project), line.repeat(times)).unwrap();
        add_alerts(&project, &[alert(2)]).unwrap();
        let found = alerts(&project).unwrap();
        assert!(found.len() < times && found.len() > times - 13, "{} of {times}", found.len());
        assert_eq!(found.last(), Some(&alert(2)));
    }

    #[test]
    fn a_note_belongs_to_its_key_and_phase() {
        let dir = tempfile::tempdir().unwrap();
        let project = project(dir.path());
        assert_eq!(watched_at(&project, "a/b", 0), None);
        keep_watched(&project, "a/b", 0, at(1)).unwrap();
        keep_watched(&project, "a/b", 0, at(2)).unwrap();
        assert_eq!(watched_at(&project, "a/b", 0), Some(at(2)));
        assert_eq!((watched_at(&project, "a/b", 1), watched_at(&project, "a", 0)), (None, None));
        fs::write(results::file(&project, "w", "a/b"), "{").unwrap();
        assert_eq!(watched_at(&project, "a/b", 0), None);
    }
}
