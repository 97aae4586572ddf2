//! Sessions: who is on a socket, and which sockets of a device a new login replaces.
//!
//! The upgrade and `login` begin sessions; `logout` and the end of a socket end them. Other nodes hear of them through
//! chat, presence through [`crate::presence_events`]. Never verifies a token.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hub::batch::SharedEvent;
use ingest::poll_inline;
use model::code::PREFER_SEGMENTS;
use model::{DeviceId, Identity, UserId, WireError};
use protocol::message::ServerMessage;
use serde_json::value::RawValue;
use state::UserPermit;

use crate::conn::Session;
use crate::shard::Shard;
use crate::shard::inbox::Inbound;

/// A device that connects on two nodes within this many seconds counts as having done so at once.
const RACE_S: u32 = 5;

impl Shard {
    /// Asks for a login.
    pub fn request_login(&mut self, index: u32, error: &WireError) {
        self.answer_error(index, error, None);
        self.set_login_deadline(index);
    }

    /// Gives the socket some seconds to log in.
    pub fn set_login_deadline(&mut self, index: u32) {
        let login_by = self.now + self.common.services.settings.sockets.login_s;
        if let Some(conn) = self.conn(index) {
            conn.login_by = login_by;
        }
        self.schedule(index);
    }

    /// Begins a session: `connected`, unacknowledged events, and the end of the device's older sockets.
    pub fn begin_session(
        &mut self,
        index: u32,
        identity: Identity,
        device: Option<DeviceId>,
        permit: Option<UserPermit>,
        reference: Option<&RawValue>,
    ) {
        let common = self.common.clone();
        let now_ms = common.services.clock.now_ms();
        let left_ms = identity.expires_at_ms.map(|at_ms| at_ms.saturating_sub(now_ms).max(0).cast_unsigned());
        let left_s = left_ms.map(|ms| u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX));
        let number = common.next_session.fetch_add(1, Ordering::SeqCst);
        let expires = left_s.map_or(u32::MAX, |s| self.now.saturating_add(s));
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let renewed = conn.session.is_some();
        let socket = conn.session.as_ref().map_or(number, |before| before.socket);
        // Who renews a session keeps its place.
        let kept = conn.session.as_ref().and_then(|before| before.permit.clone());
        let (permit, since) = (permit.map(Arc::new).or(kept), self.now);
        let session = Arc::new(Session { identity, device, number, since_ms: now_ms, since, socket, expires, permit });
        conn.session = Some(session.clone());
        conn.login_by = u32::MAX;
        let user = &session.identity.user_id;
        let slots = self.users.entry(user.clone()).or_default();
        if !slots.contains(&index) {
            slots.push(index);
        }
        self.answer_connected(index, &session, reference);
        if !renewed {
            // Before the device's older sockets end, and it tells the other nodes when they may.
            common.presence_events.connected(session.clone());
        }
        if let Some(device) = &session.device {
            for inbox in &common.inboxes {
                inbox.push(Inbound::Replaced { user: user.clone(), device: device.clone(), session: number });
            }
            if renewed {
                self.replace_on_other_nodes(&session, device.clone());
            }
        }
        if common.services.ingest.pending_event_users.may_hold(user) {
            self.fetch_unacknowledged(index, session.clone());
        }
        self.schedule(index);
        self.join_deferred(index, session.identity.clone());
    }

    /// Joins the room of the query, which waited for a login.
    fn join_deferred(&mut self, index: u32, identity: Identity) {
        let conn = self.conn_ref(index);
        if let Some(room) = self.deferred_joins.get_mut(&conn).and_then(Option::take) {
            self.join(index, Some(identity), room, None);
        }
    }

    fn answer_connected(&mut self, index: u32, session: &Session, reference: Option<&RawValue>) {
        let conn = self.conn_ref(index);
        let common = self.common.clone();
        let settings = &common.services.settings;
        let random = || format!("{:016x}", rand::random::<u64>());
        let device = session.device.as_ref().map_or_else(random, |device| device.as_str().to_owned());
        let message = ServerMessage::Connected {
            user_id: Some(&session.identity.user_id),
            device_id: &device,
            connection_id: &format!("{}-{}-{}-{}", settings.node_id, conn.shard, conn.index, conn.generation),
            node_id: &settings.node_id,
            heartbeat_s: u64::from(settings.sockets.heartbeat_s),
            server_time_ms: common.services.clock.now_ms(),
            prefer: common.services.hub.prefers_segments().then_some(PREFER_SEGMENTS),
        };
        self.answer(index, &message, reference);
    }

    fn fetch_unacknowledged(&self, index: u32, session: Arc<Session>) {
        let (conn, common, inbox) = (self.conn_ref(index), self.common.clone(), self.inbox().clone());
        poll_inline::spawn(&self.common.runtime, async move {
            match common.services.ingest.unacknowledged(&session.identity.user_id).await {
                Ok(events) if events.is_empty() => {}
                Ok(events) => {
                    let events = events.into_iter().map(|event| Arc::new(SharedEvent::new(Arc::new(event))));
                    inbox.push(Inbound::Unacknowledged(conn, events.collect()));
                }
                // They stay in the store and are sent with the next connection.
                Err(error) => tracing::warn!(%error, "unacknowledged events could not be read"),
            }
        });
    }

    /// Ends the socket's session.
    pub fn end_session(&mut self, index: u32) {
        let Some(session) = self.conn(index).and_then(|conn| conn.session.take()) else { return };
        let user = &session.identity.user_id;
        if let Some(slots) = self.users.get_mut(user) {
            slots.retain(|slot| *slot != index);
            if slots.is_empty() {
                self.users.remove(user);
            }
        }
        self.common.presence_events.disconnected(session, self.drain_until.is_some());
    }

    /// Closes the device's sockets with an older session.
    pub fn replace_older(&mut self, user: &UserId, device: &DeviceId, session: u64) {
        for index in self.users.get(user).cloned().unwrap_or_default() {
            let older = self
                .conn(index)
                .and_then(|conn| conn.session.as_ref())
                .is_some_and(|found| found.device.as_ref() == Some(device) && found.number < session);
            if older {
                self.close(index, 4009, "replaced by the same device");
            }
        }
    }

    /// Tells other nodes to close the device's older sockets.
    fn replace_on_other_nodes(&self, session: &Session, device: DeviceId) {
        let (chat, user) = (self.common.services.chat.clone(), session.identity.user_id.clone());
        let (since_ms, number) = (session.since_ms, session.number);
        poll_inline::spawn(
            &self.common.runtime,
            async move { chat.announce_device(&user, device, since_ms, number).await },
        );
    }

    /// The device has connected on another node: closes its sockets here. If it connected here and there within a few
    /// seconds, the older session closes: clocks decide, and the other node is told when the newer one is here.
    pub fn replaced_on_other_node(&mut self, user: &UserId, device: &DeviceId, since_ms: i64, number: u64) {
        for index in self.users.get(user).cloned().unwrap_or_default() {
            let session = self.conn(index).and_then(|conn| conn.session.clone());
            let Some(session) = session.filter(|session| session.device.as_ref() == Some(device)) else { continue };
            let just_now = self.now.saturating_sub(session.since) < RACE_S;
            if just_now && (session.since_ms, session.number) > (since_ms, number) {
                self.replace_on_other_nodes(&session, device.clone());
            } else {
                self.close(index, 4009, "replaced by the same device");
            }
        }
    }
}
