//! `analyze`: what an experiment has done to its metrics, and what to do about it.
//!
//! In: names of experiments.  Out: effects with intervals, the health of the data, a verdict, per experiment.
//! Never here: SQL (`analyze`), statistics and rules (`experiment`).
//! Start at [`run`].

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveTime, Utc};
use experiment::daily::{Day, days};
use experiment::decision::Role;
use experiment::interactions::{InteractionRow, interactions};
use experiment::lifecycle::{Course, Span, clock, plan_hash};
use experiment::looks::looks;
use experiment::metric::Statistic;
use experiment::novelty::{DaySince, NoveltyRow, by_days_since};
use experiment::plan::{AnalysisPlan, ExperimentFile};
use experiment::results::{Observed, ObservedMetric, Results, Sample, results, rows};
use experiment::stats::StatsError;
use warehouse::{BuildOptions, BuildReport, Catalog, Model, ModelReport, ModelStatus};

use super::Context;
use crate::PipelineError;
use crate::analyze::{self, Freshness, MetricMoments, Subject};

/// What to analyze.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Names of `experiments/<name>.toml`; empty means all.
    pub experiments: Vec<String>,
    /// One that is in no file, or no longer as its file says; instead of `experiments`.
    pub given: Option<ExperimentFile>,
    /// Of `given`: secondary metrics that were added after the start. They are shown as such and decide nothing.
    pub post_hoc: Vec<String>,
    /// Of `given`: from when on exposures count, where that is not the planned start.
    pub counts_from: Option<DateTime<Utc>>,
    /// Of `given`: when units were assigned. Days in which they were not are no days that it ran.
    pub spans: Vec<Span>,
    /// What happened from this moment on does not count, midnight UTC; the end of today if absent.
    pub until: Option<DateTime<Utc>>,
    /// What the clock of the experiment says; that of the run if absent.
    pub now: Option<DateTime<Utc>>,
    /// Also the results as of each day since the start.
    pub by_day: bool,
    /// Also whether the experiments act on each other: every pair of them that shares units.
    pub interactions: bool,
}

impl Request {
    /// An experiment of the store as it stands.
    pub fn of(course: &Course) -> Self {
        Self {
            given: Some(course.file()),
            post_hoc: course.post_hoc.clone(),
            counts_from: Some(course.counts_from()),
            spans: course.spans.clone(),
            ..Self::default()
        }
    }
}

/// The results of one experiment.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ExperimentReport {
    /// Name of its file.
    pub name: String,
    pub key: String,
    /// Of the plan and the meaning of its metrics that the figures were computed by: see `experiment::lifecycle::plan_hash`. `None` for a file: it
    /// knows neither starts nor pauses, so that nothing is decided by its days.
    pub plan_hash: Option<String>,
    /// The catalog number that the figures were read at.
    pub catalog: u64,
    pub until: DateTime<Utc>,
    /// Whether the planned end has come.
    pub has_ended: bool,
    /// The error rate of the experiment.
    pub alpha: f64,
    pub results: Results,
    /// The results as of each day, where they were asked for.
    pub days: Vec<Day>,
    /// Lifts by days since exposure, where days were asked for.
    pub novelty: Vec<NoveltyRow>,
    /// With experiments that come after this one, on its primary metric, where they were asked for.
    pub interactions: Vec<InteractionRow>,
    /// What was done to the tables in between.
    pub tables: Vec<TableReport>,
}

/// One table in between, and the SQL that made it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableReport {
    pub table: String,
    pub rows: Option<u64>,
    pub changed: bool,
    pub seconds: f64,
    pub sql: String,
}

