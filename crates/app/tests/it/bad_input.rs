//! Bad input, through the real program: each kind gives one clear error with the next step, or rejected rows in quarantine,
//! and nothing that was loaded is lost or loaded twice.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use testbed::{MariaDb, Postgres};

use crate::support::{csv, montauk, run};

/// A project with one file source; `copy` are lines of its `[tables.lines.copy]`.
struct Shop {
    _temp: TempDir,
    dir: PathBuf,
}

const JANUARY: &str = "id,name,price\n1,lamp,9.50\n2,\"rug, red\",120.00\n3,,1.25\n";

impl Shop {
    fn new(copy: &str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let shop = Self { dir: temp.path().to_owned(), _temp: temp };
        shop.write("montauk.toml", "[project]\nname = \"shop\"\n");
        let source = format!("kind = \"file\"\n[tables.lines]\npath = \"data/*.csv*\"\n[tables.lines.copy]\n{copy}\n");
        shop.write("sources/shop.toml", &source);
        shop
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn verb(&self, arguments: &[&str]) -> (i32, Value) {
        verb(&self.dir, arguments)
    }

    /// Extracts and copies; the exit code of `copy` and what it printed.
    fn load(&self) -> (i32, Value) {
        let (code, report) = self.verb(&["extract"]);
        if code == 0 { self.verb(&["copy"]) } else { (code, report) }
    }

    fn rows(&self) -> String {
        csv(&self.dir, "select count(*) from raw.shop_lines").lines().nth(1).unwrap().to_owned()
    }
}

fn verb(dir: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = montauk().arg("-C").arg(dir).arg("--json").args(arguments).output().unwrap();
    // With `--json` reports and errors alike go to stdout.
    let text = &output.stdout;
    let value = serde_json::from_slice(text).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(text)));
    (output.status.code().unwrap(), value)
}

/// The error's code, after checking that it says something and names a next step.
fn code_of(found: &(i32, Value)) -> (i32, &str) {
    let error = &found.1["error"];
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{found:?}");
    assert!(error["help"].as_str().is_some_and(|help| !help.is_empty()), "no next step: {found:?}");
    (found.0, error["code"].as_str().unwrap())
}

