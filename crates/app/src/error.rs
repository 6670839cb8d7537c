//! What can go wrong at the command line itself, beside what the steps report.
//!
//! In: errors of the rooms.  Out: [`AppError`], which has a kind, a code and a next step.
//! Never here: how it looks (`output`), exit codes (`exit`).
//! Start at [`AppError`].

use domain::{ErrorKind, Problem};
use pipeline::PipelineError;

/// What ends a command.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The arguments fit the grammar and make no sense together.
    #[error("{message}")]
    Usage { message: String, help: String },
    /// Standard output or a file named on the command line.
    #[error("cannot {action}: {reason}")]
    Io { action: String, reason: String },
    /// `demo` was pointed at a project that is not its own.
    #[error("`{dir}` holds the project `{name}`, which is not the demo's")]
    NotTheDemo { dir: String, name: String },
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error("{message}")]
    Room { kind: ErrorKind, code: &'static str, message: String, help: Option<String> },
    #[error("{what}: {reason}")]
    Internal { what: &'static str, reason: String },
}

impl AppError {
    /// Something of the operating system, outside the project.
    pub fn io(action: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Io { action: action.into(), reason: error.to_string() }
    }

    /// An error of a room that `app` calls without a step between.
    pub fn room(problem: &dyn Problem) -> Self {
        Self::Room { kind: problem.kind(), code: problem.code(), message: problem.to_string(), help: problem.help() }
    }
}

impl Problem for AppError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage { .. } => ErrorKind::Invalid,
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::NotTheDemo { .. } => ErrorKind::Refused,
            Self::Pipeline(error) => error.kind(),
            Self::Room { kind, .. } => *kind,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::Io { .. } => "io_failed",
            Self::NotTheDemo { .. } => "not_the_demo",
            Self::Pipeline(error) => error.code(),
            Self::Room { code, .. } => code,
            Self::Internal { .. } => "internal",
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Usage { help, .. } => Some(help.clone()),
            Self::Pipeline(error) => error.help(),
            Self::Room { help, .. } => help.clone(),
            Self::NotTheDemo { .. } => Some(
                "name another directory with `-C`, or run the steps one by one: `montauk extract`, `copy`, `build` …"
                    .to_owned(),
            ),
            Self::Io { .. } => Some("check that the path exists, and that this user may read and write it".to_owned()),
            Self::Internal { .. } => None,
        }
    }
}
