//! One file per system that data comes from.
//!
//! In: settings of a source.  Out: an implementation of [`crate::Source`].
//! Never here: what is common to all (`source`).
//! Start at [`file`], the simplest.

pub mod airbyte;
mod calendar;
mod copy_binary;
pub mod file;
mod file_bucket;
pub mod mysql;
mod mysql_charset;
mod mysql_columns;
mod mysql_cursor;
mod mysql_doctor;
mod mysql_follow;
mod mysql_log;
mod mysql_log_check;
mod mysql_log_events;
mod mysql_log_stream;
mod mysql_log_values;
mod mysql_log_words;
mod mysql_proof;
mod mysql_query;
mod mysql_ranges;
mod mysql_reader;
mod mysql_rows;
mod mysql_snapshot;
pub mod postgres;
mod postgres_columns;
mod postgres_cursor;
mod postgres_doctor;
mod postgres_follow;
mod postgres_log;
mod postgres_log_check;
mod postgres_log_messages;
mod postgres_log_read;
mod postgres_lookup;
mod postgres_proof;
mod postgres_query;
mod postgres_ranges;
mod postgres_reader;
mod postgres_rows;
mod postgres_snapshot;
mod query;
