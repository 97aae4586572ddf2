//! Presence: who is online, who watches whom, and who hides or blocks.
//!
//! [`state::Presence`] knows who has an open socket. This file owns which sockets of this node watch whom, and the
//! sightings that are not stored yet. Other nodes hear of everybody who connects or disconnects, and notify their own
//! watchers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::{HashMap, HashSet};
use fanout::{Notice, Sockets, UserFanout};
use indexmap::IndexMap;
use model::{Identity, UserId};
use parking_lot::Mutex;
use state::Rate;
use store::chat::{Profile, Sighting};
use tokio::sync::Notify;

use crate::{Chat, ChatError, Result};

/// People one socket may watch.
const WATCHED_MAX: usize = 200;
/// People one user may block.
const BLOCKS_MAX: usize = 1_000;
/// Presence queries of one user.
const QUERIES: Rate = Rate::per_s(10).burst(50);
/// How often sightings are stored and leases renewed.
const UPKEEP: Duration = Duration::from_secs(5);
/// Sightings of one commit, so that other commits do not wait long.
const SIGHTINGS_MAX: usize = 256;
/// Ticks of the upkeep within which everybody who is online is sighted once. If this process is killed, so old may their
/// stored sightings be.
const SIGHTED_TICKS: usize = 24;
/// How long a first sighting waits for others to be stored with it.
const SIGHTING_DELAY: Duration = Duration::from_millis(250);
/// Sightings that may wait to be stored; further ones are dropped.
const SIGHTINGS_WAITING_MAX: usize = 100_000;

/// Sightings and watches of this node.
#[derive(Default)]
pub(crate) struct PresenceTracker {
    sightings: Mutex<HashMap<UserId, (Arc<str>, i64)>>,
    online: Mutex<Online>,
    /// Somebody has come whose sighting waits.
    sighted: Notify,
    watches: Mutex<Watches>,
    /// Held while watchers are notified, so that the last notice they get is the current state.
    notifying: tokio::sync::Mutex<()>,
}

/// The users with an identified socket on this node.
#[derive(Default)]
struct Online {
    users: IndexMap<UserId, OnlineUser, ahash::RandomState>,
    /// Whom the next sweep sights first.
    next: usize,
}

struct OnlineUser {
    username: Arc<str>,
    sockets: usize,
}

impl Online {
    fn enter(&mut self, who: &Identity) {
        let user = self.users.entry(who.user_id.clone());
        let user = user.or_insert_with(|| OnlineUser { username: who.username.clone(), sockets: 0 });
        user.username.clone_from(&who.username);
        user.sockets += 1;
    }

    fn leave(&mut self, user: &UserId) {
        let Some(entry) = self.users.get_mut(user) else { return };
        entry.sockets -= 1;
        if entry.sockets == 0 {
            self.users.swap_remove(user);
        }
    }

    /// A part of the users, another one with each call.
    fn next_part(&mut self) -> Vec<(UserId, Arc<str>)> {
        let from = if self.next < self.users.len() { self.next } else { 0 };
        let part = self.users.iter().skip(from).take(self.users.len().div_ceil(SIGHTED_TICKS));
        let part: Vec<_> = part.map(|(user, entry)| (user.clone(), entry.username.clone())).collect();
        self.next = from + part.len();
        part
    }
}

impl PresenceTracker {
    /// Sights a part of those who are online, so that the store knows of them if this process is killed.
    fn sight_some(&self, now_ms: i64) {
        let part = self.online.lock().next_part();
        let mut sightings = self.sightings.lock();
        for (user, username) in part.into_iter().take(SIGHTINGS_WAITING_MAX.saturating_sub(sightings.len())) {
            sightings.insert(user, (username, now_ms));
        }
    }

    /// Records that a user was active now.
    pub fn record_sighting(&self, who: &Identity, now_ms: i64) {
        let mut sightings = self.sightings.lock();
        if sightings.len() < SIGHTINGS_WAITING_MAX || sightings.contains_key(&who.user_id) {
            sightings.insert(who.user_id.clone(), (who.username.clone(), now_ms));
        }
    }

