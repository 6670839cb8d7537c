//! What is counted about flags.
//!
//! In: evaluations, revisions, refusals.  Out: counters and gauges of `/metrics`.
//! Never here: what is counted by the HTTP server for every route.
//! Start at [`Figures`].

use http_server::Telemetry;
use metrics::{Counter, Gauge};

/// Who asked for evaluations.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    GrowthBook,
    Ofrep,
    OfrepBulk,
    Assignments,
}

/// Handles, made once: registering one takes a lock and allocates.
#[derive(Debug)]
pub(crate) struct Figures {
    evaluations: [Counter; 4],
    pub(crate) revision: Gauge,
    pub(crate) features: Gauge,
    pub(crate) swaps: Counter,
    pub(crate) streams_open: Gauge,
    pub(crate) streams_refused: Counter,
    pub(crate) quota_refused: Counter,
}

impl Figures {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let evaluations = |protocol: &str| {
            let labels = [("protocol", protocol.to_owned())];
            telemetry.counter("montauk_flag_evaluations_total", "Flags evaluated, by who asked.", &labels)
        };
        let gauge = |name, help| telemetry.gauge(name, help, &[]);
        let counter = |name, help| telemetry.counter(name, help, &[]);
        Self {
            evaluations: ["growthbook", "ofrep", "ofrep_bulk", "assignments"].map(evaluations),
            revision: gauge("montauk_experiments_revision", "Revision of the experiments that serve."),
            features: gauge("montauk_experiments_features", "Features in the experiments that serve."),
            swaps: counter("montauk_experiments_swaps_total", "Revisions of experiments put into service."),
            streams_open: gauge("montauk_flag_streams_open", "Streams to clients of flags that are open."),
            streams_refused: counter(
                "montauk_flag_streams_refused_total",
                "Streams refused because a limit was reached.",
            ),
            quota_refused: counter(
                "montauk_flag_quota_refused_total",
                "Evaluations refused because a client key asked for too many.",
            ),
        }
    }

    /// Counts evaluated flags.
    pub(crate) fn count(&self, protocol: Protocol, flags: usize) {
        self.evaluations[protocol as usize].increment(flags as u64);
    }
}
