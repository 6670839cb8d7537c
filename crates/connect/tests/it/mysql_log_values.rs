//! Values from MariaDB's log are those of a `SELECT`, cell by cell.
//!
//! In: the trap tables, every type, every character set.  Out: verdicts.  Never here: which rows are in the log (`mysql_log`).
//! Start at [`the_traps_are_the_same_from_the_log`].

use std::collections::BTreeSet;

use connect::sources::mysql::MySqlSource;
use connect::{ExtractMode, ExtractRequest, InvalidDates, Source};
use domain::{DELETED_COLUMN, NoProgress, StageMode};

use crate::binlog::{changes, database, run, run_and_compare, server};
use crate::fold::rows_as_text;
use crate::mysql_source::TYPES;
use crate::support::{read_parquet, request, stage_in};

/// Rows as text in the order of their text, rejects without their rows, and the columns of the newest file.
async fn newest(
    source: &MySqlSource,
    root: &std::path::Path,
    wanted: &ExtractRequest,
) -> (Vec<Vec<String>>, BTreeSet<(String, String, String)>, Vec<String>) {
    let outcome = source.extract(wanted, &stage_in(root), &NoProgress).await.unwrap();
    let file = &outcome.manifest.files[0];
    let mut columns = Vec::new();
    let mut rows = Vec::new();
    for batch in read_parquet(&stage_in(root), file).await {
        let keep: Vec<usize> =
            (0..batch.num_columns()).filter(|at| batch.schema().field(*at).name() != DELETED_COLUMN).collect();
        let batch = batch.project(&keep).unwrap();
        columns = batch.schema().fields().iter().map(|field| format!("{field:?}")).collect();
        rows.extend(rows_as_text(&batch));
    }
    rows.sort();
    let rejects =
        file.rejects.iter().map(|reject| (reject.column.clone(), reject.reason.clone(), reject.original.clone()));
    (rows, rejects.collect(), columns)
}

/// Fills an empty table after its first run; the rows of the second must be those of the whole table.
async fn compare(name: &str, (schema, rows): (&str, &str), table: &str, dates: InvalidDates) {
    let source = database(server(), name, schema);
    let root = tempfile::tempdir().unwrap();
    let wanted = ExtractRequest { invalid_dates: dates, ..changes(table) };
    assert_eq!(run(&source, root.path(), &wanted).await.unwrap().manifest.mode, StageMode::Full);
    server().sql(name, rows);
    let from_log = newest(&source, root.path(), &wanted).await;
    let other = tempfile::tempdir().unwrap();
    let whole = ExtractRequest { mode: ExtractMode::Full, ..wanted };
    let selected = newest(&source, other.path(), &whole).await;
    source.close().await;
    assert_eq!(from_log.2, selected.2);
    assert!(!from_log.0.is_empty());
    for (found, held) in from_log.0.iter().zip(&selected.0) {
        assert_eq!(found, held);
    }
    assert_eq!((from_log.0.len(), from_log.1), (selected.0.len(), selected.1));
}

/// The script without its rows, and its rows.
fn without_rows(script: &str) -> (String, String) {
    let start = "SET NAMES utf8mb4; SET SESSION sql_mode='ALLOW_INVALID_DATES', time_zone='+00:00';\n";
    let (mut schema, mut rows) = (start.to_owned(), start.to_owned());
    for statement in script.split_inclusive(";\n") {
        let is_rows = statement.lines().any(|line| line.starts_with("INSERT"));
        let into = if is_rows { &mut rows } else { &mut schema };
        into.push_str(statement);
    }
    (schema, rows)
}

#[tokio::test]
async fn the_traps_are_the_same_from_the_log() {
    let (schema, rows) = without_rows(include_str!("../fixtures/traps.sql"));
    for table in ["traps", "traps_extra"] {
        compare(&format!("log_{table}"), (&schema, &rows), table, InvalidDates::Reject).await;
        compare(&format!("log_{table}_text"), (&schema, &rows), table, InvalidDates::Text).await;
    }
}

#[tokio::test]
async fn every_type_is_the_same_from_the_log() {
    let (schema, rows) = without_rows(TYPES);
    compare("log_types", (&schema, &rows), "kinds", InvalidDates::Reject).await;
    compare("log_types_text", (&schema, &rows), "kinds", InvalidDates::Text).await;
}