    /// When a user was last seen, if the store does not know it yet.
    fn last_seen_ms(&self, user: &UserId) -> Option<i64> {
        self.sightings.lock().get(user).map(|(_, at_ms)| *at_ms)
    }

    /// A batch of the sightings that wait.
    fn next_batch(&self) -> Vec<Sighting> {
        let sightings = self.sightings.lock();
        let batch = sightings.iter().take(SIGHTINGS_MAX);
        let sighting = |(user, (username, at_ms)): (&UserId, &(Arc<str>, i64))| Sighting {
            user_id: user.clone(),
            username: username.clone(),
            at_ms: *at_ms,
        };
        batch.map(sighting).collect()
    }

    /// The users whom sockets here watch.
    pub fn watched(&self) -> Vec<UserId> {
        self.watches.lock().watched()
    }

    /// Removes sightings that were stored, unless a newer one has replaced them.
    fn remove_stored(&self, seen: &[Sighting]) {
        let mut sightings = self.sightings.lock();
        for Sighting { user_id, at_ms, .. } in seen {
            if sightings.get(user_id).is_some_and(|(_, newest_ms)| newest_ms == at_ms) {
                sightings.remove(user_id);
            }
        }
    }
}

/// Which sockets watch whom: at most [`WATCHED_MAX`] users for each socket.
#[derive(Default)]
struct Watches {
    by_socket: HashMap<u64, (UserId, Vec<UserId>)>,
    sockets_of: HashMap<UserId, HashSet<u64>>,
}

impl Watches {
    fn forget(&mut self, socket: u64) {
        for user in self.by_socket.remove(&socket).map(|(_, users)| users).unwrap_or_default() {
            if let Some(sockets) = self.sockets_of.get_mut(&user) {
                sockets.remove(&socket);
                if sockets.is_empty() {
                    self.sockets_of.remove(&user);
                }
            }
        }
    }

    fn replace(&mut self, watcher: &UserId, socket: u64, users: &[UserId]) {
        self.forget(socket);
        for user in users {
            self.sockets_of.entry(user.clone()).or_default().insert(socket);
        }
        if !users.is_empty() {
            self.by_socket.insert(socket, (watcher.clone(), users.to_vec()));
        }
    }

    /// The watched users.
    fn watched(&self) -> Vec<UserId> {
        self.sockets_of.keys().cloned().collect()
    }

    /// Who watches a user, and by which socket.
    fn watchers(&self, user: &UserId) -> Vec<(UserId, u64)> {
        let sockets = self.sockets_of.get(user).into_iter().flatten();
        sockets.filter_map(|socket| Some((self.by_socket.get(socket)?.0.clone(), *socket))).collect()
    }
}

/// A user's presence as another user may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceOf {
    /// The user.
    pub user_id: UserId,
    /// Whether online.
    pub online: bool,
    /// When last online, Unix milliseconds; `None` when unknown or hidden.
    pub last_seen_ms: Option<i64>,
}

impl Chat {
    /// Records that a socket has an identity. `socket` is its number, unique in the deployment. The store is read only
    /// when somebody watches the user.
    pub async fn connected(&self, who: &Identity, socket: u64) {
        self.parts.fanout.hold(&who.user_id);
        self.presence_tracker.online.lock().enter(who);
        self.presence_tracker.record_sighting(who, self.now_ms());
        self.presence_tracker.sighted.notify_one();
        // The state has logged a failure; the next change corrects it.
        if self.parts.presence.enter(&who.user_id, socket, self.now_ms()).await == Ok(true) {
            self.notify_watchers(&who.user_id).await;
        }
    }

    /// Records a socket that another process handed over: its user has been online all the time, so nobody is notified.
    pub async fn taken_over(&self, who: &Identity, socket: u64) {
        self.parts.fanout.hold(&who.user_id);
        self.presence_tracker.online.lock().enter(who);
        // The state has logged a failure; the next renewal corrects it.
        let _ = self.parts.presence.enter(&who.user_id, socket, self.now_ms()).await;
    }

    /// Records that a socket was told to connect again elsewhere. Its user stays online until this node's lease ends: by then
    /// the user is back on another node, or gone.
    pub fn drained(&self, who: &Identity) {
        self.presence_tracker.record_sighting(who, self.now_ms());
    }

