//! The room as a whole: the switch under crashes and races, builds, checks, queries.
//!
//! In: worlds made in memory or in temporary directories.  Out: verdicts.  Never here: kill -9 of the real binary (`app`).
//! Start at [`world::World`].

mod build;
mod changes;
mod copy;
mod copy_files;
mod copy_switch;
mod evolution;
mod fault;
mod incremental;
mod json_lines;
mod quarantine;
mod query;
mod selection;
mod switch;
mod world;
