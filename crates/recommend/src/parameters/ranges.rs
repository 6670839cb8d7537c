//! Which values of each parameter make sense.
//!
//! In: typed [`Parameters`].  Out: nothing, or the first value that is out of range and what it must be.
//! Never here: names and types (see `mod`).
//! Start at [`Parameters::validate`].

use super::{
    CcoParameters, ContentParameters, HistoryParameters, IndicatorParameters, Parameters, PopularityParameters,
    RecommenderKind,
};
use crate::{RecommendError, WeightScheme};

/// Beyond it, the exact fold-in of a user (d³/6) is the wrong algorithm.
const MAX_FACTORS: usize = 1_024;

/// More neighbours than this is no longer a neighbourhood.
const MAX_NEIGHBOURS: usize = 100_000;

/// A pair further apart adds less than a hundredth of a neighbour's weight, and each step costs a pass over the events.
const MAX_WINDOW: usize = 100;

/// Pairs are counted with the square of it: beyond, one user takes seconds.
const MAX_EVENTS_PER_USER: usize = 100_000;

/// Each indicator costs a pass over all users; nobody tells apart more kinds of behaviour.
const MAX_INDICATORS: usize = 64;

/// Each part of a blend costs a request its own scoring pass.
const MAX_PARTS: usize = 8;

impl Parameters {
    /// Checks ranges; called by [`Parameters::resolve`] and again by `train`, because the fields are public.
    pub fn validate(&self) -> Result<(), RecommendError> {
        let check = Check { kind: self.kind() };
        match self {
            Self::Popularity(p) => {
                check.half_life(p.half_life_days, WeightScheme::Summed)?;
                check.days("trending_days", p.trending_days)?;
                check.segment(p)
            }
            Self::ItemKnn(p) => {
                check.between("exponent", p.exponent, 0.0, 1.0)?;
                check.not_negative("shrink", p.shrink)?;
                check.count("neighbours", p.neighbours, 1, MAX_NEIGHBOURS)?;
                check.history(&p.history)
            }
            Self::Llr(p) => {
                check.not_negative("min_llr", p.min_llr)?;
                check.count("neighbours", p.neighbours, 1, MAX_NEIGHBOURS)?;
                check.history(&p.history)
            }
            Self::Cco(p) => check.cco(p),
            Self::Rp3beta(p) => {
                check.between("alpha", p.alpha, 0.0, 4.0)?;
                check.between("beta", p.beta, 0.0, 4.0)?;
                check.count("neighbours", p.neighbours, 1, MAX_NEIGHBOURS)?;
                check.history(&p.history)
            }
            Self::Ease(p) => {
                check.positive("lambda", p.lambda)?;
                check.count("max_items", p.max_items, 1, u32::MAX as usize)?;
                check.history(&p.history)
            }
            Self::Ials(p) => {
                check.count("factors", p.factors, 1, MAX_FACTORS)?;
                check.count("epochs", p.epochs, 1, 1_000)?;
                check.positive("lambda", p.lambda)?;
                check.positive("alpha", p.alpha)?;
                check.between("nu", p.nu, 0.0, 2.0)?;
                p.block.map_or(Ok(()), |block| check.count("block", block, 1, MAX_FACTORS))?;
                check.cold((&p.cold_items, &p.cold_users), &p.history)
            }
            Self::Bpr(p) => {
                check.count("factors", p.factors, 1, MAX_FACTORS)?;
                check.count("epochs", p.epochs, 1, 10_000)?;
                check.positive("learning_rate", p.learning_rate)?;
                check.not_negative("lambda", p.lambda)?;
                check.cold((&p.cold_items, &p.cold_users), &p.history)
            }
            Self::Sequence(p) => {
                check.count("window", p.window, 1, MAX_WINDOW)?;
                check.between("history_exponent", p.history_exponent, 0.0, 1.0)?;
                check.between("target_exponent", p.target_exponent, 0.0, 1.0)?;
                check.not_negative("same_step", p.same_step)?;
                check.days("half_life_days", p.half_life_days)?;
                check.count("neighbours", p.neighbours, 1, MAX_NEIGHBOURS)?;
                check.count("max_history", p.max_history, 1, u32::MAX as usize)?;
                check.positive("recency", p.recency)
            }
            Self::Blend(p) => {
                check.count("parts", p.parts.len(), 1, MAX_PARTS)?;
                for part in &p.parts {
                    if part.parameters.kind() == RecommenderKind::Blend {
                        return Err(self.nested_blend());
                    }
                    check.positive("weight", part.weight)?;
                    check.is_for_the_known(&part.parameters)?;
                    part.parameters.validate()?;
                }
                Ok(())
            }
        }
    }
}

struct Check {
    kind: RecommenderKind,
}

