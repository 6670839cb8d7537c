//! Mode `changes` on MariaDB: what the log does not hold is read whole, and what it cannot give is refused.
//!
//! In: real servers with a binlog.  Out: verdicts.  Never here: changes that arrive (`mysql_log`).
//! Start at [`a_table_that_is_defined_anew_is_read_whole`].

use connect::sources::mysql::MySqlSource;
use connect::{ExtractMode, ExtractOutcome, ExtractRequest, InvalidDates, Source};
use domain::{Problem, StageMode};
use testbed::MariaDb;

use crate::binlog::{LOG, changes, database, rows, run, run_and_compare, server};
use crate::support::{code_of, examined};

/// Runs `script` between two runs; answers the second, whose rows are compared with the table.
async fn between(server: &MariaDb, name: &str, (schema, script): (&str, &str), table: &str) -> ExtractOutcome {
    let source = database(server, name, schema);
    let root = tempfile::tempdir().unwrap();
    run_and_compare(&source, root.path(), &changes(table), &["id"]).await;
    server.sql(name, script);
    let outcome = run_and_compare(&source, root.path(), &changes(table), &["id"]).await;
    // However it was read, the next run goes on from there.
    let next = run_and_compare(&source, root.path(), &changes(table), &["id"]).await;
    assert!(next.unchanged, "{script}");
    outcome
}

#[tokio::test]
async fn a_table_that_is_defined_anew_is_read_whole() {
    let schema = "CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 1), (2, 2);";
    let scripts = [
        "ALTER TABLE t ADD COLUMN w INT DEFAULT 3; INSERT INTO t VALUES (3, 3, 3)",
        "ALTER TABLE t FORCE; INSERT INTO t VALUES (3, 3)",
        "TRUNCATE TABLE t; INSERT INTO t VALUES (9, 9)",
        "DROP TABLE t; CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (7, 7)",
        "CREATE TABLE u LIKE t; INSERT INTO u VALUES (5, 5); RENAME TABLE t TO old, u TO t",
        "ALTER TABLE t MODIFY v BIGINT; INSERT INTO t VALUES (3, 1 << 40); ALTER TABLE t MODIFY v BIGINT COMMENT 'again'",
        "DROP DATABASE log_defined_6; CREATE DATABASE log_defined_6; USE log_defined_6; CREATE TABLE t (id INT PRIMARY KEY, v INT)",
    ];
    for (place, script) in scripts.into_iter().enumerate() {
        let outcome = between(server(), &format!("log_defined_{place}"), (schema, script), "t").await;
        let why = outcome.read_anew.unwrap_or_else(|| panic!("{script}: not read whole"));
        assert!(why.starts_with("its definition changed at binlog.0000") || why == "its columns have changed", "{why}");
        assert_eq!(outcome.manifest.mode, StageMode::Full);
    }
}

#[tokio::test]
async fn definitions_of_others_are_ignored() {
    let schema =
        "CREATE TABLE t (id INT PRIMARY KEY, v INT); CREATE TABLE o (id INT PRIMARY KEY); INSERT INTO t VALUES (1, 1);";
    let script = "ALTER TABLE o ADD x INT; TRUNCATE o; DROP TABLE o; CREATE TABLE t2 (a INT); CREATE VIEW w AS SELECT * FROM t; \
        CREATE INDEX i ON t (v); ANALYZE TABLE t; OPTIMIZE TABLE t; CREATE OR REPLACE DATABASE log_others_2; \
        CREATE TABLE log_others_2.t (id INT); DROP TABLE log_others_2.t; \
        CREATE TRIGGER tr AFTER INSERT ON t2 FOR EACH ROW UPDATE t SET v = v + 1; INSERT INTO t2 VALUES (1), (2); \
        CREATE OR REPLACE USER other@'%'; GRANT SELECT ON log_others.t TO other@'%'; INSERT INTO t VALUES (2, 2);";
    let outcome = between(server(), "log_others", (schema, script), "t").await;
    assert_eq!((outcome.read_anew.as_deref(), outcome.manifest.mode, rows(&outcome)), (None, StageMode::Changes, 3));
}

