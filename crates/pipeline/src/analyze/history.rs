//! Who would have been exposed, had an experiment been there: units by their first fact in a period.
//!
//! In: the tables of facts of some metrics, a period.  Out: the SQL of a table of exposures with one variant; units per day.
//! Never here: exposures that happened (`units`).
//! Start at [`history_model`].

use chrono::{DateTime, Utc};
use domain::TableName;
use warehouse::{Catalog, Model, Warehouse};

use super::{Subject, as_moment, moment, quote, text};
use crate::PipelineError;
use crate::rows::Columns;

/// The variant of everybody in a history.
pub(crate) const EVERYBODY: &str = "everybody";

/// Its part of the names of tables.
const PART: &str = "history";

/// Where the exposures of a history are, by the experiment's key.
pub(crate) fn history_table(key: &str) -> Result<TableName, PipelineError> {
    super::table_of(key, PART).map_err(|error| PipelineError::Internal {
        what: format!("name the tables of `{key}`"),
        reason: error.to_string(),
    })
}

/// `unit_id, experiment, variant, occurred_at`: the first fact of each unit from `start` until `end`, in any of the metrics' tables.
pub(crate) fn history_model(
    subject: &Subject<'_>,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<Model, PipelineError> {
    let scans = subject.scans();
    let parts: Vec<String> = scans
        .keys()
        .map(|scan| {
            let at = as_moment(&scan.time);
            format!(
                "select cast({unit} as varchar) as unit, {at} as at from {table} \
                 where {unit} is not null and {at} >= {start} and {at} < {end}",
                unit = quote(&scan.unit),
                table = scan.table,
                start = moment(start),
                end = moment(end),
            )
        })
        .collect();
    let sql = format!(
        "-- Who came in a period before the experiment, and when first.\n-- materialized: table   grain: unit_id\n\
         select unit as unit_id, {key} as experiment, '{EVERYBODY}' as variant, min(at) as occurred_at\n\
         from (\n  {}\n)\ngroup by unit",
        parts.join("\n  union all\n  "),
        key = text(&subject.file.assignment.key),
    );
    subject.model(PART, &sql)
}

/// Units by the day of their first fact, one entry per day of the period, oldest first.
pub(crate) async fn read_new_units(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    (start, end): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<u64>, PipelineError> {
    const SECONDS_PER_DAY: i64 = 86_400;
    let table = history_table(&subject.file.assignment.key)?;
    let sql = format!("select date_trunc('day', occurred_at) as day, count(*) as units from {table} group by 1");
    let result = warehouse.query(catalog, &sql).await?;
    let name = table.to_string();
    let columns = Columns::new(&name, &result);
    let days = usize::try_from((end - start).num_days()).unwrap_or_default();
    let mut units = vec![0; days];
    for (day, count) in columns.seconds("day")?.into_iter().zip(columns.number("units")?) {
        let index = day.map(|day| (day - start.timestamp()) / SECONDS_PER_DAY);
        if let Some(of_day) = index.and_then(|index| units.get_mut(usize::try_from(index).ok()?)) {
            *of_day = count.unwrap_or_default() as u64;
        }
    }
    Ok(units)
}
