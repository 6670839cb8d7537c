//! Whether experiments that share units act on each other.
//!
//! In: per pair of experiments, how the primary metric of the first came out where both vary.  Out: [`InteractionRow`]s.
//! Never here: who shares units (whoever reads the tables knows), verdicts: they do not read it.
//! Start at [`interactions`].

use serde::Serialize;

use crate::stats::StatsError;
use crate::stats::heterogeneity::{CrossedCell, Interaction, interaction};
use crate::stats::multiple::benjamini_hochberg;

/// One treatment arm of one experiment crossed with one of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Crossing {
    /// Keys of the experiments; `metric` is the primary one of the first.
    pub first: String,
    pub second: String,
    pub metric: String,
    pub first_arm: String,
    pub second_arm: String,
    /// By the arm of the first, then of the second, control first.
    pub cells: [[CrossedCell; 2]; 2],
}

/// What was found of a crossing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InteractionRow {
    pub first: String,
    pub second: String,
    pub metric: String,
    pub first_arm: String,
    pub second_arm: String,
    /// Units in both experiments and in these arms.
    pub units: u64,
    /// By how much the absolute effect of the first differs where the second treats; `None` where `problem` says why.
    pub interaction: Option<Interaction>,
    /// Of the effect, corrected over all crossings (Benjamini & Hochberg).
    pub adjusted_p: Option<f64>,
    /// Of the independence of the assignments (χ²), corrected likewise.
    pub adjusted_independence_p: Option<f64>,
    pub problem: Option<String>,
}

/// H2 for every crossing, corrected over all of them.  Errors: an α that is none.
pub fn interactions(crossings: &[Crossing], alpha: f64) -> Result<Vec<InteractionRow>, StatsError> {
    let row = |crossing: &Crossing| {
        let found = interaction(&crossing.cells, alpha);
        InteractionRow {
            first: crossing.first.clone(),
            second: crossing.second.clone(),
            metric: crossing.metric.clone(),
            first_arm: crossing.first_arm.clone(),
            second_arm: crossing.second_arm.clone(),
            units: crossing.cells.iter().flatten().map(|cell| cell.n).sum(),
            problem: found.as_ref().err().map(ToString::to_string),
            interaction: found.ok(),
            adjusted_p: None,
            adjusted_independence_p: None,
        }
    };
    let mut rows: Vec<InteractionRow> = crossings.iter().map(row).collect();
    let found: Vec<Interaction> = rows.iter().filter_map(|row| row.interaction).collect();
    let effects: Vec<f64> = found.iter().map(|it| it.difference.p_value).collect();
    let splits: Vec<f64> = found.iter().map(|it| it.independence_p).collect();
    let adjusted = benjamini_hochberg(&effects, alpha)?.into_iter().zip(benjamini_hochberg(&splits, alpha)?);
    for (row, (effect, split)) in rows.iter_mut().filter(|row| row.interaction.is_some()).zip(adjusted) {
        row.adjusted_p = Some(effect.p);
        row.adjusted_independence_p = Some(split.p);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossing(second: &str, tt: f64, units: u64) -> Crossing {
        let cell = |mean: f64, n: u64| CrossedCell { n, mean, variance: 4.0 };
        Crossing {
            first: "a".to_owned(),
            second: second.to_owned(),
            metric: "revenue".to_owned(),
            first_arm: "t".to_owned(),
            second_arm: "t".to_owned(),
            cells: [[cell(10.0, 400), cell(11.0, 400)], [cell(12.0, 400), cell(tt, units)]],
        }
    }

    /// By hand: tt − tc − (ct − cc); every cell adds 4/400 to the variance, so that SE is .2.
    #[test]
    fn an_effect_that_depends_on_the_other_experiment_is_found_over_all_pairs() {
        let found = interactions(&[crossing("b", 14.0, 400), crossing("c", 13.0, 400)], 0.05).unwrap();
        let (strong, none) = (found[0].interaction.unwrap(), found[1].interaction.unwrap());
        assert!((strong.difference.effect - 1.0).abs() < 1e-12 && (strong.difference.se - 0.2).abs() < 1e-12);
        assert!(none.difference.effect.abs() < 1e-12 && found[1].adjusted_p == Some(1.0));
        // Benjamini & Hochberg: the smaller of two p is doubled.
        assert!((found[0].adjusted_p.unwrap() - 2.0 * strong.difference.p_value).abs() < 1e-15);
        assert_eq!((found[0].adjusted_independence_p, found[0].units), (Some(1.0), 1_600));
    }

    #[test]
    fn assignments_that_depend_on_each_other_are_found_and_empty_cells_say_so() {
        let found = interactions(&[crossing("b", 13.0, 200), crossing("c", 13.0, 1)], 0.05).unwrap();
        assert!(found[0].adjusted_independence_p.unwrap() < 1e-6, "{found:?}");
        assert!(found[1].interaction.is_none() && found[1].problem.as_ref().unwrap().contains("an arm has `1` units"));
        assert!(interactions(&[], 0.05).unwrap().is_empty());
    }
}