/// Analyzes the selected experiments, one after the other.
pub async fn run(context: &Context, request: Request) -> Result<Vec<ExperimentReport>, PipelineError> {
    let project = &context.project;
    let mut files: Vec<(String, ExperimentFile)> = match (request.given, request.experiments.as_slice()) {
        (Some(file), _) => vec![(file.assignment.key.clone(), file)],
        (None, []) => project.experiments.clone().into_iter().collect(),
        (None, some) => {
            let named = |name: &String| Ok((name.clone(), project.experiment(name)?.clone()));
            some.iter().map(named).collect::<Result<_, PipelineError>>()?
        }
    };
    if files.is_empty() {
        return Err(PipelineError::NoExperiments);
    }
    let now = request.now.unwrap_or(context.now);
    let until = request.until.unwrap_or_else(|| {
        let tomorrow = now.date_naive().checked_add_days(Days::new(1)).unwrap_or(now.date_naive());
        tomorrow.and_time(NaiveTime::MIN).and_utc()
    });
    // Today is read as far as it goes, and is not over: the end has not come before it comes. A file with an `until` is a trial, at any moment.
    let now = request.until.filter(|_| request.counts_from.is_none()).unwrap_or(now).min(until);
    let mut reports = Vec::with_capacity(files.len());
    for (name, file) in &mut files {
        let plan_hash = request.counts_from.map(|_| plan_hash(file, &request.post_hoc, &project.metrics)).transpose();
        let plan_hash = plan_hash
            .map_err(|error| PipelineError::Internal { what: format!("hash `{name}`"), reason: error.to_string() })?;
        file.analysis.start = request.counts_from.unwrap_or(file.analysis.start);
        let course = Given { file, post_hoc: &request.post_hoc, spans: &request.spans, now, plan_hash };
        reports.push(one(context, name.clone(), course, until, request.by_day).await?);
    }
    if request.interactions {
        interact(context, &files, until, &mut reports).await?;
    }
    for report in &reports {
        crate::results::keep(project, report)?;
    }
    Ok(reports)
}

/// What is analyzed, with what is known of it beside its file.
struct Given<'a> {
    file: &'a ExperimentFile,
    post_hoc: &'a [String],
    spans: &'a [Span],
    /// Where its clock stands, `until` at most.
    now: DateTime<Utc>,
    plan_hash: Option<String>,
}

/// Every pair of the experiments, each report having the pairs of which it is the first; corrected over all.
async fn interact(
    context: &Context,
    files: &[(String, ExperimentFile)],
    until: DateTime<Utc>,
    reports: &mut [ExperimentReport],
) -> Result<(), PipelineError> {
    let catalog = context.warehouse.catalog().await?;
    let mut crossings = Vec::new();
    for (place, (_, first)) in files.iter().enumerate() {
        let first = subject(context, &catalog, first, &[], until)?;
        let cap = reports[place].results.rows.first().and_then(|row| row.cap);
        for (_, second) in &files[place + 1..] {
            let second = subject(context, &catalog, second, &[], until)?;
            crossings.extend(analyze::read_crossings(&context.warehouse, &catalog, &first, &second, cap).await?);
        }
    }
    let alpha = reports.first().map_or(0.05, |report| report.alpha);
    let rows = interactions(&crossings, alpha).map_err(|error| PipelineError::Unanalyzable {
        experiment: reports.first().map_or(String::new(), |report| report.name.clone()),
        table: String::new(),
        reason: error.to_string(),
    })?;
    for row in rows {
        if let Some(report) = reports.iter_mut().find(|report| report.key == row.first) {
            report.interactions.push(row);
        }
    }
    Ok(())
}

async fn one(
    context: &Context,
    name: String,
    Given { file, post_hoc, spans, now, plan_hash }: Given<'_>,
    until: DateTime<Utc>,
    by_day: bool,
) -> Result<ExperimentReport, PipelineError> {
    let catalog = context.warehouse.catalog().await?;
    let subject = subject(context, &catalog, file, post_hoc, until)?;
    let models = analyze::models(&subject)?;
    let built = context
        .warehouse
        .build(&models, &[], &context.run(), &BuildOptions::default(), context.progress.as_ref())
        .await?;
    expect_built(&built, &name)?;
    let catalog = context.warehouse.catalog().await?;
    let observed = observe(context, &catalog, &subject, (spans, now)).await?;
    let unanalyzable = |error: StatsError| PipelineError::Unanalyzable {
        experiment: name.clone(),
        table: String::new(),
        reason: error.to_string(),
    };
    let results = results(&observed).map_err(unanalyzable)?;
    let mut of_days = Vec::new();
    for observed in
        if by_day { observe_days(context, &catalog, &subject, &observed, (spans, now)).await? } else { Vec::new() }
    {
        of_days.push((observed.0, rows(&observed.1).map_err(unanalyzable)?));
    }
    let days = days(of_days);
    let since = if by_day { observe_days_since(context, &catalog, &subject, &observed).await? } else { Vec::new() };
    let novelty = by_days_since(&observed, &since);
    let tables = built.models.iter().zip(&models).map(table_report).collect();
    let key = file.assignment.key.clone();
    let (has_ended, alpha) = (observed.has_ended, observed.alpha);
    Ok(ExperimentReport {
        name,
        key,
        plan_hash,
        catalog: catalog.number,
        until,
        has_ended,
        alpha,
        results,
        days,
        novelty,
        interactions: Vec::new(),
        tables,
    })
}

