//! Golden queries: a few made-up histories with the lists they gave when the artefact was written. Reading it asks again.
//!
//! In: a scorer, its items.  Out: queries to keep beside the model; or what is answered differently now.
//! A checksum tells that the bytes are the same; this tells that they still mean the same: to this program, on this machine.
//! Never here: files (`artefact`), the questions that serving tries on its feed (`serving`).
//! Start at [`ask`] and [`replay`].

use domain::ItemId;
use serde::{Deserialize, Serialize};

use crate::HistoryItem;
use crate::random::Random;
use crate::scorer::Scorer;
use crate::top_k::top_k;

/// Lengths of the histories: one item, a short one, and one in which many items are added up.
const LENGTHS: [usize; 3] = [1, 4, 16];

/// Items kept of each list.
const KEPT: usize = 10;

/// More queries than anybody writes would make reading slow; more items than this in one, too.
const MAX_QUERIES: usize = 64;
const MAX_HISTORY: usize = 1_000;

/// Scores may differ by this share of themselves: another machine adds in another order, a mistake changes more.
const RELATIVE: f32 = 1e-3;

/// … or by this share of the list's largest score, where a score is what is left of two that cancel out.
const OF_LARGEST: f32 = 1e-6;

/// The histories are the same for every artefact of as many items.
const SEED: u64 = 20_190_513;

const DAY: i64 = 86_400;

/// A history and the best items that it gave, itself left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenQuery {
    /// Ordinal of the item, or of a thing behind the items, weight, seconds since 1970 UTC.
    pub history: Vec<(u32, f32, i64)>,
    /// Ordinal of the item and its score, best first; empty when the history gave no list.
    pub list: Vec<(u32, f32)>,
}

/// Asks a scorer of `items` items whose newest event is `last_at`.
pub(crate) fn ask(scorer: &Scorer, items: usize, last_at: i64) -> Vec<GoldenQuery> {
    // Where things that are no items speak too, they are asked about as well.
    let ordinals = scorer.ordinals().unwrap_or(items);
    let mut random = Random::new(SEED, ordinals as u64);
    let mut queries = Vec::with_capacity(LENGTHS.len());
    for length in LENGTHS {
        let mut history: Vec<(u32, f32, i64)> = Vec::with_capacity(length);
        while history.len() < length.min(ordinals) {
            let item = random.below(ordinals) as u32;
            if history.iter().all(|(known, _, _)| *known != item) {
                history.push((item, 1.0, last_at.saturating_sub(history.len() as i64 * DAY)));
            }
        }
        let list = scores(scorer, &history).map_or_else(Vec::new, |scores| best(&scores, &history, KEPT));
        queries.push(GoldenQuery { history, list });
    }
    queries
}

/// Asks again. The error says what is answered differently; it names items by their ids.
pub(crate) fn replay(queries: &[GoldenQuery], scorer: &Scorer, items: &[ItemId]) -> Result<(), String> {
    if queries.is_empty() || queries.len() > MAX_QUERIES {
        return Err(format!("it has {} golden queries, and must have 1 to {MAX_QUERIES}", queries.len()));
    }
    for (number, query) in (1..).zip(queries) {
        replay_one(query, scorer, items).map_err(|detail| format!("golden query {number}: {detail}"))?;
    }
    Ok(())
}

fn replay_one(query: &GoldenQuery, scorer: &Scorer, items: &[ItemId]) -> Result<(), String> {
    let GoldenQuery { history, list } = query;
    let ordinals = scorer.ordinals().unwrap_or(items.len());
    let is_known = history.iter().all(|(item, _, _)| (*item as usize) < ordinals)
        && list.iter().all(|(item, _)| (*item as usize) < items.len());
    if history.len() > MAX_HISTORY || list.len() > items.len() || !is_known {
        return Err("it is about items that the artefact does not have".to_owned());
    }
    let largest = list.iter().fold(0f32, |largest, (_, score)| largest.max(score.abs()));
    let is_close = |now: f32, then: f32| (now - then).abs() <= RELATIVE * then.abs() + OF_LARGEST * largest;
    let scores = scores(scorer, history).unwrap_or_default();
    for &(item, then) in list {
        let now = scores.get(item as usize).copied().unwrap_or(f32::NAN);
        if !is_close(now, then) {
            let id = &items[item as usize];
            return Err(format!("item `{id}` scores {now} and scored {then} when the artefact was written"));
        }
    }
    // Whoever is on the list now and was not then must tie with who was.
    let now = best(&scores, history, list.len().max(1));
    match now.iter().zip(list).find(|(now, then)| !is_close(now.1, then.1)) {
        Some(((item, score), (_, then))) => {
            let id = &items[*item as usize];
            Err(format!("item `{id}` is on the list now with {score}, in a place that was taken with {then}"))
        }
        None if now.len() != list.len() => {
            Err(format!("the list has {} items and had {} when the artefact was written", now.len(), list.len()))
        }
        None => Ok(()),
    }
}

