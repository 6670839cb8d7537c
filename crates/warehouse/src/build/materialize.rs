//! Rows that another room computed, written as a table: aside, checked, switched like a model's.
//!
//! In: batches, checks, provenance.  Out: the catalog number that shows them.
//! Never here: computing the rows.
//! Start at [`Warehouse::materialize`].

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use domain::{Provenance, TableName};

use crate::builds::{Draft, Switched};
use crate::catalog::{CatalogEntry, TableKind};
use crate::check::{Check, run_checks};
use crate::error::{Result, WarehouseError};
use crate::widen::{table_schema, widen_batch};
use crate::write::Aside;
use crate::{RunContext, Warehouse};

use super::attempt::failure;
use super::made::{Made, NextVersion, next_version};
use super::{KEPT_ROWS, MAX_RESTARTS};

/// A whole table, computed elsewhere.
#[derive(Debug, Clone)]
pub struct Materialized {
    pub table: TableName,
    /// At least one batch, which may be empty: it gives the columns.
    pub batches: Vec<RecordBatch>,
    /// Blocking ones keep the old version visible.
    pub checks: Vec<Check>,
    pub provenance: Provenance,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// The catalog number that shows the rows.
    pub catalog: u64,
    pub rows: u64,
    /// The table had this provenance already; nothing was written.
    pub unchanged: bool,
}

impl Warehouse {
    /// Writes a table. Errors: [`WarehouseError::ChecksFailed`], and then the old version stays.
    pub async fn materialize(&self, wanted: Materialized, run: &RunContext) -> Result<Written> {
        for _ in 0..=MAX_RESTARTS {
            let base = self.catalog().await?;
            let existing = base.tables.get(&wanted.table);
            if let Some(entry) = existing.filter(|entry| entry.provenance.identity() == wanted.provenance.identity()) {
                return Ok(Written { catalog: base.number, rows: entry.rows.unwrap_or_default(), unchanged: true });
            }
            let (made, aside) = self.write_aside(&wanted, run).await?;
            self.pass(&wanted, &made, run).await?;
            let rows = made.entry.rows.unwrap_or_default();
            let draft = Draft {
                commits: made.commit.into_iter().collect(),
                entries: BTreeMap::from([(wanted.table.clone(), made.entry)]),
                asides: vec![aside.id().to_owned()],
                watched: BTreeMap::from([(wanted.table.clone(), existing.map(CatalogEntry::identity))]),
            };
            match self.switch(&draft, run).await? {
                Switched::Published(catalog) => return Ok(Written { catalog, rows, unchanged: false }),
                Switched::Overtaken(_) => self.discard_draft(&draft).await,
            }
        }
        Err(WarehouseError::Conflict { what: format!("table `{}`", wanted.table) })
    }

    async fn write_aside(&self, wanted: &Materialized, run: &RunContext) -> Result<(Made, Aside)> {
        let first =
            wanted.batches.first().ok_or_else(|| WarehouseError::internal("a table without a batch has no columns"))?;
        let schema = table_schema(&first.schema())?;
        let aside = Aside::begin(&self.store, &wanted.table, run).await?;
        let mut writer = aside.writer(Arc::clone(&schema), "");
        for batch in &wanted.batches {
            writer.write(&widen_batch(batch, &schema)?).await?;
        }
        let adds = writer.finish().await?;
        let next = NextVersion { schema, adds, kept: Vec::new(), intervals: BTreeMap::new() };
        let made = next_version(self, &wanted.table, TableKind::Table, next, wanted.provenance.clone(), run).await?;
        Ok((made, aside))
    }

    async fn pass(&self, wanted: &Materialized, made: &Made, run: &RunContext) -> Result<()> {
        let catalog = self.catalog().await?;
        let mut tables = std::collections::BTreeSet::new();
        for check in &wanted.checks {
            tables.extend(check.other_tables()?);
        }
        tables.remove(&wanted.table);
        let mut scope = self.scope(&catalog, tables).await?;
        scope.insert(wanted.table.clone(), Arc::clone(&made.provider));
        let session = self.engine.session(&scope)?;
        let checks: Vec<&Check> = wanted.checks.iter().collect();
        let mut results = run_checks(&self.engine, &session, &checks, KEPT_ROWS).await?;
        self.keep_failed_rows(run, &mut results).await?;
        match failure(&wanted.table, &results) {
            Some(first) => {
                let failed = results.iter().filter(|result| result.blocks()).count();
                Err(WarehouseError::ChecksFailed { table: wanted.table.to_string(), failed, first })
            }
            None => Ok(()),
        }
    }
}
