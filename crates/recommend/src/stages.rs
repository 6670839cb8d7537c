//! One request, stage by stage: weigh the history → hide → score → top-k → re-rank → fill with popularity → reasons.
//!
//! In: an artefact, the popularity artefact it falls back to, a history, a request.  Out: a [`RankedList`] that says of
//! each item where it comes from and why. Pure and immutable: `evaluate` and `serving` call the same function.
//! Never here: I/O, caches, deadlines, ids of users.
//! Start at [`Ranker::recommend`].

use std::sync::Arc;

use domain::{ItemId, Profile};
use serde::Serialize;

use crate::explain::{Contribution, contributions};
use crate::explore::mix;
use crate::models::popularity::Place;
use crate::popular::{Order, Popular};
use crate::rerank::Reranker;
use crate::scorer::WeighedHistory;
use crate::top_k::top_k;
use crate::{Artefact, Event, FactorIndex, FactorRows, ItemSet, RecommendError, RecommenderKind, Thing};

/// From so many items on, an index is faster than scores for all of them; below, both take microseconds.
const INDEX_FROM_ITEMS: usize = 1_000;

/// One event of the history of the user who asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistoryItem {
    /// Ordinal of the item, or of a thing of an indicator ([`Ranker::thing`]); [`Ranker::UNKNOWN_ITEM`] if the artefact does not
    /// know it.
    pub item: u32,
    pub weight: f32,
    /// Seconds since 1970, UTC.
    pub at: i64,
}

impl From<&Event> for HistoryItem {
    fn from(event: &Event) -> Self {
        Self { item: event.item, weight: event.weight, at: event.at }
    }
}

/// What is asked of a ranker.
#[derive(Debug, Clone, Copy)]
pub struct RankRequest<'a> {
    /// Items wanted.
    pub limit: usize,
    /// Leave out items of the history.
    pub exclude_seen: bool,
    /// Items that may not be shown: unavailable, expired, excluded by the caller.
    pub hidden: Option<&'a ItemSet>,
    /// Contributing history items named per recommended item; 0 leaves reasons out.
    pub reasons: usize,
    /// What is known of the user beside the history.
    pub profile: Option<&'a Profile>,
    /// Of the lot, where the recommender's rules give places away; none: the list as it is ranked.
    pub seed: Option<u64>,
}

impl RankRequest<'_> {
    /// Unseen items, three reasons each, nothing hidden.
    pub fn new(limit: usize) -> Self {
        Self { limit, exclude_seen: true, hidden: None, reasons: 3, profile: None, seed: None }
    }
}

/// Where a list comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListSource {
    /// At least the first item was ranked for this history (or is like the item asked for).
    Personal,
    /// At least the first item was ranked for the user's profile, because no history speaks.
    Profile,
    /// Every item is there because many people of the user's segment choose it.
    Segment,
    /// Every item is there because many people choose it.
    Popularity,
}

/// Where one item comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemSource {
    /// Scored by the recommender.
    Recommender,
    /// Filled up by popularity within the user's segment.
    Segment,
    /// Filled up by popularity.
    Popularity,
}

/// Why a profile or popularity stands in, wholly or for the end of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackReason {
    /// The user has no history.
    NoHistory,
    /// The user has no history, and a value in the column of segments for which there is no list.
    UnknownSegment,
    /// The user has a history, but the recommender knows no item of it, or all of it is too old to count.
    NoKnownItem,
    /// The recommender has fewer allowed items to offer than were asked for.
    TooFewCandidates,
    /// The recommender is popularity itself.
    RecommenderIsPopularity,
    /// The history could not be turned into scores (its equations have no finite solution).
    Unscorable,
}

/// One recommended item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankedItem {
    /// Ordinal of the item in the artefact.
    pub item: u32,
    /// Comparable within one source of one list only.
    pub score: f32,
    pub source: ItemSource,
    /// History items that speak for it, strongest first.
    pub because: Vec<Contribution>,
    /// Where places are given away by lot: how probable it was that this item stands in this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propensity: Option<f64>,
}

/// The answer to a request, best first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankedList {
    pub items: Vec<RankedItem>,
    pub source: ListSource,
    /// Set when any item was filled up by popularity, and when no history speaks.
    pub fallback: Option<FallbackReason>,
}

