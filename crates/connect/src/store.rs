//! Opens the place where a project keeps its stage or its warehouse: a local directory or a bucket.
//!
//! In: `.montauk/stage` or `s3://bucket/prefix`, as written in `montauk.toml`.  Out: a [`Store`] whose paths are relative to it.
//! Never here: what lies inside (`stage`, and `warehouse` for its own root).
//! Start at [`open_store`].

use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreExt, RetryConfig};
use url::Url;

use crate::ConnectError;
use crate::durable_local::{DurableLocal, create_directories};

/// Tries of one request to a bucket: with 0.1 s, 0.2 s, 0.4 s … of waiting this bridges a few seconds of trouble.
const MAX_RETRIES: usize = 5;
/// After this long no request is tried again, so that an unreachable store is reported while somebody still watches.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// One request, with up to 8 MiB of body, on a slow line.
const REQUEST_TIMEOUT: &str = "120 seconds";

/// An opened location. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Store {
    /// The location: `file:///abs/dir/` or `s3://bucket/prefix`; holds no secret.
    pub url: Url,
    /// Paths are relative to the location's root.
    pub object_store: Arc<dyn ObjectStore>,
}

/// Opens `location`: a directory (made when missing; relative ones start at `project_dir`) or `s3://bucket/prefix`.
///
/// Buckets take `AWS_*` from the environment (also `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`); nothing is sent yet: see [`Store::probe`].
/// Put-if-absent is atomic in both.  Errors: `BadLocation`, `StoreRefused`, `StoreFull`, `Store`.
pub fn open_store(location: &str, project_dir: &FsPath) -> Result<Store, ConnectError> {
    match location.split_once("://") {
        Some(("s3" | "s3a", _)) => open_bucket(location, AmazonS3Builder::from_env()),
        Some(("file", _)) => {
            let path = Url::parse(location).ok().and_then(|url| url.to_file_path().ok());
            open_directory(location, &path.ok_or_else(|| bad(location, "the path of a file URL starts with `/`"))?)
        }
        Some((scheme, _)) => Err(bad(location, &format!("`{scheme}` is not supported"))),
        None if location.trim().is_empty() => Err(bad(location, "it is empty")),
        None => open_directory(location, &project_dir.join(location)),
    }
}

fn open_directory(location: &str, directory: &FsPath) -> Result<Store, ConnectError> {
    let refuse = |error: std::io::Error| io_problem(location, &error);
    create_directories(directory).map_err(refuse)?;
    let absolute = std::fs::canonicalize(directory).map_err(refuse)?;
    let url = Url::from_directory_path(&absolute).map_err(|()| bad(location, "it is not an absolute path"))?;
    let object_store = DurableLocal::new(&absolute).map_err(|error| store_problem(location, error))?;
    Ok(Store { url, object_store: Arc::new(object_store) })
}

/// Opens a bucket with `builder`'s credentials and endpoint.
fn open_bucket(location: &str, builder: AmazonS3Builder) -> Result<Store, ConnectError> {
    let url = Url::parse(location).map_err(|error| bad(location, &error.to_string()))?;
    let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad(location, "it names no bucket"))?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| bad(location, &error.to_string()))?;
    // One key and not whole options: those would drop what the environment says about proxies and HTTP.
    let builder = match std::env::var_os("AWS_TIMEOUT") {
        Some(_) => builder,
        None => builder.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT),
    };
    let retry = RetryConfig { max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let bucket_store = builder
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .build()
        .map_err(|error| store_problem(location, error))?;
    let object_store: Arc<dyn ObjectStore> = if prefix.as_ref().is_empty() {
        Arc::new(bucket_store)
    } else {
        Arc::new(PrefixStore::new(bucket_store, prefix))
    };
    Ok(Store { url, object_store })
}

impl Store {
    /// Asks the location for one object, to report a missing bucket, wrong credentials or a dead endpoint before work begins.
    pub async fn probe(&self) -> Result<(), ConnectError> {
        self.object_store.list(None).try_next().await.map(drop).map_err(|error| self.problem(error))
    }

    /// The local directory behind it, when it is one.
    pub fn local_root(&self) -> Option<std::path::PathBuf> {
        (self.url.scheme() == "file").then(|| self.url.to_file_path().ok()).flatten()
    }

    /// Reads a whole object, or `None` when there is none.
    pub(crate) async fn read(&self, path: &Path) -> Result<Option<bytes::Bytes>, ConnectError> {
        match self.object_store.get(path).await {
            Ok(found) => found.bytes().await.map(Some).map_err(|error| self.problem(error)),
            Err(object_store::Error::NotFound { source, .. }) if !is_missing_bucket(&source.to_string()) => Ok(None),
            Err(error) => Err(self.problem(error)),
        }
    }

