//! Incremental models: which intervals are made again when input changes.
//!
//! In: sales per day.  Out: filled, emptied and kept intervals, and rows equal to a full build.  Never here: other models.
//! Start at [`step`].

use domain::NoProgress;

use super::world::{World, build, load, model, newest, reload, rows, run, sales};
use crate::{BuildOptions, BuildReport, Model, ModelStatus, Warehouse};

fn daily() -> Model {
    daily_by("")
}

fn daily_by(batch: &str) -> Model {
    let header = format!("-- materialized: incremental   time: day   interval: 1 day   {batch}\n");
    model(
        "marts.daily",
        &(header
            + "-- checks: unique(day, kind)\n\
        select date_trunc('day', SoldAt) as day, kind, sum(amount) as total, count(*) as sales from raw.sales\n\
        where SoldAt >= $from and SoldAt < $to group by 1, 2"),
    )
}

/// Builds; the intervals as `filled emptied kept`, and whether rows equal those of a plain query.
async fn step(warehouse: &Warehouse, models: &[Model]) -> String {
    let report = build(warehouse, models, &[]).await;
    let plain = "select date_trunc('day', SoldAt) as day, kind, sum(amount) as total, count(*) as sales from raw.sales group by 1, 2 order by 1, 2";
    let catalog = warehouse.catalog().await.unwrap();
    assert_eq!(
        rows(warehouse, &catalog, "select * from marts.daily order by day, kind").await,
        rows(warehouse, &catalog, plain).await
    );
    intervals(&report)
}

fn intervals(report: &BuildReport) -> String {
    let model = &report.models[0];
    match model.intervals {
        Some(found) => format!("{} {} {}", found.filled, found.emptied, found.kept),
        None => format!("{:?}{}", model.status, model.reason.as_deref().unwrap_or_default()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_intervals_whose_input_changed_are_made_again() {
    let world = World::in_memory();
    let warehouse = world.open();
    load(&warehouse, "raw.sales", sales(&[(1, 100, 0), (2, 250, 0), (3, 50, 1), (4, 10, 40)])).await;
    assert_eq!(step(&warehouse, &[daily()]).await, "3 0 0");
    assert_eq!(step(&warehouse, &[daily()]).await, "Unchanged");
    load(&warehouse, "raw.sales", sales(&[(5, 7, 41)])).await;
    assert_eq!(step(&warehouse, &[daily()]).await, "1 0 3");
    // Late data reopens its day.
    load(&warehouse, "raw.sales", sales(&[(6, -3, 0)])).await;
    assert_eq!(step(&warehouse, &[daily()]).await, "1 0 3");
    // A day that lost all of its rows is emptied, one that lost a row is made again.
    reload(&warehouse, "raw.sales", sales(&[(1, 100, 0), (2, 250, 0), (6, -3, 0), (4, 10, 40), (8, 1, 40)])).await;
    assert_eq!(step(&warehouse, &[daily()]).await, "1 2 1");
    // The same rows in other files are no change, but the provenance follows.
    reload(&warehouse, "raw.sales", sales(&[(8, 1, 40), (1, 100, 0), (2, 250, 0), (6, -3, 0), (4, 10, 40)])).await;
    assert_eq!(step(&warehouse, &[daily()]).await, "0 0 2");
    assert_eq!(build(&warehouse, &[daily()], &[]).await.models[0].status, ModelStatus::Unchanged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adjacent_intervals_are_filled_by_one_run_and_stay_apart() {
    let world = World::in_memory();
    let warehouse = world.open();
    let many: Vec<(i64, i64, i64)> = (0..200).map(|id| (id, id * 7 % 90, id % 9 + id / 100 * 20)).collect();
    load(&warehouse, "raw.sales", sales(&many)).await;
    assert_eq!(step(&warehouse, &[daily_by("batch: 4")]).await, "18 0 0");
    // How many are filled together is no part of what they hold: one late row reopens one day, whatever the batch.
    load(&warehouse, "raw.sales", sales(&[(1000, 5, 3)])).await;
    let report = build(&warehouse, &[daily_by("batch: 30")], &[]).await;
    assert_eq!(intervals(&report), "1 0 17");
    assert_eq!(step(&warehouse, &[daily()]).await, "Unchanged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sql_another_whole_input_and_a_full_refresh_open_every_interval() {
    let world = World::in_memory();
    let warehouse = world.open();
    load(&warehouse, "raw.sales", sales(&[(1, 100, 0), (3, 50, 1)])).await;
    load(&warehouse, "raw.kinds", sales(&[(1, 1, 0)])).await;
    let with_names = |factor: &str| {
        model(
            "marts.daily",
            &format!(
                "-- materialized: incremental   time: day   interval: 1 day   start: 2010-12-02\nselect date_trunc('day', s.SoldAt) as day, sum(s.amount) * {factor} as total from raw.sales s join raw.kinds k on k.kind = s.kind where s.SoldAt >= $from and s.SoldAt < $to group by 1"
            ),
        )
    };
    assert_eq!(intervals(&build(&warehouse, &[with_names("1")], &[]).await), "1 0 0");
    load(&warehouse, "raw.sales", sales(&[(4, 5, 2)])).await;
    assert_eq!(intervals(&build(&warehouse, &[with_names("1")], &[]).await), "1 0 1");
    load(&warehouse, "raw.kinds", sales(&[(2, -1, 0)])).await;
    assert_eq!(intervals(&build(&warehouse, &[with_names("1")], &[]).await), "2 0 0");
    assert_eq!(intervals(&build(&warehouse, &[with_names("2")], &[]).await), "2 0 0");
    assert_eq!(newest(&warehouse, "select sum(total) from marts.daily").await, "110");
    let all = BuildOptions { full_refresh: true, ..BuildOptions::default() };
    let report = warehouse.build(&[with_names("2")], &[], &run("full"), &all, &NoProgress).await.unwrap();
    assert_eq!(intervals(&report), "2 0 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outside_of_their_interval_are_refused() {
    let world = World::in_memory();
    let warehouse = world.open();
    load(&warehouse, "raw.sales", sales(&[(1, 100, 0), (3, 50, 1)])).await;
    let weekly = model(
        "marts.daily",
        "-- materialized: incremental   time: week   interval: 1 day\nselect date_trunc('week', SoldAt) as week, sum(amount) as total from raw.sales where SoldAt >= $from and SoldAt < $to group by 1",
    );
    let report = build(&warehouse, &[weekly], &[]).await;
    assert!(
        intervals(&report).starts_with("Failedthe SQL returns rows outside of the interval"),
        "{}",
        intervals(&report)
    );
    let monthly = model(
        "marts.daily",
        "-- materialized: incremental   time: month   interval: 1 month\nselect date_trunc('month', SoldAt) as month, sum(amount) as total from raw.sales where SoldAt >= $from and SoldAt < $to group by 1",
    );
    assert_eq!(intervals(&build(&warehouse, &[monthly], &[]).await), "1 0 0");
    assert_eq!(newest(&warehouse, "select month, total from marts.daily").await, "2010-12-01T00:00:00 150");
}
