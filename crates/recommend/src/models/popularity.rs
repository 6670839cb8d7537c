//! What most people choose, recent choices counting more: the baseline, and the fallback when nothing is known of a user.
//!
//! In: events, and whose segment each user is.  Out: one score per item, for everybody and for each segment.
//! Source: reference 2.9, p_i = Σ_e weight_e · 0.5^(age_e / half-life).
//! With `trending_days` the score is what rises instead: t_i = (r_i − e_i) / √(e_i + 1), r the weight of the last days, e what
//! the time before lets expect of as many days, scaled to the same total (a Poisson count's distance from its mean, damped).
//! A segment of n events has (n·p_s + k·p) / (n + k) with k = `prior_events` (reference 2.9; the mean of a Dirichlet posterior whose
//! prior is the shares of everybody: Zhai & Lafferty 2004), so a small segment has nearly the list of all. What rises in a segment is
//! found from counts to which the prior has been added in the same way.
//! Never here: the user's own history.
//! Start at [`Popularity::train`].

use std::collections::HashMap;

use domain::{Profile, UserId};

use crate::cold::Attributes;
use crate::cold::encoder::Encoder;
use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::{SECONDS_PER_DAY, decay};
use crate::{Event, Interactions, PopularityParameters, RecommendError, RecommenderKind};

/// Events of everybody that every segment is given (reference 2.9).
const PRIOR_EVENTS: f64 = 50.0;

/// Segments with a list of their own: the largest. Each takes a score per item in every serving process.
const MAX_SEGMENTS: usize = 50;

/// One score per item, and one per item and segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Popularity {
    scores: Vec<f32>,
    segments: Option<Segments>,
}

/// Lists of segments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Segments {
    /// Each of its features is a segment.
    pub(crate) encoder: Encoder,
    /// segments × items, row-major.
    scores: Vec<f32>,
}

/// The column of the users table that tells segments apart, and where a profile stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The segment with this ordinal.
    Segment(u32),
    /// It has a value, for which there is no list.
    Unknown,
    /// Nothing is known that would tell.
    None,
}

impl Segments {
    /// The scores of one segment, by item.
    pub(crate) fn scores(&self, segment: u32) -> &[f32] {
        let items = self.scores.len() / self.encoder.len().max(1);
        &self.scores[segment as usize * items..(segment as usize + 1) * items]
    }

    /// Where a profile belongs; of several segments the largest.
    pub(crate) fn place(&self, profile: &Profile) -> Place {
        let has_value = |name: &str| profile.get(name).is_some_and(|value| !value.is_null());
        match self.encoder.encode(profile).first() {
            Some(segment) => Place::Segment(*segment),
            None if self.encoder.attributes().any(has_value) => Place::Unknown,
            None => Place::None,
        }
    }
}

/// Weights by item: of the last days, and of the time before. Without `trending_days` all is of the last days.
#[derive(Clone)]
struct Sums {
    recent: Vec<f64>,
    before: Vec<f64>,
}

impl Sums {
    fn new(items: usize) -> Self {
        // f64, because a best-seller sums many small weights; the order of events is fixed.
        Self { recent: vec![0f64; items], before: vec![0f64; items] }
    }

    /// Adds shares of everybody's weights that come to `events`, to each of the two times.
    fn with_prior(mut self, all: &Self, events: f64) -> Self {
        let add = |own: &mut Vec<f64>, all: &[f64]| {
            let total: f64 = all.iter().sum();
            let share = if total > 0.0 { events / total } else { 0.0 };
            own.iter_mut().zip(all).for_each(|(own, all)| *own += share * all);
        };
        add(&mut self.recent, &all.recent);
        add(&mut self.before, &all.before);
        self
    }

    /// What rises: the last days against the rest. Items that fall have scores below zero.
    fn risen(&self) -> Vec<f32> {
        let total = |sums: &[f64]| sums.iter().sum::<f64>();
        // Without a time before, everything is expected to be as rare as everything else: plain popularity.
        let scale = if total(&self.before) > 0.0 { total(&self.recent) / total(&self.before) } else { 0.0 };
        let risen = self.recent.iter().zip(&self.before).map(|(recent, before)| {
            let expected = before * scale;
            ((recent - expected) / (expected + 1.0).sqrt()) as f32
        });
        risen.collect()
    }
}

