//! COPY and bad input: every file either loads, or says why not and what to do; every row is loaded or in quarantine.
//!
//! In: bytes.  Out: reports, rejects, rows of the table.
//! Never here: crashes and races (`copy_switch`).  Start at [`check`].

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt64Array};
use domain::{Compression, ExtractReject, FileFormat};

use super::copy_files::{Files, TABLE, error_text, gzip, outcome, rejects};
use super::world::{World, name, newest};
use crate::RejectFilter;

const GOOD: &str = "id,name,price\n1,Anna,2.50\n2,\"Béla, jr\",3\n";
const CONTINUE: &str = "on_error = \"continue\"";

/// Loads the bytes as the second file of a table whose first one is good; what came of it, and what was set aside.
async fn check(bytes: impl AsRef<[u8]>, toml: &str) -> String {
    let warehouse = World::in_memory().open();
    let files = Files::new().csv("a.csv", GOOD).await;
    files.copy(&warehouse, "").await.unwrap();
    let result = files.csv("b.csv", bytes).await.copy(&warehouse, toml).await;
    let shown = outcome(&result);
    let shown = shown.strip_prefix("a.csv load_skipped 0/0 (loaded before)\n").unwrap_or(&shown);
    format!("{shown}\n{}", rejects(&warehouse).await).trim_end().to_owned()
}

