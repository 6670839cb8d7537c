//! Text of a field → a typed value, exactly or not at all.
//!
//! In: the bytes of a field and the column's type.  Out: a [`Cell`], or why the text is not a value of the type.
//! Never here: rounding, truncating, guessing another type.
//! Start at [`Converter::convert`].

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder,
    Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use chrono::{Datelike, NaiveDate, NaiveDateTime};

use super::options::{ColumnType, CsvOptions, TimeFormat};

/// A value ready for a builder. Text stays where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Text(&'a str),
    Integer(i32),
    Bigint(i64),
    Decimal(i128),
    Double(f64),
    Boolean(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01, UTC or of no zone.
    Micros(i64),
    /// Hexadecimal digits, two a byte.
    Hex(&'a str),
}

/// Why a text is no value of its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Stable, in snake case.
    pub(crate) code: &'static str,
    /// One sentence without the text itself.
    pub(crate) message: String,
}

impl Misfit {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What a column wants to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) column_type: ColumnType,
    /// The format that inference found for a date or a time that is not ISO 8601.
    pub(crate) format: Option<String>,
}

/// What converts the fields of one table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Converter<'a> {
    options: &'a CsvOptions,
}

impl<'a> Converter<'a> {
    pub(crate) fn new(options: &'a CsvOptions) -> Self {
        Self { options }
    }

    /// The text of a field, `None` for null. Unquoted empty is null, quoted empty is empty text.
    pub(crate) fn text<'t>(&self, bytes: &'t [u8], quoted: bool) -> Result<Option<&'t str>, Misfit> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            Misfit::new(
                "not_utf8",
                format!("byte {} of the value is not text in the file's encoding; declare the right one, such as `csv = {{ encoding = \"windows-1252\" }}`", error.valid_up_to() + 1),
            )
        })?;
        let text = if self.options.trim && !quoted { text.trim_matches(' ') } else { text };
        let is_null = !quoted && (text.is_empty() || self.options.null_if.iter().any(|null| null == text));
        Ok((!is_null).then_some(text))
    }

    /// Converts one field. Quoted empty is null for every type but text.
    pub(crate) fn convert<'t>(&self, bytes: &'t [u8], quoted: bool, wanted: &Wanted) -> Result<Cell<'t>, Misfit> {
        let Some(text) = self.text(bytes, quoted)? else { return Ok(Cell::Null) };
        if wanted.column_type == ColumnType::Text {
            return Ok(Cell::Text(text));
        }
        let text = text.trim_matches(' ');
        if text.is_empty() {
            return Ok(Cell::Null);
        }
        self.typed(text, wanted)
    }

    fn typed<'t>(&self, text: &'t str, wanted: &Wanted) -> Result<Cell<'t>, Misfit> {
        let format = wanted.format.as_deref();
        match wanted.column_type {
            ColumnType::Text => Ok(Cell::Text(text)),
            ColumnType::Integer => integer(text).and_then(|value| {
                i32::try_from(value)
                    .map(Cell::Integer)
                    .map_err(|_| Misfit::new("out_of_range", "the number does not fit into 32 bits"))
            }),
            ColumnType::Bigint => integer(text).map(Cell::Bigint),
            ColumnType::Decimal(precision, scale) => decimal(text, precision, scale).map(Cell::Decimal),
            ColumnType::Double => double(text).map(Cell::Double),
            ColumnType::Boolean => boolean(text)
                .map(Cell::Boolean)
                .ok_or_else(|| Misfit::new("not_a_boolean", "expected true or false, t or f, yes or no, 1 or 0")),
            ColumnType::Date => any_date(text, format)
                .map(|date| Cell::Date(days(date)))
                .ok_or_else(|| Misfit::new("not_a_date", "expected a date that exists, such as 2026-01-31")),
            ColumnType::Timestamp => self.timestamp(text, format).map(Cell::Micros).ok_or_else(|| {
                Misfit::new(
                    "not_a_timestamp",
                    "expected a time that exists and has no zone, such as 2026-01-31 23:59:59",
                )
            }),
            ColumnType::Timestamptz => instant(text).map(Cell::Micros).ok_or_else(|| {
                Misfit::new("not_a_timestamp", "expected a time with a zone, such as 2026-01-31T23:59:59Z")
            }),
            ColumnType::Binary => {
                let digits = text.strip_prefix("\\x").or_else(|| text.strip_prefix("0x")).unwrap_or(text);
                let is_hex = digits.len().is_multiple_of(2) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                is_hex
                    .then_some(Cell::Hex(digits))
                    .ok_or_else(|| Misfit::new("not_binary", "expected hexadecimal digits, two for each byte"))
            }
        }
    }

    /// A time without zone: in a declared format, in the one that inference found, or ISO 8601.
    pub(crate) fn timestamp(&self, text: &str, found: Option<&str>) -> Option<i64> {
        let declared = self.options.timestamp_formats.iter().map(TimeFormat::as_str);
        for format in declared.chain(found) {
            if let Some(at) = formatted_time(text, format) {
                return Some(at);
            }
        }
        match naive(text)? {
            (micros, "") => Some(micros),
            _ => None,
        }
    }
}

