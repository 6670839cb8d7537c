//! `montauk check`: each failed check with its place and its first bad rows.
//!
//! In: tables.  Out: one block per failed check; exit code 4 when one of them blocks.
//! Never here: checking (`warehouse`).
//! Start at [`run`].

use pipeline::steps::check::{self, Request};
use warehouse::{CheckResult, CheckStatus, Severity};

use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count};

/// Longest bad row on a line, in characters; whole rows are in `--json`.
const MAX_ROW: usize = 160;

pub async fn run(shell: &Shell, arguments: cli::Check) -> Result<Outcome, AppError> {
    let request = Request { tables: arguments.tables, rows: arguments.rows };
    let report = shell.read(async |context| check::run(context, request).await).await?;
    let blocking = report.checks.iter().filter(|check| blocks(check)).count();
    shell.output.report(&report, |output| {
        draw(output, &report.checks);
        let passed = report.checks.iter().filter(|check| check.status == CheckStatus::Passed).count();
        let verb = if blocking == 0 { "Checked" } else { "Failed" };
        let what = format!("{passed} of {} passed", count(report.checks.len() as u64, "check"));
        output.done(verb, &format!("{what}, catalog {}, in {}", report.catalog, shell.took()));
        Ok(())
    })?;
    Ok(if blocking == 0 { Outcome::Done } else { Outcome::ChecksFailed })
}

/// Whether this result keeps a table from being published.
fn blocks(check: &CheckResult) -> bool {
    check.status != CheckStatus::Passed && check.severity == Severity::Block
}

/// One block per check that did not pass.
pub fn draw(output: &Output, checks: &[CheckResult]) {
    for check in checks.iter().filter(|check| check.status != CheckStatus::Passed) {
        let message = match (&check.error, check.status) {
            (Some(error), _) => format!("table `{}`: {} could not be computed: {error}", check.table, check.name),
            (None, _) => {
                format!("table `{}` has {} that fail {}", check.table, count(check.failing, "row"), check.name)
            }
        };
        let mut notes: Vec<String> = check.rows.iter().map(|row| cut(&row.to_string())).collect();
        let more = check.failing.saturating_sub(notes.len() as u64);
        if more > 0 && !notes.is_empty() {
            notes.push(format!("… and {}", count(more, "more row").replace("more rows", "more")));
        }
        let is_blocking = check.severity == Severity::Block;
        output.finding(is_blocking, "checks_failed", &message, &check.at, &notes);
    }
}

fn cut(row: &str) -> String {
    match row.char_indices().nth(MAX_ROW) {
        Some((end, _)) => format!("{}…", &row[..end]),
        None => row.to_owned(),
    }
}
