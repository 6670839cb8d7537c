//! How many units it takes, what they can show, and how likely they show it.
//!
//! In: the variance of one unit from past data, the wanted difference, alpha and power.  Out: units, differences, power.
//! Sources: Cohen 1988; Kohavi, Tang & Xu 2020; CUPED's variance from Deng et al. 2013.
//! Never here: power of a running experiment from its own standard error (the mid-experiment planner).
//! Start at [`Plan::units_per_arm`]; [`Plan::total_units`] solves the same with the exact laws.

use super::distributions::{normal_quantile, normal_sf, t_quantile};
use super::error::{StatsError, allowed, finite, open_share, positive};
use super::group_sequential::Sides;
use super::quadrature::panels;

/// Variance of what one unit adds to a metric, and the metric's value without treatment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    pub mean: f64,
    pub variance: f64,
}

impl Baseline {
    /// A mean over units. `variance` ≥ 0 of the units' values.
    pub fn mean(mean: f64, variance: f64) -> Result<Self, StatsError> {
        finite("mean", mean)?;
        allowed("variance", variance, variance >= 0.0 && variance.is_finite(), "a finite number of at least 0")?;
        Ok(Self { mean, variance })
    }

    /// A share of units: p(1 − p).
    pub fn proportion(share: f64) -> Result<Self, StatsError> {
        open_share("share", share)?;
        Ok(Self { mean: share, variance: share * (1.0 - share) })
    }

    /// A ratio of sums by the delta method (Deng, Knoblich & Lu, KDD 2018): R = M/D, (s²_M − 2R s_MD + R² s²_D) / D².
    ///
    /// `numerator` and `denominator` are (mean, variance) over units; the denominator's mean must not be zero.
    pub fn ratio(numerator: (f64, f64), denominator: (f64, f64), covariance: f64) -> Result<Self, StatsError> {
        let (m, variance_m) = numerator;
        let (d, variance_d) = denominator;
        allowed("mean of the denominator", d, d != 0.0 && d.is_finite(), "a finite number other than 0")?;
        let ratio = m / d;
        let variance = (variance_m - 2.0 * ratio * covariance + ratio * ratio * variance_d) / (d * d);
        Self::mean(ratio, variance.max(0.0))
    }

    /// What is left of the variance after CUPED: 1 − ρ², with `correlation` ρ in [−1, 1] between metric and covariate.
    pub fn with_covariate(self, correlation: f64) -> Result<Self, StatsError> {
        allowed("correlation", correlation, correlation.abs() <= 1.0, "between -1 and 1")?;
        Ok(Self { variance: self.variance * (1.0 - correlation * correlation), ..self })
    }
}

/// Which law the test statistic follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    Normal,
    /// Student's t with Welch's degrees of freedom; under the effect it is noncentral.
    T,
}

/// What the experiment is planned for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    pub alpha: f64,
    pub sides: Sides,
    pub power: f64,
    /// Units in the treatment for each one in control.
    pub ratio: f64,
}

impl Default for Plan {
    /// Two sides of .05, power .8, arms of equal size.
    fn default() -> Self {
        Self { alpha: 0.05, sides: Sides::Two, power: 0.8, ratio: 1.0 }
    }
}

impl Plan {
    fn check(&self) -> Result<(), StatsError> {
        open_share("alpha", self.alpha)?;
        open_share("power", self.power)?;
        positive("ratio", self.ratio)?;
        Ok(())
    }

    /// z_{1−α/sides} + z_{power}.
    fn standardized_difference(&self) -> Result<f64, StatsError> {
        self.check()?;
        Ok(normal_quantile(1.0 - self.alpha / self.sides.count()) + normal_quantile(self.power))
    }

    /// P1: units in control, (z_{1−α/2} + z_{1−β})² (s²_c + s²_t/ratio) / δ²; the treatment gets `ratio` times as many.
    ///
    /// `variances` of one unit in control and treatment; `difference` ≠ 0 on the metric's own scale. Not rounded.
    pub fn units_per_arm(&self, variances: (f64, f64), difference: f64) -> Result<f64, StatsError> {
        let standardized = self.standardized_difference()?;
        check_variances(variances)?;
        allowed("difference", difference, difference != 0.0 && difference.is_finite(), "finite and not 0")?;
        Ok((standardized / difference).powi(2) * (variances.0 + variances.1 / self.ratio))
    }

    /// P2: the difference that `units` > 0 in control (and `ratio` times as many in the treatment) show with the power wanted.
    pub fn detectable_difference(&self, variances: (f64, f64), units: f64) -> Result<f64, StatsError> {
        let standardized = self.standardized_difference()?;
        check_variances(variances)?;
        positive("units", units)?;
        Ok(standardized * ((variances.0 + variances.1 / self.ratio) / units).sqrt())
    }

