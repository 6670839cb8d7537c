//! Which files a COPY takes, what becomes of them, how their columns are matched, and COPY without a load.
//!
//! In: staged files, options.  Out: which rows are there, sentences.
//! Never here: how options are written (`copy::statement` tests itself).  Start at [`files_are_chosen_by_name_prefix_and_pattern`].

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use domain::{NoProgress, StageMode};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::copy_files::{Files, TABLE, options, outcome, rejects};
use super::fault::Mortal;
use super::world::{World, name, newest, run};
use crate::{FileStatus, MAX_FILES, Purge, Validation, ValidationMode, Warehouse};

async fn months() -> Files {
    let mut files = Files::new();
    for (name, id) in [("2026-01.csv", 1), ("2026-010.csv", 10), ("2026-02.csv", 2), ("old/2025-12.csv", 0)] {
        files = files.csv(name, format!("id\n{id}\n")).await;
    }
    files
}

async fn ids(warehouse: &Warehouse) -> String {
    newest(warehouse, "select id from raw.lines order by id").await.replace('\n', " ")
}

#[tokio::test]
async fn files_are_chosen_by_name_prefix_and_pattern() {
    for (toml, expected) in [
        // A prefix is no folder, and a pattern fits whole names.
        ("prefix = \"2026-01\"", "1 10"),
        ("pattern = '2026-..\\.csv'", "1 2"),
        ("pattern = '2026'", ""),
        ("files = [\"2026-02.csv\", \"old/2025-12.csv\"]", "0 2"),
        ("prefix = \"2026\"\npattern = '.*0.\\.csv'\nfiles = [\"2026-02.csv\", \"2026-010.csv\"]", "2"),
    ] {
        let warehouse = World::in_memory().open();
        let files = months().await;
        let report = files.copy(&warehouse, toml).await.unwrap();
        if expected.is_empty() {
            assert_eq!((report.load, report.files.len()), (None, 0), "{toml}");
            continue;
        }
        assert_eq!(ids(&warehouse).await, expected, "{toml}");
        // The others are there for another COPY, and those that are loaded are not loaded again.
        files.copy(&warehouse, "").await.unwrap();
        assert_eq!(ids(&warehouse).await, "0 1 2 10", "{toml}");
    }
    let warehouse = World::in_memory().open();
    let files = months().await;
    let missing = outcome(&files.copy(&warehouse, "files = [\"2026-03.csv\"]").await);
    assert!(missing.starts_with("no_such_file: ") && missing.contains("did you mean `2026-0"), "{missing}");
    let named = |count: usize| format!("files = [{}]", vec!["\"2026-01.csv\""; count].join(","));
    assert!(outcome(&files.copy(&warehouse, &named(MAX_FILES + 1)).await).starts_with("too_many_files: "));
    assert_eq!(files.copy(&warehouse, &named(MAX_FILES)).await.unwrap().rows_loaded, 1);
    let whole = Files::new().full().csv("1.csv", "id\n1\n").await;
    assert!(outcome(&whole.copy(&warehouse, "pattern = '.*'").await).starts_with("not_selectable: "));
}

#[tokio::test]
async fn a_size_limit_lets_the_file_end_that_began_below_it() {
    let warehouse = World::in_memory().open();
    let mut files = Files::new();
    for id in 1..=4 {
        // Ten bytes each.
        files = files.csv(&format!("{id}.csv"), format!("id\n{id:06}\n")).await;
    }
    let toml = |limit: u64| format!("columns = {{ id = \"bigint\" }}\nsize_limit = {limit}");
    let report = files.copy(&warehouse, &toml(25)).await.unwrap();
    assert_eq!(report.rows_loaded, 3);
    let left = report.files.iter().find(|file| file.status == FileStatus::LoadSkipped).unwrap();
    assert_eq!(left.reason.as_deref(), Some("`size_limit` of 25 bytes is reached"));
    assert_eq!(files.copy(&warehouse, &toml(1)).await.unwrap().rows_loaded, 1, "at least one");
    assert_eq!(ids(&warehouse).await, "1 2 3 4");
    for (limit, expected) in [(1, 1), (10, 1), (11, 2), (20, 2)] {
        let loaded = files.copy(&World::in_memory().open(), &toml(limit)).await.unwrap().rows_loaded;
        assert_eq!(loaded, expected, "{limit}");
    }
}

