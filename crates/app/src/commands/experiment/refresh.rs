//! `experiment refresh`: what a cron line does for experiments while nobody is at the keyboard.
//!
//! In: keys, a moment.  Out: results that were due, what was due done in the name of rules, alerts; per experiment what became of it.
//! Life of one: results, if they are due → what is due (`experiment`) → done (`control`) → alerts and a note (`pipeline`). A refresh that is
//! killed anywhere is completed by the next one: nothing is noted before everything before it is done.
//! Never here: what is due, what is an alert, statistics.
//! Start at [`refresh`].

use chrono::{DateTime, Utc};
use control::{Actor, ControlError, ExperimentFilter, ExperimentRecord};
use domain::Problem;
use experiment::lifecycle::alerts::{Look, TOLD_FOR, What, acts_from};
use experiment::lifecycle::watch::Obstacle;
use experiment::lifecycle::{Alert, Due, Evidence, LaunchFacts, State, alerts, wants_results, watch};
use pipeline::scan::{Scan, scan};
use pipeline::steps::analyze;
use pipeline::{PipelineError, watching};
use serde::Serialize;

use super::show::facts;
use crate::commands::{Outcome, Shell};
use crate::error::AppError;
use crate::output::{Output, bytes, count, grouped};
use crate::store::{Desk, failed};
use crate::table::Table;

/// What became of all of them.
#[derive(Debug, Serialize)]
struct Report {
    at: DateTime<Utc>,
    dry_run: bool,
    experiments: Vec<Looked>,
    /// How many have a `failure`.
    failed: usize,
}

/// What became of one.
#[derive(Debug, Serialize)]
struct Looked {
    key: String,
    /// After what was done.
    state: State,
    revision: u64,
    results: Computed,
    due: Option<Due>,
    done: bool,
    alerts: Vec<Alert>,
    failure: Option<Failure>,
    /// Of a dry run: what computing the results would read.
    scan: Option<Scan>,
}

/// Whether results were computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Computed {
    NotDue,
    /// Of a dry run.
    Due,
    Done,
    /// Another run holds the project: the next refresh computes them.
    Postponed,
    Failed,
}

/// What went wrong with one.
#[derive(Debug, Serialize)]
struct Failure {
    code: &'static str,
    detail: String,
}

impl From<&AppError> for Failure {
    fn from(error: &AppError) -> Self {
        Self { code: error.code(), detail: error.to_string() }
    }
}

pub(super) async fn refresh(
    shell: &Shell,
    desk: &Desk,
    keys: &[String],
    at: Option<DateTime<Utc>>,
    dry_run: bool,
) -> Result<Outcome, AppError> {
    let now = at.unwrap_or(shell.now);
    let rules = Actor::rules(&desk.actor);
    if !dry_run {
        // What an earlier refresh has done before it was killed, who is stopped for harm above all, waits for nobody's results.
        desk.publish(shell).await?;
    }
    let mut looked = Vec::new();
    for (number, key) in due_keys(desk, &rules, keys, now).await?.into_iter().enumerate() {
        // Results of the one before may have taken minutes: whoever changed this one meanwhile is not overlooked.
        let Some(record) = desk.find(&key).await?.filter(|record| may_be_due(record, now)) else { continue };
        let shell = shell.part(shell.now, number);
        looked.push(if dry_run {
            foresee(&shell, desk, record, now).await?
        } else {
            look(&shell, desk, &rules, record, now).await?
        });
    }
    if !dry_run {
        // Links that have ended meanwhile.
        desk.publish(shell).await?;
    }
    let failed = looked.iter().filter(|one| one.failure.is_some()).count();
    let report = Report { at: now, dry_run, experiments: looked, failed };
    shell.output.report(&report, |output| draw(output, &report))?;
    Ok(if failed == 0 { Outcome::Done } else { Outcome::ChecksFailed })
}

/// Keys of those of which something may be due, or done and not told.
async fn due_keys(desk: &Desk, rules: &Actor, keys: &[String], now: DateTime<Utc>) -> Result<Vec<String>, AppError> {
    let mut found = desk.control.experiments(rules, &ExperimentFilter::default()).await.map_err(failed)?;
    for key in keys {
        desk.record(key).await?;
    }
    found.retain(|record| (keys.is_empty() || keys.contains(&record.key)) && may_be_due(record, now));
    Ok(found.into_iter().map(|record| record.key).collect())
}

fn may_be_due(record: &ExperimentRecord, now: DateTime<Utc>) -> bool {
    match record.course.state {
        State::Running => true,
        State::Review => record.course.schedule.start.is_some(),
        State::Paused => now - record.updated_at < TOLD_FOR,
        State::Draft | State::Decided | State::Archived => false,
    }
}

