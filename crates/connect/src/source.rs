//! What a source is to the line of data: something that can be looked at and whose tables can be staged.
//!
//! In: an [`ExtractRequest`].  Out: an [`ExtractOutcome`] with the manifest that COPY reads.
//! Never here: one system's words (`sources`), the layout of the stage (`stage`).
//! Start at [`Source`].

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{
    Progress, Provenance, STAGE_FORMAT_VERSION, SourceProof, StageManifest, StageMode, StagedFile, TableName,
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

    /// What somebody should know before `locations` are read: rights, engines, limits. Reads no rows.
    async fn examine(&self, _locations: &[&str]) -> Result<Vec<Finding>, ConnectError> {
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
    pub now: DateTime<Utc>,
    pub run_id: String,
    /// Hash of the settings that shape the result; another hash means a new manifest.
    pub config_hash: String,
    pub invalid_dates: InvalidDates,
    /// Connections that read the table at the same time, 1 to [`MAX_WORKERS`].
    pub workers: usize,
    /// Whether the source computes a checksum of each column, for COPY to compare.
    pub with_proof: bool,
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
            source: self.source.clone(),
            table: self.table.clone(),
            target: self.target.clone(),
            mode,
            extracted_at: self.now,
            files,
            position: None,
            proof: None,
            cut: None,
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
                && (manifest.proof.is_none() || latest.proof == manifest.proof);
            if is_same {
                return Ok(ExtractOutcome { manifest: latest, unchanged: true, proof_milliseconds: 0 });
            }
        }
        stage.publish(&manifest).await?;
        Ok(ExtractOutcome { manifest, unchanged: false, proof_milliseconds: 0 })
    }
}
