//! The stage on a file system: numbers, sweeping, kills.
//!
//! In: manifests and bytes.  Out: verdicts.  Never here: buckets (`s3`).  Start at the first test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use connect::sources::file::FileSource;
use connect::{Source, Stage, SweepReport};
use domain::{NoProgress, StageManifest, StageMode};
use object_store::ObjectStoreExt;

use crate::support::{code_of, is_killed_often, request, stage_in};

fn all_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found
}

async fn staged(root: &Path) -> (Stage, domain::StageManifest) {
    std::fs::write(root.join("1.csv"), "a\n1\n").unwrap();
    let stage = stage_in(root);
    let source = FileSource { project_dir: root.to_path_buf() };
    let outcome = source.extract(&request("lines", "*.csv"), &stage, &NoProgress).await.unwrap();
    (stage, outcome.manifest)
}

#[tokio::test]
async fn concurrent_publishers_each_get_their_own_number() {
    let root = tempfile::tempdir().unwrap();
    let (stage, manifest) = staged(root.path()).await;
    let publishers = (0..8).map(|run| {
        let (stage, mut manifest) = (stage.clone(), manifest.clone());
        manifest.provenance.run_id = format!("run {run}");
        tokio::spawn(async move { stage.publish(manifest).await.unwrap().number })
    });
    let mut numbers: Vec<u64> =
        futures::future::join_all(publishers).await.into_iter().map(|number| number.unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(stage.latest_number("shop", "lines").await.unwrap(), Some(9));
    assert_eq!(stage.latest("shop", "other").await.unwrap(), None);
}

#[tokio::test]
async fn a_manifest_of_another_version_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (stage, mut manifest) = staged(root.path()).await;
    manifest.format_version = 99;
    stage.publish(manifest).await.unwrap();
    assert_eq!(code_of(stage.latest("shop", "lines").await, ""), "bad_manifest");
}

#[tokio::test]
async fn a_writer_dropped_half_way_leaves_nothing_and_a_wrong_hash_too() {
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    let path = stage.file_path("shop", "lines", &"0".repeat(64), "big.csv");
    let mut writer = stage.writer(path.clone());
    for _ in 0..20 {
        writer.write(&vec![7; 1024 * 1024]).await.unwrap();
    }
    drop(writer);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(all_files(root.path()).is_empty(), "{:?}", all_files(root.path()));

    let mut writer = stage.writer(path.clone());
    writer.write(b"other bytes").await.unwrap();
    assert_eq!(code_of(writer.finish(&"0".repeat(64), "big.csv").await, ""), "file_changed");
    assert!(all_files(root.path()).is_empty());

    let body = vec![9; 20 * 1024 * 1024];
    let mut writer = stage.writer(path.clone());
    writer.write(&body).await.unwrap();
    assert_eq!(writer.finish(&domain::hash_bytes(&body), "big.csv").await.unwrap(), body.len() as u64);
    assert_eq!(stage.store().object_store.get(&path).await.unwrap().bytes().await.unwrap(), body);
}

#[tokio::test]
async fn sweep_removes_old_files_that_no_manifest_names() {
    let root = tempfile::tempdir().unwrap();
    let (stage, manifest) = staged(root.path()).await;
    let orphan = stage.file_path("shop", "lines", &"1".repeat(64), "orphan.csv");
    stage.store().object_store.put(&orphan, "xyz".into()).await.unwrap();
    let aside = root.path().join("stage/shop/lines/files/extract#1");
    std::fs::write(&aside, "half").unwrap();
    let soon = chrono::Utc::now() + chrono::TimeDelta::hours(23);
    assert_eq!(stage.sweep(soon).await.unwrap(), SweepReport::default());
    let later = chrono::Utc::now() + chrono::TimeDelta::hours(25);
    assert_eq!(stage.sweep(later).await.unwrap(), SweepReport { files: 2, bytes: 7 });
    assert!(!aside.exists());
    // A stage that lies where other files are leaves those alone, however old they are.
    for name in
        ["mine.csv", "shop/lines/mine.csv", "shop/lines/files/mine#1x", "a/b/files/deep/0123456789abcdef-x", "notes#1"]
    {
        let path = root.path().join("stage").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(stage.sweep(later).await.unwrap(), SweepReport::default(), "{name}");
        assert!(path.exists(), "{name}");
    }
    assert!(stage.has(&manifest.files[0].path.as_str().into(), 4).await.unwrap());
}

