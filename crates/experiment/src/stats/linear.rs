//! Small dense symmetric systems: what regressions with a handful of covariates need.
//!
//! In: symmetric positive definite matrices, row-major.  Out: inverses and solutions, or `Singular`.
//! Never here: what the matrix stands for.
//! Start at [`inverse`].

use super::error::StatsError;

/// A column is dependent when less than this share of its size is left after the columns before it.
const DEPENDENT_SHARE: f64 = 1e-12;

/// The inverse of a symmetric positive definite k×k matrix by Cholesky factors.  Errors: `Singular`.
/// Source: Golub & Van Loan, Matrix Computations, 4th ed., § 4.2.
pub(super) fn inverse(matrix: &[f64], k: usize) -> Result<Vec<f64>, StatsError> {
    let mut factor = vec![0.0; k * k];
    for i in 0..k {
        for j in 0..=i {
            let inner: f64 = (0..j).map(|m| factor[i * k + m] * factor[j * k + m]).sum();
            let rest = matrix[i * k + j] - inner;
            if i == j {
                if rest.is_nan() || rest <= DEPENDENT_SHARE * matrix[i * k + i].abs() {
                    return Err(StatsError::Singular);
                }
                factor[i * k + i] = rest.sqrt();
            } else {
                factor[i * k + j] = rest / factor[j * k + j];
            }
        }
    }
    let mut result = vec![0.0; k * k];
    for column in 0..k {
        let mut x = vec![0.0; k];
        for i in 0..k {
            let inner: f64 = (0..i).map(|m| factor[i * k + m] * x[m]).sum();
            let unit = if i == column { 1.0 } else { 0.0 };
            x[i] = (unit - inner) / factor[i * k + i];
        }
        for i in (0..k).rev() {
            let inner: f64 = (i + 1..k).map(|m| factor[m * k + i] * x[m]).sum();
            x[i] = (x[i] - inner) / factor[i * k + i];
        }
        for i in 0..k {
            result[i * k + column] = x[i];
        }
    }
    Ok(result)
}

/// A·v for a row-major matrix with `v.len()` columns.
pub(super) fn times(matrix: &[f64], v: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(v.len()).map(|row| dot(row, v)).collect()
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// vᵀ·A·v.
pub(super) fn quadratic(matrix: &[f64], v: &[f64]) -> f64 {
    dot(&times(matrix, v), v)
}
