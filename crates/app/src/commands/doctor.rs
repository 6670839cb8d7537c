//! `montauk doctor`: a line per finding, with the next step where something is wrong.
//!
//! In: nothing.  Out: findings; exit code 3 when one of them fails.
//! Never here: looking (`pipeline`).
//! Start at [`run`].

use std::path::PathBuf;

use pipeline::steps::doctor::{self, Report, Request, Verdict};

use super::{Outcome, Shell};
use crate::error::AppError;
use crate::output::{self, Output};

pub async fn run(shell: &Shell) -> Result<Outcome, AppError> {
    let start = shell.globals.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let report = doctor::run(Request { start, now: shell.now, run_id: shell.run_id.clone() }).await;
    shell.output.report(&report, |output| output.data(&draw(output, &report)))?;
    Ok(if report.verdict() == Verdict::Fail { Outcome::Unhealthy } else { Outcome::Done })
}

fn draw(output: &Output, report: &Report) -> String {
    let width = report.findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in &report.findings {
        let (verdict, word) = match finding.verdict {
            Verdict::Ok => (output::Verdict::Good, "ok  "),
            Verdict::Warn => (output::Verdict::Doubtful, "warn"),
            Verdict::Fail => (output::Verdict::Bad, "fail"),
        };
        let word = output.verdict(verdict, word);
        text.push_str(&format!("{word}  {:width$}  {}\n", finding.what, finding.detail));
        if let Some(next) = &finding.next {
            text.push_str(&format!("      {:width$}  next: {next}\n", ""));
        }
    }
    text
}
