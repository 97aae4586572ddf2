//! One room on one node: its ring, its readers, and the moment that is being gathered for them.
//!
//! Everything lies under one short lock, so that joins, batches and deletions of a room have one
//! order. Nothing awaits under it; composing and handing over to the shards happen under it, so
//! that shards hear the room in that order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bus::{Entry, Record};
use bytes::Bytes;
use model::metrics::count_by;
use model::panics::contained;
use model::{Audience, Comment, Event, EventBody, RoomId, RoomSettings, RoomState, Snowflake, UserId};
use parking_lot::Mutex;
use protocol::handshake::Form;
use protocol::message::{JoinRoom, ServerMessage};
use protocol::spoken;
use store::{Placed, RoomRow};
use tokio::sync::{mpsc, watch};

use crate::batch::{Batch, EventFrame, Item, Joined, ToShard};
use crate::elsewhere::Behind;
use crate::hub::{JoinRequest, RING_COMMENTS, Shared};
use crate::merge::{self, MergedIds};
use crate::ring::{Given, Ring, Start};
use crate::stream::{Moment, Shed, StreamId, StreamKey, Streams, TapMessage};
use crate::window::{BATCH_MAX, Window};

/// A "too many comments" notice is repeated no sooner than this, in milliseconds.
const NOTICE_MS: i64 = 10_000;
/// A picture of a state (ranking, hot comments) waits at most this long for the room's next comments, in milliseconds.
const PICTURE_MS: i64 = 400;
/// How often a room looks whether its last batch has reached everybody, in milliseconds.
const UNDER_WAY_MS: i64 = 5;
/// Nor does it wait for that any longer, in milliseconds.
const UNDER_WAY_MS_MAX: i64 = 1_000;

/// The cursor of a reader who has seen nothing: what polling an empty room answers.
pub(crate) const BEGINNING: Snowflake = Snowflake(0);

/// The room was retired between finding and using it: find it again.
#[derive(Debug)]
pub(crate) struct Retired;

/// From where a joining reader wants history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// No cursor, or an unknown one: plain history.
    Nothing,
    /// The ring has everything from here on.
    Ring(Start),
    /// The ring does not reach back so far; the store must say.
    Outside,
    /// The store said: so many were missed after the start's position.
    Missed { start: Start, missed: u64 },
}

/// History for one reader.
pub(crate) struct Held {
    pub history: Vec<Arc<Comment>>,
    pub omitted: u64,
}

/// A room held by this node.
pub struct HubRoom {
    id: RoomId,
    key: u32,
    pub(crate) shared: Arc<Shared>,
    pub(crate) view: Mutex<View>,
    changed: watch::Sender<u64>,
    elsewhere: AtomicU64,
}

impl std::fmt::Debug for HubRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HubRoom").field(&self.id).finish()
    }
}

pub(crate) struct View {
    pub ring: Ring,
    streams: Streams,
    pending: Vec<merge::Item>,
    events: Vec<Arc<EventFrame>>,
    /// By when the events must go, Unix milliseconds.
    events_due_ms: Option<i64>,
    window: Window,
    /// The last batch, for as long as a shard is at it.
    under_way: Weak<Batch>,
    /// When the next timer looks at the room, Unix milliseconds.
    timer_ms: Option<i64>,
    pub settings: Arc<RoomSettings>,
    pub state: RoomState,
    sequence: u64,
    merged: MergedIds,
    noticed_ms: i64,
    touched_ms: i64,
    pub retired: bool,
    /// What was kept before this moment, Unix milliseconds, has been read from the store, or came.
    pub complete_ms: i64,
    /// While something of other nodes is missing.
    pub behind: Option<Behind>,
}

impl HubRoom {
    pub(crate) fn new(id: RoomId, key: u32, shared: Arc<Shared>) -> Arc<Self> {
        let view = View {
            ring: Ring::new(RING_COMMENTS, shared.settings.reread_ms),
            streams: Streams::default(),
            pending: Vec::new(),
            events: Vec::new(),
            events_due_ms: None,
            window: Window::new(shared.settings.window_ms_max),
            under_way: Weak::new(),
            timer_ms: None,
            settings: Arc::default(),
            state: RoomState::Idle,
            sequence: 0,
            merged: MergedIds::default(),
            noticed_ms: 0,
            touched_ms: shared.clock.now_ms(),
            retired: false,
            complete_ms: 0,
            behind: None,
        };
        let (view, changed, elsewhere) = (Mutex::new(view), watch::Sender::new(0), AtomicU64::new(0));
        Arc::new(Self { id, key, shared, view, changed, elsewhere })
    }