/// Runs only as the child of the test below: extracts big files, over and over, until it is killed.
#[tokio::test]
async fn child_that_extracts() {
    let Ok(root) = std::env::var("CHILD_URL").map(PathBuf::from) else { return };
    let source = FileSource { project_dir: root.clone() };
    for round in 0.. {
        std::fs::write(root.join("big.csv"), vec![b'0' + round % 10; 12 * 1024 * 1024]).unwrap();
        source.extract(&request("lines", "*.csv"), &stage_in(&root), &NoProgress).await.unwrap();
    }
}

#[tokio::test]
async fn kills_never_leave_a_half_file_visible() {
    let root = tempfile::tempdir().unwrap();
    let stage = stage_in(root.path());
    is_killed_often("stage::child_that_extracts", root.path().to_str().unwrap(), async || {
        let Some(manifest) = stage.latest("shop", "lines").await.unwrap() else { return 0 };
        for file in &manifest.files {
            let path = object_store::path::Path::from(file.path.as_str());
            let bytes = stage.store().object_store.get(&path).await.unwrap().bytes().await.unwrap();
            assert_eq!(domain::hash_bytes(&bytes), file.sha256);
        }
        stage.latest_number("shop", "lines").await.unwrap().unwrap_or(0)
    })
    .await;
    let later = chrono::Utc::now() + chrono::TimeDelta::hours(25);
    stage.sweep(later).await.unwrap();
    let left = all_files(&root.path().join("stage"));
    assert!(!left.iter().any(|path| path.to_string_lossy().contains('#')), "{left:?}");
}

#[tokio::test]
async fn a_table_lacks_the_changes_since_what_it_holds() {
    let root = tempfile::tempdir().unwrap();
    let (stage, manifest) = staged(root.path()).await;
    let publish = async |mode, run: &str| {
        let mut next = StageManifest { mode, ..manifest.clone() };
        next.provenance.run_id = run.to_owned();
        stage.publish(next).await.unwrap()
    };
    publish(StageMode::Full, "base").await;
    for run in ["c3", "c4"] {
        publish(StageMode::Changes, run).await;
    }
    let pending = async |loaded: Option<(u64, &str)>| {
        let found = stage.pending("shop", "lines", loaded).await.unwrap();
        found.iter().map(|manifest| manifest.number).collect::<Vec<_>>()
    };
    assert_eq!(pending(None).await, [2, 3, 4]);
    assert_eq!(pending(Some((2, "base"))).await, [3, 4]);
    assert_eq!(pending(Some((4, "c4"))).await, [0; 0]);
    // Another stage counted to 3 before this one: what it left says nothing about these.
    assert_eq!(pending(Some((3, "another run"))).await, [2, 3, 4]);
    // A whole table needs nothing before it, loaded or not.
    publish(StageMode::Full, "anew").await;
    assert_eq!(pending(Some((4, "c4"))).await, [5]);
    assert_eq!(pending(Some((5, "anew"))).await, [5]);
    // Changes follow exactly one manifest: another run that has published meanwhile stops them.
    let late = StageManifest { mode: StageMode::Changes, ..manifest.clone() };
    assert_eq!(code_of(stage.publish_next(late, 4).await, ""), "publish_race");
}

#[tokio::test]
async fn old_manifests_go_that_a_table_has_gone_past() {
    let root = tempfile::tempdir().unwrap();
    let (stage, manifest) = staged(root.path()).await;
    for mode in [StageMode::Full, StageMode::Changes, StageMode::Changes] {
        stage.publish(StageManifest { mode, ..manifest.clone() }).await.unwrap();
    }
    let now = chrono::Utc::now();
    assert_eq!(stage.retire("shop", "lines", 3, now).await.unwrap(), 0, "they are young");
    let later = now + chrono::TimeDelta::days(15);
    assert_eq!(stage.retire("shop", "lines", 3, later).await.unwrap(), 2);
    let run = manifest.provenance.run_id.as_str();
    let left = stage.pending("shop", "lines", Some((3, run))).await.unwrap();
    assert_eq!(left.iter().map(|manifest| manifest.number).collect::<Vec<_>>(), [4]);
    // A quiet table keeps the manifest that its columns can be told by.
    let quiet = StageManifest { mode: StageMode::Changes, files: Vec::new(), ..manifest.clone() };
    let quiet = [quiet.clone(), quiet];
    for manifest in quiet {
        stage.publish(manifest).await.unwrap();
    }
    assert_eq!(stage.retire("shop", "lines", 6, later).await.unwrap(), 1);
    assert!(stage.manifest("shop", "lines", 4).await.unwrap().is_some());
    // A table that was dropped has to be read whole, and is told so.
    let gone = stage.pending("shop", "lines", None).await.unwrap_err();
    assert!(gone.to_string().contains("montauk extract shop.lines --anew"), "{gone}");
    assert_eq!(stage.publish(manifest.clone()).await.unwrap().number, 7);
}
