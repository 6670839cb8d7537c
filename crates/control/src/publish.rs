//! The snapshot that flags are answered from: written aside, synced, and put under a number that rises.
//!
//! In: the store.  Out: `<directory>/<revision:020>.json`, a [`domain::ExperimentSnapshot`].
//! Never here: who reads it (see `serving`).
//! Start at [`Control::publish_snapshot`].

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use domain::{ExperimentSnapshot, SNAPSHOT_FORMAT_VERSION, SnapshotExperiment};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::control::Control;
use crate::error::ControlError;
use crate::secret::hex;
use crate::store::{View, number};
use crate::surroundings::Surroundings;

/// Readers keep the newest; people go back a few days to see what was served.
const KEPT_FILES: usize = 50;
/// The one that is being written, and the one before it.
const KEPT_ROWS: u64 = 2;

/// An experiment whose rules are not in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub key: String,
    pub reason: String,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Of the newest snapshot.
    pub revision: u64,
    pub path: PathBuf,
    /// Whether it is a new one; without any difference there is none.
    pub is_new: bool,
    /// Drafts that do not fit yet, and decided experiments whose flag has moved on.
    pub left_out: Vec<LeftOut>,
}

fn file_of(directory: &Path, revision: u64) -> PathBuf {
    directory.join(format!("{revision:020}.json"))
}