/// Years that `%Y` is believed to mean: with two digits it would be read as the first century.
const FORMATTED_YEARS: std::ops::RangeInclusive<i32> = 1000..=9999;

/// A time in a `strftime` format; a format without a time means midnight.
pub(crate) fn formatted_time(text: &str, format: &str) -> Option<i64> {
    let at = NaiveDateTime::parse_from_str(text, format)
        .ok()
        .or_else(|| NaiveDate::parse_from_str(text, format).ok()?.and_hms_opt(0, 0, 0))?;
    let micros = at.and_utc().timestamp_micros();
    // A table holds microseconds: a finer time would change.
    (at.and_utc().timestamp_subsec_nanos() % 1000 == 0 && FORMATTED_YEARS.contains(&at.date().year())).then_some(micros)
}

fn any_date(text: &str, format: Option<&str>) -> Option<NaiveDate> {
    if let Some(format) = format
        && let Ok(found) = NaiveDate::parse_from_str(text, format)
        && FORMATTED_YEARS.contains(&found.year())
    {
        return Some(found);
    }
    match date(text)? {
        (found, "") => Some(found),
        _ => None,
    }
}

fn integer(text: &str) -> Result<i64, Misfit> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Misfit::new("not_a_number", "expected a whole number"));
    }
    text.parse().map_err(|_| Misfit::new("out_of_range", "the number does not fit into 64 bits"))
}

/// Exact: more digits than the type has are a misfit, unless they are zeros.
fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, Misfit> {
    let bad = || Misfit::new("not_a_number", "expected a number such as -12.50");
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(bad());
    }
    // A table's scale is from 0 to 38.
    let scale = usize::try_from(scale).unwrap_or_default();
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > scale {
        return Err(Misfit::new("too_many_digits", format!("the column holds {scale} digits after the point")));
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() + scale > usize::from(precision) {
        let most = usize::from(precision) - scale;
        return Err(Misfit::new("out_of_range", format!("the column holds {most} digits before the point")));
    }
    let padding = std::iter::repeat_n(b'0', scale - fraction.len());
    let value = whole
        .bytes()
        .chain(fraction.bytes())
        .chain(padding)
        .fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    Ok(if negative { -value } else { value })
}

fn double(text: &str) -> Result<f64, Misfit> {
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    match text.parse::<f64>() {
        Ok(value) if is_number && value.is_finite() => Ok(value),
        Ok(_) if is_number => Err(Misfit::new("out_of_range", "the number does not fit into a double")),
        _ => Err(Misfit::new("not_a_number", "expected a number such as -12.5 or 1e6")),
    }
}

pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// Reads `YYYY-MM-DD` at the start of a text; returns the date and the rest.
pub(crate) fn date(text: &str) -> Option<(NaiveDate, &str)> {
    let bytes = text.as_bytes();
    if bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' || !text.is_char_boundary(10) {
        return None;
    }
    let (year, month, day) = (digits(&bytes[..4])?, digits(&bytes[5..7])?, digits(&bytes[8..10])?);
    Some((NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?, &text[10..]))
}

fn days(date: NaiveDate) -> i32 {
    // Years 0 to 9999 are within 32 bits of days.
    date.signed_duration_since(NaiveDate::default()).num_days() as i32
}

