//! Publishes the experiments of the tests into a project, for clients that are tested from outside.
//!
//! In: a project's directory and a revision.  Out: `.montauk/experiments/<revision>.json`, and its payload on standard output.
//! Start at [`main`]; `sdks/clients` uses it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it shares its experiments with the tests, and prints them"
)]
#![allow(dead_code, reason = "it does not use all of them")]

#[path = "../tests/it/experiments.rs"]
mod experiments;

use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [project, revision] = arguments.as_slice() else {
        panic!("usage: snapshot PROJECT REVISION");
    };
    let snapshot = experiments::snapshot(revision.parse().unwrap());
    experiments::publish(&Path::new(project).join(".montauk"), &snapshot);
    println!("{}", serde_json::to_string(&snapshot.payload).unwrap());
}