/// Errors: the first table that could not be made.
pub(super) fn expect_built(built: &BuildReport, experiment: &str) -> Result<(), PipelineError> {
    let Some(failed) = built.models.iter().find(|model| model.reason.is_some()) else { return Ok(()) };
    let (table, reason) = (failed.table.to_string(), failed.reason.clone().unwrap_or_default());
    Err(PipelineError::Unanalyzable { experiment: experiment.to_owned(), table, reason })
}

fn table_report((report, model): (&ModelReport, &Model)) -> TableReport {
    TableReport {
        table: report.table.to_string(),
        rows: report.rows,
        changed: report.status == ModelStatus::Built,
        seconds: report.seconds,
        sql: model.sql.clone(),
    }
}

fn subject<'a>(
    context: &'a Context,
    catalog: &Catalog,
    file: &'a ExperimentFile,
    post_hoc: &'a [String],
    until: DateTime<Utc>,
) -> Result<Subject<'a>, PipelineError> {
    let exposures = catalog.table(&file.analysis.exposures)?;
    let exposure_columns: BTreeSet<String> = exposures.columns.iter().map(|column| column.name.clone()).collect();
    let mut metrics = Vec::new();
    for name in file.analysis.metrics() {
        // One that is gone must not leave the plan silently: a guardrail would be passed.
        let metric = context.project.metric(name)?;
        let plan = metric.plan().map_err(|error| PipelineError::Internal {
            what: format!("plan metric `{name}`"),
            reason: error.to_string(),
        })?;
        metrics.push((name, plan));
    }
    Ok(Subject { file, metrics, post_hoc, exposure_columns, until })
}

async fn observe(
    context: &Context,
    catalog: &Catalog,
    subject: &Subject<'_>,
    (spans, now): (&[Span], DateTime<Utc>),
) -> Result<Observed, PipelineError> {
    let (assignment, plan) = (&subject.file.assignment, &subject.file.analysis);
    let counts = analyze::read_counts(&context.warehouse, catalog, subject).await?;
    let found = analyze::read_samples(&context.warehouse, catalog, subject).await?;
    let bad_values = analyze::read_bad_values(&context.warehouse, catalog, subject).await?;
    let Freshness { join_rate, data_age_hours } = analyze::read_freshness(&context.warehouse, catalog, subject).await?;
    let variants: Vec<(String, f64)> =
        assignment.variants.iter().map(|variant| variant.key.clone()).zip(assignment.shares()).collect();
    let caps: Vec<Option<f64>> = found.iter().map(|metric| metric.cap).collect();
    let dimensions = analyze::read_dimensions(&context.warehouse, catalog, subject, &variants, &caps).await?;
    let of_day = |day: &BTreeMap<String, u64>| -> Vec<u64> {
        variants.iter().map(|(key, _)| day.get(key).copied().unwrap_or(0)).collect()
    };
    let daily_units: Vec<Vec<u64>> = counts.days.iter().map(of_day).collect();
    let known: u64 = daily_units.iter().flatten().sum();
    let (clock, has_ended) = clock(plan, spans, now, known);
    Ok(Observed {
        looks: looks(&plan.looks, plan.planned_units.unwrap_or(known), &counts.per_day(), subject.until),
        daily_units,
        sequential: plan.sequential,
        spending: plan.spending,
        unknown_units: counts.days.iter().flat_map(BTreeMap::values).sum::<u64>() - known,
        multiple_units: counts.multiple,
        seen_units: counts.seen,
        exposures: counts.exposures,
        join_rate,
        data_age_hours,
        metrics: metrics(context, subject, &variants, found, &bad_values),
        dimensions,
        post_stratify: plan.post_stratify.clone(),
        clock,
        has_ended,
        variants,
        alpha: plan.alpha,
        running_alpha: plan.running_alpha,
        planned_units: plan.planned_units,
        least_join_rate: plan.min_join_rate,
        most_data_age_hours: f64::from(plan.max_data_age_hours),
    })
}

