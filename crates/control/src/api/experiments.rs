//! `/api/v1/experiments`: from draft to decision.
//!
//! In: files and steps as JSON, with the revision that was seen.  Out: records.
//! Never here: what a step may do (`experiment::lifecycle`).
//! Start at [`router`].

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use experiment::assign::Object;
use experiment::lifecycle::{Checklist, LaunchFacts, Step};
use experiment::plan::ExperimentFile;
use experiment::simulate::Simulation;
use http_server::ProblemResponse;
use serde::Deserialize;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::input::{Body, Params, Place, Removal, Until};
use super::{Api, Problem, most_simulations};
use crate::{ControlError, ExperimentFilter, ExperimentRecord, KeptPower, Permission};

/// Made-up units at most: about a second of work with a few experiments.
const MOST_SIMULATED: u64 = 100_000;
/// Days of history at most: a year and a day.
const MOST_HISTORY_DAYS: u32 = 366;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_experiments, create_experiment))
        .routes(routes!(show_experiment, edit_experiment, delete_experiment))
        .routes(routes!(step_experiment))
        .routes(routes!(show_checklist))
        .routes(routes!(show_results, compute_results))
        .routes(routes!(show_power, compute_power))
        .routes(routes!(simulate_experiment))
}

/// A file, and what it replaces.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ExperimentEdit {
    /// The revision that was seen.
    revision: u64,
    file: ExperimentFile,
    /// Kept in the audit log.
    #[serde(default)]
    reason: String,
}

/// A verb, and what it was decided on.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct StepRequest {
    /// The revision that was seen.
    revision: u64,
    step: Step,
}

/// How an experiment is tried.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SimulationRequest {
    /// How many made-up units; at most 100,000.
    #[serde(default = "ten_thousand")]
    #[schema(minimum = 1, maximum = 100000)]
    units: u64,
    #[serde(default)]
    seed: u64,
    /// What all of them are, for the audience.
    #[serde(default)]
    #[schema(value_type = Object)]
    attributes: Object,
}

fn ten_thousand() -> u64 {
    10_000
}

/// How far back power looks.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryParams {
    /// Days in which units come for the first time; 28 if absent.
    #[serde(default = "four_weeks")]
    #[param(minimum = 1, maximum = 366)]
    history_days: u32,
}

fn four_weeks() -> u32 {
    28
}

type Key = Place<String>;
type Answer<T> = Result<Json<T>, ProblemResponse>;

