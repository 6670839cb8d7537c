//! OpenFeature's remote evaluation protocol (OFREP 0.3.0): one flag, or all of them.
//!
//! In: a context, and a client key as bearer token or in `X-API-Key`.  Out: evaluations, and errors with the protocol's codes.
//! Never here: what an evaluation says (`ofrep_answer`), streams (`stream`).
//! Start at [`evaluate_flag`].

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::hash_bytes;
use serde::Serialize;

use super::connection::Access;
use super::context::{Fault, OfrepContext};
use super::current::Flags;
use super::etag;
use super::figures::Protocol;
use super::limits::{FLAGS_PER_UNIT, MAX_CONTEXT_BYTES, MAX_INLINE_FLAGS};
use super::ofrep_answer::{self, ErrorCode, Evaluation};
use super::set::FlagSet;

/// After so many seconds in the background a page may close its stream: the protocol's default.
const INACTIVITY_DELAY_S: u32 = 120;

/// An error in the protocol's form.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    key: Option<String>,
    code: ErrorCode,
    details: String,
    retry_after_s: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, code: ErrorCode, details: impl Into<String>) -> Self {
        Self { status, key: None, code, details: details.into(), retry_after_s: None }
    }

    fn unauthorized() -> Self {
        let details = "no connection has this client key: send one as `Authorization: Bearer sdk-…` or `X-API-Key`";
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::General, details)
    }

    fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!("evaluation failed: {error}");
        let details = "the server met a fault of its own";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::General, details)
    }

    fn of(fault: &Fault) -> Self {
        let code = match fault {
            Fault::Parse(_) => ErrorCode::ParseError,
            Fault::Context(_) => ErrorCode::InvalidContext,
        };
        Self::new(StatusCode::BAD_REQUEST, code, fault.detail())
    }

    fn with_key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            key: Option<&'a str>,
            error_code: ErrorCode,
            error_details: &'a str,
        }
        let body = Body { key: self.key.as_deref(), error_code: self.code, error_details: &self.details };
        let mut response = json(&body).unwrap_or_default().into_response();
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn json<T: Serialize>(body: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(body)
}

fn answer(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// The client key that a request carries.
fn client_key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = text(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| text(header::HeaderName::from_static("x-api-key")))
}

/// Who asks, and what answers. `flags_asked` is how many flags are to be evaluated, given how many there are.
fn enter(
    flags: &Flags,
    headers: &HeaderMap,
    flags_asked: impl FnOnce(usize) -> usize,
) -> Result<(String, Arc<FlagSet>), Refusal> {
    let Some(set) = flags.current() else {
        let details = "no snapshot of experiments is published yet";
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::General, details);
        return Err(Refusal { retry_after_s: Some(1), ..refusal });
    };
    let key = client_key(headers).ok_or_else(Refusal::unauthorized)?;
    let connection = set.connection(key).ok_or_else(Refusal::unauthorized)?;
    if matches!(connection.access, Access::Encrypted(_)) {
        let details = "this connection is encrypted, and evaluations are not: use another connection";
        return Err(Refusal::new(StatusCode::FORBIDDEN, ErrorCode::General, details));
    }
    let cost = 1 + flags_asked(set.features()) / FLAGS_PER_UNIT;
    if let Err(seconds) = connection.quota.take(cost as u64, flags.now_ns()) {
        flags.figures.quota_refused.increment(1);
        let details = format!("this client key asks too often: wait {seconds} s, or raise `--flags-per-second`");
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::General, details);
        return Err(Refusal { retry_after_s: Some(seconds), ..refusal });
    }
    let key = key.to_owned();
    Ok((key, set))
}

fn read(body: Result<Bytes, BytesRejection>, set: &FlagSet) -> Result<OfrepContext, Refusal> {
    let body = body.map_err(|error| {
        Refusal::new(error.status(), ErrorCode::ParseError, format!("the body was not received: {error}"))
    })?;
    if body.len() > MAX_CONTEXT_BYTES {
        let details = format!("the context is larger than {MAX_CONTEXT_BYTES} bytes: send fewer attributes");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::InvalidContext, details));
    }
    OfrepContext::parse(&body, set).map_err(|fault| Refusal::of(&fault))
}

