//! A trained recommender on disk: a directory that is written once, named by its content, and never changed.
//!
//! `<root>/<kind>-<hash16>/` holds `artefact.json` ([`ArtefactHeader`]), `model.safetensors`, `items.json` (ids by
//! ordinal), where profiles count `features.json` (what the rows of `segment_scores` or `user_coefficients` stand for), where indicators
//! speak `things.json` ([`Thing`]s by ordinal behind the items), and `golden.json` ([`GoldenQuery`]s). It is written aside, synced, then renamed: a reader sees all of it or nothing.
//! Reading checks sizes, checksums, shapes and order, and asks the golden queries again; a damaged file is an error, never a panic.
//! Never here: which artefact serves (`promoted/`), retention; both belong to `pipeline`.
//! Start at [`Artefact::write`] and [`Artefact::read`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::{ItemId, Provenance, hash_bytes, hash_json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cold::encoder::Feature;
use crate::golden::{self, GoldenQuery};
use crate::models::Model;
use crate::scorer::{Part, Scorer};
use crate::tensors::{NamedTensor, TensorFile};
use crate::{Parameters, RecommendError, RecommenderKind, Thing, Weighting};

/// Version of the artefact directory; raise it when a reader of the old version would misread.
pub const ARTEFACT_FORMAT_VERSION: u32 = 4;

const HEADER_FILE: &str = "artefact.json";
const ITEMS_FILE: &str = "items.json";
const THINGS_FILE: &str = "things.json";
const GOLDEN_FILE: &str = "golden.json";
const FEATURES_FILE: &str = "features.json";
const MODEL_FILE: &str = "model.safetensors";

/// Hex digits of the hash that stand in the directory's name: 64 bits, far from collision among a project's artefacts.
const NAME_DIGITS: usize = 16;

/// A header is a page of text; a larger one is not ours.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// `artefact.json`: what the artefact is, where it comes from, and the checksums of the files beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtefactHeader {
    pub format_version: u32,
    pub kind: RecommenderKind,
    /// Name of the project's recommender that it was trained as; empty when nobody said.
    pub recommender: String,
    /// Every parameter, defaults included.
    pub parameters: BTreeMap<String, Value>,
    /// One, or one per part of a blend.
    pub weightings: Vec<Weighting>,
    pub seed: u64,
    pub users: u64,
    pub items: u64,
    pub events: u64,
    /// Distinct (user, item) pairs that were trained on.
    pub pairs: u64,
    /// Oldest and newest event, seconds since 1970 UTC.
    pub first_at: i64,
    pub last_at: i64,
    /// Figures that the caller wants to keep with it, such as `validation.ndcg@100`.
    pub metrics: BTreeMap<String, f64>,
    /// When it was trained, seconds since 1970 UTC, if the caller said; like the run, no part of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_at: Option<i64>,
    pub provenance: Provenance,
    /// Name → size and checksum of the other files; filled while writing.
    pub files: BTreeMap<String, FileDigest>,
}

/// Size and checksum of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    pub bytes: u64,
    /// SHA-256, in hex.
    pub sha256: String,
}

impl FileDigest {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: hash_bytes(bytes) }
    }
}

impl ArtefactHeader {
    /// Reads the header of an artefact's directory, and nothing else of it.
    pub fn read(directory: &Path) -> Result<Self, RecommendError> {
        read_header(directory)
    }

    /// `<kind>-<hash16>` over everything but the run that made it.
    fn directory_name(&self) -> Result<String, serde_json::Error> {
        let mut anonymous = self.clone();
        anonymous.provenance.run_id.clear();
        anonymous.trained_at = None;
        let hash = hash_json(&anonymous)?;
        Ok(format!("{}-{}", self.kind, &hash[..NAME_DIGITS]))
    }
}

/// A trained recommender with its ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Artefact {
    header: ArtefactHeader,
    items: Vec<ItemId>,
    /// Ordinals go on with them where indicators speak; else there are none.
    things: Vec<Thing>,
    scorer: Scorer,
    /// As read; empty until it is written, when they are asked for the first time.
    golden: Vec<GoldenQuery>,
}

