//! Cuts a stream of bytes into records and fields, and knows where each record stood.
//!
//! In: decompressed bytes.  Out: [`Record`]s with line, row, byte offset, fields and the original bytes.
//! RFC 4180, and what real files do beside it: CRLF, LF and bare CR; a byte order mark; quoted line ends; doubled quotes.
//! Why not `csv-core`: it tells neither an empty field from a quoted empty one (null from empty text), nor a quote that is never
//! closed, nor text after a closing quote, and it keeps no byte offset of a record.
//! Never here: types (`convert`), what happens to a bad record.
//! Start at [`CsvReader::next`].

use std::io::{self, Read};

use memchr::{memchr, memchr2, memchr3};

use super::options::CsvOptions;
use super::record::{Fault, Record};
use super::window::Window;

/// Reads records one after the other.
#[derive(Debug)]
pub(crate) struct CsvReader<R> {
    window: Window<R>,
    delimiter: u8,
    quote: u8,
    escape: Option<u8>,
}

/// Where a scan over the buffer ended.
enum Scan {
    /// The record's length without its line end, and with it.
    Record(usize, usize),
    NeedsMore,
}

impl<R: Read> CsvReader<R> {
    pub(crate) fn new(source: R, options: &CsvOptions) -> Self {
        Self {
            window: Window::new(source),
            // Whoever opens a file has found it by now; rows by themselves are as most are.
            delimiter: options.delimiter.map_or(b',', |delimiter| delimiter.0),
            quote: options.quote.0,
            escape: options.escape.map(|escape| escape.0),
        }
    }

    /// The original bytes of the last record, without its line end.
    pub(crate) fn raw(&self) -> &[u8] {
        self.window.last()
    }

    /// Reads the next record; false at the end of the file. Blank lines are no records.
    ///
    /// Errors: those of the stream (a corrupt compressed file), and `InvalidData` for a record over [`MAX_RECORD_BYTES`].
    pub(crate) fn next(&mut self, record: &mut Record) -> io::Result<bool> {
        self.window.skip_byte_order_mark()?;
        loop {
            match self.scan(record) {
                Scan::Record(length, with_end) => {
                    (record.line, record.offset) = self.window.place();
                    self.window.consume(length, with_end);
                    match (length, with_end) {
                        (0, 0) => return Ok(false),
                        // A blank line.
                        (0, _) => {}
                        _ => return Ok(true),
                    }
                }
                Scan::NeedsMore => self.window.fill(": is a quote not closed?")?,
            }
        }
    }

    /// Cuts one record from the start of the buffer. Starts anew when the buffer ends inside it.
    fn scan(&self, record: &mut Record) -> Scan {
        record.clear();
        let bytes = self.window.bytes();
        let mut at = 0;
        loop {
            // At the start of a field.
            let quoted = bytes.get(at) == Some(&self.quote);
            if quoted {
                match self.quoted_field(bytes, at + 1, record) {
                    Some(after) => at = after,
                    None if self.window.at_end() => {
                        record.fault = Some(Fault::UnclosedQuote);
                        record.close_field(true);
                        return Scan::Record(bytes.len(), bytes.len());
                    }
                    None => return Scan::NeedsMore,
                }
            }
            let end = memchr3(self.delimiter, b'\n', b'\r', &bytes[at..]);
            let end = match end {
                Some(length) => at + length,
                None if self.window.at_end() => bytes.len(),
                None => return Scan::NeedsMore,
            };
            if quoted && end > at {
                record.fault = Some(Fault::TextAfterQuote);
            }
            record.text.extend_from_slice(&bytes[at..end]);
            record.close_field(quoted);
            match bytes.get(end) {
                None => return Scan::Record(end, end),
                Some(byte) if *byte == self.delimiter => at = end + 1,
                Some(b'\n') => return Scan::Record(end, end + 1),
                Some(_) => {
                    return match bytes.get(end + 1) {
                        Some(b'\n') => Scan::Record(end, end + 2),
                        // The line feed of a CRLF may come with the next chunk.
                        None if !self.window.at_end() => Scan::NeedsMore,
                        _ => Scan::Record(end, end + 1),
                    };
                }
            }
        }
    }

