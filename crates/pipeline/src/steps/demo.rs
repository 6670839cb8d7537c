//! `demo`: the whole line, once, on the project in the context: extract, copy, build, train,
//! evaluate, recommend, publish.
//!
//! In: nothing but the context.  Out: what each step did and how long it took, the evaluation, and three customers' lists.
//! Never here: writing the example project (`init`), serving it (`edge`).
//! Start at [`run`].

use std::time::Instant;

use super::{Context, build, copy, evaluate, extract, publish, recommend, train};
use crate::PipelineError;
use crate::rows::Columns;

/// How many customers the demo shows.
const CUSTOMERS: usize = 3;
/// How many items it recommends to each.
const ITEMS: usize = 5;

/// Nothing to choose: the demo runs everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request {}

/// The line, step by step.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub steps: Vec<StepReport>,
    pub evaluation: evaluate::Report,
    pub customers: Vec<recommend::UserReport>,
}

/// One step of the line.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StepReport {
    pub step: &'static str,
    pub seconds: f64,
    /// Rows that went through, where the step counts rows.
    pub rows: Option<u64>,
    /// True when the step found its work already done.
    pub unchanged: bool,
    /// One line for a person.
    pub summary: String,
}

/// Runs the line. Each step finds out by itself what is already done.
pub async fn run(context: &Context, _request: Request) -> Result<Report, PipelineError> {
    let mut line = Line::default();

    let started = Instant::now();
    let staged = extract::run(context, extract::Request::default()).await?;
    let files: usize = staged.tables.iter().map(|table| table.files).sum();
    let unchanged = staged.tables.iter().all(|table| table.status == extract::Status::Unchanged);
    line.add("extract", started, None, unchanged, format!("{files} files staged"));

    let started = Instant::now();
    let copied = copy::run(context, copy::Request::default()).await?;
    let loaded: u64 = copied.tables.iter().map(|table| table.copy.rows_loaded).sum();
    let rejected: u64 = copied.tables.iter().map(|table| table.copy.rows_rejected).sum();
    let summary = format!("{loaded} rows loaded, {rejected} set aside");
    line.add("copy", started, Some(loaded), loaded == 0, summary);

    let started = Instant::now();
    let built = build::run(context, build::Request::default()).await?;
    let failed: Vec<String> =
        built.models.iter().filter(|model| model.reason.is_some()).map(|model| model.table.to_string()).collect();
    if built.has_failures() {
        return Err(PipelineError::ChecksFailed { failed: failed.len(), tables: failed });
    }
    let summary = format!("{} models, catalog {}", built.models.len(), built.catalog);
    line.add("build", started, Some(built.rows_built()), !built.changed, summary);

    let started = Instant::now();
    let trained = train::run(context, train::Request::default()).await?;
    let pairs = trained.trained.iter().map(|artefact| artefact.pairs as u64).sum();
    let unchanged = trained.trained.iter().all(|artefact| artefact.status == train::Status::Unchanged);
    line.add("train", started, Some(pairs), unchanged, format!("{} recommenders", trained.trained.len()));

    let started = Instant::now();
    let evaluation = evaluate::run(context, evaluate::Request::default()).await?;
    let served = evaluation.promotion.as_ref().map_or("nothing", |promotion| &promotion.recommender);
    line.add("evaluate", started, None, evaluation.unchanged, format!("`{served}` is served"));

    let started = Instant::now();
    let request = recommend::Request { users: recommend::Users::All, recommender: None, limit: None };
    if let recommend::Report::All(table) = recommend::run(context, request).await? {
        let summary = format!("{} users in `{}`", table.users, table.table);
        line.add("recommend", started, Some(table.rows), table.unchanged, summary);
    }

    let started = Instant::now();
    let request = publish::Request { syncs: vec![publish::FEED.to_owned()], ..publish::Request::default() };
    if let Some(feed) = publish::run(context, request).await?.feed {
        let summary = format!("feed {}: {} items, {} users", feed.number, feed.items, feed.users);
        line.add("publish", started, Some(feed.users), !feed.changed, summary);
    }
    let customers = customers(context).await?;
    Ok(Report { steps: line.0, evaluation, customers })
}

/// The steps so far.
#[derive(Default)]
struct Line(Vec<StepReport>);

impl Line {
    fn add(&mut self, step: &'static str, started: Instant, rows: Option<u64>, unchanged: bool, summary: String) {
        let seconds = started.elapsed().as_secs_f64();
        self.0.push(StepReport { step, seconds, rows, unchanged, summary });
    }
}

/// Three real customers with a middling history: long enough to learn from, short enough to read. Always the same ones.
async fn customers(context: &Context) -> Result<Vec<recommend::UserReport>, PipelineError> {
    let Some(recommender) = context.project.recommenders.values().next() else { return Ok(Vec::new()) };
    let sql = format!(
        "select user_id from {} group by user_id having count(distinct item_id) between 8 and 12 order by user_id limit {CUSTOMERS}",
        recommender.interactions
    );
    let catalog = context.warehouse.catalog().await?;
    let result = context.warehouse.query(&catalog, &sql).await?;
    let users = Columns::new("interactions", &result).text("user_id")?;
    let users: Vec<String> = users.into_iter().flatten().collect();
    recommend::lists(context, &catalog, &users, ITEMS).await
}
