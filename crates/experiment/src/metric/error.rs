//! What can be wrong with a metric, so that the caller can name the key.
//!
//! In: nothing.  Out: [`MetricError`].
//! Never here: mistakes in the data (a value that is not a number is counted, see `pipeline::analyze`).
//! Start at [`MetricError`].

use domain::{ErrorKind, Problem};

use super::MetricKind;

/// A metric that cannot be planned. `key` is the key of the file that has to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    #[error("a metric of kind `{kind}` needs `{key}`", kind = kind.name())]
    Missing { kind: MetricKind, key: &'static str },
    #[error("a metric of kind `{kind}` has no `{key}`", kind = kind.name())]
    OutOfPlace { kind: MetricKind, key: &'static str },
    #[error("`{key}` is `{value}`, but must be {expected}")]
    BadValue { key: &'static str, value: String, expected: &'static str },
}

impl MetricError {
    /// The key of the file that has to change.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Missing { key, .. } | Self::OutOfPlace { key, .. } | Self::BadValue { key, .. } => key,
        }
    }
}

impl Problem for MetricError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing_key",
            Self::OutOfPlace { .. } => "key_out_of_place",
            Self::BadValue { .. } => "bad_value",
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Missing { key, .. } => format!("add `{key}`"),
            Self::OutOfPlace { key, .. } => format!("remove `{key}`, or choose another kind"),
            Self::BadValue { key, .. } => format!("change `{key}`"),
        })
    }
}
