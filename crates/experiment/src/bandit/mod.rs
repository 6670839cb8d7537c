//! Traffic that moves to the better arms while the experiment runs.
//!
//! In: units, means and variances per arm.  Out: shares of traffic; estimates that stay right although the shares moved.
//! Never here: assignment (shares are turned into ranges elsewhere), logging of propensities.
//! Start at [`thompson`].

pub mod thompson;
