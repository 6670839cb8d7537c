//! Sufficient statistics per metric and variant: all that leaves the warehouse.
//!
//! In: the table of values per unit.  Out: a [`Sample`] per variant of each metric.
//! Never here: means and covariances (`moments`), order statistics (`quantiles`), comparisons of variants (`experiment::stats`).
//! Start at [`read_samples`].

use std::collections::BTreeMap;

use experiment::metric::{Cap, Reading, Statistic, UnitPlan};
use experiment::results::Sample;
use warehouse::{Catalog, Warehouse};

use super::Subject;
use super::moments::read_moments;
use super::quantiles::{self, read_quantiles};
use super::units::kept;
use super::values::{is_mature, value_column};
use crate::PipelineError;
use crate::rows::Columns;

/// What errors call the rows of values, be they a table or computed for a day.
pub(super) const VALUES: &str = "the values of the experiment";

/// A metric, by variant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MetricMoments {
    /// The value at which the metric is capped, if it is.
    pub(crate) cap: Option<f64>,
    pub(crate) by_variant: BTreeMap<String, Sample>,
}

/// Reads the statistics of all metrics, in the order of the subject: one query for all caps, one for all moments, two or three per quantile.
pub(crate) async fn read_samples(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
) -> Result<Vec<MetricMoments>, PipelineError> {
    let source = &subject.table("values")?.to_string();
    samples_of(warehouse, catalog, subject, source).await
}

/// The same as of the day of the subject, whenever that was: from the units and days of then, and no fact.
pub(crate) async fn read_samples_of_day(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
) -> Result<Vec<MetricMoments>, PipelineError> {
    let source = without_comments(&super::values::values_sql(subject)?);
    samples_of(warehouse, catalog, subject, &source).await
}

/// What units did so many days after that of their exposure, by metric and variant, capped as the whole window is; from the days, and no fact.
pub(crate) async fn read_samples_since(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    caps: &[Option<f64>],
    day: u32,
) -> Result<Vec<BTreeMap<String, Sample>>, PipelineError> {
    let source = without_comments(&super::values::values_since_sql(subject, Some(day))?);
    let mut found = vec![BTreeMap::new(); subject.metrics.len()];
    for cell in read_moments(warehouse, catalog, subject, &source, caps, None).await? {
        for ((of_metric, sample), (_, plan)) in found.iter_mut().zip(cell.samples).zip(&subject.metrics) {
            if touches(plan, day) {
                of_metric.extend(sample.map(|sample| (cell.variant.clone(), sample)));
            }
        }
    }
    Ok(found)
}

/// Whether a window can have a part of this day; steps of a funnel take several days, and none says anything by itself.
fn touches(plan: &UnitPlan, day: u32) -> bool {
    let is_alone = |reading: &Reading| !matches!(reading, Reading::Steps { .. });
    plan.measures.iter().all(|measure| measure.span.days().contains(&day) && is_alone(&measure.reading))
}

fn without_comments(sql: &str) -> String {
    let lines: Vec<&str> = sql.lines().filter(|line| !line.starts_with("--")).collect();
    format!("({})", lines.join("\n"))
}

async fn samples_of(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    source: &str,
) -> Result<Vec<MetricMoments>, PipelineError> {
    let caps = read_caps(warehouse, catalog, subject, source).await?;
    let cells = read_moments(warehouse, catalog, subject, source, &caps, None).await?;
    let mut found: Vec<MetricMoments> =
        caps.into_iter().map(|cap| MetricMoments { cap, by_variant: BTreeMap::new() }).collect();
    for cell in cells {
        for (metric, sample) in found.iter_mut().zip(cell.samples) {
            metric.by_variant.extend(sample.map(|sample| (cell.variant.clone(), sample)));
        }
    }
    for (metric, (_, plan)) in subject.metrics.iter().enumerate() {
        if let Statistic::Quantile(plan) = plan.statistic {
            let rows = quantiles::source(subject, metric, plan, source)?;
            let read = read_quantiles(warehouse, catalog, subject, &rows, (metric, plan), None).await?;
            found[metric].by_variant = read.into_iter().map(|found| (found.variant, found.sample)).collect();
        }
    }
    Ok(found)
}

/// Which of the units that count do so for a metric.
pub(super) fn kept_for(subject: &Subject<'_>, plan: &UnitPlan) -> String {
    if plan.mature_only { is_mature(subject, plan) } else { "true".to_owned() }
}

/// The cap of each metric: the same for all variants, or it would hide what it is to show.
async fn read_caps(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    source: &str,
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
    let result = warehouse
        .query(catalog, &format!("select {} from {source} where {}", columns.join(", "), kept(subject)))
        .await?;
    let columns = Columns::new(VALUES, &result);
    for (metric, cap) in caps.iter_mut().enumerate() {
        let column = format!("cap_{metric}");
        if columns.has(&column) {
            // A cap at or below 0 would be one of units that have nothing: where most of what happens is negative, there is none.
            *cap = columns.number(&column)?.first().copied().flatten().filter(|cap| *cap > 0.0);
        }
    }
    Ok(caps)
}

/// Values that are no finite numbers, per metric: they count as none.
pub(crate) async fn read_bad_values(
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
