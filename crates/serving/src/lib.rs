//! Online answers: what a user gets recommended, what is like an item, and who sees which variant, from files that others left behind.
//!
//! In: `promoted/<recommender>/<n>.json`, `artefacts/<dir>/`, `feed/<n>/`, `experiments/<revision>.json` under the state directory.  Out: JSON over HTTP.
//! Life of a request: one snapshot is taken → history and filters of the user → [`recommend::Ranker`] → bytes.
//! Life of a swap: a newer number appears → load and validate off the async threads → swap → the old one is dropped there too.
//! Never here: DataFusion, Arrow, training; choosing what is promoted; deciding experiments; a ranking of our own (evaluated = served).
//! Start at [`Service`]; for experiments at `flags`.

mod answer;
mod error;
mod feed;
mod flags;
mod follow;
mod load;
mod query;
mod routes;
mod service;
mod snapshot;
mod state_dir;

pub use error::ServingError;
pub use flags::FlagLimits;
pub use service::{Service, ServiceConfig};
pub use snapshot::{Reason, Snapshot};
