//! How far out an effect has to be for its test to find it, by how the experiment may be looked at: the price of looking.
//!
//! In: the plan's error rates and looks, how many units there are.  Out: bounds and powers in standard errors.
//! It is the test of `judged`, asked before there is anything to judge. Power counts what is found at the end, and with planned looks at any of
//! them; finding it early with an always-valid interval would only add to it.
//! Never here: units and variances (see `planning`).
//! Start at [`Ending::power_at`].

use super::Intent;
use crate::decision::Role;
use crate::plan::Sequential;
use crate::stats::StatsError;
use crate::stats::always_valid::{DEFAULT_TUNING_N, multiplier, rho};
use crate::stats::difference::Alternative;
use crate::stats::distributions::normal_quantile;
use crate::stats::error::open_share;
use crate::stats::group_sequential::{Look, Sides, bounds, drifted_crossing};
use crate::stats::power::normal_power;

/// The test of one metric at the end.
#[derive(Debug, Clone)]
pub(super) struct Ending<'a> {
    intent: &'a Intent,
    sides: Sides,
    /// A goal's part of the error rate beside the other goals' (the first step of Holm's).
    share: f64,
    /// Of planned looks with the end as the last.
    looks: Vec<Look>,
}

impl<'a> Ending<'a> {
    /// A guardrail is tested on the harmful side alone (N1). Errors: error rates that are none; looks that do not rise.
    pub(super) fn of(role: Role, share: f64, intent: &'a Intent) -> Result<Self, StatsError> {
        let (share, sides) = match role {
            Role::Primary | Role::Success => (share, Sides::Two),
            Role::Guardrail { .. } => (1.0, Sides::One),
            Role::Watched => (1.0, Sides::Two),
        };
        open_share("alpha", intent.alpha)?;
        let mut ending = Self { intent, sides, share, looks: Vec::new() };
        if intent.sequential == Sequential::Group {
            let mut fractions = intent.looks.clone();
            fractions.push(intent.end);
            // S4; spent as `judged` spends it: at the end all that is left, however little is known by then (S5).
            ending.looks = bounds(&fractions, intent.spending, intent.alpha * share, sides, true)?;
        }
        Ok(ending)
    }

    /// z beyond which an always-valid interval at `alpha` leaves out 0, with `compared` units in both arms: S1 at the share of a goal in the mixture
    /// of the whole α, S3 for a guardrail, as `judged` takes them.
    fn always_valid(&self, alpha: f64, compared: f64) -> Result<f64, StatsError> {
        let tuning = self.intent.planned_units.map_or(DEFAULT_TUNING_N, |units| units as f64);
        match self.sides {
            Sides::One => multiplier(compared, alpha, tuning, Alternative::Greater),
            Sides::Two => {
                let level = alpha * self.share;
                let of = |alpha| rho(alpha, tuning, Alternative::TwoSided);
                let tuned = tuning * of(alpha)? / of(level)?;
                multiplier(compared, level, tuned, Alternative::TwoSided)
            }
        }
    }

    /// Whether the bound at the end is the same however many units there are.
    pub(super) fn is_fixed(&self) -> bool {
        self.intent.sequential != Sequential::AlwaysValid
    }

    fn fixed(&self, alpha: f64) -> Result<f64, StatsError> {
        open_share("alpha", alpha)?;
        Ok(normal_quantile(1.0 - alpha * self.share / self.sides.count()))
    }

    /// The bound at the end, with `compared` units in both arms.
    fn at_end(&self, compared: f64) -> Result<f64, StatsError> {
        let Intent { alpha, running_alpha, .. } = self.intent;
        match self.intent.sequential {
            Sequential::Hybrid => self.fixed(alpha - running_alpha),
            Sequential::None => self.fixed(*alpha),
            Sequential::AlwaysValid => self.always_valid(*alpha, compared),
            Sequential::Group => Ok(self.looks.last().map_or(f64::INFINITY, |look| look.bound)),
        }
    }

    /// The chance to find an effect of `shift` standard errors, those of the end.
    pub(super) fn power_at(&self, shift: f64, compared: f64) -> Result<f64, StatsError> {
        if self.intent.sequential == Sequential::Group {
            return drifted_crossing(&self.looks, shift, self.sides);
        }
        Ok(normal_power(shift, self.at_end(compared)?, self.sides))
    }

    /// The effect in standard errors of the end that is found with the chance `power`: by a fixed test z_{1−α/sides} + z_power (P1).
    pub(super) fn shift_for(&self, power: f64, compared: f64) -> Result<f64, StatsError> {
        let bound = self.at_end(compared)?;
        let last = bound + normal_quantile(power);
        if self.intent.sequential != Sequential::Group {
            return Ok(last);
        }
        // The looks before only add to the chance: never more than by the last bound alone.
        let (mut low, mut high) = (0.0, last.max(0.0));
        while high - low > 1e-9 {
            let middle = 0.5 * (low + high);
            if drifted_crossing(&self.looks, middle, self.sides)? < power { low = middle } else { high = middle }
        }
        Ok(0.5 * (low + high))
    }

    /// The same for whoever looks on some day; `None` where nothing may be claimed before the end.
    pub(super) fn running_shift(&self, power: f64, compared: f64) -> Result<Option<f64>, StatsError> {
        let alpha = match self.intent.sequential {
            Sequential::Hybrid => self.intent.running_alpha,
            Sequential::AlwaysValid => self.intent.alpha,
            Sequential::Group | Sequential::None => return Ok(None),
        };
        Ok(Some(self.always_valid(alpha, compared)? + normal_quantile(power)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::group_sequential::Spending;

    fn intent(spending: Spending, looks: &[f64], end: f64) -> Intent {
        Intent {
            coverage: vec![(0.0, 1.0)],
            shares: vec![0.5, 0.5],
            sequential: Sequential::Group,
            alpha: 0.05,
            running_alpha: 0.01,
            looks: looks.to_vec(),
            spending,
            end,
            days: Some(28),
            planned_units: Some(1_000),
        }
    }

    /// Five even looks at α .05, two-sided, as published (Lan & DeMets' spending functions; see the tests of `stats::group_sequential`).
    #[test]
    fn the_bound_at_the_end_is_that_of_the_plan_s_spending() {
        for (spending, published) in [(Spending::Pocock, 2.386), (Spending::ObrienFleming, 2.031)] {
            let intent = intent(spending, &[0.2, 0.4, 0.6, 0.8], 1.0);
            let found = Ending::of(Role::Primary, 1.0, &intent).unwrap().at_end(1.0).unwrap();
            assert!((found - published).abs() < 6e-4, "{spending:?}: {found}");
        }
    }

    /// With fewer units than planned all of α is spent all the same: without earlier looks that is the test at one fixed end.
    #[test]
    fn an_end_that_comes_first_spends_what_is_left() {
        let early = intent(Spending::Pocock, &[], 0.4);
        let ending = Ending::of(Role::Primary, 1.0, &early).unwrap();
        assert!((ending.at_end(1.0).unwrap() - 1.959_964).abs() < 1e-5);
        // P1: z_{.975} + z_{.8} standard errors of that end are found with the chance .8.
        assert!((ending.power_at(1.959_964 + 0.841_621, 1.0).unwrap() - 0.8).abs() < 1e-5);
        let looked = intent(Spending::Pocock, &[0.2], 0.4);
        assert!(Ending::of(Role::Primary, 1.0, &looked).unwrap().at_end(1.0).unwrap() > 1.97);
    }
}