#[tokio::test]
async fn what_is_not_logged_as_rows_is_read_whole() {
    // What the log does not say of which table it is concerns all of a server.
    let server = MariaDb::start_with(&LOG);
    let schema = "CREATE TABLE t (id INT PRIMARY KEY, v INT, w INT); INSERT INTO t VALUES (1, 1, 1), (2, 2, 2); \
        CREATE TABLE m (a INT) ENGINE = MyISAM; CREATE VIEW shown AS SELECT * FROM t;";
    let cases = [
        ("SET SESSION binlog_format = STATEMENT; UPDATE shown SET v = 9", "binlog_format"),
        ("SET SESSION binlog_row_image = MINIMAL; UPDATE t SET v = 9 WHERE id = 1", "binlog_row_image"),
        (
            "SET SESSION binlog_row_image = NOBLOB; SET SESSION binlog_row_image = MINIMAL; DELETE FROM t WHERE id = 1",
            "binlog_row_image",
        ),
        (
            "START TRANSACTION; INSERT INTO t VALUES (3, 3, 3); INSERT INTO m VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (4, 4, 4); \
             INSERT INTO m VALUES (2); ROLLBACK TO s; COMMIT",
            "taken back",
        ),
        ("XA START 'x1'; INSERT INTO t VALUES (3, 3, 3); XA END 'x1'; XA PREPARE 'x1'; XA COMMIT 'x1'", "XA"),
    ];
    for (place, (script, reason)) in cases.into_iter().enumerate() {
        let outcome = between(&server, &format!("log_unlogged_{place}"), (schema, script), "t").await;
        let why = outcome.read_anew.unwrap_or_else(|| panic!("{script}: not read whole"));
        assert!(why.contains(reason), "{why}");
    }
    for (place, script) in [
        "XA START 'x2'; INSERT INTO t VALUES (3, 3, 3); XA END 'x2'; XA PREPARE 'x2'; XA ROLLBACK 'x2'",
        "XA START 'x3'; INSERT INTO m VALUES (3); XA END 'x3'; XA COMMIT 'x3' ONE PHASE; INSERT INTO t VALUES (4, 4, 4)",
        "START TRANSACTION; INSERT INTO t VALUES (3, 3, 3); INSERT INTO m VALUES (3); ROLLBACK; INSERT INTO t VALUES (4, 4, 4)",
        "XA START 'x4'; INSERT INTO t VALUES (3, 3, 3); XA END 'x4'; XA COMMIT 'x4' ONE PHASE",
    ]
    .into_iter()
    .enumerate()
    {
        let outcome = between(&server, &format!("log_logged_{place}"), (schema, script), "t").await;
        assert_eq!(outcome.read_anew, None, "{script}");
    }
}

#[tokio::test]
async fn an_xa_transaction_that_spans_two_runs_is_not_lost() {
    let server = MariaDb::start_with(&LOG);
    let source = database(&server, "log_xa", "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)");
    let root = tempfile::tempdir().unwrap();
    run_and_compare(&source, root.path(), &changes("t"), &["id"]).await;
    server.sql("log_xa", "XA START 'span'; INSERT INTO t VALUES (2); XA END 'span'; XA PREPARE 'span'");
    let before = run_and_compare(&source, root.path(), &changes("t"), &["id"]).await;
    assert!(before.unchanged);
    server.sql("log_xa", "INSERT INTO t VALUES (3)");
    run_and_compare(&source, root.path(), &changes("t"), &["id"]).await;
    server.sql("log_xa", "XA COMMIT 'span'");
    let after = run_and_compare(&source, root.path(), &changes("t"), &["id"]).await;
    assert_eq!((after.read_anew.is_some(), rows(&after)), (true, 3));
}

