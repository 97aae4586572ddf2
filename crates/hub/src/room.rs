//! One room on one node: its ring, its readers, and the comments and events that wait for the next batch.
//!
//! Owned by the hub, which feeds it entries; readers join and leave through it. Everything is under one short lock, so
//! joins, batches and deletions of a room have one order. Composing and sending to the shards happen under it, so
//! shards see the same order. Nothing awaits under the lock, and nothing is encoded under it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::AHashSet;
use log::first::FirstSeen;
use log::{Entry, Record};
use model::metrics::{count, count_by};
use model::panics::contained;
use model::{Audience, Comment, Event, EventBody, RoomId, RoomSettings, RoomState, Snowflake, UserId};
use parking_lot::Mutex;
use protocol::message::JoinRoom;
use store::{Positioned, RoomRow};
use tokio::sync::{mpsc, watch};

use crate::batch::{Batch, BatchItem, Credit, Joined, ShadowComment, ShardMessage, SharedEvent};
use crate::catch_up::CatchUp;
use crate::hub::{HubContext, IDLE_MS, JoinRequest, RING_COMMENTS};
use crate::live::{LIVE_IDLE_MS, Recording};
use crate::merge::{self, MergeInput, MergedIds};
use crate::ring::{Ring, RingCursor, RingEntry};
use crate::shadows::{EARLY_MAX, SHADOWS_MAX, Shadows};
use crate::stream::{BatchInput, ComposeStats, StreamId, StreamKey, Streams, TapMessage};
use crate::window::{BATCH_MAX, Window};

/// A "too many comments" notice is repeated no sooner than this, in milliseconds.
const NOTICE_MS: i64 = 10_000;
/// A snapshot (ranking, hot comments) waits at most this long for the room's next comments, in milliseconds.
const SNAPSHOT_DELAY_MS: i64 = 400;
/// How often a room checks whether its last batch has been written, in milliseconds.
const IN_FLIGHT_POLL_MS: i64 = 5;
/// The longest it waits for that, in milliseconds.
const IN_FLIGHT_MS_MAX: i64 = 1_000;

/// `client_msg_id`s of a room that are remembered: longer than a node is frozen and comes back.
const FIRST_SEEN_MAX: usize = 65_536;

/// The cursor of a reader who has seen nothing: what polling an empty room answers.
pub(crate) const BEGINNING: Snowflake = Snowflake(0);

/// The `client_msg_id`s of some comments, by their ids.
pub(crate) type ClientMsgIds = HashMap<Snowflake, Box<str>>;

/// The room was retired between finding and using it: find it again.
#[derive(Debug)]
pub(crate) struct Retired;

/// Where the history of a joining reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistoryStart {
    /// No cursor, or an unknown one: the latest comments.
    Latest,
    /// The ring has everything from here on.
    Ring(RingCursor),
    /// The ring does not reach back so far: the store must be asked.
    NotInRing,
    /// The store was asked: `missed` comments follow the start's position.
    InStore { start: RingCursor, missed: u64 },
}

/// History for one reader.
pub(crate) struct History {
    pub history: Vec<Arc<Comment>>,
    pub omitted: u64,
}

/// A room held by this node.
pub struct Room {
    id: RoomId,
    key: u32,
    pub(crate) context: Arc<HubContext>,
    pub(crate) inner: Mutex<RoomInner>,
    changed: watch::Sender<u64>,
    remote_viewers: AtomicU64,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Room").field(&self.id).finish()
    }
}

