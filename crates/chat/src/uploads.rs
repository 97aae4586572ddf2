//! Uploads: pictures, videos and files that messages refer to by id.
//!
//! A client announces an upload ([`Uploads::announce`]) and gets a link to put the bytes. They stream into the archive
//! (`object_store`) and count once exactly as many came as were announced. Users who may see a message that refers to an
//! upload get a link to read it, which works for as long as they may. After a day without a reference it is removed. Called
//! by the HTTP API, and by [`crate::Chat`] through [`Attachments`]. It looks into the bytes of pictures alone
//! ([`crate::pictures`]).
//!
//! Places for arriving bytes are few, so each user has some of them, and bytes that come too slowly lose theirs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

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
use state::{LimitKey, Rate, RateLimiter};
use store::uploads::{DayQuota, Upload, UploadStore};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::signed_links::{LinkAction, LinkSigner, SignedLink};
use crate::{Attachments, ChatError, MessageFilter, Result, pictures};

/// Bytes of arriving uploads that may be in memory: two parts of each. Another upload is asked to retry.
const BUFFERED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How long an upload may take beyond what its size and the least rate allow.
const GRACE: Duration = Duration::from_secs(15);
/// When a user tries again who has as many uploads arriving as one may.
const BUSY_RETRY_MS: u64 = 2_000;
/// How long the archive may take to answer, and to say more of an object that is being read.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(8);
/// How long it may take to write a part or to put the parts together.
const PART_PATIENCE: Duration = Duration::from_secs(60);
/// Media types of pictures that lose their metadata.
const PICTURES: [&str; 3] = ["image/jpeg", "image/png", "image/webp"];
const DAY_MS: i64 = 86_400_000;
/// Announcements of one user.
const ANNOUNCE: Rate = Rate::per_s(1).burst(20);
/// An upload without a reference is removed after this long.
const KEPT_MS: i64 = 86_400_000;
/// How long an upload can be sent for the first time: until an hour before it may be removed.
const SENDABLE_MS: i64 = KEPT_MS - 3_600_000;
/// Uploads removed in one sweep.
const SWEPT_MAX: usize = 200;
/// Characters of a file's name.
const NAME_CHARS_MAX: usize = 128;

/// The parts of [`Uploads`].
pub struct UploadParts {
    /// Limits.
    pub settings: settings::Uploads,
    /// Announced uploads.
    pub store: Arc<dyn UploadStore>,
    /// The bytes.
    pub archive: Arc<dyn ObjectStore>,
    /// Bytes of the parts in which the archive takes an object.
    pub part_bytes: usize,
    /// Cleans the files' names, which others read.
    pub message_filter: MessageFilter,
    /// Signs links.
    pub signer: LinkSigner,
    /// Rates.
    pub rate_limiter: Arc<dyn RateLimiter>,
    /// Makes ids.
    pub ids: Arc<SnowflakeGenerator>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// An upload as its owner announces it.
#[derive(Debug, Clone)]
pub struct UploadDraft {
    /// The type of the message that will refer to it.
    pub msg_type: MsgType,
    /// Its media type.
    pub content_type: String,
    /// Its exact size.
    pub size_bytes: u64,
    /// The file's name.
    pub name: Option<String>,
}

/// A read of an upload.
pub struct UploadRead {
    /// The upload.
    pub upload: Upload,
    /// The range of bytes.
    pub range: Range<u64>,
    /// The bytes; an error ends them early.
    pub bytes: BoxStream<'static, object_store::Result<Bytes>>,
}

/// The rules of uploads.
pub struct Uploads {
    parts: UploadParts,
    /// Uploads whose bytes are arriving, each once, and their owners; as many as [`BUFFERED_BYTES_MAX`] allows.
    incoming: Mutex<HashMap<Snowflake, UserId>>,
    /// A picture that loses its metadata is in memory as a whole, so one at a time does.
    stripping: Semaphore,
}

/// An entry in [`Uploads::incoming`], removed on drop.
struct IncomingGuard<'a>(&'a Uploads, Snowflake);

impl Drop for IncomingGuard<'_> {
    fn drop(&mut self) {
        self.0.incoming.lock().remove(&self.1);
    }
}

