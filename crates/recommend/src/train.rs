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
        Parameters::Ials(parameters) => {
            Model::Ials(Ials::train(&matrix, parameters, seed, start(interactions, earlier))?)
        }
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

/// The factor that an earlier artefact has for the item of an ordinal.
fn start<'a>(interactions: &'a Interactions, earlier: Option<&'a Artefact>) -> impl Fn(u32) -> Option<Vec<f32>> + 'a {
    move |item| {
        let earlier = earlier?;
        let ordinal = earlier.items().binary_search(&interactions.item_ids()[item as usize]).ok()?;
        match earlier.model() {
            Model::Ials(model) => Some(model.factor(ordinal as u32).to_vec()),
            Model::Popularity(_) | Model::ItemKnn(_) | Model::Ease(_) => None,
        }
    }
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
