//! Rows of one stream on their way into the stage: JSON lines, compressed, which can be cut back to the last state.
//!
//! In: lines.  Out: a spooled file.  Lines are compressed in blocks, each a zstd frame of its own; a file of several frames is one to
//! every reader. A block ends where a state stood, so that what came after that state can be taken away.
//! Memory: one block per stream that is being read.
//! Never here: what is in a line (`row`), when to cut (`publish`).
//! Start at [`StreamFile::add`].

use std::io;

use chrono::{DateTime, Utc};
use domain::{Compression, FileFormat, StagedFile};

use crate::spool::{Spool, SpoolMark, SpoolWriter, Spooled, spool_problem};
use crate::{ConnectError, ExtractRequest, Stage};

/// Bytes of a block before compression: larger ones compress no better worth mentioning.
const BLOCK_BYTES: usize = 1 << 20;

/// The file of one stream, without a name as long as it is written.
#[derive(Debug)]
pub(super) struct StreamFile {
    stage: Stage,
    source: String,
    table: String,
    spool: Option<(Spool, SpoolWriter)>,
    block: Vec<u8>,
    rows: u64,
    mark: Option<Mark>,
}

/// Where the last state stood.
#[derive(Debug, Clone)]
struct Mark {
    rows: u64,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    /// So many bytes into the block that is being filled.
    InBlock(usize),
    /// So far into the file; nothing is written yet when `None`.
    InFile(Option<SpoolMark>),
}

