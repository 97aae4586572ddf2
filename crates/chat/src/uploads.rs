//! Uploads: pictures, videos and files that messages refer to by their id.
//!
//! Announced first ([`Uploads::announce`]), which gives a link to bring the bytes by; these stream into the
//! archive (`object_store`) and count only when exactly as many came as were announced. Whoever may see
//! a message that refers to an upload is given a link to read it. What nobody refers to after a day is
//! removed. Called by the HTTP API; a sent message is checked through [`Attachments`]. Never looks into bytes.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use model::chat::MsgType;
use model::snowflake::made_at_ms;
use model::{Clock, Identity, Snowflake, SnowflakeGenerator, UserId};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use parking_lot::Mutex;
use state::{Gate, LimitKey, Rate};
use store::uploads::{Upload, UploadStore};

use crate::signed::{Deed, Signer, Ticket};
use crate::{Attachments, ChatError, Result};

/// Bytes written at once; two such parts of each upload are in memory.
const PART_BYTES: usize = 1024 * 1024;
/// Uploads that may come in at once; one more is told to try again.
const INCOMING_MAX: usize = 64;
/// Announcements of one user.
const ANNOUNCE: Rate = Rate::per_s(1).burst(20);
/// What nobody refers to is removed after this.
const KEPT_MS: i64 = 86_400_000;
/// Until when an upload can be sent for the first time: an hour before it may be removed.
const SENDABLE_MS: i64 = KEPT_MS - 3_600_000;
/// Uploads looked at in one go of the clean-up.
const SWEPT_MAX: usize = 200;
/// Characters of a file's name.
const NAME_CHARS_MAX: usize = 128;

/// What may be uploaded, as configured.
#[derive(Debug, Clone)]
pub struct UploadSettings {
    /// Bytes of a picture.
    pub image_bytes_max: u64,
    /// Bytes of a video.
    pub video_bytes_max: u64,
    /// Bytes of a file.
    pub file_bytes_max: u64,
    /// The media types that are taken.
    pub types: Vec<String>,
    /// How long a link is good, in seconds.
    pub url_ttl_s: u32,
}

/// What uploads are made of.
pub struct UploadParts {
    /// What may be uploaded.
    pub settings: UploadSettings,
    /// What was announced.
    pub store: Arc<dyn UploadStore>,
    /// Where the bytes are.
    pub archive: Arc<dyn ObjectStore>,
    /// Signs links.
    pub signer: Signer,
    /// Rates.
    pub gate: Arc<dyn Gate>,
    /// Makes ids.
    pub ids: Arc<SnowflakeGenerator>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// An upload as its owner announces it.
#[derive(Debug, Clone)]
pub struct UploadDraft {
    /// As what it will be sent.
    pub msg_type: MsgType,
    /// Its media type.
    pub content_type: String,
    /// Exactly so many.
    pub size_bytes: u64,
    /// What to call it.
    pub name: Option<String>,
}

/// Bytes of an upload on their way out.
pub struct Served {
    /// What they are.
    pub upload: Upload,
    /// Which of its bytes these are.
    pub range: Range<u64>,
    /// The bytes; an error ends them early.
    pub bytes: BoxStream<'static, object_store::Result<Bytes>>,
}

/// The rules of uploads.
pub struct Uploads {
    parts: UploadParts,
    /// Uploads whose bytes are coming in; at most [`INCOMING_MAX`], each once.
    incoming: Mutex<HashSet<Snowflake>>,
}

/// A place among [`Uploads::incoming`].
struct Incoming<'a>(&'a Uploads, Snowflake);

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        self.0.incoming.lock().remove(&self.1);
    }
}

impl Uploads {
    /// The rules over a store and an archive.
    #[must_use]
    pub fn new(parts: UploadParts) -> Self {
        Self { parts, incoming: Mutex::default() }
    }

