//! The servers start, answer, and leave nothing behind.
//!
//! In: nothing.  Out: verdicts.  Never here: what is done with the servers.  Start at any test.

use testbed::{MariaDb, Moto, Postgres};

#[test]
fn mariadb_answers_and_leaves_nothing() {
    let server = MariaDb::start();
    server.create_database("shop");
    assert_eq!(
        server.sql("shop", "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2); SELECT sum(a) FROM t;"),
        "3\n"
    );
    let directory = server.directory().to_path_buf();
    drop(server);
    assert!(!directory.exists());
}

#[test]
fn postgres_answers_and_leaves_nothing() {
    let server = Postgres::start();
    server.create_database("shop");
    assert_eq!(
        server.sql("shop", "create table t (a int); insert into t values (1), (2); select sum(a) from t;"),
        "3\n"
    );
    let directory = server.directory().to_path_buf();
    drop(server);
    assert!(!directory.exists());
}

#[test]
fn moto_makes_buckets() {
    let server = Moto::start();
    server.create_bucket("bucket");
    assert!(server.endpoint().starts_with("http://127.0.0.1:"));
}

/// Runs only as the child of the test below: starts a server, says where, and waits to be killed.
#[test]
fn child_that_is_killed() {
    let Ok(note) = std::env::var("TESTBED_CHILD") else { return };
    let server = MariaDb::start();
    std::fs::write(note, server.directory().to_str().unwrap()).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(600));
}

#[test]
fn a_killed_test_leaves_no_server() {
    let note = tempfile::NamedTempFile::new().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed"])
        .env("TESTBED_CHILD", note.path())
        .spawn()
        .unwrap();
    let mut directory = String::new();
    for _ in 0..1200 {
        directory = std::fs::read_to_string(note.path()).unwrap();
        if !directory.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(std::path::Path::new(&directory).exists(), "{directory}");
    child.kill().unwrap();
    child.wait().unwrap();
    let is_gone = (0..300).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        !std::path::Path::new(&directory).exists()
    });
    assert!(is_gone, "{directory} is still there");
}