pub(crate) struct RoomInner {
    pub ring: Ring,
    /// Among several nodes: two may bring one comment under two ids. With one node the log has decided.
    seen: Option<FirstSeen>,
    /// The latest session that began here, and whether it ended: a node that was frozen tells old news.
    session: (Snowflake, bool),
    /// Where the settings stand in the log; 0 when they are the store's.
    settings_position: u64,
    pub streams: Streams,
    /// Present while segments are asked for.
    pub recording: Option<Recording>,
    /// Arrived and not emitted yet.
    pub pending: Vec<MergeInput>,
    /// The number of arrival of the next comment to emit.
    pub next_arrival: u64,
    pub events: Vec<Arc<SharedEvent>>,
    /// By when the events must be emitted, Unix milliseconds.
    events_due_ms: Option<i64>,
    pub window: Window,
    /// The last batch, while a shard still writes it.
    in_flight: Weak<Batch>,
    /// When the next timer fires, Unix milliseconds.
    timer_ms: Option<i64>,
    pub settings: Arc<RoomSettings>,
    pub state: RoomState,
    sequence: u64,
    merged: MergedIds,
    notified_ms: i64,
    pub used_ms: i64,
    pub shadows: Shadows,
    /// Comments that are published later.
    pub early: Shadows,
    /// Of the comments that wait for the next batch those that some have been given already.
    given_early: AHashSet<Snowflake>,
    pub retired: bool,
    /// Its readers were handed over as of a moment: what comes later, their new process gives them.
    pub handed_over: bool,
    /// Everything stored before this, Unix milliseconds, was read from the store or arrived.
    pub complete_until_ms: i64,
    /// Since when that holds: a reread that began later has not seen what was said before.
    pub complete_from_ms: i64,
    /// Present while something of other nodes may be missing.
    pub catch_up: Option<CatchUp>,
}

impl Room {
    pub(crate) fn new(id: RoomId, key: u32, context: Arc<HubContext>) -> Arc<Self> {
        let inner = RoomInner {
            ring: Ring::new(RING_COMMENTS, context.settings.reread_ms),
            seen: (context.settings.reread_ms > 0).then(|| FirstSeen::new(FIRST_SEEN_MAX)),
            session: (Snowflake(0), false),
            settings_position: 0,
            streams: Streams::default(),
            recording: None,
            pending: Vec::new(),
            next_arrival: 1,
            events: Vec::new(),
            events_due_ms: None,
            window: Window::new(context.settings.rooms.window_ms_max),
            in_flight: Weak::new(),
            timer_ms: None,
            settings: Arc::default(),
            state: RoomState::Idle,
            sequence: 0,
            merged: MergedIds::default(),
            notified_ms: 0,
            shadows: Shadows::new(SHADOWS_MAX),
            early: Shadows::new(EARLY_MAX),
            given_early: AHashSet::default(),
            used_ms: context.clock.now_ms(),
            retired: false,
            handed_over: false,
            complete_until_ms: 0,
            complete_from_ms: 0,
            catch_up: None,
        };
        let (inner, changed, remote_viewers) = (Mutex::new(inner), watch::Sender::new(0), AtomicU64::new(0));
        Arc::new(Self { id, key, context, inner, changed, remote_viewers })
    }

