//! Whether a metric can be trusted: the past split at random again and again, and each split analyzed as if it were a test (A/A).
//!
//! In: what each unit was worth in the past, a seed.  Out: a [`TrustReport`]: how often a difference is found where there is none, and a score.
//! Never here: reading the past; what a low score forbids (`lifecycle::checklist` warns).
//! Start at [`trust`].
//!
//! Sources: Kohavi, Tang & Xu 2020, ch. 19; Deng & Shi, KDD 2016. The comparison is the one of `results`, so that what is tried is what decides.

use serde::{Deserialize, Serialize};

use crate::coin::Coin;
use crate::results::{Sample, compare_samples};
use crate::stats::covariates::CovariateMoments;
use crate::stats::distributions::normal_quantile;
use crate::stats::proportions::{Share, exact_interval};
use crate::stats::quantile::{Quantile, QuantileClustered, QuantileMethod, bound_ranks, sample_quantile};
use crate::stats::trust::{Uniformity, uniformity};
use crate::stats::{Alternative, Interval, Scale, StatsError};

/// Splits that tell 5 % from 8 %, and take seconds.
pub const DEFAULT_DRAWS: u32 = 500;
/// A rate whose interval at this level holds α is that of chance.
const CHANCE: f64 = 0.01;
/// The distance of Kolmogorov's law that chance exceeds at that level, times √n (Stephens, JRSS B 32, 1970).
const CHANCE_DISTANCE: f64 = 1.627_6;
/// So much further from uniform, p-values lose all trust: a quarter of them are elsewhere than they should be.
const WORST_DISTANCE: f64 = 0.25;
/// Halves of fewer units say nothing.
const LEAST_UNITS: usize = 20;
/// As many units tell 5 % from 6 % as well as more do, and five hundred splits of them take seconds.
const MOST_UNITS: u64 = 200_000;
/// Values of so many events, with their units, take some hundred megabytes, and five hundred splits of them half a minute.
const MOST_VALUES: u64 = 5_000_000;

/// Of so many units with so many values in all, every how many-th unit is taken: a unit comes with all that it did, or not at all.
pub fn every(units: u64, values: u64) -> u64 {
    units.div_ceil(MOST_UNITS).max(values.div_ceil(MOST_VALUES)).max(1)
}

/// What units were worth in the past.
#[derive(Debug, Clone, PartialEq)]
pub enum Past {
    /// Rows of `width` entries, one row per unit: those of [`Sample::Mean`], or of [`Sample::Ratio`].
    Moments { width: usize, rows: Vec<f64>, is_ratio: bool },
    /// One value per unit.
    Units { share: f64, values: Vec<f64> },
    /// Values of events, each with the place of its unit below `units`.
    Events { share: f64, units: usize, events: Vec<(usize, f64)> },
}

/// What random splits of the past say of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrustReport {
    pub units: usize,
    pub draws: u32,
    /// Splits without figures.
    pub failed: u32,
    pub alpha: f64,
    /// Splits with p at or below α, though there was nothing to find.
    pub found: u32,
    /// Their share, with the exact binomial interval at 95 %.
    pub rate: f64,
    pub rate_interval: (f64, f64),
    /// The largest distance of the p-values from the uniform law, and how surprising it is (Kolmogorov & Smirnov).
    pub distance: f64,
    pub uniformity_p: f64,
    /// How many p-values lie in each tenth from 0 to 1: about as many in all where they are what they should be.
    pub tenths: [u32; 10],
    /// The relative lift that a test on so many units finds with a chance of 80 %: from the median standard error.
    pub sensitivity: f64,
    /// 0.0–1.0: 1 where nothing speaks against the metric.
    pub score: f64,
}

