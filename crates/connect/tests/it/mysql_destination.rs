//! MariaDB as a destination: types, rejects, receipts, kills.
//!
//! In: a real server.  Out: verdicts.  Never here: reading tables (`mysql_source`).  Start at the first test.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationMicrosecondArray, Float64Array,
    Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array,
};
use connect::destinations::mysql::MySqlDestination;
use connect::{ApplyReport, Changes, Destination, NullPolicy, Receipt};
use testbed::MariaDb;

use crate::support::{batch, code_of, is_killed_often, strings};

fn destination(database: &str, table: &str, nulls: NullPolicy) -> MySqlDestination {
    MySqlDestination::new(&MariaDb::shared().url(database), table, nulls).unwrap()
}

fn receipt(number: u64) -> Receipt {
    Receipt { sync: "recs".to_owned(), number, state_hash: format!("hash-{number}") }
}

fn changes(upserts: RecordBatch, deletes: Option<RecordBatch>) -> Changes {
    Changes { upserts, deletes, key: vec!["user".to_owned(), "rank".to_owned()] }
}

/// Rows of (user, rank, item, score).
fn recommendations(rows: &[(&str, i32, Option<&str>, f64)]) -> RecordBatch {
    batch(vec![
        ("user", strings(rows.iter().map(|row| Some(row.0)))),
        ("rank", Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>())),
        ("item", strings(rows.iter().map(|row| row.2))),
        ("score", Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>())),
    ])
}

fn keys(rows: &[(&str, i32)]) -> RecordBatch {
    batch(vec![
        ("user", strings(rows.iter().map(|row| Some(row.0)))),
        ("rank", Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>())),
    ])
}

async fn write(destination: &MySqlDestination, changes: &Changes, number: u64) -> ApplyReport {
    destination.prepare(&changes.upserts.schema(), &changes.key).await.unwrap();
    let applied = destination.apply(changes).await.unwrap();
    let report = applied.report.clone();
    applied.commit(&receipt(number)).await.unwrap();
    report
}

#[tokio::test]
async fn rows_are_inserted_updated_and_deleted_with_their_receipt() {
    let server = MariaDb::shared();
    server.create_database("out_basic");
    let target = destination("out_basic", "recs", NullPolicy::Keep);
    assert_eq!(target.last_receipt("recs").await.unwrap(), None);
    let first = changes(
        recommendations(&[("a", 1, Some("x"), 0.5), ("A", 1, Some("y"), 0.25), ("a ", 1, Some("z"), 1e-300)]),
        None,
    );
    let prepared = target.prepare(&first.upserts.schema(), &first.key).await.unwrap();
    assert!(prepared.created && prepared.warnings.is_empty(), "{prepared:?}");
    assert_eq!(write(&target, &first, 1).await, ApplyReport { upserted: 3, ..ApplyReport::default() });
    assert_eq!(target.last_receipt("recs").await.unwrap(), Some(receipt(1)));

    let second = changes(
        recommendations(&[("a", 1, Some("x2"), 0.75), ("b", 2, None, 0.0)]),
        Some(keys(&[("A", 1), ("nobody", 9)])),
    );
    assert_eq!(write(&target, &second, 2).await, ApplyReport { upserted: 2, deleted: 2, ..ApplyReport::default() });
    let rows = server.sql("out_basic", "SELECT HEX(user), `rank`, item, score FROM recs ORDER BY 1, 2");
    assert_eq!(rows, "61\t1\tx2\t0.75\n6120\t1\tz\t1e-300\n62\t2\tNULL\t0\n");
    assert!(!target.prepare(&first.upserts.schema(), &first.key).await.unwrap().created);
}

#[tokio::test]
async fn rows_not_committed_are_not_there() {
    let server = MariaDb::shared();
    server.create_database("out_open");
    let target = destination("out_open", "recs", NullPolicy::Keep);
    let first = changes(recommendations(&[("a", 1, Some("x"), 0.5)]), None);
    target.prepare(&first.upserts.schema(), &first.key).await.unwrap();
    drop(target.apply(&first).await.unwrap());
    write(&target, &first, 5).await;
    // A receipt that does not count up belongs to a run that was overtaken.
    let applied = target.apply(&changes(recommendations(&[("b", 1, Some("y"), 0.5)]), None)).await.unwrap();
    assert_eq!(code_of(applied.commit(&receipt(5)).await, server.password()), "stale_receipt");
    assert_eq!(server.sql("out_open", "SELECT count(*), max(user) FROM recs"), "1\ta\n");
}

