//! Reads segments, brings comments back into the database, and erases people from objects.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::metrics::count;
use model::{Clock, Comment, Metrics, RoomId, Snowflake, UserId};
use sha2::{Digest, Sha256};
use store::archive::{ArchivedSegment, segment_of};
use store::{Document, DocumentQuery, Positioned, ReplayQuery, Store, StoreError};
use tokio::sync::{Mutex, Notify, OnceCell, Semaphore};

use crate::cache::{Cache, Loaded};
use crate::objects::{Location, ObjectError, Objects};
use crate::segment::{self, Damage};
use crate::serving::Manifests;

/// Bytes of decoded segments kept.
const CACHE_BYTES_MAX: usize = 64 << 20;
/// Segments that are read or decoded at once.
const LOADS_AT_ONCE: usize = 4;
/// How often a page is tried again whose segments were replaced meanwhile.
const ATTEMPTS: usize = 5;
/// Comments whose state is asked for at once.
const ASKED_AT_ONCE: usize = 500;
/// Purges that wait for the object store.
const PURGES_MAX: usize = 1_000;
/// Comments erased in one transaction.
const PURGED_MAX: usize = 500;
/// The kinds of documents: what is kept once for the archive, and purges that objects have yet to learn of.
const ARCHIVE: &str = "archive";
const PURGE: &str = "archive_purge";

/// Why the archive could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ArchiveError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object store is away, or there is none.
    #[error("the archive is away: {0}")]
    Away(String),
    /// An object is missing.
    #[error("the object {0} is missing")]
    Missing(String),
    /// An object holds something else than was written.
    #[error("the object {0} is damaged: {1}")]
    Damaged(String, String),
    /// Another node changed the segment at the same time.
    #[error("somebody else changed the segment")]
    Overtaken,
}

impl From<ArchiveError> for StoreError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Store(error) => error,
            other => Self(other.to_string()),
        }
    }
}

impl ArchiveError {
    /// The label of the metric.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Away(_) => "away",
            Self::Missing(_) => "missing",
            Self::Damaged(..) => "damaged",
            Self::Overtaken => "overtaken",
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, ArchiveError>;

/// How the archive works.
#[derive(Debug, Clone)]
pub struct ArchiveSettings {
    /// Where objects are; without a place nothing is archived, and what was cannot be read.
    pub location: Option<Location>,
    /// Days after its end when a session leaves the database.
    pub after_days: u32,
    /// Days for which comments are kept where a room does not say; 0 keeps them.
    pub retention_days: u32,
    /// Who this process is among those that share the archive.
    pub owner: String,
}

/// The archive of a deployment.
pub struct Archive {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) objects: Option<Objects>,
    pub(crate) settings: ArchiveSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cache: Cache,
    pub(crate) loads: Semaphore,
    pub(crate) manifests: Manifests,
    /// What precedes the names of this deployment's objects.
    prefix: OnceCell<String>,
    /// One round of the mover, or one restoration, at a time.
    pub(crate) moving: Mutex<()>,
    /// Wakes the mover: an object has to lose something.
    pub(crate) wake: Notify,
    /// Whether the last thing that was tried failed, so that it is logged once.
    pub(crate) failing: AtomicBool,
}

