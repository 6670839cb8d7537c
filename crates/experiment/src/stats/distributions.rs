//! The distributions that tests rest on, with tails that do not underflow.
//!
//! In: a point or a probability.  Out: the other.  Tails are computed as tails, never as one minus the rest.
//! Never here: what is tested with them.
//! Start at [`normal_sf`].

use statrs::distribution::{ChiSquared, ContinuousCDF, Normal, StudentsT};

fn standard_normal() -> Normal {
    Normal::standard()
}

/// Φ(z): the share of a standard normal below `z`.
pub fn normal_cdf(z: f64) -> f64 {
    standard_normal().cdf(z)
}

/// 1 − Φ(z), computed as a tail: right to a relative error even where it is 1e-300.
pub fn normal_sf(z: f64) -> f64 {
    standard_normal().sf(z)
}

/// The z below which the share `p` of a standard normal lies.
pub fn normal_quantile(p: f64) -> f64 {
    standard_normal().inverse_cdf(p)
}

/// The share of Student's t with `df` > 0 degrees of freedom above `t`. NaN where `df` is not positive.
pub fn t_sf(t: f64, df: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |d| d.sf(t))
}

/// The t below which the share `p` lies, with `df` > 0 degrees of freedom. NaN where `df` is not positive.
pub fn t_quantile(p: f64, df: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |d| d.inverse_cdf(p))
}

/// The share of a chi-square with `df` > 0 degrees of freedom above `x`. NaN where `df` is not positive.
pub fn chi_square_sf(x: f64, df: f64) -> f64 {
    ChiSquared::new(df).map_or(f64::NAN, |d| d.sf(x))
}
