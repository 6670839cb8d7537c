//! The commands: arguments as meant → a step of `pipeline` → its report on the screen. One thin file each.
//!
//! In: [`Command`].  Out: an [`Outcome`].
//! Never here: logic of a step, exit codes (`exit`).
//! Start at [`run`].

mod analyze;
mod api;
mod build;
mod check;
mod completions;
mod copy;
mod demo;
mod doctor;
mod evaluate;
mod experiment;
mod extract;
mod init;
mod metric;
mod off_policy;
mod publish;
mod quarantine;
mod query;
mod rec;
mod recommend;
mod serve;
mod status;
mod thing;
mod token;
mod train;
mod tune;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use pipeline::project::Project;
use pipeline::runs::{self, RunRecord};
use pipeline::steps::Context;
use pipeline::{PipelineError, retain};

use crate::cli::{Command, Globals};
use crate::error::AppError;
use crate::output::{self, Output, bytes, count};
use crate::progress::Bars;
use crate::wiring;

/// How long a step may take to hear Ctrl-C, before the process ends anyway.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Data did not pass: a check failed, a file could not be loaded, a destination refused rows, an experiment could not be analyzed. The report
    /// says which.
    ChecksFailed,
    /// `doctor` found something that must be mended.
    Unhealthy,
    Interrupted,
}

/// Runs one command, until it ends or somebody presses Ctrl-C.
pub async fn run(shell: &Shell, command: Option<Command>) -> Result<Outcome, AppError> {
    // These serve, and finish on Ctrl-C what they have begun.
    if matches!(command, Some(Command::Demo(_) | Command::Serve(_) | Command::Api(_))) {
        return run_step(shell, command).await;
    }
    interruptible(shell, run_step(shell, command)).await
}

async fn run_step(shell: &Shell, command: Option<Command>) -> Result<Outcome, AppError> {
    match command {
        None => status::run(shell, true).await,
        Some(Command::Status) => status::run(shell, false).await,
        Some(Command::Demo(arguments)) => demo::run(shell, arguments).await,
        Some(Command::Init(arguments)) => init::run(shell, arguments).await,
        Some(Command::Extract(arguments)) => extract::run(shell, arguments).await,
        Some(Command::Copy(arguments)) => copy::run(shell, arguments).await,
        Some(Command::Build(arguments)) => build::run(shell, arguments).await,
        Some(Command::Check(arguments)) => check::run(shell, arguments).await,
        Some(Command::Quarantine(arguments)) => quarantine::run(shell, arguments).await,
        Some(Command::Train(arguments)) => train::run(shell, arguments).await,
        Some(Command::Tune(arguments)) => tune::run(shell, arguments).await,
        Some(Command::Evaluate(arguments)) => evaluate::run(shell, arguments).await,
        Some(Command::Rec(arguments)) => rec::run(shell, arguments).await,
        Some(Command::Recommend(arguments)) => recommend::run(shell, arguments).await,
        Some(Command::Analyze(arguments)) => analyze::run(shell, arguments).await,
        Some(Command::Experiment(arguments)) => experiment::run(shell, arguments).await,
        Some(Command::Metric(arguments)) => metric::run(shell, arguments).await,
        Some(Command::Thing(arguments)) => thing::run(shell, arguments).await,
        Some(Command::Token(arguments)) => token::run(shell, arguments).await,
        Some(Command::Api(arguments)) => api::run(shell, arguments).await,
        Some(Command::OffPolicy(arguments)) => off_policy::run(shell, arguments).await,
        Some(Command::Publish(arguments)) => publish::run(shell, arguments).await,
        Some(Command::Serve(arguments)) => serve::run(shell, arguments).await,
        Some(Command::Query(arguments)) => query::run(shell, arguments).await,
        Some(Command::Doctor) => doctor::run(shell).await,
        Some(Command::Completions(arguments)) => completions::run(shell, &arguments),
    }
}

/// Ctrl-C, or the polite signal of a service manager, a container or `timeout`.
async fn asked_to_stop() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Stops `work` on Ctrl-C or SIGTERM. Nothing has to be undone: every step writes aside and makes it visible at its end.
async fn interruptible(
    shell: &Shell,
    work: impl Future<Output = Result<Outcome, AppError>>,
) -> Result<Outcome, AppError> {
    let (sender, interrupted) = tokio::sync::oneshot::channel();
    let output = shell.output;
    let farewell = move || {
        output.say(
            "interrupted: what was finished stays, nothing half-done is visible; run the same command again to go on",
        );
    };
    let watch = tokio::spawn(async move {
        if asked_to_stop().await.is_ok() {
            let _ = sender.send(());
            tokio::time::sleep(PATIENCE).await;
            // The step computes on the thread that should have heard: a kill is as safe, only less polite.
            farewell();
            std::process::exit(i32::from(crate::exit::INTERRUPTED));
        }
    });
    let result = tokio::select! {
        result = work => result,
        Ok(()) = interrupted => {
            farewell();
            Ok(Outcome::Interrupted)
        }
    };
    watch.abort();
    result
}

