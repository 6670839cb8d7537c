//! `evaluate`: how good each recommender is on a period it has not seen, and which one is promoted.
//!
//! In: which recommenders, which protocol.  Out: metrics with intervals beside the baseline; a promotion that the guard allowed, or
//! its reason not to; on request a page to read and pass on.
//! Never here: metrics, splits and plots (`recommend`).
//! Start at [`run`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{FeedItem, FeedUser, PROMOTION_FORMAT_VERSION, Promotion, Provenance, TableName};
use recommend::report::{ReportFacts, render};
use recommend::{
    EvaluateOptions, Evaluator, ProtocolKind, RecommenderFile, RecommenderKind, RecommenderSpec, Repeats, Segments,
    Window, guard_metric,
};
use warehouse::Catalog;

use super::Context;
use super::train::{self, MartCache, off_the_async_threads, select};
use crate::evaluations::{Measured, REPORT_FORMAT_VERSION};
use crate::feed::write_durably;
use crate::marts::InteractionsMart;
use crate::meter::ProcessMeter;
use crate::profiles::{self, Profiles};
use crate::{PipelineError, artefacts, indicators, marts, promotions};

/// What to evaluate.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Names of `recommenders/<name>.toml`; empty means all.
    pub recommenders: Vec<String>,
    /// Overrides the project's seed.
    pub seed: Option<u64>,
    /// Only measure: leave what is being served alone.
    pub no_promote: bool,
    /// Overrides the project's protocol. Another one than the project's only measures: what is served is decided by its own.
    pub protocol: Option<ProtocolKind>,
    /// Where to write the page, if one is wanted.
    pub report: Option<PathBuf>,
}

/// What was measured and decided.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub catalog: u64,
    pub evaluation: recommend::EvaluationReport,
    /// True when an earlier run had measured the same thing and its report was read back.
    pub unchanged: bool,
    pub promotion: Option<PromotionReport>,
    /// The page that was written.
    pub report: Option<PathBuf>,
}

/// What is served from now on, and why.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PromotionReport {
    pub recommender: String,
    pub artefact: String,
    pub number: u64,
    pub reason: String,
    /// False when this artefact was already the promoted one.
    pub changed: bool,
}

/// Measures the selected recommenders side by side, and promotes the best one if the guard allows.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let catalog = context.warehouse.catalog().await?;
    let selected = with_baseline(context, select(&context.project, &request.recommenders)?)?;
    let Some((first_name, first)) = selected.first() else { return Err(PipelineError::NoRecommenders) };
    for (name, file) in &selected {
        if (&file.interactions, &file.baseline, &file.evaluate, file.filter_seen)
            != (&first.interactions, &first.baseline, &first.evaluate, first.filter_seen)
        {
            return Err(PipelineError::NotComparable { one: (*first_name).clone(), other: (*name).clone() });
        }
    }
    if let Some(path) = &request.report {
        check_writable(path)?;
    }
    let wanted = indicators::wanted(selected.iter().map(|(_, file)| *file));
    let mart = MartCache::default().read(context, &catalog, &first.interactions, &wanted).await?;
    let options =
        EvaluateOptions { protocol: request.protocol.unwrap_or(first.evaluate.protocol), ..first.evaluate.clone() };
    let segments = match &options.segments {
        Some(wanted) => Some(marts::segments(&context.warehouse, &catalog, wanted).await?),
        None => None,
    };
    let only_measures = request.no_promote || options.protocol != first.evaluate.protocol;
    let (items, items_version) = items(context, &catalog, &selected).await?;
    let profiles = Profiles { items, users: users(context, &catalog, &selected).await? };
    let seed = request.seed.unwrap_or(first.seed);
    let work = Work { mart: &mart, profiles, items_version, segments, options, seed };
    let (measured, unchanged) = measured(context, &selected, &work).await?;
    let promotion =
        if only_measures { None } else { Some(promote(context, &selected, &work, &measured, request.seed)?) };
    if let Some(path) = &request.report {
        write_aside(path, page(context, catalog.number, &measured, &work.options).as_bytes())?;
    }
    let report = request.report;
    Ok(Report { catalog: catalog.number, evaluation: measured.evaluation, unchanged, promotion, report })
}

/// The items table that rules, categories and new items are about; several recommenders share one.
pub(super) async fn items(
    context: &Context,
    catalog: &Catalog,
    selected: &Selected<'_>,
) -> Result<(Vec<FeedItem>, String), PipelineError> {
    let wants = |file: &RecommenderFile| {
        let wants_columns = |parameters: recommend::Parameters| !parameters.item_columns().is_empty();
        !file.rerank.is_empty() || file.evaluate.categories.is_some() || file.parameters().is_ok_and(wants_columns)
    };
    let Some(table) = shared(selected, wants, |file| file.items.as_ref())? else {
        return Ok((Vec::new(), String::new()));
    };
    Ok((marts::items(&context.warehouse, catalog, table).await?, marts::version(catalog, table)))
}

