//! Tables in parts: one moment for all connections, every row once however the keys lie, lost connections, changed tables.
//!
//! In: real servers with a binlog, without one, and with few rights.  Out: verdicts.
//! Never here: single values (`mysql_source`, `traps`).  Start at [`transfers_between_accounts_never_change_the_sum`].

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use connect::sources::mysql::MySqlSource;
use connect::sources::postgres::PostgresSource;
use connect::{ExtractMode, ExtractOutcome, Source, Stage};
use domain::{LogPosition, NoProgress};
use testbed::{MariaDb, Postgres};

use crate::support::{code_of, examined, read_parquet, request, stage_in};

/// Enough rows that a table is cut into as many parts as there are workers.
const ROWS: u64 = 400_000;

/// A server that writes a binlog, as one that is replicated does.
fn logging() -> &'static MariaDb {
    static SERVER: OnceLock<MariaDb> = OnceLock::new();
    SERVER.get_or_init(|| MariaDb::start_with(&["--log-bin=binlog", "--binlog-format=ROW", "--server-id=7"]))
}

async fn batches(stage: &Stage, outcome: &ExtractOutcome) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for file in &outcome.manifest.files {
        batches.extend(read_parquet(stage, file).await);
    }
    batches
}

fn sum_of(batches: &[RecordBatch], column: usize) -> i64 {
    batches.iter().flat_map(|batch| batch.column(column).as_primitive::<Int64Type>().values().to_vec()).sum()
}

/// Runs `extract` three times while four writers move money, and looks at the sum of each copy.
async fn bank(source: &dyn Source, writers: impl Fn(usize) -> std::thread::JoinHandle<()>, stop: impl FnOnce()) {
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let writers: Vec<_> = (0..4).map(writers).collect();
    let mut copies = Vec::new();
    for round in 0..3 {
        let outcome = source.extract(&request(&format!("t{round}"), "account"), &stage, &NoProgress).await.unwrap();
        source.close().await;
        assert!(outcome.manifest.files.len() >= 4, "{} parts", outcome.manifest.files.len());
        assert!(outcome.manifest.position.is_some());
        let batches = batches(&stage, &outcome).await;
        assert_eq!(sum_of(&batches, 1), ROWS as i64 * 100, "round {round}");
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() as u64, ROWS);
        copies.push(outcome.manifest.files.iter().map(|file| file.sha256.clone()).collect::<Vec<_>>());
    }
    stop();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_ne!(copies[0], copies[2], "no money was moved, so nothing was tested");
}

#[tokio::test]
async fn transfers_between_accounts_never_change_the_sum() {
    let server = logging();
    server.create_database("bank");
    server.sql(
        "bank",
        &format!(
            "CREATE TABLE account (id BIGINT PRIMARY KEY, balance BIGINT); CREATE TABLE stop (id INT);
             INSERT INTO account SELECT seq, 100 FROM seq_1_to_{ROWS}; ANALYZE TABLE account;
             DELIMITER //
             CREATE PROCEDURE move() BEGIN
               DECLARE a, b, m BIGINT;
               WHILE NOT EXISTS (SELECT * FROM stop) DO
                 SET a = 1 + FLOOR(RAND() * {ROWS}), b = 1 + FLOOR(RAND() * {ROWS}), m = FLOOR(RAND() * 50);
                 START TRANSACTION;
                 UPDATE account SET balance = balance - m WHERE id = LEAST(a, b);
                 UPDATE account SET balance = balance + m WHERE id = GREATEST(a, b);
                 COMMIT;
               END WHILE;
             END//"
        ),
    );
    let source = MySqlSource::new(&server.url("bank")).unwrap();
    // Two accounts locked in the order of their keys: no deadlock, so that no transfer stops half way.
    bank(
        &source,
        |_| std::thread::spawn(|| drop(logging().sql("bank", "CALL move()"))),
        || drop(server.sql("bank", "INSERT INTO stop VALUES (1)")),
    )
    .await;
}

