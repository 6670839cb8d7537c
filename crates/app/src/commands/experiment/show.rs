//! `experiment list` and `experiment show`.
//!
//! In: a store.  Out: a table of experiments, or one whole with its checklist.
//! Never here: what the checklist asks (`experiment::lifecycle`).
//! Start at [`list`].

use control::{ExperimentFilter, ExperimentRecord, KeptPower};
use experiment::lifecycle::{Checklist, LaunchFacts, State};
use pipeline::steps::launch;
use serde::Serialize;
use serde_json::Value;

use crate::commands::Shell;
use crate::error::AppError;
use crate::store::{Desk, failed};
use crate::table::Table;

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

pub(super) async fn list(shell: &Shell, desk: &Desk, state: Option<State>) -> Result<(), AppError> {
    let filter = ExperimentFilter { state, ..ExperimentFilter::default() };
    let mut records = desk.control.experiments(&desk.actor, &filter).await.map_err(failed)?;
    let is_new = records.is_empty() && state.is_none();
    if state.is_none() {
        records.retain(|record| record.course.state != State::Archived);
    }
    shell.output.report(&records, |output| {
        let mut table =
            Table::new(&["experiment", "state", "#days", "#traffic", "owner", "goal", "variants", "managed by"]);
        for record in &records {
            let course = &record.course;
            let variants: Vec<&str> = course.assignment.variants.iter().map(|variant| variant.key.as_str()).collect();
            table.row(vec![
                record.key.clone(),
                course.state.name().to_owned(),
                format!("{:.1}", course.days_running(shell.now)),
                percent(course.traffic_share()),
                record.owner.clone(),
                course.analysis.metrics().first().map(|goal| (*goal).to_owned()).unwrap_or_default(),
                variants.join(", "),
                record.origin.as_ref().map_or_else(|| "store".to_owned(), |origin| origin.path.clone()),
            ]);
        }
        output.data(&table.render())?;
        if is_new {
            output.say("no experiment yet: write experiments/<name>.toml and run `montauk experiment apply`");
        }
        Ok(())
    })
}

/// A record with what it still needs.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    record: &'a ExperimentRecord,
    checklist: &'a Checklist,
    /// As it was last computed; the checklist says whether it is of this content.
    power: Option<&'a KeptPower>,
}

pub(super) async fn one(shell: &Shell, desk: &Desk, key: &str) -> Result<(), AppError> {
    let record = desk.record(key).await?;
    // Without its warehouse an experiment is shown all the same.
    let facts = facts(shell, &record).await.unwrap_or_else(|error| {
        shell.output.warn(&format!("exposures were not looked at: {error}"));
        LaunchFacts { metrics: desk.project.metrics.clone(), ..LaunchFacts::default() }
    });
    let checklist = desk.control.checklist(&desk.actor, key, &facts).await.map_err(failed)?;
    let power = desk.control.power(&desk.actor, key).await.map_err(failed)?;
    let shown = Shown { record: &record, checklist: &checklist, power: power.as_ref() };
    shell.output.report(&shown, |output| output.data(&draw(shell, &shown)))
}

/// What project and warehouse know of a launch.
pub(super) async fn facts(shell: &Shell, record: &ExperimentRecord) -> Result<LaunchFacts, AppError> {
    let file = record.course.file();
    shell.read(async |context| launch::run(context, &file).await).await
}

fn draw(shell: &Shell, Shown { record, checklist, power }: &Shown<'_>) -> String {
    let course = &record.course;
    let about = &course.about;
    let mut text = format!("{}, {}", record.key, course.state.name());
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("\n{name}: {value}"));
        }
    };
    line("title", about.title.as_deref().unwrap_or_default());
    line("hypothesis", about.hypothesis.as_deref().unwrap_or_default());
    line("owner", &record.owner);
    line("revision", &record.revision.to_string());
    line("traffic", &percent(course.traffic_share()));
    line("days running", &format!("{:.1}", course.days_running(shell.now)));
    line("goals and others", &course.analysis.metrics().join(", "));
    if let Some(power) = power {
        let end = power.found.power.map_or_else(|| "no figures".to_owned(), percent);
        line("power at the end", &format!("{end}, computed {} by {}", power.at.format("%Y-%m-%d %H:%M"), power.by));
    }
    let steps = course.schedule.ramp.iter().filter(|step| step.coverage > course.assignment.coverage);
    let steps = steps.map(|step| format!("{} from {}", percent(step.coverage), step.at.format("%Y-%m-%d %H:%M")));
    line("ramp", &steps.collect::<Vec<_>>().join(", "));
    if let Some(proposal) = &course.proposal {
        let code = serde_json::to_value(proposal.verdict.code).unwrap_or_default();
        line(
            "proposed",
            &format!("{} {}", code.as_str().unwrap_or_default(), proposal.arm.as_deref().unwrap_or_default()),
        );
    }
    if let Some(approval) = &course.approval {
        line("approved", &format!("by {} up to {}", approval.by, percent(approval.up_to)));
    }
    if let Some(decision) = &course.decision {
        line("decided", &format!("`{}` by {}: {}", decision.arm, decision.by, decision.reason));
    }
    text.push_str("\n\n");
    let mut table = Table::new(&["variant", "#share", "value"]);
    for (variant, share) in course.assignment.variants.iter().zip(course.assignment.shares()) {
        let value = serde_json::to_string(&variant.value).unwrap_or_default();
        table.row(vec![variant.key.clone(), percent(share), value]);
    }
    text.push_str(&table.render());
    if matches!(course.state, State::Draft | State::Review) {
        let blockers = checklist.blockers.iter().map(|blocker| ("to mend", facts_of(blocker)));
        let warnings = checklist.warnings.iter().map(|warning| ("to know", facts_of(warning)));
        for (what, facts) in blockers.chain(warnings) {
            text.push_str(&format!("{what}: {facts}\n"));
        }
    }
    text
}

/// `code key value …`, as in the JSON.
pub(super) fn facts_of(item: &impl Serialize) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(item) else { return String::new() };
    let code = fields.remove("code").and_then(|code| code.as_str().map(str::to_owned)).unwrap_or_default();
    fields.iter().fold(code, |text, (key, value)| format!("{text} {key} {value}"))
}
