//! The stage: what `extract` leaves for `copy`. Files first, manifest last, so that a killed run leaves nothing half-visible.
//!
//! Layout: `<source>/<table>/files/<sha256[..16]>-<name>` and `<source>/<table>/<n:020>.json` (`domain::StageManifest`, highest
//! `n` is current).  In: manifests and bytes.  Out: the same.
//! Never here: where the bytes come from (`sources`), what they mean (`warehouse`).
//! Start at [`Stage::publish`]; [`Stage::sweep`] removes what killed runs left.

use std::collections::HashSet;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Hasher, StageManifest, StageMode};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, WriteMultipart};

use crate::{ConnectError, Store};

/// Size of one part of an upload in bytes: over the 5 MiB that S3 asks for, small enough to hold several in memory.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts under way at once: four hide a bucket's latency and cap the memory at 40 MiB.
const PARTS_IN_FLIGHT: usize = 4;
/// Tries to find a free manifest number; each failed one means that another run has published just then.
const PUBLISH_ATTEMPTS: u32 = 20;
/// What no manifest names is kept this long: a run that is still going has not written its manifest yet.
const SWEEP_AGE: TimeDelta = TimeDelta::hours(24);
/// Manifests of what a table holds are kept this long: long enough to look at what was extracted a week ago, short enough that a table which
/// follows its source does not leave one for each run of a year.
const RETIRE_AGE: TimeDelta = TimeDelta::days(14);
/// Longest readable part of a path in bytes: leaves room under the 255 of file systems for hash and suffixes.
const MAX_SLUG_BYTES: usize = 100;
/// Directories between the root and a table's manifests: source, table.
const TABLE_DEPTH: usize = 2;

/// The stage of a project. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Stage {
    store: Store,
}

/// What [`Stage::sweep`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    pub files: u64,
    pub bytes: u64,
}

impl Stage {
    /// A stage at the root of `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The store it lies in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The current manifest of a source table, or `None` when nothing was extracted yet.
    pub async fn latest(&self, source: &str, table: &str) -> Result<Option<StageManifest>, ConnectError> {
        match self.latest_number(source, table).await? {
            Some(number) => self.manifest(source, table, number).await,
            None => Ok(None),
        }
    }

    /// The current manifests of all tables of a source, also of those that the project does not name any more.
    pub(crate) async fn latest_of(&self, source: &str) -> Result<Vec<StageManifest>, ConnectError> {
        let directory = Path::from_iter([slug(source)]);
        let listed = self.store.object_store.list_with_delimiter(Some(&directory)).await;
        let listed = listed.map_err(|error| self.store.problem(error))?;
        let mut manifests = Vec::new();
        // A directory's name is a slug, and the slug of one is itself.
        for table in listed.common_prefixes.iter().filter_map(|table| table.filename().map(str::to_owned)) {
            manifests.extend(self.latest(source, &table).await?);
        }
        Ok(manifests)
    }

    /// Number of the current manifest, counted from 1.
    pub async fn latest_number(&self, source: &str, table: &str) -> Result<Option<u64>, ConnectError> {
        let directory = table_directory(source, table);
        let listed = self.store.object_store.list_with_delimiter(Some(&directory)).await;
        let listed = listed.map_err(|error| self.store.problem(error))?;
        Ok(listed.objects.iter().filter_map(|object| manifest_number(&object.location)).max())
    }

    /// One manifest by its number.
    pub async fn manifest(
        &self,
        source: &str,
        table: &str,
        number: u64,
    ) -> Result<Option<StageManifest>, ConnectError> {
        let path = manifest_path(source, table, number);
        let Some(bytes) = self.store.read(&path).await? else { return Ok(None) };
        Ok(Some(StageManifest { number, ..read_manifest(&path, &bytes)? }))
    }

    /// Makes `manifest` the current one of its source table: put-if-absent at the next free number, which it carries from then on.
    ///
    /// The files it names must be staged already. Errors: `PublishRace` when others keep publishing, and the store's own.
    pub async fn publish(&self, mut manifest: StageManifest) -> Result<StageManifest, ConnectError> {
        manifest.number = self.latest_number(&manifest.source, &manifest.table).await?.unwrap_or(0);
        for _ in 0..PUBLISH_ATTEMPTS {
            manifest.number += 1;
            if self.put_manifest(&manifest).await? {
                return Ok(manifest);
            }
        }
        Err(publish_race(&manifest, PUBLISH_ATTEMPTS))
    }

