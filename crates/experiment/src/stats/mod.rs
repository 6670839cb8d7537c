//! What a difference means: small pure functions over sufficient statistics, each with the source of its formula.
//!
//! In: counts, sums and sums of squares per arm.  Out: effects, standard errors, intervals, p-values.
//! Never here: who is assigned to what (see `assign`).
//! Start at [`analysis::analyze`]: every figure of a metric; or at [`compare::compare`] for one of them.

pub mod always_valid;
pub mod analysis;
pub mod bayes;
pub mod cluster;
pub mod compare;
pub(crate) mod counting;
pub mod covariates;
pub mod difference;
pub mod distributions;
pub(crate) mod error;
pub mod group_sequential;
pub mod heterogeneity;
mod linear;
pub mod mid_experiment;
pub mod moments;
pub mod multiple;
pub mod non_inferiority;
pub mod post_stratify;
pub mod power;
pub mod proportions;
pub(crate) mod quadrature;
pub mod quantile;
pub mod rank;
pub mod regression;
pub mod sample_ratio;
mod special;
pub mod stage_wise;
pub mod trust;
pub mod winsorise;

pub use compare::{Comparison, Estimate, Scale, Statistic, compare};
pub use difference::{Alternative, Difference, Interval};
pub use error::StatsError;
