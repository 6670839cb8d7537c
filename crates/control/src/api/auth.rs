//! Whose request it is.
//!
//! In: `Authorization: Bearer mtk_…`.  Out: an [`Actor`], or 401 with what to do.
//! Never here: what an actor may do (every call of `Control` asks that).
//! Start at [`Caller`].

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use http_server::ProblemResponse;

use super::Api;
use crate::{Actor, ControlError, Via};

/// How a console says that it is one; everything else is a program.
const CLIENT: HeaderName = HeaderName::from_static("montauk-client");

/// The actor of a request.
#[derive(Debug)]
pub(super) struct Caller(pub(super) Actor);

/// Why there is none.
#[derive(Debug)]
pub(super) struct Stranger(ControlError);

impl FromRequestParts<Api> for Caller {
    type Rejection = Stranger;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Stranger> {
        let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = token.ok_or(Stranger(ControlError::Unauthenticated))?;
        let is_console = parts.headers.get(CLIENT).is_some_and(|client| client == "console");
        let via = if is_console { Via::Console } else { Via::Api };
        api.control.authenticate(token.trim(), via, Utc::now()).await.map(Self).map_err(Stranger)
    }
}

impl IntoResponse for Stranger {
    fn into_response(self) -> Response {
        let is_unknown = matches!(self.0, ControlError::Unauthenticated);
        if !is_unknown {
            return ProblemResponse::from(self.0).into_response();
        }
        let mut response = ProblemResponse::with_status(StatusCode::UNAUTHORIZED, &self.0).into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        response
    }
}
