//! The statistics that a Delta `Add` action carries about one Parquet file.
//!
//! In: the footer of the file.  Out: Delta's stats JSON (numRecords, minValues, maxValues, nullCount).
//! Never here: types whose order readers disagree on (floats with NaN, binary, decimals beyond JSON numbers, nested).
//! Start at [`delta_stats`].

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema, TimeUnit,
};
use chrono::{DateTime, TimeDelta};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Map, Value, json};

/// Columns with bounds, from the left; nulls are counted in all, because COPY asks whether a column was always filled: the number that Delta writers use by default (delta.dataSkippingNumIndexedCols).
const INDEXED_COLUMNS: usize = 32;

/// The stats JSON of a file with `schema` and this footer.
///
/// Text bounds may be cut by the Parquet writer; it rounds the upper one up, so they stay bounds.
pub(crate) fn delta_stats(schema: &Schema, footer: &ParquetMetaData) -> String {
    let rows = footer.file_metadata().num_rows();
    let mut lowest = Map::new();
    let mut highest = Map::new();
    let mut nulls = Map::new();
    for (number, field) in schema.fields().iter().enumerate() {
        if field.data_type().is_nested() {
            continue;
        }
        let parquet_schema = footer.file_metadata().schema_descr();
        let Ok(converter) = StatisticsConverter::try_new(field.name(), schema, parquet_schema) else { continue };
        if let Ok(counts) = converter.row_group_null_counts(footer.row_groups())
            && counts.null_count() == 0
        {
            nulls.insert(field.name().clone(), json!(counts.iter().flatten().sum::<u64>()));
        }
        if number >= INDEXED_COLUMNS {
            continue;
        }
        let (Ok(mins), Ok(maxes)) =
            (converter.row_group_mins(footer.row_groups()), converter.row_group_maxes(footer.row_groups()))
        else {
            continue;
        };
        // A row group of nulls has no bounds and does not widen them; a group without statistics must void them, and the
        // two look alike, so any missing bound voids the column's.
        if mins.null_count() > 0 || maxes.null_count() > 0 {
            continue;
        }
        if let (Some(low), Some(high)) = (bound(&mins, End::Low), bound(&maxes, End::High)) {
            lowest.insert(field.name().clone(), low);
            highest.insert(field.name().clone(), high);
        }
    }
    json!({ "numRecords": rows, "minValues": lowest, "maxValues": highest, "nullCount": nulls }).to_string()
}

/// Which bound of the file is wanted from the bounds of its row groups.
#[derive(Clone, Copy)]
enum End {
    Low,
    High,
}

macro_rules! primitive {
    ($array:expr, $kind:ty, $end:expr) => {
        match $end {
            End::Low => min($array.as_primitive::<$kind>()),
            End::High => max($array.as_primitive::<$kind>()),
        }
    };
}

#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's enum: every other case is one for us")]
fn bound(values: &ArrayRef, end: End) -> Option<Value> {
    match values.data_type() {
        DataType::Int8 => primitive!(values, Int8Type, end).map(|value| json!(value)),
        DataType::Int16 => primitive!(values, Int16Type, end).map(|value| json!(value)),
        DataType::Int32 => primitive!(values, Int32Type, end).map(|value| json!(value)),
        DataType::Int64 => primitive!(values, Int64Type, end).map(|value| json!(value)),
        DataType::Float32 => {
            primitive!(values, Float32Type, end).filter(|value| value.is_finite()).map(|value| json!(value))
        }
        DataType::Float64 => {
            primitive!(values, Float64Type, end).filter(|value| value.is_finite()).map(|value| json!(value))
        }
        DataType::Date32 => {
            let date = chrono::NaiveDate::default()
                .checked_add_signed(TimeDelta::days(i64::from(primitive!(values, Date32Type, end)?)))?;
            Some(json!(date.format("%Y-%m-%d").to_string()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let at = DateTime::from_timestamp_micros(primitive!(values, TimestampMicrosecondType, end)?)?;
            let form = if zone.is_some() { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%S%.6f" };
            Some(json!(at.format(form).to_string()))
        }
        DataType::Utf8 => match end {
            End::Low => min_string(values.as_string::<i32>()),
            End::High => max_string(values.as_string::<i32>()),
        }
        .map(|value| json!(value)),
        // Everything else has no bound that all readers understand alike.
        _ => None,
    }
}
