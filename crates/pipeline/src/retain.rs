//! Retention: takes away what killed runs left in stage and warehouse, and manifests of weeks ago whose rows their tables hold. What a manifest,
//! a catalog or a table's log names stays.
//!
//! In: a project, the clock reading of the run.  Out: what was removed, or nothing when it is not time yet.
//! A sweep lists stage and warehouse, which costs requests in a bucket; so it is done once a day, after a run that wrote.
//! Never here: deciding what belongs to whom (`connect::Stage::sweep`, `warehouse::Warehouse::sweep`).
//! Start at [`sweep_when_due`].

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use crate::PipelineError;
use crate::feed::write_durably;
use crate::steps::Context;

/// Time between two sweeps. What a killed run leaves is lost space, not a danger: a day is soon enough.
const SWEEP_EVERY: TimeDelta = TimeDelta::hours(24);
/// Files written aside are kept this long: nobody's run is expected to take longer, and one that does is refused at its end.
const GRACE: TimeDelta = TimeDelta::hours(24);

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    pub files: u64,
    pub bytes: u64,
}

/// Sweeps when the last sweep of this project is a day old. `None`: not yet. The caller holds the project's lock.
pub async fn sweep_when_due(context: &Context) -> Result<Option<Swept>, PipelineError> {
    let note = note(context.project.state_dir());
    match last_sweep(&note) {
        Some(last) if context.now - last < SWEEP_EVERY => return Ok(None),
        // Nothing can be a day old in a project whose first run this is; from now on the clock runs.
        None => {
            write_durably(&note, context.now.to_rfc3339().as_bytes())?;
            return Ok(None);
        }
        Some(_) => {}
    }
    retire_manifests(context).await?;
    let tables = context.warehouse.sweep(context.now, GRACE).await?;
    let staged = context.stage.sweep(context.now).await?;
    write_durably(&note, context.now.to_rfc3339().as_bytes())?;
    Ok(Some(Swept { files: tables.files + staged.files, bytes: tables.bytes + staged.bytes }))
}

/// Old manifests go whose rows the tables hold: a table that follows its source leaves one for each run.
async fn retire_manifests(context: &Context) -> Result<(), PipelineError> {
    for (source, table) in context.project.select_tables(&[])? {
        let loaded = context.warehouse.loaded_manifest(&table.target).await?;
        if let Some(loaded) = loaded.filter(|loaded| loaded.source == source.name && loaded.table == table.name) {
            context.stage.retire(&source.name, &table.name, loaded.number, context.now).await?;
        }
    }
    Ok(())
}

fn note(state_dir: PathBuf) -> PathBuf {
    state_dir.join("swept")
}

/// When the last sweep was; a note that cannot be read is no note.
fn last_sweep(note: &Path) -> Option<DateTime<Utc>> {
    let text = std::fs::read_to_string(note).ok()?;
    DateTime::parse_from_rfc3339(text.trim()).ok().map(|time| time.to_utc())
}
