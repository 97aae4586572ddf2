//! Live segments: what a room's viewers are given, cut by the clock into pieces that every cache may keep.
//!
//! Recorded as one more stream of the room ([`crate::stream`]), from the first time somebody asks for a segment until nobody
//! has asked for [`LIVE_IDLE_MS`]. Owned by a room, under its lock; the API asks through [`Hub::live_segment`] and encodes.
//! A sealed segment changes only by losing what is deleted. There is no timer: whoever waits for a segment seals it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{Code, Comment, EventBody, RoomId, Snowflake, WireError};
use protocol::encode::EncodeOnce;
use protocol::message::JoinRoom;
use tokio::time::Instant;

use crate::batch::{BatchItem, SharedEvent, StreamBatch};
use crate::hub::{Hub, HubContext, Opener};
use crate::room::{Retired, Room, RoomInner};
use crate::stream::{StreamId, StreamKey};

/// How far back segments are kept, in milliseconds.
pub const LIVE_DEPTH_MS: i64 = 3_600_000;
/// A room that nobody asks for is recorded this long, in milliseconds.
pub(crate) const LIVE_IDLE_MS: i64 = 600_000;
/// Segments of this age keep their encodings; older ones are encoded for each request.
const ENCODED_MS: i64 = 60_000;
/// Requests that may wait for a segment at once.
pub(crate) const LIVE_WAITERS_MAX: usize = 50_000;
/// How much later than its end a segment is given up.
const SEAL_PATIENCE: Duration = Duration::from_secs(5);
/// Comments that wait for a batch join the segment that ends now if they came within this time, in milliseconds.
const FLUSH_MS: i64 = 100;
/// What a comment and an event take beside their texts.
const COMMENT_BYTES: usize = 320;
const EVENT_BYTES: usize = 512;
/// How many forms a segment is encoded in: JSON and Protobuf, each in four codings.
pub const LIVE_FORMS: usize = 8;

/// One sealed segment of a room.
#[derive(Debug)]
pub struct LiveSegment {
    /// The room.
    pub room_id: RoomId,
    /// Its number: the Unix time of its start divided by its length.
    pub seq: u64,
    /// Its start, Unix milliseconds.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// What the room's viewers were given, each with how many it stands for.
    pub comments: Vec<(Arc<Comment>, u32)>,
    /// What the whole room was told.
    pub events: Vec<Arc<SharedEvent>>,
    /// Comments that were left out.
    pub omitted: u64,
    /// Whether the server would rather have viewers here than on sockets.
    pub prefer_segments: bool,
    /// Its encodings, shared by all who ask.
    pub encoded: EncodeOnce<LIVE_FORMS>,
}

impl LiveSegment {
    fn bytes(&self) -> usize {
        let comments = self.comments.iter().map(|(comment, _)| COMMENT_BYTES + comment.content.len());
        comments.sum::<usize>() + self.events.iter().map(|shared| event_bytes(&shared.event.body)).sum::<usize>()
    }

    fn is_empty(&self) -> bool {
        self.comments.is_empty() && self.events.is_empty() && self.omitted == 0 && !self.prefer_segments
    }

    /// The same without its encodings.
    fn plain(&self) -> Self {
        Self {
            room_id: self.room_id.clone(),
            comments: self.comments.clone(),
            events: self.events.clone(),
            encoded: EncodeOnce::default(),
            ..*self
        }
    }
}

fn event_bytes(body: &EventBody) -> usize {
    EVENT_BYTES
        + match body {
            EventBody::Ranking { entries } => entries.len() * 96,
            EventBody::HotComments { comments } => comments.len() * COMMENT_BYTES,
            EventBody::CommentsRestored { comments } => comments.len() * COMMENT_BYTES,
            EventBody::CommentsDeleted { comment_ids } | EventBody::CommentsHidden { comment_ids } => {
                comment_ids.len() * 8
            }
            _ => 0,
        }
}

/// What a room has under a number.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// It is sealed.
    Sealed(Arc<LiveSegment>),
    /// It is sealed at this time, Unix milliseconds.
    Waits(i64),
    /// There is no such segment, or not any more.
    Absent,
}

