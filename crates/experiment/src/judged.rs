//! The interval by which each metric of an arm is judged, and its level.
//!
//! In: the rows of one arm with their estimates.  Out: `shown`, `shown_alpha`, and the corrected p of goals.
//! Never here: the estimates themselves (`results`), when looks are (`looks`), verdicts (`decision`).
//! Start at [`judge`].
//!
//! Goals share the part of α that may be spent now by weighted Holm (Holm 1979, § 4): what a goal has found, it hands on to the others. At
//! planned looks the bounds of this look take the place of p (Maurer & Bretz, Statistics in Biopharmaceutical Research 5, 2013).
//! A guardrail is asked one-sided at all of it, at each end (Schultzberg, Ankargren & Frånberg, arXiv 2402.11609).

use serde::Serialize;

use crate::decision::Role;
use crate::results::{Observed, Row};
use crate::stats::always_valid::{always_valid, multiplier, rho};
use crate::stats::analysis::View;
use crate::stats::group_sequential::{LEAST_STEP, Look, Sides, bounds};
use crate::stats::multiple::weighted_holm;
use crate::stats::stage_wise::{StageWise, stage_wise};
use crate::stats::{Alternative, Difference, Estimate, Interval, StatsError};

/// What may be claimed at this look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    Nothing,
    Fixed,
    AlwaysValid,
    /// At one of the planned looks, the end being the last.
    AtLook,
}

/// What a test says at this look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tested {
    /// `None` at planned looks: there the bound decides.
    pub(crate) p_value: Option<f64>,
    pub(crate) ci: Interval,
}

/// One metric at one of the planned looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AtLook {
    /// Information by now, as a share of the planned units.
    pub fraction: f64,
    /// How many standard errors from 0 an effect has to be. `None` where nothing may be spent yet.
    pub bound: Option<f64>,
    /// Whether it is.
    pub is_beyond: bool,
    /// p, estimate and interval of the relative effect, if no earlier look was beyond its bound and this one is, or is the last: only then
    /// they are what they say. At the level of the metric.
    pub stopped: Option<StageWise>,
}

/// Fills in by which interval each row of one arm is judged. A goal without figures keeps its share: nobody knows what it would have
/// found.  Errors: weights that are none.
pub(crate) fn judge(observed: &Observed, rows: &mut [Row]) -> Result<(), StatsError> {
    if observed.claim() == Claim::Nothing {
        return Ok(());
    }
    let alpha = observed.alpha_now();
    let mut goals = Vec::new();
    for (row, metric) in rows.iter_mut().zip(&observed.metrics) {
        match row.role {
            Role::Primary | Role::Success => goals.push((row, metric.weight)),
            Role::Guardrail { .. } => {
                let Some(view) = &row.relative else { continue };
                row.shown = Some(ends(observed, &view.figures.estimate, alpha)?);
                row.shown_alpha = 2.0 * alpha;
            }
            Role::Watched => show(observed, row, alpha, alpha)?,
        }
    }
    let weights: Vec<f64> = goals.iter().map(|(_, weight)| *weight).collect();
    if observed.claim() == Claim::AtLook {
        let z: Vec<f64> = goals.iter().map(|(row, _)| row.relative.as_ref().map_or(0.0, z)).collect();
        for ((row, _), level) in goals.into_iter().zip(levels_at_look(observed, &z, &weights)?) {
            show(observed, row, level, alpha)?;
        }
        return Ok(());
    }
    let mut p = Vec::with_capacity(goals.len());
    for (row, _) in &goals {
        let found =
            row.relative.as_ref().map(|view| test(observed, &view.figures.estimate, alpha, alpha)).transpose()?;
        p.push(found.flatten().and_then(|found| found.p_value).unwrap_or(1.0));
    }
    for ((row, _), judged) in goals.into_iter().zip(weighted_holm(&p, &weights, alpha)?) {
        show(observed, row, judged.interval_alpha, alpha)?;
        row.adjusted_p = row.relative.is_some().then_some(judged.p);
    }
    Ok(())
}

fn z(view: &View) -> f64 {
    (view.figures.estimate.effect / view.figures.estimate.se).abs()
}

/// Weighted Holm without p: whoever is beyond the bound of the own share hands it on to the others. The bounds fall as α rises, so that the
/// order in which goals are asked does not matter.
fn levels_at_look(observed: &Observed, z: &[f64], weights: &[f64]) -> Result<Vec<f64>, StatsError> {
    let mut levels = vec![None; z.len()];
    loop {
        let open = || (0..z.len()).filter(|at| levels[*at].is_none());
        let total: f64 = open().map(|at| weights[at]).sum();
        let share = |at: usize| observed.alpha * weights[at] / total;
        let mut found = None;
        for at in open() {
            if z[at] > bound(observed, share(at), Sides::Two)? {
                found = Some((at, share(at)));
                break;
            }
        }
        match found {
            Some((at, level)) => levels[at] = Some(level),
            None => return Ok((0..z.len()).map(|at| levels[at].unwrap_or_else(|| share(at))).collect()),
        }
    }
}

