//! Who sees which variant, what a metric means, and what the difference between variants means. Pure: no clock, no I/O, no randomness of its own.
//!
//! In: definitions and attributes of a unit; sufficient statistics.  Out: a variant and the reason for it; effects, intervals, verdicts.
//! Never here: tokio, HTTP, storage, SQL text.
//! Start at [`assign`] for who sees what, at [`stats`] for what a difference means.

pub mod a_a;
pub mod assign;
pub mod bandit;
mod coin;
pub mod daily;
pub mod decision;
pub mod definition;
pub mod interactions;
mod judged;
pub mod layer;
pub mod lifecycle;
pub mod looks;
pub mod metric;
pub mod novelty;
pub mod plan;
pub mod planning;
pub mod program;
pub mod quality;
pub mod ranking;
pub mod results;
pub mod schedule;
pub mod simulate;
pub mod slices;
pub mod stats;
mod stratified;
