//! `montauk quarantine`: how many rows COPY set aside, the rows themselves, and what becomes of them.
//!
//! In: an action, a table, which rejects.  Out: counts that add up, a table of rejects, or what was done; exit code 4 when a replayed row
//! still does not fit.
//! Never here: mending and loading them (`warehouse`).
//! Start at [`run`].

use pipeline::steps::quarantine::{self, Report, Request, TableReport};
use warehouse::{FixReport, QuarantineCounts, Quarantined, RejectFilter, ReplayReport};

use super::{Outcome, Shell};
use crate::cli::{self, QuarantineAction, Rejects};
use crate::error::AppError;
use crate::output::{Output, count, grouped};
use crate::table::Table;

/// Rows of a fix or a replay that are shown; all of them are in `--json`.
const SHOWN: usize = 5;

pub async fn run(shell: &Shell, arguments: cli::Quarantine) -> Result<Outcome, AppError> {
    let request = request(arguments);
    let report = match request {
        Request::List { .. } | Request::Show { .. } => {
            shell.read(async |context| quarantine::run(context, request).await).await?
        }
        Request::Fix { .. } | Request::Replay { .. } | Request::Dismiss { .. } => {
            shell.write("quarantine", async |context| quarantine::run(context, request).await).await?
        }
    };
    shell.output.report(&report, |output| draw(output, &report))?;
    let is_whole = match &report {
        Report::Replay { replay, .. } => replay.still_rejected.is_empty() && replay.not_replayable.is_empty(),
        Report::List { .. } | Report::Show { .. } | Report::Fix { .. } | Report::Dismiss { .. } => true,
    };
    Ok(if is_whole { Outcome::Done } else { Outcome::ChecksFailed })
}

fn request(arguments: cli::Quarantine) -> Request {
    let all = QuarantineAction::List { table: None, rejects: Rejects::default(), all: false, limit: 0 };
    match arguments.action.unwrap_or(all) {
        QuarantineAction::List { table, rejects, all, limit } => Request::List {
            selection: table.into_iter().collect(),
            filter: RejectFilter { only_open: !all, ..filter(rejects) },
            limit,
        },
        QuarantineAction::Show { table, id } => Request::Show { table, id },
        QuarantineAction::Fix { table, sql, rejects } => Request::Fix { table, filter: filter(rejects), sql },
        QuarantineAction::Replay { table, rejects } => Request::Replay { table, filter: filter(rejects) },
        QuarantineAction::Dismiss { table, reason, rejects } => {
            Request::Dismiss { table, filter: filter(rejects), reason }
        }
    }
}

fn filter(rejects: Rejects) -> RejectFilter {
    let Rejects { ids, file, column, code } = rejects;
    RejectFilter { ids, file, column, code, only_open: false }
}

fn draw(output: &Output, report: &Report) -> Result<(), AppError> {
    match report {
        Report::List { tables } => draw_list(output, tables),
        Report::Show { reject, .. } => draw_one(output, reject),
        Report::Fix { table, fix } => {
            draw_fix(output, &table.to_string(), fix);
            Ok(())
        }
        Report::Replay { table, replay, counts } => {
            draw_replay(output, &table.to_string(), replay);
            output.data(&of_tables(&[(table.to_string(), *counts)]).render())
        }
        Report::Dismiss { table, dismissed, counts } => {
            output.done("Dismissed", &format!("{} of {table}", count(*dismissed as u64, "reject")));
            output.data(&of_tables(&[(table.to_string(), *counts)]).render())
        }
    }
}

fn draw_list(output: &Output, tables: &[TableReport]) -> Result<(), AppError> {
    let counts: Vec<_> = tables.iter().map(|entry| (entry.table.to_string(), entry.counts)).collect();
    output.data(&of_tables(&counts).render())?;
    for entry in tables.iter().filter(|entry| !entry.rejects.is_empty()) {
        output.data(&format!("\n{}", rejects(entry).render()))?;
        let (shown, open) = (entry.rejects.len() as u64, entry.counts.open + entry.counts.fixed);
        if shown < open {
            output.say(&format!(
                "({} of {}; more with `--limit`, whole rows with `--json`)",
                grouped(shown),
                grouped(open)
            ));
        }
    }
    let waiting = tables.iter().find(|entry| entry.rejects.is_empty() && entry.counts.open + entry.counts.fixed > 0);
    if let Some(entry) = waiting {
        output.say(&format!("see them: montauk quarantine list {}", entry.table));
    }
    Ok(())
}