/// `POST /ofrep/v1/evaluate/flags/{key}` — one flag. The key may hold slashes: some providers send it as it is.
pub(crate) fn evaluate_flag(
    State(flags): State<Arc<Flags>>,
    key: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Ready<Result<Response, Refusal>> {
    ready(one(&flags, key, &headers, body))
}

fn one(
    flags: &Flags,
    key: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let Ok(Path(key)) = key else {
        let details = "the key in the path is no UTF-8, percent-encoded: check its spelling";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::ParseError, details).with_key("?"));
    };
    let (_, set) = enter(flags, headers, |_| 1).map_err(|refusal| refusal.with_key(&key))?;
    let context = read(body, &set).map_err(|refusal| refusal.with_key(&key))?;
    let evaluation = ofrep_answer::evaluate(&set, &key, &context);
    let status = match evaluation.error() {
        None => StatusCode::OK,
        Some(ErrorCode::FlagNotFound) => StatusCode::NOT_FOUND,
        Some(
            ErrorCode::TargetingKeyMissing | ErrorCode::InvalidContext | ErrorCode::ParseError | ErrorCode::General,
        ) => StatusCode::BAD_REQUEST,
    };
    flags.figures.count(Protocol::Ofrep, 1);
    let body = json(&evaluation).map_err(|error| Refusal::internal(&error))?;
    Ok((status, answer(body)).into_response())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bulk<'a> {
    flags: Vec<Evaluation<'a>>,
    metadata: BulkMetadata,
    event_streams: [EventStream; 1],
}

#[derive(Serialize)]
struct BulkMetadata {
    revision: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventStream {
    r#type: &'static str,
    endpoint: Endpoint,
    inactivity_delay_sec: u32,
}

/// Without an origin: the one that the client has asked, whatever name it has for us.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    request_uri: String,
}

/// `POST /ofrep/v1/evaluate/flags` — every flag for one unit; 304 when neither the flags nor the context have changed.
pub(crate) async fn evaluate_flags(
    State(flags): State<Arc<Flags>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let (key, set) = enter(&flags, &headers, |all| all)?;
    let context = read(body, &set)?;
    // One address for all units: the tag tells their answers apart. The key is in it because the streams are named by it.
    let etag = etag::etag(&hash_bytes(format!("{}\0{key}\0{}", set.date, context.hash).as_bytes()));
    if etag::is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let count = set.features();
    let body = if count <= MAX_INLINE_FLAGS {
        all(&set, &key, &context)
    } else {
        let turn = flags.long_work().await.map_err(|error| Refusal::internal(&error))?;
        let working = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            all(&set, &key, &context)
        });
        working.await.map_err(|error| Refusal::internal(&error))?
    };
    let body = body.map_err(|error| Refusal::internal(&error))?;
    flags.figures.count(Protocol::OfrepBulk, count);
    Ok(([(header::ETAG, etag)], answer(body)).into_response())
}

fn all(set: &FlagSet, client_key: &str, context: &OfrepContext) -> Result<Vec<u8>, serde_json::Error> {
    let flags = set.compiled.features().map(|key| ofrep_answer::evaluate(set, key, context));
    let request_uri = format!("/ofrep/v1/events/{}", escape(client_key));
    json(&Bulk {
        flags: flags.collect(),
        metadata: BulkMetadata { revision: set.revision },
        event_streams: [EventStream {
            r#type: "sse",
            endpoint: Endpoint { request_uri },
            inactivity_delay_sec: INACTIVITY_DELAY_S,
        }],
    })
}

/// Percent-encodes all but what every part of an address may hold (RFC 3986, section 2.3).
fn escape(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