/// One score per item; popularity, which does not look at histories, has its own.
fn scores(scorer: &Scorer, history: &[(u32, f32, i64)]) -> Option<Vec<f32>> {
    let history: Vec<HistoryItem> =
        history.iter().map(|&(item, weight, at)| HistoryItem { item, weight, at }).collect();
    let weighed = scorer.weigh(&history);
    let scores = if weighed.is_empty() { None } else { scorer.scores(&weighed) };
    scores.or_else(|| scorer.popularity().map(|model| model.scores().to_vec()))
}

fn best(scores: &[f32], history: &[(u32, f32, i64)], k: usize) -> Vec<(u32, f32)> {
    let list = top_k(scores, k, |item| history.iter().all(|(known, _, _)| *known != item));
    // A score that is no number has no JSON form, and nothing to compare.
    list.into_iter().filter(|(_, score)| score.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::models::Model;
    use crate::scorer::Part;
    use crate::{Csr, EaseParameters, RecommenderKind, Weighting, models::ease::Ease};

    fn ease(lambda: f64) -> Scorer {
        let rows = (0u32..40).map(|user| {
            let mut row: Vec<(u32, f32)> = (0..4).map(|step| ((user * 7 + step * (1 + user % 3)) % 30, 1.0)).collect();
            row.sort_unstable_by_key(|entry| entry.0);
            row.dedup_by_key(|entry| entry.0);
            row
        });
        let parameters = EaseParameters { lambda, ..Default::default() };
        let model = Ease::train(&Csr::from_rows(30, rows), &parameters).unwrap();
        let weighting = Weighting {
            scheme: Default::default(),
            half_life_days: None,
            cap: None,
            as_of: 0,
            max_history: 100,
            recency: None,
        };
        Scorer::new(RecommenderKind::Ease, vec![Part { weight: 1.0, weighting, model: Arc::new(Model::Ease(model)) }])
    }

    fn ids() -> Vec<ItemId> {
        (0..30).map(|item| format!("item-{item:02}").parse().unwrap()).collect()
    }

    #[test]
    fn the_same_scorer_answers_the_same_and_another_does_not() {
        let scorer = ease(5.0);
        let queries = ask(&scorer, 30, 0);
        assert_eq!(queries.iter().map(|query| query.history.len()).collect::<Vec<_>>(), LENGTHS);
        assert!(queries.iter().all(|query| query.list.len() == KEPT));
        assert_eq!(replay(&queries, &scorer, &ids()), Ok(()));
        let said = replay(&queries, &ease(5.5), &ids()).unwrap_err();
        assert!(said.starts_with("golden query 1: item `item-") && said.contains("scored"), "{said}");
    }

    #[test]
    fn small_noise_and_ties_pass_and_a_lost_or_foreign_item_does_not() {
        let scorer = ease(5.0);
        let queries = ask(&scorer, 30, 0);
        let verdict = |change: &dyn Fn(&mut GoldenQuery)| {
            let mut queries = queries.clone();
            change(&mut queries[2]);
            replay(&queries, &scorer, &ids())
        };
        assert_eq!(verdict(&|query| query.list.iter_mut().for_each(|entry| entry.1 *= 1.0005)), Ok(()));
        assert!(verdict(&|query| query.list[3].1 *= 1.01).is_err());
        assert!(verdict(&|query| query.list.rotate_left(1)).is_err(), "the best item is not the first");
        assert!(verdict(&|query| query.list.clear()).unwrap_err().contains("had 0"));
        assert!(verdict(&|query| query.list[0].0 = 30).unwrap_err().contains("does not have"));
        assert!(verdict(&|query| query.history[0].0 = u32::MAX).is_err());
        assert!(replay(&[], &scorer, &ids()).is_err());
    }

    #[test]
    fn no_items_and_one_item_are_asked_without_a_panic() {
        let one = Scorer::new(RecommenderKind::Ease, Vec::new());
        assert!(ask(&one, 0, 0).iter().all(|query| query.history.is_empty() && query.list.is_empty()));
        assert_eq!(ask(&one, 1, 0)[2].history.len(), 1);
    }
}
