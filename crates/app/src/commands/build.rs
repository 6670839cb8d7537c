//! `montauk build`: what happened to each model, and why one failed or waits.
//!
//! In: selectors.  Out: a table of models, a block per failed check; exit code 4 when something failed.
//! Never here: building (`warehouse`).
//! Start at [`run`].

use pipeline::steps::build::{self, Report, Request};
use warehouse::{ModelReport, ModelStatus};

use super::{Outcome, Shell, check};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count, grouped};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::Build) -> Result<Outcome, AppError> {
    let request = Request { selection: arguments.selection, full_refresh: arguments.full_refresh };
    let report = shell.write("build", async |context| build::run(context, request).await).await?;
    shell.output.report(&report, |output| draw(shell, output, &report))?;
    Ok(if report.has_failures() { Outcome::ChecksFailed } else { Outcome::Done })
}

fn draw(shell: &Shell, output: &Output, report: &Report) -> Result<(), AppError> {
    if !report.models.is_empty() {
        output.data(&models(&report.models).render())?;
    }
    for model in &report.models {
        check::draw(output, &model.checks);
        match (&model.reason, model.status) {
            // A failed check has said it already, with its rows.
            (Some(reason), ModelStatus::Failed) if model.checks.is_empty() => {
                output.finding(true, "model_failed", reason, "", &[format!("`{}` keeps its old version", model.table)]);
            }
            (Some(reason), ModelStatus::Blocked) => {
                output.warn(&format!("`{}` keeps its old version: {reason}", model.table))
            }
            _ => {}
        }
    }
    let of = |status: ModelStatus| report.models.iter().filter(|model| model.status == status).count();
    let unchanged = of(ModelStatus::Unchanged) + of(ModelStatus::Checked);
    let mut what = format!("{}, {unchanged} unchanged", count(of(ModelStatus::Built) as u64, "model"));
    if report.has_failures() {
        what.push_str(&format!(", {} failed, {} waiting", of(ModelStatus::Failed), of(ModelStatus::Blocked)));
    }
    let verb = if report.has_failures() { "Failed" } else { "Built" };
    output.done(verb, &format!("{what}, catalog {}, in {}", report.catalog, shell.took()));
    Ok(())
}

fn models(reports: &[ModelReport]) -> Table {
    let mut table = Table::new(&["model", "", "#rows", "#checks", "#seconds"]);
    for model in reports {
        let word = match model.status {
            ModelStatus::Built => "built",
            ModelStatus::Checked => "checked again",
            ModelStatus::Unchanged => "unchanged",
            ModelStatus::Failed => "FAILED",
            ModelStatus::Blocked => "waiting",
        };
        let intervals = model
            .intervals
            .map(|intervals| format!(", {} of {} intervals", intervals.filled, intervals.filled + intervals.kept));
        table.row(vec![
            model.table.to_string(),
            format!("{word}{}", intervals.unwrap_or_default()),
            model.rows.map(grouped).unwrap_or_default(),
            grouped(model.checks.len() as u64),
            format!("{:.1}", model.seconds),
        ]);
    }
    table
}
