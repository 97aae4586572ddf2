//! Which comment is first under its sender's own id (`client_msg_id`), among the latest ones.
//!
//! A reservation ends while its node is frozen, so two nodes may append one comment under two ids. The order in which a reader
//! meets them decides: the room worker and the hub each drop the later one. The store has a unique key instead. Pure, bounded,
//! and never wrong about a comment's own repeat, which has the same id and is others' to drop.

use std::collections::VecDeque;

use ahash::{AHashMap, RandomState};
use model::{Comment, Snowflake};

/// The first ids of the latest keys.
pub struct FirstSeen {
    /// Two hashes make a key, because a collision would drop somebody's comment.
    hashes: [RandomState; 2],
    ids: AHashMap<u128, Snowflake>,
    /// Every key of `ids` once, in the order in which they came.
    order: VecDeque<u128>,
    capacity: usize,
}

impl FirstSeen {
    /// Remembers the latest `capacity` keys; takes memory only as it fills.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let hashes = [RandomState::new(), RandomState::new()];
        Self { hashes, ids: AHashMap::new(), order: VecDeque::new(), capacity }
    }

    /// Notes the comment, and says whether none of its sender with the same `client_msg_id` came before under another id.
    /// One without a `client_msg_id` always is the first.
    pub fn is_first(&mut self, comment: &Comment, client_msg_id: Option<&str>) -> bool {
        let Some(client_msg_id) = client_msg_id else { return true };
        let [high, low] = self.hashes.each_ref().map(|hash| hash.hash_one((comment.user_id.as_str(), client_msg_id)));
        let key = u128::from(high) << 64 | u128::from(low);
        if let Some(first) = self.ids.get(&key) {
            return *first == comment.id;
        }
        self.ids.insert(key, comment.id);
        self.order.push_back(key);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

impl std::fmt::Debug for FirstSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstSeen").field("keys", &self.order.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use model::UserId;
    use testkit::comments::comment;

    use super::*;

    fn by(user: &str, id: u64) -> Comment {
        Comment { user_id: UserId::new(user).expect("an id"), ..comment(id) }
    }

    #[test]
    fn the_later_one_is_no_first_and_its_own_repeat_is() {
        let mut seen = FirstSeen::new(10);
        assert!(seen.is_first(&by("ann", 1), Some("a")) && seen.is_first(&by("ann", 1), Some("a")));
        assert!(!seen.is_first(&by("ann", 2), Some("a")) && seen.is_first(&by("ann", 1), Some("a")));
        assert!(seen.is_first(&by("bo", 3), Some("a")), "each user has its own");
        assert!(seen.is_first(&by("ann", 4), Some("b")));
        assert!(seen.is_first(&by("ann", 5), None) && seen.is_first(&by("ann", 6), None));
    }

    #[test]
    fn the_latest_are_remembered_and_no_more() {
        let mut seen = FirstSeen::new(100);
        for n in 0..1_000 {
            assert!(seen.is_first(&by("ann", n), Some(&n.to_string())));
        }
        assert_eq!((seen.ids.len(), seen.order.len()), (100, 100));
        assert!(!seen.is_first(&by("ann", 5_000), Some("950")) && seen.is_first(&by("ann", 5_001), Some("50")));
    }
}