/// A room's recording.
pub(crate) struct Recording {
    stream: StreamId,
    segment_ms: i64,
    /// The first number that can be asked for.
    first: u64,
    open: LiveSegment,
    /// Those that have something in them.
    sealed: BTreeMap<u64, Arc<LiveSegment>>,
    bytes: usize,
    asked_ms: i64,
}

impl Recording {
    fn new(room_id: &RoomId, stream: StreamId, segment_ms: i64, now_ms: i64) -> Self {
        let open = open(room_id, number(now_ms, segment_ms), segment_ms);
        Self { stream, segment_ms, first: open.seq, open, sealed: BTreeMap::new(), bytes: 0, asked_ms: now_ms }
    }

    /// Whether nobody has asked for so long.
    pub fn is_idle(&self, now_ms: i64, idle_ms: i64) -> bool {
        now_ms - self.asked_ms > idle_ms
    }

    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Adds what leaves the room now.
    pub fn append(
        &mut self,
        context: &HubContext,
        now_ms: i64,
        items: &[BatchItem],
        batch: Option<&StreamBatch>,
        events: &[Arc<SharedEvent>],
    ) {
        self.roll(context, now_ms);
        if let Some(batch) = batch {
            let kept = batch.kept.iter().filter_map(|&i| items.get(i as usize));
            self.open.comments.extend(kept.map(|item| (item.comment.clone(), item.count)));
            self.open.omitted += batch.omitted;
        }
        self.open.events.extend(events.iter().cloned());
    }

    /// Seals the segment under way when its time is over.
    fn roll(&mut self, context: &HubContext, now_ms: i64) {
        let current = number(now_ms, self.segment_ms);
        if current + 1 < self.open.seq {
            // The clock was set back: what was sealed under the numbers to come is not what they will hold.
            let room_id = self.open.room_id.clone();
            self.forget(context);
            *self = Self::new(&room_id, self.stream, self.segment_ms, now_ms);
        }
        if current <= self.open.seq {
            return;
        }
        let next = open(&self.open.room_id, current, self.segment_ms);
        let mut segment = std::mem::replace(&mut self.open, next);
        segment.prefer_segments = context.prefers_segments();
        context.metrics.segments_sealed.inc();
        if !segment.is_empty() {
            self.add_bytes(context, segment.bytes());
            self.sealed.insert(segment.seq, Arc::new(segment));
        }
        self.trim(context, now_ms);
    }

    /// Drops what is too old or too much, and the encodings of what is seldom asked for.
    fn trim(&mut self, context: &HubContext, now_ms: i64) {
        let oldest = number(now_ms - LIVE_DEPTH_MS, self.segment_ms);
        self.first = self.first.max(oldest);
        let share = context.live_share_bytes();
        while let Some(entry) = self.sealed.first_entry() {
            let is_too_old = *entry.key() < oldest;
            if !is_too_old && self.bytes <= share {
                break;
            }
            let (seq, segment) = entry.remove_entry();
            self.first = self.first.max(seq + 1);
            self.sub_bytes(context, segment.bytes());
            if !is_too_old {
                context.metrics.segments_dropped.inc();
            }
        }
        let aged = number(now_ms - ENCODED_MS, self.segment_ms);
        let (from, to) = (aged.saturating_sub(8), aged);
        for (_, segment) in self.sealed.range_mut(from..to) {
            *segment = Arc::new(segment.plain());
        }
    }

    /// Takes deleted comments out.
    pub fn remove(&mut self, context: &HubContext, ids: &[Snowflake]) {
        let gone = |comment: &Comment| ids.contains(&comment.id);
        self.open.comments.retain(|(comment, _)| !gone(comment));
        let mut freed = 0;
        for segment in self.sealed.values_mut() {
            if segment.comments.iter().any(|(comment, _)| gone(comment)) {
                let mut without = segment.plain();
                without.comments.retain(|(comment, _)| !gone(comment));
                freed += segment.bytes() - without.bytes();
                *segment = Arc::new(without);
            }
        }
        self.sub_bytes(context, freed);
    }

