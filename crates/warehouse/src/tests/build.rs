//! Builds: order, no work for no change, checks that keep the old version, crashes and races with real SQL.
//!
//! In: small models over one raw table.  Out: statuses and rows.  Never here: incremental models.  Start at [`marts`].

use std::sync::Arc;

use domain::{NoProgress, Problem};
use object_store::ObjectStore;

use super::fault::Mortal;
use super::world::{World, build, load, model, name, newest, reload, rows, run, sales, statuses};
use crate::{BuildOptions, Check, CheckFile, Materialized, Model, TableKind, Warehouse};

/// A view, and three tables whose sums must agree.
fn marts() -> Vec<Model> {
    vec![
        model(
            "staging.stg_sales",
            "-- materialized: view\n-- checks: not_null(id, amount)\nselect Id as id, amount, SoldAt as sold_at, kind from raw.sales",
        ),
        model(
            "marts.by_kind",
            "-- checks: unique(kind)\nselect kind, sum(amount) as total, count(*) as rows from staging.stg_sales group by kind",
        ),
        model(
            "marts.by_day",
            "-- checks: unique(day)\nselect date_trunc('day', sold_at) as day, sum(amount) as total from staging.stg_sales group by 1",
        ),
        model("marts.total", "-- checks: range(total, 0, 1000000)\nselect sum(total) as total from marts.by_day"),
    ]
}

const SUMS: &str = "select (select sum(total) from marts.by_kind) as a, (select sum(total) from marts.by_day) as b, (select total from marts.total) as c";

