//! All that a search may look at: the validation window. The test window is not in it, so nothing can be chosen by it.
//!
//! In: interactions and a protocol.  Out: a [`ValidationWindow`]: what was known, and what its users went on to choose.
//! Never here: the test window; it is dropped before anything is trained.
//! Start at [`ValidationWindow::new`].

use crate::evaluate::Repeats;
use crate::random::{Random, shuffle};
use crate::{Case, Interactions, Protocol, RecommendError, Split, Window};

/// Stream of the lot over users; trials have the small numbers.
const SAMPLE: u64 = u64::MAX;

/// The validation window of an evaluation, without the rest of it.
#[derive(Debug, Clone)]
pub struct ValidationWindow {
    known: Interactions,
    /// Users with a history and something to be found, in the order of the lot: a sample is the first so many.
    cases: Vec<Case>,
    protocol: Protocol,
    filter_seen: bool,
}

impl ValidationWindow {
    /// Keeps of the interactions what validation trains on, and what it held out. `filter_seen` as in the recommender's file.
    ///
    /// Errors: as [`Split::new`]; `NothingToEvaluate` if no user of the window has both a history and something to be found.
    pub fn new(interactions: &Interactions, protocol: &Protocol, filter_seen: bool) -> Result<Self, RecommendError> {
        let split = Split::new(interactions, protocol)?;
        let known = split.known(Window::Validation);
        let narrowed =
            split.cases(&known, Window::Validation).into_iter().map(|case| case.under(Repeats::of(filter_seen)));
        let mut cases: Vec<Case> =
            narrowed.filter(|case| !case.history.is_empty() && !case.held_out.is_empty()).collect();
        if cases.is_empty() {
            let detail = "no user of the validation window has both a history and something to be found".into();
            return Err(RecommendError::NothingToEvaluate { detail });
        }
        shuffle(&mut cases, &mut Random::new(protocol.seed, SAMPLE));
        Ok(Self { known, cases, protocol: protocol.clone(), filter_seen })
    }

    /// What recommenders are trained on.
    pub fn known(&self) -> &Interactions {
        &self.known
    }

    /// Users that can be measured.
    pub fn users(&self) -> usize {
        self.cases.len()
    }

    pub(super) fn sample(&self, users: usize) -> &[Case] {
        &self.cases[..users.min(self.cases.len())]
    }

    pub(super) fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    pub(super) fn filter_seen(&self) -> bool {
        self.filter_seen
    }
}
