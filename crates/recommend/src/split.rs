//! What is known and what is to be found out: the global split in time, the default protocol (reference 3.1).
//!
//! In: interactions and a [`Protocol`].  Out: the part before a cut, and one [`Case`] per user active after it.
//! Cuts are the 80 % and 90 % quantiles of event times. A basket is never split: all of it stands where its *last* event
//! stands, so nothing after a cut leaks into what is trained before it.
//! Never here: training, metrics, random hold-outs.
//! Start at [`TimeSplit::new`].

use std::collections::BTreeSet;

use domain::UserId;
use serde::{Deserialize, Serialize};

use crate::{Event, HistoryItem, Interactions, RecommendError};

/// How an evaluation is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Lengths k of the lists that are measured.
    pub cutoffs: Vec<usize>,
    /// Bootstrap resamples behind each interval.
    pub resamples: usize,
    /// Share of events before the first cut.
    pub train_share: f64,
    /// Share of events before the second cut.
    pub validation_share: f64,
    pub seed: u64,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { cutoffs: vec![10, 20, 50, 100], resamples: 1_000, train_share: 0.8, validation_share: 0.9, seed: 42 }
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
        if self.validation_share >= 1.0 {
            return bad("validation_share", self.validation_share.to_string(), "below 1");
        }
        Ok(())
    }
}

/// Where the windows begin, seconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cuts {
    pub validation_from: i64,
    pub test_from: i64,
}

/// One user to recommend to, and what they went on to choose.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub user: UserId,
    /// What was known, in ordinals of the fitted interactions; empty for a cold user.
    pub history: Vec<HistoryItem>,
    /// What was chosen later, sorted, without repeats; only items that the fitted interactions know.
    pub held_out: Vec<u32>,
    /// Items chosen later that nobody had chosen before: no recommender here can find them.
    pub cold_items: usize,
}

/// A global split in time.
#[derive(Debug, Clone)]
pub struct TimeSplit<'a> {
    interactions: &'a Interactions,
    cuts: Cuts,
    /// Time of the last event of each basket.
    basket_at: Vec<i64>,
}

impl<'a> TimeSplit<'a> {
    /// Finds the cuts: the event at each quantile begins the next window.
    ///
    /// Errors: `BadProtocol`, or `NothingToEvaluate` if the events lie at too few points in time to be cut twice.
    pub fn new(interactions: &'a Interactions, protocol: &Protocol) -> Result<Self, RecommendError> {
        protocol.validate()?;
        let events = interactions.events();
        let baskets = events.iter().map(|event| event.basket as usize + 1).max().unwrap_or_default();
        let mut basket_at = vec![i64::MIN; baskets];
        for event in events {
            let at = &mut basket_at[event.basket as usize];
            *at = event.at.max(*at);
        }
        let mut times: Vec<i64> = events.iter().map(|event| basket_at[event.basket as usize]).collect();
        times.sort_unstable();
        let at = |share: f64| times.get((share * times.len() as f64) as usize).copied();
        let (Some(validation_from), Some(test_from)) = (at(protocol.train_share), at(protocol.validation_share)) else {
            return Err(RecommendError::NothingToEvaluate { detail: "there are no interactions".into() });
        };
        if times[0] >= validation_from || validation_from >= test_from {
            let detail = "the interactions lie at too few points in time to be cut into three windows".into();
            return Err(RecommendError::NothingToEvaluate { detail });
        }
        Ok(Self { interactions, cuts: Cuts { validation_from, test_from }, basket_at })
    }

    /// Where the windows begin.
    pub fn cuts(&self) -> Cuts {
        self.cuts
    }

    /// When the basket of an event was complete, seconds since 1970 UTC.
    pub fn settled_at(&self, event: &Event) -> i64 {
        self.basket_at[event.basket as usize]
    }

    /// Every interaction settled before `cut`.
    pub fn before(&self, cut: i64) -> Interactions {
        self.interactions.retain(|event| self.settled_at(event) < cut)
    }

    /// One case per user with an event settled in `from..to`; histories are what `fitted` holds of the user.
    pub fn cases(&self, fitted: &Interactions, from: i64, to: Option<i64>) -> Vec<Case> {
        let item_in_fitted: Vec<Option<u32>> =
            self.interactions.item_ids().iter().map(|id| fitted.item_ordinal(id)).collect();
        let is_inside = |at: i64| at >= from && to.is_none_or(|to| at < to);
        let mut cases = Vec::new();
        for (user, id) in (0u32..).zip(self.interactions.user_ids()) {
            let chosen: BTreeSet<u32> = self
                .interactions
                .history(user)
                .iter()
                .filter(|event| is_inside(self.settled_at(event)))
                .map(|event| event.item)
                .collect();
            if chosen.is_empty() {
                continue;
            }
            let held_out: Vec<u32> = chosen.iter().filter_map(|item| item_in_fitted[*item as usize]).collect();
            let history = fitted.user_ordinal(id).map(|user| fitted.history(user)).unwrap_or_default();
            cases.push(Case {
                user: id.clone(),
                history: history.iter().map(HistoryItem::from).collect(),
                cold_items: chosen.len() - held_out.len(),
                held_out,
            });
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InteractionRow;

    fn row(user: &str, item: &str, at: i64, basket: Option<&str>) -> InteractionRow {
        InteractionRow { user: user.into(), item: item.into(), at, weight: 1.0, basket: basket.map(str::to_owned) }
    }

    #[test]
    fn a_basket_is_never_split_and_stands_where_it_ends() {
        // Ten events at times 0..10; the basket of user a spans the first cut and ends inside validation.
        let mut rows: Vec<_> = (0..8).map(|at| row("b", &format!("i{at}"), at, None)).collect();
        rows.push(row("a", "i0", 7, Some("x")));
        rows.push(row("a", "i1", 8, Some("x")));
        rows.push(row("c", "i2", 9, None));
        rows.push(row("c", "new", 9, None));
        let (interactions, _) = Interactions::from_rows(rows);
        let protocol = Protocol { train_share: 0.7, validation_share: 0.85, ..Protocol::default() };
        let split = TimeSplit::new(&interactions, &protocol).unwrap();
        assert_eq!(split.cuts(), Cuts { validation_from: 8, test_from: 9 });
        let train = split.before(8);
        assert_eq!((train.events().len(), train.user_ids().len()), (8, 1));
        let validation = split.cases(&train, 8, Some(9));
        assert_eq!(validation.len(), 1);
        assert_eq!((validation[0].user.as_str(), &validation[0].held_out[..]), ("a", &[0u32, 1][..]));
        assert!(validation[0].history.is_empty());
        let test = split.cases(&split.before(9), 9, None);
        assert_eq!((test[0].user.as_str(), test[0].held_out.len(), test[0].cold_items), ("c", 1, 1));
    }

    #[test]
    fn too_little_time_is_an_error() {
        let (empty, _) = Interactions::from_rows([]);
        assert!(TimeSplit::new(&empty, &Protocol::default()).is_err());
        let (moment, _) = Interactions::from_rows((0..9).map(|i| row("a", &format!("i{i}"), 5, None)));
        assert!(TimeSplit::new(&moment, &Protocol::default()).is_err());
    }
}
