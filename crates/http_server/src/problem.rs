//! How an error leaves over HTTP: RFC 9457 `application/problem+json`.
//!
//! In: anything that implements [`domain::Problem`].  Out: a response whose status derives from the error's kind.
//! Never here: the detail of internal faults; it is logged under the request id and not sent.
//! Start at [`ProblemResponse`].

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::ErrorKind;

use crate::RequestId;

const INTERNAL_DETAIL: &str = "the server met a fault of its own; it is logged under the request id";

/// What a handler returns as its error: `Result<Response, ProblemResponse>`, filled by `?` from a room's own error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProblemResponse {
    status: StatusCode,
    code: &'static str,
    detail: String,
    next: Option<String>,
    /// What the log gets instead of `detail`; never sent.
    hidden: Option<String>,
}

/// The body as RFC 9457 names it, with our extensions `code`, `next` and `request_id`.
#[derive(serde::Serialize)]
struct Body<'a> {
    r#type: String,
    title: String,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// The status of an error that says no more than its kind.
pub(crate) fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Refused => StatusCode::FORBIDDEN,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl<E: domain::Problem> From<E> for ProblemResponse {
    fn from(error: E) -> Self {
        Self::with_status(status_of(error.kind()), &error)
    }
}

impl ProblemResponse {
    /// For errors whose status says more than their kind, such as 413 and 401.
    pub fn with_status(status: StatusCode, error: &impl domain::Problem) -> Self {
        let (code, next) = (error.code(), error.help());
        match error.kind() {
            ErrorKind::Internal => {
                Self { status, code, detail: INTERNAL_DETAIL.to_owned(), next: None, hidden: Some(error_chain(error)) }
            }
            ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Unavailable
            | ErrorKind::Refused => Self { status, code, detail: error.to_string(), next, hidden: None },
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What is logged and not sent.
    pub(crate) fn hidden(&self) -> Option<&str> {
        self.hidden.as_deref()
    }

    /// The JSON text.
    pub(crate) fn body(&self, request_id: Option<&RequestId>) -> String {
        let body = Body {
            r#type: format!("urn:montauk:problem:{}", self.code),
            title: title(self.code),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            next: self.next.as_deref(),
            request_id: request_id.map(RequestId::as_str),
        };
        // Texts and one number always have a JSON form.
        serde_json::to_string(&body).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl IntoResponse for ProblemResponse {
    /// The gate writes the body anew with the request id; the problem travels to it as an extension.
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body(None)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// `no_such_item` → `No such item`.
fn title(code: &str) -> String {
    let mut title = code.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

/// The error and everything that caused it, for the log.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push_str(": ");
        chain.push_str(&cause.to_string());
        source = cause.source();
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("item `{0}` is secret")]
    struct Fault(&'static str, ErrorKind);

    impl domain::Problem for Fault {
        fn kind(&self) -> ErrorKind {
            self.1
        }
        fn code(&self) -> &'static str {
            "no_such_item"
        }
        fn help(&self) -> Option<String> {
            Some("ask for another".to_owned())
        }
    }

    fn check(kind: ErrorKind, expected: &str) {
        let problem = ProblemResponse::from(Fault("x", kind));
        let request_id = RequestId::accept_or_make(Some("r-1"));
        assert_eq!(problem.body(Some(&request_id)), expected);
    }

    #[test]
    fn the_status_derives_from_the_kind_and_internal_detail_stays_inside() {
        check(
            ErrorKind::NotFound,
            r#"{"type":"urn:montauk:problem:no_such_item","title":"No such item","status":404,"detail":"item `x` is secret","code":"no_such_item","next":"ask for another","request_id":"r-1"}"#,
        );
        check(
            ErrorKind::Internal,
            r#"{"type":"urn:montauk:problem:no_such_item","title":"No such item","status":500,"detail":"the server met a fault of its own; it is logged under the request id","code":"no_such_item","request_id":"r-1"}"#,
        );
        assert_eq!(ProblemResponse::from(Fault("x", ErrorKind::Internal)).hidden(), Some("item `x` is secret"));
    }
}
