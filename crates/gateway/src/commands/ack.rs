//! `ack`: the receipt of a critical event. It has no answer.

use model::{Snowflake, UserId};

use crate::inbox::{Inbound, Reply};
use crate::shard::Shard;
use crate::timers::Seat;

impl Shard {
    pub(super) fn ack(&mut self, index: u32, event: Snowflake) {
        let Some(conn) = self.conn(index) else { return };
        let Some(session) = conn.session.clone() else {
            let seat = conn.seat(index as usize);
            self.critical.acknowledge(event, std::iter::once(seat));
            return;
        };
        let user = &session.identity.user_id;
        let common = self.common.clone();
        for (_, inbox) in (0u16..).zip(&common.inboxes).filter(|(shard, _)| *shard != self.id) {
            inbox.push(Inbound::Acknowledged { user: user.clone(), event });
        }
        if !self.acknowledged(user, event) {
            return;
        }
        common.services.chat.acknowledged(user, event);
        self.run_async(index, async move {
            if let Err(error) = common.services.ingest.acknowledge(&session.identity, event).await {
                // The event is sent again with the next connection.
                tracing::warn!(%error, "a receipt could not be stored");
            }
            Reply::Frames(Vec::new())
        });
    }

    /// A user who has seen it on one device has seen it on all. Says whether the store is to know.
    pub fn acknowledged(&mut self, user: &UserId, event: Snowflake) -> bool {
        let (conns, seats) = (&self.conns, self.users.get(user).cloned().unwrap_or_default());
        let seats: Vec<Seat> = seats.iter().filter_map(|i| Some(conns.get(*i as usize)?.seat(*i as usize))).collect();
        self.critical.acknowledge(event, seats.into_iter())
    }
}
