//! Chat across nodes: subscribes before it reads, catches up on missed messages, notifies watchers of remote changes.
//!
//! On one node nothing here has an effect. Positions in the store follow its commits, whichever node stored, so a cursor
//! that was issued in a page is exact. A cursor taken from a push is not: a message that another node stored just before
//! may arrive just after, or be lost while nodes did not hear each other. A page from such a cursor begins with the
//! messages that [`fanout::RereadWindow`] names; readers know by id which of them they have.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fanout::{Notice, RemoteChanges, UserFanout};
use futures::StreamExt;
use model::chat::Seen;
use model::snowflake::{made_at_ms, node_of};
use model::{DeviceId, Snowflake, UserId};
use store::chat::SyncQuery;
use tokio::time::timeout;

use crate::{Chat, Result};

/// Cursors remembered as issued in a page.
const ISSUED_MAX: usize = 65_536;
/// Users handled at once.
const CONCURRENCY: usize = 8;
/// Users in one query of the store.
const USERS_PER_QUERY: usize = 1_024;
/// Messages in one page of catching up.
const PAGE: usize = 500;
/// Messages before a cursor that are read again.
const REREAD_MAX: usize = 500;
/// Bytes of their contents, so that a page that begins with them still gets beyond the cursor.
const REREAD_BYTES_MAX: usize = 32 * 1024;
/// How often the task checks that chat still exists, and the delay before a failed read is repeated.
const PAUSE: Duration = Duration::from_secs(1);

/// Users who may have missed messages, and since when (Unix milliseconds). At most those who are online here.
type MissedSince = HashMap<UserId, i64>;

/// Cursors that this node issued in pages: a reader who brings one needs no repeats. Forgetting one costs repeats.
#[derive(Default)]
pub(crate) struct IssuedCursors {
    known: HashSet<(UserId, Snowflake)>,
    order: VecDeque<(UserId, Snowflake)>,
}

impl IssuedCursors {
    pub fn insert(&mut self, user: UserId, cursor: Snowflake) {
        let entry = (user, cursor);
        if self.known.insert(entry.clone()) {
            self.order.push_back(entry);
            if self.order.len() > ISSUED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    fn contains(&self, user: &UserId, cursor: Snowflake) -> bool {
        self.known.contains(&(user.clone(), cursor))
    }
}

/// Keeps this node subscribed to a user's notices from other nodes, until it is dropped.
pub(crate) struct UserSubscription<'a> {
    fanout: &'a dyn UserFanout,
    user: UserId,
}

impl Drop for UserSubscription<'_> {
    fn drop(&mut self) {
        self.fanout.release(&self.user);
    }
}

