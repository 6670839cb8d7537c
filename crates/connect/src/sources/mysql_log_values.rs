//! Cells of a binlog's rows, as the values that a `SELECT` of the same row answers.
//!
//! In: the column as the log and as `information_schema` describe it, the bytes of a row.  Out: driver values for `RowBatcher`.
//! The log holds what the storage engine is given: text in the column's own character set, BINARY without its last zeros, numbers of
//! ENUM and SET instead of their labels, UUID in the order it is indexed in.
//! Sources: `Field::pack` and `log_event_client.cc` of MariaDB 10.11; MySQL internals, "Date and time data type representation".
//! Never here: which rows are read (`mysql_log`), character sets (`mysql_charset`).
//! Start at [`LogColumn::of`].

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use mysql_async::Value;

use super::mysql_charset::Charset;
use super::mysql_columns::{MySqlColumn, MySqlKind};
use super::mysql_log_events::{Bytes, ENUM, MappedColumn, SET, STRING, is_set};

/// Character sets by name.
pub(super) type Charsets = HashMap<String, Arc<Charset>>;

/// Bytes that so many decimal digits take, to nine.
const DIGIT_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// Why the rows of a column cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The column was another one when the rows were logged.
    Differs,
    /// A type of another server or time.
    Unknown,
}

/// How many bytes a cell takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Fixed(usize),
    /// A length of so many bytes comes first.
    Prefixed(usize),
}

/// What the bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Signed,
    Unsigned,
    Year,
    Float,
    Double,
    Decimal {
        digits: u8,
        scale: u8,
    },
    Date,
    DateTime {
        digits: u8,
    },
    Timestamp {
        digits: u8,
    },
    Time {
        digits: u8,
    },
    Bytes,
    /// Zeros at the end are not logged.
    Padded(usize),
    Text {
        charset: Arc<Charset>,
        is_padded: bool,
    },
    Labels(Vec<Vec<u8>>),
    LabelSet(Vec<Vec<u8>>),
    Uuid,
    Inet4,
    Inet6,
}

/// How the cells of one column are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogColumn {
    width: Width,
    form: Form,
}

impl LogColumn {
    /// The column whose cells are `mapped` in the log and shall be what `column` is.
    pub(super) fn of(mapped: &MappedColumn, column: &MySqlColumn, charsets: &Charsets) -> Result<Self, Unreadable> {
        let width = width_of(mapped).ok_or(Unreadable::Unknown)?;
        let form = form_of(mapped, column, charsets).ok_or(Unreadable::Differs)?;
        Ok(Self { width, form })
    }

    /// A column whose cells are only found, and never read.
    pub(super) fn unread(mapped: &MappedColumn) -> Option<Self> {
        Some(Self { width: width_of(mapped)?, form: Form::Bytes })
    }

    /// The value of a cell; `None` when the bytes are not what they should be.
    pub(super) fn value(&self, cell: &[u8]) -> Option<Value> {
        let value = match &self.form {
            Form::Signed => Value::Int(signed(cell)?),
            Form::Unsigned => Value::UInt(Bytes(cell).number(cell.len())?),
            Form::Year => Value::Int(match *cell.first()? {
                0 => 0,
                years => 1900 + i64::from(years),
            }),
            Form::Float => Value::Float(f32::from_le_bytes(cell.try_into().ok()?)),
            Form::Double => Value::Double(f64::from_le_bytes(cell.try_into().ok()?)),
            Form::Decimal { digits, scale } => Value::Bytes(decimal(cell, *digits, *scale)?),
            Form::Date => {
                let packed = Bytes(cell).number(3)?;
                Value::Date(u16::try_from(packed >> 9).ok()?, (packed >> 5 & 15) as u8, (packed & 31) as u8, 0, 0, 0, 0)
            }
            Form::DateTime { digits } => date_time(cell, *digits)?,
            Form::Timestamp { digits } => timestamp(cell, *digits)?,
            Form::Time { digits } => time(cell, *digits)?,
            Form::Bytes => Value::Bytes(cell.to_vec()),
            Form::Padded(length) => {
                let mut bytes = cell.to_vec();
                bytes.resize(*length, 0);
                Value::Bytes(bytes)
            }
            Form::Text { charset, is_padded } => {
                let mut text = charset.decode(cell);
                if *is_padded {
                    // A CHAR is shown without the spaces that fill it up.
                    text.truncate(text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1));
                }
                Value::Bytes(text)
            }
            Form::Labels(labels) => {
                // Number 0 is the empty text that stands for a value that was none of the labels.
                let number = usize::try_from(Bytes(cell).number(cell.len())?).ok()?;
                Value::Bytes(number.checked_sub(1).map_or(Some(Vec::new()), |at| labels.get(at).cloned())?)
            }
            Form::LabelSet(labels) => {
                let chosen =
                    labels.iter().enumerate().filter(|(at, _)| is_set(cell, *at)).map(|(_, label)| label.as_slice());
                Value::Bytes(chosen.collect::<Vec<_>>().join(&b','))
            }
            Form::Uuid => Value::Bytes(uuid(&padded(cell)?).into_bytes()),
            Form::Inet4 => Value::Bytes(Ipv4Addr::from(padded::<4>(cell)?).to_string().into_bytes()),
            Form::Inet6 => Value::Bytes(inet6(padded(cell)?).into_bytes()),
        };
        Some(value)
    }
}

