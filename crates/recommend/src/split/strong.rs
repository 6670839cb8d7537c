//! Strong generalisation (Liang et al. 2018): whole users are held out; a part of their history is told, the rest is to be found.
//!
//! In: interactions, the shares of users, a seed.  Out: a part per basket.
//! Compares recommenders that can rank for a user they were not trained on; ours all can.
//! Never here: time; which baskets are told is drawn by lot.
//! Start at [`parts`].

use super::baskets::{Basket, basket_count, baskets_of_users};
use super::{Part, Window};
use crate::random::{Random, shuffle};
use crate::{Interactions, Protocol, RecommendError};

/// Share of a held-out user's events that is to be found (Liang et al. 2018, section 4.2), as near as whole baskets allow.
const HELD_OUT_SHARE: f64 = 0.2;

/// Stream of the lot over users; those over baskets follow it, one per user.
const USERS: u64 = 0;

/// Draws the users, then each held-out user's baskets. Users with fewer than two baskets are trained on: of one basket
/// nothing could be told.
///
/// Errors: `NothingToEvaluate` if the shares leave a part without users.
pub(super) fn parts(interactions: &Interactions, protocol: &Protocol) -> Result<Vec<Part>, RecommendError> {
    let baskets = baskets_of_users(interactions);
    let mut eligible: Vec<usize> = (0..baskets.len()).filter(|user| baskets[*user].len() > 1).collect();
    shuffle(&mut eligible, &mut Random::new(protocol.seed, USERS));
    let place = |share: f64| (share * eligible.len() as f64).round() as usize;
    let (validation_from, test_from) = (place(protocol.train_share), place(protocol.validation_share));
    let mut parts = vec![Part::Train; basket_count(interactions)];
    if validation_from == 0 || validation_from >= test_from || test_from >= eligible.len() {
        let detail = format!(
            "protocol `strong` needs users with two baskets or more for training, validation and test, and there are `{}`",
            eligible.len()
        );
        return Err(RecommendError::NothingToEvaluate { detail });
    }
    for (place, &user) in eligible.iter().enumerate().skip(validation_from) {
        let window = if place < test_from { Window::Validation } else { Window::Test };
        let mut drawn = baskets[user].clone();
        shuffle(&mut drawn, &mut Random::new(protocol.seed, USERS + 1 + user as u64));
        let held_out = held_out(&drawn);
        for (place, basket) in drawn.iter().enumerate() {
            let part = if place < held_out { Part::HeldOut(window) } else { Part::FoldIn(window) };
            parts[basket.basket as usize] = part;
        }
    }
    Ok(parts)
}

/// How many of the first baskets hold nearest to the wanted share of events: at least one, never all; fewer when two are as near.
fn held_out(baskets: &[Basket]) -> usize {
    let wanted = HELD_OUT_SHARE * baskets.iter().map(|basket| basket.events).sum::<usize>() as f64;
    let mut held = 0;
    let distances = baskets.iter().take(baskets.len().saturating_sub(1)).map(|basket| {
        held += basket.events;
        (held as f64 - wanted).abs()
    });
    let nearest = distances.enumerate().min_by(|one, other| one.1.total_cmp(&other.1));
    nearest.map_or(0, |(place, _)| place + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::split::tests::{row, shop};
    use crate::{ProtocolKind, Split};

    fn protocol(seed: u64) -> Protocol {
        Protocol { kind: ProtocolKind::Strong, seed, ..Protocol::default() }
    }

    #[test]
    fn held_out_users_are_not_trained_on_and_a_fifth_of_their_events_is_to_be_found() {
        let interactions = shop(&[10; 50]);
        let split = Split::new(&interactions, &protocol(3)).unwrap();
        let known = split.known(Window::Test);
        assert_eq!((known.user_ids().len(), known), (40, split.known(Window::Validation)));
        let known = split.known(Window::Test);
        let users = |window| {
            let cases = split.cases(&known, window);
            assert!(cases.iter().all(|case| case.history.len() == 24 && known.user_ordinal(&case.user).is_none()));
            cases.into_iter().map(|case| case.user).collect::<BTreeSet<_>>()
        };
        let (validation, test) = (users(Window::Validation), users(Window::Test));
        assert_eq!((validation.len(), test.len()), (5, 5));
        assert!(validation.is_disjoint(&test));
    }

    #[test]
    fn the_seed_decides_and_nothing_else() {
        let interactions = shop(&[6; 50]);
        let parts = |seed| parts(&interactions, &protocol(seed)).unwrap();
        assert_eq!(parts(3), parts(3));
        assert_ne!(parts(3), parts(4));
    }

    #[test]
    fn users_with_one_basket_are_trained_on_and_too_few_others_are_an_error() {
        let mut baskets = vec![1; 30];
        baskets.extend([4; 20]);
        let interactions = shop(&baskets);
        let split = Split::new(&interactions, &protocol(1)).unwrap();
        let known = split.known(Window::Test);
        assert_eq!(known.user_ids().len(), 30 + 16);
        let error = Split::new(&shop(&[1, 1, 2, 3]), &protocol(1)).unwrap_err().to_string();
        assert!(error.contains("needs users with two baskets or more") && error.contains("`2`"), "{error}");
    }

    #[test]
    fn the_share_is_as_near_as_whole_baskets_allow() {
        let sizes = |sizes: &[usize]| {
            let baskets: Vec<Basket> =
                sizes.iter().map(|&events| Basket { basket: 0, settled_at: 0, events }).collect();
            held_out(&baskets)
        };
        assert_eq!(sizes(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]), 2);
        assert_eq!(sizes(&[9, 1]), 1, "one is always held out");
        assert_eq!(sizes(&[1, 9]), 1, "one is always told");
        assert_eq!(sizes(&[1, 7, 2]), 1, "one of ten is nearer to two than eight are");
    }

    #[test]
    fn an_item_that_training_does_not_know_stays_in_the_history_as_unknown() {
        let mut rows = Vec::new();
        for user in 0..20 {
            for basket in 0..2 {
                let (user, item) = (format!("u{user}"), format!("only-{user}-{basket}"));
                rows.push(row(&user, &item, basket, None));
            }
        }
        let (interactions, _) = Interactions::from_rows(rows);
        let split = Split::new(&interactions, &protocol(1)).unwrap();
        for case in split.cases(&split.known(Window::Test), Window::Test) {
            assert_eq!(case.history[0].item, crate::Ranker::UNKNOWN_ITEM);
            assert_eq!((case.held_out.len(), case.cold_items), (0, 1));
        }
    }
}