    /// Turns a store's error into one that names the location and the next step.
    pub(crate) fn problem(&self, error: object_store::Error) -> ConnectError {
        store_problem(self.url.as_str(), error)
    }
}

fn bad(location: &str, reason: &str) -> ConnectError {
    ConnectError::BadLocation { location: location.to_owned(), reason: reason.to_owned() }
}

pub(crate) fn io_problem(location: &str, error: &std::io::Error) -> ConnectError {
    use std::io::ErrorKind;
    let (location, kind) = (location.to_owned(), error.kind());
    if kind == ErrorKind::StorageFull || kind == ErrorKind::QuotaExceeded {
        ConnectError::StoreFull { location }
    } else if kind == ErrorKind::PermissionDenied || kind == ErrorKind::ReadOnlyFilesystem {
        ConnectError::StoreRefused { location, reason: error.to_string() }
    } else {
        ConnectError::BadLocation { location, reason: error.to_string() }
    }
}

fn is_missing_bucket(text: &str) -> bool {
    text.contains("NoSuchBucket")
}

/// Sorts an object store's error by what can be done about it; drivers only tell the finer cases by text.
fn store_problem(location: &str, error: object_store::Error) -> ConnectError {
    let reason = full_reason(&error);
    let location = location.to_owned();
    if is_missing_bucket(&reason) {
        let bucket = location.trim_start_matches("s3://").split('/').next().unwrap_or_default().to_owned();
        let endpoint = std::env::var("AWS_ENDPOINT").unwrap_or_else(|_| "AWS S3".to_owned());
        return ConnectError::NoSuchBucket { bucket, endpoint };
    }
    if reason.contains("No space left") || reason.contains("StorageFull") {
        return ConnectError::StoreFull { location };
    }
    let lower = reason.to_lowercase();
    let is_refused =
        matches!(error, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. })
            || [
                "accessdenied",
                "invalidaccesskeyid",
                "signaturedoesnotmatch",
                "expiredtoken",
                "403 forbidden",
                "401 unauthorized",
            ]
            .iter()
            .any(|word| lower.contains(word));
    // Without keys in the environment the client asks the cloud's own metadata address, which answers in a cloud only.
    let is_without_keys =
        ["instance credentials", "latest/api/token", "meta-data/iam"].iter().any(|word| lower.contains(word));
    let is_unreachable = ["error sending request", "connection refused", "dns error", "timed out", "tcp connect"]
        .iter()
        .any(|word| lower.contains(word));
    if let object_store::Error::NotFound { path, .. } = error {
        ConnectError::NoSuchObject { location, path }
    } else if is_without_keys {
        ConnectError::StoreRefused { location, reason: "no credentials in the environment".to_owned() }
    } else if is_refused {
        ConnectError::StoreRefused { location, reason }
    } else if is_unreachable {
        ConnectError::StoreUnreachable { location, reason }
    } else {
        ConnectError::Store { location, reason }
    }
}

/// The innermost causes with the outer text, on one line: the client hides the cause ("connection refused") two levels down.
fn full_reason(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let shown = inner.to_string();
        if !text.contains(&shown) {
            text.push_str(": ");
            text.push_str(&shown);
        }
        cause = inner.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Problem;

    fn check(location: &str, code: &str) {
        let root = tempfile::tempdir().unwrap();
        match open_store(location, root.path()) {
            Ok(store) => assert_eq!(code, store.url.scheme(), "{location}"),
            Err(error) => {
                assert_eq!(code, error.code(), "{location}: {error}");
                assert!(error.help().is_some(), "{location}");
            }
        }
    }

    #[test]
    fn locations_open_or_say_why_not() {
        check(".montauk/stage", "file");
        check("s3://bucket/some/prefix", "s3");
        check("gs://bucket", "bad_location");
        check("", "bad_location");
        check("s3:///prefix", "bad_location");
        check("/proc/nope/stage", "bad_location");
    }

    #[test]
    fn a_full_disk_is_named() {
        let full = || std::io::Error::from_raw_os_error(28);
        assert_eq!(io_problem("stage", &full()).code(), "store_full");
        let inside = object_store::Error::Generic { store: "local directory", source: full().into() };
        assert_eq!(store_problem("stage", inside).code(), "store_full");
    }

    #[tokio::test]
    async fn paths_are_relative_to_the_location() {
        let root = tempfile::tempdir().unwrap();
        let store = open_store("deep/er", root.path()).unwrap();
        store.probe().await.unwrap();
        store.object_store.put(&Path::from("x/y.txt"), "hi".into()).await.unwrap();
        assert_eq!(std::fs::read(root.path().join("deep/er/x/y.txt")).unwrap(), b"hi");
        assert_eq!(store.read(&Path::from("x/y.txt")).await.unwrap().unwrap(), "hi");
        assert_eq!(store.read(&Path::from("x/z.txt")).await.unwrap(), None);
    }
}
