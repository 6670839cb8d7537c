//! How much of the work a trial is worth so far: successive halving (Jamieson & Talwalkar 2016), a third going on each time.
//!
//! In: the number of trials.  Out: the [`Rung`]s they climb.
//! Never here: measuring (see `trial`), the order of events (see `mod`).
//! Start at [`rungs`].

use serde::{Deserialize, Serialize};

use crate::Parameters;

/// One of so many goes on to the next rung.
pub(super) const KEPT: usize = 3;

/// Fewer users than this say nothing: the standard error of ndcg@100 is then above .02.
const FEWEST_USERS: usize = 200;

/// Fewer sweeps than this leave factors near their random start.
const FEWEST_EPOCHS: usize = 3;

/// How thoroughly a trial is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// On a ninth of the users, with a third of the epochs.
    Ninth,
    /// On a third of the users, with two thirds of the epochs.
    Third,
    /// On all of them, as it will be evaluated.
    Full,
}

/// The rungs of so many trials: with few of them there is nothing to sort out first.
pub(super) fn rungs(trials: usize) -> &'static [Rung] {
    match trials {
        0..KEPT => &[Rung::Full],
        KEPT..9 => &[Rung::Third, Rung::Full],
        _ => &[Rung::Ninth, Rung::Third, Rung::Full],
    }
}

impl Rung {
    /// Users to measure on, of so many.
    pub(super) fn users(self, all: usize) -> usize {
        let share = match self {
            Self::Ninth => all / (KEPT * KEPT),
            Self::Third => all / KEPT,
            Self::Full => all,
        };
        share.max(FEWEST_USERS).min(all)
    }

    /// The settings with fewer epochs, for kinds that have some; parts of a blend are trained as they are, for they are shared.
    pub(super) fn shortened(self, parameters: &Parameters) -> Parameters {
        let epochs = |full: usize| match self {
            Self::Ninth => full.div_ceil(KEPT).max(FEWEST_EPOCHS).min(full),
            Self::Third => (2 * full).div_ceil(KEPT).max(FEWEST_EPOCHS).min(full),
            Self::Full => full,
        };
        let mut shortened = parameters.clone();
        match &mut shortened {
            Parameters::Ials(ials) => ials.epochs = epochs(ials.epochs),
            Parameters::Bpr(bpr) => bpr.epochs = epochs(bpr.epochs),
            Parameters::Popularity(_)
            | Parameters::ItemKnn(_)
            | Parameters::Ease(_)
            | Parameters::Llr(_)
            | Parameters::Cco(_)
            | Parameters::Rp3beta(_)
            | Parameters::Sequence(_)
            | Parameters::Blend(_) => {}
        }
        shortened
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecommenderKind;

    #[test]
    fn the_last_rung_is_the_whole_and_lower_ones_are_cheaper() {
        let users = |all| [Rung::Ninth, Rung::Third, Rung::Full].map(|rung| rung.users(all));
        assert_eq!((users(9_000), users(900), users(50)), ([1_000, 3_000, 9_000], [200, 300, 900], [50, 50, 50]));
        let epochs = |rung: Rung| {
            rung.shortened(&Parameters::defaults(RecommenderKind::Ials)).to_map()["epochs"].as_u64().unwrap()
        };
        assert_eq!([Rung::Ninth, Rung::Third, Rung::Full].map(epochs), [4, 7, 10]);
        assert_eq!([1, 3, 9, 100].map(|trials| rungs(trials).len()), [1, 2, 3, 3]);
    }
}
