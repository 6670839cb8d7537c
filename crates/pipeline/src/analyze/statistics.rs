//! Sufficient statistics per metric and variant: all that leaves the warehouse.
//!
//! In: the table of values per unit.  Out: a [`Sample`] per variant of each metric.
//! Never here: comparisons of variants (`experiment::stats`).
//! Start at [`read_samples`].
//!
//! Means, variances and covariances are aggregates of the engine, which it updates around the mean and merges between threads: no
//! difference of two large sums is ever taken.

use std::collections::BTreeMap;

use experiment::metric::{Cap, Statistic, UnitPlan};
use experiment::stats::covariates::CovariateMoments;
use experiment::stats::quantile::{Quantile, bound_ranks};
use warehouse::{Catalog, Warehouse};

use super::units::kept;
use super::values::{before_column, is_mature, value_column};
use super::{Subject, text};
use crate::PipelineError;
use crate::rows::Columns;

/// One variant's share of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sample {
    /// Entry 0 is the value (of a ratio, 0 and 1 are numerator and denominator); the others are from before exposure.
    Moments(CovariateMoments),
    Quantile(Quantile),
}

/// A metric, by variant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MetricMoments {
    /// The value at which the metric is capped, if it is.
    pub(crate) cap: Option<f64>,
    pub(crate) by_variant: BTreeMap<String, Sample>,
    /// Values that are no finite numbers, by any unit on any day.
    pub(crate) bad_values: u64,
}

/// Reads the statistics of all metrics, in the order of the subject: one query for all caps, one for all moments, one per quantile.
pub(crate) async fn read_samples(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
) -> Result<Vec<MetricMoments>, PipelineError> {
    let caps = read_caps(warehouse, catalog, subject).await?;
    let bad = read_bad_values(warehouse, catalog, subject).await?;
    let mut found: Vec<MetricMoments> = caps
        .into_iter()
        .zip(bad)
        .map(|(cap, bad_values)| MetricMoments { cap, by_variant: BTreeMap::new(), bad_values })
        .collect();
    read_moments(warehouse, catalog, subject, &mut found).await?;
    for (metric, (_, plan)) in subject.metrics.iter().enumerate() {
        if let Statistic::Quantile(share) = plan.statistic {
            found[metric].by_variant = read_quantiles(warehouse, catalog, subject, metric, share).await?;
        }
    }
    Ok(found)
}

/// Which of the units that count do so for a metric.
fn kept_for(subject: &Subject<'_>, plan: &UnitPlan) -> String {
    if plan.mature_only { is_mature(subject, plan) } else { "true".to_owned() }
}

/// The cap of each metric: the same for all variants, or it would hide what it is to show.
async fn read_caps(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
) -> Result<Vec<Option<f64>>, PipelineError> {
    let mut caps: Vec<Option<f64>> =
        subject.metrics.iter().map(|(_, plan)| plan.cap.and_then(|cap| cap.value)).collect();
    let mut columns = Vec::new();
    for (metric, (_, plan)) in subject.metrics.iter().enumerate() {
        let Some(Cap { percentile: Some(share), nonzero_only, .. }) = plan.cap else { continue };
        let value = value_column(subject, metric, 0);
        let nonzero = if nonzero_only { format!(" and {value} <> 0") } else { String::new() };
        columns.push(format!(
            "percentile_cont({share}) within group (order by {value}) filter (where {}{nonzero}) as cap_{metric}",
            kept_for(subject, plan)
        ));
    }
    if columns.is_empty() {
        return Ok(caps);
    }
    let values = subject.table("values")?;
    let result = warehouse
        .query(catalog, &format!("select {} from {values} where {}", columns.join(", "), kept(subject)))
        .await?;
    let name = values.to_string();
    let columns = Columns::new(&name, &result);
    for (metric, cap) in caps.iter_mut().enumerate() {
        let column = format!("cap_{metric}");
        if columns.has(&column) {
            *cap = columns.number(&column)?.first().copied().flatten();
        }
    }
    Ok(caps)
}

/// Names of what enters the moments of a metric, capped.
fn entries(subject: &Subject<'_>, metric: usize, cap: Option<f64>) -> Vec<String> {
    let plan = &subject.metrics[metric].1;
    let measures = 0..plan.measures.len();
    let values = measures.clone().map(|measure| value_column(subject, metric, measure));
    let before = measures.filter(|_| plan.covariate_days > 0).map(|measure| before_column(subject, metric, measure));
    let limit = |(at, column): (usize, String)| match cap {
        // Of a ratio the numerator is capped, now and before.
        Some(cap) if at % plan.measures.len() == 0 => format!("least({column}, {cap:?})"),
        Some(_) | None => column,
    };
    values.chain(before).enumerate().map(limit).collect()
}

