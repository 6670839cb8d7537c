//! The same example from a real database: 541,909 rows in MariaDB, then in PostgreSQL, `extract → … → publish` from it and
//! back into another schema of the same server. The marts are those of the file-based run, and what the server ends up with
//! is the mart.

use std::fs;
use std::path::{Path, PathBuf};

use testbed::{MariaDb, Postgres};

use crate::support::{csv, demo, example, montauk, run};

/// The marts, and what orders their rows.
const MARTS: [&str; 5] = [
    "select * from marts.interactions order by user_id, item_id, basket_id",
    "select * from marts.items order by item_id",
    "select * from marts.customers order by user_id",
    "select * from marts.monthly_sales order by month, country",
    "select * from marts.recommendations order by user_id, rank",
];

/// Where the example's rows lie in a server, and where its recommendations go.
struct Place<'a> {
    kind: &'a str,
    url: String,
    lines: &'a str,
    recommendations: &'a str,
}

#[test]
fn the_line_from_mariadb_and_back_equals_the_line_from_files() {
    let server = MariaDb::shared();
    server.create_database("retail_in");
    server.create_database("retail_out");
    load_mariadb(server);
    let place = Place {
        kind: "mariadb",
        url: server.url("retail_in"),
        lines: "retail_in.invoice_lines",
        recommendations: "retail_out.recommendations",
    };
    let target = || {
        server
            .sql("retail_out", "select user_id, `rank`, item_id from recommendations order by user_id, `rank`")
            .replace('\t', ",")
    };
    walk(&place, target);
}

#[test]
fn the_line_from_postgresql_and_back_equals_the_line_from_files() {
    let server = Postgres::shared();
    server.create_database("retail");
    load_postgres(server);
    let place = Place {
        kind: "postgres",
        url: server.url("retail"),
        lines: "public.invoice_lines",
        recommendations: "retail_out.recommendations",
    };
    let target = || {
        let sql = "select user_id, rank, item_id from retail_out.recommendations order by user_id collate \"C\", rank";
        server.sql("retail", sql).replace('|', ",")
    };
    walk(&place, target);
}

/// The whole line; `target` reads what the server holds in the end, in the form that `query --format csv` has without its head.
fn walk(place: &Place<'_>, target: impl Fn() -> String) {
    let temp = tempfile::tempdir().unwrap();
    let files = demo();
    let project = temp.path().join("database");
    example(&project, &["data"]);
    let source = format!(
        "kind = \"{}\"\nurl = \"${{RETAIL_DB_URL}}\"\n\n[tables.lines]\ntable = \"{}\"\n",
        place.kind, place.lines
    );
    fs::write(project.join("sources/retail.toml"), source).unwrap();
    let sync = format!(
        "from = \"marts.recommendations\"\nkind = \"{}\"\nurl = \"${{RETAIL_DB_URL}}\"\n\
         table = \"{}\"\nkey = [\"user_id\", \"rank\"]\nmode = \"mirror\"\nmax_change = 1.0\n",
        place.kind, place.recommendations
    );
    fs::write(project.join("publish/recommendations.toml"), sync).unwrap();
    let verb =
        |verb: &str| run(montauk().env("RETAIL_DB_URL", &place.url).arg("-C").arg(&project).arg("--json").arg(verb));
    for step in ["extract", "copy", "build", "train", "evaluate", "recommend"] {
        verb(step);
    }
    for mart in MARTS {
        assert_eq!(csv(&project, mart), csv(files, mart), "{mart}");
    }

    let published = verb("publish");
    let wanted = published["syncs"][0]["wanted"].as_u64().unwrap();
    assert_eq!(published["syncs"][0]["inserted"].as_u64(), Some(wanted));
    let mart = csv(&project, "select user_id, rank, item_id from marts.recommendations order by 1, 2");
    assert_eq!(target(), mart.split_once('\n').unwrap().1);
    let again = verb("publish");
    assert_eq!(again["syncs"][0]["unchanged"].as_u64(), Some(wanted), "{again}");
    assert_eq!(again["feed"]["changed"], false);
}

/// Every row of the monthly files, through the server's own loader.
fn load_mariadb(server: &MariaDb) {
    server.sql(
        "retail_in",
        "create table invoice_lines (id int unsigned not null auto_increment primary key, InvoiceNo varchar(20), \
         StockCode varchar(20), Description varchar(100), Quantity int, InvoiceDate datetime, UnitPrice decimal(12,3), \
         CustomerID varchar(20), Country varchar(40)) character set utf8mb4",
    );
    for month in months() {
        let text = unpack(&month, server.directory());
        server.sql(
            "retail_in",
            &format!(
                "load data infile '{}' into table invoice_lines character set utf8mb4 fields terminated by ',' \
                 optionally enclosed by '\"' escaped by '' lines terminated by '\\n' ignore 1 lines \
                 (InvoiceNo, StockCode, @description, Quantity, InvoiceDate, UnitPrice, @customer, Country) \
                 set Description = nullif(@description, ''), CustomerID = nullif(@customer, '')",
                text.display()
            ),
        );
    }
    assert_eq!(server.sql("retail_in", "select count(*) from invoice_lines").trim(), "541909");
}

fn load_postgres(server: &Postgres) {
    server.sql(
        "retail",
        "create schema retail_out; create table invoice_lines (id int generated always as identity primary key, \
         \"InvoiceNo\" text, \"StockCode\" text, \"Description\" text, \"Quantity\" int, \"InvoiceDate\" timestamp, \
         \"UnitPrice\" numeric(12,3), \"CustomerID\" text, \"Country\" text)",
    );
    for month in months() {
        let text = unpack(&month, server.directory());
        server.sql(
            "retail",
            &format!(
                "copy invoice_lines (\"InvoiceNo\", \"StockCode\", \"Description\", \"Quantity\", \"InvoiceDate\", \
                 \"UnitPrice\", \"CustomerID\", \"Country\") from '{}' (format csv, header)",
                text.display()
            ),
        );
    }
    assert_eq!(server.sql("retail", "select count(*) from invoice_lines").trim(), "541909");
}

/// The example's monthly files, oldest first.
fn months() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/retail/data");
    let mut months: Vec<_> = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).collect();
    months.sort();
    months
}

fn unpack(month: &Path, directory: &Path) -> PathBuf {
    let text = directory.join("month.csv");
    let mut reader = flate2::read::GzDecoder::new(fs::File::open(month).unwrap());
    std::io::copy(&mut reader, &mut fs::File::create(&text).unwrap()).unwrap();
    text
}
