//! Which events of the indicators are known: none at or after the moment from which something of the user is to be found.
//!
//! In: a [`Split`], a window.  Out: the indicators that are trained on, and what is told about users who are not.
//! The moment is the cut in time, if there is one, or the user's first held-out event, whichever is earlier: a view that led to
//! what is to be found must not point at it from behind.
//! Never here: interactions (see `mod`), what indicators mean.
//! Start at [`Split::known_indicators`].

use super::{Part, Split, Window};
use crate::{HistoryItem, Indicators, Interactions};

impl Split<'_> {
    /// What recommenders are trained on beside the interactions. Users who are only told about are left out.
    pub(super) fn known_indicators(&self, window: Window) -> Indicators {
        let indicators = self.interactions.indicators();
        if indicators.is_empty() {
            return Indicators::default();
        }
        let users = 0..self.interactions.user_ids().len() as u32;
        let limits: Vec<(i64, bool)> =
            users.map(|user| (self.known_until(user, window), self.is_told_about(user))).collect();
        let cut = self.cut(window);
        indicators.retain(|user, at| match self.interactions.user_ordinal(user) {
            Some(user) => {
                let (until, is_told_about) = limits[user as usize];
                at < until && !is_told_about
            }
            None => at < cut,
        })
    }

    /// What a user who is not trained on did besides, in ordinals behind the items of `known`.
    pub(super) fn told_besides(&self, known: &Interactions, user: u32, window: Window) -> Vec<HistoryItem> {
        if !self.is_told_about(user) {
            return Vec::new();
        }
        let (until, all) = (self.known_until(user, window), self.interactions.indicators());
        let events = all.history(&self.interactions.user_ids()[user as usize]).iter().filter(|event| event.at < until);
        let told = events.filter_map(|event| {
            let place = known.indicators().place(&all.things()[event.thing as usize])?;
            let item = known.item_ids().len() as u32 + place;
            Some(HistoryItem { item, weight: event.weight, at: event.at })
        });
        told.collect()
    }

    fn cut(&self, window: Window) -> i64 {
        self.cuts.map_or(i64::MAX, |cuts| match window {
            Window::Validation => cuts.validation_from,
            Window::Test => cuts.test_from,
        })
    }

    /// Seconds since 1970 UTC from which on nothing of a user is known.
    fn known_until(&self, user: u32, window: Window) -> i64 {
        let events = self.interactions.history(user).iter();
        let hidden =
            events.filter(|event| matches!(self.part(event), Part::HeldOut(_)) && !self.is_known(event, window));
        hidden.map(|event| event.at).chain([self.cut(window)]).min().unwrap_or(i64::MAX)
    }

    /// Whether a user is measured without having been trained on.
    fn is_told_about(&self, user: u32) -> bool {
        let is_known_in_no_window = |part| match part {
            Part::FoldIn(_) => true,
            Part::HeldOut(_) => !self.is_trained_again,
            Part::Train => false,
        };
        self.interactions.history(user).iter().any(|event| is_known_in_no_window(self.part(event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::tests::indicators;
    use crate::split::tests::shop;
    use crate::{Protocol, ProtocolKind};

    const DAY: i64 = 86_400;

    /// Fifty users with a basket a day for five days, who look at something every six hours and go on for a week.
    fn market() -> Interactions {
        let shop = shop(&[5; 50]);
        let rows: Vec<(String, String, i64)> = (0..50)
            .flat_map(|user| (0..48).map(move |step| (format!("u{user:03}"), format!("t{step}"), step * DAY / 4)))
            .collect();
        let rows: Vec<(&str, &str, &str, i64)> =
            rows.iter().map(|(user, thing, at)| ("view", user.as_str(), thing.as_str(), *at)).collect();
        shop.with_indicators(indicators(&rows))
    }

    #[test]
    fn nothing_from_the_moment_on_that_is_to_be_foretold_is_known() {
        let market = market();
        for kind in ProtocolKind::ALL {
            let split = Split::new(&market, &Protocol { kind, ..Protocol::default() }).unwrap();
            for window in [Window::Validation, Window::Test] {
                let known = split.known(window);
                let items = known.item_ids().len() as u32;
                let mut told = 0;
                for case in split.cases(&known, window) {
                    let user = market.user_ordinal(&case.user).unwrap();
                    let held_out = |event: &&crate::Event| split.part(event) == Part::HeldOut(window);
                    let moment = market.history(user).iter().filter(held_out).map(|event| event.at).min().unwrap();
                    let things: Vec<&HistoryItem> = case.history.iter().filter(|event| event.item >= items).collect();
                    assert!(things.iter().all(|event| event.at < moment), "{kind} {window:?}");
                    told += things.len();
                    let is_trained_on = known.user_ordinal(&case.user).is_some();
                    assert!(is_trained_on || known.indicators().history(&case.user).is_empty(), "{kind} {window:?}");
                }
                assert!(told > 0, "{kind} {window:?}");
                if let Some(cuts) = split.cuts() {
                    let cut = [cuts.validation_from, cuts.test_from][usize::from(window == Window::Test)];
                    assert!(known.indicators().events().iter().all(|event| event.at < cut));
                    assert!(known.indicators().events().iter().any(|event| event.at > cut - DAY));
                }
            }
        }
    }
}
