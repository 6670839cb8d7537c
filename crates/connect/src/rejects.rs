//! Collects the cells that no column type can carry, up to a limit.
//!
//! In: row, column, reason, original text.  Out: `domain::ExtractReject`s for the manifest.
//! Never here: deciding what is invalid (`sources`).
//! Start at [`RejectList::add`].

use domain::ExtractReject;

use crate::{ConnectError, InvalidDates};

/// Rejects that one extraction keeps. They stand in the manifest, at about 120 bytes each: 100,000 make it 12 MB, which COPY
/// still reads in one piece. A column with more is not damaged data but a habit of the source, and is better read as text.
pub(crate) const MAX_REJECTS: usize = 100_000;

/// Rejected cells of one extraction.
#[derive(Debug)]
pub(crate) struct RejectList {
    table: String,
    policy: InvalidDates,
    rejects: Vec<ExtractReject>,
}

impl RejectList {
    pub(crate) fn new(table: &str, policy: InvalidDates) -> Self {
        Self { table: table.to_owned(), policy, rejects: Vec::new() }
    }

    /// Keeps one cell; `row` counts from 1.
    ///
    /// Errors: `BadValue` when the policy is to stop, `TooManyRejects` beyond [`MAX_REJECTS`].
    pub(crate) fn add(&mut self, row: u64, column: &str, reason: &str, original: String) -> Result<(), ConnectError> {
        if self.policy == InvalidDates::Fail {
            return Err(ConnectError::BadValue {
                table: self.table.clone(),
                column: column.to_owned(),
                value: original,
                reason: reason.to_owned(),
            });
        }
        if self.rejects.len() >= MAX_REJECTS {
            let first = self.rejects.iter().find(|reject| reject.column == column);
            return Err(ConnectError::TooManyRejects {
                table: self.table.clone(),
                column: column.to_owned(),
                limit: MAX_REJECTS,
                first: first.map_or(original, |reject| reject.original.clone()),
            });
        }
        self.rejects.push(ExtractReject { row, column: column.to_owned(), reason: reason.to_owned(), original });
        Ok(())
    }

    pub(crate) fn into_vec(self) -> Vec<ExtractReject> {
        self.rejects
    }
}
