//! `experiment power` and `metric test`: what metrics looked like lately, and so how long an experiment takes to see what.
//!
//! In: an experiment, in a file or not, or metrics alone; how many days to look back.  Out: values, noise and a table by whole weeks.
//! The history goes through the same tables as an experiment would: same windows, caps and covariates.
//! Never here: SQL (`analyze`), formulas (`experiment::planning`).
//! Start at [`run`].

use chrono::{DateTime, Days, NaiveTime, Utc};
use experiment::metric::{MetricFile, UnitPlan};
use experiment::plan::{AnalysisPlan, ExperimentFile};
use experiment::planning::{History, Intent, MetricHistory, PowerReport, power, power_hash};
use warehouse::BuildOptions;

use super::Context;
use super::analyze::{expect_built, role_of};
use crate::PipelineError;
use crate::analyze::{self, Subject};

/// Weeks of history: as many as the default length of an experiment would need to be planned, and long enough for weekdays to even out.
pub const DEFAULT_HISTORY_DAYS: u32 = 28;

/// What to look back at.
#[derive(Debug, Clone)]
pub struct Request {
    pub experiment: ExperimentFile,
    /// Days in which units may come for the first time; their windows end after them.
    pub history_days: u32,
    /// What happened from this moment on does not count, midnight UTC; the start of today if absent.
    pub until: Option<DateTime<Utc>>,
}

/// What was seen.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// Key of the experiment, or of the metric's test.
    pub key: String,
    /// Of what the figures depend on: arms, weights, coverage, the plan, the meaning of its metrics.
    pub hash: String,
    /// The catalog number that the figures were read at.
    pub catalog: u64,
    /// Units that came from here until there are looked at.
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub power: PowerReport,
}

/// An experiment that nobody will run: two equal halves, judged by these metrics, to see what they look like. `None` without any.
pub fn trial_of(metrics: &[String], now: DateTime<Utc>) -> Option<ExperimentFile> {
    // Names of tables hold the key: many metrics would not fit.
    let key = if let [one] = metrics { format!("metric {one}") } else { "metrics".to_owned() };
    let variants = serde_json::json!([{ "key": "control", "value": null }, { "key": "treatment", "value": null }]);
    let file = serde_json::json!({
        "assignment": { "key": key, "variants": variants },
        "analysis": {
            "exposures": "experiments.none",
            "start": now,
            "goals": [metrics.first()?],
            "secondary": metrics.get(1..)?,
        },
    });
    serde_json::from_value(file).ok()
}

/// The past of an experiment's metrics, in tables.
pub(super) struct LookedBack {
    file: ExperimentFile,
    plans: Vec<(String, UnitPlan)>,
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    until: DateTime<Utc>,
}

impl LookedBack {
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            file: &self.file,
            metrics: self.plans.iter().map(|(name, plan)| (name.as_str(), plan.clone())).collect(),
            post_hoc: &[],
            exposure_columns: ["unit_id", "experiment", "variant", "occurred_at"].map(str::to_owned).into(),
            until: self.until,
        }
    }
}

/// Makes the tables of the past. Errors: a metric that the project does not have; facts that cannot be read.
pub(super) async fn look_back(context: &Context, request: &Request) -> Result<LookedBack, PipelineError> {
    let until = request.until.unwrap_or_else(|| context.now.date_naive().and_time(NaiveTime::MIN).and_utc());
    let plans = plans(context, &request.experiment)?;
    let longest = plans.iter().flat_map(|(_, plan)| &plan.measures).map(|measure| measure.span.to_hours).max();
    let window = Days::new(u64::from(longest.unwrap_or_default().div_ceil(24)));
    let (from, to) = match until.checked_sub_days(window) {
        Some(to) => (to - chrono::TimeDelta::days(i64::from(request.history_days)), to),
        None => (until, until),
    };
    let file = as_history(&request.experiment, from, to)?;
    let past = LookedBack { file, plans, from, to, until };
    let subject = past.subject();
    let mut models = vec![analyze::history_model(&subject, from, to)?];
    models.extend(analyze::models(&subject)?);
    let report = context
        .warehouse
        .build(&models, &[], &context.run(), &BuildOptions::default(), context.progress.as_ref())
        .await?;
    expect_built(&report, &request.experiment.assignment.key)?;
    drop(subject);
    Ok(past)
}

/// Looks back and plans. Errors: as [`look_back`].
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let past = look_back(context, &request).await?;
    let (subject, from, to) = (past.subject(), past.from, past.to);
    let catalog = context.warehouse.catalog().await?;
    let history = History {
        new_units: analyze::read_new_units(&context.warehouse, &catalog, &subject, (from, to)).await?,
        metrics: metric_histories(context, &catalog, &subject, &request.experiment.analysis).await?,
    };
    let key = request.experiment.assignment.key.clone();
    let intent = Intent::of(&request.experiment, &history);
    let found = power(&intent, &history).map_err(|error| PipelineError::Unanalyzable {
        experiment: key.clone(),
        table: String::new(),
        reason: error.to_string(),
    })?;
    let hash = power_hash(&request.experiment, &context.project.metrics)
        .map_err(|error| PipelineError::Internal { what: format!("hash `{key}`"), reason: error.to_string() })?;
    Ok(Report { key, hash, catalog: catalog.number, from, to, power: found })
}

/// The metrics of an experiment with their plans, in its order.
fn plans(context: &Context, experiment: &ExperimentFile) -> Result<Vec<(String, UnitPlan)>, PipelineError> {
    let plan_of = |name: &str| {
        let metric: &MetricFile = context.project.metric(name)?;
        let plan = metric.plan().map_err(|error| PipelineError::Internal {
            what: format!("plan metric `{name}`"),
            reason: error.to_string(),
        })?;
        Ok((name.to_owned(), plan))
    };
    experiment.analysis.metrics().into_iter().map(plan_of).collect()
}

/// The same experiment as if everybody had been in it, under a key of its own.
fn as_history(
    experiment: &ExperimentFile,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<ExperimentFile, PipelineError> {
    let mut file = experiment.clone();
    file.assignment.key = format!("before {}", experiment.assignment.key);
    file.analysis.exposures = analyze::history_table(&file.assignment.key)?;
    file.analysis.start = from;
    file.analysis.end = Some(to);
    file.analysis.dimensions.clear();
    Ok(file)
}

async fn metric_histories(
    context: &Context,
    catalog: &warehouse::Catalog,
    subject: &Subject<'_>,
    plan: &AnalysisPlan,
) -> Result<Vec<MetricHistory>, PipelineError> {
    let found = analyze::read_samples(&context.warehouse, catalog, subject).await?;
    let history = |((name, _), moments): (&(&str, UnitPlan), analyze::MetricMoments)| {
        let file = context.project.metric(name)?;
        Ok(MetricHistory {
            name: (*name).to_owned(),
            role: role_of(plan, name),
            weight: plan.goals.iter().find(|goal| goal.metric == *name).map_or(1.0, |goal| goal.weight),
            min_effect: file.min_effect,
            sample: moments.by_variant.get(analyze::EVERYBODY).cloned(),
            cap: moments.cap,
        })
    };
    subject.metrics.iter().zip(found).map(history).collect()
}
