//! Turns fields in the server's binary format (of a COPY stream, of a result) into Arrow batches, exactly.
//!
//! In: rows of raw fields.  Out: batches of about [`BATCH_BYTES`]; cells that no type can carry are null and rejected.
//! Source of the field formats: PostgreSQL source, the `…_send` function of each type.
//! Never here: cutting the stream (`copy_binary`), which columns there are (`postgres_columns`).
//! Start at [`RowBatcher::push`].

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    DurationMicrosecondBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::datatypes::{SchemaRef, i256};
use arrow::record_batch::RecordBatch;

use super::mysql_columns::MAX_DIGITS_128;
use super::postgres_columns::{PostgresColumn, PostgresKind, schema_of};
use crate::rejects::RejectList;
use crate::table_writer::BATCH_BYTES;
use crate::{ConnectError, InvalidDates};

/// Days and microseconds from 1970-01-01 to 2000-01-01, from where PostgreSQL counts.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_US: i64 = 946_684_800_000_000;
/// Signs of a numeric: PostgreSQL source, `numeric.c`.
const NEGATIVE: u16 = 0x4000;
const NOT_A_NUMBER: u16 = 0xC000;
const PLUS_INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Why a cell cannot be carried over, and what it was.
struct Unfit {
    reason: &'static str,
    original: String,
}

/// The fields of one row as the server sends them in binary, each its bytes or null.
pub(crate) trait RawRow {
    fn count(&self) -> usize;
    fn field(&self, position: usize) -> Option<&[u8]>;
}

impl RawRow for [Option<&[u8]>] {
    fn count(&self) -> usize {
        self.len()
    }
    fn field(&self, position: usize) -> Option<&[u8]> {
        *self.get(position)?
    }
}

/// Fills one batch after the other.
pub(crate) struct RowBatcher {
    columns: Vec<PostgresColumn>,
    cells: Vec<Cells>,
    schema: SchemaRef,
    rejects: RejectList,
    rows: u64,
    batch_rows: usize,
    batch_bytes: usize,
}

