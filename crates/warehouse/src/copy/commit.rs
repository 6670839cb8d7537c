//! The end of a load: changes are merged, the rows are compared with their source, record and commit are made.
//!
//! In: what was written aside.  Out: the next version of the table, or nothing of it.
//! Never here: reading files (`load`), what is loaded at all (`plan`).
//! Start at [`Warehouse::commit`].

use arrow::datatypes::SchemaRef;
use domain::{ChangeRules, StageMode};

use super::error::CopyError;
use super::load::Loaded;
use super::merge::{Merge, Merged};
use super::plan::Plan;
use super::proof::{self, ProofReport};
use super::report::{CopyReport, FileReport};
use super::{Job, last_load, provenance};
use crate::Warehouse;
use crate::builds::CatalogChange;
use crate::error::{Result, WarehouseError};
use crate::ledger::{self, LEDGER_FORMAT_VERSION, LoadRecord, LoadedFile, LoadedManifest};
use crate::table::{COPY_APP, Commit, DataFile, Table, delta_schema};
use crate::write::Aside;

/// What a load was planned on.
pub(super) struct Base<'a> {
    pub(super) table: Table,
    pub(super) plan: Plan,
    pub(super) records: &'a [LoadRecord],
    pub(super) number: u64,
}

/// What the next version of the table has beside the files of the record.
struct Next {
    removes: Vec<DataFile>,
    schema: SchemaRef,
    aside: Aside,
}

impl Warehouse {
    /// Everything is written aside: the ledger record, the commit, the catalog.
    pub(super) async fn commit(
        &self,
        job: &Job<'_>,
        base: Base<'_>,
        loaded: Loaded,
        mut report: CopyReport,
    ) -> Result<CopyReport> {
        let target = &job.manifest.target;
        let Base { table, plan, records, number } = base;
        let Loaded { schema, mut files, rejects, aside, inferred, stopped: _ } = loaded;
        let Merged { adds: merged, removes, rows_replaced } = match &job.manifest.changes {
            Some(rules) => self.merge(job, &table, &mut files, (&schema, rules), &aside).await?,
            None => {
                let removes = plan.removes(&table, &files)?;
                Merged { rows_replaced: removes.iter().map(|file| file.rows).sum(), removes, adds: Vec::new() }
            }
        };
        report.rows_replaced = rows_replaced;
        report.cells_rejected = rejects.cells();
        report.inferred = inferred;
        files.iter().for_each(|file| report.add(file.report.clone()));
        let is_change = |file: &LoadedFile| file.report.is_loaded() || file.report.is_failed_by_rows();
        let is_news = job.manifest.mode == StageMode::Changes;
        if !is_news && !files.iter().any(is_change) && removes.is_empty() {
            aside.settle().await;
            report.catalog = self.enter(target, Some(&table), records.first(), job.run).await?;
            return Ok(report);
        }
        let record = LoadRecord {
            format_version: LEDGER_FORMAT_VERSION,
            load: number,
            previous: last_load(Some(&table)),
            table: target.clone(),
            run_id: job.run.run_id.clone(),
            at: job.run.now,
            mode: job.manifest.mode,
            manifest: LoadedManifest::of(job.manifest),
            merged,
            replays: Vec::new(),
            quarantine: rejects.finish(self.store(), target).await?,
            provenance: provenance(job, records, &files)?,
            position: job.manifest.position.clone(),
            proof: job.manifest.proof.clone(),
            files,
        };
        let next = Next { removes, schema, aside };
        match self.prove(job, &table, &record, &next).await? {
            None => {}
            Some(Ok(proof)) => report.proof = Some(proof),
            Some(Err(difference)) => return Err(self.refuse(job, record, next, difference).await?),
        }
        report.load = Some(record.load);
        report.catalog = self.make_visible(job, &table, record, next).await?;
        Ok(report)
    }

    /// The record, the commit that carries its number, the catalog; answers the catalog's number.
    async fn make_visible(&self, job: &Job<'_>, table: &Table, record: LoadRecord, next: Next) -> Result<u64> {
        let target = &job.manifest.target;
        if !next.aside.is_there().await? {
            return Err(WarehouseError::Conflict { what: format!("the files of this load of `{target}`") });
        }
        ledger::claim(self.store(), &record).await?;
        let number = i64::try_from(record.load).map_err(|error| WarehouseError::internal(error.to_string()))?;
        let commit = Commit {
            adds: record.data_files().cloned().collect(),
            removes: next.removes,
            txn: Some((COPY_APP.to_owned(), number)),
            schema: if table.schema() == next.schema { None } else { Some(delta_schema(&next.schema)?) },
            operation: "COPY".to_owned(),
            at_ms: job.run.now.timestamp_millis(),
        };
        let version = table.commit(&commit).await?;
        next.aside.settle().await;
        let change = CatalogChange { table: target.clone(), version, provenance: record.provenance };
        self.publish(vec![change], job.run).await
    }

    /// Nothing of a load stays that is not what the source holds, but the record of it.
    async fn refuse(
        &self,
        job: &Job<'_>,
        record: LoadRecord,
        next: Next,
        difference: String,
    ) -> Result<WarehouseError> {
        let target = &job.manifest.target;
        self.discard(target, record.data_files().cloned().collect()).await;
        next.aside.settle().await;
        let mut files: Vec<FileReport> = record.files.into_iter().map(|file| file.report).collect();
        files.iter_mut().for_each(|file| file.fail("the load is not what the source holds".to_owned()));
        let error = CopyError::not_proven(job.manifest, difference);
        Ok(self.abort(job, error, files, record.quarantine).await?.into())
    }

    /// Applies the changes that `files` brought, which are files of the table no more.
    async fn merge(
        &self,
        job: &Job<'_>,
        table: &Table,
        files: &mut [LoadedFile],
        (schema, rules): (&SchemaRef, &ChangeRules),
        aside: &Aside,
    ) -> Result<Merged> {
        let changes: Vec<DataFile> = files.iter_mut().flat_map(|file| std::mem::take(&mut file.data_files)).collect();
        // The first rows of a table, or all of them anew, may hold one key twice as well.
        let is_whole = job.manifest.mode == StageMode::Full;
        let held = if is_whole { &[] } else { table.files() };
        let merge = Merge { engine: &self.engine, table: &job.manifest.target, schema, rules, changes: &changes, held };
        let merged = merge.run(aside).await;
        self.discard(&job.manifest.target, changes).await;
        let mut merged = merged?;
        if is_whole {
            merged.removes = table.files().to_vec();
            merged.rows_replaced = table.rows();
        }
        Ok(merged)
    }

    /// Compares what the table would hold with what the source says its rows are; `None` when it says nothing.
    async fn prove(
        &self,
        job: &Job<'_>,
        table: &Table,
        record: &LoadRecord,
        next: &Next,
    ) -> Result<Option<Result<ProofReport, String>>> {
        let Some(proof) = &job.manifest.proof else { return Ok(None) };
        let mut files: Vec<DataFile> = record.data_files().cloned().collect();
        if job.manifest.mode == StageMode::Changes {
            let stays = |file: &&DataFile| !next.removes.iter().any(|gone| gone.path == file.path);
            files.extend(table.files().iter().filter(stays).cloned());
        }
        let loaded = (&job.manifest.target, files.as_slice(), &next.schema);
        proof::compare(&self.engine, loaded, proof, job.manifest).await.map(Some)
    }
}
