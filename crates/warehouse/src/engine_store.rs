//! What the SQL engine sees of the store: files under the names it asked for, with the sizes that the logs know.
//!
//! In: the warehouse's store, files of snapshots.  Out: an object store to register with the engine.
//! Never here: which files make a table.
//! Start at [`EngineStore`].
//!
//! Two reasons. The engine drops files from a plan, without a word, when the store answers with another path than asked for,
//! and prefixed stores of object_store 0.13 do (`PrefixStore::get_opts` returns the path in the bucket). And a snapshot
//! knows the size of each file, so that a plan over a bucket needs no request per file.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Files whose sizes are kept: about 50 MB of paths. When there are more, all are forgotten, which costs requests only.
const MAX_SIZES: usize = 500_000;

/// The store of a warehouse as the engine sees it.
#[derive(Debug)]
pub(crate) struct EngineStore {
    inner: Arc<dyn ObjectStore>,
    sizes: Mutex<HashMap<Path, u64>>,
}

impl EngineStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, sizes: Mutex::default() }
    }

    /// Takes the size of a file from a snapshot. Files never change, so it stays right.
    pub(crate) fn remember(&self, path: Path, bytes: u64) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if sizes.len() >= MAX_SIZES {
            sizes.clear();
        }
        sizes.insert(path, bytes);
    }

    fn known(&self, path: &Path) -> Option<ObjectMeta> {
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let size = *sizes.get(path)?;
        // The engine compares times to notice changed files; these never change.
        Some(ObjectMeta {
            location: path.clone(),
            last_modified: DateTime::UNIX_EPOCH,
            size,
            e_tag: None,
            version: None,
        })
    }
}

impl fmt::Display for EngineStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

#[async_trait]
impl ObjectStore for EngineStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head
            && let Some(meta) = self.known(location)
        {
            let payload = GetResultPayload::Stream(futures::stream::empty().boxed());
            return Ok(GetResult { payload, range: 0..meta.size, meta, attributes: Attributes::default() });
        }
        let mut found = self.inner.get_opts(location, options).await?;
        found.meta.location = location.clone();
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
