//! What an artefact scores with: one model and its weighting of histories, or several that are blended.
//!
//! In: a history as it was recorded.  Out: one score per item; how much each history item adds.
//! Blending: each part's scores are brought to mean 0 and deviation 1 over all items, then added with the parts' weights
//! (reference 2.10). What a part has nothing to say of counts as its zero.
//! Never here: filters, top-k, fallback (see `stages`).
//! Start at [`Scorer::scores`].

use std::borrow::Cow;
use std::sync::Arc;

use domain::Profile;

use crate::models::Model;
use crate::models::cco::Cco;
use crate::models::popularity::Popularity;
use crate::weighting::WeightedItem;
use crate::{FactorRows, HistoryItem, RecommenderKind, Weighting};

/// One recommender: itself a whole artefact, or a part of a blend.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// 1 unless blended.
    pub weight: f32,
    pub weighting: Weighting,
    /// Shared between blends that differ in their weights only.
    pub model: Arc<Model>,
}

/// One part, or the parts of a blend.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorer {
    parts: Vec<Part>,
    is_blend: bool,
}

/// A history as each part weighs it.
#[derive(Debug, Clone)]
pub(crate) struct WeighedHistory(Vec<Vec<WeightedItem>>);

impl WeighedHistory {
    /// Whether nothing of the history speaks.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }
}

impl Scorer {
    /// One part for every kind but a blend.
    pub(crate) fn new(kind: RecommenderKind, parts: Vec<Part>) -> Self {
        Self { parts, is_blend: kind == RecommenderKind::Blend }
    }

    /// The recommenders it scores with.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The model, unless it is a blend.
    pub fn model(&self) -> Option<&Model> {
        if self.is_blend { None } else { self.parts.first().map(|part| part.model.as_ref()) }
    }

    /// The model of popularity, if that is all it is.
    pub(crate) fn popularity(&self) -> Option<&Popularity> {
        match self.model() {
            Some(Model::Popularity(model)) => Some(model),
            Some(Model::Neighbours(_) | Model::Cco(_) | Model::Ease(_) | Model::Ials(_) | Model::Bpr(_)) | None => None,
        }
    }