    /// Whom a socket watches.
    #[must_use]
    pub fn watched_by(&self, socket: u64) -> Vec<UserId> {
        let watches = self.presence_tracker.watches.lock();
        watches.by_socket.get(&socket).map_or_else(Vec::new, |(_, users)| users.clone())
    }

    /// Makes a socket watch whom it watched in another process.
    pub fn watch_on(&self, watcher: &UserId, socket: u64, users: &[UserId]) {
        self.presence_tracker.watches.lock().replace(watcher, socket, users);
    }

    /// Records that a socket closed or lost its identity. Its watches end.
    pub async fn disconnected(&self, who: &Identity, socket: u64) {
        self.presence_tracker.watches.lock().forget(socket);
        self.parts.fanout.release(&who.user_id);
        self.presence_tracker.online.lock().leave(&who.user_id);
        if self.parts.presence.leave(&who.user_id, socket, self.now_ms()).await == Ok(true) {
            self.presence_tracker.record_sighting(who, self.now_ms());
            self.notify_watchers(&who.user_id).await;
        }
    }

    /// A user's presence.
    ///
    /// # Errors
    /// [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn presence(&self, who: &Identity, user: &UserId) -> Result<PresenceOf> {
        let known = self.presence_of(who, std::slice::from_ref(user)).await?;
        known.into_iter().next().ok_or(ChatError::Unavailable)
    }

    /// The presence of these users, at most 200. `socket` is notified of their changes until it watches others.
    ///
    /// # Errors
    /// [`ChatError::Invalid`], [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn watch(&self, who: &Identity, socket: u64, mut users: Vec<UserId>) -> Result<Vec<PresenceOf>> {
        if users.len() > WATCHED_MAX {
            return Err(ChatError::Invalid("user_ids may name 200 people".into()));
        }
        users.sort_unstable();
        users.dedup();
        // Watched before they are queried, so that a change in between is notified.
        self.presence_tracker.watches.lock().replace(&who.user_id, socket, &users);
        self.presence_of(who, &users).await
    }

    async fn presence_of(&self, who: &Identity, users: &[UserId]) -> Result<Vec<PresenceOf>> {
        self.limit("presence", who.user_id.as_str(), QUERIES).await?;
        let now_ms = self.now_ms();
        let online = self.parts.presence.online(users, now_ms).await?;
        let profiles = self.parts.store.profiles(&who.user_id, users).await?;
        Ok(profiles
            .into_iter()
            .zip(online)
            .map(|(profile, online)| self.visible_presence(profile, online, now_ms))
            .collect())
    }

    /// The presence that a profile lets others see.
    fn visible_presence(&self, profile: Profile, online: bool, now_ms: i64) -> PresenceOf {
        let Profile { user_id, last_seen_ms, hidden, blocks_asker, .. } = profile;
        if hidden || blocks_asker {
            return PresenceOf { user_id, online: false, last_seen_ms: None };
        }
        let last_seen_ms =
            if online { Some(now_ms) } else { self.presence_tracker.last_seen_ms(&user_id).max(last_seen_ms) };
        PresenceOf { user_id, online, last_seen_ms }
    }

    /// Which of these users have no open socket, hidden or not. For the notification webhook.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`].
    pub async fn offline(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        let online = self.parts.presence.online(users, self.now_ms()).await?;
        Ok(users.iter().zip(online).filter(|(_, online)| !online).map(|(user, _)| user.clone()).collect())
    }

    /// Shows a user's presence, or hides it from everybody.
    ///
    /// # Errors
    /// [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn set_visible(&self, who: &Identity, visible: bool) -> Result<()> {
        self.limit_action(who).await?;
        self.parts.store.set_hidden(&who.user_id, !visible).await?;
        self.notify_watchers(&who.user_id).await;
        Ok(())
    }

    /// Blocks `other`: their direct messages are refused, and the user seems offline to them.
    ///
    /// # Errors
    /// [`ChatError::Invalid`] for oneself or beyond 1,000, [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn block(&self, who: &Identity, other: &UserId) -> Result<()> {
        self.limit_action(who).await?;
        if who.user_id == *other {
            return Err(ChatError::Invalid("one cannot block oneself".into()));
        }
        if !self.parts.store.block(&who.user_id, other, self.now_ms(), BLOCKS_MAX).await? {
            return Err(ChatError::Invalid("you block 1000 people already".into()));
        }
        self.notify_watchers(&who.user_id).await;
        Ok(())
    }

    /// Unblocks `other`.
    ///
    /// # Errors
    /// [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn unblock(&self, who: &Identity, other: &UserId) -> Result<()> {
        self.limit_action(who).await?;
        self.parts.store.unblock(&who.user_id, other).await?;
        self.notify_watchers(&who.user_id).await;
        Ok(())
    }

    /// The users whom this one blocks, by id.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`].
    pub async fn blocks(&self, who: &Identity) -> Result<Vec<UserId>> {
        Ok(self.parts.store.blocks(&who.user_id, BLOCKS_MAX).await?)
    }

    /// Notifies a user's watchers of their presence, on this node and on others.
    pub(crate) async fn notify_watchers(&self, user: &UserId) {
        self.parts.fanout.notify_presence(user);
        self.notify_local_watchers(user).await;
    }

    /// Notifies a user's watchers on this node.
    pub(crate) async fn notify_local_watchers(&self, user: &UserId) {
        if self.presence_tracker.watches.lock().watchers(user).is_empty() {
            return;
        }
        let _in_order = self.presence_tracker.notifying.lock().await;
        let watchers = self.presence_tracker.watches.lock().watchers(user);
        if let Err(error) = self.notify_presence(user, watchers).await {
            tracing::warn!(%error, "could not notify watchers of a presence change");
        }
    }

    async fn notify_presence(&self, user: &UserId, watchers: Vec<(UserId, u64)>) -> Result<()> {
        let now_ms = self.now_ms();
        let of = std::slice::from_ref(user);
        let online = self.parts.presence.online(of, now_ms).await?.contains(&true);
        let blocked = self.parts.store.blocks(user, BLOCKS_MAX).await?;
        let (strangers, others): (Vec<_>, Vec<_>) =
            watchers.into_iter().partition(|(watcher, _)| blocked.binary_search(watcher).is_ok());
        for profile in self.parts.store.profiles(user, of).await? {
            let blocked = Profile { blocks_asker: true, ..profile.clone() };
            self.send_presence(self.visible_presence(profile, online, now_ms), others.clone());
            self.send_presence(self.visible_presence(blocked, online, now_ms), strangers.clone());
        }
        Ok(())
    }

    fn send_presence(&self, presence: PresenceOf, watchers: Vec<(UserId, u64)>) {
        let PresenceOf { user_id: user, online, last_seen_ms } = presence;
        let (mut users, sockets): (Vec<_>, Vec<_>) = watchers.into_iter().unzip();
        users.sort_unstable();
        users.dedup();
        let notice = Notice::Presence { user, online, last_seen_ms };
        self.parts.local_fanout.notify(users.into(), Sockets::Only(sockets.into()), notice);
    }

    /// Stores the sightings that wait. Runs every few seconds, and once more at shutdown.
    pub async fn store_sightings(&self) {
        loop {
            let seen = self.presence_tracker.next_batch();
            // The store has logged a failure; the sightings wait for the next run.
            if seen.is_empty() || self.parts.store.sight(seen.clone()).await.is_err() {
                return;
            }
            self.presence_tracker.remove_stored(&seen);
        }
    }
}

/// Renews leases and stores sightings for as long as chat exists.
pub(crate) async fn upkeep(chat: Weak<Chat>) {
    let mut tick = tokio::time::interval(UPKEEP);
    let Some(tracker) = chat.upgrade().map(|chat| chat.presence_tracker.clone()) else { return };
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = tracker.sighted.notified() => {
                tokio::time::sleep(SIGHTING_DELAY).await;
                let Some(chat) = chat.upgrade() else { return };
                chat.store_sightings().await;
                continue;
            }
        }
        let Some(chat) = chat.upgrade() else { return };
        tracker.sight_some(chat.now_ms());
        chat.store_sightings().await;
        let gone = chat.parts.presence.renew(chat.now_ms()).await;
        for user in gone.unwrap_or_default() {
            chat.notify_watchers(&user).await;
        }
    }
}
