//! The proof through the real binary: what MariaDB and PostgreSQL say of their columns is what the loaded table adds up to, for every
//! type; and a load that is not what the source holds becomes visible to nobody.

use std::fs;
use std::path::Path;

use serde_json::Value;
use testbed::{MariaDb, Postgres};

use crate::support::{csv, montauk, run};

/// Numbers of every size, and all that a type of MariaDB can do to a text form.
const MARIADB_NUMBERS: &str = "
CREATE TABLE numbers (id INT PRIMARY KEY, d DOUBLE, f FLOAT, f2 FLOAT(9,3), d2 DOUBLE(15,4), z INT(6) ZEROFILL, dz DECIMAL(9,3) ZEROFILL,
  y YEAR, t TIME(3), dt DATE, en ENUM('x','y'), u BIGINT UNSIGNED, b BIT(33), l1 VARCHAR(20) CHARACTER SET latin1, bi BINARY(4));
INSERT INTO numbers SELECT seq, (RAND(seq) - 0.5) * POW(10, FLOOR(RAND(seq + 1) * 600) - 300), (RAND(seq) - 0.5) * POW(10, FLOOR(RAND(seq + 2) * 70) - 35),
  (RAND(seq) - 0.5) * 1e5, (RAND(seq) - 0.5) * 1e9, seq, seq / 1000, IF(seq % 100, 1901 + seq % 255, 0),
  SEC_TO_TIME((RAND(seq) - 0.5) * 6e6), FROM_DAYS(366 + seq % 3000000), IF(seq % 2, 'x', 'y'), 18446744073709551615 - seq, seq * 99999, 'Ærø', 'ab'
FROM seq_1_to_40000;
INSERT INTO numbers (id, d) SELECT 100000 + seq, seq * POW(10, CAST(seq % 40 AS SIGNED) - 20) FROM seq_1_to_4000;
";

/// Doubles of random bits, all powers of two and their neighbours, which a server's logarithm may put on either side.
fn doubles() -> String {
    let mut bits: u64 = 20_261_127;
    let random = (0..60_000).map(move |_| {
        // A linear congruential generator: D. Knuth's MMIX constants.
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from_bits(bits.rotate_left(17))
    });
    let powers = (-1074..1024).map(|exponent| 2.0_f64.powi(exponent)).flat_map(|power| [power, -power.next_down()]);
    let numbers = random.chain(powers).filter(|number| number.is_finite());
    let rows: Vec<String> = numbers.enumerate().map(|(id, number)| format!("({id}, {number:e})")).collect();
    let inserts = rows.chunks(5_000).map(|chunk| format!("INSERT INTO doubles VALUES {};\n", chunk.join(", ")));
    inserts.fold("CREATE TABLE doubles (id INT PRIMARY KEY, d DOUBLE);\n".to_owned(), |sql, insert| sql + &insert)
}

const POSTGRES_TRAPS: &str = r#"
CREATE TYPE mood AS ENUM ('calm', 'very happy'); CREATE DOMAIN amount AS numeric(10,2); CREATE TYPE pair AS (a int, b text);
CREATE TABLE traps (k int PRIMARY KEY, i2 smallint, i8 bigint, n numeric, n12 numeric(12,4), n76 numeric(76,30), am amount, b boolean, t text, vc varchar(9),
  c char(5), by bytea, d date, ts timestamp, tz timestamptz, ti time, u uuid, j json, jb jsonb, f4 real, f8 double precision, arr int[], m mood,
  iv interval, ip inet, mo money, p pair, o oid, r int4range, "a ""quoted"" name" int, "가격" int);
INSERT INTO traps VALUES
(1, -32768, 9223372036854775807, 'NaN', 'NaN', 0.000000000000000000000000000001, 0.10, true, E'김치 🥬\r\n\\N', 'NULL', 'ab', '\x00ff', '0001-01-01 BC', '9999-12-31 23:59:59.999999',
 '2024-03-10 07:30:00.000001+09', '24:00:00', '01234567-89ab-cdef-0123-456789abcdef', '{"n":1.10}', '{"big":98765432109876543210}', 0.1, 5e-324, '{1,NULL,-3}', 'very happy',
 '1 year 2 mons -3 days 04:05:06.7', '10.0.0.1/8', 1234.5, '(7,"x y")', 4294967295, '[1,5)', 1, 2),
(2, 0, 0, 0.00, -0.0001, 0, 0, false, '', '', '', '', 'infinity', '-infinity', 'infinity', '00:00:00', '00000000-0000-0000-0000-000000000000', 'null', 'null',
 '-Infinity', 'NaN', '{}', 'calm', '0', '::1', 0, '(,)', 0, 'empty', 0, 0),
