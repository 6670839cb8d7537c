//! The values of units, apart by dimensions: one scan of the values per dimension, none of facts.
//!
//! In: a [`Subject`] with dimensions.  Out: samples per value of each.
//! Never here: whether effects differ (`experiment::slices`).
//! Start at [`read_dimensions`].

use experiment::metric::Statistic;
use experiment::slices::{ObservedDimension, ObservedSlice};
use warehouse::{Catalog, Warehouse};

use super::moments::read_moments;
use super::quantiles::{self, read_quantiles};
use super::units::{dimension_column, kept};
use super::{Subject, text};
use crate::PipelineError;
use crate::rows::Columns;

/// What stands for values beyond the largest, and for none at all.
const OTHER: &str = "other";
const UNKNOWN: &str = "unknown";

/// Reads all dimensions, each with its largest values first. `variants` are those of the experiment, in their order.
pub(crate) async fn read_dimensions(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    variants: &[(String, f64)],
    caps: &[Option<f64>],
) -> Result<Vec<ObservedDimension>, PipelineError> {
    let values = subject.table("values")?.to_string();
    let mut found = Vec::new();
    for (index, dimension) in subject.file.analysis.dimensions.iter().enumerate() {
        // An empty text says as little as none.
        let value = format!("coalesce(nullif({}, ''), '{UNKNOWN}')", dimension_column(index));
        let shown = largest(warehouse, catalog, subject, &values, &value).await?;
        let list: Vec<String> = shown.iter().map(|value| text(value)).collect();
        let slice = match list.as_slice() {
            [] => format!("'{OTHER}'"),
            some => format!("case when {value} in ({}) then {value} else '{OTHER}' end", some.join(", ")),
        };
        let mut slices: Vec<ObservedSlice> = shown.into_iter().map(|value| blank(value, subject, variants)).collect();
        for cell in read_moments(warehouse, catalog, subject, &values, caps, Some(&slice)).await? {
            let Some(variant) = variants.iter().position(|(key, _)| *key == cell.variant) else { continue };
            let place = slices.iter().position(|slice| slice.value == cell.slice).unwrap_or_else(|| {
                slices.push(blank(cell.slice.clone(), subject, variants));
                slices.len() - 1
            });
            slices[place].units[variant] += cell.units;
            for (of_metric, sample) in slices[place].samples.iter_mut().zip(cell.samples) {
                of_metric[variant] = sample;
            }
        }
        for (metric, (_, plan)) in subject.metrics.iter().enumerate() {
            let Statistic::Quantile(plan) = plan.statistic else { continue };
            let rows = quantiles::source(subject, metric, plan, &values)?;
            for read in read_quantiles(warehouse, catalog, subject, &rows, (metric, plan), Some(&slice)).await? {
                let variant = variants.iter().position(|(key, _)| *key == read.variant);
                let slice = slices.iter_mut().find(|slice| slice.value == read.slice);
                if let (Some(variant), Some(slice)) = (variant, slice) {
                    slice.samples[metric][variant] = Some(read.sample);
                }
            }
        }
        found.push(ObservedDimension { name: dimension.column.clone(), slices });
    }
    Ok(found)
}

fn blank(value: String, subject: &Subject<'_>, variants: &[(String, f64)]) -> ObservedSlice {
    let samples = vec![vec![None; variants.len()]; subject.metrics.len()];
    ObservedSlice { value, units: vec![0; variants.len()], samples }
}

/// The values with the most units; of as many, the first in the alphabet.
async fn largest(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    values: &str,
    value: &str,
) -> Result<Vec<String>, PipelineError> {
    let sql = format!(
        "select {value} as value, count(*) as units from {values} where {} group by 1 order by units desc, value limit {}",
        kept(subject),
        subject.file.analysis.dimension_values,
    );
    let result = warehouse.query(catalog, &sql).await?;
    Ok(Columns::new(values, &result).text("value")?.into_iter().flatten().collect())
}
