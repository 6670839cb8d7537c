//! The plainest model of rewards: the mean of each cell of context and action, never from the rows it is used on.
//!
//! In: decisions and the fold of each.  Out: rows × actions modelled rewards, row-major.
//! Source of cross-fitting: Chernozhukov et al., Econometrics Journal 21, 2018.
//! Never here: what is done with it (see `off_policy`).
//! Start at [`cross_fitted`].

use crate::assign::Value;
use crate::assign::hash::{HashVersion, bucket};

/// Folds of the cross-fit: each cell loses a fifth of its rows.
pub const FOLDS: usize = 5;

/// The fold of a unit, by its name: all its rows lie in one, whatever their order.
pub fn fold_of(unit: &str) -> usize {
    let bucket = bucket("cross-fit", &Value::from(unit), HashVersion::V2).unwrap_or_default();
    ((bucket * FOLDS as f64) as usize).min(FOLDS - 1)
}

/// Sum and count, of which a mean can be taken away again.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    sum: f64,
    rows: f64,
}

impl Tally {
    fn add(&mut self, reward: f64) {
        self.sum += reward;
        self.rows += 1.0;
    }

    fn mean_without(self, fold: Self) -> Option<f64> {
        let rows = self.rows - fold.rows;
        (rows > 0.0).then(|| (self.sum - fold.sum) / rows)
    }
}

/// Modelled rewards of every action for each row: the mean of the other folds in the row's context; where they have no such row, that of
/// the action in all contexts; else of all rows. 0 where there is no other fold.
///
/// Shapes: `contexts`, `actions`, `rewards`, `folds` (below [`FOLDS`]) one entry per row; the result rows × `action_count`.
pub fn cross_fitted(
    contexts: &[usize],
    actions: &[usize],
    rewards: &[f64],
    folds: &[usize],
    action_count: usize,
) -> Vec<f64> {
    let context_count = contexts.iter().max().map_or(0, |most| most + 1);
    let mut cells = vec![[Tally::default(); FOLDS]; context_count * action_count];
    let mut of_actions = vec![[Tally::default(); FOLDS]; action_count];
    let mut all = [Tally::default(); FOLDS];
    for (row, &reward) in rewards.iter().enumerate() {
        let (fold, action) = (folds[row], actions[row]);
        cells[contexts[row] * action_count + action][fold].add(reward);
        of_actions[action][fold].add(reward);
        all[fold].add(reward);
    }
    let total = |tallies: &[Tally; FOLDS]| {
        tallies.iter().fold(Tally::default(), |a, b| Tally { sum: a.sum + b.sum, rows: a.rows + b.rows })
    };
    let without = |tallies: &[Tally; FOLDS], fold: usize| total(tallies).mean_without(tallies[fold]);
    // One prediction per fold, context and action; rows look theirs up.
    let mut predicted = vec![0.0; FOLDS * cells.len()];
    for fold in 0..FOLDS {
        for (at, cell) in cells.iter().enumerate() {
            let found = without(cell, fold).or_else(|| without(&of_actions[at % action_count], fold));
            predicted[fold * cells.len() + at] = found.or_else(|| without(&all, fold)).unwrap_or(0.0);
        }
    }
    let rows = contexts.iter().zip(folds).flat_map(|(context, fold)| {
        let start = fold * cells.len() + context * action_count;
        &predicted[start..start + action_count]
    });
    rows.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_predicted_from_the_other_folds() {
        // Context 0, action 0: rewards 1 (fold 0), 0 and 1 (fold 1). Context 1, action 1: 3 (fold 2).
        let found = cross_fitted(&[0, 0, 0, 1], &[0, 0, 0, 1], &[1.0, 0.0, 1.0, 3.0], &[0, 1, 1, 2], 2);
        // Fold 0: its cell from fold 1 is ½; action 1 in context 0 is known from context 1 alone.
        assert_eq!(found[0..2], [0.5, 3.0]);
        // Fold 1: the cell from fold 0 is 1.
        assert_eq!(found[2..6], [1.0, 3.0, 1.0, 3.0]);
        // Fold 2: action 0 from other contexts, ⅔; action 1 is in no other fold, so the mean of all others, ⅔ too.
        assert_eq!(found[6..8], [2.0 / 3.0, 2.0 / 3.0]);
        assert_eq!(cross_fitted(&[0], &[0], &[5.0], &[0], 1), [0.0]);
        assert!(cross_fitted(&[], &[], &[], &[], 3).is_empty());
    }

    #[test]
    fn folds_are_even_and_keep_a_unit_together() {
        let mut counts = [0_i32; FOLDS];
        (0..10_000).for_each(|unit| counts[fold_of(&unit.to_string())] += 1);
        assert!(counts.iter().all(|count| (count - 2_000).abs() < 200), "{counts:?}");
    }
}
