//! Arrow batches as rows of plain values, for targets that take rows.
//!
//! In: a batch of any common type.  Out: one [`Cell`] per row and column; widths and encodings that mean the same become one.
//! Never here: a target's own types.
//! Start at [`Rows::new`].

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    DurationMicrosecondArray, Float32Array, Float64Array, Int64Array, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;

use crate::ConnectError;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f32),
    Double(f64),
    /// Plain digits with a point, as many behind it as the scale.
    Decimal(String),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01; UTC when the column has a zone.
    Moment(i64),
    /// Microseconds.
    Duration(i64),
    /// Microseconds since midnight.
    TimeOfDay(i64),
}

/// What a column's values are, whatever their width or encoding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Null,
    Bool,
    /// Bits, 8 to 64.
    Int(u8),
    UInt(u8),
    Float,
    Double,
    Decimal {
        digits: u8,
        scale: i8,
    },
    Text,
    Bytes,
    Date,
    /// With a zone (UTC) or without.
    Moment {
        is_utc: bool,
    },
    Duration,
    TimeOfDay,
}

impl Shape {
    /// The shape of an Arrow type, or `None` when no row of a database can hold it (lists, structs, maps).
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        let shape = match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool,
            DataType::Int8 => Self::Int(8),
            DataType::Int16 => Self::Int(16),
            DataType::Int32 => Self::Int(32),
            DataType::Int64 => Self::Int(64),
            DataType::UInt8 => Self::UInt(8),
            DataType::UInt16 => Self::UInt(16),
            DataType::UInt32 => Self::UInt(32),
            DataType::UInt64 => Self::UInt(64),
            DataType::Float16 | DataType::Float32 => Self::Float,
            DataType::Float64 => Self::Double,
            DataType::Decimal32(digits, scale)
            | DataType::Decimal64(digits, scale)
            | DataType::Decimal128(digits, scale)
            | DataType::Decimal256(digits, scale) => Self::Decimal { digits: *digits, scale: *scale },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Bytes
            }
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Timestamp(_, zone) => Self::Moment { is_utc: zone.is_some() },
            DataType::Duration(_) => Self::Duration,
            DataType::Time32(_) | DataType::Time64(_) => Self::TimeOfDay,
            DataType::Dictionary(_, values) => return Self::of(values),
            DataType::Interval(_)
            | DataType::List(_)
            | DataType::ListView(_)
            | DataType::FixedSizeList(..)
            | DataType::LargeList(_)
            | DataType::LargeListView(_)
            | DataType::Struct(_)
            | DataType::Union(..)
            | DataType::Map(..)
            | DataType::RunEndEncoded(..) => return None,
        };
        Some(shape)
    }
}

/// A column with one array type per shape.
#[derive(Debug)]
enum Column {
    Null,
    Bool(BooleanArray),
    Int(Int64Array),
    UInt(UInt64Array),
    Float(Float32Array),
    Double(Float64Array),
    Decimal128(Decimal128Array),
    Decimal256(Decimal256Array),
    Text(StringArray),
    Bytes(BinaryArray),
    Date(Date32Array),
    Moment(TimestampMicrosecondArray),
    Duration(DurationMicrosecondArray),
    TimeOfDay(Time64MicrosecondArray),
}

/// A batch, read row by row.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: Vec<Column>,
    len: usize,
}

