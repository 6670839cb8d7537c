//! Starts real servers for tests: MariaDB, PostgreSQL, an S3 server. Each in its own temporary directory on a free port.
//!
//! In: nothing.  Out: an address to connect to.  A server stops, and its directory goes, when its value is dropped or when the
//! test process ends in any way, `kill -9` included.
//! Never here: product code; nothing but tests depends on this crate. It panics: a missing server is a failed test, never a skip.
//! Start at [`MariaDb::shared`], [`Postgres::shared`], [`Moto::shared`].

mod mariadb;
mod moto;
mod postgres;
mod server;

pub use mariadb::MariaDb;
pub use moto::Moto;
pub use postgres::Postgres;
