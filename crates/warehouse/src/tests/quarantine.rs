//! The life of a reject: found, mended, replayed or dismissed, with rows that always add up; crashes and races of replays.
//!
//! In: files with bad rows.  Out: states, counts, the rows of the table.
//! Never here: what makes a row bad (`copy`).  Start at [`adds_up`].

use std::sync::Arc;

use domain::{NoProgress, Problem};

use super::copy_files::{Files, TABLE, options};
use super::fault::Mortal;
use super::world::{World, name, newest, run};
use crate::{
    CopyOptions, QuarantineCounts, RejectFilter, RejectId, RejectState, ReplayReport, Result, Warehouse, WarehouseError,
};

const OPTIONS: &str =
    "on_error = \"continue\"\ncolumns = { id = \"bigint\", name = \"text\", price = \"decimal(8,2)\" }";
/// Four rows that do not fit: a comma in a price, a word, a row that is too long, and a price with a dollar sign.
const BAD: &str = "id,name,price\n1,lamp,9.50\n2,\"a, b\",\"3,25\"\nx,rug,1.00\n4,bed,7.00,extra\n5,\"say \"\"hi\"\"\",$2.00\n6,sofa,5.00\n";

async fn loaded() -> (World, Warehouse, Files) {
    let world = World::in_memory();
    let warehouse = world.open();
    let files = Files::new().csv("a.csv", BAD).await;
    let report = files.copy(&warehouse, OPTIONS).await.unwrap();
    assert_eq!((report.rows_loaded, report.rows_rejected), (2, 4));
    (world, warehouse, files)
}

/// The counts, after checking that they add up and that the table holds what they say.
async fn adds_up(warehouse: &Warehouse) -> QuarantineCounts {
    let counts = warehouse.quarantine_counts(&name(TABLE)).await.unwrap();
    let QuarantineCounts { rows_parsed, rows_loaded, open, fixed, replayed, dismissed, .. } = counts;
    assert_eq!(rows_parsed, rows_loaded + open + fixed + replayed + dismissed, "{counts:?}");
    let rows: u64 = newest(warehouse, "select count(*) from raw.lines").await.parse().unwrap();
    assert_eq!(rows, rows_loaded + replayed, "{counts:?}");
    counts
}

fn only(ids: &[&str]) -> RejectFilter {
    RejectFilter { ids: ids.iter().map(|id| id.parse().unwrap()).collect(), ..RejectFilter::default() }
}

async fn fix(warehouse: &Warehouse, filter: &RejectFilter, sql: &str) -> Result<Vec<String>> {
    let report = warehouse.fix(&name(TABLE), filter, sql, &options(OPTIONS), &run("fix")).await?;
    Ok(report.fixed.into_iter().map(|fixed| format!("{} {}", fixed.id, fixed.after)).collect())
}

/// Mends the comma and the dollar sign; answers the two rows.
async fn mend_prices(warehouse: &Warehouse) -> Vec<String> {
    let prices = RejectFilter { column: Some("price".into()), ..RejectFilter::default() };
    let sql = "select _id, replace(replace(price, ',', '.'), '$', '') as price from rejects";
    fix(warehouse, &prices, sql).await.unwrap()
}

async fn replay(warehouse: &Warehouse, toml: &str) -> Result<ReplayReport> {
    let options: CopyOptions = options(toml);
    warehouse.replay(&name(TABLE), &RejectFilter::default(), &options, &run("replay"), &NoProgress).await
}

