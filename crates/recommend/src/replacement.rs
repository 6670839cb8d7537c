//! The guard before a person puts one recommender in the place of another: it must not be worse, and not show far fewer items.
//!
//! In: an evaluation that measured both.  Out: [`ReplacementDecision`], with the reason in words.
//! Rule: refused when the paired 95 % interval of ndcg@100 (candidate − what serves, validation window) lies wholly below zero, or
//! when coverage at the shortest list falls below half.
//! Never here: writing `promoted/`; the guard of `evaluate`, which asks for a sure gain over the simple ones (`promotion`).
//! Start at [`decide_replacement`].

use serde::Serialize;

use crate::promotion::guard_metric;
use crate::{Estimate, EvaluationReport, ListMetric, RecommenderResult, Repeats, Window};

/// Below this share of the coverage of what serves, a shop would notice: half of what was shown is shown no more.
const LEAST_COVERAGE: f64 = 0.5;

/// Whether a candidate may take the place of what serves, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplacementDecision {
    pub promote: bool,
    /// One sentence for a person.
    pub reason: String,
    /// ndcg@100 of the candidate minus that of what serves; none when both are the same recommender.
    pub difference: Option<Estimate>,
    pub coverage: Option<Coverage>,
}

/// The share of items that anybody is shown, before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coverage {
    /// `coverage@10`
    pub metric: String,
    pub candidate: f64,
    pub serving: f64,
}

/// Compares what the evaluation found of two recommenders; `None` when it has not measured both on the same users.
///
/// `filter_seen` says which lists count: those without what users had, or with it.
pub fn decide_replacement(
    report: &EvaluationReport,
    candidate: &str,
    serving: &str,
    filter_seen: bool,
) -> Option<ReplacementDecision> {
    let window = report.window(Window::Validation, Repeats::of(filter_seen))?;
    let (ours, theirs) = (window.recommender(candidate)?, window.recommender(serving)?);
    if candidate == serving {
        let reason = format!("`{candidate}` serves already, from another training");
        return Some(ReplacementDecision { promote: true, reason, difference: None, coverage: None });
    }
    let metric = guard_metric();
    let difference = window.pair(&metric, candidate, serving)?.difference;
    let is_worse = difference.high < 0.0;
    let mut reason = format!(
        "{metric} of `{candidate}` {} that of `{serving}`, which serves: difference {:+.4} (95 % interval {:+.4} to {:+.4})",
        if is_worse { "is below" } else { "is not surely below" },
        difference.value,
        difference.low,
        difference.high,
    );
    let coverage = coverage(ours, theirs);
    let is_narrow = coverage.as_ref().is_some_and(|shares| shares.candidate < LEAST_COVERAGE * shares.serving);
    if let Some(shares) = coverage.as_ref().filter(|_| is_narrow) {
        let Coverage { metric, candidate, serving } = shares;
        reason += &format!("; {metric} falls to less than half, from {serving:.3} to {candidate:.3}");
    }
    Some(ReplacementDecision { promote: !is_worse && !is_narrow, reason, difference: Some(difference), coverage })
}

/// Coverage of the shortest lists that both were measured at.
fn coverage(candidate: &RecommenderResult, serving: &RecommenderResult) -> Option<Coverage> {
    let prefix = format!("{}@", ListMetric::Coverage);
    let cutoff = |name: &str| name.strip_prefix(&prefix).and_then(|k| k.parse::<usize>().ok());
    let both = candidate.list_metrics.iter().filter_map(|(name, share)| {
        let other = serving.list_metrics.get(name)?;
        Some((cutoff(name)?, Coverage { metric: name.clone(), candidate: *share, serving: *other }))
    });
    both.min_by_key(|(k, _)| *k).map(|(_, coverage)| coverage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataSummary, PairedTest, Protocol, RecommenderKind, WindowReport};

    fn result(name: &str, coverage: f64) -> RecommenderResult {
        let list_metrics = [("coverage@20", 1.0), ("coverage@10", coverage)];
        RecommenderResult {
            name: name.to_owned(),
            kind: RecommenderKind::Ease,
            metrics: Default::default(),
            differences: Default::default(),
            list_metrics: list_metrics.map(|(name, share)| (name.to_owned(), share)).into(),
            slices: Vec::new(),
        }
    }

    /// An evaluation of `old` and `new`; the difference is old − new.
    fn report(low: f64, high: f64, coverage: f64) -> EvaluationReport {
        let pair = PairedTest {
            metric: "ndcg@100".to_owned(),
            one: "old".to_owned(),
            other: "new".to_owned(),
            difference: Estimate { value: f64::midpoint(low, high), low, high },
            p: 0.01,
            p_adjusted: 0.01,
        };
        let window = WindowReport {
            window: Window::Validation,
            repeats: Repeats::Excluded,
            train_users: 1,
            train_items: 1,
            users: 1,
            held_out: 1,
            cold_users: 0,
            cold_items: 0,
            recommenders: vec![result("old", 0.4), result("new", coverage)],
            pairs: vec![pair],
        };
        EvaluationReport {
            protocol: Protocol::default(),
            explanation: String::new(),
            cuts: None,
            baseline: "old".to_owned(),
            data: DataSummary { users: 1, items: 1, events: 1, first_at: 0, last_at: 0 },
            train_events: 1,
            validation_events: 1,
            test_events: 1,
            recommenders: Vec::new(),
            windows: vec![window],
        }
    }

    #[test]
    fn a_sure_loss_or_half_the_coverage_is_refused_and_anything_else_is_not() {
        let check = |report: &EvaluationReport, promote: bool, said: &str| {
            let decision = decide_replacement(report, "new", "old", true).unwrap();
            assert_eq!(decision.promote, promote, "{}", decision.reason);
            assert!(decision.reason.contains(said), "{}", decision.reason);
        };
        check(&report(0.01, 0.03, 0.4), false, "is below that of `old`, which serves: difference -0.0200");
        check(&report(0.01, 0.03, 0.4), false, "(95 % interval -0.0300 to -0.0100)");
        check(&report(-0.01, 0.03, 0.4), true, "is not surely below");
        check(&report(-0.03, -0.01, 0.4), true, "difference +0.0200");
        check(&report(-0.03, -0.01, 0.19), false, "coverage@10 falls to less than half, from 0.400 to 0.190");
        check(&report(-0.03, -0.01, 0.2), true, "difference");
    }

    #[test]
    fn what_was_not_measured_is_not_decided_and_the_same_recommender_is_let_through() {
        let report = report(0.01, 0.03, 0.4);
        assert_eq!(decide_replacement(&report, "new", "other", true), None);
        assert_eq!(decide_replacement(&report, "new", "old", false), None, "lists with repeats were not measured");
        assert!(decide_replacement(&report, "new", "new", true).unwrap().promote);
    }
}
