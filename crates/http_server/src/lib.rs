//! The one HTTP server of Montauk: every port that listens goes through here.
//!
//! In: an axum `Router` with a room's own routes, [`Limits`], a [`Shutdown`].  Out: a bound address, answers, a [`DrainReport`].
//! Life of a request: accept (connection cap) → read the head (time and size limit, strict framing) → request id → route →
//! body and time limit → the room's handler → every error made a problem (RFC 9457) → metrics and access log → write (stall limit).
//! Never here: what a route means; `axum::serve` (it has no header timeout); certificates (a balancer ends TLS).
//! Start at [`HttpServer`].

mod connection;
mod framing;
mod gate;
mod health;
mod limits;
mod problem;
mod reject;
mod request_id;
mod server;
mod shutdown;
mod telemetry;

pub use connection::PeerAddress;
pub use health::{ComponentState, Readiness};
pub use limits::Limits;
pub use problem::ProblemResponse;
pub use reject::Rejection;
pub use request_id::RequestId;
pub use server::{DrainReport, HttpServer, HttpServerError};
pub use shutdown::{Shutdown, ShutdownTrigger, shutdown_channel};
pub use telemetry::Telemetry;