#[tokio::test]
async fn transfers_in_postgresql_never_change_the_sum() {
    let server = Postgres::shared();
    server.create_database("bank");
    server.sql(
        "bank",
        &format!(
            "CREATE TABLE account (id bigint PRIMARY KEY, balance bigint); CREATE TABLE stop (id int);
             INSERT INTO account SELECT n, 100 FROM generate_series(1, {ROWS}) n; ANALYZE account;
             CREATE PROCEDURE move() LANGUAGE plpgsql AS $$
             DECLARE a bigint; b bigint; m bigint;
             BEGIN
               WHILE NOT EXISTS (SELECT FROM stop) LOOP
                 a := 1 + floor(random() * {ROWS}); b := 1 + floor(random() * {ROWS}); m := floor(random() * 50);
                 UPDATE account SET balance = balance - m WHERE id = least(a, b);
                 UPDATE account SET balance = balance + m WHERE id = greatest(a, b);
                 COMMIT;
               END LOOP;
             END $$;"
        ),
    );
    let source = PostgresSource::new(&server.url("bank")).unwrap();
    bank(
        &source,
        |_| std::thread::spawn(|| drop(Postgres::shared().sql("bank", "CALL move()"))),
        || drop(server.sql("bank", "INSERT INTO stop VALUES (1)")),
    )
    .await;
}

/// Rows per part, after checking that the parts hold each row of `expected`, in its order, once.
fn check_parts(parts: &[Vec<String>], expected: &str, what: &str) -> Vec<usize> {
    let found: Vec<&String> = parts.iter().flatten().collect();
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    let differs = found.iter().zip(&expected).position(|(found, expected)| found.as_str() != *expected);
    assert!(differs.is_none(), "{what}: row {differs:?} differs");
    parts.iter().map(Vec::len).collect()
}

/// The first column of each part, as text.
async fn keys(stage: &Stage, outcome: &ExtractOutcome) -> Vec<Vec<String>> {
    let mut parts = Vec::new();
    for file in &outcome.manifest.files {
        let mut keys = Vec::new();
        for batch in read_parquet(stage, file).await {
            let text = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
            keys.extend(text.as_string::<i32>().iter().map(|key| key.unwrap().to_owned()));
        }
        parts.push(keys);
    }
    parts
}

#[tokio::test]
async fn keys_of_every_kind_are_cut_evenly_and_no_row_is_lost() {
    let server = MariaDb::shared();
    server.create_database("keys");
    // The first column shows the row; the key is made from it.
    for (table, columns, key, select) in [
        // Sparse and skewed: a dense start, and single rows up to the end of the type.
        ("skewed", "k BIGINT UNSIGNED PRIMARY KEY", "k", "IF(seq % 1000 = 0, 18446744073709551615 - seq, seq)"),
        ("negative", "k BIGINT PRIMARY KEY", "k", "IF(seq % 2, seq, -seq * 20000000000000)"),
        ("composite", "k INT, t INT, s VARCHAR(40), PRIMARY KEY (t, s)", "t, s", "seq, seq % 3, CONCAT('Ä', MD5(seq))"),
        // A collation in which A = a, and the key of whose literal is another character set.
        ("text", "k VARCHAR(40) CHARACTER SET latin1 PRIMARY KEY", "k", "CONCAT(IF(seq % 2, 'é', 'Z'), MD5(seq))"),
        ("uuid", "k UUID PRIMARY KEY", "k", "INSERT(INSERT(MD5(seq), 13, 1, '4'), 17, 1, '8')"),
        ("dec", "k DECIMAL(30,10) PRIMARY KEY", "k", "(CAST(seq AS SIGNED) - 130000) * 1234567.0000000001"),
    ] {
        server.sql(
            "keys",
            &format!("CREATE TABLE `{table}` ({columns}) CHARSET=utf8mb4; INSERT INTO `{table}` SELECT {select} FROM seq_1_to_{ROWS}; ANALYZE TABLE `{table}`;"),
        );
        let root = tempfile::tempdir().unwrap();
        let stage = stage_in(root.path());
        let source = MySqlSource::new(&server.url("keys")).unwrap();
        let outcome = source.extract(&request("t", table), &stage, &NoProgress).await.unwrap();
        source.close().await;
        let expected = server.sql("keys", &format!("SELECT k FROM `{table}` ORDER BY {key}"));
        let mut sizes = check_parts(&keys(&stage, &outcome).await, &expected, table);
        sizes.sort_unstable();
        assert!(sizes.len() >= 4, "{table}: {sizes:?}");
        assert!(sizes[sizes.len() - 1] <= 3 * sizes[sizes.len() / 2], "{table}: {sizes:?}");
        // Cut at the same places, so that nothing looks new.
        let again = source.extract(&request("t", table), &stage, &NoProgress).await.unwrap();
        source.close().await;
        assert!(again.unchanged, "{table}");
    }
}

