//! From the request's bytes to an open socket.
//!
//! A request that names a room is answered only when the room has been joined, so that whoever may not
//! enter gets an HTTP error, and whoever may finds `connected` and `room_joined` in the first bytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ingest::here;
use model::{Code, DeviceId, Identity, WireError};
use protocol::handshake::{self as wire, Handshake};
use protocol::message::{ServerMessage, error_body};
use room::batch::EventFrame;

use crate::accept::{First, first};
use crate::conn::{Conn, Session, Stage, Who};
use crate::handshake::judge;
use crate::inbox::Inbound;
use crate::shard::Shard;

/// How long the peer may take to read a refusal and hang up, in seconds.
const REFUSED_LINGER_S: u32 = 2;

impl Conn {
    /// Whether the hub's answer to a join still finds somebody.
    pub fn may_join(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Upgrading(_)) && !self.doomed
    }
}

impl Shard {
    /// Reads what there is of a request, and judges it once its head is complete. False when there is
    /// nothing for now.
    pub fn arrive(&mut self, index: u32) -> bool {
        if !self.look(index) {
            return false;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.conn(index).map(|conn| conn.read(&mut scratch));
        match read {
            Some(Ok(Some(n))) if n > 0 => {
                self.tally.bytes_in += n as u64;
                let filled = n == scratch.len();
                if let Some(conn) = self.conn(index) {
                    conn.has_read(filled);
                }
                self.arrived(index, scratch.get(..n).unwrap_or_default());
            }
            Some(Ok(None)) => {
                if let Some(conn) = self.conn(index) {
                    conn.readable = false;
                }
            }
            Some(Err(error)) => self.not_tls(index, &error),
            _ => self.doom(index),
        }
        self.scratch = scratch;
        true
    }

    /// The connection broke, or what came is not TLS.
    fn not_tls(&mut self, index: u32, error: &std::io::Error) {
        if self.conn(index).is_some_and(|conn| conn.tls.is_some()) {
            tracing::debug!(%error, "a TLS handshake failed");
            self.count_handshake("tls");
        }
        self.doom(index);
    }

    fn arrived(&mut self, index: u32, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Stage::Arriving(arrival) = &mut conn.stage else { return };
        arrival.head.extend_from_slice(bytes);
        if !arrival.ours {
            match first(&arrival.head, self.common.services.settings.takes_sockets) {
                First::Ours => arrival.ours = true,
                First::Unclear => return,
                First::Http => return self.hand_over(index),
            }
        }
        let (head, peer) = (std::mem::take(&mut arrival.head), arrival.peer.ip());
        let mut incomplete = false;
        match wire::parse(&head) {
            Ok(Handshake::Incomplete) => incomplete = true,
            Err(error) => {
                let body = error_body(&WireError::invalid(error.to_string()));
                self.count_handshake(error.label());
                self.hang_up(index, &wire::refusal(error.status(), None, &body));
            }
            Ok(Handshake::Upgrade(request)) => match judge(&request, peer, &self.common) {
                Ok(mut upgrade) => {
                    upgrade.rest = head.get(request.head_bytes..).unwrap_or_default().to_vec();
                    let protocol = upgrade.protocol.unwrap_or(wire::SubProtocol::Json);
                    conn.form = wire::Form { protocol, deflated: upgrade.deflate };
                    conn.stage = Stage::Upgrading(Box::new(upgrade));
                    self.admit(index);
                }
                Err(error) => self.refuse(index, &error),
            },
        }
        if incomplete && let Some(Stage::Arriving(arrival)) = self.conn(index).map(|conn| &mut conn.stage) {
            arrival.head = head;
        }
    }

    /// Counts the address and the bans, then upgrades at once or joins the room first.
    fn admit(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Stage::Upgrading(upgrade) = &mut conn.stage else { return };
        let services = &self.common.services;
        if let Some(client) = upgrade.forwarded {
            match self.common.addresses.connect(client) {
                Ok(permit) => conn.permit = permit.map(Box::new),
                Err(error) => {
                    let error = WireError::new(Code::RateLimited, error.to_string()).retry_after_ms(10_000);
                    return self.refuse(index, &error);
                }
            }
        }
        if let Who::Known(identity) = &upgrade.who
            && let Err(refusal) = services.ingest.bans.may_connect(&identity.user_id, services.clock.now_ms())
        {
            // A browser reads no HTTP error here, but it reads a close.
            self.upgrade(index);
            return self.close_banned(index, refusal);
        }
        let may_read = match &upgrade.who {
            Who::Known(_) => true,
            Who::Nobody => services.settings.anonymous_read,
            Who::Rejected(_) => false,
        };
        match upgrade.room.take() {
            Some(room) if may_read => {
                let identity = match &upgrade.who {
                    Who::Known(identity) => Some(identity.clone()),
                    Who::Nobody | Who::Rejected(_) => None,
                };
                self.join(index, identity, room, None);
            }
            room => {
                let conn = self.reference(index);
                self.awaited.extend(room.map(|room| (conn, Some(room))));
                self.upgrade(index);
                self.flush_answers(index);
            }
        }
    }

    /// Answers the request and opens the socket; its first frames are gathered for one write with the
    /// answer. Nothing happens, and false comes back, when it is open already.
    pub fn upgrade(&mut self, index: u32) -> bool {
        let now = self.now;
        let limits = self.limits(index);
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| matches!(conn.stage, Stage::Upgrading(_)))
        else {
            return false;
        };
        let Stage::Upgrading(upgrade) = std::mem::replace(&mut conn.stage, Stage::Open) else { return false };
        let mut upgrade = *upgrade;
        conn.last_seen = now;
        conn.counted = true;
        if !upgrade.rest.is_empty() {
            drop(conn.decoder.read(&mut upgrade.rest, limits));
            conn.held = true;
        }
        self.tally.connections += 1;
        self.count_handshake("accepted");
        self.answers.extend_from_slice(&wire::response(&upgrade.accept, upgrade.protocol, upgrade.deflate));
        match upgrade.who {
            Who::Known(identity) => self.sit(index, identity, upgrade.device, None),
            Who::Rejected(why) => self.ask_to_login(index, &WireError::new(Code::Unauthorized, why)),
            Who::Nobody if self.common.services.settings.anonymous_read => {}
            Who::Nobody => self.ask_to_login(index, &unauthorized()),
        }
        self.schedule(index);
        true
    }

