//! Where decisions are kept, opened for one command: the store, who acts, the project.
//!
//! In: a [`Shell`].  Out: a [`Desk`].
//! Whoever may open the store's file may do everything with it; the actor is then the user of the operating system, as an admin. With
//! `MONTAUK_TOKEN` it is whose token that is, with their rights: for approvals, and on shared machines.
//! Never here: rules (`control`).
//! Start at [`desk`].

use control::{Actor, Control, ControlError, ExperimentRecord, PowerFound, Projects, Role, Via};
use experiment::plan::ExperimentFile;
use pipeline::project::Project;
use pipeline::steps::power;

use crate::commands::Shell;
use crate::error::AppError;

/// Of SQLite, in the project's state directory.
const FILE: &str = "control.db";
/// Of snapshots, there as well.
const SNAPSHOTS: &str = "experiments";
/// Whose rights to take.
const TOKEN: &str = "MONTAUK_TOKEN";

/// A project, its store, and who acts.
#[derive(Debug)]
pub struct Desk {
    pub project: Project,
    pub control: Control,
    pub actor: Actor,
}

pub fn failed(error: ControlError) -> AppError {
    AppError::room(&error)
}

/// Opens the store of a project.
pub async fn open(shell: &Shell, project: &Project) -> Result<Control, AppError> {
    match &shell.globals.control {
        Some(url) => Control::open(url).await.map_err(failed),
        None => Control::open_file(&project.state_dir().join(FILE)).await.map_err(failed),
    }
}

/// Opens the store, and says who acts.
pub async fn desk(shell: &Shell) -> Result<Desk, AppError> {
    let project = shell.project()?;
    let control = open(shell, &project).await?;
    let actor = match std::env::var(TOKEN).ok().filter(|token| !token.is_empty()) {
        Some(token) => control.authenticate(&token, Via::Cli, shell.now).await.map_err(failed)?,
        None => Actor { person: person(), role: Role::Admin, projects: Projects::All, via: Via::Cli, expires_at: None },
    };
    Ok(Desk { project, control, actor })
}

/// The user of the operating system.
pub fn person() -> String {
    let mut named = ["USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let is_name = |name: &String| !name.is_empty() && !name.contains(char::is_whitespace);
    named.find(is_name).unwrap_or_else(|| "local".to_owned())
}

impl Desk {
    /// One experiment as it stands.
    pub async fn record(&self, key: &str) -> Result<ExperimentRecord, AppError> {
        self.control.experiment(&self.actor, key).await.map_err(failed)
    }

    /// An experiment as it stands, or as its file says when it was never applied.
    pub async fn file(&self, key: &str) -> Result<ExperimentFile, AppError> {
        match self.control.experiment(&self.actor, key).await {
            Ok(record) => Ok(record.course.file()),
            Err(error @ ControlError::NotFound { .. }) => {
                let found = self.project.experiments.values().find(|file| file.assignment.key == key);
                found.cloned().ok_or_else(|| failed(error))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// One experiment as it stands; `None` when it was never applied.
    pub async fn find(&self, key: &str) -> Result<Option<ExperimentRecord>, AppError> {
        match self.control.experiment(&self.actor, key).await {
            Ok(record) => Ok(Some(record)),
            Err(ControlError::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Puts a snapshot for whoever answers flags, if what is served has changed.
    pub async fn publish(&self, shell: &Shell) -> Result<(), AppError> {
        let published = self.control.publish_snapshot(&snapshots(&self.project), shell.now).await.map_err(failed)?;
        if published.is_new {
            shell.output.done("Published", &format!("snapshot {} of flags", published.revision));
        }
        for left in &published.left_out {
            shell.output.warn(&format!("`{}` is not in the snapshot: {}", left.key, left.reason));
        }
        Ok(())
    }
}

/// What power found, as the store keeps it: for the command line and for the API.
pub fn power_found(report: &power::Report) -> Result<PowerFound, serde_json::Error> {
    Ok(PowerFound {
        hash: report.hash.clone(),
        power: report.power.decision_power(),
        planned_days: report.power.planned_days.map(f64::from),
        report: serde_json::to_value(report)?,
    })
}

/// Where a project's snapshots are.
pub fn snapshots(project: &Project) -> std::path::PathBuf {
    project.state_dir().join(SNAPSHOTS)
}
