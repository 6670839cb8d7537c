//! From what a run read to manifests: a table's files and the state that covers them become visible in one step.
//!
//! In: planned tables and what was read of them.  Out: one result per table.
//! A stream that is whole is published whole. Of one that is not, the rows up to its last state are published with that state, unless
//! they would replace a table: that waits for the whole.
//! Never here: reading.
//! Start at [`publish_all`].

use std::collections::BTreeMap;

use domain::{ChangeRules, Resume, StageManifest, StageMode, StagedFile};

use super::StreamMode;
use super::plan::Planned;
use super::problem::ConnectorProblem;
use super::row::declared;
use super::state;
use super::sync::StreamRun;
use crate::{ConnectError, ExtractOutcome, Stage};

/// What a run has to say about each of its tables, by their names.
pub(super) type Results = BTreeMap<String, Result<ExtractOutcome, ConnectError>>;

/// A table, what was read of it, and what went wrong.
pub(super) type ReadTable = (Planned, (StreamRun, Option<ConnectorProblem>));

/// What of a stream is published.
struct Kept {
    table: Planned,
    file: Option<StagedFile>,
    state: Option<String>,
    rows: u64,
}

/// Publishes what was read of each table.
pub(super) async fn publish_all(stage: &Stage, read: Vec<ReadTable>) -> Results {
    let mut results = Results::new();
    let mut kept = Vec::new();
    let mut problems = BTreeMap::new();
    for (table, (run, problem)) in read {
        let name = table.request.table.clone();
        if let Some(problem) = problem {
            problems.insert(name.clone(), problem);
        }
        match keep(stage, table, run).await {
            Ok(Some(table)) => kept.push(table),
            Ok(None) => {}
            Err(error) => drop(results.insert(name, Err(error))),
        }
    }
    // A state that streams share is written down for all of them as soon as one has news: otherwise they would not agree any more.
    let is_shared = |table: &Kept| table.state.as_deref().is_some_and(state::is_shared);
    let has_news = |kept: &Kept| {
        let latest = kept.table.latest.as_ref();
        let has_other_columns = latest.is_some_and(|latest| latest.column_types != declared(&kept.table.choice.stream));
        kept.rows > 0 || !kept.table.goes_on() || has_other_columns
    };
    let has_shared_news = kept.iter().filter(|table| is_shared(table)).any(has_news);
    for table in kept {
        let name = table.table.request.table.clone();
        let is_forced = has_shared_news && is_shared(&table);
        results.insert(name, publish(stage, table, is_forced).await);
    }
    for (name, problem) in problems {
        // What was published stays; the run fails all the same.
        results.insert(name, Err(problem.into()));
    }
    results
}

/// The file and the state of a stream, as far as they are published.
async fn keep(stage: &Stage, table: Planned, run: StreamRun) -> Result<Option<Kept>, ConnectError> {
    let is_whole = run.is_whole();
    let is_first = table.latest.is_none();
    if !is_whole && (table.choice.mode == StreamMode::Full || !(table.goes_on() || is_first)) {
        return Ok(None);
    }
    let is_wanted_empty = !table.goes_on();
    let StreamRun { mut file, state, .. } = run;
    let finished = tokio::task::spawn_blocking(move || -> Result<_, ConnectError> {
        if !is_whole && !file.cut()? {
            return Ok(None);
        }
        let rows = file.rows();
        Ok(Some((file.finish(is_wanted_empty)?, rows)))
    });
    let finished = finished.await.map_err(|error| ConnectError::internal("stage rows", error))?;
    let Some((finished, rows)) = finished? else { return Ok(None) };
    let file = match finished {
        Some(finished) => Some(finished.keep(&table.request, stage, table.request.now).await?),
        None => None,
    };
    let state = match table.choice.mode {
        StreamMode::Full => None,
        // A stream that gave none this time goes on from the same again.
        StreamMode::Append | StreamMode::Changes => state.or_else(|| table.state.clone()),
    };
    Ok(Some(Kept { table, file, state, rows }))
}

async fn publish(stage: &Stage, kept: Kept, is_forced: bool) -> Result<ExtractOutcome, ConnectError> {
    let Kept { table, file, state, rows: _ } = kept;
    let manifest = manifest(&table, file, state);
    let Planned { request, latest, read_anew, state: before, .. } = table;
    let outcome = match latest {
        Some(latest) if before.is_some() => {
            let has_moved = is_forced && latest.resume != manifest.resume;
            if has_moved || latest.column_types != manifest.column_types {
                ExtractOutcome::of(stage.publish_next(manifest, latest.number).await?, false)
            } else {
                request.publish_changes(stage, latest, manifest).await?
            }
        }
        latest => request.publish(stage, latest, manifest).await?,
    };
    Ok(ExtractOutcome { read_anew, ..outcome })
}

fn manifest(table: &Planned, file: Option<StagedFile>, state: Option<String>) -> StageManifest {
    let mode = if table.goes_on() { StageMode::Changes } else { StageMode::Full };
    let mut manifest = table.request.manifest(mode, file.into_iter().collect());
    let rules = || ChangeRules {
        key: table.key(),
        deleted: table.choice.deleted(),
        version: table.choice.version(),
        unproven: Vec::new(),
    };
    manifest.changes = match table.choice.mode {
        StreamMode::Full => None,
        // Each row is there once; what says that a row is gone is a row like others.
        StreamMode::Append => table.goes_on().then(|| ChangeRules { key: table.key(), ..ChangeRules::default() }),
        StreamMode::Changes => Some(rules()),
    };
    manifest.column_types = declared(&table.choice.stream);
    manifest.resume = Some(Resume::Airbyte { state, generation: table.generation() });
    manifest
}
