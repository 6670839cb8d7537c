//! Rules about who may know whom: floors, the rooms of the heavy libraries, closures, one version of the engine.
//!
//! In: the crates' manifests, their sources, `Cargo.lock`.  Out: violations.
//! Never here: rules about text (see `text`).
//! Start at [`FLOORS`], the table of ARCHITECTURE.md as code.

use crate::lock::Lock;
use crate::manifest::{Kind, Manifest};
use crate::{Repository, Violation};

/// A crate depends only on crates of lower floors; neighbours never know each other. Rooms that are still to be built have their floor already.
const FLOORS: &[(&str, u8)] = &[
    ("domain", 0),
    ("connect", 1),
    ("warehouse", 1),
    ("recommend", 1),
    ("experiment", 1),
    ("event_log", 1),
    ("http_server", 1),
    ("loadtest", 1),
    ("pipeline", 2),
    ("serving", 2),
    ("gateway", 2),
    ("control", 2),
    ("edge", 3),
    ("app", 4),
];
/// Starts real servers for tests: on the floor above `domain`, and only ever a dev-dependency.
const TEST_ONLY: &str = "testbed";
/// This crate: depends on nothing.
const JUDGE: &str = "tidy";

/// Who may name a library, in a manifest or in a source file.
struct Room {
    library: &'static str,
    /// Path prefixes under `crates/` whose files may name it.
    sources: &'static [&'static str],
    /// Whether the crates' own tests may name it as well.
    tests_too: bool,
}

/// Where Arrow batches travel: the two rooms that make them, and the files of the pipeline that carry them from one to the other.
const BATCHES: &[&str] =
    &["connect/", "warehouse/", "pipeline/src/steps/", "pipeline/src/publish/", "pipeline/src/rows.rs"];

const ROOMS: &[Room] = &[
    Room { library: "datafusion", sources: &["warehouse/"], tests_too: false },
    Room { library: "deltalake", sources: &["warehouse/"], tests_too: false },
    Room { library: "arrow", sources: BATCHES, tests_too: true },
    Room { library: "parquet", sources: BATCHES, tests_too: true },
    Room { library: "sqlx", sources: &["connect/", "control/"], tests_too: true },
    Room { library: "mysql_async", sources: &["connect/"], tests_too: true },
    Room { library: "anyhow", sources: &["app/"], tests_too: true },
];

/// The data engine, its file formats, the SQL drivers: what batch needs and online must not carry.
const ENGINE: &[&str] = &[
    "arrow",
    "arrow-*",
    "parquet",
    "parquet-*",
    "datafusion",
    "datafusion-*",
    "deltalake",
    "deltalake-*",
    "delta_kernel",
    "delta_kernel_*",
    "ballista",
    "ballista-*",
    "sqlx",
    "sqlx-*",
    "mysql_async",
    "mysql_common",
    "object_store",
];
/// Kinds of program that computing rooms stay free of.
const RUNTIMES: &[&str] = &["tokio", "tokio-*", "hyper", "axum"];

/// Crate, and what may not be in everything that it brings along.
const CLOSURES: &[(&str, &[&[&str]])] = &[
    ("domain", &[ENGINE, RUNTIMES]),
    ("recommend", &[ENGINE, RUNTIMES]),
    ("http_server", &[ENGINE]),
    ("serving", &[ENGINE]),
    ("edge", &[ENGINE]),
];

/// Packages of which a second version would mean a second engine: minutes of build time, and types that do not fit.
const SINGLE: &[&str] =
    &["datafusion", "deltalake", "arrow", "arrow-array", "arrow-schema", "parquet", "object_store", "sqlparser"];

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, floor)| *floor)
}

fn manifest(repository: &Repository, name: &str) -> (String, Manifest) {
    let path = format!("crates/{name}/Cargo.toml");
    let manifest = Manifest::parse(repository.text(&path).unwrap_or_default());
    (path, manifest)
}

/// A crate depends only on lower floors; `testbed` serves tests only; `tidy` depends on nothing.
pub(crate) fn dependencies_go_down(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    let members: Vec<&str> = repository.crates().collect();
    for name in &members {
        let (path, manifest) = manifest(repository, name);
        let mut complain = |line: usize, what: String| violations.push(Violation { path: path.clone(), line, what });
        if *name == JUDGE {
            for dependency in &manifest.dependencies {
                complain(
                    dependency.line,
                    format!("`{JUDGE}` depends on `{}`; it uses the standard library only", dependency.name),
                );
            }
            continue;
        }
        let own = if *name == TEST_ONLY { Some(1) } else { floor(name) };
        let Some(own) = own else {
            complain(
                0,
                format!("crate `{name}` has no floor; give it one in crates/tidy/src/floors.rs and in ARCHITECTURE.md"),
            );
            continue;
        };
        for dependency in manifest.dependencies.iter().filter(|dependency| members.contains(&dependency.name.as_str()))
        {
            if dependency.name == TEST_ONLY {
                if dependency.kind != Kind::Dev {
                    complain(dependency.line, format!("`{TEST_ONLY}` is for tests; make it a dev-dependency"));
                }
            } else if floor(&dependency.name).is_none_or(|other| other >= own) {
                complain(
                    dependency.line,
                    format!(
                        "`{name}` (floor {own}) depends on `{}`, which is not on a lower floor; move what both need down",
                        dependency.name
                    ),
                );
            }
        }
    }
    violations
}

