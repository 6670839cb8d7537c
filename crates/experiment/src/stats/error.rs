//! Why a figure does not exist.
//!
//! In: what was found.  Out: one sentence with the value and the next step; results pages print it in place of the figure.
//! Never here: failures of storage or transport; nothing here does I/O.
//! Start at [`StatsError`].

use domain::{ErrorKind, Problem};

/// Why nothing can be said from the given statistics.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    #[error("`{name}` is `{value}`, not a finite number; check the query behind the metric")]
    NotFinite { name: &'static str, value: f64 },
    #[error("`{name}` is `{value}`; it must be {allowed}")]
    OutOfRange { name: &'static str, value: f64, allowed: &'static str },
    #[error("an arm has `{n}` units and {least} are the least that can be compared; wait for more exposures")]
    TooFewUnits { n: u64, least: u64 },
    #[error("the outcome is the same for every unit, so that its noise is unknown; check the filter of the metric")]
    NoVariance,
    #[error(
        "the bounds of the quantile coincide in an arm, so that its noise is unknown; wait for more exposures, or choose a mean or a share"
    )]
    NoQuantileNoise,
    #[error("the control mean is zero, so that a relative lift does not exist; look at the absolute difference")]
    ZeroBaseline,
    #[error(
        "a relative lift on the log scale needs two means above zero, and one is `{mean}`; use the plain relative lift"
    )]
    NotPositive { mean: f64 },
    #[error("the denominator of the ratio sums to zero in an arm; check the denominator of the metric")]
    ZeroDenominator,
    #[error("one arm holds a `{control}` statistic and the other a `{treatment}`; compute both with one definition")]
    MixedStatistics { control: &'static str, treatment: &'static str },
    #[error("a `{kind}` metric cannot be {what}; look at the plain comparison")]
    Unsupported { kind: &'static str, what: &'static str },
    #[error("the columns of the regression depend on each other; drop a covariate")]
    Singular,
    #[error("`{name}` has `{found}` entries where `{expected}` are needed; give one per row")]
    UnequalLengths { name: &'static str, expected: usize, found: usize },
    #[error("`{name}` of row {row} is `{value}`; it must be {allowed}")]
    BadRow { row: usize, name: &'static str, value: f64, allowed: &'static str },
    #[error("there are {found} {what}, and at least {needed} are needed")]
    TooFew { what: &'static str, found: usize, needed: usize },
    #[error("the {quantile} quantile of all units is zero although some are not; cap over the units that are not zero")]
    CapsEverything { quantile: f64 },
    #[error("`{name}` is missing, and this estimator needs it; give it or choose another estimator")]
    Missing { name: &'static str },
}

/// Mostly it is shown in the place of the figure. Where it ends a request, the caller has given what is none, or the data say no.
impl Problem for StatsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFinite { .. }
            | Self::OutOfRange { .. }
            | Self::MixedStatistics { .. }
            | Self::Unsupported { .. }
            | Self::UnequalLengths { .. }
            | Self::BadRow { .. }
            | Self::TooFew { .. }
            | Self::Missing { .. } => ErrorKind::Invalid,
            Self::TooFewUnits { .. }
            | Self::NoVariance
            | Self::NoQuantileNoise
            | Self::ZeroBaseline
            | Self::NotPositive { .. }
            | Self::ZeroDenominator
            | Self::Singular
            | Self::CapsEverything { .. } => ErrorKind::Refused,
        }
    }

    fn code(&self) -> &'static str {
        if self.kind() == ErrorKind::Refused { "no_figure" } else { "invalid_statistics" }
    }
}

/// Passes a finite number on.
pub(crate) fn finite(name: &'static str, value: f64) -> Result<f64, StatsError> {
    if value.is_finite() { Ok(value) } else { Err(StatsError::NotFinite { name, value }) }
}

/// Passes a share strictly between 0 and 1 on, such as α.
pub(crate) fn open_share(name: &'static str, value: f64) -> Result<f64, StatsError> {
    if value > 0.0 && value < 1.0 {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange { name, value, allowed: "above 0 and below 1" })
    }
}

/// Passes a finite number above zero on.
pub(crate) fn positive(name: &'static str, value: f64) -> Result<f64, StatsError> {
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange { name, value, allowed: "above 0 and finite" })
    }
}

/// Passes a value on that `is_allowed`.
pub(crate) fn allowed(
    name: &'static str,
    value: f64,
    is_allowed: bool,
    allowed: &'static str,
) -> Result<f64, StatsError> {
    if is_allowed { Ok(value) } else { Err(StatsError::OutOfRange { name, value, allowed }) }
}

/// At least `needed` of `what`.
pub(crate) fn enough(what: &'static str, found: usize, needed: usize) -> Result<(), StatsError> {
    if found >= needed { Ok(()) } else { Err(StatsError::TooFew { what, found, needed }) }
}

/// One entry for each of `expected`.
pub(crate) fn same_length(name: &'static str, found: usize, expected: usize) -> Result<(), StatsError> {
    if found == expected { Ok(()) } else { Err(StatsError::UnequalLengths { name, expected, found }) }
}

/// Names the row whose value is not allowed.
pub(crate) fn row_allowed(
    row: usize,
    name: &'static str,
    value: f64,
    is_allowed: bool,
    allowed: &'static str,
) -> Result<(), StatsError> {
    if is_allowed { Ok(()) } else { Err(StatsError::BadRow { row, name, value, allowed }) }
}