    fn lookup(&mut self, context: &HubContext, seq: u64, now_ms: i64) -> Lookup {
        self.asked_ms = now_ms;
        self.roll(context, now_ms);
        if seq < self.first || seq > self.open.seq + 1 {
            return Lookup::Absent;
        }
        if seq >= self.open.seq {
            return Lookup::Waits(end_ms(seq, self.segment_ms));
        }
        let sealed = self.sealed.get(&seq).cloned();
        Lookup::Sealed(sealed.unwrap_or_else(|| Arc::new(open(&self.open.room_id, seq, self.segment_ms))))
    }

    fn add_bytes(&mut self, context: &HubContext, bytes: usize) {
        self.bytes += bytes;
        context.metrics.segments_bytes.inc_by(bytes as i64);
    }

    fn sub_bytes(&mut self, context: &HubContext, bytes: usize) {
        self.bytes -= bytes;
        context.metrics.segments_bytes.dec_by(bytes as i64);
    }

    fn forget(&mut self, context: &HubContext) {
        self.sealed.clear();
        let bytes = self.bytes;
        self.sub_bytes(context, bytes);
    }
}

fn open(room_id: &RoomId, seq: u64, segment_ms: i64) -> LiveSegment {
    LiveSegment {
        room_id: room_id.clone(),
        seq,
        from_ms: end_ms(seq, segment_ms) - segment_ms,
        to_ms: end_ms(seq, segment_ms),
        comments: Vec::new(),
        events: Vec::new(),
        omitted: 0,
        prefer_segments: false,
        encoded: EncodeOnce::default(),
    }
}

/// The number of the segment at a time.
fn number(at_ms: i64, segment_ms: i64) -> u64 {
    at_ms.max(0).unsigned_abs() / segment_ms.unsigned_abs().max(1)
}

fn end_ms(seq: u64, segment_ms: i64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX).saturating_add(1).saturating_mul(segment_ms)
}

impl Room {
    /// Starts recording if nobody has, and returns the number of the segment under way.
    pub(crate) fn record(&self) -> Result<u64, Retired> {
        let mut inner = self.inner.lock();
        let now_ms = self.context.clock.now_ms();
        let recording = self.recording(&mut inner, now_ms)?;
        recording.asked_ms = now_ms;
        recording.roll(&self.context, now_ms);
        Ok(recording.open.seq)
    }

    pub(crate) fn live_segment(self: &Arc<Self>, seq: u64) -> Result<Lookup, Retired> {
        let mut inner = self.inner.lock();
        let now_ms = self.context.clock.now_ms();
        let recording = self.recording(&mut inner, now_ms)?;
        let ended_ms = recording.open.to_ms;
        if (ended_ms..ended_ms + FLUSH_MS).contains(&now_ms) && inner.has_pending() {
            self.emit(&mut inner, ended_ms - 1);
        }
        let recording = self.recording(&mut inner, now_ms)?;
        Ok(recording.lookup(&self.context, seq, now_ms))
    }

    fn recording<'a>(&self, inner: &'a mut RoomInner, now_ms: i64) -> Result<&'a mut Recording, Retired> {
        if inner.retired {
            return Err(Retired);
        }
        inner.used_ms = now_ms;
        if inner.recording.is_none() {
            let per_s_max =
                inner.settings.limits.viewer_per_s_max.unwrap_or(self.context.settings.rooms.viewer_per_s_max);
            let key = StreamKey::new(None, None, 0, per_s_max);
            let stream = inner.streams.record(&key, self.context.next_stream_id());
            let segment_ms = i64::from(self.context.settings.rooms.live_segment_ms);
            let mut recording = Recording::new(self.id(), stream, segment_ms, now_ms);
            // What was said in this segment before anybody asked; what is pending comes by the stream.
            let said = inner.said_since(recording.open.from_ms);
            recording.open.comments = said.into_iter().map(|comment| (comment, 1)).collect();
            self.context.live_rooms.fetch_add(1, Ordering::Relaxed);
            inner.recording = Some(recording);
        }
        inner.recording.as_mut().ok_or(Retired)
    }

    /// Ends the recording of a room that is not asked for.
    pub(crate) fn stop_recording(&self, inner: &mut RoomInner) {
        let Some(mut recording) = inner.recording.take() else { return };
        inner.streams.stop_recording(recording.stream);
        recording.forget(&self.context);
        self.context.live_rooms.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a room's live segments stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveNow {
    /// The length of a segment.
    pub segment_ms: u32,
    /// The segment under way.
    pub seq: u64,
    /// The server's clock, Unix milliseconds.
    pub server_time_ms: i64,
}