impl Artefact {
    pub(crate) fn new(header: ArtefactHeader, items: Vec<ItemId>, things: Vec<Thing>, scorer: Scorer) -> Self {
        Self { header, items, things, scorer, golden: Vec::new() }
    }

    /// What it is and where it comes from.
    pub fn header(&self) -> &ArtefactHeader {
        &self.header
    }

    /// Item ids by ordinal; the order of ordinals is the order of ids.
    pub fn items(&self) -> &[ItemId] {
        &self.items
    }

    /// What else may speak in a history; the ordinal of the first is the number of items. Rising.
    pub fn things(&self) -> &[Thing] {
        &self.things
    }

    /// What it scores with.
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// Which recommender.
    pub fn kind(&self) -> RecommenderKind {
        self.header.kind
    }

    /// Keeps a figure with the artefact; call it before [`Artefact::write`], the figure is part of its name.
    pub fn add_metric(&mut self, name: impl Into<String>, value: f64) {
        self.header.metrics.insert(name.into(), value);
    }

    /// Says which of the project's recommenders it is, and when it was trained; call it before [`Artefact::write`].
    pub fn set_origin(&mut self, recommender: impl Into<String>, trained_at: i64) {
        self.header.recommender = recommender.into();
        self.header.trained_at = Some(trained_at);
    }

    /// Writes the directory under `root` and returns its path; if it is there already, nothing is written.
    ///
    /// Memory: the model once more, as bytes. A crash leaves at most a directory named `.writing-*`.
    pub fn write(&self, root: &Path) -> Result<PathBuf, RecommendError> {
        let model_path = root.join(MODEL_FILE);
        let tensors = self.tensors();
        let model = safetensors::serialize(tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)), None)
            .map_err(|error| RecommendError::corrupt(&model_path, error.to_string()))?;
        let not_json = |error: serde_json::Error| RecommendError::corrupt(root, error.to_string());
        let items = serde_json::to_vec(&self.items).map_err(not_json)?;
        let golden = match self.golden.as_slice() {
            [] => serde_json::to_vec(&golden::ask(&self.scorer, self.items.len(), self.header.last_at)),
            asked => serde_json::to_vec(asked),
        };
        let golden = golden.map_err(not_json)?;
        let mut files = vec![(MODEL_FILE, model), (ITEMS_FILE, items), (GOLDEN_FILE, golden)];
        if self.scorer.ordinals().is_some() {
            files.push((THINGS_FILE, serde_json::to_vec(&self.things).map_err(not_json)?));
        }
        let mut header = self.header.clone();
        let features = self.scorer.model().and_then(Model::features).map(serde_json::to_vec);
        if let Some(features) = features.transpose().map_err(not_json)? {
            files.push((FEATURES_FILE, features));
        }
        header.files = files.iter().map(|(name, bytes)| ((*name).to_owned(), FileDigest::of(bytes))).collect();
        let target = root.join(header.directory_name().map_err(not_json)?);
        if target.join(HEADER_FILE).exists() {
            return Ok(target);
        }
        let header = serde_json::to_vec_pretty(&header).map_err(not_json)?;
        let aside = aside(root);
        fs::create_dir_all(&aside).map_err(RecommendError::io("create", &aside))?;
        let written = files
            .iter()
            .try_for_each(|(name, bytes)| write_synced(&aside.join(name), bytes))
            .and_then(|()| write_synced(&aside.join(HEADER_FILE), &header))
            .and_then(|()| sync_directory(&aside))
            .and_then(|()| publish(&aside, &target));
        if written.is_err() {
            // The first error tells what went wrong; what is left aside is swept by its name.
            fs::remove_dir_all(&aside).ok();
        }
        written?;
        sync_directory(root)?;
        Ok(target)
    }

    /// Reads a directory and checks everything that serving relies on.
    ///
    /// Errors: `NoSuchArtefact`, `FormatVersion`, `Corrupt` (with the file and what is wrong, also when a golden query is answered
    /// differently), `Io`.
    pub fn read(directory: &Path) -> Result<Self, RecommendError> {
        let header = read_header(directory)?;
        let path = directory.join(HEADER_FILE);
        let parameters = Parameters::resolve(header.kind, &header.parameters)
            .map_err(|error| RecommendError::corrupt(&path, error.to_string()))?;
        let items_path = directory.join(ITEMS_FILE);
        let items: Vec<ItemId> = serde_json::from_slice(&read_checked(&header, directory, ITEMS_FILE)?)
            .map_err(|error| RecommendError::corrupt(&items_path, error.to_string()))?;
        if items.len() as u64 != header.items || items.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(RecommendError::corrupt(&items_path, "ids are missing, repeated or out of order"));
        }
        let model_path = directory.join(MODEL_FILE);
        let bytes = read_checked(&header, directory, MODEL_FILE)?;
        let mut tensors =
            TensorFile::parse(&bytes).map_err(|error| RecommendError::corrupt(&model_path, error.to_string()))?;
        let features = read_features(&header, directory)?;
        let parts = parts(&header, &parameters, (items.len(), features), &mut tensors, &model_path)?;
        let scorer = Scorer::new(header.kind, parts);
        let things = read_things(&header, directory, &scorer)?;
        let golden = read_golden(&header, directory)?;
        golden::replay(&golden, &scorer, &items).map_err(|detail| RecommendError::corrupt(&model_path, detail))?;
        Ok(Self { header, items, things, scorer, golden })
    }

    /// Named plainly, or `<part>.<name>` in a blend.
    fn tensors<'a>(&'a self) -> Vec<NamedTensor<'a>> {
        let parts = self.scorer.parts().iter().map(|part| part.model.tensors()).enumerate();
        let is_blend = self.kind() == RecommenderKind::Blend;
        let named =
            move |(place, tensor): (usize, NamedTensor<'a>)| if is_blend { tensor.of_part(place) } else { tensor };
        parts.flat_map(|(place, all)| all.into_iter().map(move |tensor| (place, tensor))).map(named).collect()
    }
}

