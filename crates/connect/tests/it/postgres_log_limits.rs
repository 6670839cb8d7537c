//! Where PostgreSQL's log ends: what is read anew, what is refused, what a run leaves behind when it dies.
//!
//! In: real servers.  Out: verdicts.  Never here: what simply goes on (`postgres_log`).
//! Start at [`what_the_log_does_not_tell_is_read_anew_once`].

use std::time::Duration;

use chrono::TimeDelta;
use connect::sources::postgres::PostgresSource;
use connect::{ConnectError, ExtractMode, ExtractOutcome, ExtractRequest, Source};
use domain::{NoProgress, Problem, StageMode};
use testbed::Postgres;

use crate::postgres_log::{Shop, logical, lsn, mode, rows};
use crate::support::{code_of, examined, install_tls, request, stage_in};

#[tokio::test]
async fn what_the_log_does_not_tell_is_read_anew_once() {
    let shop = Shop::new("anew", "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2);");
    shop.run_and_compare("t", &["id"]).await;
    for (change, why) in [
        ("TRUNCATE t; INSERT INTO t VALUES (3, 3);", "truncated"),
        ("ALTER TABLE t ADD COLUMN x int DEFAULT 7;", "columns"),
        ("ALTER TABLE t ALTER v TYPE int USING v + 1;", "columns"),
        ("ALTER TABLE t DROP COLUMN x;", "columns"),
        ("ALTER TABLE t RENAME v TO w; ALTER TABLE t RENAME w TO v;", "columns"),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (v);", "key"),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id);", "key"),
        (
            "ALTER PUBLICATION montauk_anew DROP TABLE t; UPDATE t SET v = 100 WHERE id = 3; ALTER PUBLICATION montauk_anew ADD TABLE t;",
            "published anew",
        ),
        (
            "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v int); ALTER PUBLICATION montauk_anew ADD TABLE t;",
            "published anew",
        ),
    ] {
        shop.sql(&format!("INSERT INTO t (id, v) VALUES (50, 50); {change}"));
        let key = if change.ends_with("(v);") { ["v"] } else { ["id"] };
        let outcome = shop.run_and_compare("t", &key).await;
        assert_eq!(mode(&outcome), StageMode::Full, "{change}");
        assert!(outcome.read_anew.as_ref().unwrap().contains(why), "{change}: {:?}", outcome.read_anew);
        shop.sql("INSERT INTO t (id, v) VALUES (51, 51); DELETE FROM t WHERE id >= 50;");
        assert_eq!(mode(&shop.run_and_compare("t", &key).await), StageMode::Changes, "{change}");
    }
}

#[tokio::test]
async fn a_slot_that_is_gone_is_said_loudly_and_mended_by_reading_anew() {
    let shop = Shop::new(
        "gone",
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO t VALUES (1);",
    );
    shop.run("t").await.unwrap();
    shop.run("u").await.unwrap();
    let drop_slot = "SELECT pg_drop_replication_slot('montauk_gone')";
    for lose in [
        drop_slot.to_owned(),
        // As another program, or another project, would move it on.
        "INSERT INTO t VALUES (7); SELECT pg_replication_slot_advance('montauk_gone', pg_current_wal_lsn())".to_owned(),
        format!("{drop_slot}; SELECT pg_create_logical_replication_slot('montauk_gone', 'pgoutput')"),
        "ALTER PUBLICATION montauk_gone DROP TABLE t".to_owned(),
        "ALTER PUBLICATION montauk_gone SET (publish = 'insert')".to_owned(),
        "DROP PUBLICATION montauk_gone".to_owned(),
    ] {
        for statement in lose.split("; ") {
            shop.sql(statement);
        }
        let result = shop.run("t").await;
        let help = result.as_ref().unwrap_err().help().unwrap();
        assert!(help.contains("montauk extract gone.t --anew"), "{lose}: {help}");
        assert_eq!(code_of(result, logical().password()), "log_gone", "{lose}");
        if lose.contains("SET (publish") {
            // Reading anew does not change what the publication leaves out, and says so.
            let refused = shop.extract(&ExtractRequest { anew: true, ..shop.request("t") }).await;
            assert_eq!(code_of(refused, ""), "log_unusable");
            shop.sql("ALTER PUBLICATION montauk_gone SET (publish = 'insert, update, delete, truncate')");
        }
        for table in ["t", "u"] {
            let anew = ExtractRequest { anew: true, ..shop.request(table) };
            assert_eq!(mode(&shop.extract(&anew).await.unwrap()), StageMode::Full, "{lose}");
        }
        shop.source.close().await;
        shop.sql("INSERT INTO t SELECT max(id) + 1 FROM t");
        assert_eq!(mode(&shop.run_and_compare("t", &["id"]).await), StageMode::Changes, "{lose}");
        shop.run_and_compare("u", &["id"]).await;
    }
}

