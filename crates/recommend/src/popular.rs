//! What most people choose, by the ordinals of another artefact: the list that stands in where nothing is known of a user, and the lists
//! of segments.
//!
//! In: the items of an artefact, the popularity artefact it falls back to.  Out: [`Order`]s, best first.
//! Never here: how popularity is counted (`models::popularity`), what may be shown (`stages`).
//! Start at [`Popular::of`].

use domain::{ItemId, Profile};

use crate::models::popularity::{Place, Segments};
use crate::top_k::by_rank;
use crate::{Artefact, RecommendError};

/// All items of an artefact, most popular first, with their scores; 0 for items that the fallback does not know.
#[derive(Debug, Clone)]
pub(crate) struct Order(Vec<(u32, f32)>);

impl Order {
    fn new(items: &[ItemId], known: &[ItemId], scores: &[f32]) -> Self {
        let score_of = |id: &ItemId| known.binary_search(id).map_or(0.0, |ordinal| scores[ordinal]);
        let mut entries: Vec<(u32, f32)> = (0u32..).zip(items.iter().map(score_of)).collect();
        entries.sort_unstable_by(|left, right| by_rank(*left, *right));
        Self(entries)
    }

    /// Best first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, f32)> {
        self.0.iter().copied()
    }
}

/// The list of everybody and those of segments.
#[derive(Debug, Clone)]
pub(crate) struct Popular {
    all: Order,
    segments: Option<(Segments, Vec<Order>)>,
}

impl Popular {
    /// Errors: `NotAFallback` if `fallback` is not of kind `popularity`.
    pub(crate) fn new(items: &[ItemId], fallback: &Artefact) -> Result<Self, RecommendError> {
        let Some(model) = fallback.scorer().popularity() else {
            return Err(RecommendError::NotAFallback { kind: fallback.kind() });
        };
        let order = |scores: &[f32]| Order::new(items, fallback.items(), scores);
        let segments = model.segments().map(|segments| {
            let orders = (0..segments.encoder.len() as u32).map(|segment| order(segments.scores(segment))).collect();
            (segments.clone(), orders)
        });
        Ok(Self { all: order(model.scores()), segments })
    }

    /// The list for a profile: that of its segment, or that of everybody.
    pub(crate) fn of(&self, profile: Option<&Profile>) -> (Place, &Order) {
        let Some(((segments, orders), profile)) = self.segments.as_ref().zip(profile) else {
            return (Place::None, &self.all);
        };
        match segments.place(profile) {
            place @ Place::Segment(segment) => (place, &orders[segment as usize]),
            place @ (Place::Unknown | Place::None) => (place, &self.all),
        }
    }

    /// Columns of the users table that lists depend on.
    pub(crate) fn profile_columns(&self) -> Vec<&str> {
        self.segments.iter().flat_map(|(segments, _)| segments.encoder.attributes()).collect()
    }
}
