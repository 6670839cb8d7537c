//! Real Airbyte connectors, and recordings of them: `make test-connectors` installs and runs them; `make test` does not.
//!
//! In: virtual environments under `MONTAUK_CONNECTORS`, recordings under `MONTAUK_RECORDINGS`.  Out: verdicts.
//! Never here: what a transcript of our own can tell (`it/airbyte`).
//! Start at [`real`].

#![expect(clippy::unwrap_used, reason = "tests may stop at the first surprise: the panic is the report")]

#[path = "../it/airbyte/play.rs"]
#[expect(dead_code, reason = "shared with the tests that write their own transcripts")]
mod play;
mod real;
mod recorded;
mod smoke;
#[path = "../it/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the other sources")]
mod support;