impl Chat {
    /// Subscribes to a user's notices from other nodes; in force when this returns.
    pub(crate) async fn subscribe(&self, user: &UserId) -> UserSubscription<'_> {
        self.parts.fanout.hold(user);
        let subscription = UserSubscription { fanout: &*self.parts.fanout, user: user.clone() };
        self.parts.fanout.heard(user).await;
        subscription
    }

    /// Announces to other nodes that a user's device has connected here, by `session`, at `since_ms` (Unix milliseconds),
    /// so that they close its older sockets. From here on this node hears of the device's later connections elsewhere.
    pub async fn announce_device(&self, user: &UserId, device: DeviceId, since_ms: i64, session: u64) {
        let _subscription = self.subscribe(user).await;
        self.parts.fanout.tell_others(user, Notice::Replaced { device, since_ms, session });
    }

    /// Announces to other nodes that a user has acknowledged an event here.
    pub fn announce_acknowledged(&self, user: &UserId, event: Snowflake) {
        self.parts.fanout.tell_others(user, Notice::Acknowledged { event });
    }

    /// Messages before the reader's cursor that may not have reached it, oldest first.
    pub(crate) async fn reread_before(&self, query: &SyncQuery) -> Result<Vec<Seen>> {
        let Some(cursor) = query.since else { return Ok(Vec::new()) };
        let window = self.parts.fanout.reread_window(made_at_ms(cursor));
        let Some(window) = window.filter(|_| !self.issued_cursors.lock().contains(&query.user, cursor)) else {
            return Ok(Vec::new());
        };
        // Nothing is known to be before a message that the store does not have.
        let Some(at) = self.parts.store.message(&query.user, cursor).await? else { return Ok(Vec::new()) };
        let not_before_ms = window.since_ms.max(query.not_before_ms);
        let again =
            SyncQuery { user: query.user.clone(), since: None, since_change: None, not_before_ms, limit: REREAD_MAX };
        let before = self.parts.store.sync(again).await?.messages.into_iter();
        let missing = before
            .filter(|seen| seen.message.position < at.message.position)
            .filter(|seen| window.outage || node_of(seen.message.id) != node_of(cursor));
        Ok(newest_within(missing.collect(), REREAD_BYTES_MAX))
    }

    /// Notifies a user's sockets here of stored messages since `since_ms` that they may have missed.
    async fn catch_up(&self, user: &UserId, since_ms: i64) -> Result<()> {
        let mut since = None;
        loop {
            let not_before_ms = since_ms;
            let query = SyncQuery { user: user.clone(), since, since_change: None, not_before_ms, limit: PAGE };
            let page = self.parts.store.sync(query).await?;
            for seen in page.messages.iter().filter(|seen| seen.message.recalled.is_none()) {
                self.parts.fanout.remind(user, Notice::Message(seen.message.clone()));
            }
            if !page.more || page.messages.is_empty() {
                return Ok(());
            }
            since = page.latest_id;
        }
    }

    /// Handles changes of other nodes; returns the users whose messages could not be read.
    async fn handle_remote_changes(&self, changes: RemoteChanges, missed: MissedSince) -> MissedSince {
        let watched =
            if changes.all_presence_changed { self.presence_tracker.watched() } else { changes.presence_changed };
        futures::stream::iter(watched)
            .for_each_concurrent(CONCURRENCY, async |user| self.notify_local_watchers(&user).await)
            .await;
        let (missed, mut left) = (missed.into_iter().collect::<Vec<_>>(), MissedSince::new());
        for some in missed.chunks(USERS_PER_QUERY) {
            // The store has logged its failure.
            left.extend(self.catch_up_batch(some).await.unwrap_or_else(|_| some.to_vec()));
        }
        left
    }

    /// Catches up for many users: after an outage all may have missed messages, and nearly none has. One query finds the
    /// users with new messages; only theirs are read. Returns the users whose messages could not be read.
    async fn catch_up_batch(&self, missed: &[(UserId, i64)]) -> Result<Vec<(UserId, i64)>> {
        let users: Vec<_> = missed.iter().map(|(user, _)| user.clone()).collect();
        let since_ms = missed.iter().map(|(_, since_ms)| *since_ms).min().unwrap_or(i64::MAX);
        let reached = self.parts.store.reached_since(&users, since_ms).await?;
        let mut reading = missed.to_vec();
        reading.retain(|(user, _)| reached.binary_search(user).is_ok());
        let reading = futures::stream::iter(reading).map(async |(user, since_ms)| {
            let done = self.catch_up(&user, since_ms).await;
            done.is_err().then_some((user, since_ms))
        });
        Ok(reading.buffer_unordered(CONCURRENCY).filter_map(async |left| left).collect().await)
    }
}

fn newest_within(mut messages: Vec<Seen>, bytes_max: usize) -> Vec<Seen> {
    let mut bytes = 0;
    let fits = messages.iter().rev().take_while(|seen| {
        bytes += seen.message.content.len();
        bytes <= bytes_max
    });
    let first = messages.len() - fits.count();
    messages.split_off(first)
}

/// Handles changes of other nodes for as long as chat exists.
pub(crate) async fn follow_remote_changes(chat: Weak<Chat>, fanout: Arc<dyn UserFanout>) {
    let (mut left, mut failed) = (MissedSince::new(), Instant::now());
    loop {
        let mut changes = timeout(PAUSE, fanout.changes()).await.unwrap_or_default();
        let Some(chat) = chat.upgrade() else { return };
        let mut missed = MissedSince::new();
        merge(&mut missed, std::mem::take(&mut changes.missed));
        if failed.elapsed() >= PAUSE {
            merge(&mut missed, std::mem::take(&mut left));
        }
        let again = chat.handle_remote_changes(changes, missed).await;
        if !again.is_empty() {
            failed = Instant::now();
            merge(&mut left, again);
        }
    }
}

/// Keeps each user's earliest time.
fn merge(into: &mut MissedSince, more: impl IntoIterator<Item = (UserId, i64)>) {
    for (user, since_ms) in more {
        into.entry(user).and_modify(|earliest_ms| *earliest_ms = since_ms.min(*earliest_ms)).or_insert(since_ms);
    }
}
