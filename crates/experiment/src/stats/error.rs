//! What can be wrong with numbers that a formula is asked to take.
//!
//! In: nothing.  Out: [`StatisticsError`] with kind, code and next step.
//! Never here: results that say "not enough yet" (those are values, see `decision`).
//! Start at [`StatisticsError`].

use domain::{ErrorKind, Problem};

/// What can go wrong while computing a statistic. Every case names the value and what it must be instead.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatisticsError {
    #[error("`{name}` is `{value}`, but must be {expected}")]
    BadValue { name: &'static str, value: String, expected: &'static str },
    #[error("`{name}` of row {row} is `{value}`, but must be {expected}")]
    BadRow { row: usize, name: &'static str, value: String, expected: &'static str },
    #[error("there are {found} {what}, and at least {needed} are needed")]
    TooFew { what: &'static str, found: usize, needed: usize },
    #[error("`{one}` has {first} entries and `{other}` has {second}; give one of each per entry")]
    UnequalLengths { one: &'static str, first: usize, other: &'static str, second: usize },
    #[error(
        "the {quantile} quantile of all units is `{cap}` although some values are larger; cap over non-zero values only"
    )]
    CapsEverything { quantile: f64, cap: f64 },
}

impl Problem for StatisticsError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadValue { .. } => "bad_value",
            Self::BadRow { .. } => "bad_row",
            Self::TooFew { .. } => "too_few",
            Self::UnequalLengths { .. } => "unequal_lengths",
            Self::CapsEverything { .. } => "caps_everything",
        }
    }
}

/// `value` if it is what `expected` says.
pub(crate) fn require<T: std::fmt::Display + Copy>(
    name: &'static str,
    value: T,
    is_right: bool,
    expected: &'static str,
) -> Result<T, StatisticsError> {
    if is_right { Ok(value) } else { Err(StatisticsError::BadValue { name, value: value.to_string(), expected }) }
}

/// A share strictly between 0 and 1, such as a significance level.
pub(crate) fn require_share(name: &'static str, value: f64) -> Result<f64, StatisticsError> {
    require(name, value, value > 0.0 && value < 1.0, "between 0 and 1, both excluded")
}

/// A finite number above zero, such as a standard error.
pub(crate) fn require_positive(name: &'static str, value: f64) -> Result<f64, StatisticsError> {
    require(name, value, value > 0.0 && value.is_finite(), "a finite number above 0")
}

/// A finite number.
pub(crate) fn require_finite(name: &'static str, value: f64) -> Result<f64, StatisticsError> {
    require(name, value, value.is_finite(), "a finite number")
}

/// At least `needed` of `what`.
pub(crate) fn require_count(what: &'static str, found: usize, needed: usize) -> Result<(), StatisticsError> {
    if found >= needed { Ok(()) } else { Err(StatisticsError::TooFew { what, found, needed }) }
}
