//! The stage in a bucket: numbers, staging, errors.
//!
//! In: a real S3 server; it is reached through the environment, so that every test runs as a child process of its own.
//! Out: verdicts.  Never here: the stage on a file system (`stage`).  Start at [`in_child`].

use connect::sources::airbyte::StreamMode;
use connect::sources::file::FileSource;
use connect::sources::mysql::MySqlSource;
use connect::{ExtractRequest, Source, Stage, SweepReport, open_store};
use domain::NoProgress;
use object_store::{ObjectStoreExt, PutMode};
use testbed::{MariaDb, Moto};

use crate::airbyte::play::{Play, state, table, user};
use crate::support::{code_of, install_tls, read_parquet, request, stage_in};

/// Set in child processes only: run by hand, the children do nothing.
const CHILD: &str = "MONTAUK_S3_CHILD";

/// Runs a test of this binary in a process that has the server's variables, with `changed` ones instead.
fn in_child(test: &str, changed: &[(&str, &str)]) {
    let server = Moto::shared();
    server.create_bucket("shop-bucket");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &format!("s3::{test}"), "--nocapture"]).envs(server.environment());
    child.envs(changed.iter().copied()).env(CHILD, "yes");
    // An empty value takes the variable away.
    for (name, _) in changed.iter().filter(|(_, value)| value.is_empty()) {
        child.env_remove(name);
    }
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn stage(prefix: &str) -> Stage {
    install_tls();
    Stage::new(open_store(&format!("s3://shop-bucket/{prefix}"), std::path::Path::new(".")).unwrap())
}

#[test]
fn files_are_staged_in_a_bucket() {
    in_child("child_stages_files", &[]);
}

#[tokio::test]
async fn child_stages_files() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let stage = stage("some/prefix");
    stage.store().probe().await.unwrap();
    let root = tempfile::tempdir().unwrap();
    // Larger than one part, so that a multi-part upload is used.
    let big: Vec<u8> = (0..20_000_000_u32).flat_map(|n| [b'0' + u8::try_from(n % 10).unwrap()]).collect();
    std::fs::write(root.path().join("big.csv"), &big).unwrap();
    std::fs::write(root.path().join("small.csv"), "a\n1\n").unwrap();
    let source = FileSource { project_dir: root.path().to_path_buf() };
    let first = source.extract(&request("lines", "*.csv"), &stage, &NoProgress).await.unwrap();
    let again = source.extract(&request("lines", "*.csv"), &stage, &NoProgress).await.unwrap();
    assert!(!first.unchanged && again.unchanged);
    assert_eq!(stage.latest("shop", "lines").await.unwrap().as_ref(), Some(&first.manifest));
    let path = object_store::path::Path::from(first.manifest.files[0].path.as_str());
    assert_eq!(stage.store().object_store.get(&path).await.unwrap().bytes().await.unwrap(), big);

    let orphan = stage.file_path("shop", "lines", &"1".repeat(64), "orphan.csv");
    stage.store().object_store.put(&orphan, "xyz".into()).await.unwrap();
    let later = chrono::Utc::now() + chrono::TimeDelta::hours(25);
    assert_eq!(stage.sweep(later).await.unwrap(), SweepReport { files: 1, bytes: 3 });
}

#[test]
fn what_a_state_covers_is_staged_in_a_bucket() {
    in_child("child_stages_a_stream", &[]);
}

#[tokio::test]
async fn child_stages_a_stream() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let stage = stage("streams");
    let play = Play::new();
    // Rows of 300 kB, so that the state stands in the middle of what is on the disk already.
    let row = |id: u32| user(&format!(r#"{{"id":{id},"name":"{}"}}"#, "x".repeat(300_000)));
    let before: Vec<String> = (1..=5).map(row).collect();
    let after: Vec<String> = (6..=12).map(row).collect();
    let covered = state(r#"{"at":5}"#, "5");
    std::fs::write(play.path("rows"), [before.join("\n"), covered, after.join("\n")].join("\n") + "\n").unwrap();
    play.reads(&["#print rows", "#exit 1"]);
    let source = play.source(&[table("users", StreamMode::Changes)]);
    let failed = source.extract(&request("users", "users"), &stage, &NoProgress).await;
    assert_eq!(code_of(failed, ""), "connector_failed");
    let file = stage.latest("shop", "users").await.unwrap().unwrap().files.remove(0);
    let path = object_store::path::Path::from(file.path.as_str());
    let bytes = stage.store().object_store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!((domain::hash_bytes(&bytes), file.rows), (file.sha256, Some(5)));
    assert_eq!(zstd::decode_all(&bytes[..]).unwrap().iter().filter(|byte| **byte == b'\n').count(), 5);
}

#[test]
fn numbers_are_given_once() {
    in_child("child_publishes_at_once", &[]);
}

#[tokio::test]
async fn child_publishes_at_once() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let stage = stage("numbers");
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.csv"), "a\n1\n").unwrap();
    let source = FileSource { project_dir: root.path().to_path_buf() };
    let manifest = source.extract(&request("lines", "*.csv"), &stage, &NoProgress).await.unwrap().manifest;
    let publishers = (0..6).map(|run| {
        let (stage, mut manifest) = (stage.clone(), manifest.clone());
        manifest.provenance.run_id = format!("run {run}");
        tokio::spawn(async move { stage.publish(manifest).await.unwrap().number })
    });
    let mut numbers: Vec<u64> = futures::future::join_all(publishers).await.into_iter().map(Result::unwrap).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
    let path = object_store::path::Path::from("once.json");
    let create = || stage.store().object_store.put_opts(&path, "x".into(), PutMode::Create.into());
    create().await.unwrap();
    assert!(matches!(create().await, Err(object_store::Error::AlreadyExists { .. })));
}

#[test]
fn a_database_is_staged_in_a_bucket() {
    let server = MariaDb::shared();
    server.create_database("to_s3");
    server.sql("to_s3", "CREATE TABLE t (a INT PRIMARY KEY, b TEXT); INSERT INTO t SELECT seq, REPEAT(MD5(seq), 20) FROM seq_1_to_40000;");
    in_child("child_stages_a_table", &[("CHILD_URL", &server.url("to_s3"))]);
}

#[tokio::test]
async fn child_stages_a_table() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let stage = stage("tables");
    let source = MySqlSource::new(&std::env::var("CHILD_URL").unwrap()).unwrap();
    let first = source.extract(&request("t", "t"), &stage, &NoProgress).await.unwrap();
    let again = source.extract(&request("t", "t"), &stage, &NoProgress).await.unwrap();
    assert!(!first.unchanged && again.unchanged);
    let rows: usize =
        read_parquet(&stage, &first.manifest.files[0]).await.iter().map(arrow::array::RecordBatch::num_rows).sum();
    assert_eq!(rows, 40_000);
}

