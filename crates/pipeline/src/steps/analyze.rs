//! `analyze`: what an experiment has done to its metrics, and what to do about it.
//!
//! In: names of experiments.  Out: effects with intervals, the health of the data, a verdict, per experiment.
//! Never here: SQL (`analyze`), statistics and rules (`experiment`).
//! Start at [`run`].

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveTime, Utc};
use experiment::decision::{Clock, Role};
use experiment::metric::Statistic;
use experiment::plan::ExperimentFile;
use experiment::results::{Observed, ObservedMetric, Results, Sample, results};
use warehouse::{BuildOptions, Catalog, Model, ModelReport, ModelStatus};

use super::Context;
use crate::PipelineError;
use crate::analyze::{self, Freshness, MetricMoments, Subject};

/// What to analyze.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Names of `experiments/<name>.toml`; empty means all.
    pub experiments: Vec<String>,
    /// What happened from this moment on does not count, midnight UTC; the end of today if absent.
    pub until: Option<DateTime<Utc>>,
}

/// The results of one experiment.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ExperimentReport {
    /// Name of its file.
    pub name: String,
    pub key: String,
    /// The catalog number that the figures were read at.
    pub catalog: u64,
    pub until: DateTime<Utc>,
    /// Whether the planned end has come.
    pub has_ended: bool,
    pub results: Results,
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
    let names: Vec<String> = match request.experiments.as_slice() {
        [] => project.experiments.keys().cloned().collect(),
        some => some.to_vec(),
    };
    if names.is_empty() {
        return Err(PipelineError::NoExperiments);
    }
    let until = request.until.unwrap_or_else(|| {
        let tomorrow = context.now.date_naive().checked_add_days(Days::new(1)).unwrap_or(context.now.date_naive());
        tomorrow.and_time(NaiveTime::MIN).and_utc()
    });
    let mut reports = Vec::with_capacity(names.len());
    for name in names {
        reports.push(one(context, name, until).await?);
    }
    Ok(reports)
}

async fn one(context: &Context, name: String, until: DateTime<Utc>) -> Result<ExperimentReport, PipelineError> {
    let file = context.project.experiment(&name)?;
    let catalog = context.warehouse.catalog().await?;
    let subject = subject(context, &catalog, file, until)?;
    let models = analyze::models(&subject)?;
    let built = context
        .warehouse
        .build(&models, &[], &context.run(), &BuildOptions::default(), context.progress.as_ref())
        .await?;
    if let Some(failed) = built.models.iter().find(|model| model.reason.is_some()) {
        let reason = failed.reason.clone().unwrap_or_default();
        return Err(PipelineError::Unanalyzable { experiment: name, table: failed.table.to_string(), reason });
    }
    let catalog = context.warehouse.catalog().await?;
    let observed = observe(context, &catalog, &subject).await?;
    let results = results(&observed).map_err(|error| PipelineError::Unanalyzable {
        experiment: name.clone(),
        table: String::new(),
        reason: error.to_string(),
    })?;
    let tables = built.models.iter().zip(&models).map(table_report).collect();
    let key = file.assignment.key.clone();
    Ok(ExperimentReport { name, key, catalog: catalog.number, until, has_ended: observed.has_ended, results, tables })
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
    until: DateTime<Utc>,
) -> Result<Subject<'a>, PipelineError> {
    let exposures = catalog.table(&file.analysis.exposures)?;
    let exposure_columns: BTreeSet<String> = exposures.columns.iter().map(|column| column.name.clone()).collect();
    let mut metrics = Vec::new();
    for name in file.analysis.metrics() {
        let Some((name, metric)) = context.project.metrics.get_key_value(name) else { continue };
        let plan = metric.plan().map_err(|error| PipelineError::Internal {
            what: format!("plan metric `{name}`"),
            reason: error.to_string(),
        })?;
        metrics.push((name.as_str(), plan));
    }
    Ok(Subject { file, metrics, exposure_columns, until })
}

