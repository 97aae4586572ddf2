//! The port of uploads: what was announced, by whom, whether its bytes are there.
//!
//! Called by `chat` alone; the bytes themselves are in the archive, under the upload's id. Atomic and
//! bounded as the other ports. Who may see an upload follows from the messages that refer to it.

use async_trait::async_trait;
use model::chat::MsgType;
use model::{Snowflake, UserId};

use crate::Result;

/// A picture, video or file that is sent by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its name; tells when it was announced.
    pub id: Snowflake,
    /// Whose.
    pub owner: UserId,
    /// As what it may be sent.
    pub msg_type: MsgType,
    /// Its media type (RFC 9110, section 8.3.1), without parameters.
    pub content_type: Box<str>,
    /// Exactly so many.
    pub size_bytes: u64,
    /// What its owner calls it.
    pub name: Option<Box<str>>,
    /// All of its bytes are in the archive.
    pub complete: bool,
}

/// The port.
#[async_trait]
pub trait UploadStore: Send + Sync + 'static {
    /// Keeps a new upload, to be looked at by [`UploadStore::stale_uploads`] from `check_at_ms` on.
    async fn announce_upload(&self, upload: &Upload, check_at_ms: i64) -> Result<()>;
    /// One upload.
    async fn upload(&self, id: Snowflake) -> Result<Option<Upload>>;
    /// All of its bytes are in the archive from now on.
    async fn complete_upload(&self, id: Snowflake) -> Result<()>;
    /// Whether a message that `user` may see, and that was not recalled, refers to the upload.
    async fn sees_upload(&self, user: &UserId, id: Snowflake) -> Result<bool>;
    /// Of the uploads that are due to be looked at, at most `limit`, those without bytes or without any
    /// message that refers to them. The others are due again at `next_check_ms`.
    async fn stale_uploads(&self, now_ms: i64, next_check_ms: i64, limit: usize) -> Result<Vec<Snowflake>>;
    /// Forgets an upload.
    async fn remove_upload(&self, id: Snowflake) -> Result<()>;
}
