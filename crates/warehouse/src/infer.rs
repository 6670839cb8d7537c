//! Column types from text: from every row of every file of a first load, not from a sample.
//!
//! In: the fields of a column, one after the other.  Out: the narrowest type that holds them all, and which row forced it.
//! Integers stay integers, codes with leading zeros stay text, decimals stay exact, times are typed.
//! Never here: reading files, types that the user declared.
//! Start at [`ColumnInference`].

use crate::copy::convert::{Converter, Wanted, boolean, date, formatted_time, instant, naive};
use crate::copy::options::{ColumnType, CsvOptions, MAX_DECIMAL_DIGITS};

/// Digits that fit into 64 bits in any case; a decimal column gets this many, or all 38.
const SHORT_DECIMAL_DIGITS: u8 = 18;
/// Dates and times that are not ISO 8601 but common; a column whose values fit exactly one of them has that one.
///
/// Where two fit every value (is 03/04/2011 in March or in April?) the column stays text: nothing is guessed.
const FORMATS: [&str; 15] = [
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d-%m-%Y",
    "%d-%m-%Y %H:%M",
    "%d-%m-%Y %H:%M:%S",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
];
/// The length that a year has in all of [`FORMATS`]; two digits would be read as the first century.
const YEAR_DIGITS: usize = 4;

/// Which row made a column what it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    pub file: String,
    pub line: u64,
    pub value: String,
}

/// What one text looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Boolean,
    Integer,
    Decimal,
    Double,
    Date,
    Timestamp,
    Timestamptz,
    /// Fits these of [`FORMATS`], one bit each.
    Formatted(u16),
    Text,
}

/// The type of one column, as far as its rows have been seen.
#[derive(Debug, Default, Clone)]
pub(crate) struct ColumnInference {
    shape: Option<Shape>,
    whole_digits: usize,
    scale: usize,
    evidence: Option<Evidence>,
    nulls: u64,
}

/// Most characters of a value that are kept as evidence.
const EVIDENCE_CHARACTERS: usize = 60;

impl ColumnInference {
    /// Looks at one field. `is_text`: the format says that it is a text, so that digits in it are no number. `place` is only asked when
    /// the field changes the type.
    pub(crate) fn see(
        &mut self,
        bytes: &[u8],
        quoted: bool,
        (is_text, options): (bool, &CsvOptions),
        place: impl FnOnce() -> (String, u64),
    ) {
        let converter = Converter::new(options);
        let text = match converter.text(bytes, quoted) {
            Ok(Some(text)) => text,
            Ok(None) => {
                self.nulls += 1;
                return;
            }
            // What is not UTF-8 is rejected when it is loaded; it says nothing about the type.
            Err(_) => return,
        };
        if self.shape == Some(Shape::Text) {
            return;
        }
        let trimmed = text.trim_matches(' ');
        if trimmed.is_empty() {
            return;
        }
        let shape = if is_text { time_shape(trimmed, &converter) } else { self.shape_of(trimmed, &converter) };
        let joined = self.shape.map_or(shape, |before| join(before, shape));
        if self.shape != Some(joined) {
            let (file, line) = place();
            self.evidence = Some(Evidence { file, line, value: text.chars().take(EVIDENCE_CHARACTERS).collect() });
            self.shape = Some(joined);
        }
    }

    /// Adds what a later file says about the same column.
    pub(crate) fn merge(&mut self, later: Self) {
        self.whole_digits = self.whole_digits.max(later.whole_digits);
        self.scale = self.scale.max(later.scale);
        self.nulls += later.nulls;
        let Some(shape) = later.shape else { return };
        let joined = self.shape.map_or(shape, |before| join(before, shape));
        if self.shape != Some(joined) {
            self.shape = Some(joined);
            self.evidence = later.evidence;
        }
    }

