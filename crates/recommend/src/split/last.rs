//! Leave-last-out: each user's last basket is to be found, from everything else.
//!
//! In: interactions.  Out: a part per basket: the last is the test, the one before it is validation, the others are trained on.
//! Nothing is drawn by lot. Other users' training baskets lie after a held-out one: the future leaks across users.
//! Never here: the last *event* of a user, which would leave the rest of its basket in the history.
//! Start at [`parts`].

use super::baskets::{basket_count, baskets_of_users};
use super::{Part, Window};
use crate::{Interactions, RecommendError};

/// Holds baskets out as long as one is left to know the user by: two baskets give a test case, three a validation case, too.
///
/// Errors: `NothingToEvaluate` if no user has three baskets.
pub(super) fn parts(interactions: &Interactions) -> Result<Vec<Part>, RecommendError> {
    let mut parts = vec![Part::Train; basket_count(interactions)];
    let mut most = 0;
    for baskets in baskets_of_users(interactions) {
        most = baskets.len().max(most);
        if let [.., _, last] = &baskets[..] {
            parts[last.basket as usize] = Part::HeldOut(Window::Test);
        }
        if let [.., _, middle, _] = &baskets[..] {
            parts[middle.basket as usize] = Part::HeldOut(Window::Validation);
        }
    }
    if most < 3 {
        let detail = format!(
            "protocol `last` needs users with three baskets or more, to train on, to choose by and to test on; the most is `{most}`"
        );
        return Err(RecommendError::NothingToEvaluate { detail });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::tests::{row, shop};
    use crate::{Protocol, ProtocolKind, Split};

    fn protocol() -> Protocol {
        Protocol { kind: ProtocolKind::Last, ..Protocol::default() }
    }

    #[test]
    fn the_last_basket_is_held_out_whole_and_the_one_before_it_for_validation() {
        let (interactions, _) = Interactions::from_rows([
            row("a", "i1", 1, Some("first")),
            row("a", "i2", 2, Some("second")),
            row("a", "i3", 3, Some("third")),
            row("a", "i4", 4, Some("third")),
            // Begins first and ends last: a basket stands where it ends.
            row("a", "i5", 0, Some("long")),
            row("a", "i6", 9, Some("long")),
            row("b", "i5", 1, None),
            row("b", "i6", 2, None),
            row("c", "i3", 7, None),
            row("c", "i4", 7, None),
        ]);
        let split = Split::new(&interactions, &protocol()).unwrap();
        let ids = |known: &Interactions, items: &[u32]| {
            items.iter().map(|item| known.item_ids()[*item as usize].to_string()).collect::<Vec<_>>()
        };
        let known = split.known(Window::Validation);
        let [case] = &split.cases(&known, Window::Validation)[..] else { panic!("one user has three baskets") };
        assert_eq!((case.user.as_str(), case.history.len()), ("a", 2));
        assert_eq!((ids(&known, &case.held_out), case.cold_items), (vec!["i3".into(), "i4".into()], 0));
        let known = split.known(Window::Test);
        let [a, b] = &split.cases(&known, Window::Test)[..] else { panic!("two users have two baskets") };
        assert_eq!((ids(&known, &a.held_out), a.cold_items, a.history.len()), (vec!["i5".into()], 1, 4));
        assert_eq!((b.history.len(), b.held_out.len(), b.cold_items), (1, 0, 1));
        assert_eq!(
            known.history(known.user_ordinal(&"c".parse().unwrap()).unwrap()).len(),
            2,
            "one basket stays whole"
        );
    }

    #[test]
    fn nobody_with_three_baskets_is_an_error() {
        let error = Split::new(&shop(&[1, 2, 2]), &protocol()).unwrap_err().to_string();
        assert!(error.contains("three baskets") && error.contains("`2`"), "{error}");
    }
}
