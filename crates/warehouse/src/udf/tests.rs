//! The functions as statements see them: values computed by hand, nulls, lengths, and every way in which a plan may cut the work.
//!
//! In: SQL over a few rows.  Out: rows, or the sentence that is said.  Never here: tables on disk; agreement with `recommend` (`app`).
//! Start at [`answer`].

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use datafusion::datasource::MemTable;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::col;

use super::register_all;
use crate::sql_error::engine_error;

fn session(partitions: usize) -> SessionContext {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
    register_all(&session);
    session
}

/// Rows as text, cells apart by a space, rows by a bar; or what is said of the error.
async fn ask(session: &SessionContext, sql: &str) -> String {
    let result = async { session.sql(sql).await?.collect().await }.await;
    let batches = match result {
        Ok(batches) => batches,
        Err(error) => return engine_error(error, "").to_string(),
    };
    let cell = |column: &ArrayRef, row| match array_value_to_string(column, row).unwrap() {
        text if text.is_empty() => "null".to_owned(),
        text => text,
    };
    let line =
        |batch: &RecordBatch, row| batch.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join(" ");
    let lines = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| line(batch, row)));
    lines.collect::<Vec<_>>().join(" | ")
}

async fn answer(sql: &str) -> String {
    ask(&session(2), sql).await
}

async fn number(sql: &str) -> f64 {
    let said = answer(sql).await;
    said.parse().unwrap_or_else(|_| panic!("{sql}: {said}"))
}

#[tokio::test]
async fn cosines_by_hand() {
    // Users {0, 1}, {0, 1, 2}, {0}, {2}: g_01 = 2, d_0 = 3, d_1 = 2.
    let similarity =
        |a: f64, shrink: f64| format!("select item_similarity('cosine', 2, 2, 3, 2, 3, 2, 4, {a}, {shrink})");
    assert!((number(&similarity(0.5, 0.0)).await - 2.0 / 6f64.sqrt()).abs() < 1e-12);
    assert!((number(&similarity(0.6, 1.0)).await - 2.0 / (3f64.powf(0.6) * 2f64.powf(0.4) + 1.0)).abs() < 1e-12);
    assert_eq!(answer("select item_similarity('cosine', 0, 0, 0, 0, 0, 0, 4, 0.5, 0)").await, "0.0");
}

#[tokio::test]
async fn likelihoods_and_shares_by_hand() {
    // "the swiss" in Dunning's table 3: k(AB) = 110, k(A¬B) = 2,442, k(¬AB) = 111, k(¬A¬B) = 29,114 → 270.72.
    let dunning = "select item_similarity('llr', 110, null, 2552, 221, null, null, 31777, null, null)";
    assert!((number(dunning).await - 270.72).abs() < 0.01);
    // 5 · 20 = 10 · 10: exactly what chance makes of it.
    assert_eq!(answer("select item_similarity('llr', 5, 0, 10, 10, 0, 0, 20, 0, 0)").await, "0.0");
    assert_eq!(answer("select item_similarity('jaccard', 2, 0, 3, 4, 0, 0, 9, 0, 0)").await, "0.4");
}

#[tokio::test]
async fn similarities_of_nulls_and_of_nonsense() {
    assert_eq!(answer("select item_similarity('cosine', 1, null, 1, 1, 1, 1, 1, 0.5, 0)").await, "null");
    assert_eq!(answer("select item_similarity('llr', 1, 1, 1, 1, 1, 1, null, 0.5, 0)").await, "null");
    assert_eq!(answer("select item_similarity(null, 1, 1, 1, 1, 1, 1, 1, 0.5, 0)").await, "null");
    assert_eq!(
        answer("select item_similarity('cosinus', 1, 1, 1, 1, 1, 1, 1, 0.5, 0)").await,
        "kind `cosinus` of `item_similarity` does not exist; there are `cosine`, `llr` and `jaccard`"
    );
    assert_eq!(
        answer("select item_similarity('cosine', 1)").await,
        "`item_similarity` got `2` arguments; write `item_similarity(kind, k11, g, n_i, n_j, d_i, d_j, users, a, shrink)`"
    );
    assert_eq!(
        answer("select item_similarity('cosine', 'one', 1, 1, 1, 1, 1, 1, 0.5, 0)").await,
        "argument `k11` of `item_similarity` is `Utf8`; give a number"
    );
}

