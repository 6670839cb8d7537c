//! One window of an evaluation: recommenders fitted on what is known, run over its users, measured side by side.
//!
//! In: a [`Training`], the cases of the window.  Out: [`WindowReport`]s, one with and one without repeats.
//! Never here: what is known in which window (see `split`).
//! Start at [`Training::new`], then [`WindowRun::measure`].

use std::sync::Arc;

use domain::{FeedItem, ItemId, Provenance, RerankRules};

use super::cases::{CaseResults, Translation, run_translated};
use super::pairs::paired_tests;
use super::results::{Cost, RecommenderResult, Repeats, Slice, WindowReport};
use super::segments::Largest;
use super::slices::{of_items, slices};
use super::{Evaluator, FittedRecommender};
use crate::bootstrap::Resampled;
use crate::metrics::lists::ListMeasure;
use crate::promotion::{GUARD_CUTOFF, guard_metric};
use crate::{
    Artefact, Case, Catalogue, HistoryItem, Interactions, ItemSet, Ranker, RecommendError, RecommenderSpec, Reranker,
    Window, train_with,
};

/// Every recommender, fitted on the same interactions.
#[derive(Debug)]
pub(super) struct Training {
    /// With the items of every recommender, numbered together.
    pub(super) known: Interactions,
    /// Items with events: the others are new.
    trained_items: ItemSet,
    rankers: Vec<Arc<Ranker>>,
    costs: Vec<Cost>,
}

impl Training {
    /// Trains every recommender, the baseline once.
    pub(super) fn new(evaluator: &Evaluator<'_>, known: Interactions) -> Result<Self, RecommendError> {
        let fit = |spec: Option<&RecommenderSpec>| -> Result<(Arc<Artefact>, Cost), RecommendError> {
            let spec = spec.ok_or_else(|| RecommendError::NoSuchRecommender { name: evaluator.baseline.to_owned() })?;
            evaluator.meter.begin();
            // Not kept by anybody, so it needs no provenance of its own.
            let (attributes, seed) = (evaluator.attributes(), evaluator.protocol.seed);
            let artefact = train_with(&known, &attributes, &spec.parameters, seed, Provenance::default())?;
            let used = evaluator.meter.used();
            let cost = Cost {
                train_cpu_seconds: used.cpu_seconds,
                peak_memory_bytes: used.peak_memory_bytes,
                ..Cost::default()
            };
            Ok((Arc::new(artefact), cost))
        };
        let fallback = fit(evaluator.specs.iter().find(|spec| spec.name == evaluator.baseline))?;
        let (mut rankers, mut costs) = (Vec::new(), Vec::new());
        for spec in evaluator.specs {
            let (artefact, cost) = if spec.name == evaluator.baseline { fallback.clone() } else { fit(Some(spec))? };
            let ranker = Ranker::new(artefact, &fallback.0)?;
            rankers.push(Arc::new(with_rules(ranker, &spec.rerank, evaluator.items, &known)?));
            costs.push(cost);
        }
        let known = known.with_items(rankers.iter().flat_map(|ranker| ranker.items()));
        let trained = known.events().iter().map(|event| event.item);
        let trained_items = ItemSet::from_ordinals(known.item_ids().len(), trained);
        Ok(Self { known, trained_items, rankers, costs })
    }
}

/// The ranker with the rules of its recommender; `now` in them is the last moment that training knows of.
pub(crate) fn with_rules(
    ranker: Ranker,
    rules: &RerankRules,
    items: &[FeedItem],
    known: &Interactions,
) -> Result<Ranker, RecommendError> {
    if rules.is_empty() {
        return Ok(ranker);
    }
    let catalogue = Catalogue::of_feed(ranker.items(), items);
    let rules = Reranker::join(rules, &catalogue, known.last_at().unwrap_or_default())?;
    Ok(ranker.with_rules(rules))
}

/// Everything that one window needs.
pub(super) struct WindowRun<'a> {
    pub(super) evaluator: &'a Evaluator<'a>,
    pub(super) training: &'a Training,
    pub(super) window: Window,
    pub(super) cases: Vec<Case>,
    pub(super) segments: Option<&'a Largest<'a>>,
    /// `category:<value>` and its items.
    pub(super) categories: Vec<(String, ItemSet)>,
}

