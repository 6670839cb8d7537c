//! What every request passes on its way in and out, whichever room answers it.
//!
//! In: a routed request.  Out: its answer with `x-request-id`; errors as problems; one line of access log; counters.
//! Never here: limits on connections and heads (`server`, `connection`), what a route means.
//! Start at [`wrap`].

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use crate::connection::ConnectionState;
use crate::{Limits, ProblemResponse, Rejection, RequestId, Telemetry, request_id};

/// Longest path that a problem repeats: enough to recognise it, too short to abuse the log.
const MAX_PATH_CHARS: usize = 200;

struct Gate {
    limits: Limits,
    telemetry: Telemetry,
}

/// Puts the gate around all routes, also around those that do not exist.
pub(crate) fn wrap(routes: Router, limits: Limits, telemetry: Telemetry) -> Router {
    let max_body_bytes = limits.max_body_bytes;
    routes
        .fallback(|uri: Uri| {
            let path = uri.path().chars().take(MAX_PATH_CHARS).collect();
            std::future::ready(Rejection::NoSuchRoute { path })
        })
        .method_not_allowed_fallback(|method: Method| {
            std::future::ready(Rejection::MethodNotAllowed { method: method.to_string() })
        })
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .layer(axum::middleware::from_fn_with_state(Arc::new(Gate { limits, telemetry }), pass))
}

async fn pass(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let from_client = request.headers().get(request_id::HEADER).and_then(|value| value.to_str().ok());
    let request_id = RequestId::accept_or_make(from_client);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    // The path without the query: a query may carry what should not be in a log.
    let path = tracing::enabled!(target: "access", tracing::Level::INFO).then(|| request.uri().path().to_owned());
    request.extensions_mut().insert(request_id.clone());

    let response = match gate.inspect(&request) {
        Ok(()) => gate.answer(request, next).await,
        Err(rejection) => close_after(rejection.into_response()),
    };
    let response = seal(response, &request_id, gate.limits.max_body_bytes);
    let elapsed = started.elapsed();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    gate.telemetry.record(route, &method, response.status(), elapsed);
    if let Some(path) = path {
        tracing::info!(target: "access", %method, path, route, status = response.status().as_u16(),
            elapsed_us = elapsed.as_micros() as u64, request_id = request_id.as_str());
    }
    response
}

impl Gate {
    /// What can be said before the handler runs.
    fn inspect(&self, request: &Request) -> Result<(), Rejection> {
        let connection = request.extensions().get::<Arc<ConnectionState>>();
        if let Some(violation) = connection.and_then(|connection| connection.violation()) {
            return Err(Rejection::BadFraming { fault: violation.describe() });
        }
        // RFC 9112, section 3.2: exactly one in HTTP/1.1, at most one before.
        let hosts = request.headers().get_all(header::HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            return Err(Rejection::BadHost { found: hosts });
        }
        let limit_bytes = self.limits.max_body_bytes;
        match request.body().size_hint().exact() {
            Some(bytes) if bytes > limit_bytes as u64 => Err(Rejection::BodyTooLarge { limit_bytes }),
            Some(_) | None => Ok(()),
        }
    }

    /// Runs the handler within its time; a panic of it is an answer, too.
    async fn answer(&self, request: Request, next: Next) -> Response {
        let has_body = !request.body().is_end_stream();
        let limit_ms = self.limits.request_timeout.as_millis();
        let handler = AssertUnwindSafe(next.run(request)).catch_unwind();
        match tokio::time::timeout(self.limits.request_timeout, handler).await {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => Rejection::Panicked { message: panic_message(&*panic) }.into_response(),
            // With a body still on its way we cannot tell whose fault it is, and blame the one we can advise.
            Err(_) if has_body => close_after(Rejection::SlowBody { limit_ms }.into_response()),
            Err(_) => Rejection::RequestTimeout { limit_ms }.into_response(),
        }
    }
}

/// Gives the answer its request id, and makes a problem of every error that is none yet (those of axum's extractors).
fn seal(response: Response, request_id: &RequestId, limit_bytes: usize) -> Response {
    let status = response.status();
    let mut response = match response.extensions().get::<ProblemResponse>().cloned() {
        Some(problem) => write_problem(response, &problem, request_id),
        None if is_foreign_error(&response) => {
            let rejection = match status {
                StatusCode::PAYLOAD_TOO_LARGE => Rejection::BodyTooLarge { limit_bytes },
                _ => Rejection::NotUnderstood {
                    status,
                    detail: status.canonical_reason().unwrap_or("unknown").to_lowercase(),
                },
            };
            write_problem(response, &rejection.problem(), request_id)
        }
        None => response,
    };
    // The id was checked to be plain ASCII, so this always holds.
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(request_id::HEADER, value);
    }
    response
}

/// A plain-text or empty error answer; JSON ones, such as that of `/readyz`, were meant so.
fn is_foreign_error(response: &Response) -> bool {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    (status.is_client_error() || status.is_server_error())
        && !kind.is_some_and(|kind| kind.starts_with("application/json"))
}

/// Replaces the body and keeps other headers, such as `Allow`.
fn write_problem(response: Response, problem: &ProblemResponse, request_id: &RequestId) -> Response {
    if let Some(hidden) = problem.hidden() {
        tracing::error!(code = problem.code(), request_id = request_id.as_str(), "{hidden}");
    }
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    Response::from_parts(parts, Body::from(problem.body(Some(request_id))))
}

/// After a request whose end is unknown or unwanted, the connection cannot be used again.
fn close_after(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
