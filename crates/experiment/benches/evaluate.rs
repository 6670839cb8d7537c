//! How long one evaluation takes.
//!
//! In: two payloads.  Out: figures of criterion.
//! Never here: claims; the console prints what the machine says.
//! Start at `main`.
fn main() {}
