//! Who is here: sockets that come and go, people who ask, people who watch, people who hide or block.
//!
//! Whether somebody has an open socket is in [`state::Presence`]; this file owns which sockets of
//! this node watch whom, and the sightings that wait to be stored. Other nodes hear of everybody who comes or goes, and
//! tell the watchers they have.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::{HashMap, HashSet};
use bus::{Notice, Sockets, UserFanout};
use model::{Identity, UserId};
use parking_lot::Mutex;
use state::Rate;
use store::chat::{Profile, Sighting};

use crate::{Chat, ChatError, Result};

/// People one socket may watch.
const WATCHED_MAX: usize = 200;
/// People one may block.
const BLOCKS_MAX: usize = 1_000;
/// How often one person may ask about others.
const ASKS: Rate = Rate::per_s(10).burst(50);
/// How often sightings are stored and leases renewed.
const UPKEEP: Duration = Duration::from_secs(5);
/// Sightings of one commit, so that nobody else's commit waits long for it.
const SIGHTINGS_MAX: usize = 256;
/// Sightings that may wait; one more is not remembered.
const WAITING_MAX: usize = 100_000;

/// What this node knows of who is here.
#[derive(Default)]
pub(crate) struct Here {
    sightings: Mutex<HashMap<UserId, (Arc<str>, i64)>>,
    watches: Mutex<Watches>,
    /// Held while watchers are told of somebody, so that the last they hear is how it is.
    telling: tokio::sync::Mutex<()>,
}

impl Here {
    /// Somebody did something now.
    pub fn saw(&self, who: &Identity, now_ms: i64) {
        let mut sightings = self.sightings.lock();
        if sightings.len() < WAITING_MAX || sightings.contains_key(&who.user_id) {
            sightings.insert(who.user_id.clone(), (who.username.clone(), now_ms));
        }
    }

    /// When somebody was last seen, as far as the store does not know it yet.
    fn seen_ms(&self, user: &UserId) -> Option<i64> {
        self.sightings.lock().get(user).map(|(_, at_ms)| *at_ms)
    }

    /// Some of the sightings that wait.
    fn some(&self) -> Vec<Sighting> {
        let sightings = self.sightings.lock();
        let some = sightings.iter().take(SIGHTINGS_MAX);
        let sighting = |(user, (username, at_ms)): (&UserId, &(Arc<str>, i64))| Sighting {
            user_id: user.clone(),
            username: username.clone(),
            at_ms: *at_ms,
        };
        some.map(sighting).collect()
    }

    /// Everybody whom sockets here watch.
    pub fn watched(&self) -> Vec<UserId> {
        self.watches.lock().watched()
    }

    /// These are stored; whoever was seen again meanwhile waits on.
    fn stored(&self, seen: &[Sighting]) {
        let mut sightings = self.sightings.lock();
        for Sighting { user_id, at_ms, .. } in seen {
            if sightings.get(user_id).is_some_and(|(_, newest_ms)| newest_ms == at_ms) {
                sightings.remove(user_id);
            }
        }
    }
}

/// Which sockets watch whom: at most [`WATCHED_MAX`] people for each socket there is.
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

    /// Everybody who is watched.
    fn watched(&self) -> Vec<UserId> {
        self.sockets_of.keys().cloned().collect()
    }

    /// Who watches somebody, and by which socket.
    fn watchers(&self, user: &UserId) -> Vec<(UserId, u64)> {
        let sockets = self.sockets_of.get(user).into_iter().flatten();
        sockets.filter_map(|socket| Some((self.by_socket.get(socket)?.0.clone(), *socket))).collect()
    }
}

/// What one person may know of another's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceOf {
    /// Who.
    pub user_id: UserId,
    /// Whether here.
    pub online: bool,
    /// When last here, Unix milliseconds; `None` when never, or hidden.
    pub last_seen_ms: Option<i64>,
}

impl Chat {
    /// A socket has an identity now. `socket` is its number, unique in the deployment. Costs the
    /// store nothing unless somebody watches.
    pub async fn connected(&self, who: &Identity, socket: u64) {
        self.parts.fanout.hold(&who.user_id);
        // A failure was told by the state; presence comes right with the next change.
        if self.parts.presence.enter(&who.user_id, socket, self.now_ms()).await == Ok(true) {
            self.tell_watchers(&who.user_id).await;
        }
    }

    /// A socket closed, or has no identity any more. What it watched is forgotten.
    pub async fn disconnected(&self, who: &Identity, socket: u64) {
        self.here.watches.lock().forget(socket);
        self.parts.fanout.release(&who.user_id);
        if self.parts.presence.leave(&who.user_id, socket, self.now_ms()).await == Ok(true) {
            self.here.saw(who, self.now_ms());
            self.tell_watchers(&who.user_id).await;
        }
    }

