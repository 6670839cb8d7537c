//! `montauk experiment`: what people decide about experiments, from the command line.
//!
//! In: an action.  Out: records as tables or JSON; a change publishes the snapshot that flags are answered from.
//! Never here: rules (`control`, `experiment::lifecycle`), statistics.
//! Start at [`run`].

mod decide;
mod files;
mod preview;
mod records;
mod refresh;
mod show;
mod trial;

use experiment::lifecycle::{LaunchFacts, Step};

use super::{Outcome, Shell};
use crate::cli::{self, Because, ExperimentAction, One};
use crate::error::AppError;
use crate::store::{self, Desk};

pub async fn run(shell: &Shell, arguments: cli::Experiment) -> Result<Outcome, AppError> {
    let action = arguments.action.unwrap_or(ExperimentAction::List { state: None });
    let desk = store::desk(shell).await?;
    match action {
        ExperimentAction::List { state } => show::list(shell, &desk, state).await?,
        ExperimentAction::Show { key } => show::one(shell, &desk, &key).await?,
        ExperimentAction::Create { file } => files::create(shell, &desk, &file).await?,
        ExperimentAction::Update { file, seen } => files::update(shell, &desk, &file, seen).await?,
        ExperimentAction::Plan => files::plan(shell, &desk).await?,
        ExperimentAction::Apply { new_phases, skip_blocked, reason } => {
            let options = control::ApplyOptions { new_phases, skip_blocked };
            files::apply(shell, &desk, options, &reason).await?;
        }
        ExperimentAction::Power { key, history } => trial::power(shell, &desk, &key, &history).await?,
        ExperimentAction::Simulate { key, units, seed, attributes } => {
            trial::simulate(shell, &desk, &key, (units, seed), &attributes).await?;
        }
        ExperimentAction::Assign { key, units, file, attributes } => {
            trial::assign(shell, &desk, &key, (units, file), &attributes).await?;
        }
        ExperimentAction::Results { key, until } => decide::results(shell, &desk, &key, until).await?,
        ExperimentAction::Refresh { keys, at, dry_run } => {
            return refresh::refresh(shell, &desk, &keys, at, dry_run).await;
        }
        ExperimentAction::Preview { key, variant, days, url } => {
            preview::preview(shell, &desk, &key, variant, days, url.as_deref()).await?;
        }
        ExperimentAction::Export { keys } => records::export(shell, &desk, &keys).await?,
        ExperimentAction::Audit { key, format } => records::audit(shell, &desk, key, format).await?,
        ExperimentAction::Decide { key, ship, roll_back, no_difference: _, reason, until } => {
            let choice = decide::Choice { ship, roll_back };
            decide::decide(shell, &desk, &key, choice, reason, until).await?;
        }
        ExperimentAction::Submit(one) => step(shell, &desk, one, Step::Submit, "Submitted").await?,
        ExperimentAction::Approve { one, up_to } => {
            step(shell, &desk, one, Step::Approve { up_to }, "Approved").await?;
        }
        ExperimentAction::Reject(Because { one, reason }) => {
            step(shell, &desk, one, Step::Reject { reason }, "Rejected").await?;
        }
        ExperimentAction::Start(one) => step(shell, &desk, one, Step::Start, "Started").await?,
        ExperimentAction::Ramp { one, coverage } => {
            step(shell, &desk, one, Step::Ramp { coverage }, "Ramped").await?;
        }
        ExperimentAction::Pause(Because { one, reason }) => {
            step(shell, &desk, one, Step::Pause { reason }, "Paused").await?;
        }
        ExperimentAction::Resume(one) => step(shell, &desk, one, Step::Resume, "Resumed").await?,
        ExperimentAction::Stop(Because { one, reason }) => {
            step(shell, &desk, one, Step::Stop { reason, proposal: None }, "Stopped").await?;
        }
        ExperimentAction::Reopen { because: Because { one, reason }, make_default } => {
            step(shell, &desk, one, Step::Reopen { reason, make_default }, "Reopened").await?;
        }
        ExperimentAction::Archive { because: Because { one, reason }, make_default } => {
            step(shell, &desk, one, Step::Archive { reason, make_default }, "Archived").await?;
        }
    }
    Ok(Outcome::Done)
}

/// Does a verb at the revision that was seen, else at the one that stands, and publishes.
async fn step(shell: &Shell, desk: &Desk, One { key, seen }: One, step: Step, done: &str) -> Result<(), AppError> {
    let record = desk.record(&key).await?;
    let revision = seen.revision.unwrap_or(record.revision);
    let facts = match step {
        Step::Start => show::facts(shell, &record).await?,
        Step::Submit
        | Step::Approve { .. }
        | Step::Reject { .. }
        | Step::Ramp { .. }
        | Step::Pause { .. }
        | Step::Resume
        | Step::Stop { .. }
        | Step::Decide { .. }
        | Step::Reopen { .. }
        | Step::Archive { .. } => LaunchFacts::default(),
    };
    let record =
        desk.control.step(&desk.actor, &key, revision, &step, &facts, shell.now).await.map_err(store::failed)?;
    desk.publish(shell).await?;
    shell.output.report(&record, |output| {
        let share = match (&step, &record.course.approval) {
            (Step::Approve { .. }, Some(approval)) => format!("up to {}", show::percent(approval.up_to)),
            _ => show::percent(record.course.traffic_share()),
        };
        output.done(done, &format!("`{key}`: {}, {share} of all units", record.course.state.name()));
        Ok(())
    })
}