/// What every command has: the options, a way to speak, and the one reading of the clock.
#[derive(Debug)]
pub struct Shell {
    pub globals: Globals,
    pub output: Output,
    pub now: DateTime<Utc>,
    pub run_id: String,
    since: Instant,
}

impl Shell {
    /// Reads the clock, once.
    pub fn new(globals: Globals, output: Output) -> Self {
        let now = Utc::now();
        // Sorts by time; the process id tells apart two runs of one millisecond.
        let run_id = format!("{}-{:06x}", now.format("%Y%m%dT%H%M%S%3fZ"), std::process::id());
        Self { globals, output, now, run_id, since: Instant::now() }
    }

    /// The same for a part of a run, as if it were `now`: its records have a name of their own.
    pub fn part(&self, now: DateTime<Utc>, number: usize) -> Self {
        let run_id = format!("{}-{number}", self.run_id);
        Self { globals: self.globals.clone(), output: self.output, now, run_id, since: self.since }
    }

    /// Reads the project: that of `-C`, or the nearest one.
    pub fn project(&self) -> Result<Project, PipelineError> {
        let start = self.globals.directory.clone().unwrap_or_else(|| PathBuf::from("."));
        Project::open(&Project::discover(&start)?)
    }

    /// The time since the command began, as a person reads it.
    pub fn took(&self) -> String {
        output::seconds(self.since.elapsed())
    }

    /// Opens the stores of `project` for this run.
    pub async fn context(&self, project: Project) -> Result<Context, PipelineError> {
        wiring::context(project, Arc::new(Bars::new(self.output)), self.now, self.run_id.clone()).await
    }

    /// Runs a step that only reads.
    pub async fn read<R>(&self, step: impl AsyncFnOnce(&Context) -> Result<R, PipelineError>) -> Result<R, AppError> {
        let context = self.context(self.project()?).await?;
        Ok(step(&context).await?)
    }

    /// Runs a step that changes something: alone in the project, and on record.
    pub async fn write<R>(
        &self,
        verb: &str,
        step: impl AsyncFnOnce(&Context) -> Result<R, PipelineError>,
    ) -> Result<R, AppError> {
        self.write_in(self.project()?, verb, step).await
    }

    /// As [`Self::write`], in a project that is open already.
    pub async fn write_in<R>(
        &self,
        project: Project,
        verb: &str,
        step: impl AsyncFnOnce(&Context) -> Result<R, PipelineError>,
    ) -> Result<R, AppError> {
        let _lock = project.lock(verb)?;
        let work = async |context: &Context| {
            let result = step(context).await;
            if result.is_ok() {
                self.sweep(context).await;
            }
            result
        };
        self.on_record(project, verb, work).await
    }

    /// Runs a step that is on record and may happen beside any other: what it writes is put if absent.
    pub async fn decide<R>(
        &self,
        verb: &str,
        step: impl AsyncFnOnce(&Context) -> Result<R, PipelineError>,
    ) -> Result<R, AppError> {
        self.on_record(self.project()?, verb, step).await
    }

    async fn on_record<R>(
        &self,
        project: Project,
        verb: &str,
        step: impl AsyncFnOnce(&Context) -> Result<R, PipelineError>,
    ) -> Result<R, AppError> {
        let runs_dir = project.runs_dir();
        let result = match self.context(project).await {
            Ok(context) => step(&context).await,
            Err(error) => Err(error),
        };
        let record = RunRecord {
            run_id: self.run_id.clone(),
            verb: verb.to_owned(),
            started_at: self.now,
            seconds: self.since.elapsed().as_secs_f64(),
            outcome: if result.is_ok() { runs::Outcome::Succeeded } else { runs::Outcome::Failed },
            error: result.as_ref().err().map(ToString::to_string),
        };
        if let Err(error) = runs::record(&runs_dir, &record) {
            // The work is done or has its own error; a missing record is worth a line, not a failure.
            self.output.warn(&format!("this run is not on record: {error}"));
        }
        Ok(result?)
    }

    /// Takes away what killed runs left, once a day. The work is done: what cannot be taken away now is worth a line.
    async fn sweep(&self, context: &Context) {
        match retain::sweep_when_due(context).await {
            Ok(Some(swept)) if swept.files > 0 => {
                let what = format!("{} of killed runs ({})", count(swept.files, "file"), bytes(swept.bytes));
                self.output.done("Removed", &what);
            }
            Ok(_) => {}
            Err(error) => self.output.warn(&format!("what killed runs left was not removed: {error}")),
        }
    }
}
