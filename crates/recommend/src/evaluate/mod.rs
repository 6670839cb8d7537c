//! Offline evaluation: how well would each recommender have done, beside the popularity baseline and beside each other.
//!
//! In: interactions, recommender specs, a protocol.  Out: an [`Evaluation`]: a report for people and files, and the fitted
//! recommenders with the very lists that were measured.
//! Measured twice: on the validation window, to choose by, and on the test window, to report. Full ranking, and every list
//! comes from [`Ranker::recommend`], the function that serves.
//! Never here: choosing parameters on the test window, sampled metrics, clocks (see [`Meter`]).
//! Start at [`Evaluator::run`]; for splits made elsewhere, [`run_cases`].

mod cases;
mod meter;
mod pairs;
mod results;
mod segments;
mod slices;
mod window;

use std::collections::HashMap;
use std::sync::Arc;

use domain::{FeedItem, FeedUser, ItemId, Profile, Progress, RerankRules, UserId};

pub use cases::{CaseResults, run_cases};
pub use meter::{Meter, NoMeter, Usage};
pub use results::{
    Cost, DataSummary, EvaluationReport, PairedTest, RecommenderResult, RecommenderSummary, Repeats, Slice,
    WindowReport,
};
use segments::LARGEST;
pub use segments::Segments;
pub(crate) use window::with_rules;
use window::{Training, WindowRun};

use crate::promotion::{PromotionDecision, decide_promotion};
use crate::{
    Artefact, Attributes, Case, Catalogue, Interactions, ItemSet, Parameters, Protocol, Ranker, RecommendError,
    RecommenderKind, RuleError, Split, Window,
};

/// One recommender to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct RecommenderSpec {
    pub name: String,
    pub parameters: Parameters,
    /// Whether it leaves out what the user already had: decides which lists are kept and which metric guards promotion.
    pub filter_seen: bool,
    /// What is done with its lists after scoring.
    pub rerank: RerankRules,
}

/// A recommender fitted on everything before the test window, and what it recommended there.
#[derive(Debug, Clone)]
pub struct FittedRecommender {
    pub name: String,
    pub artefact: Arc<Artefact>,
    pub ranker: Arc<Ranker>,
    /// Per test user with a history: the list as measured, best first, as long as the largest cut-off.
    pub lists: Vec<(UserId, Vec<ItemId>)>,
    /// The same for test users without a history.
    pub cold_lists: Vec<(UserId, Vec<ItemId>)>,
    /// ndcg@100 per validation user, in one order for all recommenders.
    validation_ndcg: Vec<f64>,
}

/// A report and what it is made of.
#[derive(Debug, Clone)]
pub struct Evaluation {
    pub report: EvaluationReport,
    /// In the order of the specs.
    pub fitted: Vec<FittedRecommender>,
    /// What the test window's recommenders were trained on: with protocols `time` and `last` the histories behind the lists.
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

/// Everything that an evaluation needs.
#[derive(Clone, Copy)]
pub struct Evaluator<'a> {
    pub interactions: &'a Interactions,
    pub specs: &'a [RecommenderSpec],
    /// Names the spec (of kind `popularity`) that the others are compared with and fall back to.
    pub baseline: &'a str,
    pub protocol: &'a Protocol,
    /// What is known of items, for rules, new items and categories; empty where nobody asks.
    pub items: &'a [FeedItem],
    /// What is known of users, for lists of segments and users without a history; empty where nobody asks.
    pub users: &'a [FeedUser],
    /// The column of items whose values get a slice each.
    pub category: Option<&'a str>,
    /// Users' segments, if they are to be told apart.
    pub segments: Option<&'a Segments>,
    pub progress: &'a dyn Progress,
    pub meter: &'a dyn Meter,
}

impl std::fmt::Debug for Evaluator<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Evaluator")
            .field("specs", &self.specs)
            .field("baseline", &self.baseline)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// Evaluates the recommenders side by side on both windows, without segments and without measuring what it costs.
///
/// Errors: as [`Evaluator::run`].
pub fn evaluate(
    interactions: &Interactions,
    specs: &[RecommenderSpec],
    baseline: &str,
    protocol: &Protocol,
    progress: &dyn Progress,
) -> Result<Evaluation, RecommendError> {
    Evaluator {
        interactions,
        specs,
        baseline,
        protocol,
        items: &[],
        users: &[],
        category: None,
        segments: None,
        progress,
        meter: &NoMeter,
    }
    .run()
}

