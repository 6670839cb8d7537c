//! `als_init(ordinal, d, seed)`: the factors from which alternating least squares starts.
//!
//! In: the place of a row among all rows (0 for the first), the length of a vector, a seed.  Out: d numbers, normal with mean 0
//! and deviation 0.1/√d (Rendle et al. 2021); null where an argument is null.
//! The kernel in memory draws rows × d numbers one after the other from one stream. Here each number is a pure function of its
//! place in that stream, because SplitMix64's state is an arithmetic progression: the n-th state is the first plus n·γ. Rows may
//! therefore be made in any order and by any process, and are the same numbers.
//! Never here: a generator that is carried from row to row.
//! Start at [`normal`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Builder, ListBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::arguments::{Kind, check, coerced, vector_type, wholes};

const NAME: &str = "als_init";
const ARGUMENTS: [(&str, Kind); 3] = [("ordinal", Kind::Whole), ("d", Kind::Whole), ("seed", Kind::Whole)];

/// Longest vector: its triangle of sums is 34 MB, and no published recommender of this kind is longer than twice that.
const MAX_LENGTH: i64 = 4_096;

/// Standard deviation of a number, times √d.
const SPREAD: f64 = 0.1;

/// γ of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AlsInit {
    signature: Signature,
}

impl AlsInit {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for AlsInit {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(coerced(NAME, &ARGUMENTS, given))
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        check(NAME, &ARGUMENTS, given)?;
        Ok(vector_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let (ordinals, lengths, seeds) = (wholes(&columns[0])?, wholes(&columns[1])?, wholes(&columns[2])?);
        let mut vectors = ListBuilder::new(Float32Builder::new());
        for row in 0..ordinals.len() {
            if columns.iter().any(|column| column.is_null(row)) {
                vectors.append_null();
                continue;
            }
            let (ordinal, d) = (ordinals.value(row), lengths.value(row));
            if ordinal < 0 || !(1..=MAX_LENGTH).contains(&d) {
                return exec_err!(
                    "`als_init` got ordinal `{ordinal}` and length `{d}`; ordinals begin at 0, and a vector has 1 to {MAX_LENGTH} numbers"
                );
            }
            let start = first_state(seeds.value(row).cast_unsigned());
            let deviation = SPREAD / (d as f64).sqrt();
            let (ordinal, d) = (ordinal.cast_unsigned(), d.cast_unsigned());
            let first = ordinal.wrapping_mul(d);
            (0..d)
                .for_each(|k| vectors.values().append_value((normal(start, first.wrapping_add(k)) * deviation) as f32));
            vectors.append(true);
        }
        let vectors: ArrayRef = Arc::new(vectors.finish());
        Ok(ColumnarValue::Array(vectors))
    }
}

/// The state before the first number of a stream: one step on from the seed.
fn first_state(seed: u64) -> u64 {
    mixed(seed.wrapping_add(GAMMA))
}

/// The n-th normal number, n from 0 (Box & Muller 1958; the second number of each pair is dropped).
fn normal(start: u64, n: u64) -> f64 {
    let radius = (-2.0 * unit(start, n.wrapping_mul(2)).ln()).sqrt();
    radius * (2.0 * std::f64::consts::PI * unit(start, n.wrapping_mul(2).wrapping_add(1))).cos()
}

/// The n-th uniform number in (0, 1], n from 0: never zero, so that its logarithm is finite.
fn unit(start: u64, n: u64) -> f64 {
    let word = mixed(start.wrapping_add(n.wrapping_add(1).wrapping_mul(GAMMA)));
    ((word >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// SplitMix64's finaliser.
fn mixed(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_published_generator() {
        // The first outputs of SplitMix64 seeded with 1234567, as its authors' C code and Rosetta Code print them.
        let words = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423u64];
        for (n, word) in (1u64..).zip(words) {
            assert_eq!(mixed(1_234_567u64.wrapping_add(n.wrapping_mul(GAMMA))), word);
        }
    }

    #[test]
    fn numbers_are_normal() {
        let start = first_state(7);
        let draws: Vec<f64> = (0..20_000).map(|n| normal(start, n)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        // Standard errors at n = 20,000: .007 and .010; four of them are allowed.
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}