impl Popularity {
    /// Sums decayed event weights per item; ages are counted back from the newest event. Cost: one pass.
    ///
    /// Errors: `BadParameter` if `segment` is no column of the users table in which two users agree.
    pub(crate) fn train(
        interactions: &Interactions,
        parameters: &PopularityParameters,
        attributes: &Attributes<'_>,
    ) -> Result<Self, RecommendError> {
        let items = interactions.item_ids().len();
        let encoder = match &parameters.segment {
            Some(segment) => encoder(interactions, segment, &attributes.profiles())?,
            None => Encoder::default(),
        };
        let profiles = attributes.profiles();
        let segment_of = |id: &UserId| profiles.get(id).and_then(|profile| encoder.encode(profile).first().copied());
        let segments: Vec<Option<u32>> = interactions.user_ids().iter().map(segment_of).collect();

        let mut all = Sums::new(items);
        let mut of_segment = vec![Sums::new(items); encoder.len()];
        let as_of = interactions.last_at().unwrap_or_default();
        let recent_from = parameters.trending_days.map(|days| as_of.saturating_sub((days * SECONDS_PER_DAY) as i64));
        let add = |sums: &mut Sums, event: &Event, weight: f64| {
            let is_recent = recent_from.is_none_or(|from| event.at > from);
            let sums = if is_recent { &mut sums.recent } else { &mut sums.before };
            sums[event.item as usize] += weight;
        };
        for event in interactions.events() {
            let weight = f64::from(event.weight * decay(parameters.half_life_days, as_of, event.at));
            add(&mut all, event, weight);
            if let Some(segment) = segments[event.user as usize] {
                add(&mut of_segment[segment as usize], event, weight);
            }
        }
        let prior = parameters.prior_events.unwrap_or(PRIOR_EVENTS);
        let is_trending = parameters.trending_days.is_some();
        let scores = of_segment.into_iter().flat_map(|sums| {
            let sums = sums.with_prior(&all, prior);
            if is_trending {
                return sums.risen();
            }
            let total: f64 = sums.recent.iter().sum();
            sums.recent.iter().map(|sum| (sum / total.max(f64::MIN_POSITIVE)) as f32).collect()
        });
        let segments = parameters.segment.is_some().then(|| Segments { scores: scores.collect(), encoder });
        let scores = if is_trending { all.risen() } else { all.recent.into_iter().map(|sum| sum as f32).collect() };
        Ok(Self { scores, segments })
    }

    /// One score per item, by ordinal.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The lists of segments, if it has any.
    pub(crate) fn segments(&self) -> Option<&Segments> {
        self.segments.as_ref()
    }

    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        let mut tensors = vec![NamedTensor::f32("scores", vec![self.scores.len()], &self.scores)];
        if let Some(segments) = &self.segments {
            let shape = vec![segments.encoder.len(), self.scores.len()];
            tensors.push(NamedTensor::f32("segment_scores", shape, &segments.scores));
        }
        tensors
    }

    pub(crate) fn from_tensors(
        parameters: &PopularityParameters,
        items: usize,
        encoder: Encoder,
        tensors: &TensorFile<'_>,
    ) -> Result<Self, String> {
        let scores = tensors.f32("scores", &[items])?;
        let segments = match parameters.segment {
            Some(_) => Some(Segments { scores: tensors.f32("segment_scores", &[encoder.len(), items])?, encoder }),
            None => None,
        };
        Ok(Self { scores, segments })
    }
}

