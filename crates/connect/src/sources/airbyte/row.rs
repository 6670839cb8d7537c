//! A record as a line of the staged file: the row as it came, and what is known about its way here.
//!
//! In: a record.  Out: one line of JSON. The row's own text is copied, never read and written again: numbers keep every digit.
//! Columns added, as Airbyte's destinations name them: `_airbyte_raw_id`, `_airbyte_extracted_at`, `_airbyte_generation_id`, `_airbyte_meta`.
//! Never here: types (`column_type`).
//! Start at [`RowWriter::write`].

use chrono::{DateTime, SecondsFormat};
use domain::DeclaredColumn;
use serde_json::value::RawValue;

use super::catalog::CatalogStream;
use super::messages::Record;
use super::ordered::Ordered;

/// Tells the rows of a table apart.
pub(super) const RAW_ID: &str = "_airbyte_raw_id";
/// What is added to each row, with the types of the columns.
const ADDED: [(&str, &str); 4] = [
    (RAW_ID, "text"),
    ("_airbyte_extracted_at", "timestamptz"),
    ("_airbyte_generation_id", "bigint"),
    ("_airbyte_meta", "text"),
];
/// With what the added columns begin. A row that holds this anywhere is looked at more closely.
const PREFIX: &str = "\"_airbyte_";

/// The columns of a stream's table. A column of the stream that is named as one of the added is left out.
pub(super) fn declared(stream: &CatalogStream) -> Vec<DeclaredColumn> {
    let is_added = |name: &str| ADDED.iter().any(|(added, _)| *added == name);
    let own = stream.columns.iter().filter(|column| !is_added(&column.name));
    let own = own.map(|column| (column.name.as_str(), column.type_word));
    let declare = |(name, type_name): (&str, &str)| DeclaredColumn { name: name.into(), type_name: type_name.into() };
    own.chain(ADDED).map(declare).collect()
}

/// Writes the rows of one stream in one run.
#[derive(Debug)]
pub(super) struct RowWriter {
    /// Fifteen hexadecimal digits, of the table and of what was staged before.
    origin: String,
    generation: u64,
    sync_id: i64,
    written: u64,
}

impl RowWriter {
    /// `origin` names everything that a repetition of this run would have in common with it.
    pub(super) fn new(origin: &str, generation: u64, sync_id: i64) -> Self {
        let hash = domain::hash_bytes(origin.as_bytes());
        Self { origin: hash.get(..15).unwrap_or_default().to_owned(), generation, sync_id, written: 0 }
    }

    /// Appends the line of `record`.
    pub(super) fn write(&mut self, record: &Record<'_>, line: &mut Vec<u8>) {
        let row = record.data.get().trim_end().strip_suffix('}').unwrap_or_default().trim_end();
        let start = line.len();
        if row.contains(PREFIX) {
            line.extend_from_slice(without_added(record.data).as_bytes());
        } else {
            line.extend_from_slice(row.as_bytes());
        }
        if line.len() > start + 1 {
            line.push(b',');
        }
        self.written += 1;
        let changes = record.meta.as_ref().and_then(|meta| meta.changes).map_or("[]", RawValue::get);
        let added = format!(
            "\"{RAW_ID}\":\"{}\",\"_airbyte_extracted_at\":\"{}\",\"_airbyte_generation_id\":{},\"_airbyte_meta\":{{\"changes\":{changes},\"sync_id\":{}}}}}\n",
            self.raw_id(),
            moment(record.emitted_at),
            self.generation,
            self.sync_id,
        );
        line.extend_from_slice(added.as_bytes());
    }

    /// A UUID of version 8 (RFC 9562): where the row is from, and its place there.
    fn raw_id(&self) -> String {
        let (from, place) = (&self.origin, format!("{:015x}", self.written));
        let part = |text: &str, range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_owned();
        format!(
            "{}-{}-8{}-a{}-{}",
            part(from, 0..8),
            part(from, 8..12),
            part(from, 12..15),
            part(&place, 0..3),
            part(&place, 3..15)
        )
    }
}

/// Milliseconds since 1970 as ISO 8601. A moment out of range is the epoch: it is about the row, not of it.
fn moment(milliseconds: f64) -> String {
    // Moments of the next 200,000 years are whole numbers in a double, so that this only drops fractions.
    DateTime::from_timestamp_millis(milliseconds as i64)
        .unwrap_or(DateTime::UNIX_EPOCH)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The row without fields that are named as the added ones, and without its closing brace.
fn without_added(data: &RawValue) -> String {
    let fields: Ordered<Box<RawValue>> = serde_json::from_str(data.get()).unwrap_or_default();
    let own = fields.0.iter().filter(|(name, _)| !ADDED.iter().any(|(added, _)| added == name));
    let own: Vec<String> =
        own.map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name.as_str()))).collect();
    format!("{{{}", own.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::airbyte::messages::{Message, read};

    fn written(data: &str) -> String {
        let line = format!(
            r#"{{"type":"RECORD","record":{{"stream":"a","data":{data},"emitted_at":1795330184867.5,"meta":{{"changes":[{{"field":"x"}}]}}}}}}"#
        );
        let Ok(Message::Record(record)) = read(line.as_bytes()) else { panic!("{line}") };
        let mut written = Vec::new();
        let mut writer = RowWriter::new("origin", 3, 7);
        writer.write(&record, &mut written);
        let text = String::from_utf8(written).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["_airbyte_extracted_at"], "2026-11-22T06:49:44.867Z");
        assert_eq!(parsed["_airbyte_generation_id"], 3);
        assert_eq!(parsed["_airbyte_meta"]["sync_id"], 7);
        assert_eq!(parsed["_airbyte_meta"]["changes"][0]["field"], "x");
        assert_eq!(parsed[RAW_ID].as_str().unwrap().len(), 36);
        text.split(",\"_airbyte_raw_id").next().unwrap().to_owned()
    }

    #[test]
    fn a_row_is_copied_and_completed() {
        for row in [
            r#"{"n":123456789012345678901234567890,"x":1.7976931348623157e308,"y":-0.0"#,
            r#"{ "b" : [ 1 , {"c":"}"} ] , "a" : "é\u0000""#,
        ] {
            assert_eq!(written(&format!("{row} }}")), row.trim_end());
        }
        assert!(
            written("{ }").starts_with("{ \"_airbyte_raw_id\"") || written("{ }").starts_with("{\"_airbyte_raw_id\"")
        );
    }

    #[test]
    fn a_row_that_has_our_columns_already_loses_them() {
        assert_eq!(
            written(r#"{"_airbyte_raw_id":"theirs","a\"b":1.10,"_airbyte_other":2,"_airbyte_meta":{}}"#),
            r#"{"a\"b":1.10,"_airbyte_other":2"#
        );
        assert!(written(r#"{"_airbyte_raw_id":"theirs"}"#).starts_with("{\"_airbyte_raw_id\""));
    }

    #[test]
    fn ids_are_stable_and_differ() {
        let mut one = RowWriter::new("origin", 1, 1);
        let first = one.raw_id();
        assert_eq!(first, RowWriter::new("origin", 2, 2).raw_id());
        one.written += 1;
        assert_ne!(first, one.raw_id());
        assert_ne!(first, RowWriter::new("other", 1, 1).raw_id());
    }
}
