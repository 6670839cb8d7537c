//! The room against real servers and a real file system, one binary so that servers are shared.
//!
//! In: nothing.  Out: verdicts.  Never here: what a unit test beside the code can tell.  Start at any module.

#![expect(clippy::unwrap_used, reason = "tests may stop at the first surprise: the panic is the report")]

mod airbyte;
mod binlog;
mod files;
mod fold;
mod mysql_cursor;
mod mysql_destination;
mod mysql_log;
mod mysql_log_anew;
mod mysql_log_values;
mod mysql_query;
mod mysql_source;
mod parallel;
mod postgres_cursor;
mod postgres_destination;
mod postgres_log;
mod postgres_log_limits;
mod postgres_query;
mod postgres_source;
mod s3;
mod stage;
mod support;
mod traps;
