//! What can go wrong with a connector, split by what the caller can do.
//!
//! In: what the connector said or did, secrets already taken out.  Out: [`ConnectorProblem`], which can be told once per stream.
//! Never here: deciding what is a problem (`process`, `sync`, `catalog`).
//! Start at [`ConnectorProblem`].

use domain::ErrorKind;

/// Why a connector, or one of its streams, could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connector `{connector}` {what}")]
pub struct ConnectorProblem {
    /// Its name or image.
    connector: String,
    fault: Fault,
    /// The sentence after the connector's name.
    what: String,
}

/// The cases that need different next steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its program does not start.
    Missing,
    /// It refuses its settings.
    Config,
    /// Something beyond it failed and may work again.
    Transient,
    /// It failed by itself.
    Failed,
    /// It was silent for too long.
    Stalled,
    /// What it says is not the protocol, or contradicts itself.
    Protocol,
    /// It ended a stream, or itself, without saying that all is there.
    Incomplete,
    /// It has no such stream.
    NoSuchStream { nearest: Option<String> },
    /// The stream cannot be read in the way that was asked for.
    Stream { next: String },
}

impl ConnectorProblem {
    pub(super) fn new(connector: &str, fault: Fault, what: impl Into<String>) -> Self {
        Self { connector: connector.to_owned(), fault, what: what.into() }
    }

    /// Who can do something about it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self.fault {
            Fault::Config | Fault::Stream { .. } => ErrorKind::Invalid,
            Fault::Missing | Fault::NoSuchStream { .. } => ErrorKind::NotFound,
            Fault::Transient | Fault::Failed | Fault::Stalled | Fault::Incomplete => ErrorKind::Unavailable,
            Fault::Protocol => ErrorKind::Refused,
        }
    }

    /// A stable name.
    pub(crate) fn code(&self) -> &'static str {
        match self.fault {
            Fault::Missing => "no_such_connector",
            Fault::Config => "connector_config",
            Fault::Transient => "connector_transient",
            Fault::Failed => "connector_failed",
            Fault::Stalled => "connector_stalled",
            Fault::Protocol => "connector_protocol",
            Fault::Incomplete => "stream_incomplete",
            Fault::NoSuchStream { .. } => "no_such_stream",
            Fault::Stream { .. } => "stream_unusable",
        }
    }

    /// What to do next.
    pub(crate) fn help(&self) -> String {
        let goes_on = "what its last state covers is staged, and the next run goes on from there";
        match &self.fault {
            Fault::Missing => "install it, or correct `command` in the source file; its first word is a program".to_owned(),
            Fault::Config => "correct `[config]` in the source file, or the environment variables it names".to_owned(),
            Fault::Transient => format!("run again later; {goes_on}"),
            Fault::Failed => format!("look at its log with `-vv`, then run again; {goes_on}"),
            Fault::Stalled => "look at its log with `-vv`; if it is only slow, raise `stall_seconds` in the source file".to_owned(),
            Fault::Protocol => {
                "nothing that depends on it was staged; use another version of the connector, or report it to its makers".to_owned()
            }
            Fault::Incomplete => format!("run again; {goes_on}"),
            Fault::NoSuchStream { nearest: Some(nearest) } => format!("did you mean `{nearest}`?"),
            Fault::NoSuchStream { nearest: None } => "correct `stream` (and `namespace`) in the source file".to_owned(),
            Fault::Stream { next } => next.clone(),
        }
    }
}