#[tokio::test]
async fn purge_removes_what_is_loaded_and_says_what_it_could_not_remove() {
    let warehouse = World::in_memory().open();
    let files = Files::new().csv("1.csv", "id\n1\n").await.csv("2.csv", "id\nx\n2\n").await;
    let toml = "on_error = \"continue\"\npurge = true\ncolumns = { id = \"bigint\" }";
    let alive = files.stage.clone();
    let mut stubborn = files.clone();
    stubborn.stage = Arc::new(Mortal::new(alive.clone(), 0, false));
    let report = stubborn.copy(&warehouse, toml).await.unwrap();
    let purged: Vec<_> = report.files.iter().map(|file| file.purge).collect();
    // The load stands; a file with rows in quarantine stays for whoever mends them.
    assert_eq!((report.rows_loaded, purged), (2, vec![Some(Purge::PurgeFailed), None]));
    let report = files.copy(&warehouse, toml).await.unwrap();
    assert_eq!(report.files.iter().map(|file| file.purge).collect::<Vec<_>>(), [Some(Purge::Purged), None]);
    let is_there =
        async |number: usize| alive.head(&Path::from(files.manifest.files[number].path.as_str())).await.is_ok();
    assert_eq!((is_there(0).await, is_there(1).await), (false, true));
    assert_eq!(files.copy(&warehouse, toml).await.unwrap().load, None);
}

#[tokio::test]
async fn the_history_says_which_files_were_removed_from_the_stage() {
    let world = World::in_memory();
    let warehouse = world.open();
    let files =
        Files::new().csv("1.csv", "id\n1\n").await.csv("2.csv", "id\nx\n2\n").await.csv("3.csv", "id\n3\n").await;
    let toml = "on_error = \"continue\"\npurge = true\ncolumns = { id = \"bigint\" }";
    let history = async || {
        let sql = "select load, file, coalesce(purge, '-') from montauk.copy_history order by load, file";
        newest(&warehouse, sql).await.replace('\n', ", ")
    };
    let records = async || -> Vec<Path> {
        let listed = world.store.list(Some(&Path::from("_montauk/loads"))).map_ok(|meta| meta.location);
        let is_purge = |path: &Path| path.filename().is_some_and(|name| name.starts_with("purge-"));
        listed.try_collect::<Vec<_>>().await.unwrap().into_iter().filter(is_purge).collect()
    };
    let mut stubborn = files.clone();
    stubborn.stage = Arc::new(Mortal::new(files.stage.clone(), 0, false));
    stubborn.copy(&warehouse, &format!("{toml}\nfiles = [\"1.csv\", \"2.csv\"]")).await.unwrap();
    assert_eq!(history().await, "1 1.csv purge_failed, 1 2.csv -");
    // Still not: nothing new to write down.
    stubborn.copy(&warehouse, &format!("{toml}\nfiles = [\"1.csv\", \"2.csv\"]")).await.unwrap();
    assert_eq!(records().await.len(), 1);
    files.copy(&warehouse, toml).await.unwrap();
    let all = "1 1.csv purged, 1 2.csv -, 2 3.csv purged";
    assert_eq!(history().await, all);
    files.copy(&warehouse, toml).await.unwrap();
    assert_eq!((history().await.as_str(), records().await.len()), (all, 2));

    // A crash between removing and writing it down: what is not known is not claimed, and the next COPY finds it gone.
    for path in records().await {
        world.store.delete(&path).await.unwrap();
    }
    assert_eq!(history().await, "1 1.csv -, 1 2.csv -, 2 3.csv -");
    files.copy(&warehouse, toml).await.unwrap();
    assert_eq!(history().await, all);

    // The load that brought the rows last is the one whose file is gone.
    let again = files.csv("1.csv", "id\n4\n").await;
    again.force(&warehouse, &format!("{toml}\nfiles = [\"1.csv\"]")).await.unwrap();
    assert!(history().await.ends_with("2 3.csv purged, 3 1.csv purged"), "{}", history().await);
}

