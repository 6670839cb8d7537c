//! COPY: staged files → rows of one table, each file once, every row either loaded or in quarantine.
//!
//! In: a stage manifest, [`CopyOptions`].  Out: a [`CopyReport`].
//! The order of writing is what makes it safe: data files aside, quarantine aside, ledger record under a fresh number, then one
//! Delta commit that carries the number as `txn`, then the catalog. Dying anywhere before the commit loads nothing; dying after
//! it leaves a table ahead of the catalog, which the next COPY enters. Two COPYs of one file: the commit of the second one
//! conflicts, it reads the ledger again and finds the file loaded.
//! Never here: where files come from (`connect`), models and checks.
//! Start at [`Warehouse::copy`].

mod commit;
pub(crate) mod convert;
pub(crate) mod csv;
mod dialect;
mod error;
mod json;
mod load;
pub(crate) mod merge;
pub(crate) mod options;
mod parquet;
mod plan;
pub(crate) mod proof;
pub(crate) mod record;
mod replay;
pub(crate) mod report;
pub(crate) mod rows;
mod schema;
pub(crate) mod selection;
pub(crate) mod statement;
mod stream;
mod text;
pub(crate) mod validate;
mod window;

use std::sync::Arc;

use domain::{Problem, Progress, Provenance, StageManifest, StageMode, TableName};
use object_store::ObjectStore;

pub use error::CopyError;
pub use options::{
    AsciiChar, BadCells, ColumnType, CopyOptions, CsvOptions, Encoding, MatchByColumnName, Metadata, MissingColumns,
    NewColumns, OnError, Pattern, TimeFormat,
};
pub use proof::ProofReport;
pub use replay::ReplayReport;
pub use report::{
    CopyReport, FileReport, FileStatus, FirstError, InferReport, InferReportColumn, InferredColumn, Purge,
};
pub use selection::MAX_FILES;
pub use statement::{CopyStatement, OptionMap, lay_over, parse_options};
pub use validate::{Validation, ValidationError, ValidationMode};

use crate::builds::CatalogChange;
use crate::catalog::TableKind;
use crate::error::{Result, WarehouseError};
use crate::ledger::{self, AbortedLoad, LEDGER_FORMAT_VERSION, LoadRecord, LoadedManifest};
use crate::purges::{self, PURGE_FORMAT_VERSION, PurgeRecord};
use crate::quarantine::{self, Reject};
use crate::table::{COPY_APP, DataFile, Table, file_path};
use crate::{RunContext, Warehouse};
use commit::Base;
use load::Loader;
use plan::Plan;

/// Lost races after which COPY gives up: more runs than that do not load one table by accident.
const ATTEMPTS: usize = 20;

/// What one COPY works with.
pub(crate) struct Job<'a> {
    pub(crate) stage: &'a Arc<dyn ObjectStore>,
    pub(crate) manifest: &'a StageManifest,
    pub(crate) options: &'a CopyOptions,
    pub(crate) run: &'a RunContext,
    pub(crate) progress: &'a dyn Progress,
}

impl Warehouse {
    /// Loads the files of a manifest that the table has not loaded yet.
    ///
    /// Errors: [`CopyError`] when nothing could be loaded; a file that failed alone is in the report.
    pub async fn copy(
        &self,
        stage: Arc<dyn ObjectStore>,
        manifest: &StageManifest,
        options: &CopyOptions,
        run: &RunContext,
        progress: &dyn Progress,
    ) -> Result<CopyReport> {
        let manifest = &*options.chosen(manifest)?;
        let job = Job { stage: &stage, manifest, options, run, progress };
        progress.begin(&format!("copy {}", manifest.target), manifest.files.iter().map(|file| file.rows).sum());
        for _ in 0..ATTEMPTS {
            match self.copy_once(&job).await {
                Err(WarehouseError::Conflict { .. }) => {}
                Ok(report) => {
                    progress.finish(&format!("{} rows loaded, {} set aside", report.rows_loaded, report.rows_rejected));
                    return Ok(report);
                }
                Err(error) => return Err(error),
            }
        }
        Err(CopyError::Busy { table: manifest.target.to_string() }.into())
    }

