//! `montauk metric`: what experiments are judged by, and what it looked like lately.
//!
//! In: names of metrics.  Out: a list, a definition, or values with their noise.
//! Never here: what a metric means (`experiment`), SQL (`pipeline`).
//! Start at [`run`].

use chrono::NaiveTime;
use experiment::decision::Role;
use experiment::lifecycle::checklist::LEAST_TRUST;
use experiment::metric::MetricFile;
use experiment::planning::MetricPower;
use pipeline::metric_trust::MetricTrust;
use pipeline::steps::{power, trust};
use serde::Serialize;

use super::{Outcome, Shell};
use crate::cli::{self, MetricAction};
use crate::error::AppError;
use crate::output::{count, grouped};
use crate::table::Table;

/// A metric, and who uses it.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    #[serde(flatten)]
    metric: &'a MetricFile,
    /// Names of experiments' files.
    used_by: Vec<&'a str>,
}

pub async fn run(shell: &Shell, arguments: cli::Metric) -> Result<Outcome, AppError> {
    let project = shell.project()?;
    let listed = |(name, metric)| Listed {
        name,
        metric,
        used_by: project
            .experiments
            .iter()
            .filter(|(_, file)| file.analysis.metrics().contains(&name))
            .map(|(file, _)| file.as_str())
            .collect(),
    };
    match arguments.action.unwrap_or(MetricAction::List) {
        MetricAction::List => {
            let all: Vec<Listed<'_>> =
                project.metrics.iter().map(|(name, metric)| listed((name.as_str(), metric))).collect();
            shell.output.report(&all, |output| {
                let mut table = Table::new(&["metric", "kind", "title", "better", "#window days", "owner", "used by"]);
                for Listed { name, metric, used_by } in &all {
                    table.row(vec![
                        (*name).to_owned(),
                        word(&metric.kind),
                        metric.title.clone().unwrap_or_default(),
                        word(&metric.direction),
                        metric.window_days.to_string(),
                        metric.owner.clone().unwrap_or_default(),
                        used_by.join(", "),
                    ]);
                }
                output.data(&table.render())
            })?;
        }
        MetricAction::Show { name } => {
            let shown = listed((name.as_str(), project.metric(&name)?));
            shell.output.report(&shown, |output| {
                let text = toml::to_string(&shown.metric).map_err(|error| AppError::Internal {
                    what: "a metric has no TOML form",
                    reason: error.to_string(),
                })?;
                output.data(&format!("# metrics/{name}.toml, used by: {}\n{text}", shown.used_by.join(", ")))
            })?;
        }
        MetricAction::Test { names, history } => test(shell, names, &history).await?,
        MetricAction::Trust { names, all, draws, seed, history } => {
            let metrics = if all { project.metrics.keys().cloned().collect() } else { names };
            trust(shell, Trial { metrics, draws, seed }, &history).await?;
        }
    }
    Ok(Outcome::Done)
}

/// As in the JSON: `"mean"` → `mean`.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn without_metrics() -> AppError {
    AppError::Usage {
        message: "this project has no metric".to_owned(),
        help: "write metrics/<name>.toml; docs/how-to/analyze-an-experiment.md shows seven kinds".to_owned(),
    }
}

async fn test(shell: &Shell, names: Vec<String>, history: &cli::History) -> Result<(), AppError> {
    let project = shell.project()?;
    let names = if names.is_empty() { project.metrics.keys().cloned().collect() } else { names };
    for name in &names {
        project.metric(name)?;
    }
    let Some(experiment) = power::trial_of(&names, shell.now) else {
        return Err(without_metrics());
    };
    let request = power::Request {
        experiment,
        history_days: history.history_days,
        until: history.until.map(|day| day.and_time(NaiveTime::MIN).and_utc()),
    };
    let report = shell.write("power", async |context| power::run(context, request).await).await?;
    shell.output.report(&report, |output| output.data(&draw_power(&report, false)))
}

/// What is to be tried.
struct Trial {
    metrics: Vec<String>,
    draws: u32,
    seed: u64,
}

