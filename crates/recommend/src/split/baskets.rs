//! The baskets of each user, in the order in which they were complete.
//!
//! In: interactions.  Out: baskets with their size and the time of their last event.
//! Never here: which basket is held out.
//! Start at [`baskets_of_users`].

use crate::Interactions;

/// One basket of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Basket {
    pub(super) basket: u32,
    /// Time of its last event, seconds since 1970 UTC: a basket stands where it ends.
    pub(super) settled_at: i64,
    pub(super) events: usize,
}

/// Number of baskets, counting those that a part of the interactions does not hold.
pub(super) fn basket_count(interactions: &Interactions) -> usize {
    interactions.events().iter().map(|event| event.basket as usize + 1).max().unwrap_or_default()
}

/// By user ordinal: the user's baskets, oldest first; baskets that end in the same second by ordinal.
pub(super) fn baskets_of_users(interactions: &Interactions) -> Vec<Vec<Basket>> {
    let users = 0..interactions.user_ids().len() as u32;
    users
        .map(|user| {
            let mut events: Vec<(u32, i64)> =
                interactions.history(user).iter().map(|event| (event.basket, event.at)).collect();
            events.sort_unstable();
            let mut baskets: Vec<Basket> = events
                .chunk_by(|one, other| one.0 == other.0)
                .filter_map(|events| events.last().map(|(basket, at)| (*basket, *at, events.len())))
                .map(|(basket, settled_at, events)| Basket { basket, settled_at, events })
                .collect();
            baskets.sort_unstable_by_key(|basket| (basket.settled_at, basket.basket));
            baskets
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::tests::row;

    #[test]
    fn a_basket_stands_where_it_ends() {
        let (interactions, _) = Interactions::from_rows([
            row("a", "x", 1, Some("long")),
            row("a", "y", 9, Some("long")),
            row("a", "z", 5, Some("short")),
            row("b", "x", 2, None),
        ]);
        let baskets = baskets_of_users(&interactions);
        let of_a: Vec<(i64, usize)> = baskets[0].iter().map(|basket| (basket.settled_at, basket.events)).collect();
        assert_eq!(of_a, [(5, 1), (9, 2)]);
        assert_eq!((baskets[1].len(), basket_count(&interactions)), (1, 3));
    }
}
