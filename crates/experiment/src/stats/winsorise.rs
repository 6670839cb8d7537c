//! Caps for metrics that few units dominate: one value for all arms, taken from all arms.
//!
//! In: the values of every arm.  Out: a cap, and values no larger than it.
//! A cap per arm would hide the very difference that is looked for. Source: Kohavi, Tang & Xu 2020.
//! Never here: which metrics are capped (the default for sums is the 99.9 % quantile).
//! Start at [`pooled_cap`].

use super::error::{StatsError, enough, open_share, row_allowed};

/// Which values the quantile is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapOver {
    /// All units.
    Everyone,
    /// Units whose value is not zero: where most units buy nothing, the quantile of all would be zero.
    NonZero,
}

/// The `quantile` in (0, 1) of all arms' values together, linearly interpolated between neighbours.
///
/// Errors: no values; a value that is not finite; and, so that a sparse metric is never emptied in silence, a cap of zero over
/// [`CapOver::Everyone`] although some values are larger.
pub fn pooled_cap(arms: &[&[f64]], quantile: f64, over: CapOver) -> Result<f64, StatsError> {
    open_share("quantile", quantile)?;
    let mut values: Vec<f64> = Vec::with_capacity(arms.iter().map(|arm| arm.len()).sum());
    for &value in arms.iter().copied().flatten() {
        row_allowed(values.len(), "value", value, value.is_finite(), "a finite number")?;
        values.push(value);
    }
    if over == CapOver::NonZero {
        values.retain(|value| *value != 0.0);
    }
    enough("values to take the quantile of", values.len(), 1)?;
    // Hyndman & Fan's type 7, the default of numpy and R.
    let place = quantile * (values.len() - 1) as f64;
    let below = place.floor();
    let (_, &mut low, above) = values.select_nth_unstable_by(below as usize, f64::total_cmp);
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    let most = above.iter().copied().fold(low, f64::max);
    let cap = if high.is_finite() { low + (place - below) * (high - low) } else { low };
    if over == CapOver::Everyone && cap == 0.0 && most > 0.0 {
        return Err(StatsError::CapsEverything { quantile });
    }
    Ok(cap)
}

/// The values, none above `cap`.
pub fn winsorise_upper(values: &[f64], cap: f64) -> Vec<f64> {
    values.iter().map(|value| value.min(cap)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_lies_between_neighbours_of_all_arms() {
        // 0 1 2 3 4 5 6 7 8 9: the .95 quantile is at place 8.55.
        let cap =
            pooled_cap(&[&[0.0, 2.0, 4.0, 6.0, 8.0], &[9.0, 7.0, 5.0, 3.0, 1.0]], 0.95, CapOver::Everyone).unwrap();
        assert!((cap - 8.55).abs() < 1e-12, "{cap}");
        assert_eq!(winsorise_upper(&[1.0, 9.0], cap), [1.0, cap]);
        assert_eq!(pooled_cap(&[&[7.0]], 0.999, CapOver::Everyone).unwrap(), 7.0);
    }

    #[test]
    fn a_sparse_metric_is_not_emptied_in_silence() {
        let sparse = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 50.0];
        let error = pooled_cap(&[&sparse], 0.5, CapOver::Everyone).unwrap_err();
        assert_eq!(error, StatsError::CapsEverything { quantile: 0.5 });
        assert_eq!(pooled_cap(&[&sparse], 0.5, CapOver::NonZero).unwrap(), 50.0);
        // Where all is zero, zero caps nothing.
        assert_eq!(pooled_cap(&[&[0.0, 0.0]], 0.5, CapOver::Everyone).unwrap(), 0.0);
    }

    #[test]
    fn nothing_to_cap_is_an_error() {
        assert!(pooled_cap(&[&[]], 0.5, CapOver::Everyone).is_err());
        assert!(pooled_cap(&[&[0.0]], 0.5, CapOver::NonZero).is_err());
        assert!(pooled_cap(&[&[1.0, f64::NAN]], 0.5, CapOver::Everyone).is_err());
        assert!(pooled_cap(&[&[1.0]], 1.0, CapOver::Everyone).is_err());
    }
}
