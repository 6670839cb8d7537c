//! Files through the real program, as docs/how-to/load-files.md tells it: looked at, tried, chosen, loaded by flags and by SQL.
//!
//! In: a project with a few files.  Out: reports, tables on screen, exit codes.
//! Never here: single options (`warehouse` tests them).

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{csv, montauk, run};

fn write(project: &Path, name: &str, text: &str) {
    let path = project.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn project() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| write(dir.path(), name, text);
    write("montauk.toml", "[project]\nname = \"shop\"\n");
    write(
        "sources/shop.toml",
        "kind = \"file\"\n[tables.orders]\npath = \"data/orders/*\"\ninto = \"raw.orders\"\n\
         [tables.orders.copy]\ncolumns = { price = \"decimal(12,2)\" }\ncsv = { delimiter = \";\" }\n",
    );
    write("data/orders/2026-01.csv", "id;price\n1;1.50\n2;2.50\n");
    write("data/orders/2026-02.csv", "id;price\n3;three\n4;4.50\n");
    write("data/orders/2026-03.jsonl", "{\"id\":5,\"price\":5.25}\n");
    run(montauk().arg("-C").arg(dir.path()).arg("extract"));
    dir
}

fn json(project: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = montauk().arg("-C").arg(project).arg("--json").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?}: {text}")))
}

fn text(project: &Path, arguments: &[&str]) -> String {
    let output = montauk().arg("-C").arg(project).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn files_are_looked_at_before_they_are_loaded() {
    let project = project();
    let project = project.path();
    let (code, errors) = json(project, &["copy", "raw.orders", "--validation-mode", "return_errors"]);
    assert_eq!(code, 4);
    let found = &errors["tables"][0]["errors"];
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{errors}");
    assert_eq!((&found[0]["file"], &found[0]["line"]), (&"2026-02.csv".into(), &2.into()));
    assert_eq!((&found[0]["column_name"], &found[0]["row_number"]), (&"price".into(), &1.into()));
    let shown = text(project, &["copy", "raw.orders", "--validation-mode", "return_1_rows", "--file", "2026-01.csv"]);
    assert!(shown.contains("1.50") && !shown.contains("2.50"), "{shown}");
    let (code, _) = json(project, &["query", "select * from raw.orders"]);
    assert_eq!(code, 3, "a validation made the table");
}

#[test]
fn the_same_options_are_flags_and_sql() {
    let project = project();
    let project = project.path();
    let (code, report) = json(project, &["copy", "raw.orders", "--prefix", "2026-01"]);
    assert_eq!((code, &report["tables"][0]["rows_loaded"]), (0, &2.into()));
    let sql = "COPY INTO raw.orders FROM @shop.orders PATTERN = '.*\\.csv' ON_ERROR = CONTINUE";
    let shown = text(project, &["query", sql]);
    let line = shown.lines().find(|line| line.contains("2026-02.csv")).unwrap_or_else(|| panic!("{shown}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..5], ["2026-02.csv", "partially_loaded", "2", "1", "1"], "{shown}");
    assert!(shown.contains("first_error_column_name") && line.ends_with("price"), "{shown}");
    // Another table from the same files, and another dialect over that of the source file.
    let sql =
        "copy into raw.texts from @shop.orders/2026-01 csv = (delimiter = '|' header = false) columns = (c1 = text)";
    let (code, report) = json(project, &["query", sql]);
    assert_eq!((code, &report["error"]["code"]), (3, &"no_declared_column".into()), "{report}");
    let sql = "copy into raw.texts from @shop.orders/2026-01 match_by_column_name = case_insensitive size_limit = 1";
    assert_eq!(json(project, &["query", sql]).0, 0);
    assert_eq!(csv(project, "select count(*) as n from raw.texts"), "n\n2\n");
    run(montauk().arg("-C").arg(project).args([
        "copy",
        "--option",
        "on_error = abort csv = (delimiter = ';')",
        "--purge",
    ]));
    assert_eq!(
        csv(project, "select id, price from raw.orders order by id"),
        "id,price\n1,1.50\n2,2.50\n4,4.50\n5,5.25\n"
    );
    let (code, wrong) = json(project, &["copy", "--option", "on_eror = abort"]);
    assert!(code != 0 && wrong["error"]["message"].as_str().is_some_and(|text| text.contains("on_eror")), "{wrong}");
    let (code, missing) = json(project, &["copy", "--file", "2026-04.csv"]);
    assert_eq!((code, &missing["error"]["code"]), (3, &"no_such_file".into()), "{missing}");
    let (code, unfound) = json(project, &["query", "COPY INTO raw.orders FROM @shop.orders PREFIX = Orders_"]);
    assert_eq!((code, &unfound["tables"][0]["files"]), (0, &serde_json::json!([])), "{unfound}");
    let (code, statement) = json(project, &["query", "COPY INTO raw.orders FROM shop.orders"]);
    assert!(code != 0 && statement.to_string().contains("is not a stage"), "{statement}");
}

/// Names in any script: source, table, target and files; with a rejected row, and tried before.
#[test]
fn names_may_be_of_any_script() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| write(dir.path(), name, text);
    write("montauk.toml", "[project]\nname = \"shop\"\n");
    write(
        "sources/가게.toml",
        "kind = \"file\"\n[tables.\"주문 내역\"]\npath = \"data/*.csv\"\ninto = \"raw.주문\"\n\
         [tables.\"주문 내역\".copy]\non_error = \"continue\"\ncolumns = { \"가격\" = \"decimal(12,2)\" }\n\
         [tables.other]\npath = \"data/*.csv\"\n",
    );
    write("data/일월.csv", "번호,가격\n1,1.50\n2,비쌈\n");
    let project = dir.path();
    run(montauk().arg("-C").arg(project).arg("extract"));
    let (code, tried) = json(project, &["copy", "raw.주문", "--validation-mode", "return_errors"]);
    assert_eq!((code, &tried["tables"][0]["errors"][0]["original"]), (4, &"2,비쌈".into()), "{tried}");
    run(montauk().arg("-C").arg(project).args(["copy", "raw.주문"]));
    assert_eq!(csv(project, "select \"번호\", \"가격\" from raw.\"주문\""), "번호,가격\n1,1.50\n");
    let sql = "select _id, '2.50' as \"가격\" from rejects";
    run(montauk().arg("-C").arg(project).args(["quarantine", "fix", "raw.주문", "--sql", sql]));
    run(montauk().arg("-C").arg(project).args(["quarantine", "replay", "raw.주문"]));
    assert_eq!(csv(project, "select count(*) as n from raw.\"주문\""), "n\n2\n");
    // Two tables of a source do not go into one.
    let (code, refused) = json(project, &["query", "COPY INTO raw.x FROM @가게"]);
    assert_eq!(code, 3, "{refused}");
}
