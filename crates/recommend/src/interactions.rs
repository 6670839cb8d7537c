//! Who did what with which item, when: rows with text ids become events with dense ordinals.
//!
//! In: [`InteractionRow`]s in any order.  Out: [`Interactions`], histories oldest first, and the rejected rows.
//! The same rows in another order give the same ordinals and the same events: artefacts depend on that.
//! Never here: how strongly an event counts (see `weighting`), SQL, files.
//! Start at [`Interactions::from_rows`].

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use domain::{ItemId, UserId};

use crate::{HistoryItem, Indicators};

/// Squares and sums of weights must stay finite in `f32`; no mart means more than this.
pub const MAX_WEIGHT: f32 = 1e9;

/// One row of the interactions mart.
#[derive(Debug, Clone, PartialEq)]
pub struct InteractionRow {
    pub user: String,
    pub item: String,
    /// Seconds since 1970, UTC.
    pub at: i64,
    /// How strongly the row shows interest; above 0, at most [`MAX_WEIGHT`].
    pub weight: f32,
    /// What was bought or seen together; without one, the rows of a user at the same second are one basket.
    pub basket: Option<String>,
}

/// One interaction between dense ordinals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    pub user: u32,
    pub item: u32,
    pub weight: f32,
    /// Seconds since 1970, UTC.
    pub at: i64,
    pub basket: u32,
}

/// A row that cannot be used, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// 1-based position among the rows given.
    pub row: u64,
    pub reason: RejectReason,
    pub original: InteractionRow,
}

/// Why a row cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The user is empty, too long, or holds spaces.
    BadUserId,
    /// The item is empty, too long, or holds spaces.
    BadItemId,
    /// The weight is not above zero, not a number, or above [`MAX_WEIGHT`].
    BadWeight,
    /// The thing of an indicator is empty or too long.
    BadThing,
}

impl RejectReason {
    /// One lower-case sentence for a person.
    pub fn describe(self) -> &'static str {
        match self {
            Self::BadUserId => "user_id is not an id (1 to 256 bytes without spaces)",
            Self::BadItemId => "item_id is not an id (1 to 256 bytes without spaces)",
            Self::BadWeight => "weight is not a number above 0 and up to 1e9",
            Self::BadThing => "thing is not a text of 1 to 256 bytes",
        }
    }
}

/// Interactions with dense ordinals: users and items are numbered in the order of their ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Interactions {
    user_ids: Vec<UserId>,
    item_ids: Vec<ItemId>,
    /// By user, then oldest first; ties by basket, item, weight.
    events: Vec<Event>,
    user_offsets: Vec<usize>,
    /// What the same users did besides.
    indicators: Arc<Indicators>,
}

/// What holds a basket together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum BasketKey {
    Named(String),
    SameSecond(i64),
}

/// A row whose ids are known to be ids.
struct Accepted {
    user: UserId,
    item: ItemId,
    at: i64,
    weight: f32,
    basket: BasketKey,
}

fn accept(row: InteractionRow) -> Result<Accepted, (RejectReason, InteractionRow)> {
    if !(row.weight > 0.0 && row.weight <= MAX_WEIGHT) {
        return Err((RejectReason::BadWeight, row));
    }
    let Ok(user) = row.user.parse::<UserId>() else {
        return Err((RejectReason::BadUserId, row));
    };
    let Ok(item) = row.item.parse::<ItemId>() else {
        return Err((RejectReason::BadItemId, row));
    };
    let basket = row.basket.map_or(BasketKey::SameSecond(row.at), BasketKey::Named);
    Ok(Accepted { user, item, at: row.at, weight: row.weight, basket })
}

/// Sorts and deduplicates ids, and maps each to its place.
fn number<'a, T>(ids: impl Iterator<Item = &'a T>) -> (Vec<T>, HashMap<T, u32>)
where
    T: Ord + Clone + Hash + 'a,
{
    let mut sorted: Vec<&T> = ids.collect();
    sorted.sort_unstable();
    sorted.dedup();
    let ids: Vec<T> = sorted.into_iter().cloned().collect();
    let ordinals = ids.iter().cloned().zip(0u32..).collect();
    (ids, ordinals)
}

