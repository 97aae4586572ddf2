//! Chat's notices to the sockets of the people they concern.
//!
//! Every shard hears every notice and looks up whom of them it holds. The frame is encoded once and shared. None is
//! skipped: a socket whose backlog does not take it is closed with 4008, and its device syncs when it is back.

use std::sync::Arc;

use bus::Notice;
use bytes::Bytes;
use chat::{Devices, Told};
use model::UserId;

use crate::backlog::Comments;
use crate::conn::Parcel;
use crate::inbox::{Inbound, Inbox};
use crate::shard::Shard;

impl Devices for Inbox {
    fn tell(&self, told: Arc<Told>) {
        self.push(Inbound::Told(told));
    }
}

impl Shard {
    /// Writes a notice to the sockets that it is for, or does what it says is to be done with them.
    pub fn told(&mut self, told: &Told) {
        for user in told.users.iter() {
            match &told.notice {
                Notice::Replaced { device, since_ms, session } => {
                    self.replaced_elsewhere(user, device, *since_ms, *session);
                }
                Notice::Acknowledged { event } => drop(self.acknowledged(user, *event)),
                _ => self.hand_over_notices(user, told),
            }
        }
    }

    fn hand_over_notices(&mut self, user: &UserId, told: &Told) {
        for index in self.users.get(user).cloned().unwrap_or_default() {
            self.hand_over_notice(index, told);
        }
    }

    fn hand_over_notice(&mut self, index: u32, told: &Told) {
        let (budget, now) = (self.budget(), self.now);
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| conn.is_open()) else { return };
        if !conn.session.as_ref().is_some_and(|session| told.sockets.include(session.socket)) {
            return;
        }
        // A notice is kept like an event: no comments that could be skipped.
        let none = Comments { room: 0, missed: 0, at: now };
        let Some(frame) = told.frame(conn.form.protocol) else { return };
        let parcel = Parcel::new(frame, 1, &Bytes::new(), none);
        let sent = conn.send(&parcel, budget, now, &mut self.tally);
        self.after_send(index, sent);
    }
}
