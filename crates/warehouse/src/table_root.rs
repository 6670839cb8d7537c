//! What the Delta library sees of the store: one table's directory as the root, listings in order.
//!
//! In: the warehouse's store and a table.  Out: an object store and the address under which the library finds it.
//! Never here: what a log means.
//! Start at [`log_store`].
//!
//! The library's kernel takes addresses, not paths: `file` ones must exist on this machine's disk, and in all others it
//! expects listings in order (local directories list in any) and does not decode letters outside of ASCII. With the
//! table as the root the only paths it forms are those of the log, which are plain.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use domain::TableName;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use url::Url;

use crate::error::{Result, WarehouseError};
use crate::store::Store;
use crate::table::table_path;

/// The made-up address of every table; its path is the root of the table's own store.
const ROOT_URL: &str = "montauk:///";

/// The log of one table.
pub(crate) fn log_store(store: &Store, name: &TableName) -> Result<LogStoreRef> {
    let url = Url::parse(ROOT_URL).map_err(|error| WarehouseError::internal(error.to_string()))?;
    let root: Arc<dyn ObjectStore> = Arc::new(TableRoot { inner: PrefixStore::new(store.objects(), table_path(name)) });
    Ok(default_logstore(Arc::clone(&root), root, &url, &StorageConfig::default()))
}

/// A table's directory whose listings come in order.
#[derive(Debug)]
struct TableRoot {
    inner: PrefixStore<Arc<dyn ObjectStore>>,
}

impl fmt::Display for TableRoot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

/// A log is listed from its last checkpoint on, so what is held here is short.
fn in_order(listing: BoxStream<'static, StoreResult<ObjectMeta>>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
    let sorted = async move {
        let mut found: Vec<ObjectMeta> = listing.try_collect().await?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok::<_, object_store::Error>(futures::stream::iter(found.into_iter().map(StoreResult::Ok)))
    };
    futures::stream::once(sorted).try_flatten().boxed()
}

#[async_trait]
impl ObjectStore for TableRoot {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        in_order(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        in_order(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