#[tokio::test]
async fn what_foreign_keys_pass_on_is_read_whole() {
    let schema = "CREATE TABLE a (id INT PRIMARY KEY, x INT); CREATE TABLE b (id INT PRIMARY KEY, a INT, \
          FOREIGN KEY (a) REFERENCES a (id) ON DELETE CASCADE ON UPDATE CASCADE); \
        CREATE TABLE t (id INT PRIMARY KEY, b INT, up INT, FOREIGN KEY (b) REFERENCES b (id) ON DELETE SET NULL, \
          FOREIGN KEY (up) REFERENCES t (id) ON DELETE CASCADE); \
        INSERT INTO a VALUES (1, 1), (2, 2), (3, 3); INSERT INTO b VALUES (1, 1), (2, 2), (3, 3); \
        INSERT INTO t VALUES (1, 1, NULL), (2, 2, 1), (3, 3, NULL), (4, 3, 3);";
    let cases = [
        ("DELETE FROM b WHERE id = 1", true),
        ("DELETE FROM a WHERE id = 1", true),
        ("UPDATE a SET id = 9 WHERE id = 3", true),
        ("DELETE FROM t WHERE id = 3", true),
        ("UPDATE a SET x = x + 1; INSERT INTO a VALUES (7, 7); UPDATE b SET a = 7 WHERE id = 2", false),
        ("UPDATE t SET up = NULL; INSERT INTO t VALUES (8, 3, 4)", false),
    ];
    for (place, (script, is_whole)) in cases.into_iter().enumerate() {
        let outcome = between(server(), &format!("log_cascade_{place}"), (schema, script), "t").await;
        assert_eq!(outcome.read_anew.is_some(), is_whole, "{script}: {:?}", outcome.read_anew);
    }
}

