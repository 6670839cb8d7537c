//! From numbers on disk to a snapshot: the newest promotion and feed that are whole, never older than what serves.
//!
//! In: the state directory, the recommender if one was named, the current snapshot if there is one.  Out: [`Loaded`], with what was refused.
//! Blocking: reads files and builds tables; call it off the async threads.
//! Never here: the switch (`service`), timing (`follow`).
//! Start at [`load`].

use std::sync::Arc;

use domain::Promotion;
use recommend::{Artefact, Ranker};

use crate::ServingError;
use crate::snapshot::Snapshot;
use crate::state_dir::StateDir;

/// Damaged files tried before giving up: one bad write is an accident, three in a row are a fault that needs a person.
pub(crate) const MAX_TRIES: usize = 3;

/// The newest numbers on disk; 0 when there is none (numbers start at 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Newest {
    pub(crate) promotion: u64,
    pub(crate) feed: u64,
}

/// A promotion or feed that is newer and was not taken.
#[derive(Debug)]
pub(crate) struct Refused {
    /// `promotion` or `feed`.
    pub(crate) what: &'static str,
    pub(crate) number: u64,
    pub(crate) error: ServingError,
}

/// What a load found.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// `None`: nothing newer is whole; keep what serves.
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) refused: Vec<Refused>,
}

/// The newest numbers, without looking into the files.
pub(crate) fn newest(state: &StateDir, recommender: Option<&str>) -> Result<Newest, ServingError> {
    let promotion = state.promotion_numbers(recommender)?.first().map_or(0, |(number, _)| *number);
    Ok(Newest { promotion, feed: state.feed_numbers()?.first().copied().unwrap_or(0) })
}

/// Loads the newest whole promotion (of any recommender, unless one is named) with the newest whole feed.
///
/// Errors: without a current snapshot, what keeps the newest from being one: `NothingPromoted`, `NoFeed`, `Corrupt`, ….
pub(crate) fn load(
    state: &StateDir,
    recommender: Option<&str>,
    current: Option<&Snapshot>,
) -> Result<Loaded, ServingError> {
    let mut refused = Vec::new();
    let is_newer = |number: u64, than: Option<u64>| than.is_none_or(|than| number > than);
    let current_promotion = current.map(|snapshot| snapshot.promotion().number);
    let promotions = state.promotion_numbers(recommender)?.into_iter();
    let mut promotions = promotions.filter(|(number, _)| is_newer(*number, current_promotion)).take(MAX_TRIES);
    let ranked = promotions.find_map(|(number, recommender)| match load_ranker(state, &recommender, number) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            refused.push(Refused { what: "promotion", number, error });
            None
        }
    });
    let is_new_promotion = ranked.is_some();
    let ranked = ranked.or_else(|| current.map(|now| (now.promotion().clone(), Arc::clone(now.ranker()))));
    let Some((promotion, ranker)) = ranked else {
        return Err(first_error(refused).unwrap_or_else(|| ServingError::NothingPromoted {
            recommender: recommender.map(str::to_owned),
            directory: state.promoted(),
        }));
    };
    let current_feed = current.map(|snapshot| snapshot.feed().feed);
    let feeds = state.feed_numbers()?.into_iter().filter(|number| is_newer(*number, current_feed));
    let mut feeds: Vec<u64> = feeds.take(MAX_TRIES).collect();
    // A new ranker needs the histories in its own ordinals: the current feed is read again.
    feeds.extend(current_feed.filter(|_| is_new_promotion));
    let has_feeds = !feeds.is_empty();
    let snapshot = feeds.into_iter().find_map(|number| {
        let header = state.feed_header(number);
        match header.and_then(|feed| Snapshot::load(promotion.clone(), Arc::clone(&ranker), feed, &state.feed(number)))
        {
            Ok(snapshot) => Some(snapshot),
            Err(error) => {
                refused.push(Refused { what: "feed", number, error });
                None
            }
        }
    });
    match (snapshot, current) {
        (None, None) if !has_feeds => Err(ServingError::NoFeed { directory: state.feeds() }),
        (None, None) => Err(first_error(refused).unwrap_or_else(|| ServingError::NoFeed { directory: state.feeds() })),
        (snapshot, _) => Ok(Loaded { snapshot, refused }),
    }
}

fn first_error(refused: Vec<Refused>) -> Option<ServingError> {
    refused.into_iter().next().map(|refused| refused.error)
}

fn load_ranker(state: &StateDir, recommender: &str, number: u64) -> Result<(Promotion, Arc<Ranker>), ServingError> {
    let promotion = state.promotion(recommender, number)?;
    let artefact = Arc::new(Artefact::read(&state.artefact(&promotion.artefact))?);
    let ranker = match &promotion.fallback_artefact {
        Some(name) if *name != promotion.artefact => {
            let fallback = Artefact::read(&state.artefact(name))?;
            Ranker::new(artefact, &fallback)?
        }
        // Popularity is its own fallback; anything else without one is refused by the ranker.
        Some(_) | None => Ranker::new(Arc::clone(&artefact), &artefact)?,
    };
    Ok((promotion, Arc::new(ranker)))
}
