//! Cuts JSON lines into records: one object per line, its keys the columns.
//!
//! In: decompressed bytes, the columns' names.  Out: [`Record`]s with a field per column, in the columns' order.
//! Numbers keep their digits, texts stand in quotes and so are never null, objects and arrays stay JSON text. A key that is absent or
//! null is null.
//! Never here: types (`convert`), what happens to a bad record.
//! Start at [`JsonReader::next`].

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

use memchr::memchr;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::record::{Fault, Record};
use super::window::Window;

/// What a key that is no column means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnknownKeys {
    /// Its row is malformed.
    Fault,
    Ignore,
    /// It becomes a column.
    Add,
}

/// Reads objects one after the other.
#[derive(Debug)]
pub(crate) struct JsonReader<R> {
    window: Window<R>,
    columns: Columns,
    /// Whether a first line that begins an array means that the whole file is one.
    refuses_array: bool,
    /// Where the value of each column stands in the line being read.
    values: Vec<Option<Range<usize>>>,
}

#[derive(Debug)]
struct Columns {
    names: Vec<String>,
    places: HashMap<String, usize>,
    unknown: UnknownKeys,
    /// Keys are compared without regard to case; the names in `places` are in lower case.
    ignores_case: bool,
}

impl<R: Read> JsonReader<R> {
    pub(crate) fn new(source: R, columns: &[String], unknown: UnknownKeys, ignores_case: bool) -> Self {
        let folded = |name: &String| if ignores_case { name.to_lowercase() } else { name.clone() };
        let places = columns.iter().enumerate().map(|(place, name)| (folded(name), place)).collect();
        let columns = Columns { names: columns.to_vec(), places, unknown, ignores_case };
        Self { window: Window::new(source), columns, refuses_array: false, values: Vec::new() }
    }

    /// For the beginning of a file: one that is an array is refused as a whole.
    pub(crate) fn refusing_array(self) -> Self {
        Self { refuses_array: true, ..self }
    }

    /// The columns, with those that [`UnknownKeys::Add`] has found so far.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns.names
    }

    /// The original bytes of the last record, without its line end.
    pub(crate) fn raw(&self) -> &[u8] {
        self.window.last()
    }

    /// Reads the next object; false at the end of the file. Blank lines are no records.
    ///
    /// Errors: those of the stream; `InvalidData` for a file that is one array, and for a line over [`super::window::MAX_RECORD_BYTES`].
    pub(crate) fn next(&mut self, record: &mut Record) -> io::Result<bool> {
        self.window.skip_byte_order_mark()?;
        loop {
            let bytes = self.window.bytes();
            let (length, with_end) = match memchr(b'\n', bytes) {
                Some(length) => (length, length + 1),
                None if self.window.at_end() => (bytes.len(), bytes.len()),
                None => {
                    self.window.fill(": is there one object per line?")?;
                    continue;
                }
            };
            let line = &bytes[..length];
            let length = line.trim_ascii_end().len();
            let line = line.trim_ascii();
            if line.is_empty() {
                if with_end == 0 {
                    return Ok(false);
                }
                self.window.consume(0, with_end);
                continue;
            }
            if self.refuses_array && line.first() == Some(&b'[') && self.window.place().0 == 1 {
                let message = "it is a JSON array, and JSON lines are one object per line: `jq -c '.[]'` writes them";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            record.clear();
            (record.line, record.offset) = self.window.place();
            if let Err((fault, detail)) = cut(line, &mut self.columns, &mut self.values, record) {
                record.fault = Some(fault);
                record.detail = detail;
            }
            self.window.consume(length, with_end);
            return Ok(true);
        }
    }
}

/// Cuts one line into the fields of `record`.
fn cut(
    line: &[u8],
    columns: &mut Columns,
    values: &mut Vec<Option<Range<usize>>>,
    record: &mut Record,
) -> Result<(), (Fault, String)> {
    values.clear();
    values.resize(columns.names.len(), None);
    let mut unknown = None;
    let mut parser = serde_json::Deserializer::from_slice(line);
    let object = Object { start: line.as_ptr() as usize, columns, values, unknown: &mut unknown };
    let parsed = object.deserialize(&mut parser).and_then(|()| parser.end());
    parsed.map_err(|error| (Fault::NotAnObject, plain(&error)))?;
    if let Some(key) = unknown {
        return Err((Fault::UnknownKey, key));
    }
    for value in values.iter() {
        let raw = value.as_ref().map_or(&b""[..], |place| &line[place.clone()]);
        match raw {
            b"" | b"null" => record.close_field(false),
            [b'"', inner @ .., b'"'] => {
                if memchr(b'\\', inner).is_none() {
                    record.text.extend_from_slice(inner);
                } else {
                    let text: String =
                        serde_json::from_slice(raw).map_err(|error| (Fault::NotAnObject, plain(&error)))?;
                    record.text.extend_from_slice(text.as_bytes());
                }
                record.close_field(true);
            }
            other => {
                record.text.extend_from_slice(other);
                record.close_field(matches!(other.first(), Some(b'{' | b'[')));
            }
        }
    }
    Ok(())
}

