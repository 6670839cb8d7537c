//! The search for better settings: seeded draws, successive halving, judged on the validation window only.
//!
//! In: a [`Tuner`]: a [`ValidationWindow`], the current settings, a number of trials; the trials of an earlier, interrupted
//! search.  Out: a [`Tuned`]: the best settings found, and whether they surely beat the current ones.
//! Equal window, settings, seed and number of trials give equal results, on one thread or many, interrupted or not.
//! Never here: the test window ([`ValidationWindow`] does not hold it), clocks, files.
//! Start at [`Tuner::run`].

mod rungs;
mod space;
#[cfg(test)]
mod tests;
mod trial;
mod weights;
mod window;

use std::collections::{BTreeMap, HashMap};

use domain::{FeedItem, Progress, RerankRules};
use serde::Serialize;

use crate::bootstrap::{Estimate, estimate_columns};
use crate::{Parameters, RecommendError, RecommenderKind};
use rungs::{KEPT, rungs};
use trial::Bench;

pub use rungs::Rung;
pub use space::SPACE_VERSION;
pub use trial::Trial;
pub use window::ValidationWindow;

/// Everything that a search needs.
#[derive(Clone, Copy)]
pub struct Tuner<'a> {
    pub window: &'a ValidationWindow,
    /// What stands in the file; always trial 1.
    pub current: &'a Parameters,
    /// Of kind `popularity`: what fills lists up.
    pub baseline: &'a Parameters,
    /// What is done with lists after scoring, and what is known of items for it.
    pub rules: &'a RerankRules,
    pub items: &'a [FeedItem],
    /// Settings to try, the current ones included.
    pub trials: usize,
    pub progress: &'a dyn Progress,
}

impl std::fmt::Debug for Tuner<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tuner")
            .field("current", &self.current)
            .field("trials", &self.trials)
            .finish_non_exhaustive()
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tuned {
    pub kind: RecommenderKind,
    /// Validation users of the last rung.
    pub users: usize,
    /// Different settings that were measured at all.
    pub tried: usize,
    /// Measurements made now, and those that an earlier run had made.
    pub measured: usize,
    pub resumed: usize,
    /// False if time ran out: the same search can be gone on with.
    pub is_complete: bool,
    pub current: Settings,
    /// The best of the last rung; the current settings if nothing is above them.
    pub best: Settings,
    /// ndcg@100 of the best minus that of the current settings, user by user; none if they are the same.
    pub difference: Option<Estimate>,
    /// Whether the interval of the difference lies above zero: only then is a change proposed.
    pub is_better: bool,
}

/// Settings and what they came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Number of the trial.
    pub trial: usize,
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Mean ndcg@100 on the validation window.
    pub ndcg: f64,
}

impl Tuner<'_> {
    /// Searches. `done` are the trials that an earlier run with the same identity kept; `keep` is called with each new one,
    /// `may_go_on` before each: when it says no, only the best so far is still measured on all users.
    ///
    /// Errors: those of `keep`; as [`crate::train`] for the current settings.
    pub fn run<E: From<RecommendError>>(
        &self,
        done: Vec<Trial>,
        keep: &mut dyn FnMut(&Trial) -> Result<(), E>,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Tuned, E> {
        let done: HashMap<(usize, Rung), Trial> =
            done.into_iter().map(|trial| ((trial.number, trial.rung), trial)).collect();
        let mut search =
            Search { tuner: self, bench: Bench::new(self)?, done, seen: HashMap::new(), measured: 0, keep };
        search.measure(1, Rung::Full)?;
        let is_complete = search.climb(may_go_on)?;
        Ok(search.tuned(is_complete))
    }

    /// Measurements of a search that nothing interrupts.
    pub fn measurements(&self) -> usize {
        let mut field = self.trials.saturating_sub(1);
        let mut sum = 1;
        for _ in rungs(self.trials) {
            sum += field;
            field = field.div_ceil(KEPT);
        }
        sum
    }
}