#[tokio::test]
async fn products_of_vectors() {
    assert_eq!(answer("select dot([1, 2, 3], [4.0, 5.0, 6.5])").await, "33.5");
    assert_eq!(
        answer("select dot(arrow_cast([1, 2], 'FixedSizeList(2, Int64)'), arrow_cast([3, 4], 'LargeList(Float64)'))")
            .await,
        "11.0"
    );
    assert_eq!(answer("select dot([1], null)").await, "null");
    assert_eq!(
        answer("select dot([1, 2], [1])").await,
        "`dot` got vectors of `2` and of `1` numbers; give two of one length"
    );
    assert_eq!(
        answer("select dot([1, null], [1, 2])").await,
        "a vector `a` of `dot` holds a null; give every place a number"
    );
    assert_eq!(answer("select dot([1], [])").await, "a vector `b` of `dot` is empty; leave it out, or make it null");
    assert_eq!(answer("select dot([1], 2)").await, "argument `b` of `dot` is `Int64`; give a list of numbers");
}

#[tokio::test]
async fn first_factors_depend_on_place_and_seed_alone() {
    let session = session(2);
    let all = ask(&session, "select als_init(n, 2, 42) from (values (0), (1), (2)) t(n)").await;
    let turned =
        ask(&session, "select f from (select n, als_init(n, 2, 42) as f from (values (2), (0), (1)) t(n)) order by n")
            .await;
    assert_eq!(all, turned);
    let ranked = "select als_init(row_number() over (order by n) - 1, 2, 42) from (values (7), (8), (9)) t(n)";
    assert_eq!(ask(&session, ranked).await, all);
    // Two vectors of two numbers are one of four, but for the deviation 0.1/√d.
    let [two, four] = ["array_concat(als_init(0, 2, 7), als_init(1, 2, 7))", "als_init(0, 4, 7)"];
    assert!((number(&format!("select dot({two}, {two}) / dot({four}, {four})")).await - 2.0).abs() < 1e-5);
    assert_eq!(ask(&session, "select dot(als_init(0, 2, 1), [1, 1]) = dot(als_init(0, 2, 2), [1, 1])").await, "false");
    assert_eq!(ask(&session, "select als_init(0, null, 1)").await, "null");
    for (ordinal, d) in [("-1", "2"), ("0", "0"), ("0", "5000")] {
        assert_eq!(
            ask(&session, &format!("select als_init({ordinal}, {d}, 1)")).await,
            format!(
                "`als_init` got ordinal `{ordinal}` and length `{d}`; ordinals begin at 0, and a vector has 1 to 4096 numbers"
            )
        );
    }
    assert_eq!(
        ask(&session, "select als_init(0.5, 2, 1)").await,
        "argument `ordinal` of `als_init` is `Float64`; give a whole number"
    );
}

#[tokio::test]
async fn gram_matrices_by_hand() {
    let rows = "(values (1, [1, 2]), (1, [3, 4]), (1, null), (2, null)) t(k, f)";
    assert_eq!(answer(&format!("select gram(f) from {rows}")).await, "[10.0, 14.0, 20.0]");
    assert_eq!(
        answer(&format!("select k, gram(f) from {rows} group by k order by k")).await,
        "1 [10.0, 14.0, 20.0] | 2 null"
    );
    assert_eq!(answer(&format!("select gram(f) filter (where k = 2) from {rows}")).await, "null");
    assert_eq!(
        answer("select gram(f) over (order by k) from (values (1, [1, 2]), (2, [3, 4])) t(k, f)").await,
        "[1.0, 2.0, 4.0] | [10.0, 14.0, 20.0]"
    );
    assert_eq!(
        answer("select gram(f) from (values ([1, 2]), ([1])) t(f)").await,
        "`gram` got vectors of `2` and of `1` numbers in one group; give vectors of one length"
    );
    assert_eq!(
        answer("select k, gram(f) from (values (1, [1, 2]), (2, [3])) t(k, f) group by k order by k").await,
        "1 [1.0, 2.0, 4.0] | 2 [9.0]"
    );
    assert_eq!(answer("select gram(1)").await, "argument `f` of `gram` is `Int64`; give a list of numbers");
    assert_eq!(answer("select gram(distinct f) from (values ([3]), ([3])) t(f)").await, "[9.0]");
}