impl Archive {
    /// The archive over a store and the place for objects. Does not contact the place.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        settings: ArchiveSettings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            objects: settings.location.clone().map(Objects::new),
            settings,
            clock,
            metrics,
            cache: Cache::new(CACHE_BYTES_MAX),
            loads: Semaphore::new(LOADS_AT_ONCE),
            manifests: Manifests::default(),
            prefix: OnceCell::new(),
            moving: Mutex::new(()),
            wake: Notify::new(),
            failing: AtomicBool::new(false),
        })
    }

    /// Whether there is a place for objects.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.objects.is_some()
    }

    /// Whether objects can be written and read now.
    pub async fn is_available(&self) -> bool {
        match &self.objects {
            Some(objects) => !self.failing.load(Ordering::Relaxed) && objects.probe().await,
            None => true,
        }
    }

    pub(crate) fn objects(&self) -> Result<&Objects> {
        self.objects.as_ref().ok_or_else(|| ArchiveError::Away("archive.url is empty".into()))
    }

    /// What precedes the names of this deployment's objects: made by chance once, and kept in the database. So a database
    /// that is new, or another one, never takes these objects for its own and never collects them.
    pub(crate) async fn prefix(&self) -> Result<&str> {
        let prefix = self.prefix.get_or_try_init(|| async {
            loop {
                if let Some(found) = self.store.document(ARCHIVE, "prefix").await? {
                    return Ok(found.body.trim_matches('"').to_owned());
                }
                let made = format!("{:016x}", rand::random::<u64>());
                let document =
                    Document { kind: ARCHIVE, id: "prefix".into(), body: format!("\"{made}\""), ..Document::default() };
                self.store.add_document(&document).await?;
            }
        });
        prefix.await.map(String::as_str)
    }

    /// Counts and logs a failure; an unchanged state is logged once.
    pub(crate) fn note<T>(&self, operation: &'static str, done: Result<T>) -> Result<T> {
        if let Err(error) = &done {
            count(&self.metrics.archive_errors, "reason", error.kind());
            if matches!(error, ArchiveError::Damaged(..) | ArchiveError::Missing(_)) {
                tracing::error!(operation, %error, "an archived segment cannot be used");
            } else {
                tracing::debug!(operation, %error, "the archive failed");
            }
        }
        done
    }

    /// A segment, verified: its object has the right bytes, and they are of this place.
    pub(crate) async fn load(&self, row: &ArchivedSegment) -> Result<Arc<Loaded>> {
        if let Some(loaded) = self.cache.get(&row.object) {
            count(&self.metrics.archive_cache, "outcome", "hit");
            return Ok(loaded);
        }
        count(&self.metrics.archive_cache, "outcome", "miss");
        let loaded = self.note("load", self.load_uncached(row).await)?;
        self.cache.put(&row.object, loaded.clone());
        Ok(loaded)
    }

    /// As [`Archive::load`], from the object itself.
    pub(crate) async fn load_uncached(&self, row: &ArchivedSegment) -> Result<Arc<Loaded>> {
        let _turn = self.loads.acquire().await.map_err(|_| ArchiveError::Away("it is closed".into()))?;
        let object = self.objects()?.read(&row.object, &row.checksum).await.map_err(|error| match error {
            ObjectError::Missing => ArchiveError::Missing(row.object.clone()),
            ObjectError::Checksum => ArchiveError::Damaged(row.object.clone(), Damage::Checksum.to_string()),
            ObjectError::Away(why) => ArchiveError::Away(why),
        })?;
        let (packed, wanted) = (object.clone(), row.clone());
        let decoded = tokio::task::spawn_blocking(move || {
            let segment = segment::unpack(&packed)?;
            let is_here = (&segment.room_id, segment.session_id, segment.n)
                == (&wanted.room_id, wanted.session_id, wanted.n)
                && segment.fingerprint() == wanted.fingerprint;
            if is_here { Ok(segment) } else { Err(Damage::Misplaced) }
        });
        let decoded = decoded.await.map_err(|_| ArchiveError::Away("decoding was cut off".into()))?;
        let segment = decoded.map_err(|damage| ArchiveError::Damaged(row.object.clone(), damage.to_string()))?;
        Ok(Arc::new(Loaded { segment, object }))
    }

    /// Runs `work` again while the segments that it read are replaced under it.
    async fn settled<T, F, W>(&self, rows: impl Fn() -> F, work: impl Fn(Vec<ArchivedSegment>) -> W) -> Result<T>
    where
        F: Future<Output = store::Result<Vec<ArchivedSegment>>>,
        W: Future<Output = Result<T>>,
    {
        let mut before = rows().await?;
        for _ in 0..ATTEMPTS {
            let done = work(before.clone()).await;
            let after = rows().await?;
            if after == before {
                return done;
            }
            before = after;
        }
        Err(ArchiveError::Overtaken)
    }

    /// A page of a recording, from the database and objects.
    pub(crate) async fn replay(&self, query: &ReplayQuery) -> Result<Vec<Arc<Comment>>> {
        let user = query.by_user.as_ref().map(user_hash);
        let from_ms = query.after.map_or(query.from_ms, |(offset, _)| offset.max(query.from_ms));
        if query.to_ms <= from_ms || query.limit == 0 {
            return Ok(self.store.replay(query.clone()).await?);
        }
        let numbers = (segment_of(from_ms), segment_of(query.to_ms.saturating_sub(1)));
        let rows = || async move {
            match query.session_id {
                Some(session) => {
                    let mut rows = self.store.archived_segments(session).await?;
                    rows.retain(|row| (numbers.0..=numbers.1).contains(&row.n) && row.room_id == query.room_id);
                    Ok(rows)
                }
                None => self.store.archived_segments_of_room(&query.room_id, numbers, user).await,
            }
        };
        self.settled(rows, |rows| async move {
            let mut page = self.store.replay(query.clone()).await?;
            if rows.is_empty() {
                return Ok(page);
            }
            let hidden = self.purges(&query.room_id).await?;
            let cold = self.cold_page(query, &rows, &hidden).await?;
            let hot: HashSet<_> = page.iter().map(|comment| comment.id).collect();
            page.extend(cold.into_iter().filter(|comment| !hot.contains(&comment.id)));
            page.sort_by_key(|comment| (comment.offset_ms, comment.id));
            page.truncate(query.limit);
            Ok(page)
        })
        .await
    }

    /// The first comments of these segments that a query asks for. Goes from one number to the next, and stops when it has
    /// enough, so that it holds few segments at once.
    async fn cold_page(
        &self,
        query: &ReplayQuery,
        rows: &[ArchivedSegment],
        purges: &[PendingPurge],
    ) -> Result<Vec<Arc<Comment>>> {
        let asked = |comment: &Comment| {
            (query.from_ms..query.to_ms).contains(&comment.offset_ms)
                && query.by_user.as_ref().is_none_or(|user| *user == comment.user_id)
                && query.after.is_none_or(|after| (comment.offset_ms, comment.id) > after)
                && !purges.iter().any(|purge| purge.hides(comment))
        };
        let mut page = Vec::new();
        for same_number in rows.chunk_by(|a, b| a.n == b.n) {
            let mut found = Vec::new();
            for row in same_number {
                let loaded = self.load(row).await?;
                let comments = loaded.segment.comments.iter().map(|one| &one.comment);
                found.extend(comments.filter(|comment| asked(comment)).cloned());
            }
            found.sort_by_key(|comment| (comment.offset_ms, comment.id));
            for some in found.chunks(ASKED_AT_ONCE) {
                let ids: Vec<_> = some.iter().map(|comment| comment.id).collect();
                let deleted: HashSet<_> = self.store.deleted_among(&ids).await?.into_iter().collect();
                page.extend(some.iter().filter(|comment| !deleted.contains(&comment.id)).cloned());
                if page.len() >= query.limit {
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Comments by id that lie in objects, with their segments. A comment that the database has in any state is not among
    /// them.
    pub(crate) async fn find(&self, ids: &[Snowflake]) -> Result<Vec<(Positioned, ArchivedSegment)>> {
        let places = self.store.archived_places(ids).await?;
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let rows = || async move {
            let places = self.store.archived_places(ids).await?;
            let rows: BTreeMap<_, _> = places.into_iter().map(|(_, row)| ((row.session_id, row.n), row)).collect();
            Ok(rows.into_values().collect())
        };
        self.settled(rows, |rows| async move {
            let wanted: HashSet<_> = ids.iter().collect();
            let mut found = Vec::new();
            for row in rows {
                let purges = self.purges(&row.room_id).await?;
                let loaded = self.load(&row).await?;
                let here = loaded.segment.comments.iter().filter(|one| wanted.contains(&one.comment.id));
                let seen = here.filter(|one| !purges.iter().any(|purge| purge.hides(&one.comment)));
                found.extend(seen.map(|one| (one.clone(), row.clone())));
            }
            let cold: Vec<_> = found.iter().map(|(one, _)| one.comment.id).collect();
            let deleted: HashSet<_> = self.store.deleted_among(&cold).await?.into_iter().collect();
            found.retain(|(one, _)| !deleted.contains(&one.comment.id));
            Ok(found)
        })
        .await
    }

    /// Brings comments back into the database, those of these that lie in objects. Returns whether there were any.
    pub(crate) async fn thaw(&self, ids: &[Snowflake]) -> Result<bool> {
        let found = self.find(ids).await?;
        self.thaw_found(&found).await?;
        Ok(!found.is_empty())
    }

    async fn thaw_found(&self, found: &[(Positioned, ArchivedSegment)]) -> Result<()> {
        let mut by_segment: BTreeMap<_, (&ArchivedSegment, Vec<Positioned>)> = BTreeMap::new();
        for (one, row) in found {
            by_segment.entry((row.session_id, row.n)).or_insert((row, Vec::new())).1.push(one.clone());
        }
        for (row, comments) in by_segment.values() {
            for some in comments.chunks(ASKED_AT_ONCE) {
                self.store.thaw(row, some).await?;
            }
        }
        Ok(())
    }

    /// Erases a user's comments from objects, in one room or everywhere: brings them back into the database, where
    /// [`store::CommentStore::purge_user`] erases them. Call it before that. The objects lose them within seconds; until then
    /// nobody is shown them. When the object store is away this is remembered, done later, and the user's comments are hidden
    /// meanwhile; with `now` it is an error. Returns how many comments it brought back.
    ///
    /// # Errors
    /// When the database is away, or the object store and `now` was asked for.
    pub async fn erase_user(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        now: bool,
    ) -> std::result::Result<u64, StoreError> {
        if self.store.archived_segments_of_user(room, user_hash(user)).await?.is_empty() {
            return Ok(0);
        }
        let purge = PendingPurge {
            user_id: user.clone(),
            room_id: room.cloned(),
            until: store::archive::first_id_at(self.clock.now_ms() + 1),
        };
        let id = format!("{:016x}", rand::random::<u64>());
        self.store.add_document(&purge.document(&id)).await?;
        match self.purge(&purge).await {
            Ok(back) => {
                self.store.remove_document(PURGE, &id).await?;
                Ok(back)
            }
            Err(error) if now => Err(error.into()),
            Err(ArchiveError::Store(error)) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "a purge waits for the archive");
                Ok(0)
            }
        }
    }

    /// Brings a purged user's comments back into the database.
    async fn purge(&self, purge: &PendingPurge) -> Result<u64> {
        let (user, room) = (user_hash(&purge.user_id), purge.room_id.as_ref());
        let rows = || self.store.archived_segments_of_user(room, user);
        let back = self.settled(rows, |rows| async move {
            let mut back = 0;
            for row in rows {
                let loaded = self.load(&row).await?;
                let of_user = loaded.segment.comments.iter().filter(|one| purge.hides(&one.comment));
                let found: Vec<_> = of_user.map(|one| (one.clone(), row.clone())).collect();
                self.thaw_found(&found).await?;
                back += found.len() as u64;
            }
            Ok(back)
        });
        let back = back.await?;
        self.wake.notify_one();
        Ok(back)
    }

    /// Purges of a room's comments that objects have yet to learn of.
    async fn purges(&self, room: &RoomId) -> Result<Vec<PendingPurge>> {
        let all = self.pending_purges().await?;
        Ok(all.into_iter().map(|(_, purge)| purge).filter(|purge| purge.is_in(room)).collect())
    }

    async fn pending_purges(&self) -> Result<Vec<(String, PendingPurge)>> {
        let query = DocumentQuery { kind: PURGE, limit: PURGES_MAX, ..DocumentQuery::default() };
        let found = self.store.documents(query).await?;
        Ok(found.into_iter().filter_map(|one| Some((one.id, serde_json::from_str(&one.body).ok()?))).collect())
    }

    pub(crate) async fn has_purges(&self) -> Result<bool> {
        Ok(!self.pending_purges().await?.is_empty())
    }

    /// Does the purges that wait.
    pub(crate) async fn finish_purges(&self) -> Result<()> {
        for (id, purge) in self.pending_purges().await? {
            self.purge(&purge).await?;
            while self.store.purge_user(&purge.user_id, purge.room_id.as_ref(), PURGED_MAX, None).await?.more {}
            self.store.remove_document(PURGE, &id).await?;
        }
        Ok(())
    }
}

/// A purge that objects have yet to learn of.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct PendingPurge {
    user_id: UserId,
    #[serde(default)]
    room_id: Option<RoomId>,
    /// Comments made later stay.
    until: Snowflake,
}

impl PendingPurge {
    fn is_in(&self, room: &RoomId) -> bool {
        self.room_id.as_ref().is_none_or(|only| only == room)
    }

    fn hides(&self, comment: &Comment) -> bool {
        comment.user_id == self.user_id && comment.id < self.until && self.is_in(&comment.room_id)
    }

    fn document(&self, id: &str) -> Document {
        Document {
            kind: PURGE,
            id: id.to_owned(),
            body: serde_json::to_string(self).unwrap_or_default(),
            ..Document::default()
        }
    }
}

/// What the index of who spoke knows of a user.
pub(crate) fn user_hash(user: &UserId) -> i64 {
    let hash = Sha256::digest(user.as_str().as_bytes());
    let first = hash.first_chunk::<8>().copied().unwrap_or_default();
    i64::from_be_bytes(first)
}