#[test]
fn objects_of_a_bucket_are_a_source() {
    in_child("child_reads_objects", &[]);
}

#[tokio::test]
async fn child_reads_objects() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let landing = stage("landing zone");
    let put = async |name: &str, content: &str| {
        let path = object_store::path::Path::from(name);
        landing.store().object_store.put(&path, content.to_owned().into()).await.unwrap();
    };
    for (name, content) in
        [("2026-01/a.csv", "id\n1\n"), ("2026-02/b.csv", "id\n2\n"), ("2026-02/c.txt.bak", "x"), ("d.csv", "id\n4\n")]
    {
        put(name, content).await;
    }
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let source = FileSource { project_dir: root.path().to_path_buf() };
    let wanted = request("lines", "s3://shop-bucket/landing%20zone/2026-*/*.csv");
    let names = |outcome: &connect::ExtractOutcome| {
        outcome.manifest.files.iter().map(|file| file.name.clone()).collect::<Vec<_>>()
    };
    let first = source.extract(&wanted, &stage, &NoProgress).await.unwrap();
    assert_eq!(names(&first), ["2026-01/a.csv", "2026-02/b.csv"]);
    assert!(first.manifest.files.iter().all(|file| file.etag.is_some()));
    assert!(source.extract(&wanted, &stage, &NoProgress).await.unwrap().unchanged);
    put("2026-02/b.csv", "id\n22\n").await;
    put("2026-03/e.csv", "id\n5\n").await;
    let changed = source.extract(&wanted, &stage, &NoProgress).await.unwrap();
    assert_eq!(names(&changed), ["2026-01/a.csv", "2026-02/b.csv", "2026-03/e.csv"]);
    let is_same = |at: usize| changed.manifest.files[at].sha256 == first.manifest.files[at].sha256;
    assert_eq!((is_same(0), is_same(1)), (true, false));
    // Loaded and removed from the stage: it is not fetched again, unless somebody wants everything anew.
    let path = object_store::path::Path::from(changed.manifest.files[0].path.as_str());
    stage.store().object_store.delete(&path).await.unwrap();
    let purged = ExtractRequest { is_purged: true, ..wanted.clone() };
    assert!(source.extract(&purged, &stage, &NoProgress).await.unwrap().unchanged);
    assert!(stage.store().object_store.head(&path).await.is_err());
    source.extract(&ExtractRequest { anew: true, ..purged }, &stage, &NoProgress).await.unwrap();
    assert!(stage.store().object_store.head(&path).await.is_ok());
    put("2026-04/empty.csv", "").await;
    let empty = source.extract(&wanted, &stage, &NoProgress).await.unwrap_err();
    assert!(empty.to_string().contains("s3://shop-bucket/landing%20zone/2026-04/empty.csv"), "{empty}");
    let none = source.extract(&request("lines", "s3://shop-bucket/nothing/*.csv"), &stage, &NoProgress).await;
    assert_eq!(code_of(none, ""), "no_files");
}

#[test]
fn a_missing_bucket_and_a_dead_endpoint_are_named() {
    in_child("child_meets_a_missing_bucket", &[]);
    in_child("child_meets_a_dead_endpoint", &[("AWS_ENDPOINT", "http://127.0.0.1:1")]);
}

#[tokio::test]
async fn child_meets_a_missing_bucket() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    install_tls();
    let stage = Stage::new(open_store("s3://no-such-bucket/x", std::path::Path::new(".")).unwrap());
    assert_eq!(code_of(stage.store().probe().await, "testing"), "no_such_bucket");
    assert_eq!(code_of(stage.latest("a", "b").await, "testing"), "no_such_bucket");
}

#[tokio::test]
async fn child_meets_a_dead_endpoint() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let began = std::time::Instant::now();
    assert_eq!(code_of(stage("x").store().probe().await, "testing"), "store_unreachable");
    assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn missing_credentials_are_named() {
    // The second place to look for keys is the cloud's metadata address, which must be dead wherever the test runs.
    let nowhere = ("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1");
    in_child("child_is_refused", &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), nowhere]);
}

#[test]
fn refused_credentials_are_named() {
    // The test server takes any key, so a server of one answer stands in for S3 here.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>";
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 65536]);
            let answer =
                format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    in_child("child_is_refused", &[("AWS_ENDPOINT", &endpoint)]);
}

#[tokio::test]
async fn child_is_refused() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    assert_eq!(code_of(stage("x").store().probe().await, "testing"), "store_refused");
}