    /// The room.
    #[must_use]
    pub fn id(&self) -> &RoomId {
        &self.id
    }

    /// A number for the room, unique in the process: cheaper to hash than its id.
    #[must_use]
    pub fn key(&self) -> u32 {
        self.key
    }

    /// Sockets and event streams reading it here.
    #[must_use]
    pub fn viewers(&self) -> u64 {
        self.view.lock().streams.viewers()
    }

    /// Those reading it on other nodes, as of some seconds ago.
    pub(crate) fn elsewhere(&self) -> &AtomicU64 {
        &self.elsewhere
    }

    /// Whether something of other nodes may be missing, and is being read from the store.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.view.lock().behind.is_some()
    }

    /// Wakes whenever something was published or deleted.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Looks at the ring.
    pub(crate) fn ring<T>(&self, look: impl FnOnce(&Ring) -> T) -> T {
        look(&self.view.lock().ring)
    }

    /// A socket leaves.
    pub fn leave(&self, stream: StreamId, form: Form, shard: u16) {
        let mut view = self.view.lock();
        view.streams.remove(stream, form, shard);
        view.touched_ms = self.shared.clock.now_ms();
    }

    pub(crate) fn touch(&self) {
        self.view.lock().touched_ms = self.shared.clock.now_ms();
    }

    pub(crate) fn retire_if_idle(&self, now_ms: i64, idle_ms: i64) -> bool {
        let mut view = self.view.lock();
        view.streams.drop_closed_taps();
        let waited_for = self.changed.receiver_count() > 0;
        let idle = view.streams.is_empty() && !waited_for && now_ms - view.touched_ms > idle_ms;
        view.retired |= idle;
        view.retired
    }

    /// Takes in what the store knows, once, while live entries may already be coming in.
    pub(crate) fn warm(self: &Arc<Self>, row: Option<RoomRow>, latest: Vec<Placed>, begun_ms: i64) {
        let mut view = self.view.lock();
        view.complete_ms = begun_ms;
        view.prefill(latest);
        self.take_row(&mut view, row, Vec::new());
    }

    fn window_ms_max(&self, settings: &RoomSettings) -> u32 {
        settings.window_ms_max.unwrap_or(self.shared.settings.window_ms_max)
    }

    pub(crate) fn since(&self, since_id: Option<Snowflake>) -> Since {
        let Some(id) = since_id else { return Since::Nothing };
        self.ring(|ring| {
            let start =
                if id == BEGINNING { Some(ring.start_at(0)) } else { ring.start_after(id).map(|(start, _)| start) };
            start.filter(|start| ring.covers(start)).map_or(Since::Outside, Since::Ring)
        })
    }

    /// Makes a socket a member and sends the answer through its shard, in order with the batches.
    pub(crate) fn join(self: &Arc<Self>, request: &JoinRequest, since: Since) -> Result<(), Retired> {
        let JoinRequest { conn, form, user, options, reference, previous } = request;
        let mut view = self.view.lock();
        if view.retired {
            return Err(Retired);
        }
        if let Some(previous) = previous {
            view.streams.remove(*previous, *form, conn.shard);
        }
        let key = self.stream_key(&view, options, user.as_ref(), conn.index);
        let fresh = self.shared.fresh_stream();
        let (stream, credit) = view.streams.add(&key, *form, conn.shard, fresh);
        let Held { history, omitted } = self.history(&view, options, since);
        let answer = ServerMessage::RoomJoined {
            room_id: &self.id,
            state: view.state,
            viewers: view.streams.viewers() + self.elsewhere.load(Ordering::Relaxed),
            history: history.iter().map(|c| protocol::comment::CommentJson(c, None)).collect(),
            omitted,
        };
        let mut frame = Vec::new();
        spoken::message(form.protocol, &answer, reference.as_deref(), &mut frame);
        let answer = Bytes::from(frame);
        let room = self.clone();
        if let Some(shard) = self.shared.shard(conn.shard) {
            // A full inbox drops the answer; the client asks again and nothing else is lost.
            shard.send(ToShard::Joined(Joined { conn: *conn, room, stream, credit, answer }));
        }
        Ok(())
    }

    /// Adds an event stream's ear.
    pub(crate) fn tap(
        &self,
        options: &JoinRoom,
        since: Since,
        user: Option<UserId>,
        sender: mpsc::Sender<TapMessage>,
    ) -> Result<Held, Retired> {
        let mut view = self.view.lock();
        if view.retired {
            return Err(Retired);
        }
        let key = self.stream_key(&view, options, user.as_ref(), rand::random());
        let fresh = self.shared.fresh_stream();
        view.streams.add_tap(&key, user, sender, fresh);
        Ok(self.history(&view, options, since))
    }

    fn stream_key(&self, view: &View, options: &JoinRoom, user: Option<&UserId>, seat: u32) -> StreamKey {
        let groups = u64::from(view.settings.reader_groups.max(1));
        let seed = user.map_or(u64::from(seat), |user| words::same_text_key(user.as_str()));
        let per_s_max = view.settings.limits.viewer_per_s_max.unwrap_or(self.shared.settings.viewer_per_s_max);
        StreamKey::new(options.max_per_s, options.only_user_ids.as_deref(), (seed % groups) as u16, per_s_max)
    }

    /// History up to what has been emitted: what is still pending comes with the next batch.
    fn history(&self, view: &View, options: &JoinRoom, since: Since) -> Held {
        let settings = &self.shared.settings;
        let wished = options.history.or(options.history_s.map(|_| settings.history_max));
        let mut most = wished.unwrap_or(settings.history_default).min(settings.history_max) as usize;
        if options.max_per_s == Some(0) && options.history.is_none() && options.history_s.is_none() {
            most = 0; // Comments are off.
        }
        let from_ms = options
            .history_s
            .map(|seconds| self.shared.clock.now_ms() - i64::from(seconds.min(settings.history_s_max)) * 1_000);
        let asked =
            |comment: &Comment| options.only_user_ids.as_ref().is_none_or(|only| only.contains(&comment.user_id));
        let young = |comment: &Comment| from_ms.is_none_or(|from_ms| comment.created_at_ms >= from_ms);
        let pending = view.pending.len();
        let (start, missed) = match since {
            Since::Ring(start) => (start, None),
            Since::Missed { start, missed } => (start, Some(missed)),
            Since::Nothing | Since::Outside => {
                let wanted = view.ring.shown(pending).rev().filter(|comment| asked(comment) && young(comment));
                return Held { history: oldest_first(wanted.take(most)), omitted: 0 };
            }
        };
        let new = |given: &Given<'_>| given.is_new;
        let missed_here = view.ring.after(start, pending).filter(|given| new(given) && asked(given.comment)).count();
        let beyond_ring = missed.map_or(0, |missed| {
            let here = view.ring.after(start, pending).filter(new).count() + pending;
            missed.saturating_sub(here as u64)
        });
        let wanted = view.ring.after(start, pending).rev().filter(|given| asked(given.comment) && young(given.comment));
        let told: Vec<_> = wanted.take(most).collect();
        let omitted = (missed_here - told.iter().filter(|given| given.is_new).count()) as u64 + beyond_ring;
        Held { history: oldest_first(told.into_iter().map(|given| given.comment)), omitted }
    }

    /// Takes in what the worker pushed, and emits it now or at the end of the window.
    pub(crate) fn take(self: &Arc<Self>, entries: &[Entry]) {
        self.take_in(&mut self.view.lock(), entries);
    }

    pub(crate) fn take_in(self: &Arc<Self>, view: &mut View, entries: &[Entry]) {
        let now_ms = self.shared.clock.now_ms();
        let before = view.pending.len();
        for entry in entries {
            self.take_entry(view, entry, now_ms);
        }
        let arrived = view.pending.len().saturating_sub(before);
        view.window.arrived(now_ms, arrived);
        // Pictures of a state have no place, and nobody polls for them.
        if let Some(last) = entries.iter().map(|entry| entry.position.offset).max().filter(|offset| *offset > 0) {
            self.changed.send_replace(last);
        }
        self.emit_or_wait(view, now_ms);
    }

    fn take_entry(&self, view: &mut View, entry: &Entry, now_ms: i64) {
        match &entry.record {
            Record::Comment { comment, .. } => {
                let new = view.ring.push(entry.position.offset, comment.clone());
                if new && !view.streams.is_empty() {
                    let key = Some(words::fold_key(&comment.content));
                    view.pending.push(merge::Item { comment: comment.clone(), key });
                }
            }
            Record::Event(event) => self.take_event(view, event, now_ms),
            Record::Settings(settings) => {
                view.window.set_window_ms_max(self.window_ms_max(settings));
                view.settings = settings.clone();
                if settings.private || !settings.enabled {
                    let (room, settings) = (self.key, settings.clone());
                    for shard in self.shared.shards.get().into_iter().flatten() {
                        shard.send(ToShard::Restricted { room, settings: settings.clone() });
                    }
                }
            }
            Record::SessionStarted(_) => view.state = RoomState::Live,
            Record::SessionEnded(_) => view.state = RoomState::Idle,
            Record::Liked { .. } | Record::Banned { .. } | Record::Revoked { .. } | Record::Changed(_) => {}
        }
    }

    fn take_event(&self, view: &mut View, event: &Arc<Event>, now_ms: i64) {
        let mut event = event.clone();
        if let EventBody::CommentsDeleted { comment_ids } = &event.body {
            let mut shown = comment_ids.clone();
            for id in comment_ids {
                view.ring.remove(*id, now_ms);
                shown.extend(view.merged.representative(*id));
            }
            view.pending.retain(|item| !comment_ids.contains(&item.comment.id));
            if shown.len() > comment_ids.len() {
                let body = EventBody::CommentsDeleted { comment_ids: shown };
                event = Arc::new(Event { body, ..(*event).clone() });
            }
        }
        if event.audience == Audience::Everyone && !view.streams.is_empty() {
            view.gather(event, now_ms);
        }
    }

    fn emit_or_wait(self: &Arc<Self>, view: &mut View, now_ms: i64) {
        let load = f64::from(self.shared.load());
        let comments = view.window.next_deadline_ms(now_ms, load).or_else(|| view.streams.owed_deadline_ms());
        let comments = comments.map(|deadline_ms| view.not_too_soon(deadline_ms, now_ms));
        let deadline = comments.into_iter().chain(view.events_due_ms).min();
        match deadline {
            Some(deadline) if deadline <= now_ms => self.emit(view, now_ms),
            Some(deadline) => self.wake_at(view, deadline, now_ms),
            None => {}
        }
    }

    /// Looks at the room again at `deadline_ms`, unless a timer does so earlier.
    fn wake_at(self: &Arc<Self>, view: &mut View, deadline_ms: i64, now_ms: i64) {
        if view.timer_ms.is_some_and(|timer_ms| timer_ms <= deadline_ms && timer_ms > now_ms) {
            return;
        }
        view.timer_ms = Some(deadline_ms);
        let room = self.clone();
        let wait = Duration::from_millis((deadline_ms - now_ms).clamp(1, 1_000).unsigned_abs());
        self.shared.runtime.spawn(contained(async move {
            tokio::time::sleep(wait).await;
            let mut view = room.view.lock();
            let now_ms = room.shared.clock.now_ms();
            // This timer is over even where the clock was set back meanwhile.
            view.timer_ms = view.timer_ms.filter(|timer_ms| *timer_ms > now_ms && *timer_ms != deadline_ms);
            room.emit_or_wait(&mut view, now_ms);
        }));
    }

    fn emit(self: &Arc<Self>, view: &mut View, now_ms: i64) {
        let gathered = std::mem::take(&mut view.pending);
        view.window.emitted(now_ms);
        view.sequence += 1;
        let (items, merged) = merge_items(&gathered, &mut view.merged, now_ms);
        let moment = Moment {
            room: &self.id,
            items: &items,
            merged: &merged,
            sequence: view.sequence,
            groups: view.settings.reader_groups,
            now_ms,
            deflate_bytes_min: self.shared.settings.deflate_bytes_min,
        };
        let (streams, shed) = view.streams.compose(&moment);
        let mut events = std::mem::take(&mut view.events);
        view.events_due_ms = None;
        events.extend(self.notice(view, shed, now_ms));
        for event in &events {
            view.streams.feed_event(event);
        }
        self.count(shed, items.len());
        let accepted_at_ms = items.iter().map(|item| item.comment.created_at_ms).min().unwrap_or(now_ms);
        let batch = Batch { room: self.clone(), events, items, streams, accepted_at_ms };
        self.hand_over(view, batch);
        if let Some(deadline_ms) = view.streams.owed_deadline_ms() {
            self.wake_at(view, deadline_ms, now_ms);
        }
    }

    fn hand_over(&self, view: &mut View, batch: Batch) {
        let mut shards = view.streams.shards();
        let batch = Arc::new(batch);
        view.under_way = Arc::downgrade(&batch);
        while shards != 0 {
            let index = shards.trailing_zeros() as u16;
            shards &= shards - 1;
            let taken = self.shared.shard(index).is_some_and(|s| s.send(ToShard::Batch(batch.clone())));
            if !taken {
                count_by(&self.shared.metrics.omitted, "reason", "slow", batch.items.len() as u64);
            }
        }
    }

    fn count(&self, shed: Shed, batch: usize) {
        let metrics = &self.shared.metrics;
        metrics.delivered.inc_by(shed.delivered);
        if batch > 0 {
            metrics.batch_size.observe(batch as f64);
        }
        for (reason, n) in [("budget", shed.by_budget), ("merged", shed.by_merging)] {
            if n > 0 {
                count_by(&metrics.omitted, "reason", reason, n);
            }
        }
    }

    /// Viewers who did not choose a budget are told, now and then, that they see a sample.
    fn notice(&self, view: &mut View, shed: Shed, now_ms: i64) -> Option<Arc<EventFrame>> {
        if !shed.surprised || now_ms - view.noticed_ms < NOTICE_MS {
            return None;
        }
        // Without a number there is no notice yet.
        let id = self.shared.ids.next().ok()?;
        view.noticed_ms = now_ms;
        let body = EventBody::Notice {
            code: "too_many_comments".into(),
            message: "too many comments: you are shown a sample · 弹幕过多，仅显示部分弹幕".into(),
        };
        Some(Arc::new(EventFrame::new(Arc::new(Event {
            id,
            room_id: self.id.clone(),
            audience: Audience::Everyone,
            critical_for: Audience::Nobody,
            at_ms: now_ms,
            body,
        }))))
    }
}

