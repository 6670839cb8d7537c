//! Offline evaluation: how well would each recommender have done, beside the popularity baseline.
//!
//! In: interactions, recommender specs, a protocol.  Out: an [`Evaluation`]: a report for people and files, and the fitted
//! recommenders with the very lists that were measured.
//! Trained before the first cut and measured on the window up to the second (validation); trained again on both and measured
//! after it (test). Full ranking, and every list comes from [`Ranker::recommend`], the function that serves.
//! Never here: choosing parameters on the test window, sampled metrics, clocks.
//! Start at [`evaluate`]; for splits made elsewhere, [`run_cases`].

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{ItemId, Progress, Provenance, UserId};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bootstrap::{Estimate, estimate_columns};
use crate::metrics::{Metric, coverage, measure_list, metric_names};
use crate::promotion::{GUARD_CUTOFF, PromotionDecision, decide_promotion};
use crate::{
    Artefact, Case, Cuts, Interactions, Parameters, Protocol, RankRequest, Ranker, RecommendError, RecommenderKind,
    TimeSplit, train,
};

/// One recommender to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct RecommenderSpec {
    pub name: String,
    pub parameters: Parameters,
    /// Whether it leaves out what the user already had: decides which lists are kept and which metric guards promotion.
    pub filter_seen: bool,
}

/// Which window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Between the cuts: for choosing.
    Validation,
    /// After the second cut: for reporting.
    Test,
}

/// What happens to items that the user already had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeats {
    /// Neither recommended nor counted.
    Excluded,
    /// Recommended and counted like any other.
    Included,
}

impl Repeats {
    const ALL: [Self; 2] = [Self::Excluded, Self::Included];

    fn of(filter_seen: bool) -> Self {
        if filter_seen { Self::Excluded } else { Self::Included }
    }
}

/// The report: what is printed and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationReport {
    pub protocol: Protocol,
    pub cuts: Cuts,
    pub baseline: String,
    /// Events before the first cut, between the cuts, after the second.
    pub train_events: usize,
    pub validation_events: usize,
    pub test_events: usize,
    pub windows: Vec<WindowReport>,
}

/// One window, with or without repeats; all recommenders saw the same users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowReport {
    pub window: Window,
    pub repeats: Repeats,
    /// Users with a history and something held out that could be found: the means are over them.
    pub users: usize,
    /// Their held-out items.
    pub held_out: usize,
    /// Users without history; see the slice `cold_users`.
    pub cold_users: usize,
    /// Held-out items of all users that nobody had chosen before; no recommender here can find them.
    pub cold_items: usize,
    pub recommenders: Vec<RecommenderResult>,
}

/// One recommender in one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecommenderResult {
    pub name: String,
    pub kind: RecommenderKind,
    /// `recall@10`, `ndcg@100`, `hit_rate@20` … → mean over users with interval.
    pub metrics: BTreeMap<String, Estimate>,
    /// The same names → paired difference from the baseline; empty for the baseline itself.
    pub differences: BTreeMap<String, Estimate>,
    /// `coverage@10` … → share of all items that were shown to anybody.
    pub coverage: BTreeMap<String, f64>,
    pub slices: Vec<Slice>,
}

/// A part of the users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// `cold_users`, `history_1_to_4`, `history_5_to_19`, `history_20_up`.
    pub name: String,
    pub users: usize,
    /// Means without intervals; empty without users.
    pub metrics: BTreeMap<String, f64>,
}

/// What came of running a ranker over cases.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseResults {
    /// Names of the columns of `values`.
    pub names: Vec<String>,
    /// cases × names, row-major.
    pub values: Vec<f64>,
    /// The lists that were measured, in the order of the cases; ordinals of the artefact.
    pub lists: Vec<Vec<u32>>,
}

impl CaseResults {
    /// Mean of one column; `None` without cases or for an unknown name.
    pub fn mean(&self, name: &str) -> Option<f64> {
        let column = self.column(name)?;
        (!column.is_empty()).then(|| column.iter().sum::<f64>() / column.len() as f64)
    }

    /// One value per case.
    pub fn column(&self, name: &str) -> Option<Vec<f64>> {
        let place = self.names.iter().position(|known| known == name)?;
        Some(self.values.iter().skip(place).step_by(self.names.len()).copied().collect())
    }

    /// Share of `items` that is among the first k of any list.
    pub fn coverage(&self, k: usize, items: usize) -> f64 {
        coverage(self.lists.iter().map(Vec::as_slice), k, items)
    }
}

