//! One attempt of a build: models in order on top of one catalog.
//!
//! In: the catalog that was newest when it began.  Out: a [`Draft`] for the switch, and the report.
//! Never here: the switch, restarts.
//! Start at [`Attempt::build`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use datafusion::catalog::TableProvider;
use domain::{Progress, Provenance, TableName};

use crate::builds::Draft;
use crate::catalog::{Catalog, CatalogEntry, TableKind};
use crate::check::{Check, CheckResult, run_checks};
use crate::engine::{ENGINE, Scope};
use crate::error::{Result, WarehouseError};
use crate::model::{Materialization, Model};
use crate::{RunContext, Warehouse};

use super::KEPT_ROWS;
use super::incremental::make_incremental;
use super::made::{Made, make_table, make_view};
use super::report::{BuildOptions, BuildReport, IntervalReport, ModelReport, ModelStatus};

/// Version of what a build writes; raise it to make every table again.
pub(super) const TABLE_FORMAT_VERSION: u32 = 1;

/// The state of one attempt.
pub(super) struct Attempt<'a> {
    warehouse: &'a Warehouse,
    base: Catalog,
    /// The catalog number of the first attempt: a full refresh makes again what is no newer than that.
    first: u64,
    checks: &'a BTreeMap<TableName, Vec<&'a Check>>,
    run: &'a RunContext,
    options: &'a BuildOptions,
    progress: &'a dyn Progress,
    draft: Draft,
    /// Readable tables: those of the draft, and those of the catalog once they were needed.
    providers: BTreeMap<TableName, Arc<dyn TableProvider>>,
    /// Tables that failed or are blocked, and why: what reads them stops.
    stopped: BTreeMap<TableName, String>,
    reports: Vec<ModelReport>,
}

