//! Mode `cursor` on MariaDB: no row is lost, whatever the column holds.
//!
//! In: a real server.  Out: verdicts.  Never here: merging (COPY), the other modes.
//! Start at [`rows_of_one_microsecond_are_all_read`].

use std::path::Path;

use connect::sources::mysql::MySqlSource;
use connect::{ConnectError, ExtractMode, ExtractOutcome, ExtractRequest, InvalidDates, LookBack, Source};
use domain::{NoProgress, Problem, Resume, StageMode};
use testbed::MariaDb;

use crate::fold::folded;
use crate::support::{code_of, request, stage_in};

/// One run: the snapshot ends with it.
async fn extract(source: &MySqlSource, root: &Path, request: &ExtractRequest) -> Result<ExtractOutcome, ConnectError> {
    let outcome = source.extract(request, &stage_in(root), &NoProgress).await;
    source.close().await;
    outcome
}

fn by(column: &str, look_back: LookBack) -> ExtractRequest {
    let mode = ExtractMode::Cursor { column: column.to_owned(), look_back };
    ExtractRequest { mode, ..request("t", "t") }
}

fn database(name: &str, script: &str) -> MySqlSource {
    let server = MariaDb::shared();
    server.create_database(name);
    server.sql(name, script);
    MySqlSource::new(&server.url(name)).unwrap()
}

fn value(outcome: &ExtractOutcome) -> Option<&str> {
    match &outcome.manifest.resume {
        Some(Resume::Cursor { value, .. }) => value.as_deref(),
        other => panic!("no cursor: {other:?}"),
    }
}

fn rows(outcome: &ExtractOutcome) -> u64 {
    outcome.manifest.files.iter().filter_map(|file| file.rows).sum()
}

/// Extracts, and compares what all manifests make with what the server holds.
async fn run(source: &MySqlSource, database: &str, root: &Path, wanted: &ExtractRequest) -> ExtractOutcome {
    let outcome = extract(source, root, wanted).await.unwrap();
    let found: Vec<String> =
        folded(&stage_in(root), "t", &["id"]).await.into_keys().map(|key| key[0].clone()).collect();
    let held = MariaDb::shared().sql(database, "SELECT id FROM t ORDER BY CAST(id AS CHAR)");
    assert_eq!(found, held.lines().collect::<Vec<_>>());
    assert_eq!(outcome.manifest.proof.as_ref().unwrap().rows, found.len() as u64);
    outcome
}

#[tokio::test]
async fn rows_of_one_microsecond_are_all_read() {
    let source = database(
        "cursor_ties",
        "CREATE TABLE t (id INT PRIMARY KEY, at DATETIME(6), v INT); \
         INSERT INTO t VALUES (1, '2026-01-01 00:00:00.000001', 0), (2, '2026-01-01 00:00:00.000002', 0);",
    );
    let (root, wanted) = (tempfile::tempdir().unwrap(), by("at", LookBack::None));
    let first = run(&source, "cursor_ties", root.path(), &wanted).await;
    assert_eq!((first.manifest.mode, value(&first)), (StageMode::Full, Some("2026-01-01 00:00:00.000002")));
    MariaDb::shared().sql(
        "cursor_ties",
        "INSERT INTO t VALUES (4, '2026-01-01 00:00:00.000002', 1), (3, '2026-01-01 00:00:00.000002', 1);",
    );
    let second = run(&source, "cursor_ties", root.path(), &wanted).await;
    assert_eq!((second.manifest.mode, second.manifest.number, rows(&second)), (StageMode::Changes, 2, 3));
    let rules = second.manifest.changes.clone().unwrap();
    assert_eq!((rules.key, rules.deleted, rules.unproven), (vec!["id".to_owned()], None, Vec::new()));
    let third = run(&source, "cursor_ties", root.path(), &wanted).await;
    assert!(third.unchanged);
    assert_eq!(third.manifest, second.manifest);
    // Gone rows are only noticed: the proof is another one, and the value does not go back.
    MariaDb::shared().sql("cursor_ties", "DELETE FROM t WHERE id >= 2");
    let fourth = extract(&source, root.path(), &wanted).await.unwrap();
    assert_eq!((fourth.unchanged, rows(&fourth), value(&fourth)), (false, 0, value(&second)));
    assert_eq!(fourth.manifest.proof.unwrap().rows, 1);
}