    /// Copies a quoted field whose opening quote stands before `at`; returns the place after its closing quote.
    fn quoted_field(&self, bytes: &[u8], mut at: usize, record: &mut Record) -> Option<usize> {
        loop {
            let found = match self.escape {
                Some(escape) => memchr2(self.quote, escape, &bytes[at..]),
                None => memchr(self.quote, &bytes[at..]),
            };
            let Some(length) = found else {
                record.text.extend_from_slice(&bytes[at..]);
                return None;
            };
            record.text.extend_from_slice(&bytes[at..at + length]);
            if bytes[at + length] != self.quote {
                let escaped = bytes.get(at + length + 1)?;
                record.text.push(*escaped);
                at += length + 2;
                continue;
            }
            match bytes.get(at + length + 1) {
                Some(byte) if *byte == self.quote => {
                    record.text.push(self.quote);
                    at += length + 2;
                }
                // Whether the quote is doubled is only known with the next chunk.
                None if !self.window.at_end() => return None,
                _ => return Some(at + length + 1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that gives one byte at a time: every record is cut by a chunk border somewhere.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn read(bytes: &[u8]) -> Vec<String> {
        let mut whole = CsvReader::new(bytes, &CsvOptions::default());
        let mut pieces = CsvReader::new(Dribble(bytes), &CsvOptions::default());
        let shown = shown(&mut whole);
        assert_eq!(shown, self::shown(&mut pieces));
        shown
    }

    fn shown<R: Read>(reader: &mut CsvReader<R>) -> Vec<String> {
        let mut record = Record::default();
        let mut shown = Vec::new();
        while reader.next(&mut record).unwrap() {
            let fields: Vec<String> = (0..record.len())
                .map(|number| {
                    let (bytes, quoted) = record.field(number);
                    format!("{}{}", if quoted { "q:" } else { "" }, String::from_utf8_lossy(bytes).escape_debug())
                })
                .collect();
            let fault = record.fault.map_or(String::new(), |fault| format!(" {fault:?}"));
            shown.push(format!("{}@{} {}{fault}", record.line, record.offset, fields.join("|")));
        }
        shown
    }

    #[test]
    fn line_ends_quotes_and_places() {
        assert_eq!(read(b"a,b\n1,2\n"), ["1@0 a|b", "2@4 1|2"]);
        assert_eq!(read(b"a,b\r\n1,2"), ["1@0 a|b", "2@5 1|2"]);
        assert_eq!(read(b"a\rb\rc"), ["1@0 a", "2@2 b", "3@4 c"]);
        assert_eq!(read(b"\xef\xbb\xbfa\n\n\nb"), ["1@3 a", "4@7 b"]);
        assert_eq!(read(b"\"x\ny\",\"\"\"q\"\"\",\"\",\nz"), ["1@0 q:x\\ny|q:\\\"q\\\"|q:|", "3@18 z"]);
    }

    #[test]
    fn an_escape_character_is_one_only_when_it_is_declared() {
        let escape = "\\".to_owned().try_into().unwrap();
        let options = CsvOptions { escape: Some(escape), ..CsvOptions::default() };
        let bytes = br#""a\"b\\",c"#;
        assert_eq!(shown(&mut CsvReader::new(Dribble(bytes), &options)), [r#"1@0 q:a\"b\\|c"#]);
        assert_eq!(read(br#""a\",c"#), [r"1@0 q:a\\|c"]);
    }

    #[test]
    fn the_original_bytes_of_a_record_are_kept() {
        let mut reader = CsvReader::new(&b"a,b\r\n\xff,\"x\ny\"\n"[..], &CsvOptions::default());
        let mut record = Record::default();
        assert!(reader.next(&mut record).unwrap() && reader.raw() == b"a,b");
        assert!(reader.next(&mut record).unwrap() && reader.raw() == b"\xff,\"x\ny\"");
    }

    #[test]
    fn malformed_records_say_so_and_the_next_one_is_whole() {
        assert_eq!(read(b"\"a\"b,c\nd,e\n"), ["1@0 q:ab|c TextAfterQuote", "2@7 d|e"]);
        assert_eq!(read(b"a,\"b\nc"), ["1@0 a|q:b\\nc UnclosedQuote"]);
        assert_eq!(read(b"a\"b,c\n"), ["1@0 a\\\"b|c"]);
        assert_eq!(read(b""), [""; 0]);
        assert_eq!(read(b"\n"), [""; 0]);
    }
}
