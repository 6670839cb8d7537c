//! Which types and column names a table holds: everything else is widened or renamed before it is written.
//!
//! In: any Arrow schema or batch.  Out: the table's schema and the batch in it; nothing is cut or rounded.
//! Never here: parsing text, reading or writing files.
//! Start at [`table_schema`] and [`widen_batch`]; COPY and build both go through them.
//!
//! Delta has no unsigned types and the writer would map them to the same width (u8 255 breaks), no decimals over 38
//! digits, no durations and only microseconds; see docs/decisions on types.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::error::{Result, WarehouseError, innermost};

/// Column metadata: the name in the source, when the table's differs.
pub const SOURCE_NAME: &str = "montauk.source_name";
/// Column metadata: the type in the source, when the table's differs.
pub const SOURCE_TYPE: &str = "montauk.source_type";

/// Most digits of a Delta decimal.
const MAX_DECIMAL_DIGITS: u8 = 38;

/// The schema of the table that holds rows of `schema`: names and types made fit, every column nullable.
///
/// What differs from the source stands in the column's metadata under [`SOURCE_NAME`] and [`SOURCE_TYPE`]; other metadata is
/// kept. Errors: a type that has no exact home (a union).
pub fn table_schema(schema: &Schema) -> Result<SchemaRef> {
    let names = column_names(schema.fields().iter().map(|field| field.name().as_str()));
    let mut fields = Vec::with_capacity(names.len());
    for (field, name) in schema.fields().iter().zip(names) {
        let data_type = widened(field.data_type()).ok_or_else(|| WarehouseError::UnsupportedType {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
        })?;
        let mut metadata = field.metadata().clone();
        if name != *field.name() {
            metadata.entry(SOURCE_NAME.to_owned()).or_insert_with(|| field.name().clone());
        }
        if worth_noting(field.data_type(), &data_type) {
            metadata.entry(SOURCE_TYPE.to_owned()).or_insert_with(|| field.data_type().to_string());
        }
        fields.push(Field::new(name, data_type, true).with_metadata(metadata));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Names that a table may have: characters other than `A-Za-z0-9_` and letters of any script become `_`.
///
/// Names stay unique without regard to case, as Delta demands: a clash gets the suffix `_2`, `_3`, ….
pub fn column_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut fit_names = Vec::new();
    for name in names {
        let mut fit: String =
            name.chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() || c == '_' || (!c.is_ascii() && c.is_alphanumeric()) {
                        c
                    } else {
                        '_'
                    }
                })
                .collect();
        if fit.is_empty() {
            fit.push_str("column");
        }
        let mut unique = fit.clone();
        let mut suffix = 2_u32;
        while !taken.insert(unique.to_lowercase()) {
            unique = format!("{fit}_{suffix}");
            suffix += 1;
        }
        fit_names.push(unique);
    }
    fit_names
}

/// The batch in the table's schema, column by position. Errors: [`WarehouseError::ValueOutOfRange`].
pub fn widen_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        columns.push(widen_column(column, field)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| WarehouseError::internal(format!("rows do not fit the table: {}", innermost(&error))))
}

fn widen_column(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    let out_of_range = |error: arrow::error::ArrowError| WarehouseError::ValueOutOfRange {
        column: field.name().clone(),
        data_type: field.data_type().to_string(),
        message: innermost(&error),
    };
    // `safe: false` makes a value that does not fit an error instead of a silent null.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let as_microseconds = |unit: DataType| cast_with_options(column, &unit, &options).map_err(out_of_range);
    let column = if matches!(column.data_type(), DataType::Duration(_)) {
        as_microseconds(DataType::Duration(TimeUnit::Microsecond))?
    } else if matches!(column.data_type(), DataType::Time32(_) | DataType::Time64(_)) {
        as_microseconds(DataType::Time64(TimeUnit::Microsecond))?
    } else {
        Arc::clone(column)
    };
    cast_with_options(&column, field.data_type(), &options).map_err(out_of_range)
}

/// The type that holds every value of `data_type` exactly, or `None`.
fn widened(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => decimal(*precision, *scale),
        // TIME of MySQL runs to 838 hours, so it is a duration, not a time of day.
        DataType::Duration(_) | DataType::Time32(_) | DataType::Time64(_) => DataType::Int64,
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Date64 => DataType::Date32,
        // A column of nothing but null has no type yet; text takes whatever comes.
        DataType::Null | DataType::LargeUtf8 | DataType::Utf8View | DataType::Interval(_) => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, value) => widened(value)?,
        DataType::RunEndEncoded(_, value) => widened(value.data_type())?,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::List(widened_field(item)?),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(widened_field).collect::<Option<_>>()?),
        DataType::Map(entries, sorted) => DataType::Map(widened_entries(entries)?, *sorted),
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Binary
        | DataType::Utf8 => data_type.clone(),
        DataType::Union(..) => return None,
    })
}