impl RowBatcher {
    pub(crate) fn new(table: &str, columns: Vec<PostgresColumn>, dates: InvalidDates) -> Self {
        let schema = schema_of(&columns);
        let cells = columns.iter().map(|column| Cells::new(column.kind)).collect();
        let rejects = RejectList::new(table, dates);
        Self { columns, cells, schema, rejects, rows: 0, batch_rows: 0, batch_bytes: 0 }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Adds a row; returns a batch and its bytes when enough has come together.
    pub(crate) fn push(&mut self, row: &(impl RawRow + ?Sized)) -> Result<Option<(RecordBatch, usize)>, ConnectError> {
        if row.count() != self.cells.len() {
            return Err(ConnectError::internal("read rows", "a row has another number of columns"));
        }
        self.rows += 1;
        self.batch_rows += 1;
        for (position, cells) in self.cells.iter_mut().enumerate() {
            let Some(field) = row.field(position) else {
                cells.append_null();
                self.batch_bytes += 1;
                continue;
            };
            self.batch_bytes += field.len() + 4;
            if let Err(unfit) = cells.append(field) {
                cells.append_null();
                self.rejects.add(self.rows, &self.columns[position].name, unfit.reason, unfit.original)?;
            }
        }
        if self.batch_bytes >= BATCH_BYTES { self.take_batch() } else { Ok(None) }
    }

    /// The rows that are left, or `None` when there are none.
    pub(crate) fn take_batch(&mut self) -> Result<Option<(RecordBatch, usize)>, ConnectError> {
        if self.batch_rows == 0 {
            return Ok(None);
        }
        let arrays: Vec<ArrayRef> = self.cells.iter_mut().map(Cells::finish).collect();
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
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Oid(UInt32Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal128(Decimal128Builder, i32),
    Decimal256(Decimal256Builder, i32),
    Text(StringBuilder),
    Jsonb(StringBuilder),
    Uuid(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Moment(TimestampMicrosecondBuilder),
    Time(DurationMicrosecondBuilder),
}

/// Runs the same expression on the builder of any kind.
macro_rules! each_builder {
    ($cells:expr, $builder:ident => $body:expr) => {
        match $cells {
            Cells::Bool($builder) => $body,
            Cells::Int16($builder) => $body,
            Cells::Int32($builder) => $body,
            Cells::Int64($builder) => $body,
            Cells::Oid($builder) => $body,
            Cells::Float($builder) => $body,
            Cells::Double($builder) => $body,
            Cells::Decimal128($builder, _) => $body,
            Cells::Decimal256($builder, _) => $body,
            Cells::Text($builder) | Cells::Jsonb($builder) | Cells::Uuid($builder) => $body,
            Cells::Bytes($builder) => $body,
            Cells::Date($builder) => $body,
            Cells::Moment($builder) => $body,
            Cells::Time($builder) => $body,
        }
    };
}

impl Cells {
    fn new(kind: PostgresKind) -> Self {
        match kind {
            PostgresKind::Bool => Self::Bool(BooleanBuilder::new()),
            PostgresKind::Int16 => Self::Int16(Int16Builder::new()),
            PostgresKind::Int32 => Self::Int32(Int32Builder::new()),
            PostgresKind::Int64 => Self::Int64(Int64Builder::new()),
            PostgresKind::Oid => Self::Oid(UInt32Builder::new()),
            PostgresKind::Float => Self::Float(Float32Builder::new()),
            PostgresKind::Double => Self::Double(Float64Builder::new()),
            PostgresKind::Decimal { digits, scale } if digits <= MAX_DIGITS_128 => {
                Self::Decimal128(Decimal128Builder::new().with_data_type(kind.data_type()), i32::from(scale))
            }
            PostgresKind::Decimal { scale, .. } => {
                Self::Decimal256(Decimal256Builder::new().with_data_type(kind.data_type()), i32::from(scale))
            }
            PostgresKind::Text => Self::Text(StringBuilder::new()),
            PostgresKind::Jsonb => Self::Jsonb(StringBuilder::new()),
            PostgresKind::Uuid => Self::Uuid(StringBuilder::new()),
            PostgresKind::Bytes => Self::Bytes(BinaryBuilder::new()),
            PostgresKind::Date => Self::Date(Date32Builder::new()),
            PostgresKind::Timestamp | PostgresKind::TimestampUtc => {
                Self::Moment(TimestampMicrosecondBuilder::new().with_data_type(kind.data_type()))
            }
            PostgresKind::Time => Self::Time(DurationMicrosecondBuilder::new()),
        }
    }

    fn append_null(&mut self) {
        each_builder!(self, builder => builder.append_null());
    }

    fn finish(&mut self) -> ArrayRef {
        each_builder!(self, builder => Arc::new(builder.finish()))
    }

    fn append(&mut self, field: &[u8]) -> Result<(), Unfit> {
        match self {
            Self::Bool(builder) => builder.append_value(fixed(field, u8::from_be_bytes)? != 0),
            Self::Int16(builder) => builder.append_value(fixed(field, i16::from_be_bytes)?),
            Self::Int32(builder) => builder.append_value(fixed(field, i32::from_be_bytes)?),
            Self::Int64(builder) => builder.append_value(fixed(field, i64::from_be_bytes)?),
            Self::Oid(builder) => builder.append_value(fixed(field, u32::from_be_bytes)?),
            Self::Float(builder) => builder.append_value(fixed(field, f32::from_be_bytes)?),
            Self::Double(builder) => builder.append_value(fixed(field, f64::from_be_bytes)?),
            Self::Decimal128(builder, scale) => {
                let number =
                    Numeric::read(field)?.scaled::<i128>(*scale).ok_or_else(|| unfit("out of range", field))?;
                builder.append_value(number);
            }
            Self::Decimal256(builder, scale) => {
                let number =
                    Numeric::read(field)?.scaled::<i256>(*scale).ok_or_else(|| unfit("out of range", field))?;
                builder.append_value(number);
            }
            Self::Text(builder) => builder.append_value(text(field)?),
            // The first byte is the version of the format, 1; the rest is text.
            Self::Jsonb(builder) => builder.append_value(text(field.get(1..).unwrap_or_default())?),
            Self::Uuid(builder) => builder.append_value(uuid_text(fixed(field, u128::from_be_bytes)?)),
            Self::Bytes(builder) => builder.append_value(field),
            Self::Date(builder) => builder.append_value(date(fixed(field, i32::from_be_bytes)?)?),
            Self::Moment(builder) => builder.append_value(moment(fixed(field, i64::from_be_bytes)?)?),
            Self::Time(builder) => builder.append_value(fixed(field, i64::from_be_bytes)?),
        }
        Ok(())
    }
}

fn fixed<T, const N: usize>(field: &[u8], read: impl Fn([u8; N]) -> T) -> Result<T, Unfit> {
    field.try_into().map(read).map_err(|_| unfit("an unexpected length", field))
}

fn text(field: &[u8]) -> Result<&str, Unfit> {
    std::str::from_utf8(field).map_err(|_| unfit("not valid UTF-8", field))
}

fn date(days: i32) -> Result<i32, Unfit> {
    let shifted = days.checked_add(EPOCH_DAYS).filter(|_| days != i32::MIN);
    shifted.ok_or_else(|| Unfit { reason: "no such date", original: infinity(days > 0) })
}

fn moment(micros: i64) -> Result<i64, Unfit> {
    match (micros, micros.checked_add(EPOCH_US)) {
        (i64::MAX | i64::MIN, _) => Err(Unfit { reason: "no such moment", original: infinity(micros > 0) }),
        (_, Some(shifted)) => Ok(shifted),
        (_, None) => Err(Unfit { reason: "after the year 294246", original: format!("{micros} µs after 2000-01-01") }),
    }
}

fn infinity(is_positive: bool) -> String {
    if is_positive { "infinity".to_owned() } else { "-infinity".to_owned() }
}

fn uuid_text(number: u128) -> String {
    let hex = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn unfit(reason: &'static str, field: &[u8]) -> Unfit {
    let shown: String = field.iter().take(100).map(|byte| format!("{byte:02x}")).collect();
    Unfit { reason, original: format!("0x{shown}") }
}

/// A numeric as the server sends it: groups of four decimal digits.
struct Numeric<'a> {
    groups: &'a [u8],
    /// Power of 10,000 of the first group.
    weight: i32,
    is_negative: bool,
}

/// The arithmetic that both widths share.
trait Wide: Sized {
    fn small(number: u16) -> Self;
    /// `self · 10^power + addend`, or `None` on overflow.
    fn shift(self, power: u32, addend: u16) -> Option<Self>;
    fn negate(self) -> Self;
}

impl Wide for i128 {
    fn small(number: u16) -> Self {
        Self::from(number)
    }
    fn shift(self, power: u32, addend: u16) -> Option<Self> {
        self.checked_mul(10_i128.checked_pow(power)?)?.checked_add(Self::from(addend))
    }
    fn negate(self) -> Self {
        -self
    }
}

impl Wide for i256 {
    fn small(number: u16) -> Self {
        Self::from_i128(i128::from(number))
    }
    fn shift(self, power: u32, addend: u16) -> Option<Self> {
        let factor = Self::from_i128(10).checked_pow(power)?;
        self.checked_mul(factor)?.checked_add(Self::from_i128(i128::from(addend)))
    }
    fn negate(self) -> Self {
        self.wrapping_neg()
    }
}

impl<'a> Numeric<'a> {
    /// Count, weight, sign and scale as 16 bits each, then the groups.
    fn read(field: &'a [u8]) -> Result<Self, Unfit> {
        let part = |position: usize| {
            let bytes = field.get(position * 2..position * 2 + 2)?;
            bytes.try_into().ok().map(u16::from_be_bytes)
        };
        let (Some(count), Some(weight), Some(sign)) = (part(0), part(1), part(2)) else {
            return Err(unfit("an unexpected length", field));
        };
        let no_number = |original: &str| Unfit { reason: "not a number", original: original.to_owned() };
        match sign {
            NOT_A_NUMBER => return Err(no_number("NaN")),
            PLUS_INFINITY => return Err(no_number("Infinity")),
            MINUS_INFINITY => return Err(no_number("-Infinity")),
            _ => {}
        }
        let groups = field.get(8..8 + usize::from(count) * 2).ok_or_else(|| unfit("an unexpected length", field))?;
        Ok(Self { groups, weight: i32::from(weight.cast_signed()), is_negative: sign == NEGATIVE })
    }

    /// The number times 10^scale, or `None` when it is not whole then, or too large.
    fn scaled<T: Wide>(&self, scale: i32) -> Option<T> {
        let mut number = T::small(0);
        // Power of ten that the last digit so far stands for.
        let mut power = scale + 4 * (self.weight + 1);
        for pair in self.groups.chunks_exact(2) {
            let group = u16::from_be_bytes(pair.try_into().ok()?);
            power -= 4;
            if power >= 0 {
                number = number.shift(4, group)?;
            } else {
                // The scale ends inside this group; what is behind it must be zeros.
                let behind = u32::try_from(-power).ok().filter(|behind| *behind < 4);
                let Some(behind) = behind else { if group == 0 { continue } else { return None } };
                let unit = 10_u16.pow(behind);
                if group % unit != 0 {
                    return None;
                }
                number = number.shift(4 - behind, group / unit)?;
            }
        }
        if let Ok(power) = u32::try_from(power) {
            number = number.shift(power, 0)?;
        }
        Some(if self.is_negative { number.negate() } else { number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(weight: i16, sign: u16, groups: &[u16]) -> Vec<u8> {
        let mut field = Vec::new();
        field.extend(u16::try_from(groups.len()).unwrap().to_be_bytes());
        field.extend(weight.to_be_bytes());
        field.extend(sign.to_be_bytes());
        field.extend([0, 0]);
        groups.iter().for_each(|group| field.extend(group.to_be_bytes()));
        field
    }

    fn scaled(field: &[u8], scale: i32) -> Option<i128> {
        Numeric::read(field).ok()?.scaled(scale)
    }

    #[test]
    fn numerics_keep_every_digit() {
        // 12345678.9 = 1234 5678 . 9000
        let number = numeric(1, 0, &[1234, 5678, 9000]);
        assert_eq!(scaled(&number, 1), Some(123_456_789));
        assert_eq!(scaled(&number, 3), Some(12_345_678_900));
        assert_eq!(scaled(&number, 6), Some(12_345_678_900_000));
        assert_eq!(scaled(&number, 0), None);
        // -0.00012 = 0000.0001 2000 with weight -1
        assert_eq!(scaled(&numeric(-1, NEGATIVE, &[1, 2000]), 5), Some(-12));
        // 30000 = 3 with weight 1
        assert_eq!(scaled(&numeric(1, 0, &[3]), 2), Some(3_000_000));
        assert_eq!(scaled(&numeric(0, 0, &[]), 4), Some(0));
        assert!(Numeric::read(&numeric(0, NOT_A_NUMBER, &[])).is_err());
    }

    #[test]
    fn infinities_are_rejected_and_the_epoch_is_shifted() {
        assert_eq!(date(0).ok(), Some(10_957));
        assert_eq!(date(i32::MAX).err().map(|unfit| unfit.original).as_deref(), Some("infinity"));
        assert_eq!(date(i32::MIN).err().map(|unfit| unfit.original).as_deref(), Some("-infinity"));
        assert_eq!(moment(0).ok(), Some(EPOCH_US));
        assert_eq!(moment(i64::MIN).err().map(|unfit| unfit.original).as_deref(), Some("-infinity"));
    }

    #[test]
    fn uuids_have_their_dashes() {
        assert_eq!(uuid_text(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), "01234567-89ab-cdef-0123-456789abcdef");
    }
}
