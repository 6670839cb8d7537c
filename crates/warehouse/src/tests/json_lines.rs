//! JSON lines through COPY: columns from all keys, digits kept, bad lines and cells set aside, mended and replayed.
//!
//! In: lines as programs write them.  Out: tables, rejects, sentences.
//! Never here: cutting a line (`copy::json` tests itself).  Start at [`columns_come_from_every_key_of_every_file`].

use domain::{Compression, FileFormat, NoProgress};

use super::copy_files::{Files, TABLE, gzip, options, outcome, rejects};
use super::world::{World, name, newest, run};
use crate::{RejectFilter, Warehouse};

const CONTINUE: &str = "on_error = \"continue\"";

fn warehouse() -> (World, Warehouse) {
    let world = World::in_memory();
    let warehouse = world.open();
    (world, warehouse)
}

#[tokio::test]
async fn columns_come_from_every_key_of_every_file() {
    let (_world, warehouse) = warehouse();
    let later = gzip(b"{\"at\":\"2026-01-31T10:00:00Z\",\"id\":2,\"tags\":[\"a\", 1.50]}\n{\"id\":3,\"code\":\"\"}\n");
    let files = Files::new()
        .json("a.jsonl", "{\"id\":1,\"code\":\"007\",\"price\":1.50,\"ok\":true,\"big\":12345678901234567890}\n")
        .await
        .file("b.jsonl.gz", &later, FileFormat::JsonLines, Compression::Gzip)
        .await;
    let report = files.copy(&warehouse, "").await.unwrap();
    let types: Vec<String> =
        report.inferred.iter().map(|column| format!("{} {}", column.column, column.column_type)).collect();
    assert_eq!(
        types.join(", "),
        "id bigint, code text, price decimal(18,2), ok boolean, big decimal(38,0), at timestamptz, tags text"
    );
    let shown = newest(&warehouse, "select id, code, price, ok, big, at, tags from raw.lines order by id").await;
    assert_eq!(shown, "1 007 1.50 true 12345678901234567890  \n2     2026-01-31T10:00:00Z [\"a\", 1.50]\n3      ");
    // The next file may leave keys out: that is how JSON writes null. A key that nobody knows is never dropped unseen.
    let more = files.clone().json("c.jsonl", "{\"id\":4}\n").await;
    assert_eq!(more.copy(&warehouse, "").await.unwrap().rows_loaded, 1);
    let strange = more.clone().json("d.jsonl", "{\"id\":5,\"Price\":2}\n").await;
    let refused = outcome(&strange.copy(&warehouse, "").await);
    assert!(refused.contains("copy_aborted") && refused.contains("the key `Price` is no column"), "{refused}");
    assert_eq!(strange.copy(&warehouse, "new_columns = \"ignore\"").await.unwrap().rows_loaded, 1);
}

#[tokio::test]
async fn bad_lines_are_set_aside_mended_and_replayed() {
    let (_world, warehouse) = warehouse();
    let lines =
        "{\"id\":1,\"price\":9.5}\n{\"id\":2,\"price\":\"3,25\",\"n\":1.10}\nnot json\n\n{\"id\":\"x\",\"price\":1}\n";
    let toml = format!("{CONTINUE}\ncolumns = {{ id = \"bigint\", price = \"decimal(8,2)\", n = \"decimal(8,2)\" }}");
    let files = Files::new().json("a.jsonl", lines).await;
    assert_eq!(outcome(&files.copy(&warehouse, &toml).await), "a.jsonl partially_loaded 1/4");
    assert_eq!(
        rejects(&warehouse).await,
        "a.jsonl:2 @21 row 2 row price not_a_number: `3,25`: expected a number such as -12.50 <- {\\\"id\\\":2,\\\"price\\\":\\\"3,25\\\",\\\"n\\\":1.10}\n\
         a.jsonl:3 @54 row 3 row - not_json: the line is not one JSON object: expected ident, at byte 2 of the line <- not json\n\
         a.jsonl:5 @64 row 4 row id not_a_number: `x`: expected a whole number <- {\\\"id\\\":\\\"x\\\",\\\"price\\\":1}"
    );
    let sql = "select _id, replace(price, ',', '.') as price, case id when 'x' then '3' else id end as id from rejects";
    let fixed = warehouse.fix(&name(TABLE), &RejectFilter::default(), sql, &options(&toml), &run("fix")).await.unwrap();
    let texts: Vec<&str> = fixed.fixed.iter().map(|fixed| fixed.after.as_str()).collect();
    assert_eq!(texts, ["{\"id\":2,\"n\":1.10,\"price\":\"3.25\"}", "{\"id\":\"3\",\"price\":1}"]);
    assert_eq!(fixed.not_cut.len(), 1);
    let filter = RejectFilter::default();
    let replayed = warehouse.replay(&name(TABLE), &filter, &options(&toml), &run("replay"), &NoProgress).await.unwrap();
    assert_eq!((replayed.rows_replayed, replayed.still_rejected.len()), (2, 1));
    let shown = newest(&warehouse, "select id, price, n from raw.lines order by id").await;
    assert_eq!(shown, "1 9.50 \n2 3.25 1.10\n3 1.00 ");
}

#[tokio::test]
async fn a_bad_cell_may_become_null_and_is_kept_in_quarantine() {
    let (_world, warehouse) = warehouse();
    let toml = "bad_cells = \"null\"\ncolumns = { id = \"bigint\", n = \"integer\" }";
    let lines = "{\"id\":1,\"n\":7}\n{\"id\":2,\"n\":\"seven\"}\n{\"id\":99999999999999999999,\"n\":1.5}\n";
    let files = Files::new().json("a.jsonl", lines).await;
    let report = files.copy(&warehouse, toml).await.unwrap();
    assert_eq!((report.rows_loaded, report.rows_rejected, report.cells_rejected), (3, 0, 3));
    assert_eq!(newest(&warehouse, "select id, n from raw.lines order by id").await, "1 7\n2 \n ");
    let kept = rejects(&warehouse).await;
    assert!(kept.contains("row 2 cell n") && kept.contains("<- seven"), "{kept}");
    assert!(kept.contains("row 3 cell id") && kept.contains("<- 99999999999999999999"), "{kept}");
    let counts = warehouse.quarantine_counts(&name(TABLE)).await.unwrap();
    assert_eq!((counts.rows_parsed, counts.rows_loaded, counts.open), (3, 3, 0), "{counts:?}");
}

#[tokio::test]
async fn what_is_no_json_lines_says_what_to_do() {
    let (_world, warehouse) = warehouse();
    let array = Files::new().json("a.json", "[{\"id\":1},\n {\"id\":2}]\n").await;
    let refused = outcome(&array.copy(&warehouse, "").await);
    assert!(refused.contains("jq -c '.[]'"), "{refused}");
    let blank = Files::new().json("b.json", "\n\n").await;
    let refused = outcome(&blank.copy(&warehouse, "").await);
    assert!(refused.contains("`b.json`") && refused.contains("empty"), "{refused}");
    let pretty = Files::new().json("p.json", "{\n  \"id\": 1\n}\n").await;
    let refused = outcome(&pretty.copy(&warehouse, "").await);
    assert!(refused.contains("none of its lines is one JSON object; line 1: "), "{refused}");
    let declared = Files::new().json("c.json", "{\"id\":1}").await;
    let refused = outcome(&declared.copy(&warehouse, "columns = { nr = \"bigint\" }").await);
    assert!(refused.contains("`nr`") && refused.contains("id"), "{refused}");
}
