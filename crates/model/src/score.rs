//! Scores of a session's ranking, and the keys by which replayed records are counted once.
//!
//! Used by `worker`, which counts, and by `store` and `state`, which keep scores.

use crate::UserId;

/// Bits of a position that hold its node.
const NODE_MASK: u64 = 0x3FF;
/// How many those are. The bit above them says whether the room was sharded.
const NODE_BITS: u32 = 10;
/// Bits of a key that hold the hash bucket of the user.
const BUCKET_BITS: u32 = 4;

/// Deduplication key: node, hash bucket of the user, and whether the room was sharded. Positions are monotonic only
/// within one key.
///
/// A node gives its records rising positions. A hot room's records are sharded over partitions by user, in 1, 2, 4, 8 or
/// 16 shards, so a reader meets rising positions only within a key. There the highest position seen tells of every record
/// whether it was counted. Records of a sharded room have keys of their own: when sharding begins or ends, readers may
/// meet later records of one partition before earlier ones of another. A log that counts its positions needs only
/// [`OrderingKey::ONLY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct OrderingKey(pub u16);

impl OrderingKey {
    /// The only key of a log that counts its positions.
    pub const ONLY: Self = Self(0);

    /// The key of a record by its position and its user.
    #[must_use]
    pub fn of(position: u64, user: &UserId) -> Self {
        let (node, sharded) = ((position & NODE_MASK) as u16, (position >> NODE_BITS & 1) as u16);
        Self((node << 1 | sharded) << BUCKET_BITS | Self::bucket(user))
    }

    /// The user's hash bucket, 0 to 15; the same on every node and in every version. FNV-1a (draft-eastlake-fnv), folded.
    #[must_use]
    pub fn bucket(user: &UserId) -> u16 {
        let hash = user
            .as_str()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        ((hash >> 16 ^ hash) & ((1 << BUCKET_BITS) - 1)) as u16
    }
}

/// One user's score in a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// The user.
    pub user_id: UserId,
    /// The name displayed last.
    pub username: String,
    /// Accepted comments plus the value of gifts.
    pub score: u64,
    /// The part of it that is the value of gifts.
    pub given: u64,
    /// The position of the user's last comment; 0 when there is none. Of equal scores the one reached first ranks higher.
    pub reached: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_node_bucket_and_whether_the_room_was_sharded() {
        let users: Vec<_> = (0..1_600).map(|n| UserId::new(&format!("user-{n}")).expect("an id")).collect();
        let mut sizes = [0; 16];
        for user in &users {
            sizes[usize::from(OrderingKey::bucket(user))] += 1;
            assert_eq!(OrderingKey::of(7 << 20 | 1_023, user).0, 1_023 << 5 | OrderingKey::bucket(user));
            assert_eq!(
                OrderingKey::of(7 << 20 | 1 << 10 | 1_023, user).0,
                1_023 << 5 | 1 << 4 | OrderingKey::bucket(user)
            );
        }
        assert!(sizes.iter().all(|size| (50..150).contains(size)), "{sizes:?}");
    }
}
