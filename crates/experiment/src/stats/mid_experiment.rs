//! Where a running experiment stands: power now, units still needed, days left, and what the effect is worth.
//!
//! In: the standard error and the units so far.  Out: power, growth, units, days.
//! Never here: planning before the start (see `power`).
//! Start at [`outlook`].

use serde::Serialize;

use super::always_valid::multiplier;
use super::difference::{Alternative, Difference, Interval};
use super::distributions::{normal_quantile, normal_sf};
use super::error::{StatsError, finite, open_share, positive};

/// How the experiment will be judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Judgement {
    /// Once, at the end.
    Fixed,
    /// At any time; `tuning_n` as in `always_valid`.
    AlwaysValid { tuning_n: f64 },
}

/// What is known of a running experiment, on one scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Standard error of the effect now, above 0.
    pub se: f64,
    /// Units of both arms now, above 0.
    pub units: f64,
    /// The smallest effect worth finding, on the scale of `se`; its sign does not matter.
    pub mde: f64,
    /// Two-sided.
    pub alpha: f64,
    pub judgement: Judgement,
}

/// Where the experiment stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outlook {
    pub power_now: f64,
    /// f: the experiment needs 1 + f times its units; 0 when the power is reached, `None` when no growth within reach gives it.
    pub growth: Option<f64>,
    /// f·N; `None` when nothing is missing or nothing would suffice.
    pub additional_units: Option<f64>,
}

/// No experiment grows by more than this factor; beyond it the answer is "never".
const LARGEST_GROWTH: f64 = 1e9;

/// P3: the power at 1 + `growth` times the units: Φ(δ/SE_f − B) + Φ(−δ/SE_f − B), SE_f = SE/√(1 + growth).
pub fn power_at(progress: &Progress, growth: f64) -> Result<f64, StatsError> {
    positive("se", progress.se)?;
    positive("units", progress.units)?;
    finite("mde", progress.mde)?;
    open_share("alpha", progress.alpha)?;
    let size = 1.0 + growth;
    let bound = match progress.judgement {
        Judgement::Fixed => normal_quantile(1.0 - 0.5 * progress.alpha),
        Judgement::AlwaysValid { tuning_n } => {
            multiplier(progress.units * size, progress.alpha, tuning_n, Alternative::TwoSided)?
        }
    };
    let shift = progress.mde.abs() / progress.se * size.sqrt();
    Ok(normal_sf(bound - shift) + normal_sf(bound + shift))
}

/// P3: power now and the growth at which it reaches `target_power`.  Errors: `OutOfRange`, `NotFinite`.
pub fn outlook(progress: &Progress, target_power: f64) -> Result<Outlook, StatsError> {
    open_share("target_power", target_power)?;
    let power_now = power_at(progress, 0.0)?;
    if power_now >= target_power {
        return Ok(Outlook { power_now, growth: Some(0.0), additional_units: None });
    }
    let mut high = 1.0;
    while power_at(progress, high)? < target_power {
        high *= 2.0;
        if high > LARGEST_GROWTH {
            return Ok(Outlook { power_now, growth: None, additional_units: None });
        }
    }
    let growth = find_growth(progress, high, target_power)?;
    Ok(Outlook { power_now, growth: Some(growth), additional_units: Some(growth * progress.units) })
}

/// The growth in (0, `high`] at which the power is `target_power`: the false position in √(1 + f), in which the probit of
/// the power is nearly a straight line, with the end that stays weighted down (Illinois; Dowell & Jarratt, BIT 11, 1971).
fn find_growth(progress: &Progress, high: f64, target_power: f64) -> Result<f64, StatsError> {
    let target = normal_quantile(target_power);
    let away = |root: f64| -> Result<f64, StatsError> {
        // Beyond 8 the normal is 1 to the last digit; the line goes on.
        Ok(normal_quantile(power_at(progress, root * root - 1.0)?).clamp(-8.3, 8.3) - target)
    };
    let (mut low, mut high) = (1.0, (1.0 + high).sqrt());
    let (mut below, mut above) = (away(low)?, away(high)?);
    let mut last_side = 0;
    for _ in 0..100 {
        if high - low <= 1e-14 * high || above == 0.0 {
            break;
        }
        let middle = (low * above - high * below) / (above - below);
        let value = away(middle)?;
        let side = if value < 0.0 { -1 } else { 1 };
        if side < 0 {
            (low, below) = (middle, value);
            if last_side == side {
                above *= 0.5;
            }
        } else {
            (high, above) = (middle, value);
            if last_side == side {
                below *= 0.5;
            }
        }
        last_side = side;
        if value.abs() < 1e-14 {
            high = middle;
            break;
        }
    }
    Ok(high * high - 1.0)
}

/// Days until `additional_units` more have come at `units_per_day`.  Errors: `OutOfRange` for a rate that is not above 0.
pub fn days_left(additional_units: f64, units_per_day: f64) -> Result<f64, StatsError> {
    Ok(finite("additional_units", additional_units)? / positive("units_per_day", units_per_day)?)
}

/// P4: what an absolute effect per unit is worth per day when everybody gets it: Δ·N_total/(traffic·days), interval likewise.
///
/// `units`: all units of the experiment; `traffic`: the share (0, 1] of all units that took part; `days` > 0 that it ran.
/// The p-value stays. Errors: `OutOfRange`.
pub fn scaled_impact(absolute: &Difference, units: f64, traffic: f64, days: f64) -> Result<Difference, StatsError> {
    positive("traffic", traffic)?;
    if traffic > 1.0 {
        return Err(StatsError::OutOfRange { name: "traffic", value: traffic, allowed: "above 0 and at most 1" });
    }
    let factor = positive("units", units)? / (traffic * positive("days", days)?);
    Ok(Difference {
        effect: absolute.effect * factor,
        se: absolute.se * factor,
        ci: Interval { lower: absolute.ci.lower * factor, upper: absolute.ci.upper * factor },
        ..*absolute
    })
}
