//! `montauk demo`: the whole line on the shipped example, then a running server.
//!
//! In: nothing but a wish to see it.  Out: the steps, the evaluation, three customers, an address.
//! Never here: the line itself (`pipeline`).
//! Start at [`run`].

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pipeline::PipelineError;
use pipeline::project::Project;
use pipeline::steps::demo::{self, Report, Request};
use pipeline::steps::init;

use super::{Outcome, Shell, evaluate, interruptible, recommend, serve};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count, grouped, grouped_words};
use crate::table::Table;

/// Where the demo lives when nobody says where.
const DEMO_DIR: &str = "montauk-demo";
/// Name of the shipped example, as in its `montauk.toml`.
const DEMO_PROJECT: &str = "retail";

pub async fn run(shell: &Shell, arguments: cli::Demo) -> Result<Outcome, AppError> {
    let dir = shell.globals.directory.clone().unwrap_or_else(|| PathBuf::from(DEMO_DIR));
    let mut user = None;
    let line = async {
        let report = walk(shell, &dir, arguments.fresh).await?;
        user = report.customers.first().map(|customer| customer.user.clone());
        shell.output.report(&report, |output| draw(output, &report))?;
        Ok(Outcome::Done)
    };
    let outcome = interruptible(shell, line).await?;
    if arguments.once && outcome == Outcome::Done {
        shell.output.say(&format!("\nserve it: montauk -C {} serve", dir.display()));
    }
    if arguments.once || outcome != Outcome::Done {
        return Ok(outcome);
    }
    let project = Project::open(&dir)?;
    let mut listen = project.settings.serve.listen;
    if let Some(port) = arguments.port {
        listen = SocketAddr::new(listen.ip(), port);
    }
    serve::serve(shell, &project, listen, None, cli::FlagOptions::default(), user.as_deref()).await
}

/// Writes the example, unless it is there, and walks the line.
async fn walk(shell: &Shell, dir: &Path, is_fresh: bool) -> Result<Report, AppError> {
    refuse_others(dir)?;
    let made = init::run(init::Request { dir: dir.to_owned(), from: init::From::Retail }).await?;
    if !made.files.is_empty() {
        shell.output.done("Created", &format!("{} in {}", count(made.files.len() as u64, "file"), dir.display()));
    }
    if is_fresh {
        forget(&Project::open(dir)?)?;
    }
    shell.write_in(Project::open(dir)?, "demo", async |context| demo::run(context, Request {}).await).await
}

/// The demo writes into its own project and may forget what is in it; somebody else's is left alone.
fn refuse_others(dir: &Path) -> Result<(), AppError> {
    if !dir.join("montauk.toml").exists() {
        return Ok(());
    }
    let name = Project::open(dir)?.settings.project.name;
    if name == DEMO_PROJECT {
        return Ok(());
    }
    Err(AppError::NotTheDemo { dir: dir.display().to_string(), name })
}

/// Removes what earlier demos made: everything under `.montauk/` but the lock that is held meanwhile.
fn forget(project: &Project) -> Result<(), PipelineError> {
    let _lock = project.lock("demo --fresh")?;
    let state_dir = project.state_dir();
    let entries = fs::read_dir(&state_dir).map_err(|error| PipelineError::io(&state_dir, &error))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            _ if is_lock(&path) => Ok(()),
            _ => fs::remove_file(&path),
        };
        removed.map_err(|error| PipelineError::io(&path, &error))?;
    }
    Ok(())
}

fn is_lock(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "lock")
}

fn draw(output: &Output, report: &Report) -> Result<(), AppError> {
    let mut table = Table::new(&["step", "#seconds", "#rows", "#rows/s", ""]);
    for step in &report.steps {
        let rate = step
            .rows
            .filter(|_| step.seconds > 0.0 && !step.unchanged)
            .map(|rows| grouped((rows as f64 / step.seconds) as u64));
        let summary = grouped_words(&step.summary);
        let summary = if step.unchanged { format!("already done: {summary}") } else { summary };
        table.row(vec![
            step.step.to_owned(),
            format!("{:.1}", step.seconds),
            step.rows.map(grouped).unwrap_or_default(),
            rate.unwrap_or_default(),
            summary,
        ]);
    }
    output.data(&format!("\n{}\n", table.render()))?;
    if report.steps.iter().all(|step| step.unchanged) {
        output.say("everything was done already; `--fresh` begins again\n");
    }
    evaluate::draw(output, &report.evaluation)?;
    recommend::draw_all(output, &report.customers)
}
