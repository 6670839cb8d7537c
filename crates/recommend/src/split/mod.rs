//! What is known and what is to be found out: every protocol gives each basket one part (reference 3.1).
//!
//! In: interactions and a [`Protocol`].  Out: per window what is trained on, and one [`Case`] per user to recommend to.
//! A part belongs to a basket, never to an event, so no protocol can split a basket.
//! Never here: training, metrics. How baskets get their parts: `time`, `strong`, `last`.
//! Start at [`Split::new`].

mod baskets;
mod besides;
mod last;
mod strong;
mod time;

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::{Profile, UserId};
use serde::{Deserialize, Serialize};

use crate::{Event, HistoryItem, Interactions, Protocol, ProtocolKind, Ranker, RecommendError};

/// Which part of what is held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// For choosing.
    Validation,
    /// For reporting.
    Test,
}

/// What a basket is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Trained on.
    Train,
    /// Told about a user of this window who is not trained on.
    FoldIn(Window),
    /// To be found in this window.
    HeldOut(Window),
}

/// Where the windows of a split in time begin, seconds since 1970 UTC.
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
    /// What was known, in ordinals of the fitted interactions ([`Ranker::UNKNOWN_ITEM`] for an item that is not among them);
    /// empty for a cold user.
    pub history: Vec<HistoryItem>,
    /// What was chosen, sorted, without repeats; only items that the fitted interactions know.
    pub held_out: Vec<u32>,
    /// Items chosen that the fitted interactions do not know: no recommender here can find them.
    pub cold_items: usize,
    /// What is known of the user beside the history, if the caller says.
    pub profile: Option<Arc<Profile>>,
}

/// Interactions with a part for every basket.
#[derive(Debug, Clone)]
pub struct Split<'a> {
    interactions: &'a Interactions,
    /// By basket.
    parts: Vec<Part>,
    /// Whether what validation held out is trained on before the test; otherwise one training serves both windows.
    is_trained_again: bool,
    cuts: Option<Cuts>,
}

impl<'a> Split<'a> {
    /// Gives every basket its part.
    ///
    /// Errors: `BadProtocol`; `NothingToEvaluate` if the interactions do not yield three parts.
    pub fn new(interactions: &'a Interactions, protocol: &Protocol) -> Result<Self, RecommendError> {
        protocol.validate()?;
        if interactions.events().is_empty() {
            return Err(RecommendError::NothingToEvaluate { detail: "there are no interactions".into() });
        }
        let (parts, cuts) = match protocol.kind {
            ProtocolKind::Time => time::parts(interactions, protocol).map(|(parts, cuts)| (parts, Some(cuts)))?,
            ProtocolKind::Strong => (strong::parts(interactions, protocol)?, None),
            ProtocolKind::Last => (last::parts(interactions)?, None),
        };
        Ok(Self { interactions, parts, is_trained_again: protocol.kind != ProtocolKind::Strong, cuts })
    }

    /// Where the windows begin; only a split in time has cuts.
    pub fn cuts(&self) -> Option<Cuts> {
        self.cuts
    }

    /// Whether the test window has a training of its own, on more than the validation window had.
    pub fn is_trained_again(&self) -> bool {
        self.is_trained_again
    }

    /// Events that are trained on in both windows.
    pub fn train_events(&self) -> usize {
        self.count(|part| part == Part::Train)
    }

    /// Events that are there for `window` alone: held out, or told about its users.
    pub fn events(&self, window: Window) -> usize {
        self.count(|part| part == Part::FoldIn(window) || part == Part::HeldOut(window))
    }

    fn count(&self, is_meant: impl Fn(Part) -> bool) -> usize {
        self.interactions.events().iter().filter(|event| is_meant(self.part(event))).count()
    }

    fn part(&self, event: &Event) -> Part {
        self.parts[event.basket as usize]
    }

    /// What recommenders are trained on for `window`.
    pub fn known(&self, window: Window) -> Interactions {
        let known = self.interactions.retain(|event| self.is_known(event, window));
        known.with_indicators(self.known_indicators(window))
    }

