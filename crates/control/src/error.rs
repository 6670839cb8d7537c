//! What can go wrong with a decision.
//!
//! In: nothing.  Out: [`ControlError`].
//! Never here: HTTP status and exit codes; they derive from the kind.
//! Start at [`ControlError`].

use domain::{ErrorKind, Problem};
use experiment::assign::AssignError;
use experiment::lifecycle::{Blocker, LifecycleError};

use crate::people::Role;

/// What can go wrong with a decision.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("there is no {kind} `{key}`")]
    NotFound { kind: &'static str, key: String },
    #[error("there is a {kind} `{key}` already; edit it, or choose another key")]
    Exists { kind: &'static str, key: String },
    #[error("{kind} `{key}` is at revision {current} and you saw revision {seen}; read it again and repeat the change")]
    Stale { kind: &'static str, key: String, seen: u64, current: u64 },
    #[error(
        "the group `{group}`, which the audience of `{key}` names, was changed by revision {changed}, after the revision {seen} that you saw; read the group, `reject` this revision, and approve the next one"
    )]
    GroupChanged { group: String, key: String, changed: u64, seen: u64 },
    #[error("the store is at change {current} and the plan was made at change {planned}; plan again")]
    StalePlan { planned: u64, current: u64 },
    #[error("`{person}` is {} and may not {what}; ask somebody who is {}", role.name(), needed.name())]
    Forbidden { person: String, role: Role, what: &'static str, needed: Role },
    #[error("`{person}` may not {what} in the project `{project}`; ask an admin for the project")]
    OtherProject { person: String, what: &'static str, project: String },
    #[error(
        "`{person}` is limited to some projects and may not {what} that belong to all; name a project, or ask somebody who is not"
    )]
    NotEverywhere { person: String, what: &'static str },
    #[error("{most} simulations run already, as many as there are processors; try again when one has ended")]
    Busy { most: usize },
    #[error("the token is unknown, revoked or expired; make a new one with `montauk token create`")]
    Unauthenticated,
    #[error("`{field}` cannot be `{value}`: {problem}")]
    Invalid { field: &'static str, value: String, problem: String },
    #[error("the {field} of the request cannot be read: {problem}")]
    Unreadable { field: &'static str, problem: String },
    #[error("{detail}")]
    Analysis { kind: ErrorKind, code: &'static str, detail: String, next: Option<String> },
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error("`{key}` cannot start: {} still to mend, first of all `{}`", blockers.len(), blocker_code(blockers))]
    NotReady { key: String, blockers: Vec<Blocker> },
    #[error("{kind} `{key}` is used by {by}; change that first")]
    InUse { kind: &'static str, key: String, by: String },
    #[error(
        "`{key}` still serves the value of `{arm}`, which is not the default of `{flag}`; choose `make_default`, or set the default first"
    )]
    StillServed { key: String, arm: String, flag: String },
    #[error("`{key}` comes from the file `{path}`; change the file and apply it")]
    ManagedByCode { key: String, path: String },
    #[error("the plan is blocked by `{field}` of `{key}`: {reason}")]
    Blocked { key: String, field: String, reason: String },
    #[error(transparent)]
    Program(AssignError),
    #[error("the store has schema {found} and this program knows {known}; upgrade Montauk")]
    NewerSchema { found: i64, known: i64 },
    #[error("the store cannot be reached: {0}")]
    Store(#[from] sqlx::Error),
    #[error("`{path}` cannot be written: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("{kind} `{key}` in the store cannot be read: {source}")]
    Document { kind: &'static str, key: String, source: serde_json::Error },
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
}

/// The code of the first blocker, as in JSON.
fn blocker_code(blockers: &[Blocker]) -> String {
    let code = blockers.first().and_then(|blocker| {
        let json = serde_json::to_value(blocker).ok()?;
        Some(json.get("code")?.as_str()?.to_owned())
    });
    code.unwrap_or_default()
}

impl From<AssignError> for ControlError {
    fn from(error: AssignError) -> Self {
        Self::Program(error)
    }
}

impl Problem for ControlError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. }
            | Self::Stale { .. }
            | Self::GroupChanged { .. }
            | Self::StalePlan { .. }
            | Self::InUse { .. }
            | Self::StillServed { .. }
            | Self::ManagedByCode { .. }
            | Self::Blocked { .. } => ErrorKind::Conflict,
            Self::Forbidden { .. }
            | Self::OtherProject { .. }
            | Self::NotEverywhere { .. }
            | Self::Unauthenticated
            | Self::NotReady { .. } => ErrorKind::Refused,
            Self::Invalid { .. } | Self::Unreadable { .. } | Self::Program(_) => ErrorKind::Invalid,
            Self::Analysis { kind, .. } => *kind,
            Self::Lifecycle(error) => error.kind(),
            Self::NewerSchema { .. } | Self::Store(_) | Self::Io { .. } | Self::Busy { .. } => ErrorKind::Unavailable,
            Self::Document { .. } | Self::Random(_) => ErrorKind::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Exists { .. } => "exists",
            Self::Stale { .. } => "stale_revision",
            Self::GroupChanged { .. } => "group_changed",
            Self::StalePlan { .. } => "stale_plan",
            Self::Forbidden { .. } => "forbidden",
            Self::OtherProject { .. } | Self::NotEverywhere { .. } => "other_project",
            Self::Busy { .. } => "busy",
            Self::Unauthenticated => "unauthenticated",
            Self::Invalid { .. } => "invalid_value",
            Self::Unreadable { .. } => "unreadable_request",
            Self::Analysis { code, .. } => code,
            Self::Lifecycle(error) => error.code(),
            Self::NotReady { .. } => "not_ready",
            Self::InUse { .. } => "in_use",
            Self::StillServed { .. } => "still_served",
            Self::ManagedByCode { .. } => "managed_by_code",
            Self::Blocked { .. } => "plan_blocked",
            Self::Program(_) => "invalid_program",
            Self::NewerSchema { .. } => "newer_schema",
            Self::Store(_) => "store_unavailable",
            Self::Io { .. } => "file_unavailable",
            Self::Document { .. } => "document_unreadable",
            Self::Random(_) => "no_random",
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NotReady { key, .. } => Some(format!("`montauk experiment show {key}` lists what is missing")),
            Self::Lifecycle(error) => error.help(),
            Self::Analysis { next, .. } => next.clone(),
            Self::Unreadable { .. } => Some("`/api/v1/openapi.json` says what it may hold".to_owned()),
            Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::Stale { .. }
            | Self::GroupChanged { .. }
            | Self::StalePlan { .. }
            | Self::Forbidden { .. }
            | Self::OtherProject { .. }
            | Self::NotEverywhere { .. }
            | Self::Busy { .. }
            | Self::Unauthenticated
            | Self::Invalid { .. }
            | Self::InUse { .. }
            | Self::StillServed { .. }
            | Self::ManagedByCode { .. }
            | Self::Blocked { .. }
            | Self::Program(_)
            | Self::NewerSchema { .. }
            | Self::Store(_)
            | Self::Io { .. }
            | Self::Document { .. }
            | Self::Random(_) => None,
        }
    }
}
