//! Does one arm's unit tend to be larger than the other's? A view that no outlier moves.
//!
//! In: the values of two arms.  Out: Mann & Whitney's U and its p.
//! Never here: differences of means; a rank test says nothing about a sum of money.
//! Start at [`mann_whitney`].

use super::distributions::normal_sf;
use super::error::{StatsError, enough, row_allowed};

/// Mann & Whitney's test (Annals of Mathematical Statistics 1947).
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct MannWhitney {
    /// Pairs in which the treatment's value is larger, ties counting half.
    pub u: f64,
    /// U by the number of pairs: the chance that a unit of the treatment is larger.
    pub superiority: f64,
    /// Two-sided, normal law with correction for ties and continuity. One when all values are equal.
    pub p: f64,
}

/// Compares two arms by ranks. Cost: one sort of all values.
///
/// Errors: an arm without values; a value that is not a number.
pub fn mann_whitney(control: &[f64], treatment: &[f64]) -> Result<MannWhitney, StatsError> {
    enough("control values", control.len(), 1)?;
    enough("treatment values", treatment.len(), 1)?;
    let mut pooled: Vec<(f64, bool)> = Vec::with_capacity(control.len() + treatment.len());
    pooled.extend(control.iter().map(|value| (*value, false)));
    pooled.extend(treatment.iter().map(|value| (*value, true)));
    for (row, (value, _)) in pooled.iter().enumerate() {
        row_allowed(row, "value", *value, !value.is_nan(), "a number")?;
    }
    pooled.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut rank_sum, mut ties) = (0.0, 0.0);
    let mut before = 0;
    // −0 and 0 are one value, so ties are told by `==`.
    for tied in pooled.chunk_by(|one, other| one.0 == other.0) {
        let size = tied.len() as f64;
        let middle_rank = before as f64 + (size + 1.0) / 2.0;
        rank_sum += middle_rank * tied.iter().filter(|(_, is_treatment)| *is_treatment).count() as f64;
        ties += size * (size * size - 1.0);
        before += tied.len();
    }
    let (n_c, n_t, n) = (control.len() as f64, treatment.len() as f64, pooled.len() as f64);
    let u = rank_sum - n_t * (n_t + 1.0) / 2.0;
    let variance = n_c * n_t / 12.0 * ((n + 1.0) - ties / (n * (n - 1.0)));
    let distance = ((u - n_c * n_t / 2.0).abs() - 0.5).max(0.0);
    let p = if variance > 0.0 { (2.0 * normal_sf(distance / variance.sqrt())).min(1.0) } else { 1.0 };
    Ok(MannWhitney { u, superiority: u / (n_c * n_t), p })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_by_hand() {
        // (3,1) (3,2) larger, (2,1) larger, (2,2) half: 3.5 of 4.
        let test = mann_whitney(&[1.0, 2.0], &[2.0, 3.0]).unwrap();
        assert_eq!((test.u, test.superiority), (3.5, 0.875));
        let mirrored = mann_whitney(&[2.0, 3.0], &[1.0, 2.0]).unwrap();
        assert_eq!((mirrored.u, mirrored.p), (0.5, test.p));
    }

    #[test]
    fn equal_values_tell_nothing() {
        let test = mann_whitney(&[0.0, -0.0, 0.0], &[0.0, 0.0]).unwrap();
        assert_eq!((test.superiority, test.p), (0.5, 1.0));
        assert_eq!(mann_whitney(&[1.0], &[2.0]).unwrap().p, 1.0);
    }

    #[test]
    fn an_empty_arm_or_no_number_is_an_error() {
        assert!(mann_whitney(&[], &[1.0]).is_err() && mann_whitney(&[1.0], &[f64::NAN]).is_err());
    }
}
