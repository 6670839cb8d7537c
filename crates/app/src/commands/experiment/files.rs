//! `experiment create`, `update`, `plan` and `apply`: experiments as files.
//!
//! In: TOML.  Out: records, and how files and store differ.
//! Never here: comparing (`control`).
//! Start at [`plan`].

use std::io::Read;
use std::path::Path;

use control::{ApplyOptions, DriftChange, DriftPlan, ExperimentSource};
use experiment::plan::ExperimentFile;

use crate::cli::Seen;
use crate::commands::Shell;
use crate::error::AppError;
use crate::output::count;
use crate::store::{Desk, failed};
use crate::table::Table;

fn read(path: &Path) -> Result<ExperimentFile, AppError> {
    let mut text = String::new();
    let name = path.display();
    let result = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    result.map_err(|error| AppError::io(format!("read `{name}`"), &error))?;
    toml::from_str(&text).map_err(|error| AppError::Usage {
        message: format!("`{name}` is no experiment: {error}"),
        help: "docs/how-to/analyze-an-experiment.md shows one whole".to_owned(),
    })
}

pub(super) async fn create(shell: &Shell, desk: &Desk, path: &Path) -> Result<(), AppError> {
    let record = desk.control.create_experiment(&desk.actor, read(path)?, shell.now).await.map_err(failed)?;
    desk.publish(shell).await?;
    shell.output.report(&record, |output| {
        output.done("Created", &format!("`{}`, a draft; next: montauk experiment submit {}", record.key, record.key));
        Ok(())
    })
}

pub(super) async fn update(shell: &Shell, desk: &Desk, path: &Path, seen: Seen) -> Result<(), AppError> {
    let file = read(path)?;
    let key = file.assignment.key.clone();
    let stands = desk.record(&key).await?.revision;
    let seen = seen.revision.unwrap_or(stands);
    let record = desk.control.edit_experiment(&desk.actor, &key, seen, file, "", shell.now).await.map_err(failed)?;
    desk.publish(shell).await?;
    shell.output.report(&record, |output| {
        output.done("Updated", &format!("`{key}`, {}", record.course.state.name()));
        Ok(())
    })
}

async fn drifts(shell: &Shell, desk: &Desk) -> Result<DriftPlan, AppError> {
    let source = |(name, file): (&String, &ExperimentFile)| ExperimentSource {
        path: format!("experiments/{name}.toml"),
        file: file.clone(),
    };
    let sources = desk.project.experiments.iter().map(source).collect();
    desk.control.plan(&desk.actor, sources, shell.now).await.map_err(failed)
}

pub(super) async fn plan(shell: &Shell, desk: &Desk) -> Result<(), AppError> {
    let plan = drifts(shell, desk).await?;
    shell.output.report(&plan, |output| {
        output.data(&table(&plan).render())?;
        output.say(if plan.is_empty() { "nothing to do" } else { "next: montauk experiment apply" });
        Ok(())
    })
}

fn table(plan: &DriftPlan) -> Table {
    let mut table = Table::new(&["experiment", "file", "state", "change", "what"]);
    for drift in &plan.drifts {
        let (change, what) = match &drift.change {
            DriftChange::Unchanged => ("unchanged", String::new()),
            DriftChange::Create => ("create", String::new()),
            DriftChange::Update { fields } => ("update", fields.join(", ")),
            DriftChange::NewPhase { fields } => ("new phase", fields.join(", ")),
            DriftChange::Delete => ("delete", String::new()),
            DriftChange::Blocked { field, reason } => ("blocked", format!("{field}: {reason}")),
        };
        table.row(vec![
            drift.key.clone(),
            drift.path.clone().unwrap_or_default(),
            drift.state.map(|state| state.name().to_owned()).unwrap_or_default(),
            change.to_owned(),
            what,
        ]);
    }
    table
}

pub(super) async fn apply(shell: &Shell, desk: &Desk, options: ApplyOptions, reason: &str) -> Result<(), AppError> {
    let plan = drifts(shell, desk).await?;
    let report = desk.control.apply(&desk.actor, &plan, options, reason, shell.now).await.map_err(failed)?;
    desk.publish(shell).await?;
    shell.output.report(&report, |output| {
        for record in &report.written {
            output.done("Wrote", &format!("`{}`, {}", record.key, record.course.state.name()));
        }
        for key in &report.deleted {
            output.done("Deleted", &format!("`{key}`"));
        }
        for drift in &report.skipped {
            output.warn(&format!("`{}` was left as it is; `montauk experiment plan` says why", drift.key));
        }
        output.done("Applied", &count(report.written.len() as u64, "experiment"));
        Ok(())
    })
}
