//! The proof of an extraction: per column a count and a checksum that the source has computed over its own rows.
//!
//! In: what a database answers.  Out: [`SourceProof`] in the manifest; COPY computes the same over the rows it has loaded and compares.
//! A checksum is a sum of hashes of single cells, so the order of rows does not matter and parts of a table add up. Each cell is hashed
//! in a form ([`CellForm`]) that both sides can make exactly: what SQL prints, or what the server's protocol sends.
//! Never here: SQL (`connect`), Arrow (`warehouse`).
//! Start at [`SourceProof`]; the forms are in [`CellForm`].

use std::fmt::Write as _;

/// What the source says about the rows of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceProof {
    pub hash: ProofHash,
    pub rows: u64,
    /// In the order of the table's columns.
    pub columns: Vec<ColumnProof>,
}

/// Count and checksum of one column.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnProof {
    /// The column's name at the source.
    pub column: String,
    pub form: CellForm,
    #[serde(flatten)]
    pub checksum: Checksum,
}

/// A checksum that does not depend on the order of its cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checksum {
    /// Cells that are not null.
    pub cells: u64,
    /// Sum of the cells' hashes, modulo 2^64.
    pub sum: u64,
}

impl Checksum {
    /// Counts one more cell.
    pub fn add(&mut self, hash: u64) {
        self.cells += 1;
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Takes in another part of the same column.
    pub fn merge(&mut self, other: Self) {
        self.cells += other.cells;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// The hash of a cell: one that the server's SQL can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofHash {
    /// `CRC32` of MySQL and MariaDB: IEEE 802.3, 32 bits.
    Crc32,
    /// The first 60 bits of MD5; PostgreSQL has no shorter hash whose definition is public.
    Md5,
}

/// What of a cell is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CellForm {
    /// Decimal digits with a sign; true is 1.
    Integer,
    /// Digits with exactly this many behind the point.
    Decimal {
        scale: u8,
    },
    /// As [`mantissa_and_exponent`] writes it; a FLOAT as the double of the same value.
    MantissaAndExponent,
    /// IEEE 754 bytes, big-endian; 4 of them for single precision.
    Float,
    Double,
    /// `2024-02-29`.
    Date,
    /// `2024-02-29 13:45:00` and this many digits of a second.
    DateTime {
        digits: u8,
    },
    /// `[-]838:59:59` and this many digits of a second.
    Time {
        digits: u8,
    },
    /// Days since 2000-01-01 as 4 bytes, big-endian: PostgreSQL's `date_send`.
    Days,
    /// Microseconds since 2000-01-01 as 8 bytes: `timestamp_send`.
    Micros,
    /// Microseconds since midnight as 8 bytes: `time_send`.
    MicrosOfDay,
    /// The text itself, in UTF-8.
    Text,
    /// The bytes themselves.
    Bytes,
}

/// A double as `[-]<mantissa>p<exponent>`, with a mantissa of exactly 53 bits: value = mantissa · 2^(exponent − 52). Both zeros are `0`.
///
/// Not the decimal form: what `CONCAT(d)` prints depends on the server's release and on the width of the column (`my_gcvt` in MariaDB's
/// `strings/dtoa.c` pads with zeros, and rounds the last of seventeen digits in its own way). Not for NaN and infinities, which MySQL
/// does not have.
pub fn mantissa_and_exponent(number: f64, text: &mut String) {
    if number == 0.0 {
        text.push('0');
        return;
    }
    let bits = number.abs().to_bits();
    let (biased, fraction) = (i64::try_from(bits >> 52).unwrap_or(0), bits & ((1 << 52) - 1));
    let (mantissa, exponent) = if biased == 0 {
        // Subnormal: shifted until the first bit stands where it does in all others.
        let shift = fraction.leading_zeros() - 11;
        (fraction << shift, -1022 - i64::from(shift))
    } else {
        (fraction | 1 << 52, biased - 1023)
    };
    let sign = if number < 0.0 { "-" } else { "" };
    let _ = write!(text, "{sign}{mantissa}p{exponent}");
}

/// A day as MySQL prints it. Proleptic Gregorian calendar.
///
/// Source of the calendar: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
pub fn date_text(days_since_1970: i64, text: &mut String) {
    let days = days_since_1970 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let _ = write!(text, "{year:04}-{month:02}-{day:02}");
}

/// A length of time in microseconds as MySQL prints a TIME.
pub fn time_text(micros: i64, digits: u8, text: &mut String) {
    if micros < 0 {
        text.push('-');
    }
    let length = micros.unsigned_abs();
    let (seconds, fraction) = (length / 1_000_000, length % 1_000_000);
    let _ = write!(text, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if digits > 0 {
        let fraction = format!("{fraction:06}");
        text.push('.');
        text.push_str(fraction.get(..usize::from(digits.min(6))).unwrap_or(&fraction));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_taken_apart_exactly() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "4503599627370496p0"),
            (-3.0, "-6755399441055744p1"),
            (f64::MAX, "9007199254740991p1023"),
            (f64::MIN_POSITIVE, "4503599627370496p-1022"),
            (5e-324, "4503599627370496p-1074"),
        ] {
            let mut found = String::new();
            mantissa_and_exponent(number, &mut found);
            assert_eq!(found, text, "{number:e}");
        }
    }

    #[test]
    fn dates_and_times_are_printed_as_the_server_does() {
        let shown = |days| {
            let mut text = String::new();
            date_text(days, &mut text);
            text
        };
        assert_eq!(
            [shown(0), shown(19_782), shown(2_932_896), shown(-719_162)],
            ["1970-01-01", "2024-02-29", "9999-12-31", "0001-01-01"]
        );
        let shown = |micros, digits| {
            let mut text = String::new();
            time_text(micros, digits, &mut text);
            text
        };
        assert_eq!(shown(-3_020_399_000_000, 0), "-838:59:59");
        assert_eq!(shown(-1, 6), "-00:00:00.000001");
        assert_eq!(shown(1_990_000, 2), "00:00:01.99");
    }

    #[test]
    fn a_checksum_adds_up_over_parts() {
        let of = |hashes: &[u64]| {
            let mut sum = Checksum::default();
            hashes.iter().for_each(|hash| sum.add(*hash));
            sum
        };
        let mut parts = of(&[1, 2]);
        parts.merge(of(&[3]));
        assert_eq!(parts, of(&[3, 1, 2]));
        assert_ne!(of(&[1, 1]), of(&[]));
    }
}
