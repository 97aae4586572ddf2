//! What other nodes publish for the rooms held here, and how lost pushes are made up for.
//!
//! Pushes between nodes are at most once. The subscriber reports a possible gap with [`Hub::mark_incomplete`]. The hub then
//! reads the room again from the store and emits what its ring lacks. Entries that arrive from other nodes meanwhile
//! wait, so each sender's comments keep their order. It also removes comments whose deletion was lost and applies the
//! stored settings. One reread runs per room at a time. What is not stored (comments of rooms that store nothing,
//! announcements) stays lost. Never used where there is one node.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fanout::Fanout;
use log::{Entry, Position, Record, hlc};
use model::metrics::count_by;
use model::{Audience, Event, EventBody, RoomId, Snowflake};
use store::{Positioned, RoomRow, StoreError};
use tokio::time::sleep;

use crate::hub::{Hub, RING_COMMENTS, RoomSlot};
use crate::ring::Ring;
use crate::room::{ClientMsgIds, Room, RoomInner};

/// Rooms that are reread at the same time.
pub(crate) const REREADS_MAX: usize = 4;
/// Comments of one query to the store.
const PAGE: usize = 512;
/// Queries of one reread. When more was missed only the newest are applied, and readers with older cursors ask the store.
const PAGES_MAX: usize = 16;
/// Entries of other nodes that wait while a room is reread; further ones do not wait.
const WAITING_MAX: usize = 8_192;
/// The longest that they wait.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two rereads of one room.
const PAUSE: Duration = Duration::from_millis(200);
/// Comments that one deletion event names.
const DELETED_MAX: usize = 100;
/// The pause after a reread that failed.
const RETRY: Duration = Duration::from_secs(1);
/// The pause between rereads of every room while nothing arrives: less than the time that cursors go back.
const DISCONNECTED_PAUSE: Duration = Duration::from_secs(2);

/// The state of a room of which something may be missing.
pub(crate) struct CatchUp {
    /// Since when, Unix milliseconds; `None` once a reread has begun that covers it.
    since_ms: Option<i64>,
    /// When the gap was reported, Unix milliseconds.
    reported_ms: i64,
    /// What arrived from other nodes meanwhile; `None` when entries no longer wait.
    waiting: Option<Vec<Entry>>,
}

/// The entrance for other nodes' entries.
struct RemoteFanout(Arc<Hub>);

impl Fanout for RemoteFanout {
    fn push(&self, room_id: &RoomId, mut entries: Vec<Entry>) {
        self.0.drop_told(&mut entries);
        entries.iter().for_each(|entry| self.0.forward_to_users(&entry.record));
        self.0.apply_purges(room_id, &entries);
        if let Some(slot) = self.0.held_slot(room_id) {
            slot.room.apply_remote(entries);
        }
    }

    fn kept_late(&self, room_id: &RoomId, since_ms: i64) {
        if let Some(slot) = self.0.held_slot(room_id) {
            slot.room.lower_complete_until(since_ms);
            self.0.mark_incomplete(room_id, since_ms);
        }
    }
}

impl Hub {
    /// The fan-out to push other nodes' entries to. This node's own worker pushes to the hub itself.
    #[must_use]
    pub fn remote_fanout(self: &Arc<Self>) -> Arc<dyn Fanout> {
        Arc::new(RemoteFanout(self.clone()))
    }

    /// Reports that something another node pushed for this room since `since_ms` (Unix milliseconds; 0 when unknown) may
    /// be lost. Must be called before what followed it is pushed. Does nothing when the room is not held.
    pub fn mark_incomplete(self: &Arc<Self>, room_id: &RoomId, since_ms: i64) {
        let Some(slot) = self.held_slot(room_id) else { return };
        if slot.room.begin_catch_up(since_ms) {
            self.context.runtime.spawn(catch_up(Arc::downgrade(self), slot));
        }
    }

    /// Sets whether nothing arrives from other nodes. Meanwhile, and once afterwards, the hub rereads every room
    /// periodically.
    pub fn set_disconnected(self: &Arc<Self>, disconnected: bool) {
        if self.disconnected.swap(disconnected, Ordering::AcqRel) == disconnected {
            return;
        }
        self.mark_all_incomplete();
        if disconnected {
            self.context.runtime.spawn(reread_while_disconnected(Arc::downgrade(self)));
        }
    }