#[tokio::test]
async fn a_server_that_is_another_one_is_not_gone_on_with() {
    let shop = Shop::new("other_server", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);");
    shop.run("t").await.unwrap();
    let path = shop.stage.store().local_root().unwrap().join("other_server/t/00000000000000000001.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let columns = manifest["resume"]["columns"].as_str().unwrap().to_owned();
    manifest["resume"]["columns"] = format!("1{columns}").into();
    std::fs::write(&path, manifest.to_string()).unwrap();
    let error = shop.run("t").await.unwrap_err();
    assert!(matches!(&error, ConnectError::LogGone { reason, .. } if reason.contains("another server")), "{error}");
}

#[tokio::test]
async fn a_quiet_table_writes_nothing_and_the_slot_moves_on() {
    let shop = Shop::new(
        "quiet",
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO t VALUES (1);",
    );
    let base = shop.run("t").await.unwrap();
    shop.run("u").await.unwrap();
    shop.sql("INSERT INTO u SELECT generate_series(1, 1000); CREATE TABLE noise (v int); INSERT INTO noise SELECT generate_series(1, 10000);");
    for _ in 0..2 {
        let quiet = shop.run("t").await.unwrap();
        assert!(quiet.unchanged && quiet.manifest == base.manifest);
    }
    let busy = shop.run("u").await.unwrap();
    assert_eq!(rows(&busy), 1000);
    // The quiet table holds the slot where its manifest is, until it writes down that there was nothing.
    assert_eq!(shop.confirmed().trim(), lsn(&base));
    let later = ExtractRequest { now: shop.request("t").now + TimeDelta::hours(1), ..shop.request("t") };
    let hourly = shop.extract(&later).await.unwrap();
    shop.source.close().await;
    assert_eq!((mode(&hourly), hourly.manifest.files.len(), hourly.manifest.number), (StageMode::Changes, 0, 2));
    assert_eq!(shop.confirmed().trim(), lsn(&busy));
    // A table that the project has given up does not hold it for ever.
    let weeks = shop.request("u").now + TimeDelta::days(15);
    shop.sql("INSERT INTO u VALUES (0)");
    let much_later = shop.extract(&ExtractRequest { now: weeks, ..shop.request("u") }).await.unwrap();
    shop.source.close().await;
    assert_eq!(shop.confirmed().trim(), lsn(&much_later));
    assert_eq!(code_of(shop.run("t").await, ""), "log_gone");
}

#[tokio::test]
async fn a_table_that_comes_later_misses_nothing() {
    let shop = Shop::new(
        "later",
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY, v text); INSERT INTO u VALUES (1, 'a');",
    );
    shop.run("t").await.unwrap();
    // Written by a transaction that is open while the table is added, and so is not in its first snapshot.
    let writer = std::thread::spawn(|| {
        logical().sql(
            "later",
            "BEGIN; INSERT INTO u VALUES (2, 'before'); SELECT pg_sleep(8); INSERT INTO u VALUES (3, 'after'); COMMIT;",
        )
    });
    while shop.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'later' AND query LIKE '%pg_sleep(8)%' AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()").trim() == "0" {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The snapshot of the run is open already, and older than the table's place in the log.
    shop.extract(&shop.request("t")).await.unwrap();
    shop.sql("UPDATE u SET v = 'b' WHERE id = 1");
    let added = shop.extract(&shop.request("u")).await.unwrap();
    shop.source.close().await;
    writer.join().unwrap();
    // After it: a change of the table that is read first would make the server publish the others as well.
    shop.sql("UPDATE u SET v = 'c' WHERE id = 1");
    assert_eq!(mode(&added), StageMode::Full);
    assert_eq!(mode(&shop.run_and_compare("u", &["id"]).await), StageMode::Changes);
    assert_eq!(shop.fold("u", &["id"]).await.len(), 3);
}

