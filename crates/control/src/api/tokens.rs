//! `/api/v1/tokens` and `/api/v1/me`: who may act, and with what.
//!
//! In: what a token is for.  Out: tokens without their secrets; a new one shows it this once.
//! Never here: people and roles (see `things`).
//! Start at [`router`].

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use http_server::ProblemResponse;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::input::{Body, Params, Place};
use super::{Api, Problem};
use crate::{Actor, IssuedToken, TokenRecord, TokenRequest};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(revoke_token))
        .routes(routes!(show_actor))
}

/// Why something ends.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Reason {
    /// Kept in the audit log.
    #[serde(default)]
    reason: String,
}

/// Your tokens; an admin sees all.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "access",
    responses((status = 200, body = Vec<TokenRecord>), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn list_tokens(State(api): State<Api>, Caller(actor): Caller) -> Result<Json<Vec<TokenRecord>>, ProblemResponse> {
    Ok(Json(api.control.tokens(&actor).await?))
}

/// Makes a token. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "access", request_body = TokenRequest,
    responses((status = 201, body = IssuedToken), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn create_token(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(request): Body<TokenRequest>,
) -> Result<(StatusCode, Json<IssuedToken>), ProblemResponse> {
    Ok((StatusCode::CREATED, Json(api.control.create_token(&actor, request, Utc::now()).await?)))
}

/// Ends a token.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "access", params(("id" = String, Path), Reason),
    responses((status = 200, body = TokenRecord), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn revoke_token(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(id): Place<String>,
    Params(Reason { reason }): Params<Reason>,
) -> Result<Json<TokenRecord>, ProblemResponse> {
    Ok(Json(api.control.revoke_token(&actor, &id, &reason, Utc::now()).await?))
}

/// Whose token this is, and what it may.
#[utoipa::path(get, path = "/api/v1/me", tag = "access",
    responses((status = 200, body = Actor), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn show_actor(Caller(actor): Caller) -> Json<Actor> {
    Json(actor)
}
