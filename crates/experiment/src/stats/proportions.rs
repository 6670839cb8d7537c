//! Shares of units: the score and exact views beside the plain difference of means.
//!
//! In: successes and units per arm.  Out: statistics, p-values, intervals.
//! Never here: ratios whose denominator is not the number of units (see the delta method).
//! Start at [`compare_proportions`].

use super::counting::hypergeometric_mass;
use super::difference::{Alternative, Interval};
use super::distributions::{beta_quantile, normal_quantile, normal_sf};
use super::error::{StatsError, allowed, open_share};

/// Successes among units of one arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub successes: u64,
    pub units: u64,
}

impl Share {
    /// Errors: no units, or more successes than units.
    pub fn new(successes: u64, units: u64) -> Result<Self, StatsError> {
        allowed("units", units as f64, units > 0, "at least 1")?;
        allowed("successes", successes as f64, successes <= units, "at most the units")?;
        Ok(Self { successes, units })
    }

    /// Successes by units, in [0, 1].
    pub fn value(self) -> f64 {
        self.successes as f64 / self.units as f64
    }
}

/// Two shares compared, as treatment minus control.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct ProportionComparison {
    pub difference: f64,
    /// Score statistic with the pooled share; its square is Pearson's chi-square. Zero when both arms are all or nothing.
    pub z: f64,
    pub p: f64,
    /// Newcombe's hybrid score interval of the difference.
    pub newcombe: Interval,
    /// Wilson's intervals of the arms.
    pub wilson_control: Interval,
    pub wilson_treatment: Interval,
    /// Fisher's exact test, two-sided by likelihood.
    pub fisher_p: f64,
}

/// Every score and exact view of two shares, at confidence 1 − `alpha`.
///
/// Sources: Wilson 1927; Newcombe, Statistics in Medicine 1998, method 10; Fisher 1935.
pub fn compare_proportions(control: Share, treatment: Share, alpha: f64) -> Result<ProportionComparison, StatsError> {
    open_share("alpha", alpha)?;
    let (c, t) = (control.value(), treatment.value());
    let difference = t - c;
    let pooled = (control.successes + treatment.successes) as f64 / (control.units + treatment.units) as f64;
    let variance = pooled * (1.0 - pooled) * (1.0 / control.units as f64 + 1.0 / treatment.units as f64);
    let z = if variance > 0.0 { difference / variance.sqrt() } else { 0.0 };
    let (wilson_control, wilson_treatment) = (wilson_interval(control, alpha)?, wilson_interval(treatment, alpha)?);
    let below = ((t - wilson_treatment.lower).powi(2) + (wilson_control.upper - c).powi(2)).sqrt();
    let above = ((wilson_treatment.upper - t).powi(2) + (c - wilson_control.lower).powi(2)).sqrt();
    Ok(ProportionComparison {
        difference,
        z,
        p: (2.0 * normal_sf(z.abs())).min(1.0),
        newcombe: Interval { lower: difference - below, upper: difference + above },
        wilson_control,
        wilson_treatment,
        fisher_p: fisher_p(control, treatment),
    })
}

/// Wilson's score interval of one share (JASA 1927), within [0, 1].
pub fn wilson_interval(share: Share, alpha: f64) -> Result<Interval, StatsError> {
    let z = normal_quantile(1.0 - open_share("alpha", alpha)? / 2.0);
    let (n, p) = (share.units as f64, share.value());
    let widened = 1.0 + z * z / n;
    let center = (p + z * z / (2.0 * n)) / widened;
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / widened;
    let lower = if share.successes == 0 { 0.0 } else { (center - half).max(0.0) };
    let upper = if share.successes == share.units { 1.0 } else { (center + half).min(1.0) };
    Ok(Interval { lower, upper })
}

/// Clopper & Pearson's exact interval of one share (Biometrika 1934), as quantiles of beta laws.
pub fn exact_interval(share: Share, alpha: f64) -> Result<Interval, StatsError> {
    let tail = open_share("alpha", alpha)? / 2.0;
    let (hits, misses) = (share.successes as f64, (share.units - share.successes) as f64);
    let lower = if hits == 0.0 { 0.0 } else { beta_quantile(tail, hits, misses + 1.0) };
    let upper = if misses == 0.0 { 1.0 } else { beta_quantile(1.0 - tail, hits + 1.0, misses) };
    Ok(Interval { lower, upper })
}