impl Looked {
    fn new(record: &ExperimentRecord, results: Computed) -> Self {
        Self {
            key: record.key.clone(),
            state: record.course.state,
            revision: record.revision,
            results,
            due: None,
            done: false,
            alerts: Vec::new(),
            failure: None,
            scan: None,
        }
    }
}

fn last(desk: &Desk, record: &ExperimentRecord) -> Option<DateTime<Utc>> {
    watching::watched_at(&desk.project, &record.key, record.course.assignment.phase)
}

/// What a refresh would do by what is known without results.
async fn foresee(shell: &Shell, desk: &Desk, record: ExperimentRecord, now: DateTime<Utc>) -> Result<Looked, AppError> {
    let course = &record.course;
    let standing = desk.control.standing(&desk.actor, &record).await.map_err(failed)?;
    let wants = wants_results(course, last(desk, &record), now);
    let mut looked = Looked::new(&record, if wants { Computed::Due } else { Computed::NotDue });
    looked.due = watch(course, None, standing.by(&desk.actor, now));
    if wants {
        let catalog = shell.read(async |context| Ok(context.warehouse.catalog().await?)).await?;
        looked.scan = Some(scan(&desk.project, &catalog, &course.file()));
    }
    Ok(looked)
}

/// Errors: the store, or the directory of reports; whatever else goes wrong is the failure of this one experiment.
///
/// `now`: the moment that it acts at; the shell's own clock says what is swept and served.
async fn look(
    shell: &Shell,
    desk: &Desk,
    rules: &Actor,
    record: ExperimentRecord,
    now: DateTime<Utc>,
) -> Result<Looked, AppError> {
    let standing = desk.control.standing(rules, &record).await.map_err(failed)?;
    let mut looked = Looked::new(&record, Computed::NotDue);
    let mut evidence = None;
    if wants_results(&record.course, last(desk, &record), now) {
        match compute(shell, &record, now).await {
            Ok(found) => (looked.results, evidence) = (Computed::Done, Some(found)),
            Err(AppError::Pipeline(PipelineError::RunActive { .. })) => {
                looked.results = Computed::Postponed;
                return Ok(looked);
            }
            Err(error) => (looked.results, looked.failure) = (Computed::Failed, Some(Failure::from(&error))),
        }
    }
    looked.due = watch(&record.course, evidence.as_ref(), standing.by(rules, now));
    let mut after = None;
    if let Some(due) = &looked.due {
        match facts_of_due(shell, desk, &record, due, now).await {
            Err(error) => looked.failure = Some(Failure::from(&error)),
            Ok(facts) => match desk.control.act(rules, &record, due, &facts, now).await {
                Ok(done) => after = done,
                // Somebody else was first. Nothing is noted, so that the next refresh computes and asks anew.
                Err(ControlError::Stale { .. }) => return Ok(looked),
                Err(error) => looked.failure = Some(Failure::from(&failed(error))),
            },
        }
    }
    looked.done = after.is_some();
    if looked.done {
        // Who is stopped for harm must not wait for the others' results.
        desk.publish(shell).await?;
    }
    let after = after.unwrap_or(record);
    (looked.state, looked.revision) = (after.course.state, after.revision);
    tell(desk, rules, &after, evidence.as_ref(), &mut looked, now).await?;
    if looked.results == Computed::Done && looked.failure.is_none() {
        watching::keep_watched(&desk.project, &after.key, after.course.assignment.phase, now)?;
    }
    Ok(looked)
}

/// What project and warehouse know of what is due; only a start asks the warehouse.
async fn facts_of_due(
    shell: &Shell,
    desk: &Desk,
    record: &ExperimentRecord,
    due: &Due,
    now: DateTime<Utc>,
) -> Result<LaunchFacts, AppError> {
    match due {
        // It only reads, as if it were `now`: exposures of its last days are asked for.
        Due::Start => facts(&shell.part(now, 0), record).await,
        Due::Ramp { .. } | Due::Stop { .. } | Due::Hold { .. } => {
            Ok(LaunchFacts { metrics: desk.project.metrics.clone(), ..LaunchFacts::default() })
        }
    }
}

async fn compute(shell: &Shell, record: &ExperimentRecord, now: DateTime<Utc>) -> Result<Evidence, AppError> {
    let plan = record.course.analysis.clone();
    let request = analyze::Request { now: Some(now), ..analyze::Request::of(&record.course) };
    let reports = shell.write("refresh", async |context| analyze::run(context, request).await).await?;
    let key = &record.key;
    let none = || AppError::Internal { what: "no results", reason: format!("of `{key}`") };
    let report = reports.first().ok_or_else(none)?;
    let refused =
        |error: &dyn std::fmt::Display| AppError::Internal { what: "results say nothing", reason: error.to_string() };
    Evidence::of(&report.results, &plan, report.until).map_err(|error| refused(&error))
}

