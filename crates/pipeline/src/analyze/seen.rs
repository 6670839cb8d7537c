//! Whether exposures come in, before an experiment is started.
//!
//! In: the table of exposures that a plan names.  Out: [`ExposureSeen`].
//! Never here: what it means for a launch (`experiment::lifecycle::checklist`), exposures of an analysis (`units`).
//! Start at [`read_exposure_seen`].

use chrono::{DateTime, TimeDelta, Utc};
use domain::TableName;
use experiment::lifecycle::ExposureSeen;
use experiment::lifecycle::checklist::EXPOSURE_DAYS;
use warehouse::{Catalog, Warehouse};

use super::{as_moment, moment, quote, text};
use crate::PipelineError;

/// What an analysis reads of every row.
const COLUMNS: [&str; 4] = ["unit_id", "experiment", "variant", "occurred_at"];

/// Looks for an exposure of `key`, else for one of any experiment in the last days. Rows that an analysis leaves out count: they came the whole way.
pub(crate) async fn read_exposure_seen(
    warehouse: &Warehouse,
    catalog: &Catalog,
    table: &TableName,
    key: &str,
    now: DateTime<Utc>,
) -> Result<ExposureSeen, PipelineError> {
    let Ok(entry) = catalog.table(table) else { return Ok(ExposureSeen::NoTable) };
    if COLUMNS.iter().any(|name| entry.columns.iter().all(|column| column.name != *name)) {
        return Ok(ExposureSeen::NoTable);
    }
    let since = moment(now - TimeDelta::days(i64::from(EXPOSURE_DAYS)));
    let recent = format!(" where {} >= {since}", as_moment("occurred_at"));
    let own = format!(" where {} = {}", quote("experiment"), text(key));
    // The question that a table in use answers at once comes first; each ends with the first row that it finds.
    for (condition, found) in
        [(recent.as_str(), ExposureSeen::Seen), (&own, ExposureSeen::Seen), ("", ExposureSeen::Silent)]
    {
        let sql = format!("select experiment from {table}{condition}");
        if warehouse.query_limited(catalog, &sql, Some(1)).await?.batches.iter().any(|batch| batch.num_rows() > 0) {
            return Ok(found);
        }
    }
    Ok(ExposureSeen::NoneYet)
}