#[tokio::test]
async fn a_log_that_does_not_reach_back_is_never_passed_over() {
    let server = MariaDb::start_with(&LOG);
    let source = database(&server, "gone", "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)");
    let (root, wanted) = (tempfile::tempdir().unwrap(), changes("t"));
    run(&source, root.path(), &wanted).await.unwrap();
    server.sql("gone", "INSERT INTO t VALUES (2); FLUSH LOGS");
    // The server keeps a file for as long as its engines may need it after a crash.
    for _ in 0..500 {
        server.sql("", "PURGE BINARY LOGS TO 'binlog.000002'");
        if !server.sql("", "SHOW BINARY LOGS").contains("binlog.000001") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let result = run(&source, root.path(), &wanted).await;
    let error = result.as_ref().unwrap_err();
    assert!(error.to_string().contains("binlog.000001"), "{error}");
    assert!(error.help().unwrap().contains("montauk extract shop.t --anew"));
    assert_eq!(code_of(result, server.password()), "log_gone");
    let anew = ExtractRequest { anew: true, ..wanted.clone() };
    assert_eq!(rows(&run_and_compare(&source, root.path(), &anew, &["id"]).await), 2);
    // A log that was begun anew, shorter and longer than it was.
    server.sql("gone", "RESET MASTER");
    assert_eq!(code_of(run(&source, root.path(), &wanted).await, ""), "log_gone");
    run(&source, root.path(), &anew).await.unwrap();
    server.sql("gone", "INSERT INTO t VALUES (3)");
    run_and_compare(&source, root.path(), &wanted, &["id"]).await;
    server.sql("gone", "RESET MASTER; INSERT INTO t SELECT seq FROM seq_10_to_2000; CREATE TABLE u (i INT); INSERT INTO u VALUES (1), (2)");
    let result = run(&source, root.path(), &wanted).await;
    assert!(result.as_ref().unwrap_err().to_string().contains("GTID"));
    assert_eq!(code_of(result, ""), "log_gone");
}

#[tokio::test]
async fn settings_without_which_changes_are_not_in_the_log_are_named() {
    let server = MariaDb::start_with(&LOG);
    let source = database(&server, "settings", "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)");
    let (root, wanted) = (tempfile::tempdir().unwrap(), changes("t"));
    for (name, bad, good) in [
        ("binlog_format", "MIXED", "ROW"),
        ("binlog_row_image", "MINIMAL", "FULL"),
        ("binlog_row_image", "NOBLOB", "FULL"),
        ("binlog_row_metadata", "NO_LOG", "FULL"),
        ("binlog_row_metadata", "MINIMAL", "FULL"),
    ] {
        server.sql("", &format!("SET GLOBAL {name} = {bad}"));
        let result = run(&source, root.path(), &wanted).await;
        assert!(result.as_ref().unwrap_err().help().unwrap().contains(&format!("SET GLOBAL {name} = {good}")));
        assert_eq!(code_of(result, server.password()), "log_unusable", "{name} = {bad}");
        server.sql("", &format!("SET GLOBAL {name} = {good}"));
    }
    assert!(run(&source, root.path(), &wanted).await.is_ok());
    // Rows that were logged while the setting was another one.
    server.sql(
        "settings",
        "SET GLOBAL binlog_row_metadata = MINIMAL; INSERT INTO t VALUES (2); SET GLOBAL binlog_row_metadata = FULL",
    );
    let outcome = run_and_compare(&source, root.path(), &wanted, &["id"]).await;
    assert!(outcome.read_anew.unwrap().contains("binlog_row_metadata"));
    let rights = ["SELECT", "SELECT, BINLOG MONITOR", "SELECT, REPLICATION SLAVE"];
    for granted in rights {
        server
            .sql("", &format!("CREATE OR REPLACE USER few@'%' IDENTIFIED BY 'few'; GRANT {granted} ON *.* TO few@'%'"));
        let few = MySqlSource::new(&format!("mysql://few:few@127.0.0.1:{}/settings", server.port())).unwrap();
        let empty = tempfile::tempdir().unwrap();
        let result = run(&few, empty.path(), &wanted).await;
        assert!(
            result
                .as_ref()
                .unwrap_err()
                .help()
                .unwrap()
                .contains("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO few")
        );
        assert_eq!(code_of(result, "few@"), "log_unusable", "{granted}");
        let said = few.examine(&[examined("t", &ExtractMode::Changes)]).await.unwrap().pop().unwrap();
        assert_eq!((said.what, said.next.unwrap().starts_with("`GRANT REPLICATION SLAVE")), ("log", true));
    }
    server.sql("", "GRANT SELECT, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO few@'%'");
    let few = MySqlSource::new(&format!("mysql://few:few@127.0.0.1:{}/settings", server.port())).unwrap();
    run_and_compare(&few, tempfile::tempdir().unwrap().path(), &wanted, &["id"]).await;
    let said = few.examine(&[examined("t", &ExtractMode::Changes)]).await.unwrap().pop().unwrap();
    assert_eq!((said.what, said.next), ("log", None));
}

#[tokio::test]
async fn tables_whose_changes_cannot_be_told_are_refused() {
    let source = database(
        server(),
        "log_refused",
        "CREATE TABLE nokey (id INT); CREATE TABLE my (id INT PRIMARY KEY) ENGINE = MyISAM; \
         CREATE TABLE versioned (id INT PRIMARY KEY) WITH SYSTEM VERSIONING; \
         CREATE TABLE numbered (id INT AUTO_INCREMENT PRIMARY KEY, v INT AS (id * 2) VIRTUAL); \
         CREATE TABLE packed (id INT PRIMARY KEY, b BLOB COMPRESSED); CREATE TABLE marked (id INT PRIMARY KEY, _montauk_deleted INT); \
         CREATE TABLE dated (id DATE PRIMARY KEY);",
    );
    let root = tempfile::tempdir().unwrap();
    for (table, code) in [
        ("nokey", "no_key"),
        ("my", "log_unusable"),
        ("versioned", "log_unusable"),
        ("numbered", "log_unusable"),
        ("packed", "log_unusable"),
        ("marked", "log_unusable"),
        ("absent", "no_such_source_table"),
    ] {
        assert_eq!(code_of(run(&source, root.path(), &changes(table)).await, ""), code, "{table}");
    }
    run(&source, root.path(), &changes("dated")).await.unwrap();
    server().sql("log_refused", "SET sql_mode = ''; INSERT INTO dated VALUES ('0000-00-00')");
    assert_eq!(code_of(run(&source, root.path(), &changes("dated")).await, ""), "bad_value");
    let text = ExtractRequest { invalid_dates: InvalidDates::Text, config_hash: "t".to_owned(), ..changes("dated") };
    assert_eq!(run(&source, root.path(), &text).await.unwrap().read_anew.as_deref(), Some("its settings have changed"));
    let without = MariaDb::shared();
    let source = database(without, "no_log", "CREATE TABLE t (id INT PRIMARY KEY)");
    assert_eq!(code_of(run(&source, root.path(), &changes("t")).await, without.password()), "log_unusable");
}
