//! What a source is to the line of data: something that can be looked at and whose tables can be staged.
//!
//! In: an [`ExtractRequest`].  Out: an [`ExtractOutcome`] with the manifest that COPY reads.
//! Never here: one system's words (`sources`), the layout of the stage (`stage`).
//! Start at [`Source`].

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    LogPosition, Problem as _, Progress, Provenance, Resume, STAGE_FORMAT_VERSION, SourceProof, StageManifest,
    StageMode, StagedFile, TableName,
};

use crate::{ConnectError, Stage};

/// Name of the code that stages, as provenance names it; raise the number when staged bytes come out different.
const ENGINE: &str = "montauk-extract-1";

/// A system that data comes from.
#[async_trait]
pub trait Source: Send + Sync {
    /// Tables that could be extracted: names, columns, types, keys, approximate rows; sorted by name.
    async fn discover(&self) -> Result<Vec<DiscoveredTable>, ConnectError>;

    /// Stages one table and publishes its manifest; does nothing when identical content is staged already.
    async fn extract(
        &self,
        request: &ExtractRequest,
        stage: &Stage,
        progress: &dyn Progress,
    ) -> Result<ExtractOutcome, ConnectError>;

    /// What the source says about the rows of a table now; `None` when it cannot say (files).
    async fn prove(
        &self,
        _request: &ExtractRequest,
        _stage: &Stage,
        _progress: &dyn Progress,
    ) -> Result<Option<SourceProof>, ConnectError> {
        Ok(None)
    }

    /// What somebody should know before tables are read: rights, engines, limits. Reads no rows.
    async fn examine(&self, _tables: &[Examined<'_>]) -> Result<Vec<Finding>, ConnectError> {
        Ok(Vec::new())
    }

    /// Ends the snapshot that the tables of a run share, if there is one.
    async fn close(&self) {}
}

/// Connections that read one table at a time, unless the source file says otherwise.
pub const DEFAULT_WORKERS: usize = 4;
/// More connections than that strain a server more than they save.
pub const MAX_WORKERS: usize = 64;

/// One table to extract.
#[derive(Debug, Clone)]
pub struct ExtractRequest {
    /// Name of the source, as in `sources/<source>.toml`.
    pub source: String,
    /// Name of the table in that file.
    pub table: String,
    /// Where COPY loads it.
    pub target: TableName,
    /// Pattern of files, or `database.table` (`schema.table` for PostgreSQL) of a database.
    pub location: String,
    /// A statement of a database whose rows are the table, instead of `location`. In mode `full` only.
    pub query: Option<String>,
    pub now: DateTime<Utc>,
    pub run_id: String,
    /// Hash of the settings that shape the result; another hash means a new manifest.
    pub config_hash: String,
    pub invalid_dates: InvalidDates,
    /// Connections that read the table at the same time, 1 to [`MAX_WORKERS`].
    pub workers: usize,
    /// Whether the source computes a checksum of each column, for COPY to compare.
    pub with_proof: bool,
    pub mode: ExtractMode,
    /// COPY removes staged files once they are loaded: one that was staged before is not staged again.
    pub is_purged: bool,
    /// Read the whole table again, wherever the extraction before it ended.
    pub anew: bool,
}

/// How much of a table an extraction reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtractMode {
    /// All rows, each time.
    #[default]
    Full,
    /// All rows the first time; then those whose `column` is at least as large as the largest seen, less `look_back`. They replace rows of
    /// the same primary key. Deletions are not seen this way, only noticed by the proof.
    Cursor { column: String, look_back: LookBack },
    /// All rows the first time; then what the server's log says has changed since.
    Changes,
}

/// How far behind its largest value a cursor begins, for rows whose transactions ended late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "LookBackText", into = "String")]
pub enum LookBack {
    #[default]
    None,
    /// For cursors that are times.
    Seconds(u64),
    /// For cursors that are numbers.
    Units(u64),
}

/// As people write it: `"15m"`, or `1000`.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum LookBackText {
    Number(u64),
    Text(String),
}

impl TryFrom<LookBackText> for LookBack {
    type Error = String;
    fn try_from(written: LookBackText) -> Result<Self, String> {
        let text = match written {
            LookBackText::Number(units) => return Ok(Self::Units(units)),
            LookBackText::Text(text) => text,
        };
        let seconds = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)].into_iter().find_map(|(unit, seconds)| {
            let count: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            count.checked_mul(seconds)
        });
        let advice = || format!("`{text}` is not a time to look back; write \"90s\", \"15m\", \"2h\" or \"1d\"");
        seconds.map(Self::Seconds).ok_or_else(advice)
    }
}

impl From<LookBack> for String {
    fn from(look_back: LookBack) -> Self {
        match look_back {
            LookBack::None => "0s".to_owned(),
            LookBack::Seconds(seconds) => format!("{seconds}s"),
            LookBack::Units(units) => units.to_string(),
        }
    }
}

/// What an extraction did.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtractOutcome {
    /// The current manifest of the source table.
    pub manifest: StageManifest,
    /// Identical content was staged already: nothing was written.
    pub unchanged: bool,
    /// Time that the source's connections spent on the proof, all together.
    pub proof_milliseconds: u64,
    /// Why the whole table was read, where the log or a cursor would have been gone on from.
    pub read_anew: Option<String>,
}

/// A table of a source.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DiscoveredTable {
    /// As `location` of an [`ExtractRequest`] takes it.
    pub name: String,
    pub columns: Vec<DiscoveredColumn>,
    /// Columns of the primary key, in its order; empty when there is none.
    pub primary_key: Vec<String>,
    /// Rows as the server's statistics estimate them, when they do.
    pub approximate_rows: Option<u64>,
}

