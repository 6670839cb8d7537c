//! Queries to MariaDB whose rows are a table: exact types, one snapshot, the proof, and what is refused.
//!
//! In: a real server.  Out: verdicts.  Never here: tables (`mysql_source`, `parallel`).
//! Start at [`what_a_query_computes_arrives_exactly`].

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use connect::sources::mysql::MySqlSource;
use connect::{ConnectError, Examined, ExtractMode, ExtractOutcome, InvalidDates, Source};
use domain::{NoProgress, Problem, StagedFile};
use testbed::MariaDb;

use crate::support::{code_of, columns_as_text, query, read_parquet, request, stage_in};

const SHOP: &str = "
SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00';
CREATE TABLE orders (id BIGINT UNSIGNED PRIMARY KEY, customer INT, total DECIMAL(12,2), at DATETIME(3), ts TIMESTAMP(6) NULL, note TEXT,
  t TIME(2), u UUID, b BIT(9), e ENUM('new','done'), d DATE, f FLOAT, x DOUBLE, y YEAR, bl BLOB, z INT(6) ZEROFILL, c CHAR(5), place POINT, js JSON);
INSERT INTO orders VALUES
(18446744073709551615, 1, 9999999999.99, '2024-12-31 23:59:59.999', '2024-03-10 07:30:00.123456', '김치', '-838:59:58.99', '01234567-89ab-4def-8123-456789abcdef',
 b'100000001', 'done', '2024-02-29', 0.1, 2.2250738585072014e-308, 2155, x'00ff', 7, 'ab', POINT(3.5,-2), '{\"a\":1.10}'),
(2, 1, -0.01, '0000-00-00', NULL, NULL, NULL, NULL, NULL, NULL, '2024-02-31', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(3, NULL, NULL, NULL, NULL, '', '00:00:00', NULL, b'0', 'new', '0001-01-01', 0, 0, 1901, '', 0, '', NULL, 'null');
CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(20) CHARACTER SET latin1);
INSERT INTO customers VALUES (1, 'Ærø');
";

fn database(name: &str, script: &str) -> MySqlSource {
    let server = MariaDb::shared();
    server.create_database(name);
    server.sql(name, script);
    MySqlSource::new(&server.url(name)).unwrap()
}

/// One run: the snapshot ends with it.
async fn extract(source: &MySqlSource, root: &Path, statement: &str) -> Result<ExtractOutcome, ConnectError> {
    let outcome = source.extract(&query("t", statement), &stage_in(root), &NoProgress).await;
    source.close().await;
    outcome
}

async fn text(root: &Path, file: &StagedFile) -> Vec<String> {
    columns_as_text(&read_parquet(&stage_in(root), file).await)
}

#[tokio::test]
async fn what_a_query_hands_through_has_the_types_of_its_table() {
    let source = database("query_types", SHOP);
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let whole = source.extract(&request("whole", "orders"), &stage, &NoProgress).await.unwrap();
    let same = query("t", "SELECT * FROM orders ORDER BY id");
    let queried = source.extract(&same, &stage, &NoProgress).await.unwrap();
    source.close().await;
    let value_and_type = |line: String| {
        let (head, rest) = line.split_once(" <").unwrap();
        format!("{head} = {}", rest.split_once("> = ").unwrap().1)
    };
    let whole_text = text(root.path(), &whole.manifest.files[0]).await.into_iter().map(value_and_type);
    let queried_text = text(root.path(), &queried.manifest.files[0]).await.into_iter().map(value_and_type);
    assert_eq!(queried_text.collect::<Vec<_>>(), whole_text.collect::<Vec<_>>());
    assert_eq!(queried.manifest.proof, whole.manifest.proof);
    let rejects = |outcome: &ExtractOutcome| outcome.manifest.files[0].rejects.clone();
    assert_eq!(rejects(&queried).len(), 2);
    assert_eq!(rejects(&queried), rejects(&whole));

    let as_text = connect::ExtractRequest {
        invalid_dates: InvalidDates::Text,
        ..query("dates", "SELECT id, at, d FROM orders WHERE id = 2")
    };
    let outcome = source.extract(&as_text, &stage_in(root.path()), &NoProgress).await.unwrap();
    source.close().await;
    let lines = text(root.path(), &outcome.manifest.files[0]).await;
    assert_eq!(lines[1..], ["at: Utf8 <datetime(3)> = 0000-00-00 00:00:00.000", "d: Utf8 <date> = 2024-02-31"]);
}

