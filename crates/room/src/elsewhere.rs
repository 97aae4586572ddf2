//! What other nodes publish for the rooms held here, and what of it did not come.
//!
//! Pushes between nodes are at most once. Whoever hears them says when something may be missing ([`Hub::missed`]): then the
//! room is read again from the store, and what its ring lacks is shown once, before what comes from elsewhere
//! meanwhile, so that each sender's comments keep their order. Comments that were deleted unheard go, and the room's settings are
//! read anew. One reading at a time per room, however often it is asked for. What is not kept (comments of rooms
//! that store nothing, announcements) stays lost. Never used where there is one node.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bus::{Entry, Fanout, Position, Record, stamp};
use model::metrics::count_by;
use model::{Audience, Event, EventBody, RoomId, RoomState, Snowflake};
use store::{Placed, RoomRow, StoreError};
use tokio::time::sleep;

use crate::held::{HubRoom, View};
use crate::hub::{Hub, RING_COMMENTS, Slot};
use crate::ring::Ring;

/// Rooms that are read again at once.
pub(crate) const REREADS_MAX: usize = 4;
/// Comments of one look into the store.
const PAGE: usize = 512;
/// Looks of one reading; when more was missed only the newest is taken in, and readers with older cursors ask the store.
const PAGES_MAX: usize = 16;
/// Entries from elsewhere that wait while a room is read again; beyond it they overtake.
const WAITING_MAX: usize = 8_192;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two readings of one room, when it is missing something again and again.
const PAUSE: Duration = Duration::from_millis(200);
/// Comments that one event says are deleted.
const DELETED_MAX: usize = 100;
/// After a reading that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Between readings of every room while nothing is heard: less than what cursors go back.
const DEAF_PAUSE: Duration = Duration::from_secs(2);

/// A room of which something is missing.
pub(crate) struct Behind {
    /// Since when, Unix milliseconds; `None` once a reading has begun that includes it.
    since_ms: Option<i64>,
    /// When that was noticed first.
    noticed_ms: i64,
    /// What came from elsewhere meanwhile; `None` when it waits no longer.
    waiting: Option<Vec<Entry>>,
}

/// Where other nodes' entries go in.
struct Inlet(Arc<Hub>);

impl Fanout for Inlet {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        entries.iter().for_each(|entry| self.0.tell_users(&entry.record));
        if let Some(slot) = self.0.slot_of(room_id) {
            slot.room.take_from_elsewhere(entries);
        }
    }

    fn kept_late(&self, room_id: &RoomId, since_ms: i64) {
        if let Some(slot) = self.0.slot_of(room_id) {
            slot.room.is_complete_until(since_ms);
            self.0.missed(room_id, since_ms);
        }
    }
}

impl Hub {
    /// Where what other nodes publish for rooms is to be pushed; what this node's own worker pushes goes to the hub itself.
    #[must_use]
    pub fn inlet(self: &Arc<Self>) -> Arc<dyn Fanout> {
        Arc::new(Inlet(self.clone()))
    }

    /// Something that another node pushed for this room since `since_ms` (Unix milliseconds; 0 when that is not known)
    /// may not have come. Must be told before what came after it is pushed. Does nothing when the room is not held.
    pub fn missed(self: &Arc<Self>, room_id: &RoomId, since_ms: i64) {
        let Some(slot) = self.slot_of(room_id) else { return };
        if slot.room.fall_behind(since_ms) {
            self.shared.runtime.spawn(catch_up(Arc::downgrade(self), slot));
        }
    }

    /// Whether nothing is heard of other nodes: as long as that is so, and once after, every room is read again now and
    /// then.
    pub fn set_deaf(self: &Arc<Self>, deaf: bool) {
        if self.deaf.swap(deaf, Ordering::AcqRel) == deaf {
            return;
        }
        self.missed_everywhere();
        if deaf {
            self.shared.runtime.spawn(while_deaf(Arc::downgrade(self)));
        }
    }

