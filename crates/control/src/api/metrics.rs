//! `/api/v1/metrics`: what experiments are judged by. Metrics are files of the project; here they are read.
//!
//! In: a name.  Out: definitions, and who uses them.
//! Never here: values of metrics (`pipeline`).
//! Start at [`router`].

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use experiment::metric::MetricFile;
use http_server::ProblemResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::input::Place;
use super::{Api, MetricCard, Problem};
use crate::{Actor, ControlError, ExperimentFilter};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_metrics)).routes(routes!(show_metric))
}

async fn cards(api: &Api, actor: &Actor) -> Result<Vec<MetricCard>, ControlError> {
    let experiments = api.control.experiments(actor, &ExperimentFilter::default()).await?;
    let metrics: BTreeMap<String, MetricFile> = api.analyst.metrics().await?;
    let card = |(name, metric): (String, MetricFile)| {
        let users = experiments.iter().filter(|record| record.course.analysis.metrics().contains(&name.as_str()));
        MetricCard { used_by: users.map(|record| record.key.clone()).collect(), name, metric }
    };
    Ok(metrics.into_iter().map(card).collect())
}

/// Metrics of the project, by name.
#[utoipa::path(get, path = "/api/v1/metrics", tag = "metrics",
    responses((status = 200, body = Vec<MetricCard>), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn list_metrics(State(api): State<Api>, Caller(actor): Caller) -> Result<Json<Vec<MetricCard>>, ProblemResponse> {
    Ok(Json(cards(&api, &actor).await?))
}

/// One metric.
#[utoipa::path(get, path = "/api/v1/metrics/{name}", tag = "metrics", params(("name" = String, Path)),
    responses((status = 200, body = MetricCard), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn show_metric(
    State(api): State<Api>,
    Caller(actor): Caller,
    Place(name): Place<String>,
) -> Result<Json<MetricCard>, ProblemResponse> {
    let found = cards(&api, &actor).await?.into_iter().find(|card| card.name == name);
    Ok(Json(found.ok_or(ControlError::NotFound { kind: "metric", key: name })?))
}