#[tokio::test]
async fn what_a_query_computes_arrives_exactly() {
    let source = database("query_computes", SHOP);
    let root = tempfile::tempdir().unwrap();
    let statement = "
        WITH sums AS (SELECT customer, SUM(total) AS total, COUNT(*) AS orders, SUM(id) AS ids, AVG(total) AS mean, MAX(at) AS last,
                      GROUP_CONCAT(COALESCE(note, '?') ORDER BY id) AS notes, MIN(ts) AS first FROM orders GROUP BY customer)
        SELECT s.*, c.name, c.id IS NULL AS unknown, IF(s.orders > 1, 2, 3.50) AS fee, NULL AS nothing, 'a''b' AS word, x'00ff' AS bytes,
               DATE_ADD(DATE(s.last), INTERVAL 1 DAY) AS next_day, s.orders / 3e0 AS third, TIMEDIFF('10:00:00', '12:30:00.5') AS apart
        FROM sums s LEFT JOIN customers c ON c.id = s.customer ORDER BY s.customer IS NULL, s.customer";
    let outcome = extract(&source, root.path(), statement).await.unwrap();
    let file = &outcome.manifest.files[0];
    assert_eq!((file.name.as_str(), file.rows), ("t.parquet", Some(2)));
    let expected = [
        "customer: Int32 <int> = 1 | ∅",
        "total: Decimal128(34, 2) <decimal(34,2)> = 9999999999.98 | ∅",
        "orders: Int64 <bigint> = 2 | 1",
        "ids: Decimal256(42, 0) <decimal(42,0)> = 18446744073709551617 | 3",
        "mean: Decimal128(16, 6) <decimal(16,6)> = 4999999999.990000 | ∅",
        "last: Timestamp(µs) <datetime(3)> = 2024-12-31T23:59:59.999 | ∅",
        "notes: Utf8 <text> = ?,김치 | ",
        "first: Timestamp(µs, \"UTC\") <timestamp(6)> = 2024-03-10T07:30:00.123456Z | ∅",
        "name: Utf8 <varchar(20)> = Ærø | ∅",
        "unknown: Int32 <int> = 0 | 1",
        "fee: Decimal128(3, 2) <decimal(3,2)> = 2.00 | 3.50",
        "nothing: Utf8 <text> = ∅ | ∅",
        "word: Utf8 <varchar(3)> = a'b | a'b",
        "bytes: Binary <varbinary(2)> = 00ff | 00ff",
        "next_day: Date32 <date> = 2025-01-01 | ∅",
        "third: Float64 <double> = 0.6666666666666666 | 0.3333333333333333",
        "apart: Duration(µs) <time(1)> = -PT9000.5S | -PT9000.5S",
    ];
    assert_eq!(text(root.path(), file).await, expected);
    let proof = outcome.manifest.proof.unwrap();
    assert_eq!((proof.rows, proof.columns.len()), (2, expected.len()));
    let cells = |name: &str| proof.columns.iter().find(|column| column.column == name).unwrap().checksum.cells;
    assert_eq!((cells("customer"), cells("nothing"), cells("notes")), (1, 0, 2));
}

