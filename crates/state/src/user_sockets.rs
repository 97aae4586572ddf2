//! How many sockets each user has open in this process.
//!
//! Used by the gateway when somebody is known on a socket. Holds one entry per user with an open socket, so the process's
//! sockets bound it.

use std::sync::Arc;

use dashmap::DashMap;
use model::UserId;

/// Counts of open sockets. Clones share one count.
#[derive(Debug, Clone, Default)]
pub struct UserSockets(Arc<DashMap<UserId, u32, ahash::RandomState>>);

/// One counted socket. Dropping it uncounts it.
#[derive(Debug)]
pub struct UserPermit {
    sockets: UserSockets,
    user: UserId,
}

impl UserSockets {
    /// Counts one more socket of a user; `None` when the user has `max` already.
    #[must_use]
    pub fn acquire(&self, user: &UserId, max: u32) -> Option<UserPermit> {
        let mut count = self.0.entry(user.clone()).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(UserPermit { sockets: self.clone(), user: user.clone() })
    }
}

impl Drop for UserPermit {
    fn drop(&mut self) {
        self.sockets.0.remove_if_mut(&self.user, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_socket_makes_room_and_nothing_is_left_behind() {
        let (sockets, ann) = (UserSockets::default(), UserId::new("ann").expect("an id"));
        let held: Vec<_> = (0..3).filter_map(|_| sockets.acquire(&ann, 2)).collect();
        assert_eq!(held.len(), 2);
        assert!(sockets.acquire(&UserId::new("bob").expect("an id"), 2).is_some(), "each has a share");
        drop(held);
        assert!(sockets.0.is_empty());
        assert!(sockets.acquire(&ann, 1).is_some());
    }
}
