//! Which artefact of a recommender exists for given inputs, and which one serves.
//!
//! In: provenance, names.  Out: directories under `artefacts/`, pointers `promoted/<recommender>/<n>.json` put if absent.
//! Never here: the artefact's own format (`recommend`), loading it to serve (`serving`).
//! Start at [`find`].

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use domain::{PROMOTION_FORMAT_VERSION, Promotion, Provenance};
use recommend::ArtefactHeader;

use crate::PipelineError;
use crate::feed::sync_directory;

/// The directory name and header of the artefact that was made from exactly this provenance.
pub(crate) fn find(root: &Path, wanted: &Provenance) -> Result<Option<(String, ArtefactHeader)>, PipelineError> {
    let identity = wanted.identity();
    for name in directory_names(root)? {
        // A directory without a readable header is no artefact: a crash leaves such a thing, and nobody points at it.
        let Ok(header) = ArtefactHeader::read(&root.join(&name)) else { continue };
        if header.provenance.identity() == identity {
            return Ok(Some((name, header)));
        }
    }
    Ok(None)
}

/// The newest promotion of one recommender.
pub(crate) fn promoted(root: &Path, recommender: &str) -> Result<Option<Promotion>, PipelineError> {
    let dir = root.join(recommender);
    let newest = directory_names(&dir)?.into_iter().filter(|name| name.ends_with(".json")).max();
    let Some(name) = newest else { return Ok(None) };
    let path = dir.join(name);
    let text = fs::read(&path).map_err(|error| PipelineError::io(&path, &error))?;
    let promotion = serde_json::from_slice(&text);
    promotion.map(Some).map_err(|error| PipelineError::json(&path.display().to_string(), &error))
}

/// The newest promotion of any recommender: what is served when nobody names one.
pub(crate) fn promoted_last(root: &Path) -> Result<Option<Promotion>, PipelineError> {
    let mut newest: Option<Promotion> = None;
    for recommender in directory_names(root)? {
        if let Some(promotion) = promoted(root, &recommender)?
            && newest.as_ref().is_none_or(|other| other.promoted_at < promotion.promoted_at)
        {
            newest = Some(promotion);
        }
    }
    Ok(newest)
}

/// Points at an artefact from now on. Returns the promotion and whether it is new; the same artefact is not promoted twice.
pub(crate) fn promote(root: &Path, wanted: Promotion) -> Result<(Promotion, bool), PipelineError> {
    let dir = root.join(&wanted.recommender);
    fs::create_dir_all(&dir).map_err(|error| PipelineError::io(&dir, &error))?;
    loop {
        let newest = promoted(root, &wanted.recommender)?;
        if let Some(newest) = &newest
            && newest.artefact == wanted.artefact
            && newest.fallback_artefact == wanted.fallback_artefact
            && newest.filter_seen == wanted.filter_seen
            && newest.rerank == wanted.rerank
            && promoted_last(root)?.is_some_and(|last| last.recommender == wanted.recommender)
        {
            return Ok((newest.clone(), false));
        }
        let number = newest.map_or(1, |newest| newest.number + 1);
        let promotion = Promotion { format_version: PROMOTION_FORMAT_VERSION, number, ..wanted.clone() };
        if put_if_absent(&dir, number, &promotion)? {
            return Ok((promotion, true));
        }
    }
}

/// Written aside and linked under its name: the link fails when somebody else was first, and no reader sees half a file.
fn put_if_absent(dir: &Path, number: u64, promotion: &Promotion) -> Result<bool, PipelineError> {
    let text = serde_json::to_vec_pretty(promotion).map_err(|error| PipelineError::json("promotion", &error))?;
    let aside = dir.join(format!(".{}.tmp", promotion.provenance.run_id));
    let target = dir.join(format!("{number:020}.json"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&aside)
        .map_err(|error| PipelineError::io(&aside, &error))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(|error| PipelineError::io(&aside, &error))?;
    let linked = fs::hard_link(&aside, &target);
    fs::remove_file(&aside).map_err(|error| PipelineError::io(&aside, &error))?;
    match linked {
        Ok(()) => sync_directory(dir).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(PipelineError::io(&target, &error)),
    }
}

/// Names in a directory that do not begin with a dot, sorted; none when there is no such directory.
fn directory_names(root: &Path) -> Result<Vec<String>, PipelineError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PipelineError::io(root, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| PipelineError::io(root, &error))?;
        names.extend(entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use domain::RerankRules;

    use super::*;

    fn promotion(recommender: &str, artefact: &str, second: i64) -> Promotion {
        Promotion {
            format_version: PROMOTION_FORMAT_VERSION,
            number: 0,
            recommender: recommender.to_owned(),
            artefact: artefact.to_owned(),
            fallback_artefact: None,
            filter_seen: true,
            rerank: RerankRules::default(),
            promoted_at: chrono::DateTime::from_timestamp(second, 0).unwrap(),
            reason: "test".to_owned(),
            provenance: Provenance { run_id: format!("r{second}"), ..Provenance::default() },
        }
    }

    #[test]
    fn promotions_count_up_and_the_same_artefact_is_promoted_once() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        assert!(promote(root, promotion("ease", "a", 1)).unwrap().1);
        assert!(!promote(root, promotion("ease", "a", 2)).unwrap().1);
        let (second, is_new) = promote(root, promotion("ease", "b", 3)).unwrap();
        assert_eq!((second.number, is_new), (2, true));
        assert_eq!(promoted(root, "ease").unwrap().unwrap().artefact, "b");
    }

    #[test]
    fn going_back_to_a_recommender_promotes_it_again() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        promote(root, promotion("ease", "a", 1)).unwrap();
        promote(root, promotion("ials", "x", 2)).unwrap();
        assert_eq!(promoted_last(root).unwrap().unwrap().recommender, "ials");
        assert!(promote(root, promotion("ease", "a", 3)).unwrap().1);
        assert_eq!(promoted_last(root).unwrap().unwrap().recommender, "ease");
    }
}