    /// The room's id.
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
        self.inner.lock().streams.viewers()
    }

    /// Viewers on other nodes, as of some seconds ago.
    pub(crate) fn remote_viewers(&self) -> &AtomicU64 {
        &self.remote_viewers
    }

    /// Whether something of other nodes may be missing, and is being read from the store.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.inner.lock().catch_up.is_some()
    }

    /// Wakes whenever something was published or deleted.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Runs `read` on the ring, under the lock.
    pub(crate) fn ring<T>(&self, read: impl FnOnce(&Ring) -> T) -> T {
        read(&self.inner.lock().ring)
    }

    /// Takes a socket out of a stream.
    pub fn leave(&self, stream: StreamId, shard: u16) {
        let mut inner = self.inner.lock();
        inner.streams.remove(stream, shard);
        inner.used_ms = self.context.clock.now_ms();
    }

    pub(crate) fn touch(&self) {
        self.inner.lock().used_ms = self.context.clock.now_ms();
    }

    pub(crate) fn retire_if_idle(&self, now_ms: i64, idle_ms: i64) -> bool {
        let mut inner = self.inner.lock();
        inner.streams.drop_closed_taps();
        let waited_for = self.changed.receiver_count() > 0;
        let unread = inner.streams.viewers() == 0 && !waited_for && now_ms - inner.used_ms > idle_ms;
        // While space is short, a recording is kept no longer than the room.
        let recorded_ms = if unread && idle_ms < IDLE_MS { idle_ms } else { LIVE_IDLE_MS };
        if inner.recording.as_ref().is_some_and(|recording| recording.is_idle(now_ms, recorded_ms)) {
            self.stop_recording(&mut inner);
        }
        inner.retired |= unread && inner.recording.is_none();
        inner.retired
    }

    /// Fills the room from the store, once. Live entries may already be arriving.
    /// `keys` are the `client_msg_id`s of the latest comments.
    pub(crate) fn warm(
        self: &Arc<Self>,
        row: Option<RoomRow>,
        latest: Vec<Positioned>,
        keys: &ClientMsgIds,
        begun_ms: i64,
    ) {
        let mut inner = self.inner.lock();
        (inner.complete_from_ms, inner.complete_until_ms) = (0, begun_ms);
        if let Some(seen) = &mut inner.seen {
            for Positioned { comment, .. } in &latest {
                seen.is_first(comment, keys.get(&comment.id).map(|key| &**key));
            }
        }
        inner.prefill(latest);
        self.apply_row(&mut inner, row, Vec::new());
    }

    /// Adds the comments that only some see, once.
    pub(crate) fn prefill_shadows(&self, stored: Vec<Positioned>) {
        let mut inner = self.inner.lock();
        for found in stored {
            inner.shadows.push(found.position, found.comment);
        }
    }

    fn window_ms_max(&self, settings: &RoomSettings) -> u32 {
        settings.window_ms_max.unwrap_or(self.context.settings.rooms.window_ms_max)
    }

    pub(crate) fn history_start(&self, since_id: Option<Snowflake>) -> HistoryStart {
        let Some(id) = since_id else { return HistoryStart::Latest };
        self.ring(|ring| {
            let start =
                if id == BEGINNING { Some(ring.start_at(0)) } else { ring.start_after(id).map(|(start, _)| start) };
            start.filter(|start| ring.covers(start)).map_or(HistoryStart::NotInRing, HistoryStart::Ring)
        })
    }

    /// Makes a socket a member and sends the answer through its shard, in order with the batches.
    pub(crate) fn join(self: &Arc<Self>, request: &JoinRequest, since: HistoryStart) -> Result<(), Retired> {
        let JoinRequest { conn, user, moderates, options, reference, previous, .. } = request;
        let mut inner = self.inner.lock();
        if inner.retired {
            return Err(Retired);
        }
        if let Some(previous) = previous {
            inner.streams.remove(*previous, conn.shard);
        }
        let key = self.stream_key(&inner, options, user.as_ref(), conn.index);
        let (stream, omitted) = inner.streams.add(&key, conn.shard, self.context.next_stream_id());
        // A member that asks for other options has not been given what is pending: that stays for the next batch.
        let pending: AHashSet<_> = match previous {
            Some(_) => inner.pending.iter().map(|item| item.comment.id).collect(),
            None => AHashSet::default(),
        };
        let first_arrival = if previous.is_some() { 0 } else { inner.first_unsettled() };
        let credit = Credit { first_arrival, omitted };
        let History { mut history, omitted } = self.history(&inner, options, since, &pending);
        inner.add_unseen(&mut history, (user.as_ref(), *moderates), options.since_id, self.most(options));
        let joined = Joined {
            conn: *conn,
            room: self.clone(),
            stream,
            credit,
            state: inner.state,
            viewers: inner.streams.viewers() + self.remote_viewers.load(Ordering::Relaxed),
            history,
            omitted,
            pin: inner
                .settings
                .pin
                .clone()
                .filter(|pin| pin.until_ms.is_none_or(|until_ms| until_ms > self.context.clock.now_ms())),
            reference: reference.clone(),
        };
        if let Some(shard) = self.context.shard(conn.shard) {
            shard.send(ShardMessage::Joined(joined));
        }
        Ok(())
    }

    /// Adds an event stream, and returns its history.
    pub(crate) fn tap(
        &self,
        options: &JoinRoom,
        since: HistoryStart,
        user: Option<UserId>,
        moderates: bool,
        sender: mpsc::Sender<TapMessage>,
    ) -> Result<History, Retired> {
        let mut inner = self.inner.lock();
        if inner.retired {
            return Err(Retired);
        }
        let key = self.stream_key(&inner, options, user.as_ref(), rand::random());
        let first_arrival = inner.first_unsettled();
        let mut found = self.history(&inner, options, since, &AHashSet::default());
        let most = self.most(options);
        inner.add_unseen(&mut found.history, (user.as_ref(), moderates), options.since_id, most);
        inner.streams.add_tap(&key, (user, moderates), sender, first_arrival, self.context.next_stream_id());
        Ok(found)
    }

    fn stream_key(&self, inner: &RoomInner, options: &JoinRoom, user: Option<&UserId>, slot: u32) -> StreamKey {
        let groups = u64::from(inner.settings.reader_groups.max(1));
        let seed = user.map_or(u64::from(slot), |user| words::same_text_key(user.as_str()));
        let per_s_max = inner.settings.limits.viewer_per_s_max.unwrap_or(self.context.settings.rooms.viewer_per_s_max);
        StreamKey::new(options.max_per_s, options.only_user_ids.as_deref(), (seed % groups) as u16, per_s_max)
    }

    /// History up to what has arrived, without `excluded`.
    fn history(
        &self,
        inner: &RoomInner,
        options: &JoinRoom,
        since: HistoryStart,
        excluded: &AHashSet<Snowflake>,
    ) -> History {
        let history_s_max = self.context.settings.rooms.history_s_max;
        let most = self.most(options);
        let from_ms = options
            .history_s
            .map(|seconds| self.context.clock.now_ms() - i64::from(seconds.min(history_s_max)) * 1_000);
        let asked = |comment: &Comment| {
            options.only_user_ids.as_ref().is_none_or(|only| only.contains(&comment.user_id))
                && !excluded.contains(&comment.id)
        };
        let young = |comment: &Comment| from_ms.is_none_or(|from_ms| comment.created_at_ms >= from_ms);
        let (start, missed) = match since {
            HistoryStart::Ring(start) => (start, None),
            HistoryStart::InStore { start, missed } => (start, Some(missed)),
            HistoryStart::Latest | HistoryStart::NotInRing => {
                let wanted = inner.ring.comments().rev().filter(|comment| asked(comment) && young(comment));
                return History { history: oldest_first(wanted.take(most)), omitted: 0 };
            }
        };
        let new = |given: &RingEntry<'_>| given.is_new;
        let missed_here = inner.ring.after(start).filter(|given| new(given) && asked(given.comment)).count();
        let beyond_ring =
            missed.map_or(0, |missed| missed.saturating_sub(inner.ring.after(start).filter(new).count() as u64));
        let wanted = inner.ring.after(start).rev().filter(|given| asked(given.comment) && young(given.comment));
        let shown: Vec<_> = wanted.take(most).collect();
        let omitted = (missed_here - shown.iter().filter(|given| given.is_new).count()) as u64 + beyond_ring;
        History { history: oldest_first(shown.into_iter().map(|given| given.comment)), omitted }
    }

    /// The most comments of history that these options ask for.
    fn most(&self, options: &JoinRoom) -> usize {
        let rooms = &self.context.settings.rooms;
        if options.max_per_s == Some(0) && options.history.is_none() && options.history_s.is_none() {
            return 0; // Comments are off.
        }
        let requested = options.history.or(options.history_s.map(|_| rooms.history_max));
        requested.unwrap_or(rooms.history_default).min(rooms.history_max) as usize
    }

    /// Applies what the worker pushed, and emits it now or at the end of the window.
    pub(crate) fn apply(self: &Arc<Self>, entries: &[Entry]) {
        self.apply_entries(&mut self.inner.lock(), entries);
    }

    pub(crate) fn apply_entries(self: &Arc<Self>, inner: &mut RoomInner, entries: &[Entry]) {
        let now_ms = self.context.clock.now_ms();
        let before = inner.pending.len();
        for entry in entries {
            self.apply_entry(inner, entry, now_ms);
        }
        let arrived = inner.pending.len().saturating_sub(before);
        inner.window.arrived(now_ms, arrived);
        // Snapshots have no position, and nobody polls for them.
        if let Some(last) = entries.iter().map(|entry| entry.position.offset).max().filter(|offset| *offset > 0) {
            self.changed.send_replace(last);
        }
        self.emit_or_wait(inner, now_ms);
    }

    fn apply_entry(self: &Arc<Self>, inner: &mut RoomInner, entry: &Entry, now_ms: i64) {
        match &entry.record {
            Record::Comment { comment, .. } if self.context.purges.cover(comment) => {
                inner.ring.pass_over(entry.position.offset, comment.id);
            }
            Record::Early(comment) if self.context.purges.cover(comment) => {}
            Record::Early(comment) => {
                if inner.early.push(0, comment.clone()) {
                    self.give_to_few(inner, comment);
                }
            }
            Record::Comment { comment, .. } if comment.shadow => {
                self.apply_shadow(inner, entry.position.offset, comment)
            }
            Record::Comment { comment, client_msg_id, keep } => {
                if !keep {
                    self.context.unstored.note(comment.id, &self.id);
                }
                if inner.seen.as_mut().is_some_and(|seen| !seen.is_first(comment, client_msg_id.as_deref())) {
                    count(&self.context.metrics.repeats, "part", "hub");
                    inner.ring.pass_over(entry.position.offset, comment.id);
                    return;
                }
                let is_given = inner.early.remove(comment.id);
                let new = inner.ring.push(entry.position.offset, comment.clone());
                if new && !inner.streams.is_empty() {
                    if is_given {
                        inner.given_early.insert(comment.id);
                    }
                    let key = Some(words::fold_key(&comment.content));
                    inner.pending.push(MergeInput { comment: comment.clone(), key, arrival: inner.next_arrival });
                    inner.next_arrival += 1;
                }
            }
            Record::Event(event) => self.apply_event(inner, event, now_ms),
            Record::Settings(_) if (1..inner.settings_position).contains(&entry.position.offset) => {}
            Record::Settings(settings) => {
                inner.settings_position = inner.settings_position.max(entry.position.offset);
                inner.window.set_window_ms_max(self.window_ms_max(settings));
                inner.settings = settings.clone();
                if settings.private || !settings.enabled {
                    let (room, settings) = (self.key, settings.clone());
                    for shard in self.context.shards.get().into_iter().flatten() {
                        shard.send(ShardMessage::Restricted { room, settings: settings.clone() });
                    }
                }
            }
            Record::SessionStarted(session) => inner.session_is(session.id, false),
            Record::SessionEnded(session) => inner.session_is(session.id, true),
            Record::Liked { .. } | Record::Banned { .. } | Record::Revoked { .. } | Record::Changed(_) => {}
        }
    }

    /// Gives a comment to its sender and to those who moderate the room; for all others it does not exist.
    fn apply_shadow(self: &Arc<Self>, inner: &mut RoomInner, position: u64, comment: &Arc<Comment>) {
        if inner.shadows.push(position, comment.clone()) {
            self.give_to_few(inner, comment);
        }
    }

    /// Sends a comment to those who see it and others do not.
    fn give_to_few(self: &Arc<Self>, inner: &mut RoomInner, comment: &Arc<Comment>) {
        if inner.streams.is_empty() {
            return;
        }
        let item = BatchItem::new(comment.clone(), 1);
        let shadow = Arc::new(ShadowComment { room: self.clone(), item });
        for shard in self.context.shards.get().into_iter().flatten() {
            shard.send(ShardMessage::Shadow(shadow.clone()));
        }
        inner.streams.feed_shadow(comment);
    }

    fn apply_event(&self, inner: &mut RoomInner, event: &Arc<Event>, now_ms: i64) {
        let mut event = event.clone();
        if let EventBody::CommentsDeleted { comment_ids } | EventBody::CommentsHidden { comment_ids } = &event.body {
            let mut shown = comment_ids.clone();
            for id in comment_ids {
                inner.ring.remove(*id, now_ms);
                inner.shadows.remove(*id);
                inner.early.remove(*id);
                shown.extend(inner.merged.representative(*id));
            }
            inner.pending.retain(|item| !comment_ids.contains(&item.comment.id));
            if let Some(recording) = &mut inner.recording {
                recording.remove(&self.context, &shown);
            }
            if shown.len() > comment_ids.len() {
                let body = EventBody::CommentsDeleted { comment_ids: shown };
                event = Arc::new(Event { body, ..(*event).clone() });
            }
        }
        if let EventBody::CommentsRestored { comments } = &event.body {
            comments.iter().for_each(|(_, comment)| inner.ring.restore(comment.clone()));
        }
        if event.audience == Audience::Everyone && !inner.streams.is_empty() {
            inner.queue_event(event, now_ms);
        }
    }

    pub(crate) fn emit_or_wait(self: &Arc<Self>, inner: &mut RoomInner, now_ms: i64) {
        let load = f64::from(self.context.load());
        let comments = inner.window.next_deadline_ms(now_ms, load).or_else(|| inner.streams.omitted_deadline_ms());
        let comments = comments.map(|deadline_ms| inner.delay_while_in_flight(deadline_ms, now_ms));
        let deadline = comments.into_iter().chain(inner.events_due_ms).min();
        match deadline {
            Some(deadline) if deadline <= now_ms => self.emit(inner, now_ms),
            Some(deadline) => self.wake_at(inner, deadline, now_ms),
            None => {}
        }
    }

    /// Sets a timer for `deadline_ms`, unless one fires earlier.
    fn wake_at(self: &Arc<Self>, inner: &mut RoomInner, deadline_ms: i64, now_ms: i64) {
        if inner.timer_ms.is_some_and(|timer_ms| timer_ms <= deadline_ms && timer_ms > now_ms) {
            return;
        }
        inner.timer_ms = Some(deadline_ms);
        let room = self.clone();
        let delay = Duration::from_millis((deadline_ms - now_ms).clamp(1, 1_000).unsigned_abs());
        self.context.runtime.spawn(contained(async move {
            tokio::time::sleep(delay).await;
            let mut inner = room.inner.lock();
            let now_ms = room.context.clock.now_ms();
            // This timer has fired even if the clock was set back meanwhile.
            inner.timer_ms = inner.timer_ms.filter(|timer_ms| *timer_ms > now_ms && *timer_ms != deadline_ms);
            room.emit_or_wait(&mut inner, now_ms);
        }));
    }

    pub(crate) fn emit(self: &Arc<Self>, inner: &mut RoomInner, now_ms: i64) {
        if inner.handed_over {
            return;
        }
        let pending = std::mem::take(&mut inner.pending);
        inner.window.emitted(now_ms);
        inner.sequence += 1;
        let (mut items, merged) = merge_items(&pending, &mut inner.merged, now_ms);
        let has_given = !inner.given_early.is_empty();
        for item in items.iter_mut().filter(|_| has_given) {
            item.is_given = inner.given_early.contains(&item.comment.id);
        }
        inner.given_early.clear();
        let items: Arc<[BatchItem]> = items.into();
        let input = BatchInput {
            items: &items,
            merged: &merged,
            sequence: inner.sequence,
            groups: inner.settings.reader_groups,
            now_ms,
        };
        let (streams, stats) = inner.streams.compose(&input);
        let mut events = std::mem::take(&mut inner.events);
        inner.events_due_ms = None;
        events.extend(self.notice(inner, stats, now_ms));
        for event in &events {
            inner.streams.feed_event(event);
        }
        if let Some(recording) = &mut inner.recording {
            let own = streams.iter().find(|batch| batch.stream == recording.stream());
            recording.append(&self.context, now_ms, &items, own, &events);
        }
        self.count(stats, items.len());
        let shards_left = AtomicU32::new(inner.streams.shards().count_ones());
        let batch = Batch { room: self.clone(), events, items, streams, has_given, emitted_ms: now_ms, shards_left };
        self.send_to_shards(inner, batch);
        if let Some(deadline_ms) = inner.streams.omitted_deadline_ms() {
            self.wake_at(inner, deadline_ms, now_ms);
        }
    }

    fn send_to_shards(&self, inner: &mut RoomInner, batch: Batch) {
        let mut shards = inner.streams.shards();
        let batch = Arc::new(batch);
        inner.in_flight = Arc::downgrade(&batch);
        while shards != 0 {
            let index = shards.trailing_zeros() as u16;
            shards &= shards - 1;
            let accepted = self.context.shard(index).is_some_and(|s| s.send(ShardMessage::Batch(batch.clone())));
            if !accepted {
                let _ = batch.handed_over();
                count_by(&self.context.metrics.omitted, "reason", "slow", batch.items.len() as u64);
            }
        }
    }

    fn count(&self, stats: ComposeStats, batch: usize) {
        let metrics = &self.context.metrics;
        metrics.delivered.inc_by(stats.delivered);
        if batch > 0 {
            metrics.batch_size.observe(batch as f64);
        }
        for (reason, n) in [("budget", stats.by_budget), ("merged", stats.by_merging)] {
            if n > 0 {
                count_by(&metrics.omitted, "reason", reason, n);
            }
        }
    }

    /// A notice for viewers who did not choose a budget that they see a sample, at most one per [`NOTICE_MS`].
    fn notice(&self, inner: &mut RoomInner, stats: ComposeStats, now_ms: i64) -> Option<Arc<SharedEvent>> {
        if !stats.sampled_by_default || now_ms - inner.notified_ms < NOTICE_MS {
            return None;
        }
        // Without an id there is no notice yet.
        let id = self.context.ids.next().ok()?;
        inner.notified_ms = now_ms;
        let body = EventBody::Notice {
            code: "too_many_comments".into(),
            message: "too many comments: you are shown a sample · 弹幕过多，仅显示部分弹幕".into(),
            comment_id: None,
            reason: None,
        };
        Some(Arc::new(SharedEvent::new(Arc::new(Event {
            id,
            room_id: self.id.clone(),
            audience: Audience::Everyone,
            critical_for: Audience::Nobody,
            at_ms: now_ms,
            body,
        }))))
    }
}