#[tokio::test]
async fn a_query_and_a_table_of_one_run_see_one_moment() {
    let server = MariaDb::shared();
    let source = database(
        "query_bank",
        "CREATE TABLE account (id BIGINT PRIMARY KEY, balance BIGINT); CREATE TABLE stop (id INT);
         INSERT INTO account SELECT seq, 100 FROM seq_1_to_1000;
         DELIMITER //
         CREATE PROCEDURE move() BEGIN
           WHILE NOT EXISTS (SELECT * FROM stop) DO
             START TRANSACTION;
             UPDATE account SET balance = balance - 1 WHERE id = 1;
             UPDATE account SET balance = balance + 1 WHERE id = 2;
             COMMIT;
           END WHILE;
         END//",
    );
    let writer = std::thread::spawn(|| drop(MariaDb::shared().sql("query_bank", "CALL move()")));
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let mut seen = Vec::new();
    for round in 0..3 {
        let rich = query(&format!("rich{round}"), "SELECT balance, id FROM account WHERE id <= 2 ORDER BY id");
        let rich = source.extract(&rich, &stage, &NoProgress).await.unwrap();
        let all = source.extract(&request(&format!("all{round}"), "account"), &stage, &NoProgress).await.unwrap();
        source.close().await;
        assert_eq!(rich.manifest.position, all.manifest.position);
        let balances = |batches: &[arrow::array::RecordBatch], column| {
            batches[0].column(column).as_primitive::<Int64Type>().values()[..2].to_vec()
        };
        let by_query = balances(&read_parquet(&stage, &rich.manifest.files[0]).await, 0);
        let by_table = balances(&read_parquet(&stage, &all.manifest.files[0]).await, 1);
        assert_eq!(by_query, by_table, "round {round}");
        seen.push(by_query);
    }
    server.sql("query_bank", "INSERT INTO stop VALUES (1)");
    writer.join().unwrap();
    assert_ne!(seen[0], seen[2], "no money was moved, so nothing was tested");
}

#[tokio::test]
async fn a_table_of_a_query_that_was_emptied_since_the_snapshot_is_not_taken_for_empty() {
    let server = MariaDb::shared();
    let source = database(
        "query_emptied",
        "CREATE TABLE a (k INT PRIMARY KEY); CREATE TABLE c LIKE a; INSERT INTO a VALUES (1); INSERT INTO c VALUES (1); CREATE VIEW v AS SELECT k FROM a;",
    );
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    source.extract(&query("first", "SELECT k FROM c"), &stage, &NoProgress).await.unwrap();
    server.sql("query_emptied", "TRUNCATE TABLE a");
    for statement in ["SELECT c.k, a.k AS other FROM c LEFT JOIN a USING (k)", "SELECT COUNT(*) AS n FROM v"] {
        let refused = source.extract(&query("t", statement), &stage, &NoProgress).await;
        assert_eq!(code_of(refused, server.password()), "table_changed", "{statement}");
    }
    source.extract(&query("last", "SELECT k FROM c"), &stage, &NoProgress).await.unwrap();
    source.close().await;
    extract(&source, root.path(), "SELECT COUNT(*) AS n FROM v").await.unwrap();
}

#[tokio::test]
async fn an_empty_result_is_a_file_with_all_columns_and_the_end_may_be_written() {
    let source = database("query_empty", SHOP);
    let root = tempfile::tempdir().unwrap();
    let outcome = extract(&source, root.path(), "SELECT id, total FROM orders WHERE 1 = 0").await.unwrap();
    let lines = text(root.path(), &outcome.manifest.files[0]).await;
    assert_eq!(lines, ["id: UInt64 <bigint unsigned> = ", "total: Decimal128(12, 2) <decimal(12,2)> = "]);
    assert_eq!(outcome.manifest.proof.unwrap().rows, 0);
    for statement in [
        "SELECT id FROM orders ORDER BY id; -- the ; end\n",
        "SELECT id FROM orders ORDER BY id -- the end",
        "SELECT id FROM orders ORDER BY id # the end",
        "VALUES (1), (2), (3)",
        "SELECT CONCAT('a:b', ';', id) AS `the name` FROM orders",
    ] {
        let outcome = extract(&source, root.path(), statement).await.unwrap();
        assert_eq!(outcome.manifest.files[0].rows, Some(3), "{statement}");
        assert_eq!(outcome.manifest.proof.unwrap().rows, 3, "{statement}");
    }
    // Unchanged rows are not staged again.
    assert!(
        extract(&source, root.path(), "SELECT CONCAT('a:b', ';', id) AS `the name` FROM orders")
            .await
            .unwrap()
            .unchanged
    );
}

