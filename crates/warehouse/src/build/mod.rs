//! Build: SQL models → files aside → checks → the switch.
//!
//! In: models, checks, the newest catalog.  Out: the next catalog number and a [`BuildReport`].
//! Never here: how the switch works (`builds`), what a check means (`check`).
//! Start at [`Warehouse::build`].
//!
//! Policy: a model whose blocking checks fail keeps its old version; what reads it is blocked, with the reason; the others
//! go on. Everything that passed becomes visible together. If another run changed an input or an output meanwhile, the build
//! starts again from the new catalog. Raw tables are the exception: one that a COPY extended meanwhile is still what it was
//! at the version that was read, and the next build takes the new rows.

mod attempt;
mod fill;
mod incremental;
mod made;
mod materialize;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use domain::{Progress, TableName};
use object_store::path::Path;
use serde_json::Value;

pub use materialize::{Materialized, Written};
pub use report::{BuildOptions, BuildReport, IntervalReport, ModelReport, ModelStatus};

use crate::builds::Switched;
use crate::catalog::TableKind;
use crate::check::{Check, CheckResult};
use crate::error::{Result, WarehouseError};
use crate::model::{Model, in_order, unknown_tables, with_neighbours};
use crate::{Catalog, RunContext, Warehouse};

use attempt::Attempt;

/// Times a build starts again before it gives up: three lost races in a row mean two schedulers fighting, not bad luck.
const MAX_RESTARTS: u32 = 3;
/// Bad rows of a failed check that are kept to be listed later: enough to see the pattern, small enough for one file.
const KEPT_ROWS: usize = 1_000;
/// Bad rows of a failed check in the report.
const REPORTED_ROWS: usize = 20;

impl Warehouse {
    /// Builds the selected models and makes those that pass visible together.
    ///
    /// `checks` are those of `checks/*.toml`; the models carry their own. Errors: what is wrong with the project itself (a cycle, an
    /// unknown table), a store that does not answer, and [`WarehouseError::Conflict`]; a model that fails is in the report.
    pub async fn build(
        &self,
        models: &[Model],
        checks: &[Check],
        run: &RunContext,
        options: &BuildOptions,
        progress: &dyn Progress,
    ) -> Result<BuildReport> {
        let mut by_table: BTreeMap<TableName, Vec<&Check>> = BTreeMap::new();
        for check in models.iter().flat_map(|model| &model.checks).chain(checks) {
            by_table.entry(check.table.clone()).or_default().push(check);
        }
        let mut compared: BTreeMap<TableName, BTreeSet<TableName>> = BTreeMap::new();
        for check in by_table.values().flatten() {
            compared.entry(check.table.clone()).or_default().extend(check.other_tables()?);
        }
        let order = in_order(models, &compared)?;
        let chosen = with_neighbours(models, &options.selection)?;
        let mut begun_at = None;
        for restarts in 0..=MAX_RESTARTS {
            let base = self.catalog().await?;
            // What another run has made since is fresh enough even for a full refresh.
            let first = *begun_at.get_or_insert(base.number);
            fit(models, &by_table, &compared, &base)?;
            let mut attempt = Attempt::new(self, base, first, &by_table, run, options, progress);
            attempt.check_raw_tables(models, &chosen).await?;
            for model in order.iter().filter(|model| chosen.contains(&model.table)) {
                attempt.build(model, models).await?;
            }
            let (draft, mut report) = attempt.finish();
            report.restarts = restarts;
            if draft.entries.is_empty() {
                return Ok(report);
            }
            match self.switch(&draft, run).await? {
                Switched::Published(number) => {
                    report.catalog = number;
                    report.changed = true;
                    return Ok(report);
                }
                Switched::Overtaken(tables) => {
                    self.discard_draft(&draft).await;
                    tracing::info!(?tables, restarts, "another run was first; the build starts again");
                }
            }
        }
        Err(WarehouseError::Conflict { what: "the tables of this build".into() })
    }

    /// Bad rows of a failed check of an earlier build, as JSON objects; empty when none are kept.
    pub async fn failed_rows(&self, run_id: &str, check_id: &str) -> Result<Vec<Value>> {
        Ok(self.store.get_json(&failed_path(run_id, check_id)).await?.unwrap_or_default())
    }

    /// Keeps the bad rows for [`Self::failed_rows`] and shortens them for the report.
    async fn keep_failed_rows(&self, run: &RunContext, results: &mut [CheckResult]) -> Result<()> {
        for result in results.iter_mut().filter(|result| !result.rows.is_empty()) {
            self.store.put_json(&failed_path(&run.run_id, &result.id), &result.rows).await?;
            result.rows.truncate(REPORTED_ROWS);
        }
        Ok(())
    }
}

fn failed_path(run_id: &str, check_id: &str) -> Path {
    Path::from_iter(["_montauk", "failed", run_id, &format!("{check_id}.json")])
}

/// Whether models, checks and the catalog fit each other.
fn fit(
    models: &[Model],
    checks: &BTreeMap<TableName, Vec<&Check>>,
    compared: &BTreeMap<TableName, BTreeSet<TableName>>,
    base: &Catalog,
) -> Result<()> {
    let known: BTreeSet<TableName> = base.tables.keys().cloned().collect();
    unknown_tables(models, &known)?;
    for model in models {
        if base.tables.get(&model.table).is_some_and(|entry| entry.kind == TableKind::Raw) {
            return Err(WarehouseError::Model {
                message: format!("table `{}` is loaded by `copy` already", model.table),
                at: model.path.clone(),
                help: Some("give the model another name or schema".into()),
            });
        }
    }
    let is_known = |table: &TableName| known.contains(table) || models.iter().any(|model| model.table == *table);
    for (table, checks) in checks {
        let missing = compared.get(table).into_iter().flatten().chain([table]).find(|table| !is_known(table));
        if let Some(missing) = missing {
            let names = known.iter().chain(models.iter().map(|model| &model.table)).map(ToString::to_string);
            return Err(WarehouseError::NoSuchTable {
                table: missing.to_string(),
                nearest: crate::catalog::nearest(&missing.to_string(), names),
                at: checks.first().map(|check| check.at.clone()).unwrap_or_default(),
            });
        }
    }
    Ok(())
}

/// The next version of a table as a build plans it, for tests of the switch that run no SQL.
#[cfg(test)]
pub(crate) async fn tests_next_version(
    warehouse: &Warehouse,
    name: &TableName,
    schema: &arrow::datatypes::SchemaRef,
    adds: Vec<crate::table::DataFile>,
    provenance: domain::Provenance,
    run: &RunContext,
) -> Result<(crate::catalog::CatalogEntry, crate::builds::PlannedCommit)> {
    let next = made::NextVersion { schema: schema.clone(), adds, kept: Vec::new(), intervals: BTreeMap::new() };
    let made = made::next_version(warehouse, name, TableKind::Table, next, provenance, run).await?;
    match made.commit {
        Some(commit) => Ok((made.entry, commit)),
        None => Err(WarehouseError::internal("a table was made without a commit")),
    }
}