impl Interactions {
    /// Numbers users, items and baskets, and orders the events. Bad rows come back with a reason.
    ///
    /// A basket belongs to one user: the same basket text of two users is two baskets.
    pub fn from_rows(rows: impl IntoIterator<Item = InteractionRow>) -> (Self, Vec<Rejected>) {
        let mut accepted = Vec::new();
        let mut rejected = Vec::new();
        for (row, original) in (1u64..).zip(rows) {
            match accept(original) {
                Ok(row) => accepted.push(row),
                Err((reason, original)) => rejected.push(Rejected { row, reason, original }),
            }
        }
        let (user_ids, users) = number(accepted.iter().map(|row| &row.user));
        let (item_ids, items) = number(accepted.iter().map(|row| &row.item));
        let mut baskets: Vec<(u32, &BasketKey)> = accepted.iter().map(|row| (users[&row.user], &row.basket)).collect();
        baskets.sort_unstable();
        baskets.dedup();
        let events = accepted
            .iter()
            .map(|row| {
                let user = users[&row.user];
                // Every key was put into `baskets` above, so the search finds it.
                let basket = baskets.binary_search(&(user, &row.basket)).unwrap_or_default() as u32;
                Event { user, item: items[&row.item], weight: row.weight, at: row.at, basket }
            })
            .collect();
        (Self::from_events(user_ids, item_ids, events), rejected)
    }

    /// Orders events whose ordinals already refer to the given ids.
    fn from_events(user_ids: Vec<UserId>, item_ids: Vec<ItemId>, mut events: Vec<Event>) -> Self {
        events.sort_unstable_by(|a, b| {
            (a.user, a.at, a.basket, a.item).cmp(&(b.user, b.at, b.basket, b.item)).then(a.weight.total_cmp(&b.weight))
        });
        let mut user_offsets = vec![0usize; user_ids.len() + 1];
        for event in &events {
            user_offsets[event.user as usize + 1] += 1;
        }
        for user in 0..user_ids.len() {
            user_offsets[user + 1] += user_offsets[user];
        }
        Self { user_ids, item_ids, events, user_offsets, indicators: Arc::default() }
    }

    /// The events that `keep` accepts, with users and items numbered anew among themselves. Indicators stay as they are.
    ///
    /// Order is kept: if one id had a smaller ordinal than another, it still has.
    pub fn retain(&self, keep: impl Fn(&Event) -> bool) -> Self {
        let kept: Vec<Event> = self.events.iter().filter(|event| keep(event)).copied().collect();
        let (user_ids, users) = compact(&self.user_ids, kept.iter().map(|event| event.user));
        let (item_ids, items) = compact(&self.item_ids, kept.iter().map(|event| event.item));
        let events = kept
            .into_iter()
            .map(|event| Event { user: users[event.user as usize], item: items[event.item as usize], ..event })
            .collect();
        let retained = Self::from_events(user_ids, item_ids, events);
        Self { indicators: Arc::clone(&self.indicators), ..retained }
    }

    /// The same interactions beside what the users did besides.
    pub fn with_indicators(self, indicators: Indicators) -> Self {
        Self { indicators: Arc::new(indicators), ..self }
    }

    /// What the users did besides; users and things may be others than those of the interactions.
    pub fn indicators(&self) -> &Indicators {
        &self.indicators
    }

    /// All that is known of a user, as a ranker takes it that was trained on these interactions: events with items, then events
    /// with things, whose ordinals follow those of the items.
    pub fn known_of(&self, user: &UserId) -> Vec<HistoryItem> {
        let events = self.user_ordinal(user).map(|ordinal| self.history(ordinal)).unwrap_or_default();
        let items = self.item_ids.len() as u32;
        let things = self.indicators.history(user).iter().map(|event| HistoryItem {
            item: items + event.thing,
            weight: event.weight,
            at: event.at,
        });
        events.iter().map(HistoryItem::from).chain(things).collect()
    }

