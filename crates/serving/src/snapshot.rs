//! Everything one answer needs, of one promotion and one feed: immutable, so that an answer never mixes versions.
//!
//! In: a ranker, a feed directory.  Out: ranked lists by user or item id, with the reason when popularity stands in.
//! Items that the feed does not list, or lists as unavailable, are hidden (unless the feed lists no items at all).
//! Never here: a ranking of our own: lists are exactly those of [`Ranker`].
//! Start at [`Snapshot::recommend`].

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use domain::{FeedHeader, FeedHistory, FeedItem, FeedThing, FeedUser, ItemId, Profile, Promotion, UserId};
use recommend::{
    Catalogue, FallbackReason, HistoryItem, ItemSet, RankRequest, RankedList, Ranker, Reranker, Thing, WhyNot,
};

use crate::ServingError;
use crate::answer;
use crate::feed::read_lines;
use crate::query::ListQuery;

/// Reasons named per item: what a person reads at a glance.
const REASONS: usize = 3;

/// Why a profile or popularity stands in, wholly or for the end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The feed has no such user.
    UnknownUser,
    /// The user has no history, and a segment without a list of its own.
    UnknownSegment,
    /// The user is known and has no history, or the recommender knows no item of it.
    EmptyHistory,
    /// The recommender had fewer allowed items than were asked for.
    TooFewCandidates,
    /// The recommender is popularity itself.
    RecommenderIsPopularity,
    /// The history could not be turned into scores.
    UnscorableHistory,
    /// The item is known, but the artefact was trained without it.
    ItemNotInArtefact,
}

impl Reason {
    /// Number of reasons.
    pub(crate) const COUNT: usize = 7;

    /// The word in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::UnknownSegment => "unknown_segment",
            Self::EmptyHistory => "empty_history",
            Self::TooFewCandidates => "too_few_candidates",
            Self::RecommenderIsPopularity => "recommender_is_popularity",
            Self::UnscorableHistory => "unscorable_history",
            Self::ItemNotInArtefact => "item_not_in_artefact",
        }
    }
}

/// One promotion and one feed, ready to answer.
#[derive(Debug)]
pub struct Snapshot {
    promotion: Promotion,
    feed: FeedHeader,
    ranker: Arc<Ranker>,
    catalogue: Catalogue,
    hidden: ItemSet,
    users: HashMap<UserId, Range<usize>>,
    /// What is known of users beside their histories: the columns that the ranker looks at.
    profiles: HashMap<UserId, Profile>,
    /// Histories of all users, end to end.
    interactions: Vec<HistoryItem>,
    /// Items of the feed that the artefact does not know.
    outside: HashSet<ItemId>,
    /// `"item_id":…,"title":…` by ordinal: the costly half of an answer, encoded once.
    item_json: Vec<Box<[u8]>>,
    /// `"indicator":…,"thing":…,"title":…` by place behind the items.
    thing_json: Vec<Box<[u8]>>,
    /// `"recommender":…,"artefact":…,"catalog":…,"feed":…`.
    origin_json: Box<[u8]>,
}

