//! `/api/v1/plan` and `/api/v1/apply`: experiments that live in files.
//!
//! In: the parsed files of a project.  Out: how the store differs, and what was done about it.
//! Never here: reading files.
//! Start at [`router`].

use axum::Json;
use axum::extract::State;
use chrono::Utc;
use http_server::ProblemResponse;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::input::Body;
use super::{Api, Problem};
use crate::{ApplyOptions, ApplyReport, DriftPlan, ExperimentSource};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(plan_files)).routes(routes!(apply_plan))
}

/// A plan, and what it may do.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ApplyRequest {
    plan: DriftPlan,
    #[serde(default)]
    options: ApplyOptions,
    /// Kept in the audit log.
    #[serde(default)]
    reason: String,
}

/// How files differ from what is stored. Changes nothing.
#[utoipa::path(post, path = "/api/v1/plan", tag = "experiments", request_body = Vec<ExperimentSource>,
    responses((status = 200, body = DriftPlan), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn plan_files(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(sources): Body<Vec<ExperimentSource>>,
) -> Result<Json<DriftPlan>, ProblemResponse> {
    Ok(Json(api.control.plan(&actor, sources, Utc::now()).await?))
}

/// Makes the store say what the files of a plan say: all of it or nothing.
#[utoipa::path(post, path = "/api/v1/apply", tag = "experiments", request_body = ApplyRequest,
    responses((status = 200, body = ApplyReport), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn apply_plan(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(request): Body<ApplyRequest>,
) -> Result<Json<ApplyReport>, ProblemResponse> {
    let ApplyRequest { plan, options, reason } = request;
    let report = api.control.apply(&actor, &plan, options, &reason, Utc::now()).await?;
    api.publish_change().await;
    Ok(Json(report))
}
