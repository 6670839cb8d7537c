//! What a caller can do about an error: the closed set from which exit codes, HTTP status and retries derive.
//!
//! In: a room's own `thiserror` enum.  Out: an [`ErrorKind`] and a stable code, through [`Problem`].
//! Never here: HTTP or exit codes themselves; the doors (`app`, `http_server`) translate.
//! Start at [`ErrorKind`].

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request, file or value is wrong: change it.
    Invalid,
    /// The thing named does not exist: name another, or make it first.
    NotFound,
    /// Somebody else changed it meanwhile: read again and retry.
    Conflict,
    /// A system outside does not answer or refuses access: mend the connection and retry.
    Unavailable,
    /// A guard or a check said no: the data or a person must decide.
    Refused,
    /// A fault of Montauk.
    Internal,
}

/// An error that knows its kind, its stable code and the next step to take.
pub trait Problem: std::error::Error {
    /// What the caller can do.
    fn kind(&self) -> ErrorKind;
    /// A stable code in snake case, such as `no_such_table`; part of the public interface.
    fn code(&self) -> &'static str;
    /// The next step, as an imperative sentence or a command to run.
    fn help(&self) -> Option<String> {
        None
    }
}