    fn is_known(&self, event: &Event, window: Window) -> bool {
        match self.part(event) {
            Part::Train => true,
            Part::HeldOut(Window::Validation) => self.is_trained_again && window == Window::Test,
            Part::HeldOut(Window::Test) | Part::FoldIn(_) => false,
        }
    }

    /// One case per user of whom something is held out in `window`. A history is what `known` holds of the user, or what
    /// the protocol tells about them.
    pub fn cases(&self, known: &Interactions, window: Window) -> Vec<Case> {
        let item_in_known: Vec<Option<u32>> =
            self.interactions.item_ids().iter().map(|id| known.item_ordinal(id)).collect();
        let mut cases = Vec::new();
        for (user, id) in (0u32..).zip(self.interactions.user_ids()) {
            let events = self.interactions.history(user);
            let chosen: BTreeSet<u32> = events
                .iter()
                .filter(|event| self.part(event) == Part::HeldOut(window))
                .map(|event| event.item)
                .collect();
            if chosen.is_empty() {
                continue;
            }
            let held_out: Vec<u32> = chosen.iter().filter_map(|item| item_in_known[*item as usize]).collect();
            let told = events.iter().filter(|event| self.part(event) == Part::FoldIn(window)).map(|event| {
                let item = item_in_known[event.item as usize].unwrap_or(Ranker::UNKNOWN_ITEM);
                HistoryItem { item, ..HistoryItem::from(event) }
            });
            cases.push(Case {
                user: id.clone(),
                history: known
                    .known_of(id)
                    .into_iter()
                    .chain(told)
                    .chain(self.told_besides(known, user, window))
                    .collect(),
                cold_items: chosen.len() - held_out.len(),
                held_out,
                profile: None,
            });
        }
        cases
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::InteractionRow;

    pub(crate) fn row(user: &str, item: &str, at: i64, basket: Option<&str>) -> InteractionRow {
        InteractionRow { user: user.into(), item: item.into(), at, weight: 1.0, basket: basket.map(str::to_owned) }
    }

    /// Users who buy three items in each of so many baskets, one basket a day.
    pub(crate) fn shop(baskets_of_users: &[usize]) -> Interactions {
        let mut rows = Vec::new();
        for (user, baskets) in baskets_of_users.iter().enumerate() {
            for basket in 0..*baskets {
                for item in 0..3 {
                    let item = format!("i{}", (user * 7 + basket * 5 + item) % 40);
                    let at = (basket * 86_400 + item.len()) as i64;
                    rows.push(row(&format!("u{user:03}"), &item, at, Some(&format!("{user}-{basket}"))));
                }
            }
        }
        Interactions::from_rows(rows).0
    }

    #[test]
    fn no_protocol_shows_in_training_or_history_what_is_to_be_found() {
        let interactions = shop(&[5; 60]);
        for kind in ProtocolKind::ALL {
            let split = Split::new(&interactions, &Protocol { kind, ..Protocol::default() }).unwrap();
            let events = split.train_events() + split.events(Window::Validation) + split.events(Window::Test);
            assert_eq!(events, interactions.events().len(), "{kind}: every event has one part");
            for window in [Window::Validation, Window::Test] {
                let known = split.known(window);
                let cases = split.cases(&known, window);
                assert!(!cases.is_empty(), "{kind} {window:?}");
                for case in &cases {
                    let user = interactions.user_ordinal(&case.user).unwrap();
                    let held = |event: &&Event| split.part(event) == Part::HeldOut(window);
                    let held_out = interactions.history(user).iter().filter(held).count();
                    // Every event of this user is either shown, held out here, or held out in the other window.
                    assert!(case.history.len() + held_out <= interactions.history(user).len(), "{kind} {window:?}");
                    assert!(case.history.len().is_multiple_of(3), "{kind}: a basket of three was split");
                }
            }
        }
    }

    #[test]
    fn no_interactions_are_an_error_in_every_protocol() {
        let (empty, _) = Interactions::from_rows([]);
        for kind in ProtocolKind::ALL {
            let error = Split::new(&empty, &Protocol { kind, ..Protocol::default() }).unwrap_err();
            assert_eq!(error.to_string(), "there is nothing to evaluate: there are no interactions");
        }
    }
}