/// A search under way.
struct Search<'a, 'k, E> {
    tuner: &'a Tuner<'a>,
    bench: Bench<'a>,
    /// What an earlier run had measured.
    done: HashMap<(usize, Rung), Trial>,
    /// What this search has looked at.
    seen: HashMap<(usize, Rung), Trial>,
    measured: usize,
    keep: &'k mut dyn FnMut(&Trial) -> Result<(), E>,
}

impl<E: From<RecommendError>> Search<'_, '_, E> {
    /// Rung by rung; false if time ran out.
    fn climb(&mut self, may_go_on: &dyn Fn() -> bool) -> Result<bool, E> {
        let mut field: Vec<usize> = (2..=self.tuner.trials).collect();
        for rung in rungs(self.tuner.trials) {
            let mut ranked: Vec<(f64, usize)> = Vec::with_capacity(field.len());
            let mut is_cut_short = false;
            for &number in &field {
                if !self.done.contains_key(&(number, *rung)) && !may_go_on() {
                    is_cut_short = true;
                    break;
                }
                ranked.extend(self.measure(number, *rung)?.map(|ndcg| (ndcg, number)));
            }
            ranked.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
            if is_cut_short {
                // The field of a later rung stands in the order of the one before.
                let of_before = if *rung == rungs(self.tuner.trials)[0] { None } else { field.first().copied() };
                if let Some(best) = ranked.first().map(|(_, number)| *number).or(of_before) {
                    self.measure(best, Rung::Full)?;
                }
                return Ok(false);
            }
            field = ranked.iter().map(|(_, number)| *number).take(ranked.len().div_ceil(KEPT)).collect();
        }
        Ok(true)
    }

    /// The mean of one trial, from the journal if it is there.
    fn measure(&mut self, number: usize, rung: Rung) -> Result<Option<f64>, E> {
        let trial = match self.done.get(&(number, rung)) {
            Some(trial) => trial.clone(),
            None => {
                let trial = self.bench.measure(number, rung)?;
                (self.keep)(&trial)?;
                self.measured += 1;
                trial
            }
        };
        let ndcg = trial.ndcg;
        self.seen.insert((number, rung), trial);
        self.tuner.progress.advance(1);
        if let Some((_, best)) = self.best() {
            self.tuner.progress.note(&format!("best ndcg@100 so far {best:.4}"));
        }
        Ok(ndcg)
    }

    /// The best of the last rung, the earlier trial among equals, so that the current settings win a draw.
    fn best(&self) -> Option<(usize, f64)> {
        let full = self.seen.values().filter(|trial| trial.rung == Rung::Full);
        let measured = full.filter_map(|trial| Some((trial.number, trial.ndcg?)));
        measured.max_by(|one, other| one.1.total_cmp(&other.1).then(other.0.cmp(&one.0)))
    }

    fn tuned(self, is_complete: bool) -> Tuned {
        let full = |number: usize| self.seen.get(&(number, Rung::Full));
        let settings = |number: usize| {
            let trial = full(number);
            Settings {
                trial: number,
                parameters: trial.map(|trial| trial.parameters.clone()).unwrap_or_default(),
                ndcg: trial.and_then(|trial| trial.ndcg).unwrap_or_default(),
            }
        };
        let values = |number: usize| full(number).map(|trial| trial.values.as_slice()).unwrap_or_default();
        let best = self.best().map_or(1, |(number, _)| number);
        let protocol = self.tuner.window.protocol();
        let differences: Vec<f64> = values(best).iter().zip(values(1)).map(|(best, current)| best - current).collect();
        let difference = match best {
            1 => None,
            _ => estimate_columns(&differences, 1, protocol.resamples, protocol.seed).first().copied(),
        };
        let mut tried: Vec<usize> = self.seen.keys().map(|(number, _)| *number).collect();
        tried.sort_unstable();
        tried.dedup();
        Tuned {
            kind: self.tuner.current.kind(),
            users: self.tuner.window.users(),
            tried: tried.len(),
            measured: self.measured,
            resumed: self.seen.len() - self.measured,
            is_complete,
            current: settings(1),
            best: settings(best),
            difference,
            is_better: difference.is_some_and(|difference| difference.low > 0.0),
        }
    }
}
