//! Facts, added up per unit and day: one scan of a table for all metrics that read it.
//!
//! In: a [`Scan`] and its readings.  Out: the SQL of an incremental table; how its rows become one value.
//! Never here: windows longer than a day (see `values`).
//! Start at [`days_sql`].
//!
//! A day on which windows of a unit begin or end is cut there: `part` says how many bounds have passed. So a window begins and ends
//! to the second, though it is put together from sums.

use experiment::metric::{Aggregate, Reading};

use super::{MICROS_PER_DAY, MICROS_PER_HOUR, Scan, Subject, as_moment, micros, quote};
use crate::PipelineError;

/// Days that one run fills at most: a first run over months reads the table once per four weeks, and holds the units of these.
const BATCH_DAYS: u32 = 28;
/// Largest finite double: beyond are infinities, and NaN sorts behind them.
pub(super) const LARGEST: &str = "1.7976931348623157e308";

/// The name of the table of a scan.
pub(super) fn part(scan: usize) -> String {
    format!("days_{scan}")
}

/// What is kept of a reading: whether something happened is seen from how often.
pub(super) fn kept(reading: &Reading) -> Reading {
    match reading {
        Reading::Exists { filter } => {
            Reading::Values { aggregate: Aggregate::Count, value: None, filter: filter.clone() }
        }
        Reading::Values { .. } | Reading::Steps { .. } => reading.clone(),
    }
}

/// `day, unit, part`, and a column for each reading.
pub(super) fn days_sql(subject: &Subject<'_>, scan: &Scan, readings: &[Reading]) -> Result<String, PipelineError> {
    let longest = subject.metrics.iter().map(|(_, plan)| plan.covariate_days).max().unwrap_or(0);
    let first = subject.file.analysis.start - chrono::TimeDelta::days(i64::from(longest) + 1);
    let inputs: Vec<String> = readings.iter().enumerate().map(|(index, reading)| input(index, reading)).collect();
    let mut columns = Vec::new();
    for (index, reading) in readings.iter().enumerate() {
        columns.push(format!("{} as r{index}", aggregate(index, reading)));
        if has_numbers(reading) {
            columns.push(format!("count(x{index}) filter (where w{index}) - count(v{index}) as r{index}_bad"));
        }
    }
    Ok(format!(
        "-- What each unit did on each day, by {table}.\n\
         -- materialized: incremental   time: day   interval: 1 day   batch: {BATCH_DAYS}   start: {first}\n\
         -- grain: day, unit, part\n\
         with facts as (\n  \
         select cast({unit} as varchar) as unit, {at} as at{inputs}\n  \
         from {table} where {time} >= $from and {time} < $to and {unit} is not null\n\
         ),\n\
         numbers as (select *, date_trunc('day', at) as day, {now} as now{finite} from facts),\n\
         starts as (\n  \
         select unit, {start} as start from {bounds}\n  \
         where at >= $from and at < $to and (previous_at is null or previous_at < $from)\n\
         )\n\
         select day, numbers.unit, {part} as part,\n  {columns}\n\
         from starts right join numbers on starts.unit = numbers.unit\n\
         group by 1, 2, 3",
        table = scan.table,
        first = first.format("%Y-%m-%d"),
        unit = quote(&scan.unit),
        time = quote(&scan.time),
        at = as_moment(&scan.time),
        inputs = inputs.concat(),
        now = micros("at"),
        finite = readings.iter().enumerate().map(|(index, reading)| finite(index, reading)).collect::<String>(),
        start = micros("start_at"),
        bounds = subject.table("bounds")?,
        part = part_of_day(subject),
        columns = columns.join(",\n  "),
    ))
}

/// How many bounds of its unit have passed at `at`, of those that lie on its day.
fn part_of_day(subject: &Subject<'_>) -> String {
    let passed = |hours: u32| {
        let bound = format!("start + {}", i64::from(hours) * MICROS_PER_HOUR);
        format!("case when {bound} <= now and {bound} >= {day} then 1 else 0 end", day = micros("day"))
    };
    subject.bounds().into_iter().map(passed).collect::<Vec<_>>().join(" + ")
}

/// Hours of bounds before `hours` that can fall on the same day of a unit.
fn near(subject: &Subject<'_>, hours: u32) -> impl Iterator<Item = u32> {
    subject.bounds().into_iter().filter(move |other| *other < hours && hours - other < 24)
}

/// Days from that of exposure to that of a bound: a number where windows are whole days, else a column of units, [`day_columns`].
fn day_of(hours: u32) -> String {
    if hours.is_multiple_of(24) { (hours / 24).to_string() } else { format!("day_{hours}") }
}

