//! The switch: how several tables become visible together, and what a crash leaves to finish.
//!
//! In: files written aside, catalog entries.  Out: the next catalog number.
//! Never here: running SQL, checks, deciding what to build.
//! Start at [`Warehouse::switch`].
//!
//! `_montauk/builds/<n>.json` is put-if-absent and holds everything needed to finish: whoever puts it owns number n. Then the
//! Delta commits are made, each carrying the transaction (`montauk`, n), and `catalog/<n>.json` is put. Anyone who finds
//! builds/<n> without catalog/<n> does the rest; every step of that can be repeated, also by several at once:
//! - a commit is made on a snapshot whose transaction number was read and is below n, at exactly the next version. Whoever
//!   loses that version reads again and finds number n in the log;
//! - a writer outside Montauk that commits in between does not stop the build: the table's next version is made to hold exactly the
//!   files that were checked, so that nobody sees rows that were not;
//! - n + 1 is claimed only when catalog/<n> is there, so at most one build is ever unfinished.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Provenance, TableName};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::catalog::{CATALOG_FORMAT_VERSION, Catalog, CatalogEntry, Pin, TableKind, catalog_columns};
use crate::error::{Result, WarehouseError};
use crate::store::{Store, numbered};
use crate::table::{BUILD_APP, Commit, DataFile, Table, TableIdentity, table_path};
use crate::write::AsideNote;
use crate::{RunContext, Warehouse};

/// Version of the plan file; raise it when a reader of the old version would misread.
const PLAN_FORMAT_VERSION: u32 = 1;
/// Lost races before a writer gives up. Each loss means that another writer finished, so even ten busy ones end well below.
const MAX_RACES: u32 = 100;

/// Everything to finish a build: `_montauk/builds/<n:020>.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuildPlan {
    format_version: u32,
    number: u64,
    /// New at each claim: tells our own plan, found by a retried request, from somebody else's.
    claim: String,
    run_id: String,
    created_at: DateTime<Utc>,
    commits: Vec<PlannedCommit>,
    /// What the catalog will say; ids and versions are filled in from the commits.
    entries: BTreeMap<TableName, CatalogEntry>,
    /// Ids of the notes to take back.
    asides: Vec<String>,
}

/// The next version of one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlannedCommit {
    pub table: TableName,
    /// For a table that does not exist yet.
    pub identity: TableIdentity,
    /// The version that was read; `None`: the table did not exist.
    pub base: Option<u64>,
    /// Delta's schema of the new version.
    pub schema: String,
    pub adds: Vec<DataFile>,
    pub removes: Vec<DataFile>,
}

/// What a writer wants to make visible together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    pub commits: Vec<PlannedCommit>,
    pub entries: BTreeMap<TableName, CatalogEntry>,
    pub asides: Vec<String>,
    /// Tables that must still be what the writer saw: name → identity, `None` for one that did not exist.
    pub watched: BTreeMap<TableName, Option<String>>,
}

/// How a switch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Switched {
    /// The catalog number that holds the draft.
    Published(u64),
    /// Another writer changed these tables meanwhile; nothing was published.
    Overtaken(Vec<TableName>),
}

/// A version of a raw table to be entered into the catalog.
#[derive(Debug, Clone)]
pub(crate) struct CatalogChange {
    pub table: TableName,
    /// A committed Delta version.
    pub version: u64,
    pub provenance: Provenance,
}

/// What [`Warehouse::recover`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoverReport {
    /// Builds that a crash had left and that are finished now.
    pub rolled_forward: Vec<u64>,
    /// The newest catalog number.
    pub catalog: u64,
}

/// What [`Warehouse::sweep`] removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    pub files: u64,
    pub bytes: u64,
}

impl Warehouse {
    /// The newest catalog. A build in the middle of its switch is not in it yet: readers never wait and never write.
    pub async fn catalog(&self) -> Result<Catalog> {
        let mut known = self.newest.load(Ordering::Relaxed);
        if known == 0 {
            known = self.store.get_json::<u64>(&newest_hint()).await.ok().flatten().unwrap_or(0);
        }
        for _ in 0..MAX_RACES {
            let numbers = self.store.numbers_after(&Catalog::folder(), known).await?;
            let number = numbers.last().copied().unwrap_or(known);
            if let Some(catalog) = Catalog::read(&self.store, number).await? {
                self.newest.fetch_max(number, Ordering::Relaxed);
                return Ok(catalog);
            }
            // Retention took it away between listing and reading, or the hint is wrong: look at all of them.
            known = 0;
            self.newest.store(0, Ordering::Relaxed);
        }
        Err(WarehouseError::Conflict { what: "the catalog".into() })
    }

