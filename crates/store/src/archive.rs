//! The port of the cold archive: which segments of a session lie in objects, and how comments move between the database and
//! them.
//!
//! Called by the crate `archive` alone, which writes, reads and verifies the objects. A comment leaves the database only when
//! a segment names an object that holds it, and as long as it has not changed since it was read. A row of `comments` always
//! wins over the copy in an object: so a cold comment is changed by bringing it back first ([`ArchiveStore::thaw`]).

use async_trait::async_trait;
use model::{RoomId, Session, Snowflake, UserId};

use crate::{Positioned, Result};

/// The session time that one segment covers, in milliseconds.
pub const SEGMENT_MS: i64 = 360_000;
/// Kept small enough that sums over any segment fit.
const ID_MODULUS: u64 = 2_147_483_647;
const LIKES_MODULUS: u64 = 65_521;

/// The number of the segment that holds a comment at this offset. What comes before the start is in the first.
#[must_use]
pub const fn segment_of(offset_ms: i64) -> i64 {
    if offset_ms < 0 { 0 } else { offset_ms / SEGMENT_MS }
}

/// The smallest id that is made at this moment, Unix milliseconds.
#[must_use]
pub fn first_id_at(ms: i64) -> Snowflake {
    Snowflake(u64::try_from(crate::retention::first_id_of(ms)).unwrap_or(0))
}

/// What tells one content of a segment from another: comments themselves never change, so their ids and likes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Fingerprint {
    /// How many comments.
    pub count: u64,
    /// The sum of their ids, each reduced.
    pub ids: u64,
    /// The sum of their likes, each weighted by its comment's id.
    pub likes: u64,
}

impl Fingerprint {
    /// Adds a comment.
    pub const fn add(&mut self, id: Snowflake, like_count: u64) {
        self.count += 1;
        self.ids += id.0 % ID_MODULUS;
        self.likes = self.likes.wrapping_add(like_count.wrapping_mul(id.0 % LIKES_MODULUS)) & (i64::MAX as u64);
    }
}

/// A segment of a session that lies in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedSegment {
    /// Its room.
    pub room_id: RoomId,
    /// Its session.
    pub session_id: Snowflake,
    /// Its number, from 0.
    pub n: i64,
    /// The object's name; never used again for another content.
    pub object: String,
    /// SHA-256 of the object's bytes, in hexadecimal.
    pub checksum: String,
    /// The object's size.
    pub bytes: u64,
    /// The content.
    pub fingerprint: Fingerprint,
    /// The oldest id in it.
    pub min_id: Snowflake,
    /// The newest id in it.
    pub max_id: Snowflake,
}

/// What a segment has in the database.
#[derive(Debug, Clone, Default)]
pub struct HotSegment {
    /// Comments that everybody sees.
    pub visible: Vec<Positioned>,
    /// Comments that are deleted, hidden, or shown to few: they stay, and no object may hold them.
    pub unseen: Vec<Snowflake>,
}

