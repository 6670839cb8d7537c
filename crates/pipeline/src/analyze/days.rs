//! Facts, added up per unit and day: one scan of a table for all metrics that read it.
//!
//! In: a [`Scan`] and its readings.  Out: the SQL of an incremental table; how parts of days become one value.
//! Never here: windows longer than a day (see `values`).
//! Start at [`days_sql`].
//!
//! Each reading has a column for the whole day, and one for each of its bounds that counts from it on or up to it: filled on the day of
//! the bound, so that a window begins and ends at the minute, though its middle is made of whole days.

use std::collections::BTreeSet;

use experiment::metric::{Aggregate, Reading};

use super::{Scan, Subject, as_moment, quote, scan_of};
use crate::PipelineError;

/// Days that one run fills at most: a first run over months reads the table once per week, and holds the units of a week.
const BATCH_DAYS: u32 = 7;
/// Largest finite double: beyond are infinities, and NaN sorts behind them.
const LARGEST: &str = "1.7976931348623157e308";

/// The name of the table of a scan.
pub(super) fn part(scan: usize) -> String {
    format!("days_{scan}")
}

/// `day, unit`, and the columns of each reading.
pub(super) fn days_sql(subject: &Subject<'_>, scan: &Scan, readings: &[&Reading]) -> Result<String, PipelineError> {
    let bounds: Vec<u32> = subject.bounds().into_iter().collect();
    let longest = subject.metrics.iter().map(|(_, plan)| plan.covariate_days).max().unwrap_or(0);
    let first = subject.file.analysis.start - chrono::TimeDelta::days(i64::from(longest) + 1);
    let inputs: Vec<String> = readings.iter().enumerate().map(|(index, reading)| input(index, reading)).collect();
    let mut columns = Vec::new();
    for (index, reading) in readings.iter().enumerate() {
        columns.push(format!("{} as r{index}", aggregate(index, reading, "")));
        let spans =
            || subject.measures().filter(|it| scan_of(it) == *scan && it.reading == **reading).map(|it| it.span);
        let (begin, end): (BTreeSet<u32>, BTreeSet<u32>) = spans().map(|span| (span.from_hours, span.to_hours)).unzip();
        for hours in begin {
            columns.push(format!("{} as r{index}_from_{hours}", aggregate(index, reading, &format!("at >= b{hours}"))));
        }
        for hours in end {
            columns.push(format!("{} as r{index}_to_{hours}", aggregate(index, reading, &format!("at < b{hours}"))));
        }
        if has_numbers(reading) {
            columns.push(format!("count(x{index}) filter (where w{index}) - count(v{index}) as r{index}_bad"));
        }
    }
    let pivoted: Vec<String> =
        bounds.iter().map(|hours| format!("max(case when after_hours = {hours} then at end) as b{hours}")).collect();
    Ok(format!(
        "-- What each unit did on each day, by {table}.\n\
         -- materialized: incremental   time: day   interval: 1 day   batch: {BATCH_DAYS}   start: {first}\n\
         -- grain: day, unit\n\
         with facts as (\n  \
         select cast({unit} as varchar) as unit, {at} as at{inputs}\n  \
         from {table} where {time} >= $from and {time} < $to and {unit} is not null\n\
         ),\n\
         numbers as (select *{finite} from facts),\n\
         bounds as (\n  \
         select unit, date_trunc('day', at) as day, {pivoted}\n  \
         from {bounds_table} where at >= $from and at < $to group by 1, 2\n\
         )\n\
         select date_trunc('day', numbers.at) as day, numbers.unit,\n  {columns}\n\
         from bounds right join numbers on bounds.unit = numbers.unit and bounds.day = date_trunc('day', numbers.at)\n\
         group by 1, 2",
        table = scan.table,
        first = first.format("%Y-%m-%d"),
        unit = quote(&scan.unit),
        time = quote(&scan.time),
        at = as_moment(&scan.time),
        inputs = inputs.concat(),
        finite = readings.iter().enumerate().map(|(index, reading)| finite(index, reading)).collect::<String>(),
        pivoted = pivoted.join(", "),
        bounds_table = subject.table("bounds")?,
        columns = columns.join(",\n  "),
    ))
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

/// The rows of a day as one value, those under `when` only.
fn aggregate(index: usize, reading: &Reading, when: &str) -> String {
    let also = |condition: String| match when {
        "" => condition,
        when => format!("{condition} and {when}"),
    };
    let only = match when {
        "" => String::new(),
        when => format!(" filter (where {when})"),
    };
    match reading {
        Reading::Exists { .. } => format!("count(*) filter (where {})", also(format!("w{index}"))),
        Reading::Values { aggregate, .. } => match aggregate {
            Aggregate::Count => format!("count(*) filter (where {})", also(format!("w{index}"))),
            Aggregate::Sum => format!("sum(v{index}){only}"),
            Aggregate::Max => format!("max(v{index}){only}"),
            Aggregate::First => {
                format!("first_value(v{index} order by at) filter (where {})", also(format!("v{index} is not null")))
            }
            Aggregate::Distinct => format!(
                "array_agg(distinct x{index}) filter (where {})",
                also(format!("w{index} and x{index} is not null"))
            ),
        },
        Reading::Steps { .. } => {
            format!("string_agg(x{index}, '' order by at) filter (where {})", also(format!("x{index} <> ''")))
        }
    }
}

/// Parts of days, chosen by the expression `part`, as one value; NULL where there are none.
pub(super) fn combine(reading: &Reading, part: &str) -> String {
    match reading {
        Reading::Exists { .. } => format!("case when sum({part}) > 0 then 1 else 0 end"),
        Reading::Values { aggregate, .. } => match aggregate {
            Aggregate::Count | Aggregate::Sum => format!("sum({part})"),
            Aggregate::Max => format!("max({part})"),
            Aggregate::First => format!("first_value({part} order by days.day) filter (where {part} is not null)"),
            Aggregate::Distinct => {
                format!("array_length(array_distinct(flatten(array_agg({part}) filter (where {part} is not null))))")
            }
        },
        Reading::Steps { filters } => {
            let pattern: String = (0..filters.len()).map(|step| format!("%{}", letter(step))).collect();
            format!("case when string_agg({part}, '' order by days.day) like '{pattern}%' then 1 else 0 end")
        }
    }
}
