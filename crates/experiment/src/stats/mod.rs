//! What a difference means: small pure functions over sufficient statistics, each with the source of its formula.
//!
//! In: counts, sums and sums of squares per arm.  Out: effects, standard errors, intervals, p-values.
//! Never here: who is assigned to what (see `assign`).
//! Start at [`compare::compare`], then [`compare::Comparison::estimate`].

pub mod always_valid;
pub mod bayes;
pub mod compare;
pub mod covariates;
pub mod difference;
pub mod distributions;
mod error;
mod linear;
pub mod mid_experiment;
pub mod moments;
pub mod post_stratify;
pub mod quantile;
pub mod regression;
mod special;

pub use compare::{Comparison, Estimate, Scale, Statistic, compare};
pub use difference::{Alternative, Difference, Interval};
pub use error::StatsError;