#[tokio::test]
async fn a_transaction_that_spans_runs_arrives_when_it_is_committed() {
    let shop = Shop::new(
        "spans",
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 5) n;",
    );
    shop.run("t").await.unwrap();
    // Prepared: it is open over any number of sessions.
    shop.sql("BEGIN; UPDATE t SET v = 1 WHERE id = 1; SAVEPOINT a; UPDATE t SET v = 1 WHERE id = 2; PREPARE TRANSACTION 'spans'");
    for round in 0..3 {
        shop.sql(&format!("UPDATE t SET v = {round} + 10 WHERE id = 3"));
        assert_eq!(rows(&shop.run_and_compare("t", &["id"]).await), 1);
    }
    shop.sql("COMMIT PREPARED 'spans'");
    assert_eq!(rows(&shop.run_and_compare("t", &["id"]).await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_connections_are_cut_leaves_nothing_undone() {
    let shop = Shop::new(
        "cut_log",
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'a' FROM generate_series(1, 40000) n;",
    );
    shop.run("t").await.unwrap();
    shop.sql("UPDATE t SET v = repeat('b', 500)");
    for query in ["%pg_logical_slot_peek%", "%FROM unnest%"] {
        let outcome = cut_off(&shop, query).await;
        if query.contains("peek") {
            assert_eq!(code_of(outcome, logical().password()), "connection_lost");
        } else {
            // Another connection of the snapshot has taken over.
            assert_eq!(mode(&outcome.unwrap()), StageMode::Changes);
        }
        // The server may still be ending what was cut off.
        while shop
            .sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'montauk_cut_log' AND active")
            .trim()
            != "0"
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(mode(&shop.run_and_compare("t", &["id"]).await), StageMode::Changes, "{query}");
        shop.sql("UPDATE t SET v = v || 'c'");
    }
}

/// A run of which a connection was killed while it was at work on `query`: runs are repeated until one was hit.
async fn cut_off(shop: &Shop, query: &'static str) -> Result<connect::ExtractOutcome, connect::ConnectError> {
    for _ in 0..20 {
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let watched = std::sync::Arc::clone(&is_over);
        let killer = std::thread::spawn(move || {
            let kill = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'cut_log' AND application_name = 'montauk' \
                 AND state = 'active' AND query LIKE '{query}'"
            );
            while logical().sql("postgres", &kill).trim() == "0" {
                if watched.load(std::sync::atomic::Ordering::SeqCst) {
                    return false;
                }
            }
            true
        });
        let outcome = shop.run("t").await;
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        if killer.join().unwrap() {
            return outcome;
        }
        outcome.unwrap();
        shop.sql("UPDATE t SET v = v || 'd'");
    }
    panic!("{query}: no connection was at work on it");
}

#[tokio::test]
async fn a_session_that_was_cut_off_between_two_tables_is_opened_anew() {
    let shop = Shop::new("silent", "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);");
    for expected in [StageMode::Full, StageMode::Changes] {
        shop.sql("INSERT INTO u SELECT count(*) FROM u");
        shop.extract(&shop.request("t")).await.unwrap();
        let cut = shop.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'silent' AND application_name = 'montauk' AND state = 'idle'",
        );
        assert_eq!(cut.trim(), "1");
        assert_eq!(mode(&shop.extract(&shop.request("u")).await.unwrap()), expected);
        shop.source.close().await;
    }
    assert_eq!(shop.fold("u", &["id"]).await.len(), 2);
}

/// A role that may read and follow, and no more; the publication is made by the owner of the tables.
#[tokio::test]
async fn a_user_with_few_rights_is_told_what_it_lacks() {
    let shop = Shop::new(
        "rights",
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); CREATE TABLE u (id int PRIMARY KEY); \
         DROP ROLE IF EXISTS follower; CREATE ROLE follower LOGIN PASSWORD 'f'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO follower; \
         ALTER ROLE follower SET default_transaction_read_only = on;",
    );
    let url = format!("postgres://follower:f@127.0.0.1:{}/rights", logical().port());
    let follower = PostgresSource::new(&url).unwrap();
    let run = async |table: &str| {
        let outcome = follower.extract(&shop.request(table), &shop.stage, &NoProgress).await;
        follower.close().await;
        outcome
    };
    let refused = async |table: &str, next: &str| {
        let result = run(table).await;
        let help = result.as_ref().unwrap_err().help().unwrap();
        assert!(help.contains(next), "{help}");
        assert_eq!(code_of(result, ""), "log_unusable");
    };
    let create =
        "CREATE PUBLICATION \"montauk_rights\" FOR TABLE \"public\".\"t\" WITH (publish_via_partition_root = true)";
    refused("t", create).await;
    shop.sql(create);
    refused("t", "ALTER ROLE follower REPLICATION").await;
    shop.sql("ALTER ROLE follower REPLICATION");
    assert_eq!(mode(&run("t").await.unwrap()), StageMode::Full);
    shop.sql("UPDATE t SET v = 2");
    assert_eq!(mode(&run("t").await.unwrap()), StageMode::Changes);
    let add = "ALTER PUBLICATION \"montauk_rights\" ADD TABLE \"public\".\"u\"";
    refused("u", add).await;
    shop.sql(&format!("{add}; INSERT INTO u VALUES (1)"));
    assert_eq!(rows(&run("u").await.unwrap()), 1);
    shop.sql("ALTER PUBLICATION montauk_rights SET TABLE t, u WHERE (id > 5); INSERT INTO u VALUES (2)");
    let anew = ExtractRequest { anew: true, ..shop.request("u") };
    let result = follower.extract(&anew, &shop.stage, &NoProgress).await;
    follower.close().await;
    assert!(result.as_ref().unwrap_err().to_string().contains("leaves out rows of `public.u`"), "{result:?}");
    shop.sql("ALTER PUBLICATION montauk_rights SET (publish = 'insert')");
    let anew = ExtractRequest { anew: true, ..shop.request("t") };
    let result = follower.extract(&anew, &shop.stage, &NoProgress).await;
    follower.close().await;
    assert!(result.unwrap_err().help().unwrap().contains("SET (publish = 'insert, update, delete, truncate')"));
}