/// The columns of units that [`has_passed`] reads.
pub(super) fn day_columns(subject: &Subject<'_>) -> String {
    let odd = subject.bounds().into_iter().filter(|hours| !hours.is_multiple_of(24));
    let of_day =
        format!("({start} - {first})", start = micros("start_at"), first = micros("date_trunc('day', start_at)"));
    odd.map(|hours| {
        let after = i64::from(hours) * MICROS_PER_HOUR;
        format!(", ({of_day} + {after}) / {MICROS_PER_DAY} as {}", day_of(hours))
    })
    .collect()
}

/// Whether a row of `days`, so many `days` after that of exposure, lies behind a bound of its unit.
pub(super) fn has_passed(subject: &Subject<'_>, hours: u32) -> String {
    let day = day_of(hours);
    let same_day: String =
        near(subject, hours).map(|other| format!(" + case when {} = {day} then 1 else 0 end", day_of(other))).collect();
    format!("(since > {day} or (since = {day} and part >= 1{same_day}))")
}

/// What a reading takes from each row: its value `x`, its condition `w`.
fn input(index: usize, reading: &Reading) -> String {
    let condition = |filter: &Option<String>| {
        filter.as_ref().map_or("true".to_owned(), |filter| format!("coalesce(({filter}), false)"))
    };
    match reading {
        Reading::Exists { filter } => format!(", {} as w{index}", condition(filter)),
        Reading::Values { aggregate, value, filter } => {
            let value = match (aggregate, value) {
                (Aggregate::Count, _) | (_, None) => String::new(),
                (Aggregate::Distinct, Some(value)) => format!(", cast(({value}) as varchar) as x{index}"),
                (Aggregate::Sum | Aggregate::Max | Aggregate::First, Some(value)) => {
                    format!(", cast(({value}) as double) as x{index}")
                }
            };
            format!("{value}, {} as w{index}", condition(filter))
        }
        Reading::Steps { filters } => {
            // Later steps first: one row cannot be two steps, one after the other.
            let letters: Vec<String> = filters
                .iter()
                .enumerate()
                .rev()
                .map(|(step, filter)| format!("case when {} then '{}' else '' end", condition(filter), letter(step)))
                .collect();
            format!(", {} as x{index}", letters.join(" || "))
        }
    }
}

/// A value that is no finite number counts as none, and is counted.
fn finite(index: usize, reading: &Reading) -> String {
    if has_numbers(reading) {
        format!(", case when w{index} and abs(x{index}) <= {LARGEST} then x{index} end as v{index}")
    } else {
        String::new()
    }
}

pub(super) fn has_numbers(reading: &Reading) -> bool {
    match reading {
        Reading::Values { aggregate, .. } => match aggregate {
            Aggregate::Sum | Aggregate::Max | Aggregate::First => true,
            Aggregate::Count | Aggregate::Distinct => false,
        },
        Reading::Exists { .. } | Reading::Steps { .. } => false,
    }
}

pub(super) fn letter(step: usize) -> char {
    char::from(b'a' + u8::try_from(step).unwrap_or(25).min(25))
}

/// The rows of a day, or of a part of it, as one value.
fn aggregate(index: usize, reading: &Reading) -> String {
    match reading {
        Reading::Exists { .. } => format!("count(*) filter (where w{index})"),
        Reading::Values { aggregate, .. } => match aggregate {
            Aggregate::Count => format!("count(*) filter (where w{index})"),
            Aggregate::Sum => format!("sum(v{index})"),
            Aggregate::Max => format!("max(v{index})"),
            Aggregate::First => format!("first_value(v{index} order by at) filter (where v{index} is not null)"),
            Aggregate::Distinct => {
                format!("array_agg(distinct x{index}) filter (where w{index} and x{index} is not null)")
            }
        },
        Reading::Steps { .. } => format!("string_agg(x{index}, '' order by at) filter (where x{index} <> '')"),
    }
}

/// The rows of a unit where `inside` holds as one value, `column` being theirs; NULL where there are none.
pub(super) fn combine(reading: &Reading, column: &str, inside: &str) -> String {
    let part = format!("case when {inside} then {column} end");
    match reading {
        Reading::Exists { .. } => format!("case when sum({part}) > 0 then 1 else 0 end"),
        Reading::Values { aggregate, .. } => match aggregate {
            Aggregate::Count | Aggregate::Sum => format!("sum({part})"),
            Aggregate::Max => format!("max({part})"),
            Aggregate::First => {
                format!("first_value({column} order by day, part) filter (where {inside} and {column} is not null)")
            }
            Aggregate::Distinct => {
                let filter = format!("filter (where {inside} and {column} is not null)");
                format!("array_length(array_distinct(flatten(array_agg({column}) {filter})))")
            }
        },
        Reading::Steps { filters } => {
            let pattern: String = (0..filters.len()).map(|step| format!("%{}", letter(step))).collect();
            format!("case when string_agg({part}, '' order by day, part) like '{pattern}%' then 1 else 0 end")
        }
    }
}
