//! Thompson sampling: each arm gets traffic as likely as it is the best one, and never none.
//!
//! In: what is known of each arm.  Out: P(arm is best), by quadrature, and shares with a floor; later the means with their errors.
//! Sources: Thompson, Biometrika 1933; Hadad et al., PNAS 2021 (inference from adaptive logs).
//! Never here: contextual trees.
//! Start at [`allocate`]; inference is [`adaptive_mean`].

use crate::ranking::off_policy::check_propensity;
use crate::stats::distributions::{beta_cdf, normal_cdf, normal_quantile};
use crate::stats::error::{allowed, enough, finite, open_share, positive, row_allowed, same_length};
use crate::stats::proportions::Share;
use crate::stats::quadrature::panels;
use crate::stats::{Alternative, Interval, StatsError};

/// Below this many units in any arm, shares stay equal: variances are not known yet.
pub const LEAST_UNITS_PER_ARM: u64 = 100;
/// No arm gets less traffic than this, so that it can still prove itself and every propensity stays above zero.
pub const DEFAULT_FLOOR: f64 = 0.01;

/// The law of an arm's mean after the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Belief {
    /// Normal with this mean and standard deviation ≥ 0.
    Gaussian { mean: f64, deviation: f64 },
    /// Beta(1 + successes, 1 + misses): a share with the uniform prior.
    Beta(Share),
}

/// A normal prior of an arm's mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaussianPrior {
    pub mean: f64,
    pub variance: f64,
}

impl Belief {
    /// From `units` > 0 with a sample mean and variance ≥ 0. Without a prior the mean's own law.
    pub fn gaussian(units: u64, mean: f64, variance: f64, prior: Option<GaussianPrior>) -> Result<Self, StatsError> {
        allowed("units", units as f64, units > 0, "at least 1")?;
        finite("mean", mean)?;
        allowed("variance", variance, variance >= 0.0 && variance.is_finite(), "a finite number of at least 0")?;
        let of_mean = variance / units as f64;
        let Some(prior) = prior else {
            return Ok(Self::Gaussian { mean, deviation: of_mean.sqrt() });
        };
        let spread = positive("prior variance", prior.variance)?;
        finite("prior mean", prior.mean)?;
        // Both precisions times of_mean·spread, so that a variance of zero needs no case of its own.
        let weight = spread / (spread + of_mean);
        let mean = weight * mean + (1.0 - weight) * prior.mean;
        Ok(Self::Gaussian { mean, deviation: (weight * of_mean).sqrt() })
    }

    /// Where the law lives, for the choice of panels: center and spread.
    fn center_and_spread(self) -> (f64, f64) {
        match self {
            Self::Gaussian { mean, deviation } => (mean, deviation),
            Self::Beta(share) => {
                let (a, n) = (share.successes as f64 + 1.0, share.units as f64 + 2.0);
                let mean = a / n;
                (mean, (mean * (1.0 - mean) / (n + 1.0)).sqrt())
            }
        }
    }

    /// P(mean ≤ x).
    fn below(self, x: f64) -> f64 {
        match self {
            Self::Gaussian { mean, deviation } if deviation > 0.0 => normal_cdf((x - mean) / deviation),
            // A point: it is below, above, or tied.
            Self::Gaussian { mean, .. } if x == mean => 0.5,
            Self::Gaussian { mean, .. } => f64::from(u8::from(x > mean)),
            Self::Beta(share) => {
                let (hits, misses) = (share.successes as f64, (share.units - share.successes) as f64);
                beta_cdf(x, hits + 1.0, misses + 1.0)
            }
        }
    }

    /// The density at x, up to a factor that is the same for all x.
    fn density(self, x: f64) -> f64 {
        match self {
            Self::Gaussian { mean, deviation } => (-0.5 * ((x - mean) / deviation).powi(2)).exp(),
            Self::Beta(share) => {
                if !(0.0..=1.0).contains(&x) {
                    return 0.0;
                }
                let (hits, misses) = (share.successes as f64, (share.units - share.successes) as f64);
                let log = |count: f64, p: f64| if count == 0.0 { 0.0 } else { count * p.ln() };
                // Relative to the top of the density, so that nothing underflows.
                let top = share.value();
                (log(hits, x) + log(misses, 1.0 - x) - log(hits, top) - log(misses, 1.0 - top)).exp()
            }
        }
    }

