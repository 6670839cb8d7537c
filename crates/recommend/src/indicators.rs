//! What users did besides the interactions that are recommended: views, carts, searches, categories. Each kind of behaviour is
//! an indicator, a sparse matrix of users × things; things need not be items.
//!
//! In: [`IndicatorRow`]s by the name of their indicator, in any order.  Out: [`Indicators`], histories oldest first, and the
//! rejected rows. The same rows in another order give the same things and the same events: artefacts depend on that.
//! Never here: what goes with what (see `models::cco`), which events an evaluation may know (see `split`).
//! Start at [`Indicators::from_rows`].

use std::collections::{BTreeMap, HashMap};

use domain::UserId;
use serde::{Deserialize, Serialize};

use crate::{MAX_WEIGHT, RejectReason};

/// Longest thing, as of ids; a search term is longer only by mistake.
const MAX_THING_BYTES: usize = 256;

/// One row of an indicator's mart.
#[derive(Debug, Clone, PartialEq)]
pub struct IndicatorRow {
    pub user: String,
    /// What was viewed, searched for, put into the cart: any text of 1 to 256 bytes.
    pub thing: String,
    /// Seconds since 1970, UTC.
    pub at: i64,
    /// Above 0, at most [`MAX_WEIGHT`].
    pub weight: f32,
}

/// A row that cannot be used, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct RejectedIndicatorRow {
    pub indicator: String,
    /// 1-based position among the rows of the indicator.
    pub row: u64,
    pub reason: RejectReason,
    pub original: IndicatorRow,
}

/// Something that an indicator is about: an item that was viewed, a term that was searched for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thing {
    /// Name of the indicator.
    pub indicator: String,
    /// Its id or text.
    pub thing: String,
}

/// One event of a user.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IndicatorEvent {
    /// Place of the thing in [`Indicators::things`].
    pub thing: u32,
    pub weight: f32,
    /// Seconds since 1970, UTC.
    pub at: i64,
}

/// All indicators of a project, with things and users in the order of their ids.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Indicators {
    /// Rising; also of indicators without events.
    names: Vec<String>,
    /// By indicator, then thing, rising.
    things: Vec<Thing>,
    user_ids: Vec<UserId>,
    /// By user, then oldest first; ties by thing, weight.
    events: Vec<IndicatorEvent>,
    user_offsets: Vec<usize>,
}

fn accept(row: &IndicatorRow) -> Result<UserId, RejectReason> {
    if !(row.weight > 0.0 && row.weight <= MAX_WEIGHT) {
        return Err(RejectReason::BadWeight);
    }
    if row.thing.is_empty() || row.thing.len() > MAX_THING_BYTES {
        return Err(RejectReason::BadThing);
    }
    row.user.parse().map_err(|_| RejectReason::BadUserId)
}

impl Indicators {
    /// Numbers things and users, and orders the events. Bad rows come back with a reason.
    pub fn from_rows(rows: BTreeMap<String, Vec<IndicatorRow>>) -> (Self, Vec<RejectedIndicatorRow>) {
        let names: Vec<String> = rows.keys().cloned().collect();
        let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
        for (indicator, rows) in rows {
            for (row, original) in (1u64..).zip(rows) {
                match accept(&original) {
                    Ok(user) => {
                        let thing = Thing { indicator: indicator.clone(), thing: original.thing };
                        accepted.push((user, thing, original.weight, original.at));
                    }
                    Err(reason) => {
                        rejected.push(RejectedIndicatorRow { indicator: indicator.clone(), row, reason, original });
                    }
                }
            }
        }
        (Self::from_accepted(names, accepted), rejected)
    }

    fn from_accepted(names: Vec<String>, accepted: Vec<(UserId, Thing, f32, i64)>) -> Self {
        let mut things: Vec<Thing> = accepted.iter().map(|(_, thing, _, _)| thing.clone()).collect();
        things.sort_unstable();
        things.dedup();
        let mut user_ids: Vec<UserId> = accepted.iter().map(|(user, _, _, _)| user.clone()).collect();
        user_ids.sort_unstable();
        user_ids.dedup();
        let ordinals: HashMap<&Thing, u32> = things.iter().zip(0u32..).collect();
        let users: HashMap<&UserId, usize> = user_ids.iter().zip(0..).collect();
        let mut events: Vec<(usize, IndicatorEvent)> = accepted
            .iter()
            .map(|(user, thing, weight, at)| {
                (users[user], IndicatorEvent { thing: ordinals[thing], weight: *weight, at: *at })
            })
            .collect();
        events.sort_unstable_by(|(user, a), (other, b)| {
            (user, a.at, a.thing).cmp(&(other, b.at, b.thing)).then(a.weight.total_cmp(&b.weight))
        });
        let mut user_offsets = vec![0usize; user_ids.len() + 1];
        events.iter().for_each(|(user, _)| user_offsets[user + 1] += 1);
        for user in 0..user_ids.len() {
            user_offsets[user + 1] += user_offsets[user];
        }
        Self { names, things, user_ids, events: events.into_iter().map(|(_, event)| event).collect(), user_offsets }
    }

