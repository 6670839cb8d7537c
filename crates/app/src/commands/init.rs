//! `montauk init`: a new project, and what to do next.
//!
//! In: a directory and a template or a database's address.  Out: the files written.
//! Never here: the templates (`pipeline`).
//! Start at [`run`].

use std::path::PathBuf;

use pipeline::steps::init::{self, From, Request};

use super::{Outcome, Shell};
use crate::cli::{self, Template};
use crate::error::AppError;
use crate::output::count;

pub async fn run(shell: &Shell, arguments: cli::Init) -> Result<Outcome, AppError> {
    let dir = arguments.dir.or_else(|| shell.globals.directory.clone()).unwrap_or_else(|| PathBuf::from("."));
    let from = match (arguments.from, arguments.template) {
        (Some(url), _) => database(&url, arguments.env)?,
        (None, Template::Retail) => From::Retail,
        (None, Template::Minimal) => From::Minimal,
    };
    let report = init::run(Request { dir, from }).await?;
    shell.output.report(&report, |output| {
        output.done("Created", &format!("{} in {}", count(report.files.len() as u64, "file"), report.dir.display()));
        if report.files.is_empty() {
            output.say("every file was there already and stays as it is");
        }
        output.say(&format!("next: cd {} && montauk doctor", report.dir.display()));
        Ok(())
    })?;
    Ok(Outcome::Done)
}

/// `${NAME}` as a whole names the variable that the project will use, too.
fn database(url: &str, env: String) -> Result<From, AppError> {
    let name = url.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let Some(name) = name else { return Ok(From::Database { url: url.to_owned(), env }) };
    match std::env::var(name) {
        Ok(url) => Ok(From::Database { url, env: name.to_owned() }),
        Err(_) => Err(AppError::Usage {
            message: format!("environment variable `{name}` is not set"),
            help: format!("set it: `export {name}='mysql://user:password@host:3306/database'`"),
        }),
    }
}
