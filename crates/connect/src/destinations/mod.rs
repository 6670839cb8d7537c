//! One file per system that rows are written to.
//!
//! In: settings of a destination.  Out: an implementation of [`crate::Destination`].
//! Never here: what is common to all (`destination`).
//! Start at the system you need.

mod cells;
mod halving;
pub mod mysql;
mod mysql_target;
mod mysql_values;
pub mod postgres;
mod postgres_target;
mod postgres_values;
