//! Several rankers in one list: every user judges all of them at once, so far fewer visits are needed than for an A/B test.
//!
//! In: rankings, best first, and a seed per visit; later the clicked places.  Out: one list with the picker of each item; whose
//! items were preferred, with tests.
//! Sources: Radlinski, Kurup & Joachims, CIKM 2008; Chapelle et al., TOIS 2012; Schuth et al., CIKM 2014.
//! Never here: showing lists, collecting clicks.
//! Start at [`team_draft`], [`visit_score`] and [`preference`].

use std::collections::HashSet;
use std::hash::Hash;

use crate::coin::Coin;
use crate::stats::distributions::{fair_coin_two_sided, t_quantile, t_sf};
use crate::stats::error::{enough, open_share, row_allowed};
use crate::stats::proportions::{Share, exact_interval, wilson_interval};
use crate::stats::{Alternative, Interval, StatsError};

/// What is known of a share when nothing was decided.
const UNKNOWN: Interval = Interval { lower: 0.0, upper: 1.0 };

/// One list made of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interleaved<T> {
    /// What is shown, best first, without repetition.
    pub items: Vec<T>,
    /// Which ranker picked each item: the one that gets the credit of a click.
    pub pickers: Vec<usize>,
}

/// Team draft for two or more rankers: each round all rankers pick their best unseen item, in an order drawn by lot.
///
/// `rankings`: at least two, best first; repeated items count once. The list has at most `length` items, fewer when all rankers
/// run out. With two rankers it is the team draft of Radlinski et al.; with more, team-draft multileaving.
/// `seed` belongs to the visit (a hash of user, visit and experiment), so that the same visit always sees the same list.
pub fn team_draft<T: Clone + Eq + Hash>(
    rankings: &[&[T]],
    length: usize,
    seed: u64,
) -> Result<Interleaved<T>, StatsError> {
    enough("rankers", rankings.len(), 2)?;
    let mut coin = Coin::new(seed);
    let mut seen: HashSet<&T> = HashSet::new();
    let mut next = vec![0; rankings.len()];
    let mut order: Vec<usize> = (0..rankings.len()).collect();
    let mut list = Interleaved { items: Vec::with_capacity(length), pickers: Vec::with_capacity(length) };
    while list.items.len() < length {
        let before = list.items.len();
        coin.shuffle(&mut order);
        for &ranker in &order {
            if list.items.len() == length {
                break;
            }
            let ranking = rankings[ranker];
            while next[ranker] < ranking.len() && seen.contains(&ranking[next[ranker]]) {
                next[ranker] += 1;
            }
            if let Some(item) = ranking.get(next[ranker]) {
                seen.insert(item);
                list.items.push(item.clone());
                list.pickers.push(ranker);
            }
        }
        if list.items.len() == before {
            break;
        }
    }
    Ok(list)
}

/// Balanced interleaving (Joachims 2003): both rankings in turn, so that every prefix holds as many of one's top as of the other's.
///
/// It is biased when one ranking is the other shifted by one (Chapelle et al. 2012); team draft is the default for that reason.
pub fn balanced<T: Clone + Eq + Hash>(a: &[T], b: &[T], length: usize, a_goes_first: bool) -> Vec<T> {
    let mut seen: HashSet<&T> = HashSet::new();
    let mut items = Vec::with_capacity(length);
    let (mut at_a, mut at_b) = (0, 0);
    while items.len() < length && (at_a < a.len() || at_b < b.len()) {
        let is_a_s_turn = at_b >= b.len() || (at_a < a.len() && (at_a < at_b || (at_a == at_b && a_goes_first)));
        let (ranking, at) = if is_a_s_turn { (a, &mut at_a) } else { (b, &mut at_b) };
        let item = &ranking[*at];
        *at += 1;
        if seen.insert(item) {
            items.push(item.clone());
        }
    }
    items
}

/// Clicks that count for each side of a [`balanced`] list: those on items among the first k of its ranking, for the least k at
/// which both rankings together hold every clicked item.
pub fn balanced_credit<T: Eq + Hash>(a: &[T], b: &[T], clicked: &[T]) -> (usize, usize) {
    let place = |ranking: &[T], item: &T| ranking.iter().position(|other| other == item).unwrap_or(usize::MAX);
    let depth = clicked.iter().map(|item| place(a, item).min(place(b, item))).filter(|place| *place < usize::MAX).max();
    let Some(depth) = depth else { return (0, 0) };
    let within = |ranking: &[T]| clicked.iter().filter(|item| place(ranking, item) <= depth).count();
    (within(a), within(b))
}

