//! Events to sockets one by one: to users wherever they sit, to who has come back, and again to who has not acknowledged.
//!
//! Called by the shard for what the hub and the store tell it; those of a room's batch go the way of [`crate::deliver`].

use std::sync::Arc;

use room::batch::{ConnRef, EventFrame};

use crate::shard::Shard;
use crate::timers::Seat;

impl Shard {
    /// Sends again what was not acknowledged in time.
    pub fn repeat_critical(&mut self) {
        let conns = &self.conns;
        let alive = |seat: Seat| {
            conns.get(seat.index as usize).is_some_and(|conn| conn.generation == seat.generation && conn.is_open())
        };
        let due = self.critical.due(self.now_ms, alive);
        for repeat in due.repeats {
            self.common.services.metrics.events_repeated.inc_by(repeat.seats.len() as u64);
            for seat in repeat.seats {
                self.tally.frames_out += 1;
                let frame = repeat.frame.frame(self.protocol(seat.index), true).clone();
                self.send_own(seat.index, &frame);
            }
        }
        self.common.services.metrics.events_unacknowledged.inc_by(due.given_up);
    }

    /// Events that concern users wherever they sit, see [`room::batch::ToShard::UserEvent`].
    pub fn tell_users(&mut self, frame: &Arc<EventFrame>) {
        use model::Audience::{Nobody, Users};
        let (users, everywhere) = match (&frame.event.audience, &frame.event.critical_for) {
            (Users(users), _) => (users, true),
            (_, Users(users)) => (users, false),
            (Nobody | model::Audience::Everyone, _) => return,
        };
        for user in users {
            for index in self.users.get(user).cloned().unwrap_or_default() {
                if everywhere || self.key_of(index, &frame.event.room_id).is_none() {
                    self.tell(index, frame);
                }
            }
        }
    }

    /// What the store still owes a user who has just connected.
    pub fn tell_again(&mut self, conn: ConnRef, frames: &[Arc<EventFrame>]) {
        if let Some(index) = self.at(conn) {
            frames.iter().for_each(|frame| self.tell(index, frame));
        }
    }

    /// Sends an event to one socket and waits for its receipt if it is critical.
    fn tell(&mut self, index: u32, frame: &Arc<EventFrame>) {
        let Some(conn) = self.conn(index) else { return };
        let user = conn.session.as_ref().map(|session| &session.identity.user_id);
        let (bytes, critical) = frame.for_user(conn.form.protocol, user);
        let seat = conn.seat(index as usize);
        if critical {
            let stored = is_stored(frame);
            self.critical.sent(frame, stored, std::iter::once(seat), self.now_ms);
        }
        self.tally.frames_out += 1;
        self.send_own(index, bytes);
    }
}

/// Whether the store waits for receipts of this event: it is critical for certain users.
pub(crate) fn is_stored(frame: &EventFrame) -> bool {
    matches!(frame.event.critical_for, model::Audience::Users(_))
}