impl Uploads {
    /// The rules over a store and an archive.
    #[must_use]
    pub fn new(parts: UploadParts) -> Self {
        Self { parts, incoming: Mutex::default(), stripping: Semaphore::new(1) }
    }

    /// Records an upload; returns it with the link for its bytes.
    ///
    /// # Errors
    /// [`ChatError::Invalid`], [`ChatError::TooLong`], [`ChatError::Filtered`] for the file's name, [`ChatError::Limited`],
    /// [`ChatError::Unavailable`].
    pub async fn announce(&self, who: &Identity, draft: UploadDraft) -> Result<(Upload, SignedLink)> {
        let (content_type, name) = self.check(&draft)?;
        let name = name.map(|name| (self.parts.message_filter)(who, &name, MsgType::Text)).transpose();
        let name = name.map_err(ChatError::Filtered)?.map(String::into_boxed_str);
        let key = LimitKey { scope: "uploads", id: who.user_id.as_str() };
        let now_ms = self.parts.clock.now_ms();
        let allowed = self.parts.rate_limiter.allow(key, ANNOUNCE, now_ms).await?;
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
        let quota = DayQuota { day: now_ms.div_euclid(DAY_MS), bytes_max: self.parts.settings.bytes_per_user_per_day };
        if !self.parts.store.announce_upload(&upload, now_ms + KEPT_MS, quota).await? {
            let retry_after_ms = ((quota.day + 1) * DAY_MS - now_ms).cast_unsigned();
            return Err(ChatError::Limited { retry_after_ms });
        }
        let link = self.link(LinkAction::Put, upload.id, None);
        Ok((upload, link))
    }

    /// The size limit for this type.
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

    /// Receives the bytes of an announced upload. Repeating a complete upload does nothing.
    ///
    /// # Errors
    /// [`ChatError::Forbidden`] for a bad link, [`ChatError::NotFound`], [`ChatError::Invalid`] when the bytes are not those
    /// that were announced or came too slowly, [`ChatError::Limited`] and [`ChatError::Overloaded`] while too many others
    /// arrive, [`ChatError::Unavailable`].
    pub async fn receive<E>(
        &self,
        link: &SignedLink,
        content_type: &str,
        bytes: impl Stream<Item = std::result::Result<Bytes, E>> + Unpin + Send,
    ) -> Result<()> {
        let upload = self.permitted(LinkAction::Put, link).await?;
        if !upload.content_type.eq_ignore_ascii_case(content_type) {
            return Err(ChatError::Invalid(format!("Content-Type must be {}", upload.content_type).into()));
        }
        if upload.complete {
            return Ok(());
        }
        let _incoming = self.begin_incoming(&upload)?;
        // Another request may have completed it meanwhile.
        if self.parts.store.upload(upload.id).await?.is_none_or(|upload| upload.complete) {
            return Ok(());
        }
        self.write(&upload, bytes).await?;
        let size_bytes = self.strip_metadata(&upload).await?;
        if !self.parts.store.complete_upload(upload.id, size_bytes).await? {
            // Its owner was erased while the bytes came.
            self.remove_bytes(upload.id).await?;
            return Err(ChatError::NotFound("upload"));
        }
        Ok(())
    }

