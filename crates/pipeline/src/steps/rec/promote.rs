//! Points serving at an artefact, past a guard: it must load, be measured, and not be surely worse than what serves.
//!
//! In: a name, a reason, whether the guard may be overruled.  Out: [`Promoted`], or why not.
//! Never here: the guard's rule (`recommend::decide_replacement`).
//! Start at [`run`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{PROMOTION_FORMAT_VERSION, Promotion};
use recommend::{
    Artefact, ArtefactHeader, Ranker, RecommenderFile, RecommenderKind, ReplacementDecision, decide_replacement,
};

use super::{RegistryError, Target, resolve};
use crate::evaluations::{self, Measured};
use crate::project::Project;
use crate::steps::Context;
use crate::steps::train::off_the_async_threads;
use crate::{PipelineError, artefacts, promotions};

/// What serves from now on.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Promoted {
    pub recommender: String,
    pub artefact: String,
    pub fallback_artefact: Option<String>,
    pub number: u64,
    pub reason: String,
    /// False when it served already, and nothing was written.
    pub changed: bool,
    /// The guard said no, and was overruled.
    pub forced: bool,
    /// What the guard compared; none when nothing served before, or on a rollback.
    pub guard: Option<ReplacementDecision>,
    /// What served until now.
    pub replaced: Option<Replaced>,
    pub metrics: BTreeMap<String, f64>,
}

/// The promotion before.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Replaced {
    pub number: u64,
    pub recommender: String,
    pub artefact: String,
}

impl Replaced {
    pub(super) fn of(promotion: &Promotion) -> Self {
        let Promotion { number, recommender, artefact, .. } = promotion.clone();
        Self { number, recommender, artefact }
    }
}

/// Promotes one artefact.
pub(super) async fn run(
    context: &Context,
    name: &str,
    reason: Option<String>,
    force: bool,
) -> Result<Promoted, PipelineError> {
    let project = &context.project;
    let target = resolve(project, name)?;
    let file = project.recommender(&target.recommender)?;
    let fallback_artefact = fallback(project, &target, file)?;
    check_loads(&project.artefacts_dir(), &target.artefact, fallback_artefact.as_deref()).await?;
    let evaluations = evaluations::newest_first(&project.reports_dir())?;
    let serving = promotions::promoted_last(&project.promoted_dir())?;
    let verdict = match &serving {
        Some(serving) if serving.artefact != target.artefact => {
            guard(project, &target, file, serving, &evaluations).map(Some)
        }
        Some(_) | None => Ok(None),
    };
    let (guard, refusal) = match verdict {
        Ok(Some(decision)) if !decision.promote => {
            let reason = decision.reason.clone();
            (Some(decision), Some(RegistryError::PromotionRefused { artefact: target.artefact.clone(), reason }))
        }
        Ok(decision) => (decision, None),
        Err(refusal) => (None, Some(refusal)),
    };
    let said = match (&refusal, &guard) {
        (Some(refusal), _) => format!("forced past the guard, which said: {refusal}"),
        (None, Some(guard)) => guard.reason.clone(),
        (None, None) => "nothing to compare it with".to_owned(),
    };
    let forced = refusal.is_some();
    if let Some(refusal) = refusal.filter(|_| !force) {
        return Err(refusal.into());
    }
    let reason = match reason {
        Some(text) if forced => format!("{text} ({said})"),
        Some(text) => text,
        None => said,
    };
    let wanted = Promotion {
        format_version: PROMOTION_FORMAT_VERSION,
        number: 0,
        metrics: evaluations::figures_of(&evaluations, &target.header, &target.recommender),
        recommender: target.recommender,
        artefact: target.artefact,
        fallback_artefact,
        filter_seen: file.filter_seen,
        rerank: file.rerank.clone(),
        promoted_at: context.now,
        reason,
        provenance: domain::Provenance { run_id: context.run_id.clone(), ..target.header.provenance },
    };
    let (promotion, changed) = promotions::promote(&project.promoted_dir(), wanted)?;
    Ok(report(promotion, changed, forced, guard, serving.as_ref()))
}