/// Only the room that owns a library names it; the others see the room's own types.
pub(crate) fn libraries_stay_in_their_room(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for room in ROOMS {
        let owners: Vec<&str> = room.sources.iter().filter_map(|source| source.split('/').next()).collect();
        let way_out = format!("only {} may; let it offer what is needed", room.sources.join(", "));
        for name in repository.crates().filter(|name| !owners.contains(name)) {
            let (path, manifest) = manifest(repository, name);
            for dependency in
                manifest.dependencies.iter().filter(|dependency| !(room.tests_too && dependency.kind == Kind::Dev))
            {
                if dependency.name == room.library || dependency.name.starts_with(&format!("{}-", room.library)) {
                    let what = format!("`{name}` depends on `{}`: {way_out}", dependency.name);
                    violations.push(Violation { path: path.clone(), line: dependency.line, what });
                }
            }
        }
        for (path, text) in repository.ending_with(".rs") {
            let Some(inside) = path.strip_prefix("crates/").filter(|inside| !inside.starts_with(JUDGE)) else {
                continue;
            };
            let is_test = inside.contains("/tests/");
            if room.sources.iter().any(|source| inside.starts_with(source)) || (room.tests_too && is_test) {
                continue;
            }
            for (index, line) in text.lines().enumerate().filter(|(_, line)| names_library(line, room.library)) {
                let what = format!("names `{}` in `{}`: {way_out}", room.library, line.trim());
                violations.push(Violation { path: path.to_owned(), line: index + 1, what });
            }
        }
    }
    violations
}

/// Whether a line of code uses a path that begins with the library: `arrow::array`, `use parquet as p`.
fn names_library(line: &str, library: &str) -> bool {
    let code = line.trim_start();
    if code.starts_with("//") {
        return false;
    }
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(library).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        let after = &code[start + library.len()..];
        let follows_path = code[..start].ends_with("::");
        let is_whole = before.is_none_or(|character| !is_word(character)) && !after.starts_with(is_word);
        let is_path = after.starts_with("::")
            || code.starts_with(&format!("use {library}"))
            || code.starts_with(&format!("extern crate {library}"));
        is_whole && is_path && (!follows_path || code[..start].trim_end_matches("::").is_empty())
    })
}

/// What a crate brings along stays free of what its door promises not to carry.
pub(crate) fn closures_stay_small(repository: &Repository) -> Vec<Violation> {
    let Some(lock) = repository.text("Cargo.lock").map(Lock::parse) else { return Vec::new() };
    let mut violations = Vec::new();
    for (name, forbidden) in CLOSURES {
        let is_shipped = |owner: &str, dependency: &str| {
            let (_, manifest) = manifest(repository, owner);
            // Package names may hold `-` where manifests hold `_` only if renamed, which the workspace does not do.
            manifest.shipped().any(|shipped| shipped.name == dependency)
        };
        for (package, chain) in lock.closure(name, is_shipped) {
            if forbidden.iter().any(|patterns| matches_any(&package, patterns)) {
                let what = format!("`{name}` brings `{package}` along: {}", chain.join(" -> "));
                violations.push(Violation { path: format!("crates/{name}/Cargo.toml"), line: 0, what });
            }
        }
    }
    violations
}

fn matches_any(package: &str, patterns: &[&str]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => package.starts_with(prefix),
        None => package == *pattern,
    })
}

/// One version each of the engine, Arrow, Parquet, the object store and Delta.
pub(crate) fn engine_has_one_version(repository: &Repository) -> Vec<Violation> {
    let Some(lock) = repository.text("Cargo.lock").map(Lock::parse) else { return Vec::new() };
    SINGLE
        .iter()
        .map(|name| (name, lock.versions(name)))
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| Violation {
            path: "Cargo.lock".to_owned(),
            line: 0,
            what: format!(
                "`{name}` is there as {}; `cargo tree -i {name}` shows who asks for each",
                versions.join(" and ")
            ),
        })
        .collect()
}

/// Every crate is under the lints of the workspace.
pub(crate) fn lints_are_shared(repository: &Repository) -> Vec<Violation> {
    repository
        .crates()
        .map(|name| manifest(repository, name))
        .filter(|(_, manifest)| !manifest.takes_workspace_lints)
        .map(|(path, _)| Violation { path, line: 0, what: "add `[lints]` with `workspace = true`".to_owned() })
        .collect()
}
