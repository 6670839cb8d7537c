//! `montauk copy`: what was loaded, what was there already, what was set aside.
//!
//! In: tables.  Out: a line per table, a block per file with bad rows; exit code 4 when a file could not be loaded.
//! Never here: loading (`warehouse`).
//! Start at [`run`].

use pipeline::steps::copy::{self, InferredTable, Report, Request, TableReport};
use warehouse::{FileReport, FileStatus};

use super::extract::proven;
use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count, grouped};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::Copy) -> Result<Outcome, AppError> {
    if arguments.infer {
        let tables = shell.read(async |context| copy::infer(context, &arguments.selection).await).await?;
        let report = serde_json::json!({ "tables": tables });
        shell.output.report(&report, |output| tables.iter().try_for_each(|table| draw_inferred(output, table)))?;
        return Ok(Outcome::Done);
    }
    let request = Request { selection: arguments.selection, force: arguments.force, on_error: arguments.on_error };
    let report = shell.write("copy", async |context| copy::run(context, request).await).await?;
    shell.output.report(&report, |output| draw(shell, output, &report))?;
    let is_whole = report.tables.iter().all(|table| table.copy.failed_files().next().is_none());
    Ok(if is_whole { Outcome::Done } else { Outcome::ChecksFailed })
}

fn draw(shell: &Shell, output: &Output, report: &Report) -> Result<(), AppError> {
    if !report.tables.is_empty() {
        output.data(&tables(&report.tables).render())?;
    }
    for entry in &report.tables {
        if let Some(proof) = &entry.copy.proof {
            output.done("Proven", &format!("{}: {}", entry.table, proven(proof)));
        }
        for file in &entry.copy.files {
            draw_file(output, entry, file);
        }
        for column in &entry.copy.inferred {
            // A guess that stays forever deserves to be seen once; declaring the type settles it.
            output.say(&format!("{}: column `{}` is {} (inferred)", entry.table, column.column, column.column_type));
        }
    }
    let loaded: u64 = report.tables.iter().map(|entry| entry.copy.rows_loaded).sum();
    let what = if loaded == 0 { "nothing new".to_owned() } else { count(loaded, "row") };
    output.done("Copied", &format!("{what}, in {}", shell.took()));
    Ok(())
}

fn tables(reports: &[TableReport]) -> Table {
    let mut table =
        Table::new(&["table", "#files loaded", "#skipped", "#failed", "#rows loaded", "#set aside", "#replaced"]);
    for entry in reports {
        let of = |statuses: &[FileStatus]| {
            grouped(entry.copy.files.iter().filter(|file| statuses.contains(&file.status)).count() as u64)
        };
        table.row(vec![
            entry.table.to_string(),
            of(&[FileStatus::Loaded, FileStatus::PartiallyLoaded]),
            of(&[FileStatus::LoadSkipped]),
            of(&[FileStatus::LoadFailed]),
            grouped(entry.copy.rows_loaded),
            grouped(entry.copy.rows_rejected),
            grouped(entry.copy.rows_replaced),
        ]);
    }
    table
}

/// A file with bad rows, or one that was not loaded: where it first went wrong, and how much of it did.
fn draw_file(output: &Output, entry: &TableReport, file: &FileReport) {
    let (is_error, code, message) = match file.status {
        FileStatus::Loaded | FileStatus::LoadSkipped => return,
        FileStatus::PartiallyLoaded => {
            (false, "rows_set_aside", format!("`{}`: {} set aside", file.file, count(file.rows_rejected, "row")))
        }
        FileStatus::LoadFailed => {
            let reason = file.reason.as_deref().unwrap_or("it has bad rows");
            (true, "file_not_loaded", format!("`{}` was not loaded into `{}`: {reason}", file.file, entry.table))
        }
    };
    let first = file.first_error.as_ref();
    let at = first.map(|first| format!("{}:{}", file.file, first.line)).unwrap_or_default();
    let mut notes = Vec::new();
    if let Some(first) = first {
        let column = first.column.as_ref().map(|column| format!("column `{column}`: ")).unwrap_or_default();
        notes.push(format!("{column}{}", first.message));
    }
    if file.rows_parsed > 0 {
        notes.push(format!("loaded: {}   set aside: {}", grouped(file.rows_loaded), grouped(file.rows_rejected)));
    }
    output.finding(is_error, code, &message, &at, &notes);
}

/// The columns of a table that is not made yet. Every row of every file was read, so nothing here is a guess from a sample.
fn draw_inferred(output: &Output, table: &InferredTable) -> Result<(), AppError> {
    let mut columns = Table::new(&["column", "type", "from", "#nulls", "because of"]);
    for column in &table.infer.columns {
        let inferred = column.inferred.as_ref();
        let evidence = inferred.and_then(|inferred| inferred.evidence.as_ref());
        columns.row(vec![
            column.column.clone(),
            column.column_type.clone(),
            column.origin.to_owned(),
            inferred.map_or(String::new(), |inferred| grouped(inferred.nulls)),
            evidence.map_or(String::new(), |row| format!("`{}` in {}:{}", row.value, row.file, row.line)),
        ]);
    }
    output.data(&format!("{} ({})\n{}", table.table, count(table.infer.files as u64, "file"), columns.render()))
}
