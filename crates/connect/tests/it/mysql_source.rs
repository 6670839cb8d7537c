//! MariaDB as a source: exact types, rejects, snapshots, errors.
//!
//! In: a real server with our own small collection of traps.  Out: verdicts.  Never here: writing (`mysql_destination`).
//! Start at [`every_type_arrives_exactly`].

use std::path::Path;

use connect::sources::mysql::MySqlSource;
use connect::{ConnectError, ExtractOutcome, ExtractRequest, InvalidDates, Source};
use domain::NoProgress;
use testbed::MariaDb;

use crate::support::{code_of, columns_as_text, read_parquet, request, stage_in};

pub const TYPES: &str = r#"
SET NAMES utf8mb4; SET SESSION sql_mode='ALLOW_INVALID_DATES', time_zone='+00:00';
CREATE TABLE kinds (
  k SMALLINT UNSIGNED, ub BIGINT UNSIGNED, ti TINYINT(1), mi MEDIUMINT, umi MEDIUMINT UNSIGNED, b1 BIT, b12 BIT(12), b64 BIT(64), yr YEAR,
  d9 DECIMAL(9,3), d38 DECIMAL(38,5), d60 DECIMAL(60,20), fl FLOAT, db DOUBLE,
  da DATE, dt3 DATETIME(3), ts6 TIMESTAMP(6) NULL, t2 TIME(2),
  name VARCHAR(40), l1 CHAR(8) CHARACTER SET latin1, vb VARBINARY(8), bl BLOB, note LONGTEXT,
  js JSON, size ENUM('small','very large'), tags SET('red','green','a b'), id UUID, place POINT,
  twice INT AS (k * 2) VIRTUAL, `order` INT, `a ``quoted`` "name"` INT, `가격` INT,
  PRIMARY KEY (k)
) DEFAULT CHARSET=utf8mb4;
INSERT INTO kinds (k, ub, ti, mi, umi, b1, b12, b64, yr, d9, d38, d60, fl, db, da, dt3, ts6, t2, name, l1, vb, bl, note, js, size, tags, id, place, `order`, `a ``quoted`` "name"`, `가격`) VALUES
(65535, 18446744073709551615, 2, -8388608, 16777215, b'1', b'100000000001', 0xFFFFFFFFFFFFFFFF, 2155, -999999.999, 123456789012345678901234567890123.45678,
 -1234567890123456789012345678901234567890.12345678901234567890, 0.1, 2.2250738585072014e-308, '2024-02-29', '2024-12-31 23:59:59.999', '2024-03-10 07:30:00.123456', '-838:59:58.99',
 '김치 🥬 \\N', 'Ærø', x'00FF', x'DEAD00', 'line\r\n\0end', '{"n":1.10,"big":98765432109876543210}', 'very large', 'red,a b', '01234567-89ab-4def-8123-456789abcdef', POINT(3.5,-2), 1, 2, 3),
(1, 0, -128, 8388607, 0, b'0', b'0', 0, 1901, 0, 0, 0, -3.4028235e38, -1.7976931348623157e308, '0000-00-00', '2023-02-30 01:02:03', '2024-11-03 06:30:00', '00:00:00',
 '', '', '', '', 'NULL', 'null', 'small', '', '00000000-0000-0000-0000-000000000000', NULL, 0, 0, 0),