#[tokio::test]
async fn tables_that_cannot_be_followed_are_refused_before_they_are_published() {
    let shop = Shop::new(
        "refused",
        "CREATE TABLE keyless (id int); CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING; \
         CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY); CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent); \
         CREATE TABLE late (id int PRIMARY KEY DEFERRABLE); CREATE VIEW v AS SELECT 1 AS id; CREATE TABLE fine (id int PRIMARY KEY);",
    );
    for (table, code, next) in [
        ("keyless", "no_key", "primary key"),
        ("late", "no_key", "primary key"),
        ("nothing", "log_unusable", "ALTER TABLE \"public\".\"nothing\" REPLICA IDENTITY DEFAULT"),
        ("unlogged", "log_unusable", "SET LOGGED"),
        ("parent", "log_unusable", "mode = \"full\""),
        ("v", "log_unusable", "mode = \"full\""),
        ("fin", "no_such_source_table", "public.fine"),
    ] {
        let result = shop.run(table).await;
        let help = result.as_ref().unwrap_err().help().unwrap();
        assert!(help.contains(next), "{table}: {help}");
        assert_eq!(code_of(result, logical().password()), code, "{table}");
    }
    assert_eq!(shop.sql("SELECT count(*) FROM pg_publication").trim(), "0");
    // A slot of that name which belongs to somebody else.
    let twin = Shop::new("refused2", "CREATE TABLE fine (id int PRIMARY KEY)");
    shop.run("fine").await.unwrap();
    let theirs = ExtractRequest { source: "refused".to_owned(), ..twin.request("fine") };
    let result = twin.extract(&theirs).await;
    twin.source.close().await;
    assert!(result.unwrap_err().to_string().contains("belongs to database `refused`"));
}

async fn on_its_own(server: &Postgres, source: &str) -> Result<ExtractOutcome, ConnectError> {
    install_tls();
    let root = tempfile::tempdir().unwrap();
    let connected = PostgresSource::new(&server.url("postgres")).unwrap();
    let all = ExtractRequest { source: source.to_owned(), mode: ExtractMode::Changes, ..request("t", "t") };
    let outcome = connected.extract(&all, &stage_in(root.path()), &NoProgress).await;
    connected.close().await;
    outcome
}

#[tokio::test]
async fn a_server_that_keeps_no_rows_or_has_no_slot_left_says_what_to_set() {
    let server = Postgres::start_with(&["wal_level=logical", "max_replication_slots=1"]);
    server.sql("postgres", "CREATE TABLE t (id int PRIMARY KEY)");
    on_its_own(&server, "one").await.unwrap();
    let result = on_its_own(&server, "two").await;
    assert!(result.as_ref().unwrap_err().help().unwrap().contains("max_replication_slots"));
    assert_eq!(code_of(result, server.password()), "log_unusable");
    drop(server);
    let server = Postgres::start_with(&["wal_level=replica"]);
    server.sql("postgres", "CREATE TABLE t (id int PRIMARY KEY)");
    let result = on_its_own(&server, "one").await;
    assert!(result.as_ref().unwrap_err().help().unwrap().contains("wal_level = 'logical'"));
    assert_eq!(code_of(result, server.password()), "log_unusable");
}

