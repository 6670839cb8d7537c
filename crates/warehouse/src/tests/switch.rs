//! The switch: three tables whose sums must agree, under crashes at every write, races, and foreign writers.
//!
//! In: drafts made by hand, without SQL, so that hundreds of crashes take seconds.  Out: sums per catalog number.
//! Never here: building.  Start at [`agree`].

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use chrono::TimeDelta;
use domain::Provenance;
use futures::StreamExt;
use object_store::ObjectStore;

use super::fault::Mortal;
use super::world::{World, name, newest, rows, run};
use crate::builds::{Draft, Switched};
use crate::catalog::CatalogEntry;
use crate::error::Result;
use crate::table::{BUILD_APP, Commit, DataFile, Table, TableIdentity, delta_schema};
use crate::write::Aside;
use crate::{Warehouse, table_schema};

const MARTS: [&str; 3] = ["marts.a", "marts.b", "marts.c"];

fn batch(value: i64) -> RecordBatch {
    // Three rows that sum up to `value`, split differently per call site would prove no more.
    let column: ArrayRef = Arc::new(Int64Array::from(vec![value - 3, 1, 2]));
    RecordBatch::try_from_iter([("value", column)]).unwrap()
}

/// Writes three tables aside whose rows sum up to `value`, and drafts their common switch.
async fn draft(warehouse: &Warehouse, value: i64) -> Result<Draft> {
    let catalog = warehouse.catalog().await?;
    let mut draft = Draft::default();
    for table in MARTS {
        let name = name(table);
        let batch = batch(value);
        let schema = table_schema(&batch.schema())?;
        let current = warehouse.table(&name).await?;
        let aside = Aside::begin(warehouse.store(), &name, &run("draft")).await?;
        let mut writer = aside.writer(Arc::clone(&schema), "");
        writer.write(&batch).await?;
        let provenance = Provenance { code_hash: value.to_string(), ..Provenance::default() };
        let next = crate::build::tests_next_version(
            warehouse,
            &name,
            &schema,
            writer.finish().await?,
            provenance,
            &run("draft"),
        )
        .await?;
        drop(current);
        draft.watched.insert(name.clone(), catalog.tables.get(&name).map(CatalogEntry::identity));
        draft.entries.insert(name, next.0);
        draft.commits.push(next.1);
        draft.asides.push(aside.id().to_owned());
    }
    Ok(draft)
}

/// One build of `value`: drafts until it is not overtaken.
async fn publish(warehouse: &Warehouse, value: i64) -> Result<u64> {
    loop {
        let draft = draft(warehouse, value).await?;
        match warehouse.switch(&draft, &run("draft")).await? {
            Switched::Published(number) => return Ok(number),
            Switched::Overtaken(_) => warehouse.discard_draft(&draft).await,
        }
    }
}

async fn sum(warehouse: &Warehouse, table: &str, version: u64) -> i64 {
    let table = warehouse.table_at(&name(table), version).await.unwrap();
    let mut sum = 0;
    for file in table.files() {
        let path = crate::table::file_path(table.name(), &file.path);
        let bytes = warehouse.store().get(&path).await.unwrap().unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1024).unwrap();
        for batch in reader {
            sum += batch.unwrap().column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
        }
    }
    sum
}

/// The value of every catalog number; panics when the three tables of one number differ.
async fn agree(warehouse: &Warehouse) -> Vec<i64> {
    let newest = warehouse.catalog().await.unwrap().number;
    let mut values = Vec::new();
    for number in 1..=newest {
        let catalog = warehouse.catalog_at(number).await.unwrap();
        let mut sums = Vec::new();
        for table in MARTS {
            if let Some(entry) = catalog.tables.get(&name(table)) {
                sums.push(sum(warehouse, table, entry.version.unwrap()).await);
            }
        }
        assert_eq!(sums.len(), 3, "catalog {number} shows a part of a build");
        assert!(sums.iter().all(|sum| *sum == sums[0]), "catalog {number} shows {sums:?}");
        values.push(sums[0]);
    }
    values
}

/// Parquet files below the tables.
async fn parquet_files(store: &Arc<dyn ObjectStore>) -> usize {
    store
        .list(None)
        .filter(|meta| {
            std::future::ready(meta.as_ref().is_ok_and(|meta| meta.location.as_ref().ends_with(".zstd.parquet")))
        })
        .count()
        .await
}