/// A1: splits the units into halves `draws` times, and tests each split at `alpha`, relative to control as results are shown.
///
/// Of quantiles a split shares with all others how dense the values lie around it, so that a rate somewhat off α tells of this past only.
///
/// The score is the lesser of two, times the share of splits that have figures at all: of the rate, 1 − d/α with d from α to its exact 99 % interval
/// (0 inside); of the p-values, 1 − d/¼ with d their distance from uniform beyond what chance exceeds in 1 of 100 runs. A good metric scores 1 in some 98 of
/// 100 runs. By distance and not by its p: with many splits the smallest harmless deviation is significant.
/// Errors: too few units; what keeps every split from being tested.
pub fn trust(past: Past, draws: u32, seed: u64, alpha: f64) -> Result<TrustReport, StatsError> {
    let units = past.units();
    if units < LEAST_UNITS {
        return Err(StatsError::TooFewUnits { n: units as u64, least: LEAST_UNITS as u64 });
    }
    let (mut coin, mut order) = (Coin::new(seed), (0..units).collect::<Vec<usize>>());
    let splitter = Splitter::new(past);
    let (mut p_values, mut errors, mut problem) = (Vec::new(), Vec::new(), None);
    for _ in 0..draws {
        coin.choose_front(&mut order, units / 2);
        match tested(&splitter, &order, alpha) {
            Ok((p, se)) => {
                p_values.push(p);
                errors.push(se);
            }
            Err(error) => problem = Some(error),
        }
    }
    let Some(Uniformity { distance, p_value }) = uniformity(&p_values) else {
        return Err(problem.unwrap_or(StatsError::TooFewUnits { n: 0, least: 1 }));
    };
    let tested = p_values.len() as u64;
    let found = p_values.iter().filter(|p| **p <= alpha).count() as u64;
    let share = Share::new(found, tested)?;
    let interval = exact_interval(share, 0.05)?;
    let score = rate_score(exact_interval(share, CHANCE)?, alpha).min(uniformity_score(distance, p_values.len()));
    let mut tenths = [0; 10];
    p_values.iter().for_each(|p| tenths[((p * 10.0) as usize).min(9)] += 1);
    errors.sort_by(f64::total_cmp);
    // z of the test and z of 80 % (P2).
    let reach = normal_quantile(1.0 - alpha / 2.0) + normal_quantile(0.8);
    Ok(TrustReport {
        units,
        draws,
        failed: draws - tested as u32,
        alpha,
        found: found as u32,
        rate: share.value(),
        rate_interval: (interval.lower, interval.upper),
        distance,
        uniformity_p: p_value,
        tenths,
        sensitivity: reach * errors[errors.len() / 2],
        score: score * tested as f64 / f64::from(draws),
    })
}

/// p and standard error of one split.
fn tested(splitter: &Splitter, order: &[usize], alpha: f64) -> Result<(f64, f64), StatsError> {
    let (treatment, control) = splitter.split(order)?;
    let estimate = compare_samples(&control, &treatment)?.estimate(Scale::Relative)?;
    Ok((estimate.test(Alternative::TwoSided, alpha)?.p_value, estimate.se))
}

/// 1 inside the interval, 0 where its nearer end is twice α, or 0, away.
fn rate_score(interval: Interval, alpha: f64) -> f64 {
    let away = (interval.lower - alpha).max(alpha - interval.upper).max(0.0);
    (1.0 - away / alpha).max(0.0)
}

fn uniformity_score(distance: f64, draws: usize) -> f64 {
    let root = (draws as f64).sqrt();
    let by_chance = CHANCE_DISTANCE / (root + 0.12 + 0.11 / root);
    (1.0 - (distance - by_chance).max(0.0) / WORST_DISTANCE).max(0.0)
}

impl Past {
    fn units(&self) -> usize {
        match self {
            Self::Moments { width, rows, .. } => rows.len().checked_div(*width).unwrap_or(0),
            Self::Units { values, .. } => values.len(),
            Self::Events { units, .. } => *units,
        }
    }
}

/// The past, prepared for many splits.
enum Splitter {
    Moments(Table),
    /// Units by rising value.
    Units {
        share: f64,
        ascending: Vec<(usize, f64)>,
    },
    /// Events by rising value, each with its unit; and how many each unit has.
    Events {
        share: f64,
        ascending: Vec<(usize, f64)>,
        counts: Vec<f64>,
    },
}

