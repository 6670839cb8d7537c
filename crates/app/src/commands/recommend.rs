//! `montauk recommend`: what one user did, what they are recommended and why; or the mart with everybody's list.
//!
//! In: a user, or nobody.  Out: a list.
//! Never here: scoring (`recommend` the room).
//! Start at [`run`].

use pipeline::steps::recommend::{self, Because, Report, Request, UserReport, Users};

use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count};

/// Items of the history that are shown; the list is what matters here.
const HISTORY_SHOWN: usize = 5;

pub async fn run(shell: &Shell, arguments: cli::Recommend) -> Result<Outcome, AppError> {
    let is_for_all = arguments.user.is_none();
    let users = arguments.user.map_or(Users::All, Users::One);
    let request = Request { users, recommender: arguments.recommender, limit: arguments.limit.map(usize::from) };
    let step = async |context: &pipeline::steps::Context| recommend::run(context, request).await;
    let report = if is_for_all { shell.write("recommend", step).await? } else { shell.read(step).await? };
    shell.output.report(&report, |output| match &report {
        Report::One(list) => output.data(&draw(list)),
        Report::All(table) => {
            let verb = if table.unchanged { "Unchanged" } else { "Wrote" };
            let size = format!("{}, {}", count(table.users as u64, "user"), count(table.rows, "row"));
            output.done(
                verb,
                &format!(
                    "{}: {size} by {}, catalog {}, in {}",
                    table.table,
                    table.recommender,
                    table.catalog,
                    shell.took()
                ),
            );
            Ok(())
        }
    })?;
    Ok(Outcome::Done)
}

/// One user's list; the demo shows it, too.
pub fn draw(report: &UserReport) -> String {
    let mut text = format!("customer {}\n", report.user);
    if !report.history.is_empty() {
        text.push_str("  bought\n");
        for item in report.history.iter().take(HISTORY_SHOWN) {
            text.push_str(&format!(
                "    {}  {}\n",
                item.at.format("%Y-%m-%d"),
                name(&item.item_id, item.title.as_deref())
            ));
        }
        if report.history.len() > HISTORY_SHOWN {
            text.push_str(&format!("    … and {} more\n", report.history.len() - HISTORY_SHOWN));
        }
    }
    let how = match &report.reason {
        Some(reason) => format!("{}: {}", report.source, reason.replace('_', " ")),
        None => report.recommender.clone(),
    };
    text.push_str(&format!("  recommended ({how})\n"));
    for item in &report.items {
        text.push_str(&format!("    {:>2}. {}\n", item.rank, name(&item.item_id, item.title.as_deref())));
        if !item.because.is_empty() {
            text.push_str(&format!("        because of {}\n", because(&item.because)));
        }
    }
    text
}

fn name(id: &str, title: Option<&str>) -> String {
    title.map_or_else(|| id.to_owned(), |title| format!("{title} ({id})"))
}

/// `WHITE HANGING HEART (41 %), view RED MUG (12 %), …`
fn because(reasons: &[Because]) -> String {
    let reasons: Vec<String> = reasons
        .iter()
        .map(|reason| {
            let id = reason.thing.as_deref().or(reason.item_id.as_deref()).unwrap_or_default();
            let indicator = reason.indicator.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
            format!("{indicator}{} ({:.0} %)", reason.title.as_deref().unwrap_or(id), 100.0 * reason.share)
        })
        .collect();
    reasons.join(", ")
}

/// Several lists with a blank line before each.
pub fn draw_all(output: &Output, reports: &[UserReport]) -> Result<(), AppError> {
    for report in reports {
        output.data(&format!("\n{}", draw(report)))?;
    }
    Ok(())
}
