//! Turns rows of the binary protocol into Arrow batches, exactly.
//!
//! In: driver values.  Out: batches of about [`BATCH_BYTES`]; cells that no type can carry are null and rejected.
//! Never here: which columns there are (`mysql_columns`), fetching.
//! Start at [`RowBatcher::push`].

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    DurationMicrosecondBuilder, Float32Builder, Float64Builder, Int8Builder, Int16Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder, UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, SchemaRef, i256};
use arrow::record_batch::RecordBatch;
use mysql_async::Value;

use super::calendar::{DAY_US, days_since_1970, microseconds_of_day};
use super::mysql_columns::{MAX_DIGITS_128, MySqlColumn, MySqlKind, schema_of};
use crate::rejects::RejectList;
use crate::table_writer::BATCH_BYTES;
use crate::{ConnectError, InvalidDates};

/// Bytes of an original value that a reject shows; more helps nobody and fills the manifest.
const MAX_SHOWN_BYTES: usize = 200;

/// Characters of a decimal that fits into 64 bits, whatever they are: adding up its digits there takes a fraction of the time.
const SHORT_DECIMAL: usize = 19;

/// Why a cell cannot be carried over, and what it was.
struct Unfit {
    reason: &'static str,
    original: String,
}

/// Fills one batch after the other.
pub(crate) struct RowBatcher {
    columns: Vec<MySqlColumn>,
    cells: Vec<Cells>,
    schema: SchemaRef,
    rejects: RejectList,
    /// Rows pushed so far, over all batches.
    rows: u64,
    batch_rows: usize,
    batch_bytes: usize,
}

impl RowBatcher {
    pub(crate) fn new(table: &str, columns: Vec<MySqlColumn>, dates: InvalidDates) -> Self {
        let schema = schema_of(&columns);
        let cells = columns.iter().map(|column| Cells::sized(column.kind, 0, 0)).collect();
        let rejects = RejectList::new(table, dates);
        Self { columns, cells, schema, rejects, rows: 0, batch_rows: 0, batch_bytes: 0 }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Adds a row; returns a batch and its bytes when enough has come together.
    pub(crate) fn push<'a>(
        &mut self,
        row: impl ExactSizeIterator<Item = &'a Value>,
    ) -> Result<Option<(RecordBatch, usize)>, ConnectError> {
        if row.len() != self.cells.len() {
            return Err(ConnectError::internal("read rows", "a row has another number of columns"));
        }
        self.rows += 1;
        self.batch_rows += 1;
        for (position, (cells, value)) in self.cells.iter_mut().zip(row).enumerate() {
            match cells.append(value) {
                Ok(bytes) => self.batch_bytes += bytes,
                Err(unfit) => {
                    cells.append_null();
                    self.rejects.add(self.rows, &self.columns[position].name, unfit.reason, unfit.original)?;
                }
            }
        }
        if self.batch_bytes >= BATCH_BYTES { self.take_batch() } else { Ok(None) }
    }

    /// The rows that are left, or `None` when there are none.
    pub(crate) fn take_batch(&mut self) -> Result<Option<(RecordBatch, usize)>, ConnectError> {
        if self.batch_rows == 0 {
            return Ok(None);
        }
        let types = self.schema.fields().iter().map(|field| field.data_type());
        let arrays: Vec<ArrayRef> =
            self.cells.iter_mut().zip(types).map(|(cells, data_type)| cells.finish(data_type)).collect();
        for ((cells, column), array) in self.cells.iter_mut().zip(&self.columns).zip(&arrays) {
            // A batch of one large row says nothing of the next, and its buffer would be as large again.
            let bytes = (text_bytes(array) * 9 / 8).min(2 * BATCH_BYTES);
            *cells = Cells::sized(column.kind, array.len() + array.len() / 8, bytes);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays);
        let bytes = self.batch_bytes;
        (self.batch_rows, self.batch_bytes) = (0, 0);
        batch.map(|batch| Some((batch, bytes))).map_err(|error| ConnectError::internal("make a batch", error))
    }

    pub(crate) fn into_rejects(self) -> Vec<domain::ExtractReject> {
        self.rejects.into_vec()
    }
}

