//! Experiments in which not units but clusters, or regions in blocks of time, were randomised.
//!
//! In: totals per cluster; outcomes per region and time.  Out: a comparison of arms; an effect with a randomisation test.
//! Never here: row-level regression (see `regression::clustered_effect`).
//! Start at [`cluster_ratio`] and [`switchback`].

use std::collections::BTreeMap;

use serde::Serialize;

use super::compare::Statistic;
use super::difference::Difference;
use super::error::{StatsError, finite};
use super::moments::{Mean, Ratio};
use super::regression::{Reference, clustered_effect};
use crate::coin::Coin;

/// What one randomised cluster sums to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClusterTotal {
    /// Σ of the outcome.
    pub sum: f64,
    /// Units (rows) in the cluster.
    pub size: f64,
}

/// K1: one arm of a cluster-randomised experiment as a ratio of totals, so that the mean per unit gets the noise of clusters.
/// Source: Deng, Knoblich & Lu, KDD 2018, § 3.2: D3 with the cluster as the unit.
pub fn cluster_ratio(clusters: &[ClusterTotal]) -> Statistic {
    let sums: Vec<f64> = clusters.iter().map(|c| c.sum).collect();
    let sizes: Vec<f64> = clusters.iter().map(|c| c.size).collect();
    Statistic::Ratio(Ratio {
        n: clusters.len() as u64,
        m_statistic: Mean::from_values(&sums),
        d_statistic: Mean::from_values(&sizes),
        m_d_sum_of_products: clusters.iter().map(|c| c.sum * c.size).sum(),
    })
}

/// The outcome in one region at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SwitchbackRow {
    pub region: u64,
    /// The number of the time block in which this moment lies.
    pub block: u64,
    /// Time since the block began.
    pub minutes_into_block: f64,
    /// Of the whole region × block.
    pub is_treated: bool,
    pub outcome: f64,
}

/// The effect of a switchback experiment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Switchback {
    /// The difference of the means of region × block cells, errors clustered by region × block.
    pub difference: Difference,
    /// The share of `draws` re-randomisations whose |effect| is at least ours, ours counted in.
    pub randomisation_p: f64,
    pub cells: u64,
    pub rows_in_burn_in: u64,
}

/// How a switchback is analysed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SwitchbackPlan {
    /// The first minutes of each block are left out: the other arm still acts in them. Default 60.
    pub burn_in_minutes: f64,
    /// Re-randomisations, such as 1,000.
    pub draws: u32,
    pub seed: u64,
    pub alpha: f64,
}

/// K2: unit = region × block after the burn-in, with t on the cells, and a test that re-randomises the cells.
///
/// The draws keep the number of treated cells (complete randomisation).
/// Source: Bojinov, Simchi-Levi & Zhao, Management Science 69 (2023); Fisher 1935; p = (1 + extreme)/(1 + draws), Phipson & Smyth 2010.
/// Errors: `NotFinite`; `OutOfRange` for a cell with both arms or a negative burn-in; `TooFewUnits`, `Singular` (one arm only), `NoVariance`.
pub fn switchback(rows: &[SwitchbackRow], plan: &SwitchbackPlan) -> Result<Switchback, StatsError> {
    if plan.burn_in_minutes.is_nan() || plan.burn_in_minutes < 0.0 {
        return Err(StatsError::OutOfRange {
            name: "burn_in_minutes",
            value: plan.burn_in_minutes,
            allowed: "at least 0",
        });
    }
    let mut cells: BTreeMap<(u64, u64), (bool, f64, f64)> = BTreeMap::new();
    let mut rows_in_burn_in = 0;
    for row in rows {
        finite("outcome", row.outcome)?;
        if row.minutes_into_block < plan.burn_in_minutes {
            rows_in_burn_in += 1;
            continue;
        }
        let cell = cells.entry((row.region, row.block)).or_insert((row.is_treated, 0.0, 0.0));
        if cell.0 != row.is_treated {
            let allowed = "under one arm within a region; split the block";
            return Err(StatsError::OutOfRange { name: "block", value: row.block as f64, allowed });
        }
        cell.1 += row.outcome;
        cell.2 += 1.0;
    }
    let means: Vec<f64> = cells.values().map(|(_, sum, n)| sum / n).collect();
    let is_treated: Vec<bool> = cells.values().map(|(treated, _, _)| *treated).collect();
    let label: Vec<u64> = (0..means.len() as u64).collect();
    let difference = clustered_effect(&means, &is_treated, &label, Reference::StudentT, plan.alpha)?;
    let randomisation_p = randomisation_p(&means, &is_treated, plan.draws, plan.seed);
    Ok(Switchback { difference, randomisation_p, cells: means.len() as u64, rows_in_burn_in })
}

/// The share of re-randomised differences of means that are at least as large as the observed one.
fn randomisation_p(values: &[f64], is_treated: &[bool], draws: u32, seed: u64) -> f64 {
    let treated = is_treated.iter().filter(|t| **t).count();
    let total: f64 = values.iter().sum();
    let gap = |treated_sum: f64| {
        (treated_sum / treated as f64 - (total - treated_sum) / (values.len() - treated) as f64).abs()
    };
    let observed = gap(values.iter().zip(is_treated).filter(|(_, t)| **t).map(|(x, _)| x).sum());
    let mut random = Coin::new(seed);
    let mut order: Vec<usize> = (0..values.len()).collect();
    // Rounding must not make an equal assignment look smaller.
    let threshold = observed * (1.0 - 1e-12);
    let extreme = (0..draws)
        .filter(|_| {
            random.choose_front(&mut order, treated);
            gap(order[..treated].iter().map(|at| values[*at]).sum()) >= threshold
        })
        .count();
    (1.0 + extreme as f64) / (1.0 + f64::from(draws))
}
