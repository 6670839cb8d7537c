//! JavaScript's conversions and comparisons, as far as the SDKs' conditions rest on them (ECMA-262, sections 7.1 and 7.2).
//!
//! In: JSON values.  Out: text, numbers, truth and order as JavaScript has them.
//! Never here: what a condition means (see `condition`).
//! Start at [`text_of`].

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write;

use super::value::Value;

/// Whether JavaScript takes the value for true (ToBoolean). Empty lists and objects are.
pub fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => *number != 0.0 && !number.is_nan(),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// The text of a value (ToString): a list is its parts joined by commas, an object is `[object Object]`.
pub fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed("null"),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Number(number) => Cow::Owned(NumberText::new(*number).as_str().to_owned()),
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(values) => Cow::Owned(join(values)),
        Value::Object(_) => Cow::Borrowed("[object Object]"),
    }
}

/// Array.prototype.join: `null` inside a list is nothing.
fn join(values: &[Value]) -> String {
    let mut text = String::new();
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        if !value.is_null() {
            text.push_str(&text_of(value));
        }
    }
    text
}

/// The text of a number, on the stack.
#[derive(Debug)]
pub(crate) struct NumberText {
    bytes: [u8; 32],
    length: usize,
}

impl Write for NumberText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl NumberText {
    /// Number::toString with radix 10 (ECMA-262, 6.1.6.1.20): the shortest digits that read back as the same number.
    pub(crate) fn new(number: f64) -> Self {
        let mut text = Self { bytes: [0; 32], length: 0 };
        // At most 25 characters: a sign, 17 digits, a point, `e-324`; or 21 digits and a sign; or `0.000000` and 17 digits.
        let _ = text.fill(number);
        text
    }

    fn fill(&mut self, number: f64) -> std::fmt::Result {
        if number.is_nan() {
            return self.write_str("NaN");
        }
        if number.is_infinite() {
            return self.write_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
        }
        // Whole numbers below 2^53 have no shorter digits than their own.
        if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
            return write!(self, "{}", number as i64);
        }
        let mut scientific = Self { bytes: [0; 32], length: 0 };
        write!(scientific, "{:e}", number.abs())?;
        let (mantissa, exponent) = scientific.as_str().split_once('e').ok_or(std::fmt::Error)?;
        let exponent: i32 = exponent.parse().map_err(|_| std::fmt::Error)?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if number < 0.0 {
            self.write_str("-")?;
        }
        self.place_digits(whole, fraction, exponent)
    }

    /// `whole.fraction · 10^exponent`, with one digit in `whole`.
    fn place_digits(&mut self, whole: &str, fraction: &str, exponent: i32) -> std::fmt::Result {
        if !(-6..21).contains(&exponent) {
            let point = if fraction.is_empty() { "" } else { "." };
            let sign = if exponent < 0 { '-' } else { '+' };
            return write!(self, "{whole}{point}{fraction}e{sign}{}", exponent.abs());
        }
        if exponent < 0 {
            self.write_str("0.")?;
            (1..-exponent).try_for_each(|_| self.write_str("0"))?;
            return write!(self, "{whole}{fraction}");
        }
        let shift = exponent as usize;
        if fraction.len() <= shift {
            write!(self, "{whole}{fraction}")?;
            return (fraction.len()..shift).try_for_each(|_| self.write_str("0"));
        }
        write!(self, "{whole}{}.{}", &fraction[..shift], &fraction[shift..])
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }
}

/// White space of JavaScript: WhiteSpace and LineTerminator of ECMA-262, 12.2 and 12.3.
pub(crate) fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}'
    )
}

/// Line ends of JavaScript, which `.` of a regular expression does not match.
pub(crate) fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

/// The number of a value (ToNumber); what is no number is NaN.
pub fn number_of(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Number(number) => *number,
        Value::String(text) => number_of_text(text),
        Value::Array(values) => number_of_text(&join(values)),
        Value::Object(_) => f64::NAN,
    }
}

/// StringToNumber (ECMA-262, 7.1.4.1.1).
fn number_of_text(text: &str) -> f64 {
    let text = text.trim_matches(is_space);
    if text.is_empty() {
        return 0.0;
    }
    let radix = match text.get(..2) {
        Some("0x" | "0X") => 16,
        Some("0o" | "0O") => 8,
        Some("0b" | "0B") => 2,
        Some(_) | None => return decimal(text),
    };
    whole_number(&text[2..], radix)
}