/// The cells of one column in the batch being filled.
enum Cells {
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt8(UInt8Builder),
    UInt16(UInt16Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Bool(BooleanBuilder),
    Decimal128(Decimal128Builder),
    Decimal256(Decimal256Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Date(Date32Builder),
    Moment(TimestampMicrosecondBuilder, u8),
    DateText(StringBuilder, Option<u8>),
    Time(DurationMicrosecondBuilder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Geometry(BinaryBuilder),
}

/// Runs the same expression on the builder of any kind.
macro_rules! each_builder {
    ($cells:expr, $builder:ident => $body:expr) => {
        match $cells {
            Cells::Int8($builder) => $body,
            Cells::Int16($builder) => $body,
            Cells::Int32($builder) => $body,
            Cells::Int64($builder) => $body,
            Cells::UInt8($builder) => $body,
            Cells::UInt16($builder) => $body,
            Cells::UInt32($builder) => $body,
            Cells::UInt64($builder) => $body,
            Cells::Bool($builder) => $body,
            Cells::Decimal128($builder) => $body,
            Cells::Decimal256($builder) => $body,
            Cells::Float($builder) => $body,
            Cells::Double($builder) => $body,
            Cells::Date($builder) => $body,
            Cells::Moment($builder, _) => $body,
            Cells::DateText($builder, _) => $body,
            Cells::Time($builder) => $body,
            Cells::Text($builder) => $body,
            Cells::Binary($builder) | Cells::Geometry($builder) => $body,
        }
    };
}

impl Cells {
    /// With room for so many rows, and for so many bytes of text: a batch is about as large as the one before, and growing copies.
    fn sized(kind: MySqlKind, rows: usize, bytes: usize) -> Self {
        match kind {
            MySqlKind::Int8 => Self::Int8(Int8Builder::with_capacity(rows)),
            MySqlKind::Int16 => Self::Int16(Int16Builder::with_capacity(rows)),
            MySqlKind::Int32 => Self::Int32(Int32Builder::with_capacity(rows)),
            MySqlKind::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            MySqlKind::UInt8 | MySqlKind::Bits(0..=8) => Self::UInt8(UInt8Builder::with_capacity(rows)),
            MySqlKind::UInt16 | MySqlKind::Bits(9..=16) => Self::UInt16(UInt16Builder::with_capacity(rows)),
            MySqlKind::UInt32 | MySqlKind::Bits(17..=32) => Self::UInt32(UInt32Builder::with_capacity(rows)),
            MySqlKind::UInt64 | MySqlKind::Bits(_) => Self::UInt64(UInt64Builder::with_capacity(rows)),
            MySqlKind::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            MySqlKind::Decimal { digits, .. } if digits <= MAX_DIGITS_128 => {
                Self::Decimal128(Decimal128Builder::with_capacity(rows).with_data_type(kind.data_type()))
            }
            MySqlKind::Decimal { .. } => {
                Self::Decimal256(Decimal256Builder::with_capacity(rows).with_data_type(kind.data_type()))
            }
            MySqlKind::Float => Self::Float(Float32Builder::with_capacity(rows)),
            MySqlKind::Double => Self::Double(Float64Builder::with_capacity(rows)),
            MySqlKind::Date => Self::Date(Date32Builder::with_capacity(rows)),
            MySqlKind::DateTime { digits } | MySqlKind::Timestamp { digits } => {
                Self::Moment(TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(kind.data_type()), digits)
            }
            MySqlKind::DateText { digits, has_time } => {
                Self::DateText(StringBuilder::with_capacity(rows, bytes), has_time.then_some(digits))
            }
            MySqlKind::Time => Self::Time(DurationMicrosecondBuilder::with_capacity(rows)),
            MySqlKind::Text => Self::Text(StringBuilder::with_capacity(rows, bytes)),
            MySqlKind::Binary => Self::Binary(BinaryBuilder::with_capacity(rows, bytes)),
            MySqlKind::Geometry => Self::Geometry(BinaryBuilder::with_capacity(rows, bytes)),
        }
    }

    fn append_null(&mut self) {
        each_builder!(self, builder => builder.append_null());
    }

    fn finish(&mut self, data_type: &DataType) -> ArrayRef {
        let array: ArrayRef = each_builder!(self, builder => Arc::new(builder.finish()));
        debug_assert_eq!(array.data_type(), data_type);
        array
    }

    /// Adds one value; answers its size in bytes.
    fn append(&mut self, value: &Value) -> Result<usize, Unfit> {
        if *value == Value::NULL {
            self.append_null();
            return Ok(1);
        }
        match self {
            Self::Int8(builder) => builder.append_value(integer(value)?),
            Self::Int16(builder) => builder.append_value(integer(value)?),
            Self::Int32(builder) => builder.append_value(integer(value)?),
            Self::Int64(builder) => builder.append_value(integer(value)?),
            Self::UInt8(builder) => builder.append_value(integer(value)?),
            Self::UInt16(builder) => builder.append_value(integer(value)?),
            Self::UInt32(builder) => builder.append_value(integer(value)?),
            Self::UInt64(builder) => builder.append_value(integer(value)?),
            Self::Bool(builder) => builder.append_value(integer::<u64>(value)? != 0),
            Self::Decimal128(builder) => builder.append_value(decimal128(value)?),
            Self::Decimal256(builder) => builder.append_value(decimal256(value)?),
            Self::Float(builder) => {
                let &Value::Float(number) = value else { return Err(unfit("not a FLOAT", value)) };
                builder.append_value(number);
            }
            Self::Double(builder) => {
                let &Value::Double(number) = value else { return Err(unfit("not a DOUBLE", value)) };
                builder.append_value(number);
            }
            Self::Date(builder) => builder.append_value(date(value)?),
            Self::Moment(builder, digits) => builder.append_value(moment(value, *digits)?),
            Self::DateText(builder, digits) => {
                builder.append_value(date_text(value, *digits).ok_or_else(|| unfit("not a date", value))?);
            }
            Self::Time(builder) => builder.append_value(duration(value)?),
            Self::Text(builder) => return append_text(builder, value),
            Self::Binary(builder) => return append_bytes(builder, value, 0),
            // The server puts the SRID, four bytes, in front of the WKB (MariaDB: "WKB", storage format).
            Self::Geometry(builder) => return append_bytes(builder, value, 4),
        }
        Ok(8)
    }
}

/// Bytes that the texts of a column take together; 0 for columns of other types.
fn text_bytes(array: &ArrayRef) -> usize {
    let texts = array.as_string_opt::<i32>().map(|texts| texts.value_data().len());
    let bytes = || array.as_binary_opt::<i32>().map(|bytes| bytes.value_data().len());
    texts.or_else(bytes).unwrap_or(0)
}

fn append_text(builder: &mut StringBuilder, value: &Value) -> Result<usize, Unfit> {
    let Value::Bytes(bytes) = value else { return Err(unfit("not a text", value)) };
    let text = std::str::from_utf8(bytes).map_err(|_| Unfit { reason: "not valid UTF-8", original: hex(bytes) })?;
    builder.append_value(text);
    Ok(bytes.len() + 4)
}

fn append_bytes(builder: &mut BinaryBuilder, value: &Value, skip: usize) -> Result<usize, Unfit> {
    let Value::Bytes(bytes) = value else { return Err(unfit("not bytes", value)) };
    let kept = bytes.get(skip..).ok_or_else(|| Unfit { reason: "too short for a geometry", original: hex(bytes) })?;
    builder.append_value(kept);
    Ok(kept.len() + 4)
}

/// A whole number; BIT and (in MySQL) YEAR may arrive as big-endian bytes or as text.
fn integer<T: TryFrom<i64> + TryFrom<u64>>(value: &Value) -> Result<T, Unfit> {
    let number = match value {
        Value::Int(number) => T::try_from(*number).ok(),
        Value::UInt(number) => T::try_from(*number).ok(),
        Value::Bytes(bytes) if bytes.len() <= 8 => {
            T::try_from(bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))).ok()
        }
        Value::Bytes(_) | Value::NULL | Value::Float(_) | Value::Double(_) | Value::Date(..) | Value::Time(..) => {
            return Err(unfit("not a whole number", value));
        }
    };
    number.ok_or_else(|| unfit("out of the column's range", value))
}

/// Digits of a decimal without its point; the server always sends the column's full scale, so that the point is where it must be.
fn decimal128(value: &Value) -> Result<i128, Unfit> {
    let Value::Bytes(text) = value else { return Err(unfit("not a DECIMAL", value)) };
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text.as_slice()),
    };
    let mut digits = digits.iter().filter(|byte| **byte != b'.').map(|byte| byte.wrapping_sub(b'0'));
    let number = if text.len() <= SHORT_DECIMAL {
        let number = digits.try_fold(0_u64, |number, digit| (digit <= 9).then(|| number * 10 + u64::from(digit)));
        number.map(i128::from)
    } else {
        digits.try_fold(0_i128, |number, digit| {
            number.checked_mul(10)?.checked_add(i128::from(digit)).filter(|_| digit <= 9)
        })
    };
    let number = number.ok_or_else(|| unfit("not a DECIMAL", value))?;
    Ok(if is_negative { -number } else { number })
}

