//! PostgreSQL as a destination: types, rejects, receipts, kills.
//!
//! In: a real server.  Out: verdicts.  Never here: reading tables (`postgres_source`).  Start at the first test.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationMicrosecondArray, Float64Array,
    Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array,
};
use connect::destinations::postgres::PostgresDestination;
use connect::{ApplyReport, Changes, Destination, NullPolicy, Receipt};
use testbed::Postgres;

use crate::support::{batch, code_of, install_tls, is_killed_often, strings};

fn database(name: &str) -> &'static Postgres {
    install_tls();
    let server = Postgres::shared();
    server.create_database(name);
    server
}

fn destination(database: &str, table: &str, nulls: NullPolicy) -> PostgresDestination {
    PostgresDestination::new(&Postgres::shared().url(database), table, nulls).unwrap()
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

async fn write(destination: &PostgresDestination, changes: &Changes, number: u64) -> ApplyReport {
    destination.prepare(&changes.upserts.schema(), &changes.key).await.unwrap();
    let applied = destination.apply(changes).await.unwrap();
    let report = applied.report.clone();
    applied.commit(&receipt(number)).await.unwrap();
    report
}

#[tokio::test]
async fn rows_are_inserted_updated_and_deleted_with_their_receipt() {
    let server = database("out_basic");
    let target = destination("out_basic", "marts.recs", NullPolicy::Keep);
    assert_eq!(target.last_receipt("recs").await.unwrap(), None);
    let first = changes(
        recommendations(&[("a", 1, Some("x"), 0.5), ("A", 1, Some("y"), 0.25), ("a ", 1, Some("z"), 1e-300)]),
        None,
    );
    assert!(target.prepare(&first.upserts.schema(), &first.key).await.unwrap().created);
    assert_eq!(write(&target, &first, 1).await, ApplyReport { upserted: 3, ..ApplyReport::default() });
    assert_eq!(target.last_receipt("recs").await.unwrap(), Some(receipt(1)));
    let second = changes(
        recommendations(&[("a", 1, Some("x2"), 0.75), ("b", 2, None, 0.0)]),
        Some(keys(&[("A", 1), ("nobody", 9)])),
    );
    assert_eq!(write(&target, &second, 2).await, ApplyReport { upserted: 2, deleted: 2, ..ApplyReport::default() });
    let rows = server.sql("out_basic", "SELECT * FROM marts.recs ORDER BY 1, 2");
    assert_eq!(rows, "a|1|x2|0.75\na |1|z|1e-300\nb|2||0\n");
}

#[tokio::test]
async fn rows_not_committed_are_not_there() {
    let server = database("out_open");
    let target = destination("out_open", "recs", NullPolicy::Keep);
    let first = changes(recommendations(&[("a", 1, Some("x"), 0.5)]), None);
    target.prepare(&first.upserts.schema(), &first.key).await.unwrap();
    drop(target.apply(&first).await.unwrap());
    write(&target, &first, 5).await;
    let applied = target.apply(&changes(recommendations(&[("b", 1, Some("y"), 0.5)]), None)).await.unwrap();
    assert_eq!(code_of(applied.commit(&receipt(5)).await, server.password()), "stale_receipt");
    assert_eq!(server.sql("out_open", "SELECT count(*), max(\"user\") FROM recs"), "1|a\n");
}

#[tokio::test]
async fn every_type_is_written_exactly() {
    let server = database("out_types");
    let target = destination("out_types", "kinds", NullPolicy::Overwrite);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(UInt64Array::from(vec![u64::MAX, 1]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("big", Arc::new(Int64Array::from(vec![i64::MIN, 0]))),
        ("price", Arc::new(Decimal128Array::from(vec![-12345, 0]).with_precision_and_scale(12, 2).unwrap())),
        ("day", Arc::new(Date32Array::from(vec![-719_528, 2_932_896]))),
        ("moment", Arc::new(TimestampMicrosecondArray::from(vec![-1, 253_402_300_799_999_999]).with_timezone("UTC"))),
        ("plain", Arc::new(TimestampMicrosecondArray::from(vec![-1, 1]))),
        ("length", Arc::new(DurationMicrosecondArray::from(vec![-3_020_399_999_999, 1]))),
        ("raw", Arc::new(BinaryArray::from(vec![&b"\0\xff"[..], b""]))),
        ("가격 \"x\"", strings([Some("\\'🥬"), Some("")])),
        ("tiny", Arc::new(Float64Array::from(vec![5e-324, -0.0]))),
    ];
    let rows = Changes { upserts: batch(columns), deletes: None, key: vec!["id".to_owned()] };
    assert_eq!(write(&target, &rows, 1).await.upserted, 2);
    let text = server.sql("out_types", "SET TimeZone = 'UTC'; SELECT * FROM kinds ORDER BY id DESC");
    assert_eq!(
        text,
        "18446744073709551615|t|-9223372036854775808|-123.45|0001-01-01 BC|1969-12-31 23:59:59.999999+00|1969-12-31 23:59:59.999999|-838:59:59.999999|\\x00ff|\\'🥬|5e-324\n\
         1||0|0.00|9999-12-31|9999-12-31 23:59:59.999999+00|1970-01-01 00:00:00.000001|00:00:00.000001|\\x||-0\n"
    );
}

#[tokio::test]
async fn bad_rows_are_rejected_alone_with_their_reason() {
    let server = database("out_rejects");
    server.sql(
        "out_rejects",
        "CREATE TABLE recs (\"user\" varchar(5), rank smallint, item text CHECK (item <> 'other'), score float8, PRIMARY KEY (\"user\", rank))",
    );
    let target = destination("out_rejects", "recs", NullPolicy::Keep);
    let mut rows: Vec<(String, i32, Option<&str>, f64)> =
        (0..2500).map(|n| (format!("u{n}"), 1, Some("x"), 1.0)).collect();
    rows[3].0 = "too long".to_owned();
    rows[700].1 = 300_000;
    rows[1500].2 = Some("other");
    rows[1501].3 = f64::NAN;
    rows[2000].2 = Some("nul \0");
    rows[2499].3 = f64::INFINITY;
    let rows: Vec<_> = rows.iter().map(|row| (row.0.as_str(), row.1, row.2, row.3)).collect();
    let report = write(&target, &changes(recommendations(&rows), None), 1).await;
    assert_eq!(report.upserted, 2494);
    let rejects: Vec<_> = report.rejects.iter().map(|reject| (reject.row, reject.code)).collect();
    let expected = [
        (3, "refused"),
        (700, "refused"),
        (1500, "refused"),
        (1501, "not_finite"),
        (2000, "unsupported_value"),
        (2499, "not_finite"),
    ];
    assert_eq!(rejects, expected, "{:?}", report.rejects);
    assert_eq!(server.sql("out_rejects", "SELECT count(*) FROM recs"), "2494\n");
}

#[tokio::test]
async fn a_null_keeps_the_old_value_unless_told_otherwise() {
    let server = database("out_null");
    let full = changes(recommendations(&[("a", 1, Some("x"), 1.0)]), None);
    let empty = changes(recommendations(&[("a", 1, None, 2.0)]), None);
    let keep = destination("out_null", "recs", NullPolicy::Keep);
    write(&keep, &full, 1).await;
    write(&keep, &empty, 2).await;
    assert_eq!(server.sql("out_null", "SELECT item, score FROM recs"), "x|2\n");
    write(&destination("out_null", "recs", NullPolicy::Overwrite), &empty, 3).await;
    assert_eq!(server.sql("out_null", "SELECT item IS NULL FROM recs"), "t\n");
}

#[tokio::test]
async fn targets_that_do_not_fit_say_why_and_what_to_do() {
    let server = database("out_fit");
    let rows = recommendations(&[("a", 1, Some("x"), 1.0)]);
    for (columns, reason) in [
        ("\"user\" text, rank int, item text, PRIMARY KEY (\"user\", rank)", "no column `score`"),
        ("\"user\" text, rank int, item text, score float8, PRIMARY KEY (\"user\")", "no unique index"),
        ("\"user\" text, rank int, item int, score float8, PRIMARY KEY (\"user\", rank)", "cannot hold Text"),
        ("\"user\" text, rank int, item text, score int, PRIMARY KEY (\"user\", rank)", "cannot hold Double"),
        (
            "\"user\" text, rank int, item text, score float8, shop int NOT NULL, PRIMARY KEY (\"user\", rank)",
            "must have a value",
        ),
        (
            "\"user\" text, rank int, item text, score float8 GENERATED ALWAYS AS (1.0) STORED, PRIMARY KEY (\"user\", rank)",
            "is generated",
        ),
    ] {
        server.sql("out_fit", &format!("DROP TABLE IF EXISTS recs; CREATE TABLE recs ({columns})"));
        let result = destination("out_fit", "recs", NullPolicy::Keep)
            .prepare(&rows.schema(), &["user".into(), "rank".into()])
            .await;
        let shown = result.as_ref().unwrap_err().to_string();
        assert!(shown.contains(reason), "{shown}");
        assert_eq!(code_of(result, server.password()), "target_mismatch");
    }
    server.sql("out_fit", "DROP TABLE recs; CREATE TABLE recs (id bigserial PRIMARY KEY, \"user\" varchar(9), rank int, item text, score real, UNIQUE (rank, \"user\"))");
    let target = destination("out_fit", "recs", NullPolicy::Keep);
    let prepared = target.prepare(&rows.schema(), &["user".into(), "rank".into()]).await.unwrap();
    assert_eq!(prepared.warnings.len(), 1, "{prepared:?}");
    assert_eq!(write(&target, &changes(rows.clone(), None), 1).await.upserted, 1);
    server.sql(
        "out_fit",
        "CREATE ROLE out_reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO out_reader;",
    );
    let url = format!("postgres://out_reader:r@127.0.0.1:{}/out_fit", server.port());
    let reader = PostgresDestination::new(&url, "recs", NullPolicy::Keep).unwrap();
    assert_eq!(code_of(reader.apply(&changes(rows, None)).await, ""), "not_allowed");
}

/// Publishes number after number until it is killed: number n replaces all rows of n - 1 by its own.
async fn publish_numbers(target: &PostgresDestination) {
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
    install_tls();
    let Ok(url) = std::env::var("CHILD_URL") else { return };
    publish_numbers(&PostgresDestination::new(&url, "recs", NullPolicy::Keep).unwrap()).await;
}

#[tokio::test]
async fn kills_leave_rows_and_receipt_agreeing() {
    let server = database("out_kill");
    let target = destination("out_kill", "recs", NullPolicy::Keep);
    let first = changes(recommendations(&[("0-0", 1, Some("x"), 1.0)]), None);
    target.prepare(&first.upserts.schema(), &first.key).await.unwrap();
    let url = server.url("out_kill");
    is_killed_often("postgres_destination::child_that_publishes", &url, async || {
        let seen = server.sql(
            "out_kill",
            "SELECT (SELECT coalesce(max(number), 0) FROM montauk_receipts), count(*), count(DISTINCT split_part(\"user\", '-', 1)), \
             coalesce(max(split_part(\"user\", '-', 1)::int), 0) FROM recs",
        );
        let seen: Vec<u64> = seen.trim().split('|').map(|number| number.parse().unwrap()).collect();
        let number = seen[0];
        assert!(number == 0 && seen[1] == 0 || seen == [number, 500, 1, number], "{seen:?}");
        number
    })
    .await;
}