    /// [`Hub::mark_incomplete`] for every held room: something that concerns every node, such as settings, may be lost.
    pub fn mark_all_incomplete(self: &Arc<Self>) {
        let held: Vec<_> = self.rooms.iter().map(|slot| slot.key().clone()).collect();
        held.iter().for_each(|room_id| self.mark_incomplete(room_id, 0));
    }

    fn held_slot(&self, room_id: &RoomId) -> Option<Arc<RoomSlot>> {
        self.rooms.get(room_id).map(|slot| slot.clone())
    }

    /// Brings the room up to date from the store.
    async fn reread(&self, slot: &RoomSlot, since_ms: i64) -> Result<(), StoreError> {
        let _turn = self.rereads.acquire().await;
        self.warm(slot).await?;
        let (room, begun_ms) = (&slot.room, self.context.clock.now_ms());
        if !self.reread_missed(room, since_ms).await? {
            count_by(&self.context.metrics.fanout_lost, "reason", "too_many", 1);
            let latest = self.store.latest_comments(room.id(), RING_COMMENTS).await?;
            room.inner.lock().prefill(latest);
        }
        let row = self.store.room(room.id()).await?;
        let deleted = self.store.deleted_among(&room.ring(Ring::ids)).await?;
        room.finish_reread(row, deleted, since_ms, begun_ms);
        Ok(())
    }