#[tokio::test]
async fn moments_by_hand() {
    // x = 1, 3 (mean 2), y = 2, 6 (mean 4): Σ(x − 2)² = 2, Σ(x − 2)(y − 4) = 4, Σ(y − 4)² = 8. A row with a null is none.
    let rows = "(values (1, 1, 2), (1, 3, 6), (1, null, 9), (2, 5, 7), (3, null, 1)) t(k, x, y)";
    let sql = format!("select k, moments(x, y) from {rows} group by k order by k");
    assert_eq!(answer(&sql).await, "1 [2.0, 2.0, 4.0, 2.0, 4.0, 8.0] | 2 [1.0, 5.0, 7.0, 0.0, 0.0, 0.0] | 3 null");
    assert_eq!(answer(&format!("select moments(y) filter (where k = 2) from {rows}")).await, "[1.0, 7.0, 0.0]");
    assert_eq!(
        answer("select moments(x) from (values (1.0), ('NaN'::double), ('inf'::double)) t(x)").await,
        "[1.0, 1.0, 0.0]"
    );
    assert_eq!(answer("select moments('a')").await, "argument `x` of `moments` is `Utf8`; give a number");
    assert_eq!(answer("select moments()").await, "`moments` got `0` arguments; write `moments(x)`");
}

#[tokio::test]
async fn moments_of_numbers_far_from_zero_keep_their_digits() {
    // 1e9 + {4, 7, 13, 16}, the example of Chan, Golub & LeVeque: Σ(x − x̄)² = 90, of which sums of squares keep nothing.
    let rows = "(values (1000000004), (1000000007), (1000000013), (1000000016)) t(x)";
    assert_eq!(answer(&format!("select moments(x * 1000.0) from {rows}")).await, "[4.0, 1000000010000.0, 90000000.0]");
    let facts = facts(30);
    let whole = session(1);
    register(&whole, std::slice::from_ref(&facts), false);
    let cut: Vec<Vec<(i64, i64)>> = (0..4).map(|part| facts.iter().skip(part).step_by(4).copied().collect()).collect();
    let merged = session(4);
    register(&merged, &cut, false);
    // The engine's own aggregates are the oracle of a group cut over four threads.
    let far = "(select k, n + 1e9 as x, (n * k) % 17 - 1e9 as y from x)";
    let sql = format!(
        "select max(abs(m[4] / (n - 1) - a)) < 1e-6 and max(abs(m[5] / (n - 1) - b)) < 1e-6 and max(abs(m[6] / (n - 1) - c)) < 1e-6 \
         and max(abs(m[2] - d)) < 1e-6 and min(m[1] = n) from (select k, moments(x, y) as m, count(*) as n, var_samp(x) as a, \
         covar_samp(x, y) as b, var_samp(y) as c, avg(x) as d from {far} group by k)"
    );
    assert_eq!(ask(&whole, &sql).await, "true");
    assert_eq!(ask(&merged, &sql).await, "true");
}

#[tokio::test]
async fn solutions_by_hand() {
    // d = 1, all vectors (1) and (2), so G = 5; α0 = ½, λ = 1, ν = 1, N = 2, one row of weight 1 with the vector (2):
    // A = ½·5 + 1·2² + 1·(1 + ½·2) = 8.5, b = 2.
    assert_eq!(answer("select als_solve([2], 1, [5], 0.5, 1, 1, 2)").await, format!("[{}]", 2f32 / 8.5));
    // d = 2, α0 = 0, λ = 1, ν = 0: A = 2·(1, 0)(1, 0)ᵀ + 1·(1, 2)(1, 2)ᵀ + E = [4 2; 2 5], b = (3, 2); x = (11, 2)/16.
    let rows = "(values (7, [1, 0], 2), (7, [1, 2], 1), (7, null, 1), (7, [9, 9], null), (8, [1, 1], null)) t(k, f, c)";
    let sql = format!("select k, als_solve(f, c, [1, 1, 1], 0, 1, 0, 9) from {rows} group by k order by k");
    assert_eq!(answer(&sql).await, "7 [0.6875, 0.125] | 8 null");
}

