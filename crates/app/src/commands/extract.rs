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
    let request = Request {
        selection: arguments.selection,
        workers: arguments.workers,
        verify: arguments.verify,
        without_proof: arguments.no_proof,
        anew: arguments.anew,
    };
    let is_verified = request.verify;
    let report = shell.write("extract", async |context| extract::run(context, request).await).await?;
    shell.output.report(&report, |_| {
        if is_verified {
            draw_verified(shell, &report)
        } else {
            draw(shell, &report)
        }
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
    for table in &report.tables {
        if let Some(reason) = &table.read_anew {
            shell.output.warn(&format!("{}.{} was read whole: {reason}", table.source, table.table));
        }
    }
    let proof: u64 = staged.iter().map(|table| table.proof_milliseconds).sum();
    if proof > 0 {
        shell.output.say(&format!("adding up columns took the source {:.1} s of work", proof as f64 / 1e3));
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

fn draw_verified(shell: &Shell, report: &Report) {
    for table in &report.tables {
        match &table.verified {
            Some(proof) => shell.output.done("Verified", &format!("{}: {}", table.target, proven(proof))),
            None => shell.output.say(&format!("{}: files, views and connectors cannot be compared", table.target)),
        }
    }
    shell.output.done("Compared", &format!("{}, in {}", count(report.tables.len() as u64, "table"), shell.took()));
}

/// What a proof says, for a line.
pub(super) fn proven(proof: &warehouse::ProofReport) -> String {
    let equal = format!(
        "{} and the checksums of {} are the source's",
        count(proof.rows, "row"),
        count(proof.columns as u64, "column")
    );
    if proof.not_compared.is_empty() {
        return equal;
    }
    format!("{equal}; not compared: {}", proof.not_compared.join(", "))
}
