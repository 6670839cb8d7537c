//! A table by query, through the binary: read, loaded and proven on both servers; what is not the same twice is not loaded.
//! In: real servers.  Out: verdicts.  Never here: types and refusals (`connect`).  Start at [`walk`].

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testbed::{MariaDb, Postgres};

use crate::support::{csv, montauk, run};

const TABLES: &str = "
CREATE TABLE orders (id int PRIMARY KEY, customer int, total decimal(12,2), placed date);
INSERT INTO orders VALUES (1, 7, 10.50, '2024-02-29'), (2, 7, 0.25, '2024-03-01'), (3, 8, 100, NULL), (4, NULL, 1, '2024-03-01');
CREATE TABLE customers (id int PRIMARY KEY, name varchar(20)); INSERT INTO customers VALUES (7, 'Kim'), (8, NULL);
";
const QUERY: &str = "
select c.id, c.name, cast(sum(o.total) as decimal(12,2)) as spent, max(o.placed) as last_on
from orders o join customers c on c.id = o.customer
group by c.id, c.name
order by c.id; -- the end
";

fn write(dir: &Path, kind: &str, query: &str) {
    fs::create_dir_all(dir.join("sources")).unwrap();
    fs::write(dir.join("montauk.toml"), "[project]\nname = \"query\"\n").unwrap();
    let source = format!(
        "kind = \"{kind}\"\nurl = \"${{SHOP_DB_URL}}\"\n\n[tables.customers]\n\n[tables.spent]\nquery = \"\"\"{query}\"\"\"\n"
    );
    fs::write(dir.join("sources/shop.toml"), source).unwrap();
}

fn verb(dir: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = montauk();
    command.env("SHOP_DB_URL", url).arg("-C").arg(dir).arg("--json").args(arguments);
    command
}

/// The line from query to table; `change` runs a statement on the server, `random` computes another number for each row.
fn walk(kind: &str, url: &str, change: impl Fn(&str), random: &str) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    write(dir, kind, QUERY);
    let doctor = verb(dir, url, &["doctor"]).output().unwrap();
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.contains("that of `shop.spent` is accepted, with 4 columns"), "{doctor}");
    assert!(doctor.contains("all 1 wanted are there"), "{doctor}");

    let status = |report: &Value, table: usize| report["tables"][table]["status"].as_str().unwrap().to_owned();
    let staged = run(&mut verb(dir, url, &["extract"]));
    assert_eq!((status(&staged, 0).as_str(), status(&staged, 1).as_str()), ("staged", "staged"), "{staged}");
    assert_eq!(staged["tables"][1]["position"], staged["tables"][0]["position"]);
    let loaded = run(&mut verb(dir, url, &["copy"]));
    assert_eq!(loaded["tables"][1]["proof"]["rows"], 2, "{loaded}");
    assert_eq!(loaded["tables"][1]["proof"]["columns"], 4, "{loaded}");
    let rows = "select id, name, cast(spent as decimal(12,2)) as spent, last_on from raw.shop_spent order by id";
    assert_eq!(csv(dir, rows), "id,name,spent,last_on\n7,Kim,10.75,2024-03-01\n8,,100.00,\n");

    // The same rows and the same statement are nothing new.
    let again = run(&mut verb(dir, url, &["extract"]));
    assert_eq!((status(&again, 0).as_str(), status(&again, 1).as_str()), ("unchanged", "unchanged"), "{again}");
    assert_eq!(status(&run(&mut verb(dir, url, &["extract", "--verify", "shop.spent"])), 0), "verified");
    change("UPDATE orders SET total = total + 0.01 WHERE id = 3");
    let differs = verb(dir, url, &["extract", "--verify", "shop.spent"]).output().unwrap();
    let error: Value = serde_json::from_slice(&differs.stdout).unwrap();
    assert_eq!(error["error"]["code"], "not_proven", "{error}");
    assert!(error.to_string().contains("`spent`"), "{error}");
    run(&mut verb(dir, url, &["extract"]));
    run(&mut verb(dir, url, &["copy"]));
    assert!(csv(dir, rows).contains("100.01"));

    // Another statement is another table, also when its rows are the same.
    write(dir, kind, &QUERY.replace("order by c.id", "having count(*) > 0 order by c.id"));
    let other = run(&mut verb(dir, url, &["extract"]));
    assert_eq!((status(&other, 0).as_str(), status(&other, 1).as_str()), ("unchanged", "staged"), "{other}");

    write(dir, kind, &format!("select id, {random} as luck from orders"));
    run(&mut verb(dir, url, &["extract", "shop.spent"]));
    let refused = verb(dir, url, &["copy", "raw.shop_spent", "--force"]).output().unwrap();
    let error: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(error["error"]["code"], "not_proven", "{error}");

    write(dir, kind, "delete from customers");
    let refused = verb(dir, url, &["extract"]).output().unwrap();
    let error: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((error["error"]["code"].as_str(), refused.status.code()), (Some("bad_query"), Some(3)), "{error}");
    assert!(error.to_string().contains("shop.spent"), "{error}");
}

#[test]
fn a_query_to_mariadb_is_a_proven_table() {
    let server = MariaDb::shared();
    server.create_database("query_line");
    server.sql("query_line", TABLES);
    walk("mariadb", &server.url("query_line"), |sql| drop(server.sql("query_line", sql)), "rand()");
}

#[test]
fn a_query_to_postgresql_is_a_proven_table() {
    let server = Postgres::shared();
    server.create_database("query_line");
    server.sql("query_line", TABLES);
    walk("postgres", &server.url("query_line"), |sql| drop(server.sql("query_line", sql)), "random()");
}