    /// The interval of the mean at confidence 1 − `alpha`; of a [`Belief::Beta`] by the normal law around its mean.
    pub fn interval(self, alpha: f64) -> Result<Interval, StatsError> {
        let (center, spread) = self.center_and_spread();
        let half = normal_quantile(1.0 - open_share("alpha", alpha)? / 2.0) * spread;
        Ok(Interval::around(center, half, Alternative::TwoSided))
    }
}

/// P(arm i is the best) for every arm; they sum to 1.
///
/// Each is the integral of its density times the chance that all others lie below, over panels that are as fine as the
/// sharpest arm around. Cost: arms³ · 300 distribution values. Errors: fewer than two arms.
pub fn best_arm_probabilities(arms: &[Belief], lower_is_better: bool) -> Result<Vec<f64>, StatsError> {
    enough("arms", arms.len(), 2)?;
    let beats = |other: Belief, x: f64| {
        let below = other.below(x);
        if lower_is_better { 1.0 - below } else { below }
    };
    let others_at = |arm: usize, x: f64| -> f64 {
        arms.iter().enumerate().filter(|(other, _)| *other != arm).map(|(_, other)| beats(*other, x)).product()
    };
    let cuts = cuts(arms);
    let mut chances: Vec<f64> = Vec::with_capacity(arms.len());
    for (index, arm) in arms.iter().enumerate() {
        let (center, spread) = arm.center_and_spread();
        if spread == 0.0 {
            chances.push(others_at(index, center));
            continue;
        }
        let (mut sum, mut whole) = (0.0, 0.0);
        for cut in cuts.windows(2).filter(|cut| cut[1] > center - 9.0 * spread && cut[0] < center + 9.0 * spread) {
            for (x, weight) in panels(cut[0], cut[1], 1) {
                let mass = weight * arm.density(x);
                whole += mass;
                if mass > 0.0 {
                    sum += mass * others_at(index, x);
                }
            }
        }
        chances.push(sum / whole);
    }
    let sum: f64 = chances.iter().sum();
    Ok(chances.into_iter().map(|chance| chance / sum).collect())
}

/// Ascending ends of panels: every arm's center and each whole spread up to nine away.
fn cuts(arms: &[Belief]) -> Vec<f64> {
    let mut cuts: Vec<f64> = Vec::with_capacity(arms.len() * 19);
    for arm in arms {
        let (center, spread) = arm.center_and_spread();
        let (low, high) = match arm {
            Belief::Gaussian { .. } => (f64::NEG_INFINITY, f64::INFINITY),
            Belief::Beta(_) => (0.0, 1.0),
        };
        cuts.extend((-9..=9).map(|step| (center + f64::from(step) * spread).clamp(low, high)));
    }
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    cuts
}

/// Shares of traffic.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Allocation {
    pub best_arm_probabilities: Vec<f64>,
    /// f + (1 − k f) p for k arms; they sum to 1. Equal while [`Allocation::has_enough_units`] is false.
    pub shares: Vec<f64>,
    /// Every arm has [`LEAST_UNITS_PER_ARM`].
    pub has_enough_units: bool,
}

/// Shares from beliefs and `units` per arm. `floor` f with 0 ≤ k f < 1.
pub fn allocate(arms: &[Belief], units: &[u64], lower_is_better: bool, floor: f64) -> Result<Allocation, StatsError> {
    same_length("units", units.len(), arms.len())?;
    let best_arm_probabilities = best_arm_probabilities(arms, lower_is_better)?;
    let k = arms.len() as f64;
    allowed("floor", floor, floor >= 0.0 && floor * k < 1.0, "at least 0, and below 1 by the number of arms")?;
    let has_enough_units = units.iter().all(|units| *units >= LEAST_UNITS_PER_ARM);
    let share = |p: &f64| if has_enough_units { floor + (1.0 - k * floor) * p } else { 1.0 / k };
    let shares = best_arm_probabilities.iter().map(share).collect();
    Ok(Allocation { best_arm_probabilities, shares, has_enough_units })
}

/// One unit of an adaptive log, in the order in which units came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveRow {
    pub arm: usize,
    pub reward: f64,
    /// Probability with which this unit could have got the arm in question, whichever arm it got; above 0.
    pub propensity: f64,
}