#[tokio::test]
async fn keys_of_postgresql_are_cut_evenly_and_no_row_is_lost() {
    let server = Postgres::shared();
    server.create_database("keys");
    for (table, columns, key, select) in [
        ("skewed", "k bigint PRIMARY KEY", "k", "CASE WHEN n % 1000 = 0 THEN 9223372036854775807 - n ELSE n END"),
        ("composite", "k int, t int, s text, PRIMARY KEY (t, s)", "t, s", "n, n % 3, 'Ä''\\' || md5(n::text)"),
        ("uuids", "k uuid PRIMARY KEY", "k", "md5(n::text)::uuid"),
        (
            "moments",
            "k text, m timestamptz PRIMARY KEY",
            "m",
            "n::text, '2024-11-03'::timestamptz + n * interval '7 us'",
        ),
    ] {
        server.sql(
            "keys",
            &format!("CREATE TABLE {table} ({columns}); INSERT INTO {table} SELECT {select} FROM generate_series(1, {ROWS}) n; ANALYZE {table};"),
        );
        let root = tempfile::tempdir().unwrap();
        let stage = stage_in(root.path());
        let source = PostgresSource::new(&server.url("keys")).unwrap();
        let outcome = source.extract(&request("t", table), &stage, &NoProgress).await.unwrap();
        source.close().await;
        let expected = server.sql("keys", &format!("SELECT k FROM {table} ORDER BY {key}"));
        let mut sizes = check_parts(&keys(&stage, &outcome).await, &expected, table);
        sizes.sort_unstable();
        assert!(sizes.len() >= 4, "{table}: {sizes:?}");
        assert!(sizes[sizes.len() - 1] <= 3 * sizes[sizes.len() / 2], "{table}: {sizes:?}");
        let again = source.extract(&request("t", table), &stage, &NoProgress).await.unwrap();
        source.close().await;
        assert!(again.unchanged, "{table}");
    }
}

