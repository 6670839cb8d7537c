//! `montauk extract`: what was staged, and what had not changed.
//!
//! In: sources and tables.  Out: a line per table.
//! Never here: how a source is read (`connect`).
//! Start at [`run`].

use pipeline::steps::extract::{self, Report, Request, Status};

use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{bytes, count};

pub async fn run(shell: &Shell, arguments: cli::Extract) -> Result<Outcome, AppError> {
    let request = Request { selection: arguments.selection };
    let report = shell.write("extract", async |context| extract::run(context, request).await).await?;
    shell.output.report(&report, |_| {
        draw(shell, &report);
        Ok(())
    })?;
    Ok(Outcome::Done)
}

fn draw(shell: &Shell, report: &Report) {
    let staged: Vec<_> = report.tables.iter().filter(|table| table.status == Status::Staged).collect();
    for table in report.tables.iter().filter(|table| table.status == Status::Unchanged) {
        shell
            .output
            .done("Unchanged", &format!("{}.{}: {}", table.source, table.table, count(table.files as u64, "file")));
    }
    for table in report.tables.iter().filter(|table| table.rejected_cells > 0) {
        let cells = count(table.rejected_cells as u64, "value");
        shell.output.warn(&format!(
            "{}.{}: {cells} could not be carried over; `copy` sets them aside",
            table.source, table.table
        ));
    }
    let size: u64 = staged.iter().map(|table| table.bytes).sum();
    let what = format!(
        "{} staged ({}), {} unchanged",
        count(staged.len() as u64, "table"),
        bytes(size),
        report.tables.len() - staged.len()
    );
    shell.output.done("Extracted", &format!("{what}, in {}", shell.took()));
}