/// Experiments of your projects, oldest first.
#[utoipa::path(get, path = "/api/v1/experiments", tag = "experiments", params(ExperimentFilter),
    responses((status = 200, body = Vec<ExperimentRecord>), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn list_experiments(
    State(api): State<Api>,
    Caller(actor): Caller,
    Params(filter): Params<ExperimentFilter>,
) -> Answer<Vec<ExperimentRecord>> {
    Ok(Json(api.control.experiments(&actor, &filter).await?))
}

/// Makes a draft. It may lack arms and metrics; what is there must be right.
#[utoipa::path(post, path = "/api/v1/experiments", tag = "experiments", request_body = ExperimentFile,
    responses((status = 201, body = ExperimentRecord), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn create_experiment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(file): Body<ExperimentFile>,
) -> Result<(StatusCode, Json<ExperimentRecord>), ProblemResponse> {
    let record = api.control.create_experiment(&actor, file, Utc::now()).await?;
    api.publish_change().await;
    Ok((StatusCode::CREATED, Json(record)))
}

/// One experiment with its approval, decision and earlier phases.
#[utoipa::path(get, path = "/api/v1/experiments/{key}", tag = "experiments", params(("key" = String, Path)),
    responses((status = 200, body = ExperimentRecord), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn show_experiment(State(api): State<Api>, Caller(actor): Caller, Place(key): Key) -> Answer<ExperimentRecord> {
    Ok(Json(api.control.experiment(&actor, &key).await?))
}

/// Changes what people write of an experiment. While it runs: words, the end, and more metrics to look at.
#[utoipa::path(put, path = "/api/v1/experiments/{key}", tag = "experiments", params(("key" = String, Path)), request_body = ExperimentEdit,
    responses((status = 200, body = ExperimentRecord), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn edit_experiment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(key): Key,
    Body(edit): Body<ExperimentEdit>,
) -> Answer<ExperimentRecord> {
    let ExperimentEdit { revision, file, reason } = edit;
    let record = api.control.edit_experiment(&actor, &key, revision, file, &reason, Utc::now()).await?;
    api.publish_change().await;
    Ok(Json(record))
}

/// Removes a draft that never started.
#[utoipa::path(delete, path = "/api/v1/experiments/{key}", tag = "experiments", params(("key" = String, Path), Removal),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn delete_experiment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(key): Key,
    Params(removal): Params<Removal>,
) -> Result<StatusCode, ProblemResponse> {
    api.control.delete_experiment(&actor, &key, removal.revision, &removal.reason, Utc::now()).await?;
    api.publish_change().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Does a verb: submit, approve, reject, start, ramp, pause, resume, stop, decide, reopen, archive. A decision keeps the results as they were last
/// computed; what a request says of them is not read.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/steps", tag = "experiments", params(("key" = String, Path)), request_body = StepRequest,
    responses((status = 200, body = ExperimentRecord), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn step_experiment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(key): Key,
    Body(request): Body<StepRequest>,
) -> Answer<ExperimentRecord> {
    let StepRequest { revision, mut step } = request;
    if let Step::Decide { proposed, results, plan_hash, .. } = &mut step {
        // The grounds of a decision are what was computed, not what somebody says was.
        let known = api.analyst.results(&key).await?.unwrap_or_default();
        *proposed =
            known.pointer("/results/decision/verdict").and_then(|verdict| serde_json::from_value(verdict.clone()).ok());
        *results = known.get("results").cloned().unwrap_or_default();
        *plan_hash = known.get("plan_hash").and_then(Value::as_str).map(str::to_owned);
    }
    let facts = match step {
        Step::Start => facts(&api, &actor, &key).await?,
        Step::Submit
        | Step::Approve { .. }
        | Step::Reject { .. }
        | Step::Ramp { .. }
        | Step::Pause { .. }
        | Step::Resume
        | Step::Stop { .. }
        | Step::Decide { .. }
        | Step::Reopen { .. }
        | Step::Archive { .. } => LaunchFacts::default(),
    };
    let record = api.control.step(&actor, &key, revision, &step, &facts, Utc::now()).await?;
    api.publish_change().await;
    Ok(Json(record))
}

/// What a start still needs, and what it should know.
#[utoipa::path(get, path = "/api/v1/experiments/{key}/checklist", tag = "experiments", params(("key" = String, Path)),
    responses((status = 200, body = Checklist), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn show_checklist(State(api): State<Api>, Caller(actor): Caller, Place(key): Key) -> Answer<Checklist> {
    let facts = facts(&api, &actor, &key).await?;
    Ok(Json(api.control.checklist(&actor, &key, &facts).await?))
}

/// The results as they were last computed, as `montauk analyze --json` prints them.
#[utoipa::path(get, path = "/api/v1/experiments/{key}/results", tag = "experiments", params(("key" = String, Path)),
    responses((status = 200, body = Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn show_results(State(api): State<Api>, Caller(actor): Caller, Place(key): Key) -> Answer<Value> {
    api.control.experiment(&actor, &key).await?;
    let found = api.analyst.results(&key).await?;
    Ok(Json(found.ok_or_else(|| ControlError::not_analyzed(&key))?))
}

/// Computes the results from what the warehouse holds, and keeps them.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/results", tag = "experiments", params(("key" = String, Path), Until),
    responses((status = 200, body = Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn compute_results(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(key): Key,
    Params(Until { until }): Params<Until>,
) -> Answer<Value> {
    let record = api.control.experiment(&actor, &key).await?;
    actor.require(Permission::AddExploratoryMetric, Some(&record.project))?;
    Ok(Json(api.analyst.analyze(&record.course, until).await?))
}

/// How long it takes to see what, from the last weeks of the warehouse. It is kept for the checklist, until something that it depends on is
/// another: arms, weights, coverage, metrics, the plan.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/power", tag = "experiments", params(("key" = String, Path), HistoryParams),
    responses((status = 200, body = KeptPower), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn compute_power(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(key): Key,
    Params(HistoryParams { history_days }): Params<HistoryParams>,
) -> Answer<KeptPower> {
    if !(1..=MOST_HISTORY_DAYS).contains(&history_days) {
        let problem = format!("write 1 to {MOST_HISTORY_DAYS} days");
        return Err(ControlError::Invalid { field: "history_days", value: history_days.to_string(), problem }.into());
    }
    let file = api.control.experiment(&actor, &key).await?.course.file();
    api.control.may_compute_power(&actor, &file).await?;
    let found = api.analyst.power(&file, history_days).await?;
    Ok(Json(api.control.keep_power(&actor, &file, found, Utc::now()).await?))
}

/// Power as it was last computed; the checklist says whether it is of the experiment as it stands.
#[utoipa::path(get, path = "/api/v1/experiments/{key}/power", tag = "experiments", params(("key" = String, Path)),
    responses((status = 200, body = KeptPower), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn show_power(State(api): State<Api>, Caller(actor): Caller, Place(key): Key) -> Answer<KeptPower> {
    Ok(Json(api.control.power(&actor, &key).await?.ok_or_else(|| ControlError::no_power(&key))?))
}

/// Tries an experiment on made-up units, as if it ran beside those that do. As many at once as there are processors; then 503.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/simulation", tag = "experiments", params(("key" = String, Path)), request_body = SimulationRequest,
    responses((status = 200, body = Simulation), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn simulate_experiment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(key): Key,
    Body(request): Body<SimulationRequest>,
) -> Answer<Simulation> {
    let SimulationRequest { units, seed, attributes } = request;
    if !(1..=MOST_SIMULATED).contains(&units) {
        let problem = format!("write 1 to {MOST_SIMULATED} units");
        return Err(ControlError::Invalid { field: "units", value: units.to_string(), problem }.into());
    }
    let program = api.control.program(&actor, &key, Utc::now()).await?;
    // Refused and not queued: whoever waits would hold a request, and a few of them all threads for work that blocks.
    let permit = Arc::clone(&api.simulations).try_acquire_owned();
    let permit = permit.map_err(|_| ControlError::Busy { most: most_simulations() })?;
    let work = move || {
        let found = experiment::simulate::simulate(&program, &key, &attributes, units, seed);
        // Only now: a client that hangs up ends the request and not the work.
        drop(permit);
        found
    };
    // A thread that cannot be joined has panicked: that is reported there, and 500 here.
    let found = tokio::task::spawn_blocking(work).await.map_err(|error| ControlError::Analysis {
        kind: domain::ErrorKind::Internal,
        code: "simulation_failed",
        detail: error.to_string(),
        next: None,
    })?;
    Ok(Json(found.map_err(ControlError::from)?))
}

async fn facts(api: &Api, actor: &crate::Actor, key: &str) -> Result<LaunchFacts, ControlError> {
    let record = api.control.experiment(actor, key).await?;
    api.analyst.facts(&record.course.file()).await
}