/// How the rows of an adaptive log are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// All alike: exactly unbiased, but far from normal when shares become small, so that intervals may fail.
    Uniform,
    /// By √e: the variance stays stable and intervals hold; biased by a part of its standard error in short logs.
    VarianceStabilizing,
}

/// An arm's mean from an adaptive log.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct AdaptiveMean {
    pub mean: f64,
    pub standard_error: f64,
}

/// The mean of `arm` by augmented inverse propensity weighting: right although the shares depended on the data, where a plain
/// mean is too low.
///
/// Per row Γ = m̂ + 1{arm}/e·(r − m̂) with m̂ the mean of the arm's earlier rewards, then Σ hΓ / Σ h with the weights h
/// (Hadad et al., PNAS 2021). Errors: no row of the arm, or a row (named) whose propensity is 0 or reward no number.
pub fn adaptive_mean(rows: &[AdaptiveRow], arm: usize, weighting: Weighting) -> Result<AdaptiveMean, StatsError> {
    let (mut earlier, mut seen) = (0.0, 0usize);
    let mut scores = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        check_propensity(index, row.propensity)?;
        let is_number = row.reward.is_finite();
        row_allowed(index, "reward", row.reward, is_number, "a finite number")?;
        let guess = if seen == 0 { 0.0 } else { earlier / seen as f64 };
        let mut score = guess;
        if row.arm == arm {
            score += (row.reward - guess) / row.propensity;
            earlier += row.reward;
            seen += 1;
        }
        let weight = match weighting {
            Weighting::Uniform => 1.0,
            Weighting::VarianceStabilizing => row.propensity.sqrt(),
        };
        scores.push((weight, score));
    }
    enough("units in the arm", seen, 1)?;
    let whole: f64 = scores.iter().map(|(weight, _)| weight).sum();
    let mean = scores.iter().map(|(weight, score)| weight * score).sum::<f64>() / whole;
    let variance: f64 = scores.iter().map(|(weight, score)| (weight * (score - mean)).powi(2)).sum();
    Ok(AdaptiveMean { mean, standard_error: variance.sqrt() / whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaussian(mean: f64, deviation: f64) -> Belief {
        Belief::Gaussian { mean, deviation }
    }

    fn check(found: &[f64], expected: &[f64], within: f64) {
        assert!(found.iter().zip(expected).all(|(one, other)| (one - other).abs() <= within), "{found:?} {expected:?}");
    }

    #[test]
    fn two_normal_arms_are_a_normal_question() {
        // P(A > B) = Φ((1 − 0) / √(3² + 4²)) = Φ(.2).
        let chances = best_arm_probabilities(&[gaussian(1.0, 3.0), gaussian(0.0, 4.0)], false).unwrap();
        check(&chances, &[0.579_259_709_439_103, 0.420_740_290_560_897], 1e-9);
        let lower = best_arm_probabilities(&[gaussian(1.0, 3.0), gaussian(0.0, 4.0)], true).unwrap();
        check(&lower, &[chances[1], chances[0]], 1e-12);
        // A sharp arm beside a wide one: Φ(.1/√(1 + 1e-8)).
        let chances = best_arm_probabilities(&[gaussian(0.1, 1e-4), gaussian(0.0, 1.0)], false).unwrap();
        check(&chances, &[0.539_827_837, 0.460_172_163], 1e-8);
    }

    #[test]
    fn the_primer_s_two_shares() {
        // 1 of 9 against 1 of 10 with uniform priors: .5376 (exact value of the published Monte-Carlo .533).
        let arms = [Belief::Beta(Share::new(1, 9).unwrap()), Belief::Beta(Share::new(1, 10).unwrap())];
        let chances = best_arm_probabilities(&arms, false).unwrap();
        assert!((chances[0] - 0.5376).abs() < 5e-5, "{chances:?}");
        // P(B > A) for Beta(2,1) and Beta(1,1): 2/3.
        let arms = [Belief::Beta(Share::new(1, 1).unwrap()), Belief::Beta(Share::new(5, 5).unwrap())];
        // E[1 − x^6] under 2x: 1 − 2/8.
        check(&best_arm_probabilities(&arms, false).unwrap(), &[0.25, 0.75], 1e-10);
    }

    #[test]
    fn arms_alike_share_alike_and_points_too() {
        check(&best_arm_probabilities(&[gaussian(2.0, 0.5); 4], false).unwrap(), &[0.25; 4], 1e-12);
        check(&best_arm_probabilities(&[gaussian(2.0, 0.0); 3], false).unwrap(), &[1.0 / 3.0; 3], 1e-12);
        let points = [gaussian(2.0, 0.0), gaussian(1.0, 0.0), gaussian(0.0, 1e-3)];
        check(&best_arm_probabilities(&points, false).unwrap(), &[1.0, 0.0, 0.0], 1e-12);
    }

    #[test]
    fn the_floor_keeps_every_arm_alive() {
        let arms = [gaussian(10.0, 0.1), gaussian(0.0, 0.1), gaussian(0.0, 0.1)];
        let found = allocate(&arms, &[100; 3], false, DEFAULT_FLOOR).unwrap();
        check(&found.shares, &[0.98, 0.01, 0.01], 1e-9);
        let few = allocate(&arms, &[100, 99, 100], false, DEFAULT_FLOOR).unwrap();
        assert!(!few.has_enough_units);
        check(&few.shares, &[1.0 / 3.0; 3], 1e-15);
        assert!(allocate(&arms, &[100; 3], false, 0.34).is_err() && allocate(&arms, &[1], false, 0.0).is_err());
        assert!(allocate(&arms[..1], &[100], false, 0.0).is_err());
    }

    #[test]
    fn a_prior_pulls_as_much_as_it_knows() {
        let prior = Some(GaussianPrior { mean: 0.0, variance: 1.0 });
        // Variance of the mean 100/100 = 1: half way, with half the variance.
        assert_eq!(Belief::gaussian(100, 2.0, 100.0, prior).unwrap(), gaussian(1.0, 0.5f64.sqrt()));
        assert_eq!(Belief::gaussian(100, 2.0, 0.0, prior).unwrap(), gaussian(2.0, 0.0));
        assert!(Belief::gaussian(0, 2.0, 1.0, None).is_err() && Belief::gaussian(1, f64::NAN, 1.0, None).is_err());
        assert!(Belief::gaussian(1, 2.0, -1.0, None).is_err());
        let none = Some(GaussianPrior { mean: 0.0, variance: 0.0 });
        assert!(Belief::gaussian(1, 2.0, 1.0, none).is_err());
    }

    #[test]
    fn with_even_shares_the_adaptive_mean_is_near_the_plain_one() {
        let row = |arm, reward| AdaptiveRow { arm, reward, propensity: 0.5 };
        // Γ: 0 + 2·1 = 2; 1; 1 + 2·(3 − 1) = 5; 2.
        let rows = [row(0, 1.0), row(1, 9.0), row(0, 3.0), row(1, 9.0)];
        for weighting in [Weighting::Uniform, Weighting::VarianceStabilizing] {
            let found = adaptive_mean(&rows, 0, weighting).unwrap();
            assert!((found.mean - 2.5).abs() < 1e-15);
            // Deviations −.5, −1.5, 2.5, −.5: 9, by 4².
            assert!((found.standard_error - 9f64.sqrt() / 4.0).abs() < 1e-15);
        }
        // A later row with another chance weighs √.08 / √.5 = .4: (10 + .4·(2 + (3 − 2)/.08)) / 4.4.
        let rows = [&rows[..], &[AdaptiveRow { arm: 0, reward: 3.0, propensity: 0.08 }]].concat();
        let found = adaptive_mean(&rows, 0, Weighting::VarianceStabilizing).unwrap();
        assert!((found.mean - (10.0 + 0.4 * 14.5) / 4.4).abs() < 1e-12);
    }

    #[test]
    fn a_row_without_chance_is_named() {
        let rows = [AdaptiveRow { arm: 0, reward: 1.0, propensity: 0.0 }];
        let mean = |rows: &[AdaptiveRow]| adaptive_mean(rows, 0, Weighting::Uniform);
        assert!(mean(&rows).unwrap_err().to_string().contains("`propensity` of row 0 is `0`"));
        let rows = [AdaptiveRow { arm: 0, reward: f64::NAN, propensity: 1.0 }];
        assert!(mean(&rows).is_err() && mean(&[]).is_err());
    }
}