/// How making one model ended.
enum Outcome {
    Made(Box<Made>),
    /// The rows are those of the catalog; the entry may carry a newer provenance.
    Same(Box<CatalogEntry>, Option<IntervalReport>),
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        warehouse: &'a Warehouse,
        base: Catalog,
        first: u64,
        checks: &'a BTreeMap<TableName, Vec<&'a Check>>,
        run: &'a RunContext,
        options: &'a BuildOptions,
        progress: &'a dyn Progress,
    ) -> Self {
        let (draft, providers, stopped, reports) = Default::default();
        Self { warehouse, base, first, checks, run, options, progress, draft, providers, stopped, reports }
    }

    /// What is to be published, and the report so far.
    pub(super) fn finish(self) -> (Draft, BuildReport) {
        (self.draft, BuildReport { catalog: self.base.number, changed: false, restarts: 0, models: self.reports })
    }

    /// Runs the checks of raw tables that the chosen models read, unless this version has passed them already.
    pub(super) async fn check_raw_tables(&mut self, models: &[Model], chosen: &BTreeSet<TableName>) -> Result<()> {
        let read: BTreeSet<&TableName> =
            models.iter().filter(|model| chosen.contains(&model.table)).flat_map(|model| &model.inputs).collect();
        for name in read {
            let Some(entry) = self.base.tables.get(name).filter(|entry| entry.kind == TableKind::Raw).cloned() else {
                continue;
            };
            if self.checks.contains_key(name) {
                let begun = Instant::now();
                let report = self.settle_same(name, entry, None).await?;
                self.report(report, begun);
            }
        }
        Ok(())
    }

    /// Builds one model. `models` tells tables that are made by models from all others.
    pub(super) async fn build(&mut self, model: &Model, models: &[Model]) -> Result<()> {
        let begun = Instant::now();
        let name = &model.table;
        self.watch(name, models);
        if let Some(reason) = self.blocked(model) {
            self.stopped.insert(name.clone(), reason.clone());
            let mut report = self.blank(name, kind_of(model), ModelStatus::Blocked);
            report.reason = Some(reason);
            self.report(report, begun);
            return Ok(());
        }
        self.progress.begin(&format!("build {name}"), None);
        let outcome = match self.make(model).await {
            Ok(outcome) => self.settle(model, outcome).await,
            Err(error) => Err(error),
        };
        let report = match outcome {
            Ok(report) => report,
            Err(error) if is_the_models_own(&error) => {
                let reason = error.to_string();
                self.providers.remove(name);
                self.stopped.insert(name.clone(), format!("`{name}` failed: {reason}"));
                let mut report = self.blank(name, kind_of(model), ModelStatus::Failed);
                report.reason = Some(reason);
                report
            }
            Err(error) => return Err(error),
        };
        self.progress.finish(&summary(&report));
        self.report(report, begun);
        Ok(())
    }

    /// The names that must not change until the switch: the model, what it reads and what its checks read, unless raw.
    fn watch(&mut self, name: &TableName, models: &[Model]) {
        let model = models.iter().find(|model| model.table == *name);
        let inputs = model.into_iter().flat_map(|model| model.inputs.iter().cloned());
        let compared =
            self.checks.get(name).into_iter().flatten().filter_map(|check| check.other_tables().ok()).flatten();
        let watched: Vec<TableName> = inputs.chain(compared).chain([name.clone()]).collect();
        for name in watched {
            let entry = self.base.tables.get(&name);
            if entry.is_none_or(|entry| entry.kind != TableKind::Raw) {
                self.draft.watched.insert(name, entry.map(CatalogEntry::identity));
            }
        }
    }

    /// Why a model cannot be built now.
    fn blocked(&self, model: &Model) -> Option<String> {
        for input in &model.inputs {
            if let Some(reason) = self.stopped.get(input) {
                return Some(match reason.split_once(" waits for ") {
                    // The reason of the first failure is what helps, however long the chain.
                    Some((_, cause)) => format!("`{}` waits for {cause}", model.table),
                    None => format!("`{}` waits for {reason}", model.table),
                });
            }
            if self.entry(input).is_none() {
                return Some(format!("`{}` waits for `{input}`, which has not been built yet", model.table));
            }
        }
        None
    }

    /// The entry as this attempt sees it.
    fn entry(&self, name: &TableName) -> Option<&CatalogEntry> {
        self.draft.entries.get(name).or_else(|| self.base.tables.get(name))
    }

    /// Whether this build must make a table again though nothing changed.
    fn is_refreshed(&self, entry: &CatalogEntry) -> bool {
        self.options.full_refresh && entry.changed_in <= self.first
    }

    async fn make(&mut self, model: &Model) -> Result<Outcome> {
        let provenance = self.provenance(model)?;
        let previous = self.base.tables.get(&model.table).filter(|entry| entry.kind == kind_of(model)).cloned();
        if let Some(entry) = &previous
            && entry.provenance.identity() == provenance.identity()
            && !self.is_refreshed(entry)
        {
            return Ok(Outcome::Same(Box::new(entry.clone()), None));
        }
        let scope = self.scope(&model.inputs).await?;
        let (warehouse, run, progress) = (self.warehouse, self.run, self.progress);
        let made = match &model.materialization {
            Materialization::Table => make_table(warehouse, model, &scope, provenance, run, progress).await?,
            Materialization::View => {
                let pins =
                    model.inputs.iter().filter_map(|input| Some((input.clone(), self.entry(input)?.pin()))).collect();
                make_view(&warehouse.engine, model, &scope, pins, provenance, run).await?
            }
            Materialization::Incremental { .. } => {
                let reusable = previous.as_ref().filter(|entry| !self.is_refreshed(entry));
                match make_incremental(warehouse, model, &scope, reusable, provenance.clone(), run, progress).await? {
                    Some(made) => made,
                    None => {
                        let Some(mut entry) = previous else {
                            return Err(WarehouseError::internal("no interval and no table"));
                        };
                        entry.provenance = provenance;
                        let kept = entry.intervals.len();
                        return Ok(Outcome::Same(
                            Box::new(entry),
                            Some(IntervalReport { kept, ..IntervalReport::default() }),
                        ));
                    }
                }
            }
        };
        Ok(Outcome::Made(Box::new(made)))
    }

    /// Checks what was made and takes it into the draft, or stops what reads it.
    async fn settle(&mut self, model: &Model, outcome: Outcome) -> Result<ModelReport> {
        let made = match outcome {
            Outcome::Made(made) => *made,
            Outcome::Same(entry, intervals) => return self.settle_same(&model.table, *entry, intervals).await,
        };
        let name = &model.table;
        let before = self.providers.insert(name.clone(), Arc::clone(&made.provider));
        let results = self.run_checks(name).await?;
        let mut report = self.blank(name, made.entry.kind, ModelStatus::Built);
        report.intervals = made.intervals;
        report.rows = made.entry.rows;
        if let Some(reason) = failure(name, &results) {
            match before {
                Some(before) => self.providers.insert(name.clone(), before),
                None => self.providers.remove(name),
            };
            report.rows = self.base.tables.get(name).and_then(|entry| entry.rows);
            report.status = ModelStatus::Failed;
            report.reason = Some(reason.clone());
            self.stopped.insert(name.clone(), reason);
        } else {
            let mut entry = made.entry;
            entry.checked = self.checked(name, &entry);
            self.draft.entries.insert(name.clone(), entry);
            self.draft.commits.extend(made.commit);
            self.draft.asides.extend(made.aside.map(|aside| aside.id().to_owned()));
        }
        report.checks = results;
        Ok(report)
    }

    /// A table whose rows are those of the catalog: nothing to do, or only its checks.
    async fn settle_same(
        &mut self,
        name: &TableName,
        mut entry: CatalogEntry,
        intervals: Option<IntervalReport>,
    ) -> Result<ModelReport> {
        let mut report = self.blank(name, entry.kind, ModelStatus::Unchanged);
        report.rows = entry.rows;
        report.intervals = intervals;
        let checked = self.checked(name, &entry);
        let passed_before = entry.checked == checked || !self.checks.contains_key(name);
        if !passed_before || self.options.full_refresh && self.checks.contains_key(name) {
            let results = self.run_checks(name).await?;
            report.status = ModelStatus::Checked;
            if let Some(reason) = failure(name, &results) {
                report.status = ModelStatus::Failed;
                report.reason = Some(reason.clone());
                report.checks = results;
                self.stopped.insert(name.clone(), reason);
                return Ok(report);
            }
            report.checks = results;
        }
        entry.checked = checked;
        if self.base.tables.get(name) != Some(&entry) {
            self.draft.entries.insert(name.clone(), entry);
        }
        Ok(report)
    }

    async fn run_checks(&mut self, name: &TableName) -> Result<Vec<CheckResult>> {
        let Some(checks) = self.checks.get(name) else { return Ok(Vec::new()) };
        let mut tables = BTreeSet::from([name.clone()]);
        for check in checks {
            tables.extend(check.other_tables()?);
        }
        // A table that a check compares with may not be built yet; the check then says so itself.
        tables.retain(|table| self.providers.contains_key(table) || self.entry(table).is_some());
        let scope = self.scope(&tables).await?;
        let session = self.warehouse.engine.session(&scope)?;
        let mut results = run_checks(&self.warehouse.engine, &session, checks, KEPT_ROWS).await?;
        self.warehouse.keep_failed_rows(self.run, &mut results).await?;
        Ok(results)
    }

    /// What a passed version has passed: the checks, the rows of the table and those of the tables they compare with.
    fn checked(&self, name: &TableName, entry: &CatalogEntry) -> String {
        let Some(checks) = self.checks.get(name) else { return String::new() };
        let compared: BTreeSet<TableName> =
            checks.iter().filter_map(|check| check.other_tables().ok()).flatten().collect();
        let identities: Vec<_> =
            compared.iter().map(|table| (table, self.entry(table).map(CatalogEntry::identity))).collect();
        let kinds: Vec<_> = checks.iter().map(|check| (&check.kind, check.severity)).collect();
        domain::hash_json(&(entry.identity(), identities, kinds)).unwrap_or_default()
    }

    /// These tables as this attempt sees them.
    async fn scope(&mut self, tables: &BTreeSet<TableName>) -> Result<Scope> {
        let mut scope = Scope::new();
        for name in tables {
            if !self.providers.contains_key(name) {
                let pin = match self.entry(name) {
                    Some(entry) => entry.pin(),
                    None => self.base.table(name)?.pin(),
                };
                let provider = self.warehouse.engine.pinned(name, &pin).await?;
                self.providers.insert(name.clone(), provider);
            }
            if let Some(provider) = self.providers.get(name) {
                scope.insert(name.clone(), Arc::clone(provider));
            }
        }
        Ok(scope)
    }

    fn provenance(&self, model: &Model) -> Result<Provenance> {
        let identity = |input: &TableName| Some((input.to_string(), self.entry(input)?.identity()));
        let config = domain::hash_json(&model.materialization);
        Ok(Provenance {
            inputs: model.inputs.iter().filter_map(identity).collect(),
            code_hash: model.code_hash.clone(),
            config_hash: config.map_err(|error| WarehouseError::internal(error.to_string()))?,
            seed: None,
            engine: ENGINE.to_owned(),
            format_version: TABLE_FORMAT_VERSION,
            run_id: self.run.run_id.clone(),
        })
    }

    fn blank(&self, name: &TableName, kind: TableKind, status: ModelStatus) -> ModelReport {
        let rows = self.base.tables.get(name).and_then(|entry| entry.rows);
        ModelReport {
            table: name.clone(),
            kind,
            status,
            reason: None,
            rows,
            seconds: 0.0,
            intervals: None,
            checks: Vec::new(),
        }
    }

    fn report(&mut self, mut report: ModelReport, begun: Instant) {
        report.seconds = begun.elapsed().as_secs_f64();
        self.reports.push(report);
    }
}

