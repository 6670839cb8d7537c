//! Results per slice: the same metrics for the units of one country, one platform, one tier, and whether they differ between these.
//!
//! In: samples per value of a dimension.  Out: [`DimensionResults`], with a check of the split in every slice.
//! Never here: which values are shown apart, and reading them; verdicts: slices decide nothing.
//! Start at [`slice`].

use serde::Serialize;

use crate::judged::test;
use crate::results::{Observed, Sample, compare_samples};
use crate::stats::heterogeneity::{Heterogeneity, SliceEffect, heterogeneity};
use crate::stats::multiple::benjamini_hochberg;
use crate::stats::sample_ratio::{SAMPLE_RATIO_ALPHA, check_sample_ratio};
use crate::stats::{Interval, Scale, StatsError};

/// The units of one value of a dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedSlice {
    pub value: String,
    /// In the order of the variants.
    pub units: Vec<u64>,
    /// Per metric, and in it in the order of the variants; `None` where nothing was read.
    pub samples: Vec<Vec<Option<Sample>>>,
}

/// A dimension: slices that share no units.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedDimension {
    pub name: String,
    pub slices: Vec<ObservedSlice>,
}

/// What was found of a dimension.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DimensionResults {
    pub dimension: String,
    pub slices: Vec<SliceResults>,
    /// Per metric and arm with an effect in at least two slices.
    pub differences: Vec<SliceDifference>,
}

/// What was found of a slice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SliceResults {
    pub value: String,
    /// In the order of the variants.
    pub units: Vec<u64>,
    /// χ² of the planned shares; `None` without units.
    pub sample_ratio_p: Option<f64>,
    /// Below 0.001 over the number of all slices (Bonferroni).
    pub has_mismatch: bool,
    pub rows: Vec<SliceRow>,
}

/// One metric in one arm of a slice, relative to control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SliceRow {
    pub metric: String,
    pub arm: String,
    pub effect: Option<SliceEffect>,
    /// As the plan lets it be claimed now, at the whole part of α; corrected for nothing.
    pub interval: Option<Interval>,
    /// Pulled towards the mean of the slices, by as much as chance explains their differences (empirical Bayes).
    pub shrunken: Option<SliceEffect>,
    pub problem: Option<String>,
}

/// Whether the effect on a metric differs between the slices of a dimension.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SliceDifference {
    pub metric: String,
    pub arm: String,
    pub heterogeneity: Heterogeneity,
    /// Corrected over all dimensions, metrics and arms (Benjamini & Hochberg).
    pub adjusted_p: f64,
}

/// H1 for every dimension.  Errors: shares of variants that are none.
pub fn slice(observed: &Observed) -> Result<Vec<DimensionResults>, StatsError> {
    let tests: usize = observed.dimensions.iter().map(|dimension| dimension.slices.len()).sum();
    let mut found = Vec::with_capacity(observed.dimensions.len());
    for dimension in &observed.dimensions {
        let mut slices = Vec::with_capacity(dimension.slices.len());
        for slice in &dimension.slices {
            slices.push(one(observed, slice, tests)?);
        }
        let differences = differences(&mut slices);
        found.push(DimensionResults { dimension: dimension.name.clone(), slices, differences });
    }
    let all = || found.iter().flat_map(|dimension| &dimension.differences);
    let p: Vec<f64> = all().map(|difference| difference.heterogeneity.p_value).collect();
    let adjusted = benjamini_hochberg(&p, observed.alpha)?;
    let differences = found.iter_mut().flat_map(|dimension| &mut dimension.differences);
    differences.zip(adjusted).for_each(|(difference, adjusted)| difference.adjusted_p = adjusted.p);
    Ok(found)
}

fn one(observed: &Observed, slice: &ObservedSlice, tests: usize) -> Result<SliceResults, StatsError> {
    let shares: Vec<f64> = observed.variants.iter().map(|(_, share)| *share).collect();
    let has_units = slice.units.iter().any(|units| *units > 0);
    let p = if has_units { Some(check_sample_ratio(&slice.units, &shares)?.p) } else { None };
    let mut rows = Vec::new();
    for (arm, (name, _)) in observed.variants.iter().enumerate().skip(1) {
        for (metric, samples) in observed.metrics.iter().zip(&slice.samples) {
            if samples.iter().all(Option::is_none) {
                continue;
            }
            let mut row = SliceRow {
                metric: metric.name.clone(),
                arm: name.clone(),
                effect: None,
                interval: None,
                shrunken: None,
                problem: None,
            };
            match effect(observed, samples, arm) {
                Ok((effect, interval)) => (row.effect, row.interval) = (Some(effect), interval),
                Err(problem) => row.problem = Some(problem.to_string()),
            }
            rows.push(row);
        }
    }
    Ok(SliceResults {
        value: slice.value.clone(),
        units: slice.units.clone(),
        sample_ratio_p: p,
        has_mismatch: p.is_some_and(|p| p < SAMPLE_RATIO_ALPHA / tests as f64),
        rows,
    })
}

fn effect(
    observed: &Observed,
    samples: &[Option<Sample>],
    arm: usize,
) -> Result<(SliceEffect, Option<Interval>), StatsError> {
    let none = StatsError::TooFewUnits { n: 0, least: 2 };
    let sample = |at: usize| samples.get(at).and_then(Option::as_ref).ok_or(none.clone());
    let estimate = compare_samples(sample(0)?, sample(arm)?)?.estimate(Scale::Relative)?;
    let alpha = observed.alpha_now();
    let interval = test(observed, &estimate, alpha, alpha)?.map(|found| found.ci);
    Ok((SliceEffect { effect: estimate.effect, se: estimate.se }, interval))
}

/// Cochran's Q per metric and arm, over the slices that have an effect; each of these learns its shrunken one.
fn differences(slices: &mut [SliceResults]) -> Vec<SliceDifference> {
    let mut keys: Vec<(String, String)> = Vec::new();
    for row in slices.iter().flat_map(|slice| &slice.rows) {
        let key = (row.metric.clone(), row.arm.clone());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut found = Vec::new();
    for (metric, arm) in keys {
        let rows = slices.iter_mut().flat_map(|slice| &mut slice.rows);
        let mut rows: Vec<&mut SliceRow> =
            rows.filter(|row| row.metric == metric && row.arm == arm && row.effect.is_some()).collect();
        let effects: Vec<SliceEffect> = rows.iter().filter_map(|row| row.effect).collect();
        // Of fewer than two slices there is nothing to say.
        let Ok(heterogeneity) = heterogeneity(&effects) else { continue };
        rows.iter_mut().zip(&heterogeneity.shrunken).for_each(|(row, effect)| row.shrunken = Some(*effect));
        found.push(SliceDifference { metric, arm, heterogeneity, adjusted_p: 1.0 });
    }
    found
}
