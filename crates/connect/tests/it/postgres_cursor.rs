//! PostgreSQL followed by a column that grows: ties, late commits, values without a place in the order, refusals.
//!
//! In: a real server.  Out: verdicts.  Never here: the log (`postgres_log`).
//! Start at [`rows_of_one_microsecond_and_late_commits_arrive`].

use connect::sources::postgres::PostgresSource;
use connect::{ConnectError, ExtractMode, ExtractOutcome, ExtractRequest, LookBack, Source, Stage};
use domain::{NoProgress, Problem, Resume, StageMode};
use testbed::Postgres;

use crate::fold::folded;
use crate::support::{code_of, install_tls, request, stage_in};

struct Shop {
    source: PostgresSource,
    database: String,
    _root: tempfile::TempDir,
    stage: Stage,
}

impl Shop {
    fn new(database: &str, script: &str) -> Self {
        install_tls();
        let server = Postgres::shared();
        server.create_database(database);
        server.sql(database, script);
        let root = tempfile::tempdir().unwrap();
        let source = PostgresSource::new(&server.url(database)).unwrap();
        Self { source, database: database.to_owned(), stage: stage_in(root.path()), _root: root }
    }

    fn sql(&self, script: &str) -> String {
        Postgres::shared().sql(&self.database, script)
    }

    async fn run(&self, change: impl FnOnce(&mut ExtractRequest)) -> Result<ExtractOutcome, ConnectError> {
        let mut request = request("t", "t");
        change(&mut request);
        let outcome = self.source.extract(&request, &self.stage, &NoProgress).await;
        self.source.close().await;
        outcome
    }

    async fn follow(&self, column: &str, look_back: LookBack) -> ExtractOutcome {
        self.run(|request| request.mode = by(column, look_back)).await.unwrap()
    }

    /// The chain of manifests, and the table itself read whole.
    async fn is_exact(&self, key: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        let whole = stage_in(root.path());
        self.source.extract(&request("t", "t"), &whole, &NoProgress).await.unwrap();
        self.source.close().await;
        assert_eq!(folded(&self.stage, "t", key).await, folded(&whole, "t", key).await);
    }
}

fn by(column: &str, look_back: LookBack) -> ExtractMode {
    ExtractMode::Cursor { column: column.to_owned(), look_back }
}

fn seen(outcome: &ExtractOutcome) -> Option<&str> {
    match outcome.manifest.resume.as_ref().unwrap() {
        Resume::Cursor { value, .. } => value.as_deref(),
        other @ (Resume::Log { .. } | Resume::Airbyte { .. }) => panic!("{other:?}"),
    }
}

fn rows(outcome: &ExtractOutcome) -> u64 {
    outcome.manifest.files.iter().map(|file| file.rows.unwrap()).sum()
}

#[tokio::test]
async fn rows_of_one_microsecond_and_late_commits_arrive() {
    let shop = Shop::new(
        "cursor",
        "CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz); CREATE INDEX ON t (at); \
         INSERT INTO t SELECT n, 'a', '2026-11-01 12:00:00.123456+00' FROM generate_series(1, 50) n;",
    );
    let back = LookBack::Seconds(60);
    let base = shop.follow("at", back).await;
    assert_eq!((base.manifest.mode, rows(&base)), (StageMode::Full, 50));
    assert_eq!(seen(&base), Some("2026-11-01 12:00:00.123456+00"));
    // Nothing new: nothing is written, though the ties are read again.
    let again = shop.follow("at", back).await;
    assert!(again.unchanged && again.manifest == base.manifest);
    // A tie, a later one, a late commit, and one that is too late to be seen but for an update.
    shop.sql(
        "INSERT INTO t VALUES (51, 'tie', '2026-11-01 12:00:00.123456+00'), (52, 'new', '2026-11-01 12:00:30+00'), \
         (53, 'late', '2026-11-01 11:59:00.123456+00'); UPDATE t SET v = 'b', at = '2026-11-01 12:00:30+00' WHERE id = 7;",
    );
    let second = shop.follow("at", back).await;
    assert_eq!((second.manifest.mode, second.manifest.number, rows(&second)), (StageMode::Changes, 2, 53));
    let rules = second.manifest.changes.as_ref().unwrap();
    assert_eq!((rules.key.as_slice(), &rules.deleted), (["id".to_owned()].as_slice(), &None));
    assert_eq!(second.manifest.proof.as_ref().unwrap().rows, 53);
    shop.is_exact(&["id"]).await;
    // A row before the look-back is not seen, and the proof says that there is one more.
    shop.sql("INSERT INTO t VALUES (54, 'too late', '2026-11-01 10:00:00+00'); DELETE FROM t WHERE id = 52;");
    let third = shop.follow("at", back).await;
    assert_eq!(third.manifest.proof.as_ref().unwrap().rows, 53);
    assert_eq!(seen(&third), Some("2026-11-01 12:00:30+00"));
    assert_eq!(folded(&shop.stage, "t", &["id"]).await.len(), 53);
    let anew = shop.run(|request| (request.mode, request.anew) = (by("at", back), true)).await.unwrap();
    assert_eq!((anew.manifest.mode, anew.read_anew.is_some()), (StageMode::Full, true));
    shop.is_exact(&["id"]).await;
}

