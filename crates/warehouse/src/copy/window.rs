//! The part of a file that a reader of text looks at: grows until a whole record is in it, and knows where it stands.
//!
//! In: decompressed bytes.  Out: a slice, and the line and byte offset of its start.
//! Never here: where a record ends (`csv`, `json`).
//! Start at [`Window::bytes`].

use std::io::{self, Read};

use memchr::memchr2_iter;

/// Bytes asked of the stream at a time.
const CHUNK: usize = 256 << 10;
/// A longer record is no record: a quote was opened and not closed. Bounds the memory of a reader.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;

/// A stream of bytes, some of them at hand.
#[derive(Debug)]
pub(crate) struct Window<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    /// Where the last record stands in the buffer.
    last: std::ops::Range<usize>,
    at_end: bool,
    line: u64,
    offset: u64,
}

impl<R: Read> Window<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), start: 0, last: 0..0, at_end: false, line: 1, offset: 0 }
    }

    /// What is at hand and not consumed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Whether [`Self::bytes`] ends where the file ends.
    pub(crate) fn at_end(&self) -> bool {
        self.at_end
    }

    /// 1-based line and byte offset at which [`Self::bytes`] begins.
    pub(crate) fn place(&self) -> (u64, u64) {
        (self.line, self.offset)
    }

    /// The original bytes of the last record, as [`Self::consume`] took them.
    pub(crate) fn last(&self) -> &[u8] {
        &self.buffer[self.last.clone()]
    }

    /// Goes past a record of `length` bytes that takes `with_end` with its line end.
    pub(crate) fn consume(&mut self, length: usize, with_end: usize) {
        self.last = self.start..self.start + length;
        self.line += line_ends(&self.buffer[self.start..self.start + with_end]);
        self.offset += with_end as u64;
        self.start += with_end;
    }

    /// Fetches more of the file.
    ///
    /// Errors: those of the stream (a corrupt compressed file), and `InvalidData` for a record over [`MAX_RECORD_BYTES`]; `advice` ends
    /// its sentence.
    pub(crate) fn fill(&mut self, advice: &str) -> io::Result<()> {
        if self.buffer.len() - self.start > MAX_RECORD_BYTES {
            let message =
                format!("the record on line {} is longer than {} MiB{advice}", self.line, MAX_RECORD_BYTES >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let kept = self.buffer.len();
        // Grows with the record, so that a long one is not scanned again for each chunk.
        self.buffer.resize(kept + CHUNK.max(kept), 0);
        let read = loop {
            match self.source.read(&mut self.buffer[kept..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(kept + *read.as_ref().unwrap_or(&0));
        self.at_end = read? == 0;
        Ok(())
    }

    /// Goes past a byte order mark, when nothing has been consumed yet.
    pub(crate) fn skip_byte_order_mark(&mut self) -> io::Result<()> {
        if self.offset > 0 {
            return Ok(());
        }
        while self.buffer.len() < 3 && !self.at_end {
            self.fill("")?;
        }
        if self.start == 0 && self.buffer.starts_with(b"\xef\xbb\xbf") {
            self.start = 3;
            self.offset = 3;
        }
        Ok(())
    }
}

/// Line ends in a piece that begins at the start of a line: LF, CRLF and bare CR count one each.
fn line_ends(bytes: &[u8]) -> u64 {
    let ends = |at: &usize| bytes[*at] == b'\n' || bytes.get(at + 1) != Some(&b'\n');
    memchr2_iter(b'\n', b'\r', bytes).filter(ends).count() as u64
}
