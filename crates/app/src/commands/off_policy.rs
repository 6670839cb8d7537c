//! `montauk off-policy`: what a policy would have earned, from what another one logged.
//!
//! In: names of policies.  Out: per policy a table of estimates with intervals, beside what it earned itself.
//! Never here: estimators (`experiment`), reading of rows (`pipeline`).
//! Start at [`run`].

use ::experiment::ranking::off_policy::Refusal;
use ::experiment::ranking::policy_evaluation::{Earned, Estimated, Gap};
use ::experiment::stats::Interval;
use pipeline::steps::off_policy::{self, PolicyReport, Request};

use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count, grouped};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::OffPolicy) -> Result<Outcome, AppError> {
    let request = Request { policies: arguments.policies };
    let reports = shell.read(async |context| off_policy::run(context, request).await).await?;
    shell.output.report(&reports, |output| {
        for report in &reports {
            draw(output, report)?;
        }
        output.done("Evaluated", &count(reports.len() as u64, "policy file"));
        Ok(())
    })?;
    Ok(Outcome::Done)
}

fn draw(output: &Output, report: &PolicyReport) -> Result<(), AppError> {
    let evaluation = &report.evaluation;
    let mut text = format!(
        "{}: {} logged rows, {}, {}\n",
        report.name,
        grouped(report.rows as u64),
        count(report.actions as u64, "action"),
        count(report.contexts as u64, "context")
    );
    text.push_str(&format!("the log's own policy earned {}\n", earned(&evaluation.logged)));
    if let Some(observed) = &evaluation.observed {
        let rows = grouped(observed.rows as u64);
        text.push_str(&format!("this policy itself earned {} in {rows} rows\n", earned(observed)));
    }
    text.push('\n');
    let heads = [
        ("estimator", false),
        ("value", true),
        ("interval", true),
        ("minus observed", true),
        ("effective rows", true),
        ("largest weight", true),
        ("cut", true),
        ("", false),
    ];
    let mut table = Table::with_kinds(heads.map(|(name, is_number)| (name.to_owned(), is_number)));
    for estimated in &evaluation.estimates {
        table.row(cells(estimated));
    }
    text.push_str(&table.render());
    output.data(&text)
}

fn earned(earned: &Earned) -> String {
    format!("{:.5} ({:.5} to {:.5})", earned.value, earned.lower, earned.upper)
}

fn cells(estimated: &Estimated) -> Vec<String> {
    let value = &estimated.value;
    let none = || "–".to_owned();
    let interval = |interval: Interval| format!("{:.5} to {:.5}", interval.lower, interval.upper);
    let gap = |gap: Gap| format!("{:+.5} ({:+.5} to {:+.5})", gap.value, gap.lower, gap.upper);
    let note = match value.refusal {
        None => "",
        Some(Refusal::FewEffectiveRows) => "refused: fewer than 100 effective rows",
        Some(Refusal::NoOverlap) => "refused: the policy does what was hardly ever logged",
    };
    vec![
        estimated.estimator.to_owned(),
        format!("{:.5}", value.value),
        estimated.interval.map_or_else(none, interval),
        estimated.difference.map_or_else(none, gap),
        grouped(value.effective_rows as u64),
        format!("{:.1}", value.largest_weight),
        format!("{:.1} %", 100.0 * value.clipped_share),
        note.to_owned(),
    ]
}
