//! The object store below the warehouse: whole small files, put-if-absent, numbered files, durability.
//!
//! In: paths relative to the root of the warehouse.  Out: bytes, JSON values, numbers.
//! Never here: what the files mean.
//! Start at [`Store::put_if_absent`], on which every switch of this room rests.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::error::{Result, WarehouseError, innermost};

/// Digits of a number in a file name: 20 hold every `u64`, so that names sort as numbers.
const DIGITS: usize = 20;

/// The object store of one warehouse.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    /// The directory behind the store when it is a local one: files are synced to disk there.
    directory: Option<PathBuf>,
}

impl Store {
    /// `objects` is rooted at the warehouse; `url` says where that is.
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, url: &Url) -> Self {
        let directory = (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten();
        Self { objects, directory }
    }

    /// The store itself, rooted at the warehouse.
    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// Writes a file if nothing is there. True: it is ours; false: somebody else's was there first.
    ///
    /// A retried request to an object store may find its own first attempt; callers that must know read the file back.
    pub(crate) async fn put_if_absent(&self, path: &Path, bytes: Bytes) -> Result<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(path, PutPayload::from(bytes), options).await {
            Ok(_) => {
                self.sync(path).await?;
                Ok(true)
            }
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(WarehouseError::store(format!("write `{path}`"), error)),
        }
    }

    /// [`Self::put_if_absent`] of a JSON value.
    pub(crate) async fn put_json_if_absent<T: Serialize>(&self, path: &Path, value: &T) -> Result<bool> {
        self.put_if_absent(path, json_bytes(path, value)?).await
    }

    /// Writes a file, replacing what was there.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<()> {
        let put = self.objects.put(path, PutPayload::from(bytes)).await;
        put.map_err(|error| WarehouseError::store(format!("write `{path}`"), error))?;
        self.sync(path).await
    }

    /// [`Self::put`] of a JSON value.
    pub(crate) async fn put_json<T: Serialize>(&self, path: &Path, value: &T) -> Result<()> {
        self.put(path, json_bytes(path, value)?).await
    }

    /// The whole file, or `None` if it does not exist.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        let fail = |error| WarehouseError::store(format!("read `{path}`"), error);
        match self.objects.get(path).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(fail)?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    /// The file as a JSON value, or `None` if it does not exist.
    pub(crate) async fn get_json<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>> {
        let Some(bytes) = self.get(path).await? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(WarehouseError::Damaged { path: path.to_string(), message: innermost(&error) }),
        }
    }

    /// Removes a file; one that is not there is as good as removed.
    pub(crate) async fn delete(&self, path: &Path) -> Result<()> {
        match self.objects.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(WarehouseError::store(format!("remove `{path}`"), error)),
        }
    }

    /// The paths below `folder` with their ages, in no order.
    pub(crate) async fn list(&self, folder: &Path) -> Result<Vec<object_store::ObjectMeta>> {
        let listed = self.objects.list(Some(folder)).try_collect().await;
        listed.map_err(|error| WarehouseError::store(format!("list `{folder}`"), error))
    }

    /// The numbers of the files `<folder>/<n:020>.json` with n > `after`, ascending.
    ///
    /// Object stores start the listing there, so the cost is that of the new files, not of all.
    pub(crate) async fn numbers_after(&self, folder: &Path, after: u64) -> Result<Vec<u64>> {
        let offset = numbered(folder, after);
        let listing = self.objects.list_with_offset(Some(folder), &offset);
        let found: Vec<_> =
            listing.try_collect().await.map_err(|error| WarehouseError::store(format!("list `{folder}`"), error))?;
        let mut numbers: Vec<u64> =
            found.iter().filter_map(|meta| number_of(&meta.location)).filter(|n| *n > after).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Waits until the file and its name are on the disk of a local store; object stores promise that themselves.
    pub(crate) async fn sync(&self, path: &Path) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let mut file = directory.clone();
        // Percent-encoded parts are how the local store names odd characters on disk as well.
        file.extend(path.parts().map(|part| part.as_ref().to_owned()));
        let synced = tokio::task::spawn_blocking(move || {
            std::fs::File::open(&file)?.sync_all()?;
            match file.parent() {
                Some(parent) => std::fs::File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        });
        let failed =
            |message: String| WarehouseError::Store { what: format!("sync `{path}`"), message, missing: false };
        match synced.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(innermost(&error))),
            Err(error) => Err(failed(innermost(&error))),
        }
    }
}

/// `<folder>/<n:020>.json`.
pub(crate) fn numbered(folder: &Path, number: u64) -> Path {
    folder.clone().join(format!("{number:0DIGITS$}.json"))
}

/// The number of a file that [`numbered`] named.
pub(crate) fn number_of(path: &Path) -> Option<u64> {
    let digits = path.filename()?.strip_suffix(".json")?;
    if digits.len() == DIGITS { digits.parse().ok() } else { None }
}

fn json_bytes<T: Serialize>(path: &Path, value: &T) -> Result<Bytes> {
    match serde_json::to_vec_pretty(value) {
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(error) => Err(WarehouseError::internal(format!("`{path}` has no JSON form: {error}"))),
    }
}