fn decimal256(value: &Value) -> Result<i256, Unfit> {
    let Value::Bytes(text) = value else { return Err(unfit("not a DECIMAL", value)) };
    let digits: String = text.iter().filter(|byte| **byte != b'.').map(|byte| char::from(*byte)).collect();
    i256::from_string(&digits).ok_or_else(|| unfit("not a DECIMAL", value))
}

fn date(value: &Value) -> Result<i32, Unfit> {
    let Value::Date(year, month, day, ..) = value else { return Err(unfit("not a date", value)) };
    days_since_1970(*year, *month, *day).ok_or_else(|| no_such_date(value, None))
}

fn moment(value: &Value, digits: u8) -> Result<i64, Unfit> {
    let Value::Date(year, month, day, hour, minute, second, micros) = value else {
        return Err(unfit("not a date", value));
    };
    let days = days_since_1970(*year, *month, *day);
    let time = microseconds_of_day(*hour, *minute, *second, *micros);
    match (days, time) {
        (Some(days), Some(time)) => Ok(i64::from(days) * DAY_US + time),
        _ => Err(no_such_date(value, Some(digits))),
    }
}

fn duration(value: &Value) -> Result<i64, Unfit> {
    let Value::Time(is_negative, days, hours, minutes, seconds, micros) = value else {
        return Err(unfit("not a TIME", value));
    };
    let whole = ((i64::from(*days) * 24 + i64::from(*hours)) * 60 + i64::from(*minutes)) * 60 + i64::from(*seconds);
    let length = whole * 1_000_000 + i64::from(*micros);
    Ok(if *is_negative { -length } else { length })
}

