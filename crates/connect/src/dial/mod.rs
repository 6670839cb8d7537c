//! Opening connections to databases, and sorting what their drivers report.
//!
//! In: a resolved URL.  Out: a connection, or a [`crate::ConnectError`] that names host, user and database, never the password.
//! Never here: statements of sources and destinations.
//! Start at [`mysql`].

pub(crate) mod mysql;
pub(crate) mod postgres;

use std::time::Duration;

use url::Url;

use crate::ConnectError;

/// A server that has not answered by then is reported as unreachable.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Parses a database URL with one of `schemes`; the error shows the scheme at most, since the text may hold a password.
pub(crate) fn parse_url(text: &str, schemes: &[&str]) -> Result<Url, ConnectError> {
    let shown = text.split_once("://").map_or("…".to_owned(), |(scheme, _)| format!("{scheme}://…"));
    let bad = |reason: &str| ConnectError::BadUrl { url: shown.clone(), reason: reason.to_owned() };
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    if !schemes.contains(&url.scheme()) {
        return Err(bad(&format!("its scheme must be one of {}", schemes.join(", "))));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("it names no host"));
    }
    Ok(url)
}

/// One part of a URL without its percent-encoding.
pub(crate) fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// The name among `candidates` that is most like `wanted`, when one is like it at all.
pub(crate) fn nearest(wanted: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    // 0.7 on the Jaro–Winkler scale separates typing errors from other names; found by trying on table names.
    let scored =
        candidates.into_iter().map(|name| (strsim::jaro_winkler(&name.to_lowercase(), &wanted.to_lowercase()), name));
    scored.filter(|(score, _)| *score > 0.7).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name)
}
