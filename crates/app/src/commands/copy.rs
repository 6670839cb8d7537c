//! `montauk copy`: what was loaded, what was there already, what was set aside.
//!
//! In: tables.  Out: a line per table, a block per file with bad rows; exit code 4 when a file could not be loaded.
//! Never here: loading (`warehouse`).
//! Start at [`run`].

use domain::TableName;
use pipeline::steps::copy::{self, InferredTable, Report, Request, TableReport, ValidatedTable};
use warehouse::{CopyStatement, FileReport, FileStatus, OptionMap, Purge, ValidationMode};

use super::extract::proven;
use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count, grouped};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::Copy) -> Result<Outcome, AppError> {
    if arguments.infer {
        let request = Request { options: options(&arguments)?, selection: arguments.selection, ..Request::default() };
        let tables = shell.read(async |context| copy::infer(context, &request).await).await?;
        let report = serde_json::json!({ "tables": tables });
        shell.output.report(&report, |output| tables.iter().try_for_each(|table| draw_inferred(output, table)))?;
        return Ok(Outcome::Done);
    }
    let request = Request {
        options: options(&arguments)?,
        selection: arguments.selection,
        force: arguments.force,
        ..Request::default()
    };
    match arguments.validation_mode {
        Some(mode) => validate(shell, request, mode).await,
        None => load(shell, request, draw).await,
    }
}

/// `COPY INTO …` of `montauk query`: a row per file.
pub async fn run_statement(shell: &Shell, sql: &str) -> Result<Outcome, AppError> {
    let statement = CopyStatement::parse(sql).map_err(pipeline::PipelineError::from)?;
    match statement.validation_mode {
        Some(mode) => validate(shell, statement.into(), mode).await,
        None => load(shell, statement.into(), draw_files).await,
    }
}

/// The options that the command line has over those of the source files.
fn options(arguments: &cli::Copy) -> Result<OptionMap, AppError> {
    let mut options = OptionMap::new();
    for text in &arguments.options {
        let parsed = warehouse::parse_options(text).map_err(pipeline::PipelineError::from)?;
        warehouse::lay_over(&mut options, &parsed);
    }
    let mut set = |name: &str, value: serde_json::Value| options.insert(name.to_owned(), value);
    if let Some(on_error) = arguments.on_error {
        set("on_error", on_error.to_string().into());
    }
    if !arguments.files.is_empty() {
        set("files", arguments.files.clone().into());
    }
    if let Some(pattern) = &arguments.pattern {
        set("pattern", pattern.clone().into());
    }
    if let Some(prefix) = &arguments.prefix {
        set("prefix", prefix.clone().into());
    }
    if let Some(limit) = arguments.size_limit {
        set("size_limit", limit.into());
    }
    if arguments.purge {
        set("purge", true.into());
    }
    Ok(options)
}

async fn load(
    shell: &Shell,
    request: Request,
    draw: fn(&Shell, &Output, &Report) -> Result<(), AppError>,
) -> Result<Outcome, AppError> {
    let report = shell.write("copy", async |context| copy::run(context, request).await).await?;
    shell.output.report(&report, |output| draw(shell, output, &report))?;
    let is_whole = report.tables.iter().all(|table| table.copy.failed_files().next().is_none());
    Ok(if is_whole { Outcome::Done } else { Outcome::ChecksFailed })
}

/// Shows what would be loaded. It writes aside and takes that away again, so it is alone in the project like a load.
async fn validate(shell: &Shell, request: Request, mode: ValidationMode) -> Result<Outcome, AppError> {
    let tables = shell.write("copy", async |context| copy::validate(context, request, mode).await).await?;
    let mut shown = Vec::new();
    for table in &tables {
        let rows = table.rows()?;
        shown.push(serde_json::json!({
            "table": table.table, "files": table.validation.files, "errors": table.validation.errors, "rows": rows.json()?,
        }));
    }
    let report = serde_json::json!({ "validation_mode": mode.to_string(), "tables": shown });
    shell.output.report(&report, |output| tables.iter().try_for_each(|table| draw_validated(output, table)))?;
    let is_clean = tables.iter().all(|table| {
        let failed = |file: &FileReport| file.status == FileStatus::LoadFailed;
        table.validation.errors.is_empty() && !table.validation.files.iter().any(failed)
    });
    Ok(if is_clean { Outcome::Done } else { Outcome::ChecksFailed })
}

