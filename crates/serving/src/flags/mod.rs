//! Flags: who sees what, answered from a snapshot of experiments, in the protocols of GrowthBook and OpenFeature.
//!
//! In: `experiments/<revision>.json` under the state directory.  Out: definitions, evaluations and streams over HTTP.
//! Life of a snapshot: a higher revision appears → compiled off the async threads → swapped in whole → streams tell their clients.
//! Never here: how a flag is evaluated (`experiment::assign`); deciding experiments; keeping exposures.
//! Start at `current::Flags`, then `routes`.

mod address;
mod assignments;
mod connection;
mod context;
mod current;
mod etag;
mod figures;
mod follow;
mod growthbook;
mod limits;
mod ofrep;
mod ofrep_answer;
mod quota;
mod remote;
mod routes;
mod set;
mod stream;
mod streams;

pub use limits::FlagLimits;

pub(crate) use current::Flags;
pub(crate) use follow::follow;
pub(crate) use routes::routes;
