//! `/api/v1/things/{kind}`: what experiments stand on: layers, holdouts, flags, groups, connections; people and policies.
//!
//! In: a thing with the revision that was seen.  Out: things with their revisions.
//! Never here: what a thing may be.
//! Start at [`router`].

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use http_server::ProblemResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::input::{Body, Params, Place, Removal};
use super::{Api, Problem};
use crate::{ControlError, Kind, Stored, ThingEdit};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(put_thing))
        .routes(routes!(list_things))
        .routes(routes!(show_thing, delete_thing))
}

/// The kinds that are things; the others have routes of their own.
fn check(kind: Kind) -> Result<Kind, ControlError> {
    match kind {
        Kind::Layer | Kind::Holdout | Kind::Flag | Kind::Group | Kind::Connection | Kind::Person | Kind::Policy => {
            Ok(kind)
        }
        Kind::Experiment | Kind::Token | Kind::QaEntry | Kind::Power => Err(ControlError::Invalid {
            field: "kind",
            value: kind.name().to_owned(),
            problem: "it has routes of its own".to_owned(),
        }),
    }
}

/// Makes or changes a thing; its kind stands in it. Without `seen` it has to be new.
#[utoipa::path(put, path = "/api/v1/things", tag = "things", request_body = ThingEdit,
    responses((status = 200, body = Stored), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn put_thing(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(edit): Body<ThingEdit>,
) -> Result<Json<Stored>, ProblemResponse> {
    let stored = api.control.put(&actor, edit, Utc::now()).await?;
    api.publish_change().await;
    Ok(Json(stored))
}

/// Everything of a kind, by key.
#[utoipa::path(get, path = "/api/v1/things/{kind}", tag = "things", params(("kind" = Kind, Path)),
    responses((status = 200, body = Vec<Stored>), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn list_things(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(kind): Place<Kind>,
) -> Result<Json<Vec<Stored>>, ProblemResponse> {
    Ok(Json(api.control.things(&actor, check(kind)?).await?))
}

/// One thing.
#[utoipa::path(get, path = "/api/v1/things/{kind}/{key}", tag = "things", params(("kind" = Kind, Path), ("key" = String, Path)),
    responses((status = 200, body = Stored), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn show_thing(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place((kind, key)): Place<(Kind, String)>,
) -> Result<Json<Stored>, ProblemResponse> {
    Ok(Json(api.control.thing(&actor, check(kind)?, &key).await?))
}

/// Removes a thing that nothing names.
#[utoipa::path(delete, path = "/api/v1/things/{kind}/{key}", tag = "things", params(("kind" = Kind, Path), ("key" = String, Path), Removal),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn delete_thing(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place((kind, key)): Place<(Kind, String)>,
    Params(removal): Params<Removal>,
) -> Result<StatusCode, ProblemResponse> {
    api.control.remove(&actor, check(kind)?, &key, removal.revision, &removal.reason, Utc::now()).await?;
    api.publish_change().await;
    Ok(StatusCode::NO_CONTENT)
}