fn decimal(text: &str) -> f64 {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits == "Infinity" {
        return if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // Rust reads `inf`, `infinity` and `nan` too, which JavaScript does not.
    if !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
        return f64::NAN;
    }
    text.parse().unwrap_or(f64::NAN)
}

/// Digits of a radix that is a power of two, rounded once to the nearest double, ties to even.
fn whole_number(digits: &str, radix: u32) -> f64 {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return f64::NAN;
    }
    let digits = digits.trim_start_matches('0');
    let bits = radix.trailing_zeros();
    let (mut head, mut rest_bits, mut lost) = (0_u128, 0_u32, false);
    for digit in digits.chars().filter_map(|c| c.to_digit(radix)) {
        if head >> 120 == 0 {
            head = head << bits | u128::from(digit);
        } else {
            rest_bits = rest_bits.saturating_add(bits);
            lost |= digit != 0;
        }
    }
    // A digit lost beyond 120 bits only decides ties, as a set last bit does.
    let head = head | u128::from(lost);
    head as f64 * f64::powi(2.0, i32::try_from(rest_bits).unwrap_or(i32::MAX))
}

/// `a === b`. Lists and objects are never the same: one comes from the payload, one from the unit.
pub fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
            _,
        ) => false,
    }
}

/// `a < b`, `a > b` or neither of them (IsLessThan, ECMA-262, 7.2.12); `None` when a side is no number.
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    if let (Value::Number(a), Value::Number(b)) = (a, b) {
        return a.partial_cmp(b);
    }
    let is_text = |value: &Value| matches!(value, Value::String(_) | Value::Array(_) | Value::Object(_));
    if is_text(a) && is_text(b) {
        return Some(compare_text(&text_of(a), &text_of(b)));
    }
    number_of(a).partial_cmp(&number_of(b))
}

/// Order by UTF-16 code units. It differs from that of UTF-8 only where one side is beyond U+FFFF.
pub fn compare_text(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// `JSON.stringify(value)`, or the value itself if it is text: how the SDKs name a unit in a sticky document.
pub fn document_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Number(_) | Value::Null | Value::Bool(_) => text_of(value),
        Value::Array(_) | Value::Object(_) => {
            let mut out = String::new();
            write_json(value, &mut out);
            Cow::Owned(out)
        }
    }
}