/// The first load of one file: types, and the rows as the engine reads them.
async fn first(bytes: impl AsRef<[u8]>, toml: &str) -> String {
    let warehouse = World::in_memory().open();
    match Files::new().csv("a.csv", bytes).await.copy(&warehouse, toml).await {
        Ok(_) => {
            let catalog = warehouse.catalog().await.unwrap();
            let columns = &catalog.tables[&name(TABLE)].columns;
            let columns: Vec<_> =
                columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
            format!("{}\n{}", columns.join(", "), newest(&warehouse, "select * from raw.lines").await)
        }
        Err(error) => error_text(&error),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_go_to_quarantine_with_their_place_and_reason() {
    for (bytes, expected) in [
        (&b"id,name,price\n3,C,1\n"[..], "b.csv loaded 1/1"),
        (b"\xef\xbb\xbfid,name,price\r\n3,C,1\r\n", "b.csv loaded 1/1"),
        (b"id,name,price\r3,C,1\r4,D,\r", "b.csv loaded 2/2"),
        (b"price,id,name\n1,3,C", "b.csv loaded 1/1"),
        (b"id,name,price\n", "b.csv loaded 0/0"),
        (
            b"id,name,price\n3,C\n4,D,1,x\n5,E,1\n",
            "b.csv partially_loaded 1/3\n\
             b.csv:2 @14 row 1 row - too_few_columns: the row has 2 columns, the header 3 <- 3,C\n\
             b.csv:3 @18 row 2 row - too_many_columns: the row has 4 columns, the header 3 <- 4,D,1,x",
        ),
        (
            b"id,name,price\n\"3\",\"C\nc\",x\nfour,D,1.255\n",
            "b.csv partially_loaded 0/2\n\
             b.csv:2 @14 row 1 row price not_a_number: `x`: expected a number such as -12.50 <- \"3\",\"C\\nc\",x\n\
             b.csv:4 @26 row 2 row id not_a_number: `four`: expected a whole number; column `price`: `1.255`: the column \
             holds 2 digits after the point <- four,D,1.255",
        ),
        (
            b"id,name,price\n3,\xff\xfeC,1\n4,D,1\n",
            "b.csv partially_loaded 1/2\n\
             b.csv:2 @14 row 1 row name not_utf8: `��C`: byte 1 of the value is not text in the file's encoding; declare the right one, such as \
             `csv = { encoding = \"windows-1252\" }` <- 3,��C,1",
        ),
        (
            b"id,name,price\n3,\"C\"c,1\n4,\"D\n5,E,1\n",
            "b.csv partially_loaded 0/2\n\
             b.csv:2 @14 row 1 row - text_after_quote: text follows a closing quote <- 3,\\\"C\\\"c,1\n\
             b.csv:3 @23 row 2 row - unclosed_quote: a quote is opened and never closed: everything after it is one row \
             <- 4,\\\"D\\n5,E,1\\n",
        ),
    ] {
        assert_eq!(check(bytes, CONTINUE).await, expected.replace("\"3\",\"C\\nc\",x", "\\\"3\\\",\\\"C\\nc\\\",x"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_wrong_as_a_whole_says_what_to_do() {
    for (bytes, expected) in [
        (&b""[..], "empty_file: `b.csv` is empty; remove it from the source, or get it again"),
        (b"\n\n", "empty_file: `b.csv` is empty"),
        (b"id,id,price\n", "duplicate_column: `b.csv` names column `id` twice"),
        (b"id,price\n3,1\n", "column_disappeared: `b.csv` has no column `name`, which table `raw.lines` has"),
        (b"id,title,price\n3,C,1\n", "was it renamed to `title`?"),
        (b"id,name,price,x\n3,C,1,2\n", "new_column: `b.csv` has a column `x`, which table `raw.lines` does not have"),
        (b"id,n\xe9,price\n", "not_utf8: `b.csv` is not UTF-8: its header is not"),
        (b"id,\"name\n1,2,3\n", "unreadable_file: `b.csv` cannot be read: in its header, a quote is opened"),
    ] {
        let shown = check(bytes, "").await;
        assert!(shown.contains(expected), "{shown}\ndoes not hold\n{expected}");
        // With `continue` the file fails alone, and the COPY goes on.
        let shown = check(bytes, CONTINUE).await;
        assert!(shown.starts_with("b.csv load_failed 0/0 (`b.csv` "), "{shown}");
    }
    for (bytes, toml) in [
        (&b"id;name;price\n3;C;1\n"[..], ""),
        (b"id\tname\tprice\n3\tC\t1\n", ""),
        (b"\xff\xfei\0d\0,\0n\0a\0m\0e\0,\0p\0r\0i\0c\0e\0\n\x003\0,\0\xe9\0,\x001\0", ""),
        (b"id,name,price\n3,caf\xe9,1\n", "csv = { encoding = \"latin1\" }"),
    ] {
        assert_eq!(check(bytes, toml).await, "b.csv loaded 1/1", "{}", String::from_utf8_lossy(bytes));
    }
    let declared = check("id;name;price\n3;C;1\n", "csv = { delimiter = \",\" }").await;
    assert!(
        declared.contains("wrong_delimiter: `b.csv` has one column, `id;name;price`, which holds `;`"),
        "{declared}"
    );
    assert_eq!(check("id,price\n3,1\n", "missing_columns = \"null\"").await, "b.csv loaded 1/1");
    assert_eq!(check("id,name,price,x\n3,C,1,2\n", "new_columns = \"ignore\"").await, "b.csv loaded 1/1");
    let none = check("a,b\n3,1\n", "missing_columns = \"null\"\nnew_columns = \"ignore\"").await;
    assert!(none.starts_with("no_common_column: `b.csv` has none of the columns"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_files_load_and_damaged_ones_fail_whole() {
    let many: String = (0..50_000)
        .fold("id,name,price\n".to_owned(), |text, row| format!("{text}{row},n{},1.5\n", row * 7919 % 10_007));
    let whole = gzip(many.as_bytes());
    let mut cut = whole.clone();
    cut.truncate(whole.len() / 2);
    let mut flipped = whole.clone();
    let end = flipped.len();
    flipped[end - 6] ^= 1;
    let mut longer = whole.clone();
    longer.extend_from_slice(b"garbage");
    let zstd = zstd::encode_all(many.as_bytes(), 1).unwrap();
    for (bytes, compression, expected) in [
        (&whole, Compression::Gzip, "b loaded 50000/50000"),
        (&zstd, Compression::Zstd, "b loaded 50000/50000"),
        (&cut, Compression::Gzip, "b load_failed 0/"),
        (&flipped, Compression::Gzip, "b load_failed 0/"),
        (&longer, Compression::Gzip, "b load_failed 0/"),
        (&zstd[..zstd.len() / 2].to_vec(), Compression::Zstd, "b load_failed 0/"),
        (&b"id,name,price\n1,a,1\n".to_vec(), Compression::Gzip, "b load_failed 0/0 (`b` cannot be read: "),
    ] {
        let warehouse = World::in_memory().open();
        let files = Files::new().csv("a.csv", GOOD).await;
        files.copy(&warehouse, "").await.unwrap();
        let result = files.file("b", bytes, FileFormat::Csv, compression).await.copy(&warehouse, CONTINUE).await;
        let shown = outcome(&result);
        assert!(shown.contains(&format!("\n{expected}")), "{shown}");
        let loaded = if expected.contains("loaded 5") { 50_002 } else { 2 };
        assert_eq!(newest(&warehouse, "select count(*) from raw.lines").await, loaded.to_string(), "{expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_bytes_that_are_not_those_of_the_manifest_are_not_loaded() {
    let warehouse = World::in_memory().open();
    let mut files = Files::new().csv("a.csv", GOOD).await;
    files.manifest.files[0].sha256 = domain::hash_bytes(b"other");
    let error = files.copy(&warehouse, "").await.unwrap_err();
    assert_eq!(error.to_string(), "`a.csv` cannot be read: its bytes are not those that were staged");
    files.manifest.files[0].path = "gone".into();
    let shown = error_text(&files.copy(&warehouse, "").await.unwrap_err());
    assert!(shown.starts_with("unreadable_file: `a.csv` cannot be read"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_load_finds_exact_types() {
    assert_eq!(
        first("code,n,price,day,at,ok,big,when\n007,1,2.50,2026-01-31,2026-01-31 10:00:00,true,12345678901234567890,13/1/2010 8:26\n\
               ,-2,,,,,,\n", "").await,
        "code Utf8, n Int64, price Decimal128(18, 2), day Date32, at Timestamp(µs), ok Boolean, \
         big Decimal128(38, 0), when Timestamp(µs)\n\
         007 1 2.50 2026-01-31 2026-01-31T10:00:00 true 12345678901234567890 2010-01-13T08:26:00\n -2      "
    );
    // Declared types win, in files without a header by number; quoted empty text is not null.
    assert_eq!(
        first(
            "1;\"\";NULL\n2;;x y\n",
            "columns = { c1 = \"text\" }\ncsv = { header = false, delimiter = \";\", null_if = [\"NULL\"] }"
        )
        .await,
        "c1 Utf8, c2 Utf8, c3 Utf8\n1  \n2  x y"
    );
    let shown = first("a,b\n", "").await;
    assert!(shown.starts_with("nothing_to_infer: the files of table `raw.lines` hold no rows"), "{shown}");
    assert_eq!(first("a\n", "columns = { a = \"bigint\" }").await, "a Int64\n");
    let shown = first("Price\n1\n", "columns = { price = \"bigint\" }").await;
    assert!(shown.contains("did you mean `Price`?"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_comes_from_all_files_and_names_the_row_that_forced_it() {
    let warehouse = World::in_memory().open();
    let files = Files::new().csv("1.csv", "id\n1\n2\n").await.csv("2.csv", "id\n3\nC4\n").await;
    let report = files.copy(&warehouse, "").await.unwrap();
    let column = &report.inferred[0];
    let evidence = column.evidence.clone().unwrap();
    assert_eq!((column.column_type.as_str(), evidence.file.as_str(), evidence.line), ("text", "2.csv", 3));
    assert_eq!(newest(&warehouse, "select id from raw.lines order by id").await, "1\n2\n3\nC4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_that_was_found_holds_for_later_files() {
    let warehouse = World::in_memory().open();
    let files = Files::new().csv("1.csv", "at\n12/31/2010 8:26\n").await;
    files.copy(&warehouse, "").await.unwrap();
    // Both days could be months: only the format of the first load tells.
    files.csv("2.csv", "at\n1/2/2011 9:00\n13/1/2011 9:00\n").await.copy(&warehouse, CONTINUE).await.unwrap();
    assert_eq!(
        newest(&warehouse, "select at from raw.lines order by at").await,
        "2010-12-31T08:26:00\n2011-01-02T09:00:00"
    );
    assert!(rejects(&warehouse).await.contains("not_a_timestamp"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_error_decides_what_a_bad_row_costs() {
    let bad = "id,name,price\n3,C,1\nx,D,1\ny,D,1\n";
    let world = World::in_memory();
    let warehouse = world.open();
    let files = Files::new().csv("a.csv", GOOD).await;
    files.copy(&warehouse, "").await.unwrap();
    let files = files.csv("b.csv", bad).await.csv("c.csv", "id,name,price\n9,Z,1\n").await;

    let error = files.copy(&warehouse, "").await.unwrap_err();
    assert_eq!(error.to_string(), "`b.csv`, line 3, column `id`: `x`: expected a whole number (and 1 more row)");
    assert_eq!(newest(&warehouse, "select count(*) from raw.lines").await, "2");
    let aborted = warehouse.aborted_loads(&name(TABLE)).await.unwrap();
    assert_eq!((aborted.len(), aborted[0].code.as_str(), aborted[0].files.len()), (1, "copy_aborted", 1));
    assert_eq!(warehouse.aborted_rejects(&aborted[0], 10).await.unwrap().len(), 2);
    assert_eq!(rejects(&warehouse).await, "", "an aborted load does not count");

    let skip = "on_error = \"skip_file\"";
    let report = files.copy(&warehouse, skip).await;
    let expected = "a.csv load_skipped 0/0 (loaded before)\n\
                    b.csv load_failed 0/3 (2 of its rows cannot be loaded)\nc.csv loaded 1/1";
    assert_eq!(outcome(&report), expected);
    // Nothing has changed, so nothing is done, and the failure is still told.
    let again = files.copy(&warehouse, skip).await;
    assert!(outcome(&again).contains("b.csv load_failed"), "{}", outcome(&again));
    assert_eq!(again.unwrap().load, None);
    assert_eq!(warehouse.loads(&name(TABLE)).await.unwrap().len(), 2);

    let report = files.copy(&warehouse, CONTINUE).await;
    assert!(outcome(&report).contains("b.csv partially_loaded 1/3"), "{}", outcome(&report));
    assert_eq!(newest(&warehouse, "select id from raw.lines order by id").await, "1\n2\n3\n9");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_first_load_leaves_no_types_behind() {
    let warehouse = World::in_memory().open();
    let files = Files::new().csv("a.csv", "id\n1\n").await.csv("b.csv", "id,x\n").await;
    assert!(files.copy(&warehouse, "").await.unwrap_err().to_string().contains("`x`"));
    assert!(warehouse.table(&name(TABLE)).await.unwrap().is_none());
    let mended = Files::new().csv("a.csv", "id\n0.5\n").await;
    mended.copy(&warehouse, "").await.unwrap();
    assert_eq!(newest(&warehouse, "select id from raw.lines").await, "0.5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_loaded_once_by_name_and_content() {
    let warehouse = World::in_memory().open();
    let files = Files::new().csv("a.csv", GOOD).await;
    let one = files.copy(&warehouse, "").await.unwrap();
    let again = files.copy(&warehouse, "").await.unwrap();
    assert_eq!(
        (again.load, again.catalog, again.files[0].reason.as_deref()),
        (None, one.catalog, Some("loaded before"))
    );

    let twin = files.clone().csv("copy of a.csv", GOOD).await;
    let report = twin.copy(&warehouse, "").await;
    assert!(outcome(&report).contains("copy of a.csv load_skipped 0/0 (it has the content of `a.csv`; `--force`"));
    twin.force(&warehouse, "").await.unwrap();
    assert_eq!(newest(&warehouse, "select count(*) from raw.lines").await, "4");

    let changed = files.csv("a.csv", "id,name,price\n7,G,1\n").await;
    let error = error_text(&changed.copy(&warehouse, "").await.unwrap_err());
    assert!(error.starts_with("changed_after_load: staged file `a.csv` changed after it was loaded; "), "{error}");
    assert!(error.contains("`montauk copy raw.lines --force`"), "{error}");
    assert_eq!(newest(&warehouse, "select count(*) from raw.lines").await, "4");
    let report = changed.force(&warehouse, "").await.unwrap();
    assert_eq!((report.rows_loaded, report.rows_replaced), (1, 2));
    assert_eq!(newest(&warehouse, "select id from raw.lines order by id").await, "1\n2\n7");
    // And back again: the content that is in the table counts, not any that ever was.
    let back = Files::new().csv("a.csv", GOOD).await;
    assert!(back.copy(&warehouse, "").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_load_replaces_the_table_and_blocks_when_columns_change() {
    let rows =
        |ids: Vec<u64>| RecordBatch::try_from_iter([("id", Arc::new(UInt64Array::from(ids)) as ArrayRef)]).unwrap();
    let warehouse = World::in_memory().open();
    let files = Files::new().full().parquet("lines", &rows(vec![1, u64::MAX])).await;
    files.copy(&warehouse, "").await.unwrap();
    assert_eq!(newest(&warehouse, "select id from raw.lines order by id").await, "1\n18446744073709551615");
    assert_eq!(files.copy(&warehouse, "").await.unwrap().load, None);
    let report = files.parquet("lines", &rows(vec![5])).await.copy(&warehouse, "").await.unwrap();
    assert_eq!((report.rows_loaded, report.rows_replaced), (1, 2));

    let text = RecordBatch::try_from_iter([("id", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]).unwrap();
    let files = Files::new().full().parquet("lines", &text).await;
    let error = error_text(&files.copy(&warehouse, "").await.unwrap_err());
    assert!(
        error.starts_with(
            "columns_changed: the columns of table `raw.lines` are no longer those of its source: `id` was"
        )
    );
    files.force(&warehouse, "").await.unwrap();
    assert_eq!(newest(&warehouse, "select id from raw.lines").await, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_values_are_kept_or_refused_and_cell_rejects_are_kept() {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let warehouse = World::in_memory().open();
    let mut files = Files::new().parquet("one", &batch).await;
    files.manifest.files[0].rows = Some(2);
    files.manifest.files[0].rejects = vec![ExtractReject {
        row: 2,
        column: "id".into(),
        reason: "the date does not exist".into(),
        original: "0000-00-00".into(),
    }];
    let report = files.copy(&warehouse, "").await.unwrap();
    assert_eq!((report.rows_loaded, report.rows_rejected, report.cells_rejected), (2, 0, 1));
    assert_eq!(
        rejects(&warehouse).await,
        "one:0 @0 row 2 cell id not_carried_over: the date does not exist <- 0000-00-00"
    );

    files.manifest.files[0].rows = Some(3);
    let error = error_text(&files.copy(&World::in_memory().open(), "").await.unwrap_err());
    assert!(error.contains("it holds 2 rows, and 3 were staged"), "{error}");

    let text = RecordBatch::try_from_iter([("id", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]).unwrap();
    let error = error_text(&files.parquet("two", &text).await.copy(&warehouse, "").await.unwrap_err());
    assert!(error.starts_with("type_changed: column `id` is Utf8 in `two` and Int64 in table `raw.lines`"), "{error}");

    let fine: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1]));
    let fine = RecordBatch::try_from_iter([("at", fine)]).unwrap();
    let error = Files::new().parquet("fine", &fine).await.copy(&World::in_memory().open(), "").await.unwrap_err();
    assert!(error.to_string().contains("finer than microseconds"), "{error}");
    let broken = Files::new().file("p", b"PAR1 no", FileFormat::Parquet, Compression::None).await;
    let error = error_text(&broken.copy(&World::in_memory().open(), "").await.unwrap_err());
    assert!(error.starts_with("unreadable_file: `p` cannot be read"), "{error}");
}

/// The boundaries of Snowflake's COPY: `SKIP_FILE_n` leaves out from n bad rows on, `SKIP_FILE_n%` beyond n percent.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_left_out_from_so_many_bad_rows_on_or_beyond_such_a_share() {
    // Ten rows, two of them bad.
    let mut rows = "id,name,price\n".to_owned();
    (0..10).for_each(|row| rows += &format!("{row},a,{}\n", if row % 5 == 4 { "bad" } else { "1.00" }));
    for (on_error, expected) in [
        ("skip_file_2", "b.csv load_failed 0/10"),
        ("skip_file_3", "b.csv partially_loaded 8/10"),
        ("skip_file_19%", "b.csv load_failed 0/10"),
        ("SKIP_FILE_20%", "b.csv partially_loaded 8/10"),
        ("skip_file_0%", "b.csv load_failed 0/10"),
    ] {
        let shown = check(&rows, &format!("on_error = \"{on_error}\"")).await;
        assert!(shown.starts_with(expected), "{on_error}: {shown}");
    }
    for wrong in ["skip_file_0", "skip_file_101%", "skip_file_", "ignore"] {
        assert!(wrong.parse::<crate::OnError>().is_err(), "{wrong}");
    }
}

/// SplitMix64 (Steele, Lea & Flood, OOPSLA 2014): small, and the same in every run.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_are_rows_loaded_or_rejected_and_never_a_panic() {
    const ALPHABET: &[u8] = b"1234,,,,\"\"\n\n\r;ax .-\t\\\xff\xc3\xa9\0";
    let mut state = 7;
    for case in 0..150 {
        let length = next(&mut state) % 120;
        let mut bytes = if case % 3 == 0 { Vec::new() } else { b"id,name,price\n".to_vec() };
        bytes.extend((0..length).map(|_| ALPHABET[(next(&mut state) % ALPHABET.len() as u64) as usize]));
        let warehouse = World::in_memory().open();
        let files = Files::new().csv("good.csv", GOOD).await.csv("any.csv", &bytes).await;
        let report = files.copy(&warehouse, CONTINUE).await.unwrap_or_else(|error| panic!("case {case}: {error}"));
        let rows: u64 = newest(&warehouse, "select count(*) from raw.lines").await.parse().unwrap();
        assert_eq!(rows, report.rows_loaded, "case {case}");
        assert_eq!(report.rows_parsed, report.rows_loaded + report.rows_rejected, "case {case}");
        let set_aside = warehouse.quarantine(&name(TABLE), &RejectFilter::default(), usize::MAX).await.unwrap().len();
        assert_eq!(set_aside as u64, report.rows_rejected, "case {case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_from_before_a_load_of_the_whole_table_is_loaded_again() {
    let warehouse = World::in_memory().open();
    let appended = Files::new().csv("a.csv", GOOD).await;
    appended.copy(&warehouse, "").await.unwrap();
    let whole = Files::new().csv("all.csv", "id,name,price\n9,Zoe,1.50\n").await.full();
    whole.copy(&warehouse, "").await.unwrap();
    // Its rows went with the whole load; what the ledger says of the time before does not count any more.
    let again = appended.copy(&warehouse, "").await.unwrap();
    assert_eq!(again.rows_loaded, 2);
    assert!(newest(&warehouse, "select count(*) as n from raw.lines").await.contains('3'));
}
