//! `montauk-edge`: the small binary that only serves. A door: arguments, log, exit code.
//!
//! In: the command line.  Out: one line on stdout when it is ready; log on stderr; exit code 0, 1, 2 (usage), 3 or 6.
//! Never here: anything that needs a test beyond its words (`arguments`) and its run (`tests/binary.rs`).
//! Start at [`main`].

mod arguments;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use domain::{ErrorKind, Problem};
use edge::{EdgeConfig, EdgeError};
use tracing_subscriber::EnvFilter;

use crate::arguments::{Command, HELP};

/// Measured faster than the system's on answers of 1 kB, and it gives memory back after a swap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Access lines cost more than the answers they describe, so they are asked for.
const DEFAULT_LOG: &str = "info,access=warn";

const USAGE: u8 = 2;

fn main() -> ExitCode {
    match arguments::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => print(HELP),
        Ok(Command::Version) => print(concat!("montauk-edge ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Serve(config)) => serve(*config),
        Err(error) => {
            complain(&format!("error[usage]: {error}\nhelp: montauk-edge --help\n"));
            ExitCode::from(USAGE)
        }
    }
}

fn serve(config: EdgeConfig) -> ExitCode {
    let filter = std::env::var("MONTAUK_LOG").unwrap_or_else(|_| DEFAULT_LOG.to_owned());
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter));
    log.with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error[internal_fault]: cannot start threads: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(edge::run(config, |edge| {
        print(&format!("listening on http://{}\n", edge.address()));
    }));
    // Threads that still load or retire a snapshot must not hold up the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let help = error.help().map(|help| format!("help: {help}\n")).unwrap_or_default();
            complain(&format!("error[{}]: {error}\n{help}", error.code()));
            exit_code(&error)
        }
    }
}

/// As in `montauk`: 3 for configuration or connection, 6 for a guard that refused, 1 for the unexpected.
fn exit_code(error: &EdgeError) -> ExitCode {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Unavailable => ExitCode::from(3),
        ErrorKind::Refused => ExitCode::from(6),
        ErrorKind::Internal => ExitCode::FAILURE,
    }
}

/// A closed pipe (`| head`) is no reason to panic.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