/// The cells of the next row, nulls as `None`, from rows that hold every column. `None` when the bytes end too early.
pub(super) fn next_row<'a>(
    columns: &[LogColumn],
    rows: &mut &'a [u8],
    cells: &mut Vec<Option<&'a [u8]>>,
) -> Option<()> {
    cells.clear();
    let mut bytes = Bytes(rows);
    let nulls = bytes.take(columns.len().div_ceil(8))?;
    for (at, column) in columns.iter().enumerate() {
        if is_set(nulls, at) {
            cells.push(None);
            continue;
        }
        let length = match column.width {
            Width::Fixed(length) => length,
            Width::Prefixed(prefix) => usize::try_from(bytes.number(prefix)?).ok()?,
        };
        cells.push(Some(bytes.take(length)?));
    }
    *rows = bytes.0;
    Some(())
}

/// The bytes of a cell by the type of its column; `None` for types that are not known.
fn width_of(mapped: &MappedColumn) -> Option<Width> {
    let [low, high] = mapped.meta;
    let fraction = usize::from(low).div_ceil(2);
    Some(match mapped.code {
        1 | 13 => Width::Fixed(1),
        2 => Width::Fixed(2),
        9 | 10 | 14 => Width::Fixed(3),
        3 | 4 => Width::Fixed(4),
        5 | 8 => Width::Fixed(8),
        16 => Width::Fixed(usize::from(high) + usize::from(low > 0)),
        17 => Width::Fixed(4 + fraction),
        18 => Width::Fixed(5 + fraction),
        19 => Width::Fixed(3 + fraction),
        246 => Width::Fixed(decimal_bytes(low, high)?),
        ENUM | SET => Width::Fixed(usize::from(high)),
        15 | 253 => Width::Prefixed(if u16::from_le_bytes(mapped.meta) < 256 { 1 } else { 2 }),
        STRING => Width::Prefixed(if string_length(mapped.meta) < 256 { 1 } else { 2 }),
        249..=252 | 255 => Width::Prefixed(usize::from(low)),
        _ => return None,
    })
}

/// The length of a CHAR or BINARY in bytes: two of its bits stand inverted in the type beside it.
fn string_length([code, low]: [u8; 2]) -> usize {
    usize::from(low) | (usize::from(code & 0x30) ^ 0x30) << 4
}

