//! The guard before a recommender goes live by itself: it must be better than the simple ones, and surely so.
//!
//! In: ndcg@100 per validation user, of the candidate and of its guards.  Out: [`PromotionDecision`], with the reason in words.
//! Rule (reference 2.1, 3): the paired bootstrap interval (95 %) of candidate − best guard lies above zero.
//! Never here: writing `promoted/`; people may overrule.
//! Start at [`decide_promotion`].

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Estimate, estimate_columns};
use crate::metrics::Metric;

/// The guard's metric is ndcg at this cut-off: it looks at the whole first page and what lies behind it.
pub(crate) const GUARD_CUTOFF: usize = 100;

/// Its name, `ndcg@100`: chooser, guard and report agree on it.
pub fn guard_metric() -> String {
    Metric::Ndcg.at(GUARD_CUTOFF)
}

/// Whether a candidate may go live, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromotionDecision {
    pub promote: bool,
    /// One sentence for a person.
    pub reason: String,
    /// The best of the guards, if there was one.
    pub guard: Option<String>,
    /// ndcg@100 of the candidate minus that of the guard, on the validation window.
    pub difference: Option<Estimate>,
}

/// Compares a candidate (name, one value per user) with the best of its guards, user by user.
///
/// Without a guard (the candidate is the baseline) it is promoted; without users it is not. All slices are in one order.
pub fn decide_promotion(
    candidate: (&str, &[f64]),
    guards: &[(&str, &[f64])],
    resamples: usize,
    seed: u64,
) -> PromotionDecision {
    let (name, values) = candidate;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let Some((guard, guard_values)) = guards.iter().max_by(|a, b| mean(a.1).total_cmp(&mean(b.1))) else {
        let reason = format!("`{name}` is the baseline; there is nothing simpler to compare it with");
        return PromotionDecision { promote: true, reason, guard: None, difference: None };
    };
    let differences: Vec<f64> = values.iter().zip(*guard_values).map(|(own, other)| own - other).collect();
    let Some(difference) = estimate_columns(&differences, 1, resamples, seed).first().copied() else {
        let reason = format!("no user of the validation window has a history, so `{name}` cannot be compared");
        return PromotionDecision { promote: false, reason, guard: Some((*guard).to_owned()), difference: None };
    };
    let promote = difference.low > 0.0;
    let verdict = if promote { "is above" } else { "is not surely above" };
    let reason = format!(
        "ndcg@{GUARD_CUTOFF} of `{name}` {verdict} the best guard `{guard}` on {} validation users: {:.4} against {:.4}, \
         difference {:+.4} (95 % interval {:+.4} to {:+.4})",
        differences.len(),
        mean(values),
        mean(guard_values),
        difference.value,
        difference.low,
        difference.high,
    );
    PromotionDecision { promote, reason, guard: Some((*guard).to_owned()), difference: Some(difference) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sure_gain_over_the_best_guard_is_promoted() {
        let popularity: Vec<f64> = (0..200).map(|user| f64::from(user % 10) / 20.0).collect();
        let better: Vec<f64> = popularity.iter().map(|value| value + 0.05).collect();
        let noisy: Vec<f64> = popularity
            .iter()
            .enumerate()
            .map(|(user, value)| value + if user % 2 == 0 { 0.3 } else { -0.29 })
            .collect();
        let decide = |values: &[f64], guards: &[(&str, &[f64])]| decide_promotion(("new", values), guards, 500, 1);
        assert!(decide(&better, &[("popularity", &popularity)]).promote);
        let refused = decide(&noisy, &[("popularity", &popularity)]);
        assert!(!refused.promote && refused.reason.contains("not surely above"), "{}", refused.reason);
        let beaten = decide(&popularity, &[("worse", &[0.0; 200]), ("item_knn", &better)]);
        assert_eq!((beaten.promote, beaten.guard.as_deref()), (false, Some("item_knn")));
        assert!(decide(&popularity, &[]).promote);
        assert!(!decide(&[], &[("popularity", &[])]).promote);
    }
}
