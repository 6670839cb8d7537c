//! Queries to PostgreSQL whose rows are a table: exact types, one snapshot, the proof, and what is refused.
//!
//! In: a real server.  Out: verdicts.  Never here: tables (`postgres_source`, `parallel`).
//! Start at [`what_a_query_computes_arrives_exactly`].

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use connect::sources::postgres::PostgresSource;
use connect::{ConnectError, Examined, ExtractMode, ExtractOutcome, Source};
use domain::{NoProgress, Problem, StagedFile};
use testbed::Postgres;

use crate::postgres_source::TYPES;
use crate::support::{code_of, columns_as_text, install_tls, query, read_parquet, request, stage_in};

const SHOP: &str = "
CREATE TABLE orders (id bigint PRIMARY KEY, customer int, total numeric(12,2), at timestamptz, note text);
INSERT INTO orders VALUES (9223372036854775807, 1, 9999999999.99, '2024-03-10 07:30:00.000001+09', '김치'), (2, 1, -0.01, NULL, NULL), (3, NULL, NULL, NULL, '');
CREATE TABLE customers (id int PRIMARY KEY, name varchar(20));
INSERT INTO customers VALUES (1, 'Ærø');
";

fn database(name: &str, script: &str) -> PostgresSource {
    install_tls();
    let server = Postgres::shared();
    server.create_database(name);
    server.sql(name, script);
    PostgresSource::new(&server.url(name)).unwrap()
}

/// One run: the snapshot ends with it.
async fn extract(source: &PostgresSource, root: &Path, statement: &str) -> Result<ExtractOutcome, ConnectError> {
    let outcome = source.extract(&query("t", statement), &stage_in(root), &NoProgress).await;
    source.close().await;
    outcome
}

async fn text(root: &Path, file: &StagedFile) -> Vec<String> {
    columns_as_text(&read_parquet(&stage_in(root), file).await)
}

#[tokio::test]
async fn what_a_query_hands_through_has_the_types_of_its_table() {
    let source = database("query_types", TYPES);
    let root = tempfile::tempdir().unwrap();
    let whole = source.extract(&request("whole", "kinds"), &stage_in(root.path()), &NoProgress).await.unwrap();
    let statement =
        "WITH k AS (SELECT * FROM kinds) SELECT k.* FROM (SELECT * FROM k) k LEFT JOIN nothing USING (i8) ORDER BY i8";
    let queried = source.extract(&query("t", statement), &stage_in(root.path()), &NoProgress).await.unwrap();
    source.close().await;
    // A domain comes as what it is made of.
    let whole_text: Vec<String> = text(root.path(), &whole.manifest.files[0]).await;
    let whole_text: Vec<String> = whole_text.iter().map(|line| line.replace("<amount>", "<numeric(10,2)>")).collect();
    assert_eq!(text(root.path(), &queried.manifest.files[0]).await, whole_text);
    assert_eq!(queried.manifest.proof, whole.manifest.proof);
    assert_eq!(queried.manifest.files[0].rejects, whole.manifest.files[0].rejects);
}

