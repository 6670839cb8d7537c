//! Tables that follow their source, through the real program: by the log and by a cursor, while others write, killed at any moment; in the
//! end the warehouse holds what the server holds, and each load was compared with it.
//!
//! In: real servers with a log.  Out: tables, exit codes, sentences.
//! Never here: single log events (`connect`), merging (`warehouse`).

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use testbed::{MariaDb, Postgres};

use crate::support::{Dice, csv, montauk, run};

/// A server as these tests need it.
struct Server {
    kind: &'static str,
    /// `schema.` of its tables.
    schema: &'static str,
    url: String,
    sql: Box<dyn Fn(&str) -> String>,
}

const TABLES: &str = "CREATE TABLE orders (id INT PRIMARY KEY, amount DECIMAL(12,2), note VARCHAR(40));
CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(40), updated_at TIMESTAMP(6) NOT NULL);
CREATE TABLE filler (id INT PRIMARY KEY, v INT);";

fn mariadb() -> Server {
    let options = ["--log-bin=binlog", "--server-id=7", "--binlog-format=ROW", "--binlog-row-metadata=FULL"];
    let server = MariaDb::start_with(&options);
    server.create_database("shop");
    let url = server.url("shop");
    Server {
        kind: "mariadb",
        schema: "shop.",
        url,
        sql: Box::new(move |sql| server.sql("shop", sql).replace('\t', ",")),
    }
}

fn postgres() -> Server {
    let server = Postgres::start_with(&["wal_level=logical"]);
    server.create_database("shop");
    let url = server.url("shop");
    Server {
        kind: "postgres",
        schema: "public.",
        url,
        sql: Box::new(move |sql| server.sql("shop", sql).replace('|', ",")),
    }
}

