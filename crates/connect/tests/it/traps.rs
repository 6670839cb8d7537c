//! The cells that other readers get wrong: every one of the trap tables, value by value, from a real MariaDB.
//!
//! In: `fixtures/traps.sql` and what each cell must be (`fixtures/traps_expected.json`).  Out: verdicts.
//! Never here: how the values are read.  Start at [`every_cell_of_the_traps_is_what_was_stored`].

#![expect(clippy::wildcard_enum_match_arm, reason = "types that the traps do not have")]

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt64Type,
};
use connect::Source;
use connect::sources::mysql::MySqlSource;
use domain::{ExtractReject, NoProgress};
use serde_json::{Value, json};
use testbed::MariaDb;

use crate::support::{read_parquet, request, stage_in};

/// Rows and rejects of a table, extracted once.
async fn extracted(source: &MySqlSource, table: &str) -> (RecordBatch, Vec<ExtractReject>) {
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let outcome = source.extract(&request(table, table), &stage, &NoProgress).await.unwrap();
    let file = &outcome.manifest.files[0];
    let batches = read_parquet(&stage, file).await;
    (arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap(), file.rejects.clone())
}

fn source(name: &str) -> MySqlSource {
    let server = MariaDb::shared();
    server.create_database(name);
    server.sql(name, include_str!("../fixtures/traps.sql"));
    MySqlSource::new(&server.url(name)).unwrap()
}

#[tokio::test]
async fn every_cell_of_the_traps_is_what_was_stored() {
    let source = source("traps");
    let expected: Value = serde_json::from_str(include_str!("../fixtures/traps_expected.json")).unwrap();
    let (batch, rejects) = extracted(&source, "traps").await;
    let order: Vec<&str> =
        expected["traps"]["row_order_by_id"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let columns = expected["traps"]["columns"].as_array().unwrap();
    assert_eq!((columns.len(), batch.num_columns(), batch.num_rows()), (29, 29, order.len()));
    for (place, column) in columns.iter().enumerate() {
        let name = column["name"].as_str().unwrap();
        assert_eq!(batch.schema().field(place).name(), name);
        for (row, id) in order.iter().enumerate() {
            check_cell(&batch, &rejects, (place, row), name, &column["values"][*id]);
        }
    }
    let (empty, _) = extracted(&source, "empty_t").await;
    assert_eq!((empty.num_columns(), empty.num_rows()), (29, 0));
    source.close().await;
}

#[tokio::test]
async fn every_cell_of_the_boundaries_is_what_was_stored() {
    let source = source("traps_extra");
    let expected: Value = serde_json::from_str(include_str!("../fixtures/traps_expected.json")).unwrap();
    let (batch, rejects) = extracted(&source, "traps_extra").await;
    let columns: BTreeMap<&str, &Value> = expected["traps_extra"]["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| (column["name"].as_str().unwrap(), &column["values"]))
        .collect();
    assert_eq!((columns.len(), batch.num_rows()), (11, 3));
    for (place, field) in batch.schema().fields().iter().enumerate().filter(|(_, field)| field.name() != "id") {
        for (row, wanted) in columns[field.name().as_str()].as_array().unwrap().iter().enumerate() {
            check_cell(&batch, &rejects, (place, row), field.name(), wanted);
        }
    }
    source.close().await;
}

fn check_cell(
    batch: &RecordBatch,
    rejects: &[ExtractReject],
    (place, row): (usize, usize),
    name: &str,
    wanted: &Value,
) {
    let array = batch.column(place);
    let at = format!("{name}, row {}", row + 1);
    if let Some(original) = wanted.get("original") {
        assert!(array.is_null(row), "{at}: a date that does not exist is null");
        let reject = rejects.iter().find(|reject| reject.row == row as u64 + 1 && reject.column == name);
        assert_eq!(reject.unwrap_or_else(|| panic!("{at}: no reject")).original, original.as_str().unwrap(), "{at}");
        return;
    }
    assert_eq!(array.is_null(row), wanted.is_null(), "{at}");
    if wanted.is_null() {
        return;
    }
    assert!(agrees(array, row, wanted), "{at}: {} is not {wanted}", shown(array, row));
}

/// Whether a cell is what one of the forms of the fixture says.
fn agrees(array: &dyn Array, row: usize, wanted: &Value) -> bool {
    let is = |key: &str, found: Value| wanted.get(key).is_some_and(|wanted| *wanted == found);
    match array.data_type() {
        DataType::Utf8 => {
            let text = array.as_string::<i32>().value(row);
            let is_large = |wanted: &Value| {
                wanted["bytes"] == json!(text.len())
                    && wanted["md5"].is_string()
                    && wanted["crc32"] == json!(crc32(text))
            };
            wanted.as_str() == Some(text)
                || is("utf8_hex", json!(hex(text.as_bytes())))
                || (wanted.get("bytes").is_none() && is("text", json!(text)))
                || is_large(wanted)
        }
        DataType::Binary => {
            let bytes = hex(array.as_binary::<i32>().value(row));
            is("hex", json!(bytes)) || is("wkb_hex", json!(bytes))
        }
        DataType::Float32 => {
            let number = array.as_primitive::<Float32Type>().value(row);
            let bits = format!("0x{:08x}", number.to_bits());
            is("bits", json!(bits))
                || wanted.as_str().is_some_and(|text| text.contains(&bits) || text == "0" && number == 0.0)
        }
        DataType::Float64 => {
            let number = array.as_primitive::<Float64Type>().value(row);
            wanted.as_str().and_then(|text| text.parse::<f64>().ok()).map(f64::to_bits) == Some(number.to_bits())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            is("us", json!(micros))
                || *wanted == json!(micros)
                || wanted.as_str() == Some(&shown(array, row).replace('T', " "))
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            let micros = array.as_primitive::<DurationMicrosecondType>().value(row);
            is("us", json!(micros)) || *wanted == json!(micros)
        }
        DataType::Boolean => *wanted == json!(array.as_boolean().value(row)),
        _ => wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned) == shown(array, row),
    }
}

/// Numbers and dates as text, exactly.
fn shown(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).to_string(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().value_as_string(row),
        DataType::Date32 => array.as_primitive::<Date32Type>().value_as_date(row).unwrap().to_string(),
        _ => arrow::util::display::array_value_to_string(array, row).unwrap(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// CRC-32 (IEEE 802.3), bit by bit: an outside truth for the large texts needs no library.
fn crc32(text: &str) -> u32 {
    !text.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}