fn draw_validated(output: &Output, table: &ValidatedTable) -> Result<(), AppError> {
    if !table.validation.errors.is_empty() {
        let mut errors = Table::new(&["file", "#line", "#row", "#byte", "column", "code", "error"]);
        for error in &table.validation.errors {
            errors.row(vec![
                error.file.clone(),
                error.line.to_string(),
                error.row_number.to_string(),
                error.byte_offset.to_string(),
                error.column_name.clone().unwrap_or_default(),
                error.code.clone(),
                error.error.clone(),
            ]);
        }
        output.data(&errors.render())?;
    }
    if !table.validation.rows.is_empty() {
        output.data(&super::query::rendered(&table.rows()?)?)?;
    }
    let failed = table.validation.files.iter().filter(|file| file.status == FileStatus::LoadFailed);
    failed.for_each(|file| draw_file(output, &table.table, file));
    let parsed: u64 = table.validation.files.iter().map(|file| file.rows_parsed).sum();
    let bad: u64 = table.validation.files.iter().map(|file| file.rows_rejected).sum();
    output.done(
        "Validated",
        &format!("{}: {} read, {} would be set aside", table.table, count(parsed, "row"), grouped(bad)),
    );
    Ok(())
}

/// A row per file, as the result of a statement.
fn draw_files(shell: &Shell, output: &Output, report: &Report) -> Result<(), AppError> {
    let mut files = Table::new(&[
        "file",
        "status",
        "#rows_parsed",
        "#rows_loaded",
        "#errors_seen",
        "first_error",
        "#first_error_line",
        "first_error_column_name",
    ]);
    for file in report.tables.iter().flat_map(|table| &table.copy.files) {
        let first = file.first_error.as_ref();
        let error = first.map(|first| first.message.clone()).or_else(|| file.reason.clone());
        files.row(vec![
            file.file.clone(),
            file.status.as_str().to_owned(),
            grouped(file.rows_parsed),
            grouped(file.rows_loaded),
            grouped(file.rows_rejected),
            error.unwrap_or_default(),
            first.map_or(String::new(), |first| first.line.to_string()),
            first.and_then(|first| first.column.clone()).unwrap_or_default(),
        ]);
    }
    output.data(&files.render())?;
    draw_notes(shell, output, report);
    Ok(())
}

fn draw(shell: &Shell, output: &Output, report: &Report) -> Result<(), AppError> {
    if !report.tables.is_empty() {
        output.data(&tables(&report.tables).render())?;
    }
    for entry in &report.tables {
        entry.copy.files.iter().for_each(|file| draw_file(output, &entry.table, file));
    }
    draw_notes(shell, output, report);
    Ok(())
}

/// What is to be said about a load beside its files.
fn draw_notes(shell: &Shell, output: &Output, report: &Report) {
    for entry in &report.tables {
        if let Some(proof) = &entry.copy.proof {
            output.done("Proven", &format!("{}: {}", entry.table, proven(proof)));
        }
        let failed = entry.copy.files.iter().filter(|file| file.purge == Some(Purge::PurgeFailed)).count();
        if failed > 0 {
            let files = count(failed as u64, "file");
            output.warn(&format!(
                "{}: {files} loaded, and not removed from the stage; the next COPY tries again",
                entry.table
            ));
        }
        for column in &entry.copy.inferred {
            // A guess that stays forever deserves to be seen once; declaring the type settles it.
            output.say(&format!("{}: column `{}` is {} (inferred)", entry.table, column.column, column.column_type));
        }
    }
    let loaded: u64 = report.tables.iter().map(|entry| entry.copy.rows_loaded).sum();
    let what = if loaded == 0 { "nothing new".to_owned() } else { count(loaded, "row") };
    output.done("Copied", &format!("{what}, in {}", shell.took()));
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
fn draw_file(output: &Output, table: &TableName, file: &FileReport) {
    let (is_error, code, message) = match file.status {
        FileStatus::Loaded | FileStatus::LoadSkipped => return,
        FileStatus::PartiallyLoaded => {
            (false, "rows_set_aside", format!("`{}`: {} set aside", file.file, count(file.rows_rejected, "row")))
        }
        FileStatus::LoadFailed => {
            let reason = file.reason.as_deref().unwrap_or("it has bad rows");
            (true, "file_not_loaded", format!("`{}` was not loaded into `{table}`: {reason}", file.file))
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