/// The segments: the values of the column that most users with events have.
fn encoder(
    interactions: &Interactions,
    segment: &String,
    profiles: &HashMap<&UserId, &Profile>,
) -> Result<Encoder, RecommendError> {
    let known: Vec<&Profile> = interactions.user_ids().iter().filter_map(|id| profiles.get(id).copied()).collect();
    let encoder = Encoder::fit(&known, std::slice::from_ref(segment), &[], MAX_SEGMENTS);
    if encoder.len() > 0 {
        return Ok(encoder);
    }
    Err(RecommendError::BadParameter {
        kind: RecommenderKind::Popularity,
        name: "segment".to_owned(),
        value: segment.clone(),
        expected: "a column of the `users` table of the file in which two users with events agree".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use domain::FeedUser;
    use serde_json::{Value, json};

    use super::*;
    use crate::InteractionRow;

    fn train(interactions: &Interactions, parameters: &PopularityParameters) -> Popularity {
        Popularity::train(interactions, parameters, &Attributes::default()).unwrap()
    }

    #[test]
    fn recent_events_count_more() {
        let row = |item: &str, day: i64| InteractionRow {
            user: format!("u{day}"),
            item: item.into(),
            at: day * 86_400,
            weight: 1.0,
            basket: None,
        };
        let (interactions, _) =
            Interactions::from_rows([row("a", 0), row("a", 0), row("a", 2), row("b", 4), row("b", 4)]);
        let plain = train(&interactions, &PopularityParameters::default());
        assert_eq!(plain.scores(), [3.0, 2.0]);
        // Half-life 2 days, as of day 4: a = ¼ + ¼ + ½, b = 1 + 1.
        let decayed = train(&interactions, &PopularityParameters { half_life_days: Some(2.0), ..Default::default() });
        assert_eq!(decayed.scores(), [1.0, 2.0]);
    }

    #[test]
    fn trending_is_what_rises_against_expectation() {
        let row = |item: &str, day: i64, n: i64| InteractionRow {
            user: format!("u{n}"),
            item: item.into(),
            at: day * 86_400,
            weight: 1.0,
            basket: None,
        };
        // Days 1–8: a 6 times, b twice.  Day 10: a twice, b twice.  Expected: a 4 · 6/8 = 3, b 1.
        let before = (1..=8).map(|day| row(if day <= 6 { "a" } else { "b" }, day, day));
        let recent = [("a", 1), ("a", 2), ("b", 3), ("b", 4)].map(|(item, n)| row(item, 10, n));
        let (interactions, _) = Interactions::from_rows(before.chain(recent));
        let parameters = PopularityParameters { trending_days: Some(1.0), ..Default::default() };
        let scores = train(&interactions, &parameters).scores;
        assert!(
            (scores[0] - (2.0 - 3.0) / 2.0).abs() < 1e-6 && (scores[1] - 1.0 / 2f32.sqrt()).abs() < 1e-6,
            "{scores:?}"
        );
    }

    /// Users of two countries and one who has none; `fr` takes a, the others b.
    fn countries() -> (Interactions, Vec<FeedUser>) {
        let row = |user: &str, item: &str| InteractionRow {
            user: user.into(),
            item: item.into(),
            at: 0,
            weight: 1.0,
            basket: None,
        };
        let rows = [row("f1", "a"), row("f2", "a"), row("d1", "b"), row("d2", "b"), row("d2", "c"), row("x", "b")];
        let user = |id: &str| FeedUser {
            id: id.parse().unwrap(),
            attributes: [("country".to_owned(), json!(if id.starts_with('f') { "fr" } else { "de" }))].into(),
        };
        (Interactions::from_rows(rows).0, ["f1", "f2", "d1", "d2"].map(user).to_vec())
    }

    #[test]
    fn a_segment_leans_on_everybody_by_the_prior() {
        let (interactions, users) = countries();
        let attributes = Attributes { items: &[], users: &users };
        let with =
            |prior_events| PopularityParameters { segment: Some("country".into()), prior_events, ..Default::default() };
        // Everybody: a 2/6, b 3/6, c 1/6. fr: a 2 of 2; with k = 6: (2 + 2, 3, 1) / 8. de: b 2, c 1 of 3: (2, 3 + 2, 1 + 1) / 9.
        let model = Popularity::train(&interactions, &with(Some(6.0)), &attributes).unwrap();
        assert_eq!(model.scores(), [2.0, 3.0, 1.0]);
        let segments = model.segments().unwrap();
        let place = |value: Value| segments.place(&[("country".to_owned(), value)].into());
        let (fr, de) = (place(json!("fr")), place(json!("de")));
        let (Place::Segment(fr), Place::Segment(de)) = (fr, de) else { panic!("{fr:?} {de:?}") };
        assert_eq!(segments.scores(fr), [4.0 / 8.0, 3.0 / 8.0, 1.0 / 8.0]);
        assert_eq!(segments.scores(de), [2.0 / 9.0, 5.0 / 9.0, 2.0 / 9.0]);
        assert_eq!((place(json!("at")), place(Value::Null)), (Place::Unknown, Place::None));
        assert_eq!(segments.place(&Profile::new()), Place::None);
        // Without a prior a segment is on its own; with a large one it has the order of everybody.
        let alone = Popularity::train(&interactions, &with(Some(0.0)), &attributes).unwrap();
        assert_eq!(alone.segments().unwrap().scores(fr), [1.0, 0.0, 0.0]);
        let everybody = Popularity::train(&interactions, &with(Some(1e6)), &attributes).unwrap();
        assert!(everybody.segments().unwrap().scores(fr).windows(2).all(|pair| pair[0] < 0.6));
        let error = Popularity::train(&interactions, &with(None), &Attributes::default()).unwrap_err().to_string();
        assert!(error.contains("parameter `segment` of `popularity` is `country`"), "{error}");
    }

    #[test]
    fn what_rises_in_a_segment_is_found_with_the_same_prior() {
        let (interactions, users) = countries();
        let attributes = Attributes { items: &[], users: &users };
        let trending = PopularityParameters {
            segment: Some("country".into()),
            prior_events: Some(6.0),
            trending_days: Some(1.0),
            ..Default::default()
        };
        // All events are recent, so nothing is expected: r − 0 over √1, with the prior in r. fr: (2 + 2, 3, 1).
        let model = Popularity::train(&interactions, &trending, &attributes).unwrap();
        let segments = model.segments().unwrap();
        let Place::Segment(fr) = segments.place(&[("country".to_owned(), json!("fr"))].into()) else { panic!() };
        assert_eq!(segments.scores(fr), [4.0, 3.0, 1.0]);
    }
}
