//! From interactions to an artefact, whatever the kind.
//!
//! In: interactions, typed parameters, a seed, provenance.  Out: an [`Artefact`] in memory; [`Artefact::write`] keeps it.
//! The same arguments give the same bytes, on one thread or many.
//! Never here: reading tables, choosing parameters.
//! Start at [`train`].

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::Provenance;

use crate::models::Model;
use crate::scorer::{Part, Scorer};
use crate::{ARTEFACT_FORMAT_VERSION, Artefact, ArtefactHeader, Interactions, Parameters, RecommendError, Weighting};

/// Trains one recommender.
///
/// Errors: `NoInteractions` when there is nothing to learn from, `BadParameter`, `TooManyItems`, `Diverged`.
pub fn train(
    interactions: &Interactions,
    parameters: &Parameters,
    seed: u64,
    provenance: Provenance,
) -> Result<Artefact, RecommendError> {
    train_from(interactions, parameters, seed, provenance, None)
}

/// Trains one recommender, iALS from the item factors of an earlier artefact: items are matched by id, new ones start
/// at random. Fewer epochs suffice then, see `epochs`. An artefact of another kind or length of factors is not used.
///
/// The same arguments give the same bytes, so `provenance` should name `earlier`. Errors as for [`train`].
pub fn train_from(
    interactions: &Interactions,
    parameters: &Parameters,
    seed: u64,
    provenance: Provenance,
    earlier: Option<&Artefact>,
) -> Result<Artefact, RecommendError> {
    parameters.validate()?;
    if interactions.events().is_empty() {
        return Err(RecommendError::NoInteractions { kind: parameters.kind() });
    }
    let parts = parameters.parts().into_iter().enumerate().map(|(place, (weight, parameters))| {
        let start = start(interactions, earlier, place);
        train_part(interactions, weight, parameters, seed, start)
    });
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    assemble(interactions, parameters, parts, seed, provenance)
}

/// A part with the number of pairs that it was trained on.
#[derive(Debug, Clone)]
pub(crate) struct TrainedPart {
    pub(crate) part: Part,
    pairs: usize,
}

/// Trains what is no blend: a whole recommender, or a part of one.
pub(crate) fn train_part(
    interactions: &Interactions,
    weight: f64,
    parameters: &Parameters,
    seed: u64,
    start: impl Fn(u32) -> Option<Vec<f32>>,
) -> Result<TrainedPart, RecommendError> {
    if interactions.events().is_empty() {
        return Err(RecommendError::NoInteractions { kind: parameters.kind() });
    }
    let weighting = Weighting::fit(interactions, &parameters.history());
    let matrix = weighting.matrix(interactions);
    let model = Arc::new(Model::train(interactions, &matrix, parameters, seed, start)?);
    Ok(TrainedPart { part: Part { weight: weight as f32, weighting, model }, pairs: matrix.stored() })
}

/// Puts trained parts together; `parameters` are what they were trained with.
pub(crate) fn assemble(
    interactions: &Interactions,
    parameters: &Parameters,
    parts: Vec<TrainedPart>,
    seed: u64,
    provenance: Provenance,
) -> Result<Artefact, RecommendError> {
    let kind = parameters.kind();
    let (Some(first_at), Some(last_at)) = (interactions.first_at(), interactions.last_at()) else {
        return Err(RecommendError::NoInteractions { kind });
    };
    let pairs = parts.iter().map(|part| part.pairs).max().unwrap_or_default();
    let scorer = Scorer::new(kind, parts.into_iter().map(|trained| trained.part).collect());
    let header = ArtefactHeader {
        format_version: ARTEFACT_FORMAT_VERSION,
        kind,
        recommender: String::new(),
        parameters: parameters.to_map(),
        weightings: scorer.parts().iter().map(|part| part.weighting.clone()).collect(),
        seed,
        users: interactions.user_ids().len() as u64,
        items: interactions.item_ids().len() as u64,
        events: interactions.events().len() as u64,
        pairs: pairs as u64,
        first_at,
        last_at,
        metrics: BTreeMap::new(),
        trained_at: None,
        provenance,
        files: BTreeMap::new(),
    };
    let things = if scorer.ordinals().is_some() { interactions.indicators().things().to_vec() } else { Vec::new() };
    Ok(Artefact::new(header, interactions.item_ids().to_vec(), things, scorer))
}

/// The factor that the same part of an earlier artefact has for the item of an ordinal.
fn start<'a>(
    interactions: &'a Interactions,
    earlier: Option<&'a Artefact>,
    place: usize,
) -> impl Fn(u32) -> Option<Vec<f32>> + 'a {
    move |item| {
        let earlier = earlier?;
        let ordinal = earlier.items().binary_search(&interactions.item_ids()[item as usize]).ok()?;
        match earlier.scorer().parts().get(place)?.model.as_ref() {
            Model::Ials(model) => Some(model.factor(ordinal as u32).to_vec()),
            Model::Popularity(_) | Model::Neighbours(_) | Model::Cco(_) | Model::Ease(_) | Model::Bpr(_) => None,
        }
    }
}
