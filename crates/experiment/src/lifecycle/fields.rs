//! Which fields of an experiment's file differ, and when each of them may.
//!
//! In: a file before and after.  Out: the [`Field`]s that differ, each with its [`Rule`].
//! Never here: states (see `course`), which turn a rule into a refusal.
//! Start at [`changes`].

use serde::{Deserialize, Serialize};

use crate::definition::Experiment;
use crate::plan::{AnalysisPlan, ExperimentFile};
use crate::schedule::Schedule;

/// When a field may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Words for people: as long as it is not archived.
    Text,
    /// When it starts, grows and ends, and who sees a forced variant: while it is not decided.
    Schedule,
    /// Grows while it runs.
    Ramp,
    /// Metrics to look at may come while it runs; none may go.
    Exploratory,
    /// Who sees what, and how it is judged: in a draft only.
    Fixed,
    /// Set by verbs, never by an edit.
    Verb,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Where it stands in the file, such as `assignment.variants[short].weight`.
    pub path: String,
    pub rule: Rule,
}

/// Weights are normalised before they are kept, and dividing twice may move the last bit.
const WEIGHT_ROUNDING: f64 = 1e-12;

/// The fields that differ, in the order of the file.
pub fn changes(before: &ExperimentFile, after: &ExperimentFile) -> Vec<Field> {
    let mut found = Vec::new();
    let mut compare = |is_equal: bool, path: &str, rule: Rule| {
        if !is_equal {
            found.push(Field { path: path.to_owned(), rule });
        }
    };
    compare(before.about == after.about, "about", Rule::Text);
    assignment(&before.assignment, &after.assignment, &mut compare);
    analysis(&before.analysis, &after.analysis, &mut compare);
    schedule(&before.schedule, &after.schedule, &mut compare);
    found
}

fn assignment(before: &Experiment, after: &Experiment, compare: &mut impl FnMut(bool, &str, Rule)) {
    compare(before.key == after.key, "assignment.key", Rule::Verb);
    compare(before.feature() == after.feature(), "assignment.feature", Rule::Fixed);
    compare(before.hash_attribute == after.hash_attribute, "assignment.hash_attribute", Rule::Fixed);
    variants(before, after, compare);
    compare(before.coverage.to_bits() == after.coverage.to_bits(), "assignment.coverage", Rule::Ramp);
    compare(before.slots == after.slots, "assignment.slots", Rule::Fixed);
    compare(before.audience == after.audience, "assignment.audience", Rule::Fixed);
    compare(before.holdout == after.holdout, "assignment.holdout", Rule::Fixed);
    compare(before.seed == after.seed, "assignment.seed", Rule::Fixed);
    compare(before.phase == after.phase, "assignment.phase", Rule::Verb);
    compare(before.sticky == after.sticky, "assignment.sticky", Rule::Fixed);
    compare(before.allow_list == after.allow_list, "assignment.allow_list", Rule::Schedule);
    compare(before.winner == after.winner, "assignment.winner", Rule::Verb);
    compare(before.paused == after.paused, "assignment.paused", Rule::Verb);
}

fn variants(before: &Experiment, after: &Experiment, compare: &mut impl FnMut(bool, &str, Rule)) {
    let keys = |experiment: &Experiment| -> Vec<String> {
        experiment.variants.iter().map(|variant| variant.key.clone()).collect()
    };
    if keys(before) != keys(after) {
        compare(false, "assignment.variants", Rule::Fixed);
        return;
    }
    for (old, new) in before.variants.iter().zip(&after.variants) {
        let is_weight = (old.weight - new.weight).abs() < WEIGHT_ROUNDING;
        compare(is_weight, &format!("assignment.variants[{}].weight", old.key), Rule::Fixed);
        compare(old.value == new.value, &format!("assignment.variants[{}].value", old.key), Rule::Fixed);
    }
}

fn analysis(before: &AnalysisPlan, after: &AnalysisPlan, compare: &mut impl FnMut(bool, &str, Rule)) {
    compare(before.exposures == after.exposures, "analysis.exposures", Rule::Fixed);
    compare(before.start == after.start, "analysis.start", Rule::Fixed);
    compare(before.end == after.end, "analysis.end", Rule::Schedule);
    compare(before.goals == after.goals, "analysis.goals", Rule::Fixed);
    compare(before.guardrails == after.guardrails, "analysis.guardrails", Rule::Fixed);
    let is_kept = before.secondary.iter().all(|metric| after.secondary.contains(metric));
    let rule = if is_kept { Rule::Exploratory } else { Rule::Fixed };
    compare(before.secondary == after.secondary, "analysis.secondary", rule);
    // What results are only shown apart by is a matter of words; strata are part of the estimate.
    let strata = |plan: &AnalysisPlan| plan.clone().without_shown_dimensions().dimensions;
    let rule = if strata(before) == strata(after) { Rule::Text } else { Rule::Fixed };
    compare(before.dimensions == after.dimensions, "analysis.dimensions", rule);
    let has_strata = before.post_stratify.is_some() || after.post_stratify.is_some();
    let rule = if has_strata { Rule::Fixed } else { Rule::Text };
    compare(before.dimension_values == after.dimension_values, "analysis.dimension_values", rule);
    compare(before.post_stratify == after.post_stratify, "analysis.post_stratify", Rule::Fixed);
    compare(before.alpha.to_bits() == after.alpha.to_bits(), "analysis.alpha", Rule::Fixed);
    compare(before.sequential == after.sequential, "analysis.sequential", Rule::Fixed);
    compare(before.looks == after.looks, "analysis.looks", Rule::Fixed);
    compare(before.spending == after.spending, "analysis.spending", Rule::Fixed);
    compare(before.running_alpha.to_bits() == after.running_alpha.to_bits(), "analysis.running_alpha", Rule::Fixed);
    compare(before.planned_units == after.planned_units, "analysis.planned_units", Rule::Fixed);
    compare(before.multiple == after.multiple, "analysis.multiple", Rule::Fixed);
    compare(before.min_days == after.min_days, "analysis.min_days", Rule::Fixed);
    compare(before.min_join_rate.to_bits() == after.min_join_rate.to_bits(), "analysis.min_join_rate", Rule::Fixed);
    compare(before.max_data_age_hours == after.max_data_age_hours, "analysis.max_data_age_hours", Rule::Fixed);
    compare(before.max_days == after.max_days, "analysis.max_days", Rule::Schedule);
}

fn schedule(before: &Schedule, after: &Schedule, compare: &mut impl FnMut(bool, &str, Rule)) {
    compare(before.start == after.start, "schedule.start", Rule::Schedule);
    compare(before.ramp == after.ramp, "schedule.ramp", Rule::Schedule);
    compare(before.auto_rollback == after.auto_rollback, "schedule.auto_rollback", Rule::Schedule);
    compare(before.refresh == after.refresh, "schedule.refresh", Rule::Schedule);
}