    /// The power that `total` > 2 units over both arms have, rejections in the wrong direction included for two sides.
    pub fn power_at(&self, variances: (f64, f64), difference: f64, total: f64, law: Law) -> Result<f64, StatsError> {
        self.check()?;
        check_variances(variances)?;
        finite("difference", difference)?;
        let control = total / (1.0 + self.ratio);
        let treatment = total - control;
        allowed("units", total, control > 1.0 && treatment > 1.0 && total.is_finite(), "more than 1 per arm")?;
        let (a, b) = (variances.1 / treatment, variances.0 / control);
        let shift = difference / (a + b).sqrt();
        let tail = self.alpha / self.sides.count();
        let df = (a + b).powi(2) / (a * a / (treatment - 1.0) + b * b / (control - 1.0));
        Ok(match law {
            Law::Normal => normal_power(shift, normal_quantile(1.0 - tail), self.sides),
            Law::T => noncentral_power(shift, t_quantile(1.0 - tail, df), df, self.sides),
        })
    }

    /// Units over both arms at which [`Plan::power_at`] reaches the power wanted. Not rounded.
    pub fn total_units(&self, variances: (f64, f64), difference: f64, law: Law) -> Result<f64, StatsError> {
        let rough = self.units_per_arm(variances, difference)? * (1.0 + self.ratio);
        positive("variances", variances.0 + variances.1)?;
        // Power only grows with the units; 2 per smaller arm is the least a variance can be taken from.
        let least = 1.000_001 * (1.0 + self.ratio) * self.ratio.recip().max(1.0);
        let (mut low, mut high) = (least, rough.max(least) * 2.0 + 16.0);
        while self.power_at(variances, difference, high, law)? < self.power {
            high *= 2.0;
        }
        while high - low > 1e-12 * high {
            let middle = 0.5 * (low + high);
            if self.power_at(variances, difference, middle, law)? < self.power { low = middle } else { high = middle }
        }
        Ok(0.5 * (low + high))
    }
}

fn check_variances(variances: (f64, f64)) -> Result<(), StatsError> {
    for variance in [variances.0, variances.1] {
        allowed("variance", variance, variance >= 0.0 && variance.is_finite(), "a finite number of at least 0")?;
    }
    Ok(())
}

/// Φ(shift − critical), plus Φ(−shift − critical) for two sides; `shift` is the effect in standard errors.
pub fn normal_power(shift: f64, critical: f64, sides: Sides) -> f64 {
    let towards = normal_sf(critical - shift);
    match sides {
        Sides::One => towards,
        Sides::Two => towards + normal_sf(critical + shift),
    }
}

/// The same for a noncentral t: with V = √(χ²_df / df), the mean of Φ(shift − critical·V) over V's law.
///
/// Source: the definition of the noncentral t (Johnson & Kotz 1970, ch. 31); the density of V is normalised by its own sum.
fn noncentral_power(shift: f64, critical: f64, df: f64, sides: Sides) -> f64 {
    // V has mean near 1 and standard deviation near 1/√(2 df); 14 of them hold all of it, also for df = 1.
    let spread = 14.0 / (2.0 * df).sqrt();
    let density = |v: f64| ((df - 1.0) * v.ln() - 0.5 * df * (v * v - 1.0)).exp();
    let (mut sum, mut whole) = (0.0, 0.0);
    for (v, weight) in panels((1.0 - spread).max(0.0), 1.0 + spread, 28) {
        let weight = weight * density(v);
        whole += weight;
        sum += weight * normal_power(shift, critical * v, sides);
    }
    sum / whole
}

/// Cohen's h between two shares: 2 asin √p₁ − 2 asin √p₀. In it, every share has the variance 1 (Cohen 1988, ch. 6).
pub fn cohen_h(control: f64, treatment: f64) -> Result<f64, StatsError> {
    for share in [control, treatment] {
        allowed("share", share, (0.0..=1.0).contains(&share), "between 0 and 1")?;
    }
    Ok(2.0 * (treatment.sqrt().asin() - control.sqrt().asin()))
}

/// Power of the pooled z test between two shares with `units` > 0 in each arm.
///
/// The bound is set by the pooled variance, the statistic moves by the unpooled one (Fleiss, Levin & Paik 2003, ch. 4).
pub fn proportion_power(control: f64, treatment: f64, units: f64, plan: &Plan) -> Result<f64, StatsError> {
    plan.check()?;
    positive("units", units)?;
    let (c, t) = (Baseline::proportion(control)?, Baseline::proportion(treatment)?);
    let pooled = (control + plan.ratio * treatment) / (1.0 + plan.ratio);
    let under_null = (pooled * (1.0 - pooled) * (1.0 + 1.0 / plan.ratio)).sqrt();
    let under_effect = (c.variance + t.variance / plan.ratio).sqrt();
    let critical = normal_quantile(1.0 - plan.alpha / plan.sides.count()) * under_null / under_effect;
    Ok(normal_power((treatment - control) * units.sqrt() / under_effect, critical, plan.sides))
}