/// A date as the server's client shows it; `digits` of a second, `None` without time of day.
pub(super) fn date_text(value: &Value, digits: Option<u8>) -> Option<String> {
    let Value::Date(year, month, day, hour, minute, second, micros) = value else { return None };
    let date = format!("{year:04}-{month:02}-{day:02}");
    let Some(digits) = digits else { return Some(date) };
    let mut text = format!("{date} {hour:02}:{minute:02}:{second:02}");
    if digits > 0 {
        let fraction = format!("{micros:06}");
        text.push('.');
        text.push_str(&fraction[..usize::from(digits.min(6))]);
    }
    Some(text)
}

fn no_such_date(value: &Value, digits: Option<u8>) -> Unfit {
    Unfit { reason: "no such date", original: date_text(value, digits).unwrap_or_default() }
}

fn unfit(reason: &'static str, value: &Value) -> Unfit {
    let mut original = value.as_sql(false);
    if original.len() > MAX_SHOWN_BYTES {
        let end = original.floor_char_boundary(MAX_SHOWN_BYTES);
        original.truncate(end);
        original.push('…');
    }
    Unfit { reason, original }
}

fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(MAX_SHOWN_BYTES / 2).map(|byte| format!("{byte:02X}")).collect::<String>();
    format!("0x{shown}{}", if bytes.len() > MAX_SHOWN_BYTES / 2 { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn decimals_keep_every_digit() {
        assert_eq!(decimal128(&bytes("-922337203685477.5807")).ok(), Some(-9_223_372_036_854_775_807));
        assert_eq!(decimal128(&bytes("0.0000")).ok(), Some(0));
        for digits in [18, 19, 20, 38] {
            let text = "9".repeat(digits);
            assert_eq!(decimal128(&bytes(&text)).ok(), text.parse().ok());
            assert_eq!(decimal128(&bytes(&format!("-{text}"))).ok(), text.parse().ok().map(|number: i128| -number));
        }
        for bad in ["1e5", "+1", "9999999999999999999999e5", &"9".repeat(40)] {
            assert!(decimal128(&bytes(bad)).is_err(), "{bad}");
        }
        let wide = "9".repeat(65);
        assert_eq!(decimal256(&bytes(&format!("-{wide}"))).ok(), i256::from_string(&format!("-{wide}")));
    }

    #[test]
    fn times_and_dates_become_microseconds() {
        let longest = Value::Time(true, 34, 22, 59, 59, 999_999);
        assert_eq!(duration(&longest).ok(), Some(-3_020_399_999_999));
        assert_eq!(moment(&Value::Date(1969, 12, 31, 23, 59, 59, 999_999), 6).ok(), Some(-1));
        let zero = moment(&Value::Date(0, 0, 0, 0, 0, 0, 0), 3).err().map(|unfit| unfit.original);
        assert_eq!(zero.as_deref(), Some("0000-00-00 00:00:00.000"));
    }

    #[test]
    fn bits_arrive_as_bytes() {
        assert_eq!(integer::<u16>(&Value::Bytes(vec![0x02, 0x01])).ok(), Some(513));
        assert!(integer::<u8>(&Value::Int(256)).is_err());
        assert_eq!(integer::<u64>(&Value::UInt(u64::MAX)).ok(), Some(u64::MAX));
    }
}