/// An artefact ready to answer. Immutable; share it behind an `Arc`.
#[derive(Debug, Clone)]
pub struct Ranker {
    artefact: Arc<Artefact>,
    popular: Arc<Popular>,
    rules: Option<Arc<Reranker>>,
    /// Of a factor model with many items: its best are found without a score for each.
    index: Option<Arc<FactorIndex>>,
}

impl Ranker {
    /// Stands in a history for an item that the artefact does not know.
    pub const UNKNOWN_ITEM: u32 = u32::MAX;

    /// Joins an artefact and the popularity artefact it falls back to; they may be trained on different items.
    ///
    /// Errors: `NotAFallback` if `fallback` is not of kind `popularity`.
    pub fn new(artefact: Arc<Artefact>, fallback: &Artefact) -> Result<Self, RecommendError> {
        let popular = Arc::new(Popular::new(artefact.items(), fallback)?);
        let index = artefact.scorer().rows().filter(|rows| rows.items() >= INDEX_FROM_ITEMS).and_then(FactorIndex::new);
        Ok(Self { artefact, popular, rules: None, index: index.map(Arc::new) })
    }

    /// The same ranker with an index or without, whatever the number of items: both give the same lists.
    #[cfg(test)]
    pub(crate) fn with_index(self, is_wanted: bool) -> Self {
        let rows = self.artefact.scorer().rows().filter(|_| is_wanted);
        let index = rows.and_then(FactorIndex::new).map(Arc::new);
        Self { index, ..self }
    }

    /// The same ranker with rules for what happens after scoring; they must be joined to this artefact's items.
    pub fn with_rules(self, rules: Reranker) -> Self {
        Self { rules: Some(Arc::new(rules)), ..self }
    }

    /// The rules for what happens after scoring.
    pub(crate) fn rules(&self) -> Option<&Reranker> {
        self.rules.as_deref()
    }

    /// The artefact that ranks.
    pub fn artefact(&self) -> &Arc<Artefact> {
        &self.artefact
    }

    /// Item ids by ordinal.
    pub fn items(&self) -> &[ItemId] {
        self.artefact.items()
    }

    /// The ordinal of an item id.
    pub fn ordinal(&self, id: &ItemId) -> Option<u32> {
        self.items().binary_search(id).ok().map(|ordinal| ordinal as u32)
    }