#[tokio::test]
async fn an_unchanged_run_without_a_proof_writes_ties_once() {
    let shop = Shop::new(
        "cursor_ties",
        "CREATE TABLE t (id int PRIMARY KEY, v bigint); INSERT INTO t VALUES (1, 7), (2, 8), (3, 8);",
    );
    let run = async || {
        shop.run(|request| (request.mode, request.with_proof) = (by("v", LookBack::None), false)).await.unwrap()
    };
    let (base, ties, same) = (run().await, run().await, run().await);
    assert_eq!((rows(&base), rows(&ties), ties.unchanged), (3, 2, false));
    assert!(same.unchanged && same.manifest == ties.manifest);
    shop.is_exact(&["id"]).await;
}

#[tokio::test]
async fn values_without_a_place_in_the_order_are_read_each_time() {
    for (name, kind, looks_back, values, late, largest) in [
        ("big", "bigint", LookBack::Units(5), ["-9223372036854775808", "1", "9"], "NULL", "9"),
        ("small", "smallint", LookBack::Units(u64::MAX), ["-32768", "NULL", "7"], "-32000", "7"),
        (
            "num",
            "numeric",
            LookBack::Units(1),
            ["'NaN'", "'Infinity'", "10.0000000000000000000000001"],
            "'-Infinity'",
            "10.0000000000000000000000001",
        ),
        ("num2", "numeric(20,2)", LookBack::None, ["'NaN'", "-5", "10.5"], "'NaN'", "10.50"),
        (
            "moment",
            "timestamptz",
            LookBack::Seconds(1),
            ["'infinity'", "'-infinity'", "'2026-01-01 09:00:00.000001+09'"],
            "'-infinity'",
            "2026-01-01 00:00:00.000001+00",
        ),
        (
            "local",
            "timestamp",
            LookBack::None,
            ["'infinity'", "NULL", "'0044-03-15 12:00 BC'"],
            "NULL",
            "0044-03-15 12:00:00 BC",
        ),
        (
            "day",
            "date",
            LookBack::Seconds(3600),
            ["'infinity'", "'2026-02-28'", "'2026-03-01'"],
            "'2026-02-28'",
            "2026-03-01",
        ),
        (
            "uuid",
            "uuid",
            LookBack::None,
            ["NULL", "'01234567-89ab-7def-0123-456789abcdef'", "'f0000000-0000-7000-8000-000000000000'"],
            "NULL",
            "f0000000-0000-7000-8000-000000000000",
        ),
        ("ulid", "text COLLATE \"C\"", LookBack::None, ["'a'", "'Z'", "'é''\\x'"], "NULL", "é'\\x"),
    ] {
        let shop = Shop::new(
            &format!("cursor_{name}"),
            &format!(
                "CREATE TABLE t (id int PRIMARY KEY, c {kind}); CREATE INDEX ON t (c); INSERT INTO t VALUES (1, {}), (2, {}), (3, {});",
                values[0], values[1], values[2]
            ),
        );
        let base = shop.follow("c", looks_back).await;
        assert_eq!(seen(&base), Some(largest), "{name}");
        shop.sql(&format!("INSERT INTO t VALUES (4, {late}), (5, {})", values[2]));
        let second = shop.follow("c", looks_back).await;
        assert_eq!((seen(&second), second.manifest.mode), (Some(largest), StageMode::Changes), "{name}");
        shop.is_exact(&["id"]).await;
        assert!(shop.follow("c", looks_back).await.unchanged, "{name}");
    }
}