    /// Takes note of an upload; the link by which its bytes are to come.
    ///
    /// # Errors
    /// [`ChatError::Invalid`], [`ChatError::TooLong`], [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn announce(&self, who: &Identity, draft: UploadDraft) -> Result<(Upload, Ticket)> {
        let (content_type, name) = self.check(&draft)?;
        let key = LimitKey { scope: "uploads", id: who.user_id.as_str() };
        let now_ms = self.parts.clock.now_ms();
        let allowed = self.parts.gate.allow(key, ANNOUNCE, now_ms).await?;
        allowed.map_err(|retry_after_ms| ChatError::Limited { retry_after_ms })?;
        let upload = Upload {
            id: self.parts.ids.next()?,
            owner: who.user_id.clone(),
            msg_type: draft.msg_type,
            content_type,
            size_bytes: draft.size_bytes,
            name,
            complete: false,
        };
        self.parts.store.announce_upload(&upload, now_ms + KEPT_MS).await?;
        let ticket = self.ticket(Deed::Put, upload.id);
        Ok((upload, ticket))
    }

    /// Most bytes of an upload of this type.
    #[must_use]
    pub const fn bytes_max(&self, msg_type: MsgType) -> u64 {
        match msg_type {
            MsgType::Image => self.parts.settings.image_bytes_max,
            MsgType::Video => self.parts.settings.video_bytes_max,
            _ => self.parts.settings.file_bytes_max,
        }
    }

    fn check(&self, draft: &UploadDraft) -> Result<(Box<str>, Option<Box<str>>)> {
        let content_type = draft.content_type.to_ascii_lowercase();
        let fits = match draft.msg_type {
            MsgType::Image => content_type.starts_with("image/"),
            MsgType::Video => content_type.starts_with("video/"),
            MsgType::File => true,
            MsgType::Text | MsgType::Encrypted => {
                return Err(ChatError::Invalid("msg_type must be image, video or file".into()));
            }
        };
        if !fits || !self.parts.settings.types.contains(&content_type) {
            let types = self.parts.settings.types.join(", ");
            return Err(ChatError::Invalid(format!("content_type must be one that fits msg_type, of {types}").into()));
        }
        let max = self.bytes_max(draft.msg_type);
        if !(1..=max).contains(&draft.size_bytes) {
            return Err(ChatError::Invalid(format!("size_bytes must be 1 to {max}").into()));
        }
        let name = draft.name.as_deref().map(words::sanitise).filter(|name| !name.is_empty());
        if name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARS_MAX) {
            return Err(ChatError::Invalid(format!("name must have at most {NAME_CHARS_MAX} characters").into()));
        }
        Ok((content_type.into(), name.map(Into::into)))
    }

    /// Takes the bytes of an announced upload. Bytes that came before stay: bringing them again is fine.
    ///
    /// # Errors
    /// [`ChatError::Forbidden`] for a bad link, [`ChatError::NotFound`], [`ChatError::Invalid`] when something else
    /// comes than was announced, [`ChatError::Overloaded`], [`ChatError::Unavailable`].
    pub async fn take<E>(
        &self,
        ticket: &Ticket,
        content_type: &str,
        bytes: impl Stream<Item = std::result::Result<Bytes, E>> + Unpin + Send,
    ) -> Result<()> {
        let upload = self.admitted(Deed::Put, ticket).await?;
        if !upload.content_type.eq_ignore_ascii_case(content_type) {
            return Err(ChatError::Invalid(format!("Content-Type must be {}", upload.content_type).into()));
        }
        if upload.complete {
            return Ok(());
        }
        let _incoming = self.enter(upload.id)?;
        // Another link may have brought them since the look above.
        if self.parts.store.upload(upload.id).await?.is_none_or(|upload| upload.complete) {
            return Ok(());
        }
        self.write(&upload, bytes).await?;
        Ok(self.parts.store.complete_upload(upload.id).await?)
    }

    fn enter(&self, id: Snowflake) -> Result<Incoming<'_>> {
        let mut incoming = self.incoming.lock();
        if incoming.len() >= INCOMING_MAX {
            return Err(ChatError::Overloaded);
        }
        match incoming.insert(id) {
            true => Ok(Incoming(self, id)),
            false => Err(ChatError::Invalid("these bytes are coming in already".into())),
        }
    }

    /// All of the bytes or none: the archive shows an object when its last part is there.
    async fn write<E>(
        &self,
        upload: &Upload,
        mut bytes: impl Stream<Item = std::result::Result<Bytes, E>> + Unpin + Send,
    ) -> Result<()> {
        let object = self.parts.archive.put_multipart(&object(upload.id)).await.map_err(archive)?;
        let mut object = WriteMultipart::new_with_chunk_size(object, PART_BYTES);
        let mut came = 0;
        while let Some(Ok(part)) = bytes.next().await {
            came += part.len() as u64;
            if came > upload.size_bytes {
                break;
            }
            object.wait_for_capacity(1).await.map_err(archive)?;
            object.put(part);
        }
        if came == upload.size_bytes {
            return object.finish().await.map(|_| ()).map_err(archive);
        }
        object.abort().await.map_err(archive)?;
        Err(ChatError::Invalid(format!("exactly {} bytes were announced", upload.size_bytes).into()))
    }

    /// An upload and a link to read it by, for its owner and for whoever may see a message that refers to it.
    ///
    /// # Errors
    /// [`ChatError::NotFound`] for everybody else and until it is complete, [`ChatError::Unavailable`].
    pub async fn show(&self, who: &Identity, id: Snowflake) -> Result<(Upload, Ticket)> {
        let upload = self.parts.store.upload(id).await?.filter(|upload| upload.complete);
        let upload = upload.ok_or(ChatError::NotFound("upload"))?;
        if upload.owner != who.user_id && !self.parts.store.sees_upload(&who.user_id, id).await? {
            return Err(ChatError::NotFound("upload"));
        }
        Ok((upload, self.ticket(Deed::Get, id)))
    }

    /// The bytes behind a link; `wanted` chooses some of so many.
    ///
    /// # Errors
    /// [`ChatError::Forbidden`] for a bad link, [`ChatError::NotFound`], [`ChatError::Unavailable`].
    pub async fn read(&self, ticket: &Ticket, wanted: impl FnOnce(u64) -> Range<u64>) -> Result<Served> {
        let upload = self.admitted(Deed::Get, ticket).await?;
        if !upload.complete {
            return Err(ChatError::NotFound("upload"));
        }
        let range = wanted(upload.size_bytes);
        let bytes = if range.is_empty() {
            futures::stream::empty().boxed()
        } else {
            let options = object_store::GetOptions::new().with_range(Some(range.clone()));
            self.parts.archive.get_opts(&object(upload.id), options).await.map_err(archive)?.into_stream()
        };
        Ok(Served { upload, range, bytes })
    }

    async fn admitted(&self, deed: Deed, ticket: &Ticket) -> Result<Upload> {
        if !self.parts.signer.admits(deed, ticket, self.parts.clock.now_ms()) {
            return Err(ChatError::Forbidden("this link is not good, or not any more"));
        }
        self.parts.store.upload(ticket.id).await?.ok_or(ChatError::NotFound("upload"))
    }

    fn ticket(&self, deed: Deed, id: Snowflake) -> Ticket {
        let now_s = self.parts.clock.now_ms() / 1_000;
        self.parts.signer.sign(deed, id, now_s + i64::from(self.parts.settings.url_ttl_s))
    }

    /// Removes uploads that are a day old and not complete, or that no message refers to; some at a time.
    pub async fn sweep(&self) {
        let now_ms = self.parts.clock.now_ms();
        // A failure is logged by the store; the next call tries again.
        let stale = self.parts.store.stale_uploads(now_ms, now_ms + KEPT_MS, SWEPT_MAX).await.unwrap_or_default();
        for id in stale {
            match self.parts.archive.delete(&object(id)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(%id, %error, "an upload could not be removed; it is tried again");
                    continue;
                }
            }
            if self.parts.store.remove_upload(id).await.is_err() {
                return;
            }
        }
    }
}

#[async_trait]
impl Attachments for Uploads {
    async fn usable(&self, owner: &UserId, upload_id: &str, msg_type: MsgType) -> Result<bool> {
        let Ok(id) = upload_id.parse() else { return Ok(false) };
        let Some(upload) = self.parts.store.upload(id).await? else { return Ok(false) };
        if !upload.complete || upload.owner != *owner || upload.msg_type != msg_type {
            return Ok(false);
        }
        let fresh = self.parts.clock.now_ms() < made_at_ms(id) + SENDABLE_MS;
        Ok(fresh || self.parts.store.sees_upload(owner, id).await?)
    }
}

/// Where an upload's bytes are; a hundred folders, so that none is too full.
fn object(id: Snowflake) -> Path {
    Path::from(format!("{:02}/{id}", id.0 % 100))
}

/// The archive failed: a full disk, an I/O error.
fn archive(error: object_store::Error) -> ChatError {
    tracing::error!(%error, "the archive of uploads failed");
    ChatError::Unavailable
}