/// Rows of entries, one per unit.
struct Table {
    width: usize,
    is_ratio: bool,
    rows: Vec<f64>,
}

impl Splitter {
    fn new(past: Past) -> Self {
        let rising = |mut values: Vec<(usize, f64)>| {
            values.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            values
        };
        match past {
            Past::Moments { width, rows, is_ratio } => Self::Moments(Table { width, is_ratio, rows }),
            Past::Units { share, values } => {
                Self::Units { share, ascending: rising(values.into_iter().enumerate().collect()) }
            }
            Past::Events { share, units, events } => {
                let mut counts = vec![0.0; units];
                events.iter().for_each(|(unit, _)| counts[*unit] += 1.0);
                Self::Events { share, ascending: rising(events), counts }
            }
        }
    }

    /// The first half of `order` as treatment, the rest as control.
    fn split(&self, order: &[usize]) -> Result<(Sample, Sample), StatsError> {
        let (treated, rest) = order.split_at(order.len() / 2);
        match self {
            Self::Moments(table) => Ok((table.sample(treated), table.sample(rest))),
            Self::Units { share, ascending } => {
                let arms = apart(ascending, treated, order.len(), [treated.len(), rest.len()]);
                let sample = |arm: &[f64]| Ok(Sample::Quantile(quantile(arm, *share)?));
                Ok((sample(&arms[0])?, sample(&arms[1])?))
            }
            Self::Events { share, ascending, counts } => {
                let events = |units: &[usize]| units.iter().map(|unit| counts[*unit]).sum::<f64>() as usize;
                let arms = apart(ascending, treated, order.len(), [events(treated), events(rest)]);
                let sample =
                    |arm: &[f64], units: &[usize]| Ok(clustered(quantile(arm, *share)?, ascending, units, counts));
                Ok((sample(&arms[0], treated)?, sample(&arms[1], rest)?))
            }
        }
    }
}

impl Table {
    /// Twice over the units: first the means, then what is around them, so that no difference of large sums is taken, not even where one unit
    /// outweighs all others.
    fn sample(&self, units: &[usize]) -> Sample {
        let (width, n) = (self.width, units.len() as f64);
        let row = |unit: usize| &self.rows[unit * width..(unit + 1) * width];
        let mut means = vec![0.0; width];
        for unit in units {
            means.iter_mut().zip(row(*unit)).for_each(|(mean, x)| *mean += x);
        }
        means.iter_mut().for_each(|mean| *mean /= n);
        let (mut comoments, mut apart) = (vec![0.0; width * width], vec![0.0; width]);
        for unit in units {
            apart.iter_mut().zip(row(*unit)).zip(&means).for_each(|((d, x), mean)| *d = x - mean);
            for (sums, d) in comoments.chunks_exact_mut(width).zip(&apart) {
                sums.iter_mut().zip(&apart).for_each(|(sum, other)| *sum += d * other);
            }
        }
        let moments = CovariateMoments { n: units.len() as u64, means, comoments };
        if self.is_ratio { Sample::Ratio(moments) } else { Sample::Mean(moments) }
    }
}

/// Values of the treated units and of the others, in their order.
fn apart(ascending: &[(usize, f64)], treated: &[usize], units: usize, sizes: [usize; 2]) -> [Vec<f64>; 2] {
    let mut is_treated = vec![false; units];
    treated.iter().for_each(|unit| is_treated[*unit] = true);
    let mut arms = sizes.map(Vec::with_capacity);
    ascending.iter().for_each(|(unit, value)| arms[usize::from(!is_treated[*unit])].push(*value));
    arms
}

fn quantile(values: &[f64], nu: f64) -> Result<Quantile, StatsError> {
    let n = values.len() as u64;
    let (lower, upper) = bound_ranks(n, nu);
    let at = |rank: u64| values.get((rank as usize).saturating_sub(1)).copied();
    match (sample_quantile(values, nu, QuantileMethod::Linear), at(lower), at(upper)) {
        (Some(quantile_hat), Some(quantile_lower), Some(quantile_upper)) => {
            Ok(Quantile { n, n_star: n, nu, quantile_hat, quantile_lower, quantile_upper })
        }
        _ => Err(StatsError::TooFewUnits { n, least: 2 }),
    }
}

