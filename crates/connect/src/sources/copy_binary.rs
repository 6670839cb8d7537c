//! Reads PostgreSQL's binary COPY stream.
//!
//! In: bytes in pieces of any size.  Out: rows of raw fields.
//! Source: PostgreSQL documentation, COPY, "Binary Format".
//! Never here: what the fields mean (`postgres_rows`).
//! Start at [`CopyReader::next_row`].

use std::ops::Range;

use super::postgres_rows::RawRow;

/// First bytes of every stream; then four bytes of flags and the length of an extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const HEADER_BYTES: usize = SIGNATURE.len() + 8;
/// Field count that ends the stream.
const TRAILER: i16 = -1;

/// Takes bytes, gives rows.
#[derive(Debug, Default)]
pub(crate) struct CopyReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been read.
    position: usize,
    has_header: bool,
    is_over: bool,
    fields: Vec<Option<Range<usize>>>,
}

/// The fields of one row, each its bytes or null.
#[derive(Debug)]
pub(crate) struct CopyRow<'a> {
    buffer: &'a [u8],
    fields: &'a [Option<Range<usize>>],
}

impl RawRow for CopyRow<'_> {
    fn count(&self) -> usize {
        self.fields.len()
    }

    fn field(&self, position: usize) -> Option<&[u8]> {
        self.fields.get(position)?.clone().and_then(|range| self.buffer.get(range))
    }
}

impl CopyReader {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.position);
        self.position = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the trailer has been read.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next whole row in what was pushed, or `None` when more bytes are needed or the stream is over.
    ///
    /// Errors: a sentence, when the bytes are not such a stream.
    pub(crate) fn next_row(&mut self) -> Result<Option<CopyRow<'_>>, &'static str> {
        if !self.has_header && !self.read_header()? {
            return Ok(None);
        }
        let mut at = self.position;
        let Some(count) = read_i16(&self.buffer, &mut at) else { return Ok(None) };
        if count == TRAILER || self.is_over {
            self.is_over = true;
            return Ok(None);
        }
        self.fields.clear();
        for _ in 0..count {
            let Some(length) = read_i32(&self.buffer, &mut at) else { return Ok(None) };
            match usize::try_from(length) {
                Ok(length) if at + length <= self.buffer.len() => {
                    self.fields.push(Some(at..at + length));
                    at += length;
                }
                Ok(_) => return Ok(None),
                Err(_) if length == -1 => self.fields.push(None),
                Err(_) => return Err("a field has a negative length"),
            }
        }
        self.position = at;
        Ok(Some(CopyRow { buffer: &self.buffer, fields: &self.fields }))
    }

    fn read_header(&mut self) -> Result<bool, &'static str> {
        if self.buffer.len() < HEADER_BYTES {
            return Ok(false);
        }
        if !self.buffer.starts_with(SIGNATURE) {
            return Err("it does not start with PGCOPY");
        }
        let mut at = HEADER_BYTES - 4;
        let extension = read_i32(&self.buffer, &mut at).and_then(|length| usize::try_from(length).ok());
        let extension = extension.ok_or("its header has a negative length")?;
        if self.buffer.len() < HEADER_BYTES + extension {
            return Ok(false);
        }
        self.position = HEADER_BYTES + extension;
        self.has_header = true;
        Ok(true)
    }
}

fn read_i16(buffer: &[u8], at: &mut usize) -> Option<i16> {
    let bytes = buffer.get(*at..*at + 2)?;
    *at += 2;
    bytes.try_into().ok().map(i16::from_be_bytes)
}

fn read_i32(buffer: &[u8], at: &mut usize) -> Option<i32> {
    let bytes = buffer.get(*at..*at + 4)?;
    *at += 4;
    bytes.try_into().ok().map(i32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 8]);
        bytes.extend([0, 2, 0, 0, 0, 3, b'a', b'b', b'c', 0xff, 0xff, 0xff, 0xff]);
        bytes.extend([0, 2, 0, 0, 0, 0, 0, 0, 0, 1, b'x']);
        bytes.extend([0xff, 0xff]);
        bytes
    }

    #[test]
    fn rows_are_the_same_however_the_stream_is_cut() {
        let bytes = stream();
        for piece in 1..bytes.len() {
            let mut reader = CopyReader::default();
            let mut rows = Vec::new();
            for chunk in bytes.chunks(piece) {
                reader.push(chunk);
                while let Some(row) = reader.next_row().unwrap() {
                    rows.push((0..row.count()).map(|at| row.field(at).map(<[u8]>::to_vec)).collect::<Vec<_>>());
                }
            }
            assert!(reader.is_over(), "pieces of {piece}");
            assert_eq!(rows, [vec![Some(b"abc".to_vec()), None], vec![Some(vec![]), Some(b"x".to_vec())]]);
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let mut reader = CopyReader::default();
        reader.push(&[b'x'; 40]);
        assert!(reader.next_row().is_err());
    }
}