/// The users of one window under one rule for repeats: those with a history, and the cold ones.
struct Audience {
    repeats: Repeats,
    warm: Vec<Case>,
    cold: Vec<Case>,
}

/// What a window came to.
pub(super) struct Measured {
    pub(super) fitted: Vec<FittedRecommender>,
    pub(super) costs: Vec<Cost>,
    pub(super) reports: Vec<WindowReport>,
}

impl WindowRun<'_> {
    /// Runs every recommender over the cases, with and without repeats, and compares them.
    pub(super) fn measure(self) -> Measured {
        let audiences = Repeats::ALL.map(|repeats| self.audience(repeats));
        let mut measured = Measured { fitted: Vec::new(), costs: Vec::new(), reports: Vec::new() };
        let mut results: Vec<[CaseResults; 2]> = Vec::new();
        for ((ranker, spec), training) in
            self.training.rankers.iter().zip(self.evaluator.specs).zip(&self.training.costs)
        {
            self.evaluator.progress.begin(&format!("evaluate {}", spec.name), Some(self.cases.len() as u64));
            self.evaluator.meter.begin();
            let both = audiences.each_ref().map(|audience| self.run(ranker, audience));
            let used = self.evaluator.meter.used();
            self.evaluator.progress.advance(self.cases.len() as u64);
            self.evaluator.progress.finish(&format!("{} users", self.cases.len()));
            measured.costs.push(Cost {
                rank_cpu_seconds: used.cpu_seconds,
                lists: both.iter().map(|results| results.lists.len()).sum(),
                peak_memory_bytes: used.peak_memory_bytes.max(training.peak_memory_bytes),
                ..*training
            });
            measured.fitted.push(fitted(spec, (ranker, self.training.known.item_ids()), &audiences, &both));
            results.push(both);
        }
        let lists = ListMeasure::new(&self.training.known);
        for (place, audience) in audiences.iter().enumerate() {
            let results: Vec<&CaseResults> = results.iter().map(|both| &both[place]).collect();
            measured.reports.push(self.report(audience, &results, &lists));
        }
        measured
    }

    /// Always long enough for the guard's metric.
    fn cutoffs(&self) -> Vec<usize> {
        let mut cutoffs = self.evaluator.protocol.cutoffs.clone();
        cutoffs.push(GUARD_CUTOFF);
        cutoffs.sort_unstable();
        cutoffs.dedup();
        cutoffs
    }

    fn audience(&self, repeats: Repeats) -> Audience {
        let narrowed = self.cases.iter().map(|case| case.under(repeats));
        let (cold, warm) = narrowed.filter(|case| !case.held_out.is_empty()).partition(|case| case.history.is_empty());
        Audience { repeats, warm, cold }
    }

    /// Warm cases first, cold ones after them.
    fn run(&self, ranker: &Ranker, audience: &Audience) -> CaseResults {
        let exclude_seen = audience.repeats == Repeats::Excluded;
        let translation = Translation::between(self.training.known.item_ids(), ranker);
        let run = |cases| run_translated(ranker, translation.as_ref(), cases, &self.cutoffs(), exclude_seen);
        let (mut results, cold) = (run(&audience.warm), run(&audience.cold));
        results.values.extend(cold.values);
        results.lists.extend(cold.lists);
        results
    }

    fn report(&self, audience: &Audience, results: &[&CaseResults], lists: &ListMeasure) -> WindowReport {
        let Evaluator { specs, baseline, protocol, .. } = *self.evaluator;
        let resampled = resampled(audience.warm.len(), results, protocol.resamples, protocol.seed);
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let against = names.iter().position(|name| *name == baseline).unwrap_or_default();
        let recommenders = specs
            .iter()
            .enumerate()
            .map(|(place, spec)| {
                self.result(spec, audience, results[place], lists, (place, against), resampled.as_ref())
            })
            .collect();
        WindowReport {
            window: self.window,
            repeats: audience.repeats,
            train_users: self.training.known.user_ids().len(),
            train_items: self.training.trained_items.len(),
            users: audience.warm.len(),
            held_out: audience.warm.iter().map(|case| case.held_out.len()).sum(),
            cold_users: self.cases.iter().filter(|case| case.history.is_empty()).count(),
            cold_items: self.cases.iter().map(|case| case.cold_items).sum(),
            recommenders,
            pairs: paired_tests(&names, results, audience.warm.len(), resampled.as_ref(), protocol),
        }
    }

    /// New items, where any recommender has some, and the largest categories.
    fn item_slices(&self, audience: &Audience, results: &CaseResults) -> Vec<Slice> {
        let new = self.training.trained_items.complement();
        let new = (!new.is_empty()).then(|| ("new_items".to_owned(), new));
        let groups = new.into_iter().chain(self.categories.iter().cloned());
        let lists = &results.lists[..audience.warm.len()];
        let cutoffs = self.cutoffs();
        groups
            .map(|(name, items)| of_items(name, &items, (&audience.warm, lists), &cutoffs, self.evaluator.protocol))
            .collect()
    }

    /// `places`: of the recommender and of the baseline, among the columns of `resampled`.
    fn result(
        &self,
        spec: &RecommenderSpec,
        audience: &Audience,
        results: &CaseResults,
        lists: &ListMeasure,
        (place, against): (usize, usize),
        resampled: Option<&Resampled>,
    ) -> RecommenderResult {
        let protocol = self.evaluator.protocol;
        let width = results.names.len();
        let named = || results.names.iter().cloned().enumerate();
        let estimates = resampled.map(|all| {
            let metrics = named().map(|(column, name)| (name, all.estimate(place * width + column)));
            let differences =
                named().map(|(column, name)| (name, all.difference(place * width + column, against * width + column)));
            (metrics.collect(), if place == against { Default::default() } else { differences.collect() })
        });
        let (metrics, differences) = estimates.unwrap_or_default();
        let warm: Vec<&[u32]> = results.lists[..audience.warm.len()].iter().map(Vec::as_slice).collect();
        let histories: Vec<&[HistoryItem]> = audience.warm.iter().map(|case| case.history.as_slice()).collect();
        let measured = lists.measure(&warm, &histories, &protocol.cutoffs);
        let cases: Vec<&Case> = audience.warm.iter().chain(&audience.cold).collect();
        RecommenderResult {
            name: spec.name.clone(),
            kind: spec.parameters.kind(),
            metrics,
            differences,
            list_metrics: measured.into_iter().map(|(metric, k, value)| (metric.at(k), value)).collect(),
            slices: slices(&cases, results, self.segments, protocol)
                .into_iter()
                .chain(self.item_slices(audience, results))
                .collect(),
        }
    }
}

