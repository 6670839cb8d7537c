//! `experiment results` and `experiment decide`.
//!
//! In: an experiment, a choice.  Out: effects with a verdict; a decision that keeps the results it rests on.
//! Never here: statistics and rules.
//! Start at [`decide`].

use chrono::{NaiveDate, NaiveTime};
use control::ExperimentRecord;
use experiment::decision::Code;
use experiment::lifecycle::{LaunchFacts, Step};
use pipeline::steps::analyze::{self, ExperimentReport};

use crate::commands::Shell;
use crate::commands::analyze::draw;
use crate::error::AppError;
use crate::store::{Desk, failed};

async fn analyzed(
    shell: &Shell,
    desk: &Desk,
    key: &str,
    until: Option<NaiveDate>,
) -> Result<(ExperimentReport, Option<ExperimentRecord>), AppError> {
    // Read once: what is decided later has seen this revision and no other.
    let record = desk.find(key).await?;
    let request = match &record {
        Some(record) => analyze::Request::of(&record.course),
        None => analyze::Request { given: Some(desk.file(key).await?), ..analyze::Request::default() },
    };
    let request = analyze::Request { until: until.map(|day| day.and_time(NaiveTime::MIN).and_utc()), ..request };
    let mut reports = shell.write("analyze", async |context| analyze::run(context, request).await).await?;
    let report = reports.pop();
    let report = report.ok_or_else(|| AppError::Internal { what: "no results", reason: format!("of `{key}`") })?;
    Ok((report, record))
}

pub(super) async fn results(shell: &Shell, desk: &Desk, key: &str, until: Option<NaiveDate>) -> Result<(), AppError> {
    let (report, _) = analyzed(shell, desk, key, until).await?;
    shell.output.report(&report, |output| draw(output, &report))
}

/// What was chosen: an arm to ship, or the control, for one reason or the other.
pub(super) struct Choice {
    pub(super) ship: Option<String>,
    pub(super) roll_back: bool,
}

pub(super) async fn decide(
    shell: &Shell,
    desk: &Desk,
    key: &str,
    choice: Choice,
    reason: String,
    until: Option<NaiveDate>,
) -> Result<(), AppError> {
    let (report, record) = analyzed(shell, desk, key, until).await?;
    let record = match record {
        Some(record) => record,
        None => desk.record(key).await?,
    };
    let control = record.course.assignment.variants.first().map(|variant| variant.key.clone()).unwrap_or_default();
    let (chosen, arm) = match choice {
        Choice { ship: Some(arm), .. } => (Code::Ship, arm),
        Choice { roll_back: true, .. } => (Code::RollBack, control),
        Choice { .. } => (Code::NoDifference, control),
    };
    let results = serde_json::to_value(&report.results)
        .map_err(|error| AppError::Internal { what: "results have no JSON form", reason: error.to_string() })?;
    let proposed = report.results.decision.as_ref().map(|decision| decision.verdict.clone());
    let step =
        Step::Decide { chosen, arm: arm.clone(), reason, proposed, results, plan_hash: report.plan_hash.clone() };
    let facts = LaunchFacts::default();
    let record =
        desk.control.step(&desk.actor, key, record.revision, &step, &facts, shell.now).await.map_err(failed)?;
    desk.publish(shell).await?;
    shell.output.report(&record, |output| {
        output.done("Decided", &format!("`{key}`: everybody in its audience gets `{arm}`"));
        output.say(&format!("next: montauk experiment archive {key} --make-default, once the code knows no other way"));
        Ok(())
    })
}