    fn shape_of(&mut self, text: &str, converter: &Converter<'_>) -> Shape {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = !whole.is_empty() && all_digits(whole) && all_digits(fraction) && !digits.ends_with('.');
        if is_plain {
            if whole.len() > 1 && whole.starts_with('0') {
                return Shape::Text;
            }
            self.whole_digits = self.whole_digits.max(whole.len());
            self.scale = self.scale.max(fraction.len());
            let is_integer = fraction.is_empty() && text.parse::<i64>().is_ok();
            return if is_integer { Shape::Integer } else { Shape::Decimal };
        }
        if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
            let is_word = matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "t" | "f" | "yes" | "no");
            return if is_word && boolean(text).is_some() { Shape::Boolean } else { time_shape(text, converter) };
        }
        let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        let is_double = is_number && text.contains(['e', 'E']) && text.parse::<f64>().is_ok_and(f64::is_finite);
        // A sign of plus or a missing zero is how codes look: `+49`, `.5`.
        if is_double && text.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
            return Shape::Double;
        }
        time_shape(text, converter)
    }

    /// The type that holds everything seen; text for a column without a value.
    pub(crate) fn wanted(&self) -> Wanted {
        let plain = |column_type| Wanted { column_type, format: None };
        match self.shape {
            None | Some(Shape::Text) => plain(ColumnType::Text),
            Some(Shape::Boolean) => plain(ColumnType::Boolean),
            Some(Shape::Integer) => plain(ColumnType::Bigint),
            Some(Shape::Decimal) => plain(self.decimal()),
            Some(Shape::Double) => plain(ColumnType::Double),
            Some(Shape::Date) => plain(ColumnType::Date),
            Some(Shape::Timestamp) => plain(ColumnType::Timestamp),
            Some(Shape::Timestamptz) => plain(ColumnType::Timestamptz),
            Some(Shape::Formatted(fits)) => match FORMATS.get(fits.trailing_zeros() as usize) {
                Some(format) if fits.count_ones() == 1 => {
                    let column_type = if format.contains("%H") { ColumnType::Timestamp } else { ColumnType::Date };
                    Wanted { column_type, format: Some((*format).to_owned()) }
                }
                _ => plain(ColumnType::Text),
            },
        }
    }

    /// Which row made the type what it is; none for a column without a value.
    pub(crate) fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }

    /// Rows without a value.
    pub(crate) fn nulls(&self) -> u64 {
        self.nulls
    }

    fn decimal(&self) -> ColumnType {
        let digits = self.whole_digits + self.scale;
        let Ok(scale) = i8::try_from(self.scale) else { return ColumnType::Text };
        if digits <= usize::from(SHORT_DECIMAL_DIGITS) {
            ColumnType::Decimal(SHORT_DECIMAL_DIGITS, scale)
        } else if digits <= usize::from(MAX_DECIMAL_DIGITS) {
            ColumnType::Decimal(MAX_DECIMAL_DIGITS, scale)
        } else {
            ColumnType::Text
        }
    }
}

fn time_shape(text: &str, converter: &Converter<'_>) -> Shape {
    if date(text).is_some_and(|(_, rest)| rest.is_empty()) {
        return Shape::Date;
    }
    if naive(text).is_some_and(|(_, rest)| rest.is_empty()) || converter.timestamp(text, None).is_some() {
        return Shape::Timestamp;
    }
    if instant(text).is_some() {
        return Shape::Timestamptz;
    }
    let may_be_a_time = text.starts_with(|first: char| first.is_ascii_digit());
    let has_a_year = || text.split(|letter: char| !letter.is_ascii_digit()).any(|digits| digits.len() == YEAR_DIGITS);
    if !may_be_a_time || !has_a_year() {
        return Shape::Text;
    }
    let fits = (0..).zip(FORMATS).filter(|(_, format)| formatted_time(text, format).is_some());
    match fits.fold(0_u16, |fits, (number, _)| fits | 1 << number) {
        0 => Shape::Text,
        fits => Shape::Formatted(fits),
    }
}