    /// The catalog with this number. Errors: not found, when it never was or retention took it away.
    pub async fn catalog_at(&self, number: u64) -> Result<Catalog> {
        let missing = || WarehouseError::Store {
            what: format!("read catalog {number}"),
            message: "it does not exist".into(),
            missing: true,
        };
        Catalog::read(&self.store, number).await?.ok_or_else(missing)
    }

    /// Finishes what a crashed build left. Harmless while others work: they do the same.
    pub async fn recover(&self) -> Result<RecoverReport> {
        let (catalog, rolled_forward) = self.settle().await?;
        Ok(RecoverReport { rolled_forward, catalog: catalog.number })
    }

    /// Enters committed versions of raw tables into the catalog. An entry never goes back: an older version is skipped.
    pub(crate) async fn publish(&self, changes: Vec<CatalogChange>, run: &RunContext) -> Result<u64> {
        let mut draft = Draft::default();
        for change in changes {
            let table = self.table_at(&change.table, change.version).await?;
            let entry = table_entry(&table, TableKind::Raw, change.provenance, run);
            draft.entries.insert(change.table, entry);
        }
        match self.switch(&draft, run).await? {
            Switched::Published(number) => Ok(number),
            Switched::Overtaken(_) => Err(WarehouseError::internal("a load watches no table and was overtaken")),
        }
    }

    /// Makes a draft visible as the next catalog number, or says who came first.
    pub(crate) async fn switch(&self, draft: &Draft, run: &RunContext) -> Result<Switched> {
        let claim = uuid::Uuid::new_v4().to_string();
        for _ in 0..MAX_RACES {
            let (newest, _) = self.settle().await?;
            let touched = overtaken(draft, &newest);
            if !touched.is_empty() {
                return Ok(Switched::Overtaken(touched));
            }
            self.asides_are_there(draft).await?;
            let mut entries = newer_entries(draft, &newest)?;
            if entries.is_empty() && draft.commits.is_empty() {
                return Ok(Switched::Published(newest.number));
            }
            let number = newest.number + 1;
            for entry in entries.values_mut() {
                entry.changed_in = number;
            }
            let plan = BuildPlan {
                format_version: PLAN_FORMAT_VERSION,
                number,
                claim: claim.clone(),
                run_id: run.run_id.clone(),
                created_at: run.now,
                commits: draft.commits.clone(),
                entries,
                asides: draft.asides.clone(),
            };
            let path = numbered(&plans_folder(), number);
            let is_ours = self.store.put_json_if_absent(&path, &plan).await?
                || read_plan(&self.store, number).await?.is_some_and(|found| found.claim == claim);
            if is_ours {
                self.roll_forward(&plan, newest).await?;
                return Ok(Switched::Published(number));
            }
        }
        Err(WarehouseError::Conflict { what: "the catalog".into() })
    }

    /// A build that took longer than the grace of a sweep may have lost its files; then it must not be claimed.
    async fn asides_are_there(&self, draft: &Draft) -> Result<()> {
        for id in &draft.asides {
            if self.store.get(&AsideNote::folder().join(format!("{id}.json"))).await?.is_none() {
                return Err(WarehouseError::Conflict { what: "the files of this run".into() });
            }
        }
        Ok(())
    }

    /// The newest catalog, after finishing every build that was claimed.
    async fn settle(&self) -> Result<(Catalog, Vec<u64>)> {
        let mut catalog = self.catalog().await?;
        let mut rolled_forward = Vec::new();
        while let Some(plan) = read_plan(&self.store, catalog.number + 1).await? {
            let number = plan.number;
            catalog = self.roll_forward(&plan, catalog).await?;
            rolled_forward.push(number);
        }
        Ok((catalog, rolled_forward))
    }

    /// Does whatever is left of a claimed build. `base` is the catalog before it.
    async fn roll_forward(&self, plan: &BuildPlan, base: Catalog) -> Result<Catalog> {
        if let Some(done) = Catalog::read(&self.store, plan.number).await? {
            self.newest.fetch_max(plan.number, Ordering::Relaxed);
            return Ok(done);
        }
        let mut entries = plan.entries.clone();
        for commit in &plan.commits {
            let (id, version) = self.commit_once(plan, commit).await?;
            let planned = entries.get(&commit.table).and_then(|entry| entry.version);
            if planned != Some(version) {
                for entry in entries.values_mut() {
                    repin(&mut entry.pins, &commit.table, planned, version);
                }
            }
            if let Some(entry) = entries.get_mut(&commit.table) {
                entry.id = Some(id);
                entry.version = Some(version);
            }
        }
        let mut tables = base.tables;
        tables.extend(entries);
        let catalog = Catalog {
            format_version: CATALOG_FORMAT_VERSION,
            number: plan.number,
            created_at: plan.created_at,
            run_id: plan.run_id.clone(),
            tables,
        };
        self.store.put_json_if_absent(&numbered(&Catalog::folder(), plan.number), &catalog).await?;
        self.newest.fetch_max(plan.number, Ordering::Relaxed);
        self.remember_newest(plan.number).await;
        for id in &plan.asides {
            // A note that stays is harmless: the sweep finds its files in the table's log.
            let _ = self.store.delete(&AsideNote::folder().join(format!("{id}.json"))).await;
        }
        Ok(catalog)
    }