#[test]
fn files_that_cannot_be_loaded_are_one_clear_error_and_load_nothing() {
    for (name, file, expected) in [
        ("empty", b"".to_vec(), "empty"),
        ("a column twice", b"id,name,id\n1,lamp,2\n".to_vec(), "duplicate_column"),
        ("too few columns", b"id,name,price\n1,lamp\n".to_vec(), "copy_aborted"),
        ("too many columns", b"id,name,price\n1,lamp,2.00,9\n".to_vec(), "copy_aborted"),
        ("not a number", b"id,name,price\n1,lamp,cheap\n".to_vec(), "copy_aborted"),
        ("another encoding", b"id,name,price\n1,caf\xe9,2.00\n".to_vec(), "copy_aborted"),
        ("an open quote", b"id,name,price\n1,\"lamp,2.00\n".to_vec(), "copy_aborted"),
    ] {
        let shop = Shop::new("columns = { id = \"bigint\", name = \"text\", price = \"decimal(12,2)\" }");
        shop.write("data/2026-01.csv", JANUARY);
        assert_eq!(shop.load().0, 0, "{name}");
        shop.write("data/2026-02.csv", file);
        let found = shop.load();
        let (exit, code) = code_of(&found);
        assert!(exit != 0 && code.contains(expected), "{name}: {found:?}");
        assert_eq!(shop.rows(), "3", "{name}");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(JANUARY.repeat(1_000).as_bytes()).unwrap();
    let mut cut_off = gzip.finish().unwrap();
    cut_off.truncate(cut_off.len() / 2);
    let shop = Shop::new("");
    shop.write("data/2026-01.csv.gz", cut_off);
    assert_eq!(code_of(&shop.load()).1, "unreadable_file");
}

#[test]
fn bad_rows_go_to_quarantine_with_place_reason_and_original() {
    let shop =
        Shop::new("on_error = \"continue\"\ncolumns = { id = \"bigint\", name = \"text\", price = \"decimal(12,2)\" }");
    shop.write("data/2026-01.csv", b"id,name,price\n1,lamp,9.50\nx,rug,cheap\n3,sofa\n4,caf\xe9,1.00\n5,bed,7.125\n");
    let (code, report) = shop.load();
    assert_eq!(code, 0, "{report}");
    let copied = &report["tables"][0];
    assert_eq!(
        (&copied["rows_parsed"], &copied["rows_loaded"], &copied["rows_rejected"]),
        (&5.into(), &1.into(), &4.into())
    );
    let (_, quarantine) = shop.verb(&["quarantine", "list", "raw.shop_lines"]);
    let text = quarantine.to_string();
    for expected in ["2026-01.csv", "x,rug,cheap", "not_a_number", "too_few_columns", "not_utf8", "too_many_digits"] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
}

#[test]
fn rejected_rows_are_mended_replayed_and_dismissed_as_the_guide_says() {
    let shop =
        Shop::new("on_error = \"continue\"\ncolumns = { id = \"bigint\", name = \"text\", price = \"decimal(12,2)\" }");
    shop.write("data/2026-01.csv", "id,name,price\n1,lamp,9.50\n2,rug,\"1,25\"\n3,sofa,cheap\n4,bed,\"7,00\"\n");
    assert_eq!(shop.load().0, 0);
    let table = "raw.shop_lines";
    let (_, listed) = shop.verb(&["quarantine", "list", table, "--column", "price"]);
    assert_eq!(listed["tables"][0]["counts"]["open"], 3, "{listed}");
    let (_, one) = shop.verb(&["quarantine", "show", table, "1.1"]);
    assert_eq!((&one["reject"]["line"], &one["reject"]["byte_offset"]), (&3.into(), &26.into()), "{one}");
    let sql = "select _id, replace(price, ',', '.') as price from rejects where price like '%,%'";
    let (_, fixed) = shop.verb(&["quarantine", "fix", table, "--sql", sql]);
    assert_eq!(fixed["fixed"].as_array().unwrap().len(), 2, "{fixed}");
    assert_eq!(shop.rows(), "1", "a fix loads nothing");
    let (code, replayed) = shop.verb(&["quarantine", "replay", table]);
    assert_eq!((code, &replayed["rows_replayed"]), (4, &2.into()), "one row still does not fit: {replayed}");
    let (_, dismissed) = shop.verb(&["quarantine", "dismiss", table, "1.2", "--reason", "a joke"]);
    let counts = &dismissed["counts"];
    for (name, wanted) in
        [("rows_parsed", 4), ("rows_loaded", 1), ("open", 0), ("fixed", 0), ("replayed", 2), ("dismissed", 1)]
    {
        assert_eq!(counts[name], wanted, "{name}: {counts}");
    }
    assert_eq!(
        csv(&shop.dir, "select id, price from raw.shop_lines order by id"),
        "id,price\n1,9.50\n2,1.25\n4,7.00\n"
    );
    let (code, none) = shop.verb(&["quarantine", "replay", table]);
    assert_eq!((code, &none["error"]["code"]), (3, &"no_reject".into()), "{none}");
    let (code, wrong) = shop.verb(&["quarantine", "show", table, "9.9"]);
    assert_eq!((code, &wrong["error"]["code"]), (3, &"no_such_reject".into()), "{wrong}");
}

#[test]
fn types_are_shown_with_the_row_that_made_them_before_a_table_is_made() {
    let shop = Shop::new("columns = { price = \"decimal(12,2)\" }");
    shop.write("data/2026-01.csv", "id,name,price,sold\n1,7,9.50,2026-01-01\n2,,1.00,\n");
    shop.write("data/2026-02.csv", "id,name,price,sold\n3,x7,2.00,2026-02-01 10:00:00\n");
    assert_eq!(shop.verb(&["extract"]).0, 0);
    let (code, shown) = shop.verb(&["copy", "--infer"]);
    assert_eq!(code, 0, "{shown}");
    let columns = shown["tables"][0]["columns"].as_array().unwrap();
    let said: Vec<String> = columns
        .iter()
        .map(|column| {
            let evidence = &column["inferred"]["evidence"];
            format!(
                "{} {} {} {}:{} {}",
                column["column"],
                column["type"],
                column["origin"],
                evidence["file"],
                evidence["line"],
                column["inferred"]["nulls"]
            )
        })
        .map(|line| line.replace('"', ""))
        .collect();
    assert_eq!(
        said,
        [
            "id bigint inferred 2026-01.csv:2 0",
            "name text inferred 2026-02.csv:2 1",
            "price decimal(12,2) declared null:null null",
            "sold timestamp inferred 2026-02.csv:2 1",
        ]
    );
    let (_, status) = shop.verb(&["query", "select 1 from raw.shop_lines"]);
    assert_eq!(status["error"]["code"], "no_such_table", "nothing was made: {status}");
}

#[test]
fn one_bad_file_does_not_keep_the_others_out_when_told_so() {
    let shop = Shop::new(
        "on_error = \"skip_file\"\ncolumns = { id = \"bigint\", name = \"text\", price = \"decimal(12,2)\" }",
    );
    shop.write("data/2026-01.csv", JANUARY);
    shop.write("data/2026-02.csv", "id,name,price\n4,lamp,9.50\n5,lamp,cheap\n");
    let (code, report) = shop.load();
    assert_eq!(code, 4, "a file that is left out is not a success: {report}");
    assert_eq!(shop.rows(), "3");
    // Mended under the same name, it was never loaded: it is loaded now.
    shop.write("data/2026-02.csv", "id,name,price\n4,lamp,9.50\n5,lamp,2.00\n");
    assert_eq!(shop.load().0, 0);
    assert_eq!(shop.rows(), "5");
}

#[test]
fn a_schema_that_drifts_between_months_is_flagged_and_blocks() {
    for (file, expected) in [
        ("id,name\n4,lamp\n", "column_disappeared"),
        ("id,name,price,colour\n4,lamp,2.00,red\n", "new_column"),
        ("id,name,cost\n4,lamp,2.00\n", "column_disappeared"),
        ("id,name,price\nfour,lamp,2.00\n", "copy_aborted"),
    ] {
        let shop = Shop::new("");
        shop.write("data/2026-01.csv", JANUARY);
        assert_eq!(shop.load().0, 0);
        shop.write("data/2026-02.csv", file);
        assert_eq!(code_of(&shop.load()), (6, expected), "{file}");
        assert_eq!(shop.rows(), "3", "{file}");
    }
    // Another order of the columns is no drift: columns go by name.
    let shop = Shop::new("");
    shop.write("data/2026-01.csv", JANUARY);
    shop.write("data/2026-02.csv", "price,id,name\n2.00,4,lamp\n");
    assert_eq!(shop.load().0, 0);
    assert_eq!(csv(&shop.dir, "select sum(price) from raw.shop_lines").lines().nth(1), Some("132.75"));
}

#[test]
fn duplicate_and_changed_files_are_never_loaded_twice() {
    let shop = Shop::new("");
    shop.write("data/2026-01.csv", JANUARY);
    assert_eq!(shop.load().0, 0);
    shop.write("data/copy-of-2026-01.csv", JANUARY);
    let (code, report) = shop.load();
    assert_eq!(code, 0, "{report}");
    assert!(report.to_string().contains("has the content of"), "{report}");
    assert_eq!(shop.rows(), "3");
    fs::remove_file(shop.dir.join("data/copy-of-2026-01.csv")).unwrap();

    shop.write("data/2026-01.csv", "id,name,price\n1,lamp,9.75\n2,rug,120.00\n");
    assert_eq!(code_of(&shop.load()), (6, "changed_after_load"));
    assert_eq!(shop.rows(), "3");
    let (code, report) = shop.verb(&["copy", "--force"]);
    assert_eq!((code, &report["tables"][0]["rows_replaced"]), (0, &3.into()), "{report}");
    assert_eq!(shop.rows(), "2");
}

#[test]
fn models_that_cannot_be_built_say_where_and_what_next() {
    let shop = Shop::new("");
    shop.write("data/2026-01.csv", JANUARY);
    assert_eq!(shop.load().0, 0);
    shop.write("models/marts/one.sql", "-- materialized: table\nselect * from marts.two\n");
    shop.write("models/marts/two.sql", "-- materialized: table\nselect * from marts.one\n");
    let cycle = shop.verb(&["build"]);
    let (_, code) = code_of(&cycle);
    assert!(code == "model_cycle" && cycle.1.to_string().contains("marts.one"), "{cycle:?}");
    fs::remove_file(shop.dir.join("models/marts/two.sql")).unwrap();
    shop.write("models/marts/one.sql", "-- materialized: table\nselect * from raw.shop_line\n");
    let missing = shop.verb(&["build"]);
    assert!(missing.0 != 0 && missing.1.to_string().contains("raw.shop_lines"), "no nearest name: {missing:?}");
}

#[test]
fn databases_that_cannot_be_read_say_why_without_the_password() {
    let maria = MariaDb::shared();
    let postgres = Postgres::shared();
    maria.create_database("empty_shop");
    let stranger = format!("mysql://nobody:wrong-secret@127.0.0.1:{}/empty_shop", maria.port());
    for (kind, url, expected) in [
        ("mysql", "mysql://reader:secret@127.0.0.1:9/shop".to_owned(), "database_unreachable"),
        ("mysql", stranger, "login_refused"),
        ("mysql", maria.url("empty_shop"), "no_such_source_table"),
        ("mysql", maria.url("no_such_database"), "no_such_database"),
        ("postgres", "postgres://reader:secret@127.0.0.1:9/shop".to_owned(), "database_unreachable"),
        ("postgres", postgres.url("no_such_database"), "no_such_database"),
    ] {
        let shop = Shop::new("");
        shop.write("sources/shop.toml", format!("kind = \"{kind}\"\nurl = \"{url}\"\n[tables.lines]\n"));
        let found = shop.verb(&["extract"]);
        let (exit, code) = code_of(&found);
        assert_ne!(exit, 0);
        let text = found.1.to_string();
        assert_eq!(code, expected, "{kind} {expected}: {found:?}");
        assert!(!text.contains("secret") && !text.contains(maria.password()), "{text}");
    }
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let moto = testbed::Moto::shared();
    let shop = Shop::new("");
    shop.write("data/2026-01.csv", JANUARY);
    shop.write("montauk.toml", "[project]\nname = \"shop\"\n[stage]\nlocation = \"s3://no-such-bucket/stage\"\n");
    let output = montauk().envs(moto.environment()).arg("-C").arg(&shop.dir).args(["extract"]).output().unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && talk.contains("no-such-bucket") && talk.contains("help:"), "{talk}");
}

