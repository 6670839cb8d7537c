//! Walks a project directory and reads its files; then checks that they fit each other.
//!
//! In: a directory.  Out: a [`Project`], or the first mistake with its place.
//! Never here: what the keys of a part mean (the room that owns it).
//! Start at [`read_project`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use domain::{Problem, TableName};
use recommend::{RecommendError, RecommenderFile};
use warehouse::{Check, CheckFile, Model, WarehouseError};

use super::document::Document;
use super::experiments;
use super::off_policy;
use super::settings::Settings;
use super::source::SourceFile;
use super::sync::SyncFile;
use super::{PROJECT_FILE, Project};
use crate::error::{FileProblem, PipelineError};

/// Reads everything in `dir`.
pub(super) fn read_project(dir: &Path) -> Result<Project, PipelineError> {
    let dir = std::path::absolute(dir).map_err(|error| PipelineError::io(dir, &error))?;
    if !dir.join(PROJECT_FILE).is_file() {
        return Err(PipelineError::NoProject { start: dir });
    }
    let settings = Settings::read(&Document::read(&dir, PROJECT_FILE)?)?;
    let mut documents = Vec::new();
    let sources = read_folder(&dir, "sources", &mut documents, SourceFile::read)?;
    let models = read_models(&dir)?;
    let checks = read_folder(&dir, "checks", &mut documents, |_, document| read_checks(document))?;
    let recommenders = read_folder(&dir, "recommenders", &mut documents, |_, document| read_recommender(document))?;
    let syncs =
        read_folder(&dir, "publish", &mut documents, |name, document| SyncFile::read(name, document, &settings))?;
    let metrics = read_folder(&dir, "metrics", &mut documents, |_, document| experiments::read_metric(document))?;
    let experiments =
        read_folder(&dir, "experiments", &mut documents, |_, document| experiments::read_experiment(document))?;
    let policies = read_folder(&dir, "off_policy", &mut documents, |_, document| off_policy::read_policy(document))?;
    let checks = checks.into_values().flatten().collect();
    let project =
        Project { dir, settings, sources, models, checks, recommenders, syncs, metrics, experiments, policies };
    fit(&project, &documents)?;
    Ok(project)
}

/// Reads `folder/*.toml`, sorted by name; keeps the documents, because later checks point into them.
fn read_folder<T>(
    dir: &Path,
    folder: &str,
    documents: &mut Vec<Document>,
    read: impl Fn(&str, &Document) -> Result<T, PipelineError>,
) -> Result<BTreeMap<String, T>, PipelineError> {
    let mut parts = BTreeMap::new();
    for path in list(&dir.join(folder), "toml")? {
        let name = stem(&path);
        let relative = format!("{folder}/{name}.toml");
        if !is_name(&name) {
            let problem = FileProblem::at_start(&relative, "bad_name", format!("`{name}` cannot be a name"));
            return Err(problem.with_help("rename the file: letters, digits, `_` and `-`".to_owned()).into());
        }
        let document = Document::read(dir, &relative)?;
        parts.insert(name.clone(), read(&name, &document)?);
        documents.push(document);
    }
    Ok(parts)
}

