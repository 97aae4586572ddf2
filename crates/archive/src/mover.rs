//! Moves sessions from the database into objects, and takes erased and expired comments out of objects.
//!
//! One segment after the other: read what the database has, merge it with the object that there is, write a new object, read
//! it back and compare it comment by comment, let the database name it, and only then remove the comments from the database
//! and the old object from the store. The process may end between any two of these steps: what is in both places counts once,
//! an object that nobody names is collected, and the next round continues. The lease makes one node do it at a time; every
//! step is safe without it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use model::{Session, Snowflake};
use store::archive::ArchivedSegment;
use store::{Positioned, StoreError};
use tokio::time::Instant;

use crate::archive::{Archive, ArchiveError, Result, user_hash};
use crate::cache::Loaded;
use crate::lease::Lease;
use crate::objects::{ObjectError, hex_sha256};
use crate::segment::{self, Segment};

/// How often it looks for something to do.
const INTERVAL: Duration = Duration::from_secs(2);
/// Sessions and segments of one round.
const SESSIONS_MAX: usize = 100;
const EXPIRED_MAX: usize = 100;
/// Comments that leave the database in one transaction: live rooms wait for it.
const DROPPED_AT_ONCE: usize = 500;
/// How long an archived session that changed is left in the database, unless sessions leave at once: more may follow.
const SETTLING: Duration = Duration::from_secs(3_600);
/// An object must be named this soon after it was written, since one that is not named is collected.
const NAMED_WITHIN: Duration = Duration::from_secs(300);
const COLLECTED_AFTER_MS: i64 = 1_800_000;
const COLLECTION_INTERVAL: Duration = Duration::from_secs(600);
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// Objects whose names are looked up at once.
const LOOKED_UP_AT_ONCE: usize = 200;
const DAY_MS: i64 = 86_400_000;
/// The object that shows that this deployment has written here. A directory that was taken away lacks it.
const MARKER: &str = "deployment";

/// What a mover remembers between rounds.
pub struct Mover {
    archive: Arc<Archive>,
    lease: Lease,
    /// When it first saw that an archived session had changed.
    changed: HashMap<Snowflake, Instant>,
    collected: Option<Instant>,
    expired: Option<Instant>,
    marked: bool,
}

impl Mover {
    /// A mover of this archive.
    #[must_use]
    pub fn new(archive: Arc<Archive>) -> Self {
        let lease = Lease::new(archive.settings.owner.clone());
        Self { archive, lease, changed: HashMap::new(), collected: None, expired: None, marked: false }
    }

    /// Works until it is dropped; it may be dropped at any moment.
    pub async fn run(mut self) {
        if !self.archive.is_on() {
            return;
        }
        loop {
            let done = self.round().await;
            let failed = done.is_err();
            let before = self.archive.failing.swap(failed, Ordering::Relaxed);
            match self.archive.note("move", done) {
                Err(error) if !before => tracing::warn!(%error, "the archive waits"),
                Ok(()) if before => tracing::info!("the archive works again"),
                _ => {}
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.archive.wake.notified() => {}
            }
        }
    }

    /// Does what is due now. Others' work is left to them.
    ///
    /// # Errors
    /// What went wrong first; the next round tries again.
    pub async fn round(&mut self) -> Result<()> {
        let archive = self.archive.clone();
        let _alone = archive.moving.lock().await;
        let changed = archive.store.changed_archives(SESSIONS_MAX).await?;
        let ids: HashSet<_> = changed.iter().map(|session| session.id).collect();
        self.changed.retain(|id, _| ids.contains(id));
        let until_ms = archive.clock.now_ms().saturating_sub(i64::from(archive.settings.after_days) * DAY_MS);
        let ended = archive.store.sessions_to_archive(until_ms, SESSIONS_MAX).await?;
        let is_due = |last: Option<Instant>, interval| last.is_none_or(|last| last.elapsed() >= interval);
        let (expires, collects) = (is_due(self.expired, EXPIRY_INTERVAL), is_due(self.collected, COLLECTION_INTERVAL));
        let is_idle = changed.is_empty() && ended.is_empty() && !expires && !collects;
        if is_idle && !archive.has_purges().await? {
            return Ok(());
        }
        if !self.lease.take(&*archive.store, &*archive.clock).await? {
            return Ok(());
        }
        let done = self.work(&changed, &ended, expires, collects).await;
        self.release().await;
        done
    }

