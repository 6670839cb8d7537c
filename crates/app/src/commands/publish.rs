//! `montauk publish`: what changed at each destination, and the feed.
//!
//! In: syncs.  Out: a line per sync; a plan with `--plan`.
//! Never here: the difference (`pipeline`), databases (`connect`).
//! Start at [`run`].

use pipeline::steps::publish::{self, Report, Request, SyncReport};

use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count, grouped};
use crate::table::Table;

/// Rejected rows shown per sync; all of them are in `--json`.
const REJECTS_SHOWN: usize = 5;

pub async fn run(shell: &Shell, arguments: cli::Publish) -> Result<Outcome, AppError> {
    let request = Request { syncs: arguments.syncs, plan: arguments.plan, yes: shell.globals.yes };
    let report = shell.write("publish", async |context| publish::run(context, request).await).await?;
    shell.output.report(&report, |output| draw(shell, output, &report))?;
    let is_whole = report.syncs.iter().all(|sync| sync.rejected.is_empty());
    Ok(if is_whole { Outcome::Done } else { Outcome::ChecksFailed })
}

fn draw(shell: &Shell, output: &Output, report: &Report) -> Result<(), AppError> {
    if !report.syncs.is_empty() {
        output.data(&syncs(&report.syncs).render())?;
    }
    for sync in &report.syncs {
        for warning in &sync.warnings {
            output.warn(&format!("{}: {warning}", sync.sync));
        }
        for reject in sync.rejected.iter().take(REJECTS_SHOWN) {
            output.warn(&format!("{}: row {} was rejected: {}", sync.sync, reject.key, reject.reason));
        }
        if sync.rejected.len() > REJECTS_SHOWN {
            output.warn(&format!("{}: {} rows were rejected in all", sync.sync, grouped(sync.rejected.len() as u64)));
        }
    }
    if let Some(feed) = &report.feed {
        let verb = if feed.changed { "Wrote" } else { "Unchanged" };
        let size = format!("{}, {}", count(feed.items, "item"), count(feed.users, "user"));
        output.done(verb, &format!("feed {}: {size}", feed.number));
    }
    if report.syncs.is_empty() {
        return Ok(());
    }
    let verb = if report.syncs.iter().any(|sync| sync.planned) { "Planned" } else { "Published" };
    output.done(
        verb,
        &format!("{}, catalog {}, in {}", count(report.syncs.len() as u64, "sync"), report.catalog, shell.took()),
    );
    Ok(())
}

fn syncs(reports: &[SyncReport]) -> Table {
    let mut table = Table::new(&["sync", "to", "#insert", "#update", "#delete", "#unchanged", "#rejected"]);
    for sync in reports {
        table.row(vec![
            sync.sync.clone(),
            sync.destination.clone(),
            grouped(sync.inserted),
            grouped(sync.updated),
            grouped(sync.deleted),
            grouped(sync.unchanged),
            grouped(sync.rejected.len() as u64),
        ]);
    }
    table
}
