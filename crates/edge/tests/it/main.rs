//! The edge from outside: a small project on disk, a real port, HTTP.
//!
//! In: artefacts made by `recommend`, feeds written here.  Out: what a client, a balancer and an operator see.
//! Start at [`answers`].
#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod answers;
mod binary;
mod client;
mod experiments;
mod faults;
mod flags;
mod flags_hostile;
mod flags_streams;
mod project;
mod swap;