async fn world() -> (World, Warehouse) {
    let world = World::in_memory();
    let warehouse = world.open();
    load(&warehouse, "raw.sales", sales(&[(1, 100, 0), (2, 250, 0), (3, 50, 1)])).await;
    (world, warehouse)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_become_visible_together_and_a_second_build_does_nothing() {
    let (_world, warehouse) = world().await;
    let models = marts();
    let report = build(&warehouse, &models, &[]).await;
    assert_eq!(
        statuses(&report),
        "staging.stg_sales built, marts.by_day built, marts.by_kind built, marts.total built"
    );
    assert_eq!((report.catalog, report.changed), (2, true));
    assert_eq!(newest(&warehouse, SUMS).await, "400 400 400");
    assert_eq!(newest(&warehouse, "select kind, total, rows from marts.by_kind order by kind").await, "sale 400 3");

    let again = build(&warehouse, &models, &[]).await;
    assert_eq!(
        statuses(&again),
        "staging.stg_sales unchanged, marts.by_day unchanged, marts.by_kind unchanged, marts.total unchanged"
    );
    assert_eq!((again.catalog, again.changed), (2, false));

    // A comment is no change; another expression is one for this model and what reads it.
    let mut changed = models.clone();
    changed[2] = model(
        "marts.by_day",
        "-- one row per day\n-- checks: unique(day)\nselect date_trunc('day', sold_at) as day,   sum(amount) as total from staging.stg_sales group by 1",
    );
    assert!(!build(&warehouse, &changed, &[]).await.changed);
    changed[2] = model(
        "marts.by_day",
        "select date_trunc('month', sold_at) as day, sum(amount) as total from staging.stg_sales group by 1",
    );
    let report = build(&warehouse, &changed, &[]).await;
    assert_eq!(
        statuses(&report),
        "staging.stg_sales unchanged, marts.by_day built, marts.by_kind unchanged, marts.total built"
    );
    let entry = warehouse.catalog().await.unwrap().tables[&name("marts.total")].clone();
    assert_eq!((entry.kind, entry.version, entry.rows, entry.changed_in), (TableKind::Table, Some(1), Some(1), 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_check_keeps_the_old_version_and_blocks_only_what_reads_it() {
    let (_world, warehouse) = world().await;
    build(&warehouse, &marts(), &[]).await;
    load(&warehouse, "raw.sales", sales(&[(4, -900, 1), (5, 70, 2)])).await;
    let mut models = marts();
    models[2] = model(
        "marts.by_day",
        "-- checks: range(total, 0, )\nselect date_trunc('day', sold_at) as day, sum(amount) as total from staging.stg_sales group by 1",
    );
    let report = build(&warehouse, &models, &[]).await;
    assert_eq!(
        statuses(&report),
        "staging.stg_sales built, marts.by_day failed, marts.by_kind built, marts.total blocked"
    );
    assert!(report.has_failures());
    assert_eq!(report.models[1].reason.as_deref(), Some("check `range(total, 0, )` of `marts.by_day` failed: 1 rows"));
    assert_eq!(
        report.models[3].reason.as_deref(),
        Some("`marts.total` waits for check `range(total, 0, )` of `marts.by_day` failed: 1 rows")
    );
    let failed = &report.models[1].checks[0];
    assert_eq!(failed.rows[0].to_string(), r#"{"day":"2010-12-02T00:00:00","total":-850}"#);
    assert_eq!(warehouse.failed_rows("build", &failed.id).await.unwrap(), failed.rows);
    assert_eq!(newest(&warehouse, "select count(*), sum(total) from marts.by_day").await, "2 400");
    assert_eq!(newest(&warehouse, "select sum(total) from marts.by_kind").await, "-430");
    assert_eq!(newest(&warehouse, "select total from marts.total").await, "400");

    // The Delta table itself, as other tools read it, has no unchecked version either.
    assert_eq!(warehouse.table(&name("marts.by_day")).await.unwrap().unwrap().version(), 0);

    // A warning is reported and lets the table through.
    models[2] = model(
        "marts.by_day",
        "-- checks: range(total, 0, ) warn\nselect date_trunc('day', sold_at) as day, sum(amount) as total from staging.stg_sales group by 1",
    );
    let report = build(&warehouse, &models, &[]).await;
    assert_eq!(
        statuses(&report),
        "staging.stg_sales unchanged, marts.by_day built, marts.by_kind unchanged, marts.total failed"
    );
    assert_eq!(report.models[1].checks[0].failing, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_shows_the_rows_that_its_checks_saw_until_the_next_build() {
    let (_world, warehouse) = world().await;
    build(&warehouse, &marts(), &[]).await;
    load(&warehouse, "raw.sales", sales(&[(4, 5, 1)])).await;
    assert_eq!(newest(&warehouse, "select count(*) from raw.sales").await, "4");
    assert_eq!(newest(&warehouse, "select count(*) from staging.stg_sales").await, "3");
    build(&warehouse, &marts(), &[]).await;
    assert_eq!(newest(&warehouse, "select count(*) from staging.stg_sales").await, "4");
    let first = warehouse.catalog_at(2).await.unwrap();
    assert_eq!(rows(&warehouse, &first, "select count(*) from staging.stg_sales").await, "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_that_fails_is_that_models_failure() {
    let (_world, warehouse) = world().await;
    let models = [
        model("marts.a", "select Id, kind,\n  amont from raw.sales"),
        model("marts.b", "select cast(kind as bigint) as number from raw.sales"),
        model("marts.c", "select * from marts.a"),
        model("marts.d", "select count(*) as n from raw.sales"),
    ];
    let report = build(&warehouse, &models, &[]).await;
    assert_eq!(statuses(&report), "marts.a failed, marts.b failed, marts.c blocked, marts.d built");
    assert_eq!(report.models[0].reason.as_deref(), Some("column `amont` does not exist at models/marts/a.sql"));
    let reason = report.models[1].reason.clone().unwrap();
    assert!(reason.contains("sale") && !reason.contains("Arrow"), "{reason}");
    assert_eq!(newest(&warehouse, "select n from marts.d").await, "3");
}

const CHECKS: &str = r#"
[[check]]
table = "raw.sales"
not_null = ["Id"]
unique = ["Id"]
[[check]]
table = "marts.by_kind"
accepted = { column = "kind", values = ["sale"] }
[[check]]
table = "marts.by_day"
name = "days add up to kinds"
sql = "select * from (select sum(total) as d from marts.by_day) cross join (select sum(total) as k from marts.by_kind) where d <> k"
[[check]]
table = "marts.total"
relationship = { column = "total", to = "marts.by_kind.total" }
severity = "warn"
"#;

fn checks() -> Vec<Check> {
    toml::from_str::<CheckFile>(CHECKS).unwrap().into_checks("checks/sales.toml").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_check_finds_its_rows() {
    let (_world, warehouse) = world().await;
    let report = build(&warehouse, &marts(), &checks()).await;
    assert_eq!(
        statuses(&report),
        "raw.sales checked, staging.stg_sales built, marts.by_kind built, marts.by_day built, marts.total built"
    );
    assert!(report.models.iter().flat_map(|model| &model.checks).all(|check| check.failing == 0));
    assert_eq!(statuses(&build(&warehouse, &marts(), &checks()).await).matches("unchanged").count(), 5);

    // A double id stops everything that reads the raw table; the marts stay as they were.
    load(&warehouse, "raw.sales", sales(&[(3, 50, 1)])).await;
    let report = build(&warehouse, &marts(), &checks()).await;
    assert_eq!(
        statuses(&report),
        "raw.sales failed, staging.stg_sales blocked, marts.by_kind blocked, marts.by_day blocked, marts.total blocked"
    );
    assert_eq!(report.models[0].checks[1].rows[0].to_string(), r#"{"Id":3,"rows":2}"#);
    assert_eq!(newest(&warehouse, SUMS).await, "400 400 400");

    // Another kind fails `accepted`; the total is then in no row of by_kind's old version: a warning only.
    reload(&warehouse, "raw.sales", sales(&[(1, 100, 0), (2, -30, 0)])).await;
    let report = build(&warehouse, &marts(), &checks()).await;
    assert_eq!(
        statuses(&report),
        "raw.sales checked, staging.stg_sales built, marts.by_kind failed, marts.by_day failed, marts.total blocked"
    );
    let results = warehouse.check(&warehouse.catalog().await.unwrap(), &checks(), 5).await.unwrap();
    assert!(results.iter().all(|result| result.error.is_none()), "{results:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_that_cannot_be_are_refused_with_their_place() {
    let bad = |text: &str| match toml::from_str::<CheckFile>(text) {
        Ok(file) => file.into_checks("checks/a.toml").unwrap_err().to_string(),
        Err(error) => error.message().to_owned(),
    };
    assert_eq!(bad("[[check]]\ntable = \"a.b\""), "a check of `a.b` checks nothing at checks/a.toml");
    assert_eq!(
        bad("[[check]]\ntable = \"a.b\"\nsql = \"select\""),
        "expected: an expression, found: EOF at checks/a.toml"
    );
    assert_eq!(
        bad("[[check]]\ntable = \"a.b\"\nrange = { column = \"x\" }"),
        "the range of `x` has no bound at checks/a.toml"
    );
    assert_eq!(
        bad("[[check]]\ntable = \"a.b\"\nrelationship = { column = \"x\", to = \"b.c\" }"),
        "`b.c` is not a column of a table at checks/a.toml"
    );
    assert!(bad("[[check]]\ntable = \"a.b\"\nunqiue = [\"x\"]").starts_with("unknown field `unqiue`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_dies_at_any_write_is_finished_or_forgotten() {
    // Every write of a whole build, SQL included, is tried; each second one loses its answer as well.
    for writes in 0.. {
        let (world, warehouse) = world().await;
        build(&warehouse, &marts(), &[]).await;
        load(&warehouse, "raw.sales", sales(&[(4, 600, 1)])).await;
        let mortal: Arc<dyn ObjectStore> = Arc::new(Mortal::new(Arc::clone(&world.store), writes, writes % 2 == 1));
        let dying = Warehouse::open(mortal, world.url.clone()).unwrap();
        let died = dying.build(&marts(), &[], &run("dying"), &BuildOptions::default(), &NoProgress).await;
        let warehouse = world.open();
        warehouse.recover().await.unwrap();
        let sums = newest(&warehouse, SUMS).await;
        assert!(sums == "400 400 400" || sums == "1000 1000 1000", "{sums} after {writes} writes");
        build(&warehouse, &marts(), &[]).await;
        assert_eq!(newest(&warehouse, SUMS).await, "1000 1000 1000");
        if died.is_ok() {
            assert!(writes > 10, "only {writes} crashes were tried");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_builders_and_a_loader_never_show_sums_that_differ() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::in_directory(directory.path());
    let warehouse = world.open();
    load(&warehouse, "raw.sales", sales(&[(0, 1, 0)])).await;
    build(&warehouse, &marts(), &[]).await;
    let loader = {
        let warehouse = world.open();
        tokio::spawn(async move {
            for id in 1..6 {
                load(&warehouse, "raw.sales", sales(&[(id, id, id % 3)])).await;
            }
        })
    };
    let builders: Vec<_> = (0..2)
        .map(|_| {
            let warehouse = world.open();
            tokio::spawn(async move {
                for _ in 0..4 {
                    let built = warehouse.build(&marts(), &[], &run("b"), &BuildOptions::default(), &NoProgress).await;
                    if let Err(error) = built {
                        assert_eq!(error.code(), "conflict");
                    }
                }
            })
        })
        .collect();
    for builder in builders {
        builder.await.unwrap();
    }
    loader.await.unwrap();
    build(&warehouse, &marts(), &[]).await;
    let last = warehouse.catalog().await.unwrap().number;
    for number in 2..=last {
        let catalog = warehouse.catalog_at(number).await.unwrap();
        let sums = rows(&warehouse, &catalog, SUMS).await;
        let sums: Vec<_> = sums.split(' ').collect();
        assert!(sums[0] == sums[1] && sums[1] == sums[2], "catalog {number}: {sums:?}");
    }
    assert_eq!(newest(&warehouse, SUMS).await, "16 16 16");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_another_room_become_a_table_once() {
    let (_world, warehouse) = world().await;
    let table = name("marts.recommendations");
    let wanted = Materialized {
        table: table.clone(),
        batches: vec![sales(&[(1, 5, 0), (2, 6, 0)])],
        checks: vec![Check::unique(&table, &["Id"])],
        provenance: domain::Provenance { code_hash: "a".into(), ..Default::default() },
    };
    let written = warehouse.materialize(wanted.clone(), &run("m")).await.unwrap();
    assert_eq!((written.catalog, written.rows, written.unchanged), (2, 2, false));
    assert!(warehouse.materialize(wanted.clone(), &run("m")).await.unwrap().unchanged);
    let mut double = wanted.clone();
    double.batches.push(sales(&[(1, 5, 0)]));
    double.provenance.code_hash = "b".into();
    let error = warehouse.materialize(double, &run("m")).await.unwrap_err();
    assert_eq!(error.code(), "checks_failed");
    assert_eq!(newest(&warehouse, "select count(*) from marts.recommendations").await, "2");
    let error = warehouse
        .build(&[model("raw.sales", "select 1 as x")], &[], &run("b"), &BuildOptions::default(), &NoProgress)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "table `raw.sales` is loaded by `copy` already at models/raw/sales.sql");
}
