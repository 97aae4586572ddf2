//! What the HTTP routes of segments need: a session's manifest, and one revision of one segment.
//!
//! A revision is named after its content, so a segment has the same address before and after it moved, and another one as
//! soon as a comment in it is deleted, added or liked. A segment that lies in an object as it is goes out as the object's own
//! bytes; one that is in the database, wholly or in part, is packed when it is asked for.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashlink::LruCache;
use model::{RoomId, Session, Snowflake};
use parking_lot::Mutex;
use store::archive::{ArchivedSegment, Fingerprint, SEGMENT_MS};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::archive::{Archive, ArchiveError, Result};
use crate::cache::Loaded;
use crate::segment::{self, Segment};

/// How old a manifest may be. Together with what caches keep it, a change is seen within 15 s.
const MANIFEST_AGE_MAX: Duration = Duration::from_secs(3);
/// A revision that a manifest lacks is looked for in a newer one, unless it is as new as this.
const MANIFEST_AGE_MIN: Duration = Duration::from_millis(500);
/// One that took long to make lives this many times as long, so that few are made however many revisions are guessed, but no
/// longer than [`DEAR_AGE_MAX`].
const AGE_PER_COST: u32 = 10;
const DEAR_AGE_MAX: Duration = Duration::from_secs(8);
/// Manifests kept.
const MANIFESTS_MAX: usize = 1_024;
/// Manifests, or segments of the database, that are made at once: each reads much.
const MADE_AT_ONCE: usize = 2;
const ATTEMPTS: usize = 5;

struct Made {
    at: Instant,
    took: Duration,
    manifest: Arc<Manifest>,
}

/// The manifests that were made last.
pub struct Manifests {
    made: Mutex<LruCache<Snowflake, Made>>,
    turns: Semaphore,
}

impl Default for Manifests {
    fn default() -> Self {
        Self { made: Mutex::new(LruCache::new(MANIFESTS_MAX)), turns: Semaphore::new(MADE_AT_ONCE) }
    }
}

impl Manifests {
    fn get(&self, session: Snowflake, age_max: Duration) -> Option<Arc<Manifest>> {
        let mut made = self.made.lock();
        let made = made.get(&session)?;
        let age_max = age_max.max((made.took * AGE_PER_COST).min(DEAR_AGE_MAX));
        (made.at.elapsed() <= age_max).then(|| made.manifest.clone())
    }

    /// The next one is made anew.
    pub(crate) fn forget(&self, session: Snowflake) {
        self.made.lock().remove(&session);
    }
}

/// A segment in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub n: i64,
    /// How many comments.
    pub count: u64,
    /// The name of this content.
    pub revision: String,
}

impl Entry {
    fn new(n: i64, fingerprint: Fingerprint) -> Self {
        let Fingerprint { count, ids, likes } = fingerprint;
        Self { n, count, revision: format!("{count:x}-{ids:x}-{likes:x}") }
    }

    /// From this offset on.
    #[must_use]
    pub const fn from_ms(&self) -> i64 {
        self.n.saturating_mul(SEGMENT_MS)
    }

    /// Up to but not including this one.
    #[must_use]
    pub const fn to_ms(&self) -> i64 {
        self.n.saturating_add(1).saturating_mul(SEGMENT_MS)
    }
}

/// The segments of a session at one moment; empty ones are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// By number.
    pub entries: Vec<Entry>,
    /// Segments that lie in objects exactly like this.
    whole: HashSet<i64>,
}

impl Archive {
    /// The manifest of a session, at most some seconds old.
    ///
    /// # Errors
    /// When the database is away, or an object that is only a part of its segment.
    pub async fn manifest(&self, session: &Session) -> Result<Arc<Manifest>> {
        self.manifest_since(session, MANIFEST_AGE_MAX).await
    }

    async fn manifest_since(&self, session: &Session, age_max: Duration) -> Result<Arc<Manifest>> {
        if let Some(made) = self.manifests.get(session.id, age_max) {
            return Ok(made);
        }
        let _turn = self.manifests.turns.acquire().await.map_err(|_| ArchiveError::Away("it is closed".into()))?;
        // Somebody else may have made it meanwhile.
        if let Some(made) = self.manifests.get(session.id, age_max) {
            return Ok(made);
        }
        let at = Instant::now();
        let manifest = Arc::new(self.make_manifest(session).await?);
        let made = Made { at, took: at.elapsed(), manifest: manifest.clone() };
        self.manifests.made.lock().insert(session.id, made);
        Ok(manifest)
    }