#[tokio::test]
async fn columns_match_by_name_in_either_case_or_by_place() {
    let parquet = |names: [&str; 2], values: [i64; 2]| {
        let columns: Vec<(&str, ArrayRef)> = names
            .into_iter()
            .zip(values)
            .map(|(name, value)| (name, Arc::new(Int64Array::from(vec![value])) as _))
            .collect();
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let base = || async {
        let warehouse = World::in_memory().open();
        let files = Files::new().csv("1.csv", "id,Name\n1,10\n").await;
        files.copy(&warehouse, "").await.unwrap();
        (warehouse, files)
    };
    let insensitive = "match_by_column_name = \"case_insensitive\"";
    let (warehouse, files) = base().await;
    let files = files.csv("2.csv", "NAME,ID\n20,2\n").await.json("3.jsonl", "{\"NAme\":30,\"Id\":3}\n").await;
    let files = files.parquet("4.parquet", &parquet(["NAME", "ID"], [40, 4])).await;
    assert!(outcome(&files.copy(&warehouse, "").await).starts_with("column_disappeared: "));
    files.copy(&warehouse, insensitive).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, \"Name\" from raw.lines order by id").await, "1 10\n2 20\n3 30\n4 40");
    let warehouse = World::in_memory().open();
    let mixed = Files::new().csv("1.csv", "id\n1\n").await.csv("2.csv", "ID\n3.5\n").await;
    mixed.copy(&warehouse, insensitive).await.unwrap();
    assert_eq!(newest(&warehouse, "select * from raw.lines order by id").await, "1.0\n3.5");
    let warehouse = World::in_memory().open();
    let mixed = Files::new().json("1.jsonl", "{\"id\":1}\n{\"Id\":2}\n").await;
    mixed.copy(&warehouse, &format!("{insensitive}\nnew_columns = \"add\"")).await.unwrap();
    assert_eq!(newest(&warehouse, "select * from raw.lines order by id").await, "1\n2");
    let place = "match_by_column_name = \"none\"";
    let (warehouse, files) = base().await;
    let files = files.csv("2.csv", "a,b\n2,20\n").await.parquet("3.parquet", &parquet(["x", "y"], [3, 30])).await;
    files.copy(&warehouse, place).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, \"Name\" from raw.lines order by id").await, "1 10\n2 20\n3 30");
    let wide = files.csv("4.csv", "a,b,c\n4,40,x\n").await;
    assert!(outcome(&wide.copy(&warehouse, place).await).starts_with("new_column: "));
}

#[tokio::test]
async fn rows_may_carry_where_they_came_from() {
    let warehouse = World::in_memory().open();
    let toml = "on_error = \"continue\"\ncolumns = { id = \"bigint\" }\n[include_metadata]\nfile = \"filename\"\nrow = \"file_row_number\"\nkey = \"file_content_key\"\nat = \"start_scan_time\"";
    let files = Files::new().csv("a.csv", "id\n1\nx\n3\n").await;
    files.copy(&warehouse, toml).await.unwrap();
    let batch = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef)]).unwrap();
    let files = files.parquet("b.parquet", &batch).await;
    files.copy(&warehouse, toml).await.unwrap();
    let shown = newest(&warehouse, "select id, file, row, key is not null, at from raw.lines order by id").await;
    let at = "2024-10-04T00:00:00Z";
    let line = |id: i64, file: &str, row: i64| format!("{id} {file} {row} true {at}");
    assert_eq!(
        shown,
        [line(1, "a.csv", 1), line(3, "a.csv", 3), line(7, "b.parquet", 1), line(8, "b.parquet", 2)].join("\n")
    );
    let keys = newest(&warehouse, "select count(distinct key) from raw.lines").await;
    assert_eq!(keys, "2");
    // It wins over a column of that name in the files, and must be of its type in a table that is there.
    let clash = Files::new().csv("c.csv", "id,file\n9,hello\n").await;
    clash.copy(&warehouse, toml).await.unwrap();
    assert_eq!(newest(&warehouse, "select file from raw.lines where id = 9").await, "c.csv");
    let misfit =
        outcome(&clash.csv("d.csv", "id\n1\n").await.copy(&warehouse, "[include_metadata]\nid = \"filename\"").await);
    assert!(misfit.starts_with("metadata_misfit: "), "{misfit}");
}

