//! Whether an effect wears off: the lift on each day since a unit's first exposure.
//!
//! In: samples of what units did on the first day, the second, and so on.  Out: [`NoveltyRow`]s.
//! Never here: days of the calendar (`daily`), verdicts: they do not read it.
//! Start at [`by_days_since`].

use serde::Serialize;

use crate::results::{Observed, Sample, compare_samples};
use crate::stats::always_valid::always_valid;
use crate::stats::trust::novelty;
use crate::stats::{Alternative, Difference, Estimate, Interval, Scale};

/// What units did on one day since their exposure; 0 is the day of exposure, from then on.
#[derive(Debug, Clone, PartialEq)]
pub struct DaySince {
    pub day: u32,
    /// Per metric, and in it in the order of the variants; empty where the window of the metric does not touch the day.
    pub samples: Vec<Vec<Option<Sample>>>,
}

/// One metric in one arm, by days since exposure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NoveltyRow {
    pub metric: String,
    pub arm: String,
    pub days: Vec<NoveltyDay>,
    /// The change of the lift per day, with a fixed interval at α; days are taken as independent. `None` below three days.
    pub trend: Option<Difference>,
}

/// The lift of one day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NoveltyDay {
    pub day: u32,
    /// Units of the arm and of control whose day is over.
    pub units: (u64, u64),
    /// Relative.
    pub effect: f64,
    /// Always-valid at α (S1).
    pub band: Interval,
}

/// A2: the lift with its band for every day on which there is one.
pub fn by_days_since(observed: &Observed, since: &[DaySince]) -> Vec<NoveltyRow> {
    let mut rows = Vec::new();
    for (arm, (name, _)) in observed.variants.iter().enumerate().skip(1) {
        for (place, metric) in observed.metrics.iter().enumerate() {
            let of_day = |day: &DaySince| {
                let samples = day.samples.get(place)?;
                let (control, treatment) = (samples.first()?.as_ref()?, samples.get(arm)?.as_ref()?);
                let comparison = compare_samples(control, treatment).ok()?;
                let estimate = comparison.estimate(Scale::Relative).ok()?;
                Some((day.day, (comparison.treatment.n, comparison.control.n), estimate))
            };
            let found: Vec<(u32, (u64, u64), Estimate)> = since.iter().filter_map(of_day).collect();
            let estimates: Vec<(f64, Estimate)> = found.iter().map(|(day, _, it)| (f64::from(*day), *it)).collect();
            let trend = novelty(&estimates, observed.alpha, observed.tuning_n()).ok().map(|found| found.trend);
            let day = |(day, units, estimate): (u32, (u64, u64), Estimate)| {
                let test = always_valid(&estimate, Alternative::TwoSided, observed.alpha, observed.tuning_n()).ok()?;
                Some(NoveltyDay { day, units, effect: estimate.effect, band: test.ci })
            };
            let days: Vec<NoveltyDay> = found.into_iter().filter_map(day).collect();
            if !days.is_empty() {
                rows.push(NoveltyRow { metric: metric.name.clone(), arm: name.clone(), days, trend });
            }
        }
    }
    rows
}
