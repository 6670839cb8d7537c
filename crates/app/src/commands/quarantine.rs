//! `montauk quarantine`: how many rows COPY set aside, and the rows themselves.
//!
//! In: a table, or none.  Out: a table of counts; with a table named, its rejects with place, reason and original.
//! Never here: mending them.
//! Start at [`run`].

use pipeline::steps::quarantine::{self, Report, Request, TableReport};

use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, grouped};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::Quarantine) -> Result<Outcome, AppError> {
    let limit = if arguments.table.is_some() { arguments.limit } else { 0 };
    let request = Request { selection: arguments.table.into_iter().collect(), limit };
    let report = shell.read(async |context| quarantine::run(context, request).await).await?;
    shell.output.report(&report, |output| draw(output, &report))?;
    Ok(Outcome::Done)
}

fn draw(output: &Output, report: &Report) -> Result<(), AppError> {
    let mut counts = Table::new(&["table", "#loads", "#rows loaded", "#in quarantine"]);
    for entry in &report.tables {
        let cells = [entry.loads as u64, entry.rows_loaded, entry.rows_rejected].map(grouped);
        counts.row([vec![entry.table.to_string()], cells.to_vec()].concat());
    }
    output.data(&counts.render())?;
    for entry in report.tables.iter().filter(|entry| !entry.rejects.is_empty()) {
        output.data(&format!("\n{}", rejects(entry).render()))?;
        let shown = entry.rejects.len() as u64;
        if shown < entry.rows_rejected {
            output.say(&format!(
                "({} of {}; more with `--limit`, whole rows with `--json`)",
                grouped(shown),
                grouped(entry.rows_rejected)
            ));
        }
    }
    if let [entry] = report.tables.as_slice()
        && entry.rows_rejected > 0
        && entry.rejects.is_empty()
    {
        output.say(&format!("see them: montauk quarantine {}", entry.table));
    }
    Ok(())
}

fn rejects(entry: &TableReport) -> Table {
    let mut table = Table::new(&["file", "#line", "column", "reason", "original"]);
    for reject in &entry.rejects {
        // Files without lines (Parquet) have row numbers only.
        let line = if reject.line > 0 { reject.line } else { reject.row };
        table.row(vec![
            reject.file.clone(),
            line.to_string(),
            reject.column.clone().unwrap_or_default(),
            reject.message.clone(),
            reject.original.clone(),
        ]);
    }
    table
}