    fn begin_incoming(&self, upload: &Upload) -> Result<IncomingGuard<'_>> {
        let mut incoming = self.incoming.lock();
        if incoming.contains_key(&upload.id) {
            return Err(ChatError::Invalid("these bytes are being uploaded already".into()));
        }
        let places = BUFFERED_BYTES_MAX / (2 * self.parts.part_bytes);
        let of_owner = incoming.values().filter(|owner| **owner == upload.owner).count();
        // Where parts are large and places few, one user leaves half of them to others.
        if of_owner >= (self.parts.settings.at_once_per_user as usize).min(places / 2) {
            return Err(ChatError::Limited { retry_after_ms: BUSY_RETRY_MS });
        }
        if incoming.len() >= places {
            return Err(ChatError::Overloaded);
        }
        incoming.insert(upload.id, upload.owner.clone());
        Ok(IncomingGuard(self, upload.id))
    }

    /// The next part, if it comes while the upload is no slower than the least rate. The last moment for `came` bytes rises
    /// with them, and for all of them it is the deadline of the whole.
    async fn next_part<E>(
        &self,
        bytes: &mut (impl Stream<Item = std::result::Result<Bytes, E>> + Unpin + Send),
        begun: Instant,
        came: u64,
    ) -> Option<Bytes> {
        let rate = u64::from(self.parts.settings.bytes_per_s_min).max(1);
        let by = begun + GRACE + Duration::from_secs(came / rate);
        tokio::time::timeout_at(by, bytes.next()).await.ok().flatten()?.ok()
    }

    /// Takes the metadata out of a picture whose bytes have all come; returns its size then.
    async fn strip_metadata(&self, upload: &Upload) -> Result<u64> {
        if !self.parts.settings.strip_metadata || !PICTURES.contains(&&*upload.content_type) {
            return Ok(upload.size_bytes);
        }
        let _turn = self.stripping.acquire().await.map_err(|_| ChatError::Unavailable)?;
        let path = object_path(upload.id);
        let archive = &self.parts.archive;
        let whole = within(PART_PATIENCE, async {
            archive.get_opts(&path, object_store::GetOptions::new()).await?.bytes().await
        });
        let whole = whole.await?;
        let stripped = tokio::task::spawn_blocking(move || pictures::without_metadata(&whole)).await;
        match stripped.map_err(|_| ChatError::Unavailable)? {
            Ok(None) => Ok(upload.size_bytes),
            Ok(Some(picture)) => {
                let size_bytes = picture.len() as u64;
                within(PART_PATIENCE, archive.put(&path, picture.into())).await?;
                Ok(size_bytes)
            }
            Err(pictures::Broken) => {
                within(ARCHIVE_PATIENCE, archive.delete(&path)).await?;
                Err(ChatError::Invalid("the bytes are no whole picture".into()))
            }
        }
    }

    /// Writes all of the bytes or none: the archive shows an object once its last part is there.
    async fn write<E>(
        &self,
        upload: &Upload,
        mut bytes: impl Stream<Item = std::result::Result<Bytes, E>> + Unpin + Send,
    ) -> Result<()> {
        let path = object_path(upload.id);
        let object = within(ARCHIVE_PATIENCE, self.parts.archive.put_multipart(&path)).await?;
        let mut object = WriteMultipart::new_with_chunk_size(object, self.parts.part_bytes);
        let (begun, mut came) = (Instant::now(), 0);
        while came < upload.size_bytes
            && let Some(part) = self.next_part(&mut bytes, begun, came).await
        {
            came += part.len() as u64;
            if came > upload.size_bytes {
                break;
            }
            within(PART_PATIENCE, object.wait_for_capacity(1)).await?;
            object.put(part);
        }
        let is_all = came == upload.size_bytes && self.next_part(&mut bytes, begun, came).await.is_none();
        if is_all {
            return within(PART_PATIENCE, object.finish()).await.map(drop);
        }
        within(ARCHIVE_PATIENCE, object.abort()).await?;
        Err(ChatError::Invalid(format!("exactly {} bytes were announced", upload.size_bytes).into()))
    }

    /// An upload and a link to read it, for its owner and for users who may see a message that refers to it.
    ///
    /// # Errors
    /// [`ChatError::NotFound`] for everybody else and until it is complete, [`ChatError::Unavailable`].
    pub async fn show(&self, who: &Identity, id: Snowflake) -> Result<(Upload, SignedLink)> {
        let upload = self.parts.store.upload(id).await?.filter(|upload| upload.complete);
        let upload = upload.ok_or(ChatError::NotFound("upload"))?;
        self.may_read(&who.user_id, &upload).await?;
        Ok((upload, self.link(LinkAction::Get, id, Some(who.user_id.clone()))))
    }

    /// Asked again with every read: a recall, a removal from the group, or the end of the message ends links, too.
    async fn may_read(&self, who: &UserId, upload: &Upload) -> Result<()> {
        if upload.owner == *who || self.parts.store.sees_upload(who, upload.id).await? {
            return Ok(());
        }
        Err(ChatError::NotFound("upload"))
    }

    /// The bytes behind a link; `choose` picks the range for a size.
    ///
    /// # Errors
    /// [`ChatError::Forbidden`] for a bad link, [`ChatError::NotFound`], [`ChatError::Unavailable`].
    pub async fn read(&self, link: &SignedLink, choose: impl FnOnce(u64) -> Range<u64>) -> Result<UploadRead> {
        let upload = self.permitted(LinkAction::Get, link).await?;
        let Some(reader) = link.reader.as_ref().filter(|_| upload.complete) else {
            return Err(ChatError::NotFound("upload"));
        };
        self.may_read(reader, &upload).await?;
        let range = choose(upload.size_bytes);
        let bytes = if range.is_empty() {
            futures::stream::empty().boxed()
        } else {
            let options = object_store::GetOptions::new().with_range(Some(range.clone()));
            let path = object_path(upload.id);
            unless_silent(within(ARCHIVE_PATIENCE, self.parts.archive.get_opts(&path, options)).await?.into_stream())
        };
        Ok(UploadRead { upload, range, bytes })
    }

    async fn permitted(&self, action: LinkAction, link: &SignedLink) -> Result<Upload> {
        if !self.parts.signer.permits(action, link, self.parts.clock.now_ms()) {
            return Err(ChatError::Forbidden("this link is invalid or has expired"));
        }
        self.parts.store.upload(link.id).await?.ok_or(ChatError::NotFound("upload"))
    }

    fn link(&self, action: LinkAction, id: Snowflake, reader: Option<UserId>) -> SignedLink {
        let now_s = self.parts.clock.now_ms() / 1_000;
        self.parts.signer.sign(action, id, now_s + i64::from(self.parts.settings.url_ttl_s), reader)
    }

    /// Removes the bytes of an upload. Removing them again is no error.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`]; then they may be there still.
    pub async fn remove_bytes(&self, id: Snowflake) -> Result<()> {
        let path = object_path(id);
        let removed = async {
            match self.parts.archive.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                done => done,
            }
        };
        within(ARCHIVE_PATIENCE, removed).await
    }

    /// Removes uploads that are a day old and incomplete or without a reference, at most [`SWEPT_MAX`].
    pub async fn sweep(&self) {
        let now_ms = self.parts.clock.now_ms();
        // A failure is logged by the store; the next call tries again.
        let stale = self.parts.store.stale_uploads(now_ms, now_ms + KEPT_MS, SWEPT_MAX).await.unwrap_or_default();
        for id in stale {
            // Logged; the next sweep tries again.
            if self.remove_bytes(id).await.is_err() {
                continue;
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

/// The path of an upload's bytes; a hundred folders, so that none is too full.
fn object_path(id: Snowflake) -> Path {
    Path::from(format!("{:02}/{id}", id.0 % 100))
}

/// What the archive answers, if it does so in time.
async fn within<T>(patience: Duration, work: impl Future<Output = object_store::Result<T>>) -> Result<T> {
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done.map_err(archive_failed),
        Err(_) => {
            tracing::error!("the archive of uploads does not answer");
            Err(ChatError::Unavailable)
        }
    }
}

/// The same bytes; they end early when the archive says nothing for [`ARCHIVE_PATIENCE`]. A reader may rest for longer: what
/// has come by then counts.
fn unless_silent(
    bytes: BoxStream<'static, object_store::Result<Bytes>>,
) -> BoxStream<'static, object_store::Result<Bytes>> {
    let next = async |bytes: Option<BoxStream<'static, object_store::Result<Bytes>>>| {
        let mut bytes = bytes?;
        match tokio::time::timeout(ARCHIVE_PATIENCE, bytes.next()).await {
            Ok(part) => Some((part?, Some(bytes))),
            Err(silent) => {
                let error = object_store::Error::Generic { store: "uploads", source: Box::new(silent) };
                Some((Err(error), None))
            }
        }
    };
    futures::stream::unfold(Some(bytes), next).boxed()
}

/// Logs a failure of the archive, such as a full disk.
fn archive_failed(error: object_store::Error) -> ChatError {
    tracing::error!(%error, "the archive of uploads failed");
    ChatError::Unavailable
}
