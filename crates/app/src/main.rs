//! The binary `montauk`: parses, wires, runs one verb, prints its report, exits with a code that a script can use.
//!
//! In: `argv`, the environment.  Out: data on standard output, talk on standard error, an exit code.
//! Never here: logic; what needs a unit test belongs in a room.
//! Start at [`main`], then `cli`, `commands`, `wiring`.

mod cli;
mod commands;
mod error;
mod exit;
mod output;
mod progress;
mod store;
mod table;
mod wiring;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::Cli;
use crate::commands::{Outcome, Shell};
use crate::error::AppError;
use crate::output::Output;

/// Allocation is a tenth of the run time of the engine with the system's allocator, and a third of that with this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return refuse(&refusal),
    };
    let output = Output::new(&cli.globals);
    start_log(cli.globals.verbose, cli.globals.quiet);
    // Every TLS connection of every library uses this one; a second call could only come from ourselves.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    let code = match run(cli, output) {
        Ok(Outcome::Done) => exit::OK,
        Ok(Outcome::ChecksFailed) => exit::CHECKS_FAILED,
        Ok(Outcome::Unhealthy) => exit::CONFIG_OR_CONNECTION,
        Ok(Outcome::Interrupted) => exit::INTERRUPTED,
        Err(error) => {
            output.error(&error);
            exit::exit_code(&error)
        }
    };
    ExitCode::from(code)
}

/// Runs the command on threads of its own.
fn run(cli: Cli, output: Output) -> Result<Outcome, AppError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| AppError::io("start threads", &error))?;
    let shell = Shell::new(cli.globals, output);
    let result = runtime.block_on(commands::run(&shell, cli.command));
    // Threads that still compute are not waited for: everything they write is aside until its last step.
    runtime.shutdown_background();
    result
}

/// Help and version go to standard output; a wrong argument is a usage error, as text or as JSON.
fn refuse(refusal: &clap::Error) -> ExitCode {
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    if !refusal.use_stderr() || !is_json {
        // Nobody to tell when the terminal is gone.
        let _ = refusal.print();
        return ExitCode::from(if refusal.use_stderr() { exit::USAGE } else { exit::OK });
    }
    let text = refusal.render().to_string();
    // What is missing stands indented below the sentence that says that something is.
    let sentence = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let named = text.lines().skip(1).take_while(|line| line.starts_with("  ")).map(str::trim);
    let message = std::iter::once(sentence).chain(named).collect::<Vec<_>>().join(" ");
    let help =
        text.lines().find_map(|line| line.trim().strip_prefix("tip: ")).unwrap_or("see `montauk --help`").to_owned();
    Output::for_json().error(&AppError::Usage { message, help });
    ExitCode::from(exit::USAGE)
}

/// Log lines of the rooms, for whoever looks for a fault; reports are for everybody else. `MONTAUK_LOG` takes a filter of
/// its own, such as `access=info`.
fn start_log(verbose: u8, quiet: bool) {
    let (others, ours) = match (quiet, verbose) {
        (true, _) => ("off", "error"),
        (false, 0) => ("off", "warn"),
        (false, 1) => ("warn", "info"),
        (false, _) => ("info", "debug"),
    };
    let rooms =
        ["montauk", "pipeline", "warehouse", "connect", "recommend", "serving", "http_server", "edge", "access"];
    let by_level = rooms.iter().fold(others.to_owned(), |filter, room| format!("{filter},{room}={ours}"));
    let filter = std::env::var("MONTAUK_LOG").unwrap_or(by_level);
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
