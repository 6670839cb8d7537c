//! Every limit of the server, with its default and the reason for it.
//!
//! In: nothing, or a caller's own figures.  Out: [`Limits`].
//! Never here: enforcement; `server`, `connection` and `gate` do that.
//! Start at [`Limits`].

use std::time::Duration;

/// What one client, or all of them together, may take from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. Default 1,000: below the usual soft limit of 1,024 open files, with room for the snapshot's files.
    pub max_connections: usize,
    /// From the first wait for a request to the end of its head; also how long an idle connection is kept.
    /// Default 5 s: 200 sockets that dribbled headers were all gone after 10 s (measured), a slow phone is not.
    pub header_read_timeout: Duration,
    /// Request line and headers together. Default 16 KiB: twice what common proxies send at most.
    pub max_head_bytes: usize,
    /// Header lines. Default 100: hyper's own figure.
    pub max_headers: usize,
    /// Request body. Default 1 MiB: a batch of 1,000 events fits.
    pub max_body_bytes: usize,
    /// From the end of the head to the start of the answer. Default 10 s: far above any answer of ours, so that it only
    /// ends what hangs.
    pub request_timeout: Duration,
    /// Longest time in which the peer takes not one byte. Default 10 s.
    pub write_timeout: Duration,
    /// From the shutdown signal to the end of accepting: time for a balancer to see that `/readyz` fails. Default 0 s,
    /// because without a balancer it only delays; set it to twice the balancer's check interval.
    pub shutdown_grace: Duration,
    /// From the end of accepting until connections still open are cut. Default 10 s: the request timeout.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1_000,
            header_read_timeout: Duration::from_secs(5),
            max_head_bytes: 16 * 1024,
            max_headers: 100,
            max_body_bytes: 1024 * 1024,
            request_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
        }
    }
}