/// Clicks per ranker, from the clicked `places` (0-based) of a list. Each place counts once.
///
/// Errors: a place outside the list.
pub fn credit(pickers: &[usize], rankers: usize, places: &[usize]) -> Result<Vec<usize>, StatsError> {
    let mut clicks = vec![0; rankers];
    let mut counted = HashSet::new();
    for (row, &place) in places.iter().enumerate() {
        let picker = pickers.get(place).filter(|picker| **picker < rankers);
        let Some(&picker) = picker else {
            let (value, allowed) = (place as f64, "a place of the list");
            return Err(StatsError::BadRow { row, name: "clicked place", value, allowed });
        };
        if counted.insert(place) {
            clicks[picker] += 1;
        }
    }
    Ok(clicks)
}

/// What one visit says of two rankers: 1 when the first has more clicks, −1 when the second has, 0 for a tie.
pub fn visit_score(clicks_first: usize, clicks_second: usize) -> i8 {
    match clicks_first.cmp(&clicks_second) {
        std::cmp::Ordering::Greater => 1,
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Less => -1,
    }
}

/// Which of two rankers visits prefer.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct RankerPreference {
    /// Δ_AB = (W_A + T/2) / (W_A + W_B + T) − ½, in [−½, ½] (Chapelle et al. 2012, section 4).
    pub delta: f64,
    /// Two-sided sign test without ties.
    pub p: f64,
    /// Clopper & Pearson's interval of the share of wins among visits that are no tie.
    pub exact: Interval,
    /// Wilson's interval of the same.
    pub wilson: Interval,
}

/// Wins of A and B and ties over visits. With nothing but ties p is 1 and nothing is known of the share of wins.
///
/// Visits of one user are not independent; where users come back, take [`user_preference`].
/// Errors: no visits.
pub fn preference(wins: u64, losses: u64, ties: u64, alpha: f64) -> Result<RankerPreference, StatsError> {
    open_share("alpha", alpha)?;
    let (decided, visits) = (wins + losses, wins + losses + ties);
    enough("visits", usize::try_from(visits).unwrap_or(usize::MAX), 1)?;
    let delta = (wins as f64 + 0.5 * ties as f64) / visits as f64 - 0.5;
    let Ok(share) = Share::new(wins, decided) else {
        return Ok(RankerPreference { delta, p: 1.0, exact: UNKNOWN, wilson: UNKNOWN });
    };
    let (exact, wilson) = (exact_interval(share, alpha)?, wilson_interval(share, alpha)?);
    Ok(RankerPreference { delta, p: fair_coin_two_sided(wins, decided), exact, wilson })
}

/// The mean preference of users, each of whom counts once.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct UserPreference {
    /// Mean over users, in [−1, 1].
    pub mean: f64,
    pub standard_error: f64,
    /// Student's t with users − 1 degrees of freedom, two-sided.
    pub p: f64,
    pub interval: Interval,
}