#[tokio::test]
async fn systems_without_a_solution_are_refused() {
    let solve = |rows: &str, rest: &str| format!("select als_solve(f, c, {rest}) from (values {rows}) t(f, c)");
    assert_eq!(
        answer(&solve("([1, 2], 1)", "[1, 1, 1], 0, 0, 1, 9")).await,
        "the system of a group is not positive definite (pivot `2` of `2` is `0e0`); raise `lambda` or `alpha0`, and look for vectors that hold what is not a number"
    );
    // A multiple in f32 leaves rounding behind, not a pivot.
    assert!(answer(&solve("([0.1, 0.3], 0.7)", "[1, 1, 1], 0, 0, 1, 9")).await.contains("not positive definite"));
    assert!(answer(&solve("([1, 'nan'::double], 1)", "[1, 1, 1], 0, 1, 1, 9")).await.contains("not positive definite"));
    assert!(answer(&solve("([1e30, 1], 1e30)", "[1, 1, 1], 0, 1, 1, 9")).await.contains("not positive definite"));
    assert_eq!(
        answer(&solve("([1, 2], -1)", "[1, 1, 1], 0, 1, 1, 9")).await,
        "weight `-1` of `als_solve` is no weight; give numbers from 0 to 1e38"
    );
    assert_eq!(
        answer(&solve("([1, 2], 1)", "[1, 1], 0, 1, 1, 9")).await,
        "`gram` of `als_solve` has `2` numbers, and vectors of `2` need `3`; make it with `gram(f)` over the same vectors"
    );
    assert_eq!(
        answer(&solve("([1, 2], 1)", "[1, 1, 1], 0, null, 1, 9")).await,
        "argument `lambda` of `als_solve` is null; give it a value in every row of a group"
    );
    assert_eq!(
        answer(&solve("([1, 2], 1)", "null, 0, 1, 1, 9")).await,
        "argument `gram` of `als_solve` is null; give it a value in every row of a group"
    );
    assert_eq!(
        answer(&solve("([1, 2], 1)", "[1, 1, 1], -1, 1, 1, 9")).await,
        "`als_solve` got alpha0 `-1`, lambda `1`, nu `1`, n_others `9`; give numbers, and none but nu below 0"
    );
    assert_eq!(
        answer(&solve("([1, 2], 1), ([1], 1)", "[1, 1, 1], 0, 1, 1, 9")).await,
        "`als_solve` got vectors of `2` and of `1` numbers in one group; give vectors of one length"
    );
}

/// Twelve numbers per row, small and whole, so that sums are exact in every order; group k has about k² rows.
fn facts(groups: i64) -> Vec<(i64, i64)> {
    (1..=groups).flat_map(|k| (0..1 + k * k).map(move |n| (k, n))).collect()
}

fn batch(rows: &[(i64, i64)]) -> RecordBatch {
    let column = |of: fn(&(i64, i64)) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(of))) as ArrayRef;
    let weights = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| 1.0 + (row.1 % 2) as f64))) as ArrayRef;
    RecordBatch::try_from_iter([("k", column(|row| row.0)), ("n", column(|row| row.1)), ("c", weights)]).unwrap()
}

const VECTOR: &str = "[n % 3, n % 5, k % 7, (n + k) % 4, 1, n % 2, n % 7, k % 2, n % 11, k % 3, (n * k) % 5, 2]";

/// A table of these partitions, each of several batches; `is_sorted`: by k, and declared to be.
fn register(session: &SessionContext, partitions: &[Vec<(i64, i64)>], is_sorted: bool) {
    let partitions: Vec<Vec<RecordBatch>> =
        partitions.iter().map(|rows| rows.chunks(50).map(batch).collect()).collect();
    let schema: SchemaRef = partitions[0][0].schema();
    let mut table = MemTable::try_new(schema, partitions).unwrap();
    if is_sorted {
        table = table.with_sort_order(vec![vec![col("k").sort(true, false)]]);
    }
    session.register_table("x", Arc::new(table)).unwrap();
}

fn solve_all() -> String {
    format!(
        "select k, als_solve({VECTOR}, c, (select gram({VECTOR}) from x), 0.1, 0.05, 1, (select count(*) from x)) as f \
         from x group by k"
    )
}

