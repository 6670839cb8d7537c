//! Whether experiments that share units act on each other.
//!
//! In: per pair of experiments, how the primary metric of the first came out where both vary.  Out: [`InteractionRow`]s.
//! Never here: who shares units (whoever reads the tables knows), verdicts: they do not read it.
//! Start at [`interactions`].

use serde::Serialize;

use crate::results::{Sample, compare_samples};
use crate::stats::heterogeneity::{CrossedCell, independence_p, interaction};
use crate::stats::multiple::benjamini_hochberg;
use crate::stats::{Difference, StatsError};

/// One treatment arm of one experiment crossed with one of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Crossing {
    /// Keys of the experiments; `metric` is the primary one of the first.
    pub first: String,
    pub second: String,
    pub metric: String,
    pub first_arm: String,
    pub second_arm: String,
    /// Units by the arm of the first, then of the second, control first.
    pub units: [[u64; 2]; 2],
    /// The metric of these units, without covariates; `None` where nothing was read.
    pub samples: [[Option<Sample>; 2]; 2],
}

/// A cell of any kind of metric: a mean, a ratio with its variance by the delta method (D3), or a quantile with that of its order statistics
/// (Q1, Q2). Units of different cells are different ones, so that the variances add up whatever they are of.
fn cell(sample: Option<&Sample>) -> Result<CrossedCell, StatsError> {
    let sample = sample.ok_or(StatsError::TooFewUnits { n: 0, least: 2 })?;
    let arm = compare_samples(sample, sample)?.control;
    Ok(CrossedCell { n: arm.n, mean: arm.unadjusted_mean, variance: arm.variance })
}

/// How two experiments that share units act on each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interaction {
    /// (ȳ_tt − ȳ_tc) − (ȳ_ct − ȳ_cc), the normal as reference.
    pub difference: Difference,
}

fn found(crossing: &Crossing, alpha: f64) -> Result<Interaction, StatsError> {
    let [[cc, ct], [tc, tt]] = &crossing.samples;
    let cells = [[cell(cc.as_ref())?, cell(ct.as_ref())?], [cell(tc.as_ref())?, cell(tt.as_ref())?]];
    Ok(Interaction { difference: interaction(&cells, alpha)? })
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
    /// Of the effect, corrected over all crossings that have one (Benjamini & Hochberg).
    pub adjusted_p: Option<f64>,
    /// The chance of such counts of units if the two assignments were independent (χ²), whatever became of the metric.
    pub independence_p: f64,
    /// The same, corrected over all crossings.
    pub adjusted_independence_p: Option<f64>,
    pub problem: Option<String>,
}