    /// Makes `manifest` the current one right after number `before`: changes mean nothing on top of another one.
    ///
    /// Errors: `PublishRace` when another run has published meanwhile, and the store's own.
    pub async fn publish_next(&self, mut manifest: StageManifest, before: u64) -> Result<StageManifest, ConnectError> {
        manifest.number = before + 1;
        if self.put_manifest(&manifest).await? { Ok(manifest) } else { Err(publish_race(&manifest, 1)) }
    }

    /// Puts a manifest at its number; false when another one is there.
    async fn put_manifest(&self, manifest: &StageManifest) -> Result<bool, ConnectError> {
        let body =
            serde_json::to_vec_pretty(manifest).map_err(|error| ConnectError::internal("write a manifest", error))?;
        let body = Bytes::from(body);
        let path = manifest_path(&manifest.source, &manifest.table, manifest.number);
        match self.store.object_store.put_opts(&path, body.clone().into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            // Our own put may have been done and its answer lost, and the client's retry then finds it taken.
            Err(object_store::Error::AlreadyExists { .. }) => {
                Ok(self.store.read(&path).await?.is_some_and(|found| found == body))
            }
            Err(error) => Err(self.store.problem(error)),
        }
    }

    /// What a table that holds the manifest `loaded` (number, run) still lacks, oldest first: the newest manifest, and before it those that it
    /// changes. A manifest that is none of this stage's counts as not loaded.
    pub async fn pending(
        &self,
        source: &str,
        table: &str,
        loaded: Option<(u64, &str)>,
    ) -> Result<Vec<StageManifest>, ConnectError> {
        let mut pending = Vec::new();
        let mut next = self.latest(source, table).await?;
        while let Some(manifest) = next.take() {
            let is_loaded = loaded == Some((manifest.number, manifest.provenance.run_id.as_str()));
            let is_changes = manifest.mode == StageMode::Changes;
            if is_loaded && (is_changes || !pending.is_empty()) {
                break;
            }
            if is_changes {
                let before = self.manifest(source, table, manifest.number - 1).await?;
                let gone = || ConnectError::BadManifest {
                    path: manifest_path(source, table, manifest.number).to_string(),
                    reason: format!(
                        "it changes manifest {}, which is gone; `montauk extract {source}.{table} --anew` reads the table whole",
                        manifest.number - 1
                    ),
                };
                next = Some(before.ok_or_else(gone)?);
            }
            pending.push(manifest);
        }
        pending.reverse();
        Ok(pending)
    }

    /// Where a file of this content and name lies; equal content and name share one place.
    pub fn file_path(&self, source: &str, table: &str, sha256: &str, name: &str) -> Path {
        let short = sha256.get(..16).unwrap_or(sha256);
        files_directory(source, table).join(format!("{short}-{}", slug(name)))
    }