/// Rows add up: parsed = loaded + open + fixed + replayed + dismissed.
fn of_tables(counts: &[(String, QuarantineCounts)]) -> Table {
    let mut table = Table::new(&[
        "table",
        "#loads",
        "#rows parsed",
        "#loaded",
        "#open",
        "#fixed",
        "#replayed",
        "#dismissed",
        "#cells",
    ]);
    for (name, counts) in counts {
        let cells = [
            counts.loads as u64,
            counts.rows_parsed,
            counts.rows_loaded,
            counts.open,
            counts.fixed,
            counts.replayed,
            counts.dismissed,
            counts.cells,
        ];
        table.row([vec![name.clone()], cells.map(grouped).to_vec()].concat());
    }
    table
}

fn rejects(entry: &TableReport) -> Table {
    let mut table = Table::new(&["id", "state", "file", "#line", "column", "reason", "original"]);
    for found in &entry.rejects {
        let reject = &found.reject;
        // Files without lines (Parquet) have row numbers only.
        let line = if reject.line > 0 { reject.line } else { reject.row };
        table.row(vec![
            found.id.to_string(),
            found.state.as_str().to_owned(),
            reject.file.clone(),
            line.to_string(),
            reject.column.clone().unwrap_or_default(),
            reject.message.clone(),
            found.fixed.clone().unwrap_or_else(|| reject.original.clone()),
        ]);
    }
    table
}

fn draw_one(output: &Output, found: &Quarantined) -> Result<(), AppError> {
    let reject = &found.reject;
    let mut lines = vec![
        format!("reject    {} ({}, {})", found.id, reject.kind.as_str(), found.state.as_str()),
        format!("place     {}, line {}, row {}, byte {}", reject.file, reject.line, reject.row, reject.byte_offset),
        format!("column    {}", reject.column.as_deref().unwrap_or("–")),
        format!("reason    {} [{}]", reject.message, reject.code),
        format!("original  {}", reject.original),
    ];
    lines.extend(found.fixed.as_ref().map(|text| format!("fixed     {text}")));
    lines.extend(found.reason.as_ref().map(|reason| format!("dismissed because {reason}")));
    lines.extend(found.replayed_in.map(|load| format!("replayed  in load {load}")));
    output.data(&(lines.join("\n") + "\n"))
}

fn draw_fix(output: &Output, table: &str, fix: &FixReport) {
    for fixed in fix.fixed.iter().take(SHOWN) {
        output.say(&format!(
            "{}: {}\n  {} {}",
            fixed.id,
            fixed.before,
            " ".repeat(fixed.id.to_string().len()),
            fixed.after
        ));
    }
    for id in fix.not_cut.iter().take(SHOWN) {
        output.warn(&format!("{id} cannot be cut into fields: mend it whole, with `_original`"));
    }
    let unchanged = if fix.unchanged > 0 { format!(", {} unchanged", fix.unchanged) } else { String::new() };
    output.done("Fixed", &format!("{} of {table}{unchanged}", count(fix.fixed.len() as u64, "row")));
    if !fix.fixed.is_empty() {
        output.say(&format!("load them: montauk quarantine replay {table}"));
    }
}

fn draw_replay(output: &Output, table: &str, replay: &ReplayReport) {
    for found in replay.still_rejected.iter().take(SHOWN) {
        output.warn(&format!("{} still does not fit: {}", found.id, found.reject.message));
    }
    for found in replay.not_replayable.iter().take(SHOWN) {
        output.warn(&format!("{} is not replayed: {}", found.id, found.reason));
    }
    let left = replay.still_rejected.len() + replay.not_replayable.len();
    let left = if left > 0 { format!(", {left} left") } else { String::new() };
    output.done("Replayed", &format!("{} into {table}{left}", count(replay.rows_replayed, "row")));
}