#[tokio::test]
async fn what_a_query_computes_arrives_exactly() {
    let source = database("query_computes", SHOP);
    let root = tempfile::tempdir().unwrap();
    let statement = "
        WITH sums AS (SELECT customer, sum(total) AS total, count(*) AS orders, max(at) AS last, array_agg(id ORDER BY id) AS ids,
                      string_agg(coalesce(note, '?'), ',' ORDER BY id) AS notes, avg(total)::numeric(18,4) AS mean FROM orders GROUP BY customer)
        SELECT s.*, c.name, c.id IS NULL AS unknown, NULL AS nothing, 'a''b' AS word, '\\x00ff'::bytea AS bytes, last::date + 1 AS next_day,
               s.orders / 3e0::float8 AS third, interval '1 day' AS apart, (1, 'x') AS pair
        FROM sums s LEFT JOIN customers c ON c.id = s.customer ORDER BY s.customer NULLS LAST";
    let outcome = extract(&source, root.path(), statement).await.unwrap();
    let file = &outcome.manifest.files[0];
    assert_eq!((file.name.as_str(), file.rows), ("t.parquet", Some(2)));
    let expected = [
        "customer: Int32 <integer> = 1 | ∅",
        "total: Utf8 <numeric> = 9999999999.98 | ∅",
        "orders: Int64 <bigint> = 2 | 1",
        "last: Timestamp(µs, \"UTC\") <timestamp with time zone> = 2024-03-09T22:30:00.000001Z | ∅",
        "ids: Utf8 <bigint[]> = [2,9223372036854775807] | [3]",
        "notes: Utf8 <text> = ?,김치 | ",
        "mean: Utf8 <numeric> = 4999999999.9900 | ∅",
        "name: Utf8 <character varying(20)> = Ærø | ∅",
        "unknown: Boolean <boolean> = false | true",
        "nothing: Utf8 <text> = ∅ | ∅",
        "word: Utf8 <text> = a'b | a'b",
        "bytes: Binary <bytea> = 00ff | 00ff",
        "next_day: Date32 <date> = 2024-03-10 | ∅",
        "third: Float64 <double precision> = 0.6666666666666666 | 0.3333333333333333",
        "apart: Utf8 <interval> = P1D | P1D",
        "pair: Utf8 <record> = (1,x) | (1,x)",
    ];
    assert_eq!(text(root.path(), file).await, expected);
    let proof = outcome.manifest.proof.unwrap();
    assert_eq!((proof.rows, proof.columns.len()), (2, expected.len()));
    let cells = |name: &str| proof.columns.iter().find(|column| column.column == name).unwrap().checksum.cells;
    assert_eq!((cells("customer"), cells("nothing"), cells("notes")), (1, 0, 2));

    // Digits of one branch are not those of the other.
    let union = "SELECT total AS t FROM orders WHERE id = 2 UNION ALL SELECT 1.2345 ORDER BY t";
    let outcome = extract(&source, root.path(), union).await.unwrap();
    assert_eq!(text(root.path(), &outcome.manifest.files[0]).await, ["t: Utf8 <numeric> = -0.01 | 1.2345"]);
}

