//! `montauk completions SHELL`: the completion script, on standard output.
//!
//! In: a shell's name.  Out: a script.
//! Never here: installing it.
//! Start at [`run`].

use clap::CommandFactory;

use super::{Outcome, Shell};
use crate::cli::{self, Cli};
use crate::error::AppError;

pub fn run(shell: &Shell, arguments: &cli::Completions) -> Result<Outcome, AppError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "montauk", &mut script);
    shell.output.data(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
