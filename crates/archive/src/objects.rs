//! The object store of the archive: a directory, or S3 and its like.
//!
//! Opens the store that `archive.url` names, and reads and writes whole objects with a time limit and a check. A name is
//! written once and never again; where the store can, it enforces that. Knows nothing of sessions.

use std::path::Path as FilePath;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    ClientOptions, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
};
use sha2::{Digest, Sha256};

use crate::segment::OBJECT_BYTES_MAX;

/// One request to the store, with its retries. What takes longer counts as away.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RETRIES_MAX: usize = 2;
/// Answers the question whether the store is there: this object need not exist.
const PROBE: &str = "probe";
const PROBE_TIMEOUT: Duration = Duration::from_millis(900);

/// Where the objects of a deployment are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory.
    Directory(std::path::PathBuf),
    /// A bucket, and what precedes each name in it.
    Bucket {
        /// The bucket.
        bucket: String,
        /// Without slashes at its ends; may be empty.
        prefix: String,
    },
}

impl Location {
    /// Reads an `archive.url`; a relative directory is in `data`. `None` when it is empty.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(url: &str, data: &FilePath) -> Result<Option<Self>, &'static str> {
        const EXPECTED: &str = "empty, file:directory, file:///directory or s3://bucket/prefix";
        if url.is_empty() {
            return Ok(None);
        }
        if let Some(rest) = url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            if bucket.is_empty() || !bucket.bytes().all(is_name) || Path::parse(prefix.trim_matches('/')).is_err() {
                return Err(EXPECTED);
            }
            return Ok(Some(Self::Bucket { bucket: bucket.into(), prefix: prefix.trim_matches('/').into() }));
        }
        let path = url.strip_prefix("file:").ok_or(EXPECTED)?;
        let path = match path.strip_prefix("//") {
            Some(absolute) if absolute.starts_with('/') => absolute,
            Some(_) => return Err(EXPECTED),
            None => path,
        };
        if path.is_empty() { Err(EXPECTED) } else { Ok(Some(Self::Directory(data.join(path)))) }
    }

    /// A place of its own in this one.
    #[must_use]
    pub fn within(self, name: &str) -> Self {
        match self {
            Self::Directory(path) => Self::Directory(path.join(name)),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => Self::Bucket { bucket, prefix: name.into() },
            Self::Bucket { bucket, prefix } => Self::Bucket { bucket, prefix: format!("{prefix}/{name}") },
        }
    }

    /// Bytes of one part of an object that is written in parts. S3 takes no smaller ones, except for the last.
    #[must_use]
    pub const fn part_bytes(&self) -> usize {
        match self {
            Self::Directory(_) => 1024 * 1024,
            Self::Bucket { .. } => 5 * 1024 * 1024,
        }
    }

    /// Opens it. Does not contact a bucket; a directory is created when something is written.
    ///
    /// # Errors
    /// When the settings in the environment (`AWS_…`) make no sense, or the directory cannot be used.
    pub fn open(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        match self {
            Self::Directory(path) => {
                // The crate wants the directory to be there. One that cannot be made is away until it can.
                if let Err(error) = std::fs::create_dir_all(path) {
                    return Err(object_store::Error::Generic { store: "directory", source: Box::new(error) });
                }
                Ok(Arc::new(LocalFileSystem::new_with_prefix(path)?.with_fsync(true)))
            }
            Self::Bucket { bucket, prefix } => {
                let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
                let endpoint = endpoint.into_iter().find_map(|name| std::env::var(name).ok());
                let is_plain = endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
                // Whoever calls bounds its calls. A time limit here would also cut off bytes that are passed on to a slow
                // reader, even one on each read: it runs while the reader rests.
                let client = ClientOptions::new()
                    .with_timeout_disabled()
                    .with_connect_timeout(CONNECT_TIMEOUT)
                    .with_allow_http(is_plain);
                let retry =
                    RetryConfig { max_retries: RETRIES_MAX, retry_timeout: CALL_TIMEOUT, ..RetryConfig::default() };
                let mut builder =
                    AmazonS3Builder::from_env().with_bucket_name(bucket).with_client_options(client).with_retry(retry);
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                let store = builder.build()?;
                Ok(if prefix.is_empty() {
                    Arc::new(store)
                } else {
                    Arc::new(PrefixStore::new(store, Path::parse(prefix)?))
                })
            }
        }
    }
}

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is none of this name.
    #[error("the object is missing")]
    Missing,
    /// Its bytes are others than those that were written.
    #[error("the object's checksum is wrong")]
    Checksum,
    /// The store is away, or refuses.
    #[error("the object store failed: {0}")]
    Away(String),
}

impl From<object_store::Error> for ObjectError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            error => Self::Away(error.to_string()),
        }
    }
}

/// Objects by name. Opened when they are first needed, so that a store that is away stops nothing else.
pub struct Objects {
    location: Location,
    opened: OnceLock<Arc<dyn ObjectStore>>,
}

impl Objects {
    /// Objects at a place.
    #[must_use]
    pub const fn new(location: Location) -> Self {
        Self { location, opened: OnceLock::new() }
    }

