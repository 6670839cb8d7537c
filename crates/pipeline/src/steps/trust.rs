//! `metric trust`: whether a metric finds differences where there are none, by splits of the past.
//!
//! In: names of metrics, how many days to look back, how many splits, a seed.  Out: a [`MetricTrust`] each, kept for the launch checklist.
//! The past goes through the same tables as an experiment would: same windows, caps and covariates.
//! Never here: SQL (`analyze`), splits and scores (`experiment::a_a`).
//! Start at [`run`].

use chrono::{DateTime, Utc};
use experiment::a_a::trust;
use experiment::stats::StatsError;
use warehouse::Catalog;

use super::{Context, power};
use crate::PipelineError;
use crate::analyze::{self, Subject};
use crate::metric_trust::{MetricTrust, hash_of, keep};

/// The error rate that is tried: that of an experiment whose plan says nothing.
const ALPHA: f64 = 0.05;

/// What to try.
#[derive(Debug, Clone)]
pub struct Request {
    /// At least one.
    pub metrics: Vec<String>,
    /// Days in which units may come for the first time; their windows end after them.
    pub history_days: u32,
    /// What happened from this moment on does not count, midnight UTC; the start of today if absent.
    pub until: Option<DateTime<Utc>>,
    /// Splits of each metric's units.
    pub draws: u32,
    pub seed: u64,
}

/// Tries metrics one after the other. Errors: a metric that the project does not have; facts that cannot be read.
pub async fn run(context: &Context, request: Request) -> Result<Vec<MetricTrust>, PipelineError> {
    let Some(experiment) = power::trial_of(&request.metrics, context.now) else { return Ok(Vec::new()) };
    let Request { history_days, until, .. } = request;
    let past = power::look_back(context, &power::Request { experiment, history_days, until }).await?;
    let catalog = context.warehouse.catalog().await?;
    let subject = past.subject();
    let moments = analyze::read_samples(&context.warehouse, &catalog, &subject).await?;
    let mut all = Vec::with_capacity(request.metrics.len());
    for (place, metric) in request.metrics.iter().enumerate() {
        // Unknown names have been refused by now.
        let metric_hash = context.project.metrics.get(metric).map(hash_of).transpose()?.unwrap_or_default();
        let found = one(context, &catalog, &subject, (place, moments[place].cap), &request).await?;
        let (trust, problem) = match found {
            Ok(trust) => (Some(trust), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let found = MetricTrust {
            metric: metric.clone(),
            metric_hash,
            catalog: catalog.number,
            at: context.now,
            from: past.from,
            to: past.to,
            seed: request.seed,
            trust,
            problem,
        };
        keep(&context.project, &found)?;
        all.push(found);
    }
    Ok(all)
}

type Tried = Result<experiment::a_a::TrustReport, StatsError>;

async fn one(
    context: &Context,
    catalog: &Catalog,
    subject: &Subject<'_>,
    (place, cap): (usize, Option<f64>),
    request: &Request,
) -> Result<Tried, PipelineError> {
    let past = analyze::read_past(&context.warehouse, catalog, subject, place, cap).await?;
    let (draws, seed) = (request.draws, request.seed);
    // Seconds of arithmetic: not on a thread that others wait for.
    let tried = tokio::task::spawn_blocking(move || trust(past, draws, seed, ALPHA)).await;
    tried.map_err(|error| PipelineError::Internal { what: "split the past".to_owned(), reason: error.to_string() })
}
