//! Rows and cells that could not be loaded, and what became of them: open, fixed, replayed, dismissed.
//!
//! In: the loads that count, what was said of their rejects since.  Out: [`Quarantined`] rejects with their state; [`QuarantineCounts`].
//! A reject is replayed iff a load on the ledger's chain says so: rows and state are one commit. Fixed and dismissed stand in `changes`.
//! Only rejects of content that the table holds count: a file that was loaded anew, or a new load of the whole table, brings its own.
//! For rows of the files that the table holds: parsed = loaded + open + fixed + replayed + dismissed. Cells are counted beside.
//! Never here: parsing (`copy`), who may do it.
//! Start at [`Warehouse::quarantine`].

mod changes;
pub(crate) mod file;
mod fix;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use domain::{StageMode, TableName};

pub(crate) use file::{Kept, QuarantineWriter};
pub use fix::FixReport;

use self::changes::{Change, What};
use crate::error::{Result, WarehouseError};
use crate::ledger::LoadRecord;
use crate::{RunContext, Warehouse};

/// Whether a whole row or one cell was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectKind {
    /// The row was not loaded.
    Row,
    /// The row was loaded with null in that cell.
    Cell,
}

impl RejectKind {
    /// The word for it in files and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Cell => "cell",
        }
    }
}

/// A row or cell that was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reject {
    pub file: String,
    /// SHA-256 of the staged file, in hex.
    pub sha256: String,
    /// 1-based row of the file, header not counted.
    pub row: u64,
    /// 1-based line on which the row begins; 0 for files without lines.
    pub line: u64,
    /// Byte offset of the row in the decompressed file; 0 for files without lines.
    pub byte_offset: u64,
    pub kind: RejectKind,
    /// None when the row as a whole is wrong.
    pub column: Option<String>,
    /// Stable, in snake case.
    pub code: String,
    pub message: String,
    /// The row (or cell) as it stood in the file; bytes that are not UTF-8 are kept in the quarantine file and shown replaced here.
    pub original: String,
}

/// Names a reject: its load, and its place among the rejects of that load, such as `12.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RejectId {
    pub load: u64,
    /// Counted from 1.
    pub place: u64,
}

impl fmt::Display for RejectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.load, self.place)
    }
}

impl FromStr for RejectId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse().ok().filter(|number| *number > 0);
        let parts = text.split_once('.').and_then(|(load, place)| Some((number(load)?, number(place)?)));
        let (load, place) =
            parts.ok_or_else(|| format!("`{text}` names no reject; write load and place, such as `12.3`"))?;
        Ok(Self { load, place })
    }
}

impl serde::Serialize for RejectId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RejectId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What became of a reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectState {
    Open,
    /// Somebody has mended its text; it still is to be replayed.
    Fixed,
    /// Its row is in the table.
    Replayed,
    /// Somebody has said why it is not wanted.
    Dismissed,
}

impl RejectState {
    /// The word for it in tables and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Fixed => "fixed",
            Self::Replayed => "replayed",
            Self::Dismissed => "dismissed",
        }
    }
}

/// A reject and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Quarantined {
    pub id: RejectId,
    pub state: RejectState,
    #[serde(flatten)]
    pub reject: Reject,
    /// The mended row, for `fixed` and `replayed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// Why it was dismissed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The load that brought its row into the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_in: Option<u64>,
    /// The bytes, which text may not show.
    #[serde(skip)]
    pub(crate) bytes: Vec<u8>,
}

/// Which rejects are meant; all when nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectFilter {
    pub ids: Vec<RejectId>,
    pub file: Option<String>,
    pub column: Option<String>,
    pub code: Option<String>,
    /// Only those that are neither replayed nor dismissed.
    pub only_open: bool,
}

impl RejectFilter {
    pub(crate) fn takes(&self, id: RejectId, state: RejectState, reject: &Reject) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        let is_open = matches!(state, RejectState::Open | RejectState::Fixed);
        (self.ids.is_empty() || self.ids.contains(&id))
            && is(&self.file, Some(&reject.file))
            && is(&self.column, reject.column.as_deref())
            && is(&self.code, Some(&reject.code))
            && (is_open || !self.only_open)
    }
}

/// How the rows of a table's files add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct QuarantineCounts {
    pub loads: usize,
    /// Of the files that the table holds.
    pub rows_parsed: u64,
    pub rows_loaded: u64,
    pub open: u64,
    pub fixed: u64,
    pub replayed: u64,
    pub dismissed: u64,
    /// Cells that are null in a loaded row, whatever their state.
    pub cells: u64,
    /// Rejects of files that were left out whole.
    pub of_skipped_files: u64,
}

/// What was said of the rejects of a table since they were found.
#[derive(Debug, Default)]
pub(crate) struct States {
    pub(crate) fixed: HashMap<RejectId, String>,
    dismissed: HashMap<RejectId, String>,
    replayed: HashMap<RejectId, u64>,
}

impl States {
    fn of(records: &[LoadRecord], changes: Vec<Change>) -> Self {
        let mut states = Self::default();
        for change in changes {
            match change.what {
                What::Fixed { rows, .. } => {
                    for (id, text) in rows {
                        states.dismissed.remove(&id);
                        states.fixed.insert(id, text);
                    }
                }
                What::Dismissed { reason, rejects } => {
                    states.dismissed.extend(rejects.into_iter().map(|id| (id, reason.clone())));
                }
            }
        }
        for record in records {
            for replayed in &record.replays {
                states.replayed.extend(replayed.rejects.iter().map(|id| (*id, record.load)));
            }
        }
        states
    }

