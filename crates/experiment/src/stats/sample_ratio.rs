//! Do the arms hold as many units as they were meant to? Once at the end, and safely after every unit.
//!
//! In: units per arm and the weights they were split by.  Out: a p-value, an e-value, and whether a closed arm was reached.
//! Sources: Fabijan et al., KDD 2019 (chi-square); Lindon & Malek, NeurIPS 2022 (sequential).
//! Never here: which dimension explains a mismatch, and what follows from it (see `decision`).
//! Start at [`check_sample_ratio`].

use super::counting::{binomial_mass, deviance, stirling_remainder};
use super::distributions::{chi_square_sf, normal_sf};
use super::error::{StatsError, allowed, enough, open_share, positive, same_length};

/// Below this a mismatch is taken for real. Source: Fabijan et al., KDD 2019, use levels of .0005 to .001 against false alarms.
pub const SAMPLE_RATIO_ALPHA: f64 = 0.001;
/// From [`SAMPLE_RATIO_ALPHA`] up to here a mismatch is only pointed at.
pub const SAMPLE_RATIO_WARNING: f64 = 0.01;
/// A small experiment tells little from a faint imbalance, so its alternative is a coarse one; a large one looks finer.
pub const LARGE_EXPERIMENT_UNITS: u64 = 10_000;

/// What a p-value of the sample ratio means for the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum SampleRatioBand {
    /// p ≥ .01.
    Balanced,
    /// .001 ≤ p < .01: shown, decides nothing.
    Warning,
    /// p < .001: results are not to be trusted.
    Mismatch,
}

/// How units are spread over the arms, against how they should be.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SampleRatio {
    pub chi_square: f64,
    /// Arms with a weight above zero, minus one.
    pub df: usize,
    pub p: f64,
    pub band: SampleRatioBand,
    /// Units seen in arms of weight zero, where none belong. Any at all is an alarm of its own.
    pub leaked_units: u64,
}

impl SampleRatio {
    /// Units reached an arm that is closed.
    pub fn has_leak(&self) -> bool {
        self.leaked_units > 0
    }
}

/// Pearson's chi-square over the arms with weight > 0, against their own total.
///
/// Weights are relative: 1:1 is as good as .5:.5. Without units, or with one open arm, p is 1: there is nothing to compare.
/// Errors: fewer than two arms, unequal lengths, a negative or not finite weight, no weight above zero.
pub fn check_sample_ratio(units: &[u64], weights: &[f64]) -> Result<SampleRatio, StatsError> {
    let shares = shares_of(units.len(), weights)?;
    let leaked_units = units.iter().zip(&shares).filter(|(_, share)| **share == 0.0).map(|(n, _)| n).sum();
    let open = || units.iter().zip(&shares).filter(|(_, share)| **share > 0.0);
    let total: f64 = open().map(|(n, _)| *n as f64).sum();
    let df = open().count() - 1;
    let mut chi_square = 0.0;
    if total > 0.0 {
        chi_square = open().map(|(n, share)| (*n as f64 - total * share).powi(2) / (total * share)).sum();
    }
    let p = if df == 0 || total == 0.0 { 1.0 } else { chi_square_sf(chi_square, df as f64) };
    Ok(SampleRatio { chi_square, df, p, band: band(p), leaked_units })
}

fn band(p: f64) -> SampleRatioBand {
    if p < SAMPLE_RATIO_ALPHA {
        SampleRatioBand::Mismatch
    } else if p < SAMPLE_RATIO_WARNING {
        SampleRatioBand::Warning
    } else {
        SampleRatioBand::Balanced
    }
}

/// Weights made to sum to one.
fn shares_of(arms: usize, weights: &[f64]) -> Result<Vec<f64>, StatsError> {
    enough("arms", arms, 2)?;
    same_length("weights", weights.len(), arms)?;
    for &weight in weights {
        allowed("weight", weight, weight >= 0.0 && weight.is_finite(), "a finite number of at least 0")?;
    }
    let sum = positive("sum of weights", weights.iter().sum())?;
    Ok(weights.iter().map(|weight| weight / sum).collect())
}