    /// The columns that a table would have if it were made from these files now; nothing is made.
    pub async fn infer(
        &self,
        stage: Arc<dyn ObjectStore>,
        manifest: &StageManifest,
        options: &CopyOptions,
        run: &RunContext,
        progress: &dyn Progress,
    ) -> Result<InferReport> {
        let manifest = &*options.chosen(manifest)?;
        let job = Job { stage: &stage, manifest, options, run, progress };
        Loader::new(self, &job).infer(&Plan::all(manifest)).await
    }

    async fn copy_once(&self, job: &Job<'_>) -> Result<CopyReport> {
        let target = &job.manifest.target;
        let table = self.table(target).await?;
        let records = match job.manifest.mode {
            // A table that follows its source may have thousands of loads, of which the newest says it all.
            StageMode::Changes => self.newest_records(target, table.as_ref()).await?,
            StageMode::Append | StageMode::Full => self.records(target, table.as_ref()).await?,
        };
        let mut plan = Plan::new(job.manifest, &records, job.options.force, &config_hash(job.options)?)?;
        if let Some(limit) = job.options.size_limit.filter(|_| job.manifest.mode == StageMode::Append) {
            plan.stop_at(limit);
        }
        let mut report = CopyReport::default();
        plan.skipped.iter().cloned().for_each(|file| report.skip(file));
        if plan.is_done {
            report.catalog = self.enter(target, table.as_ref(), records.first(), job.run).await?;
            self.purge_loaded(job, &records, &mut report).await;
            return Ok(report);
        }
        self.refuse_models(target).await?;
        let number = ledger::free_number(self.store(), target, last_load(table.as_ref())).await?;
        let loaded = match Loader::new(self, job).load(table.as_ref(), &plan, number).await {
            Ok(loaded) => loaded,
            Err(WarehouseError::Copy(error)) => return Err(self.abort(job, error, Vec::new(), None).await?.into()),
            Err(error) => return Err(error),
        };
        if let Some(error) = loaded.stopped {
            let quarantine = loaded.rejects.finish(self.store(), target).await?;
            let committed: Vec<_> = loaded.files.iter().flat_map(|file| file.data_files.clone()).collect();
            self.discard(target, committed).await;
            loaded.aside.settle().await;
            let files = loaded.files.into_iter().map(|file| file.report).collect();
            return Err(self.abort(job, error, files, quarantine).await?.into());
        }
        let table = match table {
            Some(table) => table,
            None => self.create_table(target, &loaded.schema, job.run).await?,
        };
        if last_load(Some(&table)) != records.first().map_or(0, |record| record.load) {
            // Somebody made the table and loaded it since: what they loaded was planned here as well.
            return Err(WarehouseError::Conflict { what: format!("table `{target}`") });
        }
        let mut report = self.commit(job, Base { table, plan, records: &records, number }, loaded, report).await?;
        self.purge_loaded(job, &records, &mut report).await;
        Ok(report)
    }

    async fn purge_loaded(&self, job: &Job<'_>, records: &[LoadRecord], report: &mut CopyReport) {
        // Whole tables and changes are not files of a user's: the next extraction compares itself with them.
        if !job.options.purge || job.manifest.mode != StageMode::Append {
            return;
        }
        let files = selection::purge(job.stage, job.manifest, records, report).await;
        let (format_version, table) = (PURGE_FORMAT_VERSION, job.manifest.target.clone());
        let (run_id, at) = (job.run.run_id.clone(), job.run.now);
        let record = PurgeRecord { format_version, table, run_id, at, files };
        // The load stands, and so does what is removed; the next COPY finds it so and writes it down.
        if let Err(error) = purges::record_news(self.store(), record).await {
            tracing::warn!(table = %job.manifest.target, %error, "the history does not say yet which files were removed from the stage");
        }
    }

