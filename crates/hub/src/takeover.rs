//! Rooms on their way to another process: an upgrade hands over sockets that go on reading.
//!
//! The old process emits what waits and writes down how far each room came ([`Hub::hand_over`]). The new one
//! holds the same rooms, takes the sockets in without telling them ([`Room::admit`]), and emits what the store got meanwhile
//! ([`Room::catch_up_from`]). Called by the server and the gateway while no socket is read.

use std::sync::Arc;

use ahash::AHashSet;
use model::{RoomId, Snowflake, UserId, WireError};
use serde::{Deserialize, Serialize};

use crate::hub::{Hub, Opener};
use crate::merge::MergeInput;
use crate::room::Room;
use crate::stream::{OMITTED_DELAY_MS_MAX, StreamId, StreamKey};

/// How far a room's readers came.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoomProgress {
    /// The room.
    pub room_id: RoomId,
    /// Everything up to this position was given.
    pub position: u64,
    /// What was given beyond it.
    pub given: Vec<Snowflake>,
}

/// What a socket reads of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Comments a second: a tier, or 0 for events only.
    pub tier: u32,
    /// Whether the viewer chose the tier.
    pub chosen: bool,
    /// Which of the room's samples.
    pub group: u16,
    /// Only these users' comments.
    pub only: Option<Vec<UserId>>,
}

impl Hub {
    /// Emits what waits in every room, and nothing from then on. Returns how far the rooms came that somebody reads.
    #[must_use]
    pub fn hand_over(&self) -> Vec<RoomProgress> {
        self.rooms.iter().filter_map(|slot| slot.room.hand_over()).collect()
    }

    /// The room, warm, for sockets that read it already: it uses up nobody's share.
    ///
    /// # Errors
    /// As [`Hub::hold`].
    pub async fn take_over(&self, id: &RoomId) -> Result<Arc<Room>, WireError> {
        self.hold(id, &Opener::default()).await
    }
}

impl Room {
    /// What the members of a stream read.
    #[must_use]
    pub fn reading(&self, stream: StreamId) -> Option<Reading> {
        let inner = self.inner.lock();
        let StreamKey { tier, chosen, group, only } = inner.streams.key(stream)?.clone();
        Some(Reading { tier, chosen, group, only: only.map(|users| users.to_vec()) })
    }

    /// Makes a socket of a shard a member that goes on reading: nothing is answered, and it is given what comes from here on.
    #[must_use]
    pub fn admit(&self, reading: Reading, shard: u16) -> StreamId {
        let Reading { tier, chosen, group, only } = reading;
        let key = StreamKey { tier, chosen, group, only: only.map(Arc::from) };
        self.inner.lock().streams.add(&key, shard, self.context.next_stream_id()).0
    }

    /// Gives the members what was stored since `progress`.
    pub fn catch_up_from(self: &Arc<Self>, progress: &RoomProgress) {
        let given: AHashSet<_> = progress.given.iter().copied().collect();
        let mut inner = self.inner.lock();
        let missed: Vec<_> = inner.ring.beyond(progress.position).filter(|c| !given.contains(&c.id)).cloned().collect();
        let now_ms = self.context.clock.now_ms();
        inner.window.arrived(now_ms, missed.len());
        for comment in missed {
            let key = Some(words::fold_key(&comment.content));
            let arrival = inner.next_arrival;
            inner.next_arrival += 1;
            inner.pending.push(MergeInput { comment, key, arrival });
        }
        self.emit_or_wait(&mut inner, now_ms);
    }

    /// Emits what waits, and the number of what was left out; the last thing that this room emits.
    fn hand_over(self: &Arc<Self>) -> Option<RoomProgress> {
        let mut inner = self.inner.lock();
        let now_ms = self.context.clock.now_ms();
        if !inner.pending.is_empty() || !inner.events.is_empty() {
            self.emit(&mut inner, now_ms);
        }
        if inner.streams.omitted_deadline_ms().is_some() {
            self.emit(&mut inner, now_ms + OMITTED_DELAY_MS_MAX);
        }
        inner.handed_over = true;
        let (position, given) = inner.ring.passed();
        (!inner.streams.is_empty()).then(|| RoomProgress { room_id: self.id().clone(), position, given })
    }
}
