//! A local directory as an object store whose finished writes survive a power cut.
//!
//! `object_store` 0.13's `LocalFileSystem` writes aside and renames (or hard-links, for put-if-absent), which is atomic, but
//! it never syncs: after a power cut a renamed file may be empty. This wrapper writes aside, syncs the file, renames or links
//! it, then syncs the directory; reading, listing and deleting are `LocalFileSystem`'s own.
//! In: paths under one root.  Out: whole files or none.
//! Never here: remote stores (`store`).
//! Start at [`DurableLocal::new`] and [`AsideFile`].

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// Name under which errors of this store are shown.
const STORE: &str = "local directory";

/// See the module's head.
#[derive(Debug)]
pub(crate) struct DurableLocal {
    inner: LocalFileSystem,
}

impl DurableLocal {
    /// `root` must exist.
    pub(crate) fn new(root: &FsPath) -> Result<Self> {
        Ok(Self { inner: LocalFileSystem::new_with_prefix(root)? })
    }
}

impl std::fmt::Display for DurableLocal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_create = match options.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            // Conditional overwrite needs a version that a file system does not keep; `inner` answers as upstream does.
            PutMode::Update(_) => return self.inner.put_opts(location, payload, options).await,
        };
        let target = self.inner.path_to_filesystem(location)?;
        let shown = location.to_string();
        blocking(move || {
            let mut aside = AsideFile::create(&target).map_err(|error| io_error(&shown, error))?;
            for part in payload.iter() {
                aside.write_all(part).map_err(|error| io_error(&shown, error))?;
            }
            aside.commit(&target, is_create).map_err(|error| io_error(&shown, error))
        })
        .await?;
        let written = self.inner.get_opts(location, GetOptions { head: true, ..GetOptions::default() }).await?;
        Ok(PutResult { e_tag: written.meta.e_tag, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let target = self.inner.path_to_filesystem(location)?;
        let shown = location.to_string();
        let aside = AsideFile::create(&target).map_err(|error| io_error(&shown, error))?;
        Ok(Box::new(DurableUpload { target, shown, aside: Arc::new(Mutex::new(Some(aside))), next: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if matches!(options.mode, CopyMode::Create | CopyMode::Overwrite) {
            self.inner.copy_opts(from, to, options).await?;
        }
        self.sync_parent(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        self.sync_parent(to).await
    }
}

impl DurableLocal {
    async fn sync_parent(&self, location: &Path) -> Result<()> {
        let target = self.inner.path_to_filesystem(location)?;
        let shown = location.to_string();
        blocking(move || sync_directory_of(&target).map_err(|error| io_error(&shown, error))).await
    }
}

/// A multi-part upload into one file aside; parts are written in the order in which they were put.
#[derive(Debug)]
struct DurableUpload {
    target: PathBuf,
    shown: String,
    aside: Arc<Mutex<Option<AsideFile>>>,
    /// Offset of the next part in bytes.
    next: u64,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let offset = self.next;
        self.next += data.content_length() as u64;
        let aside = Arc::clone(&self.aside);
        let shown = self.shown.clone();
        blocking(move || {
            let mut held = lock(&aside);
            let file = held.as_mut().ok_or_else(|| io_error(&shown, io::Error::other("upload was ended")))?;
            file.write_at(offset, &data).map_err(|error| io_error(&shown, error))
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let aside = Arc::clone(&self.aside);
        let (target, shown) = (self.target.clone(), self.shown.clone());
        blocking(move || {
            let file = lock(&aside).take().ok_or_else(|| io_error(&shown, io::Error::other("upload was ended")))?;
            file.commit(&target, false).map_err(|error| io_error(&shown, error))?;
            Ok(PutResult { e_tag: None, version: None })
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        drop(lock(&self.aside).take());
        Ok(())
    }
}

/// A file that is being written beside its final name, hidden from listings; dropped uncommitted, it is removed.
#[derive(Debug)]
pub(crate) struct AsideFile {
    file: File,
    path: PathBuf,
    is_committed: bool,
}

impl AsideFile {
    /// Makes `<target>#<n>` with the first free `n`: names that end so are what `LocalFileSystem` hides from listings.
    pub(crate) fn create(target: &FsPath) -> io::Result<Self> {
        let mut number: u64 = 1;
        loop {
            let mut name = target.as_os_str().to_owned();
            name.push(format!("#{number}"));
            let path = PathBuf::from(name);
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file, path, is_committed: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => create_directories_of(target)?,
                Err(error) => return Err(error),
            }
        }
    }

    fn write_at(&mut self, offset: u64, data: &PutPayload) -> io::Result<()> {
        use std::io::Seek;
        self.file.seek(io::SeekFrom::Start(offset))?;
        data.iter().try_for_each(|part| self.file.write_all(part))
    }

    /// A second handle on the same open file, for a reader or writer that needs its own.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Syncs the bytes, gives them their name (failing when `is_create` and the name is taken), syncs the directory.
    pub(crate) fn commit(mut self, target: &FsPath, is_create: bool) -> io::Result<()> {
        self.file.sync_all()?;
        if is_create {
            // A hard link fails when the name exists, so that of two writers exactly one wins.
            std::fs::hard_link(&self.path, target)?;
            std::fs::remove_file(&self.path)?;
        } else {
            std::fs::rename(&self.path, target)?;
        }
        self.is_committed = true;
        sync_directory_of(target)
    }
}

impl Write for AsideFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AsideFile {
    fn drop(&mut self) {
        if !self.is_committed {
            // What cannot be removed now (a killed process removes nothing) is removed by `Stage::sweep`.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Makes the directories above `target` and syncs each new one's parent, so that a power cut loses no directory entry.
fn create_directories_of(target: &FsPath) -> io::Result<()> {
    let Some(parent) = target.parent() else { return Ok(()) };
    create_directories(parent)
}

/// Makes `directory` and what is missing above it, durably.
pub(crate) fn create_directories(directory: &FsPath) -> io::Result<()> {
    let missing: Vec<&FsPath> = directory.ancestors().take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(directory)?;
    for made in missing.iter().rev() {
        sync_directory_of(made)?;
    }
    Ok(())
}

fn sync_directory_of(path: &FsPath) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => FsPath::new("."),
        None => return Ok(()),
    };
    // Windows cannot open a directory as a file, and needs no such sync.
    if cfg!(unix) { File::open(parent)?.sync_all() } else { Ok(()) }
}

/// The guarded value, also after a panic elsewhere: the state is one `Option`, never half-changed.
fn lock(aside: &Mutex<Option<AsideFile>>) -> std::sync::MutexGuard<'_, Option<AsideFile>> {
    aside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn io_error(path: &str, error: io::Error) -> Error {
    let (kind, path) = (error.kind(), path.to_owned());
    if kind == ErrorKind::AlreadyExists {
        Error::AlreadyExists { path, source: error.into() }
    } else if kind == ErrorKind::NotFound {
        Error::NotFound { path, source: error.into() }
    } else if kind == ErrorKind::PermissionDenied {
        Error::PermissionDenied { path, source: error.into() }
    } else {
        Error::Generic { store: STORE, source: error.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, TryStreamExt};
    use object_store::ObjectStoreExt;

    fn files(root: &FsPath) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn put_leaves_one_whole_file_and_create_refuses_a_taken_name() {
        let root = tempfile::tempdir().unwrap();
        let store = DurableLocal::new(root.path()).unwrap();
        let path = Path::from("a/b/c.json");
        store.put(&path, "one".into()).await.unwrap();
        let taken = store.put_opts(&path, "two".into(), PutMode::Create.into()).await;
        assert!(matches!(taken, Err(Error::AlreadyExists { .. })), "{taken:?}");
        store.put(&path, "three".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "three");
        assert_eq!(files(&root.path().join("a/b")), ["c.json"]);
    }

    #[tokio::test]
    async fn of_many_creators_exactly_one_wins_and_its_bytes_stay() {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(DurableLocal::new(root.path()).unwrap());
        let writers = (0..16).map(|writer: u32| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let body = format!("writer {writer}");
                let put = store.put_opts(&Path::from("n/1.json"), body.clone().into(), PutMode::Create.into()).await;
                put.ok().map(|_| body)
            })
        });
        let won: Vec<String> =
            futures::future::join_all(writers).await.into_iter().filter_map(|result| result.unwrap()).collect();
        assert_eq!(won.len(), 1);
        let kept = store.get(&Path::from("n/1.json")).await.unwrap().bytes().await.unwrap();
        assert_eq!(kept, won[0].as_bytes());
        assert_eq!(files(&root.path().join("n")), ["1.json"]);
    }

    #[tokio::test]
    async fn an_upload_dropped_half_way_is_invisible_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let store = DurableLocal::new(root.path()).unwrap();
        let path = Path::from("big.bin");
        let mut upload = store.put_multipart(&path).await.unwrap();
        upload.put_part(vec![1_u8; 1000].into()).await.unwrap();
        assert_eq!(store.list(None).count().await, 0);
        assert_eq!(files(root.path()), ["big.bin#1"]);
        drop(upload);
        assert!(files(root.path()).is_empty());

        let mut upload = store.put_multipart(&path).await.unwrap();
        let (first, second) = (upload.put_part("ab".into()), upload.put_part("cd".into()));
        second.await.unwrap();
        first.await.unwrap();
        upload.complete().await.unwrap();
        let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
        assert_eq!((listed.len(), listed[0].size), (1, 4));
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "abcd");
    }
}