/// `JSON.stringify(value)`: numbers as JavaScript writes them.
fn write_json(value: &Value, out: &mut String) {
    let separate = |i: usize, out: &mut String| out.push_str(if i > 0 { "," } else { "" });
    match value {
        Value::String(text) => out.push_str(&serde_json::to_string(text).unwrap_or_default()),
        Value::Number(_) | Value::Null | Value::Bool(_) => out.push_str(&text_of(value)),
        Value::Array(values) => {
            out.push('[');
            for (i, value) in values.iter().enumerate() {
                separate(i, out);
                write_json(value, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            for (i, (key, value)) in object.iter().enumerate() {
                separate(i, out);
                out.push_str(&serde_json::to_string(key).unwrap_or_default());
                out.push(':');
                write_json(value, out);
            }
            out.push('}');
        }
    }
}

/// `parseInt(text)`: white space, a sign, `0x`, digits; what follows is ignored. `None` is NaN.
pub(crate) fn parse_int(text: &str) -> Option<f64> {
    let text = text.trim_start_matches(is_space);
    let negative = text.starts_with('-');
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (radix, text) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(rest) => (16, rest),
        None => (10, text),
    };
    let end = text.find(|c: char| !c.is_digit(radix)).unwrap_or(text.len());
    let digits = &text[..end];
    if digits.is_empty() {
        return None;
    }
    let number = if radix == 16 { whole_number(digits, 16) } else { digits.parse().unwrap_or(f64::NAN) };
    Some(if negative { -number } else { number })
}

/// The index of an array that a key stands for: the canonical text of a number below 2³² − 1.
pub(crate) fn array_index(key: &str) -> Option<u32> {
    if !matches!(key.as_bytes(), [b'0'] | [b'1'..=b'9', ..]) || key.len() > 10 {
        return None;
    }
    key.parse().ok().filter(|&index| index != u32::MAX)
}

/// A version as text that compares like the version: parts of digits padded to five places, a release above its candidates.
/// Source: `paddedVersionString` of the SDKs. What is neither text nor number counts as `0`.
pub(crate) fn padded_version(value: &Value) -> String {
    let number;
    let text = match value {
        Value::Number(n) => {
            number = NumberText::new(*n);
            number.as_str()
        }
        Value::String(text) if !text.is_empty() => text,
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => "0",
    };
    let text = text.strip_prefix('v').unwrap_or(text);
    // Build information: from the first `+` that has no line end behind it.
    let last_line = text.rfind(is_line_end).unwrap_or(0);
    let end = text[last_line..].find('+').map_or(text.len(), |at| last_line + at);
    let parts = text[..end].split(['-', '.']);
    let release = parts.clone().count() == 3;
    let mut padded = String::with_capacity(text.len() + 24);
    for (i, part) in parts.chain(release.then_some("~")).enumerate() {
        if i > 0 {
            padded.push('-');
        }
        if !part.is_empty() && part.len() < 5 && part.bytes().all(|b| b.is_ascii_digit()) {
            (part.len()..5).for_each(|_| padded.push(' '));
        }
        padded.push_str(part);
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        // Each expected text is what `String(number)` gives in Node 20.
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (123456789012345680000.0, "123456789012345680000"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (1e-7, "1e-7"),
            (1.25e-7, "1.25e-7"),
            (5e-324, "5e-324"),
            (-1.7976931348623157e308, "-1.7976931348623157e+308"),
            (9007199254740993.0, "9007199254740992"),
            (4.35, "4.35"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(NumberText::new(number).as_str(), text);
        }
    }

    #[test]
    fn text_is_read_as_a_number_as_javascript_reads_it() {
        // `Number(text)` in Node 20.
        for (text, number) in [
            ("", 0.0),
            (" \n\u{feff}12 ", 12.0),
            ("0x1F", 31.0),
            ("0b101", 5.0),
            ("0o17", 15.0),
            ("-Infinity", f64::NEG_INFINITY),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("0x20000000000001", 9007199254740992.0),
            ("0x20000000000003", 9007199254740996.0),
        ] {
            assert_eq!(number_of(&Value::from(text)), number, "{text}");
        }
        for text in ["inf", "nan", "1_000", "0x", "-0x1", "1e", ".", "+-1", "1 2", "infinity", "é", "0x1é"] {
            assert!(number_of(&Value::from(text)).is_nan(), "{text}");
        }
        assert_eq!(number_of(&Value::Array(vec![Value::from("5")])), 5.0);
        assert!(number_of(&Value::Array(vec![Value::from(1.0), Value::from(2.0)])).is_nan());
    }

    #[test]
    fn versions_are_padded_as_the_sdks_pad_them() {
        // `paddedVersionString(text)` of the JavaScript SDK 1.8.0.
        for (text, padded) in [
            ("v1.2.3-rc.1+build123", "    1-    2-    3-rc-    1"),
            ("1.0.0", "    1-    0-    0-~"),
            ("1.0", "    1-    0"),
            ("123456.1", "123456-    1"),
            ("", "    0"),
            ("+x", ""),
            ("1+a\nb", "1+a\nb"),
        ] {
            assert_eq!(padded_version(&Value::from(text)), padded, "{text}");
        }
        assert_eq!(padded_version(&Value::Bool(true)), "    0");
        assert_eq!(padded_version(&Value::from(1.5)), "    1-    5");
    }

    #[test]
    fn json_is_written_as_javascript_writes_it() {
        let text = r#"{"1":[9007199254740993,1e21,0.5,-0],"a":"\n\u2028\u001f\"é","b":{}}"#;
        let value = serde_json::from_str(text).unwrap();
        // JSON.stringify(JSON.parse(text)) in Node 20.
        let expected = "{\"1\":[9007199254740992,1e+21,0.5,0],\"a\":\"\\n\u{2028}\\u001f\\\"é\",\"b\":{}}";
        assert_eq!(document_text(&value), expected);
    }

    #[test]
    fn text_beyond_the_basic_plane_sorts_by_code_units() {
        assert_eq!(compare_text("\u{1f600}", "\u{ff5e}"), Ordering::Less);
        assert_eq!(compare(&Value::from("5"), &Value::from(10.0)), Some(Ordering::Less));
        assert_eq!(compare(&Value::from("5"), &Value::from("10")), Some(Ordering::Greater));
        assert_eq!(compare(&Value::from("x"), &Value::from(10.0)), None);
    }
}