#[tokio::test]
async fn a_query_and_a_table_of_one_run_see_one_moment() {
    let server = Postgres::shared();
    let source = database(
        "query_bank",
        "CREATE TABLE account (id bigint PRIMARY KEY, balance bigint); CREATE TABLE stop (id int);
         INSERT INTO account SELECT n, 100 FROM generate_series(1, 1000) n;
         CREATE PROCEDURE move() LANGUAGE plpgsql AS $$
         BEGIN
           WHILE NOT EXISTS (SELECT FROM stop) LOOP
             UPDATE account SET balance = balance - 1 WHERE id = 1;
             UPDATE account SET balance = balance + 1 WHERE id = 2;
             COMMIT;
           END LOOP;
         END $$;",
    );
    let writer = std::thread::spawn(|| drop(Postgres::shared().sql("query_bank", "CALL move()")));
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
async fn tables_of_a_query_that_were_emptied_since_the_snapshot_are_not_taken_for_empty() {
    let server = Postgres::shared();
    let source = database(
        "query_emptied",
        "CREATE TABLE a (k int); INSERT INTO a VALUES (1); CREATE TABLE b (k int) PARTITION BY LIST (k); CREATE TABLE b1 PARTITION OF b FOR VALUES IN (1);
         CREATE VIEW v AS SELECT k FROM b; INSERT INTO b VALUES (1); CREATE TABLE c (k int); INSERT INTO c VALUES (1);",
    );
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    source.extract(&query("first", "SELECT k FROM c"), &stage, &NoProgress).await.unwrap();
    server.sql("query_emptied", "TRUNCATE a, b");
    for statement in ["SELECT c.k FROM c LEFT JOIN a USING (k)", "SELECT count(*) AS rows FROM v"] {
        let refused = source.extract(&query("t", statement), &stage, &NoProgress).await;
        assert_eq!(code_of(refused, server.password()), "table_changed", "{statement}");
    }
    // The snapshot is as good as before for what was left alone.
    source.extract(&query("last", "SELECT k FROM c"), &stage, &NoProgress).await.unwrap();
    source.close().await;
    extract(&source, root.path(), "SELECT count(*) AS rows FROM v").await.unwrap();
}

#[tokio::test]
async fn an_empty_result_is_a_file_with_all_columns_and_the_end_may_be_written() {
    let source = database("query_empty", SHOP);
    let root = tempfile::tempdir().unwrap();
    let outcome = extract(&source, root.path(), "SELECT id, total FROM orders WHERE false").await.unwrap();
    let lines = text(root.path(), &outcome.manifest.files[0]).await;
    assert_eq!(lines, ["id: Int64 <bigint> = ", "total: Decimal128(12, 2) <numeric(12,2)> = "]);
    assert_eq!(outcome.manifest.proof.unwrap().rows, 0);
    for statement in [
        "SELECT id FROM orders ORDER BY id; -- the ; end\n",
        "SELECT id FROM orders ORDER BY id -- the end",
        "VALUES (1), (2), (3)",
        "TABLE orders",
        "SELECT 'a:b;' || id AS \"the name\" FROM orders",
    ] {
        let outcome = extract(&source, root.path(), statement).await.unwrap();
        assert_eq!(outcome.manifest.files[0].rows, Some(3), "{statement}");
        assert_eq!(outcome.manifest.proof.unwrap().rows, 3, "{statement}");
    }
    // Unchanged rows are not staged again.
    assert!(extract(&source, root.path(), "SELECT 'a:b;' || id AS \"the name\" FROM orders").await.unwrap().unchanged);
}

#[tokio::test]
async fn what_is_no_reading_of_rows_is_refused_by_name() {
    let server = Postgres::shared();
    let source = database("query_refused", SHOP);
    server.sql(
        "query_refused",
        "CREATE FUNCTION wipe() RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM customers; RETURN 1; END $$",
    );
    let root = tempfile::tempdir().unwrap();
    for (statement, reason) in [
        ("SELECT id, 1 FROM orders", "column 2 has no name but `?column?`"),
        ("SELECT a.id, b.id FROM orders a JOIN orders b USING (id)", "two of its columns are called `id`"),
        ("SELECT id FROM orders; DELETE FROM customers", "error 42601: cannot insert multiple commands"),
        ("SELECT id FROM orders; SELECT 1 AS x", "error 42601: cannot insert multiple commands"),
        ("DELETE FROM customers", "it answers without columns"),
        ("DELETE FROM customers RETURNING id", "error 42601: syntax error"),
        ("INSERT INTO customers VALUES (2, 'x') RETURNING id", "error 42601: syntax error"),
        (
            "WITH gone AS (DELETE FROM customers RETURNING id) SELECT id FROM gone",
            "error 0A000: WITH clause containing a data-modifying",
        ),
        ("SELECT wipe() AS gone", "error 25006: cannot execute DELETE in a read-only transaction"),
        (
            "SELECT id FROM orders FOR UPDATE",
            "error 25006: cannot execute SELECT FOR UPDATE in a read-only transaction",
        ),
        ("SELECT id INTO copied FROM orders", "it answers without columns"),
        ("COMMIT", "it answers without columns"),
        ("SHOW ALL", "error 42601: syntax error"),
        ("SELECT id FORM orders", "error 42601: syntax error at or near \"orders\""),
        ("SELECT nothing FROM orders", "error 42703: column \"nothing\" does not exist"),
        ("SELECT id FROM order_s", "error 42P01: relation \"order_s\" does not exist"),
        ("SELECT id FROM orders) AS a, (SELECT 1 AS b", "error 42601: syntax error"),
        ("SELECT id FROM orders WHERE id = $1", "it has places for values (`$1`)"),
        ("SELECT (SELECT id FROM orders) AS one", "error 21000: more than one row"),
        ("SELECT 1 / (id - id) AS one FROM orders", "error 22012: division by zero"),
    ] {
        let refused = extract(&source, root.path(), statement).await;
        let shown = refused.as_ref().unwrap_err().to_string();
        assert!(shown.starts_with("the query of `shop.t` cannot be read from "), "{statement}: {shown}");
        assert!(shown.contains(reason), "{statement}: {shown}");
        assert_eq!(code_of(refused, server.password()), "bad_query", "{statement}");
    }
    assert_eq!(server.sql("query_refused", "SELECT count(*) FROM customers").trim(), "1");
    assert!(stage_in(root.path()).latest("shop", "t").await.unwrap().is_none(), "something was staged");

    server.sql("query_refused", "DROP ROLE IF EXISTS narrow; CREATE ROLE narrow LOGIN PASSWORD 'n'");
    let url = format!("postgres://narrow:n@127.0.0.1:{}/query_refused", server.port());
    let refused = extract(&PostgresSource::new(&url).unwrap(), root.path(), "SELECT id FROM orders").await.unwrap_err();
    assert!(refused.to_string().contains("error 42501: permission denied for table orders"), "{refused}");
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
        examined("shop.one", "SELECT max(id) FROM orders"),
    ];
    let findings = source.examine(&tables).await.unwrap();
    let queries: Vec<_> = findings.iter().filter(|finding| finding.what == "query").collect();
    assert_eq!(queries[0].detail, "that of `shop.good` is accepted, with 2 columns");
    assert!(queries[0].next.is_none() && queries[2].next.is_none());
    assert!(queries[1].detail.contains("error 42703") && queries[1].next.is_some(), "{:?}", queries[1]);
}