fn kind_of(model: &Model) -> TableKind {
    match model.materialization {
        Materialization::Table => TableKind::Table,
        Materialization::View => TableKind::View,
        Materialization::Incremental { .. } => TableKind::Incremental,
    }
}

/// Why the results keep a version from being shown.
pub(super) fn failure(name: &TableName, results: &[CheckResult]) -> Option<String> {
    let blocking: Vec<&CheckResult> = results.iter().filter(|result| result.blocks()).collect();
    let first = blocking.first()?;
    let more = if blocking.len() > 1 { format!(" and {} more", blocking.len() - 1) } else { String::new() };
    Some(match &first.error {
        Some(error) => format!("check `{}`{more} of `{name}` cannot be computed: {error}", first.name),
        None => format!("check `{}`{more} of `{name}` failed: {} rows", first.name, first.failing),
    })
}

/// Errors that belong to one model; everything else ends the build.
fn is_the_models_own(error: &WarehouseError) -> bool {
    matches!(
        error,
        WarehouseError::Sql { .. }
            | WarehouseError::Model { .. }
            | WarehouseError::Check { .. }
            | WarehouseError::UnsupportedType { .. }
            | WarehouseError::ValueOutOfRange { .. }
            | WarehouseError::Exhausted { .. }
            | WarehouseError::ForeignFeature { .. }
    )
}

fn summary(report: &ModelReport) -> String {
    let rows = report.rows.map(|rows| format!(", {rows} rows")).unwrap_or_default();
    let word = match report.status {
        ModelStatus::Built => "built",
        ModelStatus::Checked => "checked",
        ModelStatus::Unchanged => "unchanged",
        ModelStatus::Failed => "failed",
        ModelStatus::Blocked => "blocked",
    };
    format!("{word}{rows}")
}
