//! Why an item is not on a list: its rank, and the stage that removed it.
//!
//! In: the request that made the list, and an item.  Out: [`WhyNot`].
//! Never here: ranking of its own; it asks the stages that made the list.
//! Start at [`Ranker::why_not`].

use serde::Serialize;

use crate::{HistoryItem, RankRequest, RankedList, Ranker};

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WhyNot {
    pub stage: Stage,
    /// Its place by score alone among all items that may be shown, from 1; `None` if it is not scored.
    pub rank: Option<usize>,
    pub score: Option<f32>,
}

/// The stage that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It is on the list.
    Listed,
    /// The user had it, and what was seen is left out.
    Seen,
    /// Unavailable, or left out by the caller's filter.
    Hidden,
    /// Left out by `hide` of the recommender's rules.
    HiddenByRule,
    /// The recommender has nothing to say of it for this history.
    NotScored,
    /// Scored, but others are better.
    Outranked,
    /// A cap on its group kept it away.
    Capped,
    /// It would be on the list by score; diversity, a boost, a quota or exploration put others before it.
    Reordered,
}

impl Ranker {
    /// What became of `item` in the list that [`Ranker::recommend`] makes for the same history and request.
    ///
    /// Cost: that of two lists.
    pub fn why_not(&self, history: &[HistoryItem], request: &RankRequest<'_>, item: u32) -> WhyNot {
        let list = self.recommend(history, &RankRequest { reasons: 0, ..*request });
        let scores = self.scores(history, request.profile);
        let score =
            scores.as_ref().and_then(|scores| scores.get(item as usize).copied()).filter(|score| !score.is_nan());
        let hidden = self.hidden(history, request);
        let rank = score.zip(scores.as_ref()).filter(|_| !hidden.contains(item)).map(|(score, scores)| {
            let is_before = |&(other, value): &(u32, f32)| value > score || (value == score && other < item);
            1 + (0u32..)
                .zip(scores.iter().copied())
                .filter(|(other, _)| !hidden.contains(*other))
                .filter(is_before)
                .count()
        });
        let stage = if list.items.iter().any(|entry| entry.item == item) {
            Stage::Listed
        } else if request.hidden.is_some_and(|hidden| hidden.contains(item)) {
            Stage::Hidden
        } else if self.rules().is_some_and(|rules| rules.hidden().contains(item)) {
            Stage::HiddenByRule
        } else if hidden.contains(item) {
            Stage::Seen
        } else {
            self.outdone(history, request, item, rank)
        };
        WhyNot { stage, rank, score }
    }

    /// For an item that may be shown and is not.
    fn outdone(&self, history: &[HistoryItem], request: &RankRequest<'_>, item: u32, rank: Option<usize>) -> Stage {
        // Without the lot it would be there.
        let without_lot = RankRequest { seed: None, reasons: 0, ..*request };
        let is_listed = |list: RankedList| list.items.iter().any(|entry| entry.item == item);
        if request.seed.is_some() && is_listed(self.recommend(history, &without_lot)) {
            return Stage::Reordered;
        }
        let Some(rank) = rank else {
            return Stage::NotScored;
        };
        if let Some(rules) = self.rules() {
            let uncapped = self.clone().with_rules(rules.without_caps());
            if is_listed(uncapped.recommend(history, &without_lot)) {
                return Stage::Capped;
            }
        }
        if rank <= request.limit { Stage::Reordered } else { Stage::Outranked }
    }
}
