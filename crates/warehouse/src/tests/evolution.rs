//! Columns that come and go: added where that is wanted, refused where it looks like a new name.
//!
//! In: files and declarations that differ from the table.  Out: columns, sentences.
//! Never here: the columns of a first load (`copy`, `json_lines`).  Start at [`new_columns_are_added_to_the_table`].

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use domain::{ChangeRules, DeclaredColumn, StageMode};

use super::copy_files::{Files, outcome};
use super::world::{World, newest};

const ADD: &str = "new_columns = \"add\"";

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter(columns.iter().cloned()).unwrap()
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

#[tokio::test]
async fn new_columns_are_added_to_the_table() {
    let warehouse = World::in_memory().open();
    let files = Files::new().csv("1.csv", "id,name\n1,a\n").await;
    files.copy(&warehouse, "").await.unwrap();
    let wider =
        files.csv("2.csv", "name,price,id,Name!\nb,1.50,2,x\n").await.csv("3.csv", "id,name,price\n3,c,20.125\n").await;
    let refused = outcome(&wider.copy(&warehouse, "missing_columns = \"null\"").await);
    assert!(refused.starts_with("new_column: ") && refused.contains("new_columns = \"add\""), "{refused}");
    let report = wider.copy(&warehouse, &format!("{ADD}\nmissing_columns = \"null\"")).await.unwrap();
    let types: Vec<String> =
        report.inferred.iter().map(|column| format!("{} {}", column.column, column.column_type)).collect();
    assert_eq!(types, ["price decimal(18,3)", "Name! text"]);
    let shown = newest(&warehouse, "select id, name, price, \"Name_\" from raw.lines order by id").await;
    assert_eq!(shown, "1 a  \n2 b 1.500 x\n3 c 20.125 ");
    // They are columns from now on.
    let more = wider.csv("4.csv", "id,name,price,Name!\n4,d,1,y\n").await;
    assert_eq!(more.copy(&warehouse, "").await.unwrap().rows_loaded, 1);
}

#[tokio::test]
async fn json_lines_and_parquet_add_columns_too() {
    let warehouse = World::in_memory().open();
    let files = Files::new().json("1.jsonl", "{\"id\":1}\n").await;
    files.copy(&warehouse, ADD).await.unwrap();
    let files = files.json("2.jsonl", "{\"id\":2}\n{\"id\":3,\"at\":\"2026-01-31T10:00:00Z\"}\n").await;
    files.copy(&warehouse, ADD).await.unwrap();
    let wider = batch(&[("id", numbers(&[4])), ("n", numbers(&[7]))]);
    let files = files.parquet("3.parquet", &wider).await;
    files.copy(&warehouse, &format!("{ADD}\nmissing_columns = \"null\"")).await.unwrap();
    let shown = newest(&warehouse, "select id, at, n from raw.lines order by id").await;
    assert_eq!(shown, "1  \n2  \n3 2026-01-31T10:00:00Z \n4  7");
}

#[tokio::test]
async fn a_column_that_looks_renamed_stops_the_load() {
    let warehouse = World::in_memory().open();
    let files = Files::new().csv("1.csv", "id,mail\n1,a@b\n2,c@d\n").await;
    files.copy(&warehouse, "").await.unwrap();
    let renamed = files.csv("2.csv", "id,email\n3,e@f\n").await;
    let both = format!("{ADD}\nmissing_columns = \"null\"");
    let refused = outcome(&renamed.copy(&warehouse, &both).await);
    assert!(
        refused.starts_with("probably_renamed: column `mail` of table `raw.lines` is gone and `email` is new"),
        "{refused}"
    );
    assert!(refused.contains("montauk copy raw.lines --force"), "{refused}");
    assert_eq!(newest(&warehouse, "select count(*) from raw.lines").await, "2");
    renamed.force(&warehouse, &both).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, mail, email from raw.lines order by id").await, "1 a@b \n2 c@d \n3  e@f");
    // One that was empty at times may well be left out.
    let later = renamed.csv("3.csv", "id,fax\n4,1\n").await;
    later.copy(&warehouse, &both).await.unwrap();
}

#[tokio::test]
async fn a_full_load_may_add_columns_and_changes_may_too() {
    let warehouse = World::in_memory().open();
    let rows = |ids: &[i64]| batch(&[("id", numbers(ids))]);
    Files::new().full().parquet("1", &rows(&[1, 2])).await.copy(&warehouse, "").await.unwrap();
    let wider = batch(&[("id", numbers(&[1, 2])), ("n", numbers(&[10, 20]))]);
    let mut files = Files::new().full().parquet("2", &wider).await;
    assert!(outcome(&files.copy(&warehouse, "").await).starts_with("columns_changed: "));
    files.manifest.number = 1;
    files.copy(&warehouse, ADD).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, n from raw.lines order by id").await, "1 10\n2 20");
    files.manifest.files.clear();
    files.manifest.mode = StageMode::Changes;
    files.manifest.number = 2;
    files.manifest.changes = Some(ChangeRules { key: vec!["id".into()], ..ChangeRules::default() });
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let widest = batch(&[("id", numbers(&[2])), ("n", numbers(&[21])), ("t", text)]);
    files.parquet("3", &widest).await.copy(&warehouse, ADD).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, n, t from raw.lines order by id").await, "1 10 \n2 21 x");
}