impl Check {
    fn that(&self, name: &str, value: impl ToString, is_good: bool, expected: &str) -> Result<(), RecommendError> {
        if is_good {
            return Ok(());
        }
        Err(RecommendError::BadParameter {
            kind: self.kind,
            name: name.to_owned(),
            value: value.to_string(),
            expected: expected.to_owned(),
        })
    }

    fn positive(&self, name: &str, value: f64) -> Result<(), RecommendError> {
        self.that(name, value, value.is_finite() && value > 0.0, "a number above 0")
    }

    fn not_negative(&self, name: &str, value: f64) -> Result<(), RecommendError> {
        self.that(name, value, value.is_finite() && value >= 0.0, "0 or more")
    }

    fn between(&self, name: &str, value: f64, from: f64, to: f64) -> Result<(), RecommendError> {
        self.that(name, value, (from..=to).contains(&value), &format!("between {from} and {to}"))
    }

    fn count(&self, name: &str, value: usize, from: usize, to: usize) -> Result<(), RecommendError> {
        self.that(name, value, (from..=to).contains(&value), &format!("between {from} and {to}"))
    }

    fn days(&self, name: &str, days: Option<f64>) -> Result<(), RecommendError> {
        let Some(days) = days else {
            return Ok(());
        };
        self.that(name, days, days.is_finite() && days > 0.0, "a number of days above 0")
    }

    fn half_life(&self, half_life_days: Option<f64>, weights: WeightScheme) -> Result<(), RecommendError> {
        let Some(days) = half_life_days else {
            return Ok(());
        };
        self.days("half_life_days", Some(days))?;
        let is_used = weights == WeightScheme::Summed;
        self.that("half_life_days", days, is_used, "absent unless `weights = \"summed\"`")
    }

    fn segment(&self, p: &PopularityParameters) -> Result<(), RecommendError> {
        if let Some(segment) = &p.segment {
            self.that("segment", segment, !segment.is_empty(), "a column of the users table")?;
        }
        let Some(events) = p.prior_events else {
            return Ok(());
        };
        self.not_negative("prior_events", events)?;
        self.that("prior_events", events, p.segment.is_some(), "absent unless `segment` is set")
    }

    fn cold(
        &self,
        (items, users): (&Option<ContentParameters>, &Option<ContentParameters>),
        history: &HistoryParameters,
    ) -> Result<(), RecommendError> {
        self.content("cold_items", items.as_ref())?;
        self.content("cold_users", users.as_ref())?;
        self.history(history)
    }

    fn content(&self, name: &str, content: Option<&ContentParameters>) -> Result<(), RecommendError> {
        let Some(content) = content else {
            return Ok(());
        };
        self.that(name, "{}", content.columns().next().is_some(), "a table with `attributes` or `words`")?;
        if let Some(rho) = content.regularization {
            self.positive("regularization", rho)?;
        }
        let Some(events) = content.min_events else {
            return Ok(());
        };
        self.that("min_events", events, name == "cold_items", "absent in `cold_users`: any history wins")?;
        self.count("min_events", events, 1, 1_000_000)
    }

    /// Parts of a blend score the same items, and only popularity by itself has segments.
    fn is_for_the_known(&self, part: &Parameters) -> Result<(), RecommendError> {
        let is_plain = *part == part.for_the_known();
        let expected = "without `cold_items`, `cold_users` and `segment`: these are for a recommender by itself";
        self.that("parts", part.kind(), is_plain, expected)
    }

    fn cco(&self, parameters: &CcoParameters) -> Result<(), RecommendError> {
        self.not_negative("min_llr", parameters.min_llr)?;
        self.count("neighbours", parameters.neighbours, 1, MAX_NEIGHBOURS)?;
        self.not_negative("weight", parameters.weight)?;
        self.count("max_events_per_user", parameters.max_events_per_user, 1, MAX_EVENTS_PER_USER)?;
        self.indicators(&parameters.indicators)?;
        self.history(&parameters.history)
    }

    fn indicators(&self, indicators: &[IndicatorParameters]) -> Result<(), RecommendError> {
        self.count("indicators", indicators.len(), 0, MAX_INDICATORS)?;
        for (place, indicator) in indicators.iter().enumerate() {
            let is_new = indicators[..place].iter().all(|other| other.name != indicator.name);
            self.that("indicators", &indicator.name, is_new, "named once each")?;
            self.that("indicators", "``", !indicator.name.is_empty(), "named")?;
            self.not_negative("weight", indicator.weight)?;
            indicator.min_llr.map_or(Ok(()), |ratio| self.not_negative("min_llr", ratio))?;
            indicator.neighbours.map_or(Ok(()), |most| self.count("neighbours", most, 1, MAX_NEIGHBOURS))?;
        }
        Ok(())
    }

    fn history(&self, history: &HistoryParameters) -> Result<(), RecommendError> {
        self.count("max_history", history.max_history, 1, u32::MAX as usize)?;
        self.half_life(history.half_life_days, history.weights)?;
        history.recency.map_or(Ok(()), |recency| self.positive("recency", recency))
    }
}
