//! From interactions to an artefact, whatever the kind.
//!
//! In: interactions, typed parameters, a seed, provenance.  Out: an [`Artefact`] in memory; [`Artefact::write`] keeps it.
//! The same arguments give the same bytes, on one thread or many.
//! Never here: reading tables, choosing parameters.
//! Start at [`train`].

use std::collections::BTreeMap;

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
    parameters.validate()?;
    let kind = parameters.kind();
    let (Some(first_at), Some(last_at)) = (interactions.first_at(), interactions.last_at()) else {
        return Err(RecommendError::NoInteractions { kind });
    };
    let parts = parameters.parts();
    let mut trained = Vec::with_capacity(parts.len());
    let mut pairs = 0;
    for (weight, parameters) in parts {
        let weighting = Weighting::fit(interactions, &parameters.history());
        let matrix = weighting.matrix(interactions);
        pairs = pairs.max(matrix.stored());
        let model = Model::train(interactions, &matrix, parameters, seed)?;
        trained.push(Part { weight: weight as f32, weighting, model });
    }
    let scorer = Scorer::new(kind, trained);
    let header = ArtefactHeader {
        format_version: ARTEFACT_FORMAT_VERSION,
        kind,
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
        provenance,
        files: BTreeMap::new(),
    };
    Ok(Artefact::new(header, interactions.item_ids().to_vec(), scorer))
}
