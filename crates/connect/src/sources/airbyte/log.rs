//! A connector's log lines on their way into ours, and the last of them for an error.
//!
//! In: lines as the connector wrote them.  Out: `tracing` events without secrets, short enough to read.
//! Its errors are warnings here: what they mean for the run is said by the run.
//! Never here: rows.
//! Start at [`line`].

use std::collections::VecDeque;

use super::secrets::Secrets;

/// Longest line that is shown, in characters; stack traces in one line are longer.
const MAX_CHARACTERS: usize = 2_000;
/// Lines of standard error that an error quotes.
const LAST_LINES: usize = 20;
/// Characters of them in all: a screen.
const LAST_CHARACTERS: usize = 1_500;

/// A LOG message, or a line that is no message; answers with what was shown.
pub(super) fn line(secrets: &Secrets, level: &str, text: &str) -> String {
    // Secrets go first: a cut in the middle of one would leave half of it.
    let text = shortened(&secrets.redact(text));
    match level {
        "FATAL" | "ERROR" => tracing::warn!(level, "{text}"),
        "WARN" => tracing::info!(level, "{text}"),
        "TRACE" => tracing::trace!(level, "{text}"),
        _ => tracing::debug!(level, "{text}"),
    }
    text
}

/// A line of standard error; answers with what was shown.
pub(super) fn error_line(secrets: &Secrets, text: &str) -> String {
    line(secrets, "STDERR", text)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The last lines of a stream of text.
#[derive(Debug, Default)]
pub(super) struct LastLines(VecDeque<String>);

impl LastLines {
    pub(super) fn add(&mut self, line: String) {
        if line.trim().is_empty() {
            return;
        }
        if self.0.len() == LAST_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    /// All of them.
    pub(super) fn text(self) -> String {
        Vec::from(self.0).join("\n")
    }
}

/// The end of a text of several lines, which says more than its beginning.
pub(super) fn tail(text: &str) -> &str {
    let skipped = text.chars().count().saturating_sub(LAST_CHARACTERS);
    text.char_indices().nth(skipped).map_or("", |(start, _)| &text[start..])
}