#[tokio::test]
async fn a_late_commit_is_read_when_it_is_looked_back_for() {
    let source = database(
        "cursor_late",
        "CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP(3) NULL); SET time_zone = '+00:00'; \
         INSERT INTO t VALUES (1, '2026-01-01 12:00:00.000'), (2, '2026-01-01 12:10:00.000');",
    );
    let (root, wanted) = (tempfile::tempdir().unwrap(), by("at", LookBack::Seconds(600)));
    run(&source, "cursor_late", root.path(), &wanted).await;
    MariaDb::shared().sql(
        "cursor_late",
        "SET time_zone = '+00:00'; INSERT INTO t VALUES (3, '2026-01-01 12:00:00.000'), (4, '2026-01-01 12:20:00');",
    );
    let outcome = run(&source, "cursor_late", root.path(), &wanted).await;
    assert_eq!((rows(&outcome), value(&outcome)), (4, Some("2026-01-01 12:20:00.000")));
}

#[tokio::test]
async fn rows_without_a_value_are_read_each_time() {
    let source = database("cursor_null", "CREATE TABLE t (id INT PRIMARY KEY, at DATE)");
    let (root, wanted) = (tempfile::tempdir().unwrap(), by("at", LookBack::Seconds(86_400)));
    let first = run(&source, "cursor_null", root.path(), &wanted).await;
    assert_eq!(value(&first), None);
    let other = run(&source, "cursor_null", root.path(), &wanted).await;
    assert_eq!((other.unchanged, value(&other)), (true, None));
    for (row, largest) in [
        ("(1, NULL)", None),
        ("(2, '0000-00-00')", Some("0000-00-00")),
        ("(3, '2026-01-02')", Some("2026-01-02")),
        ("(4, NULL)", Some("2026-01-02")),
        ("(5, '2026-01-01')", Some("2026-01-02")),
    ] {
        MariaDb::shared().sql("cursor_null", &format!("SET sql_mode = ''; INSERT INTO t VALUES {row}"));
        let outcome = run(&source, "cursor_null", root.path(), &wanted).await;
        assert_eq!(value(&outcome), largest, "{row}");
    }
}

#[tokio::test]
async fn numbers_and_texts_are_compared_at_their_full_precision() {
    let cases = [
        ("BIGINT UNSIGNED", "18446744073709551613", "18446744073709551614", "18446744073709551615", LookBack::Units(1)),
        ("BIGINT UNSIGNED ZEROFILL", "7", "8", "9", LookBack::Units(1)),
        ("BIGINT", "-9223372036854775807", "-9223372036854775806", "-9223372036854775805", LookBack::Units(1)),
        (
            "DECIMAL(65,30)",
            "12345678901234567890123456789012345.000000000000000000000000000001",
            "12345678901234567890123456789012345.000000000000000000000000000002",
            "12345678901234567890123456789012345.000000000000000000000000000003",
            LookBack::None,
        ),
        ("DECIMAL(10,2)", "1.25", "2.25", "2.50", LookBack::Units(1)),
        ("VARCHAR(26) CHARACTER SET latin1", "'01J\\'é'", "'01J\\'ö'", "'01J\\'ü'", LookBack::None),
    ];
    for (place, (kind, first, second, third, look_back)) in cases.into_iter().enumerate() {
        let name = format!("cursor_kind_{place}");
        let source = database(
            &name,
            &format!("CREATE TABLE t (id INT PRIMARY KEY, at {kind}); INSERT INTO t VALUES (1, {first})"),
        );
        let (root, wanted) = (tempfile::tempdir().unwrap(), by("at", look_back));
        run(&source, &name, root.path(), &wanted).await;
        MariaDb::shared().sql(&name, &format!("INSERT INTO t VALUES (2, {second}), (3, {third})"));
        let outcome = run(&source, &name, root.path(), &wanted).await;
        assert_eq!(rows(&outcome), 3, "{kind}");
        MariaDb::shared().sql(&name, &format!("INSERT INTO t VALUES (4, {second}), (5, {third})"));
        let outcome = extract(&source, root.path(), &wanted).await.unwrap();
        let expected = if look_back == LookBack::None { 2 } else { 4 };
        assert_eq!(rows(&outcome), expected, "{kind}");
    }
}