/// The users table that lists of segments and users without a history depend on.
async fn users(context: &Context, catalog: &Catalog, selected: &Selected<'_>) -> Result<Vec<FeedUser>, PipelineError> {
    let wants = |file: &RecommenderFile| {
        file.parameters().is_ok_and(|parameters: recommend::Parameters| !parameters.user_columns().is_empty())
    };
    match shared(selected, wants, |file| file.users.as_ref())? {
        Some(table) => profiles::users(&context.warehouse, catalog, table).await,
        None => Ok(Vec::new()),
    }
}

/// The one table that all recommenders who want it name; none if none of them names one.
fn shared<'a>(
    selected: &Selected<'a>,
    wants: impl Fn(&RecommenderFile) -> bool,
    table: impl Fn(&'a RecommenderFile) -> Option<&'a TableName>,
) -> Result<Option<&'a TableName>, PipelineError> {
    let asking: Vec<(&String, Option<&TableName>)> =
        selected.iter().filter(|(_, file)| wants(file)).map(|(name, file)| (*name, table(file))).collect();
    let Some((first, wanted)) = asking.iter().find(|(_, table)| table.is_some()) else { return Ok(None) };
    match asking.iter().find(|(_, table)| table != wanted) {
        Some((one, _)) => Err(PipelineError::NotComparable { one: (*one).clone(), other: (*first).clone() }),
        None => Ok(*wanted),
    }
}

/// What is measured, and how.
struct Work<'a> {
    mart: &'a Arc<InteractionsMart>,
    /// What is known of items and users; read only where a recommender asks.
    profiles: Profiles,
    /// Which version of the table says what is known of items.
    items_version: String,
    /// With a hash of their content.
    segments: Option<(Segments, String)>,
    options: EvaluateOptions,
    seed: u64,
}

pub(super) type Selected<'a> = Vec<(&'a String, &'a RecommenderFile)>;

/// The baseline is always measured, asked for or not.
fn with_baseline<'a>(context: &'a Context, mut selected: Selected<'a>) -> Result<Selected<'a>, PipelineError> {
    let Some((_, first)) = selected.first() else { return Ok(selected) };
    let baseline = first.baseline.clone();
    if !selected.iter().any(|(name, _)| **name == baseline) {
        context.project.recommender(&baseline)?;
        selected.extend(context.project.recommenders.get_key_value(&baseline));
    }
    Ok(selected)
}

async fn measured(
    context: &Context,
    selected: &Selected<'_>,
    work: &Work<'_>,
) -> Result<(Measured, bool), PipelineError> {
    let mut specs = Vec::new();
    for (name, file) in selected {
        let parameters = file.parameters()?;
        let rerank = file.rerank.clone();
        specs.push(RecommenderSpec { name: (*name).clone(), parameters, filter_seen: file.filter_seen, rerank });
    }
    let (_, first) = selected[0];
    let provenance = provenance(context, &specs, selected, work)?;
    let path = context.project.reports_dir().join(format!("evaluation-{}.json", &provenance.identity()[..16]));
    if let Ok(text) = fs::read(&path)
        && let Ok(measured) = serde_json::from_slice::<Measured>(&text)
        && measured.provenance.identity() == provenance.identity()
    {
        return Ok((measured, true));
    }
    let protocol = work.options.protocol(work.seed);
    let (mart, baseline, progress) = (work.mart.clone(), first.baseline.clone(), context.progress.clone());
    let segments = work.segments.as_ref().map(|(segments, _)| segments.clone());
    let (profiles, category) = (work.profiles.clone(), work.options.categories.clone());
    let filter_seen = first.filter_seen;
    let measured = off_the_async_threads(move || {
        let evaluator = Evaluator {
            interactions: &mart.interactions,
            specs: &specs,
            baseline: &baseline,
            protocol: &protocol,
            items: &profiles.items,
            users: &profiles.users,
            category: category.as_deref(),
            segments: segments.as_ref(),
            progress: progress.as_ref(),
            meter: &ProcessMeter::default(),
        };
        let evaluation = evaluator.run()?;
        let best = best(&evaluation.report, filter_seen).unwrap_or_else(|| baseline.clone());
        let guards: Vec<&str> = specs
            .iter()
            .filter(|spec| matches!(spec.parameters.kind(), RecommenderKind::Popularity | RecommenderKind::ItemKnn))
            .map(|spec| spec.name.as_str())
            .collect();
        let decision = evaluation.promotion(&best, &guards)?;
        Ok(Measured { evaluation: evaluation.report, best, decision, provenance })
    })
    .await?;
    keep(&path, &measured)?;
    Ok((measured, false))
}