    async fn work(&mut self, changed: &[Session], ended: &[Session], expires: bool, collects: bool) -> Result<()> {
        self.check_marker().await?;
        self.archive.finish_purges().await?;
        let mut done = Vec::new();
        for session in changed {
            let since = *self.changed.entry(session.id).or_insert_with(Instant::now);
            let settled = self.archive.settings.after_days == 0 || since.elapsed() >= SETTLING;
            done.push(self.move_session(session, settled).await);
        }
        for session in ended {
            done.push(self.move_session(session, true).await);
        }
        if expires {
            done.push(self.expire().await);
            self.expired = Some(Instant::now());
        }
        if collects {
            done.push(self.collect().await);
            self.collected = Some(Instant::now());
        }
        // One session whose object is broken must not keep the others.
        done.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    /// Gives the lease back.
    async fn release(&self) {
        // It ends by itself soon after.
        let _ = self.lease.release(&*self.archive.store).await;
    }

    async fn renew(&self) -> Result<()> {
        match self.lease.take(&*self.archive.store, &*self.archive.clock).await? {
            true => Ok(()),
            false => Err(ArchiveError::Overtaken),
        }
    }

    /// The store must be the one that holds what was written before: a directory that is not mounted looks like an empty
    /// one, and what is written there is lost from sight once it is mounted.
    async fn check_marker(&mut self) -> Result<()> {
        let (objects, name) = (self.archive.objects()?, format!("{}/{MARKER}", self.archive.prefix().await?));
        match objects.read_any(&name).await {
            Ok(_) => {
                self.marked = true;
                Ok(())
            }
            Err(ObjectError::Missing) => {
                let has_written = !self.archive.store.archived_sessions(Snowflake(0), 1).await?.is_empty();
                if self.marked || has_written {
                    return Err(ArchiveError::Away(format!("{name} is missing: is this the right place?")));
                }
                let note = Bytes::from_static(b"Archived comments of a Barrage deployment. Do not remove.\n");
                objects.write(&name, note).await.map_err(away)?;
                self.marked = true;
                Ok(())
            }
            Err(error) => Err(away(error)),
        }
    }

    /// Moves a session. One that changed since it was archived first only loses from its objects what was erased; when it
    /// has settled, it moves again.
    async fn move_session(&self, session: &Session, settled: bool) -> Result<()> {
        let store = &self.archive.store;
        let mut numbers: BTreeSet<i64> = store.segments_with_unseen(session.id).await?.into_iter().collect();
        if settled {
            numbers.extend(store.hot_fingerprints(session.id).await?.into_iter().map(|(n, _)| n));
        }
        let mut moved = 0;
        for n in numbers {
            self.renew().await?;
            moved += self.move_segment(session, n, settled).await?;
        }
        if settled && store.finish_archive(session.id).await? {
            self.archive.manifests.forget(session.id);
            self.archive.metrics.archived_sessions.inc();
            if moved > 0 {
                tracing::info!(session = %session.id, room = %session.room_id, comments = moved, "archived a session");
            }
        } else if !settled && store.hot_fingerprints(session.id).await?.is_empty() {
            // Only erased comments had come back.
            store.finish_archive(session.id).await?;
        }
        Ok(())
    }

    /// Moves one segment; returns how many comments left the database.
    async fn move_segment(&self, session: &Session, n: i64, settled: bool) -> Result<u64> {
        let store = &self.archive.store;
        let rows = store.archived_segments(session.id).await?;
        let old = rows.into_iter().find(|row| row.n == n);
        let hot = store.hot_segment(session.id, n).await?;
        let mut comments: BTreeMap<Snowflake, Positioned> = BTreeMap::new();
        if let Some(old) = &old {
            let loaded = self.archive.load(old).await?;
            comments.extend(loaded.segment.comments.iter().map(|one| (one.comment.id, one.clone())));
        }
        hot.unseen.iter().for_each(|id| {
            comments.remove(id);
        });
        if settled {
            comments.extend(hot.visible.iter().map(|one| (one.comment.id, one.clone())));
        }
        let new = Segment::new(session.room_id.clone(), session.id, n, comments.into_values().collect());
        let named = self.replace(old.as_ref(), new).await?;
        let (Some(named), true) = (named, settled) else { return Ok(0) };
        let mut moved = 0;
        for some in hot.visible.chunks(DROPPED_AT_ONCE) {
            let unchanged: Vec<_> = some.iter().map(|one| (one.comment.id, one.comment.like_count)).collect();
            moved += store.drop_archived(&named, &unchanged).await?;
        }
        self.archive.metrics.archived_comments.inc_by(moved);
        self.archive.manifests.forget(session.id);
        Ok(moved)
    }

    /// Puts a segment in the place of the old one. Returns the one that the database names now, if any: the old one when
    /// nothing has changed.
    async fn replace(&self, old: Option<&ArchivedSegment>, new: Segment) -> Result<Option<ArchivedSegment>> {
        let (store, session, n) = (&self.archive.store, new.session_id, new.n);
        if let Some(old) = old
            && old.fingerprint == new.fingerprint()
        {
            // It may have been damaged since it was written, and what it holds is about to leave the database.
            let loaded = self.archive.load_uncached(old).await;
            if self.archive.note("verify", loaded).is_ok_and(|loaded| loaded.segment == *new.comments) {
                return Ok(Some(old.clone()));
            }
        }
        let old_name = old.map(|old| old.object.as_str());
        let named = if new.comments.is_empty() {
            if old.is_some() && !store.swap_segment(session, n, old_name, None, &[], &[]).await? {
                return Err(ArchiveError::Overtaken);
            }
            None
        } else {
            let written_at = Instant::now();
            let (row, loaded) = self.write(new).await?;
            let ids: Vec<_> = loaded.segment.comments.iter().map(|one| one.comment.id).collect();
            let users: BTreeSet<_> =
                loaded.segment.comments.iter().map(|one| user_hash(&one.comment.user_id)).collect();
            let users: Vec<_> = users.into_iter().collect();
            if written_at.elapsed() > NAMED_WITHIN
                || !store.swap_segment(session, n, old_name, Some(&row), &ids, &users).await?
            {
                // The database does not name it, and it may hold what was erased meanwhile.
                self.remove_object(&row.object).await?;
                return Err(ArchiveError::Overtaken);
            }
            self.archive.cache.put(&row.object, loaded);
            Some(row)
        };
        self.archive.manifests.forget(session);
        if let Some(old) = old_name {
            self.archive.cache.remove(old);
            self.remove_object(old).await?;
        }
        Ok(named)
    }

    /// Removes an object that the database does not name. One that stays is collected later.
    async fn remove_object(&self, name: &str) -> Result<()> {
        let removed = self.archive.objects()?.remove(name).await.map_err(away);
        let _ = self.archive.note("remove", removed);
        Ok(())
    }

    /// Writes an object, reads it back, and compares it comment by comment.
    async fn write(&self, segment: Segment) -> Result<(ArchivedSegment, Arc<Loaded>)> {
        let nonce = rand::random::<u64>();
        let (session_id, n) = (segment.session_id, segment.n);
        let object = format!("{}/{session_id}/{n}-{nonce:016x}", self.archive.prefix().await?);
        let packed = tokio::task::spawn_blocking(move || {
            let packed = segment::pack(&segment);
            (segment, packed)
        });
        let (segment, packed) = packed.await.map_err(|_| ArchiveError::Away("packing was cut off".into()))?;
        let packed = packed.map_err(|error| ArchiveError::Damaged(object.clone(), error.to_string()))?;
        let bytes = Bytes::from(packed);
        let ids = || segment.comments.iter().map(|one| one.comment.id);
        let row = ArchivedSegment {
            room_id: segment.room_id.clone(),
            session_id,
            n,
            object: object.clone(),
            checksum: hex_sha256(&bytes),
            bytes: bytes.len() as u64,
            fingerprint: segment.fingerprint(),
            min_id: ids().min().unwrap_or(Snowflake(0)),
            max_id: ids().max().unwrap_or(Snowflake(0)),
        };
        self.archive.objects()?.write(&object, bytes).await.map_err(away)?;
        let loaded = self.archive.load_uncached(&row).await?;
        if loaded.segment != *segment.comments {
            return Err(ArchiveError::Damaged(object, "what was read back is not what was written".into()));
        }
        self.archive.metrics.archived_bytes.inc_by(row.bytes);
        Ok((row, loaded))
    }

    /// Takes comments out of objects that are older than their room keeps them.
    async fn expire(&self) -> Result<()> {
        let archive = &self.archive;
        // 0 keeps comments: this is older than any clock can say.
        let days = if archive.settings.retention_days == 0 { u32::MAX } else { archive.settings.retention_days };
        for (old, cutoff) in archive.store.expired_segments(archive.clock.now_ms(), days, EXPIRED_MAX).await? {
            self.renew().await?;
            let stay = if old.max_id < cutoff {
                Vec::new()
            } else {
                let loaded = archive.load(&old).await?;
                loaded.segment.comments.iter().filter(|one| one.comment.id >= cutoff).cloned().collect()
            };
            let (session, n) = (old.session_id, old.n);
            self.replace(Some(&old), Segment::new(old.room_id.clone(), session, n, stay)).await?;
            archive.store.finish_archive(session).await?;
        }
        Ok(())
    }

    /// Removes objects that no segment names.
    async fn collect(&self) -> Result<()> {
        let archive = &self.archive;
        let objects = archive.objects()?;
        let (prefix, now_ms) = (archive.prefix().await?, archive.clock.now_ms());
        let mut found = objects.list(prefix).map_err(away)?.chunks(LOOKED_UP_AT_ONCE);
        while let Some(some) = found.next().await {
            let some = some.into_iter().collect::<std::result::Result<Vec<_>, _>>().map_err(away)?;
            let is_old = |at: i64| now_ms.saturating_sub(at) > COLLECTED_AFTER_MS;
            let old = some.into_iter().filter(|object| is_old(object.last_modified.timestamp_millis()));
            let names: Vec<_> = old.map(|object| object.location.to_string()).collect();
            let named: HashSet<_> = archive.store.named_objects(&names).await?.into_iter().collect();
            for name in names.iter().filter(|name| !named.contains(*name) && !name.ends_with(MARKER)) {
                objects.remove(name).await.map_err(away)?;
                archive.metrics.archive_collected.inc();
            }
            self.renew().await?;
        }
        Ok(())
    }
}

pub(crate) fn away(error: ObjectError) -> ArchiveError {
    match error {
        ObjectError::Missing => ArchiveError::Away("an object is missing".into()),
        ObjectError::Checksum => ArchiveError::Away("a checksum is wrong".into()),
        ObjectError::Away(why) => ArchiveError::Away(why),
    }
}

impl Archive {
    /// Brings a whole session back into the database, where it stays for the usual time. `progress` is told of each segment:
    /// how many are done, of how many. Returns how many comments came back.
    ///
    /// # Errors
    /// When an object cannot be read, or somebody else moves sessions just now.
    pub async fn restore(
        self: &Arc<Self>,
        session: Snowflake,
        progress: impl Fn(usize, usize),
    ) -> std::result::Result<u64, ArchiveError> {
        let _alone = self.moving.lock().await;
        let mover = Mover::new(self.clone());
        let deadline = Instant::now() + Duration::from_secs(60);
        while !mover.lease.take(&*self.store, &*self.clock).await? {
            if Instant::now() > deadline {
                return Err(ArchiveError::Overtaken);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let back = mover.restore(session, progress).await;
        mover.release().await;
        back
    }
}

impl Mover {
    async fn restore(&self, session: Snowflake, progress: impl Fn(usize, usize)) -> Result<u64> {
        let store = &self.archive.store;
        let rows = store.archived_segments(session).await?;
        let (mut back, total) = (0, rows.len());
        for (done, row) in rows.into_iter().enumerate() {
            self.renew().await?;
            let loaded = self.archive.load_uncached(&row).await?;
            for some in loaded.segment.comments.chunks(DROPPED_AT_ONCE) {
                store.thaw(&row, some).await?;
            }
            back += loaded.segment.comments.len() as u64;
            // All of it is in the database now; the object goes last.
            if !store.swap_segment(session, row.n, Some(&row.object), None, &[], &[]).await? {
                return Err(ArchiveError::Overtaken);
            }
            self.archive.objects()?.remove(&row.object).await.map_err(away)?;
            self.archive.cache.remove(&row.object);
            progress(done + 1, total);
        }
        if !store.finish_restore(session, self.archive.clock.now_ms()).await? {
            return Err(ArchiveError::Store(StoreError("the session is gone or moves again".into())));
        }
        self.archive.manifests.forget(session);
        Ok(back)
    }
}
