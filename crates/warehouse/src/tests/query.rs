//! Queries: names, limits, and what is said when one cannot run.
//!
//! In: SQL over one raw table.  Out: rows or the error.  Never here: building.  Start at [`answer`].

use domain::Problem;

use super::world::{World, build, load, model, name, newest, rows, run, sales};
use crate::Warehouse;
use crate::builds::CatalogChange;
use crate::table::{Commit, DataFile, file_path};

async fn answer(warehouse: &Warehouse, sql: &str) -> String {
    let catalog = warehouse.catalog().await.unwrap();
    match warehouse.query(&catalog, sql).await {
        Ok(result) => format!("{} rows", result.rows()),
        Err(error) => format!("{}: {error} = {}", error.code(), error.help().unwrap_or_default()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_reads_and_nothing_else() {
    let world = World::in_memory();
    let warehouse = world.open();
    load(&warehouse, "raw.sales", sales(&[(1, 100, 0), (2, 250, 0), (3, 50, 1)])).await;
    assert_eq!(answer(&warehouse, "select Id, COUNT(*) FROM raw.sales group by Id").await, "3 rows");
    assert_eq!(answer(&warehouse, "explain select 1").await, "2 rows");
    for sql in [
        "drop table raw.sales",
        "insert into raw.sales values (1)",
        "create table raw.x as select 1",
        "copy raw.sales to 'x.csv'",
        "set a = 1",
        "create external table t stored as csv location '/etc/passwd'",
    ] {
        let said = answer(&warehouse, sql).await;
        assert!(said.starts_with("not_read_only: `"), "{said}");
    }
    assert!(answer(&warehouse, "select * from '/etc/passwd'").await.starts_with("no_such_table"));
    assert_eq!(
        answer(&warehouse, "select 1; drop table raw.sales").await,
        "sql_error: there is more than one statement = write one `select`"
    );
    assert_eq!(answer(&warehouse, "").await, "sql_error: there is no statement = write one `select`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_name_is_answered_with_the_right_one() {
    let world = World::in_memory();
    let warehouse = world.open();
    load(&warehouse, "raw.sales", sales(&[(1, 100, 0)])).await;
    assert_eq!(
        answer(&warehouse, "select * from raw.salse").await,
        "no_such_table: table `raw.salse` does not exist = did you mean `raw.sales`?"
    );
    assert_eq!(
        answer(&warehouse, "select * from sales").await,
        "no_such_table: table `sales` does not exist = did you mean `raw.sales`?"
    );
    assert_eq!(
        answer(&warehouse, "select * from RAW.Sales").await,
        "no_such_table: table `RAW.Sales` does not exist = did you mean `raw.sales`?"
    );
    assert_eq!(
        answer(&warehouse, "select id from raw.sales").await,
        "sql_error: column `id` does not exist = did you mean `Id`? upper and lower case count"
    );
    let said = answer(&warehouse, "select cuont(Id) from raw.sales").await;
    assert!(said.starts_with("sql_error: ") && said.contains("cuont") && !said.contains('\n'), "{said}");
    let said = answer(&warehouse, "select amount / (Id - 1) from raw.sales").await;
    assert_eq!(said, "sql_error: divide by zero error = ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_cuts_and_says_so() {
    let world = World::in_memory();
    let warehouse = world.open();
    load(&warehouse, "raw.sales", sales(&[(1, 100, 0), (2, 250, 0), (3, 50, 1)])).await;
    let catalog = warehouse.catalog().await.unwrap();
    let mut result = warehouse.query_limited(&catalog, "select * from raw.sales", Some(3)).await.unwrap();
    assert_eq!(result.rows(), 3);
    assert!(result.cut_to(2));
    assert_eq!(result.rows(), 2);
    assert!(!result.cut_to(2));
    let empty = warehouse.query(&catalog, "select * from raw.sales where Id > 9").await.unwrap();
    assert_eq!((empty.rows(), empty.schema.fields().len()), (0, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_store_shows_every_row() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join("a b%20#ü");
    std::fs::create_dir(&odd).unwrap();
    for world in [World::in_memory(), World::in_prefix(), World::in_directory(&odd)] {
        let warehouse = world.open();
        load(&warehouse, "raw.판매", sales(&[(1, 100, 0), (2, 250, 0)])).await;
        load(&warehouse, "raw.판매", sales(&[(3, 50, 1)])).await;
        assert_eq!(
            newest(&warehouse, "select count(*), sum(amount), max(SoldAt) from raw.판매").await,
            "3 400 2010-12-02T12:00:00"
        );
        let models = [model("marts.요약", "select kind, sum(amount) as total from raw.판매 group by kind")];
        build(&warehouse, &models, &[]).await;
        assert_eq!(newest(&warehouse, "select * from marts.요약").await, "sale 400");
        // Another process knows no sizes.
        assert_eq!(newest(&world.open(), "select * from marts.요약").await, "sale 400");
        // Files of other writers may have names that addresses would change.
        let table = warehouse.table(&name("raw.판매")).await.unwrap().unwrap();
        let first = table.files()[0].clone();
        let bytes = warehouse.store().get(&file_path(table.name(), &first.path)).await.unwrap().unwrap();
        let odd = DataFile { path: "teil 1%20=ü#.parquet".into(), ..first };
        warehouse.store().put(&file_path(table.name(), &odd.path), bytes).await.unwrap();
        let version = table.commit(&Commit { adds: vec![odd], ..Commit::default() }).await.unwrap();
        let change = CatalogChange { table: table.name().clone(), version, provenance: Default::default() };
        let number = warehouse.publish(vec![change], &run("foreign")).await.unwrap();
        let catalog = world.open().catalog_at(number).await.unwrap();
        assert_ne!(rows(&world.open(), &catalog, "select count(*) from raw.판매").await, "3");
    }
}