/// The things of the indicators; those of each lie where the model expects them.
fn read_things(header: &ArtefactHeader, directory: &Path, scorer: &Scorer) -> Result<Vec<Thing>, RecommendError> {
    let Some(bounds) = scorer.bounds() else { return Ok(Vec::new()) };
    let path = directory.join(THINGS_FILE);
    let things: Vec<Thing> = serde_json::from_slice(&read_checked(header, directory, THINGS_FILE)?)
        .map_err(|error| RecommendError::corrupt(&path, error.to_string()))?;
    let items = bounds[1] as usize;
    let is_rising = things.windows(2).all(|pair| pair[0] < pair[1]);
    let is_whole = bounds.last().is_some_and(|ordinals| *ordinals as usize == items + things.len());
    if !is_rising || !is_whole {
        return Err(RecommendError::corrupt(&path, "things are missing, repeated or out of order"));
    }
    let of_one = |bounds: &[u32]| &things[bounds[0] as usize - items..bounds[1] as usize - items];
    if bounds[1..].windows(2).any(|pair| of_one(pair).windows(2).any(|two| two[0].indicator != two[1].indicator)) {
        return Err(RecommendError::corrupt(&path, "things of two indicators are mixed up"));
    }
    Ok(things)
}

fn read_golden(header: &ArtefactHeader, directory: &Path) -> Result<Vec<GoldenQuery>, RecommendError> {
    serde_json::from_slice(&read_checked(header, directory, GOLDEN_FILE)?)
        .map_err(|error| RecommendError::corrupt(&directory.join(GOLDEN_FILE), error.to_string()))
}

/// None where profiles do not count.
fn read_features(header: &ArtefactHeader, directory: &Path) -> Result<Vec<Feature>, RecommendError> {
    if !header.files.contains_key(FEATURES_FILE) {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&read_checked(header, directory, FEATURES_FILE)?)
        .map_err(|error| RecommendError::corrupt(&directory.join(FEATURES_FILE), error.to_string()))
}

