//! Which artefacts exist, which one was made from given inputs, and whose they are.
//!
//! In: the directory `artefacts/`, provenance, recommenders of the project.  Out: names and headers.
//! Never here: the artefact's own format (`recommend`), which one serves (`promotions`).
//! Start at [`find`] and [`all`].

use std::fs;
use std::path::Path;

use domain::Provenance;
use recommend::{ArtefactHeader, RecommendError, RecommenderFile};

use crate::PipelineError;

/// An artefact's directory name and its header.
pub(crate) type Named = (String, ArtefactHeader);

/// A directory that has no header which this program reads, and why.
type Unread = (String, RecommendError);

/// The artefact that was made from exactly this provenance.
pub(crate) fn find(root: &Path, wanted: &Provenance) -> Result<Option<Named>, PipelineError> {
    let identity = wanted.identity();
    Ok(all(root)?.0.into_iter().find(|(_, header)| header.provenance.identity() == identity))
}

/// Every artefact, newest last; and the directories without a header that this program reads, with the reason.
///
/// A crash leaves such a directory, and so does an older version of the program.
pub(crate) fn all(root: &Path) -> Result<(Vec<Named>, Vec<Unread>), PipelineError> {
    let (mut artefacts, mut unreadable) = (Vec::new(), Vec::new());
    for name in directory_names(root)? {
        match ArtefactHeader::read(&root.join(&name)) {
            Ok(header) => artefacts.push((name, header)),
            Err(error) => unreadable.push((name, error)),
        }
    }
    artefacts.sort_by(|(one, a), (other, b)| (a.trained_at, a.last_at, one).cmp(&(b.trained_at, b.last_at, other)));
    Ok((artefacts, unreadable))
}

/// Whether an artefact is a training of this recommender: by the name it was trained as, or because kind, parameters and table are
/// those of the file (two recommenders that differ only in what happens after scoring share their artefacts).
pub(crate) fn is_of(
    header: &ArtefactHeader,
    name: &str,
    file: Option<&RecommenderFile>,
) -> Result<bool, PipelineError> {
    if header.recommender == name {
        return Ok(true);
    }
    let Some(file) = file.filter(|file| header.provenance.inputs.contains_key(&file.interactions.to_string())) else {
        return Ok(false);
    };
    Ok(header.provenance.config_hash == config_hash(file)?)
}

/// What of a recommender's file shapes its artefact.
pub(crate) fn config_hash(file: &RecommenderFile) -> Result<String, PipelineError> {
    let parameters = file.parameters()?;
    domain::hash_json(&(file.kind, parameters.to_map())).map_err(|error| PipelineError::json("parameters", &error))
}

/// Names in a directory that do not begin with a dot, sorted; none when there is no such directory.
pub(crate) fn directory_names(root: &Path) -> Result<Vec<String>, PipelineError> {
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