impl View {
    pub fn prefill(&mut self, latest: Vec<Placed>) {
        self.ring.prefill(latest.into_iter().map(|placed| (placed.position, placed.comment)).collect());
    }

    /// When the next comments may go: not while a shard is at the last batch, unless there are as many as fit. They would wait for
    /// it in the shard's queue and reach nobody sooner; here, others join them, and a batch less is sent to everybody.
    fn not_too_soon(&self, deadline_ms: i64, now_ms: i64) -> i64 {
        let waits = self.under_way.strong_count() > 0
            && self.window.pending() < BATCH_MAX
            && self.window.emitted_ms().is_some_and(|at_ms| (0..UNDER_WAY_MS_MAX).contains(&(now_ms - at_ms)));
        if waits { deadline_ms.max(now_ms + UNDER_WAY_MS) } else { deadline_ms }
    }

    /// Events go at once; pictures of a state let the room's next comments take them along, since a send costs
    /// the same whatever is in it, and a newer picture replaces one that still waits.
    fn gather(&mut self, event: Arc<Event>, now_ms: i64) {
        let kind = std::mem::discriminant(&event.body);
        let mut due_ms = now_ms;
        if matches!(event.body, EventBody::Ranking { .. } | EventBody::HotComments { .. }) {
            due_ms += PICTURE_MS;
            self.events.retain(|waiting| std::mem::discriminant(&waiting.event.body) != kind);
        }
        self.events.push(Arc::new(EventFrame::new(event)));
        self.events_due_ms = Some(self.events_due_ms.map_or(due_ms, |waiting_ms| waiting_ms.min(due_ms)));
    }
}

fn oldest_first<'a>(newest_first: impl Iterator<Item = &'a Arc<Comment>>) -> Vec<Arc<Comment>> {
    let mut comments: Vec<_> = newest_first.cloned().collect();
    comments.reverse();
    comments
}

/// The moment's items in order, and which of them were merged into another.
fn merge_items(gathered: &[merge::Item], memory: &mut MergedIds, now_ms: i64) -> (Vec<Item>, Vec<bool>) {
    let merged = merge::merge(gathered);
    memory.remember(&merged.away, now_ms);
    let mut kept = merged.kept.into_iter().peekable();
    let place = |item: &merge::Item| match kept.next_if(|kept| kept.comment.id == item.comment.id) {
        Some(kept) => (Item::new(kept.comment, kept.count), false),
        None => (Item::new(item.comment.clone(), 1), true),
    };
    gathered.iter().map(place).unzip()
}
