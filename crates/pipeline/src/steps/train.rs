//! `train`: an interactions mart → one artefact per recommender.
//!
//! In: which recommenders, and a seed.  Out: the artefacts' names and shapes; an artefact with the same provenance is not made again.
//! Never here: the kernels and the artefact format (`recommend`).
//! Start at [`run`].

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use domain::{Provenance, TableName};
use recommend::{ARTEFACT_FORMAT_VERSION, ArtefactHeader, RecommenderFile};
use warehouse::Catalog;

use super::Context;
use crate::indicators::Wanted;
use crate::marts::InteractionsMart;
use crate::profiles::Profiles;
use crate::project::Project;
use crate::{PipelineError, artefacts, indicators, marts};

/// Which recommenders to train.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Names of `recommenders/<name>.toml`; empty means all.
    pub recommenders: Vec<String>,
    /// Overrides the project's seed.
    pub seed: Option<u64>,
}

/// What was trained.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// The catalog number that the interactions were read from.
    pub catalog: u64,
    pub trained: Vec<Trained>,
}

/// One artefact.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Trained {
    pub recommender: String,
    pub kind: String,
    /// Name of the directory under `.montauk/artefacts/`.
    pub artefact: String,
    pub status: Status,
    pub users: usize,
    pub items: usize,
    /// Distinct (user, item) pairs.
    pub pairs: usize,
    /// Rows of the mart that were not used, each with its reason counted.
    pub rejected_rows: usize,
    pub seconds: f64,
}

/// Whether training did anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Trained,
    Unchanged,
}

/// Trains the selected recommenders that have no artefact for the same inputs yet.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let catalog = context.warehouse.catalog().await?;
    let root = context.project.artefacts_dir();
    let mut marts = MartCache::default();
    let mut trained = Vec::new();
    for (name, file) in select(&context.project, &request.recommenders)? {
        let mart = marts.read(context, &catalog, &file.interactions, &indicators::wanted([file])).await?;
        let seed = request.seed.unwrap_or(file.seed);
        let profiles = Profiles::read(&context.warehouse, &catalog, name, file).await?;
        let provenance = provenance(context, file, &mart, &profiles, seed)?;
        let started = Instant::now();
        context.progress.begin(&format!("train {name}"), None);
        let (artefact, header, status) = match artefacts::find(&root, &provenance)? {
            Some((artefact, header)) => (artefact, header, Status::Unchanged),
            None => {
                let origin = (name.clone(), context.now.timestamp());
                let (artefact, header) = train((&mart, profiles), file, seed, provenance, origin, root.clone()).await?;
                (artefact, header, Status::Trained)
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        context.progress.finish(&format!("{} users × {} items", header.users, header.items));
        trained.push(Trained {
            recommender: name.clone(),
            kind: header.kind.as_str().to_owned(),
            artefact,
            status,
            users: header.users as usize,
            items: header.items as usize,
            pairs: header.pairs as usize,
            rejected_rows: mart.rejected_rows(),
            seconds,
        });
    }
    Ok(Report { catalog: catalog.number, trained })
}

/// Trains one recommender and writes its artefact, off the async threads. `origin` is its name and the time.
async fn train(
    (mart, profiles): (&Arc<InteractionsMart>, Profiles),
    file: &RecommenderFile,
    seed: u64,
    provenance: Provenance,
    origin: (String, i64),
    root: PathBuf,
) -> Result<(String, ArtefactHeader), PipelineError> {
    let parameters = file.parameters()?;
    let mart = mart.clone();
    off_the_async_threads(move || {
        fs::create_dir_all(&root).map_err(|error| PipelineError::io(&root, &error))?;
        let (interactions, attributes) = (&mart.interactions, profiles.attributes());
        let mut artefact = recommend::train_with(interactions, &attributes, &parameters, seed, provenance)?;
        artefact.set_origin(origin.0, origin.1);
        let path = artefact.write(&root)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok((name, artefact.header().clone()))
    })
    .await
}

/// What an artefact of this recommender depends on.
pub(super) fn provenance(
    context: &Context,
    file: &RecommenderFile,
    mart: &InteractionsMart,
    profiles: &Profiles,
    seed: u64,
) -> Result<Provenance, PipelineError> {
    let mut inputs = profiles.inputs(file, &file.parameters()?);
    // The mart may hold indicators of other recommenders as well.
    let of_file = indicators::wanted([file]).into_iter().map(|(name, table)| indicators::input(&name, &table));
    inputs.extend(of_file.map(|input| (input.clone(), mart.indicators.get(&input).cloned().unwrap_or_default())));
    inputs.insert(file.interactions.to_string(), mart.content.clone());
    Ok(Provenance {
        inputs,
        code_hash: String::new(),
        config_hash: artefacts::config_hash(file)?,
        seed: Some(seed),
        engine: concat!("recommend-", env!("CARGO_PKG_VERSION")).to_owned(),
        format_version: ARTEFACT_FORMAT_VERSION,
        run_id: context.run_id.clone(),
    })
}

/// The named recommenders of the project, or all of them.
pub(super) fn select<'a>(
    project: &'a Project,
    names: &'a [String],
) -> Result<Vec<(&'a String, &'a RecommenderFile)>, PipelineError> {
    if names.is_empty() {
        return Ok(project.recommenders.iter().collect());
    }
    names.iter().map(|name| Ok((name, project.recommender(name)?))).collect()
}

/// Interactions read once per mart and set of indicators, however many recommenders share them.
#[derive(Default)]
pub(super) struct MartCache(BTreeMap<(TableName, Wanted), Arc<InteractionsMart>>);

impl MartCache {
    pub(super) async fn read(
        &mut self,
        context: &Context,
        catalog: &Catalog,
        table: &TableName,
        wanted: &Wanted,
    ) -> Result<Arc<InteractionsMart>, PipelineError> {
        if let Some(mart) = self.0.get(&(table.clone(), wanted.clone())) {
            return Ok(mart.clone());
        }
        let alone = (table.clone(), Wanted::new());
        let mut mart = match self.0.get(&alone) {
            Some(mart) => mart.clone(),
            None => Arc::new(marts::interactions(&context.warehouse, catalog, table).await?),
        };
        self.0.insert(alone, mart.clone());
        if !wanted.is_empty() {
            mart = Arc::new(indicators::join(&context.warehouse, catalog, &mart, wanted).await?);
            self.0.insert((table.clone(), wanted.clone()), mart.clone());
        }
        Ok(mart)
    }
}

/// Runs CPU work where it does not hold up the async threads.
pub(super) async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PipelineError> + Send + 'static,
) -> Result<T, PipelineError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| PipelineError::internal("a worker thread", error))?
}