/// The same experiment as it stood at each midnight since its start: metrics and clock; the rest is today's.
async fn observe_days(
    context: &Context,
    catalog: &Catalog,
    subject: &Subject<'_>,
    today: &Observed,
    (spans, now): (&[Span], DateTime<Utc>),
) -> Result<Vec<(DateTime<Utc>, Observed)>, PipelineError> {
    let plan = &subject.file.analysis;
    let seen = analyze::read_counts(&context.warehouse, catalog, subject).await?.per_day();
    let planned = plan.planned_units.unwrap_or_default();
    let mut found = Vec::new();
    let mut day = plan.start.date_naive();
    while let Some(next) = day.checked_add_days(Days::new(1)) {
        day = next;
        let until = day.and_time(NaiveTime::MIN).and_utc();
        if until > subject.until || found.len() >= plan.max_days as usize {
            break;
        }
        let of_day = Subject { until, ..subject.clone() };
        let samples = analyze::read_samples_of_day(&context.warehouse, catalog, &of_day).await?;
        let metrics = metrics(context, &of_day, &today.variants, samples, &[]);
        let units = |metric: &ObservedMetric| metric.samples.iter().flatten().map(Sample::units).sum::<u64>();
        let units = metrics.iter().map(units).max().unwrap_or(0);
        let (clock, has_ended) = clock(plan, spans, until.min(now), units);
        let looks = looks(&plan.looks, planned, &seen, until);
        found.push((until, Observed { metrics, clock, has_ended, looks, dimensions: Vec::new(), ..today.clone() }));
    }
    Ok(found)
}

/// Days since exposure that are read at most: each is a query, and the longest experiment has no more.
const MOST_DAYS_SINCE: u32 = 56;

/// What units did on each day since their exposure, as long as windows go and days are over.
async fn observe_days_since(
    context: &Context,
    catalog: &Catalog,
    subject: &Subject<'_>,
    observed: &Observed,
) -> Result<Vec<DaySince>, PipelineError> {
    let caps: Vec<Option<f64>> = observed.metrics.iter().map(|metric| metric.cap).collect();
    let passed = (subject.until - subject.file.analysis.start).num_days();
    let last = subject.last_day_since().min(MOST_DAYS_SINCE);
    let mut found = Vec::new();
    for day in (0..=last).take_while(|day| i64::from(*day) < passed) {
        let read = analyze::read_samples_since(&context.warehouse, catalog, subject, &caps, day).await?;
        let of_metric = |mut by_variant: BTreeMap<String, Sample>| -> Vec<Option<Sample>> {
            observed.variants.iter().map(|(key, _)| by_variant.remove(key)).collect()
        };
        found.push(DaySince { day, samples: read.into_iter().map(of_metric).collect() });
    }
    Ok(found)
}

/// What a metric is for.
pub(super) fn role_of(plan: &AnalysisPlan, name: &str) -> Role {
    let guardrail = plan.guardrails.iter().find(|guardrail| guardrail.metric == name);
    match (plan.goals.iter().position(|goal| goal.metric == name), guardrail) {
        (Some(0), _) => Role::Primary,
        (Some(_), _) => Role::Success,
        (None, Some(guardrail)) => Role::Guardrail { margin: guardrail.margin },
        (None, None) => Role::Watched,
    }
}

fn metrics(
    context: &Context,
    subject: &Subject<'_>,
    variants: &[(String, f64)],
    found: Vec<MetricMoments>,
    bad_values: &[u64],
) -> Vec<ObservedMetric> {
    let plan_of = &subject.file.analysis;
    let goals = &plan_of.goals;
    let named = subject.metrics.iter().zip(found).enumerate().filter_map(|(at, ((name, plan), mut found))| {
        let file = context.project.metrics.get(*name)?;
        Some(ObservedMetric {
            name: (*name).to_owned(),
            role: role_of(plan_of, name),
            weight: goals.iter().find(|goal| goal.metric == *name).map_or(1.0, |goal| goal.weight),
            preference: file.direction,
            is_proportion: plan.statistic == Statistic::Proportion,
            samples: variants.iter().map(|(key, _)| found.by_variant.remove(key)).collect(),
            min_effect: file.min_effect,
            cap: found.cap,
            bad_values: bad_values.get(at).copied().unwrap_or(0),
            is_post_hoc: subject.post_hoc.iter().any(|late| late == name),
        })
    });
    named.collect()
}