impl Snapshot {
    /// Reads the feed in `directory` for `ranker`, and tries a first question.
    ///
    /// Memory: 16 bytes per interaction, about 100 per user, about 150 per item, beside the artefact.
    pub(crate) fn load(
        promotion: Promotion,
        ranker: Arc<Ranker>,
        feed: FeedHeader,
        directory: &Path,
    ) -> Result<Self, ServingError> {
        let mut titles: Vec<Option<String>> = vec![None; ranker.items().len()];
        let mut attributes = vec![BTreeMap::new(); ranker.items().len()];
        let mut listed = ItemSet::new(ranker.items().len());
        let mut hidden = ItemSet::new(ranker.items().len());
        let mut outside = HashSet::new();
        read_lines(directory, &feed.items, |item: FeedItem| {
            let Some(ordinal) = ranker.ordinal(&item.id) else {
                let id = item.id.to_string();
                return if outside.insert(item.id) { Ok(()) } else { Err(format!("item `{id}` stands there twice")) };
            };
            if listed.contains(ordinal) {
                return Err(format!("item `{}` stands there twice", item.id));
            }
            listed.insert(ordinal);
            if !item.available {
                hidden.insert(ordinal);
            }
            titles[ordinal as usize] = item.title;
            attributes[ordinal as usize] = item.attributes;
            Ok(())
        })?;
        if feed.items.rows > 0 {
            (0u32..)
                .take(titles.len())
                .filter(|ordinal| !listed.contains(*ordinal))
                .for_each(|ordinal| hidden.insert(ordinal));
        }
        let catalogue = Catalogue::new(ranker.items(), &attributes);
        let ranker = with_rules(ranker, &promotion, &catalogue, &feed)?;
        let (users, interactions) = load_histories(&ranker, &feed, directory)?;
        let profiles = load_profiles(&ranker, &feed, directory)?;
        let item_json = ranker.items().iter().zip(&titles).map(|(id, title)| answer::item_json(id, title.as_deref()));
        let thing_json = ranker.artefact().things().iter().map(|thing| {
            let item = thing.thing.parse().ok().and_then(|id: ItemId| ranker.ordinal(&id));
            let title = item.and_then(|item| titles[item as usize].as_deref());
            answer::thing_json(thing, title)
        });
        let snapshot = Self {
            item_json: item_json.collect(),
            thing_json: thing_json.collect(),
            origin_json: answer::origin_json(&promotion, &feed),
            promotion,
            feed,
            catalogue,
            hidden,
            users,
            profiles,
            interactions,
            outside,
            ranker,
        };
        snapshot.try_out()?;
        Ok(snapshot)
    }

    /// The golden questions: a snapshot that cannot recommend anything, or has scores that are no numbers, must not serve.
    fn try_out(&self) -> Result<(), ServingError> {
        let unusable = |detail: &str| ServingError::Unusable { detail: detail.to_owned() };
        let query = |limit, explain| ListQuery { limit, explain, filter: None, profile: Profile::new(), seed: None };
        let (list, _) = self.list(&[], None, &query(1, false))?;
        if list.items.is_empty() {
            return Err(unusable("no item that the artefact knows is available"));
        }
        let busiest = self.users.values().max_by_key(|range| range.len());
        let history = busiest.map_or(&[][..], |range| &self.interactions[range.clone()]);
        let (list, _) = self.list(history, None, &query(10, true))?;
        if list.items.iter().any(|item| !item.score.is_finite()) {
            return Err(unusable("a score is not a finite number"));
        }
        Ok(())
    }

    /// The list for a user: exactly [`Ranker::recommend`] of the user's history and profile, hidden and seen items left out.
    ///
    /// Errors: `BadFilter`, `UnknownColumn`.
    pub(crate) fn recommend(
        &self,
        user: &UserId,
        query: &ListQuery,
    ) -> Result<(RankedList, Option<Reason>), ServingError> {
        let profile = self.profile(user, query)?;
        let Some(history) = self.history(user) else {
            let (list, reason) = self.list(&[], profile.as_deref(), query)?;
            let is_known = self.profiles.contains_key(user) || reason == Some(Reason::UnknownSegment);
            return Ok((list, if is_known { reason } else { Some(Reason::UnknownUser) }));
        };
        self.list(history, profile.as_deref(), query)
    }

