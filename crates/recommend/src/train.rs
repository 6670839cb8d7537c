//! From interactions to an artefact, whatever the kind.
//!
//! In: interactions, typed parameters, a seed, provenance.  Out: an [`Artefact`] in memory; [`Artefact::write`] keeps it.
//! The same arguments give the same bytes, on one thread or many.
//! Never here: reading tables, choosing parameters.
//! Start at [`train`].

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::Provenance;

use crate::cold::{self, Attributes, Learnt};
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

/// Trains one recommender with what is known of items and users: for lists of segments, new items and new users.
///
/// Errors: as for [`train`]; `BadParameter` also where a column that the parameters name says nothing.
pub fn train_with(
    interactions: &Interactions,
    attributes: &Attributes<'_>,
    parameters: &Parameters,
    seed: u64,
    provenance: Provenance,
) -> Result<Artefact, RecommendError> {
    train_all(interactions, attributes, parameters, seed, provenance, None)
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
    train_all(interactions, &Attributes::default(), parameters, seed, provenance, earlier)
}

fn train_all(
    interactions: &Interactions,
    attributes: &Attributes<'_>,
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
        train_part(interactions, attributes, weight, parameters, seed, start)
    });
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    assemble(interactions, parameters, parts, seed, provenance)
}

/// A part with the number of pairs that it was trained on.
#[derive(Debug, Clone)]
pub(crate) struct TrainedPart {
    pub(crate) part: Part,
    pairs: usize,
    learnt: Arc<Learnt>,
}

/// Trains what is no blend: a whole recommender, or a part of one.
pub(crate) fn train_part(
    interactions: &Interactions,
    attributes: &Attributes<'_>,
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
    let mut model = Model::train(interactions, &matrix, parameters, attributes, seed, start)?;
    let learnt = Arc::new(cold::learn(&mut model, interactions, &matrix, parameters, attributes)?);
    let part = Part { weight: weight as f32, weighting, model: Arc::new(model) };
    Ok(TrainedPart { part, pairs: matrix.stored(), learnt })
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
    // Parts of a blend learn of nothing new, so their items are those of the interactions.
    let learnt = parts.first().map(|part| Arc::clone(&part.learnt)).unwrap_or_default();
    let items = learnt.items.clone().unwrap_or_else(|| interactions.item_ids().to_vec());
    let scorer = Scorer::new(kind, parts.into_iter().map(|trained| trained.part).collect());
    let header = ArtefactHeader {
        format_version: ARTEFACT_FORMAT_VERSION,
        kind,
        recommender: String::new(),
        parameters: parameters.to_map(),
        weightings: scorer.parts().iter().map(|part| part.weighting.clone()).collect(),
        seed,
        users: interactions.user_ids().len() as u64,
        items: items.len() as u64,
        events: interactions.events().len() as u64,
        pairs: pairs as u64,
        first_at,
        last_at,
        metrics: learnt.figures.clone(),
        trained_at: None,
        provenance,
        files: BTreeMap::new(),
    };
    let things = if scorer.ordinals().is_some() { interactions.indicators().things().to_vec() } else { Vec::new() };
    Ok(Artefact::new(header, items, things, scorer))
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