    /// The events that `keep` accepts (user, seconds since 1970 UTC), with things and users numbered anew.
    pub fn retain(&self, keep: impl Fn(&UserId, i64) -> bool) -> Self {
        let mut kept = Vec::new();
        for user in &self.user_ids {
            let events = self.history(user).iter().filter(|event| keep(user, event.at));
            kept.extend(
                events.map(|event| (user.clone(), self.things[event.thing as usize].clone(), event.weight, event.at)),
            );
        }
        Self::from_accepted(self.names.clone(), kept)
    }

    /// Whether there is no indicator at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names, rising.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What the events are about, by indicator, then thing.
    pub fn things(&self) -> &[Thing] {
        &self.things
    }

    /// Users with at least one event, rising.
    pub fn user_ids(&self) -> &[UserId] {
        &self.user_ids
    }

    /// All events, by user, then oldest first.
    pub fn events(&self) -> &[IndicatorEvent] {
        &self.events
    }

    /// The events of one user, oldest first; empty for a user without any.
    pub fn history(&self, user: &UserId) -> &[IndicatorEvent] {
        match self.user_ids.binary_search(user) {
            Ok(place) => &self.events[self.user_offsets[place]..self.user_offsets[place + 1]],
            Err(_) => &[],
        }
    }

    /// The place of a thing.
    pub fn place(&self, thing: &Thing) -> Option<u32> {
        self.things.binary_search(thing).ok().map(|place| place as u32)
    }

    /// Where the things of each indicator begin, and where the last ones end.
    pub(crate) fn bounds(&self) -> Vec<u32> {
        let begin = |name: &String| self.things.partition_point(|thing| thing.indicator < *name) as u32;
        self.names.iter().map(begin).chain([self.things.len() as u32]).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn indicators(rows: &[(&str, &str, &str, i64)]) -> Indicators {
        let mut by_name: BTreeMap<String, Vec<IndicatorRow>> = BTreeMap::new();
        for (indicator, user, thing, at) in rows {
            let row = IndicatorRow { user: (*user).into(), thing: (*thing).into(), at: *at, weight: 1.0 };
            by_name.entry((*indicator).to_owned()).or_default().push(row);
        }
        let (indicators, rejected) = Indicators::from_rows(by_name);
        assert!(rejected.is_empty());
        indicators
    }

    #[test]
    fn the_order_of_rows_changes_nothing_and_things_of_an_indicator_lie_together() {
        let rows = [("view", "b", "x", 5), ("search", "a", "red mug", 3), ("view", "a", "x", 1), ("view", "a", "c", 1)];
        let forward = indicators(&rows);
        let mut backward = rows;
        backward.reverse();
        assert_eq!(forward, indicators(&backward));
        assert_eq!((forward.names(), forward.bounds()), (&["search".to_owned(), "view".to_owned()][..], vec![0, 1, 3]));
        let of_a: Vec<(i64, u32)> =
            forward.history(&"a".parse().unwrap()).iter().map(|event| (event.at, event.thing)).collect();
        assert_eq!(of_a, [(1, 1), (1, 2), (3, 0)]);
        assert!(forward.history(&"nobody".parse().unwrap()).is_empty());
        let early = forward.retain(|_, at| at < 3);
        assert_eq!((early.names().len(), early.bounds(), early.user_ids().len()), (2, vec![0, 0, 2], 1));
    }

    #[test]
    fn bad_rows_come_back_with_position_reason_and_original() {
        let row = |user: &str, thing: &str, weight: f32| IndicatorRow {
            user: user.to_owned(),
            thing: thing.to_owned(),
            at: 1,
            weight,
        };
        let rows = vec![row("", "x", 1.0), row("a", "", 1.0), row("a", &"x".repeat(257), 1.0), row("a", "x y", -1.0)];
        let (indicators, rejected) = Indicators::from_rows(BTreeMap::from([("view".to_owned(), rows)]));
        let reasons: Vec<_> = rejected.iter().map(|reject| (reject.row, reject.reason)).collect();
        assert!(indicators.events().is_empty() && !indicators.is_empty());
        assert_eq!(
            reasons,
            [
                (1, RejectReason::BadUserId),
                (2, RejectReason::BadThing),
                (3, RejectReason::BadThing),
                (4, RejectReason::BadWeight)
            ]
        );
    }
}
