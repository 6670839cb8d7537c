//! Which of the staged files one COPY is about.
//!
//! In: a manifest, the options `files`, `pattern`, `prefix`, `size_limit`, `purge`.  Out: the manifest with the chosen files; fewer files
//! in the stage.
//! Never here: what is loaded already (`plan`).
//! Start at [`CopyOptions::chosen`].

use std::borrow::Cow;
use std::sync::Arc;

use domain::{StageManifest, StageMode, StagedFile};
use object_store::{ObjectStore, ObjectStoreExt};

use super::error::CopyError;
use super::options::CopyOptions;
use super::report::{CopyReport, FileStatus, Purge};
use crate::ledger::LoadRecord;
use crate::purges::PurgedFile;
use crate::table::plain_path;

/// Files that can be named; more are a pattern. (Snowflake's limit for FILES.)
pub const MAX_FILES: usize = 1_000;

impl CopyOptions {
    /// The manifest with the files that the options choose.
    ///
    /// Errors: a named file is not staged, or more than [`MAX_FILES`] are named; a choice where the files are the table only together.
    pub(crate) fn chosen<'m>(&self, manifest: &'m StageManifest) -> Result<Cow<'m, StageManifest>, CopyError> {
        let table = || manifest.target.to_string();
        if self.files.is_empty() && self.pattern.is_none() && self.prefix.is_none() {
            return Ok(Cow::Borrowed(manifest));
        }
        if manifest.mode != StageMode::Append {
            return Err(CopyError::NotSelectable { table: table() });
        }
        if self.files.len() > MAX_FILES {
            return Err(CopyError::TooManyFiles { table: table(), count: self.files.len(), limit: MAX_FILES });
        }
        let is_staged = |name: &&String| manifest.files.iter().any(|file| file.name == **name);
        if let Some(missing) = self.files.iter().find(|name| !is_staged(name)) {
            let available = manifest.files.iter().map(|file| file.name.clone()).collect();
            return Err(CopyError::NoSuchFile { table: table(), file: missing.clone(), available });
        }
        let is_chosen = |file: &StagedFile| {
            (self.files.is_empty() || self.files.contains(&file.name))
                && self.prefix.as_ref().is_none_or(|prefix| file.name.starts_with(prefix))
                && self.pattern.as_ref().is_none_or(|pattern| pattern.fits(&file.name))
        };
        let mut chosen = manifest.clone();
        chosen.files.retain(is_chosen);
        Ok(Cow::Owned(chosen))
    }

    /// What shapes the rows of a load: without what only says which files, what becomes of them, and what is shown.
    pub(crate) fn shaping(&self) -> Self {
        Self {
            mask: Vec::new(),
            files: Vec::new(),
            pattern: None,
            prefix: None,
            size_limit: None,
            purge: false,
            ..self.clone()
        }
    }
}

/// Takes out the files from the one on that begins past `limit` bytes; answers them.
pub(crate) fn over_limit(files: &mut Vec<StagedFile>, limit: u64) -> Vec<StagedFile> {
    let mut before = 0_u64;
    let fits = |file: &StagedFile| {
        let is_first_or_fits = before == 0 || before < limit;
        before += file.bytes.max(1);
        is_first_or_fits
    };
    let count = files.iter().map(fits).take_while(|fits| *fits).count();
    files.split_off(count)
}

/// Removes the files of the stage whose rows are all in the table; `records` are the loads before this one. One that cannot be removed is
/// reported, and tried again next time. Answers what became of each, with the load that brought its rows.
pub(crate) async fn purge(
    stage: &Arc<dyn ObjectStore>,
    manifest: &StageManifest,
    records: &[LoadRecord],
    copied: &mut CopyReport,
) -> Vec<PurgedFile> {
    let loaded_before = |name: &str, sha256: &str| {
        let files = records.iter().flat_map(|record| record.files.iter().map(|file| (record.load, file)));
        let mut found = files.filter(|(_, file)| file.report.file == name && file.report.is_loaded());
        let (load, file) = found.next()?;
        (file.sha256 == sha256 && file.report.status == FileStatus::Loaded).then_some(load)
    };
    let mut purged = Vec::new();
    for report in &mut copied.files {
        let Some(file) = manifest.files.iter().find(|file| file.name == report.file) else { continue };
        let whole_in = match report.status {
            FileStatus::Loaded => copied.load,
            FileStatus::LoadSkipped => loaded_before(&file.name, &file.sha256),
            FileStatus::PartiallyLoaded | FileStatus::LoadFailed => None,
        };
        let Some(load) = whole_in else { continue };
        let purge = match stage.delete(&plain_path(&file.path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Purge::Purged,
            Err(error) => {
                tracing::warn!(file = file.name, %error, "a loaded file stays in the stage; the next COPY tries again");
                Purge::PurgeFailed
            }
        };
        report.purge = Some(purge);
        purged.push(PurgedFile { load, file: file.name.clone(), purge });
    }
    purged
}
