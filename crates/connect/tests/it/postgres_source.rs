//! PostgreSQL as a source: exact types, rejects, snapshots, errors.
//!
//! In: a real server with our own small collection of traps.  Out: verdicts.  Never here: writing (`postgres_destination`).
//! Start at [`every_type_arrives_exactly`].

use std::path::Path;

use connect::sources::postgres::PostgresSource;
use connect::{ConnectError, ExtractOutcome, ExtractRequest, InvalidDates, Source};
use domain::NoProgress;
use testbed::Postgres;

use crate::support::{code_of, columns_as_text, install_tls, read_parquet, request, stage_in};

pub const TYPES: &str = r#"
SET TimeZone = 'UTC';
CREATE TYPE mood AS ENUM ('calm', 'very happy');
CREATE DOMAIN amount AS numeric(10,2) CHECK (value >= 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE kinds (
  i2 smallint, i4 integer, i8 bigint PRIMARY KEY, n12 numeric(12,2), n38 numeric(38,10), n76 numeric(76,30), n numeric, neg numeric(5,-2),
  am amount, b boolean, t text, vc varchar(10), c char(5), by bytea, d date, ts timestamp, tz timestamptz, u uuid,
  j json, jb jsonb, f4 real, f8 double precision, ti time, arr int[], texts text[], m mood, iv interval, ip inet, mo money,
  p pair, o oid, g bigint GENERATED ALWAYS AS (i8 / 2) STORED, "a ""quoted"" name" int, "가격" int
);
INSERT INTO kinds (i2, i4, i8, n12, n38, n76, n, neg, am, b, t, vc, c, by, d, ts, tz, u, j, jb, f4, f8, ti, arr, texts, m, iv, ip, mo, p, o, "a ""quoted"" name", "가격") VALUES
(-32768, 2147483647, -9223372036854775808, -9999999999.99, 9999999999999999999999999999.9999999999, -1234567890123456789012345678901234567890123456.123456789012345678901234567890,
 1e-40, 12345, 0.10, true, E'김치 🥬\r\n\\N', 'NULL', 'ab', '\x00ff', '0001-01-01', '9999-12-31 23:59:59.999999', '2024-03-10 07:30:00.000001+09', '01234567-89ab-cdef-0123-456789abcdef',
 '{"n":1.10}', '{"big": 98765432109876543210}', 0.1, 5e-324, '24:00:00', '{1,NULL,-3}', '{"a,b","\"",NULL}', 'very happy', '1 year 2 mons -3 days 04:05:06.7', '10.0.0.1/8', 1234.5, '(7,"x y")', 4294967295, 1, 2),
(0, 0, 0, 0, 0, 0, 0, 0, 0, false, '', '', '', '', 'infinity', '-infinity', 'infinity', '00000000-0000-0000-0000-000000000000', 'null', 'null', '-Infinity', 'NaN', '00:00:00', '{}', '{}', 'calm', '0', '::1', 0, '(,)', 0, 0, 0),
(NULL, NULL, 5, 'NaN', NULL, NULL, 'NaN', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '4713-01-01 BC', NULL, '1969-12-31 23:59:59.999999', NULL, NULL, NULL, NULL, NULL, '23:59:59.999999', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE nothing (LIKE kinds);
"#;

fn database(name: &str, script: &str) -> PostgresSource {
    install_tls();
    let server = Postgres::shared();
    server.create_database(name);
    server.sql(name, script);
    PostgresSource::new(&server.url(name)).unwrap()
}

async fn extract(source: &PostgresSource, root: &Path, table: &str) -> Result<ExtractOutcome, ConnectError> {
    extract_as(source, root, table, InvalidDates::default()).await
}

/// One run: the snapshot ends with it.
async fn extract_as(
    source: &PostgresSource,
    root: &Path,
    table: &str,
    invalid_dates: InvalidDates,
) -> Result<ExtractOutcome, ConnectError> {
    let request = ExtractRequest { invalid_dates, ..request("t", table) };
    let outcome = source.extract(&request, &stage_in(root), &NoProgress).await;
    source.close().await;
    outcome
}

#[tokio::test]
async fn every_type_arrives_exactly() {
    let source = database("types", TYPES);
    let root = tempfile::tempdir().unwrap();
    let outcome = extract(&source, root.path(), "public.kinds").await.unwrap();
    let file = &outcome.manifest.files[0];
    assert_eq!((file.name.as_str(), file.rows), ("t.parquet", Some(3)));
    let text = columns_as_text(&read_parquet(&stage_in(root.path()), file).await);
    let expected = [
        "i2: Int16 <smallint> = -32768 | 0 | ∅",
        "i4: Int32 <integer> = 2147483647 | 0 | ∅",
        "i8: Int64 <bigint> = -9223372036854775808 | 0 | 5",
        "n12: Decimal128(12, 2) <numeric(12,2)> = -9999999999.99 | 0.00 | ∅",
        "n38: Decimal128(38, 10) <numeric(38,10)> = 9999999999999999999999999999.9999999999 | 0.0000000000 | ∅",
        "n76: Decimal256(76, 30) <numeric(76,30)> = -1234567890123456789012345678901234567890123456.123456789012345678901234567890 | 0.000000000000000000000000000000 | ∅",
        "n: Utf8 <numeric> = 0.0000000000000000000000000000000000000001 | 0 | NaN",
        "neg: Utf8 <numeric(5,-2)> = 12300 | 0 | ∅",
        "am: Decimal128(10, 2) <amount> = 0.10 | 0.00 | ∅",
        "b: Boolean <boolean> = true | false | ∅",
        "t: Utf8 <text> = 김치 🥬\r\n\\N |  | ∅",
        "vc: Utf8 <character varying(10)> = NULL |  | ∅",
        "c: Utf8 <character(5)> = ab    |       | ∅",
        "by: Binary <bytea> = 00ff |  | ∅",
        "d: Date32 <date> = 0001-01-01 | ∅ | -4712-01-01",
        "ts: Timestamp(µs) <timestamp without time zone> = 9999-12-31T23:59:59.999999 | ∅ | ∅",
        "tz: Timestamp(µs, \"UTC\") <timestamp with time zone> = 2024-03-09T22:30:00.000001Z | ∅ | 1969-12-31T23:59:59.999999Z",
        "u: Utf8 <uuid> = 01234567-89ab-cdef-0123-456789abcdef | 00000000-0000-0000-0000-000000000000 | ∅",
        "j: Utf8 <json> = {\"n\":1.10} | null | ∅",
        "jb: Utf8 <jsonb> = {\"big\": 98765432109876543210} | null | ∅",
        "f4: Float32 <real> = 0.1 | -inf | ∅",
        "f8: Float64 <double precision> = 5e-324 | NaN | ∅",
        "ti: Duration(µs) <time without time zone> = PT86400S | P0D | PT86399.999999S",
        "arr: Utf8 <integer[]> = [1,null,-3] | [] | ∅",
        "texts: Utf8 <text[]> = [\"a,b\",\"\\\"\",null] | [] | ∅",
        "m: Utf8 <mood> = very happy | calm | ∅",
        "iv: Utf8 <interval> = P1Y2M-3DT4H5M6.7S | PT0S | ∅",
        "ip: Utf8 <inet> = 10.0.0.1/8 | ::1/128 | ∅",
        "mo: Utf8 <money> = 1234.50 | 0.00 | ∅",
        "p: Utf8 <pair> = {\"a\":7,\"b\":\"x y\"} | {\"a\":null,\"b\":null} | ∅",
        "o: UInt32 <oid> = 4294967295 | 0 | ∅",
        "g: Int64 <bigint> = -4611686018427387904 | 0 | 2",
        "a \"quoted\" name: Int32 <integer> = 1 | 0 | ∅",
        "가격: Int32 <integer> = 2 | 0 | ∅",
    ];
    for (found, wanted) in text.iter().zip(expected) {
        assert_eq!(found, wanted);
    }
    assert_eq!(text.len(), expected.len());
    let rejects: Vec<String> =
        file.rejects.iter().map(|reject| format!("{} {} {}", reject.row, reject.column, reject.original)).collect();
    assert_eq!(rejects, ["2 d infinity", "2 ts -infinity", "2 tz infinity", "3 n12 NaN"]);
}

#[tokio::test]
async fn an_empty_table_is_a_file_with_all_columns() {
    let source = database("empty", TYPES);
    let root = tempfile::tempdir().unwrap();
    let file = extract(&source, root.path(), "nothing").await.unwrap().manifest.files.remove(0);
    let batches = read_parquet(&stage_in(root.path()), &file).await;
    assert_eq!((batches[0].num_columns(), batches[0].num_rows(), file.rows), (34, 0, Some(0)));
}

#[tokio::test]
async fn unchanged_rows_give_the_same_bytes_and_write_nothing() {
    let source = database(
        "same",
        "CREATE TABLE t (a int, b text, PRIMARY KEY (a)); INSERT INTO t VALUES (3,'c'),(1,'a'),(2,NULL);",
    );
    let root = tempfile::tempdir().unwrap();
    let first = extract(&source, root.path(), "t").await.unwrap();
    Postgres::shared()
        .sql("same", "UPDATE t SET b = 'x' WHERE a = 1; UPDATE t SET b = 'a' WHERE a = 1; VACUUM FULL t;");
    let second = extract(&source, root.path(), "t").await.unwrap();
    assert!(!first.unchanged && second.unchanged);
    assert_eq!(first.manifest, second.manifest);
}

#[tokio::test]
async fn infinite_dates_can_be_text_or_an_error() {
    let source = database("dates", TYPES);
    let root = tempfile::tempdir().unwrap();
    let outcome = extract_as(&source, root.path(), "kinds", InvalidDates::Text).await;
    let file = outcome.unwrap().manifest.files.remove(0);
    let text = columns_as_text(&read_parquet(&stage_in(root.path()), &file).await);
    assert_eq!(text[14], "d: Utf8 <date> = 0001-01-01 | infinity | 4713-01-01 BC");
    let strict = extract_as(&source, root.path(), "kinds", InvalidDates::Fail).await;
    assert_eq!(code_of(strict, ""), "bad_value");
}

#[tokio::test]
async fn a_large_table_arrives_whole() {
    let source = database(
        "large",
        "CREATE TABLE t (a int PRIMARY KEY, b text, c bytea); \
         INSERT INTO t VALUES (0, repeat('é', 20000000), NULL); \
         INSERT INTO t SELECT n, md5(n::text), decode(repeat('7a', 300), 'hex') FROM generate_series(1, 99999) n;",
    );
    let root = tempfile::tempdir().unwrap();
    let files = extract(&source, root.path(), "t").await.unwrap().manifest.files;
    let mut batches = Vec::new();
    for file in &files {
        batches.extend(read_parquet(&stage_in(root.path()), file).await);
    }
    let rows: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
    let staged: Option<u64> = files.iter().map(|file| file.rows).sum();
    assert_eq!((rows, staged), (100_000, Some(100_000)));
    let first = batches[0].column(1).as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
    assert_eq!(first.value(0).len(), 40_000_000);
}

#[tokio::test]
async fn errors_have_a_code_and_a_next_step_and_hide_the_password() {
    let source = database("errors", "CREATE TABLE orders (a int)");
    let server = Postgres::shared();
    let root = tempfile::tempdir().unwrap();
    let result = extract(&source, root.path(), "order").await;
    assert!(domain::Problem::help(result.as_ref().unwrap_err()).unwrap().contains("public.orders"));
    assert_eq!(code_of(result, server.password()), "no_such_source_table");
    let url = server.url("errors");
    let cases = [
        (url.replace(&format!(":{}", server.port()), ":1"), "database_unreachable"),
        (url.replace("p%40ss", "wrong"), "login_refused"),
        (server.url("no_such_database"), "no_such_database"),
    ];
    for (url, code) in cases {
        let source = PostgresSource::new(&url).unwrap();
        assert_eq!(code_of(extract(&source, root.path(), "orders").await, server.password()), code);
        assert_eq!(code_of(source.discover().await, server.password()), code);
    }
    server.sql("errors", "CREATE ROLE guest LOGIN PASSWORD 'g'");
    let guest = PostgresSource::new(&format!("postgres://guest:g@127.0.0.1:{}/errors", server.port())).unwrap();
    assert_eq!(code_of(extract(&guest, root.path(), "orders").await, ""), "not_allowed");
    assert_eq!(
        std::fs::read_dir(root.path().join("stage")).unwrap().count(),
        0,
        "an error before the first row stages nothing"
    );
}

#[tokio::test]
async fn discover_names_tables_columns_keys_and_rows() {
    let source = database(
        "shop_d",
        "CREATE SCHEMA shop; CREATE TABLE shop.line (o int, n int, price numeric(12,2) NOT NULL, PRIMARY KEY (n, o)); \
         INSERT INTO shop.line SELECT n, n, 1 FROM generate_series(1, 100) n; CREATE VIEW cheap AS SELECT * FROM shop.line; ANALYZE;",
    );
    let tables = source.discover().await.unwrap();
    let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["public.cheap", "shop.line"]);
    let line = &tables[1];
    assert_eq!(
        (line.primary_key.as_slice(), line.approximate_rows),
        (["n".to_owned(), "o".to_owned()].as_slice(), Some(100))
    );
    let price = &line.columns[2];
    assert_eq!(
        (price.source_type.as_str(), price.staged_type.as_str(), price.is_nullable),
        ("numeric(12,2)", "Decimal128(12, 2)", false)
    );
}

#[tokio::test]
async fn a_table_that_was_made_again_since_the_snapshot_is_refused() {
    let source = database("again", "CREATE TABLE a (k int); CREATE TABLE b (k int); INSERT INTO b VALUES (1);");
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    source.extract(&request("a", "a"), &stage, &NoProgress).await.unwrap();
    Postgres::shared().sql("again", "DROP TABLE b; CREATE TABLE b (k int); INSERT INTO b VALUES (2);");
    assert_eq!(code_of(source.extract(&request("b", "b"), &stage, &NoProgress).await, ""), "table_changed");
    source.close().await;
}
