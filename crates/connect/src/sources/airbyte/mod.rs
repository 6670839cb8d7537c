//! Airbyte's source connectors as a source: any program that speaks their protocol (v0), given as a command.
//!
//! In: a command, its settings, the streams that are wanted.  Out: staged JSON lines, one manifest per stream with the state that covers
//! its rows. All wanted streams come from one `read`, because states may belong to several of them: the first table that is asked for
//! runs it and publishes them all, the others are told what became of theirs.
//! Never here: what a value is (COPY's), what a connector is for.
//! Start at [`AirbyteSource`].

mod catalog;
mod column_type;
mod log;
mod messages;
mod ordered;
mod plan;
mod problem;
mod process;
mod publish;
mod row;
mod secrets;
mod settings_doctor;
mod state;
mod stream_file;
mod sync;
mod verbs;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::{Progress, TableName};
use serde_json::Value;

pub use problem::ConnectorProblem;

use self::plan::Planned;
use self::process::{Connector, Input, Verb};
use self::publish::Results;
use self::row::RowWriter;
use self::secrets::{HiddenConfig, Secrets};
use self::stream_file::StreamFile;
use self::sync::{Reading, StreamRun};
use crate::{ConnectError, DiscoveredTable, Examined, ExtractOutcome, ExtractRequest, Finding, Source, Stage};

/// How long a connector may say nothing, unless the source file says otherwise.
pub const DEFAULT_STALL: Duration = Duration::from_secs(600);

/// What a source file says about a connector.
#[derive(Clone)]
pub struct AirbyteSettings {
    /// A program and its arguments. `{dir}` stands for the directory with the files that are passed to it, `{user}` for `uid:gid` of their
    /// owner.
    pub command: Vec<String>,
    /// As the connector wants it, with `${NAME}` for what comes from the environment.
    pub config: Value,
    /// How long it may say nothing before it is ended.
    pub stall: Duration,
}

impl std::fmt::Debug for AirbyteSettings {
    /// Without `config`, in which somebody may have written a secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AirbyteSettings").field("command", &self.command).finish_non_exhaustive()
    }
}

/// A stream that is wanted as a table.
#[derive(Debug, Clone)]
pub struct AirbyteTable {
    /// Name of the table in the source file.
    pub name: String,
    /// Where COPY loads it.
    pub target: TableName,
    /// As in an [`ExtractRequest`].
    pub config_hash: String,
    pub choice: StreamChoice,
    /// Whether this run reads it. Tables whose streams share a state are read together, whoever asked for one of them.
    pub is_selected: bool,
}

/// Which stream, and how it is read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StreamChoice {
    pub stream: String,
    /// Needed where several streams have the same name.
    pub namespace: Option<String>,
    pub mode: StreamMode,
    /// The column that an incremental stream goes by, where the connector leaves that open.
    pub cursor: Option<String>,
}

impl StreamChoice {
    /// As `location` of an [`ExtractRequest`] takes it.
    pub fn location(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}.{}", self.stream),
            None => self.stream.clone(),
        }
    }
}

/// How a stream is read, and what its rows do to the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamMode {
    /// All rows each time; they replace the table (`full_refresh`, `overwrite`).
    #[default]
    Full,
    /// New rows; all are kept (`incremental`, `append`).
    Append,
    /// New and changed rows; the newest of each key is kept (`incremental`, `append_dedup`).
    Changes,
}

/// A connector and the tables that are wanted of it.
#[derive(Debug)]
pub struct AirbyteSource {
    connector: Connector,
    settings: AirbyteSettings,
    tables: Vec<AirbyteTable>,
    /// What became of the tables of the last run that nobody has asked for yet.
    results: tokio::sync::Mutex<Results>,
}

impl AirbyteSource {
    /// Fills in the environment; starts nothing. `directory` is where relative programs lie.
    ///
    /// Errors: `MissingVariable`, `BadSecret`.
    pub fn new(settings: AirbyteSettings, tables: Vec<AirbyteTable>, directory: PathBuf) -> Result<Self, ConnectError> {
        Self::with_environment(settings, tables, directory, |name| std::env::var(name).ok())
    }