    pub(crate) fn state(&self, id: RejectId) -> RejectState {
        if self.replayed.contains_key(&id) {
            RejectState::Replayed
        } else if self.dismissed.contains_key(&id) {
            RejectState::Dismissed
        } else if self.fixed.contains_key(&id) {
            RejectState::Fixed
        } else {
            RejectState::Open
        }
    }
}

/// A load whose rejects count, at least for some of its files.
pub(crate) struct Holding<'a> {
    pub(crate) record: &'a LoadRecord,
    /// Names of its files that no later load has brought anew.
    pub(crate) files: HashSet<&'a str>,
}

/// The loads that brought what the table holds, newest first, each with the files that are still its own.
///
/// A file that a load left out takes nothing from what an earlier one brought of it; its rejects are shown beside.
pub(crate) fn holdings(records: &[LoadRecord]) -> Vec<Holding<'_>> {
    let (mut loaded, mut left_out) = (HashSet::new(), HashSet::new());
    let mut holdings = Vec::new();
    for record in records {
        let mut files = HashSet::new();
        for file in &record.files {
            let name = file.report.file.as_str();
            let is_new = if file.report.is_loaded() {
                loaded.insert(name)
            } else {
                !loaded.contains(name) && left_out.insert(name)
            };
            if is_new {
                files.insert(name);
            }
        }
        holdings.push(Holding { record, files });
        if record.mode == StageMode::Full {
            break;
        }
    }
    holdings
}

impl Warehouse {
    /// The rejects of a table that `filter` means, those of the newest load first, at most `limit`.
    pub async fn quarantine(&self, table: &TableName, filter: &RejectFilter, limit: usize) -> Result<Vec<Quarantined>> {
        let records = self.loads(table).await?;
        let states = self.states(table, &records).await?;
        let mut found = Vec::new();
        for holding in holdings(&records) {
            let Some(path) = &holding.record.quarantine else { continue };
            let load = holding.record.load;
            for (place, kept) in file::read(self.store(), path, usize::MAX).await?.into_iter().enumerate() {
                if found.len() >= limit {
                    return Ok(found);
                }
                let id = RejectId { load, place: place as u64 + 1 };
                let state = states.state(id);
                if holding.files.contains(kept.reject.file.as_str()) && filter.takes(id, state, &kept.reject) {
                    found.push(quarantined(&states, id, kept));
                }
            }
        }
        Ok(found)
    }

    /// How the rows of a table's files add up.
    pub async fn quarantine_counts(&self, table: &TableName) -> Result<QuarantineCounts> {
        let records = self.loads(table).await?;
        let states = self.states(table, &records).await?;
        let mut counts = QuarantineCounts { loads: records.len(), ..QuarantineCounts::default() };
        for holding in holdings(&records) {
            let held = |file: &str| holding.files.contains(file);
            let loaded: HashSet<&str> = holding
                .record
                .files
                .iter()
                .filter(|file| held(&file.report.file) && file.report.is_loaded())
                .map(|file| {
                    counts.rows_parsed += file.report.rows_parsed;
                    counts.rows_loaded += file.report.rows_loaded;
                    file.report.file.as_str()
                })
                .collect();
            let Some(path) = &holding.record.quarantine else { continue };
            let load = holding.record.load;
            for (place, kept) in file::read(self.store(), path, usize::MAX).await?.into_iter().enumerate() {
                if !held(&kept.reject.file) {
                    continue;
                }
                if kept.reject.kind == RejectKind::Cell {
                    counts.cells += 1;
                } else if !loaded.contains(kept.reject.file.as_str()) {
                    counts.of_skipped_files += 1;
                } else {
                    match states.state(RejectId { load, place: place as u64 + 1 }) {
                        RejectState::Open => counts.open += 1,
                        RejectState::Fixed => counts.fixed += 1,
                        RejectState::Replayed => counts.replayed += 1,
                        RejectState::Dismissed => counts.dismissed += 1,
                    }
                }
            }
        }
        Ok(counts)
    }

    /// Says that the rejects that `filter` means are not wanted, and why. Answers how many.
    ///
    /// Errors: none is meant, or all are replayed or dismissed already.
    pub async fn dismiss(
        &self,
        table: &TableName,
        filter: &RejectFilter,
        reason: &str,
        run: &RunContext,
    ) -> Result<usize> {
        let filter = RejectFilter { only_open: true, ..filter.clone() };
        let rejects: Vec<RejectId> =
            self.quarantine(table, &filter, usize::MAX).await?.into_iter().map(|found| found.id).collect();
        if rejects.is_empty() {
            return Err(no_reject(table));
        }
        let count = rejects.len();
        self.change(table, What::Dismissed { reason: reason.to_owned(), rejects }, run).await?;
        Ok(count)
    }

    pub(crate) async fn states(&self, table: &TableName, records: &[LoadRecord]) -> Result<States> {
        Ok(States::of(records, changes::read_all(self.store(), table).await?))
    }

    async fn change(&self, table: &TableName, what: What, run: &RunContext) -> Result<()> {
        changes::append(self.store(), table, Change::new(what, run)).await
    }
}

pub(crate) fn quarantined(states: &States, id: RejectId, kept: Kept) -> Quarantined {
    Quarantined {
        id,
        state: states.state(id),
        fixed: states.fixed.get(&id).cloned(),
        reason: states.dismissed.get(&id).cloned(),
        replayed_in: states.replayed.get(&id).copied(),
        reject: kept.reject,
        bytes: kept.original,
    }
}

/// Nothing in the quarantine is meant by what was asked for.
pub(crate) fn no_reject(table: &TableName) -> WarehouseError {
    WarehouseError::NoReject { table: table.to_string() }
}
