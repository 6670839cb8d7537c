//! Events that count for a quantile over events: one row per thing that happened in the window of its unit.
//!
//! In: a [`Subject`] with such a metric.  Out: the SQL of its table; what is read from it.
//! Never here: order statistics (`quantiles`); sums per unit and day (`days`).
//! Start at [`events_sql`].
//!
//! Order statistics cannot be put together from those of days, so that the window of each run is read again, unlike the days.

use experiment::metric::{QuantileOf, Reading, Statistic};

use super::units::dimension_column;
use super::{Subject, as_moment, days, moment, quote};
use crate::PipelineError;

/// The name of the table of a metric.
fn part(metric: usize) -> String {
    format!("events_{metric}")
}

/// Places of the metrics that are quantiles of events.
pub(super) fn metrics_of_events(subject: &Subject<'_>) -> Vec<usize> {
    let is_of_events = |statistic: &Statistic| match statistic {
        Statistic::Quantile(plan) => plan.of == QuantileOf::Events,
        Statistic::Mean | Statistic::Proportion | Statistic::Ratio => false,
    };
    (0..subject.metrics.len()).filter(|metric| is_of_events(&subject.metrics[*metric].1.statistic)).collect()
}

/// The tables of events, each a part of its name and its SQL.
pub(super) fn events(subject: &Subject<'_>) -> Result<Vec<(String, String)>, PipelineError> {
    metrics_of_events(subject).into_iter().map(|metric| Ok((part(metric), events_sql(subject, metric)?))).collect()
}

/// `unit, variant, start_at, is_multiple, at, value`, and the dimensions; one row per event. Values that are no finite numbers are left out,
/// and counted where the days are.
fn events_sql(subject: &Subject<'_>, metric: usize) -> Result<String, PipelineError> {
    let (name, plan) = &subject.metrics[metric];
    let measure = &plan.measures[0];
    let (value, filter) = match &measure.reading {
        Reading::Values { value: Some(value), filter, .. } => (value, filter),
        Reading::Values { value: None, .. } | Reading::Exists { .. } | Reading::Steps { .. } => {
            let reason = format!("`{name}` has no values of events");
            return Err(PipelineError::Internal { what: "read a quantile".to_owned(), reason });
        }
    };
    let dimensions: String =
        (0..subject.file.analysis.dimensions.len()).map(|at| format!(", {}", dimension_column(at))).collect();
    let at = as_moment(&measure.time);
    Ok(format!(
        "-- What counts for {name}, event by event, before {until_day}.\n\
         -- materialized: table\n\
         with facts as (\n  \
         select cast({unit} as varchar) as unit, {at} as at, cast(({value}) as double) as value\n  \
         from {table} where {at} >= {start} and {at} < {until} and {unit} is not null and coalesce(({filter}), false)\n\
         )\n\
         select units.unit, variant, start_at, is_multiple, at, value{dimensions}\n\
         from {units} units join facts on facts.unit = units.unit\n\
         where at >= start_at + interval '{from} hours' and at < start_at + interval '{to} hours'\n  \
         and start_at < {until} and abs(value) <= {largest}",
        until_day = subject.until.format("%Y-%m-%d"),
        unit = quote(&measure.unit),
        table = measure.table,
        start = moment(subject.file.analysis.start),
        until = moment(subject.until),
        filter = filter.as_deref().unwrap_or("true"),
        units = subject.table("units")?,
        from = measure.span.from_hours,
        to = measure.span.to_hours,
        largest = days::LARGEST,
    ))
}

/// The events of a metric that were known at the moment of the subject, which may lie before that of the table.
pub(super) fn events_source(subject: &Subject<'_>, metric: usize) -> Result<String, PipelineError> {
    Ok(format!("(select * from {} where at < {})", subject.table(&part(metric))?, moment(subject.until)))
}