impl Hub {
    /// Whether this node would rather have viewers read segments than hold sockets.
    #[must_use]
    pub fn prefers_segments(&self) -> bool {
        self.context.prefers_segments()
    }

    /// Starts recording a room if it is not recorded yet.
    ///
    /// # Errors
    /// As [`Hub::hold`].
    pub async fn live_now(self: &Arc<Self>, id: &RoomId, opener: &Opener) -> Result<LiveNow, WireError> {
        loop {
            let room = self.hold_for(&JoinRoom::plain(id.clone()), opener).await?;
            if let Ok(seq) = room.record() {
                let segment_ms = self.context.settings.rooms.live_segment_ms;
                return Ok(LiveNow { segment_ms, seq, server_time_ms: self.context.clock.now_ms() });
            }
        }
    }

    /// A segment of a room, once it is sealed.
    ///
    /// # Errors
    /// `not_found` for a number that is too late, too old, or before the room was first asked for; `overloaded` when too many
    /// wait; otherwise as [`Hub::hold`].
    pub async fn live_segment(
        self: &Arc<Self>,
        id: &RoomId,
        seq: u64,
        opener: &Opener,
    ) -> Result<Arc<LiveSegment>, WireError> {
        let segment_ms = i64::from(self.context.settings.rooms.live_segment_ms);
        let now_ms = self.context.clock.now_ms();
        // Before anything is loaded: numbers are invented more cheaply than rooms are held.
        if seq > number(now_ms, segment_ms) + 1 || end_ms(seq, segment_ms) < now_ms - LIVE_DEPTH_MS {
            return Err(absent());
        }
        let mut waits = None;
        let deadline = Instant::now() + Duration::from_millis(2 * segment_ms.unsigned_abs()) + SEAL_PATIENCE;
        let mut room = self.hold_for(&JoinRoom::plain(id.clone()), opener).await?;
        loop {
            match room.live_segment(seq) {
                Ok(Lookup::Sealed(segment)) => return Ok(segment),
                Ok(Lookup::Absent) => return Err(absent()),
                Err(Retired) => room = self.hold_for(&JoinRoom::plain(id.clone()), opener).await?,
                Ok(Lookup::Waits(until_ms)) => {
                    if waits.is_none() {
                        waits = Some(self.wait_for_segment()?);
                    }
                    if Instant::now() >= deadline {
                        return Err(WireError::unavailable());
                    }
                    let left_ms = until_ms.saturating_sub(self.context.clock.now_ms()).clamp(1, 2 * segment_ms);
                    tokio::time::sleep(Duration::from_millis(left_ms.unsigned_abs())).await;
                }
            }
        }
    }

    fn wait_for_segment(&self) -> Result<Waiting<'_>, WireError> {
        let permit = self.live_waiters.try_acquire().map_err(|_| {
            WireError::new(Code::Overloaded, "too many requests wait for segments").retry_after_ms(1_000)
        })?;
        self.context.metrics.segment_waiters.inc();
        Ok(Waiting { _permit: permit, context: &self.context })
    }
}

/// A request that waits for a segment.
struct Waiting<'a> {
    _permit: tokio::sync::SemaphorePermit<'a>,
    context: &'a HubContext,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.context.metrics.segment_waiters.dec();
    }
}

fn absent() -> WireError {
    WireError::not_found("there is no such segment")
}