/// Knows the segments of sessions, and moves comments.
#[async_trait]
pub trait ArchiveStore: Send + Sync + 'static {
    /// The segments of a session, by number.
    async fn archived_segments(&self, session: Snowflake) -> Result<Vec<ArchivedSegment>>;
    /// The segments of a room with numbers in this range, by number and session. With `by_user`, which is a hash of a user's
    /// id, only of sessions in which such a user may have spoken.
    async fn archived_segments_of_room(
        &self,
        room: &RoomId,
        numbers: (i64, i64),
        by_user: Option<i64>,
    ) -> Result<Vec<ArchivedSegment>>;
    /// Segments of all rooms, or one, in which a user with this hash may have spoken.
    async fn archived_segments_of_user(&self, room: Option<&RoomId>, user: i64) -> Result<Vec<ArchivedSegment>>;
    /// The segments that hold these comments, of those that one does.
    async fn archived_places(&self, ids: &[Snowflake]) -> Result<Vec<(Snowflake, ArchivedSegment)>>;
    /// The most liked comments of archived segments: of a session, or of the room when `None`.
    async fn archived_likes(
        &self,
        room: &RoomId,
        session: Option<Snowflake>,
        limit: usize,
    ) -> Result<Vec<(Snowflake, u64)>>;
    /// Archived comments that a user likes, in one room or everywhere.
    async fn archived_likes_of_user(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
    ) -> Result<Vec<Snowflake>>;
    /// Sessions whose comments are all in the database, and that ended, and were restored if they were, by this moment.
    async fn sessions_to_archive(&self, until_ms: i64, limit: usize) -> Result<Vec<Session>>;
    /// Archived sessions that have changed since.
    async fn changed_archives(&self, limit: usize) -> Result<Vec<Session>>;
    /// Sessions of which segments lie in objects, by id, those after one; and how many comments each has.
    async fn archived_sessions(&self, after: Snowflake, limit: usize) -> Result<Vec<(Session, u64)>>;
    /// What the database itself has of a session that everybody sees, by the number of its segment.
    async fn hot_fingerprints(&self, session: Snowflake) -> Result<Vec<(i64, Fingerprint)>>;
    /// What the database has of one segment.
    async fn hot_segment(&self, session: Snowflake, n: i64) -> Result<HotSegment>;
    /// Which segments hold comments that the database has as deleted, hidden or shown to few.
    async fn segments_with_unseen(&self, session: Snowflake) -> Result<Vec<i64>>;
    /// Puts `new` in the place of the object `old`, or of nothing; `None` removes the segment. False, and nothing changes,
    /// when another object is there. `ids` are those in the new object, `users` the hashes of who wrote them.
    async fn swap_segment(
        &self,
        session: Snowflake,
        n: i64,
        old: Option<&str>,
        new: Option<&ArchivedSegment>,
        ids: &[Snowflake],
        users: &[i64],
    ) -> Result<bool>;
    /// Removes comments from the database that an object holds, and keeps who liked them. Each goes only while the segment
    /// names this object and the comment is visible and has so many likes. Returns how many went.
    async fn drop_archived(&self, segment: &ArchivedSegment, comments: &[(Snowflake, u64)]) -> Result<u64>;
    /// Brings comments back into the database, with who liked them; one that is there in any state is left alone.
    async fn thaw(&self, segment: &ArchivedSegment, comments: &[Positioned]) -> Result<()>;
    /// Notes that a session is archived, unless the database has a comment of it that everybody sees; counts its comments.
    async fn finish_archive(&self, session: Snowflake) -> Result<bool>;
    /// Notes that a session is back in the database, unless a segment of it still lies in an object.
    async fn finish_restore(&self, session: Snowflake, at_ms: i64) -> Result<bool>;
    /// Segments with comments older than their room's retention, or `default_days`; each with the oldest id that stays.
    async fn expired_segments(
        &self,
        now_ms: i64,
        default_days: u32,
        limit: usize,
    ) -> Result<Vec<(ArchivedSegment, Snowflake)>>;
    /// Which of these objects a segment names.
    async fn named_objects(&self, objects: &[String]) -> Result<Vec<String>>;
}

/// Bits of an id below its milliseconds, and of a range of ids in the index: 2^42 of them are 17 minutes.
const TIME_BITS: u32 = 22;
const BUCKET_BITS: u32 = 42;

/// The range of the index that an id is in.
pub(crate) const fn bucket(id: Snowflake) -> i64 {
    (id.0 >> BUCKET_BITS).cast_signed()
}

/// Ids by their ranges, each list sorted and packed: the milliseconds since the one before, and what differs below them.
pub(crate) fn packed_ids(ids: &[Snowflake]) -> Vec<(i64, Vec<u8>)> {
    let mut sorted: Vec<_> = ids.to_vec();
    sorted.sort_unstable();
    let ranges = sorted.chunk_by(|a, b| bucket(*a) == bucket(*b));
    ranges.filter_map(|range| Some((bucket(*range.first()?), pack(range)))).collect()
}

fn pack(ids: &[Snowflake]) -> Vec<u8> {
    let (mut bytes, mut last) = (Vec::with_capacity(ids.len() * 3), 0u64);
    for Snowflake(id) in ids {
        put_varint(&mut bytes, (id >> TIME_BITS) - (last >> TIME_BITS));
        put_varint(&mut bytes, (id ^ last) & ((1 << TIME_BITS) - 1));
        last = *id;
    }
    bytes
}

/// Back from [`packed_ids`]. Bytes that are none of its lists give what stands before the fault.
pub(crate) fn unpack(mut bytes: &[u8]) -> impl Iterator<Item = Snowflake> {
    let mut last = 0u64;
    std::iter::from_fn(move || {
        let ms = (last >> TIME_BITS).checked_add(take_varint(&mut bytes)?)?;
        let low = (last ^ take_varint(&mut bytes)?) & ((1 << TIME_BITS) - 1);
        last = ms.checked_mul(1 << TIME_BITS)? | low;
        Some(Snowflake(last))
    })
}

fn put_varint(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_come_back_from_their_ranges(ids in proptest::collection::btree_set(1..i64::MAX as u64, 0..200)) {
            let ids: Vec<_> = ids.into_iter().map(Snowflake).collect();
            let packed = packed_ids(&ids);
            let back: Vec<_> = packed.iter().flat_map(|(_, bytes)| unpack(bytes)).collect();
            prop_assert_eq!(&back, &ids);
            prop_assert!(packed.iter().all(|(range, bytes)| unpack(bytes).all(|id| bucket(id) == *range)));
        }

        #[test]
        fn no_bytes_are_fatal(bytes: Vec<u8>) {
            prop_assert!(unpack(&bytes).count() <= bytes.len());
        }
    }
}