    /// Turns (item id, weight, seconds since 1970) into a history. Keeps unknown items, so that the answer can say so.
    pub fn history<'a>(&self, events: impl IntoIterator<Item = (&'a ItemId, f32, i64)>) -> Vec<HistoryItem> {
        events
            .into_iter()
            .map(|(id, weight, at)| HistoryItem { item: self.ordinal(id).unwrap_or(Self::UNKNOWN_ITEM), weight, at })
            .collect()
    }

    /// The ordinal of a thing of an indicator, behind those of the items; `None` where the artefact does not learn from it.
    pub fn thing(&self, thing: &Thing) -> Option<u32> {
        let place = self.artefact.things().binary_search(thing).ok()?;
        Some((self.items().len() + place) as u32)
    }

    /// What an ordinal behind those of the items stands for.
    pub fn thing_at(&self, ordinal: u32) -> Option<&Thing> {
        self.artefact.things().get((ordinal as usize).checked_sub(self.items().len())?)
    }

    /// The set of the given items; unknown ids are ignored.
    pub fn item_set<'a>(&self, ids: impl IntoIterator<Item = &'a ItemId>) -> ItemSet {
        ItemSet::from_ordinals(self.items().len(), ids.into_iter().filter_map(|id| self.ordinal(id)))
    }

    /// The best items for a history. Never empty while an allowed item is left.
    ///
    /// Cost: EASE |history| · items, iALS |history|·d² + items·d multiply-adds, kNN the stored neighbours.
    pub fn recommend(&self, history: &[HistoryItem], request: &RankRequest<'_>) -> RankedList {
        let weighed = self.weigh(history);
        let list = |request: &RankRequest<'_>| {
            self.list(history, &weighed, |hidden| self.ranked(&weighed, hidden, request.limit), request)
        };
        let mut ranked = list(request);
        if let Some((rules, seed)) = self.rules.as_ref().and_then(|rules| rules.explore()).zip(request.seed) {
            let longer = list(&RankRequest { limit: request.limit.saturating_add(rules.from), ..*request });
            let is_after = |entry: &RankedItem| ranked.items.iter().all(|known| known.item != entry.item);
            let next = longer.items.into_iter().filter(is_after).collect();
            ranked.items = mix(ranked.items, next, rules, seed);
            // What the lot brought may have been filled in.
            let is_filled = ranked.items.iter().any(|entry| entry.source != ItemSource::Recommender);
            ranked.fallback = ranked.fallback.or(longer.fallback.filter(|_| is_filled));
        }
        ranked
    }

    /// The factors of items and their index, where there is one.
    pub(crate) fn shareable(&self) -> Option<(FactorRows<'_>, &FactorIndex)> {
        Some((self.artefact.scorer().rows()?, self.index.as_deref()?))
    }

    /// No rule orders lists or gives places away, so that the best by score are the list.
    pub(crate) fn is_plain(&self) -> bool {
        self.rules.as_ref().is_none_or(|rules| !rules.orders() && rules.explore().is_none())
    }

    /// What of a history speaks.
    pub(crate) fn weigh(&self, history: &[HistoryItem]) -> WeighedHistory {
        self.artefact.scorer().weigh(&self.known(history))
    }

    /// The list that `ranked` makes of what is not hidden; it is asked only if something of the history speaks.
    pub(crate) fn list(
        &self,
        history: &[HistoryItem],
        weighed: &WeighedHistory,
        ranked: impl FnOnce(&ItemSet) -> Option<Vec<(u32, f32)>>,
        request: &RankRequest<'_>,
    ) -> RankedList {
        let hidden = self.hidden(history, request);
        let by_profile = || self.ranked_by_profile(&hidden, request).unwrap_or_default();
        let (ranked, source, reason) = match (history.is_empty(), weighed.is_empty()) {
            (true, _) => (by_profile(), ListSource::Profile, FallbackReason::NoHistory),
            (false, true) => (by_profile(), ListSource::Profile, FallbackReason::NoKnownItem),
            (false, false) => match ranked(&hidden) {
                Some(ranked) => (ranked, ListSource::Personal, FallbackReason::TooFewCandidates),
                None => (Vec::new(), ListSource::Personal, FallbackReason::Unscorable),
            },
        };
        self.finish((ranked, source), Some(weighed), hidden, reason, request)
    }

    /// The best for a user of whom only a profile is known; `None` where the recommender makes nothing of it.
    fn ranked_by_profile(&self, hidden: &ItemSet, request: &RankRequest<'_>) -> Option<Vec<(u32, f32)>> {
        let user = self.artefact.scorer().prior(request.profile?)?;
        self.ranked_for(&user, hidden, request.limit)
    }

    /// The items and things of the history that the artefact knows.
    fn known(&self, history: &[HistoryItem]) -> Vec<HistoryItem> {
        let ordinals = self.items().len() + self.artefact.things().len();
        history.iter().filter(|event| (event.item as usize) < ordinals).copied().collect()
    }

    /// One score per item for a history, or for a profile where no history speaks; `None` when nothing can be scored.
    pub(crate) fn scores(&self, history: &[HistoryItem], profile: Option<&Profile>) -> Option<Vec<f32>> {
        let (scorer, weighed) = (self.artefact.scorer(), self.weigh(history));
        if !weighed.is_empty() {
            return scorer.scores(&weighed);
        }
        Some(scorer.rows()?.scores(&scorer.prior(profile?)?))
    }

    /// The `limit` best under the rules; `None` when nothing can be scored.
    fn ranked(&self, history: &WeighedHistory, hidden: &ItemSet, limit: usize) -> Option<Vec<(u32, f32)>> {
        let scorer = self.artefact.scorer();
        if self.index.is_some() {
            return self.ranked_for(&scorer.fold_in(history)?, hidden, limit);
        }
        Some(self.best_of(&scorer.scores(history)?, hidden, limit))
    }

    /// The same for a user's factor; `None` where the recommender has none.
    fn ranked_for(&self, user: &[f32], hidden: &ItemSet, limit: usize) -> Option<Vec<(u32, f32)>> {
        let rows = self.artefact.scorer().rows()?;
        let Some(index) = &self.index else {
            return Some(self.best_of(&rows.scores(user), hidden, limit));
        };
        let shown = hidden.complement();
        Some(self.best(limit, |among, most| {
            let mut allowed = shown.clone();
            among.into_iter().for_each(|items| allowed.intersect_with(items));
            index.best(rows, user, most, &allowed)
        }))
    }

    /// The `limit` best of these scores under the rules.
    pub(crate) fn best_of(&self, scores: &[f32], hidden: &ItemSet, limit: usize) -> Vec<(u32, f32)> {
        self.best(limit, |among, most| {
            top_k(scores, most, |item| among.is_none_or(|items| items.contains(item)) && !hidden.contains(item))
        })
    }

    /// The `limit` best under the rules; `search` gives the best of the items that may be shown, or of a set of them.
    fn best(&self, limit: usize, search: impl Fn(Option<&ItemSet>, usize) -> Vec<(u32, f32)>) -> Vec<(u32, f32)> {
        let Some(rules) = self.rules.as_ref().filter(|rules| rules.orders()) else {
            return search(None, limit);
        };
        let candidates = search(None, rules.candidates(limit));
        let reserve: Vec<(u32, f32)> = rules.reserved().flat_map(|items| search(Some(items), limit)).collect();
        rules.choose(self.artefact.scorer(), &[], &candidates, &reserve, limit)
    }

    /// The items most like `item`, itself left out. Only items with a positive score count as alike.
    ///
    /// An ordinal that does not exist gives the popular items.
    pub fn similar(&self, item: u32, request: &RankRequest<'_>) -> RankedList {
        let mut hidden = self.hidden(&[], request);
        hidden.insert(item);
        let is_known = (item as usize) < self.items().len();
        let (ranked, reason) = match is_known.then(|| self.artefact.scorer().similar(item)) {
            None => (Vec::new(), FallbackReason::NoKnownItem),
            Some(None) => (Vec::new(), FallbackReason::RecommenderIsPopularity),
            Some(Some(scores)) => {
                let is_candidate = |other: u32| scores[other as usize] > 0.0 && !hidden.contains(other);
                (top_k(&scores, request.limit, is_candidate), FallbackReason::TooFewCandidates)
            }
        };
        self.finish((ranked, ListSource::Personal), None, hidden, reason, request)
    }

    /// Everything that may not be on the list: what the caller hides, what the rules hide, what was seen.
    pub(crate) fn hidden(&self, history: &[HistoryItem], request: &RankRequest<'_>) -> ItemSet {
        let mut hidden = ItemSet::new(self.items().len());
        let of_rules = self.rules.as_ref().map(|rules| rules.hidden());
        request.hidden.into_iter().chain(of_rules).for_each(|more| hidden.union_with(more));
        if request.exclude_seen {
            history.iter().for_each(|event| hidden.insert(event.item));
        }
        hidden
    }

    /// Adds reasons, then fills up with popular items that are neither hidden nor on the list. What was ranked comes with where it
    /// would be from.
    fn finish(
        &self,
        (ranked, source): (Vec<(u32, f32)>, ListSource),
        history: Option<&WeighedHistory>,
        mut hidden: ItemSet,
        reason: FallbackReason,
        request: &RankRequest<'_>,
    ) -> RankedList {
        let (place, popular) = self.popular.of(request.profile);
        let (filler, instead) = match place {
            Place::Segment(_) => (ItemSource::Segment, ListSource::Segment),
            Place::Unknown | Place::None => (ItemSource::Popularity, ListSource::Popularity),
        };
        let source = if ranked.is_empty() { instead } else { source };
        let targets: Vec<u32> = ranked.iter().map(|(item, _)| *item).collect();
        let because = match history {
            Some(history) => contributions(self.artefact.scorer(), history, &targets, request.reasons),
            None => vec![Vec::new(); targets.len()],
        };
        let mut items: Vec<RankedItem> = ranked
            .into_iter()
            .zip(because)
            .map(|((item, score), because)| RankedItem {
                item,
                score,
                source: ItemSource::Recommender,
                because,
                propensity: None,
            })
            .collect();
        let scored = items.len();
        items.iter().for_each(|entry| hidden.insert(entry.item));
        let missing = request.limit.saturating_sub(scored);
        let filled = |(item, score)| RankedItem { item, score, source: filler, because: Vec::new(), propensity: None };
        items.extend(self.most_popular(popular, &targets, &hidden, missing).into_iter().map(filled));
        let is_said = items.len() > scored || source != ListSource::Personal;
        let reason = match (place, source, reason) {
            (Place::Unknown, ListSource::Popularity, FallbackReason::NoHistory) => FallbackReason::UnknownSegment,
            (Place::Segment(_) | Place::Unknown | Place::None, _, reason) => self.explained(reason),
        };
        RankedList { items, source, fallback: is_said.then_some(reason) }
    }

    /// The most popular items that may follow `before` on a list; the rules hold for them too.
    fn most_popular(&self, popular: &Order, before: &[u32], hidden: &ItemSet, limit: usize) -> Vec<(u32, f32)> {
        let mut scored = popular.iter().filter(|(item, _)| !hidden.contains(*item));
        match self.rules.as_ref().filter(|rules| rules.orders()) {
            Some(rules) if limit > 0 => {
                let candidates: Vec<(u32, f32)> = scored.by_ref().take(rules.candidates(limit)).collect();
                let is_reserved = |item: u32| rules.reserved().any(|items| items.contains(item));
                let reserve: Vec<(u32, f32)> = scored.filter(|(item, _)| is_reserved(*item)).take(limit).collect();
                let mut chosen = rules.choose(self.artefact.scorer(), before, &candidates, &reserve, limit);
                // Caps order a list, they do not shorten it: never empty while an allowed item is left.
                let rest: Vec<(u32, f32)> = candidates.into_iter().filter(|entry| !chosen.contains(entry)).collect();
                let missing = limit - chosen.len();
                chosen.extend(rest.into_iter().take(missing));
                chosen
            }
            Some(_) | None => scored.take(limit).collect(),
        }
    }

    /// Columns of the users table that change a list.
    pub fn profile_columns(&self) -> Vec<String> {
        let of_model = self.artefact.scorer().profile_columns();
        let mut columns: Vec<String> =
            of_model.into_iter().chain(self.popular.profile_columns()).map(str::to_owned).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// For popularity itself, standing in is no accident of the user's.
    fn explained(&self, reason: FallbackReason) -> FallbackReason {
        if self.artefact.kind() == RecommenderKind::Popularity {
            FallbackReason::RecommenderIsPopularity
        } else {
            reason
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Provenance, RerankRules};
    use serde_json::json;

    use super::*;
    use crate::random::Random;
    use crate::{
        BprParameters, Catalogue, IalsParameters, InteractionRow, Interactions, Parameters, PopularityParameters, train,
    };

    /// 400 items of two tastes, chosen by 300 users.
    fn interactions() -> Interactions {
        let mut random = Random::new(41, 0);
        let row = |number: usize, random: &mut Random| InteractionRow {
            user: format!("u{}", number % 300),
            item: format!("i{:03}", 2 * random.below(200) + number % 2),
            at: number as i64,
            weight: 1.0,
            basket: None,
        };
        let rows: Vec<InteractionRow> = (0..6_000).map(|number| row(number, &mut random)).collect();
        Interactions::from_rows(rows).0
    }

    /// Every kind of rule; every ninth item is new, and a few are never shown.
    fn rules(ranker: &Ranker) -> Reranker {
        let attributes: Vec<_> = (0..ranker.items().len())
            .map(|item| json!({"group": format!("g{}", item % 7), "new": item % 9 == 0, "old": item % 40 == 1}))
            .map(|value| serde_json::from_value(value).unwrap())
            .collect();
        let rules: RerankRules = toml::from_str(
            "candidates = 50\ndiversity = 0.8\nhide = \"old\"\n[[boosts]]\nwhere = \"group = 'g2'\"\nfactor = 1.5\n\
             [[caps]]\nattribute = \"group\"\nmost = 3\nof = 10\n[[quotas]]\nwhere = \"new\"\nshare = 0.2",
        )
        .unwrap();
        Reranker::join(&rules, &Catalogue::new(ranker.items(), &attributes), 0).unwrap()
    }

    #[test]
    fn exploration_gives_places_away_only_with_a_seed_and_hides_what_is_hidden() {
        let interactions = interactions();
        let artefact = |parameters| train(&interactions, &parameters, 1, Provenance::default()).unwrap();
        let popularity = artefact(Parameters::Popularity(PopularityParameters::default()));
        let ease = artefact(Parameters::defaults(RecommenderKind::Ease));
        let plain = Ranker::new(Arc::new(ease), &popularity).unwrap();
        let exploring = |share: f64| {
            let rules = format!("explore = {{ share = {share}, protect = 2, from = 30 }}");
            let rules: RerankRules = toml::from_str(&rules).unwrap();
            plain.clone().with_rules(Reranker::join(&rules, &Catalogue::new(plain.items(), &[]), 0).unwrap())
        };
        let every_third = ItemSet::of(plain.items().len(), |item| item % 3 == 0);
        for user in 0..20 {
            let history: Vec<HistoryItem> = interactions.history(user).iter().map(HistoryItem::from).collect();
            let request = RankRequest { hidden: Some(&every_third), ..RankRequest::new(10) };
            let with_seed = RankRequest { seed: Some(u64::from(user)), ..request };
            let list = plain.recommend(&history, &request);
            assert_eq!(plain.recommend(&history, &with_seed), list);
            assert_eq!(exploring(0.0).recommend(&history, &with_seed), list);
            assert_eq!(exploring(0.3).recommend(&history, &request), list);
            let explored = exploring(0.3).recommend(&history, &with_seed);
            let same = explored.items.iter().zip(&list.items).filter(|(one, other)| one.item == other.item).count();
            assert_eq!((same, explored.items.len()), (7, 10), "three of ten places were given away");
            let is_allowed = |item: u32| !every_third.contains(item) && history.iter().all(|event| event.item != item);
            assert!(explored.items.iter().all(|entry| is_allowed(entry.item) && entry.propensity.is_some()));
            assert_eq!(explored.items[0].propensity, Some(1.0));
            let displaced =
                list.items.iter().filter(|entry| explored.items.iter().all(|other| other.item != entry.item));
            for entry in displaced {
                let why = exploring(0.3).why_not(&history, &with_seed, entry.item);
                assert_eq!(why.stage, crate::why_not::Stage::Reordered);
            }
        }
    }

    #[test]
    fn an_index_gives_the_lists_of_all_scores_also_under_rules() {
        let interactions = interactions();
        let artefact = |parameters| train(&interactions, &parameters, 1, Provenance::default()).unwrap();
        let popularity = artefact(Parameters::Popularity(PopularityParameters::default()));
        let ials = IalsParameters { factors: 12, epochs: 3, ..Default::default() };
        let bpr = BprParameters { factors: 12, epochs: 5, ..Default::default() };
        for parameters in [Parameters::Ials(ials), Parameters::Bpr(bpr)] {
            let artefact = Arc::new(artefact(parameters));
            let plain = Ranker::new(artefact, &popularity).unwrap().with_index(false);
            let every = |n: usize| ItemSet::of(plain.items().len(), |item| item % n == 0);
            let (hidden, few) = (every(3), every(50).complement());
            let ruled = plain.clone().with_rules(rules(&plain));
            for ranker in [&plain, &ruled] {
                let indexed = ranker.clone().with_index(true);
                assert!(indexed.index.is_some() && ranker.index.is_none());
                for user in 0..60 {
                    let history: Vec<HistoryItem> = interactions.history(user).iter().map(HistoryItem::from).collect();
                    for hidden in [None, Some(&hidden), Some(&few)] {
                        for (limit, exclude_seen) in [(10, true), (100, false)] {
                            let request = RankRequest { hidden, exclude_seen, ..RankRequest::new(limit) };
                            let list = ranker.recommend(&history, &request);
                            assert_eq!(indexed.recommend(&history, &request), list, "{:?}", ranker.artefact.kind());
                            let item = list.items[0].item;
                            let why = [&indexed, ranker].map(|ranker| ranker.why_not(&history, &request, item));
                            assert_eq!(why[0], why[1]);
                        }
                    }
                }
            }
        }
    }
}
