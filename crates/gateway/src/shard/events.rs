//! Events to single sockets: to users in any room, to sockets that have just connected, and repeats.
//!
//! The shard calls it for what the hub and the store send. Events of a room's batch go through [`super::deliver`].

use std::sync::Arc;

use hub::batch::{ConnRef, SharedEvent};
use model::{Snowflake, UserId};

use crate::conn::ConnToken;
use crate::encode;
use crate::shard::Shard;

impl Shard {
    /// Sends again what was not acknowledged in time.
    pub fn repeat_critical(&mut self) {
        let conns = &self.conns;
        let alive = |token: ConnToken| {
            conns.get(token.index as usize).is_some_and(|conn| conn.generation == token.generation && conn.is_open())
        };
        let due = self.critical.due(self.now_ms, alive);
        for repeat in due.repeats {
            self.common.services.metrics.events_repeated.inc_by(repeat.tokens.len() as u64);
            for token in repeat.tokens {
                self.counters.frames_out += 1;
                let frame = encode::event_frame(&repeat.event, self.protocol(token.index), true);
                self.send_frames(token.index, frame);
            }
        }
        self.common.services.metrics.events_unacknowledged.inc_by(due.given_up);
    }

    /// Sends an event to users in any room, see [`hub::batch::ShardMessage::UserEvent`].
    pub fn send_user_event(&mut self, shared: &Arc<SharedEvent>) {
        use model::Audience::{Nobody, Users};
        enum Where {
            Anywhere,
            InRoom,
            // The room's own batch tells those who are in it.
            OutsideRoom,
        }
        let (users, place) = match (&shared.event.audience, &shared.event.critical_for) {
            (Users(users), Nobody) => (users, Where::InRoom),
            (Users(users), _) => (users, Where::Anywhere),
            (_, Users(users)) => (users, Where::OutsideRoom),
            (Nobody | model::Audience::Everyone, _) => return,
        };
        for user in users {
            for index in self.users.get(user).cloned().unwrap_or_default() {
                let in_room = self.member_key(index, &shared.event.room_id).is_some();
                match place {
                    Where::InRoom if !in_room => {}
                    Where::OutsideRoom if in_room => {}
                    _ => self.send_event(index, shared),
                }
            }
        }
    }

    /// Sends a user who has just connected the events that the user has not acknowledged.
    pub fn resend_unacknowledged(&mut self, conn: ConnRef, events: &[Arc<SharedEvent>]) {
        if let Some(index) = self.index_of(conn) {
            events.iter().for_each(|shared| self.send_event(index, shared));
        }
    }

    /// Sends an event to one socket, and waits for its receipt if it is critical.
    fn send_event(&mut self, index: u32, shared: &Arc<SharedEvent>) {
        let Some(conn) = self.conn(index) else { return };
        let user = conn.session.as_ref().map(|session| &session.identity.user_id);
        let (bytes, critical) = encode::event_frame_for(shared, conn.form.protocol, user);
        let token = conn.token(index);
        if critical {
            self.critical.sent(shared, is_stored(shared), std::iter::once(token), self.now_ms);
        }
        self.counters.frames_out += 1;
        self.send_frames(index, bytes);
    }

    /// Acknowledges an event for all of the user's sockets here. Returns whether the store may wait for the receipt.
    pub fn acknowledge(&mut self, user: &UserId, event: Snowflake) -> bool {
        let (conns, slots) = (&self.conns, self.users.get(user).map_or(&[][..], |slots| slots.as_slice()));
        let tokens = slots.iter().filter_map(|i| Some(conns.get(*i as usize)?.token(*i)));
        self.critical.acknowledge(event, tokens)
    }

    /// Acknowledges an event for one socket alone.
    pub fn acknowledge_anonymous(&mut self, index: u32, event: Snowflake) {
        let Some(token) = self.conn(index).map(|conn| conn.token(index)) else { return };
        self.critical.acknowledge(event, std::iter::once(token));
    }
}

/// Whether the store waits for receipts of this event: it is critical for certain users.
pub(super) fn is_stored(shared: &SharedEvent) -> bool {
    matches!(shared.event.critical_for, model::Audience::Users(_))
}