    /// Whether `path` is staged with that size.
    pub async fn has(&self, path: &Path, bytes: u64) -> Result<bool, ConnectError> {
        match self.store.object_store.head(path).await {
            Ok(found) => Ok(found.size == bytes),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.store.problem(error)),
        }
    }

    /// Begins to stage a file; nothing is visible before [`StagedWriter::finish`].
    pub fn writer(&self, path: Path) -> StagedWriter {
        StagedWriter {
            store: self.store.clone(),
            path,
            buffer: Vec::new(),
            upload: None,
            hasher: Hasher::default(),
            bytes: 0,
        }
    }

    /// Removes manifests of a source table before number `before` that are older than [`RETIRE_AGE`]: the table holds what they name, and goes
    /// on from a later one. What only they named goes with the next sweep. The newest one that has files stays: by its columns an
    /// extraction sees whether the table is still the same. Answers how many.
    pub async fn retire(
        &self,
        source: &str,
        table: &str,
        before: u64,
        now: DateTime<Utc>,
    ) -> Result<u64, ConnectError> {
        let directory = table_directory(source, table);
        let listed = self.store.object_store.list_with_delimiter(Some(&directory)).await;
        let listed = listed.map_err(|error| self.store.problem(error))?;
        let mut old: Vec<(u64, Path)> = Vec::new();
        for object in listed.objects {
            let number = manifest_number(&object.location).filter(|number| *number < before);
            if let Some(number) = number.filter(|_| now - object.last_modified > RETIRE_AGE) {
                old.push((number, object.location));
            }
        }
        let mut kept = before;
        while !old.is_empty() {
            match self.manifest(source, table, kept).await? {
                Some(manifest) if manifest.files.is_empty() => kept = kept.saturating_sub(1),
                Some(_) | None => break,
            }
        }
        old.retain(|(number, _)| *number < kept);
        for (_, path) in &old {
            self.store.object_store.delete(path).await.map_err(|error| self.store.problem(error))?;
        }
        Ok(old.len() as u64)
    }

    /// Removes staged files that no manifest names and that are older than a day: what killed runs left.
    ///
    /// Only files that [`Self::file_path`] may have named are looked at: whatever else lies in the same place belongs to somebody.
    /// The caller holds the project's lock, so that no run is between its files and its manifest.
    pub async fn sweep(&self, now: DateTime<Utc>) -> Result<SweepReport, ConnectError> {
        let mut objects = Vec::new();
        let mut named: HashSet<String> = HashSet::new();
        let mut listing = self.store.object_store.list(None);
        while let Some(object) = listing.try_next().await.map_err(|error| self.store.problem(error))? {
            if manifest_number(&object.location).is_some() {
                if let Some(bytes) = self.store.read(&object.location).await? {
                    let manifest = read_manifest(&object.location, &bytes)?;
                    named.extend(manifest.files.into_iter().map(|file| file.path));
                }
            } else if is_staged_file(&object.location) {
                objects.push(object);
            }
        }
        let mut report = SweepReport::default();
        for object in objects {
            let is_old = now - object.last_modified > SWEEP_AGE;
            if is_old && !named.contains(object.location.as_ref()) {
                self.store.object_store.delete(&object.location).await.map_err(|error| self.store.problem(error))?;
                report.files += 1;
                report.bytes += object.size;
            }
        }
        if let Some(root) = self.store.local_root() {
            let aside = tokio::task::spawn_blocking(move || sweep_aside(&root, 0, now)).await;
            let aside = aside.map_err(|error| ConnectError::internal("sweep the stage", error))?;
            report.files += aside.files;
            report.bytes += aside.bytes;
        }
        Ok(report)
    }
}

/// The path of a staged file as its manifest has it; `Path::from` would write the `%` of an encoded letter anew.
pub(crate) fn staged_path(file: &domain::StagedFile) -> Path {
    Path::parse(&file.path).unwrap_or_else(|_| Path::from(file.path.as_str()))
}

fn publish_race(manifest: &StageManifest, attempts: u32) -> ConnectError {
    ConnectError::PublishRace { source_table: format!("{}.{}", manifest.source, manifest.table), attempts }
}

/// Removes what killed local writers left: files whose name ends in `#<digits>`, which listings hide.
///
/// A file that vanishes or resists meanwhile is left to the next sweep: it harms nobody.
fn sweep_aside(directory: &std::path::Path, depth: usize, now: DateTime<Utc>) -> SweepReport {
    let mut report = SweepReport::default();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            let below = sweep_aside(&entry.path(), depth + 1, now);
            report.files += below.files;
            report.bytes += below.bytes;
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let has_number =
            name.rsplit_once('#').is_some_and(|(_, tail)| !tail.is_empty() && tail.bytes().all(|b| b.is_ascii_digit()));
        let is_of_a_table = depth == TABLE_DEPTH || depth == TABLE_DEPTH + 1 && directory.ends_with("files");
        let is_aside = has_number && is_of_a_table;
        let is_old = metadata.modified().is_ok_and(|time| now - DateTime::<Utc>::from(time) > SWEEP_AGE);
        if is_aside && is_old && std::fs::remove_file(entry.path()).is_ok() {
            report.files += 1;
            report.bytes += metadata.len();
        }
    }
    report
}

/// Stages one file from a stream of bytes, in parts, hashing on the way. Dropped unfinished, it leaves nothing visible.
pub struct StagedWriter {
    store: Store,
    path: Path,
    buffer: Vec<u8>,
    upload: Option<WriteMultipart>,
    hasher: Hasher,
    bytes: u64,
}

