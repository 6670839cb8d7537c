//! The service that the API and the command line call.
//!
//! In: a place for the store.  Out: a [`Control`]; its methods stand beside what they are about: `experiments`, `things`, `qa`, `tokens`,
//! `audit`, `drift`, `publish`.
//! Never here: HTTP, words for people.
//! Start at [`Control::open`].

use std::path::Path;

use crate::error::ControlError;
use crate::store::Store;

/// What people decide. Cheap to clone; every method takes who acts and what time it is.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) store: Store,
}

impl Control {
    /// Opens `postgres://user:password@host/database`. Makes the tables if they are not there.
    ///
    /// Errors: `Store` when it cannot be reached; `NewerSchema` when a newer Montauk has been here.
    pub async fn open(url: &str) -> Result<Self, ControlError> {
        Ok(Self { store: Store::open(url).await? })
    }

    /// Opens an SQLite file such as `.montauk/control.db`. Makes the file, its directory and the tables if they are not there. Errors: see
    /// [`Control::open`].
    pub async fn open_file(path: &Path) -> Result<Self, ControlError> {
        Ok(Self { store: Store::open_file(path).await? })
    }

    /// The number of the newest change: equal numbers mean that nothing has changed.
    pub async fn newest_change(&self) -> Result<u64, ControlError> {
        self.store.newest().await
    }
}

/// A name that stands in URLs, files and logs.
///
/// Errors: nothing, more than 200 bytes, white space, control characters, or one of `/?#%\`.
pub(crate) fn check_key(field: &'static str, key: &str) -> Result<(), ControlError> {
    /// Names of files end at 255 bytes; some letters are escaped in URLs.
    const MOST: usize = 200;
    let problem = if key.is_empty() {
        "give it a name"
    } else if key.len() > MOST {
        "write at most 200 bytes"
    } else if key.chars().any(|c| c.is_whitespace() || c.is_control() || "/?#%\\".contains(c)) {
        "leave out white space, control characters and `/ ? # % \\`"
    } else {
        return Ok(());
    };
    let value = key.chars().take(MOST).collect();
    Err(ControlError::Invalid { field, value, problem: problem.to_owned() })
}

/// A record holds a file's values a few levels deeper than they came in, its snapshot as well, and JSON is read to 127 levels only: what is
/// accepted must always be read again.
const SPARE_LEVELS: usize = 20;

/// Errors: a record that is larger than a megabyte, or nested too deeply.
pub(crate) fn check_size(field: &'static str, key: &str, record: &impl serde::Serialize) -> Result<(), ControlError> {
    /// A variant's value may be a whole page; a record of ten of them still travels in one answer.
    const MOST_BYTES: usize = 1 << 20;
    let text = serde_json::to_string(record).unwrap_or_default();
    let nested = format!("{}{text}{}", "[".repeat(SPARE_LEVELS), "]".repeat(SPARE_LEVELS));
    let problem = if text.len() > MOST_BYTES {
        format!("it has {} bytes; keep it below {MOST_BYTES}", text.len())
    } else if serde_json::from_str::<serde_json::Value>(&nested).is_err() {
        "its values are nested too deeply; keep them below 100 levels".to_owned()
    } else {
        return Ok(());
    };
    Err(ControlError::Invalid { field, value: key.to_owned(), problem })
}