    /// What of the history speaks, to each part.
    pub(crate) fn weigh(&self, history: &[HistoryItem]) -> WeighedHistory {
        // Only `cco` knows what the ordinals beyond the items are.
        let items = self.cco().map(Cco::items);
        let of_items: Cow<'_, [HistoryItem]> = match items {
            Some(items) => history.iter().filter(|event| (event.item as usize) < items).copied().collect(),
            None => Cow::Borrowed(history),
        };
        let weigh = |part: &Part| match part.model.as_ref() {
            Model::Cco(model) => model.weigh(&part.weighting, history),
            Model::Popularity(_) | Model::Neighbours(_) | Model::Ease(_) | Model::Ials(_) | Model::Bpr(_) => {
                part.weighting.for_request(&of_items)
            }
        };
        WeighedHistory(self.parts.iter().map(weigh).collect())
    }

    /// The first part that learns from indicators; all of them were trained on the same.
    fn cco(&self) -> Option<&Cco> {
        self.parts.iter().find_map(|part| match part.model.as_ref() {
            Model::Cco(model) => Some(model),
            Model::Popularity(_) | Model::Neighbours(_) | Model::Ease(_) | Model::Ials(_) | Model::Bpr(_) => None,
        })
    }

    /// Number of items and things that a history may hold; `None` where only items can speak.
    pub(crate) fn ordinals(&self) -> Option<usize> {
        self.cco().map(Cco::ordinals)
    }

    /// Ordinals at which items, each indicator's things, and nothing more begin.
    pub(crate) fn bounds(&self) -> Option<&[u32]> {
        self.cco().map(Cco::bounds)
    }

    /// One score per item; NaN where there is nothing to say, `None` when no score can be given at all.
    pub(crate) fn scores(&self, history: &WeighedHistory) -> Option<Vec<f32>> {
        if self.is_blend {
            let weights: Vec<f32> = self.parts.iter().map(|part| part.weight).collect();
            return blended(&self.part_scores(history), &weights);
        }
        let scored = self.parts.iter().zip(&history.0);
        scored.into_iter().next().and_then(|(part, weighted)| part.model.scores(weighted))
    }

    /// What each part says, before weights: the dear half of blending. `None` for a part that cannot score this history.
    pub(crate) fn part_scores(&self, history: &WeighedHistory) -> Vec<Option<PartScores>> {
        let scored = self.parts.iter().zip(&history.0).map(|(part, weighted)| {
            if let Model::Popularity(model) = part.model.as_ref() {
                // In a blend popularity is a prior: its scores do not depend on the history, but they are scores.
                Some(model.scores().to_vec())
            } else {
                part.model.scores(weighted)
            }
        });
        scored.map(|scores| scores.map(PartScores::new)).collect()
    }

    /// Of a factor model that is no blend, what a user's factor is multiplied with to give scores.
    pub(crate) fn rows(&self) -> Option<FactorRows<'_>> {
        self.model().and_then(Model::rows)
    }

    /// The same model's factor for a history.
    pub(crate) fn fold_in(&self, history: &WeighedHistory) -> Option<Vec<f32>> {
        self.model().zip(history.0.first()).and_then(|(model, weighted)| model.fold_in(weighted))
    }

    /// The same model's factor for a profile, where it was taught one.
    pub(crate) fn prior(&self, profile: &Profile) -> Option<Vec<f32>> {
        self.model().and_then(|model| model.prior(profile))
    }

    /// Columns of the users table that scores of users without a history depend on.
    pub(crate) fn profile_columns(&self) -> Vec<&str> {
        let features = self.model().and_then(Model::features).unwrap_or_default();
        let mut columns: Vec<&str> = features.iter().map(|feature| feature.attribute.as_str()).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The items of the history that speak, rising, and how much each adds to the score of each target: one row per target.
    pub(crate) fn contributions(&self, history: &WeighedHistory, targets: &[u32]) -> (Vec<u32>, Vec<Vec<f32>>) {
        let mut items: Vec<u32> = history.0.iter().flatten().map(|entry| entry.item).collect();
        items.sort_unstable();
        items.dedup();
        let mut sums = vec![vec![0f32; items.len()]; targets.len()];
        for (part, weighted) in self.parts.iter().zip(&history.0) {
            // Standardising only shifts and scales, so a blended score is still a sum over the history.
            let scale = match self.is_blend {
                true => part.model.scores(weighted).map_or(0.0, |scores| part.weight / moments(&scores).1),
                false => 1.0,
            };
            let places: Vec<usize> = weighted.iter().map(|e| items.partition_point(|item| *item < e.item)).collect();
            for (sum, added) in sums.iter_mut().zip(part.model.contributions(weighted, targets)) {
                places.iter().zip(added).for_each(|(place, value)| sum[*place] += scale * value);
            }
        }
        (items, sums)
    }

    /// Multiply-adds of a list over so long a history, roughly and at most: decides where it is computed.
    pub fn cost(&self, items: usize, history: usize) -> usize {
        let part = |part: &Part| part.model.cost(items, history.min(part.weighting.max_history));
        self.parts.iter().map(part).fold(0, usize::saturating_add)
    }

    /// The same for items like an item.
    pub fn similar_cost(&self, items: usize) -> usize {
        self.parts.iter().map(|part| part.model.similar_cost(items)).fold(0, usize::saturating_add)
    }

    /// One score per item for likeness to `item`; above zero means alike. `None` where no part compares items.
    pub(crate) fn similar(&self, item: u32) -> Option<Vec<f32>> {
        if !self.is_blend {
            return self.parts.first().and_then(|part| part.model.similar(item));
        }
        let mut blended: Option<Vec<f32>> = None;
        for part in &self.parts {
            let Some(scores) = part.model.similar(item) else {
                continue;
            };
            // Not shifted: above zero must go on to mean alike.
            let scale = part.weight / moments(&scores).1;
            let sums = blended.get_or_insert_with(|| vec![0f32; scores.len()]);
            sums.iter_mut()
                .zip(&scores)
                .filter(|(_, score)| !score.is_nan())
                .for_each(|(sum, score)| *sum += scale * score);
        }
        blended
    }
}

/// What one part says of every item, and what brings that to mean 0 and deviation 1.
#[derive(Debug, Clone)]
pub(crate) struct PartScores {
    scores: Vec<f32>,
    mean: f32,
    deviation: f32,
}

impl PartScores {
    fn new(scores: Vec<f32>) -> Self {
        let (mean, deviation) = moments(&scores);
        Self { scores, mean, deviation }
    }
}

/// Σ weight · (score − mean) / deviation over the parts that have scores; `None` when none has.
pub(crate) fn blended(parts: &[Option<PartScores>], weights: &[f32]) -> Option<Vec<f32>> {
    let mut sums: Option<Vec<f32>> = None;
    for (part, &weight) in parts.iter().zip(weights).filter_map(|(part, weight)| Some((part.as_ref()?, weight))) {
        let sums = sums.get_or_insert_with(|| vec![0f32; part.scores.len()]);
        for (sum, &score) in sums.iter_mut().zip(&part.scores) {
            *sum += weight * (known(score) - part.mean) / part.deviation;
        }
    }
    sums
}

