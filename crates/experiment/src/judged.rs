//! The interval by which each metric of an arm is judged, and its level.
//!
//! In: the rows of one arm with their estimates.  Out: `shown`, `shown_alpha`, and the corrected p of goals.
//! Never here: the estimates themselves (`results`), verdicts (`decision`).
//! Start at [`judge`].
//!
//! Goals share the part of α that may be spent now by weighted Holm (Holm 1979, § 4): what a goal has found, it hands on to the others.
//! A guardrail is asked one-sided at all of it, at each end (Schultzberg, Ankargren & Frånberg, arXiv 2402.11609).

use crate::decision::Role;
use crate::results::{Observed, Row};
use crate::stats::always_valid::{always_valid, rho};
use crate::stats::multiple::weighted_holm;
use crate::stats::{Alternative, Difference, Estimate, StatsError};

/// Fills in by which interval each row of one arm is judged. A goal without figures keeps its share: nobody knows what it would have
/// found.  Errors: weights that are none.
pub(crate) fn judge(observed: &Observed, rows: &mut [Row]) -> Result<(), StatsError> {
    let alpha = observed.alpha_now();
    let mut goals = Vec::new();
    for (row, metric) in rows.iter_mut().zip(&observed.metrics) {
        match row.role {
            Role::Primary | Role::Success => goals.push((row, metric.weight)),
            Role::Guardrail { .. } => show(observed, row, 2.0 * alpha, 2.0 * alpha)?,
            Role::Watched => show(observed, row, alpha, alpha)?,
        }
    }
    let mut p = Vec::with_capacity(goals.len());
    for (row, _) in &goals {
        p.push(match &row.relative {
            Some(view) => test(observed, &view.figures.estimate, alpha, alpha)?.p_value,
            None => 1.0,
        });
    }
    let weights: Vec<f64> = goals.iter().map(|(_, weight)| *weight).collect();
    for ((row, _), judged) in goals.into_iter().zip(weighted_holm(&p, &weights, alpha)?) {
        show(observed, row, judged.interval_alpha, alpha)?;
        row.adjusted_p = row.relative.is_some().then_some(judged.p);
    }
    Ok(())
}

fn show(observed: &Observed, row: &mut Row, level: f64, family: f64) -> Result<(), StatsError> {
    let Some(view) = &row.relative else { return Ok(()) };
    row.shown = Some(test(observed, &view.figures.estimate, level, family)?.ci);
    row.shown_alpha = level;
    Ok(())
}

/// The test that is good at this look, at `level`. All tests of a family have the mixture of its α: with one per level, p could lie below
/// a level whose interval holds 0, and Holm's steps would not be those of the intervals.
pub(crate) fn test(
    observed: &Observed,
    estimate: &Estimate,
    level: f64,
    family: f64,
) -> Result<Difference, StatsError> {
    if observed.has_ended {
        return estimate.test(Alternative::TwoSided, level);
    }
    let (mixture, tuning_n) = (rho(family, observed.tuning_n(), Alternative::TwoSided)?, observed.tuning_n());
    // ρ is proportional to the number that tunes it.
    let tuned = tuning_n * mixture / rho(level, tuning_n, Alternative::TwoSided)?;
    always_valid(estimate, Alternative::TwoSided, level, tuned)
}