/// A recommender fitted on everything before the test window, and what it recommended there.
#[derive(Debug, Clone)]
pub struct FittedRecommender {
    pub name: String,
    pub artefact: Arc<Artefact>,
    pub ranker: Arc<Ranker>,
    /// Per test user with a history: the list as measured, best first, as long as the largest cut-off.
    pub lists: Vec<(UserId, Vec<ItemId>)>,
    /// ndcg@100 per validation user, in one order for all recommenders.
    validation_ndcg: Vec<f64>,
}

/// A report and what it is made of.
#[derive(Debug, Clone)]
pub struct Evaluation {
    pub report: EvaluationReport,
    /// In the order of the specs.
    pub fitted: Vec<FittedRecommender>,
    /// What was known before the test window: the histories behind the lists.
    pub known: Interactions,
}

impl Evaluation {
    /// May `candidate` go live? It must beat the best of the `guards` on the validation window (reference 2.1, rule 3).
    ///
    /// Errors: `NoSuchRecommender`.
    pub fn promotion(&self, candidate: &str, guards: &[&str]) -> Result<PromotionDecision, RecommendError> {
        let ndcg_of = |name: &str| {
            self.fitted
                .iter()
                .find(|fitted| fitted.name == name)
                .map(|fitted| fitted.validation_ndcg.as_slice())
                .ok_or_else(|| RecommendError::NoSuchRecommender { name: name.to_owned() })
        };
        let rivals: Vec<(&str, &[f64])> = guards
            .iter()
            .filter(|guard| **guard != candidate)
            .map(|guard| Ok((*guard, ndcg_of(guard)?)))
            .collect::<Result<_, RecommendError>>()?;
        let protocol = &self.report.protocol;
        Ok(decide_promotion((candidate, ndcg_of(candidate)?), &rivals, protocol.resamples, protocol.seed))
    }
}

/// Runs `ranker` over the cases and measures every list. The order of results is that of the cases.
pub fn run_cases(ranker: &Ranker, cases: &[Case], cutoffs: &[usize], exclude_seen: bool) -> CaseResults {
    let limit = cutoffs.iter().copied().max().unwrap_or_default();
    let request = RankRequest { limit, exclude_seen, hidden: None, reasons: 0 };
    let measured: Vec<(Vec<u32>, Vec<f64>)> = cases
        .par_iter()
        .map(|case| {
            let list: Vec<u32> =
                ranker.recommend(&case.history, &request).items.iter().map(|entry| entry.item).collect();
            let values = measure_list(&list, &case.held_out, cutoffs);
            (list, values)
        })
        .collect();
    let mut results = CaseResults { names: metric_names(cutoffs), values: Vec::new(), lists: Vec::new() };
    for (list, values) in measured {
        results.lists.push(list);
        results.values.extend(values);
    }
    results
}

/// Evaluates the recommenders side by side on both windows.
///
/// `baseline` names the spec (of kind `popularity`) that the others are compared with and fall back to.
/// Errors: as [`train`]; `DuplicateRecommender`, `NoSuchRecommender`, `NotAFallback`; `NothingToEvaluate` if no user of the
/// test window has a history.
pub fn evaluate(
    interactions: &Interactions,
    specs: &[RecommenderSpec],
    baseline: &str,
    protocol: &Protocol,
    progress: &dyn Progress,
) -> Result<Evaluation, RecommendError> {
    check_specs(specs, baseline)?;
    let split = TimeSplit::new(interactions, protocol)?;
    let cuts = split.cuts();
    let count = |from: i64, to: i64| {
        interactions.events().iter().map(|event| split.settled_at(event)).filter(|at| *at >= from && *at < to).count()
    };
    let train_set = split.before(cuts.validation_from);
    let cases = split.cases(&train_set, cuts.validation_from, Some(cuts.test_from));
    let run = WindowRun { window: Window::Validation, known: &train_set, cases, specs, baseline, protocol, progress };
    let (validation, mut windows) = run.measure()?;
    let known = split.before(cuts.test_from);
    let cases = split.cases(&known, cuts.test_from, None);
    if !cases.iter().any(is_warm) {
        let detail = "no user has events both before and after the second cut".into();
        return Err(RecommendError::NothingToEvaluate { detail });
    }
    let run = WindowRun { window: Window::Test, known: &known, cases, specs, baseline, protocol, progress };
    let (mut fitted, test_windows) = run.measure()?;
    windows.extend(test_windows);
    for (fitted, validation) in fitted.iter_mut().zip(validation) {
        fitted.validation_ndcg = validation.validation_ndcg;
    }
    let report = EvaluationReport {
        protocol: protocol.clone(),
        cuts,
        baseline: baseline.to_owned(),
        train_events: count(i64::MIN, cuts.validation_from),
        validation_events: count(cuts.validation_from, cuts.test_from),
        test_events: count(cuts.test_from, i64::MAX),
        windows,
    };
    Ok(Evaluation { report, fitted, known })
}