/// Mean and deviation over all items; the deviation of equal scores counts as 1, so that they add nothing.
fn moments(scores: &[f32]) -> (f32, f32) {
    let count = scores.len().max(1) as f64;
    let mean = scores.iter().map(|&score| f64::from(known(score))).sum::<f64>() / count;
    let variance = scores.iter().map(|&score| (f64::from(known(score)) - mean).powi(2)).sum::<f64>() / count;
    let deviation = variance.sqrt() as f32;
    (mean as f32, if deviation > 0.0 && deviation.is_finite() { deviation } else { 1.0 })
}

/// Where a part has nothing to say, nothing speaks for the item: the zero of its sum.
fn known(score: f32) -> f32 {
    if score.is_nan() { 0.0 } else { score }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{ease::Ease, neighbours::Neighbours};
    use crate::{Csr, EaseParameters, HistoryParameters, WeightScheme};

    fn weighting(recency: Option<f32>) -> Weighting {
        Weighting { scheme: WeightScheme::Binary, half_life_days: None, cap: None, as_of: 9, max_history: 9, recency }
    }

    fn history() -> [HistoryItem; 2] {
        [(0, 1), (2, 5)].map(|(item, at)| HistoryItem { item, weight: 1.0, at })
    }

    fn ease() -> Part {
        let rows: [&[u32]; 4] = [&[0, 1, 2], &[1, 2, 3], &[0, 3], &[0, 1, 3]];
        let matrix = Csr::from_rows(4, rows.map(|items| items.iter().map(|&item| (item, 1.0)).collect::<Vec<_>>()));
        let parameters = EaseParameters { lambda: 1.0, history: HistoryParameters::default(), ..Default::default() };
        Part {
            weight: 0.5,
            weighting: weighting(Some(2.0)),
            model: Arc::new(Model::Ease(Ease::train(&matrix, &parameters).unwrap())),
        }
    }

    /// Item 0 speaks for 1 with 3, item 2 for 1 with 1 and for 3 with 2.
    fn neighbours() -> Part {
        let rows = vec![vec![], vec![(0, 3.0), (2, 1.0)], vec![], vec![(2, 2.0)]];
        let model = Neighbours::from_targets(rows, RecommenderKind::ItemKnn).unwrap();
        Part { weight: 2.0, weighting: weighting(None), model: Arc::new(Model::Neighbours(model)) }
    }

    #[test]
    fn one_standardised_part_is_its_scores_shifted_and_scaled() {
        // Scores 0, 4, 0, 2 (what is not spoken of counts 0): mean 1.5, deviation √2.75, times the weight 2.
        let blend = Scorer::new(RecommenderKind::Blend, vec![neighbours()]);
        let scores = blend.scores(&blend.weigh(&history())).unwrap();
        let expected = [0.0, 4.0, 0.0, 2.0].map(|score: f32| 2.0 * (score - 1.5) / 2.75f32.sqrt());
        assert!(scores.iter().zip(expected).all(|(got, want)| (got - want).abs() < 1e-5), "{scores:?}");
        let alone = Scorer::new(RecommenderKind::ItemKnn, vec![neighbours()]);
        let scores = alone.scores(&alone.weigh(&history())).unwrap();
        assert!(scores[0].is_nan() && scores[1] == 4.0 && scores[3] == 2.0);
    }

    #[test]
    fn contributions_of_a_blend_add_up_to_its_scores_up_to_one_constant() {
        let blend = Scorer::new(RecommenderKind::Blend, vec![ease(), neighbours()]);
        let weighed = blend.weigh(&history());
        let scores = blend.scores(&weighed).unwrap();
        let (items, rows) = blend.contributions(&weighed, &[0, 1, 2, 3]);
        assert_eq!(items, [0, 2]);
        let rest: Vec<f32> = rows.iter().zip(&scores).map(|(row, score)| score - row.iter().sum::<f32>()).collect();
        assert!(rest.iter().all(|value| (value - rest[0]).abs() < 1e-4), "{rest:?}");
    }

    #[test]
    fn equal_scores_add_nothing_and_an_empty_history_leaves_popularity() {
        let equal = Some(PartScores::new(vec![7.0, 7.0, 7.0]));
        assert_eq!(blended(&[None, equal], &[0.5, 1.0]), Some(vec![0.0, 0.0, 0.0]));
        assert_eq!(blended(&[None], &[1.0]), None);
        let blend = Scorer::new(RecommenderKind::Blend, vec![ease(), neighbours()]);
        assert!(blend.weigh(&[]).is_empty() && !blend.weigh(&history()).is_empty());
        assert!(blend.model().is_none() && blend.similar(2).unwrap()[3] > 0.0);
    }
}
