//! What a session's ranking is made of, and the orders in which it is counted once.

use crate::UserId;

/// Bits of a place that hold the node that gave it.
const NODE_MASK: u64 = 0x3FF;
/// Bits of a place before those: the lowest says whether its room was spread.
const NODE_BITS: u32 = 10;
/// Bits of a lane that say which share of the users it is.
const SHARE_BITS: u32 = 4;

/// What one node said of a sixteenth of the users: the widest order that survives every way a comment may take.
///
/// A node stamps its records with rising places. A hot room's records are spread over partitions by user, in 1, 2, 4, 8
/// or 16 shares, so only within a lane does a reader always meet rising places; there the highest place seen says of
/// every record whether it was seen. What was said while the room was spread has lanes of its own: when a room is spread
/// or gathered again, its readers meet what came after in one partition before what came before in another. In a log that counts its places instead, [`Lane::ONLY`] is all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lane(pub u16);

impl Lane {
    /// The one lane of a log that is the only one.
    pub const ONLY: Self = Self(0);

    /// The lane of a stamped place and whose comment it is.
    #[must_use]
    pub fn of(place: u64, user: &UserId) -> Self {
        let (node, spread) = ((place & NODE_MASK) as u16, (place >> NODE_BITS & 1) as u16);
        Self((node << 1 | spread) << SHARE_BITS | Self::share(user))
    }

    /// Which sixteenth of the users somebody belongs to, 0 to 15; the same on every node and in every version. FNV-1a
    /// (draft-eastlake-fnv), folded.
    #[must_use]
    pub fn share(user: &UserId) -> u16 {
        let hash = user
            .as_str()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        ((hash >> 16 ^ hash) & ((1 << SHARE_BITS) - 1)) as u16
    }
}

/// One user's standing in a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// Who.
    pub user_id: UserId,
    /// The last shown name.
    pub username: String,
    /// Comments accepted, and the value of gifts.
    pub score: u64,
    /// Of this, the value of gifts.
    pub given: u64,
    /// The place of the user's last comment; 0 when there is none. Of equal scores the one that was reached first is
    /// the better one.
    pub reached: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_a_node_and_a_sixteenth_of_the_users_spread_or_not() {
        let users: Vec<_> = (0..1_600).map(|n| UserId::new(&format!("user-{n}")).expect("an id")).collect();
        let mut sizes = [0; 16];
        for user in &users {
            sizes[usize::from(Lane::share(user))] += 1;
            assert_eq!(Lane::of(7 << 20 | 1_023, user).0, 1_023 << 5 | Lane::share(user));
            assert_eq!(Lane::of(7 << 20 | 1 << 10 | 1_023, user).0, 1_023 << 5 | 1 << 4 | Lane::share(user));
        }
        assert!(sizes.iter().all(|size| (50..150).contains(size)), "{sizes:?}");
    }
}