async fn tell(
    desk: &Desk,
    rules: &Actor,
    after: &ExperimentRecord,
    evidence: Option<&Evidence>,
    looked: &mut Looked,
    now: DateTime<Utc>,
) -> Result<(), AppError> {
    let acts = match acts_from(&after.course, now) {
        Some(from) => desk.control.acts(rules, &after.key, from).await.map_err(failed)?,
        None => Vec::new(),
    };
    let done: Vec<_> = acts.into_iter().map(|act| (act.verb, act.reason, act.revision)).collect();
    let mut earlier = watching::alerts(&desk.project)?;
    earlier.retain(|alert| alert.experiment == after.key);
    let failure = looked.failure.as_ref().map(|failure| (failure.code, failure.detail.as_str()));
    let look = Look { evidence, due: looked.due.as_ref(), failure, done: &done };
    looked.alerts = alerts(&after.course, look, &earlier, now);
    Ok(watching::add_alerts(&desk.project, &looked.alerts)?)
}

fn draw(output: &Output, report: &Report) -> Result<(), AppError> {
    if report.experiments.is_empty() {
        output.say("nothing runs, and nothing is scheduled to start");
        return Ok(());
    }
    let mut table = if report.dry_run {
        Table::new(&["experiment", "state", "results", "#rows to read", "#bytes", "due"])
    } else {
        Table::new(&["experiment", "state", "results", "due", "done"])
    };
    for one in &report.experiments {
        let mut row = vec![one.key.clone(), one.state.name().to_owned(), results_word(one.results).to_owned()];
        if report.dry_run {
            row.push(one.scan.as_ref().map(|scan| grouped(scan.rows)).unwrap_or_default());
            row.push(one.scan.as_ref().map(|scan| bytes(scan.bytes)).unwrap_or_default());
        }
        row.push(one.due.as_ref().map(due_words).unwrap_or_default());
        if !report.dry_run {
            row.push(if one.done { "yes".to_owned() } else { String::new() });
        }
        table.row(row);
    }
    output.data(&table.render())?;
    for one in &report.experiments {
        if let Some(failure) = &one.failure {
            output.finding(true, failure.code, &failure.detail, &one.key, &[]);
        }
        for alert in &one.alerts {
            if let Some(text) = alert_words(&alert.what) {
                output.warn(&format!("`{}`: {text}", one.key));
            }
        }
    }
    if !report.dry_run {
        output.done("Refreshed", &count(report.experiments.len() as u64, "experiment"));
    }
    Ok(())
}

fn results_word(results: Computed) -> &'static str {
    match results {
        Computed::NotDue => "not due",
        Computed::Due => "due",
        Computed::Done => "computed",
        Computed::Postponed => "postponed",
        Computed::Failed => "failed",
    }
}

fn due_words(due: &Due) -> String {
    match due {
        Due::Start => "start".to_owned(),
        Due::Ramp { coverage } => format!("ramp to {}", super::show::percent(*coverage)),
        Due::Stop { .. } => format!("stop: {}", due.reason()),
        Due::Hold { verb, because } if *because == [Obstacle::NoResults] => format!("{verb}, if results allow it"),
        Due::Hold { verb, because } => {
            let codes: Vec<String> = because.iter().map(super::show::facts_of).collect();
            format!("{verb} waits: {}", codes.join("; "))
        }
    }
}

/// What was done and what failed stands in the table and in its own line.
fn alert_words(what: &What) -> Option<String> {
    match what {
        What::Done { .. } | What::Failed { .. } => None,
        What::Health { reason } => Some(format!("health: {}", super::show::facts_of(reason))),
        What::Harm { metric, arm } => Some(format!("guardrail `{metric}` is harmed in `{arm}`")),
        What::Digest { verdict, significant, waits_for, .. } => {
            let effect = |effect: &experiment::lifecycle::alerts::Effect| {
                format!("{} {:+.2} % in `{}`", effect.metric, 100.0 * effect.effect, effect.arm)
            };
            let verdict = verdict.iter().map(|code| {
                let text = serde_json::to_value(code).ok().and_then(|code| code.as_str().map(str::to_owned));
                format!("verdict {}", text.unwrap_or_default())
            });
            let waits = (!waits_for.is_empty()).then(|| format!("waits for {}", waits_for.join(", ")));
            Some(verdict.chain(significant.iter().map(effect)).chain(waits).collect::<Vec<_>>().join("; "))
        }
    }
}
