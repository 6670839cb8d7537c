//! What there is to load: the staged files against the ledger.
//!
//! In: a manifest, the records that count.  Out: a [`Plan`], or the refusal of a file that changed after it was loaded.
//! Never here: reading files.
//! Start at [`Plan::new`].

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{StageManifest, StageMode, StagedFile};

use super::error::CopyError;
use super::report::{FileReport, FileStatus};
use super::selection::over_limit;
use crate::ledger::{LoadRecord, LoadedFile, LoadedManifest, ReplayedFile};
use crate::table::{DataFile, Table};

/// What one COPY has to do.
#[derive(Debug)]
pub(crate) struct Plan {
    mode: StageMode,
    /// In the order of the manifest.
    pub(crate) files: Vec<StagedFile>,
    pub(crate) skipped: Vec<FileReport>,
    /// The table holds everything already. Changes may have no file and be news all the same: the source has been looked at.
    pub(crate) is_done: bool,
    /// Staged name → files of the table that its earlier content brought.
    replaced: HashMap<String, Vec<String>>,
}

impl Plan {
    /// Decides per file: load, skip, or refuse.
    ///
    /// `config_hash` is that of the options: a file that was left out because of its rows is not tried again with the same ones.
    pub(crate) fn new(
        manifest: &StageManifest,
        records: &[LoadRecord],
        force: bool,
        config_hash: &str,
    ) -> Result<Self, CopyError> {
        let mut plan = Self::all(manifest);
        plan.files.clear();
        match manifest.mode {
            StageMode::Full => plan.full(manifest, records),
            StageMode::Append => plan.append(manifest, records, force, config_hash)?,
            StageMode::Changes => plan.changes(manifest, records)?,
        }
        plan.is_done |= plan.files.is_empty() && manifest.mode != StageMode::Changes;
        Ok(plan)
    }

    /// Every file of a manifest, as for a table that is not there yet.
    pub(crate) fn all(manifest: &StageManifest) -> Self {
        let files = manifest.files.clone();
        Self { mode: manifest.mode, files, skipped: Vec::new(), is_done: false, replaced: HashMap::new() }
    }

    /// The files are the whole table: all of them, unless the table holds exactly them.
    fn full(&mut self, manifest: &StageManifest, records: &[LoadRecord]) {
        // What the next changes follow is noted down, even when the rows are the same.
        let is_base = manifest.resume.is_some() || manifest.changes.is_some();
        let held = records.iter().find_map(|record| record.manifest.as_ref());
        let newest = records.first().filter(|_| !is_base || held == LoadedManifest::of(manifest).as_ref());
        let staged = manifest.files.iter().map(|file| (file.name.as_str(), file.sha256.as_str()));
        let is_same = newest.is_some_and(|record| {
            record.mode == StageMode::Full
                && record.files.iter().all(|file| file.report.is_loaded())
                && record.files.iter().map(|file| (file.report.file.as_str(), file.sha256.as_str())).eq(staged)
        });
        if is_same {
            self.skipped = manifest.files.iter().map(|file| loaded_before(&file.name)).collect();
        } else {
            self.files = manifest.files.clone();
        }
    }

    /// The files change what the manifest before them left, and nothing else.
    fn changes(&mut self, manifest: &StageManifest, records: &[LoadRecord]) -> Result<(), CopyError> {
        let wanted = LoadedManifest::of(manifest);
        let held = records.iter().find_map(|record| record.manifest.as_ref());
        if wanted.is_some() && wanted.as_ref() == held {
            self.skipped = manifest.files.iter().map(|file| loaded_before(&file.name)).collect();
            self.is_done = true;
            return Ok(());
        }
        let before = manifest.number.saturating_sub(1);
        if held.is_none_or(|held| held.number != before || !held.is_of(manifest)) {
            return Err(CopyError::NotNext {
                table: manifest.target.to_string(),
                source_table: format!("{}.{}", manifest.source, manifest.table),
                before,
                held: held.map_or_else(|| "none".to_owned(), |held| held.number.to_string()),
            });
        }
        self.files = manifest.files.clone();
        Ok(())
    }

    fn append(
        &mut self,
        manifest: &StageManifest,
        records: &[LoadRecord],
        force: bool,
        config_hash: &str,
    ) -> Result<(), CopyError> {
        let by_name = newest_by_name(records);
        let mut by_content: HashMap<&str, &str> =
            by_name.iter().map(|(name, file)| (file.sha256.as_str(), *name)).collect();
        for file in &manifest.files {
            match by_name.get(file.name.as_str()) {
                Some(before) if before.sha256 == file.sha256 && !(force && before.report.is_partial()) => {
                    self.skipped.push(loaded_before(&file.name));
                }
                Some(_) if !force => {
                    let table = manifest.target.to_string();
                    return Err(CopyError::ChangedAfterLoad { table, file: file.name.clone() });
                }
                Some(before) => {
                    let replayed = held_replays(records).into_iter().filter(|rows| rows.file == file.name);
                    let brought = before.data_files.iter().chain(replayed.flat_map(|rows| &rows.data_files));
                    let paths = brought.map(|data| data.path.clone()).collect();
                    self.replaced.insert(file.name.clone(), paths);
                    self.files.push(file.clone());
                }
                None if !force && let Some(failed) = failed_before(records, file, config_hash) => {
                    self.skipped.push(failed.clone());
                }
                None => match by_content.get(file.sha256.as_str()) {
                    Some(twin) if !force => {
                        let reason = format!("it has the content of `{twin}`; `--force` loads it all the same");
                        self.skipped.push(FileReport::skipped(&file.name, reason));
                    }
                    _ => {
                        by_content.insert(&file.sha256, &file.name);
                        self.files.push(file.clone());
                    }
                },
            }
        }
        Ok(())
    }