    /// Makes the commit of build n unless the table's log already holds n. Returns the table's id and the version.
    async fn commit_once(&self, plan: &BuildPlan, planned: &PlannedCommit) -> Result<(String, u64)> {
        let number = i64::try_from(plan.number).map_err(|_| WarehouseError::internal("catalog numbers are used up"))?;
        let commit = Commit {
            adds: planned.adds.clone(),
            removes: planned.removes.clone(),
            txn: Some((BUILD_APP.to_owned(), number)),
            schema: Some(planned.schema.clone()),
            operation: "BUILD".to_owned(),
            at_ms: plan.created_at.timestamp_millis(),
        };
        for _ in 0..MAX_RACES {
            let Some(table) = self.table(&planned.table).await? else {
                Table::create_with(&self.store, &planned.table, &planned.schema, &planned.identity, &commit).await?;
                continue;
            };
            if table.txn(BUILD_APP).is_some_and(|done| done >= number) {
                let version = self.version_of(planned, number, table.version()).await?;
                return Ok((table.id().to_owned(), version));
            }
            let commit = if Some(table.version()) == planned.base {
                commit.clone()
            } else {
                self.settled_commit(planned, &table, &commit).await?
            };
            match table.commit(&commit).await {
                Ok(version) => return Ok((table.id().to_owned(), version)),
                Err(WarehouseError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(WarehouseError::Conflict { what: format!("table `{}`", planned.table) })
    }

    /// The version whose commit carries build `number`: nearly always the one after the base.
    async fn version_of(&self, planned: &PlannedCommit, number: i64, newest: u64) -> Result<u64> {
        let first = planned.base.map_or(0, |base| base + 1);
        for version in first..=newest {
            if self.table_at(&planned.table, version).await?.txn(BUILD_APP) == Some(number) {
                return Ok(version);
            }
        }
        Err(WarehouseError::Damaged {
            path: format!("{}/_delta_log", table_path(&planned.table)),
            message: format!("it holds build {number} in no version from {first} to {newest}"),
        })
    }

    /// The planned commit, rewritten for a table that a writer outside Montauk changed since: its files after the commit are
    /// the base's, less the removed ones, plus the added ones, and nothing else.
    async fn settled_commit(&self, planned: &PlannedCommit, now: &Table, commit: &Commit) -> Result<Commit> {
        let mut wanted: BTreeMap<String, DataFile> = BTreeMap::new();
        if let Some(base) = planned.base {
            let base = self.table_at(&planned.table, base).await?;
            wanted.extend(base.files().iter().map(|file| (file.path.clone(), file.clone())));
        }
        for file in &planned.removes {
            wanted.remove(&file.path);
        }
        wanted.extend(planned.adds.iter().map(|file| (file.path.clone(), file.clone())));
        let mut removes = Vec::new();
        for file in now.files() {
            if wanted.remove(&file.path).is_none() {
                removes.push(file.clone());
            }
        }
        tracing::warn!(table = %planned.table, version = now.version(), "another writer changed a table of a model; the build replaces it");
        Ok(Commit { adds: wanted.into_values().collect(), removes, ..commit.clone() })
    }

    /// A hint where listings may start; a stale or lost one only makes them longer.
    async fn remember_newest(&self, number: u64) {
        let _ = self.store.put_json(&newest_hint(), &number).await;
    }

    /// Removes files that writers left aside and no commit will ever name: those whose note is older than `grace`.
    ///
    /// Failed checks keep their files for inspection that long; a run that takes longer than `grace` is refused at its end.
    pub async fn sweep(&self, now: DateTime<Utc>, grace: TimeDelta) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        self.settle().await?;
        for found in self.store.list(&AsideNote::folder()).await? {
            let Some(note) = self.store.get_json::<AsideNote>(&found.location).await? else { continue };
            if now - note.started_at < grace {
                continue;
            }
            self.sweep_note(&note, &mut report).await?;
            self.store.delete(&note.path()).await?;
        }
        Ok(report)
    }

    /// Takes away the files of a draft that was overtaken. What cannot be taken now is left to the sweep.
    pub(crate) async fn discard_draft(&self, draft: &Draft) {
        for id in &draft.asides {
            let path = AsideNote::folder().join(format!("{id}.json"));
            let removed = match self.store.get_json::<AsideNote>(&path).await {
                Ok(Some(note)) => self.sweep_note(&note, &mut SweepReport::default()).await,
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            if removed.is_err() || self.store.delete(&path).await.is_err() {
                tracing::debug!(note = id, "files of an overtaken build stay until the next sweep");
            }
        }
    }

    async fn sweep_note(&self, note: &AsideNote, report: &mut SweepReport) -> Result<()> {
        if let Some(table) = self.table(&note.table).await? {
            let is_committed = table.files().iter().any(|file| note.owns(&file.path))
                || table.removed_files().await?.iter().any(|path| note.owns(path));
            if is_committed {
                return Ok(());
            }
        }
        for file in self.store.list(&table_path(&note.table)).await? {
            let is_ours =
                file.location.parts_count() == 3 && file.location.filename().is_some_and(|name| note.owns(name));
            if is_ours {
                self.store.delete(&file.location).await?;
                report.files += 1;
                report.bytes += file.size;
            }
        }
        Ok(())
    }
}

/// The catalog entry of a table as it is.
pub(crate) fn table_entry(table: &Table, kind: TableKind, provenance: Provenance, run: &RunContext) -> CatalogEntry {
    CatalogEntry {
        kind,
        id: Some(table.id().to_owned()),
        version: Some(table.version()),
        path: Some(table_path(table.name()).to_string()),
        sql: None,
        pins: BTreeMap::new(),
        rows: Some(table.rows()),
        bytes: Some(table.files().iter().map(|file| file.bytes).sum()),
        columns: catalog_columns(&table.schema()),
        changed_in: 0,
        changed_at: run.now,
        provenance,
        intervals: BTreeMap::new(),
        checked: String::new(),
    }
}

fn plans_folder() -> Path {
    Path::from_iter(["_montauk", "builds"])
}

fn newest_hint() -> Path {
    Catalog::folder().join("newest")
}

async fn read_plan(store: &Store, number: u64) -> Result<Option<BuildPlan>> {
    let path = numbered(&plans_folder(), number);
    match store.get_json::<BuildPlan>(&path).await? {
        Some(plan) if plan.format_version > PLAN_FORMAT_VERSION || plan.number != number => {
            Err(WarehouseError::Damaged {
                path: path.to_string(),
                message: "it was written by a newer montauk, or moved".into(),
            })
        }
        plan => Ok(plan),
    }
}

/// Views of the same build follow a table whose version came out otherwise than planned.
fn repin(pins: &mut BTreeMap<TableName, Pin>, table: &TableName, planned: Option<u64>, actual: u64) {
    for (name, pin) in pins {
        match pin {
            Pin::Table { version } if name == table && Some(*version) == planned => *version = actual,
            Pin::Table { .. } => {}
            Pin::View { pins, .. } => repin(pins, table, planned, actual),
        }
    }
}

/// The watched tables that are no longer what the writer saw.
fn overtaken(draft: &Draft, newest: &Catalog) -> Vec<TableName> {
    let is_changed =
        |(name, seen): &(&TableName, &Option<String>)| newest.tables.get(name).map(CatalogEntry::identity) != **seen;
    draft.watched.iter().filter(is_changed).map(|(name, _)| name.clone()).collect()
}

/// The entries of a draft, without raw tables that the catalog already has at this version or a later one.
fn newer_entries(draft: &Draft, newest: &Catalog) -> Result<BTreeMap<TableName, CatalogEntry>> {
    let mut entries = BTreeMap::new();
    for (name, entry) in &draft.entries {
        let existing = newest.tables.get(name);
        if entry.kind == TableKind::Raw
            && let Some(existing) = existing
        {
            if existing.kind != TableKind::Raw {
                return Err(WarehouseError::Model {
                    message: format!("table `{name}` is made by a model and cannot be loaded as well"),
                    at: String::new(),
                    help: Some("load into another table, or remove the model".into()),
                });
            }
            if existing.id == entry.id && existing.version >= entry.version && existing.checked == entry.checked {
                continue;
            }
            if existing.id == entry.id && existing.version > entry.version {
                continue;
            }
        }
        entries.insert(name.clone(), entry.clone());
    }
    Ok(entries)
}
