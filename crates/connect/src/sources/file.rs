//! Files as a source: stages their bytes unchanged, so that COPY can name line and column of every reject.
//!
//! In: a pattern under the project, or of a bucket.  Out: staged files, one manifest that lists what matches now, in the order of names.
//! A file that disappears leaves the manifest (what COPY has loaded stays loaded). Two files with the same bytes are both listed;
//! COPY decides. Bytes are hashed on each run, and copied only when name, size and hash are not staged yet.
//! Never here: parsing.
//! Start at [`FileSource::extract`].

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use async_trait::async_trait;
use domain::{Compression, FileFormat, Hasher, Progress, StageManifest, StageMode, StagedFile};

use super::file_bucket::Bucket;
use crate::glob::{FoundFile, find_files};
use crate::source::DiscoveredColumn;
use crate::stage::staged_path;
use crate::{ConnectError, DiscoveredTable, ExtractOutcome, ExtractRequest, Source, Stage};

/// Bytes read at once: large enough that hashing, not reading, is the work.
const BLOCK_BYTES: usize = 1024 * 1024;
/// First bytes of a gzip member (RFC 1952, 2.3.1).
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// First bytes of a zstd frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// First and last bytes of a Parquet file (Parquet format, "File Format").
const PARQUET_MAGIC: &[u8] = b"PAR1";
/// The smallest Parquet file: magic, footer length, magic.
const MIN_PARQUET_BYTES: u64 = 12;

/// Files under a project directory.
#[derive(Debug, Clone)]
pub struct FileSource {
    pub project_dir: PathBuf,
}

/// What a file is, known before it is copied.
#[derive(Debug)]
struct Inspected {
    found: FoundFile,
    format: FileFormat,
    compression: Compression,
    bytes: u64,
    sha256: String,
}

#[async_trait]
impl Source for FileSource {
    /// Files of the project's `data` directory, one table per file; columns are COPY's to find.
    async fn discover(&self) -> Result<Vec<DiscoveredTable>, ConnectError> {
        let directory = self.project_dir.clone();
        let found = run_blocking(move || find_files(&directory, "data/**/*")).await?;
        let found = found.map_err(|error| unreadable(&self.project_dir.display().to_string(), "data/**/*", &error))?;
        let is_readable = |file: &FoundFile| format_of(&file.name).is_some();
        Ok(found
            .into_iter()
            .filter(is_readable)
            .map(|file| DiscoveredTable {
                name: format!("data/{}", file.name),
                columns: Vec::<DiscoveredColumn>::new(),
                primary_key: Vec::new(),
                approximate_rows: None,
            })
            .collect())
    }

    async fn extract(
        &self,
        request: &ExtractRequest,
        stage: &Stage,
        progress: &dyn Progress,
    ) -> Result<ExtractOutcome, ConnectError> {
        progress.begin(&format!("extract {}.{}", request.source, request.table), None);
        let latest = stage.latest(&request.source, &request.table).await?;
        let job = Job { request, stage, latest: latest.as_ref() };
        let staged = match Bucket::list(&request.location, &self.project_dir).await? {
            Some(bucket) => job.objects(&bucket).await?,
            None => job.files(self.list(&request.location).await?).await?,
        };
        if staged.is_empty() {
            let directory = self.project_dir.display().to_string();
            return Err(ConnectError::NoFiles { pattern: request.location.clone(), directory });
        }
        let copied = staged.iter().filter(|(_, is_copied)| *is_copied).count();
        let files: Vec<StagedFile> = staged.into_iter().map(|(file, _)| file).collect();
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let summary = format!("{} files, {:.1} MB, {copied} new", files.len(), bytes as f64 / 1e6);
        let manifest = request.manifest(StageMode::Append, files);
        let mut outcome = request.publish(stage, latest, manifest).await?;
        // A file that had vanished from the stage was copied again although the manifest stays.
        outcome.unchanged &= copied == 0;
        progress.finish(&summary);
        Ok(outcome)
    }
}

impl FileSource {
    async fn list(&self, pattern: &str) -> Result<Vec<FoundFile>, ConnectError> {
        let (directory, wanted) = (self.project_dir.clone(), pattern.to_owned());
        let listed = run_blocking(move || find_files(&directory, &wanted)).await?;
        listed.map_err(|error| unreadable(&self.project_dir.display().to_string(), pattern, &error))
    }
}

