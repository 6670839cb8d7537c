//! What a text file is written in: its encoding, and what stands between its fields, where nobody has said so.
//!
//! In: decompressed bytes.  Out: UTF-8, and a delimiter.
//! UTF-16 is known by its mark; other encodings look alike and have to be declared. A delimiter is the one under which most of the first
//! rows have as many fields as the header.
//! Never here: cutting whole files (`csv`).
//! Start at [`Dialect::of`].

use std::io::{self, Cursor, Read};

use encoding_rs::{Decoder, DecoderResult, UTF_8, UTF_16BE, UTF_16LE};

use super::csv::CsvReader;
use super::options::{AsciiChar, CsvOptions};
use super::record::Record;

/// Bytes that are looked at to find a delimiter.
const SAMPLE_BYTES: u64 = 64 << 10;
/// Rows that are looked at to find a delimiter.
const SAMPLE_ROWS: usize = 100;
/// Delimiters that people use. Of two that fit equally well, the first is taken.
pub(crate) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Bytes decoded at a time.
const CHUNK: usize = 64 << 10;
/// A byte that UTF-8 never has: it stands for bytes that are nothing in their encoding, so that their row is rejected and no other.
const NOTHING: u8 = 0xFF;

/// A text file from its first byte on, in UTF-8.
pub(crate) struct Dialect {
    pub(crate) text: Box<dyn Read>,
    pub(crate) delimiter: AsciiChar,
}

impl Dialect {
    /// Looks at the beginning of `bytes`. `is_csv`: whether a delimiter has to be found.
    pub(crate) fn of(bytes: Box<dyn Read>, options: &CsvOptions, is_csv: bool) -> io::Result<Self> {
        let mut text = decoded(bytes, options)?;
        let delimiter = match options.delimiter {
            Some(delimiter) => delimiter,
            None if !is_csv => AsciiChar(b','),
            None => {
                let mut sample = Vec::new();
                (&mut text).take(SAMPLE_BYTES).read_to_end(&mut sample)?;
                let found = delimiter(&sample, options);
                text = Box::new(Cursor::new(sample).chain(text));
                AsciiChar(found)
            }
        };
        Ok(Self { text, delimiter })
    }
}

/// The bytes as UTF-8.
fn decoded(mut bytes: Box<dyn Read>, options: &CsvOptions) -> io::Result<Box<dyn Read>> {
    let mut mark = Vec::new();
    (&mut bytes).take(2).read_to_end(&mut mark)?;
    let encoding = match (options.encoding.map(|encoding| encoding.0), mark.as_slice()) {
        (Some(encoding), _) => encoding,
        // Unicode 16, 23.8.
        (None, b"\xff\xfe") => UTF_16LE,
        (None, b"\xfe\xff") => UTF_16BE,
        (None, _) => UTF_8,
    };
    let bytes = Cursor::new(mark).chain(bytes);
    if encoding == UTF_8 {
        return Ok(Box::new(bytes));
    }
    Ok(Box::new(Decoded {
        source: bytes,
        decoder: encoding.new_decoder_with_bom_removal(),
        input: Vec::new(),
        at_end: false,
        output: Vec::new(),
        read: 0,
    }))
}

/// What most of the rows of a sample agree on.
fn delimiter(sample: &[u8], options: &CsvOptions) -> u8 {
    let score = |delimiter: u8| {
        let options = CsvOptions { delimiter: Some(AsciiChar(delimiter)), ..options.clone() };
        let mut reader = CsvReader::new(sample, &options);
        let mut record = Record::default();
        let mut counts = Vec::new();
        // The sample may end inside a row: its last one says nothing.
        while counts.len() <= SAMPLE_ROWS && reader.next(&mut record).unwrap_or(false) {
            counts.push(if record.fault.is_none() { record.len() } else { 0 });
        }
        let header = counts.first().copied().unwrap_or(0);
        let is_cut = counts.len() > 1 && sample.len() as u64 == SAMPLE_BYTES;
        let rows = &counts[..counts.len() - usize::from(is_cut)];
        let agreeing = rows.iter().filter(|count| **count == header).count();
        (header > 1).then(|| (agreeing * 1_000 / rows.len().max(1), header))
    };
    let best = DELIMITERS.iter().rev().filter_map(|delimiter| score(*delimiter).map(|score| (score, *delimiter)));
    best.max_by_key(|(score, _)| *score).map_or(DELIMITERS[0], |(_, delimiter)| delimiter)
}