#[tokio::test]
async fn masked_columns_are_in_no_message() {
    let warehouse = World::in_memory().open();
    let toml = "mask = [\"pin\"]\ncolumns = { pin = \"integer\", id = \"bigint\" }";
    let files = Files::new().csv("1.csv", "id,pin\n1,secret7\nx,9\n").await;
    let refused = outcome(&files.copy(&warehouse, toml).await);
    assert!(
        refused.contains("column `pin`: `***`: expected a whole number") && !refused.contains("secret7"),
        "{refused}"
    );
    let found = validate(&warehouse, &files, toml, ValidationMode::ReturnErrors).await;
    let shown = serde_json::to_string(&found.errors).unwrap();
    assert!(!shown.contains("secret7") && shown.contains("`x`: expected"), "{shown}");
    let report = files.copy(&warehouse, "mask = [\"pin\"]").await.unwrap();
    let evidence: Vec<_> = report.inferred.iter().map(|column| column.evidence.clone().unwrap().value).collect();
    assert_eq!(evidence, ["x", "***"]);
    // The quarantine keeps what it needs to mend the row.
    let toml = format!("on_error = \"continue\"\n{toml}");
    let other = World::in_memory().open();
    files.copy(&other, &toml).await.unwrap();
    assert!(rejects(&other).await.contains("`***`: expected a whole number <- 1,secret7"));
}

async fn validate(warehouse: &Warehouse, files: &Files, toml: &str, mode: ValidationMode) -> Validation {
    let run = run("validate");
    let stage = files.stage.clone();
    warehouse.validate(stage, &files.manifest, &options(toml), mode, (&run, &NoProgress)).await.unwrap()
}

#[tokio::test]
async fn a_validation_says_what_a_load_would_do_and_does_nothing() {
    let world = World::in_memory();
    let warehouse = world.open();
    let toml = "columns = { id = \"bigint\" }";
    let files = Files::new().csv("1.csv", "id\n1\nx\n3\ny\n").await;
    let found = validate(&warehouse, &files, toml, ValidationMode::ReturnErrors).await;
    let errors: Vec<String> = found
        .errors
        .iter()
        .map(|error| format!("{}:{} {:?} {}", error.file, error.line, error.column_name, error.code))
        .collect();
    assert_eq!(errors, ["1.csv:3 Some(\"id\") not_a_number", "1.csv:5 Some(\"id\") not_a_number"]);
    assert_eq!(found.files[0].rows_parsed, 4);
    let first = validate(&warehouse, &files, toml, ValidationMode::ReturnRows(2)).await;
    assert_eq!((first.errors.len(), first.rows.len()), (1, 0));
    assert!(warehouse.table(&name(TABLE)).await.unwrap().is_none());
    assert!(warehouse.aborted_loads(&name(TABLE)).await.unwrap().is_empty());
    let data = world.store.list_with_delimiter(Some(&Path::from("raw"))).await.unwrap();
    assert!(data.objects.is_empty() && data.common_prefixes.is_empty(), "{data:?}");
    files.copy(&warehouse, &format!("on_error = \"continue\"\n{toml}")).await.unwrap();
    // Loaded in part: only who asks for all errors sees them again.
    let again = validate(&warehouse, &files, toml, ValidationMode::ReturnErrors).await;
    assert_eq!((again.errors.len(), again.files[0].status), (0, FileStatus::LoadSkipped));
    let all = validate(&warehouse, &files, toml, ValidationMode::ReturnAllErrors).await;
    assert_eq!(all.errors.len(), 2);
    // A file that cannot be loaded at all says so, although it has no bad row.
    let wider = files.clone().csv("3.csv", "id,price\n5,1\n").await;
    let found = validate(&warehouse, &wider, toml, ValidationMode::ReturnErrors).await;
    let failed = found.files.iter().find(|file| file.status == FileStatus::LoadFailed).unwrap();
    assert!(failed.reason.as_ref().is_some_and(|reason| reason.contains("`price`")), "{failed:?}");
    let clean = files.csv("2.csv", "id\n5\n6\n7\n").await;
    let rows = validate(&warehouse, &clean, toml, ValidationMode::ReturnRows(2)).await;
    assert_eq!(rows.rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    assert_eq!(newest(&warehouse, "select count(*) from raw.lines").await, "2");
    assert_eq!(rejects(&warehouse).await.lines().count(), 2);
    assert_eq!(clean.manifest.mode, StageMode::Append);
}
