//! The same suite on SQLite and on a real PostgreSQL.
//!
//! In: an empty store of each kind per test.  Out: nothing.
//! Never here: the state machine itself (see the tests of `experiment`).
//! Start at [`stores`].

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod decisions;
mod drift;
mod launch;
mod people;
mod publishing;
mod watch;
mod writers;

use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use control::{
    Actor, AuditFilter, AuditFormat, Control, ControlError, ExperimentRecord, Projects, Role, Thing, ThingEdit, Via,
};
use domain::Problem;
use experiment::lifecycle::{LaunchFacts, Step};
use experiment::plan::ExperimentFile;

/// An empty store, and where it is.
#[derive(Debug)]
pub struct Empty {
    pub control: Control,
    /// What opens the same store again.
    pub url: String,
    /// Holds the file; PostgreSQL's databases go with their server.
    pub directory: tempfile::TempDir,
}

/// A name for a database of its own.
pub fn database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("control_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The addresses of an empty store of each kind.
pub fn addresses() -> Vec<(String, tempfile::TempDir)> {
    let file = tempfile::tempdir().unwrap();
    let server = testbed::Postgres::shared();
    let name = database();
    server.create_database(&name);
    let sqlite = format!("sqlite://{}/control.db?mode=rwc", file.path().display());
    vec![(sqlite, file), (server.url(&name), tempfile::tempdir().unwrap())]
}

/// An empty store of each kind.
pub async fn stores() -> Vec<Empty> {
    let mut stores = Vec::new();
    for (url, directory) in addresses() {
        stores.push(Empty { control: Control::open(&url).await.unwrap(), url, directory });
    }
    stores
}

pub fn actor(person: &str, role: Role) -> Actor {
    Actor { person: person.to_owned(), role, projects: Projects::All, via: Via::Cli, expires_at: None }
}

pub fn ann() -> Actor {
    actor("ann", Role::Experimenter)
}

pub fn bob() -> Actor {
    actor("bob", Role::Approver)
}

pub fn admin() -> Actor {
    actor("root", Role::Admin)
}

pub fn at(day: i64) -> DateTime<Utc> {
    "2026-11-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(day)
}

pub fn file_of(key: &str, more: &str) -> ExperimentFile {
    let text = format!(
        "[assignment]\nkey = '{key}'\ncoverage = 0.05\n\
         variants = [{{ key = 'old', value = false }}, {{ key = 'new', value = true }}]\n{more}\n\
         [analysis]\nexposures = 'marts.exposures'\nstart = '2026-11-01T00:00:00Z'\nplanned_units = 10000\ngoals = ['revenue']\n"
    );
    toml::from_str(&text).unwrap()
}

pub fn facts() -> LaunchFacts {
    let metric = toml::from_str("kind = 'proportion'\n[fact]\ntable = 'marts.orders'\n").unwrap();
    LaunchFacts { metrics: [("revenue".to_owned(), metric)].into(), power: Some(0.9), ..LaunchFacts::default() }
}

pub fn code(error: &ControlError) -> String {
    format!("{} {:?}", error.code(), error.kind())
}

pub async fn put(control: &Control, thing: Thing) -> Result<u64, ControlError> {
    let edit = ThingEdit { thing, project: None, seen: None, reason: String::new() };
    Ok(control.put(&admin(), edit, at(0)).await?.revision)
}

/// Everything of an export.
pub async fn exported(control: &Control, actor: &Actor, filter: AuditFilter, format: AuditFormat) -> Vec<String> {
    let mut export = control.export_audit(actor, filter, format).unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = export.next().await.unwrap() {
        pieces.push(piece);
    }
    pieces
}

/// Does verbs one after the other, as Ann; decides as Bob, who may serve a treatment to all.
pub async fn walk(control: &Control, mut record: ExperimentRecord, steps: &[Step]) -> ExperimentRecord {
    for step in steps {
        let actor = if matches!(step, Step::Decide { .. }) { bob() } else { ann() };
        record = control.step(&actor, &record.key, record.revision, step, &facts(), at(1)).await.unwrap();
    }
    record
}

pub async fn running(control: &Control, key: &str, more: &str) -> ExperimentRecord {
    let record = control.create_experiment(&ann(), file_of(key, more), at(0)).await.unwrap();
    walk(control, record, &[Step::Submit, Step::Start]).await
}

pub fn ship(arm: &str) -> Step {
    Step::Decide {
        chosen: experiment::decision::Code::Ship,
        arm: arm.to_owned(),
        reason: "it sells".to_owned(),
        proposed: None,
        results: serde_json::Value::Null,
        plan_hash: None,
    }
}