(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, -0.0, '-0', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE numbers (k int PRIMARY KEY, f4 real, f8 double precision, n numeric(20,7), ts timestamp);
INSERT INTO numbers SELECT n, (random() - 0.5) * power(10.0, floor(random() * 60) - 30), (random() - 0.5) * power(10.0, floor(random() * 600) - 300),
  (random() - 0.5) * 1e12, timestamp '0001-01-01' + random() * interval '9000 years' FROM generate_series(1, 30000) n;
"#;

/// A project over the tables of one database.
fn project(dir: &Path, kind: &str, tables: &[&str]) {
    fs::create_dir_all(dir.join("sources")).unwrap();
    fs::write(dir.join("montauk.toml"), "[project]\nname = \"proof\"\n").unwrap();
    let tables: String = tables.iter().map(|table| format!("\n[tables.{table}]\ninto = \"raw.{table}\"\n")).collect();
    fs::write(dir.join("sources/shop.toml"), format!("kind = \"{kind}\"\nurl = \"${{SHOP_DB_URL}}\"\n{tables}"))
        .unwrap();
}

fn verb(dir: &Path, url: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = montauk();
    command.env("SHOP_DB_URL", url).arg("-C").arg(dir).arg("--json").args(arguments);
    command
}

/// Rows and columns that were proven, per table.
fn proven(report: &Value, at: &str) -> Vec<(u64, u64, Value)> {
    let of = |table: &Value| {
        let proof = &table[at];
        (proof["rows"].as_u64().unwrap(), proof["columns"].as_u64().unwrap(), proof["not_compared"].clone())
    };
    report["tables"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn every_type_of_mariadb_adds_up_to_what_was_loaded() {
    let server = MariaDb::shared();
    server.create_database("proof");
    server.sql("proof", include_str!("../../../connect/tests/fixtures/traps.sql"));
    server.sql("proof", MARIADB_NUMBERS);
    server.sql("proof", &doubles());
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir, "mysql", &["doubles", "empty_t", "numbers", "traps", "traps_extra"]);
    let url = server.url("proof");
    let staged = run(&mut verb(dir, &url, &["extract"]));
    assert!(staged["tables"].as_array().unwrap().iter().all(|table| table["status"] == "staged"), "{staged}");
    let loaded = run(&mut verb(dir, &url, &["copy"]));
    let doubles: u64 = server.sql("proof", "SELECT COUNT(*) FROM doubles").trim().parse().unwrap();
    assert!(doubles > 60_000);
    let all = [
        (doubles, 2, Value::Null),
        (0, 29, Value::Null),
        (44_000, 15, Value::Null),
        (4, 29, Value::Null),
        (3, 12, Value::Null),
    ];
    assert_eq!(proven(&loaded, "proof"), all, "{loaded}");
    let verified = run(&mut verb(dir, &url, &["extract", "--verify"]));
    assert_eq!(proven(&verified, "verified"), all, "{verified}");

    // One cell of the source changes by one in its last place.
    server.sql("proof", "UPDATE numbers SET d2 = d2 + 0.0001 WHERE id = 777");
    let differs = verb(dir, &url, &["extract", "--verify", "shop.numbers"]).output().unwrap();
    let error: Value = serde_json::from_slice(&differs.stdout).unwrap();
    assert_eq!(error["error"]["code"], "not_proven", "{error}");
    assert!(error.to_string().contains("`d2`"), "{error}");
    assert_eq!(differs.status.code(), Some(6));
}

#[test]
fn every_type_of_postgresql_adds_up_to_what_was_loaded() {
    let server = Postgres::shared();
    server.create_database("proof");
    server.sql("proof", POSTGRES_TRAPS);
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir, "postgres", &["numbers", "traps"]);
    let url = server.url("proof");
    run(&mut verb(dir, &url, &["extract"]));
    let loaded = run(&mut verb(dir, &url, &["copy"]));
    let all = [(30_000, 5, Value::Null), (3, 31, Value::Null)];
    assert_eq!(proven(&loaded, "proof"), all, "{loaded}");
    assert_eq!(proven(&run(&mut verb(dir, &url, &["extract", "--verify"])), "verified"), all);
    server.sql("proof", "UPDATE traps SET tz = tz + interval '1 us' WHERE k = 1");
    let differs = verb(dir, &url, &["extract", "--verify", "shop.traps"]).output().unwrap();
    let error: Value = serde_json::from_slice(&differs.stdout).unwrap();
    assert!(error.to_string().contains("`tz`"), "{error}");
}

#[test]
fn a_load_that_is_not_the_source_is_not_made() {
    let server = MariaDb::shared();
    server.create_database("unproven");
    server.sql(
        "unproven",
        "CREATE TABLE t (k INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO t VALUES (1,'a'),(2,NULL),(3,'c');",
    );
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir, "mariadb", &["t"]);
    let url = server.url("unproven");
    run(&mut verb(dir, &url, &["extract"]));
    run(&mut verb(dir, &url, &["copy"]));
    server.sql("unproven", "UPDATE t SET v = 'd' WHERE k = 3");
    run(&mut verb(dir, &url, &["extract"]));
    // What a fault between source and stage would look like: the source says otherwise than the file holds.
    let manifest = dir.join(".montauk/stage/shop/t/00000000000000000002.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut staged: Value = serde_json::from_str(&text).unwrap();
    let sum = staged["proof"]["columns"][1]["sum"].as_u64().unwrap();
    staged["proof"]["columns"][1]["sum"] = (sum + 1).into();
    fs::write(&manifest, staged.to_string()).unwrap();
    let refused = verb(dir, &url, &["copy"]).output().unwrap();
    let error: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((error["error"]["code"].as_str(), refused.status.code()), (Some("not_proven"), Some(6)), "{error}");
    assert_eq!(csv(dir, "select k, v from raw.t order by k"), "k,v\n1,a\n2,\n3,c\n", "the earlier load stays");
    fs::write(&manifest, text).unwrap();
    run(&mut verb(dir, &url, &["copy"]));
    assert_eq!(csv(dir, "select k, v from raw.t order by k"), "k,v\n1,a\n2,\n3,d\n");
    // Without the proof nothing is compared, and the report says so by its absence.
    server.sql("unproven", "UPDATE t SET v = 'e' WHERE k = 3");
    run(&mut verb(dir, &url, &["extract", "--no-proof", "--workers", "1"]));
    let loaded = run(&mut verb(dir, &url, &["copy"]));
    assert_eq!((&loaded["tables"][0]["proof"], &loaded["tables"][0]["rows_loaded"]), (&Value::Null, &3.into()));
}