/// `means`: for every user the mean of [`visit_score`] over the user's visits, in [−1, 1].
///
/// Where all users agree exactly there is no variance: p is 0 for a preference and 1 for none.
/// Errors: fewer than two users; a mean outside [−1, 1].
pub fn user_preference(means: &[f64], alpha: f64) -> Result<UserPreference, StatsError> {
    open_share("alpha", alpha)?;
    enough("users", means.len(), 2)?;
    for (row, &value) in means.iter().enumerate() {
        row_allowed(row, "mean score", value, (-1.0..=1.0).contains(&value), "between -1 and 1")?;
    }
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let variance = means.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let standard_error = (variance / n).sqrt();
    let p = if standard_error > 0.0 {
        2.0 * t_sf(mean.abs() / standard_error, n - 1.0)
    } else if mean == 0.0 {
        1.0
    } else {
        0.0
    };
    let half = t_quantile(1.0 - alpha / 2.0, n - 1.0) * standard_error;
    Ok(UserPreference { mean, standard_error, p, interval: Interval::around(mean, half, Alternative::TwoSided) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u32; 4] = [1, 2, 3, 4];
    const B: [u32; 4] = [2, 5, 1, 6];

    #[test]
    fn each_round_both_teams_pick_their_best_unseen_item() {
        let mut lists = HashSet::new();
        for seed in 0..200 {
            let list = team_draft(&[&A, &B], 4, seed).unwrap();
            assert_eq!(list, team_draft(&[&A, &B], 4, seed).unwrap());
            for round in list.pickers.chunks(2) {
                assert!(round == [0, 1] || round == [1, 0], "{list:?}");
            }
            lists.insert(list.items);
        }
        // A first: 1 2 …; B first: 2 1 …; then 3 5 or 5 3.
        let expected = [[1, 2, 3, 5], [1, 2, 5, 3], [2, 1, 3, 5], [2, 1, 5, 3]].map(Vec::from);
        assert_eq!(lists, HashSet::from(expected));
    }

    #[test]
    fn a_coin_decides_who_goes_first() {
        let first = (0..2_000).filter(|seed| team_draft(&[&A, &B], 1, *seed).unwrap().pickers[0] == 0).count();
        // 1,000 ± 4.5 standard deviations of 22.
        assert!((900..1_100).contains(&first), "{first}");
    }

    #[test]
    fn a_ranker_that_runs_out_leaves_the_rest_to_the_others() {
        let list = team_draft(&[&A[..1], &B], 10, 3).unwrap();
        assert_eq!(list.items.iter().collect::<HashSet<_>>(), HashSet::from([&1, &2, &5, &6]));
        assert!(team_draft::<u32>(&[&[], &[]], 10, 3).unwrap().items.is_empty());
        assert!(team_draft(&[&A], 4, 0).is_err());
        let three = team_draft(&[&A, &B, &[9, 8, 7]], 6, 0).unwrap();
        assert_eq!(three.pickers[..3].iter().collect::<HashSet<_>>().len(), 3);
    }

    #[test]
    fn balanced_lists_and_their_credit_are_the_paper_s() {
        assert_eq!(balanced(&A, &B, 4, true), [1, 2, 5, 3]);
        assert_eq!(balanced(&A, &B, 4, false), [2, 1, 5, 3]);
        assert_eq!(balanced(&A, &B, 99, true), [1, 2, 5, 3, 4, 6]);
        // A click on 5: B has it within 2, A not at all. On 1 and 5: depth 2 holds 1 for A and 5 for B.
        assert_eq!(balanced_credit(&A, &B, &[5]), (0, 1));
        assert_eq!(balanced_credit(&A, &B, &[1, 5]), (1, 1));
        assert_eq!(balanced_credit(&A, &B, &[]), (0, 0));
        assert_eq!(balanced_credit(&A, &B, &[99]), (0, 0));
    }

    #[test]
    fn clicks_go_to_the_picker_once_per_place() {
        assert_eq!(credit(&[0, 1, 1, 0], 2, &[1, 2, 1]).unwrap(), [0, 2]);
        assert_eq!((visit_score(0, 2), visit_score(1, 1), visit_score(2, 1)), (-1, 0, 1));
        assert!(credit(&[0, 1], 2, &[2]).is_err());
    }

    #[test]
    fn ties_count_half_in_the_preference_and_not_in_the_test() {
        let found = preference(60, 40, 100, 0.05).unwrap();
        assert!((found.delta - 0.05).abs() < 1e-15);
        assert_eq!(found.p, preference(60, 40, 0, 0.05).unwrap().p);
        let ties = preference(0, 0, 7, 0.05).unwrap();
        assert_eq!((ties.delta, ties.p, ties.exact), (0.0, 1.0, UNKNOWN));
        assert!(preference(0, 0, 0, 0.05).is_err() && preference(1, 1, 0, 0.0).is_err());
    }

    #[test]
    fn users_count_once_by_student_s_t() {
        // Mean .25, variance .25 / 1 … by hand: values 1, 0, 0, 0: s² = .25, SE = .25, t = 1 with 3 df: p = .391.
        let found = user_preference(&[1.0, 0.0, 0.0, 0.0], 0.05).unwrap();
        assert!((found.standard_error - 0.25).abs() < 1e-15 && (found.p - 0.391_002).abs() < 1e-6, "{found:?}");
        assert_eq!(user_preference(&[1.0, 1.0], 0.05).unwrap().p, 0.0);
        assert_eq!(user_preference(&[0.0, 0.0], 0.05).unwrap().p, 1.0);
        assert!(user_preference(&[1.0], 0.05).is_err() && user_preference(&[1.5, 0.0], 0.05).is_err());
    }
}