/// Decimals up to 38 digits stay; a negative scale is written out; wider ones become their exact text.
fn decimal(precision: u8, scale: i8) -> DataType {
    let (precision, scale) =
        if scale < 0 { (precision.saturating_add(scale.unsigned_abs()), 0) } else { (precision, scale) };
    if precision <= MAX_DECIMAL_DIGITS { DataType::Decimal128(precision, scale) } else { DataType::Utf8 }
}

fn widened_field(field: &FieldRef) -> Option<FieldRef> {
    let widened = Field::new(field.name(), widened(field.data_type())?, true);
    Some(Arc::new(widened.with_metadata(field.metadata().clone())))
}

/// The entries of a map: keys are never null, in Arrow and in Delta.
fn widened_entries(entries: &FieldRef) -> Option<FieldRef> {
    let DataType::Struct(fields) = entries.data_type() else { return None };
    let [key, value] = fields.as_ref() else { return None };
    let key = Arc::new(Field::new(key.name(), widened(key.data_type())?, false));
    let data_type = DataType::Struct(vec![key, widened_field(value)?].into());
    Some(Arc::new(Field::new(entries.name(), data_type, false).with_metadata(HashMap::new())))
}

/// Layout-only changes (views, dictionaries, large offsets) say nothing about the source.
fn worth_noting(from: &DataType, to: &DataType) -> bool {
    let layout_only = matches!(
        from,
        DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::Dictionary(..)
            | DataType::RunEndEncoded(..)
            | DataType::Null
    );
    !layout_only && !from.is_nested() && from != to
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Decimal256Array, DurationSecondArray, UInt8Array, UInt64Array};
    use arrow::datatypes::{Decimal128Type, Int16Type, Int64Type, i256};

    use super::*;

    fn widen(name: &str, column: ArrayRef) -> (Field, ArrayRef) {
        let batch = RecordBatch::try_from_iter([(name, column)]).unwrap();
        let schema = table_schema(&batch.schema()).unwrap();
        let widened = widen_batch(&batch, &schema).unwrap();
        (schema.field(0).clone(), Arc::clone(widened.column(0)))
    }

    #[test]
    fn the_largest_unsigned_values_survive() {
        let (field, column) = widen("a", Arc::new(UInt8Array::from(vec![255])));
        assert_eq!(column.as_primitive::<Int16Type>().value(0), 255);
        assert_eq!(field.metadata()[SOURCE_TYPE], "UInt8");
        let (_, column) = widen("a", Arc::new(UInt64Array::from(vec![u64::MAX])));
        assert_eq!(column.as_primitive::<Decimal128Type>().value(0), i128::from(u64::MAX));
    }

    #[test]
    fn a_decimal_of_65_digits_becomes_its_exact_text() {
        let wide = Decimal256Array::from(vec![i256::from_i128(-12345)]).with_precision_and_scale(65, 30).unwrap();
        let (field, column) = widen("a", Arc::new(wide));
        assert_eq!(field.data_type(), &DataType::Utf8);
        assert_eq!(column.as_string::<i32>().value(0), "-0.000000000000000000000000012345");
    }

    #[test]
    fn a_time_of_838_hours_becomes_microseconds() {
        let (_, column) = widen("a", Arc::new(DurationSecondArray::from(vec![-838 * 3600])));
        assert_eq!(column.as_primitive::<Int64Type>().value(0), -838 * 3600 * 1_000_000);
    }

    #[test]
    fn column_names_are_made_fit_and_stay_unique_without_case() {
        let names = column_names(["Unit Price", "unit_price", "가격", "", "a\"b", "UNIT-PRICE"].into_iter());
        assert_eq!(names, ["Unit_Price", "unit_price_2", "가격", "column", "a_b", "UNIT_PRICE_3"]);
        let (field, _) = widen("a b", Arc::new(UInt8Array::from(vec![1])));
        assert_eq!(field.metadata()[SOURCE_NAME], "a b");
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_that_names_the_column() {
        let seconds = arrow::array::TimestampSecondArray::from(vec![i64::MAX / 10]);
        let batch = RecordBatch::try_from_iter([("at", Arc::new(seconds) as ArrayRef)]).unwrap();
        let schema = table_schema(&batch.schema()).unwrap();
        let error = widen_batch(&batch, &schema).unwrap_err();
        assert!(error.to_string().starts_with("column `at` holds a value that does not fit"), "{error}");
    }
}
