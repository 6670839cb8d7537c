//! GrowthBook's endpoints: definitions and remote evaluation.
//!
//! In: a client key, conditional headers, a body.  Out: GrowthBook's answers and errors, `{"status":400,"error":"…"}`.
//! Never here: streams (`stream`), evaluation (`remote`).
//! Start at [`show_features`].

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::connection::Access;
use super::context::RemoteRequest;
use super::current::Flags;
use super::etag;
use super::figures::Protocol;
use super::limits::{FLAGS_PER_UNIT, MAX_CONTEXT_BYTES, MAX_INLINE_FLAGS};
use super::remote;
use super::set::FlagSet;

/// As GrowthBook's own endpoint: fresh for half a minute, then shown while it is fetched again, and for ten hours if that fails.
const CACHE_CONTROL: &str = "public, max-age=30, stale-while-revalidate=3600, stale-if-error=36000";

/// The client key in the path, or why it cannot be read.
pub(crate) type ClientKey = Result<Path<String>, PathRejection>;

/// An error in GrowthBook's form.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) retry_after_s: Option<u64>,
}

impl Refusal {
    pub(crate) fn bad_request(error: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: error.into(), retry_after_s: None }
    }

    pub(crate) fn unavailable(error: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, error: error.into(), retry_after_s: Some(1) }
    }

    fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!("remote evaluation failed: {error}");
        let error = "the server met a fault of its own".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, error, retry_after_s: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "status": self.status.as_u16(), "error": self.error }).to_string();
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        let mut response = (self.status, headers, body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The client key and what serves now.
pub(crate) fn open(flags: &Flags, key: ClientKey) -> Result<(String, Arc<FlagSet>), Refusal> {
    let Ok(Path(key)) = key else {
        return Err(Refusal::bad_request("the client key in the path is no UTF-8, percent-encoded: copy it again"));
    };
    let set = flags.current().ok_or_else(|| Refusal::unavailable("no snapshot of experiments is published yet"))?;
    match set.connection(&key) {
        Some(_) => Ok((key, set)),
        None => Err(unknown_key()),
    }
}

fn unknown_key() -> Refusal {
    Refusal::bad_request("there is no connection with this client key: copy it from the connection's page")
}

/// `GET /api/features/{client_key}` — every rule, for an SDK that evaluates by itself.
pub(crate) fn show_features(
    State(flags): State<Arc<Flags>>,
    key: ClientKey,
    headers: HeaderMap,
) -> Ready<Result<Response, Refusal>> {
    ready(features(&flags, key, &headers))
}

fn features(flags: &Flags, key: ClientKey, headers: &HeaderMap) -> Result<Response, Refusal> {
    let (key, set) = open(flags, key)?;
    let connection = set.connection(&key).ok_or_else(unknown_key)?;
    let definitions = match &connection.access {
        Access::Plain(definitions) => definitions,
        Access::Encrypted(definitions) => definitions,
        Access::Remote => {
            return Err(Refusal::bad_request(
                "this connection gives out evaluations only: switch on remote evaluation in the SDK (`remoteEval: true`)",
            ));
        }
    };
    let shared = [
        (header::ETAG, definitions.etag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL)),
        (header::HeaderName::from_static("x-sse-support"), HeaderValue::from_static("enabled")),
    ];
    if etag::is_known(headers, &definitions.etag) {
        return Ok((StatusCode::NOT_MODIFIED, shared).into_response());
    }
    let kind = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    Ok((shared, kind, definitions.body.clone()).into_response())
}

/// `POST /api/eval/{client_key}` — every value for one unit, without the rules.
pub(crate) async fn evaluate(
    State(flags): State<Arc<Flags>>,
    key: ClientKey,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let (key, set) = open(&flags, key)?;
    let connection = set.connection(&key).ok_or_else(unknown_key)?;
    if matches!(connection.access, Access::Encrypted(_)) {
        return Err(Refusal::bad_request(
            "this connection is encrypted, and evaluations are not: use a connection for remote evaluation",
        ));
    }
    let count = set.features();
    let cost = 1 + count / FLAGS_PER_UNIT;
    if let Err(seconds) = connection.quota.take(cost as u64, flags.now_ns()) {
        flags.figures.quota_refused.increment(1);
        let error = format!("this client key asks too often: wait {seconds} s, or raise `--flags-per-second`");
        return Err(Refusal { status: StatusCode::TOO_MANY_REQUESTS, error, retry_after_s: Some(seconds) });
    }
    let body = body.map_err(|error| Refusal {
        status: error.status(),
        error: format!("the body was not received: {error}"),
        retry_after_s: None,
    })?;
    if body.len() > MAX_CONTEXT_BYTES {
        let error = format!("the body is larger than {MAX_CONTEXT_BYTES} bytes: send fewer attributes");
        return Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, error, retry_after_s: None });
    }
    let request = RemoteRequest::parse(&body).map_err(|fault| Refusal::bad_request(fault.detail()))?;
    let answer = if count <= MAX_INLINE_FLAGS {
        remote::evaluate(&set, &request)
    } else {
        let turn = flags.long_work().await.map_err(|error| Refusal::internal(&error))?;
        let working = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            remote::evaluate(&set, &request)
        });
        working.await.map_err(|error| Refusal::internal(&error))?
    };
    let answer = answer.map_err(|error| Refusal::internal(&error))?;
    flags.figures.count(Protocol::GrowthBook, count);
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-sse-support"), "enabled"),
    ];
    Ok((headers, answer).into_response())
}