/// Two-sided p of a two-arm split: exact up to 1,000 units, above that normal with Yates' half unit.
///
/// `share` is the treatment's, in (0, 1). The exact p adds all outcomes that are no more likely than the one seen.
pub fn two_arm_p(control: u64, treatment: u64, share: f64) -> Result<f64, StatsError> {
    /// Above it the normal law is right to more digits than anybody reads.
    const EXACT_UP_TO: u64 = 1_000;
    let share = open_share("share", share)?;
    let n = control + treatment;
    if n == 0 {
        return Ok(1.0);
    }
    if n <= EXACT_UP_TO {
        return Ok(binomial_p(treatment, n, share));
    }
    let distance = ((treatment as f64 - n as f64 * share).abs() - 0.5).max(0.0);
    Ok((2.0 * normal_sf(distance / (n as f64 * share * (1.0 - share)).sqrt())).min(1.0))
}

/// The exact two-sided binomial test by likelihood: all counts that are no more likely than `k`.
pub(crate) fn binomial_p(k: u64, n: u64, p: f64) -> f64 {
    // Outcomes that are equally likely differ by rounding; R and scipy allow the same 1e-7.
    let limit = binomial_mass(k, n, p) * (1.0 + 1e-7);
    (0..=n).map(|i| binomial_mass(i, n, p)).filter(|mass| *mass <= limit).sum::<f64>().min(1.0)
}

/// How strongly the alternative holds on to the planned weights: a Dirichlet of concentration k around them.
pub fn default_concentration(units: u64) -> f64 {
    if units < LARGE_EXPERIMENT_UNITS { 100.0 } else { 10_000.0 }
}

/// Evidence against the planned weights that may be read after every unit.
///
/// It holds counts and the least p so far. Under the planned weights P(p ever ≤ α) ≤ α, however often one looks.
#[derive(Debug, Clone, PartialEq)]
pub struct SequentialSampleRatio {
    shares: Vec<f64>,
    concentration: f64,
    units: Vec<u64>,
    least_p: f64,
}

impl SequentialSampleRatio {
    /// A test before the first unit. `concentration` > 0, see [`default_concentration`]; it has to be chosen beforehand.
    pub fn new(weights: &[f64], concentration: f64) -> Result<Self, StatsError> {
        let shares = shares_of(weights.len(), weights)?;
        let concentration = positive("concentration", concentration)?;
        Ok(Self { units: vec![0; shares.len()], shares, concentration, least_p: 1.0 })
    }

    /// Adds new units of each arm, in the order of the weights.
    pub fn add(&mut self, units: &[u64]) -> Result<(), StatsError> {
        same_length("units", units.len(), self.units.len())?;
        self.units.iter_mut().zip(units).for_each(|(sum, more)| *sum += more);
        self.least_p = self.least_p.min((-self.ln_e()).exp());
        Ok(())
    }

    /// E = [B(α₀ + n) / B(α₀)] / ∏ θᵢ^nᵢ with α₀ = kθ and B the multivariate beta function; infinite after a leak.
    pub fn e_value(&self) -> f64 {
        self.ln_e().exp()
    }

    /// The least 1 / E so far, at most 1.
    pub fn p(&self) -> f64 {
        self.least_p
    }

    /// The chance that the weights are not the planned ones, when both were equally likely beforehand: E / (1 + E).
    pub fn posterior(&self) -> f64 {
        1.0 / (1.0 + (-self.ln_e()).exp())
    }

    /// E has been above 1 / α at some look.
    pub fn is_alarm(&self, alpha: f64) -> bool {
        self.least_p < alpha
    }

    /// ln E, put together from small parts: with aᵢ = kθᵢ + nᵢ and A = k + N, Stirling's formula turns the gamma functions
    /// into Σ dev(aᵢ, Aθᵢ) + ½ ln(A/k) − ½ Σ ln(aᵢ/kθᵢ) + remainders, so that millions of units cost no digits.
    fn ln_e(&self) -> f64 {
        let total: u64 = self.units.iter().sum();
        let (k, grown) = (self.concentration, self.concentration + total as f64);
        let mut sum = 0.5 * (grown / k).ln() - stirling_remainder(grown) + stirling_remainder(k);
        for (&units, &share) in self.units.iter().zip(&self.shares) {
            if share == 0.0 {
                if units > 0 {
                    return f64::INFINITY;
                }
                continue;
            }
            let (before, after) = (k * share, k * share + units as f64);
            sum += deviance(after, grown * share) - 0.5 * (after / before).ln();
            sum += stirling_remainder(after) - stirling_remainder(before);
        }
        sum
    }
}

