//! What can go wrong in this room, split by what the caller can do about it.
//!
//! In: nothing.  Out: [`ServingError`] with kind, code and next step; `http_server` makes problems of them.
//! Never here: HTTP status codes.
//! Start at [`ServingError`].

use std::path::{Path, PathBuf};

use domain::{ErrorKind, IdError, Problem};
use recommend::{ConditionError, RecommendError};

use crate::query::{MAX_FILTER_BYTES, MAX_LIMIT, MAX_PROFILE_BYTES};

/// What can go wrong while answering, or while loading what answers.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    #[error("`limit` is `{value}`, but must be a whole number from 1 to {MAX_LIMIT}")]
    BadLimit { value: String },
    #[error("`explain` is `{value}`, but must be `true` or `false`")]
    BadExplain { value: String },
    #[error("`filter` is longer than {MAX_FILTER_BYTES} bytes")]
    LongFilter,
    #[error(transparent)]
    BadFilter(#[from] ConditionError),
    #[error("`profile.{column}` is `{value}`, but must be 1 to {MAX_PROFILE_BYTES} bytes")]
    BadProfile { column: String, value: String },
    #[error("lists do not depend on a column `{column}` of users")]
    UnknownColumn { column: String, known: Vec<String> },
    #[error("`{name}` is not a parameter here")]
    UnknownParameter { name: String },
    #[error(transparent)]
    BadId(#[from] IdError),
    #[error("there is no item `{item}`")]
    NoSuchItem { item: String },
    #[error("no artefact is loaded yet")]
    NotReady,
    #[error("no snapshot of experiments is published yet")]
    NoExperiments,
    #[error("`{name}` is not a parameter here")]
    UnknownAttribute { name: String },
    #[error("the name of the unit is longer than 256 bytes")]
    LongUnit,

    #[error("nothing is promoted{} in `{}`", of(recommender.as_deref()), directory.display())]
    NothingPromoted { recommender: Option<String>, directory: PathBuf },
    #[error("there is no complete feed in `{}`", directory.display())]
    NoFeed { directory: PathBuf },
    #[error("`{}` is damaged: {detail}", path.display())]
    Corrupt { path: PathBuf, detail: String },
    #[error("`{}` has format version {found}, and this program reads {supported}", path.display())]
    FormatVersion { path: PathBuf, found: u64, supported: u32 },
    #[error("artefact and feed together are of no use: {detail}")]
    Unusable { detail: String },
    #[error("the experiments in `{}` cannot be served: {detail}", path.display())]
    Experiments { path: PathBuf, detail: String },
    #[error(transparent)]
    Artefact(#[from] RecommendError),
    #[error("cannot read `{}`: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the thread that loads or ranks has ended early: {detail}")]
    Thread { detail: String },
}

impl ServingError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn corrupt(path: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), detail: detail.into() }
    }

    pub(crate) fn thread(error: &tokio::task::JoinError) -> Self {
        Self::Thread { detail: error.to_string() }
    }
}

/// ` for `ease``, or nothing when any would do.
fn of(recommender: Option<&str>) -> String {
    recommender.map_or(String::new(), |name| format!(" for `{name}`"))
}

impl Problem for ServingError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::BadLimit { .. }
            | Self::BadExplain { .. }
            | Self::UnknownParameter { .. }
            | Self::LongFilter
            | Self::BadFilter(_)
            | Self::BadProfile { .. }
            | Self::UnknownColumn { .. }
            | Self::BadId(_)
            | Self::UnknownAttribute { .. }
            | Self::LongUnit
            | Self::Corrupt { .. }
            | Self::FormatVersion { .. } => ErrorKind::Invalid,
            Self::NoSuchItem { .. } | Self::NothingPromoted { .. } | Self::NoFeed { .. } => ErrorKind::NotFound,
            Self::NotReady | Self::NoExperiments | Self::Io { .. } => ErrorKind::Unavailable,
            Self::Unusable { .. } | Self::Experiments { .. } => ErrorKind::Refused,
            Self::Artefact(error) => error.kind(),
            Self::Thread { .. } => ErrorKind::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadLimit { .. } => "bad_limit",
            Self::BadExplain { .. } => "bad_explain",
            Self::UnknownParameter { .. } | Self::UnknownAttribute { .. } => "unknown_parameter",
            Self::LongFilter | Self::BadFilter(_) => "bad_filter",
            Self::BadProfile { .. } | Self::UnknownColumn { .. } => "bad_profile",
            Self::BadId(_) | Self::LongUnit => "bad_id",
            Self::NoSuchItem { .. } => "no_such_item",
            Self::NotReady => "not_ready",
            Self::NoExperiments => "no_experiments",
            Self::Experiments { .. } => "experiments_unusable",
            Self::NothingPromoted { .. } => "nothing_promoted",
            Self::NoFeed { .. } => "no_feed",
            Self::Corrupt { .. } => "serving_file_damaged",
            Self::FormatVersion { .. } => "serving_format_version",
            Self::Unusable { .. } => "snapshot_unusable",
            Self::Artefact(error) => error.code(),
            Self::Io { .. } => "serving_io",
            Self::Thread { .. } => "internal_fault",
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::BadLimit { .. } => format!("ask for `?limit=10`, or leave it out; at most {MAX_LIMIT}"),
            Self::BadExplain { .. } => "leave it out: reasons are shown unless `?explain=false`".to_owned(),
            Self::UnknownParameter { .. } => "use `limit`, `explain`, `filter` and `profile.<column>`".to_owned(),
            Self::BadProfile { .. } => {
                "write a value as the users table has it, such as `profile.country=Germany`".to_owned()
            }
            Self::UnknownColumn { known, .. } if known.is_empty() => {
                "leave it out: the recommender that serves looks at no column of users".to_owned()
            }
            Self::UnknownColumn { known, .. } => format!("use one of: {}", known.join(", ")),
            Self::BadFilter(ConditionError::UnknownAttribute { known, .. }) => {
                format!("use one of: {}", known.join(", "))
            }
            Self::LongFilter | Self::BadFilter(_) => {
                "write it like `category in ('mugs', 'plates') and price < 10`, percent-encoded".to_owned()
            }
            Self::UnknownAttribute { .. } => "use `attribute.<name>`, such as `attribute.country=DE`".to_owned(),
            Self::BadId(_) | Self::LongUnit => "check the id in the path, and that it is percent-encoded".to_owned(),
            Self::NoSuchItem { .. } => "check the id; items come from the items table of the feed".to_owned(),
            Self::NoExperiments => "start an experiment; the snapshot is published with it".to_owned(),
            Self::Experiments { .. } => "mend what it names, and publish again; the last good revision serves on".to_owned(),
            Self::NotReady => "try again shortly; `/readyz` says what is missing".to_owned(),
            Self::NothingPromoted { .. } => {
                "train one and let it be evaluated: `montauk train`, then `montauk evaluate`; or publish a snapshot of experiments, which is served alone as well".to_owned()
            }
            Self::NoFeed { .. } => "write one: `montauk publish`".to_owned(),
            Self::Corrupt { .. } | Self::FormatVersion { .. } => {
                "publish and train again: `montauk publish` and `montauk train`; a snapshot of experiments comes again with its next change".to_owned()
            }
            Self::Unusable { .. } => "look at the items table, and at `[rerank]` of the recommender's file".to_owned(),
            Self::Artefact(error) => return error.help(),
            Self::Io { .. } => "mend the file or its permissions".to_owned(),
            Self::Thread { .. } => return None,
        };
        Some(help)
    }
}