/// The power to plan each test with, so that a decision over one goal and `guardrails` keeps `power`: 1 − β/(G + 1).
///
/// Source: Schultzberg, Ankargren & Frånberg, arXiv 2402.11609.
pub fn power_per_test(power: f64, guardrails: usize) -> Result<f64, StatsError> {
    open_share("power", power)?;
    Ok(1.0 - (1.0 - power) / (guardrails + 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found} is not {expected}");
    }

    #[test]
    fn cohen_s_table_by_the_exact_law() {
        // Before rounding: 393.41, 63.77, 25.52; the table prints 394, 64, 26.
        for (d, units, printed) in [(0.2, 393.41, 394.0), (0.5, 63.77, 64.0), (0.8, 25.52, 26.0)] {
            let per_arm = Plan::default().total_units((1.0, 1.0), d, Law::T).unwrap() / 2.0;
            check(per_arm, units, 0.01);
            assert_eq!(per_arm.ceil(), printed);
            check(Plan::default().units_per_arm((1.0, 1.0), d).unwrap(), printed, 2.0);
        }
    }

    #[test]
    fn sixteen_is_a_little_more_than_needed() {
        check(Plan::default().units_per_arm((1.0, 1.0), 1.0).unwrap(), 15.697_759, 5e-7);
    }

    #[test]
    fn the_detectable_difference_is_the_inverse() {
        let plan = Plan { ratio: 0.25, sides: Sides::One, ..Plan::default() };
        let units = plan.units_per_arm((2.0, 3.0), 0.1).unwrap();
        check(plan.detectable_difference((2.0, 3.0), units).unwrap(), 0.1, 1e-12);
        check(plan.power_at((2.0, 3.0), 0.1, units * 1.25, Law::Normal).unwrap(), 0.8, 1e-9);
    }

    #[test]
    fn without_effect_the_power_is_alpha() {
        for law in [Law::Normal, Law::T] {
            for total in [6.0, 40.0, 1e6] {
                check(Plan::default().power_at((1.0, 1.0), 0.0, total, law).unwrap(), 0.05, 1e-9);
            }
        }
    }

    #[test]
    fn a_covariate_saves_what_it_explains() {
        let plain = Baseline::mean(15.0, 100.0).unwrap();
        let adjusted = plain.with_covariate(0.8).unwrap();
        check(adjusted.variance, 36.0, 1e-9);
        assert!(plain.with_covariate(1.1).is_err() && plain.with_covariate(f64::NAN).is_err());
    }

    #[test]
    fn a_ratio_with_a_constant_denominator_is_a_mean() {
        let ratio = Baseline::ratio((3.0, 4.0), (2.0, 0.0), 0.0).unwrap();
        assert_eq!(ratio, Baseline { mean: 1.5, variance: 1.0 });
        assert!(Baseline::ratio((3.0, 4.0), (0.0, 0.0), 0.0).is_err());
    }

    #[test]
    fn guardrails_share_the_chance_of_missing() {
        check(power_per_test(0.8, 0).unwrap(), 0.8, 1e-15);
        check(power_per_test(0.8, 3).unwrap(), 0.95, 1e-15);
    }

    #[test]
    fn plans_that_cannot_be_are_errors() {
        let plan = Plan::default();
        assert!(plan.units_per_arm((1.0, 1.0), 0.0).is_err() && plan.units_per_arm((-1.0, 1.0), 1.0).is_err());
        assert!(
            plan.detectable_difference((1.0, 1.0), 0.0).is_err()
                && plan.power_at((1.0, 1.0), 1.0, 2.0, Law::T).is_err()
        );
        assert!(Plan { power: 1.0, ..plan }.units_per_arm((1.0, 1.0), 1.0).is_err());
        assert!(Plan { ratio: 0.0, ..plan }.units_per_arm((1.0, 1.0), 1.0).is_err());
        assert!(plan.total_units((0.0, 0.0), 1.0, Law::T).is_err());
        assert!(Baseline::proportion(1.0).is_err() && Baseline::mean(f64::NAN, 1.0).is_err());
        assert!(cohen_h(-0.1, 0.5).is_err() && proportion_power(0.1, 0.2, 0.0, &plan).is_err());
        assert!(power_per_test(1.0, 1).is_err());
    }
}