#[tokio::test]
async fn every_way_to_cut_the_work_gives_the_same() {
    let facts = facts(30);
    let whole = session(1);
    register(&whole, std::slice::from_ref(&facts), false);
    let sql = format!("select k, f from ({}) order by k", solve_all());
    let expected = ask(&whole, &sql).await;
    assert_eq!(expected.split(" | ").count(), 30, "{expected}");
    let cut: Vec<Vec<(i64, i64)>> = (0..4).map(|part| facts.iter().skip(part).step_by(4).copied().collect()).collect();
    // Partial states, merged.
    let merged = session(4);
    register(&merged, &cut, false);
    let plan = ask(&merged, &format!("explain {}", solve_all())).await;
    assert!(plan.contains("mode=Partial") && plan.contains("mode=FinalPartitioned"), "{plan}");
    assert_eq!(ask(&merged, &sql).await, expected);
    // Rows turned into states one by one, as the engine does where partial sums do not pay.
    let mut config = SessionConfig::new().with_target_partitions(4);
    config.options_mut().execution.skip_partial_aggregation_probe_rows_threshold = 1;
    config.options_mut().execution.skip_partial_aggregation_probe_ratio_threshold = 0.0;
    let skipped = SessionContext::new_with_config(config);
    register_all(&skipped);
    register(&skipped, &cut, false);
    assert_eq!(ask(&skipped, &sql).await, expected);
    // Sorted by the group key: a group is solved as soon as the next begins.
    let sorted = session(1);
    register(&sorted, std::slice::from_ref(&facts), true);
    let plan = ask(&sorted, &format!("explain {}", solve_all())).await;
    assert!(plan.contains("ordering_mode=Sorted"), "{plan}");
    assert_eq!(ask(&sorted, &sql).await, expected);
}

#[tokio::test]
async fn a_window_by_the_group_key_makes_groups_stream_through_a_join() {
    let session = session(2);
    register(&session, &[facts(12), facts(9)], false);
    let v = "(select distinct n as i, als_init(n, 4, 1) as f from x)";
    let solve = |from: &str| {
        format!(
            "select x.k, als_solve(v.f, x.c, (select gram(f) from {v} v), 0.1, 0.05, 1, 99) as f from {from} x join {v} v on v.i = x.n group by x.k"
        )
    };
    let sorted = solve(
        "(select * from (select k, n, c, row_number() over (partition by k order by n) as place from x) where place <= 500)",
    );
    let plan = ask(&session, &format!("explain {sorted}")).await;
    assert!(plan.contains("mode=SinglePartitioned") && plan.contains("ordering_mode=Sorted"), "{plan}");
    let rows = async |sql: &str| {
        ask(&session, &format!("select k, round(f[1], 4), round(f[4], 4) from ({sql}) order by k")).await
    };
    assert_eq!(rows(&sorted).await, rows(&solve("x")).await);
}

#[tokio::test]
async fn groups_beyond_the_memory_limit_are_spilled() {
    // 1,500 groups of 36 rows at d = 64, rows in another order than groups: about 16 MB of states.
    let rows: Vec<(i64, i64)> = (0..54_000).map(|n| ((n * 7_919) % 1_500, n)).collect();
    let run = async |bytes: usize, disk: DiskManagerMode| {
        let disk = DiskManagerBuilder::default().with_mode(disk);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(bytes)));
        let runtime = runtime.with_disk_manager_builder(disk).build_arc().unwrap();
        let mut config = SessionConfig::new().with_target_partitions(2).with_batch_size(64);
        config.options_mut().execution.sort_spill_reservation_bytes = 0;
        let session = SessionContext::new_with_config_rt(config, runtime);
        register_all(&session);
        register(&session, std::slice::from_ref(&rows), false);
        let gram = "(select gram(als_init(n, 64, 1)) from x where n < 500)";
        let sql = format!(
            "select count(*), round(sum(dot(f, f)), 6) from (select k, \
             als_solve(als_init(n % 500, 64, 1), c, {gram}, 0.1, 0.05, 1, 500) as f from x group by k)"
        );
        ask(&session, &sql).await
    };
    let roomy = run(1 << 30, DiskManagerMode::Disabled).await;
    assert!(roomy.starts_with("1500 "), "{roomy}");
    assert_eq!(run(8 << 20, DiskManagerMode::OsTmpDirectory).await, roomy);
    let refused = run(8 << 20, DiskManagerMode::Disabled).await;
    assert!(!refused.starts_with("1500 "), "the states are not counted: {refused}");
}
