//! Mode `changes` on MariaDB: what all manifests make is the table as of the last run, whatever happened in between.
//!
//! In: real servers with a binlog.  Out: verdicts.  Never here: values (`mysql_log_values`), when a table is read whole (`mysql_log_anew`).
//! Start at [`changes_of_every_kind_arrive_in_their_order`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use connect::{ExtractRequest, Source};
use domain::{DELETED_COLUMN, NoProgress, Resume, StageMode};
use testbed::MariaDb;

use crate::binlog::{LOG, both, changes, database, place, rows, run, run_and_compare, server};
use crate::support::stage_in;

#[tokio::test]
async fn changes_of_every_kind_arrive_in_their_order() {
    let source = database(
        server(),
        "log_kinds",
        "CREATE TABLE t (a INT, b VARCHAR(20), v INT, UNIQUE (v), PRIMARY KEY (b, a)); \
         INSERT INTO t VALUES (1, 'x', 1), (2, 'x', 2), (3, 'y', 3), (4, 'z', 4);",
    );
    let (root, wanted) = (tempfile::tempdir().unwrap(), changes("t"));
    let first = run_and_compare(&source, root.path(), &wanted, &["b", "a"]).await;
    assert_eq!((first.manifest.mode, first.read_anew), (StageMode::Full, None));
    assert!(matches!(first.manifest.resume, Some(Resume::Log { .. })));
    let batches = [
        ("INSERT INTO t VALUES (5, 'x', 5); UPDATE t SET v = 50 WHERE v = 5; DELETE FROM t WHERE v = 50;", 3),
        ("DELETE FROM t WHERE v = 1; INSERT INTO t VALUES (1, 'x', 11);", 2),
        // A key that moves is gone from where it was, also when only its case changes.
        ("UPDATE t SET b = 'X' WHERE v = 2; UPDATE t SET a = a + 10;", 2 + 8),
        ("REPLACE INTO t VALUES (99, 'new', 3); INSERT INTO t VALUES (99, 'new', 7) ON DUPLICATE KEY UPDATE v = 8;", 3),
        (
            "START TRANSACTION; DELETE FROM t; ROLLBACK; START TRANSACTION; INSERT INTO t VALUES (6, 'r', 66); SAVEPOINT s; \
          DELETE FROM t; ROLLBACK TO s; COMMIT;",
            1,
        ),
        ("DELETE FROM t", 5),
        ("INSERT INTO t VALUES (1, '', 1)", 1),
    ];
    for (number, (statements, expected)) in (2..).zip(batches) {
        server().sql("log_kinds", statements);
        let outcome = run_and_compare(&source, root.path(), &wanted, &["b", "a"]).await;
        assert_eq!((outcome.manifest.mode, outcome.manifest.number), (StageMode::Changes, number), "{statements}");
        assert_eq!(rows(&outcome), expected, "{statements}");
        let rules = outcome.manifest.changes.unwrap();
        assert_eq!((rules.key, rules.deleted.as_deref()), (vec!["b".to_owned(), "a".to_owned()], Some(DELETED_COLUMN)));
    }
}

#[tokio::test]
async fn a_quiet_table_publishes_nothing_but_its_place_once_in_an_hour() {
    let source = database(
        server(),
        "log_quiet",
        "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1); CREATE TABLE other LIKE t;",
    );
    let (root, wanted) = (tempfile::tempdir().unwrap(), changes("t"));
    let first = run(&source, root.path(), &wanted).await.unwrap();
    server().sql("log_quiet", "INSERT INTO other SELECT seq FROM seq_1_to_1000");
    let second = run(&source, root.path(), &wanted).await.unwrap();
    assert!(second.unchanged);
    assert_eq!(second.manifest, first.manifest);
    let later = ExtractRequest { now: wanted.now + TimeDelta::minutes(61), ..wanted };
    let third = run(&source, root.path(), &later).await.unwrap();
    assert_eq!((third.unchanged, third.manifest.number, rows(&third)), (false, 2, 0));
    assert!(place(&third) > place(&first));
}