#[tokio::test]
async fn a_source_that_declares_its_columns_is_believed() {
    let warehouse = World::in_memory().open();
    let declare = |files: &mut Files, columns: &[(&str, &str)]| {
        let declared = |(name, type_name): &(&str, &str)| DeclaredColumn {
            name: (*name).to_owned(),
            type_name: (*type_name).to_owned(),
        };
        files.manifest.column_types = columns.iter().map(declared).collect();
    };
    let mut files = Files::new();
    declare(&mut files, &[("id", "bigint"), ("code", "text"), ("none", "timestamptz")]);
    let files = files.json("1.jsonl", "{\"code\":7,\"id\":\"1\",\"undeclared\":true}\n{\"id\":2}\n").await;
    files.copy(&warehouse, "").await.unwrap();
    assert_eq!(newest(&warehouse, "select id, code, none from raw.lines order by id").await, "1 7 \n2  ");
    let mut files = files.json("2.jsonl", "{\"id\":3,\"undeclared\":false}\n").await;
    declare(&mut files, &[("id", "bigint"), ("code", "text"), ("none", "timestamptz"), ("undeclared", "boolean")]);
    let refused = outcome(&files.copy(&warehouse, "").await);
    assert!(refused.starts_with("new_column: `shop.lines` has a column `undeclared`"), "{refused}");
    files.copy(&warehouse, ADD).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, undeclared from raw.lines where id = 3").await, "3 false");
    declare(&mut files, &[("id", "text"), ("code", "text"), ("none", "timestamptz"), ("undeclared", "boolean")]);
    let changed = files.clone().json("3.jsonl", "{\"id\":\"x\"}\n").await;
    assert!(outcome(&changed.copy(&warehouse, ADD).await).starts_with("type_changed: "));
    declare(&mut files, &[("id", "bigint")]);
    let fewer = files.json("3.jsonl", "{\"id\":4}\n").await;
    assert!(outcome(&fewer.copy(&warehouse, ADD).await).starts_with("column_disappeared: "));
    fewer.copy(&warehouse, &format!("{ADD}\nmissing_columns = \"null\"")).await.unwrap();
}

#[tokio::test]
async fn columns_of_metadata_are_no_news() {
    let warehouse = World::in_memory().open();
    let toml = "[include_metadata]\nloaded_at = \"start_scan_time\"\nfile = \"filename\"";
    let rows = |ids: &[i64]| batch(&[("id", numbers(ids))]);
    Files::new().full().parquet("1", &rows(&[1])).await.copy(&warehouse, toml).await.unwrap();
    Files::new().full().parquet("2", &rows(&[1, 2])).await.copy(&warehouse, toml).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, file from raw.lines order by id").await, "1 2\n2 2");
    let warehouse = World::in_memory().open();
    let files = Files::new().csv("1.csv", "id\n1\n").await;
    files.copy(&warehouse, toml).await.unwrap();
    let wider = files.csv("2.csv", "id,note\n2,x\n").await;
    wider.copy(&warehouse, &format!("{ADD}\n{toml}")).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, file, note from raw.lines order by id").await, "1 1.csv \n2 2.csv x");
}

#[tokio::test]
async fn a_declared_column_may_be_missing_where_others_are_new() {
    let warehouse = World::in_memory().open();
    let toml = format!("{ADD}\nmissing_columns = \"null\"\ncolumns = {{ code = \"text\" }}");
    let files =
        Files::new().json("1.jsonl", "{\"id\":1,\"code\":\"007\"}\n").await.csv("2.csv", "id,code\n2,x\n").await;
    files.copy(&warehouse, &toml).await.unwrap();
    let files = files.json("3.jsonl", "{\"id\":3,\"at\":\"2026-01-01\"}\n").await.csv("4.csv", "id,code,empty\n").await;
    files.copy(&warehouse, &toml).await.unwrap();
    let shown = newest(&warehouse, "select id, code, at, \"empty\" from raw.lines order by id").await;
    assert_eq!(shown, "1 007  \n2 x  \n3  2026-01-01 ");
}

#[tokio::test]
async fn rejects_are_replayed_into_a_table_that_has_got_columns_since() {
    let warehouse = World::in_memory().open();
    let toml = format!("on_error = \"continue\"\n{ADD}\nmissing_columns = \"null\"\ncolumns = {{ id = \"bigint\" }}");
    let files = Files::new()
        .csv("1.csv", "id,name\n1,a\nx,b\n")
        .await
        .json("2.jsonl", "{\"id\":\"y\",\"name\":\"c\"}\n[1]\n")
        .await;
    files.copy(&warehouse, &toml).await.unwrap();
    files.csv("3.csv", "id,name,price\n3,c,1.5\n").await.copy(&warehouse, &toml).await.unwrap();
    let (table, all) = (super::world::name(super::copy_files::TABLE), crate::RejectFilter::default());
    let toml = toml.replace("missing_columns = \"null\"\n", "");
    let options = super::copy_files::options(&toml);
    let sql = "select _id, case id when 'x' then '2' else '4' end as id from rejects where _code <> 'not_json'";
    warehouse.fix(&table, &all, sql, &options, &super::world::run("fix")).await.unwrap();
    let report =
        warehouse.replay(&table, &all, &options, &super::world::run("replay"), &domain::NoProgress).await.unwrap();
    assert_eq!((report.rows_replayed, report.still_rejected.len()), (2, 1));
    let shown = newest(&warehouse, "select id, name, price from raw.lines order by id").await;
    assert_eq!(shown, "1 a \n2 b \n3 c 1.5\n4 c ");
}