impl Rows {
    /// Errors: `UnsupportedType` for lists, structs and the like; `Internal` when a value overflows microseconds.
    pub(crate) fn new(batch: &RecordBatch, table: &str) -> Result<Self, ConnectError> {
        let schema = batch.schema();
        let named = batch.columns().iter().zip(schema.fields());
        let columns = named.map(|(array, field)| column_of(array, field.name(), table)).collect::<Result<_, _>>()?;
        Ok(Self { columns, len: batch.num_rows() })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        match &self.columns[column] {
            Column::Null => Cell::Null,
            Column::Bool(array) => valid(array, row).map_or(Cell::Null, |()| Cell::Bool(array.value(row))),
            Column::Int(array) => valid(array, row).map_or(Cell::Null, |()| Cell::Int(array.value(row))),
            Column::UInt(array) => valid(array, row).map_or(Cell::Null, |()| Cell::UInt(array.value(row))),
            Column::Float(array) => valid(array, row).map_or(Cell::Null, |()| Cell::Float(array.value(row))),
            Column::Double(array) => valid(array, row).map_or(Cell::Null, |()| Cell::Double(array.value(row))),
            Column::Decimal128(array) => {
                valid(array, row).map_or(Cell::Null, |()| Cell::Decimal(array.value_as_string(row)))
            }
            Column::Decimal256(array) => {
                valid(array, row).map_or(Cell::Null, |()| Cell::Decimal(array.value_as_string(row)))
            }
            Column::Text(array) => valid(array, row).map_or(Cell::Null, |()| Cell::Text(array.value(row))),
            Column::Bytes(array) => valid(array, row).map_or(Cell::Null, |()| Cell::Bytes(array.value(row))),
            Column::Date(array) => valid(array, row).map_or(Cell::Null, |()| Cell::Date(array.value(row))),
            Column::Moment(array) => valid(array, row).map_or(Cell::Null, |()| Cell::Moment(array.value(row))),
            Column::Duration(array) => valid(array, row).map_or(Cell::Null, |()| Cell::Duration(array.value(row))),
            Column::TimeOfDay(array) => valid(array, row).map_or(Cell::Null, |()| Cell::TimeOfDay(array.value(row))),
        }
    }
}

fn valid(array: &dyn Array, row: usize) -> Option<()> {
    array.is_valid(row).then_some(())
}

fn column_of(array: &ArrayRef, name: &str, table: &str) -> Result<Column, ConnectError> {
    let unsupported = || ConnectError::UnsupportedType {
        table: table.to_owned(),
        column: name.to_owned(),
        found: array.data_type().to_string(),
    };
    let shape = Shape::of(array.data_type()).ok_or_else(unsupported)?;
    let wanted = match (&shape, array.data_type()) {
        (Shape::Null, _) => return Ok(Column::Null),
        (Shape::Bool, _) => DataType::Boolean,
        (Shape::Int(_), _) => DataType::Int64,
        (Shape::UInt(_), _) => DataType::UInt64,
        (Shape::Float, _) => DataType::Float32,
        (Shape::Double, _) => DataType::Float64,
        (Shape::Decimal { .. }, DataType::Decimal256(digits, scale)) => DataType::Decimal256(*digits, *scale),
        (Shape::Decimal { digits, scale }, _) => DataType::Decimal128(*digits, *scale),
        (Shape::Text, _) => DataType::Utf8,
        (Shape::Bytes, _) => DataType::Binary,
        (Shape::Date, _) => DataType::Date32,
        (Shape::Moment { .. }, DataType::Timestamp(_, zone)) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        (Shape::Moment { .. }, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
        (Shape::Duration, _) => DataType::Duration(TimeUnit::Microsecond),
        (Shape::TimeOfDay, _) => DataType::Time64(TimeUnit::Microsecond),
    };
    // Not `safe`: that would turn an overflow into a null without a word.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let array =
        cast_with_options(array, &wanted, &options).map_err(|error| ConnectError::internal("read a batch", error))?;
    let any = array.as_any();
    let column = match shape {
        Shape::Null => Some(Column::Null),
        Shape::Bool => any.downcast_ref().cloned().map(Column::Bool),
        Shape::Int(_) => any.downcast_ref().cloned().map(Column::Int),
        Shape::UInt(_) => any.downcast_ref().cloned().map(Column::UInt),
        Shape::Float => any.downcast_ref().cloned().map(Column::Float),
        Shape::Double => any.downcast_ref().cloned().map(Column::Double),
        Shape::Decimal { .. } => {
            let narrow = any.downcast_ref().cloned().map(Column::Decimal128);
            narrow.or_else(|| any.downcast_ref().cloned().map(Column::Decimal256))
        }
        Shape::Text => any.downcast_ref().cloned().map(Column::Text),
        Shape::Bytes => any.downcast_ref().cloned().map(Column::Bytes),
        Shape::Date => any.downcast_ref().cloned().map(Column::Date),
        Shape::Moment { .. } => any.downcast_ref().cloned().map(Column::Moment),
        Shape::Duration => any.downcast_ref().cloned().map(Column::Duration),
        Shape::TimeOfDay => any.downcast_ref().cloned().map(Column::TimeOfDay),
    };
    column.ok_or_else(unsupported)
}