/// Reads `YYYY-MM-DD[( |T)HH:MM[:SS[.fraction]]]` at the start of a text; returns microseconds and the rest.
pub(crate) fn naive(text: &str) -> Option<(i64, &str)> {
    let (date, rest) = date(text)?;
    let midnight = i64::from(days(date)) * 86_400_000_000;
    if rest.is_empty() {
        return Some((midnight, rest));
    }
    let bytes = rest.as_bytes();
    if bytes.len() < 6 || !matches!(bytes[0], b' ' | b'T') || bytes[3] != b':' {
        return None;
    }
    let (hour, minute) = (digits(&bytes[1..3])?, digits(&bytes[4..6])?);
    let (mut second, mut micros, mut at) = (0, 0, 6);
    if bytes.get(6) == Some(&b':') {
        second = digits(bytes.get(7..9)?)?;
        at = 9;
        if bytes.get(9) == Some(&b'.') {
            let length = bytes[10..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (kept, beyond) = bytes[10..10 + length].split_at(length.min(6));
            // A table holds microseconds: finer digits must be zeros, or the value would change.
            if length == 0 || beyond.iter().any(|digit| *digit != b'0') {
                return None;
            }
            micros = kept.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
            micros *= 10i64.pow(6 - kept.len() as u32);
            at = 10 + length;
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Some((midnight + seconds * 1_000_000 + micros, &rest[at..]))
}

/// Reads a time with `Z` or an offset; microseconds UTC.
pub(crate) fn instant(text: &str) -> Option<i64> {
    let (local, zone) = naive(text)?;
    if matches!(zone, "Z" | "z") {
        return Some(local);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let offset: Vec<u8> = zone.bytes().skip(1).filter(|byte| *byte != b':').collect();
    let (hours, minutes) = match offset.len() {
        2 => (digits(&offset)?, 0),
        4 => (digits(&offset[..2])?, digits(&offset[2..])?),
        _ => return None,
    };
    let within = hours <= 18 && minutes <= 59;
    within.then(|| local - sign * i64::from(hours * 3600 + minutes * 60) * 1_000_000)
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
}

/// The bytes that pairs of hexadecimal digits write.
fn bytes_of(digits: &str) -> Vec<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
    digits.as_bytes().chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}

/// Collects the cells of one column.
#[derive(Debug)]
pub(crate) enum ColumnBuilder {
    Text(StringBuilder),
    Integer(Int32Builder),
    Bigint(Int64Builder),
    Decimal(Decimal128Builder, DataType),
    Double(Float64Builder),
    Boolean(BooleanBuilder),
    Date(Date32Builder),
    Micros(TimestampMicrosecondBuilder, DataType),
    Binary(BinaryBuilder),
}

impl ColumnBuilder {
    pub(crate) fn new(column: ColumnType) -> Self {
        match column {
            ColumnType::Text => Self::Text(StringBuilder::new()),
            ColumnType::Integer => Self::Integer(Int32Builder::new()),
            ColumnType::Bigint => Self::Bigint(Int64Builder::new()),
            ColumnType::Decimal(_, _) => {
                Self::Decimal(Decimal128Builder::new().with_data_type(column.arrow()), column.arrow())
            }
            ColumnType::Double => Self::Double(Float64Builder::new()),
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnType::Date => Self::Date(Date32Builder::new()),
            ColumnType::Timestamp | ColumnType::Timestamptz => {
                Self::Micros(TimestampMicrosecondBuilder::new().with_data_type(column.arrow()), column.arrow())
            }
            ColumnType::Binary => Self::Binary(BinaryBuilder::new()),
        }
    }

    /// Adds a cell that [`Converter::convert`] made for this column; any other one counts as null.
    pub(crate) fn append(&mut self, cell: Cell<'_>) {
        match self {
            Self::Text(builder) => builder.append_option(if let Cell::Text(text) = cell { Some(text) } else { None }),
            Self::Integer(builder) => {
                builder.append_option(if let Cell::Integer(value) = cell { Some(value) } else { None })
            }
            Self::Bigint(builder) => {
                builder.append_option(if let Cell::Bigint(value) = cell { Some(value) } else { None })
            }
            Self::Decimal(builder, _) => {
                builder.append_option(if let Cell::Decimal(value) = cell { Some(value) } else { None })
            }
            Self::Double(builder) => {
                builder.append_option(if let Cell::Double(value) = cell { Some(value) } else { None })
            }
            Self::Boolean(builder) => {
                builder.append_option(if let Cell::Boolean(value) = cell { Some(value) } else { None })
            }
            Self::Date(builder) => builder.append_option(if let Cell::Date(value) = cell { Some(value) } else { None }),
            Self::Micros(builder, _) => {
                builder.append_option(if let Cell::Micros(value) = cell { Some(value) } else { None })
            }
            Self::Binary(builder) => {
                builder.append_option(if let Cell::Hex(digits) = cell { Some(bytes_of(digits)) } else { None })
            }
        }
    }

    /// Takes what was collected.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Bigint(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder, data_type) => Arc::new(builder.finish().with_data_type(data_type.clone())),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Micros(builder, data_type) => Arc::new(builder.finish().with_data_type(data_type.clone())),
            Self::Binary(builder) => Arc::new(builder.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(text: &str, column: &str) -> String {
        let options = CsvOptions { null_if: vec!["NULL".to_owned()], ..CsvOptions::default() };
        let quoted = text.starts_with('\'');
        let wanted = Wanted { column_type: column.parse().unwrap(), format: None };
        match Converter::new(&options).convert(text.trim_matches('\'').as_bytes(), quoted, &wanted) {
            Ok(cell) => format!("{cell:?}"),
            Err(misfit) => misfit.code.to_owned(),
        }
    }

    #[test]
    fn values_are_exact_or_refused() {
        for (text, column, expected) in [
            ("", "text", "Null"),
            ("''", "text", "Text(\"\")"),
            ("NULL", "bigint", "Null"),
            ("'NULL'", "text", "Text(\"NULL\")"),
            (" 7 ", "bigint", "Bigint(7)"),
            ("9223372036854775807", "bigint", "Bigint(9223372036854775807)"),
            ("9223372036854775808", "bigint", "out_of_range"),
            ("2147483648", "integer", "out_of_range"),
            ("1.0", "bigint", "not_a_number"),
            ("0x10", "bigint", "not_a_number"),
            ("-2.5500", "decimal(12,2)", "Decimal(-255)"),
            ("2.555", "decimal(12,2)", "too_many_digits"),
            ("12345678901.00", "decimal(12,2)", "out_of_range"),
            (".5", "decimal(3,1)", "Decimal(5)"),
            (".", "decimal(3,1)", "not_a_number"),
            ("1e3", "decimal(12,2)", "not_a_number"),
            ("1e3", "double", "Double(1000.0)"),
            ("1e999", "double", "out_of_range"),
            ("nan", "double", "not_a_number"),
            ("Yes", "boolean", "Boolean(true)"),
            ("2024-02-29", "date", "Date(19782)"),
            ("2023-02-29", "date", "not_a_date"),
            ("1970-01-01 00:00:01.5", "timestamp", "Micros(1500000)"),
            ("1970-01-01T00:01", "timestamp", "Micros(60000000)"),
            ("1970-01-01 00:00:00.1234567", "timestamp", "not_a_timestamp"),
            ("1970-01-01 24:00:00", "timestamp", "not_a_timestamp"),
            ("1970-01-01T09:00:00+09:00", "timestamptz", "Micros(0)"),
            ("1970-01-01T00:00:00Z", "timestamp", "not_a_timestamp"),
            ("1970-01-01T00:00:00", "timestamptz", "not_a_timestamp"),
            ("\\x00fF", "binary", "Hex(\"00fF\")"),
            ("0xf", "binary", "not_binary"),
        ] {
            assert_eq!(convert(text, column), expected, "{text:?} as {column}");
        }
    }

    #[test]
    fn a_format_of_the_file_is_read_beside_iso() {
        let format = TimeFormat::try_from("%d.%m.%Y %H:%M".to_owned()).unwrap();
        let options = CsvOptions { timestamp_formats: vec![format], ..CsvOptions::default() };
        let converter = Converter::new(&options);
        assert_eq!(converter.timestamp("01.01.1970 00:01", None), Some(60_000_000));
        assert_eq!(converter.timestamp("1970-01-01 00:01", None), Some(60_000_000));
        assert_eq!(converter.timestamp("32.01.1970 00:01", None), None);
        assert_eq!(converter.timestamp("1/2/1970", Some("%m/%d/%Y")), Some(86_400_000_000));
    }
}