/// The parser's sentence without its `line 1`, which is not the line of the file.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line ") {
        Some((what, _)) if error.column() > 0 => format!("{what}, at byte {} of the line", error.column()),
        _ => text,
    }
}

/// Puts the place of each value where its column is.
struct Object<'a> {
    /// Address of the first byte of the line.
    start: usize,
    columns: &'a mut Columns,
    values: &'a mut Vec<Option<Range<usize>>>,
    unknown: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(place) = map.next_key_seed(Key { columns: self.columns, unknown: self.unknown })? {
            let raw = map.next_value::<&RawValue>()?.get();
            let Some(place) = place else { continue };
            if place == self.values.len() {
                self.values.push(None);
            }
            // Both point into the line, which the value is a part of.
            let begin = raw.as_ptr() as usize - self.start;
            if self.values[place].replace(begin..begin + raw.len()).is_some() {
                return Err(A::Error::custom(format_args!("the key `{}` is there twice", self.columns.names[place])));
            }
        }
        Ok(())
    }
}

/// Finds the column of a key.
struct Key<'a> {
    columns: &'a mut Columns,
    unknown: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Option<usize>, E> {
        let place = if self.columns.ignores_case {
            self.columns.places.get(&key.to_lowercase())
        } else {
            self.columns.places.get(key)
        };
        if let Some(place) = place {
            return Ok(Some(*place));
        }
        match self.columns.unknown {
            UnknownKeys::Ignore => Ok(None),
            UnknownKeys::Fault => {
                self.unknown.get_or_insert_with(|| key.to_owned());
                Ok(None)
            }
            UnknownKeys::Add => {
                let place = self.columns.names.len();
                self.columns.names.push(key.to_owned());
                let folded = if self.columns.ignores_case { key.to_lowercase() } else { key.to_owned() };
                self.columns.places.insert(folded, place);
                Ok(Some(place))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], columns: &[&str], unknown: UnknownKeys) -> Vec<String> {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let mut reader = JsonReader::new(bytes, &columns, unknown, false);
        let mut record = Record::default();
        let mut shown = Vec::new();
        while reader.next(&mut record).unwrap() {
            let fields: Vec<String> = (0..record.len())
                .map(|number| {
                    let (bytes, quoted) = record.field(number);
                    format!("{}{}", if quoted { "q:" } else { "" }, String::from_utf8_lossy(bytes).escape_debug())
                })
                .collect();
            let fault = record.fault.map_or(String::new(), |fault| format!("{fault:?} {}", record.detail));
            shown.push(format!("{}@{} {}{fault}", record.line, record.offset, fields.join("|")));
        }
        shown
    }

    #[test]
    fn values_keep_their_digits_and_stand_in_the_columns_order() {
        let lines = b"{\"b\":1.50,\"a\":\"x\\ty\"}\r\n\n{\"a\":null,\"b\":123456789012345678901234567890}\n{\"a\":\"\",\"b\":{\"c\":[1]}}";
        let expected = ["1@0 q:x\\ty|1.50", "3@24 |123456789012345678901234567890", "4@70 q:|q:{\\\"c\\\":[1]}"];
        assert_eq!(read(lines, &["a", "b"], UnknownKeys::Fault), expected);
        assert_eq!(read(b" {\"a\":true} ", &["a"], UnknownKeys::Fault), ["1@0 true"]);
    }

    #[test]
    fn keys_that_are_no_columns_are_faults_nothing_or_columns() {
        let line = b"{\"n\":1,\"a\":2}";
        assert_eq!(read(line, &["a"], UnknownKeys::Fault), ["1@0 UnknownKey n"]);
        assert_eq!(read(line, &["a"], UnknownKeys::Ignore), ["1@0 2"]);
        assert_eq!(read(line, &["a"], UnknownKeys::Add), ["1@0 2|1"]);
    }

    #[test]
    fn whatever_is_no_object_says_why() {
        for (line, expected) in [
            (&b"1"[..], "NotAnObject invalid type"),
            (b"{\"a\":NaN}", "NotAnObject expected value, at byte 6 of the line"),
            (b"{\"a\":1} x", "NotAnObject trailing characters"),
            (b"{\"a\":1,\"a\":2}", "NotAnObject the key `a` is there twice"),
            (b"{\"a\":\"\\ud800\"}", "NotAnObject"),
            (b"{\"a\":\"\xff\"}", "NotAnObject"),
        ] {
            let shown = read(line, &["a"], UnknownKeys::Fault);
            assert!(shown[0].contains(expected), "{shown:?}");
        }
        let array = JsonReader::new(&b"[{\"a\":1}]"[..], &[], UnknownKeys::Add, false)
            .refusing_array()
            .next(&mut Record::default());
        assert!(array.unwrap_err().to_string().contains("jq -c"));
    }
}