    /// Whether somebody is here.
    ///
    /// # Errors
    /// [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn presence(&self, who: &Identity, user: &UserId) -> Result<PresenceOf> {
        let known = self.look(who, std::slice::from_ref(user)).await?;
        known.into_iter().next().ok_or(ChatError::Unavailable)
    }

    /// Whether these people are here now; `socket` is told when one comes or goes, until it watches
    /// others. At most 200.
    ///
    /// # Errors
    /// [`ChatError::Invalid`], [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn watch(&self, who: &Identity, socket: u64, mut users: Vec<UserId>) -> Result<Vec<PresenceOf>> {
        if users.len() > WATCHED_MAX {
            return Err(ChatError::Invalid("user_ids may name 200 people".into()));
        }
        users.sort_unstable();
        users.dedup();
        // First the watch, then the look: whoever comes in between is told.
        self.here.watches.lock().replace(&who.user_id, socket, &users);
        self.look(who, &users).await
    }

    async fn look(&self, who: &Identity, users: &[UserId]) -> Result<Vec<PresenceOf>> {
        self.limit("presence", who.user_id.as_str(), ASKS).await?;
        let now_ms = self.now_ms();
        let here = self.parts.presence.online(users, now_ms).await?;
        let profiles = self.parts.store.profiles(&who.user_id, users).await?;
        Ok(profiles.into_iter().zip(here).map(|(profile, online)| self.shown(profile, online, now_ms)).collect())
    }

    /// What may be known of somebody.
    fn shown(&self, profile: Profile, online: bool, now_ms: i64) -> PresenceOf {
        let Profile { user_id, last_seen_ms, hidden, blocks_asker, .. } = profile;
        if hidden || blocks_asker {
            return PresenceOf { user_id, online: false, last_seen_ms: None };
        }
        let last_seen_ms = if online { Some(now_ms) } else { self.here.seen_ms(&user_id).max(last_seen_ms) };
        PresenceOf { user_id, online, last_seen_ms }
    }

    /// Which of these people have no open socket, whatever they show; for the notification hook.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`].
    pub async fn offline(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        let here = self.parts.presence.online(users, self.now_ms()).await?;
        Ok(users.iter().zip(here).filter(|(_, online)| !online).map(|(user, _)| user.clone()).collect())
    }

    /// Shows oneself, or hides from everybody.
    ///
    /// # Errors
    /// [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn set_visible(&self, who: &Identity, visible: bool) -> Result<()> {
        self.act(who).await?;
        self.parts.store.set_hidden(&who.user_id, !visible).await?;
        self.tell_watchers(&who.user_id).await;
        Ok(())
    }

    /// Takes no direct messages from `other` any more, and seems offline to them.
    ///
    /// # Errors
    /// [`ChatError::Invalid`] for oneself or beyond 1,000, [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn block(&self, who: &Identity, other: &UserId) -> Result<()> {
        self.act(who).await?;
        if who.user_id == *other {
            return Err(ChatError::Invalid("one cannot block oneself".into()));
        }
        if !self.parts.store.block(&who.user_id, other, self.now_ms(), BLOCKS_MAX).await? {
            return Err(ChatError::Invalid("you block 1000 people already".into()));
        }
        self.tell_watchers(&who.user_id).await;
        Ok(())
    }

    /// Takes them again.
    ///
    /// # Errors
    /// [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn unblock(&self, who: &Identity, other: &UserId) -> Result<()> {
        self.act(who).await?;
        self.parts.store.unblock(&who.user_id, other).await?;
        self.tell_watchers(&who.user_id).await;
        Ok(())
    }

    /// Whom one blocks, by id.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`].
    pub async fn blocks(&self, who: &Identity) -> Result<Vec<UserId>> {
        Ok(self.parts.store.blocks(&who.user_id, BLOCKS_MAX).await?)
    }

    /// Tells those who watch somebody how it is now, on this node and on others.
    pub(crate) async fn tell_watchers(&self, user: &UserId) {
        self.parts.fanout.stir(user);
        self.tell_watchers_here(user).await;
    }

    /// Tells those who watch somebody here how it is now.
    pub(crate) async fn tell_watchers_here(&self, user: &UserId) {
        if self.here.watches.lock().watchers(user).is_empty() {
            return;
        }
        let _last_told_is_how_it_is = self.here.telling.lock().await;
        let watchers = self.here.watches.lock().watchers(user);
        if let Err(error) = self.tell(user, watchers).await {
            tracing::warn!(%error, "watchers were not told who came or went");
        }
    }

    async fn tell(&self, user: &UserId, watchers: Vec<(UserId, u64)>) -> Result<()> {
        let now_ms = self.now_ms();
        let of = std::slice::from_ref(user);
        let online = self.parts.presence.online(of, now_ms).await?.contains(&true);
        let blocked = self.parts.store.blocks(user, BLOCKS_MAX).await?;
        let (strangers, others): (Vec<_>, Vec<_>) =
            watchers.into_iter().partition(|(watcher, _)| blocked.binary_search(watcher).is_ok());
        for profile in self.parts.store.profiles(user, of).await? {
            let blocked = Profile { blocks_asker: true, ..profile.clone() };
            self.push(self.shown(profile, online, now_ms), others.clone());
            self.push(self.shown(blocked, online, now_ms), strangers.clone());
        }
        Ok(())
    }

    fn push(&self, shown: PresenceOf, watchers: Vec<(UserId, u64)>) {
        let PresenceOf { user_id: user, online, last_seen_ms } = shown;
        let (mut users, sockets): (Vec<_>, Vec<_>) = watchers.into_iter().unzip();
        users.sort_unstable();
        users.dedup();
        let notice = Notice::Presence { user, online, last_seen_ms };
        self.parts.post.notify(users.into(), Sockets::Only(sockets.into()), notice);
    }

    /// Stores the sightings that wait. Called every few seconds by itself, and once more at the end.
    pub async fn store_sightings(&self) {
        loop {
            let seen = self.here.some();
            // A failure was told by the store; they wait for the next time.
            if seen.is_empty() || self.parts.store.sight(seen.clone()).await.is_err() {
                return;
            }
            self.here.stored(&seen);
        }
    }
}

/// Renews leases and stores sightings for as long as chat goes on.
pub(crate) async fn upkeep(chat: Weak<Chat>) {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        let Some(chat) = chat.upgrade() else { return };
        chat.store_sightings().await;
        let gone = chat.parts.presence.renew(chat.now_ms()).await;
        for user in gone.unwrap_or_default() {
            chat.tell_watchers(&user).await;
        }
    }
}
