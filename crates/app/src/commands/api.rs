//! `montauk api`: what people decide, over HTTP.
//!
//! In: an address.  Out: a running server until SIGTERM or Ctrl-C, then a drain; or the API's description.
//! Never here: routes (`control`), the accept loop (`http_server`).
//! Start at [`serve`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use control::api::{Analyst, Api, openapi};
use control::{ControlError, PowerFound};
use experiment::lifecycle::{Course, LaunchFacts};
use experiment::metric::MetricFile;
use experiment::plan::ExperimentFile;
use http_server::{HttpServer, Limits, shutdown_channel};
use pipeline::PipelineError;
use pipeline::project::Project;
use pipeline::steps::{Context, analyze, launch, power};
use serde_json::Value;

use super::{Outcome, Shell};
use crate::cli::{self, ApiAction};
use crate::error::AppError;
use crate::{store, wiring};

/// An analysis of a large experiment takes minutes when its tables are made for the first time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);

pub async fn run(shell: &Shell, arguments: cli::Api) -> Result<Outcome, AppError> {
    match arguments.action {
        ApiAction::Serve { listen } => serve(shell, listen).await,
        ApiAction::Spec => {
            let document = openapi().to_pretty_json();
            let document = document
                .map_err(|error| AppError::Internal { what: "the API has no JSON form", reason: error.to_string() })?;
            shell.output.data(&format!("{document}\n"))?;
            Ok(Outcome::Done)
        }
    }
}

async fn serve(shell: &Shell, listen: SocketAddr) -> Result<Outcome, AppError> {
    let project = shell.project()?;
    let control = store::open(shell, &project).await?;
    if let Some(first) = control.bootstrap(&store::person(), shell.now).await.map_err(store::failed)? {
        shell.output.data(&format!("token {}\n", first.token))?;
        shell
            .output
            .say(&format!("the first admin is `{}`; keep the token: it is not shown again", first.record.person));
    }
    let limits = Limits { request_timeout: REQUEST_TIMEOUT, ..Limits::default() };
    let server = HttpServer::bind(&listen.to_string(), limits).await.map_err(|error| AppError::room(&error))?;
    let address = server.address();
    let api = Api::new(control, Arc::new(Room { project: project.dir().to_owned() }), store::snapshots(&project));
    let published = api.publish().await.map_err(store::failed)?;
    tracing::info!(revision = published.revision, "published");
    let (trigger, shutdown) = shutdown_channel();
    let signals = edge::watch_signals().map_err(|error| AppError::io("listen to signals", &error))?;
    let signals = tokio::spawn(signals.forward(trigger));
    if shell.output.json {
        shell.output.json(&serde_json::json!({ "address": format!("http://{address}") }))?;
    } else {
        shell.output.data(&format!("listening on http://{address}\n"))?;
    }
    shell.output.say(&format!("try it:  curl -s -H 'Authorization: Bearer mtk_…' http://{address}/api/v1/experiments"));
    shell.output.say("stop it: Ctrl-C");
    let publisher = tokio::spawn(api.clone().keep_published());
    let report = server.serve(api.routes(), shutdown).await;
    publisher.abort();
    signals.abort();
    if report.cut > 0 {
        shell.output.warn(&format!("{} open connections were cut", report.cut));
    }
    shell.output.done("Stopped", &format!("after {}", shell.took()));
    Ok(Outcome::Done)
}

/// The project that the API asks: read anew for each question, because its files change.
#[derive(Debug)]
struct Room {
    project: std::path::PathBuf,
}

impl Room {
    fn open(&self) -> Result<Project, PipelineError> {
        Project::open(&self.project)
    }

    async fn context(&self, project: Project) -> Result<Context, PipelineError> {
        let now = Utc::now();
        let run_id = format!("{}-api", now.format("%Y%m%dT%H%M%S%3fZ"));
        wiring::context(project, Arc::new(domain::NoProgress), now, run_id).await
    }

    /// Runs a step alone in the project, as a command would.
    async fn alone<R>(
        &self,
        verb: &str,
        step: impl AsyncFnOnce(&Context) -> Result<R, PipelineError>,
    ) -> Result<R, ControlError> {
        let run = async {
            let project = self.open()?;
            let _lock = project.lock(verb)?;
            step(&self.context(project).await?).await
        };
        run.await.map_err(|error| ControlError::analysis(&error))
    }
}

fn json(report: &impl serde::Serialize) -> Result<Value, ControlError> {
    serde_json::to_value(report).map_err(|error| no_json(&error))
}

fn no_json(error: &serde_json::Error) -> ControlError {
    let error = PipelineError::Internal { what: "show results".to_owned(), reason: error.to_string() };
    ControlError::analysis(&error)
}

#[async_trait]
impl Analyst for Room {
    async fn metrics(&self) -> Result<BTreeMap<String, MetricFile>, ControlError> {
        Ok(self.open().map_err(|error| ControlError::analysis(&error))?.metrics)
    }

    async fn facts(&self, experiment: &ExperimentFile) -> Result<LaunchFacts, ControlError> {
        let run = async { launch::run(&self.context(self.open()?).await?, experiment).await };
        run.await.map_err(|error| ControlError::analysis(&error))
    }

    async fn results(&self, key: &str) -> Result<Option<Value>, ControlError> {
        let latest = || self.open().and_then(|project| pipeline::results::latest(&project, key));
        latest().map_err(|error| ControlError::analysis(&error))
    }

    async fn analyze(&self, experiment: &Course, until: Option<DateTime<Utc>>) -> Result<Value, ControlError> {
        let request = analyze::Request { until, ..analyze::Request::of(experiment) };
        let reports = self.alone("analyze", async |context| analyze::run(context, request).await).await?;
        json(&reports.first())
    }

    async fn power(&self, experiment: &ExperimentFile, history_days: u32) -> Result<PowerFound, ControlError> {
        let request = power::Request { experiment: experiment.clone(), history_days, until: None };
        let report = self.alone("power", async |context| power::run(context, request).await).await?;
        store::power_found(&report).map_err(|error| no_json(&error))
    }
}