fn form_of(mapped: &MappedColumn, column: &MySqlColumn, charsets: &Charsets) -> Option<Form> {
    let [low, high] = mapped.meta;
    let is_bytes = matches!(mapped.code, 15 | 249..=254);
    let form = match (column.kind, mapped.code) {
        (MySqlKind::Int8, 1) | (MySqlKind::Int16, 2) | (MySqlKind::Int32, 3 | 9) | (MySqlKind::Int64, 8) => {
            Form::Signed
        }
        (MySqlKind::UInt8, 1) | (MySqlKind::UInt16, 2) | (MySqlKind::UInt32, 3 | 9) | (MySqlKind::UInt64, 8) => {
            Form::Unsigned
        }
        (MySqlKind::Int16, 13) => Form::Year,
        (MySqlKind::Bool | MySqlKind::Bits(_), 16) => Form::Bytes,
        (MySqlKind::Decimal { digits, scale }, 246) if low == digits && i8::try_from(high) == Ok(scale) => {
            Form::Decimal { digits: low, scale: high }
        }
        (MySqlKind::Float, 4) => Form::Float,
        (MySqlKind::Double, 5) => Form::Double,
        (MySqlKind::Date | MySqlKind::DateText { has_time: false, .. }, 10 | 14) => Form::Date,
        (MySqlKind::DateTime { digits } | MySqlKind::DateText { digits, has_time: true }, 18) if low == digits => {
            Form::DateTime { digits }
        }
        (MySqlKind::Timestamp { digits } | MySqlKind::DateText { digits, has_time: true }, 17) if low == digits => {
            Form::Timestamp { digits }
        }
        (MySqlKind::Time, 19) => Form::Time { digits: low },
        (MySqlKind::Text, _) => return text_form(mapped, column, charsets),
        (MySqlKind::Binary, STRING) => Form::Padded(string_length(mapped.meta)),
        (MySqlKind::Binary, _) if is_bytes => Form::Bytes,
        (MySqlKind::Geometry, 252 | 255) => Form::Bytes,
        _ => return None,
    };
    Some(form)
}

fn text_form(mapped: &MappedColumn, column: &MySqlColumn, charsets: &Charsets) -> Option<Form> {
    match (column.source_type.to_lowercase().as_str(), mapped.code) {
        ("uuid", STRING) => return Some(Form::Uuid),
        ("inet4", STRING) => return Some(Form::Inet4),
        ("inet6", STRING) => return Some(Form::Inet6),
        _ => {}
    }
    let charset = charsets.get(charset_of(column)?)?;
    let labels = || mapped.labels.iter().map(|label| charset.decode(label)).collect::<Vec<_>>();
    match mapped.code {
        ENUM if !mapped.labels.is_empty() => Some(Form::Labels(labels())),
        SET if !mapped.labels.is_empty() => Some(Form::LabelSet(labels())),
        15 | 249..=252 => Some(Form::Text { charset: Arc::clone(charset), is_padded: false }),
        253 | STRING => Some(Form::Text { charset: Arc::clone(charset), is_padded: mapped.code == STRING }),
        _ => None,
    }
}

/// The character set of a text column: every collation is named after its own.
pub(super) fn charset_of(column: &MySqlColumn) -> Option<&str> {
    let collation = column.collation.as_deref()?;
    Some(collation.split_once('_').map_or(collation, |(charset, _)| charset))
}

/// A whole number of one to eight bytes with its sign.
fn signed(cell: &[u8]) -> Option<i64> {
    let unused = 64 - 8 * u32::try_from(cell.len()).ok()?;
    let number = Bytes(cell).number(cell.len())?;
    Some((number << unused).cast_signed() >> unused)
}

fn big_endian(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}

fn decimal_bytes(digits: u8, scale: u8) -> Option<usize> {
    let (whole, scale) = (usize::from(digits.checked_sub(scale)?), usize::from(scale));
    let bytes = |digits: usize| digits / 9 * 4 + DIGIT_BYTES[digits % 9];
    Some(bytes(whole) + bytes(scale))
}

/// A DECIMAL as the server writes it: groups of nine digits in four bytes, the incomplete ones at the outer ends; the first bit is
/// inverted, and all bits of a negative number.
fn decimal(cell: &[u8], digits: u8, scale: u8) -> Option<Vec<u8>> {
    let is_negative = cell.first()? & 0x80 == 0;
    let mut bytes = cell.to_vec();
    bytes[0] ^= 0x80;
    if is_negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let mut rest = bytes.as_slice();
    let mut group = |count: usize, text: &mut String| {
        let (taken, after) = rest.split_at_checked(DIGIT_BYTES[count])?;
        rest = after;
        if count > 0 {
            text.push_str(&format!("{:0count$}", big_endian(taken)));
        }
        Some(())
    };
    let (whole, scale) = (usize::from(digits.checked_sub(scale)?), usize::from(scale));
    let mut text = String::with_capacity(usize::from(digits) + 3);
    group(whole % 9, &mut text)?;
    for _ in 0..whole / 9 {
        group(9, &mut text)?;
    }
    let first = text.find(|digit| digit != '0').unwrap_or(text.len());
    text.replace_range(..first, if first == text.len() { "0" } else { "" });
    if scale > 0 {
        text.push('.');
        for _ in 0..scale / 9 {
            group(9, &mut text)?;
        }
        group(scale % 9, &mut text)?;
    }
    if is_negative {
        text.insert(0, '-');
    }
    Some(text.into_bytes())
}