    /// The same events among more items: those given, without events, numbered in one order with the others. Indicators stay as they are.
    pub(crate) fn with_items<'a>(&'a self, more: impl IntoIterator<Item = &'a ItemId>) -> Self {
        let all: std::collections::BTreeSet<&ItemId> = self.item_ids.iter().chain(more).collect();
        let item_ids: Vec<ItemId> = all.into_iter().cloned().collect();
        // Every item of an event is among them, so the search finds it.
        let place = |item: u32| item_ids.binary_search(&self.item_ids[item as usize]).unwrap_or_default() as u32;
        let events = self.events.iter().map(|event| Event { item: place(event.item), ..*event }).collect();
        let grown = Self::from_events(self.user_ids.clone(), item_ids, events);
        Self { indicators: Arc::clone(&self.indicators), ..grown }
    }

    /// User ids by ordinal.
    pub fn user_ids(&self) -> &[UserId] {
        &self.user_ids
    }

    /// Item ids by ordinal.
    pub fn item_ids(&self) -> &[ItemId] {
        &self.item_ids
    }

    /// All events, by user, then oldest first.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The events of one user, oldest first; empty for an ordinal that does not exist.
    pub fn history(&self, user: u32) -> &[Event] {
        match (self.user_offsets.get(user as usize), self.user_offsets.get(user as usize + 1)) {
            (Some(&from), Some(&to)) => &self.events[from..to],
            (_, _) => &[],
        }
    }

    /// The ordinal of a user.
    pub fn user_ordinal(&self, id: &UserId) -> Option<u32> {
        self.user_ids.binary_search(id).ok().map(|ordinal| ordinal as u32)
    }

    /// The ordinal of an item.
    pub fn item_ordinal(&self, id: &ItemId) -> Option<u32> {
        self.item_ids.binary_search(id).ok().map(|ordinal| ordinal as u32)
    }

    /// Time of the newest event, seconds since 1970 UTC: the `now` of everything that decays with age.
    pub fn last_at(&self) -> Option<i64> {
        self.events.iter().map(|event| event.at).max()
    }

    /// Time of the oldest event, seconds since 1970 UTC.
    pub fn first_at(&self) -> Option<i64> {
        self.events.iter().map(|event| event.at).min()
    }
}

/// The ids in use, and for each old ordinal its new one.
fn compact<T: Clone>(ids: &[T], used: impl Iterator<Item = u32>) -> (Vec<T>, Vec<u32>) {
    let mut is_used = vec![false; ids.len()];
    for ordinal in used {
        is_used[ordinal as usize] = true;
    }
    let mut kept = Vec::new();
    let mut ordinals = vec![u32::MAX; ids.len()];
    for (old, id) in ids.iter().enumerate().filter(|(old, _)| is_used[*old]) {
        ordinals[old] = kept.len() as u32;
        kept.push(id.clone());
    }
    (kept, ordinals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(user: &str, item: &str, at: i64, basket: Option<&str>) -> InteractionRow {
        InteractionRow { user: user.into(), item: item.into(), at, weight: 1.0, basket: basket.map(str::to_owned) }
    }

    #[test]
    fn the_order_of_rows_changes_nothing() {
        let rows = vec![
            row("b", "y", 5, Some("7")),
            row("a", "z", 3, None),
            row("a", "x", 3, None),
            row("a", "x", 1, Some("7")),
        ];
        let (forward, rejected) = Interactions::from_rows(rows.clone());
        let (backward, _) = Interactions::from_rows(rows.into_iter().rev());
        assert!(rejected.is_empty());
        assert_eq!(forward, backward);
        assert_eq!(forward.item_ids().iter().map(ItemId::as_str).collect::<Vec<_>>(), ["x", "y", "z"]);
        let history: Vec<(i64, u32)> = forward.history(0).iter().map(|event| (event.at, event.item)).collect();
        assert_eq!(history, [(1, 0), (3, 0), (3, 2)]);
        assert_eq!(forward.history(0)[1].basket, forward.history(0)[2].basket, "one second is one basket");
        assert_ne!(forward.history(0)[0].basket, forward.history(1)[0].basket, "a basket has one user");
        assert!(forward.history(99).is_empty());
    }

    #[test]
    fn bad_rows_come_back_with_position_reason_and_original() {
        let bad_weight = InteractionRow { weight: f32::NAN, ..row("a", "x", 1, None) };
        let (interactions, rejected) = Interactions::from_rows([
            row("", "x", 1, None),
            row("a", "x y", 1, None),
            bad_weight,
            row("a", "x", 1, None),
        ]);
        assert_eq!(interactions.events().len(), 1);
        let reasons: Vec<_> = rejected.iter().map(|reject| (reject.row, reject.reason)).collect();
        assert_eq!(reasons, [(1, RejectReason::BadUserId), (2, RejectReason::BadItemId), (3, RejectReason::BadWeight)]);
        assert_eq!(rejected[1].original.item, "x y");
    }

    #[test]
    fn retain_numbers_anew_and_keeps_the_order() {
        let (all, _) =
            Interactions::from_rows([row("a", "x", 1, None), row("b", "y", 2, None), row("c", "z", 3, None)]);
        let late = all.retain(|event| event.at >= 2);
        assert_eq!(late.user_ids().iter().map(UserId::as_str).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!((late.events()[0].user, late.events()[0].item), (0, 0));
        assert_eq!((late.first_at(), late.last_at()), (Some(2), Some(3)));
        assert_eq!(all.retain(|_| false), Interactions::from_rows([]).0);
    }
}