impl RoomInner {
    /// The number of arrival before which the history of a reader who joins now settles everything; 0 when nothing is
    /// pending, so that the reader needs no share of its own.
    fn first_unsettled(&self) -> u64 {
        if self.pending.is_empty() { 0 } else { self.next_arrival }
    }

    /// Adds to a history what its reader sees and others do not, and keeps the newest `most`.
    fn add_unseen(
        &self,
        history: &mut Vec<Arc<Comment>>,
        (user, moderates): (Option<&UserId>, bool),
        since_id: Option<Snowflake>,
        most: usize,
    ) {
        for few in [&self.shadows, &self.early] {
            few.merge_into(history, user, moderates, since_id, most);
        }
    }

    /// Whether something waits for the next batch.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty() || !self.events.is_empty()
    }

    /// Comments said since a time, oldest first, without those that wait for the next batch.
    pub fn said_since(&self, from_ms: i64) -> Vec<Arc<Comment>> {
        let pending = |comment: &Comment| self.pending.iter().any(|item| item.comment.id == comment.id);
        let said = self.ring.comments().filter(|comment| comment.created_at_ms >= from_ms && !pending(comment));
        said.cloned().collect()
    }

    /// The session that the store has on.
    pub fn session_is_stored(&mut self, on: Option<Snowflake>) {
        self.session = on.map_or((self.session.0, true), |id| (id, false));
        self.state = if on.is_some() { RoomState::Live } else { RoomState::Idle };
    }

    /// A session began or ended, unless that is old news.
    fn session_is(&mut self, id: Snowflake, ended: bool) {
        if (id, ended) >= self.session {
            self.session = (id, ended);
            self.state = if ended { RoomState::Idle } else { RoomState::Live };
        }
    }

    /// Comments that wait for the next batch.
    pub fn pending_comments(&self) -> impl Iterator<Item = &Arc<Comment>> {
        self.pending.iter().map(|item| &item.comment)
    }

    pub fn prefill(&mut self, latest: Vec<Positioned>) {
        self.ring.prefill(latest.into_iter().map(|positioned| (positioned.position, positioned.comment)).collect());
    }

    /// Delays a batch while a shard still writes the previous one, up to 1 s or until the batch is full. Queuing it would
    /// deliver nothing sooner; here more comments join it, and every socket is sent one batch less.
    fn delay_while_in_flight(&self, deadline_ms: i64, now_ms: i64) -> i64 {
        let delayed = self.in_flight.strong_count() > 0
            && self.window.pending() < BATCH_MAX
            && self.window.emitted_ms().is_some_and(|at_ms| (0..IN_FLIGHT_MS_MAX).contains(&(now_ms - at_ms)));
        if delayed { deadline_ms.max(now_ms + IN_FLIGHT_POLL_MS) } else { deadline_ms }
    }

    /// Emits events at once, except snapshots. A snapshot leaves with the room's next comments, because a send costs the
    /// same whatever its size. A newer snapshot replaces one that still waits.
    fn queue_event(&mut self, event: Arc<Event>, now_ms: i64) {
        let kind = std::mem::discriminant(&event.body);
        let mut due_ms = now_ms;
        if matches!(event.body, EventBody::Ranking { .. } | EventBody::HotComments { .. }) {
            due_ms += SNAPSHOT_DELAY_MS;
            self.events.retain(|waiting| std::mem::discriminant(&waiting.event.body) != kind);
        }
        self.events.push(Arc::new(SharedEvent::new(event)));
        self.events_due_ms = Some(self.events_due_ms.map_or(due_ms, |waiting_ms| waiting_ms.min(due_ms)));
    }
}

fn oldest_first<'a>(newest_first: impl Iterator<Item = &'a Arc<Comment>>) -> Vec<Arc<Comment>> {
    let mut comments: Vec<_> = newest_first.cloned().collect();
    comments.reverse();
    comments
}

/// The batch's items in order, and which of them were merged into another.
fn merge_items(pending: &[MergeInput], memory: &mut MergedIds, now_ms: i64) -> (Vec<BatchItem>, Vec<bool>) {
    let merged = merge::merge(pending);
    memory.remember(&merged.away, now_ms);
    let mut kept = merged.kept.into_iter().peekable();
    let merged_item = |item: &MergeInput| match kept.next_if(|kept| kept.comment.id == item.comment.id) {
        Some(kept) => (BatchItem::new(kept.comment, kept.count).arrived(item.arrival), false),
        None => (BatchItem::new(item.comment.clone(), 1).arrived(item.arrival), true),
    };
    pending.iter().map(merged_item).unzip()
}
