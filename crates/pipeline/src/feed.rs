//! Writes the feed directory: items and histories that serving loads, without Arrow.
//!
//! In: items and histories as plain values.  Out: `feed/<n>/` with its header written last, or the number of the newest
//! feed when that one already holds the same.  A killed run leaves only a directory without a number.
//! Never here: reading marts (`steps::publish`), loading a feed (`serving`).
//! Start at [`write`].

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use domain::{FEED_FORMAT_VERSION, FeedFile, FeedHeader, FeedHistory, FeedItem, FeedUser, Hasher, Provenance};

use crate::PipelineError;

/// zstd level 3, the library's default: at this size level 19 saves a fifth of the bytes for forty times the seconds.
const ZSTD_LEVEL: i32 = 3;

/// What a feed says of itself.
#[derive(Debug)]
pub struct Content<'a> {
    pub items: &'a [FeedItem],
    pub histories: &'a [FeedHistory],
    /// Empty without a users table.
    pub users: &'a [FeedUser],
    pub catalog: u64,
    pub created_at: chrono::DateTime<chrono::Utc>,
    pub provenance: Provenance,
}

/// Writes the next feed under `root` and returns its number, and whether it is new.
pub fn write(root: &Path, content: &Content<'_>) -> Result<(u64, bool), PipelineError> {
    fs::create_dir_all(root).map_err(|error| PipelineError::io(root, &error))?;
    let newest = newest(root)?;
    if let Some(header) = &newest
        && header.provenance.identity() == content.provenance.identity()
    {
        return Ok((header.feed, false));
    }
    let number = newest.map_or(1, |header| header.feed + 1);
    let aside = root.join(format!(".aside-{}", content.provenance.run_id));
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(|error| PipelineError::io(&aside, &error))?;
    }
    fs::create_dir(&aside).map_err(|error| PipelineError::io(&aside, &error))?;
    let header = FeedHeader {
        format_version: FEED_FORMAT_VERSION,
        feed: number,
        catalog: content.catalog,
        event_seq: 0,
        created_at: content.created_at,
        items: write_lines(&aside, "items.ndjson.zst", content.items)?,
        histories: write_lines(&aside, "histories.ndjson.zst", content.histories)?,
        users: match content.users {
            [] => None,
            users => Some(write_lines(&aside, "users.ndjson.zst", users)?),
        },
        provenance: content.provenance.clone(),
    };
    let text = serde_json::to_vec_pretty(&header).map_err(|error| PipelineError::json("header.json", &error))?;
    write_durably(&aside.join("header.json"), &text)?;
    let target = root.join(format!("{number:020}"));
    fs::rename(&aside, &target).map_err(|error| PipelineError::io(&target, &error))?;
    sync_directory(root)?;
    Ok((number, true))
}

/// The header of the newest complete feed under `root`.
pub(crate) fn newest(root: &Path) -> Result<Option<FeedHeader>, PipelineError> {
    let Some(path) = newest_directory(root)? else { return Ok(None) };
    let path = path.join("header.json");
    let text = fs::read(&path).map_err(|error| PipelineError::io(&path, &error))?;
    let header =
        serde_json::from_slice(&text).map_err(|error| PipelineError::json(&path.display().to_string(), &error))?;
    Ok(Some(header))
}

fn newest_directory(root: &Path) -> Result<Option<PathBuf>, PipelineError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PipelineError::io(root, &error)),
    };
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in entries {
        let entry = entry.map_err(|error| PipelineError::io(root, &error))?;
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(highest, _)| number > *highest)
        {
            newest = Some((number, entry.path()));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

fn write_lines<T: serde::Serialize>(dir: &Path, name: &str, rows: &[T]) -> Result<FeedFile, PipelineError> {
    let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(|error| PipelineError::io(dir, &error))?;
    for row in rows {
        serde_json::to_writer(&mut encoder, row).map_err(|error| PipelineError::json(name, &error))?;
        encoder.write_all(b"\n").map_err(|error| PipelineError::io(dir, &error))?;
    }
    let bytes = encoder.finish().map_err(|error| PipelineError::io(dir, &error))?;
    write_durably(&dir.join(name), &bytes)?;
    let mut hasher = Hasher::default();
    hasher.update(&bytes);
    Ok(FeedFile { name: name.to_owned(), rows: rows.len() as u64, bytes: bytes.len() as u64, sha256: hasher.finish() })
}

/// Writes a file and waits until the disk has it.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), PipelineError> {
    let mut file = File::create(path).map_err(|error| PipelineError::io(path, &error))?;
    file.write_all(bytes).map_err(|error| PipelineError::io(path, &error))?;
    file.sync_all().map_err(|error| PipelineError::io(path, &error))
}

/// Waits until the disk has the directory's entries.
pub(crate) fn sync_directory(path: &Path) -> Result<(), PipelineError> {
    let directory = File::open(path).map_err(|error| PipelineError::io(path, &error))?;
    directory.sync_all().map_err(|error| PipelineError::io(path, &error))
}