/// What is staged for one table.
struct Job<'a> {
    request: &'a ExtractRequest,
    stage: &'a Stage,
    latest: Option<&'a StageManifest>,
}

impl Job<'_> {
    /// Stages files of this machine; says of each whether it was copied.
    async fn files(&self, listed: Vec<FoundFile>) -> Result<Vec<(StagedFile, bool)>, ConnectError> {
        let mut staged = Vec::with_capacity(listed.len());
        for found in listed {
            let pattern = self.request.location.clone();
            let inspected = run_blocking(move || inspect(found, &pattern)).await??;
            staged.push(stage_file(self.request, self.stage, self.latest, inspected).await?);
        }
        Ok(staged)
    }

    /// The same for objects of a bucket, of which only those are fetched that the stage does not know.
    async fn objects(&self, bucket: &Bucket) -> Result<Vec<(StagedFile, bool)>, ConnectError> {
        let directory = tempfile::tempdir().map_err(|error| ConnectError::internal("make a directory", error))?;
        let mut staged = Vec::with_capacity(bucket.objects.len());
        for object in &bucket.objects {
            if let Some(known) = object.known(self.latest)
                && is_staged((self.request, self.stage), self.latest, known).await?
            {
                staged.push((known.clone(), false));
                continue;
            }
            let found = bucket.fetch(object, directory.path()).await?;
            let of_file = self.files(vec![found]).await.map_err(|error| error.at(bucket.address(object)))?;
            let with_etag = |(file, is_copied)| (StagedFile { etag: object.etag.clone(), ..file }, is_copied);
            staged.extend(of_file.into_iter().map(with_etag));
        }
        Ok(staged)
    }
}

/// Whether the bytes of a file need not be staged again: they are there, or were loaded and removed.
async fn is_staged(
    (request, stage): (&ExtractRequest, &Stage),
    latest: Option<&StageManifest>,
    known: &StagedFile,
) -> Result<bool, ConnectError> {
    let is_loaded_there = latest.is_some_and(|latest| latest.target == request.target);
    Ok((request.is_purged && !request.anew && is_loaded_there) || stage.has(&staged_path(known), known.bytes).await?)
}

/// Copies a file into the stage unless it is there; says whether it was copied.
async fn stage_file(
    request: &ExtractRequest,
    stage: &Stage,
    latest: Option<&StageManifest>,
    inspected: Inspected,
) -> Result<(StagedFile, bool), ConnectError> {
    let Inspected { found, format, compression, bytes, sha256 } = inspected;
    let known =
        latest.and_then(|manifest| manifest.files.iter().find(|file| file.name == found.name && file.sha256 == sha256));
    let (path, is_missing) = match known {
        Some(known) => (staged_path(known), !is_staged((request, stage), latest, known).await?),
        None => {
            let path = stage.file_path(&request.source, &request.table, &sha256, &found.name);
            let is_missing = !stage.has(&path, bytes).await?;
            (path, is_missing)
        }
    };
    if is_missing {
        copy_file(stage, &found, &request.location, &path, &sha256).await?;
    }
    let file = StagedFile {
        name: found.name,
        path: path.to_string(),
        bytes,
        sha256,
        etag: None,
        format,
        compression,
        rows: None,
        rejects: Vec::new(),
    };
    Ok((file, is_missing))
}

async fn copy_file(
    stage: &Stage,
    found: &FoundFile,
    pattern: &str,
    path: &object_store::path::Path,
    sha256: &str,
) -> Result<(), ConnectError> {
    let shown = found.path.display().to_string();
    let mut writer = stage.writer(path.clone());
    let opened = found.path.clone();
    let mut file =
        run_blocking(move || File::open(opened)).await?.map_err(|error| unreadable(&shown, pattern, &error))?;
    loop {
        let read = run_blocking(move || read_block(&mut file).map(|block| (file, block))).await?;
        let (returned, block) = read.map_err(|error| unreadable(&shown, pattern, &error))?;
        if block.is_empty() {
            break;
        }
        writer.write(&block).await?;
        file = returned;
    }
    writer.finish(sha256, &shown).await.map(drop)
}

fn read_block(file: &mut File) -> io::Result<Vec<u8>> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block.truncate(filled);
    Ok(block)
}