#[tokio::test]
async fn columns_that_cannot_be_gone_by_are_refused() {
    let source = database(
        "cursor_bad",
        "CREATE TABLE t (id INT PRIMARY KEY, updated_at DATETIME, f FLOAT, js JSON, e ENUM('b','a'), tm TIME, v VARCHAR(9)); \
         CREATE TABLE k (at DATETIME);",
    );
    let root = tempfile::tempdir().unwrap();
    let cases = [
        ("update_at", LookBack::None, "did you mean `updated_at`?"),
        ("f", LookBack::None, "among `id`, `updated_at`, `v`"),
        ("js", LookBack::None, "among"),
        ("e", LookBack::None, "among"),
        ("tm", LookBack::None, "among"),
        ("updated_at", LookBack::Units(5), "\"15m\""),
        ("id", LookBack::Seconds(5), "look_back = 1000"),
        ("v", LookBack::Seconds(5), "remove `look_back`"),
    ];
    for (column, look_back, next) in cases {
        let result = extract(&source, root.path(), &by(column, look_back)).await;
        let help = result.as_ref().unwrap_err().help().unwrap();
        assert!(help.contains(next), "{column}: {help}");
        assert_eq!(code_of(result, ""), "bad_cursor", "{column}");
    }
    let without = ExtractRequest { location: "k".to_owned(), ..by("at", LookBack::None) };
    assert_eq!(code_of(extract(&source, root.path(), &without).await, ""), "no_key");
}

#[tokio::test]
async fn what_makes_old_rows_wrong_reads_all_of_them() {
    let source = database(
        "cursor_anew",
        "CREATE TABLE t (id INT PRIMARY KEY, at INT, v INT); INSERT INTO t VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)",
    );
    let (root, wanted) = (tempfile::tempdir().unwrap(), by("at", LookBack::None));
    let first = run(&source, "cursor_anew", root.path(), &wanted).await;
    assert_eq!(first.read_anew, None);
    let anew = run(&source, "cursor_anew", root.path(), &ExtractRequest { anew: true, ..wanted.clone() }).await;
    assert_eq!((anew.unchanged, anew.read_anew.as_deref()), (true, Some("that was asked for")));
    MariaDb::shared().sql("cursor_anew", "ALTER TABLE t ADD COLUMN w INT DEFAULT 7");
    let altered = run(&source, "cursor_anew", root.path(), &wanted).await;
    assert_eq!(altered.read_anew.as_deref(), Some("its columns have changed"));
    assert_eq!((altered.manifest.mode, rows(&altered)), (StageMode::Full, 3));
    let other = ExtractRequest { config_hash: "d".to_owned(), ..by("id", LookBack::None) };
    let other = run(&source, "cursor_anew", root.path(), &other).await;
    assert_eq!(other.read_anew.as_deref(), Some("its settings have changed"));
}

#[tokio::test]
async fn rejects_leave_their_column_unproven_and_keys_must_be_whole() {
    let source = database(
        "cursor_rejects",
        "CREATE TABLE t (id INT PRIMARY KEY, at INT, d DATE, e DATE); SET sql_mode = ''; \
         INSERT INTO t VALUES (1, 1, '0000-00-00', '2026-01-01'); \
         CREATE TABLE k (id DATE PRIMARY KEY, at INT);",
    );
    let (root, wanted) = (tempfile::tempdir().unwrap(), by("at", LookBack::None));
    run(&source, "cursor_rejects", root.path(), &wanted).await;
    MariaDb::shared()
        .sql("cursor_rejects", "SET sql_mode = ''; INSERT INTO t VALUES (2, 2, '2026-01-01', '0000-00-00')");
    let outcome = run(&source, "cursor_rejects", root.path(), &wanted).await;
    assert_eq!(outcome.manifest.changes.unwrap().unproven, ["d", "e"]);
    let key = ExtractRequest { table: "k".to_owned(), location: "k".to_owned(), ..wanted.clone() };
    extract(&source, root.path(), &key).await.unwrap();
    MariaDb::shared().sql("cursor_rejects", "SET sql_mode = ''; INSERT INTO k VALUES ('0000-00-00', 1)");
    assert_eq!(code_of(extract(&source, root.path(), &key).await, ""), "bad_value");
    let text = ExtractRequest { invalid_dates: InvalidDates::Text, config_hash: "text".to_owned(), ..key };
    assert!(extract(&source, root.path(), &text).await.unwrap().read_anew.is_some());
}