/// What is told of a promotion.
pub(super) fn report(
    promotion: Promotion,
    changed: bool,
    forced: bool,
    guard: Option<ReplacementDecision>,
    replaced: Option<&Promotion>,
) -> Promoted {
    Promoted {
        replaced: replaced.filter(|_| changed).map(Replaced::of),
        recommender: promotion.recommender,
        artefact: promotion.artefact,
        fallback_artefact: promotion.fallback_artefact,
        number: promotion.number,
        reason: promotion.reason,
        changed,
        forced,
        guard,
        metrics: promotion.metrics,
    }
}

/// The popularity artefact behind it: that of the same data, or the newest.
fn fallback(project: &Project, target: &Target, file: &RecommenderFile) -> Result<Option<String>, PipelineError> {
    if target.header.kind == RecommenderKind::Popularity {
        return Ok(None);
    }
    let baseline = project.recommender(&file.baseline)?;
    let (known, _) = artefacts::all(&project.artefacts_dir())?;
    let mut newest: Option<(String, ArtefactHeader)> = None;
    for (name, header) in known {
        let is_on_the_same_data = |header: &ArtefactHeader| header.provenance.inputs == target.header.provenance.inputs;
        if artefacts::is_of(&header, &file.baseline, Some(baseline))?
            && newest.as_ref().is_none_or(|(_, other)| is_on_the_same_data(&header) || !is_on_the_same_data(other))
        {
            newest = Some((name, header));
        }
    }
    match newest {
        Some((name, _)) => Ok(Some(name)),
        None => Err(PipelineError::NotTrained { recommender: file.baseline.clone() }),
    }
}

/// Loads what serving would load: checksums, shapes, golden queries, and that the two fit together.
pub(super) async fn check_loads(root: &Path, artefact: &str, fallback: Option<&str>) -> Result<(), PipelineError> {
    let path = |name: &str| root.join(name);
    let (own, behind): (PathBuf, Option<PathBuf>) = (path(artefact), fallback.map(path));
    let artefact = artefact.to_owned();
    off_the_async_threads(move || {
        let load = || -> Result<Ranker, recommend::RecommendError> {
            let own = Arc::new(Artefact::read(&own)?);
            let behind = behind.map(|path| Artefact::read(&path).map(Arc::new)).transpose()?;
            Ranker::new(own.clone(), behind.as_ref().unwrap_or(&own))
        };
        let refused =
            |error: recommend::RecommendError| RegistryError::CannotServe { artefact, reason: error.to_string() };
        load().map(drop).map_err(|error| refused(error).into())
    })
    .await
}

/// What the newest evaluation by the project's protocol says of it beside what serves.
///
/// Errors: `NotEvaluated` when none measured both, or not on the artefact's data.
fn guard(
    project: &Project,
    target: &Target,
    file: &RecommenderFile,
    serving: &Promotion,
    evaluations: &[Measured],
) -> Result<ReplacementDecision, RegistryError> {
    let refused = |reason: String| RegistryError::NotEvaluated { artefact: target.artefact.clone(), reason };
    let serving_header = ArtefactHeader::read(&project.artefacts_dir().join(&serving.artefact))
        .map_err(|error| refused(format!("what serves now cannot be compared with: {error}")))?;
    let by_our_protocol = evaluations.iter().filter(|measured| {
        measured.evaluation.protocol.kind == file.evaluate.protocol && measured.is_on_data_of(&target.header)
    });
    let mut measured_alone = false;
    for measured in by_our_protocol {
        let Some(candidate) = measured.name_of(&target.header, &target.recommender) else { continue };
        measured_alone = true;
        let Some(other) = measured.name_of(&serving_header, &serving.recommender) else { continue };
        if let Some(decision) = decide_replacement(&measured.evaluation, candidate, other, file.filter_seen) {
            return Ok(decision);
        }
    }
    Err(refused(if measured_alone {
        format!("no evaluation has measured it beside `{}` (`{}`), which serves", serving.artefact, serving.recommender)
    } else {
        format!("no evaluation has measured `{}` with its parameters on its data", target.recommender)
    }))
}
