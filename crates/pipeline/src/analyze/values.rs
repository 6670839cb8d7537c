//! One row per unit: the value of each metric, and what it was before exposure.
//!
//! In: a [`Subject`].  Out: the SQL of the table that all statistics are read from; names of its columns.
//! Never here: statistics, caps (see `statistics`).
//! Start at [`values_sql`].

use std::collections::BTreeSet;

use experiment::metric::{Measure, UnitPlan};

use super::units::dimension_column;
use super::{MICROS_PER_DAY, Scan, Subject, days, micros, moment, scan_of};
use crate::PipelineError;

/// The value of a measure: `m<metric>_<measure>`, or the column of an earlier metric that is the same.
pub(super) fn value_column(subject: &Subject<'_>, metric: usize, measure: usize) -> String {
    let wanted = &subject.metrics[metric].1.measures[measure];
    let (metric, measure) = first(subject, |_, other| other == wanted).unwrap_or((metric, measure));
    format!("m{metric}_{measure}")
}

/// The same from before exposure: `m<metric>_<measure>_before`.
pub(super) fn before_column(subject: &Subject<'_>, metric: usize, measure: usize) -> String {
    let (plan, wanted) = (&subject.metrics[metric].1, &subject.metrics[metric].1.measures[measure]);
    let is_same = |other: &UnitPlan, measure: &Measure| {
        other.covariate_days == plan.covariate_days
            && measure.reading == wanted.reading
            && scan_of(measure) == scan_of(wanted)
    };
    let (metric, measure) = first(subject, is_same).unwrap_or((metric, measure));
    format!("m{metric}_{measure}_before")
}

/// Whether a unit has no history: 1 where the facts of a measure know nothing of it in so many days before exposure, else 0.
pub(super) fn missing_column(subject: &Subject<'_>, measure: &Measure, days: u32) -> String {
    let place = subject.scans().keys().position(|scan| *scan == scan_of(measure)).unwrap_or_default();
    format!("s{place}_missing_{days}")
}

/// The columns of [`missing_column`] of one scan, each with its days.
fn missing(subject: &Subject<'_>, scan: &Scan) -> BTreeSet<(String, u32)> {
    let plans = subject.metrics.iter().map(|(_, plan)| plan).filter(|plan| plan.covariate_days > 0);
    let all = plans.flat_map(|plan| plan.measures.iter().map(move |measure| (measure, plan.covariate_days)));
    let mine = all.filter(|(measure, _)| scan_of(measure) == *scan);
    mine.map(|(measure, days)| (missing_column(subject, measure, days), days)).collect()
}

fn first(subject: &Subject<'_>, is_wanted: impl Fn(&UnitPlan, &Measure) -> bool) -> Option<(usize, usize)> {
    let places = subject.metrics.iter().enumerate();
    let mut all =
        places.flat_map(|(metric, (_, plan))| plan.measures.iter().enumerate().map(move |it| (metric, plan, it)));
    all.find_map(|(metric, plan, (number, measure))| is_wanted(plan, measure).then_some((metric, number)))
}

/// Whether the window of a metric has ended, of a row of the values.
pub(super) fn is_mature(subject: &Subject<'_>, plan: &UnitPlan) -> String {
    let last = plan.measures.iter().map(|measure| measure.span.to_hours).max().unwrap_or(0);
    format!("start_at + interval '{last} hours' <= {}", moment(subject.until))
}

/// Columns of values, each once: its name, how it is made of rows of `days`, where it comes from.
fn columns(subject: &Subject<'_>, since: Option<u32>) -> Vec<(String, String, Scan)> {
    let scans = subject.scans();
    let mut found: Vec<(String, String, Scan)> = Vec::new();
    let mut add = |name: String, measure: &Measure, inside: &str| {
        if found.iter().any(|(other, ..)| *other == name) {
            return;
        }
        let scan = scan_of(measure);
        let kept = days::kept(&measure.reading);
        let place = scans.get(&scan).and_then(|readings| readings.iter().position(|it| *it == kept));
        let column = format!("r{}", place.unwrap_or_default());
        found.push((name, days::combine(&measure.reading, &column, inside), scan));
    };
    for (metric, (_, plan)) in subject.metrics.iter().enumerate() {
        for (number, measure) in plan.measures.iter().enumerate() {
            let on_day = if since.is_some() { " and is_that_day" } else { "" };
            add(value_column(subject, metric, number), measure, &format!("{}{on_day}", window(measure)));
            if plan.covariate_days > 0 {
                add(before_column(subject, metric, number), measure, &format!("before_{}", plan.covariate_days));
            }
        }
    }
    found
}

/// `unit, variant, start_at, is_multiple, is_known` (some fact names the unit), and the columns of each metric.
pub(super) fn values_sql(subject: &Subject<'_>) -> Result<String, PipelineError> {
    values_since_sql(subject, None)
}

