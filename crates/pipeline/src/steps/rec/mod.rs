//! `rec`: the registry of recommenders: which artefacts there are, how two differ, which one serves, and going back.
//!
//! In: what to do, names.  Out: artefacts with figures, differences, or a promotion.
//! Promoting takes no lock: numbers are put if absent, and going back must not wait for a training that runs.
//! Never here: training and measuring (`steps::train`, `steps::evaluate`), the guard's rule (`recommend`).
//! Start at [`run`].

mod compare;
mod error;
mod list;
mod promote;
mod rollback;

use recommend::ArtefactHeader;

pub use compare::{Comparison, Difference, EvaluatedBoth, Measure, MetricOfBoth};
pub use error::RegistryError;
pub use list::{ArtefactEntry, ServingState, Unreadable};
pub use promote::{Promoted, Replaced};

use super::Context;
use crate::project::Project;
use crate::{PipelineError, artefacts, promotions};

/// What to do.
#[derive(Debug, Clone)]
pub enum Request {
    List,
    /// Two names, each of an artefact (or the beginning of one) or of a recommender, whose newest artefact is meant.
    Compare {
        one: String,
        other: String,
    },
    Promote {
        name: String,
        reason: Option<String>,
        /// Past the guard; an artefact that cannot be loaded is refused all the same.
        force: bool,
    },
    Rollback {
        /// Number of the promotion to go back to; what served before the present one when absent.
        to: Option<u64>,
        reason: Option<String>,
    },
}

/// What came of it.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Report {
    List { artefacts: Vec<ArtefactEntry>, unreadable: Vec<Unreadable> },
    Compare(Box<Comparison>),
    Promote(Promoted),
    Rollback(Promoted),
}

/// Does what is asked for.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let project = &context.project;
    match request {
        Request::List => list::run(project),
        Request::Compare { one, other } => compare::run(project, &one, &other).map(Box::new).map(Report::Compare),
        Request::Promote { name, reason, force } => {
            promote::run(context, &name, reason, force).await.map(Report::Promote)
        }
        Request::Rollback { to, reason } => rollback::run(context, to, reason).await.map(Report::Rollback),
    }
}

/// An artefact that was named, and the recommender that it would serve as; empty when no recommender of the project is it.
struct Target {
    artefact: String,
    header: ArtefactHeader,
    recommender: String,
}

/// What a word means: an artefact's name, a recommender's (its newest artefact), or the beginning of one artefact's name.
fn resolve(project: &Project, word: &str) -> Result<Target, PipelineError> {
    let (mut known, _) = artefacts::all(&project.artefacts_dir())?;
    if let Some(place) = known.iter().position(|(name, _)| name == word) {
        let (artefact, header) = known.swap_remove(place);
        let recommender = recommender_of(project, &artefact, &header)?;
        return Ok(Target { artefact, header, recommender });
    }
    let file = project.recommenders.get(word);
    let mut newest = None;
    for (artefact, header) in &known {
        if artefacts::is_of(header, word, file)? {
            newest = Some((artefact.clone(), header.clone()));
        }
    }
    if let Some((artefact, header)) = newest {
        return Ok(Target { artefact, header, recommender: word.to_owned() });
    }
    if file.is_some() {
        return Err(PipelineError::NotTrained { recommender: word.to_owned() });
    }
    let mut meant: Vec<_> = known.iter().filter(|(name, _)| !word.is_empty() && name.starts_with(word)).collect();
    match (meant.pop(), meant.is_empty()) {
        (Some((artefact, header)), true) => {
            let recommender = recommender_of(project, artefact, header)?;
            Ok(Target { artefact: artefact.clone(), header: header.clone(), recommender })
        }
        (Some((last, _)), false) => {
            let names = meant.into_iter().map(|(name, _)| name.clone()).chain([last.clone()]).collect();
            Err(RegistryError::ManyArtefacts { word: word.to_owned(), names }.into())
        }
        (None, _) => {
            let names = known.into_iter().map(|(name, _)| name);
            let available = project.recommenders.keys().cloned().chain(names).collect();
            Err(PipelineError::UnknownName { what: "artefact or recommender", name: word.to_owned(), available })
        }
    }
}

/// The recommender that an artefact was trained as, was last promoted as, or fits by its parameters.
fn recommender_of(project: &Project, artefact: &str, header: &ArtefactHeader) -> Result<String, PipelineError> {
    if project.recommenders.contains_key(&header.recommender) {
        return Ok(header.recommender.clone());
    }
    let promotions = promotions::all(&project.promoted_dir())?;
    let promoted = promotions.into_iter().rfind(|promotion| promotion.artefact == artefact);
    if let Some(promotion) = promoted.filter(|promotion| project.recommenders.contains_key(&promotion.recommender)) {
        return Ok(promotion.recommender);
    }
    for (name, file) in &project.recommenders {
        if artefacts::is_of(header, name, Some(file))? {
            return Ok(name.clone());
        }
    }
    Ok(header.recommender.clone())
}