fn code(error: &WarehouseError) -> &'static str {
    assert!(error.help().is_some_and(|help| !help.is_empty()), "no next step: {error}");
    error.code()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_found_mended_replayed_or_dismissed_and_all_rows_add_up() {
    let (_, warehouse, files) = loaded().await;
    assert_eq!(adds_up(&warehouse).await.open, 4);
    let mended = mend_prices(&warehouse).await;
    assert_eq!(mended, ["1.1 2,\"a, b\",3.25", "1.4 5,\"say \"\"hi\"\"\",2.00"]);
    assert_eq!(adds_up(&warehouse).await.fixed, 2);
    let report = replay(&warehouse, OPTIONS).await.unwrap();
    assert_eq!((report.load, report.rows_replayed), (Some(2), 2));
    let left: Vec<_> =
        report.still_rejected.iter().map(|found| (found.id.to_string(), found.reject.code.clone())).collect();
    assert_eq!(
        left,
        [("1.2".to_owned(), "not_a_number".to_owned()), ("1.3".to_owned(), "too_many_columns".to_owned())]
    );
    assert_eq!(
        newest(&warehouse, "select id, name, price from raw.lines where id in (2, 5) order by id").await,
        "2 a, b 3.25\n5 say \"hi\" 2.00"
    );
    let dismissed = warehouse.dismiss(&name(TABLE), &only(&["1.2"]), "a test order", &run("dismiss")).await.unwrap();
    assert_eq!(dismissed, 1);
    // A row of another shape is mended whole.
    fix(&warehouse, &only(&["1.3"]), "select _id, replace(_original, ',extra', '') as _original from rejects")
        .await
        .unwrap();
    assert_eq!(replay(&warehouse, OPTIONS).await.unwrap().rows_replayed, 1);
    let counts = adds_up(&warehouse).await;
    assert_eq!((counts.open, counts.fixed, counts.replayed, counts.dismissed), (0, 0, 3, 1));

    let all = warehouse.quarantine(&name(TABLE), &RejectFilter::default(), 10).await.unwrap();
    let states: Vec<_> = all.iter().map(|found| (found.state, found.replayed_in, found.reason.as_deref())).collect();
    assert_eq!(
        states,
        [
            (RejectState::Replayed, Some(2), None),
            (RejectState::Dismissed, None, Some("a test order")),
            (RejectState::Replayed, Some(3), None),
            (RejectState::Replayed, Some(2), None),
        ]
    );
    // Where a replayed row came from: its load names the reject, which names file, line and byte.
    let record = &warehouse.loads(&name(TABLE)).await.unwrap()[0];
    assert_eq!(record.replays[0].rejects, [RejectId { load: 1, place: 3 }]);
    assert_eq!((all[2].reject.file.as_str(), all[2].reject.line), ("a.csv", 5));

    let history = "select load, action, file, status, rows_parsed, rows_loaded from montauk.copy_history order by load";
    assert_eq!(
        newest(&warehouse, history).await,
        "1 copy a.csv partially_loaded 6 2\n2 replay a.csv loaded 2 2\n3 replay a.csv loaded 1 1"
    );
    let rejects =
        "select id, state, line, code, replayed_in from montauk.load_rejects where state <> 'dismissed' order by id";
    assert_eq!(
        newest(&warehouse, rejects).await,
        "1.1 replayed 3 not_a_number 2\n1.3 replayed 5 too_many_columns 3\n1.4 replayed 6 not_a_number 2"
    );

    // Nothing is left to do; the file is loaded, and a copy finds nothing new.
    assert_eq!(code(&replay(&warehouse, OPTIONS).await.unwrap_err()), "no_reject");
    assert_eq!(files.copy(&warehouse, OPTIONS).await.unwrap().load, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_loaded_anew_brings_its_own_rejects() {
    let (_, warehouse, files) = loaded().await;
    mend_prices(&warehouse).await;
    assert_eq!(replay(&warehouse, OPTIONS).await.unwrap().rows_replayed, 2);
    // It takes the replayed rows with it.
    let report = files.force(&warehouse, OPTIONS).await.unwrap();
    assert_eq!((report.rows_replaced, adds_up(&warehouse).await.open), (4, 4));
    assert_eq!(files.force(&warehouse, OPTIONS).await.unwrap().rows_replaced, 2, "and once more, without the replays");
    // Left out by a later attempt, it stays what it was.
    let strict = OPTIONS.replace("continue", "skip_file");
    files.force(&warehouse, &strict).await.unwrap();
    assert_eq!(adds_up(&warehouse).await.open, 4);
    fix(
        &warehouse,
        &RejectFilter { code: Some("too_many_columns".into()), ..RejectFilter::default() },
        "select _id, '4,bed,7.00' as _original from rejects",
    )
    .await
    .unwrap();
    assert_eq!(replay(&warehouse, OPTIONS).await.unwrap().rows_replayed, 1);
    let changed = files.csv("a.csv", BAD.replace("9.50", "9.99")).await;
    let report = changed.force(&warehouse, OPTIONS).await.unwrap();
    assert_eq!(report.rows_replaced, 3);
    assert_eq!(adds_up(&warehouse).await.open, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_changes_nothing_but_what_it_names() {
    let warehouse = World::in_memory().open();
    let toml = format!("{OPTIONS}\ncsv = {{ null_if = [\"NULL\"] }}");
    let rows: &[u8] = b"id,name,price\n1,NULL,\"1,25\"\n2,\"NULL\",\"2,50\"\n3,M\xfcller,\"3,00\"\n4,\"a\"b,\"4,00\"\n";
    Files::new().csv("n.csv", rows).await.copy(&warehouse, &toml).await.unwrap();
    let sql = "select _id, replace(price, ',', '.') as price from rejects";
    let report =
        warehouse.fix(&name(TABLE), &RejectFilter::default(), sql, &options(&toml), &run("fix")).await.unwrap();
    let after: Vec<&str> = report.fixed.iter().map(|fixed| fixed.after.as_str()).collect();
    assert_eq!(after, ["1,,1.25", "2,\"NULL\",2.50"], "null stays null, and text stays text");
    assert_eq!(report.not_cut.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1.3", "1.4"]);
    replay(&warehouse, &toml).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, name is null from raw.lines order by id").await, "1 true\n2 false");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_fit_under_other_options_are_replayed_as_they_are() {
    let (_, warehouse, _) = loaded().await;
    // Nobody mended it: the semicolon dialect of another month is not this file's, but null_if is.
    let report = replay(&warehouse, &format!("{OPTIONS}\ncsv = {{ null_if = [\"x\", \"$2.00\"] }}")).await.unwrap();
    assert_eq!(report.rows_replayed, 2);
    assert_eq!(newest(&warehouse, "select count(*) from raw.lines where id is null or price is null").await, "2");
    adds_up(&warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said() {
    let (_, warehouse, _) = loaded().await;
    let all = RejectFilter::default();
    for (sql, expected) in [
        ("select price from rejects", "returns no `_id`"),
        ("select _id, cost from rejects", "cost"),
        ("select _id, price as cost from rejects", "no column `cost`"),
        ("select '9.9' as _id, price from rejects", "`9.9`"),
        ("select _id, price from rejects union all select _id, price from rejects", "twice"),
        ("delete from rejects", ""),
    ] {
        let error = fix(&warehouse, &all, sql).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{sql}: {error}");
    }
    assert_eq!(code(&fix(&warehouse, &only(&["7.1"]), "select _id from rejects").await.unwrap_err()), "no_reject");
    let error = warehouse.dismiss(&name(TABLE), &only(&["7.1"]), "no", &run("d")).await.unwrap_err();
    assert_eq!(code(&error), "no_reject");
    assert!("7".parse::<RejectId>().is_err() && "0.1".parse::<RejectId>().is_err());
    // A text that is two rows would load one that was never there.
    fix(&warehouse, &only(&["1.2"]), "select _id, '8,a,1\n9,b,2' as _original from rejects").await.unwrap();
    let report = replay(&warehouse, OPTIONS).await.unwrap();
    assert!(report.still_rejected.iter().any(|found| found.reject.code == "not_one_row"), "{report:?}");
    assert_eq!(adds_up(&warehouse).await.replayed, 0);
    // An aborted load is in the history as well.
    let abort = OPTIONS.replace("continue", "abort");
    Files::new().csv("c.csv", BAD.replace("lamp", "vase")).await.copy(&warehouse, &abort).await.unwrap_err();
    let aborted = "select status, error_code from montauk.copy_history where load is null and file is null";
    assert_eq!(newest(&warehouse, aborted).await, "aborted copy_aborted");
    // A file that was left out whole is loaded first.
    let skip = Files::new().csv("s.csv", BAD).await;
    let world = World::in_memory();
    let warehouse = world.open();
    let left_out = OPTIONS.replace("continue", "skip_file");
    Files::new().csv("good.csv", "id,name,price\n1,a,1.00\n").await.copy(&warehouse, OPTIONS).await.unwrap();
    skip.copy(&warehouse, &left_out).await.unwrap();
    let report = replay(&warehouse, OPTIONS).await.unwrap();
    assert_eq!((report.rows_replayed, report.not_replayable.len()), (0, 4));
    assert!(report.not_replayable[0].reason.contains("on_error"), "{report:?}");
    assert_eq!(adds_up(&warehouse).await.of_skipped_files, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_dies_at_any_write_loads_each_row_once_when_it_is_run_again() {
    for answer_lost in [false, true] {
        for writes in 0.. {
            let case = format!("dies after {writes} writes, answer lost: {answer_lost}");
            let (world, warehouse, _) = loaded().await;
            mend_prices(&warehouse).await;
            let mortal = Arc::new(Mortal::new(Arc::clone(&world.store), writes, answer_lost));
            let dying = World { store: mortal, url: world.url.clone() }.open();
            let ended = replay(&dying, OPTIONS).await;
            let warehouse = world.open();
            warehouse.recover().await.unwrap();
            match replay(&warehouse, OPTIONS).await {
                Ok(report) => assert!(report.rows_replayed <= 2, "{case}"),
                Err(error) => panic!("{case}: {error}"),
            }
            assert_eq!(newest(&warehouse, "select count(*), count(distinct id) from raw.lines").await, "4 4", "{case}");
            assert_eq!(adds_up(&warehouse).await.replayed, 2, "{case}");
            if ended.is_ok() {
                assert!(writes > 4, "a replay makes more writes than {writes}");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replays_at_once_load_each_row_once() {
    for _ in 0..10 {
        let (world, warehouse, files) = loaded().await;
        mend_prices(&warehouse).await;
        let (one, two, three) = (world.open(), world.open(), world.open());
        let more = files.csv("b.csv", "id,name,price\n7,shelf,1.00\n").await;
        let (a, b, c) = tokio::join!(replay(&one, OPTIONS), replay(&two, OPTIONS), more.copy(&three, OPTIONS));
        assert_eq!(a.unwrap().rows_replayed + b.unwrap().rows_replayed, 2);
        assert_eq!(c.unwrap().rows_loaded, 1);
        assert_eq!(adds_up(&world.open()).await.replayed, 2);
    }
}

#[tokio::test]
async fn a_row_of_a_file_with_its_own_delimiter_is_mended_in_it() {
    let warehouse = World::in_memory().open();
    let files = Files::new().csv("a.csv", "id;name;price\n1;lamp;9.50\n2;\"a; b\";\"3,25\"\n").await;
    files.copy(&warehouse, OPTIONS).await.unwrap();
    assert_eq!(mend_prices(&warehouse).await, ["1.1 2;\"a; b\";3.25"]);
    assert_eq!(replay(&warehouse, OPTIONS).await.unwrap().rows_replayed, 1);
    assert_eq!(newest(&warehouse, "select name, price from raw.lines where id = 2").await, "a; b 3.25");
}
