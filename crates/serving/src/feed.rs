//! Reads a feed directory as a stream, and believes it only when sizes, checksums and row counts hold.
//!
//! In: a file of zstd-compressed NDJSON and its entry in the header.  Out: one call per line.
//! Memory: one line. The checksum is of the compressed bytes and is known at the end: what was read before must not be
//! used until [`read_lines`] has returned.
//! Never here: what the lines mean (see `snapshot`).
//! Start at [`read_lines`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use domain::{FeedFile, Hasher};
use serde::de::DeserializeOwned;

use crate::ServingError;

/// Longest line: a history of 200,000 interactions with long ids. Larger ones are a fault of the writer.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Counts and hashes what passes.
struct Checked<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// Calls `take` for each line of `file` in `directory`, in order.
///
/// Errors: `Corrupt` when the file is not what the header says, or `take` refuses a line with a sentence; `Io`.
pub(crate) fn read_lines<T: DeserializeOwned>(
    directory: &Path,
    file: &FeedFile,
    mut take: impl FnMut(T) -> Result<(), String>,
) -> Result<(), ServingError> {
    let path = directory.join(&file.name);
    let corrupt = |detail: String| ServingError::corrupt(&path, detail);
    let size = std::fs::metadata(&path).map_err(ServingError::io(&path))?.len();
    if size != file.bytes {
        return Err(corrupt(format!("it has {size} bytes instead of {}", file.bytes)));
    }
    let opened = File::open(&path).map_err(ServingError::io(&path))?;
    let mut checked = Checked { inner: opened, hasher: Hasher::default(), bytes: 0 };
    let decoder = zstd::stream::read::Decoder::new(&mut checked).map_err(|error| corrupt(error.to_string()))?;
    let mut reader = BufReader::new(decoder);
    let mut line = Vec::new();
    let mut rows = 0_u64;
    loop {
        line.clear();
        let count = (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        if count.map_err(|error| corrupt(error.to_string()))? == 0 {
            break;
        }
        rows += 1;
        let in_line = |detail: String| corrupt(format!("line {rows}: {detail}"));
        if !line.ends_with(b"\n") && line.len() as u64 == MAX_LINE_BYTES {
            return Err(in_line("it is too long".to_owned()));
        }
        let parsed = serde_json::from_slice(&line).map_err(|error| in_line(error.to_string()))?;
        take(parsed).map_err(in_line)?;
    }
    drop(reader);
    // What follows the last frame, if anything, belongs to the checksum.
    io::copy(&mut checked, &mut io::sink()).map_err(ServingError::io(&path))?;
    if checked.bytes != file.bytes || checked.hasher.finish() != file.sha256 {
        return Err(corrupt("its checksum is not the one in header.json".to_owned()));
    }
    if rows != file.rows {
        return Err(corrupt(format!("it has {rows} rows instead of {}", file.rows)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{FeedItem, hash_bytes};

    const LINES: &str =
        "{\"id\":\"a\",\"title\":\"A\",\"available\":true}\n{\"id\":\"b\",\"title\":null,\"available\":false}\n";

    fn check(bytes: &[u8], entry: impl Fn(FeedFile) -> FeedFile, expected: &str) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("items.ndjson.zst"), bytes).unwrap();
        let file = entry(FeedFile {
            name: "items.ndjson.zst".into(),
            rows: 2,
            bytes: bytes.len() as u64,
            sha256: hash_bytes(bytes),
        });
        let mut ids = Vec::new();
        let outcome = read_lines(directory.path(), &file, |item: FeedItem| {
            ids.push(item.id.to_string());
            Ok(())
        });
        match outcome {
            Ok(()) => assert_eq!(ids.join(" "), expected),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }

    #[test]
    fn a_feed_file_is_what_its_header_says_or_refused() {
        let whole = zstd::encode_all(LINES.as_bytes(), 3).unwrap();
        check(&whole, |file| file, "a b");
        check(&whole[..whole.len() - 3], |file| file, "is damaged");
        check(&whole, |file| FeedFile { bytes: file.bytes + 1, ..file }, "bytes instead of");
        check(&whole, |file| FeedFile { rows: 3, ..file }, "2 rows instead of 3");
        check(&whole, |file| FeedFile { sha256: "00".into(), ..file }, "its checksum is not");
        check(&zstd::encode_all(&b"{\"id\":\"a b\"}\n"[..], 3).unwrap(), |file| file, "line 1: ");
        check(b"not zstd at all", |file| file, "is damaged");
        let two_frames: Vec<u8> =
            LINES.lines().flat_map(|line| zstd::encode_all(format!("{line}\n").as_bytes(), 3).unwrap()).collect();
        check(&two_frames, |file| file, "a b");
    }
}