/// A stream of another encoding, as UTF-8.
struct Decoded<R> {
    source: R,
    decoder: Decoder,
    input: Vec<u8>,
    at_end: bool,
    output: Vec<u8>,
    /// How much of `output` has been read.
    read: usize,
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.output.len() {
            if self.at_end && self.input.is_empty() {
                return Ok(0);
            }
            self.decode()?;
        }
        let length = buffer.len().min(self.output.len() - self.read);
        buffer[..length].copy_from_slice(&self.output[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}

impl<R: Read> Decoded<R> {
    /// Fetches more, and decodes what is there.
    fn decode(&mut self) -> io::Result<()> {
        let kept = self.input.len();
        self.input.resize(kept + CHUNK, 0);
        let fetched = self.source.read(&mut self.input[kept..]);
        self.input.truncate(kept + *fetched.as_ref().unwrap_or(&0));
        self.at_end = fetched? == 0;
        self.output.clear();
        self.read = 0;
        let mut from = 0;
        loop {
            let before = self.output.len();
            // Three bytes of UTF-8 for each of the longest kind, and room for one more.
            self.output.resize(before + (self.input.len() - from) * 3 + 16, 0);
            let (result, taken, made) = self.decoder.decode_to_utf8_without_replacement(
                &self.input[from..],
                &mut self.output[before..],
                self.at_end,
            );
            self.output.truncate(before + made);
            from += taken;
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => self.output.push(NOTHING),
            }
        }
        self.input.drain(..from);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sample: &str) -> char {
        char::from(delimiter(sample.as_bytes(), &CsvOptions::default()))
    }

    #[test]
    fn a_delimiter_is_what_the_rows_agree_on() {
        for (sample, expected) in [
            ("id;name;price\n1;a;1,50\n2;b;2,75\n", ';'),
            ("id\tname\n1\ta, b\n2\tc; d\n", '\t'),
            ("id|a,b|c\n1|x,y|z\n", '|'),
            ("id,name\n1,\"a;b;c\"\n2,\"d\ne;f\"\n", ','),
            ("id,name\n1,a,too many\n2,b\n3,c\n", ','),
            ("text\nhello, world\n", ','),
            ("", ','),
        ] {
            assert_eq!(found(sample), expected, "{sample:?}");
        }
    }

    fn text(bytes: &[u8], encoding: Option<&str>) -> Vec<u8> {
        let encoding = encoding.map(|label| label.to_owned().try_into().unwrap());
        let options = CsvOptions { encoding, ..CsvOptions::default() };
        let mut text = Vec::new();
        Dialect::of(Box::new(Cursor::new(bytes.to_vec())), &options, true)
            .unwrap()
            .text
            .read_to_end(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn other_encodings_become_utf_8_and_nonsense_stays_nonsense() {
        let utf_16 = |big: bool| {
            let units = "\u{feff}id,이름\n".encode_utf16();
            units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect::<Vec<u8>>()
        };
        assert_eq!(text(&utf_16(false), None), "id,이름\n".as_bytes());
        assert_eq!(text(&utf_16(true), None), "id,이름\n".as_bytes());
        assert_eq!(text(b"a,\xe9\x80\n", Some("windows-1252")), "a,é€\n".as_bytes());
        assert_eq!(text(b"\xb1\xe8\xc4\xa1,b\n", Some("euc-kr")), "김치,b\n".as_bytes());
        assert_eq!(text(b"a,\xff\xff,b\n", Some("euc-kr")), b"a,\xff\xff,b\n");
        let long = "가나다,".repeat(100_000);
        let (bytes, ..) = encoding_rs::EUC_KR.encode(&long);
        assert_eq!(text(&bytes, Some("euc-kr")), long.as_bytes());
    }
}
