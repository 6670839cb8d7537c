//! `/api/v1/audit`: who changed what, when and why.
//!
//! In: a filter.  Out: entries, newest first; as JSON or CSV.
//! Never here: writing entries.
//! Start at [`router`].

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_server::ProblemResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::input::Params;
use super::{Api, Problem};
use crate::{AuditEntry, AuditFilter, AuditFormat, ControlError};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_audit)).routes(routes!(export_audit))
}

/// Changes, newest first, a page at a time: `before` is the last `sequence` of the page before.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditFilter),
    responses((status = 200, body = Vec<AuditEntry>), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn list_audit(
    State(api): State<Api>,
    Caller(actor): Caller,
    Params(filter): Params<AuditFilter>,
) -> Result<Json<Vec<AuditEntry>>, ProblemResponse> {
    Ok(Json(api.control.audit(&actor, &filter).await?))
}

/// All changes that the filter takes, newest first, as CSV; it comes while it is read.
#[utoipa::path(get, path = "/api/v1/audit.csv", tag = "audit", params(AuditFilter),
    responses((status = 200, body = String, content_type = "text/csv"), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn export_audit(
    State(api): State<Api>,
    Caller(actor): Caller,
    Params(filter): Params<AuditFilter>,
) -> Result<Response, ProblemResponse> {
    let export = api.control.export_audit(&actor, filter, AuditFormat::Csv)?;
    // An error in the middle cuts the answer: a client sees that it is not whole.
    let pieces = futures::stream::try_unfold(export, async |mut export| {
        let piece = export.next().await?;
        Ok::<_, ControlError>(piece.map(|piece| (piece, export)))
    });
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], Body::from_stream(pieces)).into_response())
}
