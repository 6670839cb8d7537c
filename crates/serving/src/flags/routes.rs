//! The routes of flags, and what browsers must be told about them.
//!
//! In: flags.  Out: a router.
//! Never here: what a route answers.
//! Start at [`routes`]. Source of the CORS part: the Fetch Standard, section 3.2.

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::current::Flags;
use super::{assignments, growthbook, ofrep, stream};

/// The headers of our own clients by name, for browsers that do not know `*`; `Authorization` is never meant by `*`.
const ALLOWED_HEADERS: &str = "authorization, x-api-key, content-type, if-none-match, cache-control, last-event-id, *";

/// What a page may read of an answer.
const EXPOSED_HEADERS: &str = "x-sse-support, etag, retry-after, x-request-id";

/// A browser asks again after a day (Firefox's most; Chrome's is two hours).
const PREFLIGHT_MAX_AGE_S: &str = "86400";

/// Client keys are public and no cookie is looked at, so any page may ask. Assignments are for our own services: no page may.
pub(crate) fn routes(flags: &Arc<Flags>) -> Router {
    Router::new()
        .route("/api/features/{client_key}", get(growthbook::show_features).options(preflight))
        .route("/api/eval/{client_key}", post(growthbook::evaluate).options(preflight))
        .route("/sub/{client_key}", get(stream::subscribe).options(preflight))
        .route("/ofrep/v1/evaluate/flags", post(ofrep::evaluate_flags).options(preflight))
        .route("/ofrep/v1/evaluate/flags/{*key}", post(ofrep::evaluate_flag).options(preflight))
        .route("/ofrep/v1/events/{client_key}", get(stream::notices).options(preflight))
        .route_layer(axum::middleware::map_response(|response| ready(share(response))))
        .route("/v1/assignments/{unit}", get(assignments::list_assignments))
        .with_state(Arc::clone(flags))
}

fn preflight() -> Ready<Response> {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S),
    ];
    ready((StatusCode::NO_CONTENT, headers).into_response())
}

fn share(mut response: Response) -> Response {
    let headers: [(HeaderName, &str); 2] =
        [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"), (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS)];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
