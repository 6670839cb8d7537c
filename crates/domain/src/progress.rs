//! How a step tells whoever watches how far it is.
//!
//! In: rows and bytes done.  Out: nothing; drawing is the door's business (`app`).
//! Never here: terminals, clocks.
//! Start at [`Progress`].

/// Receives the progress of one step. Calls are cheap and may come from several threads.
pub trait Progress: Send + Sync {
    /// A step, or a part of one, begins. `total_rows` is `None` when it cannot be known beforehand.
    fn begin(&self, what: &str, total_rows: Option<u64>);
    /// `rows` more rows are done.
    fn advance(&self, rows: u64);
    /// What a person may like to know meanwhile, such as the best result so far.
    fn note(&self, _what: &str) {}
    /// The part is done; `summary` is one short line such as `13 files, 541,909 rows`.
    fn finish(&self, summary: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _what: &str, _total_rows: Option<u64>) {}
    fn advance(&self, _rows: u64) {}
    fn finish(&self, _summary: &str) {}
}
