//! From interactions to an artefact, whatever the kind.
//!
//! In: interactions, typed parameters, a seed, provenance.  Out: an [`Artefact`] in memory; [`Artefact::write`] keeps it.
//! The same arguments give the same bytes, on one thread or many.
//! Never here: reading tables, choosing parameters.
//! Start at [`train`].

use std::collections::BTreeMap;

use domain::Provenance;

use crate::models::{Model, ease::Ease, ials::Ials, item_knn::ItemKnn, popularity::Popularity};
use crate::{
    ARTEFACT_FORMAT_VERSION, Artefact, ArtefactHeader, Interactions, Parameters, RecommendError, WeightScheme,
    Weighting,
};

/// Trains one recommender.
///
/// Errors: `NoInteractions` when there is nothing to learn from, `BadParameter`, `TooManyItems`, `Diverged`.
pub fn train(
    interactions: &Interactions,
    parameters: &Parameters,
    seed: u64,
    provenance: Provenance,
) -> Result<Artefact, RecommendError> {
    parameters.validate()?;
    let kind = parameters.kind();
    let (Some(first_at), Some(last_at)) = (interactions.first_at(), interactions.last_at()) else {
        return Err(RecommendError::NoInteractions { kind });
    };
    let weighting = weighting(interactions, parameters);
    let matrix = weighting.matrix(interactions);
    let model = match parameters {
        Parameters::Popularity(parameters) => Model::Popularity(Popularity::train(interactions, parameters)),
        Parameters::ItemKnn(parameters) => Model::ItemKnn(ItemKnn::train(&matrix, parameters)?),
        Parameters::Ease(parameters) => Model::Ease(Ease::train(&matrix, parameters)?),
        Parameters::Ials(parameters) => Model::Ials(Ials::train(&matrix, parameters, seed)?),
    };
    let header = ArtefactHeader {
        format_version: ARTEFACT_FORMAT_VERSION,
        kind,
        parameters: parameters.to_map(),
        weighting,
        seed,
        users: interactions.user_ids().len() as u64,
        items: interactions.item_ids().len() as u64,
        events: interactions.events().len() as u64,
        pairs: matrix.stored() as u64,
        first_at,
        last_at,
        metrics: BTreeMap::new(),
        provenance,
        files: BTreeMap::new(),
    };
    Ok(Artefact::new(header, interactions.item_ids().to_vec(), model))
}

fn weighting(interactions: &Interactions, parameters: &Parameters) -> Weighting {
    let (scheme, half_life_days, max_history) = match parameters {
        // Popularity weighs events by itself and never looks at a history.
        Parameters::Popularity(_) => (WeightScheme::Binary, None, usize::MAX),
        Parameters::ItemKnn(p) => (p.weights, p.half_life_days, p.max_history),
        Parameters::Ease(p) => (p.weights, p.half_life_days, p.max_history),
        Parameters::Ials(p) => (p.weights, p.half_life_days, p.max_history),
    };
    Weighting::fit(interactions, scheme, half_life_days, max_history)
}