    /// A table that a model makes is not loaded as well.
    async fn refuse_models(&self, target: &TableName) -> Result<()> {
        match self.catalog().await?.tables.get(target) {
            Some(entry) if entry.kind != TableKind::Raw => Err(WarehouseError::Model {
                message: format!("table `{target}` is made by a model and cannot be loaded as well"),
                at: String::new(),
                help: Some("load into another table, or remove the model".into()),
            }),
            _ => Ok(()),
        }
    }

    /// Compares a table as it is with what its source says now.
    ///
    /// `manifest` is what the table was loaded from: its rejects stand for cells that the table cannot hold. Errors: `NotProven`.
    pub async fn verify(&self, proof: &domain::SourceProof, manifest: &StageManifest) -> Result<ProofReport> {
        let target = &manifest.target;
        let missing = || WarehouseError::NoSuchTable { table: target.to_string(), nearest: None, at: String::new() };
        let table = self.table(target).await?.ok_or_else(missing)?;
        let loaded = (target, table.files(), &table.schema());
        let compared = proof::compare(&self.engine, loaded, proof, manifest).await?;
        compared.map_err(|difference| CopyError::not_proven(manifest, difference).into())
    }

    /// Files that no commit will name go at once; one that cannot be removed is only lost space.
    pub(crate) async fn discard(&self, table: &TableName, files: Vec<DataFile>) {
        for file in files {
            let path = file_path(table, &file.path);
            if let Err(error) = self.store().delete(&path).await {
                tracing::debug!(%path, %error, "file of a load that failed stays");
            }
        }
    }

    /// Enters the table's newest version into the catalog, if a run died between its commit and its entry.
    async fn enter(
        &self,
        target: &TableName,
        table: Option<&Table>,
        newest: Option<&LoadRecord>,
        run: &RunContext,
    ) -> Result<u64> {
        let catalog = self.catalog().await?;
        let (Some(table), Some(newest)) = (table, newest) else { return Ok(catalog.number) };
        let entered = catalog.tables.get(target).and_then(|entry| entry.version);
        if entered.is_some_and(|version| version >= table.version()) {
            return Ok(catalog.number);
        }
        let provenance = newest.provenance.clone();
        self.publish(vec![CatalogChange { table: target.clone(), version: table.version(), provenance }], run).await
    }

    /// Every load of a table that counts, newest first.
    pub async fn loads(&self, table: &TableName) -> Result<Vec<LoadRecord>> {
        let snapshot = self.table(table).await?;
        self.records(table, snapshot.as_ref()).await
    }

    /// The COPYs of a table that loaded nothing because of an error, newest first.
    pub async fn aborted_loads(&self, table: &TableName) -> Result<Vec<AbortedLoad>> {
        ledger::aborted(self.store(), table).await
    }

    /// Rejects of a COPY that loaded nothing, at most `limit`.
    pub async fn aborted_rejects(&self, aborted: &AbortedLoad, limit: usize) -> Result<Vec<Reject>> {
        match &aborted.quarantine {
            Some(path) => {
                let kept = quarantine::file::read(self.store(), path, limit).await?;
                Ok(kept.into_iter().map(|kept| kept.reject).collect())
            }
            None => Ok(Vec::new()),
        }
    }

    async fn records(&self, name: &TableName, table: Option<&Table>) -> Result<Vec<LoadRecord>> {
        ledger::chain(self.store(), name, table.and_then(|table| table.txn(COPY_APP)), |_| false).await
    }

    /// The newest records, up to the first that loaded a manifest.
    async fn newest_records(&self, name: &TableName, table: Option<&Table>) -> Result<Vec<LoadRecord>> {
        let txn = table.and_then(|table| table.txn(COPY_APP));
        ledger::chain(self.store(), name, txn, |record| record.manifest.is_some()).await
    }

    /// The manifest that a table was loaded from last; none when it was not, or before this was kept.
    pub async fn loaded_manifest(&self, name: &TableName) -> Result<Option<LoadedManifest>> {
        let table = self.table(name).await?;
        let records = self.newest_records(name, table.as_ref()).await?;
        Ok(records.into_iter().find_map(|record| record.manifest))
    }