#[tokio::test]
async fn an_empty_table_and_one_that_is_emptied_go_on() {
    let shop = Shop::new("cursor_empty", "CREATE TABLE t (id int PRIMARY KEY, at timestamp);");
    let base = shop.follow("at", LookBack::Seconds(900)).await;
    assert_eq!((seen(&base), rows(&base)), (None, 0));
    shop.sql("INSERT INTO t VALUES (1, NULL), (2, '2026-01-01')");
    let second = shop.follow("at", LookBack::Seconds(900)).await;
    assert_eq!((seen(&second), rows(&second)), (Some("2026-01-01 00:00:00"), 2));
    shop.sql("DELETE FROM t");
    let third = shop.follow("at", LookBack::Seconds(900)).await;
    // Only the proof notices: COPY compares, and says so.
    assert_eq!((seen(&third), third.manifest.files.len()), (Some("2026-01-01 00:00:00"), 0));
    assert_eq!(third.manifest.proof.unwrap().rows, 0);
}

#[tokio::test]
async fn a_table_that_was_altered_is_read_anew_and_rejects_stay_unproven() {
    let shop = Shop::new(
        "cursor_altered",
        "CREATE TABLE t (id int PRIMARY KEY, d date, c bigint); INSERT INTO t VALUES (1, 'infinity', 1);",
    );
    shop.follow("c", LookBack::None).await;
    shop.sql("INSERT INTO t VALUES (2, '2026-01-01', 2)");
    let second = shop.follow("c", LookBack::None).await;
    assert_eq!(second.manifest.changes.unwrap().unproven, ["d"]);
    shop.sql("ALTER TABLE t ADD COLUMN x int DEFAULT 5");
    let third = shop.follow("c", LookBack::None).await;
    assert_eq!((third.manifest.mode, third.read_anew.as_deref()), (StageMode::Full, Some("its columns have changed")));
    shop.is_exact(&["id"]).await;
}

#[tokio::test]
async fn what_cannot_be_a_cursor_is_said_with_a_next_step() {
    let shop = Shop::new(
        "cursor_bad",
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, f double precision, j jsonb, s text, a int[]); CREATE TABLE keyless (id int); \
         CREATE VIEW v AS SELECT id FROM t;",
    );
    let refused = async |location: &str, mode: ExtractMode| {
        let result = shop.run(|request| (request.location, request.mode) = (location.to_owned(), mode)).await;
        let help = result.as_ref().unwrap_err().help().unwrap();
        (code_of(result, Postgres::shared().password()), help)
    };
    assert_eq!(refused("keyless", by("id", LookBack::None)).await.0, "no_key");
    assert_eq!(refused("v", by("id", LookBack::None)).await.0, "no_key");
    let (code, help) = refused("t", by("att", LookBack::None)).await;
    assert_eq!((code, help.as_str()), ("bad_cursor", "did you mean `at`?"));
    for column in ["f", "j", "s", "a"] {
        let (code, help) = refused("t", by(column, LookBack::None)).await;
        assert_eq!((code, help.as_str()), ("bad_cursor", "choose one that only grows among `id`, `at`"), "{column}");
    }
    assert_eq!(
        refused("t", by("id", LookBack::Seconds(1))).await.1,
        "write `look_back = 1000`, in the column's own units"
    );
    assert_eq!(refused("t", by("at", LookBack::Units(1))).await.1, "write `look_back = \"15m\"`");
}

#[tokio::test]
async fn columns_that_an_index_only_carries_are_no_key() {
    let shop = Shop::new(
        "cursor_include",
        "CREATE TABLE t (id int, v int, PRIMARY KEY (id) INCLUDE (v)); INSERT INTO t VALUES (1, 1), (2, 2);",
    );
    shop.follow("v", LookBack::None).await;
    shop.sql("UPDATE t SET v = 3 WHERE id = 1");
    let second = shop.follow("v", LookBack::None).await;
    assert_eq!(second.manifest.changes.unwrap().key, ["id"]);
    shop.is_exact(&["id"]).await;
}