/// The same, of what units did so many days after that of their exposure (0: on it, from the exposure on) and inside the windows; of units
/// whose day is over.
pub(super) fn values_since_sql(subject: &Subject<'_>, since: Option<u32>) -> Result<String, PipelineError> {
    let scans = subject.scans();
    let columns = columns(subject, since);
    let that_day = since.map_or(String::new(), |day| format!(",\n    since = {day} as is_that_day"));
    let is_over = since.map_or(String::new(), |day| {
        format!(" and date_trunc('day', start_at) + interval '{} days' <= {}", day + 1, moment(subject.until))
    });
    let mut sets = Vec::new();
    let (mut joins, mut absent) = (String::new(), String::new());
    for (index, (scan, readings)) in scans.iter().enumerate() {
        let mine: Vec<String> = columns
            .iter()
            .filter(|(_, _, of)| of == scan)
            .map(|(name, value, _)| format!("{value} as {name}"))
            .collect();
        let missing = missing(subject, scan);
        let without =
            |(name, days): &(String, u32)| format!("min(case when before_{days} then 0 else 1 end) as {name}");
        let mine: Vec<String> = mine.into_iter().chain(missing.iter().map(without)).collect();
        // Who has no facts at all has no history either.
        absent
            .extend(missing.into_iter().map(|(name, _)| format!(",\n  coalesce(cast({name} as double), 1) as {name}")));
        let read: String = (0..readings.len()).map(|reading| format!(", days.r{reading}")).collect();
        sets.push(format!(
            "j{index} as (\n  select *{inside}\n  from (\n    \
             select units.*, days.day, days.part{read}, ({day} - start_day) / {MICROS_PER_DAY} as since\n    \
             from units join {table} days on days.unit = units.unit and days.day < {until}\n  )\n),\n\
             s{index} as (\n  select unit,\n    {mine}\n  from j{index} group by unit\n)",
            inside = insides(subject) + &that_day,
            day = micros("days.day"),
            table = subject.table(&days::part(index))?,
            until = moment(subject.until),
            mine = mine.join(",\n    "),
        ));
        joins.push_str(&format!("\nleft join s{index} on s{index}.unit = units.unit"));
    }
    let filled: String =
        columns.iter().map(|(name, ..)| format!(",\n  coalesce(cast({name} as double), 0) as {name}")).collect();
    let dimensions = |prefix: &str| -> String {
        (0..subject.file.analysis.dimensions.len()).map(|at| format!(", {prefix}{}", dimension_column(at))).collect()
    };
    Ok(format!(
        "-- What each unit of experiment {key} is worth to each metric, before {until}:\n{names}\
         -- materialized: table   grain: unit\n\
         with units as (\n  \
         select unit, variant, is_multiple, start_at, {day} as start_day{days}{carried}\n  \
         from {units} where start_at < {before}{is_over}\n\
         ),\n{sets}\n\
         select units.unit, units.variant, units.start_at, units.is_multiple, {known} as is_known{read}{filled}{absent}\nfrom units{joins}",
        day = micros("date_trunc('day', start_at)"),
        days = days::day_columns(subject),
        carried = dimensions(""),
        read = dimensions("units."),
        before = moment(subject.until),
        key = subject.file.assignment.key.replace(['\n', '\r'], " "),
        until = subject.until.format("%Y-%m-%d"),
        names = names(subject),
        units = subject.table("units")?,
        sets = sets.join(",\n"),
        known = (0..scans.len()).map(|scan| format!("s{scan}.unit is not null")).collect::<Vec<_>>().join(" or "),
    ))
}

/// Which metric has which columns, for people who read the table.
fn names(subject: &Subject<'_>) -> String {
    let metrics = subject.metrics.iter().enumerate();
    let line = |(metric, (name, plan)): (usize, &(&str, UnitPlan))| {
        let values: Vec<String> =
            (0..plan.measures.len()).map(|number| value_column(subject, metric, number)).collect();
        format!("-- {name} is {}.\n", values.join(" over "))
    };
    metrics.map(line).collect()
}

/// In which window of its unit a row of `days` lies: each distinct window once, and the whole days before that of exposure.
fn insides(subject: &Subject<'_>) -> String {
    let mut found: Vec<String> = Vec::new();
    let before = subject
        .metrics
        .iter()
        .map(|(_, plan)| plan.covariate_days)
        .filter(|days| *days > 0)
        .map(|length| format!(",\n    since < 0 and since >= -{length} as before_{length}"));
    let windows = subject.measures().map(|measure| {
        let (from, to) = (measure.span.from_hours, measure.span.to_hours);
        let (begun, ended) = (days::has_passed(subject, from), days::has_passed(subject, to));
        format!(",\n    {begun} and not {ended} as {}", window(measure))
    });
    for column in windows.chain(before) {
        if !found.contains(&column) {
            found.push(column);
        }
    }
    found.concat()
}

fn window(measure: &Measure) -> String {
    format!("within_{}_{}", measure.span.from_hours, measure.span.to_hours)
}
