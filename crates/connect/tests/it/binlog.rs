//! What the tests of mode `changes` on MariaDB share: a server with a log, runs, and the comparison with a `SELECT`.
//!
//! In: names, scripts.  Out: outcomes that have been compared.  Never here: what one test is about.
//! Start at [`run_and_compare`].

use std::path::Path;
use std::sync::OnceLock;

use connect::sources::mysql::MySqlSource;
use connect::{ConnectError, ExtractMode, ExtractOutcome, ExtractRequest, Source};
use domain::{LogPosition, NoProgress};
use testbed::MariaDb;

use crate::fold::{Rows, folded};
use crate::support::{request, stage_in};

/// A log that can be followed.
pub const LOG: [&str; 4] = ["--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-metadata=FULL", "--server-id=1"];

/// The server that these tests share; one that begins its log anew or changes settings starts its own.
pub fn server() -> &'static MariaDb {
    static SHARED: OnceLock<MariaDb> = OnceLock::new();
    SHARED.get_or_init(|| MariaDb::start_with(&LOG))
}

/// A fresh database of `server` with what `script` makes.
pub fn database(server: &MariaDb, name: &str, script: &str) -> MySqlSource {
    server.create_database(name);
    server.sql(name, script);
    MySqlSource::new(&server.url(name)).unwrap()
}

/// A request for the changes of a table.
pub fn changes(table: &str) -> ExtractRequest {
    ExtractRequest { mode: ExtractMode::Changes, ..request(table, table) }
}

/// One run: the snapshot ends with it.
pub async fn run(source: &MySqlSource, root: &Path, wanted: &ExtractRequest) -> Result<ExtractOutcome, ConnectError> {
    let outcome = source.extract(wanted, &stage_in(root), &NoProgress).await;
    source.close().await;
    outcome
}

/// One run, and the whole table from the same snapshot beside it: what all manifests make must be the same, cell by cell.
pub async fn run_and_compare(
    source: &MySqlSource,
    root: &Path,
    wanted: &ExtractRequest,
    key: &[&str],
) -> ExtractOutcome {
    let (outcome, found, held) = both(source, root, wanted, key).await;
    source.close().await;
    assert_eq!(found.len(), held.len());
    for (found, held) in found.iter().zip(&held) {
        assert_eq!(found, held);
    }
    outcome
}

/// What all manifests make, and the table; the snapshot stays open.
pub async fn both(
    source: &MySqlSource,
    root: &Path,
    wanted: &ExtractRequest,
    key: &[&str],
) -> (ExtractOutcome, Rows, Rows) {
    let outcome = source.extract(wanted, &stage_in(root), &NoProgress).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let whole = ExtractRequest { mode: ExtractMode::Full, ..wanted.clone() };
    let whole = source.extract(&whole, &stage_in(other.path()), &NoProgress).await.unwrap();
    assert_eq!(outcome.manifest.proof, whole.manifest.proof);
    let found = folded(&stage_in(root), &wanted.table, key).await;
    let held = folded(&stage_in(other.path()), &wanted.table, key).await;
    (outcome, found, held)
}

/// The place of a manifest in the log: file, offset.
pub fn place(outcome: &ExtractOutcome) -> (String, u64) {
    match outcome.manifest.position.clone().unwrap() {
        LogPosition::Binlog { file, position, .. } => (file, position),
        LogPosition::Wal { .. } => panic!("no binlog"),
    }
}

/// Rows in the files of a manifest.
pub fn rows(outcome: &ExtractOutcome) -> u64 {
    outcome.manifest.files.iter().filter_map(|file| file.rows).sum()
}
