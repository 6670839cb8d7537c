//! The real binary from outside, with real servers on free ports: one test binary, one module per subject.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise: the panic is the report")]

mod airbyte;
mod analyzed;
mod analyzed_looks;
mod analyzed_page;
mod analyzed_parts;
mod analyzed_quantiles;
mod bad_input;
mod cli;
mod cold;
mod database;
mod decided;
mod evaluated;
mod first_test;
mod follow;
mod full_disk;
mod indicators;
mod load_files;
mod off_policy;
mod proof;
mod publish;
mod query;
mod readers;
mod refreshed;
mod registry;
mod retain;
mod served;
mod sql_recommender;
mod support;
mod switch;
mod trusted;
mod tuned;