/// Names appear in paths, table names and commands.
fn is_name(name: &str) -> bool {
    name.starts_with(char::is_alphanumeric) && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

/// Files of `dir` with this extension, sorted; none when the directory does not exist. Hidden files are left out.
fn list(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, PipelineError> {
    let mut paths = entries(dir)?;
    paths.retain(|path| path.is_file() && path.extension().is_some_and(|found| found == extension));
    Ok(paths)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, PipelineError> {
    let found = match fs::read_dir(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PipelineError::io(dir, &error)),
    };
    let mut paths = Vec::new();
    for entry in found {
        let path = entry.map_err(|error| PipelineError::io(dir, &error))?.path();
        if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Reads `models/<schema>/<name>.sql`.
fn read_models(dir: &Path) -> Result<Vec<Model>, PipelineError> {
    let folder = dir.join("models");
    if let Some(stray) = list(&folder, "sql")?.first() {
        let relative = format!("models/{}.sql", stem(stray));
        let problem = FileProblem::at_start(&relative, "bad_place", "this model has no schema".to_owned());
        return Err(problem.with_help(format!("move it to models/<schema>/{}.sql", stem(stray))).into());
    }
    let mut models = Vec::new();
    for schema_dir in entries(&folder)?.into_iter().filter(|path| path.is_dir()) {
        let schema = schema_dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for path in list(&schema_dir, "sql")? {
            let relative = format!("models/{schema}/{}.sql", stem(&path));
            let document = Document::read(dir, &relative)?;
            let model = Model::parse(&schema, &stem(&path), &relative, &document.text);
            models.push(model.map_err(|error| placed(&document, error))?);
        }
    }
    Ok(models)
}

fn read_checks(document: &Document) -> Result<Vec<Check>, PipelineError> {
    let file: CheckFile = document.parse()?;
    file.into_checks(&document.path).map_err(|error| placed(document, error))
}

/// Gives an error of the warehouse about a file the place that it names as `path:line:column`.
fn placed(document: &Document, error: WarehouseError) -> PipelineError {
    let (WarehouseError::Model { message, at, help }
    | WarehouseError::Check { message, at, help }
    | WarehouseError::Sql { message, at, help }) = &error
    else {
        return error.into();
    };
    let Some(rest) = at.strip_prefix(document.path.as_str()) else { return error.into() };
    let mut numbers = rest.split(':').skip(1).map(|number| number.parse::<usize>().unwrap_or(1));
    let (line, column) = (numbers.next().unwrap_or(1).max(1), numbers.next().unwrap_or(1).max(1));
    let start: usize = document.text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let mut problem = document.problem(start..start, error.code(), message.clone());
    problem.column = column;
    match help {
        Some(help) => problem.with_help(help.clone()).into(),
        None => problem.into(),
    }
}

/// Reads one recommender; parameters are checked here, so that a wrong one has its place in the file.
fn read_recommender(document: &Document) -> Result<RecommenderFile, PipelineError> {
    let file: RecommenderFile = document.parse()?;
    let Err(error) = file.parameters() else { return Ok(file) };
    let (mut keys, mut note) = (vec!["parameters"], None);
    if let RecommendError::UnknownParameter { name, .. } | RecommendError::BadParameter { name, .. } = &error {
        keys.push(name);
    }
    if let RecommendError::UnknownParameter { known, .. } = &error {
        note = Some(format!("expected {}", one_of(known)));
    }
    // The room's sentence ends in its own suggestion, which we give as help.
    let sentence = error.to_string();
    let (message, meant) = split_suggestion(&sentence);
    let problem = document.problem_at(&keys, error.code(), message.to_owned()).with_note(note);
    Err(match meant.map(str::to_owned).or_else(|| error.help()) {
        Some(help) => problem.with_help(help).into(),
        None => problem.into(),
    })
}

/// `what is wrong; did you mean this?` → (what is wrong, did you mean this?).
pub(super) fn split_suggestion(sentence: &str) -> (&str, Option<&str>) {
    match sentence.split_once("; did you mean ") {
        Some((message, _)) => (message, Some(&sentence[message.len() + 2..])),
        None => (sentence, None),
    }
}

fn one_of(names: &[String]) -> String {
    let list = crate::nearest::list_names(names.iter().map(String::as_str));
    if names.len() == 1 { list } else { format!("one of {list}") }
}

/// Checks what one file says about another.
fn fit(project: &Project, documents: &[Document]) -> Result<(), PipelineError> {
    targets_differ(project, documents)?;
    let names = project.table_names();
    let known: Vec<String> = names.iter().map(ToString::to_string).collect();
    for (name, recommender) in &project.recommenders {
        let path = format!("recommenders/{name}.toml");
        expect_table(&recommender.interactions, &known, documents, &path, &["interactions"])?;
        if let Some(items) = &recommender.items {
            expect_table(items, &known, documents, &path, &["items"])?;
        }
        if let Some(users) = &recommender.users {
            expect_table(users, &known, documents, &path, &["users"])?;
        }
        for indicator in &recommender.indicators {
            expect_table(&indicator.mart, &known, documents, &path, &["indicators"])?;
        }
    }
    indicators_agree(project, documents)?;
    for sync in project.syncs.values() {
        if let Some(table) = sync.from_table() {
            expect_table(&table, &known, documents, &sync.path, &["from"])?;
        }
    }
    experiments::fit(project, documents, &known)?;
    off_policy::fit(project, documents, &known)
}

/// One feed carries the indicators of all recommenders, so a name means the same everywhere.
fn indicators_agree(project: &Project, documents: &[Document]) -> Result<(), PipelineError> {
    let mut owners: BTreeMap<&String, (&TableName, &String)> = BTreeMap::new();
    for (name, recommender) in &project.recommenders {
        for indicator in &recommender.indicators {
            let (mart, owner) = owners.entry(&indicator.name).or_insert((&indicator.mart, name));
            if *mart != &indicator.mart {
                let message = format!("indicator `{}` is `{mart}` in recommenders/{owner}.toml", indicator.name);
                let path = format!("recommenders/{name}.toml");
                let problem = at(documents, &path, &["indicators"], "different_indicator", message);
                return Err(problem.with_help("give one of them another name".to_owned()).into());
            }
        }
    }
    Ok(())
}

/// Two source tables with one target would load over each other.
fn targets_differ(project: &Project, documents: &[Document]) -> Result<(), PipelineError> {
    let mut owners: BTreeMap<&TableName, String> = BTreeMap::new();
    for model in &project.models {
        owners.insert(&model.table, model.path.clone());
    }
    for source in project.sources.values() {
        for table in source.tables.values() {
            let owner = format!("{} [tables.{}]", source.path, table.name);
            if let Some(first) = owners.insert(&table.target, owner) {
                let message = format!("`{}` is made by {first} already", table.target);
                let problem =
                    at(documents, &source.path, &["tables", &table.name, "into"], "duplicate_target", message);
                return Err(problem.with_help("give one of them another target: `into = \"raw.…\"`".to_owned()).into());
            }
        }
    }
    Ok(())
}

pub(super) fn expect_table(
    table: &TableName,
    known: &[String],
    documents: &[Document],
    path: &str,
    key: &[&str],
) -> Result<(), PipelineError> {
    let name = table.to_string();
    if known.contains(&name) {
        return Ok(());
    }
    let message = format!("no source and no model makes table `{name}`");
    Err(at(documents, path, key, "no_such_table", message).with_nearest(&name, known.iter().map(String::as_str)).into())
}

pub(super) fn at(
    documents: &[Document],
    path: &str,
    keys: &[&str],
    code: &'static str,
    message: String,
) -> FileProblem {
    match documents.iter().find(|document| document.path == path) {
        Some(document) => document.problem_at(keys, code, message),
        None => FileProblem::at_start(path, code, message),
    }
}
