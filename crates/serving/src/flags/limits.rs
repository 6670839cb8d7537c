//! Every limit of the flag endpoints, with its default and the reason for it.
//!
//! In: nothing, or a caller's own figures.  Out: [`FlagLimits`].
//! Never here: enforcement (`quota`, `streams`, `context`).
//! Start at [`FlagLimits`].

use std::time::Duration;

/// Body of an evaluation: contexts are 1 to 10 kB, and each rule may read all of it.
pub(crate) const MAX_CONTEXT_BYTES: usize = 64 * 1024;

/// Flags per request that are evaluated where the request is read. Measured by `cargo bench -p edge --bench flags` on a busy 2-core machine: 250
/// flags take 440 µs with the rules stripped, 115 µs by OFREP, and the house allows 500 µs on an async thread.
pub(crate) const MAX_INLINE_FLAGS: usize = 250;

/// Flags that one unit of a quota pays for: a request with one flag takes 16 µs (measured likewise), which is what 10 to 35 more take.
pub(crate) const FLAGS_PER_UNIT: usize = 25;

/// What clients of flags may take from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagLimits {
    /// Streams that are open at once. Default 500: half of the connections that the server has, so that a fetch still finds one.
    pub max_streams: usize,
    /// Streams from one address (of IPv6: from one /64 network). Default 100: an office behind one address. Behind a balancer all
    /// clients have its address: set it to `max_streams`.
    pub max_streams_per_address: usize,
    /// Evaluations that one client key may ask for in a second, on the average and at once. Default 5,000: less than a tenth of the
    /// 70,000 that two cores answered (measured likewise), so that one application in a loop does not starve the others.
    pub evaluations_per_second: u32,
    /// Between two signs of life on a silent stream. Default 15 s: proxies close what is silent for 30 to 60 s.
    pub heartbeat: Duration,
}

impl Default for FlagLimits {
    fn default() -> Self {
        Self {
            max_streams: 500,
            max_streams_per_address: 100,
            evaluations_per_second: 5_000,
            heartbeat: Duration::from_secs(15),
        }
    }
}