/// The quantile of the events of some units; `ascending` and `counts` are those of all.
fn clustered(quantile: Quantile, ascending: &[(usize, f64)], units: &[usize], counts: &[f64]) -> Sample {
    let mut below = vec![0.0; counts.len()];
    ascending.iter().take_while(|(_, value)| *value <= quantile.quantile_hat).for_each(|(unit, _)| below[*unit] += 1.0);
    let sum = |term: &dyn Fn(f64, f64) -> f64| units.iter().map(|unit| term(below[*unit], counts[*unit])).sum::<f64>();
    Sample::QuantileOfEvents(QuantileClustered {
        quantile,
        main_sum: sum(&|m, _| m),
        main_sum_squares: sum(&|m, _| m * m),
        denominator_sum: sum(&|_, d| d),
        denominator_sum_squares: sum(&|_, d| d * d),
        main_denominator_sum_product: sum(&|m, d| m * d),
        n_clusters: units.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(coin: &mut Coin) -> f64 {
        normal_quantile(coin.unit().max(1e-12))
    }

    fn means(rows: Vec<[f64; 2]>) -> Past {
        Past::Moments { width: 2, rows: rows.into_iter().flatten().collect(), is_ratio: false }
    }

    /// A mean with a covariate, a ratio, a quantile of units and one of events that come in bunches: each finds what chance finds.
    #[test]
    fn metrics_whose_noise_is_known_are_trusted() {
        let mut coin = Coin::new(3);
        let mean = means((0..2_000).map(|_| [0; 2].map(|_| 10.0 + normal(&mut coin))).collect());
        let mut ratio = Vec::new();
        for _ in 0..2_000 {
            let visits = 1.0 + (5.0 * coin.unit()).floor();
            ratio.extend([visits * (1.0 + 0.3 * normal(&mut coin)), visits]);
        }
        let ratio = Past::Moments { width: 2, rows: ratio, is_ratio: true };
        let values = (0..20_000).map(|_| 10.0 + normal(&mut coin)).collect();
        let units = Past::Units { share: 0.5, values };
        let mut events = Vec::new();
        for unit in 0..5_000 {
            let level = 10.0 + 2.0 * normal(&mut coin);
            events.extend((0..1 + unit % 8).map(|_| (unit, level + 0.5 * normal(&mut coin))));
        }
        let events = Past::Events { share: 0.5, units: 5_000, events };
        for (past, name) in [(mean, "mean"), (ratio, "ratio"), (units, "units"), (events, "events")] {
            let found = trust(past.clone(), 500, 7, 0.05).unwrap();
            // Three standard errors of a share of 500.
            assert!((found.rate - 0.05).abs() < 0.03 && found.score > 0.8, "{name}: {found:?}");
            assert!(found.failed == 0 && found.tenths.iter().sum::<u32>() == 500, "{name}: {found:?}");
            assert_eq!(trust(past, 500, 7, 0.05).unwrap(), found, "{name}");
        }
    }

    /// One unit outweighs all others: p only tells in which half it is.
    #[test]
    fn a_metric_that_one_unit_decides_is_not() {
        let mut coin = Coin::new(4);
        let mut rows: Vec<[f64; 2]> = (0..2_000).map(|_| [10.0 + normal(&mut coin), 0.0]).collect();
        rows[17][0] = 1e6;
        let found = trust(means(rows), 300, 7, 0.05).unwrap();
        assert!(found.score == 0.0 && found.distance > 0.5, "{found:?}");
        assert_eq!(found.tenths.iter().filter(|count| **count > 0).count(), 2, "{found:?}");
    }

    /// The half without the one unit of 1e9 is as if there were none: its sum of squares, by hand, is that of 500 times +1 and 500 times −1.
    #[test]
    fn a_huge_unit_does_not_touch_the_half_that_it_is_not_in() {
        let mut rows: Vec<[f64; 2]> = (0..2_000).map(|unit| [if unit % 2 == 0 { 11.0 } else { 9.0 }, 0.0]).collect();
        rows[17][0] = 1e9;
        let splitter = Splitter::new(means(rows));
        let order: Vec<usize> = (0..2_000).collect();
        let (treatment, control) = splitter.split(&order).unwrap();
        let (Sample::Mean(with), Sample::Mean(without)) = (treatment, control) else { panic!("means") };
        assert_eq!((without.n, without.means[0], without.comoments[0]), (1_000, 10.0, 1_000.0));
        // (1 − 1/n)·(1e9 − 10)², and what the others are around 10 is far below its digits.
        assert!((with.comoments[0] / (0.999 * (1e9 - 10.0_f64).powi(2)) - 1.0).abs() < 1e-9, "{with:?}");
    }

    #[test]
    fn of_many_units_or_many_events_as_many_units_are_taken_as_memory_holds() {
        // 200,000 units, or 5 million values: each by itself, and the scarcer of both.
        assert_eq!((every(0, 0), every(200_000, 200_000), every(200_001, 200_001)), (1, 1, 2));
        assert_eq!((every(200_000, 50_000_000), every(1_000_000, 6_000_000), every(30, 5_000_001)), (10, 5, 2));
    }

    /// Events as if they were independent: with 20 per unit, all alike, the noise is √20 times what they say.
    #[test]
    fn a_quantile_that_forgets_units_is_not() {
        let mut coin = Coin::new(5);
        let levels: Vec<f64> = (0..200).map(|_| normal(&mut coin)).collect();
        let events: Vec<(usize, f64)> =
            (0..4_000).map(|event| (event / 20, 10.0 + levels[event / 20] + 0.01 * normal(&mut coin))).collect();
        let splitter = Splitter::new(Past::Events { share: 0.5, units: 200, events });
        let mut order: Vec<usize> = (0..200).collect();
        let mut wrong = 0;
        for _ in 0..200 {
            coin.choose_front(&mut order, 100);
            let plain = |sample: Sample| match sample {
                Sample::QuantileOfEvents(found) => Sample::Quantile(found.quantile),
                other @ (Sample::Mean(_) | Sample::Ratio(_) | Sample::Quantile(_)) => other,
            };
            let (treatment, control) = splitter.split(&order).unwrap();
            let found = compare_samples(&plain(control), &plain(treatment)).unwrap().estimate(Scale::Relative).unwrap();
            wrong += u32::from(found.test(Alternative::TwoSided, 0.05).unwrap().p_value <= 0.05);
        }
        assert!(wrong > 100, "{wrong}");
    }

    #[test]
    fn scores_fall_as_evidence_rises() {
        let interval = |lower, upper| Interval { lower, upper };
        assert_eq!(rate_score(interval(0.03, 0.08), 0.05), 1.0);
        assert!((rate_score(interval(0.075, 0.12), 0.05) - 0.5).abs() < 1e-12);
        assert!((rate_score(interval(0.0, 0.01), 0.05) - 0.2).abs() < 1e-12);
        assert_eq!(rate_score(interval(0.2, 0.3), 0.05), 0.0);
        // 1.6276 over √400 + .12 + .0055 is .0809 (Stephens 1970).
        assert!((uniformity_score(0.08, 400), uniformity_score(0.4, 400)) == (1.0, 0.0));
        assert!((uniformity_score(0.0809 + 0.125, 400) - 0.5).abs() < 1e-3);
    }

    #[test]
    fn a_past_without_figures_says_why() {
        let few = Past::Units { share: 0.5, values: vec![1.0; 10] };
        assert!(matches!(trust(few, 10, 1, 0.05), Err(StatsError::TooFewUnits { n: 10, least: 20 })));
        assert_eq!(trust(means(vec![[3.0, 0.0]; 100]), 10, 1, 0.05), Err(StatsError::NoVariance));
        let nobody = Past::Events { share: 0.5, units: 30, events: Vec::new() };
        assert!(trust(nobody, 10, 1, 0.05).is_err());
    }
}