    async fn make_manifest(&self, session: &Session) -> Result<Manifest> {
        for _ in 0..ATTEMPTS {
            let rows = self.store.archived_segments(session.id).await?;
            let hot = self.store.hot_fingerprints(session.id).await?;
            let unseen = if rows.is_empty() { Vec::new() } else { self.store.segments_with_unseen(session.id).await? };
            let mixed: HashSet<i64> = hot.iter().map(|(n, _)| *n).chain(unseen).collect();
            let mut entries: BTreeMap<i64, Entry> =
                hot.into_iter().map(|(n, fingerprint)| (n, Entry::new(n, fingerprint))).collect();
            let mut whole = HashSet::new();
            let mut failed = None;
            for row in &rows {
                if !mixed.contains(&row.n) {
                    whole.insert(row.n);
                    entries.insert(row.n, Entry::new(row.n, row.fingerprint));
                    continue;
                }
                match self.merge(session, row.n, Some(row)).await {
                    Ok(segment) if segment.comments.is_empty() => drop(entries.remove(&row.n)),
                    Ok(segment) => drop(entries.insert(row.n, Entry::new(row.n, segment.fingerprint()))),
                    Err(error) => failed = Some(error),
                }
            }
            if self.store.archived_segments(session.id).await? == rows {
                return failed.map_or(Ok(Manifest { entries: entries.into_values().collect(), whole }), Err);
            }
        }
        Err(ArchiveError::Overtaken)
    }

    /// What the database and an object have of one segment.
    async fn merge(&self, session: &Session, n: i64, row: Option<&ArchivedSegment>) -> Result<Segment> {
        let hot = self.store.hot_segment(session.id, n).await?;
        let mut comments = hot.visible;
        if let Some(row) = row {
            let mut known: HashSet<_> = comments.iter().map(|one| one.comment.id).collect();
            known.extend(hot.unseen);
            let loaded = self.load(row).await?;
            comments.extend(loaded.segment.comments.iter().filter(|one| !known.contains(&one.comment.id)).cloned());
        }
        Ok(Segment::new(session.room_id.clone(), session.id, n, comments))
    }

    /// One revision of a segment, verified; `None` when it was replaced, or never was.
    ///
    /// # Errors
    /// When it should be there and cannot be read.
    pub async fn revision(&self, session: &Session, n: i64, revision: &str) -> Result<Option<Arc<Loaded>>> {
        let mut last = Ok(None);
        for age_max in [MANIFEST_AGE_MAX, MANIFEST_AGE_MIN] {
            let manifest = self.manifest_since(session, age_max).await?;
            last = match manifest.entries.iter().any(|entry| entry.n == n && entry.revision == revision) {
                true => self.revision_of(session, n, revision, &manifest).await,
                false => Ok(None),
            };
            if matches!(last, Ok(Some(_))) {
                break;
            }
            // An object that was replaced a moment ago is in no newer manifest.
        }
        last
    }

    async fn revision_of(
        &self,
        session: &Session,
        n: i64,
        revision: &str,
        manifest: &Manifest,
    ) -> Result<Option<Arc<Loaded>>> {
        let rows = self.store.archived_segments(session.id).await?;
        let row = rows.iter().find(|row| row.n == n);
        if let Some(row) = row.filter(|row| Entry::new(n, row.fingerprint).revision == revision)
            && manifest.whole.contains(&n)
        {
            return self.load(row).await.map(Some);
        }
        let name = format!("{}/{n}/{revision}", session.id);
        if let Some(made) = self.cache.get(&name) {
            return Ok(Some(made));
        }
        let _turn = self.manifests.turns.acquire().await.map_err(|_| ArchiveError::Away("it is closed".into()))?;
        let segment = self.merge(session, n, row).await?;
        if Entry::new(n, segment.fingerprint()).revision != revision {
            return Ok(None);
        }
        let packed = tokio::task::spawn_blocking(move || segment::pack(&segment).map(|object| (segment, object))).await;
        let packed = packed.map_err(|_| ArchiveError::Away("packing was cut off".into()))?;
        let (segment, object) = packed.map_err(|error| ArchiveError::Damaged(name.clone(), error.to_string()))?;
        let made = Arc::new(Loaded { segment, object: Bytes::from(object) });
        self.cache.put(&name, made.clone());
        Ok(Some(made))
    }

    /// A session of a room.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn session(&self, room: &RoomId, session: Snowflake) -> Result<Option<Session>> {
        Ok(self.store.session(session).await?.filter(|session| session.room_id == *room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_manifest_that_was_dear_is_made_less_often() {
        let (manifests, session) = (Manifests::default(), Snowflake(1));
        let made = |took| {
            let manifest = Arc::new(Manifest { entries: Vec::new(), whole: HashSet::new() });
            manifests.made.lock().insert(session, Made { at: Instant::now(), took, manifest });
        };
        let after = async |pause| {
            tokio::time::sleep(pause).await;
            manifests.get(session, MANIFEST_AGE_MIN).is_some()
        };
        made(Duration::from_millis(1));
        assert!(!after(Duration::from_millis(501)).await, "a cheap one is made anew");
        made(Duration::from_millis(400));
        assert!(after(Duration::from_millis(3_900)).await);
        assert!(!after(Duration::from_millis(200)).await);
        made(Duration::from_secs(60));
        assert!(!after(DEAR_AGE_MAX + Duration::from_millis(1)).await, "a deletion is seen in time");
    }
}
