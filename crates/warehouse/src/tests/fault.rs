//! An object store that dies: after a number of operations every further one fails, as if the process were gone.
//!
//! In: a store, a number of operations.  Out: the same store, until then.  Never here: what must hold afterwards.
//! Start at [`Mortal`].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

/// Dies after some writes. The last one may still happen with its answer lost, as on a network.
#[derive(Debug)]
pub(super) struct Mortal {
    inner: Arc<dyn ObjectStore>,
    writes_left: AtomicI64,
    answer_lost: bool,
    /// Writes that were begun, the failed ones included.
    pub writes: AtomicU64,
}

impl Mortal {
    /// `writes` succeed; the one after them fails without effect, or with it when `answer_lost`; then nothing works any more.
    pub fn new(inner: Arc<dyn ObjectStore>, writes: i64, answer_lost: bool) -> Self {
        Self { inner, writes_left: AtomicI64::new(writes), answer_lost, writes: AtomicU64::new(0) }
    }

    fn dead() -> object_store::Error {
        object_store::Error::Generic { store: "mortal", source: "the process was killed".into() }
    }

    fn alive(&self) -> Result<()> {
        if self.writes_left.load(Ordering::SeqCst) < 0 { Err(Self::dead()) } else { Ok(()) }
    }

    /// Counts a write. `Ok(true)`: do it and lose the answer.
    fn spend(&self) -> Result<bool> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        match self.writes_left.fetch_sub(1, Ordering::SeqCst) {
            left if left > 0 => Ok(false),
            0 if self.answer_lost => Ok(true),
            _ => Err(Self::dead()),
        }
    }
}

impl fmt::Display for Mortal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "mortal {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_last = self.spend()?;
        let done = self.inner.put_opts(location, payload, options).await;
        if is_last { Err(Self::dead()) } else { done }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let is_last = self.spend()?;
        let done = self.inner.put_multipart_opts(location, options).await;
        if is_last { Err(Self::dead()) } else { done }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.alive()?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.alive()?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.spend() {
            Ok(false) => self.inner.delete_stream(locations),
            Ok(true) | Err(_) => locations.map(|_| Err(Self::dead())).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.alive() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.alive() {
            Ok(()) => self.inner.list_with_offset(prefix, offset),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.alive()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.spend()?;
        self.inner.copy_opts(from, to, options).await
    }
}