/// The columns of all recommenders side by side, drawn together, so that every difference is paired.
fn resampled(users: usize, results: &[&CaseResults], resamples: usize, seed: u64) -> Option<Resampled> {
    let width = results.first()?.names.len() * results.len();
    let mut table = Vec::with_capacity(users * width);
    for user in 0..users {
        results.iter().for_each(|results| table.extend_from_slice(results.row(user)));
    }
    Resampled::new(&table, width, resamples, seed)
}

fn fitted(
    spec: &RecommenderSpec,
    (ranker, ids): (&Arc<Ranker>, &[ItemId]),
    audiences: &[Audience; 2],
    results: &[CaseResults; 2],
) -> FittedRecommender {
    let place = Repeats::ALL.iter().position(|repeats| *repeats == Repeats::of(spec.filter_seen)).unwrap_or_default();
    let (audience, results) = (&audiences[place], &results[place]);
    let named = |list: &Vec<u32>| -> Vec<ItemId> { list.iter().map(|item| ids[*item as usize].clone()).collect() };
    let mut guard_values = results.column(&guard_metric()).unwrap_or_default();
    guard_values.truncate(audience.warm.len());
    let (warm, cold) = results.lists.split_at(audience.warm.len());
    let lists = |cases: &[Case], lists: &[Vec<u32>]| {
        cases.iter().zip(lists).map(|(case, list)| (case.user.clone(), named(list))).collect()
    };
    FittedRecommender {
        name: spec.name.clone(),
        artefact: Arc::clone(ranker.artefact()),
        ranker: Arc::clone(ranker),
        lists: lists(&audience.warm, warm),
        cold_lists: lists(&audience.cold, cold),
        validation_ndcg: guard_values,
    }
}
