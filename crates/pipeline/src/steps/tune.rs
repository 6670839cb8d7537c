//! `tune`: better settings for recommenders, found on the validation window, proposed as a change of their files.
//!
//! In: which recommenders, how many trials, how long.  Out: per recommender the best settings, whether they surely beat the current
//! ones, and the change of its file. Every finished trial is kept in `.montauk/tuning/`; the same search goes on from there.
//! Never here: the search itself (`recommend`), reading the clock (`app` passes a budget).
//! Start at [`run`]; [`apply`] writes the file once a person agrees.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{FeedItem, Provenance};
use recommend::{Parameters, RecommenderFile, SPACE_VERSION, Tuned, Tuner, ValidationWindow, choose_default};

use super::Context;
use super::evaluate::items;
use super::train::{MartCache, off_the_async_threads, select};
use crate::feed::{sync_directory, write_durably};
use crate::journal::Journal;
use crate::marts::InteractionsMart;
use crate::project::edit;
use crate::{PipelineError, diff, indicators};

/// Version of the journal; raise it when an older one would be misread.
const JOURNAL_FORMAT_VERSION: u32 = 1;

/// Says whether a search may use this share (0.0–1.0) of its time still. The only clock of a search, and it is the caller's.
pub type Budget = Arc<dyn Fn(f64) -> bool + Send + Sync>;

/// What to tune.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Names of `recommenders/<name>.toml`; empty means all.
    pub recommenders: Vec<String>,
    /// Settings to try per recommender, the current ones included; at least one.
    pub trials: usize,
    /// Overrides the recommender's seed.
    pub seed: Option<u64>,
}

/// What was found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// The catalog number that the interactions were read from.
    pub catalog: u64,
    pub recommenders: Vec<TunedRecommender>,
}

/// One recommender.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TunedRecommender {
    pub recommender: String,
    #[serde(flatten)]
    pub tuned: Tuned,
    /// One sentence for a person.
    pub verdict: String,
    /// Relative to the project.
    pub file: String,
    /// What would change in the file; none when nothing is proposed.
    pub diff: Option<String>,
    /// Whether the file has been changed.
    pub applied: bool,
    /// Where the trials are kept.
    pub journal: PathBuf,
    #[serde(skip)]
    change: Option<Change>,
}

/// The text of a file as it was read and as it is to be.
#[derive(Debug, Clone)]
struct Change {
    before: String,
    after: String,
}

/// Searches for each of the selected recommenders; writes nothing but journals.
pub async fn run(context: &Context, request: Request, budget: Budget) -> Result<Report, PipelineError> {
    let catalog = context.warehouse.catalog().await?;
    let mut marts = MartCache::default();
    let mut recommenders = Vec::new();
    let selected = select(&context.project, &request.recommenders)?;
    if selected.is_empty() {
        return Err(PipelineError::NoRecommenders);
    }
    let count = selected.len();
    for (place, (name, file)) in selected.into_iter().enumerate() {
        let mart = marts.read(context, &catalog, &file.interactions, &indicators::wanted([file])).await?;
        let (items, items_version) = items(context, &catalog, &vec![(name, file)]).await?;
        let share = (place + 1) as f64 / count as f64;
        let budget = budget.clone();
        let search = Search {
            name: name.clone(),
            file: file.clone(),
            baseline: context.project.recommender(&file.baseline)?.parameters()?,
            mart,
            items,
            items_version,
            trials: request.trials.max(1),
            seed: request.seed.unwrap_or(file.seed),
            may_go_on: Box::new(move || budget(share)),
        };
        recommenders.push(search.run(context).await?);
    }
    Ok(Report { catalog: catalog.number, recommenders })
}

/// Everything that one search needs.
struct Search {
    name: String,
    file: RecommenderFile,
    baseline: Parameters,
    mart: Arc<InteractionsMart>,
    items: Vec<FeedItem>,
    items_version: String,
    trials: usize,
    seed: u64,
    may_go_on: Box<dyn Fn() -> bool + Send>,
}

impl Search {
    async fn run(self, context: &Context) -> Result<TunedRecommender, PipelineError> {
        let identity = self.identity(context)?;
        let directory = context.project.tuning_dir().join(&self.name);
        let path = directory.join(format!("{}.ndjson", &identity[..16]));
        let file = format!("recommenders/{}.toml", self.name);
        let text = read(&context.project.dir().join(&file))?;
        let (progress, journal, recommender, kind) =
            (context.progress.clone(), path.clone(), self.name.clone(), self.file.kind);
        let tuned = off_the_async_threads(move || {
            let protocol = self.file.evaluate.protocol(self.seed);
            // From here on nothing knows what happened after the test cut.
            let window = ValidationWindow::new(&self.mart.interactions, &protocol, self.file.filter_seen)?;
            let current = self.file.parameters()?;
            let (mut journal, done) = Journal::open(&journal)?;
            let tuner = Tuner {
                window: &window,
                current: &current,
                baseline: &self.baseline,
                rules: &self.file.rerank,
                items: &self.items,
                trials: self.trials,
                progress: progress.as_ref(),
            };
            progress.begin(&format!("tune {}", self.name), Some(tuner.measurements() as u64));
            let tuned = tuner.run(done, &mut |trial| journal.add(trial), &*self.may_go_on)?;
            progress.finish(&format!("{} settings, {} measurements", tuned.tried, tuned.measured + tuned.resumed));
            Ok(tuned)
        })
        .await?;
        let best = Parameters::resolve(kind, &tuned.best.parameters)?;
        let after = if tuned.is_better { edit::with_parameters(&text, &best) } else { None };
        let verdict = verdict(&tuned, after.is_some());
        let diff = after.as_ref().map(|after| diff::unified(&file, &text, after));
        let change = after.map(|after| Change { before: text, after });
        Ok(TunedRecommender { recommender, tuned, verdict, file, diff, applied: false, journal: path, change })
    }

