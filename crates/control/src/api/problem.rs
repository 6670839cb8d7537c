//! How errors look in the document; they are written by `http_server`.
//!
//! In: nothing.  Out: the schema of a problem.
//! Never here: writing problems.
//! Start at [`Problem`].

use serde::Serialize;

/// What went wrong (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:montauk:problem:<code>`.
    pub r#type: String,
    pub title: String,
    pub status: u16,
    /// One sentence, with the value that is wrong.
    pub detail: String,
    /// Stable; what programs look at.
    pub code: String,
    /// What to do.
    #[schema(required = false)]
    pub next: Option<String>,
    /// Under which it stands in the log.
    #[schema(required = false)]
    pub request_id: Option<String>,
}