    /// As [`Hub::missed`] of every room that is held: what concerns every node, such as a room's settings, may not have come.
    pub fn missed_everywhere(self: &Arc<Self>) {
        let held: Vec<_> = self.rooms.iter().map(|slot| slot.key().clone()).collect();
        held.iter().for_each(|room_id| self.missed(room_id, 0));
    }

    fn slot_of(&self, room_id: &RoomId) -> Option<Arc<Slot>> {
        self.rooms.get(room_id).map(|slot| slot.clone())
    }

    /// Brings the room up to now with what the store has of it.
    async fn read_again(&self, slot: &Slot, since_ms: i64) -> Result<(), StoreError> {
        let _turn = self.rereads.acquire().await;
        self.warm(slot).await?;
        let (room, begun_ms) = (&slot.room, self.shared.clock.now_ms());
        if !self.show_missed(room, since_ms).await? {
            count_by(&self.shared.metrics.fanout_lost, "reason", "too_many", 1);
            let latest = self.store.latest_comments(room.id(), RING_COMMENTS).await?;
            room.view.lock().prefill(latest);
        }
        let row = self.store.room(room.id()).await?;
        let deleted = self.store.deleted_among(&room.ring(Ring::ids)).await?;
        room.settle(row, deleted, begun_ms);
        Ok(())
    }

