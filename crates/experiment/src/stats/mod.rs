//! What a difference means: small pure functions over sufficient statistics, each with the source of its formula.
//!
//! In: counts, sums and sums of squares per arm.  Out: effects, standard errors, intervals, p-values.
//! Never here: who is assigned to what (see `assign`).
//! Start at [`distributions`].

pub(crate) mod counting;
pub mod distributions;
pub(crate) mod error;
pub mod group_sequential;
pub mod multiple;
pub mod non_inferiority;
pub mod power;
pub mod proportions;
pub(crate) mod quadrature;
pub mod rank;
pub mod sample_ratio;
pub mod winsorise;

pub use error::StatisticsError;
