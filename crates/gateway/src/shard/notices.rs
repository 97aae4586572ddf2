//! Chat's notices to the sockets of the users they concern.
//!
//! Every shard receives every notice and looks up which of the users it holds. The frame is encoded once for all shards. No
//! notice is skipped: a socket whose backlog cannot take it is closed with 4008, and its device syncs when it is back.

use std::sync::Arc;

use bytes::Bytes;
use chat::{OutboundNotice, ShardSink};
use fanout::Notice;
use model::UserId;

use crate::conn::{OutboundFrames, Skippable};
use crate::encode;
use crate::shard::Shard;
use crate::shard::inbox::{Inbound, Inbox};

impl ShardSink for Inbox {
    fn deliver(&self, notice: Arc<OutboundNotice>) {
        self.push(Inbound::Notice(notice));
    }
}

impl Shard {
    /// Writes a notice to the sockets that it is for, or does what it asks of their shard.
    pub fn deliver_notice(&mut self, outbound: &OutboundNotice) {
        for user in outbound.users.iter() {
            match &outbound.notice {
                Notice::Replaced { device, since_ms, session } => {
                    self.replaced_on_other_node(user, device, *since_ms, *session);
                }
                Notice::Acknowledged { event } => drop(self.acknowledge(user, *event)),
                _ => self.send_notice(user, outbound),
            }
        }
    }

    fn send_notice(&mut self, user: &UserId, outbound: &OutboundNotice) {
        let (budget, now) = (self.budget(), self.now);
        // Like an event: it holds no comments that could be skipped.
        let none = Skippable { room: 0, missed: 0, at: now };
        for index in self.users.get(user).cloned().unwrap_or_default() {
            let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| conn.is_open()) else { continue };
            if !conn.session.as_ref().is_some_and(|session| outbound.sockets.include(session.socket)) {
                continue;
            }
            let Some(frame) = encode::notice_frame(outbound, conn.form.protocol) else { continue };
            let frames = OutboundFrames::new(frame, 1, &Bytes::new(), none);
            let sent = conn.send(&frames, budget, now, &mut self.counters);
            self.after_send(index, sent);
        }
    }
}
