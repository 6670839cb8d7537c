//! From a unit to a number in [0, 1), and from that number to a variant.
//!
//! In: a seed, the unit's value, ranges.  Out: a bucket and the position of a variant.
//! Never here: which rule asks (see `evaluate`).
//! Start at [`bucket`].

use super::javascript::{self, NumberText};
use super::value::Value;

/// FNV-1a, 32 bits, over UTF-16 code units as GrowthBook's SDKs take them, not over UTF-8 bytes.
/// Source: Fowler, Noll & Vo, draft-eastlake-fnv; offset basis and prime of 32 bits.
#[derive(Debug, Clone, Copy)]
struct Fnv(u32);

impl Fnv {
    const fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn add(self, text: &str) -> Self {
        let step = |hash: u32, unit: u32| (hash ^ unit).wrapping_mul(0x0100_0193);
        let bytes = text.as_bytes();
        let ascii = bytes.iter().position(|b| !b.is_ascii()).unwrap_or(bytes.len());
        let hash = bytes[..ascii].iter().fold(self.0, |hash, &byte| step(hash, u32::from(byte)));
        Self(text[ascii..].encode_utf16().fold(hash, |hash, unit| step(hash, u32::from(unit))))
    }

    /// Adds a value as JavaScript concatenates it to text.
    fn add_value(self, value: &Value) -> Self {
        match value {
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add(NumberText::new(*number).as_str()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => self.add(&javascript::text_of(value)),
        }
    }

    /// Adds a number's decimal digits.
    fn add_decimal(self, number: u32) -> Self {
        let mut digits = [0_u8; 10];
        let (mut rest, mut at) = (number, digits.len());
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        Self(digits[at..].iter().fold(self.0, |hash, &digit| (hash ^ u32::from(digit)).wrapping_mul(0x0100_0193)))
    }
}

/// How a unit becomes a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashVersion {
    /// Thousandths, biased between experiments of similar seeds; kept for old payloads.
    V1,
    /// Ten-thousandths, hashed twice.
    V2,
    /// A version that this code does not know: nobody is assigned.
    Unknown,
}

impl HashVersion {
    /// The version that a payload's number names.
    pub fn of(number: f64) -> Self {
        if number == 1.0 {
            Self::V1
        } else if number == 2.0 {
            Self::V2
        } else {
            Self::Unknown
        }
    }
}

/// The bucket of a unit in [0, 1); `None` for an unknown version.
pub fn bucket(seed: &str, value: &Value, version: HashVersion) -> Option<f64> {
    match version {
        HashVersion::V1 => Some(f64::from(Fnv::new().add_value(value).add(seed).0 % 1000) / 1000.0),
        HashVersion::V2 => {
            let inner = Fnv::new().add(seed).add_value(value).0;
            Some(f64::from(Fnv::new().add_decimal(inner).0 % 10_000) / 10_000.0)
        }
        HashVersion::Unknown => None,
    }
}

/// A half-open range [start, end) of buckets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The first bucket inside.
    pub start: f64,
    /// The first bucket behind.
    pub end: f64,
}

impl Range {
    /// Whether a bucket lies inside.
    pub fn contains(self, bucket: f64) -> bool {
        bucket >= self.start && bucket < self.end
    }
}

/// Equal shares for `n` variants.
pub fn equal_weights(n: usize) -> Vec<f64> {
    vec![1.0 / n as f64; n]
}

/// One range per variant: cumulative starts, widths of `coverage` · weight. Weights become equal when their number is wrong or their sum lies
/// outside [0.99, 1.01]; `coverage` is brought into [0, 1].
pub fn bucket_ranges(variants: usize, coverage: f64, weights: Option<&[f64]>) -> Vec<Range> {
    let coverage = coverage.clamp(0.0, 1.0);
    let equal = equal_weights(variants);
    let usable = |weights: &&[f64]| {
        let total = weights.iter().fold(0.0, |sum, weight| sum + weight);
        weights.len() == variants && (0.99..=1.01).contains(&total)
    };
    let mut cumulative = 0.0;
    weights
        .filter(usable)
        .unwrap_or(&equal)
        .iter()
        .map(|weight| {
            let start = cumulative;
            cumulative += weight;
            Range { start, end: start + coverage * weight }
        })
        .collect()
}

/// The first range that holds the bucket.
pub fn choose(bucket: f64, ranges: &[Range]) -> Option<usize> {
    ranges.iter().position(|range| range.contains(bucket))
}

/// A slot of the old kind, on hash version 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespace {
    /// `__` and the name.
    seed: Box<str>,
    range: Range,
}

impl Namespace {
    /// The slot `range` of the namespace `name`.
    pub fn new(name: &str, range: Range) -> Self {
        Self { seed: format!("__{name}").into(), range }
    }

    /// Whether the unit lies in the slot.
    pub fn contains(&self, value: &Value) -> bool {
        bucket(&self.seed, value, HashVersion::V1).is_some_and(|bucket| self.range.contains(bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_beyond_ascii_is_hashed_by_utf16_units() {
        // Values of the JavaScript and Python SDKs; over UTF-8 bytes the last three of v2 would be .9593, .1001 and .6493.
        for (text, v2, v1, fnv) in [
            ("abc", 0.8181, 0.038, 440_920_331),
            ("é", 0.8663, 0.137, 1_812_687_940),
            ("用户", 0.5360, 0.445, 3_303_804_768),
            ("😀", 0.4346, 0.429, 3_409_036_472),
        ] {
            let value = Value::from(text);
            assert_eq!(bucket("seed", &value, HashVersion::V2), Some(v2), "{text}");
            assert_eq!(bucket("seed", &value, HashVersion::V1), Some(v1), "{text}");
            assert_eq!(Fnv::new().add(text).0, fnv, "{text}");
        }
    }

    #[test]
    fn values_that_are_no_text_are_hashed_as_javascript_writes_them() {
        let list = Value::Array(vec![Value::from(1.0), Value::Null, Value::from("b")]);
        for (value, text) in [(Value::from(12.5), "12.5"), (Value::from(true), "true"), (list, "1,,b")] {
            assert_eq!(bucket("s", &value, HashVersion::V2), bucket("s", &Value::from(text), HashVersion::V2));
        }
    }
}
