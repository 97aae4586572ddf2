//! `ack`: the receipt of a critical event. It has no answer.

use model::Snowflake;

use crate::inbox::Reply;
use crate::shard::Shard;
use crate::timers::Seat;

impl Shard {
    pub(super) fn ack(&mut self, index: u32, event: Snowflake) {
        let Some(conn) = self.conn(index) else { return };
        let (own, session) = (conn.seat(index as usize), conn.session.clone());
        // A user who has seen it on one device has seen it.
        let seats = session.as_ref().and_then(|session| self.users.get(&session.identity.user_id)).cloned();
        let conns = &self.conns;
        let others = seats.iter().flatten().filter_map(|seat| Some(conns.get(*seat as usize)?.seat(*seat as usize)));
        let seats: Vec<Seat> = others.chain(std::iter::once(own)).collect();
        if !self.critical.acknowledge(event, seats.into_iter()) {
            return;
        }
        let Some(session) = session else { return };
        let common = self.common.clone();
        self.run_async(index, async move {
            if let Err(error) = common.services.ingest.acknowledge(&session.identity, event).await {
                // The event is sent again with the next connection.
                tracing::warn!(%error, "a receipt could not be stored");
            }
            Reply::Frames(Vec::new())
        });
    }
}
