//! Is the treatment not worse than allowed? The question of every guardrail.
//!
//! In: an effect with its standard error, and a margin.  Out: a one-sided test, its bound, and whether it passed.
//! Source: Schultzberg, Ankargren & Frånberg, arXiv 2402.11609. Equivalence: Schuirmann 1987.
//! Never here: whether the effect is relative; effect and margin only have to be on one scale.
//! Start at [`test_non_inferiority`].

use super::difference::Interval;
use super::distributions::{normal_quantile, normal_sf, t_sf};
use super::error::{StatsError, allowed, finite, open_share, positive};

/// Which way a metric should move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Preference {
    #[default]
    Increase,
    Decrease,
}

impl Preference {
    /// +1 where more is better, −1 where less is.
    pub fn sign(self) -> f64 {
        match self {
            Self::Increase => 1.0,
            Self::Decrease => -1.0,
        }
    }
}

/// A one-sided test against a margin.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct NonInferiority {
    /// The effect under the null hypothesis: −margin where more is better, +margin where less is.
    pub null: f64,
    pub z: f64,
    pub p: f64,
    /// The one-sided interval at confidence 1 − α; one of its ends is infinite.
    pub interval: Interval,
    /// The interval leaves out everything that is worse than the margin.
    pub is_passed: bool,
}

/// H0: the effect is at least `margin` ≥ 0 in the bad direction. `standard_error` > 0, on the same scale.
pub fn test_non_inferiority(
    effect: f64,
    standard_error: f64,
    margin: f64,
    preference: Preference,
    alpha: f64,
) -> Result<NonInferiority, StatsError> {
    finite("effect", effect)?;
    positive("standard error", standard_error)?;
    allowed("margin", margin, margin >= 0.0 && margin.is_finite(), "a finite number of at least 0")?;
    let critical = normal_quantile(1.0 - open_share("alpha", alpha)?);
    let sign = preference.sign();
    let z = (sign * effect + margin) / standard_error;
    let bound = effect - sign * critical * standard_error;
    let interval = match preference {
        Preference::Increase => Interval { lower: bound, upper: f64::INFINITY },
        Preference::Decrease => Interval { lower: f64::NEG_INFINITY, upper: bound },
    };
    Ok(NonInferiority { null: -sign * margin, z, p: normal_sf(z), interval, is_passed: sign * bound > -margin })
}

/// Two one-sided tests: is the effect within ±`margin`?
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Equivalence {
    /// Against "at most −margin": also the non-inferiority test where more is better.
    pub lower_t: f64,
    pub lower_p: f64,
    /// Against "at least +margin".
    pub upper_t: f64,
    pub upper_p: f64,
    /// The larger of both: below α the effect is within the margins.
    pub p: f64,
}

/// TOST with Student's t and `df` > 0 degrees of freedom; infinite `df` is the normal law. `margin` > 0.
pub fn test_equivalence(effect: f64, standard_error: f64, df: f64, margin: f64) -> Result<Equivalence, StatsError> {
    finite("effect", effect)?;
    positive("standard error", standard_error)?;
    allowed("df", df, df > 0.0, "above 0")?;
    positive("margin", margin)?;
    let tail = |t: f64| if df.is_infinite() { normal_sf(t) } else { t_sf(t, df) };
    let (lower_t, upper_t) = ((effect + margin) / standard_error, (effect - margin) / standard_error);
    let (lower_p, upper_p) = (tail(lower_t), tail(-upper_t));
    Ok(Equivalence { lower_t, lower_p, upper_t, upper_p, p: lower_p.max(upper_p) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_mirror_each_other() {
        let up = test_non_inferiority(-0.004, 0.002, 0.01, Preference::Increase, 0.05).unwrap();
        let down = test_non_inferiority(0.004, 0.002, 0.01, Preference::Decrease, 0.05).unwrap();
        assert!((up.z - 3.0).abs() < 1e-12 && (up.z, up.p, up.is_passed) == (down.z, down.p, down.is_passed));
        assert!(up.is_passed && up.interval.lower == -down.interval.upper && up.null == -0.01 && down.null == 0.01);
    }

    #[test]
    fn passed_means_p_below_alpha() {
        for thousandths in -20..20 {
            let test =
                test_non_inferiority(f64::from(thousandths) / 1e3, 0.004, 0.01, Preference::Increase, 0.05).unwrap();
            assert_eq!(test.is_passed, test.p < 0.05, "{test:?}");
        }
    }

    #[test]
    fn what_cannot_be_tested_is_an_error() {
        let test = |effect, se, margin, alpha| test_non_inferiority(effect, se, margin, Preference::Increase, alpha);
        assert!(test(0.0, 0.0, 0.1, 0.05).is_err() && test(f64::NAN, 1.0, 0.1, 0.05).is_err());
        assert!(test(0.0, 1.0, -0.1, 0.05).is_err() && test(0.0, 1.0, 0.1, 1.0).is_err());
        assert!(test_equivalence(0.0, 1.0, 0.0, 1.0).is_err() && test_equivalence(0.0, 1.0, 9.0, 0.0).is_err());
    }

    #[test]
    fn no_effect_is_equivalent_from_both_sides_alike() {
        let test = test_equivalence(0.0, 1.0, f64::INFINITY, 1.959_963_984_540_054).unwrap();
        assert!((test.p - 0.025).abs() < 1e-10 && test.lower_p == test.upper_p);
    }
}
