//! Whether facts and exposures fit together: how many units the facts know, and how new the newest fact is.
//!
//! In: the tables of an experiment.  Out: [`Freshness`].
//! Never here: what follows from it (`experiment::decision`).
//! Start at [`read_freshness`].

use warehouse::{Catalog, Warehouse};

use super::{Subject, days, moment};
use crate::PipelineError;
use crate::rows::Columns;

/// How facts and exposures fit together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Freshness {
    /// Share of units that some fact names, on any day; 1 without units.
    pub(crate) join_rate: f64,
    /// From the end of the newest day with a fact to the moment of the analysis; of the stalest table.
    pub(crate) data_age_hours: f64,
}

/// Reads both.
pub(crate) async fn read_freshness(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
) -> Result<Freshness, PipelineError> {
    let values = subject.table("values")?.to_string();
    let sql = format!("select avg(case when is_known then 1.0 else 0.0 end) as join_rate from {values}");
    let join_rate = first(&values, &warehouse.query(catalog, &sql).await?, "join_rate")?.unwrap_or(1.0);
    let mut data_age_hours: f64 = 0.0;
    for scan in 0..subject.scans().len() {
        let table = subject.table(&days::part(scan))?.to_string();
        let until = moment(subject.until);
        let sql = format!(
            "select (cast(arrow_cast({until}, 'Int64') as double) - max(arrow_cast(arrow_cast(day, 'Timestamp(Microsecond, None)'), 'Int64'))) \
             / 3.6e9 - 24 as age from {table} where day < {until}"
        );
        // A table without facts is as old as can be.
        let age = first(&table, &warehouse.query(catalog, &sql).await?, "age")?.unwrap_or(f64::MAX);
        data_age_hours = data_age_hours.max(age);
    }
    Ok(Freshness { join_rate, data_age_hours })
}

fn first(table: &str, result: &warehouse::QueryResult, column: &str) -> Result<Option<f64>, PipelineError> {
    Ok(Columns::new(table, result).number(column)?.first().copied().flatten())
}
