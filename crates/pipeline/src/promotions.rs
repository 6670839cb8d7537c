//! Which artefacts have served, which one serves, and pointing at another.
//!
//! In: names, a [`Promotion`].  Out: pointers `promoted/<recommender>/<n>.json`, put if absent; `n` counts the promotions of all
//! recommenders, so that a number says what served after what.
//! Never here: whether something may be promoted (`steps::evaluate`, `steps::rec`), loading it to serve (`serving`).
//! Start at [`promote`].

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use domain::{PROMOTION_FORMAT_VERSION, Promotion};

use crate::PipelineError;
use crate::artefacts::directory_names;
use crate::feed::sync_directory;

/// Numbers that are taken, one empty file each. Two who promote different recommenders at once meet here.
const CLAIMS: &str = ".numbers";

/// Every promotion, oldest first.
///
/// A file that is damaged is left out, as serving does, which serves the one before it.
pub(crate) fn all(root: &Path) -> Result<Vec<Promotion>, PipelineError> {
    let mut promotions = Vec::new();
    for recommender in directory_names(root)? {
        let dir = root.join(&recommender);
        for name in directory_names(&dir)?.into_iter().filter(|name| name.ends_with(".json")) {
            let path = dir.join(name);
            let text = fs::read(&path).map_err(|error| PipelineError::io(&path, &error))?;
            promotions.extend(serde_json::from_slice::<Promotion>(&text));
        }
    }
    promotions.sort_by_key(|promotion| (promotion.number, promotion.promoted_at));
    Ok(promotions)
}

/// The newest promotion of one recommender.
pub(crate) fn promoted(root: &Path, recommender: &str) -> Result<Option<Promotion>, PipelineError> {
    Ok(all(root)?.into_iter().rfind(|promotion| promotion.recommender == recommender))
}

/// The newest promotion of any recommender: what is served when nobody names one.
pub(crate) fn promoted_last(root: &Path) -> Result<Option<Promotion>, PipelineError> {
    Ok(all(root)?.pop())
}

/// Points at an artefact from now on. Returns the promotion and whether it is new; what serves already is not promoted again.
pub(crate) fn promote(root: &Path, wanted: Promotion) -> Result<(Promotion, bool), PipelineError> {
    if let Some(serving) = promoted_last(root)?.filter(|serving| serves_the_same(serving, &wanted)) {
        return Ok((serving, false));
    }
    let dir = root.join(&wanted.recommender);
    fs::create_dir_all(&dir).map_err(|error| PipelineError::io(&dir, &error))?;
    loop {
        let number = claim(root)?;
        let promotion = Promotion { format_version: PROMOTION_FORMAT_VERSION, number, ..wanted.clone() };
        if put_if_absent(&dir, number, &promotion)? {
            return Ok((promotion, true));
        }
    }
}

/// Whether a reader would notice no difference between two promotions.
pub(crate) fn serves_the_same(one: &Promotion, other: &Promotion) -> bool {
    one.recommender == other.recommender
        && one.artefact == other.artefact
        && one.fallback_artefact == other.fallback_artefact
        && one.filter_seen == other.filter_seen
        && one.rerank == other.rerank
}

/// Takes the next number, for nobody else to have. A crash before the promotion leaves a gap, which means nothing.
fn claim(root: &Path) -> Result<u64, PipelineError> {
    let claims = root.join(CLAIMS);
    fs::create_dir_all(&claims).map_err(|error| PipelineError::io(&claims, &error))?;
    let mut highest = highest_number(&claims)?;
    for recommender in directory_names(root)? {
        highest = highest.max(highest_number(&root.join(recommender))?);
    }
    loop {
        highest += 1;
        let path = claims.join(format!("{highest:020}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => return sync_directory(&claims).map(|()| highest),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(PipelineError::io(&path, &error)),
        }
    }
}

/// The highest number that a file of this directory is named by, 0 without one.
fn highest_number(dir: &Path) -> Result<u64, PipelineError> {
    let names = directory_names(dir)?;
    Ok(names.iter().filter_map(|name| name.trim_end_matches(".json").parse().ok()).max().unwrap_or(0))
}

/// Written aside and linked under its name: the link fails when somebody else was first, and no reader sees half a file.
fn put_if_absent(dir: &Path, number: u64, promotion: &Promotion) -> Result<bool, PipelineError> {
    let text = serde_json::to_vec_pretty(promotion).map_err(|error| PipelineError::json("promotion", &error))?;
    let aside = dir.join(format!(".{}-{number}.tmp", promotion.provenance.run_id));
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
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(PipelineError::io(&target, &error)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::{Provenance, RerankRules};

    use super::*;

    pub(crate) fn promotion(recommender: &str, artefact: &str, second: i64) -> Promotion {
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
            metrics: Default::default(),
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
        assert_eq!(promote(root, promotion("ials", "x", 2)).unwrap().0.number, 2);
        assert_eq!(promoted_last(root).unwrap().unwrap().recommender, "ials");
        assert_eq!(promote(root, promotion("ease", "a", 3)).unwrap(), {
            let again = promoted_last(root).unwrap().unwrap();
            assert_eq!((again.recommender.as_str(), again.number), ("ease", 3));
            (again, true)
        });
        fs::write(root.join("ials").join(format!("{:020}.json", 4)), "half a fi").unwrap();
        assert_eq!(promoted_last(root).unwrap().unwrap().number, 3, "a damaged one does not hide the one before it");
        assert_eq!(promote(root, promotion("ials", "x", 5)).unwrap().0.number, 5, "and its number stays taken");
    }

    #[test]
    fn many_at_once_get_numbers_of_their_own() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        let mut numbers: Vec<u64> = std::thread::scope(|scope| {
            let each = |second: i64| {
                let recommender = if second % 2 == 0 { "ease" } else { "ials" };
                promote(root, promotion(recommender, &format!("a{second}"), second)).unwrap().0.number
            };
            let threads: Vec<_> = (1..=16).map(|second| scope.spawn(move || each(second))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=16).collect::<Vec<u64>>());
        assert_eq!(all(root).unwrap().len(), 16);
    }
}