    /// What the feed knows of the user, and over it what the request says.
    fn profile(&self, user: &UserId, query: &ListQuery) -> Result<Option<Cow<'_, Profile>>, ServingError> {
        let of_feed = self.profiles.get(user);
        if query.profile.is_empty() {
            return Ok(of_feed.map(Cow::Borrowed));
        }
        let known = self.ranker.profile_columns();
        if let Some(column) = query.profile.keys().find(|column| !known.contains(column)) {
            return Err(ServingError::UnknownColumn { column: column.chars().take(100).collect(), known });
        }
        let mut profile = of_feed.cloned().unwrap_or_default();
        profile.extend(query.profile.clone());
        Ok(Some(Cow::Owned(profile)))
    }

    /// What became of an item in the list for a user.
    ///
    /// Errors: `NoSuchItem` when the artefact does not know it, `BadFilter`, `UnknownColumn`.
    pub(crate) fn why_not(&self, user: &UserId, item: &ItemId, query: &ListQuery) -> Result<WhyNot, ServingError> {
        let ordinal = self.ranker.ordinal(item).ok_or_else(|| ServingError::NoSuchItem { item: item.to_string() })?;
        let (hidden, profile) = (self.hidden_for(query)?, self.profile(user, query)?);
        let history = self.history(user).unwrap_or_default();
        let request = RankRequest { profile: profile.as_deref(), ..self.request(query, &hidden) };
        Ok(self.ranker.why_not(history, &request, ordinal))
    }

    fn list(
        &self,
        history: &[HistoryItem],
        profile: Option<&Profile>,
        query: &ListQuery,
    ) -> Result<(RankedList, Option<Reason>), ServingError> {
        let hidden = self.hidden_for(query)?;
        let list = self.ranker.recommend(history, &RankRequest { profile, ..self.request(query, &hidden) });
        let reason = list.fallback.map(|reason| match reason {
            FallbackReason::NoHistory | FallbackReason::NoKnownItem => Reason::EmptyHistory,
            FallbackReason::UnknownSegment => Reason::UnknownSegment,
            FallbackReason::TooFewCandidates => Reason::TooFewCandidates,
            FallbackReason::RecommenderIsPopularity => Reason::RecommenderIsPopularity,
            FallbackReason::Unscorable => Reason::UnscorableHistory,
        });
        Ok((list, reason))
    }

    /// The items most like `item`: exactly [`Ranker::similar`], hidden items left out.
    ///
    /// Errors: `NoSuchItem` when neither artefact nor feed knows it, `BadFilter`.
    pub(crate) fn similar(
        &self,
        item: &ItemId,
        query: &ListQuery,
    ) -> Result<(RankedList, Option<Reason>), ServingError> {
        let ordinal = match self.ranker.ordinal(item) {
            Some(ordinal) => ordinal,
            None if self.outside.contains(item) => Ranker::UNKNOWN_ITEM,
            None => return Err(ServingError::NoSuchItem { item: item.to_string() }),
        };
        let list = self.ranker.similar(ordinal, &self.request(query, &*self.hidden_for(query)?));
        let reason = list.fallback.map(|reason| match reason {
            FallbackReason::NoHistory | FallbackReason::UnknownSegment | FallbackReason::NoKnownItem => {
                Reason::ItemNotInArtefact
            }
            FallbackReason::TooFewCandidates => Reason::TooFewCandidates,
            FallbackReason::RecommenderIsPopularity => Reason::RecommenderIsPopularity,
            FallbackReason::Unscorable => Reason::UnscorableHistory,
        });
        Ok((list, reason))
    }

    /// Items that this request may not show: those that nobody may see, and those that its filter does not select.
    fn hidden_for(&self, query: &ListQuery) -> Result<Cow<'_, ItemSet>, ServingError> {
        let Some(filter) = &query.filter else {
            return Ok(Cow::Borrowed(&self.hidden));
        };
        let selected = self.catalogue.select(filter, self.feed.created_at.timestamp())?;
        let mut hidden = selected.complement();
        hidden.union_with(&self.hidden);
        Ok(Cow::Owned(hidden))
    }

    fn request<'a>(&self, query: &ListQuery, hidden: &'a ItemSet) -> RankRequest<'a> {
        RankRequest {
            limit: query.limit,
            exclude_seen: self.promotion.filter_seen,
            hidden: Some(hidden),
            reasons: if query.explain { REASONS } else { 0 },
            profile: None,
            seed: query.seed,
        }
    }

    /// Multiply-adds that a list for `user` costs at most, roughly: decides where it is computed.
    pub(crate) fn cost(&self, user: &UserId) -> usize {
        let history = self.history(user).map_or(0, <[HistoryItem]>::len);
        self.ranker.artefact().scorer().cost(self.ranker.items().len(), history)
    }

    /// As [`Snapshot::cost`], for items like an item.
    pub(crate) fn similar_cost(&self) -> usize {
        self.ranker.artefact().scorer().similar_cost(self.ranker.items().len())
    }

    /// Which promotion.
    pub fn promotion(&self) -> &Promotion {
        &self.promotion
    }

    /// Which feed, and the catalog it was read from.
    pub fn feed(&self) -> &FeedHeader {
        &self.feed
    }

    /// What ranks.
    pub fn ranker(&self) -> &Arc<Ranker> {
        &self.ranker
    }

    /// Items that are never served.
    pub fn hidden(&self) -> &ItemSet {
        &self.hidden
    }

    /// What a user did, as the ranker takes it; `None` if the feed has no such user.
    pub fn history(&self, user: &UserId) -> Option<&[HistoryItem]> {
        self.users.get(user).map(|range| &self.interactions[range.clone()])
    }

    /// Number of users in the feed.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// What stands for an item in an answer; in a reason also for a thing of an indicator.
    pub(crate) fn item_json(&self, ordinal: u32) -> &[u8] {
        let ordinal = ordinal as usize;
        let behind = || self.thing_json.get(ordinal.checked_sub(self.item_json.len())?);
        self.item_json.get(ordinal).or_else(behind).map_or(&[], |json| json)
    }

    pub(crate) fn origin_json(&self) -> &[u8] {
        &self.origin_json
    }
}

