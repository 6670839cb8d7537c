//! How an evaluation is done: which protocol, which lists are measured, how intervals are made.
//!
//! In: the `[evaluate]` table or a flag.  Out: a [`Protocol`] whose numbers are within range.
//! Never here: who is held out (see `split`), what is measured (see `metrics`).
//! Start at [`Protocol`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::RecommendError;

/// What is held out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolKind {
    /// Everything after a moment, for everybody.
    #[default]
    Time,
    /// Whole users, of whom a part of the history is told (Liang et al. 2018).
    Strong,
    /// The last basket of each user.
    Last,
}

impl ProtocolKind {
    /// Every kind, the default first.
    pub const ALL: [Self; 3] = [Self::Time, Self::Strong, Self::Last];

    /// The name in files, flags and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Strong => "strong",
            Self::Last => "last",
        }
    }

    /// One sentence for the reader of a report: what the protocol does, and what it cannot tell.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Time => {
                "Global split in time: trained on everything before a cut and measured on what the same users chose after it, \
                 as in operation; it cannot tell how lists do in another season than the one after the cut, nor for users \
                 who did not come back."
            }
            Self::Strong => {
                "Strong generalisation (Liang et al. 2018): trained without the measured users, who are then recommended to \
                 from about 80 % of their baskets and measured on the others; it ignores time, so it cannot tell how well \
                 tomorrow is foretold from today."
            }
            Self::Last => {
                "Leave-last-out: trained on everything but each user's last basket, which is to be found; other users' \
                 training events lie after it, so it leaks their future and cannot tell how well a recommender does that \
                 knows only the past."
            }
        }
    }
}

impl fmt::Display for ProtocolKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for ProtocolKind {
    type Err = RecommendError;

    fn from_str(text: &str) -> Result<Self, RecommendError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| RecommendError::BadProtocol {
            name: "protocol",
            value: text.to_owned(),
            expected: "`time`, `strong` or `last`",
        })
    }
}

/// How an evaluation is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    pub kind: ProtocolKind,
    /// Lengths k of the lists that are measured.
    pub cutoffs: Vec<usize>,
    /// Bootstrap resamples behind each interval.
    pub resamples: usize,
    /// `time`: share of events before the first cut. `strong`: share of users that are trained on. `last` does not need it.
    pub train_share: f64,
    /// `time`: share of events before the second cut. `strong`: the same of users, validation users included.
    pub validation_share: f64,
    pub seed: u64,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            kind: ProtocolKind::Time,
            cutoffs: vec![10, 20, 50, 100],
            resamples: 1_000,
            train_share: 0.8,
            validation_share: 0.9,
            seed: 42,
        }
    }
}

/// More than this is not a list anybody reads, and each cut-off costs time and memory per user.
const MAX_CUTOFF: usize = 1_000;

/// Enough for a stable 95 % interval many times over.
const MAX_RESAMPLES: usize = 100_000;

impl Protocol {
    /// Checks ranges.
    pub fn validate(&self) -> Result<(), RecommendError> {
        let bad = |name, value: String, expected| Err(RecommendError::BadProtocol { name, value, expected });
        if self.cutoffs.is_empty() || self.cutoffs.iter().any(|k| *k == 0 || *k > MAX_CUTOFF) {
            return bad("cutoffs", format!("{:?}", self.cutoffs), "one or more numbers between 1 and 1000");
        }
        if self.resamples == 0 || self.resamples > MAX_RESAMPLES {
            return bad("resamples", self.resamples.to_string(), "between 1 and 100000");
        }
        let is_rising = self.train_share > 0.0 && self.train_share < self.validation_share;
        if !is_rising {
            return bad("train_share", self.train_share.to_string(), "above 0 and below `validation_share`");
        }
        if self.validation_share.is_nan() || self.validation_share >= 1.0 {
            return bad("validation_share", self.validation_share.to_string(), "below 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_as_they_are_read() {
        for kind in ProtocolKind::ALL {
            assert_eq!(kind.to_string().parse::<ProtocolKind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert!(kind.explanation().contains("cannot tell"));
        }
        let error = "random".parse::<ProtocolKind>().unwrap_err().to_string();
        assert_eq!(error, "evaluation option `protocol` is `random`, but must be `time`, `strong` or `last`");
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let verdict = |protocol: Protocol| protocol.validate().map_err(|error| error.to_string());
        assert!(verdict(Protocol::default()).is_ok());
        let late = verdict(Protocol { train_share: 0.95, ..Protocol::default() }).unwrap_err();
        assert!(late.contains("`train_share` is `0.95`"), "{late}");
        let all = verdict(Protocol { validation_share: 1.0, ..Protocol::default() }).unwrap_err();
        assert!(all.contains("`validation_share` is `1`"), "{all}");
        assert!(verdict(Protocol { cutoffs: vec![], ..Protocol::default() }).is_err());
        assert!(verdict(Protocol { resamples: 0, ..Protocol::default() }).is_err());
    }
}