    fn store(&self) -> Result<&Arc<dyn ObjectStore>, ObjectError> {
        if self.opened.get().is_none() {
            let _ = self.opened.set(self.location.open()?);
        }
        self.opened.get().ok_or_else(|| ObjectError::Away("it cannot be opened".into()))
    }

    async fn timed<T>(work: impl Future<Output = object_store::Result<T>>) -> Result<T, ObjectError> {
        match tokio::time::timeout(CALL_TIMEOUT, work).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(ObjectError::Away("no answer in time".into())),
        }
    }

    /// Reads an object whose bytes have this checksum.
    pub async fn read(&self, name: &str, checksum: &str) -> Result<Bytes, ObjectError> {
        let bytes = self.read_any(name).await?;
        if hex_sha256(&bytes) == checksum { Ok(bytes) } else { Err(ObjectError::Checksum) }
    }

    /// Reads an object as it is.
    pub async fn read_any(&self, name: &str) -> Result<Bytes, ObjectError> {
        let (store, path) = (self.store()?, Path::from(name));
        Self::timed(async {
            let found = store.get_opts(&path, GetOptions::new()).await?;
            if found.meta.size > OBJECT_BYTES_MAX as u64 {
                let source = "an object is larger than any of ours".into();
                return Err(object_store::Error::Generic { store: "archive", source });
            }
            found.bytes().await
        })
        .await
    }

    /// Writes a new object. One of this name is an error, where the store can tell.
    pub async fn write(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        let (store, path) = (self.store()?, Path::from(name));
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        Self::timed(async {
            match store.put_opts(&path, bytes.clone().into(), create).await {
                // A store without conditional writes. Names are made from chance, so none is written twice.
                Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                    store.put(&path, bytes.into()).await
                }
                written => written,
            }
        })
        .await
        .map(drop)
    }

    /// Removes an object; one that is gone is no error.
    pub async fn remove(&self, name: &str) -> Result<(), ObjectError> {
        let store = self.store()?;
        match Self::timed(async { store.delete(&Path::from(name)).await }).await {
            Err(ObjectError::Missing) => Ok(()),
            done => done,
        }
    }

    /// All objects whose names begin so.
    pub fn list(&self, prefix: &str) -> Result<BoxStream<'static, Result<ObjectMeta, ObjectError>>, ObjectError> {
        let listed = self.store()?.list(Some(&Path::from(prefix)));
        let in_time = stream::unfold(Some(listed), async |listed| {
            let mut listed = listed?;
            match tokio::time::timeout(CALL_TIMEOUT, listed.next()).await {
                Ok(object) => Some((object?.map_err(Into::into), Some(listed))),
                Err(_) => Some((Err(ObjectError::Away("no answer in time".into())), None)),
            }
        });
        Ok(in_time.boxed())
    }

    /// Whether the store answers.
    pub async fn probe(&self) -> bool {
        let (Ok(store), path) = (self.store(), Path::from(PROBE)) else { return false };
        if let Location::Directory(path) = &self.location {
            // A directory that was taken away answers as an empty one would.
            return path.is_dir();
        }
        let head = GetOptions { head: true, ..GetOptions::new() };
        let asked = tokio::time::timeout(PROBE_TIMEOUT, store.get_opts(&path, head));
        matches!(asked.await, Ok(Ok(_) | Err(object_store::Error::NotFound { .. })))
    }
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_directories_and_buckets() {
        let parse = |url| Location::parse(url, FilePath::new("/data"));
        let directory = |path: &str| Ok(Some(Location::Directory(path.into())));
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("file:archive"), directory("/data/archive"));
        assert_eq!(parse("file:/srv/a"), directory("/srv/a"));
        assert_eq!(parse("file:///srv/a"), directory("/srv/a"));
        let bucket =
            |bucket: &str, prefix: &str| Ok(Some(Location::Bucket { bucket: bucket.into(), prefix: prefix.into() }));
        assert_eq!(parse("s3://b"), bucket("b", ""));
        assert_eq!(parse("s3://b/tv/past/"), bucket("b", "tv/past"));
        for wrong in ["archive", "file:", "file://host/a", "s3://", "s3:///a", "s3://b u/", "gs://b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_name_is_written_once_and_a_wrong_checksum_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let location = Location::Directory(dir.path().join("archive"));
        let objects = Objects::new(location);
        assert!(objects.probe().await);
        objects.write("segments/1/0-a", Bytes::from_static(b"one")).await.expect("written");
        let again = objects.write("segments/1/0-a", Bytes::from_static(b"two")).await;
        assert!(matches!(again, Err(ObjectError::Away(_))), "the directory refuses a name that is taken");
        let read = objects.read("segments/1/0-a", &hex_sha256(b"one")).await.expect("read");
        assert_eq!(read, "one");
        assert!(matches!(objects.read("segments/1/0-a", "00").await, Err(ObjectError::Checksum)));
        assert!(matches!(objects.read("segments/1/0-b", "00").await, Err(ObjectError::Missing)));
        objects.remove("segments/1/0-a").await.expect("removed");
        objects.remove("segments/1/0-a").await.expect("gone already");
    }
}
