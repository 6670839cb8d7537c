//! One row per unit: the value of each metric, and what it was before exposure.
//!
//! In: a [`Subject`].  Out: the SQL of the table that all statistics are read from; names of its columns.
//! Never here: statistics, caps (see `statistics`).
//! Start at [`values_sql`].

use std::collections::BTreeSet;

use experiment::metric::Measure;

use super::{Subject, days, moment, scan_of};
use crate::PipelineError;

/// Columns of a metric: `m<index>` or, of a ratio, `m<index>_0` and `m<index>_1`.
pub(super) fn value_column(metric: usize, measure: usize) -> String {
    format!("m{metric}_{measure}")
}

/// The same, from before exposure.
pub(super) fn before_column(metric: usize, measure: usize) -> String {
    format!("m{metric}_{measure}_before")
}

/// Whether the window of a metric has ended.
pub(super) fn mature_column(metric: usize) -> String {
    format!("m{metric}_is_mature")
}

/// `unit, variant, is_multiple, is_known` (some fact names the unit), and the columns of each metric.
pub(super) fn values_sql(subject: &Subject<'_>) -> Result<String, PipelineError> {
    let scans = subject.scans();
    let until = moment(subject.until);
    let bounds: String = subject
        .bounds()
        .iter()
        .map(|hours| format!(", date_trunc('day', start_at + interval '{hours} hours') as day_{hours}"))
        .collect();
    let mut sets = Vec::new();
    let mut joins = String::new();
    for (index, (scan, readings)) in scans.iter().enumerate() {
        let mut columns = Vec::new();
        for (metric, (_, plan)) in subject.metrics.iter().enumerate() {
            for (number, measure) in plan.measures.iter().enumerate().filter(|(_, measure)| scan_of(measure) == *scan) {
                let at = readings.iter().position(|reading| **reading == measure.reading).unwrap_or_default();
                columns.push(format!("{} as {}", window(measure, at), value_column(metric, number)));
                if plan.covariate_days > 0 {
                    columns.push(format!(
                        "{} as {}",
                        before(measure, at, plan.covariate_days),
                        before_column(metric, number)
                    ));
                }
            }
        }
        sets.push(format!(
            "s{index} as (\n  select units.unit,\n    {}\n  from units join {} days on days.unit = units.unit and days.day < {until}\n  group by units.unit\n)",
            columns.join(",\n    "),
            subject.table(&days::part(index))?,
        ));
        joins.push_str(&format!("\nleft join s{index} on s{index}.unit = units.unit"));
    }
    Ok(format!(
        "-- What each unit of experiment {key} is worth to each metric, before {until_text}:\n{names}\
         -- materialized: table   grain: unit\n\
         with units as (\n  \
         select unit, variant, is_multiple, start_at, date_trunc('day', start_at) as start_day{bounds} from {units}\n\
         ),\n{sets}\n\
         select units.unit, units.variant, units.is_multiple, {known} as is_known{columns}\nfrom units{joins}",
        key = subject.file.assignment.key.replace(['\n', '\r'], " "),
        until_text = subject.until.format("%Y-%m-%d"),
        names = names(subject),
        units = subject.table("units")?,
        sets = sets.join(",\n"),
        known = (0..scans.len()).map(|scan| format!("s{scan}.unit is not null")).collect::<Vec<_>>().join(" or "),
        columns = columns(subject, &until),
    ))
}

/// Which metric has which column, for people who read the table.
fn names(subject: &Subject<'_>) -> String {
    subject.metrics.iter().enumerate().map(|(metric, (name, _))| format!("-- m{metric} is {name}.\n")).collect()
}

fn columns(subject: &Subject<'_>, until: &str) -> String {
    let mut columns = String::new();
    for (metric, (_, plan)) in subject.metrics.iter().enumerate() {
        for number in 0..plan.measures.len() {
            let value = value_column(metric, number);
            columns.push_str(&format!(",\n  coalesce(cast({value} as double), 0) as {value}"));
            if plan.covariate_days > 0 {
                let before = before_column(metric, number);
                columns.push_str(&format!(",\n  coalesce(cast({before} as double), 0) as {before}"));
            }
        }
        let ends: BTreeSet<u32> = plan.measures.iter().map(|measure| measure.span.to_hours).collect();
        let last = ends.last().copied().unwrap_or(0);
        let mature = mature_column(metric);
        columns.push_str(&format!(",\n  units.start_at + interval '{last} hours' <= {until} as {mature}"));
    }
    columns
}

/// The value in the window: whole days in its middle, parts of the days of its bounds.
fn window(measure: &Measure, reading: usize) -> String {
    let (from, to) = (measure.span.from_hours, measure.span.to_hours);
    let part = format!(
        "case when days.day > units.day_{from} and days.day < units.day_{to} then days.r{reading} \
         when days.day = units.day_{from} then days.r{reading}_from_{from} \
         when days.day = units.day_{to} then days.r{reading}_to_{to} end"
    );
    days::combine(&measure.reading, &part)
}

/// The value on whole days before the day of exposure.
fn before(measure: &Measure, reading: usize, days_before: u32) -> String {
    let part = format!(
        "case when days.day < units.start_day and days.day >= units.start_day - interval '{days_before} days' then days.r{reading} end"
    );
    days::combine(&measure.reading, &part)
}