(2, 9223372036854775808, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2024-05-00', NULL, '0000-00-00 00:00:00', NULL,
 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE nothing LIKE kinds;
"#;

fn database(name: &str, script: &str) -> MySqlSource {
    let server = MariaDb::shared();
    server.create_database(name);
    server.sql(name, script);
    MySqlSource::new(&server.url(name)).unwrap()
}

async fn extract(source: &MySqlSource, root: &Path, table: &str) -> Result<ExtractOutcome, ConnectError> {
    extract_as(source, root, table, InvalidDates::default()).await
}

/// One run: the snapshot ends with it.
async fn extract_as(
    source: &MySqlSource,
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
    let outcome = extract(&source, root.path(), "types.kinds").await.unwrap();
    let file = &outcome.manifest.files[0];
    assert_eq!((file.name.as_str(), file.rows), ("t.parquet", Some(3)));
    let text = columns_as_text(&read_parquet(&stage_in(root.path()), file).await);
    let expected = [
        "k: UInt16 <smallint(5) unsigned> = 1 | 2 | 65535",
        "ub: UInt64 <bigint(20) unsigned> = 0 | 9223372036854775808 | 18446744073709551615",
        "ti: Int8 <tinyint(1)> = -128 | ∅ | 2",
        "mi: Int32 <mediumint(9)> = 8388607 | ∅ | -8388608",
        "umi: UInt32 <mediumint(8) unsigned> = 0 | ∅ | 16777215",
        "b1: Boolean <bit(1)> = false | ∅ | true",
        "b12: UInt16 <bit(12)> = 0 | ∅ | 2049",
        "b64: UInt64 <bit(64)> = 0 | ∅ | 18446744073709551615",
        "yr: Int16 <year(4)> = 1901 | ∅ | 2155",
        "d9: Decimal128(9, 3) <decimal(9,3)> = 0.000 | ∅ | -999999.999",
        "d38: Decimal128(38, 5) <decimal(38,5)> = 0.00000 | ∅ | 123456789012345678901234567890123.45678",
        "d60: Decimal256(60, 20) <decimal(60,20)> = 0.00000000000000000000 | ∅ | -1234567890123456789012345678901234567890.12345678901234567890",
        "fl: Float32 <float> = -3.4028235e38 | ∅ | 0.1",
        "db: Float64 <double> = -1.7976931348623157e308 | ∅ | 2.2250738585072014e-308",
        "da: Date32 <date> = ∅ | ∅ | 2024-02-29",
        "dt3: Timestamp(µs) <datetime(3)> = ∅ | ∅ | 2024-12-31T23:59:59.999",
        "ts6: Timestamp(µs, \"UTC\") <timestamp(6)> = 2024-11-03T06:30:00Z | ∅ | 2024-03-10T07:30:00.123456Z",
        "t2: Duration(µs) <time(2)> = P0D | ∅ | -PT3020398.99S",
        "name: Utf8 <varchar(40)> =  | ∅ | 김치 🥬 \\N",
        "l1: Utf8 <char(8)> =  | ∅ | Ærø",
        "vb: Binary <varbinary(8)> =  | ∅ | 00ff",
        "bl: Binary <blob> =  | ∅ | dead00",
        "note: Utf8 <longtext> = NULL | ∅ | line\r\n\0end",
        "js: Utf8 <json> = null | ∅ | {\"n\":1.10,\"big\":98765432109876543210}",
        "size: Utf8 <enum('small','very large')> = small | ∅ | very large",
        "tags: Utf8 <set('red','green','a b')> =  | ∅ | red,a b",
        "id: Utf8 <uuid> = 00000000-0000-0000-0000-000000000000 | ∅ | 01234567-89ab-4def-8123-456789abcdef",
        "place: Binary <point> = ∅ | ∅ | 01010000000000000000000c4000000000000000c0",
        "twice: Int32 <int(11)> = 2 | 4 | 131070",
        "order: Int32 <int(11)> = 0 | ∅ | 1",
        "a `quoted` \"name\": Int32 <int(11)> = 0 | ∅ | 2",
        "가격: Int32 <int(11)> = 0 | ∅ | 3",
    ];
    for (found, wanted) in text.iter().zip(expected) {
        assert_eq!(found, wanted);
    }
    assert_eq!(text.len(), expected.len());
    let rejects: Vec<String> =
        file.rejects.iter().map(|reject| format!("{} {} {}", reject.row, reject.column, reject.original)).collect();
    assert_eq!(
        rejects,
        ["1 da 0000-00-00", "1 dt3 2023-02-30 01:02:03.000", "2 da 2024-05-00", "2 ts6 0000-00-00 00:00:00.000000"]
    );
}

#[tokio::test]
async fn an_empty_table_is_a_file_with_all_columns() {
    let source = database("empty", TYPES);
    let root = tempfile::tempdir().unwrap();
    let file = extract(&source, root.path(), "nothing").await.unwrap().manifest.files.remove(0);
    let batches = read_parquet(&stage_in(root.path()), &file).await;
    assert_eq!((batches[0].num_columns(), batches[0].num_rows(), file.rows), (32, 0, Some(0)));
}

#[tokio::test]
async fn unchanged_rows_give_the_same_bytes_and_write_nothing() {
    let source = database(
        "same",
        "CREATE TABLE t (a INT, b TEXT, PRIMARY KEY (a)); INSERT INTO t VALUES (3,'c'),(1,'a'),(2,NULL);",
    );
    let root = tempfile::tempdir().unwrap();
    let first = extract(&source, root.path(), "t").await.unwrap();
    // The same rows by another road: other pages, other order of insertion.
    MariaDb::shared().sql(
        "same",
        "DELETE FROM t; INSERT INTO t VALUES (2,NULL),(1,'a'); INSERT INTO t VALUES (3,'c'); OPTIMIZE TABLE t;",
    );
    let second = extract(&source, root.path(), "t").await.unwrap();
    assert!(!first.unchanged && second.unchanged);
    assert_eq!(first.manifest, second.manifest);
    MariaDb::shared().sql("same", "UPDATE t SET b = 'B' WHERE a = 2");
    let third = extract(&source, root.path(), "t").await.unwrap();
    assert!(!third.unchanged);
    assert_ne!(third.manifest.files[0].sha256, first.manifest.files[0].sha256);
}

#[tokio::test]
async fn the_zone_of_the_server_changes_nothing() {
    let script = "CREATE TABLE t (a INT PRIMARY KEY, ts TIMESTAMP(3) NULL, dt DATETIME); \
         SET SESSION time_zone='+00:00'; INSERT INTO t VALUES (1, '2024-07-01 00:00:00.5', '2024-07-01 00:00:00');";
    let source = database("zone", script);
    MariaDb::shared().sql("", "SET GLOBAL time_zone = '+09:00'");
    let root = tempfile::tempdir().unwrap();
    let outcome = extract(&source, root.path(), "t").await;
    MariaDb::shared().sql("", "SET GLOBAL time_zone = 'SYSTEM'");
    let text = columns_as_text(&read_parquet(&stage_in(root.path()), &outcome.unwrap().manifest.files[0]).await);
    assert_eq!(text[1], "ts: Timestamp(µs, \"UTC\") <timestamp(3)> = 2024-07-01T00:00:00.500Z");
    assert_eq!(text[2], "dt: Timestamp(µs) <datetime> = 2024-07-01T00:00:00");
}

#[tokio::test]
async fn invalid_dates_can_be_text_or_an_error() {
    let source = database("dates", TYPES);
    let root = tempfile::tempdir().unwrap();
    let outcome = extract_as(&source, root.path(), "kinds", InvalidDates::Text).await;
    let file = outcome.unwrap().manifest.files.remove(0);
    let text = columns_as_text(&read_parquet(&stage_in(root.path()), &file).await);
    assert_eq!(text[14], "da: Utf8 <date> = 0000-00-00 | 2024-05-00 | 2024-02-29");
    assert_eq!(text[15], "dt3: Utf8 <datetime(3)> = 2023-02-30 01:02:03.000 | ∅ | 2024-12-31 23:59:59.999");
    assert!(file.rejects.is_empty());
    let strict = extract_as(&source, root.path(), "kinds", InvalidDates::Fail).await;
    assert_eq!(code_of(strict, ""), "bad_value");
}

#[tokio::test]
async fn large_rows_and_many_row_groups_arrive_whole() {
    let source = database("large", "CREATE TABLE t (a INT PRIMARY KEY, b LONGTEXT, c LONGBLOB)");
    MariaDb::shared().sql(
        "large",
        "INSERT INTO t VALUES (0, REPEAT('é', 20000000), NULL), (1, 'x', REPEAT('y', 17000000)); \
         INSERT INTO t SELECT seq, MD5(seq), UNHEX(CONCAT(SHA2(seq, 512), SHA2(-CAST(seq AS SIGNED), 512), SHA2(seq + 0.5, 512), SHA2(seq + 0.25, 512))) FROM seq_2_to_99999;",
    );
    let root = tempfile::tempdir().unwrap();
    let file = extract(&source, root.path(), "t").await.unwrap().manifest.files.remove(0);
    assert_eq!(file.rows, Some(100_000));
    let path = root.path().join("stage").join(&file.path);
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap())
            .unwrap();
    let groups = reader.metadata().row_groups();
    assert!(groups.len() > 3, "{} row groups", groups.len());
    let batches = read_parquet(&stage_in(root.path()), &file).await;
    let first = batches[0].column(1).as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
    assert_eq!(first.value(0).len(), 40_000_000);
    let rows: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
    assert_eq!(rows, 100_000);
}