impl Server {
    /// A project over its tables, which hold a few hundred rows.
    fn project(&self) -> TempDir {
        (self.sql)(TABLES);
        for id in 0..300 {
            self.write(id, "first");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sources")).unwrap();
        fs::write(dir.path().join("montauk.toml"), "[project]\nname = \"shop\"\n").unwrap();
        let Self { kind, schema, .. } = self;
        let source = format!(
            "kind = \"{kind}\"\nurl = \"${{SHOP_DB_URL}}\"\n\n\
             [tables.orders]\ntable = \"{schema}orders\"\ninto = \"raw.orders\"\nmode = \"changes\"\n\n\
             [tables.customers]\ntable = \"{schema}customers\"\ninto = \"raw.customers\"\nmode = \"cursor\"\ncursor = \"updated_at\"\nlook_back = \"1h\"\n"
        );
        fs::write(dir.path().join("sources/shop.toml"), source).unwrap();
        dir
    }

    /// An order and a customer that are new, or have changed.
    fn write(&self, id: u64, note: &str) {
        (self.sql)(&format!(
            "DELETE FROM orders WHERE id = {id}; INSERT INTO orders VALUES ({id}, {id}.25, '{note}');
             DELETE FROM customers WHERE id = {id}; INSERT INTO customers VALUES ({id}, '{note}', CURRENT_TIMESTAMP);"
        ));
    }

    fn command(&self, project: &Path, arguments: &[&str]) -> std::process::Command {
        let mut command = montauk();
        command.arg("-C").arg(project).arg("--json").env("SHOP_DB_URL", &self.url).args(arguments);
        command
    }

    fn json(&self, project: &Path, arguments: &[&str]) -> (i32, Value) {
        let output = self.command(project, arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?}: {text}")))
    }

    /// Runs the line once; every load was compared with the source.
    fn catch_up(&self, project: &Path) {
        run(&mut self.command(project, &["extract"]));
        let report = run(&mut self.command(project, &["copy"]));
        for table in report["tables"].as_array().unwrap() {
            assert!(!table["proof"].is_null() || table["load"].is_null(), "{table}");
        }
        for (table, columns) in [("orders", "id, amount, note"), ("customers", "id, name")] {
            let there = (self.sql)(&format!("SELECT {columns} FROM {table} ORDER BY id"));
            let here = csv(project, &format!("select {columns} from raw.{table} order by id"));
            let here: Vec<&str> = here.lines().skip(1).collect();
            assert_eq!(here, there.lines().collect::<Vec<_>>(), "{table}");
        }
    }
}

/// Rounds of changes; then runs that are killed at any moment while others write; then one that is not.
fn follow(server: &Server) {
    let temp = server.project();
    let project = temp.path();
    server.catch_up(project);
    let (_, report) = server.json(project, &["extract"]);
    let statuses: Vec<&Value> = report["tables"].as_array().unwrap().iter().map(|table| &table["status"]).collect();
    assert_eq!(statuses, ["unchanged", "unchanged"], "nothing has changed: {report}");
    for round in 0..3_u64 {
        for id in 0..20 {
            server.write(round * 150 + id * 7, &format!("round {round}"));
        }
        (server.sql)(&format!(
            "UPDATE orders SET id = id + 100000 WHERE id = {round}; DELETE FROM orders WHERE id BETWEEN 40 AND {}",
            41 + round
        ));
        // Another table is none of its business.
        (server.sql)(&format!("ALTER TABLE filler ADD COLUMN c{round} INT"));
        server.catch_up(project);
    }
    let mut dice = Dice::new(20_261_127);
    // `make test-long` wants more of them.
    let kills = std::env::var("MONTAUK_FOLLOW_KILLS").map_or(8, |kills| kills.parse().unwrap());
    for kill in 0..kills {
        server.write(dice.below(500), &format!("kill {kill}"));
        for verb in ["extract", "copy"] {
            let mut child =
                server.command(project, &[verb]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_millis(dice.below(700)));
            server.write(dice.below(500), &format!("during {kill}"));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    server.catch_up(project);
    eprintln!("{}: {} kills, and the tables are those of the server", server.kind, kills * 2);
    refusals(server, project);
}

/// What is not silently green: a deletion that a cursor cannot see, new columns, a log that is gone.
fn refusals(server: &Server, project: &Path) {
    (server.sql)("ALTER TABLE orders ADD COLUMN channel VARCHAR(9)");
    server.write_channel();
    let (code, report) = server.json(project, &["extract", "shop.orders"]);
    assert!(code == 0 && !report["tables"][0]["read_anew"].is_null(), "{report}");
    let (code, refused) = server.json(project, &["copy", "raw.orders"]);
    assert_eq!((code, &refused["error"]["code"]), (6, &"columns_changed".into()), "{refused}");
    run(&mut server.command(project, &["copy", "raw.orders", "--option", "new_columns = add"]));
    assert_eq!(csv(project, "select channel from raw.orders where id = 9999"), "channel\nweb\n");

    (server.sql)("DELETE FROM customers WHERE id = 5");
    run(&mut server.command(project, &["extract", "shop.customers"]));
    let (code, refused) = server.json(project, &["copy", "raw.customers"]);
    assert_eq!((code, &refused["error"]["code"]), (6, &"not_proven".into()), "{refused}");
    run(&mut server.command(project, &["extract", "shop.customers", "--anew"]));
    run(&mut server.command(project, &["copy"]));
    assert_eq!(csv(project, "select count(*) as n from raw.customers where id = 5"), "n\n0\n");

    server.lose_log();
    server.write_channel();
    let (code, gone) = server.json(project, &["extract", "shop.orders"]);
    assert_eq!(&gone["error"]["code"], "log_gone", "{gone}");
    assert!(
        code != 0 && gone["error"]["help"].as_str().is_some_and(|help| help.contains("shop.orders --anew")),
        "{gone}"
    );
    run(&mut server.command(project, &["extract", "shop.orders", "--anew"]));
    let report = run(&mut server.command(project, &["copy", "raw.orders", "--option", "new_columns = add"]));
    assert!(!report["tables"][0]["proof"].is_null(), "{report}");
}

impl Server {
    fn write_channel(&self) {
        (self.sql)(
            "DELETE FROM orders WHERE id = 9999; INSERT INTO orders (id, amount, note, channel) VALUES (9999, 1, 'x', 'web')",
        );
    }

    fn lose_log(&self) {
        (self.sql)(match self.kind {
            "mariadb" => "FLUSH BINARY LOGS; RESET MASTER",
            _ => "SELECT pg_drop_replication_slot('montauk_shop')",
        });
    }
}

#[test]
fn tables_follow_mariadb() {
    follow(&mariadb());
}

#[test]
fn tables_follow_postgresql() {
    follow(&postgres());
}