/// Dies after `writes` writes while 200 replaces 100; another process recovers. Returns whether the build was over before that.
async fn crash_after(writes: i64, answer_lost: bool) -> bool {
    let world = World::in_memory();
    publish(&world.open(), 100).await.unwrap();
    let mortal = Arc::new(Mortal::new(Arc::clone(&world.store), writes, answer_lost));
    let dying = Warehouse::open(Arc::clone(&mortal) as Arc<dyn ObjectStore>, world.url.clone()).unwrap();
    let survived = publish(&dying, 200).await.is_ok();

    let warehouse = world.open();
    let report = warehouse.recover().await.unwrap();
    let values = agree(&warehouse).await;
    assert!(values == [100] || values == [100, 200], "{values:?} after {writes} writes");
    assert!(!survived || values == [100, 200], "a finished build is gone after {writes} writes");
    assert_eq!(report.catalog, values.len() as u64);
    assert!(warehouse.recover().await.unwrap().rolled_forward.is_empty());

    assert_eq!(publish(&warehouse, 300).await.unwrap(), values.len() as u64 + 1);
    assert_eq!(agree(&warehouse).await.last(), Some(&300));
    for table in MARTS {
        let table = warehouse.table(&name(table)).await.unwrap().unwrap();
        assert_eq!(table.version(), values.len() as u64, "a number was committed twice");
    }
    warehouse.sweep(run("sweep").now, TimeDelta::zero()).await.unwrap();
    assert_eq!(
        parquet_files(&world.store).await,
        3 * (values.len() + 1),
        "a dead build left files after {writes} writes"
    );
    assert_eq!(agree(&warehouse).await.last(), Some(&300));
    survived
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_write_leaves_the_old_build_or_the_whole_new_one() {
    let mut crashes = 0;
    for answer_lost in [false, true] {
        for writes in 0.. {
            if crash_after(writes, answer_lost).await {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes > 20, "only {crashes} crashes were tried");
}

/// Polls a future some times and drops it, as an aborted task does.
async fn abort_after<T>(polls: u64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_at_any_await_leaves_the_old_build_or_the_whole_new_one() {
    let mut seed = 42_u64;
    for _ in 0..100 {
        // SplitMix64's step; any spread over the ~200 awaits will do.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let world = World::in_memory();
        publish(&world.open(), 100).await.unwrap();
        let dying = world.open();
        let finished = abort_after((seed >> 33) % 60, publish(&dying, 200)).await;
        let warehouse = world.open();
        warehouse.recover().await.unwrap();
        let values = agree(&warehouse).await;
        assert!(values == [100] || values == [100, 200], "{values:?}");
        assert!(finished.is_none() || values == [100, 200]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_never_mix_and_every_number_agrees() {
    for in_directory in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let world = if in_directory { World::in_directory(directory.path()) } else { World::in_memory() };
        let writers = (0..4_i64).map(|writer| {
            let warehouse = world.open();
            tokio::spawn(async move {
                let mut published = 0;
                for round in 0..5 {
                    publish(&warehouse, 1000 * (writer + 1) + round).await.unwrap();
                    published += 1;
                }
                published
            })
        });
        let writers: Vec<_> = writers.collect();
        let reader = world.open();
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_over = Arc::clone(&done);
        let polling = tokio::spawn(async move {
            let mut last = 0;
            while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                let catalog = reader.catalog().await.unwrap();
                assert!(catalog.number >= last, "the catalog went back");
                last = catalog.number;
                let mut sums = Vec::new();
                for (table, entry) in &catalog.tables {
                    sums.push(sum(&reader, &table.to_string(), entry.version.unwrap()).await);
                }
                assert!(sums.iter().all(|sum| *sum == sums[0]), "catalog {last} shows {sums:?}");
            }
        });
        for writer in writers {
            assert_eq!(writer.await.unwrap(), 5);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        polling.await.unwrap();
        let values = agree(&world.open()).await;
        assert_eq!(values.len(), 20);
        assert_eq!(parquet_files(&world.store).await, 60, "builds that were overtaken left files");
        let mut distinct = values.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 20, "a build was published twice: {values:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_recover_one_crash_at_once() {
    let world = World::in_memory();
    publish(&world.open(), 100).await.unwrap();
    // Notes and files take 3 × 2 writes; the plan is the 7th; the rest is left to the others.
    let mortal: Arc<dyn ObjectStore> = Arc::new(Mortal::new(Arc::clone(&world.store), 7, false));
    let dying = Warehouse::open(mortal, world.url.clone()).unwrap();
    assert!(publish(&dying, 200).await.is_err());
    let recoveries = (0..4).map(|_| {
        let warehouse = world.open();
        tokio::spawn(async move { warehouse.recover().await.unwrap().catalog })
    });
    for recovery in recoveries.collect::<Vec<_>>() {
        assert_eq!(recovery.await.unwrap(), 2);
    }
    assert_eq!(agree(&world.open()).await, [100, 200]);
    assert_eq!(world.open().table(&name("marts.a")).await.unwrap().unwrap().version(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_commit_between_plan_and_commit_does_not_get_into_the_build() {
    let world = World::in_memory();
    let warehouse = world.open();
    publish(&warehouse, 100).await.unwrap();
    let mortal: Arc<dyn ObjectStore> = Arc::new(Mortal::new(Arc::clone(&world.store), 7, false));
    assert!(publish(&Warehouse::open(mortal, world.url.clone()).unwrap(), 200).await.is_err());
    // Somebody outside Montauk copies the rows of `marts.b` once more.
    let foreign = warehouse.table(&name("marts.b")).await.unwrap().unwrap();
    let aside = Aside::begin(warehouse.store(), &name("marts.b"), &run("foreign")).await.unwrap();
    let mut writer = aside.writer(foreign.schema(), "");
    writer.write(&batch(7)).await.unwrap();
    let commit = Commit { adds: writer.finish().await.unwrap(), ..Commit::default() };
    foreign.commit(&commit).await.unwrap();

    assert_eq!(warehouse.recover().await.unwrap().rolled_forward, [2]);
    assert_eq!(agree(&warehouse).await, [100, 200]);
    let versions: Vec<_> =
        warehouse.catalog().await.unwrap().tables.values().map(|entry| entry.version.unwrap()).collect();
    assert_eq!(versions, [1, 2, 1]);
    assert_eq!(newest(&warehouse, "select sum(value) from marts.b").await, "200");
    let catalog = warehouse.catalog_at(1).await.unwrap();
    assert_eq!(rows(&warehouse, &catalog, "select sum(value) from marts.b").await, "100");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_on_an_old_snapshot_is_refused_and_numbers_survive_checkpoints() {
    let world = World::in_memory();
    let warehouse = world.open();
    let name = name("raw.数据");
    let schema = table_schema(&batch(3).schema()).unwrap();
    let first = warehouse.create_table(&name, &schema, &run("a")).await.unwrap();
    let again = warehouse.create_table(&name, &schema, &run("b")).await.unwrap();
    assert_eq!(first.id(), again.id());
    let mut table = first.clone();
    for number in 1..=45 {
        let file = DataFile { path: format!("part {number}%.parquet"), bytes: 1, rows: 2, stats: None };
        let commit = Commit { adds: vec![file], txn: Some(("montauk.copy".into(), number)), ..Commit::default() };
        table.commit(&commit).await.unwrap();
        let error = table.commit(&commit).await.unwrap_err();
        assert_eq!(error.to_string(), "another run changed table `raw.数据` meanwhile");
        table = warehouse.table(&name).await.unwrap().unwrap();
        assert_eq!(table.txn("montauk.copy"), Some(number));
    }
    assert_eq!(table.files().len(), 45);
    assert_eq!(table.files()[0].path, "part 1%.parquet");
    assert_eq!(table.txn(BUILD_APP), None);
    assert_eq!(warehouse.table_at(&name, 7).await.unwrap().files().len(), 7);
    assert!(warehouse.table(&"raw.none".parse().unwrap()).await.unwrap().is_none());
    let checkpoints = world
        .store
        .list(None)
        .filter(|meta| {
            std::future::ready(meta.as_ref().is_ok_and(|meta| meta.location.as_ref().contains(".checkpoint.")))
        })
        .count()
        .await;
    assert_eq!(checkpoints, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_with_zoneless_times_say_so_in_their_protocol_and_others_stay_plain() {
    let world = World::in_memory();
    let identity = TableIdentity { id: "00000000-0000-0000-0000-000000000001".into(), created_ms: 0 };
    let warehouse = world.open();
    for (table, batch, expected) in [
        ("raw.plain", batch(3), r#""minReaderVersion":1"#),
        ("raw.times", super::world::sales(&[(1, 1, 1)]), r#""minReaderVersion":3"#),
    ] {
        let schema = delta_schema(&table_schema(&batch.schema()).unwrap()).unwrap();
        Table::create(warehouse.store(), &name(table), &schema, &identity).await.unwrap();
        let path = crate::table::table_path(&name(table)).join("_delta_log").join("00000000000000000000.json");
        let text = String::from_utf8(warehouse.store().get(&path).await.unwrap().unwrap().to_vec()).unwrap();
        assert!(text.contains(expected), "{text}");
    }
    let table = warehouse.table(&name("raw.times")).await.unwrap().unwrap();
    assert_eq!(table.schema().field(2).data_type().to_string(), "Timestamp(µs)");
}