async fn observe(context: &Context, catalog: &Catalog, subject: &Subject<'_>) -> Result<Observed, PipelineError> {
    let (assignment, plan) = (&subject.file.assignment, &subject.file.analysis);
    let counts = analyze::read_counts(&context.warehouse, catalog, subject).await?;
    let found = analyze::read_samples(&context.warehouse, catalog, subject).await?;
    let Freshness { join_rate, data_age_hours } = analyze::read_freshness(&context.warehouse, catalog, subject).await?;
    let variants: Vec<(String, f64)> =
        assignment.variants.iter().map(|variant| variant.key.clone()).zip(assignment.shares()).collect();
    let of_day = |day: &BTreeMap<String, u64>| -> Vec<u64> {
        variants.iter().map(|(key, _)| day.get(key).copied().unwrap_or(0)).collect()
    };
    let daily_units: Vec<Vec<u64>> = counts.days.iter().map(of_day).collect();
    let known: u64 = daily_units.iter().flatten().sum();
    let end = plan.end.map_or(subject.until, |end| end.min(subject.until));
    let days = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).num_minutes() as f64 / (24.0 * 60.0);
    let days_running = days(plan.start, end).max(0.0);
    let clock = Clock {
        days_running,
        least_days: f64::from(plan.min_days),
        most_days: f64::from(plan.max_days),
        planned_days: plan.end.map(|end| days(plan.start, end)),
        has_planned_units: plan.planned_units.is_some_and(|planned| known >= planned),
    };
    let is_planned_end = plan.end.is_some_and(|end| subject.until >= end) || clock.has_planned_units;
    Ok(Observed {
        daily_units,
        unknown_units: counts.days.iter().flat_map(BTreeMap::values).sum::<u64>() - known,
        multiple_units: counts.multiple,
        seen_units: counts.seen,
        exposures: counts.exposures,
        join_rate,
        data_age_hours,
        metrics: metrics(context, subject, &variants, found),
        clock,
        has_ended: is_planned_end || days_running >= clock.most_days,
        variants,
        alpha: plan.alpha,
        running_alpha: plan.running_alpha,
        planned_units: plan.planned_units,
        least_join_rate: plan.min_join_rate,
        most_data_age_hours: f64::from(plan.max_data_age_hours),
    })
}

fn metrics(
    context: &Context,
    subject: &Subject<'_>,
    variants: &[(String, f64)],
    found: Vec<MetricMoments>,
) -> Vec<ObservedMetric> {
    let plan = &subject.file.analysis;
    let goals = &plan.goals;
    let role = |name: &str| {
        let guardrail = plan.guardrails.iter().find(|guardrail| guardrail.metric == name);
        match (goals.iter().position(|goal| goal.metric == name), guardrail) {
            (Some(0), _) => Role::Primary,
            (Some(_), _) => Role::Success,
            (None, Some(guardrail)) => Role::Guardrail { margin: guardrail.margin },
            (None, None) => Role::Watched,
        }
    };
    let named = subject.metrics.iter().zip(found).filter_map(|((name, plan), found)| {
        let file = context.project.metrics.get(*name)?;
        let sample = |key: &String| match (found.by_variant.get(key)?.clone(), plan.statistic) {
            (analyze::Sample::Quantile(quantile), _) => Some(Sample::Quantile(quantile)),
            (analyze::Sample::Moments(moments), Statistic::Ratio) => Some(Sample::Ratio(moments)),
            (analyze::Sample::Moments(moments), Statistic::Mean | Statistic::Proportion | Statistic::Quantile(_)) => {
                Some(Sample::Mean(moments))
            }
        };
        Some(ObservedMetric {
            name: (*name).to_owned(),
            role: role(name),
            weight: goals.iter().find(|goal| goal.metric == *name).map_or(1.0, |goal| goal.weight),
            preference: file.direction,
            is_proportion: plan.statistic == Statistic::Proportion,
            samples: variants.iter().map(|(key, _)| sample(key)).collect(),
            min_effect: file.min_effect,
            cap: found.cap,
            bad_values: found.bad_values,
        })
    });
    named.collect()
}