#[tokio::test]
async fn errors_have_a_code_and_a_next_step_and_hide_the_password() {
    let server = MariaDb::shared();
    let source = database("errors", "CREATE TABLE orders (a INT)");
    let root = tempfile::tempdir().unwrap();
    let result = extract(&source, root.path(), "order").await;
    assert!(domain::Problem::help(result.as_ref().unwrap_err()).unwrap().contains("errors.orders"));
    assert_eq!(code_of(result, server.password()), "no_such_source_table");

    let url = server.url("errors");
    let cases = [
        (url.replace(&format!(":{}", server.port()), ":1"), "database_unreachable"),
        (url.replace("p%40ss", "wrong"), "login_refused"),
        (server.url("no_such_database"), "no_such_database"),
    ];
    for (url, code) in cases {
        let source = MySqlSource::new(&url).unwrap();
        assert_eq!(code_of(extract(&source, root.path(), "orders").await, server.password()), code);
        assert_eq!(code_of(source.discover().await, server.password()), code);
    }
    server.sql(
        "errors",
        "CREATE OR REPLACE USER guest@'%' IDENTIFIED BY 'g'; GRANT INSERT ON errors.orders TO guest@'%';",
    );
    let guest = MySqlSource::new(&format!("mysql://guest:g@127.0.0.1:{}/errors", server.port())).unwrap();
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
        "CREATE TABLE line (o INT, n INT, price DECIMAL(12,2) NOT NULL, doc JSON, PRIMARY KEY (n, o)); \
         INSERT INTO line SELECT seq, seq, 1, '{}' FROM seq_1_to_100; CREATE VIEW cheap AS SELECT * FROM line; ANALYZE TABLE line;",
    );
    let tables = source.discover().await.unwrap();
    let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["shop_d.cheap", "shop_d.line"]);
    let line = &tables[1];
    assert_eq!(line.primary_key, ["n", "o"]);
    assert_eq!(line.approximate_rows, Some(100));
    let price = &line.columns[2];
    assert_eq!(
        (price.source_type.as_str(), price.staged_type.as_str(), price.is_nullable),
        ("decimal(12,2)", "Decimal128(12, 2)", false)
    );
    assert_eq!(line.columns[3].source_type, "json");
}
