//! What work costs, asked of somebody who may read clocks: this room may not.
//!
//! In: the beginning and the end of a stretch of work.  Out: processor seconds and memory, where they can be had.
//! Never here: how they are measured (see `pipeline`).
//! Start at [`Meter`].

/// What a stretch of work used; none where it cannot be known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Of all threads of the process.
    pub cpu_seconds: Option<f64>,
    /// The most that the process held at any moment of the stretch.
    pub peak_memory_bytes: Option<u64>,
}

/// Measures one stretch of work after the other.
pub trait Meter: Send + Sync {
    /// A stretch begins; what was before is forgotten.
    fn begin(&self);
    /// What was used since the beginning.
    fn used(&self) -> Usage;
}

/// Knows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn begin(&self) {}

    fn used(&self) -> Usage {
        Usage::default()
    }
}
