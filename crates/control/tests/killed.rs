//! A process that decides and publishes is killed with SIGKILL, again and again; what it leaves is whole.
//!
//! In: itself, started with an address as the writer.  Out: exit code 0, or a panic that says what is broken.
//! Never here: conflicts between living writers (see `it/writers`).
//! Start at [`check`].

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use chrono::{DateTime, Utc};
use control::{Actor, AuditFilter, Control, Projects, Role, Via};
use domain::ExperimentSnapshot;

/// Lives of the writer; each ends in another place of its loop.
const LIVES: usize = 6;

fn actor() -> Actor {
    Actor { person: "ann".to_owned(), role: Role::Admin, projects: Projects::All, via: Via::Cli, expires_at: None }
}

fn now() -> DateTime<Utc> {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

/// Edits and publishes until it is killed; says after each round that it was answered.
async fn write(url: &str, directory: &Path) {
    let control = Control::open(url).await.unwrap();
    if control.experiment(&actor(), "a").await.is_err() {
        let file = "[assignment]\nkey = 'a'\nvariants = [{ key = 'x', value = 1 }, { key = 'y', value = 2 }]\n\
                    [analysis]\nexposures = 'marts.exposures'\nstart = '2026-11-01T00:00:00Z'\ngoals = []\n";
        control.create_experiment(&actor(), toml::from_str(file).unwrap(), now()).await.unwrap();
    }
    loop {
        let record = control.experiment(&actor(), "a").await.unwrap();
        let mut file = record.course.file();
        let count: u32 = file.assignment.seed.as_deref().unwrap_or("0").parse().unwrap();
        file.assignment.seed = Some((count + 1).to_string());
        file.assignment.allow_list = [(format!("unit-{count}"), "y".to_owned())].into();
        let written = control.edit_experiment(&actor(), "a", record.revision, file, "", now()).await.unwrap();
        control.publish_snapshot(directory, now()).await.unwrap();
        #[expect(clippy::print_stdout, reason = "the parent counts answers")]
        {
            println!("{}", written.revision);
        }
    }
}

/// Starts the writer, kills it, and gives the last revision that it was answered.
fn live_and_die(url: &str, directory: &Path, rounds: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writer", url])
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let answered = (0..rounds).map(|_| lines.next().unwrap().unwrap()).last().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said between our last line and its end.
    let late = lines.map_while(Result::ok).last();
    late.and_then(|line| line.parse().ok()).unwrap_or_else(|| answered.parse().unwrap())
}

async fn check(url: &str, directory: &Path) {
    for life in 0..LIVES {
        let answered = live_and_die(url, directory, 3 + 2 * life);
        let control = Control::open(url).await.unwrap();
        let record = control.experiment(&actor(), "a").await.unwrap();
        assert!(record.revision >= answered, "an answered change is gone: {} < {answered}", record.revision);
        let limit = Some(usize::MAX);
        let entries = control.audit(&actor(), &AuditFilter { limit, ..AuditFilter::default() }).await.unwrap();
        let numbers: Vec<u64> = entries.iter().rev().map(|entry| entry.sequence).collect();
        assert_eq!(numbers, (1..=record.revision).collect::<Vec<_>>(), "one audit row per change");
        assert_eq!(entries[0].after.as_ref().unwrap(), &serde_json::to_value(&record).unwrap());
        let count = record.course.assignment.seed.as_deref().unwrap_or("0").parse::<u64>().unwrap();
        assert_eq!(count + 1, record.revision, "state and log count the same changes");
        let published = control.publish_snapshot(directory, now()).await.unwrap();
        let mut names: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert_eq!(names.last(), Some(&published.path));
        let mut last = 0;
        for path in names {
            let snapshot: ExperimentSnapshot = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            assert!(path.ends_with(format!("{:020}.json", snapshot.revision)));
            assert!(last == 0 || snapshot.revision == last + 1, "a number is missing before {}", snapshot.revision);
            last = snapshot.revision;
        }
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, url, directory] = arguments.as_slice()
        && role == "writer"
    {
        return runtime.block_on(write(url, Path::new(directory)));
    }
    let place = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/control.db?mode=rwc", place.path().display());
    let server = testbed::Postgres::shared();
    server.create_database("killed");
    for (name, url) in [("sqlite", sqlite), ("postgres", server.url("killed"))] {
        runtime.block_on(check(&url, &place.path().join(name)));
    }
}