/// Kills the first connection that is seen reading, and answers whether there was one.
fn kill_a_reader(find: impl Fn() -> Option<String>, kill: impl Fn(&str)) -> bool {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(60) {
        if let Some(id) = find() {
            kill(&id);
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

#[tokio::test]
async fn a_connection_that_is_cut_in_mid_part_costs_no_row() {
    let server = MariaDb::shared();
    server.create_database("cut");
    server.sql("cut", &format!("CREATE TABLE t (k INT PRIMARY KEY, v VARCHAR(400)); INSERT INTO t SELECT seq, REPEAT('x', 400) FROM seq_1_to_{ROWS}; ANALYZE TABLE t;"));
    let killer = std::thread::spawn(|| {
        let reading = "SELECT id FROM information_schema.processlist WHERE db = 'cut' AND command <> 'Sleep' \
                       AND info LIKE 'SELECT `k`%' AND time_ms > 20 LIMIT 1";
        kill_a_reader(
            || server.sql("", reading).split_whitespace().next().map(str::to_owned),
            |id| drop(server.sql("", &format!("KILL {id}"))),
        )
    });
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let source = MySqlSource::new(&server.url("cut")).unwrap();
    let mut table = request("t", "t");
    table.with_proof = false;
    let outcome = source.extract(&table, &stage, &NoProgress).await;
    source.close().await;
    assert!(killer.join().unwrap(), "no connection was killed");
    let expected = server.sql("cut", "SELECT k FROM t ORDER BY k");
    check_parts(&keys(&stage, &outcome.unwrap()).await, &expected, "cut");
}

#[tokio::test]
async fn a_cut_connection_to_postgresql_costs_no_row() {
    let server = Postgres::shared();
    server.create_database("cut");
    server.sql("cut", &format!("CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t SELECT n, repeat('x', 400) FROM generate_series(1, {ROWS}) n; ANALYZE t;"));
    let killer = std::thread::spawn(|| {
        let reading = "SELECT pid FROM pg_stat_activity WHERE datname = 'cut' AND state = 'active' AND query LIKE 'COPY (SELECT%' \
                       AND clock_timestamp() - query_start > interval '20 ms' LIMIT 1";
        kill_a_reader(
            || server.sql("postgres", reading).split_whitespace().next().map(str::to_owned),
            |id| drop(server.sql("postgres", &format!("SELECT pg_terminate_backend({id})"))),
        )
    });
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let source = PostgresSource::new(&server.url("cut")).unwrap();
    let mut table = request("t", "t");
    table.with_proof = false;
    let outcome = source.extract(&table, &stage, &NoProgress).await;
    source.close().await;
    assert!(killer.join().unwrap(), "no connection was killed");
    let expected = server.sql("cut", "SELECT k FROM t ORDER BY k");
    check_parts(&keys(&stage, &outcome.unwrap()).await, &expected, "cut");
}

#[tokio::test]
async fn a_user_who_may_only_read_gets_one_connection_and_the_same_rows() {
    let server = logging();
    server.create_database("reader");
    server.sql("reader", &format!("CREATE TABLE t (k INT PRIMARY KEY); INSERT INTO t SELECT seq FROM seq_1_to_{ROWS}; ANALYZE TABLE t; CREATE OR REPLACE USER reader@'%' IDENTIFIED BY 'r'; GRANT SELECT ON reader.* TO reader@'%';"));
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let source = MySqlSource::new(&format!("mysql://reader:r@127.0.0.1:{}/reader", server.port())).unwrap();
    let outcome = source.extract(&request("t", "t"), &stage, &NoProgress).await.unwrap();
    let findings = source.examine(&[examined("t", &ExtractMode::Full)]).await.unwrap();
    assert_eq!(
        findings.iter().map(|finding| (finding.what, finding.next.is_some())).collect::<Vec<_>>(),
        [("snapshot", true), ("largest row", false)]
    );
    let connections = server.sql("", "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'reader'");
    source.close().await;
    assert_eq!(connections.trim(), "1");
    let expected = server.sql("reader", "SELECT k FROM t ORDER BY k");
    check_parts(&keys(&stage, &outcome).await, &expected, "reader");
    // The place of its snapshot needs no right.
    let position = outcome.manifest.position.unwrap();
    assert!(matches!(position, LogPosition::Binlog { .. }), "{position:?}");
}

#[tokio::test]
async fn a_table_that_changed_since_the_snapshot_is_refused() {
    let server = MariaDb::shared();
    server.create_database("altered");
    server.sql("altered", "CREATE TABLE a (k INT PRIMARY KEY); CREATE TABLE b LIKE a; CREATE TABLE c LIKE a; INSERT INTO a VALUES (1); INSERT INTO b VALUES (2); INSERT INTO c VALUES (3);");
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let source = MySqlSource::new(&server.url("altered")).unwrap();
    source.extract(&request("a", "a"), &stage, &NoProgress).await.unwrap();
    // The snapshot is there, and `a` was given back: neither waits.
    server.sql(
        "altered",
        "SET SESSION lock_wait_timeout = 5; ALTER TABLE a ADD COLUMN x INT; ALTER TABLE b MODIFY k BIGINT; TRUNCATE c;",
    );
    for table in ["b", "c"] {
        let result = source.extract(&request(table, table), &stage, &NoProgress).await;
        assert_eq!(code_of(result, ""), "table_changed", "{table}");
    }
    source.close().await;
    let outcome = source.extract(&request("b", "b"), &stage, &NoProgress).await.unwrap();
    source.close().await;
    assert_eq!(outcome.manifest.files[0].rows, Some(1));
}

#[tokio::test]
async fn a_table_of_postgresql_that_was_emptied_since_the_snapshot_is_refused() {
    let server = Postgres::shared();
    server.create_database("altered");
    server.sql("altered", "CREATE TABLE a (k int PRIMARY KEY); CREATE TABLE b (k int PRIMARY KEY); CREATE TABLE c (k int PRIMARY KEY); INSERT INTO a VALUES (1); INSERT INTO b VALUES (2); INSERT INTO c VALUES (3);");
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let source = PostgresSource::new(&server.url("altered")).unwrap();
    source.extract(&request("a", "a"), &stage, &NoProgress).await.unwrap();
    server.sql("altered", "SET lock_timeout = '5s'; TRUNCATE a; TRUNCATE b; ALTER TABLE c ALTER k TYPE bigint;");
    for table in ["b", "c"] {
        let result = source.extract(&request(table, table), &stage, &NoProgress).await;
        assert_eq!(code_of(result, ""), "table_changed", "{table}");
    }
    source.close().await;
}

#[tokio::test]
async fn what_is_in_no_snapshot_and_what_may_not_be_read_is_said_before() {
    let server = logging();
    server.create_database("examined");
    server.sql("examined", "CREATE TABLE a (k INT PRIMARY KEY); CREATE TABLE b (k INT) ENGINE = MyISAM;");
    let source = MySqlSource::new(&server.url("examined")).unwrap();
    let findings =
        source.examine(&[examined("a", &ExtractMode::Full), examined("examined.b", &ExtractMode::Full)]).await.unwrap();
    let said: Vec<_> = findings.iter().map(|finding| (finding.what, finding.next.is_some())).collect();
    assert_eq!(said, [("snapshot", false), ("largest row", false), ("engines", true)]);
    assert!(findings[2].detail.contains("`examined.b` (MyISAM)"), "{findings:?}");

    let server = Postgres::shared();
    server.create_database("examined");
    server.sql("examined", "CREATE TABLE a (k int); CREATE TABLE b (k int); CREATE ROLE peeker LOGIN PASSWORD 'p'; GRANT SELECT ON a TO peeker;");
    let source = PostgresSource::new(&format!("postgres://peeker:p@127.0.0.1:{}/examined", server.port())).unwrap();
    let findings =
        source.examine(&[examined("a", &ExtractMode::Full), examined("public.b", &ExtractMode::Full)]).await.unwrap();
    assert!(findings[0].next.as_ref().unwrap().contains("GRANT SELECT ON public.b TO peeker"), "{findings:?}");
}

#[tokio::test]
async fn borders_that_are_out_of_order_are_found_anew() {
    let server = MariaDb::shared();
    server.create_database("order_");
    server.sql(
        "order_",
        &format!("CREATE TABLE t (k INT PRIMARY KEY); INSERT INTO t SELECT seq FROM seq_1_to_{ROWS}; ANALYZE TABLE t;"),
    );
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let source = MySqlSource::new(&server.url("order_")).unwrap();
    let mut table = request("t", "t");
    table.with_proof = false;
    source.extract(&table, &stage, &NoProgress).await.unwrap();
    source.close().await;
    // As a change of the collation would leave them: ranges between them overlap, and rows would come twice.
    let path = root.path().join("stage/shop/t/00000000000000000001.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest["cut"]["borders"].as_array_mut().unwrap().swap(0, 2);
    std::fs::write(&path, manifest.to_string()).unwrap();
    let outcome = source.extract(&table, &stage, &NoProgress).await.unwrap();
    source.close().await;
    let expected = server.sql("order_", "SELECT k FROM t ORDER BY k");
    check_parts(&keys(&stage, &outcome).await, &expected, "borders");
}

/// Its own binlog stands still while it takes over commits of its primary, so it must not be what connections agree by.
#[tokio::test]
async fn a_replica_that_does_not_log_what_it_takes_over_is_read_under_the_lock() {
    let primary = logging();
    // The databases of other tests are not there, and whatever concerns them is passed over.
    let replica = MariaDb::start_with(&["--log-bin=replica", "--server-id=9", "--slave-skip-errors=all"]);
    let source = MySqlSource::new(&replica.url("mysql")).unwrap();
    let snapshot = async || source.examine(&[]).await.unwrap().remove(0).detail;
    assert!(snapshot().await.contains("through the binlog"));
    let status = primary.sql("", "SHOW MASTER STATUS");
    let mut place = status.split_whitespace();
    let (file, position) = (place.next().unwrap(), place.next().unwrap());
    replica.sql(
        "",
        &format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'montauk', MASTER_PASSWORD = '{}', \
             MASTER_LOG_FILE = '{file}', MASTER_LOG_POS = {position}; START SLAVE;",
            primary.port(),
            primary.password()
        ),
    );
    let since = Instant::now();
    while !snapshot().await.contains("read lock") {
        assert!(since.elapsed() < Duration::from_secs(30), "{}", snapshot().await);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_server_that_gives_few_connections_is_read_with_those() {
    let server = logging();
    server.create_database("few");
    server.sql("few", "CREATE TABLE t (k INT PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE OR REPLACE USER few@'%' IDENTIFIED BY 'f' WITH MAX_USER_CONNECTIONS 2; GRANT SELECT ON few.* TO few@'%'; GRANT BINLOG MONITOR ON *.* TO few@'%';");
    let root = tempfile::tempdir().unwrap();
    let source = MySqlSource::new(&format!("mysql://few:f@127.0.0.1:{}/few", server.port())).unwrap();
    let outcome = source.extract(&request("t", "t"), &stage_in(root.path()), &NoProgress).await.unwrap();
    let connections = server.sql("", "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'few'");
    source.close().await;
    assert_eq!((outcome.manifest.files[0].rows, connections.trim()), (Some(2), "2"));
}

#[tokio::test]
async fn a_view_is_read_and_not_proven() {
    let server = MariaDb::shared();
    server.create_database("views");
    server.sql("views", "CREATE TABLE t (k INT PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE VIEW v AS SELECT k, NOW(6) AS at FROM t;");
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let source = MySqlSource::new(&server.url("views")).unwrap();
    let view = source.extract(&request("v", "v"), &stage, &NoProgress).await.unwrap().manifest;
    let table = source.extract(&request("t", "t"), &stage, &NoProgress).await.unwrap().manifest;
    source.close().await;
    assert_eq!((view.files[0].rows, view.proof.is_none(), table.proof.is_some()), (Some(2), true, true));
}
