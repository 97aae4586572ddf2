//! What chat does because there are other nodes: it hears before it reads, reads again what may have been missed, and
//! tells watchers of those who came or went elsewhere.
//!
//! On one node nothing here has an effect. The store's positions are in the order of its commits, whichever node
//! stored, so a place taken from a page is exact. A place taken from a push is not: what another node stored just
//! before it may come just after it, or may have been lost while nodes did not hear each other. So a page from such a
//! place begins with what [`bus::Unsure`] names, which readers know by its id if they have it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bus::{News, Notice, UserFanout};
use futures::StreamExt;
use model::chat::Seen;
use model::snowflake::{made_at_ms, node_of};
use model::{DeviceId, Snowflake, UserId};
use store::chat::SyncQuery;
use tokio::time::timeout;

use crate::{Chat, Result};

/// Places that are remembered as taken from a page.
const HANDED_MAX: usize = 65_536;
/// Users who are read for, or whose watchers are told, at once.
const AT_ONCE: usize = 8;
/// Users whom the store is asked about with one call.
const ASKED_AT_ONCE: usize = 1_024;
/// Messages of one page when it is read again.
const PAGE: usize = 500;
/// Messages before somebody's place that are looked at.
const UNSURE_MAX: usize = 500;
/// Bytes of their contents: a page that begins with them is to get beyond the place.
const UNSURE_BYTES_MAX: usize = 32 * 1024;
/// Between looking whether chat goes on, and attempts to read again.
const PAUSE: Duration = Duration::from_secs(1);

/// Who may have missed messages, and since when (Unix milliseconds); no more than are held here.
type Missed = HashMap<UserId, i64>;

/// Places that this node gave in pages: whoever comes with one needs nothing again. Forgetting one costs repeats.
#[derive(Default)]
pub(crate) struct Handed {
    known: HashSet<(UserId, Snowflake)>,
    order: VecDeque<(UserId, Snowflake)>,
}

impl Handed {
    pub fn note(&mut self, user: UserId, place: Snowflake) {
        let entry = (user, place);
        if self.known.insert(entry.clone()) {
            self.order.push_back(entry);
            if self.order.len() > HANDED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    fn knows(&self, user: &UserId, place: Snowflake) -> bool {
        self.known.contains(&(user.clone(), place))
    }
}

/// What other nodes say of a user is heard until this is dropped.
pub(crate) struct Hearing<'a> {
    fanout: &'a dyn UserFanout,
    user: UserId,
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        self.fanout.release(&self.user);
    }
}

impl Chat {
    /// Hears what other nodes say of a user, from when this returns.
    pub(crate) async fn hear(&self, user: &UserId) -> Hearing<'_> {
        self.parts.fanout.hold(user);
        let hearing = Hearing { fanout: &*self.parts.fanout, user: user.clone() };
        self.parts.fanout.heard(user).await;
        hearing
    }

    /// Tells other nodes that a user's device has connected here, by `session`, at `since_ms` (Unix milliseconds): its
    /// older sockets there are to close. Whoever connects elsewhere from here on is heard of here.
    pub async fn replaces(&self, user: &UserId, device: DeviceId, since_ms: i64, session: u64) {
        let _hearing = self.hear(user).await;
        self.parts.fanout.tell_others(user, Notice::Replaced { device, since_ms, session });
    }

    /// Tells other nodes that a user has acknowledged an event here.
    pub fn acknowledged(&self, user: &UserId, event: Snowflake) {
        self.parts.fanout.tell_others(user, Notice::Acknowledged { event });
    }

    /// Messages before the reader's place that may not have reached it, oldest first.
    pub(crate) async fn unsure(&self, query: &SyncQuery) -> Result<Vec<Seen>> {
        let Some(place) = query.since else { return Ok(Vec::new()) };
        let unsure = self.parts.fanout.unsure(made_at_ms(place));
        let Some(unsure) = unsure.filter(|_| !self.handed.lock().knows(&query.user, place)) else {
            return Ok(Vec::new());
        };
        // Of a place that is not known (any more) nothing can be before.
        let Some(at) = self.parts.store.message(&query.user, place).await? else { return Ok(Vec::new()) };
        let not_before_ms = unsure.since_ms.max(query.not_before_ms);
        let again =
            SyncQuery { user: query.user.clone(), since: None, since_change: None, not_before_ms, limit: UNSURE_MAX };
        let before = self.parts.store.sync(again).await?.messages.into_iter();
        let missing = before
            .filter(|seen| seen.message.position < at.message.position)
            .filter(|seen| unsure.outage || node_of(seen.message.id) != node_of(place));
        Ok(newest_within(missing.collect(), UNSURE_BYTES_MAX))
    }

    /// Tells a user's sockets here what the store has since then and they were not told.
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

    /// Returns who is to be tried again.
    async fn look_into(&self, news: News, missed: Missed) -> Missed {
        let watched = if news.all_stirred { self.here.watched() } else { news.stirred };
        let telling = futures::stream::iter(watched);
        telling.for_each_concurrent(AT_ONCE, async |user| self.tell_watchers_here(&user).await).await;
        let (missed, mut left) = (missed.into_iter().collect::<Vec<_>>(), Missed::new());
        for some in missed.chunks(ASKED_AT_ONCE) {
            // The store has told of its failure.
            left.extend(self.catch_up_some(some).await.unwrap_or_else(|_| some.to_vec()));
        }
        left
    }

    /// After an outage everybody here may have missed something, and nearly nobody has: so the store is asked about many
    /// at once, and read for those whom something reached. Returns who of them is to be tried again.
    async fn catch_up_some(&self, missed: &[(UserId, i64)]) -> Result<Vec<(UserId, i64)>> {
        let users: Vec<_> = missed.iter().map(|(user, _)| user.clone()).collect();
        let since_ms = missed.iter().map(|(_, since_ms)| *since_ms).min().unwrap_or(i64::MAX);
        let reached = self.parts.store.reached_since(&users, since_ms).await?;
        let mut reading = missed.to_vec();
        reading.retain(|(user, _)| reached.binary_search(user).is_ok());
        let reading = futures::stream::iter(reading).map(async |(user, since_ms)| {
            let done = self.catch_up(&user, since_ms).await;
            done.is_err().then_some((user, since_ms))
        });
        Ok(reading.buffer_unordered(AT_ONCE).filter_map(async |left| left).collect().await)
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

/// Looks into what comes from other nodes for as long as chat goes on.
pub(crate) async fn follow(chat: Weak<Chat>, fanout: Arc<dyn UserFanout>) {
    let (mut left, mut failed) = (Missed::new(), Instant::now());
    loop {
        let mut news = timeout(PAUSE, fanout.news()).await.unwrap_or_default();
        let Some(chat) = chat.upgrade() else { return };
        let mut missed = Missed::new();
        merge(&mut missed, std::mem::take(&mut news.missed));
        if failed.elapsed() >= PAUSE {
            merge(&mut missed, std::mem::take(&mut left));
        }
        let again = chat.look_into(news, missed).await;
        if !again.is_empty() {
            failed = Instant::now();
            merge(&mut left, again);
        }
    }
}

/// Of each the earliest moment.
fn merge(into: &mut Missed, more: impl IntoIterator<Item = (UserId, i64)>) {
    for (user, since_ms) in more {
        into.entry(user).and_modify(|earliest_ms| *earliest_ms = since_ms.min(*earliest_ms)).or_insert(since_ms);
    }
}
