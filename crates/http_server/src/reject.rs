//! What the server itself says no to, before or instead of a room's handler.
//!
//! In: a request, or a plain error answer of axum.  Out: a [`Rejection`] with its HTTP status.
//! Never here: errors of a room; those come as [`domain::Problem`].
//! Start at [`Rejection`].

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{ErrorKind, Problem};

use crate::ProblemResponse;

/// Why the server refused or gave up a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is nothing at `{path}`")]
    NoSuchRoute { path: String },
    #[error("`{method}` is not answered here")]
    MethodNotAllowed { method: String },
    #[error("the body is larger than {limit_bytes} bytes")]
    BodyTooLarge { limit_bytes: usize },
    #[error("the body did not arrive within {limit_ms} ms")]
    SlowBody { limit_ms: u128 },
    #[error("the answer was not ready within {limit_ms} ms")]
    RequestTimeout { limit_ms: u128 },
    #[error("{fault}")]
    BadFraming { fault: &'static str },
    #[error("the request has {found} `Host` headers, not one")]
    BadHost { found: usize },
    #[error("the server has reached its limit of open connections")]
    TooManyConnections,
    #[error("the handler panicked: {message}")]
    Panicked { message: String },
    #[error("the request was not understood: {detail}")]
    NotUnderstood { status: StatusCode, detail: String },
}

impl Problem for Rejection {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchRoute { .. } => ErrorKind::NotFound,
            Self::MethodNotAllowed { .. }
            | Self::BodyTooLarge { .. }
            | Self::SlowBody { .. }
            | Self::BadFraming { .. }
            | Self::BadHost { .. } => ErrorKind::Invalid,
            Self::RequestTimeout { .. } | Self::TooManyConnections => ErrorKind::Unavailable,
            Self::Panicked { .. } => ErrorKind::Internal,
            Self::NotUnderstood { status, .. } if status.is_server_error() => ErrorKind::Internal,
            Self::NotUnderstood { .. } => ErrorKind::Invalid,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoSuchRoute { .. } => "no_such_route",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::SlowBody { .. } => "slow_body",
            Self::RequestTimeout { .. } => "request_timeout",
            Self::BadFraming { .. } => "bad_framing",
            Self::BadHost { .. } => "bad_host",
            Self::TooManyConnections => "too_many_connections",
            Self::Panicked { .. } => "internal_fault",
            Self::NotUnderstood { status, .. } if status.is_server_error() => "internal_fault",
            Self::NotUnderstood { .. } => "bad_request",
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::NoSuchRoute { .. } => "check the path; it is case sensitive and has no trailing slash",
            Self::MethodNotAllowed { .. } => "use a method named in the `Allow` header",
            Self::BodyTooLarge { .. } => "send less, or in several requests",
            Self::SlowBody { .. } => "send the whole body without pauses",
            Self::RequestTimeout { .. } | Self::TooManyConnections => "try again after the time in `Retry-After`",
            Self::BadFraming { .. } | Self::BadHost { .. } => "send the head as RFC 9112 describes it",
            Self::Panicked { .. } | Self::NotUnderstood { .. } => return None,
        };
        Some(help.to_owned())
    }
}

impl Rejection {
    fn status(&self) -> StatusCode {
        match self {
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::NotUnderstood { status, .. } => *status,
            Self::NoSuchRoute { .. }
            | Self::RequestTimeout { .. }
            | Self::BadFraming { .. }
            | Self::BadHost { .. }
            | Self::TooManyConnections
            | Self::Panicked { .. } => crate::problem::status_of(self.kind()),
        }
    }

    /// The problem to send.
    pub(crate) fn problem(&self) -> ProblemResponse {
        ProblemResponse::with_status(self.status(), self)
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}