    /// Leaves the files to the next load that begin past `limit` bytes.
    pub(crate) fn stop_at(&mut self, limit: u64) {
        let reason = || format!("`size_limit` of {limit} bytes is reached");
        let left = over_limit(&mut self.files, limit);
        self.skipped.extend(left.iter().map(|file| FileReport::skipped(&file.name, reason())));
    }

    /// Files of the table that go because their staged file has been loaded anew, out of those that it has.
    ///
    /// Errors: one of them is gone, so that the earlier rows cannot be told from others.
    pub(crate) fn removes(&self, table: &Table, loaded: &[LoadedFile]) -> Result<Vec<DataFile>, CopyError> {
        if self.mode == StageMode::Full {
            return Ok(table.files().to_vec());
        }
        let mut removes = Vec::new();
        for report in loaded.iter().map(|file| &file.report).filter(|report| report.is_loaded()) {
            for path in self.replaced.get(&report.file).into_iter().flatten() {
                let Some(file) = table.files().iter().find(|file| file.path == *path) else {
                    return Err(CopyError::Rewritten { table: table.name().to_string(), file: report.file.clone() });
                };
                removes.push(file.clone());
            }
        }
        Ok(removes)
    }
}

/// What was said of this content when it was left out for its rows, under the same options.
fn failed_before<'a>(records: &'a [LoadRecord], file: &StagedFile, config_hash: &str) -> Option<&'a FileReport> {
    let same_options = records.iter().filter(|record| record.provenance.config_hash == config_hash);
    let found = same_options.flat_map(|record| &record.files).find(|tried| tried.report.file == file.name)?;
    (found.sha256 == file.sha256 && found.report.is_failed_by_rows()).then_some(&found.report)
}

fn loaded_before(file: &str) -> FileReport {
    FileReport::skipped(file, "loaded before".to_owned())
}

/// The content that the table holds of each staged name. A load of the whole table has replaced all that was before it.
fn newest_by_name(records: &[LoadRecord]) -> HashMap<&str, &LoadedFile> {
    let mut held = HashMap::new();
    let whole = records.iter().position(|record| record.mode == StageMode::Full);
    let newest = records.iter().take(whole.map_or(records.len(), |place| place + 1));
    for file in newest.flat_map(|record| &record.files).filter(|file| file.report.is_loaded()) {
        held.entry(file.report.file.as_str()).or_insert(file);
    }
    held
}

/// The replayed rows that the table holds: those of files that no later load has brought anew.
pub(crate) fn held_replays(records: &[LoadRecord]) -> Vec<&ReplayedFile> {
    let mut anew: HashSet<&str> = HashSet::new();
    let mut held = Vec::new();
    for record in records {
        held.extend(record.replays.iter().filter(|replayed| !anew.contains(replayed.file.as_str())));
        let loaded = record.files.iter().filter(|file| file.report.is_loaded());
        anew.extend(loaded.map(|file| file.report.file.as_str()));
        if record.mode == StageMode::Full {
            break;
        }
    }
    held
}

/// Names and hashes of the files whose rows the table holds after this load.
pub(crate) fn held<'a>(
    mode: StageMode,
    records: &'a [LoadRecord],
    loaded: &'a [LoadedFile],
) -> BTreeMap<&'a str, &'a str> {
    let mut held = BTreeMap::new();
    if mode != StageMode::Full {
        held.extend(newest_by_name(records).into_iter().map(|(name, file)| (name, file.sha256.as_str())));
    }
    let now = loaded.iter().filter(|file| file.report.is_loaded());
    held.extend(now.map(|file| (file.report.file.as_str(), file.sha256.as_str())));
    held
}

impl FileReport {
    fn is_partial(&self) -> bool {
        self.status == FileStatus::PartiallyLoaded
    }

    /// Left out because of its rows, which stay as they are; a file that could not be read may be readable next time.
    pub(crate) fn is_failed_by_rows(&self) -> bool {
        self.status == FileStatus::LoadFailed && self.first_error.is_some()
    }

    /// Whether rows of it are in the table (or would be, had it any).
    pub(crate) fn is_loaded(&self) -> bool {
        match self.status {
            FileStatus::Loaded | FileStatus::PartiallyLoaded => true,
            FileStatus::LoadFailed | FileStatus::LoadSkipped => false,
        }
    }
}
