//! Cells as bound parameters of MySQL, and what can be known to be refused before it is sent.
//!
//! In: cells of a row and the columns they go to.  Out: driver values, or a reject with its reason.
//! Never here: statements (`mysql`).
//! Start at [`bind_row`].

use chrono::{Datelike, NaiveDate, Timelike};
use mysql_async::Value;

use super::cells::{Cell, Rows};
use super::mysql_target::TargetColumn;
use crate::RowReject;

/// Longest TIME in microseconds: 838:59:59.999999 (MariaDB, "TIME").
const MAX_TIME_US: i64 = 3_020_399_999_999;
/// Years that DATE and DATETIME hold.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9999;

/// The values of one row, and their size in bytes on the wire.
pub(crate) struct Bound {
    pub(crate) values: Vec<Value>,
    pub(crate) bytes: usize,
}

/// Binds a row. `key` says which columns must not be null; `max_bytes` is what one statement may carry.
pub(crate) fn bind_row(
    rows: &Rows,
    row: usize,
    columns: &[&TargetColumn],
    is_key: &[bool],
    max_bytes: usize,
) -> Result<Bound, RowReject> {
    let mut values = Vec::with_capacity(columns.len());
    let mut bytes = 0;
    for (position, column) in columns.iter().enumerate() {
        let reject =
            |code: &'static str, reason: &str| RowReject { row, code, reason: format!("`{}`: {reason}", column.name) };
        let cell = rows.cell(row, position);
        if cell == Cell::Null && is_key[position] {
            return Err(reject("null_key", "a key cannot be null"));
        }
        let value = bind(&cell, column).map_err(|(code, reason)| reject(code, &reason))?;
        bytes += size_of(&value);
        values.push(value);
    }
    if bytes > max_bytes {
        let reason = format!("the row has {bytes} bytes, the server takes {max_bytes} at once (max_allowed_packet)");
        return Err(RowReject { row, code: "too_long", reason });
    }
    Ok(Bound { values, bytes })
}

fn bind(cell: &Cell<'_>, column: &TargetColumn) -> Result<Value, (&'static str, String)> {
    let value = match cell {
        Cell::Null => Value::NULL,
        Cell::Bool(is_true) => Value::Int(i64::from(*is_true)),
        Cell::Int(number) => Value::Int(*number),
        Cell::UInt(number) => Value::UInt(*number),
        Cell::Float(number) if number.is_finite() => Value::Float(*number),
        Cell::Double(number) if number.is_finite() => Value::Double(*number),
        Cell::Float(_) | Cell::Double(_) => {
            return Err(("not_finite", "NaN and infinity have no place in MySQL".to_owned()));
        }
        Cell::Decimal(digits) => Value::Bytes(digits.clone().into_bytes()),
        Cell::Text(text) => {
            check_length(text, column)?;
            Value::Bytes(text.as_bytes().to_vec())
        }
        Cell::Bytes(bytes) => {
            if column.max_bytes.is_some_and(|limit| bytes.len() as u64 > limit) {
                return Err(("too_long", format!("{} bytes do not fit into {}", bytes.len(), column.column_type)));
            }
            Value::Bytes(bytes.to_vec())
        }
        Cell::Date(days) => {
            let date = NaiveDate::from_epoch_days(*days).filter(|date| YEARS.contains(&date.year()));
            date_value(date.and_then(|date| date.and_hms_opt(0, 0, 0)))?
        }
        Cell::Moment(micros) => {
            let moment = chrono::DateTime::from_timestamp_micros(*micros).map(|moment| moment.naive_utc());
            date_value(moment.filter(|moment| YEARS.contains(&moment.year())))?
        }
        Cell::Duration(micros) | Cell::TimeOfDay(micros) => time_value(*micros)?,
    };
    Ok(value)
}

fn check_length(text: &str, column: &TargetColumn) -> Result<(), (&'static str, String)> {
    // `enum` and `set` have a length too, but their values are the server's to check.
    let is_text =
        matches!(column.data_type.as_str(), "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext");
    let limit = column.max_characters.filter(|_| is_text);
    // Counting characters costs a pass; most texts are short enough by bytes already.
    let is_over = |limit: u64| text.len() as u64 > limit && text.chars().count() as u64 > limit;
    if limit.is_some_and(is_over) || (is_text && column.max_bytes.is_some_and(|limit| text.len() as u64 > limit)) {
        return Err((
            "too_long",
            format!("{} characters do not fit into {}", text.chars().count(), column.column_type),
        ));
    }
    Ok(())
}

fn date_value(moment: Option<chrono::NaiveDateTime>) -> Result<Value, (&'static str, String)> {
    let moment = moment.ok_or(("out_of_range", "the year is not within 0 to 9999".to_owned()))?;
    let year =
        u16::try_from(moment.year()).map_err(|_| ("out_of_range", "the year is not within 0 to 9999".to_owned()))?;
    // Months, days, hours, minutes and seconds are below 60, so that no cast loses anything.
    let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    Ok(Value::Date(
        year,
        small(moment.month()),
        small(moment.day()),
        small(moment.hour()),
        small(moment.minute()),
        small(moment.second()),
        moment.nanosecond() / 1000,
    ))
}

fn time_value(micros: i64) -> Result<Value, (&'static str, String)> {
    if !(-MAX_TIME_US..=MAX_TIME_US).contains(&micros) {
        return Err(("out_of_range", "TIME holds at most 838:59:59.999999".to_owned()));
    }
    let length = micros.unsigned_abs();
    let seconds = length / 1_000_000;
    // All parts are small: the length is at most 35 days.
    let small = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
    Ok(Value::Time(
        micros < 0,
        u32::from(small(seconds / 86_400)),
        small(seconds / 3600 % 24),
        small(seconds / 60 % 60),
        small(seconds % 60),
        u32::try_from(length % 1_000_000).unwrap_or(0),
    ))
}

/// Bytes of a bound value on the wire, rounded up.
fn size_of(value: &Value) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len() + 9,
        Value::NULL
        | Value::Int(_)
        | Value::UInt(_)
        | Value::Float(_)
        | Value::Double(_)
        | Value::Date(..)
        | Value::Time(..) => 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_signs_become_parts() {
        assert_eq!(time_value(-MAX_TIME_US).ok(), Some(Value::Time(true, 34, 22, 59, 59, 999_999)));
        assert_eq!(time_value(1).ok(), Some(Value::Time(false, 0, 0, 0, 0, 1)));
        assert_eq!(time_value(MAX_TIME_US + 1).err().map(|(code, _)| code), Some("out_of_range"));
    }

    #[test]
    fn years_past_9999_are_refused() {
        let last = NaiveDate::from_ymd_opt(9999, 12, 31).and_then(|date| date.and_hms_opt(0, 0, 0));
        assert_eq!(date_value(last).ok(), Some(Value::Date(9999, 12, 31, 0, 0, 0, 0)));
        assert_eq!(date_value(None).err().map(|(code, _)| code), Some("out_of_range"));
    }
}
