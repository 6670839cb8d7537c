//! Interactions in, ranked items out: training, artefacts, ranking, evaluation.
//!
//! In: rows (user, item, time, weight, basket).  Out: an [`Artefact`] on disk, a [`RankedList`] per request, an
//! [`EvaluationReport`].  What is evaluated is what is served: both call [`Ranker::recommend`].
//! Never here: tokio, Arrow, SQL, HTTP, a clock.  `seed` and provenance are arguments.
//! Start at [`train`], then [`Ranker`], then [`evaluate`]; [`report`] draws what an evaluation found.

mod artefact;
mod bootstrap;
mod choose;
mod cold;
mod csr;
mod error;
mod evaluate;
mod explain;
mod explore;
mod file;
mod filter;
mod golden;
mod indicators;
mod interactions;
mod kernels;
mod linalg;
mod metrics;
mod models;
mod parameters;
mod permutation;
mod popular;
mod promotion;
mod protocol;
mod random;
mod replacement;
pub mod report;
mod rerank;
mod retrieval;
mod scorer;
mod split;
mod stages;
mod tensors;
mod together;
mod top_k;
mod train;
mod tune;
mod weighting;
mod why_not;

pub use artefact::{ARTEFACT_FORMAT_VERSION, Artefact, ArtefactHeader, FileDigest};
pub use bootstrap::Estimate;
pub use choose::{DefaultChoice, choose_default};
pub use cold::Attributes;
pub use csr::Csr;
pub use error::RecommendError;
pub use evaluate::{
    CaseResults, Cost, DataSummary, Evaluation, EvaluationReport, Evaluator, FittedRecommender, Meter, NoMeter,
    PairedTest, RecommenderResult, RecommenderSpec, RecommenderSummary, Repeats, Segments, Slice, Usage, WindowReport,
    evaluate, run_cases,
};
pub use explain::Contribution;
pub use explore::exploration_seed;
pub use file::{EvaluateOptions, IndicatorOptions, RecommenderFile, SegmentOptions};
pub use filter::{Catalogue, Condition, ConditionError, ItemSet};
pub use golden::GoldenQuery;
pub use indicators::{IndicatorEvent, IndicatorRow, Indicators, RejectedIndicatorRow, Thing};
pub use interactions::{Event, InteractionRow, Interactions, MAX_WEIGHT, RejectReason, Rejected};
pub use metrics::lists::ListMetric;
pub use metrics::{Metric, measure_list};
pub use models::{Model, ials::Ials};
pub use parameters::{
    BlendParameters, BlendPart, BprParameters, CcoParameters, ContentParameters, EaseParameters, HistoryParameters,
    IalsParameters, IndicatorParameters, ItemKnnParameters, LlrParameters, Parameters, PopularityParameters,
    RecommenderKind, Rp3betaParameters, SequenceParameters, UserWeighting,
};
pub use promotion::{PromotionDecision, decide_promotion, guard_metric};
pub use protocol::{Protocol, ProtocolKind};
pub use replacement::{Coverage, ReplacementDecision, decide_replacement};
pub use rerank::{Reranker, RuleError};
pub use retrieval::{FactorIndex, FactorRows};
pub use scorer::{Part, Scorer};
pub use split::{Case, Cuts, Split, Window};
pub use stages::{FallbackReason, HistoryItem, ItemSource, ListSource, RankRequest, RankedItem, RankedList, Ranker};
pub use together::TOGETHER;
pub use train::{train, train_from, train_with};
pub use tune::{Rung, SPACE_VERSION, Settings, Trial, Tuned, Tuner, ValidationWindow};
pub use weighting::{WeightScheme, WeightedItem, Weighting};
pub use why_not::{Stage, WhyNot};