async fn trust(shell: &Shell, trial: Trial, history: &cli::History) -> Result<(), AppError> {
    let Trial { metrics, draws, seed } = trial;
    for name in &metrics {
        shell.project()?.metric(name)?;
    }
    if metrics.is_empty() {
        return Err(without_metrics());
    }
    let request = trust::Request {
        metrics,
        history_days: history.history_days,
        until: history.until.map(|day| day.and_time(NaiveTime::MIN).and_utc()),
        draws,
        seed,
    };
    let found = shell.write("trust", async |context| trust::run(context, request).await).await?;
    shell.output.report(&found, |output| output.data(&draw_trust(&found)))
}

/// How often each metric found a difference where there was none.
fn draw_trust(found: &[MetricTrust]) -> String {
    let mut table =
        Table::new(&["metric", "#units", "#splits", "#found", "interval", "#uniform p", "#could see", "#score", ""]);
    for MetricTrust { metric, trust, problem, .. } in found {
        let mut cells = vec![metric.clone()];
        match trust {
            Some(trust) => cells.extend([
                grouped(trust.units as u64),
                grouped(u64::from(trust.draws - trust.failed)),
                percent(trust.rate),
                format!("{:.1} to {}", 100.0 * trust.rate_interval.0, percent(trust.rate_interval.1)),
                format!("{:.4}", trust.uniformity_p),
                percent(trust.sensitivity),
                format!("{:.2}", trust.score),
            ]),
            None => cells.extend((0..7).map(|_| "–".to_owned())),
        }
        let is_low = trust.as_ref().is_some_and(|trust| trust.score < LEAST_TRUST);
        let note = problem.clone().unwrap_or_else(|| if is_low { "not to be trusted" } else { "" }.to_owned());
        cells.push(note);
        table.row(cells);
    }
    let head = found.first().map_or(String::new(), |first| {
        let day = |moment: chrono::DateTime<chrono::Utc>| moment.format("%Y-%m-%d").to_string();
        format!("units that came from {} to {}, a test at 5 % each time\n\n", day(first.from), day(first.to))
    });
    head + &table.render()
}

/// Values and noise of each metric; and of an experiment's, what each length of it can show.
pub(super) fn draw_power(report: &power::Report, is_experiment: bool) -> String {
    let found = &report.power;
    let mut text = format!(
        "{} in {} days from {}, {:.0} a day\n\n",
        count(found.history_units, "unit"),
        found.history_days,
        report.from.format("%Y-%m-%d"),
        found.history_units as f64 / f64::from(found.history_days.max(1)),
    );
    let mut table = Table::new(&[
        "metric",
        "#units",
        "#value",
        "#deviation",
        "#noise left",
        "#effect",
        "#units needed",
        "#days",
        "#planned power",
        "",
    ]);
    for metric in &found.metrics {
        table.row(summary(metric, is_experiment));
    }
    text.push_str(&table.render());
    if is_experiment {
        text.push_str(&durations(&found.metrics));
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn summary(metric: &MetricPower, is_experiment: bool) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"));
    let whole = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| grouped(value as u64));
    let role = match metric.role {
        Role::Primary | Role::Success | Role::Guardrail { .. } | Role::Watched if !is_experiment => "",
        Role::Primary => "primary",
        Role::Success => "goal",
        Role::Guardrail { .. } => "guardrail",
        Role::Watched => "",
    };
    vec![
        metric.name.clone(),
        grouped(metric.units),
        number(metric.mean),
        number(metric.deviation),
        metric.variance_left.map_or_else(|| "–".to_owned(), percent),
        percent(metric.effect),
        whole(metric.units_needed),
        metric.days_needed.map_or_else(|| "–".to_owned(), |days| grouped(u64::from(days))),
        metric.planned_power.map_or_else(|| "–".to_owned(), percent),
        metric.problem.clone().unwrap_or_else(|| role.to_owned()),
    ]
}

/// By length: the smallest effect that the end shows, and that any day before shows.
fn durations(metrics: &[MetricPower]) -> String {
    let mut table = Table::new(&["metric", "#days", "#units", "#effect at the end", "#effect on any day"]);
    for metric in metrics.iter().filter(|metric| metric.role == Role::Primary) {
        for duration in &metric.durations {
            table.row(vec![
                metric.name.clone(),
                duration.days.to_string(),
                grouped(duration.units as u64),
                percent(duration.effect),
                duration.running_effect.map_or_else(|| "–".to_owned(), percent),
            ]);
        }
    }
    format!("\n{}", table.render())
}
