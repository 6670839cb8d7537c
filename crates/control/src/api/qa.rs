//! `/api/v1/experiments/{key}/forced` and `/previews`: units and links that see a variant for a while, without being counted.
//!
//! In: a unit and a variant.  Out: entries.
//! Never here: forcing by URL or request (`serving`).
//! Start at [`router`].

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use http_server::ProblemResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::input::{Body, Place};
use super::{Api, Problem};
use crate::{PreviewRequest, QaEntry, QaRequest};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_forced, force_variant))
        .routes(routes!(release_unit))
        .routes(routes!(make_preview))
}

/// Units that are forced, those whose entry has expired as well.
#[utoipa::path(get, path = "/api/v1/experiments/{key}/forced", tag = "experiments", params(("key" = String, Path)),
    responses((status = 200, body = Vec<QaEntry>), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn list_forced(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(key): Place<String>,
) -> Result<Json<Vec<QaEntry>>, ProblemResponse> {
    Ok(Json(api.control.forced(&actor, &key).await?))
}

/// Lets a unit see a variant, for 14 days if nothing is said. Works in a draft as well.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/forced", tag = "experiments", params(("key" = String, Path)), request_body = QaRequest,
    responses((status = 201, body = QaEntry), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn force_variant(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(key): Place<String>,
    Body(request): Body<QaRequest>,
) -> Result<(StatusCode, Json<QaEntry>), ProblemResponse> {
    let entry = api.control.force(&actor, &key, request, Utc::now()).await?;
    api.publish_change().await;
    Ok((StatusCode::CREATED, Json(entry)))
}

/// Takes a forced variant back.
#[utoipa::path(delete, path = "/api/v1/experiments/{key}/forced/{unit}", tag = "experiments",
    params(("key" = String, Path), ("unit" = String, Path)),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn release_unit(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place((key, unit)): Place<(String, String)>,
) -> Result<StatusCode, ProblemResponse> {
    api.control.unforce(&actor, &key, &unit, Utc::now()).await?;
    api.publish_change().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a preview link, for 14 days if nothing is said: whoever brings the attribute `montauk_preview` with the answered `unit` as its value
/// sees the variant, in a draft as well. It is listed and taken back among the forced units.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/previews", tag = "experiments", params(("key" = String, Path)), request_body = PreviewRequest,
    responses((status = 201, body = QaEntry), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn make_preview(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(key): Place<String>,
    Body(request): Body<PreviewRequest>,
) -> Result<(StatusCode, Json<QaEntry>), ProblemResponse> {
    let entry = api.control.preview(&actor, &key, request, Utc::now()).await?;
    api.publish_change().await;
    Ok((StatusCode::CREATED, Json(entry)))
}