fn check_specs(specs: &[RecommenderSpec], baseline: &str) -> Result<(), RecommendError> {
    for (place, spec) in specs.iter().enumerate() {
        if specs[..place].iter().any(|other| other.name == spec.name) {
            return Err(RecommendError::DuplicateRecommender { name: spec.name.clone() });
        }
    }
    match specs.iter().find(|spec| spec.name == baseline) {
        None => Err(RecommendError::NoSuchRecommender { name: baseline.to_owned() }),
        Some(spec) if spec.parameters.kind() != RecommenderKind::Popularity => {
            Err(RecommendError::NotAFallback { kind: spec.parameters.kind() })
        }
        Some(_) => Ok(()),
    }
}

fn is_warm(case: &Case) -> bool {
    !case.history.is_empty() && !case.held_out.is_empty()
}

/// Everything that one window needs.
struct WindowRun<'a> {
    window: Window,
    known: &'a Interactions,
    cases: Vec<Case>,
    specs: &'a [RecommenderSpec],
    baseline: &'a str,
    protocol: &'a Protocol,
    progress: &'a dyn Progress,
}

/// The users of one window under one rule for repeats: those with a history, and the cold ones.
struct Audience {
    repeats: Repeats,
    warm: Vec<Case>,
    cold: Vec<Case>,
}

