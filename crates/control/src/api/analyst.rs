//! What the API asks the rest of the program: metrics, power and results come from project files and the warehouse.
//!
//! In: an experiment.  Out: facts for its launch, results as JSON.
//! Never here: how they are made (`pipeline`).
//! Start at [`Analyst`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ErrorKind;
use experiment::lifecycle::{Course, LaunchFacts};
use experiment::metric::MetricFile;
use experiment::plan::ExperimentFile;
use serde::Serialize;
use serde_json::Value;

use crate::{ControlError, PowerFound};

/// A metric of the project.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MetricCard {
    pub name: String,
    pub metric: MetricFile,
    /// Keys of experiments that name it.
    pub used_by: Vec<String>,
}

/// Who knows metrics and results. The program implements it over the warehouse, tests over nothing.
#[async_trait]
pub trait Analyst: std::fmt::Debug + Send + Sync {
    /// Every metric of the project, by name.
    async fn metrics(&self) -> Result<BTreeMap<String, MetricFile>, ControlError>;
    /// What a launch of the experiment should know, beside power.
    async fn facts(&self, experiment: &ExperimentFile) -> Result<LaunchFacts, ControlError>;
    /// The results as they were last computed; `None` when they never were.
    async fn results(&self, key: &str) -> Result<Option<Value>, ControlError>;
    /// Computes the results from what the warehouse holds, and keeps them. They carry the `plan_hash` of what they were computed by.
    async fn analyze(&self, experiment: &Course, until: Option<DateTime<Utc>>) -> Result<Value, ControlError>;
    /// How long it takes to see what, from the last `history_days` days.
    async fn power(&self, experiment: &ExperimentFile, history_days: u32) -> Result<PowerFound, ControlError>;
}

impl ControlError {
    /// An error of whoever analyzes, as it would leave by itself.
    pub fn analysis(error: &impl domain::Problem) -> Self {
        Self::Analysis { kind: error.kind(), code: error.code(), detail: error.to_string(), next: error.help() }
    }

    /// Power that is not there yet.
    pub(crate) fn no_power(key: &str) -> Self {
        Self::Analysis {
            kind: ErrorKind::NotFound,
            code: "no_power",
            detail: format!("the power of experiment `{key}` was never computed"),
            next: Some(format!("send `POST /api/v1/experiments/{key}/power`, or run `montauk experiment power {key}`")),
        }
    }

    /// Results that are not there yet.
    pub(crate) fn not_analyzed(key: &str) -> Self {
        Self::Analysis {
            kind: ErrorKind::NotFound,
            code: "not_analyzed",
            detail: format!("experiment `{key}` was never analyzed"),
            next: Some(format!(
                "send `POST /api/v1/experiments/{key}/results`, or run `montauk experiment results {key}`"
            )),
        }
    }
}