impl Evaluator<'_> {
    /// Evaluates the recommenders side by side on both windows.
    ///
    /// Errors: as [`crate::train`]; `Rule`, `DuplicateRecommender`, `NoSuchRecommender`, `NotAFallback`; `NothingToEvaluate` if the
    /// protocol finds too little to hold out, or no user of the test window has a history.
    pub fn run(&self) -> Result<Evaluation, RecommendError> {
        self.check_specs()?;
        let split = Split::new(self.interactions, self.protocol)?;
        let segments = self.segments.map(|segments| segments.largest(self.interactions));
        let profiles: HashMap<&UserId, Arc<Profile>> =
            self.users.iter().map(|user| (&user.id, Arc::new(user.attributes.clone()))).collect();
        let measure = |training: &Training, window: Window| {
            let mut cases = split.cases(&training.known, window);
            cases.iter_mut().for_each(|case| case.profile = profiles.get(&case.user).cloned());
            if window == Window::Test && !cases.iter().any(is_warm) {
                let detail = "no user of the test window has both a history and something to be found".into();
                return Err(RecommendError::NothingToEvaluate { detail });
            }
            let categories = self.categories(&training.known)?;
            let run = WindowRun { evaluator: self, training, window, cases, segments: segments.as_ref(), categories };
            Ok(run.measure())
        };
        let mut training = Training::new(self, split.known(Window::Validation))?;
        let validation = measure(&training, Window::Validation)?;
        if split.is_trained_again() {
            training = Training::new(self, split.known(Window::Test))?;
        }
        let mut test = measure(&training, Window::Test)?;
        for (fitted, validation) in test.fitted.iter_mut().zip(validation.fitted) {
            fitted.validation_ndcg = validation.validation_ndcg;
        }
        let report = EvaluationReport {
            protocol: self.protocol.clone(),
            explanation: self.protocol.kind.explanation().to_owned(),
            cuts: split.cuts(),
            baseline: self.baseline.to_owned(),
            data: self.data(),
            train_events: split.train_events(),
            validation_events: split.events(Window::Validation),
            test_events: split.events(Window::Test),
            recommenders: self.specs.iter().zip(&test.costs).map(|(spec, cost)| summary(spec, *cost)).collect(),
            windows: validation.reports.into_iter().chain(test.reports).collect(),
        };
        Ok(Evaluation { report, fitted: test.fitted, known: training.known })
    }

    fn attributes(&self) -> Attributes<'_> {
        Attributes { items: self.items, users: self.users }
    }

    /// The slices by category: its largest values, and everything else.
    fn categories(&self, known: &Interactions) -> Result<Vec<(String, ItemSet)>, RecommendError> {
        let Some(column) = self.category else { return Ok(Vec::new()) };
        let catalogue = Catalogue::of_feed(known.item_ids(), self.items);
        let groups = catalogue.largest(column, LARGEST).map_err(|error| {
            let (rule, source) = (format!("categories = \"{column}\""), error);
            RecommendError::Rule(RuleError::Condition { rule, source })
        })?;
        Ok(groups.into_iter().map(|(value, items)| (format!("category:{value}"), items)).collect())
    }

    fn data(&self) -> DataSummary {
        DataSummary {
            users: self.interactions.user_ids().len(),
            items: self.interactions.item_ids().len(),
            events: self.interactions.events().len(),
            first_at: self.interactions.first_at().unwrap_or_default(),
            last_at: self.interactions.last_at().unwrap_or_default(),
        }
    }

    fn check_specs(&self) -> Result<(), RecommendError> {
        for (place, spec) in self.specs.iter().enumerate() {
            if self.specs[..place].iter().any(|other| other.name == spec.name) {
                return Err(RecommendError::DuplicateRecommender { name: spec.name.clone() });
            }
        }
        match self.specs.iter().find(|spec| spec.name == self.baseline) {
            None => Err(RecommendError::NoSuchRecommender { name: self.baseline.to_owned() }),
            Some(spec) if spec.parameters.kind() != RecommenderKind::Popularity => {
                Err(RecommendError::NotAFallback { kind: spec.parameters.kind() })
            }
            Some(_) => Ok(()),
        }
    }
}

fn is_warm(case: &Case) -> bool {
    !case.history.is_empty() && !case.held_out.is_empty()
}

fn summary(spec: &RecommenderSpec, cost: Cost) -> RecommenderSummary {
    RecommenderSummary {
        name: spec.name.clone(),
        kind: spec.parameters.kind(),
        parameters: spec.parameters.to_map(),
        filter_seen: spec.filter_seen,
        cost,
    }
}
