//! What is better for a list of items: two rankers in one list, and a new policy judged by what an old one logged.
//!
//! In: rankings and clicks; logged actions with their propensities.  Out: preferences, values of policies, and whether to trust them.
//! Never here: how a ranking is made, and whether a user is in the experiment.
//! Start at [`interleave`] for live traffic, [`policy_evaluation`] for logs.

pub mod cells;
pub mod interleave;
pub mod off_policy;
pub mod optimized;
pub mod policy_evaluation;
pub mod slates;

pub use crate::coin::Coin;
