//! Means and covariances of values, per variant, and per slice where one is asked for.
//!
//! In: the values of units, caps.  Out: [`Cell`]s.
//! Never here: caps and quantiles (`statistics`), which slices there are (`slices`).
//! Start at [`read_moments`].
//!
//! They are an aggregate of the warehouse, `moments`, which is updated around the mean and merged between threads: no difference of two
//! large sums is ever taken.

use std::collections::BTreeSet;

use experiment::metric::Statistic;
use experiment::results::Sample;
use experiment::stats::covariates::CovariateMoments;
use warehouse::{Catalog, Warehouse};

use super::Subject;
use super::statistics::{VALUES, kept_for};
use super::units::kept;
use super::values::{before_column, missing_column, value_column};
use crate::PipelineError;
use crate::rows::Columns;

/// The units of one variant, in one slice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) slice: String,
    pub(super) variant: String,
    pub(super) units: u64,
    /// Per metric; `None` for quantiles, which have no moments.
    pub(super) samples: Vec<Option<Sample>>,
}

/// Names of what enters the moments of a metric, capped: values, what they were before, and whether nothing is known of before.
pub(super) fn entries(subject: &Subject<'_>, metric: usize, cap: Option<f64>) -> Vec<String> {
    let plan = &subject.metrics[metric].1;
    let measures = 0..plan.measures.len();
    let values = measures.clone().map(|measure| value_column(subject, metric, measure));
    let before = measures.filter(|_| plan.covariate_days > 0).map(|measure| before_column(subject, metric, measure));
    let limit = |(at, column): (usize, String)| match cap {
        // Of a ratio the numerator is capped, now and before.
        Some(cap) if at % plan.measures.len() == 0 => format!("least({column}, {cap:?})"),
        Some(_) | None => column,
    };
    let missing: BTreeSet<String> = match plan.covariate_days {
        0 => BTreeSet::new(),
        days => plan.measures.iter().map(|measure| missing_column(subject, measure, days)).collect(),
    };
    values.chain(before).enumerate().map(limit).chain(missing).collect()
}

/// Reads the moments of all metrics in one scan of `source`, a table or a query of values. `slice` is an expression over its columns.
pub(super) async fn read_moments(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    source: &str,
    caps: &[Option<f64>],
    slice: Option<&str>,
) -> Result<Vec<Cell>, PipelineError> {
    let slice = slice.unwrap_or("''");
    let (mut inner, mut outer) = (Vec::new(), Vec::new());
    let mut widths = Vec::new();
    for (metric, (_, plan)) in subject.metrics.iter().enumerate() {
        let entries = match plan.statistic {
            Statistic::Quantile(_) => Vec::new(),
            Statistic::Mean | Statistic::Proportion | Statistic::Ratio => entries(subject, metric, caps[metric]),
        };
        inner.push(format!("{} as k{metric}", kept_for(subject, plan)));
        let names: Vec<String> = (0..entries.len()).map(|i| format!("e{metric}_{i}")).collect();
        inner.extend(entries.iter().zip(&names).map(|(entry, name)| format!("{entry} as {name}")));
        if !names.is_empty() {
            outer.push(format!(", moments({}) filter (where k{metric}) as s{metric}", names.join(", ")));
        }
        widths.push(entries.len());
    }
    let sql = format!(
        "select slice, variant, count(*) as units{} from (select {slice} as slice, variant, {} from {source} where {}) group by 1, 2 order by 1, 2",
        outer.concat(),
        inner.join(", "),
        kept(subject),
    );
    let result = warehouse.query(catalog, &sql).await?;
    let columns = Columns::new(VALUES, &result);
    let text = |name: &str| -> Result<Vec<String>, PipelineError> {
        Ok(columns.text(name)?.into_iter().map(Option::unwrap_or_default).collect())
    };
    let mut cells: Vec<Cell> = text("slice")?
        .into_iter()
        .zip(text("variant")?)
        .zip(columns.number("units")?)
        .map(|((slice, variant), units)| Cell {
            slice,
            variant,
            units: units.unwrap_or_default() as u64,
            samples: Vec::new(),
        })
        .collect();
    for (metric, width) in widths.into_iter().enumerate() {
        let ratio = subject.metrics[metric].1.statistic == Statistic::Ratio;
        let moments = if width > 0 { columns.numbers(&format!("s{metric}"))? } else { vec![Vec::new(); cells.len()] };
        for (cell, moments) in cells.iter_mut().zip(moments) {
            let moments = unpacked(&moments, width);
            let sample = if ratio { Sample::Ratio(moments) } else { Sample::Mean(moments) };
            cell.samples.push((width > 0).then_some(sample));
        }
    }
    Ok(cells)
}

/// What `moments` returns: n, means, the lower triangle of comoments, row by row; nothing where no unit counts.
fn unpacked(moments: &[f64], width: usize) -> CovariateMoments {
    let at = |place: usize| moments.get(place).copied().unwrap_or_default();
    let triangle = |row: usize, column: usize| at(1 + width + row * (row + 1) / 2 + column);
    let cells = (0..width * width).map(|cell| (cell / width, cell % width));
    CovariateMoments {
        n: at(0) as u64,
        means: (1..=width).map(at).collect(),
        comoments: cells.map(|(i, j)| triangle(i.max(j), i.min(j))).collect(),
    }
}