#[tokio::test]
async fn a_slot_whose_log_the_server_has_removed_is_made_anew() {
    let server = Postgres::start_with(&[
        "wal_level=logical",
        "max_slot_wal_keep_size=1MB",
        "max_wal_size=32MB",
        "min_wal_size=32MB",
    ]);
    server.sql("postgres", "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE noise (v text);");
    install_tls();
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let source = PostgresSource::new(&server.url("postgres")).unwrap();
    let mut all = ExtractRequest { source: "lost".to_owned(), mode: ExtractMode::Changes, ..request("t", "t") };
    source.extract(&all, &stage, &NoProgress).await.unwrap();
    source.close().await;
    for _ in 0..4 {
        server.sql(
            "postgres",
            "INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 20000); SELECT pg_switch_wal()",
        );
        server.sql("postgres", "CHECKPOINT");
    }
    assert_eq!(server.sql("postgres", "SELECT wal_status FROM pg_replication_slots").trim(), "lost");
    let error = source.extract(&all, &stage, &NoProgress).await.unwrap_err();
    source.close().await;
    assert!(error.to_string().contains("max_slot_wal_keep_size"), "{error}");
    all.anew = true;
    source.extract(&all, &stage, &NoProgress).await.unwrap();
    source.close().await;
    all.anew = false;
    server.sql("postgres", "INSERT INTO t VALUES (5)");
    let outcome = source.extract(&all, &stage, &NoProgress).await.unwrap();
    source.close().await;
    assert_eq!((mode(&outcome), rows(&outcome)), (StageMode::Changes, 1));
}

/// A commit that others see already, and that is not on the server's disk yet, is in no slot.
#[tokio::test]
async fn a_commit_that_nobody_has_waited_for_arrives() {
    let server = Postgres::start_with(&["wal_level=logical", "wal_writer_delay=10s", "wal_writer_flush_after=1GB"]);
    server.sql("postgres", "CREATE TABLE t (id int PRIMARY KEY)");
    install_tls();
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let source = PostgresSource::new(&server.url("postgres")).unwrap();
    let all = ExtractRequest { source: "lazy".to_owned(), mode: ExtractMode::Changes, ..request("t", "t") };
    source.extract(&all, &stage, &NoProgress).await.unwrap();
    source.close().await;
    for round in 1..4 {
        server.sql("postgres", "SET synchronous_commit = off; INSERT INTO t SELECT count(*) FROM t;");
        let outcome = source.extract(&all, &stage, &NoProgress).await.unwrap();
        source.close().await;
        assert_eq!((mode(&outcome), rows(&outcome)), (StageMode::Changes, 1));
        assert_eq!(outcome.manifest.proof.unwrap().rows, round);
    }
}

#[tokio::test]
async fn the_doctor_says_what_following_needs_and_costs() {
    let shop = Shop::new("doctor", "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE keyless (id int);");
    let examine = async |source: &PostgresSource, tables: &[&str]| -> Vec<(String, bool)> {
        let tables: Vec<_> = tables.iter().map(|table| examined(table, &ExtractMode::Changes)).collect();
        let findings = source.examine(&tables).await.unwrap();
        findings
            .into_iter()
            .filter(|found| found.what == "log")
            .map(|found| (found.detail, found.next.is_some()))
            .collect()
    };
    let said = examine(&shop.source, &["t"]).await;
    assert_eq!(said, [("it can be followed; the first run makes a replication slot".to_owned(), false)]);
    let said = examine(&shop.source, &["t", "keyless"]).await;
    assert!(said.len() == 1 && said[0].1 && said[0].0.contains("`public.keyless` has no primary key"), "{said:?}");
    shop.run("t").await.unwrap();
    let said = examine(&shop.source, &["t"]).await;
    assert!(said.len() == 1 && !said[0].1 && said[0].0.contains("slot `montauk_doctor` keeps"), "{said:?}");
    shop.sql("DROP ROLE IF EXISTS looker; CREATE ROLE looker LOGIN PASSWORD 'l'; GRANT SELECT ON t TO looker;");
    let looker = PostgresSource::new(&format!("postgres://looker:l@127.0.0.1:{}/doctor", logical().port())).unwrap();
    let said = examine(&looker, &["t"]).await;
    assert_eq!(said[0], ("user `looker` may not use replication slots".to_owned(), true));
    install_tls();
    let plain = PostgresSource::new(&Postgres::shared().url("postgres")).unwrap();
    let said = examine(&plain, &["t"]).await;
    assert!(said.len() == 1 && said[0].1 && said[0].0.contains("`wal_level` is `replica`"), "{said:?}");
}
