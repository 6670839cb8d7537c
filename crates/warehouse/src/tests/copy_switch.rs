//! COPY under crashes at every write, lost answers and races: each file exactly once.
//!
//! In: a few small files.  Out: the rows of the table, the ledger.
//! Never here: kill -9 of the real binary (`app`).  Start at [`exactly_once`].

use std::sync::Arc;

use super::copy_files::{Files, TABLE};
use super::fault::Mortal;
use super::world::{World, name, newest};
use crate::{CopyReport, RejectFilter, Result, Warehouse};

const CONTINUE: &str = "on_error = \"continue\"";

async fn months() -> Files {
    let first = "id,amount\n1,10\n2,20\nx,0\n";
    Files::new().csv("01.csv", first).await.csv("02.csv", "id,amount\n3,30\n").await
}

/// What must hold once everything has been copied, however often it was tried before.
async fn exactly_once(warehouse: &Warehouse, case: &str) {
    let sums = newest(warehouse, "select count(*), sum(amount), count(distinct id) from raw.lines").await;
    assert_eq!(sums, "4 100 4", "{case}");
    let loads = warehouse.loads(&name(TABLE)).await.unwrap();
    let loaded: u64 = loads.iter().flat_map(|load| &load.files).map(|file| file.report.rows_loaded).sum();
    assert_eq!(loaded, 4, "{case}");
    let table = warehouse.table(&name(TABLE)).await.unwrap().unwrap();
    let entry = warehouse.catalog().await.unwrap().tables[&name(TABLE)].clone();
    assert_eq!(entry.version, Some(table.version()), "{case}: the catalog is behind");
    let rejects = warehouse.quarantine(&name(TABLE), &RejectFilter::default(), 10).await.unwrap();
    assert_eq!(rejects.len(), 1, "{case}");
}

/// Columns are declared: the first file has a row that would make `id` text.
const OPTIONS: &str = "on_error = \"continue\"\ncolumns = { id = \"bigint\", amount = \"bigint\" }";

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_dies_at_any_write_loads_each_file_once_when_it_is_run_again() {
    let files = months().await;
    let more = files.clone().csv("03.csv", "id,amount\n4,40\n").await;
    for answer_lost in [false, true] {
        for writes in 0.. {
            let case = format!("dies after {writes} writes, answer lost: {answer_lost}");
            let world = World::in_memory();
            let mortal = Arc::new(Mortal::new(Arc::clone(&world.store), writes, answer_lost));
            let dying = World { store: mortal, url: world.url.clone() }.open();
            let ended: Result<CopyReport> = async {
                files.copy(&dying, OPTIONS).await?;
                more.copy(&dying, OPTIONS).await
            }
            .await;
            let warehouse = world.open();
            warehouse.recover().await.unwrap();
            more.copy(&warehouse, OPTIONS).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            exactly_once(&warehouse, &case).await;
            let again = more.copy(&warehouse, OPTIONS).await.unwrap();
            assert_eq!(again.load, None, "{case}");
            if ended.is_ok() {
                assert!(writes > 10, "a COPY makes more writes than {writes}");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_the_same_files_at_once_load_them_once() {
    let directory = tempfile::tempdir().unwrap();
    let files = months().await.csv("03.csv", "id,amount\n4,40\n").await;
    for round in 0..10 {
        let path = directory.path().join(round.to_string());
        std::fs::create_dir(&path).unwrap();
        let world = if round % 2 == 0 { World::in_memory() } else { World::in_directory(&path) };
        let (one, two, three) = (world.open(), world.open(), world.open());
        let (a, b, c) = tokio::join!(files.copy(&one, OPTIONS), files.copy(&two, OPTIONS), files.copy(&three, OPTIONS));
        let loads = [a, b, c].map(|report| report.unwrap().load);
        assert_eq!(loads.iter().flatten().count(), 1, "round {round}: {loads:?}");
        exactly_once(&world.open(), &format!("round {round}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_different_files_at_once_all_load() {
    let world = World::in_memory();
    let mut tasks = Vec::new();
    for month in 0..6 {
        let files = Files::new().csv(&format!("{month}.csv"), format!("id\n{month}\n")).await;
        let warehouse = world.open();
        tasks.push(tokio::spawn(async move { files.copy(&warehouse, CONTINUE).await }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().rows_loaded, 1);
    }
    assert_eq!(newest(&world.open(), "select id from raw.lines order by id").await, "0\n1\n2\n3\n4\n5");
    assert_eq!(world.open().loads(&name(TABLE)).await.unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_rewritten_by_another_program_is_not_loaded_twice() {
    let world = World::in_memory();
    let warehouse = world.open();
    let files = Files::new().csv("1.csv", "id\n1\n").await;
    files.copy(&warehouse, "").await.unwrap();
    // Another program compacts: the same rows in a file of another name.
    let table = warehouse.table(&name(TABLE)).await.unwrap().unwrap();
    let file = table.files()[0].clone();
    let bytes = warehouse.store().get(&crate::table::file_path(&name(TABLE), &file.path)).await.unwrap().unwrap();
    let compacted = crate::table::DataFile { path: "compacted.parquet".into(), ..file.clone() };
    warehouse.store().put(&crate::table::file_path(&name(TABLE), &compacted.path), bytes).await.unwrap();
    let commit = crate::table::Commit { adds: vec![compacted], removes: vec![file], ..Default::default() };
    table.commit(&commit).await.unwrap();

    assert_eq!(files.copy(&warehouse, "").await.unwrap().load, None);
    let changed = files.csv("1.csv", "id\n2\n").await;
    let error = changed.force(&warehouse, "").await.unwrap_err();
    assert!(error.to_string().contains("cannot be told from others in table `raw.lines`"), "{error}");
    assert_eq!(newest(&warehouse, "select id from raw.lines").await, "1");
}
