//! What killed runs left goes once a day; what a manifest or a table names stays.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::support::{csv, montauk, run};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn files_that_nobody_names_go_after_a_day_and_all_others_stay() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    for folder in ["sources", "data"] {
        fs::create_dir(dir.join(folder)).unwrap();
    }
    fs::write(dir.join("montauk.toml"), "[project]\nname = \"shop\"\n").unwrap();
    fs::write(dir.join("sources/shop.toml"), "kind = \"file\"\n\n[tables.lines]\npath = \"data/*.csv\"\n").unwrap();
    fs::write(dir.join("data/1.csv"), "id,name\n1,lamp\n2,rug\n").unwrap();
    let verb = |verb: &str| run(montauk().arg("-C").arg(dir).arg("--json").arg(verb));
    verb("extract");
    verb("copy");

    let files = dir.join(".montauk/stage/shop/lines/files");
    let (orphan, aside) = (files.join("0123456789abcdef-2.csv"), files.join("extract#1"));
    let named: Vec<_> = fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in [&orphan, &aside] {
        fs::write(path, "half a file").unwrap();
    }
    for path in named.iter().chain([&orphan, &aside]) {
        fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - 3 * DAY).unwrap();
    }
    verb("copy");
    assert!(orphan.exists() && aside.exists(), "swept before a day was over");

    // As if the last sweep had been three days ago.
    fs::write(dir.join(".montauk/swept"), "2026-01-01T00:00:00+00:00").unwrap();
    verb("copy");
    assert!(!orphan.exists() && !aside.exists(), "what nobody names is still there");
    assert!(!named.is_empty() && named.iter().all(|path| path.exists()), "{named:?}");
    assert_eq!(csv(dir, "select count(*) from raw.shop_lines").lines().nth(1), Some("2"));
}