/// Reads a file once: what it is, how long, and its hash.
fn inspect(found: FoundFile, pattern: &str) -> Result<Inspected, ConnectError> {
    let path = found.path.display().to_string();
    let fail = |error: io::Error| unreadable(&path, pattern, &error);
    let mut file = File::open(&found.path).map_err(fail)?;
    if file.metadata().map_err(fail)?.len() == 0 {
        return Err(ConnectError::EmptyFile { path, pattern: pattern.to_owned() });
    }
    let (format, compression) = recognise(&found.name, &mut file, &path, pattern)?;
    file.rewind().map_err(fail)?;
    let mut hasher = Hasher::default();
    let mut bytes = 0;
    loop {
        let block = read_block(&mut file).map_err(fail)?;
        if block.is_empty() {
            break;
        }
        hasher.update(&block);
        bytes += block.len() as u64;
    }
    Ok(Inspected { found, format, compression, bytes, sha256: hasher.finish() })
}

/// The format by the name's extension, and the compression its extension claims (`None` when it claims none).
fn format_of(name: &str) -> Option<(FileFormat, Compression)> {
    let lower = name.to_lowercase();
    let (stem, compression) = match lower.rsplit_once('.') {
        Some((stem, "gz" | "gzip")) => (stem, Compression::Gzip),
        Some((stem, "zst" | "zstd")) => (stem, Compression::Zstd),
        Some(_) | None => (lower.as_str(), Compression::None),
    };
    match stem.rsplit_once('.')?.1 {
        "csv" | "tsv" | "txt" => Some((FileFormat::Csv, compression)),
        "json" | "jsonl" | "ndjson" => Some((FileFormat::JsonLines, compression)),
        "parquet" if compression == Compression::None => Some((FileFormat::Parquet, compression)),
        _ => None,
    }
}

/// Checks that the first bytes are what the name claims, and that something is inside.
fn recognise(
    name: &str,
    file: &mut File,
    path: &str,
    pattern: &str,
) -> Result<(FileFormat, Compression), ConnectError> {
    let unknown = |reason: &str| ConnectError::UnknownFormat {
        path: path.to_owned(),
        pattern: pattern.to_owned(),
        reason: reason.to_owned(),
    };
    let fail = |error: io::Error| unreadable(path, pattern, &error);
    let (format, compression) = format_of(name).ok_or_else(|| unknown("its name has no known extension"))?;
    let mut head = Vec::new();
    (&*file).take(4).read_to_end(&mut head).map_err(fail)?;
    if format == FileFormat::Parquet {
        let length = file.metadata().map_err(fail)?.len();
        let mut tail = Vec::new();
        if length >= MIN_PARQUET_BYTES {
            file.seek(io::SeekFrom::End(-4)).map_err(fail)?;
            (&*file).take(4).read_to_end(&mut tail).map_err(fail)?;
        }
        let is_parquet = head == PARQUET_MAGIC && tail == PARQUET_MAGIC;
        return if is_parquet { Ok((format, compression)) } else { Err(unknown("it is not a whole Parquet file")) };
    }
    let found = if head.starts_with(GZIP_MAGIC) {
        Compression::Gzip
    } else if head == ZSTD_MAGIC {
        Compression::Zstd
    } else {
        Compression::None
    };
    if found != compression && compression != Compression::None {
        return Err(unknown("its name says it is compressed, its first bytes do not"));
    }
    file.rewind().map_err(fail)?;
    match first_byte(&*file, found) {
        Ok(Some(_)) => Ok((format, found)),
        Ok(None) => Err(ConnectError::EmptyFile { path: path.to_owned(), pattern: pattern.to_owned() }),
        Err(error) => Err(unknown(&format!("it cannot be decompressed: {error}"))),
    }
}

/// The first byte after decompression, or `None` when there is none.
fn first_byte(file: &File, compression: Compression) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let count = match compression {
        Compression::None => (&*file).read(&mut byte)?,
        Compression::Gzip => flate2::read::MultiGzDecoder::new(file).read(&mut byte)?,
        Compression::Zstd => zstd::stream::read::Decoder::new(file)?.read(&mut byte)?,
    };
    Ok((count > 0).then_some(byte[0]))
}

fn unreadable(path: &str, pattern: &str, error: &io::Error) -> ConnectError {
    ConnectError::UnreadableFile { path: path.to_owned(), pattern: pattern.to_owned(), reason: error.to_string() }
}

async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ConnectError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ConnectError::internal("read files", error))
}