impl StreamFile {
    pub(super) fn new(stage: &Stage, request: &ExtractRequest) -> Self {
        Self {
            stage: stage.clone(),
            source: request.source.clone(),
            table: request.table.clone(),
            spool: None,
            block: Vec::new(),
            rows: 0,
            mark: None,
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a row, which `write` appends with its line end. Blocks now and then.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), ConnectError> {
        write(&mut self.block);
        self.rows += 1;
        if self.block.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Remembers this place: a state covers everything up to here.
    pub(super) fn mark(&mut self) {
        self.mark = Some(Mark { rows: self.rows, place: Place::InBlock(self.block.len()) });
    }

    /// Writes out what is left and gives the block's memory back: the stream has no more rows.
    pub(super) fn settle(&mut self) -> Result<(), ConnectError> {
        self.flush()?;
        self.block = Vec::new();
        Ok(())
    }

    /// Takes away what came after the last mark; false when there was none.
    pub(super) fn cut(&mut self) -> Result<bool, ConnectError> {
        let Some(mark) = self.mark.clone() else { return Ok(false) };
        self.rows = mark.rows;
        match mark.place {
            Place::InBlock(length) => self.block.truncate(length),
            Place::InFile(place) => {
                self.block.clear();
                match (place, &mut self.spool) {
                    (Some(place), Some((_, writer))) => {
                        writer.cut(place).map_err(|error| spool_problem(&self.stage, &error))?;
                    }
                    (_, spool) => *spool = None,
                }
            }
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), ConnectError> {
        let block = std::mem::take(&mut self.block);
        let marked = match self.mark.as_ref().map(|mark| &mark.place) {
            Some(Place::InBlock(length)) => Some(*length),
            Some(Place::InFile(_)) | None => None,
        };
        let (before, after) = block.split_at(marked.unwrap_or(0));
        self.write_frame(before)?;
        if let (Some(_), Some(mark)) = (marked, &mut self.mark) {
            mark.place = Place::InFile(self.spool.as_ref().map(|(_, writer)| writer.mark()));
        }
        self.write_frame(after)?;
        self.block = block;
        self.block.clear();
        self.block.shrink_to(2 * BLOCK_BYTES);
        Ok(())
    }

    fn write_frame(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let stage = self.stage.clone();
        let written = self.writer().and_then(|writer| zstd::stream::copy_encode(bytes, writer, 0));
        written.map_err(|error| spool_problem(&stage, &error))
    }

    fn writer(&mut self) -> io::Result<&mut SpoolWriter> {
        if self.spool.is_none() {
            let spool = Spool::create(&self.stage, &self.source, &self.table)?;
            let writer = spool.writer()?;
            self.spool = Some((spool, writer));
        }
        let missing = || io::Error::other("the spool is gone");
        self.spool.as_mut().map(|(_, writer)| writer).ok_or_else(missing)
    }

    /// Ends the file; one without rows is a file all the same when `is_wanted_empty`. Blocks.
    pub(super) fn finish(mut self, is_wanted_empty: bool) -> Result<Option<FinishedFile>, ConnectError> {
        self.flush()?;
        let stage = self.stage.clone();
        let problem = |error: io::Error| spool_problem(&stage, &error);
        if self.rows == 0 {
            self.spool = None;
            if !is_wanted_empty {
                return Ok(None);
            }
            // An empty frame: a reader that decompresses gets no bytes, instead of an error.
            self.writer().and_then(|writer| zstd::stream::copy_encode(io::empty(), writer, 0)).map_err(problem)?;
        }
        let rows = self.rows;
        Ok(self.spool.take().map(|(spool, writer)| FinishedFile { spool, spooled: writer.finish(), rows }))
    }
}

/// A whole file that has no name yet.
#[derive(Debug)]
pub(super) struct FinishedFile {
    spool: Spool,
    spooled: Spooled,
    rows: u64,
}

impl FinishedFile {
    /// Gives it its place in the stage. Its name has the time of the run, because COPY loads a name once.
    pub(super) async fn keep(
        self,
        request: &ExtractRequest,
        stage: &Stage,
        now: DateTime<Utc>,
    ) -> Result<StagedFile, ConnectError> {
        let short = self.spooled.sha256.get(..8).unwrap_or_default();
        let name = format!("{}-{short}.jsonl.zst", now.format("%Y%m%dT%H%M%SZ"));
        let path = stage.file_path(&request.source, &request.table, &self.spooled.sha256, &name);
        let file = StagedFile {
            name,
            path: path.to_string(),
            bytes: self.spooled.bytes,
            sha256: self.spooled.sha256.clone(),
            etag: None,
            format: FileFormat::JsonLines,
            compression: Compression::Zstd,
            rows: Some(self.rows),
            rejects: Vec::new(),
        };
        self.spool.keep(stage, &path, &self.spooled).await?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `rows` lines of `width` bytes that say their number, marking after each in `marks`.
    fn filled(stage: &Stage, rows: u64, width: usize, marks: &[u64]) -> StreamFile {
        let mut file = StreamFile {
            stage: stage.clone(),
            source: "s".to_owned(),
            table: "t".to_owned(),
            spool: None,
            block: Vec::new(),
            rows: 0,
            mark: None,
        };
        for row in 1..=rows {
            file.add(|line| line.extend_from_slice(format!("{}{row}\n", "0".repeat(width)).as_bytes())).unwrap();
            if marks.contains(&row) {
                file.mark();
            }
        }
        file
    }

    fn read(file: StreamFile, directory: &std::path::Path) -> Vec<u64> {
        let Some(finished) = file.finish(true).unwrap() else { return Vec::new() };
        let spool = std::fs::read_dir(directory.join("stage/s/t/files")).unwrap().next().unwrap().unwrap();
        let bytes = std::fs::read(spool.path()).unwrap();
        assert_eq!((domain::hash_bytes(&bytes), bytes.len() as u64), (finished.spooled.sha256, finished.spooled.bytes));
        let text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap();
        let rows: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(rows.len() as u64, finished.rows);
        rows
    }

    #[test]
    fn a_cut_leaves_exactly_what_the_last_state_covers() {
        // Rows of 300 kB, so that every fourth ends a block.
        for (rows, marks, kept) in [
            (3, vec![], None),
            (3, vec![2], Some(2)),
            (4, vec![4], Some(4)),
            (9, vec![1, 2, 3], Some(3)),
            (9, vec![4], Some(4)),
            (9, vec![8], Some(8)),
            (13, vec![5, 6], Some(6)),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let stage = Stage::new(crate::open_store("stage", directory.path()).unwrap());
            let mut file = filled(&stage, rows, 300_000, &marks);
            assert_eq!(file.cut().unwrap(), kept.is_some(), "{rows} {marks:?}");
            let expected: Vec<u64> = (1..=kept.unwrap_or(rows)).collect();
            assert_eq!(read(file, directory.path()), expected, "{rows} {marks:?}");
        }
    }

    #[test]
    fn a_state_before_the_first_row_covers_none() {
        let directory = tempfile::tempdir().unwrap();
        let stage = Stage::new(crate::open_store("stage", directory.path()).unwrap());
        let mut file = filled(&stage, 0, 1, &[]);
        file.mark();
        for _ in 0..9 {
            file.add(|line| line.extend_from_slice(&[b'x'; 300_000])).unwrap();
        }
        assert!(file.cut().unwrap());
        assert_eq!(file.rows(), 0);
        assert!(file.finish(false).unwrap().is_none());
    }
}