    /// Keeps what an aborted COPY said, beside the loads.
    async fn abort(
        &self,
        job: &Job<'_>,
        error: CopyError,
        files: Vec<FileReport>,
        quarantine: Option<String>,
    ) -> Result<CopyError> {
        let aborted = AbortedLoad {
            format_version: LEDGER_FORMAT_VERSION,
            table: job.manifest.target.clone(),
            run_id: job.run.run_id.clone(),
            at: job.run.now,
            code: error.code().to_owned(),
            message: error.to_string(),
            files,
            quarantine,
        };
        ledger::record_abort(self.store(), &aborted).await?;
        Ok(error)
    }
}

/// The load that the table's snapshot carries; 0 before the first.
fn last_load(table: Option<&Table>) -> u64 {
    table.and_then(|table| table.txn(COPY_APP)).and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

fn config_hash(options: &CopyOptions) -> Result<String> {
    domain::hash_json(&options.shaping()).map_err(|error| WarehouseError::internal(error.to_string()))
}

/// Version of what COPY makes of a file; raise it when the same file would give other rows.
const COPY_FORMAT_VERSION: u32 = 1;

/// The table's content, named by the files it holds: the same files give the same identity, in however many loads they came.
fn provenance(job: &Job<'_>, records: &[LoadRecord], files: &[ledger::LoadedFile]) -> Result<Provenance> {
    if job.manifest.mode == StageMode::Changes {
        return changed_content(job, records, files);
    }
    let held = plan::held(job.manifest.mode, records, files);
    // What this load brings anew, or replaces whole, takes the replayed rows with it.
    let anew = |name: &str| files.iter().any(|file| file.report.file == name && file.report.is_loaded());
    let mut replays = plan::held_replays(records);
    replays.retain(|replayed| job.manifest.mode != StageMode::Full && !anew(&replayed.file));
    content(held, &replays, job.options, job.run)
}

/// The identity of a table that was changed: what it was, and by what. In another order the same changes leave another table.
fn changed_content(job: &Job<'_>, records: &[LoadRecord], files: &[ledger::LoadedFile]) -> Result<Provenance> {
    let before = records.first().map(|record| &record.provenance.inputs);
    let mut changed = content(std::collections::BTreeMap::new(), &[], job.options, job.run)?;
    let names: Vec<(&str, &str)> = files.iter().map(|file| (file.report.file.as_str(), file.sha256.as_str())).collect();
    changed.inputs = match before {
        Some(before) if names.is_empty() => before.clone(),
        before => {
            let hash = domain::hash_json(&(before, names));
            let hash = hash.map_err(|error| WarehouseError::internal(error.to_string()))?;
            std::collections::BTreeMap::from([("changes".to_owned(), hash)])
        }
    };
    Ok(changed)
}

/// The identity of a table that holds these files, and these rows of theirs that were rejected at first.
fn content(
    held: std::collections::BTreeMap<&str, &str>,
    replays: &[&ledger::ReplayedFile],
    options: &CopyOptions,
    run: &RunContext,
) -> Result<Provenance> {
    let not_json = |error: serde_json::Error| WarehouseError::internal(error.to_string());
    let held: Vec<(&str, &str)> = held.into_iter().collect();
    let mut inputs = std::collections::BTreeMap::new();
    inputs.insert("files".to_owned(), domain::hash_json(&held).map_err(not_json)?);
    if !replays.is_empty() {
        // The names of data files are new in each attempt, and so stand for the text that was mended.
        let mut rows: Vec<(&str, &[crate::quarantine::RejectId], Vec<&str>)> = replays
            .iter()
            .map(|replayed| {
                let paths = replayed.data_files.iter().map(|file| file.path.as_str()).collect();
                (replayed.file.as_str(), replayed.rejects.as_slice(), paths)
            })
            .collect();
        rows.sort_unstable();
        inputs.insert("replayed".to_owned(), domain::hash_json(&rows).map_err(not_json)?);
    }
    Ok(Provenance {
        inputs,
        config_hash: config_hash(options)?,
        engine: concat!("copy-", env!("CARGO_PKG_VERSION")).to_owned(),
        format_version: COPY_FORMAT_VERSION,
        run_id: run.run_id.clone(),
        ..Provenance::default()
    })
}