/// The share of units that were seen in two or more arms. Zero without units.
pub fn multiple_exposure_share(units: u64, units_in_several_arms: u64) -> Result<f64, StatsError> {
    let is_part = units_in_several_arms <= units;
    allowed("units in several arms", units_in_several_arms as f64, is_part, "at most the units")?;
    Ok(if units == 0 { 0.0 } else { units_in_several_arms as f64 / units as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_arm_neither_counts_as_freedom_nor_stays_unseen() {
        // Kept as a case of its own because other engines count the closed arm: .183 in place of .0653.
        let closed = check_sample_ratio(&[500, 560, 0], &[0.5, 0.5, 0.0]).unwrap();
        assert_eq!((closed.df, closed.has_leak(), closed.band), (1, false, SampleRatioBand::Balanced));
        assert!((closed.p - 0.0653).abs() < 5e-5, "{}", closed.p);
        let leak = check_sample_ratio(&[500, 560, 1], &[1.0, 1.0, 0.0]).unwrap();
        assert_eq!((leak.p, leak.leaked_units), (closed.p, 1));
    }

    #[test]
    fn bands_begin_where_they_say() {
        assert_eq!(band(0.0009999), SampleRatioBand::Mismatch);
        assert_eq!(band(0.001), SampleRatioBand::Warning);
        assert_eq!(band(0.00999), SampleRatioBand::Warning);
        assert_eq!(band(0.01), SampleRatioBand::Balanced);
    }

    #[test]
    fn nothing_to_compare_is_no_mismatch() {
        assert_eq!(check_sample_ratio(&[0, 0], &[1.0, 1.0]).unwrap().p, 1.0);
        let one_open = check_sample_ratio(&[10, 0], &[1.0, 0.0]).unwrap();
        assert_eq!((one_open.p, one_open.df), (1.0, 0));
        assert_eq!(two_arm_p(0, 0, 0.5).unwrap(), 1.0);
        assert_eq!(multiple_exposure_share(0, 0).unwrap(), 0.0);
        assert_eq!(multiple_exposure_share(200, 3).unwrap(), 0.015);
    }

    #[test]
    fn weights_that_split_nothing_are_errors() {
        for (units, weights) in [
            (vec![1], vec![1.0]),
            (vec![1, 2], vec![1.0]),
            (vec![1, 2], vec![0.0, 0.0]),
            (vec![1, 2], vec![-1.0, 2.0]),
            (vec![1, 2], vec![f64::NAN, 1.0]),
        ] {
            assert!(check_sample_ratio(&units, &weights).is_err(), "{weights:?}");
        }
        assert!(SequentialSampleRatio::new(&[1.0, 1.0], 0.0).is_err());
        assert!(SequentialSampleRatio::new(&[1.0, 1.0], 100.0).unwrap().add(&[1]).is_err());
        assert!(multiple_exposure_share(1, 2).is_err());
        assert!(two_arm_p(1, 1, 1.0).is_err());
    }

    #[test]
    fn small_splits_are_counted_exactly() {
        // 8 heads of 10: 2 (45 + 10 + 1) / 1024.
        assert!((two_arm_p(2, 8, 0.5).unwrap() - 112.0 / 1024.0).abs() < 1e-14);
        assert_eq!(two_arm_p(5, 5, 0.5).unwrap(), 1.0);
    }

    #[test]
    fn evidence_grows_with_the_leak_and_p_never_goes_back() {
        let mut test = SequentialSampleRatio::new(&[1.0, 1.0, 0.0], default_concentration(100)).unwrap();
        assert!((test.e_value() - 1.0).abs() < 1e-12 && test.p() == 1.0);
        test.add(&[90, 10, 0]).unwrap();
        let alarmed = test.p();
        assert!(test.is_alarm(0.001), "{alarmed}");
        test.add(&[0, 80, 0]).unwrap();
        assert_eq!(test.p(), alarmed);
        test.add(&[0, 0, 1]).unwrap();
        assert_eq!((test.p(), test.posterior()), (0.0, 1.0));
    }

    #[test]
    fn a_large_experiment_looks_finer() {
        assert_eq!((default_concentration(9_999), default_concentration(10_000)), (100.0, 10_000.0));
    }
}
