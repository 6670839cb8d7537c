//! Cells as the text that PostgreSQL reads exactly, and what can be known to be refused before it is sent.
//!
//! Rows travel as one text array per column and are cast by the server: text input is exact for every type, and one statement
//! serves any number of rows.
//! In: cells.  Out: text, or a reject with its reason.
//! Never here: statements (`postgres`).
//! Start at [`text_of`].

use chrono::{Datelike, NaiveDate};

use super::cells::{Cell, Rows};
use crate::RowReject;

/// Longest field in bytes: PostgreSQL's own limit of a value is 1 GB, a message must stay below it.
const MAX_BYTES: usize = 512 * 1024 * 1024;

/// The texts of one row; null is `None`.
pub(crate) fn bind_row(
    rows: &Rows,
    row: usize,
    names: &[String],
    is_key: &[bool],
) -> Result<Vec<Option<String>>, RowReject> {
    let mut texts = Vec::with_capacity(names.len());
    for (position, name) in names.iter().enumerate() {
        let reject = |code: &'static str, reason: &str| RowReject { row, code, reason: format!("`{name}`: {reason}") };
        let cell = rows.cell(row, position);
        if cell == Cell::Null && is_key[position] {
            return Err(reject("null_key", "a key cannot be null"));
        }
        texts.push(text_of(&cell).map_err(|(code, reason)| reject(code, reason))?);
    }
    Ok(texts)
}

/// One cell as text.
fn text_of(cell: &Cell<'_>) -> Result<Option<String>, (&'static str, &'static str)> {
    let text = match cell {
        Cell::Null => return Ok(None),
        Cell::Bool(is_true) => is_true.to_string(),
        Cell::Int(number) => number.to_string(),
        Cell::UInt(number) => number.to_string(),
        // NaN and infinity have a place in some columns here, but not in what is read from them; both targets treat them alike.
        Cell::Float(number) if !number.is_finite() => return Err(("not_finite", "NaN and infinity are not written")),
        Cell::Double(number) if !number.is_finite() => return Err(("not_finite", "NaN and infinity are not written")),
        // The shortest text that reads back as the same bits.
        Cell::Float(number) => format!("{number:e}"),
        Cell::Double(number) => format!("{number:e}"),
        Cell::Decimal(digits) => digits.clone(),
        Cell::Text(text) if text.contains('\0') => {
            return Err(("unsupported_value", "PostgreSQL text cannot hold a NUL character"));
        }
        Cell::Text(text) if text.len() > MAX_BYTES => return Err(("too_long", "the text is over 512 MiB")),
        Cell::Text(text) => (*text).to_owned(),
        // Two digits a byte.
        Cell::Bytes(bytes) if bytes.len() > MAX_BYTES / 2 => return Err(("too_long", "the bytes are over 256 MiB")),
        Cell::Bytes(bytes) => hex(bytes),
        Cell::Date(days) => {
            let date = NaiveDate::from_epoch_days(*days).ok_or(("out_of_range", "there is no such date"))?;
            with_era(date.year(), &format!("-{:02}-{:02}", date.month(), date.day()))
        }
        Cell::Moment(micros) => {
            let moment =
                chrono::DateTime::from_timestamp_micros(*micros).ok_or(("out_of_range", "there is no such moment"))?;
            with_era(moment.year(), &moment.format("-%m-%d %H:%M:%S%.6f").to_string())
        }
        Cell::Duration(micros) => format!("{micros} microseconds"),
        Cell::TimeOfDay(micros) => {
            let seconds = micros / 1_000_000;
            format!("{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, micros % 1_000_000)
        }
    };
    Ok(Some(text))
}

/// Year 0 is 1 BC: PostgreSQL writes years before it with their era.
fn with_era(year: i32, rest: &str) -> String {
    if year > 0 { format!("{year:04}{rest}") } else { format!("{:04}{rest} BC", 1 - year) }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cell: Cell<'_>, expected: &str) {
        let found = match text_of(&cell) {
            Ok(text) => text.unwrap_or("null".to_owned()),
            Err((code, _)) => format!("err {code}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn cells_become_exact_text() {
        check(Cell::Null, "null");
        check(Cell::Double(5e-324), "5e-324");
        check(Cell::Double(0.1), "1e-1");
        check(Cell::Float(-0.0), "-0e0");
        check(Cell::Bytes(b"\0\xff"), "\\x00ff");
        check(Cell::Date(-719_528), "0001-01-01 BC");
        check(Cell::Moment(-1), "1969-12-31 23:59:59.999999");
        check(Cell::TimeOfDay(86_399_999_999), "23:59:59.999999");
        check(Cell::Text("a\0"), "err unsupported_value");
        check(Cell::Float(f32::NAN), "err not_finite");
    }
}