    /// Searches with equal identity share a journal. The number of trials and the time are not part of it: more of either goes on.
    fn identity(&self, context: &Context) -> Result<String, PipelineError> {
        let protocol = self.file.evaluate.protocol(self.seed);
        let mut inputs = self.mart.indicators.clone();
        inputs.insert(self.file.interactions.to_string(), self.mart.content.clone());
        if !self.items_version.is_empty() {
            inputs.insert("items".to_owned(), self.items_version.clone());
        }
        let (current, baseline) = (self.file.parameters()?.to_map(), self.baseline.to_map());
        let config =
            (self.file.kind, current, baseline, protocol, self.file.filter_seen, &self.file.rerank, SPACE_VERSION);
        let provenance = Provenance {
            inputs,
            config_hash: domain::hash_json(&config).map_err(|error| PipelineError::json("recommender", &error))?,
            seed: Some(self.seed),
            engine: concat!("recommend-", env!("CARGO_PKG_VERSION")).to_owned(),
            format_version: JOURNAL_FORMAT_VERSION,
            run_id: context.run_id.clone(),
            ..Provenance::default()
        };
        Ok(provenance.identity())
    }
}

fn verdict(tuned: &Tuned, can_be_edited: bool) -> String {
    let (current, best) = (&tuned.current, &tuned.best);
    let open = if tuned.is_complete { "" } else { "; time was up, run the same command again to go on" };
    let Some(difference) = &tuned.difference else {
        return format!(
            "the current settings are as good as any of {} tried (ndcg@100 {:.4} on {} validation users){open}",
            tuned.tried, current.ndcg, tuned.users
        );
    };
    let measured = format!(
        "ndcg@100 {:.4} against {:.4} on {} validation users, difference {:+.4} (95 % interval {:+.4} to {:+.4})",
        best.ndcg, current.ndcg, tuned.users, difference.value, difference.low, difference.high
    );
    if !tuned.is_better {
        return format!(
            "the current settings are as good as any of {} tried: the best of them is not surely better, {measured}{open}",
            tuned.tried
        );
    }
    let hand = if can_be_edited {
        String::new()
    } else {
        let wanted: Vec<String> = best.parameters.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        format!("; write them into the file yourself, its form leaves no place for them: {}", wanted.join(", "))
    };
    format!("trial {} of {} is better: {measured}{open}{hand}", best.trial, tuned.tried)
}

/// Writes what was proposed for one recommender; true if there was something to write.
///
/// Errors: `FileChanged` if the file is no longer what the proposal was made from.
pub fn apply(context: &Context, tuned: &mut TunedRecommender) -> Result<bool, PipelineError> {
    let Some(change) = &tuned.change else { return Ok(false) };
    let path = context.project.dir().join(&tuned.file);
    if read(&path)? != change.before {
        return Err(PipelineError::FileChanged { file: tuned.file.clone() });
    }
    // Aside and rename: a reader sees the file as it was, or as it is to be.
    let aside = path.with_extension("toml.tmp");
    write_durably(&aside, change.after.as_bytes())?;
    fs::rename(&aside, &path).map_err(|error| PipelineError::io(&path, &error))?;
    if let Some(parent) = path.parent() {
        sync_directory(parent)?;
    }
    tuned.applied = true;
    Ok(true)
}

fn read(path: &Path) -> Result<String, PipelineError> {
    fs::read_to_string(path).map_err(|error| PipelineError::io(path, &error))
}

/// The recommender to begin with.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Suggestion {
    pub kind: String,
    /// One sentence for a person.
    pub reason: String,
    /// A recommender's file.
    pub file: String,
}

/// What to begin with, by the size of the catalogue, the memory of this machine and the order of events.
pub async fn suggest(context: &Context, recommender: Option<&str>) -> Result<Suggestion, PipelineError> {
    let catalog = context.warehouse.catalog().await?;
    let file = match recommender {
        Some(name) => context.project.recommender(name)?,
        None => context.project.recommenders.values().next().ok_or(PipelineError::NoRecommenders)?,
    };
    let mart = MartCache::default().read(context, &catalog, &file.interactions, &indicators::wanted([file])).await?;
    let choice = choose_default(&mart.interactions, warehouse::memory_bytes());
    let kind = choice.parameters.kind();
    let items = file.items.as_ref().map(|items| format!("items = \"{items}\"\n")).unwrap_or_default();
    let text = format!(
        "# {}.\nkind = \"{kind}\"\ninteractions = \"{}\"\n{items}{}",
        choice.reason,
        file.interactions,
        edit::parameters_table(&choice.parameters)
    );
    Ok(Suggestion { kind: kind.to_string(), reason: choice.reason, file: text })
}