impl WindowRun<'_> {
    /// Fits every recommender on what is known, measures it, and compares it with the baseline.
    fn measure(self) -> Result<(Vec<FittedRecommender>, Vec<WindowReport>), RecommendError> {
        let audiences = Repeats::ALL.map(|repeats| self.audience(repeats));
        let mut rankers = Vec::with_capacity(self.specs.len());
        let fallback = Arc::new(self.fit(self.specs.iter().find(|spec| spec.name == self.baseline))?);
        for spec in self.specs {
            let artefact =
                if spec.name == self.baseline { Arc::clone(&fallback) } else { Arc::new(self.fit(Some(spec))?) };
            rankers.push(Arc::new(Ranker::new(artefact, &fallback)?));
        }
        let mut fitted = Vec::new();
        let results: Vec<[CaseResults; 2]> = rankers
            .iter()
            .zip(self.specs)
            .map(|(ranker, spec)| {
                self.progress.begin(&format!("evaluate {}", spec.name), Some(self.cases.len() as u64));
                let results = audiences.each_ref().map(|audience| self.run(ranker, audience));
                self.progress.advance(self.cases.len() as u64);
                self.progress.finish(&format!("{} users", self.cases.len()));
                fitted.push(self.fitted(spec, ranker, &audiences, &results));
                results
            })
            .collect();
        let reports = audiences
            .iter()
            .enumerate()
            .map(|(place, audience)| {
                let results: Vec<&CaseResults> = results.iter().map(|both| &both[place]).collect();
                self.report(audience, &rankers, &results)
            })
            .collect();
        Ok((fitted, reports))
    }

    fn fit(&self, spec: Option<&RecommenderSpec>) -> Result<Artefact, RecommendError> {
        let spec = spec.ok_or_else(|| RecommendError::NoSuchRecommender { name: self.baseline.to_owned() })?;
        // Not kept by anybody, so it needs no provenance of its own.
        train(self.known, &spec.parameters, self.protocol.seed, Provenance::default())
    }

    /// Always long enough for the guard's metric.
    fn cutoffs(&self) -> Vec<usize> {
        let mut cutoffs = self.protocol.cutoffs.clone();
        cutoffs.push(GUARD_CUTOFF);
        cutoffs.sort_unstable();
        cutoffs.dedup();
        cutoffs
    }

    fn audience(&self, repeats: Repeats) -> Audience {
        let narrowed = self.cases.iter().map(|case| match repeats {
            Repeats::Included => case.clone(),
            Repeats::Excluded => {
                let is_new = |item: &u32| !case.history.iter().any(|event| event.item == *item);
                Case { held_out: case.held_out.iter().copied().filter(is_new).collect(), ..case.clone() }
            }
        });
        let (cold, warm) = narrowed.filter(|case| !case.held_out.is_empty()).partition(|case| case.history.is_empty());
        Audience { repeats, warm, cold }
    }

    /// Warm cases first, cold ones after them.
    fn run(&self, ranker: &Ranker, audience: &Audience) -> CaseResults {
        let exclude_seen = audience.repeats == Repeats::Excluded;
        let mut results = run_cases(ranker, &audience.warm, &self.cutoffs(), exclude_seen);
        let cold = run_cases(ranker, &audience.cold, &self.cutoffs(), exclude_seen);
        results.values.extend(cold.values);
        results.lists.extend(cold.lists);
        results
    }

    fn fitted(
        &self,
        spec: &RecommenderSpec,
        ranker: &Arc<Ranker>,
        audiences: &[Audience; 2],
        results: &[CaseResults; 2],
    ) -> FittedRecommender {
        let place =
            Repeats::ALL.iter().position(|repeats| *repeats == Repeats::of(spec.filter_seen)).unwrap_or_default();
        let (audience, results) = (&audiences[place], &results[place]);
        let named = |list: &Vec<u32>| list.iter().map(|item| ranker.items()[*item as usize].clone()).collect();
        let mut validation_ndcg = results.column(&Metric::Ndcg.at(GUARD_CUTOFF)).unwrap_or_default();
        validation_ndcg.truncate(audience.warm.len());
        FittedRecommender {
            name: spec.name.clone(),
            artefact: Arc::clone(ranker.artefact()),
            ranker: Arc::clone(ranker),
            lists: audience
                .warm
                .iter()
                .zip(&results.lists)
                .map(|(case, list)| (case.user.clone(), named(list)))
                .collect(),
            validation_ndcg,
        }
    }

    fn report(&self, audience: &Audience, rankers: &[Arc<Ranker>], results: &[&CaseResults]) -> WindowReport {
        let baseline = self.specs.iter().position(|spec| spec.name == self.baseline).unwrap_or_default();
        let recommenders = self
            .specs
            .iter()
            .enumerate()
            .map(|(place, spec)| {
                let compared_with = (place != baseline).then(|| results[baseline]);
                let (metrics, differences) = self.estimates(audience, results[place], compared_with);
                let items = rankers[place].items().len();
                let warm_lists = || results[place].lists[..audience.warm.len()].iter().map(Vec::as_slice);
                let covered = |k: &usize| (format!("coverage@{k}"), coverage(warm_lists(), *k, items));
                RecommenderResult {
                    name: spec.name.clone(),
                    kind: spec.parameters.kind(),
                    metrics,
                    differences,
                    coverage: self.protocol.cutoffs.iter().map(covered).collect(),
                    slices: slices(audience, results[place]),
                }
            })
            .collect();
        WindowReport {
            window: self.window,
            repeats: audience.repeats,
            users: audience.warm.len(),
            held_out: audience.warm.iter().map(|case| case.held_out.len()).sum(),
            cold_users: self.cases.iter().filter(|case| case.history.is_empty()).count(),
            cold_items: self.cases.iter().map(|case| case.cold_items).sum(),
            recommenders,
        }
    }

    /// Means and paired differences from one set of resamples.
    fn estimates(
        &self,
        audience: &Audience,
        own: &CaseResults,
        baseline: Option<&CaseResults>,
    ) -> (BTreeMap<String, Estimate>, BTreeMap<String, Estimate>) {
        let width = own.names.len();
        let rows = audience.warm.len();
        let mut table = Vec::with_capacity(rows * width * 2);
        for row in 0..rows {
            let values = &own.values[row * width..(row + 1) * width];
            table.extend_from_slice(values);
            if let Some(other) = baseline {
                let others = &other.values[row * width..(row + 1) * width];
                table.extend(values.iter().zip(others).map(|(value, other)| value - other));
            }
        }
        let columns = if baseline.is_some() { width * 2 } else { width };
        let mut estimates = estimate_columns(&table, columns, self.protocol.resamples, self.protocol.seed);
        let differences = if estimates.len() > width { estimates.split_off(width) } else { Vec::new() };
        let named = |estimates: Vec<Estimate>| own.names.iter().cloned().zip(estimates).collect();
        (named(estimates), named(differences))
    }
}

/// Means by length of history, and of cold users.
fn slices(audience: &Audience, results: &CaseResults) -> Vec<Slice> {
    type Test = fn(usize) -> bool;
    let parts: [(&str, Test); 4] = [
        ("cold_users", |length| length == 0),
        ("history_1_to_4", |length| (1..5).contains(&length)),
        ("history_5_to_19", |length| (5..20).contains(&length)),
        ("history_20_up", |length| length >= 20),
    ];
    let width = results.names.len();
    let lengths: Vec<usize> = audience.warm.iter().chain(&audience.cold).map(|case| case.history.len()).collect();
    parts
        .map(|(name, is_inside)| {
            let rows: Vec<&[f64]> = lengths
                .iter()
                .zip(results.values.chunks_exact(width))
                .filter(|(length, _)| is_inside(**length))
                .map(|(_, row)| row)
                .collect();
            let mean = |column: usize| rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64;
            let metrics = if rows.is_empty() {
                BTreeMap::new()
            } else {
                results.names.iter().cloned().zip((0..width).map(mean)).collect()
            };
            Slice { name: name.to_owned(), users: rows.len(), metrics }
        })
        .into()
}
