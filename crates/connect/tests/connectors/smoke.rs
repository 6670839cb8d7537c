//! What the connector of test cases must leave in the stage, stream by stream; real and recorded alike.
//!
//! In: the rows of its streams.  Out: verdicts.  Never here: running it.  Start at [`check`].

use std::collections::BTreeMap;

use connect::sources::airbyte::StreamMode;
use connect::{ConnectError, ExtractOutcome};
use serde_json::Value;

use crate::play::{Play, table};

/// Streams, and how many rows each has.
const STREAMS: [(&str, u64); 22] = [
    ("CamelCaseStreamName", 1),
    ("array_of_primitives", 3),
    ("basic_types", 3),
    ("column_naming_edge_cases", 1),
    ("duplicate_primary_keys", 6),
    ("empty_stream", 0),
    ("large_batch_stream", 2_000),
    ("large_decimals_and_numbers", 3),
    ("large_string_values", 2),
    ("long_column_names", 1),
    ("nested_json_objects", 2),
    ("null_handling", 3),
    ("schema_with_no_primary_key", 3),
    ("single_record_stream", 1),
    ("sparse_records", 7),
    ("special_number_values", 7),
    ("table_naming_edge_cases", 1),
    ("time_types", 3),
    ("timestamp_types", 3),
    ("unicode_and_special_strings", 4),
    ("union_types", 3),
    ("wide_table_50_columns", 2),
];

/// Reads every stream whole and looks at what is staged.
pub async fn check(play: &Play) {
    let tables: Vec<_> = STREAMS.iter().map(|(stream, _)| table(stream, StreamMode::Full)).collect();
    let results: Vec<Result<ExtractOutcome, ConnectError>> = play.run(&tables).await;
    let mut rows = BTreeMap::new();
    let mut types = BTreeMap::new();
    for ((stream, count), result) in STREAMS.iter().zip(results) {
        let manifest = result.unwrap().manifest;
        assert_eq!(manifest.files[0].rows, Some(*count), "{stream}");
        rows.insert(*stream, play.rows(&manifest).await);
        let declared = manifest.column_types.iter().map(|column| format!("{} {}", column.name, column.type_name));
        types.insert(*stream, declared.collect::<Vec<_>>());
    }
    digits(&rows);
    texts(&rows);
    shapes(&rows);
    let declares = |stream: &str, column: &str| {
        assert!(types[stream].iter().any(|declared| declared == column), "{stream}: {:?}", types[stream]);
    };
    declares("timestamp_types", "created_date date");
    declares("timestamp_types", "updated_at timestamptz");
    declares("time_types", "timestamp_no_tz timestamp");
    declares("time_types", "time_with_tz text");
    declares("union_types", "string_or_integer text");
    declares("union_types", "number_or_null double");
    declares("nested_json_objects", "metadata text");
    declares("empty_stream", "id bigint");
    declares("column_naming_edge_cases", "column.with.dots text");
    assert_eq!(types["wide_table_50_columns"].len(), 54);
}

type Rows<'a> = BTreeMap<&'a str, Vec<String>>;

/// Numbers keep every digit.
fn digits(rows: &Rows<'_>) {
    let all = [&rows["special_number_values"], &rows["large_decimals_and_numbers"]].into_iter().flatten();
    let all = all.cloned().collect::<Vec<_>>().join("\n");
    for number in
        ["1.7976931348623157e+308", "-1.7976931348623157e+308", "5e-324", "9223372036854775807", "-9223372036854775808"]
    {
        let other = number.replace("e+", "e");
        assert!(all.contains(number) || all.contains(&other), "{number} in {all}");
    }
}

/// Texts keep every character.
fn texts(rows: &Rows<'_>) {
    let parsed = |stream: &str, row: usize| -> Value { serde_json::from_str(&rows[stream][row]).unwrap() };
    assert_eq!(parsed("unicode_and_special_strings", 0)["special_chars"], "line1\nline2\ttab");
    assert_eq!(parsed("unicode_and_special_strings", 2)["unicode_text"], "你好世界");
    assert_eq!(parsed("unicode_and_special_strings", 3)["special_chars"], "");
    let longest = rows["large_string_values"].iter().map(String::len).max().unwrap();
    assert!(longest > 100_000, "{longest}");
    assert_eq!(parsed("column_naming_edge_cases", 0)["column with spaces"], "spaces");
    let long_names = parsed("long_column_names", 0);
    assert!(long_names.as_object().unwrap().keys().any(|name| name.len() > 120));
}

/// What is missing stays missing, what is there twice stays there twice, in the order of the connector.
fn shapes(rows: &Rows<'_>) {
    assert_eq!(rows["sparse_records"][6], r#"{"id":7}"#);
    assert_eq!(rows["schema_with_no_primary_key"].len(), 3);
    let values: Vec<String> = rows["duplicate_primary_keys"]
        .iter()
        .map(|row| {
            let row: Value = serde_json::from_str(row).unwrap();
            format!("{}{}", row["id"], row["updated_value"].as_str().unwrap())
        })
        .collect();
    assert_eq!(values, ["1first", "2first", "1second", "3first", "2second", "1third"]);
}
