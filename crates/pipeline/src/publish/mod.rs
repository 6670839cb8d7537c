//! Reverse ETL: the difference between the wanted rows and those last accepted, and the durable record of the latter.
//!
//! In: Arrow batches of a mart.  Out: rows to upsert, keys to delete, the next accepted state.
//! Never here: the protocol of a database (`connect`), which syncs exist (`project`).
//! Start at [`diff::compare`].

pub(crate) mod accepted;
pub(crate) mod diff;
