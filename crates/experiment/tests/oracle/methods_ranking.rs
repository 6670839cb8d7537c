//! Adapters from cases of the oracle to the library: interleaving, values of policies, bandits.
//!
//! In: a case.  Out: its outputs under the oracle's own field names.
//! Never here: formulas; an adapter reads options and names results.
//! Start at [`compute`].

use serde_json::Value;

use crate::case::Case;

/// Computes a case, or says with `None` that its method is not among ours.
pub fn compute(_case: &Case) -> Option<Value> {
    None
}