#[tokio::test]
async fn every_type_is_written_exactly() {
    let server = MariaDb::shared();
    server.create_database("out_types");
    let target = destination("out_types", "kinds", NullPolicy::Overwrite);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(UInt64Array::from(vec![u64::MAX, 1]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("big", Arc::new(Int64Array::from(vec![i64::MIN, 0]))),
        ("price", Arc::new(Decimal128Array::from(vec![-12345, 0]).with_precision_and_scale(12, 2).unwrap())),
        ("day", Arc::new(Date32Array::from(vec![-1, 2_932_896]))),
        ("moment", Arc::new(TimestampMicrosecondArray::from(vec![-1, 253_402_300_799_999_999]).with_timezone("UTC"))),
        ("length", Arc::new(DurationMicrosecondArray::from(vec![-3_020_399_999_999, 1]))),
        ("raw", Arc::new(BinaryArray::from(vec![&b"\0\xff"[..], b""]))),
        ("가격 `x`", strings([Some("\0\\'🥬"), Some("")])),
        ("tiny", Arc::new(Float64Array::from(vec![5e-324, -1.0]))),
    ];
    let rows = Changes { upserts: batch(columns), deletes: None, key: vec!["id".to_owned()] };
    assert_eq!(write(&target, &rows, 1).await.upserted, 2);
    let text = server.sql(
        "out_types",
        "SELECT id, flag, big, price, day, moment, length, HEX(raw), HEX(`가격 ``x```), tiny FROM kinds ORDER BY id DESC",
    );
    assert_eq!(
        text,
        "18446744073709551615\t1\t-9223372036854775808\t-123.45\t1969-12-31\t1969-12-31 23:59:59.999999\t-838:59:59.999999\t00FF\t005C27F09FA5AC\t5e-324\n\
         1\tNULL\t0\t0.00\t9999-12-31\t9999-12-31 23:59:59.999999\t00:00:00.000001\t\t\t-1\n"
    );
}

#[tokio::test]
async fn bad_rows_are_rejected_alone_with_their_reason() {
    let server = MariaDb::shared();
    server.create_database("out_rejects");
    server.sql(
        "out_rejects",
        "CREATE TABLE recs (`user` VARCHAR(5), `rank` TINYINT, item ENUM('x','y'), score DOUBLE CHECK (score < 100), PRIMARY KEY (`user`, `rank`)) COLLATE utf8mb4_bin",
    );
    let target = destination("out_rejects", "recs", NullPolicy::Keep);
    let mut rows: Vec<(String, i32, Option<&str>, f64)> =
        (0..2500).map(|n| (format!("u{n}"), 1, Some("x"), 1.0)).collect();
    rows[3].0 = "too long".to_owned();
    rows[700].1 = 300;
    rows[1500].2 = Some("other");
    rows[1501].3 = f64::NAN;
    rows[2000].3 = 1000.0;
    rows[2499].3 = f64::INFINITY;
    let rows: Vec<_> = rows.iter().map(|row| (row.0.as_str(), row.1, row.2, row.3)).collect();
    let report = write(&target, &changes(recommendations(&rows), None), 1).await;
    assert_eq!(report.upserted, 2494);
    let rejects: Vec<_> = report.rejects.iter().map(|reject| (reject.row, reject.code)).collect();
    let expected = [
        (3, "too_long"),
        (700, "refused"),
        (1500, "refused"),
        (1501, "not_finite"),
        (2000, "refused"),
        (2499, "not_finite"),
    ];
    assert_eq!(rejects, expected, "{:?}", report.rejects);
    assert!(report.rejects[1].reason.contains("Out of range"), "{:?}", report.rejects[1]);
    assert_eq!(server.sql("out_rejects", "SELECT count(*) FROM recs"), "2494\n");
}

#[tokio::test]
async fn null_keys_and_protected_rows_are_rejected() {
    let server = MariaDb::shared();
    server.create_database("out_keys");
    let target = destination("out_keys", "recs", NullPolicy::Keep);
    let first = changes(recommendations(&[("a", 1, Some("x"), 1.0), ("b", 1, Some("x"), 1.0)]), None);
    write(&target, &first, 1).await;
    server.sql(
        "out_keys",
        "CREATE TABLE child (u VARCHAR(255) COLLATE utf8mb4_nopad_bin, r INT, FOREIGN KEY (u, r) REFERENCES recs (`user`, `rank`)); INSERT INTO child VALUES ('b', 1);",
    );
    let with_null = batch(vec![
        ("user", strings([None, Some("c")])),
        ("rank", Arc::new(Int32Array::from(vec![1, 1]))),
        ("item", strings([Some("x"), Some("x")])),
        ("score", Arc::new(Float64Array::from(vec![1.0, 1.0]))),
    ]);
    let report = write(&target, &changes(with_null, Some(keys(&[("a", 1), ("b", 1)]))), 2).await;
    assert_eq!((report.upserted, report.deleted), (1, 1));
    assert_eq!((report.rejects[0].row, report.rejects[0].code), (0, "null_key"));
    assert_eq!((report.delete_rejects[0].row, report.delete_rejects[0].code), (1, "refused"));
}

#[tokio::test]
async fn a_null_keeps_the_old_value_unless_told_otherwise() {
    let server = MariaDb::shared();
    server.create_database("out_null");
    let full = changes(recommendations(&[("a", 1, Some("x"), 1.0)]), None);
    let empty = changes(recommendations(&[("a", 1, None, 2.0)]), None);
    let keep = destination("out_null", "recs", NullPolicy::Keep);
    write(&keep, &full, 1).await;
    write(&keep, &empty, 2).await;
    assert_eq!(server.sql("out_null", "SELECT item, score FROM recs"), "x\t2\n");
    write(&destination("out_null", "recs", NullPolicy::Overwrite), &empty, 3).await;
    assert_eq!(server.sql("out_null", "SELECT item FROM recs"), "NULL\n");
}

#[tokio::test]
async fn targets_that_do_not_fit_say_why_and_what_to_do() {
    let server = MariaDb::shared();
    server.create_database("out_fit");
    let rows = recommendations(&[("a", 1, Some("x"), 1.0)]);
    for (columns, reason) in [
        ("`user` VARCHAR(9), `rank` INT, item TEXT, PRIMARY KEY (`user`, `rank`)", "no column `score`"),
        ("`user` VARCHAR(9), `rank` INT, item TEXT, score DOUBLE, PRIMARY KEY (`user`)", "no unique index"),
        ("`user` VARCHAR(9), `rank` INT, item INT, score DOUBLE, PRIMARY KEY (`user`, `rank`)", "cannot hold Text"),
        ("`user` VARCHAR(9), `rank` INT, item TEXT, score INT, PRIMARY KEY (`user`, `rank`)", "cannot hold Double"),
        (
            "`user` VARCHAR(9), `rank` INT, item TEXT, score DOUBLE, shop INT NOT NULL, PRIMARY KEY (`user`, `rank`)",
            "must have a value",
        ),
        (
            "`user` VARCHAR(9), `rank` INT, item VARCHAR(9) UNIQUE, score DOUBLE, PRIMARY KEY (`user`, `rank`)",
            "overwrite another",
        ),
        (
            "`user` VARCHAR(9), `rank` INT, item TEXT, score DOUBLE AS (1.0), PRIMARY KEY (`user`, `rank`)",
            "is generated",
        ),
        (
            "`user` VARCHAR(9), `rank` INT, item TEXT, score DOUBLE, PRIMARY KEY (`user`, `rank`) MYISAM",
            "no transactions",
        ),
    ] {
        let script =
            format!("DROP TABLE IF EXISTS recs; CREATE TABLE recs ({columns})").replace(" MYISAM)", ") ENGINE=MyISAM");
        server.sql("out_fit", &script);
        let result = destination("out_fit", "recs", NullPolicy::Keep)
            .prepare(&rows.schema(), &["user".into(), "rank".into()])
            .await;
        let shown = result.as_ref().unwrap_err().to_string();
        assert!(shown.contains(reason), "{shown}");
        assert_eq!(code_of(result, server.password()), "target_mismatch");
    }
    server.sql("out_fit", "DROP TABLE recs; CREATE TABLE recs (id INT AUTO_INCREMENT PRIMARY KEY, `user` VARCHAR(9) COLLATE utf8mb4_general_ci, `rank` INT, item TEXT, score FLOAT, UNIQUE (`rank`, `user`))");
    let target = destination("out_fit", "recs", NullPolicy::Keep);
    let prepared = target.prepare(&rows.schema(), &["user".into(), "rank".into()]).await.unwrap();
    assert_eq!(prepared.warnings.len(), 2, "{prepared:?}");
    server.sql(
        "out_fit",
        "CREATE OR REPLACE USER reader@'%' IDENTIFIED BY 'r'; GRANT SELECT ON out_fit.* TO reader@'%';",
    );
    let url = format!("mysql://reader:r@127.0.0.1:{}/out_fit", server.port());
    let reader = MySqlDestination::new(&url, "recs", NullPolicy::Keep).unwrap();
    assert_eq!(code_of(reader.apply(&changes(rows, None)).await, ""), "not_allowed");
}

#[tokio::test]
async fn a_lost_deadlock_is_tried_again() {
    let server = MariaDb::shared();
    server.create_database("out_deadlock");
    let target = destination("out_deadlock", "recs", NullPolicy::Keep);
    let rows: Vec<(String, i32)> = (0..2000).map(|n| (format!("u{n:04}"), 1)).collect();
    let forward: Vec<_> = rows.iter().map(|(user, rank)| (user.as_str(), *rank, Some("f"), 1.0)).collect();
    let backward: Vec<_> = rows.iter().rev().map(|(user, rank)| (user.as_str(), *rank, Some("b"), 1.0)).collect();
    write(&target, &changes(recommendations(&forward), None), 1).await;
    for round in 0..5 {
        let one = changes(recommendations(&forward), None);
        let other = changes(recommendations(&backward), None);
        let write_one = async {
            target.apply(&one).await.unwrap().commit(&Receipt { sync: "one".into(), ..receipt(round + 1) }).await
        };
        let write_other = async {
            target.apply(&other).await.unwrap().commit(&Receipt { sync: "other".into(), ..receipt(round + 1) }).await
        };
        let (first, second) = tokio::join!(write_one, write_other);
        first.unwrap();
        second.unwrap();
    }
    assert_eq!(server.sql("out_deadlock", "SELECT count(*), count(DISTINCT item) FROM recs"), "2000\t1\n");
}

/// Publishes number after number until it is killed: number n replaces all rows of n - 1 by its own.
async fn publish_numbers(target: &MySqlDestination) {
    loop {
        let last = target.last_receipt("recs").await.unwrap().map_or(0, |receipt| receipt.number);
        let next = last + 1;
        let user = |number: u64| -> Vec<(String, i32)> { (0..500).map(|n| (format!("{number}-{n}"), 1)).collect() };
        let (new, old) = (user(next), user(last));
        let new: Vec<_> = new.iter().map(|(user, rank)| (user.as_str(), *rank, Some("x"), 1.0)).collect();
        let old: Vec<_> = old.iter().map(|(user, rank)| (user.as_str(), *rank)).collect();
        let applied = target.apply(&changes(recommendations(&new), Some(keys(&old)))).await.unwrap();
        applied.commit(&receipt(next)).await.unwrap();
    }
}

#[tokio::test]
async fn child_that_publishes() {
    let Ok(url) = std::env::var("CHILD_URL") else { return };
    publish_numbers(&MySqlDestination::new(&url, "recs", NullPolicy::Keep).unwrap()).await;
}

#[tokio::test]
async fn kills_leave_rows_and_receipt_agreeing() {
    let server = MariaDb::shared();
    server.create_database("out_kill");
    let target = destination("out_kill", "recs", NullPolicy::Keep);
    let first = changes(recommendations(&[("0-0", 1, Some("x"), 1.0)]), None);
    target.prepare(&first.upserts.schema(), &first.key).await.unwrap();
    let url = server.url("out_kill");
    is_killed_often("mysql_destination::child_that_publishes", &url, async || {
        let seen = server.sql(
            "out_kill",
            "SELECT (SELECT coalesce(max(number), 0) FROM montauk_receipts), count(*), count(DISTINCT substring_index(user, '-', 1)), \
             coalesce(max(CAST(substring_index(user, '-', 1) AS UNSIGNED)), 0) FROM recs",
        );
        let seen: Vec<u64> = seen.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let number = seen[0];
        assert!(number == 0 && seen[1] == 0 || seen == [number, 500, 1, number], "{seen:?}");
        number
    })
    .await;
}
