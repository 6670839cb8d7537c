//! The same example from a real database: 541,909 rows in MariaDB, `extract → … → publish` from it and back into another
//! schema of the same server. The marts are those of the file-based run, and what the server ends up with is the mart.

use std::fs;
use std::path::Path;

use testbed::MariaDb;

use crate::support::{csv, demo, example, montauk, run};

/// The marts, and what orders their rows.
const MARTS: [&str; 5] = [
    "select * from marts.interactions order by user_id, item_id, basket_id",
    "select * from marts.items order by item_id",
    "select * from marts.customers order by user_id",
    "select * from marts.monthly_sales order by month, country",
    "select * from marts.recommendations order by user_id, rank",
];

const CREATE: &str = "create table invoice_lines (id int unsigned not null auto_increment primary key, InvoiceNo varchar(20), \
     StockCode varchar(20), Description varchar(100), Quantity int, InvoiceDate datetime, UnitPrice decimal(12,3), \
     CustomerID varchar(20), Country varchar(40)) character set utf8mb4";

#[test]
fn the_line_from_mariadb_and_back_equals_the_line_from_files() {
    let temp = tempfile::tempdir().unwrap();
    let files = demo();

    let server = MariaDb::shared();
    server.create_database("retail_in");
    server.create_database("retail_out");
    load(server);

    let database = temp.path().join("database");
    example(&database, &["data"]);
    fs::write(
        database.join("sources/retail.toml"),
        "kind = \"mariadb\"\nurl = \"${RETAIL_DB_URL}\"\n\n[tables.lines]\ntable = \"retail_in.invoice_lines\"\n",
    )
    .unwrap();
    fs::write(
        database.join("publish/recommendations.toml"),
        "from = \"marts.recommendations\"\nkind = \"mariadb\"\nurl = \"${RETAIL_DB_URL}\"\n\
         table = \"retail_out.recommendations\"\nkey = [\"user_id\", \"rank\"]\nmode = \"mirror\"\nmax_change = 1.0\n",
    )
    .unwrap();
    let url = server.url("retail_in");
    let verb = |verb: &str| run(montauk().env("RETAIL_DB_URL", &url).arg("-C").arg(&database).arg("--json").arg(verb));
    for step in ["extract", "copy", "build", "train", "evaluate", "recommend"] {
        verb(step);
    }
    for mart in MARTS {
        assert_eq!(csv(&database, mart), csv(files, mart), "{mart}");
    }

    let published = verb("publish");
    let wanted = published["syncs"][0]["wanted"].as_u64().unwrap();
    assert_eq!(published["syncs"][0]["inserted"].as_u64(), Some(wanted));
    assert_eq!(
        target(server),
        csv(&database, "select user_id, rank, item_id from marts.recommendations order by 1, 2")
    );
    let again = verb("publish");
    assert_eq!(again["syncs"][0]["unchanged"].as_u64(), Some(wanted), "{again}");
    assert_eq!(again["feed"]["changed"], false);
}

/// Every row of the monthly files, through the server's own loader.
fn load(server: &MariaDb) {
    server.sql("retail_in", CREATE);
    let mut months: Vec<_> = fs::read_dir(example_data()).unwrap().map(|entry| entry.unwrap().path()).collect();
    months.sort();
    for month in months {
        let text = server.directory().join("month.csv");
        let mut reader = flate2::read::GzDecoder::new(fs::File::open(&month).unwrap());
        std::io::copy(&mut reader, &mut fs::File::create(&text).unwrap()).unwrap();
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

fn example_data() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/retail/data")
}

/// What the server holds, in the form that `query --format csv` has.
fn target(server: &MariaDb) -> String {
    let rows =
        server.sql("retail_out", "select user_id, `rank`, item_id from recommendations order by user_id, `rank`");
    rows.lines().fold(String::from("user_id,rank,item_id\n"), |text, row| text + &row.replace('\t', ",") + "\n")
}