/// What an evaluation depends on.
fn provenance(
    context: &Context,
    specs: &[RecommenderSpec],
    selected: &Selected<'_>,
    work: &Work<'_>,
) -> Result<Provenance, PipelineError> {
    let (_, first) = selected[0];
    let described: Vec<_> =
        specs.iter().map(|spec| (&spec.name, spec.parameters.to_map(), spec.filter_seen, &spec.rerank)).collect();
    let mut inputs = work.mart.indicators.clone();
    inputs.insert(first.interactions.to_string(), work.mart.content.clone());
    for ((_, file), spec) in selected.iter().zip(specs) {
        inputs.extend(work.profiles.inputs(file, &spec.parameters));
    }
    if let (Some(options), Some((_, content))) = (&work.options.segments, &work.segments) {
        inputs.insert(named(options), content.clone());
    }
    if !work.items_version.is_empty() {
        inputs.insert("items".to_owned(), work.items_version.clone());
    }
    Ok(Provenance {
        inputs,
        config_hash: domain::hash_json(&(described, &work.options, &first.baseline))
            .map_err(|error| PipelineError::json("recommenders", &error))?,
        seed: Some(work.seed),
        engine: concat!("recommend-", env!("CARGO_PKG_VERSION")).to_owned(),
        format_version: REPORT_FORMAT_VERSION,
        run_id: context.run_id.clone(),
        ..Provenance::default()
    })
}

/// `marts.customers.country`
fn named(options: &recommend::SegmentOptions) -> String {
    format!("{}.{}", options.table, options.column)
}

/// The page of what was measured.
fn page(context: &Context, catalog: u64, measured: &Measured, options: &EvaluateOptions) -> String {
    let segments = options.segments.as_ref().map(named);
    let facts = ReportFacts {
        project: context.project.name(),
        made_at: &context.now.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        catalog,
        choice: Some((&measured.best, &measured.decision)),
        segments: segments.as_deref(),
        provenance: &measured.provenance,
    };
    render(&measured.evaluation, &facts)
}

/// The recommender with the highest ndcg@100 on the validation window. The test window is for reporting, never for choosing.
fn best(report: &recommend::EvaluationReport, filter_seen: bool) -> Option<String> {
    let window = report.window(Window::Validation, Repeats::of(filter_seen))?;
    let ndcg =
        |result: &recommend::RecommenderResult| result.metrics.get(&guard_metric()).map_or(0.0, |metric| metric.value);
    let best = window.recommenders.iter().max_by(|one, other| ndcg(one).total_cmp(&ndcg(other)))?;
    Some(best.name.clone())
}

fn keep(path: &Path, measured: &Measured) -> Result<(), PipelineError> {
    let text = serde_json::to_vec_pretty(measured).map_err(|error| PipelineError::json("evaluation", &error))?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| PipelineError::io(parent, &error))?;
    }
    write_aside(path, &text)
}

/// Said before an hour of work, not after it.
fn check_writable(path: &Path) -> Result<(), PipelineError> {
    if path.is_dir() {
        return Err(PipelineError::io(path, &std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::metadata(parent).map(|_| ()).map_err(|error| PipelineError::io(parent, &error))
}

/// A reader sees the file as it was, or as it is to be.
fn write_aside(path: &Path, content: &[u8]) -> Result<(), PipelineError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    write_durably(Path::new(&aside), content)?;
    fs::rename(&aside, path).map_err(|error| PipelineError::io(path, &error))
}

/// Points serving at the artefact of the winner, trained on everything; the baseline when the guard says no and nothing serves yet.
fn promote(
    context: &Context,
    selected: &Selected<'_>,
    work: &Work<'_>,
    measured: &Measured,
    seed: Option<u64>,
) -> Result<PromotionReport, PipelineError> {
    let root = context.project.promoted_dir();
    let serving = promotions::promoted_last(&root)?;
    let baseline = &measured.evaluation.baseline;
    let winner = match (&serving, measured.decision.promote) {
        (_, true) => &measured.best,
        (None, false) => baseline,
        (Some(serving), false) => {
            return Ok(PromotionReport {
                recommender: serving.recommender.clone(),
                artefact: serving.artefact.clone(),
                number: serving.number,
                reason: measured.decision.reason.clone(),
                changed: false,
            });
        }
    };
    let artefact = |name: &str| -> Result<(String, Provenance, bool), PipelineError> {
        let file = context.project.recommender(name)?;
        let seed = seed.unwrap_or(file.seed);
        let wanted = train::provenance(context, file, work.mart, &work.profiles, seed)?;
        match artefacts::find(&context.project.artefacts_dir(), &wanted)? {
            Some((directory, _)) => Ok((directory, wanted, file.filter_seen)),
            None => Err(PipelineError::NotTrained { recommender: name.to_owned() }),
        }
    };
    debug_assert!(selected.iter().any(|(name, _)| *name == winner));
    let (directory, provenance, filter_seen) = artefact(winner)?;
    let fallback_artefact = if winner == baseline { None } else { Some(artefact(baseline)?.0) };
    let wanted = Promotion {
        format_version: PROMOTION_FORMAT_VERSION,
        number: 0,
        recommender: winner.clone(),
        artefact: directory,
        fallback_artefact,
        filter_seen,
        rerank: context.project.recommender(winner)?.rerank.clone(),
        promoted_at: context.now,
        reason: measured.decision.reason.clone(),
        metrics: measured.main_figures(winner),
        provenance,
    };
    let (promotion, changed) = promotions::promote(&root, wanted)?;
    Ok(PromotionReport {
        recommender: promotion.recommender,
        artefact: promotion.artefact,
        number: promotion.number,
        reason: promotion.reason,
        changed,
    })
}