async fn read_moments(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    found: &mut [MetricMoments],
) -> Result<(), PipelineError> {
    let (mut inner, mut outer) = (Vec::new(), Vec::new());
    let mut widths = Vec::new();
    for (metric, (_, plan)) in subject.metrics.iter().enumerate() {
        let entries = entries(subject, metric, found[metric].cap);
        widths.push(entries.len());
        inner.push(format!("{} as k{metric}", kept_for(subject, plan)));
        outer.push(format!("count(*) filter (where k{metric}) as n{metric}"));
        for (i, entry) in entries.iter().enumerate() {
            inner.push(format!("{entry} as e{metric}_{i}"));
            outer.push(format!("avg(e{metric}_{i}) filter (where k{metric}) as a{metric}_{i}"));
            for j in 0..=i {
                outer.push(format!(
                    "covar_samp(e{metric}_{i}, e{metric}_{j}) filter (where k{metric}) as c{metric}_{i}_{j}"
                ));
            }
        }
    }
    let values = subject.table("values")?;
    let sql = format!(
        "select variant, {} from (select variant, {} from {values} where {}) group by variant order by variant",
        outer.join(", "),
        inner.join(", "),
        kept(subject),
    );
    let result = warehouse.query(catalog, &sql).await?;
    let name = values.to_string();
    let columns = Columns::new(&name, &result);
    let variants = columns.text("variant")?;
    for (metric, width) in widths.into_iter().enumerate() {
        let units = columns.number(&format!("n{metric}"))?;
        let means = (0..width).map(|i| columns.number(&format!("a{metric}_{i}"))).collect::<Result<Vec<_>, _>>()?;
        let mut covariances = BTreeMap::new();
        for i in 0..width {
            for j in 0..=i {
                covariances.insert((i, j), columns.number(&format!("c{metric}_{i}_{j}"))?);
            }
        }
        for (row, variant) in variants.iter().enumerate() {
            let n = units[row].unwrap_or_default() as u64;
            let less_one = (n as f64 - 1.0).max(0.0);
            let comoment = |at: usize| {
                let (i, j) = (at / width, at % width);
                covariances[&(i.max(j), i.min(j))][row].unwrap_or_default() * less_one
            };
            let sample = Sample::Moments(CovariateMoments {
                n,
                means: means.iter().map(|mean| mean[row].unwrap_or_default()).collect(),
                comoments: (0..width * width).map(comoment).collect(),
            });
            found[metric].by_variant.insert(variant.clone().unwrap_or_default(), sample);
        }
    }
    Ok(())
}

/// Order statistics around the quantile, by variant.
async fn read_quantiles(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    metric: usize,
    share: f64,
) -> Result<BTreeMap<String, Sample>, PipelineError> {
    let values = subject.table("values")?;
    let name = values.to_string();
    let (_, plan) = &subject.metrics[metric];
    let value = value_column(subject, metric, 0);
    let condition = format!("{} and {}", kept(subject), kept_for(subject, plan));
    let sizes = format!("select variant, count(*) as units from {values} where {condition} group by variant");
    let result = warehouse.query(catalog, &sizes).await?;
    let columns = Columns::new(&name, &result);
    let sizes: Vec<(Option<String>, Option<f64>)> =
        columns.text("variant")?.into_iter().zip(columns.number("units")?).collect();
    let mut found = BTreeMap::new();
    for (variant, units) in sizes {
        let (variant, n) = (variant.unwrap_or_default(), units.unwrap_or_default() as u64);
        let (lower, upper) = bound_ranks(n, share);
        // The place of a rank among n values, as `percentile_cont` counts it: it then interpolates nothing.
        let place = |rank: u64| if n > 1 { (rank - 1) as f64 / (n - 1) as f64 } else { 0.0 };
        let at =
            |share: f64, name: &str| format!("percentile_cont({share:?}) within group (order by {value}) as {name}");
        let sql = format!(
            "select {}, {}, {} from {values} where {condition} and variant = {}",
            at(share, "hat"),
            at(place(lower), "lower_bound"),
            at(place(upper), "upper_bound"),
            text(&variant),
        );
        let result = warehouse.query(catalog, &sql).await?;
        let columns = Columns::new(&name, &result);
        let first =
            |name: &str| Ok::<f64, PipelineError>(columns.number(name)?.first().copied().flatten().unwrap_or_default());
        let quantile = Quantile {
            n,
            n_star: n,
            nu: share,
            quantile_hat: first("hat")?,
            quantile_lower: first("lower_bound")?,
            quantile_upper: first("upper_bound")?,
        };
        found.insert(variant, Sample::Quantile(quantile));
    }
    Ok(found)
}

/// Values that are no finite numbers, per metric: they count as none.
async fn read_bad_values(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
) -> Result<Vec<u64>, PipelineError> {
    let mut bad = vec![0; subject.metrics.len()];
    for (scan, (key, readings)) in subject.scans().iter().enumerate() {
        let table = subject.table(&super::days::part(scan))?;
        let name = table.to_string();
        let columns: Vec<String> = (0..readings.len())
            .filter(|reading| super::days::has_numbers(&readings[*reading]))
            .map(|reading| format!("sum(r{reading}_bad) as r{reading}_bad"))
            .collect();
        if columns.is_empty() {
            continue;
        }
        let result = warehouse.query(catalog, &format!("select {} from {table}", columns.join(", "))).await?;
        let found = Columns::new(&name, &result);
        for (metric, (_, plan)) in subject.metrics.iter().enumerate() {
            for measure in plan.measures.iter().filter(|measure| super::scan_of(measure) == *key) {
                let kept = super::days::kept(&measure.reading);
                let reading = readings.iter().position(|reading| *reading == kept);
                let column = reading.map(|reading| format!("r{reading}_bad")).filter(|column| found.has(column));
                if let Some(column) = column {
                    bad[metric] += found.number(&column)?.first().copied().flatten().unwrap_or_default() as u64;
                }
            }
        }
    }
    Ok(bad)
}
