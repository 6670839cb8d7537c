//! `montauk status`, and `montauk` alone: what is here, and the commands that make sense next.
//!
//! In: nothing.  Out: tables, what is served, the last runs, the next commands.
//! Never here: deciding what comes next (`pipeline`).
//! Start at [`run`].

use pipeline::PipelineError;
use pipeline::runs;
use pipeline::steps::status::{self, Report, Request};

use super::{Outcome, Shell};
use crate::error::AppError;
use crate::output::{Output, Verdict, grouped};
use crate::table::Table;

/// Runs shown; all of them are under `.montauk/runs/`.
const RUNS_SHOWN: usize = 5;

/// `is_bare`: nobody typed a command, so a directory without a project is a welcome, not an error.
pub async fn run(shell: &Shell, is_bare: bool) -> Result<Outcome, AppError> {
    let project = match shell.project() {
        Err(PipelineError::NoProject { .. }) if is_bare => return welcome(shell),
        other => other?,
    };
    let context = shell.context(project).await?;
    let report = status::run(&context, Request {}).await?;
    shell.output.report(&report, |output| output.data(&draw(output, &report)))?;
    Ok(Outcome::Done)
}

fn welcome(shell: &Shell) -> Result<Outcome, AppError> {
    let next = ["montauk demo", "montauk init my-project --template retail", "montauk --help"];
    if shell.output.json {
        shell.output.json(&serde_json::json!({ "project": null, "next": next }))?;
        return Ok(Outcome::Done);
    }
    let text = "There is no project here yet.\n\n  \
                montauk demo                                see the whole line on real data, in a minute\n  \
                montauk init my-project --template retail   begin with a project that works\n  \
                montauk --help                              every command\n";
    shell.output.data(text)?;
    Ok(Outcome::Done)
}

fn draw(output: &Output, report: &Report) -> String {
    let mut text = format!("{}, catalog {}\n\n", report.project, report.catalog);
    if !report.tables.is_empty() {
        let mut table = Table::new(&["table", "kind", "#version", "#rows"]);
        for entry in &report.tables {
            let number = |value: Option<u64>| value.map(grouped).unwrap_or_default();
            table.row(vec![entry.table.clone(), entry.kind.clone(), number(entry.version), number(entry.rows)]);
        }
        text.push_str(&table.render());
        text.push('\n');
    }
    if let Some(promoted) = &report.promoted {
        let feed = report.feed.map(|number| format!(", feed {number}")).unwrap_or_default();
        text.push_str(&format!("serving: {promoted}{feed}\n\n"));
    }
    if !report.runs.is_empty() {
        let mut table = Table::new(&["last runs", "began", "#seconds", ""]);
        for run in report.runs.iter().take(RUNS_SHOWN) {
            let word = match run.outcome {
                runs::Outcome::Succeeded => "ok".to_owned(),
                runs::Outcome::Failed => format!("failed: {}", run.error.as_deref().unwrap_or("no reason on record")),
            };
            let began = run.started_at.format("%Y-%m-%d %H:%M:%S").to_string();
            table.row(vec![run.verb.clone(), began, format!("{:.1}", run.seconds), word]);
        }
        text.push_str(&table.render());
        text.push('\n');
    }
    if !report.next.is_empty() {
        text.push_str("next:\n");
        for (place, command) in report.next.iter().enumerate() {
            // The first one is the way on; the others are possible.
            let shown = if place == 0 { output.verdict(Verdict::Good, command) } else { command.clone() };
            text.push_str(&format!("  {shown}\n"));
        }
    }
    text
}