impl std::fmt::Debug for StagedWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StagedWriter")
            .field("path", &self.path)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl StagedWriter {
    /// Adds bytes; waits while too many parts are under way.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.upload.is_none() && self.buffer.len() + bytes.len() <= PART_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => self.begin_upload().await?,
        };
        upload.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(|error| self.store.problem(error))?;
        upload.write(bytes);
        self.upload = Some(upload);
        Ok(())
    }

    async fn begin_upload(&mut self) -> Result<WriteMultipart, ConnectError> {
        let upload = self.store.object_store.put_multipart(&self.path).await;
        let upload = upload.map_err(|error| self.store.problem(error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        upload.write(&std::mem::take(&mut self.buffer));
        Ok(upload)
    }

    /// Makes the file visible when its content is the one promised; returns its size in bytes.
    ///
    /// Errors: `FileChanged`, named `shown`, when the bytes hash to something else than `sha256`; nothing is visible then.
    pub async fn finish(mut self, sha256: &str, shown: &str) -> Result<u64, ConnectError> {
        let is_promised = std::mem::take(&mut self.hasher).finish() == sha256;
        match (self.upload.take(), is_promised) {
            (Some(upload), true) => {
                upload.finish().await.map_err(|error| self.store.problem(error))?;
            }
            (None, true) => {
                let body = Bytes::from(std::mem::take(&mut self.buffer));
                self.store
                    .object_store
                    .put(&self.path, body.into())
                    .await
                    .map_err(|error| self.store.problem(error))?;
            }
            (Some(upload), false) => {
                upload.abort().await.map_err(|error| self.store.problem(error))?;
                return Err(ConnectError::FileChanged { path: shown.to_owned() });
            }
            (None, false) => return Err(ConnectError::FileChanged { path: shown.to_owned() }),
        }
        Ok(self.bytes)
    }
}

fn table_directory(source: &str, table: &str) -> Path {
    Path::from_iter([slug(source), slug(table)])
}

pub(crate) fn files_directory(source: &str, table: &str) -> Path {
    table_directory(source, table).join("files")
}

fn manifest_path(source: &str, table: &str, number: u64) -> Path {
    table_directory(source, table).join(format!("{number:020}.json"))
}

/// The number of a manifest's path `<source>/<table>/<20 digits>.json`, or `None` for any other path.
fn manifest_number(path: &Path) -> Option<u64> {
    if path.parts().count() != 3 {
        return None;
    }
    let digits = path.filename()?.strip_suffix(".json")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// Whether a path is one of [`Stage::file_path`]: `<source>/<table>/files/<16 hex digits>-<name>`.
fn is_staged_file(path: &Path) -> bool {
    let parts: Vec<_> = path.parts().collect();
    let [_, _, folder, name] = parts.as_slice() else { return false };
    let hash = name.as_ref().split_once('-').map_or("", |(hash, _)| hash);
    folder.as_ref() == "files" && hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn read_manifest(path: &Path, bytes: &[u8]) -> Result<StageManifest, ConnectError> {
    let bad = |reason: String| ConnectError::BadManifest { path: path.to_string(), reason };
    let manifest: StageManifest = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    if manifest.format_version != domain::STAGE_FORMAT_VERSION {
        return Err(bad(format!("format {} is not {}", manifest.format_version, domain::STAGE_FORMAT_VERSION)));
    }
    Ok(manifest)
}

/// A name as part of a path: letters, digits, `.`, `_` and `-` stay; a changed name gets the start of its hash, to stay unique.
fn slug(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' }).collect();
    let is_safe = plain == name && name.len() <= MAX_SLUG_BYTES && !name.is_empty() && !name.starts_with('.');
    if is_safe {
        return plain;
    }
    // The end of a name says more than its start: it holds the date and the extension.
    let tail: String = plain.chars().skip(plain.len().saturating_sub(MAX_SLUG_BYTES - 10)).collect();
    let hash = domain::hash_bytes(name.as_bytes());
    format!("{}-{}", &hash[..8], tail.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_plain_and_stay_unique() {
        assert_eq!(slug("2010-12.csv.gz"), "2010-12.csv.gz");
        assert_eq!(slug("a/b.csv"), format!("{}-a_b.csv", &domain::hash_bytes(b"a/b.csv")[..8]));
        assert_ne!(slug("a b"), slug("a_b"));
        assert_ne!(slug("日本"), slug("韓国"));
        assert_ne!(slug(""), "");
        assert!(slug(&"x".repeat(500)).len() <= MAX_SLUG_BYTES);
        assert!(!slug("..").contains(".."));
    }

    #[test]
    fn only_manifest_paths_have_a_number() {
        assert_eq!(manifest_number(&manifest_path("retail", "lines", 7)), Some(7));
        for other in
            ["retail/lines/files/00000000000000000007.json", "retail/lines/7.json", "retail/00000000000000000007.json"]
        {
            assert_eq!(manifest_number(&Path::from(other)), None, "{other}");
        }
    }
}