/// The ranker with the promotion's rules; `now` in them is the moment at which the feed was made.
fn with_rules(
    ranker: Arc<Ranker>,
    promotion: &Promotion,
    catalogue: &Catalogue,
    feed: &FeedHeader,
) -> Result<Arc<Ranker>, ServingError> {
    if promotion.rerank.is_empty() {
        return Ok(ranker);
    }
    let rules = Reranker::join(&promotion.rerank, catalogue, feed.created_at.timestamp());
    let rules = rules.map_err(|error| ServingError::Unusable { detail: error.to_string() })?;
    Ok(Arc::new(Ranker::clone(&ranker).with_rules(rules)))
}

/// Users twice, or of a feed without users: an error, or nothing.
fn load_profiles(
    ranker: &Ranker,
    feed: &FeedHeader,
    directory: &Path,
) -> Result<HashMap<UserId, Profile>, ServingError> {
    let mut profiles = HashMap::new();
    let (columns, Some(file)) = (ranker.profile_columns(), &feed.users) else { return Ok(profiles) };
    read_lines(directory, file, |user: FeedUser| {
        let mut attributes = user.attributes;
        attributes.retain(|column, _| columns.contains(column));
        let id = user.id.clone();
        match profiles.insert(user.id, attributes) {
            None => Ok(()),
            Some(_) => Err(format!("user `{id}` stands there twice")),
        }
    })?;
    Ok(profiles)
}

type Histories = (HashMap<UserId, Range<usize>>, Vec<HistoryItem>);

/// Items that the artefact does not know stay in the history, so that an answer can say why it is not personal.
fn load_histories(ranker: &Ranker, feed: &FeedHeader, directory: &Path) -> Result<Histories, ServingError> {
    let mut users = HashMap::new();
    let mut interactions = Vec::new();
    read_lines(directory, &feed.histories, |history: FeedHistory| {
        let start = interactions.len();
        let events = history.interactions.iter().map(|event| (&event.0, event.1, event.2));
        interactions.extend(ranker.history(events));
        // Of things only those that the artefact learnt from are kept: there may be many, and the others say nothing.
        for (indicator, events) in history.things {
            let of_event = |FeedThing(thing, weight, at): FeedThing| {
                let item = ranker.thing(&Thing { indicator: indicator.clone(), thing })?;
                Some(HistoryItem { item, weight, at })
            };
            interactions.extend(events.into_iter().filter_map(of_event));
        }
        if users.contains_key(&history.user) {
            return Err(format!("user `{}` stands there twice", history.user));
        }
        users.insert(history.user, start..interactions.len());
        Ok(())
    })?;
    interactions.shrink_to_fit();
    Ok((users, interactions))
}
