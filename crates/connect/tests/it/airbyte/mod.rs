//! Airbyte connectors as a source, with connectors that play what a test tells them.
//!
//! In: transcripts written from the rules of the protocol.  Out: verdicts.  Never here: real connectors (`tests/connectors.rs`).
//! Start at [`play`].

mod endings;
pub mod play;
mod rows;
mod secrets;
mod states;