/// Fisher's exact two-sided p: all tables with the same margins that are no more likely than the one seen.
///
/// Cost: one mass per table that is at all likely: at most 80 standard deviations, or 8,000, whichever is more.
pub fn fisher_p(control: Share, treatment: Share) -> f64 {
    let total = control.units + treatment.units;
    let marked = control.successes + treatment.successes;
    let mass = |k: u64| hypergeometric_mass(k, total, marked, treatment.units);
    // Tables that are equally likely differ by rounding; R and scipy allow the same 1e-7.
    let limit = mass(treatment.successes) * (1.0 + 1e-7);
    let first = (marked + treatment.units).saturating_sub(total);
    let last = marked.min(treatment.units);
    // In large tables everything beyond 40 standard deviations is below the least double.
    let (n, drawn) = (total as f64, treatment.units as f64 / total as f64);
    let center = marked as f64 * drawn;
    let deviation = (center * (1.0 - drawn) * (n - marked as f64) / n).sqrt();
    let reach = if deviation > 100.0 { 40.0 * deviation } else { n };
    let (first, last) = (first.max((center - reach).max(0.0) as u64), last.min((center + reach) as u64));
    (first..=last).map(mass).filter(|mass| *mass <= limit).sum::<f64>().min(1.0)
}

/// A relative difference that takes the control's share as known, with Pearson's chi-square as its test.
///
/// For comparison with other engines only: ours carries the control's uncertainty too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquareDifference {
    pub difference: f64,
    pub interval: Interval,
    pub p: f64,
}

/// See [`ChiSquareDifference`]; the interval uses the unpooled standard error. `is_relative` divides by the control's share.
pub fn chi_square_difference(
    control: Share,
    treatment: Share,
    alpha: f64,
    is_relative: bool,
) -> Result<ChiSquareDifference, StatsError> {
    let compared = compare_proportions(control, treatment, alpha)?;
    let variance = |share: Share| share.value() * (1.0 - share.value()) / share.units as f64;
    let scale = if is_relative { control.value() } else { 1.0 };
    allowed("control share", scale, scale > 0.0, "above 0 to be divided by")?;
    let half = normal_quantile(1.0 - alpha / 2.0) * (variance(control) + variance(treatment)).sqrt();
    let difference = compared.difference / scale;
    let interval = Interval::around(difference, half / scale, Alternative::TwoSided);
    Ok(ChiSquareDifference { difference, interval, p: compared.p })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_nothing_are_errors() {
        assert!(Share::new(0, 0).is_err() && Share::new(2, 1).is_err());
        let none = Share::new(0, 10).unwrap();
        assert!(compare_proportions(none, none, 0.0).is_err() && wilson_interval(none, f64::NAN).is_err());
        assert!(chi_square_difference(none, none, 0.05, true).is_err());
    }

    #[test]
    fn arms_without_any_success_do_not_differ() {
        let none = Share::new(0, 10).unwrap();
        let compared = compare_proportions(none, none, 0.05).unwrap();
        assert_eq!((compared.z, compared.p, compared.fisher_p), (0.0, 1.0, 1.0));
        assert_eq!(compared.wilson_control.lower, 0.0);
        // Rule of three, exactly: 1 − .025^(1/10).
        let Interval { lower, upper } = exact_interval(none, 0.05).unwrap();
        assert!(lower == 0.0 && (upper - (1.0 - 0.025f64.powf(0.1))).abs() < 1e-12, "{upper}");
        assert_eq!(exact_interval(Share::new(10, 10).unwrap(), 0.05).unwrap().upper, 1.0);
    }

    #[test]
    fn newcombe_is_the_paper_s_example() {
        // Newcombe 1998, table II, example (a), method 10: 56/70 against 48/80 gives .0524 to .3339.
        let compared = compare_proportions(Share::new(48, 80).unwrap(), Share::new(56, 70).unwrap(), 0.05).unwrap();
        assert!((compared.newcombe.lower - 0.0524).abs() < 5e-5 && (compared.newcombe.upper - 0.3339).abs() < 5e-5);
    }

    #[test]
    fn a_large_table_agrees_with_the_score_test() {
        // A million units: exact and normal differ by less than the continuity of one unit.
        let (control, treatment) = (Share::new(100_000, 500_000).unwrap(), Share::new(100_400, 500_000).unwrap());
        let compared = compare_proportions(control, treatment, 0.05).unwrap();
        assert!((compared.fisher_p / compared.p - 1.0).abs() < 0.01, "{compared:?}");
        let far = compare_proportions(control, Share::new(150_000, 500_000).unwrap(), 0.05).unwrap();
        assert!(far.fisher_p < 1e-300, "{far:?}");
    }

    #[test]
    fn the_tea_lady_is_counted_by_hand() {
        // 3 of 4 right: P(k ≥ 3) = 17/70, and the mirror of it: 34/70.
        let p = fisher_p(Share::new(1, 4).unwrap(), Share::new(3, 4).unwrap());
        assert!((p - 34.0 / 70.0).abs() < 1e-13, "{p}");
    }
}