#[test]
fn the_line_runs_in_a_bucket() {
    let moto = testbed::Moto::shared();
    moto.create_bucket("montauk-line");
    let shop = Shop::new("");
    shop.write("data/2026-01.csv", JANUARY);
    shop.write(
        "montauk.toml",
        "[project]\nname = \"shop\"\n[stage]\nlocation = \"s3://montauk-line/stage\"\n[warehouse]\nlocation = \"s3://montauk-line/warehouse\"\n",
    );
    shop.write(
        "models/marts/prices.sql",
        "-- Prices by name.\n-- materialized: table      grain: id\n-- checks: unique(id)  range(price, 0, 1000)\n\
         select id, name, price from raw.shop_lines\n",
    );
    let bucket = |arguments: &[&str]| {
        run(montauk().envs(moto.environment()).arg("-C").arg(&shop.dir).arg("--json").args(arguments))
    };
    for round in 1..=2 {
        for verb in ["extract", "copy", "build"] {
            bucket(&[verb]);
        }
        let report = bucket(&["build"]);
        assert_eq!(report["changed"], false, "{report}");
        if round == 1 {
            shop.write("data/2026-02.csv", "id,name,price\n4,bed,400.00\n");
        }
    }
    let answer = montauk()
        .envs(moto.environment())
        .arg("-C")
        .arg(&shop.dir)
        .args(["query", "select count(*), sum(price) from marts.prices", "--format", "csv"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(answer.stdout).unwrap().lines().nth(1), Some("4,530.75"));
}
