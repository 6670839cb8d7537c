//! Files that lie in a bucket, as a source of files has them.
//!
//! In: a pattern such as `s3://bucket/orders/2026-*/*.csv`.  Out: what matches; one file at a time on this machine, to be staged like any
//! other. An object that the bucket calls unchanged is not fetched again.
//! Never here: what a file is (`file`).
//! Start at [`Bucket::list`].

use std::io::Write;
use std::path::Path as FsPath;

use domain::{StageManifest, StagedFile};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta};

use crate::glob::{FoundFile, is_wild, matches_path};
use crate::{ConnectError, Store, open_store};

/// Bytes that one request asks for.
const PIECE_BYTES: usize = 8 << 20;

/// The matching objects of one bucket.
pub(super) struct Bucket {
    store: Store,
    pub(super) objects: Vec<BucketObject>,
}

/// An object that matched.
#[derive(Debug, Clone)]
pub(super) struct BucketObject {
    /// Relative to the place in front of the first wildcard; unique for one pattern.
    pub(super) name: String,
    location: Path,
    bytes: u64,
    /// What the bucket calls this content; a new content has a new one.
    pub(super) etag: Option<String>,
}

impl Bucket {
    /// What matches `pattern`, sorted by name; `None` when the pattern is no address of a bucket.
    pub(super) async fn list(pattern: &str, project_dir: &FsPath) -> Result<Option<Self>, ConnectError> {
        let Some((scheme, rest)) = pattern.split_once("://") else { return Ok(None) };
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        // The bucket itself, and then as much as is no pattern; the last part is always matched.
        let fixed =
            1 + parts.iter().skip(1).take(parts.len().saturating_sub(2)).take_while(|part| !is_wild(part)).count();
        let (base, wanted) = parts.split_at(fixed.min(parts.len()));
        let store = open_store(&format!("{scheme}://{}", base.join("/")), project_dir)?;
        let mut objects = Vec::new();
        let mut listing = store.object_store.list(None);
        while let Some(ObjectMeta { location, size, e_tag, .. }) =
            listing.try_next().await.map_err(|error| store.problem(error))?
        {
            let name = location.to_string();
            if matches_path(wanted, &name) {
                objects.push(BucketObject { name, location, bytes: size, etag: e_tag });
            }
        }
        drop(listing);
        objects.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Some(Self { store, objects }))
    }

    /// As people write it: `s3://bucket/orders/a.csv`.
    pub(super) fn address(&self, object: &BucketObject) -> String {
        format!("{}/{}", self.store.url.as_str().trim_end_matches('/'), object.name)
    }

    /// Copies an object into `directory`.
    pub(super) async fn fetch(&self, object: &BucketObject, directory: &FsPath) -> Result<FoundFile, ConnectError> {
        let unwritable = |error: std::io::Error| ConnectError::UnreadableFile {
            path: self.address(object),
            pattern: self.store.url.to_string(),
            reason: format!("it cannot be kept in {}: {error}", directory.display()),
        };
        let path = directory.join("object");
        let mut file = std::fs::File::create(&path).map_err(unwritable)?;
        // Piece by piece, so that each request is short and tried again by itself; and all of them of one content.
        for from in (0..object.bytes).step_by(PIECE_BYTES) {
            let range = from..(from + PIECE_BYTES as u64).min(object.bytes);
            let options =
                GetOptions { range: Some(range.into()), if_match: object.etag.clone(), ..GetOptions::default() };
            let found = self.store.object_store.get_opts(&object.location, options).await;
            let chunk = match found {
                Ok(found) => found.bytes().await.map_err(|error| self.store.problem(error))?,
                Err(object_store::Error::Precondition { .. }) => {
                    return Err(ConnectError::FileChanged { path: self.address(object) });
                }
                Err(error) => return Err(self.store.problem(error)),
            };
            file = tokio::task::spawn_blocking(move || file.write_all(&chunk).map(|()| file))
                .await
                .map_err(|error| ConnectError::internal("keep an object", error))?
                .map_err(unwritable)?;
        }
        Ok(FoundFile { name: object.name.clone(), path })
    }
}

impl BucketObject {
    /// The staged file of this very content.
    pub(super) fn known<'m>(&self, latest: Option<&'m StageManifest>) -> Option<&'m StagedFile> {
        let is_same = |file: &&StagedFile| {
            file.name == self.name && file.bytes == self.bytes && self.etag.is_some() && file.etag == self.etag
        };
        latest?.files.iter().find(is_same)
    }
}