#[tokio::test]
async fn what_the_log_stores_in_another_way_is_the_same() {
    let schema = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, b16 BINARY(16), b255 BINARY(255), vb VARBINARY(300), \
        c CHAR(20), c255 CHAR(255), cl CHAR(30) CHARACTER SET latin1, u16 CHAR(9) CHARACTER SET utf16, u32 VARCHAR(9) CHARACTER SET utf32, \
        ucs TEXT CHARACTER SET ucs2, le VARCHAR(9) CHARACTER SET utf16le, u UUID, i4 INET4, i6 INET6, \
        e ENUM('ä','b, c','d''e') CHARACTER SET latin1, s SET('ä','b','c','d','e','f','g','h','ö') CHARACTER SET latin1, \
        y YEAR, tm0 TIME, tm1 TIME(1), tm3 TIME(3), tm5 TIME(5), dt1 DATETIME(1), dt4 DATETIME(4), ts0 TIMESTAMP NULL, ts2 TIMESTAMP(2) NULL, \
        d5 DECIMAL(5,5), d20 DECIMAL(20,0), d33 DECIMAL(33,17), z INT(9) ZEROFILL, g GEOMETRY, tiny TINYTEXT, \
        v INT AS (z * 2) VIRTUAL, w VARCHAR(300) AS (CONCAT(c, '-', v)) VIRTUAL, hidden INT INVISIBLE DEFAULT 7)";
    let rows = "SET NAMES utf8mb4; SET sql_mode = ''; SET time_zone = '+00:00'; \
        INSERT INTO t (b16, b255, vb, c, c255, cl, u16, u32, ucs, le, u, i4, i6, e, s, y, tm0, tm1, tm3, tm5, dt1, dt4, ts0, ts2, d5, d20, d33, z, g, tiny) VALUES \
        (x'0100', x'', x'0100', 'a  ', REPEAT('가', 255), 'é ', 'a😀 ', '😀', '한글', 'ü😀', '01234567-89ab-7def-8123-456789abcdef', '1.2.3.4', '::ffff:1.2.3.4', 'ä', 'ä,ö', \
         0, '-838:59:59', '-00:00:00.1', '-12:34:56.789', '-00:00:59.99999', '1000-01-01 23:59:59.9', '9999-12-31 23:59:59.9999', '1970-01-01 00:00:01', '2038-01-19 03:14:07.99', \
         -0.00001, -99999999999999999999, -1234567890123456.12345678901234567, 7, GeomFromText('LINESTRING(0 0,1 1)', 4326), 'x'), \
        (REPEAT(x'00', 16), REPEAT('z', 255), REPEAT(x'FF00', 150), '', ' ', '', '', '', '', '', '00000000-0000-1000-8000-000000000000', '0.0.0.0', '::', 'b, c', '', \
         1901, '00:00:01', '838:59:59.0', '00:00:00.001', '-838:59:59', '0000-00-00', '0001-01-01 00:00:00.0001', 0, 0, 0, 0, 0, 0, NULL, ''), \
        (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL); \
        INSERT INTO t (e, s, i6) VALUES ('no label', 'h,g', '::1'), ('d''e', 'b', '::1.2.3.4'), (3, 511, '::0.1.0.0'), (1, 1, '1:0:0:2::3'), (1, 1, '1:0:2:3:4:5:6:7'), \
        (1, 1, '2001:db8::ff00:42:8329'), (1, 1, '::2:3'), (1, 1, 'fe80::'), (1, 1, '::ffff:0:0'), (1, 1, '0:1::'), (1, 1, '::1:2:3:4:5:6:7'); \
        INSERT INTO t (u) SELECT UUID() FROM seq_1_to_50; INSERT INTO t (u) SELECT CONCAT_WS('-', SUBSTR(m, 1, 8), SUBSTR(m, 9, 4), SUBSTR(m, 13, 4), SUBSTR(m, 17, 4), SUBSTR(m, 21)) \
        FROM (SELECT MD5(seq) m FROM seq_1_to_2000) q; \
        INSERT INTO t (i6) SELECT CONCAT_WS(':', HEX(seq & 1), HEX(seq & 2), HEX(seq & 4), HEX(seq & 8), HEX(seq & 16), HEX(seq & 32), HEX(seq & 64), HEX(seq & 128)) FROM seq_0_to_255;";
    compare("log_other", (schema, rows), "t", InvalidDates::Reject).await;
}

#[tokio::test]
async fn every_character_of_every_character_set_is_the_same() {
    let sets = server().sql(
        "",
        "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME <> 'binary'",
    );
    let columns: Vec<String> = sets
        .lines()
        .map(|set| format!("{set} VARCHAR(9) CHARACTER SET {set}, c_{set} CHAR(5) CHARACTER SET {set}"))
        .collect();
    let source = database(
        server(),
        "log_charsets",
        &format!("CREATE TABLE t (id INT PRIMARY KEY, {}) ROW_FORMAT=DYNAMIC", columns.join(", ")),
    );
    let root = tempfile::tempdir().unwrap();
    run(&source, root.path(), &changes("t")).await.unwrap();
    let all = |of: &str| {
        let texts: Vec<String> =
            sets.lines().map(|set| format!("CHAR({of} USING {set}), CHAR({of}, 32 USING {set})")).collect();
        texts.join(", ")
    };
    // Bytes that are no character are mended by the server before they are stored.
    server().sql(
        "log_charsets",
        &format!(
            "SET sql_mode = ''; INSERT INTO t SELECT seq, {} FROM seq_0_to_255; \
             INSERT INTO t SELECT 1000 + seq, {} FROM seq_32768_to_65535; \
             INSERT INTO t SELECT 100000 + seq, {} FROM seq_41377_to_65278 WHERE seq % 3 = 0;",
            all("seq"),
            all("seq DIV 256, seq % 256"),
            all("143, seq DIV 256, seq % 256"),
        ),
    );
    let outcome = run_and_compare(&source, root.path(), &changes("t"), &["id"]).await;
    assert_eq!(outcome.manifest.mode, StageMode::Changes);
    let unknown = ExtractRequest { config_hash: "d".to_owned(), ..request("t", "t") };
    assert!(run(&source, root.path(), &unknown).await.is_ok());
}
