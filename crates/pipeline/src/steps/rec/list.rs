//! Every artefact with what a person chooses by: whose it is, from which data, how good, how large, and whether it serves.
//!
//! In: the project.  Out: [`ArtefactEntry`]s, newest first.
//! Never here: tables on a screen (`app`).
//! Start at [`run`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::Promotion;
use recommend::{ArtefactHeader, RecommenderKind};

use super::{Report, recommender_of};
use crate::evaluations::{self, Measured};
use crate::project::Project;
use crate::{PipelineError, artefacts, promotions};

/// One artefact.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ArtefactEntry {
    pub artefact: String,
    /// Empty when it fits no recommender of the project.
    pub recommender: String,
    pub kind: RecommenderKind,
    pub trained_at: Option<DateTime<Utc>>,
    pub data_from: Option<DateTime<Utc>>,
    pub data_until: Option<DateTime<Utc>>,
    pub users: u64,
    pub items: u64,
    pub events: u64,
    /// Kept in the artefact, with its promotion, or found by the newest evaluation of its recommender on its data; such as
    /// `test.recall@20`.
    pub metrics: BTreeMap<String, f64>,
    /// On disk.
    pub bytes: u64,
    pub state: ServingState,
    /// Numbers of the promotions of this artefact, oldest first.
    pub promotions: Vec<u64>,
}

/// Whether an artefact serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServingState {
    Serving,
    /// It stands behind what serves, for users whom that does not know.
    Fallback,
    ServedBefore,
    Never,
}

/// A directory that is no artefact to this program.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Unreadable {
    pub artefact: String,
    pub reason: String,
}

/// Lists all of them.
pub(super) fn run(project: &Project) -> Result<Report, PipelineError> {
    let (known, unreadable) = artefacts::all(&project.artefacts_dir())?;
    let promotions = promotions::all(&project.promoted_dir())?;
    let evaluations = evaluations::newest_first(&project.reports_dir())?;
    let mut artefacts = Vec::with_capacity(known.len());
    for (name, header) in known.into_iter().rev() {
        artefacts.push(entry(project, name, &header, &promotions, &evaluations)?);
    }
    let reason =
        |(artefact, error): (String, recommend::RecommendError)| Unreadable { artefact, reason: error.to_string() };
    Ok(Report::List { artefacts, unreadable: unreadable.into_iter().map(reason).collect() })
}

/// One artefact as it stands among promotions and evaluations.
pub(super) fn entry(
    project: &Project,
    artefact: String,
    header: &ArtefactHeader,
    promotions: &[Promotion],
    evaluations: &[Measured],
) -> Result<ArtefactEntry, PipelineError> {
    let recommender = recommender_of(project, &artefact, header)?;
    let own: Vec<&Promotion> = promotions.iter().filter(|promotion| promotion.artefact == artefact).collect();
    let mut metrics = header.metrics.clone();
    metrics.extend(own.iter().flat_map(|promotion| promotion.metrics.clone()));
    metrics.extend(evaluations::figures_of(evaluations, header, &recommender));
    let serving = promotions.last();
    let state = match serving {
        Some(serving) if serving.artefact == artefact => ServingState::Serving,
        Some(serving) if serving.fallback_artefact.as_ref() == Some(&artefact) => ServingState::Fallback,
        Some(_) | None if own.is_empty() => ServingState::Never,
        Some(_) | None => ServingState::ServedBefore,
    };
    let header_file = project.artefacts_dir().join(&artefact).join("artefact.json");
    let header_bytes = std::fs::metadata(&header_file).map_err(|error| PipelineError::io(&header_file, &error))?.len();
    let time = |seconds: i64| DateTime::from_timestamp(seconds, 0);
    Ok(ArtefactEntry {
        promotions: own.iter().map(|promotion| promotion.number).collect(),
        artefact,
        recommender,
        kind: header.kind,
        trained_at: header.trained_at.and_then(time),
        data_from: time(header.first_at),
        data_until: time(header.last_at),
        users: header.users,
        items: header.items,
        events: header.events,
        metrics,
        bytes: header_bytes + header.files.values().map(|file| file.bytes).sum::<u64>(),
        state,
    })
}