/// H2 for every crossing, corrected over all of them.  Errors: an α that is none.
pub fn interactions(crossings: &[Crossing], alpha: f64) -> Result<Vec<InteractionRow>, StatsError> {
    let row = |crossing: &Crossing| {
        let found = found(crossing, alpha);
        InteractionRow {
            first: crossing.first.clone(),
            second: crossing.second.clone(),
            metric: crossing.metric.clone(),
            first_arm: crossing.first_arm.clone(),
            second_arm: crossing.second_arm.clone(),
            units: crossing.units.iter().flatten().sum(),
            problem: found.as_ref().err().map(ToString::to_string),
            interaction: found.ok(),
            adjusted_p: None,
            // Of the units that were assigned, not of those of which the metric knows something.
            independence_p: independence_p(&crossing.units),
            adjusted_independence_p: None,
        }
    };
    let mut rows: Vec<InteractionRow> = crossings.iter().map(row).collect();
    let effects: Vec<f64> = rows.iter().filter_map(|row| Some(row.interaction?.difference.p_value)).collect();
    let splits: Vec<f64> = rows.iter().map(|row| row.independence_p).collect();
    let with_effect = rows.iter_mut().filter(|row| row.interaction.is_some());
    for (row, effect) in with_effect.zip(benjamini_hochberg(&effects, alpha)?) {
        row.adjusted_p = Some(effect.p);
    }
    for (row, split) in rows.iter_mut().zip(benjamini_hochberg(&splits, alpha)?) {
        row.adjusted_independence_p = Some(split.p);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::covariates::CovariateMoments;
    use crate::stats::quantile::Quantile;

    fn crossing(second: &str, tt: f64, units: u64) -> Crossing {
        let cell = |mean: f64, n: u64| {
            let moments = CovariateMoments { n, means: vec![mean], comoments: vec![4.0 * (n as f64 - 1.0)] };
            Some(Sample::Mean(moments))
        };
        Crossing {
            first: "a".to_owned(),
            second: second.to_owned(),
            metric: "revenue".to_owned(),
            first_arm: "t".to_owned(),
            second_arm: "t".to_owned(),
            units: [[400, 400], [400, units]],
            samples: [[cell(10.0, 400), cell(11.0, 400)], [cell(12.0, 400), cell(tt, units)]],
        }
    }

    /// By hand: tt − tc − (ct − cc); every cell adds 4/400 to the variance, so that SE is .2.
    #[test]
    fn an_effect_that_depends_on_the_other_experiment_is_found_over_all_pairs() {
        let found = interactions(&[crossing("b", 14.0, 400), crossing("c", 13.0, 400)], 0.05).unwrap();
        let (strong, none) = (found[0].interaction.unwrap().difference, found[1].interaction.unwrap().difference);
        assert!((strong.effect - 1.0).abs() < 1e-12 && (strong.se - 0.2).abs() < 1e-12);
        assert!(none.effect.abs() < 1e-12 && found[1].adjusted_p == Some(1.0));
        // Benjamini & Hochberg: the smaller of two p is doubled.
        assert!((found[0].adjusted_p.unwrap() - 2.0 * strong.p_value).abs() < 1e-15);
        assert_eq!((found[0].adjusted_independence_p, found[0].units), (Some(1.0), 1_600));
    }

    /// By hand, of four units (m, d) = (1, 1), (3, 1), (2, 2), (6, 4) in every cell but the last, whose numerators are doubled: R = 12/8 and 24/8.
    /// The residuals m − R·d are −½, 1½, −1, 0 with a sum of squares of 3½, so that Var(R) = (3½/3)/4/2² = 7/96; doubled, four times that.
    #[test]
    fn of_ratios_the_difference_of_differences_is_that_of_the_ratios() {
        let ratio = |times: f64| {
            let rows = [[times, 1.0], [3.0 * times, 1.0], [2.0 * times, 2.0], [6.0 * times, 4.0]];
            Some(Sample::Ratio(CovariateMoments::from_rows(2, rows.iter().map(|row| &row[..])).unwrap()))
        };
        let samples = [[ratio(1.0), ratio(1.0)], [ratio(1.0), ratio(2.0)]];
        let crossed = Crossing { units: [[4; 2]; 2], samples, ..crossing("b", 0.0, 4) };
        let found = interactions(&[crossed], 0.05).unwrap()[0].interaction.unwrap().difference;
        assert!((found.effect - 1.5).abs() < 1e-12, "{found:?}");
        assert!((found.se - (7.0 * 7.0 / 96.0_f64).sqrt()).abs() < 1e-12, "{found:?}");
    }

    /// By hand: SE of a quantile is (u − l)/(2·z.975), up to (n − 1)/n.
    #[test]
    fn of_quantiles_their_order_statistics_give_the_noise() {
        let quantile = |hat: f64, half: f64| {
            let quantile = Quantile {
                n: 1_000,
                n_star: 1_000,
                nu: 0.5,
                quantile_hat: hat,
                quantile_lower: hat - half,
                quantile_upper: hat + half,
            };
            Some(Sample::Quantile(quantile))
        };
        let of = |half: f64| {
            let samples = [[quantile(5.0, 1.0), quantile(5.0, 1.0)], [quantile(6.0, 1.0), quantile(9.0, half)]];
            interactions(&[Crossing { samples, ..crossing("b", 0.0, 400) }], 0.05).unwrap().swap_remove(0)
        };
        let found = of(1.0).interaction.unwrap().difference;
        let se = 2.0 * (999.0_f64 / 1_000.0).sqrt() / 1.959_963_984_540_054;
        assert!((found.effect - 3.0).abs() < 1e-12 && (found.se - se).abs() < 1e-12, "{found:?}");
        assert!(of(0.0).interaction.is_none() && of(0.0).problem.is_some());
    }

    #[test]
    fn assignments_that_depend_on_each_other_are_found_and_empty_cells_say_so() {
        let found = interactions(&[crossing("b", 13.0, 200), crossing("c", 13.0, 1)], 0.05).unwrap();
        assert!(found[0].adjusted_independence_p.unwrap() < 1e-6, "{found:?}");
        assert!(found[1].interaction.is_none() && found[1].problem.as_ref().unwrap().contains("an arm has `1` units"));
        assert!(interactions(&[], 0.05).unwrap().is_empty());
    }

    /// One hash for both: nobody is treated by one alone, and there is no effect to compute, but that is what must be seen. By hand: χ² is all units.
    #[test]
    fn assignments_by_one_hash_are_found_although_cells_are_empty() {
        let mut crossed = crossing("b", 13.0, 400);
        (crossed.units, crossed.samples[0][1], crossed.samples[1][0]) = ([[400, 0], [0, 400]], None, None);
        let found = interactions(&[crossed, crossing("c", 13.0, 400)], 0.05).unwrap();
        assert!(found[0].interaction.is_none() && found[0].adjusted_p.is_none() && found[0].problem.is_some());
        let expected = crate::stats::distributions::chi_square_sf(800.0, 1.0);
        assert_eq!((found[0].independence_p, found[0].adjusted_independence_p), (expected, Some(2.0 * expected)));
        assert_eq!((found[1].independence_p, found[1].adjusted_independence_p), (1.0, Some(1.0)));
    }
}
