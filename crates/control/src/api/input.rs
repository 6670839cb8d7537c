//! Bodies and queries, read so that a mistake is a problem with the place of the mistake.
//!
//! In: a request.  Out: a struct, or 400 with the path inside the document.
//! Never here: what the values mean.
//! Start at [`Body`].

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use http_server::ProblemResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ControlError;

/// A JSON body.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

/// The query of a URL.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

/// Parts of the path.
#[derive(Debug)]
pub(super) struct Place<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Unreadable;

    async fn from_request(request: Request, state: &S) -> Result<Self, Unreadable> {
        let Json(body) = Json::from_request(request, state).await?;
        Ok(Self(body))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Unreadable;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Unreadable> {
        let Query(params) = Query::from_request_parts(parts, state).await?;
        Ok(Self(params))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Place<T> {
    type Rejection = Unreadable;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Unreadable> {
        let Path(place) = Path::from_request_parts(parts, state).await?;
        Ok(Self(place))
    }
}

/// What could not be read.
#[derive(Debug)]
pub(super) struct Unreadable(ProblemResponse);

impl axum::response::IntoResponse for Unreadable {
    fn into_response(self) -> axum::response::Response {
        self.0.into_response()
    }
}

fn unreadable(field: &'static str, problem: String) -> Unreadable {
    Unreadable(ControlError::Unreadable { field, problem }.into())
}

impl From<JsonRejection> for Unreadable {
    fn from(rejection: JsonRejection) -> Self {
        unreadable("body", rejection.body_text())
    }
}

impl From<QueryRejection> for Unreadable {
    fn from(rejection: QueryRejection) -> Self {
        unreadable("query", rejection.body_text())
    }
}

impl From<PathRejection> for Unreadable {
    fn from(rejection: PathRejection) -> Self {
        unreadable("path", rejection.body_text())
    }
}

/// What a removal has to say.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removal {
    /// The revision that was seen.
    pub(super) revision: u64,
    /// Kept in the audit log.
    #[serde(default)]
    pub(super) reason: String,
}

/// When an edge of an analysis lies.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Until {
    /// What happened from this moment on does not count; the end of today if absent.
    pub(super) until: Option<DateTime<Utc>>,
}