    /// Applies what was missed; false when that is more than one reread covers.
    async fn reread_missed(&self, room: &Arc<Room>, since_ms: i64) -> Result<bool, StoreError> {
        let mut from = room.reread_from(since_ms);
        for _ in 0..PAGES_MAX {
            let page = self.store.comments_after(room.id(), from, PAGE).await?;
            let last_page = page.len() < PAGE;
            from = page.last().map_or(from, |last| last.position);
            let missing = room.missing(&page);
            let keys = self.client_msg_ids(missing).await?;
            room.apply_missed(page, &keys);
            if last_page {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Rereads the room until nothing is missing. The store has logged and counted its failures.
async fn catch_up(hub: Weak<Hub>, slot: Arc<RoomSlot>) {
    let mut pause = Duration::ZERO;
    while let Some(since_ms) = slot.room.begin_reread() {
        sleep(std::mem::replace(&mut pause, PAUSE)).await;
        let Some(hub) = hub.upgrade() else { return };
        let reread = hub.reread(&slot, since_ms);
        tokio::pin!(reread);
        let done = tokio::select! {
            done = &mut reread => done,
            () = sleep(PATIENCE) => {
                slot.room.release_waiting();
                reread.await
            }
        };
        if done.is_err() {
            slot.room.release_waiting();
            slot.room.begin_catch_up(since_ms);
            sleep(RETRY).await;
        }
    }
}

async fn reread_while_disconnected(hub: Weak<Hub>) {
    loop {
        sleep(DISCONNECTED_PAUSE).await;
        let Some(hub) = hub.upgrade().filter(|hub| hub.disconnected.load(Ordering::Acquire)) else { return };
        hub.mark_all_incomplete();
    }
}

fn changed_settings(inner: &mut RoomInner, row: RoomRow) -> Option<Record> {
    inner.session_is_stored(row.session.as_ref().map(|session| session.id));
    (*inner.settings != row.settings).then(|| Record::Settings(Arc::new(row.settings)))
}

impl Room {
    /// Notes that something may be missing; true when the caller has to start rereading.
    fn begin_catch_up(&self, since_ms: i64) -> bool {
        let mut inner = self.inner.lock();
        // A gap that began before the last reread did is not covered by it.
        let since_ms = if since_ms < inner.complete_from_ms { since_ms } else { since_ms.max(inner.complete_until_ms) };
        if let Some(catch_up) = &mut inner.catch_up {
            catch_up.since_ms = Some(catch_up.since_ms.map_or(since_ms, |earlier_ms| earlier_ms.min(since_ms)));
            return false;
        }
        let reported_ms = self.context.clock.now_ms();
        inner.catch_up = Some(CatchUp { since_ms: Some(since_ms), reported_ms, waiting: Some(Vec::new()) });
        true
    }

    /// Notes that not everything stored since then was read or arrived.
    fn lower_complete_until(&self, since_ms: i64) {
        let mut inner = self.inner.lock();
        inner.complete_until_ms = inner.complete_until_ms.min(since_ms);
    }

    /// Since when to reread the room; `None` when nothing is missing any more, or the room is retired.
    fn begin_reread(self: &Arc<Self>) -> Option<i64> {
        let mut inner = self.inner.lock();
        let since_ms = inner.catch_up.as_mut().and_then(|catch_up| catch_up.since_ms.take()).filter(|_| !inner.retired);
        let patient = |reported_ms: i64| self.context.clock.now_ms() - reported_ms < PATIENCE.as_millis() as i64;
        let waiting = match (since_ms, &mut inner.catch_up) {
            (None, catch_up) => catch_up.take().and_then(|catch_up| catch_up.waiting),
            (Some(_), Some(catch_up)) if !patient(catch_up.reported_ms) => catch_up.waiting.take(),
            _ => None,
        };
        self.apply_entries(&mut inner, &waiting.unwrap_or_default());
        since_ms
    }

    /// Applies what waits; entries that arrive from now on do not wait.
    fn release_waiting(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        let waiting = inner.catch_up.as_mut().and_then(|catch_up| catch_up.waiting.take());
        self.apply_entries(&mut inner, &waiting.unwrap_or_default());
    }

    fn apply_remote(self: &Arc<Self>, entries: Vec<Entry>) {
        let mut inner = self.inner.lock();
        match inner.catch_up.as_mut().and_then(|catch_up| catch_up.waiting.as_mut()) {
            Some(waiting) if waiting.len() < WAITING_MAX => waiting.extend(entries),
            _ => self.apply_entries(&mut inner, &entries),
        }
    }

    fn reread_from(&self, since_ms: i64) -> u64 {
        let reread_ms = self.context.settings.reread_ms.cast_signed();
        let since = hlc::at(since_ms.saturating_sub(reread_ms));
        since.max(self.ring(Ring::certain_after))
    }

    /// Those that never arrived here.
    fn missing(&self, page: &[Positioned]) -> Vec<Snowflake> {
        let inner = self.inner.lock();
        let ids = page.iter().map(|positioned| (positioned.position, positioned.comment.id));
        ids.filter(|(position, id)| inner.ring.is_missing(*position, *id)).map(|(_, id)| id).collect()
    }

    fn apply_missed(self: &Arc<Self>, page: Vec<Positioned>, keys: &ClientMsgIds) {
        let mut inner = self.inner.lock();
        let missing =
            page.into_iter().filter(|positioned| inner.ring.is_missing(positioned.position, positioned.comment.id));
        let entries: Vec<_> = missing.map(|positioned| self.entry(positioned, keys)).collect();
        self.apply_entries(&mut inner, &entries);
    }

    fn entry(&self, positioned: Positioned, keys: &ClientMsgIds) -> Entry {
        let client_msg_id = keys.get(&positioned.comment.id).cloned();
        let record = Record::Comment { comment: positioned.comment, client_msg_id, keep: true };
        let position = Position { epoch: 1, offset: positioned.position };
        Entry { room_id: self.id().clone(), position, record }
    }

    /// Applies the rest of what the store knew at `begun_ms` or later, about what was said from `since_ms` on.
    fn finish_reread(
        self: &Arc<Self>,
        row: Option<RoomRow>,
        mut deleted: Vec<Snowflake>,
        since_ms: i64,
        begun_ms: i64,
    ) {
        let mut inner = self.inner.lock();
        if since_ms < inner.complete_from_ms || since_ms > inner.complete_until_ms {
            inner.complete_from_ms = since_ms;
        }
        inner.complete_until_ms = inner.complete_until_ms.max(begun_ms);
        deleted.retain(|id| inner.ring.contains(*id));
        self.apply_row(&mut inner, row, deleted);
    }

    /// Applies the room's stored state and settings, and the deletion of these comments.
    pub(crate) fn apply_row(self: &Arc<Self>, inner: &mut RoomInner, row: Option<RoomRow>, deleted: Vec<Snowflake>) {
        let settings = row.and_then(|row| changed_settings(inner, row));
        let deletions = deleted.chunks(DELETED_MAX).filter_map(|ids| self.deletion(ids.to_vec()));
        let entry_of = |record| Entry { room_id: self.id().clone(), position: Position::default(), record };
        let entries: Vec<_> = settings.into_iter().chain(deletions).map(entry_of).collect();
        self.apply_entries(inner, &entries);
    }

    /// `None` without a node number: then the next reread finds them.
    fn deletion(&self, comment_ids: Vec<Snowflake>) -> Option<Record> {
        Some(Record::Event(Arc::new(Event {
            id: self.context.ids.next().ok()?,
            room_id: self.id().clone(),
            audience: Audience::Everyone,
            critical_for: Audience::Nobody,
            at_ms: self.context.clock.now_ms(),
            body: EventBody::CommentsDeleted { comment_ids },
        })))
    }
}