/// A column of a source table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DiscoveredColumn {
    pub name: String,
    /// The type in the source's own words, such as `decimal(12,2)`.
    pub source_type: String,
    /// The Arrow type it is staged as, such as `Decimal128(12, 2)`.
    pub staged_type: String,
    pub is_nullable: bool,
}

/// A table that [`Source::examine`] is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Examined<'a> {
    /// `source.table`, for messages.
    pub name: &'a str,
    /// As in an [`ExtractRequest`].
    pub location: &'a str,
    pub query: Option<&'a str>,
    pub mode: &'a ExtractMode,
}

/// What [`Source::examine`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, such as `snapshot`.
    pub what: &'static str,
    pub detail: String,
    /// What to do about it; `None` when it is in order.
    pub next: Option<String>,
}

impl Finding {
    pub(crate) fn fine(what: &'static str, detail: String) -> Self {
        Self { what, detail, next: None }
    }

    pub(crate) fn mend(what: &'static str, detail: String, next: String) -> Self {
        Self { what, detail, next: Some(next) }
    }

    /// A query of `table` was described, as so many columns.
    pub(crate) fn of_query(table: &str, columns: Result<usize, ConnectError>) -> Self {
        match columns {
            Ok(1) => Self::fine("query", format!("that of `{table}` is accepted, with 1 column")),
            Ok(count) => Self::fine("query", format!("that of `{table}` is accepted, with {count} columns")),
            Err(error) => Self::mend("query", error.to_string(), error.help().unwrap_or_default()),
        }
    }
}

/// What to do with a date that does not exist (`0000-00-00`, `2024-02-31`, PostgreSQL's `infinity`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidDates {
    /// Stage null and keep the original in the manifest, from where COPY takes it to the quarantine.
    #[default]
    Reject,
    /// Stage every column of dates or timestamps as text.
    Text,
    /// Stop.
    Fail,
}

impl ExtractRequest {
    /// The manifest of `files`, ready to publish.
    pub(crate) fn manifest(&self, mode: StageMode, files: Vec<StagedFile>) -> StageManifest {
        let inputs = files.iter().map(|file| (file.name.clone(), file.sha256.clone())).collect();
        StageManifest {
            format_version: STAGE_FORMAT_VERSION,
            number: 0,
            source: self.source.clone(),
            table: self.table.clone(),
            target: self.target.clone(),
            mode,
            extracted_at: self.now,
            files,
            position: None,
            proof: None,
            cut: None,
            changes: None,
            column_types: Vec::new(),
            resume: None,
            provenance: Provenance {
                inputs,
                code_hash: String::new(),
                config_hash: self.config_hash.clone(),
                seed: None,
                engine: ENGINE.to_owned(),
                format_version: STAGE_FORMAT_VERSION,
                run_id: self.run_id.clone(),
            },
        }
    }

    /// Publishes `manifest` unless `latest` says the same about the same files.
    pub(crate) async fn publish(
        &self,
        stage: &Stage,
        latest: Option<StageManifest>,
        manifest: StageManifest,
    ) -> Result<ExtractOutcome, ConnectError> {
        if let Some(latest) = latest {
            let is_same = latest.provenance.identity() == manifest.provenance.identity()
                && latest.target == manifest.target
                && latest.mode == manifest.mode
                && latest.files == manifest.files
                && latest.resume == manifest.resume
                && latest.column_types == manifest.column_types
                // What goes on from a place in the log must be able to: the old place may be gone.
                && (!matches!(manifest.resume, Some(Resume::Log { .. })) || latest.position == manifest.position)
                && (manifest.proof.is_none() || latest.proof == manifest.proof);
            if is_same {
                return Ok(ExtractOutcome::of(latest, true));
            }
        }
        Ok(ExtractOutcome::of(stage.publish(manifest).await?, false))
    }

    /// Publishes changes as the very next after `latest`, from where they were read. Nothing is published when nothing has changed, so that
    /// frequent runs do not pile up empty manifests; but once in [`POSITION_EVERY`], so that a quiet table does not hold on to old logs.
    pub(crate) async fn publish_changes(
        &self,
        stage: &Stage,
        latest: StageManifest,
        manifest: StageManifest,
    ) -> Result<ExtractOutcome, ConnectError> {
        let is_quiet = manifest.files.is_empty() && (manifest.proof.is_none() || latest.proof == manifest.proof);
        // What a file of the log says is read again until the place in it is written down: one file at most.
        let is_in_same_file = match (&latest.position, &manifest.position) {
            (Some(LogPosition::Binlog { file: before, .. }), Some(LogPosition::Binlog { file, .. })) => before == file,
            _ => true,
        };
        if is_quiet && is_in_same_file && self.now - latest.extracted_at < POSITION_EVERY {
            return Ok(ExtractOutcome::of(latest, true));
        }
        Ok(ExtractOutcome::of(stage.publish_next(manifest, latest.number).await?, false))
    }
}

/// How often a table without changes writes down how far its log has been read.
const POSITION_EVERY: TimeDelta = TimeDelta::hours(1);

impl ExtractOutcome {
    pub(crate) fn of(manifest: StageManifest, unchanged: bool) -> Self {
        Self { manifest, unchanged, proof_milliseconds: 0, read_anew: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_back_is_a_time_or_a_number() {
        let read = |text: &str| serde_json::from_str::<LookBack>(text).map_err(|error| error.to_string());
        assert_eq!(read("\"15m\""), Ok(LookBack::Seconds(900)));
        assert_eq!(read("1000"), Ok(LookBack::Units(1000)));
        assert!(read("\"15 parsecs\"").unwrap_err().contains("write \"90s\""));
    }
}
