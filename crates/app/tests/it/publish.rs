//! `publish`, killed with SIGKILL at random moments and run again, to a real MariaDB and a real PostgreSQL: in the end the
//! target is the mart, no row lost and none twice, and nothing is left to send.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use testbed::{MariaDb, Postgres};

use crate::support::{Dice, csv, montauk, run};

/// Rows of the mart: more than one transaction of `publish` takes, so that a kill can fall between two.
const ROWS: u64 = 60_000;
/// Rounds; each changes, adds and removes rows. The first is left in peace, to see how long a run takes on this machine.
const ROUNDS: u64 = 4;
/// Kills of each round, as far as `publish` still runs at its moment.
const KILLS_PER_ROUND: u64 = 3;

#[test]
fn a_killed_publish_to_mariadb_loses_and_repeats_nothing() {
    let server = MariaDb::shared();
    server.create_database("killed_publish");
    play("mariadb", &server.url("killed_publish"), "killed_publish.prices", || {
        server.sql("killed_publish", "select id, name, price from prices order by id").replace('\t', ",")
    });
}

#[test]
fn a_killed_publish_to_postgresql_loses_and_repeats_nothing() {
    let server = Postgres::shared();
    server.create_database("killed_publish");
    play("postgres", &server.url("killed_publish"), "public.prices", || {
        server.sql("killed_publish", "select id, name, price from prices order by id").replace('|', ",")
    });
}

#[test]
fn a_target_that_was_dropped_is_filled_again_and_refused_rows_are_no_success() {
    let server = MariaDb::shared();
    server.create_database("dropped");
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    set_up(dir, "mariadb", "dropped.prices");
    let url = server.url("dropped");
    let verb = |verb: &str| {
        let mut command = montauk();
        command.env("SHOP_DB_URL", &url).arg("-C").arg(dir).arg("--json").arg(verb);
        command
    };
    fs::write(dir.join("data/0.csv"), "round,id,name,price\n0,1,lamp,9.25\n0,2,a rug,5.00\n").unwrap();
    for step in ["extract", "copy", "build", "publish"] {
        run(&mut verb(step));
    }
    server.sql("dropped", "drop table prices");
    let again = run(&mut verb("publish"));
    assert_eq!((&again["syncs"][0]["inserted"], &again["syncs"][0]["unchanged"]), (&2.into(), &0.into()), "{again}");
    assert!(again["syncs"][0]["warnings"].to_string().contains("made anew"), "{again}");
    assert_eq!(server.sql("dropped", "select count(*) from prices").trim(), "2");

    // Another table is another target, with nothing in it yet.
    let sync = fs::read_to_string(dir.join("publish/prices.toml")).unwrap();
    fs::write(dir.join("publish/prices.toml"), sync.replace("dropped.prices", "dropped.other")).unwrap();
    server.sql("dropped", "create table other (id bigint primary key, name varchar(4), price decimal(12,2))");
    let refused = verb("publish").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(4), "{report}");
    assert_eq!(report["syncs"][0]["rejected"][0]["key"], "2", "{report}");
    assert_eq!(server.sql("dropped", "select id, name from other").trim(), "1\tlamp");

    // The record of what was accepted is gone: everything is sent again, and it says what that leaves behind.
    fs::remove_dir_all(dir.join(".montauk/publish")).unwrap();
    let blind = verb("publish").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&blind.stdout).unwrap();
    assert!(report["syncs"][0]["warnings"].to_string().contains("stay there"), "{report}");
}

/// `target` reads what the server holds, as lines `id,name,price`.
fn play(kind: &str, url: &str, table: &str, target: impl Fn() -> String) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    set_up(dir, kind, table);
    let verb = |verb: &str| {
        let mut command = montauk();
        command.env("SHOP_DB_URL", url).arg("-C").arg(dir).arg("--json").arg(verb);
        command
    };
    let mut dice = Dice::new(20_261_126);
    let (mut kills, mut run_time_ms) = (0, 0);
    for round in 0..ROUNDS {
        add_round(dir, round);
        for step in ["extract", "copy", "build"] {
            run(&mut verb(step));
        }
        for _ in 0..if round == 0 { 0 } else { KILLS_PER_ROUND } {
            let mut child = verb("publish").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(dice.below(run_time_ms)));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
            child.wait().unwrap();
        }
        let since = Instant::now();
        run(&mut verb("publish"));
        if round == 0 {
            run_time_ms = u64::try_from(since.elapsed().as_millis()).unwrap();
        }
        let mart = csv(dir, "select id, name, price from marts.prices order by id");
        assert!(target() == mart.split_once('\n').unwrap().1, "{kind}: the target is not the mart in round {round}");
        let again = run(&mut verb("publish"));
        let sync = &again["syncs"][0];
        assert_eq!(sync["unchanged"], sync["wanted"], "{again}");
        assert_eq!(sync["deleted"], 0, "{again}");
    }
    assert!(kills > 0, "{kind}: every run had ended before its kill, so nothing was tested");
}

fn set_up(dir: &Path, kind: &str, table: &str) {
    for folder in ["sources", "models/marts", "publish", "data"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    fs::write(dir.join("montauk.toml"), "[project]\nname = \"shop\"\n").unwrap();
    fs::write(
        dir.join("sources/shop.toml"),
        "kind = \"file\"\n\n[tables.lines]\npath = \"data/*.csv\"\n\n[tables.lines.copy]\n\
         columns = { round = \"bigint\", id = \"bigint\", name = \"text\", price = \"decimal(12,2)\" }\n",
    )
    .unwrap();
    fs::write(
        dir.join("models/marts/prices.sql"),
        "-- The prices of the newest round.\n-- materialized: table      grain: id\n-- checks: unique(id)  not_null(id, name)\n\
         select id, name, price from raw.shop_lines where round = (select max(round) from raw.shop_lines)\n",
    )
    .unwrap();
    fs::write(
        dir.join("publish/prices.toml"),
        format!(
            "from = \"marts.prices\"\nkind = \"{kind}\"\nurl = \"${{SHOP_DB_URL}}\"\ntable = \"{table}\"\n\
             key = [\"id\"]\nmode = \"mirror\"\nmax_change = 1.0\n"
        ),
    )
    .unwrap();
}

/// Another tenth of the rows is absent each round, a third has another price.
fn add_round(dir: &Path, round: u64) {
    let mut text = String::from("round,id,name,price\n");
    for id in (0..ROWS).filter(|id| id % 10 != round) {
        let price = if id % 3 == round { round } else { 9 };
        writeln!(text, "{round},{id},item {id},{price}.25").unwrap();
    }
    fs::write(dir.join(format!("data/{round}.csv")), text).unwrap();
}