    /// As [`Self::new`], with the variables given by `lookup`.
    pub fn with_environment(
        settings: AirbyteSettings,
        tables: Vec<AirbyteTable>,
        directory: PathBuf,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConnectError> {
        let secrets = Secrets::default();
        let config = secrets.fill(&settings.config, &lookup)?;
        let connector = Connector {
            command: settings.command.clone(),
            directory,
            stall: settings.stall,
            name: secrets.redact(settings.command.last().map_or("", String::as_str)),
            secrets,
            config: HiddenConfig::new(config),
        };
        Ok(Self { connector, settings, tables, results: tokio::sync::Mutex::default() })
    }

    /// Reads the wanted tables in one go and publishes them.
    async fn run(
        &self,
        request: &ExtractRequest,
        stage: &Stage,
        progress: &dyn Progress,
    ) -> Result<Results, ConnectError> {
        let tables = self.tables_of_run(request, stage).await?;
        verbs::check(&self.connector).await?;
        let streams = verbs::discover(&self.connector).await?;
        let mut planned = plan::plan(&self.connector, &streams, &tables, request, stage).await?;
        let unread = |reason: String| ConnectError::internal("read a staged state", reason);
        let state = plan::agree(&mut planned).map_err(unread)?;
        let configured: Result<Vec<String>, String> = planned.iter().map(Planned::configured).collect();
        let configured = configured.map_err(|reason| ConnectError::internal("write a catalog", reason))?;
        let catalog = Some(format!("{{\"streams\":[{}]}}", configured.join(",")));

        let counted = Arc::new(AtomicU64::new(0));
        let runs = planned.iter().map(|table| stream_run(table, stage)).collect();
        let reading = Reading::new(&self.connector, runs, Arc::clone(&counted));
        let mut shown = 0;
        let look = || {
            let now = counted.load(Ordering::Relaxed);
            progress.advance(now - shown);
            shown = now;
        };
        let (reading, ended) = self.connector.run(Verb::Read, &Input { catalog, state }, reading, look).await?;
        let read = planned.into_iter().zip(reading.finish(&ended)).collect();
        Ok(publish::publish_all(stage, read).await)
    }

    /// The tables that were asked for; all of them when one shares its state with others.
    async fn tables_of_run(&self, request: &ExtractRequest, stage: &Stage) -> Result<Vec<&AirbyteTable>, ConnectError> {
        let is_asked_for = |table: &&AirbyteTable| table.is_selected || table.name == request.table;
        let selected: Vec<&AirbyteTable> = self.tables.iter().filter(is_asked_for).collect();
        if selected.len() < self.tables.len() {
            for table in &selected {
                let latest = stage.latest(&request.source, &table.name).await?;
                if table.choice.mode != StreamMode::Full && latest.as_ref().is_some_and(plan::shares_state) {
                    tracing::info!(source = request.source, "its streams share one state, and are read together");
                    return Ok(self.tables.iter().collect());
                }
            }
        }
        Ok(selected)
    }
}

fn stream_run(table: &Planned, stage: &Stage) -> StreamRun {
    let rows = RowWriter::new(&table.origin(), table.generation(), table.request.now.timestamp_millis());
    let file = StreamFile::new(stage, &table.request);
    StreamRun::new(table.choice.stream.descriptor.clone(), file, rows)
}

#[async_trait]
impl Source for AirbyteSource {
    async fn discover(&self) -> Result<Vec<DiscoveredTable>, ConnectError> {
        let streams = verbs::discover(&self.connector).await?;
        let mut tables: Vec<DiscoveredTable> = streams.iter().map(catalog::CatalogStream::discovered).collect();
        tables.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(tables)
    }

    /// The first table of a run waits for all of them.
    async fn extract(
        &self,
        request: &ExtractRequest,
        stage: &Stage,
        progress: &dyn Progress,
    ) -> Result<ExtractOutcome, ConnectError> {
        progress.begin(&format!("extract {}.{}", request.source, request.table), None);
        let mut results = self.results.lock().await;
        let ready = match results.remove(&request.table) {
            Some(ready) => ready,
            None => {
                *results = self.run(request, stage, progress).await?;
                let nothing = || ConnectError::internal("read a stream", format!("`{}` was not read", request.table));
                results.remove(&request.table).ok_or_else(nothing)?
            }
        };
        let outcome = ready?;
        let rows: u64 = outcome.manifest.files.iter().filter_map(|file| file.rows).sum();
        progress.finish(&if outcome.unchanged { "nothing new".to_owned() } else { format!("{rows} rows") });
        Ok(outcome)
    }

    async fn examine(&self, _tables: &[Examined<'_>]) -> Result<Vec<Finding>, ConnectError> {
        settings_doctor::examine(&self.connector, &self.settings.config).await
    }
}
