//! The port of uploads: who announced what, and whether the archive has its bytes.
//!
//! Called by `chat` alone. The bytes are in the archive, under the upload's id. The messages that refer to an upload decide
//! who may see it.

use async_trait::async_trait;
use model::chat::MsgType;
use model::{Snowflake, UserId};

use crate::Result;

/// An image, video or file that messages refer to by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id; tells when it was announced.
    pub id: Snowflake,
    /// Who uploads it.
    pub owner: UserId,
    /// The type of message that may refer to it.
    pub msg_type: MsgType,
    /// Its media type (RFC 9110, section 8.3.1), without parameters.
    pub content_type: Box<str>,
    /// Its exact size.
    pub size_bytes: u64,
    /// The file name that its owner gave.
    pub name: Option<Box<str>>,
    /// The archive has all of its bytes.
    pub complete: bool,
}

/// What one user may announce in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayQuota {
    /// The day, counted from 1970-01-01 (UTC).
    pub day: i64,
    /// Bytes of all uploads announced in it, also of those removed since.
    pub bytes_max: u64,
}

/// Stores what was announced and uploaded.
#[async_trait]
pub trait UploadStore: Send + Sync + 'static {
    /// Stores a new upload. [`UploadStore::stale_uploads`] checks it from `check_at_ms` on.
    /// False, and nothing is stored, when the owner's quota does not allow it.
    async fn announce_upload(&self, upload: &Upload, check_at_ms: i64, quota: DayQuota) -> Result<bool>;
    /// One upload.
    async fn upload(&self, id: Snowflake) -> Result<Option<Upload>>;
    /// Notes that the archive has all of its bytes, and how many they are. False when it was removed meanwhile.
    async fn complete_upload(&self, id: Snowflake, size_bytes: u64) -> Result<bool>;
    /// Whether `user` may see a message that refers to the upload and was not recalled.
    async fn sees_upload(&self, user: &UserId, id: Snowflake) -> Result<bool>;
    /// Checks at most `limit` uploads that are due. Returns those without bytes, and those to which no message refers.
    /// The others are due again at `next_check_ms`. Forgets quotas of past days.
    async fn stale_uploads(&self, now_ms: i64, next_check_ms: i64, limit: usize) -> Result<Vec<Snowflake>>;
    /// Removes an upload.
    async fn remove_upload(&self, id: Snowflake) -> Result<()>;
}