    /// Tells that an identity is needed, and gives some seconds to log in.
    pub fn ask_to_login(&mut self, index: u32, error: &WireError) {
        let by = self.now + self.common.services.settings.login_s;
        if let Some(conn) = self.conn(index) {
            conn.authorize_by = by;
        }
        self.answer_error(index, error, None);
        self.schedule(index);
    }

    /// Somebody is known on this socket from here on: `connected`, and what the store still owes them.
    pub fn sit(
        &mut self,
        index: u32,
        identity: Identity,
        device: Option<DeviceId>,
        reference: Option<&serde_json::value::RawValue>,
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
        let session =
            Arc::new(Session { identity, device, number, since_ms: now_ms, since: self.now, socket, expires });
        conn.session = Some(session.clone());
        conn.authorize_by = u32::MAX;
        let user = &session.identity.user_id;
        let seats = self.users.entry(user.clone()).or_default();
        if !seats.contains(&index) {
            seats.push(index);
        }
        self.greet(index, &session, reference);
        if !renewed {
            common.attendance.came(session.clone());
        }
        if let Some(device) = &session.device {
            for inbox in &common.inboxes {
                inbox.push(Inbound::Replaced { user: user.clone(), device: device.clone(), session: number });
            }
            self.replace_elsewhere(&session, device.clone());
        }
        if common.services.ingest.awaited.may_hold(user) {
            self.ask_for_unacknowledged(index, session.clone());
        }
        self.schedule(index);
        self.join_awaited(index, session.identity.clone());
    }

    /// The room of the query, which waited for somebody to be known.
    fn join_awaited(&mut self, index: u32, identity: Identity) {
        let conn = self.reference(index);
        if let Some(room) = self.awaited.get_mut(&conn).and_then(Option::take) {
            self.join(index, Some(identity), room, None);
        }
    }

    fn greet(&mut self, index: u32, session: &Session, reference: Option<&serde_json::value::RawValue>) {
        let conn = self.reference(index);
        let common = self.common.clone();
        let settings = &common.services.settings;
        let random = || format!("{:016x}", rand::random::<u64>());
        let device = session.device.as_ref().map_or_else(random, |device| device.as_str().to_owned());
        let message = ServerMessage::Connected {
            user_id: Some(&session.identity.user_id),
            device_id: &device,
            connection_id: &format!("{}-{}-{}-{}", settings.node_id, conn.shard, conn.index, conn.generation),
            node_id: &settings.node_id,
            heartbeat_s: u64::from(settings.heartbeat_s),
            server_time_ms: common.services.clock.now_ms(),
        };
        self.answer(index, &message, reference);
    }

    fn ask_for_unacknowledged(&self, index: u32, session: Arc<Session>) {
        let (conn, common, inbox) = (self.reference(index), self.common.clone(), self.inbox().clone());
        here::spawn(&self.common.runtime, async move {
            match common.services.ingest.unacknowledged(&session.identity.user_id).await {
                Ok(events) if events.is_empty() => {}
                Ok(events) => {
                    let frames = events.into_iter().map(|event| Arc::new(EventFrame::new(Arc::new(event))));
                    inbox.push(Inbound::Unacknowledged(conn, frames.collect()));
                }
                // They stay in the store and come with the next connection.
                Err(error) => tracing::warn!(%error, "unacknowledged events could not be read"),
            }
        });
    }

    /// Refuses a request with an HTTP error.
    pub fn refuse(&mut self, index: u32, error: &WireError) {
        self.count_handshake(error.code.as_str());
        let retry_after_s = error.retry_after_ms.map(|ms| ms.div_ceil(1_000));
        self.hang_up(index, &wire::refusal(error.code.status(), retry_after_s, &error_body(error)));
    }

    /// The request never became complete.
    pub fn give_up_handshake(&mut self, index: u32) {
        self.count_handshake("timeout");
        self.doom(index);
    }

    fn hang_up(&mut self, index: u32, bytes: &[u8]) {
        let until = self.now + REFUSED_LINGER_S;
        if let Some(conn) = self.conn(index) {
            conn.stage = Stage::Closing { until, shut_at: None };
        }
        self.send_raw(index, bytes);
        self.finish_closing(index);
        self.schedule(index);
    }

    fn count_handshake(&self, outcome: &'static str) {
        self.count(&self.common.services.metrics.handshakes, "outcome", outcome);
    }
}

/// Something was asked that needs an identity.
pub(crate) fn unauthorized() -> WireError {
    WireError::new(Code::Unauthorized, "log in first")
}
