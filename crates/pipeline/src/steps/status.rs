//! `status`: what the project holds now and which step comes next.
//!
//! In: the project.  Out: tables, artefacts, feed, last runs, and the commands that make sense next.
//! Never here: anything that changes something.
//! Start at [`run`].

use super::Context;
use crate::{PipelineError, feed, promotions, runs};

/// What to show.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request {}

/// What is there.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub project: String,
    pub catalog: u64,
    pub tables: Vec<TableStatus>,
    pub promoted: Option<String>,
    pub feed: Option<u64>,
    pub runs: Vec<crate::runs::RunRecord>,
    /// Commands that make sense next, most useful first.
    pub next: Vec<String>,
}

/// One table or view of the newest catalog.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableStatus {
    pub table: String,
    pub kind: String,
    pub version: Option<u64>,
    pub rows: Option<u64>,
}

/// How many runs are shown.
const RUNS: usize = 5;

/// Looks, and changes nothing.
pub async fn run(context: &Context, _request: Request) -> Result<Report, PipelineError> {
    let project = &context.project;
    let catalog = context.warehouse.catalog().await?;
    let tables: Vec<TableStatus> = catalog
        .tables
        .iter()
        .map(|(name, entry)| TableStatus {
            table: name.to_string(),
            kind: entry.kind.as_str().to_owned(),
            version: entry.version,
            rows: entry.rows,
        })
        .collect();
    let promoted = promotions::promoted_last(&project.promoted_dir())?;
    let feed = feed::newest(&project.feed_dir())?;
    let mut staged = false;
    for (source, table) in project.select_tables(&[])? {
        staged |= context.stage.latest_number(&source.name, &table.name).await?.is_some();
    }
    let next = next(&Progress {
        has_sources: !project.sources.is_empty(),
        staged,
        loaded: catalog.tables.keys().any(|table| project.is_target(table)),
        built: project.models.iter().any(|model| catalog.tables.contains_key(&model.table)),
        has_recommenders: !project.recommenders.is_empty(),
        promoted: promoted.is_some(),
        fed: feed.is_some(),
    });
    Ok(Report {
        project: project.name().to_owned(),
        catalog: catalog.number,
        tables,
        promoted: promoted.map(|promotion| format!("{} ({})", promotion.recommender, promotion.artefact)),
        feed: feed.map(|header| header.feed),
        runs: runs::newest(&project.runs_dir(), RUNS),
        next: next.into_iter().map(str::to_owned).collect(),
    })
}

/// How far the project has come on the line.
struct Progress {
    has_sources: bool,
    staged: bool,
    loaded: bool,
    built: bool,
    has_recommenders: bool,
    promoted: bool,
    fed: bool,
}

/// At most three commands, the first one being the next step of the line.
fn next(progress: &Progress) -> Vec<&'static str> {
    let steps = [
        (!progress.has_sources, "montauk init --from URL"),
        (progress.has_sources && !progress.staged, "montauk extract"),
        (progress.staged && !progress.loaded, "montauk copy"),
        (progress.loaded && !progress.built, "montauk build"),
        (progress.built && progress.has_recommenders && !progress.promoted, "montauk train"),
        (progress.built && progress.has_recommenders && !progress.promoted, "montauk evaluate"),
        (progress.promoted && !progress.fed, "montauk publish feed"),
        (progress.promoted && progress.fed, "montauk serve"),
        (progress.built, "montauk query \"select …\""),
        (progress.staged, "montauk extract"),
    ];
    steps.into_iter().filter(|(is_next, _)| *is_next).map(|(_, command)| command).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_step_follows_the_line() {
        let empty = Progress {
            has_sources: true,
            staged: false,
            loaded: false,
            built: false,
            has_recommenders: true,
            promoted: false,
            fed: false,
        };
        assert_eq!(next(&empty), ["montauk extract"]);
        let built = Progress { staged: true, loaded: true, built: true, ..empty };
        assert_eq!(next(&built), ["montauk train", "montauk evaluate", "montauk query \"select …\""]);
        let complete = Progress { promoted: true, fed: true, ..built };
        assert_eq!(next(&complete)[0], "montauk serve");
    }
}