    /// Whether that was all: false when more was missed than one reading takes in.
    async fn show_missed(&self, room: &Arc<HubRoom>, since_ms: i64) -> Result<bool, StoreError> {
        let mut from = room.read_again_from(since_ms);
        for _ in 0..PAGES_MAX {
            let page = self.store.comments_after(room.id(), from, PAGE).await?;
            let all = page.len() < PAGE;
            from = page.last().map_or(from, |last| last.position);
            room.take_missed(page);
            if all {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Reads the room again until nothing is missing. The store has logged and counted its failures.
async fn catch_up(hub: Weak<Hub>, slot: Arc<Slot>) {
    let mut pause = Duration::ZERO;
    while let Some(since_ms) = slot.room.next_reading() {
        sleep(std::mem::replace(&mut pause, PAUSE)).await;
        let Some(hub) = hub.upgrade() else { return };
        let reading = hub.read_again(&slot, since_ms);
        tokio::pin!(reading);
        let done = tokio::select! {
            done = &mut reading => done,
            () = sleep(PATIENCE) => {
                slot.room.let_through();
                reading.await
            }
        };
        if done.is_err() {
            slot.room.let_through();
            slot.room.fall_behind(since_ms);
            sleep(RETRY).await;
        }
    }
}

async fn while_deaf(hub: Weak<Hub>) {
    loop {
        sleep(DEAF_PAUSE).await;
        let Some(hub) = hub.upgrade().filter(|hub| hub.deaf.load(Ordering::Acquire)) else { return };
        hub.missed_everywhere();
    }
}

fn changed_settings(view: &mut View, row: RoomRow) -> Option<Record> {
    view.state = if row.session.is_some() { RoomState::Live } else { RoomState::Idle };
    (*view.settings != row.settings).then(|| Record::Settings(Arc::new(row.settings)))
}

impl HubRoom {
    /// Notes that something is missing; whether that is news, so that somebody has to begin reading.
    fn fall_behind(&self, since_ms: i64) -> bool {
        let mut view = self.view.lock();
        let since_ms = since_ms.max(view.complete_ms);
        if let Some(behind) = &mut view.behind {
            behind.since_ms = Some(behind.since_ms.map_or(since_ms, |earlier_ms| earlier_ms.min(since_ms)));
            return false;
        }
        let noticed_ms = self.shared.clock.now_ms();
        view.behind = Some(Behind { since_ms: Some(since_ms), noticed_ms, waiting: Some(Vec::new()) });
        true
    }

    /// What was kept since then has not all been read from the store, nor did it come.
    fn is_complete_until(&self, since_ms: i64) {
        let mut view = self.view.lock();
        view.complete_ms = view.complete_ms.min(since_ms);
    }

    /// Since when the room is to be read; `None` when nothing is missing any more, or the room is retired.
    fn next_reading(self: &Arc<Self>) -> Option<i64> {
        let mut view = self.view.lock();
        let since_ms = view.behind.as_mut().and_then(|behind| behind.since_ms.take()).filter(|_| !view.retired);
        let patient = |noticed_ms: i64| self.shared.clock.now_ms() - noticed_ms < PATIENCE.as_millis() as i64;
        let waiting = match (since_ms, &mut view.behind) {
            (None, behind) => behind.take().and_then(|behind| behind.waiting),
            (Some(_), Some(behind)) if !patient(behind.noticed_ms) => behind.waiting.take(),
            _ => None,
        };
        self.take_in(&mut view, &waiting.unwrap_or_default());
        since_ms
    }

    /// What waits is taken in, and what comes waits no longer.
    fn let_through(self: &Arc<Self>) {
        let mut view = self.view.lock();
        let waiting = view.behind.as_mut().and_then(|behind| behind.waiting.take());
        self.take_in(&mut view, &waiting.unwrap_or_default());
    }

    fn take_from_elsewhere(self: &Arc<Self>, entries: Vec<Entry>) {
        let mut view = self.view.lock();
        match view.behind.as_mut().and_then(|behind| behind.waiting.as_mut()) {
            Some(waiting) if waiting.len() < WAITING_MAX => waiting.extend(entries),
            _ => self.take_in(&mut view, &entries),
        }
    }

    fn read_again_from(&self, since_ms: i64) -> u64 {
        let reread_ms = self.shared.settings.reread_ms.cast_signed();
        let since = stamp::at(since_ms.saturating_sub(reread_ms));
        since.max(self.ring(Ring::certain_after))
    }

    fn take_missed(self: &Arc<Self>, page: Vec<Placed>) {
        let mut view = self.view.lock();
        let lacking = page.into_iter().filter(|placed| view.ring.lacks(placed.position, placed.comment.id));
        let entries: Vec<_> = lacking.map(|placed| self.entry(placed)).collect();
        self.take_in(&mut view, &entries);
    }

    fn entry(&self, placed: Placed) -> Entry {
        let record = Record::Comment { comment: placed.comment, client_msg_id: None, keep: true };
        let position = Position { epoch: 1, offset: placed.position };
        Entry { room_id: self.id().clone(), position, record }
    }

    /// Takes over the rest of what the store knew at `begun_ms` or later.
    fn settle(self: &Arc<Self>, row: Option<RoomRow>, mut deleted: Vec<Snowflake>, begun_ms: i64) {
        let mut view = self.view.lock();
        view.complete_ms = view.complete_ms.max(begun_ms);
        deleted.retain(|id| view.ring.knows(*id));
        self.take_row(&mut view, row, deleted);
    }

    /// Takes over the room's state and settings, and that these comments are gone.
    pub(crate) fn take_row(self: &Arc<Self>, view: &mut View, row: Option<RoomRow>, deleted: Vec<Snowflake>) {
        let settings = row.and_then(|row| changed_settings(view, row));
        let deletions = deleted.chunks(DELETED_MAX).filter_map(|ids| self.deletion(ids.to_vec()));
        let unplaced = |record| Entry { room_id: self.id().clone(), position: Position::default(), record };
        let entries: Vec<_> = settings.into_iter().chain(deletions).map(unplaced).collect();
        self.take_in(view, &entries);
    }

    /// `None` without a node number: then the next reading finds them.
    fn deletion(&self, comment_ids: Vec<Snowflake>) -> Option<Record> {
        Some(Record::Event(Arc::new(Event {
            id: self.shared.ids.next().ok()?,
            room_id: self.id().clone(),
            audience: Audience::Everyone,
            critical_for: Audience::Nobody,
            at_ms: self.shared.clock.now_ms(),
            body: EventBody::CommentsDeleted { comment_ids },
        })))
    }
}
