//! `doctor`: looks for what is wrong with a project and this machine, and says what to do about it.
//!
//! In: where to look from, and the clock.  Out: findings; it never stops at the first.
//! Never here: mending; anything that stays behind (what it writes, it removes).
//! Start at [`run`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use connect::{DiscoveredTable, Examined, Source, Store, open_store};
use domain::Problem;
use object_store::{ObjectStoreExt, PutMode, PutOptions};

use super::extract::open_source;
use crate::nearest::nearest;
use crate::project::{Project, SourceFile, SourceKind};

/// How long a source may take to list its tables. A database that needs longer will not extract well either.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(15);
/// A connector takes up to 40 s to start, and its image may have to be fetched first.
const CONNECTOR_TIMEOUT: Duration = Duration::from_secs(300);
/// Below this, runs will soon fail: the example project needs about 200 MB.
const LITTLE_SPACE: u64 = 2_000_000_000;
const NO_SPACE: u64 = 200_000_000;
/// S3 refuses requests whose clock is off by more than 15 minutes; half of that deserves a warning.
const CLOCK_WARNING_MINUTES: i64 = 7;
const CLOCK_LIMIT_MINUTES: i64 = 15;

/// Where to look from.
#[derive(Debug, Clone)]
pub struct Request {
    pub start: PathBuf,
    pub now: DateTime<Utc>,
    /// Names what is written for a moment.
    pub run_id: String,
}

/// Everything that was looked at.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    pub what: String,
    pub verdict: Verdict,
    pub detail: String,
    /// What to do, unless all is well.
    pub next: Option<String>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Report {
    /// The worst of all findings.
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
    }

    fn ok(&mut self, what: &str, detail: String) {
        self.findings.push(Finding { what: what.to_owned(), verdict: Verdict::Ok, detail, next: None });
    }

    fn warn(&mut self, what: &str, detail: String, next: &str) {
        self.findings.push(Finding {
            what: what.to_owned(),
            verdict: Verdict::Warn,
            detail,
            next: Some(next.to_owned()),
        });
    }

    fn fail(&mut self, what: &str, detail: String, next: Option<String>) {
        self.findings.push(Finding { what: what.to_owned(), verdict: Verdict::Fail, detail, next });
    }

    fn problem(&mut self, what: &str, problem: &dyn Problem) {
        self.fail(what, problem.to_string(), problem.help());
    }
}

/// Looks at everything.
pub async fn run(request: Request) -> Report {
    let mut report = Report { findings: Vec::new() };
    let project = match Project::discover(&request.start).and_then(|dir| Project::open(&dir)) {
        Ok(project) => project,
        Err(error) => {
            report.problem("project", &error);
            look_at_space(&mut report, &request.start);
            return report;
        }
    };
    report.ok("project", describe(&project));
    look_at_space(&mut report, project.dir());
    let locations = &project.settings;
    for (what, location) in [("stage", &locations.stage.location), ("warehouse", &locations.warehouse.location)] {
        look_at_store(&mut report, what, location, &project, &request).await;
    }
    for source in project.sources.values() {
        look_at_source(&mut report, &project, source).await;
    }
    for sync in project.syncs.values() {
        let what = format!("sync {}", sync.name);
        match sync.resolve_url() {
            Ok(_) => report.ok(&what, format!("address of {} is set", sync.table)),
            Err(error) => report.warn(&what, error.to_string(), &error.help().unwrap_or_default()),
        }
    }
    report
}

fn describe(project: &Project) -> String {
    let counts = [
        (project.sources.len(), "source"),
        (project.models.len(), "model"),
        (project.checks.len() + project.models.iter().map(|model| model.checks.len()).sum::<usize>(), "check"),
        (project.recommenders.len(), "recommender"),
        (project.syncs.len(), "sync"),
    ];
    let counts: Vec<String> =
        counts.iter().map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" })).collect();
    format!("`{}`: {}", project.name(), counts.join(", "))
}

fn look_at_space(report: &mut Report, dir: &Path) {
    match rustix::fs::statvfs(dir) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let detail = format!("{:.1} GB free at {}", free as f64 / 1e9, dir.display());
            if free < NO_SPACE {
                report.fail("disk", detail, Some("free some space, or move the project".to_owned()));
            } else if free < LITTLE_SPACE {
                report.warn("disk", detail, "free some space before large loads");
            } else {
                report.ok("disk", detail);
            }
        }
        Err(error) => report.warn(
            "disk",
            format!("cannot tell the free space of {}: {error}", dir.display()),
            "check that it exists",
        ),
    }
}

/// Reachable, writable, and true to put-if-absent, on which every switch of Montauk rests; and the clock beside the store's.
async fn look_at_store(report: &mut Report, what: &str, location: &str, project: &Project, request: &Request) {
    let store = match open_store(location, project.dir()) {
        Ok(store) => store,
        Err(error) => return report.problem(what, &error),
    };
    if let Err(error) = store.probe().await {
        return report.problem(what, &error);
    }
    let path = object_store::path::Path::from(format!("_montauk/doctor/{}-{what}", request.run_id));
    let tried = try_store(&store, &path).await;
    // It was only for the look; a store that does not let it go has said so already.
    let _ = store.object_store.delete(&path).await;
    match tried {
        Ok(Tried { is_conditional: false, .. }) => report.fail(
            what,
            format!("{location} overwrites an object that must not exist: conditional writes are not honoured"),
            Some(
                "use a store with conditional writes (`If-None-Match`); without them two runs can overwrite each other"
                    .to_owned(),
            ),
        ),
        Ok(Tried { modified, .. }) => {
            report.ok(what, format!("{location} is writable, conditional writes hold"));
            look_at_clock(report, what, request.now, modified);
        }
        Err(error) => report.fail(
            what,
            format!("{location} cannot be written: {error}"),
            Some("check the rights and the free space there".to_owned()),
        ),
    }
}