/// The microseconds after the whole seconds: two digits a byte.
fn microseconds(fraction: &[u8]) -> Option<u32> {
    let scale = [0, 10_000, 100, 1].get(fraction.len())?;
    u32::try_from(big_endian(fraction) * scale).ok()
}

fn date_time(cell: &[u8], digits: u8) -> Option<Value> {
    let (whole, fraction) = cell.split_at_checked(5)?;
    if fraction.len() != usize::from(digits).div_ceil(2) {
        return None;
    }
    let packed = u64::try_from(big_endian(whole) - 0x80_0000_0000).ok()?;
    let (date, time) = (packed >> 17, packed & 0x1_FFFF);
    let months = date >> 5;
    let year = u16::try_from(months / 13).ok()?;
    let (hour, minute, second) = ((time >> 12) as u8, (time >> 6 & 63) as u8, (time & 63) as u8);
    Some(Value::Date(year, (months % 13) as u8, (date & 31) as u8, hour, minute, second, microseconds(fraction)?))
}

/// Seconds since 1970 in UTC, which is the zone of every session here; zero is the date that does not exist.
fn timestamp(cell: &[u8], digits: u8) -> Option<Value> {
    let (whole, fraction) = cell.split_at_checked(4)?;
    if fraction.len() != usize::from(digits).div_ceil(2) {
        return None;
    }
    let (seconds, microseconds) = (big_endian(whole), microseconds(fraction)?);
    if seconds == 0 && microseconds == 0 {
        return Some(Value::Date(0, 0, 0, 0, 0, 0, 0));
    }
    use chrono::{Datelike as _, Timelike as _};
    let moment = chrono::DateTime::from_timestamp(seconds, 0)?;
    let (month, day) = (u8::try_from(moment.month()).ok()?, u8::try_from(moment.day()).ok()?);
    let (hour, minute) = (u8::try_from(moment.hour()).ok()?, u8::try_from(moment.minute()).ok()?);
    let second = u8::try_from(moment.second()).ok()?;
    Some(Value::Date(u16::try_from(moment.year()).ok()?, month, day, hour, minute, second, microseconds))
}

/// A TIME, which can be negative: then whole part and fraction together are one negative number.
fn time(cell: &[u8], digits: u8) -> Option<Value> {
    let fraction_bytes = usize::from(digits).div_ceil(2);
    if cell.len() != 3 + fraction_bytes {
        return None;
    }
    let bits = 8 * u32::try_from(cell.len()).ok()?;
    let packed = big_endian(cell) - (1_i64 << (bits - 1));
    let (is_negative, size) = (packed < 0, packed.unsigned_abs());
    let whole = size >> (8 * fraction_bytes);
    let fraction = (size & ((1_u64 << (8 * fraction_bytes)) - 1)).to_be_bytes();
    let microseconds = microseconds(&fraction[8 - fraction_bytes..])?;
    let hours = u32::try_from(whole >> 12 & 0x3FF).ok()?;
    let (minutes, seconds) = ((whole >> 6 & 63) as u8, (whole & 63) as u8);
    Some(Value::Time(is_negative, hours / 24, u8::try_from(hours % 24).ok()?, minutes, seconds, microseconds))
}

/// The bytes of a type of fixed length, whose zeros at the end are not logged.
fn padded<const LENGTH: usize>(cell: &[u8]) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    bytes.get_mut(..cell.len())?.copy_from_slice(cell);
    Some(bytes)
}

