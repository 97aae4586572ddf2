//! Bans and mutes in force, by user.
//!
//! Owns this node's copy of the store's bans. Loaded at start, changed with every ban and lift, here or on another node.
//! Called by [`crate::access`], which decides what a ban means at a door. An expired ban counts no more, and the sweep
//! removes it.

use dashmap::DashMap;
use model::{RoomId, Snowflake, UserId};
use store::{Ban, BanKind, RoomScope, Store, StoreError};
use tokio::sync::Mutex;

use crate::Refusal;

/// Bans kept in memory.
pub const BANS_MAX: usize = 1_000_000;

/// The bans in force.
#[derive(Default)]
pub struct Bans {
    by_user: DashMap<UserId, Vec<Ban>, ahash::RandomState>,
    /// Held while bans change in the store and here, so that a read of the store never undoes a newer change.
    change: Mutex<()>,
}

impl Bans {
    /// Adds a ban to the store and here.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn impose(&self, store: &dyn Store, ban: &Ban) -> Result<(), StoreError> {
        let _change = self.change.lock().await;
        store.add_ban(ban).await?;
        self.add(ban.clone());
        Ok(())
    }

    /// Lifts a ban in the store and here; `None` when there is none.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn lift(&self, store: &dyn Store, id: Snowflake) -> Result<Option<Ban>, StoreError> {
        let _change = self.change.lock().await;
        let lifted = store.remove_ban(id).await?;
        if let Some(ban) = &lifted {
            self.remove(&ban.user_id, id);
        }
        Ok(lifted)
    }

    /// Reads one user's bans from the store.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn reload_user(&self, store: &dyn Store, user: &UserId, now_ms: i64) -> Result<(), StoreError> {
        let _change = self.change.lock().await;
        let bans = store.bans_of(user, now_ms).await?;
        if bans.is_empty() {
            self.by_user.remove(user);
        } else {
            self.by_user.insert(user.clone(), bans);
        }
        Ok(())
    }

    /// Reads all bans from the store; forgets those it has not.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn reload_all(&self, store: &dyn Store, now_ms: i64) -> Result<(), StoreError> {
        let _change = self.change.lock().await;
        let fresh = Self::default();
        store.bans(now_ms, &RoomScope::All, None, BANS_MAX).await?.into_iter().for_each(|ban| fresh.add(ban));
        self.by_user.retain(|user, _| fresh.by_user.contains_key(user));
        for (user, bans) in fresh.by_user {
            self.by_user.insert(user, bans);
        }
        Ok(())
    }

    fn add(&self, ban: Ban) {
        let mut bans = self.by_user.entry(ban.user_id.clone()).or_default();
        bans.retain(|known| known.id != ban.id);
        bans.push(ban);
    }

    fn remove(&self, user: &UserId, id: Snowflake) {
        self.by_user.remove_if_mut(user, |_, bans| {
            bans.retain(|ban| ban.id != id);
            bans.is_empty()
        });
    }

    /// Removes expired bans.
    pub fn sweep(&self, now_ms: i64) {
        self.by_user.retain(|_, bans| {
            bans.retain(|ban| ban.until_ms > now_ms);
            !bans.is_empty()
        });
    }

    /// Refuses a banned user: everywhere, or also in a room.
    ///
    /// # Errors
    /// [`Refusal::Banned`] with the time left.
    pub fn check_ban(&self, user: &UserId, room: Option<&RoomId>, now_ms: i64) -> Result<(), Refusal> {
        self.refuse(user, room, &[BanKind::Ban], now_ms)
    }

    /// Refuses a user who is banned or muted: everywhere, or also in a room.
    ///
    /// # Errors
    /// [`Refusal::Banned`] or [`Refusal::Muted`] with the time left.
    pub fn check_speech(&self, user: &UserId, room: Option<&RoomId>, now_ms: i64) -> Result<(), Refusal> {
        self.refuse(user, room, &[BanKind::Ban, BanKind::Mute], now_ms)
    }

    /// Refuses with the longest ban in force of the first kind that has one: deployment-wide ones count and, when a
    /// room is given, its own.
    fn refuse(&self, user: &UserId, room: Option<&RoomId>, kinds: &[BanKind], now_ms: i64) -> Result<(), Refusal> {
        let Some(bans) = self.by_user.get(user) else { return Ok(()) };
        let holds = |ban: &&Ban| ban.until_ms > now_ms && (ban.room_id.is_none() || ban.room_id.as_ref() == room);
        let longest =
            |kind: &BanKind| bans.iter().filter(|ban| ban.kind == *kind).filter(holds).max_by_key(|ban| ban.until_ms);
        kinds.iter().find_map(longest).map_or(Ok(()), |ban| Err(refusal(ban, now_ms)))
    }
}

fn refusal(ban: &Ban, now_ms: i64) -> Refusal {
    let (retry_after_ms, reason) = ((ban.until_ms - now_ms).unsigned_abs(), ban.reason.clone());
    match ban.kind {
        BanKind::Ban => Refusal::Banned { retry_after_ms, reason },
        BanKind::Mute => Refusal::Muted { retry_after_ms, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(id: u64, kind: BanKind, room: Option<&str>, until_ms: i64) -> Ban {
        Ban {
            id: Snowflake(id),
            user_id: UserId::new("u").expect("id"),
            room_id: room.map(|room| RoomId::new(room).expect("id")),
            kind,
            until_ms,
            reason: None,
            by: "m".into(),
            at_ms: 0,
        }
    }

    #[test]
    fn bans_hold_in_their_room_and_until_their_end() {
        let (bans, user) = (Bans::default(), UserId::new("u").expect("id"));
        let (a, b) = (RoomId::new("a").expect("id"), RoomId::new("b").expect("id"));
        bans.add(ban(1, BanKind::Mute, Some("a"), 100));
        assert!(bans.check_ban(&user, Some(&a), 0).is_ok());
        assert_eq!(bans.check_speech(&user, Some(&a), 40), Err(Refusal::Muted { retry_after_ms: 60, reason: None }));
        assert!(bans.check_speech(&user, Some(&b), 40).is_ok());
        assert!(bans.check_speech(&user, Some(&a), 100).is_ok());
        assert!(bans.check_speech(&user, None, 40).is_ok());
        bans.add(ban(3, BanKind::Mute, None, 90));
        assert_eq!(bans.check_speech(&user, None, 40), Err(Refusal::Muted { retry_after_ms: 50, reason: None }));
        bans.add(ban(2, BanKind::Ban, None, 500));
        assert!(bans.check_ban(&user, None, 499).is_err());
        assert!(matches!(bans.check_speech(&user, Some(&b), 40), Err(Refusal::Banned { retry_after_ms: 460, .. })));
        bans.remove(&user, Snowflake(2));
        assert!(bans.check_ban(&user, None, 499).is_ok());
        bans.sweep(100);
        assert!(bans.by_user.is_empty());
    }
}
