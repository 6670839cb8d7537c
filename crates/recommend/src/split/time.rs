//! The global split in time, the default protocol: everything before a moment is known, everything after it is not.
//!
//! In: interactions and the shares of events before each cut.  Out: a part per basket, and the cuts.
//! Cuts are quantiles of event times, by default 80 % and 90 %. All of a basket stands where its *last* event stands, so
//! nothing after a cut leaks into what is trained before it.
//! Never here: users without a history; they are cases with an empty one.
//! Start at [`parts`].

use super::baskets::{basket_count, baskets_of_users};
use super::{Cuts, Part, Window};
use crate::{Interactions, Protocol, RecommendError};

/// Finds the cuts: the event at each quantile begins the next window.
///
/// Errors: `NothingToEvaluate` if the events lie at too few points in time to be cut twice.
pub(super) fn parts(interactions: &Interactions, protocol: &Protocol) -> Result<(Vec<Part>, Cuts), RecommendError> {
    let mut settled_at = vec![i64::MIN; basket_count(interactions)];
    for basket in baskets_of_users(interactions).iter().flatten() {
        settled_at[basket.basket as usize] = basket.settled_at;
    }
    let mut times: Vec<i64> = interactions.events().iter().map(|event| settled_at[event.basket as usize]).collect();
    times.sort_unstable();
    let at = |share: f64| times.get((share * times.len() as f64) as usize).copied();
    let nothing = |detail: &str| RecommendError::NothingToEvaluate { detail: detail.to_owned() };
    let (Some(validation_from), Some(test_from)) = (at(protocol.train_share), at(protocol.validation_share)) else {
        return Err(nothing("there are no interactions"));
    };
    if times[0] >= validation_from || validation_from >= test_from {
        return Err(nothing("the interactions lie at too few points in time to be cut into three windows"));
    }
    let part = |at: i64| match (at < validation_from, at < test_from) {
        (true, _) => Part::Train,
        (false, true) => Part::HeldOut(Window::Validation),
        (false, false) => Part::HeldOut(Window::Test),
    };
    Ok((settled_at.into_iter().map(part).collect(), Cuts { validation_from, test_from }))
}

#[cfg(test)]
mod tests {
    use crate::split::tests::row;
    use crate::{Cuts, Interactions, Protocol, Split, Window};

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
        let split = Split::new(&interactions, &protocol).unwrap();
        assert_eq!(split.cuts(), Some(Cuts { validation_from: 8, test_from: 9 }));
        let train = split.known(Window::Validation);
        assert_eq!((train.events().len(), train.user_ids().len()), (8, 1));
        let validation = split.cases(&train, Window::Validation);
        assert_eq!(validation.len(), 1);
        assert_eq!((validation[0].user.as_str(), &validation[0].held_out[..]), ("a", &[0u32, 1][..]));
        assert!(validation[0].history.is_empty());
        let test = split.cases(&split.known(Window::Test), Window::Test);
        assert_eq!((test[0].user.as_str(), test[0].held_out.len(), test[0].cold_items), ("c", 1, 1));
    }

    #[test]
    fn too_little_time_is_an_error() {
        let (moment, _) = Interactions::from_rows((0..9).map(|i| row("a", &format!("i{i}"), 5, None)));
        let error = Split::new(&moment, &Protocol::default()).unwrap_err().to_string();
        assert!(error.contains("too few points in time"), "{error}");
    }
}