/// The recommenders of an artefact, each with its weighting.
fn parts(
    header: &ArtefactHeader,
    parameters: &Parameters,
    (items, features): (usize, Vec<Feature>),
    tensors: &mut TensorFile<'_>,
    path: &Path,
) -> Result<Vec<Part>, RecommendError> {
    let of_parts: Vec<(f64, &Parameters)> = parameters.parts();
    if of_parts.len() != header.weightings.len() {
        let detail = format!("it has {} weightings for {} recommenders", header.weightings.len(), of_parts.len());
        return Err(RecommendError::corrupt(path, detail));
    }
    let mut parts = Vec::with_capacity(of_parts.len());
    for (place, ((weight, parameters), weighting)) in of_parts.into_iter().zip(&header.weightings).enumerate() {
        if header.kind == RecommenderKind::Blend {
            tensors.select_part(place);
        }
        let model = Model::from_tensors(parameters, items, features.clone(), tensors, path)?;
        parts.push(Part { weight: weight as f32, weighting: weighting.clone(), model: Arc::new(model) });
    }
    Ok(parts)
}

/// A name of our own under `root` for what is being written.
fn aside(root: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    root.join(format!(".writing-{}-{number}", std::process::id()))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), RecommendError> {
    let mut file = File::create(path).map_err(RecommendError::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(RecommendError::io("write", path))
}

fn sync_directory(path: &Path) -> Result<(), RecommendError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(RecommendError::io("sync", path))
}

/// Moves the finished directory to its name; if another writer was first, theirs has the same content.
fn publish(aside: &Path, target: &Path) -> Result<(), RecommendError> {
    match fs::rename(aside, target) {
        Ok(()) => Ok(()),
        Err(_) if target.join(HEADER_FILE).exists() => {
            fs::remove_dir_all(aside).map_err(RecommendError::io("remove", aside))
        }
        Err(error) => Err(RecommendError::io("rename", aside)(error)),
    }
}

fn read_header(directory: &Path) -> Result<ArtefactHeader, RecommendError> {
    let path = directory.join(HEADER_FILE);
    if !path.exists() {
        return Err(RecommendError::NoSuchArtefact { path: directory.to_owned() });
    }
    let size = fs::metadata(&path).map_err(RecommendError::io("read", &path))?.len();
    if size > MAX_HEADER_BYTES {
        return Err(RecommendError::corrupt(&path, format!("{size} bytes are too many for a header")));
    }
    let bytes = fs::read(&path).map_err(RecommendError::io("read", &path))?;
    let corrupt = |error: serde_json::Error| RecommendError::corrupt(&path, error.to_string());
    let value: Value = serde_json::from_slice(&bytes).map_err(corrupt)?;
    // The version is looked at before anything else: a newer format may not even deserialise.
    match value.get("format_version").and_then(Value::as_u64) {
        Some(found) if found == u64::from(ARTEFACT_FORMAT_VERSION) => {}
        Some(found) => {
            return Err(RecommendError::FormatVersion { path, found, supported: ARTEFACT_FORMAT_VERSION });
        }
        None => return Err(RecommendError::corrupt(&path, "`format_version` is missing")),
    }
    let header: ArtefactHeader = serde_json::from_value(value).map_err(corrupt)?;
    check_name(&header, directory, &path)?;
    Ok(header)
}

/// The header has no checksum beside it: the directory's name is one. A directory renamed by hand is not checked.
fn check_name(header: &ArtefactHeader, directory: &Path, path: &Path) -> Result<(), RecommendError> {
    let expected = header.directory_name().map_err(|error| RecommendError::corrupt(path, error.to_string()))?;
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_content_name = name.len() == expected.len()
        && name.rsplit_once('-').is_some_and(|(_, hash)| hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_content_name && name != expected {
        return Err(RecommendError::corrupt(path, format!("its content belongs to `{expected}`")));
    }
    Ok(())
}

fn read_checked(header: &ArtefactHeader, directory: &Path, name: &str) -> Result<Vec<u8>, RecommendError> {
    let path = directory.join(name);
    let Some(expected) = header.files.get(name) else {
        return Err(RecommendError::corrupt(&directory.join(HEADER_FILE), format!("`{name}` has no checksum")));
    };
    let size = fs::metadata(&path).map_err(RecommendError::io("read", &path))?.len();
    if size != expected.bytes {
        return Err(RecommendError::corrupt(&path, format!("it has {size} bytes instead of {}", expected.bytes)));
    }
    let bytes = fs::read(&path).map_err(RecommendError::io("read", &path))?;
    if FileDigest::of(&bytes) != *expected {
        return Err(RecommendError::corrupt(&path, "its checksum is not the one in artefact.json"));
    }
    Ok(bytes)
}
