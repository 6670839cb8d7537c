//! Retention: takes away what killed runs left in stage and warehouse, manifests of weeks ago whose rows their tables hold, and artefacts
//! that nobody goes back to. What a manifest, a catalog or a table's log names stays.
//!
//! In: a project, the clock reading of the run.  Out: what was removed, or nothing when it is not time yet.
//! A sweep lists stage and warehouse, which costs requests in a bucket; so it is done once a day, after a run that wrote.
//! Never here: deciding what belongs to whom (`connect::Stage::sweep`, `warehouse::Warehouse::sweep`).
//! Start at [`sweep_when_due`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};

use crate::feed::write_durably;
use crate::steps::Context;
use crate::{PipelineError, artefacts, promotions};

/// Time between two sweeps. What a killed run leaves is lost space, not a danger: a day is soon enough.
const SWEEP_EVERY: TimeDelta = TimeDelta::hours(24);
/// Files written aside are kept this long: nobody's run is expected to take longer, and one that does is refused at its end.
const GRACE: TimeDelta = TimeDelta::hours(24);

/// Artefacts of so many promotions stay, and the popularity behind them: what somebody may want to go back to.
pub const KEPT_PROMOTIONS: usize = 5;
/// Artefacts that nobody has promoted stay this long after they were trained, to be compared and promoted.
const ARTEFACT_GRACE: TimeDelta = TimeDelta::days(7);
/// Names of directories that are being written or removed.
const HALF_ARTEFACTS: [&str; 2] = [".writing-", ".removed-"];

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
    let artefacts = sweep_artefacts(&context.project.artefacts_dir(), &context.project.promoted_dir(), context.now)?;
    write_durably(&note, context.now.to_rfc3339().as_bytes())?;
    Ok(Some(Swept {
        files: tables.files + staged.files + artefacts.files,
        bytes: tables.bytes + staged.bytes + artefacts.bytes,
    }))
}

/// Artefacts go that are a week old, are not those of the last promotions, do not serve for any recommender, and are not the newest of
/// theirs. A directory that this program cannot read is not its to remove.
fn sweep_artefacts(root: &Path, promoted: &Path, now: DateTime<Utc>) -> Result<Swept, PipelineError> {
    let promotions = promotions::all(promoted)?;
    let of_recommenders: BTreeMap<&str, _> =
        promotions.iter().map(|promotion| (promotion.recommender.as_str(), promotion)).collect();
    let last = promotions.iter().rev().take(KEPT_PROMOTIONS);
    let named = last.chain(of_recommenders.into_values());
    let named = named.flat_map(|kept| [Some(&kept.artefact), kept.fallback_artefact.as_ref()]);
    let mut kept: BTreeSet<String> = named.flatten().cloned().collect();
    let (known, _) = artefacts::all(root)?;
    let newest: BTreeMap<(&str, &str), &String> = known
        .iter()
        .map(|(name, header)| {
            // Nobody's artefacts are told apart by what they were made with.
            let config = if header.recommender.is_empty() { header.provenance.config_hash.as_str() } else { "" };
            ((header.recommender.as_str(), config), name)
        })
        .collect();
    kept.extend(newest.into_values().cloned());
    let mut swept = Swept::default();
    let is_old = |trained_at: i64| trained_at < (now - ARTEFACT_GRACE).timestamp();
    for (name, header) in &known {
        if kept.contains(name) || !is_old(header.trained_at.unwrap_or(header.last_at)) {
            continue;
        }
        let (path, aside) = (root.join(name), root.join(format!("{}{name}", HALF_ARTEFACTS[1])));
        // Renamed first: a reader finds all of it or nothing.
        fs::rename(&path, &aside).map_err(|error| PipelineError::io(&path, &error))?;
        remove(&aside, &mut swept)?;
    }
    sweep_half_artefacts(root, now, &mut swept)?;
    Ok(swept)
}

/// What a killed training or sweep left.
fn sweep_half_artefacts(root: &Path, now: DateTime<Utc>, swept: &mut Swept) -> Result<(), PipelineError> {
    let Ok(entries) = fs::read_dir(root) else { return Ok(()) };
    let oldest = SystemTime::from(now - GRACE);
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_half = name.to_str().is_some_and(|name| HALF_ARTEFACTS.iter().any(|half| name.starts_with(half)));
        let is_old = entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|time| time < oldest);
        if is_half && is_old {
            remove(&entry.path(), swept)?;
        }
    }
    Ok(())
}

fn remove(directory: &Path, swept: &mut Swept) -> Result<(), PipelineError> {
    let io = |error: std::io::Error| PipelineError::io(directory, &error);
    for entry in fs::read_dir(directory).map_err(io)? {
        swept.files += 1;
        swept.bytes += entry.and_then(|entry| entry.metadata()).map_err(io)?.len();
    }
    fs::remove_dir_all(directory).map_err(io)
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

#[cfg(test)]
mod tests {
    use domain::Provenance;
    use recommend::{InteractionRow, Interactions, Parameters, RecommenderKind, train};

    use super::*;
    use crate::promotions::tests::promotion;

    const NOW: i64 = 1_000 * 86_400;

    /// A popularity artefact of its own content, trained so many days ago.
    fn artefact(root: &Path, recommender: &str, number: u64, days_ago: i64) -> String {
        let row = |user: &str, item: &str| InteractionRow {
            user: user.to_owned(),
            item: item.to_owned(),
            at: 1,
            weight: 1.0,
            basket: None,
        };
        let (interactions, _) = Interactions::from_rows([row("u", "i"), row("v", "i"), row("v", "j")]);
        let parameters = Parameters::defaults(RecommenderKind::Popularity);
        let mut made = train(&interactions, &parameters, number, Provenance::default()).unwrap();
        made.set_origin(recommender, NOW - days_ago * 86_400);
        made.write(root).unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_last_promotions_the_newest_and_the_young_stay() {
        let temp = tempfile::tempdir().unwrap();
        let (root, promoted) = (temp.path().join("artefacts"), temp.path().join("promoted"));
        let old: Vec<String> = (0..9).map(|number| artefact(&root, "ease", number, 100 - number as i64)).collect();
        let (behind, newest) = (artefact(&root, "popularity", 20, 300), artefact(&root, "popularity", 21, 200));
        let young = artefact(&root, "ials", 30, 6);
        let younger = artefact(&root, "ials", 31, 5);
        for (second, name) in (1..).zip(&old[..7]) {
            let wanted = domain::Promotion {
                fallback_artefact: (second == 7).then(|| behind.clone()),
                ..promotion("ease", name, second)
            };
            promotions::promote(&promoted, wanted).unwrap();
        }
        fs::create_dir(root.join("not-ours")).unwrap();
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        let swept = sweep_artefacts(&root, &promoted, now).unwrap();
        let mut expected: Vec<String> = old[2..7].to_vec();
        expected.extend([old[8].clone(), behind, newest, young, younger, "not-ours".to_owned()]);
        expected.sort();
        assert_eq!(artefacts::directory_names(&root).unwrap(), expected);
        assert_eq!(swept.files, 3 * 4, "three artefacts of four files");
        assert_eq!(sweep_artefacts(&root, &promoted, now).unwrap(), Swept::default());
    }
}