#[tokio::test]
async fn tables_of_a_run_end_at_one_place() {
    let script = "CREATE TABLE account (id INT PRIMARY KEY, balance INT); INSERT INTO account SELECT seq, 100 FROM seq_1_to_10; \
         CREATE TABLE moved (id INT AUTO_INCREMENT PRIMARY KEY, amount INT); INSERT INTO moved (amount) VALUES (0);";
    let source = database(server(), "log_two", script);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                server().sql(
                    "log_two",
                    &"START TRANSACTION; UPDATE account SET balance = balance - 1 WHERE id = 1; INSERT INTO moved (amount) VALUES (1); COMMIT;"
                        .repeat(20),
                );
            }
        })
    };
    let root = tempfile::tempdir().unwrap();
    for _ in 0..6 {
        let (one, accounts, held) = both(&source, root.path(), &changes("account"), &["id"]).await;
        let (two, moved, also_held) = both(&source, root.path(), &changes("moved"), &["id"]).await;
        source.close().await;
        assert_eq!((accounts == held, moved == also_held), (true, true));
        assert_eq!(place(&one), place(&two));
        let balance: i64 = accounts.values().map(|row| row[1].parse::<i64>().unwrap()).sum();
        let amount: i64 = moved.values().map(|row| row[1].parse::<i64>().unwrap()).sum();
        assert_eq!(balance + amount, 1_000);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[tokio::test]
async fn writers_do_not_disturb() {
    let procedure = "CREATE TABLE t (id INT PRIMARY KEY, v INT, s VARCHAR(40)); INSERT INTO t SELECT seq, 0, MD5(seq) FROM seq_1_to_3000;\nDELIMITER //\nCREATE PROCEDURE work(n INT) BEGIN DECLARE k INT; DECLARE CONTINUE HANDLER FOR SQLEXCEPTION ROLLBACK; WHILE n > 0 DO SET k = 1 + FLOOR(RAND() * 6000); \
        CASE FLOOR(RAND() * 5) WHEN 0 THEN DELETE FROM t WHERE id = k; WHEN 1 THEN REPLACE INTO t VALUES (k, n, UUID()); \
        WHEN 2 THEN UPDATE IGNORE t SET id = 1 + FLOOR(RAND() * 6000) WHERE id = k; \
        WHEN 3 THEN START TRANSACTION; UPDATE t SET v = v + 1 WHERE id BETWEEN k AND k + 20; \
          IF RAND() < 0.5 THEN ROLLBACK; ELSE COMMIT; END IF; \
        ELSE INSERT IGNORE INTO t VALUES (k, n, 'new'); END CASE; SET n = n - 1; END WHILE; END//\nDELIMITER ;\n";
    let source = database(server(), "log_load", procedure);
    let writers: Vec<_> = (0..4)
        .map(|_| {
            // Two writers may wait for each other's rows; the server then takes back what one of them did, and may end its call.
            std::thread::spawn(|| drop(server().sql("log_load", "CALL work(3000)")))
        })
        .collect();
    let root = tempfile::tempdir().unwrap();
    let mut published = 0;
    while !writers.iter().all(std::thread::JoinHandle::is_finished) || published < 2 {
        if published > 0 {
            // However fast the writers were, there is something to follow.
            server().sql("log_load", "CALL work(20)");
        }
        let outcome = run_and_compare(&source, root.path(), &changes("t"), &["id"]).await;
        published = outcome.manifest.number;
        assert_eq!(outcome.read_anew, None);
    }
    for writer in writers {
        drop(writer.join());
    }
    let last = run_and_compare(&source, root.path(), &changes("t"), &["id"]).await;
    assert!(last.manifest.number >= 2, "{} runs", last.manifest.number);
}

#[tokio::test]
async fn large_transactions_and_rows_arrive_through_rotated_logs() {
    let options: Vec<&str> = LOG.into_iter().chain(["--max-binlog-size=1M"]).collect();
    let server = MariaDb::start_with(&options);
    let source =
        database(&server, "large", "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT); INSERT INTO t VALUES (0, '');");
    let (root, wanted) = (tempfile::tempdir().unwrap(), changes("t"));
    let first = run_and_compare(&source, root.path(), &wanted, &["id"]).await;
    server.sql(
        "large",
        "INSERT INTO t SELECT seq, MD5(seq) FROM seq_1_to_100000; FLUSH LOGS; INSERT INTO t VALUES (-1, REPEAT('é', 15000000)); \
         FLUSH LOGS; UPDATE t SET v = REPEAT('ü', 20000000) WHERE id = -1; FLUSH LOGS; FLUSH LOGS;",
    );
    let second = run_and_compare(&source, root.path(), &wanted, &["id"]).await;
    assert_eq!((second.manifest.mode, rows(&second)), (StageMode::Changes, 100_002));
    assert!(place(&second).0 > place(&first).0);
    // Many small transactions fill several files; the last run ended at the end of one.
    server.sql("large", "FLUSH LOGS;");
    let third = run_and_compare(&source, root.path(), &wanted, &["id"]).await;
    // Nothing has changed; but the place is in another file, so that the one before need not be kept for us.
    assert!(!third.unchanged && third.manifest.files.is_empty());
    assert!(run_and_compare(&source, root.path(), &wanted, &["id"]).await.unchanged);
    for id in 0..40 {
        server.sql("large", &format!("UPDATE t SET v = REPEAT('x', 70000) WHERE id = {id}"));
    }
    let fourth = run_and_compare(&source, root.path(), &wanted, &["id"]).await;
    assert_eq!(rows(&fourth), 40);
}

#[tokio::test]
async fn a_compressed_log_is_read() {
    let options: Vec<&str> =
        LOG.into_iter().chain(["--log-bin-compress=ON", "--log-bin-compress-min-len=10"]).collect();
    let server = MariaDb::start_with(&options);
    let source =
        database(&server, "packed", "CREATE TABLE t (id INT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (0, '');");
    let (root, wanted) = (tempfile::tempdir().unwrap(), changes("t"));
    run_and_compare(&source, root.path(), &wanted, &["id"]).await;
    server.sql(
        "packed",
        "INSERT INTO t SELECT seq, REPEAT(seq, 50) FROM seq_1_to_5000; UPDATE t SET v = 'u' WHERE id % 3 = 0; DELETE FROM t WHERE id % 5 = 0; \
         CREATE TABLE another_one_with_a_long_definition (a INT, b INT, c INT, d INT)",
    );
    let outcome = run_and_compare(&source, root.path(), &wanted, &["id"]).await;
    assert_eq!((outcome.manifest.mode, rows(&outcome)), (StageMode::Changes, 5000 + 1667 + 1001));
}

#[tokio::test]
async fn a_lost_connection_begins_again() {
    let source = database(
        server(),
        "log_killed",
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100)); INSERT INTO t VALUES (0, '');",
    );
    let (root, wanted) = (tempfile::tempdir().unwrap(), changes("t"));
    run(&source, root.path(), &wanted).await.unwrap();
    server().sql("log_killed", "INSERT INTO t SELECT seq, REPEAT(MD5(seq), 3) FROM seq_1_to_400000");
    server().sql("", "CREATE OR REPLACE USER follower@'%' IDENTIFIED BY 'f'; GRANT ALL ON *.* TO follower@'%'");
    let url = format!("mysql://follower:f@127.0.0.1:{}/log_killed", server().port());
    let follower = connect::sources::mysql::MySqlSource::new(&url).unwrap();
    let killer = std::thread::spawn(|| {
        let (mut killed, began) = (0, Instant::now());
        while killed < 2 && began.elapsed() < Duration::from_secs(60) {
            let ids = server().sql(
                "",
                "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Binlog Dump' AND USER = 'follower'",
            );
            for id in ids.lines() {
                // It may have ended by itself.
                server().sql("", &format!("DELIMITER //\nBEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR SQLEXCEPTION SET @a = 1; KILL {id}; END//"));
                killed += 1;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        killed
    });
    let outcome = follower.extract(&wanted, &stage_in(root.path()), &NoProgress).await.unwrap();
    follower.close().await;
    assert_eq!(killer.join().unwrap(), 2);
    assert_eq!((outcome.manifest.mode, rows(&outcome)), (StageMode::Changes, 400_000));
    assert!(run_and_compare(&source, root.path(), &wanted, &["id"]).await.unchanged);
}