/// Numbers of the snapshots in a directory, rising.
fn revisions(directory: &Path) -> Result<Vec<u64>, ControlError> {
    let failed = |source| ControlError::Io { path: directory.display().to_string(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".json")).filter(|digits| digits.len() == 20);
        found.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Puts a file if it is absent: written aside and synced first, so that nobody reads half of it.
fn put_if_absent(path: &Path, text: &str) -> Result<(), ControlError> {
    let failed = |source| ControlError::Io { path: path.display().to_string(), source };
    if path.exists() {
        return Ok(());
    }
    let aside = path.with_extension(format!("{}.aside", hex(&crate::secret::random::<8>()?)));
    let write = || {
        let mut file = File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&aside, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    };
    let written = write().map_err(failed);
    // Whether or not it was linked, the name aside is of no more use.
    let removed = fs::remove_file(&aside);
    written.and(removed.map_err(failed))
}

/// Removes what killed writers left aside. Only for whoever holds the store's lock: nobody else is writing then.
fn sweep_aside(directory: &Path) -> Result<(), ControlError> {
    let failed = |source| ControlError::Io { path: directory.display().to_string(), source };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "aside") {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Removes all but the newest files.
fn sweep(directory: &Path) -> Result<(), ControlError> {
    let failed = |source| ControlError::Io { path: directory.display().to_string(), source };
    let found = revisions(directory)?;
    for revision in &found[..found.len().saturating_sub(KEPT_FILES)] {
        match fs::remove_file(file_of(directory, *revision)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Rows that may not have their file yet: number and text, rising.
async fn pending(change: &mut View) -> Result<Vec<(u64, String, String)>, ControlError> {
    let rows = sqlx::query("SELECT revision, content_hash, document FROM snapshots ORDER BY revision")
        .fetch_all(&mut *change.transaction)
        .await?;
    rows.iter().map(|row| Ok((row.try_get::<i64, _>(0)?.unsigned_abs(), row.try_get(1)?, row.try_get(2)?))).collect()
}

impl Surroundings {
    /// The snapshot, still without a number. Errors: `Program`, which no change should have let pass.
    fn snapshot(&self, now: DateTime<Utc>) -> Result<(ExperimentSnapshot, Vec<LeftOut>), ControlError> {
        let (program, sources, left_out) = self.program(now);
        let unreadable = |source| ControlError::Document { kind: "snapshot", key: "payload".to_owned(), source };
        let payload = serde_json::to_value(program.payload()?).map_err(unreadable)?;
        let experiments = program.experiments.iter().zip(sources).map(|(experiment, record)| SnapshotExperiment {
            key: experiment.key.clone(),
            feature: experiment.feature().to_owned(),
            hash_attribute: experiment.hash_attribute.clone(),
            phase: experiment.phase,
            state: record.course.state.name().to_owned(),
            variants: experiment.variants.iter().map(|variant| variant.key.clone()).collect(),
        });
        let snapshot = ExperimentSnapshot {
            format_version: SNAPSHOT_FORMAT_VERSION,
            revision: 0,
            published_at: now,
            payload: payload.as_object().cloned().unwrap_or_default(),
            experiments: experiments.collect(),
            connections: self.connections.clone(),
        };
        Ok((snapshot, left_out))
    }
}

impl Control {
    /// Publishes what stands in the store, if it differs from what was published last. The number and the text are kept in the store before the
    /// file is written: a publication that was killed in between is completed by the next one, and no number ever has two texts.
    ///
    /// Errors: `Io` when the directory cannot be written; then the next publication writes the file.
    pub async fn publish_snapshot(&self, directory: &Path, now: DateTime<Utc>) -> Result<Published, ControlError> {
        fs::create_dir_all(directory)
            .map_err(|source| ControlError::Io { path: directory.display().to_string(), source })?;
        let (revision, is_new, left_out) = self.number_snapshot(directory, now).await?;
        self.write_snapshots(directory).await?;
        sweep(directory)?;
        Ok(Published { revision, path: file_of(directory, revision), is_new, left_out })
    }

    /// Keeps the next snapshot in the store, if there is a difference.
    pub(crate) async fn number_snapshot(
        &self,
        directory: &Path,
        now: DateTime<Utc>,
    ) -> Result<(u64, bool, Vec<LeftOut>), ControlError> {
        let mut change = self.store.begin().await?;
        let (mut snapshot, left_out) = Surroundings::load(&mut change).await?.snapshot(now)?;
        let unreadable = |source| ControlError::Document { kind: "snapshot", key: "document".to_owned(), source };
        let content = serde_json::to_string(&(&snapshot.payload, &snapshot.experiments, &snapshot.connections))
            .map_err(unreadable)?;
        let hash = domain::hash_bytes(content.as_bytes());
        let newest_file = revisions(directory)?.last().copied().unwrap_or_default();
        let newest = pending(&mut change).await?.pop();
        if let Some((revision, last, _)) = &newest
            && *last == hash
            && *revision >= newest_file
        {
            return Ok((*revision, false, left_out));
        }
        // A store that was restored from a backup must not go back: readers would keep what they have.
        snapshot.revision = newest.map_or(0, |(revision, _, _)| revision).max(newest_file) + 1;
        let document = serde_json::to_string(&snapshot).map_err(unreadable)?;
        sqlx::query("INSERT INTO snapshots (revision, content_hash, document) VALUES ($1, $2, $3)")
            .bind(number(snapshot.revision))
            .bind(hash)
            .bind(document)
            .execute(&mut *change.transaction)
            .await?;
        change.commit().await?;
        Ok((snapshot.revision, true, left_out))
    }

    /// Writes files that are missing, and forgets rows whose files are known to be there.
    async fn write_snapshots(&self, directory: &Path) -> Result<(), ControlError> {
        let mut change = self.store.begin().await?;
        let rows = pending(&mut change).await?;
        let newest = rows.last().map_or(0, |(revision, _, _)| *revision);
        let directory = directory.to_path_buf();
        // Syncing takes milliseconds, which the async threads have not.
        let written = tokio::task::spawn_blocking(move || {
            sweep_aside(&directory)?;
            rows.iter().try_for_each(|(revision, _, document)| put_if_absent(&file_of(&directory, *revision), document))
        });
        written.await.map_err(|error| ControlError::Io {
            path: "the snapshot's directory".to_owned(),
            source: std::io::Error::other(error),
        })??;
        sqlx::query("DELETE FROM snapshots WHERE revision <= $1")
            .bind(number(newest.saturating_sub(KEPT_ROWS)))
            .execute(&mut *change.transaction)
            .await?;
        change.commit().await
    }
}
