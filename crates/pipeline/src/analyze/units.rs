//! Units of an experiment: the first exposure of each, and the moments at which its windows begin and end.
//!
//! In: a [`Subject`].  Out: the SQL of two tables; counts of what was seen.
//! Never here: facts.
//! Start at [`units_sql`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use experiment::plan::{Dimension, Multiple};
use warehouse::{Catalog, Warehouse};

use super::{MICROS_PER_HOUR, Subject, as_moment, moment, quote, text};
use crate::PipelineError;
use crate::rows::Columns;

/// Columns of the exposures that take a row out when they are true.
const LEFT_OUT: [&str; 2] = ["forced", "bot"];

/// `unit, variant, start_at, is_multiple, exposures`, and a column for each dimension; one row per unit. Of a unit that saw several
/// variants, the first counts, and so does the first of other columns.
pub(super) fn units_sql(subject: &Subject<'_>) -> String {
    let plan = &subject.file.analysis;
    let left_out: String = LEFT_OUT
        .iter()
        .filter(|column| subject.exposure_columns.contains(**column))
        .map(|column| format!("\n  and not coalesce({}, false)", quote(column)))
        .collect();
    let end = plan.end.map_or(subject.until, |end| end.min(subject.until));
    let at = as_moment("occurred_at");
    let (mut inner, mut outer, mut joins) = (String::new(), String::new(), String::new());
    for (index, Dimension { column, table, unit }) in plan.dimensions.iter().enumerate() {
        let name = dimension_column(index);
        let column = quote(column);
        match table {
            None => {
                inner.push_str(&format!(
                    ",\n    first_value(cast({column} as varchar) order by {at}, variant) as {name}"
                ));
                outer.push_str(&format!(", {name}"));
            }
            // Of a unit with several rows the greatest value: which one does not matter, but it has to be the same in each run.
            Some(table) => {
                joins.push_str(&format!(
                    "\nleft join (select cast({unit} as varchar) as unit, max(cast({column} as varchar)) as {name} from {table} group by 1) t{index} \
                     on t{index}.unit = seen.unit",
                    unit = quote(unit),
                ));
                outer.push_str(&format!(", t{index}.{name}"));
            }
        }
    }
    format!(
        "-- The first exposure of each unit of experiment {key}.\n\
         -- materialized: table   grain: unit\n\
         select seen.unit, variant, start_at, least_variant <> most_variant as is_multiple, exposures{outer}\n\
         from (\n  \
         select cast(unit_id as varchar) as unit, first_value(cast(variant as varchar) order by {at}, variant) as variant,\n    \
         min({at}) as start_at, min(variant) as least_variant, max(variant) as most_variant, count(*) as exposures{inner}\n  \
         from {table}\n  \
         where experiment = {literal} and unit_id is not null and variant is not null\n  \
         and {at} >= {start} and {at} < {end}{left_out}\n  \
         group by 1\n) seen{joins}",
        key = one_line(&subject.file.assignment.key),
        table = plan.exposures,
        literal = text(&subject.file.assignment.key),
        start = moment(plan.start),
        end = moment(end),
    )
}

/// The column of a dimension in the tables of units and of values.
pub(super) fn dimension_column(dimension: usize) -> String {
    format!("d{dimension}")
}

/// `unit, start_at, after_hours, at, previous_at`: when, after its first exposure, each window of a unit begins or ends, and when the one
/// before it did.
pub(super) fn bounds_sql(subject: &Subject<'_>) -> Result<String, PipelineError> {
    let units = subject.table("units")?;
    let mut previous = "null".to_owned();
    let mut parts = Vec::new();
    for hours in subject.bounds() {
        let at = format!("start_at + {}", duration(hours));
        parts.push(format!(
            "select unit, start_at, {hours} as after_hours, {at} as at, {} as previous_at from {units}",
            format_args!("arrow_cast({previous}, 'Timestamp(Microsecond, None)')"),
        ));
        previous = at;
    }
    Ok(format!(
        "-- When the windows of each unit begin and end.\n-- materialized: view\n{}",
        parts.join("\nunion all\n")
    ))
}

/// Hours as a constant of SQL. An `interval` may hold months, and is added row by row through a calendar.
fn duration(hours: u32) -> String {
    format!("arrow_cast({}, 'Duration(Microsecond)')", i64::from(hours) * MICROS_PER_HOUR)
}

/// Comments end with their line.
fn one_line(key: &str) -> String {
    key.replace(['\n', '\r'], " ")
}

/// Which units count.
pub(super) fn kept(subject: &Subject<'_>) -> &'static str {
    match subject.file.analysis.multiple {
        Multiple::Exclude => "not is_multiple",
        Multiple::First => "true",
    }
}

/// What was seen of an experiment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ExposureCounts {
    /// Units that count, by the day of their first exposure, and on it by the variant that they saw first; rising days.
    pub(crate) days: Vec<BTreeMap<String, u64>>,
    /// When these days begin.
    pub(crate) starts: Vec<DateTime<Utc>>,
    /// Units that saw several variants, whether they count or not.
    pub(crate) multiple: u64,
    /// All units.
    pub(crate) seen: u64,
    pub(crate) exposures: u64,
}

impl ExposureCounts {
    /// Units that count, by the day of their first exposure.
    pub(crate) fn per_day(&self) -> Vec<(DateTime<Utc>, u64)> {
        self.starts.iter().copied().zip(self.days.iter().map(|day| day.values().sum())).collect()
    }
}

/// Counts units and exposures.
pub(crate) async fn read_counts(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
) -> Result<ExposureCounts, PipelineError> {
    let units = subject.table("units")?;
    let sql = format!(
        "select date_trunc('day', start_at) as day, variant, count(*) filter (where {}) as units, \
         count(*) filter (where is_multiple) as multiple, count(*) as seen, sum(exposures) as exposures from {units} group by 1, 2 order by 1, 2",
        kept(subject),
    );
    let result = warehouse.query(catalog, &sql).await?;
    let name = units.to_string();
    let columns = Columns::new(&name, &result);
    let number = |name: &str| columns.number(name);
    let mut counts = ExposureCounts::default();
    let figures = number("units")?.into_iter().zip(number("multiple")?).zip(number("seen")?).zip(number("exposures")?);
    let mut last = None;
    for ((day, variant), (((units, multiple), seen), exposures)) in
        columns.seconds("day")?.into_iter().zip(columns.text("variant")?).zip(figures)
    {
        if last != Some(day) {
            counts.days.push(BTreeMap::new());
            counts.starts.extend(day.and_then(|seconds| DateTime::from_timestamp(seconds, 0)));
            last = Some(day);
        }
        if let Some(of_day) = counts.days.last_mut() {
            of_day.insert(variant.unwrap_or_default(), units.unwrap_or_default() as u64);
        }
        counts.multiple += multiple.unwrap_or_default() as u64;
        counts.seen += seen.unwrap_or_default() as u64;
        counts.exposures += exposures.unwrap_or_default() as u64;
    }
    Ok(counts)
}
