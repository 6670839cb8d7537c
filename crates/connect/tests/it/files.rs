//! Files as a source.
//!
//! In: files in a temporary directory.  Out: verdicts.  Never here: databases.  Start at the first test.

use std::io::Write;
use std::path::Path;

use connect::sources::file::FileSource;
use connect::{ConnectError, ExtractOutcome, Source};
use domain::{Compression, FileFormat, NoProgress};
use object_store::ObjectStoreExt;
use tempfile::TempDir;

use crate::support::{code_of, request, stage_in};

fn project(files: &[(&str, &[u8])]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        write(root.path(), name, bytes);
    }
    root
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

async fn extract(root: &Path, pattern: &str) -> Result<ExtractOutcome, ConnectError> {
    let source = FileSource { project_dir: root.to_path_buf() };
    source.extract(&request("lines", pattern), &stage_in(root), &NoProgress).await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bytes_are_staged_unchanged_in_the_order_of_names() {
    let zst = zstd::encode_all(&b"a,b\n3,4\n"[..], 3).unwrap();
    let gz = gzip(b"a,b\n1,2\n");
    let root = project(&[("data/2.csv.zst", &zst), ("data/1.csv.gz", &gz), ("data/3.csv", b"a,b\n5,6\n")]);
    let outcome = extract(root.path(), "data/*.csv*").await.unwrap();
    assert!(!outcome.unchanged);
    let files = &outcome.manifest.files;
    let shown: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.format, file.compression)).collect();
    assert_eq!(
        shown,
        [
            ("1.csv.gz", FileFormat::Csv, Compression::Gzip),
            ("2.csv.zst", FileFormat::Csv, Compression::Zstd),
            ("3.csv", FileFormat::Csv, Compression::None)
        ]
    );
    let stage = stage_in(root.path());
    let path = object_store::path::Path::from(files[0].path.as_str());
    let staged = stage.store().object_store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(
        (staged.as_ref(), files[0].bytes, &files[0].sha256),
        (gz.as_slice(), gz.len() as u64, &domain::hash_bytes(&gz))
    );
    assert_eq!(stage.latest("shop", "lines").await.unwrap(), Some(outcome.manifest));
}

#[tokio::test]
async fn a_second_run_writes_nothing_and_a_new_file_copies_only_itself() {
    let root = project(&[("data/1.csv", b"a\n1\n")]);
    let first = extract(root.path(), "data/*.csv").await.unwrap();
    let again = extract(root.path(), "data/*.csv").await.unwrap();
    assert!(again.unchanged);
    assert_eq!(first.manifest, again.manifest);

    let staged = root.path().join("stage").join(&first.manifest.files[0].path);
    let before = std::fs::metadata(&staged).unwrap().modified().unwrap();
    write(root.path(), "data/2.csv", b"a\n2\n");
    let more = extract(root.path(), "data/*.csv").await.unwrap();
    assert_eq!((more.unchanged, more.manifest.files.len()), (false, 2));
    assert_eq!(std::fs::metadata(&staged).unwrap().modified().unwrap(), before);

    std::fs::remove_file(root.path().join("data/1.csv")).unwrap();
    let fewer = extract(root.path(), "data/*.csv").await.unwrap();
    assert_eq!((fewer.unchanged, fewer.manifest.files.len()), (false, 1));
}

#[tokio::test]
async fn a_file_lost_from_the_stage_is_copied_again() {
    let root = project(&[("data/1.csv", b"a\n1\n")]);
    let first = extract(root.path(), "data/*.csv").await.unwrap();
    let staged = root.path().join("stage").join(&first.manifest.files[0].path);
    std::fs::remove_file(&staged).unwrap();
    let again = extract(root.path(), "data/*.csv").await.unwrap();
    assert!(!again.unchanged && staged.exists());
}

#[tokio::test]
async fn a_duplicate_file_is_listed_twice_and_a_changed_one_under_its_new_hash() {
    let root = project(&[("data/1.csv", b"a\n1\n"), ("data/copy of 1.csv", b"a\n1\n")]);
    let files = extract(root.path(), "data/*.csv").await.unwrap().manifest.files;
    assert_eq!(files[0].sha256, files[1].sha256);
    assert_ne!(files[0].path, files[1].path);
    write(root.path(), "data/1.csv", b"a\n9\n");
    let changed = extract(root.path(), "data/*.csv").await.unwrap().manifest.files;
    assert_eq!(changed[0].name, "1.csv");
    assert_ne!(changed[0].sha256, files[0].sha256);
    assert_ne!(changed[0].path, files[0].path);
}

#[tokio::test]
async fn bad_files_give_one_error_that_names_path_and_pattern() {
    let cut_parquet = [b"PAR1".as_slice(), &[0; 20]].concat();
    let root = project(&[
        ("empty/1.csv", b""),
        ("empty-inside/1.csv.gz", &gzip(b"")),
        ("not-gzip/1.csv.gz", b"a,b\n"),
        ("broken-gzip/1.csv.gz", &[0x1f, 0x8b, 8, 0xff, 1, 2, 3]),
        ("cut/1.parquet", &cut_parquet),
        ("unknown/1.xlsx", b"PK"),
    ]);
    for (pattern, code) in [
        ("data/*.csv", "no_files"),
        ("empty", "no_files"),
        ("empty/*.csv", "empty_file"),
        ("empty-inside/*", "empty_file"),
        ("not-gzip/*", "unknown_format"),
        ("broken-gzip/*", "unknown_format"),
        ("cut/*", "unknown_format"),
        ("unknown/*", "unknown_format"),
    ] {
        let result = extract(root.path(), pattern).await;
        let shown = result.as_ref().unwrap_err().to_string();
        assert!(shown.contains(pattern), "{shown}");
        assert_eq!(code_of(result, ""), code, "{pattern}");
    }
    let staged = root.path().join("stage");
    assert_eq!(std::fs::read_dir(staged).unwrap().count(), 0, "nothing is staged after an error");
}

#[tokio::test]
async fn a_gzip_file_without_its_extension_is_recognised() {
    let root = project(&[("data/1.csv", &gzip(b"a\n1\n"))]);
    let files = extract(root.path(), "data/1.csv").await.unwrap().manifest.files;
    assert_eq!(files[0].compression, Compression::Gzip);
}

#[tokio::test]
async fn discover_lists_the_data_directory() {
    let root = project(&[("data/a/1.csv", b"a\n"), ("data/2.parquet", b"x"), ("data/readme.md", b"x")]);
    let found = FileSource { project_dir: root.path().to_path_buf() }.discover().await.unwrap();
    let names: Vec<_> = found.into_iter().map(|table| table.name).collect();
    assert_eq!(names, ["data/2.parquet", "data/a/1.csv"]);
}