/// What a store did.
struct Tried {
    is_conditional: bool,
    modified: DateTime<Utc>,
}

async fn try_store(store: &Store, path: &object_store::path::Path) -> Result<Tried, object_store::Error> {
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.object_store.put_opts(path, "first".into(), create()).await?;
    let second = store.object_store.put_opts(path, "second".into(), create()).await;
    let modified = store.object_store.head(path).await?.last_modified;
    Ok(Tried { is_conditional: matches!(second, Err(object_store::Error::AlreadyExists { .. })), modified })
}

fn look_at_clock(report: &mut Report, what: &str, now: DateTime<Utc>, modified: DateTime<Utc>) {
    let apart = (modified - now).abs();
    let name = format!("clock ({what})");
    let detail = format!("{} s apart from the store's", apart.num_seconds());
    if apart > TimeDelta::minutes(CLOCK_LIMIT_MINUTES) {
        report.fail(&name, detail, Some("set the clock: `timedatectl set-ntp true`".to_owned()));
    } else if apart > TimeDelta::minutes(CLOCK_WARNING_MINUTES) {
        report.warn(&name, detail, "set the clock: `timedatectl set-ntp true`");
    } else {
        report.ok(&name, detail);
    }
}

async fn look_at_source(report: &mut Report, project: &Project, source: &SourceFile) {
    let what = format!("source {}", source.name);
    let names: Vec<&str> = source.tables.keys().map(String::as_str).collect();
    let opened = match open_source(source, &names, project.dir()) {
        Ok(opened) => opened,
        Err(error) => return report.problem(&what, &error),
    };
    let (timeout, next) = match source.kind {
        SourceKind::Airbyte(_) => (CONNECTOR_TIMEOUT, "run its command by hand with the word `spec`"),
        SourceKind::File | SourceKind::MySql { .. } | SourceKind::Postgres { .. } => {
            (SOURCE_TIMEOUT, "check host, port and firewall")
        }
    };
    match tokio::time::timeout(timeout, opened.discover()).await {
        Err(_) => {
            report.fail(&what, format!("no answer within {} s", timeout.as_secs()), Some(next.to_owned()));
        }
        Ok(Err(error)) => report.problem(&what, &error),
        Ok(Ok(tables)) => {
            look_at_tables(report, &what, source, &tables);
            examine(report, &what, source, opened.as_ref()).await;
        }
    }
}

/// What the source itself has to say: rights, engines, limits.
async fn examine(report: &mut Report, what: &str, source: &SourceFile, opened: &dyn Source) {
    let names: Vec<String> = source.tables.keys().map(|table| format!("{}.{table}", source.name)).collect();
    let wanted = source.tables.values().zip(&names).map(|(table, name)| Examined {
        name,
        location: &table.location,
        query: table.query.as_deref(),
        mode: &table.mode,
    });
    let tables: Vec<Examined<'_>> = wanted.collect();
    match opened.examine(&tables).await {
        Err(error) => report.problem(what, &error),
        Ok(findings) => {
            for finding in findings {
                let name = format!("{what}, {}", finding.what);
                match finding.next {
                    Some(next) => report.warn(&name, finding.detail, &next),
                    None => report.ok(&name, finding.detail),
                }
            }
        }
    }
}

/// Whether what the project wants is among what the source has. File patterns are tried by `extract`.
fn look_at_tables(report: &mut Report, what: &str, source: &SourceFile, tables: &[DiscoveredTable]) {
    if matches!(source.kind, SourceKind::File) {
        if tables.is_empty() {
            report.warn(
                what,
                "no readable file under data/".to_owned(),
                "put .csv, .csv.gz, .csv.zst or .parquet files there",
            );
        } else {
            report.ok(what, format!("{} files under data/", tables.len()));
        }
        return;
    }
    // A table may be named without its database, which is then the one of the address.
    let is_named = |table: &DiscoveredTable, wanted: &str| {
        table.name == wanted || table.name.rsplit_once('.').is_some_and(|(_, name)| name == wanted)
    };
    let word = if matches!(source.kind, SourceKind::Airbyte(_)) { "stream" } else { "table" };
    // What a query reads, only the server knows; `examine` asks it.
    let wanted: Vec<&str> =
        source.tables.values().filter(|table| table.query.is_none()).map(|table| table.location.as_str()).collect();
    let is_missing = |wanted: &&str| !tables.iter().any(|table| is_named(table, wanted));
    let missing: Vec<&str> = wanted.iter().copied().filter(is_missing).collect();
    match missing.first() {
        None => report.ok(what, format!("reachable, {} {word}s, all {} wanted are there", tables.len(), wanted.len())),
        Some(first) => {
            let meant = nearest(first, tables.iter().map(|table| table.name.as_str()));
            let next = match meant {
                Some(meant) => format!("did you mean `{meant}`? correct it in {}", source.path),
                None => format!("correct `{word}` in {}, or grant this user the right to see it", source.path),
            };
            report.fail(what, format!("reachable, but there is no {word} `{first}`"), Some(next));
        }
    }
}
