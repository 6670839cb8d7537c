//! `montauk query`: rows as a table, CSV or JSON.
//!
//! In: one statement.  Out: rows on standard output.
//! Never here: SQL (`warehouse`).
//! Start at [`run`].

use std::io::Read;
use std::path::Path;

use pipeline::steps::query::{self, Report, Request};
use warehouse::CopyStatement;

use super::{Outcome, Shell};
use crate::cli::{self, Format};
use crate::error::AppError;
use crate::output::{count, grouped};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::Query) -> Result<Outcome, AppError> {
    let sql = statement(&arguments)?;
    if CopyStatement::is_copy(&sql) {
        return super::copy::run_statement(shell, &sql).await;
    }
    let project = shell.project()?;
    // A person reads a screenful; a program reads everything.
    let screenful = (arguments.format == Format::Table && !shell.output.json).then_some(project.settings.query.limit);
    let request = Request { sql, catalog: arguments.catalog, limit: arguments.limit.or(screenful) };
    let context = shell.context(project).await?;
    let report = query::run(&context, request).await?;
    if shell.output.json {
        let shown =
            serde_json::json!({ "catalog": report.catalog, "truncated": report.truncated, "rows": report.json()? });
        shell.output.json(&shown)?;
        return Ok(Outcome::Done);
    }
    match arguments.format {
        Format::Table => draw(shell, &report)?,
        Format::Csv => shell.output.data(&report.csv()?)?,
        Format::Json => shell.output.json(&report.json()?)?,
    }
    Ok(Outcome::Done)
}

fn statement(arguments: &cli::Query) -> Result<String, AppError> {
    match (&arguments.sql, &arguments.file) {
        (Some(sql), _) => Ok(sql.clone()),
        (None, Some(file)) if file == Path::new("-") => {
            let mut sql = String::new();
            let read = std::io::stdin().read_to_string(&mut sql);
            read.map_err(|error| AppError::io("read standard input", &error))?;
            Ok(sql)
        }
        (None, Some(file)) => {
            std::fs::read_to_string(file).map_err(|error| AppError::io(format!("read `{}`", file.display()), &error))
        }
        (None, None) => Err(AppError::Usage {
            message: "no statement is given".to_owned(),
            help: "write it in quotes: `montauk query \"select 1\"`, or name a file with `-f`".to_owned(),
        }),
    }
}

/// The rows as a table.
pub(super) fn rendered(report: &Report) -> Result<String, AppError> {
    let cells = report.cells()?;
    let mut table = Table::with_kinds(cells.columns.into_iter().map(|column| (column.name, column.is_number)));
    for row in cells.rows {
        table.row(row);
    }
    Ok(table.render())
}

fn draw(shell: &Shell, report: &Report) -> Result<(), AppError> {
    let rows = report.result.batches.iter().map(|batch| batch.num_rows() as u64).sum();
    shell.output.data(&rendered(report)?)?;
    let more = if report.truncated {
        format!("the first {} rows; more with `--limit`", grouped(rows))
    } else {
        count(rows, "row")
    };
    shell.output.say(&format!("({more}, catalog {}, {})", report.catalog, shell.took()));
    Ok(())
}