/// The narrowest shape that holds both.
fn join(one: Shape, other: Shape) -> Shape {
    use Shape::{Date, Decimal, Double, Formatted, Integer, Text, Timestamp};
    match (one, other) {
        (one, other) if one == other => one,
        (Integer, Decimal) | (Decimal, Integer) => Decimal,
        (Integer | Decimal, Double) | (Double, Integer | Decimal) => Double,
        (Date, Timestamp) | (Timestamp, Date) => Timestamp,
        (Formatted(one), Formatted(other)) if one & other != 0 => Formatted(one & other),
        _ => Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(values: &[&str], from: u64) -> ColumnInference {
        let mut column = ColumnInference::default();
        let options = CsvOptions::default();
        for (line, value) in (from..).zip(values) {
            column.see(value.as_bytes(), false, (false, &options), || ("f.csv".to_owned(), line));
        }
        column
    }

    fn shown(column: &ColumnInference) -> String {
        let place =
            column.evidence().map_or("-".to_owned(), |evidence| format!("{}:{}", evidence.line, evidence.value));
        let wanted = column.wanted();
        let format = wanted.format.map_or(String::new(), |format| format!(" as {format}"));
        format!("{}{format} {place}", wanted.column_type)
    }

    #[test]
    fn types_are_narrow_and_their_evidence_is_named() {
        for (values, expected) in [
            (&["1", "-20", ""][..], "bigint 2:1"),
            (&["1", "007"], "text 3:007"),
            (&["0", "0.5"], "decimal(18,1) 3:0.5"),
            (&["1", "2.55", "3.125"], "decimal(18,3) 3:2.55"),
            (&["12345678901234567890"], "decimal(38,0) 2:12345678901234567890"),
            (&["1", "1e6"], "double 3:1e6"),
            (&["true", "f"], "boolean 2:true"),
            (&["1", "true"], "text 3:true"),
            (&["2026-01-01"], "date 2:2026-01-01"),
            (&["2026-01-01", "2026-01-01 10:00:00"], "timestamp 3:2026-01-01 10:00:00"),
            (&["2026-01-01T10:00:00Z"], "timestamptz 2:2026-01-01T10:00:00Z"),
            (&["2026-02-30"], "text 2:2026-02-30"),
            (&["536365", "C536379"], "text 3:C536379"),
            (&["+4912345"], "text 2:+4912345"),
            (&["", ""], "text -"),
        ] {
            assert_eq!(shown(&seen(values, 2)), expected, "{values:?}");
            // The same rows, each in a file of its own, say the same.
            let mut merged = ColumnInference::default();
            for (line, value) in (2..).zip(values) {
                merged.merge(seen(&[value], line));
            }
            assert_eq!(shown(&merged), expected, "{values:?} in files");
        }
    }

    #[test]
    fn a_format_is_found_when_exactly_one_fits_every_row() {
        for (values, expected) in [
            (&["12/1/2010 8:26", "12/13/2010 8:26"][..], "timestamp as %m/%d/%Y %H:%M 3:12/13/2010 8:26"),
            (&["12/1/2010 8:26", "13/1/2010 8:26"], "timestamp as %d/%m/%Y %H:%M 3:13/1/2010 8:26"),
            (&["12/1/2010 8:26"], "text 2:12/1/2010 8:26"),
            (&["13/1/2010", "1/13/2010"], "text 3:1/13/2010"),
            (&["31.12.2010"], "date as %d.%m.%Y 2:31.12.2010"),
            (&["31.12.10"], "text 2:31.12.10"),
            (&["2010/12/31 23:59:59"], "timestamp as %Y/%m/%d %H:%M:%S 2:2010/12/31 23:59:59"),
        ] {
            assert_eq!(shown(&seen(values, 2)), expected, "{values:?}");
        }
    }
}