fn show(observed: &Observed, row: &mut Row, level: f64, family: f64) -> Result<(), StatsError> {
    let Some(view) = &row.relative else { return Ok(()) };
    row.shown = test(observed, &view.figures.estimate, level, family)?.map(|found| found.ci);
    row.shown_alpha = level;
    if observed.claim() == Claim::AtLook {
        row.look = at_look(observed, &view.figures.estimate, level)?;
    }
    Ok(())
}

/// What this look says of an effect, and what its having come to this look makes of it.
fn at_look(observed: &Observed, estimate: &Estimate, level: f64) -> Result<Option<AtLook>, StatsError> {
    let looks = looks_so_far(observed, level, Sides::Two)?;
    let Some((now, before)) = looks.split_last() else { return Ok(None) };
    let z = estimate.effect / estimate.se;
    let is_beyond = z.abs() > now.bound;
    let stopped = if is_beyond || observed.has_ended {
        let fractions: Vec<f64> = looks.iter().map(|look| look.fraction).collect();
        let earlier: Vec<f64> = before.iter().map(|look| look.bound).collect();
        // z has mean 1 at full information where the effect is SE·√t.
        let unit = estimate.se * now.fraction.sqrt();
        let in_units = |found: StageWise| {
            let ci = Interval { lower: found.ci.lower * unit, upper: found.ci.upper * unit };
            StageWise { estimate: found.estimate * unit, ci, ..found }
        };
        // Where nearly all noise is gone z is beyond what can be solved for: that must not cost the other metrics their figures.
        stage_wise(&fractions, &earlier, z, level).ok().map(in_units)
    } else {
        None
    };
    Ok(Some(AtLook {
        fraction: now.fraction,
        bound: Some(now.bound).filter(|bound| bound.is_finite()),
        is_beyond,
        stopped,
    }))
}

/// The two-sided test that is good at this look, at `level`; `None` where nothing may be claimed. All tests of a family have the mixture of
/// its α: with one per level, p could lie below a level whose interval holds 0, and Holm's steps would not be those of the intervals.
pub(crate) fn test(
    observed: &Observed,
    estimate: &Estimate,
    level: f64,
    family: f64,
) -> Result<Option<Tested>, StatsError> {
    let tested = |found: Difference| Some(Tested { p_value: Some(found.p_value), ci: found.ci });
    match observed.claim() {
        Claim::Nothing => Ok(None),
        Claim::Fixed => estimate.test(Alternative::TwoSided, level).map(tested),
        Claim::AlwaysValid => {
            let (mixture, tuning_n) = (rho(family, observed.tuning_n(), Alternative::TwoSided)?, observed.tuning_n());
            // ρ is proportional to the number that tunes it.
            let tuned = tuning_n * mixture / rho(level, tuning_n, Alternative::TwoSided)?;
            always_valid(estimate, Alternative::TwoSided, level, tuned).map(tested)
        }
        Claim::AtLook => {
            let bound = bound(observed, level, Sides::Two)?;
            let ci = Interval::around(estimate.effect, bound * estimate.se, Alternative::TwoSided);
            Ok(Some(Tested { p_value: None, ci }))
        }
    }
}

/// The interval whose two ends are each that of a one-sided test at `alpha`.
fn ends(observed: &Observed, estimate: &Estimate, alpha: f64) -> Result<Interval, StatsError> {
    let times = match observed.claim() {
        Claim::Nothing => f64::INFINITY,
        Claim::Fixed => return Ok(estimate.test(Alternative::TwoSided, 2.0 * alpha)?.ci),
        // S3.
        Claim::AlwaysValid => multiplier(estimate.units, alpha, observed.tuning_n(), Alternative::Greater)?,
        Claim::AtLook => bound(observed, alpha, Sides::One)?,
    };
    Ok(Interval::around(estimate.effect, times * estimate.se, Alternative::TwoSided))
}

/// How many standard errors from 0 an effect has to be at this look (S4).
fn bound(observed: &Observed, alpha: f64, sides: Sides) -> Result<f64, StatsError> {
    Ok(looks_so_far(observed, alpha, sides)?.last().map_or(f64::INFINITY, |look| look.bound))
}

/// The looks with their bounds, this one the last. At the end the rest of α is spent, however much or little is known by then (S5).
fn looks_so_far(observed: &Observed, alpha: f64, sides: Sides) -> Result<Vec<Look>, StatsError> {
    let looks = &observed.looks;
    let least = looks.before.last().copied().unwrap_or(0.0) + LEAST_STEP;
    let mut fractions = looks.before.clone();
    fractions.push(looks.now.max(least));
    bounds(&fractions, observed.spending, alpha, sides, observed.has_ended)
}