/// A UUID. Those of versions 1 to 5 are stored with their parts in reverse order, the node first; MariaDB tells them by two bytes
/// (`rec_need_swap` in `sql_type_uuid.h`).
fn uuid(stored: &[u8; 16]) -> String {
    let (sixth, eighth) = (i32::from(stored[6].cast_signed()), i32::from(stored[8].cast_signed()));
    let is_swapped = sixth & -eighth & 0x80 != 0;
    let parts: [&[u8]; 5] = if is_swapped {
        [&stored[12..], &stored[10..12], &stored[8..10], &stored[6..8], &stored[..6]]
    } else {
        [&stored[..4], &stored[4..6], &stored[6..8], &stored[8..10], &stored[10..]]
    };
    let hex = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    parts.map(hex).join("-")
}

/// An address as MariaDB writes it: the first of the longest runs of zeros is left out, also a single zero, and the last four bytes are
/// IPv4 after nothing but zeros (`::1.2.3.4`) or after `::ffff:`. Source: `Inet6::to_string`.
fn inet6(bytes: [u8; 16]) -> String {
    let words = Ipv6Addr::from(bytes).segments();
    let run = |from: usize| words[from..].iter().take_while(|word| **word == 0).count();
    let (from, length) = (0..8).map(|from| (from, run(from))).rev().max_by_key(|(_, length)| *length).unwrap_or((0, 0));
    if from == 0 && (length == 6 || length == 5 && words[5] == 0xFFFF) {
        let mapped = if length == 5 { "ffff:" } else { "" };
        return format!("::{mapped}{}", Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15]));
    }
    let hex = |words: &[u16]| words.iter().map(|word| format!("{word:x}")).collect::<Vec<_>>().join(":");
    if length == 0 {
        return hex(&words);
    }
    format!("{}::{}", hex(&words[..from]), hex(&words[from + length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Option<Vec<u8>>) -> String {
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    #[test]
    fn decimals_keep_every_digit_and_the_sign() {
        // The examples of MySQL's `decimal2bin`.
        assert_eq!(text(decimal(&[0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2], 14, 4)), "1234567890.1234");
        assert_eq!(text(decimal(&[0x7E, 0xF2, 0x04, 0xC7, 0x2D, 0xFB, 0x2D], 14, 4)), "-1234567890.1234");
        assert_eq!(text(decimal(&[0x80, 0x00], 3, 2)), "0.00");
        assert_eq!(text(decimal(&[0x80, 0x05], 3, 0)), "5");
        assert_eq!(decimal(&[], 3, 0), None);
    }

    #[test]
    fn times_are_counted_from_both_sides_of_zero() {
        assert_eq!(time(&[0x80, 0, 0], 0), Some(Value::Time(false, 0, 0, 0, 0, 0)));
        // -00:00:00.01 and -00:00:00.000001
        assert_eq!(time(&[0x7F, 0xFF, 0xFF, 0xFF], 2), Some(Value::Time(true, 0, 0, 0, 0, 10_000)));
        assert_eq!(time(&[0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 6), Some(Value::Time(true, 0, 0, 0, 0, 1)));
        assert_eq!(time(&[0x80, 0], 0), None);
    }

    #[test]
    fn a_zero_timestamp_does_not_exist_and_its_neighbour_does() {
        assert_eq!(timestamp(&[0; 4], 0), Some(Value::Date(0, 0, 0, 0, 0, 0, 0)));
        assert_eq!(timestamp(&[0, 0, 0, 1], 0), Some(Value::Date(1970, 1, 1, 0, 0, 1, 0)));
        assert_eq!(timestamp(&[0xFF; 4], 0), Some(Value::Date(2106, 2, 7, 6, 28, 15, 0)));
    }

    #[test]
    fn numbers_have_the_sign_of_their_width() {
        assert_eq!(
            (signed(&[0xFF]), signed(&[0, 0, 0x80]), signed(&[0x80, 0])),
            (Some(-1), Some(-8_388_608), Some(128))
        );
    }

    #[test]
    fn lengths_of_long_chars_borrow_two_bits() {
        assert_eq!((string_length([254, 40]), string_length([0xEE, 0xFC])), (40, 0x1FC));
    }
}