#[tokio::test]
async fn what_is_no_reading_of_rows_is_refused_by_name() {
    let server = MariaDb::shared();
    let source = database("query_refused", SHOP);
    server.sql(
        "query_refused",
        "DELIMITER //
         CREATE FUNCTION wipe() RETURNS INT MODIFIES SQL DATA BEGIN DELETE FROM customers; RETURN 1; END//",
    );
    let root = tempfile::tempdir().unwrap();
    for (statement, reason) in [
        ("SELECT COUNT(*) FROM orders", "column 1 has no name but `COUNT(*)`"),
        ("SELECT id, 1 FROM orders", "column 2 has no name but `1`"),
        ("SELECT a.id, b.id FROM orders a JOIN orders b USING (id)", "two of its columns are called `id`"),
        ("SELECT a.id, b.id AS `ID` FROM orders a JOIN orders b USING (id)", "error 1060: Duplicate column name 'ID'"),
        ("SELECT id FROM orders; DELETE FROM customers", "error 1064: "),
        ("SELECT id FROM orders; SELECT 1 AS x", "error 1064: "),
        ("DELETE FROM customers", "error 1792: Cannot execute statement in a READ ONLY transaction"),
        ("DELETE FROM customers RETURNING id", "error 1792: "),
        ("INSERT INTO customers VALUES (2, 'x') RETURNING id", "error 1792: "),
        ("SELECT wipe() AS gone", "error 1792: Cannot execute statement in a READ ONLY transaction"),
        ("SELECT id FROM orders INTO OUTFILE '/tmp/orders'", "it answers without columns"),
        ("SELECT id INTO @id FROM orders LIMIT 1", "it answers without columns"),
        ("COMMIT", "it answers without columns"),
        ("SHOW TABLES", "error 1064: "),
        ("SELECT id FORM orders", "error 1064: You have an error in your SQL syntax"),
        ("SELECT nothing FROM orders", "error 1054: Unknown column 'nothing'"),
        ("SELECT id FROM order_s", "error 1146: Table 'query_refused.order_s' doesn't exist"),
        ("SELECT id FROM orders) AS a JOIN (SELECT 1 AS b", "error 1064: "),
        ("SELECT id FROM orders WHERE id = ?", "it has places for values (`?`)"),
        ("SELECT id FROM orders WHERE id = :id", "it has places for values (`:name`)"),
        ("SELECT (SELECT id FROM orders) AS one", "error 1242: Subquery returns more than 1 row"),
    ] {
        let refused = extract(&source, root.path(), statement).await;
        let shown = refused.as_ref().unwrap_err().to_string();
        assert!(shown.starts_with("the query of `shop.t` cannot be read from "), "{statement}: {shown}");
        assert!(shown.contains(reason), "{statement}: {shown}");
        assert_eq!(code_of(refused, server.password()), "bad_query", "{statement}");
    }
    assert_eq!(server.sql("query_refused", "SELECT COUNT(*) FROM customers").trim(), "1");
    assert!(stage_in(root.path()).latest("shop", "t").await.unwrap().is_none(), "something was staged");

    server.sql(
        "query_refused",
        "CREATE OR REPLACE USER narrow@'%' IDENTIFIED BY 'n'; GRANT SELECT ON query_refused.customers TO narrow@'%';",
    );
    let narrow = MySqlSource::new(&format!("mysql://narrow:n@127.0.0.1:{}/query_refused", server.port())).unwrap();
    let refused = extract(&narrow, root.path(), "SELECT id FROM orders").await.unwrap_err();
    assert!(refused.to_string().contains("error 1142: SELECT command denied"), "{refused}");
    assert!(refused.help().unwrap().contains("may read"));
}

#[tokio::test]
async fn the_doctor_asks_the_server_about_queries() {
    let source = database("query_doctor", SHOP);
    let full = ExtractMode::Full;
    let examined = |name, text| Examined { name, location: "t", query: Some(text), mode: &full };
    let tables = [
        examined("shop.good", "SELECT id, total FROM orders"),
        examined("shop.bad", "SELECT it FROM orders"),
        examined("shop.worse", "DELETE FROM customers RETURNING id"),
    ];
    let findings = source.examine(&tables).await.unwrap();
    let queries: Vec<_> = findings.iter().filter(|finding| finding.what == "query").collect();
    assert_eq!(queries[0].detail, "that of `shop.good` is accepted, with 2 columns");
    assert!(queries[0].next.is_none());
    assert!(queries[1].detail.contains("error 1054") && queries[1].next.is_some(), "{:?}", queries[1]);
    assert!(queries[2].detail.contains("without columns"), "{:?}", queries[2]);
    assert_eq!(MariaDb::shared().sql("query_doctor", "SELECT COUNT(*) FROM customers").trim(), "1");
}
